//! An attack as people and programs see it, and the events of its life.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{
    Address, Direction, Family, FilterRule, FlowRecord, Forwarding, Prefix, TcpFlags, Timestamp,
    TrafficClass, TrafficCounters, protocol,
};

/// What is attacked, or attacks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// One host.
    Host(Address),
    /// The total of a configured network.
    Network(Prefix),
    /// The total of a host group and its children.
    Group(String),
}

impl Target {
    /// IP version, where the target has one.
    pub fn family(&self) -> Option<Family> {
        match self {
            Self::Host(address) => Some(address.family),
            Self::Network(prefix) => Some(prefix.family()),
            Self::Group(_) => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(address) => write!(f, "{address}"),
            Self::Network(prefix) => write!(f, "{prefix}"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Unit of a threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// Packets per second.
    Packets,
    /// Bits per second.
    Bits,
    /// Distinct flows per second.
    Flows,
}

/// What a threshold limits: a class in a unit. Flows have no class but total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metric {
    /// Which traffic.
    pub class: TrafficClass,
    /// Counted in what.
    pub unit: Unit,
}

impl fmt::Display for Metric {
    /// `total_pps`, `udp_bps`, `flows_per_second`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.unit {
            Unit::Packets => write!(f, "{}_pps", self.class),
            Unit::Bits => write!(f, "{}_bps", self.class),
            Unit::Flows => f.write_str("flows_per_second"),
        }
    }
}

impl Serialize for Metric {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Why we say it is an attack: in plain numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reason {
    /// What went over its limit.
    pub metric: Metric,
    /// In which direction.
    pub direction: Direction,
    /// The rate that was measured, in the metric's unit per second.
    pub value: f64,
    /// The configured limit, in the same unit.
    pub limit: f64,
    /// Group whose limit it is.
    pub group: String,
    /// Over how many milliseconds `value` was measured.
    pub window_ms: u64,
    /// How many packets were really looked at for it (fewer than counted when sampled).
    pub samples: u64,
}

/// What kind of traffic the attack is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AttackClass {
    /// TCP SYN without ACK.
    SynFlood,
    /// SYN+ACK answers of servers that were sent forged SYNs.
    SynAckReflection,
    /// TCP ACK without SYN.
    AckFlood,
    /// TCP RST.
    RstFlood,
    /// TCP with other flags, or with none.
    TcpFlood,
    /// UDP without a known reflector behind it.
    UdpFlood,
    /// UDP answers of a known amplifying service; the vectors name it.
    UdpReflection,
    /// Fragments that belong to no other vector.
    FragmentFlood,
    /// ICMP or ICMPv6.
    IcmpFlood,
    /// GRE.
    GreFlood,
    /// Another IP protocol; the vectors name it.
    ProtocolFlood,
    /// Several kinds, none of them dominant.
    Mixed,
    /// Nothing is known about the traffic.
    #[default]
    Unknown,
}

impl AttackClass {
    /// Name as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynFlood => "syn_flood",
            Self::SynAckReflection => "syn_ack_reflection",
            Self::AckFlood => "ack_flood",
            Self::RstFlood => "rst_flood",
            Self::TcpFlood => "tcp_flood",
            Self::UdpFlood => "udp_flood",
            Self::UdpReflection => "udp_reflection",
            Self::FragmentFlood => "fragment_flood",
            Self::IcmpFlood => "icmp_flood",
            Self::GreFlood => "gre_flood",
            Self::ProtocolFlood => "protocol_flood",
            Self::Mixed => "mixed",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for AttackClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One component of an attack and its part of the sampled traffic.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Vector {
    /// Short name: `syn`, `ntp`, `fragments`, `gre`.
    pub name: String,
    /// Part of the sampled packets, 0 to 1.
    pub packets_share: f64,
    /// Part of the sampled bytes, 0 to 1.
    pub bytes_share: f64,
}

/// A value of a field and how much of the sampled traffic has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TopValue {
    /// The value as text.
    pub value: String,
    /// Packets with it in the sample, scaled.
    pub packets: u64,
    /// Part of the sampled packets, 0 to 1.
    pub share: f64,
}

/// The dominant values of the sampled attack traffic, largest first, ties by value.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TopTuples {
    /// Remote addresses.
    pub remotes: Vec<TopValue>,
    /// Our addresses (one, unless the target is a network or a group).
    pub locals: Vec<TopValue>,
    /// IP protocols.
    pub protocols: Vec<TopValue>,
    /// Source ports.
    pub source_ports: Vec<TopValue>,
    /// Destination ports.
    pub destination_ports: Vec<TopValue>,
    /// Exact TCP flag sets.
    pub tcp_flags: Vec<TopValue>,
    /// Mean packet lengths in bytes.
    pub lengths: Vec<TopValue>,
    /// Different remote addresses in the sample: a lower bound of the truth.
    pub distinct_remotes: u64,
}

/// One record of the attack, from the ring of recent traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample(pub FlowRecord);

impl Serialize for Sample {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Flat {
            time: Timestamp,
            src_addr: Address,
            dst_addr: Address,
            src_port: u16,
            dst_port: u16,
            protocol: u8,
            #[serde(skip_serializing_if = "Option::is_none")]
            tcp_flags: Option<String>,
            fragment: bool,
            packets: u64,
            bytes: u64,
            sampling_rate: u32,
            ttl: u8,
            dropped: bool,
        }
        let r = &self.0;
        let tcp = r.protocol == protocol::TCP;
        Flat {
            time: r.time,
            src_addr: r.src_address(),
            dst_addr: r.dst_address(),
            src_port: r.src_port,
            dst_port: r.dst_port,
            protocol: r.protocol,
            tcp_flags: tcp.then(|| TcpFlags::to_string(&r.tcp_flags)),
            fragment: r.fragment.is_fragment(),
            packets: r.packets,
            bytes: r.bytes,
            sampling_rate: r.sampling.get(),
            ttl: r.ttl,
            dropped: r.forwarding == Forwarding::Dropped,
        }
        .serialize(s)
    }
}

/// Number of an attack: 1 for the first since the engine began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct AttackId(pub u64);

/// An attack, from its detection to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Attack {
    /// Its number.
    pub id: AttackId,
    /// Whom it hits, or who sends it.
    pub target: Target,
    /// IP version of most of its traffic.
    pub family: Family,
    /// Incoming: towards us. Outgoing: from us.
    pub direction: Direction,
    /// What it is made of.
    pub class: AttackClass,
    /// Its components: those of its class first, then the rest, each largest first.
    pub vectors: Vec<Vector>,
    /// Why it was raised.
    pub reason: Reason,
    /// When the excess began, as far as the counters show.
    pub started: Timestamp,
    /// When it was raised.
    pub detected: Timestamp,
    /// When it was over: the end of the last window above the release limit.
    pub ended: Option<Timestamp>,
    /// Largest packets per second in one window.
    pub peak_pps: u64,
    /// Largest bits per second in one window.
    pub peak_bps: u64,
    /// Largest flows per second in one window.
    pub peak_flows: u64,
    /// Packets of the target in this direction since `started`, scaled.
    pub packets: u64,
    /// Bytes of the target in this direction since `started`, scaled.
    pub bytes: u64,
    /// All classes of this direction, per second, at detection.
    pub rates: TrafficCounters,
    /// The same of the target's other direction: what it sent while it was attacked, or received
    /// while it attacked.
    pub opposite: TrafficCounters,
    /// Dominant values of the sample.
    pub top: TopTuples,
    /// Records from the ring of recent traffic, oldest first, spread over the time since the start
    /// and present at detection.
    pub samples: Vec<Sample>,
    /// The filters that fit it best, in the order of what they take; empty when none does.
    pub filters: Vec<ProposedFilter>,
}

/// A filter for an attack, and what it is expected to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProposedFilter {
    /// The filter.
    pub rule: FilterRule,
    /// Share of the attack's sampled packets that it takes and no filter before it does, 0 to 1.
    pub coverage: f64,
    /// Share of the target's remembered normal packets that it takes, 0 to 1; `None`: nothing is
    /// remembered.
    pub collateral: Option<f64>,
}

/// What happened to an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AttackEventKind {
    /// It was raised.
    Started,
    /// It goes on: peaks and totals are new.
    Updated,
    /// It is over.
    Ended,
}

/// An event of an attack's life, with the attack as it is at that time.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackEvent {
    /// What happened.
    pub kind: AttackEventKind,
    /// When.
    pub time: Timestamp,
    /// To which attack.
    pub attack: Attack,
}
