//! Proposed filters in words: the rule as routers are told it, what it is expected to do, and what
//! it did to the capture.

use std::fmt::{self, Write};

use serde::Serialize;
use tidewall_actions::routes::flow_spec_rule;
use tidewall_model::{Attack, FilterRule, ProposedFilter};

use super::number::{counted, percent};
use crate::replay::{MeasuredFilters, Outcome, Taken};

/// Filters of an attack, and what they took.
pub(super) fn write_filters(out: &mut String, attack: &Attack, outcome: &Outcome) -> fmt::Result {
    for filter in &attack.filters {
        let (rule, action) = words(attack, filter);
        writeln!(out, "  filter     {rule}; then {action}")?;
        let coverage = percent(filter.coverage);
        match filter.collateral {
            Some(part) => {
                let part = percent(part);
                writeln!(
                    out,
                    "             takes {coverage} of the attack, {part} of what is normal"
                )?;
            }
            None => writeln!(
                out,
                "             takes {coverage} of the attack; what is normal is not known"
            )?,
        }
    }
    let Some(measured) = measured(attack, outcome) else { return Ok(()) };
    let part = |sum: Taken| {
        let all = counted(sum.packets, "packet");
        format!("{} of {all}", percent(share(sum)))
    };
    write!(out, "  measured   {} during the attack", part(measured.during))?;
    match measured.outside.packets {
        0 => writeln!(out, "; there are none outside of it"),
        _ => writeln!(out, ", {} outside of it", part(measured.outside)),
    }
}

/// A filter as an object.
#[derive(Serialize)]
pub(super) struct FilterReport<'a> {
    /// As routers show it.
    rule: String,
    action: String,
    coverage: f64,
    collateral: Option<f64>,
    filter: &'a FilterRule,
}

/// What the filters of an attack took of the capture.
#[derive(Serialize)]
pub(super) struct MeasuredReport {
    attack_packets: u64,
    attack_taken: u64,
    other_packets: u64,
    other_taken: u64,
}

pub(super) fn filter_reports(attack: &Attack) -> Vec<FilterReport<'_>> {
    let report = |filter| {
        let (rule, action) = words(attack, filter);
        let ProposedFilter { rule: filter, coverage, collateral } = filter;
        FilterReport { rule, action, coverage: *coverage, collateral: *collateral, filter }
    };
    attack.filters.iter().map(report).collect()
}

impl From<&MeasuredFilters> for MeasuredReport {
    fn from(measured: &MeasuredFilters) -> Self {
        Self {
            attack_packets: measured.during.packets,
            attack_taken: measured.during.taken,
            other_packets: measured.outside.packets,
            other_taken: measured.outside.taken,
        }
    }
}

/// What was counted for an attack.
pub(super) fn measured<'o>(attack: &Attack, outcome: &'o Outcome) -> Option<&'o MeasuredFilters> {
    outcome.measured.iter().find(|measured| measured.attack == attack.id)
}

/// The rule and its action, or why it cannot be written.
fn words(attack: &Attack, filter: &ProposedFilter) -> (String, String) {
    let mut refused = String::new();
    match attack.target.prefix().map(|prefix| flow_spec_rule(prefix, &filter.rule)) {
        Some(Ok((rule, actions))) => return (rule.to_string(), actions.to_string()),
        Some(Err(why)) => _ = write!(refused, "cannot be announced: {why}"),
        None => refused.push_str("a group has no destination"),
    }
    (refused, "nothing".to_owned())
}

fn share(sum: Taken) -> f64 {
    sum.taken as f64 / sum.packets.max(1) as f64
}
