//! Everything that is known about an exporter, as plain data.

use std::time::Duration;

use tidewall_model::{DropCounters, DropReason, Timestamp};

use super::{
    ExporterHealth, InterfaceReport, MissingTemplate, Numbering, RateInUse, SequenceUnit,
    SourceReport,
};
use crate::Crediting;

/// Everything that is known about an exporter.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthReport {
    /// When it was heard first.
    pub first_seen: Timestamp,
    /// When it was heard last.
    pub last_seen: Timestamp,
    /// Datagrams received.
    pub datagrams: u64,
    /// Flows, or sampled packets, counted.
    pub flows: u64,
    /// Records of options.
    pub options: u64,
    /// Templates, each as often as it came.
    pub templates: u64,
    /// What its sequence numbers count.
    pub sequence_unit: SequenceUnit,
    /// Does it count as its protocol says?
    pub numbering: Numbering,
    /// Units that came, by the sequence numbers.
    pub received: u64,
    /// Units that did not: an estimate that late datagrams correct.
    pub lost: u64,
    /// Gaps in the numbers.
    pub gaps: u64,
    /// Datagrams that were late, came twice, or whose numbers fit nowhere.
    pub disorder: u64,
    /// Restarts.
    pub restarts: u64,
    /// Milliseconds by which its clock is behind ours; negative when it is ahead.
    pub clock_behind_ms: Option<i64>,
    /// Sampling rates in use, the last used first.
    pub sampling: Vec<RateInUse>,
    /// The active timeout that it announces.
    pub active_timeout: Option<Duration>,
    /// The idle timeout that it announces.
    pub idle_timeout: Option<Duration>,
    /// Its longest flows of late: hardly longer than the active timeout that it keeps.
    pub longest_flow: Duration,
    /// How its flows are credited.
    pub crediting: Crediting,
    /// Durations that made no sense.
    pub absurd_durations: u64,
    /// Templates that are missing.
    pub missing_templates: Vec<MissingTemplate>,
    /// What was not counted.
    pub drops: Vec<(DropReason, u64)>,
    /// Samples that the sFlow agent dropped.
    pub agent_drops: u64,
    /// Data sources of the sFlow agent.
    pub sources: Vec<SourceReport>,
    /// Interfaces that the sFlow agent sends counters of.
    pub interfaces: Vec<InterfaceReport>,
    /// Counter samples of interfaces for which there was no room.
    pub interfaces_refused: u64,
    /// Of the last minutes.
    pub recent: RecentReport,
}

/// The part of it that is from the last five to ten minutes in which the exporter was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentReport {
    /// Datagrams received.
    pub datagrams: u64,
    /// Flows counted.
    pub flows: u64,
    /// Records of options.
    pub options: u64,
    /// Units that came, by the sequence numbers.
    pub received: u64,
    /// Units that did not.
    pub lost: u64,
    /// Datagrams that were late, came twice, or whose numbers fit nowhere.
    pub disorder: u64,
    /// Restarts.
    pub restarts: u64,
    /// Durations that made no sense.
    pub absurd_durations: u64,
    /// What was not counted.
    pub drops: Vec<(DropReason, u64)>,
    /// Samples of an sFlow agent.
    pub agent_samples: u64,
    /// Samples that it dropped.
    pub agent_drops: u64,
}

impl RecentReport {
    /// Part of the units that was lost.
    pub fn loss(&self) -> f64 {
        share(self.lost, self.received)
    }
}

/// A part of itself and the rest.
pub(super) fn share(part: u64, rest: u64) -> f64 {
    if part == 0 { 0.0 } else { part as f64 / (part as f64 + rest as f64) }
}

/// The report of an exporter.
pub(super) fn of(health: &ExporterHealth) -> HealthReport {
    let sequence = &health.sequence;
    let agent = health.agent.as_deref();
    let interfaces = health.interfaces.as_deref();
    HealthReport {
        first_seen: health.first_seen,
        last_seen: health.last_seen,
        datagrams: health.datagrams.total(),
        flows: health.flows.total(),
        options: health.options.total(),
        templates: health.templates,
        sequence_unit: sequence.unit(),
        numbering: sequence.numbering(),
        received: sequence.received.total(),
        lost: sequence.lost.total(),
        gaps: sequence.gaps_seen,
        disorder: sequence.disorder.total(),
        restarts: sequence.restarts.total(),
        clock_behind_ms: health.clock.behind_ms(),
        sampling: health.rates.sorted(),
        active_timeout: health.timeouts.active(),
        idle_timeout: health.timeouts.idle(),
        longest_flow: health.timeouts.longest(),
        crediting: health.crediting,
        absurd_durations: health.absurd.total(),
        missing_templates: health.missing.sorted(),
        drops: health.drops.nonzero().collect(),
        agent_drops: agent.map_or(0, |agent| agent.drops.total()),
        sources: agent.map(super::Agent::sorted).unwrap_or_default(),
        interfaces: interfaces.map(super::Interfaces::sorted).unwrap_or_default(),
        interfaces_refused: interfaces.map_or(0, super::Interfaces::refused),
        recent: recent(health),
    }
}

fn recent(health: &ExporterHealth) -> RecentReport {
    let none = DropCounters::default();
    let before = health.drops_before.as_deref().map_or(&none, |[before, _]| before);
    let since =
        |(reason, count): (DropReason, u64)| (reason, count - before.get(reason).min(count));
    let agent = health.agent.as_deref();
    RecentReport {
        datagrams: health.datagrams.recent(),
        flows: health.flows.recent(),
        options: health.options.recent(),
        received: health.sequence.received.recent(),
        lost: health.sequence.lost.recent(),
        disorder: health.sequence.disorder.recent(),
        restarts: health.sequence.restarts.recent(),
        absurd_durations: health.absurd.recent(),
        drops: health.drops.nonzero().map(since).filter(|(_, count)| *count > 0).collect(),
        agent_samples: agent.map_or(0, |agent| agent.samples.recent()),
        agent_drops: agent.map_or(0, |agent| agent.drops.recent()),
    }
}
