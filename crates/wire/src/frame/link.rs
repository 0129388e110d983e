//! Link types, and everything between the first byte of a frame and its first IP header.
//!
//! [`start`] reads the header of a capture's link type; [`walk`] goes on from any [`Layer`] to an
//! IP header, also inside tunnels that carry frames.

use super::protocol::LinkProtocol;
use super::{Frame, FrameError, IpVersion};
use crate::cursor::Cursor;

mod ethertype;
mod pseudowire;
mod wlan;

pub(super) use ethertype::is_vlan;
use ethertype::step;

/// VLAN tags followed in one frame.
pub const MAX_TAGS: u8 = 8;
/// MPLS labels followed in one frame.
pub const MAX_LABELS: u8 = 16;
/// Link headers of any kind followed in front of one IP header.
pub const MAX_LINK_HEADERS: u8 = 32;

/// A link type of pcap and pcapng files (the LINKTYPE registry of tcpdump.org).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback, address family in the byte order of the machine that captured.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// IEEE 802.5 token ring.
    pub const TOKEN_RING: Self = Self(6);
    /// SLIP, one direction octet and the compressed header in front.
    pub const SLIP: Self = Self(8);
    /// PPP, with or without HDLC framing.
    pub const PPP: Self = Self(9);
    /// FDDI.
    pub const FDDI: Self = Self(10);
    /// Raw IP, as most systems number it in memory.
    pub const RAW_12: Self = Self(12);
    /// Raw IP, as OpenBSD numbers it in memory.
    pub const RAW_14: Self = Self(14);
    /// PPP in HDLC-like framing.
    pub const PPP_HDLC: Self = Self(50);
    /// PPPoE session header, then PPP.
    pub const PPP_ETHER: Self = Self(51);
    /// Raw IP.
    pub const RAW: Self = Self(101);
    /// Cisco HDLC.
    pub const C_HDLC: Self = Self(104);
    /// IEEE 802.11.
    pub const IEEE802_11: Self = Self(105);
    /// Frame relay.
    pub const FRELAY: Self = Self(107);
    /// OpenBSD loopback, address family in network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture.
    pub const LINUX_SLL: Self = Self(113);
    /// Radiotap, then IEEE 802.11.
    pub const IEEE802_11_RADIOTAP: Self = Self(127);
    /// PPP behind an octet that tells the direction.
    pub const PPP_WITH_DIR: Self = Self(204);
    /// MPLS label stack.
    pub const MPLS: Self = Self(219);
    /// Solaris ipnet.
    pub const IPNET: Self = Self(226);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux netfilter log.
    pub const NFLOG: Self = Self(239);
    /// Apple pktap: a header that names the link type behind it.
    pub const PKTAP: Self = Self(258);
    /// Linux cooked capture, version 2.
    pub const LINUX_SLL2: Self = Self(276);

    /// Every link type that is dissected.
    pub const SUPPORTED: &'static [Self] = &[
        Self::NULL,
        Self::ETHERNET,
        Self::TOKEN_RING,
        Self::SLIP,
        Self::PPP,
        Self::FDDI,
        Self::RAW_12,
        Self::RAW_14,
        Self::PPP_HDLC,
        Self::PPP_ETHER,
        Self::RAW,
        Self::C_HDLC,
        Self::IEEE802_11,
        Self::FRELAY,
        Self::LOOP,
        Self::LINUX_SLL,
        Self::IEEE802_11_RADIOTAP,
        Self::PPP_WITH_DIR,
        Self::MPLS,
        Self::IPNET,
        Self::IPV4,
        Self::IPV6,
        Self::NFLOG,
        Self::PKTAP,
        Self::LINUX_SLL2,
    ];
}

/// What to read next on the way to IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    /// Destination and source address, then a type or length.
    Ethernet,
    /// Whatever this EtherType announces.
    EtherType(u16),
    /// IEEE 802.2.
    Llc,
    /// PPP, with or without address and control octets.
    Ppp,
    /// An MPLS label stack.
    Mpls,
    /// IP of the version that its first four bits say.
    Ip,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

type ToIp<'a> = Result<(Option<IpVersion>, Cursor<'a>), FrameError>;
type Step = Result<Layer, FrameError>;

/// From the first byte of a frame to its first IP header.
#[inline]
pub(super) fn start<'a>(link: LinkType, mut cursor: Cursor<'a>, frame: &mut Frame) -> ToIp<'a> {
    if link == LinkType::ETHERNET {
        return walk(Layer::Ethernet, cursor, frame);
    }
    let layer = match link {
        // A pktap header that names pktap again would not be one.
        LinkType::PKTAP => match pktap(&mut cursor)? {
            LinkType::PKTAP => return Err(FrameError::UnknownLinkType(LinkType::PKTAP)),
            inner => first_layer(inner, &mut cursor)?,
        },
        link => first_layer(link, &mut cursor)?,
    };
    walk(layer, cursor, frame)
}

fn first_layer(link: LinkType, cursor: &mut Cursor<'_>) -> Step {
    Ok(match link {
        LinkType::ETHERNET => Layer::Ethernet,
        LinkType::RAW | LinkType::RAW_12 | LinkType::RAW_14 => Layer::Ip,
        LinkType::IPV4 => Layer::Ipv4,
        LinkType::IPV6 => Layer::Ipv6,
        LinkType::NULL | LinkType::LOOP => return loopback(cursor),
        LinkType::PPP | LinkType::PPP_HDLC => Layer::Ppp,
        LinkType::PPP_ETHER => Layer::EtherType(ethertype::PPPOE_SESSION),
        LinkType::PPP_WITH_DIR => {
            cursor.skip(1)?;
            Layer::Ppp
        }
        LinkType::LINUX_SLL => {
            cursor.skip(14)?;
            cooked(cursor.be16()?)
        }
        LinkType::LINUX_SLL2 => {
            let protocol = cursor.be16()?;
            cursor.skip(18)?;
            cooked(protocol)
        }
        LinkType::C_HDLC => {
            cursor.skip(2)?;
            Layer::EtherType(cursor.be16()?)
        }
        LinkType::FRELAY => return frame_relay(cursor),
        LinkType::FDDI => {
            // Frame control and two addresses.
            cursor.skip(13)?;
            Layer::Llc
        }
        LinkType::TOKEN_RING => return token_ring(cursor),
        LinkType::IEEE802_11 => return wlan::data_frame(cursor, wlan::BodyPadding::None),
        LinkType::IEEE802_11_RADIOTAP => return wlan::radiotap(cursor),
        LinkType::MPLS => Layer::Mpls,
        LinkType::SLIP => {
            cursor.skip(16)?;
            Layer::Ip
        }
        LinkType::IPNET => return ipnet(cursor),
        LinkType::NFLOG => return nflog(cursor),
        other => return Err(FrameError::UnknownLinkType(other)),
    })
}

/// From `layer` to the IP header below it, noting tags and labels in `frame`.
#[inline]
pub(super) fn walk<'a>(layer: Layer, mut cursor: Cursor<'a>, frame: &mut Frame) -> ToIp<'a> {
    let mut layer = layer;
    for _ in 0..MAX_LINK_HEADERS {
        layer = match layer {
            Layer::Ip => return Ok((None, cursor)),
            Layer::Ipv4 => return Ok((Some(IpVersion::V4), cursor)),
            Layer::Ipv6 => return Ok((Some(IpVersion::V6), cursor)),
            Layer::Ethernet => {
                let header = cursor.take::<14>()?;
                type_or_length(u16::from_be_bytes([header[12], header[13]]), &mut cursor)
            }
            Layer::EtherType(number) if is_vlan(number) => vlan(&mut cursor, frame)?,
            Layer::EtherType(number) => step(number, &mut cursor)?,
            Layer::Llc => llc(&mut cursor)?,
            Layer::Ppp => ppp(&mut cursor)?,
            Layer::Mpls => pseudowire::labels(&mut cursor, frame)?,
        };
    }
    Err(FrameError::TooManyTags { offset: cursor.offset(), limit: MAX_LINK_HEADERS })
}

/// IEEE 802.3 clause 3.2.6: up to 1500 a length and then LLC, from 1536 on a type.
#[inline]
fn type_or_length(number: u16, cursor: &mut Cursor<'_>) -> Layer {
    match number {
        0x0800 => Layer::Ipv4,
        0x86dd => Layer::Ipv6,
        0..=1500 => {
            *cursor = cursor.limited(usize::from(number));
            Layer::Llc
        }
        _ => Layer::EtherType(number),
    }
}

fn vlan(cursor: &mut Cursor<'_>, frame: &mut Frame) -> Step {
    if frame.vlan_tags == MAX_TAGS {
        return Err(FrameError::TooManyTags { offset: cursor.offset(), limit: MAX_TAGS });
    }
    let id = cursor.be16()? & 0x0fff;
    match frame.vlan_tags {
        0 => frame.vlan = id,
        1 => frame.inner_vlan = id,
        _ => {}
    }
    frame.vlan_tags += 1;
    let number = cursor.be16()?;
    Ok(type_or_length(number, cursor))
}

fn llc(cursor: &mut Cursor<'_>) -> Step {
    let [dsap, _, control] = *cursor.take::<3>()?;
    match (dsap, control) {
        (0xaa, 0x03) => {
            let [a, b, c] = *cursor.take::<3>()?;
            let oui = u32::from_be_bytes([0, a, b, c]);
            let number = cursor.be16()?;
            match (oui, number) {
                // Encapsulated Ethernet (RFC 1042) and bridge-tunnel (IEEE 802.1H).
                (0x00_0000 | 0x00_00f8, _) => Ok(Layer::EtherType(number)),
                // RFC 2427 §4.2: bridged Ethernet with and without its check sequence.
                (0x00_80c2, 0x0001 | 0x0007) => Ok(Layer::Ethernet),
                _ => Err(FrameError::NotIp(LinkProtocol::Snap(oui, number))),
            }
        }
        (0x06, 0x03) => Ok(Layer::Ipv4),
        _ => Err(FrameError::NotIp(LinkProtocol::Llc(dsap))),
    }
}

/// RFC 1661 §2, RFC 1662 §3.1; address, control and the protocol's first octet may be left out.
fn ppp(cursor: &mut Cursor<'_>) -> Step {
    if cursor.peek() == Some(&[0xff, 0x03]) {
        cursor.skip(2)?;
    }
    let first = cursor.u8()?;
    let number =
        if first & 1 == 1 { u16::from(first) } else { u16::from_be_bytes([first, cursor.u8()?]) };
    match number {
        0x0021 => Ok(Layer::Ipv4),
        0x0057 => Ok(Layer::Ipv6),
        0x0281 | 0x0283 => Ok(Layer::Mpls),
        _ => Err(FrameError::NotIp(LinkProtocol::Ppp(number))),
    }
}

/// The protocol field of a cooked capture: an EtherType, or 802.2 under a number of its own.
const fn cooked(number: u16) -> Layer {
    match number {
        0x0004 => Layer::Llc,
        _ => Layer::EtherType(number),
    }
}

/// The family is in the byte order of the machine that captured, and numbered by its system.
fn loopback(cursor: &mut Cursor<'_>) -> Step {
    let bytes = *cursor.take::<4>()?;
    for family in [u32::from_le_bytes(bytes), u32::from_be_bytes(bytes)] {
        match family {
            2 => return Ok(Layer::Ipv4),
            // Linux 10, Windows 23, NetBSD and OpenBSD 24, FreeBSD 28, Darwin 30.
            10 | 23 | 24 | 28 | 30 => return Ok(Layer::Ipv6),
            _ => {}
        }
    }
    // Some write an EtherType in the last two octets, as Cisco HDLC has it.
    if let [.., 0x08, 0x00] | [.., 0x86, 0xdd] = bytes {
        return Ok(Layer::EtherType(u16::from_be_bytes([bytes[2], bytes[3]])));
    }
    Err(FrameError::NotIp(LinkProtocol::Family(u32::from_le_bytes(bytes))))
}

/// RFC 2427 §3 behind a Q.922 address; without the control octet, Cisco's own encapsulation.
fn frame_relay(cursor: &mut Cursor<'_>) -> Step {
    for _ in 0..4 {
        if cursor.u8()? & 1 == 1 {
            break;
        }
    }
    if cursor.peek() != Some(&[0x03]) {
        return Ok(Layer::EtherType(cursor.be16()?));
    }
    cursor.skip(1)?;
    let mut nlpid = cursor.u8()?;
    if nlpid == 0 {
        nlpid = cursor.u8()?;
    }
    match nlpid {
        0xcc => Ok(Layer::Ipv4),
        0x8e => Ok(Layer::Ipv6),
        0xcf => Ok(Layer::Ppp),
        0x80 => {
            let [a, b, c] = *cursor.take::<3>()?;
            let number = cursor.be16()?;
            match u32::from_be_bytes([0, a, b, c]) {
                0 => Ok(Layer::EtherType(number)),
                0x00_80c2 if matches!(number, 1 | 7) => Ok(Layer::Ethernet),
                oui => Err(FrameError::NotIp(LinkProtocol::Snap(oui, number))),
            }
        }
        _ => Err(FrameError::NotIp(LinkProtocol::Nlpid(nlpid))),
    }
}

fn token_ring(cursor: &mut Cursor<'_>) -> Step {
    cursor.skip(8)?;
    let source = *cursor.take::<6>()?;
    // IEEE 802.5: the group bit of the source announces a routing field that states its length.
    if source[0] & 0x80 != 0
        && let Some([control]) = cursor.peek()
    {
        cursor.skip(usize::from(control & 0x1f))?;
    }
    Ok(Layer::Llc)
}

fn ipnet(cursor: &mut Cursor<'_>) -> Step {
    let header = *cursor.take::<24>()?;
    match header[1] {
        2 => Ok(Layer::Ipv4),
        26 => Ok(Layer::Ipv6),
        family => Err(FrameError::NotIp(LinkProtocol::Family(u32::from(family)))),
    }
}

/// Attributes of type and length; the packet is attribute 9. Lengths are in host byte order, in
/// practice little-endian.
fn nflog(cursor: &mut Cursor<'_>) -> Step {
    const PAYLOAD: u16 = 9;
    const MAX_ATTRIBUTES: u32 = 32;
    let [family, ..] = *cursor.take::<4>()?;
    for _ in 0..MAX_ATTRIBUTES {
        let length = usize::from(cursor.le16()?);
        let kind = cursor.le16()? & 0x7fff;
        if kind == PAYLOAD {
            *cursor = cursor.limited(length.saturating_sub(4));
            break;
        }
        if length < 4 {
            break;
        }
        // Attributes are padded to four octets, the last one not always.
        cursor.skip((length.next_multiple_of(4)) - 4)?;
    }
    match family {
        2 => Ok(Layer::Ipv4),
        10 => Ok(Layer::Ipv6),
        _ => Err(FrameError::NotIp(LinkProtocol::Family(u32::from(family)))),
    }
}

/// The header states its own length and the link type of what follows.
fn pktap(cursor: &mut Cursor<'_>) -> Result<LinkType, FrameError> {
    let mut fields = *cursor;
    let length = fields.le32()?;
    fields.skip(4)?;
    let link = fields.le32()?;
    cursor.skip(length as usize)?;
    Ok(LinkType(link))
}
