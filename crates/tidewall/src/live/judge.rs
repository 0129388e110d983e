//! The detector's thread: at the end of every slice it closes what is over on all shards, and hands
//! what was found to the hub. Nothing that listens can hold it up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use tidewall_engine::{Averages, Conductor, EngineStats, Observer, Policy, Shard, WindowView};
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
    /// One more shard, from now on; to be among those of the next [`Self::Adopt`], if its worker
    /// stays.
    Join(Sender<SharedShard>),
    /// These are all that workers still have: the others are forgotten at the end of the window, and
    /// what they counted is kept.
    Part(SharedShards),
}

/// The detector and what drives it.
pub struct Judge {
    conductor: Conductor,
    shards: SharedShards,
    listener: Listener,
    clock: Clock,
    seed: u64,
    /// What to go on with at the end of the window.
    next: Option<Next>,
    /// What shards counted that were replaced or forgotten.
    before: EngineStats,
}

/// What comes at the end of the window.
struct Next {
    /// Of another policy; `None` when it is the same as before.
    successor: Option<Successor>,
    shards: SharedShards,
}

/// What goes on by another policy. It takes its time to make, and is made before the window ends:
/// what workers count in that time belongs to the window.
struct Successor {
    conductor: Conductor,
    /// One for each shard that there was.
    fresh: Vec<Shard>,
}

impl Successor {
    /// Of so many shards.
    fn new(policy: Policy, count: usize, seed: u64) -> Self {
        let conductor = Conductor::new(policy, count, count > 1, seed);
        let fresh = (0..count).map(|_| conductor.shard()).collect();
        Self { conductor, fresh }
    }

    /// Some may have joined since, or have gone again.
    fn fit(mut self, count: usize) -> Self {
        while self.fresh.len() < count {
            self.fresh.push(self.conductor.join());
        }
        self.fresh.truncate(count);
        self.conductor.part(count);
        self
    }
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
        let averages = new_averages(conductor.policy(), seed);
        let snapshot = Snapshot::default();
        let listener = Listener { hub, averages, snapshot, news: true, boundary: false };
        let before = EngineStats::default();
        Self { conductor, shards, listener, clock, seed, next: None, before }
    }

    /// Runs until `stop`; then closes what is left.
    pub fn run(mut self, orders: &Receiver<Order>, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match orders.recv_timeout(self.until_next_slice()) {
                Ok(order) => self.hear(order),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.pass(self.clock.now() - self.grace());
        }
        self.conductor.finish(&mut self.shards, &mut self.listener);
        self.publish(self.clock.now());
    }

    fn hear(&mut self, order: Order) {
        match order {
            Order::Adopt(policy, shards) => {
                let successor = Some(Successor::new(*policy, shards.0.len(), self.seed));
                self.next = Some(Next { successor, shards });
            }
            Order::Join(answer) => _ = answer.send(self.join()),
            Order::Part(shards) => {
                // A policy that waits for the end of the window still comes.
                let successor = self.next.take().and_then(|next| next.successor);
                self.next = Some(Next { successor, shards });
            }
        }
    }

    /// The time is `now`: closes what is over, and does what waits for the end of a window.
    fn pass(&mut self, now: Timestamp) {
        self.listener.boundary = false;
        let ends = self.conductor.ends_window(now);
        if let Some(Next { successor: Some(successor), shards }) =
            self.next.take_if(|next| ends && next.successor.is_some())
        {
            self.adopt(successor, shards, now);
        } else {
            self.advance(now);
        }
        let may = self.listener.boundary || self.conductor.is_idle(&mut self.shards);
        if let Some(Next { shards, .. }) = self.next.take_if(|next| may && next.successor.is_none())
        {
            self.part(&shards);
            self.conductor.part(self.shards.0.len());
        }
    }

    /// Before a policy is replaced, windows are closed on time: what came behind the end would be
    /// counted by the old one.
    fn grace(&self) -> Duration {
        let adopts = self.next.as_ref().is_some_and(|next| next.successor.is_some());
        if adopts { Duration::ZERO } else { GRACE }
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
        if let Some(next) = &mut self.next {
            next.shards.0.push(shard.clone());
        }
        shard
    }

    /// Forgets all shards but these.
    fn part(&mut self, stay: &SharedShards) {
        let leaves = |shard: &mut SharedShard| !stay.0.iter().any(|stays| stays.is(shard));
        for shard in self.shards.0.extract_if(.., leaves) {
            shard.with(|shard| self.before.add(shard.stats()));
        }
    }

    /// Goes on by another policy, and with these shards, at the end of a window. That window is
    /// closed apart from the workers, which have new shards by then: what comes while it is closed
    /// belongs to the next one.
    fn adopt(&mut self, successor: Successor, shards: SharedShards, now: Timestamp) {
        let Successor { conductor: mut next, fresh } = successor.fit(shards.0.len());
        for (shared, mut fresh) in shards.0.iter().zip(fresh) {
            shared.with(|shard| std::mem::swap(shard, &mut fresh));
            // Shards are known by their places.
            match self.shards.0.iter_mut().find(|known| known.is(shared)) {
                Some(known) => *known = SharedShard::new(fresh),
                None => self.before.add(fresh.stats()),
            }
        }
        self.advance(now);
        for closed in &self.shards.0 {
            closed.with(|shard| self.before.add(shard.stats()));
        }
        next.inherit(&mut self.conductor, &mut self.listener);
        if next.policy().detection.window != self.conductor.policy().detection.window {
            self.listener.averages = new_averages(next.policy(), self.seed);
        }
        (self.conductor, self.shards) = (next, shards);
        self.publish(now);
    }
}

fn new_averages(policy: &Policy, seed: u64) -> Averages {
    Averages::new(AVERAGES, policy.detection.window, AVERAGE_TIME).keyed(seed)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tidewall_engine::{DirectedLimits, Limits};
    use tidewall_model::{Direction, FlowRecord, TrafficClass, Unit};

    use super::*;

    /// Nanoseconds at which the time of the tests begins.
    const BEGIN: u64 = 1_790_000_000_000_000_000;
    /// 192.0.2.1.
    const DST: u128 = 0xc000_0201;

    fn judge(workers: usize) -> Judge {
        let policy = Policy::for_networks(vec!["192.0.2.0/24".parse().unwrap()]);
        let conductor = Conductor::new(policy, workers, workers > 1, 7);
        let shards = (0..workers).map(|_| SharedShard::new(conductor.shard())).collect();
        Judge::new(conductor, SharedShards(shards), Arc::default(), Clock::start(), 7)
    }

    fn join(judge: &mut Judge) -> SharedShard {
        let (answer, told) = channel();
        judge.hear(Order::Join(answer));
        told.recv().unwrap()
    }

    /// Counts so many packets to a host of ours.
    fn count(shard: &SharedShard, packets: usize) {
        let record = FlowRecord { dst: DST, packets: 1, bytes: 100, ..FlowRecord::default() };
        shard.with(|shard| shard.ingest(&vec![record; packets]));
    }

    /// Lets the time come to each of these slices.
    fn pass(judge: &mut Judge, slices: std::ops::RangeInclusive<u64>) {
        let slice = u64::try_from(judge.conductor.slice_length().as_nanos()).unwrap();
        for number in slices {
            judge.pass(Timestamp(BEGIN + number * slice));
        }
    }

    fn received(judge: &Judge) -> u64 {
        judge.listener.hub.snapshot().stats.received
    }

    #[test]
    fn shards_that_no_worker_has_are_forgotten_and_what_they_counted_is_not() {
        let mut judge = judge(1);
        let stays = judge.shards.clone();
        pass(&mut judge, 0..=1);
        let joined = join(&mut judge);
        count(&stays.0[0], 3);
        count(&joined, 4);
        judge.hear(Order::Part(stays.clone()));
        drop(joined);
        // What it counted is still in the window.
        pass(&mut judge, 2..=19);
        assert_eq!(judge.shards.0.len(), 2);
        pass(&mut judge, 20..=20);
        let incoming = judge.listener.snapshot.totals[Direction::Incoming as usize];
        assert_eq!(incoming.total.packets, 7);
        assert_eq!(judge.shards.0.len(), 1);
        assert!(judge.shards.0[0].is(&stays.0[0]));
        assert_eq!(received(&judge), 7);
        count(&stays.0[0], 5);
        pass(&mut judge, 21..=40);
        assert_eq!(received(&judge), 12);
    }

    #[test]
    fn a_reload_that_fails_takes_nothing_from_one_that_waits_or_comes_after() {
        let mut judge = judge(1);
        let stays = judge.shards.clone();
        pass(&mut judge, 0..=1);
        count(&stays.0[0], 1);
        let other = Policy::for_networks(vec!["198.51.100.0/24".parse().unwrap()]);
        judge.hear(Order::Adopt(Box::new(other.clone()), stays.clone()));
        drop(join(&mut judge));
        judge.hear(Order::Part(stays.clone()));
        let last = join(&mut judge);
        pass(&mut judge, 2..=20);
        assert_eq!(judge.conductor.policy().networks, other.networks);
        assert_eq!(judge.shards.0.len(), 2);
        assert!(judge.shards.0[1].is(&last));
        assert_eq!(judge.before.received, 1);
        // Both count by the new policy.
        count(&stays.0[0], 2);
        count(&last, 3);
        pass(&mut judge, 21..=40);
        assert_eq!(judge.listener.snapshot.totals[Direction::Other as usize].total.packets, 5);
        assert_eq!(received(&judge), 6);
    }

    #[test]
    fn what_a_policy_needs_is_made_before_the_window_ends() {
        let mut judge = judge(2);
        let (policy, shards) = (judge.conductor.policy().clone(), judge.shards.clone());
        pass(&mut judge, 0..=1);
        judge.hear(Order::Adopt(Box::new(policy), shards));
        let made = |judge: &Judge| {
            let next = judge.next.as_ref()?;
            Some(next.successor.as_ref()?.fresh.len())
        };
        assert_eq!(made(&judge), Some(2));
        // At the end of the window they are only handed over.
        pass(&mut judge, 2..=19);
        assert_eq!(made(&judge), Some(2));
        pass(&mut judge, 20..=20);
        assert_eq!(made(&judge), None);
    }

    #[test]
    fn what_comes_while_a_policy_is_replaced_is_in_a_window() {
        let mut judge = judge(2);
        let shards = judge.shards.clone();
        pass(&mut judge, 0..=1);
        let (stop, mut seen) = (AtomicBool::new(false), 0);
        let sent: u64 = std::thread::scope(|scope| {
            let send = |shard: SharedShard| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut sent = 0;
                    while !stop.load(Ordering::Relaxed) {
                        count(&shard, 1);
                        sent += 1;
                    }
                    sent
                })
            };
            let senders: Vec<_> = shards.0.iter().cloned().map(send).collect();
            for slice in 2..=600 {
                if slice % 20 == 1 {
                    let policy = judge.conductor.policy().clone();
                    judge.hear(Order::Adopt(Box::new(policy), shards.clone()));
                }
                pass(&mut judge, slice..=slice);
                if judge.listener.boundary {
                    seen += judge.listener.snapshot.totals[0].total.packets;
                }
            }
            stop.store(true, Ordering::Relaxed);
            senders.into_iter().map(|sender| sender.join().unwrap()).sum()
        });
        pass(&mut judge, 601..=620);
        seen += judge.listener.snapshot.totals[0].total.packets;
        assert_eq!(seen, sent);
        assert_eq!(received(&judge), sent);
    }

    /// Half of the limit, of which seconds would be in one slice if a window of another length was
    /// waited for.
    #[test]
    fn a_window_of_another_length_makes_no_attack() {
        let limits = Limits::of(&[(TrafficClass::Total, Unit::Packets, 1000.0)]);
        let mut policy = judge(1).conductor.policy().clone();
        policy.groups[0].host = DirectedLimits { incoming: limits, ..DirectedLimits::default() };
        let conductor = Conductor::new(policy.clone(), 1, false, 7);
        let shards = SharedShards(vec![SharedShard::new(conductor.shard())]);
        let mut judge = Judge::new(conductor, shards.clone(), Arc::default(), Clock::start(), 7);
        pass(&mut judge, 0..=0);
        policy.detection.window = Duration::from_secs(5);
        judge.hear(Order::Adopt(Box::new(policy), shards.clone()));
        for quarter in 1..=80 {
            count(&shards.0[0], 125);
            judge.pass(Timestamp(BEGIN + quarter * 250_000_000));
            assert_eq!(
                judge.conductor.attacks().count(),
                0,
                "after {quarter} quarters of a second"
            );
        }
        assert_eq!(judge.conductor.slice_length(), Duration::from_millis(250));
        let (start, length) = judge.listener.snapshot.window;
        assert_eq!((start, length), (Timestamp(BEGIN + 15_000_000_000), Duration::from_secs(5)));
        assert_eq!(judge.listener.snapshot.totals[0].total.packets, 2500);
    }
}
