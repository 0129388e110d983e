//! Network layer reachability information: which routes, in octets.

use std::fmt;

use thiserror::Error;
use tidewall_model::{Address, Family, Prefix};

use crate::family::RouteFamily;
use crate::flowspec::{FlowSpecError, FlowSpecRule};
use crate::reader::{Cut, Reader};

/// What a route is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Nlri {
    /// A prefix of a unicast family.
    Unicast(Prefix),
    /// A rule of a FlowSpec family.
    FlowSpec(FlowSpecRule),
}

/// Why NLRI cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NlriError {
    /// It goes on behind the end.
    #[error("cut: {0}")]
    Cut(Cut),
    /// A prefix length above the family's.
    #[error("prefix of {bits} bits at offset {offset}, where {family} has {}", family.bits())]
    PrefixBits {
        /// As written.
        bits: u8,
        /// Where it stands.
        offset: usize,
        /// IP version.
        family: Family,
    },
    /// A rule of a good length and bad content: those behind it can be read.
    #[error("rule at offset {offset}: {error}")]
    Rule {
        /// Where it starts.
        offset: usize,
        /// What is wrong.
        error: FlowSpecError,
    },
}

impl NlriError {
    /// Is what follows lost too?
    pub const fn ends_the_list(&self) -> bool {
        !matches!(self, Self::Rule { .. })
    }
}

impl From<Cut> for NlriError {
    fn from(cut: Cut) -> Self {
        Self::Cut(cut)
    }
}

impl Nlri {
    /// Which family it is of.
    pub const fn family(&self) -> RouteFamily {
        match self {
            Self::Unicast(prefix) => RouteFamily::unicast(prefix.family()),
            Self::FlowSpec(rule) => RouteFamily::flow_spec(rule.family()),
        }
    }

    /// Appends its octets.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::FlowSpec(rule) => rule.encode(out),
            Self::Unicast(prefix) => {
                let bits = prefix.first().bits;
                let left_aligned = if prefix.family() == Family::V4 { bits << 96 } else { bits };
                let octets = usize::from(prefix.len().div_ceil(8));
                out.push(prefix.len());
                out.extend(left_aligned.to_be_bytes().iter().take(octets));
            }
        }
    }

    /// Reads all of a list; ends after an error behind which nothing can be read.
    pub fn list(
        family: RouteFamily,
        octets: &[u8],
    ) -> impl Iterator<Item = Result<Self, NlriError>> + Clone {
        let mut reader = Reader::new(octets);
        let mut failed = false;
        std::iter::from_fn(move || {
            if failed || reader.is_empty() {
                return None;
            }
            let nlri = Self::next(family, &mut reader);
            failed = nlri.as_ref().is_err_and(NlriError::ends_the_list);
            Some(nlri)
        })
    }

    fn next(family: RouteFamily, reader: &mut Reader<'_>) -> Result<Self, NlriError> {
        let offset = reader.offset();
        if family.is_flow_spec() {
            let body = FlowSpecRule::next(reader).map_err(|error| match error {
                FlowSpecError::Cut(cut) => NlriError::Cut(cut),
                error => NlriError::Rule { offset, error },
            })?;
            return FlowSpecRule::parse(family.ip(), body)
                .map(Self::FlowSpec)
                .map_err(|error| NlriError::Rule { offset, error });
        }
        let (bits, family) = (reader.u8()?, family.ip());
        if bits > family.bits() {
            return Err(NlriError::PrefixBits { bits, offset, family });
        }
        let octets = reader.bytes(usize::from(bits.div_ceil(8)))?;
        let left_aligned = octets
            .iter()
            .zip((0..16).rev())
            .fold(0u128, |sum, (octet, place)| sum | u128::from(*octet) << (8 * place));
        let address = match family {
            Family::V4 => Address::v4((left_aligned >> 96) as u32),
            Family::V6 => Address::v6(left_aligned),
        };
        Ok(Self::Unicast(Prefix::containing(address, bits)))
    }
}

impl fmt::Display for Nlri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unicast(prefix) => prefix.fmt(f),
            Self::FlowSpec(rule) => rule.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        Nlri::Unicast(text.parse().unwrap()).encode(&mut out);
        out
    }

    #[test]
    fn prefixes_have_no_octet_too_many() {
        assert_eq!(octets("0.0.0.0/0"), [0]);
        assert_eq!(octets("10.0.0.0/8"), [8, 10]);
        assert_eq!(octets("203.0.113.128/25"), [25, 203, 0, 113, 128]);
        assert_eq!(octets("2001:db8::/33"), [33, 0x20, 1, 0xd, 0xb8, 0]);
        assert_eq!(octets("2001:db8::1/128").len(), 17);
    }

    #[test]
    fn bits_behind_a_prefix_are_cleared_and_bad_lengths_end_the_list() {
        let read: Vec<_> =
            Nlri::list(RouteFamily::Ipv4Unicast, &[9, 10, 0xff, 33, 1, 8, 1]).collect();
        assert_eq!(read[0], Ok(Nlri::Unicast("10.128.0.0/9".parse().unwrap())));
        let family = Family::V4;
        assert_eq!(read[1..], [Err(NlriError::PrefixBits { bits: 33, offset: 3, family })]);
    }

    #[test]
    fn a_bad_rule_does_not_hide_the_next() {
        let good = [3, 3, 0x81, 17];
        let list = [&[3, 99, 0x81, 17], &good[..]].concat();
        let read: Vec<_> = Nlri::list(RouteFamily::Ipv4FlowSpec, &list).collect();
        assert!(matches!(read[0], Err(NlriError::Rule { offset: 0, .. })));
        assert_eq!(read[1].as_ref().unwrap().to_string(), "match protocol =17");
        let short: Vec<_> = Nlri::list(RouteFamily::Ipv4FlowSpec, &[4, 3, 0x81, 17]).collect();
        assert!(matches!(short[..], [Err(NlriError::Cut(_))]));
    }
}
