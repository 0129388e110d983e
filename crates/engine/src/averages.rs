//! Exponential averages of the hosts that are worth showing, decayed lazily: a host that sends
//! nothing costs nothing, and is dropped when its average has faded.
//!
//! After a window of rate x the average a becomes x + f (a - x) with f = e^(-window / T); after n
//! windows without traffic it is a f^n. The table is bounded: when it is full, its floor rises and
//! hosts below the floor are left out, so it holds the largest ones.

use std::time::Duration;

use tidewall_model::{Address, DirectedCounters, TrafficCounters};

use crate::zones::{SECRET, fold};

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

    /// Moves towards `rates`; `keep` is the part of the old value that stays.
    fn approach(&mut self, rates: Self, keep: f64) {
        self.packets = rates.packets + keep * (self.packets - rates.packets);
        self.bits = rates.bits + keep * (self.bits - rates.bits);
        self.flows = rates.flows + keep * (self.flows - rates.flows);
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
    sides: [AverageRates; 2],
    /// The larger side's last rate: a new host's average is still small.
    last: f64,
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

    /// The end of a window: what each host had in it.
    pub fn end_window(
        &mut self,
        window: u64,
        hosts: impl Iterator<Item = (Address, DirectedCounters)>,
    ) {
        // The floor falls again, so that a table that has become empty takes small hosts too.
        self.floor = (self.floor / 2.0).max(SMALLEST);
        for (address, counters) in hosts {
            let now = [
                AverageRates::of(&counters.incoming, self.window),
                AverageRates::of(&counters.outgoing, self.window),
            ];
            let last = now[0].weight().max(now[1].weight());
            let at = self.places.find(&self.entries, address);
            if let Some(entry) = at.and_then(|at| self.entries.get_mut(at)) {
                entry.decay(window.saturating_sub(1), self.keep);
                for (average, rates) in entry.sides.iter_mut().zip(now) {
                    average.approach(rates, self.keep);
                }
                entry.window = window;
                entry.last = last;
            } else if last >= self.floor {
                let first = now.map(|rates| rates.scaled(1.0 - self.keep));
                self.entries.push(Entry { address, sides: first, last, window });
                self.places.add(&self.entries);
                self.make_room(window);
            }
        }
    }

    /// Averages of a host, as of a window; zero when it is not in the table.
    pub fn get(&self, address: Address, window: u64) -> [AverageRates; 2] {
        let at = self.places.find(&self.entries, address);
        let Some(mut entry) = at.and_then(|at| self.entries.get(at)).copied() else {
            return Default::default();
        };
        entry.decay(window, self.keep);
        entry.sides
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
            .map(|entry| {
                let mut entry = *entry;
                entry.decay(window, self.keep);
                (entry.address, entry.sides[side])
            })
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
        let keep = self.keep;
        let mut weights: Vec<f64> = (self.entries.iter_mut())
            .map(|entry| {
                entry.decay(window, keep);
                entry.weight()
            })
            .collect();
        let leave = (self.capacity / 4 + 1).min(weights.len() - 1);
        let (_, floor, _) = weights.select_nth_unstable_by(leave, f64::total_cmp);
        let floor = floor.max(SMALLEST);
        self.entries.retain(|entry| entry.weight() > floor);
        self.places.renew(&self.entries, floor.to_bits());
        self.floor = floor;
    }
}

impl Entry {
    fn weight(&self) -> f64 {
        self.last.max(self.sides[0].weight()).max(self.sides[1].weight())
    }

    /// Windows without traffic since the entry was last changed.
    fn decay(&mut self, window: u64, keep: f64) {
        let missed = window.saturating_sub(self.window).min(1 << 20) as i32;
        if missed > 0 {
            self.sides = self.sides.map(|side| side.scaled(keep.powi(missed)));
            self.last *= keep.powi(missed);
            self.window = window;
        }
    }
}

/// Where the entry of a host is: open addressing, at most half full. A slot holds the upper half
/// of the address's hash and the entry's number + 1, so that a host that has none costs no look at
/// an entry. The hashes are keyed with what hosts receive, which nobody outside knows: who chooses
/// addresses cannot make them crowd.
#[derive(Clone, Debug, Default)]
struct Places {
    slots: Vec<u64>,
    key: u64,
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
            let news = entries.last().map_or(0, |entry| entry.last.to_bits());
            self.renew(entries, news);
        } else if let Some(entry) = entries.last() {
            self.put(entry.address, entries.len());
        }
    }

    /// Notes all entries afresh, by hashes of another key.
    fn renew(&mut self, entries: &[Entry], news: u64) {
        self.key = fold(self.key ^ news, SECRET[0]);
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
        let high = fold(high ^ self.key, SECRET[1] ^ address.family as u64);
        fold(low ^ SECRET[2], high ^ SECRET[3])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewall_model::Count;

    fn host(n: u32, packets: u64) -> (Address, DirectedCounters) {
        let mut counters = DirectedCounters::default();
        counters.incoming.total = Count { packets, bytes: packets * 100 };
        (Address::v4(n), counters)
    }

    #[test]
    fn follows_the_formula_and_decays_lazily() {
        let mut averages = Averages::new(10, Duration::from_secs(1), Duration::from_secs(5));
        let f = (-0.2f64).exp();
        let mut want = 0.0;
        for window in 1..=5 {
            averages.end_window(window, [host(1, 1000)].into_iter());
            want = 1000.0 + f * (want - 1000.0);
            let got = averages.get(Address::v4(1), window)[0];
            assert!((got.packets - want).abs() < 1e-6, "{got:?} {want}");
            assert!((got.bits - want * 800.0).abs() < 1e-3);
        }
        // Three windows without traffic, then one with: as if zeros had been added.
        averages.end_window(9, [host(1, 500)].into_iter());
        want = 500.0 + f * (want * f.powi(3) - 500.0);
        assert!((averages.get(Address::v4(1), 9)[0].packets - want).abs() < 1e-6);
        assert!((averages.get(Address::v4(1), 19)[0].packets - want * f.powi(10)).abs() < 1e-6);
    }

    #[test]
    fn stays_bounded_and_keeps_the_largest() {
        let mut averages = Averages::new(100, Duration::from_secs(1), Duration::from_secs(5));
        for window in 0..20 {
            let hosts = (0..5000u32).map(|n| host(n, u64::from(n) + 1));
            averages.end_window(window, hosts);
            assert!(averages.len() <= 100);
        }
        let top = averages.top(0, 3, 19, |rates| rates.packets);
        assert!(top.iter().all(|(address, _)| address.bits > 4000), "{top:?}");
    }

    #[test]
    fn what_has_faded_is_dropped() {
        let mut averages = Averages::new(4, Duration::from_secs(1), Duration::from_secs(1));
        averages.end_window(0, (0..4).map(|n| host(n, 10)));
        averages.end_window(1000, (10..14).map(|n| host(n, 10)));
        assert!(averages.entries.iter().all(|entry| entry.address.bits >= 10));
    }

    /// The same table with a tree in the place of the hashes.
    #[derive(Default)]
    struct Tree {
        hosts: std::collections::BTreeMap<Address, Entry>,
        floor: f64,
    }

    impl Tree {
        fn end_window(
            &mut self,
            like: &Averages,
            window: u64,
            hosts: &[(Address, DirectedCounters)],
        ) {
            self.floor = (self.floor / 2.0).max(SMALLEST);
            for (address, counters) in hosts {
                let now = [&counters.incoming, &counters.outgoing]
                    .map(|counters| AverageRates::of(counters, like.window));
                let last = now[0].weight().max(now[1].weight());
                if let Some(entry) = self.hosts.get_mut(address) {
                    entry.decay(window - 1, like.keep);
                    for (average, rates) in entry.sides.iter_mut().zip(now) {
                        average.approach(rates, like.keep);
                    }
                    (entry.window, entry.last) = (window, last);
                } else if last >= self.floor {
                    let sides = now.map(|rates| rates.scaled(1.0 - like.keep));
                    let entry = Entry { address: *address, sides, last, window };
                    self.hosts.insert(*address, entry);
                }
                if self.hosts.len() > like.capacity {
                    self.hosts.values_mut().for_each(|entry| entry.decay(window, like.keep));
                    let mut weights: Vec<f64> = self.hosts.values().map(Entry::weight).collect();
                    weights.sort_by(f64::total_cmp);
                    let leave = (like.capacity / 4 + 1).min(weights.len() - 1);
                    self.floor = weights[leave].max(SMALLEST);
                    self.hosts.retain(|_, entry| entry.weight() > self.floor);
                }
            }
        }
    }

    #[test]
    fn hashes_find_what_a_tree_would() {
        let mut averages = Averages::new(700, Duration::from_secs(1), Duration::from_secs(3));
        let mut tree = Tree { floor: SMALLEST, ..Tree::default() };
        for window in 1..40u64 {
            let hosts: Vec<_> = (0..3_000u64)
                .map(|n| {
                    let drawn = fold(n ^ window << 20, SECRET[3]);
                    let (address, counters) = host(drawn as u32 % 2_000, drawn >> 50);
                    let v6 = Address::v6(address.bits << 64 | 7);
                    (if drawn >> 40 & 1 == 0 { address } else { v6 }, counters)
                })
                .collect();
            averages.end_window(window, hosts.iter().copied());
            tree.end_window(&averages, window, &hosts);
            assert_eq!(averages.len(), tree.hosts.len());
            for (address, entry) in &tree.hosts {
                let mut entry = *entry;
                entry.decay(window, averages.keep);
                assert_eq!(averages.get(*address, window), entry.sides);
            }
            for n in (0..2_000).map(Address::v4).filter(|a| !tree.hosts.contains_key(a)) {
                assert_eq!(averages.get(n, window), <[AverageRates; 2]>::default());
            }
            let all = averages.top(0, usize::MAX, window, |rates| rates.packets);
            assert!(all.is_sorted_by(|a, b| a.1.packets >= b.1.packets));
            assert_eq!(averages.top(0, 9, window, |rates| rates.packets), all[..9]);
        }
    }
}
