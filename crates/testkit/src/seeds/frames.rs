//! Frames: every link header, every extension header, every tunnel, with the byte in front that
//! tells the `frame` target the link type.

use super::{
    EmitError, LinkType, Packet, Piece, Seed, Tag, Transport, bytes_of, ethernet, packet, tcp, udp,
};

const MACS: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];

/// Collects seeds of the `frame` target.
#[derive(Default)]
struct Frames(Vec<Seed>);

impl Frames {
    fn add(&mut self, link: LinkType, name: &str, parts: &[&[u8]]) {
        let choice = LinkType::SUPPORTED.iter().position(|l| *l == link).unwrap_or(0);
        let bytes = [&[choice as u8], parts.concat().as_slice()].concat();
        self.0.push(Seed { target: "frame", name: name.to_owned(), bytes });
    }

    fn add_packet(&mut self, name: &str, packet: Packet<'_>) -> Result<(), EmitError> {
        self.add(LinkType::ETHERNET, name, &[&ethernet(&[], packet)?]);
        Ok(())
    }
}

pub(super) fn all() -> Result<Vec<Seed>, EmitError> {
    let mut frames = Frames::default();
    transports(&mut frames)?;
    links(&mut frames)?;
    extensions(&mut frames)?;
    udp_tunnels(&mut frames)?;
    ip_tunnels(&mut frames)?;
    Ok(frames.0)
}

fn transports(frames: &mut Frames) -> Result<(), EmitError> {
    let sctp = [0x13, 0x88, 0x0b, 0x59, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 20];
    let error = bytes_of(&packet(false, udp(1, 2), &[]))?;
    for (v6, family) in [(false, "v4"), (true, "v6")] {
        let echo = Transport::Icmp { kind: if v6 { 128 } else { 8 }, code: 0, body: 1 };
        let unreachable = Transport::Icmp { kind: if v6 { 1 } else { 3 }, code: 3, body: 0 };
        let kinds: [(&str, Transport, &[u8]); 9] = [
            ("udp", udp(53, 4000), &[1; 40]),
            ("syn", tcp(0x02), &[]),
            ("syn_ack", tcp(0x12), &[]),
            ("all_flags", tcp(0xfff), &[9; 3]),
            ("echo", echo, &[0; 56]),
            ("unreachable", unreachable, &error),
            ("sctp", Transport::Raw { protocol: 132 }, &sctp),
            ("esp", Transport::Raw { protocol: 50 }, &[0, 0, 1, 0, 0, 0, 0, 1, 5, 5]),
            ("no_next_header", Transport::Raw { protocol: 59 }, &[0; 4]),
        ];
        for (name, transport, payload) in kinds {
            frames.add_packet(&format!("{family}_{name}"), packet(v6, transport, payload))?;
        }
        let pieces = [("first", 0, true, 80), ("later", 185, true, 0), ("last", 370, false, 0)];
        for (name, offset, more, rest) in pieces {
            let piece = Some(Piece { offset, more, rest });
            let packet = Packet { piece, ..packet(v6, udp(53, 4000), &[2; 64]) };
            frames.add_packet(&format!("{family}_{name}"), packet)?;
        }
        let atomic = Some(Piece { offset: 0, more: false, rest: 0 });
        let packet = Packet { piece: atomic, ..packet(v6, udp(53, 4000), &[2; 64]) };
        frames.add_packet(&format!("{family}_atomic"), packet)?;
    }
    Ok(())
}

fn links(frames: &mut Frames) -> Result<(), EmitError> {
    let v4 = packet(false, udp(123, 4000), &[3; 48]);
    let (ip4, ip6) = (bytes_of(&v4)?, bytes_of(&packet(true, tcp(2), &[]))?);
    let stacks: [(&str, &[u16]); 4] = [
        ("dot1q", &[0x8100]),
        ("qinq", &[0x88a8, 0x8100]),
        ("old_qinq", &[0x9100, 0x8100]),
        ("many_tags", &[0x88a8, 0x8100, 0x8100, 0x8100, 0x8100]),
    ];
    for (name, types) in stacks {
        let tags: Vec<Tag> =
            types.iter().zip(100..).map(|(t, id)| Tag { ethertype: *t, id }).collect();
        frames.add(LinkType::ETHERNET, name, &[&ethernet(&tags, v4)?]);
    }
    // Two labels; the second is at the bottom of the stack.
    let labels = [0, 1, 0x40, 64, 0, 2, 1, 64];
    let on_ethernet: [(&str, &[u8], &[u8]); 6] = [
        ("mpls", &[0x88, 0x47, 0, 1, 0x40, 64, 0, 2, 1, 64], &ip4),
        ("mpls_pseudowire", &[0x88, 0x47, 0, 2, 1, 64, 0, 0, 0, 0], &ethernet(&[], v4)?),
        ("pppoe", &[0x88, 0x64, 0x11, 0, 0, 9, 0, 78, 0, 0x21], &ip4),
        ("llc_snap", &[0, 84, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &ip4),
        ("macsec_ethertype", &[0x88, 0xe5, 0x2c, 0, 0, 0, 0, 1], &ip4),
        ("arp", &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[0; 20]),
    ];
    for (name, header, body) in on_ethernet {
        frames.add(LinkType::ETHERNET, name, &[&MACS, header, body]);
    }
    let sll = [0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0, 8, 0];
    let sll2 = [8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0];
    let others: [(LinkType, &str, &[u8], &[u8]); 10] = [
        (LinkType::LINUX_SLL, "sll", &sll, &ip4),
        (LinkType::LINUX_SLL2, "sll2", &sll2, &ip4),
        (LinkType::RAW, "raw_v4", &[], &ip4),
        (LinkType::RAW, "raw_v6", &[], &ip6),
        (LinkType::IPV6, "link_v6", &[], &ip6),
        (LinkType::NULL, "null", &[2, 0, 0, 0], &ip4),
        (LinkType::LOOP, "loop", &[0, 0, 0, 24], &ip6),
        (LinkType::PPP, "ppp", &[0xff, 3, 0, 0x57], &ip6),
        (LinkType::C_HDLC, "hdlc", &[0x0f, 0, 8, 0], &ip4),
        (LinkType::MPLS, "link_mpls", &labels, &ip4),
    ];
    for (link, name, header, body) in others {
        frames.add(link, name, &[header, body]);
    }
    Ok(())
}

/// IPv6 extension headers, AH, and IPv4 options.
fn extensions(frames: &mut Frames) -> Result<(), EmitError> {
    let udp_header = [0, 53, 15, 160, 0, 8, 0, 0];
    // Next header UDP, then what the kind of header needs.
    let chain: [(&str, u8, &[u8]); 5] = [
        ("hop_by_hop", 0, &[17, 0, 1, 4, 0, 0, 0, 0]),
        (
            "routing",
            43,
            &[17, 2, 4, 0, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        ),
        ("destination_options", 60, &[17, 0, 1, 4, 0, 0, 0, 0]),
        ("ah", 51, &[17, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
        ("hop_by_hop_then_fragment", 0, &[44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 5, 0xc8, 0, 0, 0, 1]),
    ];
    for (name, protocol, header) in chain {
        let payload = [header, &udp_header].concat();
        frames.add_packet(name, packet(true, Transport::Raw { protocol }, &payload))?;
    }
    let mut options = bytes_of(&packet(false, udp(53, 4000), &[]))?;
    if let Some(first) = options.first_mut() {
        *first = 0x46;
    }
    options.splice(20..20, [0x94, 4, 0, 0]);
    frames.add(LinkType::RAW, "v4_options", &[&options]);
    Ok(())
}

fn udp_tunnels(frames: &mut Frames) -> Result<(), EmitError> {
    let inner = packet(false, udp(53, 4000), &[1; 20]);
    let ip = bytes_of(&inner)?;
    let ip6 = bytes_of(&packet(true, tcp(2), &[]))?;
    let frame = ethernet(&[], inner)?;
    let tunnels: [(&str, u16, &[u8], &[u8]); 9] = [
        ("gtp_u", 2152, &[0x30, 0xff, 0, 48, 0, 0, 0, 1], &ip),
        ("gtp_u_extension", 2152, &[0x34, 0xff, 0, 56, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 9, 0], &ip),
        ("vxlan", 4789, &[8, 0, 0, 0, 0, 0, 5, 0], &frame),
        ("vxlan_gpe", 4790, &[0x0c, 0, 0, 1, 0, 0, 5, 0], &ip),
        ("geneve", 6081, &[1, 0, 0x65, 0x58, 0, 0, 5, 0, 0, 1, 2, 0], &frame),
        ("l2tp_v2", 1701, &[0x40, 2, 0, 60, 0, 1, 0, 2, 0xff, 3, 0, 0x21], &ip),
        ("mpls_in_udp", 6635, &[0, 2, 1, 64], &ip),
        ("teredo", 3544, &[0, 0, 1, 2, 3, 4, 5, 6], &ip6),
        ("lisp", 4341, &[0, 0, 0, 0, 0, 0, 0, 1], &ip),
    ];
    for (name, port, header, body) in tunnels {
        frames.add_packet(name, packet(false, udp(50_000, port), &[header, body].concat()))?;
    }
    Ok(())
}

fn ip_tunnels(frames: &mut Frames) -> Result<(), EmitError> {
    let inner = packet(false, udp(53, 4000), &[1; 20]);
    let ip = bytes_of(&inner)?;
    let ip6 = bytes_of(&packet(true, tcp(2), &[]))?;
    let frame = ethernet(&[], inner)?;
    let gre =
        |protocol, key, sequence, checksum| Transport::Gre { protocol, checksum, key, sequence };
    let raw = |protocol| Transport::Raw { protocol };
    let erspan3 = [0x20, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0];
    let tunnels: [(&str, Transport, &[u8], &[u8]); 13] = [
        ("gre", gre(0x0800, None, None, false), &[], &ip),
        ("gre_all_words", gre(0x86dd, Some(7), Some(1), true), &[], &ip6),
        ("gre_ethernet", gre(0x6558, Some(0x500), None, false), &[], &frame),
        ("erspan_1", gre(0x88be, None, None, false), &[], &frame),
        ("erspan_2", gre(0x88be, None, Some(9), false), &[0x10, 1, 0, 2, 0, 0, 0, 3], &frame),
        ("erspan_3", gre(0x22eb, None, Some(9), false), &erspan3, &frame),
        ("pptp", raw(47), &[0x30, 1, 0x88, 0x0b, 0, 52, 0, 1, 0, 0, 0, 1, 0xff, 3, 0, 0x21], &ip),
        ("ip_in_ip", raw(4), &[], &ip),
        ("6in4", raw(41), &[], &ip6),
        ("etherip", raw(97), &[0x30, 0], &frame),
        ("l2tp_v3", raw(115), &[0, 0, 0, 1], &frame),
        ("mpls_in_ip", raw(137), &[0, 2, 1, 64], &ip),
        ("l2tp_v3_control", raw(115), &[0, 0, 0, 0, 0xc8, 3, 0, 20], &[0; 16]),
    ];
    for (name, transport, header, body) in tunnels {
        frames.add_packet(name, packet(false, transport, &[header, body].concat()))?;
    }
    let mut nested = ip;
    for depth in 1..=10u8 {
        nested = bytes_of(&packet(false, raw(4), &nested))?;
        if depth % 5 == 0 {
            frames.add(LinkType::RAW, &format!("ip_in_ip_{depth}_deep"), &[&nested]);
        }
    }
    Ok(())
}
