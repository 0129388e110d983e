//! One report of an exporter whose datagrams several workers receive, each with a health of its
//! own. Each of them sees nearly all sequence numbers go by and has its part of them, so that what
//! is in none of the parts was lost. Parts are told at different moments: what the furthest one
//! has seen and another one may still be about to tell is not called lost. A datagram that comes
//! twice, over two paths, and not to the same worker is known to neither of them as a copy: it can
//! stand for one that was lost.

use tidewall_model::{DropReason, Timestamp};

use super::report::{HealthReport, RecentReport, Stretches, added};
use super::sampling::REMEMBERED;
use super::{InterfaceReport, MissingTemplate, Numbering, RateInUse, SequenceUnit, SourceReport};

/// Datagrams from which something is said about loss: of fewer, the ends are too much.
const ENOUGH: u64 = 128;

/// Numbers that count records may differ from those that came by this part of what would be lost.
const NUMBERS_RECORDS: u64 = 32;

/// How the datagrams of an exporter come to the workers of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dealing {
    /// All to one, and to another one after the number of workers has changed.
    Whole,
    /// Each one to any of so many.
    Spread {
        /// Workers that there are.
        workers: usize,
    },
}

/// What one worker knows of an exporter.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// What it knows.
    pub report: &'a HealthReport,
    /// The worker is no more: this was its last word.
    pub left: bool,
}

impl HealthReport {
    /// What all parts together say; nothing without any.
    pub fn join(parts: &[Part<'_>], dealing: Dealing) -> Option<Self> {
        // A worker may know of an exporter from others, and have heard nothing of it.
        let heard = |part: &&Part<'_>| part.report.datagrams > 0;
        let heard: Vec<Part<'_>> = parts.iter().filter(heard).copied().collect();
        let parts = if heard.is_empty() { parts } else { &heard };
        let newest = parts.iter().map(|part| part.report).max_by_key(|part| part.last_seen)?;
        Some(match (parts, dealing) {
            ([_], Dealing::Whole) => newest.clone(),
            ([part], Dealing::Spread { workers: 1 }) if !part.left => newest.clone(),
            (_, Dealing::Whole) => Joint::new(parts, newest).sum(),
            (_, Dealing::Spread { workers }) => Joint::new(parts, newest).spread(workers),
        })
    }
}

/// The parts, with their stretches of time beside each other.
struct Joint<'a> {
    parts: &'a [Part<'a>],
    newest: &'a HealthReport,
    stretches: Vec<Stretches>,
}

impl<'a> Joint<'a> {
    fn new(parts: &'a [Part<'a>], newest: &'a HealthReport) -> Self {
        let number = parts.iter().map(|part| part.report.stretches.number).max().unwrap_or(0);
        let stretches = parts.iter().map(|part| part.report.stretches.at(number)).collect();
        Self { parts, newest, stretches }
    }

    fn reports(&self) -> impl Iterator<Item = &'a HealthReport> {
        self.parts.iter().map(|part| part.report)
    }

    fn total(&self, of: impl Fn(&HealthReport) -> u64) -> u64 {
        self.reports().fold(0, |sum, report| sum.saturating_add(of(report)))
    }

    fn most(&self, of: impl Fn(&HealthReport) -> u64) -> u64 {
        self.reports().map(of).max().unwrap_or(0)
    }

    /// Everything added up.
    fn sum(&self) -> HealthReport {
        let newest = self.newest;
        let first_seen = self.reports().map(|report| report.first_seen).min();
        let drops: Vec<&[(DropReason, u64)]> = self.reports().map(|r| &*r.drops).collect();
        let stretches = self.summed_stretches();
        let mut recent = RecentReport::default();
        stretches.recent.iter().for_each(|half| recent.add(half));
        HealthReport {
            first_seen: first_seen.unwrap_or(newest.first_seen),
            last_seen: newest.last_seen,
            datagrams: self.total(|report| report.datagrams),
            flows: self.total(|report| report.flows),
            options: self.total(|report| report.options),
            templates: self.total(|report| report.templates),
            sequence_unit: newest.sequence_unit,
            numbering: newest.numbering,
            received: self.total(|report| report.received),
            lost: self.total(|report| report.lost),
            gaps: self.total(|report| report.gaps),
            disorder: self.total(|report| report.disorder),
            restarts: self.total(|report| report.restarts),
            clock_behind_ms: newest.clock_behind_ms,
            sampling: rates(self.reports()),
            active_timeout: self
                .reports()
                .fold(newest.active_timeout, |a, r| a.or(r.active_timeout)),
            idle_timeout: self.reports().fold(newest.idle_timeout, |a, r| a.or(r.idle_timeout)),
            longest_flow: self.reports().map(|r| r.longest_flow).max().unwrap_or_default(),
            crediting: newest.crediting,
            absurd_durations: self.total(|report| report.absurd_durations),
            missing_templates: missing(self.reports()),
            drops: added(&drops),
            agent_drops: self.total(|report| report.agent_drops),
            compared: newest.compared,
            sources: newest.sources.clone(),
            interfaces: newest.interfaces.clone(),
            interfaces_refused: self.total(|report| report.interfaces_refused),
            recent,
            stretches,
        }
    }

    fn summed_stretches(&self) -> Stretches {
        let mut recent = [RecentReport::default(), RecentReport::default()];
        for stretches in &self.stretches {
            recent.iter_mut().zip(&stretches.recent).for_each(|(sum, half)| sum.add(half));
        }
        let began =
            |of: fn(&Stretches) -> Option<u32>| furthest(self.stretches.iter().filter_map(of));
        Stretches {
            number: self.stretches.first().map_or(0, |stretches| stretches.number),
            recent,
            began: [began(|s| s.began[0]), began(|s| s.began[1])],
            next: began(|s| s.next),
        }
    }

    /// Where every part has seen what happened to the exporter, and has some of its datagrams.
    fn spread(&self, workers: usize) -> HealthReport {
        let mut joint = self.sum();
        joint.gaps = 0;
        joint.restarts = self.most(|report| report.restarts);
        joint.agent_drops = self.most(|report| report.agent_drops);
        for (at, half) in joint.stretches.recent.iter_mut().enumerate() {
            self.seen_by_all(half, |stretches| stretches.recent.get(at).into_iter().collect());
        }
        self.seen_by_all(&mut joint.recent, |stretches| stretches.recent.iter().collect());
        joint.compared = false;
        joint.sources = sources(self.reports());
        joint.interfaces = interfaces(self.reports());
        if self.reports().any(|report| report.sequence_unit == SequenceUnit::Flows) {
            joint.sequence_unit = SequenceUnit::Flows;
        }
        self.count_lost(&mut joint, workers);
        joint
    }

    /// What happens to the exporter is seen by each part, and happened once.
    fn seen_by_all(&self, sum: &mut RecentReport, of: impl Fn(&Stretches) -> Vec<&RecentReport>) {
        let most = |count: fn(&RecentReport) -> u64| {
            let all = self.stretches.iter();
            all.map(|s| of(s).into_iter().map(count).sum()).max().unwrap_or(0)
        };
        sum.restarts = most(|half| half.restarts);
        sum.agent_drops = most(|half| half.agent_drops);
        // A part of the datagrams has an order of its own.
        sum.disorder = 0;
        sum.lost = 0;
    }

    /// What came to none of the parts; nothing where that cannot be known.
    fn count_lost(&self, joint: &mut HealthReport, workers: usize) {
        joint.lost = 0;
        let numberings = self.working().map(|(report, _)| report.numbering);
        if let Some(other) = numberings.clone().find(|n| *n != Numbering::Standard) {
            let is_sure = numberings.clone().all(|numbering| numbering == other);
            joint.numbering = if is_sure { other } else { Numbering::Standard };
            return;
        }
        joint.numbering = Numbering::Standard;
        // Who has no part yet may be about to tell of it.
        let is_whole = self.working().count() >= workers && self.agree_on_restarts();
        if !is_whole || joint.datagrams < ENOUGH {
            return;
        }
        let untold = self.untold();
        let span = |report: &HealthReport| report.received.saturating_add(report.lost);
        let gone_by = self.working().map(|(report, _)| span(report)).max().unwrap_or(0);
        let told = gone_by.saturating_sub(untold);
        let counts_datagrams = joint.sequence_unit == SequenceUnit::Datagrams;
        if counts_datagrams && numbers_records(joint, gone_by, told) {
            joint.numbering = Numbering::Flows;
            return;
        }
        joint.lost = told.saturating_sub(joint.received);
        let told = self.gone_by_recently().saturating_sub(untold);
        joint.recent.lost = told.saturating_sub(joint.recent.received);
    }

    /// Has each part seen the restarts of the last minutes? Until then, where it stands says
    /// nothing to the others.
    fn agree_on_restarts(&self) -> bool {
        let restarts = |stretches: &Stretches| -> u64 {
            stretches.recent.iter().map(|half| half.restarts).sum()
        };
        let mut all = self.working().map(|(_, stretches)| restarts(stretches));
        let first = all.next();
        all.all(|restarts| Some(restarts) == first)
    }

    /// Parts of workers that there are.
    fn working(&self) -> impl Iterator<Item = (&'a HealthReport, &Stretches)> + Clone {
        let all = self.parts.iter().zip(&self.stretches);
        all.filter(|(part, _)| !part.left).map(|(part, stretches)| (part.report, stretches))
    }

    /// Numbers that one worker has seen go by and another one may still have to tell of.
    fn untold(&self) -> u64 {
        let ends = self.working().filter_map(|(_, stretches)| stretches.next);
        let Some(end) = furthest(ends.clone()) else { return 0 };
        ends.map(|next| u64::from(end.wrapping_sub(next))).max().unwrap_or(0)
    }

    /// Numbers that went by since the stretch before the current one began. Who had its last
    /// number some time before that counts those between as well, which are not of that time.
    fn gone_by_recently(&self) -> u64 {
        let seen = self.working().map(|(_, stretches)| {
            let halves = stretches.recent.iter();
            let span: u64 = halves.map(|half| half.received.saturating_add(half.lost)).sum();
            let Some(own) = stretches.began[1] else { return span };
            let begin = furthest(self.begins(own, span)).unwrap_or(own);
            span.saturating_sub(u64::from(begin.wrapping_sub(own)))
        });
        seen.max().unwrap_or(0)
    }

    /// Where the parts stood when the stretch before the current one began. One that had left by
    /// then stands there for ever, whatever the exporter does: it counts only for a part that saw
    /// its number go by among `span` numbers from `own` on.
    fn begins(&self, own: u32, span: u64) -> impl Iterator<Item = u32> {
        let all = self.parts.iter().zip(&self.stretches);
        all.filter_map(move |(part, stretches)| {
            let begin = stretches.began[1]?;
            let had_left = part.left && part.report.stretches.number + 1 < stretches.number;
            let is_seen = u64::from(begin.wrapping_sub(own)) <= span;
            (is_seen || !had_left).then_some(begin)
        })
    }
}

impl Stretches {
    /// The same when another stretch is the current one, in which nothing came.
    fn at(&self, number: u64) -> Self {
        let ([current, _], [began, _], next) = (&self.recent, self.began, self.next);
        let (recent, began) = match number.saturating_sub(self.number) {
            0 => return self.clone(),
            1 => ([RecentReport::default(), current.clone()], [next, began]),
            _ => ([RecentReport::default(), RecentReport::default()], [next; 2]),
        };
        Self { number, recent, began, next }
    }
}

/// Do the numbers that went by grow as the records do, and not as the datagrams? By the parts that
/// were told, `told` of them should have come.
const fn numbers_records(joint: &HealthReport, gone_by: u64, told: u64) -> bool {
    let records = joint.flows.saturating_add(joint.options);
    let missing = told.saturating_sub(joint.received);
    let most = gone_by.saturating_add(missing / NUMBERS_RECORDS);
    missing > 0 && told <= records && records <= most
}

/// The one that is ahead of all others, modulo 2³².
fn furthest(numbers: impl Iterator<Item = u32>) -> Option<u32> {
    numbers.reduce(|a, b| if b.wrapping_sub(a) < 1 << 31 { b } else { a })
}

/// The last used first, as one worker would remember them.
fn rates<'a>(reports: impl Iterator<Item = &'a HealthReport>) -> Vec<RateInUse> {
    let mut all: Vec<RateInUse> = Vec::new();
    for used in reports.flat_map(|report| &report.sampling) {
        match all.iter_mut().find(|other| other.rate == used.rate && other.origin == used.origin) {
            Some(other) => {
                other.since = other.since.min(used.since);
                other.last = other.last.max(used.last);
            }
            None => all.push(*used),
        }
    }
    all.sort_unstable_by_key(RateInUse::order);
    all.truncate(REMEMBERED);
    all
}

fn missing<'a>(reports: impl Iterator<Item = &'a HealthReport>) -> Vec<MissingTemplate> {
    let mut all: Vec<MissingTemplate> = Vec::new();
    for template in reports.flat_map(|report| &report.missing_templates) {
        match all.iter_mut().find(|other| other.id == template.id) {
            Some(other) => {
                let earliest: Timestamp = other.since.min(template.since);
                let sets = other.sets.saturating_add(template.sets);
                let last = other.last.max(template.last);
                *other = MissingTemplate { since: earliest, last, sets, ..*other };
            }
            None => all.push(*template),
        }
    }
    all.sort_unstable_by_key(|template| template.id);
    all
}

/// A part of the samples says nothing about the rate.
fn sources<'a>(reports: impl Iterator<Item = &'a HealthReport>) -> Vec<SourceReport> {
    let all = reports.flat_map(|report| &report.sources);
    let mut all: Vec<_> = all.map(|source| SourceReport { effective: None, ..*source }).collect();
    all.sort_by_key(|source| source.index);
    all.dedup_by_key(|source| source.index);
    all
}

/// A part of the samples is not what the counters count.
fn interfaces<'a>(reports: impl Iterator<Item = &'a HealthReport>) -> Vec<InterfaceReport> {
    let all = reports.flat_map(|report| &report.interfaces);
    let mut all: Vec<_> =
        all.map(|one| InterfaceReport { input: None, output: None, ..*one }).collect();
    all.sort_by_key(|interface| interface.index);
    all.dedup_by_key(|interface| interface.index);
    all
}

#[cfg(test)]
mod tests;
