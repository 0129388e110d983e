//! Two network name spaces with a veth pair between them, and a folder; all gone in the end.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::command::{command, run, works};

/// The interface that frames are sent by.
pub(super) const SENDER_LINK: &str = "tw0";
/// The interface that they arrive at.
pub(super) const RECEIVER_LINK: &str = "tw1";

/// Where things are measured.
pub(super) struct Lab {
    pub(super) sender: Place,
    pub(super) receiver: Place,
    pub(super) folder: PathBuf,
}

/// A network name space.
pub(super) struct Place(String);

impl Place {
    fn new(part: &str) -> Result<Self> {
        let name = format!("tw-bench-{}-{part}", std::process::id());
        run(&mut command(&["ip", "netns", "add", &name]))?;
        run(&mut command(&["ip", "-n", &name, "link", "set", "lo", "up"]))?;
        Ok(Self(name))
    }

    /// A program inside; the process is the program's own.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut inside = command(&["ip", "netns", "exec", &self.0]);
        inside.arg(program);
        inside
    }

    fn set_up(&self, link: &str) -> Result<()> {
        // No traffic of its own.
        let words = ["ip", "-n", &self.0, "link", "set", link];
        run(command(&words).args(["addrgenmode", "none"]))?;
        run(command(&words).arg("up"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        works(&["ip", "netns", "delete", &self.0]);
    }
}

impl Lab {
    pub(super) fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("tidewall-bench-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let lab = Self { sender: Place::new("a")?, receiver: Place::new("b")?, folder };
        let (a, b) = (&lab.sender.0, &lab.receiver.0);
        run(command(&["ip", "link", "add", SENDER_LINK, "netns", a, "type", "veth"]).args([
            "peer",
            "name",
            RECEIVER_LINK,
            "netns",
            b,
        ]))?;
        lab.sender.set_up(SENDER_LINK)?;
        lab.receiver.set_up(RECEIVER_LINK)?;
        Ok(lab)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.folder);
    }
}
