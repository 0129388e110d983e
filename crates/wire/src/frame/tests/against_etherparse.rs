//! Held against an independent parser, on frames that it builds itself.

use etherparse::{
    IpNumber, LaxSlicedPacket, NetSlice, PacketBuilder, SlicedPacket, TransportSlice,
};
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Plan {
    tags: Vec<u16>,
    four: bool,
    addresses: ([u8; 16], [u8; 16]),
    ttl: u8,
    ports: (u16, u16),
    tcp: bool,
    flags: u8,
    payload: Vec<u8>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let shape = (prop::collection::vec(0_u16..4096, 0..3), any::<bool>(), any::<bool>());
    let values = (any::<([u8; 16], [u8; 16])>(), any::<u8>(), any::<(u16, u16)>(), any::<u8>());
    (shape, values, prop::collection::vec(any::<u8>(), 0..64)).prop_map(
        |((tags, four, tcp), (addresses, ttl, ports, flags), payload)| Plan {
            tags,
            four,
            addresses,
            ttl,
            ports,
            tcp,
            flags,
            payload,
        },
    )
}

fn build(plan: &Plan) -> Vec<u8> {
    let vlan = |id: u16| id.try_into().unwrap();
    let start = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let (src, dst) = plan.addresses;
    let four = |a: [u8; 16]| [a[0], a[1], a[2], a[3]];
    macro_rules! finish {
        ($builder:expr) => {{
            let mut data = Vec::new();
            let with_ip = if plan.four {
                $builder.ipv4(four(src), four(dst), plan.ttl)
            } else {
                $builder.ipv6(src, dst, plan.ttl)
            };
            if plan.tcp {
                let mut step = with_ip.tcp(plan.ports.0, plan.ports.1, 7, 10);
                if plan.flags & 1 != 0 {
                    step = step.syn();
                }
                if plan.flags & 2 != 0 {
                    step = step.ack(9);
                }
                if plan.flags & 4 != 0 {
                    step = step.ns();
                }
                step.write(&mut data, &plan.payload).unwrap();
            } else {
                let step = with_ip.udp(plan.ports.0, plan.ports.1);
                step.write(&mut data, &plan.payload).unwrap();
            }
            data
        }};
    }
    match plan.tags[..] {
        [] => finish!(start),
        [id] => finish!(start.single_vlan(vlan(id))),
        [first, second, ..] => finish!(start.double_vlan(vlan(first), vlan(second))),
    }
}

/// Addresses, TTL, protocol and ports by the other parser.
fn by_etherparse(data: &[u8]) -> (u128, u128, u8, u8, u16, u16) {
    let packet = SlicedPacket::from_ethernet(data).unwrap();
    let (src, dst, ttl, protocol): (_, _, _, IpNumber) = match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            let number = |a: [u8; 4]| u128::from(u32::from_be_bytes(a));
            let (src, dst) = (number(header.source()), number(header.destination()));
            (src, dst, header.ttl(), header.protocol())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            let number = u128::from_be_bytes;
            let (src, dst) = (number(header.source()), number(header.destination()));
            (src, dst, header.hop_limit(), header.next_header())
        }
        NetSlice::Arp(_) => panic!("no ARP is built"),
    };
    let (src_port, dst_port) = match packet.transport.as_ref().unwrap() {
        TransportSlice::Udp(udp) => (udp.source_port(), udp.destination_port()),
        TransportSlice::Tcp(tcp) => (tcp.source_port(), tcp.destination_port()),
        _ => panic!("only TCP and UDP are built"),
    };
    (src, dst, ttl, protocol.0, src_port, dst_port)
}

proptest! {
    #![proptest_config(seeded(512))]

    #[test]
    fn whole_frames_are_read_alike(plan in plan()) {
        let data = build(&plan);
        let frame = outer(&data).unwrap();
        let ours =
            (frame.src, frame.dst, frame.ttl, frame.protocol, frame.src_port, frame.dst_port);
        prop_assert_eq!(ours, by_etherparse(&data));
        let flags = [(1, 0x002), (2, 0x010), (4, 0x100)];
        let expected = flags.iter().filter(|(bit, _)| plan.tcp && plan.flags & bit != 0);
        prop_assert_eq!(frame.tcp_flags, expected.map(|(_, flag)| flag).sum::<u16>());
        let packet = SlicedPacket::from_ethernet(&data).unwrap();
        let ids: Vec<u16> = packet.vlan_ids().iter().map(|id| id.value()).collect();
        prop_assert_eq!(&ids, &plan.tags);
        prop_assert_eq!(usize::from(frame.vlan_tags), plan.tags.len());
        prop_assert_eq!(frame.vlan, plan.tags.first().copied().unwrap_or(0));
        prop_assert_eq!(frame.inner_vlan, plan.tags.get(1).copied().unwrap_or(0));
    }

    #[test]
    fn cut_frames_give_addresses_whenever_the_other_parser_does(
        plan in plan(), end in any::<prop::sample::Index>(),
    ) {
        let data = build(&plan);
        let cut = &data[..end.index(data.len())];
        let lax = LaxSlicedPacket::from_ethernet(cut).ok();
        let theirs = lax.as_ref().is_some_and(|packet| packet.net.is_some());
        prop_assert_eq!(outer(cut).is_ok(), theirs, "{} of {} bytes", cut.len(), data.len());
    }
}
