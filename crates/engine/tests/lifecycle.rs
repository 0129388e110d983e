//! The life of attacks in the whole engine: pulses, pauses and ends, what is told about an attack
//! while it goes on, and many attacks at once.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use tidewall_engine::{Dealing, DirectedLimits, Engine, EngineStats, Limits, Observer, Policy};
use tidewall_model::{
    Attack, AttackClass, AttackEvent, AttackEventKind, Direction, FlowRecord, SamplingRate,
    Timestamp, TrafficClass, Unit, protocol,
};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_767_571_200 * SECOND;
const LIMIT: f64 = 20_000.0;
/// Records come each 2 ms.
const TICK: u64 = 2_000_000;

#[derive(Default)]
struct Heard(Vec<AttackEvent>);

impl Observer for Heard {
    fn event(&mut self, event: &AttackEvent) {
        self.0.push(event.clone());
    }
}

impl Heard {
    fn of(&self, kind: AttackEventKind) -> Vec<&AttackEvent> {
        self.0.iter().filter(|event| event.kind == kind).collect()
    }

    /// As they were told at their ends.
    fn ended(&self) -> Vec<&Attack> {
        self.of(AttackEventKind::Ended).into_iter().map(|event| &event.attack).collect()
    }
}

fn policy() -> Policy {
    let networks = ["10.0.0.0/12", "10.16.0.0/12"];
    let mut policy =
        Policy::for_networks(networks.iter().map(|text| text.parse().unwrap()).collect());
    let limits = || Limits::of(&[(TrafficClass::Total, Unit::Packets, LIMIT)]);
    policy.groups[0].host = DirectedLimits { incoming: limits(), outgoing: limits() };
    policy.capacity.hosts = 1 << 15;
    policy.capacity.flows = 1 << 12;
    policy.capacity.recent = 1 << 12;
    policy
}

/// A datagram of 500 bytes from outside to one of our hosts.
fn datagram(host: u128) -> FlowRecord {
    FlowRecord {
        src: 0xc633_6401,
        dst: 0x0a00_0000 | host,
        protocol: protocol::UDP,
        src_port: 40_000,
        dst_port: 4_000,
        bytes: 500,
        ..FlowRecord::default()
    }
}

/// Traffic like `template` at a part of the limit, from and to these times in seconds.
fn traffic(template: FlowRecord, level: f64, from: f64, to: f64) -> Vec<FlowRecord> {
    let (first, last) = ((from * 1e9) as u64, (to * 1e9) as u64);
    let per_tick = level * LIMIT * TICK as f64 / 1e9;
    let mut records = Vec::new();
    let (mut at, mut due) = (first, 0.0);
    while at < last {
        due += per_tick;
        let packets = due as u64;
        due -= packets as f64;
        if packets > 0 {
            let bytes = template.bytes * packets;
            records.push(FlowRecord { time: Timestamp(START + at), packets, bytes, ..template });
        }
        at += TICK;
    }
    records
}

fn in_order(parts: Vec<Vec<FlowRecord>>) -> Vec<FlowRecord> {
    let mut records: Vec<FlowRecord> = parts.into_iter().flatten().collect();
    records.sort_by_key(|record| (record.time, record.src, record.dst));
    records.iter_mut().zip(0..).for_each(|(record, seq)| record.seq = seq);
    records
}

/// Runs the engine over the records, and for a minute after them.
fn run(policy: &Policy, records: &[FlowRecord]) -> (Heard, EngineStats) {
    let mut engine = Engine::new(policy.clone(), 1, Dealing::ByHost, 5);
    let mut heard = Heard::default();
    for batch in records.chunks(1000) {
        engine.ingest(batch, &mut heard);
    }
    if let Some(last) = records.last() {
        engine.advance(last.time + Duration::from_mins(1), &mut heard);
    }
    assert_eq!(engine.attacks().count(), 0, "every attack ends");
    (heard, engine.stats())
}

/// Started and Ended take turns, and are at least the release time apart.
fn takes_turns(events: &[AttackEvent], release_time: Duration) {
    let mut begun: BTreeMap<_, &AttackEvent> = BTreeMap::new();
    for event in events {
        let key = (event.attack.target.to_string(), event.attack.direction);
        match event.kind {
            AttackEventKind::Started => assert!(begun.insert(key, event).is_none()),
            AttackEventKind::Updated => assert_eq!(begun[&key].attack.id, event.attack.id),
            AttackEventKind::Ended => {
                let start = begun.remove(&key).unwrap();
                assert_eq!(start.attack.id, event.attack.id);
                assert!(event.time.since(start.time) >= release_time);
                assert!(event.attack.ended.unwrap() >= start.time);
            }
        }
    }
}

/// Pulses of five times the limit: seconds of pause before each and of its length.
fn pulses(list: &[(f64, f64)]) -> (Vec<FlowRecord>, f64) {
    let (mut now, mut parts) = (0.0, Vec::new());
    for (pause, length) in list {
        now += pause;
        parts.push(traffic(datagram(7), 5.0, now, now + length));
        now += length;
    }
    (in_order(parts), now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pulses_with_short_pauses_are_one_attack(
        list in prop::collection::vec((0.1..4.5f64, 0.4..3.0f64), 1..8),
    ) {
        let mut policy = policy();
        policy.detection.release_time = Duration::from_secs(5);
        let (records, end) = pulses(&list);
        let (heard, _) = run(&policy, &records);
        takes_turns(&heard.0, policy.detection.release_time);
        prop_assert_eq!(heard.of(AttackEventKind::Started).len(), 1);
        let ended = heard.ended()[0].ended.unwrap().since(Timestamp(START)).as_secs_f64();
        prop_assert!((-0.2..1.0).contains(&(ended - end)), "ended {} not {}", ended, end);
    }

    #[test]
    fn pulses_with_any_pauses_take_turns(
        list in prop::collection::vec((0.1..12.0f64, 0.05..3.0f64), 1..8),
    ) {
        let mut policy = policy();
        policy.detection.release_time = Duration::from_secs(5);
        let (heard, _) = run(&policy, &pulses(&list).0);
        takes_turns(&heard.0, policy.detection.release_time);
    }
}

#[test]
fn long_pauses_part_attacks() {
    let list = [(1.3, 2.0), (20.0, 2.0), (29.0, 1.0), (40.0, 2.0), (33.0, 0.5)];
    let (heard, _) = run(&policy(), &pulses(&list).0);
    takes_turns(&heard.0, Duration::from_secs(30));
    assert_eq!(heard.of(AttackEventKind::Started).len(), 3);
    assert_eq!(heard.ended().len(), 3);
}

#[test]
fn totals_peaks_and_times_are_close_to_the_truth() {
    // (level, sampling, seconds, largest error of the packets and of the peak)
    for (level, sampling, length, most) in [
        (5.0, 1, 10.0, 0.02),
        (1.5, 1, 10.0, 0.05),
        (1.05, 1, 30.0, 0.05),
        (50.0, 1, 3.0, 0.02),
        (5.0, 1000, 10.0, 0.05),
    ] {
        for phase in [0.0, 0.31, 0.77, 0.98] {
            let template = FlowRecord { sampling: SamplingRate::new(sampling), ..datagram(7) };
            let (from, to) = (3.0 + phase, 3.0 + phase + length);
            let flood = traffic(template, level / f64::from(sampling), from, to);
            let before = traffic(datagram(7), 0.1, 0.0, from);
            let (heard, _) = run(&policy(), &in_order(vec![before, flood]));
            let attack = heard.ended()[0];
            let near = |got: u64, want: f64, what: &str| {
                let error = (got as f64 / want - 1.0).abs();
                assert!(error <= most, "{level} x for {length} s at {phase}: {what} {got} {want}");
            };
            near(attack.packets, level * LIMIT * length, "packets");
            near(attack.bytes, level * LIMIT * length * 500.0, "bytes");
            near(attack.peak_pps, level * LIMIT, "peak packets");
            near(attack.peak_bps, level * LIMIT * 4000.0, "peak bits");
            let off = |at: Timestamp, want: f64| at.0 as f64 / 1e9 - (START as f64 / 1e9 + want);
            let started = off(attack.started, from).abs();
            assert!(started <= if level < 2.0 { 0.7 } else { 0.11 }, "{level}: started {started}");
            let ended = off(attack.ended.unwrap(), to);
            assert!((-0.7 / level - 0.05..=5.0).contains(&ended), "{level}: ended {ended}");
        }
    }
}

#[test]
fn both_directions_of_a_host_are_two_attacks() {
    let back = |record: FlowRecord| FlowRecord { src: record.dst, dst: record.src, ..record };
    let records = in_order(vec![
        traffic(datagram(7), 5.0, 1.0, 4.0),
        traffic(back(datagram(7)), 3.0, 2.2, 9.0),
    ]);
    let (heard, _) = run(&policy(), &records);
    takes_turns(&heard.0, Duration::from_secs(30));
    let brief = |attack: &&Attack| (attack.direction, attack.peak_pps);
    let ended: Vec<_> = heard.ended().iter().map(brief).collect();
    assert_eq!(ended, [(Direction::Incoming, 100_000), (Direction::Outgoing, 60_000)]);
    let ids: BTreeSet<_> = heard.0.iter().map(|event| event.attack.id).collect();
    assert_eq!(ids.len(), 2);
}

#[test]
fn an_attack_keeps_its_class_when_only_ordinary_traffic_is_left() {
    let page = FlowRecord { protocol: protocol::TCP, src_port: 443, ..datagram(7) };
    let records =
        in_order(vec![traffic(page, 0.3, 0.0, 50.0), traffic(datagram(7), 5.0, 2.4, 14.0)]);
    let (heard, _) = run(&policy(), &records);
    let updates = heard.of(AttackEventKind::Updated);
    assert!(
        updates.iter().filter(|event| event.time > Timestamp(START + 16 * SECOND)).count() >= 4
    );
    for event in &heard.0 {
        assert_eq!(event.attack.class, AttackClass::UdpFlood, "{:?} {}", event.kind, event.time);
        let over = Timestamp(START + 15 * SECOND);
        assert!(event.attack.samples.iter().all(|sample| sample.0.time <= over));
    }
    // Updates say what is new: the totals grow as long as there is traffic.
    assert!(updates.windows(2).all(|pair| pair[0].attack.packets < pair[1].attack.packets));
}

/// Each host's own share of a level, from and to these times, in one record each 50 ms.
fn crowd(hosts: std::ops::Range<u128>, level: f64, from: u64, to: u64) -> Vec<FlowRecord> {
    let packets = (level * LIMIT / 20.0) as u64;
    let mut records = Vec::new();
    for tick in from * 20..to * 20 {
        for host in hosts.clone() {
            let time = Timestamp(START + tick * SECOND / 20 + host as u64 * 1_000);
            let bytes = 500 * packets;
            records.push(FlowRecord { time, packets, bytes, ..datagram(host) });
        }
    }
    records
}

#[test]
fn thousands_of_attacks_at_once_are_all_named() {
    let records = in_order(vec![crowd(0..5_000, 5.0, 1, 2)]);
    let (heard, stats) = run(&policy(), &records);
    let started = heard.of(AttackEventKind::Started);
    let named: BTreeSet<_> = started.iter().map(|event| event.attack.target.to_string()).collect();
    assert_eq!((started.len(), named.len(), stats.watch_refused), (5_000, 5_000, 0));
    let last = started.iter().map(|event| event.time).max().unwrap();
    assert!(last <= Timestamp(START + SECOND + 300_000_000), "{last}");
    assert_eq!(heard.ended().len(), 5_000);
}

#[test]
fn a_crowd_of_ordinary_hosts_does_not_hide_an_attack() {
    // More hosts than can be watched, at a tenth of their limit and then at 0.6 of it: a victim
    // that comes after all of them in every order is found at the end of a window.
    for level in [0.1, 0.6] {
        let victim = datagram(0x000f_ffff);
        let records =
            in_order(vec![crowd(0..17_500, level, 0, 3), traffic(victim, 5.0, 1.35, 3.0)]);
        let (heard, stats) = run(&policy(), &records);
        assert!(stats.watch_refused > 0);
        let started = heard.of(AttackEventKind::Started);
        assert_eq!(started.len(), 1, "at {level}");
        assert_eq!(started[0].attack.target.to_string(), "10.15.255.255");
        assert!(started[0].time <= Timestamp(START + 2 * SECOND), "{}", started[0].time);
    }
}

#[test]
fn totals_leave_out_attacked_hosts_and_cost_nothing_when_idle() {
    let mut policy = policy();
    let limits = Limits::of(&[(TrafficClass::Total, Unit::Packets, LIMIT)]);
    policy.groups[0].network.incoming = limits.clone();
    policy.groups[0].total.incoming = limits;
    let later = |record: FlowRecord| FlowRecord {
        time: record.time + Duration::from_hours(24 * 365),
        ..record
    };
    let mut records = in_order(vec![traffic(datagram(7), 5.0, 1.0, 4.0)]);
    let (heard, _) = run(&policy, &records);
    assert_eq!(
        heard.of(AttackEventKind::Started).len(),
        1,
        "the host's attack is not its network's"
    );
    // A year without a record, with totals under watch: no time is gone through.
    let again: Vec<FlowRecord> = records.iter().copied().map(later).collect();
    records.extend(again);
    let (heard, _) = run(&policy, &records);
    assert_eq!(heard.of(AttackEventKind::Started).len(), 2);
    takes_turns(&heard.0, Duration::from_secs(30));
}
