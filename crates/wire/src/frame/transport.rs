//! Ports, flags, type and code: whatever of the transport header is there.

use super::{Anomalies, Frame};
use crate::cursor::Cursor;

pub(super) const ICMP: u8 = 1;
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
const DCCP: u8 = 33;
pub(super) const GRE: u8 = 47;
pub(super) const ESP: u8 = 50;
pub(super) const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const UDP_LITE: u8 = 136;

/// GRE key-present flag (RFC 2890 §2).
const GRE_KEY: u16 = 0x2000;
/// GRE checksum-present and routing-present flags (RFC 1701): either brings a four-octet field.
const GRE_CHECKSUM_OR_ROUTING: u16 = 0xc000;

/// Reads the header of `frame.protocol` at `payload`; what is not there stays zero.
#[inline]
pub(super) fn read(payload: Cursor<'_>, frame: &mut Frame) {
    match frame.protocol {
        UDP => udp(payload, frame),
        TCP => tcp(payload, frame),
        ICMP | ICMPV6 => match payload.peek() {
            Some(type_and_code) => frame.dst_port = u16::from_be_bytes(*type_and_code),
            None => cut(frame),
        },
        SCTP | DCCP | UDP_LITE => ports(payload, frame),
        GRE => gre(payload, frame),
        ESP => match payload.peek() {
            Some(spi) => frame.key = u32::from_be_bytes(*spi),
            None => cut(frame),
        },
        _ => {}
    }
}

fn cut(frame: &mut Frame) {
    frame.anomalies |= Anomalies::TRANSPORT_CUT;
}

fn ports(payload: Cursor<'_>, frame: &mut Frame) {
    if let Some([s0, s1, d0, d1]) = payload.peek() {
        frame.src_port = u16::from_be_bytes([*s0, *s1]);
        frame.dst_port = u16::from_be_bytes([*d0, *d1]);
    } else {
        cut(frame);
    }
}

fn udp(payload: Cursor<'_>, frame: &mut Frame) {
    let Some([s0, s1, d0, d1, l0, l1, _, _]) = payload.peek() else {
        cut(frame);
        return ports(payload, frame);
    };
    frame.src_port = u16::from_be_bytes([*s0, *s1]);
    frame.dst_port = u16::from_be_bytes([*d0, *d1]);
    // Zero is legal over an IPv6 jumbogram (RFC 2675 §4) and in captures before offload.
    if matches!(u16::from_be_bytes([*l0, *l1]), 1..8) {
        frame.anomalies |= Anomalies::UDP_LENGTH;
    }
}

fn tcp(payload: Cursor<'_>, frame: &mut Frame) {
    ports(payload, frame);
    if let Some([.., offset_and_flags, flags]) = payload.peek::<14>() {
        frame.tcp_flags = u16::from_be_bytes([*offset_and_flags & 0x0f, *flags]);
        if offset_and_flags >> 4 < 5 {
            frame.anomalies |= Anomalies::TCP_DATA_OFFSET;
        }
    }
    if payload.remaining() < 20 {
        cut(frame);
    }
}

fn gre(payload: Cursor<'_>, frame: &mut Frame) {
    let Some([f0, f1, _, _]) = payload.peek() else {
        return cut(frame);
    };
    let flags = u16::from_be_bytes([*f0, *f1]);
    if flags & GRE_KEY == 0 {
        return;
    }
    let key_at = if flags & GRE_CHECKSUM_OR_ROUTING == 0 { 4 } else { 8 };
    let mut at = payload;
    match at.skip(key_at).and_then(|()| at.be32()) {
        Ok(key) => frame.key = key,
        Err(_) => cut(frame),
    }
}
