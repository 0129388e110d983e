//! When a packet of the capture happens in the replay: `--speed`, `--start-at` and the rounds of
//! `--loop`, each round right behind the one before.

use std::time::Duration;

use tidewall_model::Timestamp;

/// How long a capture without a duration is taken to be when it is repeated, in nanoseconds.
const INSTANT_ROUND: f64 = 1e9;

/// Maps the time of a capture to the time of the replay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pacer {
    speed: f64,
    /// Where the first round begins, when that is not up to the capture.
    start_at: Option<Timestamp>,
    round: Option<Round>,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    /// Capture time of the first packet.
    origin: u64,
    /// Replay time of the first packet.
    start: u64,
    /// Latest replay time.
    latest: u64,
    packets: u64,
}

impl Pacer {
    /// Time passes `speed` times faster than in the capture.
    pub(super) fn new(speed: f64, start_at: Option<Timestamp>) -> Self {
        Self { speed, start_at, round: None }
    }

    /// Replay time of a packet.
    pub(super) fn place(&mut self, time: Timestamp) -> Timestamp {
        let start = self.start_at.unwrap_or(time).0;
        let round =
            self.round.get_or_insert(Round { origin: time.0, start, latest: start, packets: 0 });
        let delta = i128::from(time.0) - i128::from(round.origin);
        // Floating point only where a speed is given: it may not carry every nanosecond.
        #[expect(clippy::float_cmp, reason = "exactly one means untouched")]
        let scaled =
            if self.speed == 1.0 { delta } else { (delta as f64 / self.speed).round() as i128 };
        let placed = i128::from(round.start).saturating_add(scaled);
        let placed = placed.clamp(0, i128::from(u64::MAX)) as u64;
        round.latest = round.latest.max(placed);
        round.packets += 1;
        Timestamp(placed)
    }

    /// How long something takes in the replay that took `duration` in the capture.
    pub(super) fn scale(&self, duration: Duration) -> Duration {
        #[expect(clippy::float_cmp, reason = "exactly one means untouched")]
        if self.speed == 1.0 { duration } else { duration.div_f64(self.speed) }
    }

    /// The capture ended and begins again, after the mean time between two of its packets.
    pub(super) fn next_round(&mut self) {
        let Some(round) = self.round.take() else { return };
        let span = round.latest - round.start;
        let gap = if span == 0 {
            (INSTANT_ROUND / self.speed) as u64
        } else {
            span / round.packets.saturating_sub(1).max(1)
        };
        self.start_at = Some(Timestamp(round.latest.saturating_add(gap.max(1))));
    }
}

/// Reads `--start-at`: RFC 3339 (`2026-11-21T10:30:00.5Z`, `...+01:00`) or seconds since 1970.
pub fn parse_time(text: &str) -> Result<Timestamp, String> {
    let time = if text.contains('T') || text.contains('t') {
        rfc3339(text)
    } else {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        number(seconds).and_then(|s| Some(Timestamp::from_parts(s, nanoseconds(fraction)?)))
    };
    time.ok_or_else(|| {
        "expected a time such as 2026-11-21T10:30:00Z, or seconds since 1970".to_owned()
    })
}

fn rfc3339(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_once(['T', 't'])?;
    let mut date = date.splitn(3, '-').map(number);
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = rest.split_at_checked(zone_at)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut clock = clock.splitn(3, ':').map(number);
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let east = match zone {
        "Z" | "z" => 0,
        zone => {
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let minutes = number(hours)? * 60 + number(minutes)?;
            let seconds = i64::try_from(minutes).ok().filter(|m| *m < 24 * 60)? * 60;
            if zone.starts_with('-') { -seconds } else { seconds }
        }
    };
    let in_range = (1970..=2553).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    if !in_range {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    let local = days * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timestamp::from_parts(local.checked_add_signed(-east)?, nanoseconds(fraction)?))
}

fn number(digits: &str) -> Option<u64> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// Digits behind the point, as nanoseconds; more than nine are cut.
fn nanoseconds(fraction: &str) -> Option<u32> {
    if fraction.is_empty() {
        return Some(0);
    }
    number(fraction)?;
    format!("{fraction:0<9}").get(..9)?.parse().ok()
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of a month.
fn days_before(year: u64, month: u64) -> u64 {
    let years: u64 = (1970..year).map(|y| 365 + u64::from(is_leap(y))).sum();
    years + (1..month).map(|m| days_in(year, m)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(speed: f64, start: Option<u64>, times: &[&[u64]]) -> Vec<u64> {
        let mut pacer = Pacer::new(speed, start.map(Timestamp));
        let mut placed = Vec::new();
        for round in times {
            placed.extend(round.iter().map(|t| pacer.place(Timestamp(*t)).0));
            pacer.next_round();
        }
        placed
    }

    #[test]
    fn untouched_unless_asked() {
        let odd = 1_700_000_000_123_456_789;
        assert_eq!(places(1.0, None, &[&[odd, odd + 1, odd - 5]]), [odd, odd + 1, odd - 5]);
    }

    #[test]
    fn speed_divides_time_and_start_moves_it() {
        assert_eq!(places(10.0, None, &[&[1000, 1100, 2000]]), [1000, 1010, 1100]);
        assert_eq!(places(0.5, Some(7), &[&[1000, 1100]]), [7, 207]);
    }

    #[test]
    fn rounds_follow_each_other_at_the_same_rate() {
        let round: &[u64] = &[100, 110, 120];
        assert_eq!(places(1.0, None, &[round, round]), [100, 110, 120, 130, 140, 150]);
        assert_eq!(places(10.0, None, &[round, round]), [100, 101, 102, 103, 104, 105]);
        let instant: &[u64] = &[0, 0];
        assert_eq!(places(4.0, None, &[instant, instant]), [0, 0, 250_000_000, 250_000_000]);
    }

    #[test]
    fn extremes_saturate() {
        assert_eq!(places(1e-6, None, &[&[0, u64::MAX]]), [0, u64::MAX]);
        assert_eq!(places(1.0, Some(3), &[&[100, 0]]), [3, 0]);
    }

    #[test]
    fn times_are_read() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some((0, 0))),
            ("2026-11-21T10:30:00Z", Some((1_795_257_000, 0))),
            ("2026-11-21T11:30:00.25+01:00", Some((1_795_257_000, 250_000_000))),
            ("2000-02-29t00:00:00z", Some((951_782_400, 0))),
            ("1795257000.000001", Some((1_795_257_000, 1_000))),
            ("0", Some((0, 0))),
            ("2001-02-29T00:00:00Z", None),
            ("2026-11-21T10:30Z", None),
            ("2026-11-21T10:30:00", None),
            ("2026-11-21", None),
            ("1970-01-01T00:00:00+01:00", None),
            ("-5", None),
            ("", None),
        ] {
            let want = want.map(|(s, n)| Timestamp::from_parts(s, n));
            assert_eq!(parse_time(text).ok(), want, "{text}");
        }
    }
}
