//! `--write`: the demo's traffic as a pcap with nanoseconds: its frames, cut like `tcpdump -s 128`
//! does, or the export datagrams that a router would send about them.

use std::io::{self, Write};

use tidewall_model::{FlowRecord, SamplingRate, Timestamp};
use tidewall_scenario::{
    ExportPath, FlowCachePlan, FlowCacheRenderer, FlowProtocol, Random, Renderer, SflowPlan,
    SflowRenderer,
};
use tidewall_wire::pcap::{Packet, PcapHeader, PcapWriter};

/// Bytes kept of each frame: all its headers. The payloads are zeros, and the file says how long
/// each frame was, so nothing that counts is lost and the file is a sixth of the size.
const SNAP_LEN: u32 = 128;
/// Export datagrams are kept whole.
const WHOLE: u32 = 65_535;
const BUFFER_LEN: usize = 1 << 16;
/// Which packets are sampled does not depend on the scenario's own choices.
const SAMPLING_SEED: u64 = 0x5a3b_1e77;

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Medium {
    /// The frames themselves.
    #[default]
    Frames,
    /// sFlow v5.
    Sflow,
    /// NetFlow v5, IPv4 only.
    Netflow5,
    /// NetFlow v9.
    Netflow9,
    /// IPFIX.
    Ipfix,
}

/// Writes traffic to a file.
pub struct CaptureWriter {
    file: PcapFile,
    exporter: Option<Exporter>,
    sampling: SamplingRate,
    random: Random,
}

impl CaptureWriter {
    /// Begins a capture of all frames.
    pub fn new(out: impl Write + 'static) -> Self {
        Self::of(Medium::Frames, SamplingRate::ONE, out)
    }

    /// Begins a capture in this medium, of so many of the packets.
    pub fn of(medium: Medium, sampling: SamplingRate, out: impl Write + 'static) -> Self {
        let exporter = Exporter::of(medium);
        let snap_len = if exporter.is_some() { WHOLE } else { SNAP_LEN };
        let file = PcapFile::new(snap_len, out);
        Self { file, exporter, sampling, random: Random::new(SAMPLING_SEED) }
    }

    /// Adds a packet: its record and its frame.
    pub(super) fn write(&mut self, record: &FlowRecord, frame: &[u8]) -> io::Result<()> {
        if !self.random.chance(1.0 / f64::from(self.sampling.get())) {
            return Ok(());
        }
        match &mut self.exporter {
            None => self.file.write(record.time, frame),
            Some(exporter) => {
                let sampled = FlowRecord { sampling: self.sampling, ..*record };
                exporter.send(&mut self.file, |renderer, sink| {
                    renderer.render(&sampled, sink).map_err(io::Error::other)
                })
            }
        }
    }

    /// Writes what is left.
    pub(super) fn finish(mut self) -> io::Result<()> {
        if let Some(exporter) = &mut self.exporter {
            exporter.send(&mut self.file, |renderer, sink| {
                renderer.finish(sink);
                Ok(())
            })?;
        }
        self.file.finish()
    }
}

/// A router that exports what it sees.
struct Exporter {
    renderer: Box<dyn Renderer>,
    path: ExportPath,
    /// Datagrams sent.
    sent: u32,
    frame: Vec<u8>,
}

impl Exporter {
    fn of(medium: Medium) -> Option<Self> {
        let flows = |protocol| -> Box<dyn Renderer> {
            Box::new(FlowCacheRenderer::new(protocol, &FlowCachePlan::default()))
        };
        let (renderer, port) = match medium {
            Medium::Frames => return None,
            Medium::Sflow => {
                let agent: Box<dyn Renderer> = Box::new(SflowRenderer::new(&SflowPlan::default()));
                (agent, ExportPath::SFLOW_PORT)
            }
            Medium::Netflow5 => (flows(FlowProtocol::NetflowV5), ExportPath::NETFLOW_PORT),
            Medium::Netflow9 => (flows(FlowProtocol::NetflowV9), ExportPath::NETFLOW_PORT),
            Medium::Ipfix => (flows(FlowProtocol::Ipfix), ExportPath::IPFIX_PORT),
        };
        Some(Self { renderer, path: ExportPath::to_port(port), sent: 0, frame: Vec::new() })
    }

    /// Lets the renderer work and writes what it sends.
    fn send(
        &mut self,
        file: &mut PcapFile,
        work: impl FnOnce(&mut dyn Renderer, &mut dyn FnMut(Timestamp, &[u8])) -> io::Result<()>,
    ) -> io::Result<()> {
        let Self { renderer, path, sent, frame } = self;
        let mut written = Ok(());
        let worked = work(renderer.as_mut(), &mut |time, datagram| {
            if written.is_ok() {
                written = path
                    .frame(*sent, datagram, frame)
                    .map_err(io::Error::other)
                    .and_then(|()| file.write(time, frame));
                *sent = sent.wrapping_add(1);
            }
        });
        worked.and(written)
    }
}

/// A pcap that is written.
struct PcapFile {
    writer: PcapWriter,
    buffer: Vec<u8>,
    out: Box<dyn Write>,
}

impl PcapFile {
    fn new(snap_len: u32, out: impl Write + 'static) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER_LEN + 2 * SNAP_LEN as usize);
        let header = PcapHeader { snap_len, nanoseconds: true, ..PcapHeader::default() };
        let writer = PcapWriter::new(header, &mut buffer);
        Self { writer, buffer, out: Box::new(out) }
    }

    fn write(&mut self, time: Timestamp, frame: &[u8]) -> io::Result<()> {
        let wire_len = frame.len() as u32;
        let packet = Packet { time: time.0, link_type: 1, wire_len, data: frame, interface: 0 };
        self.writer.write(&packet, &mut self.buffer);
        if self.buffer.len() >= BUFFER_LEN {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.out.flush()
    }
}
