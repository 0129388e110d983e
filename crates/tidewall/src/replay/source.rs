//! Captures as packets in the order of time: each file decoded as it is read, and all of them
//! merged. Memory is one buffer and two packets a file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewall_collect::FrameCollector;
use tidewall_model::{DropCounters, FlowRecord, Timestamp};
use tidewall_wire::frame::LinkType;

use super::clock::CaptureClock;
use crate::capture_file::{CaptureFile, CaptureFileError};

/// A capture to be read.
#[derive(Clone, Debug)]
pub enum Input {
    /// A file, or standard input when it is `-`.
    File(PathBuf),
    /// A capture in memory.
    Memory {
        /// What messages call it.
        name: String,
        /// Its bytes.
        bytes: Arc<[u8]>,
    },
}

impl Input {
    /// Can it be read once only?
    pub fn is_stdin(&self) -> bool {
        matches!(self, Self::File(path) if path == Path::new("-"))
    }

    fn open(&self) -> Result<CaptureFile, CaptureFileError> {
        match self {
            Self::File(path) => CaptureFile::open(path),
            Self::Memory { name, bytes } => {
                CaptureFile::with_reader(name, Cursor::new(Arc::clone(bytes)))
            }
        }
    }
}

/// What was read of one capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSummary {
    /// Name as given.
    pub name: String,
    /// Packets in it.
    pub packets: u64,
    /// Their lengths on the wire, added up.
    pub bytes: u64,
    /// Packets with a time far from their neighbours' that were given another.
    pub outliers: u64,
    /// Times its clock was set back.
    pub set_back: u64,
    /// It ends within a packet.
    pub truncated: Option<String>,
    /// It could not be read to its end.
    pub damaged: Option<String>,
}

/// One packet: its record, unless it is not counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// When it was captured.
    pub(super) time: Timestamp,
    /// What it is; without sequence number.
    pub(super) record: Option<FlowRecord>,
}

/// One capture, decoded while it is read, one packet ahead.
struct Source {
    file: CaptureFile,
    clock: CaptureClock,
    ahead: Option<Arrival>,
    bytes: u64,
    damaged: Option<String>,
}

impl Source {
    fn open(input: &Input, collector: &mut FrameCollector) -> Result<Self, CaptureFileError> {
        let mut source = Self {
            file: input.open()?,
            clock: CaptureClock::default(),
            ahead: None,
            bytes: 0,
            damaged: None,
        };
        source.ahead = source.read(collector)?;
        Ok(source)
    }

    fn next(&mut self, collector: &mut FrameCollector) -> Option<Arrival> {
        let arrival = self.ahead.take()?;
        // What was read of a damaged file is still worth a report.
        match self.read(collector) {
            Ok(ahead) => self.ahead = ahead,
            Err(error) => self.damaged = Some(error.to_string()),
        }
        let next = self.ahead.as_ref().map(|ahead| ahead.time.0);
        let time = self.clock.tell(arrival.time.0, next);
        Some(Arrival { time, ..arrival })
    }

    fn read(
        &mut self,
        collector: &mut FrameCollector,
    ) -> Result<Option<Arrival>, CaptureFileError> {
        let Some(packet) = self.file.next_packet()? else { return Ok(None) };
        let (time, link) = (Timestamp(packet.time), LinkType(packet.link_type));
        self.bytes = self.bytes.saturating_add(packet.wire_len.into());
        let record = collector.decode(link, time, packet.data, packet.wire_len).ok();
        Ok(Some(Arrival { time, record }))
    }

    fn summary(&self) -> FileSummary {
        FileSummary {
            name: self.file.name().to_owned(),
            packets: self.file.packets(),
            bytes: self.bytes,
            outliers: self.clock.outliers(),
            set_back: self.clock.set_back(),
            truncated: self.file.warning().map(str::to_owned),
            damaged: self.damaged.clone(),
        }
    }
}

/// All captures as one, by time; packets of the same time in the order of the files.
pub(super) struct Merged {
    collector: FrameCollector,
    sources: Vec<Source>,
    heads: Vec<Option<Arrival>>,
    order: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

impl Merged {
    /// Opens all of them and reads each first packet.
    pub(super) fn open(
        inputs: &[Input],
        mut collector: FrameCollector,
    ) -> Result<Self, CaptureFileError> {
        let mut sources = Vec::with_capacity(inputs.len());
        for input in inputs {
            sources.push(Source::open(input, &mut collector)?);
        }
        let heads = sources.iter().map(|_| None).collect();
        let mut merged = Self { collector, sources, heads, order: BinaryHeap::new() };
        for at in 0..merged.sources.len() {
            merged.refill(at);
        }
        Ok(merged)
    }

    /// What was read of each file.
    pub(super) fn summaries(&self) -> Vec<FileSummary> {
        self.sources.iter().map(Source::summary).collect()
    }

    /// Packets that gave no record.
    pub(super) fn drops(&self) -> &DropCounters {
        self.collector.drops()
    }

    /// Bytes read of all files, and their size if that is known of all.
    pub(super) fn position(&self) -> (u64, Option<u64>) {
        let read = self.sources.iter().map(|source| source.file.bytes_read()).sum();
        (read, self.sources.iter().map(|source| source.file.size()).sum())
    }

    fn refill(&mut self, at: usize) {
        let head = self.sources[at].next(&mut self.collector);
        if let Some(arrival) = &head {
            self.order.push(Reverse((arrival.time, at)));
        }
        self.heads[at] = head;
    }
}

impl Iterator for Merged {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        let Reverse((_, at)) = self.order.pop()?;
        let arrival = self.heads[at].take();
        self.refill(at);
        arrival
    }
}
