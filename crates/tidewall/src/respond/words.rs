//! What is decided, in words: a line for the log and for whoever asked, and at the start what will be
//! done at most.

use std::time::Duration;

use tidewall_engine::planner::{Change, Decided, Decision, Measure, Mode, Refusal, Response};
use tidewall_model::{Mitigation, MitigationKind, MitigationStatus};
use tracing::{debug, info, warn};

use super::settings::{AnnouncerSettings, Settings};
use crate::journal::PastDecision;

/// The word for a decision, as in the history.
pub(super) fn what(decision: &Decision) -> String {
    match &decision.what {
        Decided::Mitigation(Change::Update, _) => "update".to_owned(),
        Decided::Mitigation(Change::Gone(_), _) => "gone".to_owned(),
        _ => PastDecision::from(decision).what,
    }
}

/// One line for people.
pub(super) fn line(decision: &Decision) -> String {
    match &decision.what {
        Decided::Mitigation(change, mitigation) => of_mitigation(decision, change, mitigation),
        Decided::Refused(refused) => format!(
            "no {} for {} ({}, group {}): {}{}",
            kind_words(&refused.kind),
            refused.target,
            refused.direction,
            refused.group,
            match refused.why {
                Refusal::JustStarted { .. } => "",
                _ => "refused because ",
            },
            refused.why
        ),
        Decided::Held { who } => {
            format!("{who} has stopped all mitigation: nothing is done until somebody resumes")
        }
        Decided::Resumed { who } => format!("{who} lets mitigation go on"),
        Decided::Remembered(victim) => format!(
            "{} ({}, group {}) is remembered for its {} bans",
            victim.target, victim.direction, victim.group, victim.bans
        ),
        Decided::Forgotten { target, direction } => {
            format!("{target} ({direction}) is no repeat victim any more")
        }
    }
}

/// Does a decision change anything that people asked for or see?
pub(super) const fn is_news(decision: &Decision) -> bool {
    !matches!(decision.what, Decided::Remembered(_) | Decided::Forgotten { .. })
}

fn of_mitigation(decision: &Decision, change: &Change, mitigation: &Mitigation) -> String {
    let past = PastDecision::from(decision);
    let because = match (past.who, past.why.filter(|why| !why.is_empty())) {
        (Some(who), Some(why)) => format!("{who}: {why}"),
        (Some(who), None) => who,
        (None, Some(why)) => why,
        (None, None) => "an attack".to_owned(),
    };
    let what = format!(
        "{}mitigation {}: {} for {} ({}, group {})",
        if mitigation.dry_run { "dry run: " } else { "" },
        mitigation.id,
        kind_words(&mitigation.kind),
        mitigation.target,
        mitigation.direction,
        mitigation.group
    );
    let until = mitigation.ends;
    match change {
        Change::Apply => format!("{what} until {until}; because: {because}"),
        Change::Ask => format!(
            "{what} waits for approval (`tidewall approve {}`); because: {because}",
            mitigation.id
        ),
        Change::Approve { who } => format!("{what} until {until}; {who} agreed"),
        Change::Update => format!("{what} is {}, until {until}", mitigation.status),
        Change::Withdraw(_) => format!("{what} ends; because: {because}"),
        Change::Gone(_) => format!("{what} is over; because: {because}"),
    }
}

fn kind_words(kind: &MitigationKind) -> &'static str {
    match kind {
        MitigationKind::Notify => "notify",
        MitigationKind::FlowSpec(_) => "filter",
        MitigationKind::Divert => "divert",
        MitigationKind::Blackhole => "blackhole",
    }
}

/// Writes a decision to the log. `quiet`: nobody is told of notices, so they are no news.
pub(super) fn log(decision: &Decision, quiet: bool) {
    let line = line(decision);
    let (change, mitigation) = match &decision.what {
        Decided::Mitigation(change, mitigation) => (change, mitigation),
        _ if !is_news(decision) => return debug!("{line}"),
        Decided::Refused(refused) if matches!(refused.why, Refusal::JustStarted { .. }) => {
            return info!("{line}");
        }
        _ => return warn!("{line}"),
    };
    let id = mitigation.id.0;
    let failed = matches!(mitigation.status, MitigationStatus::Failed(_));
    let is_route = mitigation.kind.is_route();
    match change {
        Change::Update if failed => warn!(mitigation = id, "{line}"),
        Change::Update => debug!(mitigation = id, "{line}"),
        _ if quiet && !is_route => debug!(mitigation = id, "{line}"),
        Change::Gone(_) if !is_route => debug!(mitigation = id, "{line}"),
        Change::Gone(_) => info!(mitigation = id, "{line}"),
        Change::Apply | Change::Ask | Change::Approve { .. } | Change::Withdraw(_) => {
            warn!(mitigation = id, "{line}");
        }
    }
}

/// What will be done at most, in one line.
pub fn at_most(settings: &Settings) -> String {
    let named = settings.planner.groups.values();
    let responses: Vec<&Response> = (named.chain([&settings.planner.fallback]))
        .flat_map(|both| [&both.incoming, &both.outgoing])
        .collect();
    let mode = responses.iter().map(|response| response.mode).max().unwrap_or_default();
    let told = match settings.actions.len() {
        0 => String::new(),
        count => {
            let mut kinds: Vec<&str> =
                settings.actions.iter().map(tidewall_actions::Config::kind).collect();
            kinds.dedup();
            let s = if count == 1 { "" } else { "s" };
            format!(", told to {count} action{s} ({})", kinds.join(", "))
        }
    };
    let ladder = || {
        let of_mode = responses.iter().filter(|response| response.mode == mode);
        let longest = of_mode.max_by_key(|response| response.ladder.len());
        longest.map(|response| ladder_words(response)).unwrap_or_default()
    };
    let through = through(&settings.announcers);
    match mode {
        Mode::Off | Mode::NotifyOnly => format!(
            "attacks are detected and logged{told}, nothing is announced and nothing is changed"
        ),
        Mode::DryRun => format!(
            "attacks are detected and logged{told}; dry run: {} is decided and logged, nothing is \
             done",
            ladder()
        ),
        Mode::ApproveFirst => format!(
            "attacks are detected and logged{told}; once a person has agreed: {}{through}",
            ladder()
        ),
        Mode::Automatic => {
            format!("attacks are detected and logged{told}; automatic: {}{through}", ladder())
        }
    }
}

fn ladder_words(response: &Response) -> String {
    let steps = response.ladder.iter().map(|step| {
        let measure = match step.measure {
            Measure::Notify => "notify",
            Measure::Filter => "filter",
            Measure::Divert => "divert",
            Measure::Blackhole => "blackhole",
        };
        match step.after {
            Duration::ZERO => measure.to_owned(),
            after if after.as_secs().is_multiple_of(60) => {
                format!("{measure} after {} min", after.as_secs() / 60)
            }
            after => format!("{measure} after {} s", after.as_secs_f64()),
        }
    });
    let steps: Vec<String> = steps.collect();
    if steps.is_empty() { "nothing".to_owned() } else { steps.join(", ") }
}

fn through(announcers: &[AnnouncerSettings]) -> String {
    let names: Vec<String> = announcers
        .iter()
        .map(|announcer| match announcer {
            AnnouncerSettings::Bgp(speaking) => match speaking.speaker.peers.len() {
                1 => "bgp (1 peer)".to_owned(),
                peers => format!("bgp ({peers} peers)"),
            },
            other => other.name().to_owned(),
        })
        .collect();
    match names.len() {
        0 => ", with no announcer for routes".to_owned(),
        _ => format!(", through {}", names.join(", ")),
    }
}

/// May more be done than telling?
pub(super) fn announces(settings: &Settings) -> bool {
    let named = settings.planner.groups.values();
    named
        .chain([&settings.planner.fallback])
        .flat_map(|both| [&both.incoming, &both.outgoing])
        .any(|response| response.mode >= Mode::ApproveFirst)
}
