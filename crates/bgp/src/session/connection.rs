//! One connection of a session: its state, its timers, what was read of the next message.

use std::time::Duration;

use tidewall_model::Timestamp;

use super::timer::{Jitter, SEND_HOLD};
use super::{Action, ConnectionId, DownReason, Negotiated, State};
use crate::notification::Notification;

/// How far a connection has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    OpenSent,
    OpenConfirm(Negotiated),
    Established { negotiated: Negotiated, since: Timestamp },
}

impl Phase {
    pub(super) const fn state(&self) -> State {
        match self {
            Self::Connecting => State::Connect,
            Self::OpenSent => State::OpenSent,
            Self::OpenConfirm(_) => State::OpenConfirm,
            Self::Established { .. } => State::Established,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    /// Opened by us.
    pub(super) outgoing: bool,
    pub(super) phase: Phase,
    /// The beginning of a message; less than one of the longest.
    pub(super) buffer: Vec<u8>,
    /// The peer must have been heard by then.
    pub(super) hold: Option<Timestamp>,
    /// We must be heard by then.
    pub(super) keepalive: Option<Timestamp>,
    /// The transport must have written something by then.
    pub(super) send_hold: Option<Timestamp>,
    /// The negotiated hold time.
    hold_time: Duration,
}

impl Connection {
    pub(super) const fn new(id: ConnectionId, outgoing: bool) -> Self {
        Self {
            id,
            outgoing,
            phase: Phase::Connecting,
            buffer: Vec::new(),
            hold: None,
            keepalive: None,
            send_hold: None,
            hold_time: Duration::ZERO,
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        [self.hold, self.keepalive, self.send_hold].into_iter().flatten().min()
    }

    /// The hold time is agreed on, and a KEEPALIVE was sent.
    pub(super) fn set_hold_time(&mut self, seconds: u16, now: Timestamp, jitter: &mut Jitter) {
        self.hold_time = Duration::from_secs(seconds.into());
        self.heard(now);
        self.keepalive_sent(now, jitter);
    }

    pub(super) fn heard(&mut self, now: Timestamp) {
        self.hold = (!self.hold_time.is_zero()).then(|| now + self.hold_time);
    }

    pub(super) fn keepalive_sent(&mut self, now: Timestamp, jitter: &mut Jitter) {
        let interval = jitter.shorten(self.hold_time / 3);
        self.keepalive = (!self.hold_time.is_zero()).then(|| now + interval);
    }

    pub(super) fn block(&mut self, now: Timestamp) {
        let wait = SEND_HOLD.max(self.hold_time * 2);
        self.send_hold.get_or_insert(now + wait);
    }

    pub(super) fn unblock(&mut self, all: bool, now: Timestamp) {
        self.send_hold = None;
        if !all {
            self.block(now);
        }
    }

    /// Ends it with a NOTIFICATION.
    pub(super) fn tell(self, notification: Notification, out: &mut Vec<Action>) {
        let mut bytes = Vec::new();
        notification.encode(&mut bytes);
        out.push(Action::Send(self.id, bytes));
        self.close(DownReason::Sent(notification), out);
    }

    /// Ends it without a word.
    pub(super) fn close(self, reason: DownReason, out: &mut Vec<Action>) {
        out.push(Action::Close(self.id));
        let established = self.phase.state() == State::Established;
        out.push(Action::Down { connection: self.id, established, reason });
    }
}
