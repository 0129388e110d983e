//! A reload: what is received from changes, and everything else goes on. What is new is opened
//! first, and any mistake ends it there, with nothing changed. Then those who leave get nothing
//! new, count what the kernel holds for them, and end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::Result;
use tidewall_capture::OpenError;
use tidewall_model::SamplingRate;
use tracing::warn;

use super::{Crew, Post, Start, Team};
use crate::live::Plan;
use crate::live::shards::SharedShard;
use crate::live::sources::{OpenSite, Opened, Site};
use crate::live::state::State;
use crate::live::worker::{Memory, Word, WorkerStatus};

/// A worker looks at what it is told ten times a second.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two looks whether workers have ended.
const LOOK: Duration = Duration::from_millis(5);

/// What workers know, by port.
type Memories = BTreeMap<u16, Arc<Vec<Memory>>>;

/// What a plan has that is not received from yet, and what becomes of the teams there are.
struct Difference {
    new: Vec<(Site, SamplingRate)>,
    /// For each team, what a frame of it stands for; nothing when it leaves.
    stays: Vec<Option<SamplingRate>>,
    /// Workers of each UDP port.
    workers: usize,
}

/// More sockets of a team's port.
struct Grown {
    team: usize,
    sources: Vec<(String, Opened)>,
}

impl Crew {
    /// Goes on by another plan. Gives what is new in words, when workers came or went.
    pub(in crate::live) fn change(
        &mut self,
        plan: &Plan,
        state: Option<&State>,
        mut hire: impl FnMut() -> Result<SharedShard>,
    ) -> Result<Vec<String>> {
        let difference = self.difference(plan)?;
        let grown = self.grow(plan, &difference)?;
        let opened = self.open(plan, &difference)?;
        let resized = self.resized(&difference);
        let words = self.words(&difference, &opened, &resized);
        // Both sockets see a frame until the old one has heard it.
        for team in self.leaving(&difference).filter(|team| team.site.port().is_none()) {
            team.posts.iter().for_each(|post| post.tell(Word::Leave));
        }
        let memories = self.memories(&opened, &resized);
        let start = |site: &Site| Start { plan, state, memories: known(&memories, site) };
        let mut teams = Vec::new();
        for open in opened {
            open.warnings().for_each(|warning| warn!("{warning}"));
            let site = open.site.clone();
            teams.push(self.team(open, &start(&site), &mut hire)?);
        }
        for Grown { team, sources } in grown {
            let site = self.teams[team].site.clone();
            for (name, opened) in sources {
                let status = Arc::new(WorkerStatus::new(name));
                let post = self.post(opened, &start(&site), hire()?, status)?;
                self.teams[team].posts.push(post);
            }
        }
        self.deal(&resized, &memories, difference.workers)?;
        self.dismiss(difference)?;
        self.teams.append(&mut teams);
        self.adjust(plan);
        Ok(words)
    }

    fn difference(&self, plan: &Plan) -> Result<Difference> {
        let mut stays = vec![None; self.teams.len()];
        let mut new = Vec::new();
        for (site, sampling) in Site::all(plan)? {
            let mut teams = self.teams.iter().zip(&mut stays);
            match teams.find(|(team, stays)| team.site == site && stays.is_none()) {
                Some((_, stays)) => *stays = Some(sampling),
                None => new.push((site, sampling)),
            }
        }
        Ok(Difference { new, stays, workers: plan.listen.workers })
    }

    fn leaving(&self, difference: &Difference) -> impl Iterator<Item = &Team> {
        self.teams.iter().zip(&difference.stays).filter(|(_, s)| s.is_none()).map(|(team, _)| team)
    }

    /// Opens more sockets for ports that are to have more workers.
    fn grow(&self, plan: &Plan, difference: &Difference) -> Result<Vec<Grown>> {
        let mut grown = Vec::new();
        for (at, team) in self.teams.iter().enumerate() {
            let (Some(port), now) = (&team.port, team.posts.len()) else { continue };
            if difference.stays[at].is_some() && now < difference.workers {
                let config = team.site.udp_config(plan);
                let group = port.add(&config, now, difference.workers - now)?;
                grown.push(Grown { team: at, sources: team.site.flow_sources(group, now, plan) });
            }
        }
        Ok(grown)
    }

    /// Opens what is new. What must be closed before comes last: when that cannot be opened, what
    /// was closed is taken up again as if it had been lost.
    fn open(&mut self, plan: &Plan, difference: &Difference) -> Result<Vec<OpenSite>> {
        let is_in_the_way = |team: &Team, site: &Site| team.site.is_in_the_way_of(site);
        let blocked = |site: &Site| self.leaving(difference).any(|team| is_in_the_way(team, site));
        let (blocked, free): (Vec<_>, Vec<_>) =
            difference.new.iter().partition(|(site, _)| blocked(site));
        let mut opened = Vec::new();
        for (site, sampling) in free {
            opened.push(self.open_one(site, *sampling, plan, difference)?);
        }
        let teams = self.teams.iter().zip(&difference.stays).filter(|(_, s)| s.is_none());
        let teams = teams.map(|(team, _)| team);
        let closed = teams.filter(|team| blocked.iter().any(|(site, _)| is_in_the_way(team, site)));
        let closed: Vec<&Post> = closed.flat_map(|team| &team.posts).collect();
        for post in &closed {
            post.tell(Word::Leave);
        }
        wait_for(&closed);
        for (site, sampling) in blocked {
            match site.open(*sampling, plan, false) {
                Ok(open) => opened.push(open),
                Err(error) => {
                    let reason = "closed for a reload that failed";
                    for post in &closed {
                        post.status.fail(reason);
                    }
                    self.tried = Duration::ZERO;
                    return Err(error);
                }
            }
        }
        Ok(opened)
    }

    /// Opens a site, if need be beside those of ours that have its port and leave.
    fn open_one(
        &self,
        site: &Site,
        sampling: SamplingRate,
        plan: &Plan,
        difference: &Difference,
    ) -> Result<OpenSite> {
        let error = match site.open(sampling, plan, false) {
            Err(error) if is_in_use(&error) => error,
            answer => return answer,
        };
        let ours = self.leaving(difference).filter(|team| team.site.port() == site.port());
        let ours: Vec<_> = ours.filter_map(|team| team.port.as_ref()).collect();
        if ours.is_empty() {
            return Err(error);
        }
        for port in &ours {
            port.share(true)?;
        }
        site.open(sampling, plan, true)
    }

    /// What those who listen for NetFlow and IPFIX know, by port, where others will need it.
    fn memories(&self, opened: &[OpenSite], resized: &[usize]) -> Memories {
        let resized = resized.iter().map(|at| &self.teams[*at].site);
        let sites = resized.chain(opened.iter().map(|open| &open.site));
        let mut memories = Memories::new();
        for port in sites.filter_map(Site::port) {
            memories.entry(port).or_insert_with(|| {
                let (answer, told) = channel();
                for team in self.teams.iter().filter(|team| team.site.port() == Some(port)) {
                    team.posts.iter().for_each(|post| post.tell(Word::Remember(answer.clone())));
                }
                drop(answer);
                let answers = std::iter::from_fn(|| told.recv_timeout(PATIENCE).ok());
                Arc::new(answers.collect())
            });
        }
        memories
    }

    /// Teams that stay and have another number of workers than they should have.
    fn resized(&self, difference: &Difference) -> Vec<usize> {
        let differs = |at: &usize| {
            let team = &self.teams[*at];
            let stays = difference.stays[*at].is_some() && team.port.is_some();
            stays && team.posts.len() != difference.workers
        };
        (0..self.teams.len()).filter(differs).collect()
    }

    /// Has so many sockets of each port get what comes. An exporter may belong to another worker
    /// then, which knows its templates before.
    fn deal(&mut self, resized: &[usize], memories: &Memories, workers: usize) -> Result<()> {
        for at in resized {
            let team = &mut self.teams[*at];
            let Some(port) = &team.port else { continue };
            let known = team.site.port().and_then(|number| memories.get(&number));
            let (done, all_done) = channel();
            for post in &team.posts {
                post.tell(Word::Learn(known.cloned().unwrap_or_default(), done.clone()));
            }
            drop(done);
            // Ends when no worker has it any more.
            _ = all_done.recv_timeout(PATIENCE);
            port.deal(workers)?;
            // The kernel numbers sockets: the last one goes first.
            while team.posts.len() > workers {
                let Some(post) = team.posts.pop() else { break };
                post.tell(Word::Leave);
                self.left.count(&post.end()?);
            }
        }
        Ok(())
    }

    /// Has the others leave, and waits for them.
    fn dismiss(&mut self, difference: Difference) -> Result<()> {
        let mut leaving = Vec::new();
        let teams = std::mem::take(&mut self.teams);
        for (mut team, stays) in teams.into_iter().zip(difference.stays) {
            if let Some(sampling) = stays {
                self.teams.push(Team { sampling, ..team });
            } else {
                // Otherwise the first socket would outlive its worker.
                team.port = None;
                team.posts.iter().for_each(|post| post.tell(Word::Leave));
                leaving.append(&mut team.posts);
            }
        }
        for post in leaving {
            self.left.count(&post.end()?);
        }
        Ok(())
    }

    fn words(
        &self,
        difference: &Difference,
        opened: &[OpenSite],
        resized: &[usize],
    ) -> Vec<String> {
        let news = list(opened.iter().map(|open| &open.site));
        let leaving = list(self.leaving(difference).map(|team| &team.site));
        let resized = list(resized.iter().map(|at| &self.teams[*at].site));
        let workers = format!("{} workers each for", difference.workers);
        let told = [("received from:", news), ("no longer:", leaving), (&*workers, resized)];
        let told = told.into_iter().filter(|(_, list)| !list.is_empty());
        told.map(|(what, list)| format!("{what} {list}")).collect()
    }
}

fn list<'a>(sites: impl Iterator<Item = &'a Site>) -> String {
    sites.map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn known<'a>(memories: &'a Memories, site: &Site) -> &'a [Memory] {
    let port = site.port().and_then(|port| memories.get(&port));
    port.map_or(&[], |list| list.as_slice())
}

/// Is it that somebody has the address?
fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(
        error.downcast_ref::<OpenError>(),
        Some(OpenError::Udp { reason, .. }) if reason.kind() == std::io::ErrorKind::AddrInUse
    )
}

#[expect(clippy::disallowed_methods, reason = "the main thread waits for workers to end")]
fn wait_for(posts: &[&Post]) {
    while !posts.iter().all(|post| post.thread.is_finished()) {
        std::thread::sleep(LOOK);
    }
}
