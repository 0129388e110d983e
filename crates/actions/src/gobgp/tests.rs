//! The announcer with a daemon made for the purpose, of both generations.

mod faults;
mod random;

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tidewall_bgp::action::Actions;
use tidewall_bgp::flowspec::{Component, FlowSpecRule, NumericTerm, PrefixMatch};
use tidewall_bgp::{FlowSpecRoute, RouteAttributes, UnicastRoute};
use tidewall_model::MitigationOutcome;

use super::api::Api;
use super::fake::Fake;
use super::path::{Announcement, read};
use super::*;
use crate::server::{Certificate, wait_until};

const TAG: Community = Community(0xfc00_0001);
const OTHER: Community = Community(0xfc00_0002);

fn unicast(prefix: &str, next_hop: &str) -> Route {
    let communities = vec![Community::BLACKHOLE];
    let attributes = RouteAttributes { communities, ..Default::default() };
    let (prefix, next_hop) = (prefix.parse().unwrap(), next_hop.parse().unwrap());
    UnicastRoute::new(prefix, next_hop, attributes).unwrap().into()
}

/// A blackhole of one host.
fn host(number: u8) -> Route {
    unicast(&format!("203.0.113.{number}/32"), "192.0.2.1")
}

fn rule(prefix: &str, port: u64) -> Route {
    let prefix: tidewall_model::Prefix = prefix.parse().unwrap();
    let rule = FlowSpecRule::new(
        prefix.family(),
        [
            Component::Destination(PrefixMatch::new(prefix)),
            Component::Protocol(vec![NumericTerm::equal(17)]),
            Component::SourcePort(vec![NumericTerm::equal(port)]),
        ],
    );
    let attributes = RouteAttributes::default();
    FlowSpecRoute::new(rule.unwrap(), Actions::discard(), attributes).unwrap().into()
}

/// One route of each family.
fn one_of_each() -> Vec<Route> {
    vec![
        host(1),
        unicast("2001:db8::1/128", "100::1"),
        rule("203.0.113.2/32", 53),
        rule("2001:db8::2/128", 53),
    ]
}

fn config(port: u16) -> Config {
    let mut config = Config::new("edge", format!("127.0.0.1:{port}"), TAG);
    config.deadline = Duration::from_secs(20);
    config.first_pause = Duration::from_millis(20);
    config.longest_pause = Duration::from_millis(100);
    config.audit = Duration::from_hours(1);
    config
}

fn start(config: Config) -> (Box<dyn Announcer>, Receiver<RouteOutcome>) {
    let (outcomes, received) = channel();
    (Box::new(GoBgp::start(config, outcomes).unwrap()), received)
}

/// Waits for the next thing that is told.
fn told(received: &Receiver<RouteOutcome>) -> (String, MitigationOutcome) {
    let told = received.recv_timeout(Duration::from_secs(30)).unwrap();
    assert_eq!(&*told.announcer, "edge");
    (told.key.to_string(), told.outcome)
}

fn until_quiet(gobgp: &dyn Announcer) {
    wait_until("everything is done", || {
        let status = gobgp.status();
        status.up && status.waiting == 0
    });
}

/// The routes of the daemon's own paths that have this community, as words, in order.
fn tagged(fake: &Fake, tag: Community) -> Vec<String> {
    let mut found = Vec::new();
    let state = fake.state();
    for ((afi, safi, _), paths) in &state.table {
        let number = tidewall_bgp::AfiSafi { afi: *afi as u16, safi: *safi as u8 };
        let family = number.try_into().unwrap();
        for path in paths.iter().filter(|path| path.neighbor_ip == "<nil>") {
            let read = if state.binary { read } else { typed::read };
            let (key, facts) = read(family, path).unwrap();
            if facts.has(tag) {
                found.push(key.to_string());
            }
        }
    }
    found.sort();
    found
}

fn names(routes: &[Route]) -> Vec<String> {
    let mut names: Vec<String> = routes.iter().map(|route| route.key().to_string()).collect();
    names.sort();
    names
}

/// A path as somebody would have added it.
fn path_of(route: &Route, tag: Community, api: Api) -> super::api::Path {
    Announcement::of(route, tag).unwrap().path(api)
}

#[test]
fn routes_of_all_families_at_both_generations() {
    for (api, name) in [(Api::V3, "GoBGP 3.x"), (Api::V4, "GoBGP 4.x")] {
        let fake = Fake::start(api);
        let (gobgp, received) = start(config(fake.port));
        for route in one_of_each() {
            gobgp.announce(route.clone());
            let applied = (route.key().to_string(), MitigationOutcome::Applied);
            assert_eq!(told(&received), applied);
        }
        assert_eq!(tagged(&fake, TAG), names(&one_of_each()));
        let status = gobgp.status();
        let daemon = format!("{name} (AS 65001, router id 10.99.0.1) at 127.0.0.1:{}", fake.port);
        assert_eq!((status.up, &status.daemon), (true, &daemon));
        assert_eq!((status.desired, status.announced, status.waiting), (4, 4, 0));
        assert_eq!((status.done, status.failed), (4, 0));
        assert!(gobgp.routes().iter().all(|route| route.announced && route.note.is_none()));
        // The newer name is asked for first; what it says is remembered.
        let calls = std::mem::take(&mut fake.state().calls);
        assert_eq!(calls[0], "/api.GoBgpService/GetBgp");
        let service = if api == Api::V3 { "/apipb.GobgpApi/" } else { "/api.GoBgpService/" };
        assert!(calls[1..].iter().all(|call| call.starts_with(service)), "{calls:?}");
        for route in one_of_each() {
            gobgp.withdraw(route.key());
            let gone = (route.key().to_string(), MitigationOutcome::Withdrawn);
            assert_eq!(told(&received), gone);
        }
        assert!(fake.state().table.is_empty());
        assert_eq!(gobgp.status().desired, 0);
        gobgp.stop();
    }
}

/// A daemon like RustyBGP: the newer interface, without the binary fields.
#[test]
fn a_daemon_that_refuses_the_binary_form_gets_the_typed_one() {
    let fake = Fake::start(Api::V4);
    fake.state().binary = false;
    let (gobgp, received) = start(config(fake.port));
    gobgp.set(one_of_each());
    until_quiet(&*gobgp);
    assert_eq!(tagged(&fake, TAG), names(&one_of_each()));
    let adds = |fake: &Fake| fake.state().calls.iter().filter(|c| c.ends_with("AddPath")).count();
    assert_eq!(adds(&fake), 5, "the form is remembered");
    gobgp.set(vec![host(1)]);
    wait_until("the others are gone", || tagged(&fake, TAG) == names(&[host(1)]));
    let outcomes: Vec<_> = received.try_iter().map(|told| told.outcome).collect();
    assert!(!outcomes.iter().any(|outcome| matches!(outcome, MitigationOutcome::Failed(_))));
    gobgp.stop();
}

/// After our restart: what has our tag and is not desired goes, and nothing else.
#[test]
fn paths_of_an_earlier_run_are_taken_over_or_withdrawn() {
    for api in [Api::V3, Api::V4] {
        let fake = Fake::start(api);
        for route in one_of_each() {
            fake.state().put(path_of(&route, TAG, api), "<nil>");
        }
        let strangers = [host(9), rule("203.0.113.9/32", 19)];
        for route in &strangers {
            fake.state().put(path_of(route, OTHER, api), "<nil>");
        }
        // Learnt from a neighbour, with a community that happens to be our tag.
        fake.state().put(path_of(&host(8), TAG, api), "10.99.0.3");
        let (gobgp, received) = start(config(fake.port));
        gobgp.announce(host(7));
        assert_eq!(told(&received).1, MitigationOutcome::Applied);
        assert_eq!(tagged(&fake, TAG).len(), 5, "what is desired is not known yet");
        let adds = |fake: &Fake| {
            fake.state().calls.iter().filter(|call| call.ends_with("AddPath")).count()
        };
        let before = adds(&fake);
        gobgp.set(vec![host(1), host(7)]);
        until_quiet(&*gobgp);
        assert_eq!(tagged(&fake, TAG), names(&[host(1), host(7)]));
        assert_eq!(tagged(&fake, OTHER), names(&strangers));
        assert_eq!(fake.state().table.len(), 5, "and the learnt one");
        assert_eq!(adds(&fake), before, "what is there as desired is not touched");
        gobgp.stop();
        assert_eq!(tagged(&fake, TAG), names(&[host(1), host(7)]), "routes stay");
    }
}

/// A ban of an earlier run ends before the whole of what is desired is known.
#[test]
fn a_route_that_this_run_did_not_announce_is_withdrawn_by_its_tag() {
    let fake = Fake::start(Api::V3);
    fake.state().put(path_of(&host(1), TAG, Api::V3), "<nil>");
    fake.state().put(path_of(&rule("203.0.113.2/32", 53), TAG, Api::V3), "<nil>");
    fake.state().put(path_of(&host(3), OTHER, Api::V3), "<nil>");
    let (gobgp, received) = start(config(fake.port));
    for route in [host(1), rule("203.0.113.2/32", 53), host(3), host(4)] {
        gobgp.withdraw(route.key());
        assert_eq!(told(&received), (route.key().to_string(), MitigationOutcome::Withdrawn));
    }
    assert_eq!(fake.state().table.len(), 1);
    assert_eq!(tagged(&fake, OTHER), names(&[host(3)]));
    gobgp.stop();
}

#[test]
fn a_daemon_that_was_restarted_gets_everything_again() {
    let mut fake = Fake::start(Api::V3);
    let (gobgp, received) = start(config(fake.port));
    gobgp.set(one_of_each());
    until_quiet(&*gobgp);
    fake.kill();
    wait_until("it is noticed", || !gobgp.status().up);
    wait_until("all are said to have failed", || {
        gobgp.routes().iter().all(|r| r.note.as_ref().is_some_and(|n| n.contains("cannot connect")))
    });
    gobgp.announce(host(5));
    gobgp.withdraw(host(1).key());
    // It is another one now.
    fake.state().api = Api::V4;
    fake.run();
    until_quiet(&*gobgp);
    let mut wanted = one_of_each();
    wanted[0] = host(5);
    assert_eq!(tagged(&fake, TAG), names(&wanted));
    assert!(gobgp.status().daemon.starts_with("GoBGP 4.x"));
    let of_v6: Vec<_> = received
        .try_iter()
        .filter(|told| told.key == one_of_each()[1].key())
        .map(|told| matches!(told.outcome, MitigationOutcome::Failed(_)))
        .collect();
    assert_eq!(of_v6, [false, true, false], "applied, failed once, applied");
    gobgp.stop();
}

#[test]
fn what_somebody_deletes_comes_back_with_the_audit() {
    let fake = Fake::start(Api::V4);
    let audit = Duration::from_millis(100);
    let (gobgp, _received) = start(Config { audit, ..config(fake.port) });
    gobgp.set(one_of_each());
    until_quiet(&*gobgp);
    for _ in 0..3 {
        fake.state().table.clear();
        wait_until("they are back", || tagged(&fake, TAG) == names(&one_of_each()));
    }
    gobgp.stop();
}

#[test]
fn a_route_is_replaced_when_it_changes() {
    let fake = Fake::start(Api::V3);
    let (gobgp, received) = start(config(fake.port));
    for next_hop in ["192.0.2.1", "192.0.2.2", "192.0.2.2"] {
        gobgp.announce(unicast("203.0.113.1/32", next_hop));
        assert_eq!(told(&received).1, MitigationOutcome::Applied);
    }
    assert_eq!(gobgp.status().done, 2);
    let state = fake.state();
    let paths: Vec<_> = state.table.values().flatten().collect();
    assert_eq!(paths.len(), 1);
    assert!(paths[0].pattrs_binary.contains(&vec![0x40, 3, 4, 192, 0, 2, 2]));
}

#[test]
fn over_tls() {
    let certificate = Certificate::new();
    let mut server = rustls::ServerConfig::clone(&certificate.server);
    server.alpn_protocols = vec![b"h2".to_vec()];
    let fake = Fake::start_with(Api::V4, Some(Arc::new(server)));
    let mut config = config(fake.port);
    config.address = format!("localhost:{}", fake.port);
    config.tls = Some(certificate.client());
    let (gobgp, received) = start(config.clone());
    gobgp.announce(host(1));
    assert_eq!(told(&received).1, MitigationOutcome::Applied);
    gobgp.stop();
    let another = Certificate::new();
    config.tls = Some(another.client());
    let (gobgp, received) = start(config);
    gobgp.announce(host(1));
    let refused = told(&received).1;
    assert!(matches!(refused, MitigationOutcome::Failed(_)), "another authority");
    gobgp.stop();
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let server = |address: &str| Config::new("edge", address, TAG).server();
    for (address, host, port) in [
        ("127.0.0.1:50051", "127.0.0.1", 50_051),
        ("gobgp", "gobgp", 50_051),
        ("http://gobgp:5000/", "gobgp", 5_000),
        ("[::1]:50052", "::1", 50_052),
    ] {
        let server = server(address).map_err(|error| error.to_string()).unwrap();
        assert_eq!((&server.host[..], server.port, server.tls.is_some()), (host, port, false));
    }
    assert!(server("https://gobgp").is_ok_and(|server| server.tls.is_some()));
    for bad in ["", ":50051", "unix:///run/x", "http://gobgp/api", "ftp://gobgp", "a b", "a:99999"]
    {
        assert!(server(bad).is_err_and(|error| error.field == "address"), "{bad}");
    }
    let both =
        Config { tls: Some(TlsConfig::default()), ..Config::new("edge", "http://gobgp", TAG) };
    assert!(both.server().is_err());
    for tag in [Community::BLACKHOLE, Community::NO_EXPORT, Community(0), Community(5)] {
        let error = Config::new("edge", "gobgp", tag).server().err().unwrap();
        assert_eq!(error.field, "tag");
    }
    let deadline = Config { deadline: Duration::ZERO, ..Config::new("edge", "gobgp", TAG) };
    assert!(deadline.server().is_err_and(|error| error.field == "deadline"));
}
