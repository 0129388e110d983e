//! What one record is: the name and the attack class of its kind of traffic.

use std::borrow::Cow;

use tidewall_model::{
    Address, AttackClass, Direction, FlowRecord, Forwarding, TcpFlags, TrafficClass, protocol,
};

/// Kinds of traffic that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind<'a> {
    Syn,
    SynAck,
    Ack,
    Rst,
    Fin,
    Null,
    Xmas,
    OtherTcp,
    Udp,
    /// Answers of the amplifying service of this name.
    Reflected(&'a str),
    /// Fragments without a parent.
    Fragments,
    Protocol(u8),
    /// IP protocols that are too rare to be named one by one.
    OtherProtocols,
}

impl Kind<'_> {
    /// Name of the vector.
    pub(super) fn name(&self) -> Cow<'_, str> {
        Cow::Borrowed(match self {
            Self::Syn => "syn",
            Self::SynAck => "syn_ack",
            Self::Ack => "ack",
            Self::Rst => "rst",
            Self::Fin => "fin",
            Self::Null => "tcp_null",
            Self::Xmas => "tcp_xmas",
            Self::OtherTcp => "tcp_other",
            Self::Udp => "udp",
            Self::Reflected(name) => name,
            Self::Fragments => "fragments",
            Self::OtherProtocols => "other_protocols",
            Self::Protocol(number) => match protocol::name(*number) {
                Some(name) => name,
                None => return Cow::Owned(format!("protocol_{number}")),
            },
        })
    }

    /// Class of an attack that is made of it.
    pub(super) fn class(&self) -> AttackClass {
        match self {
            Self::Syn => AttackClass::SynFlood,
            Self::SynAck => AttackClass::SynAckReflection,
            Self::Ack => AttackClass::AckFlood,
            Self::Rst => AttackClass::RstFlood,
            Self::Fin | Self::Null | Self::Xmas | Self::OtherTcp => AttackClass::TcpFlood,
            Self::Udp => AttackClass::UdpFlood,
            Self::Reflected(_) => AttackClass::UdpReflection,
            Self::Fragments => AttackClass::FragmentFlood,
            Self::Protocol(protocol::ICMP | protocol::ICMPV6) => AttackClass::IcmpFlood,
            Self::Protocol(protocol::GRE) => AttackClass::GreFlood,
            Self::Protocol(_) | Self::OtherProtocols => AttackClass::ProtocolFlood,
        }
    }

    /// Does the record, being of this kind, count in the traffic class?
    pub(super) fn is_in(&self, record: &FlowRecord, class: TrafficClass) -> bool {
        match class {
            TrafficClass::Total => true,
            TrafficClass::Tcp => record.protocol == protocol::TCP,
            TrafficClass::TcpSyn => *self == Self::Syn,
            TrafficClass::Udp => record.protocol == protocol::UDP,
            TrafficClass::Icmp => record.is_icmp(),
            TrafficClass::Fragment => record.fragment.is_fragment(),
            TrafficClass::Dropped => record.forwarding == Forwarding::Dropped,
            TrafficClass::Other => {
                !record.is_icmp() && !matches!(record.protocol, protocol::TCP | protocol::UDP)
            }
        }
    }
}

/// The kind of a TCP record by its flags.
///
/// A record of several packets holds the union of their flags. With ACK in it, it is a connection
/// that goes on, whatever else was set on the way; only SYN+ACK alone is repeated by reflectors.
pub(super) fn tcp_kind(record: &FlowRecord) -> Kind<'static> {
    const XMAS: u16 = TcpFlags::FIN | TcpFlags::PSH | TcpFlags::URG;
    const HANDSHAKE: u16 = TcpFlags::SYN | TcpFlags::ACK;
    const CLASSIC: u16 = XMAS | HANDSHAKE | TcpFlags::RST;
    let flags = TcpFlags(record.tcp_flags.0 & CLASSIC);
    let (syn, ack) = (flags.has(TcpFlags::SYN), flags.has(TcpFlags::ACK));
    match flags.0 {
        0 => return Kind::Null,
        CLASSIC => return Kind::Xmas,
        HANDSHAKE => return Kind::SynAck,
        _ if flags.has(XMAS) && !ack => return Kind::Xmas,
        _ if ack && record.packets > 1 => return Kind::Ack,
        _ => {}
    }
    let closing = flags.0 & (TcpFlags::FIN | TcpFlags::RST) != 0;
    match (syn, ack) {
        (true, false) => Kind::Syn,
        (true, true) if closing => Kind::OtherTcp,
        (true, true) => Kind::SynAck,
        _ if flags.has(TcpFlags::RST) => Kind::Rst,
        // The last data of a connection commonly carries PSH and FIN together.
        _ if flags.has(TcpFlags::FIN) && !(ack && flags.has(TcpFlags::PSH)) => Kind::Fin,
        (false, true) => Kind::Ack,
        (false, false) => Kind::OtherTcp,
    }
}

/// The end of a record that is not the target's.
pub(super) fn remote(record: &FlowRecord, direction: Direction) -> Address {
    if direction == Direction::Outgoing { record.dst_address() } else { record.src_address() }
}

/// The target's end of a record.
pub(super) fn local(record: &FlowRecord, direction: Direction) -> Address {
    if direction == Direction::Outgoing { record.src_address() } else { record.dst_address() }
}
