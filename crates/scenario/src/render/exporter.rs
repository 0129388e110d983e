//! Records as NetFlow v5, v9 or IPFIX, as a router with a flow cache sends them.

use std::time::Duration;

use tidewall_model::{FlowRecord, Timestamp};

use super::cache::{Flow, FlowCache};
use super::clock::Clock;
use super::netflow_v5::V5Encoder;
use super::templates::TemplateEncoder;
use super::{RenderError, Renderer, Sink, ipfix, netflow_v9};

/// What flows are exported as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowProtocol {
    /// NetFlow v5, which carries IPv4 only.
    NetflowV5,
    /// NetFlow v9.
    NetflowV9,
    /// IPFIX.
    Ipfix,
}

/// How an exporter is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowCachePlan {
    /// A flow is exported at the latest so long after its first packet.
    pub active: Duration,
    /// A flow is exported so long after its last packet.
    pub idle: Duration,
    /// Flows in the cache. When it is full, the one whose time is up next makes room.
    pub entries: usize,
    /// A flow waits at most so long for its datagram to be full.
    pub delay: Duration,
    /// Flows in a datagram, if they fit; 30 at most in v5.
    pub records: u16,
    /// Templates and samplers are sent again after so many datagrams.
    pub template_datagrams: u32,
    /// Templates and samplers are sent again after so long.
    pub template_interval: Duration,
    /// Source id or observation domain; of v5 the low 8 bits as engine id.
    pub source_id: u32,
    /// Milliseconds since the exporter's start, at the first record.
    pub uptime_ms: u32,
    /// Index of the interface that all packets come in by.
    pub input: u32,
    /// Index of the interface that they leave by.
    pub output: u32,
}

impl Default for FlowCachePlan {
    fn default() -> Self {
        Self {
            active: Duration::from_secs(1),
            idle: Duration::from_millis(500),
            entries: 65_536,
            delay: Duration::from_millis(100),
            records: 24,
            template_datagrams: 20,
            template_interval: Duration::from_secs(10),
            source_id: 1,
            uptime_ms: 3_600_000,
            input: 1,
            output: 2,
        }
    }
}

/// Renders records as the flow export of one exporter. A sampled record counts as it is, and its
/// rate is announced: in the header of v5, in a sampler table of the others.
#[derive(Clone, Debug)]
pub struct FlowCacheRenderer {
    encoder: Encoder,
    cache: FlowCache,
    clock: Clock,
    delay: Duration,
    /// The most that a counter holds.
    most: u64,
    /// Time never goes back.
    now: Timestamp,
    /// When the datagram that is being written must be sent.
    send_at: Option<Timestamp>,
    exported: u64,
    evicted: u64,
    not_carried: u64,
}

#[derive(Clone, Debug)]
enum Encoder {
    V5(V5Encoder),
    Templates(TemplateEncoder),
}

impl FlowCacheRenderer {
    /// An exporter with an empty cache.
    pub fn new(protocol: FlowProtocol, plan: &FlowCachePlan) -> Self {
        let (encoder, most) = match protocol {
            FlowProtocol::NetflowV5 => (Encoder::V5(V5Encoder::new(plan)), u32::MAX.into()),
            FlowProtocol::NetflowV9 => (templates(netflow_v9::LAYOUT, plan), u64::MAX),
            FlowProtocol::Ipfix => (templates(ipfix::LAYOUT, plan), u64::MAX),
        };
        Self {
            encoder,
            cache: FlowCache::new(plan.active, plan.idle, plan.entries, most),
            clock: Clock::new(plan.uptime_ms),
            delay: plan.delay,
            most,
            now: Timestamp::ZERO,
            send_at: None,
            exported: 0,
            evicted: 0,
            not_carried: 0,
        }
    }

    /// Flows exported so far.
    pub const fn exported(&self) -> u64 {
        self.exported
    }

    /// Flows that were exported early because the cache was full.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Records that the protocol cannot carry, IPv6 in v5, and that were left out.
    pub const fn not_carried(&self) -> u64 {
        self.not_carried
    }

    /// Is the record one that can be exported? Of v5, IPv6 is left out.
    fn accepts(&mut self, record: &FlowRecord) -> Result<bool, RenderError> {
        if record.packets == 0 {
            return Err(RenderError::NoPackets);
        }
        if let Some(count) = [record.packets, record.bytes].into_iter().find(|n| *n > self.most) {
            return Err(RenderError::Count { count, limit: self.most });
        }
        match &mut self.encoder {
            Encoder::V5(_) => V5Encoder::accepts(record),
            Encoder::Templates(encoder) => encoder.accept(record).map(|()| true),
        }
    }

    fn export(&mut self, flow: &Flow, at: Timestamp, sink: &mut Sink<'_>) {
        let mut sent = false;
        let mut sink = |time, datagram: &[u8]| {
            sent = true;
            sink(time, datagram);
        };
        let is_empty = match &mut self.encoder {
            Encoder::V5(encoder) => {
                encoder.add(flow, &self.clock, at, &mut sink);
                encoder.is_empty()
            }
            Encoder::Templates(encoder) => {
                encoder.add(flow, &self.clock, at, &mut sink);
                encoder.is_empty()
            }
        };
        self.exported += 1;
        if sent || is_empty {
            self.send_at = None;
        }
        if !is_empty {
            self.send_at.get_or_insert(at + self.delay);
        }
    }

    fn flush(&mut self, at: Timestamp, sink: &mut Sink<'_>) {
        self.send_at = None;
        match &mut self.encoder {
            Encoder::V5(encoder) => encoder.flush(&self.clock, at, sink),
            Encoder::Templates(encoder) => encoder.flush(&self.clock, at, sink),
        }
    }
}

impl Renderer for FlowCacheRenderer {
    fn render(&mut self, record: &FlowRecord, sink: &mut Sink<'_>) -> Result<(), RenderError> {
        let carried = self.accepts(record)?;
        self.clock.start(record.time);
        self.advance(record.time, sink);
        if !carried {
            self.not_carried += 1;
            return Ok(());
        }
        if self.cache.is_full_for(record)
            && let Some(flow) = self.cache.take_next()
        {
            self.evicted += 1;
            self.export(&flow, self.now, sink);
        }
        if let Some(full) = self.cache.add(record) {
            self.export(&full, self.now, sink);
        }
        Ok(())
    }

    fn advance(&mut self, now: Timestamp, sink: &mut Sink<'_>) {
        // Flows and datagrams whose time has come, in the order in which it came.
        loop {
            let flow_at = self.cache.next_due().filter(|at| *at <= now);
            let send_at = self.send_at.filter(|at| *at <= now);
            match (flow_at, send_at) {
                (flow_at, Some(at)) if flow_at.is_none_or(|flow_at| at <= flow_at) => {
                    self.flush(at, sink);
                }
                (Some(at), _) => match self.cache.take_next() {
                    Some(flow) => self.export(&flow, at.max(self.now), sink),
                    None => break,
                },
                (None, _) => break,
            }
        }
        self.now = self.now.max(now);
    }

    fn finish(&mut self, sink: &mut Sink<'_>) {
        while let Some(flow) = self.cache.take_next() {
            self.export(&flow, self.now, sink);
        }
        self.flush(self.now, sink);
    }
}

fn templates(layout: super::templates::Layout, plan: &FlowCachePlan) -> Encoder {
    Encoder::Templates(TemplateEncoder::new(layout, plan))
}
