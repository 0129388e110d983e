//! Mitigations: what is done about an attack, for how long, why, and how far it has come.

use std::fmt;

use serde::Serialize;

use crate::{
    AttackId, Direction, FlowRecord, Fragment, Prefix, Target, TcpFlags, Timestamp, protocol,
};

/// Number of a mitigation: never given twice, restarts included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct MitigationId(pub u64);

impl fmt::Display for MitigationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What happens to traffic that a filter matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FilterAction {
    /// It is dropped.
    Discard,
    /// It passes up to so many bytes per second.
    RateLimit(u64),
}

/// TCP flags that must be set and flags that must not be. SYN without ACK opens a connection; SYN
/// with ACK answers one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FlagMatch {
    /// All of these are set.
    pub set: u16,
    /// None of these is.
    pub clear: u16,
}

impl FlagMatch {
    /// Do these flags fit?
    pub const fn fits(self, flags: TcpFlags) -> bool {
        flags.0 & self.set == self.set && flags.0 & self.clear == 0
    }
}

/// Which packets a filter takes, besides that they go to the mitigation's target. A filter without
/// a destination cannot be written. Every condition that is present must hold; within a list one is
/// enough, and an empty list is no condition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct FilterRule {
    /// Source is in this prefix.
    pub source: Option<Prefix>,
    /// IP protocol.
    pub protocol: Option<u8>,
    /// Source port is in one of these ranges, both ends included.
    pub source_ports: Vec<(u16, u16)>,
    /// Destination port is in one of these ranges.
    pub destination_ports: Vec<(u16, u16)>,
    /// Type of ICMP or ICMPv6.
    pub icmp_type: Option<u8>,
    /// Code of ICMP or ICMPv6.
    pub icmp_code: Option<u8>,
    /// Length of the IP packet in bytes is in one of these ranges.
    pub packet_lengths: Vec<(u16, u16)>,
    /// TCP flags.
    pub tcp_flags: Option<FlagMatch>,
    /// It is a fragment, the first one included (true), or a whole packet (false).
    pub fragment: Option<bool>,
    /// What happens to it.
    pub action: FilterAction,
}

impl FilterRule {
    /// Everything to the target, with this action.
    pub const fn all(action: FilterAction) -> Self {
        Self {
            source: None,
            protocol: None,
            source_ports: Vec::new(),
            destination_ports: Vec::new(),
            icmp_type: None,
            icmp_code: None,
            packet_lengths: Vec::new(),
            tcp_flags: None,
            fragment: None,
            action,
        }
    }

    /// Has it a condition besides the destination?
    pub fn has_condition(&self) -> bool {
        *self != Self::all(self.action)
    }

    /// Does it take the record's packets? Of several packets it knows the union of their flags and
    /// the mean of their lengths only.
    pub fn matches(&self, record: &FlowRecord) -> bool {
        self.fits_headers(record)
            && self.fits_length(record)
            && self.tcp_flags.is_none_or(|flags| flags.fits(record.tcp_flags))
    }

    /// Might it take some packet of the record? The same as [`FilterRule::matches`] of a single
    /// packet; several may each have other flags and lengths than all of them together.
    pub fn may_touch(&self, record: &FlowRecord) -> bool {
        if record.packets <= 1 {
            return self.matches(record);
        }
        let opened = |flags: FlagMatch| record.tcp_flags.has(flags.set);
        self.fits_headers(record) && self.tcp_flags.is_none_or(opened)
    }

    /// All but lengths and the values of flags.
    fn fits_headers(&self, r: &FlowRecord) -> bool {
        let port =
            |ranges: &[(u16, u16)], port| ranges.is_empty() || r.has_ports() && is_in(ranges, port);
        let whole_header = r.fragment != Fragment::Later;
        let icmp = |wanted: Option<u8>, value: u16| {
            wanted.is_none_or(|wanted| r.is_icmp() && whole_header && u16::from(wanted) == value)
        };
        self.protocol.is_none_or(|protocol| protocol == r.protocol)
            && self.source.is_none_or(|source| source.contains(r.src_address()))
            && self.fragment.is_none_or(|fragment| fragment == r.fragment.is_fragment())
            && self.tcp_flags.is_none_or(|_| r.protocol == protocol::TCP && whole_header)
            && port(&self.source_ports, r.src_port)
            && port(&self.destination_ports, r.dst_port)
            && icmp(self.icmp_type, r.dst_port >> 8)
            && icmp(self.icmp_code, r.dst_port & 0xff)
    }

    fn fits_length(&self, record: &FlowRecord) -> bool {
        let length = u16::try_from(record.ip_length());
        self.packet_lengths.is_empty() || length.is_ok_and(|l| is_in(&self.packet_lengths, l))
    }
}

fn is_in(ranges: &[(u16, u16)], value: u16) -> bool {
    ranges.iter().any(|(first, last)| (*first..=*last).contains(&value))
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MitigationKind {
    /// People and scripts are told; they are told again when it is withdrawn.
    Notify,
    /// A filter for a part of the target's traffic (RFC 8955).
    FlowSpec(FilterRule),
    /// The target is announced towards a scrubber.
    Divert,
    /// All traffic to the target is dropped upstream (RFC 7999).
    Blackhole,
}

impl MitigationKind {
    /// Name as in JSON and in the configuration.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::FlowSpec(_) => "flow_spec",
            Self::Divert => "divert",
            Self::Blackhole => "blackhole",
        }
    }

    /// Does it change where traffic goes?
    pub const fn is_route(&self) -> bool {
        !matches!(self, Self::Notify)
    }
}

impl fmt::Display for MitigationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who or what wants a mitigation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CausedBy {
    /// An attack.
    Attack {
        /// Its number in the run that saw it; after a restart only target and direction tell.
        id: AttackId,
        /// Whom it hits, or who sends it.
        target: Target,
        /// Incoming: towards us. Outgoing: from us.
        direction: Direction,
    },
    /// A person.
    Operator {
        /// Name, as the control socket knows it.
        who: String,
        /// What was said about it.
        why: String,
    },
}

/// One reason why a mitigation is up, and until when. A mitigation is up as long as it has any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// Who or what wants it.
    pub by: CausedBy,
    /// Until when.
    pub ends: Timestamp,
}

/// How far a mitigation has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MitigationStatus {
    /// Nothing is done before a person agrees.
    AwaitingApproval,
    /// Ordered, not yet confirmed.
    Pending,
    /// Confirmed.
    Active,
    /// It could not be applied, with the reason; the action may go on trying.
    Failed(String),
    /// Its end is ordered, not yet confirmed.
    Withdrawing,
    /// It is over, and nothing of it is left.
    Withdrawn,
}

impl MitigationStatus {
    /// Name as in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::AwaitingApproval => "awaiting_approval",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Failed(_) => "failed",
            Self::Withdrawing => "withdrawing",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl fmt::Display for MitigationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) => write!(f, "failed: {why}"),
            other => f.write_str(other.name()),
        }
    }
}

/// One thing that is done, from its decision to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mitigation {
    /// Its number.
    pub id: MitigationId,
    /// What is done.
    pub kind: MitigationKind,
    /// For whom. Of a route: the host or prefix that is announced.
    pub target: Target,
    /// Our network that the target lies in.
    pub network: Option<Prefix>,
    /// Host group by whose rules it was decided.
    pub group: String,
    /// Direction of the traffic that it was first decided for.
    pub direction: Direction,
    /// Why it is up.
    pub causes: Vec<Cause>,
    /// When it was decided.
    pub created: Timestamp,
    /// When it is over, unless something extends it: the end of its last cause.
    pub ends: Timestamp,
    /// How often the same victim had been mitigated shortly before.
    pub round: u32,
    /// Only said, never done.
    pub dry_run: bool,
    /// How far it has come.
    pub status: MitigationStatus,
}

impl Mitigation {
    /// The target as a prefix; `None` for the total of a host group.
    pub fn prefix(&self) -> Option<Prefix> {
        self.target.prefix()
    }
}

/// What an action is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MitigationCommand {
    /// Make it so. A mitigation that is applied already stays as it is.
    Apply(Mitigation),
    /// End it. One that is not there is withdrawn already.
    Withdraw(Mitigation),
}

/// What an action answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MitigationOutcome {
    /// It is applied.
    Applied,
    /// It could not be applied, or withdrawn; the action goes on trying or not.
    Failed(String),
    /// Nothing of it is left, or there never was.
    Withdrawn,
}

impl Target {
    /// A prefix as a target: a host where it holds one address only.
    pub fn from_prefix(prefix: Prefix) -> Self {
        if prefix.len() == prefix.family().bits() {
            Self::Host(prefix.first())
        } else {
            Self::Network(prefix)
        }
    }

    /// The target as a prefix; `None` for the total of a host group.
    pub fn prefix(&self) -> Option<Prefix> {
        match self {
            Self::Host(address) => Some(Prefix::host(*address)),
            Self::Network(prefix) => Some(*prefix),
            Self::Group(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_one_address_is_a_host() {
        for text in ["192.0.2.7/32", "2001:db8::7/128"] {
            let prefix: Prefix = text.parse().unwrap();
            assert_eq!(Target::from_prefix(prefix), Target::Host(prefix.first()));
            assert_eq!(Target::from_prefix(prefix).prefix(), Some(prefix));
        }
        let prefix: Prefix = "192.0.2.0/31".parse().unwrap();
        assert_eq!(Target::from_prefix(prefix), Target::Network(prefix));
        assert_eq!(Target::Group("web".to_owned()).prefix(), None);
    }

    const SYN: u16 = TcpFlags::SYN;
    const ACK: u16 = TcpFlags::ACK;

    fn rule() -> FilterRule {
        FilterRule::all(FilterAction::Discard)
    }

    fn record(protocol: u8) -> FlowRecord {
        FlowRecord {
            src: 0xcb00_7109,
            src_port: 53,
            dst_port: 0x0800,
            protocol,
            tcp_flags: TcpFlags(SYN),
            bytes: 142,
            link_bytes: 14,
            ..FlowRecord::default()
        }
    }

    #[test]
    fn every_condition_decides() {
        let udp = record(protocol::UDP);
        let (tcp, icmp) = (record(protocol::TCP), record(protocol::ICMP));
        let later = FlowRecord { fragment: Fragment::Later, ..udp };
        let first = FlowRecord { fragment: Fragment::First, ..udp };
        let source = |text: &str| FilterRule { source: text.parse().ok(), ..rule() };
        let ports = |range| FilterRule { source_ports: vec![range], ..rule() };
        let lengths = |range| FilterRule { packet_lengths: vec![range], ..rule() };
        let flags = |set, clear| FilterRule { tcp_flags: Some(FlagMatch { set, clear }), ..rule() };
        let icmp_type = |kind| FilterRule { icmp_type: Some(kind), ..rule() };
        let fragment = |is| FilterRule { fragment: Some(is), ..rule() };
        for (rule, record, want) in [
            (rule(), udp, true),
            (FilterRule { protocol: Some(17), ..rule() }, udp, true),
            (FilterRule { protocol: Some(6), ..rule() }, udp, false),
            (source("203.0.113.0/24"), udp, true),
            (source("203.0.112.0/24"), udp, false),
            (source("::/0"), udp, false),
            (ports((50, 53)), udp, true),
            (ports((54, 60)), udp, false),
            (ports((0, 65_535)), later, false),
            (ports((0, 65_535)), first, true),
            (ports((0, 65_535)), icmp, false),
            (lengths((128, 128)), udp, true),
            (lengths((129, 1500)), udp, false),
            (lengths((128, 128)), FlowRecord { packets: 3, bytes: 3 * 142, ..udp }, true),
            (flags(SYN, ACK), tcp, true),
            (flags(SYN | ACK, 0), tcp, false),
            (flags(0, SYN), tcp, false),
            (flags(0, ACK), udp, false),
            (flags(SYN, ACK), FlowRecord { fragment: Fragment::Later, ..tcp }, false),
            (icmp_type(8), icmp, true),
            (icmp_type(3), icmp, false),
            (icmp_type(8), udp, false),
            (FilterRule { icmp_code: Some(0), ..icmp_type(8) }, icmp, true),
            (FilterRule { icmp_code: Some(1), ..icmp_type(8) }, icmp, false),
            (fragment(true), later, true),
            (fragment(true), first, true),
            (fragment(true), udp, false),
            (fragment(false), first, false),
            (fragment(false), udp, true),
        ] {
            assert_eq!(rule.matches(&record), want, "{rule:?} {record:?}");
            assert!(!want || rule.may_touch(&record));
        }
    }

    #[test]
    fn a_flow_may_hold_a_packet_that_it_is_not_itself() {
        let flow = FlowRecord {
            packets: 10,
            bytes: 10 * 500,
            tcp_flags: TcpFlags(SYN | ACK | TcpFlags::FIN),
            ..record(protocol::TCP)
        };
        let opening = FilterRule {
            tcp_flags: Some(FlagMatch { set: SYN, clear: ACK }),
            packet_lengths: vec![(40, 60)],
            ..rule()
        };
        assert!(!opening.matches(&flow) && opening.may_touch(&flow));
        assert!(!opening.may_touch(&FlowRecord { packets: 1, ..flow }));
        assert!(!opening.may_touch(&FlowRecord { tcp_flags: TcpFlags(ACK), ..flow }));
    }
}
