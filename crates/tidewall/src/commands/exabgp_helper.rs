//! `tidewall exabgp-helper`: what ExaBGP starts as its process, between it and the service.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use tidewall_actions::exabgp::helper;

/// Carry routes from a running service to ExaBGP, and ExaBGP's answers back.
///
/// ExaBGP starts this command (`process tidewall { run /usr/bin/tidewall exabgp-helper --socket
/// PATH; encoder text; }`) and speaks with it by its standard input and output. It waits for the
/// service, connects again when that was restarted, and ends with ExaBGP.
#[derive(Clone, Debug, clap::Args)]
pub struct ExabgpHelperArgs {
    /// The socket of the service for this helper.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,
}

/// Runs the command.
pub fn run(args: &ExabgpHelperArgs) -> anyhow::Result<ExitCode> {
    helper::run(&args.socket, io::stdin(), io::stdout())
        .context("ExaBGP does not read its helper")?;
    Ok(ExitCode::SUCCESS)
}
