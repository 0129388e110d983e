//! The safety rails: the one place where a route's target is allowed. An [`AllowedTarget`] is the
//! permission to announce one target; it has no other constructor than the check, cannot be copied,
//! and is given back when the route is gone, so that what is out can be counted.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tidewall_model::{Address, Family, MitigationKind, Prefix, Timestamp};

use super::policy::{Lengths, PlannerPolicyError, RailsPolicy};

/// A network that is shorter is not taken for ours: nobody's own is, and a default route among the
/// networks would allow every target.
const SHORTEST_NETWORK: Lengths = Lengths { v4: 8, v6: 7 };
const MINUTE: Duration = Duration::from_mins(1);

/// Why a route is not announced.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Not inside one of our networks.
    #[error("{target} is not inside one of our networks")]
    NotOurs {
        /// The refused target.
        target: Prefix,
    },
    /// Too large a target.
    #[error("{target} is larger than the largest that may be announced, /{shortest}")]
    TooShort {
        /// The refused target.
        target: Prefix,
        /// Shortest length that is allowed.
        shortest: u8,
    },
    /// It overlaps a protected prefix.
    #[error("{target} overlaps {protected}, which is protected")]
    Protected {
        /// The refused target.
        target: Prefix,
        /// What it overlaps.
        protected: Prefix,
    },
    /// It overlaps the whitelist.
    #[error("{target} overlaps {whitelisted}, which is on the whitelist")]
    Whitelisted {
        /// The refused target.
        target: Prefix,
        /// What it overlaps.
        whitelisted: Prefix,
    },
    /// It overlaps addresses that are nobody's.
    #[error("{target} overlaps {reserved}, which is reserved")]
    Reserved {
        /// The refused target.
        target: Prefix,
        /// What it overlaps.
        reserved: Prefix,
    },
    /// A filter whose source is of the other IP version.
    #[error("a filter for {target} cannot have the source {from}")]
    OtherFamily {
        /// The refused target.
        target: Prefix,
        /// Source of the filter.
        from: Prefix,
    },
    /// Nothing of the attack can be filtered without its target's normal traffic; not a rail, but
    /// told like one.
    #[error("no few rules take enough of the attack and spare what is normal; {then}")]
    NoFilter {
        /// What happens instead.
        then: &'static str,
    },
    /// The group has as many routes as it may have.
    #[error("group `{group}` has {most} routes, its most")]
    GroupFull {
        /// Which group.
        group: String,
        /// Its cap.
        most: usize,
    },
    /// There are as many routes as there may be.
    #[error("there are {most} routes, the most")]
    Full {
        /// The cap.
        most: usize,
    },
    /// Too much of our address space would be blackholed.
    #[error(
        "at most {most} of our {family} addresses may be blackholed at once (`largest_share`), and \
         {out} are"
    )]
    TooMuch {
        /// IP version.
        family: Family,
        /// The cap, in addresses.
        #[serde(skip)]
        most: u128,
        /// Addresses that are blackholed.
        #[serde(skip)]
        out: u128,
    },
    /// The program runs too shortly to know what is normal.
    #[error("waits: started {seconds} s ago")]
    JustStarted {
        /// How long it has been running.
        seconds: u64,
    },
    /// Too many new routes in a short time.
    #[error("more than {most} new routes in a minute")]
    TooFast {
        /// The cap.
        most: u32,
    },
    /// Too many attacks and former victims are kept in mind.
    #[error("{most} attacks are being answered, the most")]
    TooManyAttacks {
        /// The cap.
        most: usize,
    },
}

impl Refusal {
    /// Names of the reasons, in the order of their counters.
    pub const NAMES: [&'static str; 13] = [
        "not_ours",
        "too_short",
        "protected",
        "whitelisted",
        "reserved",
        "other_family",
        "group_full",
        "full",
        "too_fast",
        "too_many_attacks",
        "too_much",
        "just_started",
        "no_filter",
    ];

    /// Position in [`Refusal::NAMES`].
    pub const fn number(&self) -> usize {
        match self {
            Self::NotOurs { .. } => 0,
            Self::TooShort { .. } => 1,
            Self::Protected { .. } => 2,
            Self::Whitelisted { .. } => 3,
            Self::Reserved { .. } => 4,
            Self::OtherFamily { .. } => 5,
            Self::GroupFull { .. } => 6,
            Self::Full { .. } => 7,
            Self::TooFast { .. } => 8,
            Self::TooManyAttacks { .. } => 9,
            Self::TooMuch { .. } => 10,
            Self::JustStarted { .. } => 11,
            Self::NoFilter { .. } => 12,
        }
    }
}

/// A route that somebody wants.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// What it does.
    pub kind: &'a MitigationKind,
    /// To whom.
    pub target: Prefix,
    /// Host group that it counts for.
    pub group: &'a str,
    /// Most routes of that group.
    pub most_of_group: usize,
    /// Only said, never done; counted apart.
    pub dry_run: bool,
}

/// The permission to announce one target. Give it back with [`Rails::release`].
#[derive(Debug, PartialEq, Eq)]
pub struct AllowedTarget {
    target: Prefix,
    network: Prefix,
    group: String,
    dry_run: bool,
    /// Addresses that it takes off the net.
    blackholed: u128,
}

impl AllowedTarget {
    /// What may be announced.
    pub const fn target(&self) -> Prefix {
        self.target
    }

    /// Our network around it.
    pub const fn network(&self) -> Prefix {
        self.network
    }
}

/// Knows what may be announced, and counts what is.
#[derive(Debug)]
pub struct Rails {
    policy: RailsPolicy,
    networks: Vec<Prefix>,
    whitelist: Vec<Prefix>,
    reserved: Vec<Prefix>,
    /// Most addresses that may be blackholed, by family.
    most_blackholed: [u128; 2],
    /// Real routes, and those of dry runs.
    lanes: [Lane; 2],
}

/// Routes that are out.
#[derive(Debug, Default)]
struct Lane {
    total: usize,
    groups: BTreeMap<String, usize>,
    /// Addresses that are blackholed, by family.
    blackholed: [u128; 2],
    /// When the new routes of the last minute were allowed.
    recent: VecDeque<Timestamp>,
}

impl Rails {
    /// Nothing is out. Without networks of ours everything is refused.
    pub fn new(
        policy: &RailsPolicy,
        networks: &[Prefix],
        whitelist: &[Prefix],
    ) -> Result<Self, PlannerPolicyError> {
        policy.check()?;
        let networks = own(networks);
        let most_blackholed = FAMILIES.map(|family| {
            let share = addresses_of(&networks, family) as f64 * policy.largest_share;
            RailsPolicy::FEW.max(share as u128)
        });
        Ok(Self {
            policy: policy.clone(),
            networks,
            most_blackholed,
            whitelist: whitelist.to_vec(),
            reserved: reserved(),
            lanes: [Lane::default(), Lane::default()],
        })
    }

    /// Takes new rules. What is out stays counted.
    pub fn replace(
        &mut self,
        policy: &RailsPolicy,
        networks: &[Prefix],
        whitelist: &[Prefix],
    ) -> Result<(), PlannerPolicyError> {
        let new = Self::new(policy, networks, whitelist)?;
        let lanes = std::mem::take(&mut self.lanes);
        *self = Self { lanes, ..new };
        Ok(())
    }

    /// May this target be announced at all? Gives our network around it.
    pub fn check(&self, kind: &MitigationKind, target: Prefix) -> Result<Prefix, Refusal> {
        let lengths = match kind {
            MitigationKind::Divert => self.policy.shortest_diverted,
            _ => self.policy.shortest,
        };
        let shortest = lengths.get(target.family()).max(RailsPolicy::FLOOR.get(target.family()));
        if target.len() < shortest {
            return Err(Refusal::TooShort { target, shortest });
        }
        let overlap = |list: &[Prefix]| {
            list.iter().copied().find(|other| other.covers(target) || target.covers(*other))
        };
        if let Some(reserved) = overlap(&self.reserved) {
            return Err(Refusal::Reserved { target, reserved });
        }
        let around = self.networks.iter().filter(|network| network.covers(target));
        let Some(network) = around.max_by_key(|network| network.len()).copied() else {
            return Err(Refusal::NotOurs { target });
        };
        if let Some(protected) = overlap(&self.policy.protected) {
            return Err(Refusal::Protected { target, protected });
        }
        if let Some(whitelisted) = overlap(&self.whitelist) {
            return Err(Refusal::Whitelisted { target, whitelisted });
        }
        match kind {
            MitigationKind::FlowSpec(rule) => match rule.source {
                Some(from) if from.family() != target.family() => {
                    Err(Refusal::OtherFamily { target, from })
                }
                _ => Ok(network),
            },
            _ => Ok(network),
        }
    }

    /// Allows a new route, if it is a good one and there is room and time for it.
    pub fn admit(&mut self, wish: &Wish<'_>, now: Timestamp) -> Result<AllowedTarget, Refusal> {
        let network = self.check(wish.kind, wish.target)?;
        let (most, per_minute) = (self.policy.most_routes, self.policy.changes_per_minute);
        let lane = &mut self.lanes[usize::from(wish.dry_run)];
        if lane.groups.get(wish.group).copied().unwrap_or(0) >= wish.most_of_group {
            let group = wish.group.to_owned();
            return Err(Refusal::GroupFull { group, most: wish.most_of_group });
        }
        if lane.total >= most {
            return Err(Refusal::Full { most });
        }
        let family = wish.target.family();
        let (out, most) =
            (lane.blackholed[place_of(family)], self.most_blackholed[place_of(family)]);
        let blackholed = blackholed_by(wish);
        if blackholed > 0 && out.saturating_add(blackholed) > most {
            return Err(Refusal::TooMuch { family, most, out });
        }
        lane.spend(per_minute, now)?;
        Ok(lane.take(wish, network))
    }

    /// Allows a route that was allowed before a restart: no cap takes it down now.
    pub fn readmit(&mut self, wish: &Wish<'_>) -> Result<AllowedTarget, Refusal> {
        let network = self.check(wish.kind, wish.target)?;
        Ok(self.lanes[usize::from(wish.dry_run)].take(wish, network))
    }

    /// May a route that is being withdrawn be announced again?
    pub fn renew(
        &mut self,
        kind: &MitigationKind,
        allowed: &AllowedTarget,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.check(kind, allowed.target)?;
        let per_minute = self.policy.changes_per_minute;
        self.lanes[usize::from(allowed.dry_run)].spend(per_minute, now)
    }

    /// The route is gone.
    pub fn release(&mut self, allowed: AllowedTarget) {
        let AllowedTarget { target, group, dry_run, blackholed, .. } = allowed;
        let lane = &mut self.lanes[usize::from(dry_run)];
        lane.total = lane.total.saturating_sub(1);
        let sum = &mut lane.blackholed[place_of(target.family())];
        *sum = sum.saturating_sub(blackholed);
        if let Some(count) = lane.groups.get_mut(&group) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                lane.groups.remove(&group);
            }
        }
    }

    /// The clock was set back.
    pub(super) fn shift(&mut self, back: Duration) {
        for time in self.lanes.iter_mut().flat_map(|lane| &mut lane.recent) {
            *time = *time - back;
        }
    }

    /// Real routes that are out.
    pub const fn routes(&self) -> usize {
        self.lanes[0].total
    }

    /// The prefix that a host's diversion announces.
    pub fn diverted(&self, target: Prefix) -> Prefix {
        let len = self.policy.shortest_diverted.get(target.family()).min(target.len());
        Prefix::containing(target.first(), len)
    }
}

impl Lane {
    /// Counts a new route, if there were not too many in the last minute.
    fn spend(&mut self, most: u32, now: Timestamp) -> Result<(), Refusal> {
        while self.recent.front().is_some_and(|first| now >= *first + MINUTE) {
            self.recent.pop_front();
        }
        if self.recent.len() >= most as usize {
            return Err(Refusal::TooFast { most });
        }
        self.recent.push_back(now);
        Ok(())
    }

    fn take(&mut self, wish: &Wish<'_>, network: Prefix) -> AllowedTarget {
        self.total += 1;
        *self.groups.entry(wish.group.to_owned()).or_default() += 1;
        let (group, target) = (wish.group.to_owned(), wish.target);
        let blackholed = blackholed_by(wish);
        let sum = &mut self.blackholed[place_of(target.family())];
        *sum = sum.saturating_add(blackholed);
        AllowedTarget { target, network, group, dry_run: wish.dry_run, blackholed }
    }
}

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

const fn place_of(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

/// Addresses that a route takes off the net. A diversion brings them somewhere else, and a filter
/// takes a part of their traffic.
fn blackholed_by(wish: &Wish<'_>) -> u128 {
    match wish.kind {
        MitigationKind::Blackhole => size(wish.target),
        MitigationKind::Notify | MitigationKind::Divert | MitigationKind::FlowSpec(_) => 0,
    }
}

fn size(prefix: Prefix) -> u128 {
    let host_bits = prefix.family().bits().saturating_sub(prefix.len());
    1u128.checked_shl(host_bits.into()).unwrap_or(u128::MAX)
}

/// Addresses of a family that are in any of the networks, which may nest.
fn addresses_of(networks: &[Prefix], family: Family) -> u128 {
    let mut sorted: Vec<Prefix> =
        networks.iter().copied().filter(|network| network.family() == family).collect();
    // By address, then length: what lies in a network follows it.
    sorted.sort_unstable();
    let (mut sum, mut around): (u128, Option<Prefix>) = (0, None);
    for network in sorted {
        if around.is_none_or(|outer| !outer.covers(network)) {
            sum = sum.saturating_add(size(network));
            around = Some(network);
        }
    }
    sum
}

fn own(networks: &[Prefix]) -> Vec<Prefix> {
    let long = |network: &&Prefix| network.len() >= SHORTEST_NETWORK.get(network.family());
    networks.iter().filter(long).copied().collect()
}

/// Addresses that are no host's: this network, loopback, link-local, multicast, future use
/// (RFC 6890), and their like in IPv6.
fn reserved() -> Vec<Prefix> {
    let v4 = |a: u32, len| Prefix::containing(Address::v4(a << 24), len);
    let v6 = |top: u128, len| Prefix::containing(Address::v6(top << 112), len);
    vec![
        v4(0, 8),
        v4(127, 8),
        Prefix::containing(Address::v4(0xa9fe_0000), 16),
        v4(224, 4),
        v4(240, 4),
        v6(0, 8),
        v6(0xfe80, 10),
        v6(0xff00, 8),
    ]
}
