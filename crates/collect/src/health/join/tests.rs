//! One stream of datagrams dealt to several workers: with nothing lost there is no loss, and what
//! was lost is found, whenever the workers tell what they know.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::{ExporterHealth, SamplingOrigin, Verdict};

/// 2026-11-21 14:00:00 UTC: a stretch of time begins.
const START: u64 = 1_795_269_600;
/// A worker tells what it knows so often.
const TELL_EVERY: Duration = Duration::from_secs(1);

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Unit {
    /// As sFlow counts, with so many samples in each datagram.
    Datagrams(u64),
    /// As NetFlow v5 counts.
    Flows,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    workers: usize,
    unit: Unit,
    /// Of a thousand datagrams.
    lost: u64,
    in_turn: bool,
    /// Between two datagrams; some come in bursts, with next to nothing between them.
    pause: Duration,
    bursts: bool,
    first: u32,
    seed: u64,
}

const PLAN: Plan = Plan {
    workers: 2,
    unit: Unit::Datagrams(7),
    lost: 0,
    in_turn: false,
    pause: Duration::from_millis(100),
    bursts: false,
    first: 1000,
    seed: 7,
};

/// An exporter, the workers that hear it, and what they told last.
struct Rig {
    plan: Plan,
    random: Random,
    now: Timestamp,
    number: u32,
    uptime_ms: u32,
    sent: usize,
    healths: Vec<Option<ExporterHealth>>,
    told: Vec<Option<HealthReport>>,
    tell_at: Vec<Timestamp>,
    left: Vec<HealthReport>,
    /// In units.
    truly_lost: u64,
    numbers_samples: bool,
}

impl Rig {
    fn new(plan: Plan) -> Self {
        let mut random = Random(plan.seed);
        let now = Timestamp::from_parts(START, 0) + Duration::from_secs(random.below(600));
        let mut phase = || Duration::from_millis(random.below(1000));
        let tell_at = (0..plan.workers).map(|_| now + phase()).collect();
        Self {
            plan,
            random,
            now,
            number: plan.first,
            uptime_ms: 100_000_000,
            sent: 0,
            healths: vec![None; plan.workers],
            told: vec![None; plan.workers],
            tell_at,
            left: Vec::new(),
            truly_lost: 0,
            numbers_samples: false,
        }
    }

    fn send(&mut self, count: usize, mut each: impl FnMut(&Self)) {
        for _ in 0..count {
            let burst = self.plan.bursts && self.random.below(100) != 0;
            let scale = if burst { 0 } else { self.random.below(2001) as u32 };
            let pause = self.plan.pause * scale / 1000;
            self.now = self.now + pause + Duration::from_micros(10);
            self.uptime_ms += pause.as_millis() as u32;
            let due: Vec<_> =
                (0..self.plan.workers).filter(|i| self.tell_at[*i] <= self.now).collect();
            for worker in due {
                self.tell(worker);
                while self.tell_at[worker] <= self.now {
                    self.tell_at[worker] = self.tell_at[worker] + TELL_EVERY;
                }
                each(self);
            }
            self.datagram();
        }
    }

    fn datagram(&mut self) {
        let (units, records) = match self.plan.unit {
            Unit::Datagrams(samples) => (1, samples),
            Unit::Flows => {
                let flows = 1 + self.random.below(30);
                (flows as u32, flows)
            }
        };
        let number = self.number;
        self.number = self.number.wrapping_add(units);
        self.sent += 1;
        if self.random.below(1000) < self.plan.lost {
            self.truly_lost += u64::from(units);
            return;
        }
        let any = self.random.below(self.plan.workers as u64) as usize;
        let worker = if self.plan.in_turn { self.sent % self.plan.workers } else { any };
        let health = self.healths[worker].get_or_insert_with(|| ExporterHealth::new(self.now));
        health.datagram(self.now, None, Some(self.uptime_ms));
        health.sequence(number, Some(units));
        health.flows(records);
    }

    fn tell(&mut self, worker: usize) {
        self.told[worker] = self.healths[worker].as_ref().map(ExporterHealth::summary);
    }

    fn tell_all(&mut self) {
        (0..self.plan.workers).for_each(|worker| self.tell(worker));
    }

    fn restart(&mut self) {
        (self.number, self.uptime_ms) = (0, 0);
    }

    /// Another number of workers hears it from now on.
    fn resize(&mut self, workers: usize) {
        self.tell_all();
        self.plan.workers = workers;
        while self.healths.len() > workers {
            self.healths.pop();
            self.tell_at.pop();
            let report = self.told.pop().flatten();
            self.left.extend(report);
        }
        self.healths.resize(workers, None);
        self.told.resize(workers, None);
        self.tell_at.resize(workers, self.now);
    }

    fn joint(&self) -> Option<HealthReport> {
        let told = self.told.iter().flatten().map(|report| Part { report, left: false });
        let left = self.left.iter().map(|report| Part { report, left: true });
        let parts: Vec<_> = told.chain(left).collect();
        HealthReport::join(&parts, Dealing::Spread { workers: self.plan.workers })
    }

    /// Asserts that no more is called lost than was, in words and in figures.
    fn assert_honest(&self) {
        let Some(joint) = self.joint() else { return };
        let (lost, recent) = (joint.lost, joint.recent.lost);
        assert!(lost <= self.truly_lost, "{lost} of {}: {:?}", self.truly_lost, self.plan);
        assert!(recent <= self.truly_lost, "recently {recent}: {:?}", self.plan);
        let mut told = joint.verdicts(self.now);
        told.retain(|verdict| !matches!(verdict, Verdict::Restarted { .. }));
        if self.truly_lost == 0 && !self.numbers_samples {
            assert_eq!(told, [], "{:?}", self.plan);
        }
    }
}

#[test]
fn a_part_alone_would_call_the_other_part_lost() {
    let mut rig = Rig::new(PLAN);
    rig.send(3000, |_| {});
    rig.tell_all();
    let part = rig.told[0].clone().unwrap();
    assert!((0.45..0.55).contains(&part.recent.loss()), "{}", part.recent.loss());
    let joint = rig.joint().unwrap();
    assert_eq!((joint.lost, joint.recent.lost, joint.datagrams), (0, 0, 3000));
    assert_eq!((joint.received, joint.flows, joint.gaps), (3000, 21_000, 0));
    assert_eq!(joint.verdicts(rig.now), []);
}

#[test]
fn what_was_lost_is_found() {
    for unit in [Unit::Datagrams(7), Unit::Flows] {
        for (workers, lost) in [(2, 10), (3, 10), (4, 10), (2, 300), (3, 300), (4, 300)] {
            for in_turn in [false, true] {
                let plan = Plan { workers, unit, lost, in_turn, ..PLAN };
                let mut rig = Rig::new(plan);
                rig.send(20_000, Rig::assert_honest);
                rig.tell_all();
                let joint = rig.joint().unwrap();
                let (found, truth) = (joint.lost as f64, rig.truly_lost as f64);
                assert!(found <= truth && found > truth * 0.97 - 100.0, "{found} {truth} {plan:?}");
                let (share, meant) = (joint.recent.loss(), lost as f64 / 1000.0);
                assert!((share - meant).abs() < 0.1 * meant + 0.003, "{share}: {plan:?}");
                let told = joint.verdicts(rig.now);
                assert!(matches!(told[..], [Verdict::Lost { .. }]), "{told:?} {plan:?}");
            }
        }
    }
}

#[test]
fn what_is_put_right_is_forgotten() {
    let mut rig = Rig::new(Plan { lost: 300, ..PLAN });
    rig.send(6000, |_| {});
    rig.plan.lost = 0;
    // More than ten minutes.
    rig.send(7000, |_| {});
    let joint = rig.joint().unwrap();
    assert_eq!((joint.recent.lost, joint.verdicts(rig.now)), (0, Vec::new()));
    assert!(joint.lost > 1700, "the total stays");
}

#[test]
fn a_restart_is_one_restart_and_no_loss() {
    for unit in [Unit::Datagrams(3), Unit::Flows] {
        let mut rig = Rig::new(Plan { workers: 3, unit, ..PLAN });
        for _ in 0..3 {
            rig.send(1000, Rig::assert_honest);
            rig.restart();
        }
        rig.send(200, Rig::assert_honest);
        rig.tell_all();
        rig.assert_honest();
        let joint = rig.joint().unwrap();
        assert_eq!((joint.restarts, joint.recent.restarts), (3, 3));
        assert_eq!(joint.verdicts(rig.now), [Verdict::Restarted { times: 3 }]);
    }
}

#[test]
fn a_restart_that_one_part_missed() {
    let mut rig = Rig::new(PLAN);
    rig.send(1000, |_| {});
    // Two restarts in a row: whoever gets none of the single datagram between them sees one.
    rig.restart();
    rig.send(1, |_| {});
    rig.uptime_ms = 50_000_000;
    rig.send(1, |_| {});
    rig.restart();
    rig.send(500, Rig::assert_honest);
    rig.tell_all();
    rig.assert_honest();
    let most = rig.told.iter().flatten().map(|report| report.restarts).max();
    assert_eq!(rig.joint().map(|joint| joint.restarts), most);
}

#[test]
fn a_part_that_was_not_told_yet() {
    let mut rig = Rig::new(PLAN);
    rig.send(500, |_| {});
    rig.tell_all();
    // It may know the exporter from another worker, too.
    for told in [None, Some(ExporterHealth::new(rig.now).summary())] {
        rig.told[1] = told;
        let joint = rig.joint().unwrap();
        assert_eq!((joint.lost, joint.verdicts(rig.now)), (0, Vec::new()));
    }
}

#[test]
fn workers_that_come_and_go() {
    for unit in [Unit::Datagrams(7), Unit::Flows] {
        let mut rig = Rig::new(Plan { workers: 1, unit, ..PLAN });
        for workers in [2, 4, 1, 2, 1, 3, 1] {
            rig.send(900, Rig::assert_honest);
            rig.resize(workers);
            rig.assert_honest();
        }
        rig.send(9000, Rig::assert_honest);
        rig.tell_all();
        let joint = rig.joint().unwrap();
        assert_eq!((joint.datagrams, joint.lost), (7 * 900 + 9000, 0));
        // What is lost with the one worker that is left is found.
        rig.plan.lost = 300;
        rig.send(9000, Rig::assert_honest);
        rig.tell_all();
        let joint = rig.joint().unwrap();
        assert!((joint.lost as f64) > 0.97 * rig.truly_lost as f64, "{}", joint.lost);
        assert!((0.27..0.33).contains(&joint.recent.loss()), "{}", joint.recent.loss());
    }
}

#[test]
fn left_parts_can_be_put_together() {
    let mut rig = Rig::new(Plan { workers: 4, ..PLAN });
    rig.send(4000, |_| {});
    rig.resize(1);
    let left: Vec<_> = rig.left.iter().map(|report| Part { report, left: true }).collect();
    let folded = HealthReport::join(&left, Dealing::Spread { workers: 1 }).unwrap();
    let apart = rig.joint().unwrap();
    rig.left = vec![folded];
    assert_eq!(rig.joint().unwrap(), apart);
    rig.send(6000, Rig::assert_honest);
}

/// Its number stays what it was; those of the exporter begin anew, or come round to the other side
/// of it.
#[test]
fn where_a_worker_stood_that_left_hides_no_loss_for_ever() {
    for restarts in [true, false] {
        let mut rig = Rig::new(Plan { first: 1_000_000_000, ..PLAN });
        rig.send(900, Rig::assert_honest);
        rig.resize(1);
        // More than ten minutes.
        rig.send(9000, Rig::assert_honest);
        if restarts {
            rig.restart();
        } else {
            rig.number = rig.number.wrapping_add(1 << 31);
        }
        rig.send(9000, Rig::assert_honest);
        rig.plan.lost = 300;
        rig.send(9000, Rig::assert_honest);
        rig.tell_all();
        let joint = rig.joint().unwrap();
        assert!((0.27..0.33).contains(&joint.recent.loss()), "{}", joint.recent.loss());
    }
}

/// The last datagrams before a silence may have come to a worker that has left since.
#[test]
fn what_a_worker_had_that_left_is_not_lost_after_a_silence() {
    for seed in 0..30 {
        let mut rig = Rig::new(Plan { pause: Duration::from_mins(4), seed, ..PLAN });
        rig.send(150, |_| {});
        rig.resize(1);
        rig.send(20, |rig| {
            let joint = rig.joint().unwrap();
            assert_eq!((joint.lost, joint.recent.lost), (0, 0), "{:?}", rig.plan);
        });
    }
}

#[test]
fn an_agent_that_numbers_its_samples_loses_nothing() {
    let mut rig = Rig::new(PLAN);
    rig.numbers_samples = true;
    for _ in 0..2000 {
        rig.send(1, Rig::assert_honest);
        // Seven samples were in it.
        rig.number = rig.number.wrapping_add(6);
        rig.assert_honest();
    }
    rig.tell_all();
    let joint = rig.joint().unwrap();
    assert_eq!((joint.numbering, joint.lost), (Numbering::Flows, 0));
}

#[test]
fn pools_and_counters_are_not_compared_with_a_part_of_the_samples() {
    let mut random = Random(3);
    let at = |second| Timestamp::from_parts(START + second, 0);
    let mut healths = [ExporterHealth::new(at(0)), ExporterHealth::new(at(0))];
    for n in 0..40_000_u32 {
        let now = at(u64::from(n) / 100);
        let health = &mut healths[random.below(2) as usize];
        health.datagram(now, None, Some(n * 10));
        health.sequence(n, Some(1));
        health.flows(1);
        health.sampling(tidewall_model::SamplingRate::new(100), SamplingOrigin::Header, now);
        health.sampled(1, Some(1), None, 50_000, 100);
        health.agent_drops(1, 1, n / 10, n * 100, 100);
        if n.is_multiple_of(2000) {
            let packets = u64::from(n) * 100;
            health.interface_counters(1, packets * 500, 0, packets, 0, 0, now);
        }
    }
    let told = healths.each_ref().map(ExporterHealth::summary);
    let differs = |v: &Verdict| matches!(v, Verdict::InterfaceDiffers { .. });
    assert!(told.iter().any(|report| report.verdicts(at(400)).iter().any(differs)), "a part does");
    let parts = told.each_ref().map(|report| Part { report, left: false });
    let joint = HealthReport::join(&parts, Dealing::Spread { workers: 2 }).unwrap();
    let verdicts = joint.verdicts(at(400));
    let [Verdict::AgentDrops { drops, share }] = verdicts[..] else { panic!("{verdicts:?}") };
    // Of each hundred samples it dropped ten, and each part saw all of them.
    assert!(drops.abs_diff(4000) < 10 && (share - 1.0 / 11.0).abs() < 0.01, "{verdicts:?}");
    assert!(!joint.compared);
    assert_eq!((joint.sources.len(), joint.interfaces.len()), (1, 1));
    assert_eq!(joint.sampling.len(), 1);
}

#[test]
fn an_exporter_that_moved_is_the_sum_of_its_parts() {
    let at = |second| Timestamp::from_parts(START + second, 0);
    let worker = |from: u64, to: u64| {
        let mut health = ExporterHealth::new(at(from));
        for n in from..to {
            health.datagram(at(n), None, None);
            // One in ten is lost.
            health.sequence((n + n / 9) as u32, Some(1));
            health.flows(5);
        }
        health.missing_template(260, at(to));
        health.drop(DropReason::NoTemplate, 2);
        health.summary()
    };
    let told = [worker(0, 900), worker(900, 1000)];
    let parts = told.each_ref().map(|report| Part { report, left: false });
    let joint = HealthReport::join(&parts, Dealing::Whole).unwrap();
    assert_eq!((joint.datagrams, joint.flows), (1000, 5000));
    assert_eq!((joint.first_seen, joint.last_seen), (at(0), at(999)));
    assert_eq!(joint.lost, told[0].lost + told[1].lost);
    assert_eq!((joint.missing_templates.len(), joint.missing_templates[0].sets), (1, 2));
    assert_eq!(joint.drops, [(DropReason::NoTemplate, 4)]);
    // Both are in the stretch of 900 to 1200 s, and the one before.
    assert_eq!(joint.recent.datagrams, 400);
    assert!(joint.compared);
    assert_eq!(HealthReport::join(&parts[..1], Dealing::Whole).as_ref(), Some(&told[0]));
    assert_eq!(HealthReport::join(&[], Dealing::Whole), None);
}

fn plans(lost: impl Strategy<Value = u64>) -> impl Strategy<Value = Plan> {
    let unit = prop_oneof![(1..10_u64).prop_map(Unit::Datagrams), Just(Unit::Flows),];
    let pause = prop_oneof![Just(1_u64), Just(20), Just(500), Just(10_000)];
    let first = prop_oneof![Just(0), Just(u32::MAX - 500), any::<u32>()];
    (2..=4_usize, unit, lost, any::<[bool; 2]>(), pause, first, any::<u64>()).prop_map(
        |(workers, unit, lost, [in_turn, bursts], pause, first, seed)| {
            let pause = Duration::from_millis(pause);
            // Each worker would see numbers grow by the samples of its datagrams, for ever.
            let in_turn = in_turn && unit != Unit::Datagrams(workers as u64);
            Plan { workers, unit, lost, in_turn, pause, bursts, first, seed }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        rng_seed: prop::test_runner::RngSeed::Fixed(21),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Whenever the parts are told: no loss, no verdict of loss, and no more lost than was.
    #[test]
    fn nothing_is_called_lost_that_was_not(
        plan in plans(prop_oneof![2 => Just(0_u64), 1 => 1..500_u64]),
        restart in any::<bool>(),
    ) {
        let mut rig = Rig::new(plan);
        rig.send(1500, Rig::assert_honest);
        if restart {
            rig.restart();
        }
        rig.send(1500, Rig::assert_honest);
        rig.tell_all();
        rig.assert_honest();
    }

    /// All that was lost is found, but for what is at the ends.
    #[test]
    fn all_of_it_is_found(plan in plans(1..500_u64)) {
        let mut rig = Rig::new(plan);
        rig.send(5000, |_| {});
        rig.tell_all();
        let most = if plan.unit == Unit::Flows { 30 } else { 1 };
        let (found, truth) = (rig.joint().unwrap().lost, rig.truly_lost);
        prop_assert!(found <= truth && found + 100 * most >= truth, "{found} {truth}");
    }
}
