//! NOTIFICATION (RFC 4271 §4.5): why a session ends, with the operator's words (RFC 9003) and the
//! hard reset of RFC 8538.

use std::borrow::Cow;
use std::fmt;

use crate::message::{MAX_MESSAGE, MessageType, begin, finish};

/// Longest text of a shutdown communication in octets (RFC 9003 §2).
pub const MAX_COMMUNICATION: usize = 255;
/// Header and the two codes.
const FIXED: usize = 21;

/// Error codes of RFC 4271 §4.5 and its successors.
pub mod code {
    /// Message header error.
    pub const HEADER: u8 = 1;
    /// OPEN message error.
    pub const OPEN: u8 = 2;
    /// UPDATE message error.
    pub const UPDATE: u8 = 3;
    /// Hold timer expired.
    pub const HOLD_TIMER: u8 = 4;
    /// Finite state machine error; subcodes in RFC 6608.
    pub const STATE_MACHINE: u8 = 5;
    /// Cease; subcodes in [`cease`](super::cease).
    pub const CEASE: u8 = 6;
    /// ROUTE-REFRESH message error (RFC 7313).
    pub const ROUTE_REFRESH: u8 = 7;
    /// Send hold timer expired (RFC 9687).
    pub const SEND_HOLD_TIMER: u8 = 8;
}

/// Subcodes of an OPEN message error.
pub mod open_error {
    /// Version that we do not speak.
    pub const VERSION: u8 = 1;
    /// Not the configured AS.
    pub const PEER_AS: u8 = 2;
    /// A router id that cannot be.
    pub const ROUTER_ID: u8 = 3;
    /// Optional parameter that is not known.
    pub const PARAMETER: u8 = 4;
    /// Hold time of one or two seconds.
    pub const HOLD_TIME: u8 = 6;
    /// Capability missing or refused (RFC 5492).
    pub const CAPABILITY: u8 = 7;
}

/// Subcodes of Cease (RFC 4486, 8538).
pub mod cease {
    /// Too many prefixes.
    pub const MAX_PREFIXES: u8 = 1;
    /// The operator ends the session.
    pub const SHUTDOWN: u8 = 2;
    /// The peer is no longer configured.
    pub const DECONFIGURED: u8 = 3;
    /// The operator starts the session again.
    pub const RESET: u8 = 4;
    /// A connection that the other does not want.
    pub const REJECTED: u8 = 5;
    /// Two connections at once: this one loses.
    pub const COLLISION: u8 = 7;
    /// Graceful restart is not to be used; the data is the real NOTIFICATION.
    pub const HARD_RESET: u8 = 9;
}

/// A NOTIFICATION message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Error code.
    pub code: u8,
    /// Error subcode.
    pub subcode: u8,
    /// What the codes say it is.
    pub data: Vec<u8>,
}

impl Notification {
    /// Without data.
    pub const fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Vec::new() }
    }

    /// With data, cut to what a message of 4,096 octets holds.
    pub fn with_data(code: u8, subcode: u8, data: &[u8]) -> Self {
        let data = data.get(..MAX_MESSAGE - FIXED).unwrap_or(data).to_vec();
        Self { code, subcode, data }
    }

    /// A Cease with the operator's words: at most 255 octets, cut between characters.
    pub fn cease(subcode: u8, text: &str) -> Self {
        let cut = (0..=text.len().min(MAX_COMMUNICATION)).rev().find(|i| text.is_char_boundary(*i));
        let text = text.get(..cut.unwrap_or_default()).unwrap_or_default();
        let mut data = Vec::new();
        if !text.is_empty() {
            data.push(text.len() as u8);
            data.extend(text.as_bytes());
        }
        Self { code: code::CEASE, subcode, data }
    }

    /// This one inside a hard reset: the peer drops our routes although it knows graceful restart.
    #[must_use]
    pub fn hard_reset(&self) -> Self {
        let inner = [&[self.code, self.subcode], self.data.as_slice()].concat();
        Self::with_data(code::CEASE, cease::HARD_RESET, &inner)
    }

    /// What a hard reset is about: the one inside of it. FRR, for one, puts its prefix limit there.
    pub fn inside(&self) -> Option<Self> {
        match (self.code, self.subcode, self.data.as_slice()) {
            (code::CEASE, cease::HARD_RESET, [code, subcode, data @ ..])
                if (*code, *subcode) != (code::CEASE, cease::HARD_RESET) =>
            {
                Some(Self::with_data(*code, *subcode, data))
            }
            _ => None,
        }
    }

    /// The operator's words, also inside a hard reset. RFC 9003 has them for shutdown and reset; we
    /// send them to a peer that is no longer configured, too.
    pub fn communication(&self) -> Option<Cow<'_, str>> {
        let (subcode, data) = match (self.code, self.subcode, self.data.as_slice()) {
            (code::CEASE, cease::HARD_RESET, [code::CEASE, subcode, data @ ..]) => (*subcode, data),
            (code::CEASE, subcode, data) => (subcode, data),
            _ => return None,
        };
        if !matches!(subcode, cease::SHUTDOWN | cease::DECONFIGURED | cease::RESET) {
            return None;
        }
        let (length, rest) = data.split_first()?;
        let text = rest.get(..usize::from(*length))?;
        (!text.is_empty()).then(|| String::from_utf8_lossy(text))
    }

    /// Reads the body of a message that has at least the two codes.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let [code, subcode, data @ ..] = body else { return None };
        Some(Self { code: *code, subcode: *subcode, data: data.to_vec() })
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = begin(MessageType::Notification, out);
        out.extend([self.code, self.subcode]);
        out.extend(self.data.get(..MAX_MESSAGE - FIXED).unwrap_or(&self.data));
        finish(start, out);
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match (self.code, self.subcode) {
            (code::HEADER, _) => "message header error",
            (code::OPEN, open_error::VERSION) => "unsupported BGP version",
            (code::OPEN, open_error::PEER_AS) => "bad peer AS",
            (code::OPEN, open_error::ROUTER_ID) => "bad router id",
            (code::OPEN, open_error::HOLD_TIME) => "unacceptable hold time",
            (code::OPEN, open_error::CAPABILITY) => "unsupported capability",
            (code::OPEN, _) => "OPEN message error",
            (code::UPDATE, _) => "UPDATE message error",
            (code::HOLD_TIMER, _) => "hold timer expired",
            (code::STATE_MACHINE, _) => "message not expected in this state",
            (code::CEASE, cease::MAX_PREFIXES) => "too many prefixes",
            (code::CEASE, cease::SHUTDOWN) => "administrative shutdown",
            (code::CEASE, cease::DECONFIGURED) => "peer de-configured",
            (code::CEASE, cease::RESET) => "administrative reset",
            (code::CEASE, cease::REJECTED) => "connection rejected",
            (code::CEASE, cease::COLLISION) => "connection collision",
            (code::CEASE, cease::HARD_RESET) => "hard reset",
            (code::CEASE, _) => "cease",
            (code::ROUTE_REFRESH, _) => "ROUTE-REFRESH message error",
            (code::SEND_HOLD_TIMER, _) => "send hold timer expired",
            _ => "unknown error",
        };
        write!(f, "{words} ({}/{})", self.code, self.subcode)?;
        match (self.inside(), self.communication()) {
            (Some(inside), _) => write!(f, ": {inside}"),
            (None, Some(text)) => write!(f, ": {:?}", text.as_ref()),
            (None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_carried_and_cut_between_characters() {
        let notification = Notification::cease(cease::SHUTDOWN, "maintenance");
        let mut out = Vec::new();
        notification.encode(&mut out);
        assert_eq!(&out[16..], b"\x00\x21\x03\x06\x02\x0bmaintenance");
        assert_eq!(notification.to_string(), "administrative shutdown (6/2): \"maintenance\"");
        let long = Notification::cease(cease::RESET, &"ü".repeat(200));
        assert_eq!(long.communication().unwrap(), "ü".repeat(127));
        assert_eq!(Notification::cease(cease::RESET, "").data, []);
    }

    #[test]
    fn a_hard_reset_keeps_the_words() {
        let inner = Notification::cease(cease::SHUTDOWN, "withdraw all");
        let hard = inner.hard_reset();
        assert_eq!((hard.code, hard.subcode), (6, 9));
        assert_eq!(hard.communication().unwrap(), "withdraw all");
        assert_eq!(hard.inside(), Some(inner));
        let words = "hard reset (6/9): administrative shutdown (6/2): \"withdraw all\"";
        assert_eq!(hard.to_string(), words);
        assert_eq!(hard.hard_reset().inside(), None, "one level is read");
    }

    #[test]
    fn a_lying_text_length_gives_no_text() {
        let lying = Notification::with_data(code::CEASE, cease::SHUTDOWN, &[200, b'a']);
        assert_eq!(lying.communication(), None);
        let control = Notification::with_data(code::CEASE, cease::SHUTDOWN, b"\x03a\x1b\n");
        assert!(!control.to_string().contains('\u{1b}'), "a peer writes nothing on our terminal");
    }
}
