//! IP headers, extension headers, fragments and transport headers, whole and damaged.

use super::*;

/// Wraps an IPv4 packet in Ethernet.
fn four(packet: &[u8]) -> Vec<u8> {
    ethernet(0x0800, packet)
}

fn six(next: u8, payload: &[u8]) -> Vec<u8> {
    ethernet(0x86dd, &outer_v6(next, payload))
}

/// Six bytes of an options header (padding) announcing `next`.
fn options(next: u8) -> Vec<u8> {
    vec![next, 0, 1, 4, 0, 0, 0, 0]
}

fn fragment_header(next: u8, offset: u16, more: bool) -> Vec<u8> {
    let field = (offset << 3 | u16::from(more)).to_be_bytes();
    vec![next, 0, field[0], field[1], 0, 0, 0, 9]
}

/// Authentication with a 12-octet check value.
fn authentication(next: u8) -> Vec<u8> {
    join(&[&[next, 4, 0, 0], &hex("00000101 00000001"), &[0; 12]])
}

/// The 60-byte SYN that the reference measures its parser with.
fn reference_syn() -> Vec<u8> {
    hex("90e2ba833f25 90e2ba2ccb02 0800 4500002e 0000 0000 40 06 69dc 0a84f183 0a0a0add
         0401 0050 00000001 00000000 5002 000a 9a92 0000 000000000000")
}

pub(super) fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let mut with_options = outer_v4(6, &join(&[&hex("94040000"), &tcp_syn()]));
    with_options[0] = 0x46;
    let first = join(&[&fragment_header(17, 0, true), &dns()]);
    let chain = [
        options(43),
        hex("3c 00 04 00 00000000"),
        options(51),
        authentication(44),
        fragment_header(135, 0, false),
        vec![139, 0, 0, 0, 0, 0, 0, 0],
        vec![140, 0, 0, 0, 0, 0, 0, 0],
        vec![253, 0, 0, 0, 0, 0, 0, 0],
        options(17),
    ];
    vec![
        ("reference syn", reference_syn()),
        ("ipv4 options", four(&with_options)),
        ("ipv4 icmp", four(&outer_v4(1, &hex("0301 0000 00000000")))),
        ("ipv4 ah", four(&outer_v4(51, &join(&[&authentication(17), &dns()])))),
        ("ipv6 hop-by-hop", six(0, &join(&[&options(6), &tcp_syn()]))),
        ("ipv6 first fragment", six(44, &first)),
        ("ipv6 later fragment", six(44, &join(&[&fragment_header(17, 185, false), &[7; 8]]))),
        ("ipv6 chain", six(0, &join(&[&chain.concat(), &dns()]))),
        ("ipv6 icmp", six(58, &hex("8000 0000 00010001"))),
        ("ipv6 esp", six(50, &hex("00000102 00000001 0000"))),
        ("sctp", four(&outer_v4(132, &hex("0b59 0b5a 00000000 00000000")))),
    ]
}

fn read(name: &str) -> Frame {
    let (_, data) = frames().into_iter().find(|(n, _)| *n == name).unwrap();
    outer(&data).unwrap()
}

#[test]
fn the_reference_syn_is_read_in_both_lengths() {
    let frame = read("reference syn");
    assert_eq!(addresses(&frame), "10.132.241.131 > 10.10.10.221");
    assert_eq!((frame.protocol, frame.src_port, frame.dst_port), (6, 1025, 80));
    assert_eq!((frame.tcp_flags, frame.ttl), (2, 64));
    assert_eq!((frame.ip_offset, frame.transport_offset), (14, 34));
    assert_eq!(frame.length(LengthMode::Wire, 60), 60);
    assert_eq!(frame.length(LengthMode::IpHeader, 60), 46);
}

#[test]
fn lengths_come_from_the_header_where_it_states_one() {
    let v6 = outer(&six(17, &dns())).unwrap();
    assert_eq!(v6.length(LengthMode::IpHeader, 66), 40 + 12);
    let mut jumbo = six(17, &dns());
    jumbo[18..20].fill(0);
    let jumbo = outer(&jumbo).unwrap();
    assert_eq!((jumbo.ip_length, jumbo.dst_port), (0, 53));
    assert_eq!(jumbo.length(LengthMode::IpHeader, 66), 66);
    let mut offloaded = reference_syn();
    offloaded[16..18].fill(0);
    let offloaded = outer(&offloaded).unwrap();
    assert_eq!(offloaded.length(LengthMode::IpHeader, 2000), 2000);
    assert_eq!((offloaded.dst_port, offloaded.tcp_flags), (80, 2));
}

#[test]
fn ipv4_headers_that_lie_are_told_apart() {
    for words in 0..5 {
        let mut data = reference_syn();
        data[14] = 0x40 | words;
        let length = words * 4;
        assert_eq!(outer(&data), Err(FrameError::IpHeaderLength { offset: 14, length }));
    }
    let mut version = reference_syn();
    version[14] = 0x65;
    assert_eq!(outer(&version), Err(FrameError::IpVersion { offset: 14, version: 6 }));
    let mut raw = reference_syn().split_off(14);
    raw[0] = 0x55;
    assert_eq!(
        dissect(LinkType::RAW, &raw, &TunnelPolicy::OUTER),
        Err(FrameError::IpVersion { offset: 0, version: 5 })
    );
    let mut short_total = reference_syn();
    short_total[16..18].copy_from_slice(&[0, 19]);
    let frame = outer(&short_total).unwrap();
    assert_eq!(addresses(&frame), "10.132.241.131 > 10.10.10.221");
    assert_eq!((frame.anomalies, frame.dst_port), (Anomalies::TOTAL_LENGTH, 0));
    assert_eq!(frame.length(LengthMode::IpHeader, 60), 60);
    let mut long_header = four(&outer_v4(6, &[0; 4]));
    long_header[14] = 0x4f;
    long_header[17] = 64;
    let frame = outer(&long_header).unwrap();
    assert_eq!((frame.anomalies, frame.protocol), (Anomalies::OPTIONS_CUT, 6));
    assert_eq!(
        outer(&reference_syn()[..33]),
        Err(FrameError::IpHeaderCut(Cut { offset: 14, needed: 20, available: 19 }))
    );
}

#[test]
fn bytes_behind_the_packet_are_not_its_ports() {
    // Total length 22: two bytes of UDP, then padding of the frame.
    let mut data = four(&outer_v4(17, &dns()));
    data[17] = 22;
    let frame = outer(&data).unwrap();
    assert_eq!((frame.src_port, frame.dst_port), (0, 0));
    assert_eq!(frame.anomalies, Anomalies::TRANSPORT_CUT);
}

#[test]
fn ipv4_fragments_have_ports_in_the_first_piece_only() {
    let piece = |field: [u8; 2]| {
        let mut data = four(&outer_v4(17, &dns()));
        data[20..22].copy_from_slice(&field);
        outer(&data).unwrap()
    };
    let first = piece([0x20, 0]);
    assert_eq!((first.fragment, first.dst_port), (FragmentKind::First, 53));
    for later in [piece([0x00, 0xb9]), piece([0x20, 0xb9])] {
        assert_eq!((later.fragment, later.dst_port), (FragmentKind::Later, 0));
        assert_eq!((later.protocol, later.anomalies), (17, Anomalies::NONE));
    }
    let do_not_fragment = piece([0x40, 0]);
    assert_eq!((do_not_fragment.fragment, do_not_fragment.dst_port), (FragmentKind::Whole, 53));
}

#[test]
fn options_and_authentication_are_stepped_over() {
    let options = read("ipv4 options");
    assert_eq!((options.dst_port, options.tcp_flags, options.transport_offset), (80, 2, 38));
    let ah = read("ipv4 ah");
    assert_eq!((ah.protocol, ah.dst_port, ah.key), (17, 53, 0x101));
}

#[test]
fn ipv6_chains_lead_to_the_transport_header() {
    let hop = read("ipv6 hop-by-hop");
    assert_eq!((hop.protocol, hop.dst_port, hop.tcp_flags), (6, 80, 2));
    let chain = read("ipv6 chain");
    assert_eq!((chain.protocol, chain.src_port, chain.dst_port), (17, 1000, 53));
    assert_eq!(chain.fragment, FragmentKind::Whole, "an atomic fragment is whole");
    assert_eq!((chain.key, chain.anomalies), (0x101, Anomalies::NONE));
    let esp = read("ipv6 esp");
    assert_eq!((esp.protocol, esp.key, esp.dst_port), (50, 0x102, 0));
    let experiment = outer(&six(254, &join(&[&options(17), &dns()]))).unwrap();
    assert_eq!((experiment.protocol, experiment.dst_port), (17, 53));
    let mobility = outer(&six(135, &hex("3b 00 05 00 0000 0000"))).unwrap();
    assert_eq!((mobility.protocol, mobility.anomalies), (135, Anomalies::NONE));
    let nothing = outer(&six(59, &[])).unwrap();
    assert_eq!((nothing.protocol, nothing.anomalies), (59, Anomalies::NONE));
}

#[test]
fn ipv6_fragments_first_and_later() {
    let first = read("ipv6 first fragment");
    assert_eq!((first.fragment, first.protocol, first.dst_port), (FragmentKind::First, 17, 53));
    let later = read("ipv6 later fragment");
    assert_eq!((later.fragment, later.protocol, later.dst_port), (FragmentKind::Later, 17, 0));
    // A second fragment header does not make the piece whole again.
    let twice = join(&[&fragment_header(44, 0, true), &fragment_header(17, 0, false), &dns()]);
    assert_eq!(outer(&six(44, &twice)).unwrap().fragment, FragmentKind::First);
}

#[test]
fn an_overlong_or_cut_chain_is_counted_where_it_was_left() {
    let sixteen = join(&[&options(60).repeat(15), &options(17), &dns()]);
    let frame = outer(&six(60, &sixteen)).unwrap();
    assert_eq!((frame.protocol, frame.dst_port, frame.anomalies), (17, 53, Anomalies::NONE));
    let seventeen = join(&[&options(60).repeat(16), &options(17), &dns()]);
    let frame = outer(&six(60, &seventeen)).unwrap();
    assert_eq!((frame.protocol, frame.dst_port), (60, 0));
    assert_eq!(frame.anomalies, Anomalies::EXTENSION_LIMIT);
    let cut = outer(&six(0, &[17, 9, 0, 0])).unwrap();
    assert_eq!((cut.protocol, cut.anomalies), (0, Anomalies::EXTENSION_CUT));
}

#[test]
fn short_transport_headers_are_counted_without_what_they_lack() {
    let cases: [(u8, &str, u16, u16, u16); 12] = [
        (17, "0401 00", 0, 0, 0),
        (17, "0401 0050", 1025, 80, 0),
        (17, "0401 0050 0008 00", 1025, 80, 0),
        (1, "08", 0, 0, 0),
        (6, "0401 00", 0, 0, 0),
        (6, "0401 0050", 1025, 80, 0),
        (6, "0401 0050 00000001 00000000 50", 1025, 80, 0),
        (6, "0401 0050 00000001 00000000 5012", 1025, 80, 0x12),
        (132, "0401", 0, 0, 0),
        (33, "04", 0, 0, 0),
        (47, "20", 0, 0, 0),
        (50, "000001", 0, 0, 0),
    ];
    for (protocol, bytes, src_port, dst_port, flags) in cases {
        let frame = outer(&four(&outer_v4(protocol, &hex(bytes)))).unwrap();
        assert_eq!(addresses(&frame), "192.0.2.1 > 192.0.2.2");
        assert_eq!((frame.protocol, frame.ip_length), (protocol, 20 + hex(bytes).len() as u32));
        assert_eq!((frame.src_port, frame.dst_port), (src_port, dst_port), "{bytes}");
        assert_eq!(frame.tcp_flags, flags);
        assert_eq!(frame.anomalies, Anomalies::TRANSPORT_CUT, "{protocol} {bytes}");
    }
}

#[test]
fn transport_fields_of_each_protocol() {
    assert_eq!(read("ipv4 icmp").dst_port, 3 << 8 | 1);
    assert_eq!(read("ipv6 icmp").dst_port, 128 << 8);
    assert_eq!((read("sctp").src_port, read("sctp").dst_port), (2905, 2906));
    for protocol in [33, 136] {
        let frame = outer(&four(&outer_v4(protocol, &dns()))).unwrap();
        assert_eq!((frame.src_port, frame.dst_port), (1000, 53));
    }
    for (gre, key) in
        [("2000 0800 00000007", 7), ("a000 0800 0000 0000 00000008", 8), ("0000 0800", 0)]
    {
        assert_eq!(outer(&four(&outer_v4(47, &hex(gre)))).unwrap().key, key);
    }
    let mut low_offset = reference_syn();
    low_offset[46] = 0x41;
    let frame = outer(&low_offset).unwrap();
    assert_eq!((frame.anomalies, frame.tcp_flags), (Anomalies::TCP_DATA_OFFSET, 0x102));
    let short = outer(&four(&outer_v4(17, &hex("0401 0050 0007 0000")))).unwrap();
    assert_eq!((short.anomalies, short.dst_port), (Anomalies::UDP_LENGTH, 80));
    let ospf = outer(&four(&outer_v4(89, &[0; 8]))).unwrap();
    assert_eq!((ospf.protocol, ospf.anomalies), (89, Anomalies::NONE));
}
