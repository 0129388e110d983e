//! Writes sFlow datagrams, the other half of [`crate::sflow`]: version 5 with flow, counter and
//! discard samples and any records, version 4 with sampled headers. The writer owns its buffer and
//! the number of the next datagram, and remembers nothing else: the numbers of samples, pools and
//! rates are the caller's. Nothing is checked, so that datagrams that no agent would send can be
//! written too.

use std::net::IpAddr;

use super::{push_u32, set_u32};
use crate::sflow::{
    DataFormat, DataSource, DiscardReason, EthernetFrame, Interface, InterfaceCounters, IpPacket,
    RawHeader, RouterData, SegmentKind, SwitchData,
};

#[cfg(test)]
mod tests;

/// What stands for [`Interface::Internal`].
const INTERNAL: u32 = 0x3fff_ffff;

/// Width of the fields of a flow or counter sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// 24 bits for an index, 30 for an interface; higher bits are cut off.
    Compact,
    /// 32 bits for each.
    Expanded,
}

/// A sampled packet, without what is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowSample {
    /// Number of the sample among the flow samples of its source.
    pub sequence: u32,
    /// Who sampled.
    pub source: DataSource,
    /// One packet in so many is sampled.
    pub sampling_rate: u32,
    /// Packets that could have been sampled, since the source started.
    pub sample_pool: u32,
    /// Samples lost in the agent for want of resources.
    pub drops: u32,
    /// Where the packet came in.
    pub input: Interface,
    /// Where it went.
    pub output: Interface,
}

/// A discarded packet, without what is said about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscardSample {
    /// Number of the notification among those of its source.
    pub sequence: u32,
    /// Who discarded.
    pub source: DataSource,
    /// Notifications not sent.
    pub drops: u32,
    /// Where the packet came in: an index, internal or unknown.
    pub input: Interface,
    /// Where it would have gone: an index, internal or unknown.
    pub output: Interface,
    /// Why it did not.
    pub reason: DiscardReason,
}

/// One record of a flow or discard sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// The first bytes of the packet: format 1.
    Header(RawHeader<'a>),
    /// Its Ethernet header: format 2.
    Ethernet(EthernetFrame),
    /// Its IP header: format 3, or 4 unless both addresses are IPv4.
    Ip(IpPacket),
    /// Extended switch data: format 1001.
    Switch(SwitchData),
    /// Extended router data: format 1002.
    Router(RouterData),
    /// Extended gateway data: format 1003.
    Gateway(Gateway<'a>),
    /// Any other.
    Other {
        /// What it is.
        format: DataFormat,
        /// Its bytes.
        data: &'a [u8],
    },
}

/// Extended gateway data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gateway<'a> {
    /// The border router that should be used.
    pub next_hop: Option<IpAddr>,
    /// AS of the exporter.
    pub own_as: u32,
    /// AS of the packet's source.
    pub source_as: u32,
    /// AS of the peer it came from.
    pub source_peer_as: u32,
    /// The way to its destination: segments of an AS path.
    pub destination_path: &'a [(SegmentKind, &'a [u32])],
    /// Communities of the route.
    pub communities: &'a [u32],
    /// LOCAL_PREF of the route.
    pub local_pref: u32,
}

/// Writes one datagram after the other.
#[derive(Clone, Debug)]
pub struct DatagramWriter {
    /// Number of the next datagram.
    pub sequence: u32,
    agent: IpAddr,
    sub_agent: u32,
    out: Vec<u8>,
    samples: u32,
    /// Where the number of samples is written, behind sequence number and uptime.
    count_at: usize,
}

impl DatagramWriter {
    /// A writer of this agent; nothing is begun.
    pub const fn new(agent: IpAddr, sub_agent: u32) -> Self {
        Self { sequence: 0, agent, sub_agent, out: Vec::new(), samples: 0, count_at: 0 }
    }

    /// Begins a datagram of version 5.
    pub fn begin(&mut self) {
        self.header(5);
        push_u32(&mut self.out, self.sub_agent);
        self.counts();
    }

    /// Begins a datagram of version 4, to which [`Self::flow_v4`] adds samples.
    pub fn begin_v4(&mut self) {
        self.header(4);
        self.counts();
    }

    /// Samples in the datagram so far.
    pub const fn samples(&self) -> u32 {
        self.samples
    }

    /// Bytes of the datagram so far.
    pub const fn len(&self) -> usize {
        self.out.len()
    }

    /// Was no sample added since the beginning of the datagram?
    pub const fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Adds a sampled packet: format 1 or 3.
    pub fn flow(&mut self, layout: Layout, sample: &FlowSample, records: &[Record<'_>]) {
        let format = if layout == Layout::Compact { 1 } else { 3 };
        self.sample(DataFormat::standard(format), |out| {
            let FlowSample { sequence, source, sampling_rate, sample_pool, drops, .. } = *sample;
            push_u32(out, sequence);
            push_source(layout, source, out);
            push_words(&[sampling_rate, sample_pool, drops], out);
            for interface in [sample.input, sample.output] {
                let (format, value) = interface_words(interface);
                match layout {
                    Layout::Compact => push_u32(out, format << 30 | value & INTERNAL),
                    Layout::Expanded => push_words(&[format, value], out),
                }
            }
            push_records(records, out);
        });
    }

    /// Adds an interface's counters: format 2 or 4.
    pub fn counters(
        &mut self,
        layout: Layout,
        sequence: u32,
        source: DataSource,
        counters: &InterfaceCounters,
    ) {
        let format = if layout == Layout::Compact { 2 } else { 4 };
        self.sample(DataFormat::standard(format), |out| {
            push_u32(out, sequence);
            push_source(layout, source, out);
            push_u32(out, 1);
            push_tagged(DataFormat::standard(1), out, |out| push_counters(counters, out));
        });
    }

    /// Adds a discarded packet: format 5.
    pub fn discard(&mut self, sample: &DiscardSample, records: &[Record<'_>]) {
        self.sample(DataFormat::standard(5), |out| {
            let DiscardSample { sequence, source, drops, input, output, reason } = *sample;
            push_words(&[sequence, source.class, source.index, drops], out);
            push_words(&[interface_words(input).1, interface_words(output).1, reason.0], out);
            push_records(records, out);
        });
    }

    /// Adds a sample of any format, whose bytes `body` appends; its length is filled in.
    pub fn sample(&mut self, format: DataFormat, body: impl FnOnce(&mut Vec<u8>)) {
        push_tagged(format, &mut self.out, body);
        self.samples = self.samples.wrapping_add(1);
    }

    /// Adds a sampled header to a datagram of version 4, which has no place for what was stripped.
    pub fn flow_v4(&mut self, sample: &FlowSample, header: &RawHeader<'_>) {
        /// Types of sample and of packet data in RFC 3176.
        const FLOW: u32 = 1;
        const HEADER: u32 = 1;
        let FlowSample { sequence, source, sampling_rate, sample_pool, drops, .. } = *sample;
        let out = &mut self.out;
        push_words(&[FLOW, sequence], out);
        push_source(Layout::Compact, source, out);
        push_words(&[sampling_rate, sample_pool, drops], out);
        for interface in [sample.input, sample.output] {
            push_u32(
                out,
                match interface {
                    Interface::Index(index) => index,
                    Interface::Multiple(number) => 1 << 31 | number,
                    _ => 0,
                },
            );
        }
        push_words(&[HEADER, header.protocol.0, header.frame_length], out);
        push_opaque(header.header, out);
        push_u32(out, 0); // no extended data
        self.samples = self.samples.wrapping_add(1);
    }

    /// Ends the datagram: number, uptime and number of samples are filled in.
    pub fn finish(&mut self, uptime_ms: u32) -> &[u8] {
        let Self { out, count_at, .. } = self;
        set_u32(out, count_at.saturating_sub(8), self.sequence);
        set_u32(out, count_at.saturating_sub(4), uptime_ms);
        set_u32(out, *count_at, self.samples);
        self.sequence = self.sequence.wrapping_add(1);
        &self.out
    }

    fn header(&mut self, version: u32) {
        self.out.clear();
        self.samples = 0;
        push_u32(&mut self.out, version);
        push_address(Some(self.agent), &mut self.out);
    }

    /// Room for what is filled in at the end.
    fn counts(&mut self) {
        push_words(&[0; 3], &mut self.out);
        self.count_at = self.out.len() - 4;
    }
}

/// A format, the length of what `body` appends, that, and its padding.
fn push_tagged(format: DataFormat, out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    push_words(&[format.enterprise << 12 | format.format & 0xfff, 0], out);
    let start = out.len();
    body(out);
    let length = out.len() - start;
    set_u32(out, start - 4, length as u32);
    pad(length, out);
}

fn push_records(records: &[Record<'_>], out: &mut Vec<u8>) {
    push_u32(out, records.len() as u32);
    for record in records {
        push_tagged(record.format(), out, |out| push_record(record, out));
    }
}

impl Record<'_> {
    fn format(&self) -> DataFormat {
        DataFormat::standard(match self {
            Self::Header(_) => 1,
            Self::Ethernet(_) => 2,
            Self::Ip(packet) if packet.src.is_ipv4() && packet.dst.is_ipv4() => 3,
            Self::Ip(_) => 4,
            Self::Switch(_) => 1001,
            Self::Router(_) => 1002,
            Self::Gateway(_) => 1003,
            Self::Other { format, .. } => return *format,
        })
    }
}

fn push_record(record: &Record<'_>, out: &mut Vec<u8>) {
    match record {
        Record::Header(raw) => {
            push_words(&[raw.protocol.0, raw.frame_length, raw.stripped], out);
            push_opaque(raw.header, out);
        }
        Record::Ethernet(frame) => {
            push_u32(out, frame.length);
            for address in [frame.src, frame.dst] {
                out.extend_from_slice(&address);
                out.extend_from_slice(&[0; 2]);
            }
            push_u32(out, frame.ether_type.into());
        }
        Record::Ip(packet) => push_ip(packet, out),
        Record::Switch(s) => {
            push_words(&[s.src_vlan, s.src_priority, s.dst_vlan, s.dst_priority], out);
        }
        Record::Router(router) => {
            push_address(router.next_hop, out);
            push_words(&[router.src_mask_bits, router.dst_mask_bits], out);
        }
        Record::Gateway(gateway) => push_gateway(gateway, out),
        Record::Other { data, .. } => out.extend_from_slice(data),
    }
}

fn push_ip(packet: &IpPacket, out: &mut Vec<u8>) {
    push_words(&[packet.length, packet.protocol.into()], out);
    if let (IpAddr::V4(src), IpAddr::V4(dst)) = (packet.src, packet.dst) {
        out.extend_from_slice(&src.octets());
        out.extend_from_slice(&dst.octets());
    } else {
        for address in [packet.src, packet.dst] {
            let octets = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            out.extend_from_slice(&octets);
        }
    }
    push_words(&[packet.src_port.into(), packet.dst_port.into()], out);
    push_words(&[packet.tcp_flags.into(), packet.tos.into()], out);
}

fn push_gateway(gateway: &Gateway<'_>, out: &mut Vec<u8>) {
    push_address(gateway.next_hop, out);
    push_words(&[gateway.own_as, gateway.source_as, gateway.source_peer_as], out);
    push_u32(out, gateway.destination_path.len() as u32);
    for (kind, members) in gateway.destination_path {
        push_u32(
            out,
            match kind {
                SegmentKind::Set => 1,
                SegmentKind::Sequence => 2,
                SegmentKind::Other(number) => *number,
            },
        );
        push_list(members, out);
    }
    push_list(gateway.communities, out);
    push_u32(out, gateway.local_pref);
}

fn push_counters(c: &InterfaceCounters, out: &mut Vec<u8>) {
    push_words(&[c.index, c.kind], out);
    push_u64(c.speed_bps, out);
    push_words(&[c.direction, c.status], out);
    push_u64(c.in_octets, out);
    push_words(&[c.in_unicast, c.in_multicast, c.in_broadcast], out);
    push_words(&[c.in_discards, c.in_errors, c.in_unknown_protocols], out);
    push_u64(c.out_octets, out);
    push_words(&[c.out_unicast, c.out_multicast, c.out_broadcast], out);
    push_words(&[c.out_discards, c.out_errors, c.promiscuous], out);
}

fn push_source(layout: Layout, source: DataSource, out: &mut Vec<u8>) {
    match layout {
        Layout::Compact => push_u32(out, source.class << 24 | source.index & 0x00ff_ffff),
        Layout::Expanded => push_words(&[source.class, source.index], out),
    }
}

/// Format and value of an interface.
const fn interface_words(interface: Interface) -> (u32, u32) {
    match interface {
        Interface::Unknown => (0, 0),
        Interface::Index(index) => (0, index),
        Interface::Internal => (0, INTERNAL),
        Interface::Discarded(reason) => (1, reason.0),
        Interface::Multiple(number) => (2, number),
        Interface::Reserved { format, value } => (format, value),
    }
}

fn push_address(address: Option<IpAddr>, out: &mut Vec<u8>) {
    match address {
        None => push_u32(out, 0),
        Some(IpAddr::V4(address)) => {
            push_u32(out, 1);
            out.extend_from_slice(&address.octets());
        }
        Some(IpAddr::V6(address)) => {
            push_u32(out, 2);
            out.extend_from_slice(&address.octets());
        }
    }
}

/// A length, so many bytes, and their padding.
fn push_opaque(bytes: &[u8], out: &mut Vec<u8>) {
    push_u32(out, bytes.len() as u32);
    out.extend_from_slice(bytes);
    pad(bytes.len(), out);
}

fn push_list(words: &[u32], out: &mut Vec<u8>) {
    push_u32(out, words.len() as u32);
    push_words(words, out);
}

fn push_words(words: &[u32], out: &mut Vec<u8>) {
    for word in words {
        push_u32(out, *word);
    }
}

fn push_u64(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Zeros behind `length` bytes, up to a whole word.
fn pad(length: usize, out: &mut Vec<u8>) {
    out.resize(out.len() + length.wrapping_neg() % 4, 0);
}
