//! What hosts receive when they are not attacked: some records of each, so that a filter can be
//! judged by what it would take from its own target. Filled once a window from the rings of recent
//! records; nothing is added to the way of a record.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewall_model::{Address, FlowRecord, Target, Timestamp};

use crate::policy::Capacity;
use crate::samples::spread;

/// Records remembered of a host, and given for one target.
pub const MOST_REMEMBERED: usize = 256;
/// Records of a host that one window may add, so that memory reaches back for a while.
const OF_A_WINDOW: usize = 16;
/// A host that received nothing for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);
/// Recent records for each host that is remembered: 24 kB of memory come to 1.5 kB of ring.
const RECENT_FOR_A_HOST: u32 = 16;

/// The remembered records of hosts of ours.
#[derive(Clone, Debug)]
pub struct Normal {
    hosts: BTreeMap<Address, Host>,
    most_hosts: usize,
}

#[derive(Clone, Debug)]
struct Host {
    records: Vec<FlowRecord>,
    heard: Timestamp,
}

impl Normal {
    /// Nothing is remembered yet.
    pub fn new(capacity: &Capacity) -> Self {
        let most_hosts = (capacity.recent / RECENT_FOR_A_HOST).max(1) as usize;
        Self { hosts: BTreeMap::new(), most_hosts }
    }

    /// Goes on where another one stands.
    pub fn inherit(&mut self, other: &mut Self) {
        self.hosts = std::mem::take(&mut other.hosts);
        self.shrink();
    }

    /// Takes some of a window's records of each host. `is_calm` says of a record whether its
    /// destination is ours and not attacked.
    pub fn remember(
        &mut self,
        records: &[FlowRecord],
        now: Timestamp,
        is_calm: impl Fn(&FlowRecord) -> bool,
    ) {
        let of_one_host = |a: &Place, b: &Place| a.dst == b.dst;
        for of_host in by_host(records).chunk_by(of_one_host) {
            let first = of_host.first().map(|place| place.record(records));
            let Some(first) = first.filter(|first| is_calm(first)) else { continue };
            let host = self.hosts.entry(first.dst_address());
            let host = host.or_insert_with(|| Host { records: Vec::new(), heard: now });
            host.heard = now;
            let step = of_host.len().div_ceil(OF_A_WINDOW);
            for place in of_host.iter().step_by(step) {
                host.put(*place.record(records));
            }
        }
        self.hosts.retain(|_, host| now.since(host.heard) <= FORGOTTEN_AFTER);
        self.shrink();
    }

    /// What the target of an incoming attack received before `since`, given what the rings still
    /// hold of that time; in the order of receipt. What came later is forgotten: it is not normal.
    pub fn before(
        &mut self,
        target: &Target,
        since: Timestamp,
        recent: Vec<FlowRecord>,
    ) -> Vec<FlowRecord> {
        let (first, last) = match target {
            Target::Host(address) => (*address, *address),
            Target::Network(prefix) => (prefix.first(), prefix.last()),
            Target::Group(_) => return Vec::new(),
        };
        let within = |record: &FlowRecord| (first..=last).contains(&record.dst_address());
        let mut list: Vec<FlowRecord> = recent.into_iter().filter(within).collect();
        for host in self.hosts.range_mut(first..=last).map(|(_, host)| host) {
            host.records.retain(|record| record.time < since);
            list.extend_from_slice(&host.records);
        }
        spread(&mut list, 2 * MOST_REMEMBERED);
        list
    }

    /// Keeps the hosts of which most is known, and of equals those heard last.
    fn shrink(&mut self) {
        let excess = self.hosts.len().saturating_sub(self.most_hosts);
        if excess == 0 {
            return;
        }
        let rank = |(address, host): (&Address, &Host)| (host.records.len(), host.heard, *address);
        let mut ranked: Vec<_> = self.hosts.iter().map(rank).collect();
        ranked.sort_unstable();
        for (_, _, address) in ranked.into_iter().take(excess) {
            self.hosts.remove(&address);
        }
    }
}

impl Host {
    /// Adds a record, in the place of any other when there are enough: so recent ones are likelier,
    /// and older ones are not gone at once.
    fn put(&mut self, record: FlowRecord) {
        if self.records.len() < MOST_REMEMBERED {
            self.records.push(record);
            return;
        }
        let place = scatter(&record) as usize % MOST_REMEMBERED;
        if let Some(slot) = self.records.get_mut(place) {
            *slot = record;
        }
    }
}

/// Where a record is, and by what it is sorted: a third of a record, so that sorting moves little.
#[derive(Clone, Copy, Debug)]
struct Place {
    dst: Address,
    seq: u64,
    at: u32,
}

impl Place {
    fn record<'a>(&self, records: &'a [FlowRecord]) -> &'a FlowRecord {
        &records[self.at as usize]
    }
}

/// The records towards one host after another, each in the order of receipt, none twice.
fn by_host(records: &[FlowRecord]) -> Vec<Place> {
    let place =
        |(record, at): (&FlowRecord, u32)| Place { dst: record.dst_address(), seq: record.seq, at };
    let mut places: Vec<Place> = records.iter().zip(0..).map(place).collect();
    places.sort_unstable_by(|a, b| {
        let by_key = (a.dst, a.seq).cmp(&(b.dst, b.seq));
        // Sources with an order of their own each may number two records alike.
        by_key.then_with(|| (a.record(records).time, a.at).cmp(&(b.record(records).time, b.at)))
    });
    places.dedup_by(|a, b| a.seq == b.seq && a.record(records) == b.record(records));
    places
}

/// A number as if drawn by lot for each record (the finaliser of SplitMix64).
pub const fn scatter(record: &FlowRecord) -> u64 {
    let mut x = (record.seq ^ record.time.0).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn capacity(hosts: u32) -> Capacity {
        Capacity { recent: hosts * RECENT_FOR_A_HOST, ..Capacity::default() }
    }

    fn host(number: u32) -> Target {
        Target::Host(Address::v4(number))
    }

    /// `count` records towards a host in the window that begins at a second.
    fn window(host: u32, second: u64, count: u64) -> Vec<FlowRecord> {
        let record = |n| FlowRecord {
            time: Timestamp(second * SECOND + n),
            seq: (second * 1_000 + n) * 7_919,
            dst: host.into(),
            ..FlowRecord::default()
        };
        (0..count).map(record).collect()
    }

    fn remember(normal: &mut Normal, host: u32, second: u64, count: u64) {
        let end = Timestamp((second + 1) * SECOND);
        normal.remember(&window(host, second, count), end, |_| true);
    }

    fn known(normal: &mut Normal, target: &Target) -> Vec<FlowRecord> {
        normal.before(target, Timestamp(u64::MAX), Vec::new())
    }

    #[test]
    fn memory_reaches_back_and_is_bounded() {
        let mut normal = Normal::new(&capacity(10));
        for second in 0..60 {
            remember(&mut normal, 1, second, 1_000);
        }
        let list = known(&mut normal, &host(1));
        assert_eq!(list.len(), MOST_REMEMBERED);
        let older = list.iter().filter(|record| record.time < Timestamp(44 * SECOND)).count();
        assert!((48..144).contains(&older), "{older}");
        assert!(list.is_sorted_by_key(|record| record.seq));
    }

    #[test]
    fn what_came_with_the_attack_is_not_normal() {
        let mut normal = Normal::new(&capacity(10));
        for second in 0..4 {
            remember(&mut normal, 1, second, 5);
        }
        let recent = window(1, 1, 7);
        let since = Timestamp(2 * SECOND);
        let list = normal.before(&host(1), since, recent);
        // Five of the seven are remembered already.
        assert_eq!(list.len(), 5 + 7);
        assert!(list.iter().all(|record| record.time < since));
        assert_eq!(known(&mut normal, &host(1)).len(), 10, "the attack's records are gone");
    }

    #[test]
    fn attacked_hosts_and_silent_ones_are_not_remembered() {
        let mut normal = Normal::new(&capacity(10));
        normal.remember(&window(1, 0, 5), Timestamp(SECOND), |_| false);
        assert_eq!(known(&mut normal, &host(1)), []);
        remember(&mut normal, 1, 1, 5);
        remember(&mut normal, 2, 600, 5);
        assert_eq!(known(&mut normal, &host(1)).len(), 5);
        remember(&mut normal, 2, 602, 5);
        assert_eq!(known(&mut normal, &host(1)), []);
        assert_eq!(known(&mut normal, &host(2)).len(), 10);
    }

    /// Somebody who sends a packet to every address does not make us forget the servers.
    #[test]
    fn a_sweep_does_not_drive_out_what_is_known() {
        let mut normal = Normal::new(&capacity(10));
        for second in 0..3 {
            remember(&mut normal, 7, second, 16);
        }
        let sweep: Vec<_> = (100..600).flat_map(|host| window(host, 3, 1)).collect();
        normal.remember(&sweep, Timestamp(4 * SECOND), |_| true);
        assert_eq!(normal.hosts.len(), 10);
        assert_eq!(known(&mut normal, &host(7)).len(), 48);
    }

    #[test]
    fn a_network_is_its_hosts() {
        let mut normal = Normal::new(&capacity(10));
        for number in [0x0a00_0001, 0x0a00_0002, 0x0a00_0102] {
            remember(&mut normal, number, 0, 5);
        }
        let network = Target::Network("10.0.0.0/24".parse().unwrap());
        assert_eq!(known(&mut normal, &network).len(), 10);
        assert_eq!(known(&mut normal, &Target::Group("all".to_owned())), []);
    }
}
