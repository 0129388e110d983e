//! The numbers of a record to a flow: which of its addresses count, what its ports and flags mean,
//! and what is left out of the counters and why.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::slice::ChunksExact;

use tidewall_model::{
    DropCounters, DropReason, Family, FlowRecord, Forwarding, Fragment, SamplingRate, TcpFlags,
    Timestamp, protocol,
};
use tidewall_wire::frame::LinkType;

use super::clock::{Clock, Lasted};
use super::compiled::{Form, Gathered, SectionKind, Slot, Slots, Values};
use super::events::{self, LastUpdate};
use super::sampling::{Choice, Found, Rates, SamplingTable};
use super::{NetflowSettings, State};
use crate::{FlowDetail, FlowNote, FlowSink, FrameCollector, SamplingOrigin, drop_reason};

const V4: Slots = Slots::of([Slot::Src4, Slot::Dst4]);
const V6: Slots = Slots::of([Slot::Src6, Slot::Dst6]);
const PROTOCOL: Slots = Slots::of([Slot::Protocol]);
const BACK: Slots = Slots::of([Slot::BackPackets, Slot::BackBytes]);
const NEXT_HOP_V4: Slots = Slots::of([Slot::NextHop4]);
const NEXT_HOP_V6: Slots = Slots::of([Slot::NextHop6]);
const MAC: Slots = Slots::of([Slot::SrcMac, Slot::DstMac]);
const INPUT_IF: Slots = Slots::of([Slot::InputIf]);
const OUTPUT_IF: Slots = Slots::of([Slot::OutputIf]);
const ICMP: Slots = Slots::of([Slot::Icmp4, Slot::Icmp6, Slot::Icmp4Type, Slot::Icmp6Type]);
/// Elements that few templates have.
const RARE: Slots = Slots::of([
    Slot::UdpSrcPort,
    Slot::UdpDstPort,
    Slot::TcpSrcPort,
    Slot::TcpDstPort,
    Slot::PostPackets,
    Slot::PostBytes,
    Slot::DroppedPackets,
    Slot::DroppedBytes,
]);

/// What a datagram says of its records, and what a set keeps while it waits for its template.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    /// When the datagram was received.
    pub(super) received: Timestamp,
    pub(super) clock: Clock,
    /// Did the set wait?
    pub(super) held: bool,
}

/// What reads the records of one datagram, and those that waited for its templates.
pub(super) struct Reader<'a, S> {
    pub(super) settings: &'a NetflowSettings,
    pub(super) state: &'a mut State,
    /// What domain 0 of the exporter says about sampling.
    pub(super) common: &'a SamplingTable,
    pub(super) drops: &'a mut DropCounters,
    pub(super) sequence: &'a mut u64,
    pub(super) frames: &'a mut FrameCollector,
    /// Sampling entries that all exporters together may still learn.
    pub(super) room: &'a mut usize,
    pub(super) sink: &'a mut S,
    pub(super) detail: FlowDetail,
    pub(super) tally: Tally,
}

/// Sums of one datagram.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) flows: u64,
    pub(super) options: u64,
    pub(super) longest_ms: u32,
    pub(super) absurd: u64,
    rates: [Option<Found>; 4],
    last_update: LastUpdate,
}

impl<S: FlowSink> Reader<'_, S> {
    /// The records of a set, and their number; `None` when that is not known.
    pub(super) fn data(&mut self, form: &Form, body: &[u8], context: &Context) -> Option<u32> {
        let mut choice = self.rates().choice(form);
        let number = match form.length {
            Some(length) => {
                let records = body.chunks_exact(length);
                let number = records.len() as u32;
                if form.narrow {
                    self.narrow(form, records, context, &mut choice);
                } else {
                    for record in records {
                        self.flow(form, form.values(record), context, &mut choice);
                    }
                }
                number
            }
            None => self.data_by_field(form, body, context, &mut choice)?,
        };
        if number != 0 && !choice.by_record {
            self.heard(choice.rest, context.received);
        }
        Some(number)
    }

    /// Records of fixed length with uncommonly short numbers.
    #[inline(never)]
    fn narrow(
        &mut self,
        form: &Form,
        records: ChunksExact<'_, u8>,
        context: &Context,
        choice: &mut Choice,
    ) {
        let mut gathered = Gathered::new();
        for record in records {
            gathered.copy(form.values(record));
            self.gathered(form, gathered.values(), context, choice);
        }
    }

    /// Records with values of variable length, or with packets in them.
    #[inline(never)]
    fn data_by_field(
        &mut self,
        form: &Form,
        body: &[u8],
        context: &Context,
        choice: &mut Choice,
    ) -> Option<u32> {
        let mut number = 0;
        let mut gathered = Gathered::new();
        for record in form.plan.records(body, 0) {
            let Ok(record) = record else {
                self.drop(DropReason::RecordMalformed);
                return None;
            };
            let packet = gathered.fill(&form.targets, record.fields());
            let values = gathered.values();
            if let Some((bytes, kind)) = packet.zip(form.section) {
                self.packet(form, values, bytes, kind, context, choice);
            } else {
                self.gathered(form, values, context, choice);
            }
            number += 1;
        }
        Some(number)
    }

    fn rates(&self) -> Rates<'_> {
        Rates { tables: [&self.state.sampling, self.common], configured: self.state.configured }
    }

    #[inline]
    fn rate(
        &mut self,
        form: &Form,
        values: Values<'_>,
        context: &Context,
        choice: &mut Choice,
    ) -> Found {
        if !choice.by_record {
            return choice.rest;
        }
        match choice.again(values) {
            Some(found) => found,
            None => self.rate_of_record(form, values, context, choice),
        }
    }

    #[inline(never)]
    fn rate_of_record(
        &mut self,
        form: &Form,
        values: Values<'_>,
        context: &Context,
        choice: &mut Choice,
    ) -> Found {
        let found = self.rates().of_record(form, values, choice.rest);
        choice.keep(values, found);
        self.heard(found, context.received);
        found
    }

    /// Tells the exporter's health about a rate, once a datagram.
    #[inline]
    pub(super) fn heard(&mut self, found: Found, now: Timestamp) {
        if self.tally.rates.first() != Some(&Some(found)) {
            self.heard_other(found, now);
        }
    }

    #[inline(never)]
    fn heard_other(&mut self, found: Found, now: Timestamp) {
        if self.tally.rates.contains(&Some(found)) {
            return;
        }
        self.tally.rates.rotate_right(1);
        if let Some(first) = self.tally.rates.first_mut() {
            *first = Some(found);
        }
        self.state.health.sampling(found.0, found.1, now);
    }

    /// Counts something that gives no record.
    pub(super) fn drop(&mut self, reason: DropReason) {
        self.state.health.drop(reason, 1);
        self.drops.count(reason);
    }

    #[inline(never)]
    fn gathered(
        &mut self,
        form: &Form,
        values: Values<'_>,
        context: &Context,
        choice: &mut Choice,
    ) {
        self.flow(form, values, context, choice);
    }

    #[expect(clippy::inline_always, reason = "a record that is copied costs as much as making it")]
    #[inline(always)]
    fn flow(&mut self, form: &Form, values: Values<'_>, context: &Context, choice: &mut Choice) {
        let (sampling, origin) = self.rate(form, values, context, choice);
        let lasted = context.clock.lasted(form.times, values);
        self.tally.longest_ms = self.tally.longest_ms.max(lasted.ms);
        self.tally.absurd += u64::from(lasted.absurd);
        self.detail.duration_ms = lasted.ms;
        if S::DETAIL {
            self.describe(form, values, context, lasted, origin);
        }
        if !events::may_be_event(form) && !form.has(BACK) && !form.has(RARE) {
            let record = record(form, values, context.received, sampling);
            if record.packets != 0 && (record.src | record.dst) != 0 {
                self.note(&record);
                return self.give(&record);
            }
        }
        self.judge(form, values, context, sampling);
    }

    /// What the record itself says of a flow that is described.
    #[inline]
    fn note(&mut self, record: &FlowRecord) {
        if S::DETAIL && record.forwarding == Forwarding::Dropped {
            self.detail.note = self.detail.note.and(FlowNote::DROPPED);
        }
    }

    /// A record that is not plain traffic, or has more than others.
    #[inline(never)]
    fn judge(
        &mut self,
        form: &Form,
        values: Values<'_>,
        context: &Context,
        sampling: SamplingRate,
    ) {
        let mut record = record(form, values, context.received, sampling);
        if form.has(RARE) {
            rare(form, values, &mut record);
        }
        self.note(&record);
        let mut verdict = Ok(());
        if events::may_be_event(form) {
            let policy = self.settings.firewall_events;
            let (note, said) = events::verdict(values, policy, &mut self.tally.last_update);
            self.detail.note = self.detail.note.and(note);
            verdict = said;
        }
        let back = (values.get(Slot::BackPackets), values.get(Slot::BackBytes));
        let back = Some(back).filter(|_| form.has(BACK)).filter(|back| *back != (0, 0));
        if verdict.is_ok() && record.src | record.dst == 0 {
            verdict = Err(DropReason::RecordWithoutAddresses);
        }
        let empty = record.packets == 0 && record.bytes == 0;
        if verdict.is_ok() && empty && back.is_none() {
            verdict = Err(DropReason::RecordWithoutPackets);
        }
        if let Err(reason) = verdict {
            self.drop(reason);
            if S::DETAIL {
                self.sink.refused(reason, &record, &self.detail);
            }
            return;
        }
        if !empty {
            record.packets = record.packets.max(1);
            self.give(&record);
        }
        if let Some((packets, bytes)) = back {
            self.detail.turn();
            let flags = TcpFlags((values.get(Slot::BackTcpFlags) & 0xfff) as u16);
            self.give(&turned(&record, packets.max(1), bytes, flags));
        }
    }

    /// A sampled packet in a record.
    #[inline(never)]
    fn packet(
        &mut self,
        form: &Form,
        values: Values<'_>,
        bytes: &[u8],
        kind: SectionKind,
        context: &Context,
        choice: &mut Choice,
    ) {
        let link = match (kind, values.get(Slot::FrameType)) {
            (SectionKind::Ip, _) => LinkType::RAW,
            // Element 408; most do not say.
            (SectionKind::Frame, 0 | 1) => LinkType::ETHERNET,
            (SectionKind::Frame, 2) => LinkType::IEEE802_11,
            (SectionKind::Frame, _) => LinkType(u32::MAX),
        };
        let frame = match self.frames.dissect(link, bytes) {
            Ok(frame) => frame,
            // The record may say the same in fields of its own.
            Err(_) if form.has(V4) || form.has(V6) => {
                return self.gathered(form, values, context, choice);
            }
            Err(error) => {
                let reason = drop_reason(&error);
                let (sampling, origin) = self.rate(form, values, context, choice);
                self.drop(reason);
                if S::DETAIL {
                    self.describe(form, values, context, Lasted::default(), origin);
                    let record = record(form, values, context.received, sampling);
                    self.sink.refused(reason, &record, &self.detail);
                }
                return;
            }
        };
        let (sampling, origin) = self.rate(form, values, context, choice);
        // Without the frame's size, the packet's length by its own header says more than what was
        // captured of it.
        let size = match values.get(Slot::FrameSize) {
            0 => (bytes.len() as u32).max(frame.ip_offset.saturating_add(frame.ip_length)),
            size => u32::try_from(size).unwrap_or(u32::MAX),
        };
        let mut record = self.frames.accept(&frame, context.received, size);
        record.sampling = sampling;
        record.forwarding = forwarding(values.byte(Slot::Forwarding));
        self.detail.duration_ms = 0;
        if S::DETAIL {
            self.describe(form, values, context, Lasted::default(), origin);
            self.detail.note = self.detail.note.and(FlowNote::PACKET);
        }
        self.note(&record);
        self.give(&record);
    }

    #[inline]
    pub(super) fn give(&mut self, record: &FlowRecord) {
        let record = FlowRecord { seq: *self.sequence, ..*record };
        *self.sequence += 1;
        self.tally.flows += 1;
        self.sink.flow(&record, &self.detail);
    }

    /// Fills the detail of a record.
    #[inline(never)]
    fn describe(
        &mut self,
        form: &Form,
        values: Values<'_>,
        context: &Context,
        lasted: Lasted,
        origin: SamplingOrigin,
    ) {
        let number = |has: Slots, slot| form.has(has).then(|| values.get(slot) as u32);
        let mac = |slot| {
            let [_, _, mac @ ..] = values.get(slot).to_be_bytes();
            mac
        };
        let v6 = values.address(Slot::NextHop6);
        let next_hop = if form.has(NEXT_HOP_V6) && (v6 != 0 || !form.has(NEXT_HOP_V4)) {
            Some(IpAddr::V6(Ipv6Addr::from_bits(v6)))
        } else {
            let v4 = Ipv4Addr::from_bits(values.get(Slot::NextHop4) as u32);
            form.has(NEXT_HOP_V4).then_some(IpAddr::V4(v4))
        };
        let span = context.clock.span(form.times, values, lasted);
        let mut note = FlowNote::NONE;
        if lasted.absurd {
            note = note.and(FlowNote::CLAMPED);
        }
        if context.held {
            note = note.and(FlowNote::HELD);
        }
        self.detail = FlowDetail {
            exporter: self.detail.exporter,
            domain: self.detail.domain,
            input_if: number(INPUT_IF, Slot::InputIf),
            output_if: number(OUTPUT_IF, Slot::OutputIf),
            src_as: values.get(Slot::SrcAs) as u32,
            dst_as: values.get(Slot::DstAs) as u32,
            next_hop,
            mac: form.has(MAC).then(|| (mac(Slot::SrcMac), mac(Slot::DstMac))),
            tos: values.get(Slot::Tos) as u8,
            start: span.start,
            end: span.end,
            duration_ms: lasted.ms,
            sampling: origin,
            note,
        };
    }
}

/// What many templates have.
#[expect(clippy::inline_always, reason = "a record that is copied costs as much as making it")]
#[inline(always)]
fn record(form: &Form, values: Values<'_>, time: Timestamp, sampling: SamplingRate) -> FlowRecord {
    let (family, src, dst) = addresses(form, values);
    let protocol = values.byte(Slot::Protocol);
    let (packets, bytes) = (values.get(Slot::Packets), values.get(Slot::Bytes));
    // Some exporters fill the flags of other protocols with whatever is there.
    let tcp = protocol == protocol::TCP || !form.has(PROTOCOL);
    let flags = if tcp { values.get(Slot::TcpFlags) & 0xfff } else { 0 };
    let mut record = FlowRecord {
        time,
        seq: 0,
        src,
        dst,
        packets: if packets == 0 && bytes != 0 { 1 } else { packets },
        bytes,
        sampling,
        src_port: values.two_bytes(Slot::SrcPort),
        dst_port: values.two_bytes(Slot::DstPort),
        tcp_flags: TcpFlags(flags as u16),
        // The identifier without priority and drop bits.
        vlan: values.two_bytes(Slot::Vlan) & 0xfff,
        link_bytes: 0,
        family,
        protocol,
        ttl: values.byte(Slot::Ttl),
        fragment: fragment(
            values.two_bytes(Slot::FragmentOffset),
            values.byte(Slot::FragmentFlags),
        ),
        forwarding: forwarding(values.byte(Slot::Forwarding)),
    };
    if form.has(ICMP)
        && record.is_icmp()
        && let Some(type_and_code) = icmp(form, values, family)
    {
        record.dst_port = type_and_code;
    }
    record
}

/// The addresses. Templates with both versions leave one of them zero in each record, or say which
/// one counts in element 60.
#[expect(clippy::inline_always, reason = "a record that is copied costs as much as making it")]
#[inline(always)]
fn addresses(form: &Form, values: Values<'_>) -> (Family, u128, u128) {
    let v4 = || {
        let (src, dst) = (values.four_bytes(Slot::Src4), values.four_bytes(Slot::Dst4));
        (Family::V4, u128::from(src), u128::from(dst))
    };
    if !form.has(V6) {
        return v4();
    }
    let (src, dst) = (values.address(Slot::Src6), values.address(Slot::Dst6));
    let is_v6 = !form.has(V4)
        || match values.get(Slot::IpVersion) {
            4 => false,
            6 => true,
            _ => src | dst != 0,
        };
    if is_v6 { (Family::V6, src, dst) } else { v4() }
}

/// What few templates have.
#[inline(never)]
fn rare(form: &Form, values: Values<'_>, record: &mut FlowRecord) {
    const TYPED_PORTS: Slots =
        Slots::of([Slot::UdpSrcPort, Slot::UdpDstPort, Slot::TcpSrcPort, Slot::TcpDstPort]);
    const PORTS: Slots = Slots::of([Slot::SrcPort, Slot::DstPort]);
    let number = |slot| values.get(slot) as u16;
    if form.has(TYPED_PORTS) && !form.has(PORTS) {
        let udp = (number(Slot::UdpSrcPort), number(Slot::UdpDstPort));
        let tcp = (number(Slot::TcpSrcPort), number(Slot::TcpDstPort));
        if !form.has(PROTOCOL) {
            record.protocol = match (udp, tcp) {
                ((0, 0), (0, 0)) => 0,
                (_, (0, 0)) => protocol::UDP,
                _ => protocol::TCP,
            };
        }
        (record.src_port, record.dst_port) = match record.protocol {
            protocol::UDP => udp,
            protocol::TCP => tcp,
            // Of ICMP, type and code.
            _ => (record.src_port, record.dst_port),
        };
    }
    let (packets, bytes) = (values.get(Slot::PostPackets), values.get(Slot::PostBytes));
    if record.packets == 0 && record.bytes == 0 && packets | bytes != 0 {
        (record.packets, record.bytes) = (packets.max(1), bytes);
    }
    let (packets, bytes) = (values.get(Slot::DroppedPackets), values.get(Slot::DroppedBytes));
    if record.packets == 0 && record.bytes == 0 && packets | bytes != 0 {
        (record.packets, record.bytes) = (packets.max(1), bytes);
        record.forwarding = Forwarding::Dropped;
    } else if packets != 0 && packets >= record.packets {
        record.forwarding = Forwarding::Dropped;
    }
}

/// The offset without flags that some leave in its upper bits. Bit 2 of the flags is "more
/// fragments" (element 197 counts from the highest).
#[inline]
fn fragment(offset: u16, flags: u8) -> Fragment {
    match (offset & 0x1fff, flags & 0x20) {
        (0, 0) => Fragment::Whole,
        (0, _) => Fragment::First,
        _ => Fragment::Later,
    }
}

/// Type × 256 + code, from the elements of the record's own IP version.
#[inline(never)]
fn icmp(form: &Form, values: Values<'_>, family: Family) -> Option<u16> {
    let (both, kind, code) = match family {
        Family::V4 => (Slot::Icmp4, Slot::Icmp4Type, Slot::Icmp4Code),
        Family::V6 => (Slot::Icmp6, Slot::Icmp6Type, Slot::Icmp6Code),
    };
    if form.has(Slots::of([both])) {
        return Some(values.get(both) as u16);
    }
    let (kind_of, code) = (values.get(kind) as u8, values.get(code) as u8);
    form.has(Slots::of([kind])).then_some(u16::from_be_bytes([kind_of, code]))
}

/// Element 89: two bits of status above six of a reason. In four bytes (RFC 7270 §4.12) the lowest
/// one has them.
#[inline]
fn forwarding(status: u8) -> Forwarding {
    match status >> 6 {
        1 => Forwarding::Forwarded,
        2 => Forwarding::Dropped,
        3 => Forwarding::Consumed,
        _ => Forwarding::Unknown,
    }
}

/// The way back of a record.
fn turned(record: &FlowRecord, packets: u64, bytes: u64, flags: TcpFlags) -> FlowRecord {
    // Of ICMP the type and code of the way back are not known.
    let (src_port, dst_port) =
        if record.is_icmp() { (0, 0) } else { (record.dst_port, record.src_port) };
    FlowRecord {
        src: record.dst,
        dst: record.src,
        src_port,
        dst_port,
        packets,
        bytes,
        tcp_flags: flags,
        ttl: 0,
        ..*record
    }
}

impl FlowDetail {
    /// The detail of the way back.
    fn turn(&mut self) {
        std::mem::swap(&mut self.input_if, &mut self.output_if);
        std::mem::swap(&mut self.src_as, &mut self.dst_as);
        self.mac = self.mac.map(|(src, dst)| (dst, src));
        self.next_hop = None;
        self.note = self.note.and(FlowNote::REVERSE);
    }
}
