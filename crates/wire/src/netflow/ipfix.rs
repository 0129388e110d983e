//! IPFIX (RFC 7011): the message header. Sets are read by `set`, templates by `template`.

use super::error::NetflowError;
use super::set::Sets;
use super::{Protocol, expect_version};
use crate::cursor::{Cursor, Cut};

/// The first two bytes of a message.
pub const VERSION: u16 = 10;

/// Bytes of the message header.
pub(super) const HEADER_LENGTH: u16 = 16;

/// Header of a message (RFC 7011 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Length of the message in bytes, this header included.
    pub length: u16,
    /// Seconds since the Unix epoch.
    pub export_time: u32,
    /// Data records sent before this message, of this domain. Templates do not count; records
    /// of options do.
    pub sequence: u32,
    /// Which part of the exporter speaks: templates and sequence numbers are each one's own.
    pub observation_domain: u32,
}

impl Header {
    fn fields(cursor: &mut Cursor<'_>) -> Result<Self, Cut> {
        Ok(Self {
            length: cursor.be16()?,
            export_time: cursor.be32()?,
            sequence: cursor.be32()?,
            observation_domain: cursor.be32()?,
        })
    }
}

/// A message whose header has been read.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its header.
    pub header: Header,
    /// The message without what follows it in the datagram, and the position behind its header.
    data: &'a [u8],
    behind_header: Cursor<'a>,
    trailing: usize,
}

impl<'a> Message<'a> {
    /// Reads the header. A message may be shorter than its datagram, never longer.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, NetflowError> {
        let mut cursor = Cursor::new(datagram);
        expect_version(&mut cursor, VERSION)?;
        let header = Header::fields(&mut cursor).map_err(NetflowError::HeaderCut)?;
        let length = usize::from(header.length);
        let data = (header.length >= HEADER_LENGTH).then(|| datagram.get(..length)).flatten();
        let Some(data) = data else {
            let available = datagram.len() as u32;
            return Err(NetflowError::MessageLength { length: header.length, available });
        };
        let behind_header = cursor.limited(length - usize::from(HEADER_LENGTH));
        Ok(Self { header, data, behind_header, trailing: datagram.len() - length })
    }

    /// The sets.
    pub fn sets(&self) -> Sets<'a> {
        Sets::new(Protocol::Ipfix, self.data, self.behind_header)
    }

    /// Bytes of the datagram that follow the message.
    pub fn trailing(&self) -> usize {
        self.trailing
    }
}
