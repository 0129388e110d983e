//! Counters of the hosts that were seen in the current window, and nothing else.
//!
//! Entries lie in an arena in the order in which hosts are first seen. An index maps an address to
//! its entry: a direct array for the IPv4 networks, open addressing for the rest. A stale index
//! entry is recognised because the entry it names has another key, so starting a new window costs
//! nothing, and a host that was not seen has neither time nor memory. When a window closes the
//! arena is handed over whole and an empty one takes its place.

use tidewall_model::{Count, DirectedCounters, Direction, TrafficCounters};

use crate::tallies::{Addition, Share};

/// What identifies a host in an arena: its address and the zone that holds it. The zone tells the
/// IP version apart, because a zone is a prefix of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// Counters of one host in one window: 136 bytes, the classes that most hosts have.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostEntry {
    bits_high: u64,
    bits_low: u64,
    zone: u32,
    /// Position + 1 in the arena's rare counters (0: none), and the hot flag in the top bit.
    rare: u32,
    /// Largest sampling rate seen, by side: how much one packet stands for at the worst.
    weight: [u32; 2],
    flows: [u32; 2],
    common: [Common; 2],
}

/// Classes that most hosts have.
#[derive(Clone, Copy, Debug, Default)]
struct Common {
    /// TCP and UDP, by [`Share`].
    shares: [Count; 2],
    syn: Count,
}

/// Classes that few hosts have.
#[derive(Clone, Copy, Debug, Default)]
struct Rare {
    icmp: Count,
    other: Count,
    fragment: Count,
    dropped: Count,
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
        self.flows
    }

    /// Largest sampling rate of a side's traffic, 0 without traffic.
    pub const fn weight(&self, side: Side) -> u32 {
        self.weight[side]
    }

    #[inline]
    const fn is(&self, key: HostKey) -> bool {
        self.bits_low == key.bits as u64
            && self.bits_high == (key.bits >> 64) as u64
            && self.zone == key.zone
    }

    const fn rare_index(&self) -> Option<usize> {
        ((self.rare & !HOT) as usize).checked_sub(1)
    }
}

/// Entries of the hosts of one window.
#[derive(Clone, Debug, Default)]
pub struct HostArena {
    entries: Vec<HostEntry>,
    rare: Vec<[Rare; 2]>,
}

impl HostArena {
    /// An arena with room for so many hosts; pages that are never used cost nothing.
    pub fn with_capacity(hosts: u32) -> Self {
        let hosts = hosts as usize;
        Self { entries: Vec::with_capacity(hosts), rare: Vec::with_capacity(hosts) }
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
        let common = &entry.common[side];
        let mut total = common.shares[0];
        total += common.shares[1];
        if let Some(rare) = entry.rare_index() {
            total += self.rare[rare][side].icmp;
            total += self.rare[rare][side].other;
        }
        total
    }

    /// All classes and flows of a side.
    pub fn counters(&self, entry: &HostEntry, side: Side) -> TrafficCounters {
        let common = &entry.common[side];
        let rare = entry.rare_index().map(|at| self.rare[at][side]).unwrap_or_default();
        TrafficCounters {
            total: self.total(entry, side),
            tcp: common.shares[Share::Tcp as usize],
            tcp_syn: common.syn,
            udp: common.shares[Share::Udp as usize],
            icmp: rare.icmp,
            fragment: rare.fragment,
            dropped: rare.dropped,
            other: rare.other,
            flows: u64::from(entry.flows[side]),
        }
    }

    /// Both sides.
    pub fn directed(&self, entry: &HostEntry) -> DirectedCounters {
        DirectedCounters { incoming: self.counters(entry, IN), outgoing: self.counters(entry, OUT) }
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.rare.clear();
    }

    /// Is the entry with this number + 1 the host's?
    #[inline]
    pub fn is_at(&self, entry: u32, key: HostKey) -> bool {
        self.entries.get((entry as usize).wrapping_sub(1)).is_some_and(|entry| entry.is(key))
    }

    /// Brings an entry into the cache: a hint, without effect.
    #[inline]
    pub fn touch(&self, entry: u32) -> u64 {
        let entry = self.entries.get((entry as usize).wrapping_sub(1));
        entry.map_or(0, |entry| entry.bits_low ^ entry.common[OUT].syn.bytes)
    }

    /// Adds to an entry's counters; gives the share that changed, as it is now.
    #[inline]
    pub fn add(&mut self, at: usize, side: Side, add: &Addition) -> Count {
        let entry = &mut self.entries[at];
        if entry.weight[side] < add.weight {
            entry.weight[side] = add.weight;
        }
        let common = &mut entry.common[side];
        let Some(share) = common.shares.get_mut(add.share as usize) else {
            return self.add_rare(at, side, add);
        };
        *share += add.count;
        let changed = *share;
        if !add.marks.is_empty() {
            if add.marks.syn() {
                common.syn += add.count;
            }
            if add.marks.fragment() || add.marks.dropped() {
                self.add_rare(at, side, add);
            }
        }
        changed
    }

    #[cold]
    fn add_rare(&mut self, at: usize, side: Side, add: &Addition) -> Count {
        let entry = &mut self.entries[at];
        let position = match entry.rare_index() {
            Some(position) => position,
            None => {
                self.rare.push(Default::default());
                entry.rare = entry.rare & HOT | self.rare.len() as u32;
                self.rare.len() - 1
            }
        };
        let rare = &mut self.rare[position][side];
        if add.marks.fragment() {
            rare.fragment += add.count;
        }
        if add.marks.dropped() {
            rare.dropped += add.count;
        }
        let changed = match add.share {
            Share::Icmp => &mut rare.icmp,
            Share::Other => &mut rare.other,
            Share::Tcp | Share::Udp => return Count::default(),
        };
        *changed += add.count;
        *changed
    }

    /// Adds distinct flows.
    #[inline]
    pub fn add_flows(&mut self, at: usize, side: Side, flows: u32) {
        let counter = &mut self.entries[at].flows[side];
        *counter = counter.saturating_add(flows);
    }

    /// Sets the flows of every entry to zero, to be counted again.
    pub fn reset_flows(&mut self) {
        for entry in &mut self.entries {
            entry.flows = [0; 2];
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

    /// Entry number that the place names, to be verified by [`Self::find`]: warms the cache.
    #[inline]
    pub fn peek(&self, place: Place) -> u32 {
        match place {
            Place::Dense(position) => self.dense[position as usize],
            Place::Hashed(hash) => self.hashed[hash as usize & (self.size - 1)],
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
    #[inline]
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
