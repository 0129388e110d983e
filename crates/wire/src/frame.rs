//! Frames to headers: which packet this is, whatever it is wrapped in, as far as it was captured.
//!
//! [`dissect`] walks a frame once, front to back, without allocating: link headers to the first IP
//! header (`link`), the IP header and its extension headers (`ip`), the transport header
//! (`transport`) and, where the [`TunnelPolicy`] asks for it, on into the tunnel (`tunnel`) and
//! round again. Every loop has a limit. Once the addresses of an IP header are there the packet is
//! given: what is odd or missing behind them becomes an [`Anomalies`] bit, never an error.
//!
//! A new encapsulation is added as one arm where its number is looked up (`link::step` for an
//! EtherType, `tunnel::enter` for an IP protocol or a UDP port, which also takes a [`TunnelKind`])
//! and one byte vector in the tests.

mod anomaly;
mod guess;
mod ip;
mod link;
mod plain;
mod protocol;
mod transport;
mod tunnel;

use thiserror::Error;

use crate::cursor::Cursor;

pub use crate::cursor::Cut;
pub use anomaly::Anomalies;
pub use link::{LinkType, MAX_LABELS, MAX_LINK_HEADERS, MAX_TAGS};
pub use protocol::LinkProtocol;
pub use tunnel::{MAX_DEPTH, TunnelKind, TunnelPath, TunnelPolicy};

/// IP version of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum IpVersion {
    /// IPv4.
    #[default]
    V4,
    /// IPv6.
    V6,
}

/// Whether the packet is a piece of a larger datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FragmentKind {
    /// A whole datagram; an IPv6 atomic fragment too (RFC 6946).
    #[default]
    Whole,
    /// Offset zero, more to come: the transport header is here.
    First,
    /// A later piece: no ports.
    Later,
}

/// Which length counts as the packet's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LengthMode {
    /// The frame's length on the wire, as the capture or the sample states it.
    #[default]
    Wire,
    /// The IP header's: IPv4 total length, IPv6 payload length plus 40.
    IpHeader,
}

/// The counted packet of a frame. Fields that were not captured are zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Source address; an IPv4 address sits in the low 32 bits.
    pub src: u128,
    /// Destination address.
    pub dst: u128,
    /// Length by the IP header, 0 when it does not say (segmentation offload, jumbogram).
    pub ip_length: u32,
    /// Where the counted IP header starts.
    pub ip_offset: u32,
    /// Where its transport header starts or, when that is not there, the last header read ends.
    pub transport_offset: u32,
    /// GRE key, or SPI of ESP or AH.
    pub key: u32,
    /// Outermost MPLS label in front of the outermost IP header.
    pub mpls_label: u32,
    /// Source port.
    pub src_port: u16,
    /// Destination port; for ICMP and ICMPv6 type × 256 + code.
    pub dst_port: u16,
    /// The low 12 bits of octets 12 and 13 of the TCP header.
    pub tcp_flags: u16,
    /// Outermost VLAN identifier in front of the outermost IP header.
    pub vlan: u16,
    /// Identifier of the VLAN tag behind that one.
    pub inner_vlan: u16,
    /// What is odd about the packet.
    pub anomalies: Anomalies,
    /// The tunnels around the counted packet, outermost first.
    pub tunnels: TunnelPath,
    /// IP version.
    pub version: IpVersion,
    /// Protocol behind all extension headers and AH.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Piece of a larger datagram?
    pub fragment: FragmentKind,
    /// VLAN tags in front of the outermost IP header.
    pub vlan_tags: u8,
    /// MPLS labels in front of the outermost IP header.
    pub mpls_labels: u8,
}

impl Frame {
    /// Bytes to count, for a frame of `wire_length` bytes.
    ///
    /// A packet inside a tunnel counts its own IP length whatever the mode; a header that states
    /// no length counts as the whole frame.
    pub const fn length(&self, mode: LengthMode, wire_length: u32) -> u32 {
        if self.ip_length == 0 {
            return wire_length;
        }
        match mode {
            LengthMode::IpHeader => self.ip_length,
            // An inner length is not believed beyond the frame that carries it.
            LengthMode::Wire if !self.tunnels.is_empty() && self.ip_length < wire_length => {
                self.ip_length
            }
            LengthMode::Wire => wire_length,
        }
    }
}

/// Why a frame gives no packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The frame carries something else.
    #[error("not ip: {0}")]
    NotIp(LinkProtocol),
    /// No dissection starts at this link type.
    #[error("unknown link type {}", .0.0)]
    UnknownLinkType(LinkType),
    /// The capture ends inside a header in front of IP.
    #[error("link header cut: {0}")]
    LinkHeaderCut(Cut),
    /// More VLAN tags, MPLS labels or other link headers than are followed.
    #[error("more than {limit} tags, labels or link headers, at offset {offset}")]
    TooManyTags {
        /// Where the one too many starts.
        offset: u32,
        /// How many are followed.
        limit: u8,
    },
    /// The capture ends inside the fixed part of the IP header.
    #[error("ip header cut: {0}")]
    IpHeaderCut(Cut),
    /// The version field contradicts what the link header announced, or is neither 4 nor 6.
    #[error("ip version {version} at offset {offset}")]
    IpVersion {
        /// Where the IP header starts.
        offset: u32,
        /// What its version field says.
        version: u8,
    },
    /// The IPv4 header length is below 20 bytes.
    #[error("ip header length {length} at offset {offset}")]
    IpHeaderLength {
        /// Where the IP header starts.
        offset: u32,
        /// The header length it states, in bytes.
        length: u8,
    },
}

/// Everything in front of IP that does not fit is a cut link header; `ip` says so itself.
impl From<Cut> for FrameError {
    fn from(cut: Cut) -> Self {
        Self::LinkHeaderCut(cut)
    }
}

/// Finds the packet that `policy` says to count in the captured bytes of one frame.
#[expect(clippy::inline_always, reason = "a frame that is copied costs as much as reading it")]
#[inline(always)]
pub fn dissect(link: LinkType, data: &[u8], policy: &TunnelPolicy) -> Result<Frame, FrameError> {
    if link == LinkType::ETHERNET
        && let Some(frame) = plain::read(data)
        && !(policy.enters_any()
            && tunnel::may_start(frame.protocol, frame.src_port, frame.dst_port))
    {
        return Ok(frame);
    }
    dissect_any(link, data, *policy)
}

/// The general way, for every frame.
fn dissect_any(link: LinkType, data: &[u8], policy: TunnelPolicy) -> Result<Frame, FrameError> {
    let mut frame = Frame::default();
    let (expected, cursor) = link::start(link, Cursor::new(data), &mut frame)?;
    if let Some(payload) = ip::read(expected, cursor, &mut frame)? {
        transport::read(payload, &mut frame);
        if policy.enters_any() {
            tunnel::descend(payload, policy, &mut frame);
        }
    }
    Ok(frame)
}

#[cfg(test)]
mod tests;
