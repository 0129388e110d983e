//! Counters of the hosts that were seen in the current window, and nothing else.
//!
//! Entries lie in an arena in the order in which hosts are first seen. An index maps an address to
//! its entry: a direct array for the IPv4 networks, open addressing for the rest. A stale index
//! entry is recognised because the entry it names has another key, so starting a new window costs
//! nothing, and a host that was not seen has neither time nor memory. When a window closes the
//! arena is handed over whole and an empty one takes its place.

use tidewall_model::{Count, DirectedCounters, Direction, TrafficCounters};

use crate::prefetch::Prefetch;
use crate::tallies::{Addition, Share, Tallies};

/// What identifies a host in an arena: its address and the zone that holds it. The zone tells the
/// IP version apart, because a zone is a prefix of one family.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostKey {
    /// Number of the zone.
    pub zone: u32,
    /// The address; an IPv4 address sits in the low 32 bits.
    pub bits: u128,
}

/// Side of a host: 0 counts what comes to it, 1 what it sends.
pub type Side = usize;
/// Traffic to the host.
pub const IN: Side = 0;
/// Traffic from the host.
pub const OUT: Side = 1;

/// Direction of a side.
pub const fn direction_of(side: Side) -> Direction {
    if side == OUT { Direction::Outgoing } else { Direction::Incoming }
}

/// Packets and bytes in 32 bits each: 4 GiB in a window is enough for nearly every host, and what
/// is beyond moves to [`HostArena::wide`].
#[derive(Clone, Copy, Debug, Default)]
struct Small {
    packets: u32,
    bytes: u32,
}

impl Small {
    /// Adds, when both sums fit.
    #[inline]
    const fn add(&mut self, count: Count) -> bool {
        let packets = (self.packets as u64).saturating_add(count.packets);
        let bytes = (self.bytes as u64).saturating_add(count.bytes);
        let fits = (packets | bytes) >> 32 == 0;
        if fits {
            *self = Self { packets: packets as u32, bytes: bytes as u32 };
        }
        fits
    }

    #[inline]
    const fn count(self) -> Count {
        Count { packets: self.packets as u64, bytes: self.bytes as u64 }
    }
}

/// One side of a host, the classes that most hosts have: half a cache line.
#[derive(Clone, Copy, Debug, Default)]
struct Common {
    /// TCP and UDP, by [`Share`].
    shares: [Small; 2],
    syn: Small,
    /// Largest sampling rate seen: how much one packet stands for at the worst.
    weight: u32,
    flows: u32,
}

/// Counters of one host in one window: 96 bytes. The key lies between the sides, so that it often
/// shares its cache line with the side that is counted.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub struct HostEntry {
    incoming: Common,
    bits_low: u64,
    bits_high: u64,
    zone: u32,
    /// Position + 1 in the arena's rare counters (0: none), and the hot flag in the top bit.
    rare: u32,
    /// Position + 1 in the arena's wide counters (0: none).
    wide: u32,
    /// Tag of the flow that was seen last; 0 when there was none.
    last_flow: u32,
    outgoing: Common,
}

const _: () = assert!(size_of::<HostEntry>() == 96);

/// Classes that few hosts have, on one side.
#[derive(Clone, Copy, Debug, Default)]
struct Rare {
    icmp: Small,
    other: Small,
    fragment: Small,
    dropped: Small,
}

/// The classes of [`Tallies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Share(Share),
    Syn,
    Fragment,
    Dropped,
}

const HOT: u32 = 1 << 31;

impl HostEntry {
    /// Who it is.
    #[inline]
    pub fn key(&self) -> HostKey {
        let bits = u128::from(self.bits_high) << 64 | u128::from(self.bits_low);
        HostKey { zone: self.zone, bits }
    }

    /// Distinct flows by side.
    pub const fn flows(&self) -> [u32; 2] {
        [self.incoming.flows, self.outgoing.flows]
    }

    /// Largest sampling rate of a side's traffic, 0 without traffic.
    pub const fn weight(&self, side: Side) -> u32 {
        self.side(side).weight
    }

    #[inline]
    const fn side(&self, side: Side) -> &Common {
        if side == IN { &self.incoming } else { &self.outgoing }
    }

    #[inline]
    const fn side_mut(&mut self, side: Side) -> &mut Common {
        if side == IN { &mut self.incoming } else { &mut self.outgoing }
    }

    #[inline]
    const fn is(&self, key: HostKey) -> bool {
        self.bits_low == key.bits as u64
            && self.zone == key.zone
            && self.bits_high == (key.bits >> 64) as u64
    }

    #[inline]
    const fn rare_index(&self) -> Option<usize> {
        ((self.rare & !HOT) as usize).checked_sub(1)
    }

    #[inline]
    const fn wide_index(&self) -> Option<usize> {
        (self.wide as usize).checked_sub(1)
    }
}

/// Entries of the hosts of one window.
#[derive(Clone, Debug, Default)]
pub struct HostArena {
    entries: Vec<HostEntry>,
    rare: Vec<[Rare; 2]>,
    /// What 32 bits could not hold, to be added to the small counters.
    wide: Vec<[Tallies; 2]>,
}

impl HostArena {
    /// An arena with room for so many hosts; pages that are never used cost nothing.
    pub fn with_capacity(hosts: u32) -> Self {
        let hosts = hosts as usize;
        Self {
            entries: Vec::with_capacity(hosts),
            rare: Vec::with_capacity(hosts),
            wide: Vec::with_capacity(hosts),
        }
    }

    /// Hosts in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All entries, in order of first sight.
    pub fn entries(&self) -> &[HostEntry] {
        &self.entries
    }

    /// Packets and bytes of a side.
    #[inline]
    pub fn total(&self, entry: &HostEntry, side: Side) -> Count {
        if entry.wide != 0 {
            return self.counters(entry, side).total;
        }
        let [tcp, udp] = entry.side(side).shares.map(Small::count);
        let mut total = Count { packets: tcp.packets + udp.packets, bytes: tcp.bytes + udp.bytes };
        if let Some(rare) = entry.rare_index() {
            total += self.rare[rare][side].icmp.count();
            total += self.rare[rare][side].other.count();
        }
        total
    }

    /// All classes and flows of a side.
    pub fn counters(&self, entry: &HostEntry, side: Side) -> TrafficCounters {
        let wide = entry.wide_index().map(|at| self.wide[at][side]).unwrap_or_default();
        let mut counters = wide.counters();
        let common = entry.side(side);
        let rare = entry.rare_index().map(|at| self.rare[at][side]).unwrap_or_default();
        let [tcp, udp] = common.shares;
        for share in [tcp, udp, rare.icmp, rare.other] {
            counters.total += share.count();
        }
        counters.tcp += tcp.count();
        counters.tcp_syn += common.syn.count();
        counters.udp += udp.count();
        counters.icmp += rare.icmp.count();
        counters.fragment += rare.fragment.count();
        counters.dropped += rare.dropped.count();
        counters.other += rare.other.count();
        counters.flows = u64::from(common.flows);
        counters
    }

    /// Both sides.
    pub fn directed(&self, entry: &HostEntry) -> DirectedCounters {
        DirectedCounters { incoming: self.counters(entry, IN), outgoing: self.counters(entry, OUT) }
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.rare.clear();
        self.wide.clear();
    }

    /// Adds entries of nobody.
    #[cfg(test)]
    pub fn add_empty(&mut self, count: usize) {
        self.entries.resize(self.entries.len() + count, HostEntry::default());
    }

    /// Is the entry with this number + 1 the host's?
    #[inline]
    pub fn is_at(&self, entry: u32, key: HostKey) -> bool {
        self.entries.get((entry as usize).wrapping_sub(1)).is_some_and(|entry| entry.is(key))
    }

    /// Asks for the key and one side of the entry with this number + 1.
    #[inline]
    pub fn prefetch(&self, entry: u32, side: Side, prefetch: impl Prefetch) {
        if let Some(entry) = self.entries.get((entry as usize).wrapping_sub(1)) {
            prefetch.prefetch(&entry.bits_low);
            prefetch.prefetch(&entry.side(side).flows);
        }
    }

    /// Adds to an entry's counters. Gives the share that changed, as it is now; nothing when the
    /// entry is hot already, since nobody asks then.
    #[inline]
    pub fn add(&mut self, at: usize, side: Side, add: &Addition) -> Count {
        let Some(entry) = self.entries.get_mut(at) else { return Count::default() };
        let common = entry.side_mut(side);
        common.weight = common.weight.max(add.weight);
        let share = &mut common.shares[add.share as usize & 1];
        if !add.is_plain() || !share.add(add.count) {
            return self.add_marked(at, side, add);
        }
        let changed = share.count();
        if entry.rare & HOT != 0 {
            return Count::default();
        }
        if entry.wide != 0 {
            return self.share_now(at, side, add.share);
        }
        changed
    }

    /// The general way: any class, any size.
    #[inline(never)]
    fn add_marked(&mut self, at: usize, side: Side, add: &Addition) -> Count {
        self.add_class(at, side, Class::Share(add.share), add.count);
        if add.marks.syn() {
            self.add_class(at, side, Class::Syn, add.count);
        }
        if add.marks.fragment() {
            self.add_class(at, side, Class::Fragment, add.count);
        }
        if add.marks.dropped() {
            self.add_class(at, side, Class::Dropped, add.count);
        }
        if self.entries[at].rare & HOT != 0 {
            return Count::default();
        }
        self.share_now(at, side, add.share)
    }

    fn share_now(&self, at: usize, side: Side, share: Share) -> Count {
        let counters = self.counters(&self.entries[at], side);
        match share {
            Share::Tcp => counters.tcp,
            Share::Udp => counters.udp,
            Share::Icmp => counters.icmp,
            Share::Other => counters.other,
        }
    }

    fn add_class(&mut self, at: usize, side: Side, class: Class, count: Count) {
        let small = self.small_mut(at, side, class);
        if small.add(count) {
            return;
        }
        let mut carried = std::mem::take(small).count();
        carried += count;
        let entry = &mut self.entries[at];
        if entry.wide == 0 {
            self.wide.push(Default::default());
            entry.wide = self.wide.len() as u32;
        }
        let wide = &mut self.wide[entry.wide as usize - 1][side];
        *match class {
            Class::Share(share) => &mut wide.shares[share as usize],
            Class::Syn => &mut wide.syn,
            Class::Fragment => &mut wide.fragment,
            Class::Dropped => &mut wide.dropped,
        } += carried;
    }

    fn small_mut(&mut self, at: usize, side: Side, class: Class) -> &mut Small {
        let entry = &mut self.entries[at];
        match class {
            Class::Share(share @ (Share::Tcp | Share::Udp)) => {
                return &mut entry.side_mut(side).shares[share as usize];
            }
            Class::Syn => return &mut entry.side_mut(side).syn,
            _ => {}
        }
        let position = entry.rare_index().unwrap_or_else(|| {
            self.rare.push(Default::default());
            entry.rare |= self.rare.len() as u32;
            self.rare.len() - 1
        });
        let rare = &mut self.rare[position][side];
        match class {
            Class::Fragment => &mut rare.fragment,
            Class::Dropped => &mut rare.dropped,
            Class::Share(Share::Icmp) => &mut rare.icmp,
            Class::Share(_) | Class::Syn => &mut rare.other,
        }
    }

    /// Notes the flow that the host with this entry number + 1 is seen with; false when it was that
    /// flow the last time too, so that it need not be looked for.
    #[inline]
    pub fn follow(&mut self, entry: u32, flow: u32) -> bool {
        let Some(entry) = self.entries.get_mut((entry as usize).wrapping_sub(1)) else {
            return false;
        };
        let is_other = entry.last_flow != flow || flow == 0;
        entry.last_flow = flow;
        is_other
    }

    /// Adds distinct flows.
    #[inline]
    pub fn add_flows(&mut self, at: usize, side: Side, flows: u32) {
        let Some(entry) = self.entries.get_mut(at) else { return };
        let counter = &mut entry.side_mut(side).flows;
        *counter = counter.saturating_add(flows);
    }

    /// Adds flows, each of an entry number × 2 + side, and each for so many.
    pub fn count_flows(&mut self, flows: impl Iterator<Item = (u32, u32)>, weight: u32) {
        for (entry, _) in flows {
            self.add_flows(entry as usize / 2, entry as usize % 2, weight);
        }
    }

    /// Sets the flows of an entry to zero.
    pub fn forget_flows(&mut self, at: usize) {
        if let Some(entry) = self.entries.get_mut(at) {
            (entry.incoming.flows, entry.outgoing.flows) = (0, 0);
        }
    }

    /// Sets the flows of every entry to zero, to be counted again.
    pub fn reset_flows(&mut self) {
        for entry in &mut self.entries {
            entry.incoming.flows = 0;
            entry.outgoing.flows = 0;
        }
    }

    /// Marks an entry as hot; false when it was.
    #[inline]
    pub fn heat(&mut self, at: usize) -> bool {
        let entry = &mut self.entries[at];
        let was = entry.rare & HOT != 0;
        entry.rare |= HOT;
        !was
    }
}

/// Where a host's index entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Position in the direct array.
    Dense(u32),
    /// By hash of its address.
    Hashed(u32),
}

impl Default for Place {
    fn default() -> Self {
        Self::Dense(0)
    }
}

/// From address to arena entry.
#[derive(Clone, Debug)]
pub struct HostIndex {
    /// Entry number + 1 by position; stale entries are told by their key. Zeroed lazily.
    dense: Vec<u32>,
    /// Open addressing, entry number + 1; emptied when a window begins.
    hashed: Vec<u32>,
    /// Slots of `hashed` in use: a power of two.
    size: usize,
    /// Entries in `hashed`.
    used: usize,
    /// Most hosts in a window.
    limit: usize,
}

const SMALLEST: usize = 256;

impl HostIndex {
    /// An index for `dense` directly addressed hosts and at most `limit` active hosts.
    pub fn new(dense: u32, limit: u32) -> Self {
        let slots = (limit as usize * 2).next_power_of_two().max(SMALLEST);
        Self {
            dense: vec![0; dense as usize],
            hashed: vec![0; slots],
            size: SMALLEST,
            used: 0,
            limit: limit as usize,
        }
    }

    /// Entry number that the place names, to be verified by [`Self::find`].
    #[inline]
    pub fn peek(&self, place: Place) -> u32 {
        match place {
            Place::Dense(position) => self.dense.get(position as usize).copied().unwrap_or(0),
            Place::Hashed(hash) => self.hashed[hash as usize & (self.size - 1)],
        }
    }

    /// Asks for what [`Self::peek`] reads.
    #[inline]
    pub fn prefetch(&self, place: Place, prefetch: impl Prefetch) {
        let entry = match place {
            Place::Dense(position) => self.dense.get(position as usize),
            Place::Hashed(hash) => self.hashed.get(hash as usize & (self.size - 1)),
        };
        if let Some(entry) = entry {
            prefetch.prefetch(entry);
        }
    }

    /// Entry of a host, if it was seen in this window.
    #[inline]
    pub fn find(&self, arena: &HostArena, place: Place, key: HostKey) -> Option<usize> {
        match place {
            Place::Dense(position) => {
                let at = (self.dense[position as usize] as usize).wrapping_sub(1);
                arena.entries.get(at).filter(|entry| entry.is(key)).map(|_| at)
            }
            Place::Hashed(hash) => {
                let mut slot = hash as usize & (self.size - 1);
                loop {
                    let at = (self.hashed[slot] as usize).checked_sub(1)?;
                    if arena.entries.get(at).is_some_and(|entry| entry.is(key)) {
                        return Some(at);
                    }
                    slot = (slot + 1) & (self.size - 1);
                }
            }
        }
    }

    /// Entry of a host, made when it is new; `None` when the window already has its most hosts.
    /// `place_of` gives the place of any host, for when the index has to grow.
    #[inline(never)]
    pub fn find_or_add(
        &mut self,
        arena: &mut HostArena,
        place: Place,
        key: HostKey,
        place_of: impl Fn(HostKey) -> Place,
    ) -> Option<usize> {
        match self.find(arena, place, key) {
            Some(at) => Some(at),
            None => self.add(arena, place, key, place_of),
        }
    }

    fn add(
        &mut self,
        arena: &mut HostArena,
        place: Place,
        key: HostKey,
        place_of: impl Fn(HostKey) -> Place,
    ) -> Option<usize> {
        let at = arena.entries.len();
        if at >= self.limit {
            return None;
        }
        match place {
            Place::Dense(position) => self.dense[position as usize] = at as u32 + 1,
            Place::Hashed(hash) => {
                if self.used * 2 >= self.size {
                    self.grow(arena, place_of);
                }
                self.put(hash, at);
                self.used += 1;
            }
        }
        arena.entries.push(HostEntry {
            bits_high: (key.bits >> 64) as u64,
            bits_low: key.bits as u64,
            zone: key.zone,
            ..HostEntry::default()
        });
        Some(at)
    }

    fn put(&mut self, hash: u32, at: usize) {
        let mut slot = hash as usize & (self.size - 1);
        while self.hashed[slot] != 0 {
            slot = (slot + 1) & (self.size - 1);
        }
        self.hashed[slot] = at as u32 + 1;
    }

    /// Doubles the slots in use, and puts the entries in again from the arena.
    #[cold]
    fn grow(&mut self, arena: &HostArena, place_of: impl Fn(HostKey) -> Place) {
        self.hashed[..self.size].fill(0);
        self.size = (self.size * 2).min(self.hashed.len());
        for (at, entry) in arena.entries.iter().enumerate() {
            if let Place::Hashed(hash) = place_of(entry.key()) {
                self.put(hash, at);
            }
        }
    }

    /// Begins a new window.
    pub fn clear(&mut self) {
        if self.used > 0 {
            self.hashed[..self.size].fill(0);
            self.size = (self.used * 4).next_power_of_two().clamp(SMALLEST, self.size);
            self.used = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tallies::Marks;
    use proptest::prelude::*;

    fn addition() -> impl Strategy<Value = Addition> {
        // Small numbers, numbers around 32 bits, and lies.
        let number = prop_oneof![0u64..2000, u64::from(u32::MAX) - 9..1 << 33, Just(u64::MAX - 3)];
        let share =
            (0usize..4).prop_map(|at| [Share::Tcp, Share::Udp, Share::Icmp, Share::Other][at]);
        let marks = prop_oneof![3 => Just(0u8), 1 => 0u8..8];
        (number.clone(), number, 1u32..5, share, marks).prop_map(
            |(packets, bytes, weight, share, marks)| Addition {
                count: Count { packets, bytes },
                weight,
                share,
                marks: Marks::new(marks & 1 != 0, marks & 2 != 0, marks & 4 != 0),
            },
        )
    }

    proptest! {
        /// 32 bits and what is carried out of them count as 64 bits would, at every step.
        #[test]
        fn counts_as_wide_counters_do(
            additions in prop::collection::vec((0usize..3, 0usize..2, addition()), 1..120),
        ) {
            let mut arena = HostArena::with_capacity(4);
            arena.entries.resize(3, HostEntry::default());
            let mut truth = [[Tallies::default(); 2]; 3];
            for (host, side, add) in &additions {
                truth[*host][*side].add(add);
                let changed = arena.add(*host, *side, add);
                prop_assert_eq!(changed, truth[*host][*side].shares[add.share as usize]);
                let entry = &arena.entries()[*host];
                let want = truth[*host][*side].counters();
                prop_assert_eq!(arena.counters(entry, *side), want);
                prop_assert_eq!(arena.total(entry, *side), want.total);
            }
        }
    }

    #[test]
    fn a_hot_entry_says_nothing_more_and_still_counts() {
        let mut arena = HostArena::with_capacity(1);
        arena.entries.push(HostEntry::default());
        let one = Count { packets: 1, bytes: 64 };
        let add = Addition { count: one, weight: 1, ..Addition::default() };
        assert_eq!(arena.add(0, IN, &add), one);
        assert!(arena.heat(0) && !arena.heat(0));
        assert_eq!(arena.add(0, IN, &add), Count::default());
        assert_eq!(arena.total(&arena.entries()[0], IN).packets, 2);
    }

    #[test]
    fn only_a_repeated_flow_is_known() {
        let mut arena = HostArena::with_capacity(1);
        arena.entries.push(HostEntry::default());
        let known = [0, 0, 7, 7, 8, 7].map(|flow| !arena.follow(1, flow));
        assert_eq!(known, [false, false, false, true, false, false]);
        assert!(!arena.follow(0, 7) && !arena.follow(2, 7), "no host, no flow");
    }
}
