//! Writers of pcap and pcapng. They append to a `Vec<u8>` that the caller writes out and clears
//! when it likes, so one allocation serves a whole file.

use super::{ByteOrder, MAX_SNAP_LEN, Packet, TimeResolution, classic, ng};

/// What a pcap file says about all its packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PcapHeader {
    /// LINKTYPE value. pcap has one for the whole file; several need pcapng.
    pub link_type: u16,
    /// Longest captured part of a packet; more is cut off. 0 and anything above
    /// [`MAX_SNAP_LEN`] mean [`MAX_SNAP_LEN`].
    pub snap_len: u32,
    /// Nanoseconds when set, microseconds otherwise.
    pub nanoseconds: bool,
    /// Order of the header fields.
    pub byte_order: ByteOrder,
}

impl Default for PcapHeader {
    /// Ethernet, nanoseconds, little-endian, the longest snap length.
    fn default() -> Self {
        Self {
            link_type: 1,
            snap_len: MAX_SNAP_LEN,
            nanoseconds: true,
            byte_order: ByteOrder::Little,
        }
    }
}

/// Writer of one pcap file.
#[derive(Debug, Clone, Copy)]
pub struct PcapWriter {
    header: PcapHeader,
}

impl PcapWriter {
    /// Starts a file: appends its header to `out`.
    pub fn new(header: PcapHeader, out: &mut Vec<u8>) -> Self {
        let header = PcapHeader { snap_len: effective_snap_len(header.snap_len), ..header };
        let order = header.byte_order;
        let magic = if header.nanoseconds {
            classic::MAGIC_NANOSECONDS
        } else {
            classic::MAGIC_MICROSECONDS
        };
        out.extend(order.word_bytes(magic));
        // Version 2.4.
        out.extend(order.half_bytes(2));
        out.extend(order.half_bytes(4));
        // Time zone and accuracy, which no one uses.
        out.extend([0; 8]);
        out.extend(order.word_bytes(header.snap_len));
        out.extend(order.word_bytes(u32::from(header.link_type)));
        Self { header }
    }

    /// Appends one packet. Its seconds have 32 bits: a time after 2106 is written as the last
    /// second that fits. Link type and interface of the packet are not stored.
    pub fn write(self, packet: &Packet<'_>, out: &mut Vec<u8>) {
        let order = self.header.byte_order;
        let seconds = packet.time / 1_000_000_000;
        let nanoseconds = (packet.time % 1_000_000_000) as u32;
        let ticks = if self.header.nanoseconds { nanoseconds } else { nanoseconds / 1_000 };
        let data = cut(packet.data, self.header.snap_len);
        out.extend(order.word_bytes(u32::try_from(seconds).unwrap_or(u32::MAX)));
        out.extend(order.word_bytes(ticks));
        out.extend(order.word_bytes(data.len() as u32));
        out.extend(order.word_bytes(wire_len(packet)));
        out.extend_from_slice(data);
    }
}

/// What a pcapng file says about one interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceDescription {
    /// LINKTYPE value.
    pub link_type: u16,
    /// See [`PcapHeader::snap_len`].
    pub snap_len: u32,
    /// Unit of the time stamps.
    pub resolution: TimeResolution,
    /// Seconds that readers add to every time stamp.
    pub offset_s: i64,
}

impl Default for InterfaceDescription {
    /// Ethernet, nanoseconds, no offset, the longest snap length.
    fn default() -> Self {
        Self {
            link_type: 1,
            snap_len: MAX_SNAP_LEN,
            resolution: TimeResolution::NANOSECONDS,
            offset_s: 0,
        }
    }
}

/// A packet was to be written for an interface that was not described.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("packet of interface {interface}, but {described} are described")]
pub struct UnknownInterface {
    /// Interface number of the packet.
    pub interface: u32,
    /// Interfaces described so far.
    pub described: usize,
}

/// Writer of one pcapng section.
#[derive(Debug, Clone)]
pub struct PcapngWriter {
    order: ByteOrder,
    interfaces: Vec<InterfaceDescription>,
}

impl PcapngWriter {
    /// Starts a section: appends its header to `out`.
    pub fn new(order: ByteOrder, out: &mut Vec<u8>) -> Self {
        let mut body = Vec::with_capacity(16);
        body.extend(order.word_bytes(ng::BYTE_ORDER_MAGIC));
        // Version 1.0.
        body.extend(order.half_bytes(1));
        body.extend(order.half_bytes(0));
        // Length of the section: unknown.
        body.extend([0xff; 8]);
        write_block(order, ng::SECTION_HEADER, &body, out);
        Self { order, interfaces: Vec::new() }
    }

    /// Appends an interface description; returns the number its packets are to carry.
    pub fn describe(&mut self, interface: InterfaceDescription, out: &mut Vec<u8>) -> u32 {
        let order = self.order;
        let snap_len = effective_snap_len(interface.snap_len);
        let mut body = Vec::with_capacity(32);
        body.extend(order.half_bytes(interface.link_type));
        body.extend(order.half_bytes(0));
        body.extend(order.word_bytes(snap_len));
        body.extend(order.half_bytes(ng::OPTION_TIME_RESOLUTION));
        body.extend(order.half_bytes(1));
        body.extend([interface.resolution.byte(), 0, 0, 0]);
        if interface.offset_s != 0 {
            body.extend(order.half_bytes(ng::OPTION_TIME_OFFSET));
            body.extend(order.half_bytes(8));
            body.extend(order.long_bytes(interface.offset_s as u64));
        }
        body.extend(order.half_bytes(ng::OPTION_END));
        body.extend(order.half_bytes(0));
        write_block(order, ng::INTERFACE_DESCRIPTION, &body, out);
        self.interfaces.push(InterfaceDescription { snap_len, ..interface });
        self.interfaces.len() as u32 - 1
    }

    /// Appends one packet, as an enhanced packet block of its interface.
    pub fn write(&self, packet: &Packet<'_>, out: &mut Vec<u8>) -> Result<(), UnknownInterface> {
        let Some(interface) = self.interfaces.get(packet.interface as usize) else {
            let (interface, described) = (packet.interface, self.interfaces.len());
            return Err(UnknownInterface { interface, described });
        };
        let order = self.order;
        let data = cut(packet.data, interface.snap_len);
        let padding = data.len().next_multiple_of(4) - data.len();
        let total = (32 + data.len() + padding) as u32;
        let since_offset = i128::from(packet.time) - i128::from(interface.offset_s) * 1_000_000_000;
        let since_offset = since_offset.clamp(0, i128::from(u64::MAX)) as u64;
        let ticks = interface.resolution.ticks(since_offset);
        out.extend(order.word_bytes(ng::ENHANCED_PACKET));
        out.extend(order.word_bytes(total));
        out.extend(order.word_bytes(packet.interface));
        out.extend(order.word_bytes((ticks >> 32) as u32));
        out.extend(order.word_bytes(ticks as u32));
        out.extend(order.word_bytes(data.len() as u32));
        out.extend(order.word_bytes(wire_len(packet)));
        out.extend_from_slice(data);
        out.extend(std::iter::repeat_n(0, padding));
        out.extend(order.word_bytes(total));
        Ok(())
    }
}

/// Appends a block around a body whose length is a multiple of four.
fn write_block(order: ByteOrder, kind: u32, body: &[u8], out: &mut Vec<u8>) {
    let total = order.word_bytes(body.len() as u32 + 12);
    out.extend(order.word_bytes(kind));
    out.extend(total);
    out.extend_from_slice(body);
    out.extend(total);
}

fn effective_snap_len(snap_len: u32) -> u32 {
    if snap_len == 0 { MAX_SNAP_LEN } else { snap_len.min(MAX_SNAP_LEN) }
}

fn cut(data: &[u8], snap_len: u32) -> &[u8] {
    data.get(..snap_len as usize).unwrap_or(data)
}

fn wire_len(packet: &Packet<'_>) -> u32 {
    packet.wire_len.max(u32::try_from(packet.data.len()).unwrap_or(u32::MAX))
}
