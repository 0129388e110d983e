//! The recent frames of one worker. As many are passed over as is needed for the ring to hold the
//! last two seconds: which ones is drawn by lot, so that no pattern of the traffic meets a pattern
//! of ours, and how many follows the rate, by the time of each batch.

use std::time::Duration;

use tidewall_actions::CapturedFrame;
use tidewall_model::{FlowRecord, Timestamp};

use super::frame::{Head, SeenFrame, Wanted};

/// Frames of a ring.
pub(super) const SLOTS: usize = 4096;
/// Bytes that are kept of each.
pub(super) const SNAP_LENGTH: usize = 256;
/// The rate is looked at so often.
const PERIOD: Duration = Duration::from_millis(100);
/// Frames of a period: twenty of them fill the ring.
const QUOTA: u64 = SLOTS as u64 / 20;
/// At least one frame in so many is kept: enough for 130 million a second.
const LARGEST_STEP: u64 = 1 << 16;

/// The ring.
#[derive(Debug)]
pub(super) struct Ring {
    slots: Vec<Slot>,
    /// The oldest slot once all are full.
    next: usize,
    /// One frame in so many is kept ...
    step: u64,
    /// ... and the next one after so many.
    gap: u64,
    random: u64,
    /// Frames that were there to be kept.
    pub(super) seen: u64,
    /// Frames that were.
    pub(super) kept: u64,
    period: Period,
}

#[derive(Debug)]
struct Slot {
    head: Head,
    bytes: [u8; SNAP_LENGTH],
}

/// The running period: its start, and the counters then.
#[derive(Clone, Copy, Debug, Default)]
struct Period {
    start: Timestamp,
    seen: u64,
    kept: u64,
}

impl Ring {
    /// Holds nothing, and has no memory, until it is opened. The seed is any number.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            slots: Vec::new(),
            next: 0,
            step: 1,
            gap: 1,
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            seen: 0,
            kept: 0,
            period: Period::default(),
        }
    }

    /// Takes the memory.
    pub(super) fn open(&mut self) {
        self.slots.reserve_exact(SLOTS);
    }

    /// Forgets all frames and gives the memory back.
    pub(super) fn close(&mut self) {
        (self.slots, self.next) = (Vec::new(), 0);
    }

    pub(super) fn is_open(&self) -> bool {
        self.slots.capacity() >= SLOTS
    }

    /// A batch begins: has the rate changed? More is passed over at once, less by and by, because
    /// traffic comes in bursts.
    pub(super) fn begin(&mut self, now: Timestamp) {
        let elapsed = now.since(self.period.start);
        if elapsed < PERIOD {
            return;
        }
        let periods = (elapsed.as_nanos() / PERIOD.as_nanos()).min(63) as u32;
        let seen = self.seen - self.period.seen;
        let needed = seen.div_ceil(QUOTA * u64::from(periods));
        let step = needed.max(self.step >> periods).clamp(1, LARGEST_STEP);
        if step != self.step {
            self.step = step;
            self.gap = self.draw();
        }
        self.period = Period { start: now, seen: self.seen, kept: self.kept };
    }

    /// Keeps the frame when it is its turn.
    #[inline]
    pub(super) fn offer(&mut self, frame: &SeenFrame<'_>, record: &FlowRecord) {
        self.seen += 1;
        self.gap -= 1;
        if self.gap == 0 {
            self.keep(frame, record);
        }
    }

    #[inline(never)]
    fn keep(&mut self, frame: &SeenFrame<'_>, record: &FlowRecord) {
        self.kept += 1;
        // A sudden flood in one period does not push out what was before it.
        if (self.kept - self.period.kept).is_multiple_of(QUOTA) {
            self.step = (self.step * 2).min(LARGEST_STEP);
        }
        self.gap = self.draw();
        let length = frame.data.len().min(SNAP_LENGTH);
        let (head, data) = (Head::new(frame, record, length), &frame.data[..length]);
        if self.slots.len() < SLOTS {
            let mut bytes = [0; SNAP_LENGTH];
            bytes[..length].copy_from_slice(data);
            self.slots.push(Slot { head, bytes });
        } else {
            let slot = &mut self.slots[self.next];
            slot.head = head;
            slot.bytes[..length].copy_from_slice(data);
            self.next = (self.next + 1) % SLOTS;
        }
    }

    /// 1 to twice the step less 1, each as likely as the others: the step on average (xorshift64).
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        1 + (((self.random >> 32) * (2 * self.step - 1)) >> 32)
    }

    /// Frames that came at `since` or later, oldest first: `most` of them at most, spread evenly.
    pub(super) fn find(
        &self,
        wanted: &Wanted,
        since: Timestamp,
        most: usize,
    ) -> Vec<CapturedFrame> {
        let (newer, older) = self.slots.split_at(self.next);
        let found: Vec<&Slot> = older
            .iter()
            .chain(newer)
            .filter(|slot| slot.head.time >= since && wanted.has_frame(&slot.head))
            .collect();
        let kept = |slot: &&Slot| slot.head.restore(&slot.bytes[..slot.head.length.into()]);
        spread(found.len(), most).filter_map(|at| kept(&found[at])).collect()
    }
}

/// Indices of `most` of `count` things at most, evenly spread.
pub(super) fn spread(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let most = most.min(count);
    (0..most).map(move |number| number * count / most)
}
