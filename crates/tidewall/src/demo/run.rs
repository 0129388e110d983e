//! Shows a demo from its beginning to its end: on a face, which is plain lines or a full screen,
//! at the pace of a clock or as fast as the machine can.

use std::io::{self, Write};
use std::time::Duration;

use tidewall_model::{AttackEvent, AttackEventKind};

use super::clock::{Clock, Pace};
use super::watch::{Injection, News, Status};
use super::{Demo, DemoError, card, words};

/// Real time between two looks at the face.
const FRAME: Duration = Duration::from_millis(100);
/// Packets between two looks at the clock.
const PORTION: u64 = 2_000;

/// How fast demo time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// As fast as the clock, or slower.
    Real,
    /// As fast as the machine can.
    Fast,
}

/// Where a demo is shown.
pub trait Face {
    /// Shows what is new.
    fn show(&mut self, demo: &mut Demo, pace: &Pace) -> io::Result<()>;

    /// Lets so much time pass. Returns true when whoever watches has had enough.
    fn wait(&mut self, time: Duration) -> io::Result<bool>;
}

/// What the run itself took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Time in which packets were made and counted; waiting and drawing left out.
    pub busy: Duration,
    /// By how much longer it took because the machine could not keep up.
    pub stretched: Duration,
}

/// Runs a demo to its end, or until somebody quits.
pub fn run(demo: &mut Demo, face: &mut impl Face, speed: Speed) -> Result<Effort, DemoError> {
    let clock = Clock::start();
    let mut pace = Pace::default();
    let mut busy = Duration::ZERO;
    let start = demo.scenario().start;
    face.show(demo, &pace).map_err(DemoError::Output)?;
    while !demo.is_over() {
        let begin = clock.elapsed();
        let until = match speed {
            Speed::Real => start + pace.due(begin),
            Speed::Fast => demo.scenario().end(),
        };
        while !demo.run_until(until, PORTION)? && clock.elapsed() < begin + FRAME {}
        let now = clock.elapsed();
        busy += now.saturating_sub(begin);
        if speed == Speed::Real {
            pace.reached(now, demo.elapsed());
        }
        face.show(demo, &pace).map_err(DemoError::Output)?;
        let rest = match speed {
            Speed::Real => (begin + FRAME).saturating_sub(clock.elapsed()),
            Speed::Fast => Duration::ZERO,
        };
        if face.wait(rest).map_err(DemoError::Output)? {
            break;
        }
    }
    demo.finish()?;
    face.show(demo, &pace).map_err(DemoError::Output)?;
    Ok(Effort { busy, stretched: pace.stretched() })
}

/// Lines of text: one for each thing that happens, and a status every few seconds of demo time.
/// Nothing in them depends on the machine.
pub struct Plain<W>(
    /// Where the lines go.
    pub W,
);

impl<W: Write> Face for Plain<W> {
    fn show(&mut self, demo: &mut Demo, _pace: &Pace) -> io::Result<()> {
        let start = demo.scenario().start;
        for news in demo.take_news() {
            let seconds = news.time().since(start).as_secs_f64();
            writeln!(self.0, "{seconds:8.3} s  {}", line(&news))?;
        }
        self.0.flush()
    }

    fn wait(&mut self, time: Duration) -> io::Result<bool> {
        Clock::wait(time);
        Ok(false)
    }
}

impl News {
    /// When it happened.
    pub fn time(&self) -> tidewall_model::Timestamp {
        match self {
            Self::Injected(injection) => injection.time,
            Self::Event(event) => event.time,
            Self::Status(status) => status.time,
        }
    }
}

/// One line about what happened, without the time.
pub fn line(news: &News) -> String {
    match news {
        News::Injected(injection) => injected(injection),
        News::Event(event) => event_line(event),
        News::Status(status) => status_line(*status),
    }
}

fn injected(injection: &Injection) -> String {
    let Injection { name, target, is_attack, .. } = injection;
    let note = if *is_attack { "" } else { " (not an attack: nothing should be said)" };
    format!("injected  {name} at {}{note}", card::target(*target))
}

fn event_line(event: &AttackEvent) -> String {
    let attack = &event.attack;
    let (place, target) = (words::preposition(attack.direction), &attack.target);
    let head = format!("{} {place} {target}", words::named(attack));
    let peak = || {
        let (pps, bits) = (words::grouped(attack.peak_pps), words::bits(attack.peak_bps as f64));
        format!("peak {pps} packets/s, {bits}, {} packets", words::grouped(attack.packets))
    };
    match event.kind {
        AttackEventKind::Started => {
            format!("ATTACK    {head}: {}", words::reason(&attack.reason))
        }
        AttackEventKind::Updated => format!("goes on   {head}: {}", peak()),
        AttackEventKind::Ended => {
            let ended = attack.ended.unwrap_or(event.time);
            let seconds = ended.since(attack.started).as_secs_f64();
            format!("over      {head}: after {seconds:.1} s, {}", peak())
        }
    }
}

fn status_line(status: Status) -> String {
    let running = match status.running {
        0 => "no attack".to_owned(),
        1 => "1 attack".to_owned(),
        more => format!("{more} attacks"),
    };
    format!(
        "          {} packets/s, {}, {} hosts, {running}",
        words::rate(status.pps),
        words::bits(status.bps),
        words::grouped(status.hosts as u64)
    )
}
