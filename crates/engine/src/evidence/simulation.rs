//! Traffic for the tests of the rule: a noisy background and an attack that starts at any phase of
//! slice and window, seen whole or through a sampler, as the engine would hand it to a track.

use std::f64::consts::TAU;

use super::{Amount, Excess, RuleSettings, Track};
use crate::Detection;

/// Length of a slice at the default settings, in seconds.
const SLICE: f64 = 0.05;
/// Slices in a window at the default settings.
const SLICES: u64 = 20;
/// The background's rate is drawn anew each 100 ms.
const NOISE_TIME: f64 = 0.1;
/// Its slow wave comes back in so many seconds.
const WAVE_TIME: f64 = 120.0;

/// xoshiro256++ seeded by splitmix64, and the distributions made from it.
pub(super) struct Random([u64; 4]);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }))
    }

    fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let out = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        out
    }

    /// In [0, 1).
    pub(super) fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Box and Muller.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// Marsaglia and Tsang, for a shape of at least 1; the mean is the shape.
    pub(super) fn gamma(&mut self, shape: f64) -> f64 {
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            let accepted =
                v > 0.0 && (1.0 - self.uniform()).ln() < 0.5 * x * x + d - d * v + d * v.ln();
            if accepted {
                return d * v;
            }
        }
    }

    /// Exact by Knuth's product up to a mean of 16, by halving up to 256, normal above.
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 256.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        if mean > 16.0 {
            return self.poisson(mean / 2.0) + self.poisson(mean / 2.0);
        }
        let (floor, mut product, mut count) = ((-mean).exp(), self.uniform(), 0);
        while product > floor {
            product *= self.uniform();
            count += 1;
        }
        count
    }
}

/// How the packets come to be counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Sampler {
    /// All of them.
    All,
    /// Each with this chance, 1 in N.
    Random(u32),
    /// Every Nth.
    Systematic(u32),
}

/// How uneven the background is, besides being a Poisson process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Noise {
    /// Coefficient of variation of a gamma distributed factor, drawn anew each 100 ms.
    pub(super) variation: f64,
    /// Height of a wave of two minutes, up and down, as a part of the rate.
    pub(super) wave: f64,
}

impl Noise {
    pub(super) const ROUGH: Self = Self { variation: 0.3, wave: 0.05 };
    pub(super) const LEVEL: Self = Self { variation: 0.3, wave: 0.0 };
    pub(super) const POISSON: Self = Self { variation: 0.0, wave: 0.0 };
}

/// A host with a limit of `limit` packets a second; rates are parts of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scene {
    pub(super) limit: f64,
    pub(super) sampler: Sampler,
    /// Mean rate of the noisy background, which ends where the attack begins.
    pub(super) background: f64,
    pub(super) noise: Noise,
    /// Total rate while attacked.
    pub(super) attack: f64,
    /// When the attack begins, in seconds.
    pub(super) start: f64,
    /// How long to look, in seconds.
    pub(super) length: f64,
}

/// What came of it, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alarm {
    /// When the rule fired.
    pub(super) at: f64,
    pub(super) excess: Excess,
}

impl Scene {
    /// Times from the start of the attack to its alarm, over this many seeds, shortest first.
    pub(super) fn latencies(&self, seeds: u64) -> Latencies {
        let rule = RuleSettings::from(&Detection::default());
        let mut latencies: Vec<f64> = (0..seeds)
            .map(|seed| {
                let mut random = Random::new(seed);
                // Any phase of slice and window.
                let start = self.start + random.uniform();
                let alarm = Self { start, ..*self }.run(&mut random, &rule);
                alarm.map_or(f64::INFINITY, |alarm| alarm.at - start)
            })
            .collect();
        latencies.sort_by(f64::total_cmp);
        Latencies(latencies)
    }

    /// How many of this many seeds raise an alarm.
    pub(super) fn alarms(&self, seeds: u64) -> u64 {
        let rule = RuleSettings::from(&Detection::default());
        (0..seeds).filter(|seed| self.run(&mut Random::new(*seed), &rule).is_some()).count() as u64
    }

    /// Runs until the first alarm.
    pub(super) fn run(&self, random: &mut Random, rule: &RuleSettings) -> Option<Alarm> {
        let mut traffic = Traffic::new(*self, random);
        let (mut track, mut hot, mut window) = (Track::default(), false, Amount::default());
        for index in 0..(self.length / SLICE).round() as u64 {
            let amount = traffic.slice(index, random);
            if index % SLICES == 0 {
                window = Amount::default();
            }
            window += amount;
            let at = (index + 1) as f64 * SLICE;
            // The engine follows a metric from about half of its limit on.
            hot |= amount.count as f64 >= 0.5 * self.limit * SLICE;
            if !hot {
                continue;
            }
            track.push_slice(index, amount, rule);
            let mut verdict = track.verdict(self.limit, rule);
            if (index + 1) % SLICES == 0 {
                track.push_window(index / SLICES, window);
                verdict = verdict.or_else(|| track.verdict(self.limit, rule));
            }
            if let Some(excess) = verdict {
                return Some(Alarm { at, excess });
            }
        }
        None
    }
}

/// Times to detect in seconds, sorted; below zero when the background raised the alarm.
pub(super) struct Latencies(Vec<f64>);

impl Latencies {
    pub(super) fn quantile(&self, part: f64) -> f64 {
        self.0[((self.0.len() - 1) as f64 * part).round() as usize]
    }

    /// Part of the attacks that were named in time.
    pub(super) fn within(&self, seconds: f64) -> f64 {
        let named = self.0.iter().filter(|time| (0.0..=seconds + 1e-9).contains(*time)).count();
        named as f64 / self.0.len() as f64
    }
}

/// Packets as they come, slice by slice.
struct Traffic {
    scene: Scene,
    /// Phases of noise and wave, in seconds.
    noise_phase: f64,
    wave_phase: f64,
    /// The current noise interval and its factor.
    noise: (u64, f64),
    /// Packets since the last one that the systematic sampler took.
    since_sample: u64,
}

impl Traffic {
    fn new(scene: Scene, random: &mut Random) -> Self {
        let since_sample = match scene.sampler {
            Sampler::Systematic(rate) => (random.uniform() * f64::from(rate)) as u64,
            Sampler::All | Sampler::Random(_) => 0,
        };
        let mut traffic = Self {
            scene,
            noise_phase: random.uniform() * NOISE_TIME,
            wave_phase: random.uniform() * WAVE_TIME,
            noise: (0, 1.0),
            since_sample,
        };
        traffic.noise.1 = traffic.draw(random);
        traffic
    }

    fn draw(&self, random: &mut Random) -> f64 {
        let shape = self.scene.noise.variation.powi(-2);
        if shape.is_finite() { random.gamma(shape) / shape } else { 1.0 }
    }

    /// Packets that are expected of the background between two times.
    fn background(&mut self, from: f64, to: f64, random: &mut Random) -> f64 {
        let (mut sum, mut at) = (0.0, from);
        while at < to - 1e-9 {
            let interval = ((at + self.noise_phase) / NOISE_TIME + 1e-9).floor();
            if interval as u64 > self.noise.0 {
                self.noise = (interval as u64, self.draw(random));
            }
            let until = ((interval + 1.0) * NOISE_TIME - self.noise_phase).min(to);
            let turn = TAU * (at + self.wave_phase) / WAVE_TIME;
            let wave = 1.0 + self.scene.noise.wave * turn.sin();
            sum += (until - at) * self.scene.background * self.scene.limit * wave * self.noise.1;
            at = until;
        }
        sum
    }

    fn slice(&mut self, index: u64, random: &mut Random) -> Amount {
        let (from, to) = (index as f64 * SLICE, (index + 1) as f64 * SLICE);
        let turn = self.scene.start.clamp(from, to);
        let expected = self.background(from, turn, random)
            + (to - turn) * self.scene.attack * self.scene.limit;
        match self.scene.sampler {
            Sampler::All => Amount::packets(random.poisson(expected), 1),
            Sampler::Random(rate) => {
                let taken = random.poisson(expected / f64::from(rate));
                Amount::packets(taken * u64::from(rate), rate)
            }
            Sampler::Systematic(rate) => {
                let passed = self.since_sample + random.poisson(expected);
                let taken = passed / u64::from(rate);
                self.since_sample = passed % u64::from(rate);
                Amount::packets(taken * u64::from(rate), rate)
            }
        }
    }
}
