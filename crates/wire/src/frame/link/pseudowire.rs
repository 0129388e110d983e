//! MPLS label stacks, and the guess at what is behind the last label.

use super::{Layer, LinkProtocol, MAX_LABELS, Step};
use crate::cursor::Cursor;
use crate::frame::{Frame, FrameError, guess};

const EXPLICIT_NULL_IPV4: u32 = 0;
const EXPLICIT_NULL_IPV6: u32 = 2;
/// Bytes that show an Ethernet header and what it announces.
const ETHERNET_IN_VIEW: usize = 16;

/// Reads labels to the bottom of the stack and says what follows.
pub(super) fn labels(cursor: &mut Cursor<'_>, frame: &mut Frame) -> Step {
    loop {
        if frame.mpls_labels == MAX_LABELS {
            return Err(FrameError::TooManyTags { offset: cursor.offset(), limit: MAX_LABELS });
        }
        let entry = cursor.be32()?;
        let label = entry >> 12;
        if frame.mpls_labels == 0 {
            frame.mpls_label = label;
        }
        frame.mpls_labels += 1;
        if entry & 0x100 != 0 {
            return match label {
                EXPLICIT_NULL_IPV4 => Ok(Layer::Ipv4),
                EXPLICIT_NULL_IPV6 => Ok(Layer::Ipv6),
                _ => payload(cursor),
            };
        }
    }
}

/// The label does not say what it carries. IP is told by its first four bits (RFC 4928 §3), a
/// pseudowire's control word starts with 0 (RFC 4385 §3), and one without a control word starts
/// with an address that may look like either.
fn payload(cursor: &mut Cursor<'_>) -> Step {
    let Some([first]) = cursor.peek() else {
        return Err(cursor.cut(1).into());
    };
    match first >> 4 {
        0 => control_word(cursor),
        4 => match (guess::ipv4(*cursor), guess::ethernet(*cursor)) {
            (Some(false), Some(true)) => Ok(Layer::Ethernet),
            (None, Some(true)) => Err(cursor.cut(usize::from(first & 0x0f) * 4).into()),
            _ => Ok(Layer::Ipv4),
        },
        6 if guess::ethernet(*cursor) != Some(true) => Ok(Layer::Ipv6),
        _ => match guess::ethernet(*cursor) {
            Some(true) => Ok(Layer::Ethernet),
            Some(false) => Err(FrameError::NotIp(LinkProtocol::Pseudowire)),
            None => Err(cursor.cut(ETHERNET_IN_VIEW).into()),
        },
    }
}

/// Four bytes of control word and then Ethernet, or Ethernet at once.
fn control_word(cursor: &mut Cursor<'_>) -> Step {
    let mut behind = *cursor;
    behind.skip(4)?;
    match (guess::ethernet(behind), guess::ethernet(*cursor)) {
        (Some(true), _) => {
            *cursor = behind;
            Ok(Layer::Ethernet)
        }
        (Some(false), Some(true)) => Ok(Layer::Ethernet),
        (None, _) => Err(behind.cut(ETHERNET_IN_VIEW).into()),
        _ => Err(FrameError::NotIp(LinkProtocol::Pseudowire)),
    }
}
