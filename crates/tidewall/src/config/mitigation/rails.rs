//! `[rails]`, `[manual]` and `[history]`: what no route may cross, what people may do by hand, and how
//! much of the past is kept.

use std::time::Duration;

use tidewall_engine::planner::{Lengths, PlannerPolicy, RailsPolicy};
use tidewall_model::Prefix;

use super::super::networks::NetworkSet;
use super::super::sink::Sink;
use super::super::table::{Typed, table};
use super::super::value::{Share, within};
use super::super::whitelist::plain;
use crate::journal::Retention;

table! {
    /// What no route may cross, whoever wants it: an attack, a person or a mistake in this file.
    /// Routes are announced for our own networks only.
    struct RailsTable {
        /// Shortest IPv4 prefix that may be filtered or blackholed, from 24 to 32.
        #[default = "32"]
        #[example = "28"]
        shortest_ipv4: u32,

        /// The same for IPv6, from 48 to 128.
        #[default = "128"]
        #[example = "64"]
        shortest_ipv6: u32,

        /// Shortest IPv4 prefix that may be diverted, and the one around a host that is announced
        /// to divert it, from 24 to 32.
        #[default = "24"]
        #[example = "25"]
        shortest_diverted_ipv4: u32,

        /// The same for IPv6, from 48 to 128.
        #[default = "48"]
        #[example = "56"]
        shortest_diverted_ipv6: u32,

        /// Never part of a route, and never covered by one: routers, resolvers, monitoring. BGP
        /// peers, our addresses towards them and next hops are protected without being named.
        #[default = "[]"]
        #[example = "[\"192.0.2.1\", \"192.0.2.53\"]"]
        protected: Vec<Typed<Prefix>>,

        /// Most routes at once, from 1 to 100000.
        #[default = "100"]
        #[example = "200"]
        most_routes: u32,

        /// Most new routes in a minute, from 1 to 100000. Withdrawals are not limited.
        #[default = "60"]
        #[example = "30"]
        changes_per_minute: u32,

        /// Most of our addresses of one IP version that may be blackholed at once, as a part of
        /// all: a mistake must not take the whole network off the net. 16 addresses always may, so
        /// that a small network is not without help. "100%" is no limit.
        #[default = "\"1%\""]
        #[example = "\"5%\""]
        largest_share: Share,

        /// So long after the start no attack gets a route, for counters are incomplete at first:
        /// from 0s to 1h. People and scripts are told at once, bans by hand do not wait, and what
        /// was up before the start is put up again at once.
        #[default = "\"10s\""]
        #[example = "\"30s\""]
        grace_after_start: Duration,
    }
}

table! {
    /// Bans and unbans by hand: `tidewall ban`, `tidewall unban`.
    struct ManualTable {
        /// How long a ban lasts when nothing is said.
        #[default = "\"30m\""]
        #[example = "\"1h\""]
        time: Duration,

        /// The longest that may be asked for.
        #[default = "\"7d\""]
        #[example = "\"1d\""]
        longest: Duration,

        /// So long after an unban nothing is done for that target without being asked.
        #[default = "\"10m\""]
        #[example = "\"30m\""]
        unban_hold: Duration,
    }
}

table! {
    /// How much of the past the journal keeps, where `state` under [service] gives it a place.
    struct HistoryTable {
        /// Older entries are deleted, from 1h to 3660d.
        #[default = "\"365d\""]
        #[example = "\"90d\""]
        age: Duration,

        /// Most attacks, from 1 to 100000000.
        #[default = "200_000"]
        #[example = "50_000"]
        attacks: u32,

        /// Most decisions, from 1 to 100000000.
        #[default = "500_000"]
        #[example = "100_000"]
        decisions: u32,
    }
}

impl RailsTable {
    /// What it means.
    pub(in crate::config) fn resolve(&self, networks: &NetworkSet, sink: &mut Sink) -> RailsPolicy {
        let default = RailsPolicy::default();
        let floor = RailsPolicy::FLOOR;
        let mut length = |typed: &Option<Typed<u32>>, least: u8, most: u8, default: u8| {
            let words = format!("{least} to {most}");
            let range = u32::from(least)..=u32::from(most);
            within(typed.as_ref(), &range, &words, default.into(), sink) as u8
        };
        let shortest = Lengths {
            v4: length(&self.shortest_ipv4, floor.v4, 32, default.shortest.v4),
            v6: length(&self.shortest_ipv6, floor.v6, 128, default.shortest.v6),
        };
        let diverted = default.shortest_diverted;
        let shortest_diverted = Lengths {
            v4: length(&self.shortest_diverted_ipv4, floor.v4, 32, diverted.v4),
            v6: length(&self.shortest_diverted_ipv6, floor.v6, 128, diverted.v6),
        };
        for prefix in self.protected.iter().flat_map(|list| &list.value) {
            if networks.is_outside(prefix.value) {
                let reason = format!("{} is in none of the networks", prefix.value);
                let fix = "routes are announced for our networks only, so nothing need be done; \
                           correct it if it should be one of ours";
                sink.warn(&prefix.at, reason, fix);
            }
        }
        let mut count = |typed: &Option<Typed<u32>>, default| {
            within(typed.as_ref(), &(1..=100_000), "1 to 100000", default, sink)
        };
        RailsPolicy {
            shortest,
            shortest_diverted,
            protected: plain(self.protected.as_ref()),
            most_routes: count(&self.most_routes, default.most_routes as u32) as usize,
            changes_per_minute: count(&self.changes_per_minute, default.changes_per_minute),
            largest_share: self.largest_share.as_ref().map_or(default.largest_share, |s| s.value.0),
            grace_after_start: within(
                self.grace_after_start.as_ref(),
                &(Duration::ZERO..=RailsPolicy::LONGEST_GRACE),
                "0s to 1h",
                default.grace_after_start,
                sink,
            ),
        }
    }
}

impl ManualTable {
    /// Puts what it means into the policy.
    pub(in crate::config) fn resolve(&self, policy: &mut PlannerPolicy, sink: &mut Sink) {
        let range = Duration::from_secs(1)..=Duration::from_hours(366 * 24);
        let words = "1s to 366d";
        let time = policy.manual_time;
        policy.manual_time = within(self.time.as_ref(), &range, words, time, sink);
        let longest = policy.longest_manual.max(policy.manual_time);
        policy.longest_manual = within(self.longest.as_ref(), &range, words, longest, sink);
        let range = Duration::ZERO..=Duration::from_hours(24);
        let hold = policy.unban_hold;
        policy.unban_hold = within(self.unban_hold.as_ref(), &range, "0s to 24h", hold, sink);
        if let Some(longest) = &self.longest
            && policy.longest_manual < policy.manual_time
        {
            if self.time.is_some() {
                let reason = "the longest ban is shorter than the usual one, `time`";
                sink.error_fix(&longest.at, reason, "make `longest` at least as long as `time`");
            } else {
                policy.manual_time = policy.longest_manual;
            }
        }
    }
}

impl HistoryTable {
    /// What it means.
    pub(in crate::config) fn resolve(&self, sink: &mut Sink) -> Retention {
        let default = Retention::default();
        let range = Duration::from_hours(1)..=Duration::from_hours(3660 * 24);
        let age = within(self.age.as_ref(), &range, "1h to 3660d", default.age, sink);
        let mut count = |typed: &Option<Typed<u32>>, default: u64| {
            let range = 1..=100_000_000;
            within(typed.as_ref(), &range, "1 to 100000000", default as u32, sink).into()
        };
        Retention {
            age,
            attacks: count(&self.attacks, default.attacks),
            decisions: count(&self.decisions, default.decisions),
        }
    }
}
