//! What each element of a record of data means.

use tidewall_model::{Family, Forwarding, Fragment};
use tidewall_wire::emit::{Frame, Packet, Payload, Transport, emit_frame};

use super::*;

/// IPv6 addresses in front of the basic fields.
fn with_v6(source: [u8; 16], v4: [u8; 4]) -> Desk {
    let fields = [&[(27, 16), (28, 16)], &BASIC[..]].concat();
    let mut data = [source, [0; 16]].concat();
    data.extend(v4);
    data.extend([0; 4]);
    data.extend(record(&BASIC[2..], &BASIC_VALUES[2..]));
    let mut desk = Desk::new();
    desk.take(&v9(&[set(0, &template(256, &fields)), set(256, &data)])).unwrap();
    desk
}

#[test]
fn t16_addresses_of_both_versions() {
    let some = address("2001:db8::7").to_be_bytes();
    let (record, _) = with_v6([0; 16], [198, 51, 100, 1]).only();
    assert_eq!((record.family, record.src), (Family::V4, address("198.51.100.1")));
    let (record, _) = with_v6(some, [0; 4]).only();
    assert_eq!((record.family, record.src), (Family::V6, address("2001:db8::7")));
    let (record, _) = with_v6(some, [198, 51, 100, 1]).only();
    assert_eq!(record.family, Family::V6, "the outer header of a tunnel");
    let none = with_v6([0; 16], [0; 4]);
    assert_eq!(none.kept.refused, [DropReason::RecordWithoutAddresses]);
    let fields = [(8, 4), (12, 4), (2, 4), (1, 4), (60, 1), (27, 16)];
    let desk = only_fields(&fields, &[1, 2, 3, 4, 4, 99]);
    assert_eq!(desk.only().0.family, Family::V4, "element 60 says so");
    assert_eq!(only_fields(&fields, &[1, 2, 3, 4, 6, 99]).only().0.src, 99);
}

/// A record of a variable string with this length field, and then a port.
fn with_string(length: &[u8], bytes: usize) -> Desk {
    let fields = [(8, 4), (12, 4), (2, 4), (1, 4), (82, 0xffff), (7, 2)];
    let mut data = words(&[0xc633, 0x6401, 0x0a00, 1, 0, 3, 0, 300]);
    data.extend(length);
    data.extend(vec![0x41; bytes]);
    data.extend([0, 99]);
    let mut desk = Desk::new();
    desk.take(&ipfix(&[set(2, &template(256, &fields)), set(256, &data)])).unwrap();
    desk
}

#[test]
fn t18_variable_lengths() {
    let long = [255, 1, 44];
    let cases: [(&[u8], usize); 5] =
        [(&[0], 0), (&[1], 1), (&[254], 254), (&long, 300), (&[255, 0, 9], 9)];
    for (length, bytes) in cases {
        let (record, _) = with_string(length, bytes).only();
        assert_eq!((record.src_port, record.bytes), (99, 300), "{length:?}");
    }
    let desk = with_string(&[200], 100);
    assert_eq!(desk.kept.flows.len(), 0);
    assert_eq!(desk.drops(DropReason::RecordMalformed), 1);
}

fn frame(bytes: usize) -> Vec<u8> {
    let packet = Packet {
        source: [198, 51, 100, 9].into(),
        destination: [10, 0, 0, 9].into(),
        ttl: 60,
        identification: 1,
        piece: None,
        transport: Transport::Udp { source: 1024, destination: 123 },
        payload: Payload::Zeros(bytes),
    };
    let mut frame = Vec::new();
    emit_frame(&Frame { destination: [2; 6], source: [4; 6], tags: &[], packet }, &mut frame)
        .unwrap();
    frame
}

fn variable(bytes: &[u8]) -> Vec<u8> {
    [&[255, (bytes.len() >> 8) as u8, bytes.len() as u8], bytes].concat()
}

#[test]
fn t19_sampled_frames_in_records() {
    let fields = [(10, 4), (312, 2), (315, 0xffff)];
    let mut data = Vec::new();
    for cut in [60, 128] {
        data.extend(record(&fields[..2], &[7, 242]));
        data.extend(variable(&frame(200)[..cut]));
    }
    data.extend([0; 2]);
    let mut desk = Desk::new();
    desk.take(&ipfix(&[set(2, &template(256, &fields)), set(256, &data)])).unwrap();
    assert_eq!(desk.kept.flows.len(), 2, "two bytes of padding are no record");
    for (record, detail) in &desk.kept.flows {
        assert_eq!((record.src, record.dst), (address("198.51.100.9"), address("10.0.0.9")));
        assert_eq!((record.src_port, record.dst_port, record.protocol), (1024, 123, 17));
        assert_eq!((record.packets, record.bytes, record.ttl), (1, 242, 60));
        assert_eq!((detail.note, detail.input_if), (FlowNote::PACKET, Some(7)));
    }
}

#[test]
fn sampled_packets_from_their_ip_header_and_of_unknown_size() {
    let ip = &frame(200)[14..100];
    let fields = [(313, 0xffff)];
    let mut desk = Desk::new();
    let sets = [set(2, &template(256, &fields)), set(256, &variable(ip))];
    desk.take(&ipfix(&sets)).unwrap();
    assert_eq!(desk.only().0.bytes, 228, "as long as the IP header says");
    // Catalyst 4500: v9 with 103 and 104, of fixed length.
    let fields = [(103, 2), (104, 64)];
    let data = [&[1, 0][..], &frame(200)[..64]].concat();
    let mut desk = Desk::new();
    desk.take(&v9(&[set(0, &template(256, &fields)), set(256, &data)])).unwrap();
    assert_eq!((desk.only().0.bytes, desk.only().0.dst_port), (256, 123));
}

#[test]
fn a_section_that_cannot_be_dissected() {
    let mut desk = Desk::new();
    let fields = [(315, 0xffff)];
    let sets = [set(2, &template(256, &fields)), set(256, &variable(&[0; 13]))];
    desk.take(&ipfix(&sets)).unwrap();
    assert_eq!(desk.kept.refused, [DropReason::LinkHeaderCut]);
    // With fields of its own, the record counts by these.
    let fields = [&BASIC[..], &[(315, 0xffff)]].concat();
    let data = [record(&BASIC, &BASIC_VALUES), variable(&[0; 13])].concat();
    let mut desk = Desk::new();
    desk.take(&ipfix(&[set(2, &template(256, &fields)), set(256, &data)])).unwrap();
    assert_eq!(desk.only().0.bytes, 300);
}

#[test]
fn cve_2026_48682_header_lengths_inside_a_section() {
    let fields = [(313, 0xffff)];
    let read = |ihl: u8| {
        let mut packet = frame(20)[14..38].to_vec();
        packet[0] = 0x40 | ihl;
        let mut desk = Desk::new();
        let sets = [set(2, &template(256, &fields)), set(256, &variable(&packet))];
        desk.take(&ipfix(&sets)).unwrap();
        desk
    };
    assert_eq!(read(4).kept.refused, [DropReason::IpHeaderLength]);
    let (record, _) = read(15).only();
    assert_eq!((record.src, record.src_port), (address("198.51.100.9"), 0), "beyond the section");
}

#[test]
fn t20_nothing_of_one_field_leaks_into_the_next() {
    let fields = [(82, 0xffff), (315, 42)];
    let mut data = variable(&[0x41; 200]);
    data.extend(&frame(200)[..42]);
    let mut desk = Desk::new();
    desk.take(&ipfix(&[set(2, &template(256, &fields)), set(256, &data)])).unwrap();
    assert_eq!(desk.only().0.dst_port, 123);
    // Nor of one record into the next: the second one's counter has no bytes.
    let fields = [(8, 4), (12, 4), (1, 4), (2, 0xffff)];
    let one = record(&fields[..3], &[1, 2, 300]);
    let data = [one.clone(), vec![1, 9], one, vec![0]].concat();
    let mut desk = Desk::new();
    desk.take(&ipfix(&[set(2, &template(256, &fields)), set(256, &data)])).unwrap();
    let packets: Vec<u64> = desk.flows().iter().map(|flow| flow.packets).collect();
    assert_eq!(packets, [9, 1]);
}

#[test]
fn t27_tcp_flags_in_one_and_two_bytes() {
    let fields = [(8, 4), (12, 4), (2, 4), (1, 4), (4, 1), (6, 2)];
    let flags =
        |protocol, value| only_fields(&fields, &[1, 2, 3, 4, protocol, value]).only().0.tcp_flags.0;
    assert_eq!(flags(6, 0x0012), 0x12);
    assert_eq!(flags(6, 0xf112), 0x112, "twelve bits");
    assert_eq!(flags(17, 0x0012), 0, "of TCP only");
}

#[test]
fn t28_forwarding_status_in_one_and_four_bytes() {
    for (status, expected) in [
        (0x00, Forwarding::Unknown),
        (0x40, Forwarding::Forwarded),
        (0x80, Forwarding::Dropped),
        (0xc0, Forwarding::Consumed),
        (0x8c, Forwarding::Dropped),
    ] {
        for length in [1, 4] {
            let (record, detail) = one(&[(89, length)], &[status]).only();
            assert_eq!(record.forwarding, expected, "{status:#x} in {length}");
            assert_eq!(detail.note.has(FlowNote::DROPPED), expected == Forwarding::Dropped);
        }
    }
}

#[test]
fn icmp_types_and_codes() {
    let fields = |element, length| [(8, 4), (12, 4), (2, 4), (1, 4), (4, 1), (element, length)];
    let port = |element, length, protocol, value| {
        let values = [1, 2, 3, 4, protocol, value];
        only_fields(&fields(element, length), &values).only().0.dst_port
    };
    assert_eq!(port(32, 2, 1, 0x0303), 0x0303);
    assert_eq!(port(32, 2, 17, 0x0303), 0, "of ICMP only");
    assert_eq!(port(139, 2, 1, 0x0303), 0, "of ICMPv6");
    assert_eq!(port(11, 2, 1, 0x0800), 0x0800, "in the port, as NetFlow has it");
    let fields = [(27, 16), (28, 16), (2, 4), (1, 4), (4, 1), (178, 1), (179, 1)];
    let desk = only_fields(&fields, &[1, 2, 3, 4, 58, 128, 1]);
    assert_eq!(desk.only().0.dst_port, 0x8001);
}

#[test]
fn ports_by_protocol() {
    let fields = [(8, 4), (12, 4), (2, 4), (1, 4), (180, 2), (181, 2), (182, 2), (183, 2), (4, 1)];
    let ports = |protocol| {
        let record = only_fields(&fields, &[1, 2, 3, 4, 10, 11, 12, 13, protocol]).only().0;
        (record.src_port, record.dst_port)
    };
    assert_eq!((ports(17), ports(6), ports(47)), ((10, 11), (12, 13), (0, 0)));
    let desk = only_fields(&fields[..6], &[1, 2, 3, 4, 10, 11]);
    assert_eq!((desk.only().0.protocol, desk.only().0.dst_port), (17, 11));
}

#[test]
fn vlan_ttl_and_fragments() {
    let (record, _) = one(&[(58, 2), (192, 1)], &[0xe00a, 63]).only();
    assert_eq!((record.vlan, record.ttl), (10, 63), "the identifier alone");
    assert_eq!(one(&[(243, 2), (52, 1)], &[20, 64]).only().0.vlan, 20);
    assert_eq!(one(&[(52, 1), (192, 1)], &[1, 64]).only().0.ttl, 64);
    let fragment = |offset, flags| one(&[(88, 2), (197, 1)], &[offset, flags]).only().0.fragment;
    assert_eq!(fragment(0, 0x40), Fragment::Whole);
    assert_eq!(fragment(0, 0x20), Fragment::First);
    assert_eq!(fragment(185, 0x00), Fragment::Later);
    assert_eq!(fragment(0x4000, 0), Fragment::Whole, "a flag, not an offset");
}

#[test]
fn which_counters_count() {
    let counts = |fields: &[Spec], values: &[u64]| {
        let fields = [&[(8, 4), (12, 4)], fields].concat();
        let values = [&[1, 2], values].concat();
        let record = only_fields(&fields, &values).only().0;
        (record.packets, record.bytes)
    };
    assert_eq!(counts(&[(86, 8), (85, 8)], &[4, 400]), (4, 400), "totals, as of Juniper SRX");
    assert_eq!(counts(&[(86, 8), (85, 8), (2, 4), (1, 4)], &[4, 400, 1, 50]), (1, 50));
    assert_eq!(counts(&[(24, 8), (23, 8)], &[4, 400]), (4, 400), "behind the router");
    assert_eq!(counts(&[(2, 4), (1, 4), (24, 8), (23, 8)], &[0, 0, 4, 400]), (4, 400));
    assert_eq!(counts(&[(2, 4), (352, 8)], &[2, 128]), (2, 128), "layer 2, for want of another");
    assert_eq!(counts(&[(352, 8), (2, 4), (1, 4)], &[128, 2, 100]), (2, 100));
    assert_eq!(counts(&[(1, 4)], &[100]), (1, 100), "at least one packet");
    assert_eq!(counts(&[(2, 3), (1, 5)], &[70_000, 80_000_000]), (70_000, 80_000_000));
    let dropped = only_fields(&[(8, 4), (12, 4), (133, 8), (132, 8)], &[1, 2, 5, 500]).only().0;
    assert_eq!((dropped.packets, dropped.forwarding), (5, Forwarding::Dropped));
}

#[test]
fn records_without_traffic_or_addresses_are_counted() {
    let desk = only_fields(&[(8, 4), (12, 4), (2, 4), (1, 4)], &[1, 2, 0, 0]);
    assert_eq!(desk.kept.refused, [DropReason::RecordWithoutPackets]);
    let desk = only_fields(&[(2, 4), (1, 4)], &[3, 300]);
    assert_eq!(desk.kept.refused, [DropReason::RecordWithoutAddresses]);
    let aggregated = only_fields(&[(12, 4), (2, 4), (1, 4)], &[9, 3, 300]);
    assert_eq!(aggregated.only().0.dst, 9);
}

#[test]
fn reverse_elements_give_a_second_record() {
    // Template: addresses, ports, protocol, octets and packets both ways (RFC 5103).
    let specs: [(u16, u16); 9] =
        [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (2, 4), (1, 4), (10, 4), (14, 4)];
    let reverse: [(u16, u16); 3] = [(2, 4), (1, 4), (6, 1)];
    let mut body = words(&[256, 12]);
    body.extend(specs.iter().flat_map(|spec| words(&[spec.0, spec.1])));
    body.extend(reverse.iter().flat_map(|spec| words(&[spec.0 | 0x8000, spec.1, 0, 29_305])));
    let read = |back: [u64; 3]| {
        let mut data = record(&specs, &[1, 2, 1024, 443, 6, 3, 300, 7, 8]);
        data.extend(record(&reverse, &back));
        let mut desk = Desk::new();
        desk.take(&ipfix(&[set(2, &body), set(256, &data)])).unwrap();
        desk
    };
    let desk = read([5, 5_000, 0x12]);
    let [(forward, _), (back, detail)] = desk.kept.flows[..] else { panic!("two records") };
    assert_eq!((forward.src, forward.dst, forward.packets), (1, 2, 3));
    assert_eq!((back.src, back.dst, back.src_port, back.dst_port), (2, 1, 443, 1024));
    assert_eq!((back.packets, back.bytes, back.tcp_flags.0), (5, 5_000, 0x12));
    assert_eq!((detail.input_if, detail.output_if), (Some(8), Some(7)));
    assert_eq!(detail.note, FlowNote::REVERSE);
    assert_eq!(read([0, 0, 0]).only().0.packets, 3, "nothing came back");
}

#[test]
fn details_of_a_flow() {
    let more = [(10, 4), (14, 2), (16, 4), (17, 2), (15, 4), (56, 6), (80, 6), (5, 1)];
    let values = [70_000, 9, 65_536, 65_001, 0xc000_0201, 0x0200_0000_0001, 0x0200_0000_0002, 0xb8];
    let (_, detail) = one(&more, &values).only();
    assert_eq!((detail.input_if, detail.output_if), (Some(70_000), Some(9)));
    assert_eq!((detail.src_as, detail.dst_as, detail.tos), (65_536, 65_001, 0xb8));
    assert_eq!(detail.next_hop, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(detail.mac, Some(([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])));
    assert_eq!((detail.domain, detail.note), (42, FlowNote::NONE));
    let (_, bare) = one(&[], &[]).only();
    assert_eq!((bare.input_if, bare.mac, bare.next_hop, bare.start), (None, None, None, None));
}

#[test]
fn short_records_and_odd_lengths() {
    // Records below eight bytes are read by field; a number of nine bytes is none.
    assert_eq!(only_fields(&[(12, 4), (2, 1)], &[9, 3]).only().0.packets, 3);
    let desk = only_fields(&[(12, 4), (2, 4), (1, 9)], &[9, 3, 300]);
    assert_eq!((desk.only().0.packets, desk.only().0.bytes), (3, 0));
    // Values at the very end of a record, and of each length.
    for length in 1..=8 {
        let desk = only_fields(&[(12, 4), (2, 4), (1, length)], &[9, 3, 200]);
        assert_eq!(desk.only().0.bytes, 200, "{length} bytes");
    }
}

#[test]
fn numbers_at_the_start_and_shorter_than_usual() {
    let desk = only_fields(&[(2, 1), (1, 2), (8, 4), (12, 4)], &[3, 300, 0x0102_0304, 9]);
    let record = desk.only().0;
    assert_eq!((record.packets, record.bytes, record.src), (3, 300, 0x0102_0304));
    // RFC 7011 §6.2 allows any number to be shorter.
    let fields = [(7, 1), (2, 1), (1, 2), (8, 3), (12, 1), (11, 2), (58, 1), (88, 1), (4, 1)];
    let desk = only_fields(&fields, &[53, 3, 300, 0x02_0304, 9, 443, 7, 1, 17]);
    let record = desk.only().0;
    assert_eq!((record.src, record.dst), (0x02_0304, 9));
    assert_eq!((record.src_port, record.dst_port, record.vlan), (53, 443, 7));
    assert_eq!((record.packets, record.bytes, record.protocol), (3, 300, 17));
    assert_eq!(record.fragment, Fragment::Later);
}
