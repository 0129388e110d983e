//! What each record of a sample adds to the packet.

use tidewall_wire::frame::LinkType;

use super::*;
use crate::SampledHeader;

/// The only flow of a sample with these records.
fn of(records: &[Vec<u8>]) -> (FlowRecord, FlowDetail) {
    flow(&datagram(&[flow_sample(records)]))
}

/// T32, and the other protocols that carry IP.
#[test]
fn headers_of_every_protocol_that_carries_ip() {
    let v6 = |bytes| FlowRecord {
        src: 0x2001_0db8 << 96 | 1,
        dst: 0x2001_0db8 << 96 | 2,
        family: Family::V6,
        bytes,
        link_bytes: 0,
        ..expected()
    };
    let labelled = [&[0x00, 0x01, 0x01, 64][..], &ipv4()].concat();
    let ppp = [&[0x00, 0x57][..], &ipv6()].concat();
    let hdlc = [&[0xff, 0x03, 0x00, 0x21][..], &ipv4()].concat();
    for (protocol, bytes, record) in [
        (11, ipv4(), FlowRecord { bytes: 1500, link_bytes: 0, ..expected() }),
        (12, ipv6(), v6(1500)),
        (13, labelled, FlowRecord { bytes: 1500, link_bytes: 0, ..expected() }),
        (7, ppp, v6(1500)),
        (14, hdlc, FlowRecord { bytes: 1500, link_bytes: 0, ..expected() }),
    ] {
        let (found, detail) = of(&[header(protocol, 1500, 0, &bytes)]);
        assert_eq!(found, record, "header protocol {protocol}");
        assert_eq!((detail.mac, detail.tos), (None, 0x28), "header protocol {protocol}");
    }
    let unknown = refused(&[flow_sample(&[header(6, 1500, 0, &ipv4())])]);
    assert_eq!(unknown, DropReason::UnknownLinkType);
}

/// Keeps the header in front of each record.
#[derive(Default)]
struct Headers<const DETAIL: bool> {
    waiting: Option<(FlowRecord, LinkType, u32, Vec<u8>)>,
    kept: Vec<(LinkType, u32, Vec<u8>)>,
    without: usize,
}

impl<const DETAIL: bool> FlowSink for Headers<DETAIL> {
    const DETAIL: bool = DETAIL;

    fn header(&mut self, record: &FlowRecord, header: &SampledHeader<'_>) {
        let SampledHeader { link, wire_length, bytes } = *header;
        assert!(self.waiting.replace((*record, link, wire_length, bytes.to_vec())).is_none());
    }

    fn flow(&mut self, record: &FlowRecord, _: &FlowDetail) {
        match self.waiting.take() {
            Some((of, link, wire_length, bytes)) => {
                assert_eq!(of, *record);
                self.kept.push((link, wire_length, bytes));
            }
            None => self.without += 1,
        }
    }
}

#[test]
fn headers_are_given_in_front_of_their_records() {
    fn of<const DETAIL: bool>(data: &[u8]) -> (Vec<(LinkType, u32, Vec<u8>)>, usize) {
        let mut sink = Headers::<DETAIL>::default();
        SflowCollector::new(SflowSettings::default()).decode(&sent(data), &mut sink).unwrap();
        assert!(sink.waiting.is_none());
        (sink.kept, sink.without)
    }
    let arp = [&[2; 12][..], &[8, 6], &[0; 28]].concat();
    let samples = [
        flow_sample(&[header(1, 1518, 4, &frame())]),
        flow_sample(&[ethernet_header(&arp)]),
        flow_sample(&[ipv4_record()]),
        // Behind a record that is no header, and of unknown length.
        flow_sample(&[switch(300, 0), header(11, 0, 0, &ipv4())]),
    ];
    let expected =
        vec![(LinkType::ETHERNET, 1518, frame()), (LinkType::IPV4, ipv4().len() as u32, ipv4())];
    let data = datagram(&samples);
    assert_eq!(of::<false>(&data), (expected.clone(), 1));
    assert_eq!(of::<true>(&data), (expected, 1));
}

/// T33: agents that send fields instead of headers.
#[test]
fn fields_instead_of_a_header() {
    let (record, detail) = of(&[ethernet_record(1418), ipv4_record(), switch(300, 0)]);
    let expected = FlowRecord {
        time: Timestamp(5),
        src: 0xc000_0201,
        dst: 0xc633_6407,
        bytes: 1418,
        link_bytes: 18,
        sampling: SamplingRate::new(512),
        src_port: 53,
        dst_port: 40_000,
        protocol: 17,
        vlan: 300,
        ..FlowRecord::default()
    };
    assert_eq!(record, expected);
    assert_eq!((detail.mac, detail.tos), (Some(([4; 6], [2; 6])), 0x28));
    assert!(!detail.note.has(FlowNote::PACKET));

    let (record, _) = of(&[ipv6_record()]);
    assert_eq!((record.family, record.src & 0xff, record.dst & 0xff), (Family::V6, 1, 2));
    assert_eq!((record.src_port, record.protocol, record.bytes), (443, 6, 60));
    assert_eq!(record.tcp_flags, TcpFlags(TcpFlags::SYN));
    assert_eq!(refused(&[flow_sample(&[ethernet_record(64)])]), DropReason::SampleWithoutPacket);
    assert_eq!(refused(&[flow_sample(&[])]), DropReason::SampleWithoutPacket);
}

/// A header beats fields, wherever they are; of several headers the first that can be read counts,
/// and it counts once.
#[test]
fn one_sample_is_one_packet() {
    let good = || header(1, 1518, 4, &frame());
    let (record, _) = of(&[ipv4_record(), ethernet_record(64), good()]);
    assert_eq!(record, expected());
    let other = || header(11, 1500, 0, &ipv4());
    assert_eq!(of(&[good(), other()]).0, expected());
    assert_eq!(of(&[other(), good()]).0.bytes, 1500);
    let arp = [&[2; 12][..], &[8, 6], &[0; 28]].concat();
    assert_eq!(of(&[ethernet_header(&arp), good()]).0, expected());
    let (record, _) = of(&[header(1, 1414, 4, &frame()[..20]), ipv4_record()]);
    assert_eq!((record.src, record.bytes), (0xc000_0201, 1400));
    assert_eq!(refused(&[flow_sample(&[ethernet_header(&arp)])]), DropReason::NotIp);
    let cut = refused(&[flow_sample(&[header(1, 1518, 4, &frame()[..20])])]);
    assert_eq!(cut, DropReason::IpHeaderCut);
}

#[test]
fn the_vlan_of_the_header_or_of_the_switch() {
    let untagged = || header(1, 1518, 4, &frame());
    let tagged = || header(1, 1522, 4, &tagged_frame());
    assert_eq!(of(&[tagged(), switch(300, 400)]).0.vlan, 100);
    assert_eq!(of(&[untagged(), switch(300, 400)]).0.vlan, 300);
    assert_eq!(of(&[switch(300, 400), untagged()]).0.vlan, 300);
    assert_eq!(of(&[untagged(), switch(0, 400)]).0.vlan, 0);
    assert_eq!(of(&[untagged(), switch(u32::MAX, 400)]).0.vlan, 0);
    let priority = [&[2; 6][..], &[4; 6], &[0x81, 0, 0xe0, 0, 8, 0], &ipv4()].concat();
    let (record, _) = of(&[header(1, 1522, 4, &priority), switch(300, 400)]);
    assert_eq!(record.vlan, 0, "a priority tag says: no VLAN");
}

/// T34: each AS number from its own words; zero and nothing stand for the agent's own AS.
#[test]
fn routes_and_systems() {
    let router = || tagged(1002, &words(&[1, 0xc000_02fe, 24, 16]));
    let gateway = |next_hop: u32, source: u32, path: &[u32]| {
        let front = [1, next_hop, 64_500, source, 65_010];
        tagged(1003, &words(&[&front[..], path, &[0, 100]].concat()))
    };
    let path = [1, 2, 3, 65_001, 65_002, 65_003];
    let good = || header(1, 1518, 4, &frame());
    let (record, detail) = of(&[good(), gateway(0xc000_02fd, 65_009, &path)]);
    assert_eq!(record, expected());
    assert_eq!((detail.src_as, detail.dst_as), (65_009, 65_003));
    assert_eq!(detail.next_hop, Some(IpAddr::from([192, 0, 2, 253])));
    for records in [
        [good(), router(), gateway(0xc000_02fd, 0, &[0])],
        [good(), gateway(0xc000_02fd, 0, &[0]), router()],
        [router(), gateway(0xc000_02fd, 0, &[0]), good()],
    ] {
        let (_, detail) = of(&records);
        assert_eq!((detail.src_as, detail.dst_as), (64_500, 64_500));
        assert_eq!(detail.next_hop, Some(IpAddr::from([192, 0, 2, 254])), "the router's own");
    }
    let (_, detail) = of(&[good()]);
    assert_eq!((detail.src_as, detail.dst_as, detail.next_hop), (0, 0, None));
}

/// T35: a flow sample of a packet that was discarded is traffic; a notification of one is not.
#[test]
fn discarded_packets() {
    let records = || vec![header(1, 1518, 4, &frame())];
    let sample = flow_sample_with(512, 0x4000_0102, &records());
    let (collector, seen) = decode(&datagram(&[sample]));
    let [(record, detail)] = seen.flows[..] else { panic!("not one flow") };
    assert_eq!(record, FlowRecord { forwarding: Forwarding::Dropped, ..expected() });
    assert!(detail.note.has(FlowNote::DROPPED) && detail.note.has(FlowNote::PACKET));
    assert_eq!((detail.input_if, detail.output_if), (Some(3), None));
    assert_eq!(collector.drops().total(), 0);
    assert_eq!(seen.remarks, [(RemarkKind::Discard, "discarded: access list".to_owned())]);

    let (collector, seen) = decode(&datagram(&[discard_sample(257, &records())]));
    assert!(seen.flows.is_empty());
    let [(reason, record, detail)] = seen.refused[..] else { panic!("not one refused") };
    assert_eq!(reason, DropReason::DiscardNotification);
    assert_eq!(collector.drops().get(reason), 1);
    let forwarding = Forwarding::Dropped;
    assert_eq!(record, FlowRecord { forwarding, sampling: SamplingRate::ONE, ..expected() });
    assert!(detail.note.has(FlowNote::DROPPED));
    assert_eq!((detail.input_if, detail.output_if), (Some(3), Some(4)));
    assert_eq!(seen.remarks, [(RemarkKind::Discard, "discarded: ttl exceeded".to_owned())]);

    let (_, seen) = decode(&datagram(&[discard_sample(13, &[]), discard_sample(270, &[])]));
    let texts: Vec<_> = seen.remarks.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(texts, ["discarded: icmp unreachable code 13", "discarded: reason 270"]);
}

/// T36: the flags lie in the last byte of these 52, one less and they are not known.
#[test]
fn a_header_cut_behind_the_ports() {
    let full = FlowRecord { bytes: 1522, link_bytes: 22, vlan: 100, ..expected() };
    let cut = |length| of(&[header(1, 1522, 4, &tagged_frame()[..length])]).0;
    assert_eq!(cut(52), full);
    assert_eq!(cut(51), FlowRecord { tcp_flags: TcpFlags(0), ..full });
    assert_eq!(cut(42).dst_port, 80);
    assert_eq!((cut(38).src_port, cut(38).dst_port, cut(38).src), (0, 0, full.src));
}

/// T37: bytes behind a sample's last record and behind the last sample.
#[test]
fn trailing_bytes() {
    let records = [header(1, 1518, 4, &frame())].concat();
    for extra in [4, 20] {
        let head = words(&[77, 3, 512, 39_424, 0, 3, 4, 1]);
        let sample = tagged(1, &[&head[..], &records, &vec![0xee; extra]].concat());
        let mut data = datagram(&[sample, flow_sample(std::slice::from_ref(&records))]);
        data.extend(vec![0xee; extra]);
        let (collector, seen) = decode(&data);
        assert_eq!((seen.flows.len(), collector.drops().total()), (2, 0));
        assert_eq!(seen.flows[1].0, FlowRecord { seq: 1, ..expected() });
        assert!(seen.remarks.is_empty());
    }
}

/// A damaged record takes nothing from the packet beside it.
#[test]
fn a_damaged_record_costs_only_itself() {
    let good = || header(1, 1518, 4, &frame());
    let bad = || tagged(1001, &words(&[300, 0]));
    for records in [[good(), bad()], [bad(), good()]] {
        let (collector, seen) = decode(&datagram(&[flow_sample(&records)]));
        assert_eq!(seen.flows[0].0, expected());
        assert_eq!(collector.counts().damaged_records, 1);
        assert_eq!(seen.remarks.len(), 1);
        assert_eq!(seen.remarks[0].0, RemarkKind::Error);
    }
}

/// Samples of one source in a row are taken together, and each counts.
#[test]
fn the_pool_is_compared_with_every_sample_of_a_datagram() {
    let mut collector = SflowCollector::new(SflowSettings::default());
    let mut pool = 0_u32;
    for number in 0..1000_u32 {
        let samples: Vec<_> = (0..7)
            .map(|_| {
                pool += 512;
                let mut sample = flow_sample(&[ethernet_header(&frame())]);
                sample[20..24].copy_from_slice(&pool.to_be_bytes());
                sample
            })
            .collect();
        let mut data = datagram(&samples);
        data[16..20].copy_from_slice(&number.to_be_bytes());
        collector.decode(&sent(&data), &mut Seen::default()).unwrap();
    }
    let exporters = collector.exporters();
    let [(_, health)] = exporters[..] else { panic!("{exporters:?}") };
    let report = health.summary();
    assert_eq!((report.sources[0].announced, report.sources[0].effective), (512, Some(512.0)));
    assert_eq!(health.verdicts(Timestamp(5)), []);
}
