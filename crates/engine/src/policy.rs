//! What the engine is told to watch and how much is too much: the validated meaning of the
//! configuration. Plain data, shared read-only by every shard and by the detector.

use std::time::Duration;

use tidewall_model::{Direction, Family, Metric, Prefix, TrafficClass, Unit};

use crate::filters::FilterSettings;

/// Everything the engine needs to know before the first record.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Our networks. Direction is decided by them; they may nest.
    pub networks: Vec<Prefix>,
    /// Host groups. The first one is `global` and holds every host that no other group takes.
    pub groups: Vec<Group>,
    /// What is never an attack, and what is not counted.
    pub whitelist: Whitelist,
    /// How traffic is counted.
    pub counting: Counting,
    /// When a rate is an attack.
    pub detection: Detection,
    /// How filters for an attack are chosen.
    pub filters: FilterSettings,
    /// Bounds of memory.
    pub capacity: Capacity,
}

/// Hosts that share limits. Inheritance is already resolved: what a group leaves out is its
/// parent's value here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Unique name.
    pub name: String,
    /// Index of the parent in [`Policy::groups`]; `None` for `global`.
    pub parent: Option<usize>,
    /// Its prefixes: any sub-range of a network. The longest prefix over all groups decides.
    pub prefixes: Vec<Prefix>,
    /// Limits of each host.
    pub host: DirectedLimits,
    /// Limits of the total of each configured network whose longest group prefix is this group.
    pub network: DirectedLimits,
    /// Limits of the total of all the group's traffic, its children included.
    pub total: DirectedLimits,
    /// False: count, but raise nothing for this group's hosts and totals.
    pub detect: bool,
}

/// Limits of both directions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirectedLimits {
    /// Traffic towards us.
    pub incoming: Limits,
    /// Traffic from us.
    pub outgoing: Limits,
}

impl DirectedLimits {
    /// Limits of a direction; internal and other traffic has none of its own.
    pub fn get(&self, direction: Direction) -> Option<&Limits> {
        match direction {
            Direction::Incoming => Some(&self.incoming),
            Direction::Outgoing => Some(&self.outgoing),
            Direction::Internal | Direction::Other => None,
        }
    }

    /// No limit at all?
    pub fn is_empty(&self) -> bool {
        self.incoming.0.is_empty() && self.outgoing.0.is_empty()
    }
}

/// A list of (metric, limit per second). Bits are bits, not megabits. Sorted by metric, no twins.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits(Vec<(Metric, f64)>);

impl Limits {
    /// Sets or replaces the limit of a metric, in its unit per second.
    pub fn set(&mut self, metric: Metric, limit: f64) {
        match self.0.binary_search_by_key(&metric, |(m, _)| *m) {
            Ok(at) => self.0[at].1 = limit,
            Err(at) => self.0.insert(at, (metric, limit)),
        }
    }

    /// Removes the limit of a metric.
    pub fn remove(&mut self, metric: Metric) {
        self.0.retain(|(m, _)| *m != metric);
    }

    /// The limit of a metric, if there is one.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.0.binary_search_by_key(&metric, |(m, _)| *m).ok().map(|at| self.0[at].1)
    }

    /// All limits in order of metric.
    pub fn iter(&self) -> impl Iterator<Item = (Metric, f64)> + '_ {
        self.0.iter().copied()
    }

    /// Shorthand for tables in code: `Limits::of(&[(TrafficClass::Total, Unit::Packets, 2e4)])`.
    pub fn of(list: &[(TrafficClass, Unit, f64)]) -> Self {
        let mut limits = Self::default();
        for (class, unit, limit) in list {
            limits.set(Metric { class: *class, unit: *unit }, *limit);
        }
        limits
    }
}

/// What is never an attack, and what is not counted at all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whitelist {
    /// Our hosts and prefixes that are counted and shown, and never raise an attack.
    pub hosts: Vec<Prefix>,
    /// Remote prefixes whose traffic is not counted for our hosts.
    pub remotes: Vec<Prefix>,
    /// Traffic that matches one of these is not counted for our hosts.
    pub rules: Vec<Rule>,
}

/// A traffic pattern. Every condition that is present must hold; within a list one is enough.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Source is in one of these.
    pub source: Vec<Prefix>,
    /// Destination is in one of these.
    pub destination: Vec<Prefix>,
    /// IP protocol is one of these.
    pub protocols: Vec<u8>,
    /// Source port is in one of these ranges, both ends included. Later fragments have no port.
    pub source_ports: Vec<(u16, u16)>,
    /// Destination port is in one of these ranges.
    pub destination_ports: Vec<(u16, u16)>,
    /// TCP flags are exactly one of these sets.
    pub tcp_flags: Vec<u16>,
    /// Mean packet length in bytes is in one of these ranges.
    pub packet_lengths: Vec<(u16, u16)>,
    /// Outermost VLAN is one of these.
    pub vlans: Vec<u16>,
    /// TTL or hop limit is in one of these ranges.
    pub ttls: Vec<(u8, u8)>,
    /// It is a fragment (true), or a whole packet (false).
    pub fragment: Option<bool>,
    /// Only this IP version.
    pub family: Option<Family>,
}

/// How traffic is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counting {
    /// Count traffic towards us.
    pub incoming: bool,
    /// Count traffic from us.
    pub outgoing: bool,
    /// Count traffic between two of our hosts for both of them.
    pub internal: bool,
    /// Count SYN+ACK as SYN, as the reference does.
    pub syn_with_ack: bool,
    /// Count distinct flows.
    pub flows: bool,
}

/// When a rate is an attack, and when it is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Raise attacks at all.
    pub enabled: bool,
    /// Length of a counting window.
    pub window: Duration,
    /// Slices in a window, for attacks that need not wait for its end.
    pub slices: u32,
    /// Time constant of the exponential averages that are shown.
    pub average_time: Duration,
    /// Rates up to this part of a limit must never raise an attack, whatever the samples say.
    pub tolerance: f64,
    /// How unlikely (natural logarithm of 1/p) the samples must be at the tolerated rate.
    pub evidence: f64,
    /// An attack ends only when every rate is below this part of its limit ...
    pub release: f64,
    /// ... for this long.
    pub release_time: Duration,
    /// Time between two updates of a running attack.
    pub update_every: Duration,
    /// Records kept as the sample of an attack.
    pub samples: usize,
}

/// Bounds of memory, for each shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Active hosts in one window.
    pub hosts: u32,
    /// Distinct flows in one window that are told apart exactly; above, they are sampled.
    pub flows: u32,
    /// Recent records, from which the samples of an attack are taken: all of them as long as they
    /// reach back for a quarter of a second, one in several where more come. For one in sixteen of
    /// them a host's normal traffic is remembered.
    pub recent: u32,
    /// IPv4 addresses of our networks that get a direct index entry (4 bytes each, used lazily).
    pub dense: u32,
}

impl Default for Counting {
    fn default() -> Self {
        Self { incoming: true, outgoing: true, internal: true, syn_with_ack: false, flows: true }
    }
}

impl Default for Detection {
    fn default() -> Self {
        Self {
            enabled: true,
            window: Duration::from_secs(1),
            slices: 20,
            average_time: Duration::from_secs(5),
            tolerance: 0.8,
            evidence: 14.0,
            release: 0.7,
            release_time: Duration::from_secs(30),
            update_every: Duration::from_secs(5),
            samples: 500,
        }
    }
}

impl Default for Capacity {
    fn default() -> Self {
        Self { hosts: 1 << 20, flows: 1 << 20, recent: 1 << 14, dense: 1 << 24 }
    }
}

impl Group {
    /// The group `global` with the default limits: see `tidewall config default` for the prose.
    pub fn global() -> Self {
        let limits = || {
            Limits::of(&[
                (TrafficClass::Total, Unit::Packets, 20_000.0),
                (TrafficClass::Total, Unit::Bits, 1e9),
                (TrafficClass::TcpSyn, Unit::Packets, 10_000.0),
                (TrafficClass::Icmp, Unit::Packets, 5_000.0),
                (TrafficClass::Fragment, Unit::Packets, 5_000.0),
            ])
        };
        Self {
            name: "global".to_owned(),
            host: DirectedLimits { incoming: limits(), outgoing: limits() },
            detect: true,
            ..Self::default()
        }
    }
}

impl Policy {
    /// Default limits and bounds for these networks.
    pub fn for_networks(networks: Vec<Prefix>) -> Self {
        Self {
            networks,
            groups: vec![Group::global()],
            whitelist: Whitelist::default(),
            counting: Counting::default(),
            detection: Detection::default(),
            filters: FilterSettings::default(),
            capacity: Capacity::default(),
        }
    }
}
