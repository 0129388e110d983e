//! Answers as JSON values.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidewall_capture::SourceStatistics;
use tidewall_collect::{ExporterKey, Part};
use tidewall_engine::AverageRates;
use tidewall_model::{
    AttackEvent, AttackEventKind, Direction, DropCounters, Timestamp, TrafficClass, TrafficCounters,
};

use crate::exports::ExporterReport;
use crate::live::hub::{Hub, Roster, RosterPort};
use crate::live::snapshot::Snapshot;
use crate::report::attack_json;

/// One event as a line.
pub(super) fn event_line(event: &AttackEvent) -> String {
    let kind = match event.kind {
        AttackEventKind::Started => "started",
        AttackEventKind::Updated => "updated",
        AttackEventKind::Ended => "ended",
    };
    let mut line =
        json!({ "event": kind, "time": event.time, "attack": attack_json(&event.attack) })
            .to_string();
    line.push('\n');
    line
}

pub(crate) fn status(
    snapshot: &Snapshot,
    roster: &Roster,
    started: Timestamp,
    now: Timestamp,
) -> Value {
    let reports: Vec<_> = roster.workers.iter().map(|w| (w, w.report())).collect();
    let mut sum = roster.left.clone();
    for (_, report) in &reports {
        sum.count(report);
    }
    let mut drops = snapshot.stats.drops;
    drops.merge(&sum.drops);
    let totals: BTreeMap<String, Value> = Direction::ALL
        .into_iter()
        .zip(&snapshot.totals)
        .map(|(direction, counters)| (direction.to_string(), rates(counters, snapshot)))
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "started": started,
        "now": now,
        "uptime_seconds": now.since(started).as_secs(),
        "memory_bytes": resident_bytes(),
        "attacks": snapshot.attacks.len(),
        "window": {
            "start": snapshot.window.0,
            "length_ms": snapshot.window.1.as_millis() as u64,
            "lag_ms": now.since(snapshot.window.0 + snapshot.window.1).as_millis() as u64,
            "judged_after_ms": snapshot.behind.as_millis() as u64,
            "detector_us": snapshot.detector_took.as_micros() as u64,
            "hosts": snapshot.hosts_seen,
        },
        "totals": totals,
        "records": {
            "received": snapshot.stats.received,
            "counted": snapshot.stats.ingested,
            "hosts_refused": snapshot.stats.hosts_refused,
            "watch_refused": snapshot.stats.watch_refused,
        },
        "drops": nonzero(&drops),
        "received": source_json(&sum.source),
        "workers": reports.iter().map(|(worker, report)| json!({
            "name": worker.name,
            "cpu": worker.cpu(),
            "records": report.records,
            "load": share(report.load.core),
            "records_per_second": report.load.records.round() as u64,
            "source": source_json(&report.source),
            "drops": nonzero(&report.drops),
            "exporters": report.exporters.len(),
            "down": report.source.down,
            "failed": report.failed,
            "ended": report.ended,
        })).collect::<Vec<_>>(),
    })
}

/// Each exporter of a port once, whatever number of workers hear it.
pub(crate) fn exporters(roster: &Roster, now: Timestamp) -> Value {
    let mut list: Vec<(ExporterKey, Value)> = Vec::new();
    for port in &roster.ports {
        list.extend(exporters_of(port, now));
    }
    list.sort_by_key(|(key, _)| *key);
    Value::Array(list.into_iter().map(|(_, exporter)| exporter).collect())
}

fn exporters_of(port: &RosterPort, now: Timestamp) -> Vec<(ExporterKey, Value)> {
    let reports: Vec<_> = port.workers.iter().map(|worker| (worker, worker.latest())).collect();
    let mut parts: BTreeMap<ExporterKey, (&str, Vec<Part<'_>>)> = BTreeMap::new();
    for (worker, report) in &reports {
        for exporter in &report.exporters {
            let (name, parts) = parts.entry(exporter.key).or_default();
            *name = if parts.is_empty() { &worker.name } else { &port.name };
            parts.push(Part { report: &exporter.health, left: false });
        }
    }
    for exporter in port.left.iter() {
        // As long as somebody knows it.
        if let Some((_, parts)) = parts.get_mut(&exporter.key) {
            parts.push(Part { report: &exporter.health, left: true });
        }
    }
    let value = |(key, (name, parts)): (ExporterKey, (&str, Vec<Part<'_>>))| {
        let mut value = ExporterReport::join(&key, &parts, port.workers.len(), now)?.to_json();
        value["worker"] = json!(name);
        value["workers"] = json!(parts.iter().filter(|part| !part.left).count());
        Some((key, value))
    };
    parts.into_iter().filter_map(value).collect()
}

pub(crate) fn attacks(hub: &Hub, all: bool) -> Value {
    let mut list: Vec<Value> = hub.snapshot().attacks.iter().map(attack_json).collect();
    if all {
        list.extend(hub.finished().iter().map(|attack| attack_json(attack)));
    }
    Value::Array(list)
}

pub(crate) fn hosts(snapshot: &Snapshot, top: usize) -> Value {
    let list = snapshot.hosts.iter().take(top).map(|host| {
        json!({
            "host": host.address,
            "incoming": average(host.incoming),
            "outgoing": average(host.outgoing),
        })
    });
    Value::Array(list.collect())
}

pub(crate) fn networks(snapshot: &Snapshot) -> Value {
    let list = snapshot.networks.iter().map(|(network, counters)| {
        json!({
            "network": network,
            "incoming": rates(&counters.incoming, snapshot),
            "outgoing": rates(&counters.outgoing, snapshot),
        })
    });
    Value::Array(list.collect())
}

fn average(rates: AverageRates) -> Value {
    json!({
        "pps": rates.packets.round() as u64,
        "bps": rates.bits.round() as u64,
        "fps": rates.flows.round() as u64,
    })
}

/// Per second, by class; flows of all of them.
fn rates(counters: &TrafficCounters, snapshot: &Snapshot) -> Value {
    let seconds = snapshot.window.1.as_secs_f64().max(1e-3);
    let per_second = |count: u64| (count as f64 / seconds).round() as u64;
    let mut value = json!({});
    for class in TrafficClass::ALL {
        let count = counters.get(class);
        value[class.to_string()] =
            json!({ "pps": per_second(count.packets), "bps": per_second(count.bytes) * 8 });
    }
    value["fps"] = json!(per_second(counters.flows));
    value
}

/// A share with four digits: more of them say nothing.
fn share(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

fn nonzero(drops: &DropCounters) -> BTreeMap<&'static str, u64> {
    drops.nonzero().map(|(reason, count)| (reason.name(), count)).collect()
}

fn source_json(source: &SourceStatistics) -> Value {
    json!({
        "received": source.received,
        "bytes": source.bytes,
        "dropped_by_kernel": source.dropped_by_kernel,
        "dropped_by_interface": source.dropped_by_interface,
        "ring_full": source.ring_full,
        "freezes": source.freezes,
        "truncated": source.truncated,
        "refused": source.refused,
        "filtered": source.filtered,
        "restarts": source.restarts,
    })
}

/// Memory of this process that is in RAM, as the kernel tells.
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
