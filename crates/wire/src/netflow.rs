//! NetFlow v5, NetFlow v9 (RFC 3954) and IPFIX (RFC 7011) as they are on the wire: headers, sets,
//! templates, and records read through a template. Which template belongs to which exporter, what
//! is missing from a sequence and what a record means is the collector's business.
//!
//! [`parse`] looks at the version and gives a [`Datagram`]. A v5 datagram holds its records; the
//! other two hold [`Sets`]: those with templates give [`Template`]s, and those with data are read
//! through the [`Plan`] that was compiled from one, record by record, without a map and without
//! allocating.
//!
//! Whoever sends a datagram chooses every byte of it. An error in one template or of one reserved
//! set leaves the others readable; an error in a length ends what the length was about.

mod element;
mod error;
pub mod ipfix;
mod plan;
mod set;
mod template;
pub mod v5;
pub mod v9;
mod value;

#[cfg(test)]
mod tests;

pub use element::Element;
pub use error::{NetflowError, TemplateError};
pub use plan::{Field, Fields, Place, Plan, Record, Records, Role};
pub use set::{MAX_SETS, Set, SetKind, Sets};
pub use template::{
    FieldSpec, MAX_FIELDS, MIN_TEMPLATE_ID, REVERSE_ENTERPRISE, Template, TemplateKind,
    TemplateRecord, Templates, VARIABLE_LENGTH,
};
pub use value::{ntp_to_unix_nanoseconds, read_float, read_uint};

use crate::cursor::Cursor;

/// The protocols whose records are described by templates. They share a shape and most numbers,
/// but not their options templates, and a template of one is never used for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// NetFlow version 9.
    V9,
    /// IPFIX, also called version 10.
    Ipfix,
}

/// One export datagram, its header read.
#[derive(Clone, Copy, Debug)]
pub enum Datagram<'a> {
    /// NetFlow version 5.
    V5(v5::Packet<'a>),
    /// NetFlow version 9.
    V9(v9::Packet<'a>),
    /// IPFIX.
    Ipfix(ipfix::Message<'a>),
}

/// Reads the version of an export datagram, and its header.
pub fn parse(datagram: &[u8]) -> Result<Datagram<'_>, NetflowError> {
    match Cursor::new(datagram).be16().map_err(NetflowError::HeaderCut)? {
        v5::VERSION => v5::Packet::parse(datagram).map(Datagram::V5),
        v9::VERSION => v9::Packet::parse(datagram).map(Datagram::V9),
        ipfix::VERSION => ipfix::Message::parse(datagram).map(Datagram::Ipfix),
        version => Err(NetflowError::Version { version }),
    }
}

/// Reads the version and passes over it, or says that it is another one.
fn expect_version(cursor: &mut Cursor<'_>, expected: u16) -> Result<(), NetflowError> {
    match cursor.be16().map_err(NetflowError::HeaderCut)? {
        version if version == expected => Ok(()),
        version => Err(NetflowError::Version { version }),
    }
}
