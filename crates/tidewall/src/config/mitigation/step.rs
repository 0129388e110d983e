//! A step of a ladder as text: `blackhole after 2m`.

use std::time::Duration;

use tidewall_engine::planner::{Measure, Step};
use toml::de::DeValue;

use super::super::nearest::nearest;
use super::super::quantity::{parse_duration, show_time};
use super::super::sink::Sink;
use super::super::table::{FromToml, Place, Typed};
use super::super::value::found;

/// A step as it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) struct Rung {
    /// What it does.
    pub(super) measure: Measure,
    /// So long after the one before it.
    pub(super) after: Duration,
}

/// More steps than there are measures.
const MOST_STEPS: usize = 8;
/// No step waits longer.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

const MEASURES: [(&str, Measure); 4] = [
    ("notify", Measure::Notify),
    ("filter", Measure::Filter),
    ("divert", Measure::Divert),
    ("blackhole", Measure::Blackhole),
];

impl FromToml for Rung {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let DeValue::String(text) = value else {
            sink.error(at, format!("expected a step in quotes, found {}", found(value)));
            return None;
        };
        let (name, time) = match text.split_once(" after ") {
            Some((name, time)) => (name.trim(), Some(time.trim())),
            None => (text.trim(), None),
        };
        let Some((_, measure)) = MEASURES.iter().find(|(known, _)| *known == name) else {
            let fix = match nearest(name, MEASURES.iter().map(|(known, _)| *known)) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "steps are \"notify\", \"filter\", \"divert\" and \"blackhole\", each \
                         also with a time: \"blackhole after 2m\""
                    .to_owned(),
            };
            sink.error_fix(at, format!("there is no step {}", found(value)), fix);
            return None;
        };
        let after = time.map_or(Some(Duration::ZERO), parse_duration);
        let Some(after) = after.filter(|after| *after <= LONGEST_WAIT) else {
            let reason = format!("{} has no time up to 24 h behind `after`", found(value));
            sink.error_fix(at, reason, format!("for example \"{name} after 2m\""));
            return None;
        };
        Some(Self { measure: *measure, after })
    }
}

/// Refuses ladders that nobody can mean.
pub(super) fn check(ladder: &Typed<Vec<Typed<Rung>>>, sink: &mut Sink) {
    let steps = &ladder.value;
    if steps.is_empty() && !sink.blames(&ladder.at) {
        let reason = "a ladder without a step does nothing";
        sink.error_fix(&ladder.at, reason, "write `mode = \"off\"`, or `ladder = [\"notify\"]`");
    }
    if steps.len() > MOST_STEPS {
        let reason = format!("{} steps, where {MOST_STEPS} are the most", steps.len());
        sink.error(&ladder.at, reason);
        return;
    }
    for (index, step) in steps.iter().enumerate() {
        let same = |other: &&Typed<Rung>| other.value.measure == step.value.measure;
        if steps.iter().take(index).any(|other| same(&other)) {
            let reason = format!("`{}` is in the ladder twice", name(step.value.measure));
            sink.error_fix(&step.at, reason, "keep one of the two");
        }
    }
}

/// Its name.
pub(super) fn name(measure: Measure) -> &'static str {
    MEASURES.iter().find(|(_, known)| *known == measure).map_or("", |(name, _)| *name)
}

/// `blackhole after 2 min`.
pub(in crate::config) fn show_step(step: &Step) -> String {
    match step.after {
        Duration::ZERO => name(step.measure).to_owned(),
        after => format!("{} after {}", name(step.measure), show_time(after)),
    }
}
