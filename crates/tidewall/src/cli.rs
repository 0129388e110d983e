//! The command line as data: parsing, help, man pages and completions come from this one list.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands;

/// Finds DDoS attacks in network traffic and says why.
#[derive(Debug, Parser)]
#[command(name = "tidewall", version, propagate_version = true, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(commands::demo::DemoArgs),
    /// Runs captures through the engine and reports attacks, totals and top hosts.
    Replay(commands::replay::ReplayArgs),
    /// Prints one line for each packet of a capture.
    Decode(commands::decode::DecodeArgs),
    /// Prints the TOML configuration that a FastNetMon configuration stands for.
    Import(commands::import::ImportArgs),
    /// Checks a configuration file and prints the plan that it stands for.
    Check(commands::check::CheckArgs),
    /// Prints configuration.
    Config(commands::config::ConfigArgs),
    /// Prints completions for a shell.
    Completions(commands::manual::CompletionsArgs),
    /// Writes the man pages.
    Man(commands::manual::ManArgs),
}

impl Cli {
    /// Runs the subcommand; an error is for people, and means status 2.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            Command::Demo(args) => commands::demo::run(args),
            Command::Replay(args) => commands::replay::run(args),
            Command::Decode(args) => commands::decode::run(args),
            Command::Import(args) => commands::import::run(args),
            Command::Check(args) => commands::check::run(args),
            Command::Config(args) => commands::config::run(args),
            Command::Completions(args) => commands::manual::completions(args),
            Command::Man(args) => commands::manual::man(args),
        }
    }
}
