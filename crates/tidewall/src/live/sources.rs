//! Sources: opened before the service gives up its rights, and driven by workers afterwards.

use std::net::SocketAddr;
use std::num::NonZeroUsize;

use anyhow::bail;
use tidewall_capture::af_packet::AfPacketSource;
use tidewall_capture::af_xdp::AfXdpSource;
use tidewall_capture::pcap_live::PcapSource;
use tidewall_capture::pipe::PipeSource;
use tidewall_capture::udp::{UdpConfig, UdpSource};
use tidewall_collect::{FrameCollector, NetflowCollector, SflowCollector};

use super::Plan;
use super::clock::Clock;
use super::frames::FrameTap;
use super::state::State;
use super::worker::Feed;
use super::worker::flows::{Collector, FlowFeed};
use super::worker::frames::{FrameFeed, FrameSource};
use crate::config::{Frames, Listen, Mirror, MirrorSource};

/// Sources that are open, with what will read them; nothing runs yet.
pub struct Sources {
    /// Name, number of the mirror among those of the plan, and what is open.
    pub(super) list: Vec<(String, Option<usize>, Opened)>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// A source that is open.
#[expect(clippy::large_enum_variant, reason = "moved once, when the service starts")]
pub(super) enum Opened {
    /// With the number of the socket among those of its port.
    Flows(UdpSource, Collector, usize),
    Frames(FrameSource, FrameCollector),
}

impl Sources {
    /// Opens every source of the plan. This needs the rights that the service may give up later.
    pub fn open(plan: &Plan) -> anyhow::Result<Self> {
        let mut sources = Self { list: Vec::new(), warnings: Vec::new() };
        for address in &plan.listen.sflow {
            let collector = || {
                let settings = plan.flows.sflow(plan.frames);
                Collector::Sflow(Box::new(SflowCollector::new(settings)))
            };
            sources.listen("sflow", *address, &plan.listen, collector)?;
        }
        for address in &plan.listen.netflow {
            let collector = || {
                let settings = plan.flows.netflow(plan.frames);
                Collector::Netflow(Box::new(NetflowCollector::new(settings)))
            };
            sources.listen("netflow", *address, &plan.listen, collector)?;
        }
        for (number, mirror) in plan.mirrors.iter().enumerate() {
            sources.mirror(number, mirror, plan.frames)?;
        }
        sources.warnings.dedup();
        if sources.list.is_empty() {
            bail!("there is nothing to receive: name an address under [listen], or a [[mirror]]");
        }
        Ok(sources)
    }

    /// Opens one mirror again.
    pub(super) fn open_mirror(plan: &Plan, number: usize) -> anyhow::Result<Self> {
        let mut sources = Self { list: Vec::new(), warnings: Vec::new() };
        if let Some(mirror) = plan.mirrors.get(number) {
            sources.mirror(number, mirror, plan.frames)?;
        }
        Ok(sources)
    }

    fn listen(
        &mut self,
        word: &str,
        address: SocketAddr,
        listen: &Listen,
        collector: impl Fn() -> Collector,
    ) -> anyhow::Result<()> {
        let config = UdpConfig {
            interface: listen.interface.clone(),
            receive_buffer: listen.receive_buffer,
            allowed: listen.allow.clone(),
            // Records count at the process's own time.
            kernel_time: false,
            ..UdpConfig::new(address)
        };
        let workers = NonZeroUsize::new(listen.workers).unwrap_or(NonZeroUsize::MIN);
        for (number, source) in UdpSource::open_group(&config, workers)?.into_iter().enumerate() {
            self.warnings.extend(source.warning().map(|warning| warning.to_string()));
            let name = format!("{word} {} #{number}", source.local_address());
            self.list.push((name, None, Opened::Flows(source, collector(), number)));
        }
        Ok(())
    }

    fn mirror(&mut self, number: usize, mirror: &Mirror, frames: Frames) -> anyhow::Result<()> {
        let collector = || FrameCollector::new(frames.tunnels, frames.length, mirror.sampling);
        let mut add = |name: String, source| {
            self.list.push((name, Some(number), Opened::Frames(source, collector())));
        };
        match &mirror.source {
            MirrorSource::AfPacket(config) => {
                let workers = NonZeroUsize::new(mirror.workers).unwrap_or(NonZeroUsize::MIN);
                let group = AfPacketSource::open_group(config, workers)?;
                for (socket, source) in group.into_iter().enumerate() {
                    let name = format!("af_packet {} #{socket}", config.interface);
                    add(name, FrameSource::AfPacket(source));
                }
            }
            MirrorSource::AfXdp(config) => {
                for source in AfXdpSource::open_all(config)? {
                    let name = format!("af_xdp {} queue {}", config.interface, source.queue());
                    add(name, FrameSource::AfXdp(Box::new(source)));
                }
            }
            MirrorSource::Pcap(config) => {
                let name = format!("pcap {}", config.device);
                add(name, FrameSource::Pcap(PcapSource::open(config)?));
            }
            MirrorSource::Pipe(origin) => {
                let name = origin.to_string();
                add(name, FrameSource::Pipe(PipeSource::open(origin.clone())?));
            }
        }
        Ok(())
    }

    /// What is received from, in words.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|(name, ..)| name.as_str())
    }
}

impl Opened {
    /// Ready to be driven by a worker.
    pub(super) fn feed(
        self,
        plan: &Plan,
        clock: Clock,
        state: Option<&State>,
        frames: &FrameTap,
    ) -> Box<dyn Feed> {
        match self {
            Self::Flows(source, mut collector, number) => {
                let port = source.local_address().port();
                let file = state.map(|state| {
                    collector.restore(&state.images(port), clock.now());
                    state.file(port, number)
                });
                let (crediting, buffer) = (plan.flows.crediting, plan.listen.receive_buffer);
                let tap = matches!(collector, Collector::Sflow(_)).then(|| frames.worker());
                let feed = FlowFeed::new(source, collector, crediting, clock, file, buffer);
                Box::new(FlowFeed { tap, ..feed })
            }
            Self::Frames(source, collector) => {
                Box::new(FrameFeed { source, collector, clock, tap: frames.worker() })
            }
        }
    }
}
