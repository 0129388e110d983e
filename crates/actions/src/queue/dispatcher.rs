//! The far end of a queue: lanes, one for each target, and the attempts under way. A lane has at
//! most one event in the air, so the events of a target cannot overtake each other; a lane that
//! pauses after an error holds up nobody else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tidewall_model::Target;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::status::Shared;
use super::{QueueConfig, now};
use crate::{Action, ActionError, ActionEvent, ActionKind, clock};

/// Keys of events that are remembered, to recognise one that comes again.
const REMEMBERED: usize = 4096;

/// An event on its way to one action.
pub(super) struct Job {
    pub(super) event: Arc<ActionEvent>,
    pub(super) submitted: Instant,
    pub(super) attempts: u32,
}

/// Events of one target, oldest first.
#[derive(Default)]
struct Lane {
    jobs: VecDeque<Job>,
    /// The first is being carried out, or pauses between two attempts.
    busy: bool,
}

/// What a task of the queue has come to.
enum Finished {
    /// An attempt for this target.
    Attempt(Target, Result<(), ActionError>),
    /// The pause of this target.
    Pause(Target),
}

/// The far end of a queue.
pub(super) struct Dispatcher {
    action: Arc<dyn Action>,
    config: QueueConfig,
    shared: Arc<Shared>,
    received: mpsc::UnboundedReceiver<Job>,
    ending: watch::Receiver<Option<Instant>>,
    lanes: BTreeMap<Target, Lane>,
    /// Targets whose first event may be tried, longest waiting first.
    ready: VecDeque<Target>,
    tasks: JoinSet<Finished>,
    running: usize,
    keys: BTreeSet<String>,
    keys_in_order: VecDeque<String>,
}

impl Dispatcher {
    pub(super) fn new(
        action: Arc<dyn Action>,
        config: QueueConfig,
        shared: Arc<Shared>,
        received: mpsc::UnboundedReceiver<Job>,
        ending: watch::Receiver<Option<Instant>>,
    ) -> Self {
        Self {
            action,
            config,
            shared,
            received,
            ending,
            lanes: BTreeMap::new(),
            ready: VecDeque::new(),
            tasks: JoinSet::new(),
            running: 0,
            keys: BTreeSet::new(),
            keys_in_order: VecDeque::new(),
        }
    }

    /// Serves the queue until it is told to end, and is empty or out of time.
    pub(super) async fn run(mut self) {
        let mut last_moment = None;
        loop {
            self.start_attempts();
            if last_moment.is_some() && self.lanes.is_empty() && self.received.is_empty() {
                break;
            }
            tokio::select! {
                Some(job) = self.received.recv() => self.accept(job),
                Some(finished) = self.tasks.join_next() => match finished {
                    Ok(finished) => self.finish(finished),
                    // Attempts run in tasks of their own (see `attempt`): these cannot panic.
                    Err(_) => break,
                },
                changed = self.ending.changed(), if last_moment.is_none() => {
                    // An error: the near end is gone without a word.
                    last_moment = match changed {
                        Ok(()) => *self.ending.borrow_and_update(),
                        Err(_) => Some(now()),
                    };
                    if last_moment.is_some() {
                        self.received.close();
                    }
                }
                () = sleep_until(last_moment.unwrap_or_else(now)), if last_moment.is_some() => break,
            }
        }
        self.give_up();
    }

    /// Puts an event in its lane.
    fn accept(&mut self, job: Job) {
        if !self.remember(job.event.key()) {
            self.shared.give_back(1);
            self.shared.change(|status| status.repeated += 1);
            return;
        }
        let target = job.event.attack.target.clone();
        let lane = self.lanes.entry(target.clone()).or_default();
        // The first of a busy lane is in the air; any other update may give way to a newer one.
        let in_the_air = usize::from(lane.busy);
        if lane.jobs.len() > in_the_air
            && let Some(last) = lane.jobs.back_mut()
            && is_newer_update(&job.event, &last.event)
        {
            *last = job;
            self.shared.give_back(1);
            self.shared.change(|status| status.merged += 1);
            return;
        }
        lane.jobs.push_back(job);
        if lane.jobs.len() == 1 {
            self.ready.push_back(target);
        }
    }

    /// Starts attempts as long as there is something to try and room for it.
    fn start_attempts(&mut self) {
        while self.running < self.config.concurrency.max(1) {
            let Some(target) = self.ready.pop_front() else { return };
            let Some(lane) = self.lanes.get_mut(&target) else { continue };
            let Some(job) = lane.jobs.front_mut() else { continue };
            lane.busy = true;
            job.attempts += 1;
            let (action, event) = (Arc::clone(&self.action), Arc::clone(&job.event));
            let limit = self.config.attempt_timeout;
            self.tasks.spawn(async move {
                let result = attempt(action, event, limit).await;
                Finished::Attempt(target, result)
            });
            self.running += 1;
            self.publish_running();
        }
    }

    fn finish(&mut self, finished: Finished) {
        match finished {
            Finished::Pause(target) => {
                if let Some(lane) = self.lanes.get_mut(&target) {
                    lane.busy = false;
                    self.ready.push_back(target);
                }
            }
            Finished::Attempt(target, result) => {
                self.running -= 1;
                match result {
                    Ok(()) => {
                        self.shared.change(|status| {
                            status.done += 1;
                            status.last_success = Some(clock::now());
                        });
                        self.next_of(&target);
                    }
                    Err(error) => self.failed(target, error),
                }
                self.publish_running();
            }
        }
    }

    /// Repeats the attempt after a pause, or gives the event up.
    fn failed(&mut self, target: Target, error: ActionError) {
        let Some(job) = self.lanes.get(&target).and_then(|lane| lane.jobs.front()) else { return };
        let key = job.event.key();
        let pause = self.pause(&key, job.attempts, error.retry_after);
        let again = error.retry && now() + pause < job.submitted + self.config.deadline;
        let mut message = error.message;
        if error.retry && !again {
            message = format!("given up after {} attempts: {message}", job.attempts);
        }
        self.shared.change(|status| {
            status.last_error = Some((clock::now(), message));
            *(if again { &mut status.retried } else { &mut status.failed }) += 1;
        });
        if again {
            self.tasks.spawn(async move {
                sleep(pause).await;
                Finished::Pause(target)
            });
        } else {
            // Whoever submits it again wants it tried again.
            self.keys.remove(&key);
            self.next_of(&target);
        }
    }

    /// Takes the first event of a lane away; the next one may be tried.
    fn next_of(&mut self, target: &Target) {
        self.shared.give_back(1);
        let Some(lane) = self.lanes.get_mut(target) else { return };
        lane.jobs.pop_front();
        lane.busy = false;
        if lane.jobs.is_empty() {
            self.lanes.remove(target);
        } else {
            self.ready.push_back(target.clone());
        }
    }

    /// Doubled with each attempt up to the longest; then between half and all of it, so that events
    /// that failed together do not come back together. The same event pauses the same in each run.
    fn pause(&self, key: &str, attempts: u32, asked: Option<Duration>) -> Duration {
        let doubled = 1u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = self.config.first_pause.saturating_mul(doubled).min(self.config.longest_pause);
        let share = spread(key, attempts);
        pause.mul_f64(0.5 + share / 2.0).max(asked.unwrap_or_default())
    }

    /// False: this key has been seen.
    fn remember(&mut self, key: String) -> bool {
        if !self.keys.insert(key.clone()) {
            return false;
        }
        self.keys_in_order.push_back(key);
        if self.keys_in_order.len() > REMEMBERED.max(2 * self.config.capacity)
            && let Some(oldest) = self.keys_in_order.pop_front()
        {
            self.keys.remove(&oldest);
        }
        true
    }

    fn publish_running(&self) {
        let running = self.running as u64;
        self.shared.change(|status| status.running = running);
    }

    /// What is still here is lost, and counted.
    fn give_up(&mut self) {
        self.received.close();
        let mut lost: usize = self.lanes.values().map(|lane| lane.jobs.len()).sum();
        while self.received.try_recv().is_ok() {
            lost += 1;
        }
        self.shared.give_back_dropped(lost);
        self.shared.change(|status| {
            status.running = 0;
            if lost > 0 {
                let message = format!("ended with {lost} events that were not carried out");
                status.last_error = Some((clock::now(), message));
            }
        });
    }
}

/// One attempt within its time. It is a task of its own, so that a panic is an error like others.
async fn attempt(
    action: Arc<dyn Action>,
    event: Arc<ActionEvent>,
    limit: Duration,
) -> Result<(), ActionError> {
    let mut task = JoinSet::new();
    task.spawn(async move { action.apply(&event).await });
    match timeout(limit, task.join_next()).await {
        Ok(Some(Ok(result))) => result,
        Ok(_) => Err(ActionError::permanent("the action panicked")),
        Err(_) => {
            let limit = limit.as_secs_f64();
            Err(ActionError::temporary(format!("no end of the attempt within {limit} s")))
        }
    }
}

/// Is `new` an update of the attack that `old` is an update of?
fn is_newer_update(new: &ActionEvent, old: &ActionEvent) -> bool {
    new.kind == ActionKind::Updated
        && old.kind == ActionKind::Updated
        && new.attack.id == old.attack.id
        && new.attack.started == old.attack.started
}

/// A number from 0 to 1 that differs between keys and attempts (FNV-1a).
fn spread(key: &str, attempts: u32) -> f64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for byte in key.bytes().chain(attempts.to_le_bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    (hash >> 11) as f64 / (1u64 << 53) as f64
}
