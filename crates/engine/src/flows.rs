//! Distinct flows: a set of (counter entry, tag), exact up to its capacity. It counts the flows of
//! hosts that are watched while a window runs, and unites those that several shards have seen; the
//! flows of whole windows are in `flow_log.rs` and `distinct.rs`.
//!
//! A flow is a (local address, remote address, ports, protocol) in one direction. Its tag is 32
//! bits of a seeded hash of all of these. When the set is full it keeps only tags whose lowest
//! `level` bits are zero, one more bit each time, and every tag that is kept counts 2^level.
//! So memory is bounded whatever is spoofed, and the estimate of n flows has the relative
//! standard error sqrt((2^level - 1) / n): none below the capacity, 1.2 % for 100,000 flows of one
//! host when 16 million are seen and one million are kept.

use crate::flow_log::{flow_item, flow_of};

/// An empty slot. Entry numbers are stored plus one, so no stored value is zero.
const EMPTY: u64 = 0;
/// Smallest table: 4 KiB.
const SMALLEST: usize = 512;

/// Where in a table of `size` slots an item is looked for first. Flows also come in the order of
/// their tags, or with one tag for many entries: they must not crowd one place.
#[inline]
pub const fn scatter(item: u64, size: usize) -> usize {
    // 2^64 divided by the golden ratio: an odd number without structure.
    (((item.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) * size as u64) >> 32) as usize
}

/// Flows are never thinned to fewer than one tag in so many powers of two.
pub const MOST_THINNED: u32 = 31;

/// Does a level of thinning keep a tag?
#[inline]
pub const fn keeps(level: u32, tag: u32) -> bool {
    tag & ((1 << level) - 1) == 0
}

/// A set of flows, each belonging to a counter entry and direction.
#[derive(Clone, Debug)]
pub struct FlowSet {
    /// Open addressing; allocated once, untouched pages cost nothing.
    slots: Vec<u64>,
    /// Slots in use by this window: a power of two, at most `slots.len()`.
    size: usize,
    len: usize,
    level: u32,
    /// Scratch for growing and thinning, as large as the most entries a table may hold.
    moved: Vec<u64>,
}

/// What an insertion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It was there, or is not among the tags that are kept.
    No,
    /// It is new: add this to the entry's flows.
    New(u32),
    /// It is new, and the set was thinned first: every entry's flows must be counted again.
    Thinned,
}

impl FlowSet {
    /// A set of at most about `capacity` flows.
    pub fn new(capacity: u32) -> Self {
        let slots = Self::slots_of(capacity);
        Self {
            slots: vec![EMPTY; slots],
            size: SMALLEST.min(slots),
            len: 0,
            level: 0,
            moved: Vec::with_capacity(Self::limit(slots) + 1),
        }
    }

    const fn slots_of(capacity: u32) -> usize {
        let least = if capacity as usize > SMALLEST / 2 { capacity as usize } else { SMALLEST / 2 };
        (least * 3 / 2).next_power_of_two()
    }

    /// Most tags that can be kept by a set of this capacity.
    pub const fn most_of(capacity: u32) -> usize {
        Self::limit(Self::slots_of(capacity))
    }

    /// Most entries in a table of `size` slots: two thirds.
    const fn limit(size: usize) -> usize {
        size / 3 * 2
    }

    /// Flows that one kept tag stands for.
    pub const fn weight(&self) -> u32 {
        1 << self.level
    }

    /// Level of thinning: 0 is exact.
    pub const fn level(&self) -> u32 {
        self.level
    }

    /// Kept tags.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// No tag is kept?
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Slots in use.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Most tags that can be kept.
    pub const fn most(&self) -> usize {
        Self::limit(self.slots.len())
    }

    /// Tags that would be left at a level.
    pub fn len_at(&self, level: u32) -> usize {
        self.iter().filter(|(_, tag)| keeps(level, *tag)).count()
    }

    /// Is the tag among those that are kept at the set's level?
    #[inline]
    pub const fn keeps(&self, tag: u32) -> bool {
        keeps(self.level, tag)
    }

    /// Flows of `entry` are tags; is this one new?
    #[inline]
    pub fn insert(&mut self, entry: u32, tag: u32) -> Inserted {
        if !self.keeps(tag) {
            return Inserted::No;
        }
        let item = flow_item(entry, tag);
        let mut at = self.home(item);
        let slots = &mut self.slots[..self.size];
        loop {
            match slots.get_mut(at) {
                Some(slot) if *slot == item => return Inserted::No,
                Some(slot) if *slot == EMPTY => {
                    *slot = item;
                    return self.added();
                }
                Some(_) => at += 1,
                None => at = 0,
            }
        }
    }

    #[inline]
    fn added(&mut self) -> Inserted {
        self.len += 1;
        if self.len <= Self::limit(self.size) { Inserted::New(self.weight()) } else { self.grow() }
    }

    /// All kept flows: (entry, tag).
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let used = self.slots[..self.size].iter().filter(|item| **item != EMPTY);
        used.map(|item| flow_of(*item))
    }

    /// Empties the set for a new window, and shrinks to what the last one needed.
    pub fn clear(&mut self) {
        self.slots[..self.size].fill(EMPTY);
        let wanted = (self.len * 2).next_power_of_two().clamp(SMALLEST, self.slots.len());
        self.size = wanted.min(self.size.max(SMALLEST)).min(self.slots.len());
        self.len = 0;
        self.level = 0;
    }

    /// Thins the set to `level`, to be united with another that is thinner.
    pub fn thin_to(&mut self, level: u32) {
        if level > self.level {
            self.level = level;
            self.rebuild(self.size);
        }
    }

    #[inline(never)]
    fn grow(&mut self) -> Inserted {
        if self.size < self.slots.len() {
            self.rebuild(self.size * 2);
            return Inserted::New(self.weight());
        }
        while self.len > Self::limit(self.size) {
            self.level += 1;
            self.rebuild(self.size);
        }
        Inserted::Thinned
    }

    /// Puts every entry that the level keeps into a table of `size` slots.
    fn rebuild(&mut self, size: usize) {
        let mut moved = std::mem::take(&mut self.moved);
        moved.clear();
        let mask = u64::from(self.weight() - 1) << 32;
        let kept = |item: &&u64| **item != EMPTY && **item & mask == 0;
        moved.extend(self.slots[..self.size].iter().filter(kept));
        self.slots[..self.size].fill(EMPTY);
        self.size = size;
        self.len = moved.len();
        for item in &moved {
            let at = self.probe(*item);
            self.slots[at] = *item;
        }
        self.moved = moved;
    }

    #[inline]
    fn home(&self, item: u64) -> usize {
        scatter(item, self.size)
    }

    /// Where the item is, or the empty slot where it belongs.
    #[inline]
    fn probe(&self, item: u64) -> usize {
        let mut at = self.home(item);
        while self.slots[at] != EMPTY && self.slots[at] != item {
            at = if at + 1 == self.size { 0 } else { at + 1 };
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// splitmix64: well-mixed tags from a counter.
    fn mix(n: u64) -> u32 {
        let z = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) ^ 0x1234_5678;
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as u32
    }

    /// The counters a shard keeps: add on New, count all again on Thinned.
    fn fill(set: &mut FlowSet, flows: impl Iterator<Item = (u32, u32)>) -> BTreeMap<u32, u64> {
        let mut counts: BTreeMap<u32, u64> = BTreeMap::new();
        for (entry, tag) in flows {
            match set.insert(entry, tag) {
                Inserted::No => {}
                Inserted::New(weight) => *counts.entry(entry).or_default() += u64::from(weight),
                Inserted::Thinned => {
                    counts.clear();
                    for (entry, _) in set.iter() {
                        *counts.entry(entry).or_default() += u64::from(set.weight());
                    }
                }
            }
        }
        counts
    }

    #[test]
    fn exact_below_capacity_with_repeats() {
        let mut set = FlowSet::new(1 << 14);
        let flows = (0..40_000u64).map(|n| ((n % 7) as u32, mix(n % 9_800)));
        let truth: BTreeSet<(u32, u32)> = flows.clone().collect();
        let counts = fill(&mut set, flows);
        assert_eq!(set.level(), 0);
        for entry in 0..7 {
            let want = truth.iter().filter(|(e, _)| *e == entry).count() as u64;
            assert_eq!(counts[&entry], want);
        }
    }

    #[test]
    fn error_stays_within_its_bound_above_capacity() {
        // Entry 0 has 400,000 flows, entries 1 to 999 have 3,600 in all; 2^16 are kept.
        let mut set = FlowSet::new(1 << 16);
        let flows = (0..400_000u64)
            .map(|n| (0, mix(n)))
            .chain((0..3_600_000u64).map(|n| (1 + (n % 999) as u32, mix(n + 1_000_000_000))));
        let counts = fill(&mut set, flows);
        assert!(set.level() >= 5, "{}", set.level());
        let sigma = |n: f64| ((f64::from(set.weight()) - 1.0) * n).sqrt();
        let error = (counts[&0] as f64 - 400_000.0).abs();
        assert!(error < 4.0 * sigma(400_000.0), "error {error}");
        let beyond = (1..1000)
            .filter(|e| {
                let n = 3_600_000.0 / 999.0;
                let got = counts.get(e).copied().unwrap_or(0) as f64;
                (got - n).abs() > 2.0 * sigma(n)
            })
            .count();
        // Two standard errors hold for 95 % of the entries.
        assert!(beyond < 80, "{beyond} of 999 beyond two standard errors");
    }

    #[test]
    fn union_of_thinned_parts_equals_the_whole() {
        let flows: Vec<_> = (0..60_000u64).map(|n| ((n % 50) as u32, mix(n))).collect();
        let mut whole = FlowSet::new(1 << 12);
        fill(&mut whole, flows.iter().copied());
        let mut parts = [FlowSet::new(1 << 12), FlowSet::new(1 << 12)];
        fill(&mut parts[0], flows.iter().copied().filter(|(_, tag)| tag % 3 == 0));
        fill(&mut parts[1], flows.iter().copied().filter(|(_, tag)| tag % 3 != 0));
        let mut union = FlowSet::new(1 << 12);
        for part in &parts {
            union.thin_to(part.level());
            fill(&mut union, part.iter());
        }
        assert_eq!(union.level(), whole.level());
        let set = |s: &FlowSet| s.iter().collect::<BTreeSet<_>>();
        assert_eq!(set(&union), set(&whole));
    }

    #[test]
    fn clear_empties_and_shrinks() {
        let mut set = FlowSet::new(1 << 16);
        fill(&mut set, (0..50_000u64).map(|n| (1, mix(n))));
        let large = set.size;
        set.clear();
        assert_eq!(set.iter().count(), 0);
        fill(&mut set, (0..10u64).map(|n| (1, mix(n))));
        set.clear();
        assert!(set.size < large && set.size == SMALLEST);
        assert_eq!(set.insert(1, mix(3)), Inserted::New(1));
    }
}
