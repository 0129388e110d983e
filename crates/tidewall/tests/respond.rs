//! The responder with its thread, a real script and a real BGP session on loopback: from an event of
//! the detector to the script and to the peer, over a restart, and to the end.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "threads and sessions take real time")]

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewall::control::Question;
use tidewall::live::clock::Clock;
use tidewall::live::hub::Hub;
use tidewall::respond::{AnnouncerSettings, Responder, Settings, Speaking};
use tidewall_actions::bgp::{ListenConfig, PeerConfig, Speaker, SpeakerConfig};
use tidewall_actions::routes::{RouteSettings, UnicastSettings};
use tidewall_actions::{Config, script};
use tidewall_engine::Policy;
use tidewall_engine::planner::{DirectedResponses, Measure, Mode, Response, Step};
use tidewall_model::{
    Address, Attack, AttackClass, AttackEvent, AttackEventKind, AttackId, Count, Direction, Family,
    Metric, Reason, Target, TopTuples, TrafficClass, TrafficCounters, Unit,
};

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(30), "still not {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn policy() -> Policy {
    Policy::for_networks(vec!["192.0.2.0/24".parse().unwrap()])
}

fn event(clock: Clock) -> AttackEvent {
    let (now, direction) = (clock.now(), Direction::Incoming);
    let attack = Attack {
        id: AttackId(1),
        target: Target::Host(Address::v4(0xc000_0207)),
        family: Family::V4,
        direction,
        class: AttackClass::UdpFlood,
        vectors: Vec::new(),
        reason: Reason {
            metric: Metric { class: TrafficClass::Total, unit: Unit::Packets },
            direction,
            value: 90_000.0,
            limit: 20_000.0,
            group: "global".to_owned(),
            window_ms: 1000,
            samples: 900,
        },
        started: now,
        detected: now,
        ended: None,
        peak_pps: 90_000,
        peak_bps: 720_000_000,
        peak_flows: 10,
        packets: 90_000,
        bytes: 90_000_000,
        rates: TrafficCounters {
            total: Count { packets: 90_000, bytes: 90_000_000 },
            ..TrafficCounters::default()
        },
        opposite: TrafficCounters::default(),
        top: TopTuples::default(),
        samples: Vec::new(),
        filters: Vec::new(),
    };
    AttackEvent { kind: AttackEventKind::Started, time: now, attack }
}

fn settings(ban_time: u64) -> Settings {
    let mut settings = Settings::default();
    let incoming = Response {
        mode: Mode::Automatic,
        ladder: vec![
            Step::new(Measure::Notify, Duration::ZERO),
            Step::new(Measure::Blackhole, Duration::ZERO),
        ],
        ban_time: Duration::from_secs(ban_time),
        minimum: Duration::from_secs(1),
        only_if_finished: false,
        ..Response::default()
    };
    settings.planner.fallback = DirectedResponses { incoming, ..DirectedResponses::default() };
    settings.planner.rails.grace_after_start = Duration::ZERO;
    settings
}

fn script(folder: &Path) -> Config {
    let path = folder.join("notify.sh");
    let calls = folder.join("calls");
    let text = format!("#!/bin/sh\ncat > /dev/null\necho \"$@\" >> {}\n", calls.display());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Config::Script(script::Config::new(path))
}

fn calls(folder: &Path, word: &str) -> usize {
    let wanted = format!("192.0.2.7 incoming 90000 {word}");
    let text = fs::read_to_string(folder.join("calls")).unwrap_or_default();
    text.lines().filter(|line| *line == wanted).count()
}

#[test]
fn the_unban_comes_at_its_time_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (state, clock) = (folder.path().join("state"), Clock::start());
    let mut settings = settings(6);
    settings.actions.push(script(folder.path()));
    let hub = Arc::new(Hub::default());
    let start = || Responder::start(&settings, &policy(), &hub, Some(&state), clock).unwrap();
    let responder = start();
    let began = Instant::now();
    hub.event(&event(clock));
    until("banned", || calls(folder.path(), "ban") == 1);
    responder.stop();
    assert_eq!(calls(folder.path(), "unban"), 0, "the ban is left to the next start");
    let responder = start();
    let bans = responder.handle().ask(&Question::Bans, "test").unwrap();
    let list = bans["mitigations"].as_array().unwrap();
    assert!(list.iter().any(|m| m["kind"] == "notify" && m["target"] == "192.0.2.7"), "{bans}");
    until("unbanned", || calls(folder.path(), "unban") == 1);
    assert!(began.elapsed() >= Duration::from_secs(6), "{:?}", began.elapsed());
    responder.stop();
}

#[test]
fn an_end_that_could_not_be_told_is_told_by_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (state, clock) = (folder.path().join("state"), Clock::start());
    let mut settings = settings(2);
    settings.actions.push(script(folder.path()));
    // The first one that is told of an end hangs, and never gets to the word of it.
    let notify = folder.path().join("notify.sh");
    let hangs = folder.path().join("hangs");
    let trap = format!("[ $4 = ban ] || ! mkdir {} 2> /dev/null || exec sleep 60", hangs.display());
    let text = fs::read_to_string(&notify).unwrap().replace("cat", &format!("{trap}\ncat"));
    fs::write(&notify, text).unwrap();
    let hub = Arc::new(Hub::default());
    let start = || Responder::start(&settings, &policy(), &hub, Some(&state), clock).unwrap();
    let responder = start();
    hub.event(&event(clock));
    until("stuck", || hangs.exists());
    assert_eq!((calls(folder.path(), "ban"), calls(folder.path(), "unban")), (1, 0));
    let bans = responder.handle().ask(&Question::Bans, "test").unwrap();
    assert_eq!(bans["mitigations"][0]["status"], "withdrawing", "{bans}");
    responder.stop();
    let responder = start();
    until("unbanned", || calls(folder.path(), "unban") == 1);
    until("forgotten", || {
        let bans = responder.handle().ask(&Question::Bans, "test").unwrap();
        bans["mitigations"].as_array().unwrap().is_empty()
    });
    responder.stop();
    assert_eq!((calls(folder.path(), "ban"), calls(folder.path(), "unban")), (1, 1));
}

/// A speaker that waits for ours, and the settings of ours.
fn session() -> (Speaker, Speaking) {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let [theirs, ours] = [[127, 0, 77, 1], [127, 0, 77, 2]].map(IpAddr::from);
    let mut peer = PeerConfig::new("us", ours, 65_002);
    peer.passive = true;
    let mut router = SpeakerConfig::new(65_001, Ipv4Addr::new(127, 0, 77, 1), vec![peer]);
    let address = SocketAddr::new(theirs, port);
    router.listen.push(ListenConfig { address, device: None });
    let mut peer = PeerConfig::new("edge1", theirs, 65_001);
    (peer.port, peer.source) = (port, Some(ours));
    (peer.retry, peer.max_retry) = (Duration::from_millis(200), Duration::from_millis(400));
    let speaker = SpeakerConfig::new(65_002, Ipv4Addr::new(127, 0, 77, 2), vec![peer]);
    let blackhole =
        UnicastSettings { next_hop_v4: Some([192, 0, 2, 1].into()), ..UnicastSettings::default() };
    let routes = RouteSettings { blackhole: Some(blackhole), ..RouteSettings::default() };
    let router = Speaker::start(router).unwrap();
    (router, Speaking { speaker, routes, exceptions: Vec::new() })
}

#[test]
fn the_peer_gets_the_route_and_loses_it_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (router, speaking) = session();
    let mut settings = settings(600);
    settings.withdraw_on_stop = true;
    settings.announcers.push(AnnouncerSettings::Bgp(Box::new(speaking)));
    let (hub, clock) = (Arc::new(Hub::default()), Clock::start());
    let responder =
        Responder::start(&settings, &policy(), &hub, Some(folder.path()), clock).unwrap();
    let handle = responder.handle();
    until("established", || {
        handle.ask(&Question::BgpPeers, "test").unwrap()[0]["state"] == "established"
    });
    hub.event(&event(clock));
    until("announced", || router.peers()[0].received.announced == 1);
    until("active", || {
        let bans = handle.ask(&Question::Bans, "test").unwrap();
        let list = bans["mitigations"].as_array().unwrap().clone();
        list.iter().any(|m| m["kind"] == "blackhole" && m["status"] == "active")
    });
    let question = Question::BgpRoutes { peer: Some("edge1".into()), flowspec: false };
    let routes = handle.ask(&question, "test").unwrap();
    assert_eq!(routes[0]["route"], "192.0.2.7/32 via 192.0.2.1", "{routes}");
    assert_eq!(routes[0]["mitigations"], serde_json::json!([2]), "{routes}");
    let began = Instant::now();
    responder.stop();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    until("withdrawn", || router.peers()[0].received.withdrawn == 1);
    let responder =
        Responder::start(&settings, &policy(), &hub, Some(folder.path()), clock).unwrap();
    let bans = responder.handle().ask(&Question::Bans, "test").unwrap();
    assert_eq!(bans["mitigations"], serde_json::json!([]), "nothing is put up again");
    responder.stop();
}
