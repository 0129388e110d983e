//! NetFlow version 5.

use super::*;
use crate::{Protocols, SamplingOrigin, SamplingRule, SamplingUse};

/// Source, packets, bytes, first, last, protocol.
type Flow = (u8, u32, u32, u32, u32, u8);

fn v5(count: u16, sampling: u16, flows: &[Flow]) -> Vec<u8> {
    let mut datagram = words(&[5, count]);
    datagram.extend([UPTIME, EXPORTED, 0, 100].map(u32::to_be_bytes).concat());
    datagram.extend([1, 2]);
    datagram.extend(sampling.to_be_bytes());
    for &(source, packets, octets, first, last, protocol) in flows {
        datagram.extend([198, 51, 100, source, 10, 0, 0, 1, 192, 0, 2, 254, 0, 3, 0, 4]);
        datagram.extend([packets, octets, first, last].map(u32::to_be_bytes).concat());
        datagram.extend([0x04, 0x00, 0, 80, 0, 0x12, protocol, 0xb8]);
        datagram.extend([0xfd, 0xe8, 0xfd, 0xe9, 24, 24, 0, 0]);
    }
    datagram
}

const FLOW: Flow = (1, 3, 180, UPTIME - 9_000, UPTIME - 4_000, 6);

#[test]
fn t1_counts_that_cannot_be_are_refused_and_missing_records_counted() {
    let mut desk = Desk::new();
    assert_eq!(desk.take(&v5(0, 0, &[])), Err(DropReason::DatagramMalformed));
    assert_eq!(desk.take(&v5(31, 0, &[FLOW; 31])), Err(DropReason::DatagramMalformed));
    assert_eq!(desk.drops(DropReason::DatagramMalformed), 2);
    assert_eq!(desk.kept.flows.len(), 0);
    desk.take(&v5(30, 0, &[FLOW; 29])).unwrap();
    assert_eq!(desk.kept.flows.len(), 29);
    assert_eq!(desk.drops(DropReason::RecordMalformed), 1);
    assert_eq!(desk.take(&v5(1, 0, &[])[..23]), Err(DropReason::DatagramCut));
}

#[test]
fn t2_every_protocol_keeps_its_number() {
    let mut desk = Desk::new();
    let flow = |protocol| (1, 1, 100, 0, 0, protocol);
    desk.take(&v5(3, 0, &[flow(47), flow(50), flow(132)])).unwrap();
    let protocols: Vec<u8> = desk.flows().iter().map(|flow| flow.protocol).collect();
    assert_eq!(protocols, [47, 50, 132]);
    assert!(desk.flows().iter().all(|flow| flow.tcp_flags.0 == 0), "flags are TCP's");
}

#[test]
fn t3_the_sampling_word_in_both_readings() {
    let read = |word, sampling| {
        let settings = NetflowSettings { v5_word: word, ..NetflowSettings::default() };
        let mut desk = Desk::with(settings);
        desk.take(&v5(1, sampling, &[FLOW])).unwrap();
        desk.rates()[0]
    };
    assert_eq!(read(SamplingWord::ModeAndInterval, 0x4064), (100, "header"));
    assert_eq!(read(SamplingWord::ModeAndInterval, 0), (1, "assumed"));
    assert_eq!(read(SamplingWord::Interval, 0xc350), (50_000, "header"));
}

#[test]
fn t4_durations_are_modular_and_absurd_ones_clamped() {
    let mut desk = Desk::new();
    let wrapped = (1, 1, 100, 0xffff_f000, 0x1000, 17);
    let backwards = (1, 1, 100, 5_000, 4_000, 17);
    desk.take(&v5(2, 0, &[wrapped, backwards])).unwrap();
    let details: Vec<FlowDetail> = desk.kept.flows.iter().map(|flow| flow.1).collect();
    assert_eq!(details[0].duration_ms, 0x2000);
    assert_eq!(details[0].note, FlowNote::NONE);
    assert_eq!(details[1].duration_ms, 0);
    assert_eq!(details[1].note, FlowNote::CLAMPED);
    assert_eq!(details[1].start, details[1].end);
    // The first is more than half of the counter's range before the header's, the last less.
    let far = (1, 1, 100, UPTIME.wrapping_sub(0x8000_1000), UPTIME.wrapping_sub(0x7fff_f000), 17);
    desk.take(&v5(1, 0, &[far])).unwrap();
    let detail = desk.kept.flows[2].1;
    assert_eq!(detail.duration_ms, 0x2000);
    assert!(detail.start < detail.end);
}

#[test]
fn all_fields_of_a_record() {
    let mut desk = Desk::new();
    desk.take(&v5(1, 0, &[FLOW])).unwrap();
    let (record, detail) = desk.only();
    assert_eq!(record.time, desk.now);
    assert_eq!((record.src, record.dst), (address("198.51.100.1"), address("10.0.0.1")));
    assert_eq!((record.src_port, record.dst_port), (1024, 80));
    assert_eq!((record.packets, record.bytes, record.tcp_flags.0), (3, 180, 0x12));
    assert_eq!(detail.domain, 0x102);
    assert_eq!((detail.input_if, detail.output_if), (Some(3), Some(4)));
    assert_eq!((detail.src_as, detail.dst_as, detail.tos), (65_000, 65_001, 0xb8));
    assert_eq!(detail.next_hop, Some("192.0.2.254".parse().unwrap()));
    let export = u64::from(EXPORTED);
    assert_eq!(detail.start, Some(Timestamp::from_parts(export - 9, 0)));
    assert_eq!(detail.end, Some(Timestamp::from_parts(export - 4, 0)));
    assert_eq!(detail.duration_ms, 5_000);
}

#[test]
fn packets_and_bytes_of_zero() {
    let mut desk = Desk::new();
    desk.take(&v5(3, 0, &[(1, 0, 100, 0, 0, 6), (2, 5, 0, 0, 0, 6), (3, 0, 0, 0, 0, 6)])).unwrap();
    let counts: Vec<_> = desk.flows().iter().map(|flow| (flow.packets, flow.bytes)).collect();
    assert_eq!(counts, [(1, 100), (5, 0)]);
    assert_eq!(desk.kept.refused, [DropReason::RecordWithoutPackets]);
}

#[test]
fn the_configuration_overrides_the_header_and_stands_in_for_it() {
    let rule = |use_| SamplingRule {
        exporters: "192.0.2.0/24".parse().unwrap(),
        protocols: Protocols::ALL,
        rate: SamplingRate::new(500),
        when: use_,
    };
    let read = |when, sampling| {
        let sampling_rules = SamplingRules::new(vec![rule(when)]);
        let settings = NetflowSettings { sampling: sampling_rules, ..NetflowSettings::default() };
        let mut desk = Desk::with(settings);
        desk.take(&v5(1, sampling, &[FLOW])).unwrap();
        desk.rates()[0]
    };
    assert_eq!(read(SamplingUse::Override, 100), (500, SamplingOrigin::Override.name()));
    assert_eq!(read(SamplingUse::Fallback, 100), (100, SamplingOrigin::Header.name()));
    assert_eq!(read(SamplingUse::Fallback, 0), (500, SamplingOrigin::Fallback.name()));
}
