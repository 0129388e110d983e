//! `tidewall check FILE`: is this configuration good, and what does it mean?

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::{self, Style};

/// Check a configuration file and print the plan it stands for.
///
/// Every error is shown with its line, its reason and a fix. Exit status 0 when the file can be
/// used, 2 when it cannot; warnings do not change it.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The configuration file: TOML (see `tidewall config default` for all its keys), or
    /// FastNetMon's.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print errors and warnings only, not the plan.
    #[arg(short, long)]
    pub quiet: bool,
    /// Look for the lists that FastNetMon's file names beneath this folder.
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
}

/// Runs the command: diagnostics to standard error, the plan to standard output.
pub fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let style = Style::for_stderr();
    let loaded = match config::load_below(&args.file, &args.root) {
        Ok(loaded) => loaded,
        Err(errors) => {
            write!(io::stderr(), "{}", errors.render(style))?;
            return Ok(ExitCode::from(2));
        }
    };
    write!(io::stderr(), "{}", config::render(&loaded.warnings, style))?;
    if loaded.policy.networks.is_empty() {
        let hint = match loaded.reference {
            None => "add `networks = [\"192.0.2.0/24\"]` at the top of the file",
            Some(_) => "write them to the networks list, one on each line",
        };
        let instead = config::networks_besides(&loaded);
        writeln!(io::stderr(), "warning: no networks: `tidewall run` watches {instead}; {hint}\n")?;
    }
    if loaded.listen.sflow.is_empty()
        && loaded.listen.netflow.is_empty()
        && loaded.mirrors.is_empty()
    {
        let hint = match loaded.reference {
            None => "name an address under [listen], or add a [[mirror]]",
            Some(_) => {
                "turn on `sflow` with `sflow_port`, `netflow` with `netflow_port`, or a mirror with \
                 `interfaces`"
            }
        };
        writeln!(
            io::stderr(),
            "warning: no source, so there is nothing to receive and `tidewall run` does not \
             start; {hint}\n"
        )?;
    }
    if !args.quiet {
        write!(io::stdout(), "{}", config::describe(&loaded))?;
        if let Some(reference) = &loaded.reference {
            write!(io::stdout(), "{}", config::fastnetmon::describe_inactive(reference))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tidewall.toml");
        std::fs::write(&file, text).unwrap();
        format!("{:?}", run(&CheckArgs { file, quiet: true, root: "/".into() }).unwrap())
    }

    #[test]
    fn exit_status_tells_good_from_bad() {
        assert_eq!(status("networks = [\"192.0.2.0/24\"]"), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(status(&config::default_file()), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(status("networks = 5"), format!("{:?}", ExitCode::from(2)));
    }
}
