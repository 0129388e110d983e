//! `[thresholds]`: how much of which traffic is too much, for each host, network and group.

use tidewall_engine::{DirectedLimits, Limits};
use tidewall_model::{Direction, Metric, TrafficClass, Unit};
use toml::de::DeValue;

use super::quantity::{Counts, parse_number, show_number};
use super::sink::Sink;
use super::table::{FromToml, Place, Shape, Typed, table};
use super::value::{found, number};

table! {
    /// Limits, per second. Traffic above one of them is an attack. Here they are those of every
    /// host that no group takes, and a group begins with them.
    ///
    /// `pps` is packets per second and `mbps` megabits per second. Numbers may carry a suffix when
    /// they are in quotes: pps = "20k", mbps = "1.5 Gbps". "off" removes a limit that would
    /// otherwise be inherited.
    struct ThresholdsTable {
        /// Each host, traffic towards it.
        #[default = "{}"]
        incoming: Box<LimitsTable>,

        /// Each host, traffic from it.
        #[default = "{}"]
        outgoing: Box<LimitsTable>,

        /// The total of each network: finds attacks that are spread over many hosts. A network
        /// takes the limits of the group with the longest prefix around it.
        network: DirectedTable,

        /// The total of the whole group, its children included; at the top level, of everything.
        /// Not inherited: the parent's total already holds the child's.
        total: DirectedTable,
    }
}

table! {
    /// Limits of a total, in each direction. There are none by default.
    struct DirectedTable {
        /// Traffic towards us.
        incoming: Box<LimitsTable>,

        /// Traffic from us.
        outgoing: Box<LimitsTable>,
    }
}

table! {
    /// Limits of one direction: a line for each class of traffic. A class may be "off".
    struct LimitsTable {
        /// All traffic.
        #[default = "{ pps = 20_000, mbps = 1_000 }"]
        #[example = "{ pps = \"50k\", mbps = \"2 Gbps\" }"]
        total: ClassLimit,

        /// TCP.
        #[example = "{ pps = 50_000, mbps = \"off\" }"]
        tcp: ClassLimit,

        /// TCP with SYN and without ACK.
        #[default = "{ pps = 10_000 }"]
        #[example = "{ pps = 5_000 }"]
        tcp_syn: ClassLimit,

        /// UDP.
        #[example = "{ pps = 50_000, mbps = 500 }"]
        udp: ClassLimit,

        /// ICMP and ICMPv6.
        #[default = "{ pps = 5_000 }"]
        #[example = "{ pps = 1_000 }"]
        icmp: ClassLimit,

        /// Fragments, the first one of a datagram included.
        #[default = "{ pps = 5_000 }"]
        #[example = "{ pps = 2_000 }"]
        fragment: ClassLimit,

        /// Traffic that the router says it dropped.
        #[example = "{ pps = 20_000 }"]
        dropped: ClassLimit,

        /// Protocols that are none of these: GRE, ESP, SCTP and so on.
        #[example = "{ pps = 10_000 }"]
        other: ClassLimit,

        /// Distinct flows per second, of all traffic.
        #[example = "3_500"]
        flows: Flows,
    }
}

table! {
    /// Limits of one class of traffic.
    struct ClassTable {
        /// Packets per second.
        #[example = "\"20k\""]
        pps: Pps,

        /// Megabits per second, or any rate with its unit in quotes.
        #[example = "\"1.5 Gbps\""]
        mbps: Mbps,
    }
}

/// Limits of one class: a table, or off altogether.
#[derive(Clone, Debug)]
pub(super) enum ClassLimit {
    /// No limit in any unit.
    Off,
    /// What was typed; the rest is inherited.
    On(ClassTable),
}

impl FromToml for ClassLimit {
    const SHAPE: Shape = ClassTable::SHAPE;

    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        match value {
            value if is_off(value) => Some(Self::Off),
            DeValue::Integer(_) | DeValue::Float(_) => {
                let typed = sink.typed_short(&at.span);
                let fix = format!("write `{} = {{ pps = {typed} }}`", at.key);
                sink.error_fix(at, "a limit needs its unit, pps or mbps", fix);
                None
            }
            value => ClassTable::from_toml(value, at, sink).map(Self::On),
        }
    }
}

/// A limit per second, in packets, bits or flows.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limit {
    /// An inherited limit is removed.
    Off,
    /// This many.
    At(f64),
}

/// Packets per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pps(Limit);

impl FromToml for Pps {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        limit(value, Counts::Packets, at, sink).map(Self)
    }
}

/// Bits per second, typed in megabits unless a unit says otherwise.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mbps(Limit);

impl FromToml for Mbps {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        limit(value, Counts::Bits, at, sink).map(Self)
    }
}

/// Distinct flows per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flows(Limit);

impl FromToml for Flows {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        limit(value, Counts::Flows, at, sink).map(Self)
    }
}

impl ThresholdsTable {
    /// Changes the inherited limits of hosts.
    pub(super) fn overlay_hosts(&self, limits: &mut DirectedLimits) {
        overlay_both(self.incoming.as_ref(), self.outgoing.as_ref(), limits);
    }

    /// Changes the inherited limits of networks.
    pub(super) fn overlay_networks(&self, limits: &mut DirectedLimits) {
        if let Some(Typed { value, .. }) = &self.network {
            overlay_both(value.incoming.as_ref(), value.outgoing.as_ref(), limits);
        }
    }

    /// The limits of the group's own total.
    pub(super) fn totals(&self) -> DirectedLimits {
        let mut limits = DirectedLimits::default();
        if let Some(Typed { value, .. }) = &self.total {
            overlay_both(value.incoming.as_ref(), value.outgoing.as_ref(), &mut limits);
        }
        limits
    }

    /// Every table of limits that was typed, with its direction.
    pub(super) fn typed_limits(
        &self,
    ) -> impl Iterator<Item = (Direction, &Typed<Box<LimitsTable>>)> {
        let directed = [self.network.as_ref(), self.total.as_ref()];
        let below = directed.into_iter().flatten().flat_map(|typed| {
            let DirectedTable { incoming, outgoing } = &typed.value;
            [(Direction::Incoming, incoming.as_ref()), (Direction::Outgoing, outgoing.as_ref())]
        });
        [
            (Direction::Incoming, self.incoming.as_ref()),
            (Direction::Outgoing, self.outgoing.as_ref()),
        ]
        .into_iter()
        .chain(below)
        .filter_map(|(direction, typed)| Some((direction, typed?)))
    }
}

impl LimitsTable {
    /// The typed limit of each class.
    fn classes(&self) -> [(TrafficClass, Option<&Typed<ClassLimit>>); 8] {
        [
            (TrafficClass::Total, self.total.as_ref()),
            (TrafficClass::Tcp, self.tcp.as_ref()),
            (TrafficClass::TcpSyn, self.tcp_syn.as_ref()),
            (TrafficClass::Udp, self.udp.as_ref()),
            (TrafficClass::Icmp, self.icmp.as_ref()),
            (TrafficClass::Fragment, self.fragment.as_ref()),
            (TrafficClass::Dropped, self.dropped.as_ref()),
            (TrafficClass::Other, self.other.as_ref()),
        ]
    }

    /// Where a limit of flows was typed.
    pub(super) fn flows_at(&self) -> Option<&Place> {
        self.flows.as_ref().filter(|typed| typed.value.0 != Limit::Off).map(|typed| &typed.at)
    }

    /// Sets what was typed, removes what is off, and leaves the rest.
    fn overlay(&self, limits: &mut Limits) {
        for (class, typed) in self.classes() {
            let (pps, mbps) = match typed.map(|typed| &typed.value) {
                None => continue,
                Some(ClassLimit::Off) => (Some(Limit::Off), Some(Limit::Off)),
                Some(ClassLimit::On(table)) => (
                    table.pps.as_ref().map(|typed| typed.value.0),
                    table.mbps.as_ref().map(|typed| typed.value.0),
                ),
            };
            put(limits, Metric { class, unit: Unit::Packets }, pps);
            put(limits, Metric { class, unit: Unit::Bits }, mbps);
        }
        let flows = self.flows.as_ref().map(|typed| typed.value.0);
        put(limits, Metric { class: TrafficClass::Total, unit: Unit::Flows }, flows);
    }
}

fn overlay_both(
    incoming: Option<&Typed<Box<LimitsTable>>>,
    outgoing: Option<&Typed<Box<LimitsTable>>>,
    limits: &mut DirectedLimits,
) {
    if let Some(typed) = incoming {
        typed.value.overlay(&mut limits.incoming);
    }
    if let Some(typed) = outgoing {
        typed.value.overlay(&mut limits.outgoing);
    }
}

/// Changes a limit where one was typed.
fn put(limits: &mut Limits, metric: Metric, typed: Option<Limit>) {
    match typed {
        None => {}
        Some(Limit::Off) => limits.remove(metric),
        Some(Limit::At(limit)) => limits.set(metric, limit),
    }
}

fn is_off(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Boolean(on) => !on,
        DeValue::String(text) => text == "off",
        _ => false,
    }
}

/// Reads a limit per second.
fn limit(value: &DeValue<'_>, counts: Counts, at: &Place, sink: &mut Sink) -> Option<Limit> {
    if is_off(value) {
        return Some(Limit::Off);
    }
    let per_unit = if counts == Counts::Bits { 1e6 } else { 1.0 };
    let parsed = match value {
        // Digits alone mean the same with and without quotes.
        DeValue::String(text) => parse_number(text, Counts::Plain)
            .filter(|_| text.ends_with(|c: char| c.is_ascii_digit()))
            .map(|number| number * per_unit)
            .or_else(|| parse_number(text, counts)),
        other => number(other).map(|number| number * per_unit),
    };
    let Some(limit) = parsed else {
        let mut reason = format!("{} is not a limit", found(value));
        if counts == Counts::Bits && matches!(value, DeValue::String(_)) {
            reason.push_str("; a suffix needs the unit bps");
        }
        let or_off = format!("{}, or `{} = \"off\"`", at.for_example(), at.key);
        sink.error_fix(at, reason, or_off);
        return None;
    };
    in_reason(limit, counts, at, sink).map(Limit::At)
}

/// Refuses limits that any traffic, or none that exists, would exceed.
fn in_reason(limit: f64, counts: Counts, at: &Place, sink: &mut Sink) -> Option<f64> {
    let off = format!("for no limit at all write `{} = \"off\"`", at.key);
    let (least, most, unit) = match counts {
        Counts::Bits => (1e3, 1e14, "bit/s"),
        Counts::Packets => (1.0, 1e12, "packets/s"),
        Counts::Flows | Counts::Plain => (1.0, 1e12, "flows/s"),
    };
    if limit < 0.0 {
        sink.error_fix(at, "a limit cannot be negative", off);
        return None;
    }
    if limit == 0.0 {
        sink.error_fix(at, "with a limit of 0 any traffic at all would be an attack", off);
        return None;
    }
    let shown = show_number(limit);
    if limit < least {
        let reason = format!("{shown}{unit} is below the smallest limit, {}", show_number(least));
        sink.error_fix(at, format!("{reason}{unit}"), off);
        return None;
    }
    if limit > most {
        let reason = format!("{shown}{unit} is more than any network carries");
        let fix = match counts {
            Counts::Bits => "the number is in megabits: 1 Gbit/s is `mbps = 1_000`".to_owned(),
            _ => off,
        };
        sink.error_fix(at, reason, fix);
        return None;
    }
    Some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_its_key() {
        let keys: Vec<_> = LimitsTable::TABLE.keys.iter().map(|key| key.name).collect();
        for class in TrafficClass::ALL {
            assert!(keys.contains(&class.name()), "{class}");
        }
        let classes = LimitsTable::default().classes().map(|(class, _)| class);
        assert_eq!(classes, TrafficClass::ALL);
    }
}
