//! A template as records are read through it: for each number that means something, where it lies
//! in a record, worked out once. A number is read from the record when it is asked for; which
//! element feeds it, and what takes precedence where a template says a thing twice, has been
//! decided before the first record comes.

use tidewall_wire::netflow::{
    Element, Fields, Place, Plan, Role, Template, TemplateKind, VARIABLE_LENGTH, read_uint,
};

use super::clock::{Times, Unit};
use super::templates::Compile;

/// Numbers that a record can hold.
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

/// The numbers of one record. What its template does not have is 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    picks: &'a [Pick; SLOTS],
    record: &'a [u8],
}

impl<'a> Values<'a> {
    #[inline]
    pub(super) fn get(self, slot: Slot) -> u64 {
        self.at(slot as usize)
    }

    /// The IPv6 address whose upper half is in `slot`.
    #[inline]
    pub(super) fn address(self, slot: Slot) -> u128 {
        u128::from(self.get(slot)) << 64 | u128::from(self.at(slot as usize + 1))
    }

    /// The last byte of a number.
    #[inline]
    pub(super) fn byte(self, slot: Slot) -> u8 {
        let Some(&[.., byte]) = self.until(slot) else { return 0 };
        byte
    }

    /// The last two bytes of a number that has as many: see [`is_narrow`].
    #[inline]
    pub(super) fn two_bytes(self, slot: Slot) -> u16 {
        let Some(&[.., a, b]) = self.until(slot) else { return 0 };
        u16::from_be_bytes([a, b])
    }

    /// The last four bytes of a number that has as many: see [`is_narrow`].
    #[inline]
    pub(super) fn four_bytes(self, slot: Slot) -> u32 {
        let Some(&[.., a, b, c, d]) = self.until(slot) else { return 0 };
        u32::from_be_bytes([a, b, c, d])
    }

    /// The record as far as the end of a number.
    #[inline]
    fn until(self, slot: Slot) -> Option<&'a [u8]> {
        self.picks.get(slot as usize)?.until(self.record)
    }

    #[inline]
    fn at(self, place: usize) -> u64 {
        self.picks.get(place).map_or(0, |pick| pick.read(self.record))
    }
}

/// Is a number shorter than [`Values`] reads it? RFC 7011 §6.2 allows that, and few do it.
const fn is_narrow(slot: Slot, length: u16) -> bool {
    match slot {
        Slot::Src4 | Slot::Dst4 => length < 4,
        Slot::SrcPort | Slot::DstPort | Slot::Vlan | Slot::FragmentOffset => length < 2,
        _ => false,
    }
}

/// The numbers of a record that had to be gathered, each in eight bytes.
#[derive(Clone, Debug)]
pub(super) struct Gathered([[u8; Pick::WINDOW]; SLOTS]);

impl Gathered {
    pub(super) const fn new() -> Self {
        Self([[0; Pick::WINDOW]; SLOTS])
    }

    #[inline]
    fn set(&mut self, at: u8, value: u64) {
        if let Some(slot) = self.0.get_mut(usize::from(at)) {
            *slot = value.to_be_bytes();
        }
    }

    /// Reads a record of any kind, and gives the packet bytes that are in it. A value that is no
    /// number is 0: nothing of the record before may stay.
    pub(super) fn fill<'a>(
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

    /// Takes all numbers of another record.
    pub(super) fn copy(&mut self, values: Values<'_>) {
        for (at, slot) in self.0.iter_mut().enumerate() {
            *slot = values.at(at).to_be_bytes();
        }
    }

    pub(super) const fn values(&self) -> Values<'_> {
        Values { picks: &Pick::GATHERED, record: self.0.as_flattened() }
    }
}

/// Where one number is in a record of fixed length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pick {
    /// Of its bytes.
    last: u16,
    /// How many of its bytes, modulo 8, it has.
    length: u8,
}

impl Pick {
    const WINDOW: usize = 8;

    /// Behind the end of any record: a datagram has a header too.
    const ABSENT: Self = Self { last: u16::MAX, length: 0 };

    /// Of [`Gathered`].
    const GATHERED: [Self; SLOTS] = {
        let (mut picks, mut end) = ([Self::ABSENT; SLOTS], 0);
        let mut rest = picks.as_mut_slice();
        while let Some((first, behind)) = rest.split_first_mut() {
            end += Self::WINDOW as u16;
            *first = Self { last: end - 1, length: 0 };
            rest = behind;
        }
        picks
    };

    /// `length` is 1 to 8.
    const fn new(offset: u16, length: u16) -> Self {
        Self { last: offset + (length - 1), length: length as u8 % Self::WINDOW as u8 }
    }

    /// The record as far as the end of the number.
    #[inline]
    fn until(self, record: &[u8]) -> Option<&[u8]> {
        record.get(..usize::from(self.last) + 1)
    }

    #[inline]
    fn read(self, record: &[u8]) -> u64 {
        const MASKS: [u64; Pick::WINDOW] = [
            u64::MAX,
            0xff,
            0xffff,
            0xff_ffff,
            0xffff_ffff,
            0xff_ffff_ffff,
            0xffff_ffff_ffff,
            0xff_ffff_ffff_ffff,
        ];
        let mask = MASKS.get(usize::from(self.length) % Self::WINDOW).map_or(0, |mask| *mask);
        let Some(until) = self.until(record) else { return 0 };
        match until.last_chunk() {
            Some(window) => u64::from_be_bytes(*window) & mask,
            None => Self::at_start(until) & mask,
        }
    }

    /// Of a record of which less than a window is before the end of the number.
    #[inline(never)]
    fn at_start(until: &[u8]) -> u64 {
        until.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
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
    /// Length of every record, where the picks can read it.
    pub(super) length: Option<usize>,
    picks: [Pick; SLOTS],
    /// Must its numbers be gathered first?
    pub(super) narrow: bool,
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

    /// The numbers of a record of [`Self::length`].
    #[inline]
    pub(super) const fn values<'a>(&'a self, record: &'a [u8]) -> Values<'a> {
        Values { picks: &self.picks, record }
    }
}

impl Compile for Form {
    fn compile(template: &Template) -> Self {
        let plan = Plan::new(template);
        if plan.kind() == TemplateKind::Options {
            return Self {
                plan,
                length: None,
                picks: [Pick::ABSENT; SLOTS],
                narrow: false,
                targets: Box::default(),
                present: Slots::default(),
                times: Times::default(),
                section: None,
            };
        }
        let places: Vec<Place> = plan.places().collect();
        let chosen = choose(&places);
        let mut form = Self {
            length: plan
                .fixed_length()
                .filter(|&length| usize::from(length) >= Pick::WINDOW)
                .map(usize::from),
            plan,
            picks: [Pick::ABSENT; SLOTS],
            narrow: false,
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
        if form.length.is_some() {
            let narrow = |(place, slot): (&Place, &Option<Slot>)| {
                slot.is_some_and(|slot| is_narrow(slot, place.length))
            };
            form.narrow = places.iter().zip(&form.targets).any(narrow);
            form.picks = picks(&places, &form.targets);
        }
        form
    }
}

/// Where the numbers of the chosen fields are.
fn picks(places: &[Place], targets: &[Option<Slot>]) -> [Pick; SLOTS] {
    let mut picks = [Pick::ABSENT; SLOTS];
    let mut put = |at: usize, pick| {
        if let Some(place) = picks.get_mut(at) {
            *place = pick;
        }
    };
    for (place, slot) in places.iter().zip(targets) {
        let Some(slot) = *slot else { continue };
        let at = slot as usize;
        if is_long(slot) {
            put(at, Pick::new(place.offset, 8));
            put(at + 1, Pick::new(place.offset + 8, 8));
        } else {
            put(at, Pick::new(place.offset, place.length));
        }
    }
    picks
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
