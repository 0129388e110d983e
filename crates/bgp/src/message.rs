//! Messages of BGP (RFC 4271 §4): the header and its limits, and which body is behind it.

use thiserror::Error;

use crate::notification::{Notification, code};
use crate::open::{Open, OpenError};
use crate::refresh::{RefreshError, RouteRefresh};

/// Marker, length and type.
pub const HEADER_LENGTH: usize = 19;
/// Longest message without the extended message capability, header included.
pub const MAX_MESSAGE: usize = 4_096;
/// Longest message with it (RFC 8654); OPEN and KEEPALIVE stay within [`MAX_MESSAGE`].
pub const MAX_EXTENDED_MESSAGE: usize = 65_535;
const MARKER: [u8; 16] = [0xff; 16];

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// Who we are and what we can do.
    Open = 1,
    /// Routes.
    Update = 2,
    /// The session ends, and why.
    Notification = 3,
    /// We are alive.
    Keepalive = 4,
    /// Send your routes again (RFC 2918).
    RouteRefresh = 5,
}

impl MessageType {
    /// Shortest and longest message of this type, header included.
    fn lengths(self, max: usize) -> (usize, usize) {
        match self {
            Self::Open => (29, MAX_MESSAGE),
            Self::Update | Self::RouteRefresh => (23, max),
            Self::Notification => (21, max),
            Self::Keepalive => (HEADER_LENGTH, HEADER_LENGTH),
        }
    }
}

/// Why a header is refused (RFC 4271 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The first sixteen octets are not all ones.
    #[error("the marker is not all ones: the stream is out of step")]
    Marker,
    /// A length that a message of this type cannot have.
    #[error("length {length} outside of {min} to {max}")]
    Length {
        /// As written.
        length: u16,
        /// Least that is possible.
        min: usize,
        /// Most that is agreed on.
        max: usize,
    },
    /// A type that does not exist.
    #[error("message type {0} is not known")]
    Type(u8),
}

impl HeaderError {
    /// What the peer is told.
    pub fn notification(&self) -> Notification {
        match self {
            Self::Marker => Notification::new(code::HEADER, 1),
            Self::Length { length, .. } => {
                Notification::with_data(code::HEADER, 2, &length.to_be_bytes())
            }
            Self::Type(kind) => Notification::with_data(code::HEADER, 3, &[*kind]),
        }
    }
}

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum MessageError {
    /// Its header.
    #[error("header: {0}")]
    Header(#[from] HeaderError),
    /// An OPEN.
    #[error("OPEN: {0}")]
    Open(#[from] OpenError),
    /// A ROUTE-REFRESH.
    #[error("ROUTE-REFRESH: {0}")]
    Refresh(#[from] RefreshError),
}

impl MessageError {
    /// What the peer is told.
    pub fn notification(&self) -> Notification {
        match self {
            Self::Header(error) => error.notification(),
            Self::Open(error) => error.notification(),
            Self::Refresh(error) => error.notification(),
        }
    }
}

/// A message whose header is good and whose body is still bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawMessage<'a> {
    /// What it is.
    pub kind: MessageType,
    /// What is behind the header.
    pub body: &'a [u8],
    /// Octets of header and body.
    pub length: usize,
}

/// A message. The body of an UPDATE is read by [`Update::parse`](crate::update::Update::parse),
/// which must know what was agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// OPEN.
    Open(Open),
    /// UPDATE.
    Update(&'a [u8]),
    /// NOTIFICATION.
    Notification(Notification),
    /// KEEPALIVE.
    Keepalive,
    /// ROUTE-REFRESH.
    RouteRefresh(RouteRefresh),
}

impl<'a> RawMessage<'a> {
    /// The first message of `stream`; `None` when it is not there as a whole. `max` is the longest
    /// message agreed on.
    pub fn parse(stream: &'a [u8], max: usize) -> Result<Option<Self>, HeaderError> {
        let Some((header, _)) = stream.split_first_chunk::<HEADER_LENGTH>() else {
            let known = stream.len().min(MARKER.len());
            let good = stream.get(..known) == MARKER.get(..known);
            return if good { Ok(None) } else { Err(HeaderError::Marker) };
        };
        let [marker @ .., high, low, kind] = header;
        if *marker != MARKER {
            return Err(HeaderError::Marker);
        }
        let length = u16::from_be_bytes([*high, *low]);
        let kind = match kind {
            1 => MessageType::Open,
            2 => MessageType::Update,
            3 => MessageType::Notification,
            4 => MessageType::Keepalive,
            5 => MessageType::RouteRefresh,
            other => return Err(HeaderError::Type(*other)),
        };
        let (min, max) = kind.lengths(max);
        if !(min..=max).contains(&usize::from(length)) {
            return Err(HeaderError::Length { length, min, max });
        }
        let length = usize::from(length);
        Ok(stream.get(HEADER_LENGTH..length).map(|body| Self { kind, body, length }))
    }

    /// Reads the body.
    pub fn message(&self) -> Result<Message<'a>, MessageError> {
        let short =
            || HeaderError::Length { length: self.length as u16, min: 21, max: MAX_MESSAGE };
        Ok(match self.kind {
            MessageType::Open => Message::Open(Open::parse(self.body)?),
            MessageType::Update => Message::Update(self.body),
            MessageType::Notification => {
                Message::Notification(Notification::parse(self.body).ok_or_else(short)?)
            }
            MessageType::Keepalive => Message::Keepalive,
            MessageType::RouteRefresh => Message::RouteRefresh(RouteRefresh::parse(self.body)?),
        })
    }
}

/// Appends a KEEPALIVE.
pub fn keepalive(out: &mut Vec<u8>) {
    let start = begin(MessageType::Keepalive, out);
    finish(start, out);
}

/// Appends a header without its length, and returns where it starts.
pub(crate) fn begin(kind: MessageType, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend(MARKER);
    out.extend([0, 0, kind as u8]);
    start
}

/// Writes the length of the message that starts at `start` and ends here.
pub(crate) fn finish(start: usize, out: &mut [u8]) {
    let length = out.len().saturating_sub(start) as u16;
    if let Some(place) = out.get_mut(start + MARKER.len()..start + MARKER.len() + 2) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(length: u16, kind: u8) -> Vec<u8> {
        [&MARKER[..], &length.to_be_bytes(), &[kind]].concat()
    }

    #[test]
    fn a_message_is_given_once_it_is_whole() {
        let mut stream = Vec::new();
        keepalive(&mut stream);
        Notification::new(6, 4).encode(&mut stream);
        for cut in 0..HEADER_LENGTH {
            assert_eq!(RawMessage::parse(&stream[..cut], MAX_MESSAGE), Ok(None), "{cut}");
        }
        let first = RawMessage::parse(&stream, MAX_MESSAGE).unwrap().unwrap();
        assert_eq!((first.kind, first.length), (MessageType::Keepalive, 19));
        let second = RawMessage::parse(&stream[19..], MAX_MESSAGE).unwrap().unwrap();
        assert_eq!(second.message(), Ok(Message::Notification(Notification::new(6, 4))));
    }

    #[test]
    fn headers_are_refused_with_the_code_of_the_rfc() {
        let refused = |stream: &[u8], max| {
            let notification = RawMessage::parse(stream, max).unwrap_err().notification();
            (notification.code, notification.subcode, notification.data)
        };
        assert_eq!(refused(b"GET / HTTP/1.1", MAX_MESSAGE), (1, 1, vec![]), "at the first octet");
        assert_eq!(refused(&header(18, 4), MAX_MESSAGE), (1, 2, vec![0, 18]));
        assert_eq!(refused(&header(20, 4), MAX_MESSAGE), (1, 2, vec![0, 20]));
        assert_eq!(refused(&header(22, 2), MAX_MESSAGE), (1, 2, vec![0, 22]));
        assert_eq!(refused(&header(4097, 2), MAX_MESSAGE), (1, 2, vec![0x10, 1]));
        assert_eq!(refused(&header(4097, 1), MAX_EXTENDED_MESSAGE), (1, 2, vec![0x10, 1]));
        assert_eq!(refused(&header(19, 9), MAX_MESSAGE), (1, 3, vec![9]));
        assert_eq!(RawMessage::parse(&header(65_535, 2), MAX_EXTENDED_MESSAGE), Ok(None));
    }
}
