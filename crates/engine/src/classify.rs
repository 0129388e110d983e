//! Names an attack from what its traffic is made of: class, vectors and dominant values.
//!
//! Runs in the detector, once when an attack is raised and once per update, over a bounded sample
//! of recent records. The result depends on nothing but its arguments, and not on the samples'
//! order.
//!
//! # How the class is chosen
//!
//! 1. *Focus*: what the reason's class counts, or, when the reason is a total, what the counters
//!    say makes at least half of it. Samples outside the focus do not choose the class: a SYN limit
//!    is broken by SYNs, whatever else the host receives.
//! 2. A class with at least half of the focus (in packets, or in bytes when the reason is in bits)
//!    leads. If that is ordinary traffic (TCP acknowledgements, plain UDP) under a limit of a
//!    total, it yields to reflected or fragmented traffic that carries at least half of all bytes:
//!    downloads are acknowledged in many small packets while a reflection fills the line.
//! 3. Without half, the only class with 30 % that is not ordinary leads; two of them are `Mixed`.
//!    TCP of all kinds together is `TcpFlood`. Anything else is `Mixed`.
//! 4. A leader with less than half of all samples beside another class with 30 % that is not
//!    ordinary is `Mixed`. SYN and SYN+ACK never mix: the larger one names the attack, since
//!    reflectors are often used together with forged SYNs. A little ICMP beside a reflection is its
//!    echo, and never another component, even when it broke a limit of its own.
//! 5. Without samples in the focus, the counters choose.

mod kind;
mod reflection;
mod top;

use std::collections::{BTreeMap, BTreeSet};

use tidewall_model::{
    Address, AttackClass, Direction, Family, FlowRecord, Metric, TopTuples, TrafficClass,
    TrafficCounters, Unit, Vector, protocol,
};

use crate::amplifiers::Amplifiers;
use kind::Kind;
use reflection::Reflections;

/// Part of the focus that makes a class the leader.
const DOMINANT: f64 = 0.5;
/// Part of the samples that makes a class a component of a mixed attack.
const COMPONENT: f64 = 0.3;
/// Part of the packets that a reflection needs to outrank ordinary traffic by its bytes.
const MINOR: f64 = 0.1;
/// ICMP below this part, beside a reflection, is the echo of unreachable ports.
const BACK_CHATTER: f64 = 0.1;
/// Vectors below this part of both packets and bytes are not listed.
const LISTED: f64 = 0.01;
/// Most vectors listed.
const MAX_VECTORS: usize = 8;
/// SYN+ACK from fewer hosts than this is no reflection but a flood of that flag set.
const MIN_SYN_ACK_SENDERS: usize = 4;

/// What is known about an attack's traffic when it is to be named.
#[derive(Clone, Copy, Debug)]
pub struct AttackTraffic<'a> {
    /// Recent records of the target in the attack's direction, its ordinary traffic included.
    pub samples: &'a [FlowRecord],
    /// Incoming: the target receives; outgoing: the target sends.
    pub direction: Direction,
    /// What went over its limit.
    pub metric: Metric,
    /// Rates of the target in this direction.
    pub rates: &'a TrafficCounters,
}

/// The name of an attack and what it rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Classification {
    /// Kind of the attack as a whole.
    pub class: AttackClass,
    /// Components: those of the leading class first, then the rest, each largest first. Parts are
    /// of all samples, so ordinary traffic of the target keeps the sum of an attack's below 1.
    pub vectors: Vec<Vector>,
    /// Dominant values.
    pub top: TopTuples,
    /// IP version of most packets; `None` without samples.
    pub family: Option<Family>,
}

impl AttackTraffic<'_> {
    /// Names the attack.
    pub fn classify(&self, amplifiers: &Amplifiers) -> Classification {
        let reflections = Reflections::find(self.samples, self.direction, amplifiers);
        let focus = self.focus();
        let mut tally = Tally::default();
        for record in self.samples {
            let kind = reflections.kind(record);
            let remote = kind::remote(record, self.direction);
            tally.add(record, kind, kind.is_in(record, focus), remote);
        }
        let few_senders = self.direction != Direction::Outgoing
            && tally.syn_ack_senders.len() < MIN_SYN_ACK_SENDERS;
        let class_of = |kind: Kind<'_>| match kind {
            Kind::SynAck if few_senders => AttackClass::TcpFlood,
            kind => kind.class(),
        };
        let shares = Shares::new(&tally, self.metric.unit, class_of);
        let (class, leader) = self.choose(&shares, focus);
        Classification {
            class,
            vectors: self.vectors(&tally, class, leader, class_of),
            top: top::tuples(self.samples, self.direction),
            family: tally.family(),
        }
    }

    /// The samples that are the attack's own, once it is named. `known` says that the target's
    /// ordinary traffic is known: then plain UDP beside a reflection is taken for a part of it.
    pub fn own(&self, class: AttackClass, amplifiers: &Amplifiers, known: bool) -> Vec<FlowRecord> {
        let reflections = Reflections::find(self.samples, self.direction, amplifiers);
        let is_own = |record: &&FlowRecord| {
            let kind = reflections.kind(record);
            let of = kind.class();
            match class {
                AttackClass::Unknown => false,
                AttackClass::Mixed => !is_ordinary(of),
                AttackClass::TcpFlood => {
                    record.protocol == protocol::TCP && of != AttackClass::AckFlood
                }
                AttackClass::SynFlood => are_handshake(of, class),
                // Hosts that never asked answer a SYN+ACK with RST, and so do reflectors.
                AttackClass::SynAckReflection => {
                    are_handshake(of, class) || of == AttackClass::RstFlood
                }
                AttackClass::UdpFlood => {
                    of == class || kind == Kind::Fragments && record.protocol == protocol::UDP
                }
                AttackClass::UdpReflection => of == class || known && kind == Kind::Udp,
                class => of == class,
            }
        };
        self.samples.iter().filter(is_own).copied().collect()
    }

    /// The traffic whose samples choose the class.
    fn focus(&self) -> TrafficClass {
        match self.metric.class {
            TrafficClass::Total => {}
            named => return named,
        }
        let of = |class| {
            let count = self.rates.get(class);
            if self.metric.unit == Unit::Bits { count.bytes } else { count.packets }
        };
        let total = of(TrafficClass::Total);
        // The narrow ones first: SYNs are TCP, and fragments are of any protocol.
        [
            TrafficClass::TcpSyn,
            TrafficClass::Fragment,
            TrafficClass::Icmp,
            TrafficClass::Udp,
            TrafficClass::Tcp,
            TrafficClass::Other,
        ]
        .into_iter()
        .find(|class| total > 0 && of(*class) as f64 >= DOMINANT * total as f64)
        .unwrap_or(TrafficClass::Total)
    }

    /// The class, and the class whose vectors come first.
    fn choose(&self, shares: &Shares, focus: TrafficClass) -> (AttackClass, AttackClass) {
        let Some(largest) = shares.largest_in_focus() else {
            let class = counted_class(focus);
            return (class, class);
        };
        let mut leader = largest;
        if shares.focus(largest) < DOMINANT {
            let telling = shares.telling(Shares::focus);
            leader = match telling.as_slice() {
                [only] => *only,
                [first, second] if are_handshake(*first, *second) => *first,
                [] | [_, _, ..] if shares.tcp_in_focus() >= DOMINANT => AttackClass::TcpFlood,
                _ => return (AttackClass::Mixed, largest),
            };
        } else if self.metric.class == TrafficClass::Total && is_ordinary(largest) {
            leader = shares.line_filler().unwrap_or(largest);
        }
        let rivals = shares.telling(Shares::all);
        let Some(rival) = rivals.into_iter().find(|class| *class != leader) else {
            return (leader, leader);
        };
        let (own, other) = (shares.all(leader), shares.all(rival));
        if own >= DOMINANT {
            (leader, leader)
        } else if are_handshake(leader, rival) {
            let larger = if other > own { rival } else { leader };
            (larger, larger)
        } else if is_back_chatter(leader, own) && rival == AttackClass::UdpReflection {
            (rival, rival)
        } else {
            (AttackClass::Mixed, leader)
        }
    }

    fn vectors(
        &self,
        tally: &Tally<'_>,
        class: AttackClass,
        leader: AttackClass,
        class_of: impl Fn(Kind<'_>) -> AttackClass,
    ) -> Vec<Vector> {
        let mut parts: BTreeMap<Kind<'_>, Part> = BTreeMap::new();
        for (kind, part) in &tally.parts {
            // A random-protocol flood is one vector, not two hundred.
            let small = !tally.is_listed(part) && matches!(kind, Kind::Protocol(_));
            parts.entry(if small { Kind::OtherProtocols } else { *kind }).or_default().merge(part);
        }
        let share = |part: &Part| {
            let (packets, bytes) = tally.shares(part);
            if self.metric.unit == Unit::Bits { bytes } else { packets }
        };
        let mut listed: Vec<(Kind<'_>, Part)> = parts
            .into_iter()
            .filter(|(_, part)| tally.is_listed(part))
            .filter(|(kind, part)| {
                class != AttackClass::UdpReflection
                    || !is_back_chatter(kind.class(), tally.shares(part).0)
            })
            .collect();
        listed.sort_by(|(a, a_part), (b, b_part)| {
            let leads = |kind| class_of(kind) == leader;
            (leads(*b).cmp(&leads(*a)))
                .then(share(b_part).total_cmp(&share(a_part)))
                .then_with(|| a.name().cmp(&b.name()))
        });
        listed.truncate(MAX_VECTORS);
        let vector = |(kind, part): (Kind<'_>, Part)| {
            let (packets_share, bytes_share) = tally.shares(&part);
            Vector { name: kind.name().into_owned(), packets_share, bytes_share }
        };
        listed.into_iter().map(vector).collect()
    }
}

/// Scaled packets and bytes of one kind, and of those of them that are in the focus.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    packets: u64,
    bytes: u64,
    focus_packets: u64,
    focus_bytes: u64,
}

impl Part {
    fn merge(&mut self, other: &Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.focus_packets = self.focus_packets.saturating_add(other.focus_packets);
        self.focus_bytes = self.focus_bytes.saturating_add(other.focus_bytes);
    }
}

/// The samples by kind.
#[derive(Debug, Default)]
struct Tally<'a> {
    parts: BTreeMap<Kind<'a>, Part>,
    total: Part,
    ipv6_packets: u64,
    syn_ack_senders: BTreeSet<Address>,
}

impl<'a> Tally<'a> {
    fn add(&mut self, record: &FlowRecord, kind: Kind<'a>, in_focus: bool, remote: Address) {
        let (packets, bytes) = (record.scaled_packets(), record.scaled_bytes());
        let mut part = Part { packets, bytes, ..Part::default() };
        if in_focus {
            (part.focus_packets, part.focus_bytes) = (packets, bytes);
        }
        self.parts.entry(kind).or_default().merge(&part);
        self.total.merge(&part);
        if record.family == Family::V6 {
            self.ipv6_packets = self.ipv6_packets.saturating_add(packets);
        }
        if kind == Kind::SynAck {
            self.syn_ack_senders.insert(remote);
        }
    }

    /// Parts of all packets and of all bytes.
    fn shares(&self, part: &Part) -> (f64, f64) {
        (ratio(part.packets, self.total.packets), ratio(part.bytes, self.total.bytes))
    }

    fn is_listed(&self, part: &Part) -> bool {
        let (packets, bytes) = self.shares(part);
        packets.max(bytes) >= LISTED
    }

    fn family(&self) -> Option<Family> {
        let ipv6 = self.ipv6_packets > self.total.packets / 2;
        (self.total.packets > 0).then_some(if ipv6 { Family::V6 } else { Family::V4 })
    }
}

/// Parts of the samples by class, 0 to 1.
#[derive(Debug, Default)]
struct Shares(BTreeMap<AttackClass, Share>);

/// Parts of one class: of the focus, of everything (in the reason's unit), of packets, of bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    focus: f64,
    all: f64,
    packets: f64,
    bytes: f64,
}

impl Shares {
    fn new(tally: &Tally<'_>, unit: Unit, class_of: impl Fn(Kind<'_>) -> AttackClass) -> Self {
        let total = &tally.total;
        // Samples whose exporter gives no length still have packets.
        let bits = unit == Unit::Bits && total.focus_bytes > 0;
        let mut shares = Self::default();
        for (kind, part) in &tally.parts {
            let share = shares.0.entry(class_of(*kind)).or_default();
            let (packets, bytes) = tally.shares(part);
            share.packets += packets;
            share.bytes += bytes;
            share.all += if bits { bytes } else { packets };
            share.focus += if bits {
                ratio(part.focus_bytes, total.focus_bytes)
            } else {
                ratio(part.focus_packets, total.focus_packets)
            };
        }
        shares
    }

    fn get(&self, class: AttackClass) -> Share {
        self.0.get(&class).copied().unwrap_or_default()
    }

    fn focus(&self, class: AttackClass) -> f64 {
        self.get(class).focus
    }

    fn all(&self, class: AttackClass) -> f64 {
        self.get(class).all
    }

    /// The class with the largest part of the focus, if anything is in it.
    fn largest_in_focus(&self) -> Option<AttackClass> {
        let mut largest = None;
        for (class, share) in &self.0 {
            if share.focus > largest.map_or(0.0, |class| self.focus(class)) {
                largest = Some(*class);
            }
        }
        largest
    }

    /// Classes that are not ordinary and make a component's part or more, largest first.
    fn telling(&self, part: impl Fn(&Self, AttackClass) -> f64) -> Vec<AttackClass> {
        let mut classes: Vec<AttackClass> = (self.0.keys().copied())
            .filter(|class| !is_ordinary(*class) && part(self, *class) >= COMPONENT)
            .collect();
        classes.sort_by(|a, b| part(self, *b).total_cmp(&part(self, *a)).then(a.cmp(b)));
        classes
    }

    /// Reflected or fragmented traffic that carries most of the bytes and enough of the packets.
    fn line_filler(&self) -> Option<AttackClass> {
        [AttackClass::UdpReflection, AttackClass::FragmentFlood].into_iter().find(|class| {
            let share = self.get(*class);
            share.bytes >= DOMINANT && share.packets >= MINOR
        })
    }

    fn tcp_in_focus(&self) -> f64 {
        [
            AttackClass::SynFlood,
            AttackClass::SynAckReflection,
            AttackClass::AckFlood,
            AttackClass::RstFlood,
            AttackClass::TcpFlood,
        ]
        .into_iter()
        .map(|class| self.focus(class))
        .sum()
    }
}

/// What hosts that are not attacked receive most of.
fn is_ordinary(class: AttackClass) -> bool {
    matches!(class, AttackClass::AckFlood | AttackClass::UdpFlood)
}

/// So little ICMP that, beside a reflection, it is the victim's unreachable ports being reported.
fn is_back_chatter(class: AttackClass, share: f64) -> bool {
    class == AttackClass::IcmpFlood && share < BACK_CHATTER
}

fn are_handshake(a: AttackClass, b: AttackClass) -> bool {
    let handshake = |c| matches!(c, AttackClass::SynFlood | AttackClass::SynAckReflection);
    handshake(a) && handshake(b)
}

/// The class when there is nothing but counters to go by.
fn counted_class(focus: TrafficClass) -> AttackClass {
    match focus {
        TrafficClass::Total | TrafficClass::Dropped => AttackClass::Unknown,
        TrafficClass::Tcp => AttackClass::TcpFlood,
        TrafficClass::TcpSyn => AttackClass::SynFlood,
        TrafficClass::Udp => AttackClass::UdpFlood,
        TrafficClass::Icmp => AttackClass::IcmpFlood,
        TrafficClass::Fragment => AttackClass::FragmentFlood,
        TrafficClass::Other => AttackClass::ProtocolFlood,
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests;
