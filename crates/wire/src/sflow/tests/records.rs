//! Records of flow samples in version 5.

use super::build::{ipv4, ipv6};
use super::*;
use crate::frame::{Frame, LengthMode, LinkType, TunnelPolicy, dissect};

/// What 22 words from 1 to 22 mean as generic interface counters.
pub(super) fn interface_counters() -> InterfaceCounters {
    InterfaceCounters {
        index: 1,
        kind: 2,
        speed_bps: 0x3_0000_0004,
        direction: 5,
        status: 6,
        in_octets: 0x7_0000_0008,
        in_unicast: 9,
        in_multicast: 10,
        in_broadcast: 11,
        in_discards: 12,
        in_errors: 13,
        in_unknown_protocols: 14,
        out_octets: 0xf_0000_0010,
        out_unicast: 17,
        out_multicast: 18,
        out_broadcast: 19,
        out_discards: 20,
        out_errors: 21,
        promiscuous: 22,
    }
}

/// The records of a flow sample that has only good ones.
fn read(data: &[u8]) -> Vec<FlowData<'_>> {
    flow(data).records().collect::<Result<_, _>>().unwrap()
}

fn dissected(raw: &RawHeader<'_>) -> Frame {
    dissect(raw.protocol.link_type().unwrap(), raw.header, &TunnelPolicy::OUTER).unwrap()
}

#[test]
fn a_raw_header() {
    let data = flow_with(&[raw_record(1, 1518, 4, &frame())]);
    let [FlowData::Header(raw)] = read(&data)[..] else { panic!("not a header") };
    assert_eq!(raw.protocol, HeaderProtocol::ETHERNET);
    assert_eq!((raw.frame_length, raw.stripped), (1518, 4));
    assert_eq!(raw.header, frame());
}

/// T32: IPv4 and IPv6 without a link header.
#[test]
fn bare_ip_headers() {
    let data = flow_with(&[raw_record(11, 1500, 0, &ipv4()), raw_record(12, 1500, 0, &ipv6())]);
    let [FlowData::Header(v4), FlowData::Header(v6)] = read(&data)[..] else {
        panic!("not two headers")
    };
    let (four, six) = (dissected(&v4), dissected(&v6));
    assert_eq!((four.src, four.dst), (0x0a00_0001, 0x0a00_0002));
    assert_eq!((six.src, six.dst), (0x2001_0db8_u128 << 96 | 1, 0x2001_0db8_u128 << 96 | 2));
    for packet in [four, six] {
        assert_eq!((packet.src_port, packet.dst_port, packet.tcp_flags), (1234, 80, 0x12));
    }
}

#[test]
fn header_protocols_that_are_dissected() {
    let dissected = [
        (1, LinkType::ETHERNET),
        (7, LinkType::PPP),
        (11, LinkType::IPV4),
        (12, LinkType::IPV6),
        (13, LinkType::MPLS),
        (14, LinkType::PPP_HDLC),
        (15, LinkType::IEEE802_11),
    ];
    for (number, link) in dissected {
        assert_eq!(HeaderProtocol(number).link_type(), Some(link));
        assert!(LinkType::SUPPORTED.contains(&link));
    }
    for number in [0, 2, 6, 8, 9, 16, 17, u32::MAX] {
        assert_eq!(HeaderProtocol(number).link_type(), None);
    }
}

/// T33: an agent that copies no header, only Ethernet and IPv4 records.
#[test]
fn ethernet_and_ip_records() {
    let ethernet = Bytes::new()
        .word(64)
        .bytes(&[1, 2, 3, 4, 5, 6, 0, 0, 7, 8, 9, 10, 11, 12, 0, 0])
        .word(0x0800)
        .done();
    let ip4 = Bytes::new().words(&[1400, 17, 0xc000_0201, 0xc633_6407, 53, 40_000, 0, 0x28]).done();
    let (src, dst) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    let ip6 = Bytes::new()
        .words(&[1280, 6])
        .bytes(&Ipv6Addr::octets(&src))
        .bytes(&Ipv6Addr::octets(&dst))
        .words(&[443, 50_000, 0x12, 0xb8])
        .done();
    let data = flow_with(&[record(2, &ethernet), record(3, &ip4), record(4, &ip6)]);
    let expected = [
        FlowData::Ethernet(EthernetFrame {
            length: 64,
            src: [1, 2, 3, 4, 5, 6],
            dst: [7, 8, 9, 10, 11, 12],
            ether_type: 0x0800,
        }),
        FlowData::Ip(IpPacket {
            length: 1400,
            src: IpAddr::from([192, 0, 2, 1]),
            dst: IpAddr::from([198, 51, 100, 7]),
            protocol: 17,
            tos: 0x28,
            src_port: 53,
            dst_port: 40_000,
            tcp_flags: 0,
        }),
        FlowData::Ip(IpPacket {
            length: 1280,
            src: IpAddr::from(src),
            dst: IpAddr::from(dst),
            protocol: 6,
            tos: 0xb8,
            src_port: 443,
            dst_port: 50_000,
            tcp_flags: 0x12,
        }),
    ];
    assert_eq!(read(&data), expected);
}

#[test]
fn switch_and_router_records() {
    let switch = Bytes::new().words(&[100, 1, u32::MAX, 2]).done();
    let v4 = Bytes::new().words(&[1, 0xc000_0201, 24, 16]).done();
    let v6 = Bytes::new().word(2).bytes(&[0x20; 16]).words(&[48, 32]).done();
    let none = Bytes::new().words(&[0, 0, 0]).done();
    let data = flow_with(&[
        record(1001, &switch),
        record(1002, &v4),
        record(1002, &v6),
        record(1002, &none),
    ]);
    let router = |next_hop, src_mask_bits, dst_mask_bits| {
        FlowData::Router(RouterData { next_hop, src_mask_bits, dst_mask_bits })
    };
    let switch = SwitchData { src_vlan: 100, src_priority: 1, dst_vlan: u32::MAX, dst_priority: 2 };
    let expected = [
        FlowData::Switch(switch),
        router(Some(IpAddr::from(Ipv4Addr::new(192, 0, 2, 1))), 24, 16),
        router(Some(IpAddr::from([0x20; 16])), 48, 32),
        router(None, 0, 0),
    ];
    assert_eq!(read(&data), expected);
}

/// T34: own, source and peer AS, and the destination's at the end of the path.
#[test]
fn a_gateway_record() {
    let next_hops = [
        (Bytes::new().words(&[1, 0xc000_0201]), Some(IpAddr::from([192, 0, 2, 1]))),
        (Bytes::new().word(2).bytes(&[0x20; 16]), Some(IpAddr::from([0x20; 16]))),
    ];
    for (address, next_hop) in next_hops {
        let body = address
            .words(&[64_500, 64_501, 64_502])
            .words(&[2, 2, 3, 65_001, 65_002, 65_003, 1, 2, 4_200_000_000, 65_010])
            .words(&[2, 64_500 << 16 | 1, 64_500 << 16 | 2, 120])
            .done();
        let data = flow_with(&[record(1003, &body)]);
        let [FlowData::Gateway(gateway)] = read(&data)[..] else { panic!("not a gateway") };
        assert_eq!(gateway.next_hop, next_hop);
        assert_eq!(
            (gateway.own_as, gateway.source_as, gateway.source_peer_as),
            (64_500, 64_501, 64_502)
        );
        let path: Vec<_> = gateway
            .destination_path
            .segments()
            .map(|segment| (segment.kind, segment.members.iter().collect::<Vec<_>>()))
            .collect();
        assert_eq!(path[0], (SegmentKind::Sequence, vec![65_001, 65_002, 65_003]));
        assert_eq!(path[1], (SegmentKind::Set, vec![4_200_000_000, 65_010]));
        assert_eq!(path.len(), 2);
        assert_eq!(gateway.destination_peer_as(), Some(65_001));
        assert_eq!(gateway.destination_as(), Some(65_010));
        let communities: Vec<_> = gateway.communities.iter().collect();
        assert_eq!(communities, [64_500 << 16 | 1, 64_500 << 16 | 2]);
        assert_eq!(gateway.local_pref, 120);
    }
}

#[test]
fn a_gateway_record_without_a_path() {
    let body = Bytes::new().words(&[0, 64_500, 64_501, 0, 0, 0, 100]).done();
    let data = flow_with(&[record(1003, &body)]);
    let [FlowData::Gateway(gateway)] = read(&data)[..] else { panic!("not a gateway") };
    assert_eq!((gateway.destination_as(), gateway.destination_peer_as()), (None, None));
    assert!(gateway.communities.is_empty());
    assert_eq!((gateway.next_hop, gateway.local_pref), (None, 100));
}

#[test]
fn other_records_are_passed_over() {
    let enterprise = Bytes::new().words(&[9 << 12 | 1, 2]).bytes(&[1, 2, 0, 0]).done();
    let data = flow_with(&[enterprise, record(1012, &[3; 8]), raw_record(1, 64, 0, &frame())]);
    let records = read(&data);
    let format = DataFormat { enterprise: 9, format: 1 };
    assert_eq!(records[0], FlowData::Other { format, data: &[1, 2] });
    let format = DataFormat::standard(1012);
    assert_eq!(records[1], FlowData::Other { format, data: &[3; 8] });
    assert!(matches!(records[2], FlowData::Header(_)));
}

/// T36: the header ends inside TCP: ports are there, flags are not.
#[test]
fn a_header_cut_inside_tcp() {
    let data = flow_with(&[raw_record(1, 64, 4, &frame()[..50])]);
    let [FlowData::Header(raw)] = read(&data)[..] else { panic!("not a header") };
    let packet = dissected(&raw);
    assert_eq!((packet.vlan, packet.src_port, packet.dst_port), (100, 1234, 80));
    assert_eq!(packet.tcp_flags, 0);
}

/// T38: firmware that states the cropped length: what the IP header says is there to be preferred.
#[test]
fn a_frame_length_below_that_of_the_ip_header() {
    let data = flow_with(&[raw_record(1, 132, 4, &frame())]);
    let [FlowData::Header(raw)] = read(&data)[..] else { panic!("not a header") };
    let packet = dissected(&raw);
    assert_eq!(packet.length(LengthMode::Wire, raw.frame_length), 132);
    assert_eq!(packet.length(LengthMode::IpHeader, raw.frame_length), 1500);
}
