//! Giving up root, once everything that needs it is open.

use std::path::Path;

use anyhow::{Context, bail};
use nix::unistd::{Uid, User, chown, setgid, setgroups, setuid};

/// Becomes a user for good, with the user's main group only. The control socket becomes the
/// user's too, so that it can be removed.
pub(crate) fn become_user(name: &str, control: &Path) -> anyhow::Result<()> {
    let user = User::from_name(name)
        .with_context(|| format!("the user `{name}` cannot be looked up"))?
        .with_context(|| format!("there is no user `{name}`: add it, or leave `user` out"))?;
    if Uid::effective() == user.uid {
        return Ok(());
    }
    if !Uid::effective().is_root() {
        bail!("only root can become the user `{name}`: leave `user` out, or start as root");
    }
    if control.exists() {
        chown(control, Some(user.uid), Some(user.gid))
            .with_context(|| format!("{}: cannot be given to `{name}`", control.display()))?;
    }
    setgroups(&[user.gid])
        .and_then(|()| setgid(user.gid))
        .and_then(|()| setuid(user.uid))
        .with_context(|| format!("cannot become the user `{name}`"))?;
    Ok(())
}
