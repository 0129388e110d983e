//! Speakers beside each other on loopback addresses: what needs no daemon of another project.

#![expect(clippy::disallowed_methods, reason = "sockets take real time")]

mod reload;

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tidewall_bgp::session::{State, Stop};
use tidewall_bgp::{Route, RouteAttributes, UnicastRoute};

use super::*;
use crate::Secret;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn until(what: &str, speakers: &[&Speaker], mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        let peers: Vec<_> = speakers.iter().map(|speaker| speaker.status()).collect();
        assert!(began.elapsed() < Duration::from_secs(20), "still not {what}: {peers:#?}");
        sleep(Duration::from_millis(20));
    }
}

fn established(speaker: &Speaker) -> bool {
    speaker.peers().iter().all(|peer| peer.state == State::Established)
}

/// A port that nothing listens on now.
fn free_port() -> u16 {
    TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port()
}

fn quick(name: &str, address: IpAddr, port: u16, peer_as: u32) -> PeerConfig {
    let mut peer = PeerConfig::new(name, address, peer_as);
    peer.port = port;
    peer.retry = Duration::from_millis(200);
    peer.max_retry = Duration::from_millis(400);
    peer
}

/// Two speakers that know each other: the first listens, the second too if it is told so.
fn pair(
    addresses: [IpAddr; 2],
    both_listen: bool,
    change: impl Fn(&mut PeerConfig),
) -> [SpeakerConfig; 2] {
    let port = free_port();
    let [first, second] = addresses;
    let config = |own: IpAddr, other: IpAddr, number: u8, listens: bool| {
        let as_number = 65_000 + u32::from(number);
        let mut peer = quick("other", other, port, 65_003 - u32::from(number));
        peer.source = Some(own);
        peer.passive = listens && !both_listen;
        change(&mut peer);
        let mut config =
            SpeakerConfig::new(as_number, Ipv4Addr::new(192, 0, 2, number), vec![peer]);
        if listens {
            let address = SocketAddr::new(own, port);
            config.listen.push(ListenConfig { address, device: None });
        }
        config
    };
    [config(first, second, 1, true), config(second, first, 2, both_listen)]
}

fn v4_pair() -> [IpAddr; 2] {
    [Ipv4Addr::new(127, 0, 7, 1).into(), Ipv4Addr::new(127, 0, 7, 2).into()]
}

fn route(last: u8) -> Route {
    let prefix = format!("203.0.113.{last}/32").parse().unwrap();
    let next_hop = IpAddr::from([192, 0, 2, 1]);
    UnicastRoute::new(prefix, next_hop, RouteAttributes::default()).unwrap().into()
}

#[test]
fn routes_go_to_the_peer_and_only_those_that_were_put_in() {
    let [first, second] = pair(v4_pair(), false, |peer| {
        peer.md5 = Some(Secret::new("s3cret"));
        peer.distance = Distance::Secured(1);
    });
    let [first, second] = [first, second].map(|config| Speaker::start(config).unwrap());
    until("established", &[&first, &second], || established(&first) && established(&second));
    second.announce(route(7));
    second.announce(Desired { route: route(8), audience: Audience::Peer("other".into()) });
    second.announce(Desired { route: route(9), audience: Audience::Group("none".into()) });
    until("received", &[&first, &second], || first.peers()[0].received.announced == 2);
    second.withdraw(route(7).key(), Audience::All);
    until("withdrawn", &[&first, &second], || first.peers()[0].received.withdrawn == 1);
    let reports = second.routes("other").unwrap();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].route, route(8));
    assert_eq!(reports[0].state, tidewall_bgp::RouteState::Announced);
    assert!(second.routes("nobody").is_none());
    assert_eq!(first.peers()[0].sent.updates, 0, "nothing desired, nothing sent");
}

#[test]
fn end_of_rib_waits_until_the_desired_set_is_complete() {
    let configs = pair(v4_pair().map(next_network), false, |_| {});
    let [first, second] = configs.map(|config| Speaker::start(config).unwrap());
    second.announce(route(7));
    until("received", &[&first, &second], || first.peers()[0].received.announced == 1);
    assert!(!second.peers()[0].initial_routes_sent);
    let before = first.peers()[0].received.updates;
    second.desired_complete();
    until("four times End-of-RIB", &[&first, &second], || {
        first.peers()[0].received.updates == before + 4
    });
    assert!(second.peers()[0].initial_routes_sent);
}

fn next_network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            Ipv4Addr::new(a, b, c + 1, d).into()
        }
        IpAddr::V6(_) => address,
    }
}

/// IPv6, secured, on its own loopback address: both ends are ::1.
#[test]
fn ipv6_with_key_and_hop_limit() {
    let address = IpAddr::from(Ipv6Addr::LOCALHOST);
    let [mut first, second] = pair([address, address], false, |peer| {
        peer.md5 = Some(Secret::new("s3cret"));
        peer.distance = Distance::Secured(1);
        peer.device = Some("lo".into());
    });
    first.listen[0].device = Some("lo".into());
    let [first, second] = [first, second].map(|config| Speaker::start(config).unwrap());
    until("established", &[&first, &second], || established(&first) && established(&second));
}

#[test]
fn of_two_connections_one_stays() {
    let network = v4_pair().map(next_network).map(next_network);
    let [first, second] = pair(network, true, |_| {});
    let [first, second] = [first, second].map(|config| Speaker::start(config).unwrap());
    until("established", &[&first, &second], || established(&first) && established(&second));
    first.announce(route(1));
    second.announce(route(2));
    until("both have one route", &[&first, &second], || {
        first.peers()[0].received.announced > 0 && second.peers()[0].received.announced > 0
    });
    let times = [&first, &second].map(|speaker| speaker.peers()[0].established);
    sleep(Duration::from_secs(1));
    assert_eq!([&first, &second].map(|speaker| speaker.peers()[0].established), times);
}

#[test]
fn the_last_words_arrive_and_without_words_none_do() {
    for stop in [Stop::Withdraw("maintenance".into()), Stop::Keep] {
        let network = if stop == Stop::Keep { [127, 0, 11, 1] } else { [127, 0, 12, 1] };
        let addresses = [IpAddr::from(network), IpAddr::from([127, 0, network[2], 2])];
        let configs = pair(addresses, false, |_| {});
        let [first, second] = configs.map(|config| Speaker::start(config).unwrap());
        until("established", &[&first, &second], || established(&first) && established(&second));
        let began = Instant::now();
        second.shutdown(stop.clone());
        assert!(began.elapsed() < Duration::from_secs(2), "the peer closes too, and we end");
        until("down", &[&first], || first.peers()[0].last_error.is_some());
        let error = first.peers()[0].last_error.clone().unwrap().text;
        if stop == Stop::Keep {
            assert!(error.contains("closed by the peer"), "{error}");
        } else {
            assert!(error.contains("hard reset") && error.contains("maintenance"), "{error}");
        }
    }
}

#[test]
fn a_reset_begins_again() {
    let configs = pair([[127, 0, 13, 1], [127, 0, 13, 2]].map(IpAddr::from), false, |_| {});
    let [first, second] = configs.map(|config| Speaker::start(config).unwrap());
    until("established", &[&first, &second], || established(&first) && established(&second));
    second.reset("other", "new policy");
    until("established again", &[&first, &second], || {
        established(&second) && second.peers()[0].established == 2
    });
    let error = first.peers()[0].last_error.clone().unwrap().text;
    assert!(error.contains("new policy"), "{error}");
}

#[test]
fn whoever_is_no_peer_is_sent_away_and_counted() {
    let [config, _] = pair([[127, 0, 14, 1], [127, 0, 14, 2]].map(IpAddr::from), false, |_| {});
    let address = config.listen[0].address;
    let speaker = Speaker::start(config).unwrap();
    let mut stranger = TcpStream::connect(address).unwrap();
    let read = stranger.read(&mut [0; 16]);
    assert!(matches!(read, Ok(0)) || read.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
    let status = speaker.status();
    assert_eq!(status.strangers, 1);
    assert_eq!(status.last_stranger, Some(stranger.local_addr().unwrap()));
    assert_eq!(status.peers[0].sent.opens, 0);
}

#[test]
fn what_the_system_refuses_is_said_in_words() {
    let taken = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let address = taken.local_addr().unwrap();
    let config = |peer: PeerConfig| SpeakerConfig::new(65_001, LOOPBACK, vec![peer]);
    let mut busy = config(quick("other", [127, 0, 0, 9].into(), 1, 65_002));
    busy.listen.push(ListenConfig { address, device: None });
    let error = Speaker::start(busy).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {address}: ")), "{error}");

    let refusing = quick("refusing", LOOPBACK.into(), free_port(), 65_002);
    let mut nowhere = quick("nowhere", LOOPBACK.into(), 1, 65_002);
    nowhere.source = Some([192, 0, 2, 99].into());
    let mut wireless = quick("wireless", LOOPBACK.into(), 1, 65_002);
    wireless.device = Some("nosuchdevice0".into());
    for (peer, words) in [
        (refusing, "refuses connections"),
        (nowhere, "cannot use 192.0.2.99 as source"),
        (wireless, "cannot use the device nosuchdevice0"),
    ] {
        let speaker = Speaker::start(config(peer)).unwrap();
        let text = || speaker.peers()[0].last_error.clone().map(|error| error.text);
        until(words, &[&speaker], || text().is_some_and(|text| text.contains(words)));
    }
}

/// Answers of a peer, octet by octet, and then nothing but noise: the session ends, we go on.
#[test]
fn noise_ends_the_session_and_not_the_speaker() {
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = quick("noisy", LOOPBACK.into(), port, 65_009);
    let speaker = Speaker::start(SpeakerConfig::new(65_001, LOOPBACK, vec![peer])).unwrap();
    speaker.announce(route(7));
    let (mut stream, _) = listener.accept().unwrap();
    let mut open = vec![0xff; 16];
    open.extend([0, 29, 1, 4, 0xfd, 0xf1, 0, 90, 10, 99, 0, 99, 0]);
    open.extend([0xff; 16]);
    open.extend([0, 19, 4]);
    for octet in open {
        stream.write_all(&[octet]).unwrap();
    }
    until("established", &[&speaker], || established(&speaker));
    until("sent", &[&speaker], || speaker.peers()[0].announced() == 1);
    stream.write_all(&vec![0xaa; 100_000]).unwrap_or_default();
    until("ended", &[&speaker], || {
        let error = speaker.peers()[0].last_error.clone();
        error.is_some_and(|error| error.text.contains("message header error"))
    });
    let (_again, _) = listener.accept().unwrap();
}

/// The peer says why and resets at once, while we write: its words are not lost.
#[test]
fn words_before_a_reset_are_read() {
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let peer = quick("hasty", LOOPBACK.into(), port, 65_009);
    let speaker = Speaker::start(SpeakerConfig::new(65_001, LOOPBACK, vec![peer])).unwrap();
    for round in 1..=5 {
        let (mut stream, _) = listener.accept().unwrap();
        let mut greeting = vec![0xff; 16];
        greeting.extend([0, 29, 1, 4, 0xfd, 0xf1, 0, 90, 10, 99, 0, 99, 0]);
        greeting.extend([0xff; 16]);
        greeting.extend([0, 19, 4]);
        stream.write_all(&greeting).unwrap();
        until("established", &[&speaker], || speaker.peers()[0].established == round);
        speaker.set_desired((0..200).map(route));
        // Administrative shutdown; closed with our messages unread, which resets the connection.
        let mut farewell = vec![0xff; 16];
        farewell.extend([0, 24, 3, 6, 2, 2, b'n', b'o']);
        stream.write_all(&farewell).unwrap();
        drop(stream);
        speaker.set_desired((0..100).map(route));
        until("told", &[&speaker], || speaker.peers()[0].last_notification.is_some());
        let status = &speaker.peers()[0];
        let told = status.last_notification.clone().unwrap();
        assert_eq!(told.text, "administrative shutdown (6/2): \"no\"", "{status:#?}");
    }
}
