//! A template as records are read through it: a short list of where each number that means
//! something lies, made once. Reading a record fills an array of numbers on the stack; which
//! element feeds which of them, and what takes precedence where a template says a thing twice, has
//! been decided before the first record comes.

use tidewall_wire::netflow::{
    Element, Fields, Place, Plan, Role, Template, TemplateKind, VARIABLE_LENGTH, read_uint,
};

use super::clock::{Times, Unit};
use super::templates::Compile;

/// Numbers that a record can hold, each with its place in [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Slot {
    Src4,
    Dst4,
    /// The upper half of an IPv6 address; the lower one is in the next place.
    Src6,
    Dst6 = Self::Src6 as u8 + 2,
    IpVersion = Self::Dst6 as u8 + 2,
    Protocol,
    SrcPort,
    DstPort,
    UdpSrcPort,
    UdpDstPort,
    TcpSrcPort,
    TcpDstPort,
    TcpFlags,
    Vlan,
    Ttl,
    FragmentOffset,
    FragmentFlags,
    Forwarding,
    Icmp4,
    Icmp6,
    Icmp4Type,
    Icmp4Code,
    Icmp6Type,
    Icmp6Code,
    Packets,
    Bytes,
    /// Behind the router, where the template has others too.
    PostPackets,
    PostBytes,
    DroppedPackets,
    DroppedBytes,
    /// Of the way back: reverse elements, or the responder's counters.
    BackPackets,
    BackBytes,
    BackTcpFlags,
    Start,
    End,
    /// Time of the event or observation that the record is about.
    Observed,
    Duration,
    /// Time when the uptime was zero.
    Boot,
    Rate,
    PacketInterval,
    PacketSpace,
    PacketsObserved,
    PacketsSelected,
    Sampler,
    InputIf,
    NatEvent,
    FirewallEvent,
    FirewallReason,
    FlowId,
    /// Full length of a sampled frame.
    FrameSize,
    FrameType,
    /// Not a number: bytes of a packet.
    Section,
    OutputIf,
    SrcAs,
    DstAs,
    NextHop4,
    NextHop6,
    SrcMac = Self::NextHop6 as u8 + 2,
    DstMac,
    Tos,
}

const SLOTS: usize = 64;

/// A set of slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slots(u64);

impl Slots {
    pub(super) const fn of<const N: usize>(slots: [Slot; N]) -> Self {
        let (mut bits, mut rest) = (0, slots.as_slice());
        while let Some((first, behind)) = rest.split_first() {
            bits |= 1 << *first as u8;
            rest = behind;
        }
        Self(bits)
    }

    const fn insert(&mut self, slot: Slot) {
        self.0 |= 1 << slot as u8;
    }
}

/// Only for those who want the details of a flow.
const DETAIL: Slots = Slots::of([
    Slot::OutputIf,
    Slot::SrcAs,
    Slot::DstAs,
    Slot::NextHop4,
    Slot::NextHop6,
    Slot::SrcMac,
    Slot::DstMac,
    Slot::Tos,
]);

/// The numbers of one record. What its template does not have is 0.
#[derive(Clone, Debug)]
pub(super) struct Values([u64; SLOTS]);

impl Values {
    pub(super) const fn new() -> Self {
        Self([0; SLOTS])
    }

    #[inline]
    pub(super) fn get(&self, slot: Slot) -> u64 {
        self.0.get(slot as usize).copied().unwrap_or(0)
    }

    /// The IPv6 address whose upper half is in `slot`.
    #[inline]
    pub(super) fn address(&self, slot: Slot) -> u128 {
        let low = self.0.get(slot as usize + 1).copied().unwrap_or(0);
        u128::from(self.get(slot)) << 64 | u128::from(low)
    }

    #[inline]
    fn set(&mut self, at: u8, value: u64) {
        // The remainder says what is so anyway, and spares a branch.
        if let Some(slot) = self.0.get_mut(usize::from(at) % SLOTS) {
            *slot = value;
        }
    }

    /// Reads a record of fixed length.
    #[inline]
    pub(super) fn fill(&mut self, steps: &[Step], record: &[u8]) {
        for step in steps {
            let begin = usize::from(step.offset);
            let window = record.get(begin..begin + usize::from(Step::WINDOW));
            let window = window.and_then(|window| window.first_chunk());
            // Steps were made for records of this length.
            let Some(window) = window else { continue };
            let number = u64::from_be_bytes(*window) >> step.right;
            self.set(step.slot, number & step.mask);
        }
    }

    /// Reads a record of any kind, and gives the packet bytes that are in it. A value that is no
    /// number is 0: nothing of the record before may stay.
    pub(super) fn fill_by_field<'a>(
        &mut self,
        targets: &[Option<Slot>],
        fields: Fields<'a, '_>,
    ) -> Option<&'a [u8]> {
        let mut section = None;
        for (field, target) in fields.zip(targets) {
            match *target {
                None => {}
                Some(Slot::Section) => section = Some(field.value),
                Some(slot @ (Slot::Src6 | Slot::Dst6 | Slot::NextHop6)) => {
                    let bits = <[u8; 16]>::try_from(field.value).map_or(0, u128::from_be_bytes);
                    self.set(slot as u8, (bits >> 64) as u64);
                    self.set(slot as u8 + 1, bits as u64);
                }
                Some(slot) => self.set(slot as u8, read_uint(field.value).unwrap_or(0)),
            }
        }
        section
    }
}

/// One number of a record of fixed length: an eight-byte window that has it, what to shift out
/// behind it, and which bits are left then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    mask: u64,
    offset: u16,
    right: u8,
    slot: u8,
}

impl Step {
    const WINDOW: u16 = 8;

    /// `length` is 1 to 8, and the record has at least 8 bytes.
    fn new(slot: u8, offset: u16, length: u16, record_length: u16) -> Self {
        let window = offset.min(record_length - Self::WINDOW);
        // The number ends as many bytes before the end of the window as are behind it there.
        let right = (window + Self::WINDOW - offset - length) * 8;
        let mask = u64::MAX >> ((Self::WINDOW - length) * 8);
        Self { mask, offset: window, right: right as u8, slot }
    }
}

/// Where the packet starts in the bytes of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SectionKind {
    /// At its link header.
    Frame,
    /// At its IP header.
    Ip,
}

/// A compiled template.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) plan: Plan,
    /// Length of every record, where the steps can read it.
    pub(super) length: Option<usize>,
    steps: Box<[Step]>,
    /// How many of the steps are for what is counted; the others are for the details.
    counted: usize,
    /// What each field of the plan feeds.
    pub(super) targets: Box<[Option<Slot>]>,
    present: Slots,
    pub(super) times: Times,
    pub(super) section: Option<SectionKind>,
}

impl Form {
    /// Does the template have any of these?
    #[inline]
    pub(super) const fn has(&self, slots: Slots) -> bool {
        self.present.0 & slots.0 != 0
    }

    /// The steps for all that is wanted.
    #[inline]
    pub(super) fn steps(&self, detail: bool) -> &[Step] {
        if detail { &self.steps } else { self.steps.get(..self.counted).unwrap_or(&self.steps) }
    }
}

impl Compile for Form {
    fn compile(template: &Template) -> Self {
        let plan = Plan::new(template);
        if plan.kind() == TemplateKind::Options {
            return Self {
                plan,
                length: None,
                steps: Box::default(),
                counted: 0,
                targets: Box::default(),
                present: Slots::default(),
                times: Times::default(),
                section: None,
            };
        }
        let places: Vec<Place> = plan.places().collect();
        let chosen = choose(&places);
        let mut form = Self {
            length: plan.fixed_length().filter(|&length| length >= Step::WINDOW).map(usize::from),
            plan,
            steps: Box::default(),
            counted: 0,
            targets: chosen.iter().map(|chosen| chosen.map(|(slot, _)| slot)).collect(),
            present: Slots::default(),
            times: Times::default(),
            section: None,
        };
        for (slot, meaning) in chosen.iter().flatten() {
            form.present.insert(*slot);
            match (slot, meaning) {
                (Slot::Start, Meaning::Time(unit)) => form.times.start = *unit,
                (Slot::End, Meaning::Time(unit)) => form.times.end = *unit,
                (Slot::Observed, Meaning::Time(unit)) => form.times.observed = *unit,
                (Slot::Duration, Meaning::Time(unit)) => form.times.duration = *unit,
                (Slot::Section, Meaning::Packet(kind)) => form.section = Some(*kind),
                _ => {}
            }
        }
        if form.section.is_some() {
            form.length = None;
        }
        if let Some(length) = form.length {
            let (steps, counted) = steps(&places, &form.targets, length as u16);
            (form.steps, form.counted) = (steps, counted);
        }
        form
    }
}

/// The steps for the chosen fields, those for details last, and how many are not.
fn steps(places: &[Place], targets: &[Option<Slot>], length: u16) -> (Box<[Step]>, usize) {
    let (mut counted, mut detail) = (Vec::new(), Vec::new());
    for (place, slot) in places.iter().zip(targets) {
        let Some(slot) = *slot else { continue };
        let steps = if DETAIL.0 & Slots::of([slot]).0 == 0 { &mut counted } else { &mut detail };
        let at = slot as u8;
        if is_long(slot) {
            steps.push(Step::new(at, place.offset, 8, length));
            steps.push(Step::new(at + 1, place.offset + 8, 8, length));
        } else {
            steps.push(Step::new(at, place.offset, place.length, length));
        }
    }
    let first = counted.len();
    counted.append(&mut detail);
    (counted.into(), first)
}

const fn is_long(slot: Slot) -> bool {
    matches!(slot, Slot::Src6 | Slot::Dst6 | Slot::NextHop6)
}

/// What a slot's number is, where that differs by element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Number,
    Time(Unit),
    Packet(SectionKind),
}

/// For each place what it feeds. Of several for one slot the lowest rank is taken and, of equal
/// ones, the first: elements are repeated in the order of the headers in the packet (RFC 7011 §8).
fn choose(places: &[Place]) -> Vec<Option<(Slot, Meaning)>> {
    let mut best = [None::<(u8, usize)>; SLOTS];
    for (index, place) in places.iter().enumerate() {
        let Some((slot, rank, _)) = target(*place) else { continue };
        if let Some(best) = best.get_mut(slot as usize)
            && best.is_none_or(|(known, _)| rank < known)
        {
            *best = Some((rank, index));
        }
    }
    let takes = |slot: Slot, index| {
        best.get(slot as usize).copied().flatten().is_some_and(|(_, at)| at == index)
    };
    // The responder's counters go with the initiator's only: where the forward way is counted by
    // other elements, they are sums that would be counted twice.
    let fed_by = |slot: Slot, element: Element| {
        let at = best.get(slot as usize).copied().flatten();
        at.and_then(|(_, index)| places.get(index)).is_some_and(|place| place.element == element)
    };
    let initiator = fed_by(Slot::Bytes, Element::InitiatorOctets)
        || fed_by(Slot::Packets, Element::InitiatorPackets);
    let choice = |(index, place): (usize, &Place)| {
        let (slot, _, meaning) = target(*place)?;
        let responder =
            matches!(place.element, Element::ResponderOctets | Element::ResponderPackets);
        (takes(slot, index) && (initiator || !responder)).then_some((slot, meaning))
    };
    places.iter().enumerate().map(choice).collect()
}

/// The slot that a place can feed, its rank among all that can, and what the number is.
fn target(place: Place) -> Option<(Slot, u8, Meaning)> {
    let (slot, rank) = match place.role {
        Role::Forward => forward(place.element).or_else(|| time(place.element))?,
        Role::Reverse => reverse(place.element)?,
        Role::Scope => return None,
    };
    let fits = match (slot, place.length) {
        (_, VARIABLE_LENGTH) | (Slot::Section, _) => true,
        (Slot::Src4 | Slot::Dst4 | Slot::NextHop4, length) => (1..=4).contains(&length),
        (slot, length) if is_long(slot) => length == 16,
        (_, length) => (1..=8).contains(&length),
    };
    let meaning = match place.element {
        Element::IpHeaderPacketSection => Meaning::Packet(SectionKind::Ip),
        Element::DataLinkFrameSection | Element::Layer2PacketSectionData => {
            Meaning::Packet(SectionKind::Frame)
        }
        element => Unit::of(element).map_or(Meaning::Number, Meaning::Time),
    };
    fits.then_some((slot, rank, meaning))
}

/// Slot and rank of an element of the flow itself, but for times.
///
/// Counters: those of the period that the record is about come first, then the initiator's, totals
/// since the flow began, and lengths with link headers where there is no other. What was counted
/// behind the router stands in where all these are zero.
fn forward(element: Element) -> Option<(Slot, u8)> {
    Some(match element {
        Element::SourceIpv4Address => (Slot::Src4, 0),
        Element::DestinationIpv4Address => (Slot::Dst4, 0),
        Element::SourceIpv6Address => (Slot::Src6, 0),
        Element::DestinationIpv6Address => (Slot::Dst6, 0),
        Element::IpVersion => (Slot::IpVersion, 0),
        Element::ProtocolIdentifier => (Slot::Protocol, 0),
        Element::SourceTransportPort => (Slot::SrcPort, 0),
        Element::DestinationTransportPort => (Slot::DstPort, 0),
        Element::UdpSourcePort => (Slot::UdpSrcPort, 0),
        Element::UdpDestinationPort => (Slot::UdpDstPort, 0),
        Element::TcpSourcePort => (Slot::TcpSrcPort, 0),
        Element::TcpDestinationPort => (Slot::TcpDstPort, 0),
        Element::TcpControlBits => (Slot::TcpFlags, 0),
        Element::VlanId | Element::Dot1qVlanId => (Slot::Vlan, 0),
        Element::IpTtl => (Slot::Ttl, 0),
        Element::MinimumTtl => (Slot::Ttl, 1),
        Element::MaximumTtl => (Slot::Ttl, 2),
        Element::FragmentOffset => (Slot::FragmentOffset, 0),
        Element::FragmentFlags => (Slot::FragmentFlags, 0),
        Element::ForwardingStatus => (Slot::Forwarding, 0),
        Element::IcmpTypeCodeIpv4 => (Slot::Icmp4, 0),
        Element::IcmpTypeCodeIpv6 => (Slot::Icmp6, 0),
        Element::IcmpTypeIpv4 => (Slot::Icmp4Type, 0),
        Element::IcmpCodeIpv4 => (Slot::Icmp4Code, 0),
        Element::IcmpTypeIpv6 => (Slot::Icmp6Type, 0),
        Element::IcmpCodeIpv6 => (Slot::Icmp6Code, 0),
        Element::PacketDeltaCount => (Slot::Packets, 0),
        Element::InitiatorPackets => (Slot::Packets, 1),
        Element::PacketTotalCount => (Slot::Packets, 2),
        Element::PostPacketDeltaCount => (Slot::PostPackets, 0),
        Element::PostPacketTotalCount => (Slot::PostPackets, 1),
        Element::OctetDeltaCount => (Slot::Bytes, 0),
        Element::InitiatorOctets => (Slot::Bytes, 1),
        Element::OctetTotalCount => (Slot::Bytes, 2),
        Element::PostOctetDeltaCount => (Slot::PostBytes, 0),
        Element::PostOctetTotalCount => (Slot::PostBytes, 1),
        Element::Layer2OctetDeltaCount => (Slot::Bytes, 5),
        Element::Layer2OctetTotalCount => (Slot::Bytes, 6),
        Element::IpTotalLength | Element::TotalLengthIpv4 => (Slot::Bytes, 7),
        Element::ResponderPackets => (Slot::BackPackets, 1),
        Element::ResponderOctets => (Slot::BackBytes, 1),
        Element::DroppedPacketDeltaCount => (Slot::DroppedPackets, 0),
        Element::DroppedPacketTotalCount => (Slot::DroppedPackets, 1),
        Element::DroppedOctetDeltaCount => (Slot::DroppedBytes, 0),
        Element::DroppedOctetTotalCount => (Slot::DroppedBytes, 1),
        Element::SamplingInterval => (Slot::Rate, 0),
        Element::SamplerRandomInterval => (Slot::Rate, 1),
        Element::SamplingPacketInterval => (Slot::PacketInterval, 0),
        Element::SamplingPacketSpace => (Slot::PacketSpace, 0),
        Element::SelectorIdTotalPktsObserved => (Slot::PacketsObserved, 0),
        Element::SelectorIdTotalPktsSelected => (Slot::PacketsSelected, 0),
        Element::SamplerId => (Slot::Sampler, 0),
        Element::SelectorId => (Slot::Sampler, 1),
        Element::NatEvent => (Slot::NatEvent, 0),
        Element::FirewallEvent => (Slot::FirewallEvent, 0),
        Element::FirewallExtendedEvent => (Slot::FirewallReason, 0),
        Element::FlowId => (Slot::FlowId, 0),
        Element::DataLinkFrameSize => (Slot::FrameSize, 0),
        Element::Layer2PacketSectionSize => (Slot::FrameSize, 1),
        Element::DataLinkFrameType => (Slot::FrameType, 0),
        Element::DataLinkFrameSection => (Slot::Section, 0),
        Element::Layer2PacketSectionData => (Slot::Section, 1),
        Element::IpHeaderPacketSection => (Slot::Section, 2),
        _ => return path(element),
    })
}

/// Slot and rank of what says which way the packets took.
fn path(element: Element) -> Option<(Slot, u8)> {
    Some(match element {
        Element::IngressInterface => (Slot::InputIf, 0),
        Element::IngressPhysicalInterface => (Slot::InputIf, 1),
        Element::EgressInterface => (Slot::OutputIf, 0),
        Element::EgressPhysicalInterface => (Slot::OutputIf, 1),
        Element::BgpSourceAsNumber => (Slot::SrcAs, 0),
        Element::BgpDestinationAsNumber => (Slot::DstAs, 0),
        Element::IpNextHopIpv4Address => (Slot::NextHop4, 0),
        Element::BgpNextHopIpv4Address => (Slot::NextHop4, 1),
        Element::IpNextHopIpv6Address => (Slot::NextHop6, 0),
        Element::BgpNextHopIpv6Address => (Slot::NextHop6, 1),
        Element::SourceMacAddress => (Slot::SrcMac, 0),
        Element::DestinationMacAddress => (Slot::DstMac, 0),
        Element::PostDestinationMacAddress => (Slot::DstMac, 1),
        Element::IpClassOfService => (Slot::Tos, 0),
        _ => return None,
    })
}

/// Slot and rank of a time; the finest one that has a date comes first.
fn time(element: Element) -> Option<(Slot, u8)> {
    Some(match element {
        Element::FlowStartMilliseconds => (Slot::Start, 0),
        Element::FlowStartNanoseconds => (Slot::Start, 1),
        Element::FlowStartMicroseconds => (Slot::Start, 2),
        Element::FlowStartSysUpTime => (Slot::Start, 3),
        Element::FlowStartDeltaMicroseconds => (Slot::Start, 4),
        Element::FlowStartSeconds => (Slot::Start, 5),
        Element::FlowEndMilliseconds => (Slot::End, 0),
        Element::FlowEndNanoseconds => (Slot::End, 1),
        Element::FlowEndMicroseconds => (Slot::End, 2),
        Element::FlowEndSysUpTime => (Slot::End, 3),
        Element::FlowEndDeltaMicroseconds => (Slot::End, 4),
        Element::FlowEndSeconds => (Slot::End, 5),
        Element::ObservationTimeMilliseconds => (Slot::Observed, 0),
        Element::ObservationTimeNanoseconds => (Slot::Observed, 1),
        Element::ObservationTimeMicroseconds => (Slot::Observed, 2),
        Element::ObservationTimeSeconds => (Slot::Observed, 3),
        Element::FlowDurationMilliseconds => (Slot::Duration, 0),
        Element::FlowDurationMicroseconds => (Slot::Duration, 1),
        Element::SystemInitTimeMilliseconds => (Slot::Boot, 0),
        _ => return None,
    })
}

/// Slot and rank of an element of the way back (RFC 5103).
fn reverse(element: Element) -> Option<(Slot, u8)> {
    Some(match element {
        Element::PacketDeltaCount => (Slot::BackPackets, 0),
        Element::PacketTotalCount => (Slot::BackPackets, 2),
        Element::OctetDeltaCount => (Slot::BackBytes, 0),
        Element::OctetTotalCount => (Slot::BackBytes, 2),
        Element::TcpControlBits => (Slot::BackTcpFlags, 0),
        _ => return None,
    })
}
