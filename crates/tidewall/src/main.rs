//! `tidewall`: parses the command line and runs the subcommand.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use tidewall::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run().unwrap_or_else(|error| {
        eprintln!("tidewall: {error:#}");
        ExitCode::from(2)
    })
}
