//! What a collector of a flow protocol takes and gives: an export datagram with its sender and its
//! time of arrival, and for each flow a record with, where it is wanted, what is not counted.

use std::net::{IpAddr, SocketAddr};

use tidewall_model::{DropReason, FlowRecord, Timestamp};
use tidewall_wire::frame::LinkType;

/// One datagram of an exporter.
#[derive(Clone, Copy, Debug)]
pub struct ExportDatagram<'a> {
    /// Who sent it. An IPv4 address mapped into IPv6 is the IPv4 address.
    pub from: SocketAddr,
    /// When it was received.
    pub received: Timestamp,
    /// Its bytes.
    pub data: &'a [u8],
}

impl<'a> ExportDatagram<'a> {
    /// A datagram; a mapped IPv4 sender becomes an IPv4 one, so that an exporter is the same on
    /// every socket.
    pub fn new(from: SocketAddr, received: Timestamp, data: &'a [u8]) -> Self {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        Self { from, received, data }
    }
}

/// Takes what a collector decodes, in the order of the datagram.
pub trait FlowSink {
    /// Is a filled [`FlowDetail`] wanted? Without, collectors leave out what only it needs, and
    /// of the one they give nothing is specified but [`FlowDetail::duration_ms`].
    const DETAIL: bool;

    /// One flow, or one sampled packet.
    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail);

    /// The header that the record of the next [`Self::flow`] was read from, where the exporter sent
    /// one (sFlow): for those who keep packets as they were.
    #[inline]
    fn header(&mut self, record: &FlowRecord, header: &SampledHeader<'_>) {
        let _ = (record, header);
    }

    /// A flow that is not counted, with what is known of it. Called only where [`Self::DETAIL`]
    /// is set; the collector has counted the reason.
    fn refused(&mut self, reason: DropReason, record: &FlowRecord, detail: &FlowDetail) {
        let _ = (reason, record, detail);
    }

    /// Something that is no flow: a template or a record of options. Called only where
    /// [`Self::DETAIL`] is set.
    fn remark(&mut self, remark: &Remark<'_>) {
        let _ = remark;
    }
}

impl FlowSink for Vec<FlowRecord> {
    const DETAIL: bool = false;

    #[inline]
    fn flow(&mut self, record: &FlowRecord, _: &FlowDetail) {
        self.push(*record);
    }
}

/// The first bytes of a sampled packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledHeader<'a> {
    /// What they begin with.
    pub link: LinkType,
    /// Length of the frame on the wire as the agent states it: with its check sequence and all
    /// that was stripped.
    pub wire_length: u32,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// What an exporter says of a flow beyond what is counted. Zero stands for "not said" in AS
/// numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowDetail {
    /// Address that the datagram came from; of sFlow, the address that the agent gives itself.
    pub exporter: IpAddr,
    /// Observation domain (IPFIX), source id (v9), engine type × 256 + engine id (v5), sub-agent
    /// (sFlow).
    pub domain: u32,
    /// Index of the interface that the packets came in by.
    pub input_if: Option<u32>,
    /// Index of the interface that they left by.
    pub output_if: Option<u32>,
    /// AS of the source.
    pub src_as: u32,
    /// AS of the destination.
    pub dst_as: u32,
    /// Address of the next router.
    pub next_hop: Option<IpAddr>,
    /// Ethernet addresses of source and destination.
    pub mac: Option<([u8; 6], [u8; 6])>,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Time of the first packet.
    pub start: Option<Timestamp>,
    /// Time of the last packet.
    pub end: Option<Timestamp>,
    /// From the first packet to the last, in milliseconds; 0 where the exporter does not say, or
    /// nothing that makes sense. This one is filled whatever [`FlowSink::DETAIL`] is: it says over
    /// which time a flow may be spread.
    pub duration_ms: u32,
    /// Where the sampling rate was found.
    pub sampling: SamplingOrigin,
    /// What is unusual.
    pub note: FlowNote,
}

impl FlowDetail {
    /// Nothing known yet but the exporter.
    pub const fn of(exporter: IpAddr, domain: u32) -> Self {
        Self {
            exporter,
            domain,
            input_if: None,
            output_if: None,
            src_as: 0,
            dst_as: 0,
            next_hop: None,
            mac: None,
            tos: 0,
            start: None,
            end: None,
            duration_ms: 0,
            sampling: SamplingOrigin::Assumed,
            note: FlowNote::NONE,
        }
    }
}

/// Where a sampling rate comes from, in the order in which they are asked: the first that knows
/// one is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SamplingOrigin {
    /// The configuration overrides what the exporter says.
    Override,
    /// The record itself.
    Record,
    /// Options data, by the sampler or selector that the record names.
    Sampler,
    /// Options data for the interface that the record came in by.
    Interface,
    /// Options data for the whole exporter or observation domain.
    Exporter,
    /// The header of the datagram, or of the sFlow sample.
    Header,
    /// The configuration, for exporters that say nothing.
    Fallback,
    /// Nobody said anything: counted as 1.
    Assumed,
}

impl SamplingOrigin {
    /// All, in the order of precedence.
    pub const ALL: [Self; 8] = [
        Self::Override,
        Self::Record,
        Self::Sampler,
        Self::Interface,
        Self::Exporter,
        Self::Header,
        Self::Fallback,
        Self::Assumed,
    ];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Override => "override",
            Self::Record => "record",
            Self::Sampler => "sampler",
            Self::Interface => "interface",
            Self::Exporter => "exporter",
            Self::Header => "header",
            Self::Fallback => "fallback",
            Self::Assumed => "assumed",
        }
    }
}

/// What is unusual about a flow: a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowNote(u16);

impl FlowNote {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// The second record of a bidirectional one: what went from responder to initiator.
    pub const REVERSE: Self = Self(1);
    /// One sampled packet, dissected from the bytes in the record.
    pub const PACKET: Self = Self(1 << 1);
    /// The router dropped it.
    pub const DROPPED: Self = Self(1 << 2);
    /// A firewall's event: a flow was created.
    pub const CREATED: Self = Self(1 << 3);
    /// A firewall's event: a flow was deleted.
    pub const DELETED: Self = Self(1 << 4);
    /// A firewall's event: a flow was denied.
    pub const DENIED: Self = Self(1 << 5);
    /// A firewall's event: an update of a flow that goes on.
    pub const UPDATED: Self = Self(1 << 6);
    /// Start, end or duration make no sense and were clamped.
    pub const CLAMPED: Self = Self(1 << 7);
    /// Waited for its template.
    pub const HELD: Self = Self(1 << 8);

    const NAMES: [(Self, &'static str); 9] = [
        (Self::REVERSE, "reverse"),
        (Self::PACKET, "packet"),
        (Self::DROPPED, "dropped"),
        (Self::CREATED, "created"),
        (Self::DELETED, "deleted"),
        (Self::DENIED, "denied"),
        (Self::UPDATED, "updated"),
        (Self::CLAMPED, "clamped"),
        (Self::HELD, "held"),
    ];

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Is `other` in it?
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Words for what is in it.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES.into_iter().filter(move |(note, _)| self.has(*note)).map(|(_, name)| name)
    }
}

/// Something in a datagram that is no flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remark<'a> {
    /// Whose.
    pub exporter: IpAddr,
    /// Of which part of it.
    pub domain: u32,
    /// What it is.
    pub kind: RemarkKind,
    /// Its contents in words: `260: sourceIPv4Address(4) ...` or `samplerId=1 ...`.
    pub text: &'a str,
}

/// Kinds of [`Remark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemarkKind {
    /// A template of data.
    Template,
    /// A template of options.
    OptionsTemplate,
    /// A template, or all, withdrawn.
    Withdrawal,
    /// A record of options.
    Options,
    /// Counters of an interface.
    Counters,
    /// Why a packet was discarded.
    Discard,
    /// Something that could not be read; the text says why.
    Error,
}

impl RemarkKind {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Template => "template",
            Self::OptionsTemplate => "options_template",
            Self::Withdrawal => "withdrawal",
            Self::Options => "options",
            Self::Counters => "counters",
            Self::Discard => "discard",
            Self::Error => "error",
        }
    }
}
