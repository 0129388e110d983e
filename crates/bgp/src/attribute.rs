//! Path attributes (RFC 4271 §5): read with the error handling of RFC 7606, written in ascending
//! order. Attributes that we do not know are kept with their flags.

mod parse;

use std::net::Ipv4Addr;

use thiserror::Error;

use crate::community::{Community, ExtendedCommunity, Ipv6ExtendedCommunity, LargeCommunity};
use crate::open::AS_TRANS;
use crate::reader::Cut;
pub(crate) use parse::{Fault, RawAttribute, raw_attributes};

/// Attribute flags.
pub mod flags {
    /// Not every speaker knows it.
    pub const OPTIONAL: u8 = 0x80;
    /// Speakers that do not know it pass it on.
    pub const TRANSITIVE: u8 = 0x40;
    /// It was passed on by a speaker that did not know it.
    pub const PARTIAL: u8 = 0x20;
    /// Its length has two octets.
    pub const EXTENDED_LENGTH: u8 = 0x10;
}

/// Attribute types.
pub mod kind {
    /// ORIGIN.
    pub const ORIGIN: u8 = 1;
    /// `AS_PATH`.
    pub const AS_PATH: u8 = 2;
    /// `NEXT_HOP`.
    pub const NEXT_HOP: u8 = 3;
    /// `MULTI_EXIT_DISC`.
    pub const MED: u8 = 4;
    /// `LOCAL_PREF`.
    pub const LOCAL_PREF: u8 = 5;
    /// `ATOMIC_AGGREGATE`.
    pub const ATOMIC_AGGREGATE: u8 = 6;
    /// AGGREGATOR.
    pub const AGGREGATOR: u8 = 7;
    /// COMMUNITIES.
    pub const COMMUNITIES: u8 = 8;
    /// `ORIGINATOR_ID`.
    pub const ORIGINATOR_ID: u8 = 9;
    /// `CLUSTER_LIST`.
    pub const CLUSTER_LIST: u8 = 10;
    /// `MP_REACH_NLRI`.
    pub const MP_REACH: u8 = 14;
    /// `MP_UNREACH_NLRI`.
    pub const MP_UNREACH: u8 = 15;
    /// EXTENDED COMMUNITIES.
    pub const EXTENDED_COMMUNITIES: u8 = 16;
    /// `AS4_PATH`.
    pub const AS4_PATH: u8 = 17;
    /// `AS4_AGGREGATOR`.
    pub const AS4_AGGREGATOR: u8 = 18;
    /// IPv6 EXTENDED COMMUNITIES.
    pub const IPV6_EXTENDED_COMMUNITIES: u8 = 25;
    /// `LARGE_COMMUNITY`.
    pub const LARGE_COMMUNITIES: u8 = 32;
}

/// How a route came into BGP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// Known by the originating AS itself.
    #[default]
    Igp = 0,
    /// Learnt by EGP.
    Egp = 1,
    /// By other means.
    Incomplete = 2,
}

/// What a segment of an AS path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// An unordered set; read, never sent (RFC 9774).
    Set = 1,
    /// A sequence.
    Sequence = 2,
    /// A sequence within a confederation.
    ConfederationSequence = 3,
    /// A set within a confederation.
    ConfederationSet = 4,
}

/// An AS path: its segments with their AS numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AsPath(pub Vec<(SegmentKind, Vec<u32>)>);

impl AsPath {
    /// One sequence; the empty path for no number.
    pub fn sequence(numbers: Vec<u32>) -> Self {
        let segment = (SegmentKind::Sequence, numbers);
        Self(if segment.1.is_empty() { Vec::new() } else { vec![segment] })
    }

    fn write(&self, four_octets: bool, out: &mut Vec<u8>) {
        for (kind, numbers) in &self.0 {
            for chunk in numbers.chunks(u8::MAX.into()) {
                out.extend([*kind as u8, chunk.len() as u8]);
                for number in chunk {
                    if four_octets {
                        out.extend(number.to_be_bytes());
                    } else {
                        out.extend(u16::try_from(*number).unwrap_or(AS_TRANS).to_be_bytes());
                    }
                }
            }
        }
    }

    fn needs_four_octets(&self) -> bool {
        self.0.iter().flat_map(|(_, numbers)| numbers).any(|n| u16::try_from(*n).is_err())
    }
}

/// An attribute that has no field of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OtherAttribute {
    /// Its flags, the one for the extended length always clear.
    pub flags: u8,
    /// Its type.
    pub kind: u8,
    /// Its value.
    pub value: Vec<u8>,
}

/// The attributes of an UPDATE, without the two that carry routes of other families.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PathAttributes {
    /// ORIGIN.
    pub origin: Option<Origin>,
    /// `AS_PATH`.
    pub as_path: Option<AsPath>,
    /// `NEXT_HOP`: of the IPv4 unicast routes.
    pub next_hop: Option<Ipv4Addr>,
    /// `MULTI_EXIT_DISC`.
    pub med: Option<u32>,
    /// `LOCAL_PREF`.
    pub local_pref: Option<u32>,
    /// COMMUNITIES.
    pub communities: Vec<Community>,
    /// EXTENDED COMMUNITIES.
    pub extended: Vec<ExtendedCommunity>,
    /// IPv6 EXTENDED COMMUNITIES.
    pub ipv6_extended: Vec<Ipv6ExtendedCommunity>,
    /// `LARGE_COMMUNITY`.
    pub large: Vec<LargeCommunity>,
    /// All others, in the order of the message.
    pub others: Vec<OtherAttribute>,
}

impl PathAttributes {
    /// Appends all attributes in ascending order of type.
    pub fn encode(&self, four_octet_as: bool, out: &mut Vec<u8>) {
        const KNOWN: u8 = flags::TRANSITIVE;
        const PASSED_ON: u8 = flags::OPTIONAL | flags::TRANSITIVE;
        let mut attributes: Vec<(u8, u8, Vec<u8>)> = Vec::new();
        let mut add = |flags, kind, value: Vec<u8>| attributes.push((kind, flags, value));
        if let Some(origin) = self.origin {
            add(KNOWN, kind::ORIGIN, vec![origin as u8]);
        }
        if let Some(path) = &self.as_path {
            let mut value = Vec::new();
            path.write(four_octet_as, &mut value);
            add(KNOWN, kind::AS_PATH, value);
            if !four_octet_as && path.needs_four_octets() {
                let mut value = Vec::new();
                path.write(true, &mut value);
                add(PASSED_ON, kind::AS4_PATH, value);
            }
        }
        if let Some(next_hop) = self.next_hop {
            add(KNOWN, kind::NEXT_HOP, next_hop.octets().to_vec());
        }
        if let Some(med) = self.med {
            add(flags::OPTIONAL, kind::MED, med.to_be_bytes().to_vec());
        }
        if let Some(local_pref) = self.local_pref {
            add(KNOWN, kind::LOCAL_PREF, local_pref.to_be_bytes().to_vec());
        }
        if !self.communities.is_empty() {
            let value = self.communities.iter().flat_map(|c| c.0.to_be_bytes()).collect();
            add(PASSED_ON, kind::COMMUNITIES, value);
        }
        if !self.extended.is_empty() {
            let value = self.extended.iter().flat_map(|c| c.0).collect();
            add(PASSED_ON, kind::EXTENDED_COMMUNITIES, value);
        }
        if !self.ipv6_extended.is_empty() {
            let mut value = Vec::new();
            self.ipv6_extended.iter().for_each(|c| c.write(&mut value));
            add(PASSED_ON, kind::IPV6_EXTENDED_COMMUNITIES, value);
        }
        if !self.large.is_empty() {
            let words = self.large.iter().flat_map(|c| c.0);
            add(PASSED_ON, kind::LARGE_COMMUNITIES, words.flat_map(u32::to_be_bytes).collect());
        }
        for other in &self.others {
            add(other.flags, other.kind, other.value.clone());
        }
        attributes.sort_by_key(|(kind, ..)| *kind);
        for (kind, flags, value) in attributes {
            write_attribute(flags, kind, &value, out);
        }
    }
}

/// Appends one attribute, its length in as few octets as hold it.
pub(crate) fn write_attribute(flags: u8, kind: u8, value: &[u8], out: &mut Vec<u8>) {
    let flags = flags & !flags::EXTENDED_LENGTH;
    if let Ok(length) = u8::try_from(value.len()) {
        out.extend([flags, kind, length]);
    } else {
        out.extend([flags | flags::EXTENDED_LENGTH, kind]);
        out.extend((value.len() as u16).to_be_bytes());
    }
    out.extend(value);
}

/// What is wrong with an attribute. None of these ends the session (RFC 7606).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AttributeError {
    /// An attribute goes on behind the end of all attributes.
    #[error("attribute cut: {0}")]
    Cut(Cut),
    /// Flags that the type cannot have.
    #[error("attribute {kind} with the flags 0x{flags:02x}")]
    Flags {
        /// Its type.
        kind: u8,
        /// Its flags.
        flags: u8,
    },
    /// A length that the type cannot have.
    #[error("attribute {kind} of {length} octets")]
    Length {
        /// Its type.
        kind: u8,
        /// Its length.
        length: usize,
    },
    /// A value that the type cannot have.
    #[error("attribute {0} with a value that cannot be")]
    Value(u8),
    /// A mandatory attribute is not there.
    #[error("attribute {0} is missing")]
    Missing(u8),
}

impl From<Cut> for AttributeError {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}
