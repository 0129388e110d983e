//! Our process is killed, or ends on purpose: what peers keep, and what becomes of it.

use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use tidewall_actions::bgp::{Speaker, SpeakerConfig};
use tidewall_bgp::session::{State, Stop};

use crate::daemon::{Daemon, Kind, Neighbour};
use crate::lab::{Lab, enter, until};
use crate::routes::{amplification, blackhole};
use crate::{SOON, config, peer, peer_of, start, until_all_have_all, until_has};

const KEPT: &str = "203.0.113.77/32";
const ENDED: &str = "203.0.113.78/32";
/// Tells this program, started again, which daemon to talk to, in which namespace.
const CHILD: &str = "TIDEWALL_BGP_CHILD";

/// The process that is killed: this program again, with only this test.
#[test]
#[ignore = "run by the tests below, to be killed"]
fn speaker_that_is_killed() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let words: Vec<&str> = task.split_whitespace().collect();
    let [namespace, number, peer_as] = words[..] else { panic!("{task}") };
    enter(namespace);
    let number = number.parse().unwrap();
    let wire = crate::lab::Wire { number, namespace: String::new(), device: String::new() };
    let peer = peer("peer", &wire, peer_as.parse().unwrap(), &Neighbour::default());
    let speaker = start(vec![peer]);
    speaker.announce(blackhole(KEPT, wire.ours()));
    speaker.announce(blackhole(ENDED, wire.ours()));
    speaker.announce(amplification());
    loop {
        sleep(Duration::from_mins(1));
    }
}

fn child(lab: &Lab, daemon: &Daemon) -> Child {
    let task = format!("{} {} {}", lab.own(), daemon.wire.number, daemon.kind.peer_as());
    Command::new(std::env::current_exe().unwrap())
        .args(["restart::speaker_that_is_killed", "--exact", "--ignored", "--nocapture"])
        .env(CHILD, task)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Killed without a chance to say anything: routes stay, are refreshed, and what is no longer
/// desired goes at End-of-RIB, which waits until the desired set is complete.
fn killed_beside(kind: Kind) {
    let Some(lab) = Lab::new().filter(|_| kind.is_there()) else { return };
    let daemon = Daemon::start(kind, &lab, Neighbour::default());
    let mut killed = child(&lab, &daemon);
    until_has(&daemon, KEPT, true);
    until_has(&daemon, ENDED, true);
    if kind.has_flow_spec() {
        until_has_rule(&daemon, true);
    }
    // Until End-of-RIB has gone too.
    sleep(Duration::from_secs(2));
    killed.kill().unwrap();
    killed.wait().unwrap();

    sleep(Duration::from_secs(2));
    assert!(daemon.has(KEPT) && daemon.has(ENDED), "kept:\n{}", daemon.unicast(KEPT));
    assert!(is_stale(&daemon, KEPT), "stale:\n{}", daemon.unicast(KEPT));
    // FRR 8.4 keeps unicast routes only.
    if matches!(kind, Kind::Gobgp | Kind::Bird) {
        assert!(has_rule(&daemon), "{}", daemon.flow_spec(false));
    }

    let speaker =
        Speaker::start(SpeakerConfig { restarting: true, ..config(vec![peer_of(&daemon)]) })
            .unwrap();
    speaker.announce(blackhole(KEPT, daemon.wire.ours()));
    speaker.announce(amplification());
    until_all_have_all(&speaker);
    sleep(Duration::from_secs(2));
    assert!(daemon.has(ENDED), "End-of-RIB waits for the whole set:\n{}", daemon.unicast(ENDED));
    assert!(!speaker.peers()[0].initial_routes_sent);
    speaker.desired_complete();
    until_has(&daemon, ENDED, false);
    assert!(daemon.has(KEPT));
    assert!(!is_stale(&daemon, KEPT), "refreshed:\n{}", daemon.unicast(KEPT));
    if kind.has_flow_spec() {
        until_has_rule(&daemon, true);
    }
    let peer = &speaker.peers()[0];
    assert!(peer.initial_routes_sent && peer.state == State::Established, "{peer:#?}");

    // Ended on purpose, with a word: nothing is kept.
    speaker.shutdown(Stop::Withdraw("done".into()));
    until_has(&daemon, KEPT, false);
    if kind.has_flow_spec() {
        until_has_rule(&daemon, false);
    }
}

fn has_rule(daemon: &Daemon) -> bool {
    daemon.flow_spec(false).contains("203.0.113.88/32")
}

fn until_has_rule(daemon: &Daemon, has: bool) {
    until("the rule is there, or not", SOON, || {
        if has_rule(daemon) == has { Ok(()) } else { Err(daemon.flow_spec(false)) }
    });
}

fn is_stale(daemon: &Daemon, prefix: &str) -> bool {
    let text = daemon.unicast(prefix);
    match daemon.kind {
        Kind::Gobgp => text.lines().any(|line| line.starts_with('S')),
        Kind::Bird => daemon
            .ask(&["show", "protocols", "all", "tidewall"])
            .contains("Neighbor graceful restart active"),
        Kind::Frr | Kind::Openbgpd => text.to_lowercase().contains("stale"),
    }
}

#[test]
fn killed_beside_gobgp() {
    killed_beside(Kind::Gobgp);
}

#[test]
fn killed_beside_bird() {
    killed_beside(Kind::Bird);
}

#[test]
fn killed_beside_frr() {
    killed_beside(Kind::Frr);
}

#[test]
fn killed_beside_openbgpd() {
    killed_beside(Kind::Openbgpd);
}

/// An upgrade: closed without a word, and the routes are still there.
#[test]
fn ended_without_a_word() {
    let Some(lab) = Lab::new().filter(|_| Kind::Bird.is_there()) else { return };
    let daemon = Daemon::start(Kind::Bird, &lab, Neighbour::default());
    let speaker = start(vec![peer_of(&daemon)]);
    speaker.announce(blackhole(KEPT, daemon.wire.ours()));
    until_all_have_all(&speaker);
    until_has(&daemon, KEPT, true);
    speaker.shutdown(Stop::Keep);
    sleep(Duration::from_secs(2));
    assert!(daemon.has(KEPT), "{}", daemon.unicast(KEPT));
}
