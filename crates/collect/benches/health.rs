//! What an exporter's health costs for each datagram and sample, and what spreading costs for each
//! piece.

use std::time::Duration;

use tidewall_collect::{ExporterHealth, SamplingOrigin, Spreader};
use tidewall_model::{FlowRecord, SamplingRate, Timestamp};
use tidewall_testkit::bench::Bench;

const DATAGRAMS: u32 = 1000;
const SAMPLES: u32 = 1024;

fn main() {
    let mut bench = Bench::new("health");
    datagrams(&mut bench);
    samples(&mut bench);
    pieces(&mut bench);
}

/// All that a NetFlow or IPFIX datagram tells.
fn datagrams(bench: &mut Bench) {
    let start = Timestamp::from_parts(1_800_000_000, 0);
    let mut health = ExporterHealth::new(start);
    let (mut n, mut number) = (0_u64, 0_u32);
    bench.aim(40.0).note("header, sequence, flows, sampling, duration").run(
        "datagram",
        "ns/datagram",
        u64::from(DATAGRAMS),
        || {
            for _ in 0..DATAGRAMS {
                let now = start + Duration::from_millis(n);
                health.datagram(now, Some(now), Some(n as u32));
                health.sequence(number, Some(20));
                health.flows(20);
                health.sampling(SamplingRate::new(1000), SamplingOrigin::Exporter, now);
                health.longest_flow(Duration::from_secs(n % 60));
                n += 1;
                number = number.wrapping_add(20);
            }
            std::hint::black_box(&health);
        },
    );
}

/// Samples of an agent with 48 interfaces that sends their counters.
fn samples(bench: &mut Bench) {
    let start = Timestamp::from_parts(1_800_000_000, 0);
    let mut health = ExporterHealth::new(start);
    for _ in 0..1000 {
        health.datagram(start, None, None);
    }
    for index in 0..48 {
        health.interface_counters(1000 + index, 0, 0, 0, 0, 0, start);
    }
    // A datagram's samples mostly come from one source.
    let interfaces: Vec<(u32, u32)> =
        (0..SAMPLES).map(|n| (1000 + n / 7 % 48, 1000 + n.wrapping_mul(7919) % 48)).collect();
    bench.aim(3.0).note("in and out of 48 interfaces").run(
        "sample",
        "ns/sample",
        u64::from(SAMPLES),
        || {
            for &(input, output) in &interfaces {
                health.sampled(input, Some(input), Some(output), 1_000_000, 1000);
            }
            std::hint::black_box(&health);
        },
    );
    let mut pool = 0;
    bench.note("drops, pool and rate of 48 sources").run(
        "agent",
        "ns/sample",
        u64::from(SAMPLES),
        || {
            for (source, _) in &interfaces {
                pool += 20;
                health.agent_drops(*source, 1, 0, pool, 1000);
            }
            std::hint::black_box(&health);
        },
    );
}

/// A second of a spreader with 65 536 flows of 60 packets in 60 s, renewed as they end.
fn pieces(bench: &mut Bench) {
    const FLOWS: u64 = 65_536;
    let mut now = Timestamp::from_parts(1_800_000_000, 0);
    let mut spreader = Spreader::new(Duration::from_mins(5), Spreader::CAPACITY);
    let mut out = Vec::with_capacity(2 * FLOWS as usize);
    let mut seq = 0;
    let mut second = move || {
        for _ in 0..10 {
            for _ in 0..FLOWS / 600 {
                let record = FlowRecord {
                    time: now,
                    seq,
                    packets: 60,
                    bytes: 60_000,
                    ..FlowRecord::default()
                };
                spreader.push(record, Duration::from_mins(1), &mut out);
                seq += 1;
            }
            now = now + Duration::from_millis(100);
            while spreader.advance(now, &mut out) {}
        }
        let paid = out.len();
        out.clear();
        std::hint::black_box(paid)
    };
    for _ in 0..61 {
        second();
    }
    bench.note("65 536 flows alive").run("spread", "ns/piece", FLOWS, second);
}
