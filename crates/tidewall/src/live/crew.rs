//! The workers as a crew: a thread for each open source. A mirror whose interface goes away is
//! opened again when it is back, by the same workers, so that nothing else is disturbed and no
//! counter starts anew. What only an operator can mend is told once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::bail;
use tracing::{error, info};

use super::clock::Clock;
use super::frames::FrameTap;
use super::shards::SharedShard;
use super::sources::{Opened, Sources};
use super::state::State;
use super::worker::{Adjustment, Worker, WorkerReport, WorkerStatus};
use super::{Plan, spawn};

/// Time between two attempts to open a mirror again.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// How the crew as a whole does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Something is received from.
    Works,
    /// Every source has come to its end.
    Ended,
    /// Nothing is received from any more, or not from all sockets of a port.
    Failed(String),
}

/// All workers.
pub(super) struct Crew {
    posts: Vec<Post>,
    clock: Clock,
    frames: Arc<FrameTap>,
    stop: Arc<AtomicBool>,
    tried: Duration,
    /// What was told of each mirror that is not received from, by its number.
    told: Vec<Option<String>>,
}

/// One worker's place.
struct Post {
    status: Arc<WorkerStatus>,
    shard: SharedShard,
    /// Number of the mirror among those of the plan.
    mirror: Option<usize>,
    thread: JoinHandle<()>,
    adjust: Sender<Arc<Adjustment>>,
}

impl Post {
    fn start(
        name: &str,
        (mirror, opened): (Option<usize>, Opened),
        (plan, clock, state, frames): (&Plan, Clock, Option<&State>, &FrameTap),
        (shard, stop): (&SharedShard, &Arc<AtomicBool>),
        status: Arc<WorkerStatus>,
    ) -> anyhow::Result<Self> {
        let (adjust, adjustments) = channel();
        let before = WorkerReport { failed: None, ..status.report() };
        let worker = Worker {
            feed: opened.feed(plan, clock, state, frames),
            shard: shard.clone(),
            clock,
            status: Arc::clone(&status),
            stop: Arc::clone(stop),
            adjustments,
            before,
        };
        let thread = spawn(name, move || worker.run())?;
        Ok(Self { status, shard: shard.clone(), mirror, thread, adjust })
    }

    /// Why it could not go on, when it could not.
    fn failure(&self) -> Option<String> {
        self.status.report().failed.filter(|_| self.thread.is_finished())
    }
}

impl Crew {
    /// Starts a thread for each source.
    pub(super) fn start(
        plan: &Plan,
        sources: Sources,
        shards: &[SharedShard],
        clock: Clock,
        state: Option<&State>,
        frames: Arc<FrameTap>,
    ) -> anyhow::Result<Self> {
        let stop: Arc<AtomicBool> = Arc::default();
        let mut posts = Vec::new();
        for ((title, mirror, opened), shard) in sources.list.into_iter().zip(shards) {
            let (name, at) = (format!("worker-{}", posts.len()), (shard, &stop));
            let status = Arc::new(WorkerStatus::new(title));
            let around = (plan, clock, state, &*frames);
            posts.push(Post::start(&name, (mirror, opened), around, at, status)?);
        }
        let told = vec![None; plan.mirrors.len()];
        Ok(Self { posts, clock, frames, stop, tried: Duration::ZERO, told })
    }

    /// The workers as the rest of the process sees them.
    pub(super) fn statuses(&self) -> Vec<Arc<WorkerStatus>> {
        self.posts.iter().map(|post| Arc::clone(&post.status)).collect()
    }

    /// Tells every worker what has changed. It goes by it from its next batch on.
    pub(super) fn adjust(&self, adjustment: Adjustment) {
        let adjustment = Arc::new(adjustment);
        for post in &self.posts {
            // One that has ended needs to know nothing.
            _ = post.adjust.send(Arc::clone(&adjustment));
        }
    }

    /// Did every worker that is not running say why?
    pub(super) fn is_sane(&self) -> bool {
        self.posts.iter().all(|post| {
            let report = post.status.report();
            !post.thread.is_finished() || report.ended || report.failed.is_some()
        })
    }

    /// How it does as a whole.
    pub(super) fn standing(&self) -> Standing {
        let failed = |post: &Post| Some(format!("{}: {}", post.status.name, post.failure()?));
        // The kernel deals datagrams to all sockets of a port, whether they are read or not.
        let flows = self.posts.iter().filter(|post| post.mirror.is_none()).find_map(failed);
        if let Some(reason) = flows {
            return Standing::Failed(reason);
        }
        if self.posts.iter().any(|post| !post.thread.is_finished()) {
            return Standing::Works;
        }
        // What may come back is waited for, unless it may not be opened.
        let refused = self.told.iter().flatten().find(|told| told.to_lowercase().contains("permi"));
        match (refused, self.posts.iter().find_map(failed)) {
            (Some(refused), Some(_)) => Standing::Failed(refused.clone()),
            (None, Some(_)) => Standing::Works,
            (_, None) => Standing::Ended,
        }
    }

    /// Opens mirrors again that were lost. To be called about once a second.
    pub(super) fn mend(&mut self, plan: &Plan) {
        if self.clock.elapsed().saturating_sub(self.tried) < TRY_EVERY {
            return;
        }
        self.tried = self.clock.elapsed();
        for mirror in 0..plan.mirrors.len() {
            let places: Vec<usize> =
                (0..self.posts.len()).filter(|at| self.posts[*at].mirror == Some(mirror)).collect();
            let lost = |at: &usize| self.posts[*at].failure();
            let Some(reason) = places.iter().find_map(lost) else { continue };
            let told = &mut self.told[mirror];
            if told.is_none() {
                error!("{reason}; trying to open it again every second");
                *told = Some(String::new());
            }
            // All of its workers end before the first one begins anew.
            if !places.iter().all(|at| self.posts[*at].thread.is_finished()) {
                continue;
            }
            if let Err(error) = self.reopen(mirror, &places, plan) {
                let error = format!("{error:#}");
                let told = self.told[mirror].get_or_insert_default();
                if *told != error {
                    error!("not opened again: {error}");
                    *told = error;
                }
            } else {
                self.told[mirror] = None;
            }
        }
    }

    fn reopen(&mut self, mirror: usize, places: &[usize], plan: &Plan) -> anyhow::Result<()> {
        let sources = Sources::open_mirror(plan, mirror)?;
        if sources.list.len() != places.len() {
            bail!(
                "it has {} queues now and had {} at the start: restart the service",
                sources.list.len(),
                places.len()
            );
        }
        for (at, (_, _, opened)) in places.iter().zip(sources.list) {
            let post = &mut self.posts[*at];
            let (name, status) = (format!("worker-{at}"), Arc::clone(&post.status));
            let around = (plan, self.clock, None, &*self.frames);
            let own = (&post.shard, &self.stop);
            *post = Post::start(&name, (Some(mirror), opened), around, own, status)?;
            info!("{}: is received from again", post.status.name);
        }
        Ok(())
    }

    /// Takes what the kernel still holds, and ends.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for post in self.posts {
            if post.thread.join().is_err() {
                bail!("a worker panicked; this is a fault of tidewall");
            }
        }
        Ok(())
    }
}
