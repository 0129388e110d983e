//! The service's clock: wall-clock time that never steps. It is read from the system once, and
//! runs on by the monotonic clock, so that a clock that is set cannot close an hour of windows, or
//! none for an hour.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use tidewall_model::Timestamp;

/// Wall-clock time at the start, and how long ago that is.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Timestamp,
    start: Instant,
}

impl Clock {
    /// Reads the system's time.
    #[expect(clippy::disallowed_methods, reason = "the service's only clock")]
    pub fn start() -> Self {
        Self { base: system_time(), start: Instant::now() }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.base + self.start.elapsed()
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// By how many seconds the system's clock was set since the start.
    pub fn stepped_by(&self) -> f64 {
        system_time().as_secs_f64() - self.now().as_secs_f64()
    }
}

/// Processor time that the calling thread has used; nothing where the system does not tell.
pub(super) fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[expect(clippy::disallowed_methods, reason = "the service's only clock")]
fn system_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(since.as_secs(), since.subsec_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_with_the_system() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(clock.now() >= first);
        assert!(clock.stepped_by().abs() < 1.0, "{}", clock.stepped_by());
    }

    #[test]
    fn a_system_clock_that_is_set_is_told_and_not_followed() {
        // The other way round: as if the system's had been an hour behind, or ahead, at the start.
        for hours in [-1_i32, 1] {
            let (started, hour) = (Clock::start(), Duration::from_hours(1));
            let base = if hours > 0 { started.base - hour } else { started.base + hour };
            let (clock, set) = (Clock { base, ..started }, f64::from(hours) * 3600.0);
            assert!((clock.stepped_by() - set).abs() < 1.0, "{}", clock.stepped_by());
            let (first, second) = (clock.now(), clock.now());
            assert!(first >= base && second >= first);
            assert!(first.since(base) < Duration::from_secs(1));
        }
    }
}
