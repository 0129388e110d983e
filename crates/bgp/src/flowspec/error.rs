//! What can be wrong with a rule.

use thiserror::Error;
use tidewall_model::{Family, Prefix};

use super::{ComponentKind, MAX_RULE_OCTETS};
use crate::reader::Cut;

/// Why a rule cannot be, or why its octets cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FlowSpecError {
    /// No component: it would match everything.
    #[error("no component")]
    Empty,
    /// A type twice, or not ascending.
    #[error("component {kind} at offset {offset} is not behind the one before it")]
    Order {
        /// The second of the two.
        kind: u8,
        /// Where it stands; in a rule that is made, its index.
        offset: usize,
    },
    /// A type that is not known, or not in this IP version.
    #[error("component type {kind} at offset {offset} is not one of {family}")]
    Kind {
        /// As written.
        kind: u8,
        /// Where it stands.
        offset: usize,
        /// IP version of the rule.
        family: Family,
    },
    /// A list without terms.
    #[error("the list of {0} is empty")]
    NoTerms(ComponentKind),
    /// A prefix of the other IP version.
    #[error("{prefix} in a rule of {family}")]
    PrefixFamily {
        /// The prefix.
        prefix: Prefix,
        /// IP version of the rule.
        family: Family,
    },
    /// A prefix length or offset that cannot be.
    #[error("prefix of {bits} bits with offset {skipped} at offset {offset}")]
    PrefixBits {
        /// Its length.
        bits: u8,
        /// Its own offset.
        skipped: u8,
        /// Where it stands.
        offset: usize,
    },
    /// A bitmask of more than two octets.
    #[error("bitmask of {octets} octets at offset {offset}")]
    BitmaskLength {
        /// Its length.
        octets: usize,
        /// Where it stands.
        offset: usize,
    },
    /// More octets than the length field can say.
    #[error("{0} octets, where a rule has at most {MAX_RULE_OCTETS}")]
    TooLong(usize),
    /// A list or prefix goes on behind the end of the rule.
    #[error("cut: {0}")]
    Cut(Cut),
}

impl From<Cut> for FlowSpecError {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}
