//! The detector's thread: at the end of every slice it closes what is over on all shards, and hands
//! what was found to the hub. Nothing that listens can hold it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use tidewall_engine::{Averages, Conductor, EngineStats, Observer, Policy, WindowView};
use tidewall_model::{AttackEvent, Timestamp};

use super::clock::Clock;
use super::hub::Hub;
use super::shards::{SharedShard, SharedShards};
use super::snapshot::{Snapshot, most_active};

/// A slice is closed so long after its end: what the kernel received in it is counted by then.
const GRACE: Duration = Duration::from_millis(5);
/// Hosts whose averages are kept for the lists of hosts.
const AVERAGES: usize = 10_000;
/// Time constant of these averages.
const AVERAGE_TIME: Duration = Duration::from_secs(5);

/// What the detector's thread is told.
#[derive(Debug)]
pub enum Order {
    /// Go on by this policy and with these shards at the end of the window. Attacks and what is
    /// watched are kept.
    Adopt(Box<Policy>, SharedShards),
    /// One more shard, from now on; to be among those of the next [`Self::Adopt`].
    Join(Sender<SharedShard>),
}

/// The detector and what drives it.
pub struct Judge {
    conductor: Conductor,
    shards: SharedShards,
    listener: Listener,
    clock: Clock,
    seed: u64,
    /// The policy and the shards to go on with at the end of the window.
    next: Option<(Policy, SharedShards)>,
    /// What shards counted that were replaced.
    before: EngineStats,
}

/// Hears what the conductor finds.
struct Listener {
    hub: Arc<Hub>,
    averages: Averages,
    snapshot: Snapshot,
    /// A window was closed, or something happened, since the last snapshot was published.
    news: bool,
    /// A window was closed since this was last looked at.
    boundary: bool,
}

impl Observer for Listener {
    fn window(&mut self, window: &WindowView<'_>) {
        let number = window.start.0 / u64::try_from(window.length.as_nanos()).unwrap_or(1).max(1);
        self.averages.end_window(number, window.hosts());
        self.snapshot.take(window, &self.averages, number);
        (self.news, self.boundary) = (true, true);
    }

    fn event(&mut self, event: &AttackEvent) {
        self.news = true;
        self.hub.event(event);
    }
}

impl Judge {
    /// Over these shards, which the conductor made.
    pub fn new(
        conductor: Conductor,
        shards: SharedShards,
        hub: Arc<Hub>,
        clock: Clock,
        seed: u64,
    ) -> Self {
        let averages = new_averages(conductor.policy());
        let snapshot = Snapshot::default();
        let listener = Listener { hub, averages, snapshot, news: true, boundary: false };
        let before = EngineStats::default();
        Self { conductor, shards, listener, clock, seed, next: None, before }
    }

    /// Runs until `stop`; then closes what is left.
    pub fn run(mut self, orders: &Receiver<Order>, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match orders.recv_timeout(self.until_next_slice()) {
                Ok(Order::Adopt(policy, shards)) => self.next = Some((*policy, shards)),
                Ok(Order::Join(answer)) => _ = answer.send(self.join()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.listener.boundary = false;
            self.advance(self.clock.now() - self.grace());
            let may = self.listener.boundary || self.conductor.is_idle(&mut self.shards);
            if let Some((policy, shards)) = self.next.take_if(|_| may) {
                self.adopt(policy, shards);
            }
        }
        self.conductor.finish(&mut self.shards, &mut self.listener);
        self.publish(self.clock.now());
    }

    /// Before a policy is replaced, windows are closed on time: what came behind the end would be
    /// lost with the shards.
    fn grace(&self) -> Duration {
        if self.next.is_some() { Duration::ZERO } else { GRACE }
    }

    fn until_next_slice(&self) -> Duration {
        let slice = self.conductor.slice_length();
        let now = (self.clock.now() - self.grace()).0;
        let over = Duration::from_nanos(now % u64::try_from(slice.as_nanos()).unwrap_or(1).max(1));
        slice.saturating_sub(over)
    }

    fn advance(&mut self, now: Timestamp) {
        let began = self.clock.elapsed();
        self.conductor.advance(now, &mut self.shards, &mut self.listener);
        self.listener.snapshot.detector_took = self.clock.elapsed().saturating_sub(began);
        if self.listener.boundary {
            let (start, length) = self.listener.snapshot.window;
            self.listener.snapshot.behind = self.clock.now().since(start + length);
        }
        if std::mem::take(&mut self.listener.news) {
            self.publish(now);
        }
    }

    fn publish(&mut self, now: Timestamp) {
        let mut stats =
            EngineStats { watch_refused: self.conductor.watch_refused(), ..self.before };
        for shard in &self.shards.0 {
            shard.with(|shard| stats.add(shard.stats()));
        }
        let snapshot = &mut self.listener.snapshot;
        snapshot.now = now;
        snapshot.stats = stats;
        snapshot.attacks = self.conductor.attacks().cloned().collect();
        snapshot.attacks.sort_by_key(most_active);
        self.listener.hub.publish(snapshot.clone());
    }

    fn join(&mut self) -> SharedShard {
        let shard = SharedShard::new(self.conductor.join());
        self.shards.0.push(shard.clone());
        if let Some((_, shards)) = &mut self.next {
            shards.0.push(shard.clone());
        }
        shard
    }

    /// Goes on by another policy or with other shards, at the end of a window.
    fn adopt(&mut self, policy: Policy, shards: SharedShards) {
        let leaves = |shard: &&SharedShard| !shards.0.iter().any(|stays| stays.is(shard));
        for shard in self.shards.0.iter().filter(leaves) {
            shard.with(|shard| self.before.add(shard.stats()));
        }
        let count = shards.0.len();
        let mut next = Conductor::new(policy, count, count > 1, self.seed);
        for shared in &shards.0 {
            let fresh = next.shard();
            let old = shared.with(|shard| std::mem::replace(shard, fresh));
            self.before.add(old.stats());
        }
        next.inherit(&mut self.conductor, &mut self.listener);
        self.listener.averages = new_averages(next.policy());
        (self.conductor, self.shards) = (next, shards);
    }
}

fn new_averages(policy: &Policy) -> Averages {
    Averages::new(AVERAGES, policy.detection.window, AVERAGE_TIME)
}
