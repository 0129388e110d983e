//! The queue in front of every action: bounded, in order for each target, a few attempts at a time,
//! repeated with growing pauses until a deadline. One thread serves all queues; whoever submits an
//! event never waits, and what cannot be kept is counted.

mod dispatcher;
mod status;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use self::status::ActionStatus;

use self::dispatcher::{Dispatcher, Job};
use self::status::Shared;
use crate::{Action, ActionEvent};

/// How long the thread may take to let go of blocking calls once everything else has ended.
const LET_GO: Duration = Duration::from_millis(200);
/// Threads for calls that block (files, name look-ups), for all actions together.
const BLOCKING_THREADS: usize = 16;

/// Bounds of one action's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Events held at most, those being carried out included.
    pub capacity: usize,
    /// Attempts under way at the same time at most; each is for another target.
    pub concurrency: usize,
    /// Time for one attempt.
    pub attempt_timeout: Duration,
    /// Age at which an event is given up.
    pub deadline: Duration,
    /// Pause after the first failed attempt; it doubles with each one more.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            capacity: 4096,
            concurrency: 8,
            attempt_timeout: Duration::from_secs(60),
            deadline: Duration::from_secs(900),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
        }
    }
}

/// All configured actions, running.
pub struct Actions {
    queues: Vec<Queue>,
    /// `Some` once they shall end: when they must have.
    ending: watch::Sender<Option<Instant>>,
    thread: Option<JoinHandle<()>>,
}

/// The near end of one action's queue.
struct Queue {
    action: Arc<dyn Action>,
    capacity: usize,
    jobs: mpsc::UnboundedSender<Job>,
    shared: Arc<Shared>,
}

impl Actions {
    /// Starts one thread that serves all of them.
    pub fn start(actions: Vec<(Arc<dyn Action>, QueueConfig)>) -> std::io::Result<Self> {
        // TLS clients of other crates look for a provider of their own; ours is the only one.
        _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(BLOCKING_THREADS)
            .build()?;
        let (ending, ended) = watch::channel(None);
        let (mut queues, mut dispatchers) = (Vec::new(), Vec::new());
        for (action, config) in actions {
            let (queue, dispatcher) = queue(action, config, ended.clone());
            queues.push(queue);
            dispatchers.push(dispatcher);
        }
        let thread = std::thread::Builder::new().name("actions".to_owned()).spawn(move || {
            runtime.block_on(async {
                let running: Vec<_> =
                    dispatchers.into_iter().map(|one| tokio::spawn(one.run())).collect();
                for one in running {
                    // A dispatcher does not panic; if it did, the others go on.
                    _ = one.await;
                }
            });
            runtime.shutdown_timeout(LET_GO);
        })?;
        Ok(Self { queues, ending, thread: Some(thread) })
    }

    /// Gives an event to every action that wants it. Never waits. Says how many actions had no room;
    /// their status counts it as dropped.
    pub fn submit(&self, event: &Arc<ActionEvent>) -> usize {
        self.queues.iter().filter(|queue| !queue.submit(event)).count()
    }

    /// What each action has done and has before it, in the order in which they were given.
    pub fn status(&self) -> Vec<ActionStatus> {
        self.queues.iter().map(|queue| queue.shared.status()).collect()
    }

    /// Takes no more events, gives those that are held `drain` to end, and says how it went.
    pub fn shutdown(mut self, drain: Duration) -> Vec<ActionStatus> {
        self.end(drain);
        self.status()
    }

    fn end(&mut self, drain: Duration) {
        self.ending.send_replace(Some(now() + drain));
        if let Some(thread) = self.thread.take() {
            // It panics only if the runtime did, and then there is nothing left to end.
            _ = thread.join();
        }
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.status()).finish()
    }
}

impl Queue {
    /// False: there was no room.
    fn submit(&self, event: &Arc<ActionEvent>) -> bool {
        if !self.action.wants(event) {
            return true;
        }
        if !self.shared.take_room(self.capacity) {
            return false;
        }
        let job = Job { event: Arc::clone(event), submitted: now(), attempts: 0 };
        let sent = self.jobs.send(job).is_ok();
        if !sent {
            self.shared.give_back_dropped(1);
        }
        sent
    }
}

/// Both ends of a queue; the far one has to be run.
fn queue(
    action: Arc<dyn Action>,
    config: QueueConfig,
    ending: watch::Receiver<Option<Instant>>,
) -> (Queue, Dispatcher) {
    let shared = Arc::new(Shared::new(action.name()));
    let (jobs, received) = mpsc::unbounded_channel();
    let near = Queue {
        action: Arc::clone(&action),
        capacity: config.capacity,
        jobs,
        shared: Arc::clone(&shared),
    };
    (near, Dispatcher::new(action, config, shared, received, ending))
}

/// Time for deadlines and pauses; tests stop it and move it on.
fn now() -> Instant {
    Instant::now()
}
