//! Ends of bans that actions are being told. Somebody's script may have banned in earnest, so an end
//! counts as told only when each action has carried it out, given it up or lost it; until then the
//! journal knows the ban as one that is being withdrawn, and a restart tells its end again.

use std::sync::{Arc, Weak};

use tidewall_actions::ActionEvent;
use tidewall_model::MitigationId;

/// Those that are not over. Queues hold an event as long as anything is to be done about it.
#[derive(Debug, Default)]
pub(super) struct Endings(Vec<(MitigationId, Weak<ActionEvent>)>);

impl Endings {
    /// The event was given to the actions, and the caller lets go of it.
    pub(super) fn watch(&mut self, id: MitigationId, event: &Arc<ActionEvent>) {
        self.0.push((id, Arc::downgrade(event)));
    }

    /// Those that every action is done with.
    pub(super) fn told(&mut self) -> Vec<MitigationId> {
        let told = self.0.extract_if(.., |(_, event)| event.strong_count() == 0);
        told.map(|(id, _)| id).collect()
    }

    /// Is none being told?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
