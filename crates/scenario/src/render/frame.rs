//! Records as Ethernet frames, one for each.

use std::net::IpAddr;

use tidewall_model::{Family, FlowRecord, Fragment, Timestamp, protocol};
use tidewall_wire::emit::{Frame, Packet, Payload, Piece, Tag, Transport, emit_frame};

use super::{RenderError, Renderer, Sink};

/// Pieces of a datagram lie 1,480 bytes apart, as on an Ethernet: in units of 8 bytes.
pub(super) const LATER_OFFSET: u16 = 185;
/// What the first piece of a datagram says about the rest of it: one more full piece.
const REST: u16 = 1480;
/// SCTP's common header (RFC 9260 §3.1); its ports are the first four bytes.
const SCTP_HEADER: usize = 12;
/// EtherType of IPv4, which our GRE packets pretend to carry.
const IPV4: u16 = 0x0800;
/// Protocol numbers that are extension headers over IPv6 (IANA), not packets of that protocol.
const EXTENSION_HEADERS: [u8; 9] = [0, 43, 44, 60, 135, 139, 140, 253, 254];

/// Renders each record as one Ethernet frame that dissects to the same addresses, ports, protocol,
/// flags, fragment state, VLAN, TTL and IP length. Payloads are zeros. A record of several packets
/// becomes one packet of their mean length. Sampling and forwarding have no place in a frame.
#[derive(Clone, Debug, Default)]
pub struct FrameRenderer {
    /// SCTP's header, whose ports are the only part we know.
    sctp: Vec<u8>,
    /// The last frame.
    buffer: Vec<u8>,
}

impl FrameRenderer {
    /// A renderer with its buffers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the contents of `out` by the record's frame.
    pub fn frame(&mut self, record: &FlowRecord, out: &mut Vec<u8>) -> Result<(), RenderError> {
        let length = record.bytes.checked_div(record.packets).ok_or(RenderError::NoPackets)?;
        let v6 = record.family == Family::V6;
        if record.protocol == protocol::AH || v6 && EXTENSION_HEADERS.contains(&record.protocol) {
            return Err(RenderError::Extension { protocol: record.protocol });
        }
        let transport = transport_of(record);
        let piece = piece_of(record.fragment);
        let ip_header: u64 = match (record.family, piece) {
            (Family::V4, _) => 20,
            (Family::V6, None) => 40,
            (Family::V6, Some(_)) => 48,
        };
        let later = record.fragment == Fragment::Later;
        let sctp = record.protocol == protocol::SCTP && !later;
        let header = match (later, sctp) {
            (true, _) => 0,
            (false, true) => SCTP_HEADER,
            (false, false) => transport.header_len(),
        };
        let least = ip_header + header as u64;
        let protocol = record.protocol;
        let behind =
            length.checked_sub(least).ok_or(RenderError::TooShort { length, least, protocol })?;
        let tags = [Tag::dot1q(record.vlan)];
        // Longer than any packet can be is refused by its length field, before memory is used.
        let behind = usize::try_from(behind).unwrap_or(usize::MAX).min(1 << 17);
        let payload = if sctp { self.sctp_payload(record, behind) } else { Payload::Zeros(behind) };
        let frame = Frame {
            destination: [2, 0, 0, 0, 0, 2],
            source: [2, 0, 0, 0, 0, 1],
            tags: if record.vlan == 0 { &[] } else { &tags },
            packet: Packet {
                source: IpAddr::from(record.src_address()),
                destination: IpAddr::from(record.dst_address()),
                ttl: record.ttl,
                identification: record.seq as u32,
                piece,
                transport,
                payload,
            },
        };
        Ok(emit_frame(&frame, out)?)
    }

    fn sctp_payload(&mut self, record: &FlowRecord, behind: usize) -> Payload<'_> {
        self.sctp.clear();
        self.sctp.extend_from_slice(&record.src_port.to_be_bytes());
        self.sctp.extend_from_slice(&record.dst_port.to_be_bytes());
        self.sctp.resize(SCTP_HEADER + behind, 0);
        Payload::Bytes(&self.sctp)
    }
}

impl Renderer for FrameRenderer {
    fn render(&mut self, record: &FlowRecord, sink: &mut Sink<'_>) -> Result<(), RenderError> {
        let mut frame = std::mem::take(&mut self.buffer);
        let rendered = self.frame(record, &mut frame);
        if rendered.is_ok() {
            sink(record.time, &frame);
        }
        self.buffer = frame;
        rendered
    }

    fn advance(&mut self, _now: Timestamp, _sink: &mut Sink<'_>) {}

    fn finish(&mut self, _sink: &mut Sink<'_>) {}
}

fn piece_of(fragment: Fragment) -> Option<Piece> {
    match fragment {
        Fragment::Whole => None,
        Fragment::First => Some(Piece { offset: 0, more: true, rest: REST }),
        Fragment::Later => Some(Piece { offset: LATER_OFFSET, more: false, rest: 0 }),
    }
}

fn transport_of(record: &FlowRecord) -> Transport {
    let (source, destination) = (record.src_port, record.dst_port);
    match record.protocol {
        protocol::UDP => Transport::Udp { source, destination },
        protocol::TCP => Transport::Tcp {
            source,
            destination,
            flags: record.tcp_flags.0,
            sequence: record.seq as u32,
            acknowledgment: 0,
            window: 0xffff,
        },
        _ if record.is_icmp() => {
            let [kind, code] = destination.to_be_bytes();
            Transport::Icmp { kind, code, body: record.seq as u32 }
        }
        protocol::GRE => {
            Transport::Gre { protocol: IPV4, checksum: false, key: None, sequence: None }
        }
        protocol => Transport::Raw { protocol },
    }
}
