//! When packets arrive: a Poisson process whose rate changes every 10 ms, by the hour of a day or
//! by the shape of an attack.

use crate::plan::Pulse;
use crate::random::{Random, mix2, sine_of_turns, unit};

/// The rate is constant for so long, in nanoseconds.
const SEGMENT_NS: u64 = 10_000_000;
/// The noise of a day has a new value each second.
const NOISE_NS: u64 = 1_000_000_000;

/// How a rate changes. All times are nanoseconds since the scenario's start.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// A day: a slow swing around the mean, with noise on it.
    Day {
        /// Part of the mean by which the rate rises and falls, 0 to 1.
        swing: f64,
        /// Length of the day.
        day_ns: u64,
        /// Standard deviation of the noise, as a part of the mean.
        noise: f64,
        /// Seed of the noise.
        seed: u64,
    },
    /// An attack: a ramp from nothing, then full rate, in pulses or not.
    Attack {
        /// When it begins.
        start_ns: u64,
        /// How long it grows.
        ramp_ns: u64,
        /// On and off.
        pulse: Option<Pulse>,
    },
}

impl Shape {
    /// Factor on the mean rate at a time.
    fn factor(&self, at_ns: u64) -> f64 {
        match self {
            Self::Day { swing, day_ns, noise, seed } => {
                // The day begins at its mean on the way up, and ends there.
                let turns = at_ns as f64 / (*day_ns).max(1) as f64;
                let day = 1.0 + swing * sine_of_turns(turns);
                let (second, part) =
                    (at_ns / NOISE_NS, (at_ns % NOISE_NS) as f64 / NOISE_NS as f64);
                let (from, to) = (bump(*seed, second), bump(*seed, second + 1));
                (day * (1.0 + noise * (from + (to - from) * part))).max(0.05)
            }
            Self::Attack { start_ns, ramp_ns, pulse } => {
                let since = at_ns.saturating_sub(*start_ns);
                let ramp = if since >= *ramp_ns { 1.0 } else { since as f64 / *ramp_ns as f64 };
                let on = pulse.is_none_or(|p| p.is_on(since));
                if on { ramp } else { 0.0 }
            }
        }
    }
}

/// About normally distributed (the sum of four draws), mean 0, standard deviation 1.
fn bump(seed: u64, second: u64) -> f64 {
    let sum: f64 = (0..4).map(|n| unit(mix2(seed, second.wrapping_mul(4) + n))).sum();
    (sum - 2.0) * 1.732_050_8
}

/// The times of one stream's packets, in order.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    /// Mean rate in packets per nanosecond.
    mean: f64,
    shape: Shape,
    /// Time of the last arrival, with its fraction of a nanosecond.
    now: f64,
    /// Rate from `now` to the end of the segment.
    rate: f64,
    segment_end_ns: u64,
    end_ns: u64,
}

impl Arrivals {
    /// Packets at `pps` on average from `start_ns` up to, not including, `end_ns`.
    pub(crate) fn new(pps: f64, shape: Shape, start_ns: u64, end_ns: u64) -> Self {
        let now = start_ns as f64;
        Self { mean: pps / 1e9, shape, now, rate: 0.0, segment_end_ns: start_ns, end_ns }
    }

    /// Time of the next packet, or `None` when the stream is over.
    pub(crate) fn next(&mut self, random: &mut Random) -> Option<u64> {
        let mut budget = random.exponential();
        loop {
            let expected = (self.segment_end_ns as f64 - self.now) * self.rate;
            if budget < expected {
                self.now += budget / self.rate;
                return Some(self.now as u64);
            }
            budget -= expected;
            if self.segment_end_ns >= self.end_ns {
                return None;
            }
            self.now = self.segment_end_ns as f64;
            let middle = self.segment_end_ns + SEGMENT_NS / 2;
            self.segment_end_ns = (self.segment_end_ns + SEGMENT_NS).min(self.end_ns);
            self.rate = self.mean * self.shape.factor(middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn times(pps: f64, shape: Shape, start: u64, end: u64) -> Vec<u64> {
        let mut random = Random::new(5);
        let mut arrivals = Arrivals::new(pps, shape, start, end);
        std::iter::from_fn(|| arrivals.next(&mut random)).collect()
    }

    fn in_second(times: &[u64], second: u64) -> f64 {
        times.iter().filter(|t| **t / SECOND == second).count() as f64
    }

    #[test]
    fn a_steady_attack_has_its_rate_and_poisson_gaps() {
        let shape = Shape::Attack { start_ns: SECOND, ramp_ns: 0, pulse: None };
        let times = times(10_000.0, shape, SECOND, 11 * SECOND);
        assert!(times.iter().all(|t| (SECOND..11 * SECOND).contains(t)));
        let n = times.len() as f64;
        assert!((n - 100_000.0).abs() < 1_500.0, "{n}");
        // A Poisson process has gaps whose standard deviation equals their mean.
        let gaps: Vec<f64> = times.windows(2).map(|w| (w[1] - w[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let square = gaps.iter().map(|g| (g - mean) * (g - mean)).sum::<f64>() / gaps.len() as f64;
        assert!((square.sqrt() / mean - 1.0).abs() < 0.02);
    }

    #[test]
    fn a_ramp_grows_and_pulses_pause() {
        let ramp = Shape::Attack { start_ns: 0, ramp_ns: 4 * SECOND, pulse: None };
        let seen = times(10_000.0, ramp, 0, 6 * SECOND);
        for (second, want) in [(0, 1250.0), (1, 3750.0), (3, 8750.0), (5, 10_000.0)] {
            assert!((in_second(&seen, second) / want - 1.0).abs() < 0.1, "second {second}");
        }
        let pulse = Some(Pulse { on_ns: SECOND, off_ns: 2 * SECOND });
        let pulses = Shape::Attack { start_ns: 0, ramp_ns: 0, pulse };
        let seen = times(10_000.0, pulses, 0, 6 * SECOND);
        for (second, on) in [true, false, false, true, false, false].into_iter().enumerate() {
            let count = in_second(&seen, second as u64);
            assert!(
                if on { (count - 1e4).abs() < 500.0 } else { count == 0.0 },
                "{second}: {count}"
            );
        }
    }

    #[test]
    fn a_day_swings_around_its_mean() {
        let day_ns = 40 * SECOND;
        let shape = Shape::Day { swing: 0.5, day_ns, noise: 0.05, seed: 1 };
        let seen = times(5_000.0, shape, 0, day_ns);
        let quarter = |q: u64| (q * 10..q * 10 + 10).map(|s| in_second(&seen, s)).sum::<f64>();
        assert!((seen.len() as f64 / 200_000.0 - 1.0).abs() < 0.03, "{}", seen.len());
        // The mean of a sine over its upper half is 2/pi.
        let (high, low) = (quarter(0) + quarter(1), quarter(2) + quarter(3));
        assert!((high / low - 1.318 / 0.682).abs() < 0.15, "{high} {low}");
    }
}
