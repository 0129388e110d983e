//! One peer: its session, its routes and its connections, driven by readiness of sockets and by time.
//! A turn does a bounded amount of work, so that no peer keeps the others waiting.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Registry, Token};
use tidewall_bgp::AdjRibOut;
use tidewall_bgp::notification::{cease, code};
use tidewall_bgp::session::{Action, ConnectionId, DownReason, Event, Session, State};
use tidewall_model::Timestamp;

use super::config::PeerConfig;
use super::link::{Link, Stage};
use super::socket;
use super::status::{self, PeerError, PeerStatus, RouteReport, SentCounters};

/// Octets of UPDATEs that are pulled at once, and kept when the peer does not read.
const PULL_OCTETS: usize = 16 * 1024;
/// So often a peer is pulled for in one turn.
const PULLS: usize = 4;
/// Connections of a peer at one time, those that are ending included.
const MAX_LINKS: usize = 8;
/// A token is the peer's slot and the number of its connection.
const SERIAL_BITS: u32 = usize::BITS / 2;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) config: PeerConfig,
    pub(super) session: Session,
    pub(super) routes: AdjRibOut,
    /// Its number among all peers there ever were.
    pub(super) slot: usize,
    /// It begins when the one in this slot has ended.
    pub(super) waits_for: Option<usize>,
    next_serial: usize,
    links: Vec<Link>,
    established: Option<ConnectionId>,
    told_initial_routes: bool,
    state: State,
    since: Timestamp,
    times_established: u64,
    /// What the system said about a connection before the session called it closed.
    trouble: Option<(ConnectionId, String)>,
    last_error: Option<PeerError>,
    last_notification: Option<PeerError>,
    sent: SentCounters,
    received_octets: u64,
    refreshes: u64,
}

impl Peer {
    pub(super) fn new(config: PeerConfig, session: Session, slot: usize, now: Timestamp) -> Self {
        let local_as = session.config().local_as;
        let routes = AdjRibOut::new(local_as, config.profile.clone());
        Self {
            config,
            session,
            routes,
            slot,
            waits_for: None,
            next_serial: 0,
            links: Vec::new(),
            established: None,
            told_initial_routes: false,
            state: State::Idle,
            since: now,
            times_established: 0,
            trouble: None,
            last_error: None,
            last_notification: None,
            sent: SentCounters::default(),
            received_octets: 0,
            refreshes: 0,
        }
    }

    /// The slot of the peer that a token is of.
    pub(super) const fn slot_of(token: Token) -> usize {
        token.0 >> SERIAL_BITS
    }

    /// A socket has become ready.
    pub(super) fn ready(&mut self, event: &mio::event::Event) {
        if let Some(link) = self.links.iter_mut().find(|link| link.token == event.token()) {
            link.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
            link.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        }
    }

    /// The peer has connected to us.
    pub(super) fn accept(&mut self, stream: TcpStream, now: Timestamp, registry: &Registry) {
        if self.links.len() >= MAX_LINKS {
            return;
        }
        let id = self.session.new_connection();
        let link = socket::adopt(&stream, &self.config)
            .and_then(|()| Link::new(id, self.next_token(), stream, Stage::Open, registry));
        match link {
            Ok(link) => {
                self.links.push(link);
                self.handle(Event::Accepted(id), now, registry);
            }
            Err(error) => self.fault(now, format!("cannot take a connection: {error}")),
        }
    }

    /// Tells the session, and does what it says.
    pub(super) fn handle(&mut self, event: Event<'_>, now: Timestamp, registry: &Registry) {
        let mut actions = Vec::new();
        self.session.handle(event, now, &mut actions);
        let mut queue = VecDeque::from(actions);
        while let Some(action) = queue.pop_front() {
            if let Some(event) = self.act(action, now, registry) {
                let mut more = Vec::new();
                self.session.handle(event, now, &mut more);
                queue.extend(more);
            }
        }
        let state = self.session.state();
        if state != self.state {
            self.state = state;
            self.since = now;
        }
    }

    /// One round of reading, time and writing; `true`: there is more to do at once.
    pub(super) fn turn(&mut self, buffer: &mut [u8], now: Timestamp, registry: &Registry) -> bool {
        let ids: Vec<ConnectionId> = self.links.iter().map(|link| link.id).collect();
        for id in ids {
            self.connect_or_read(id, buffer, now, registry);
        }
        if self.session.next_deadline().is_some_and(|at| at <= now) {
            self.handle(Event::Tick, now, registry);
        }
        self.flush_all(now, registry);
        let more = self.pull(now, registry);
        for index in (0..self.links.len()).rev() {
            if self.links.get(index).is_some_and(|link| link.is_over(now)) {
                self.links.swap_remove(index).deregister(registry);
            }
        }
        more || self.links.iter().any(|link| link.readable)
    }

    /// When the next turn is due at the latest.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let links = self.links.iter().filter_map(Link::deadline);
        links.chain(self.session.next_deadline()).min()
    }

    /// Goes on by settings that need no new session.
    pub(super) fn adjust(&mut self, config: PeerConfig) {
        self.session.set_retry(config.retry, config.max_retry);
        if config.profile != self.config.profile {
            self.routes.set_profile(config.profile.clone());
        }
        self.config = config;
    }

    /// Would the peer keep our routes until a new session is there? As far as we are asked.
    pub(super) fn is_kept_for(&self, next: &PeerConfig) -> bool {
        let keeps = if let Some(agreed) = self.session.negotiated() {
            agreed.restart.is_some()
        } else {
            // What an earlier run of ours left may still be there.
            let restart = self.session.config().graceful_restart;
            self.times_established == 0 && restart.is_some_and(|restart| restart.restarting)
        };
        keeps && next.restart_time.is_some()
    }

    /// Are all connections closed?
    pub(super) const fn is_silent(&self) -> bool {
        self.links.is_empty()
    }

    pub(super) fn status(&self) -> PeerStatus {
        let negotiated = self.session.negotiated().copied();
        let (families, waiting) = status::families(&self.routes, negotiated.as_ref());
        PeerStatus {
            name: self.config.name.clone(),
            group: self.config.group.clone(),
            address: SocketAddr::new(self.config.address, self.config.port),
            peer_as: self.config.peer_as,
            state: self.state,
            since: self.since,
            established: self.times_established,
            negotiated,
            initial_routes_sent: self.told_initial_routes,
            blocked: self.links.iter().any(|link| link.told_blocked),
            families,
            withdrawing: self.routes.withdrawing(),
            waiting,
            last_error: self.last_error.clone(),
            last_notification: self.last_notification.clone(),
            sent: self.sent,
            received: *self.session.received(),
            received_octets: self.received_octets,
            refreshes: self.refreshes,
        }
    }

    pub(super) fn route_reports(&self) -> Vec<RouteReport> {
        let report = |status: tidewall_bgp::RouteStatus<'_>| RouteReport {
            route: status.route.clone(),
            state: status.state,
            changes: status.changes.to_vec(),
        };
        self.routes.routes().map(report).collect()
    }

    /// Carries out one action; with what came of it at once.
    fn act(
        &mut self,
        action: Action,
        now: Timestamp,
        registry: &Registry,
    ) -> Option<Event<'static>> {
        match action {
            Action::Connect(id) => return self.connect(id, registry),
            Action::Send(id, bytes) => {
                self.sent.count(&bytes);
                if let Some(link) = self.link(id) {
                    link.output().extend(bytes);
                }
            }
            Action::Close(id) => {
                if let Some(link) = self.link(id) {
                    link.end(now);
                }
            }
            Action::Established(id, negotiated) => {
                self.established = Some(id);
                self.told_initial_routes = false;
                self.times_established += 1;
                self.routes.session_up(negotiated);
            }
            Action::Down { connection, established, reason } => {
                if established {
                    self.established = None;
                    self.told_initial_routes = false;
                    self.routes.session_down();
                }
                self.explain(connection, &reason, now);
            }
            Action::Refresh(family) => {
                self.refreshes += 1;
                self.routes.refresh(family);
            }
            // Routes of the peer are counted by the session and not kept.
            Action::Received(_) => {}
        }
        None
    }

    fn connect(&mut self, id: ConnectionId, registry: &Registry) -> Option<Event<'static>> {
        let token = self.next_token();
        let link = socket::connect(&self.config)
            .and_then(|stream| Link::new(id, token, stream, Stage::Connecting, registry));
        match link {
            Ok(link) => {
                self.links.push(link);
                None
            }
            Err(error) => {
                self.trouble = Some((id, format!("cannot connect: {error}")));
                Some(Event::Closed(id))
            }
        }
    }

    fn connect_or_read(
        &mut self,
        id: ConnectionId,
        buffer: &mut [u8],
        now: Timestamp,
        registry: &Registry,
    ) {
        let Some(link) = self.link(id) else { return };
        if link.stage == Stage::Connecting && link.writable {
            match link.connected() {
                Ok(false) => {
                    (link.writable, link.readable) = (false, false);
                    return;
                }
                Ok(true) => {
                    link.stage = Stage::Open;
                    self.handle(Event::Opened(id), now, registry);
                }
                Err(error) => return self.lose(id, &error, now, registry),
            }
        }
        let Some(link) = self.link(id) else { return };
        if !link.readable || matches!(link.stage, Stage::Connecting | Stage::Gone) {
            return;
        }
        let open = link.stage == Stage::Open;
        match link.read(buffer) {
            Ok(Some(0)) => {
                link.stage = Stage::Gone;
                self.handle(Event::Closed(id), now, registry);
            }
            Ok(Some(octets)) if open => {
                self.received_octets += octets as u64;
                let bytes = buffer.get(..octets).unwrap_or_default();
                self.handle(Event::Bytes(id, bytes), now, registry);
            }
            // Nothing now; or we are through with it, whatever it says.
            Ok(_) => {}
            Err(error) => self.lose(id, &error, now, registry),
        }
    }

    /// A connection has failed.
    fn lose(&mut self, id: ConnectionId, error: &io::Error, now: Timestamp, registry: &Registry) {
        if let Some(link) = self.link(id) {
            link.stage = Stage::Gone;
        }
        self.trouble = Some((id, in_words(error, &self.config)));
        self.handle(Event::Closed(id), now, registry);
    }

    fn flush_all(&mut self, now: Timestamp, registry: &Registry) {
        let ids: Vec<ConnectionId> = self.links.iter().map(|link| link.id).collect();
        for id in ids {
            self.flush(id, now, registry);
        }
    }

    fn flush(&mut self, id: ConnectionId, now: Timestamp, registry: &Registry) {
        let Some(link) = self.link(id) else { return };
        if !matches!(link.stage, Stage::Open | Stage::Ending(_)) {
            return;
        }
        let flushed = link.flush();
        let was_blocked = std::mem::replace(&mut link.told_blocked, !flushed.all);
        self.sent.octets += flushed.octets as u64;
        match (was_blocked, flushed.all) {
            (false, false) => self.handle(Event::Blocked(id), now, registry),
            (true, all) if flushed.octets > 0 => {
                self.handle(Event::Progress(id, all), now, registry);
            }
            _ => {}
        }
    }

    /// Takes UPDATEs as long as the socket takes them; `true`: there is more of both.
    fn pull(&mut self, now: Timestamp, registry: &Registry) -> bool {
        for _ in 0..PULLS {
            let Some(id) = self.established else { return false };
            let Some(link) = self.links.iter_mut().find(|link| link.id == id) else {
                return false;
            };
            if !link.writable || link.has_output() {
                return false;
            }
            let output = link.output();
            while output.len() < PULL_OCTETS && self.routes.next_message(output) {}
            self.sent.count(output);
            if output.is_empty() {
                if !self.told_initial_routes && self.routes.initial_routes_sent() {
                    self.told_initial_routes = true;
                    self.session.initial_routes_sent();
                }
                return false;
            }
            self.flush(id, now, registry);
        }
        true
    }

    /// Remembers why a connection has ended, unless that is in order.
    fn explain(&mut self, id: ConnectionId, reason: &DownReason, now: Timestamp) {
        let trouble = self.trouble.take_if(|(of, _)| *of == id);
        if let DownReason::Told(notification) = reason {
            let text = notification.to_string();
            self.last_notification = Some(PeerError { at: now, text });
        }
        match (reason, trouble) {
            (DownReason::Stopped, _) => {}
            (DownReason::Sent(told) | DownReason::Told(told), _)
                if (told.code, told.subcode) == (code::CEASE, cease::COLLISION) => {}
            (DownReason::Closed, Some((_, text))) => self.fault(now, text),
            (reason, _) => self.fault(now, reason.to_string()),
        }
    }

    pub(super) fn fault(&mut self, at: Timestamp, text: String) {
        self.last_error = Some(PeerError { at, text });
    }

    fn link(&mut self, id: ConnectionId) -> Option<&mut Link> {
        self.links.iter_mut().find(|link| link.id == id)
    }

    const fn next_token(&mut self) -> Token {
        let serial = self.next_serial;
        self.next_serial = (serial + 1) & ((1 << SERIAL_BITS) - 1);
        Token(self.slot << SERIAL_BITS | serial)
    }
}

/// An error of the system about a connection, with what to look at.
fn in_words(error: &io::Error, config: &PeerConfig) -> String {
    let peer = SocketAddr::new(config.address, config.port);
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("{peer} refuses connections: is BGP running there, and are we its neighbour?")
        }
        io::ErrorKind::ConnectionReset => format!("{peer} has reset the connection"),
        io::ErrorKind::TimedOut => format!(
            "no answer of {peer}: check the address, the port, filters, and the MD5 key if there \
             is one"
        ),
        _ => format!("connection with {peer}: {error}"),
    }
}
