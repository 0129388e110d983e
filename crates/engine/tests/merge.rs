//! Merging is commutative and associative: the order in which records of one slice come, and the
//! number of shards they are dealt to, change no sum and no attack.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidewall_engine::{Dealing, DirectedLimits, Engine, Limits, Observer, Policy, WindowView};
use tidewall_model::{
    Address, AttackEvent, AttackEventKind, DirectedCounters, Direction, FlowRecord, Prefix,
    Timestamp, TrafficClass, TrafficCounters, Unit,
};
use tidewall_scenario::Random;
use tidewall_testkit::strategies::{Population, START, networks, stream};

const SECOND: u64 = 1_000_000_000;
const SLICE: u64 = SECOND / 20;

/// Everything of a window that is a sum.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sums {
    totals: [TrafficCounters; 4],
    hosts: BTreeMap<Address, DirectedCounters>,
    networks: BTreeMap<Prefix, DirectedCounters>,
}

impl Sums {
    /// Flows are a union, not a sum: parts of a host's flows do not add up.
    fn without_flows(mut self) -> Self {
        self.totals.iter_mut().for_each(|counters| counters.flows = 0);
        for counters in self.hosts.values_mut().chain(self.networks.values_mut()) {
            (counters.incoming.flows, counters.outgoing.flows) = (0, 0);
        }
        self
    }
}

#[derive(Debug, Default)]
struct Heard {
    windows: BTreeMap<Timestamp, Sums>,
    events: Vec<AttackEvent>,
}

impl Observer for Heard {
    fn window(&mut self, window: &WindowView<'_>) {
        let sums = self.windows.entry(window.start).or_default();
        for direction in Direction::ALL {
            sums.totals[direction as usize] += window.totals(direction);
        }
        for (address, counters) in window.hosts() {
            *sums.hosts.entry(address).or_default() += &counters;
        }
        for (network, counters) in window.networks() {
            *sums.networks.entry(network).or_default() += &counters;
        }
    }

    fn event(&mut self, event: &AttackEvent) {
        self.events.push(event.clone());
    }
}

impl Heard {
    /// Who was attacked, which way, raised in which window.
    fn attacks(&self) -> BTreeSet<(String, Direction, u64)> {
        let started = self.events.iter().filter(|e| e.kind == AttackEventKind::Started);
        let brief = |event: &AttackEvent| {
            // An event at the very end of a window belongs to it.
            let window = (event.time.0 - 1) / SECOND;
            (event.attack.target.to_string(), event.attack.direction, window)
        };
        started.map(brief).collect()
    }
}

fn policy(limit: f64) -> Policy {
    let mut policy = Policy::for_networks(networks());
    let limits = || {
        Limits::of(&[
            (TrafficClass::Total, Unit::Packets, limit),
            (TrafficClass::Tcp, Unit::Bits, limit * 10_000.0),
        ])
    };
    policy.groups[0].host = DirectedLimits { incoming: limits(), outgoing: limits() };
    policy.groups[0].network = DirectedLimits { incoming: limits(), outgoing: limits() };
    policy.capacity.hosts = 1 << 14;
    policy.capacity.flows = 1 << 14;
    policy.capacity.recent = 256;
    policy.detection.release_time = std::time::Duration::from_secs(3);
    policy
}

fn run(policy: &Policy, records: &[FlowRecord], shards: usize, dealing: Dealing) -> Heard {
    let mut engine = Engine::new(policy.clone(), shards, dealing, 5);
    let mut heard = Heard::default();
    for batch in records.chunks(97) {
        engine.ingest(batch, &mut heard);
    }
    engine.finish(&mut heard);
    heard
}

/// The same records in another order within each slice; `seq` says the order of receipt.
fn permuted(records: &[FlowRecord], within: u64, seed: u64) -> Vec<FlowRecord> {
    let mut random = Random::new(seed);
    let mut keyed: Vec<(u64, u64, FlowRecord)> =
        records.iter().map(|r| (r.time.0 / within, random.bits(), *r)).collect();
    keyed.sort_by_key(|(part, key, _)| (*part, *key));
    let renumbered = keyed.into_iter().zip(0..).map(|((_, _, r), seq)| FlowRecord { seq, ..r });
    renumbered.collect()
}

/// Steady floods of a few hosts, well above or well below their limits, for some seconds each.
fn floods() -> impl Strategy<Value = Vec<FlowRecord>> {
    let level = prop::sample::select(vec![200u64, 400, 3_000, 6_000]);
    let flood = (0..6u128, 0..3_000u64, level, any::<bool>(), 0..3usize);
    prop::collection::vec(flood, 1..5).prop_map(|floods| {
        let mut records = Vec::new();
        for (host, from_ms, pps, outgoing, kind) in floods {
            let (ours, theirs) = (0x0a14_0001 + host, 0x2d40_0001);
            let (src, dst) = if outgoing { (ours, theirs) } else { (theirs, ours) };
            for n in 0..pps * 5 / 2 {
                let time = Timestamp(START.0 + from_ms * 1_000_000 + n * SECOND / pps);
                let protocol = [6, 17, 1][kind];
                let record =
                    FlowRecord { time, src, dst, protocol, bytes: 90, ..FlowRecord::default() };
                records.push(FlowRecord { src_port: (n % 50) as u16, ..record });
            }
        }
        records.sort_by_key(|record| (record.time, record.src, record.dst));
        records.iter_mut().zip(0..).for_each(|(record, seq)| record.seq = seq);
        records
    })
}

/// One flood for each (host, direction): what is added up must not be on the edge of a limit.
fn distinct(records: &[FlowRecord]) -> bool {
    let mut kinds = BTreeMap::new();
    records.iter().all(|r| *kinds.entry((r.src, r.dst)).or_insert(r.protocol) == r.protocol)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sums_do_not_depend_on_order_or_shards(
        records in stream(Population::Few, 1..1200),
        seed in any::<u64>(),
        shards in 1usize..9,
    ) {
        let policy = policy(1e12);
        let one = run(&policy, &records, 1, Dealing::ByHost);
        let shuffled = permuted(&records, SLICE, seed);
        // By host even the flows are the same; dealt round robin they are counted in parts.
        let by_host = run(&policy, &shuffled, shards, Dealing::ByHost);
        prop_assert!(one.windows == by_host.windows, "by host");
        let plain = |heard: Heard| -> BTreeMap<Timestamp, Sums> {
            heard.windows.into_iter().map(|(at, sums)| (at, sums.without_flows())).collect()
        };
        let dealt = plain(run(&policy, &shuffled, shards, Dealing::RoundRobin));
        prop_assert!(plain(one) == dealt, "round robin");
    }

    #[test]
    fn attacks_do_not_depend_on_the_order_within_a_slice(
        records in floods(),
        seed in any::<u64>(),
        shards in 1usize..6,
    ) {
        let policy = policy(1_000.0);
        let one = run(&policy, &records, 1, Dealing::ByHost);
        let other = run(&policy, &permuted(&records, SLICE, seed), shards, Dealing::ByHost);
        // The samples are others, and what they show may be; the numbers are the same.
        let numbers = |heard: &Heard| -> Vec<_> {
            let of = |e: &AttackEvent| {
                let a = &e.attack;
                let counts = (a.packets, a.bytes, a.peak_pps, a.peak_bps, a.rates);
                (e.kind, e.time, a.id, a.target.clone(), a.reason.clone(), a.started, counts)
            };
            heard.events.iter().map(of).collect()
        };
        prop_assert_eq!(numbers(&one), numbers(&other));
    }

    #[test]
    fn attacks_are_the_same_when_hosts_are_spread_over_shards(
        records in floods().prop_filter("one flood a host", |records| distinct(records)),
        seed in any::<u64>(),
        shards in 2usize..9,
    ) {
        let policy = policy(1_000.0);
        let one = run(&policy, &records, 1, Dealing::ByHost);
        let dealt = run(&policy, &permuted(&records, 1, seed), shards, Dealing::RoundRobin);
        prop_assert_eq!(one.attacks(), dealt.attacks());
    }
}
