//! When a measured rate is an attack: the recent past of one metric of one target, in slices and
//! windows, and the rule that looks at it. A short time needs a larger excess than a long one, and
//! sampled traffic needs evidence besides. The reasons and the measured figures are in
//! `docs/detection.md`. Runs on the detector thread; counts in, a verdict out, nothing else.

use std::ops::AddAssign;
use std::time::Duration;

use crate::Detection;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

/// Slices that a track remembers: half a second at the default 50 ms.
const SLICES_KEPT: usize = 10;
/// Whole windows that a track remembers; with the running one, half a minute.
const WINDOWS_KEPT: usize = 29;
/// Windows over which the rate of sampled traffic is taken for the end of an attack.
const RELEASE_WINDOWS: usize = 5;

/// Leaky buckets as (seconds of traffic at the limit that fit, part of the limit that drains).
/// Only what overflows all of them is an attack; see [`RuleSettings::needed_seconds`].
const BUCKETS: [(f64, f64); 3] = [(0.8, 0.57), (0.4, 0.97), (0.0, 1.0)];
/// Besides being sampled, traffic is taken to come in clumps worth so many seconds at the limit.
const CLUMP_SECONDS: f64 = 0.0075;
/// Fewer samples than this are never evidence.
const LEAST_SAMPLES: f64 = 20.0;
/// Evidence that is asked for besides the configured one from [`LONG_SECONDS`] on: a long time can
/// afford it, and more can go wrong in it.
const LONG_EVIDENCE: f64 = 2.0;
/// See [`LONG_EVIDENCE`].
const LONG_SECONDS: f64 = 1.0;

/// What was counted in a slice or a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Packets, bits or flows, already multiplied by the sampling rate.
    pub count: u64,
    /// The most that chance may add by one sampled packet: `w - 1` for packets sampled 1 in `w`,
    /// `8 * largest frame * (w - 1)` for their bits; 0 when every packet was seen.
    pub per_sample: u64,
}

impl Amount {
    /// Largest Ethernet frame without its check sequence, in bytes: no sampled packet adds more.
    pub const LARGEST_FRAME: u64 = 1514;

    /// Packets counted from 1 in `rate` of them, `count` already being multiplied. With a rate of 1
    /// every packet was seen.
    pub const fn packets(count: u64, rate: u32) -> Self {
        Self { count, per_sample: (rate as u64).saturating_sub(1) }
    }

    /// Bits counted from 1 in `rate` packets. What the frames weighed is not known any more, so
    /// all are taken as the largest: fewer samples, and so less evidence, than there really were.
    pub const fn bits(count: u64, rate: u32) -> Self {
        Self { count, per_sample: Self::packets(count, rate).per_sample * 8 * Self::LARGEST_FRAME }
    }
}

impl AddAssign for Amount {
    /// Two shares of the same slice. The coarser sampling decides for both: that is on the safe
    /// side, and the same whichever shard saw which share.
    fn add_assign(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.per_sample = self.per_sample.max(other.per_sample);
    }
}

/// The settings of the rule, ready for use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RuleSettings {
    tolerance: f64,
    evidence: f64,
    slices: u64,
    slice_ns: u64,
    window_ns: u64,
}

impl RuleSettings {
    /// `slices` in each `window`. Samples must be so unlikely, at most e^-`evidence`, to be drawn
    /// from traffic that really flows at `tolerance` times the limit.
    pub fn new(window: Duration, slices: u32, tolerance: f64, evidence: f64) -> Self {
        let slices = u64::from(slices.max(1));
        let window_ns = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX).max(slices);
        Self { tolerance, evidence, slices, slice_ns: window_ns / slices, window_ns }
    }

    /// Slices since the window began, this one included.
    pub const fn slices_of_window(&self, slice: u64) -> u64 {
        slice % self.slices + 1
    }

    /// How many seconds' worth of traffic at the limit must come within `seconds`: the least that
    /// overflows every bucket.
    fn needed_seconds(seconds: f64) -> f64 {
        BUCKETS.iter().map(|(size, drain)| size + drain * seconds).fold(0.0, f64::max)
    }

    /// Is this much too much, and if it was sampled, for sure?
    fn is_excess(&self, span: &Span, limit: f64) -> bool {
        let much = span.count as f64 >= limit * Self::needed_seconds(span.seconds());
        span.count > 0 && much && (span.is_exact() || self.is_evident(span, limit))
    }

    /// Bennett's inequality: the chance that samples add up to `count` or more while `tolerated`
    /// really passed is at most e^-x with the x computed here. Clumps count as larger samples.
    fn is_evident(&self, span: &Span, limit: f64) -> bool {
        let (count, seconds) = (span.count as f64, span.seconds());
        let tolerated = self.tolerance * limit * seconds;
        let clump = span.per_sample() + CLUMP_SECONDS * limit;
        let x = (count * (count / tolerated).ln() - (count - tolerated)) / clump;
        let more = if seconds >= LONG_SECONDS { LONG_EVIDENCE } else { 0.0 };
        count > tolerated && x >= self.evidence + more && span.samples() >= LEAST_SAMPLES
    }
}

impl From<&Detection> for RuleSettings {
    fn from(detection: &Detection) -> Self {
        Self::new(detection.window, detection.slices, detection.tolerance, detection.evidence)
    }
}

/// A limit is exceeded: by how much, measured over what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    /// Rate per second over `window`.
    pub value: f64,
    /// The shortest time up to now over which the rule is met.
    pub window: Duration,
    /// How long ago the traffic rose above the limit, as far back as is remembered.
    pub since: Duration,
    /// Sampled packets that the evidence rests on (for bits: at least so many); `None` when every
    /// packet was seen.
    pub samples: Option<u64>,
}

/// The recent past of one metric in one direction of one target.
#[derive(Clone, Debug, Default)]
pub struct Track {
    slices: Ring<SLICES_KEPT>,
    windows: Ring<WINDOWS_KEPT>,
    /// The running window, as long as every slice of it is known.
    running: Option<Span>,
}

impl Track {
    /// The end of a slice. `index` is its start divided by the length of a slice; a track whose
    /// slices have a gap starts afresh, so every slice of a live track must be pushed, also 0.
    pub fn push_slice(&mut self, index: u64, amount: Amount, rule: &RuleSettings) {
        let follows = self.slices.push(index, amount);
        let before = if index.is_multiple_of(rule.slices) {
            Some(Span::default())
        } else {
            self.running.filter(|_| follows)
        };
        self.running =
            before.map(|span| span.plus(amount.count, amount.per_sample as f32, rule.slice_ns));
    }

    /// The end of a window, with all that was counted in it. `index` is its start divided by its
    /// length. It comes after the window's last slice, if slices are pushed.
    pub fn push_window(&mut self, index: u64, amount: Amount) {
        self.windows.push(index, amount);
        self.running = None;
    }

    /// Is a limit (per second) exceeded now? To be asked after each push.
    pub fn verdict(&self, limit: f64, rule: &RuleSettings) -> Option<Excess> {
        let span = self.spans(rule).find(|span| rule.is_excess(span, limit))?;
        Some(Excess {
            value: span.rate(),
            window: Duration::from_nanos(span.nanos),
            since: self.since(limit, rule),
            samples: (!span.is_exact()).then(|| span.samples().round() as u64),
        })
    }

    /// Is the traffic below `rate` (per second)? The last window says so, or when it is sampled,
    /// and thus uneven, the last few of them.
    pub fn below(&self, rate: f64, rule: &RuleSettings) -> bool {
        let mut recent = self.windows.spans(Span::default(), rule.window_ns).take(RELEASE_WINDOWS);
        let (newest, all) = (recent.next(), recent.last());
        let sampled = all.filter(|span| !span.is_exact());
        sampled.or(newest).is_none_or(|span| span.rate() < rate)
    }

    /// Time since the traffic rose above the limit: the span with the greatest excess begins there.
    fn since(&self, limit: f64, rule: &RuleSettings) -> Duration {
        let mut best = (f64::NEG_INFINITY, 0);
        for span in self.spans(rule) {
            let excess = span.count as f64 - limit * span.seconds();
            if excess > best.0 {
                best = (excess, span.nanos);
            }
        }
        Duration::from_nanos(best.1)
    }

    /// Every span that ends now: slices, then windows together with the running one's slices.
    fn spans(&self, rule: &RuleSettings) -> impl Iterator<Item = Span> {
        let (slices_end, windows_end) =
            (self.slices.end, self.windows.end.saturating_mul(rule.slices));
        let slices = if slices_end >= windows_end { SLICES_KEPT } else { 0 };
        let running = if slices_end > windows_end { self.running } else { Some(Span::default()) };
        let joined = running
            .filter(|span| slices_end.saturating_sub(windows_end) == span.nanos / rule.slice_ns);
        let windows = joined.map(|span| self.windows.spans(span, rule.window_ns));
        let slices = self.slices.spans(Span::default(), rule.slice_ns).take(slices);
        slices.chain(windows.into_iter().flatten())
    }
}

/// A stretch of time and what was counted in it.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    count: u64,
    /// Sum of count times per_sample: the variance that sampling gives to `count`, at most.
    spread: f64,
    nanos: u64,
}

impl Span {
    fn plus(self, count: u64, per_sample: f32, nanos: u64) -> Self {
        Self {
            count: self.count.saturating_add(count),
            spread: self.spread + count as f64 * f64::from(per_sample),
            nanos: self.nanos.saturating_add(nanos),
        }
    }

    fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }

    fn rate(&self) -> f64 {
        self.count as f64 / self.seconds()
    }

    /// Was every packet seen?
    fn is_exact(&self) -> bool {
        self.spread <= 0.0
    }

    /// Mean of what one sampled packet adds, each weighed with its share of the count.
    fn per_sample(&self) -> f64 {
        self.spread / self.count as f64
    }

    /// How many sampled packets of one size would be as certain.
    fn samples(&self) -> f64 {
        self.count as f64 / self.per_sample()
    }
}

/// The newest amounts without a gap between them; each lies at its index modulo N.
#[derive(Clone, Debug)]
struct Ring<const N: usize> {
    counts: [u64; N],
    per_sample: [f32; N],
    /// How many of the places are filled.
    len: usize,
    /// The index after the newest amount.
    end: u64,
}

impl<const N: usize> Default for Ring<N> {
    fn default() -> Self {
        Self { counts: [0; N], per_sample: [0.0; N], len: 0, end: 0 }
    }
}

impl<const N: usize> Ring<N> {
    /// Adds the amount of `index`; false when it does not follow the newest one.
    fn push(&mut self, index: u64, amount: Amount) -> bool {
        let follows = self.len > 0 && index == self.end;
        self.len = if follows { (self.len + 1).min(N) } else { 1 };
        self.end = index.saturating_add(1);
        let place = (index % N as u64) as usize;
        self.counts[place] = amount.count;
        self.per_sample[place] = amount.per_sample as f32;
        follows
    }

    /// The newest amount alone, the newest two, and so on, each with `last` after it.
    fn spans(&self, last: Span, each_ns: u64) -> impl Iterator<Item = Span> {
        (1..=self.len as u64).scan(last, move |span, back| {
            let place = (self.end.wrapping_sub(back) % N as u64) as usize;
            *span = span.plus(self.counts[place], self.per_sample[place], each_ns);
            Some(*span)
        })
    }
}
