//! What is built is read back by an independent library.

use std::net::IpAddr;

use etherparse::{NetSlice, SlicedPacket, TransportSlice, defrag::IpDefragPool};
use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn packet(v6: bool, transport: Transport, payload: Payload<'_>) -> Packet<'_> {
    let (source, destination) =
        if v6 { ("2001:db8::1", "2001:db8:20::2") } else { ("192.0.2.1", "198.51.100.2") };
    Packet {
        source: ip(source),
        destination: ip(destination),
        ttl: 61,
        identification: 0x1234,
        piece: None,
        transport,
        payload,
    }
}

fn frame<'a>(tags: &'a [Tag], packet: Packet<'a>) -> Vec<u8> {
    let mut out = vec![0xaa; 7];
    let frame = Frame { destination: [2; 6], source: [4; 6], tags, packet };
    emit_frame(&frame, &mut out).unwrap();
    out
}

/// The transport part with its checksum verified by etherparse, and the IP payload length.
fn check(bytes: &[u8], want: &Packet<'_>) {
    let sliced = SlicedPacket::from_ethernet(bytes).unwrap();
    let (source, destination, ttl, payload) = match sliced.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            assert_eq!(usize::from(header.total_len), 20 + ip.payload().payload.len());
            (
                IpAddr::V4(header.source.into()),
                IpAddr::V4(header.destination.into()),
                header.time_to_live,
                ip.payload(),
            )
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            (
                IpAddr::V6(header.source.into()),
                IpAddr::V6(header.destination.into()),
                header.hop_limit,
                ip.payload(),
            )
        }
        other @ NetSlice::Arp(_) => panic!("{other:?}"),
    };
    assert_eq!((source, destination, ttl), (want.source, want.destination, want.ttl));
    assert_eq!(payload.payload.len(), want.transport.header_len() + want.payload.len());
    assert_eq!(payload.ip_number.0, want.transport.protocol(source));
    match (sliced.transport.unwrap(), want.transport) {
        (TransportSlice::Udp(udp), Transport::Udp { source: from, destination: to }) => {
            let header = udp.to_header();
            assert_eq!((header.source_port, header.destination_port), (from, to));
            assert_eq!(usize::from(header.length), 8 + want.payload.len());
            let calculated = match (source, destination) {
                (IpAddr::V4(s), IpAddr::V4(d)) => {
                    header.calc_checksum_ipv4_raw(s.octets(), d.octets(), udp.payload())
                }
                (IpAddr::V6(s), IpAddr::V6(d)) => {
                    header.calc_checksum_ipv6_raw(s.octets(), d.octets(), udp.payload())
                }
                _ => unreachable!(),
            };
            assert_eq!(header.checksum, calculated.unwrap());
        }
        (TransportSlice::Tcp(tcp), Transport::Tcp { source: from, destination: to, flags, .. }) => {
            assert_eq!((tcp.source_port(), tcp.destination_port()), (from, to));
            let calculated = match (source, destination) {
                (IpAddr::V4(s), IpAddr::V4(d)) => tcp.calc_checksum_ipv4(s.octets(), d.octets()),
                (IpAddr::V6(s), IpAddr::V6(d)) => tcp.calc_checksum_ipv6(s.octets(), d.octets()),
                _ => unreachable!(),
            };
            assert_eq!(tcp.checksum(), calculated.unwrap());
            let words = [
                tcp.fin(),
                tcp.syn(),
                tcp.rst(),
                tcp.psh(),
                tcp.ack(),
                tcp.urg(),
                tcp.ece(),
                tcp.cwr(),
                tcp.ns(),
            ];
            let read = words.iter().enumerate().map(|(bit, on)| u16::from(*on) << bit).sum::<u16>();
            assert_eq!(read, flags & 0x1ff);
        }
        (TransportSlice::Icmpv4(icmp), Transport::Icmp { kind, code, .. }) => {
            assert_eq!((icmp.type_u8(), icmp.code_u8()), (kind, code));
            assert_eq!(fold(sum(icmp.slice())), 0xffff);
        }
        (TransportSlice::Icmpv6(icmp), Transport::Icmp { kind, code, .. }) => {
            assert_eq!((icmp.type_u8(), icmp.code_u8()), (kind, code));
            let (IpAddr::V6(s), IpAddr::V6(d)) = (source, destination) else { unreachable!() };
            assert!(icmp.is_checksum_valid(s.octets(), d.octets()));
        }
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn etherparse_reads_back_what_was_written(
        v6: bool, which in 0..3u8, from: u16, to: u16, flags in 0..0x200u16, word: u32,
        payload in prop::collection::vec(any::<u8>(), 0..300),
        zeros in prop::option::of(0..1400usize),
    ) {
        let transport = match which {
            0 => Transport::Udp { source: from, destination: to },
            1 => Transport::Tcp { source: from, destination: to, flags, sequence: word,
                acknowledgment: !word, window: 1024 },
            // Echo: etherparse wants whole bodies of the types that have longer ones.
            _ => Transport::Icmp { kind: if v6 { 128 } else { 8 }, code: 0, body: word },
        };
        let payload = zeros.map_or(Payload::Bytes(&payload), Payload::Zeros);
        let packet = packet(v6, transport, payload);
        check(&frame(&[], packet), &packet);
    }
}

#[test]
fn tags_are_written_outermost_first() {
    let tags = [Tag { ethertype: 0x88a8, id: 100 }, Tag::dot1q(4095)];
    let udp = Transport::Udp { source: 1, destination: 2 };
    let packet = packet(false, udp, Payload::Zeros(0));
    let bytes = frame(&tags, packet);
    assert_eq!(bytes[12..22], [0x88, 0xa8, 0, 100, 0x81, 0, 0x0f, 0xff, 8, 0]);
    check(&bytes, &packet);
}

#[test]
fn pieces_reassemble_to_a_datagram_with_a_right_checksum() {
    for v6 in [false, true] {
        let udp = Transport::Udp { source: 53, destination: 4444 };
        let first = Packet {
            piece: Some(Piece { offset: 0, more: true, rest: 1480 + 100 }),
            ..packet(v6, udp, Payload::Zeros(1472))
        };
        let later = |offset, more, length| Packet {
            piece: Some(Piece { offset, more, rest: 0 }),
            ..packet(v6, udp, Payload::Zeros(length))
        };
        let mut pool = IpDefragPool::<(), ()>::new();
        let mut whole = None;
        for piece in [first, later(185, true, 1480), later(370, false, 100)] {
            let bytes = frame(&[], piece);
            let sliced = SlicedPacket::from_ethernet(&bytes).unwrap();
            whole = pool.process_sliced_packet(&sliced, (), ()).unwrap().or(whole);
        }
        let datagram = whole.unwrap().payload;
        assert_eq!(datagram.len(), 1480 + 1480 + 100);
        let pseudo = pseudo_header(&first, datagram.len());
        assert_eq!(fold(sum(&datagram) + pseudo), 0xffff, "v6 {v6}");
        assert_eq!(usize::from(u16::from_be_bytes([datagram[4], datagram[5]])), datagram.len());
    }
}

#[test]
fn gre_carries_a_packet_and_its_optional_words() {
    let mut inner = Vec::new();
    let udp = Transport::Udp { source: 5, destination: 6 };
    append_packet(&packet(false, udp, Payload::Bytes(b"abc")), &mut inner).unwrap();
    let gre = Transport::Gre {
        protocol: 0x0800,
        checksum: true,
        key: Some(7),
        sequence: Some(0x0102_0304),
    };
    let bytes = frame(&[], packet(true, gre, Payload::Bytes(&inner)));
    let gre_bytes = &bytes[14 + 40..];
    assert_eq!(gre_bytes[..4], [0xb0, 0, 8, 0]);
    assert_eq!(gre_bytes[6..16], [0, 0, 0, 0, 0, 7, 1, 2, 3, 4]);
    assert_eq!(fold(sum(gre_bytes)), 0xffff);
    assert_eq!(&gre_bytes[16..], inner);
    let plain = Transport::Gre { protocol: 0x6558, checksum: false, key: None, sequence: None };
    assert_eq!(frame(&[], packet(false, plain, Payload::Zeros(1)))[34..], [0, 0, 0x65, 0x58, 0]);
}

#[test]
fn a_zero_udp_checksum_is_written_as_ones() {
    let udp = Transport::Udp { source: 0, destination: 0 };
    let mut bytes = frame(&[], packet(false, udp, Payload::Bytes(&[0, 0])));
    // Choose the payload so that the sum comes out as all ones.
    let missing = u16::from_be_bytes([bytes[40], bytes[41]]);
    bytes = frame(&[], packet(false, udp, Payload::Bytes(&missing.to_be_bytes())));
    assert_eq!(bytes[40..42], [0xff, 0xff]);
}

#[test]
fn what_cannot_be_written_is_refused() {
    let udp = Transport::Udp { source: 1, destination: 2 };
    let mut out = Vec::new();
    let longest = packet(false, udp, Payload::Zeros(65_535 - 28));
    append_packet(&longest, &mut out).unwrap();
    assert_eq!(out.len(), 65_535);
    let refused = |packet: Packet<'_>| append_packet(&packet, &mut Vec::new()).unwrap_err();
    assert_eq!(
        refused(packet(false, udp, Payload::Zeros(65_535 - 27))),
        EmitError::TooLong { length: 65_536, limit: 65_535 }
    );
    let mixed = Packet { destination: ip("::1"), ..longest };
    assert!(matches!(refused(mixed), EmitError::MixedFamilies { .. }));
    let far = Piece { offset: 8192, more: false, rest: 0 };
    assert_eq!(refused(Packet { piece: Some(far), ..longest }), EmitError::Offset { offset: 8192 });
    let frame =
        Frame { destination: [0; 6], source: [0; 6], tags: &[Tag::dot1q(4096)], packet: longest };
    assert_eq!(emit_frame(&frame, &mut out), Err(EmitError::Vlan { id: 4096 }));
}
