//! Export datagrams from a UDP socket.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tidewall_capture::udp::UdpSource;
use tidewall_capture::{DatagramSink, ReceiveError};
use tidewall_collect::{
    Crediting, ExportDatagram, ExporterHealth, ExporterKey, FlowDetail, FlowSink, NetflowCollector,
    SampledHeader, SflowCollector,
};
use tidewall_model::{DropCounters, DropReason, FlowRecord, Timestamp};
use tracing::{info, warn};

use super::{Adjustment, Feed, Memory, Outlet, WorkerReport};
use crate::config::{Flows, Frames};
use crate::crediting::Creditor;
use crate::exports::ExporterReport;
use crate::live::clock::Clock;
use crate::live::frames::{OpenTap, SeenFrame, WorkerTap};
use crate::live::state::StateFile;

/// The longest rest of a worker: a part of the detector's grace.
const LONGEST_PAUSE: Duration = Duration::from_millis(4);
/// The receive buffer lasts for the rest at this many bytes a second.
const FASTEST: usize = 5_000_000_000;

/// Which collector reads a worker's datagrams.
#[derive(Debug)]
pub enum Collector {
    /// sFlow.
    Sflow(Box<SflowCollector>),
    /// NetFlow and IPFIX.
    Netflow(Box<NetflowCollector>),
}

impl Collector {
    /// The reason of an error is counted by the collector.
    fn decode(
        &mut self,
        datagram: &ExportDatagram<'_>,
        sink: &mut impl FlowSink,
    ) -> Result<(), DropReason> {
        match self {
            Self::Sflow(collector) => collector.decode(datagram, sink),
            Self::Netflow(collector) => collector.decode(datagram, sink),
        }
    }

    fn adjust(&mut self, flows: &Flows, frames: Frames) {
        let (sampling, word) = (flows.sampling.clone(), flows.v5_word);
        match self {
            Self::Sflow(collector) => {
                collector.set_sampling(sampling);
                collector.set_frames(frames.tunnels, frames.length);
            }
            Self::Netflow(collector) => {
                collector.set_rules(sampling, word, flows.crediting);
                collector.set_frames(frames.tunnels, frames.length);
            }
        }
    }

    /// Takes over what was kept before a restart, or what other workers knew. What is damaged is
    /// told and left.
    pub fn learn(&mut self, memories: &[Memory], now: Timestamp) {
        let Self::Netflow(collector) = self else { return };
        for Memory { of, image } in memories {
            match collector.restore(image, now) {
                Ok(templates) => info!("{of}: templates known again: {templates}"),
                Err(reason) => warn!("{of}: damaged, and ignored: {reason}"),
            }
        }
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

    fn exporters(&self) -> Vec<ExporterReport> {
        let report =
            |(key, health): (&ExporterKey, &ExporterHealth)| ExporterReport::part(key, health);
        match self {
            Self::Sflow(collector) => collector.exporters().into_iter().map(report).collect(),
            Self::Netflow(collector) => collector.exporters().map(report).collect(),
        }
    }
}

/// A UDP socket with what reads its datagrams.
pub struct FlowFeed {
    /// Where datagrams come from.
    pub source: UdpSource,
    /// What reads them.
    pub collector: Collector,
    /// When their records count.
    pub creditor: Creditor,
    /// The process's clock.
    pub clock: Clock,
    /// Records so far.
    pub seq: u64,
    /// Who sent the last datagram that could not be read, and why it could not.
    pub unread: Option<(IpAddr, DropReason)>,
    /// Where templates are kept.
    pub state: Option<StateFile>,
    /// Of what the creditor was made.
    pub crediting: Crediting,
    /// Former creditors that still hold packets, and until when.
    pub leaving: Vec<(Creditor, Timestamp)>,
    /// Bytes that the kernel was asked to keep.
    pub buffer: usize,
    /// How long a socket that had nothing more is left alone.
    pub pause: Duration,
    /// Where sampled headers of attacks are kept; NetFlow has none.
    pub tap: Option<WorkerTap>,
}

impl FlowFeed {
    /// Ready to receive.
    pub fn new(
        source: UdpSource,
        collector: Collector,
        crediting: Crediting,
        clock: Clock,
        state: Option<StateFile>,
        receive_buffer: usize,
    ) -> Self {
        let (creditor, leaving) = (Creditor::new(crediting), Vec::new());
        let pause = Self::pause_between(&source, receive_buffer);
        let (seq, unread, buffer, tap) = (0, None, receive_buffer, None);
        Self {
            source,
            collector,
            creditor,
            clock,
            seq,
            unread,
            state,
            crediting,
            leaving,
            buffer,
            pause,
            tap,
        }
    }

    /// Goes on with another receive buffer.
    fn buffer_by(&mut self, buffer: usize) {
        if buffer == self.buffer {
            return;
        }
        match self.source.set_receive_buffer(buffer) {
            Ok(()) => self.source.warning().iter().for_each(|warning| warn!("{warning}")),
            Err(reason) => warn!("{}: receive_buffer: {reason}", self.source.local_address()),
        }
        self.buffer = buffer;
        self.pause = Self::pause_between(&self.source, buffer);
    }

    fn pause_between(source: &UdpSource, buffer: usize) -> Duration {
        Self::pause_of(source.warning().map_or(buffer, |warning| warning.granted))
    }

    /// Goes on by another crediting. What was begun is paid to its end as it was begun.
    fn credit_by(&mut self, crediting: Crediting) {
        if crediting == self.crediting {
            return;
        }
        let old = std::mem::replace(&mut self.creditor, Creditor::new(crediting));
        if let Crediting::Spread { longest } = std::mem::replace(&mut self.crediting, crediting) {
            self.leaving.push((old, self.clock.now() + longest + Duration::from_secs(1)));
        }
    }

    /// Adds what counts by now.
    fn pay(&mut self, outlet: &mut Outlet) {
        let now = self.clock.now();
        // A second's worth is paid at once: after a pause the rest follows with the next batches.
        _ = self.creditor.advance(now, outlet.waiting());
        for (creditor, _) in &mut self.leaving {
            _ = creditor.advance(now, outlet.waiting());
        }
        outlet.settle();
        self.leaving.retain(|(_, until)| now < *until);
    }
}

impl FlowFeed {
    /// How long a socket with a receive buffer of so many bytes may be left alone.
    pub fn pause_of(buffer: usize) -> Duration {
        let nanoseconds = (buffer as u64).saturating_mul(1_000_000_000) / FASTEST as u64;
        Duration::from_nanos(nanoseconds).min(LONGEST_PAUSE)
    }
}

/// What happens to each datagram and record of a batch, all at one time: they came within
/// milliseconds.
struct Intake<'a> {
    collector: &'a mut Collector,
    creditor: &'a mut Creditor,
    clock: Clock,
    now: Timestamp,
    seq: &'a mut u64,
    unread: &'a mut Option<(IpAddr, DropReason)>,
    outlet: &'a mut Outlet,
    tap: Option<&'a WorkerTap>,
    /// From the first datagram on, if headers are to be kept.
    open: Option<OpenTap<'a>>,
}

impl DatagramSink for Intake<'_> {
    fn datagram(&mut self, from: SocketAddr, _kernel: Timestamp, data: &[u8]) {
        // Read behind the wait, and once.
        if self.now == Timestamp::ZERO {
            self.now = self.clock.now();
            self.open = self.tap.and_then(|tap| tap.open(self.now));
        }
        let datagram = ExportDatagram::new(from, self.now, data);
        let (creditor, open) = (&mut *self.creditor, self.open.as_mut());
        let mut records = Records { creditor, seq: self.seq, outlet: self.outlet, open };
        if let Err(reason) = self.collector.decode(&datagram, &mut records) {
            *self.unread = Some((from.ip(), reason));
        }
    }
}

struct Records<'a, 'b> {
    creditor: &'a mut Creditor,
    seq: &'a mut u64,
    outlet: &'a mut Outlet,
    open: Option<&'a mut OpenTap<'b>>,
}

impl FlowSink for Records<'_, '_> {
    const DETAIL: bool = false;

    #[inline]
    fn header(&mut self, record: &FlowRecord, header: &SampledHeader<'_>) {
        if let Some(tap) = &mut self.open {
            let SampledHeader { link, wire_length, bytes: data } = *header;
            let frame = SeenFrame { link, time: record.time, data, wire_length, vlan: None };
            tap.offer(&frame, record);
        }
    }

    #[expect(clippy::inline_always, reason = "a record that is copied costs as much as making it")]
    #[inline(always)]
    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        let seq = *self.seq;
        *self.seq += 1;
        self.creditor.take_as(seq, record, detail.duration_ms, self.outlet.waiting());
        self.outlet.settle();
    }
}

impl Feed for FlowFeed {
    fn receive(&mut self, wait: Duration, outlet: &mut Outlet) -> Result<usize, ReceiveError> {
        self.pay(outlet);
        let mut intake = Intake {
            collector: &mut self.collector,
            creditor: &mut self.creditor,
            clock: self.clock,
            now: Timestamp::ZERO,
            seq: &mut self.seq,
            unread: &mut self.unread,
            outlet,
            tap: self.tap.as_ref(),
            open: None,
        };
        self.source.receive(wait, &mut intake)
    }

    fn pause(&mut self) -> Duration {
        self.pause
    }

    fn tick(&mut self) {
        self.collector.advance(self.clock.now());
    }

    fn adjust(&mut self, adjustment: &Adjustment) {
        self.source.set_allowed(&adjustment.allow);
        self.collector.adjust(&adjustment.flows, adjustment.frames);
        self.credit_by(adjustment.flows.crediting);
        self.buffer_by(adjustment.receive_buffer);
    }

    fn remember(&self) -> Option<Vec<u8>> {
        match &self.collector {
            Collector::Netflow(collector) => Some(collector.save()),
            Collector::Sflow(_) => None,
        }
    }

    fn learn(&mut self, memories: &[Memory]) {
        self.collector.learn(memories, self.clock.now());
    }

    fn leave(&mut self) {
        // Without it the end is only less sharp.
        _ = self.source.leave();
    }

    fn report(&mut self) -> WorkerReport {
        WorkerReport {
            source: self.source.statistics(),
            drops: self.collector.drops(),
            exporters: self.collector.exporters(),
            unread: self.unread,
            ..WorkerReport::default()
        }
    }

    fn save(&mut self) {
        if let (Some(state), Some(image)) = (&self.state, self.remember()) {
            state.write(image);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_buffer_is_not_left_alone() {
        assert_eq!(FlowFeed::pause_of(32 << 20), LONGEST_PAUSE);
        assert_eq!(FlowFeed::pause_of(1_000_000), Duration::from_micros(200));
        assert!(FlowFeed::pause_of(212_992) < Duration::from_micros(50));
        assert_eq!(FlowFeed::pause_of(usize::MAX), LONGEST_PAUSE);
    }
}
