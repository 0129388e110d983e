//! Tunnels: which are entered, what was passed, and the step from an outer packet to an inner one.

use std::fmt;

use super::link::{self, Layer};
use super::transport::UDP;
use super::{Anomalies, Frame, FrameError, ip, transport};
use crate::cursor::Cursor;

mod entrance;

/// IP headers that can be nested behind the outermost one.
pub const MAX_DEPTH: u8 = 8;

macro_rules! tunnel_kinds {
    ($($variant:ident $number:literal $name:literal $doc:literal;)*) => {
        /// A way to carry IP in IP.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum TunnelKind {
            $(#[doc = $doc] $variant = $number,)*
        }

        impl TunnelKind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Name in configuration and output.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            const fn from_number(number: u32) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

// Numbers are 1 to 15: a path packs them into four bits each.
tunnel_kinds! {
    Gre 1 "gre" "GRE versions 0 and 1 (RFC 2784, RFC 2890, RFC 2637), NVGRE.";
    Erspan 2 "erspan" "ERSPAN types I, II and III over GRE.";
    IpInIp 3 "ipip" "IPv4 in IP, protocol 4 (RFC 2003).";
    Ipv6InIp 4 "ipv6" "IPv6 in IP, protocol 41 (RFC 4213, RFC 2473).";
    GtpU 5 "gtp-u" "GTP-U version 1, UDP port 2152 (3GPP TS 29.281).";
    Vxlan 6 "vxlan" "VXLAN, UDP ports 4789 and 8472, and VXLAN-GPE, 4790 (RFC 7348).";
    Geneve 7 "geneve" "Geneve, UDP port 6081 (RFC 8926).";
    L2tpV2 8 "l2tpv2" "L2TP version 2, UDP port 1701 (RFC 2661).";
    L2tpV3 9 "l2tpv3" "L2TP version 3 over IP, protocol 115, or UDP (RFC 3931).";
    MplsInIp 10 "mpls-in-ip" "MPLS in IP, protocol 137 (RFC 4023).";
    MplsInUdp 11 "mpls-in-udp" "MPLS in UDP, port 6635 (RFC 7510).";
    EtherIp 12 "etherip" "EtherIP, protocol 97 (RFC 3378).";
    Teredo 13 "teredo" "Teredo, UDP port 3544 (RFC 4380).";
    Lisp 14 "lisp" "LISP data, UDP port 4341 (RFC 9300).";
}

/// Which tunnels are entered. In every other one the header in front of it is the counted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TunnelPolicy {
    inner: u16,
    depth: u8,
}

impl TunnelPolicy {
    /// Counts the outermost IP header of every frame: the default.
    pub const OUTER: Self = Self { inner: 0, depth: MAX_DEPTH };
    /// Counts the innermost IP header that can be reached.
    pub const INNER: Self = Self { inner: u16::MAX, depth: MAX_DEPTH };

    /// This policy, also entering `kind`.
    #[must_use]
    pub const fn entering(self, kind: TunnelKind) -> Self {
        Self { inner: self.inner | 1 << kind as u8, ..self }
    }

    /// This policy, not entering `kind`.
    #[must_use]
    pub const fn staying_outside(self, kind: TunnelKind) -> Self {
        Self { inner: self.inner & !(1 << kind as u8), ..self }
    }

    /// This policy, entering at most `depth` tunnels of a frame (8 at the most).
    #[must_use]
    pub const fn with_depth(self, depth: u8) -> Self {
        Self { depth: if depth > MAX_DEPTH { MAX_DEPTH } else { depth }, ..self }
    }

    /// Is a tunnel of this kind entered?
    pub const fn enters(self, kind: TunnelKind) -> bool {
        self.inner & 1 << kind as u8 != 0
    }

    /// Is any kind entered?
    pub const fn enters_any(self) -> bool {
        self.inner != 0
    }

    /// Tunnels entered in one frame, at most.
    pub const fn depth(self) -> u8 {
        self.depth
    }
}

impl Default for TunnelPolicy {
    fn default() -> Self {
        Self::OUTER
    }
}

/// The tunnels around a packet, outermost first, four bits each.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TunnelPath(u32);

impl TunnelPath {
    /// Not inside a tunnel.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many tunnels were entered.
    pub const fn depth(self) -> u8 {
        (u32::BITS - self.0.leading_zeros()).div_ceil(4) as u8
    }

    /// The kinds, outermost first.
    pub fn kinds(self) -> impl Iterator<Item = TunnelKind> {
        (0..u32::from(MAX_DEPTH))
            .map_while(move |level| TunnelKind::from_number(self.0 >> (level * 4) & 0xf))
    }

    const fn then(self, kind: TunnelKind) -> Self {
        Self(self.0 | (kind as u32) << (self.depth() as u32 * 4))
    }
}

impl fmt::Display for TunnelPath {
    /// `gre/ipip`, or `-` outside tunnels.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (level, kind) in self.kinds().enumerate() {
            f.write_str(if level == 0 { "" } else { "/" })?;
            f.write_str(kind.name())?;
        }
        if self.is_empty() { f.write_str("-") } else { Ok(()) }
    }
}

impl fmt::Debug for TunnelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TunnelPath({self})")
    }
}

/// Can the payload of a UDP, TCP or ICMP packet with these ports be a tunnel?
pub(super) fn may_start(protocol: u8, src_port: u16, dst_port: u16) -> bool {
    protocol == UDP && entrance::kind_of_ports(src_port, dst_port).is_some()
}

/// Goes on from the outermost packet in `frame`, as deep as the policy says.
///
/// When the way in is cut or leads to something else, the last packet reached stays the counted
/// one.
pub(super) fn descend(payload: Cursor<'_>, policy: TunnelPolicy, frame: &mut Frame) {
    let mut payload = payload;
    for _ in 0..=MAX_DEPTH {
        let (kind, layer, cursor) = match entrance::find(payload, frame) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => return unreadable(error, frame),
        };
        if !policy.enters(kind) {
            return;
        }
        if frame.tunnels.depth() >= policy.depth {
            frame.anomalies |= Anomalies::TUNNEL_DEPTH;
            return;
        }
        match inner(kind, layer, cursor, frame) {
            Ok((packet, next)) => {
                *frame = packet;
                let Some(next) = next else { return };
                payload = next;
            }
            Err(error) => return unreadable(error, frame),
        }
    }
}

/// A tunnel that carries something else than IP is not odd; one that is cut or broken is.
fn unreadable(error: FrameError, frame: &mut Frame) {
    if !matches!(error, FrameError::NotIp(_)) {
        frame.anomalies |= Anomalies::INNER_UNREADABLE;
    }
}

fn inner<'a>(
    kind: TunnelKind,
    layer: Layer,
    cursor: Cursor<'a>,
    outer: &Frame,
) -> Result<(Frame, Option<Cursor<'a>>), FrameError> {
    // Tags inside the tunnel are the customer's: only the limits on them matter here.
    let mut tags = Frame::default();
    let (expected, cursor) = link::walk(layer, cursor, &mut tags)?;
    let mut packet = Frame {
        tunnels: outer.tunnels.then(kind),
        vlan: outer.vlan,
        inner_vlan: outer.inner_vlan,
        vlan_tags: outer.vlan_tags,
        mpls_label: outer.mpls_label,
        mpls_labels: outer.mpls_labels,
        ..Frame::default()
    };
    let payload = ip::read(expected, cursor, &mut packet)?;
    if let Some(payload) = payload {
        transport::read(payload, &mut packet);
    }
    Ok((packet, payload))
}
