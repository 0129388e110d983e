//! Datagrams of an sFlow agent.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidewall_model::{Forwarding, Fragment};
use tidewall_testkit::strategies::{Population, stream};
use tidewall_wire::sflow::{
    CounterData, Datagram, FlowData, FlowSample, Interface, InterfaceCounters, Sample,
};

use super::frame::seen;
use super::*;
use crate::{CounterBasis, RenderError, SflowPlan, SflowRenderer};

/// What an agent's datagrams say.
#[derive(Default)]
struct Read {
    records: Vec<FlowRecord>,
    counters: Vec<(u32, InterfaceCounters)>,
    pool: u32,
    /// Of the last datagram.
    uptime_ms: u32,
}

/// Reads all datagrams of one agent; numbers follow each other without a gap.
fn read(messages: &[(Timestamp, Vec<u8>)], plan: &SflowPlan) -> Read {
    let mut read = Read::default();
    for ((_, bytes), sequence) in messages.iter().zip(0..) {
        assert!(bytes.len() <= 1452, "{}", bytes.len());
        let datagram = Datagram::parse(bytes).unwrap();
        assert_eq!((datagram.agent, datagram.sub_agent), (Some(plan.agent), plan.sub_agent));
        assert_eq!(datagram.sequence, sequence);
        assert!(datagram.sample_count <= plan.samples);
        read.uptime_ms = datagram.uptime_ms;
        let mut samples = datagram.samples();
        for sample in samples.by_ref() {
            match sample.unwrap() {
                Sample::Flow(sample) => read.flow(&sample),
                Sample::Counters(sample) => {
                    for group in sample.records() {
                        let CounterData::Interface(counters) = group.unwrap() else { panic!() };
                        read.counters.push((sample.sequence, counters));
                    }
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(samples.trailing(), 0);
    }
    read
}

impl Read {
    fn flow(&mut self, sample: &FlowSample<'_>) {
        assert_eq!(sample.sequence, self.records.len() as u32 + 1);
        self.pool = self.pool.wrapping_add(sample.sampling_rate);
        assert_eq!((sample.sample_pool, sample.drops), (self.pool, 0));
        let Some(Ok(FlowData::Header(raw))) = sample.records().next() else { panic!() };
        let sampling = SamplingRate::new(sample.sampling_rate);
        let dropped = matches!(sample.output, Interface::Discarded(_));
        let forwarding = if dropped { Forwarding::Dropped } else { Forwarding::Unknown };
        let record = FlowRecord { sampling, forwarding, ..FlowRecord::default() };
        let record = seen(&record, raw.header);
        let tag = if record.vlan == 0 { 0 } else { 4 };
        assert_eq!(u64::from(raw.frame_length - raw.stripped), 14 + tag + record.bytes);
        self.records.push(record);
    }
}

/// What of a record a sample can say.
fn said(record: &FlowRecord) -> FlowRecord {
    let forwarding = match record.forwarding {
        Forwarding::Dropped => Forwarding::Dropped,
        _ => Forwarding::Unknown,
    };
    FlowRecord { time: Timestamp::ZERO, seq: 0, forwarding, ..*record }
}

#[test]
fn every_record_of_the_demo_is_a_sample() {
    let plan = SflowPlan { agent: IpAddr::from([10, 0, 0, 9]), ..SflowPlan::default() };
    let records = demo();
    let messages = messages(&mut SflowRenderer::new(&plan), &records);
    let read = read(&messages, &plan);
    assert_eq!(totals(&read.records), totals(&records));
    let said: Vec<_> = records.iter().map(said).collect();
    assert_eq!(read.records, said, "in their order, with all that a frame says");
    let full = messages.iter().filter(|(_, bytes)| bytes[27] == 7).count();
    assert!(full * 10 > messages.len() * 9, "{full} of {}", messages.len());
    let passed = records.last().unwrap().time.since(records[0].time).as_millis();
    assert_eq!(u128::from(read.uptime_ms), 3_600_000 + passed);
}

#[test]
fn samples_do_not_wait_longer_than_the_delay() {
    let plan = SflowPlan::default();
    let mut renderer = SflowRenderer::new(&plan);
    let record = FlowRecord { time: Timestamp(5), protocol: 6, bytes: 40, ..FlowRecord::default() };
    let mut sent = Vec::new();
    renderer.render(&record, &mut |time, _| sent.push(time)).unwrap();
    renderer.advance(Timestamp(100_000_004), &mut |time, _| sent.push(time));
    assert_eq!(sent, []);
    let later = FlowRecord { time: Timestamp(900_000_000), ..record };
    renderer.render(&later, &mut |time, _| sent.push(time)).unwrap();
    assert_eq!(sent, [Timestamp(100_000_005)]);
    renderer.finish(&mut |time, _| sent.push(time));
    assert_eq!(sent, [Timestamp(100_000_005), Timestamp(900_000_000)]);
}

#[test]
fn counters_agree_with_what_they_count() {
    let second = Duration::from_secs(1);
    let records = demo();
    let octets = |r: &FlowRecord| r.bytes + 18 + if r.vlan == 0 { 0 } else { 4 };
    let scaled: u64 = records.iter().map(|r| 50 * octets(r)).sum();

    let plan =
        SflowPlan { counters: Some((second, CounterBasis::Samples)), ..SflowPlan::default() };
    let by_samples = read(&messages(&mut SflowRenderer::new(&plan), &records), &plan);
    assert_eq!(by_samples.counters.len(), 20, "one each second and one at the end");
    let numbers: Vec<_> = by_samples.counters.iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    let (_, last) = by_samples.counters[19];
    assert_eq!((last.index, last.in_octets), (1, scaled));
    assert_eq!(last.in_unicast, 50 * records.len() as u32);
    assert_eq!(by_samples.records.len(), records.len());

    // Of the truth, every 50th packet is sampled.
    let scenario = Scenario::demo(20 * second, 4).unwrap();
    let truth: Vec<_> = Generator::new(&scenario).collect();
    let plan =
        SflowPlan { counters: Some((second, CounterBasis::Observed)), ..SflowPlan::default() };
    let mut renderer = SflowRenderer::new(&plan);
    let mut sent = Vec::new();
    let mut sink = |time, bytes: &[u8]| sent.push((time, bytes.to_vec()));
    for (record, n) in truth.iter().zip(1..) {
        renderer.observe(record);
        if n % 50 == 0 {
            let sampled = FlowRecord { sampling: SamplingRate::new(50), ..*record };
            renderer.render(&sampled, &mut sink).unwrap();
        }
    }
    renderer.finish(&mut sink);
    let read = read(&sent, &plan);
    let (_, last) = *read.counters.last().unwrap();
    assert_eq!(last.in_octets, truth.iter().map(octets).sum());
    assert_eq!(u64::from(last.in_unicast), truth.len() as u64);
    let scaled: u64 = read.records.iter().map(|r| 50 * octets(r)).sum();
    let error = scaled as f64 / last.in_octets as f64 - 1.0;
    assert!(error.abs() < 0.02 && error != 0.0, "samples agree with the counters: {error}");
}

#[test]
fn long_headers_and_many_samples_stay_within_a_datagram() {
    let plan = SflowPlan { samples: 200, header_bytes: 4000, ..SflowPlan::default() };
    let records: Vec<_> = (0..100)
        .map(|n| FlowRecord {
            time: Timestamp(n),
            protocol: 17,
            bytes: 28 + 40 * n % 9000,
            src_port: n as u16,
            fragment: Fragment::Whole,
            ..FlowRecord::default()
        })
        .collect();
    let read = read(&messages(&mut SflowRenderer::new(&plan), &records), &plan);
    assert_eq!(totals(&read.records), totals(&records));
}

#[test]
fn a_sample_is_one_packet() {
    let mut renderer = SflowRenderer::new(&SflowPlan::default());
    let record = FlowRecord { packets: 3, bytes: 120, protocol: 6, ..FlowRecord::default() };
    let refused = renderer.render(&record, &mut |_, _| panic!("sent"));
    assert_eq!(refused, Err(RenderError::SeveralPackets { packets: 3 }));
    let none = renderer.render(&FlowRecord { packets: 0, ..record }, &mut |_, _| panic!("sent"));
    assert_eq!(none, Err(RenderError::NoPackets));
    renderer.finish(&mut |_, _| panic!("nothing was rendered"));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, rng_seed: RngSeed::Fixed(11), ..ProptestConfig::default()
    })]

    #[test]
    fn any_stream_adds_up(records in stream(Population::Few, 0..200), v6: bool) {
        let records = single_packets(records);
        let agent = if v6 { IpAddr::from([7; 16]) } else { IpAddr::from([7; 4]) };
        let plan = SflowPlan { agent, ..SflowPlan::default() };
        let read = read(&messages(&mut SflowRenderer::new(&plan), &records), &plan);
        prop_assert_eq!(totals(&read.records), totals(&records));
    }
}
