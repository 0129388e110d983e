//! The demo's only clock, and the rule by which demo time follows it.

use std::time::{Duration, Instant};

/// Wall-clock time since the demo began.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    #[expect(clippy::disallowed_methods, reason = "an edge: the demo is shown in real time")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since it began.
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }

    /// Lets time pass.
    #[expect(clippy::disallowed_methods, reason = "an edge: the demo waits for its next moment")]
    pub fn wait(time: Duration) {
        std::thread::sleep(time);
    }
}

/// Smaller delays are caught up with; larger ones stretch time.
const TOLERANCE: Duration = Duration::from_millis(250);

/// How demo time follows the clock: one to one, unless the machine cannot keep up. Then demo time
/// is stretched, and no packet is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    stretched: Duration,
}

impl Pace {
    /// How far demo time should be when the clock is at `elapsed`.
    pub fn due(&self, elapsed: Duration) -> Duration {
        elapsed.saturating_sub(self.stretched)
    }

    /// Says that demo time is at `at` when the clock is at `elapsed`.
    pub fn reached(&mut self, elapsed: Duration, at: Duration) {
        let behind = self.due(elapsed).saturating_sub(at);
        if behind > TOLERANCE {
            self.stretched += behind;
        }
    }

    /// By how much longer it takes than it should.
    pub fn stretched(&self) -> Duration {
        self.stretched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_small_delay_is_caught_up_and_a_large_one_stretches_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.due(1000 * MS), 1000 * MS);
        pace.reached(1000 * MS, 800 * MS);
        assert_eq!((pace.stretched(), pace.due(1100 * MS)), (Duration::ZERO, 1100 * MS));
        pace.reached(2000 * MS, 1500 * MS);
        assert_eq!(pace.stretched(), 500 * MS);
        // From there on one to one again.
        assert_eq!(pace.due(2100 * MS), 1600 * MS);
        pace.reached(2100 * MS, 1600 * MS);
        assert_eq!(pace.stretched(), 500 * MS);
    }
}
