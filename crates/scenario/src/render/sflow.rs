//! Records as an sFlow agent's datagrams: each record is one sampled packet, and interface counters
//! come along if they are wanted.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tidewall_model::{FlowRecord, Forwarding, Timestamp};
use tidewall_wire::emit::sflow::{DatagramWriter, FlowSample, Layout, Record};
use tidewall_wire::sflow::{
    DataSource, DiscardReason, HeaderProtocol, Interface, InterfaceCounters, RawHeader,
};

use super::clock::Clock;
use super::{FrameRenderer, MAX_PAYLOAD, RenderError, Renderer, Sink};

/// Frame check sequence: part of a frame's length, not of its sampled bytes.
const FCS: u32 = 4;
/// Ethernet header, and one VLAN tag.
const ETHERNET: u64 = 14;
const TAG: u64 = 4;
/// The longest header that is sampled: one of them always fits a datagram.
const MAX_HEADER: usize = 1024;
/// A flow sample with a raw header of no bytes, and a counter sample, in bytes.
const FLOW_SAMPLE: usize = 8 + 32 + 8 + 16;
const COUNTER_SAMPLE: usize = 8 + 12 + 8 + 88;
/// Ethernet interface (IANA ifType), full duplex, up, and not promiscuous.
const INTERFACE: InterfaceCounters = InterfaceCounters {
    index: 0,
    kind: 6,
    speed_bps: 100_000_000_000,
    direction: 1,
    status: 3,
    in_octets: 0,
    in_unicast: 0,
    in_multicast: 0,
    in_broadcast: 0,
    in_discards: 0,
    in_errors: 0,
    in_unknown_protocols: 0,
    out_octets: 0,
    out_unicast: 0,
    out_multicast: 0,
    out_broadcast: 0,
    out_discards: 0,
    out_errors: 0,
    promiscuous: 2,
};

/// What the interface counters count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterBasis {
    /// The samples times their rates.
    Samples,
    /// The packets that [`SflowRenderer::observe`] is told of: the truth, which samples may miss.
    Observed,
}

/// How an agent is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SflowPlan {
    /// The address by which the agent calls itself.
    pub agent: IpAddr,
    /// Which of its processes this is.
    pub sub_agent: u32,
    /// Samples in a datagram, if they fit.
    pub samples: u32,
    /// The most bytes of a frame that a sample has, up to 1024.
    pub header_bytes: usize,
    /// A sample waits at most so long for its datagram to be full; agents may let it wait for 1 s.
    pub delay: Duration,
    /// How often interface counters are sent, if at all, and what they count.
    pub counters: Option<(Duration, CounterBasis)>,
    /// Milliseconds since the agent's start, at the first record.
    pub uptime_ms: u32,
    /// Index of the interface that samples, by which all packets come in.
    pub input: u32,
    /// Index of the interface that they leave by.
    pub output: u32,
}

impl Default for SflowPlan {
    fn default() -> Self {
        Self {
            agent: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            sub_agent: 0,
            samples: 7,
            header_bytes: 128,
            delay: Duration::from_millis(100),
            counters: None,
            uptime_ms: 3_600_000,
            input: 1,
            output: 2,
        }
    }
}

/// Renders records that were sampled already, each of one packet, as the samples of one agent. The
/// sampled bytes are those of [`FrameRenderer`], which does not pad short frames; the length of a
/// frame counts its check sequence, as agents do.
#[derive(Clone, Debug)]
pub struct SflowRenderer {
    plan: SflowPlan,
    writer: DatagramWriter,
    frames: FrameRenderer,
    frame: Vec<u8>,
    clock: Clock,
    /// Time never goes back.
    now: Timestamp,
    /// When the datagram that is being written must be sent.
    send_at: Option<Timestamp>,
    /// When counters are sent next.
    counters_at: Option<Timestamp>,
    /// Numbers of the last samples.
    flow_sequence: u32,
    counter_sequence: u32,
    sample_pool: u32,
    counters: InterfaceCounters,
}

impl SflowRenderer {
    /// An agent that has sent nothing.
    pub fn new(plan: &SflowPlan) -> Self {
        let mut writer = DatagramWriter::new(plan.agent, plan.sub_agent);
        writer.begin();
        Self {
            plan: *plan,
            writer,
            frames: FrameRenderer::new(),
            frame: Vec::new(),
            clock: Clock::new(plan.uptime_ms),
            now: Timestamp::ZERO,
            send_at: None,
            counters_at: None,
            flow_sequence: 0,
            counter_sequence: 0,
            sample_pool: 0,
            counters: InterfaceCounters { index: plan.input, ..INTERFACE },
        }
    }

    /// Counts a packet, sampled or not, at the interface: see [`CounterBasis::Observed`].
    pub fn observe(&mut self, record: &FlowRecord) {
        if self.basis() == Some(CounterBasis::Observed) {
            self.count(record, 1);
        }
    }

    fn basis(&self) -> Option<CounterBasis> {
        self.plan.counters.map(|(_, basis)| basis)
    }

    fn count(&mut self, record: &FlowRecord, rate: u64) {
        let tag = if record.vlan == 0 { 0 } else { TAG };
        let around = (ETHERNET + tag + u64::from(FCS)).saturating_mul(record.packets);
        let octets = record.bytes.saturating_add(around).saturating_mul(rate);
        let packets = record.packets.saturating_mul(rate);
        self.counters.in_octets = self.counters.in_octets.wrapping_add(octets);
        self.counters.in_unicast = self.counters.in_unicast.wrapping_add(packets as u32);
    }

    fn source(&self) -> DataSource {
        DataSource { class: 0, index: self.plan.input }
    }

    fn add_sample(&mut self, record: &FlowRecord, sink: &mut Sink<'_>) {
        let rate = record.sampling.get();
        let header_bytes = self.plan.header_bytes.min(MAX_HEADER).min(self.frame.len());
        self.make_room(FLOW_SAMPLE + header_bytes.next_multiple_of(4), self.now, sink);
        self.flow_sequence = self.flow_sequence.wrapping_add(1);
        self.sample_pool = self.sample_pool.wrapping_add(rate);
        let dropped = record.forwarding == Forwarding::Dropped;
        let sample = FlowSample {
            sequence: self.flow_sequence,
            source: self.source(),
            sampling_rate: rate,
            sample_pool: self.sample_pool,
            drops: 0,
            input: Interface::Index(self.plan.input),
            output: if dropped {
                Interface::Discarded(DiscardReason::UNKNOWN)
            } else {
                Interface::Index(self.plan.output)
            },
        };
        let header = RawHeader {
            protocol: HeaderProtocol::ETHERNET,
            frame_length: self.frame.len() as u32 + FCS,
            stripped: FCS,
            header: self.frame.get(..header_bytes).unwrap_or(&self.frame),
        };
        self.writer.flow(Layout::Compact, &sample, &[Record::Header(header)]);
        self.added(self.now, sink);
    }

    fn add_counters(&mut self, at: Timestamp, sink: &mut Sink<'_>) {
        self.make_room(COUNTER_SAMPLE, at, sink);
        self.counter_sequence = self.counter_sequence.wrapping_add(1);
        let source = self.source();
        self.writer.counters(Layout::Compact, self.counter_sequence, source, &self.counters);
        self.added(at, sink);
    }

    /// Sends the datagram if a sample of so many bytes does not fit.
    fn make_room(&mut self, bytes: usize, at: Timestamp, sink: &mut Sink<'_>) {
        if self.writer.len() + bytes > MAX_PAYLOAD {
            self.flush(at, sink);
        }
    }

    fn added(&mut self, at: Timestamp, sink: &mut Sink<'_>) {
        self.send_at.get_or_insert(at + self.plan.delay);
        if self.writer.samples() >= self.plan.samples {
            self.flush(at, sink);
        }
    }

    fn flush(&mut self, at: Timestamp, sink: &mut Sink<'_>) {
        self.send_at = None;
        if !self.writer.is_empty() {
            sink(at, self.writer.finish(self.clock.uptime_ms(at)));
            self.writer.begin();
        }
    }
}

impl Renderer for SflowRenderer {
    fn render(&mut self, record: &FlowRecord, sink: &mut Sink<'_>) -> Result<(), RenderError> {
        if record.packets > 1 {
            return Err(RenderError::SeveralPackets { packets: record.packets });
        }
        self.frames.frame(record, &mut self.frame)?;
        self.clock.start(record.time);
        if let (None, Some((every, _))) = (self.counters_at, self.plan.counters) {
            self.counters_at = Some(record.time + every);
        }
        self.advance(record.time, sink);
        if self.basis() == Some(CounterBasis::Samples) {
            self.count(record, record.sampling.get().into());
        }
        self.add_sample(record, sink);
        Ok(())
    }

    fn advance(&mut self, now: Timestamp, sink: &mut Sink<'_>) {
        // Counters and datagrams whose time has come, in the order in which it came.
        loop {
            let counters_at = self.counters_at.filter(|at| *at <= now);
            let send_at = self.send_at.filter(|at| *at <= now);
            match (counters_at, send_at) {
                (counters_at, Some(at)) if counters_at.is_none_or(|c| at <= c) => {
                    self.flush(at, sink);
                }
                (Some(at), _) => {
                    let every = self.plan.counters.map_or(Duration::MAX, |(every, _)| every);
                    self.counters_at = Some(at + every.max(Duration::from_millis(1)));
                    self.add_counters(at, sink);
                }
                (None, _) => break,
            }
        }
        self.now = self.now.max(now);
    }

    fn finish(&mut self, sink: &mut Sink<'_>) {
        if self.plan.counters.is_some() {
            self.add_counters(self.now, sink);
        }
        self.flush(self.now, sink);
    }
}
