//! A worker: one thread that owns one source, decodes what it receives and counts it in its shard.
//! It tells the rest of the process how it does through a [`WorkerStatus`], now and then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tidewall_capture::udp::UdpSource;
use tidewall_capture::{DatagramSink, ReceiveError, SourceStatistics};
use tidewall_collect::{
    ExportDatagram, ExporterHealth, ExporterKey, FlowDetail, FlowSink, NetflowCollector,
    SflowCollector,
};
use tidewall_model::{DropCounters, FlowRecord, Timestamp};

use super::clock::Clock;
use super::shards::SharedShard;
use crate::crediting::Creditor;
use crate::exports::ExporterReport;

/// A source is waited for at most so long: then the worker looks whether it should end.
const WAIT: Duration = Duration::from_millis(100);
/// Time between two reports of a worker about itself.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Records that a batch begins with room for.
const BATCH: usize = 8192;

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

/// Which collector reads a worker's datagrams.
#[derive(Debug)]
pub enum Collector {
    /// sFlow.
    Sflow(Box<SflowCollector>),
    /// NetFlow and IPFIX.
    Netflow(Box<NetflowCollector>),
}

impl Collector {
    fn decode(&mut self, datagram: &ExportDatagram<'_>, sink: &mut impl FlowSink) {
        // The reason is counted by the collector.
        _ = match self {
            Self::Sflow(collector) => collector.decode(datagram, sink),
            Self::Netflow(collector) => collector.decode(datagram, sink),
        };
    }

    fn advance(&mut self, now: Timestamp) {
        if let Self::Netflow(collector) = self {
            collector.advance(now);
        }
    }

    fn drops(&self) -> DropCounters {
        match self {
            Self::Sflow(collector) => *collector.drops(),
            Self::Netflow(collector) => *collector.drops(),
        }
    }

    fn exporters(&self, now: Timestamp) -> Vec<ExporterReport> {
        let report =
            |(key, health): (&ExporterKey, &ExporterHealth)| ExporterReport::new(key, health, now);
        match self {
            Self::Sflow(collector) => collector.exporters().into_iter().map(report).collect(),
            Self::Netflow(collector) => collector.exporters().map(report).collect(),
        }
    }
}

/// A worker for datagrams of flow protocols.
pub struct FlowWorker {
    /// Where datagrams come from.
    pub source: UdpSource,
    /// What reads them.
    pub collector: Collector,
    /// When their records count.
    pub creditor: Creditor,
    /// Where they are counted.
    pub shard: SharedShard,
    /// The process's clock.
    pub clock: Clock,
    /// Where it reports.
    pub status: Arc<WorkerStatus>,
    /// Set when it is to end.
    pub stop: Arc<AtomicBool>,
}

/// What happens to each datagram and record of a batch.
struct Intake<'a> {
    collector: &'a mut Collector,
    creditor: &'a mut Creditor,
    clock: Clock,
    seq: &'a mut u64,
    batch: &'a mut Vec<FlowRecord>,
}

impl DatagramSink for Intake<'_> {
    fn datagram(&mut self, from: SocketAddr, _kernel: Timestamp, data: &[u8]) {
        let datagram = ExportDatagram::new(from, self.clock.now(), data);
        let mut records =
            Records { creditor: self.creditor, seq: self.seq, batch: self.batch };
        self.collector.decode(&datagram, &mut records);
    }
}

struct Records<'a> {
    creditor: &'a mut Creditor,
    seq: &'a mut u64,
    batch: &'a mut Vec<FlowRecord>,
}

impl FlowSink for Records<'_> {
    const DETAIL: bool = false;

    #[inline]
    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        let record = FlowRecord { seq: *self.seq, ..*record };
        *self.seq += 1;
        let lasted = Duration::from_millis(detail.duration_ms.into());
        self.creditor.take(record, lasted, self.batch);
    }
}

impl FlowWorker {
    /// Receives until it is told to stop, then takes what the kernel still holds.
    pub fn run(mut self) {
        let mut batch: Vec<FlowRecord> = Vec::with_capacity(BATCH);
        let (mut seq, mut records, mut reported) = (0, 0, Duration::ZERO);
        let mut failed = None;
        loop {
            let stopping = self.stop.load(Ordering::Relaxed);
            let wait = if stopping { Duration::ZERO } else { WAIT };
            let received = self.receive(wait, &mut seq, &mut batch);
            records += batch.len() as u64;
            if !batch.is_empty() {
                self.shard.with(|shard| shard.ingest(&batch));
                batch.clear();
            }
            match received {
                Ok(0) if stopping => break,
                Ok(_) => {}
                Err(error) => {
                    failed = Some(error.to_string());
                    break;
                }
            }
            let elapsed = self.clock.elapsed();
            if elapsed.saturating_sub(reported) >= REPORT_EVERY {
                reported = elapsed;
                self.collector.advance(self.clock.now());
                self.report(records, None);
            }
        }
        self.report(records, failed);
    }

    fn receive(
        &mut self,
        wait: Duration,
        seq: &mut u64,
        batch: &mut Vec<FlowRecord>,
    ) -> Result<usize, ReceiveError> {
        while self.creditor.advance(self.clock.now(), batch) {
            self.shard.with(|shard| shard.ingest(batch));
            batch.clear();
        }
        let mut intake = Intake {
            collector: &mut self.collector,
            creditor: &mut self.creditor,
            clock: self.clock,
            seq,
            batch,
        };
        self.source.receive(wait, &mut intake)
    }

    fn report(&mut self, records: u64, failed: Option<String>) {
        self.status.set(WorkerReport {
            source: self.source.statistics(),
            records,
            drops: self.collector.drops(),
            exporters: self.collector.exporters(self.clock.now()),
            failed,
        });
    }
}
