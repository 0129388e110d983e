//! The same records in every medium that they can reach us by, as captures in memory.

#![allow(dead_code, reason = "each test program uses its part")]

use std::sync::Arc;
use std::time::Duration;

use tidewall::replay::Input;
use tidewall_model::{Family, FlowRecord, Fragment, SamplingRate, Timestamp};
use tidewall_scenario::{
    ExportPath, FlowCachePlan, FlowCacheRenderer, FlowProtocol, FrameRenderer, Random, Renderer,
    SflowPlan, SflowRenderer,
};
use tidewall_wire::pcap::{Packet, PcapHeader, PcapWriter};

/// Bytes kept of a captured frame: all its headers.
const SNAP_LEN: usize = 96;
const SAMPLING_SEED: u64 = 0x51_7e;

/// What records are rendered as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Frames,
    Sflow,
    Flows(FlowProtocol),
}

/// A medium: what is sent, of how many packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Medium {
    pub name: &'static str,
    pub kind: Kind,
    pub sampling: u32,
}

impl Medium {
    pub const fn new(name: &'static str, kind: Kind, sampling: u32) -> Self {
        Self { name, kind, sampling }
    }

    /// The most by which a packet's record comes later than the packet: an sFlow agent fills its
    /// datagram first, a flow cache keeps the flow for its active timeout too.
    pub fn delay(&self) -> Duration {
        let plan = FlowCachePlan::default();
        match self.kind {
            Kind::Frames => Duration::ZERO,
            Kind::Sflow => SflowPlan::default().delay,
            Kind::Flows(_) => plan.active + plan.delay,
        }
    }

    /// What can be seen of a packet: NetFlow v5 has no IPv6 and no word for fragments.
    pub fn shows(&self, record: &FlowRecord) -> Option<FlowRecord> {
        if self.kind != Kind::Flows(FlowProtocol::NetflowV5) {
            return Some(*record);
        }
        let seen = FlowRecord { fragment: Fragment::Whole, ..*record };
        (record.family == Family::V4).then_some(seen)
    }

    /// The capture of an exporter with usual settings that saw these packets.
    pub fn capture(&self, records: &[FlowRecord]) -> Input {
        self.capture_of(records, &FlowCachePlan::default())
    }

    /// The same, of a flow cache that is set up like this.
    pub fn capture_of(&self, records: &[FlowRecord], plan: &FlowCachePlan) -> Input {
        let mut random = Random::new(SAMPLING_SEED);
        let chance = 1.0 / f64::from(self.sampling);
        let chosen = records.iter().filter(|_| self.sampling == 1 || random.chance(chance));
        let sampling = SamplingRate::new(self.sampling);
        let sampled = chosen.map(|record| FlowRecord { sampling, ..*record });
        let bytes = rendered(self.kind, plan, sampled);
        Input::Memory { name: self.name.to_owned(), bytes: Arc::from(bytes) }
    }
}

/// The bytes of a capture of these records, sampled as they say.
pub fn rendered(
    kind: Kind,
    plan: &FlowCachePlan,
    records: impl IntoIterator<Item = FlowRecord>,
) -> Vec<u8> {
    let mut writer = Writer::new(kind, plan);
    records.into_iter().for_each(|record| writer.add(&record));
    writer.finish()
}

struct Writer {
    pcap: Pcap,
    export: Option<(Box<dyn Renderer>, ExportPath)>,
    frames: FrameRenderer,
    frame: Vec<u8>,
    sent: u32,
}

impl Writer {
    fn new(kind: Kind, plan: &FlowCachePlan) -> Self {
        let export: Option<(Box<dyn Renderer>, u16)> = match kind {
            Kind::Frames => None,
            Kind::Sflow => {
                let plan = SflowPlan { header_bytes: SNAP_LEN, ..SflowPlan::default() };
                Some((Box::new(SflowRenderer::new(&plan)), ExportPath::SFLOW_PORT))
            }
            Kind::Flows(protocol) => {
                let port = match protocol {
                    FlowProtocol::Ipfix => ExportPath::IPFIX_PORT,
                    _ => ExportPath::NETFLOW_PORT,
                };
                Some((Box::new(FlowCacheRenderer::new(protocol, plan)), port))
            }
        };
        Self {
            pcap: Pcap::new(),
            export: export.map(|(renderer, port)| (renderer, ExportPath::to_port(port))),
            frames: FrameRenderer::new(),
            frame: Vec::new(),
            sent: 0,
        }
    }

    fn add(&mut self, record: &FlowRecord) {
        if self.export.is_some() {
            self.send(|renderer, sink| renderer.render(record, sink).unwrap());
        } else {
            self.frames.frame(record, &mut self.frame).unwrap();
            self.pcap.write(record.time, &self.frame, SNAP_LEN);
        }
    }

    /// Lets the renderer work, and captures what it sends.
    fn send(&mut self, work: impl FnOnce(&mut dyn Renderer, &mut dyn FnMut(Timestamp, &[u8]))) {
        let Self { pcap, export, frame, sent, .. } = self;
        let Some((renderer, path)) = export else { return };
        work(renderer.as_mut(), &mut |time, datagram| {
            path.frame(*sent, datagram, frame).unwrap();
            pcap.write(time, frame, usize::MAX);
            *sent = sent.wrapping_add(1);
        });
    }

    fn finish(mut self) -> Vec<u8> {
        self.send(|renderer, sink| renderer.finish(sink));
        self.pcap.bytes
    }
}

struct Pcap {
    writer: PcapWriter,
    bytes: Vec<u8>,
}

impl Pcap {
    fn new() -> Self {
        let header = PcapHeader { nanoseconds: true, ..PcapHeader::default() };
        let mut bytes = Vec::new();
        Self { writer: PcapWriter::new(header, &mut bytes), bytes }
    }

    fn write(&mut self, time: Timestamp, frame: &[u8], snap_len: usize) {
        let packet = Packet {
            time: time.0,
            link_type: 1,
            wire_len: frame.len() as u32,
            data: &frame[..frame.len().min(snap_len)],
            interface: 0,
        };
        self.writer.write(&packet, &mut self.bytes);
    }
}
