//! The flows of a window in the order in which they were seen, repeats and all. To write down a
//! flow costs the packet path a few nanoseconds; to look it up in a table of hundreds of thousands
//! costs a wait for memory. So flows are told apart by the detector's thread, all at once at the end
//! of a window ([`DistinctFlows`]), and before that only those of the few hosts that are watched.
//!
//! Memory is bounded: a log that is full strikes out its repeats and, when that is not enough, the
//! tags that the next level of thinning does not keep.

use crate::distinct::DistinctFlows;
use crate::flows::{FlowSet, MOST_THINNED, keeps};

/// Flows, each of a counter entry, with repeats.
#[derive(Debug)]
pub struct FlowLog {
    /// As [`FlowSet`] keeps them.
    items: Vec<u64>,
    level: u32,
    /// Most distinct flows: those of a set.
    most: usize,
    /// Repeats were struck out since [`Self::settle`].
    struck: bool,
    /// The most items since it was empty, before repeats were struck out.
    longest: usize,
}

/// A flow as logs and sets keep it.
#[inline]
pub const fn flow_item(entry: u32, tag: u32) -> u64 {
    (tag as u64) << 32 | (entry as u64 + 1)
}

/// Entry and tag of an item.
#[inline]
pub const fn flow_of(item: u64) -> (u32, u32) {
    ((item as u32).wrapping_sub(1), (item >> 32) as u32)
}

impl Clone for FlowLog {
    /// With room for all that may come, too.
    fn clone(&self) -> Self {
        let mut items = Vec::with_capacity(Self::room(self.most));
        items.extend_from_slice(&self.items);
        Self { items, ..*self }
    }
}

impl FlowLog {
    /// A log whose distinct flows fit into a [`FlowSet`] of the same capacity. Memory that is never
    /// written costs nothing.
    pub fn new(capacity: u32) -> Self {
        let most = Self::most_of(capacity);
        Self {
            items: Vec::with_capacity(Self::room(most)),
            level: 0,
            most,
            struck: false,
            longest: 0,
        }
    }

    /// Most distinct flows of a log of this capacity.
    pub const fn most_of(capacity: u32) -> usize {
        FlowSet::most_of(capacity)
    }

    /// Most items, when there may be so many distinct ones.
    const fn room(most: usize) -> usize {
        most + most / 2
    }

    /// Items of all shards together above which repeats are struck out at the end of a slice. It is
    /// below the room of any of them: then what is left does not depend on the number of shards.
    pub const fn bound(&self) -> usize {
        self.most + self.most / 4
    }

    /// Most distinct flows.
    pub const fn most(&self) -> usize {
        self.most
    }

    /// Level of thinning: 0 is everything.
    pub const fn level(&self) -> u32 {
        self.level
    }

    /// Items, with repeats.
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// The most items since it was empty.
    pub fn longest(&self) -> usize {
        self.longest.max(self.items.len())
    }

    /// Nothing was written down?
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Had it to strike out repeats by itself?
    pub const fn was_struck(&self) -> bool {
        self.struck
    }

    /// Is the tag among those that are kept?
    #[inline]
    pub const fn keeps(&self, tag: u32) -> bool {
        keeps(self.level, tag)
    }

    /// All items, as they are kept.
    pub fn items(&self) -> &[u64] {
        &self.items
    }

    /// Adds a few items whose tags are kept. True when others had to move for them.
    #[inline]
    pub fn add(&mut self, items: &[u64]) -> bool {
        if self.items.len() + items.len() <= Self::room(self.most) {
            self.items.extend_from_slice(items);
            return false;
        }
        self.add_to_full(items);
        true
    }

    /// Nothing is allocated: sorting needs no memory, and half as many items as may be left find
    /// room.
    #[cold]
    fn add_to_full(&mut self, items: &[u64]) {
        (self.struck, self.longest) = (true, self.longest());
        self.items.sort_unstable();
        self.items.dedup();
        while self.items.len() > self.most && self.level < MOST_THINNED {
            self.thin_to(self.level + 1);
        }
        let level = self.level;
        let kept = items.iter().filter(|item| keeps(level, flow_of(**item).1));
        self.items.extend(kept);
    }

    /// Strikes out repeats; `distinct` helps.
    pub fn settle(&mut self, distinct: &mut DistinctFlows) {
        distinct.refill(self);
        self.longest = self.longest();
        self.items.clear();
        self.items.extend_from_slice(distinct.items());
        (self.level, self.struck) = (distinct.level(), false);
    }

    /// Items that would be left at a level.
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

    /// Empties it for a new window.
    pub fn clear(&mut self) {
        self.items.clear();
        (self.level, self.struck, self.longest) = (0, false, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn mix(n: u64) -> u32 {
        (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 29) as u32
    }

    fn item(n: u64) -> u64 {
        flow_item((n % 5) as u32, mix(n))
    }

    #[test]
    fn a_full_log_keeps_what_a_set_would() {
        let mut log = FlowLog::new(1 << 12);
        let (room, most) = (log.items.capacity(), log.most());
        // Few flows, many times: none is lost.
        let few: BTreeSet<u64> = (0..1000).map(item).collect();
        for n in 0..20 * room as u64 {
            log.add(&[item(n % 1000)]);
            assert!(log.len() <= room);
        }
        assert_eq!((log.level(), log.was_struck()), (0, true));
        assert_eq!(log.items().iter().copied().collect::<BTreeSet<_>>(), few);
        // Many flows: all that the level keeps, and no more than fit.
        let count = 10 * room as u64;
        for n in (1000..count).filter(|n| n % 2 == 0).chain((1000..count).filter(|n| n % 2 != 0)) {
            if log.keeps(mix(n)) {
                log.add(&[item(n)]);
            }
        }
        log.settle(&mut DistinctFlows::new(1 << 12));
        let want: BTreeSet<u64> =
            (0..count).map(item).filter(|item| log.keeps(flow_of(*item).1)).collect();
        assert_eq!(log.items().iter().copied().collect::<BTreeSet<_>>(), want);
        assert!(log.len() <= most && log.len() == want.len() && !log.was_struck());
        let below = |item: &u64| keeps(log.level() - 1, flow_of(*item).1);
        assert!((0..count).map(item).filter(below).collect::<BTreeSet<_>>().len() > most);
        assert_eq!(log.items.capacity(), room, "nothing was allocated");
    }

    #[test]
    fn an_item_is_an_entry_and_a_tag() {
        for (entry, tag) in [(0, 0), (7, u32::MAX), (u32::MAX - 1, 1)] {
            assert_eq!(flow_of(flow_item(entry, tag)), (entry, tag));
            assert_ne!(flow_item(entry, tag), 0);
        }
    }
}
