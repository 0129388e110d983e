//! Flows as NetFlow v9 or IPFIX: templates and sampler tables at the start and again and again,
//! always before the records that need them.

use std::time::Duration;

use tidewall_model::{Family, FlowRecord, Forwarding, Fragment, SamplingRate, Timestamp, protocol};
use tidewall_wire::emit::netflow::MessageWriter;
use tidewall_wire::netflow::{Element, FieldSpec, Protocol, Template, TemplateError, TemplateKind};

use super::cache::Flow;
use super::clock::Clock;
use super::frame::LATER_OFFSET;
use super::{FlowCachePlan, MAX_PAYLOAD, RenderError, Sink};

/// Different sampling rates that an exporter announces; ids count from 1.
const MAX_SAMPLERS: usize = 32;
/// A set header before, and padding behind the records that come next.
const SET_OVERHEAD: usize = 4 + 3;

const IPV4_TEMPLATE: u16 = 256;
const IPV6_TEMPLATE: u16 = 257;
const SAMPLER_TEMPLATE: u16 = 258;

/// The bit of fragmentFlags that says that more pieces follow (RFC 791 §3.1).
const MORE_FRAGMENTS: u128 = 0x20;

/// The fields of an exporter's records, with their lengths.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) protocol: Protocol,
    pub(super) ipv4: &'static [(Element, u16)],
    pub(super) ipv6: &'static [(Element, u16)],
    /// The first is the scope.
    pub(super) sampler: &'static [(Element, u16)],
}

#[derive(Clone, Debug)]
pub(super) struct TemplateEncoder {
    layout: Layout,
    writer: MessageWriter,
    templates: Vec<Template>,
    samplers: Vec<SamplingRate>,
    /// Flows of one datagram.
    records: u16,
    /// Flows in the datagram that is being written.
    flows: u16,
    input: u32,
    output: u32,
    every_datagrams: u32,
    every: Duration,
    announced: Option<Announced>,
}

/// When templates and samplers were sent last.
#[derive(Clone, Copy, Debug)]
struct Announced {
    at: Timestamp,
    datagrams: u32,
    samplers: usize,
}

impl TemplateEncoder {
    pub(super) fn new(layout: Layout, plan: &FlowCachePlan) -> Self {
        let template = |kind, id, scopes, fields: &[(Element, u16)]| {
            Template::new(layout.protocol, kind, id, scopes, specs(fields))
        };
        let templates: [Result<Template, TemplateError>; 3] = [
            template(TemplateKind::Data, IPV4_TEMPLATE, 0, layout.ipv4),
            template(TemplateKind::Data, IPV6_TEMPLATE, 0, layout.ipv6),
            template(TemplateKind::Options, SAMPLER_TEMPLATE, 1, layout.sampler),
        ];
        let mut writer = MessageWriter::new(layout.protocol, plan.source_id);
        writer.begin();
        Self {
            layout,
            writer,
            templates: templates.into_iter().flatten().collect(),
            samplers: Vec::new(),
            records: plan.records.max(1),
            flows: 0,
            input: plan.input,
            output: plan.output,
            every_datagrams: plan.template_datagrams,
            every: plan.template_interval,
            announced: None,
        }
    }

    /// Makes sure that a record's sampling rate has an id.
    pub(super) fn accept(&mut self, record: &FlowRecord) -> Result<(), RenderError> {
        if !self.samplers.contains(&record.sampling) {
            if self.samplers.len() == MAX_SAMPLERS {
                let rate = record.sampling.get();
                return Err(RenderError::Rates { rate, limit: MAX_SAMPLERS });
            }
            self.samplers.push(record.sampling);
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.flows == 0
    }

    pub(super) fn add(&mut self, flow: &Flow, clock: &Clock, at: Timestamp, sink: &mut Sink<'_>) {
        let (id, fields) = match flow.key.family {
            Family::V4 => (IPV4_TEMPLATE, self.layout.ipv4),
            Family::V6 => (IPV6_TEMPLATE, self.layout.ipv6),
        };
        let length: usize = fields.iter().map(|(_, length)| usize::from(*length)).sum();
        let end = self.writer.len() + SET_OVERHEAD + length + SET_OVERHEAD;
        let new_sampler = self.announced.is_some_and(|a| a.samplers < self.samplers.len());
        if end > MAX_PAYLOAD || new_sampler {
            self.flush(clock, at, sink);
        }
        if self.is_empty() && self.must_announce(at) {
            self.announce(at);
        }
        let sampler = self.samplers.iter().position(|rate| *rate == flow.key.sampling);
        let sampler = sampler.map_or(0, |index| index as u32 + 1);
        let values = Values { flow, clock, sampler, input: self.input, output: self.output };
        self.writer.record(id, |out| {
            for (element, length) in fields {
                append(values.of(*element), *length, out);
            }
        });
        self.flows += 1;
        if self.flows >= self.records {
            self.flush(clock, at, sink);
        }
    }

    pub(super) fn flush(&mut self, clock: &Clock, at: Timestamp, sink: &mut Sink<'_>) {
        if self.is_empty() {
            return;
        }
        sink(at, self.writer.finish(clock.export_time(at)));
        self.writer.begin();
        self.flows = 0;
        if let Some(announced) = &mut self.announced {
            announced.datagrams += 1;
        }
    }

    fn must_announce(&self, at: Timestamp) -> bool {
        self.announced.is_none_or(|announced| {
            announced.datagrams >= self.every_datagrams
                || at.since(announced.at) >= self.every
                || announced.samplers < self.samplers.len()
        })
    }

    fn announce(&mut self, at: Timestamp) {
        for template in &self.templates {
            self.writer.template(template);
        }
        for (rate, id) in self.samplers.iter().zip(1..) {
            self.writer.record(SAMPLER_TEMPLATE, |out| {
                for (element, length) in self.layout.sampler {
                    append(sampler_value(*element, id, rate.get()), *length, out);
                }
            });
        }
        self.announced = Some(Announced { at, datagrams: 0, samplers: self.samplers.len() });
    }
}

/// A flow and what its exporter adds to it.
struct Values<'a> {
    flow: &'a Flow,
    clock: &'a Clock,
    sampler: u32,
    input: u32,
    output: u32,
}

impl Values<'_> {
    fn of(&self, element: Element) -> u128 {
        let (flow, key) = (self.flow, &self.flow.key);
        match element {
            Element::SourceIpv4Address | Element::SourceIpv6Address => key.src,
            Element::DestinationIpv4Address | Element::DestinationIpv6Address => key.dst,
            Element::IngressInterface => self.input.into(),
            Element::EgressInterface => self.output.into(),
            Element::PacketDeltaCount => flow.packets.into(),
            Element::OctetDeltaCount => flow.bytes.into(),
            Element::FlowStartSysUpTime => self.clock.uptime_ms(flow.first).into(),
            Element::FlowEndSysUpTime => self.clock.uptime_ms(flow.last).into(),
            Element::FlowStartMilliseconds => u128::from(flow.first.0 / 1_000_000),
            Element::FlowEndMilliseconds => u128::from(flow.last.0 / 1_000_000),
            Element::SourceTransportPort => key.src_port.into(),
            Element::DestinationTransportPort => key.dst_port.into(),
            Element::ProtocolIdentifier => key.protocol.into(),
            Element::TcpControlBits => flow.tcp_flags.0.into(),
            Element::IcmpTypeCodeIpv4 if key.protocol == protocol::ICMP => key.dst_port.into(),
            Element::IcmpTypeCodeIpv6 if key.protocol == protocol::ICMPV6 => key.dst_port.into(),
            Element::VlanId => key.vlan.into(),
            Element::FragmentOffset if key.fragment == Fragment::Later => LATER_OFFSET.into(),
            Element::FragmentFlags if key.fragment == Fragment::First => MORE_FRAGMENTS,
            Element::MinimumTtl => flow.least_ttl.into(),
            // RFC 7270 §4.12: the status is in the top two bits.
            Element::ForwardingStatus => match key.forwarding {
                Forwarding::Unknown => 0,
                Forwarding::Forwarded => 0x40,
                Forwarding::Dropped => 0x80,
                Forwarding::Consumed => 0xc0,
            },
            Element::SamplerId | Element::SelectorId => self.sampler.into(),
            _ => 0,
        }
    }
}

/// What a sampler table says about one sampler.
fn sampler_value(element: Element, id: u32, rate: u32) -> u128 {
    match element {
        Element::SamplerId | Element::SelectorId => id.into(),
        Element::SamplerMode => 2, // random
        Element::SamplerRandomInterval | Element::SamplingInterval => rate.into(),
        // Systematic count-based sampling, of one packet in a row (RFC 5477 §8.2).
        Element::SelectorAlgorithm | Element::SamplingPacketInterval => 1,
        Element::SamplingPacketSpace => u128::from(rate - 1),
        _ => 0,
    }
}

/// Appends a number in so many bytes.
fn append(value: u128, length: u16, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let start = bytes.len().saturating_sub(length.into());
    out.extend_from_slice(bytes.get(start..).unwrap_or_default());
}

fn specs(fields: &[(Element, u16)]) -> Vec<FieldSpec> {
    let spec = |(element, length): &(Element, u16)| FieldSpec {
        element: element.number(),
        enterprise: 0,
        length: *length,
    };
    fields.iter().map(spec).collect()
}
