//! The service: workers that receive and count, one thread that detects, and what others may know
//! of it. Everything here starts and stops as a whole.

pub mod clock;
pub mod hub;
mod judge;
pub mod shards;
pub mod snapshot;
pub mod state;
pub mod worker;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail};
use tidewall_capture::af_packet::AfPacketSource;
use tidewall_capture::af_xdp::AfXdpSource;
use tidewall_capture::own_addresses::{self, AddressScope, OwnAddress};
use tidewall_capture::pcap_live::PcapSource;
use tidewall_capture::pipe::PipeSource;
use tidewall_capture::udp::{UdpConfig, UdpSource};
use tidewall_collect::{FrameCollector, NetflowCollector, SflowCollector};
use tidewall_engine::{Conductor, Policy};
use tidewall_model::Prefix;

use crate::config::{Flows, Frames, Listen, Mirror, MirrorSource};
use crate::crediting::Creditor;
use clock::Clock;
use hub::Hub;
use judge::{Judge, Order};
use shards::{SharedShard, SharedShards};
use state::State;
use worker::flows::{Collector, FlowFeed};
use worker::frames::{FrameFeed, FrameSource};
use worker::{Feed, Worker, WorkerStatus};

/// What the service is to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Networks and limits.
    pub policy: Policy,
    /// How frames are counted.
    pub frames: Frames,
    /// How export datagrams are read.
    pub flows: Flows,
    /// Where datagrams are waited for.
    pub listen: Listen,
    /// Where frames are taken from.
    pub mirrors: Vec<Mirror>,
    /// Folder for what outlives a restart.
    pub state: Option<PathBuf>,
}

/// A running service.
pub struct Live {
    /// Where to ask, and to listen.
    pub hub: Arc<Hub>,
    /// The workers.
    pub workers: Vec<Arc<WorkerStatus>>,
    /// The process's clock.
    pub clock: Clock,
    plan: Plan,
    orders: Sender<Order>,
    stop_workers: Arc<AtomicBool>,
    stop_judge: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    judge: JoinHandle<()>,
    state: Option<State>,
}

/// Sources that are open, with what will read them; nothing runs yet.
pub struct Sources {
    list: Vec<(String, Opened)>,
    /// What an operator should know.
    pub warnings: Vec<String>,
}

/// A source that is open.
enum Opened {
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
        for mirror in &plan.mirrors {
            sources.mirror(mirror, plan.frames)?;
        }
        sources.warnings.dedup();
        if sources.list.is_empty() {
            bail!("there is nothing to receive: name an address under [listen], or a [[mirror]]");
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
            self.list.push((name, Opened::Flows(source, collector(), number)));
        }
        Ok(())
    }

    fn mirror(&mut self, mirror: &Mirror, frames: Frames) -> anyhow::Result<()> {
        let collector = || FrameCollector::new(frames.tunnels, frames.length, mirror.sampling);
        let mut add = |name: String, source| {
            self.list.push((name, Opened::Frames(source, collector())));
        };
        match &mirror.source {
            MirrorSource::AfPacket(config) => {
                let workers = NonZeroUsize::new(mirror.workers).unwrap_or(NonZeroUsize::MIN);
                let group = AfPacketSource::open_group(config, workers)?;
                for (number, source) in group.into_iter().enumerate() {
                    let name = format!("af_packet {} #{number}", config.interface);
                    add(name, FrameSource::AfPacket(source));
                }
            }
            MirrorSource::AfXdp(config) => {
                for source in AfXdpSource::open_all(config)? {
                    let name = format!("af_xdp {} queue {}", config.interface, source.queue());
                    add(name, FrameSource::AfXdp(source));
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
        self.list.iter().map(|(name, _)| name.as_str())
    }
}

impl Opened {
    /// Ready to be driven by a worker.
    fn feed(self, plan: &Plan, clock: Clock, state: Option<&State>) -> Box<dyn Feed> {
        match self {
            Self::Flows(source, mut collector, number) => {
                let creditor = Creditor::new(plan.flows.crediting);
                let port = source.local_address().port();
                let file = state.map(|state| {
                    collector.restore(&state.images(port), clock.now());
                    state.file(port, number)
                });
                let granted = source.warning().map(|warning| warning.granted);
                let pause = FlowFeed::pause_of(granted.unwrap_or(plan.listen.receive_buffer));
                let (seq, state) = (0, file);
                Box::new(FlowFeed { source, collector, creditor, clock, seq, state, pause })
            }
            Self::Frames(source, collector) => Box::new(FrameFeed { source, collector, clock }),
        }
    }
}

impl Live {
    /// Starts all threads. `seed` keys the hash tables and must not be known outside.
    pub fn start(plan: &Plan, sources: Sources, seed: u64) -> anyhow::Result<Self> {
        let (hub, clock) = (Arc::new(Hub::default()), Clock::start());
        let count = sources.list.len();
        let conductor = Conductor::new(plan.policy.clone(), count, count > 1, seed);
        let shards = (0..count).map(|_| SharedShard::new(conductor.shard()));
        let shards = SharedShards(shards.collect());
        let (stop_workers, stop_judge) = (Arc::<AtomicBool>::default(), Arc::default());
        let (mut workers, mut threads) = (Vec::new(), Vec::new());
        let open = |folder: &PathBuf| {
            State::open(folder).with_context(|| format!("{}: cannot be used", folder.display()))
        };
        let state = plan.state.as_ref().map(open).transpose()?;
        for ((name, opened), shard) in sources.list.into_iter().zip(&shards.0) {
            let status = Arc::new(WorkerStatus::new(name));
            workers.push(Arc::clone(&status));
            let worker = Worker {
                feed: opened.feed(plan, clock, state.as_ref()),
                shard: shard.clone(),
                clock,
                status,
                stop: Arc::clone(&stop_workers),
            };
            threads.push(spawn(&format!("worker-{}", threads.len()), move || worker.run())?);
        }
        let (orders, taken) = channel();
        let stop: Arc<AtomicBool> = Arc::clone(&stop_judge);
        let judge = Judge::new(conductor, shards, Arc::clone(&hub), clock, seed);
        let judge = spawn("detector", move || judge.run(&taken, &stop))?;
        let plan = plan.clone();
        Ok(Self {
            hub,
            workers,
            clock,
            plan,
            orders,
            stop_workers,
            stop_judge,
            threads,
            judge,
            state,
        })
    }

    /// Goes on by another plan's policy from the next window on. Says what was done, and what
    /// waits for a restart.
    pub fn reload(&mut self, plan: &Plan) -> String {
        let changed = plan.policy != self.plan.policy;
        // Without a detector there is nothing to adopt it: the process is ending.
        _ = self.orders.send(Order::Adopt(Box::new(plan.policy.clone())));
        let what = if changed { "networks and limits" } else { "nothing new" };
        let mut said = format!("reloaded: {what}");
        let waits = [
            ("listen", plan.listen != self.plan.listen),
            ("flows", plan.flows != self.plan.flows),
            ("frames", plan.frames != self.plan.frames),
        ];
        self.plan.policy.clone_from(&plan.policy);
        for (table, _) in waits.iter().filter(|(_, differs)| *differs) {
            said += &format!("; [{table}] is new and takes effect when the service is restarted");
        }
        said
    }

    /// Does every thread run?
    pub fn is_alive(&self) -> bool {
        !self.judge.is_finished() && self.threads.iter().all(|thread| !thread.is_finished())
    }

    /// The name and the reason of a worker that could not go on.
    pub fn failure(&self) -> Option<String> {
        let failed = |worker: &Arc<WorkerStatus>| {
            worker.report().failed.map(|reason| format!("{}: {reason}", worker.name))
        };
        self.workers.iter().find_map(failed)
    }

    /// Takes what the kernel still holds, closes the last window and ends.
    pub fn stop(self) -> anyhow::Result<()> {
        self.stop_workers.store(true, Ordering::Relaxed);
        for thread in self.threads {
            if thread.join().is_err() {
                bail!("a worker panicked; this is a fault of tidewall");
            }
        }
        self.stop_judge.store(true, Ordering::Relaxed);
        drop(self.orders);
        if self.judge.join().is_err() {
            bail!("the detector panicked; this is a fault of tidewall");
        }
        if let Some(state) = self.state {
            state.close();
        }
        Ok(())
    }
}

/// This machine's own networks: those of its global addresses, on links and point to point.
pub fn own_networks() -> anyhow::Result<Vec<Prefix>> {
    let addresses =
        own_addresses::own_addresses().context("the machine's own addresses cannot be read")?;
    let global = addresses.iter().filter(|own| own.scope == AddressScope::Global);
    let mut networks: Vec<Prefix> = global.map(OwnAddress::network).collect();
    networks.sort();
    networks.dedup();
    Ok(networks)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(run).with_context(|| format!("the thread {name} cannot be started"))
}
