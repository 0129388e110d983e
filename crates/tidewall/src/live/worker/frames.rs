//! Frames of a mirror port, a capture device or another program.

use std::time::Duration;

use tidewall_capture::af_packet::AfPacketSource;
use tidewall_capture::af_xdp::AfXdpSource;
use tidewall_capture::pcap_live::PcapSource;
use tidewall_capture::pipe::PipeSource;
use tidewall_capture::{FrameSink, ReceiveError, SourceStatistics, VlanTag};
use tidewall_collect::FrameCollector;
use tidewall_model::Timestamp;
use tidewall_wire::frame::LinkType;

use super::{Adjustment, Feed, Outlet, WorkerReport};
use crate::live::clock::Clock;
use crate::live::frames::{OpenTap, SeenFrame, WorkerTap, time_of};

/// Where frames come from.
pub enum FrameSource {
    /// AF_PACKET.
    AfPacket(AfPacketSource),
    /// AF_XDP.
    AfXdp(Box<AfXdpSource>),
    /// libpcap.
    Pcap(PcapSource),
    /// Another program.
    Pipe(PipeSource),
}

impl FrameSource {
    fn receive(
        &mut self,
        wait: Duration,
        sink: &mut impl FrameSink,
    ) -> Result<usize, ReceiveError> {
        match self {
            Self::AfPacket(source) => source.receive(wait, sink),
            Self::AfXdp(source) => source.receive(wait, sink),
            Self::Pcap(source) => source.receive(wait, sink),
            Self::Pipe(source) => source.receive(wait, sink),
        }
    }

    fn statistics(&mut self) -> SourceStatistics {
        match self {
            Self::AfPacket(source) => source.statistics(),
            Self::AfXdp(source) => source.statistics(),
            Self::Pcap(source) => source.statistics(),
            Self::Pipe(source) => source.statistics(),
        }
    }
}

/// A source of frames with what dissects them.
pub struct FrameFeed {
    /// Where frames come from.
    pub source: FrameSource,
    /// What dissects them.
    pub collector: FrameCollector,
    /// The process's clock.
    pub clock: Clock,
    /// Where frames of attacks are kept.
    pub tap: WorkerTap,
}

/// Takes the frames of a batch, all at one time: they came within milliseconds.
struct Intake<'a> {
    collector: &'a mut FrameCollector,
    now: Timestamp,
    clock: Clock,
    outlet: &'a mut Outlet,
    tap: &'a WorkerTap,
    /// From the first frame on, if frames are to be kept.
    open: Option<OpenTap<'a>>,
}

impl FrameSink for Intake<'_> {
    #[inline]
    fn frame(
        &mut self,
        link: LinkType,
        kernel: Timestamp,
        data: &[u8],
        wire_length: u32,
        vlan: Option<VlanTag>,
    ) {
        if self.now == Timestamp::ZERO {
            self.now = self.clock.now();
            self.open = self.tap.open(self.now);
        }
        // The reason is counted by the collector.
        if let Ok(mut record) = self.collector.decode(link, self.now, data, wire_length) {
            if let Some(tag) = vlan {
                record.vlan = tag.id();
            }
            if let Some(tap) = &mut self.open {
                let time = time_of(kernel, self.now);
                tap.offer(&SeenFrame { link, time, data, wire_length, vlan }, &record);
            }
            self.outlet.waiting().push(record);
            self.outlet.settle();
        }
    }
}

impl Feed for FrameFeed {
    fn receive(&mut self, wait: Duration, outlet: &mut Outlet) -> Result<usize, ReceiveError> {
        let mut intake = Intake {
            collector: &mut self.collector,
            now: Timestamp::ZERO,
            clock: self.clock,
            outlet,
            tap: &self.tap,
            open: None,
        };
        self.source.receive(wait, &mut intake)
    }

    fn pause(&mut self) -> Duration {
        // The others wake us for a whole block or buffer.
        match &mut self.source {
            FrameSource::AfXdp(source) => source.rest(),
            _ => Duration::ZERO,
        }
    }

    fn tick(&mut self) {}

    fn adjust(&mut self, adjustment: &Adjustment) {
        let frames = adjustment.frames;
        self.collector.set(frames.tunnels, frames.length, adjustment.sampling);
    }

    fn leave(&mut self) {
        if let FrameSource::AfPacket(source) = &mut self.source {
            // Without it the end is only less sharp.
            _ = source.leave();
        }
    }

    fn report(&mut self) -> WorkerReport {
        WorkerReport {
            source: self.source.statistics(),
            drops: *self.collector.drops(),
            ..WorkerReport::default()
        }
    }
}
