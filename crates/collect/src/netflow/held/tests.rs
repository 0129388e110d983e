use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const A: ExporterIndex = ExporterIndex(0);
const B: ExporterIndex = ExporterIndex(7);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_parts(1_767_571_200 + seconds, 0)
}

fn limits(sets: usize, bytes: usize, per_exporter: usize) -> TemplateLimits {
    TemplateLimits {
        held_sets: sets,
        held_bytes: bytes,
        held_per_exporter: per_exporter,
        held_for: Duration::from_secs(10),
        ..TemplateLimits::default()
    }
}

/// What is released, in order.
fn released(held: &mut Held<u32>, exporter: ExporterIndex, id: u16) -> Vec<(u32, Vec<u8>)> {
    let mut sets = Vec::new();
    let count = held.release(exporter, id, |context, bytes| sets.push((*context, bytes.to_vec())));
    assert_eq!(count, sets.len());
    sets
}

fn expired(held: &mut Held<u32>, now: Timestamp) -> Vec<(usize, u16, u32)> {
    let mut sets = Vec::new();
    let count = held.expire(now, |exporter, id, context| sets.push((exporter.0, id, *context)));
    assert_eq!(count, sets.len());
    sets
}

#[test]
fn sets_come_back_in_order_and_once() {
    let mut held = Held::new(&TemplateLimits::default());
    let long: Vec<u8> = (0..1460).map(|n| n as u8).collect();
    assert!(held.hold(A, 256, 1, &long, at(0)));
    assert!(held.hold(A, 257, 2, b"other id", at(0)));
    assert!(held.hold(B, 256, 3, b"other exporter", at(0)));
    assert!(held.hold(A, 256, 4, b"", at(1)));
    assert!(held.hold(A, 256, 5, &[9; Blocks::SIZE], at(1)));
    assert_eq!(held.len(), 5);
    let expected = vec![(1, long), (4, vec![]), (5, vec![9; Blocks::SIZE])];
    assert_eq!(released(&mut held, A, 256), expected);
    assert_eq!(released(&mut held, A, 256), []);
    assert_eq!(released(&mut held, B, 257), []);
    assert_eq!(released(&mut held, ExporterIndex(99), 256), []);
    assert_eq!(released(&mut held, B, 256), [(3, b"other exporter".to_vec())]);
    assert_eq!(released(&mut held, A, 257), [(2, b"other id".to_vec())]);
    assert!(held.is_empty());
    assert_eq!(expired(&mut held, at(1000)), []);
}

#[test]
fn the_longest_set_is_held() {
    let mut held = Held::new(&TemplateLimits::default());
    let longest: Vec<u8> = (0..65_531_u32).map(|n| (n % 251) as u8).collect();
    assert!(held.hold(A, 256, 0, &longest, at(0)));
    assert_eq!(released(&mut held, A, 256), [(0, longest)]);
}

#[test]
fn what_waited_too_long_is_given_up_once() {
    let mut held = Held::new(&limits(10, 8192, 10));
    held.hold(B, 300, 1, b"1", at(0));
    held.hold(A, 301, 2, b"2", at(2));
    held.hold(A, 302, 3, b"3", at(5));
    held.hold(A, 301, 4, b"4", at(2));
    assert_eq!(expired(&mut held, at(9)), []);
    assert_eq!(expired(&mut held, at(12)), [(0, 301, 2), (0, 301, 4), (7, 300, 1)]);
    assert_eq!(expired(&mut held, at(12)), []);
    assert_eq!(released(&mut held, A, 301), []);
    assert_eq!(held.len(), 1);
    assert_eq!(expired(&mut held, at(14)), []);
    assert_eq!(expired(&mut held, at(15)), [(0, 302, 3)]);
    assert!(held.hold(A, 302, 5, b"5", at(20)));
    assert_eq!(expired(&mut held, at(29)), []);
    assert_eq!(expired(&mut held, at(30)), [(0, 302, 5)]);
}

#[test]
fn one_exporter_does_not_take_the_room_of_all() {
    let mut held = Held::new(&limits(5, 1 << 16, 3));
    let mut hold = |exporter| held.hold(exporter, 256, 0, b"set", at(0));
    assert_eq!([A; 4].map(&mut hold), [true, true, true, false]);
    assert_eq!([B; 3].map(&mut hold), [true, true, false], "five in all");
    assert_eq!(held.release(A, 256, |_, _| {}), 3);
    assert!(held.hold(A, 256, 0, b"set", at(0)));
    assert_eq!(held.len(), 3);
}

#[test]
fn bytes_are_bounded_and_freed_whole() {
    let mut held = Held::new(&limits(100, 10 * Blocks::SIZE, 100));
    for round in 0..50 {
        assert!(held.hold(A, 256, round, &[1; 3 * Blocks::SIZE], at(0)));
        assert!(held.hold(A, 257, round, &[2; 3 * Blocks::SIZE + 1], at(0)));
        assert!(held.hold(A, 256, round, &[3; 2 * Blocks::SIZE], at(0)));
        assert!(!held.hold(A, 258, round, &[4; Blocks::SIZE + 1], at(0)), "one block is left");
        assert!(held.hold(A, 258, round, &[4; Blocks::SIZE], at(0)));
        assert!(!held.hold(A, 258, round, &[5], at(0)), "none is left");
        let first = (round, vec![1; 3 * Blocks::SIZE]);
        let last = (round, vec![3; 2 * Blocks::SIZE]);
        assert_eq!(released(&mut held, A, 256), [first, last]);
        assert!(held.hold(B, 256, round, &[6; 5 * Blocks::SIZE], at(0)), "their room, in one");
        assert_eq!(released(&mut held, B, 256), [(round, vec![6; 5 * Blocks::SIZE])]);
        assert_eq!(released(&mut held, A, 257), [(round, vec![2; 3 * Blocks::SIZE + 1])]);
        assert_eq!(held.forget(A), 1);
    }
}

#[test]
fn no_room_at_all_holds_nothing() {
    let mut held = Held::new(&limits(0, 0, 0));
    assert!(!held.hold(A, 256, 0, b"set", at(0)));
    let mut held = Held::new(&limits(10, Blocks::SIZE - 1, 10));
    assert!(!held.hold(A, 256, 0, b"set", at(0)));
    assert!(held.is_empty());
}

#[test]
fn an_exporter_that_gave_way_leaves_nothing() {
    let mut held = Held::new(&TemplateLimits::default());
    held.hold(A, 256, 1, b"1", at(0));
    held.hold(B, 256, 2, b"2", at(0));
    held.hold(A, 300, 3, b"3", at(0));
    assert_eq!(held.forget(A), 2);
    assert_eq!(held.forget(A), 0);
    assert_eq!(expired(&mut held, at(60)), [(7, 256, 2)]);
}

#[derive(Clone, Debug)]
enum Step {
    Hold { exporter: usize, id: u16, length: usize },
    Release { exporter: usize, id: u16 },
    Wait { seconds: u64 },
    Expire,
    Forget { exporter: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let (exporter, id) = (|| 0..3_usize, || 256..259_u16);
    prop_oneof![
        10 => (exporter(), id(), 0..2000_usize)
            .prop_map(|(exporter, id, length)| Step::Hold { exporter, id, length }),
        4 => (exporter(), id()).prop_map(|(exporter, id)| Step::Release { exporter, id }),
        2 => (1..6_u64).prop_map(|seconds| Step::Wait { seconds }),
        2 => Just(Step::Expire),
        1 => exporter().prop_map(|exporter| Step::Forget { exporter }),
    ]
}

/// A set in the plain model: exporter, id, context, bytes, arrival.
type Plain = (usize, u16, u32, Vec<u8>, Timestamp);

/// Takes those out of the model that are chosen, in order of arrival.
fn taken(model: &mut Vec<Plain>, chosen: impl Fn(&Plain) -> bool) -> Vec<Plain> {
    let (out, left) = std::mem::take(model).into_iter().partition(|set| chosen(set));
    *model = left;
    out
}

fn compare(steps: Vec<Step>) {
    let (sets, blocks, own) = (12, 20, 6);
    let mut held = Held::new(&limits(sets, blocks * Blocks::SIZE, own));
    let (mut model, mut now, mut number): (Vec<Plain>, _, _) = (Vec::new(), at(0), 0_u32);
    for step in steps {
        match step {
            Step::Hold { exporter, id, length } => {
                number += 1;
                let bytes: Vec<u8> = (0..length).map(|n| (n as u32 * 7 + number) as u8).collect();
                let used = |set: &Plain| set.3.len().div_ceil(Blocks::SIZE);
                let room = model.len() < sets
                    && model.iter().filter(|set| set.0 == exporter).count() < own
                    && model.iter().map(used).sum::<usize>() + length.div_ceil(Blocks::SIZE)
                        <= blocks;
                let kept = held.hold(ExporterIndex(exporter), id, number, &bytes, now);
                assert_eq!(kept, room);
                if kept {
                    model.push((exporter, id, number, bytes, now));
                }
            }
            Step::Release { exporter, id } => {
                let sets = taken(&mut model, |set| (set.0, set.1) == (exporter, id));
                let sets: Vec<_> = sets.into_iter().map(|set| (set.2, set.3)).collect();
                assert_eq!(released(&mut held, ExporterIndex(exporter), id), sets);
            }
            Step::Wait { seconds } => now = now + Duration::from_secs(seconds),
            Step::Expire => {
                let sets = taken(&mut model, |set| now.since(set.4) >= Duration::from_secs(10));
                let mut sets: Vec<_> = sets.into_iter().map(|set| (set.0, set.1, set.2)).collect();
                sets.sort_by_key(|set| set.0);
                assert_eq!(expired(&mut held, now), sets);
            }
            Step::Forget { exporter } => {
                let sets = taken(&mut model, |set| set.0 == exporter);
                assert_eq!(held.forget(ExporterIndex(exporter)), sets.len());
            }
        }
        assert_eq!(held.len(), model.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        rng_seed: RngSeed::Fixed(0x4e1d),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn behaves_like_a_plain_list(steps in prop::collection::vec(step(), 1..200)) {
        compare(steps);
    }
}
