//! The workers as a crew: a thread for each open source. A mirror whose interface goes away is
//! opened again when it is back, by the same workers, so that nothing else is disturbed and no
//! counter starts anew. What only an operator can mend is told once.

mod change;
mod cpus;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::bail;
use tidewall_capture::af_packet::Shift;
use tidewall_capture::online_cpus;
use tidewall_capture::udp::UdpPort;
use tidewall_model::SamplingRate;
use tracing::{error, info, warn};

use super::clock::Clock;
use super::frames::FrameTap;
use super::hub::{Roster, RosterPort};
use super::shards::{SharedShard, SharedShards};
use super::sources::{How, OpenSite, Opened, Site, Sources};
use super::state::{State, StateFile};
use super::trouble::{Line, Troubles};
use super::worker::{Adjustment, Memory, Word, Worker, WorkerReport, WorkerStatus};
use super::{Plan, spawn};
use crate::exports::ExporterReport;

/// Time between two attempts to open a mirror again.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Time between two looks for what goes wrong: workers report once a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Exporters of former workers of a port that are remembered: as many as a worker knows.
const EXPORTERS_LEFT: usize = 16_384;

/// A worker looks at what it is told ten times a second.
const PATIENCE: Duration = Duration::from_secs(2);

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
    teams: Vec<Team>,
    clock: Clock,
    frames: Arc<FrameTap>,
    stop: Arc<AtomicBool>,
    tried: Duration,
    /// CPUs that workers are bound to in turn; none: they are not bound.
    cpus: Vec<usize>,
    /// Workers so far, for the names of their threads.
    hired: usize,
    /// What was counted by those who have left.
    left: WorkerReport,
    troubles: Troubles,
    looked: Duration,
}

/// The workers of one site.
struct Team {
    site: Site,
    sampling: SamplingRate,
    port: Option<UdpPort>,
    /// When frames of AF_PACKET are taken.
    shift: Option<Arc<Shift>>,
    posts: Vec<Post>,
    /// What workers that are no more knew of exporters.
    left: Arc<Vec<ExporterReport>>,
    /// What was told when it could not be received from.
    told: Option<String>,
}

/// One worker's place.
struct Post {
    status: Arc<WorkerStatus>,
    shard: SharedShard,
    thread: JoinHandle<()>,
    words: Sender<Word>,
    /// What the log was last written by.
    seen: Arc<WorkerReport>,
}

impl Team {
    /// Remembers what workers that are no more knew of exporters.
    fn remember(&mut self, last: Vec<WorkerReport>) {
        let mut all = Vec::clone(&self.left);
        all.extend(last.into_iter().flat_map(|report| report.exporters));
        self.left = Arc::new(ExporterReport::left(&all, EXPORTERS_LEFT));
    }
}

impl Post {
    /// Why it could not go on, when it could not.
    fn failure(&self) -> Option<String> {
        self.status.report().failed.filter(|_| self.thread.is_finished())
    }

    /// One that has ended needs to hear nothing.
    fn tell(&self, word: Word) {
        _ = self.words.send(word);
    }

    /// What it knows; nothing when it does not answer.
    fn memory(&self) -> Option<Vec<u8>> {
        let (answer, told) = channel();
        self.tell(Word::Remember(answer));
        told.recv_timeout(PATIENCE).ok().map(|memory| memory.image)
    }

    /// Waits for its end, and gives what it has counted.
    fn end(self) -> anyhow::Result<WorkerReport> {
        if self.thread.join().is_err() {
            bail!("the worker of {} panicked; this is a fault of tidewall", self.status.name);
        }
        Ok(self.status.report())
    }
}

/// What a worker begins with.
#[derive(Clone, Copy)]
pub(super) struct Start<'a> {
    pub(super) plan: &'a Plan,
    pub(super) state: Option<&'a State>,
    pub(super) memories: &'a [Memory],
}

impl Crew {
    /// Starts a thread for each source. `hire` gives each its shard.
    pub(super) fn start(
        plan: &Plan,
        sources: Sources,
        (clock, frames): (Clock, Arc<FrameTap>),
        state: Option<&State>,
        mut hire: impl FnMut() -> anyhow::Result<SharedShard>,
    ) -> anyhow::Result<Self> {
        let (stop, tried, left) = (Arc::default(), Duration::ZERO, WorkerReport::default());
        let (cpus, warning) = cpus::choose(&plan.service.pinning, online_cpus());
        if let Some(warning) = warning {
            warn!("{warning}");
        }
        let (teams, looked, troubles) = (Vec::new(), Duration::ZERO, Troubles::default());
        let mut crew =
            Self { teams, clock, frames, stop, tried, cpus, hired: 0, left, troubles, looked };
        for open in sources.list {
            let start = Start { plan, state, memories: &[] };
            let team = crew.team(open, &start, &mut hire)?;
            crew.teams.push(team);
        }
        if let Some(state) = state {
            crew.tidy(state);
        }
        crew.place();
        Ok(crew)
    }

    /// Deals the CPUs to all workers that there are now.
    fn place(&self) {
        for (post, cpu) in self.posts().zip(self.cpus.iter().cycle()) {
            post.tell(Word::Pin(*cpu));
        }
    }

    fn team(
        &mut self,
        open: OpenSite,
        start: &Start<'_>,
        hire: impl FnMut() -> anyhow::Result<SharedShard>,
    ) -> anyhow::Result<Team> {
        let OpenSite { site, sampling, port, shift, sources } = open;
        let posts = self.employ(sources, start, hire)?;
        Ok(Team { site, sampling, port, shift, posts, left: Arc::default(), told: None })
    }

    /// A worker for each of the sources. When one cannot be started, none is there afterwards.
    fn employ(
        &mut self,
        sources: Vec<(String, Opened)>,
        start: &Start<'_>,
        mut hire: impl FnMut() -> anyhow::Result<SharedShard>,
    ) -> anyhow::Result<Vec<Post>> {
        let mut posts = Vec::new();
        for (name, opened) in sources {
            let status = Arc::new(WorkerStatus::new(name));
            match hire().and_then(|shard| self.post(opened, start, shard, status)) {
                Ok(post) => posts.push(post),
                Err(error) => {
                    self.dismiss(posts);
                    return Err(error);
                }
            }
        }
        Ok(posts)
    }

    /// Has workers leave, and waits for them. What they have counted stays; gives what they said
    /// last.
    fn dismiss(&mut self, posts: Vec<Post>) -> Vec<WorkerReport> {
        for post in &posts {
            post.tell(Word::Leave);
        }
        let mut last = Vec::new();
        for post in posts {
            match post.end() {
                Ok(report) => {
                    self.left.count(&report);
                    last.push(report);
                }
                Err(fault) => error!("{fault:#}"),
            }
        }
        last
    }

    /// Has files of templates removed that no worker has any more, once those who are there have
    /// written what was in them.
    fn tidy(&self, state: &State) {
        // By port, because what is known of a port is known to all of its workers.
        let mut ports: BTreeMap<u16, Vec<(StateFile, &Post)>> = BTreeMap::new();
        for team in &self.teams {
            let Some(address) = team.site.templates() else { continue };
            let workers = (0..).zip(&team.posts);
            let files = workers.map(|(number, post)| (state.file(address, number), post));
            ports.entry(address.port()).or_default().extend(files);
        }
        // Those who have left wrote theirs just now.
        state.settle(PATIENCE);
        for (port, workers) in ports {
            let others = state.others(port, workers.iter().map(|(file, _)| file));
            if others.is_empty() {
                continue;
            }
            let write = |(file, post): &(StateFile, &Post)| {
                post.memory().is_some_and(|image| file.write(image))
            };
            // A worker that does not answer has its reasons, and the files can wait.
            if workers.iter().all(write) {
                state.remove(others);
            }
        }
    }

    fn post(
        &mut self,
        opened: Opened,
        start: &Start<'_>,
        shard: SharedShard,
        status: Arc<WorkerStatus>,
    ) -> anyhow::Result<Post> {
        let (words, heard) = channel();
        let seen = status.latest();
        let before = WorkerReport { failed: None, ..status.report() };
        let worker = Worker {
            feed: opened.feed(start, self.clock, &self.frames),
            shard: shard.clone(),
            clock: self.clock,
            status: Arc::clone(&status),
            stop: Arc::clone(&self.stop),
            words: heard,
            before,
        };
        let name = format!("worker-{}", self.hired);
        self.hired += 1;
        let thread = spawn(&name, move || worker.run())?;
        Ok(Post { status, shard, thread, words, seen })
    }

    fn posts(&self) -> impl Iterator<Item = &Post> {
        self.teams.iter().flat_map(|team| &team.posts)
    }

    /// The workers as the rest of the process sees them.
    pub(super) fn roster(&self) -> Roster {
        let workers = self.posts().map(|post| Arc::clone(&post.status)).collect();
        let ports = self.teams.iter().filter(|team| team.site.port().is_some());
        let ports = ports.map(|team| RosterPort {
            name: team.site.to_string(),
            workers: team.posts.iter().map(|post| Arc::clone(&post.status)).collect(),
            left: Arc::clone(&team.left),
        });
        Roster { workers, ports: ports.collect(), left: self.left.clone() }
    }

    /// Their shards.
    pub(super) fn shards(&self) -> SharedShards {
        SharedShards(self.posts().map(|post| post.shard.clone()).collect())
    }

    /// Tells every worker what has changed. It goes by it from its next batch on.
    fn adjust(&self, plan: &Plan) {
        for team in &self.teams {
            for post in &team.posts {
                post.tell(Word::Adjust(Adjustment {
                    flows: plan.flows.clone(),
                    allow: plan.listen.allow.clone(),
                    receive_buffer: plan.listen.receive_buffer,
                    frames: plan.frames,
                    sampling: team.sampling,
                }));
            }
        }
    }

    /// Did every worker that is not running say why?
    pub(super) fn is_sane(&self) -> bool {
        self.posts().all(|post| {
            let report = post.status.report();
            !post.thread.is_finished() || report.ended || report.failed.is_some()
        })
    }

    /// How it does as a whole.
    pub(super) fn standing(&self) -> Standing {
        let failed = |post: &Post| Some(format!("{}: {}", post.status.name, post.failure()?));
        // The kernel deals datagrams to all sockets of a port, whether they are read or not.
        let ports = self.teams.iter().filter(|team| team.site.port().is_some());
        if let Some(reason) = ports.flat_map(|team| &team.posts).find_map(failed) {
            return Standing::Failed(reason);
        }
        if self.posts().any(|post| !post.thread.is_finished()) {
            return Standing::Works;
        }
        // What may come back is waited for, unless it may not be opened.
        let mut told = self.teams.iter().filter_map(|team| team.told.as_ref());
        let refused = told.find(|told| is_refusal(told));
        match (refused, self.posts().find_map(failed)) {
            (Some(refused), Some(_)) => Standing::Failed(refused.clone()),
            (None, Some(_)) => Standing::Works,
            (_, None) => Standing::Ended,
        }
    }

    /// Tells in the log what goes wrong. To be called about once a second.
    pub(super) fn look(&mut self) {
        let now = self.clock.elapsed();
        if now.saturating_sub(self.looked) < LOOK_EVERY {
            return;
        }
        self.looked = now;
        let mut lines = Vec::new();
        for team in &mut self.teams {
            let (place, mut falls, mut down) = (team.site.place(), 0, false);
            let look = |post: &mut Post| {
                let is = post.status.latest();
                (std::mem::replace(&mut post.seen, Arc::clone(&is)), is)
            };
            let pairs: Vec<_> = team.posts.iter_mut().map(look).collect();
            let new = pairs.iter().any(|(was, is)| !Arc::ptr_eq(was, is));
            if new {
                self.troubles.compare(&place, &pairs);
            }
            for (_, report) in &pairs {
                falls = report.source.restarts.max(falls);
                down |= report.source.down;
            }
            // One that is lost is told otherwise, and is neither down nor up.
            let lost = pairs.iter().any(|(_, report)| report.failed.is_some());
            if new && !lost && team.site.is_of_interface() {
                lines.extend(self.troubles.link(&place.name, falls, down, now));
            }
        }
        lines.extend(self.troubles.tell(now));
        for Line { warning, text } in lines {
            if warning { warn!("{text}") } else { info!("{text}") }
        }
    }

    /// Opens mirrors again that were lost. To be called about once a second.
    pub(super) fn mend(&mut self, plan: &Plan) {
        if self.clock.elapsed().saturating_sub(self.tried) < TRY_EVERY {
            return;
        }
        self.tried = self.clock.elapsed();
        for at in 0..self.teams.len() {
            let team = &mut self.teams[at];
            if team.site.port().is_some() {
                continue;
            }
            let Some(reason) = team.posts.iter().find_map(Post::failure) else { continue };
            if team.told.is_none() {
                error!("{reason}; trying to open it again every second");
                team.told = Some(String::new());
            }
            // All of its workers end before the first one begins anew.
            if !team.posts.iter().all(|post| post.thread.is_finished()) {
                continue;
            }
            if let Err(error) = self.reopen(at, plan) {
                let error = format!("{error:#}");
                let told = self.teams[at].told.get_or_insert_default();
                if *told != error {
                    error!("not opened again: {error}");
                    *told = error;
                }
            } else {
                self.teams[at].told = None;
            }
        }
    }

    fn reopen(&mut self, at: usize, plan: &Plan) -> anyhow::Result<()> {
        let team = &self.teams[at];
        // This thread also hears signals and reloads.
        let open = team.site.open(team.sampling, plan, How::AtOnce)?;
        let (is, was) = (open.sources.len(), team.posts.len());
        if is != was {
            bail!("it has {is} queues now and had {was} at the start: restart the service");
        }
        let start = Start { plan, state: None, memories: &[] };
        let mut posts = Vec::new();
        for (number, (_, opened)) in open.sources.into_iter().enumerate() {
            let post = &self.teams[at].posts[number];
            let (shard, status) = (post.shard.clone(), Arc::clone(&post.status));
            match self.post(opened, &start, shard, status) {
                Ok(post) => posts.push(post),
                Err(error) => {
                    // Tried again when they have ended; their places report what they count.
                    for post in posts {
                        let status = Arc::clone(&post.status);
                        post.tell(Word::Leave);
                        _ = post.end();
                        status.fail("it was opened again, and a thread could not be started");
                    }
                    return Err(error);
                }
            }
        }
        for post in &posts {
            info!("{}: is received from again", post.status.name);
        }
        (self.teams[at].posts, self.teams[at].shift) = (posts, open.shift);
        self.place();
        Ok(())
    }

    /// Ends all of them, each with what its source still holds.
    pub(super) fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let posts = self.teams.into_iter().flat_map(|team| team.posts);
        // The first fault is told, when all have ended.
        posts.map(|post| post.end().map(drop)).fold(Ok(()), anyhow::Result::and)
    }
}

/// Does an error say that a right is missing?
pub(super) fn is_refusal(error: &str) -> bool {
    error.to_lowercase().contains("permi")
}
