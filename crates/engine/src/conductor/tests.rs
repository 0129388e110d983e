//! A policy replaced while traffic goes on, and the order that rings share.

use super::*;
use crate::policy::{DirectedLimits, Limits};
use crate::shard::Half;
use tidewall_model::{SamplingRate, TrafficClass, Unit};

const SECOND: u64 = 1_000_000_000;
/// A window of a minute begins here, and so does one of five seconds.
const BASE: u64 = 1_800_000_000 * SECOND;
const STEP: u64 = SECOND / 20;
/// 10.0.0.1.
const HOST: u128 = 0x0a00_0001;

/// One host, its traffic, and what is told of it.
struct Rig {
    conductor: Conductor,
    shards: Vec<Shard>,
    now: u64,
    told: Told,
}

#[derive(Default)]
struct Told(Vec<AttackEvent>);

impl Observer for Told {
    fn event(&mut self, event: &AttackEvent) {
        self.0.push(event.clone());
    }
}

impl Rig {
    /// From `seconds` after the base on, with a limit in packets a second.
    fn new(seconds: u64, limit: f64) -> Self {
        let policy = policy(limit);
        let mut conductor = Conductor::new(policy, 1, false, 7);
        let (mut shards, now) = (vec![conductor.shard()], BASE + seconds * SECOND);
        let mut told = Told::default();
        conductor.advance(Timestamp(now), &mut shards, &mut told);
        Self { conductor, shards, now, told }
    }

    /// So many packets a second for a while, of which 1 in `sampling` is seen.
    fn run(&mut self, time: Duration, pps: u64, sampling: u32) {
        for _ in 0..time.as_nanos() as u64 / STEP {
            let seen = pps / u64::from(sampling) * STEP / SECOND;
            let record = FlowRecord {
                time: Timestamp(self.now),
                src: 0xc633_6401,
                dst: HOST,
                packets: seen,
                bytes: seen * 100,
                sampling: SamplingRate::new(sampling),
                ..FlowRecord::default()
            };
            if seen > 0 {
                self.shards[0].ingest(&[record]);
            }
            self.now += STEP;
            self.conductor.advance(Timestamp(self.now), &mut self.shards, &mut self.told);
        }
    }

    fn change_window(&mut self, window: Duration) {
        let mut policy = self.conductor.policy().clone();
        policy.detection.window = window;
        let mut next = Conductor::new(policy, 1, false, 7);
        next.inherit(&mut self.conductor, &mut self.told);
        self.shards = vec![next.shard()];
        self.conductor = next;
    }

    fn kinds(&self) -> Vec<AttackEventKind> {
        self.told.0.iter().map(|event| event.kind).collect()
    }
}

fn policy(limit: f64) -> Policy {
    let mut policy = Policy::for_networks(vec!["10.0.0.0/24".parse().unwrap()]);
    let limits = Limits::of(&[(TrafficClass::Total, Unit::Packets, limit)]);
    policy.groups[0].host = DirectedLimits { incoming: limits, outgoing: Limits::default() };
    policy.capacity = crate::Capacity { hosts: 256, flows: 256, recent: 8, dense: 256 };
    policy
}

#[test]
fn a_flood_right_after_a_change_of_the_window_is_named_within_slices() {
    for (window, slice) in [(5, Duration::from_millis(250)), (60, Duration::from_secs(3))] {
        let mut rig = Rig::new(19, 20_000.0);
        // Near enough to the limit to be followed.
        rig.run(Duration::from_secs(2), 15_000, 1);
        rig.change_window(Duration::from_secs(window));
        rig.run(Duration::from_millis(300), 15_000, 1);
        assert_eq!(rig.kinds(), []);
        let begin = Timestamp(rig.now);
        rig.run(2 * slice, 200_000, 1);
        assert_eq!(rig.kinds(), [AttackEventKind::Started], "a window of {window} s");
        let attack = &rig.told.0[0].attack;
        assert!(rig.told.0[0].time.since(begin) <= slice, "{attack:?}");
        // It began within the first slice, and at what came in that one it is counted.
        assert!(begin.since(attack.started) <= slice, "{attack:?}");
        assert!((60_000..=200_000).contains(&attack.rates.total.packets), "{attack:?}");
    }
}

/// In the first window of a minute are 32 seconds of it: 0.64 times the limit, if it was a whole
/// one, and for longer than an attack must be below its limit to be over.
#[test]
fn an_attack_does_not_end_because_a_window_lacks_its_beginning() {
    for sampling in [1, 1000] {
        let mut rig = Rig::new(20, 200_000.0);
        rig.run(Duration::from_secs(8), 240_000, sampling);
        assert_eq!(rig.kinds()[0], AttackEventKind::Started);
        rig.change_window(Duration::from_mins(1));
        rig.run(Duration::from_secs(92), 240_000, sampling);
        assert!(!rig.kinds().contains(&AttackEventKind::Ended), "{:?}", rig.kinds());
        rig.run(Duration::from_mins(2), 0, sampling);
        let kinds = rig.kinds();
        let count = |kind| kinds.iter().filter(|k| **k == kind).count();
        assert_eq!((count(AttackEventKind::Started), count(AttackEventKind::Ended)), (1, 1));
        let end = rig.told.0.last().and_then(|event| event.attack.ended);
        assert_eq!(end, Some(Timestamp(BASE + 120 * SECOND)));
    }
}

/// Only the window within which the length changed is not whole, also when time jumps over its end.
#[test]
fn the_window_after_it_is_whole() {
    let mut rig = Rig::new(21, 1000.0);
    rig.change_window(Duration::from_secs(5));
    assert!(rig.conductor.is_idle(&mut rig.shards));
    rig.now = BASE + 25 * SECOND;
    rig.conductor.advance(Timestamp(rig.now), &mut rig.shards, &mut rig.told);
    // Too little for any number of slices that is remembered: the whole window names it.
    rig.run(Duration::from_secs(5), 1080, 1);
    assert_eq!(rig.kinds(), [AttackEventKind::Started]);
    assert_eq!(rig.told.0[0].attack.reason.window_ms, 5000);
}

#[test]
fn rings_that_hold_no_more_than_one_are_read_whole() {
    let mut conductor = Conductor::new(policy(1000.0), 2, false, 7);
    conductor.share_order();
    let mut shards = vec![conductor.shard(), conductor.shard()];
    let record = FlowRecord { dst: HOST, ..FlowRecord::default() };
    let keep = |shards: &mut Vec<Shard>, ring: usize, position: u64| {
        shards[ring].ingest_half(&record, position, Half::Both);
    };
    (5..13).for_each(|position| keep(&mut shards, position as usize % 2, position));
    assert_eq!(conductor.oldest(&mut shards), 0);
    (13..17).for_each(|position| keep(&mut shards, position as usize % 2, position));
    assert_eq!(conductor.oldest(&mut shards), 9, "of 12 the newest 8");
    (0..2).for_each(|ring| keep(&mut shards, ring, 17));
    assert_eq!(conductor.oldest(&mut shards), 10, "one that is in both counts once");
}
