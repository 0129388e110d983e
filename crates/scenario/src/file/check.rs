//! What a scenario file means: every typed value checked, with its place and the reason when it
//! makes no sense.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::time::Duration;

use tidewall_model::{
    AttackClass, Direction, Family, Metric, Prefix, Timestamp, TrafficClass, Unit,
};

use super::{
    Classes, File, Kind, Length, ScenarioError, TypedAttack, TypedBackground, TypedDirection,
    TypedExpectation, TypedLimits,
};
use crate::plan::{
    AttackKind, AttackPlan, Background, Expectation, LimitPlan, Mix, Pulse, Scenario, Service,
};

/// A week: nanoseconds stay exact in a 64-bit float, and a slip of units is noticed.
const MAX_SECONDS: f64 = 604_800.0;
const MAX_PPS: f64 = 1e9;
const MAX_HOSTS: u32 = 1 << 20;
const MAX_ATTACKS: usize = 1000;

/// Limits of a host when the file gives none: those of the default configuration.
const HOST_LIMITS: [(TrafficClass, Unit, f64); 5] = [
    (TrafficClass::Total, Unit::Packets, 20_000.0),
    (TrafficClass::Total, Unit::Bits, 1e9),
    (TrafficClass::TcpSyn, Unit::Packets, 10_000.0),
    (TrafficClass::Icmp, Unit::Packets, 5_000.0),
    (TrafficClass::Fragment, Unit::Packets, 5_000.0),
];

/// The table that is being checked, for messages.
struct Place<'a>(&'a str);

impl Place<'_> {
    fn invalid(&self, key: &'static str, reason: impl Display) -> ScenarioError {
        ScenarioError::Invalid { place: self.0.to_owned(), key, reason: reason.to_string() }
    }

    fn prefix(&self, key: &'static str, text: &str) -> Result<Prefix, ScenarioError> {
        text.parse().map_err(|e| self.invalid(key, e))
    }

    fn prefixes(&self, key: &'static str, list: &[String]) -> Result<Vec<Prefix>, ScenarioError> {
        list.iter().map(|text| self.prefix(key, text)).collect()
    }

    /// A number of `low..=high`; not-a-number is outside.
    fn within(&self, key: &'static str, x: f64, low: f64, high: f64) -> Result<f64, ScenarioError> {
        if (low..=high).contains(&x) {
            return Ok(x);
        }
        Err(self.invalid(key, format_args!("{x} is not from {low} to {high}")))
    }

    /// A time or a length of time.
    fn nanoseconds(&self, key: &'static str, seconds: f64) -> Result<u64, ScenarioError> {
        Ok((self.within(key, seconds, 0.0, MAX_SECONDS)? * 1e9).round() as u64)
    }

    /// A length of time that is not zero.
    fn length_of_time(&self, key: &'static str, seconds: f64) -> Result<u64, ScenarioError> {
        match self.nanoseconds(key, seconds)? {
            0 => Err(self.invalid(key, "must be more than 0 seconds")),
            ns => Ok(ns),
        }
    }

    /// A rate of packets.
    fn rate(&self, key: &'static str, pps: f64) -> Result<f64, ScenarioError> {
        self.within(key, pps, 0.001, MAX_PPS)
    }
}

impl File {
    pub(super) fn check(self) -> Result<Scenario, ScenarioError> {
        let place = Place("scenario");
        let networks = place.prefixes("networks", &self.networks)?;
        if networks.is_empty() {
            return Err(place.invalid("networks", "at least one network of ours is needed"));
        }
        if self.attacks.len() > MAX_ATTACKS {
            let reason = format_args!("{} are more than {MAX_ATTACKS}", self.attacks.len());
            return Err(place.invalid("attacks", reason));
        }
        let mut scenario = Scenario {
            name: self.name,
            seed: self.seed,
            start: Timestamp::from_parts(self.start_unix_s, 0),
            duration_ns: place.length_of_time("duration_s", self.duration_s)?,
            networks,
            background: None,
            attacks: Vec::with_capacity(self.attacks.len()),
            limits: self.limits.check()?,
            expectations: Vec::with_capacity(self.expect.len()),
        };
        if let Some(background) = self.background {
            scenario.background = Some(background.check(&scenario)?);
        }
        let mut names = BTreeSet::new();
        for typed in self.attacks {
            let title = format!("attack `{}`", typed.name);
            if !names.insert(typed.name.clone()) {
                return Err(Place(&title).invalid("name", "another attack has this name"));
            }
            let attack = typed.check(&Place(&title), &scenario)?;
            scenario.attacks.push(attack);
        }
        for typed in self.expect {
            let expectation = typed.check(&scenario)?;
            scenario.expectations.push(expectation);
        }
        Ok(scenario)
    }
}

impl TypedBackground {
    fn check(self, scenario: &Scenario) -> Result<Background, ScenarioError> {
        let place = Place("background");
        if self.hosts == 0 || self.hosts > MAX_HOSTS {
            let reason = format_args!("{} is not from 1 to {MAX_HOSTS}", self.hosts);
            return Err(place.invalid("hosts", reason));
        }
        let ipv6 = place.within("ipv6", self.ipv6, 0.0, 1.0)?;
        for (family, missing) in [(Family::V4, ipv6 < 1.0), (Family::V6, ipv6 > 0.0)] {
            if missing && !scenario.has(family) {
                let reason = format_args!("{ipv6} needs an {family} network in `networks`");
                return Err(place.invalid("ipv6", reason));
            }
        }
        let share = |part| place.within("mix", part, 0.0, 1.0);
        let mix = Mix {
            tcp: share(self.mix.tcp)?,
            udp: share(self.mix.udp)?,
            icmp: share(self.mix.icmp)?,
        };
        let sum = mix.tcp + mix.udp + mix.icmp;
        if sum > 1.000_001 {
            return Err(place.invalid("mix", format_args!("the parts sum up to {sum}, above 1")));
        }
        Ok(Background {
            hosts: self.hosts,
            pps: place.rate("pps", self.pps)?,
            ipv6,
            outgoing: place.within("outgoing", self.outgoing, 0.0, 1.0)?,
            swing: place.within("swing", self.swing, 0.0, 0.9)?,
            day_ns: match self.day_s {
                Some(day_s) => place.length_of_time("day_s", day_s)?,
                None => scenario.duration_ns,
            },
            noise: place.within("noise", self.noise, 0.0, 0.5)?,
            mix,
        })
    }
}

impl TypedAttack {
    fn check(self, place: &Place<'_>, world: &Scenario) -> Result<AttackPlan, ScenarioError> {
        let target = place.prefix("target", &self.target)?;
        if !world.networks.iter().any(|network| network.covers(target)) {
            let reason = format_args!("{target} is not inside one of `networks`");
            return Err(place.invalid("target", reason));
        }
        let (start_ns, duration_ns) = self.times(place, world)?;
        let kind = self.attack_kind(place)?;
        let sources = place.prefixes("source_prefixes", &self.source_prefixes)?;
        if let Some(other) = sources.iter().find(|p| p.family() != target.family()) {
            let reason = format_args!("{other} is of another IP version than the target {target}");
            return Err(place.invalid("source_prefixes", reason));
        }
        Ok(AttackPlan {
            kind,
            target,
            direction: match self.direction {
                TypedDirection::Incoming => Direction::Incoming,
                TypedDirection::Outgoing => Direction::Outgoing,
            },
            start_ns,
            duration_ns,
            pps: self.rate(place, kind, target, &world.limits)?,
            ramp_ns: place.nanoseconds("ramp_s", self.ramp_s)?,
            pulse: match &self.pulse {
                Some(pulse) => Some(Pulse {
                    on_ns: place.length_of_time("pulse.on_s", pulse.on_s)?,
                    off_ns: place.length_of_time("pulse.off_s", pulse.off_s)?,
                }),
                None => None,
            },
            sources: self.sources,
            source_prefixes: sources,
            length: self.lengths(place, kind, target.family())?,
            source_port: self.source_port,
            destination_port: self.destination_port,
            fragments: place.within("fragments", self.fragments, 0.0, 0.9)?,
            name: self.name,
        })
    }

    /// Start and length, inside the scenario.
    fn times(&self, place: &Place<'_>, world: &Scenario) -> Result<(u64, u64), ScenarioError> {
        let start = place.nanoseconds("start_s", self.start_s)?;
        let duration = place.length_of_time("duration_s", self.duration_s)?;
        if start + duration > world.duration_ns {
            let end = (start + duration) as f64 / 1e9;
            let whole = world.duration_ns as f64 / 1e9;
            let reason = format_args!("it ends at {end} s, the scenario at {whole} s");
            return Err(place.invalid("duration_s", reason));
        }
        Ok((start, duration))
    }

    fn attack_kind(&self, place: &Place<'_>) -> Result<AttackKind, ScenarioError> {
        if self.service.is_some() && self.kind != Kind::UdpReflection {
            return Err(place.invalid("service", "only the kind `udp_reflection` has a service"));
        }
        if self.protocol.is_some() && self.kind != Kind::ProtocolFlood {
            return Err(place.invalid("protocol", "only the kind `protocol_flood` has a protocol"));
        }
        let udp = matches!(self.kind, Kind::UdpFlood | Kind::UdpReflection);
        if self.fragments != 0.0 && !udp {
            return Err(
                place.invalid("fragments", "only UDP floods and reflections are fragmented")
            );
        }
        Ok(match self.kind {
            Kind::SynFlood => AttackKind::SynFlood,
            Kind::AckFlood => AttackKind::AckFlood,
            Kind::RstFlood => AttackKind::RstFlood,
            Kind::TcpFlood => AttackKind::TcpFlood,
            Kind::SynAckReflection => AttackKind::SynAckReflection,
            Kind::UdpFlood => AttackKind::UdpFlood,
            Kind::UdpReflection => AttackKind::UdpReflection(self.named_service(place)?),
            Kind::FragmentFlood => AttackKind::FragmentFlood,
            Kind::IcmpFlood => AttackKind::IcmpFlood,
            Kind::GreFlood => AttackKind::GreFlood,
            Kind::ProtocolFlood => AttackKind::ProtocolFlood(self.protocol),
            Kind::FlashCrowd => AttackKind::FlashCrowd,
        })
    }

    fn named_service(&self, place: &Place<'_>) -> Result<Service, ScenarioError> {
        let name = self.service.as_deref().unwrap_or_default();
        Service::named(name).ok_or_else(|| {
            let known: Vec<_> = Service::ALL.iter().map(|s| s.name).collect();
            let reason = format_args!("`{name}` is none of {}", known.join(", ")).to_string();
            place.invalid("service", reason)
        })
    }

    /// `pps` as it is, or `times` of the limit that this kind of attack runs into.
    fn rate(
        &self,
        place: &Place<'_>,
        kind: AttackKind,
        target: Prefix,
        limits: &LimitPlan,
    ) -> Result<f64, ScenarioError> {
        let times = match (self.pps, self.times) {
            (Some(pps), None) => return place.rate("pps", pps),
            (None, Some(times)) => times,
            _ => return Err(place.invalid("pps", "give either `pps` or `times` (of the limit)")),
        };
        let class = match kind {
            AttackKind::SynFlood => TrafficClass::TcpSyn,
            AttackKind::IcmpFlood => TrafficClass::Icmp,
            AttackKind::FragmentFlood => TrafficClass::Fragment,
            _ => TrafficClass::Total,
        };
        let of = |limits: &[(Metric, f64)], class| {
            let metric = Metric { class, unit: Unit::Packets };
            limits.iter().find(|(m, _)| *m == metric).map(|(_, limit)| *limit)
        };
        let limit = if target.len() == target.family().bits() {
            of(&limits.host, class)
        } else {
            let network = limits.networks.iter().find(|(prefix, _)| *prefix == target);
            network.and_then(|(_, l)| of(l, class).or_else(|| of(l, TrafficClass::Total)))
        };
        let limit = limit.ok_or_else(|| {
            place.invalid("times", format_args!("`limits` has no packet rate for {target}"))
        })?;
        place.rate("times", times * limit)
    }

    /// Shortest and longest packet, long enough for their headers.
    fn lengths(
        &self,
        place: &Place<'_>,
        kind: AttackKind,
        family: Family,
    ) -> Result<(u16, u16), ScenarioError> {
        let least = match family {
            Family::V4 => 40,
            Family::V6 => 60,
        };
        let (low, high) = match self.length {
            None => {
                let (low, high) = kind.usual_length();
                (low.max(least), high.max(least))
            }
            Some(Length::One(length)) => (length, length),
            Some(Length::Range(low, high)) => (low, high),
        };
        if low < least || high < low {
            let reason = format_args!("{low} to {high} bytes: packets have at least {least} here");
            return Err(place.invalid("length", reason));
        }
        Ok((low, high))
    }
}

impl TypedLimits {
    fn check(&self) -> Result<LimitPlan, ScenarioError> {
        let host = if let Some(typed) = &self.host {
            limits(&Place("limits.host"), typed)?
        } else {
            let metric = |(class, unit, limit)| (Metric { class, unit }, limit);
            HOST_LIMITS.into_iter().map(metric).collect()
        };
        let mut networks = Vec::new();
        for (text, typed) in &self.network {
            let title = format!("limits.network.\"{text}\"");
            let place = Place(&title);
            networks.push((place.prefix("network", text)?, limits(&place, typed)?));
        }
        Ok(LimitPlan { host, networks })
    }
}

/// `total_pps = 20000` and its like, in order of metric.
fn limits(
    place: &Place<'_>,
    typed: &BTreeMap<String, f64>,
) -> Result<Vec<(Metric, f64)>, ScenarioError> {
    let classes = TrafficClass::ALL.into_iter();
    let mut metrics: Vec<Metric> = classes
        .flat_map(|class| [Unit::Packets, Unit::Bits].map(|unit| Metric { class, unit }))
        .collect();
    metrics.push(Metric { class: TrafficClass::Total, unit: Unit::Flows });
    let mut found = Vec::with_capacity(typed.len());
    for (name, limit) in typed {
        let Some(metric) = metrics.iter().find(|m| m.to_string() == *name) else {
            let known: Vec<_> = metrics.iter().map(ToString::to_string).collect();
            let reason = format!("`{name}` is none of {}", known.join(", "));
            return Err(place.invalid("limit", reason));
        };
        found.push((*metric, place.within("limit", *limit, 1.0, 1e15)?));
    }
    found.sort_by_key(|(metric, _)| *metric);
    Ok(found)
}

impl TypedExpectation {
    fn check(self, world: &Scenario) -> Result<Expectation, ScenarioError> {
        let title = format!("expect of `{}`", self.attack);
        let place = Place(&title);
        let found = world.attacks.iter().enumerate().find(|(_, a)| a.name == self.attack);
        let Some((index, attack)) = found else {
            let known: Vec<_> = world.attacks.iter().map(|a| a.name.as_str()).collect();
            let reason =
                format_args!("no attack has this name; there are {}", known.join(", ")).to_string();
            return Err(place.invalid("attack", reason));
        };
        let target = match &self.target {
            Some(text) => place.prefix("target", text)?,
            None => attack.target,
        };
        let names = match self.class {
            Some(Classes::One(name)) => vec![name],
            Some(Classes::Several(names)) => names,
            None => match attack.kind.class() {
                Some(class) => vec![class.name().to_owned()],
                None => return Err(place.invalid("class", "a flash crowd has no class: give one")),
            },
        };
        let classes: Result<Vec<_>, _> = names
            .iter()
            .map(|name| class_named(name).ok_or_else(|| place.invalid("class", unknown(name))))
            .collect();
        Ok(Expectation {
            attack: index,
            target,
            group: self.group,
            classes: classes?,
            within: Duration::from_millis(self.within_ms),
        })
    }
}

const CLASSES: [AttackClass; 12] = [
    AttackClass::SynFlood,
    AttackClass::SynAckReflection,
    AttackClass::AckFlood,
    AttackClass::RstFlood,
    AttackClass::TcpFlood,
    AttackClass::UdpFlood,
    AttackClass::UdpReflection,
    AttackClass::FragmentFlood,
    AttackClass::IcmpFlood,
    AttackClass::GreFlood,
    AttackClass::ProtocolFlood,
    AttackClass::Mixed,
];

fn class_named(name: &str) -> Option<AttackClass> {
    CLASSES.into_iter().find(|class| class.name() == name)
}

fn unknown(name: &str) -> String {
    let known = CLASSES.map(AttackClass::name).join(", ");
    format!("`{name}` is none of {known}")
}
