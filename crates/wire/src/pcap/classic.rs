//! pcap: a file header of 24 bytes, then records of a 16-byte header and the captured bytes
//! (draft-ietf-opsawg-pcap). The modified format of the "Kuznetzov" kernel patches has a longer
//! record header.

use super::{ByteOrder, CaptureError, FILE_HEADER_LEN, Limits, Record, Step};

pub(super) const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
pub(super) const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Nanoseconds, as Navtel's devices wrote them before the magic above was agreed on.
const MAGIC_NAVTEL: u32 = 0xa12b_3c4d;
/// Each record carries interface, protocol and packet type after the ordinary header.
const MAGIC_MODIFIED: u32 = 0xa1b2_cd34;

const RECORD_HEADER_LEN: usize = 16;
const MODIFIED_RECORD_HEADER_LEN: usize = 24;

/// The link type's bits of its field; those above hold the length of a frame check sequence.
const LINK_TYPE_MASK: u32 = 0xffff;

/// What the magic says about the rest of the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Variant {
    order: ByteOrder,
    nanoseconds_per_tick: u64,
    record_header_len: usize,
}

impl Variant {
    /// The variant that starts with `magic`, or `None` if this is not pcap.
    pub(super) fn of(magic: [u8; 4]) -> Option<Self> {
        [ByteOrder::Little, ByteOrder::Big].into_iter().find_map(|order| {
            let (nanoseconds_per_tick, record_header_len) = match order.word(magic) {
                MAGIC_MICROSECONDS => (1_000, RECORD_HEADER_LEN),
                MAGIC_NANOSECONDS | MAGIC_NAVTEL => (1, RECORD_HEADER_LEN),
                MAGIC_MODIFIED => (1_000, MODIFIED_RECORD_HEADER_LEN),
                _ => return None,
            };
            Some(Self { order, nanoseconds_per_tick, record_header_len })
        })
    }
}

/// Which of a record's two lengths comes first: it changed with version 2.3, and not every writer
/// of that version followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LengthOrder {
    CapturedFirst,
    OriginalFirst,
    SmallerIsCaptured,
}

/// A pcap file whose header has been read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Classic {
    variant: Variant,
    length_order: LengthOrder,
    link_type: u32,
}

impl Classic {
    /// Reads the file header, or `None` while it is incomplete. Snap length, time zone and
    /// accuracy are not used: each record says its own length.
    pub(super) fn parse_header(
        variant: Variant,
        window: &[u8],
    ) -> Result<Option<Self>, CaptureError> {
        const WORDS: usize = FILE_HEADER_LEN / 4;
        let Some([_magic, version, _zone, _accuracy, _snap_len, link_type]) =
            variant.order.words::<WORDS>(window)
        else {
            return Ok(None);
        };
        let [major, minor] = variant.order.halves(version);
        if major != 2 {
            return Err(CaptureError::UnsupportedVersion { offset: 0, major, minor });
        }
        let length_order = match minor {
            0..=2 => LengthOrder::OriginalFirst,
            3 => LengthOrder::SmallerIsCaptured,
            _ => LengthOrder::CapturedFirst,
        };
        Ok(Some(Self { variant, length_order, link_type: link_type & LINK_TYPE_MASK }))
    }

    #[inline]
    pub(super) fn step(
        &self,
        window: &[u8],
        offset: u64,
        limits: Limits,
    ) -> Result<Step, CaptureError> {
        let Variant { order, nanoseconds_per_tick, record_header_len } = self.variant;
        let Some([seconds, ticks, first, second]) = order.words(window) else {
            return Ok(Step::NeedMore { at_least: record_header_len });
        };
        let (captured, original) = match self.length_order {
            LengthOrder::CapturedFirst => (first, second),
            LengthOrder::OriginalFirst => (second, first),
            LengthOrder::SmallerIsCaptured => (first.min(second), first.max(second)),
        };
        if captured > limits.packet {
            let (length, limit) = (captured, limits.packet);
            return Err(CaptureError::PacketTooLong { offset, length, limit });
        }
        let end = record_header_len + captured as usize;
        if window.len() < end {
            return Ok(Step::NeedMore { at_least: end });
        }
        let record = Record {
            time: seconds as u64 * 1_000_000_000 + ticks as u64 * nanoseconds_per_tick,
            link_type: self.link_type,
            wire_len: original.max(captured),
            data: record_header_len..end,
            interface: 0,
        };
        Ok(Step::Packet { consumed: end, record })
    }
}
