//! Records of flow and discard samples: what an agent says about one packet.

use std::iter::FusedIterator;
use std::net::IpAddr;

use super::gateway::Gateway;
use super::sample::{DataFormat, record_count, tagged};
use super::xdr::Xdr;
use super::{SflowError, Version};
use crate::cursor::Cut;
use crate::frame::LinkType;

/// One record of a flow or discard sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowData<'a> {
    /// The first bytes of the packet: format 1.
    Header(RawHeader<'a>),
    /// Its Ethernet header: format 2.
    Ethernet(EthernetFrame),
    /// Its IPv4 or IPv6 header: formats 3 and 4.
    Ip(IpPacket),
    /// Extended switch data: format 1001.
    Switch(SwitchData),
    /// Extended router data: format 1002.
    Router(RouterData),
    /// Extended gateway data: format 1003.
    Gateway(Gateway<'a>),
    /// Any other, passed over. Those of the old versions have the numbers of version 5.
    Other {
        /// What it is.
        format: DataFormat,
        /// Its bytes.
        data: &'a [u8],
    },
}

/// What the first byte of a sampled header belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HeaderProtocol(pub u32);

impl HeaderProtocol {
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// IPv4 without a link header.
    pub const IPV4: Self = Self(11);
    /// IPv6 without a link header.
    pub const IPV6: Self = Self(12);
    /// An MPLS label stack.
    pub const MPLS: Self = Self(13);

    /// Where the dissection of such a header starts, for protocols that are dissected.
    pub const fn link_type(self) -> Option<LinkType> {
        match self.0 {
            1 => Some(LinkType::ETHERNET),
            3 => Some(LinkType::TOKEN_RING),
            4 => Some(LinkType::FDDI),
            5 => Some(LinkType::FRELAY),
            7 => Some(LinkType::PPP),
            11 => Some(LinkType::IPV4),
            12 => Some(LinkType::IPV6),
            13 => Some(LinkType::MPLS),
            14 => Some(LinkType::PPP_HDLC),
            15 => Some(LinkType::IEEE802_11),
            _ => None,
        }
    }
}

/// The first bytes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawHeader<'a> {
    /// What they start with.
    pub protocol: HeaderProtocol,
    /// Bytes of the frame before sampling. Counts what was stripped; with Ethernet that is the
    /// frame check sequence.
    pub frame_length: u32,
    /// Bytes taken off before the header was copied; 0 before version 5, which does not say.
    pub stripped: u32,
    /// The copied bytes.
    pub header: &'a [u8],
}

/// An Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthernetFrame {
    /// Bytes of the frame, its check sequence among them.
    pub length: u32,
    /// Source address.
    pub src: [u8; 6],
    /// Destination address.
    pub dst: [u8; 6],
    /// EtherType.
    pub ether_type: u16,
}

/// What an agent that copies no headers says about an IPv4 or IPv6 packet. Each field narrower
/// than a word is the low part of the word it was sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpPacket {
    /// Length of the IP packet.
    pub length: u32,
    /// Source address.
    pub src: IpAddr,
    /// Destination address; of the same family.
    pub dst: IpAddr,
    /// Protocol, or the last next header.
    pub protocol: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Source port of TCP or UDP.
    pub src_port: u16,
    /// Destination port of TCP or UDP.
    pub dst_port: u16,
    /// TCP flags.
    pub tcp_flags: u16,
}

/// VLANs and priorities on both sides of a switch; all ones where the agent does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchData {
    /// VLAN of the incoming frame.
    pub src_vlan: u32,
    /// IEEE 802.1p priority of the incoming frame.
    pub src_priority: u32,
    /// VLAN of the outgoing frame.
    pub dst_vlan: u32,
    /// IEEE 802.1p priority of the outgoing frame.
    pub dst_priority: u32,
}

/// How a router forwarded the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterData {
    /// Address of the next router.
    pub next_hop: Option<IpAddr>,
    /// Prefix length of the route to the source.
    pub src_mask_bits: u32,
    /// Prefix length of the route to the destination.
    pub dst_mask_bits: u32,
}

/// The records of a flow or discard sample. An error stands for the record that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRecords<'a> {
    rest: Xdr<'a>,
    left: u32,
    layout: Layout,
}

/// How the next record is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Version 5: format and length.
    Tagged,
    /// The packet data of versions 2 and 4; behind it a count and the extended data.
    Packet(Version),
    /// Extended data of versions 2 and 4.
    Extended(Version),
}

impl<'a> FlowRecords<'a> {
    pub(super) const fn tagged(count: u32, rest: Xdr<'a>) -> Self {
        Self { rest, left: count, layout: Layout::Tagged }
    }

    /// The records that start at `rest`, which moves behind the last one.
    pub(super) fn old(version: Version, rest: &mut Xdr<'a>) -> Result<Self, SflowError> {
        let mut records = Self { rest: *rest, left: 1, layout: Layout::Packet(version) };
        let mut walk = records.clone();
        for record in walk.by_ref() {
            record?;
        }
        *rest = walk.rest;
        records.rest = records.rest.up_to(*rest);
        Ok(records)
    }

    /// Bytes of the sample not read yet: at the end, those behind its last record.
    pub const fn trailing(&self) -> usize {
        self.rest.remaining()
    }

    /// Records announced and not read yet.
    pub const fn left(&self) -> u32 {
        self.left
    }

    /// The next record, if it is a sampled header of version 5 that can be read. Does not move
    /// otherwise, so that [`Iterator::next`] tells what there is.
    ///
    /// It gives no more than `next` does, but a header that is not passed on inside of an enum
    /// stays in registers, which is worth a factor of two to whoever reads millions.
    #[inline]
    pub fn next_header(&mut self) -> Option<RawHeader<'a>> {
        if self.layout != Layout::Tagged {
            return None;
        }
        let left = self.left.checked_sub(1)?;
        let mut rest = self.rest;
        let (format, mut body) = tagged(&mut rest).ok()?;
        if format != DataFormat::standard(1) {
            return None;
        }
        let raw = header(&mut body).ok()?;
        (self.left, self.rest) = (left, rest);
        Some(raw)
    }

    /// The next switch record, past all others, which are not looked into.
    #[inline]
    pub fn next_switch(&mut self) -> Result<Option<SwitchData>, SflowError> {
        if self.layout != Layout::Tagged {
            return self.next_switch_of_old();
        }
        while let Some(left) = self.left.checked_sub(1) {
            self.left = left;
            let (format, mut body) = tagged(&mut self.rest)?;
            if format == DataFormat::standard(1001) {
                return switch(&mut body).map(Some);
            }
        }
        Ok(None)
    }

    #[inline(never)]
    fn next_switch_of_old(&mut self) -> Result<Option<SwitchData>, SflowError> {
        for record in self {
            if let FlowData::Switch(switch) = record? {
                return Ok(Some(switch));
            }
        }
        Ok(None)
    }

    #[inline]
    fn read(&mut self) -> Result<FlowData<'a>, SflowError> {
        let found = match self.layout {
            Layout::Tagged => match tagged(&mut self.rest) {
                Ok((format, body)) => return decode(format, body),
                Err(cut) => Err(cut.into()),
            },
            Layout::Packet(version) => self.packet(version),
            Layout::Extended(version) => extended(&mut self.rest, version),
        };
        if found.is_err() {
            // Where the next record starts is not known.
            self.left = 0;
            self.rest = self.rest.ended();
        }
        found
    }

    #[inline(never)]
    fn packet(&mut self, version: Version) -> Result<FlowData<'a>, SflowError> {
        let offset = self.rest.offset();
        let data = match self.rest.word()? {
            1 => {
                let [protocol, frame_length, length] = self.rest.words()?;
                let header = self.rest.opaque(length)?.rest();
                let protocol = HeaderProtocol(protocol);
                FlowData::Header(RawHeader { protocol, frame_length, stripped: 0, header })
            }
            2 => FlowData::Ip(ipv4(&mut self.rest)?),
            3 => FlowData::Ip(ipv6(&mut self.rest)?),
            kind => return Err(SflowError::RecordType { offset, kind }),
        };
        self.left = record_count(&mut self.rest)?;
        self.layout = Layout::Extended(version);
        Ok(data)
    }
}

impl<'a> Iterator for FlowRecords<'a> {
    type Item = Result<FlowData<'a>, SflowError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read())
    }
}

impl FusedIterator for FlowRecords<'_> {}

/// A record of version 5. Bytes behind the fields that are known are ignored.
///
/// The sampled header is what nearly every sample has: it is read in place, which keeps its fields
/// in registers.
#[inline]
fn decode(format: DataFormat, mut body: Xdr<'_>) -> Result<FlowData<'_>, SflowError> {
    if format != DataFormat::standard(1) {
        return decode_other(format, body);
    }
    Ok(FlowData::Header(header(&mut body)?))
}

#[inline]
fn header<'a>(body: &mut Xdr<'a>) -> Result<RawHeader<'a>, Cut> {
    let [protocol, frame_length, stripped, length] = body.words()?;
    let header = body.bytes(length)?;
    Ok(RawHeader { protocol: HeaderProtocol(protocol), frame_length, stripped, header })
}

#[inline(never)]
fn decode_other(format: DataFormat, mut body: Xdr<'_>) -> Result<FlowData<'_>, SflowError> {
    let xdr = &mut body;
    Ok(match (format.enterprise, format.format) {
        (0, 2) => FlowData::Ethernet(ethernet(xdr)?),
        (0, 3) => FlowData::Ip(ipv4(xdr)?),
        (0, 4) => FlowData::Ip(ipv6(xdr)?),
        (0, 1001) => FlowData::Switch(switch(xdr)?),
        (0, 1002) => FlowData::Router(router(xdr)?),
        (0, 1003) => FlowData::Gateway(Gateway::read(xdr, Version::V5)?),
        _ => FlowData::Other { format, data: xdr.rest() },
    })
}

/// Extended data of versions 2 and 4.
#[inline(never)]
fn extended<'a>(rest: &mut Xdr<'a>, version: Version) -> Result<FlowData<'a>, SflowError> {
    let offset = rest.offset();
    Ok(match rest.word()? {
        1 => FlowData::Switch(switch(rest)?),
        2 => FlowData::Router(router(rest)?),
        3 => FlowData::Gateway(Gateway::read(rest, version)?),
        kind @ 4..=5 => {
            let start = *rest;
            if kind == 5 {
                rest.word()?; // URL: its direction
            } else {
                string(rest)?; // user: that of the source, before that of the destination
            }
            string(rest)?;
            FlowData::Other {
                format: DataFormat::standard(1000 + kind),
                data: start.up_to(*rest).rest(),
            }
        }
        kind => return Err(SflowError::RecordType { offset, kind }),
    })
}

fn string(xdr: &mut Xdr<'_>) -> Result<(), SflowError> {
    let length = xdr.word()?;
    xdr.opaque(length)?;
    Ok(())
}

fn ethernet(xdr: &mut Xdr<'_>) -> Result<EthernetFrame, SflowError> {
    let length = xdr.word()?;
    let (src, dst) = (mac_address(xdr)?, mac_address(xdr)?);
    Ok(EthernetFrame { length, src, dst, ether_type: xdr.word()? as u16 })
}

/// Six bytes and the padding that XDR puts behind them.
fn mac_address(xdr: &mut Xdr<'_>) -> Result<[u8; 6], SflowError> {
    let address = *xdr.fixed()?;
    xdr.fixed::<2>()?;
    Ok(address)
}

fn ipv4(xdr: &mut Xdr<'_>) -> Result<IpPacket, SflowError> {
    let [length, protocol] = xdr.words()?;
    let src = IpAddr::from(*xdr.fixed::<4>()?);
    let dst = IpAddr::from(*xdr.fixed::<4>()?);
    Ok(ip_packet([length, protocol], src, dst, xdr.words()?))
}

fn ipv6(xdr: &mut Xdr<'_>) -> Result<IpPacket, SflowError> {
    let [length, protocol] = xdr.words()?;
    let src = IpAddr::from(*xdr.fixed::<16>()?);
    let dst = IpAddr::from(*xdr.fixed::<16>()?);
    Ok(ip_packet([length, protocol], src, dst, xdr.words()?))
}

/// The fields in front of and behind the addresses.
fn ip_packet(front: [u32; 2], src: IpAddr, dst: IpAddr, behind: [u32; 4]) -> IpPacket {
    let [length, protocol] = front;
    let [src_port, dst_port, tcp_flags, tos] = behind;
    IpPacket {
        length,
        src,
        dst,
        protocol: protocol as u8,
        tos: tos as u8,
        src_port: src_port as u16,
        dst_port: dst_port as u16,
        tcp_flags: tcp_flags as u16,
    }
}

#[inline]
fn switch(xdr: &mut Xdr<'_>) -> Result<SwitchData, SflowError> {
    let [src_vlan, src_priority, dst_vlan, dst_priority] = xdr.words()?;
    Ok(SwitchData { src_vlan, src_priority, dst_vlan, dst_priority })
}

fn router(xdr: &mut Xdr<'_>) -> Result<RouterData, SflowError> {
    let next_hop = xdr.address()?;
    let [src_mask_bits, dst_mask_bits] = xdr.words()?;
    Ok(RouterData { next_hop, src_mask_bits, dst_mask_bits })
}
