//! IPv4 and IPv6 headers, and what stands between them and the transport header.

use super::{Anomalies, FragmentKind, Frame, FrameError, IpVersion};
use crate::cursor::{Cursor, Cut};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AH: u8 = 51;
const NO_NEXT_HEADER: u8 = 59;
const DESTINATION_OPTIONS: u8 = 60;
const MOBILITY: u8 = 135;
const HIP: u8 = 139;
const SHIM6: u8 = 140;
const EXPERIMENT_1: u8 = 253;
const EXPERIMENT_2: u8 = 254;

/// Extension headers that are followed. Real chains have a handful; a long one is an attempt to
/// hide, and is counted as the header it was left at.
const MAX_EXTENSIONS: u32 = 16;

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;

/// Reads the IP header at `cursor` into `frame` and gives the start of the transport header.
///
/// `None` means that there is none to read: a later fragment, or a packet that ends before it.
#[inline]
pub(super) fn read<'a>(
    expected: Option<IpVersion>,
    cursor: Cursor<'a>,
    frame: &mut Frame,
) -> Result<Option<Cursor<'a>>, FrameError> {
    frame.ip_offset = cursor.offset();
    frame.transport_offset = cursor.offset();
    let Some([first]) = cursor.peek() else {
        let header = if expected == Some(IpVersion::V6) { IPV6_HEADER } else { IPV4_HEADER };
        return Err(FrameError::IpHeaderCut(cursor.cut(header)));
    };
    match (first >> 4, expected) {
        (4, None | Some(IpVersion::V4)) => ipv4(cursor, frame),
        (6, None | Some(IpVersion::V6)) => ipv6(cursor, frame),
        (version, _) => Err(FrameError::IpVersion { offset: cursor.offset(), version }),
    }
}

#[inline]
fn ipv4<'a>(mut cursor: Cursor<'a>, frame: &mut Frame) -> Result<Option<Cursor<'a>>, FrameError> {
    if let Some([first]) = cursor.peek()
        && first & 0x0f < 5
    {
        let length = (first & 0x0f) * 4;
        return Err(FrameError::IpHeaderLength { offset: cursor.offset(), length });
    }
    let header = cursor.take::<IPV4_HEADER>().map_err(FrameError::IpHeaderCut)?;
    let header_length = usize::from(header[0] & 0x0f) * 4;
    let total_length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    frame.version = IpVersion::V4;
    frame.ttl = header[8];
    frame.protocol = header[9];
    frame.src = be32(header[12], header[13], header[14], header[15]);
    frame.dst = be32(header[16], header[17], header[18], header[19]);
    frame.fragment = fragment_kind(fragment & 0x1fff, fragment & 0x2000 != 0);

    // Zero comes from captures taken before segmentation offload fills it in.
    if total_length != 0 {
        if total_length < header_length {
            frame.anomalies |= Anomalies::TOTAL_LENGTH;
            return Ok(None);
        }
        frame.ip_length = total_length as u32;
        cursor = cursor.limited(total_length - IPV4_HEADER);
    }
    if cursor.skip(header_length - IPV4_HEADER).is_err() {
        frame.anomalies |= Anomalies::OPTIONS_CUT;
        return Ok(None);
    }
    frame.transport_offset = cursor.offset();
    if frame.fragment == FragmentKind::Later {
        return Ok(None);
    }
    if frame.protocol == AH {
        return Ok(chain(AH, cursor, frame));
    }
    Ok(Some(cursor))
}

fn ipv6<'a>(mut cursor: Cursor<'a>, frame: &mut Frame) -> Result<Option<Cursor<'a>>, FrameError> {
    if cursor.remaining() < IPV6_HEADER {
        return Err(FrameError::IpHeaderCut(cursor.cut(IPV6_HEADER)));
    }
    let fixed = cursor.take::<8>().map_err(FrameError::IpHeaderCut)?;
    let src = cursor.take::<16>().map_err(FrameError::IpHeaderCut)?;
    let dst = cursor.take::<16>().map_err(FrameError::IpHeaderCut)?;
    let payload_length = u16::from_be_bytes([fixed[4], fixed[5]]);
    frame.version = IpVersion::V6;
    frame.ttl = fixed[7];
    frame.src = u128::from_be_bytes(*src);
    frame.dst = u128::from_be_bytes(*dst);
    // Zero is a jumbogram (RFC 2675) or a capture before segmentation offload.
    if payload_length != 0 {
        frame.ip_length = u32::from(payload_length) + IPV6_HEADER as u32;
        cursor = cursor.limited(usize::from(payload_length));
    }
    Ok(chain(fixed[6], cursor, frame))
}

/// Follows extension headers from `next` on; sets the protocol, and the fragment kind of IPv6.
#[inline]
fn chain<'a>(next: u8, start: Cursor<'a>, frame: &mut Frame) -> Option<Cursor<'a>> {
    let (mut protocol, mut cursor) = (next, start);
    for _ in 0..MAX_EXTENSIONS {
        frame.protocol = protocol;
        frame.transport_offset = cursor.offset();
        // Behind an IPv4 header only AH is a link of this chain.
        if !(protocol == AH || frame.version == IpVersion::V6 && is_extension(protocol)) {
            return Some(cursor);
        }
        let Ok(following) = extension(protocol, &mut cursor, frame) else {
            frame.anomalies |= Anomalies::EXTENSION_CUT;
            return None;
        };
        // A mobility or HIP message ends in "no next header": it is the payload itself.
        if following == NO_NEXT_HEADER && is_message(protocol) {
            return None;
        }
        protocol = following;
        if frame.fragment == FragmentKind::Later {
            frame.protocol = protocol;
            frame.transport_offset = cursor.offset();
            return None;
        }
    }
    frame.protocol = protocol;
    frame.transport_offset = cursor.offset();
    if frame.version == IpVersion::V4 && protocol != AH || !is_extension(protocol) {
        return Some(cursor);
    }
    frame.anomalies |= Anomalies::EXTENSION_LIMIT;
    None
}

/// Steps over one extension header and gives the number of the next.
fn extension(protocol: u8, cursor: &mut Cursor<'_>, frame: &mut Frame) -> Result<u8, Cut> {
    let mut peeked = *cursor;
    let [next, length] = *peeked.take()?;
    match protocol {
        FRAGMENT => {
            peeked = *cursor;
            let [_, _, o0, o1, ..] = *peeked.take::<8>()?;
            let offset_and_flags = u16::from_be_bytes([o0, o1]);
            let kind = fragment_kind(offset_and_flags >> 3, offset_and_flags & 1 != 0);
            if kind != FragmentKind::Whole {
                frame.fragment = kind;
            }
            cursor.skip(8)?;
        }
        AH => {
            // RFC 4302 §2.2: the length counts 32-bit words, less two.
            let mut fields = *cursor;
            fields.skip(4)?;
            frame.key = fields.be32()?;
            cursor.skip((usize::from(length) + 2) * 4)?;
        }
        _ => cursor.skip((usize::from(length) + 1) * 8)?,
    }
    Ok(next)
}

/// Headers that carry a next header and a length (RFC 8200 §4, RFC 6564, IANA's registry). ESP is
/// not among them: what follows it is encrypted.
const fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AH | DESTINATION_OPTIONS)
        || is_message(protocol)
}

const fn is_message(protocol: u8) -> bool {
    matches!(protocol, MOBILITY | HIP | SHIM6 | EXPERIMENT_1 | EXPERIMENT_2)
}

const fn fragment_kind(offset: u16, more: bool) -> FragmentKind {
    match (offset, more) {
        (0, false) => FragmentKind::Whole,
        (0, true) => FragmentKind::First,
        _ => FragmentKind::Later,
    }
}

const fn be32(a: u8, b: u8, c: u8, d: u8) -> u128 {
    u32::from_be_bytes([a, b, c, d]) as u128
}
