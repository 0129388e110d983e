//! `tidewall import [FILE]`: FastNetMon's configuration as TOML.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;

use crate::config::{self, Style};

/// Print the TOML configuration that a FastNetMon configuration stands for.
///
/// Each key says as a comment what it comes from, and what is to be said of it. Exit status 0 when
/// the file can be used, 2 when it cannot.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// FastNetMon's configuration file.
    #[arg(value_name = "FILE", default_value = "/etc/fastnetmon.conf")]
    pub file: PathBuf,
    /// Look for the lists that the file names beneath this folder, as for those of another machine.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

/// Runs the command: the TOML text to standard output.
pub fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    let (text, warnings) = match config::import(&args.file, &args.root) {
        Ok(Some(imported)) => imported,
        Ok(None) => bail!(
            "{} is not a configuration of FastNetMon: it sets none of its keys, or is TOML already",
            args.file.display()
        ),
        Err(errors) => {
            write!(io::stderr(), "{}", errors.render(Style::for_stderr()))?;
            return Ok(ExitCode::from(2));
        }
    };
    super::quiet_when_closed(io::stdout().lock().write_all(text.as_bytes()))?;
    if warnings > 0 {
        writeln!(io::stderr(), "tidewall: {warnings} warnings, as comments beside their keys")?;
    }
    Ok(ExitCode::SUCCESS)
}
