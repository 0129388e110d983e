//! NetFlow version 9 (RFC 3954): the packet header. Flowsets are read by `set`, templates by
//! `template`.

use super::error::NetflowError;
use super::set::Sets;
use super::{Protocol, expect_version};
use crate::cursor::{Cursor, Cut};

/// The first two bytes of a datagram.
pub const VERSION: u16 = 9;

/// Header of an export packet (RFC 3954 §5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Records of all kinds, templates included. Some exporters count flowsets instead, so that
    /// nothing here depends on it.
    pub count: u16,
    /// Milliseconds since the exporter started.
    pub sys_uptime: u32,
    /// Export time: seconds since the Unix epoch.
    pub unix_secs: u32,
    /// Export packets sent before this one, for this source id.
    pub sequence: u32,
    /// Which part of the exporter speaks: templates and sequence numbers are each one's own.
    pub source_id: u32,
}

impl Header {
    fn fields(cursor: &mut Cursor<'_>) -> Result<Self, Cut> {
        Ok(Self {
            count: cursor.be16()?,
            sys_uptime: cursor.be32()?,
            unix_secs: cursor.be32()?,
            sequence: cursor.be32()?,
            source_id: cursor.be32()?,
        })
    }
}

/// An export packet whose header has been read.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its header.
    pub header: Header,
    /// The whole datagram, and the position behind the header.
    data: &'a [u8],
    behind_header: Cursor<'a>,
}

impl<'a> Packet<'a> {
    /// Reads the header.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, NetflowError> {
        let mut cursor = Cursor::new(datagram);
        expect_version(&mut cursor, VERSION)?;
        let header = Header::fields(&mut cursor).map_err(NetflowError::HeaderCut)?;
        Ok(Self { header, data: datagram, behind_header: cursor })
    }

    /// The flowsets.
    pub fn sets(&self) -> Sets<'a> {
        Sets::new(Protocol::V9, self.data, self.behind_header)
    }
}
