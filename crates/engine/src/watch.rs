//! One subject under watch: the tracks of its limits, and its attack if there is one.

use std::collections::VecDeque;
use std::time::Duration;

use tidewall_model::{Attack, AttackEventKind, Metric, Timestamp, TrafficCounters, Unit};

use crate::WATCH_PART;
use crate::arena::{IN, OUT, Side};
use crate::detector::Moment;
use crate::evidence::{Amount, Excess, RuleSettings, Track};
use crate::policy::{Detection, DirectedLimits, Limits};
use crate::subject::difference;

/// What was counted for one side of a subject in a slice or window.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// All classes.
    pub counters: TrafficCounters,
    /// Largest sampling rate.
    pub weight: u32,
}

impl Tally {
    /// Takes away a part that is told elsewhere.
    pub fn subtract(&mut self, part: &TrafficCounters) {
        self.counters = difference(&self.counters, part);
    }

    /// The part of it that a metric limits.
    pub fn amount(&self, metric: Metric) -> Amount {
        let count = self.counters.get(metric.class);
        match metric.unit {
            Unit::Packets => Amount::packets(count.packets, self.weight),
            Unit::Bits => Amount::bits(count.bytes.saturating_mul(8), self.weight),
            // Flows are counted, not scaled: of sampled traffic each one is one sample.
            Unit::Flows => {
                Amount { count: self.counters.flows, per_sample: u64::from(self.weight > 1) }
            }
        }
    }
}

/// A limit that was found exceeded.
#[derive(Clone, Copy, Debug)]
pub struct Finding {
    /// What is limited.
    pub metric: Metric,
    /// Its limit per second.
    pub limit: f64,
    /// By how much it is exceeded.
    pub excess: Excess,
}

/// An attack that goes on.
#[derive(Clone, Debug)]
pub struct Active {
    /// As it is told.
    pub attack: Attack,
    /// End of the last window in which a rate was above its release limit.
    pub last_above: Timestamp,
    /// Time of the last event about it.
    pub last_event: Timestamp,
}

impl Active {
    /// Adds what a slice brought.
    pub fn add(&mut self, counters: &TrafficCounters) {
        let attack = &mut self.attack;
        attack.packets = attack.packets.saturating_add(counters.total.packets);
        attack.bytes = attack.bytes.saturating_add(counters.total.bytes);
    }

    /// Raises the peaks to a window's rates, where they are higher.
    fn raise_peaks(&mut self, counters: &TrafficCounters, window: Duration) {
        let rates = per_second(counters, window);
        let attack = &mut self.attack;
        attack.peak_pps = attack.peak_pps.max(rates.total.packets);
        attack.peak_bps = attack.peak_bps.max(rates.total.bytes.saturating_mul(8));
        attack.peak_flows = attack.peak_flows.max(rates.flows);
    }
}

/// One side of a subject.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    tracks: Vec<(Metric, Track)>,
    /// The attack on this side.
    pub active: Option<Box<Active>>,
    /// Windows since a rate came near its limit.
    calm_windows: u32,
}

impl Watch {
    /// The end of a slice.
    fn push_slice(
        &mut self,
        index: u64,
        tally: &Tally,
        limits: &Limits,
        slice: Duration,
        rule: &RuleSettings,
    ) {
        for (metric, limit) in limits.iter() {
            let amount = tally.amount(metric);
            if let Some(track) = self.track(metric, is_near(amount, limit, slice)) {
                track.push_slice(index, amount, rule);
            }
        }
    }

    /// The end of a window.
    fn push_window(&mut self, index: u64, tally: &Tally, limits: &Limits, window: Duration) {
        let mut calm = true;
        for (metric, limit) in limits.iter() {
            let amount = tally.amount(metric);
            let near = is_near(amount, limit, window);
            calm &= !near;
            if let Some(track) = self.track(metric, near) {
                track.push_window(index, amount);
            }
        }
        self.calm_windows = if calm { self.calm_windows + 1 } else { 0 };
    }

    /// The track of a metric; made when the metric comes near its limit.
    fn track(&mut self, metric: Metric, near: bool) -> Option<&mut Track> {
        match self.tracks.binary_search_by_key(&metric, |(m, _)| *m) {
            Ok(at) => Some(&mut self.tracks[at].1),
            Err(at) if near => {
                self.tracks.insert(at, (metric, Track::default()));
                Some(&mut self.tracks[at].1)
            }
            Err(_) => None,
        }
    }

    /// The limit that is exceeded most, if any is; of equals, the first.
    pub fn finding(&self, limits: &Limits, rule: &RuleSettings) -> Option<Finding> {
        let mut worst: Option<Finding> = None;
        for (metric, track) in &self.tracks {
            let Some(limit) = limits.get(*metric) else { continue };
            let Some(excess) = track.verdict(limit, rule) else { continue };
            let times = |f: &Finding| f.excess.value / f.limit;
            let found = Finding { metric: *metric, limit, excess };
            if worst.as_ref().is_none_or(|w| times(&found) > times(w)) {
                worst = Some(found);
            }
        }
        worst
    }

    /// News of the attack at the end of a window, if there is one. At the end of a window that
    /// was not counted as a whole it goes on.
    fn news(
        &mut self,
        Moment { now, is_whole, .. }: Moment,
        tally: &Tally,
        limits: &Limits,
        detection: &Detection,
        rule: &RuleSettings,
    ) -> Option<AttackEventKind> {
        let released = self.is_released(limits, detection.release, rule);
        let active = self.active.as_mut()?;
        active.raise_peaks(&tally.counters, detection.window);
        if !is_whole {
            active.last_above = now;
            return None;
        }
        if !released {
            active.last_above = now;
        }
        if now.since(active.last_above) >= detection.release_time {
            active.attack.ended = Some(active.last_above);
            Some(AttackEventKind::Ended)
        } else if now.since(active.last_event) >= detection.update_every {
            active.last_event = now;
            Some(AttackEventKind::Updated)
        } else {
            None
        }
    }

    /// Is every rate below this part of its limit?
    fn is_released(&self, limits: &Limits, release: f64, rule: &RuleSettings) -> bool {
        self.tracks.iter().all(|(metric, track)| {
            limits.get(*metric).is_none_or(|limit| track.below(limit * release, rule))
        })
    }
}

/// Is an amount at least the watched part of its limit?
pub fn is_near(amount: Amount, limit: f64, time: Duration) -> bool {
    amount.count as f64 >= limit * time.as_secs_f64() * WATCH_PART
}

/// Slices whose counters a state remembers, to tell an attack's rates when it begins.
const SLICES_KEPT: usize = 10;

/// A host or total under watch.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// By side.
    pub sides: [Watch; 2],
    /// Counters of the running window at the end of the last slice, by side.
    seen: [TrafficCounters; 2],
    /// The last slices, newest last; kept only while a rate is near its limit.
    slices: VecDeque<Slice>,
    /// The last window, if all of it was counted.
    window: Option<[TrafficCounters; 2]>,
    /// Is this not its first slice under watch?
    is_known: bool,
}

/// How long things are.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// An excess, so far.
    pub since: Duration,
    /// A slice.
    pub slice: Duration,
    /// A window.
    pub window: Duration,
}

/// What came in a slice, by side.
#[derive(Clone, Copy, Debug)]
struct Slice {
    brought: [TrafficCounters; 2],
    /// In how many slices it came: the first one under watch brings all of its window so far.
    slices: u64,
}

impl State {
    /// The end of a slice. `now` was counted since the window began; what is `excluded` of the
    /// slice is told elsewhere. Gives what the slice brought.
    pub fn push_slice(
        &mut self,
        index: u64,
        now: &[Tally; 2],
        excluded: Option<&[TrafficCounters; 2]>,
        limits: &DirectedLimits,
        slice: Duration,
        rule: &RuleSettings,
    ) -> [Tally; 2] {
        let mut brought = *now;
        for (side, limits) in [&limits.incoming, &limits.outgoing].into_iter().enumerate() {
            let tally = &mut brought[side];
            tally.subtract(&self.seen[side]);
            if let Some(excluded) = excluded {
                tally.subtract(&excluded[side]);
            }
            let watch = &mut self.sides[side];
            watch.push_slice(index, tally, limits, slice, rule);
            if let Some(active) = &mut watch.active {
                active.add(&tally.counters);
            }
        }
        self.seen = [now[IN].counters, now[OUT].counters];
        let slices = if self.is_known { 1 } else { rule.slices_of_window(index) };
        self.is_known = true;
        self.remember(&Slice { brought: [brought[IN].counters, brought[OUT].counters], slices });
        brought
    }

    /// The end of a window, in which so much was counted: slices count from zero again. Gives the
    /// news of the attacks by side.
    pub fn push_window(
        &mut self,
        moment: Moment,
        tallies: &[Tally; 2],
        limits: &DirectedLimits,
        detection: &Detection,
        rule: &RuleSettings,
    ) -> [Option<AttackEventKind>; 2] {
        let sides = [&limits.incoming, &limits.outgoing];
        let news = [IN, OUT].map(|side| {
            let (watch, tally) = (&mut self.sides[side], &tallies[side]);
            if moment.is_whole {
                watch.push_window(moment.index, tally, sides[side], detection.window);
            }
            watch.news(moment, tally, sides[side], detection, rule)
        });
        self.window = moment.is_whole.then(|| [tallies[IN].counters, tallies[OUT].counters]);
        self.seen = Default::default();
        self.is_known = true;
        news
    }

    /// Forgets what was counted: slices and windows have another length from now on. Metrics that
    /// were followed still are, and attacks go on.
    pub fn forget_past(&mut self) {
        for watch in &mut self.sides {
            watch.tracks.iter_mut().for_each(|(_, track)| *track = Track::default());
        }
        self.slices.clear();
        (self.seen, self.window) = (Default::default(), None);
    }

    fn remember(&mut self, slice: &Slice) {
        if self.sides.iter().all(|watch| watch.tracks.is_empty()) {
            self.slices.clear();
            return;
        }
        if self.slices.len() == SLICES_KEPT {
            self.slices.pop_front();
        }
        self.slices.push_back(*slice);
    }

    /// Rates per second over the time since an excess began: exact while the slices reach back so
    /// far, else those of the last window.
    pub fn rates(&self, side: Side, times: Times) -> TrafficCounters {
        self.rates_over(side, times, |_| 1)
    }

    /// The same of a side whose traffic is ordinary: what its first slice brought came in all the
    /// time since the window began.
    pub fn ordinary_rates(&self, side: Side, times: Times) -> TrafficCounters {
        self.rates_over(side, times, |one| one.slices)
    }

    /// `slices_of` says for how many slices one stands.
    fn rates_over(
        &self,
        side: Side,
        Times { since, slice, window }: Times,
        slices_of: impl Fn(&Slice) -> u64,
    ) -> TrafficCounters {
        let wanted = since.as_nanos().div_ceil(slice.as_nanos().max(1)) as u64;
        let known: u64 = self.slices.iter().map(&slices_of).sum();
        if let Some(last) = &self.window
            && (wanted > known || known == 0)
        {
            return per_second(&last[side], window);
        }
        let (mut sum, mut slices) = (TrafficCounters::default(), 0);
        for one in self.slices.iter().rev() {
            sum += &one.brought[side];
            slices += slices_of(one);
            if slices >= wanted {
                break;
            }
        }
        per_second(&sum, slice * slices.clamp(1, u64::from(u32::MAX)) as u32)
    }

    /// Has it an attack on a side?
    pub const fn is_attacked(&self, side: Side) -> bool {
        self.sides[side].active.is_some()
    }

    /// May it be forgotten?
    pub fn is_calm(&self, windows: u32) -> bool {
        self.sides.iter().all(|w| w.active.is_none() && w.calm_windows >= windows)
    }
}

/// Counters of a stretch of time as rates.
pub fn per_second(counters: &TrafficCounters, time: Duration) -> TrafficCounters {
    let per = |count: u64| (count as f64 / time.as_secs_f64()) as u64;
    let mut rates = *counters;
    for class in tidewall_model::TrafficClass::ALL {
        let count = rates.get_mut(class);
        *count = tidewall_model::Count { packets: per(count.packets), bytes: per(count.bytes) };
    }
    rates.flows = per(counters.flows);
    rates
}
