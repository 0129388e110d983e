//! Pseudo-random numbers that are the same on every machine: xoshiro256++ seeded by SplitMix64
//! (Blackman and Vigna, public domain), and the few functions of them that traffic needs. The
//! logarithm and the sine are computed here because those of the system's library may differ in
//! their last bit from one machine to the next.

/// SplitMix64's output function: scrambles a number so that neighbours have nothing in common.
pub(crate) const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// [`mix`] of two numbers.
pub(crate) const fn mix2(a: u64, b: u64) -> u64 {
    mix(mix(a) ^ b)
}

/// A number of 64 random bits as one from 0 up to, not including, 1.
pub(crate) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// xoshiro256++ 1.0: a fast generator with a period of 2^256 - 1. Not for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random([u64; 4]);

impl Random {
    /// A generator whose state is made from `seed` by SplitMix64.
    pub fn new(seed: u64) -> Self {
        let step = 0x9e37_79b9_7f4a_7c15u64;
        let at = |n: u64| mix(seed.wrapping_add(step.wrapping_mul(n)));
        Self([at(0), at(1), at(2), at(3)])
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let state = &mut self.0;
        let out = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        out
    }

    /// From 0 up to, not including, 1.
    pub fn unit(&mut self) -> f64 {
        unit(self.bits())
    }

    /// From 0 up to, not including, `bound`; 0 when that is 0. The bias is below 2^-32 for the
    /// small bounds that traffic has.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// From `low` to `high`, both included; `low` when they are the wrong way round.
    pub fn between(&mut self, low: u16, high: u16) -> u16 {
        low.saturating_add(self.below(u64::from(high.saturating_sub(low)) + 1) as u16)
    }

    /// True with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Exponentially distributed with mean 1: the gap between two arrivals of a Poisson process.
    pub fn exponential(&mut self) -> f64 {
        -ln(1.0 - self.unit())
    }
}

/// Natural logarithm of a positive normal number, from additions and multiplications only.
pub(crate) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    // ln m = 2 artanh((m - 1) / (m + 1)), of an argument within ±0.172.
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let s = z * z;
    let series =
        1.0 + s * (1.0 / 3.0 + s * (1.0 / 5.0 + s * (1.0 / 7.0 + s * (1.0 / 9.0 + s / 11.0))));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * z * series
}

/// Sine of `turns` full turns, to about 1e-6.
pub(crate) fn sine_of_turns(turns: f64) -> f64 {
    let part = turns - turns.floor();
    // Fold into a quarter turn, where the series is short.
    let (part, sign) = if part < 0.5 { (part, 1.0) } else { (part - 0.5, -1.0) };
    let x = std::f64::consts::TAU * if part > 0.25 { 0.5 - part } else { part };
    let s = x * x;
    let series = 1.0 - s / 6.0 * (1.0 - s / 20.0 * (1.0 - s / 42.0 * (1.0 - s / 72.0)));
    sign * x * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xoshiro_gives_its_published_numbers() {
        let mut random = Random([1, 2, 3, 4]);
        let want: [u64; 10] = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
            14_011_001_112_246_962_877,
            12_406_186_145_184_390_807,
            15_849_039_046_786_891_736,
            10_450_023_813_501_588_000,
        ];
        assert_eq!(want.map(|_| random.bits()), want);
    }

    #[test]
    fn splitmix_gives_its_published_numbers() {
        let want: [u64; 5] = [
            1_985_237_415_132_408_290,
            2_979_275_885_539_914_483,
            13_511_426_838_097_143_398,
            8_488_337_342_461_049_707,
            15_141_737_807_933_549_159,
        ];
        let Random(state) = Random::new(1_477_776_061_723_855_037);
        assert_eq!(state, want[..4]);
        let fifth = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(4);
        assert_eq!(mix(1_477_776_061_723_855_037u64.wrapping_add(fifth)), want[4]);
    }

    #[test]
    fn logarithm_and_sine_agree_with_the_library() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            let x = random.unit() + 1e-12;
            assert!((ln(x) - x.ln()).abs() < 1e-9, "ln {x}");
            let turns = random.unit() * 10.0;
            let want = (turns * std::f64::consts::TAU).sin();
            assert!((sine_of_turns(turns) - want).abs() < 1e-5, "sin {turns}");
        }
    }

    #[test]
    fn draws_have_the_right_means_and_bounds() {
        let mut random = Random::new(7);
        let n = 200_000;
        let mut sums = [0.0; 3];
        let mut ends = [0; 2];
        for _ in 0..n {
            sums[0] += random.exponential();
            sums[1] += random.below(10) as f64;
            sums[2] += f64::from(u8::from(random.chance(0.3)));
            let port = random.between(5, 8);
            assert!((5..=8).contains(&port));
            ends[0] += u32::from(port == 5);
            ends[1] += u32::from(port == 8);
        }
        for (sum, mean) in sums.iter().zip([1.0, 4.5, 0.3]) {
            assert!((sum / f64::from(n) - mean).abs() < 0.02, "{sum} {mean}");
        }
        for count in ends {
            assert!((f64::from(count) / f64::from(n) - 0.25).abs() < 0.01);
        }
        assert_eq!(random.below(0), 0);
        assert_eq!(random.between(9, 3), 9);
    }
}
