//! Counters conserve what came in: the sums over all windows equal those of a naive model that
//! reads every record once, whatever is switched off.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use tidewall_engine::{Counting, Dealing, Engine, EngineStats, Observer, Policy, WindowView};
use tidewall_model::{
    Address, DirectedCounters, Direction, DropReason, FlowRecord, Forwarding, Fragment, Prefix,
    SamplingRate, TcpFlags, Timestamp, TrafficClass, TrafficCounters, protocol,
};
use tidewall_testkit::strategies::{Population, networks, stream};

const SECOND: u64 = 1_000_000_000;

/// Sums over all windows.
#[derive(Debug, Default, PartialEq)]
struct Sums {
    totals: [TrafficCounters; 4],
    hosts: BTreeMap<Address, DirectedCounters>,
    networks: BTreeMap<Prefix, DirectedCounters>,
}

impl Observer for Sums {
    fn window(&mut self, window: &WindowView<'_>) {
        for direction in Direction::ALL {
            self.totals[direction as usize] += window.totals(direction);
        }
        for (address, counters) in window.hosts() {
            *self.hosts.entry(address).or_default() += &counters;
        }
        for (network, counters) in window.networks() {
            *self.networks.entry(network).or_default() += &counters;
        }
    }
}

fn policy(counting: Counting) -> Policy {
    let mut policy = Policy::for_networks(networks());
    policy.counting = counting;
    policy.capacity.hosts = 1 << 14;
    policy.capacity.flows = 1 << 14;
    policy.capacity.recent = 64;
    // Two of the IPv4 networks fit, the largest is hashed.
    policy.capacity.dense = 1 << 10;
    policy.whitelist.remotes =
        vec!["45.64.0.1/32".parse().unwrap(), "2a02:1::2/128".parse().unwrap()];
    policy
}

/// Runs the engine over all records, in batches.
fn run(
    policy: &Policy,
    records: &[FlowRecord],
    shards: usize,
    batch: usize,
) -> (Sums, EngineStats) {
    let mut engine = Engine::new(policy.clone(), shards, Dealing::ByHost, 9);
    let mut sums = Sums::default();
    for batch in records.chunks(batch) {
        engine.ingest(batch, &mut sums);
    }
    engine.finish(&mut sums);
    (sums, engine.stats())
}

/// What tells a flow apart: window, our address, side, the other address, ports, protocol.
type Flow = (u64, Address, bool, Address, u16, u16, u8);

/// The same, counted without any cleverness.
#[derive(Default)]
struct Model {
    sums: Sums,
    flows: BTreeSet<Flow>,
    whitelisted: u64,
    off: u64,
}

impl Model {
    fn of(policy: &Policy, records: &[FlowRecord]) -> Self {
        let mut model = Self::default();
        for record in records {
            model.count(policy, record);
        }
        for (_, ours, incoming, ..) in std::mem::take(&mut model.flows) {
            let totals = &mut model.sums.totals[usize::from(!incoming)];
            totals.flows += 1;
            let network = network_of(policy, ours).unwrap();
            let network = model.sums.networks.get_mut(&network).unwrap();
            for counters in [network, model.sums.hosts.get_mut(&ours).unwrap()] {
                side_of(counters, incoming).flows += 1;
            }
        }
        model
    }

    fn count(&mut self, policy: &Policy, record: &FlowRecord) {
        let (src, dst) = (record.src_address(), record.dst_address());
        let ours = (network_of(policy, src).is_some(), network_of(policy, dst).is_some());
        let (direction, remote) = match ours {
            (false, true) => (Direction::Incoming, Some(src)),
            (true, false) => (Direction::Outgoing, Some(dst)),
            (true, true) => (Direction::Internal, None),
            (false, false) => (Direction::Other, None),
        };
        let counting = policy.counting;
        let off = direction == Direction::Incoming && !counting.incoming
            || direction == Direction::Outgoing && !counting.outgoing;
        let listed = |remote| policy.whitelist.remotes.iter().any(|p| p.contains(remote));
        if off {
            self.off += 1;
            return;
        }
        if remote.is_some_and(listed) {
            self.whitelisted += 1;
            return;
        }
        let classes = classes(record, counting.syn_with_ack);
        add(&mut self.sums.totals[direction as usize], record, &classes);
        if direction == Direction::Internal && !counting.internal {
            return;
        }
        for (ours, other, incoming) in [(dst, src, true), (src, dst, false)] {
            let Some(network) = network_of(policy, ours) else { continue };
            let host = self.sums.hosts.entry(ours).or_default();
            let network = self.sums.networks.entry(network).or_default();
            for counters in [host, network] {
                add(side_of(counters, incoming), record, &classes);
            }
            if counting.flows && record.fragment != Fragment::Later {
                let (src, dst) = (record.src_port, record.dst_port);
                let ports = if incoming { (dst, src) } else { (src, dst) };
                let window = record.time.0 / SECOND;
                let flow = (window, ours, incoming, other, ports.0, ports.1, record.protocol);
                self.flows.insert(flow);
            }
        }
    }
}

/// The longest of our networks that holds an address.
fn network_of(policy: &Policy, address: Address) -> Option<Prefix> {
    let holding = policy.networks.iter().filter(|network| network.contains(address));
    holding.max_by_key(|network| network.len()).copied()
}

fn side_of(counters: &mut DirectedCounters, incoming: bool) -> &mut TrafficCounters {
    if incoming { &mut counters.incoming } else { &mut counters.outgoing }
}

/// Every class that a record counts in.
fn classes(record: &FlowRecord, syn_with_ack: bool) -> Vec<TrafficClass> {
    let mut classes = vec![TrafficClass::Total];
    classes.push(match record.protocol {
        protocol::TCP => TrafficClass::Tcp,
        protocol::UDP => TrafficClass::Udp,
        _ if record.is_icmp() => TrafficClass::Icmp,
        _ => TrafficClass::Other,
    });
    let flags = record.tcp_flags;
    let bare = syn_with_ack || !flags.has(TcpFlags::ACK);
    if record.protocol == protocol::TCP && flags.has(TcpFlags::SYN) && bare {
        classes.push(TrafficClass::TcpSyn);
    }
    if record.fragment != Fragment::Whole {
        classes.push(TrafficClass::Fragment);
    }
    if record.forwarding == Forwarding::Dropped {
        classes.push(TrafficClass::Dropped);
    }
    classes
}

fn add(counters: &mut TrafficCounters, record: &FlowRecord, classes: &[TrafficClass]) {
    let rate = u64::from(record.sampling.get());
    for class in classes {
        let count = counters.get_mut(*class);
        count.packets = count.packets.saturating_add(record.packets.saturating_mul(rate));
        count.bytes = count.bytes.saturating_add(record.bytes.saturating_mul(rate));
    }
}

fn options() -> impl Strategy<Value = Counting> {
    let off_or_on = || prop::bool::weighted(0.7);
    let switches = (off_or_on(), off_or_on(), off_or_on(), any::<bool>(), off_or_on());
    switches.prop_map(|(incoming, outgoing, internal, syn_with_ack, flows)| Counting {
        incoming,
        outgoing,
        internal,
        syn_with_ack,
        flows,
    })
}

fn population() -> impl Strategy<Value = Population> {
    prop_oneof![Just(Population::Few), Just(Population::Many)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn sums_equal_the_naive_model(
        records in population().prop_flat_map(|population| stream(population, 0..1500)),
        counting in options(),
        shards in 1usize..5,
        batch in 1usize..700,
    ) {
        let policy = policy(counting);
        let model = Model::of(&policy, &records);
        let (sums, stats) = run(&policy, &records, shards, batch);
        prop_assert_eq!(sums.totals, model.sums.totals);
        prop_assert!(sums.hosts == model.sums.hosts, "hosts differ");
        prop_assert!(sums.networks == model.sums.networks, "networks differ");
        prop_assert_eq!(stats.received, records.len() as u64);
        prop_assert_eq!(stats.ingested + stats.drops.total(), stats.received);
        prop_assert_eq!(stats.drops.get(DropReason::Whitelisted), model.whitelisted);
        prop_assert_eq!(stats.drops.get(DropReason::DirectionOff), model.off);
        prop_assert_eq!((stats.late, stats.hosts_refused), (0, 0));
        let sides = [Direction::Incoming, Direction::Outgoing, Direction::Internal];
        prop_assert!(counting.flows || sides.iter().all(|d| sums.totals[*d as usize].flows == 0));
    }
}

#[test]
fn absurd_counts_saturate() {
    let policy = policy(Counting::default());
    let record = FlowRecord {
        time: Timestamp(SECOND),
        src: 0xcb00_7101,
        dst: 0x0a14_0001,
        protocol: protocol::UDP,
        packets: u64::MAX / 3,
        bytes: u64::MAX,
        sampling: SamplingRate::new(u32::MAX),
        ..FlowRecord::default()
    };
    let small = FlowRecord { packets: 1, bytes: 1, sampling: SamplingRate::ONE, ..record };
    let records = [record, small, record, FlowRecord { src: record.dst, ..record }];
    let (sums, stats) = run(&policy, &records, 1, 10);
    assert_eq!(stats.ingested, 4);
    let host = sums.hosts[&record.dst_address()];
    for counters in [sums.totals[0], sums.totals[2], host.incoming, host.outgoing] {
        assert_eq!((counters.total.packets, counters.udp.bytes), (u64::MAX, u64::MAX));
    }
}
