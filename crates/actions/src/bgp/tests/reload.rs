//! Another configuration while sessions are there: who keeps the session, who gets another, and what
//! each peer hears and has.

use tidewall_bgp::RouteState;

use super::*;

/// A router that waits for us, at 127.0.`net`.`last`.
fn router(net: u8, last: u8, port: u16, change: impl FnOnce(&mut PeerConfig)) -> Speaker {
    let mut us = quick("us", [127, 0, net, 100].into(), port, 65_000);
    us.passive = true;
    change(&mut us);
    let own = Ipv4Addr::new(127, 0, net, last);
    let mut config = SpeakerConfig::new(65_000 + u32::from(last), own, vec![us]);
    config.listen.push(ListenConfig { address: SocketAddr::new(own.into(), port), device: None });
    Speaker::start(config).unwrap()
}

/// It, as we see it.
fn peer(net: u8, last: u8, port: u16) -> PeerConfig {
    let as_number = 65_000 + u32::from(last);
    let mut peer = quick(&format!("r{last}"), [127, 0, net, last].into(), port, as_number);
    peer.source = Some([127, 0, net, 100].into());
    peer
}

fn us(net: u8, peers: Vec<PeerConfig>) -> SpeakerConfig {
    SpeakerConfig::new(65_000, Ipv4Addr::new(127, 0, net, 100), peers)
}

fn desired(numbers: std::ops::Range<u8>) -> Vec<Desired> {
    numbers.map(|number| route(number).into()).collect()
}

fn has(router: &Speaker, routes: u64) -> bool {
    router.peers()[0].received.announced == routes
}

#[test]
fn a_peer_is_added_and_removed_and_the_others_hear_nothing() {
    let (net, port) = (31, free_port());
    let routers = [1, 2, 3].map(|last| router(net, last, port, |_| {}));
    let [first, second, third] = &routers;
    let config = |list: &[u8]| us(net, list.iter().map(|last| peer(net, *last, port)).collect());
    let speaker = Speaker::start(config(&[1, 2])).unwrap();
    speaker.set_desired(desired(0..3));
    speaker.desired_complete();
    until("announced", &[&speaker], || has(first, 3) && has(second, 3));
    let since = speaker.peers()[0].since;
    let updates = first.peers()[0].received.updates;

    let next = speaker.prepare(config(&[3, 1, 2])).unwrap();
    speaker.adopt(next, desired(0..3));
    until("the new one has all", &[&speaker], || has(third, 3));
    until("End-of-RIB", &[&speaker], || speaker.peers()[0].initial_routes_sent);
    let names: Vec<_> = speaker.peers().into_iter().map(|peer| peer.name).collect();
    assert_eq!(names, ["r3", "r1", "r2"], "in the order of the configuration");

    let next = speaker.prepare(config(&[3, 1])).unwrap();
    speaker.adopt(next, desired(0..3));
    until("the last words", &[second], || second.peers()[0].last_notification.is_some());
    let words = second.peers()[0].last_notification.clone().unwrap().text;
    assert!(words.contains("de-configured"), "{words}");
    assert!(words.contains("no longer configured here"), "{words}");

    let peers = speaker.peers();
    let kept = peers.iter().find(|peer| peer.name == "r1").unwrap();
    assert_eq!((kept.established, kept.since), (1, since), "its session went on");
    assert_eq!(first.peers()[0].received.updates, updates, "and nothing was sent to it");
    assert_eq!(peers.len(), 2);
    // It is not connected to again.
    let opens = second.peers()[0].sent.opens;
    sleep(Duration::from_millis(800));
    assert_eq!(second.peers()[0].sent.opens, opens);
}

#[test]
fn only_the_session_that_must_begins_again_and_its_routes_are_kept() {
    let (net, port) = (32, free_port());
    let [first, second] = [1, 2].map(|last| router(net, last, port, |_| {}));
    let config = |change: &dyn Fn(&mut PeerConfig)| {
        let mut peers = vec![peer(net, 1, port), peer(net, 2, port)];
        change(&mut peers[0]);
        us(net, peers)
    };
    let speaker = Speaker::start(config(&|_| {})).unwrap();
    speaker.set_desired(desired(0..3));
    speaker.desired_complete();
    until("announced", &[&speaker], || has(&first, 3) && has(&second, 3));

    let next = speaker.prepare(config(&|peer| peer.hold_time = 30)).unwrap();
    speaker.adopt(next, desired(0..3));
    until("established again", &[&speaker, &first], || {
        let peers = speaker.peers();
        peers[0].state == State::Established
            && peers[0].negotiated.is_some_and(|agreed| agreed.hold_time == 30)
    });
    until("announced again", &[&first], || has(&first, 6));
    // A reset that is not hard, and an OPEN that says that we are back: the routes stay meanwhile.
    let words = first.peers()[0].last_notification.clone().unwrap().text;
    assert!(words.starts_with("administrative reset") && words.contains("anew"), "{words}");
    let restart = first.peers()[0].negotiated.unwrap().restart.unwrap();
    assert!(restart.restarting, "{restart:?}");
    assert_eq!(speaker.peers()[1].established, 1);
    assert!(has(&second, 3));

    // Another profile needs no session; what does not fit it any more is withdrawn.
    let narrow = |peer: &mut PeerConfig| {
        (peer.hold_time, peer.profile.max_unicast) = (30, 7);
        peer.retry = Duration::from_secs(1);
        peer.max_retry = Duration::from_secs(1);
    };
    let next = speaker.prepare(config(&narrow)).unwrap();
    speaker.adopt(next, desired(0..9));
    until("the other has nine", &[&speaker], || has(&second, 9));
    until("seven fit", &[&speaker], || speaker.peers()[0].announced() == 7);
    let waits = speaker.routes("r1").unwrap();
    let waits = waits.iter().filter(|report| matches!(report.state, RouteState::Waits(_)));
    assert_eq!(waits.count(), 2);
    assert_eq!(first.peers()[0].established, 2, "once before and once for the hold time");
}

#[test]
fn another_router_id_is_another_session_with_everybody() {
    let (net, port) = (33, free_port());
    let routers = [1, 2].map(|last| router(net, last, port, |_| {}));
    let config = || us(net, vec![peer(net, 1, port), peer(net, 2, port)]);
    let speaker = Speaker::start(config()).unwrap();
    until("established", &[&speaker], || established(&speaker));
    let next = SpeakerConfig { router_id: Ipv4Addr::new(192, 0, 2, 77), ..config() };
    assert!(changes(&config(), &next).iter().all(|one| matches!(one.fate, Fate::Renewed(_))));
    speaker.adopt(speaker.prepare(next).unwrap(), desired(0..1));
    until("the new one is known", &[&speaker], || {
        routers.iter().all(|router| {
            let agreed = router.peers()[0].negotiated;
            agreed.is_some_and(|agreed| agreed.router_id == Ipv4Addr::new(192, 0, 2, 77))
        })
    });
    until("announced", &[&speaker], || routers.iter().all(|router| has(router, 1)));
}

/// Wildcard and single address of one port, in both directions; and one that somebody else has.
#[test]
fn what_cannot_be_listened_on_changes_nothing() {
    let net = 34;
    let taken = TcpListener::bind((Ipv4Addr::new(127, 0, net, 9), 0)).unwrap();
    let port = free_port();
    let listening = |address: SocketAddr| {
        let mut config = us(net, vec![quick("r1", [127, 0, net, 1].into(), 1, 65_001)]);
        config.peers[0].passive = true;
        config.listen.push(ListenConfig { address, device: None });
        config
    };
    let single = SocketAddr::new([127, 0, net, 100].into(), port);
    let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let from = SocketAddr::new([127, 0, net, 1].into(), 0);
    let knock = || {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&from.into()).unwrap();
        socket.connect(&single.into()).unwrap();
    };
    let speaker = Speaker::start(listening(single)).unwrap();
    let error = speaker.prepare(listening(taken.local_addr().unwrap())).unwrap_err();
    assert!(error.to_string().starts_with("cannot listen on"), "{error}");
    let mut bad = listening(single);
    bad.peers[0].hold_time = 1;
    assert!(speaker.prepare(bad).is_err());
    for (round, address) in [(1, single), (2, wildcard), (3, single)] {
        if round > 1 {
            drop(speaker.prepare(listening(address)).unwrap());
            speaker.adopt(speaker.prepare(listening(address)).unwrap(), Vec::new());
            // Answered once that is done.
            speaker.status();
        }
        knock();
        until("it was heard", &[&speaker], || speaker.peers()[0].sent.opens >= round);
    }
    assert_eq!(speaker.status().strangers, 0);
    // Whoever shares nothing does not get the port: a second service, for one.
    assert!(Speaker::start(listening(single)).is_err());
}

/// The socket that listens has the keys of those who may connect.
#[test]
fn keys_of_peers_that_connect_to_us_are_changed_on_the_socket() {
    let (net, port) = (35, free_port());
    let listen = SocketAddr::new([127, 0, net, 100].into(), port);
    let ours = |key: Option<&str>| {
        let mut peer = quick("r1", [127, 0, net, 1].into(), port, 65_001);
        (peer.passive, peer.md5) = (true, key.map(Secret::new));
        let mut config = us(net, vec![peer]);
        config.listen.push(ListenConfig { address: listen, device: None });
        config
    };
    let theirs = |key: Option<&str>| {
        let mut peer = quick("us", listen.ip(), port, 65_000);
        (peer.source, peer.md5) = (Some([127, 0, net, 1].into()), key.map(Secret::new));
        SpeakerConfig::new(65_001, Ipv4Addr::new(127, 0, net, 1), vec![peer])
    };
    let speaker = Speaker::start(ours(None)).unwrap();
    let router = Speaker::start(theirs(None)).unwrap();
    until("established", &[&speaker], || established(&speaker));
    for key in [Some("first"), Some("second"), None] {
        speaker.adopt(speaker.prepare(ours(key)).unwrap(), desired(0..1));
        router.adopt(router.prepare(theirs(key)).unwrap(), Vec::new());
        until("established with this key", &[&speaker, &router], || {
            let peer = &speaker.peers()[0];
            peer.state == State::Established && peer.announced() == 1 && established(&router)
        });
    }
}
