//! The time that an exporter tells: milliseconds since its start, and the Unix time beside them.

use tidewall_model::Timestamp;
use tidewall_wire::emit::netflow::ExportTime;

/// An exporter's clock. It runs from the first record on, whose uptime is given.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    first: Option<Timestamp>,
    /// Uptime at the first record.
    uptime_ms: u32,
}

impl Clock {
    pub(super) const fn new(uptime_ms: u32) -> Self {
        Self { first: None, uptime_ms }
    }

    /// Takes the time of the first record.
    pub(super) fn start(&mut self, now: Timestamp) {
        self.first.get_or_insert(now);
    }

    /// Milliseconds since the exporter's start; they wrap after 49 days.
    pub(super) fn uptime_ms(&self, time: Timestamp) -> u32 {
        let first = self.first.unwrap_or_default();
        let passed_ns = i128::from(time.0) - i128::from(first.0);
        self.uptime_ms.wrapping_add(passed_ns.div_euclid(1_000_000) as u32)
    }

    pub(super) fn export_time(&self, time: Timestamp) -> ExportTime {
        ExportTime {
            unix_secs: time.seconds() as u32,
            unix_nsecs: time.subsec_nanos(),
            sys_uptime: self.uptime_ms(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_wraps_and_goes_before_the_first_record() {
        let first = Timestamp::from_parts(1_700_000_000, 0);
        let mut clock = Clock::new(u32::MAX);
        clock.start(first);
        clock.start(Timestamp(7));
        assert_eq!(clock.uptime_ms(first), u32::MAX);
        assert_eq!(clock.uptime_ms(Timestamp(first.0 + 1_999_999)), 0);
        assert_eq!(clock.uptime_ms(Timestamp(first.0 - 1)), u32::MAX - 1);
        let time = clock.export_time(Timestamp(first.0 + 1_500_000_000));
        assert_eq!((time.unix_secs, time.unix_nsecs), (1_700_000_001, 500_000_000));
        assert_eq!(time.sys_uptime, 1499);
    }
}
