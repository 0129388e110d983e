//! The service: workers that receive and count, one thread that detects, and what others may know
//! of it. Everything here starts and stops as a whole.

pub mod clock;
mod crew;
pub mod frames;
pub mod hub;
mod judge;
pub mod networks;
pub mod shards;
pub mod snapshot;
mod sources;
pub mod state;
pub mod worker;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail};
use tidewall_engine::{Conductor, Policy};
use tidewall_model::Prefix;

use crate::config::{Flows, Frames, Listen, Mirror};
use clock::Clock;
use crew::Crew;
use frames::FrameTap;
use hub::Hub;
use judge::{Judge, Order};
use shards::{SharedShard, SharedShards};
use state::State;
use worker::{Adjustment, WorkerStatus};

pub use crew::Standing;
pub use sources::Sources;

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
    /// Frames of attacks; off until it is switched on.
    pub frames: Arc<FrameTap>,
    /// What it does now.
    plan: Plan,
    orders: Sender<Order>,
    stop_judge: Arc<AtomicBool>,
    crew: Crew,
    judge: JoinHandle<()>,
    state: Option<State>,
}

impl Live {
    /// Starts all threads. `seed` keys the hash tables and must not be known outside.
    pub fn start(plan: &Plan, sources: Sources, seed: u64) -> anyhow::Result<Self> {
        let (hub, clock) = (Arc::new(Hub::default()), Clock::start());
        let count = sources.list.len();
        let conductor = Conductor::new(plan.policy.clone(), count, count > 1, seed);
        let shards = (0..count).map(|_| SharedShard::new(conductor.shard()));
        let shards = SharedShards(shards.collect());
        let open = |folder: &PathBuf| {
            State::open(folder).with_context(|| format!("{}: cannot be used", folder.display()))
        };
        let state = plan.state.as_ref().map(open).transpose()?;
        let frames = Arc::<FrameTap>::default();
        let tap = Arc::clone(&frames);
        let crew = Crew::start(plan, sources, &shards.0, clock, state.as_ref(), tap)?;
        let (orders, taken) = channel();
        let stop_judge: Arc<AtomicBool> = Arc::default();
        let stop = Arc::clone(&stop_judge);
        let judge = Judge::new(conductor, shards, Arc::clone(&hub), clock, seed);
        let judge = spawn("detector", move || judge.run(&taken, &stop))?;
        let (plan, workers) = (plan.clone(), crew.statuses());
        Ok(Self { hub, workers, clock, frames, plan, orders, stop_judge, crew, judge, state })
    }

    /// Goes on by another plan: by its policy from the next window on, by its rules for exporters
    /// from the next datagram on. Says what was done, and what waits for a restart.
    pub fn reload(&mut self, plan: &Plan) -> String {
        let mut new = Vec::new();
        if plan.policy != self.plan.policy {
            new.push("networks and limits");
            // Without a detector there is nothing to adopt it: the process is ending.
            _ = self.orders.send(Order::Adopt(Box::new(plan.policy.clone())));
        }
        if plan.flows != self.plan.flows {
            new.push("sampling and crediting of flows");
        }
        if plan.listen.allow != self.plan.listen.allow {
            new.push("the exporters that are allowed");
        }
        self.plan.policy.clone_from(&plan.policy);
        self.plan.flows.clone_from(&plan.flows);
        self.plan.listen.allow.clone_from(&plan.listen.allow);
        let (flows, allow) = (plan.flows.clone(), plan.listen.allow.clone());
        self.crew.adjust(Adjustment { flows, allow });
        let what = if new.is_empty() { "nothing new".to_owned() } else { new.join(", ") };
        let waits = [
            ("listen", plan.listen != self.plan.listen),
            ("mirror", plan.mirrors != self.plan.mirrors),
            ("frames", plan.frames != self.plan.frames),
            ("service", plan.state != self.plan.state),
        ];
        let mut said = format!("reloaded: {what}");
        for (table, _) in waits.iter().filter(|(_, differs)| *differs) {
            let waits = "is new and takes effect when the service is restarted";
            _ = write!(said, "; [{table}] {waits}");
        }
        said
    }

    /// Our networks as they are now.
    pub fn networks(&self) -> &[Prefix] {
        &self.plan.policy.networks
    }

    /// Does every thread run that should?
    pub fn is_alive(&self) -> bool {
        !self.judge.is_finished() && self.crew.is_sane()
    }

    /// Opens again what was lost, where that is possible, and says how things stand.
    pub fn mend(&mut self) -> Standing {
        self.crew.mend(&self.plan);
        self.crew.standing()
    }

    /// Takes what the kernel still holds, closes the last window and ends.
    pub fn stop(self) -> anyhow::Result<()> {
        let ended = self.crew.stop();
        self.stop_judge.store(true, Ordering::Relaxed);
        drop(self.orders);
        if self.judge.join().is_err() {
            bail!("the detector panicked; this is a fault of tidewall");
        }
        self.hub.close();
        if let Some(state) = self.state {
            state.close();
        }
        ended
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> anyhow::Result<JoinHandle<()>> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(run).with_context(|| format!("the thread {name} cannot be started"))
}
