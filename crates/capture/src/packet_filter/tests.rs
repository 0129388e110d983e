use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;

use tidewall_wire::emit::{Frame, Packet, Payload, Piece, Tag, Transport, emit_frame};

use super::*;
use crate::system;

/// Gives frames to the kernel's own interpreter: a filter on a Unix datagram socket sees what is
/// sent to it, from its first byte.
struct Kernel {
    inside: UnixDatagram,
    outside: UnixDatagram,
}

impl Kernel {
    fn with(filter: &str, ethernet: bool) -> Self {
        let filter: PacketFilter = filter.parse().unwrap();
        let filter = Some(&filter);
        Self::select(Selection { filter, sampling: None, snap_length: 65_535, ethernet })
    }

    fn select(selection: Selection<'_>) -> Self {
        Self::run(&compile(selection).unwrap())
    }

    fn run(program: &[libc::sock_filter]) -> Self {
        let (outside, inside) = UnixDatagram::pair().unwrap();
        inside.set_nonblocking(true).unwrap();
        system::attach_classic(inside.as_fd(), libc::SO_ATTACH_FILTER, program).unwrap();
        Self { inside, outside }
    }

    /// How much of the frame passes.
    fn passes(&self, frame: &[u8]) -> Option<usize> {
        // A filtered datagram is refused to the sender of a Unix socket.
        let _ = self.outside.send(frame);
        self.inside.recv(&mut [0; 4096]).ok()
    }
}

fn packet(v6: bool, transport: Transport) -> Packet<'static> {
    let (source, destination) = if v6 {
        ("2001:db8:1::1".parse().unwrap(), "2001:db8:2::2".parse().unwrap())
    } else {
        ("192.0.2.1".parse().unwrap(), "198.51.100.2".parse().unwrap())
    };
    let payload = Payload::Zeros(20);
    Packet { source, destination, ttl: 64, identification: 1, piece: None, transport, payload }
}

fn ethernet(packet: Packet<'_>, tags: &[Tag]) -> Vec<u8> {
    let mut out = Vec::new();
    let frame = Frame { destination: [2; 6], source: [4; 6], tags, packet };
    emit_frame(&frame, &mut out).unwrap();
    out
}

const UDP: Transport = Transport::Udp { source: 4000, destination: 53 };

#[test]
fn terms_say_what_they_say() {
    let v4 = ethernet(packet(false, UDP), &[]);
    let v6 = ethernet(packet(true, UDP), &[]);
    for (filter, v4_passes, v6_passes) in [
        ("ip", true, false),
        ("ip6", false, true),
        ("udp", true, true),
        ("tcp", false, false),
        ("icmp", false, false),
        ("ip6 and udp", false, true),
        ("host 192.0.2.1", true, false),
        ("host 198.51.100.2", true, false),
        ("src host 198.51.100.2", false, false),
        ("dst host 198.51.100.2", true, false),
        ("net 192.0.2.0/24 and net 198.51.100.0/24", true, false),
        ("net 192.0.0.0/23", false, false),
        ("dst net 192.0.2.0/24", false, false),
        ("net 0.0.0.0/0", true, false),
        ("net ::/0", false, true),
        ("net 2001:db8:2::/48", false, true),
        ("src net 2001:db8:2::/48", false, false),
        ("net 2001:db8::/34", false, true),
        ("host 2001:db8:1::1", false, true),
        ("host 2001:db8:1::2", false, false),
        ("port 53", true, true),
        ("port 4000", true, true),
        ("src port 53", false, false),
        ("dst port 53", true, true),
        ("dst port 4000", false, false),
        ("udp and port 53 and dst net 198.51.100.0/25", true, false),
        ("vlan", false, false),
    ] {
        let kernel = Kernel::with(filter, true);
        assert_eq!(kernel.passes(&v4).is_some(), v4_passes, "{filter} on IPv4");
        assert_eq!(kernel.passes(&v6).is_some(), v6_passes, "{filter} on IPv6");
    }
}

#[test]
fn a_tag_in_the_bytes_is_looked_behind() {
    let frame = ethernet(packet(false, UDP), &[Tag::dot1q(7)]);
    let passes = |filter| Kernel::with(filter, true).passes(&frame).is_some();
    assert!(passes("vlan") && passes("vlan 7") && passes("port 53") && passes("vlan and ip"));
    assert!(!passes("vlan 8") && !passes("ip6"));
}

#[test]
fn raw_ip_has_no_link_header() {
    for v6 in [false, true] {
        let frame = &ethernet(packet(v6, UDP), &[])[14..];
        assert!(Kernel::with("dst port 53", false).passes(frame).is_some());
        assert_eq!(Kernel::with("ip", false).passes(frame).is_some(), !v6);
    }
    assert!(Kernel::with("ip", false).passes(&[0x10; 60]).is_none());
}

#[test]
fn only_the_first_piece_has_ports() {
    for (offset, passes) in [(0, true), (100, false)] {
        let piece = Some(Piece { offset, more: true, rest: 0 });
        let frame = ethernet(Packet { piece, ..packet(false, UDP) }, &[]);
        assert_eq!(Kernel::with("port 53", true).passes(&frame).is_some(), passes);
        assert!(Kernel::with("udp", true).passes(&frame).is_some());
    }
}

#[test]
fn frames_that_are_cut_do_not_pass() {
    let kernel = Kernel::with("udp and port 53", true);
    let frame = ethernet(packet(false, UDP), &[]);
    assert!(kernel.passes(&frame[..38]).is_some());
    for length in 1..36 {
        assert!(kernel.passes(&frame[..length]).is_none(), "{length}");
    }
}

#[test]
fn one_in_n_is_one_in_n_and_cut_to_the_snap_length() {
    let sampling = NonZeroU32::new(10);
    let selection = Selection { filter: None, sampling, snap_length: 30, ethernet: true };
    let frame = ethernet(packet(false, UDP), &[]);
    let by_hand = vec![libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: 30 }];
    for kernel in [Kernel::select(selection), Kernel::run(&sampled(by_hand, sampling).unwrap())] {
        let passed = (0..10_000).filter(|_| kernel.passes(&frame) == Some(30)).count();
        // A thousand expected; six standard deviations are 180.
        assert!(passed.abs_diff(1000) < 180, "{passed}");
    }
}

use crate::classic_bpf::RETURN;

#[test]
fn the_largest_filter_fits() {
    let term = "net 2001:db8:1234:5678:9abc:def0:1234:5678/127";
    let text = vec![term; MAX_TERMS].join(" and ");
    let filter: PacketFilter = text.parse().unwrap();
    let selection =
        Selection { filter: Some(&filter), sampling: None, snap_length: 1, ethernet: true };
    let program = compile(selection).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    system::attach_classic(socket.as_fd(), libc::SO_ATTACH_FILTER, &program).unwrap();
    let one_more = format!("{text} and ip");
    assert!(matches!(one_more.parse::<PacketFilter>(), Err(FilterError::TooManyTerms { .. })));
}

#[test]
fn what_is_not_a_filter_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "`` is not known here"),
        ("ip or udp", "`and` is missing before `or`"),
        ("ip and", "`` is not known here"),
        ("src tcp", "`tcp` is not known here"),
        ("host 1.2.3", "`host` needs an address, not `1.2.3`"),
        ("net 10.0.0.1/8", "`net` needs a prefix, not `10.0.0.1/8`"),
        ("vlan 4096", "`vlan` needs a number from 0 to 4095"),
        ("port http", "`port` needs a number from 0 to 65535"),
        ("port", "`port` needs a number from 0 to 65535, not ``"),
    ] {
        let error = text.parse::<PacketFilter>().unwrap_err().to_string();
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_filter_prints_as_it_is_read() {
    let text = "ip6 and vlan 5 and src net 2001:db8::/32 and dst port 53 and net 10.0.0.1/32";
    assert_eq!(text.parse::<PacketFilter>().unwrap().to_string(), text);
    let host: PacketFilter = "vlan and host 10.0.0.1 && tcp".parse().unwrap();
    assert_eq!(host.to_string(), "vlan and net 10.0.0.1/32 and tcp");
}
