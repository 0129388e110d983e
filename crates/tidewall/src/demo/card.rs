//! The score card: what was injected against what was named, so far and at the end.

use std::io::{self, Write};
use std::time::Duration;

use tidewall_model::{Prefix, Timestamp};
use tidewall_scenario::{Outcome, Score, Truth, score};

use super::Demo;
use super::words;

/// A detection may come so long after the end of an attack; later it is missed.
const GRACE: Duration = Duration::from_secs(2);

/// What became of one injected attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was named.
    Found,
    /// It was not.
    Missed,
    /// It has not begun, or there is still time to name it.
    Open,
}

/// The score at some moment of the demo.
#[derive(Clone, Debug, PartialEq)]
pub struct Card {
    score: Score,
    fates: Vec<Fate>,
}

impl Card {
    /// The score as it stands.
    pub fn of(demo: &Demo) -> Self {
        let (truths, detections) = (demo.truths(), demo.watch().detections());
        let score = score(truths, detections);
        let over = demo.is_finished() && demo.is_over();
        let fates = score
            .outcomes
            .iter()
            .zip(truths)
            .map(|(outcome, truth)| fate(outcome, truth, demo.at(), over))
            .collect();
        Self { score, fates }
    }

    /// Attacks that were named.
    pub fn found(&self) -> usize {
        self.count(Fate::Found)
    }

    /// Attacks that were not named in time.
    pub fn missed(&self) -> usize {
        self.count(Fate::Missed)
    }

    /// Things that were named and did not happen.
    pub fn false_alarms(&self) -> usize {
        self.score.false_alarms.len()
    }

    /// Nothing missed, nothing invented?
    pub fn is_clean(&self) -> bool {
        self.missed() == 0 && self.false_alarms() == 0
    }

    /// The outcomes as scored.
    pub fn score(&self) -> &Score {
        &self.score
    }

    /// Median and worst time to detect.
    pub fn times(&self) -> Option<(Duration, Duration)> {
        let mut times: Vec<Duration> =
            self.score.outcomes.iter().filter_map(|outcome| outcome.time_to_detect).collect();
        times.sort_unstable();
        let worst = *times.last()?;
        let (low, high) = (times.get((times.len() - 1) / 2)?, times.get(times.len() / 2)?);
        Some(((*low + *high) / 2, worst))
    }

    /// `found 3 of 3, missed 0, false alarms 0`, of those that are decided.
    pub fn counts(&self) -> String {
        let (found, decided) = (self.found(), self.found() + self.missed());
        let (missed, false_alarms) = (self.missed(), self.false_alarms());
        format!("found {found} of {decided}, missed {missed}, false alarms {false_alarms}")
    }

    /// `median 366 ms, worst 1,416 ms`: how long it took to name what was found.
    pub fn times_in_words(&self) -> Option<String> {
        let (median, worst) = self.times()?;
        let (median, worst) = (words::milliseconds(median), words::milliseconds(worst));
        Some(format!("median {median}, worst {worst}"))
    }

    /// The whole card.
    pub fn write(&self, demo: &Demo, out: &mut impl Write) -> io::Result<()> {
        let scenario = demo.scenario();
        let whole = scenario.duration_ns as f64 / 1e9;
        let (name, seed) = (&scenario.name, scenario.seed);
        writeln!(out, "\nScore of \"{name}\", {whole:.0} s, seed {seed}\n")?;
        self.write_table(out)?;
        self.write_false_alarms(demo, out)?;
        let (packets, drops) = (demo.packets(), demo.drops());
        let counted = words::grouped(packets.saturating_sub(drops.total()));
        let (packets, dropped) = (words::grouped(packets), words::grouped(drops.total()));
        writeln!(out, "packets: {packets} generated, {counted} counted, {dropped} not counted")?;
        let open = self.count(Fate::Open);
        if !demo.is_over() {
            let at = demo.elapsed().as_secs_f64();
            writeln!(out, "stopped at {at:.1} s of {whole:.0}: {open} attacks were not decided")?;
        }
        match self.times_in_words() {
            Some(times) => writeln!(out, "{}; time to detect: {times}", self.counts()),
            None => writeln!(out, "{}", self.counts()),
        }
    }

    fn count(&self, fate: Fate) -> usize {
        self.fates.iter().filter(|other| **other == fate).count()
    }

    fn write_table(&self, out: &mut impl Write) -> io::Result<()> {
        if self.fates.is_empty() {
            return writeln!(out, "  no attack was injected: nothing should be found\n");
        }
        let rows: Vec<[String; 5]> =
            self.score.outcomes.iter().zip(&self.fates).map(|(o, f)| row(o, *f)).collect();
        let head = ["attack", "target", "expected", "found after", "named"].map(str::to_owned);
        let mut widths = head.clone().map(|cell| cell.chars().count());
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in std::iter::once(&head).chain(&rows) {
            let mut line = String::new();
            for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
                // Times stand under each other.
                let cell =
                    if at == 3 { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
                line.push_str(&cell);
                line.push_str("  ");
            }
            writeln!(out, "  {}", line.trim_end())?;
        }
        writeln!(out)
    }

    fn write_false_alarms(&self, demo: &Demo, out: &mut impl Write) -> io::Result<()> {
        let start = demo.scenario().start;
        if self.score.false_alarms.is_empty() {
            return writeln!(out, "false alarms: none");
        }
        writeln!(out, "false alarms:")?;
        for attack in
            self.score.false_alarms.iter().filter_map(|index| demo.watch().attacks().get(*index))
        {
            let at = attack.detected.since(start).as_secs_f64();
            let (target, named) = (&attack.target, words::named(attack));
            let (place, reason) =
                (words::preposition(attack.direction), words::reason(&attack.reason));
            writeln!(out, "  {at:.3} s  {named} {place} {target}: {reason}")?;
        }
        Ok(())
    }
}

fn fate(outcome: &Outcome, truth: &Truth, now: Timestamp, over: bool) -> Fate {
    if outcome.detection.is_some() {
        Fate::Found
    } else if over || now > truth.end + GRACE {
        Fate::Missed
    } else {
        Fate::Open
    }
}

fn row(outcome: &Outcome, fate: Fate) -> [String; 5] {
    let expected = outcome.expected.map_or("anything", words::class);
    let found = match (fate, outcome.time_to_detect) {
        (Fate::Found, Some(time)) => words::milliseconds(time),
        (Fate::Open, _) => "not yet".to_owned(),
        _ => "MISSED".to_owned(),
    };
    let mut named = outcome.class.map_or("", words::class).to_owned();
    if outcome.class.is_some() && !outcome.class_fits {
        named += " (does not fit)";
    }
    if outcome.time_to_detect.is_some() && !outcome.in_time {
        named += " (late)";
    }
    [outcome.name.clone(), target(outcome.target), expected.to_owned(), found, named]
}

/// A host without its prefix length.
pub(super) fn target(prefix: Prefix) -> String {
    if prefix.len() == prefix.family().bits() {
        prefix.first().to_string()
    } else {
        prefix.to_string()
    }
}
