//! Is there a header of this kind here? For the places where nothing says what follows: behind an
//! MPLS label, behind an L2TPv3 session.
//!
//! Answers depend on the header's own bytes only, never on how much was captured behind it, so a
//! frame cut short is never read as something else. `None` means that too little is there to say.

use crate::cursor::Cursor;

/// An IPv4 header whose checksum is right.
pub(super) fn ipv4(mut cursor: Cursor<'_>) -> Option<bool> {
    let [first] = *cursor.peek()?;
    let words = u32::from(first & 0x0f);
    if first >> 4 != 4 || words < 5 {
        return Some(false);
    }
    let mut sum = 0_u32;
    for _ in 0..words * 2 {
        sum += u32::from(cursor.be16().ok()?);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    Some(sum == 0xffff)
}

/// An IPv6 header with a next header that is in use.
pub(super) fn ipv6(cursor: Cursor<'_>) -> Option<bool> {
    let [first, _, _, _, _, _, next, hops] = *cursor.peek::<8>()?;
    let in_use = matches!(next, 0 | 4 | 6 | 17 | 41 | 43 | 44 | 47 | 50 | 51 | 58..=60 | 132);
    Some(first >> 4 == 6 && in_use && hops != 0)
}

/// An Ethernet header: a station as the source, a known type, and behind it a first byte that
/// belongs to that type.
pub(super) fn ethernet(cursor: Cursor<'_>) -> Option<bool> {
    let header = cursor.peek::<16>()?;
    let number = u16::from_be_bytes([header[12], header[13]]);
    let fits = match number {
        0x0800 => matches!(header[14], 0x45..=0x4f),
        0x86dd => header[14] >> 4 == 6,
        0x0806 => header[14..] == [0, 1],
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x8847 | 0x8848 | 0x88cc => true,
        // PPPoE version and type are 1.
        0x8863 | 0x8864 => header[14] == 0x11,
        0..=1500 => matches!(header[14..], [0x42, 0x42] | [0xaa, 0xaa] | [0xfe, 0xfe]),
        _ => false,
    };
    Some(fits && header[6] & 1 == 0)
}
