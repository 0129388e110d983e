//! What the planner is told: per host group and direction how much may be done, in which order and
//! for how long, and the bounds that nothing may cross. The defaults tell people and announce
//! nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use thiserror::Error;
use tidewall_model::{Direction, Family, Prefix};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// No ban and no memory is longer.
const LONGEST_TIME: Duration = Duration::from_hours(366 * 24);

/// How far the planner may go by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Nothing is done; attacks are still reported.
    Off,
    /// Everything is decided and said as if it were done; nothing is.
    DryRun,
    /// People and scripts are told; no traffic is touched.
    #[default]
    NotifyOnly,
    /// People are told, and routes wait until one of them agrees.
    ApproveFirst,
    /// The ladder is climbed without asking.
    Automatic,
}

/// What a step of a ladder does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Tell people and scripts.
    Notify,
    /// Filter the attack's traffic by rules.
    Filter,
    /// Announce the covering prefix towards a scrubber.
    Divert,
    /// Have all traffic to the target dropped upstream.
    Blackhole,
}

/// A step of a ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// What it does.
    pub measure: Measure,
    /// It is taken when the attack is still there so long after the step before it, or after the
    /// attack was raised.
    pub after: Duration,
    /// Once it is up we may no longer see the traffic, so that its absence says nothing.
    pub hides_traffic: bool,
}

impl Step {
    /// A step that hides traffic unless it only tells.
    pub const fn new(measure: Measure, after: Duration) -> Self {
        Self { measure, after, hides_traffic: !matches!(measure, Measure::Notify) }
    }
}

/// How a host group answers attacks in one direction.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// How far it may go.
    pub mode: Mode,
    /// What it does, in this order. A later route takes the place of an earlier one.
    pub ladder: Vec<Step>,
    /// How long a mitigation lasts.
    pub ban_time: Duration,
    /// Where no step hides the traffic, the end of the attack is the end of the mitigation, but
    /// not before this.
    pub minimum: Duration,
    /// Each further ban of the same victim lasts this many times longer than the one before ...
    pub growth: f64,
    /// ... up to this.
    pub longest: Duration,
    /// While the attack is seen to go on, a mitigation does not end.
    pub only_if_finished: bool,
    /// So long after a withdrawal a return of the attack puts everything back at once.
    pub probe: Duration,
    /// So long a victim is remembered as a repeat victim.
    pub repeat_within: Duration,
    /// Most routes of the group at once.
    pub most_routes: usize,
}

/// Responses to attacks of both directions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DirectedResponses {
    /// Traffic towards us.
    pub incoming: Response,
    /// Traffic from us.
    pub outgoing: Response,
}

impl DirectedResponses {
    /// Of a direction. Internal traffic is answered like incoming traffic.
    pub const fn get(&self, direction: Direction) -> &Response {
        match direction {
            Direction::Outgoing => &self.outgoing,
            Direction::Incoming | Direction::Internal | Direction::Other => &self.incoming,
        }
    }
}

/// A prefix length for each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lengths {
    /// Of IPv4.
    pub v4: u8,
    /// Of IPv6.
    pub v6: u8,
}

impl Lengths {
    /// Of a family.
    pub const fn get(self, family: Family) -> u8 {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }
}

/// What no route may cross.
#[derive(Clone, Debug, PartialEq)]
pub struct RailsPolicy {
    /// Shortest prefix that may be filtered or blackholed.
    pub shortest: Lengths,
    /// Shortest prefix that may be diverted, and the one that a host's diversion announces.
    pub shortest_diverted: Lengths,
    /// Never part of a route, and never covered by one.
    pub protected: Vec<Prefix>,
    /// Most routes at once.
    pub most_routes: usize,
    /// Most new routes in a minute.
    pub changes_per_minute: u32,
    /// Most of our addresses of one family that may be blackholed at once, as a part of all, 0 to
    /// 1. [`RailsPolicy::FEW`] always may.
    pub largest_share: f64,
    /// So long after the start no attack gets a route.
    pub grace_after_start: Duration,
}

/// Everything the planner needs to know, besides networks, groups and whitelist.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannerPolicy {
    /// By name of host group.
    pub groups: BTreeMap<String, DirectedResponses>,
    /// Of groups that are not named.
    pub fallback: DirectedResponses,
    /// What no route may cross.
    pub rails: RailsPolicy,
    /// How long a manual ban lasts when nothing is said.
    pub manual_time: Duration,
    /// Longest manual ban.
    pub longest_manual: Duration,
    /// So long after a manual unban nothing is done for that target without being asked.
    pub unban_hold: Duration,
    /// An attack of which nothing was heard for so long is not known to go on.
    pub silence: Duration,
    /// Most attacks and former victims that are kept in mind.
    pub most_incidents: usize,
}

/// What is wrong with a policy.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PlannerPolicyError {
    /// A prefix length is out of its bounds.
    #[error("{field}: a {family} prefix length must be {least} to {most}, not {given}")]
    Length {
        /// Which setting.
        field: &'static str,
        /// IP version.
        family: Family,
        /// What was given.
        given: u8,
        /// Smallest that is accepted.
        least: u8,
        /// Largest that is accepted.
        most: u8,
    },
    /// A time is zero, too long or does not fit the others.
    #[error("group `{group}`, {field}: {given:?} must be {bound}")]
    Time {
        /// Of which group; empty when of none.
        group: String,
        /// Which setting.
        field: &'static str,
        /// What was given.
        given: Duration,
        /// In words.
        bound: &'static str,
    },
    /// There is no such share.
    #[error("largest_share: {given} must be 0 to 1")]
    Share {
        /// What was given.
        given: f64,
    },
    /// Bans cannot grow by this.
    #[error("group `{group}`, growth: {given} must be 1 to 100")]
    Growth {
        /// Of which group.
        group: String,
        /// What was given.
        given: f64,
    },
}

impl Default for Response {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            ladder: vec![Step::new(Measure::Notify, Duration::ZERO)],
            ban_time: 30 * MINUTE,
            minimum: 30 * MINUTE,
            growth: 2.0,
            longest: DAY,
            only_if_finished: true,
            probe: 2 * MINUTE,
            repeat_within: HOUR,
            most_routes: 50,
        }
    }
}

impl Default for RailsPolicy {
    fn default() -> Self {
        Self {
            shortest: Lengths { v4: 32, v6: 128 },
            shortest_diverted: Lengths { v4: 24, v6: 48 },
            protected: Vec::new(),
            most_routes: 100,
            changes_per_minute: 60,
            largest_share: 0.01,
            grace_after_start: Duration::from_secs(10),
        }
    }
}

impl Default for PlannerPolicy {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            fallback: DirectedResponses::default(),
            rails: RailsPolicy::default(),
            manual_time: 30 * MINUTE,
            longest_manual: 7 * DAY,
            unban_hold: 10 * MINUTE,
            silence: MINUTE,
            most_incidents: 1 << 16,
        }
    }
}

impl Response {
    /// How long the ban of a victim lasts that had `round` others shortly before.
    pub fn ban_time_of(&self, round: u32) -> Duration {
        let factor = self.growth.powf(f64::from(round));
        let seconds = self.ban_time.as_secs_f64() * factor;
        let most = self.longest.max(self.ban_time);
        Duration::try_from_secs_f64(seconds).map_or(most, |grown| grown.min(most))
    }

    fn check(&self, group: &str) -> Result<(), PlannerPolicyError> {
        let fault = |field, given, bound| {
            Err(PlannerPolicyError::Time { group: group.to_owned(), field, given, bound })
        };
        if !(1.0..=100.0).contains(&self.growth) {
            return Err(PlannerPolicyError::Growth { group: group.to_owned(), given: self.growth });
        }
        if self.ban_time < Duration::from_secs(1) || self.ban_time > LONGEST_TIME {
            return fault("ban_time", self.ban_time, "1 second to 366 days");
        }
        if self.minimum > self.ban_time {
            return fault("minimum", self.minimum, "at most the ban time");
        }
        if self.longest < self.ban_time || self.longest > LONGEST_TIME {
            return fault("longest", self.longest, "the ban time to 366 days");
        }
        if self.probe > LONGEST_TIME {
            return fault("probe", self.probe, "at most 366 days");
        }
        if self.repeat_within > LONGEST_TIME {
            return fault("repeat_within", self.repeat_within, "at most 366 days");
        }
        Ok(())
    }
}

impl PlannerPolicy {
    /// How a group answers attacks of a direction.
    pub fn response(&self, group: &str, direction: Direction) -> &Response {
        self.groups.get(group).unwrap_or(&self.fallback).get(direction)
    }

    /// Is every value within its bounds?
    pub fn check(&self) -> Result<(), PlannerPolicyError> {
        let named = self.groups.iter().map(|(name, both)| (name.as_str(), both));
        for (name, both) in named.chain([("global", &self.fallback)]) {
            both.incoming.check(name)?;
            both.outgoing.check(name)?;
        }
        let times = [
            ("manual_time", self.manual_time),
            ("longest_manual", self.longest_manual),
            ("silence", self.silence),
        ];
        for (field, given) in times {
            if given < Duration::from_secs(1) || given > LONGEST_TIME {
                let bound = "1 second to 366 days";
                return Err(PlannerPolicyError::Time { group: String::new(), field, given, bound });
            }
        }
        self.rails.check()
    }
}

impl RailsPolicy {
    /// No setting makes a route shorter than this: a longer mistake could take a whole site away.
    pub const FLOOR: Lengths = Lengths { v4: 24, v6: 48 };
    /// So many addresses may be blackholed whatever share of ours they are: a small network must
    /// not be without help.
    pub const FEW: u128 = 16;
    /// Longest time after the start without routes.
    pub const LONGEST_GRACE: Duration = Duration::from_hours(1);

    pub(super) fn check(&self) -> Result<(), PlannerPolicyError> {
        let lengths = [("shortest", self.shortest), ("shortest_diverted", self.shortest_diverted)];
        for (field, lengths) in lengths {
            for family in [Family::V4, Family::V6] {
                let (given, least, most) =
                    (lengths.get(family), Self::FLOOR.get(family), family.bits());
                if !(least..=most).contains(&given) {
                    return Err(PlannerPolicyError::Length { field, family, given, least, most });
                }
            }
        }
        if !(0.0..=1.0).contains(&self.largest_share) {
            return Err(PlannerPolicyError::Share { given: self.largest_share });
        }
        if self.grace_after_start > Self::LONGEST_GRACE {
            return Err(PlannerPolicyError::Time {
                group: String::new(),
                field: "grace_after_start",
                given: self.grace_after_start,
                bound: "at most 1 hour",
            });
        }
        Ok(())
    }
}
