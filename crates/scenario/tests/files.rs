//! The scenario files and the demo tell the truth: what is expected really goes over a limit, and
//! nothing else comes near one.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tidewall_model::{
    Address, Direction, FlowRecord, Metric, Prefix, SamplingRate, TcpFlags, TrafficClass,
    TrafficCounters, Unit, protocol,
};
use tidewall_scenario::{Generator, Scenario, Truth};

const NS: u64 = 1_000_000_000;

fn count(counters: &mut TrafficCounters, record: &FlowRecord) {
    let class = match record.protocol {
        protocol::TCP => TrafficClass::Tcp,
        protocol::UDP => TrafficClass::Udp,
        _ if record.is_icmp() => TrafficClass::Icmp,
        _ => TrafficClass::Other,
    };
    let syn = record.protocol == protocol::TCP
        && record.tcp_flags.has(TcpFlags::SYN)
        && !record.tcp_flags.has(TcpFlags::ACK);
    let overlapping = [
        (TrafficClass::TcpSyn, syn),
        (TrafficClass::Fragment, record.fragment.is_fragment()),
        (TrafficClass::Total, true),
        (class, true),
    ];
    for (class, _) in overlapping.into_iter().filter(|(_, counts)| *counts) {
        let counter = counters.get_mut(class);
        counter.packets += record.scaled_packets();
        counter.bytes += record.scaled_bytes();
    }
}

/// The largest part of a limit that was reached.
fn excess(counters: &TrafficCounters, limits: &[(Metric, f64)]) -> f64 {
    let part = |(metric, limit): &(Metric, f64)| match metric.unit {
        Unit::Packets => counters.get(metric.class).packets as f64 / limit,
        Unit::Bits => counters.get(metric.class).bytes as f64 * 8.0 / limit,
        Unit::Flows => 0.0,
    };
    limits.iter().map(part).fold(0.0, f64::max)
}

/// Does a truth explain an excess of this target in this second?
fn explains(truth: &Truth, target: Prefix, direction: Direction, second: u64) -> bool {
    let (from, to) = (truth.start.0 / NS, (truth.end.0 - 1) / NS);
    truth.direction == direction
        && (truth.target.covers(target) || target.covers(truth.target))
        && (from..=to).contains(&second)
}

type Second = BTreeMap<(Prefix, Direction), TrafficCounters>;

/// Every target of one second against its limits.
fn judge(name: &str, scenario: &Scenario, second: u64, targets: &Second, reached: &mut [f64]) {
    let truths = scenario.truth();
    for ((target, direction), counters) in targets {
        let network = scenario.limits.networks.iter().find(|(prefix, _)| prefix == target);
        let limits = network.map_or(&scenario.limits.host, |(_, limits)| limits);
        let part = excess(counters, limits);
        let mut expected = false;
        for (truth, reached) in truths.iter().zip(&mut *reached) {
            if explains(truth, *target, *direction, second) {
                expected = true;
                *reached = reached.max(part);
            }
        }
        assert!(expected || part < 0.92, "{name}: {target} {direction} at {second}: {part}");
    }
}

fn check(name: &str, scenario: &Scenario) {
    let truths = scenario.truth();
    let mut reached = vec![0.0f64; truths.len()];
    let mut targets = Second::new();
    let mut second = scenario.start.seconds();
    let ours = |a: Address| scenario.networks.iter().any(|n| n.contains(a));
    // One packet in four is exact enough for parts of limits.
    let sampling = SamplingRate::new(4);
    for record in Generator::sampled(scenario, sampling) {
        if record.time.seconds() != second {
            judge(name, scenario, second, &targets, &mut reached);
            targets.clear();
            second = record.time.seconds();
        }
        for (address, direction) in [
            (record.dst_address(), Direction::Incoming),
            (record.src_address(), Direction::Outgoing),
        ] {
            if !ours(address) {
                continue;
            }
            count(targets.entry((Prefix::host(address), direction)).or_default(), &record);
            for (network, _) in scenario.limits.networks.iter().filter(|n| n.0.contains(address)) {
                count(targets.entry((*network, direction)).or_default(), &record);
            }
        }
    }
    judge(name, scenario, second, &targets, &mut reached);
    for (truth, reached) in truths.iter().zip(reached) {
        assert!(reached > 1.2, "{name}: `{}` reaches {reached} of a limit", truth.name);
    }
}

#[test]
fn the_scenario_files_are_true() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let scenario = Scenario::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        check(&name, &scenario);
        count += 1;
    }
    assert!(count >= 8, "{count}");
}

#[test]
fn the_demo_is_true() {
    for (seconds, seed) in [(20, 1), (60, 1), (60, 2)] {
        check("demo", &Scenario::demo(Duration::from_secs(seconds), seed).unwrap());
    }
}
