//! Numbers with their units as people write them: `20k`, `1.5 Mpps`, `1 Gbps`, `500ms`.

use std::time::Duration;

/// What a number in quotes counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counts {
    /// Things: no unit word.
    Plain,
    /// Packets per second.
    Packets,
    /// Bits per second.
    Bits,
    /// Flows per second.
    Flows,
}

impl Counts {
    /// Unit words that may follow the number. Case is ignored, for `Gbps`, `gbps` and `GBPS` are
    /// all in use for the same thing.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &[""],
            Self::Packets => &["", "pps", "p/s", "packets/s"],
            Self::Bits => &["bps", "bit/s", "b/s"],
            Self::Flows => &["", "fps", "flows/s"],
        }
    }
}

/// Parses `1.5 Mpps` and the like. Decimal multiples (1k = 1000), as everywhere in networks.
pub(super) fn parse_number(text: &str, counts: Counts) -> Option<f64> {
    let text = text.trim();
    let split = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '_')).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(split)?;
    let number: f64 = number.replace('_', "").parse().ok()?;
    let unit = unit.trim().to_lowercase();
    let multiples = [("", 1.0), ("k", 1e3), ("m", 1e6), ("g", 1e9), ("t", 1e12)];
    let multiple = |word: &&str| {
        let letter = unit.strip_suffix(word)?.trim_end();
        multiples.iter().find(|(l, _)| *l == letter).map(|(_, factor)| *factor)
    };
    counts.words().iter().find_map(multiple).map(|factor| number * factor)
}

/// Parses `500ms`, `1.5s`, `2 min`, `1h`. A bare number has no meaning.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '_'))?;
    let (number, unit) = text.split_at_checked(split)?;
    let number: f64 = number.replace('_', "").parse().ok()?;
    let seconds = match unit.trim() {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "s" | "sec" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let microseconds = (number * seconds * 1e6).round();
    // A thousand years; and every f64 below it is a whole number of microseconds.
    (microseconds < 4e15).then(|| Duration::from_micros(microseconds as u64))
}

/// `20 k`, `1.5 M`: three digits at least are kept.
pub(super) fn show_number(value: f64) -> String {
    let units = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    let (scaled, unit) = units
        .iter()
        .find(|(factor, _)| value >= *factor)
        .map_or((value, " "), |(factor, unit)| (value / factor, *unit));
    let mut digits = format!("{scaled:.3}");
    digits.truncate(digits.trim_end_matches('0').trim_end_matches('.').len());
    format!("{digits}{unit}")
}

/// `500ms`, `1.5s`, `30s`.
pub(super) fn show_duration(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{}ms", duration.as_secs_f64() * 1e3)
    } else {
        format!("{}s", duration.as_secs_f64())
    }
}

/// `30 min`, `2 h`, `90 s`: in the largest unit that shows all of it.
pub(super) fn show_time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() > 0 {
        return show_duration(duration);
    }
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    match units.iter().find(|(unit, _)| seconds >= *unit && seconds.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{} {name}", seconds / unit),
        None => format!("{seconds} s"),
    }
}

/// `1.2 GiB`: memory, in binary multiples.
pub(super) fn show_bytes(bytes: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(factor, _)| bytes >= *factor) {
        Some((factor, unit)) => format!("{:.1} {unit}", bytes as f64 / *factor as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units() {
        for (text, counts, want) in [
            ("20k", Counts::Packets, Some(2e4)),
            ("20_000", Counts::Packets, Some(2e4)),
            ("1.5M", Counts::Packets, Some(1.5e6)),
            ("1.5 Mpps", Counts::Packets, Some(1.5e6)),
            ("1 Gbps", Counts::Bits, Some(1e9)),
            ("10 gbit/s", Counts::Bits, Some(1e10)),
            ("1G", Counts::Bits, None),
            ("1 Gbps", Counts::Packets, None),
            ("3.5k flows/s", Counts::Flows, Some(3500.0)),
            ("1k", Counts::Plain, Some(1e3)),
            ("1.2.3", Counts::Plain, None),
            ("-5", Counts::Plain, None),
            ("", Counts::Plain, None),
            ("k", Counts::Plain, None),
            ("5 µ", Counts::Plain, None),
        ] {
            assert_eq!(parse_number(text, counts), want, "{text} {counts:?}");
        }
    }

    #[test]
    fn durations() {
        for (text, want) in [
            ("1s", Some(1_000_000)),
            ("500ms", Some(500_000)),
            ("1.5 s", Some(1_500_000)),
            ("2min", Some(120_000_000)),
            ("1", None),
            ("s", None),
            ("5 fortnights", None),
            ("99999999999999999999d", None),
            ("-1s", None),
        ] {
            assert_eq!(parse_duration(text), want.map(Duration::from_micros), "{text}");
        }
    }

    #[test]
    fn shown_as_typed() {
        assert_eq!(show_number(20_000.0), "20 k");
        assert_eq!(show_number(1.5e6), "1.5 M");
        assert_eq!(show_number(999.0), "999 ");
        assert_eq!(show_duration(Duration::from_millis(500)), "500ms");
        assert_eq!(show_duration(Duration::from_millis(1500)), "1.5s");
        assert_eq!(show_bytes(1536), "1.5 KiB");
        let times = [5400, 7200, 172_800, 90, 0].map(|s| show_time(Duration::from_secs(s)));
        assert_eq!(times, ["90 min", "2 h", "2 d", "90 s", "0 s"]);
    }
}
