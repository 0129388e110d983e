//! What must be refused, and what must not harm.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;

use super::build::old_datagram;
use super::*;

/// Reads everything that can be read, and checks what iterators promise. Returns the good samples.
fn exhaust(data: &[u8]) -> Vec<Sample<'_>> {
    let Ok(datagram) = Datagram::parse(data) else { return Vec::new() };
    let mut good = Vec::new();
    let mut items = 0;
    let mut iterator = datagram.samples();
    loop {
        let mut quick = iterator.clone();
        let flow = quick.next_flow();
        let Some(sample) = iterator.next() else { break };
        items += 1;
        if let Some(flow) = flow {
            assert_eq!((sample.as_ref(), &quick), (Ok(&Sample::Flow(flow)), &iterator));
        }
        let Ok(sample) = sample else { continue };
        match &sample {
            Sample::Flow(flow) => exhaust_flow(flow.records(), data),
            Sample::Discard(discard) => exhaust_flow(discard.records(), data),
            Sample::Counters(counters) => {
                let mut records = counters.records();
                assert!(records.by_ref().count() <= MAX_RECORDS as usize);
                assert!(records.trailing() <= data.len());
            }
            Sample::Other { data: body, .. } => assert!(body.len() <= data.len()),
        }
        good.push(sample);
    }
    assert_eq!(items + iterator.lost(), datagram.sample_count);
    assert!(iterator.next().is_none());
    assert!(iterator.trailing() <= data.len());
    good
}

fn exhaust_flow(mut records: FlowRecords<'_>, data: &[u8]) {
    let mut items = 0;
    let mut switches = records.clone();
    loop {
        let mut quick = records.clone();
        let header = quick.next_header();
        let Some(record) = records.next() else { break };
        items += 1;
        if let Some(raw) = header {
            assert_eq!((record, &quick), (Ok(FlowData::Header(raw)), &records));
        }
        if matches!(record, Ok(FlowData::Switch(_))) {
            assert_eq!(
                switches.next_switch().map(|one| one.map(FlowData::Switch)),
                record.map(Some)
            );
        }
        match record {
            Ok(FlowData::Header(raw)) => assert!(raw.header.len() <= data.len()),
            Ok(FlowData::Gateway(gateway)) => {
                let members: usize =
                    gateway.destination_path.segments().map(|one| one.members.len()).sum();
                assert!((members + gateway.communities.len()) * 4 <= data.len());
                assert_eq!(gateway.destination_as().is_some(), {
                    gateway
                        .destination_path
                        .segments()
                        .last()
                        .is_some_and(|s| !s.members.is_empty())
                });
            }
            _ => {}
        }
    }
    assert!(items <= MAX_RECORDS + 1);
    assert!(records.next().is_none());
    assert!(records.trailing() <= data.len());
}

/// One of each sample, with one of each record.
fn everything() -> Vec<u8> {
    let gateway = Bytes::new()
        .words(&[1, 0xc000_0201, 64_500, 64_501, 64_502])
        .words(&[2, 2, 2, 65_001, 65_002, 1, 1, 65_003, 1, 77, 120]);
    let records = [
        raw_record(1, 1518, 4, &frame()[..57]),
        record(2, &[1; 24]),
        record(3, &[2; 32]),
        record(4, &[3; 56]),
        record(1001, &[4; 16]),
        record(1002, &Bytes::new().words(&[1, 0xc000_0201, 24, 16]).done()),
        record(1003, &gateway.done()),
        record(1012, &[5; 8]),
    ];
    let expanded = Bytes::new()
        .words(&[77, 2, 9, 512, 9999, 6, 0, 1, 2, 4, records.len() as u32])
        .bytes(&records.concat());
    let counters = Bytes::new().words(&[7, 5, 1]).bytes(&record(1, &[6; 88]));
    let discard = Bytes::new().words(&[8, 0, 12, 3, 0, 1, 257, 1]).bytes(&raw_record(
        11,
        64,
        0,
        &frame()[18..],
    ));
    datagram(&[
        flow_sample(&records),
        record(2, &counters.done()),
        record(3, &expanded.done()),
        record(5, &discard.done()),
        record(4000, &[7; 12]),
    ])
}

/// The same for version 2 or 4.
fn everything_old(version: u32) -> Vec<u8> {
    let gateway = Bytes::new().words(&[3, 64_500, 64_501, 64_502, 0]);
    let gateway = if version == 4 { gateway.words(&[0, 120]) } else { gateway };
    let flow = Bytes::new()
        .words(&[1, 77, 5, 400, 31_000, 5, 10, 20, 1, 1, 1518])
        .opaque(&frame()[..53])
        .words(&[3, 1, 100, 1, 200, 2, 4])
        .opaque(b"alice")
        .opaque(b"bob")
        .bytes(&gateway.done());
    let counters = Bytes::new().words(&[2, 9, 5, 30, 2]).bytes(&[8; 140]);
    let (flow, counters) = (flow.done(), counters.done());
    old_datagram(version, &[flow.clone(), counters, flow])
}

/// One good datagram of each version.
fn whole(which: usize) -> Vec<u8> {
    match which {
        0 => everything(),
        1 => everything_old(2),
        _ => everything_old(4),
    }
}

#[test]
fn the_samples_below_are_all_good() {
    for (data, count) in [(everything(), 5), (everything_old(2), 3), (everything_old(4), 3)] {
        assert_eq!(exhaust(&data).len(), count);
        let errors = samples(&data)
            .iter()
            .filter_map(|sample| if let Sample::Flow(flow) = sample { Some(flow) } else { None })
            .flat_map(FlowSample::records)
            .filter(Result::is_err)
            .count();
        assert_eq!(errors, 0);
    }
}

/// What the readers without an enum around the usual samples must not leave to `next`.
#[test]
fn the_usual_samples_are_read_quickly() {
    let data = everything();
    let mut samples = Datagram::parse(&data).unwrap().samples();
    let mut records = samples.next_flow().unwrap().records();
    assert_eq!(records.next_header().unwrap().frame_length, 1518);
    assert_eq!(records.left(), 7);
    assert_eq!(records.next_header(), None, "an Ethernet record");
    assert_eq!(records.next_switch().unwrap().unwrap().src_vlan, 0x0404_0404);
    assert_eq!((records.next_switch(), records.left()), (Ok(None), 0));
    assert_eq!(samples.next_flow(), None, "counters");
    assert_eq!(samples.count(), 4);

    let data = everything_old(4);
    let mut samples = Datagram::parse(&data).unwrap().samples();
    assert_eq!(samples.next_flow(), None);
    let Some(Ok(Sample::Flow(flow))) = samples.next() else { panic!("not a flow sample") };
    assert_eq!(flow.records().next_header(), None);
    assert_eq!(flow.records().next_switch().unwrap().unwrap().src_vlan, 100);
}

/// T30: sample counts that are refused.
#[test]
fn absurd_sample_counts() {
    for count in [0, 257, u32::MAX] {
        let mut data = datagram(&[flow_sample(&[])]);
        data[24..28].copy_from_slice(&count.to_be_bytes());
        let error = SflowError::SampleCount { offset: 24, count, limit: 256 };
        assert_eq!(Datagram::parse(&data), Err(error));
    }
    let mut data = datagram(&[flow_sample(&[])]);
    data[24..28].copy_from_slice(&256_u32.to_be_bytes());
    let mut read = Datagram::parse(&data).unwrap().samples();
    assert!(matches!(read.next(), Some(Ok(Sample::Flow(_)))), "what is there is read");
    assert!(matches!(read.next(), Some(Err(SflowError::SampleCut(_)))));
    assert_eq!((read.next(), read.lost()), (None, 254));
}

/// T30: record counts and lengths that are refused; the sample behind is read.
#[test]
fn absurd_records() {
    for count in [257, u32::MAX] {
        let words = [77, 1, 1, 1, 0, 10, 20, count];
        let bad = record(1, &Bytes::new().words(&words).done());
        let data = datagram(&[bad, flow_sample(&[])]);
        let mut read = Datagram::parse(&data).unwrap().samples();
        let error = SflowError::RecordCount { offset: 64, count, limit: 256 };
        assert_eq!(read.next(), Some(Err(error)));
        assert!(matches!(read.next(), Some(Ok(Sample::Flow(_)))));
        assert_eq!((read.next(), read.lost()), (None, 0));
    }
    // The record's header is at 68; 56 bytes are behind it.
    for length in [57, u32::MAX] {
        let mut raw = raw_record(1, 64, 0, &frame()[..40]);
        raw[4..8].copy_from_slice(&length.to_be_bytes());
        let data = datagram(&[flow_sample(&[raw]), flow_sample(&[])]);
        let read = samples(&data);
        let Sample::Flow(first) = &read[0] else { panic!("not a flow sample") };
        let mut records = first.records();
        let cut = Cut { offset: 76, needed: length, available: 56 };
        assert_eq!(records.next(), Some(Err(SflowError::RecordCut(cut))));
        assert_eq!((records.next(), records.trailing()), (None, 0));
        assert!(matches!(read[1], Sample::Flow(_)));
    }
}

#[test]
fn a_record_past_its_sample_ends_the_sample() {
    let mut bad = raw_record(1, 64, 0, &frame());
    bad[4..8].copy_from_slice(&4096_u32.to_be_bytes());
    let data = flow_with(&[raw_record(1, 64, 0, &frame()), bad, raw_record(1, 64, 0, &frame())]);
    let found: Vec<_> = flow(&data).records().collect();
    assert!(matches!(found[..], [Ok(FlowData::Header(_)), Err(SflowError::RecordCut(_))]));
}

#[test]
fn a_sample_past_the_end() {
    let mut bad = flow_sample(&[]);
    bad[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    let data = datagram(&[flow_sample(&[]), bad, flow_sample(&[])]);
    let mut read = Datagram::parse(&data).unwrap().samples();
    assert!(matches!(read.next(), Some(Ok(Sample::Flow(_)))));
    let cut = Cut { offset: 76, needed: u32::MAX, available: 72 };
    assert_eq!(read.next(), Some(Err(SflowError::SampleCut(cut))));
    assert_eq!((read.next(), read.lost(), read.trailing()), (None, 1, 0));
}

#[test]
fn a_sample_shorter_than_its_fields() {
    for (format, fields) in [(1, 32), (2, 12), (3, 44), (4, 16), (5, 32)] {
        for length in (0..fields).step_by(4) {
            let data = datagram(&[record(format, &vec![0; length]), flow_sample(&[])]);
            let mut read = Datagram::parse(&data).unwrap().samples();
            assert!(matches!(read.next(), Some(Err(SflowError::SampleCut(_)))));
            assert!(matches!(read.next(), Some(Ok(Sample::Flow(_)))));
        }
        let data = datagram(&[record(format, &vec![0; fields])]);
        assert_eq!(samples(&data).len(), 1);
    }
}

/// T31: a raw header record of 15 bytes, and one that says it holds more than it does.
#[test]
fn raw_headers_that_lie() {
    let short = record(1, &[0; 15]);
    let long = record(1, &Bytes::new().words(&[1, 1500, 0, 9]).bytes(&[0; 8]).done());
    let exact = record(1, &Bytes::new().words(&[1, 1500, 0, 8]).bytes(&[6; 8]).done());
    let data = flow_with(&[short, long, exact]);
    let mut records = flow(&data).records();
    let cut = Cut { offset: 76, needed: 16, available: 15 };
    assert_eq!(records.next(), Some(Err(SflowError::RecordCut(cut))));
    let cut = Cut { offset: 116, needed: 9, available: 8 };
    assert_eq!(records.next(), Some(Err(SflowError::RecordCut(cut))));
    assert!(matches!(records.next(), Some(Ok(FlowData::Header(raw))) if raw.header == [6; 8]));
    assert_eq!(records.next(), None);
}

#[test]
fn a_gateway_whose_counts_lie() {
    let front = [0, 64_500, 64_501, 64_502];
    let lies: [&[u32]; 4] = [
        &[u32::MAX, 2, 1, 65_001],
        &[1, 2, u32::MAX, 65_001],
        &[0, u32::MAX, 1],
        &[0, 0x4000_0001, 1, 2], // times four is 4 in 32 bits
    ];
    for lie in lies {
        let body = Bytes::new().words(&front).words(lie).done();
        let data = flow_with(&[record(1003, &body), raw_record(1, 64, 0, &frame())]);
        let mut records = flow(&data).records();
        assert!(matches!(records.next(), Some(Err(SflowError::RecordCut(_)))));
        assert!(matches!(records.next(), Some(Ok(FlowData::Header(_)))));
    }
}

#[test]
fn cut_anywhere_gives_a_prefix() {
    for data in (0..3).map(whole) {
        let all = exhaust(&data);
        let mut longest = 0;
        for end in 0..data.len() {
            let found = exhaust(&data[..end]);
            assert_eq!(found, all[..found.len()], "cut at {end}");
            assert!(found.len() >= longest, "more bytes, no fewer samples");
            longest = found.len();
        }
        assert_eq!(longest, all.len() - 1);
    }
}

fn config() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x7366_6c6f_7700);
    ProptestConfig { rng_seed, failure_persistence: None, cases: 2048, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn noise_does_no_harm(
        version in prop_oneof![Just(2_u8), Just(4), Just(5)],
        count in 1_u8..9,
        mut data in prop::collection::vec(any::<u8>(), 28..400),
    ) {
        data[..8].copy_from_slice(&[0, 0, 0, version, 0, 0, 0, 1]);
        let at = if version == 5 { 24 } else { 20 };
        data[at..at + 4].copy_from_slice(&[0, 0, 0, count]);
        exhaust(&data);
    }

    #[test]
    fn damaged_bytes_do_no_harm(
        which in 0..3_usize,
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        cut in any::<Index>(),
    ) {
        let mut data = whole(which);
        for (at, value) in changes {
            let at = at.index(data.len());
            data[at] = value;
        }
        exhaust(&data);
        exhaust(&data[..cut.index(data.len())]);
    }

    #[test]
    fn damaged_words_do_no_harm(
        which in 0..3_usize,
        at in any::<Index>(),
        value in prop_oneof![
            0..12_u32,
            250..260_u32,
            Just(0x4000_0000),
            Just(0x7fff_ffff),
            Just(u32::MAX),
        ],
    ) {
        let mut data = whole(which);
        let at = at.index(data.len() / 4) * 4;
        data[at..at + 4].copy_from_slice(&value.to_be_bytes());
        exhaust(&data);
    }
}
