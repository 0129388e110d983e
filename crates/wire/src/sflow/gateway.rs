//! BGP's view of a sampled packet: autonomous systems on the way to its destination.

use std::iter::FusedIterator;
use std::net::IpAddr;

use super::xdr::Xdr;
use super::{SflowError, Version};

/// A list of 32-bit numbers, as it lies in the datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Words<'a>(&'a [[u8; 4]]);

impl<'a> Words<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self(data.as_chunks().0)
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first one.
    pub fn first(&self) -> Option<u32> {
        self.0.first().copied().map(u32::from_be_bytes)
    }

    /// The last one.
    pub fn last(&self) -> Option<u32> {
        self.0.last().copied().map(u32::from_be_bytes)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'a> {
        self.0.iter().copied().map(u32::from_be_bytes)
    }
}

/// Extended gateway data (1003).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gateway<'a> {
    /// The border router that should be used; absent before version 5.
    pub next_hop: Option<IpAddr>,
    /// AS of the exporter.
    pub own_as: u32,
    /// AS of the packet's source.
    pub source_as: u32,
    /// AS of the peer it came from.
    pub source_peer_as: u32,
    /// The way to its destination, the next AS first.
    pub destination_path: AsPath<'a>,
    /// Communities of the route; none in version 2.
    pub communities: Words<'a>,
    /// LOCAL_PREF of the route; 0 in version 2.
    pub local_pref: u32,
}

impl<'a> Gateway<'a> {
    pub(super) fn read(xdr: &mut Xdr<'a>, version: Version) -> Result<Self, SflowError> {
        let next_hop = if version == Version::V5 { xdr.address()? } else { None };
        let [own_as, source_as, source_peer_as] = xdr.words()?;
        let (destination_path, communities, local_pref) = if version == Version::V2 {
            (AsPath(Layout::Plain(xdr.list()?)), Words::default(), 0)
        } else {
            (AsPath::read(xdr)?, xdr.list()?, xdr.word()?)
        };
        Ok(Self {
            next_hop,
            own_as,
            source_as,
            source_peer_as,
            destination_path,
            communities,
            local_pref,
        })
    }

    /// AS of the packet's destination: the last of the path, and none when the path is empty
    /// because the destination is in the exporter's own AS or not routed by BGP.
    pub fn destination_as(&self) -> Option<u32> {
        self.destination_path.segments().last()?.members.last()
    }

    /// AS of the peer the packet goes to.
    pub fn destination_peer_as(&self) -> Option<u32> {
        self.destination_path.segments().next()?.members.first()
    }
}

/// An AS path. That it is whole was seen when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsPath<'a>(Layout<'a>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout<'a> {
    /// Version 2: one list.
    Plain(Words<'a>),
    /// Each segment its type, its length and its members.
    Typed(Xdr<'a>),
}

impl<'a> AsPath<'a> {
    fn read(xdr: &mut Xdr<'a>) -> Result<Self, SflowError> {
        let count = xdr.word()?;
        let start = *xdr;
        // Each turn consumes eight bytes or fails: the count is no more than a limit.
        for _ in 0..count {
            xdr.word()?;
            xdr.list()?;
        }
        Ok(Self(Layout::Typed(start.up_to(*xdr))))
    }

    /// Its segments, in order.
    pub const fn segments(&self) -> Segments<'a> {
        Segments(self.0)
    }
}

/// How the members of a segment are meant (RFC 4271, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentKind {
    /// Without order.
    Set,
    /// One after the other.
    Sequence,
    /// Neither 1 nor 2.
    Other(u32),
}

/// A part of an AS path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AsSegment<'a> {
    /// How its members are meant.
    pub kind: SegmentKind,
    /// AS numbers.
    pub members: Words<'a>,
}

/// The segments of an AS path.
#[derive(Clone, Debug)]
pub struct Segments<'a>(Layout<'a>);

impl<'a> Iterator for Segments<'a> {
    type Item = AsSegment<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Layout::Plain(words) => {
                let members = std::mem::take(words);
                (!members.is_empty()).then_some(AsSegment { kind: SegmentKind::Sequence, members })
            }
            Layout::Typed(rest) => {
                let kind = match rest.word().ok()? {
                    1 => SegmentKind::Set,
                    2 => SegmentKind::Sequence,
                    other => SegmentKind::Other(other),
                };
                Some(AsSegment { kind, members: rest.list().ok()? })
            }
        }
    }
}

impl FusedIterator for Segments<'_> {}
