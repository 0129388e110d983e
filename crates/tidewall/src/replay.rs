//! A replay: captures through the frame collector and the engine, by the captures' own time. The
//! same input gives the same [`Outcome`], whatever the number of shards and the size of batches.

use thiserror::Error;
use tidewall_collect::{FrameCollector, Protocols};
use tidewall_engine::{Dealing, Engine, EngineStats, Policy};
use tidewall_model::{
    Attack, Count, DropCounters, FlowRecord, Prefix, SamplingRate, Timestamp, TrafficCounters,
};

mod clock;
mod filters;
mod guess;
mod pacing;
mod source;
mod tally;

pub use filters::{MeasuredFilters, Taken};
pub use pacing::parse_time;
pub use source::{FileSummary, Input};
pub use tally::HostTotal;

use crate::capture_file::CaptureFileError;
use crate::config::{Flows, Frames};
use crate::crediting::Creditor;
use crate::exports::{ExporterReport, Exports, Medium};
use crate::near::Near;
use filters::FilterMeter;
use pacing::Pacer;
use source::{Arrival, Collectors, Merged};
use tally::Tally;

/// Packets that are looked at to guess the network. They are kept until it is known: 25 MB.
const GUESS_PACKETS: usize = 200_000;
/// Packets between two reports of progress.
const PROGRESS_EVERY: u64 = 1 << 14;
/// Keys the hash tables. Fixed: a replay must not depend on chance.
const SEED: u64 = 0x7469_6465_7761_6c6c;

/// What is to be done with the captures.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Networks and limits. Without a network the busiest destination is guessed.
    pub policy: Policy,
    /// Which header and which length of a frame counts.
    pub frames: Frames,
    /// How export datagrams are read.
    pub flows: Flows,
    /// What the captures hold; told by their first packets when it is not given.
    pub medium: Option<Medium>,
    /// Each packet stands for so many. Of export datagrams: where the exporter says nothing.
    pub sampling: SamplingRate,
    /// Packets come so many times faster than they were captured.
    pub speed: f64,
    /// The captures are played so many times.
    pub rounds: u32,
    /// When the first packet comes, if not when it was captured.
    pub start_at: Option<Timestamp>,
    /// Shards of the engine.
    pub shards: usize,
    /// Packets given to the engine at once.
    pub batch: usize,
    /// Hosts in [`Outcome::top_hosts`].
    pub top: usize,
}

impl Settings {
    /// One round at natural speed for a policy.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            frames: Frames::default(),
            flows: Flows::default(),
            medium: None,
            sampling: SamplingRate::ONE,
            speed: 1.0,
            rounds: 1,
            start_at: None,
            shards: 1,
            batch: 1024,
            top: 10,
        }
    }
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What was read, of one round.
    pub files: Vec<FileSummary>,
    /// Exporters of flow protocols, as they were at the end of the last round.
    pub exporters: Vec<ExporterReport>,
    /// Records that the packets gave: a frame gives one, or none; a datagram of flows gives many.
    pub records: u64,
    /// Records that were counted when they came because too many were being spread.
    pub not_spread: u64,
    /// Our networks.
    pub networks: Vec<Prefix>,
    /// They were guessed from the traffic.
    pub guessed: bool,
    /// Speed and rounds as asked for.
    pub pace: (f64, u32),
    /// Each packet stood for so many.
    pub sampling: SamplingRate,
    /// Replay time of the earliest and the latest packet.
    pub span: Option<(Timestamp, Timestamp)>,
    /// All packets have the same time.
    pub instant: bool,
    /// Packets received over all rounds, and their lengths on the wire; not scaled.
    pub received: Count,
    /// Packets not counted, by reason: frames without a record, and what the engine left out.
    pub drops: DropCounters,
    /// Counters of the engine's own life.
    pub stats: EngineStats,
    /// Traffic by direction, in the order of [`tidewall_model::Direction::ALL`]; scaled.
    pub totals: [TrafficCounters; 4],
    /// Different hosts of ours.
    pub hosts: u64,
    /// Traffic of hosts that were too many to be kept apart.
    pub hosts_beyond: Count,
    /// Hosts with the most bytes, largest first.
    pub top_hosts: Vec<HostTotal>,
    /// Attacks in order of their numbers, each as it was last.
    pub attacks: Vec<Attack>,
    /// What the filters of those that have some take of the captures' packets. Nothing is known of
    /// it when standard input was read, which is there once.
    pub measured: Vec<MeasuredFilters>,
}

impl Outcome {
    /// Time from the first to the last packet, in seconds.
    pub fn seconds(&self) -> f64 {
        self.span.map_or(0.0, |(first, last)| last.since(first).as_secs_f64())
    }

    /// What a reader of the numbers must know, in sentences.
    pub fn warnings(&self) -> Vec<String> {
        let mut list = Vec::new();
        for file in &self.files {
            let FileSummary { name, outliers, set_back, .. } = file;
            list.extend(file.truncated.clone());
            list.extend(file.damaged.clone());
            if *outliers > 0 {
                list.push(format!(
                    "{name}: packets with a time far from that of their neighbours, taken to have \
                     come with the one before: {outliers}"
                ));
            }
            if *set_back > 0 {
                list.push(format!(
                    "{name}: the capture's clock was set back; time goes on from where it was \
                     (times: {set_back})"
                ));
            }
        }
        let (late, stats) = (self.stats.late, &self.stats);
        if late > 0 {
            list.push(format!("packets out of order, counted when they were read: {late}"));
        }
        if self.instant {
            list.push(
                "the capture has no duration: all packets have the same time, so rates say \
                 nothing about the real ones"
                    .to_owned(),
            );
        }
        if self.networks.is_empty() {
            list.push("no network is known, so nothing is watched: use --network".to_owned());
        }
        for (count, what) in [
            (
                stats.hosts_refused,
                "packets counted for their network only: the host table was full",
            ),
            (stats.watch_refused, "hosts over a limit that could not be watched: too many were"),
            (self.hosts_beyond.packets, "packets of hosts that are missing in the list of hosts"),
            (self.not_spread, "flow records counted when they came: too many were being spread"),
        ] {
            if count > 0 {
                list.push(format!("{what}: {count}"));
            }
        }
        list
    }

    /// Is there a capture of export datagrams among the files?
    pub fn has_exports(&self) -> bool {
        self.files.iter().any(|file| file.medium != Medium::Frames)
    }

    /// Could a file not be read to its end?
    pub fn is_damaged(&self) -> bool {
        self.files.iter().any(|file| file.damaged.is_some())
    }
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Packets so far.
    pub packets: u64,
    /// Bytes read so far, over all rounds.
    pub position: u64,
    /// Bytes to be read, if known.
    pub length: Option<u64>,
}

/// Why nothing was replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// A capture cannot be opened, or is none.
    #[error("{0}")]
    Capture(String),
    /// Standard input is there once.
    #[error("standard input can be read once only: {0}")]
    Stdin(&'static str),
    /// There is no packet in any of the files.
    #[error("{0}: there is no packet in it")]
    Empty(String),
}

impl From<CaptureFileError> for ReplayError {
    fn from(error: CaptureFileError) -> Self {
        Self::Capture(error.to_string())
    }
}

/// Replays `inputs`; tells `progress` now and then how far it is.
pub fn run(
    inputs: &[Input],
    settings: &Settings,
    progress: &mut dyn FnMut(Progress),
) -> Result<Outcome, ReplayError> {
    let stdin = inputs.iter().filter(|input| input.is_stdin()).count();
    if stdin > 1 {
        return Err(ReplayError::Stdin("give `-` once"));
    }
    if stdin > 0 && settings.rounds > 1 {
        return Err(ReplayError::Stdin("to repeat it, save it to a file first"));
    }
    let mut merged = Merged::open(inputs, settings.medium, collectors(settings))?;
    let mut policy = settings.policy.clone();
    let guessed = policy.networks.is_empty();
    let mut first_part: Vec<Arrival> = Vec::new();
    if guessed {
        first_part.extend(merged.by_ref().take(GUESS_PACKETS));
        let records = first_part.iter().filter_map(|arrival| arrival.record.as_ref());
        policy.networks = guess::busiest_networks(&records);
    }
    let mut drive = Drive::new(Detecting::new(policy, settings), settings);
    let merged = drive.play(inputs, settings, merged, first_part, progress)?;
    if drive.received == 0 {
        let names: Vec<_> = merged.summaries().into_iter().map(|file| file.name).collect();
        return Err(ReplayError::Empty(names.join(", ")));
    }
    let mut outcome = drive.finish(settings, guessed, &merged);
    if stdin == 0
        && let Some(meter) = FilterMeter::new(&outcome.attacks)
    {
        let merged = Merged::open(inputs, settings.medium, collectors(settings))?;
        let mut drive = Drive::new(meter, settings);
        drive.play(inputs, settings, merged, Vec::new(), &mut |_| {})?;
        drive.flush_all();
        outcome.measured = drive.to.into_results();
    }
    Ok(outcome)
}

/// Collectors that have seen nothing. Each round has its own: it begins before the one before it
/// ended, by the captures' time.
fn collectors(settings: &Settings) -> Collectors {
    let frames = settings.frames;
    let collector = FrameCollector::new(frames.tunnels, frames.length, settings.sampling);
    let mut flows = settings.flows.clone();
    if settings.sampling != SamplingRate::ONE {
        flows.sampling.set_fallback(settings.sampling, Protocols::ALL);
    }
    Collectors::new(collector, Exports::new(&flows, frames))
}

/// Takes the records of the captures, in order.
trait Taker {
    /// Takes the next records.
    fn take(&mut self, records: &[FlowRecord]);
}

/// The engine, and what is kept of what it finds.
struct Detecting {
    engine: Engine,
    tally: Tally,
}

impl Detecting {
    fn new(policy: Policy, settings: &Settings) -> Self {
        let engine = Engine::new(policy, settings.shards, Dealing::ByHost, SEED);
        Self { engine, tally: Tally::default() }
    }
}

impl Taker for Detecting {
    fn take(&mut self, records: &[FlowRecord]) {
        self.engine.ingest_with(records, Near, &mut self.tally);
    }
}

/// Plays captures to who takes their records.
struct Drive<T> {
    to: T,
    pacer: Pacer,
    creditor: Creditor,
    /// Replay time of the packet whose records are being taken.
    now: Timestamp,
    batch: Vec<FlowRecord>,
    batch_size: usize,
    received: u64,
    seq: u64,
    bytes: u64,
    drops: DropCounters,
    span: Option<(Timestamp, Timestamp)>,
    /// Capture times of the first packet, as long as all are equal to it.
    instant: Option<Timestamp>,
}

impl<T: Taker> Drive<T> {
    fn new(to: T, settings: &Settings) -> Self {
        let batch_size = settings.batch.clamp(1, 1 << 20);
        Self {
            to,
            pacer: Pacer::new(settings.speed, settings.start_at),
            creditor: Creditor::new(settings.flows.crediting),
            batch: Vec::with_capacity(batch_size),
            batch_size,
            received: 0,
            seq: 0,
            now: Timestamp::ZERO,
            bytes: 0,
            drops: DropCounters::default(),
            span: None,
            instant: None,
        }
    }

    /// All rounds. `first_part` is what was read of the first one already.
    fn play(
        &mut self,
        inputs: &[Input],
        settings: &Settings,
        mut merged: Merged,
        mut first_part: Vec<Arrival>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Merged, ReplayError> {
        let rounds = u64::from(settings.rounds.max(1));
        for round in 0..rounds {
            if round > 0 {
                merged = Merged::open(inputs, settings.medium, collectors(settings))?;
            }
            for arrival in std::mem::take(&mut first_part) {
                self.take(&arrival);
            }
            while let Some(arrival) = merged.next() {
                self.take(&arrival);
                if self.received.is_multiple_of(PROGRESS_EVERY) {
                    let (position, size) = merged.position();
                    progress(Progress {
                        packets: self.received,
                        position: position + round * size.unwrap_or(0),
                        length: size.map(|size| size.saturating_mul(rounds)),
                    });
                }
            }
            self.end_round(&mut merged);
        }
        Ok(merged)
    }

    fn take(&mut self, arrival: &Arrival) {
        if arrival.first {
            self.now = self.pacer.place(arrival.time);
            if self.span.is_none() {
                self.instant = Some(arrival.time);
            }
            let (first, last) = self.span.unwrap_or((self.now, self.now));
            self.span = Some((first.min(self.now), last.max(self.now)));
            self.instant = self.instant.filter(|instant| *instant == arrival.time);
            self.received += 1;
            while self.creditor.advance(self.now, &mut self.batch) {
                self.flush();
            }
        }
        if let Some(record) = arrival.record {
            let record = FlowRecord { time: self.now, seq: self.seq, ..record };
            self.seq += 1;
            self.creditor.take(record, self.pacer.scale(arrival.lasted), &mut self.batch);
        }
        if self.batch.len() >= self.batch_size {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.to.take(&self.batch);
        self.batch.clear();
    }

    /// Gives what is left, flows that are still to be spread included: they lie behind the end of
    /// the captures.
    fn flush_all(&mut self) {
        while self.creditor.finish(&mut self.batch) {
            self.flush();
        }
        self.flush();
    }

    fn end_round(&mut self, merged: &mut Merged) {
        let bytes: u64 = merged.summaries().iter().map(|file| file.bytes).sum();
        self.bytes = self.bytes.saturating_add(bytes);
        self.drops.merge(&merged.drops());
        self.pacer.next_round();
    }
}

impl Drive<Detecting> {
    fn finish(mut self, settings: &Settings, guessed: bool, merged: &Merged) -> Outcome {
        self.flush_all();
        let Detecting { engine, tally } = &mut self.to;
        engine.finish(tally);
        for attack in engine.attacks() {
            tally.keep(attack);
        }
        let stats = engine.stats();
        self.drops.merge(&stats.drops);
        let (hosts, top_hosts) = tally.top_hosts(settings.top);
        Outcome {
            files: merged.summaries(),
            exporters: merged.exporters(),
            records: self.seq,
            not_spread: self.creditor.not_spread(),
            networks: engine.policy().networks.clone(),
            guessed,
            pace: (settings.speed, settings.rounds.max(1)),
            sampling: settings.sampling,
            span: self.span,
            instant: self.instant.is_some() && self.received > 1,
            received: Count { packets: self.received, bytes: self.bytes },
            drops: self.drops,
            stats,
            totals: tally.totals,
            hosts,
            hosts_beyond: tally.beyond,
            top_hosts,
            attacks: tally.take_attacks(),
            measured: Vec::new(),
        }
    }
}
