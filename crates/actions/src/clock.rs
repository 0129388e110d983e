//! The wall clock and the local time of this machine: file names and report lines of the reference
//! are in local time.

use std::time::UNIX_EPOCH;

use jiff::tz::TimeZone;
use tidewall_model::Timestamp;

/// The wall clock.
#[expect(clippy::disallowed_methods, reason = "an edge: says when an action last succeeded")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(since.as_secs(), since.subsec_nanos())
}

/// A time zone in which times are written.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalTime(TimeZone);

impl LocalTime {
    /// The zone of this machine: `TZ`, else `/etc/localtime`, else UTC.
    pub fn system() -> Self {
        Self(TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    /// UTC.
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// `2026-11-21 13:56:52.731038`.
    pub fn date_and_micros(&self, time: Timestamp) -> String {
        let (seconds, rest) = (self.civil(time), time.subsec_nanos() / 1000);
        format!("{}.{rest:06}", seconds.strftime("%Y-%m-%d %H:%M:%S"))
    }

    /// `21_11_26_13:56:51`: day, month, year of two digits, as file names and keys have it.
    pub fn file_stamp(&self, time: Timestamp) -> String {
        self.civil(time).strftime("%d_%m_%y_%H:%M:%S").to_string()
    }

    fn civil(&self, time: Timestamp) -> jiff::civil::DateTime {
        let seconds = i64::try_from(time.seconds()).unwrap_or(i64::MAX);
        let at = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
        self.0.to_datetime(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_times_in_both_forms() {
        let time = Timestamp::from_parts(1_795_269_411, 731_038_999);
        assert_eq!(LocalTime::utc().file_stamp(time), "21_11_26_13:56:51");
        assert_eq!(LocalTime::utc().date_and_micros(time), "2026-11-21 13:56:51.731038");
        let east = LocalTime(TimeZone::fixed(jiff::tz::offset(9)));
        assert_eq!(east.file_stamp(time), "21_11_26_22:56:51");
        assert_eq!(LocalTime::utc().file_stamp(Timestamp::ZERO), "01_01_70_00:00:00");
        assert!(LocalTime::utc().file_stamp(Timestamp(u64::MAX)).starts_with("21_07_54"));
    }
}
