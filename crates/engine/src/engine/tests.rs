use super::*;
use crate::WindowView;
use crate::policy::{DirectedLimits, Group, Limits};
use std::net::IpAddr;
use std::time::Duration;
use tidewall_model::{
    Address, AttackClass, AttackEvent, AttackEventKind, DirectedCounters, Direction, Family,
    Metric, SamplingRate, Target, TcpFlags, TrafficClass, Unit, protocol,
};

/// Everything that was heard.
#[derive(Default)]
struct Heard {
    events: Vec<AttackEvent>,
    hosts: std::collections::BTreeMap<Address, DirectedCounters>,
    windows: usize,
}

impl Observer for Heard {
    fn window(&mut self, window: &WindowView<'_>) {
        self.windows += 1;
        for (address, counters) in window.hosts() {
            *self.hosts.entry(address).or_default() += &counters;
        }
    }

    fn event(&mut self, event: &AttackEvent) {
        self.events.push(event.clone());
    }
}

impl Heard {
    fn kinds(&self) -> Vec<(AttackEventKind, String)> {
        self.events.iter().map(|e| (e.kind, e.attack.target.to_string())).collect()
    }

    fn first(&self, target: &str) -> &AttackEvent {
        let started = |e: &&AttackEvent| e.attack.target.to_string() == target;
        self.events.iter().find(started).unwrap_or_else(|| panic!("{target}: {:?}", self.kinds()))
    }
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn policy(networks: &[&str]) -> Policy {
    let mut policy = Policy::for_networks(networks.iter().map(|n| n.parse().unwrap()).collect());
    policy.capacity.hosts = 1 << 14;
    policy.capacity.flows = 1 << 14;
    policy.capacity.recent = 1 << 12;
    policy
}

const START: u64 = 1_700_000_000_000_000_000;

/// `pps` packets a second from `from` to `to` seconds, evenly spaced.
fn flood(src: &str, dst: &str, pps: u64, from: f64, to: f64) -> Vec<FlowRecord> {
    let (src, dst) = (address(src), address(dst));
    let count = ((to - from) * pps as f64).round() as u64;
    let record = |n: u64| FlowRecord {
        time: Timestamp(START + (from * 1e9) as u64 + n * 1_000_000_000 / pps),
        src: src.bits + u128::from(n % 50),
        dst: dst.bits,
        family: dst.family,
        bytes: 500,
        protocol: protocol::UDP,
        src_port: 40_000,
        dst_port: 4_000,
        ..FlowRecord::default()
    };
    (0..count).map(record).collect()
}

fn in_order(mut parts: Vec<Vec<FlowRecord>>) -> Vec<FlowRecord> {
    let mut all: Vec<FlowRecord> = parts.drain(..).flatten().collect();
    all.sort_by_key(|r| (r.time, r.src, r.dst));
    for (seq, record) in all.iter_mut().enumerate() {
        record.seq = seq as u64;
    }
    all
}

fn run(policy: &Policy, records: &[FlowRecord], shards: usize, batch: usize) -> Heard {
    run_dealt(policy, records, shards, batch, Dealing::ByHost)
}

fn run_dealt(
    policy: &Policy,
    records: &[FlowRecord],
    shards: usize,
    batch: usize,
    dealing: Dealing,
) -> Heard {
    let mut engine = Engine::new(policy.clone(), shards, dealing, 42);
    let mut heard = Heard::default();
    for chunk in records.chunks(batch) {
        engine.ingest(chunk, &mut heard);
    }
    engine.finish(&mut heard);
    let stats = engine.stats();
    assert_eq!(stats.received, records.len() as u64);
    assert_eq!(stats.ingested + stats.drops.total(), stats.received);
    heard
}

#[test]
fn a_flood_is_named_at_once_and_ends_once() {
    let policy = policy(&["10.0.0.0/8"]);
    let records = in_order(vec![
        flood("192.0.2.1", "10.0.0.1", 500, 0.0, 60.0),
        flood("198.51.100.1", "10.0.0.7", 100_000, 2.33, 5.0),
        flood("192.0.2.1", "10.0.0.7", 100, 0.0, 60.0),
    ]);
    let heard = run(&policy, &records, 1, 1000);
    let started = heard.first("10.0.0.7");
    let attack = &started.attack;
    let after = started.time.since(Timestamp(START + 2_330_000_000));
    assert!(after <= Duration::from_millis(300), "{after:?}");
    assert_eq!(attack.class, AttackClass::UdpFlood);
    assert_eq!(attack.reason.metric, Metric { class: TrafficClass::Total, unit: Unit::Packets });
    assert_eq!((attack.reason.limit, attack.reason.group.as_str()), (20_000.0, "global"));
    assert!(!attack.samples.is_empty() && attack.top.source_ports[0].value == "40000");
    let kinds: Vec<_> = heard.events.iter().map(|e| e.kind).collect();
    assert_eq!(kinds.first(), Some(&AttackEventKind::Started));
    assert_eq!(kinds.last(), Some(&AttackEventKind::Ended));
    assert_eq!(kinds.iter().filter(|k| **k != AttackEventKind::Updated).count(), 2);
    let last = &heard.events.last().unwrap().attack;
    assert_eq!(last.peak_pps, 100_100);
    let ended = last.ended.unwrap();
    assert!(ended >= Timestamp(START + 5_000_000_000) && ended <= Timestamp(START + 6_000_000_000));
    let packets = last.packets as f64;
    assert!((packets - 267_000.0).abs() < 10_000.0, "{packets}");
}

#[test]
fn sampled_traffic_is_scaled_and_still_fast() {
    let policy = policy(&["10.0.0.0/8"]);
    let mut attack = flood("198.51.100.1", "10.0.0.7", 100, 2.4, 6.0);
    for record in &mut attack {
        record.sampling = SamplingRate::new(1000);
    }
    let heard = run(&policy, &in_order(vec![attack]), 1, 100);
    let started = heard.first("10.0.0.7");
    let after = started.time.since(Timestamp(START + 2_400_000_000));
    assert!(after <= Duration::from_millis(300), "{after:?}");
    assert_eq!(heard.hosts[&address("10.0.0.7")].incoming.total.packets, 360_000);
}

#[test]
fn traffic_below_its_limit_raises_nothing() {
    let policy = policy(&["10.0.0.0/8"]);
    let records = in_order(vec![flood("192.0.2.1", "10.0.0.1", 16_000, 0.0, 40.0)]);
    assert_eq!(run(&policy, &records, 1, 777).kinds(), vec![]);
}

#[test]
fn a_carpet_is_the_total_of_its_network() {
    let mut policy = policy(&["10.0.0.0/24", "10.0.1.0/24"]);
    let limits = Limits::of(&[(TrafficClass::Total, Unit::Packets, 50_000.0)]);
    policy.groups[0].network = DirectedLimits { incoming: limits, outgoing: Limits::default() };
    let mut carpet = flood("198.51.100.1", "10.0.1.0", 200_000, 1.0, 3.0);
    for (n, record) in carpet.iter_mut().enumerate() {
        record.dst += n as u128 % 200;
    }
    let records = in_order(vec![flood("192.0.2.1", "10.0.0.1", 500, 0.0, 5.0), carpet]);
    let heard = run(&policy, &records, 1, 1000);
    assert_eq!(heard.kinds()[0], (AttackEventKind::Started, "10.0.1.0/24".to_owned()));
    let attack = &heard.events[0].attack;
    assert!(heard.events[0].time.since(Timestamp(START + 1_000_000_000)).as_millis() <= 350);
    assert_eq!(attack.top.locals.len(), 5);
    assert!(heard.events.iter().all(|e| matches!(e.attack.target, Target::Network(_))));
}

#[test]
fn an_attacked_host_does_not_make_its_group_an_attack_too() {
    let mut policy = policy(&["10.0.0.0/24"]);
    let limits = Limits::of(&[(TrafficClass::Total, Unit::Packets, 90_000.0)]);
    policy.groups[0].total = DirectedLimits { incoming: limits, outgoing: Limits::default() };
    let records = in_order(vec![
        flood("192.0.2.1", "10.0.0.1", 500, 0.0, 20.0),
        flood("198.51.100.1", "10.0.0.7", 100_000, 1.0, 20.0),
    ]);
    let heard = run(&policy, &records, 1, 1000);
    assert!(heard.events.iter().all(|e| e.attack.target.to_string() == "10.0.0.7"));
}

#[test]
fn outgoing_internal_and_group_limits() {
    let mut policy = policy(&["10.0.0.0/16"]);
    policy.groups.push(Group {
        name: "slow".to_owned(),
        parent: Some(0),
        prefixes: vec!["10.0.5.0/28".parse().unwrap()],
        host: DirectedLimits {
            incoming: Limits::of(&[(TrafficClass::Udp, Unit::Packets, 1_000.0)]),
            outgoing: Limits::default(),
        },
        detect: true,
        ..Group::default()
    });
    // One of our hosts floods another: the sender is over the global limit, the receiver over its group's.
    let internal = flood("10.0.1.0", "10.0.5.3", 60_000, 1.0, 3.0);
    let internal: Vec<_> =
        internal.into_iter().map(|r| FlowRecord { src: 0x0a00_0109, ..r }).collect();
    let heard = run(&policy, &in_order(vec![internal]), 1, 500);
    let (victim, sender) = (&heard.first("10.0.5.3").attack, &heard.first("10.0.1.9").attack);
    assert_eq!((victim.direction, victim.reason.group.as_str()), (Direction::Incoming, "slow"));
    assert_eq!(victim.reason.metric.to_string(), "udp_pps");
    assert_eq!((sender.direction, sender.reason.group.as_str()), (Direction::Outgoing, "global"));
}

#[test]
fn whitelists() {
    let mut policy = policy(&["10.0.0.0/16"]);
    policy.whitelist.hosts = vec!["10.0.0.1/32".parse().unwrap()];
    policy.whitelist.remotes = vec!["198.51.100.0/24".parse().unwrap()];
    policy.whitelist.rules =
        vec![crate::Rule { destination_ports: vec![(4_000, 4_000)], ..crate::Rule::default() }];
    let mut by_port = flood("192.0.2.1", "10.0.0.3", 60_000, 1.0, 2.0);
    let mut to_exempt = flood("192.0.2.1", "10.0.0.1", 60_000, 1.0, 2.0);
    let mut from_friend = flood("198.51.100.1", "10.0.0.2", 60_000, 1.0, 2.0);
    for record in to_exempt.iter_mut().chain(&mut from_friend) {
        record.dst_port = 53;
    }
    by_port.retain(|r| r.dst_port == 4_000);
    let records = in_order(vec![to_exempt, from_friend, by_port]);
    let mut engine = Engine::new(policy, 1, Dealing::ByHost, 1);
    let mut heard = Heard::default();
    engine.ingest(&records, &mut heard);
    engine.finish(&mut heard);
    assert_eq!(heard.kinds(), vec![]);
    assert_eq!(heard.hosts.keys().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.1"]);
    let dropped = engine.stats().drops.get(tidewall_model::DropReason::Whitelisted);
    assert_eq!(dropped, 120_000);
}

#[test]
fn flows_of_both_families_are_distinct_tuples() {
    for (src, dst) in [("192.0.2.0", "10.0.0.1"), ("2001:db8:ffff::", "2001:db8::1")] {
        let mut policy = policy(&["10.0.0.0/8", "2001:db8::/48"]);
        policy.groups[0].host.incoming = Limits::of(&[(TrafficClass::Total, Unit::Flows, 3_500.0)]);
        // 20,000 different source ports a second, each seen twice.
        let mut records = flood(src, dst, 40_000, 0.0, 2.0);
        for (n, record) in records.iter_mut().enumerate() {
            record.src = address(src).bits;
            record.src_port = (n / 2 % 20_000) as u16;
        }
        let records = in_order(vec![records]);
        let heard = run(&policy, &records, 1, 1000);
        let attack = &heard.first(dst).attack;
        assert_eq!(attack.reason.metric.to_string(), "flows_per_second");
        let after = heard.events[0].time.since(Timestamp(START));
        assert!(after <= Duration::from_millis(300), "{after:?}");
        // 14-bit capacity: 20,000 flows are thinned once; the counters stay close.
        let flows = heard.hosts[&address(dst)].incoming.flows as f64 / 2.0;
        assert!((flows - 20_000.0).abs() < 4.0 * 20_000f64.sqrt(), "{flows}");
    }
}

#[test]
fn syn_counts_without_ack_unless_asked() {
    let mut policy = policy(&["10.0.0.0/8"]);
    let mut records = flood("192.0.2.0", "10.0.0.1", 30_000, 0.0, 2.0);
    for record in &mut records {
        record.protocol = protocol::TCP;
        record.tcp_flags = TcpFlags(TcpFlags::SYN | TcpFlags::ACK);
    }
    let records = in_order(vec![records]);
    policy.groups[0].host.incoming = Limits::of(&[(TrafficClass::TcpSyn, Unit::Packets, 10_000.0)]);
    assert_eq!(run(&policy, &records, 1, 100).kinds(), vec![]);
    policy.counting.syn_with_ack = true;
    let heard = run(&policy, &records, 1, 100);
    assert_eq!(heard.first("10.0.0.1").attack.reason.metric.to_string(), "tcp_syn_pps");
}

#[test]
fn time_jumps_cost_nothing_and_lose_nothing() {
    let policy = policy(&["10.0.0.0/8"]);
    let mut records = flood("192.0.2.0", "10.0.0.1", 10, 0.0, 1.0);
    let far = Timestamp(u64::MAX - 5);
    records.push(FlowRecord { time: far, ..records[0] });
    records.push(FlowRecord { time: Timestamp(0), ..records[0] });
    let heard = run(&policy, &records, 1, 3);
    assert_eq!(heard.hosts[&address("10.0.0.1")].incoming.total.packets, 12);
    assert!(heard.windows <= 3, "{}", heard.windows);
}

#[test]
fn a_full_host_table_counts_for_the_network() {
    let mut policy = policy(&["10.0.0.0/16", "2001:db8::/64"]);
    policy.capacity.hosts = 100;
    let limits = Limits::of(&[(TrafficClass::Total, Unit::Packets, 10_000.0)]);
    policy.groups[0].network.incoming = limits;
    let mut sweep = flood("2001:db8:1::", "2001:db8::", 50_000, 0.0, 2.0);
    for (n, record) in sweep.iter_mut().enumerate() {
        record.dst += n as u128;
    }
    let mut engine = Engine::new(policy, 1, Dealing::ByHost, 1);
    let mut heard = Heard::default();
    engine.ingest(&in_order(vec![sweep]), &mut heard);
    engine.finish(&mut heard);
    assert_eq!(engine.stats().hosts_refused, 100_000 - 200);
    assert_eq!(heard.kinds()[0], (AttackEventKind::Started, "2001:db8::/64".to_owned()));
    assert_eq!(heard.first("2001:db8::/64").attack.family, Family::V6);
}

mod independence {
    use super::*;
    use proptest::prelude::*;

    /// A small world with attacks: the strategy chooses rates and phases.
    fn world() -> impl Strategy<Value = World> {
        let one = (0u8..6, 0u64..4, 0u64..1000, 200u64..3000, 1u32..4);
        prop::collection::vec(one, 1..8).prop_map(|parts| {
            let parts = parts.into_iter().enumerate().map(|(n, (host, from, ms, pps, rate))| {
                let from = from as f64 + ms as f64 / 1e3;
                let dst = format!("10.0.0.{host}");
                let src = if n % 3 == 0 { "10.0.1.9" } else { "192.0.2.1" };
                let mut list = flood(src, &dst, pps, from, from + 2.0);
                for (k, record) in list.iter_mut().enumerate() {
                    record.sampling = SamplingRate::new([1, 1, 10, 100][rate as usize]);
                    record.src_port = (k * k % 700) as u16;
                    record.protocol = [6, 17, 1, 47][(k + n) % 4];
                    record.tcp_flags = TcpFlags((k % 32) as u16);
                    if n % 2 == 1 && k % 5 == 0 {
                        std::mem::swap(&mut record.src, &mut record.dst);
                    }
                }
                list
            });
            World(in_order(parts.collect()))
        })
    }

    /// Records that do not fill the screen when a test fails.
    #[derive(Clone)]
    struct World(Vec<FlowRecord>);

    impl std::fmt::Debug for World {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{} records", self.0.len())
        }
    }

    /// The first difference between two lists of events, in few words.
    fn difference(one: &[AttackEvent], other: &[AttackEvent]) -> Option<String> {
        for (a, b) in one.iter().zip(other) {
            if a == b {
                continue;
            }
            let brief = |event: &AttackEvent| {
                let mut event = event.clone();
                let seqs: Vec<u64> = event.attack.samples.drain(..).map(|s| s.0.seq).collect();
                let ends = (seqs.len(), seqs.first().copied(), seqs.last().copied());
                event.attack.top = tidewall_model::TopTuples::default();
                event.attack.vectors.clear();
                format!("{event:?} samples {ends:?}")
            };
            return Some(format!("\n{}\n{}", brief(a), brief(b)));
        }
        (one.len() != other.len()).then(|| format!("{} and {} events", one.len(), other.len()))
    }

    fn small_limits() -> Policy {
        let mut policy = policy(&["10.0.0.0/16"]);
        let limits = || {
            Limits::of(&[
                (TrafficClass::Total, Unit::Packets, 900.0),
                (TrafficClass::Tcp, Unit::Bits, 2e6),
                (TrafficClass::Total, Unit::Flows, 500.0),
            ])
        };
        policy.groups[0].host = DirectedLimits { incoming: limits(), outgoing: limits() };
        policy.groups[0].network = DirectedLimits { incoming: limits(), outgoing: limits() };
        policy.capacity.flows = 256;
        // So few that rings lose records, and keep one in several of them.
        policy.capacity.recent = 1 << 9;
        policy.detection.release_time = Duration::from_secs(2);
        policy
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 24,
            rng_seed: proptest::test_runner::RngSeed::Fixed(7),
            ..ProptestConfig::default()
        })]

        #[test]
        fn of_shards_and_batches(world in world(), batch in 1usize..5000) {
            let (policy, records) = (small_limits(), world.0);
            let one = run(&policy, &records, 1, records.len().max(1));
            for shards in [1, 2, 7, 16] {
                let other = run(&policy, &records, shards, batch);
                prop_assert_eq!(difference(&one.events, &other.events), None, "{} shards", shards);
                prop_assert!(one.hosts == other.hosts);
            }
        }

        #[test]
        fn of_dealing_as_far_as_promised(world in world()) {
            let (mut policy, records) = (small_limits(), world.0);
            policy.capacity.flows = 1 << 14;
            let one = run(&policy, &records, 1, 1000);
            let other = run_dealt(&policy, &records, 3, 1000, Dealing::RoundRobin);
            for (address, counters) in &one.hosts {
                let mut with_flows = other.hosts[address];
                // Flows of parts are not additive; everything else is.
                with_flows.incoming.flows = counters.incoming.flows;
                with_flows.outgoing.flows = counters.outgoing.flows;
                prop_assert_eq!(counters, &with_flows);
            }
            // At the edge of the evidence it matters when one looks; well above it, it does not.
            let raised = |heard: &Heard, times: f64| heard.events.iter()
                .filter(|e| matches!(e.attack.target, Target::Host(_)))
                .filter(|e| e.kind == AttackEventKind::Started)
                .filter(|e| e.attack.reason.value >= times * e.attack.reason.limit)
                .map(|e| (e.attack.target.clone(), e.attack.direction))
                .collect::<std::collections::BTreeSet<_>>();
            for (some, all) in [(&one, &other), (&other, &one)] {
                let missed: Vec<_> =
                    raised(some, 2.0).difference(&raised(all, 0.0)).cloned().collect();
                prop_assert!(missed.is_empty(), "{:?}", missed);
            }
        }

        #[test]
        fn started_and_ended_are_apart(world in world()) {
            let (policy, records) = (small_limits(), world.0);
            let heard = run(&policy, &records, 1, 1000);
            let mut started = std::collections::BTreeMap::new();
            for event in &heard.events {
                let key = (event.attack.target.clone(), event.attack.direction);
                match event.kind {
                    AttackEventKind::Started => {
                        prop_assert!(started.insert(key, event.time).is_none());
                    }
                    AttackEventKind::Ended => {
                        let begun = started.remove(&key).unwrap();
                        prop_assert!(event.time.since(begun) >= policy.detection.release_time);
                    }
                    AttackEventKind::Updated => prop_assert!(started.contains_key(&key)),
                }
            }
        }
    }
}

#[test]
fn what_a_victim_sends_is_told_with_the_attack() {
    let policy = policy(&["10.0.0.0/8"]);
    let mut sent = flood("10.0.0.7", "192.0.2.9", 4_000, 0.0, 9.0);
    let victim = address("10.0.0.7").bits;
    for record in &mut sent {
        record.src = victim;
    }
    // Early and late in a window, large ones seen in a slice and small ones seen later.
    for (begin, pps) in
        [(4.03, 400_000), (4.51, 60_000), (4.93, 400_000), (4.98, 30_000), (0.4, 60_000)]
    {
        let attack = flood("198.51.100.1", "10.0.0.7", pps, begin, 8.5);
        let records = in_order(vec![sent.clone(), attack]);
        for shards in [1, 3] {
            let heard = run(&policy, &records, shards, 1000);
            let event = heard.first("10.0.0.7");
            assert_eq!(event.kind, AttackEventKind::Started);
            let total = event.attack.opposite.total;
            assert!((3_600..=4_400).contains(&total.packets), "{begin} s, {pps}: {total:?}");
            assert!((1_800_000..=2_200_000).contains(&total.bytes), "{begin} s, {pps}: {total:?}");
        }
    }
}

/// A ring that keeps one record in several goes back before the attack, and the sample is full
/// wherever the attack begins: on a busy line, and on a silent one.
#[test]
fn samples_are_full_on_a_busy_line_and_on_a_silent_one() {
    let mut policy = policy(&["10.0.0.0/8"]);
    policy.capacity.recent = 1 << 14;
    let busy = || flood("192.0.2.1", "10.0.9.9", 19_000, 0.0, 4.0);
    let lines: [Vec<Vec<FlowRecord>>; 2] = [
        Vec::new(),
        // Twenty hosts with 19,000 packets a second each: 380,000.
        (0..20u32)
            .map(|host| {
                let mut records = busy();
                for record in &mut records {
                    record.dst = (0x0a00_0900 + host).into();
                }
                records
            })
            .collect(),
    ];
    for (mut line, least) in lines.into_iter().zip([policy.detection.samples, 400]) {
        let is_busy = !line.is_empty();
        line.push(flood("198.51.100.1", "10.0.0.7", 400_000, 2.503, 3.2));
        line.push(flood("192.0.2.8", "10.0.0.7", 200, 0.0, 2.5));
        let heard = run(&policy, &in_order(line), 1, 10_000);
        let first = heard.first("10.0.0.7");
        let after = first.time.since(Timestamp(START + 2_503_000_000));
        assert!(after <= Duration::from_millis(100), "{after:?}");
        let samples = &first.attack.samples;
        assert!(samples.len() >= least, "{}", samples.len());
        let times = samples.iter().map(|sample| sample.0.time);
        let span = times.clone().max().unwrap().since(times.min().unwrap());
        // A ring of every record would hold 20 ms of the busy line with the attack.
        assert!(!is_busy || span >= Duration::from_millis(40), "{span:?}");
    }
}
