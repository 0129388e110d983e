//! What the whole engine must not raise: ten minutes of uneven traffic at 0.8 times the limit, lucky
//! samples, and bursts that are shorter than the rule asks for.

mod traffic;

use tidewall_engine::{Dealing, Engine, Observer};
use tidewall_model::{AttackEvent, FlowRecord, SamplingRate, Timestamp};

use crate::traffic::{Sampler, Scene, policy, to_v4};

const SECOND: u64 = 1_000_000_000;

/// How many of this many seeds raise anything in ten minutes.
fn alarms(limit: f64, sampler: Sampler, background: f64, seeds: u64) -> usize {
    let scene = Scene::quiet(limit, sampler, background);
    let alarms = (0..seeds).filter(|seed| scene.run(&policy(limit), *seed).is_some()).count();
    println!("{sampler:?} {limit} at {background}: {alarms} of {seeds}");
    alarms
}

#[test]
fn ten_noisy_minutes_seen_whole() {
    assert_eq!(alarms(20_000.0, Sampler::All, 0.8, 24), 0);
    assert_eq!(alarms(2_000_000.0, Sampler::All, 0.8, 8), 0);
    assert_eq!(alarms(1_000.0, Sampler::All, 0.8, 8), 0);
}

#[test]
fn ten_noisy_minutes_through_a_systematic_sampler() {
    assert_eq!(alarms(20_000.0, Sampler::Systematic(1000), 0.8, 24), 0);
    assert_eq!(alarms(20_000.0, Sampler::Even(1000), 0.8, 8), 0);
}

#[test]
fn ten_noisy_minutes_through_a_random_sampler() {
    // docs/detection.md: 9 of 2000 runs, 4 of 2000 runs. Two of 40 have a chance below 2 %.
    assert!(alarms(20_000.0, Sampler::Random(1000), 0.8, 40) < 2);
    assert!(alarms(200_000.0, Sampler::Random(1000), 0.8, 20) < 2);
    assert_eq!(alarms(20_000.0, Sampler::Random(1000), 0.5, 20), 0);
}

#[derive(Default)]
struct Heard(Vec<AttackEvent>);

impl Observer for Heard {
    fn event(&mut self, event: &AttackEvent) {
        self.0.push(event.clone());
    }
}

fn raised(records: &[FlowRecord], limit: f64) -> usize {
    let mut engine = Engine::new(policy(limit), 1, Dealing::ByHost, 3);
    let mut heard = Heard::default();
    engine.ingest(records, &mut heard);
    engine.finish(&mut heard);
    heard.0.len()
}

/// Records of one packet at these times, in milliseconds.
fn at(times: impl IntoIterator<Item = u64>, sampling: u32, packets: u64) -> Vec<FlowRecord> {
    let record = |ms| FlowRecord {
        time: Timestamp(1_767_571_200 * SECOND + ms * 1_000_000),
        sampling: SamplingRate::new(sampling),
        packets,
        ..to_v4()
    };
    times.into_iter().map(record).collect()
}

#[test]
fn a_lucky_sample_never_raises_anything() {
    for limit in [1.0, 1_000.0, 20_000.0] {
        // One sample, at any phase, standing for a million packets; alone, and one each 20 s.
        for phase in (0..1000).step_by(37) {
            assert_eq!(raised(&at([phase], 1_000_000, 1), limit), 0);
        }
        assert_eq!(raised(&at((0..10).map(|n| n * 20_000 + n), 1_000_000, 1), limit), 0);
        // Nineteen at once are not enough evidence either; forty are.
        assert_eq!(raised(&at([500; 19], 1_000_000, 1), limit), 0);
        assert!(raised(&at([500; 40], 1_000_000, 1), limit) > 0);
    }
    // Among exactly counted traffic of 0.7 T it proves no more.
    let mut mixed = at((0..30_000).step_by(10), 1, 140);
    mixed.extend(at([12_345], 1_000_000, 1));
    mixed.sort_by_key(|record| record.time);
    assert_eq!(raised(&mixed, 20_000.0), 0);
}

#[test]
fn a_burst_is_raised_when_the_rule_says_so_and_not_before() {
    // T (0.8 + 0.57 L) in a slice of 0.05 s: 16,570 packets at 20,000 a second.
    for phase in [0, 3, 400, 949] {
        assert_eq!(raised(&at([phase], 1, 16_560), 20_000.0), 0);
        assert!(raised(&at([phase], 1, 16_580), 20_000.0) > 0);
    }
    // A burst of 0.9 seconds' worth, spread over 0.4 s, each 3 s: 0.3 T on average.
    let bursts = (0..40u64).flat_map(|n| (0..40).map(move |k| 3_000 * n + 17 * n + 10 * k));
    assert_eq!(raised(&at(bursts, 1, 450), 20_000.0), 0);
    // A whole second at 1.3 T each ten seconds, at any phase of the window.
    let seconds = (0..20u64).flat_map(|n| (0..100).map(move |k| 10_000 * n + 53 * n + 10 * k));
    assert_eq!(raised(&at(seconds, 1, 260), 20_000.0), 0);
}
