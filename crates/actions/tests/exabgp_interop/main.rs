//! Debian's ExaBGP, and an ExaBGP 5, between us and a router, each way of reaching it: what the
//! router prints is what we meant, a withdrawal arrives, and a new ExaBGP is told everything again.
//! Needs root, network namespaces and the packages exabgp, bird2 and gobgpd; says so and passes
//! where they are missing (packages must be there in continuous integration). `TIDEWALL_EXABGP5`
//! names the executable of an ExaBGP 5.

#![expect(clippy::disallowed_methods, reason = "real daemons take real time")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "shared with the tests of our own speaker")]
#[path = "../bgp_interop/daemon.rs"]
mod daemon;
mod exabgp;
#[allow(dead_code, reason = "shared with the tests of our own speaker")]
#[path = "../bgp_interop/lab.rs"]
mod lab;
#[allow(dead_code, reason = "shared with the tests of our own speaker")]
#[path = "../bgp_interop/routes.rs"]
mod routes;

use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tidewall_actions::exabgp::{Config, ExaBgp, Way};
use tidewall_actions::{Announcer, RouteOutcome};
use tidewall_bgp::action::{Action, Actions, RouteTarget};
use tidewall_bgp::flowspec::{Component, FlowSpecRule, NumericTerm, PrefixMatch};
use tidewall_bgp::{FlowSpecRoute, Route, RouteAttributes};
use tidewall_model::{Family, MitigationOutcome};

use daemon::{Daemon, Kind, Neighbour};
use exabgp::{Exabgp, Release};
use lab::{Lab, Wire, until};
use routes::{amplification, blackhole, decorated, dns_over_ipv6, syn_flood, with_med};

const V4: &str = "203.0.113.77/32";
const V6: &str = "2001:db8::77/128";
/// For what takes a daemon some seconds, on a busy machine.
const SOON: Duration = Duration::from_secs(40);

/// How ExaBGP is reached in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Pipe,
    Process,
}

struct Setup {
    // The announcer goes before the programs, and these before their network.
    announcer: ExaBgp,
    outcomes: Receiver<RouteOutcome>,
    exabgp: Exabgp,
    daemon: Daemon,
    _lab: Lab,
}

impl Setup {
    fn new(kind: Kind, by: By, release: Release) -> Option<Self> {
        let lab = Lab::new().filter(|_| kind.is_there() && release.is_there())?;
        let daemon = Daemon::start(kind, &lab, Neighbour::default());
        let exabgp = Exabgp::start(&lab, &daemon.wire, kind.peer_as(), by, release);
        let way = match by {
            By::Pipe => Way::pipe(exabgp.pipe()),
            By::Process => Way::process(exabgp.socket()),
        };
        let (sender, outcomes) = channel();
        let mut config = Config::new("exabgp", way);
        config.local_as = Some(65_010);
        let announcer = ExaBgp::start(config, sender).unwrap();
        Some(Self { announcer, outcomes, exabgp, daemon, _lab: lab })
    }

    fn until_announced(&self, count: usize) {
        until(&format!("ExaBGP has taken {count} routes"), SOON, || {
            let status = self.announcer.status();
            if status.announced == count { Ok(()) } else { Err(format!("{status:#?}")) }
        });
    }

    fn until_has(&self, prefix: &str, has: bool) {
        until(&format!("the router has {prefix}: {has}"), SOON, || {
            if self.daemon.has(prefix) == has { Ok(()) } else { Err(self.daemon.unicast(prefix)) }
        });
    }

    fn until_printed(&self, words: &[&str], text: impl Fn(&Daemon) -> String) {
        until(&format!("the router prints {words:?}"), SOON, || {
            let text = text(&self.daemon);
            let lower = text.to_lowercase();
            let all = words.iter().all(|word| lower.contains(&word.to_lowercase()));
            if all { Ok(()) } else { Err(text) }
        });
    }
}

fn everything(wire: &Wire) -> Vec<Route> {
    let unicast = [blackhole(V4, wire.ours()), blackhole(V6, wire.ours6())];
    unicast.into_iter().chain([amplification(), syn_flood(), dns_over_ipv6()]).collect()
}

fn everything_arrives_and_goes(kind: Kind, by: By, release: Release) {
    let Some(mut setup) = Setup::new(kind, by, release) else { return };
    let routes = everything(&setup.daemon.wire);
    setup.announcer.set(routes.clone());
    setup.until_announced(routes.len());
    setup.until_has(V4, true);
    setup.until_has(V6, true);
    let communities: &[&str] = match kind {
        Kind::Bird => &["(65535,666)", "(65535,65281)", "(65010, 666, 1)"],
        _ => &["blackhole", "no-export", "65010:666:1"],
    };
    setup.until_printed(communities, |daemon| daemon.unicast(V4));
    setup.until_printed(communities, |daemon| daemon.unicast(V6));
    rules_are_printed(&setup);

    // ExaBGP forgets everything when it ends, and is told everything when it is back.
    setup.exabgp.stop();
    setup.until_announced(0);
    setup.until_has(V4, false);
    let gone = routes[0].key();
    setup.announcer.withdraw(gone.clone());
    setup.exabgp.start_again();
    setup.until_announced(routes.len() - 1);
    setup.until_has(V6, true);
    rules_are_printed(&setup);
    assert!(!setup.daemon.has(V4), "withdrawn while it was away");
    let told: Vec<RouteOutcome> = setup.outcomes.try_iter().collect();
    let outcome = |told: &&RouteOutcome| told.key == gone;
    assert_eq!(told.iter().rfind(outcome).unwrap().outcome, MitigationOutcome::Withdrawn);

    // After a restart of ours the memory is empty: the journal says what goes.
    let way = match by {
        By::Pipe => Way::pipe(setup.exabgp.pipe()),
        By::Process => Way::process(setup.exabgp.socket()),
    };
    let (sender, outcomes) = channel();
    Box::new(setup.announcer).stop();
    setup.announcer = ExaBgp::start(Config::new("exabgp", way), sender).unwrap();
    setup.outcomes = outcomes;
    setup.announcer.set(Vec::new());
    for route in &routes {
        setup.announcer.withdraw(route.key());
    }
    setup.until_has(V6, false);
    until("no rule is left", SOON, || {
        let text = setup.daemon.flow_spec(false) + &setup.daemon.flow_spec(true);
        let none = !text.contains("203.0.113.8") && !text.contains("2001:db8::88");
        if none { Ok(()) } else { Err(text) }
    });
}

/// Each daemon's own words for our three rules.
fn rules_are_printed(setup: &Setup) {
    let (v4, v6): (&[&str], &[&str]) = match setup.daemon.kind {
        Kind::Bird => (
            &[
                "dst 203.0.113.88/32; proto 17; sport 123,389; length 400..1500; \
                 fragment !is_fragment;",
                "(generic, 0x80060000, 0x47f42400)",
                "dst 203.0.113.89/32; proto 6; tcp flags !0x0/0x2 && 0x0/0x10;",
                "(generic, 0x80060000, 0x0)",
                "(65535,65281)",
            ],
            &["dst 2001:db8::88/128; next header 17; sport 53;", "0x80060000, 0x0"],
        ),
        _ => (
            &[
                "[destination: 203.0.113.88/32][protocol: ==udp][source-port: ==123 ==389]\
                 [packet-length: >=400&<=1500]",
                "[rate: 125000",
                "[destination: 203.0.113.89/32][protocol: ==tcp][tcp-flags: ",
                "[discard]",
                "no-export",
            ],
            &["[destination: 2001:db8::88/128/0][protocol: ==udp][source-port: ==53]", "[discard]"],
        ),
    };
    setup.until_printed(v4, |daemon| daemon.flow_spec(false));
    setup.until_printed(v6, |daemon| daemon.flow_spec(true));
}

#[test]
fn by_pipe_to_gobgp() {
    everything_arrives_and_goes(Kind::Gobgp, By::Pipe, Release::Four);
}

#[test]
fn by_process_to_bird() {
    everything_arrives_and_goes(Kind::Bird, By::Process, Release::Four);
}

#[test]
fn release_5_by_pipe_to_gobgp() {
    everything_arrives_and_goes(Kind::Gobgp, By::Pipe, Release::Five);
}

#[test]
fn release_5_by_process_to_bird() {
    everything_arrives_and_goes(Kind::Bird, By::Process, Release::Five);
}

/// Attributes and actions for which ExaBGP has traps.
fn attributes_and_actions(release: Release) {
    let Some(setup) = Setup::new(Kind::Bird, By::Process, release) else { return };
    let wire = &setup.daemon.wire;
    setup.announcer.announce(decorated(V4, wire.ours()));
    let target = PrefixMatch::new("203.0.113.90/32".parse().unwrap());
    let udp = Component::Protocol(vec![NumericTerm::equal(17)]);
    let rule = FlowSpecRule::new(Family::V4, [Component::Destination(target), udp]).unwrap();
    let actions = Actions::new([
        Action::Traffic { sample: true, go_on: false },
        Action::Redirect(RouteTarget::Ipv4([192, 0, 2, 1].into(), 7)),
        Action::Mark(46),
    ]);
    let route = FlowSpecRoute::new(rule, actions.unwrap(), RouteAttributes::default()).unwrap();
    setup.announcer.announce(route.into());
    setup.until_announced(2);
    setup.until_has(V4, true);
    let words = ["bgp.as_path: 65010 65010 65010", "bgp.med: 7", "(rt, 65010, 9)"];
    setup.until_printed(&words, |daemon| daemon.unicast(V4));
    let words = ["0x80070000, 0x2)", "0x8108c000, 0x2010007)", "0x80090000, 0x2e)"];
    setup.until_printed(&words, |daemon| daemon.flow_spec(false));
}

#[test]
fn attributes_and_actions_are_what_was_meant() {
    attributes_and_actions(Release::Four);
}

#[test]
fn release_5_attributes_and_actions_are_what_was_meant() {
    attributes_and_actions(Release::Five);
}

/// A route that is replaced and replaced back, or withdrawn and announced, in one breath: ExaBGP
/// sends such changes in an order of its own, so they keep their distance.
fn quick_changes(release: Release) {
    let Some(setup) = Setup::new(Kind::Bird, By::Process, release) else { return };
    let ours = setup.daemon.wire.ours();
    setup.announcer.announce(with_med(2, 20, ours));
    setup.announcer.announce(with_med(1, 10, ours));
    setup.until_has("198.18.0.1/32", true);
    for med in [11, 12, 10] {
        setup.announcer.announce(with_med(1, med, ours));
        setup.until_announced(2);
    }
    setup.announcer.withdraw(with_med(2, 0, ours).key());
    until("it is withdrawn", SOON, || {
        let status = setup.announcer.status();
        if status.waiting == 0 { Ok(()) } else { Err(format!("{status:?}")) }
    });
    setup.announcer.announce(with_med(2, 20, ours));
    setup.until_announced(2);
    setup.until_printed(&["med: 10"], |daemon| daemon.unicast("198.18.0.1/32"));
    setup.until_has("198.18.0.2/32", true);
}

#[test]
fn quick_changes_end_as_the_last_was_meant() {
    quick_changes(Release::Four);
}

#[test]
fn release_5_quick_changes_end_as_the_last_was_meant() {
    quick_changes(Release::Five);
}

/// What ExaBGP itself says: a line that it does not take is no applied route.
#[test]
fn without_a_neighbour_for_it_a_route_is_not_applied() {
    for release in [Release::Four, Release::Five] {
        without_a_neighbour(release);
    }
}

fn without_a_neighbour(release: Release) {
    let Some(lab) = Lab::new().filter(|_| release.is_there()) else { return };
    let exabgp = Exabgp::without_neighbour(&lab, release);
    let (sender, outcomes) = channel();
    let config = Config::new("exabgp", Way::process(exabgp.socket()));
    let announcer = ExaBgp::start(config, sender).unwrap();
    announcer.announce(blackhole(V4, [10, 99, 1, 10].into()));
    let words = std::iter::from_fn(|| outcomes.recv_timeout(SOON).ok()).find_map(|told| match told
        .outcome
    {
        MitigationOutcome::Failed(words) if words.contains("\"error\"") => Some(words),
        MitigationOutcome::Failed(_) => None,
        other => panic!("{other:?}"),
    });
    assert!(words.is_some(), "{}", exabgp.log());
}

/// How long a thousand take, each with its answer: one at a time it was half a minute.
#[test]
fn a_thousand_routes() {
    for release in [Release::Four, Release::Five] {
        thousand_routes(release);
    }
}

fn thousand_routes(release: Release) {
    let Some(setup) = Setup::new(Kind::Bird, By::Process, release) else { return };
    until("the helper is there", SOON, || {
        let status = setup.announcer.status();
        if status.up { Ok(()) } else { Err(format!("{status:?}")) }
    });
    let ours = setup.daemon.wire.ours();
    // An ExaBGP that starts slowly is missed once.
    let failed = setup.announcer.status().failed;
    let began = Instant::now();
    for number in 0..1_000 {
        setup.announcer.announce(with_med(number, 1, ours));
    }
    until("all are taken", Duration::from_mins(2), || {
        let status = setup.announcer.status();
        if status.announced == 1_000 { Ok(()) } else { Err(format!("{status:?}")) }
    });
    println!("{release:?}: 1,000 routes were answered after {:?}", began.elapsed());
    assert_eq!(setup.announcer.status().failed, failed, "no line was refused");
    until("the router has all", Duration::from_mins(2), || {
        let count = setup.daemon.count();
        if count >= 1_000 { Ok(()) } else { Err(format!("{count}")) }
    });
    println!("{release:?}: 1,000 routes were in BIRD after {:?}", began.elapsed());
}
