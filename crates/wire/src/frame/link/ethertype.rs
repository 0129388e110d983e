//! What each EtherType leads to.

use super::{Layer, LinkProtocol, Step};
use crate::cursor::Cursor;
use crate::frame::FrameError;

pub(super) const PPPOE_SESSION: u16 = 0x8864;

/// Customer and service tags, and the numbers vendors used for the latter before 802.1ad.
#[inline]
pub(in crate::frame) const fn is_vlan(number: u16) -> bool {
    matches!(number, 0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300)
}

/// Steps over the header that `number` announces.
pub(super) fn step(number: u16, cursor: &mut Cursor<'_>) -> Step {
    Ok(match number {
        0x0800 => Layer::Ipv4,
        0x86dd => Layer::Ipv6,
        0x8847 | 0x8848 => Layer::Mpls,
        PPPOE_SESSION => return pppoe(cursor),
        // Transparent Ethernet bridging.
        0x6558 => Layer::Ethernet,
        0x880b => Layer::Ppp,
        // Cisco VN-Tag.
        0x8926 => tag(4, cursor)?,
        // IEEE 802.1BR E-Tag, Cisco metadata.
        0x893f | 0x8909 => tag(6, cursor)?,
        // Cisco FabricPath: a forwarding tag, then the customer's frame.
        0x8903 => {
            cursor.skip(2)?;
            Layer::Ethernet
        }
        // IEEE 802.1ah: the service instance tag, then the customer's frame.
        0x88e7 => {
            cursor.skip(4)?;
            Layer::Ethernet
        }
        0x88e5 => return macsec(cursor),
        0x894f => return nsh(cursor),
        0..=1500 => {
            *cursor = cursor.limited(usize::from(number));
            Layer::Llc
        }
        _ => return Err(FrameError::NotIp(LinkProtocol::EtherType(number))),
    })
}

/// A tag of `octets`, then an EtherType.
fn tag(octets: usize, cursor: &mut Cursor<'_>) -> Step {
    cursor.skip(octets)?;
    Ok(Layer::EtherType(cursor.be16()?))
}

/// RFC 2516 §4.
fn pppoe(cursor: &mut Cursor<'_>) -> Step {
    let [_, code, ..] = *cursor.take::<4>()?;
    let length = usize::from(cursor.be16()?);
    if code != 0 {
        return Err(FrameError::NotIp(LinkProtocol::EtherType(PPPOE_SESSION)));
    }
    *cursor = cursor.limited(length);
    Ok(Layer::Ppp)
}

/// IEEE 802.1AE §9: readable when only integrity is protected.
fn macsec(cursor: &mut Cursor<'_>) -> Step {
    const EXPLICIT_SCI: u8 = 0x20;
    const ENCRYPTED_OR_CHANGED: u8 = 0x0c;
    let [control, ..] = *cursor.take::<6>()?;
    if control & EXPLICIT_SCI != 0 {
        cursor.skip(8)?;
    }
    if control & ENCRYPTED_OR_CHANGED != 0 {
        return Err(FrameError::NotIp(LinkProtocol::Encrypted));
    }
    Ok(Layer::EtherType(cursor.be16()?))
}

/// RFC 8300 §2.
fn nsh(cursor: &mut Cursor<'_>) -> Step {
    let mut fields = *cursor;
    let [_, length, _, next] = *fields.take::<4>()?;
    // The length counts 4-byte words and includes the base and service path headers.
    cursor.skip(usize::from(length & 0x3f).max(2) * 4)?;
    Ok(match next {
        1 => Layer::Ipv4,
        2 => Layer::Ipv6,
        3 => Layer::Ethernet,
        4 => Layer::EtherType(0x894f),
        5 => Layer::Mpls,
        other => return Err(FrameError::NotIp(LinkProtocol::Nsh(other))),
    })
}
