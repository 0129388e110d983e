//! What an action has done: counters that both ends of its queue write.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::Serialize;
use tidewall_model::Timestamp;
use tokio::sync::watch;

/// How an action is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ActionStatus {
    /// Its name.
    pub name: String,
    /// Events that wait for their first attempt, their turn or their next attempt.
    pub waiting: u64,
    /// Attempts under way.
    pub running: u64,
    /// Events carried out.
    pub done: u64,
    /// Events given up after an error.
    pub failed: u64,
    /// Events lost: the queue was full, or the process ended.
    pub dropped: u64,
    /// Attempts that failed and were repeated.
    pub retried: u64,
    /// Updates that a newer update took the place of before their turn.
    pub merged: u64,
    /// Events that had been submitted before.
    pub repeated: u64,
    /// The last error, and when it happened.
    pub last_error: Option<(Timestamp, String)>,
    /// When an event was last carried out.
    pub last_success: Option<Timestamp>,
}

/// Counters of both ends.
pub(super) struct Shared {
    /// Events held: on their way, waiting or running.
    held: AtomicUsize,
    /// Lost on either end.
    dropped: AtomicU64,
    /// All else; written by the dispatcher only.
    status: watch::Sender<ActionStatus>,
}

impl Shared {
    pub(super) fn new(name: &str) -> Self {
        let status = ActionStatus { name: name.to_owned(), ..ActionStatus::default() };
        Self {
            held: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
            status: watch::Sender::new(status),
        }
    }

    pub(super) fn status(&self) -> ActionStatus {
        let mut status = self.status.borrow().clone();
        let held = self.held.load(Ordering::Acquire) as u64;
        status.waiting = held.saturating_sub(status.running);
        status.dropped = self.dropped.load(Ordering::Acquire);
        status
    }

    /// Room for one event, or one event dropped.
    pub(super) fn take_room(&self, capacity: usize) -> bool {
        let taken = self.held.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
            (held < capacity).then_some(held + 1)
        });
        if taken.is_err() {
            self.dropped.fetch_add(1, Ordering::AcqRel);
        }
        taken.is_ok()
    }

    pub(super) fn give_back(&self, events: usize) {
        self.held.fetch_sub(events, Ordering::AcqRel);
    }

    pub(super) fn give_back_dropped(&self, events: usize) {
        self.dropped.fetch_add(events as u64, Ordering::AcqRel);
        self.give_back(events);
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut ActionStatus)) {
        self.status.send_modify(change);
    }
}
