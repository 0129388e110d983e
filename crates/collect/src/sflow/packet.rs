//! The packet that a sample is about: from its sampled header or from the fields that an agent
//! sends instead, with what the extended records add.

use tidewall_model::{Address, DropReason, FlowRecord, TcpFlags};
use tidewall_wire::frame::{self, Frame, IpVersion, LengthMode, LinkType, TunnelPolicy};
use tidewall_wire::sflow::{
    EthernetFrame, FlowData, FlowRecords, Gateway, HeaderProtocol, IpPacket, RawHeader, SflowError,
    SwitchData,
};

use crate::frame::{drop_reason, link_bytes, record_of};
use crate::{FlowDetail, FlowNote, FlowSink, SampledHeader};

/// Which packet of a frame counts, and how long it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    pub(super) tunnels: TunnelPolicy,
    pub(super) length: LengthMode,
    pub(super) larger_length: bool,
}

/// What the records of a sample tell.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    /// The packet's record, without what the sample itself says.
    pub(super) packet: Option<FlowRecord>,
    /// The header that it was read from.
    pub(super) header: Option<SampledHeader<'a>>,
    /// Octets of the frame as an interface counts them; 0 when nothing tells.
    pub(super) octets: u32,
    /// The first record that could not be read.
    pub(super) error: Option<SflowError>,
    /// How many could not be read.
    pub(super) damaged: u32,
    /// Why the first sampled header gave no packet.
    unreadable: Option<DropReason>,
    /// The VLAN tag was in the sampled header.
    tagged: bool,
    ethernet: Option<EthernetFrame>,
    ip: Option<IpPacket>,
    switch: Option<SwitchData>,
}

/// What nearly all samples are: the header of an IP packet in front. The record without what the
/// sample itself says, the octets of the frame, and the header; `None` for all others, which
/// [`read`] takes, and it would read these alike (a test holds the two against each other).
#[expect(clippy::inline_always, reason = "a record that is copied costs as much as making it")]
#[inline(always)]
pub(super) fn read_plain(
    mut records: FlowRecords<'_>,
    measure: Measure,
) -> Option<(FlowRecord, u32, SampledHeader<'_>)> {
    let raw = records.next_header()?;
    let link = raw.protocol.link_type()?;
    let frame = frame::dissect(link, raw.header, &measure.tunnels).ok()?;
    let mut record = record_of(&frame, measure.bytes(&frame, wire_length(&raw)));
    if frame.vlan_tags == 0 && records.left() > 0 {
        record.vlan = records.next_switch().ok()?.map_or(0, |switch| vlan(&switch));
    }
    Some((record, raw.frame_length, sampled(link, &raw)))
}

/// Reads the records of a sample. `detail` is filled where the sink wants it; where it does not,
/// records behind those that are counted are left unread.
pub(super) fn read<'a, S: FlowSink>(
    records: FlowRecords<'a>,
    measure: Measure,
    detail: &mut FlowDetail,
) -> Told<'a> {
    let mut told = Told::default();
    for record in records {
        match record {
            Ok(FlowData::Header(raw)) if told.packet.is_none() => {
                told.header::<S>(&raw, measure, detail);
                if !S::DETAIL && told.tagged {
                    break;
                }
            }
            other => told.extended::<S>(other, detail),
        }
    }
    if told.packet.is_none() {
        told.described::<S>(measure, detail);
    }
    if let Some(record) = &mut told.packet
        && !told.tagged
    {
        record.vlan = told.switch.as_ref().map_or(0, vlan);
    }
    told
}

impl<'a> Told<'a> {
    /// Why there is no packet.
    pub(super) fn reason(&self) -> DropReason {
        match self.unreadable {
            Some(reason) => reason,
            None if self.damaged > 0 => DropReason::SampleMalformed,
            None => DropReason::SampleWithoutPacket,
        }
    }

    fn header<S: FlowSink>(
        &mut self,
        raw: &RawHeader<'a>,
        measure: Measure,
        detail: &mut FlowDetail,
    ) {
        self.octets = self.octets.max(raw.frame_length);
        let Some(link) = raw.protocol.link_type() else {
            self.unreadable.get_or_insert(DropReason::UnknownLinkType);
            return;
        };
        match frame::dissect(link, raw.header, &measure.tunnels) {
            Ok(frame) => {
                self.tagged = frame.vlan_tags > 0;
                let bytes = measure.bytes(&frame, wire_length(raw));
                self.packet = Some(record_of(&frame, bytes));
                self.header = Some(sampled(link, raw));
                if S::DETAIL {
                    describe(raw, &frame, detail);
                }
            }
            Err(error) => {
                self.unreadable.get_or_insert(drop_reason(&error));
            }
        }
    }

    /// Any record but the header that counts.
    #[inline(never)]
    fn extended<S: FlowSink>(
        &mut self,
        record: Result<FlowData<'a>, SflowError>,
        detail: &mut FlowDetail,
    ) {
        match record {
            Ok(FlowData::Ethernet(frame)) => self.ethernet = Some(frame),
            Ok(FlowData::Ip(ip)) => self.ip = Some(ip),
            Ok(FlowData::Switch(switch)) => {
                self.switch.get_or_insert(switch);
            }
            Ok(FlowData::Router(router)) if S::DETAIL => {
                detail.next_hop = router.next_hop.or(detail.next_hop);
            }
            Ok(FlowData::Gateway(gateway)) if S::DETAIL => route(&gateway, detail),
            Ok(_) => {}
            Err(error) => {
                self.damaged += 1;
                self.error.get_or_insert(error);
            }
        }
    }

    /// The packet of an agent that describes it instead of copying its header.
    fn described<S: FlowSink>(&mut self, measure: Measure, detail: &mut FlowDetail) {
        if S::DETAIL
            && let Some(frame) = &self.ethernet
        {
            detail.mac = Some((frame.src, frame.dst));
        }
        let on_wire = self.ethernet.map_or(0, |frame| frame.length);
        self.octets = self.octets.max(on_wire);
        let Some(ip) = &self.ip else { return };
        let (src, dst) = (Address::from(ip.src), Address::from(ip.dst));
        let bytes = match measure.length {
            LengthMode::Wire if on_wire > 0 => measure.larger(on_wire, ip.length),
            _ => ip.length,
        };
        self.octets = self.octets.max(ip.length);
        if S::DETAIL {
            detail.tos = ip.tos;
        }
        self.packet = Some(FlowRecord {
            src: src.bits,
            dst: dst.bits,
            bytes: u64::from(bytes),
            src_port: ip.src_port,
            dst_port: ip.dst_port,
            tcp_flags: TcpFlags(ip.tcp_flags & 0x0fff),
            link_bytes: link_bytes(bytes, ip.length),
            family: src.family,
            protocol: ip.protocol,
            ..FlowRecord::default()
        });
    }
}

impl Measure {
    #[inline]
    fn bytes(self, frame: &Frame, wire_length: u32) -> u32 {
        self.larger(frame.length(self.length, wire_length), frame.ip_length)
    }

    #[inline]
    fn larger(self, length: u32, ip_length: u32) -> u32 {
        if self.larger_length { length.max(ip_length) } else { length }
    }
}

/// The frame's length on the wire, as the agent states it: with its check sequence, as counters of
/// interfaces have it, and with all that was stripped before the header was copied.
#[inline]
fn wire_length(raw: &RawHeader<'_>) -> u32 {
    match raw.frame_length {
        0 => raw.header.len() as u32,
        length => length,
    }
}

#[inline]
fn sampled<'a>(link: LinkType, raw: &RawHeader<'a>) -> SampledHeader<'a> {
    SampledHeader { link, wire_length: wire_length(raw), bytes: raw.header }
}

/// The incoming VLAN; 0 stands for untagged and all ones for unknown.
fn vlan(switch: &SwitchData) -> u16 {
    match switch.src_vlan {
        id @ 1..=0x0fff => id as u16,
        _ => 0,
    }
}

/// What a header has that is not counted.
fn describe(raw: &RawHeader<'_>, frame: &Frame, detail: &mut FlowDetail) {
    detail.note = detail.note.and(FlowNote::PACKET);
    if raw.protocol == HeaderProtocol::ETHERNET
        && let Some(&[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]) = raw.header.first_chunk()
    {
        detail.mac = Some(([s0, s1, s2, s3, s4, s5], [d0, d1, d2, d3, d4, d5]));
    }
    let ip = raw.header.get(frame.ip_offset as usize..).unwrap_or_default();
    if let Some(&[first, second]) = ip.first_chunk() {
        detail.tos = match frame.version {
            IpVersion::V4 => second,
            IpVersion::V6 => first << 4 | second >> 4,
        };
    }
}

/// AS numbers: a source AS of 0 and an empty path to the destination stand for the agent's own.
fn route(gateway: &Gateway<'_>, detail: &mut FlowDetail) {
    detail.src_as = match gateway.source_as {
        0 => gateway.own_as,
        other => other,
    };
    detail.dst_as = gateway.destination_as().unwrap_or(gateway.own_as);
    detail.next_hop = detail.next_hop.or(gateway.next_hop);
}
