//! Tests of all three versions: what each structure means, what is refused, and that neither a cut
//! nor a damaged datagram does more than end early.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::cursor::Cut;

mod build;
mod hostile;
mod old;
mod records;

use build::{Bytes, datagram, flow_sample, frame, raw_record, record};

/// The samples of a datagram that has only good ones.
fn samples(data: &[u8]) -> Vec<Sample<'_>> {
    Datagram::parse(data).unwrap().samples().collect::<Result<_, _>>().unwrap()
}

/// The only sample of a datagram, a flow sample.
fn flow(data: &[u8]) -> FlowSample<'_> {
    match samples(data).pop() {
        Some(Sample::Flow(sample)) => sample,
        other => panic!("not a flow sample: {other:?}"),
    }
}

/// The only sample of a datagram, with the records given.
fn flow_with(records: &[Vec<u8>]) -> Vec<u8> {
    datagram(&[flow_sample(records)])
}

#[test]
fn the_header_with_either_address() {
    let mut data = datagram(&[flow_sample(&[])]);
    let parsed = Datagram::parse(&data).unwrap();
    assert_eq!(parsed.version, Version::V5);
    assert_eq!(parsed.agent, Some(IpAddr::from([192, 0, 2, 1])));
    assert_eq!((parsed.sub_agent, parsed.sequence), (3, 1000));
    assert_eq!((parsed.uptime_ms, parsed.sample_count), (123_456, 1));

    let v6 = "2001:db8::1".parse::<Ipv6Addr>().unwrap();
    data.splice(4..12, Bytes::new().word(2).bytes(&v6.octets()).done());
    let parsed = Datagram::parse(&data).unwrap();
    assert_eq!(parsed.agent, Some(IpAddr::from(v6)));
    assert_eq!((parsed.sub_agent, parsed.sample_count), (3, 1));

    data.splice(4..24, Bytes::new().word(0).done());
    let parsed = Datagram::parse(&data).unwrap();
    assert_eq!((parsed.agent, parsed.sequence), (None, 1000), "an address may be absent");
    assert!(matches!(parsed.samples().next(), Some(Ok(Sample::Flow(_)))));
}

#[test]
fn a_header_that_is_not_sflow() {
    let mut data = datagram(&[flow_sample(&[])]);
    data[7] = 3;
    assert_eq!(Datagram::parse(&data), Err(SflowError::AddressType { offset: 4, kind: 3 }));
    data[3] = 3;
    assert_eq!(Datagram::parse(&data), Err(SflowError::Version { version: 3 }));
    let cut = Cut { offset: 0, needed: 4, available: 3 };
    assert_eq!(Datagram::parse(&data[..3]), Err(SflowError::HeaderCut(cut)));
    assert_eq!(
        SflowError::HeaderCut(cut).to_string(),
        "sflow header cut: 4 bytes needed at 0, 3 there"
    );
}

#[test]
fn a_flow_sample() {
    let data = datagram(&[flow_sample(&[])]);
    let sample = flow(&data);
    assert_eq!(sample.sequence, 77);
    assert_eq!(sample.source, DataSource { class: 1, index: 0x0002_0304 });
    assert_eq!((sample.sampling_rate, sample.sample_pool, sample.drops), (1024, 78_848, 5));
    assert_eq!((sample.input, sample.output), (Interface::Index(10), Interface::Index(20)));
    assert_eq!(sample.records().count(), 0);
}

#[test]
fn an_expanded_flow_sample() {
    let body = Bytes::new()
        .words(&[77, 2, 0xfeed_beef, 512, 9999, 6])
        .words(&[0, 0x8000_0001, 2, 4, 1])
        .bytes(&raw_record(1, 64, 0, &frame()))
        .done();
    let data = datagram(&[record(3, &body)]);
    let sample = flow(&data);
    assert_eq!(sample.source, DataSource { class: 2, index: 0xfeed_beef });
    assert_eq!((sample.sampling_rate, sample.sample_pool, sample.drops), (512, 9999, 6));
    assert_eq!(sample.input, Interface::Index(0x8000_0001), "more than 24 or 30 bits");
    assert_eq!(sample.output, Interface::Multiple(4));
    assert_eq!(sample.records().count(), 1);
}

#[test]
fn interface_values() {
    let with_ports = |input, output| {
        let words = [77, 1, 1, 1, 0, input, output, 0];
        datagram(&[record(1, &Bytes::new().words(&words).done())])
    };
    let read = |word| {
        let data = with_ports(word, word);
        let sample = flow(&data);
        assert_eq!(sample.input, sample.output);
        sample.input
    };
    assert_eq!(read(0), Interface::Unknown);
    assert_eq!(read(0x3fff_fffe), Interface::Index(0x3fff_fffe));
    assert_eq!(read(0x3fff_ffff), Interface::Internal);
    assert_eq!(read(0x8000_0000), Interface::Multiple(0));
    assert_eq!(read(0x8000_0007), Interface::Multiple(7));
    assert_eq!(read(0xc000_0007), Interface::Reserved { format: 3, value: 7 });
    assert_eq!(read(5).index(), Some(5));
    assert_eq!(read(0x8000_0007).index(), None);
}

/// T35: discarded by the output port's format, and by a sample of its own; reasons are kept.
#[test]
fn discards_keep_their_reason() {
    let words = [77, 1, 1, 1, 0, 10, 0x4000_0102, 0];
    let data = datagram(&[record(1, &Bytes::new().words(&words).done())]);
    assert_eq!(flow(&data).output, Interface::Discarded(DiscardReason::ACL));
    let words = [77, 0, 1, 1, 1, 0, 0, 10, 1, 13, 0];
    let data = datagram(&[record(3, &Bytes::new().words(&words).done())]);
    assert_eq!(flow(&data).output, Interface::Discarded(DiscardReason(13)));

    let body = Bytes::new()
        .words(&[8, 0, 12, 3, 0, 0x3fff_ffff, 257, 1])
        .bytes(&raw_record(1, 64, 0, &frame()))
        .done();
    let data = datagram(&[record(5, &body)]);
    let Some(Sample::Discard(sample)) = samples(&data).pop() else { panic!("not a discard") };
    assert_eq!((sample.sequence, sample.drops), (8, 3));
    assert_eq!(sample.source, DataSource { class: 0, index: 12 });
    assert_eq!((sample.input, sample.output), (Interface::Unknown, Interface::Internal));
    assert_eq!(sample.reason, DiscardReason::TTL_EXCEEDED);
    let header = sample.records().next().unwrap().unwrap();
    assert!(matches!(header, FlowData::Header(raw) if raw.header == frame()));
}

#[test]
fn other_samples_are_passed_over() {
    let enterprise = Bytes::new().words(&[(4300 << 12) + 1002, 5]).bytes(&[1, 2, 3, 4, 5, 0, 0, 0]);
    let data = datagram(&[enterprise.done(), record(9, &[7; 4]), flow_sample(&[])]);
    let read = samples(&data);
    let format = DataFormat { enterprise: 4300, format: 1002 };
    assert_eq!(read[0], Sample::Other { format, data: &[1, 2, 3, 4, 5] });
    assert_eq!(read[1], Sample::Other { format: DataFormat::standard(9), data: &[7; 4] });
    assert!(matches!(read[2], Sample::Flow(_)));
}

#[test]
fn counter_samples() {
    let numbers: Vec<u32> = (1..=22).collect();
    let generic = record(1, &Bytes::new().words(&numbers).done());
    let ethernet = record(2, &[9; 52]);
    let compact = Bytes::new().words(&[7, 0x0100_0005, 2]).bytes(&generic).bytes(&ethernet).done();
    let expanded = Bytes::new().words(&[8, 3, 0x0100_0000, 1]).bytes(&generic).done();
    let data = datagram(&[record(2, &compact), record(4, &expanded)]);
    let read = samples(&data);
    let [Sample::Counters(first), Sample::Counters(second)] = &read[..] else {
        panic!("not counters: {read:?}")
    };
    assert_eq!((first.sequence, first.source), (7, DataSource { class: 1, index: 5 }));
    assert_eq!((second.sequence, second.source), (8, DataSource { class: 3, index: 0x0100_0000 }));
    let groups: Vec<_> = first.records().map(Result::unwrap).collect();
    assert_eq!(groups[0], CounterData::Interface(records::interface_counters()));
    let format = DataFormat::standard(2);
    assert_eq!(groups[1], CounterData::Other { format, data: &[9; 52] });
    assert_eq!(groups.len(), 2);
    assert_eq!(second.records().next(), Some(Ok(groups[0])));
}

#[test]
fn short_counters_are_an_error_and_the_next_group_is_read() {
    let body = Bytes::new()
        .words(&[7, 1, 2])
        .bytes(&record(1, &[0; 84]))
        .bytes(&record(2, &[9; 52]))
        .done();
    let data = datagram(&[record(2, &body)]);
    let Some(Sample::Counters(sample)) = samples(&data).pop() else { panic!("not counters") };
    let mut groups = sample.records();
    assert!(matches!(groups.next(), Some(Err(SflowError::RecordCut(_)))));
    assert!(matches!(groups.next(), Some(Ok(CounterData::Other { .. }))));
    assert_eq!(groups.next(), None);
}

/// T37: Brocade MLXe appends 20 bytes to the datagram, ICX6610 4 to a sample.
#[test]
fn trailing_bytes_are_reported() {
    for extra in [4, 20] {
        let mut data = flow_with(&[raw_record(1, 64, 0, &frame())]);
        data.extend(vec![0xee; extra]);
        let mut read = Datagram::parse(&data).unwrap().samples();
        assert!(matches!(read.next(), Some(Ok(Sample::Flow(_)))));
        assert_eq!((read.next(), read.lost(), read.trailing()), (None, 0, extra));

        let body = Bytes::new()
            .words(&[77, 1, 1024, 1, 0, 10, 20, 1])
            .bytes(&raw_record(1, 64, 0, &frame()))
            .bytes(&vec![0xee; extra])
            .done();
        let data = datagram(&[record(1, &body), flow_sample(&[])]);
        let read = samples(&data);
        let Sample::Flow(first) = &read[0] else { panic!("not a flow sample") };
        let mut records = first.records();
        assert!(matches!(records.next(), Some(Ok(FlowData::Header(_)))));
        assert_eq!((records.next(), records.trailing()), (None, extra));
        assert_eq!(read.len(), 2, "the sample behind is found");
    }
}
