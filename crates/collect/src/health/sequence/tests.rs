//! Tables of losses, late datagrams, restarts and wraps, and a model.

use proptest::prelude::*;

use super::*;

/// Feeds numbers with their units; gives lost units, gaps, restarts and disorder.
fn after(datagrams: &[(u32, Option<u32>)]) -> (u64, u64, u64, u64) {
    let mut sequence = Sequence::default();
    for (number, units) in datagrams {
        sequence.note(*number, *units, false, 0);
    }
    let s = &sequence;
    (s.lost.total(), s.gaps_seen, s.restarts.total(), s.disorder.total())
}

fn ones(numbers: &[u32]) -> Vec<(u32, Option<u32>)> {
    numbers.iter().map(|number| (*number, Some(1))).collect()
}

#[test]
fn gaps_late_ones_and_repetitions() {
    for (numbers, expected, why) in [
        (&[7, 8, 9][..], (0, 0, 0, 0), "in order"),
        (&[7, 9], (1, 1, 0, 0), "one lost"),
        (&[7, 10, 20], (11, 2, 0, 0), "two gaps"),
        (&[7, 9, 8, 10], (0, 1, 0, 1), "8 was late"),
        (&[7, 12, 9, 10, 13], (2, 1, 0, 2), "from the middle of a gap"),
        (&[7, 12, 10, 8, 13], (2, 1, 0, 2), "8 and 10 of 8, 9, 10, 11"),
        (&[7, 8, 8, 9], (0, 0, 0, 1), "8 came twice"),
        (&[7, 9, 8, 8, 10], (0, 1, 0, 2), "8 was late, and came twice"),
        (&[u32::MAX - 1, u32::MAX, 0, 1], (0, 0, 0, 0), "numbers wrap"),
        (&[u32::MAX - 1, 2, 3], (3, 1, 0, 0), "lost around the wrap"),
        (&[u32::MAX - 1, 2, 0, 3], (2, 1, 0, 1), "and one of them was late"),
        (&[100_000, 0, 1, 2, 4], (1, 1, 1, 0), "a restart, then one lost"),
        (&[100, 0, 1, 2, 3, 4, 5, 6, 7, 9], (1, 1, 1, 0), "a restart soon after the start"),
        (&[100, 3_000_000_000, 101], (0, 0, 0, 1), "one stray number is nothing"),
        (&[100, 3_000_000_000, 3_000_000_001], (0, 0, 1, 0), "two in line are a restart"),
        (&[100, 4_000_000_000, 101, 4_000_000_001, 102], (0, 0, 0, 2), "two processes"),
        (&[5, 65_541, 65_542], (65_535, 1, 0, 0), "a large gap"),
    ] {
        assert_eq!(after(&ones(numbers)), expected, "{why}: {numbers:?}");
    }
}

#[test]
fn flows_are_counted_by_what_datagrams_hold() {
    for (datagrams, expected, why) in [
        (&[(0, Some(30)), (30, Some(10)), (40, Some(30))][..], (0, 0, 0, 0), "in order"),
        (&[(0, Some(30)), (60, Some(30))], (30, 1, 0, 0), "a datagram of 30 lost"),
        (&[(0, Some(30)), (60, Some(30)), (30, Some(30)), (90, Some(1))], (0, 1, 0, 1), "late"),
        (&[(0, Some(30)), (30, Some(0)), (30, Some(0)), (30, Some(2))], (0, 0, 0, 0), "templates"),
        (&[(0, Some(30)), (30, None), (75, Some(30)), (105, Some(1))], (0, 0, 0, 0), "not known"),
        (&[(0, None), (40, None), (20, Some(20)), (60, None)], (0, 0, 0, 1), "late, not known"),
        (&[(0, Some(30)), (90, Some(30)), (50, None), (120, Some(1))], (20, 1, 0, 1), "half"),
    ] {
        assert_eq!(after(datagrams), expected, "{why}: {datagrams:?}");
    }
}

#[test]
fn a_younger_exporter_has_restarted() {
    let mut sequence = Sequence::default();
    sequence.note(500, Some(1), false, 0);
    sequence.note(510, Some(1), true, 0);
    assert_eq!((sequence.lost.total(), sequence.restarts.total()), (0, 1));
    sequence.note(511, Some(1), true, 0);
    assert_eq!(sequence.restarts.total(), 1, "the number went on: nothing was lost");
}

#[test]
fn what_went_elsewhere_is_not_missing() {
    // It went on, stood still, began anew, or came round.
    for number in [5000, 512, 3, 3_000_000_000] {
        for restarted in [false, true] {
            let mut sequence = Sequence::default();
            for n in [510, 511] {
                sequence.note(n, Some(1), false, 1);
            }
            sequence.begin_anew();
            assert_eq!(sequence.next(), None);
            sequence.note(number, Some(1), restarted, 1);
            let s = &sequence;
            let found = [s.lost.total(), s.restarts.total(), s.disorder.total()];
            assert_eq!((found, s.gaps_seen), ([0; 3], 0), "{number}");
            sequence.note(number + 3, Some(1), false, 1);
            assert_eq!((sequence.lost.total(), sequence.received.total()), (2, 4), "{number}");
        }
    }
}

#[test]
fn a_long_outage_of_a_busy_exporter_is_loss() {
    let mut sequence = Sequence::default();
    for n in 0..10_000 {
        sequence.note(n * 30, Some(30), false, 0);
    }
    sequence.note(500_000, Some(30), false, 0);
    assert_eq!((sequence.lost.total(), sequence.restarts.total()), (200_000, 0));
    sequence.turn();
    sequence.turn();
    sequence.note(1_000_000, Some(30), false, 0);
    sequence.note(1_000_030, Some(30), false, 0);
    assert_eq!(sequence.restarts.total(), 1, "more than came lately is no gap");
}

#[test]
fn numbers_that_count_datagrams_where_flows_are_due() {
    let mut sequence = Sequence::default();
    for n in 0..100_u32 {
        sequence.note(n, Some(20), false, 20);
    }
    assert_eq!(sequence.numbering(), Numbering::Datagrams);
    assert_eq!(sequence.unit(), SequenceUnit::Datagrams);
    assert_eq!((sequence.lost.total(), sequence.restarts.total()), (0, 0));
    sequence.note(103, Some(20), false, 20);
    assert_eq!(sequence.lost.total(), 3, "and they are read like that");
}

#[test]
fn numbers_that_count_flows_where_datagrams_are_due() {
    let mut sequence = Sequence::default();
    let (mut number, mut records) = (1000_u32, 0);
    for n in 0..200_u32 {
        sequence.note(number, Some(1), false, u64::from(records));
        records = 1 + n % 25;
        number += records;
    }
    assert_eq!(sequence.numbering(), Numbering::Flows);
    assert_eq!((sequence.lost.total(), sequence.restarts.total()), (0, 0), "no claim");
    // Loss in numbers that count datagrams is not taken for it.
    let mut sequence = Sequence::default();
    for n in 0..200_u32 {
        sequence.note(n * 2, Some(1), false, 20);
    }
    assert_eq!((sequence.numbering(), sequence.lost.total()), (Numbering::Standard, 199));
}

/// A datagram on its way: does it get lost, by how many places is it late, does it come twice?
type Fate = (bool, usize, bool, u32);

fn fates(units: std::ops::RangeInclusive<u32>) -> impl Strategy<Value = Vec<Fate>> {
    let lost = prop::bool::weighted(0.1);
    let late = prop_oneof![4 => Just(0_usize), 1 => 0..=7_usize];
    prop::collection::vec((lost, late, prop::bool::weighted(0.03), units), 50..400)
}

/// What arrives of datagrams with these fates, in order of arrival: (number, units).
fn arrivals(start: u32, fates: &[Fate]) -> Vec<(u32, u32)> {
    let mut number = start;
    let mut sent = Vec::new();
    for (at, (lost, late, twice, units)) in fates.iter().enumerate() {
        let copies = if *lost { 0 } else { 1 + usize::from(*twice) };
        for copy in 0..copies {
            sent.push((at + late + copy, at, (number, *units)));
        }
        number = number.wrapping_add(*units);
    }
    sent.sort_by_key(|(arrival, at, _)| (*arrival, *at));
    sent.into_iter().map(|(_, _, datagram)| datagram).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        rng_seed: prop::test_runner::RngSeed::Fixed(20),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Datagrams overtaken by up to seven others, one in ten lost, some twice: what is missing
    /// between the first and the last that came is known to the unit.
    #[test]
    fn the_estimate_is_the_true_loss(
        start in prop_oneof![Just(0), Just(u32::MAX - 100), any::<u32>()],
        fates in prop_oneof![fates(1..=1), fates(0..=40)],
    ) {
        let arrivals = arrivals(start, &fates);
        prop_assume!(!arrivals.is_empty());
        let mut sequence = Sequence::default();
        for (number, units) in &arrivals {
            sequence.note(*number, Some(*units), false, 0);
        }
        // Units from the first number that came to the end of the highest that came, by model.
        let first = arrivals[0].0;
        let ahead = |number: u32| u64::from(number.wrapping_sub(first));
        let after_first = |number: u32| ahead(number) < 1 << 31;
        let mut came = std::collections::BTreeMap::new();
        let mut end = 0;
        for (number, units) in arrivals.iter().filter(|(number, _)| after_first(*number)) {
            end = end.max(ahead(*number) + u64::from(*units));
            let held = came.entry(*number).or_insert(0);
            *held = (*held).max(u64::from(*units));
        }
        let truly = end - came.values().sum::<u64>();
        prop_assert_eq!(sequence.lost.total(), truly);
        prop_assert_eq!(sequence.restarts.total(), 0);
    }

    /// Any numbers at all: no panic, and never more lost than the numbers leave room for.
    #[test]
    fn noise_stays_within_bounds(
        datagrams in prop::collection::vec(
            (any::<u32>(), prop::option::of(0..50_u32), any::<bool>(), 0..50_u64), 0..200),
    ) {
        let mut sequence = Sequence::default();
        for (number, units, restarted, records) in &datagrams {
            sequence.note(*number, *units, *restarted, *records);
            prop_assert!(usize::from(sequence.open) <= GAPS);
        }
        let most = PLAUSIBLE * datagrams.len() as u64;
        prop_assert!(sequence.lost.total() <= most);
    }
}
