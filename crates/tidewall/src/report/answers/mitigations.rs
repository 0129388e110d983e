//! What is done about attacks, in words: bans, decisions, actions, the past.

use std::fmt::Write;

use serde_json::{Map, Value};
use tidewall_model::Timestamp;

use super::{Table, list, number, row, text, when};
use crate::journal::{self, History};
use crate::replay::parse_time;
use crate::report::number::{bytes, counted, grouped};

/// Of `tidewall bans`; `now` tells how much time is left.
pub fn bans(answer: &Value, now: Timestamp) -> String {
    let mut out = String::new();
    if let Some(who) = answer["held"].as_str() {
        _ = writeln!(
            out,
            "THE BRAKE IS PULLED, by {who}: nothing is done about attacks until `tidewall resume`"
        );
    }
    if let Some(why) = answer["waits"].as_str() {
        let why = why.strip_prefix("waits: ").unwrap_or(why);
        _ = writeln!(out, "Routes for attacks wait: {why}");
    }
    let head = [
        "ID",
        "TARGET",
        "DIRECTION",
        "KIND",
        "STATUS",
        "SINCE (UTC)",
        "UNTIL (UTC)",
        "LEFT",
        "WHO",
        "REASON",
    ];
    let mut table = Table::new(head.len(), &head);
    for mitigation in list(&answer["mitigations"]) {
        table.add(ban_row(mitigation, now), ban_notes(mitigation));
    }
    if table.is_empty() {
        out.push_str("Nothing is done about any target.\n");
        return out;
    }
    table.write(&mut out);
    let stats = &answer["stats"];
    let [up, waiting, withdrawing, routes] =
        ["up", "waiting", "withdrawing", "routes"].map(|key| number(stats, &[key]));
    _ = write!(out, "\n{} up, with {}", grouped(up), counted(routes, "route"));
    if withdrawing > 0 {
        _ = write!(out, "; {} being withdrawn", grouped(withdrawing));
    }
    if waiting > 0 {
        _ = write!(out, "; {} for approval: `tidewall approve ID`", verb(waiting, "wait"));
    }
    out.push('\n');
    out
}

fn verb(count: u64, word: &str) -> String {
    let ending = if count == 1 { "s" } else { "" };
    format!("{} {word}{ending}", grouped(count))
}

fn ban_row(mitigation: &Value, now: Timestamp) -> Vec<String> {
    let ends = mitigation["ends"].as_str().and_then(|time| parse_time(time).ok());
    let left = ends.map_or_else(
        || "-".to_owned(),
        |ends| match ends.since(now).as_secs() {
            0 => "over".to_owned(),
            left => time_left(left),
        },
    );
    let mut kind = variant(&mitigation["kind"]).0.replace("flow_spec", "filter");
    if mitigation["dry_run"] == true {
        kind.push_str(" (dry run)");
    }
    let (who, why) = causes(&mitigation["causes"]);
    row([
        &number(mitigation, &["id"]).to_string(),
        text(mitigation, &["target"]),
        text(mitigation, &["direction"]),
        &kind,
        &variant(&mitigation["status"]).0.replace('_', " "),
        &when(&mitigation["created"]),
        &when(&mitigation["ends"]),
        &left,
        &who,
        &why,
    ])
}

fn ban_notes(mitigation: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    if let (name, Some(rule)) = variant(&mitigation["kind"])
        && name == "flow_spec"
    {
        notes.push(filter(rule));
    }
    if let (name, Some(why)) = variant(&mitigation["status"])
        && name == "failed"
    {
        notes.push(format!("failed: {}", why.as_str().unwrap_or("no reason")));
    }
    let round = number(mitigation, &["round"]);
    if round > 0 {
        notes.push(format!("mitigated {} shortly before", counted(round, "time")));
    }
    notes
}

/// Name of a variant as serde writes it, and what it holds.
fn variant(value: &Value) -> (&str, Option<&Value>) {
    match value {
        Value::String(name) => (name, None),
        Value::Object(fields) => {
            fields.iter().next().map_or(("-", None), |(name, held)| (name, Some(held)))
        }
        _ => ("-", None),
    }
}

/// Persons, and what they and attacks are the reason for.
fn causes(causes: &Value) -> (String, String) {
    let (mut who, mut why) = (Vec::new(), Vec::new());
    for cause in list(causes) {
        match variant(&cause["by"]) {
            ("operator", Some(person)) => {
                who.push(text(person, &["who"]).to_owned());
                let said = text(person, &["why"]);
                if !said.is_empty() {
                    why.push(said.to_owned());
                }
            }
            ("attack", Some(attack)) => why.push(format!("attack {}", number(attack, &["id"]))),
            _ => {}
        }
    }
    who.dedup();
    let joined = |words: Vec<String>| {
        if words.is_empty() { "-".to_owned() } else { words.join(", ") }
    };
    (joined(who), joined(why))
}

/// A filter rule in words.
fn filter(rule: &Value) -> String {
    let mut words = Vec::new();
    if let Some(protocol) = rule["protocol"].as_u64() {
        words.push(match protocol {
            1 => "ICMP".to_owned(),
            6 => "TCP".to_owned(),
            17 => "UDP".to_owned(),
            47 => "GRE".to_owned(),
            58 => "ICMPv6".to_owned(),
            other => format!("protocol {other}"),
        });
    }
    if let Some(source) = rule["source"].as_str() {
        words.push(format!("from {source}"));
    }
    for (key, name) in [
        ("source_ports", "source port"),
        ("destination_ports", "destination port"),
        ("packet_lengths", "packet length in bytes"),
    ] {
        let ranges: Vec<String> = list(&rule[key]).iter().map(range).collect();
        if !ranges.is_empty() {
            words.push(format!("{name} {}", ranges.join(" or ")));
        }
    }
    if let Some(flags) = rule["tcp_flags"].as_u64() {
        words.push(format!("TCP flags {flags:#04x}"));
    }
    if let Some(fragment) = rule["fragment"].as_bool() {
        words.push(if fragment { "fragments" } else { "no fragments" }.to_owned());
    }
    let packets = if words.is_empty() { "all packets".to_owned() } else { words.join(", ") };
    match variant(&rule["action"]) {
        ("rate_limit", Some(rate)) => {
            format!("{packets}: at most {}/s", bytes(rate.as_u64().unwrap_or(0)))
        }
        _ => format!("{packets}: dropped"),
    }
}

fn range(range: &Value) -> String {
    let [first, last] = [0, 1].map(|end| range[end].as_u64().unwrap_or(0));
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// `45 s`, `12 min 05 s`, `3 h 07 min`, `12 d 4 h`.
fn time_left(left: u64) -> String {
    let (days, hours, minutes) = (left / 86_400, left / 3_600, left / 60);
    match left {
        0..60 => format!("{left} s"),
        60..3_600 => format!("{minutes} min {:02} s", left % 60),
        3_600..172_800 => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{} d {} h", grouped(days), hours % 24),
    }
}

/// Of `tidewall ban` and all else that decides something: a line for each decision.
pub fn decisions(answer: &Value) -> String {
    let lines = list(&answer["decisions"]).iter().map(|decision| text(decision, &["text"]));
    let lines: Vec<&str> = lines.collect();
    if lines.is_empty() {
        return "Nothing had to be changed.\n".to_owned();
    }
    lines.join("\n") + "\n"
}

/// Of `tidewall actions`.
pub fn actions(answer: &Value) -> String {
    let mut out = String::new();
    let head =
        ["ACTION", "KIND", "LAST SUCCESS (UTC)", "queued", "running", "done", "failed", "lost"];
    let mut table = Table::new(3, &head);
    for action in list(&answer["actions"]) {
        let count = |keys: &[&str]| grouped(either(action, keys));
        let cells = [
            text(action, &["name"]),
            text(action, &["kind"]),
            &when(&action["last_success"]),
            &count(&["queued", "waiting"]),
            &count(&["under_way", "running"]),
            &count(&["done"]),
            &count(&["failed"]),
            &count(&["lost", "dropped"]),
        ];
        table.add(row(cells), last_error(action));
    }
    if table.is_empty() {
        out.push_str("No action is configured: nobody is told.\n");
    } else {
        table.write(&mut out);
    }
    let head = ["ANNOUNCER", "KIND", "STATE", "desired", "announced", "waiting", "done", "failed"];
    let mut table = Table::new(3, &head);
    for announcer in list(&answer["announcers"]) {
        let count = |key: &str| grouped(number(announcer, &[key]));
        let state = match announcer["up"].as_bool() {
            Some(true) => "up",
            Some(false) => "DOWN",
            None => "-",
        };
        let [desired, announced, waiting, done, failed] =
            ["desired", "announced", "waiting", "done", "failed"].map(count);
        let (name, kind) = (text(announcer, &["name"]), text(announcer, &["kind"]));
        let mut notes = last_error(announcer);
        if let Some(daemon) = announcer["daemon"].as_str().filter(|text| !text.is_empty()) {
            notes.insert(0, daemon.to_owned());
        }
        let cells = [name, kind, state, &desired, &announced, &waiting, &done, &failed];
        table.add(row(cells), notes);
    }
    if !table.is_empty() {
        out.push('\n');
        table.write(&mut out);
    }
    out
}

/// The first of these counters that is there.
fn either(value: &Value, keys: &[&str]) -> u64 {
    keys.iter().find_map(|key| value[*key].as_u64()).unwrap_or(0)
}

/// `last_error` as a note: a text, or a time and a text.
pub(super) fn last_error(value: &Value) -> Vec<String> {
    let error = &value["last_error"];
    let (time, said) = match error {
        Value::String(said) => (&Value::Null, said.as_str()),
        Value::Array(pair) => match pair.as_slice() {
            [time, Value::String(said)] => (time, said.as_str()),
            _ => return Vec::new(),
        },
        Value::Object(fields) => {
            let time = fields.get("at").or_else(|| fields.get("time")).unwrap_or(&Value::Null);
            (time, text(error, &["text"]))
        }
        _ => return Vec::new(),
    };
    vec![match time {
        Value::Null => format!("last error: {said}"),
        time => format!("last error, {}: {said}", when(time)),
    }]
}

/// Of `tidewall history`, in the words of the journal.
pub fn history(answer: &Value) -> String {
    let mut unknown = 0;
    let history = History {
        attacks: entries(&answer["attacks"], &mut unknown),
        decisions: entries(&answer["decisions"], &mut unknown),
    };
    let mut out = journal::to_text(&history);
    if unknown > 0 {
        let entries = if unknown == 1 { "1 entry" } else { &format!("{unknown} entries") };
        _ = writeln!(out, "{entries} of another version: `--json` shows all");
    }
    out
}

fn entries<T: serde::de::DeserializeOwned>(answer: &Value, unknown: &mut usize) -> Vec<T> {
    let entry = |value: &Value| serde_json::from_value(stored(value)).ok();
    let known: Vec<T> = list(answer).iter().filter_map(entry).collect();
    *unknown += list(answer).len() - known.len();
    known
}

/// An entry as the journal keeps it: its times are numbers of nanoseconds.
fn stored(value: &Value) -> Value {
    const TIMES: [&str; 5] = ["time", "started", "detected", "ended", "ends"];
    let fields = value.as_object().into_iter().flatten();
    let mut stored: Map<String, Value> = fields
        .map(|(name, value)| match value.as_str().map(parse_time) {
            Some(Ok(time)) if TIMES.contains(&name.as_str()) => {
                (format!("{name}_ns"), Value::from(time.0))
            }
            _ => (name.clone(), value.clone()),
        })
        .collect();
    stored.insert("version".to_owned(), Value::from(1));
    Value::Object(stored)
}
