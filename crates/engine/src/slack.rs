//! Memory that a peak has left behind. Tables keep the pages that they have touched; those that no
//! window has needed for some minutes are given back, by putting a new table in the place of the
//! old one. Runs on the detector's thread, on tables that no worker holds.

use std::time::Duration;

use crate::shard::WindowSummary;

/// What was not needed for this long is given back, after twice this at the latest.
pub const PERIOD: Duration = Duration::from_mins(2);
/// A table is kept as long as it has touched less than so many times what is needed ...
const TIMES: usize = 4;
/// ... and so many hosts more: 0.8 MB ...
const HOSTS: usize = 8192;
/// ... or so many places of flows more: 1 MB.
const PLACES: usize = 1 << 17;

/// Sizes of the tables of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Hosts.
    pub hosts: usize,
    /// Places for flows.
    pub places: usize,
}

impl Sizes {
    /// The larger of each.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { hosts: self.hosts.max(other.hosts), places: self.places.max(other.places) }
    }

    /// Has a host table that touched so much far more than is needed?
    pub const fn wastes_hosts(&self, needed: &Self) -> bool {
        self.hosts > TIMES * needed.hosts + HOSTS
    }

    /// Has a table of flows that touched so much far more than is needed?
    pub const fn wastes_places(&self, needed: &Self) -> bool {
        self.places > TIMES * needed.places + PLACES
    }
}

/// Remembers what windows needed.
#[derive(Clone, Debug, Default)]
pub struct Slack {
    /// Windows of the period that runs, and the most that one of them needed.
    windows: u128,
    running: Sizes,
    /// The most of the period before; `None` before one has passed.
    before: Option<Sizes>,
}

impl Slack {
    /// Hears what the shards' windows needed, and says what is needed, if that is known.
    pub fn note(&mut self, summaries: &[WindowSummary], length: Duration) -> Option<Sizes> {
        let needed = summaries.iter().map(WindowSummary::sizes).fold(Sizes::default(), Sizes::max);
        self.running = self.running.max(needed);
        self.windows += 1;
        let known = self.before.map(|before| before.max(self.running));
        if self.windows * length.as_nanos() >= PERIOD.as_nanos() {
            *self = Self { before: Some(self.running), ..Self::default() };
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_log::flow_item;
    use crate::policy::Capacity;

    #[test]
    fn a_peak_is_forgotten_after_one_to_two_periods() {
        let second = Duration::from_secs(1);
        let mut slack = Slack::default();
        let quiet = [WindowSummary::new(&Capacity::default(), 1)];
        let mut peak = quiet.clone();
        (0..1 << 16).for_each(|tag| _ = peak[0].flows.add(&[flow_item(0, tag << 16)]));
        let large = peak[0].sizes().places;
        assert_eq!((large, quiet[0].sizes().places), (1 << 16, 0));
        assert!((0..120).all(|_| slack.note(&quiet, second).is_none()));
        assert_eq!(slack.note(&peak, second).map(|sizes| sizes.places), Some(large));
        let keeps = (0..1000)
            .take_while(|_| slack.note(&quiet, second).is_some_and(|sizes| sizes.places == large));
        let seconds = keeps.count();
        assert!((120..=240).contains(&seconds), "{seconds}");
    }
}
