//! One observation of traffic: a packet, a sample or a flow, in one flat value.

use std::fmt;
use std::num::NonZeroU32;

use crate::{Address, Family, Timestamp};

/// IP protocol numbers that the engine and the reports know by name (IANA protocol-numbers).
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// IP in IP.
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// DCCP.
    pub const DCCP: u8 = 33;
    /// IPv6 in IP.
    pub const IPV6: u8 = 41;
    /// GRE.
    pub const GRE: u8 = 47;
    /// ESP.
    pub const ESP: u8 = 50;
    /// AH.
    pub const AH: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// UDP-Lite.
    pub const UDP_LITE: u8 = 136;

    /// Short lower-case name of a protocol number, where one is in common use.
    pub const fn name(protocol: u8) -> Option<&'static str> {
        Some(match protocol {
            0 => "hopopt",
            1 => "icmp",
            2 => "igmp",
            4 => "ipip",
            6 => "tcp",
            8 => "egp",
            9 => "igp",
            17 => "udp",
            33 => "dccp",
            41 => "ipv6",
            43 => "ipv6-route",
            44 => "ipv6-frag",
            46 => "rsvp",
            47 => "gre",
            50 => "esp",
            51 => "ah",
            58 => "icmpv6",
            59 => "ipv6-nonxt",
            60 => "ipv6-opts",
            88 => "eigrp",
            89 => "ospf",
            94 => "nos",
            97 => "etherip",
            103 => "pim",
            108 => "ipcomp",
            112 => "vrrp",
            115 => "l2tp",
            132 => "sctp",
            136 => "udplite",
            137 => "mpls-in-ip",
            _ => return None,
        })
    }
}

/// One packet out of how many was looked at. Never zero: an exporter that says 0 means 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SamplingRate(NonZeroU32);

impl SamplingRate {
    /// Every packet.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// 1 in `rate`; 0 is read as 1.
    pub const fn new(rate: u32) -> Self {
        match NonZeroU32::new(rate) {
            Some(rate) => Self(rate),
            None => Self::ONE,
        }
    }

    /// N of "1 in N".
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl Default for SamplingRate {
    fn default() -> Self {
        Self::ONE
    }
}

/// TCP header flags: the low 12 bits of octets 12 and 13 (RFC 9293 §3.1), as in IPFIX element 6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    /// FIN.
    pub const FIN: u16 = 0x01;
    /// SYN.
    pub const SYN: u16 = 0x02;
    /// RST.
    pub const RST: u16 = 0x04;
    /// PSH.
    pub const PSH: u16 = 0x08;
    /// ACK.
    pub const ACK: u16 = 0x10;
    /// URG.
    pub const URG: u16 = 0x20;
    /// ECE.
    pub const ECE: u16 = 0x40;
    /// CWR.
    pub const CWR: u16 = 0x80;

    /// Are all of `bits` set?
    pub const fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }
}

impl fmt::Display for TcpFlags {
    /// `syn,ack`, or `-` without flags.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(u16, &str); 8] = [
            (TcpFlags::FIN, "fin"),
            (TcpFlags::SYN, "syn"),
            (TcpFlags::RST, "rst"),
            (TcpFlags::PSH, "psh"),
            (TcpFlags::ACK, "ack"),
            (TcpFlags::URG, "urg"),
            (TcpFlags::ECE, "ece"),
            (TcpFlags::CWR, "cwr"),
        ];
        let mut any = false;
        for (bit, name) in NAMES {
            if self.has(bit) {
                f.write_str(if any { "," } else { "" })?;
                f.write_str(name)?;
                any = true;
            }
        }
        if any { Ok(()) } else { f.write_str("-") }
    }
}

/// Is this a piece of a larger datagram?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fragment {
    /// A whole datagram (an IPv6 atomic fragment too, RFC 6946).
    #[default]
    Whole,
    /// The first piece: it has the transport header.
    First,
    /// A later piece: no ports.
    Later,
}

impl Fragment {
    /// First or later.
    pub const fn is_fragment(self) -> bool {
        !matches!(self, Self::Whole)
    }
}

/// What the router did with the traffic (IPFIX element 89, sFlow output format 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Forwarding {
    /// Not said.
    #[default]
    Unknown,
    /// Sent on.
    Forwarded,
    /// Dropped.
    Dropped,
    /// For the router itself.
    Consumed,
}

/// One observation. `packets` and `bytes` are as observed; multiply by `sampling` for the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// When it was captured or received.
    pub time: Timestamp,
    /// Position in the order of receipt, given by the source: orders samples, breaks ties.
    pub seq: u64,
    /// Source address; an IPv4 address sits in the low 32 bits.
    pub src: u128,
    /// Destination address.
    pub dst: u128,
    /// Packets observed, at least 1.
    pub packets: u64,
    /// Bytes observed.
    pub bytes: u64,
    /// 1 in how many packets was observed.
    pub sampling: SamplingRate,
    /// Source port; 0 when there is none.
    pub src_port: u16,
    /// Destination port; for ICMP type × 256 + code, as NetFlow has it.
    pub dst_port: u16,
    /// TCP flags, or the union of a flow's flags.
    pub tcp_flags: TcpFlags,
    /// Outermost VLAN identifier, 0 when untagged.
    pub vlan: u16,
    /// So many of each packet's bytes belong to layers below IP, padding included.
    pub link_bytes: u16,
    /// IP version of both addresses.
    pub family: Family,
    /// IP protocol, behind all extension headers.
    pub protocol: u8,
    /// TTL or hop limit, 0 when not known.
    pub ttl: u8,
    /// Piece of a larger datagram?
    pub fragment: Fragment,
    /// What the router did with it.
    pub forwarding: Forwarding,
}

impl Default for FlowRecord {
    fn default() -> Self {
        Self {
            time: Timestamp::ZERO,
            seq: 0,
            src: 0,
            dst: 0,
            packets: 1,
            bytes: 0,
            sampling: SamplingRate::ONE,
            src_port: 0,
            dst_port: 0,
            tcp_flags: TcpFlags(0),
            vlan: 0,
            link_bytes: 0,
            family: Family::V4,
            protocol: 0,
            ttl: 0,
            fragment: Fragment::Whole,
            forwarding: Forwarding::Unknown,
        }
    }
}

impl FlowRecord {
    /// Source address with its family.
    pub const fn src_address(&self) -> Address {
        Address { family: self.family, bits: self.src }
    }

    /// Destination address with its family.
    pub const fn dst_address(&self) -> Address {
        Address { family: self.family, bits: self.dst }
    }

    /// Packets times the sampling rate, saturating.
    pub const fn scaled_packets(&self) -> u64 {
        self.packets.saturating_mul(self.sampling.get() as u64)
    }

    /// Bytes times the sampling rate, saturating.
    pub const fn scaled_bytes(&self) -> u64 {
        self.bytes.saturating_mul(self.sampling.get() as u64)
    }

    /// Length of the IP packet, or the mean of several.
    pub const fn ip_length(&self) -> u64 {
        let packets = if self.packets == 0 { 1 } else { self.packets };
        (self.bytes / packets).saturating_sub(self.link_bytes as u64)
    }

    /// Does it carry ports? Later fragments do not, and neither does ICMP, whose type and code
    /// stand in the place of the destination port.
    pub const fn has_ports(&self) -> bool {
        use protocol::{DCCP, SCTP, TCP, UDP, UDP_LITE};
        !matches!(self.fragment, Fragment::Later)
            && matches!(self.protocol, TCP | UDP | SCTP | DCCP | UDP_LITE)
    }

    /// ICMP over IPv4 or ICMPv6 over IPv6.
    pub const fn is_icmp(&self) -> bool {
        match self.family {
            Family::V4 => self.protocol == protocol::ICMP,
            Family::V6 => self.protocol == protocol::ICMPV6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_as_words() {
        assert_eq!(TcpFlags(0x12).to_string(), "syn,ack");
        assert_eq!(TcpFlags(0).to_string(), "-");
        assert_eq!(TcpFlags(0xff).to_string(), "fin,syn,rst,psh,ack,urg,ece,cwr");
    }

    #[test]
    fn scaling_saturates() {
        let record = FlowRecord {
            packets: 3,
            bytes: u64::MAX / 2,
            sampling: SamplingRate::new(1000),
            ..FlowRecord::default()
        };
        assert_eq!(record.scaled_packets(), 3000);
        assert_eq!(record.scaled_bytes(), u64::MAX);
        assert_eq!(SamplingRate::new(0), SamplingRate::ONE);
    }

    #[test]
    fn a_record_stays_within_two_cache_lines() {
        assert!(size_of::<FlowRecord>() <= 112, "{}", size_of::<FlowRecord>());
    }
}
