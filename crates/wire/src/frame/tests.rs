//! One byte vector for each encapsulation, and the builders they share.

mod against_etherparse;
mod ip_and_transport;
mod properties;
mod tunnels;
mod ways_to_ip;

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

use super::*;

/// A frame and what it must be read as.
pub(super) struct Vector {
    name: String,
    link: LinkType,
    data: Vec<u8>,
}

/// Every valid frame of the tests, for the properties that hold for all of them.
pub(super) fn all_vectors() -> Vec<Vector> {
    let mut all = Vec::new();
    for case in ways_to_ip::cases() {
        all.push(Vector { name: case.name.into(), link: case.link, data: case.frame() });
    }
    for case in tunnels::cases() {
        let (name, data) = (case.name.into(), case.frame());
        all.push(Vector { name, link: LinkType::ETHERNET, data });
    }
    for (name, data) in ip_and_transport::frames() {
        all.push(Vector { name: name.into(), link: LinkType::ETHERNET, data });
    }
    all
}

/// The same cases on every run.
pub(super) fn seeded(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x7469_6465_7761_6c6c);
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

/// Bytes from hexadecimal digits; spaces are for the reader.
pub(super) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.bytes().filter(|b| !b.is_ascii_whitespace()).map(hex_digit).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn hex_digit(byte: u8) -> u8 {
    (byte as char).to_digit(16).expect("a hexadecimal digit") as u8
}

pub(super) fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// `90:e2:ba:83:3f:25` from `90:e2:ba:2c:cb:02`, then the type.
pub(super) fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    join(&[&hex("90e2ba833f25 90e2ba2ccb02"), &ethertype.to_be_bytes(), payload])
}

/// 192.0.2.1 to 192.0.2.2, TTL 64.
pub(super) fn outer_v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4("c0000201 c0000202", protocol, payload)
}

/// 10.0.0.1 to 10.0.0.2, TTL 64.
pub(super) fn inner_v4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    v4("0a000001 0a000002", protocol, payload)
}

fn v4(addresses: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len()) as u16;
    let start = [&[0x45, 0][..], &length.to_be_bytes(), &[0, 1, 0, 0, 64, protocol]].concat();
    let addresses = hex(addresses);
    let mut sum: u32 = start
        .chunks(2)
        .chain(addresses.chunks(2))
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    join(&[&start, &(!sum as u16).to_be_bytes(), &addresses, payload])
}

/// 2001:db8::1 to 2001:db8::2, hop limit 64.
pub(super) fn outer_v6(next: u8, payload: &[u8]) -> Vec<u8> {
    v6(0, next, payload)
}

/// 2001:db8:1::1 to 2001:db8:1::2, hop limit 64.
pub(super) fn inner_v6(next: u8, payload: &[u8]) -> Vec<u8> {
    v6(1, next, payload)
}

fn v6(third: u8, next: u8, payload: &[u8]) -> Vec<u8> {
    let address = |last| [0x20, 1, 0xd, 0xb8, 0, third, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let length = (payload.len() as u16).to_be_bytes();
    join(&[&[0x60, 0, 0, 0], &length, &[next, 64], &address(1), &address(2), payload])
}

/// A UDP datagram without checksum.
pub(super) fn udp(src_port: u16, dst_port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    join(&[
        &src_port.to_be_bytes(),
        &dst_port.to_be_bytes(),
        &length.to_be_bytes(),
        &[0, 0],
        payload,
    ])
}

/// Ports 1025 and 80, SYN.
pub(super) fn tcp_syn() -> Vec<u8> {
    hex("0401 0050 00000001 00000000 5002 000a 0000 0000")
}

/// UDP from port 1000 to 53 with four bytes of payload.
pub(super) fn dns() -> Vec<u8> {
    udp(1000, 53, b"dns!")
}

/// Source and destination as text.
pub(super) fn addresses(frame: &Frame) -> String {
    use std::net::{Ipv4Addr, Ipv6Addr};
    match frame.version {
        IpVersion::V4 => format!(
            "{} > {}",
            Ipv4Addr::from_bits(frame.src as u32),
            Ipv4Addr::from_bits(frame.dst as u32)
        ),
        IpVersion::V6 => {
            format!("{} > {}", Ipv6Addr::from_bits(frame.src), Ipv6Addr::from_bits(frame.dst))
        }
    }
}

pub(super) fn outer(data: &[u8]) -> Result<Frame, FrameError> {
    dissect(LinkType::ETHERNET, data, &TunnelPolicy::OUTER)
}

#[test]
fn a_frame_is_small() {
    assert!(size_of::<Frame>() <= 80, "{}", size_of::<Frame>());
    assert!(size_of::<Result<Frame, FrameError>>() <= 96);
}
