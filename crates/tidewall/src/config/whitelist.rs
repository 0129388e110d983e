//! `[whitelist]`: what is never an attack, and what is not counted at all.

use tidewall_engine::{Rule, Whitelist};
use tidewall_model::{Family, Prefix};

use super::networks::NetworkSet;
use super::sink::Sink;
use super::table::{Typed, table};
use super::value::{Flags, Protocol, Range, Vlan};

table! {
    /// What is never an attack, and what is not counted at all.
    struct WhitelistTable {
        /// Our hosts and prefixes that are counted and shown, and never raise an attack.
        #[default = "[]"]
        #[example = "[\"192.0.2.10\", \"2001:db8:1::/48\"]"]
        hosts: Vec<Typed<Prefix>>,

        /// Remote hosts and prefixes whose traffic is not counted.
        #[default = "[]"]
        #[example = "[\"198.51.100.0/24\"]"]
        remotes: Vec<Typed<Prefix>>,

        rule: Vec<Typed<RuleTable>>,
    }
}

table! {
    /// A pattern of traffic that is not counted; as many of these as you like. Every condition that
    /// is present must hold, within a list one is enough. At least one condition is needed.
    struct RuleTable {
        /// Source address is in one of these.
        #[example = "[\"198.51.100.53\"]"]
        source: Vec<Typed<Prefix>>,

        /// Destination address is in one of these.
        #[example = "[\"192.0.2.0/28\"]"]
        destination: Vec<Typed<Prefix>>,

        /// IP protocol, by name or number.
        #[example = "[\"udp\", 132]"]
        protocols: Vec<Typed<Protocol>>,

        /// Source port: numbers and ranges. Later fragments have no port and do not match.
        #[example = "[53, \"5000-5100\"]"]
        source_ports: Vec<Typed<Range<u16>>>,

        /// Destination port.
        #[example = "[\"1024-65535\"]"]
        destination_ports: Vec<Typed<Range<u16>>>,

        /// TCP flags are exactly one of these sets; "none" is a packet without any.
        #[example = "[\"syn\", \"syn+ack\"]"]
        tcp_flags: Vec<Typed<Flags>>,

        /// Length of the packet in bytes (the mean length in a flow record).
        #[example = "[\"40-100\", 1500]"]
        packet_lengths: Vec<Typed<Range<u16>>>,

        /// Outermost VLAN; 0 is untagged traffic.
        #[example = "[100, 200]"]
        vlans: Vec<Typed<Vlan>>,

        /// TTL or hop limit.
        #[example = "[\"60-64\"]"]
        ttls: Vec<Typed<Range<u8>>>,

        /// Only fragments (true), or only whole packets (false).
        #[example = "false"]
        fragment: bool,

        /// Only this IP version: "ipv4" or "ipv6".
        #[example = "\"ipv4\""]
        family: Family,
    }
}

impl WhitelistTable {
    /// What it means.
    pub(super) fn resolve(&self, networks: &NetworkSet, sink: &mut Sink) -> Whitelist {
        for host in self.hosts.iter().flat_map(|list| &list.value) {
            if networks.is_outside(host.value) {
                let reason = format!("{} is in none of the networks", host.value);
                let fix = "`hosts` are ours; senders elsewhere belong in `remotes`";
                sink.warn(&host.at, reason, fix);
            }
        }
        for remote in self.remotes.iter().flat_map(|list| &list.value) {
            if networks.covers(remote.value) {
                let reason = format!("{} is in our own networks", remote.value);
                let fix = "`remotes` are elsewhere; our own belong in `hosts`";
                sink.warn(&remote.at, reason, fix);
            }
        }
        let rules = self.rule.iter().flat_map(|list| &list.value);
        Whitelist {
            hosts: plain(self.hosts.as_ref()),
            remotes: plain(self.remotes.as_ref()),
            rules: rules.map(|rule| rule.value.resolve(rule, sink)).collect(),
        }
    }
}

impl RuleTable {
    fn resolve(&self, typed: &Typed<Self>, sink: &mut Sink) -> Rule {
        let rule = Rule {
            source: plain(self.source.as_ref()),
            destination: plain(self.destination.as_ref()),
            protocols: each(self.protocols.as_ref(), |p| p.0),
            source_ports: each(self.source_ports.as_ref(), |r| (r.first, r.last)),
            destination_ports: each(self.destination_ports.as_ref(), |r| (r.first, r.last)),
            tcp_flags: each(self.tcp_flags.as_ref(), |f| f.0),
            packet_lengths: each(self.packet_lengths.as_ref(), |r| (r.first, r.last)),
            vlans: each(self.vlans.as_ref(), |v| v.0),
            ttls: each(self.ttls.as_ref(), |r| (r.first, r.last)),
            fragment: self.fragment.as_ref().map(|typed| typed.value),
            family: self.family.as_ref().map(|typed| typed.value),
        };
        if rule == Rule::default() && !sink.blames(&typed.at) {
            let reason = "a rule without a condition matches all traffic: nothing would be counted";
            let fix = "add a condition, for example `protocols = [\"udp\"]`, or remove the rule";
            sink.error_fix(&typed.at, reason, fix);
        }
        rule
    }
}

/// The values of a list without their places.
fn each<T, U>(list: Option<&Typed<Vec<Typed<T>>>>, value: impl Fn(&T) -> U) -> Vec<U> {
    list.into_iter().flat_map(|list| &list.value).map(|typed| value(&typed.value)).collect()
}

/// The same for prefixes, in order and without twins.
pub(super) fn plain(list: Option<&Typed<Vec<Typed<Prefix>>>>) -> Vec<Prefix> {
    let mut list = each(list, |prefix| *prefix);
    list.sort_unstable();
    list.dedup();
    list
}
