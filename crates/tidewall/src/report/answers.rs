//! Answers of a running service in words.

pub mod bgp;
pub mod mitigations;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use serde_json::Value;
use tidewall_model::DropReason;

use super::number::{bits_per_second, bytes, counted, grouped, percent, seconds};

fn number(value: &Value, path: &[&str]) -> u64 {
    path.iter().fold(value, |value, key| &value[*key]).as_u64().unwrap_or(0)
}

fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    path.iter().fold(value, |value, key| &value[*key]).as_str().unwrap_or("-")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Columns, each as wide as it must be: words to the left, the rest to the right.
fn columns(out: &mut String, words: usize, rows: &[Vec<String>]) {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let gap = if column == 0 { "" } else { "  " };
            _ = if column < words {
                write!(line, "{gap}{cell:<width$}")
            } else {
                write!(line, "{gap}{cell:>width$}")
            };
        }
        _ = writeln!(out, "{}", line.trim_end());
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

/// Rows beneath a head, each with lines of its own beneath it.
struct Table {
    words: usize,
    rows: Vec<Vec<String>>,
    notes: Vec<Vec<String>>,
}

impl Table {
    /// The first `words` columns are words; the others are to the right.
    fn new(words: usize, head: &[&str]) -> Self {
        let head = head.iter().map(|&cell| cell.to_owned()).collect();
        Self { words, rows: vec![head], notes: vec![Vec::new()] }
    }

    fn add(&mut self, row: Vec<String>, notes: Vec<String>) {
        self.rows.push(row);
        self.notes.push(notes);
    }

    fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    fn write(&self, out: &mut String) {
        let mut table = String::new();
        columns(&mut table, self.words, &self.rows);
        for (line, notes) in table.lines().zip(&self.notes) {
            _ = writeln!(out, "{line}");
            for note in notes {
                _ = writeln!(out, "    {note}");
            }
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// `2026-11-21 10:30:00` of a time as JSON has it.
fn when(time: &Value) -> String {
    let Some(text) = time.as_str() else { return "-".to_owned() };
    match text.split_once('T') {
        Some((date, clock)) if clock.len() >= 8 => {
            format!("{date} {}", clock.get(..8).unwrap_or(clock))
        }
        _ => text.to_owned(),
    }
}

/// An answer without control characters: some of its texts come from other machines, and are
/// going to a terminal.
pub fn printable(answer: &Value) -> Value {
    match answer {
        Value::String(text) => Value::String(printable_text(text)),
        Value::Array(list) => list.iter().map(printable).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields.map(|(name, value)| (printable_text(name), printable(value))).collect()
        }
        other => other.clone(),
    }
}

/// A text without control characters.
pub fn printable_text(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Packets, bits and flows per second.
fn rates(value: &Value) -> [String; 3] {
    let [pps, bps, fps] = ["pps", "bps", "fps"].map(|unit| number(value, &[unit]));
    [grouped(pps), bits_per_second(bps as f64), grouped(fps)]
}

/// Of `tidewall status`.
pub fn status(answer: &Value) -> String {
    let mut out = String::new();
    _ = writeln!(
        out,
        "Tidewall {}, process {}, up {}, {} of memory",
        text(answer, &["version"]),
        number(answer, &["pid"]),
        seconds(number(answer, &["uptime_seconds"]) as f64),
        bytes(number(answer, &["memory_bytes"])),
    );
    let attacks = match number(answer, &["attacks"]) {
        0 => "No attack goes on".to_owned(),
        1 => "1 ATTACK goes on: see `tidewall attacks`".to_owned(),
        many => format!("{} ATTACKS go on: see `tidewall attacks`", grouped(many)),
    };
    _ = writeln!(out, "{attacks}\n");
    let mut rows = vec![row(["TRAFFIC", "packets/s", "rate"])];
    for direction in ["incoming", "outgoing", "internal", "other"] {
        let [pps, bps, _] = rates(&answer["totals"][direction]["total"]);
        rows.push(row([direction, &pps, &bps]));
    }
    columns(&mut out, 1, &rows);
    window(&mut out, &answer["window"]);
    sources(&mut out, &answer["workers"]);
    losses(&mut out, answer);
    out
}

fn window(out: &mut String, window: &Value) {
    let (length, lag) = (number(window, &["length_ms"]), number(window, &["lag_ms"]));
    if length == 0 {
        _ = writeln!(out, "\nNothing was received yet");
        return;
    }
    _ = writeln!(
        out,
        "\nThe last window of {} had {} and was judged in {}, {} after its end",
        seconds(length as f64 / 1e3),
        counted(number(window, &["hosts"]), "host"),
        seconds(number(window, &["detector_us"]) as f64 / 1e6),
        seconds(number(window, &["judged_after_ms"]) as f64 / 1e3),
    );
    if lag > 2 * length + 100 {
        _ = writeln!(
            out,
            "It ended {} ago: there is no traffic, or detection is late",
            seconds(lag as f64 / 1e3)
        );
    }
}

fn sources(out: &mut String, workers: &Value) {
    let head = ["SOURCE", "load", "records/s", "received", "bytes", "records", "lost", "refused"];
    let mut rows = vec![row(head)];
    for worker in list(workers) {
        let count = |key: &str| grouped(number(worker, &["source", key]));
        let [received, lost, refused] = ["received", "dropped_by_kernel", "refused"].map(count);
        let size = bytes(number(worker, &["source", "bytes"]));
        let records = grouped(number(worker, &["records"]));
        let load = percent(worker["load"].as_f64().unwrap_or(0.0));
        let rate = grouped(number(worker, &["records_per_second"]));
        let name = text(worker, &["name"]);
        rows.push(row([name, &load, &rate, &received, &size, &records, &lost, &refused]));
    }
    out.push('\n');
    columns(out, 1, &rows);
    _ = writeln!(out, "(load: of one core, in the last second)");
    for worker in list(workers) {
        let name = text(worker, &["name"]);
        if let Some(reason) = worker["failed"].as_str() {
            _ = writeln!(out, "{name}: NOT RECEIVED FROM: {reason}");
        }
        if worker["ended"] == true {
            _ = writeln!(out, "{name}: its input has ended");
        }
        if worker["down"] == true {
            _ = writeln!(out, "{name}: the interface is down");
        }
        let restarts = number(worker, &["source", "restarts"]);
        if restarts > 0 {
            _ = writeln!(out, "{name}: began anew {}", counted(restarts, "time"));
        }
    }
}

/// What came and was not counted, and what did not come.
fn losses(out: &mut String, answer: &Value) {
    let records = &answer["records"];
    _ = writeln!(
        out,
        "\n{} were made, {} of them counted",
        counted(number(records, &["received"]), "record"),
        grouped(number(records, &["counted"])),
    );
    let mut rows: Vec<(String, String)> = Vec::new();
    let source = &answer["received"];
    for (key, what) in [
        ("dropped_by_kernel", "lost in the kernel: more `workers` or a larger buffer help"),
        ("dropped_by_interface", "lost by the network card or its driver"),
        ("refused", "refused: their senders are not on the list `allow` under [listen]"),
        ("truncated", "cut short before they came here"),
        ("filtered", "taken out by the filter in the kernel"),
    ] {
        let count = number(source, &[key]);
        if count > 0 {
            rows.push((grouped(count), what.to_owned()));
        }
    }
    for (key, what) in [
        ("hosts_refused", "records counted for their network only: the table of hosts is full"),
        ("watch_refused", "hosts not watched closely: too many at once"),
    ] {
        let count = number(records, &[key]);
        if count > 0 {
            rows.push((grouped(count), what.to_owned()));
        }
    }
    for (name, count) in answer["drops"].as_object().into_iter().flatten() {
        let reason = DropReason::ALL.iter().find(|reason| reason.name() == name);
        let sentence = reason.map_or("", |reason| reason.sentence());
        let count = grouped(count.as_u64().unwrap_or(0));
        rows.push((count, format!("{name}: {sentence}")));
    }
    if rows.is_empty() {
        _ = writeln!(out, "Nothing was lost");
    } else {
        _ = writeln!(out, "\nNOT COUNTED since the start");
        let width = rows.iter().map(|(count, _)| count.len()).max().unwrap_or(0);
        for (count, what) in rows {
            _ = writeln!(out, "  {count:>width$}  {what}");
        }
    }
}

/// Of `tidewall exporters`.
pub fn exporters(answer: &Value) -> String {
    let mut out = String::new();
    for exporter in list(answer) {
        let (datagrams, flows) = (number(exporter, &["datagrams"]), number(exporter, &["flows"]));
        _ = writeln!(
            out,
            "{} {} domain {}: {}, {}, last seen {}{}",
            text(exporter, &["exporter"]),
            text(exporter, &["protocol"]),
            number(exporter, &["domain"]),
            counted(datagrams, "datagram"),
            counted(flows, "record"),
            text(exporter, &["last_seen"]),
            match number(exporter, &["workers"]) {
                0 | 1 => String::new(),
                workers => format!(", dealt to {workers} workers"),
            },
        );
        if exporter["compared"] == false && text(exporter, &["protocol"]) == "sflow" {
            let not = "samples are not compared with the agent's pool and its interfaces' counters";
            _ = writeln!(out, "    {not}: several workers have a part of them each");
        }
        for verdict in list(&exporter["verdicts"]) {
            _ = writeln!(out, "    {}", verdict.as_str().unwrap_or_default());
        }
    }
    if out.is_empty() { "No exporter was heard yet.\n".to_owned() } else { out }
}

/// Of `tidewall hosts`.
pub fn hosts(answer: &Value) -> String {
    both_ways(answer, "host", "No host has traffic.\n", |rates| rates)
}

/// Of `tidewall networks`.
pub fn networks(answer: &Value) -> String {
    both_ways(answer, "network", "No network has traffic.\n", |rates| &rates["total"])
}

/// A row for each, incoming and outgoing beside each other. `total` finds the packets and bits.
fn both_ways(answer: &Value, name: &str, none: &str, total: fn(&Value) -> &Value) -> String {
    if list(answer).is_empty() {
        return none.to_owned();
    }
    let units = ["packets/s", "rate", "flows/s"];
    let mut head = row([&*name.to_uppercase(), "in packets/s", "in rate", "in flows/s"]);
    head.extend(units.map(|unit| format!("out {unit}")));
    let mut rows = vec![head];
    for item in list(answer) {
        let mut cells = row([text(item, &[name])]);
        for direction in ["incoming", "outgoing"] {
            let [pps, bps, _] = rates(total(&item[direction]));
            cells.extend([pps, bps, grouped(number(&item[direction], &["fps"]))]);
        }
        rows.push(cells);
    }
    let mut out = String::new();
    columns(&mut out, 1, &rows);
    out
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
