//! The frames of attacks, for pcap files. While it is switched on, every worker that sees frames
//! keeps some of its recent ones, and copies those of targets that are being captured; whoever
//! writes about an attack asks for both. Workers wait for nobody: what they cannot keep at once
//! passes by and is counted. Export datagrams of NetFlow and IPFIX have no frames.

pub mod following;
mod frame;
mod ring;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, TryLockError, Weak};

use tidewall_actions::CapturedFrame;
use tidewall_model::{Direction, FlowRecord, Target, Timestamp};

pub use following::Following;
pub use frame::{SeenFrame, time_of};

use following::Capture;
use frame::Wanted;
use ring::{Ring, spread};

/// Captures that go on at the same time at most.
pub const MOST_FOLLOWED: usize = 64;
/// Frames of one capture at most.
pub const MOST_FRAMES: usize = 500;

#[expect(clippy::disallowed_types, reason = "a worker only tries it, and once a batch")]
type Lock<T> = std::sync::Mutex<T>;
type Guard<'a, T> = std::sync::MutexGuard<'a, T>;

fn locked<T>(lock: &Lock<T>) -> Guard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The frames of all workers. Off until it is switched on.
#[derive(Debug, Default)]
pub struct FrameTap {
    shared: Arc<Shared>,
    meeting: Lock<Meeting>,
}

/// Where those who ask find the workers, and new workers the captures that go on.
#[derive(Debug, Default)]
struct Meeting {
    places: Vec<Arc<Place>>,
    captures: Vec<Weak<Capture>>,
}

/// What became of the frames since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TapCounters {
    /// Kept among the recent ones.
    pub kept: u64,
    /// Not kept, because there were too many for the ring to last.
    pub passed_over: u64,
    /// Batches of which none was kept, because someone was reading the worker's frames.
    pub missed_batches: u64,
    /// Frames of captured targets that were lost, because another worker added one just then.
    pub missed_frames: u64,
    /// Captures that were not begun, because too many went on.
    pub refused: u64,
}

/// What everyone sees.
#[derive(Debug, Default)]
struct Shared {
    on: AtomicBool,
    followings: AtomicUsize,
    kept: AtomicU64,
    passed_over: AtomicU64,
    missed_batches: AtomicU64,
    missed_frames: AtomicU64,
    refused: AtomicU64,
}

/// Where a worker and those who ask meet.
#[derive(Debug)]
struct Place {
    store: Lock<Store>,
    /// Someone waits for the store: a busy worker, which takes it again as soon as it has let go of
    /// it, leaves it alone for a batch.
    waiting: AtomicU32,
}

#[derive(Debug)]
struct Store {
    ring: Ring,
    followed: Vec<Arc<Capture>>,
}

impl Place {
    fn with<T>(&self, f: impl FnOnce(&mut Store) -> T) -> T {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let mut store = locked(&self.store);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        f(&mut store)
    }

    fn try_store(&self) -> Option<Guard<'_, Store>> {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            return None;
        }
        match self.store.try_lock() {
            Ok(store) => Some(store),
            Err(TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl FrameTap {
    /// The end of one worker. It takes part in the captures that go on.
    pub fn worker(&self) -> WorkerTap {
        let mut meeting = locked(&self.meeting);
        let Meeting { places, captures } = &mut *meeting;
        // A worker that has ended let go of its place.
        places.retain(|place| Arc::strong_count(place) > 1);
        let mut ring = Ring::new(places.len() as u64 + 1);
        if self.is_enabled() {
            ring.open();
        }
        let mut followed = Vec::with_capacity(MOST_FOLLOWED);
        followed.extend(captures.iter().filter_map(Weak::upgrade).filter(|c| c.wants_more()));
        let store = Store { ring, followed };
        let place = Arc::new(Place { store: Lock::new(store), waiting: AtomicU32::new(0) });
        places.push(Arc::clone(&place));
        WorkerTap { shared: Arc::clone(&self.shared), place }
    }

    /// Switches it on or off, from the workers' next batches on. On, each worker that sees frames
    /// has a ring of 4,096 of them, 1.3 MB. Off, all of that is given back.
    pub fn enable(&self, on: bool) {
        let mut meeting = locked(&self.meeting);
        self.shared.on.store(on, Ordering::Relaxed);
        if !on {
            meeting.captures.clear();
        }
        for place in &meeting.places {
            place.with(|store| {
                if on {
                    store.ring.open();
                } else {
                    store.ring.close();
                    store.followed.clear();
                }
            });
        }
    }

    /// Is it switched on?
    pub fn is_enabled(&self) -> bool {
        self.shared.on.load(Ordering::Relaxed)
    }

    /// Recent frames of a target in the direction of its attack, that came at `since` or later:
    /// `most` at most, oldest first, spread evenly over those that are there. None of a group. To
    /// be asked before [`Self::follow`], so that no frame is given twice.
    pub fn before(
        &self,
        target: &Target,
        direction: Direction,
        since: Timestamp,
        most: usize,
    ) -> Vec<CapturedFrame> {
        let Some(wanted) = Wanted::of(target, direction) else { return Vec::new() };
        let places = locked(&self.meeting).places.clone();
        let mut frames = Vec::new();
        for place in &places {
            frames.append(&mut place.with(|store| store.ring.find(&wanted, since, most)));
        }
        frames.sort_by_key(|frame| frame.time);
        let mut chosen = spread(frames.len(), most).peekable();
        let frames = frames.into_iter().enumerate();
        frames.filter_map(|(at, frame)| chosen.next_if_eq(&at).map(|_| frame)).collect()
    }

    /// Has the workers copy the next `most` frames of a target (at most [`MOST_FRAMES`]) until a
    /// time. Nothing comes of a group, while it is switched off, or when [`MOST_FOLLOWED`] captures
    /// go on; such a capture is complete from the start.
    pub fn follow(
        &self,
        target: &Target,
        direction: Direction,
        most: usize,
        until: Timestamp,
    ) -> Following {
        let wanted = Wanted::of(target, direction).filter(|_| self.is_enabled());
        let Some(wanted) = wanted else { return Following::refused() };
        let (mut meeting, shared) = (locked(&self.meeting), &self.shared);
        let one_more = |count: usize| (count < MOST_FOLLOWED).then_some(count + 1);
        if shared.followings.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return Following::refused();
        }
        let capture = Arc::new(Capture::new(wanted, most.min(MOST_FRAMES), until));
        for place in &meeting.places {
            place.with(|store| {
                // A worker that sees nothing looks after nothing.
                store.followed.retain(|known| known.wants_more());
                store.followed.push(Arc::clone(&capture));
            });
        }
        meeting.captures.retain(|known| known.upgrade().is_some_and(|c| c.wants_more()));
        meeting.captures.push(Arc::downgrade(&capture));
        Following::new(capture, Arc::clone(shared))
    }

    /// What became of the frames since the start.
    pub fn counters(&self) -> TapCounters {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let shared = &self.shared;
        TapCounters {
            kept: count(&shared.kept),
            passed_over: count(&shared.passed_over),
            missed_batches: count(&shared.missed_batches),
            missed_frames: count(&shared.missed_frames),
            refused: count(&shared.refused),
        }
    }
}

/// A worker's end.
#[derive(Debug)]
pub struct WorkerTap {
    shared: Arc<Shared>,
    place: Arc<Place>,
}

impl WorkerTap {
    /// For the frames of one batch that begins now; `None` when none of them is to be kept. To be
    /// let go of before the next ones are waited for.
    pub fn open(&self, now: Timestamp) -> Option<OpenTap<'_>> {
        if !self.shared.on.load(Ordering::Relaxed) {
            return None;
        }
        let Some(mut store) = self.place.try_store() else {
            self.shared.missed_batches.fetch_add(1, Ordering::Relaxed);
            return None;
        };
        // It was switched off just now.
        if !store.ring.is_open() {
            return None;
        }
        store.ring.begin(now);
        store.followed.retain(|capture| !capture.is_over(now));
        let (seen, kept) = (store.ring.seen, store.ring.kept);
        Some(OpenTap { store, shared: &self.shared, seen, kept })
    }
}

/// A worker's end during one batch.
#[derive(Debug)]
pub struct OpenTap<'a> {
    store: Guard<'a, Store>,
    shared: &'a Shared,
    /// Counters of the ring when it was opened.
    seen: u64,
    kept: u64,
}

impl OpenTap<'_> {
    /// Takes a frame that was counted as this record, if it is wanted.
    #[inline]
    pub fn offer(&mut self, frame: &SeenFrame<'_>, record: &FlowRecord) {
        let store = &mut *self.store;
        store.ring.offer(frame, record);
        if !store.followed.is_empty() {
            self.follow(frame, record);
        }
    }

    #[inline(never)]
    fn follow(&self, frame: &SeenFrame<'_>, record: &FlowRecord) {
        for capture in &self.store.followed {
            if !capture.offer(frame, record) {
                self.shared.missed_frames.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Drop for OpenTap<'_> {
    fn drop(&mut self) {
        let (seen, kept) = (self.store.ring.seen - self.seen, self.store.ring.kept - self.kept);
        self.shared.kept.fetch_add(kept, Ordering::Relaxed);
        self.shared.passed_over.fetch_add(seen - kept, Ordering::Relaxed);
    }
}
