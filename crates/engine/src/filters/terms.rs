//! The conditions that a rule for an attack may have, taken from the dominant values of its sample,
//! and how much of an ordinary host's traffic each of them lets a rule take.

use std::collections::BTreeMap;

use tidewall_model::{
    Family, FilterRule, FlagMatch, FlowRecord, Fragment, Prefix, TcpFlags, protocol,
};

use super::bits::{Bits, Records};
use super::search::PRICE;

/// Most ports in one condition, and most single values that are tried of each field.
const MOST_PORTS: usize = 6;
const MOST_FLAG_SETS: usize = 4;
const MOST_ICMP: usize = 2;
const MOST_SOURCES: usize = 4;
/// Sources are a condition only when so few prefixes send this part of the attack.
const CONCENTRATED: f64 = 0.8;
/// A length that nearly all packets have.
const SAME_LENGTH: f64 = 0.8;
/// Part of the packets whose length may be unknown: means of several packets.
const UNKNOWN_LENGTHS: f64 = 0.1;
/// Part of what a rule takes that may be left out at each end of its lengths.
const STRAY: f64 = 0.005;
/// The six flags that every router and every exporter knows (RFC 9293 §3.1).
const CLASSIC: u16 = 0x3f;
/// Longer packets than this are rare on most links.
const LONGEST: f64 = 1_500.0;

/// One condition besides the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Term {
    SourcePorts(Vec<u16>),
    DestinationPorts(Vec<u16>),
    Icmp(u8, u8),
    Lengths(u16, u16),
    Flags(FlagMatch),
    Fragment,
    Source(Prefix),
}

impl Term {
    /// Adds itself to a rule.
    pub(super) fn put(&self, rule: &mut FilterRule) {
        match self {
            Self::SourcePorts(ports) => rule.source_ports = ranges(ports),
            Self::DestinationPorts(ports) => rule.destination_ports = ranges(ports),
            Self::Icmp(kind, code) => {
                (rule.icmp_type, rule.icmp_code) = (Some(*kind), Some(*code));
            }
            Self::Lengths(first, last) => rule.packet_lengths = vec![(*first, *last)],
            Self::Flags(flags) => rule.tcp_flags = Some(*flags),
            Self::Fragment => rule.fragment = Some(true),
            Self::Source(prefix) => rule.source = Some(*prefix),
        }
    }

    /// May a rule have it besides what it has? Routers want no ports without their protocol, and
    /// later fragments have none.
    pub(super) fn fits(&self, rule: &FilterRule) -> bool {
        let whole = rule.fragment.is_none();
        let without_ports = rule.source_ports.is_empty() && rule.destination_ports.is_empty();
        let with_ports = matches!(rule.protocol, Some(protocol::TCP | protocol::UDP));
        match self {
            Self::SourcePorts(_) => rule.source_ports.is_empty() && with_ports && whole,
            Self::DestinationPorts(_) => rule.destination_ports.is_empty() && with_ports && whole,
            Self::Icmp(..) => {
                rule.icmp_type.is_none()
                    && matches!(rule.protocol, Some(protocol::ICMP | protocol::ICMPV6))
                    && whole
            }
            Self::Lengths(..) => rule.packet_lengths.is_empty(),
            Self::Flags(_) => {
                rule.tcp_flags.is_none() && rule.protocol == Some(protocol::TCP) && whole
            }
            Self::Fragment => {
                whole && without_ports && rule.tcp_flags.is_none() && rule.icmp_type.is_none()
            }
            Self::Source(_) => rule.source.is_none(),
        }
    }

    /// Which part of what a rule takes of an ordinary host's traffic is left with it. Rough on
    /// purpose: it tells narrow rules from wide ones where nothing else does.
    pub(super) fn prior(&self) -> f64 {
        match self {
            Self::SourcePorts(ports) => ports.iter().map(|port| source_port_prior(*port)).sum(),
            Self::DestinationPorts(ports) => 0.3 * ports.len() as f64,
            Self::Icmp(..) => 0.5,
            Self::Lengths(first, last) => {
                (f64::from(last.saturating_sub(*first)) / LONGEST).clamp(0.1, 1.0)
            }
            Self::Flags(flags) if is_impossible(*flags) => 1e-4,
            Self::Flags(flags) if flags.set & (TcpFlags::SYN | TcpFlags::RST) != 0 => 0.05,
            Self::Flags(_) => 0.8,
            Self::Fragment => 0.01,
            Self::Source(prefix) => {
                if prefix.len() == prefix.family().bits() {
                    1e-3
                } else {
                    0.01
                }
            }
        }
        .min(1.0)
    }
}

/// Part of an ordinary host's packets that has this protocol.
pub(super) fn protocol_prior(number: u8) -> f64 {
    match number {
        protocol::TCP => 0.6,
        protocol::UDP => 0.3,
        protocol::ICMP | protocol::ICMPV6 => 0.02,
        _ => 0.005,
    }
}

/// Replies of web servers are much of what hosts receive; of name servers, some.
fn source_port_prior(port: u16) -> f64 {
    match port {
        80 | 443 => 0.5,
        53 => 0.1,
        _ => 0.01,
    }
}

/// Flags that no packet of a connection has: none at all, FIN without ACK, or an opening that is an
/// end.
pub(super) fn is_impossible(flags: FlagMatch) -> bool {
    const ENDS: u16 = TcpFlags::FIN | TcpFlags::RST;
    let FlagMatch { set, clear } = flags;
    let has = |bits: u16| set & bits == bits;
    let lacks = |bits: u16| clear & bits == bits;
    lacks(CLASSIC)
        || has(TcpFlags::SYN) && set & ENDS != 0
        || has(TcpFlags::FIN) && lacks(TcpFlags::ACK)
}

/// A field of ports, and the condition on it.
type Field = (fn(&FlowRecord) -> u16, fn(Vec<u16>) -> Term);

/// The conditions that the attack's dominant values suggest. Lengths depend on what a rule takes
/// already: see [`lengths`].
pub(super) fn list(attack: &Records<'_>, least: f64) -> Vec<Term> {
    let all = Bits::all(attack.list.len());
    let shares: Vec<(&FlowRecord, f64)> = attack.shares(&all).collect();
    let mut list = Vec::new();
    let fields: [Field; 2] =
        [(|r| r.src_port, Term::SourcePorts), (|r| r.dst_port, Term::DestinationPorts)];
    for (port, term) in fields {
        let with_ports = shares.iter().filter(|(record, _)| record.has_ports());
        let values = with_ports.map(|(record, share)| (port(record), *share));
        let ports: Vec<u16> =
            largest(values, least, MOST_PORTS).into_iter().map(|(port, _)| port).collect();
        list.extend(ports.iter().map(|port| term(vec![*port])));
        list.extend((2..=ports.len()).map(|count| term(ports[..count].to_vec())));
    }
    let icmp = shares.iter().filter(|(r, _)| r.is_icmp() && r.fragment != Fragment::Later);
    let icmp = icmp.map(|(r, share)| ((r.dst_port >> 8, r.dst_port & 0xff), *share));
    list.extend(
        largest(icmp, least, MOST_ICMP)
            .into_iter()
            .map(|((kind, code), _)| Term::Icmp(kind as u8, code as u8)),
    );
    list.extend(flag_sets(&shares, least).into_iter().map(Term::Flags));
    let fragments = shares.iter().filter(|(record, _)| record.fragment.is_fragment());
    if fragments.map(|(_, share)| share).sum::<f64>() >= least {
        list.push(Term::Fragment);
    }
    list.extend(sources(&shares, least).into_iter().map(Term::Source));
    list
}

/// The lengths that tell what a rule takes of the attack from what it takes of normal traffic:
/// the interval with the best difference, and the one length that nearly all have.
pub(super) fn lengths(
    attack: &Records<'_>,
    matched: &Bits,
    normal: &Records<'_>,
    touched: &Bits,
) -> Vec<Term> {
    let mut taken: BTreeMap<u16, f64> = BTreeMap::new();
    let (mut all, mut unknown) = (0.0, 0.0);
    let mut most = (0.0, 0);
    for (record, share) in attack.shares(matched) {
        all += share;
        match known_length(record) {
            Some(length) => {
                let weight = taken.entry(length).or_default();
                *weight += share;
                if *weight > most.0 {
                    most = (*weight, length);
                }
            }
            None => unknown += share,
        }
    }
    if taken.is_empty() || unknown > all * UNKNOWN_LENGTHS {
        return Vec::new();
    }
    let mut weights = taken.clone();
    for (record, share) in normal.shares(touched) {
        if let Ok(length) = u16::try_from(record.ip_length()) {
            *weights.entry(length).or_default() -= PRICE * share;
        }
    }
    let (first, last) = best_interval(&weights);
    let within = taken.range(first..=last).map(|(length, share)| (*length, *share));
    let first = inner_end(within.clone(), first, all);
    let last = inner_end(within.rev(), last, all);
    let mut list = vec![Term::Lengths(first, last)];
    if most.0 >= all * SAME_LENGTH && (first, last) != (most.1, most.1) {
        list.push(Term::Lengths(most.1, most.1));
    }
    list
}

/// The values with at least this share, largest first, ties by value.
pub(super) fn largest<T: Ord>(
    values: impl Iterator<Item = (T, f64)>,
    least: f64,
    most: usize,
) -> Vec<(T, f64)> {
    let mut sums: BTreeMap<T, f64> = BTreeMap::new();
    for (value, share) in values {
        *sums.entry(value).or_default() += share;
    }
    let mut list: Vec<(T, f64)> = sums.into_iter().filter(|(_, sum)| *sum >= least).collect();
    list.sort_by(|(a, x), (b, y)| y.total_cmp(x).then_with(|| a.cmp(b)));
    list.truncate(most);
    list
}

/// Exact flag sets, and what they have in common: an opening, an answer, an end, a running
/// connection.
fn flag_sets(shares: &[(&FlowRecord, f64)], least: f64) -> Vec<FlagMatch> {
    const SYN_ACK: u16 = TcpFlags::SYN | TcpFlags::ACK;
    let with_flags = |record: &FlowRecord| {
        record.protocol == protocol::TCP && record.fragment != Fragment::Later
    };
    let seen = shares.iter().filter(|(record, _)| with_flags(record));
    let exact = largest(
        seen.map(|(record, share)| (record.tcp_flags.0 & 0xff, *share)),
        least,
        MOST_FLAG_SETS,
    );
    let mut list: Vec<FlagMatch> =
        exact.iter().map(|(set, _)| FlagMatch { set: *set, clear: CLASSIC & !set }).collect();
    let common = [
        FlagMatch { set: TcpFlags::SYN, clear: TcpFlags::ACK },
        FlagMatch { set: SYN_ACK, clear: 0 },
        FlagMatch { set: TcpFlags::RST, clear: 0 },
        FlagMatch { set: TcpFlags::ACK, clear: TcpFlags::SYN },
    ];
    let is_seen = |flags: &FlagMatch| exact.iter().any(|(set, _)| flags.fits(TcpFlags(*set)));
    list.extend(common.into_iter().filter(is_seen));
    list
}

/// The prefixes that send nearly all of the attack, if these are few.
fn sources(shares: &[(&FlowRecord, f64)], least: f64) -> Vec<Prefix> {
    let mut list = Vec::new();
    for host_bits in [0, 8] {
        // IPv6 hosts have a /64, and their sites a /48, of addresses to choose from.
        let prefix = |record: &FlowRecord| {
            let length = match (record.family, host_bits) {
                (Family::V4, bits) => 32 - bits,
                (Family::V6, 0) => 64,
                (Family::V6, _) => 48,
            };
            Prefix::containing(record.src_address(), length)
        };
        let values = shares.iter().map(|(record, share)| (prefix(record), *share));
        let top = largest(values, least, MOST_SOURCES);
        if top.iter().map(|(_, share)| share).sum::<f64>() >= CONCENTRATED {
            list.extend(top.into_iter().map(|(prefix, _)| prefix));
        }
    }
    list
}

/// The length of each packet, if that is known: a mean that is no whole number is not.
fn known_length(record: &FlowRecord) -> Option<u16> {
    let whole = record.bytes.is_multiple_of(record.packets.max(1));
    u16::try_from(record.ip_length()).ok().filter(|_| whole)
}

/// The neighbouring lengths with the largest sum.
fn best_interval(weights: &BTreeMap<u16, f64>) -> (u16, u16) {
    let mut best = (f64::NEG_INFINITY, 0, 0);
    let (mut sum, mut first) = (f64::NEG_INFINITY, 0);
    for (length, weight) in weights {
        if sum < 0.0 {
            (sum, first) = (0.0, *length);
        }
        sum += weight;
        if sum > best.0 {
            best = (sum, first, *length);
        }
    }
    (best.1, best.2)
}

/// The end of an interval without its rare lengths: a stray packet must not make it wide.
fn inner_end(lengths: impl Iterator<Item = (u16, f64)>, end: u16, all: f64) -> u16 {
    let mut passed = 0.0;
    for (length, share) in lengths {
        passed += share;
        if passed > all * STRAY {
            return length;
        }
    }
    end
}

fn ranges(ports: &[u16]) -> Vec<(u16, u16)> {
    let mut sorted = ports.to_vec();
    sorted.sort_unstable();
    sorted.into_iter().map(|port| (port, port)).collect()
}
