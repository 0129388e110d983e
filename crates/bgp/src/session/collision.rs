//! Which of two connections stays (RFC 4271 §6.8, RFC 6286 §2.3, RFC 4724 §5).

use std::cmp::Ordering;

use tidewall_model::Timestamp;

use super::connection::Phase;
use super::{Action, ConnectionId, DownReason, Negotiated, Session, State};
use crate::notification::{Notification, cease, code};

impl Session {
    /// An OPEN has come on `id`. Ends the connection that is to go; `false` when that is this one.
    pub(super) fn wins_collision(
        &mut self,
        id: ConnectionId,
        negotiated: &Negotiated,
        now: Timestamp,
        out: &mut Vec<Action>,
    ) -> bool {
        let decided = |state| matches!(state, State::OpenConfirm | State::Established);
        let other = self.connections.iter().find(|c| c.id != id && decided(c.phase.state()));
        let Some((other, phase)) = other.map(|c| (c.id, c.phase.clone())) else { return true };
        let lost = Notification::new(code::CEASE, cease::COLLISION);
        match phase {
            // The peer has forgotten the old connection; we have not noticed yet.
            Phase::Established { negotiated: old, .. }
                if old.restart.is_some() && negotiated.restart.is_some() =>
            {
                self.lose(other, DownReason::Replaced, now, out);
                true
            }
            Phase::Established { .. } => false,
            _ => {
                let ours_stays = self.we_are_higher(negotiated);
                let this_is_ours = self.find(id).is_some_and(|connection| connection.outgoing);
                let this_stays = this_is_ours == ours_stays;
                if this_stays {
                    self.fail(other, lost, now, out);
                }
                this_stays
            }
        }
    }

    /// The connection that was opened by the speaker with the higher router id stays.
    fn we_are_higher(&self, negotiated: &Negotiated) -> bool {
        let ids = self.config.router_id.cmp(&negotiated.router_id);
        ids.then(self.config.local_as.cmp(&negotiated.peer_as)) == Ordering::Greater
    }
}
