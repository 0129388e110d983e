//! The report as one JSON object. Keys are part of the interface: they are added, not changed.

use std::collections::BTreeMap;

use serde::Serialize;
use tidewall_model::{
    Address, Attack, AttackClass, AttackId, Count, Direction, DropReason, Family, Metric, Prefix,
    Sample, Target, Timestamp, TopTuples, TrafficClass, TrafficCounters, Vector,
};

use super::filters::{FilterReport, MeasuredReport, filter_reports, measured};
use crate::replay::{FileSummary, Outcome};

/// The whole report, without a line end.
pub fn to_json(outcome: &Outcome) -> String {
    // Maps have text keys and no value fails to serialise, so there is nothing to fail.
    serde_json::to_string_pretty(&Report::from(outcome)).unwrap_or_default()
}

/// One attack as an object, as in the report.
pub fn attack_json(attack: &Attack) -> serde_json::Value {
    serde_json::to_value(AttackReport::from(attack)).unwrap_or_default()
}

/// An attack with what its filters took of the captures.
fn measured_attack<'a>(attack: &'a Attack, outcome: &'a Outcome) -> AttackReport<'a> {
    let measured = measured(attack, outcome).map(MeasuredReport::from);
    AttackReport { measured, ..AttackReport::from(attack) }
}

#[derive(Serialize)]
struct Report<'a> {
    files: Vec<File<'a>>,
    networks: Networks<'a>,
    replay: Replay,
    totals: Totals<'a>,
    drops: BTreeMap<&'static str, u64>,
    top_hosts: Vec<Host>,
    attacks: Vec<AttackReport<'a>>,
    stats: Stats,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct File<'a> {
    name: &'a str,
    packets: u64,
    bytes: u64,
    truncated: bool,
    damaged: bool,
}

#[derive(Serialize)]
struct Networks<'a> {
    prefixes: &'a [Prefix],
    guessed: bool,
}

#[derive(Serialize)]
struct Replay {
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    seconds: f64,
    speed: f64,
    rounds: u32,
    sampling_rate: u32,
}

/// Packets as received, and traffic by direction and class.
#[derive(Serialize)]
struct Totals<'a> {
    received: Count,
    counted_packets: u64,
    dropped_packets: u64,
    incoming: Classes<'a>,
    outgoing: Classes<'a>,
    internal: Classes<'a>,
    other: Classes<'a>,
}

/// Counters without flows, which have no meaning over more than a window.
struct Classes<'a>(&'a TrafficCounters);

impl Serialize for Classes<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(TrafficClass::ALL.map(|class| (class, self.0.get(class))))
    }
}

#[derive(Serialize)]
struct Host {
    #[serde(rename = "host")]
    address: Address,
    family: Family,
    incoming: Count,
    outgoing: Count,
}

#[derive(Serialize)]
struct AttackReport<'a> {
    id: AttackId,
    target: &'a Target,
    family: Family,
    direction: Direction,
    class: AttackClass,
    vectors: &'a [Vector],
    reason: ReasonReport<'a>,
    started: Timestamp,
    detected: Timestamp,
    detected_after_ms: u64,
    ended: Option<Timestamp>,
    peak_pps: u64,
    peak_bps: u64,
    peak_flows: u64,
    packets: u64,
    bytes: u64,
    top: &'a TopTuples,
    filters: Vec<FilterReport<'a>>,
    /// Of a replay only.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<MeasuredReport>,
    sample: &'a [Sample],
}

#[derive(Serialize)]
struct ReasonReport<'a> {
    metric: Metric,
    direction: Direction,
    value: f64,
    limit: f64,
    group: &'a str,
    window_ms: u64,
    samples: u64,
}

#[derive(Serialize)]
struct Stats {
    hosts: u64,
    late_packets: u64,
    hosts_refused: u64,
    watch_refused: u64,
    time_outliers: u64,
    clock_set_back: u64,
}

impl<'a> From<&'a Outcome> for Report<'a> {
    fn from(outcome: &'a Outcome) -> Self {
        let [incoming, outgoing, internal, other] = outcome.totals.each_ref().map(Classes);
        let sum = |of: fn(&FileSummary) -> u64| outcome.files.iter().map(of).sum();
        Self {
            files: outcome.files.iter().map(File::from).collect(),
            networks: Networks { prefixes: &outcome.networks, guessed: outcome.guessed },
            replay: Replay {
                first: outcome.span.map(|(first, _)| first),
                last: outcome.span.map(|(_, last)| last),
                seconds: outcome.seconds(),
                speed: outcome.pace.0,
                rounds: outcome.pace.1,
                sampling_rate: outcome.sampling.get(),
            },
            totals: Totals {
                received: outcome.received,
                counted_packets: outcome.stats.ingested,
                dropped_packets: outcome.drops.total(),
                incoming,
                outgoing,
                internal,
                other,
            },
            drops: DropReason::ALL.iter().map(|r| (r.name(), outcome.drops.get(*r))).collect(),
            top_hosts: outcome.top_hosts.iter().map(Host::from).collect(),
            attacks: outcome
                .attacks
                .iter()
                .map(|attack| measured_attack(attack, outcome))
                .collect(),
            stats: Stats {
                hosts: outcome.hosts,
                late_packets: outcome.stats.late,
                hosts_refused: outcome.stats.hosts_refused,
                watch_refused: outcome.stats.watch_refused,
                time_outliers: sum(|file| file.outliers),
                clock_set_back: sum(|file| file.set_back),
            },
            warnings: outcome.warnings(),
        }
    }
}

impl<'a> From<&'a FileSummary> for File<'a> {
    fn from(file: &'a FileSummary) -> Self {
        Self {
            name: &file.name,
            packets: file.packets,
            bytes: file.bytes,
            truncated: file.truncated.is_some(),
            damaged: file.damaged.is_some(),
        }
    }
}

impl From<&crate::replay::HostTotal> for Host {
    fn from(host: &crate::replay::HostTotal) -> Self {
        Self {
            address: host.address,
            family: host.address.family,
            incoming: host.incoming,
            outgoing: host.outgoing,
        }
    }
}

impl<'a> From<&'a Attack> for AttackReport<'a> {
    fn from(attack: &'a Attack) -> Self {
        let reason = &attack.reason;
        let after = attack.detected.since(attack.started);
        Self {
            id: attack.id,
            target: &attack.target,
            family: attack.family,
            direction: attack.direction,
            class: attack.class,
            vectors: &attack.vectors,
            reason: ReasonReport {
                metric: reason.metric,
                direction: reason.direction,
                value: reason.value,
                limit: reason.limit,
                group: &reason.group,
                window_ms: reason.window_ms,
                samples: reason.samples,
            },
            started: attack.started,
            detected: attack.detected,
            detected_after_ms: after.as_millis() as u64,
            ended: attack.ended,
            peak_pps: attack.peak_pps,
            peak_bps: attack.peak_bps,
            peak_flows: attack.peak_flows,
            packets: attack.packets,
            bytes: attack.bytes,
            top: &attack.top,
            filters: filter_reports(attack),
            measured: None,
            sample: &attack.samples,
        }
    }
}
