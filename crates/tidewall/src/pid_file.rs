//! The file with the number of the process: there while the service runs, and a lock against a
//! second one with the same file.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

/// The file. It goes with this value.
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    /// Writes the file, unless the process whose number is in it is a Tidewall that still runs.
    pub(crate) fn claim(path: &Path) -> anyhow::Result<Self> {
        if let Some(number) = holder(path) {
            bail!(
                "{}: another tidewall runs, process {number}: end it, or name another file with \
                 `pid_file` under [service]",
                path.display()
            );
        }
        fs::write(path, format!("{}\n", std::process::id())).with_context(|| {
            format!("{}: the process's number cannot be written", path.display())
        })?;
        Ok(Self(path.to_owned()))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if number_in(&self.0) == Some(std::process::id()) && fs::remove_file(&self.0).is_err() {
            // The folder may not be ours any more; the file is.
            _ = fs::write(&self.0, "");
        }
    }
}

fn number_in(path: &Path) -> Option<u32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The process that the file names, if it is another Tidewall that runs.
fn holder(path: &Path) -> Option<u32> {
    let number = number_in(path).filter(|number| *number != std::process::id())?;
    let name = fs::read_to_string(format!("/proc/{number}/comm")).ok()?;
    (name.trim_end() == "tidewall").then_some(number)
}
