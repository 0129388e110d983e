//! Bounds of memory, and what the parts do together.

use tidewall_testkit::strategies::START;

use super::*;

/// Bytes that an exporter's state takes outside of itself, at most.
const HEAP: usize = templates::HEAP
    + sampling::HEAP
    + interfaces::HEAP
    + agent::HEAP
    + 2 * size_of::<DropCounters>();

#[test]
fn memory_is_bounded() {
    assert!(size_of::<ExporterHealth>() <= 1024, "{}", size_of::<ExporterHealth>());
    const { assert!(HEAP <= 48 * 1024) };
}

#[test]
fn one_datagram_in_a_strangers_name_gets_few_places() {
    let mut health = ExporterHealth::new(START);
    let counters = |health: &mut ExporterHealth| {
        for index in 0..1000 {
            health.interface_counters(index, 0, 0, 0, 0, 0, START);
            health.agent_drops(index, 1, 0, 0, 0);
        }
        (health.summary().interfaces.len(), health.summary().sources.len())
    };
    health.datagram(START, None, None);
    assert_eq!(counters(&mut health), (4, 4));
    assert_eq!(health.summary().interfaces_refused, 996);
    for _ in 0..79 {
        health.datagram(START, None, None);
    }
    assert_eq!(counters(&mut health), (14, 14));
    for _ in 0..10_000 {
        health.datagram(START, None, None);
    }
    assert_eq!(counters(&mut health), (128, 128), "a bound for those who send as well");
}

#[test]
fn an_age_that_falls_is_a_restart_unless_it_wraps_or_was_overtaken() {
    for (ages, restarts, why) in [
        ([10_000_000, 10_001_000, 10_002_000], 0, "it grows"),
        ([10_000_000, 9_999_500, 10_001_000], 0, "overtaken"),
        ([10_000_000, 2000, 3000], 1, "it restarted"),
        ([u32::MAX - 500, 500, 1500], 0, "after 49.7 days"),
        ([u32::MAX - 500, 3_000_000_000, 3_000_001_000], 1, "shortly before that"),
    ] {
        let mut health = ExporterHealth::new(START);
        for (n, age) in ages.into_iter().enumerate() {
            health.datagram(START, None, Some(age));
            // A jump ahead each time: loss, unless it is a restart.
            health.sequence(20 * n as u32, Some(10));
        }
        let report = health.summary();
        assert_eq!((report.restarts, report.gaps), (restarts, 2 - restarts), "{why}");
    }
}

#[test]
fn the_report_has_what_was_told() {
    let mut health = ExporterHealth::new(START);
    health.datagram(START + Duration::from_secs(1), Some(START), Some(5));
    health.sequence(1, Some(3));
    health.flows(3);
    health.options(2);
    health.template(256);
    health.sampling(SamplingRate::new(100), SamplingOrigin::Header, START);
    health.timeouts(Some(Duration::from_mins(1)), Some(Duration::from_secs(15)));
    health.drop(DropReason::NatEvent, 4);
    let report = health.summary();
    assert_eq!((report.datagrams, report.flows, report.options, report.templates), (1, 3, 2, 1));
    assert_eq!((report.first_seen, report.last_seen), (START, START + Duration::from_secs(1)));
    assert_eq!((report.sequence_unit, report.received), (SequenceUnit::Flows, 3));
    assert_eq!(report.sampling[0].rate.get(), 100);
    assert_eq!(report.active_timeout, Some(Duration::from_mins(1)));
    assert_eq!(report.idle_timeout, Some(Duration::from_secs(15)));
    assert_eq!(report.drops, [(DropReason::NatEvent, 4)]);
    assert_eq!(report.recent.drops, report.drops);
}

#[test]
fn a_clock_of_ours_that_was_set_back_does_not_stop_the_turns() {
    let mut health = ExporterHealth::new(START);
    health.datagram(START, None, None);
    health.flows(7);
    let earlier = START - Duration::from_hours(1);
    for minutes in [0, 1, 6, 12] {
        health.datagram(earlier + Duration::from_mins(minutes), None, None);
    }
    assert_eq!(health.summary().recent.flows, 0);
}
