//! Two groups of sockets on the same interface, one of which takes over from the other: a moment
//! decides which of them hands a frame over. The kernel stamps a frame for both within a fraction
//! of a microsecond, so hardly ever is one of them at the very moment.

use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use tidewall_model::Timestamp;

use crate::clock;

/// Not known yet, or never.
const NEVER: u64 = u64::MAX;
/// It is being decided.
const SOON: u64 = u64::MAX - 1;
/// The kernel's clocks agree to less than this.
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
    /// who read the sockets may be as slow as they like, and so may this thread: meanwhile they
    /// wait.
    pub fn take_over(&self, others: &[&Self], notice: Duration) -> Timestamp {
        self.hold(others);
        let moment = clock::now() + notice.max(LEAST_NOTICE);
        for other in others {
            other.until.store(moment.0, Ordering::Relaxed);
        }
        self.from.store(moment.0, Ordering::Relaxed);
        moment
    }

    /// From now on nobody decides whose a frame is. Whoever did it before had the frame already, so
    /// that it is older than what the clock shows afterwards.
    fn hold(&self, others: &[&Self]) {
        for other in others {
            other.until.store(SOON, Ordering::Relaxed);
        }
        self.from.store(SOON, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The bounds that a socket has to look at now, if any. `begun` is the socket's own: it has
    /// seen a frame behind the beginning. To be asked when the frames are there.
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
    /// Frames have to wait until they are.
    pub(super) fn are_known(self) -> bool {
        self.from != SOON && self.until != SOON
    }

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
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::{Receiver, channel};

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

    /// Reads frames of these times, and gives those that it hands over.
    fn read(shift: &Shift, frames: Receiver<Timestamp>) -> Vec<Timestamp> {
        let (mut taken, mut begun) = (Vec::new(), false);
        for time in frames {
            let bounds = loop {
                match shift.bounds(begun) {
                    Some(bounds) if !bounds.are_known() => std::thread::yield_now(),
                    bounds => break bounds,
                }
            };
            begun |= bounds.is_some_and(|bounds| bounds.have_begun(time));
            if bounds.is_none_or(|bounds| bounds.have(time)) {
                taken.push(time);
            }
        }
        taken
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a thread that is held up is what is tested")]
    fn however_long_it_takes_each_frame_is_had_once() {
        let held_up = || std::thread::sleep(Duration::from_millis(30));
        let (old, new) = (Shift::default(), Shift::default());
        new.wait();
        let ((of_old, for_old), (of_new, for_new)) = (channel(), channel());
        let (mut taken, sent) = std::thread::scope(|scope| {
            let readers =
                [scope.spawn(|| read(&old, for_old)), scope.spawn(|| read(&new, for_new))];
            let stop = Arc::new(AtomicBool::new(false));
            let stopped = Arc::clone(&stop);
            let kernel = scope.spawn(move || {
                let mut sent = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    let time = clock::now();
                    sent.push(time);
                    of_old.send(time).unwrap();
                    of_new.send(time).unwrap();
                    std::thread::sleep(Duration::from_micros(20));
                }
                sent
            });
            held_up();
            // What `take_over` does, with the worst that may come between.
            new.hold(&[&old]);
            held_up();
            let moment = clock::now() + LEAST_NOTICE;
            held_up();
            old.until.store(moment.0, Ordering::Relaxed);
            held_up();
            new.from.store(moment.0, Ordering::Relaxed);
            held_up();
            stop.store(true, Ordering::Relaxed);
            let sent = kernel.join().unwrap();
            let [old, new] = readers.map(|reader| reader.join().unwrap());
            assert!(!old.is_empty() && !new.is_empty());
            assert!(old.iter().all(|time| *time < moment));
            ([old, new].concat(), sent)
        });
        taken.sort_unstable();
        assert!(taken == sent, "{} of {}", taken.len(), sent.len());
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
