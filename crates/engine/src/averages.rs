//! Exponential averages of the hosts that are worth showing, decayed lazily: a host that sends
//! nothing costs nothing, and is dropped when its average has faded.
//!
//! After a window of rate x the average a becomes f a + (1 - f) x with f = e^(-window / T); after n
//! windows without traffic it is a f^n. Where several shards saw a host, x comes in parts, which
//! are added one by one. The table is bounded: when it is full, its floor rises and hosts below the
//! floor are left out, so it holds the largest ones.

use std::time::Duration;

use tidewall_model::{Address, DirectedCounters, TrafficCounters};

use crate::zones::{SECRET, fold, keys_of};

/// Average rates of one side, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AverageRates {
    /// Packets per second.
    pub packets: f64,
    /// Bits per second.
    pub bits: f64,
    /// Flows per second.
    pub flows: f64,
}

impl AverageRates {
    fn of(counters: &TrafficCounters, window: Duration) -> Self {
        let seconds = window.as_secs_f64();
        Self {
            packets: counters.total.packets as f64 / seconds,
            bits: counters.total.bytes as f64 * 8.0 / seconds,
            flows: counters.flows as f64 / seconds,
        }
    }

    fn add(&mut self, rates: Self) {
        self.packets += rates.packets;
        self.bits += rates.bits;
        self.flows += rates.flows;
    }

    fn scaled(self, by: f64) -> Self {
        Self { packets: self.packets * by, bits: self.bits * by, flows: self.flows * by }
    }

    /// Compares packets with bits on one scale: a packet counts as a thousand bits.
    fn weight(&self) -> f64 {
        self.packets.max(self.bits / 1000.0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    address: Address,
    /// As of `window`.
    sides: [AverageRates; 2],
    /// What came in `window`, the larger side of each part: a new host's average is still small.
    last: f64,
    /// The last window in which it was seen.
    window: u64,
}

/// Averages of at most `capacity` hosts.
#[derive(Clone, Debug)]
pub struct Averages {
    entries: Vec<Entry>,
    places: Places,
    capacity: usize,
    floor: f64,
    window: Duration,
    keep: f64,
}

/// Smallest rate worth keeping: one packet in ten seconds.
const SMALLEST: f64 = 0.1;

impl Averages {
    /// An empty table; `time` is the time constant T.
    pub fn new(capacity: usize, window: Duration, time: Duration) -> Self {
        let keep = (-window.as_secs_f64() / time.as_secs_f64().max(1e-9)).exp();
        let (entries, places, capacity) = (Vec::new(), Places::default(), capacity.max(1));
        Self { entries, places, capacity, floor: SMALLEST, window, keep }
    }

    /// The same with a seed that nobody outside knows in the key of its hashes.
    #[must_use]
    pub fn keyed(mut self, seed: u64) -> Self {
        self.places.key ^= seed;
        self.places.renew(&self.entries);
        self
    }

    /// The end of a window: what each host had in it. A host may come in several parts, as shards
    /// saw it; they add up. One that is not in the table comes in by a part that reaches the floor.
    pub fn end_window(
        &mut self,
        window: u64,
        hosts: impl Iterator<Item = (Address, DirectedCounters)>,
    ) {
        // The floor falls again, so that a table that has become empty takes small hosts too.
        self.floor = (self.floor / 2.0).max(SMALLEST);
        for (address, counters) in hosts {
            let rates = [
                AverageRates::of(&counters.incoming, self.window),
                AverageRates::of(&counters.outgoing, self.window),
            ];
            let weight = heavier(&rates);
            let at = self.places.find(&self.entries, address);
            if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
                entry.add(window, rates, weight, self.keep);
            } else if weight >= self.floor {
                let mut entry = Entry { address, sides: Default::default(), last: 0.0, window };
                entry.add(window, rates, weight, self.keep);
                self.entries.push(entry);
                self.places.add(&self.entries);
                self.make_room(window);
            }
        }
    }

    /// Averages of a host, as of a window; zero when it is not in the table.
    pub fn get(&self, address: Address, window: u64) -> [AverageRates; 2] {
        let at = self.places.find(&self.entries, address);
        let entry = at.and_then(|at| self.entries.get(at));
        entry.map(|entry| entry.sides_at(window, self.keep)).unwrap_or_default()
    }

    /// The hosts with the largest averages of a side, largest first.
    pub fn top(
        &self,
        side: usize,
        most: usize,
        window: u64,
        by: impl Fn(&AverageRates) -> f64,
    ) -> Vec<(Address, AverageRates)> {
        let mut list: Vec<_> = (self.entries.iter())
            .map(|entry| (entry.address, entry.sides_at(window, self.keep)[side]))
            .collect();
        let order = |a: &(Address, AverageRates), b: &(Address, AverageRates)| {
            by(&b.1).total_cmp(&by(&a.1)).then(a.0.cmp(&b.0))
        };
        if most < list.len() {
            list.select_nth_unstable_by(most, order);
            list.truncate(most);
        }
        list.sort_unstable_by(order);
        list
    }

    /// Hosts in the table.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// No host in the table?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// With a full table keeps the larger three quarters of it, and raises the floor to theirs.
    fn make_room(&mut self, window: u64) {
        if self.entries.len() <= self.capacity {
            return;
        }
        // Entries stay as they are: what has not been seen in this window may still be.
        let weight = |entry: &Entry| entry.weight_at(window, self.keep);
        let mut weights: Vec<f64> = self.entries.iter().map(weight).collect();
        let leave = (self.capacity / 4 + 1).min(weights.len() - 1);
        let (_, floor, _) = weights.select_nth_unstable_by(leave, f64::total_cmp);
        let floor = floor.max(SMALLEST);
        self.entries.retain(|entry| weight(entry) > floor);
        self.places.renew(&self.entries);
        self.floor = floor;
    }
}

impl Entry {
    /// What came in a window, or a part of it. What was there fades once for each window.
    fn add(&mut self, window: u64, rates: [AverageRates; 2], weight: f64, keep: f64) {
        if self.window != window {
            self.sides = self.sides_at(window, keep);
            (self.window, self.last) = (window, 0.0);
        }
        for (average, rates) in self.sides.iter_mut().zip(rates) {
            average.add(rates.scaled(1.0 - keep));
        }
        self.last += weight;
    }

    /// The averages as of a window, if nothing came since.
    fn sides_at(&self, window: u64, keep: f64) -> [AverageRates; 2] {
        let left = self.left_at(window, keep);
        self.sides.map(|side| side.scaled(left))
    }

    fn weight_at(&self, window: u64, keep: f64) -> f64 {
        self.last.max(heavier(&self.sides)) * self.left_at(window, keep)
    }

    /// The part that is left after the windows without traffic.
    fn left_at(&self, window: u64, keep: f64) -> f64 {
        match window.saturating_sub(self.window).min(1 << 20) as i32 {
            // Most hosts that are seen were seen in the window before.
            1 => keep,
            missed => keep.powi(missed),
        }
    }
}

/// The weight of the larger side.
fn heavier(sides: &[AverageRates; 2]) -> f64 {
    sides[0].weight().max(sides[1].weight())
}

/// Where the entry of a host is: open addressing, at most half full. A slot holds the upper half
/// of the address's hash and the entry's number + 1, so that a host that has none costs no look at
/// an entry. The hashes are keyed with a seed, if there is one, and with the rates of all hosts in
/// the table, which hardly anybody outside knows: who chooses addresses cannot make them crowd.
#[derive(Clone, Debug, Default)]
struct Places {
    slots: Vec<u64>,
    key: u64,
    /// Made from `key`.
    keys: [u64; 2],
}

/// Upper half of a slot.
const TAG: u64 = 0xffff_ffff << 32;
/// Smallest table of slots: 2 kB.
const LEAST_SLOTS: usize = 256;

impl Places {
    /// Number of the host's entry.
    fn find(&self, entries: &[Entry], address: Address) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let hash = self.hash(address);
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            let number = (slot & !TAG).checked_sub(1)? as usize;
            if slot & TAG == hash & TAG && entries[number].address == address {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// Notes the last of the entries, which is new.
    fn add(&mut self, entries: &[Entry]) {
        if entries.len() * 2 > self.slots.len() {
            self.renew(entries);
        } else if let Some(entry) = entries.last() {
            self.put(entry.address, entries.len());
        }
    }

    /// Notes all entries afresh, by hashes of another key.
    fn renew(&mut self, entries: &[Entry]) {
        let stir = |key, entry: &Entry| fold(key ^ entry.last.to_bits(), SECRET[0]);
        self.key = entries.iter().fold(self.key, stir);
        self.keys = keys_of(self.key);
        // Room for as many again.
        let slots = (entries.len() * 4).next_power_of_two().max(LEAST_SLOTS);
        self.slots.clear();
        self.slots.resize(slots, 0);
        for (entry, number) in entries.iter().zip(1..) {
            self.put(entry.address, number);
        }
    }

    /// Notes a host that has no place yet, with the number of its entry + 1.
    fn put(&mut self, address: Address, number: usize) {
        let hash = self.hash(address);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = hash & TAG | number as u64;
    }

    fn hash(&self, address: Address) -> u64 {
        let (low, high) = (address.bits as u64, (address.bits >> 64) as u64);
        // Every factor is keyed: one that somebody could make zero would take the other with it.
        let [first, second] = self.keys;
        let high = fold(high ^ first, second ^ address.family as u64);
        fold(low ^ second, high ^ first)
    }
}

#[cfg(test)]
mod tests;
