//! Giving up root, once everything that needs it is open.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::unistd::{Uid, User, chown, setgid, setgroups, setuid};

/// Becomes a user for good, with the user's main group only. What is `ours` becomes the user's
/// too, so that it can be used and removed.
pub(crate) fn become_user(name: &str, ours: &[PathBuf]) -> anyhow::Result<()> {
    let user = User::from_name(name)
        .with_context(|| format!("the user `{name}` cannot be looked up"))?
        .with_context(|| format!("there is no user `{name}`: add it, or leave `user` out"))?;
    if Uid::effective() == user.uid {
        return Ok(());
    }
    if !Uid::effective().is_root() {
        bail!("only root can become the user `{name}`: leave `user` out, or start as root");
    }
    for path in ours.iter().filter(|path| path.exists()) {
        chown(path, Some(user.uid), Some(user.gid))
            .with_context(|| format!("{}: cannot be given to `{name}`", path.display()))?;
    }
    setgroups(&[user.gid])
        .and_then(|()| setgid(user.gid))
        .and_then(|()| setuid(user.uid))
        .with_context(|| format!("cannot become the user `{name}`"))?;
    Ok(())
}

/// Makes a folder where there is none; it is then given back.
pub(crate) fn make_folder(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if path.as_os_str().is_empty() || path.exists() {
        return Ok(None);
    }
    fs::create_dir_all(path).with_context(|| format!("{}: cannot be made", path.display()))?;
    Ok(Some(path.to_owned()))
}
