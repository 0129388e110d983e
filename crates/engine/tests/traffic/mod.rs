//! Traffic of one target for the tests of the whole engine: a noisy background that gives way to an
//! attack at any phase of slice and window, seen whole or through a sampler. The noise is that of
//! `docs/detection.md`.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::f64::consts::TAU;
use std::time::Duration;

use tidewall_engine::{Dealing, DirectedLimits, Engine, Limits, Observer, Policy};
use tidewall_model::{
    AttackEvent, AttackEventKind, FlowRecord, SamplingRate, Timestamp, TrafficClass, Unit, protocol,
};
use tidewall_scenario::Random;

/// Second at which every scene begins.
const START: u64 = 1_767_571_200;
/// Packets of so many seconds are drawn at once.
const TICK: f64 = 0.001;
/// The background's rate is drawn anew each 100 ms.
const NOISE_TIME: f64 = 0.1;
/// Its slow wave comes back in so many seconds.
const WAVE_TIME: f64 = 120.0;

/// How the packets come to be records.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// All of them; those of a millisecond in one record.
    All,
    /// All of them; one record each, each of another flow.
    Each,
    /// Each with this chance, 1 in N.
    Random(u32),
    /// Every Nth.
    Systematic(u32),
    /// Every Nth of packets that come at even distances.
    Even(u32),
}

/// A target with a limit; rates are parts of it.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Packets (or flows) per second.
    pub limit: f64,
    /// How it is seen.
    pub sampler: Sampler,
    /// Mean rate of the noisy background, which ends where the attack begins.
    pub background: f64,
    /// Total rate while attacked.
    pub attack: f64,
    /// When the attack begins, in seconds; a phase of up to one second is added.
    pub start: f64,
    /// How long to look, in seconds.
    pub length: f64,
    /// What every record looks like.
    pub template: FlowRecord,
    /// Addresses of ours over which the packets are dealt.
    pub spread: u64,
}

/// What was heard first.
#[derive(Debug)]
pub struct Alarm {
    /// Seconds from the first packet of the attack to the event; below zero for a false alarm.
    pub after: f64,
    /// When the attack really began.
    pub began: Timestamp,
    /// The event.
    pub event: AttackEvent,
}

/// The first start of an attack.
#[derive(Default)]
struct First(Option<AttackEvent>);

impl Observer for First {
    fn event(&mut self, event: &AttackEvent) {
        if event.kind == AttackEventKind::Started && self.0.is_none() {
            self.0 = Some(event.clone());
        }
    }
}

/// A datagram of 500 bytes to 10.0.7.7.
pub fn to_v4() -> FlowRecord {
    FlowRecord {
        src: 0xc633_6401,
        dst: 0x0a00_0707,
        protocol: protocol::UDP,
        src_port: 40_000,
        dst_port: 4_000,
        bytes: 500,
        ..FlowRecord::default()
    }
}

/// Limits of packets in total of each host, both ways, on small tables.
pub fn policy(limit: f64) -> Policy {
    let networks = ["10.0.0.0/16", "2001:db8::/48"];
    let mut policy =
        Policy::for_networks(networks.iter().filter_map(|text| text.parse().ok()).collect());
    let limits = || Limits::of(&[(TrafficClass::Total, Unit::Packets, limit)]);
    policy.groups[0].host = DirectedLimits { incoming: limits(), outgoing: limits() };
    policy.capacity.hosts = 1 << 10;
    policy.capacity.flows = 1 << 14;
    policy.capacity.recent = 1 << 10;
    policy
}

impl Scene {
    /// An attack on a host, at ten seconds.
    pub fn attacked(limit: f64, sampler: Sampler, background: f64, attack: f64) -> Self {
        let (start, length) = (10.0, 150.0);
        Self { limit, sampler, background, attack, start, length, template: to_v4(), spread: 1 }
    }

    /// Ten minutes of background.
    pub fn quiet(limit: f64, sampler: Sampler, background: f64) -> Self {
        let (start, length) = (f64::INFINITY, 600.0);
        Self { start, length, ..Self::attacked(limit, sampler, background, 0.0) }
    }

    /// Runs the whole engine until something is raised.
    pub fn run(&self, policy: &Policy, seed: u64) -> Option<Alarm> {
        let mut engine = Engine::new(policy.clone(), 1, Dealing::ByHost, seed);
        let mut random = Random::new(seed);
        let start = self.start + random.unit();
        let mut traffic = Packets::new(Self { start, ..*self }, &mut random);
        let (mut first, mut records) = (First::default(), Vec::new());
        let began = Timestamp::from_parts(START, 0)
            + Duration::try_from_secs_f64(start).unwrap_or_default();
        for tick in 0..(self.length / TICK).round() as u64 {
            traffic.tick(tick, &mut random, &mut records);
            if tick % 50 == 49 {
                engine.ingest(&records, &mut first);
                records.clear();
                if let Some(event) = first.0.take() {
                    let after = (event.time.0 as f64 - began.0 as f64) / 1e9;
                    return Some(Alarm { after, began, event });
                }
            }
        }
        None
    }
}

/// Packets as they come, tick by tick.
struct Packets {
    scene: Scene,
    noise_phase: f64,
    wave_phase: f64,
    /// The current noise interval and its factor.
    noise: (u64, f64),
    /// Packets since the last one that the systematic sampler took, and parts of one.
    since_sample: f64,
    seen: u64,
}

impl Packets {
    fn new(scene: Scene, random: &mut Random) -> Self {
        let rate = match scene.sampler {
            Sampler::Systematic(rate) | Sampler::Even(rate) => f64::from(rate),
            _ => 1.0,
        };
        let (since_sample, noise_phase) = (random.unit() * rate, random.unit() * NOISE_TIME);
        let wave_phase = random.unit() * WAVE_TIME;
        Self { scene, noise_phase, wave_phase, noise: (u64::MAX, 1.0), since_sample, seen: 0 }
    }

    /// Packets that are expected in a tick, and from when on.
    fn expected(&mut self, tick: u64, random: &mut Random) -> (f64, f64) {
        let from = tick as f64 * TICK;
        let scene = self.scene;
        if from + TICK > scene.start {
            let from = from.max(scene.start);
            let until = (tick + 1) as f64 * TICK;
            return ((until - from) * scene.attack * scene.limit, from);
        }
        let interval = ((from + self.noise_phase) / NOISE_TIME) as u64;
        if interval != self.noise.0 {
            self.noise = (interval, gamma(random, 100.0 / 9.0) * 0.09);
        }
        let wave = 1.0 + 0.05 * (TAU * (from + self.wave_phase) / WAVE_TIME).sin();
        (TICK * scene.background * scene.limit * wave * self.noise.1, from)
    }

    fn tick(&mut self, tick: u64, random: &mut Random, records: &mut Vec<FlowRecord>) {
        let (expected, from) = self.expected(tick, random);
        let until = (tick + 1) as f64 * TICK;
        let (count, sampling) = match self.scene.sampler {
            Sampler::All | Sampler::Each => (poisson(random, expected), 1),
            Sampler::Random(rate) => (poisson(random, expected / f64::from(rate)), rate),
            Sampler::Systematic(rate) => {
                let passed = poisson(random, expected) as f64;
                (self.every(rate, passed), rate)
            }
            Sampler::Even(rate) => (self.every(rate, expected), rate),
        };
        if self.scene.sampler == Sampler::All {
            if count > 0 {
                let bytes = self.scene.template.bytes * count;
                self.push(
                    from,
                    FlowRecord { packets: count, bytes, ..self.scene.template },
                    records,
                );
            }
            return;
        }
        for n in 0..count {
            let at = from + (until - from) * n as f64 / count as f64;
            let record =
                FlowRecord { sampling: SamplingRate::new(sampling), ..self.scene.template };
            self.push(at, record, records);
        }
    }

    fn every(&mut self, rate: u32, passed: f64) -> u64 {
        let sum = self.since_sample + passed;
        let taken = (sum / f64::from(rate)).floor();
        self.since_sample = sum - taken * f64::from(rate);
        taken as u64
    }

    fn push(&mut self, at: f64, mut record: FlowRecord, records: &mut Vec<FlowRecord>) {
        record.time = Timestamp(START * 1_000_000_000 + (at * 1e9) as u64);
        record.seq = self.seen;
        record.dst += u128::from(self.seen % self.scene.spread);
        if self.scene.sampler == Sampler::Each {
            record.src += u128::from(self.seen >> 14 & 0xffff) << 8;
            record.src_port = 1 + (self.seen & 0x3fff) as u16;
        }
        self.seen += 1;
        records.push(record);
    }
}

/// Box and Muller.
fn normal(random: &mut Random) -> f64 {
    (-2.0 * (1.0 - random.unit()).ln()).sqrt() * (TAU * random.unit()).cos()
}

/// Marsaglia and Tsang, for a shape of at least 1; the mean is the shape.
fn gamma(random: &mut Random, shape: f64) -> f64 {
    let d = shape - 1.0 / 3.0;
    loop {
        let x = normal(random);
        let v = (1.0 + x / (9.0 * d).sqrt()).powi(3);
        let bound = 0.5 * x * x + d - d * v + d * v.ln();
        if v > 0.0 && (1.0 - random.unit()).ln() < bound {
            return d * v;
        }
    }
}

/// Exact up to a mean of 64, normal above.
fn poisson(random: &mut Random, mean: f64) -> u64 {
    if mean > 64.0 {
        return (mean + mean.sqrt() * normal(random)).round().max(0.0) as u64;
    }
    let (floor, mut product, mut count) = ((-mean).exp(), random.unit(), 0);
    while product > floor {
        product *= random.unit();
        count += 1;
    }
    count
}
