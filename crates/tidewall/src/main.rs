//! `tidewall`: parses the command line and runs the subcommand.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tidewall::commands;

/// Finds DDoS attacks in network traffic and says why.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows detection at work on generated traffic: no root, no router, no configuration.
    Demo(commands::demo::DemoArgs),
    /// Runs captures through the engine and reports attacks, totals and top hosts.
    Replay(commands::replay::ReplayArgs),
    /// Prints one line for each packet of a capture.
    Decode(commands::decode::DecodeArgs),
    /// Checks a configuration file and prints the plan that it stands for.
    Check(commands::check::CheckArgs),
    /// Prints configuration.
    Config(commands::config::ConfigArgs),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo(args) => commands::demo::run(&args),
        Command::Replay(args) => commands::replay::run(&args),
        Command::Decode(args) => commands::decode::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Config(args) => commands::config::run(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("tidewall: {error:#}");
        ExitCode::from(2)
    })
}
