//! Captures as records in the order of time: each file decoded as it is read, and all of them
//! merged. Memory is one buffer and the records of two packets a file.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tidewall_collect::{FlowDetail, FlowSink, FrameCollector};
use tidewall_model::{DropCounters, FlowRecord, Timestamp};
use tidewall_wire::frame::LinkType;

use super::clock::CaptureClock;
use crate::capture_file::{CaptureFile, CaptureFileError};
use crate::exports::{ExporterReport, Exports, Medium, look};

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

    /// Opens it.
    pub(crate) fn open(&self) -> Result<CaptureFile, CaptureFileError> {
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
    /// What is in it.
    pub medium: Medium,
    /// Packets with a time far from their neighbours' that were given another.
    pub outliers: u64,
    /// Times its clock was set back.
    pub set_back: u64,
    /// It ends within a packet.
    pub truncated: Option<String>,
    /// It could not be read to its end.
    pub damaged: Option<String>,
}

/// One record, or a packet that gave none.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// When its packet was captured.
    pub(super) time: Timestamp,
    /// What it is; without sequence number.
    pub(super) record: Option<FlowRecord>,
    /// How long the flow lasted.
    pub(super) lasted: Duration,
    /// Is it the first of its packet? An export datagram gives many records.
    pub(super) first: bool,
}

/// What turns packets into records, for all captures.
pub(super) struct Collectors {
    frames: FrameCollector,
    exports: Exports,
}

impl Collectors {
    pub(super) fn new(frames: FrameCollector, exports: Exports) -> Self {
        Self { frames, exports }
    }
}

/// Takes the records of one export datagram.
struct Records<'a> {
    time: Timestamp,
    into: &'a mut VecDeque<Arrival>,
}

impl FlowSink for Records<'_> {
    const DETAIL: bool = false;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        let lasted = Duration::from_millis(detail.duration_ms.into());
        let first = self.into.is_empty();
        self.into.push_back(Arrival { time: self.time, record: Some(*record), lasted, first });
    }
}

/// One capture, decoded while it is read, one packet ahead.
struct Source {
    file: CaptureFile,
    medium: Medium,
    clock: CaptureClock,
    /// Time of the packet whose records are being given, and the records of the one ahead.
    now: Timestamp,
    records: VecDeque<Arrival>,
    ahead: Option<(Timestamp, VecDeque<Arrival>)>,
    bytes: u64,
    damaged: Option<String>,
}

impl Source {
    fn open(
        input: &Input,
        medium: Option<Medium>,
        collectors: &mut Collectors,
    ) -> Result<Self, CaptureFileError> {
        let mut file = input.open()?;
        let medium = medium.unwrap_or_else(|| look(&mut file));
        let mut source = Self {
            file,
            medium,
            clock: CaptureClock::default(),
            now: Timestamp::ZERO,
            records: VecDeque::new(),
            ahead: None,
            bytes: 0,
            damaged: None,
        };
        source.ahead = source.read(VecDeque::new(), collectors)?;
        Ok(source)
    }

    fn next(&mut self, collectors: &mut Collectors) -> Option<Arrival> {
        if self.records.is_empty() {
            let (written, records) = self.ahead.take()?;
            let spent = std::mem::replace(&mut self.records, records);
            // What was read of a damaged file is still worth a report.
            match self.read(spent, collectors) {
                Ok(ahead) => self.ahead = ahead,
                Err(error) => self.damaged = Some(error.to_string()),
            }
            let next = self.ahead.as_ref().map(|(time, _)| time.0);
            self.now = self.clock.tell(written.0, next);
        }
        self.records.pop_front().map(|arrival| Arrival { time: self.now, ..arrival })
    }
    /// Reads one packet; its records go to `records`, which is empty.
    fn read(
        &mut self,
        mut records: VecDeque<Arrival>,
        collectors: &mut Collectors,
    ) -> Result<Option<(Timestamp, VecDeque<Arrival>)>, CaptureFileError> {
        let Some(packet) = self.file.next_packet()? else { return Ok(None) };
        let (time, link) = (Timestamp(packet.time), LinkType(packet.link_type));
        self.bytes = self.bytes.saturating_add(packet.wire_len.into());
        if self.medium == Medium::Frames {
            let record = collectors.frames.decode(link, time, packet.data, packet.wire_len).ok();
            records.push_back(Arrival { time, record, lasted: Duration::ZERO, first: true });
            return Ok(Some((time, records)));
        }
        let mut sink = Records { time, into: &mut records };
        let protocol = self.medium.protocol();
        // The reason is counted by the collector.
        _ = collectors.exports.decode(link, time, packet.data, protocol, &mut sink);
        if records.is_empty() {
            records.push_back(Arrival { time, record: None, lasted: Duration::ZERO, first: true });
        }
        Ok(Some((time, records)))
    }

    fn summary(&self) -> FileSummary {
        FileSummary {
            name: self.file.name().to_owned(),
            packets: self.file.packets(),
            bytes: self.bytes,
            medium: self.medium,
            outliers: self.clock.outliers(),
            set_back: self.clock.set_back(),
            truncated: self.file.warning().map(str::to_owned),
            damaged: self.damaged.clone(),
        }
    }
}

/// All captures as one, by time; packets of the same time in the order of the files.
pub(super) struct Merged {
    collectors: Collectors,
    sources: Vec<Source>,
    heads: Vec<Option<Arrival>>,
    order: BinaryHeap<Reverse<(Timestamp, usize)>>,
}

impl Merged {
    /// Opens all of them and reads each first packet.
    pub(super) fn open(
        inputs: &[Input],
        medium: Option<Medium>,
        mut collectors: Collectors,
    ) -> Result<Self, CaptureFileError> {
        let mut sources = Vec::with_capacity(inputs.len());
        for input in inputs {
            sources.push(Source::open(input, medium, &mut collectors)?);
        }
        let heads = sources.iter().map(|_| None).collect();
        let mut merged = Self { collectors, sources, heads, order: BinaryHeap::new() };
        for at in 0..merged.sources.len() {
            merged.refill(at);
        }
        Ok(merged)
    }

    /// What was read of each file.
    pub(super) fn summaries(&self) -> Vec<FileSummary> {
        self.sources.iter().map(Source::summary).collect()
    }

    /// What gave no record, once all is read.
    pub(super) fn drops(&mut self) -> DropCounters {
        let mut drops = self.collectors.exports.finish();
        drops.merge(self.collectors.frames.drops());
        drops
    }

    /// Exporters of flow protocols.
    pub(super) fn exporters(&self) -> Vec<ExporterReport> {
        self.collectors.exports.exporters()
    }

    /// Bytes read of all files, and their size if that is known of all.
    pub(super) fn position(&self) -> (u64, Option<u64>) {
        let read = self.sources.iter().map(|source| source.file.bytes_read()).sum();
        (read, self.sources.iter().map(|source| source.file.size()).sum())
    }

    fn refill(&mut self, at: usize) {
        let head = self.sources[at].next(&mut self.collectors);
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
