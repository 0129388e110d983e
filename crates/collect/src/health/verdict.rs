//! What is wrong with an exporter, in one plain sentence each. A healthy one gets no verdict.

mod sentence;

use std::cmp::Reverse;
use std::time::Duration;

use tidewall_model::{DropReason, Timestamp};

use super::interfaces::{Agreement, InterfaceMeasure, Way};
use super::report::{HealthReport, share};
use super::sequence::{Numbering, SequenceUnit};
use crate::{Crediting, SamplingOrigin};

/// A clock may be off by so much.
const CLOCK: Duration = Duration::from_mins(1);
/// A clock that is off by more was never set.
const NEVER_SET: Duration = Duration::from_hours(20 * 365 * 24);
/// Silence shorter than this is none; an exporter that speaks seldom may be silent for
/// [`SILENT_TIMES`] its usual interval.
const SILENT: Duration = Duration::from_mins(1);
const SILENT_TIMES: u32 = 10;
/// How long a template may be missing before it is a problem: exporters send them all the time.
const TEMPLATE: Duration = Duration::from_mins(10);
/// What was last seen so long ago is over.
const OVER: Duration = Duration::from_mins(10);
/// Flows that last longer come in lumps.
const LONG_FLOW: Duration = Duration::from_secs(10);
/// Part of the datagrams that may be out of order.
const DISORDER: f64 = 0.1;
/// Part by which an effective sampling rate may differ from the announced one.
const RATE: f64 = 0.1;
/// Restarts in the last minutes that are no accident.
const RESTARTS: u64 = 3;
/// Interfaces that are named; of the others it is said how many there are.
const NAMED: usize = 3;
/// Parts lost or dropped from which it is a note, a warning, a problem.
const PARTS: [f64; 3] = [0.001, 0.01, 0.1];

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Figures may be off.
    Warning,
    /// Figures are wrong, or missing.
    Problem,
}

impl Severity {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }

    /// Of a part that is lost.
    fn of_part(part: f64) -> Option<Self> {
        let [note, warning, problem] = PARTS;
        match part {
            part if part >= problem => Some(Self::Problem),
            part if part >= warning => Some(Self::Warning),
            part if part >= note => Some(Self::Note),
            _ => None,
        }
    }
}

/// Something that is wrong with an exporter. Its `Display` is a sentence.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing comes any more.
    Silent {
        /// Since when.
        since: Timestamp,
        /// For how long.
        lasting: Duration,
    },
    /// Data cannot be read for want of a template.
    MissingTemplate {
        /// Its number.
        id: u16,
        /// When data came first.
        since: Timestamp,
        /// For how long.
        lasting: Duration,
        /// Sets of data that came.
        sets: u64,
    },
    /// Datagrams are lost between the exporter and us.
    Lost {
        /// What is counted.
        unit: SequenceUnit,
        /// Lost of late.
        lost: u64,
        /// Lost and received of late.
        of: u64,
    },
    /// Records are not counted.
    Dropped {
        /// Why.
        reason: DropReason,
        /// How many of late.
        count: u64,
        /// Which part that is.
        share: f64,
    },
    /// No sampling rate is known for some records, or for all.
    SamplingUnknown {
        /// Is it known for others?
        partly: bool,
    },
    /// An agent samples another part than it says.
    EffectiveRate {
        /// Its data source.
        source: u32,
        /// 1 packet in so many, it says.
        announced: u32,
        /// 1 packet in so many, it is.
        effective: f32,
    },
    /// An agent cannot keep up with its own samples.
    AgentDrops {
        /// Samples that it dropped of late.
        drops: u64,
        /// Which part that is.
        share: f64,
    },
    /// Samples and counters of an interface tell different rates.
    InterfaceDiffers {
        /// ifIndex.
        index: u32,
        /// Which way.
        way: Way,
        /// Both figures.
        measure: InterfaceMeasure,
    },
    /// An interface carries traffic of which there are no samples.
    InterfaceUnsampled {
        /// ifIndex.
        index: u32,
        /// Which way.
        way: Way,
        /// Bits per second by its counters.
        counted_bps: f32,
    },
    /// More interfaces of these kinds than are named.
    MoreInterfaces {
        /// How many ways of interfaces.
        count: usize,
    },
    /// The exporter's clock is off.
    Clock {
        /// Milliseconds by which it is behind; negative when it is ahead.
        behind_ms: i64,
    },
    /// Flows are much longer than a window.
    LongFlows {
        /// The longest.
        longest: Duration,
        /// The active timeout that the exporter announces.
        announced: Option<Duration>,
        /// How they are credited.
        crediting: Crediting,
    },
    /// Durations that make no sense.
    AbsurdDurations {
        /// How many of late.
        count: u64,
        /// Which part that is.
        share: f64,
    },
    /// It restarted of late.
    Restarted {
        /// How often.
        times: u64,
    },
    /// Datagrams come out of order, twice, or from several processes in one name.
    OutOfOrder {
        /// Which part of them.
        share: f64,
    },
    /// It numbers otherwise than its protocol says.
    Numbering(Numbering),
}

impl Verdict {
    /// How bad it is.
    pub fn severity(&self) -> Severity {
        match self {
            Self::MissingTemplate { lasting, .. } if *lasting >= TEMPLATE => Severity::Problem,
            Self::Silent { .. } | Self::InterfaceDiffers { .. } | Self::EffectiveRate { .. } => {
                Severity::Problem
            }
            Self::Lost { lost, of, .. } => {
                Severity::of_part(share(*lost, of - lost)).unwrap_or(Severity::Note)
            }
            Self::Dropped { share, .. } | Self::AgentDrops { share, .. } => {
                Severity::of_part(*share).unwrap_or(Severity::Note)
            }
            Self::AbsurdDurations { share, .. } => {
                Severity::of_part(*share).unwrap_or(Severity::Note).min(Severity::Warning)
            }
            Self::MissingTemplate { .. } | Self::SamplingUnknown { .. } | Self::Clock { .. } => {
                Severity::Warning
            }
            Self::LongFlows { .. } | Self::OutOfOrder { .. } => Severity::Warning,
            Self::Restarted { times } if *times >= RESTARTS => Severity::Warning,
            Self::Restarted { .. }
            | Self::Numbering(_)
            | Self::InterfaceUnsampled { .. }
            | Self::MoreInterfaces { .. } => Severity::Note,
        }
    }
}

/// The verdicts on an exporter, worst first.
pub(super) fn of(report: &HealthReport, now: Timestamp) -> Vec<Verdict> {
    let mut found = Vec::new();
    found.extend(silence(report, now));
    found.extend(missing_templates(report, now));
    found.extend(loss(report));
    found.extend(drops(report));
    found.extend(sampling(report));
    found.extend(agent(report));
    found.extend(interfaces(report));
    found.extend(times(report));
    found.extend(order(report));
    found.sort_by_key(|verdict| Reverse(verdict.severity()));
    found
}

fn silence(report: &HealthReport, now: Timestamp) -> Option<Verdict> {
    let lasting = now.since(report.last_seen);
    let intervals = u32::try_from(report.datagrams.saturating_sub(1)).unwrap_or(u32::MAX);
    let usual = report.last_seen.since(report.first_seen).checked_div(intervals);
    let allowed = usual.unwrap_or_default().saturating_mul(SILENT_TIMES).max(SILENT);
    (lasting > allowed).then_some(Verdict::Silent { since: report.last_seen, lasting })
}

fn missing_templates(report: &HealthReport, now: Timestamp) -> impl Iterator<Item = Verdict> {
    let missed = report.missing_templates.iter();
    missed.filter(|missing| report.last_seen.since(missing.last) < OVER).map(move |missing| {
        let lasting = now.since(missing.since);
        let (id, since, sets) = (missing.id, missing.since, missing.sets);
        Verdict::MissingTemplate { id, since, lasting, sets }
    })
}

fn loss(report: &HealthReport) -> Option<Verdict> {
    let recent = &report.recent;
    Severity::of_part(recent.loss())?;
    let of = recent.lost.saturating_add(recent.received);
    Some(Verdict::Lost { unit: report.sequence_unit, lost: recent.lost, of })
}

/// Drops that are neither meant nor told of otherwise.
fn drops(report: &HealthReport) -> impl Iterator<Item = Verdict> {
    let meant = |reason| {
        use DropReason::{DirectionOff, FirewallEvent, NatEvent, NoTemplate, Whitelisted};
        matches!(reason, DirectionOff | FirewallEvent | NatEvent | NoTemplate | Whitelisted)
    };
    let recent = &report.recent;
    let counted = recent.flows.saturating_add(recent.options);
    recent.drops.iter().filter(move |(reason, _)| !meant(*reason)).filter_map(move |drop| {
        let (reason, count) = *drop;
        let share = share(count, counted);
        Severity::of_part(share).map(|_| Verdict::Dropped { reason, count, share })
    })
}

fn sampling(report: &HealthReport) -> Option<Verdict> {
    let in_use = report.sampling.iter().filter(|rate| report.last_seen.since(rate.last) < OVER);
    let assumed = in_use.clone().filter(|rate| rate.origin == SamplingOrigin::Assumed).count();
    (assumed > 0).then(|| Verdict::SamplingUnknown { partly: in_use.count() > assumed })
}

fn agent(report: &HealthReport) -> Vec<Verdict> {
    let mut found = Vec::new();
    for source in &report.sources {
        let Some(effective) = source.effective else { continue };
        let announced = source.announced;
        if (f64::from(effective) / f64::from(announced.max(1)) - 1.0).abs() > RATE {
            let source = source.index;
            found.push(Verdict::EffectiveRate { source, announced, effective });
        }
    }
    // The ones that are off most come first.
    found.sort_by(|a, b| off_by(b).total_cmp(&off_by(a)));
    found.truncate(NAMED);
    let drops = report.recent.agent_drops;
    let share = share(drops, report.recent.agent_samples);
    if Severity::of_part(share).is_some() {
        found.push(Verdict::AgentDrops { drops, share });
    }
    found
}

/// By what factor figures differ.
fn off_by(verdict: &Verdict) -> f64 {
    let factor = |a: f32, b: f32| f64::from(a.max(b).max(1e-9) / a.min(b).max(1e-9));
    match verdict {
        Verdict::EffectiveRate { announced, effective, .. } => {
            factor(*announced as f32, *effective)
        }
        Verdict::InterfaceDiffers { measure, .. } => match measure.counted_pps {
            Some(counted) if measure.agreement == Agreement::PacketsDiffer => {
                factor(counted, measure.sampled_pps)
            }
            _ => factor(measure.counted_bps, measure.sampled_bps),
        },
        Verdict::InterfaceUnsampled { counted_bps, .. } => f64::from(*counted_bps),
        _ => 0.0,
    }
}

fn interfaces(report: &HealthReport) -> Vec<Verdict> {
    let (mut differ, mut unsampled) = (Vec::new(), Vec::new());
    for interface in &report.interfaces {
        let index = interface.index;
        for (way, measure) in [(Way::In, interface.input), (Way::Out, interface.output)] {
            let Some(measure) = measure else { continue };
            match measure.agreement {
                Agreement::PacketsDiffer | Agreement::BytesDiffer => {
                    differ.push(Verdict::InterfaceDiffers { index, way, measure });
                }
                Agreement::Unsampled => {
                    let counted_bps = measure.counted_bps;
                    unsampled.push(Verdict::InterfaceUnsampled { index, way, counted_bps });
                }
                Agreement::Agree | Agreement::Elsewhere => {}
            }
        }
    }
    let mut more = 0;
    for found in [&mut differ, &mut unsampled] {
        found.sort_by(|a, b| off_by(b).total_cmp(&off_by(a)));
        more += found.len().saturating_sub(NAMED);
        found.truncate(NAMED);
    }
    differ.append(&mut unsampled);
    if more > 0 {
        differ.push(Verdict::MoreInterfaces { count: more });
    }
    differ
}

/// What is wrong with clocks and durations.
fn times(report: &HealthReport) -> Vec<Verdict> {
    let mut found = Vec::new();
    let off = |behind: &i64| Duration::from_millis(behind.unsigned_abs()) > CLOCK;
    if let Some(behind_ms) = report.clock_behind_ms.filter(off) {
        found.push(Verdict::Clock { behind_ms });
    }
    let bearable = match report.crediting {
        Crediting::Arrival => LONG_FLOW,
        Crediting::Spread { longest } => longest.max(LONG_FLOW),
    };
    if report.longest_flow > bearable {
        let (longest, crediting) = (report.longest_flow, report.crediting);
        let announced = report.active_timeout;
        found.push(Verdict::LongFlows { longest, announced, crediting });
    }
    let count = report.recent.absurd_durations;
    if count > 0 {
        let share = share(count, report.recent.flows.saturating_sub(count));
        found.push(Verdict::AbsurdDurations { count, share });
    }
    found
}

/// What is wrong with the order of datagrams.
fn order(report: &HealthReport) -> Vec<Verdict> {
    let mut found = Vec::new();
    let recent = &report.recent;
    if recent.restarts > 0 {
        found.push(Verdict::Restarted { times: recent.restarts });
    }
    let share = share(recent.disorder, recent.datagrams.saturating_sub(recent.disorder));
    if report.numbering != Numbering::Standard {
        found.push(Verdict::Numbering(report.numbering));
    } else if share > DISORDER {
        found.push(Verdict::OutOfOrder { share });
    }
    found
}

#[cfg(test)]
mod tests;
