//! What a session does with the messages of its peer, state by state.

use tidewall_model::Timestamp;

use super::connection::Phase;
use super::{Action, ConnectionId, DownReason, Session, State, negotiate};
use crate::message::{
    MAX_EXTENDED_MESSAGE, MAX_MESSAGE, Message, MessageType, RawMessage, keepalive,
};
use crate::notification::{Notification, cease, code};
use crate::open::Open;
use crate::refresh::RefreshKind;
use crate::update::{Update, UpdateContext};

/// How a message ends its connection.
enum End {
    Tell(Notification),
    Told(Notification),
}

impl Session {
    /// Bytes of the peer: every whole message among them is handled, the rest is kept.
    pub(super) fn take_bytes(
        &mut self,
        id: ConnectionId,
        bytes: &[u8],
        now: Timestamp,
        out: &mut Vec<Action>,
    ) {
        let Some(connection) = self.find(id) else { return };
        if connection.phase == Phase::Connecting {
            return;
        }
        let mut stream = std::mem::take(&mut connection.buffer);
        stream.extend(bytes);
        let mut used = 0;
        loop {
            let max = if self.config.extended_message { MAX_EXTENDED_MESSAGE } else { MAX_MESSAGE };
            let end = match RawMessage::parse(stream.get(used..).unwrap_or_default(), max) {
                Ok(None) => break,
                Ok(Some(raw)) => {
                    used += raw.length;
                    self.take_message(id, &raw, now, out)
                }
                Err(error) => Err(End::Tell(error.notification())),
            };
            match end {
                Ok(()) => {}
                Err(End::Tell(notification)) => self.fail(id, notification, now, out),
                Err(End::Told(notification)) => {
                    self.lose(id, DownReason::Told(notification), now, out);
                }
            }
            if self.find(id).is_none() {
                return;
            }
        }
        stream.drain(..used);
        if let Some(connection) = self.find(id) {
            connection.buffer = stream;
        }
    }

    fn take_message(
        &mut self,
        id: ConnectionId,
        raw: &RawMessage<'_>,
        now: Timestamp,
        out: &mut Vec<Action>,
    ) -> Result<(), End> {
        let Some(state) = self.find(id).map(|connection| connection.phase.state()) else {
            return Ok(());
        };
        check_expected(state, raw.kind)?;
        let message = raw.message().map_err(|error| End::Tell(error.notification()))?;
        match message {
            Message::Notification(notification) => return Err(End::Told(notification)),
            Message::Open(open) => return self.take_open(id, &open, now, out),
            Message::Keepalive if state == State::OpenConfirm => self.establish(id, now, out),
            Message::Update(body) => self.take_update(body, out)?,
            Message::RouteRefresh(refresh) if refresh.kind == RefreshKind::Request => {
                self.refresh(refresh.family, out);
            }
            Message::Keepalive | Message::RouteRefresh(_) => {}
        }
        if let Some(connection) = self.find(id) {
            connection.heard(now);
        }
        Ok(())
    }

    fn take_open(
        &mut self,
        id: ConnectionId,
        open: &Open,
        now: Timestamp,
        out: &mut Vec<Action>,
    ) -> Result<(), End> {
        let negotiated =
            negotiate::negotiate(&self.config, self.plain_open, open).map_err(End::Tell)?;
        if !self.wins_collision(id, &negotiated, now, out) {
            return Err(End::Tell(Notification::new(code::CEASE, cease::COLLISION)));
        }
        if let Some(connection) = self.connections.iter_mut().find(|c| c.id == id) {
            let mut bytes = Vec::new();
            keepalive(&mut bytes);
            out.push(Action::Send(id, bytes));
            connection.phase = Phase::OpenConfirm(negotiated);
            connection.set_hold_time(negotiated.hold_time, now, &mut self.jitter);
        }
        Ok(())
    }

    fn establish(&mut self, id: ConnectionId, now: Timestamp, out: &mut Vec<Action>) {
        let Some(connection) = self.find(id) else { return };
        let Phase::OpenConfirm(negotiated) = connection.phase else { return };
        connection.phase = Phase::Established { negotiated, since: now };
        self.received.session_begins();
        // An attempt of our own that still goes on is no longer needed.
        let idle = |c: &super::Connection| c.phase == Phase::Connecting;
        if let Some(index) = self.connections.iter().position(idle) {
            self.connections.swap_remove(index).close(DownReason::Stopped, out);
        }
        out.push(Action::Established(id, negotiated));
    }

    fn take_update(&mut self, body: &[u8], out: &mut Vec<Action>) -> Result<(), End> {
        let four_octet_as = self.negotiated().is_some_and(|negotiated| negotiated.four_octet_as);
        let internal = self.config.local_as == self.config.peer_as;
        let update = Update::parse(body, UpdateContext { four_octet_as, internal })
            .map_err(|error| End::Tell(error.notification()))?;
        let (received, over) = self.received.take(&update);
        out.push(Action::Received(received));
        match over {
            Some(notification) => Err(End::Tell(notification)),
            None => Ok(()),
        }
    }
}

/// RFC 6608: a message that cannot come in this state.
fn check_expected(state: State, kind: MessageType) -> Result<(), End> {
    let expected = match (state, kind) {
        (_, MessageType::Notification) | (State::Established, _) => kind != MessageType::Open,
        (State::OpenSent, _) => kind == MessageType::Open,
        (State::OpenConfirm, _) => kind == MessageType::Keepalive,
        _ => false,
    };
    if expected {
        return Ok(());
    }
    let subcode = match state {
        State::OpenSent => 1,
        State::OpenConfirm => 2,
        State::Established => 3,
        _ => 0,
    };
    Err(End::Tell(Notification::with_data(code::STATE_MACHINE, subcode, &[kind as u8])))
}
