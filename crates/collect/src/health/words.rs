//! Times, amounts and rates as people write them.

use std::fmt;
use std::time::Duration;

use tidewall_model::Timestamp;

/// A duration in its two largest units: `45 s`, `3 min 20 s`, `2 h 5 min`, `12 days`.
pub(super) struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds == 0 && !self.0.is_zero() {
            return write!(f, "{} ms", self.0.as_millis());
        }
        let (large, small) = match seconds {
            0..60 => return write!(f, "{seconds} s"),
            60..3600 => ((seconds / 60, "min"), (seconds % 60, "s")),
            3600..86_400 => ((seconds / 3600, "h"), (seconds / 60 % 60, "min")),
            _ if seconds / 86_400 == 1 => ((1, "day"), (seconds / 3600 % 24, "h")),
            _ => return write!(f, "{} days", seconds / 86_400),
        };
        write!(f, "{} {}", large.0, large.1)?;
        if small.0 > 0 { write!(f, " {} {}", small.0, small.1) } else { Ok(()) }
    }
}

/// A time of day in UTC, with its date when it is a day or more ago: `14:02`.
pub(super) struct Since {
    pub time: Timestamp,
    pub ago: Duration,
}

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.time.seconds();
        if self.ago >= Duration::from_hours(24) {
            let text = self.time.to_string();
            write!(f, "{} ", text.get(..10).unwrap_or(&text))?;
        }
        write!(f, "{:02}:{:02} UTC", seconds / 3600 % 24, seconds / 60 % 60)
    }
}

/// A rate with its unit and three digits: `1.25 Gbit/s`.
pub(super) struct Rate(pub f32, pub &'static str);

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, prefix) = match self.0 {
            v if v >= 1e12 => (v / 1e12, "T"),
            v if v >= 1e9 => (v / 1e9, "G"),
            v if v >= 1e6 => (v / 1e6, "M"),
            v if v >= 1e3 => (v / 1e3, "k"),
            v => (v, ""),
        };
        let decimals = match value {
            v if v == 0.0 || v >= 100.0 => 0,
            v if v >= 10.0 => 1,
            _ => 2,
        };
        write!(f, "{value:.decimals$} {prefix}{}", self.1)
    }
}

/// A share: `0.03 %`, `12 %`.
pub(super) struct Percent(pub f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = self.0 * 100.0;
        let decimals = match percent {
            p if p >= 10.0 => 0,
            p if p >= 1.0 => 1,
            _ => 2,
        };
        write!(f, "{percent:.decimals$} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_well() {
        let span = |ms| Span(Duration::from_millis(ms)).to_string();
        assert_eq!(span(0), "0 s");
        assert_eq!(span(250), "250 ms");
        assert_eq!(span(45_900), "45 s");
        assert_eq!(span(60_000), "1 min");
        assert_eq!(span(200_000), "3 min 20 s");
        assert_eq!(span(7_500_000), "2 h 5 min");
        assert_eq!(span(90_000_000), "1 day 1 h");
        assert_eq!(span(1_000_000_000), "11 days");
        let rate = |value| Rate(value, "bit/s").to_string();
        assert_eq!(rate(0.0), "0 bit/s");
        assert_eq!(rate(1.25e9), "1.25 Gbit/s");
        assert_eq!(rate(12_340.0), "12.3 kbit/s");
        assert_eq!(rate(123.4e6), "123 Mbit/s");
        let percent = |value| Percent(value).to_string();
        assert_eq!((percent(0.0003), percent(0.021)), ("0.03 %".to_owned(), "2.1 %".to_owned()));
        assert_eq!(percent(0.125), "12 %");
        let time = Timestamp::from_parts(1_795_257_000, 0);
        let since = |ago| Since { time, ago: Duration::from_secs(ago) }.to_string();
        assert_eq!(since(60), "10:30 UTC");
        assert_eq!(since(90_000), "2026-11-21 10:30 UTC");
    }
}
