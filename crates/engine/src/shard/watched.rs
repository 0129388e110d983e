//! Flows of the hosts that are watched, counted while their window runs. Those of all others are
//! counted when it is over.

use crate::arena::HostArena;
use crate::flow_log::{FlowLog, flow_of};
use crate::flows::{FlowSet, Inserted};

/// A watched host's flows may be thinned earlier than those of a whole window.
const PART_OF_CAPACITY: u32 = 4;
/// A set that had more than so many places is given back when nothing is watched: 1 MB.
const KEPT_PLACES: usize = 1 << 17;

/// The flows of the watched hosts since the window began.
#[derive(Debug)]
pub(super) struct WatchedFlows {
    set: FlowSet,
    capacity: u32,
    /// By entry: are its flows counted?
    members: Entries,
    /// Items of the log that were looked at.
    read: usize,
    /// The most places that the set had at the end of a window.
    touched: usize,
}

impl WatchedFlows {
    pub(super) fn new(capacity: u32) -> Self {
        let capacity = capacity / PART_OF_CAPACITY;
        Self {
            set: FlowSet::new(capacity),
            capacity,
            members: Entries::default(),
            read: 0,
            touched: 0,
        }
    }

    pub(super) const fn set(&self) -> &FlowSet {
        &self.set
    }

    /// Counts the flows of these entries and of those that were named before, up to now.
    pub(super) fn count(
        &mut self,
        entries: impl Iterator<Item = usize>,
        log: &FlowLog,
        hosts: &mut HostArena,
    ) {
        if log.is_empty() {
            return;
        }
        let mut fresh = Entries::default();
        for entry in entries.filter(|entry| !self.members.has(*entry)) {
            fresh.add(entry);
        }
        let items = log.items();
        let (before, since) = items.split_at(self.read.min(items.len()));
        self.thin_to(log.level(), hosts);
        self.members.unite(&fresh);
        if !fresh.is_empty() {
            self.take(before, Some(&fresh), hosts);
        }
        if !self.members.is_empty() {
            self.take(since, None, hosts);
        }
        self.read = items.len();
    }

    /// Counts the flows of these entries, or of all members, that are among the items.
    fn take(&mut self, items: &[u64], entries: Option<&Entries>, hosts: &mut HostArena) {
        let Self { set, members, .. } = self;
        let entries = entries.unwrap_or(members);
        for (entry, tag) in items.iter().map(|item| flow_of(*item)) {
            if !entries.has(entry as usize / 2) {
                continue;
            }
            match set.insert(entry, tag) {
                Inserted::No => {}
                Inserted::New(weight) => {
                    hosts.add_flows(entry as usize / 2, entry as usize % 2, weight);
                }
                Inserted::Thinned => recount(set, members, hosts),
            }
        }
    }

    /// Thins what was counted.
    pub(super) fn thin_to(&mut self, level: u32, hosts: &mut HostArena) {
        if level > self.set.level() {
            self.set.thin_to(level);
            recount(&self.set, &self.members, hosts);
        }
    }

    /// The log has another order now.
    pub(super) const fn read_again(&mut self) {
        self.read = 0;
    }

    /// Begins a new window. True when hosts were watched in the one before.
    pub(super) fn clear(&mut self) -> bool {
        let any = !self.members.is_empty();
        self.touched = self.touched.max(self.set.size());
        if !any && self.touched > KEPT_PLACES {
            (self.set, self.touched) = (FlowSet::new(self.capacity), 0);
        }
        self.set.clear();
        self.members.clear();
        self.read = 0;
        any
    }
}

/// Counts the flows of the members again: those of all others are not counted yet.
#[cold]
fn recount(set: &FlowSet, members: &Entries, hosts: &mut HostArena) {
    members.iter().for_each(|entry| hosts.forget_flows(entry));
    hosts.count_flows(set.iter(), set.weight());
}

/// A set of entry numbers.
#[derive(Debug, Default)]
struct Entries {
    bits: Vec<u64>,
}

impl Entries {
    #[inline]
    fn has(&self, entry: usize) -> bool {
        self.bits.get(entry / 64).is_some_and(|bits| bits >> (entry % 64) & 1 != 0)
    }

    fn add(&mut self, entry: usize) {
        if self.bits.len() <= entry / 64 {
            self.bits.resize(entry / 64 + 1, 0);
        }
        if let Some(bits) = self.bits.get_mut(entry / 64) {
            *bits |= 1 << (entry % 64);
        }
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let of_word = |(at, bits): (usize, &u64)| {
            let bits = *bits;
            (0..64).filter(move |bit| bits >> bit & 1 != 0).map(move |bit| at * 64 + bit)
        };
        self.bits.iter().enumerate().flat_map(of_word)
    }

    fn unite(&mut self, other: &Self) {
        if self.bits.len() < other.bits.len() {
            self.bits.resize(other.bits.len(), 0);
        }
        self.bits.iter_mut().zip(&other.bits).for_each(|(bits, more)| *bits |= more);
    }

    const fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }

    fn clear(&mut self) {
        self.bits.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::arena::{IN, OUT};
    use crate::distinct::DistinctFlows;
    use crate::flow_log::flow_item;

    fn mix(n: u64) -> u32 {
        (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 31) as u32
    }

    #[test]
    fn counts_of_watched_hosts_are_those_of_all_their_flows() {
        let (mut log, mut hosts) = (FlowLog::new(1 << 14), HostArena::with_capacity(100));
        hosts.add_empty(100);
        let mut watched = WatchedFlows::new(1 << 14);
        let mut truth = vec![BTreeSet::new(); 200];
        // Hosts are named one after the other; repeats are struck out in between.
        for round in 0..20u64 {
            for n in 0..200 {
                let number = round * 150 + n;
                let entry = (mix(number) % 200) as usize;
                truth[entry].insert(number);
                log.add(&[flow_item(entry as u32, mix(number))]);
            }
            if round == 9 {
                log.settle(&mut DistinctFlows::new(1 << 14));
                watched.read_again();
            }
            let named = [round as usize, 50, 99];
            watched.count(named.into_iter(), &log, &mut hosts);
            for entry in (0..=round as usize).chain([50, 99]) {
                let flows = hosts.entries()[entry].flows();
                let want = [IN, OUT].map(|side| truth[entry * 2 + side].len() as u32);
                assert_eq!(flows, want, "round {round}, entry {entry}");
            }
            assert_eq!(hosts.entries()[40].flows(), [0, 0], "nobody asked");
        }
        watched.thin_to(1, &mut hosts);
        let even =
            |flows: &BTreeSet<u64>| flows.iter().filter(|n| mix(**n).is_multiple_of(2)).count();
        assert_eq!(hosts.entries()[50].flows()[OUT] as usize, 2 * even(&truth[101]));
        hosts.reset_flows();
        assert!(watched.clear() && !watched.clear());
        watched.count(std::iter::once(3), &log, &mut hosts);
        assert_eq!(hosts.entries()[50].flows(), [0, 0], "forgotten with its window");
        assert_eq!(hosts.entries()[3].flows()[IN] as usize, truth[6].len());
    }
}
