//! A worker: one thread that owns one source, decodes what it receives and counts it in its shard.
//! It tells the rest of the process how it does through a [`WorkerStatus`], now and then.

pub mod flows;
pub mod frames;
mod load;
mod stall;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Once};
use std::time::Duration;

use tidewall_capture::{ReceiveError, SourceStatistics, pin_current_thread};
use tidewall_model::{DropCounters, DropReason, FlowRecord, Prefix, SamplingRate};
use tracing::warn;

use super::clock::{self, Clock};
use super::shards::SharedShard;
use crate::config::{Flows, Frames};
use crate::exports::ExporterReport;
use crate::near::Near;
pub use load::Load;
use load::Meter;
use stall::Stall;

/// A source is waited for at most so long: then the worker looks whether it should end.
const WAIT: Duration = Duration::from_millis(100);
/// At the end a source is given so long to hand over what it holds: rings do it by the block.
const LINGER: Duration = Duration::from_millis(30);
/// What the kernel holds is taken for at most so long when the service ends.
const DRAIN: Duration = Duration::from_secs(1);
/// Time between two complaints about what a writer sends.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);
/// Time between two reports of a worker about itself.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Time between two savings of what is to outlive a restart.
const SAVE_EVERY: Duration = Duration::from_mins(1);
/// Records that are counted at once: while they are in the fastest cache.
const FEW: usize = 128;
/// Room for what one datagram or one payment may add to them.
const ROOM: usize = 8192;

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
    /// How busy it is.
    pub load: Load,
    /// Its exporters, or its parts of them.
    pub exporters: Vec<ExporterReport>,
    /// Who sent the last datagram that could not be read, and what was wrong with it.
    pub unread: Option<(IpAddr, DropReason)>,
    /// Why it ended before it was asked to.
    pub failed: Option<String>,
    /// Its input has come to its end.
    pub ended: bool,
}

impl WorkerReport {
    /// Adds what another worker received and lost.
    pub fn count(&mut self, other: &Self) {
        self.source += other.source;
        self.records += other.records;
        self.drops.merge(&other.drops);
    }
}

/// What changes for workers while they run.
#[derive(Clone, Debug)]
pub struct Adjustment {
    /// How export datagrams are read.
    pub flows: Flows,
    /// Exporters that are heard; empty: all.
    pub allow: Vec<Prefix>,
    /// Bytes the kernel is to keep for each socket.
    pub receive_buffer: usize,
    /// How frames are counted.
    pub frames: Frames,
    /// Each frame stands for so many.
    pub sampling: SamplingRate,
}

/// Templates of a worker, and whose they are.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Whose, in words.
    pub of: String,
    /// As they are saved.
    pub image: Vec<u8>,
}

/// What a worker is told while it runs.
#[derive(Debug)]
pub enum Word {
    /// Go by other rules.
    Adjust(Adjustment),
    /// Say what is to be remembered, when there is anything.
    Remember(Sender<Memory>),
    /// Know what others knew; what comes with it is let go of then.
    Learn(Arc<Vec<Memory>>, Sender<()>),
    /// Run on this CPU only.
    Pin(usize),
    /// Take nothing new; count what the kernel holds, and end.
    Leave,
}

#[expect(clippy::disallowed_types, reason = "taken once a second, never for a record")]
type Lock<T> = std::sync::Mutex<T>;

/// A worker as the rest of the process sees it.
#[derive(Debug)]
pub struct WorkerStatus {
    /// What it is called: `sflow [::]:6343 #0`.
    pub name: String,
    /// The CPU that it is bound to, or [`NO_CPU`].
    cpu: AtomicUsize,
    report: Lock<Arc<WorkerReport>>,
}

/// It is bound to none.
const NO_CPU: usize = usize::MAX;

impl WorkerStatus {
    /// Of a worker that has not begun.
    pub fn new(name: String) -> Self {
        Self { name, cpu: NO_CPU.into(), report: Lock::default() }
    }

    /// The CPU that it is bound to.
    pub fn cpu(&self) -> Option<usize> {
        Some(self.cpu.load(Ordering::Relaxed)).filter(|cpu| *cpu != NO_CPU)
    }

    /// Its last report.
    pub fn report(&self) -> WorkerReport {
        WorkerReport::clone(&self.latest())
    }

    /// The same, without a copy.
    pub(crate) fn latest(&self) -> Arc<WorkerReport> {
        Arc::clone(&self.report.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Says of a worker that has ended why nothing is received.
    pub(super) fn fail(&self, reason: &str) {
        self.set(WorkerReport { failed: Some(reason.to_owned()), ..self.report() });
    }

    /// Its thread has ended.
    fn rest(&self) {
        self.set(WorkerReport { load: Load::default(), ..self.report() });
    }

    fn set(&self, report: WorkerReport) {
        let report = Arc::new(report);
        *self.report.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = report;
    }
}

/// What a worker drives: a source, and what makes records of it.
pub trait Feed: Send {
    /// Waits at most so long, and puts what came into `outlet`. Gives the number of datagrams or
    /// frames taken.
    fn receive(&mut self, wait: Duration, outlet: &mut Outlet) -> Result<usize, ReceiveError>;

    /// How long to leave it alone once it had nothing more, so that one waking takes what came in
    /// all that time. Its buffer must last for as long at any rate.
    fn pause(&mut self) -> Duration {
        Duration::ZERO
    }

    /// Looks after what has waited too long. Called about once a second.
    fn tick(&mut self);

    /// Goes by other rules from the next batch on.
    fn adjust(&mut self, adjustment: &Adjustment);

    /// What another worker can learn.
    fn remember(&self) -> Option<Vec<u8>> {
        None
    }

    /// Knows what others knew, as far as it does not know better.
    fn learn(&mut self, _memories: &[Memory]) {}

    /// Lets nothing new in from now on, where the source can do that.
    fn leave(&mut self) {}

    /// How it does.
    fn report(&mut self) -> WorkerReport;

    /// Keeps what is to outlive a restart. Called about once a minute, and at the end.
    fn save(&mut self) {}
}

/// Where a feed puts its records. They are counted a few at a time.
pub struct Outlet {
    shard: SharedShard,
    waiting: Vec<FlowRecord>,
    clock: Clock,
    stall: Stall,
    counted: u64,
    /// Records that were left out because they had piled up.
    left_out: u64,
}

impl Outlet {
    fn new(shard: SharedShard, clock: Clock) -> Self {
        let (waiting, stall) = (Vec::with_capacity(ROOM), Stall::new(clock.elapsed()));
        Self { shard, waiting, clock, stall, counted: 0, left_out: 0 }
    }

    /// Where records are added; [`Self::settle`] is called after.
    #[inline]
    pub fn waiting(&mut self) -> &mut Vec<FlowRecord> {
        &mut self.waiting
    }

    /// Counts what waits if it is enough.
    #[inline]
    pub fn settle(&mut self) {
        if self.waiting.len() >= FEW {
            self.flush();
        }
    }

    /// Counts what waits. Called in every round of a worker, too.
    fn flush(&mut self) {
        let piled_up = self.stall.look(self.clock.elapsed());
        let count = self.waiting.len() as u64;
        if count == 0 {
            return;
        }
        if piled_up {
            self.left_out += count;
        } else {
            self.counted += count;
            self.shard.with(|shard| shard.ingest_with(&self.waiting, Near));
        }
        self.waiting.clear();
    }
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
    /// What it is told.
    pub words: Receiver<Word>,
    /// What was counted here by a source that was lost.
    pub before: WorkerReport,
}

/// What a worker's loop remembers.
#[derive(Default)]
struct Rounds {
    records: u64,
    left_out: u64,
    meter: Meter,
    reported: Duration,
    saved: Duration,
    complained: Option<Duration>,
    /// When it was found that it is to end.
    ending: Option<Duration>,
}

impl Worker {
    /// Receives until it is told to stop, then takes what the kernel still holds.
    pub fn run(mut self) {
        let mut outlet = Outlet::new(self.shard.clone(), self.clock);
        let mut rounds = Rounds::default();
        self.report(&mut rounds, None, false);
        let mut leaving = false;
        let (failed, ended) = loop {
            while let Ok(word) = self.words.try_recv() {
                leaving |= self.hear(word);
            }
            let stopping = leaving || self.stop.load(Ordering::Relaxed);
            let received = self.feed.receive(self.wait(&rounds, stopping), &mut outlet);
            outlet.flush();
            (rounds.records, rounds.left_out) = (outlet.counted, outlet.left_out);
            if received.as_ref().is_ok_and(|count| *count < FULL) {
                outlet.stall.is_over();
            }
            match received {
                Ok(0) if stopping => break (None, false),
                Ok(count) if (1..FULL).contains(&count) && !stopping => pause(self.feed.pause()),
                Ok(_) => {}
                Err(ReceiveError::Ended { .. }) => break (None, true),
                Err(error @ ReceiveError::Stream { .. }) => self.complain(&error, &mut rounds),
                Err(error) => break (Some(error.to_string()), false),
            }
            if self.look_around(&mut rounds, stopping) {
                break (None, false);
            }
        };
        self.feed.save();
        self.report(&mut rounds, failed, ended);
        self.status.rest();
    }

    /// How long to wait for the source. At the end what it holds is handed over within a moment;
    /// then what is there is taken, and nothing more is waited for: somebody always sends.
    fn wait(&self, rounds: &Rounds, stopping: bool) -> Duration {
        match rounds.ending {
            _ if !stopping => WAIT,
            Some(since) if self.clock.elapsed() > since + LINGER => Duration::ZERO,
            _ => LINGER,
        }
    }

    /// Does what it is told. True when it is to end.
    fn hear(&mut self, word: Word) -> bool {
        match word {
            Word::Adjust(adjustment) => self.feed.adjust(&adjustment),
            Word::Remember(answer) => {
                let of = self.status.name.clone();
                let memory = self.feed.remember().map(|image| Memory { of, image });
                // Whoever asked may have lost patience.
                _ = memory.map(|memory| answer.send(memory));
            }
            Word::Learn(memories, _done) => self.feed.learn(&memories),
            Word::Pin(cpu) => self.pin(cpu),
            Word::Leave => {
                self.feed.leave();
                return true;
            }
        }
        false
    }

    /// Binds its thread to a CPU. Where that is refused it works all the same.
    fn pin(&self, cpu: usize) {
        static TOLD: Once = Once::new();
        match pin_current_thread(cpu) {
            Ok(()) => self.status.cpu.store(cpu, Ordering::Relaxed),
            Err(error) => TOLD.call_once(|| warn!("{}: {error}", self.status.name)),
        }
    }

    /// Does what is done now and then. True when it is time to end.
    fn look_around(&mut self, rounds: &mut Rounds, stopping: bool) -> bool {
        let elapsed = self.clock.elapsed();
        if elapsed.saturating_sub(rounds.reported) >= REPORT_EVERY {
            rounds.reported = elapsed;
            self.feed.tick();
            self.report(rounds, None, false);
        }
        if elapsed.saturating_sub(rounds.saved) >= SAVE_EVERY {
            rounds.saved = elapsed;
            self.feed.save();
        }
        // Whoever sends without end does not keep us from ending.
        stopping && elapsed > *rounds.ending.get_or_insert(elapsed) + DRAIN
    }

    /// A writer sent what is no capture: the next one may do better.
    fn complain(&self, error: &ReceiveError, rounds: &mut Rounds) {
        let now = self.clock.elapsed();
        if rounds.complained.is_none_or(|last| now.saturating_sub(last) >= COMPLAIN_EVERY) {
            rounds.complained = Some(now);
            warn!("{error}; waiting for the next writer");
        }
    }

    fn report(&mut self, rounds: &mut Rounds, failed: Option<String>, ended: bool) {
        let mut report = self.feed.report();
        report.source += self.before.source;
        report.drops.add(DropReason::Stalled, rounds.left_out);
        report.drops.merge(&self.before.drops);
        let records = self.before.records + rounds.records;
        let load = rounds.meter.read(self.clock.elapsed(), clock::thread_time(), rounds.records);
        self.status.set(WorkerReport { records, load, failed, ended, ..report });
    }
}

/// Being woken for every datagram costs more than taking it.
#[expect(clippy::disallowed_methods, reason = "a worker rests for a part of the detector's grace")]
fn pause(time: Duration) {
    if !time.is_zero() {
        std::thread::sleep(time);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tidewall_engine::{Conductor, Policy};

    use super::*;

    /// Something always comes while it is waited for; besides, the kernel holds a lot.
    struct Stream {
        held: usize,
        taken: Sender<usize>,
    }

    impl Feed for Stream {
        fn receive(&mut self, wait: Duration, _: &mut Outlet) -> Result<usize, ReceiveError> {
            let count = match self.held.min(FULL) {
                0 if wait.is_zero() => 0,
                0 => {
                    pause(wait.min(Duration::from_millis(5)));
                    1
                }
                held => held,
            };
            self.held -= count.min(self.held);
            // Nobody counts any more once the test has failed.
            _ = self.taken.send(count);
            Ok(count)
        }

        fn tick(&mut self) {}

        fn adjust(&mut self, _adjustment: &Adjustment) {}

        fn report(&mut self) -> WorkerReport {
            WorkerReport::default()
        }
    }

    #[test]
    fn what_is_held_is_taken_and_a_stream_does_not_keep_it_from_ending() {
        let (taken, counts) = channel();
        let (_tell, words) = channel();
        let (held, clock) = (1000 * FULL + 7, Clock::start());
        let mut conductor = Conductor::new(Policy::for_networks(Vec::new()), 0, false, 7);
        let worker = Worker {
            feed: Box::new(Stream { held, taken }),
            shard: SharedShard::new(conductor.join()),
            clock,
            status: Arc::new(WorkerStatus::new("stream".to_owned())),
            stop: Arc::new(AtomicBool::new(true)),
            words,
            before: WorkerReport::default(),
        };
        worker.run();
        let lasted = clock.elapsed();
        assert!(counts.iter().sum::<usize>() >= held);
        assert!(lasted < DRAIN, "{lasted:?}");
    }
}
