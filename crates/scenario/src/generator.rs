//! The records of a scenario in order of time: one stream for the background and one for each
//! attack, merged by a small heap. Nothing is allocated after the start.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::time::Duration;

use tidewall_model::{FlowRecord, SamplingRate, Timestamp};

use crate::arrivals::{Arrivals, Shape};
use crate::attack::{CROWD_ANSWERS, Vector};
use crate::background::Crowd;
use crate::plan::{AttackKind, Scenario};
use crate::random::{Random, mix2};

#[cfg(test)]
mod tests;

/// Iterates over the records of a scenario. Each is one packet; its `bytes` is the length of the
/// IP packet. Times increase strictly, `seq` counts from 0.
#[derive(Clone, Debug)]
pub struct Generator {
    streams: Vec<Stream>,
    /// Time of the next packet of each stream that has one.
    next: BinaryHeap<Reverse<(u64, usize)>>,
    start: Timestamp,
    sampling: SamplingRate,
    last_ns: Option<u64>,
    seq: u64,
}

#[derive(Clone, Debug)]
struct Stream {
    arrivals: Arrivals,
    random: Random,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Background(Crowd),
    Attack(Vector),
}

impl Generator {
    /// Every packet of the scenario.
    pub fn new(scenario: &Scenario) -> Self {
        Self::sampled(scenario, SamplingRate::ONE)
    }

    /// What an exporter that picks 1 packet in `rate` at random would see. (A Poisson process
    /// thinned at random is a Poisson process: only the packets that are seen are made.)
    pub fn sampled(scenario: &Scenario, rate: SamplingRate) -> Self {
        let part = 1.0 / f64::from(rate.get());
        let mut streams = Vec::with_capacity(scenario.attacks.len() + 1);
        if let Some(plan) = &scenario.background {
            let seed = mix2(scenario.seed, 0);
            let (swing, day_ns, noise) = (plan.swing, plan.day_ns, plan.noise);
            let shape = Shape::Day { swing, day_ns, noise, seed };
            streams.push(Stream {
                arrivals: Arrivals::new(plan.pps * part, shape, 0, scenario.duration_ns),
                random: Random::new(mix2(seed, 1)),
                what: What::Background(Crowd::new(plan, scenario, mix2(seed, 2))),
            });
        }
        for (plan, number) in scenario.attacks.iter().zip(1..) {
            let seed = mix2(scenario.seed, number);
            let both_ways =
                if plan.kind == AttackKind::FlashCrowd { 1.0 + CROWD_ANSWERS } else { 1.0 };
            let (start_ns, end_ns) =
                (plan.start_ns, plan.start_ns.saturating_add(plan.duration_ns));
            let shape = Shape::Attack { start_ns, ramp_ns: plan.ramp_ns, pulse: plan.pulse };
            streams.push(Stream {
                arrivals: Arrivals::new(plan.pps * both_ways * part, shape, start_ns, end_ns),
                random: Random::new(mix2(seed, 1)),
                what: What::Attack(Vector::new(plan, scenario, mix2(seed, 2))),
            });
        }
        let mut next = BinaryHeap::with_capacity(streams.len());
        for (index, stream) in streams.iter_mut().enumerate() {
            if let Some(time) = stream.arrivals.next(&mut stream.random) {
                next.push(Reverse((time, index)));
            }
        }
        Self { streams, next, start: scenario.start, sampling: rate, last_ns: None, seq: 0 }
    }
}

impl Iterator for Generator {
    type Item = FlowRecord;

    fn next(&mut self) -> Option<FlowRecord> {
        let mut first = self.next.peek_mut()?;
        let Reverse((time_ns, index)) = *first;
        let stream = self.streams.get_mut(index)?;
        let strict_ns = self.last_ns.map_or(time_ns, |last| time_ns.max(last + 1));
        let mut record = FlowRecord {
            time: self.start + Duration::from_nanos(strict_ns),
            seq: self.seq,
            sampling: self.sampling,
            ..FlowRecord::default()
        };
        match &stream.what {
            What::Background(crowd) => crowd.fill(time_ns, &mut stream.random, &mut record),
            What::Attack(vector) => vector.fill(time_ns, &mut stream.random, &mut record),
        }
        match stream.arrivals.next(&mut stream.random) {
            Some(time) => *first = Reverse((time, index)),
            None => {
                PeekMut::pop(first);
            }
        }
        self.last_ns = Some(strict_ns);
        self.seq += 1;
        Some(record)
    }
}
