//! Property-test strategies for streams of flow records: few or many hosts, every direction, both
//! IP versions, sampled or not, with bursts, gaps and equal times. Values shrink towards few, small
//! and early records.

use proptest::collection::{SizeRange, vec};
use proptest::prelude::*;
use tidewall_model::{
    Address, Family, FlowRecord, Forwarding, Fragment, Prefix, SamplingRate, TcpFlags, Timestamp,
    protocol,
};

/// Time of the first record: 2026-01-05 00:00:00 UTC.
pub const START: Timestamp = Timestamp(1_767_571_200_000_000_000);

/// How many hosts a stream has on each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Population {
    /// A handful: their counters grow large and cross limits.
    Few,
    /// Thousands: tables grow.
    Many,
}

impl Population {
    const fn hosts(self) -> u64 {
        match self {
            Self::Few => 4,
            Self::Many => 5_000,
        }
    }
}

/// The networks that streams take for ours: one nested in another, and both IP versions.
pub fn networks() -> Vec<Prefix> {
    let v4 = |bits, len| Prefix::containing(Address::v4(bits), len);
    let v6 = Prefix::containing(Address::v6(0x2001_0db8_0020 << 80), 48);
    vec![v4(0x0a14_0000, 16), v4(0x0a14_0500, 24), v4(0xc633_6400, 24), v6]
}

/// Records in order of time and `seq`, from [`START`] on.
pub fn stream(
    population: Population,
    length: impl Into<SizeRange>,
) -> impl Strategy<Value = Vec<FlowRecord>> {
    vec((gap(), shape(population)), length).prop_map(|shapes| {
        let mut time = START;
        let mut records = Vec::with_capacity(shapes.len());
        for ((gap_ns, record), seq) in shapes.into_iter().zip(0..) {
            time = Timestamp(time.0 + gap_ns);
            records.push(FlowRecord { time, seq, ..record });
        }
        records
    })
}

/// One record without time, of a few hosts.
pub fn record() -> impl Strategy<Value = FlowRecord> {
    shape(Population::Few)
}

/// Nanoseconds since the record before: mostly a busy link, sometimes a burst or a silence.
fn gap() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => Just(0),
        6 => 0..2_000u64,
        6 => 0..200_000u64,
        3 => 0..20_000_000u64,
        1 => 0..3_000_000_000u64,
    ]
}

fn shape(population: Population) -> impl Strategy<Value = FlowRecord> {
    let ends = (0..10u8, 0..population.hosts(), 0..population.hosts(), any::<bool>());
    let kind = (0..8u8, 0..4u16, 0..4u16, 0..64u16, 0..8u8);
    let size = (1..4u64, 40..1500u64, 0..4u8, 0..10u8);
    (ends, kind, size).prop_map(|((direction, ours, theirs, v6), kind, size)| {
        let mut record = FlowRecord {
            family: if v6 { Family::V6 } else { Family::V4 },
            ttl: 64,
            ..FlowRecord::default()
        };
        let (inside, outside) = (our_host(v6, ours), remote_host(v6, theirs));
        // Incoming is most common, then outgoing; internal and other traffic is rare.
        (record.src, record.dst) = match direction {
            0..=4 => (outside, inside),
            5..=7 => (inside, outside),
            8 => (our_host(v6, theirs), inside),
            _ => (outside, remote_host(v6, ours + 1)),
        };
        let (packets, length, sampling, forwarding) = size;
        record.packets = packets;
        record.bytes = packets * (length + if v6 { 20 } else { 0 });
        record.sampling = SamplingRate::new([1, 1, 10, 1000][usize::from(sampling)]);
        record.forwarding = match forwarding {
            0 => Forwarding::Dropped,
            1 => Forwarding::Forwarded,
            _ => Forwarding::Unknown,
        };
        set_kind(&mut record, kind);
        record
    })
}

fn our_host(v6: bool, n: u64) -> u128 {
    if v6 {
        return (0x2001_0db8_0020 << 80) | u128::from(n % 16) << 64 | u128::from(n);
    }
    // A quarter in 198.51.100.0/24, the rest in 10.20.0.0/16, some of them in 10.20.5.0/24.
    match n % 4 {
        0 => 0xc633_6400 | u128::from(n / 4 % 256),
        1 => 0x0a14_0500 | u128::from(n / 4 % 256),
        _ => 0x0a14_0000 | u128::from(n % 65_536),
    }
}

fn remote_host(v6: bool, n: u64) -> u128 {
    if v6 { (0x2a02_0001 << 96) | u128::from(n) } else { 0x2d40_0000 | u128::from(n % 65_536) }
}

/// Protocol, ports, flags and fragment state that fit together.
fn set_kind(record: &mut FlowRecord, kind: (u8, u16, u16, u16, u8)) {
    let (kind, from, to, flags, fragment) = kind;
    record.protocol = match kind {
        0..=2 => protocol::UDP,
        3..=5 => protocol::TCP,
        6 if record.family == Family::V4 => protocol::ICMP,
        6 => protocol::ICMPV6,
        _ => protocol::GRE,
    };
    record.fragment = match fragment {
        0 => Fragment::First,
        1 => Fragment::Later,
        _ => Fragment::Whole,
    };
    if record.fragment == Fragment::Later {
        return;
    }
    if matches!(record.protocol, protocol::UDP | protocol::TCP) {
        record.src_port = [53, 123, 443, 40_000][usize::from(from)];
        record.dst_port = [80, 443, 5_000, 50_000][usize::from(to)];
    }
    if record.is_icmp() {
        record.dst_port = 8 << 8;
    }
    if record.protocol == protocol::TCP {
        record.tcp_flags = TcpFlags(flags);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    #[test]
    fn streams_show_all_they_promise() {
        for (population, least, most) in
            [(Population::Few, 8, 20), (Population::Many, 3_000, 8_000)]
        {
            let mut runner = TestRunner::deterministic();
            let records = stream(population, 8_000).new_tree(&mut runner).unwrap().current();
            let ours = |a: Address| networks().iter().any(|n| n.contains(a));
            let has = |what: &dyn Fn(&FlowRecord) -> bool| {
                assert!(records.iter().any(what));
            };
            for (from_us, to_us) in [(false, true), (true, false), (true, true), (false, false)] {
                has(&|r| ours(r.src_address()) == from_us && ours(r.dst_address()) == to_us);
            }
            for rate in [1, 10, 1000] {
                has(&|r| r.sampling.get() == rate);
            }
            has(&|r| r.family == Family::V6);
            has(&|r| r.forwarding == Forwarding::Dropped);
            has(&|r| r.fragment == Fragment::Later && r.src_port == 0);
            assert!(records.windows(2).all(|w| w[0].time <= w[1].time && w[0].seq < w[1].seq));
            assert!(records.windows(2).any(|w| w[0].time == w[1].time));
            assert!(records.windows(2).any(|w| w[1].time.since(w[0].time).as_secs() >= 1));
            let hosts: std::collections::BTreeSet<_> = records.iter().map(|r| r.dst).collect();
            assert!((least..=most).contains(&hosts.len()), "{}", hosts.len());
        }
    }
}
