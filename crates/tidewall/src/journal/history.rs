//! Questions to the past, and their answers as text and JSON.

use std::fmt::{self, Write};
use std::net::IpAddr;

use serde::Serialize;
use serde_json::{Map, Value};
use tidewall_model::{Address, Prefix, Timestamp};

use super::past::{PastAttack, PastDecision};

/// Which part of the past.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Attacks that were raised, and decisions that were made, at this time or later.
    pub since: Option<Timestamp>,
    /// Only of targets inside this prefix.
    pub target: Option<Prefix>,
    /// At most so many attacks, and so many decisions: the newest.
    pub limit: usize,
}

impl Default for HistoryQuery {
    fn default() -> Self {
        Self { since: None, target: None, limit: 100 }
    }
}

/// A part of the past, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    /// Attacks.
    pub attacks: Vec<PastAttack>,
    /// Decisions.
    pub decisions: Vec<PastDecision>,
}

impl HistoryQuery {
    /// Is an entry with this target asked for? Those without one are, unless a target is given.
    pub(super) fn wants(&self, target: Option<&str>) -> bool {
        let Some(wanted) = self.target else { return true };
        let parse = |text: &str| match text.parse::<IpAddr>() {
            Ok(ip) => Some(Prefix::host(Address::from(ip))),
            Err(_) => text.parse().ok(),
        };
        target.and_then(parse).is_some_and(|target: Prefix| wanted.covers(target))
    }
}

/// One JSON object, without a line end. Times are RFC 3339 in UTC.
pub fn to_json(history: &History) -> String {
    #[derive(Serialize)]
    struct Report {
        attacks: Vec<Value>,
        decisions: Vec<Value>,
    }
    let report = Report {
        attacks: history.attacks.iter().map(readable).collect(),
        decisions: history.decisions.iter().map(readable).collect(),
    };
    // Maps have text keys and numbers are finite: there is nothing to fail.
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

/// An entry as it is stored, with its times as people and programs read them.
fn readable(entry: &impl Serialize) -> Value {
    let Ok(Value::Object(fields)) = serde_json::to_value(entry) else { return Value::Null };
    let field = |(name, value): (String, Value)| match (name.strip_suffix("_ns"), value.as_u64()) {
        (Some(name), Some(time)) => (name.to_owned(), Value::from(Timestamp(time).to_string())),
        (Some(name), None) => (name.to_owned(), value),
        (None, _) => (name, value),
    };
    let fields: Map<String, Value> =
        fields.into_iter().filter(|(name, _)| name != "version").map(field).collect();
    Value::Object(fields)
}

/// For people: attacks, then decisions, a line or two for each.
pub fn to_text(history: &History) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    _ = write_text(&mut text, history);
    text
}

fn write_text(out: &mut String, history: &History) -> fmt::Result {
    if history.attacks.is_empty() && history.decisions.is_empty() {
        return writeln!(out, "Nothing is known of that time.");
    }
    if !history.attacks.is_empty() {
        writeln!(out, "ATTACKS, newest first")?;
    }
    for attack in &history.attacks {
        let ended = attack.ended_ns.map_or_else(
            || "no end known".to_owned(),
            |ended| {
                let lasted = Timestamp(ended).since(Timestamp(attack.started_ns));
                format!("lasted {} s", lasted.as_secs())
            },
        );
        writeln!(
            out,
            "{}  {} {} {}, {ended}, peak {} packets/s, {} bits/s",
            Timestamp(attack.detected_ns),
            attack.direction,
            attack.class,
            attack.target,
            attack.peak_pps,
            attack.peak_bps,
        )?;
        let reason = &attack.reason;
        writeln!(
            out,
            "    because {} was {:.0}, limit {:.0} of group {}",
            reason.metric, reason.value, reason.limit, reason.group
        )?;
    }
    if !history.decisions.is_empty() {
        writeln!(out, "DECISIONS, newest first")?;
    }
    for decision in &history.decisions {
        write_decision(out, decision)?;
    }
    Ok(())
}

fn write_decision(out: &mut String, decision: &PastDecision) -> fmt::Result {
    write!(out, "{}  {}", Timestamp(decision.time_ns), decision.what)?;
    let words = [&decision.kind, &decision.target, &decision.direction];
    for word in words.into_iter().flatten() {
        write!(out, " {word}")?;
    }
    if let Some(id) = decision.mitigation {
        write!(out, " (number {id})")?;
    }
    if decision.dry_run {
        write!(out, ", dry run")?;
    }
    if let Some(who) = &decision.who {
        write!(out, ", by {who}")?;
    }
    if let Some(why) = &decision.why {
        write!(out, ": {why}")?;
    }
    writeln!(out)
}
