//! A ring of the newest records of a shard, so that a sample of an attack exists at the moment it
//! is detected. Nothing is collected afterwards, and nothing waits for it.

use tidewall_model::FlowRecord;

/// The newest records.
#[derive(Clone, Debug)]
pub struct Recent {
    ring: Vec<FlowRecord>,
    capacity: usize,
    next: usize,
}

impl Recent {
    /// A ring of `capacity` records; pages that are never used cost nothing.
    pub fn new(capacity: u32) -> Self {
        let capacity = (capacity as usize).max(1);
        Self { ring: Vec::with_capacity(capacity), capacity, next: 0 }
    }

    /// Adds records, over the oldest ones when the ring is full.
    #[inline]
    pub fn extend(&mut self, records: &[FlowRecord]) {
        let room = (self.capacity - self.ring.len()).min(records.len());
        let (first, mut rest) = records.split_at(room);
        self.ring.extend_from_slice(first);
        while !rest.is_empty() {
            let ring = &mut self.ring[self.next..];
            let (now, later) = rest.split_at(rest.len().min(ring.len()));
            ring[..now.len()].copy_from_slice(now);
            self.next += now.len();
            if self.next == self.capacity {
                self.next = 0;
            }
            rest = later;
        }
    }

    /// All records, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = &FlowRecord> {
        let (newer, older) = self.ring.split_at(self.next);
        newer.iter().rev().chain(older.iter().rev())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_newest_in_order() {
        for step in [1, 2, 3, 4, 7, 9] {
            let mut recent = Recent::new(4);
            for first in (0..30).step_by(step) {
                let seqs = first..first + step as u64;
                let records: Vec<_> =
                    seqs.map(|seq| FlowRecord { seq, ..FlowRecord::default() }).collect();
                recent.extend(&records);
                let got: Vec<u64> = recent.newest_first().map(|r| r.seq).collect();
                let want: Vec<u64> = (0..first + step as u64).rev().take(4).collect();
                assert_eq!(got, want);
            }
        }
    }
}
