//! Everything that is known about an exporter, as plain data.

use std::time::Duration;

use tidewall_model::{DropCounters, DropReason, Timestamp};

use super::tally::Tally;
use super::{
    ExporterHealth, InterfaceReport, MissingTemplate, Numbering, RateInUse, SequenceUnit,
    SourceReport, Verdict, verdict,
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
    /// Gaps in the numbers; 0 where several workers have a part of them each.
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
    /// Are samples compared with the agent's pool and the counters of its interfaces? Not where
    /// they are dealt to several workers.
    pub compared: bool,
    /// Data sources of the sFlow agent.
    pub sources: Vec<SourceReport>,
    /// Interfaces that the sFlow agent sends counters of.
    pub interfaces: Vec<InterfaceReport>,
    /// Counter samples of interfaces for which there was no room.
    pub interfaces_refused: u64,
    /// Of the last minutes.
    pub recent: RecentReport,
    /// The same for joining it with the parts of others.
    pub(super) stretches: Stretches,
}

impl HealthReport {
    /// What is wrong with the exporter, worst first; nothing when all is well.
    pub fn verdicts(&self, now: Timestamp) -> Vec<Verdict> {
        verdict::of(self, now)
    }
}

/// The last stretches of time, one by one, and where the exporter's numbers stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stretches {
    /// The current one: so many had gone by since 1970.
    pub number: u64,
    /// The current one, and the one before.
    pub recent: [RecentReport; 2],
    /// The sequence number that was due when each of them began.
    pub began: [Option<u32>; 2],
    /// The one that is due now.
    pub next: Option<u32>,
}

/// The part of it that is from the last five to ten minutes in which the exporter was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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

    /// Adds what was counted elsewhere, or before.
    pub(super) fn add(&mut self, other: &Self) {
        for (sum, count) in [
            (&mut self.datagrams, other.datagrams),
            (&mut self.flows, other.flows),
            (&mut self.options, other.options),
            (&mut self.received, other.received),
            (&mut self.lost, other.lost),
            (&mut self.disorder, other.disorder),
            (&mut self.restarts, other.restarts),
            (&mut self.absurd_durations, other.absurd_durations),
            (&mut self.agent_samples, other.agent_samples),
            (&mut self.agent_drops, other.agent_drops),
        ] {
            *sum = sum.saturating_add(count);
        }
        if !other.drops.is_empty() {
            self.drops = added(&[&self.drops, &other.drops]);
        }
    }
}

/// Sums of drops, by reason.
pub(super) fn added(lists: &[&[(DropReason, u64)]]) -> Vec<(DropReason, u64)> {
    let mut sums = DropCounters::default();
    for (reason, count) in lists.iter().copied().flatten() {
        sums.add(*reason, *count);
    }
    sums.nonzero().collect()
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
    let halves = halves(health);
    let [mut recent, before] = halves.clone();
    recent.add(&before);
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
        compared: true,
        sources: agent.map(super::Agent::sorted).unwrap_or_default(),
        interfaces: interfaces.map(super::Interfaces::sorted).unwrap_or_default(),
        interfaces_refused: interfaces.map_or(0, super::Interfaces::refused),
        recent,
        stretches: Stretches {
            number: health.stretch,
            recent: halves,
            began: sequence.began(),
            next: sequence.next(),
        },
    }
}

/// This stretch of time, and the one before.
fn halves(health: &ExporterHealth) -> [RecentReport; 2] {
    let nothing = [DropCounters::default(); 2];
    let [two_ago, one_ago] = health.drops_before.as_deref().unwrap_or(&nothing);
    let current = half(health, |tally| tally.halves()[0], [one_ago, &health.drops]);
    let before = half(health, |tally| tally.halves()[1], [two_ago, one_ago]);
    [current, before]
}

fn half(
    health: &ExporterHealth,
    of: impl Fn(&Tally) -> u64,
    [from, to]: [&DropCounters; 2],
) -> RecentReport {
    let since =
        |(reason, count): (DropReason, u64)| (reason, count.saturating_sub(from.get(reason)));
    let (agent, sequence) = (health.agent.as_deref(), &health.sequence);
    RecentReport {
        datagrams: of(&health.datagrams),
        flows: of(&health.flows),
        options: of(&health.options),
        received: of(&sequence.received),
        lost: of(&sequence.lost),
        disorder: of(&sequence.disorder),
        restarts: of(&sequence.restarts),
        absurd_durations: of(&health.absurd),
        drops: to.nonzero().map(since).filter(|(_, count)| *count > 0).collect(),
        agent_samples: agent.map_or(0, |agent| of(&agent.samples)),
        agent_drops: agent.map_or(0, |agent| of(&agent.drops)),
    }
}
