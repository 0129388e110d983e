//! What it costs to find the packet in a frame, and the frames in a capture.

#![expect(clippy::expect_used, reason = "a benchmark stops when its set-up is wrong")]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidewall_testkit::bench::Bench;
use tidewall_wire::emit::{
    Frame, Packet, Payload, Piece, Tag, Transport, append_packet, emit_frame,
};
use tidewall_wire::frame::{LinkType, TunnelPolicy, dissect};
use tidewall_wire::pcap::{self, Packets, PcapHeader, PcapWriter};

/// Frames of each bench: different addresses and ports, all in the first-level cache.
const FRAMES: u16 = 128;
const PAYLOAD: usize = 64;

fn main() {
    let mut bench = Bench::new("wire");
    let udp = |n| Transport::Udp { source: 1024 + n, destination: 53 };
    let tcp = |n| Transport::Tcp {
        source: 1024 + n,
        destination: 443,
        flags: 0x10,
        sequence: 1,
        acknowledgment: 2,
        window: 3,
    };
    bench.aim(20.0);
    dissected(&mut bench, "ethernet_ipv4_udp", &frames(|n| frame(v4(n), udp(n), &[])));
    dissected(&mut bench, "ethernet_ipv4_tcp", &frames(|n| frame(v4(n), tcp(n), &[])));
    dissected(&mut bench, "ethernet_ipv6_tcp", &frames(|n| frame(v6(n), tcp(n), &[])));
    let tags = [Tag { ethertype: 0x88a8, id: 100 }, Tag::dot1q(7)];
    dissected(&mut bench, "vlan_x2_ipv4_udp", &frames(|n| frame(v4(n), udp(n), &tags)));
    dissected(&mut bench, "mpls_x2_ipv4_udp", &frames(|n| mpls(&frame(v4(n), udp(n), &[]))));
    dissected(&mut bench, "ipv4_later_fragment", &frames(|n| later_fragment(n, udp(n))));
    dissected(
        &mut bench,
        "ipv4_tcp_cut_after_ports",
        &frames(|n| {
            let mut bytes = frame(v4(n), tcp(n), &[]);
            bytes.truncate(14 + 20 + 4);
            bytes
        }),
    );
    let tunnelled = frames(|n| gre(n, udp(n)));
    dissected(&mut bench, "gre_ipv4_udp_outer", &tunnelled);
    dissected_by(&mut bench, "gre_ipv4_udp_inner", &tunnelled, TunnelPolicy::INNER);
    captures(&mut bench, &frames(|n| frame(v4(n), udp(n), &[])));
}

fn dissected(bench: &mut Bench, name: &str, frames: &[Vec<u8>]) {
    dissected_by(bench, name, frames, TunnelPolicy::OUTER);
}

fn dissected_by(bench: &mut Bench, name: &str, frames: &[Vec<u8>], policy: TunnelPolicy) {
    let name = format!("dissect_{name}");
    let packets = || {
        let mut packets = 0;
        for frame in frames {
            let found = dissect(LinkType::ETHERNET, frame, &policy);
            // All fields are wanted, not only those that this loop reads.
            packets += usize::from(black_box(&found).is_ok());
        }
        packets
    };
    assert_eq!(packets(), frames.len(), "{name}: every frame has a packet");
    bench.run(&name, "ns/frame", frames.len() as u64, packets);
}

/// A capture in memory, from file header to the last packet.
fn captures(bench: &mut Bench, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    let writer = PcapWriter::new(PcapHeader::default(), &mut file);
    for (data, n) in frames.iter().cycle().take(4096).zip(0u64..) {
        let wire_len = data.len() as u32;
        let packet = pcap::Packet { time: n * 1000, link_type: 1, wire_len, data, interface: 0 };
        writer.write(&packet, &mut file);
    }
    let lengths = || Packets::new(&file).flatten().map(|packet| packet.data.len()).sum::<usize>();
    assert_eq!(lengths(), 32 * frames.iter().map(Vec::len).sum::<usize>());
    bench.note("in memory").run("parse_pcap", "ns/packet", 4096, lengths);
}

fn frames(make: impl Fn(u16) -> Vec<u8>) -> Vec<Vec<u8>> {
    (0..FRAMES).map(make).collect()
}

fn v4(n: u16) -> [IpAddr; 2] {
    let [high, low] = n.wrapping_mul(40_503).to_be_bytes();
    [Ipv4Addr::new(198, 51, high, low).into(), Ipv4Addr::new(10, 0, low, high).into()]
}

fn v6(n: u16) -> [IpAddr; 2] {
    let n = n.wrapping_mul(40_503);
    [
        Ipv6Addr::new(0x2001, 0xdb8, n, 0, 0, 0, 0, 1).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, n).into(),
    ]
}

fn packet(
    [source, destination]: [IpAddr; 2],
    transport: Transport,
    payload: Payload<'_>,
) -> Packet<'_> {
    Packet { source, destination, ttl: 60, identification: 1, piece: None, transport, payload }
}

fn frame(ends: [IpAddr; 2], transport: Transport, tags: &[Tag]) -> Vec<u8> {
    emitted(packet(ends, transport, Payload::Zeros(PAYLOAD)), tags)
}

fn emitted(packet: Packet<'_>, tags: &[Tag]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = Frame { destination: [2; 6], source: [4; 6], tags, packet };
    emit_frame(&frame, &mut bytes).expect("a frame that can be written");
    bytes
}

fn later_fragment(n: u16, transport: Transport) -> Vec<u8> {
    let piece = Some(Piece { offset: 185, more: true, rest: 1480 });
    emitted(Packet { piece, ..packet(v4(n), transport, Payload::Zeros(PAYLOAD)) }, &[])
}

/// Two labels between the Ethernet header and the packet (RFC 3032).
fn mpls(frame: &[u8]) -> Vec<u8> {
    let (ethernet, rest) = frame.split_at(12);
    [ethernet, &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64], &rest[2..]].concat()
}

fn gre(n: u16, transport: Transport) -> Vec<u8> {
    let mut inner = Vec::new();
    let ends = [IpAddr::from([192, 168, 0, 1]), IpAddr::from([192, 168, 0, 2])];
    append_packet(&packet(v4(n), transport, Payload::Zeros(PAYLOAD)), &mut inner)
        .expect("a packet that can be written");
    let gre = Transport::Gre { protocol: 0x0800, checksum: false, key: None, sequence: None };
    emitted(packet(ends, gre, Payload::Bytes(&inner)), &[])
}
