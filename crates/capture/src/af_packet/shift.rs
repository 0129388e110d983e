//! Two groups of sockets on the same interface, one of which takes over from the other: a moment
//! decides which of them hands a frame over. The kernel stamps a frame for both within a fraction
//! of a microsecond, so hardly ever is one of them at the very moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidewall_model::Timestamp;

use crate::clock;

/// Not known yet, or never.
const NEVER: u64 = u64::MAX;
/// A moment nearer than this may be over before it is known.
const LEAST_NOTICE: Duration = Duration::from_millis(1);
/// A clock that was set by more than this has taken the moment away.
const STEP: u64 = 10_000_000_000;

/// The time whose frames a group hands over, by the kernel's stamps. Shared by all of its sockets
/// and whoever changes it.
#[derive(Debug)]
pub struct Shift {
    from: AtomicU64,
    until: AtomicU64,
}

impl Default for Shift {
    /// All frames.
    fn default() -> Self {
        Self { from: AtomicU64::new(0), until: AtomicU64::new(NEVER) }
    }
}

impl Shift {
    /// No frame before [`Self::take_over`]. To be called before the group is read.
    pub fn wait(&self) {
        self.from.store(NEVER, Ordering::Relaxed);
    }

    /// Takes over from others at a moment not sooner than `notice` from now, which is given. Those
    /// who read the sockets need to be no faster than that.
    pub fn take_over(&self, others: &[&Self], notice: Duration) -> Timestamp {
        let mut notice = notice.max(LEAST_NOTICE);
        loop {
            let moment = clock::now() + notice;
            for other in others {
                other.until.store(moment.0, Ordering::Relaxed);
            }
            self.from.store(moment.0, Ordering::Relaxed);
            // If this thread was held up just here, the moment may be over already.
            if clock::now() < moment {
                return moment;
            }
            notice *= 2;
        }
    }

    /// The bounds that a socket has to look at now, if any. `begun` is the socket's own: it has
    /// seen a frame behind the beginning.
    pub(super) fn bounds(&self, begun: bool) -> Option<Bounds> {
        let from = if begun { 0 } else { self.from.load(Ordering::Relaxed) };
        let until = self.until.load(Ordering::Relaxed);
        (from > 0 || until != NEVER).then_some(Bounds { from, until })
    }
}

/// From the first moment up to, not including, the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    from: u64,
    until: u64,
}

impl Bounds {
    /// Does a frame of this time belong to the group?
    pub(super) fn have(self, time: Timestamp) -> bool {
        self.have_begun(time) && time.0 < self.until
    }

    /// Is it behind the beginning?
    pub(super) fn have_begun(self, time: Timestamp) -> bool {
        self.from != NEVER && (time.0 >= self.from || time.0.saturating_add(STEP) < self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_both_has_each_frame() {
        let (old, new) = (Shift::default(), Shift::default());
        assert_eq!(old.bounds(false), None);
        new.wait();
        let early = clock::now();
        assert!(!new.bounds(false).is_some_and(|bounds| bounds.have(early)));
        let moment = new.take_over(&[&old], Duration::from_millis(20));
        assert!(moment > early + Duration::from_millis(20));
        let (of_old, of_new) = (old.bounds(true).unwrap(), new.bounds(false).unwrap());
        for time in [early.0, moment.0 - 1, moment.0, moment.0 + 1].map(Timestamp) {
            assert!(of_old.have(time) != of_new.have(time), "{time:?}");
            assert_eq!(of_new.have(time), time >= moment);
        }
        // Once a socket has seen a later one, there is nothing to look at.
        assert_eq!(new.bounds(true), None);
    }

    #[test]
    fn a_clock_that_is_set_back_blinds_nobody() {
        let (old, new) = (Shift::default(), Shift::default());
        let moment = new.take_over(&[&old], Duration::ZERO);
        let bounds = new.bounds(false).unwrap();
        assert!(bounds.have(Timestamp(moment.0 - 3_600_000_000_000)));
        assert!(!bounds.have(Timestamp(moment.0 - 1_000_000_000)));
    }
}
