//! A worker: one thread that owns one source, decodes what it receives and counts it in its shard.
//! It tells the rest of the process how it does through a [`WorkerStatus`], now and then.

pub mod flows;
pub mod frames;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidewall_capture::{ReceiveError, SourceStatistics};
use tidewall_model::{DropCounters, FlowRecord};

use super::clock::Clock;
use super::shards::SharedShard;
use crate::exports::ExporterReport;

/// A source is waited for at most so long: then the worker looks whether it should end.
const WAIT: Duration = Duration::from_millis(100);
/// Time between two reports of a worker about itself.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Time between two savings of what is to outlive a restart.
const SAVE_EVERY: Duration = Duration::from_mins(1);
/// Records that a batch begins with room for.
const BATCH: usize = 8192;

/// A source that gives fewer datagrams or frames at once has no more.
const FULL: usize = 64;

/// What a worker says of itself.
#[derive(Clone, Debug, Default)]
pub struct WorkerReport {
    /// What was received, and lost.
    pub source: SourceStatistics,
    /// Records given to the engine.
    pub records: u64,
    /// What was not counted, by reason.
    pub drops: DropCounters,
    /// Its exporters.
    pub exporters: Vec<ExporterReport>,
    /// Why it ended before it was asked to.
    pub failed: Option<String>,
}

#[expect(clippy::disallowed_types, reason = "taken once a second, never for a record")]
type Lock<T> = std::sync::Mutex<T>;

/// A worker as the rest of the process sees it.
#[derive(Debug)]
pub struct WorkerStatus {
    /// What it is called: `sflow [::]:6343 #0`.
    pub name: String,
    report: Lock<WorkerReport>,
}

impl WorkerStatus {
    /// Of a worker that has not begun.
    pub fn new(name: String) -> Self {
        Self { name, report: Lock::default() }
    }

    /// Its last report.
    pub fn report(&self) -> WorkerReport {
        self.report.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn set(&self, report: WorkerReport) {
        *self.report.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = report;
    }
}

/// What a worker drives: a source, and what makes records of it.
pub trait Feed: Send {
    /// Waits at most so long, and adds what came to `batch`. Gives the number of datagrams or
    /// frames taken.
    fn receive(
        &mut self,
        wait: Duration,
        batch: &mut Vec<FlowRecord>,
    ) -> Result<usize, ReceiveError>;

    /// How long to leave it alone once it had nothing more, so that one waking takes what came in
    /// all that time. Its buffer must last for as long at any rate.
    fn pause(&self) -> Duration {
        Duration::ZERO
    }

    /// Looks after what has waited too long. Called about once a second.
    fn tick(&mut self);

    /// How it does.
    fn report(&mut self) -> WorkerReport;

    /// Keeps what is to outlive a restart. Called about once a minute, and at the end.
    fn save(&mut self) {}
}

/// One worker.
pub struct Worker {
    /// What it drives.
    pub feed: Box<dyn Feed>,
    /// Where records are counted.
    pub shard: SharedShard,
    /// The process's clock.
    pub clock: Clock,
    /// Where it reports.
    pub status: Arc<WorkerStatus>,
    /// Set when it is to end.
    pub stop: Arc<AtomicBool>,
}

impl Worker {
    /// Receives until it is told to stop, then takes what the kernel still holds.
    pub fn run(mut self) {
        let mut batch: Vec<FlowRecord> = Vec::with_capacity(BATCH);
        let (mut records, mut reported, mut saved) = (0, Duration::ZERO, Duration::ZERO);
        let mut last_round = None;
        let failed = loop {
            let stopping = self.stop.load(Ordering::Relaxed);
            let wait = if stopping { Duration::ZERO } else { WAIT };
            let received = self.feed.receive(wait, &mut batch);
            records += batch.len() as u64;
            if !batch.is_empty() {
                self.shard.with(|shard| shard.ingest(&batch));
                batch.clear();
            }
            match received {
                Ok(0) if stopping => break None,
                Ok(count) if (1..FULL).contains(&count) && !stopping => pause(self.feed.pause()),
                Ok(_) => {}
                Err(error) => break Some(error.to_string()),
            }
            let elapsed = self.clock.elapsed();
            // Whoever sends without end does not keep us from ending.
            if stopping && elapsed > *last_round.get_or_insert(elapsed) + DRAIN {
                break None;
            }
            if elapsed.saturating_sub(reported) >= REPORT_EVERY {
                reported = elapsed;
                self.feed.tick();
                self.report(records, None);
            }
            if elapsed.saturating_sub(saved) >= SAVE_EVERY {
                saved = elapsed;
                self.feed.save();
            }
        };
        self.feed.save();
        self.report(records, failed);
    }

    fn report(&mut self, records: u64, failed: Option<String>) {
        self.status.set(WorkerReport { records, failed, ..self.feed.report() });
    }
}

/// Being woken for every datagram costs more than taking it.
#[expect(clippy::disallowed_methods, reason = "a worker rests for a part of the detector's grace")]
fn pause(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}

/// What the kernel holds is taken for at most so long when the service ends.
const DRAIN: Duration = Duration::from_secs(1);
