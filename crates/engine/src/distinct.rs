//! The flows of a closed window without their repeats. A log is dealt to parts that fit into the
//! fastest cache, and each part is gone through with a small table: nothing waits for memory, and
//! no order of the flows makes it slower.

use crate::flow_log::{FlowLog, flow_of};
use crate::flows::{MOST_THINNED, keeps, scatter};
use crate::slack::Sizes;

/// Parts of a log, by the top bits of the tags.
const PARTS: usize = 256;
/// Smallest table, and the largest that one begins with: most items may be repeats.
const SMALLEST: usize = 16;
const USUAL: usize = 1 << 12;
/// An empty slot: no item is zero.
const EMPTY: u64 = 0;

/// Distinct flows, each of a counter entry.
#[derive(Clone, Debug)]
pub struct DistinctFlows {
    items: Vec<u64>,
    /// Open addressing, for one part at a time.
    table: Vec<u64>,
    level: u32,
    /// Most flows.
    most: usize,
    /// The most items that it has held.
    touched: usize,
}

impl DistinctFlows {
    /// Of logs of this capacity.
    pub fn new(capacity: u32) -> Self {
        let most = FlowLog::most_of(capacity);
        Self { items: Vec::new(), table: Vec::new(), level: 0, most, touched: 0 }
    }

    /// Level of thinning: 0 is exact.
    pub const fn level(&self) -> u32 {
        self.level
    }

    /// Flows that one kept tag stands for.
    pub const fn weight(&self) -> u32 {
        1 << self.level
    }

    /// Flows that are kept.
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// Most flows that are kept.
    pub const fn most(&self) -> usize {
        self.most
    }

    /// All that are kept, as logs keep them.
    pub fn items(&self) -> &[u64] {
        &self.items
    }

    /// All that are kept: (entry, tag).
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.items.iter().map(|item| flow_of(*item))
    }

    /// Flows that would be left at a level.
    pub fn len_at(&self, level: u32) -> usize {
        self.items.iter().filter(|item| keeps(level, flow_of(**item).1)).count()
    }

    /// Leaves what a level keeps.
    pub fn thin_to(&mut self, level: u32) {
        if level > self.level {
            self.level = level;
            self.items.retain(|item| keeps(level, flow_of(*item).1));
        }
    }

    /// Holds what a log holds, without repeats and thinned until it is not too much.
    pub fn refill(&mut self, log: &FlowLog) {
        self.level = log.level();
        let ends = deal(log.items(), &mut self.items);
        let (mut begin, mut kept) = (0, 0);
        for end in ends {
            let first = kept;
            let mut size = ((end - begin) * 2).next_power_of_two().clamp(SMALLEST, USUAL);
            self.empty_table(size);
            for at in begin..end {
                let item = self.items[at];
                if !put(&mut self.table[..size], item) {
                    continue;
                }
                self.items[kept] = item;
                kept += 1;
                if (kept - first) * 2 > size {
                    size *= 2;
                    self.empty_table(size);
                    for item in &self.items[first..kept] {
                        put(&mut self.table[..size], *item);
                    }
                }
            }
            begin = end;
        }
        self.touched = self.touched.max(self.items.len()).max(self.table.len());
        self.items.truncate(kept);
        while self.items.len() > self.most && self.level < MOST_THINNED {
            self.thin_to(self.level + 1);
        }
    }

    fn empty_table(&mut self, size: usize) {
        if self.table.len() < size {
            self.table.resize(size, EMPTY);
        }
        self.table[..size].fill(EMPTY);
    }

    /// Has it touched far more than is needed?
    pub const fn wastes(&self, needed: &Sizes) -> bool {
        Sizes { hosts: 0, places: self.touched }.wastes_places(needed)
    }
}

/// Puts the items in the order of their parts, and says where each part ends.
fn deal(items: &[u64], dealt: &mut Vec<u64>) -> [usize; PARTS] {
    let part = |item: u64| (item >> 56) as usize % PARTS;
    let mut next = [0usize; PARTS];
    for item in items {
        next[part(*item)] += 1;
    }
    let mut begin = 0;
    for place in &mut next {
        (*place, begin) = (begin, begin + *place);
    }
    dealt.clear();
    dealt.resize(items.len(), EMPTY);
    for item in items {
        let place = &mut next[part(*item)];
        if let Some(slot) = dealt.get_mut(*place) {
            *slot = *item;
        }
        *place += 1;
    }
    next
}

/// Puts an item of a part into the table, which is at most half full; false when it is there.
#[inline]
fn put(table: &mut [u64], item: u64) -> bool {
    let mut at = scatter(item, table.len());
    loop {
        match table.get_mut(at) {
            Some(slot) if *slot == item => return false,
            Some(slot) if *slot == EMPTY => {
                *slot = item;
                return true;
            }
            Some(_) => at += 1,
            None => at = 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::flow_log::flow_item;
    use crate::flows::FlowSet;

    /// splitmix64: well-mixed tags from a counter.
    fn mix(n: u64) -> u32 {
        let z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((z ^ (z >> 27)) >> 16) as u32
    }

    #[test]
    fn a_log_gives_what_its_flows_one_by_one_would() {
        let mut distinct = DistinctFlows::new(1 << 12);
        for (count, repeats) in [(0, 1), (1, 5), (900, 3), (5_000, 2), (100_000, 1), (10, 100)] {
            let (mut log, mut set) = (FlowLog::new(1 << 12), FlowSet::new(1 << 12));
            for n in 0..count * repeats {
                let (entry, tag) = ((n % count % 3) as u32, mix(n % count));
                if log.keeps(tag) {
                    log.add(&[flow_item(entry, tag)]);
                }
                set.insert(entry, tag);
            }
            distinct.refill(&log);
            assert_eq!((distinct.level(), distinct.len()), (set.level(), set.len()));
            assert_eq!(distinct.iter().collect::<BTreeSet<_>>(), set.iter().collect());
            assert_eq!(distinct.len_at(set.level() + 1), set.len_at(set.level() + 1));
        }
    }

    #[test]
    fn tags_that_crowd_a_part_are_told_apart() {
        let mut log = FlowLog::new(1 << 12);
        // Equal in all but the last bits, and equal in all with different entries.
        (0..500).for_each(|n| _ = log.add(&[flow_item(1, n), flow_item(n, 77), flow_item(n, 77)]));
        let mut distinct = DistinctFlows::new(1 << 12);
        distinct.refill(&log);
        assert_eq!(distinct.len(), 999, "(1, 77) is in both");
    }

    /// Quadratic work would take minutes.
    #[test]
    fn many_entries_with_one_tag_cost_no_more_than_others() {
        let (mut log, mut set) = (FlowLog::new(1 << 20), FlowSet::new(1 << 20));
        for entry in 0..400_000 {
            log.add(&[flow_item(entry, 77)]);
            set.insert(entry, 77);
        }
        let mut distinct = DistinctFlows::new(1 << 20);
        distinct.refill(&log);
        assert_eq!((distinct.len(), set.len()), (400_000, 400_000));
    }

    #[test]
    fn repeats_make_no_table_larger() {
        let mut log = FlowLog::new(1 << 20);
        (0..200_000).for_each(|n| _ = log.add(&[flow_item(n % 2, 77)]));
        let mut distinct = DistinctFlows::new(1 << 20);
        distinct.refill(&log);
        assert_eq!((distinct.len(), distinct.table.len()), (2, USUAL));
    }
}
