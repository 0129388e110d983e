//! What is to be done in one family: which routes, and what the peer has asked for.

use std::collections::{BTreeMap, BTreeSet};

use super::batches::Batches;
use crate::route::RouteKey;

/// How far the answer to a ROUTE-REFRESH is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Refresh {
    #[default]
    Idle,
    Requested,
    Sending,
    /// Requested again meanwhile.
    SendingAndRequested,
}

impl Refresh {
    pub(super) fn request(&mut self) {
        *self = match self {
            Self::Idle | Self::Requested => Self::Requested,
            Self::Sending | Self::SendingAndRequested => Self::SendingAndRequested,
        };
    }

    /// The answer begins; `false` when there is nothing to begin.
    pub(super) fn begin(&mut self) -> bool {
        let begins = *self == Self::Requested;
        if begins {
            *self = Self::Sending;
        }
        begins
    }

    /// The answer ends; `false` when there was none.
    pub(super) fn end(&mut self) -> bool {
        let next = match self {
            Self::Idle | Self::Requested => return false,
            Self::Sending => Self::Idle,
            Self::SendingAndRequested => Self::Requested,
        };
        *self = next;
        true
    }
}

/// What is to be done in one family.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub(super) announce: Batches,
    pub(super) withdraw: BTreeSet<RouteKey>,
    /// Entries that have a place among those that the peer takes.
    pub(super) admitted: usize,
    pub(super) refresh: Refresh,
    /// End-of-RIB is owed.
    pub(super) end_of_rib: bool,
    /// Entries without a place, and when each came.
    waiting: BTreeMap<u64, RouteKey>,
    turns: BTreeMap<RouteKey, u64>,
}

impl Table {
    /// Queues at `turn`, unless it waits already; `true` when the turn is used.
    pub(super) fn wait(&mut self, key: &RouteKey, turn: u64) -> bool {
        if self.turns.contains_key(key) {
            return false;
        }
        self.turns.insert(key.clone(), turn);
        self.waiting.insert(turn, key.clone());
        true
    }

    pub(super) fn stop_waiting(&mut self, key: &RouteKey) {
        if let Some(turn) = self.turns.remove(key) {
            self.waiting.remove(&turn);
        }
    }

    pub(super) fn longest_waiting(&self) -> Option<RouteKey> {
        self.waiting.values().next().cloned()
    }
}
