//! Flows that last, through routers with active timeouts of a second and of a minute, counted on
//! arrival and spread: what docs/flows.md says of lumps, false alarms, delays and ends.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod media;

use std::time::Duration;

use media::{Kind, Medium};
use tidewall::config::Flows;
use tidewall::replay::{self, Outcome, Settings};
use tidewall_collect::Crediting;
use tidewall_engine::Policy;
use tidewall_model::{
    Address, Attack, Direction, Family, FlowRecord, Metric, Target, TcpFlags, Timestamp,
    TrafficClass, Unit, protocol,
};
use tidewall_scenario::{FlowCachePlan, FlowProtocol};

/// The limit of a host, in packets per second.
const LIMIT: u64 = 20_000;
const START: u64 = 1_700_000_000;
const SPREAD: Crediting = Crediting::SPREAD;
const MINUTE: Duration = Duration::from_mins(1);
/// 198.51.100.0.
const NETWORK: u128 = 0xc633_6400;

/// Some flows of one host.
#[derive(Clone, Copy)]
struct Lasting {
    host: u8,
    /// Packets per second of all flows together.
    rate: u64,
    flows: u64,
    /// Seconds from the start to their end.
    to: u64,
    /// The flows begin so many milliseconds after one another.
    apart_ms: u64,
}

impl Lasting {
    /// A record for what each flow sends in a tenth of a second.
    fn records(&self, records: &mut Vec<FlowRecord>) {
        for flow in 0..self.flows {
            let (mut paid, mut number) = (0, 0);
            let begin = flow * self.apart_ms;
            for ms in (begin..self.to * 1000).step_by(100) {
                number += self.rate;
                let packets = number / (10 * self.flows) - paid;
                paid += packets;
                if packets > 0 {
                    records.push(packet(self.host, ms * 1_000_000, 1024 + flow, packets));
                }
            }
        }
    }
}

fn packet(host: u8, after_ns: u64, port: u64, packets: u64) -> FlowRecord {
    FlowRecord {
        time: Timestamp(START * 1_000_000_000 + after_ns),
        src: 0xcb00_7100 + u128::from(port >> 16),
        dst: NETWORK + u128::from(host),
        packets,
        bytes: packets * 500,
        src_port: port as u16,
        dst_port: 443,
        tcp_flags: TcpFlags(TcpFlags::ACK),
        family: Family::V4,
        protocol: protocol::TCP,
        ..FlowRecord::default()
    }
}

/// What a router with this active timeout tells of the records, counted like this.
fn replayed(mut records: Vec<FlowRecord>, plan: &FlowCachePlan, crediting: Crediting) -> Outcome {
    records.sort_by_key(|record| record.time);
    let ipfix = Medium::new("ipfix", Kind::Flows(FlowProtocol::Ipfix), 1);
    let capture = ipfix.capture_of(&records, plan);
    let mut policy = Policy::for_networks(vec!["198.51.100.0/24".parse().unwrap()]);
    let global = &mut policy.groups[0];
    for limits in [&mut global.host, &mut global.network, &mut global.total] {
        *limits = tidewall_engine::DirectedLimits::default();
    }
    let metric = Metric { class: TrafficClass::Total, unit: Unit::Packets };
    global.host.incoming.set(metric, LIMIT as f64);
    let flows = Flows { crediting, ..Flows::default() };
    let settings = Settings { flows, ..Settings::new(policy) };
    let outcome = replay::run(&[capture], &settings, &mut |_| {}).unwrap();
    let sent: u64 = records.iter().map(|record| record.packets).sum();
    let counted = outcome.totals[Direction::Incoming as usize].total;
    assert_eq!((counted.packets, counted.bytes), (sent, 500 * sent), "each packet counts once");
    assert_eq!((outcome.not_spread, outcome.drops.total()), (0, 0));
    outcome
}

fn lasting(list: &[Lasting], active: Duration, crediting: Crediting) -> Outcome {
    let mut records = Vec::new();
    for flows in list {
        flows.records(&mut records);
    }
    let plan = FlowCachePlan { active, idle: Duration::from_secs(15), ..FlowCachePlan::default() };
    replayed(records, &plan, crediting)
}

fn attacks(outcome: &Outcome, host: u8) -> Vec<&Attack> {
    let bits = NETWORK + u128::from(host);
    let target = Target::Host(Address { family: Family::V4, bits });
    outcome.attacks.iter().filter(|attack| attack.target == target).collect()
}

/// All attacks in short.
fn words(outcome: &Outcome) -> String {
    let line = |attack: &Attack| {
        let (value, ms) = (attack.reason.value, attack.reason.window_ms);
        format!("{} at {}: {value} over {ms} ms", attack.target, after(attack.detected))
    };
    outcome.attacks.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Seconds from the start.
fn after(time: Timestamp) -> f64 {
    time.since(Timestamp(START * 1_000_000_000)).as_secs_f64()
}

/// Lets a capture go on until what is told in it is over.
fn quiet(to: u64) -> Lasting {
    Lasting { host: 9, rate: 10, flows: 1, to, apart_ms: 0 }
}

/// Honest hosts: one flow of a hundredth of the limit and one of a fortieth, and four large ones
/// that make 0.7 of it. `to` is when they end.
fn honest(to: u64) -> Vec<Lasting> {
    let flows = |host, rate, flows| Lasting { host, rate, flows, to, apart_ms: 130 };
    let (small, lasting) = (flows(10, LIMIT / 100, 1), flows(11, LIMIT / 40, 1));
    vec![small, lasting, flows(12, LIMIT * 7 / 10, 4), quiet(to + 120)]
}

#[test]
fn lumps_are_taken_for_attacks_on_arrival_and_not_when_they_are_spread() {
    let arrival = lasting(&honest(180), MINUTE, Crediting::Arrival);
    assert!(attacks(&arrival, 10).is_empty(), "a hundredth of the limit is a lump of 0.6 s");
    for (host, rate) in [(11, LIMIT / 40), (12, LIMIT * 7 / 40)] {
        let found = attacks(&arrival, host);
        // Over a window; within it, more.
        let reads = found[0].peak_pps as f64 / rate as f64;
        assert!(reads >= 59.0, "host {host} reads {reads} times its flow's rate");
        let first = after(found[0].detected);
        assert!((60.0..61.2).contains(&first), "host {host} at {first}");
    }
    let spread = lasting(&honest(180), MINUTE, SPREAD);
    assert!(spread.attacks.is_empty(), "{}", words(&spread));
}

/// The last record of a flow comes while the one before it is still being paid: for so long the
/// flow seems to have twice its rate, but never more, and not a packet too many.
#[test]
fn a_flow_that_ends_reads_double_for_a_while() {
    let flows = |rate| [Lasting { host: 13, rate, flows: 4, to: 80, apart_ms: 0 }, quiet(200)];
    let outcome = lasting(&flows(LIMIT * 7 / 10), MINUTE, SPREAD);
    let [one] = attacks(&outcome, 13)[..] else { panic!("{}", words(&outcome)) };
    // Quiet since 80 s, exported 15 s later.
    let named = after(one.detected);
    assert!((95.0..97.0).contains(&named), "{named}");
    assert!((1.3..1.5).contains(&(one.reason.value / LIMIT as f64)), "{}", words(&outcome));
    let half = lasting(&flows(LIMIT * 4 / 10), MINUTE, SPREAD);
    assert!(half.attacks.is_empty(), "{}", words(&half));
}

/// What is left to be paid when a capture ends is no lump.
#[test]
fn the_end_of_a_capture_is_no_attack() {
    let busy = Lasting { host: 14, rate: LIMIT * 7 / 10, flows: 4, to: 180, apart_ms: 130 };
    let outcome = lasting(&[busy, quiet(181)], MINUTE, SPREAD);
    assert!(outcome.attacks.is_empty(), "{}", words(&outcome));
}

#[test]
fn with_an_active_timeout_of_a_second_arrival_is_right_too() {
    for crediting in [Crediting::Arrival, SPREAD] {
        let second = Duration::from_secs(1);
        assert_eq!(lasting(&honest(20), second, crediting).attacks, vec![]);
    }
}

/// An attack of 5 and one of 1.5 times the limit, of long flows that begin together.
fn attack(times_ten: u64, to: u64) -> [Lasting; 2] {
    let flood = Lasting { host: 20, rate: LIMIT * times_ten / 10, flows: 40, to, apart_ms: 0 };
    [flood, quiet(to + 120)]
}

#[test]
fn an_attack_of_long_flows_is_named_when_its_records_come_and_reads_right_when_spread() {
    // From the active timeout and the datagram's delay on, the time of the rule.
    for (times_ten, within) in [(50, 0.3), (15, 2.0)] {
        let rate = (LIMIT * times_ten / 10) as f64;
        let found = lasting(&attack(times_ten, 180), MINUTE, SPREAD);
        let [one] = attacks(&found, 20)[..] else { panic!("{}", words(&found)) };
        let named = after(one.detected);
        assert!((60.0..60.1 + within).contains(&named), "{times_ten}: named at {named}");
        // Over an active timeout after its last packet.
        let ended = after(one.ended.unwrap_or(Timestamp(u64::MAX)));
        assert!((239.0..242.0).contains(&ended), "{times_ten}: ended at {ended}");
        let reads = one.packets as f64 / (ended - after(one.started)) / rate;
        assert!((0.97..1.03).contains(&reads), "{times_ten}: reads {reads}");

        let found = lasting(&attack(times_ten, 180), MINUTE, Crediting::Arrival);
        let lumps = attacks(&found, 20);
        assert_eq!(lumps.len(), 3, "between two lumps it seems over");
        let named = after(lumps[0].detected);
        assert!((60.0..60.3).contains(&named), "{times_ten}: named at {named}");
        let reads = lumps[0].peak_pps as f64 / rate;
        assert!(reads >= 59.0, "{times_ten}: reads {reads}");
    }
}

#[test]
fn a_flood_from_forged_addresses_is_named_as_soon_either_way() {
    // Three times the limit, each packet a flow; the cache is soon full of them.
    let flood: Vec<_> = (0..2 * 3 * LIMIT)
        .map(|n| packet(30, n * 1_000_000_000 / (3 * LIMIT), 0x1_0000 + n * 7, 1))
        .collect();
    let plan = FlowCachePlan {
        active: MINUTE,
        idle: Duration::from_secs(15),
        entries: 8192,
        ..FlowCachePlan::default()
    };
    let detected = |crediting| {
        let outcome = replayed(flood.clone(), &plan, crediting);
        let [one] = attacks(&outcome, 30)[..] else { panic!("{}", words(&outcome)) };
        after(one.detected)
    };
    let arrival = detected(Crediting::Arrival);
    assert_eq!(detected(SPREAD).to_bits(), arrival.to_bits());
    // A full cache is 0.14 s of it, and the rule wants 0.36 s.
    assert!((0.3..0.7).contains(&arrival), "{arrival}");
}
