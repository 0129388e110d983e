//! Answers of a running service in words.

use std::fmt::Write;

use serde_json::Value;

use super::number::{bits_per_second, bytes, counted, grouped, seconds};

fn number(value: &Value, path: &[&str]) -> u64 {
    path.iter().fold(value, |value, key| &value[*key]).as_u64().unwrap_or(0)
}

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    path.iter().fold(value, |value, key| &value[*key]).as_str().unwrap_or("-")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn rates(value: &Value) -> String {
    let (pps, bps, fps) =
        (number(value, &["pps"]), number(value, &["bps"]), number(value, &["fps"]));
    let (packets, bits) = (grouped(pps), bits_per_second(bps as f64));
    format!("{packets} packets/s, {bits}, {} flows/s", grouped(fps))
}

/// Of `tidewall status`.
pub fn status(answer: &Value) -> String {
    let mut out = String::new();
    let uptime = seconds(number(answer, &["uptime_seconds"]) as f64);
    _ = writeln!(
        out,
        "Tidewall {}, process {}, up {uptime}, memory {}",
        text(answer, &["version"]),
        number(answer, &["pid"]),
        bytes(number(answer, &["memory_bytes"])),
    );
    _ = writeln!(out, "Attacks    {} going on", grouped(number(answer, &["attacks"])));
    _ = writeln!(
        out,
        "Window     {} with traffic, {} ms behind, detector {} us",
        counted(number(answer, &["window", "hosts"]), "host"),
        number(answer, &["window", "lag_ms"]),
        number(answer, &["window", "detector_us"]),
    );
    for direction in ["incoming", "outgoing", "internal", "other"] {
        let totals = &answer["totals"][direction];
        let (pps, bps) = (number(totals, &["total", "pps"]), number(totals, &["total", "bps"]));
        _ = writeln!(
            out,
            "{direction:<10} {} packets/s, {}",
            grouped(pps),
            bits_per_second(bps as f64)
        );
    }
    _ = writeln!(
        out,
        "Records    {} received, {} counted",
        grouped(number(answer, &["records", "received"])),
        grouped(number(answer, &["records", "counted"])),
    );
    if let Some(drops) = answer["drops"].as_object() {
        for (reason, count) in drops {
            _ = writeln!(
                out,
                "           {} dropped: {reason}",
                grouped(count.as_u64().unwrap_or(0))
            );
        }
    }
    for worker in list(&answer["workers"]) {
        let source = &worker["source"];
        _ = writeln!(
            out,
            "Worker     {}: {} received, {} records, {} lost in the kernel",
            text(worker, &["name"]),
            grouped(number(source, &["received"])),
            grouped(number(worker, &["records"])),
            grouped(number(source, &["dropped_by_kernel"])),
        );
        if let Some(reason) = worker["failed"].as_str() {
            _ = writeln!(out, "           it failed: {reason}");
        }
    }
    out
}

/// Of `tidewall exporters`.
pub fn exporters(answer: &Value) -> String {
    let mut out = String::new();
    for exporter in list(answer) {
        let (datagrams, flows) = (number(exporter, &["datagrams"]), number(exporter, &["flows"]));
        _ = writeln!(
            out,
            "{} {} domain {}: {}, {}, last seen {}",
            text(exporter, &["exporter"]),
            text(exporter, &["protocol"]),
            number(exporter, &["domain"]),
            counted(datagrams, "datagram"),
            counted(flows, "record"),
            text(exporter, &["last_seen"]),
        );
        for verdict in list(&exporter["verdicts"]) {
            _ = writeln!(out, "    {}", verdict.as_str().unwrap_or_default());
        }
    }
    if out.is_empty() { "No exporter was heard yet.\n".to_owned() } else { out }
}

/// Of `tidewall hosts`.
pub fn hosts(answer: &Value) -> String {
    both_ways(answer, "host", "No host has traffic.\n")
}

/// Of `tidewall networks`.
pub fn networks(answer: &Value) -> String {
    let mut out = String::new();
    for network in list(answer) {
        for direction in ["incoming", "outgoing"] {
            let total = &network[direction]["total"];
            let (pps, bps) = (number(total, &["pps"]), number(total, &["bps"]));
            _ = writeln!(
                out,
                "{:<24} {direction} {} packets/s, {}, {} flows/s",
                text(network, &["network"]),
                grouped(pps),
                bits_per_second(bps as f64),
                grouped(number(&network[direction], &["fps"])),
            );
        }
    }
    if out.is_empty() { "No network has traffic.\n".to_owned() } else { out }
}

fn both_ways(answer: &Value, name: &str, none: &str) -> String {
    let mut out = String::new();
    for row in list(answer) {
        for direction in ["incoming", "outgoing"] {
            _ = writeln!(out, "{:<40} {direction} {}", text(row, &[name]), rates(&row[direction]));
        }
    }
    if out.is_empty() { none.to_owned() } else { out }
}

/// Of `tidewall attacks`.
pub fn attacks(answer: &Value) -> String {
    let mut out = String::new();
    for attack in list(answer) {
        _ = writeln!(out, "{}", line(attack));
    }
    if out.is_empty() { "No attack.\n".to_owned() } else { out }
}

/// Of `tidewall reload`.
pub fn reloaded(answer: &Value) -> String {
    format!("{}\n", text(answer, &["reloaded"]))
}

/// Of `tidewall events`: a line of JSON as a line of words.
pub fn event(json: &str) -> String {
    let Ok(event) = serde_json::from_str::<Value>(json) else { return json.to_owned() };
    match text(&event, &["event"]) {
        "lost" => format!("{} events were lost: too slow\n", number(&event, &["events"])),
        kind => format!("{} {kind} {}\n", text(&event, &["time"]), line(&event["attack"])),
    }
}

fn line(attack: &Value) -> String {
    let end = attack["ended"].as_str().map_or(String::new(), |end| format!(", over at {end}"));
    format!(
        "#{} {} {} {}: peak {} packets/s, {}; since {}{end}",
        number(attack, &["id"]),
        text(attack, &["target"]),
        text(attack, &["direction"]),
        text(attack, &["class"]),
        grouped(number(attack, &["peak_pps"])),
        bits_per_second(number(attack, &["peak_bps"]) as f64),
        text(attack, &["started"]),
    )
}
