//! Sets of data that wait for their template.

use std::time::Duration;

use tidewall_model::Timestamp;

use super::templates::TemplateLimits;
use crate::ExporterIndex;

/// Sets that wait.
#[derive(Debug)]
pub struct Held<X> {
    room: usize,
    sets: Vec<(ExporterIndex, u16, X, Vec<u8>, Timestamp)>,
}

impl<X: Copy> Held<X> {
    /// None yet.
    pub fn new(limits: &TemplateLimits) -> Self {
        Self { room: limits.held_bytes, sets: Vec::new() }
    }

    /// Keeps one, if there is room.
    pub fn hold(
        &mut self,
        at: ExporterIndex,
        id: u16,
        context: X,
        bytes: &[u8],
        now: Timestamp,
    ) -> bool {
        let used: usize = self.sets.iter().map(|set| set.3.len()).sum();
        if used + bytes.len() > self.room {
            return false;
        }
        self.sets.push((at, id, context, bytes.to_vec(), now));
        true
    }

    /// Gives those that waited for a template.
    pub fn release(&mut self, at: ExporterIndex, id: u16, mut give: impl FnMut(&X, &[u8])) {
        self.sets.retain(|set| {
            let its = set.0 == at && set.1 == id;
            if its {
                give(&set.2, &set.3);
            }
            !its
        });
    }

    /// Gives up those that waited too long.
    pub fn expire(&mut self, now: Timestamp, mut give: impl FnMut(ExporterIndex, u16, &X)) {
        self.sets.retain(|set| {
            let old = now.since(set.4) >= Duration::from_secs(10);
            if old {
                give(set.0, set.1, &set.2);
            }
            !old
        });
    }

    /// Forgets an exporter's.
    pub fn forget(&mut self, at: ExporterIndex) {
        self.sets.retain(|set| set.0 != at);
    }
}
