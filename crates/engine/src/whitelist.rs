//! Traffic patterns that are not counted: the whitelist's rules, compiled for the packet path.
//!
//! Runs once per record on every worker. Without rules it costs one comparison; with rules it
//! neither allocates nor locks, and tests the conditions that reject most for least first.

use tidewall_model::{Address, Family, FlowRecord, Fragment, Prefix, protocol};

use crate::Rule;

/// Rules in the form that records are tested against. A record that matches one is not counted.
///
/// Conditions of a rule are and-ed, the values of a list are or-ed, and an empty list is no
/// condition. A rule without any condition matches **nothing**: the reference lets such a rule
/// match all traffic, which silently ends all detection.
#[derive(Clone, Debug, Default)]
pub struct Rules(Box<[CompiledRule]>);

/// One rule; a condition that is absent is `None` and holds for every record.
#[derive(Clone, Debug)]
struct CompiledRule {
    family: Option<Family>,
    fragment: Option<bool>,
    protocols: Option<OctetSet>,
    ttls: Option<OctetSet>,
    vlans: Option<Ranges<u16>>,
    tcp_flags: Option<Ranges<u16>>,
    source_ports: Option<Ranges<u16>>,
    destination_ports: Option<Ranges<u16>>,
    packet_lengths: Option<Ranges<u16>>,
    sources: Option<Ranges<Address>>,
    destinations: Option<Ranges<Address>>,
}

impl Rules {
    /// Compiles rules, leaving out those that can match nothing because they have no condition.
    pub fn compile(rules: &[Rule]) -> Self {
        Self(rules.iter().filter(|rule| has_condition(rule)).map(CompiledRule::new).collect())
    }

    /// Does the record match a rule?
    #[inline]
    pub fn matches(&self, record: &FlowRecord) -> bool {
        self.0.iter().any(|rule| rule.matches(record))
    }
}

impl CompiledRule {
    fn new(rule: &Rule) -> Self {
        let single = |values: &[u16]| Ranges::new(values.iter().map(|v| (*v, *v)));
        Self {
            family: rule.family,
            fragment: rule.fragment,
            protocols: OctetSet::new(rule.protocols.iter().map(|p| (*p, *p))),
            ttls: OctetSet::new(rule.ttls.iter().copied()),
            vlans: single(&rule.vlans),
            tcp_flags: single(&rule.tcp_flags),
            source_ports: Ranges::new(rule.source_ports.iter().copied()),
            destination_ports: Ranges::new(rule.destination_ports.iter().copied()),
            packet_lengths: Ranges::new(rule.packet_lengths.iter().copied()),
            sources: Ranges::new(rule.source.iter().map(ends)),
            destinations: Ranges::new(rule.destination.iter().map(ends)),
        }
    }

    fn matches(&self, r: &FlowRecord) -> bool {
        self.family.is_none_or(|family| family == r.family)
            && self.fragment.is_none_or(|fragment| fragment == r.fragment.is_fragment())
            && self.protocols.as_ref().is_none_or(|set| set.has(r.protocol))
            && self.transport_matches(r)
            && self.ttls.as_ref().is_none_or(|set| set.has(r.ttl))
            && self.vlans.as_ref().is_none_or(|vlans| vlans.has(r.vlan))
            && self.length_matches(r)
            && self.sources.as_ref().is_none_or(|ranges| ranges.has(r.src_address()))
            && self.destinations.as_ref().is_none_or(|ranges| ranges.has(r.dst_address()))
    }

    /// Ports and flags: conditions on them never hold for a record without that header.
    fn transport_matches(&self, r: &FlowRecord) -> bool {
        let port = |ranges: &Option<Ranges<u16>>, port| {
            ranges.as_ref().is_none_or(|ranges| r.has_ports() && ranges.has(port))
        };
        port(&self.source_ports, r.src_port)
            && port(&self.destination_ports, r.dst_port)
            && self.tcp_flags.as_ref().is_none_or(|sets| {
                r.protocol == protocol::TCP
                    && r.fragment != Fragment::Later
                    && sets.has(r.tcp_flags.0)
            })
    }

    fn length_matches(&self, r: &FlowRecord) -> bool {
        self.packet_lengths.as_ref().is_none_or(|ranges| {
            u16::try_from(r.bytes / r.packets.max(1)).is_ok_and(|mean| ranges.has(mean))
        })
    }
}

/// At least one condition?
fn has_condition(rule: &Rule) -> bool {
    *rule != Rule::default()
}

fn ends(prefix: &Prefix) -> (Address, Address) {
    (prefix.first(), prefix.last())
}

/// A set of octets in 256 bits.
#[derive(Clone, Debug)]
struct OctetSet([u128; 2]);

impl OctetSet {
    /// From ranges with both ends included; `None` for an empty list.
    fn new(ranges: impl ExactSizeIterator<Item = (u8, u8)>) -> Option<Self> {
        if ranges.len() == 0 {
            return None;
        }
        let mut halves = [0, 0];
        for octet in ranges.flat_map(|(first, last)| first..=last) {
            let [low, high] = &mut halves;
            *(if octet < 128 { low } else { high }) |= 1 << (octet % 128);
        }
        Some(Self(halves))
    }

    fn has(&self, octet: u8) -> bool {
        let [low, high] = self.0;
        (if octet < 128 { low } else { high }) >> (octet % 128) & 1 == 1
    }
}

/// Ranges with both ends included, sorted, none within or across another.
#[derive(Clone, Debug)]
struct Ranges<T>(Box<[(T, T)]>);

impl<T: Copy + Ord> Ranges<T> {
    /// `None` for an empty list. A range that ends before it begins holds nothing.
    fn new(ranges: impl ExactSizeIterator<Item = (T, T)>) -> Option<Self> {
        if ranges.len() == 0 {
            return None;
        }
        let mut sorted: Vec<(T, T)> = ranges.filter(|(first, last)| first <= last).collect();
        sorted.sort_unstable();
        let mut merged: Vec<(T, T)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match merged.last_mut() {
                Some(before) if first <= before.1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Some(Self(merged.into()))
    }

    fn has(&self, value: T) -> bool {
        let after = self.0.partition_point(|(first, _)| *first <= value);
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|(_, last)| value <= *last)
    }
}

#[cfg(test)]
mod tests;
