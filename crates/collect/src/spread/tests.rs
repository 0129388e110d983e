//! Sums, evenness, ends, bounds and clocks.

use proptest::prelude::*;
use tidewall_model::SamplingRate;
use tidewall_testkit::strategies::START;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn record(time: Timestamp, seq: u64, packets: u64, bytes: u64) -> FlowRecord {
    let sampling = SamplingRate::new(10);
    FlowRecord { time, seq, packets, bytes, sampling, ..FlowRecord::default() }
}

fn spreader(capacity: usize) -> Spreader {
    Spreader::new(Duration::from_mins(5), capacity)
}

/// Advances in steps until nothing more is due.
fn advance(spreader: &mut Spreader, now: Timestamp) -> Vec<FlowRecord> {
    let mut out = Vec::new();
    while spreader.advance(now, &mut out) {}
    out
}

fn sums(pieces: &[FlowRecord]) -> (u64, u64) {
    let sum = |f: fn(&FlowRecord) -> u64| pieces.iter().map(f).sum();
    (sum(|piece| piece.packets), sum(|piece| piece.bytes))
}

#[test]
fn three_packets_over_a_minute() {
    let mut spreader = spreader(10);
    let mut out = Vec::new();
    spreader.push(record(START, 1, 3, 100), Duration::from_mins(1), &mut out);
    assert!(out.is_empty());
    let pieces = advance(&mut spreader, START + Duration::from_mins(1));
    let paid: Vec<_> = pieces.iter().map(|piece| (piece.packets, piece.bytes)).collect();
    assert_eq!(paid, [(1, 33), (1, 33), (1, 34)]);
    let times: Vec<_> = pieces.iter().map(|piece| piece.time.since(START)).collect();
    assert!(times[0] <= Duration::from_secs(20) && times[2] > Duration::from_secs(40), "{times:?}");
    assert!(pieces.iter().all(|piece| piece.sampling.get() == 10 && piece.seq == 1));
    assert_eq!(spreader.live(), 0);
}

#[test]
fn what_is_short_or_single_passes_at_once() {
    let mut spreader = spreader(10);
    let mut out = Vec::new();
    for (packets, duration) in [
        (1000, Duration::ZERO),
        (1000, Duration::from_millis(999)),
        (1, Duration::from_mins(1)),
        (0, Duration::from_mins(1)),
    ] {
        let record = record(START, 1, packets, 7);
        spreader.push(record, duration, &mut out);
        assert_eq!(out.pop(), Some(record));
    }
    assert_eq!((spreader.live(), spreader.not_spread()), (0, 0));
    let mut none = Spreader::new(Duration::ZERO, 10);
    none.push(record(START, 1, 9, 9), Duration::from_mins(1), &mut out);
    assert_eq!(out.len(), 1, "spread over nothing");
}

#[test]
fn a_fast_flow_has_its_rate_at_once() {
    let mut spreader = spreader(10);
    // 6000 packets/s of sampled traffic, 1 in 10.
    spreader.push(record(START, 5, 36_000, 0), Duration::from_mins(1), &mut Vec::new());
    for tick in 1..=600 {
        let now = START + Duration::from_millis(100 * tick);
        let pieces = advance(&mut spreader, now);
        assert_eq!(sums(&pieces).0, 60, "tick {tick}");
    }
    assert_eq!(spreader.live(), 0);
}

#[test]
fn flows_of_one_datagram_do_not_pay_in_step() {
    // 3000 flows of 30 packets in 60 s at once: 1500 packets/s.
    let mut spreader = spreader(3000);
    for seq in 0..3000 {
        spreader.push(record(START, seq, 30, 0), Duration::from_mins(1), &mut Vec::new());
    }
    for second in 1..=60 {
        let (packets, _) = sums(&advance(&mut spreader, START + SECOND * second));
        assert!((1400..=1600).contains(&packets), "second {second}: {packets}");
    }
    assert_eq!(spreader.live(), 0);
}

#[test]
fn a_full_spreader_credits_on_arrival() {
    let mut spreader = spreader(3);
    let mut out = Vec::new();
    for seq in 0..5 {
        spreader.push(record(START, seq, 10, 100), Duration::from_secs(10), &mut out);
    }
    assert_eq!(out.iter().map(|piece| piece.seq).collect::<Vec<_>>(), [3, 4]);
    assert_eq!((spreader.live(), spreader.not_spread()), (3, 2));
    let before = spreader.places.capacity();
    out.clear();
    while spreader.advance(START + Duration::from_secs(10), &mut out) {}
    assert_eq!(sums(&out), (30, 300));
    spreader.push(record(START + Duration::from_secs(11), 9, 10, 1), SECOND, &mut out);
    assert_eq!((spreader.live(), spreader.not_spread()), (1, 2), "places are used again");
    assert_eq!(spreader.places.capacity(), before);
}

#[test]
fn a_place_takes_what_is_promised() {
    let bytes = size_of::<Live>() + 2 * size_of::<Link>();
    assert!(bytes <= 192, "{bytes}");
    assert!(Spreader::CAPACITY * bytes <= 51_000_000);
}

#[test]
fn a_pause_is_paid_for_in_steps() {
    let mut spreader = spreader(10);
    spreader.push(record(START, 1, 36_000, 0), Duration::from_mins(1), &mut Vec::new());
    let mut out = Vec::new();
    let mut calls = 0;
    while spreader.advance(START + Duration::from_secs(30), &mut out) {
        calls += 1;
        assert!(out.len() <= 10, "a second at most");
        out.clear();
    }
    assert_eq!(calls, 29);
}

#[test]
fn a_clock_set_forward_pays_no_lump() {
    let mut spreader = spreader(1000);
    for seq in 0..1000 {
        let duration = Duration::from_secs(1 + seq % 300);
        spreader.push(record(START, seq, 5000, 10_000), duration, &mut Vec::new());
    }
    let (mut out, mut calls) = (Vec::new(), 1);
    while spreader.advance(START + Duration::from_hours(5), &mut out) {
        calls += 1;
    }
    assert_eq!(
        (calls, spreader.live()),
        (30 * 10, 0),
        "the longest record, and no hours of nothing"
    );
    assert_eq!(sums(&out), (5_000_000, 10_000_000));
    assert!(out.is_sorted_by_key(|piece| (piece.time, piece.seq)));
    assert!(out.iter().all(|piece| piece.packets <= 5000 / (piece.seq % 300 + 1) + 1));
    let later = START + Duration::from_hours(6);
    spreader.push(record(later, 1, 100, 0), Duration::from_secs(10), &mut out);
    let next = advance(&mut spreader, later + SECOND);
    assert!(next.iter().all(|piece| piece.time > later), "{next:?}");
}

#[test]
fn a_clock_set_back_goes_on_from_there() {
    let mut spreader = spreader(10);
    spreader.push(record(START, 1, 60_000, 60_000), Duration::from_mins(1), &mut Vec::new());
    let half = advance(&mut spreader, START + Duration::from_secs(30));
    assert_eq!(sums(&half).0, 30_000);
    let earlier = START - Duration::from_hours(3);
    assert_eq!(advance(&mut spreader, earlier), []);
    let rest = advance(&mut spreader, earlier + Duration::from_secs(10));
    assert_eq!(sums(&rest).0, 10_000);
    assert!(rest.iter().all(|piece| piece.time > earlier));
    let rest = advance(&mut spreader, earlier + Duration::from_secs(31));
    assert_eq!((sums(&rest).0, spreader.live()), (20_000, 0));
}

#[test]
fn a_small_step_back_waits() {
    let mut spreader = spreader(10);
    spreader.push(record(START, 1, 60_000, 0), Duration::from_mins(1), &mut Vec::new());
    let at = |seconds| START + Duration::from_secs(seconds);
    assert_eq!(sums(&advance(&mut spreader, at(30))).0, 30_000);
    assert_eq!(advance(&mut spreader, at(10)), []);
    assert_eq!(advance(&mut spreader, at(30)), [], "nothing is paid twice");
    assert_eq!(sums(&advance(&mut spreader, at(31))).0, 1000);
}

#[test]
fn the_end_of_a_capture_pays_the_rest() {
    let mut spreader = spreader(10);
    for seq in [4, 2] {
        spreader.push(record(START, seq, 60, 600), Duration::from_mins(1), &mut Vec::new());
    }
    let mut out = advance(&mut spreader, START + SECOND * 7);
    while spreader.finish(&mut out) {}
    assert_eq!((sums(&out), spreader.live()), ((120, 1200), 0));
    assert!(out.iter().all(|piece| piece.packets == 1), "one a second, to the end");
    let end = START + Duration::from_mins(1);
    assert!(out.iter().all(|piece| piece.time <= end) && out.is_sorted_by_key(|piece| piece.time));
    spreader.push(record(START, 9, 60, 600), Duration::from_mins(1), &mut Vec::new());
    let again = advance(&mut spreader, START + Duration::from_mins(1));
    assert_eq!(sums(&again), (60, 600), "and it can be used again");
}

/// A record: milliseconds after the one before, milliseconds of duration, packets, bytes.
type Given = (u64, u64, u64, u64);

fn given() -> impl Strategy<Value = Vec<Given>> {
    let gap = prop_oneof![3 => Just(0), 3 => 0..500_u64, 1 => 0..20_000_u64];
    let duration = prop_oneof![0..2000_u64, 0..70_000_u64, 0..400_000_u64];
    let packets =
        prop_oneof![0..5_u64, 0..1000_u64, any::<u32>().prop_map(u64::from), any::<u64>()];
    let bytes = prop_oneof![0..100_000_u64, any::<u64>()];
    prop::collection::vec((gap, duration, packets, bytes), 1..40)
}

/// What comes out when time goes on by the records and then in steps of so many milliseconds.
fn pieces_of(given: &[Given], step: u64, capacity: usize) -> (Vec<FlowRecord>, Vec<FlowRecord>) {
    let mut spreader = spreader(capacity);
    let (mut now, mut records, mut out) = (START, Vec::new(), Vec::new());
    for (seq, (gap, duration, packets, bytes)) in given.iter().enumerate() {
        now = now + Duration::from_millis(*gap);
        while spreader.advance(now, &mut out) {}
        let record = record(now, seq as u64, *packets, *bytes);
        records.push(record);
        spreader.push(record, Duration::from_millis(*duration), &mut out);
        assert!(spreader.live() <= capacity && spreader.places.len() <= capacity);
    }
    let end = now + Duration::from_secs(401);
    while now < end {
        now = now + Duration::from_millis(step);
        while spreader.advance(now, &mut out) {}
    }
    assert_eq!(spreader.live(), 0, "all is paid");
    (records, out)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        rng_seed: prop::test_runner::RngSeed::Fixed(21),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Sums are exact to the packet and byte; no piece comes before the record, beyond its end or
    /// without a packet; at each piece less than a packet is missing or too much.
    #[test]
    fn every_record_is_paid_evenly(
        given in given(),
        capacity in prop_oneof![Just(100), 0..10_usize],
    ) {
        let (records, out) = pieces_of(&given, 1000, capacity);
        for (record, (_, duration, ..)) in records.iter().zip(&given) {
            let duration = Duration::from_millis((*duration).min(300_000));
            let pieces: Vec<_> = out.iter().filter(|piece| piece.seq == record.seq).collect();
            let mut paid = 0_u128;
            for piece in &pieces {
                let elapsed = piece.time.since(record.time);
                prop_assert!(piece.time >= record.time && elapsed <= duration);
                prop_assert!(piece.packets >= 1 || record.packets == 0);
                prop_assert_eq!(piece.sampling, record.sampling);
                paid += u128::from(piece.packets);
                if pieces.len() > 1 {
                    // Ideal in ticks: arrival and duration are rounded to them.
                    let ticks = u128::from(duration.as_nanos() as u64 / TICK_NS);
                    let at = u128::from(piece.time.0 / TICK_NS - record.time.0 / TICK_NS);
                    let (due, paid) = (u128::from(record.packets) * at, paid * ticks);
                    prop_assert!(due.abs_diff(paid) < ticks, "{} of {}", paid, due);
                }
            }
            prop_assert_eq!(paid, u128::from(record.packets));
            let bytes: u128 = pieces.iter().map(|piece| u128::from(piece.bytes)).sum();
            prop_assert_eq!(bytes, u128::from(record.bytes));
        }
    }

    /// In whatever steps time goes on, the pieces and their order are the same.
    #[test]
    fn steps_of_time_make_no_difference(given in given(), step in 1..30_000_u64) {
        prop_assert_eq!(pieces_of(&given, step, 100).1, pieces_of(&given, 100, 100).1);
    }

    /// However time jumps, nothing is lost, and nothing is paid before its record.
    #[test]
    fn any_clock_keeps_the_sums(
        given in given(),
        jumps in prop::collection::vec(-40_000_000_i64..40_000_000, 1..40),
    ) {
        let mut spreader = spreader(8);
        let mut out = Vec::new();
        let mut now = START;
        let (mut packets, mut bytes) = (0_u128, 0_u128);
        let steps = given.iter().zip(jumps.iter().cycle());
        for (seq, ((_, duration, p, b), jump)) in steps.enumerate() {
            let record = record(now, seq as u64, *p, *b);
            spreader.push(record, Duration::from_millis(*duration), &mut out);
            packets += u128::from(*p);
            bytes += u128::from(*b);
            // From milliseconds to hours, both ways.
            let jump = jump * 1_000_000 / (1 + jump.rem_euclid(9) * 500);
            now = Timestamp(now.0.saturating_add_signed(jump));
            let before = out.len();
            let mut calls = 0;
            while spreader.advance(now, &mut out) {
                calls += 1;
            }
            prop_assert!(calls <= 301, "no long loop");
            prop_assert!(out[before..].iter().all(|piece| piece.time <= now));
        }
        while spreader.finish(&mut out) {}
        prop_assert_eq!(spreader.live(), 0);
        prop_assert_eq!(out.iter().map(|piece| u128::from(piece.packets)).sum::<u128>(), packets);
        prop_assert_eq!(out.iter().map(|piece| u128::from(piece.bytes)).sum::<u128>(), bytes);
    }
}
