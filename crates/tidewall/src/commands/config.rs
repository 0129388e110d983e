//! `tidewall config default`: the whole configuration file, with its prose.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::config::default_file;

/// Print configuration files.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// What to print.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to print.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Print a file with every key, its explanation and its default.
    ///
    /// The file as printed means the same as an empty one. Keys without a default are commented
    /// out and show an example.
    Default,
}

/// Runs the command.
pub fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        ConfigCommand::Default => write!(io::stdout(), "{}", default_file())?,
    }
    Ok(ExitCode::SUCCESS)
}
