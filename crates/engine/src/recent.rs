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

    /// Adds a record, over the oldest one when the ring is full.
    #[inline]
    pub fn push(&mut self, record: &FlowRecord) {
        if self.ring.len() < self.capacity {
            self.ring.push(*record);
            return;
        }
        self.ring[self.next] = *record;
        self.next = if self.next + 1 == self.capacity { 0 } else { self.next + 1 };
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
        let mut recent = Recent::new(4);
        for seq in 0..11 {
            recent.push(&FlowRecord { seq, ..FlowRecord::default() });
            let got: Vec<u64> = recent.newest_first().map(|r| r.seq).collect();
            let want: Vec<u64> = (0..=seq).rev().take(4).collect();
            assert_eq!(got, want);
        }
    }
}
