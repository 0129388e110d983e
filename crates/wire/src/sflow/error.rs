//! Why a datagram, one of its samples or one of their records cannot be read.

use thiserror::Error;

use crate::cursor::Cut;

/// What is wrong, and where. Offsets count from the start of the datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SflowError {
    /// The datagram ends inside its header.
    #[error("sflow header cut: {0}")]
    HeaderCut(Cut),
    /// A version other than 2, 4 and 5.
    #[error("sflow version {version} is not known")]
    Version {
        /// The first word of the datagram.
        version: u32,
    },
    /// An address that is neither IPv4, IPv6 nor absent.
    #[error("address type {kind} at offset {offset}")]
    AddressType {
        /// Where the type word is.
        offset: u32,
        /// What it says.
        kind: u32,
    },
    /// No sample announced, or more than are read.
    #[error("{count} samples announced at offset {offset}, where 1 to {limit} are read")]
    SampleCount {
        /// Where the count is.
        offset: u32,
        /// What it says.
        count: u32,
        /// [`super::MAX_SAMPLES`].
        limit: u32,
    },
    /// A sample runs past the datagram, or its fixed fields past its own length.
    #[error("sample cut: {0}")]
    SampleCut(Cut),
    /// A sample of version 2 or 4 of a type without a known length: nothing behind it is found.
    #[error("sample type {kind} at offset {offset}")]
    SampleType {
        /// Where the type word is.
        offset: u32,
        /// What it says.
        kind: u32,
    },
    /// A sample announces more records than are read.
    #[error("{count} records announced at offset {offset}, at most {limit} are read")]
    RecordCount {
        /// Where the count is.
        offset: u32,
        /// What it says.
        count: u32,
        /// [`super::MAX_RECORDS`].
        limit: u32,
    },
    /// A record runs past its sample, or its fields past its own length.
    #[error("record cut: {0}")]
    RecordCut(Cut),
    /// A record of version 2 or 4 of a type without a known length: nothing behind it is found.
    #[error("record type {kind} at offset {offset}")]
    RecordType {
        /// Where the type word is.
        offset: u32,
        /// What it says.
        kind: u32,
    },
}

/// Records are where nearly all reads are; headers and samples say so themselves.
impl From<Cut> for SflowError {
    fn from(cut: Cut) -> Self {
        Self::RecordCut(cut)
    }
}

impl SflowError {
    /// The same cut, found while the datagram's header was read.
    pub(super) fn in_header(self) -> Self {
        match self {
            Self::RecordCut(cut) => Self::HeaderCut(cut),
            other => other,
        }
    }
}
