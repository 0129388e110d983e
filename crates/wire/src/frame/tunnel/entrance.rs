//! The headers of each tunnel: from a transport header to the first byte of what is carried.

use super::TunnelKind;
use crate::cursor::{Cursor, Cut};
use crate::frame::link::Layer;
use crate::frame::transport::{GRE, UDP};
use crate::frame::{Frame, FrameError, guess};

const IP_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const ETHERIP: u8 = 97;
const L2TP_V3: u8 = 115;
const MPLS_IN_IP: u8 = 137;

const L2TP_PORT: u16 = 1701;
const GTP_U_PORT: u16 = 2152;
const TEREDO_PORT: u16 = 3544;
const LISP_PORT: u16 = 4341;
const VXLAN_PORT: u16 = 4789;
const VXLAN_GPE_PORT: u16 = 4790;
const GENEVE_PORT: u16 = 6081;
const MPLS_PORT: u16 = 6635;
/// What Linux used before the port was assigned.
const VXLAN_LINUX_PORT: u16 = 8472;

type Found<'a> = Result<Option<(TunnelKind, Layer, Cursor<'a>)>, FrameError>;
/// What a tunnel header leads to; `None` when it is control traffic.
type Carried = Result<Option<Layer>, Cut>;

/// The tunnel that starts at `payload`, the transport header of `frame`.
pub(super) fn find<'a>(payload: Cursor<'a>, frame: &Frame) -> Found<'a> {
    let mut at = payload;
    let (kind, carried) = match frame.protocol {
        UDP => return udp(payload, frame.src_port, frame.dst_port),
        GRE => return gre(payload),
        IP_IN_IP => (TunnelKind::IpInIp, Some(Layer::Ipv4)),
        IPV6_IN_IP => (TunnelKind::Ipv6InIp, Some(Layer::Ipv6)),
        MPLS_IN_IP => (TunnelKind::MplsInIp, Some(Layer::Mpls)),
        ETHERIP => {
            at.skip(2)?;
            (TunnelKind::EtherIp, Some(Layer::Ethernet))
        }
        // Session zero is control (RFC 3931 §4.1.1.2).
        L2TP_V3 if at.be32()? != 0 => (TunnelKind::L2tpV3, l2tp_v3(&mut at)?),
        _ => return Ok(None),
    };
    Ok(carried.map(|layer| (kind, layer, at)))
}

/// The tunnel that a UDP packet with these ports may be.
pub(super) fn kind_of_ports(src_port: u16, dst_port: u16) -> Option<TunnelKind> {
    let either = |port| src_port == port || dst_port == port;
    Some(match dst_port {
        VXLAN_PORT | VXLAN_LINUX_PORT | VXLAN_GPE_PORT => TunnelKind::Vxlan,
        GENEVE_PORT => TunnelKind::Geneve,
        MPLS_PORT => TunnelKind::MplsInUdp,
        LISP_PORT => TunnelKind::Lisp,
        _ if either(GTP_U_PORT) => TunnelKind::GtpU,
        _ if either(L2TP_PORT) => TunnelKind::L2tpV2,
        _ if either(TEREDO_PORT) => TunnelKind::Teredo,
        _ => return None,
    })
}

fn udp(payload: Cursor<'_>, src_port: u16, dst_port: u16) -> Found<'_> {
    let Some(kind) = kind_of_ports(src_port, dst_port) else { return Ok(None) };
    let mut at = payload;
    at.skip(8)?;
    let (kind, carried) = match kind {
        TunnelKind::Vxlan => (kind, vxlan(&mut at, dst_port)?),
        TunnelKind::Geneve => (kind, geneve(&mut at)?),
        TunnelKind::MplsInUdp => (kind, Some(Layer::Mpls)),
        TunnelKind::Lisp => {
            at.skip(8)?;
            (kind, Some(Layer::Ip))
        }
        TunnelKind::GtpU => (kind, gtp_u(&mut at)?),
        TunnelKind::Teredo => (kind, teredo(&mut at)?),
        _ => l2tp(&mut at)?,
    };
    Ok(carried.map(|layer| (kind, layer, at)))
}

fn vxlan(at: &mut Cursor<'_>, port: u16) -> Carried {
    const NEXT_PROTOCOL: u8 = 0x04;
    let [flags, _, _, next, ..] = *at.take::<8>()?;
    if port != VXLAN_GPE_PORT || flags & NEXT_PROTOCOL == 0 {
        return Ok(Some(Layer::Ethernet));
    }
    Ok(match next {
        1 => Some(Layer::Ipv4),
        2 => Some(Layer::Ipv6),
        3 => Some(Layer::Ethernet),
        4 => Some(Layer::EtherType(0x894f)),
        _ => None,
    })
}

fn geneve(at: &mut Cursor<'_>) -> Carried {
    let [version_and_length, _, p0, p1, ..] = *at.take::<8>()?;
    if version_and_length >> 6 != 0 {
        return Ok(None);
    }
    at.skip(usize::from(version_and_length & 0x3f) * 4)?;
    Ok(Some(Layer::EtherType(u16::from_be_bytes([p0, p1]))))
}

/// 3GPP TS 29.281 §5.1, §5.2: only a G-PDU carries a user's packet.
fn gtp_u(at: &mut Cursor<'_>) -> Carried {
    const ANY_OPTION: u8 = 0x07;
    const G_PDU: u8 = 255;
    const MAX_EXTENSIONS: u32 = 8;
    let [flags, message, ..] = *at.take::<8>()?;
    // Version 1 and protocol type GTP.
    if flags >> 4 != 0x3 || message != G_PDU {
        return Ok(None);
    }
    if flags & ANY_OPTION == 0 {
        return Ok(Some(Layer::Ip));
    }
    let [_, _, _, mut next] = *at.take::<4>()?;
    for _ in 0..MAX_EXTENSIONS {
        if next == 0 {
            return Ok(Some(Layer::Ip));
        }
        // The length counts four octets, its own and the next type included.
        let length = usize::from(at.peek().map_or(0, |[words]| *words)).max(1) * 4;
        at.skip(length - 1)?;
        next = at.u8()?;
    }
    Ok(None)
}

/// RFC 4380 §5.1.1: authentication and origin may stand in front of the IPv6 header.
fn teredo(at: &mut Cursor<'_>) -> Carried {
    if at.peek() == Some(&[0, 1]) {
        let [_, _, client, authentication] = *at.take::<4>()?;
        // Behind the two strings a nonce of eight octets and a confirmation.
        at.skip(usize::from(client) + usize::from(authentication) + 9)?;
    }
    if at.peek() == Some(&[0, 0]) {
        at.skip(8)?;
    }
    // A bubble or a packet; anything else on this port is not Teredo.
    Ok(at.peek().is_some_and(|[first]| first >> 4 == 6).then_some(Layer::Ipv6))
}

/// RFC 2661 §3.1 and RFC 3931 §4.1.2.1.
fn l2tp(at: &mut Cursor<'_>) -> Result<(TunnelKind, Option<Layer>), Cut> {
    const CONTROL: u16 = 0x8000;
    const LENGTH: u16 = 0x4000;
    const SEQUENCE: u16 = 0x0800;
    const OFFSET: u16 = 0x0200;
    let flags = at.be16()?;
    if flags & CONTROL != 0 {
        return Ok((TunnelKind::L2tpV2, None));
    }
    match flags & 0xf {
        2 => {
            at.skip(if flags & LENGTH != 0 { 6 } else { 4 })?;
            if flags & SEQUENCE != 0 {
                at.skip(4)?;
            }
            if flags & OFFSET != 0 {
                let padding = usize::from(at.be16()?);
                at.skip(padding)?;
            }
            Ok((TunnelKind::L2tpV2, Some(Layer::Ppp)))
        }
        3 => {
            // Reserved, then the session.
            at.skip(6)?;
            Ok((TunnelKind::L2tpV3, l2tp_v3(at)?))
        }
        _ => Ok((TunnelKind::L2tpV2, None)),
    }
}

/// Cookie (0, 4 or 8 octets) and sublayer (0 or 4) are agreed out of band, and so is what the
/// session carries: the first place where a header fits is taken.
fn l2tp_v3(at: &mut Cursor<'_>) -> Carried {
    for in_front in [0, 4, 8, 12] {
        let mut candidate = *at;
        candidate.skip(in_front)?;
        let layer = if guess::ipv4(candidate) == Some(true) {
            Layer::Ipv4
        } else if guess::ethernet(candidate) == Some(true) {
            Layer::Ethernet
        } else if matches!(candidate.peek(), Some([0xff, 0x03, 0x00, 0x21 | 0x57])) {
            Layer::Ppp
        } else if guess::ipv6(candidate) == Some(true) {
            Layer::Ipv6
        } else {
            continue;
        };
        *at = candidate;
        return Ok(Some(layer));
    }
    Ok(None)
}

fn gre(payload: Cursor<'_>) -> Found<'_> {
    const SEQUENCE: u16 = 0x1000;
    const ERSPAN_1_2: u16 = 0x88be;
    const ERSPAN_3: u16 = 0x22eb;
    const WCCP: u16 = 0x883e;
    const CISCO_METADATA: u16 = 0x8909;
    let mut at = payload;
    let flags = at.be16()?;
    let number = at.be16()?;
    let carried = match flags & 0x7 {
        0 => {
            gre_options(flags, &mut at)?;
            match number {
                ERSPAN_1_2 | ERSPAN_3 => {
                    let layer = if number == ERSPAN_3 {
                        erspan_3(&mut at)?
                    } else {
                        // Type I has neither sequence number nor header of its own.
                        at.skip(if flags & SEQUENCE != 0 { 8 } else { 0 })?;
                        Some(Layer::Ethernet)
                    };
                    return Ok(layer.map(|layer| (TunnelKind::Erspan, layer, at)));
                }
                CISCO_METADATA => {
                    // The type of the payload, then version, length and one option.
                    let carried = at.be16()?;
                    at.skip(6)?;
                    Some(Layer::EtherType(carried))
                }
                WCCP => {
                    // Version 2 puts a redirect header in front.
                    if at.peek().is_some_and(|[first]: &[u8; 1]| first >> 4 != 4) {
                        at.skip(4)?;
                    }
                    Some(Layer::Ipv4)
                }
                // Below the EtherTypes: keepalives.
                0..0x0600 => None,
                _ => Some(Layer::EtherType(number)),
            }
        }
        1 => pptp(flags, &mut at)?,
        _ => None,
    };
    Ok(carried.map(|layer| (TunnelKind::Gre, layer, at)))
}

/// RFC 1701, RFC 2784 §2.1, RFC 2890 §2.
fn gre_options(flags: u16, at: &mut Cursor<'_>) -> Result<(), Cut> {
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const MAX_ROUTES: u32 = 16;
    for present in [CHECKSUM | ROUTING, KEY, SEQUENCE] {
        if flags & present != 0 {
            at.skip(4)?;
        }
    }
    if flags & ROUTING != 0 {
        for _ in 0..MAX_ROUTES {
            let [f0, f1, _, length] = *at.take()?;
            if length == 0 && f0 == 0 && f1 == 0 {
                break;
            }
            at.skip(usize::from(length))?;
        }
    }
    Ok(())
}

/// RFC 2637 §4.1: without a payload it is an acknowledgment.
fn pptp(flags: u16, at: &mut Cursor<'_>) -> Carried {
    const SEQUENCE: u16 = 0x1000;
    const ACKNOWLEDGMENT: u16 = 0x0080;
    let length = usize::from(at.be16()?);
    at.skip(2)?;
    for present in [SEQUENCE, ACKNOWLEDGMENT] {
        if flags & present != 0 {
            at.skip(4)?;
        }
    }
    *at = at.limited(length);
    Ok((length != 0).then_some(Layer::Ppp))
}

fn erspan_3(at: &mut Cursor<'_>) -> Carried {
    const ETHERNET: u8 = 0;
    const IP: u8 = 2;
    let header = *at.take::<12>()?;
    if header[11] & 1 != 0 {
        // The platform-specific subheader.
        at.skip(8)?;
    }
    Ok(match header[10] >> 2 & 0x1f {
        ETHERNET => Some(Layer::Ethernet),
        IP => Some(Layer::Ip),
        _ => None,
    })
}
