//! Memory under attack is bounded by configuration: sweeps of spoofed sources and of destinations,
//! with the resident set of the process measured after each. One test after the other in one
//! function, because they share the process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use tidewall_engine::{Capacity, Dealing, Engine, FlowSet, Observer, Policy, WindowView};
use tidewall_model::{Address, Direction, Family, FlowRecord, Timestamp, protocol};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_767_571_200 * SECOND;
const MIB: u64 = 1 << 20;
/// Spoofed sources of one host.
const SOURCES: u64 = 1 << 24;
/// Hosts of ours that are swept.
const DESTINATIONS: u64 = 1_000_000;

/// The most memory that a shard may use, in bytes: what `Capacity` promises.
fn bound(capacity: &Capacity) -> u64 {
    // An active host in the running window and in the one that is being read, and its index.
    let host = 2 * 300 + 16;
    // Logs of both windows with repeats for half of it and more, the distinct flows of one, and the
    // set of those that are watched: each for up to twice the capacity, rounded up.
    let flow = 2 * (2 * 8) + 2 * 8 + 12;
    let sum = host * u64::from(capacity.hosts)
        + flow * u64::from(capacity.flows)
        + 128 * u64::from(capacity.recent)
        + 4 * u64::from(capacity.dense);
    // Prefix table, states and samples of a few attacks, the test's own batch.
    sum + 16 * MIB
}

/// Resident set of this process in bytes, where the system tells.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// What windows say.
#[derive(Default)]
struct Windows {
    /// Host entries, by start.
    hosts: BTreeMap<Timestamp, usize>,
    /// Largest number of incoming flows of a host.
    flows: u64,
    incoming: u64,
}

impl Observer for Windows {
    fn window(&mut self, window: &WindowView<'_>) {
        self.hosts.insert(window.start, window.host_count());
        self.incoming += window.totals(Direction::Incoming).total.packets;
        let flows = window.hosts().map(|(_, counters)| counters.incoming.flows).max();
        self.flows = self.flows.max(flows.unwrap_or(0));
    }
}

fn policy(hosts: u32, flows: u32, dense: u32) -> Policy {
    let networks = ["10.0.0.0/8", "2001:db8::/32"];
    let mut policy =
        Policy::for_networks(networks.iter().map(|text| text.parse().unwrap()).collect());
    policy.capacity = Capacity { hosts, flows, recent: 1 << 14, dense };
    policy
}

/// Feeds `count` records within each of two seconds, then one record a year later; checks memory,
/// and that what is over costs nothing.
fn sweep(
    name: &str,
    policy: Policy,
    before: Option<u64>,
    count: u64,
    record: impl Fn(u64) -> FlowRecord,
) -> (Engine, Windows) {
    let most = bound(&policy.capacity);
    let mut engine = Engine::new(policy, 1, Dealing::ByHost, 7);
    let mut windows = Windows::default();
    let mut batch = Vec::with_capacity(4096);
    for window in 0..2 {
        for n in 0..count {
            let time = Timestamp(START + window * SECOND + n * (SECOND - 1) / count);
            batch.push(FlowRecord { time, seq: window * count + n, ..record(n) });
            if batch.len() == batch.capacity() {
                engine.ingest(&batch, &mut windows);
                batch.clear();
            }
        }
        engine.ingest(&batch, &mut windows);
        batch.clear();
    }
    engine.advance(Timestamp(START + 2 * SECOND), &mut windows);
    if let (Some(before), Some(now)) = (before, resident()) {
        let growth = now.saturating_sub(before);
        println!("{name}: {} MiB resident of {} allowed", growth / MIB, most / MIB);
        assert!(growth <= most, "{name}: {growth} bytes resident, {most} allowed");
    }
    assert_eq!(windows.incoming, 2 * count, "{name}: a packet was lost");
    let busy = windows.hosts.len();
    // Attacks and what is watched are over within a minute; then time jumps.
    let year = Timestamp(START + 31_536_000 * SECOND);
    engine.ingest(&[FlowRecord { time: year, ..record(0) }], &mut windows);
    engine.finish(&mut windows);
    let idle: Vec<usize> = windows.hosts.values().skip(busy).copied().collect();
    assert!(idle.len() <= 60, "{name}: {} windows in an idle year", idle.len());
    let (last, idle) = idle.split_last().unwrap();
    assert!(*last == 1 && idle.iter().all(|hosts| *hosts == 0), "{name}: {idle:?} {last}");
    (engine, windows)
}

/// A datagram to one host, from a source that no other number has: an odd factor is a bijection.
fn spoofed(n: u64) -> FlowRecord {
    FlowRecord {
        src: u128::from(0x8000_0000 | n.wrapping_mul(0x9e37_79b1) & 0x7fff_ffff),
        dst: 0x0a00_0001,
        protocol: protocol::UDP,
        bytes: 60,
        ..FlowRecord::default()
    }
}

fn sources(before: Option<u64>) {
    for flows in [1 << 18, 1 << 20] {
        let policy = policy(1 << 10, flows, 1 << 10);
        let (engine, windows) = sweep("16 million sources", policy, before, SOURCES, spoofed);
        // Thinned until they fit.
        let most = FlowSet::new(flows).most() as u64;
        let level = (0..32).find(|level| SOURCES >> level <= most).unwrap();
        let n = SOURCES as f64;
        let sigma = (((1u64 << level) as f64 - 1.0) * n).sqrt();
        // Tags have 32 bits: of n flows about n^2 / 2^33 meet another one.
        let met = n * n / 2f64.powi(33);
        let off = windows.flows as f64 - (n - met);
        println!("{} flows of {SOURCES}: {:+.2} standard errors", windows.flows, off / sigma);
        assert!(off.abs() <= 5.0 * sigma, "{} flows of {SOURCES}", windows.flows);
        assert_eq!(engine.stats().hosts_refused, 0);
    }
}

fn destinations(before: Option<u64>, name: &str, dense: u32, family: Family) {
    let hosts = 1 << 18;
    let to = |n: u64| {
        // Distinct within 24 bits: an odd factor.
        let low = n.wrapping_mul(0x9e37_79b1) & 0x00ff_ffff;
        let dst = match family {
            Family::V4 => Address::v4(0x0a00_0000 | low as u32),
            Family::V6 => Address::v6(0x2001_0db8 << 96 | u128::from(low) << 40 | u128::from(n)),
        };
        let src = if family == Family::V4 { 0xc633_6401 } else { 0x2a02_0001 << 96 };
        FlowRecord { src, dst: dst.bits, family, ..spoofed(n) }
    };
    let (engine, windows) = sweep(name, policy(hosts, 1 << 18, dense), before, DESTINATIONS, to);
    assert!(windows.hosts.values().take(2).all(|count| *count == hosts as usize));
    assert_eq!(engine.stats().hosts_refused, 2 * (DESTINATIONS - u64::from(hosts)), "{name}");
}

#[test]
fn sweeps_stay_within_their_bounds() {
    let before = resident();
    if before.is_none() {
        println!("no /proc/self/statm: the resident set is not checked");
    }
    sources(before);
    destinations(before, "1 million IPv4 hosts, dense", 1 << 24, Family::V4);
    destinations(before, "1 million IPv4 hosts, hashed", 1 << 10, Family::V4);
    destinations(before, "1 million IPv6 hosts", 1 << 10, Family::V6);
}
