//! Giving up root, once everything that needs it is open. What will have to be opened again keeps
//! the few rights that this takes, for this process alone: what it starts has none of them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::unistd::{Uid, User, chown, setgid, setgroups, setuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities,
};
use tracing::info;

use crate::config::MirrorSource;
use crate::live::{Plan, Sources};

/// The first port that needs no right.
const FREE_PORTS: u16 = 1024;

/// A right that is needed again after the start, and what for.
type Need = (CapabilitySet, &'static str);

/// What the configuration needs rights for once it runs: mirrors come back, and a reload may open a
/// port again.
pub(crate) fn needs(plan: &Plan) -> Vec<Need> {
    let (raw, lock) = (CapabilitySet::NET_RAW, CapabilitySet::IPC_LOCK);
    let xdp = CapabilitySet::NET_ADMIN | CapabilitySet::BPF | raw | lock;
    let mut needs = Vec::new();
    for mirror in &plan.mirrors {
        match &mirror.source {
            MirrorSource::AfPacket(config) => {
                needs.push((raw, "to open interfaces again by af_packet"));
                if config.lock_memory {
                    needs.push((lock, "to lock their memory"));
                }
            }
            MirrorSource::Pcap(_) => needs.push((raw, "to open devices again by pcap")),
            MirrorSource::AfXdp(_) => needs.push((xdp, "to open interfaces again by af_xdp")),
            MirrorSource::Pipe(_) => {}
        }
    }
    // The speaker's thread runs before root is given up, and keeps nothing: it opens no port again.
    let mut ports = plan.listen.sflow.iter().chain(&plan.listen.netflow).map(SocketAddr::port);
    if ports.any(|port| (1..FREE_PORTS).contains(&port)) {
        needs.push((CapabilitySet::NET_BIND_SERVICE, "to open ports below 1024 again"));
    }
    needs.dedup();
    needs
}

/// Keeps rights for this process alone: nothing that it starts has more than any program of the
/// user. Rights that systemd gives by `AmbientCapabilities` are inherited otherwise.
pub(crate) fn keep_rights_to_ourselves() -> anyhow::Result<()> {
    let failed = "rights cannot be kept from what is started";
    let had = capabilities(None).context(failed)?;
    if had.inheritable.is_empty() {
        // What is ambient is inheritable.
        return Ok(());
    }
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { inheritable, ..had }).context(failed)
}

/// Becomes a user for good, with the user's main group only, and of root's rights those that are
/// needed. What is `ours` becomes the user's too, so that it can be used and removed, and sockets.
pub(crate) fn become_user(
    name: &str,
    (ours, sources): (&[PathBuf], &Sources),
    needs: &[Need],
) -> anyhow::Result<()> {
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
    let failed = || format!("cannot become the user `{name}`");
    sources.give_to(user.uid.as_raw(), user.gid.as_raw()).with_context(failed)?;
    // Containers have less than all of them.
    let had = capabilities(None).with_context(failed)?.permitted;
    let kept = needs.iter().fold(CapabilitySet::empty(), |kept, (right, _)| kept | *right) & had;
    // For this thread and those that it starts. A program that it starts has nothing of it, because
    // nothing is inheritable.
    set_keep_capabilities(true).with_context(failed)?;
    setgroups(&[user.gid])
        .and_then(|()| setgid(user.gid))
        .and_then(|()| setuid(user.uid))
        .with_context(failed)?;
    set_keep_capabilities(false).with_context(failed)?;
    let inheritable = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })
        .with_context(failed)?;
    info!("became `{name}` {}", kept_words(kept, needs));
    Ok(())
}

/// What was kept and why: `and kept CAP_NET_RAW to open interfaces again by af_packet`.
fn kept_words(kept: CapabilitySet, needs: &[Need]) -> String {
    let names = |set: CapabilitySet| {
        let names = set.iter_names().map(|(name, _)| format!("CAP_{name}"));
        names.collect::<Vec<_>>().join(", ")
    };
    let mut words: Vec<String> = Vec::new();
    for (right, why) in needs {
        let right = *right & kept;
        let said = format!("{} {why}", names(right));
        if !right.is_empty() && !words.contains(&said) {
            words.push(said);
        }
    }
    match words.as_slice() {
        [] => "and kept no right of root".to_owned(),
        words => format!("and kept {}", words.join("; ")),
    }
}

/// Makes a folder where there is none; it is then given back.
pub(crate) fn make_folder(path: &Path) -> anyhow::Result<Option<PathBuf>> {
    if path.as_os_str().is_empty() || path.exists() {
        return Ok(None);
    }
    fs::create_dir_all(path).with_context(|| format!("{}: cannot be made", path.display()))?;
    Ok(Some(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn needed(text: &str) -> (CapabilitySet, String) {
        let loaded = config::parse("file", text).unwrap();
        let plan = Plan {
            policy: loaded.policy,
            frames: loaded.frames,
            flows: loaded.flows,
            listen: loaded.listen,
            mirrors: loaded.mirrors,
            service: loaded.service,
        };
        let needs = needs(&plan);
        let all = needs.iter().fold(CapabilitySet::empty(), |all, (right, _)| all | *right);
        (all, kept_words(all, &needs))
    }

    #[test]
    fn only_what_will_be_opened_again_keeps_a_right() {
        let mirror = |engine: &str| {
            format!("[[mirror]]\nengine = \"{engine}\"\ninterfaces = [\"eth1\", \"eth2\"]\n")
        };
        let raw = CapabilitySet::NET_RAW;
        let low = CapabilitySet::NET_BIND_SERVICE;
        let xdp = raw | CapabilitySet::NET_ADMIN | CapabilitySet::BPF | CapabilitySet::IPC_LOCK;
        for (text, expected) in [
            (String::new(), CapabilitySet::empty()),
            (mirror("af_packet"), raw),
            (format!("{}lock_memory = true\n", mirror("af_packet")), raw | CapabilitySet::IPC_LOCK),
            (mirror("pcap"), raw),
            (mirror("af_xdp"), xdp),
            (
                "[[mirror]]\nengine = \"pipe\"\ninterfaces = [\"-\"]\n".into(),
                CapabilitySet::empty(),
            ),
            ("[listen]\nnetflow = [1023]\n".into(), low),
            ("[listen]\nnetflow = [1024]\n".into(), CapabilitySet::empty()),
        ] {
            assert_eq!(needed(&text).0, expected, "{text}");
        }
        assert_eq!(
            needed(&mirror("af_packet")).1,
            "and kept CAP_NET_RAW to open interfaces again by af_packet"
        );
        assert_eq!(needed("").1, "and kept no right of root");
    }
}
