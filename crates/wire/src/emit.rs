//! Builds frames and IP packets from a plain description, with lengths and checksums right, into a
//! buffer that the caller reuses. Scenarios, fuzz seeds and tests write traffic with it; it is the
//! other half of the dissector. Export datagrams are written by [`sflow`] and [`netflow`].

use std::net::IpAddr;

use thiserror::Error;

pub mod netflow;
pub mod sflow;

#[cfg(test)]
mod tests;

/// Longest IPv4 packet, and longest IPv6 payload without a jumbogram option.
const MAX_LENGTH: usize = 65_535;
/// A fragment's offset field has 13 bits (RFC 791 §3.1, RFC 8200 §4.5).
const MAX_OFFSET: u16 = 0x1fff;

const IPV6_FRAGMENT: u8 = 44;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const GRE: u8 = 47;

/// An Ethernet II frame around a packet. Short frames are not padded, and there is no FCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Destination MAC address.
    pub destination: [u8; 6],
    /// Source MAC address.
    pub source: [u8; 6],
    /// VLAN tags, outermost first.
    pub tags: &'a [Tag],
    /// What the frame carries.
    pub packet: Packet<'a>,
}

/// One VLAN tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// 0x8100 (802.1Q), 0x88a8 (802.1ad), 0x9100 or whatever else a switch writes.
    pub ethertype: u16,
    /// VLAN identifier, at most 4095.
    pub id: u16,
}

impl Tag {
    /// An 802.1Q tag.
    pub const fn dot1q(id: u16) -> Self {
        Self { ethertype: 0x8100, id }
    }
}

/// An IPv4 or IPv6 packet; both addresses must be of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 identification (its low 16 bits), or that of the IPv6 fragment header.
    pub identification: u32,
    /// Which piece of a larger datagram this is; `None` for a whole one.
    pub piece: Option<Piece>,
    /// Transport header. A piece at an offset above 0 takes only the protocol number from it.
    pub transport: Transport,
    /// What follows the transport header.
    pub payload: Payload<'a>,
}

/// Place of a piece in a fragmented datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Offset in units of 8 bytes, at most 8191.
    pub offset: u16,
    /// Do more pieces follow?
    pub more: bool,
    /// Bytes of the datagram behind this piece. The first piece's UDP length counts them, and its
    /// checksum takes them as zeros.
    pub rest: u16,
}

/// Transport header, or just the number of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP (RFC 768).
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// TCP without options (RFC 9293).
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Low 12 bits of octets 12 and 13.
        flags: u16,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgment number.
        acknowledgment: u32,
        /// Receive window.
        window: u16,
    },
    /// ICMP over IPv4 and ICMPv6 over IPv6.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Octets 4 to 7: identifier and sequence number of an echo, MTU of an error.
        body: u32,
    },
    /// GRE version 0 (RFC 2784, RFC 2890).
    Gre {
        /// EtherType of the payload.
        protocol: u16,
        /// Write a checksum.
        checksum: bool,
        /// Key.
        key: Option<u32>,
        /// Sequence number.
        sequence: Option<u32>,
    },
    /// No header: the payload follows the IP header.
    Raw {
        /// IP protocol number.
        protocol: u8,
    },
}

/// What follows the transport header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// So many zero bytes.
    Zeros(usize),
    /// These bytes.
    Bytes(&'a [u8]),
}

/// Why a description cannot be written as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EmitError {
    /// One address is IPv4, the other IPv6.
    #[error("source {from} and destination {to} are of different IP versions")]
    MixedFamilies {
        /// Source address.
        from: IpAddr,
        /// Destination address.
        to: IpAddr,
    },
    /// The packet, or the datagram that its first piece belongs to, is too long.
    #[error("a length of {length} bytes does not fit the 16-bit field (at most {limit})")]
    TooLong {
        /// The length that was asked for.
        length: usize,
        /// The most that fits.
        limit: usize,
    },
    /// The VLAN identifier has more than 12 bits.
    #[error("VLAN {id} does not exist (at most 4095)")]
    Vlan {
        /// The identifier.
        id: u16,
    },
    /// The fragment offset has more than 13 bits.
    #[error("fragment offset {offset} (units of 8 bytes) is above 8191")]
    Offset {
        /// The offset.
        offset: u16,
    },
}

/// Replaces the contents of `out` by the frame.
pub fn emit_frame(frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), EmitError> {
    out.clear();
    append_ethernet(frame, out)?;
    append_packet(&frame.packet, out)
}

/// Appends the IP packet to `out`: for raw IP captures and for the inside of tunnels.
pub fn append_packet(packet: &Packet<'_>, out: &mut Vec<u8>) -> Result<(), EmitError> {
    let lengths = Lengths::of(packet)?;
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            append_ipv4(packet, &lengths, source.octets(), destination.octets(), out);
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            append_ipv6(packet, &lengths, source.octets(), destination.octets(), out);
        }
        (from, to) => return Err(EmitError::MixedFamilies { from, to }),
    }
    append_transport(packet, &lengths, out);
    Ok(())
}

impl Transport {
    /// IP protocol number over the family of `address`.
    pub const fn protocol(&self, address: IpAddr) -> u8 {
        match self {
            Self::Udp { .. } => UDP,
            Self::Tcp { .. } => TCP,
            Self::Icmp { .. } if address.is_ipv4() => ICMP,
            Self::Icmp { .. } => ICMPV6,
            Self::Gre { .. } => GRE,
            Self::Raw { protocol } => *protocol,
        }
    }

    /// Bytes of the header.
    pub const fn header_len(&self) -> usize {
        match self {
            Self::Udp { .. } | Self::Icmp { .. } => 8,
            Self::Tcp { .. } => 20,
            Self::Gre { checksum, key, sequence, .. } => {
                let words =
                    *checksum as usize + key.is_some() as usize + sequence.is_some() as usize;
                4 + 4 * words
            }
            Self::Raw { .. } => 0,
        }
    }
}

impl Payload<'_> {
    /// Bytes.
    pub const fn len(&self) -> usize {
        match self {
            Self::Zeros(count) => *count,
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// No bytes at all?
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Lengths that several headers need, checked once.
struct Lengths {
    /// The transport header is there (not a later piece).
    has_header: bool,
    /// Behind the IP header, an IPv6 fragment header not included.
    body: usize,
    /// Transport header and payload of the whole datagram.
    datagram: usize,
}

impl Lengths {
    fn of(packet: &Packet<'_>) -> Result<Self, EmitError> {
        let offset = packet.piece.map_or(0, |p| p.offset);
        if offset > MAX_OFFSET {
            return Err(EmitError::Offset { offset });
        }
        let has_header = offset == 0;
        let header = if has_header { packet.transport.header_len() } else { 0 };
        let body = header.saturating_add(packet.payload.len());
        let datagram = body.saturating_add(packet.piece.map_or(0, |p| usize::from(p.rest)));
        // 20 bytes of IPv4 header count in its length; of IPv6 only a fragment header does.
        let fixed = if packet.source.is_ipv4() { 20 } else { 8 * packet.piece.iter().len() };
        for length in [body.saturating_add(fixed), datagram] {
            if length > MAX_LENGTH {
                return Err(EmitError::TooLong { length, limit: MAX_LENGTH });
            }
        }
        Ok(Self { has_header, body, datagram })
    }
}

fn append_ethernet(frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), EmitError> {
    out.extend_from_slice(&frame.destination);
    out.extend_from_slice(&frame.source);
    for tag in frame.tags {
        if tag.id > 0x0fff {
            return Err(EmitError::Vlan { id: tag.id });
        }
        push_u16(out, tag.ethertype);
        push_u16(out, tag.id);
    }
    push_u16(out, if frame.packet.source.is_ipv4() { 0x0800 } else { 0x86dd });
    Ok(())
}

fn append_ipv4(p: &Packet<'_>, lengths: &Lengths, from: [u8; 4], to: [u8; 4], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0x45, 0]);
    push_u16(out, (20 + lengths.body) as u16);
    push_u16(out, p.identification as u16);
    push_u16(out, p.piece.map_or(0, |piece| (u16::from(piece.more) << 13) | piece.offset));
    out.extend_from_slice(&[p.ttl, p.transport.protocol(p.source), 0, 0]);
    out.extend_from_slice(&from);
    out.extend_from_slice(&to);
    let checksum = !fold(sum(out.get(start..).unwrap_or_default()));
    set_u16(out, start + 10, checksum);
}

fn append_ipv6(p: &Packet<'_>, lengths: &Lengths, from: [u8; 16], to: [u8; 16], out: &mut Vec<u8>) {
    let protocol = p.transport.protocol(p.source);
    let (next, extension) = if p.piece.is_some() { (IPV6_FRAGMENT, 8) } else { (protocol, 0) };
    out.extend_from_slice(&[0x60, 0, 0, 0]);
    push_u16(out, (lengths.body + extension) as u16);
    out.extend_from_slice(&[next, p.ttl]);
    out.extend_from_slice(&from);
    out.extend_from_slice(&to);
    if let Some(piece) = p.piece {
        out.extend_from_slice(&[protocol, 0]);
        push_u16(out, (piece.offset << 3) | u16::from(piece.more));
        push_u32(out, p.identification);
    }
}

/// Appends transport header and payload and fills the checksum in.
fn append_transport(packet: &Packet<'_>, lengths: &Lengths, out: &mut Vec<u8>) {
    let start = out.len();
    let checksum_at = if lengths.has_header { append_header(packet, lengths, out) } else { None };
    match packet.payload {
        Payload::Zeros(count) => out.resize(out.len() + count, 0),
        Payload::Bytes(bytes) => out.extend_from_slice(bytes),
    }
    let Some(checksum_at) = checksum_at else { return };
    // Zeros do not change the sum.
    let end = match packet.payload {
        Payload::Zeros(count) => out.len() - count,
        Payload::Bytes(_) => out.len(),
    };
    let mut total = sum(out.get(start..end).unwrap_or_default());
    if has_pseudo_header(packet) {
        total += pseudo_header(packet, lengths.datagram);
    }
    let mut checksum = !fold(total);
    if checksum == 0 && matches!(packet.transport, Transport::Udp { .. }) {
        checksum = 0xffff; // RFC 768: zero means that there is none.
    }
    set_u16(out, start + checksum_at, checksum);
}

/// Appends the transport header with a zero checksum; returns where in it the checksum sits.
fn append_header(packet: &Packet<'_>, lengths: &Lengths, out: &mut Vec<u8>) -> Option<usize> {
    match packet.transport {
        Transport::Udp { source, destination } => {
            push_u16(out, source);
            push_u16(out, destination);
            push_u16(out, lengths.datagram as u16);
            push_u16(out, 0);
            Some(6)
        }
        Transport::Tcp { source, destination, flags, sequence, acknowledgment, window } => {
            push_u16(out, source);
            push_u16(out, destination);
            push_u32(out, sequence);
            push_u32(out, acknowledgment);
            push_u16(out, (5 << 12) | (flags & 0x0fff));
            push_u16(out, window);
            push_u32(out, 0);
            Some(16)
        }
        Transport::Icmp { kind, code, body } => {
            out.extend_from_slice(&[kind, code, 0, 0]);
            push_u32(out, body);
            Some(2)
        }
        Transport::Gre { protocol, checksum, key, sequence } => {
            let bits = [(checksum, 15), (key.is_some(), 13), (sequence.is_some(), 12)];
            push_u16(out, bits.iter().map(|(on, bit)| u16::from(*on) << bit).sum());
            push_u16(out, protocol);
            if checksum {
                push_u32(out, 0);
            }
            for word in [key, sequence].into_iter().flatten() {
                push_u32(out, word);
            }
            checksum.then_some(4)
        }
        Transport::Raw { .. } => None,
    }
}

/// Does the checksum cover the addresses? TCP, UDP and ICMPv6 do.
fn has_pseudo_header(packet: &Packet<'_>) -> bool {
    match packet.transport {
        Transport::Udp { .. } | Transport::Tcp { .. } => true,
        Transport::Icmp { .. } => packet.source.is_ipv6(),
        Transport::Gre { .. } | Transport::Raw { .. } => false,
    }
}

/// Sum over the pseudo-header of RFC 9293 §3.1 and RFC 8200 §8.1.
fn pseudo_header(packet: &Packet<'_>, length: usize) -> u64 {
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(a) => sum(&a.octets()),
        IpAddr::V6(a) => sum(&a.octets()),
    };
    let protocol = packet.transport.protocol(packet.source);
    address(packet.source) + address(packet.destination) + u64::from(protocol) + length as u64
}

/// Sum of 16-bit words; an odd byte at the end is the high half of a word (RFC 1071).
fn sum(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(2);
    let mut total = 0u64;
    for word in &mut words {
        if let [high, low] = word {
            total += u64::from(u16::from_be_bytes([*high, *low]));
        }
    }
    total + words.remainder().first().map_or(0, |high| u64::from(*high) << 8)
}

/// Folds the carries into 16 bits.
fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

fn push_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn push_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

fn set_u32(out: &mut [u8], at: usize, value: u32) {
    if let Some(field) = out.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}

fn set_u16(out: &mut [u8], at: usize, value: u16) {
    if let Some(field) = out.get_mut(at..at + 2) {
        field.copy_from_slice(&value.to_be_bytes());
    }
}
