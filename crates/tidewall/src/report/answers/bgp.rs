//! BGP in words: peers, and the routes that they should have.

use serde_json::Value;

use super::mitigations::last_error;
use super::{Table, list, number, row, text, when};
use crate::report::number::{counted, grouped};

/// Of `tidewall bgp peers`.
pub fn peers(answer: &Value) -> String {
    let head = [
        "PEER",
        "ADDRESS",
        "AS",
        "STATE",
        "SINCE (UTC)",
        "announced",
        "pending",
        "waiting",
        "sessions",
    ];
    let mut table = Table::new(5, &head);
    for peer in list(answer) {
        let waiting: u64 = list(&peer["waiting"]).iter().filter_map(|w| w[1].as_u64()).sum();
        let count = |key: &str| grouped(number(peer, &[key]));
        let cells = [
            text(peer, &["name"]),
            text(peer, &["address"]),
            &number(peer, &["as"]).to_string(),
            text(peer, &["state"]),
            &when(&peer["since"]),
            &count("announced"),
            &count("pending"),
            &grouped(waiting),
            &count("established"),
        ];
        table.add(row(cells), peer_notes(peer));
    }
    if table.is_empty() {
        return "No BGP peer is configured.\n".to_owned();
    }
    table.text()
}

fn peer_notes(peer: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    let families: Vec<&str> = list(&peer["families"]).iter().filter_map(family).collect();
    if !families.is_empty() {
        notes.push(families.join(", "));
    }
    for reason in list(&peer["waiting"]) {
        let count = reason[1].as_u64().unwrap_or(0);
        notes.push(format!("{}: {}", waits(count), reason[0].as_str().unwrap_or("-")));
    }
    if peer["blocked"] == true {
        notes.push("it does not read what we send".to_owned());
    }
    notes.extend(last_error(peer));
    notes
}

/// Name of a family that both sides have agreed on.
fn family(family: &Value) -> Option<&str> {
    if family["agreed"] == false {
        return None;
    }
    family.as_str().or_else(|| family["family"].as_str())
}

fn waits(count: u64) -> String {
    let verb = if count == 1 { "waits" } else { "wait" };
    format!("{} {verb}", counted(count, "route"))
}

/// Of `tidewall bgp routes` and `tidewall bgp flowspec`.
pub fn routes(answer: &Value) -> String {
    let head = ["ROUTE", "FAMILY", "ANNOUNCER", "PEER", "MITIGATIONS", "STATE"];
    let mut table = Table::new(head.len(), &head);
    for route in list(answer) {
        let mitigations = list(&route["mitigations"]).iter().filter_map(Value::as_u64);
        let mitigations: Vec<String> = mitigations.map(|id| id.to_string()).collect();
        let cells = [
            text(route, &["route"]),
            text(route, &["family"]),
            text(route, &["announcer"]),
            text(route, &["peer"]),
            if mitigations.is_empty() { "-" } else { &mitigations.join(", ") },
            text(route, &["state"]),
        ];
        let changes = list(&route["changes"]).iter().filter_map(Value::as_str);
        table.add(row(cells), changes.map(|change| format!("sent with: {change}")).collect());
    }
    if table.is_empty() { "No route should be announced.\n".to_owned() } else { table.text() }
}
