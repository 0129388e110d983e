//! IEEE 802.11 data frames, bare and behind radiotap.

use super::{Layer, LinkProtocol, Step};
use crate::cursor::Cursor;
use crate::frame::FrameError;

/// Whether the driver padded the header to four octets before the body.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyPadding {
    None,
    FourOctets,
}

/// Steps over the MAC header of a data frame (IEEE 802.11 §9.2.3, §9.3.2).
pub(super) fn data_frame(cursor: &mut Cursor<'_>, padding: BodyPadding) -> Step {
    const PROTECTED: u8 = 0x40;
    const ORDER: u8 = 0x80;
    const MSDU_AGGREGATE: u8 = 0x80;
    let [control, flags] = *cursor.take::<2>()?;
    let (kind, subtype) = (control >> 2 & 3, control >> 4);
    // Kind 2 is data; subtype bit 2 says that there is none in it.
    if kind != 2 || subtype & 0x4 != 0 {
        return Err(FrameError::NotIp(LinkProtocol::WlanWithoutData));
    }
    if flags & PROTECTED != 0 {
        return Err(FrameError::NotIp(LinkProtocol::Encrypted));
    }
    // To and from the distribution system: a fourth address.
    let mut header = if flags & 3 == 3 { 30 } else { 24 };
    cursor.skip(header - 2)?;
    let mut aggregate = false;
    if subtype & 0x8 != 0 {
        let [quality, _] = *cursor.take::<2>()?;
        aggregate = quality & MSDU_AGGREGATE != 0;
        header += 2;
        if flags & ORDER != 0 {
            cursor.skip(4)?;
            header += 4;
        }
    }
    if padding == BodyPadding::FourOctets {
        cursor.skip(header.next_multiple_of(4) - header)?;
    }
    if aggregate {
        // The first subframe stands for the whole: addresses and a length.
        cursor.skip(14)?;
    }
    Ok(Layer::Llc)
}

/// The radiotap header states its length; its flags tell whether the body is padded.
pub(super) fn radiotap(cursor: &mut Cursor<'_>) -> Step {
    const TIMER: u32 = 1;
    const FLAGS: u32 = 1 << 1;
    const MORE_WORDS: u32 = 1 << 31;
    const DATA_PAD: u8 = 0x20;
    const MAX_WORDS: u32 = 8;
    let start = cursor.offset();
    let mut fields = *cursor;
    fields.skip(2)?;
    let length = usize::from(fields.le16()?);
    let present = fields.le32()?;
    let mut more = present;
    for _ in 0..MAX_WORDS {
        if more & MORE_WORDS == 0 {
            break;
        }
        more = fields.le32()?;
    }
    let mut padding = BodyPadding::None;
    if present & FLAGS != 0 {
        if present & TIMER != 0 {
            let at = fields.offset() - start;
            fields.skip((at.next_multiple_of(8) - at + 8) as usize)?;
        }
        if fields.u8()? & DATA_PAD != 0 {
            padding = BodyPadding::FourOctets;
        }
    }
    cursor.skip(length)?;
    data_frame(cursor, padding)
}
