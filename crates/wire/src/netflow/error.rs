//! What can be wrong with an export datagram. Offsets count from its first byte.

use thiserror::Error;

use super::ipfix;
use super::set::MAX_SETS;
use super::template::{MAX_FIELDS, MIN_TEMPLATE_ID};
use super::v5::MAX_RECORDS;
use crate::cursor::Cut;

/// Why an export datagram, or a part of it, cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NetflowError {
    /// The datagram ends inside its header.
    #[error("header cut: {0}")]
    HeaderCut(Cut),
    /// Another protocol, or another version of it.
    #[error("version {version} at offset 0 is not the one to be read")]
    Version {
        /// The first two bytes.
        version: u16,
    },
    /// A v5 header announces no records, or more than fit a v5 datagram.
    #[error("{count} records announced at offset 2, where 1 to {MAX_RECORDS} can be")]
    RecordCount {
        /// What the header says.
        count: u16,
    },
    /// An IPFIX message length that is below the header's or beyond the datagram.
    #[error(
        "message length {length} at offset 2, outside of {} to {available}",
        ipfix::HEADER_LENGTH
    )]
    MessageLength {
        /// What the header says.
        length: u16,
        /// Bytes of the datagram.
        available: u32,
    },
    /// The datagram ends inside the header of a set.
    #[error("set header cut: {0}")]
    SetHeaderCut(Cut),
    /// A set that is shorter than its header: where the next one starts is unknown.
    #[error("set of {length} bytes at offset {offset}, where its header takes 4")]
    SetLength {
        /// Where the set starts.
        offset: u32,
        /// Its length as written.
        length: u16,
    },
    /// A set that is longer than what is left of the datagram.
    #[error("set cut: {0}")]
    SetCut(Cut),
    /// A set whose id is neither that of templates nor above 255. The next set can be read.
    #[error("set with the reserved id {id} at offset {offset}")]
    ReservedSet {
        /// Where the set starts.
        offset: u32,
        /// Its id.
        id: u16,
    },
    /// More sets than are followed in one datagram.
    #[error("more than {MAX_SETS} sets, at offset {offset}")]
    TooManySets {
        /// Where the one too many starts.
        offset: u32,
    },
    /// A template that is longer than what is left of its set.
    #[error("template cut: {0}")]
    TemplateCut(Cut),
    /// Lengths in a v9 options template that are not a number of whole fields. Where the next
    /// template starts is unknown.
    #[error(
        "options template at offset {offset} with {scope_length} bytes of scopes and \
         {option_length} bytes of options, which are not multiples of 4"
    )]
    OptionsLength {
        /// Where the template starts.
        offset: u32,
        /// Length of the scope fields as written, in bytes.
        scope_length: u16,
        /// Length of the option fields as written, in bytes.
        option_length: u16,
    },
    /// A template that no record can be read through. The next template can be read.
    #[error("template {id} at offset {offset}: {reason}")]
    Template {
        /// Where the template starts.
        offset: u32,
        /// Its id.
        id: u16,
        /// What is wrong with it.
        reason: TemplateError,
    },
    /// A record with variable-length fields that is longer than what is left of its set.
    #[error("record cut: {0}")]
    RecordCut(Cut),
}

/// Why no record can be read through a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TemplateError {
    /// Ids below 256 belong to the sets that define templates.
    #[error("an id below {MIN_TEMPLATE_ID}")]
    Id,
    /// No fields, or only fields of length 0: a set would hold any number of such records.
    #[error("its records have no length")]
    Empty,
    /// More fields than are kept.
    #[error("more than {MAX_FIELDS} fields")]
    TooManyFields,
    /// The fields take more bytes than a set can have.
    #[error("records of at least {length} bytes, more than a set can hold")]
    RecordTooLong {
        /// Least length of a record, in bytes.
        length: u32,
    },
    /// More scope fields than fields, or scope fields in a template of data.
    #[error("{scopes} scope fields among {fields} fields")]
    Scopes {
        /// Scope fields as announced.
        scopes: u16,
        /// Fields in all.
        fields: u16,
    },
}
