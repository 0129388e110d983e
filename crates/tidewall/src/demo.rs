//! The demo: a scenario's traffic on the ordinary way of a mirrored packet. The generator makes
//! records, each is rendered as a frame, the frame is dissected and counted as if a network card
//! had delivered it, and what the engine says is scored against what really happened. Everything
//! here runs in one thread and reads no clock: how fast demo time passes is `run.rs`'s matter.

mod capture;
pub mod card;
pub mod clock;
mod policy;
pub mod run;
pub mod screen;
pub mod watch;
pub mod words;

use std::io;
use std::iter::Peekable;
use std::time::Duration;

use tidewall_collect::FrameCollector;
use tidewall_engine::{Dealing, Engine};
use tidewall_model::{DropCounters, FlowRecord, Timestamp};
use tidewall_scenario::{FrameRenderer, Generator, RenderError, Scenario, Truth};
use tidewall_wire::frame::LinkType;

pub use capture::{CaptureWriter, Medium};
pub use policy::{configuration, policy};

use watch::{Injection, News, Watch};

/// Records given to the engine at once.
const BATCH: usize = 256;

/// Why the demo cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A packet of the scenario cannot be written as a frame.
    #[error(
        "the scenario's packet {packet} cannot be a frame: {reason}; change its length or protocol"
    )]
    Render {
        /// Number of the packet, from 0.
        packet: u64,
        /// What is wrong with it.
        reason: RenderError,
    },
    /// The capture file cannot be written.
    #[error("the capture cannot be written: {0}; is there room on the disk?")]
    Capture(io::Error),
    /// The terminal or standard output is gone.
    #[error("standard output cannot be written: {0}")]
    Output(io::Error),
}

/// A scenario on its way through the engine.
pub struct Demo {
    scenario: Scenario,
    truths: Vec<Truth>,
    source: Peekable<Generator>,
    injections: Peekable<std::vec::IntoIter<Injection>>,
    renderer: FrameRenderer,
    frame: Vec<u8>,
    collector: FrameCollector,
    batch: Vec<FlowRecord>,
    engine: Engine,
    watch: Watch,
    capture: Option<CaptureWriter>,
    at: Timestamp,
    finished: bool,
}

impl Demo {
    /// Ready to begin. With a `capture`, the traffic is also written there.
    pub fn new(scenario: Scenario, capture: Option<CaptureWriter>) -> Self {
        let policy = policy(&scenario);
        let watch = Watch::new(scenario.start, &policy.detection);
        Self {
            truths: scenario.truth(),
            source: Generator::new(&scenario).peekable(),
            injections: Injection::all(&scenario).into_iter().peekable(),
            renderer: FrameRenderer::new(),
            frame: Vec::new(),
            collector: FrameCollector::default(),
            batch: Vec::with_capacity(BATCH),
            engine: Engine::new(policy, 1, Dealing::ByHost, scenario.seed),
            watch,
            capture,
            at: scenario.start,
            finished: false,
            scenario,
        }
    }

    /// Lets demo time pass until `until`, or until `most` packets are made. Returns true when
    /// `until` was reached.
    pub fn run_until(&mut self, until: Timestamp, most: u64) -> Result<bool, DemoError> {
        let until = until.min(self.scenario.end());
        let mut made = 0;
        while let Some(time) = self.source.peek().map(|record| record.time) {
            if time >= until {
                break;
            }
            if made == most {
                self.count();
                return Ok(false);
            }
            self.inject_until(time);
            if let Some(record) = self.source.next() {
                self.packet(&record)?;
            }
            made += 1;
        }
        self.inject_until(until);
        self.count();
        self.engine.advance(until, &mut self.watch);
        self.watch.refresh(self.engine.attacks());
        self.at = self.at.max(until);
        Ok(true)
    }

    /// The end, whether all of the scenario was shown or not: closes the last window and the
    /// capture.
    pub fn finish(&mut self) -> Result<(), DemoError> {
        self.finished = true;
        self.engine.finish(&mut self.watch);
        self.watch.refresh(self.engine.attacks());
        match self.capture.take() {
            Some(capture) => capture.finish().map_err(DemoError::Capture),
            None => Ok(()),
        }
    }

    /// What is shown.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }

    /// What a detector should find.
    pub fn truths(&self) -> &[Truth] {
        &self.truths
    }

    /// What was seen so far.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }

    /// What happened since this was called last.
    pub fn take_news(&mut self) -> Vec<News> {
        self.watch.take_news()
    }

    /// How far demo time is.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Demo time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.at.since(self.scenario.start)
    }

    /// Is everything shown that there is?
    pub fn is_over(&self) -> bool {
        self.at >= self.scenario.end()
    }

    /// Was [`Self::finish`] called?
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// Frames made so far, whether they were counted or not.
    pub fn packets(&self) -> u64 {
        self.collector.received()
    }

    /// Frames and records that were not counted, by reason.
    pub fn drops(&self) -> DropCounters {
        let mut drops = *self.collector.drops();
        drops.merge(&self.engine.stats().drops);
        drops
    }

    /// One packet: record, frame, and what the dissector makes of that.
    fn packet(&mut self, record: &FlowRecord) -> Result<(), DemoError> {
        self.at = record.time;
        self.renderer
            .frame(record, &mut self.frame)
            .map_err(|reason| DemoError::Render { packet: record.seq, reason })?;
        if let Some(capture) = &mut self.capture {
            capture.write(record, &self.frame).map_err(DemoError::Capture)?;
        }
        let length = self.frame.len() as u32;
        let decoded = self.collector.decode(LinkType::ETHERNET, record.time, &self.frame, length);
        // What is not counted, the collector has counted as such.
        if let Ok(decoded) = decoded {
            self.batch.push(decoded);
        }
        if self.batch.len() >= BATCH {
            self.count();
        }
        Ok(())
    }

    fn count(&mut self) {
        self.engine.ingest(&self.batch, &mut self.watch);
        self.batch.clear();
    }

    /// Tells which attacks begin, up to now, in order with what the engine says.
    fn inject_until(&mut self, now: Timestamp) {
        while let Some(injection) = self.injections.next_if(|injection| injection.time <= now) {
            self.count();
            self.engine.advance(injection.time, &mut self.watch);
            self.watch.inject(injection);
        }
    }
}
