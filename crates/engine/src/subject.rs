//! What can be attacked, compiled: hosts by key, and the totals of networks and groups that have
//! limits, with the zones that add up to them.

use tidewall_model::{Prefix, Target, TrafficCounters};

use crate::arena::HostKey;
use crate::policy::{DirectedLimits, Policy};
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

impl Totals {
    /// Finds the totals that have limits, and their zones.
    pub fn compile(policy: &Policy, zones: &Zones) -> Self {
        let mut totals = Self { list: Vec::new(), of_zone: vec![Vec::new(); zones.all().len()] };
        if !policy.detection.enabled {
            return totals;
        }
        for network in zones.networks() {
            let own = zones.all().iter().find(|zone| zone.prefix == *network);
            let Some(group) = own.map(|zone| zone.group) else { continue };
            let limits = &policy.groups[group as usize].network;
            if policy.groups[group as usize].detect && !limits.is_empty() {
                let target = Target::Network(*network);
                let inside = |prefix: Prefix, _: u32| network.covers(prefix);
                totals.add(Total { target, limits: limits.clone(), group }, zones, inside);
            }
        }
        for (at, group) in policy.groups.iter().enumerate() {
            if group.detect && !group.total.is_empty() {
                let target = Target::Group(group.name.clone());
                let total = Total { target, limits: group.total.clone(), group: at as u32 };
                totals.add(total, zones, |_, of| is_within(policy, of as usize, at));
            }
        }
        totals
    }

    fn add(&mut self, total: Total, zones: &Zones, holds: impl Fn(Prefix, u32) -> bool) {
        let number = self.list.len() as u32;
        self.list.push(total);
        for (zone, of) in zones.all().iter().zip(&mut self.of_zone) {
            if holds(zone.prefix, zone.group) {
                of.push(number);
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

    /// Totals that a zone's traffic belongs to.
    pub fn of_zone(&self, zone: u32) -> &[u32] {
        &self.of_zone[zone as usize]
    }
}

/// Is the group `inner` the group `outer` or below it?
fn is_within(policy: &Policy, inner: usize, outer: usize) -> bool {
    let mut at = Some(inner);
    // A chain of parents cannot be longer than the list, whatever the configuration says.
    for _ in 0..=policy.groups.len() {
        match at {
            Some(group) if group == outer => return true,
            Some(group) => at = policy.groups[group].parent,
            None => return false,
        }
    }
    false
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
