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
mod trouble;
pub mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail};
use tidewall_engine::{Conductor, Policy};
use tidewall_model::Prefix;

use crate::config::{Flows, Frames, Listen, Mirror, Service};
use clock::Clock;
use crew::Crew;
use frames::FrameTap;
use hub::Hub;
use judge::{Judge, Order};
use shards::SharedShard;
use state::State;

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
    /// How the service lives on the machine.
    pub service: Service,
}

/// A running service.
pub struct Live {
    /// Where to ask, and to listen.
    pub hub: Arc<Hub>,
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
        let count = sources.list.iter().map(|open| open.sources.len()).sum();
        let conductor = Conductor::new(plan.policy.clone(), count, count > 1, seed);
        let open = |folder: &PathBuf| {
            State::open(folder).with_context(|| format!("{}: cannot be used", folder.display()))
        };
        let state = plan.service.state.as_ref().map(open).transpose()?;
        let frames = Arc::<FrameTap>::default();
        let hire = || Ok(SharedShard::new(conductor.shard()));
        let around = (clock, Arc::clone(&frames));
        let crew = Crew::start(plan, sources, around, state.as_ref(), hire)?;
        hub.set_roster(crew.roster());
        let (orders, taken) = channel();
        let stop_judge: Arc<AtomicBool> = Arc::default();
        let stop = Arc::clone(&stop_judge);
        let judge = Judge::new(conductor, crew.shards(), Arc::clone(&hub), clock, seed);
        let judge = spawn("detector", move || judge.run(&taken, &stop))?;
        let plan = plan.clone();
        Ok(Self { hub, clock, frames, plan, orders, stop_judge, crew, judge, state })
    }

    /// Goes on by another plan: by its policy from the next window on, by its rules for exporters
    /// and frames from the next batch on, with its sources at once. Says what was done, and what
    /// waits for a restart. An error means that nothing was changed.
    pub fn reload(&mut self, plan: &Plan) -> anyhow::Result<String> {
        let orders = &self.orders;
        let hire = || {
            let (answer, told) = channel();
            let ended = "the detector has ended";
            orders.send(Order::Join(answer)).ok().context(ended)?;
            told.recv().context(ended)
        };
        let changed = self.crew.change(plan, self.state.as_ref(), hire);
        self.hub.set_roster(self.crew.roster());
        let mut new = changed.inspect_err(|_| {
            // Some workers may have been hired, and are gone again.
            _ = self.orders.send(Order::Part(self.crew.shards()));
        })?;
        let workers_changed = !new.is_empty();
        let old = &self.plan;
        let named = [
            ("networks and limits", plan.policy != old.policy),
            ("sampling and crediting of flows", plan.flows != old.flows),
            ("the exporters that are allowed", plan.listen.allow != old.listen.allow),
            ("receive buffers", plan.listen.receive_buffer != old.listen.receive_buffer),
            ("how frames are counted", plan.frames != old.frames),
        ];
        let named = named.iter().filter(|(_, differs)| *differs);
        new.extend(named.map(|(what, _)| (*what).to_owned()));
        if plan.policy != old.policy || workers_changed {
            let order = Order::Adopt(Box::new(plan.policy.clone()), self.crew.shards());
            // Without a detector there is nothing to adopt it: the process is ending.
            _ = self.orders.send(order);
        }
        let what = if new.is_empty() { "nothing new".to_owned() } else { new.join("; ") };
        let mut said = format!("reloaded: {what}");
        if plan.service != old.service {
            said += "; [service] is new and takes effect when the service is restarted";
        }
        self.plan = Plan { service: self.plan.service.clone(), ..plan.clone() };
        Ok(said)
    }

    /// An error of a reload in words. A right that is missing may have been given up.
    pub fn explain(&self, error: &anyhow::Error) -> String {
        let said = format!("{error:#}");
        match &self.plan.service.user {
            Some(user) if crew::is_refusal(&said) => format!(
                "{said}; the service became `{user}` at its start and has no such rights any \
                 more: restart it"
            ),
            _ => said,
        }
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
        self.crew.look();
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
