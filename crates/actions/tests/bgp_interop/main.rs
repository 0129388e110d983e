//! Our speaker beside the daemons of Debian's packages, each in a network namespace of its own: what
//! they print of our routes is what we meant, and the traps of sessions are not stepped into.
//! Needs root, network namespaces and the packages gobgpd, bird2, frr and openbgpd; says so and
//! passes where they are missing; in continuous integration it fails.

#![expect(clippy::disallowed_methods, reason = "real daemons take real time")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod daemon;
mod figures;
mod lab;
mod restart;
mod routes;
mod sessions;

use std::net::Ipv4Addr;
use std::time::Duration;

use tidewall_actions::Secret;
use tidewall_actions::bgp::{Distance, PeerConfig, PeerStatus, Speaker, SpeakerConfig};
use tidewall_bgp::session::State;

use daemon::{Daemon, Neighbour};
use lab::{Wire, until};

const LOCAL_AS: u32 = 65_010;
/// For what takes a daemon a second or two, on a busy machine.
const SOON: Duration = Duration::from_secs(30);

fn router_id() -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, 10)
}

/// A peer as a daemon that sees us as `neighbour` expects it.
fn peer(name: &str, wire: &Wire, peer_as: u32, neighbour: &Neighbour) -> PeerConfig {
    let address = if neighbour.ipv6 { wire.theirs6() } else { wire.theirs() };
    let mut peer = PeerConfig::new(name, address, peer_as);
    peer.source = Some(if neighbour.ipv6 { wire.ours6() } else { wire.ours() });
    peer.md5 = neighbour.md5.map(Secret::new);
    if neighbour.gtsm {
        peer.distance = Distance::Secured(1);
    }
    peer.hold_time = neighbour.hold_time;
    peer.retry = Duration::from_secs(1);
    peer.max_retry = Duration::from_secs(2);
    peer.restart_time = Some(60);
    peer.profile.max_unicast = 5_000;
    peer
}

fn peer_of(daemon: &Daemon) -> PeerConfig {
    let name = format!("{:?}", daemon.kind);
    peer(&name, &daemon.wire, daemon.kind.peer_as(), &daemon.neighbour)
}

fn config(peers: Vec<PeerConfig>) -> SpeakerConfig {
    SpeakerConfig::new(LOCAL_AS, router_id(), peers)
}

fn start(peers: Vec<PeerConfig>) -> Speaker {
    let speaker = Speaker::start(config(peers)).unwrap();
    speaker.desired_complete();
    speaker
}

fn status(speaker: &Speaker, name: &str) -> PeerStatus {
    speaker.peers().into_iter().find(|peer| peer.name == name).unwrap()
}

/// Waits until every peer is established and has all that it is to have.
fn until_all_have_all(speaker: &Speaker) {
    until("every peer is established and nothing is pending", SOON, || {
        let peers = speaker.peers();
        let done = |peer: &PeerStatus| peer.state == State::Established && peer.pending() == 0;
        if peers.iter().all(done) { Ok(()) } else { Err(format!("{peers:#?}")) }
    });
}

/// Waits until a daemon has a prefix, or has it no more.
fn until_has(daemon: &Daemon, prefix: &str, has: bool) {
    until(&format!("{:?} has {prefix}: {has}", daemon.kind), SOON, || {
        if daemon.has(prefix) == has { Ok(()) } else { Err(daemon.unicast(prefix)) }
    });
}
