//! Events for tests: a flood that Debian's `fastnetmon` 1.2.4 was shown, with the numbers that it
//! counted, and made-up ones.

use std::sync::Arc;

use tidewall_model::{
    Address, Attack, AttackClass, AttackId, Count, Direction, Family, FlowRecord, Metric, Reason,
    Sample, SamplingRate, Target, TcpFlags, Timestamp, TopTuples, TrafficClass, TrafficCounters,
    Unit, Vector, protocol,
};

use crate::{ActionEvent, ActionKind, CapturedFrame};

/// 2026-11-21 13:56:51 UTC.
const DETECTED: Timestamp = Timestamp::from_parts(1_795_269_411, 621_000_000);

/// An IPv4 address from its text.
pub(crate) fn address(text: &str) -> Address {
    Address::from(text.parse::<std::net::IpAddr>().unwrap())
}

/// The flood of 10.9.9.1 that was shown to both.
pub(crate) fn recorded(kind: ActionKind) -> ActionEvent {
    let count = |packets, bytes| Count { packets, bytes };
    let mut event = event(kind, 1);
    event.attack.target = Target::Host(address("10.9.9.1"));
    event.attack.rates = TrafficCounters {
        total: count(325, 24_103),
        tcp: count(271, 14_657),
        tcp_syn: count(271, 14_657),
        udp: count(17, 7_997),
        icmp: count(17, 759),
        flows: 7,
        ..TrafficCounters::default()
    };
    event.attack.opposite = TrafficCounters {
        total: count(35, 2_279),
        tcp: count(17, 977),
        tcp_syn: count(17, 977),
        udp: count(17, 1_302),
        ..TrafficCounters::default()
    };
    event.attack.peak_pps = 325;
    event.attack.samples = recorded_samples();
    event
}

/// One round of the flood, in the order of the peer's sample.
fn recorded_samples() -> Vec<Sample> {
    let micros =
        [38, 75, 79, 81, 83, 85, 87, 90, 92, 94, 96, 98, 100, 102, 105, 107, 110, 112, 114, 116];
    let ours = address("10.9.9.1").bits;
    let mut records: Vec<FlowRecord> = (0..15u32)
        .map(|at| FlowRecord {
            src: address(&format!("198.51.100.{}", at % 5 + 1)).bits,
            dst: ours,
            src_port: 40_000 + (at % 3) as u16,
            dst_port: 443,
            protocol: protocol::TCP,
            tcp_flags: TcpFlags(TcpFlags::SYN),
            bytes: 54,
            ..FlowRecord::default()
        })
        .collect();
    let from = |text: &str, protocol, bytes| FlowRecord {
        src: address(text).bits,
        dst: ours,
        protocol,
        bytes,
        ..FlowRecord::default()
    };
    let ntp =
        FlowRecord { src_port: 123, dst_port: 5000, ..from("203.0.113.9", protocol::UDP, 442) };
    let back = |of: FlowRecord, bytes| FlowRecord {
        src: of.dst,
        dst: of.src,
        src_port: of.dst_port,
        dst_port: of.src_port,
        bytes,
        ..of
    };
    let flags = TcpFlags(TcpFlags::SYN | TcpFlags::ACK);
    let answer = FlowRecord { tcp_flags: flags, ..back(records[0], 54) };
    let echo = FlowRecord { dst_port: 0x800, ..from("203.0.113.8", protocol::ICMP, 42) };
    records.extend([ntp, answer, back(ntp, 72), echo, from("203.0.113.7", protocol::GRE, 38)]);
    let second = Timestamp::from_parts(1_795_269_412, 731_000_000);
    (records.into_iter().zip(micros))
        .map(|(record, micros)| {
            let time = Timestamp(second.0 + micros * 1000);
            Sample(FlowRecord { time, ttl: 57, ..record })
        })
        .collect()
}

/// Attack number `id` on a host of its own.
pub(crate) fn event(kind: ActionKind, id: u64) -> ActionEvent {
    let count = |packets, bytes| Count { packets, bytes };
    let metric = Metric { class: TrafficClass::Total, unit: Unit::Packets };
    let host = Address::v4(0xc000_0200 + id as u32);
    let sample = FlowRecord {
        time: DETECTED,
        src: 0xc633_6407,
        dst: host.bits,
        src_port: 123,
        dst_port: 4000,
        protocol: protocol::UDP,
        bytes: 468,
        sampling: SamplingRate::new(10),
        ttl: 60,
        ..FlowRecord::default()
    };
    let attack = Attack {
        id: AttackId(id),
        target: Target::Host(host),
        family: Family::V4,
        direction: Direction::Incoming,
        class: AttackClass::UdpReflection,
        vectors: vec![Vector { name: "ntp".into(), packets_share: 0.98, bytes_share: 0.99 }],
        reason: Reason {
            metric,
            direction: Direction::Incoming,
            value: 48_210.0,
            limit: 20_000.0,
            group: "global".into(),
            window_ms: 1000,
            samples: 4821,
        },
        started: Timestamp(DETECTED.0 - 350_000_000),
        detected: DETECTED,
        ended: (kind == ActionKind::Ended).then_some(Timestamp(DETECTED.0 + 60_000_000_000)),
        peak_pps: 50_000,
        peak_bps: 190_000_000,
        peak_flows: 4000,
        packets: 2_900_000,
        bytes: 1_400_000_000,
        rates: TrafficCounters {
            total: count(48_210, 22_500_000),
            udp: count(48_000, 22_464_000),
            icmp: count(210, 36_000),
            flows: 4000,
            ..TrafficCounters::default()
        },
        opposite: TrafficCounters { total: count(12, 700), ..TrafficCounters::default() },
        top: TopTuples::default(),
        samples: vec![Sample(sample)],
        filters: Vec::new(),
    };
    ActionEvent {
        kind,
        time: Timestamp(DETECTED.0 + 1_000_000 * kind as u64),
        attack,
        network: Some("192.0.2.0/24".parse().unwrap()),
        ban_seconds: 1900,
        manual: false,
        note: String::new(),
        frames: vec![CapturedFrame { time: DETECTED, original_length: 468, bytes: vec![7; 60] }],
    }
}

/// The same, shared.
pub(crate) fn shared(kind: ActionKind, id: u64) -> Arc<ActionEvent> {
    Arc::new(event(kind, id))
}
