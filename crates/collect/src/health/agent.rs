//! What an sFlow agent says about its own sampling: packets that it could have sampled (the pool)
//! and samples that it had to drop. Pool by samples is the rate that it truly samples at.

use super::table::Table;
use super::tally::Tally;

/// Samples that a measure needs, or should have had: one standard deviation is 2.5 % then, and
/// four of them are the tenth from which a difference is told.
const SAMPLES: u64 = 1600;

/// Samples behind the newest that are late, not a restart of the agent.
const LATE: u64 = 256;

/// The sampling of one data source, as announced and as found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SourceReport {
    /// Its index: mostly an interface.
    pub index: u32,
    /// It says that it samples 1 packet in so many.
    pub announced: u32,
    /// It sampled 1 packet in so many over the last measure.
    pub effective: Option<f32>,
}

/// What samples in a row say of their source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    /// So many samples.
    pub(super) count: u64,
    /// By the last of them: samples dropped and packets that could have been sampled since the
    /// agent started, and 1 packet in how many is.
    pub(super) drops: u32,
    pub(super) pool: u32,
    pub(super) rate: u32,
}

#[derive(Clone, Debug)]
struct Source {
    pool: u32,
    drops: u32,
    announced: u32,
    /// Since the measure began.
    samples: u64,
    grown: u64,
    /// Units lost on the way when the measure began: lost samples would spoil it.
    lost: u64,
    effective: Option<f32>,
}

/// The data sources of one agent.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    sources: Table<Source>,
    pub(super) samples: Tally,
    pub(super) drops: Tally,
}

impl Agent {
    pub(super) fn new() -> Self {
        Self { sources: Table::new(), samples: Tally::default(), drops: Tally::default() }
    }

    /// What samples in a row say of their source. `lost`: units of the exporter lost on the way so
    /// far.
    #[inline]
    pub(super) fn samples(&mut self, index: u32, said: Said, lost: u64, room: usize) {
        let Said { count, drops, pool, rate } = said;
        self.samples.add(count);
        let Some(source) = self.sources.get_mut(index) else {
            let new = Source::new(drops, pool, rate, lost);
            self.sources.admit(index, room, || new);
            return;
        };
        let grown = pool.wrapping_sub(source.pool);
        let dropped = drops.wrapping_sub(source.drops);
        if rate != source.announced || grown >> 31 != 0 || dropped >> 31 != 0 {
            source.not_in_line(said, lost);
            return;
        }
        source.samples += count;
        source.grown += u64::from(grown);
        (source.pool, source.drops) = (pool, drops);
        if dropped > 0 {
            self.drops.add(u64::from(dropped));
        }
        if source.samples >= SAMPLES || source.grown >= SAMPLES * u64::from(rate.max(1)) {
            source.close(lost);
        }
    }

    /// A stretch of time is over.
    pub(super) fn turn(&mut self) {
        self.samples.turn();
        self.drops.turn();
    }

    /// By index.
    pub(super) fn sorted(&self) -> Vec<SourceReport> {
        let report = |(index, source): (u32, &Source)| SourceReport {
            index,
            announced: source.announced,
            effective: source.effective,
        };
        self.sources.sorted().into_iter().map(report).collect()
    }
}

impl Source {
    const fn new(drops: u32, pool: u32, rate: u32, lost: u64) -> Self {
        Self { pool, drops, announced: rate, samples: 0, grown: 0, lost, effective: None }
    }

    /// A late sample, another rate, or an agent that restarted.
    #[cold]
    fn not_in_line(&mut self, Said { count, drops, pool, rate }: Said, lost: u64) {
        let behind = u64::from(self.pool.wrapping_sub(pool));
        let drops_behind = self.drops.wrapping_sub(drops) >> 31 == 0;
        if rate == self.announced && drops_behind && behind <= LATE * u64::from(rate.max(1)) {
            self.samples += count;
        } else {
            *self = Self::new(drops, pool, rate, lost);
        }
    }

    #[cold]
    fn close(&mut self, lost: u64) {
        // Some agents do not keep a pool.
        if self.lost == lost && self.grown > 0 {
            self.effective = Some((self.grown as f64 / self.samples.max(1) as f64) as f32);
        }
        (self.samples, self.grown, self.lost) = (0, 0, lost);
    }
}

/// Bytes that the table takes at most.
#[cfg(test)]
pub(super) const HEAP: usize =
    size_of::<Agent>() + super::table::ENTRIES * size_of::<(u32, Source)>();

#[cfg(test)]
mod tests {
    use super::*;

    /// An agent that announces 1 in 1000 and takes `every`th packet; gives its effective rate.
    fn effective(every: u32, samples: u32, start: u32) -> Option<f32> {
        let mut agent = Agent::new();
        for n in 0..samples {
            agent.samples(
                3,
                Said { count: 1, drops: 0, pool: start.wrapping_add(n * every), rate: 1000 },
                0,
                8,
            );
        }
        agent.sorted()[0].effective
    }

    #[test]
    fn the_effective_rate_is_pool_by_samples() {
        assert_eq!(effective(1000, 1601, 0), Some(1000.0));
        assert_eq!(effective(1000, 1600, 0), None, "one growth too few");
        assert_eq!(effective(2000, 801, 0), Some(2000.0), "half the samples tell it");
        assert_eq!(effective(1000, 4000, u32::MAX - 500_000), Some(1000.0), "over the wrap");
        assert_eq!(effective(0, 9000, 77), None, "an agent without a pool");
    }

    #[test]
    fn restarts_loss_and_late_samples_do_not_spoil_it() {
        let mut agent = Agent::new();
        for n in 0..1000 {
            agent.samples(
                3,
                Said { count: 1, drops: 5, pool: 4_000_000 + n * 1000, rate: 1000 },
                0,
                8,
            );
        }
        for n in 0..1600 {
            agent.samples(3, Said { count: 1, drops: 0, pool: n * 1000, rate: 1000 }, 0, 8);
        }
        assert_eq!(agent.sorted()[0].effective, None, "restarted: the measure begins again");
        agent.samples(3, Said { count: 1, drops: 0, pool: 1_600_000, rate: 1000 }, 0, 8);
        assert_eq!(agent.sorted()[0].effective, Some(1000.0));
        for n in (1601..3300).step_by(2) {
            let lost = u64::from(n > 2000);
            agent.samples(
                3,
                Said { count: 1, drops: 0, pool: (n + 1) * 1000, rate: 1000 },
                lost,
                8,
            );
        }
        assert_eq!(agent.sorted()[0].effective, Some(1000.0), "loss on the way is no other rate");
        let mut agent = Agent::new();
        for n in (0..2000).step_by(2) {
            agent.samples(3, Said { count: 1, drops: 0, pool: (n + 1) * 1000, rate: 1000 }, 0, 8);
            agent.samples(3, Said { count: 1, drops: 0, pool: n * 1000, rate: 1000 }, 0, 8);
        }
        let found = agent.sorted()[0].effective.unwrap();
        assert!((found - 1000.0).abs() < 2.0, "every other one late: {found}");
        assert_eq!(agent.drops.total(), 0);
    }

    #[test]
    fn drops_add_up_over_sources_and_wraps() {
        let mut agent = Agent::new();
        for (index, drops) in [(1, u32::MAX), (2, 10), (1, 4), (2, 10), (2, 13), (1, 4), (2, 0)] {
            agent.samples(index, Said { count: 1, drops, pool: 0, rate: 100 }, 0, 8);
        }
        assert_eq!(agent.drops.total(), 5 + 3, "a restart of source 2 adds nothing");
        assert_eq!(agent.samples.total(), 7);
    }
}
