//! Memory that a peak has left behind. Tables keep the pages that they have touched; those that no
//! window has needed for some minutes are given back, by putting a new table in the place of the
//! old one. Runs on the detector's thread, on tables that no worker holds.

use std::time::Duration;

use tidewall_model::Timestamp;

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
    /// Number of the period that runs: of time, and not of windows, which are not closed while
    /// nothing happens.
    period: u128,
    /// The most that a window of this period needed.
    running: Sizes,
    /// The same of the period before.
    before: Sizes,
}

impl Slack {
    /// Hears what the shards' windows that began at `start` needed, and says what is needed.
    pub fn note(&mut self, summaries: &[WindowSummary], start: Timestamp) -> Sizes {
        let period = u128::from(start.0) / PERIOD.as_nanos();
        if period != self.period {
            let follows = period == self.period + 1;
            let before = if follows { self.running } else { Sizes::default() };
            *self = Self { period, before, running: Sizes::default() };
        }
        let needed = summaries.iter().map(WindowSummary::sizes).fold(Sizes::default(), Sizes::max);
        self.running = self.running.max(needed);
        self.before.max(self.running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_log::flow_item;
    use crate::policy::Capacity;

    /// For how many seconds after a peak it counts as needed, when every window but the peak's is
    /// quiet and one begins every so many seconds.
    fn remembered(every: u64, peak_at: u64) -> u64 {
        let mut slack = Slack::default();
        let quiet = [WindowSummary::new(&Capacity::default(), 1)];
        let mut peak = quiet.clone();
        (0..1 << 16).for_each(|tag| _ = peak[0].flows.add(&[flow_item(0, tag << 16)]));
        let (large, small) = (peak[0].sizes().places, quiet[0].sizes().places);
        assert_eq!((large, small), (1 << 16, 0));
        let mut needs = |summaries: &[WindowSummary], second: u64| {
            slack.note(summaries, Timestamp(second * 1_000_000_000)).places
        };
        assert!((0..peak_at).step_by(every as usize).all(|second| needs(&quiet, second) == small));
        assert_eq!(needs(&peak, peak_at), large);
        let mut later = (1..).map(|windows| windows * every);
        later.find(|passed| needs(&quiet, peak_at + passed) == small).unwrap()
    }

    #[test]
    fn a_peak_is_forgotten_after_one_to_two_periods() {
        for peak_at in [0, 1, 119, 120, 1000, 100_000] {
            let seconds = remembered(1, peak_at);
            assert!((120..=240).contains(&seconds), "{seconds} s from {peak_at}");
        }
    }

    #[test]
    fn windows_that_are_few_make_nothing_last_longer() {
        for every in [7, 50, 119, 121, 500] {
            for peak_at in [0, 119, 1000] {
                let seconds = remembered(every, peak_at);
                assert!((120..=240 + every).contains(&seconds), "{seconds} s, one every {every}");
            }
        }
    }
}
