//! The frames that nearly all frames are, read without a detour: Ethernet, up to two VLAN tags,
//! IPv4 without options or IPv6 without extension headers, whole UDP, TCP or ICMP.
//!
//! Anything odd, short or wrapped gives `None` and takes the general way, which would read these
//! frames alike (a test holds the two against each other). Fields stay in registers here and are
//! written once, which is worth a factor of three.

use super::link::is_vlan;
use super::transport::{ICMP, ICMPV6, TCP, UDP};
use super::{Frame, IpVersion};

/// The IP header's part of a frame.
struct Ip<'a> {
    version: IpVersion,
    src: u128,
    dst: u128,
    length: u32,
    header_length: u32,
    protocol: u8,
    ttl: u8,
    payload: &'a [u8],
}

/// What the transport header says.
struct Transport {
    src_port: u16,
    dst_port: u16,
    tcp_flags: u16,
}

#[expect(clippy::inline_always, reason = "a frame that is copied costs as much as reading it")]
#[inline(always)]
pub(super) fn read(data: &[u8]) -> Option<Frame> {
    let (addresses, mut rest) = data.split_first_chunk::<14>()?;
    let mut number = u16::from_be_bytes([addresses[12], addresses[13]]);
    let (mut vlan, mut inner_vlan, mut vlan_tags) = (0, 0, 0_u8);
    while is_vlan(number) && vlan_tags < 2 {
        let (&[t0, t1, n0, n1], behind) = rest.split_first_chunk()?;
        let id = u16::from_be_bytes([t0 & 0x0f, t1]);
        (vlan, inner_vlan) = if vlan_tags == 0 { (id, 0) } else { (vlan, id) };
        number = u16::from_be_bytes([n0, n1]);
        vlan_tags += 1;
        rest = behind;
    }
    let ip = match number {
        0x0800 => ipv4(rest)?,
        0x86dd => ipv6(rest)?,
        _ => return None,
    };
    let transport = match ip.protocol {
        UDP => udp(ip.payload)?,
        TCP => tcp(ip.payload)?,
        ICMP | ICMPV6 => icmp(ip.payload)?,
        _ => return None,
    };
    let ip_offset = 14 + u32::from(vlan_tags) * 4;
    Some(Frame {
        src: ip.src,
        dst: ip.dst,
        ip_length: ip.length,
        ip_offset,
        transport_offset: ip_offset + ip.header_length,
        src_port: transport.src_port,
        dst_port: transport.dst_port,
        tcp_flags: transport.tcp_flags,
        vlan,
        inner_vlan,
        version: ip.version,
        protocol: ip.protocol,
        ttl: ip.ttl,
        vlan_tags,
        ..Frame::default()
    })
}

#[inline]
fn ipv4(data: &[u8]) -> Option<Ip<'_>> {
    let (h, behind) = data.split_first_chunk::<20>()?;
    let length = u16::from_be_bytes([h[2], h[3]]);
    let fragment = u16::from_be_bytes([h[6], h[7]]) & 0x3fff;
    if h[0] != 0x45 || fragment != 0 || length < 20 {
        return None;
    }
    Some(Ip {
        version: IpVersion::V4,
        src: u128::from(u32::from_be_bytes([h[12], h[13], h[14], h[15]])),
        dst: u128::from(u32::from_be_bytes([h[16], h[17], h[18], h[19]])),
        length: u32::from(length),
        header_length: 20,
        protocol: h[9],
        ttl: h[8],
        payload: behind.get(..usize::from(length) - 20).unwrap_or(behind),
    })
}

#[inline]
fn ipv6(data: &[u8]) -> Option<Ip<'_>> {
    let (h, behind) = data.split_first_chunk::<8>()?;
    let (src, behind) = behind.split_first_chunk::<16>()?;
    let (dst, behind) = behind.split_first_chunk::<16>()?;
    let length = u16::from_be_bytes([h[4], h[5]]);
    if h[0] >> 4 != 6 || length == 0 {
        return None;
    }
    Some(Ip {
        version: IpVersion::V6,
        src: u128::from_be_bytes(*src),
        dst: u128::from_be_bytes(*dst),
        length: u32::from(length) + 40,
        header_length: 40,
        protocol: h[6],
        ttl: h[7],
        payload: behind.get(..usize::from(length)).unwrap_or(behind),
    })
}

#[inline]
fn udp(payload: &[u8]) -> Option<Transport> {
    let &[s0, s1, d0, d1, l0, l1, _, _] = payload.first_chunk()?;
    let ports = (u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1]));
    let odd = matches!(u16::from_be_bytes([l0, l1]), 1..8);
    (!odd).then_some(Transport { src_port: ports.0, dst_port: ports.1, tcp_flags: 0 })
}

#[inline]
fn tcp(payload: &[u8]) -> Option<Transport> {
    let h = payload.first_chunk::<20>()?;
    (h[12] >> 4 >= 5).then_some(Transport {
        src_port: u16::from_be_bytes([h[0], h[1]]),
        dst_port: u16::from_be_bytes([h[2], h[3]]),
        tcp_flags: u16::from_be_bytes([h[12] & 0x0f, h[13]]),
    })
}

#[inline]
fn icmp(payload: &[u8]) -> Option<Transport> {
    let type_and_code = payload.first_chunk()?;
    let dst_port = u16::from_be_bytes(*type_and_code);
    Some(Transport { src_port: 0, dst_port, tcp_flags: 0 })
}
