//! Sources: opened before the service gives up its rights, or by a reload, and driven by workers
//! afterwards. What is received from one place, by one worker or more, is opened as a whole.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use anyhow::bail;
use tidewall_capture::af_packet::{AfPacketSource, Shift};
use tidewall_capture::af_xdp::AfXdpSource;
use tidewall_capture::pcap_live::PcapSource;
use tidewall_capture::pipe::PipeSource;
use tidewall_capture::udp::{UdpConfig, UdpPort, UdpSource};
use tidewall_collect::{FrameCollector, NetflowCollector, SflowCollector};
use tidewall_model::SamplingRate;

use super::Plan;
use super::clock::Clock;
use super::crew::Start;
use super::frames::FrameTap;
use super::trouble::Place;
use super::worker::Feed;
use super::worker::flows::{Collector, FlowFeed};
use super::worker::frames::{FrameFeed, FrameSource};
use crate::config::MirrorSource;

/// Sources that are open, with what will read them; nothing runs yet.
pub struct Sources {
    /// What is open.
    pub(super) list: Vec<OpenSite>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// Where something is received. Two that are equal are opened in the same way; what else a plan
/// says can be changed while workers run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Site {
    /// Export datagrams, and the interface that the sockets are bound to.
    Listen(Protocol, SocketAddr, Option<String>),
    /// Frames, and the workers where the engine has a choice.
    Mirror(MirrorSource, usize),
}

/// What exporters speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Sflow,
    Netflow,
}

/// How a site is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Whoever is just leaving the interface is waited for, a second or two.
    Patiently,
    /// The port is ours, and those who have it will leave it.
    Beside,
    /// Without waiting for anybody: it is tried again.
    AtOnce,
}

/// A site that is open.
pub(super) struct OpenSite {
    pub(super) site: Site,
    /// Of each frame: how many it stands for.
    pub(super) sampling: SamplingRate,
    /// What concerns all sockets of a UDP port.
    pub(super) port: Option<UdpPort>,
    /// When frames of AF_PACKET are taken.
    pub(super) shift: Option<Arc<Shift>>,
    /// A source for each worker, and its name.
    pub(super) sources: Vec<(String, Opened)>,
}

/// A source that is open.
#[expect(clippy::large_enum_variant, reason = "moved once, when the worker starts")]
pub(super) enum Opened {
    /// With the number of the socket among those of its port.
    Flows(UdpSource, Collector, usize),
    Frames(FrameSource, FrameCollector),
}

impl Sources {
    /// Opens every source of the plan. This needs the rights that the service may give up later.
    pub fn open(plan: &Plan) -> anyhow::Result<Self> {
        let mut sources = Self { list: Vec::new(), warnings: Vec::new() };
        for (site, sampling) in Site::all(plan)? {
            let open = site.open(sampling, plan, How::Patiently)?;
            sources.warnings.extend(open.warnings());
            sources.list.push(open);
        }
        sources.warnings.dedup();
        Ok(sources)
    }

    /// Makes the sockets that listen a user's, so that this user may open more beside them.
    pub fn give_to(&self, user: u32, group: u32) -> std::io::Result<()> {
        for (_, opened) in self.list.iter().flat_map(|open| &open.sources) {
            if let Opened::Flows(source, ..) = opened {
                source.give_to(user, group)?;
            }
        }
        Ok(())
    }

    /// What is received from, in words.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().flat_map(|open| &open.sources).map(|(name, _)| name.as_str())
    }
}

impl Site {
    /// Where the plan has something received, and how many each frame stands for.
    pub(super) fn all(plan: &Plan) -> anyhow::Result<Vec<(Self, SamplingRate)>> {
        let listen = &plan.listen;
        let flows = |protocol| {
            move |address: &SocketAddr| {
                let site = Self::Listen(protocol, *address, listen.interface.clone());
                (site, SamplingRate::ONE)
            }
        };
        let mut all: Vec<_> = listen.sflow.iter().map(flows(Protocol::Sflow)).collect();
        all.extend(listen.netflow.iter().map(flows(Protocol::Netflow)));
        all.extend(
            plan.mirrors.iter().map(|mirror| {
                (Self::Mirror(mirror.source.clone(), mirror.workers), mirror.sampling)
            }),
        );
        if all.is_empty() {
            bail!(
                "there is nothing to receive: name an address under [listen], or a [[mirror]]; in \
                 FastNetMon's file turn on `sflow`, `netflow` or a mirror, with ports or interfaces"
            );
        }
        Ok(all)
    }

    /// Opens it.
    pub(super) fn open(
        &self,
        sampling: SamplingRate,
        plan: &Plan,
        how: How,
    ) -> anyhow::Result<OpenSite> {
        let (site, mut port, mut shift) = (self.clone(), None, None);
        let sources = match self {
            Self::Listen(..) => {
                let config = self.udp_config(plan);
                let workers = NonZeroUsize::new(plan.listen.workers).unwrap_or(NonZeroUsize::MIN);
                let group = if how == How::Beside {
                    UdpSource::open_beside(&config, workers)?
                } else {
                    UdpSource::open_group(&config, workers)?
                };
                port = group.first().map(UdpSource::port).transpose()?;
                self.flow_sources(group, 0, plan)
            }
            Self::Mirror(source, workers) => {
                let frames = plan.frames;
                let named = |(name, source)| {
                    let collector = FrameCollector::new(frames.tunnels, frames.length, sampling);
                    (name, Opened::Frames(source, collector))
                };
                let group = open_mirror(source, *workers, how)?;
                shift = group.first().and_then(|(_, source)| shift_of(source));
                group.into_iter().map(named).collect()
            }
        };
        Ok(OpenSite { site, sampling, port, shift, sources })
    }

    /// These sockets, of which the first one has a number in its group, with what reads them.
    pub(super) fn flow_sources(
        &self,
        group: Vec<UdpSource>,
        first: usize,
        plan: &Plan,
    ) -> Vec<(String, Opened)> {
        let collector = || match self {
            Self::Listen(Protocol::Sflow, ..) => {
                Collector::Sflow(Box::new(SflowCollector::new(plan.flows.sflow(plan.frames))))
            }
            _ => {
                Collector::Netflow(Box::new(NetflowCollector::new(plan.flows.netflow(plan.frames))))
            }
        };
        let named = |(number, socket)| {
            (format!("{self} #{number}"), Opened::Flows(socket, collector(), number))
        };
        (first..).zip(group).map(named).collect()
    }

    /// What its sockets are told; of a mirror nothing that matters.
    pub(super) fn udp_config(&self, plan: &Plan) -> UdpConfig {
        let (address, interface) = match self {
            Self::Listen(_, address, interface) => (*address, interface.clone()),
            Self::Mirror(..) => (SocketAddr::from(([0; 4], 0)), None),
        };
        UdpConfig {
            interface,
            receive_buffer: plan.listen.receive_buffer,
            allowed: plan.listen.allow.clone(),
            // Records count at the process's own time.
            kernel_time: false,
            ..UdpConfig::new(address)
        }
    }

    /// Where templates are kept: NetFlow and IPFIX have some.
    pub(super) fn templates(&self) -> Option<SocketAddr> {
        match self {
            Self::Listen(Protocol::Netflow, address, _) => Some(*address),
            Self::Listen(..) | Self::Mirror(..) => None,
        }
    }

    /// The UDP port.
    pub(super) fn port(&self) -> Option<u16> {
        match self {
            Self::Listen(_, address, _) => Some(address.port()),
            Self::Mirror(..) => None,
        }
    }

    /// Must it be closed before `other` is opened? What these engines get cannot be stopped, so
    /// that two of them would count the same frames, or cannot both be there.
    pub(super) fn is_in_the_way_of(&self, other: &Self) -> bool {
        let exclusive =
            matches!(self, Self::Mirror(MirrorSource::AfXdp(_) | MirrorSource::Pcap(_), _));
        exclusive && self.device().is_some() && self.device() == other.device()
    }

    /// Does it see the same frames as `other`, by AF_PACKET both?
    pub(super) fn takes_over_from(&self, other: &Self) -> bool {
        let is_packet = |site: &Self| matches!(site, Self::Mirror(MirrorSource::AfPacket(_), _));
        is_packet(self) && is_packet(other) && self.device() == other.device()
    }

    /// Are frames taken from an interface that may go down and come up?
    pub(super) fn is_of_interface(&self) -> bool {
        let Self::Mirror(source, _) = self else { return false };
        matches!(source, MirrorSource::AfPacket(_) | MirrorSource::AfXdp(_))
    }

    /// As the log speaks of it.
    pub(super) fn place(&self) -> Place {
        let relief = match self {
            Self::Listen(..) => {
                "raise `workers` or `receive_buffer` under [listen]; the kernel gives as much \
                 buffer as `sysctl net.core.rmem_max` says"
            }
            Self::Mirror(MirrorSource::AfXdp(_), _) => {
                "spread its frames over more receive queues (`ethtool -L`), each has a worker; or \
                 take fewer by `sampling` of its [[mirror]]"
            }
            Self::Mirror(MirrorSource::AfPacket(_), _) => {
                "raise `workers` of its [[mirror]], or take fewer frames by its `sampling` or \
                 `filter`"
            }
            Self::Mirror(..) => {
                "take fewer frames by `filter` of its [[mirror]], or by the engine \"af_packet\" \
                 with more `workers`"
            }
        };
        Place { name: self.to_string(), flows: self.port().is_some(), relief }
    }

    fn device(&self) -> Option<&str> {
        match self {
            Self::Listen(..) | Self::Mirror(MirrorSource::Pipe(_), _) => None,
            Self::Mirror(MirrorSource::AfPacket(config), _) => Some(&config.interface),
            Self::Mirror(MirrorSource::AfXdp(config), _) => Some(&config.interface),
            Self::Mirror(MirrorSource::Pcap(config), _) => Some(&config.device),
        }
    }
}

impl Display for Site {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listen(Protocol::Sflow, address, _) => write!(f, "sflow {address}"),
            Self::Listen(Protocol::Netflow, address, _) => write!(f, "netflow {address}"),
            Self::Mirror(MirrorSource::AfPacket(config), _) => {
                write!(f, "af_packet {}", config.interface)
            }
            Self::Mirror(MirrorSource::AfXdp(config), _) => {
                write!(f, "af_xdp {}", config.interface)
            }
            Self::Mirror(MirrorSource::Pcap(config), _) => write!(f, "pcap {}", config.device),
            Self::Mirror(MirrorSource::Pipe(origin), _) => origin.fmt(f),
        }
    }
}

fn shift_of(source: &FrameSource) -> Option<Arc<Shift>> {
    match source {
        FrameSource::AfPacket(source) => Some(source.shift()),
        FrameSource::AfXdp(_) | FrameSource::Pcap(_) | FrameSource::Pipe(_) => None,
    }
}

fn open_mirror(
    source: &MirrorSource,
    workers: usize,
    how: How,
) -> anyhow::Result<Vec<(String, FrameSource)>> {
    Ok(match source {
        MirrorSource::AfPacket(config) => {
            let workers = NonZeroUsize::new(workers).unwrap_or(NonZeroUsize::MIN);
            let group = AfPacketSource::open_group(config, workers)?;
            let name = |socket| format!("af_packet {} #{socket}", config.interface);
            (0..).map(name).zip(group.into_iter().map(FrameSource::AfPacket)).collect()
        }
        MirrorSource::AfXdp(config) => {
            let named = |source: AfXdpSource| {
                let name = format!("af_xdp {} queue {}", config.interface, source.queue());
                (name, FrameSource::AfXdp(Box::new(source)))
            };
            let group = match how {
                How::AtOnce => AfXdpSource::open_all_at_once(config)?,
                How::Patiently | How::Beside => AfXdpSource::open_all(config)?,
            };
            group.into_iter().map(named).collect()
        }
        MirrorSource::Pcap(config) => {
            let source = FrameSource::Pcap(PcapSource::open(config)?);
            vec![(format!("pcap {}", config.device), source)]
        }
        MirrorSource::Pipe(origin) => {
            vec![(origin.to_string(), FrameSource::Pipe(PipeSource::open(origin.clone())?))]
        }
    })
}

impl OpenSite {
    /// What an operator should know of it.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        self.sources.iter().filter_map(|(_, opened)| opened.warning())
    }
}

impl Opened {
    fn warning(&self) -> Option<String> {
        match self {
            Self::Flows(source, ..) => source.warning().map(|warning| warning.to_string()),
            Self::Frames(..) => None,
        }
    }

    /// Ready to be driven by a worker. Templates that others know, or else those that are kept in a
    /// folder, are known then.
    pub(super) fn feed(self, start: &Start<'_>, clock: Clock, frames: &FrameTap) -> Box<dyn Feed> {
        let Start { plan, state, memories } = *start;
        match self {
            Self::Flows(source, mut collector, number) => {
                let address = source.local_address();
                collector.learn(memories, clock.now());
                if let Some(state) = state.filter(|_| memories.is_empty()) {
                    collector.learn(&state.images(address.port()), clock.now());
                }
                let file = state.map(|state| state.file(address, number));
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
