use tidewall_wire::frame::TunnelKind;

use super::*;

/// The 60-byte SYN from 10.132.241.131:1025 to 10.10.10.221:80 behind VLAN 100.
fn syn() -> Vec<u8> {
    let mut frame = vec![0x90, 0xe2, 0xba, 0x83, 0x3f, 0x25, 0x90, 0xe2, 0xba, 0x2c, 0xcb, 2];
    frame.extend([0x81, 0, 0, 100, 8, 0]);
    frame.extend([0x45, 0, 0, 46, 0, 0, 0, 0, 64, 6, 0x69, 0xdc]);
    frame.extend([10, 132, 241, 131, 10, 10, 10, 221]);
    frame.extend([4, 1, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0, 10, 0x9a, 0x92, 0, 0]);
    frame.extend([0; 6]);
    frame
}

/// IPv4 from 192.0.2.1 to 192.0.2.2, raw.
fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u8;
    let mut data = vec![0x45, 0, 0, length, 0, 0, 0, 0, 61, protocol, 0, 0];
    data.extend([192, 0, 2, 1, 192, 0, 2, 2]);
    data.extend(payload);
    data
}

fn note(link: LinkType, data: &[u8], policy: TunnelPolicy) -> String {
    let collector = FrameCollector::new(policy, LengthMode::Wire, SamplingRate::ONE);
    let result = collector.dissect(link, data);
    let note = FrameNote::new(link, data, &result);
    assert_eq!(note.is_empty(), note.to_string().is_empty());
    note.to_string()
}

#[test]
fn a_frame_becomes_a_record() {
    let sampling = SamplingRate::new(1000);
    let mut collector = FrameCollector::new(TunnelPolicy::OUTER, LengthMode::Wire, sampling);
    let record = collector.decode(LinkType::ETHERNET, Timestamp(7), &syn(), 64).unwrap();
    let expected = FlowRecord {
        time: Timestamp(7),
        seq: 0,
        src: 0x0a84_f183,
        dst: 0x0a0a_0add,
        packets: 1,
        bytes: 64,
        link_bytes: 18,
        sampling,
        src_port: 1025,
        dst_port: 80,
        tcp_flags: TcpFlags(TcpFlags::SYN),
        vlan: 100,
        protocol: 6,
        ttl: 64,
        ..FlowRecord::default()
    };
    assert_eq!(record, expected);
    let mut by_header = FrameCollector::new(TunnelPolicy::OUTER, LengthMode::IpHeader, sampling);
    let record = by_header.decode(LinkType::ETHERNET, Timestamp(7), &syn(), 64).unwrap();
    assert_eq!(record.bytes, 46);
}

#[test]
fn every_frame_is_counted_once_as_a_record_or_by_its_reason() {
    let mut collector = FrameCollector::default();
    let mut arp = syn();
    arp[16..18].copy_from_slice(&[8, 6]);
    let mut short_header = syn();
    short_header[18] = 0x44;
    let mut version = syn();
    version[18] = 0x95;
    let tags = [&syn()[..12], &[0x81, 0, 0, 1].repeat(9), &[8, 0]].concat();
    let cases = [
        (LinkType::ETHERNET, syn(), None),
        (LinkType::ETHERNET, arp, Some(DropReason::NotIp)),
        (LinkType(147), syn(), Some(DropReason::UnknownLinkType)),
        (LinkType::ETHERNET, syn()[..13].to_vec(), Some(DropReason::LinkHeaderCut)),
        (LinkType::ETHERNET, tags, Some(DropReason::TooManyTags)),
        (LinkType::ETHERNET, syn()[..37].to_vec(), Some(DropReason::IpHeaderCut)),
        (LinkType::ETHERNET, version, Some(DropReason::IpVersion)),
        (LinkType::ETHERNET, short_header, Some(DropReason::IpHeaderLength)),
        (LinkType::ETHERNET, syn(), None),
    ];
    let mut records = Vec::new();
    for (link, data, reason) in &cases {
        let result = collector.decode(*link, Timestamp::ZERO, data, 64);
        assert_eq!(result.err(), *reason);
        records.extend(result);
    }
    assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), [0, 8]);
    assert_eq!(collector.received(), 9);
    assert_eq!(collector.drops().total() + records.len() as u64, collector.received());
    for (reason, count) in collector.drops().nonzero() {
        assert_eq!(count, 1, "{reason:?}");
    }
    assert_eq!(collector.drops().nonzero().count(), 7);
}

#[test]
fn fragments_and_ipv6_keep_their_kind() {
    let mut collector = FrameCollector::default();
    let mut first = packet(17, &[0, 53, 0, 99, 0, 8, 0, 0]);
    first[6] = 0x20;
    let record = collector.decode(LinkType::RAW, Timestamp::ZERO, &first, 28).unwrap();
    assert_eq!((record.fragment, record.src_port), (Fragment::First, 53));
    first[7] = 9;
    let record = collector.decode(LinkType::RAW, Timestamp::ZERO, &first, 28).unwrap();
    assert_eq!((record.fragment, record.src_port), (Fragment::Later, 0));
    let mut six = vec![0x60, 0, 0, 0, 0, 4, 58, 255];
    six.extend([0x20; 16]);
    six.extend([0x30; 16]);
    six.extend([135, 1, 0, 0]);
    let record = collector.decode(LinkType::RAW, Timestamp::ZERO, &six, 44).unwrap();
    assert_eq!((record.family, record.protocol, record.ttl), (Family::V6, 58, 255));
    assert_eq!((record.dst_port, record.dst), (135 << 8 | 1, u128::from_be_bytes([0x30; 16])));
}

#[test]
fn notes_say_what_is_odd_and_what_is_inside() {
    let inner = packet(17, &[0, 53, 0, 99, 0, 8, 0, 0]);
    let gre = packet(47, &[&[0, 0, 8, 0][..], &packet(4, &inner)].concat());
    let outer = TunnelPolicy::OUTER;
    assert_eq!(note(LinkType::RAW, &inner, outer), "");
    assert_eq!(note(LinkType::RAW, &gre, outer), "gre/ipip inner 192.0.2.1 > 192.0.2.2");
    let one_in = outer.entering(TunnelKind::Gre);
    assert_eq!(note(LinkType::RAW, &gre, one_in), "inside gre; ipip inner 192.0.2.1 > 192.0.2.2");
    assert_eq!(note(LinkType::RAW, &gre, TunnelPolicy::INNER), "inside gre/ipip");
    assert_eq!(note(LinkType::RAW, &packet(6, &[0; 3]), outer), "tcp header cut");
    assert_eq!(note(LinkType::RAW, &packet(1, &[]), outer), "icmp header cut");
    let mut total = packet(6, &[0; 20]);
    total[3] = 19;
    assert_eq!(note(LinkType::RAW, &total, outer), "ip total length below header");
    assert_eq!(note(LinkType::RAW, &[], outer), "ip header cut: 20 bytes needed at 0, 0 there");
    assert_eq!(note(LinkType(147), &[], outer), "unknown link type 147");
}
