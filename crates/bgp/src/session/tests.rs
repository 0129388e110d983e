//! The state machine, event by event; two of them against each other in `pair`; any events in
//! `properties`.

mod pair;
mod properties;
mod restart;
mod timers;

use std::net::Ipv4Addr;
use std::time::Duration;

use super::*;
use crate::family::FamilySet;
use crate::message::{MAX_MESSAGE, Message, RawMessage};
use crate::open::{Capabilities, Open};
use crate::refresh::{RefreshKind, RouteRefresh};
use crate::update::write_announcements;

const LOCAL_AS: u32 = 65_010;
const PEER_AS: u32 = 65_003;
const START: Timestamp = Timestamp(1_000_000_000_000);

fn config() -> SessionConfig {
    SessionConfig::new(LOCAL_AS, PEER_AS, Ipv4Addr::new(10, 99, 0, 10))
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A session with its clock and the peer that it talks to.
struct Trial {
    session: Session,
    now: Timestamp,
}

impl Trial {
    fn new(config: SessionConfig) -> Self {
        Self { session: Session::new(config).unwrap(), now: START }
    }

    fn handle(&mut self, event: Event<'_>) -> Vec<Action> {
        let mut out = Vec::new();
        self.session.handle(event, self.now, &mut out);
        out
    }

    /// Starts, and opens the connection that is asked for.
    fn opened(&mut self) -> ConnectionId {
        let [Action::Connect(id)] = self.handle(Event::Start)[..] else { panic!("no connection") };
        assert_eq!(self.session.state(), State::Connect);
        let actions = self.handle(Event::Opened(id));
        assert!(matches!(sent(&actions)[..], [Sent::Open(_)]), "{actions:?}");
        assert_eq!(self.session.state(), State::OpenSent);
        id
    }

    fn send(&mut self, id: ConnectionId, bytes: &[u8]) -> Vec<Action> {
        self.handle(Event::Bytes(id, bytes))
    }

    /// Goes on to Established with this OPEN of the peer.
    fn established(&mut self, open: &Open) -> ConnectionId {
        let id = self.opened();
        self.confirm(id, open);
        id
    }

    fn confirm(&mut self, id: ConnectionId, open: &Open) {
        let actions = self.send(id, &bytes_of(open));
        assert_eq!(sent(&actions), [Sent::Keepalive], "{actions:?}");
        assert_eq!(self.session.state(), State::OpenConfirm);
        let actions = self.send(id, &keepalive_bytes());
        assert!(matches!(actions[..], [Action::Established(of, _)] if of == id), "{actions:?}");
        assert_eq!(self.session.state(), State::Established);
    }

    fn tick_after(&mut self, wait: Duration) -> Vec<Action> {
        self.now = self.now + wait;
        self.handle(Event::Tick)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Sent {
    Open(Open),
    Keepalive,
    Told(u8, u8),
}

/// The messages among the actions.
fn sent(actions: &[Action]) -> Vec<Sent> {
    let bytes = actions.iter().filter_map(|action| match action {
        Action::Send(_, bytes) => Some(bytes),
        _ => None,
    });
    bytes
        .map(|bytes| {
            let raw = RawMessage::parse(bytes, MAX_MESSAGE).unwrap().unwrap();
            assert_eq!(raw.length, bytes.len());
            match raw.message().unwrap() {
                Message::Open(open) => Sent::Open(open),
                Message::Keepalive => Sent::Keepalive,
                Message::Notification(n) => Sent::Told(n.code, n.subcode),
                other => panic!("{other:?}"),
            }
        })
        .collect()
}

/// NOTIFICATION, close, and the report of it.
fn assert_told(actions: &[Action], code: u8, subcode: u8) {
    assert!(sent(actions).contains(&Sent::Told(code, subcode)), "{code}/{subcode}: {actions:?}");
    assert!(
        matches!(actions, [.., Action::Close(a), Action::Down { connection: b, .. }] if a == b),
        "{actions:?}"
    );
}

fn peer_open() -> Open {
    let capabilities = Capabilities {
        families: RouteFamily::ALL.map(AfiSafi::from).to_vec(),
        route_refresh: true,
        four_octet_as: Some(PEER_AS),
        ..Capabilities::default()
    };
    let router_id = Ipv4Addr::new(10, 99, 0, 3);
    Open { two_octet_as: PEER_AS as u16, hold_time: 30, router_id, capabilities }
}

fn bytes_of(open: &Open) -> Vec<u8> {
    let mut out = Vec::new();
    open.encode(&mut out);
    out
}

fn keepalive_bytes() -> Vec<u8> {
    let mut out = Vec::new();
    keepalive(&mut out);
    out
}

/// UPDATEs that announce `count` hosts.
fn routes(count: u32) -> Vec<u8> {
    let nlri: Vec<Vec<u8>> =
        (0..count).map(|n| [&[32][..], &(0x0a00_0000 + n).to_be_bytes()].concat()).collect();
    let mut attributes = Vec::new();
    for octets in [&[0x40, 1, 1, 0][..], &[0x40, 2, 0], &[0x40, 3, 4, 10, 0, 0, 1]] {
        attributes.extend(octets);
    }
    let parsed = [&[0, 0][..], &(attributes.len() as u16).to_be_bytes(), &attributes].concat();
    let context = crate::update::UpdateContext { four_octet_as: true, internal: false };
    let attributes = crate::update::Update::parse(&parsed, context).unwrap().attributes;
    let (mut out, mut rest) = (Vec::new(), nlri.as_slice());
    while !rest.is_empty() {
        let slices = rest.iter().map(Vec::as_slice);
        let family = RouteFamily::Ipv4Unicast;
        let n = write_announcements(family, &attributes, None, slices, true, MAX_MESSAGE, &mut out);
        rest = &rest[n..];
    }
    out
}

#[test]
fn a_session_is_established_and_knows_what_both_can() {
    let mut trial = Trial::new(config());
    trial.established(&peer_open());
    let negotiated = trial.session.negotiated().unwrap();
    assert_eq!(negotiated.families, FamilySet::ALL);
    assert_eq!((negotiated.hold_time, negotiated.max_message), (30, MAX_MESSAGE));
    assert!(negotiated.four_octet_as && !negotiated.enhanced_refresh);
    assert_eq!(negotiated.restart, None);
}

/// A peer without capabilities: IPv4 unicast, AS numbers of two octets.
#[test]
fn only_what_the_peer_has_offered_is_agreed_on() {
    let mut trial = Trial::new(config());
    trial.established(&Open { capabilities: Capabilities::default(), ..peer_open() });
    let negotiated = trial.session.negotiated().unwrap();
    assert_eq!(negotiated.families, FamilySet::NONE.with(RouteFamily::Ipv4Unicast));
    assert!(!negotiated.four_octet_as);
}

/// With ADD-PATH one widely used daemon announces garbage in place of our FlowSpec rules.
#[test]
fn add_path_is_never_offered() {
    let mut trial = Trial::new(config());
    let [Action::Connect(id)] = trial.handle(Event::Start)[..] else { panic!() };
    let actions = trial.handle(Event::Opened(id));
    let [Sent::Open(open)] = &sent(&actions)[..] else { panic!() };
    assert_eq!(open.capabilities.others, [], "capability 69 would be here");
    assert_eq!(open.as_number(), LOCAL_AS);
    assert!(open.capabilities.route_refresh && open.capabilities.enhanced_refresh);
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let mut trial = Trial::new(config());
    let id = trial.opened();
    let stream = [bytes_of(&peer_open()), keepalive_bytes(), routes(3)].concat();
    let mut actions = Vec::new();
    for byte in &stream {
        actions.extend(trial.send(id, std::slice::from_ref(byte)));
    }
    assert!(matches!(
        actions[..],
        [Action::Send(..), Action::Established(..), Action::Received(_)]
    ));
    assert_eq!(trial.session.received().announced, 3);
}

#[test]
fn an_open_that_does_not_fit_is_refused() {
    let refused = |config: SessionConfig, open: Open, code, subcode| {
        let mut trial = Trial::new(config);
        let id = trial.opened();
        let actions = trial.send(id, &bytes_of(&open));
        assert_told(&actions, code, subcode);
        assert_eq!(trial.session.state(), State::Active);
        assert!(trial.session.next_deadline().is_some(), "it tries again");
    };
    let other = Capabilities { four_octet_as: Some(1), ..peer_open().capabilities };
    refused(config(), Open { capabilities: other, ..peer_open() }, 2, 2);
    refused(config(), Open { hold_time: 2, ..peer_open() }, 2, 6);
    refused(config(), Open { router_id: Ipv4Addr::UNSPECIFIED, ..peer_open() }, 2, 3);
    let internal = SessionConfig { peer_as: LOCAL_AS, ..config() };
    let capabilities = Capabilities { four_octet_as: Some(LOCAL_AS), ..Default::default() };
    let same_id = Open { router_id: config().router_id, capabilities, ..peer_open() };
    refused(internal, same_id, 2, 3);
}

#[test]
fn messages_that_cannot_come_in_a_state_end_it() {
    let refresh = {
        let mut out = Vec::new();
        let family = RouteFamily::Ipv4Unicast.into();
        RouteRefresh { family, kind: RefreshKind::Request }.encode(&mut out);
        out
    };
    let open = bytes_of(&peer_open());
    for bytes in [&keepalive_bytes(), &refresh, &routes(1)] {
        let mut trial = Trial::new(config());
        let id = trial.opened();
        assert_told(&trial.send(id, bytes), 5, 1);
    }
    for bytes in [&open, &refresh, &routes(1)] {
        let mut trial = Trial::new(config());
        let id = trial.opened();
        trial.send(id, &open);
        assert_told(&trial.send(id, bytes), 5, 2);
    }
    let mut trial = Trial::new(config());
    let id = trial.established(&peer_open());
    assert_told(&trial.send(id, &open), 5, 3);
    assert_eq!(trial.send(id, &keepalive_bytes()), [], "it is closed");
}

#[test]
fn a_stream_out_of_step_is_ended() {
    let mut trial = Trial::new(config());
    let id = trial.established(&peer_open());
    assert_told(&trial.send(id, b"HTTP/1.1 400 Bad Request\r\n"), 1, 1);
}

/// RFC 7606: a bad attribute is no reason to lose all mitigations.
#[test]
fn a_malformed_attribute_does_not_end_the_session() {
    let mut trial = Trial::new(config());
    let id = trial.established(&peer_open());
    let mut update = routes(2);
    update[26] = 7; // ORIGIN
    let actions = trial.send(id, &update);
    let [Action::Received(received)] = actions[..] else { panic!("{actions:?}") };
    assert!(received.treated_as_withdraw.is_some());
    assert_eq!((received.announced, received.withdrawn), (0, 2));
    assert_eq!(trial.session.state(), State::Established);
    update[20] = 200; // length of the withdrawn routes
    assert_told(&trial.send(id, &update), 3, 1);
}

#[test]
fn a_peer_that_sends_a_full_table_is_told_to_stop() {
    let mut trial = Trial::new(SessionConfig { received_limit: Some(100), ..config() });
    let id = trial.established(&peer_open());
    for _ in 0..5 {
        trial.send(id, &routes(100));
    }
    assert_eq!(trial.session.state(), State::Established, "the same hundred five times");
    let actions = trial.send(id, &routes(101));
    assert_told(&actions, 6, 1);
    let deadline = trial.session.next_deadline().unwrap();
    assert!(deadline.since(trial.now) >= config().max_retry / 4 * 3, "no hammering");
    let incoming = trial.session.new_connection();
    assert_told(&trial.handle(Event::Accepted(incoming)), 6, 5);
}

#[test]
fn refreshes_are_asked_of_agreed_families_only() {
    let mut trial = Trial::new(config());
    let families = vec![RouteFamily::Ipv4FlowSpec.into()];
    let capabilities = Capabilities { families, ..peer_open().capabilities };
    let id = trial.established(&Open { capabilities, ..peer_open() });
    let mut ask = |family: AfiSafi, kind| {
        let mut out = Vec::new();
        RouteRefresh { family, kind }.encode(&mut out);
        trial.send(id, &out)
    };
    let flow = RouteFamily::Ipv4FlowSpec;
    assert_eq!(ask(flow.into(), RefreshKind::Request), [Action::Refresh(flow)]);
    assert_eq!(ask(flow.into(), RefreshKind::Begin), []);
    assert_eq!(ask(RouteFamily::Ipv6Unicast.into(), RefreshKind::Request), []);
    assert_eq!(ask(AfiSafi { afi: 25, safi: 70 }, RefreshKind::Request), []);
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    let refused = |config: SessionConfig| Session::new(config).unwrap_err();
    assert_eq!(refused(SessionConfig { local_as: 0, ..config() }), ConfigError::AsNumber(0));
    assert_eq!(
        refused(SessionConfig { peer_as: 23_456, ..config() }),
        ConfigError::AsNumber(23_456)
    );
    assert_eq!(refused(SessionConfig { hold_time: 1, ..config() }), ConfigError::HoldTime(1));
    assert_eq!(
        refused(SessionConfig { families: FamilySet::NONE, ..config() }),
        ConfigError::Families
    );
    let restart = Some(RestartConfig { time: 4_096, restarting: false });
    let config = SessionConfig { graceful_restart: restart, ..config() };
    assert_eq!(refused(config), ConfigError::RestartTime(4_096));
}
