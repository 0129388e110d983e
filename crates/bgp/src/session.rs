//! The session with one peer (RFC 4271 §8): a state machine that is told what happened and says
//! what to do. Time is an argument; the transport does the connecting, reading and writing.
//!
//! One session has up to one connection of each direction until collision detection has decided;
//! each has its own state. Writes of the session itself are small (OPEN, KEEPALIVE, NOTIFICATION,
//! and none but a NOTIFICATION while the transport is blocked); UPDATEs are pulled from
//! [`AdjRibOut`](crate::AdjRibOut) when the transport can take them.

mod collision;
mod config;
mod connection;
mod message;
mod negotiate;
mod received;
mod timer;

#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use thiserror::Error;
use tidewall_model::Timestamp;

use crate::family::{AfiSafi, RouteFamily};
use crate::message::keepalive;
use crate::notification::{Notification, cease, code, open_error};
use connection::{Connection, Phase};
use received::Received;
use timer::{CONNECT_WAIT, Jitter, OPEN_WAIT, STABLE_AFTER};

pub use config::{ConfigError, RestartConfig, SessionConfig};
pub use negotiate::{Negotiated, PeerRestart};
pub use received::{ReceivedCounters, ReceivedUpdate};

/// One TCP connection of a session; never used again once closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(u32);

/// How a session is ended by the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Say so and why; the peer drops our routes at once, graceful restart or not.
    Withdraw(String),
    /// Close without a word: a peer with graceful restart keeps our routes. For upgrades.
    Keep,
    /// Say that the peer is no longer configured; it drops our routes at once.
    Deconfigure(String),
    /// A new session follows at once: a peer with graceful restart keeps our routes until it is
    /// there. These words are said where they do not make it drop them.
    Renew(String),
}

/// What connections are ended with.
#[derive(Clone, Debug)]
enum Farewell {
    /// Not a word.
    Silence,
    /// The peer drops our routes, graceful restart or not.
    Hard(Notification),
    /// The peer keeps our routes if it can.
    Soft(Notification),
}

impl Farewell {
    /// What a connection of this phase is told.
    fn to(&self, phase: &Phase) -> Option<Notification> {
        let restart = match phase {
            Phase::Connecting => return None,
            Phase::Established { negotiated, .. } => negotiated.restart,
            Phase::OpenSent | Phase::OpenConfirm(_) => None,
        };
        // RFC 4724 §4: any NOTIFICATION drops routes; RFC 8538 §4: only a hard reset does.
        match (self, restart) {
            (Self::Silence, _) => None,
            (Self::Hard(words), Some(restart)) if restart.on_notification => {
                Some(words.hard_reset())
            }
            (Self::Soft(_), Some(restart)) if !restart.on_notification => None,
            (Self::Hard(words) | Self::Soft(words), _) => Some(words.clone()),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// The peer is wanted.
    Start,
    /// The peer is no longer wanted.
    Stop(Stop),
    /// End the session and begin again, with these words.
    Reset(String),
    /// A connection that we asked for is open.
    Opened(ConnectionId),
    /// The peer has opened a connection; the id is of [`Session::new_connection`].
    Accepted(ConnectionId),
    /// A connection could not be opened, or was closed by the peer, or failed.
    Closed(ConnectionId),
    /// Bytes of the peer.
    Bytes(ConnectionId, &'a [u8]),
    /// The transport could not write all that it was given.
    Blocked(ConnectionId),
    /// A blocked transport has written something; `true`: everything.
    Progress(ConnectionId, bool),
    /// It is late: see [`Session::next_deadline`].
    Tick,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection to the peer.
    Connect(ConnectionId),
    /// Write these bytes.
    Send(ConnectionId, Vec<u8>),
    /// Close once what was given before is written, or cannot be.
    Close(ConnectionId),
    /// Routes may be sent on this connection.
    Established(ConnectionId, Negotiated),
    /// A connection is over.
    Down {
        /// Which.
        connection: ConnectionId,
        /// Was the session established? Then its routes are to be announced again.
        established: bool,
        /// Why.
        reason: DownReason,
    },
    /// The peer wants our routes of a family again.
    Refresh(RouteFamily),
    /// The peer has sent routes, which we do not keep.
    Received(ReceivedUpdate),
}

/// Why a connection is over.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DownReason {
    /// No answer when connecting.
    #[error("no answer: check the address, the port, filters, and the MD5 key if there is one")]
    NoAnswer,
    /// Refused, or closed by the peer without a word.
    #[error("connection refused or closed by the peer")]
    Closed,
    /// Closed by us without a word.
    #[error("closed")]
    Stopped,
    /// We ended it, and said why.
    #[error("we sent: {0}")]
    Sent(Notification),
    /// The peer ended it, and said why.
    #[error("the peer sent: {0}")]
    Told(Notification),
    /// The peer did not read for too long (RFC 9687).
    #[error("the peer does not read what we send")]
    SendHold,
    /// The peer has opened a new connection and graceful restart keeps its routes (RFC 4724 §5).
    #[error("replaced by a new connection of the peer")]
    Replaced,
}

/// States of RFC 4271 §8.2.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Not started.
    Idle,
    /// Waiting for the peer, or for the next attempt.
    Active,
    /// Connecting.
    Connect,
    /// OPEN sent.
    OpenSent,
    /// OPEN received.
    OpenConfirm,
    /// Routes flow.
    Established,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The session with one peer.
#[derive(Clone, Debug)]
pub struct Session {
    config: SessionConfig,
    connections: Vec<Connection>,
    next_id: u32,
    jitter: Jitter,
    started: bool,
    /// When to connect again; only without a connection.
    retry_at: Option<Timestamp>,
    /// Attempts since the last session that lasted.
    failures: u32,
    /// Connections of the peer are refused until then: it has sent too many routes.
    refuse_until: Option<Timestamp>,
    /// Until then, OPEN says that we have restarted.
    restart_until: Option<Timestamp>,
    /// The peer does not like optional capabilities.
    plain_open: bool,
    received: Received,
}

impl Session {
    /// A session that is not started.
    pub fn new(config: SessionConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            jitter: Jitter::new(config.seed),
            received: Received::new(config.received_limit),
            config,
            connections: Vec::new(),
            next_id: 0,
            started: false,
            retry_at: None,
            failures: 0,
            refuse_until: None,
            restart_until: None,
            plain_open: false,
        })
    }

    /// Other waits between attempts: they need no new session.
    pub const fn set_retry(&mut self, retry: Duration, max_retry: Duration) {
        self.config.retry = retry;
        self.config.max_retry = max_retry;
    }

    /// What it was made from.
    pub const fn config(&self) -> &SessionConfig {
        &self.config
    }

    /// The state of the connection that has come furthest.
    pub fn state(&self) -> State {
        let waiting = if self.started { State::Active } else { State::Idle };
        self.connections.iter().map(|c| c.phase.state()).max().map_or(waiting, |s| s.max(waiting))
    }

    /// What was agreed on, while established.
    pub fn negotiated(&self) -> Option<&Negotiated> {
        self.connections.iter().find_map(|connection| match &connection.phase {
            Phase::Established { negotiated, .. } => Some(negotiated),
            _ => None,
        })
    }

    /// What was received, since the session was made.
    pub const fn received(&self) -> &ReceivedCounters {
        self.received.counters()
    }

    /// An id for a connection that the peer has opened.
    pub fn new_connection(&mut self) -> ConnectionId {
        self.next_id = self.next_id.wrapping_add(1);
        ConnectionId(self.next_id)
    }

    /// The initial routes are sent, End-of-RIB included: from now on we have not just restarted.
    pub fn initial_routes_sent(&mut self) {
        self.restart_until = None;
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let connections = self.connections.iter().filter_map(Connection::next_deadline);
        connections.chain(self.retry_at).min()
    }

    /// Takes an event in, and appends what is to be done. Events of connections that are closed are
    /// ignored.
    pub fn handle(&mut self, event: Event<'_>, now: Timestamp, out: &mut Vec<Action>) {
        match event {
            Event::Start => self.start(now, out),
            Event::Stop(stop) => self.stop(&stop, now, out),
            Event::Reset(text) => {
                let notification = Notification::cease(cease::RESET, &text);
                self.end_all(&Farewell::Hard(notification), now, out);
            }
            Event::Opened(id) => {
                if let Some(connection) = self.find(id)
                    && connection.phase == Phase::Connecting
                {
                    self.open(id, now, out);
                }
            }
            Event::Accepted(id) => self.accept(id, now, out),
            Event::Closed(id) => self.lose(id, DownReason::Closed, now, out),
            Event::Bytes(id, bytes) => self.take_bytes(id, bytes, now, out),
            Event::Blocked(id) => {
                if let Some(connection) = self.find(id) {
                    connection.block(now);
                }
            }
            Event::Progress(id, all) => {
                if let Some(connection) = self.find(id) {
                    connection.unblock(all, now);
                }
            }
            Event::Tick => self.tick(now, out),
        }
    }

    fn start(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        if self.started {
            return;
        }
        self.started = true;
        self.failures = 0;
        self.plain_open = false;
        self.refuse_until = None;
        self.restart_until = self
            .config
            .graceful_restart
            .filter(|restart| restart.restarting)
            .map(|restart| now + restart.duration());
        self.connect(now, out);
    }

    fn stop(&mut self, stop: &Stop, now: Timestamp, out: &mut Vec<Action>) {
        self.started = false;
        self.retry_at = None;
        let farewell = match stop {
            Stop::Withdraw(text) => Farewell::Hard(Notification::cease(cease::SHUTDOWN, text)),
            Stop::Deconfigure(text) => {
                Farewell::Hard(Notification::cease(cease::DECONFIGURED, text))
            }
            Stop::Renew(text) => Farewell::Soft(Notification::cease(cease::RESET, text)),
            Stop::Keep => Farewell::Silence,
        };
        self.end_all(&farewell, now, out);
    }

    fn end_all(&mut self, farewell: &Farewell, now: Timestamp, out: &mut Vec<Action>) {
        for connection in std::mem::take(&mut self.connections) {
            match farewell.to(&connection.phase) {
                Some(notification) => connection.tell(notification, out),
                None => connection.close(DownReason::Stopped, out),
            }
        }
        self.retry_later(now);
    }

    fn connect(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        self.retry_at = None;
        if self.config.passive || !self.connections.is_empty() {
            return;
        }
        let id = self.new_connection();
        let mut connection = Connection::new(id, true);
        connection.hold = Some(now + CONNECT_WAIT);
        self.connections.push(connection);
        out.push(Action::Connect(id));
    }

    fn accept(&mut self, id: ConnectionId, now: Timestamp, out: &mut Vec<Action>) {
        let refused = self.refuse_until.is_some_and(|until| now < until);
        if !self.started || refused {
            Connection::new(id, false).tell(Notification::new(code::CEASE, cease::REJECTED), out);
            return;
        }
        // The peer opens one connection at a time: of an older one it has forgotten.
        let stale = |c: &Connection| !c.outgoing && c.phase.state() != State::Established;
        if let Some(index) = self.connections.iter().position(stale) {
            self.connections.swap_remove(index).close(DownReason::Replaced, out);
        }
        self.connections.push(Connection::new(id, false));
        self.open(id, now, out);
    }

    /// Sends OPEN on a connection that is there.
    fn open(&mut self, id: ConnectionId, now: Timestamp, out: &mut Vec<Action>) {
        let restarting = self.restart_until.is_some_and(|until| now < until);
        let open = negotiate::open(&self.config, restarting, self.plain_open);
        if let Some(connection) = self.find(id) {
            let mut bytes = Vec::new();
            open.encode(&mut bytes);
            connection.phase = Phase::OpenSent;
            connection.hold = Some(now + OPEN_WAIT);
            out.push(Action::Send(id, bytes));
        }
    }

    fn lose(&mut self, id: ConnectionId, why: DownReason, now: Timestamp, out: &mut Vec<Action>) {
        let Some(index) = self.connections.iter().position(|c| c.id == id) else { return };
        self.lost(self.connections.get(index).cloned(), &why, now);
        self.connections.swap_remove(index).close(why, out);
        self.retry_later(now);
    }

    /// What the end of a connection means for the next attempt.
    fn lost(&mut self, connection: Option<Connection>, why: &DownReason, now: Timestamp) {
        let Some(connection) = connection else { return };
        match &connection.phase {
            Phase::Established { since, .. } if now.since(*since) >= STABLE_AFTER => {
                self.failures = 0;
            }
            _ => {}
        }
        let (told, notification) = match why {
            DownReason::Told(notification) => (true, notification),
            DownReason::Sent(notification) => (false, notification),
            _ => return,
        };
        let notification = notification.inside().unwrap_or_else(|| notification.clone());
        match (notification.code, notification.subcode) {
            (code::OPEN, open_error::CAPABILITY | open_error::PARAMETER) if told => {
                self.plain_open = true;
            }
            // Its limit hit us, or ours hit it: trying again at once would do the same.
            (code::CEASE, cease::MAX_PREFIXES) => {
                self.failures = u32::MAX;
                if !told {
                    self.refuse_until = Some(now + self.config.max_retry);
                }
            }
            _ => {}
        }
    }

    /// Sets the time of the next attempt when there is no connection.
    fn retry_later(&mut self, now: Timestamp) {
        if !self.started || !self.connections.is_empty() || self.config.passive {
            return;
        }
        let factor = 1u32.checked_shl(self.failures).filter(|factor| *factor != 0);
        let delay = self.config.retry.saturating_mul(factor.unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now + self.jitter.shorten(delay.min(self.config.max_retry)));
    }

    fn tick(&mut self, now: Timestamp, out: &mut Vec<Action>) {
        let ids: Vec<ConnectionId> = self.connections.iter().map(|c| c.id).collect();
        for id in ids {
            let Some(connection) = self.connections.iter_mut().find(|c| c.id == id) else {
                continue;
            };
            let due = |deadline: Option<Timestamp>| deadline.is_some_and(|at| at <= now);
            if due(connection.send_hold) {
                self.lose(id, DownReason::SendHold, now, out);
            } else if due(connection.hold) {
                if connection.phase == Phase::Connecting {
                    self.lose(id, DownReason::NoAnswer, now, out);
                } else {
                    self.fail(id, Notification::new(code::HOLD_TIMER, 0), now, out);
                }
            } else if due(connection.keepalive) {
                connection.keepalive_sent(now, &mut self.jitter);
                if connection.send_hold.is_none() {
                    let mut bytes = Vec::new();
                    keepalive(&mut bytes);
                    out.push(Action::Send(id, bytes));
                }
            }
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.connect(now, out);
        }
    }

    /// Ends a connection and says why.
    fn fail(
        &mut self,
        id: ConnectionId,
        notification: Notification,
        now: Timestamp,
        out: &mut Vec<Action>,
    ) {
        let Some(index) = self.connections.iter().position(|c| c.id == id) else { return };
        let why = DownReason::Sent(notification.clone());
        self.lost(self.connections.get(index).cloned(), &why, now);
        self.connections.swap_remove(index).tell(notification, out);
        self.retry_later(now);
    }

    fn find(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.id == id)
    }

    fn refresh(&self, family: AfiSafi, out: &mut Vec<Action>) {
        let agreed = self.negotiated().map(|negotiated| negotiated.families);
        if let (Ok(family), Some(agreed)) = (RouteFamily::try_from(family), agreed)
            && agreed.contains(family)
        {
            out.push(Action::Refresh(family));
        }
    }
}
