use tidewall_collect::{ExportProtocol, ExporterHealth};
use tidewall_model::Timestamp;

use super::*;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn place() -> Place {
    Place { name: "netflow [::]:2055".to_owned(), flows: true, relief: "raise `workers`" }
}

/// Of a worker for which the kernel has dropped so many.
fn dropped(count: u64) -> WorkerReport {
    let mut report = WorkerReport::default();
    report.source.dropped_by_kernel = count;
    report
}

/// Of a worker with exporters that have restarted so often, and sent so many broken records.
fn exporters(list: &[(u8, u64, u64)]) -> WorkerReport {
    exporters_of(ExportProtocol::NetflowV9, list)
}

fn exporters_of(protocol: ExportProtocol, list: &[(u8, u64, u64)]) -> WorkerReport {
    let mut report = WorkerReport::default();
    for &(number, restarts, broken) in list {
        let address = IpAddr::from([192, 0, 2, number]);
        let key = ExporterKey { protocol, address, port: 0, agent: address, domain: 7 };
        let mut health = ExporterHealth::new(Timestamp(1)).summary();
        health.restarts = restarts;
        health.drops = vec![(DropReason::RecordMalformed, broken)];
        report.drops.add(DropReason::RecordMalformed, broken);
        report.exporters.push(ExporterReport { key, health, verdicts: Vec::new() });
    }
    report
}

/// What is told when a worker's reports are looked at, one each second.
fn told(reports: &[WorkerReport]) -> Vec<Line> {
    told_of(&[reports])
}

/// The same of several workers of a port.
fn told_of(workers: &[&[WorkerReport]]) -> Vec<Line> {
    let mut troubles = Troubles::default();
    let mut lines = Vec::new();
    for second in 1..workers[0].len() {
        let report = |worker: &[WorkerReport], at: usize| Arc::new(worker[at].clone());
        let pair = |worker: &&[WorkerReport]| (report(worker, second - 1), report(worker, second));
        troubles.compare(&place(), &workers.iter().map(pair).collect::<Vec<_>>());
        lines.extend(troubles.tell(seconds(second as u64 - 1)));
    }
    lines
}

fn texts(lines: Vec<Line>) -> Vec<String> {
    lines.into_iter().map(|line| line.text).collect()
}

#[test]
fn a_loss_that_lasts_has_a_line_at_its_beginning_and_one_at_its_end() {
    // Ten a second, for two minutes; then nothing.
    let counts = (0..=120).chain([120; 90]);
    let reports: Vec<_> = counts.map(|n| dropped(n * 10)).collect();
    let lines = told(&reports);
    assert_eq!(lines.iter().map(|line| line.warning).collect::<Vec<_>>(), [true, false]);
    assert_eq!(
        texts(lines),
        [
            "netflow [::]:2055: the kernel dropped 10 datagrams, not taken in time; raise `workers`",
            "netflow [::]:2055: over, after 119 s: the kernel dropped 1200 datagrams, not taken in \
             time in all",
        ]
    );
}

#[test]
fn what_happens_once_has_one_line_and_comes_anew_after_a_quiet_minute() {
    let counts = [[0; 1].as_slice(), &[5; 50], &[5; 50], &[9; 70]].concat();
    let reports: Vec<_> = counts.into_iter().map(dropped).collect();
    let lines = texts(told(&reports));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains(" 5 datagrams") && lines[1].contains(" 4 datagrams"), "{lines:?}");
}

#[test]
fn what_does_not_end_is_told_once_an_hour() {
    let reports: Vec<_> = (0..=2 * 3600).map(dropped).collect();
    let lines = texts(told(&reports));
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("still: the kernel dropped 3600 datagrams"), "{lines:?}");
}

#[test]
fn exporters_are_named_with_their_reasons() {
    let lines = told(&[
        exporters(&[(1, 0, 0)]),
        exporters(&[(1, 0, 0), (2, 0, 3)]),
        // Both start anew, one of them as another worker tells a moment later.
        exporters(&[(1, 1, 0), (2, 1, 3)]),
        exporters(&[(1, 2, 0), (2, 1, 3)]),
    ]);
    let expected = [
        "exporter 192.0.2.2 (netflow9, domain 7): 3 times record_malformed: A flow record could",
        "exporter 192.0.2.1 (netflow9, domain 7) has started anew; ",
        "exporter 192.0.2.2 (netflow9, domain 7) has started anew; ",
    ];
    let lines = texts(lines);
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("netflow [::]:2055: {expected}")), "{line}");
    }
}

#[test]
fn a_restart_that_several_workers_hear_of_is_one() {
    let sflow = |restarts| exporters_of(ExportProtocol::Sflow, &[(1, restarts, 0)]);
    let rest = vec![sflow(1); 100];
    for late in [1, 2, 20] {
        let first = [vec![sflow(0)], rest.clone()].concat();
        let second = [vec![sflow(0); late], rest[late - 1..].to_vec()].concat();
        let lines = texts(told_of(&[&first, &second]));
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("domain 7) has started anew; "), "{lines:?}");
    }
}

#[test]
fn many_exporters_have_few_lines_and_none_is_lost_from_the_sum() {
    let all = |broken| exporters(&(0..=255).map(|n| (n, 0, broken)).collect::<Vec<_>>());
    let reports: Vec<_> = [all(0), all(1)].into_iter().chain(vec![all(2); 80]).collect();
    let lines = texts(told(&reports));
    let begun: Vec<_> = lines.iter().filter(|line| !line.contains("over")).collect();
    assert_eq!(begun.len(), NAMED + 1, "{begun:#?}");
    let rest = 256 - NAMED;
    for sum in [rest, 2 * rest].map(|sum| format!(": {sum} times record_malformed")) {
        assert!(lines.iter().any(|line| line.contains(&sum)), "{sum}: {lines:#?}");
    }
}

#[test]
fn who_is_no_exporter_is_told_by_the_last_sender() {
    let mut report = WorkerReport::default();
    report.drops.add(DropReason::DatagramVersion, 12);
    report.unread = Some((IpAddr::from([10, 0, 0, 1]), DropReason::DatagramVersion));
    let lines = texts(told(&[WorkerReport::default(), report]));
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains("12 times datagram_version: "), "{lines:?}");
    assert!(lines[0].contains(", the last one from 10.0.0.1; "), "{lines:?}");
}

#[test]
fn what_is_meant_is_not_told() {
    let mut report = WorkerReport::default();
    report.drops.add(DropReason::NatEvent, 12);
    report.drops.add(DropReason::NotIp, 12);
    assert_eq!(told(&[WorkerReport::default(), report]), []);
}

/// What is told of an interface: how often it fell and whether it is down, each second.
fn link(seen: &[(u64, bool)]) -> Vec<String> {
    let mut troubles = Troubles::default();
    let look = |(second, &(falls, down))| troubles.link("eth1", falls, down, seconds(second));
    let lines = (0..).zip(seen).filter_map(look);
    lines.map(|line| line.text).collect()
}

#[test]
fn an_interface_is_told_as_down_and_as_up_again() {
    let up_and_down = [(0, false), (1, true), (1, true), (1, true), (1, false), (1, false)];
    assert_eq!(
        link(&up_and_down),
        [
            "eth1: the interface is down: nothing comes from it (`ip link`)",
            "eth1: the interface is up again, after 3 s",
        ]
    );
    assert_eq!(link(&[(0, true), (0, true)]).len(), 1, "down from the start");
    assert_eq!(link(&[(0, true), (0, false)]), [""; 0], "just up");
    // Too short to be seen.
    assert_eq!(link(&[(3, false), (4, false)]), ["eth1: the interface went down, and is up again"]);
}

#[test]
fn an_interface_that_comes_and_goes_has_few_lines() {
    let seen: Vec<_> = (0..180).map(|second| (second / 2, second % 2 == 1)).collect();
    let lines = link(&seen);
    assert!((3..=8).contains(&lines.len()), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("times")), "{lines:#?}");
}
