//! Reading attributes. What is malformed makes the routes of the UPDATE count as withdrawn, or is
//! left out when it cannot matter (RFC 7606 §7); it never ends the session.

use super::{
    AsPath, AttributeError, Origin, OtherAttribute, PathAttributes, SegmentKind, flags, kind,
};
use crate::community::{Community, ExtendedCommunity, Ipv6ExtendedCommunity, LargeCommunity};
use crate::reader::Reader;

/// An attribute whose value is still octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RawAttribute<'a> {
    pub(crate) flags: u8,
    pub(crate) kind: u8,
    pub(crate) value: &'a [u8],
}

/// The attributes one after the other; ends after the first that does not fit.
pub(crate) fn raw_attributes(
    octets: &[u8],
) -> impl Iterator<Item = Result<RawAttribute<'_>, AttributeError>> {
    let mut reader = Reader::new(octets);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || reader.is_empty() {
            return None;
        }
        let attribute = next(&mut reader);
        failed = attribute.is_err();
        Some(attribute)
    })
}

fn next<'a>(reader: &mut Reader<'a>) -> Result<RawAttribute<'a>, AttributeError> {
    let (flags, kind) = (reader.u8()?, reader.u8()?);
    let long = flags & flags::EXTENDED_LENGTH != 0;
    let length = if long { reader.u16()?.into() } else { reader.u8()?.into() };
    Ok(RawAttribute { flags, kind, value: reader.bytes(length)? })
}

/// What is to be done with an attribute that is malformed.
pub(crate) enum Fault {
    /// The routes of the UPDATE count as withdrawn.
    TreatAsWithdraw(AttributeError),
    /// The attribute is left out.
    Discard,
}

impl PathAttributes {
    /// Takes one attribute in. `internal`: the peer is of our AS.
    pub(crate) fn take(
        &mut self,
        attribute: RawAttribute<'_>,
        four_octet_as: bool,
        internal: bool,
    ) -> Result<(), Fault> {
        let RawAttribute { flags, kind, value } = attribute;
        check_flags(kind, flags)?;
        let length =
            || Fault::TreatAsWithdraw(AttributeError::Length { kind, length: value.len() });
        let wrong = || Fault::TreatAsWithdraw(AttributeError::Value(kind));
        let number = || <[u8; 4]>::try_from(value).map(u32::from_be_bytes).map_err(|_| length());
        match kind {
            kind::ORIGIN => {
                let [origin] = value else { return Err(length()) };
                self.origin = Some(match origin {
                    0 => Origin::Igp,
                    1 => Origin::Egp,
                    2 => Origin::Incomplete,
                    _ => return Err(wrong()),
                });
            }
            kind::AS_PATH => self.as_path = Some(as_path(value, four_octet_as).ok_or_else(wrong)?),
            kind::NEXT_HOP => self.next_hop = Some(number()?.into()),
            kind::MED => self.med = Some(number()?),
            // From another AS it means nothing, whatever it looks like (RFC 7606 §7.5).
            kind::LOCAL_PREF if !internal => return Err(Fault::Discard),
            kind::LOCAL_PREF => self.local_pref = Some(number()?),
            kind::COMMUNITIES => {
                let octets = whole::<4>(value).ok_or_else(length)?;
                self.communities =
                    octets.iter().map(|c| Community(u32::from_be_bytes(*c))).collect();
            }
            kind::EXTENDED_COMMUNITIES => {
                let octets = whole::<8>(value).ok_or_else(length)?;
                self.extended = octets.iter().map(|c| ExtendedCommunity(*c)).collect();
            }
            kind::IPV6_EXTENDED_COMMUNITIES => {
                let octets = whole::<20>(value).ok_or_else(length)?;
                self.ipv6_extended =
                    octets.iter().map(Ipv6ExtendedCommunity::from_octets).collect();
            }
            kind::LARGE_COMMUNITIES => {
                let octets = whole::<12>(value).ok_or_else(length)?;
                self.large = octets.iter().map(large).collect();
            }
            kind::ATOMIC_AGGREGATE if !value.is_empty() => return Err(Fault::Discard),
            kind::AGGREGATOR if value.len() != if four_octet_as { 8 } else { 6 } => {
                return Err(Fault::Discard);
            }
            kind::AS4_PATH if as_path(value, true).is_none() => return Err(Fault::Discard),
            kind::AS4_AGGREGATOR if value.len() != 8 => return Err(Fault::Discard),
            kind::ORIGINATOR_ID if value.len() != 4 => return Err(length()),
            kind::CLUSTER_LIST if value.is_empty() || value.len() % 4 != 0 => return Err(length()),
            _ => {
                let flags = flags & !flags::EXTENDED_LENGTH;
                self.others.push(OtherAttribute { flags, kind, value: value.to_vec() });
            }
        }
        Ok(())
    }
}

/// RFC 7606 §3 c: the optional and transitive bits of a known attribute must be its own.
fn check_flags(kind: u8, flags: u8) -> Result<(), Fault> {
    let want = match kind {
        kind::ORIGIN..=kind::NEXT_HOP | kind::LOCAL_PREF | kind::ATOMIC_AGGREGATE => {
            flags::TRANSITIVE
        }
        kind::MED | kind::ORIGINATOR_ID | kind::CLUSTER_LIST => flags::OPTIONAL,
        kind::AGGREGATOR
        | kind::COMMUNITIES
        | kind::EXTENDED_COMMUNITIES
        | kind::AS4_PATH
        | kind::AS4_AGGREGATOR
        | kind::IPV6_EXTENDED_COMMUNITIES
        | kind::LARGE_COMMUNITIES => flags::OPTIONAL | flags::TRANSITIVE,
        _ => return Ok(()),
    };
    if flags & (flags::OPTIONAL | flags::TRANSITIVE) == want {
        return Ok(());
    }
    Err(Fault::TreatAsWithdraw(AttributeError::Flags { kind, flags }))
}

fn as_path(value: &[u8], four_octets: bool) -> Option<AsPath> {
    let mut reader = Reader::new(value);
    let mut segments = Vec::new();
    while !reader.is_empty() {
        let kind = match reader.u8().ok()? {
            1 => SegmentKind::Set,
            2 => SegmentKind::Sequence,
            3 => SegmentKind::ConfederationSequence,
            4 => SegmentKind::ConfederationSet,
            _ => return None,
        };
        let count = reader.u8().ok().filter(|count| *count > 0)?;
        let numbers = (0..count)
            .map(|_| if four_octets { reader.u32() } else { reader.u16().map(u32::from) }.ok());
        segments.push((kind, numbers.collect::<Option<Vec<u32>>>()?));
    }
    Some(AsPath(segments))
}

/// The value as pieces of `N` octets, at least one and none left over.
fn whole<const N: usize>(value: &[u8]) -> Option<&[[u8; N]]> {
    match value.as_chunks::<N>() {
        ([], _) | (_, [_, ..]) => None,
        (pieces, []) => Some(pieces),
    }
}

fn large(octets: &[u8; 12]) -> LargeCommunity {
    let (words, _) = octets.as_chunks::<4>();
    let mut numbers = words.iter().map(|word| u32::from_be_bytes(*word));
    LargeCommunity(std::array::from_fn(|_| numbers.next().unwrap_or_default()))
}
