//! What can be attacked, compiled: hosts by key, and the totals of networks and groups that have
//! limits, with the zones that add up to them.

use std::time::Duration;

use tidewall_model::{Prefix, Target, TrafficCounters};

use crate::arena::HostKey;
use crate::policy::{DirectedLimits, Policy};
use crate::watch::{Tally, is_near};
use crate::zones::Zones;

/// A host, or a total. Totals sort after hosts, so hosts are always evaluated first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// One host.
    Host(HostKey),
    /// Position in [`Totals`].
    Total(u32),
}

/// A network or group whose total has limits.
#[derive(Clone, Debug)]
pub struct Total {
    /// As it is named in an attack.
    pub target: Target,
    /// Its limits.
    pub limits: DirectedLimits,
    /// Group whose limits they are.
    pub group: u32,
}

/// All totals with limits.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    list: Vec<Total>,
    /// Totals to which a zone belongs, by zone.
    of_zone: Vec<Vec<u32>>,
}

impl Total {
    /// Is any rate near its limit, when so much was counted within `time`?
    pub fn is_near(&self, sum: &[Tally; 2], time: Duration) -> bool {
        let sides = [&self.limits.incoming, &self.limits.outgoing].into_iter().zip(sum);
        sides.into_iter().any(|(limits, tally)| {
            limits.iter().any(|(metric, limit)| is_near(tally.amount(metric), limit, time))
        })
    }
}

impl Totals {
    /// Finds the totals that have limits, and their zones.
    pub fn compile(policy: &Policy, zones: &Zones) -> Self {
        let mut totals = Self { list: Vec::new(), of_zone: vec![Vec::new(); zones.all().len()] };
        if policy.detection.enabled {
            totals.add_networks(policy, zones);
            totals.add_groups(policy, zones);
        }
        totals
    }

    /// Zones are in order of their prefixes, so a network comes before all that lies in it, and
    /// the networks around a zone are a stack.
    fn add_networks(&mut self, policy: &Policy, zones: &Zones) {
        let mut around: Vec<(Prefix, u32)> = Vec::new();
        for (zone, of_zone) in zones.all().iter().zip(&mut self.of_zone) {
            while around.last().is_some_and(|(network, _)| !network.covers(zone.prefix)) {
                around.pop();
            }
            let group = &policy.groups[zone.group as usize];
            let is_network = zones.networks()[zone.network as usize] == zone.prefix;
            if is_network && group.detect && !group.network.is_empty() {
                around.push((zone.prefix, self.list.len() as u32));
                self.list.push(Total {
                    target: Target::Network(zone.prefix),
                    limits: group.network.clone(),
                    group: zone.group,
                });
            }
            of_zone.extend(around.iter().map(|(_, number)| *number));
        }
    }

    /// A group's total has the zones of the group and of all groups below it.
    fn add_groups(&mut self, policy: &Policy, zones: &Zones) {
        let mut numbers = vec![None; policy.groups.len()];
        for (at, group) in policy.groups.iter().enumerate() {
            if group.detect && !group.total.is_empty() {
                numbers[at] = Some(self.list.len() as u32);
                let (target, limits) = (Target::Group(group.name.clone()), group.total.clone());
                self.list.push(Total { target, limits, group: at as u32 });
            }
        }
        for (zone, of_zone) in zones.all().iter().zip(&mut self.of_zone) {
            let mut at = Some(zone.group as usize);
            // A chain of parents cannot be longer than the list, whatever the configuration says.
            for _ in 0..policy.groups.len() {
                let Some(group) = at else { break };
                if let Some(number) = numbers[group].filter(|number| !of_zone.contains(number)) {
                    of_zone.push(number);
                }
                at = policy.groups[group].parent;
            }
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// A total by its number.
    pub fn get(&self, total: u32) -> &Total {
        &self.list[total as usize]
    }

    /// The number of the total that is named so.
    pub fn find(&self, target: &Target) -> Option<u32> {
        let at = self.list.iter().position(|total| total.target == *target)?;
        u32::try_from(at).ok()
    }

    /// Totals that a zone's traffic belongs to.
    pub fn of_zone(&self, zone: u32) -> &[u32] {
        &self.of_zone[zone as usize]
    }
}

/// `now - before`, class by class, never below zero.
pub fn difference(now: &TrafficCounters, before: &TrafficCounters) -> TrafficCounters {
    let mut result = *now;
    for class in tidewall_model::TrafficClass::ALL {
        let (count, earlier) = (result.get_mut(class), before.get(class));
        count.packets = count.packets.saturating_sub(earlier.packets);
        count.bytes = count.bytes.saturating_sub(earlier.bytes);
    }
    result.flows = now.flows.saturating_sub(before.flows);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Group, Limits};
    use proptest::prelude::*;
    use tidewall_model::{Address, TrafficClass, Unit};

    fn limits(wanted: bool) -> DirectedLimits {
        let mut limits = DirectedLimits::default();
        if wanted {
            limits.incoming = Limits::of(&[(TrafficClass::Total, Unit::Packets, 1.0)]);
        }
        limits
    }

    /// Few enough prefixes that they nest often.
    fn prefix() -> impl Strategy<Value = Prefix> {
        (0..16u32, 24..=32u8, any::<bool>()).prop_map(|(bits, len, v6)| {
            let address = if v6 {
                Address::v6(0x2001_0db8 << 96 | u128::from(bits))
            } else {
                Address::v4(0x0a00_0000 | bits << 4)
            };
            Prefix::containing(address, if v6 { len + 96 } else { len })
        })
    }

    fn policy() -> impl Strategy<Value = Policy> {
        let group = (prop::collection::vec(prefix(), 0..4), any::<[bool; 3]>(), any::<u8>());
        (prop::collection::vec(prefix(), 1..12), prop::collection::vec(group, 0..6)).prop_map(
            |(networks, groups)| {
                let mut policy = Policy::for_networks(networks);
                policy.groups[0].network = limits(true);
                for (prefixes, [network, total, detect], parent) in groups {
                    let number = policy.groups.len();
                    policy.groups.push(Group {
                        name: format!("g{number}"),
                        parent: Some(usize::from(parent) % number),
                        prefixes,
                        network: limits(network),
                        total: limits(total),
                        detect,
                        ..Group::default()
                    });
                }
                policy
            },
        )
    }

    /// Does a zone add to a total? Read off the definitions.
    fn belongs(policy: &Policy, zones: &Zones, zone: usize, target: &Target) -> bool {
        let zone = &zones.all()[zone];
        match target {
            Target::Host(_) => false,
            Target::Network(network) => network.covers(zone.prefix),
            Target::Group(name) => {
                let mut at = Some(zone.group as usize);
                while let Some(group) = at {
                    if policy.groups[group].name == *name {
                        return true;
                    }
                    at = policy.groups[group].parent;
                }
                false
            }
        }
    }

    proptest! {
        #[test]
        fn totals_hold_the_zones_that_lie_in_them(policy in policy()) {
            let zones = Zones::compile(&policy, 1, 7);
            let totals = Totals::compile(&policy, &zones);
            for zone in 0..zones.all().len() {
                let of_zone = totals.of_zone(zone as u32);
                for number in 0..totals.len() as u32 {
                    let times = of_zone.iter().filter(|n| **n == number).count();
                    let want = belongs(&policy, &zones, zone, &totals.get(number).target);
                    prop_assert_eq!(times, usize::from(want));
                }
            }
            let limited = |zone: &&crate::zones::Zone| {
                let group = &policy.groups[zone.group as usize];
                zones.networks().contains(&zone.prefix) && group.detect && !group.network.is_empty()
            };
            let groups = policy.groups.iter().filter(|g| g.detect && !g.total.is_empty()).count();
            prop_assert_eq!(totals.len(), zones.all().iter().filter(limited).count() + groups);
        }
    }

    #[test]
    fn a_ring_of_parents_ends() {
        let mut policy = Policy::for_networks(vec!["10.0.0.0/8".parse().unwrap()]);
        policy.groups[0].parent = Some(0);
        policy.groups[0].total = limits(true);
        let totals = Totals::compile(&policy, &Zones::compile(&policy, 1, 7));
        assert_eq!(totals.of_zone(0), [0]);
    }
}
