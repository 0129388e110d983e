//! What goes wrong while the service runs, told in the log: what the kernel drops, datagrams that
//! cannot be read, exporters that start anew, interfaces that go down. Counters are compared about
//! once a second, by the main thread. A trouble is told when it begins, once an hour while it
//! lasts, and when it is over with how much it was; what happened once has one line.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tidewall_collect::ExporterKey;
use tidewall_model::{DropCounters, DropReason};

use super::worker::WorkerReport;
use crate::exports::ExporterReport;

/// A trouble that does not grow for so long is over.
const QUIET: Duration = Duration::from_mins(1);
/// One that lasts is told again so often.
const AGAIN: Duration = Duration::from_hours(1);
/// Several workers hear of a restart within this time.
const SAME: Duration = Duration::from_secs(5);
/// Exporters that are named at the same time; what others do is told without names.
const NAMED: usize = 32;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Something is wrong; otherwise it is over.
    pub(super) warning: bool,
    pub(super) text: String,
}

/// Where something goes wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// As the log calls it: `netflow [::]:2055`.
    pub(super) name: String,
    /// Datagrams are received there, and not frames.
    pub(super) flows: bool,
    /// What can be done about what the kernel drops.
    pub(super) relief: &'static str,
}

/// All troubles there are.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    episodes: BTreeMap<Trouble, Episode>,
    /// By how much they grew since they were last told of.
    grown: BTreeMap<Trouble, u64>,
    /// Who sent last what nobody can read, by place.
    senders: BTreeMap<Place, (IpAddr, DropReason)>,
    links: BTreeMap<String, Link>,
}

/// What goes wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Trouble {
    place: Place,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Kernel,
    Card,
    Refused,
    /// It had piled up.
    LeftOut,
    /// Without an exporter when it is not known, or one of too many.
    Unread(DropReason, Option<ExporterKey>),
    Anew(Option<ExporterKey>),
}

/// A trouble from its beginning until it is over.
#[derive(Debug)]
struct Episode {
    began: Duration,
    grew: Duration,
    told: Duration,
    total: u64,
    untold: u64,
}

/// An interface as the log knows it.
#[derive(Debug, Default)]
struct Link {
    /// How often it had gone down.
    falls: u64,
    /// Whether it was down when it was last looked at, and since when.
    down: bool,
    since: Duration,
    /// It was told as down.
    told_down: bool,
    /// When a fall was last told.
    told: Option<Duration>,
    untold: u64,
}

impl Troubles {
    /// Takes what each worker of a place had reported before, and what it has reported now.
    pub(super) fn compare(
        &mut self,
        place: &Place,
        workers: &[(Arc<WorkerReport>, Arc<WorkerReport>)],
    ) {
        for (old, new) in workers.iter().filter(|(old, new)| !Arc::ptr_eq(old, new)) {
            self.compare_sources(place, old, new);
            let left_out = |report: &WorkerReport| report.drops.get(DropReason::Stalled);
            self.add(place, What::LeftOut, left_out(new).saturating_sub(left_out(old)));
            // Frames that are no IP, or damaged, are what a mirror sees all day.
            if place.flows {
                self.compare_drops(place, old, new);
            }
        }
        for (key, times) in restarts(workers) {
            self.add(place, What::Anew(Some(key)), times);
        }
    }

    fn add(&mut self, place: &Place, what: What, growth: u64) {
        if growth > 0 {
            let trouble = Trouble { place: place.clone(), what };
            *self.grown.entry(trouble).or_default() += growth;
        }
    }

    fn compare_sources(&mut self, place: &Place, old: &WorkerReport, new: &WorkerReport) {
        let (is, was) = (&new.source, &old.source);
        for (what, now, before) in [
            (What::Kernel, is.dropped_by_kernel, was.dropped_by_kernel),
            (What::Card, is.dropped_by_interface, was.dropped_by_interface),
            (What::Refused, is.refused, was.refused),
        ] {
            self.add(place, what, now.saturating_sub(before));
        }
    }

    fn compare_drops(&mut self, place: &Place, old: &WorkerReport, new: &WorkerReport) {
        let known: BTreeMap<_, _> =
            old.exporters.iter().map(|report| (report.key, report)).collect();
        let mut named = DropCounters::default();
        for exporter in &new.exporters {
            let before = known.get(&exporter.key);
            for (reason, count) in
                exporter.health.drops.iter().filter(|(reason, _)| is_told(*reason))
            {
                let before = before.map_or(0, |before| drops_of(before, *reason));
                let growth = count.saturating_sub(before);
                self.add(place, What::Unread(*reason, Some(exporter.key)), growth);
                named.add(*reason, growth);
            }
        }
        for (reason, count) in new.drops.nonzero().filter(|(reason, _)| is_told(*reason)) {
            let before = old.drops.get(reason).saturating_add(named.get(reason));
            self.add(place, What::Unread(reason, None), count.saturating_sub(before));
        }
        if let Some(sender) = new.unread {
            self.senders.insert(place.clone(), sender);
        }
    }

    /// An interface: how often it has gone down so far, and whether it is down.
    pub(super) fn link(
        &mut self,
        name: &str,
        falls: u64,
        down: bool,
        now: Duration,
    ) -> Option<Line> {
        if !self.links.contains_key(name) {
            self.links.insert(name.to_owned(), Link { falls, ..Link::default() });
        }
        let (warning, said) = self.links.get_mut(name)?.look(falls, down, now)?;
        Some(Line { warning, text: format!("{name}: {said}") })
    }

    /// What is to be told now.
    pub(super) fn tell(&mut self, now: Duration) -> Vec<Line> {
        let mut lines = Vec::new();
        for (trouble, growth) in self.due() {
            self.grow(trouble, growth, now, &mut lines);
        }
        let over = |_: &Trouble, episode: &mut Episode| now.saturating_sub(episode.grew) >= QUIET;
        for (trouble, episode) in self.episodes.extract_if(.., over) {
            // What has one line was told whole.
            if episode.untold > 0 {
                let lasted = episode.grew.saturating_sub(episode.began).as_secs();
                let what = trouble.words(episode.total);
                let name = &trouble.place.name;
                let text = format!("{name}: over, after {lasted} s: {what} in all");
                lines.push(Line { warning: false, text });
            }
        }
        lines
    }

    /// What has grown, without the names of more exporters than are named.
    fn due(&mut self) -> BTreeMap<Trouble, u64> {
        let mut named = self.episodes.keys().filter(|trouble| trouble.what.names()).count();
        let mut due = BTreeMap::new();
        for (mut trouble, growth) in std::mem::take(&mut self.grown) {
            if trouble.what.names() && !self.episodes.contains_key(&trouble) {
                if named < NAMED {
                    named += 1;
                } else {
                    trouble.what = trouble.what.without_name();
                }
            }
            *due.entry(trouble).or_default() += growth;
        }
        due
    }

    fn grow(&mut self, trouble: Trouble, growth: u64, now: Duration, lines: &mut Vec<Line>) {
        let Some(episode) = self.episodes.get_mut(&trouble) else {
            let text = format!(
                "{}: {}{}; {}",
                trouble.place.name,
                trouble.words(growth),
                self.sender(&trouble),
                trouble.advice()
            );
            lines.push(Line { warning: true, text });
            let (began, grew, told) = (now, now, now);
            let episode = Episode { began, grew, told, total: growth, untold: 0 };
            self.episodes.insert(trouble, episode);
            return;
        };
        if matches!(trouble.what, What::Anew(Some(_))) && now.saturating_sub(episode.grew) < SAME {
            return;
        }
        episode.grew = now;
        episode.total += growth;
        episode.untold += growth;
        if now.saturating_sub(episode.told) >= AGAIN {
            let (name, what) = (&trouble.place.name, trouble.words(episode.untold));
            let text =
                format!("{name}: still: {what} since this was last told; {}", trouble.advice());
            lines.push(Line { warning: true, text });
            (episode.told, episode.untold) = (now, 0);
        }
    }

    /// Who it was, where that is only known of the last one.
    fn sender(&self, trouble: &Trouble) -> String {
        match (&trouble.what, self.senders.get(&trouble.place)) {
            (What::Unread(reason, None), Some((sender, last))) if last == reason => {
                format!(", the last one from {sender}")
            }
            _ => String::new(),
        }
    }
}

impl Link {
    /// What is to be told of it, and whether it is a warning.
    fn look(&mut self, falls: u64, down: bool, now: Duration) -> Option<(bool, String)> {
        let fell = falls.saturating_sub(self.falls);
        // A link that has just come up may still be called down for a moment.
        let sure = down && self.down;
        if down && !self.down {
            self.since = now;
        }
        (self.falls, self.down) = (self.falls.max(falls), down);
        if self.told_down {
            if down {
                return None;
            }
            (self.told_down, self.untold) = (false, 0);
            let lasted = now.saturating_sub(self.since).as_secs();
            return Some((false, format!("the interface is up again, after {lasted} s")));
        }
        self.untold = (self.untold + fell).max(u64::from(sure));
        let soon = self.told.is_some_and(|told| now.saturating_sub(told) < QUIET);
        if self.untold == 0 || soon || down && !sure {
            return None;
        }
        (self.told, self.told_down) = (Some(now), down);
        let times = match std::mem::take(&mut self.untold) {
            1 => String::new(),
            times => format!(" {times} times"),
        };
        let said = match (down, times.as_str()) {
            (true, "") => "the interface is down: nothing comes from it (`ip link`)".to_owned(),
            (true, times) => format!("the interface went down{times}, and is down"),
            (false, times) => format!("the interface went down{times}, and is up again"),
        };
        Some((true, said))
    }
}

impl What {
    fn names(&self) -> bool {
        matches!(self, Self::Unread(_, Some(_)) | Self::Anew(Some(_)))
    }

    fn without_name(&self) -> Self {
        match self {
            Self::Unread(reason, _) => Self::Unread(*reason, None),
            Self::Anew(_) => Self::Anew(None),
            other => other.clone(),
        }
    }
}

impl Trouble {
    /// So much of it.
    fn words(&self, count: u64) -> String {
        let things = if self.place.flows { "datagrams" } else { "frames" };
        match &self.what {
            What::Kernel => format!("the kernel dropped {count} {things}, not taken in time"),
            What::Card => format!("the card or its driver lost {count} {things}"),
            What::Refused => {
                format!("{count} {things} came from senders that `allow` does not name")
            }
            What::LeftOut => format!(
                "{count} records had piled up while the service did not run, and are left out: \
                 all at once they would look like an attack"
            ),
            What::Unread(reason, exporter) => {
                let who =
                    exporter.as_ref().map_or_else(String::new, |key| format!("{}: ", Named(key)));
                let sentence = reason.sentence().trim_end_matches('.');
                format!("{who}{count} times {}: {sentence}", reason.name())
            }
            What::Anew(Some(key)) if count == 1 => format!("{} has started anew", Named(key)),
            What::Anew(Some(key)) => format!("{} has started anew {count} times", Named(key)),
            What::Anew(None) => format!("other exporters have started anew, {count} times"),
        }
    }

    fn advice(&self) -> &'static str {
        use DropReason::{
            DatagramVersion, NoTemplate, TemplateLate, TooManyExporters, TooManyTemplates,
        };
        match self.what {
            What::Kernel => self.place.relief,
            What::Card => "see `ethtool -S` for what it lacks",
            What::LeftOut => "give it a processor, or see what stopped it",
            What::Refused => "add those that are yours to `allow` under [listen]",
            What::Unread(NoTemplate | TemplateLate, _) => "have templates sent once a minute",
            What::Unread(DatagramVersion, _) => {
                "point its senders to the port of their protocol, or keep them out by `allow` under \
                 [listen]"
            }
            What::Unread(TooManyExporters | TooManyTemplates, _) => {
                "keep strangers out by `allow` under [listen]"
            }
            What::Unread(..) => {
                "see `tidewall exporters`; `allow` under [listen] keeps out who is no exporter"
            }
            What::Anew(_) => "nothing is lost by it here; see `tidewall exporters`",
        }
    }
}

/// An exporter in a line of the log.
struct Named<'a>(&'a ExporterKey);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ExporterKey { protocol, address, agent, domain, .. } = self.0;
        write!(f, "exporter {address} ({}", protocol.name())?;
        if agent != address {
            write!(f, ", agent {agent}")?;
        }
        if *domain != 0 {
            write!(f, ", domain {domain}")?;
        }
        f.write_str(")")
    }
}

/// Losses that an operator can do something about; others are meant, or in the nature of things.
fn is_told(reason: DropReason) -> bool {
    use DropReason::{
        DatagramCut, DatagramMalformed, DatagramVersion, NoTemplate, RecordMalformed,
        SampleMalformed, SetMalformed, TemplateLate, TemplateMalformed, TooManyExporters,
        TooManyTemplates,
    };
    matches!(
        reason,
        DatagramCut
            | DatagramMalformed
            | DatagramVersion
            | NoTemplate
            | RecordMalformed
            | SampleMalformed
            | SetMalformed
            | TemplateLate
            | TemplateMalformed
            | TooManyExporters
            | TooManyTemplates
    )
}

/// How often exporters have started anew. All workers of a port hear of it where each has a part
/// of the datagrams, and some later than others.
fn restarts(
    workers: &[(Arc<WorkerReport>, Arc<WorkerReport>)],
) -> impl Iterator<Item = (ExporterKey, u64)> {
    let mut times: BTreeMap<ExporterKey, [u64; 2]> = BTreeMap::new();
    for (old, new) in workers {
        for (at, report) in [old, new].into_iter().enumerate() {
            for ExporterReport { key, health, .. } in &report.exporters {
                let [before, now] = times.entry(*key).or_default();
                let count = if at == 0 { before } else { now };
                *count = if key.protocol.has_templates() {
                    count.saturating_add(health.restarts)
                } else {
                    health.restarts.max(*count)
                };
            }
        }
    }
    times.into_iter().map(|(key, [before, now])| (key, now.saturating_sub(before)))
}

fn drops_of(exporter: &ExporterReport, reason: DropReason) -> u64 {
    let mut drops = exporter.health.drops.iter();
    drops.find(|(other, _)| *other == reason).map_or(0, |(_, count)| *count)
}

#[cfg(test)]
mod tests;
