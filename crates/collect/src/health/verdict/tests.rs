//! When there is a verdict, how bad it is, and the sentence.

use tidewall_model::SamplingRate;

use super::*;
use crate::ExporterHealth;

/// 2026-11-21 14:00:00 UTC.
const START: u64 = 1_795_269_600;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_parts(START + seconds, 0)
}

/// An exporter that sent a datagram of ten flows a second for five minutes.
fn healthy() -> ExporterHealth {
    exporter(|_, _| {})
}

/// The same, with something done after each datagram.
fn exporter(each: impl Fn(&mut ExporterHealth, u64)) -> ExporterHealth {
    let mut health = ExporterHealth::new(at(0));
    for second in 0..300 {
        health.datagram(at(second), Some(at(second)), Some(1_000_000 + 1000 * second as u32));
        health.sequence(10 * second as u32, Some(10));
        health.flows(10);
        health.sampling(SamplingRate::new(1000), SamplingOrigin::Exporter, at(second));
        each(&mut health, second);
    }
    health
}

fn sentences(health: &ExporterHealth, seconds: u64) -> Vec<(Severity, String)> {
    let told = health.verdicts(at(seconds));
    told.iter().map(|verdict| (verdict.severity(), verdict.to_string())).collect()
}

/// The only verdict.
fn only(health: &ExporterHealth) -> (Severity, String) {
    let mut told = sentences(health, 300);
    assert_eq!(told.len(), 1, "{told:?}");
    told.remove(0)
}

#[test]
fn a_healthy_exporter_gets_none() {
    assert_eq!(sentences(&healthy(), 300), []);
    assert_eq!(sentences(&healthy(), 355), [], "a minute may pass");
}

#[test]
fn silence() {
    let told = sentences(&healthy(), 299 + 200);
    let expected = "nothing received since 14:04 UTC, for 3 min 20 s";
    assert_eq!(told, [(Severity::Problem, expected.to_owned())]);
    let mut seldom = ExporterHealth::new(at(0));
    for n in 0..5 {
        seldom.datagram(at(n * 60), None, None);
    }
    assert_eq!(seldom.verdicts(at(240 + 590)), [], "it speaks once a minute");
    assert_eq!(seldom.verdicts(at(240 + 610)).len(), 1);
}

#[test]
fn a_missing_template() {
    let mut health = exporter(|health, second| {
        if second >= 120 {
            health.missing_template(260, at(second));
        }
    });
    let expected = "no template for set 260 since 14:02 UTC: 180 sets of data waited for it";
    assert_eq!(only(&health), (Severity::Warning, expected.to_owned()));
    for second in 300..1000 {
        health.datagram(at(second), None, None);
        health.missing_template(260, at(second));
    }
    assert_eq!(health.verdicts(at(1000))[0].severity(), Severity::Problem, "for 14 minutes");
    health.template(260);
    assert_eq!(sentences(&health, 1000), []);
}

#[test]
fn loss_is_forgotten_when_it_is_over() {
    let mut health = ExporterHealth::new(at(0));
    for second in 0..100 {
        health.datagram(at(second), None, None);
        health.sequence(20 * second as u32, Some(10));
        health.flows(10);
    }
    let expected = "50 % of the flows of the last minutes were lost on the way (990 of 1990): all \
                    rates are too low by as much";
    assert_eq!(sentences(&health, 100), [(Severity::Problem, expected.to_owned())]);
    for second in 100..1000 {
        health.datagram(at(second), None, None);
        health.sequence(990 + 10 * second as u32, Some(10));
        health.flows(10);
    }
    assert_eq!(sentences(&health, 1000), []);
    assert_eq!((health.summary().lost, health.summary().gaps), (990, 99), "the total stays");
}

#[test]
fn parts_make_the_severity() {
    let severity = |lost, of| Verdict::Lost { unit: SequenceUnit::Flows, lost, of }.severity();
    assert_eq!(severity(2, 1000), Severity::Note);
    assert_eq!(severity(20, 1000), Severity::Warning);
    assert_eq!(severity(200, 1000), Severity::Problem);
}

#[test]
fn drops_that_are_meant_are_no_fault() {
    let dropping = |reason| exporter(move |health, _| health.drop(reason, 1));
    assert_eq!(sentences(&dropping(DropReason::NatEvent), 300), []);
    let (severity, text) = only(&dropping(DropReason::RecordMalformed));
    assert_eq!(severity, Severity::Warning);
    let expected = "9.1 % of what came in the last minutes was not counted (record_malformed, 300 \
                    times): A flow record";
    assert!(text.starts_with(expected), "{text}");
    let mut health = dropping(DropReason::RecordMalformed);
    for second in 300..1200 {
        health.datagram(at(second), None, None);
        health.flows(10);
    }
    assert_eq!(sentences(&health, 1200), [], "it is over");
    assert_eq!(health.summary().drops, [(DropReason::RecordMalformed, 300)]);
}

#[test]
fn unknown_sampling() {
    let assumed = |health: &mut ExporterHealth, second| {
        health.sampling(SamplingRate::ONE, SamplingOrigin::Assumed, at(second));
    };
    let (severity, text) = only(&exporter(assumed));
    assert_eq!(severity, Severity::Warning);
    assert!(text.starts_with("sampling unknown for a part of the records, counted as 1"), "{text}");
    let mut health = ExporterHealth::new(at(0));
    assumed(&mut health, 0);
    assert!(sentences(&health, 1)[0].1.starts_with("sampling unknown, counted as 1"));
    health.sampling(SamplingRate::new(512), SamplingOrigin::Sampler, at(1000));
    health.datagram(at(1000), None, None);
    assert_eq!(sentences(&health, 1000), [], "the assumption was made long ago");
}

#[test]
fn clocks() {
    let clock = |offset: i64| {
        let mut health = ExporterHealth::new(at(0));
        for second in 0..5 {
            let exported = (START + second).saturating_add_signed(offset);
            health.datagram(at(second), Some(Timestamp::from_parts(exported, 0)), None);
        }
        health.verdicts(at(5)).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(clock(-60), Vec::<String>::new());
    assert_eq!(clock(-61), ["the exporter's clock is 1 min 1 s behind ours"]);
    assert_eq!(clock(7200), ["the exporter's clock is 2 h ahead of ours"]);
    assert_eq!(clock(-1_795_000_000), ["the exporter's clock was never set"]);
}

#[test]
fn long_flows_come_in_lumps() {
    let mut health = exporter(|health, _| health.longest_flow(Duration::from_mins(1)));
    let expected = "flows last up to 1 min and are counted when they arrive, so rates come in \
                    lumps: shorten the active timeout, or spread flows over their duration";
    assert_eq!(only(&health), (Severity::Warning, expected.to_owned()));
    health.timeouts(Some(Duration::from_mins(30)), None);
    assert!(
        only(&health).1.starts_with("flows last up to 1 min (announced active timeout: 30 min)")
    );
    health.credited(Crediting::SPREAD);
    assert_eq!(sentences(&health, 300), [], "spread flows make no lumps");
    health.longest_flow(Duration::from_mins(10));
    let (_, text) = only(&health);
    assert!(text.contains("are spread over 5 min at most, so rates are too high"), "{text}");
}

#[test]
fn absurd_durations() {
    let few = exporter(|health, second| health.absurd_durations(u64::from(second == 7)));
    let expected = "1 flow (0.03 %) of the last minutes had a duration that is negative or longer \
                    than the exporter's age; it was clamped";
    assert_eq!(only(&few), (Severity::Note, expected.to_owned()));
    assert_eq!(only(&exporter(|health, _| health.absurd_durations(5))).0, Severity::Warning);
}

#[test]
fn restarts() {
    let mut health = healthy();
    let mut next = 3000;
    let mut restart = |times: u32| {
        for _ in 0..times {
            health.datagram(at(299), None, Some(1_400_000));
            health.sequence(std::mem::replace(&mut next, 10), Some(10));
            health.datagram(at(299), None, Some(100));
            health.sequence(0, Some(10));
        }
        only(&health)
    };
    let once = (Severity::Note, "the exporter restarted in the last minutes".to_owned());
    assert_eq!(restart(1), once);
    let (severity, text) = restart(3);
    assert_eq!(severity, Severity::Warning);
    assert_eq!(text, "the exporter restarted 4 times in the last minutes");
}

#[test]
fn datagrams_out_of_order() {
    let mut health = ExporterHealth::new(at(0));
    for n in 0..100 {
        health.datagram(at(n), None, None);
        health.sequence((n ^ 1) as u32, Some(1));
    }
    let (severity, text) = sentences(&health, 100).remove(0);
    assert_eq!(severity, Severity::Warning);
    assert!(text.starts_with("50 % of the datagrams of the last minutes were late"), "{text}");
}

#[test]
fn agents() {
    let agent = |every: u32, drops: u32| {
        exporter(move |health, second| {
            for n in 0..10 {
                let sample = second as u32 * 10 + n;
                health.agent_drops(2, 1, sample * drops / 100, sample * every, 1000);
            }
        })
    };
    assert_eq!(sentences(&agent(1000, 0), 300), []);
    assert_eq!(sentences(&agent(1090, 0), 300), [], "9 % may be chance");
    let expected = "source 2 says that it samples 1 packet in 1000, and by its own pool samples 1 \
                    in 4000: rates are off by as much";
    assert_eq!(only(&agent(4000, 0)), (Severity::Problem, expected.to_owned()));
    let (severity, text) = only(&agent(1000, 25));
    assert_eq!(severity, Severity::Problem);
    assert!(text.starts_with("the agent itself dropped 749 samples (20 %) of the last"), "{text}");
}

#[test]
fn interfaces_that_differ() {
    let health = exporter(|health, second| {
        for index in 1..=5_u32 {
            for _ in 0..10 {
                health.sampled(index, Some(index), None, 100_000 * u64::from(index), 1000);
            }
            if second % 30 == 0 {
                let packets = second * 10_000;
                health.interface_counters(index, packets * 500, 0, packets, 0, 0, at(second));
            }
        }
    });
    let told = sentences(&health, 300);
    // Samples show 100, 200, 300, 400 and 500 bytes a packet, counters 500.
    let expected = "interface 1 receives 8.00 Mbit/s by its samples and 40.0 Mbit/s by its \
                    counters: the lengths in the samples are not those of the packets";
    assert_eq!(told[0], (Severity::Problem, expected.to_owned()));
    assert!(told[1].1.starts_with("interface 2 ") && told[2].1.starts_with("interface 3 "));
    assert_eq!(told.len(), 3, "20 % is within the tolerance");
    let report = health.summary();
    assert_eq!(report.interfaces.len(), 5);
}

#[test]
fn more_interfaces_than_are_named() {
    let health = exporter(|health, second| {
        health.sampled(99, Some(99), None, 1000, 100);
        for index in 1..=8 {
            if second % 60 == 59 {
                let octets = second * 1_000_000 * u64::from(index);
                health.interface_counters(index, octets, 0, second * 10_000, 0, 0, at(second));
            }
        }
    });
    let told = sentences(&health, 300);
    let first = "interface 8 receives 64.0 Mbit/s by its counters, and no sample shows any of it: \
                 sampling is not switched on there";
    assert_eq!(told[0], (Severity::Note, first.to_owned()));
    assert_eq!(told[3].1, "5 more like these, on other interfaces");
}

#[test]
fn the_worst_comes_first() {
    let mut health = exporter(|health, second| {
        health.longest_flow(Duration::from_mins(1));
        health.absurd_durations(u64::from(second == 7));
    });
    health.missing_template(300, at(299));
    let severities: Vec<_> = health.verdicts(at(2000)).iter().map(Verdict::severity).collect();
    assert_eq!(severities[0], Severity::Problem);
    assert!(severities.is_sorted_by_key(|severity| Reverse(*severity)) && severities.len() == 4);
}

#[test]
fn numbering() {
    let mut health = ExporterHealth::new(at(0));
    for n in 0..100_u32 {
        health.datagram(at(u64::from(n)), None, None);
        health.sequence(n * 25, Some(1));
        health.flows(25);
    }
    let (severity, text) = sentences(&health, 100).remove(0);
    assert_eq!(severity, Severity::Note);
    assert!(text.starts_with("the exporter numbers its flows where"), "{text}");
    assert_eq!(health.summary().lost, 0);
}
