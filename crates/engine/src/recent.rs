//! A ring of the newest records of a shard, so that a sample of an attack exists at the moment it
//! is detected. Nothing is collected afterwards, and nothing waits for it. Where more records come
//! than it holds for a while, it keeps one in so many of them: it then goes back far enough for
//! the beginning of an attack and the time before, and costs the way of a record next to nothing.

use std::time::Duration;

use tidewall_model::FlowRecord;

/// At a steady rate the ring goes back for half of this at least, unless it holds every record.
const SPAN: Duration = Duration::from_millis(500);
/// 2^64 divided by the golden ratio: its multiples are spread evenly, whatever their distance, so
/// that nothing that comes at regular intervals is always or never kept.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bytes of memory that each record of a ring takes.
pub const RECENT_RECORD_BYTES: u64 = size_of::<Kept>() as u64;

/// The newest records, or some of them.
#[derive(Clone, Debug)]
pub struct Recent {
    ring: Vec<Kept>,
    capacity: usize,
    next: usize,
    /// One record in 2^level is kept.
    level: u32,
    /// Records since the window began that could have been kept.
    offered: u64,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    position: u64,
    record: FlowRecord,
}

impl Recent {
    /// A ring of `capacity` records; pages that are never used cost nothing.
    pub fn new(capacity: u32) -> Self {
        let capacity = (capacity as usize).max(1);
        Self { ring: Vec::with_capacity(capacity), capacity, next: 0, level: 0, offered: 0 }
    }

    /// Offers those of up to 64 records in a row whose bits are set in `wanted`; those that are
    /// kept take the places of the oldest ones when the ring is full. Which ones depends on
    /// nothing but their positions: the first record has position `first` among all records.
    #[inline]
    pub fn offer(&mut self, first: u64, records: &[FlowRecord], wanted: u64) {
        let mut left = wanted & self.picks(first, records.len());
        while left != 0 {
            let at = left.trailing_zeros();
            if let Some(record) = records.get(at as usize) {
                self.keep(Kept { position: first.wrapping_add(u64::from(at)), record: *record });
            }
            left &= left - 1;
        }
    }

    /// Notes that so many records were offered. What two rings are offered, one of them notes.
    #[inline]
    pub const fn note(&mut self, offered: u32) {
        self.offered += offered as u64;
    }

    /// Records that were noted since this was last asked.
    pub const fn take_noted(&mut self) -> u64 {
        std::mem::replace(&mut self.offered, 0)
    }

    /// Keeps so many of the records to come that the ring goes back for about [`SPAN`] when they
    /// come as the last `window` did, which brought `offered` of them.
    pub fn pace(&mut self, offered: u64, window: Duration) {
        let in_span = u128::from(offered) * SPAN.as_nanos() / window.as_nanos().max(1);
        let times = in_span / self.capacity as u128;
        self.level = times.max(1).ilog2().min(32);
    }

    /// All kept records, newest first, from a position on.
    pub fn newest_first(&self, from: u64) -> impl Iterator<Item = &FlowRecord> {
        let kept = self.kept().take_while(move |kept| kept.position >= from);
        kept.map(|kept| &kept.record)
    }

    /// Number of kept records.
    pub const fn len(&self) -> usize {
        self.ring.len()
    }

    /// Positions of all kept records, newest first.
    pub fn positions(&self) -> impl Iterator<Item = u64> {
        self.kept().map(|kept| kept.position)
    }

    fn kept(&self) -> impl Iterator<Item = &Kept> {
        let (newer, older) = self.ring.split_at(self.next);
        newer.iter().rev().chain(older.iter().rev())
    }

    fn keep(&mut self, kept: Kept) {
        if self.ring.len() < self.capacity {
            self.ring.push(kept);
        } else if let Some(oldest) = self.ring.get_mut(self.next) {
            *oldest = kept;
            self.next = if self.next + 1 == self.capacity { 0 } else { self.next + 1 };
        }
    }

    /// Which of the next `count` positions are picked, as bits: of each 2^level positions one.
    #[inline]
    fn picks(&self, first: u64, count: usize) -> u64 {
        let level = self.level;
        if level == 0 || count == 0 {
            return u64::MAX;
        }
        let (mut picks, last) = (0, first.wrapping_add(count as u64 - 1));
        for block in first >> level..=last >> level {
            let within = block.wrapping_mul(GOLDEN) >> (64 - level);
            let pick = (block << level).wrapping_add(within);
            let at = pick.wrapping_sub(first);
            picks |= u64::from(at < 64) << (at & 63);
        }
        picks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn records(seqs: std::ops::Range<u64>) -> Vec<FlowRecord> {
        seqs.map(|seq| FlowRecord { seq, ..FlowRecord::default() }).collect()
    }

    fn seqs(recent: &Recent) -> Vec<u64> {
        recent.newest_first(0).map(|record| record.seq).collect()
    }

    #[test]
    fn keeps_the_newest_in_order() {
        for step in [1, 2, 3, 4, 7, 9] {
            let mut recent = Recent::new(4);
            for first in (0..30).step_by(step) {
                let end = first + step as u64;
                recent.offer(first, &records(first..end), u64::MAX);
                let want: Vec<u64> = (0..end).rev().take(4).collect();
                assert_eq!(seqs(&recent), want);
                assert!(recent.positions().eq(want.iter().copied()));
                let from = end.saturating_sub(2);
                assert_eq!(recent.newest_first(from).count() as u64, end - from);
            }
        }
    }

    #[test]
    fn only_wanted_ones_are_kept() {
        let mut recent = Recent::new(100);
        recent.offer(10, &records(10..14), 0b1010);
        assert_eq!(seqs(&recent), [13, 11]);
    }

    #[test]
    fn the_pace_follows_the_rate() {
        let mut recent = Recent::new(1000);
        for (offered, kept) in
            [(0, 1), (3_999, 1), (4_000, 2), (7_999, 2), (8_000, 4), (65_000, 32)]
        {
            recent.pace(offered, SECOND);
            assert_eq!(1 << recent.level, kept, "{offered}");
        }
        recent.pace(4_000, 4 * SECOND);
        assert_eq!(recent.level, 0, "a long window");
        recent.pace(u64::MAX, Duration::ZERO);
        assert_eq!(recent.level, 32);
    }

    /// One of each block, wherever the batches end, and none at regular distances.
    #[test]
    fn one_in_so_many_is_kept_whatever_the_batches() {
        const ALL: u64 = 1 << 17;
        for (offered, one_in) in [(400_000, 8), (6_500_000, 128)] {
            let kept_by = |step: u64| {
                let mut recent = Recent::new(20_000);
                recent.pace(offered, SECOND);
                for first in (0..ALL).step_by(step as usize) {
                    recent.offer(first, &records(first..first + step), u64::MAX);
                }
                seqs(&recent)
            };
            let kept = kept_by(64);
            let blocks = kept.iter().rev().map(|seq| seq / one_in);
            assert!(blocks.eq(0..ALL / one_in), "{one_in}");
            for step in [1, 4, 32] {
                assert_eq!(kept_by(step), kept);
            }
            // What is every second, third, ... eleventh record is seen as often as it comes.
            for every in 2..12 {
                let seen = kept.iter().filter(|seq| *seq % every == 0).count();
                let share = seen as f64 * every as f64 / kept.len() as f64;
                assert!((0.9..1.1).contains(&share), "{one_in} {every} {share}");
            }
        }
    }
}
