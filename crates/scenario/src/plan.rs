//! A scenario after its file was read and checked: what happens, where, when, and what a detector
//! should say about it.

use std::time::Duration;

use tidewall_model::{AttackClass, Direction, Family, Metric, Prefix, Timestamp};

/// A synthetic world. Times inside are nanoseconds since its start.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it shows, in a few words.
    pub name: String,
    /// Every random choice follows from it.
    pub seed: u64,
    /// Time of the first moment.
    pub start: Timestamp,
    /// How long it lasts.
    pub duration_ns: u64,
    /// Our networks.
    pub networks: Vec<Prefix>,
    /// Ordinary traffic.
    pub background: Option<Background>,
    /// Attacks and flash crowds.
    pub attacks: Vec<AttackPlan>,
    /// The limits it was written for.
    pub limits: LimitPlan,
    /// What a detector should find; anything else is a false alarm.
    pub expectations: Vec<Expectation>,
}

/// Ordinary traffic of many hosts, whose rates have a heavy tail.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Background {
    /// How many of our hosts have traffic.
    pub hosts: u32,
    /// Packets per second, in and out together, as the mean of a day.
    pub pps: f64,
    /// Part of the packets that is IPv6.
    pub ipv6: f64,
    /// Part of the packets that leaves our networks.
    pub outgoing: f64,
    /// By which part of the mean the day's rate rises and falls.
    pub swing: f64,
    /// Length of the day.
    pub day_ns: u64,
    /// Standard deviation of the noise on the rate, as a part of the mean.
    pub noise: f64,
    /// Protocols.
    pub mix: Mix,
}

/// Parts of the background's packets; what is left of 1 is ESP and GRE.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// TCP.
    pub tcp: f64,
    /// UDP.
    pub udp: f64,
    /// ICMP and ICMPv6.
    pub icmp: f64,
}

/// One attack, or a flash crowd that only looks like one.
#[derive(Clone, Debug, PartialEq)]
pub struct AttackPlan {
    /// Unique name.
    pub name: String,
    /// What its packets are.
    pub kind: AttackKind,
    /// A host, or a prefix over whose hosts it is spread (carpet bombing).
    pub target: Prefix,
    /// Incoming: at the target. Outgoing: from it.
    pub direction: Direction,
    /// When it begins.
    pub start_ns: u64,
    /// How long it lasts.
    pub duration_ns: u64,
    /// Packets per second at full rate (a flash crowd: towards the target).
    pub pps: f64,
    /// How long it grows to its full rate, in a straight line.
    pub ramp_ns: u64,
    /// On and off, if it comes in pulses.
    pub pulse: Option<Pulse>,
    /// How many different remote addresses; 0 means a forged one for each packet.
    pub sources: u32,
    /// Remote addresses are in these; anywhere public when empty.
    pub source_prefixes: Vec<Prefix>,
    /// Shortest and longest IP packet in bytes.
    pub length: (u16, u16),
    /// Port that packets come from; `None`: the kind's own choice.
    pub source_port: Option<u16>,
    /// Port that packets go to; `None`: the kind's own choice.
    pub destination_port: Option<u16>,
    /// Part of the packets that are later pieces of fragmented datagrams, at most 0.9.
    pub fragments: f64,
}

/// What the packets of an attack are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttackKind {
    /// TCP SYN.
    SynFlood,
    /// TCP ACK.
    AckFlood,
    /// TCP RST.
    RstFlood,
    /// TCP FIN+PSH+URG.
    TcpFlood,
    /// SYN+ACK from web and mail servers.
    SynAckReflection,
    /// UDP from and to any port.
    UdpFlood,
    /// Answers of an amplifying UDP service.
    UdpReflection(Service),
    /// Pieces of UDP datagrams.
    FragmentFlood,
    /// Echo requests.
    IcmpFlood,
    /// GRE.
    GreFlood,
    /// One IP protocol by number, or a mix of rare ones.
    ProtocolFlood(Option<u8>),
    /// Not an attack: many clients who talk to a web server, which answers.
    FlashCrowd,
}

/// An amplifying UDP service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name in scenario files.
    pub name: &'static str,
    /// Port that its answers come from.
    pub port: u16,
    /// Usual length of an answer's packet in bytes, shortest and longest.
    pub length: (u16, u16),
}

impl Service {
    /// The services that scenario files know.
    pub const ALL: &'static [Self] = &[
        Self { name: "chargen", port: 19, length: (600, 1100) },
        Self { name: "dns", port: 53, length: (1300, 1500) },
        Self { name: "ntp", port: 123, length: (468, 468) },
        Self { name: "snmp", port: 161, length: (900, 1450) },
        Self { name: "cldap", port: 389, length: (1400, 1500) },
        Self { name: "ssdp", port: 1900, length: (280, 400) },
        Self { name: "ws_discovery", port: 3702, length: (600, 1200) },
        Self { name: "memcached", port: 11211, length: (1400, 1428) },
    ];

    /// The service of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.name == name)
    }
}

impl AttackKind {
    /// What a detector should call it; `None` for what is no attack.
    pub const fn class(self) -> Option<AttackClass> {
        Some(match self {
            Self::SynFlood => AttackClass::SynFlood,
            Self::AckFlood => AttackClass::AckFlood,
            Self::RstFlood => AttackClass::RstFlood,
            Self::TcpFlood => AttackClass::TcpFlood,
            Self::SynAckReflection => AttackClass::SynAckReflection,
            Self::UdpFlood => AttackClass::UdpFlood,
            Self::UdpReflection(_) => AttackClass::UdpReflection,
            Self::FragmentFlood => AttackClass::FragmentFlood,
            Self::IcmpFlood => AttackClass::IcmpFlood,
            Self::GreFlood => AttackClass::GreFlood,
            Self::ProtocolFlood(_) => AttackClass::ProtocolFlood,
            Self::FlashCrowd => return None,
        })
    }

    /// Lengths of its packets when the file says none.
    pub(crate) const fn usual_length(self) -> (u16, u16) {
        match self {
            Self::SynFlood | Self::AckFlood | Self::RstFlood | Self::TcpFlood => (40, 40),
            Self::SynAckReflection => (40, 44),
            Self::UdpFlood => (200, 1400),
            Self::UdpReflection(service) => service.length,
            Self::FragmentFlood => (1500, 1500),
            Self::IcmpFlood => (84, 84),
            Self::GreFlood => (400, 600),
            Self::ProtocolFlood(_) => (100, 600),
            Self::FlashCrowd => (60, 1500),
        }
    }
}

/// A pulse wave: on for a while, off for a while, from the attack's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// How long it is on.
    pub on_ns: u64,
    /// How long it is off.
    pub off_ns: u64,
}

impl Pulse {
    /// Is it on, so long after the attack's start?
    pub(crate) const fn is_on(self, since_ns: u64) -> bool {
        match since_ns.checked_rem(self.on_ns.saturating_add(self.off_ns)) {
            Some(at) => at < self.on_ns,
            None => true,
        }
    }
}

/// The limits a scenario was written for, as plain data for whoever runs the detector.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitPlan {
    /// Of each host, both directions, per second (bits for bits).
    pub host: Vec<(Metric, f64)>,
    /// Of the total of a network.
    pub networks: Vec<(Prefix, Vec<(Metric, f64)>)>,
}

/// What a detector should say about one of the attacks.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// Index in [`Scenario::attacks`].
    pub attack: usize,
    /// The host or prefix that it should name.
    pub target: Prefix,
    /// A host group whose total it may name instead.
    pub group: Option<String>,
    /// Classes that fit, the best one first.
    pub classes: Vec<AttackClass>,
    /// How soon.
    pub within: Duration,
}

/// An attack as it really was: what detections are scored against.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// The attack's name.
    pub name: String,
    /// The host, or the prefix for a carpet.
    pub target: Prefix,
    /// A host group whose total may be named instead.
    pub group: Option<String>,
    /// Towards the target or from it.
    pub direction: Direction,
    /// Classes that fit, the best one first.
    pub classes: Vec<AttackClass>,
    /// When it begins.
    pub start: Timestamp,
    /// When it is over.
    pub end: Timestamp,
    /// How soon it should be named.
    pub within: Duration,
}

impl Scenario {
    /// The end of its time.
    pub fn end(&self) -> Timestamp {
        self.start + Duration::from_nanos(self.duration_ns)
    }

    /// What a detector should find, in order of start.
    pub fn truth(&self) -> Vec<Truth> {
        let at = |ns| self.start + Duration::from_nanos(ns);
        let mut truths: Vec<Truth> = self
            .expectations
            .iter()
            .filter_map(|expected| {
                let attack = self.attacks.get(expected.attack)?;
                Some(Truth {
                    name: attack.name.clone(),
                    target: expected.target,
                    group: expected.group.clone(),
                    direction: attack.direction,
                    classes: expected.classes.clone(),
                    start: at(attack.start_ns),
                    end: at(attack.start_ns.saturating_add(attack.duration_ns)),
                    within: expected.within,
                })
            })
            .collect();
        truths.sort_by_key(|t| t.start);
        truths
    }

    /// The same story told in another time: every start, length, ramp, pulse and day is stretched
    /// or shortened, rates are not.
    #[must_use]
    pub fn stretched_to(mut self, duration: Duration) -> Self {
        let to = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let from = u128::from(self.duration_ns.max(1));
        let scale = |ns: &mut u64| {
            *ns = u64::try_from(u128::from(*ns) * u128::from(to) / from).unwrap_or(u64::MAX);
        };
        for attack in &mut self.attacks {
            scale(&mut attack.start_ns);
            scale(&mut attack.duration_ns);
            scale(&mut attack.ramp_ns);
            if let Some(pulse) = &mut attack.pulse {
                scale(&mut pulse.on_ns);
                scale(&mut pulse.off_ns);
            }
        }
        if let Some(background) = &mut self.background {
            scale(&mut background.day_ns);
        }
        self.duration_ns = to;
        self
    }

    /// Do our networks have addresses of this family?
    pub(crate) fn has(&self, family: Family) -> bool {
        self.networks.iter().any(|p| p.family() == family)
    }
}
