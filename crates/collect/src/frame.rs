//! Frames of a mirror or a capture to flow records.
//!
//! One collector belongs to one source on one worker. It numbers what it receives, so records of
//! frames keep their order, and counts what it does not pass on by reason.

use tidewall_model::{
    DropCounters, DropReason, Family, FlowRecord, Fragment, SamplingRate, TcpFlags, Timestamp,
};
use tidewall_wire::frame::{
    self, FragmentKind, Frame, FrameError, IpVersion, LengthMode, LinkType, TunnelPolicy,
};

mod note;

pub use note::FrameNote;

/// Turns frames into records under one tunnel policy, length rule and sampling rate.
#[derive(Clone, Debug, Default)]
pub struct FrameCollector {
    policy: TunnelPolicy,
    length: LengthMode,
    sampling: SamplingRate,
    received: u64,
    drops: DropCounters,
}

impl FrameCollector {
    /// A collector that counts the header `policy` chooses and the bytes `length` names; each
    /// frame stands for `sampling` frames.
    pub fn new(policy: TunnelPolicy, length: LengthMode, sampling: SamplingRate) -> Self {
        Self { policy, length, sampling, ..Self::default() }
    }

    /// Goes on by another policy, and counts on.
    pub const fn set(&mut self, policy: TunnelPolicy, length: LengthMode, sampling: SamplingRate) {
        self.policy = policy;
        self.length = length;
        self.sampling = sampling;
    }

    /// Decodes one captured frame of `wire_length` bytes, or counts why it gives no record.
    #[inline]
    pub fn decode(
        &mut self,
        link: LinkType,
        time: Timestamp,
        data: &[u8],
        wire_length: u32,
    ) -> Result<FlowRecord, DropReason> {
        match self.dissect(link, data) {
            Ok(frame) => Ok(self.accept(&frame, time, wire_length)),
            Err(error) => Err(self.refuse(&error)),
        }
    }

    /// The frame as the policy reads it, without counting it.
    #[inline]
    pub fn dissect(&self, link: LinkType, data: &[u8]) -> Result<Frame, FrameError> {
        frame::dissect(link, data, &self.policy)
    }

    /// The record of a dissected frame; takes the next sequence number.
    #[inline]
    pub fn accept(&mut self, frame: &Frame, time: Timestamp, wire_length: u32) -> FlowRecord {
        let seq = self.received;
        self.received += 1;
        let bytes = frame.length(self.length, wire_length);
        FlowRecord { time, seq, sampling: self.sampling, ..record_of(frame, bytes) }
    }

    /// Counts a frame that gives no record; takes the next sequence number.
    pub fn refuse(&mut self, error: &FrameError) -> DropReason {
        let reason = drop_reason(error);
        self.received += 1;
        self.drops.count(reason);
        reason
    }

    /// Frames received: records given plus frames dropped.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Frames that gave no record, by reason.
    pub const fn drops(&self) -> &DropCounters {
        &self.drops
    }
}

/// The record of one packet; when it came, how it was sampled and what became of it is for the
/// caller to add.
#[inline]
pub(crate) fn record_of(frame: &Frame, bytes: u32) -> FlowRecord {
    FlowRecord {
        src: frame.src,
        dst: frame.dst,
        packets: 1,
        bytes: u64::from(bytes),
        src_port: frame.src_port,
        dst_port: frame.dst_port,
        tcp_flags: TcpFlags(frame.tcp_flags),
        vlan: frame.vlan,
        link_bytes: link_bytes(bytes, frame.ip_length),
        family: match frame.version {
            IpVersion::V4 => Family::V4,
            IpVersion::V6 => Family::V6,
        },
        protocol: frame.protocol,
        ttl: frame.ttl,
        fragment: match frame.fragment {
            FragmentKind::Whole => Fragment::Whole,
            FragmentKind::First => Fragment::First,
            FragmentKind::Later => Fragment::Later,
        },
        ..FlowRecord::default()
    }
}

/// What of a packet's counted bytes is not IP; nothing where the IP header states no length.
pub(crate) fn link_bytes(bytes: u32, ip_length: u32) -> u16 {
    let below = if ip_length == 0 { 0 } else { bytes.saturating_sub(ip_length) };
    u16::try_from(below).unwrap_or(u16::MAX)
}

/// The counter that an error of the dissector belongs to.
pub const fn drop_reason(error: &FrameError) -> DropReason {
    match error {
        FrameError::NotIp(_) => DropReason::NotIp,
        FrameError::UnknownLinkType(_) => DropReason::UnknownLinkType,
        FrameError::LinkHeaderCut(_) => DropReason::LinkHeaderCut,
        FrameError::TooManyTags { .. } => DropReason::TooManyTags,
        FrameError::IpHeaderCut(_) => DropReason::IpHeaderCut,
        FrameError::IpVersion { .. } => DropReason::IpVersion,
        FrameError::IpHeaderLength { .. } => DropReason::IpHeaderLength,
    }
}

#[cfg(test)]
mod tests;
