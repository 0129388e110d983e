//! Flows as NetFlow v5: IPv4 only, one sampling rate for each packet. A dropped flow leaves by
//! interface 0; VLAN, TTL and fragments have no place.

use std::net::Ipv4Addr;

use tidewall_model::{Family, FlowRecord, Forwarding, Timestamp};
use tidewall_wire::emit::netflow::V5Writer;
use tidewall_wire::netflow::v5;

use super::cache::Flow;
use super::clock::Clock;
use super::{FlowCachePlan, RenderError, Sink};

/// The sampling word has 14 bits for the interval.
const MAX_RATE: u32 = 0x3fff;
/// Sampling mode 2, one packet in so many at random, in the word's top two bits.
const RANDOM: u16 = 2 << 14;

#[derive(Clone, Debug)]
pub(super) struct V5Encoder {
    writer: V5Writer,
    /// Of one packet.
    records: u16,
    input: u16,
    output: u16,
}

impl V5Encoder {
    pub(super) fn new(plan: &FlowCachePlan) -> Self {
        let mut writer = V5Writer::new();
        writer.engine_id = plan.source_id as u8;
        writer.begin();
        Self {
            writer,
            records: plan.records.clamp(1, v5::MAX_RECORDS),
            input: plan.input as u16,
            output: plan.output as u16,
        }
    }

    /// Can such a record be exported at all? IPv6 cannot.
    pub(super) fn accepts(record: &FlowRecord) -> Result<bool, RenderError> {
        let rate = record.sampling.get();
        if rate > MAX_RATE {
            return Err(RenderError::Rate { rate, limit: MAX_RATE });
        }
        Ok(record.family == Family::V4)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.writer.records() == 0
    }

    pub(super) fn add(&mut self, flow: &Flow, clock: &Clock, at: Timestamp, sink: &mut Sink<'_>) {
        let rate = flow.key.sampling.get() as u16;
        let sampling = if rate == 1 { 0 } else { RANDOM | rate };
        if sampling != self.writer.sampling {
            self.flush(clock, at, sink);
            self.writer.sampling = sampling;
        }
        self.writer.record(&self.record(flow, clock));
        if self.writer.records() >= self.records {
            self.flush(clock, at, sink);
        }
    }

    pub(super) fn flush(&mut self, clock: &Clock, at: Timestamp, sink: &mut Sink<'_>) {
        if !self.is_empty() {
            sink(at, self.writer.finish(clock.export_time(at)));
            self.writer.begin();
        }
    }

    fn record(&self, flow: &Flow, clock: &Clock) -> v5::Record {
        let dropped = flow.key.forwarding == Forwarding::Dropped;
        v5::Record {
            src_addr: Ipv4Addr::from_bits(flow.key.src as u32),
            dst_addr: Ipv4Addr::from_bits(flow.key.dst as u32),
            next_hop: Ipv4Addr::UNSPECIFIED,
            input: self.input,
            output: if dropped { 0 } else { self.output },
            packets: flow.packets as u32,
            octets: flow.bytes as u32,
            first: clock.uptime_ms(flow.first),
            last: clock.uptime_ms(flow.last),
            src_port: flow.key.src_port,
            dst_port: flow.key.dst_port,
            tcp_flags: flow.tcp_flags.0 as u8,
            protocol: flow.key.protocol,
            tos: 0,
            src_as: 0,
            dst_as: 0,
            src_mask: 0,
            dst_mask: 0,
        }
    }
}
