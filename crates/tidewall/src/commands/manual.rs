//! Man pages and shell completions, made from the command line itself.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory};

use crate::cli::Cli;

/// Arguments of `tidewall completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// For which shell; bash reads them with `source <(tidewall completions bash)`.
    shell: clap_complete::Shell,
}

/// Arguments of `tidewall man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Folder for the pages (tidewall.1, tidewall-replay.1 and so on); it is made when absent.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
}

/// Prints completions.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "tidewall", &mut script);
    super::quiet_when_closed(io::Write::write_all(&mut io::stdout(), &script))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes one page for the program and one for each subcommand.
pub fn man(args: &ManArgs) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(&args.dir).with_context(|| format!("cannot make {}", args.dir.display()))?;
    clap_mangen::generate_to(Cli::command(), &args.dir)
        .with_context(|| format!("cannot write man pages to {}", args.dir.display()))?;
    Ok(ExitCode::SUCCESS)
}
