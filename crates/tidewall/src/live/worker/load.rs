//! How busy a worker is: the processor time that its thread used between two of its reports, and
//! the records that it made of what came.

use std::time::Duration;

/// How busy a thread was lately.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Share of one core, 0 to 1.
    pub core: f64,
    /// Records per second.
    pub records: f64,
}

/// Less time than this between two reports says nothing.
const LEAST: Duration = Duration::from_millis(100);

/// Counters at the last reading.
#[derive(Debug, Default)]
pub(super) struct Meter {
    last: Option<(Duration, Duration, u64)>,
    load: Load,
}

impl Meter {
    /// Load since the last reading: `used` is the thread's processor time, `records` all that it
    /// has made. The first reading begins the measurement.
    pub(super) fn read(&mut self, now: Duration, used: Duration, records: u64) -> Load {
        let Some((then, used_then, records_then)) = self.last else {
            self.last = Some((now, used, records));
            return self.load;
        };
        let time = now.saturating_sub(then);
        if time >= LEAST {
            let per_second = |count: f64| count / time.as_secs_f64();
            let used = used.saturating_sub(used_then).as_secs_f64();
            self.load = Load {
                // Both clocks are read one after the other.
                core: per_second(used).min(1.0),
                records: per_second(records.saturating_sub(records_then) as f64),
            };
            self.last = Some((now, used_then + Duration::from_secs_f64(used), records));
        }
        self.load
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_is_what_was_used_since_the_last_reading() {
        let at = Duration::from_millis;
        let mut meter = Meter::default();
        assert_eq!(meter.read(at(5000), at(300), 70), Load::default(), "nothing to compare with");
        let load = meter.read(at(7000), at(800), 1070);
        assert!((load.core - 0.25).abs() < 1e-9 && (load.records - 500.0).abs() < 1e-9, "{load:?}");
        assert_eq!(meter.read(at(7001), at(801), 1071), load, "too soon");
        let load = meter.read(at(8000), at(800), 1070);
        assert_eq!(load, Load::default(), "idle since: a clock that runs back is none");
        let load = meter.read(at(9000), at(9000), 1070);
        assert!((load.core - 1.0).abs() < 1e-9, "{load:?}");
    }
}
