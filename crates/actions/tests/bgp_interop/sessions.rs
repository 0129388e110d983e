//! Sessions and routes: secured, both IP versions, both directions, refreshed, limited, broken.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tidewall_actions::Secret;
use tidewall_actions::bgp::{Audience, Distance, ListenConfig, PeerConfig, Speaker, SpeakerConfig};
use tidewall_bgp::RouteFamily;
use tidewall_bgp::session::{State, Stop};

use crate::daemon::{Daemon, Kind, Neighbour};
use crate::lab::{Lab, enter, run, until};
use crate::routes::{amplification, blackhole, dns_over_ipv6, many_ports, syn_flood, with_med};
use crate::{SOON, config, peer_of, start, status, until_all_have_all, until_has};

const V4: &str = "203.0.113.77/32";
const V6: &str = "2001:db8::77/128";

/// MD5, GTSM, everything that we announce, refresh, withdrawal, and our last words.
fn everything_with(kind: Kind) {
    let Some(lab) = Lab::new().filter(|_| kind.is_there()) else { return };
    let neighbour = Neighbour { md5: Some("s3cret"), gtsm: true, ..Neighbour::default() };
    let daemon = Daemon::start(kind, &lab, neighbour);
    let peer = peer_of(&daemon);
    let name = peer.name.clone();
    let speaker = start(vec![peer]);
    let v4 = blackhole(V4, daemon.wire.ours());
    let routes = [v4.clone(), blackhole(V6, daemon.wire.ours6())];
    speaker.set_desired(routes.into_iter().chain([amplification(), syn_flood(), dns_over_ipv6()]));
    until_all_have_all(&speaker);

    until_has(&daemon, V4, true);
    until_has(&daemon, V6, true);
    has_communities(&daemon, V4);
    has_communities(&daemon, V6);
    if kind.has_flow_spec() {
        rules_are_printed_as_meant(&daemon);
    } else {
        // A family that was not agreed on would end the session: it waits, and says why.
        let status = status(&speaker, &name);
        let words = "the peer has not agreed on IPv4 FlowSpec";
        assert!(
            status.waiting.iter().any(|(why, count)| why.contains(words) && *count == 2),
            "{status:#?}"
        );
        assert_eq!(status.announced(), 2);
    }

    if kind != Kind::Gobgp {
        daemon.ask_for_refresh();
        until("we are asked for our routes", SOON, || {
            let status = status(&speaker, &name);
            if status.refreshes > 0 { Ok(()) } else { Err(format!("{status:#?}")) }
        });
        until_has(&daemon, V4, true);
    }

    speaker.withdraw(v4.key(), Audience::All);
    until_has(&daemon, V4, false);
    assert!(daemon.has(V6), "only what was withdrawn is gone");
    assert_eq!(status(&speaker, &name).established, 1, "one session all the time");

    speaker.shutdown(Stop::Withdraw("maintenance".into()));
    // A peer with graceful restart drops our routes nevertheless.
    until_has(&daemon, V6, false);
    if kind != Kind::Gobgp {
        until("our words are in its log", SOON, || {
            let log = daemon.log();
            if log.contains("maintenance") { Ok(()) } else { Err(log) }
        });
    }
}

fn has_communities(daemon: &Daemon, prefix: &str) {
    let text = daemon.unicast(prefix);
    let lower = text.to_lowercase();
    let words: &[&str] = match daemon.kind {
        Kind::Bird => &["(65535,666)", "(65535,65281)", "(65010, 666, 1)"],
        Kind::Gobgp | Kind::Frr => &["blackhole", "no-export", "65010:666:1"],
        Kind::Openbgpd => &["blackhole", "no_export", "65010:666:1"],
    };
    for word in words {
        assert!(lower.contains(word), "{:?}: no {word} in:\n{text}", daemon.kind);
    }
}

/// Each daemon's own words for our three rules.
fn rules_are_printed_as_meant(daemon: &Daemon) {
    let v4: &[&str] = match daemon.kind {
        Kind::Bird => &[
            "dst 203.0.113.88/32; proto 17; sport 123,389; length 400..1500; \
             fragment !is_fragment;",
            "(generic, 0x80060000, 0x47f42400)",
            "dst 203.0.113.89/32; proto 6; tcp flags !0x0/0x2 && 0x0/0x10;",
            "(generic, 0x80060000, 0x0)",
            "(65535,65281)",
        ],
        Kind::Gobgp => &[
            "[destination: 203.0.113.88/32][protocol: ==udp][source-port: ==123 ==389]\
             [packet-length: >=400&<=1500]",
            "[rate: 125000",
            "[destination: 203.0.113.89/32][protocol: ==tcp][tcp-flags: ",
            "[discard]",
            "no-export",
        ],
        Kind::Frr => &[
            "Destination Address 203.0.113.88/32",
            "Source Port = 123 , = 389",
            "Packet Length >= 400 , <= 1500",
            "FS:rate 125000.000000",
            "Destination Address 203.0.113.89/32",
            "IP Protocol = 6",
            "FS:rate 0.000000",
        ],
        Kind::Openbgpd => &[],
    };
    let v6: &[&str] = match daemon.kind {
        Kind::Bird => &["dst 2001:db8::88/128; next header 17; sport 53;", "0x80060000, 0x0"],
        Kind::Gobgp => {
            &["[destination: 2001:db8::88/128/0][protocol: ==udp][source-port: ==53]", "[discard]"]
        }
        Kind::Frr => &["2001:db8::88/128", "Source Port = 53", "FS:rate 0.000000"],
        Kind::Openbgpd => &[],
    };
    for (is_v6, words) in [(false, v4), (true, v6)] {
        until("the rules are there as meant", SOON, || {
            let text = daemon.flow_spec(is_v6);
            match words.iter().find(|word| !text.contains(**word)) {
                None => Ok(()),
                Some(word) => Err(format!("no {word:?} in:\n{text}")),
            }
        });
    }
}

#[test]
fn everything_with_gobgp() {
    everything_with(Kind::Gobgp);
}

#[test]
fn everything_with_bird() {
    everything_with(Kind::Bird);
}

#[test]
fn everything_with_frr() {
    everything_with(Kind::Frr);
}

#[test]
fn everything_with_openbgpd() {
    everything_with(Kind::Openbgpd);
}

/// The kernel does not answer a wrong key: the words must name it.
#[test]
fn a_wrong_md5_key_gives_no_session_and_says_where_to_look() {
    let Some(lab) = Lab::new().filter(|_| Kind::ALL.into_iter().all(Kind::is_there)) else {
        return;
    };
    let neighbour = Neighbour { md5: Some("s3cret"), ..Neighbour::default() };
    let daemons = Kind::ALL.map(|kind| Daemon::start(kind, &lab, neighbour.clone()));
    let peers = daemons.iter().map(|daemon| {
        let mut peer = peer_of(daemon);
        // One of them has no key at all.
        peer.md5 = (daemon.kind != Kind::Bird).then(|| Secret::new("s3crex"));
        peer
    });
    let speaker = start(peers.collect());
    // An attempt to connect is given up after 30 s.
    until("every peer says what is wrong", Duration::from_mins(1), || {
        let peers = speaker.peers();
        assert!(peers.iter().all(|peer| peer.established == 0), "{peers:#?}");
        let said = |peer: &tidewall_actions::bgp::PeerStatus| {
            let error = peer.last_error.as_ref().map(|error| error.text.as_str());
            error.is_some_and(|text| text.contains("no answer") && text.contains("MD5"))
        };
        if peers.iter().all(said) { Ok(()) } else { Err(format!("{peers:#?}")) }
    });
}

/// Whoever checks the distance does not hear one that does not send as GTSM wants it. To the other
/// it may look as if there were a session: what was sent before the check began was heard.
#[test]
fn gtsm_of_one_side_only_gives_no_session() {
    let Some(lab) = Lab::new().filter(|_| Kind::Bird.is_there() && Kind::Gobgp.is_there()) else {
        return;
    };
    let neighbour = Neighbour { gtsm: true, ..Neighbour::default() };
    let secured = Daemon::start(Kind::Bird, &lab, neighbour);
    let open = Daemon::start(Kind::Gobgp, &lab, Neighbour::default());
    let mut plain = peer_of(&secured);
    plain.distance = Distance::Within(64);
    let mut strict = peer_of(&open);
    strict.distance = Distance::Secured(1);
    let speaker = start(vec![plain, strict]);
    speaker.announce(blackhole(V4, secured.wire.ours()));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(8) {
        let peer = status(&speaker, "Gobgp");
        assert_eq!(peer.established, 0, "{peer:#?}");
        assert!(!secured.has(V4) && !open.has(V4));
        let protocol = secured.ask(&["show", "protocols", "tidewall"]);
        assert!(!protocol.contains("Established"), "{protocol}");
        sleep(Duration::from_millis(500));
    }
}

/// IPv6 transport, secured; through a named device; over it both families.
#[test]
fn sessions_over_ipv6() {
    for kind in Kind::ALL {
        let Some(lab) = Lab::new().filter(|_| kind.is_there()) else { return };
        let neighbour =
            Neighbour { md5: Some("s3cret"), gtsm: true, ipv6: true, ..Neighbour::default() };
        let daemon = Daemon::start(kind, &lab, neighbour);
        let mut peer = peer_of(&daemon);
        peer.device = Some(daemon.wire.device.clone());
        let speaker = start(vec![peer]);
        speaker.announce(blackhole(V4, daemon.wire.ours()));
        speaker.announce(blackhole(V6, daemon.wire.ours6()));
        until_all_have_all(&speaker);
        until_has(&daemon, V6, true);
        until_has(&daemon, V4, true);
    }
}

/// Link-local addresses, which are nothing without their device: two speakers of ours.
#[test]
fn link_local_addresses() {
    let Some(lab) = Lab::new() else { return };
    let wire = lab.wire();
    let own = lab.own();
    let ends = [(own.as_str(), wire.device.as_str()), (wire.namespace.as_str(), "eth0")];
    let [ours, theirs] = ends.map(|(namespace, device)| link_local(namespace, device));
    let speaker = |as_number: u32, other: IpAddr, device: &str, listens: bool| {
        let mut peer = PeerConfig::new("other", other, 65_001 + 65_002 - as_number);
        peer.device = Some(device.into());
        peer.distance = Distance::Secured(1);
        peer.md5 = Some(Secret::new("s3cret"));
        peer.passive = listens;
        peer.retry = Duration::from_millis(500);
        peer.max_retry = Duration::from_secs(1);
        let router_id = Ipv4Addr::from(as_number);
        let mut config = SpeakerConfig::new(as_number, router_id, vec![peer]);
        if listens {
            let address = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 179);
            config.listen.push(ListenConfig { address, device: Some(device.into()) });
        }
        let speaker = Speaker::start(config).unwrap();
        speaker.desired_complete();
        speaker
    };
    enter(&wire.namespace);
    let passive = speaker(65_001, ours, "eth0", true);
    lab.enter();
    let active = speaker(65_002, theirs, &wire.device, false);
    active.announce(blackhole(V6, wire.ours6()));
    until_all_have_all(&active);
    until_all_have_all(&passive);
    assert_eq!(passive.peers()[0].sent.opens, 1);
}

/// The address once it may be used: until then connections have another source.
fn link_local(namespace: &str, device: &str) -> IpAddr {
    let question = ["ip", "-n", namespace, "-6", "-o", "addr", "show", "dev", device];
    let mut text = String::new();
    until("a link-local address", SOON, || {
        text = String::from_utf8(run(&question).stdout).unwrap();
        let usable = text.contains("fe80:") && !text.contains("tentative");
        if usable { Ok(()) } else { Err(text.clone()) }
    });
    let address = text.split_whitespace().find(|word| word.starts_with("fe80:")).unwrap();
    address.split('/').next().unwrap().parse().unwrap()
}

/// The daemon connects to us, with the key and the TTL of the listening socket.
#[test]
fn peers_connect_to_us() {
    for kind in Kind::ALL {
        let Some(lab) = Lab::new().filter(|_| kind.is_there()) else { return };
        let neighbour =
            Neighbour { md5: Some("s3cret"), gtsm: true, passive: false, ..Neighbour::default() };
        let daemon = Daemon::start(kind, &lab, neighbour);
        let mut peer = peer_of(&daemon);
        peer.passive = true;
        let listen = SocketAddr::new([0; 4].into(), 179);
        let config = SpeakerConfig {
            listen: vec![ListenConfig { address: listen, device: None }],
            ..config(vec![peer])
        };
        let speaker = Speaker::start(config).unwrap();
        speaker.desired_complete();
        speaker.announce(blackhole(V4, daemon.wire.ours()));
        until("the daemon has connected", Duration::from_mins(1), || {
            let peers = speaker.peers();
            let up = peers.iter().all(|peer| peer.state == State::Established);
            if up { Ok(()) } else { Err(format!("{peers:#?}")) }
        });
        until_has(&daemon, V4, true);
    }
}

/// Both sides connect at once: one session stays.
#[test]
fn both_sides_connect() {
    for kind in Kind::ALL {
        let Some(lab) = Lab::new().filter(|_| kind.is_there()) else { return };
        let daemon =
            Daemon::start(kind, &lab, Neighbour { passive: false, ..Neighbour::default() });
        let listen = SocketAddr::new([0; 4].into(), 179);
        let config = SpeakerConfig {
            listen: vec![ListenConfig { address: listen, device: None }],
            ..config(vec![peer_of(&daemon)])
        };
        let speaker = Speaker::start(config).unwrap();
        speaker.desired_complete();
        speaker.announce(blackhole(V4, daemon.wire.ours()));
        until_all_have_all(&speaker);
        until_has(&daemon, V4, true);
        // It stays: neither side opens another connection that would replace it.
        let established = speaker.peers()[0].established;
        sleep(Duration::from_secs(4));
        let peer = &speaker.peers()[0];
        assert_eq!((peer.state, peer.established), (State::Established, established), "{peer:#?}");
        assert!(daemon.has(V4));
    }
}

/// The limit of the peer is hit: we say so, and do not hammer.
#[test]
fn too_many_routes_for_the_peer() {
    let Some(lab) = Lab::new().filter(|_| Kind::Frr.is_there()) else { return };
    let daemon =
        Daemon::start(Kind::Frr, &lab, Neighbour { max_routes: 3, ..Neighbour::default() });
    let mut peer = peer_of(&daemon);
    peer.max_retry = Duration::from_mins(1);
    let name = peer.name.clone();
    let speaker = start(vec![peer]);
    let prefixes = (1..=5).map(|host| format!("203.0.113.{host}/32"));
    speaker.set_desired(prefixes.map(|prefix| blackhole(&prefix, daemon.wire.ours())));
    until("the peer has complained", SOON, || {
        let peer = status(&speaker, &name);
        let told = peer.last_notification.as_ref().map(|told| told.text.as_str());
        let complained = told.is_some_and(|text| text.contains("too many prefixes"));
        if complained { Ok(()) } else { Err(format!("{peer:#?}")) }
    });
    let attempts = status(&speaker, &name).sent.opens;
    sleep(Duration::from_secs(6));
    assert_eq!(status(&speaker, &name).sent.opens, attempts, "no attempt within seconds");
}

/// The peer stops answering without closing: hold time, then again from the beginning.
fn silent(kind: Kind) {
    let Some(lab) = Lab::new().filter(|_| kind.is_there()) else { return };
    let neighbour = Neighbour { hold_time: 3, ..Neighbour::default() };
    let daemon = Daemon::start(kind, &lab, neighbour);
    let speaker = start(vec![peer_of(&daemon)]);
    speaker.announce(blackhole(V4, daemon.wire.ours()));
    until_all_have_all(&speaker);
    daemon.signal(Signal::SIGSTOP);
    until("we notice", Duration::from_secs(10), || {
        let peer = &speaker.peers()[0];
        let error = peer.last_error.as_ref().map(|error| error.text.as_str());
        let noticed = error.is_some_and(|text| text.contains("hold timer expired"));
        if noticed { Ok(()) } else { Err(format!("{peer:#?}")) }
    });
    let peer = &speaker.peers()[0];
    assert_eq!((peer.announced(), peer.families[0].waiting), (0, 1), "{peer:#?}");
    daemon.signal(Signal::SIGCONT);
    until_all_have_all(&speaker);
    until_has(&daemon, V4, true);
}

#[test]
fn a_peer_that_falls_silent() {
    // OpenBGPD is several processes, of which only the first would be stopped.
    for kind in [Kind::Gobgp, Kind::Bird, Kind::Frr] {
        silent(kind);
    }
}

/// What a route carries towards a peer of another AS, and of our own.
#[test]
fn attributes_beside_bird() {
    let cases: [(bool, &[&str]); 2] = [
        (false, &["BGP.as_path: 65010 65010 65010\n", "BGP.med: 7", "(rt, 65010, 9)"]),
        (true, &["BGP.as_path: \n", "BGP.local_pref: 200", "BGP.med: 7", "(rt, 65010, 9)"]),
    ];
    for (internal, lines) in cases {
        let Some(lab) = Lab::new().filter(|_| Kind::Bird.is_there()) else { return };
        let neighbour = Neighbour { internal, ..Neighbour::default() };
        let daemon = Daemon::start(Kind::Bird, &lab, neighbour);
        let mut peer = peer_of(&daemon);
        if internal {
            peer.peer_as = crate::LOCAL_AS;
        }
        let speaker = start(vec![peer]);
        speaker.announce(crate::routes::decorated(V4, daemon.wire.ours()));
        speaker.announce(amplification());
        until_all_have_all(&speaker);
        until_has(&daemon, V4, true);
        let text = daemon.unicast(V4);
        for line in lines {
            assert!(text.contains(line), "no {line:?} in:\n{text}");
        }
        let rules = daemon.flow_spec(false);
        assert!(rules.contains("dst 203.0.113.88/32"), "{rules}");
    }
}

/// FRR ends the session over a list of seven terms, and over a rule of 240 octets; GoBGP ignores all
/// rules from then on. A long one is cut, every part arrives, and a rule behind them too.
#[test]
fn long_rules_are_taken_by_every_daemon() {
    for kind in [Kind::Gobgp, Kind::Bird, Kind::Frr] {
        let Some(lab) = Lab::new().filter(|_| kind.is_there()) else { return };
        let daemon = Daemon::start(kind, &lab, Neighbour::default());
        let speaker = start(vec![peer_of(&daemon)]);
        speaker.announce(many_ports());
        until_all_have_all(&speaker);
        speaker.announce(amplification());
        until_all_have_all(&speaker);
        until("all ports and the rule behind them are there", SOON, || {
            let text = daemon.flow_spec(false);
            let ports = (1_000..1_120).filter(|port| text.contains(&port.to_string())).count();
            let rules = text.matches("203.0.113.90/32").count();
            let all = ports == 120 && rules == 32 && text.contains("203.0.113.88/32");
            if all { Ok(()) } else { Err(text) }
        });
        let peer = &speaker.peers()[0];
        assert_eq!((peer.established, peer.state), (1, State::Established), "{peer:#?}");
    }
}

/// With ADD-PATH GoBGP 3 takes four octets out of each rule's prefix and announces the garbage: we
/// agree on it with nobody.
#[test]
fn a_daemon_that_wants_several_paths_reads_rules_as_meant() {
    for kind in [Kind::Gobgp, Kind::Openbgpd] {
        let Some(lab) = Lab::new().filter(|_| kind.is_there()) else { return };
        let neighbour = Neighbour { add_path: true, ..Neighbour::default() };
        let daemon = Daemon::start(kind, &lab, neighbour);
        let speaker = start(vec![peer_of(&daemon)]);
        speaker.set_desired([blackhole(V4, daemon.wire.ours()), amplification()]);
        until_all_have_all(&speaker);
        until_has(&daemon, V4, true);
        if kind.has_flow_spec() {
            until("the rule is there as meant", SOON, || {
                let text = daemon.flow_spec(false);
                let meant = text.contains("[destination: 203.0.113.88/32]");
                if meant { Ok(()) } else { Err(text) }
            });
        }
    }
}

/// The daemon is killed and started again: it gets everything again.
#[test]
fn a_peer_that_restarts() {
    for kind in Kind::ALL {
        let Some(lab) = Lab::new().filter(|_| kind.is_there()) else { return };
        let mut daemon = Daemon::start(kind, &lab, Neighbour::default());
        let speaker = start(vec![peer_of(&daemon)]);
        speaker.announce(blackhole(V4, daemon.wire.ours()));
        until_all_have_all(&speaker);
        until_has(&daemon, V4, true);
        daemon.restart();
        until("a second session", SOON, || {
            let peer = &speaker.peers()[0];
            if peer.established >= 2 { Ok(()) } else { Err(format!("{peer:#?}")) }
        });
        until_has(&daemon, V4, true);
    }
}

/// A socket that takes OPEN and KEEPALIVE and then reads nothing: the others do not wait.
#[test]
fn a_peer_that_does_not_read_slows_no_other() {
    let Some(lab) = Lab::new().filter(|_| Kind::Bird.is_there()) else { return };
    let daemon = Daemon::start(Kind::Bird, &lab, Neighbour::default());
    let address = SocketAddr::new([127, 0, 0, 1].into(), 1790);
    let listener = TcpListener::bind(address).unwrap();
    socket2::SockRef::from(&listener).set_recv_buffer_size(4_096).unwrap();
    let mut mute = PeerConfig::new("mute", address.ip(), 65_009);
    mute.port = address.port();
    mute.families = tidewall_bgp::FamilySet::NONE.with(RouteFamily::Ipv4Unicast);
    let speaker = start(vec![mute, peer_of(&daemon)]);
    let _connection = mute_session(&listener);
    until_all_have_all(&speaker);
    // Different attributes make each route a message of its own. BIRD gets all of them again and
    // again; what the socket of the other takes comes to an end.
    let next_hop = daemon.wire.ours();
    let replace_all = |round: u32| {
        speaker.set_desired((0..1_000).map(|number| with_med(number, round, next_hop)));
    };
    let mut round = 0;
    while !status(&speaker, "mute").blocked {
        round += 1;
        assert!(round < 100, "{:#?}", speaker.peers());
        replace_all(round);
        until("BIRD was sent all", SOON, || {
            let peer = status(&speaker, "Bird");
            if peer.announced() == 1_000 { Ok(()) } else { Err(format!("{peer:#?}")) }
        });
    }
    println!("blocked in round {round}");
    // What comes now replaces what waits: there is never more than the difference.
    for further in 1..=20 {
        replace_all(round + further);
        until("BIRD was sent all", SOON, || {
            let peer = status(&speaker, "Bird");
            if peer.announced() == 1_000 { Ok(()) } else { Err(format!("{peer:#?}")) }
        });
    }
    let peer = status(&speaker, "mute");
    assert!(peer.blocked && peer.state == State::Established, "{peer:#?}");
    assert_eq!(peer.pending(), 1_000, "{peer:#?}");
    let newest = format!("MED: {}", round + 20);
    until("BIRD has the newest", SOON, || {
        let text = daemon.unicast("198.18.3.231/32");
        if text.to_uppercase().contains(&newest) { Ok(()) } else { Err(text) }
    });
}

/// Answers OPEN and KEEPALIVE by hand.
fn mute_session(listener: &TcpListener) -> TcpStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut message = [0; 512];
    let octets = stream.read(&mut message).unwrap();
    assert_eq!(message.get(18), Some(&1), "OPEN of {octets} octets");
    // AS 65009, hold time 0: nothing of us is expected afterwards.
    let mut open = vec![0xff; 16];
    open.extend([0, 29, 1, 4, 0xfd, 0xf1, 0, 0, 10, 99, 0, 99, 0]);
    let mut keepalive = vec![0xff; 16];
    keepalive.extend([0, 19, 4]);
    std::io::Write::write_all(&mut stream, &[open, keepalive].concat()).unwrap();
    stream
}
