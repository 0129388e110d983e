//! A reload: what is received from changes, and everything else goes on. What is new is opened and
//! has its workers first, and any mistake ends it there, with nothing changed. Nothing fails after
//! that: those who leave get nothing new, count what the kernel holds for them, and end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::Result;
use tidewall_capture::OpenError;
use tidewall_capture::af_packet::Shift;
use tidewall_model::SamplingRate;
use tracing::warn;

use super::{Crew, PATIENCE, Post, Start, Team};
use crate::live::Plan;
use crate::live::shards::SharedShard;
use crate::live::sources::{How, OpenSite, Opened, Site};
use crate::live::state::State;
use crate::live::worker::{Memory, Word};

/// Time between two looks whether workers have ended.
const LOOK: Duration = Duration::from_millis(5);
/// A mirror that takes over from another one begins so long after all of its workers are there.
const NOTICE: Duration = Duration::from_millis(20);

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

/// What is open, and has no workers yet.
struct Opening {
    sites: Vec<OpenSite>,
    grown: Vec<Grown>,
    /// Teams that had to be closed before.
    closed: Vec<usize>,
}

/// The workers of what is new.
#[derive(Default)]
struct Newcomers {
    teams: Vec<Team>,
    /// Of teams that there are.
    grown: Vec<(usize, Vec<Post>)>,
}

impl Crew {
    /// Goes on by another plan. Gives what is new in words, when workers came or went. An error
    /// means that nothing was changed, but for mirrors that had to be closed before: these are
    /// opened again as if they had been lost.
    pub(in crate::live) fn change(
        &mut self,
        plan: &Plan,
        state: Option<&State>,
        hire: impl FnMut() -> Result<SharedShard>,
    ) -> Result<Vec<String>> {
        let difference = self.difference(plan)?;
        let opened = self.open(plan, &difference);
        let opening = opened.inspect_err(|_| self.keep_ports())?;
        let resized = self.resized(&difference);
        let words = self.words(&difference, &opening.sites, &resized);
        let memories = self.memories(&opening.sites, &resized);
        let closed = opening.closed.clone();
        let start = Start { plan, state, memories: &[] };
        let newcomers = match self.welcome(opening, &difference, (&start, &memories), hire) {
            Ok(newcomers) => newcomers,
            Err(error) => {
                self.keep_ports();
                self.retake(&closed);
                return Err(error);
            }
        };
        let changed = !words.is_empty();
        self.hand_over(&difference, &newcomers);
        for (team, mut posts) in newcomers.grown {
            self.teams[team].posts.append(&mut posts);
        }
        self.deal(&resized, &memories, difference.workers);
        self.let_go(difference);
        self.teams.extend(newcomers.teams);
        if let Some(state) = state.filter(|_| changed) {
            self.tidy(state);
        }
        self.place();
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

    /// Opens what is new. What must be closed before comes last.
    fn open(&mut self, plan: &Plan, difference: &Difference) -> Result<Opening> {
        let grown = self.grow(plan, difference)?;
        let blocks = |team: &Team, site: &Site| team.site.is_in_the_way_of(site);
        let is_blocked = |site: &Site| self.leaving(difference).any(|team| blocks(team, site));
        let (blocked, free): (Vec<_>, Vec<_>) =
            difference.new.iter().partition(|(site, _)| is_blocked(site));
        let mut sites = Vec::new();
        for (site, sampling) in free {
            sites.push(self.open_one(site, *sampling, plan, difference)?);
        }
        let is_closed = |at: &usize| {
            let leaves = difference.stays[*at].is_none();
            leaves && blocked.iter().any(|(site, _)| blocks(&self.teams[*at], site))
        };
        let closed: Vec<usize> = (0..self.teams.len()).filter(is_closed).collect();
        let posts: Vec<&Post> = closed.iter().flat_map(|at| &self.teams[*at].posts).collect();
        for post in &posts {
            post.tell(Word::Leave);
        }
        wait_for(&posts);
        for (site, sampling) in blocked {
            match site.open(*sampling, plan, How::Patiently) {
                Ok(open) => sites.push(open),
                Err(error) => {
                    self.retake(&closed);
                    return Err(error);
                }
            }
        }
        Ok(Opening { sites, grown, closed })
    }

    /// Has teams that were closed taken up again as if they had been lost.
    fn retake(&mut self, closed: &[usize]) {
        for at in closed {
            for post in &self.teams[*at].posts {
                post.status.fail("closed for a reload that failed");
            }
            self.tried = Duration::ZERO;
        }
    }

    /// Opens a site, if need be beside those of ours that have its port and leave.
    fn open_one(
        &self,
        site: &Site,
        sampling: SamplingRate,
        plan: &Plan,
        difference: &Difference,
    ) -> Result<OpenSite> {
        let error = match site.open(sampling, plan, How::Patiently) {
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
        site.open(sampling, plan, How::Beside)
    }

    /// After a reload that failed: ports with one socket are nobody else's again.
    fn keep_ports(&self) {
        for team in self.teams.iter().filter(|team| team.posts.len() == 1) {
            // Others of this user could have it, too; nothing is lost by that.
            _ = team.port.as_ref().map(|port| port.share(false));
        }
    }

    /// Starts the workers of all that is new; none is left when one cannot be started.
    fn welcome(
        &mut self,
        opening: Opening,
        difference: &Difference,
        start: (&Start<'_>, &Memories),
        hire: impl FnMut() -> Result<SharedShard>,
    ) -> Result<Newcomers> {
        let mut newcomers = Newcomers::default();
        if let Err(error) = self.start_all(opening, difference, start, hire, &mut newcomers) {
            let Newcomers { teams, grown } = newcomers;
            self.dismiss(teams.into_iter().flat_map(|team| team.posts).collect());
            self.dismiss(grown.into_iter().flat_map(|(_, posts)| posts).collect());
            return Err(error);
        }
        Ok(newcomers)
    }

    fn start_all(
        &mut self,
        opening: Opening,
        difference: &Difference,
        (start, memories): (&Start<'_>, &Memories),
        mut hire: impl FnMut() -> Result<SharedShard>,
        newcomers: &mut Newcomers,
    ) -> Result<()> {
        for open in opening.sites {
            open.warnings().for_each(|warning| warn!("{warning}"));
            if !self.forerunners(difference, &open.site).is_empty() {
                open.shift.iter().for_each(|shift| shift.wait());
            }
            let site = open.site.clone();
            let start = Start { memories: known(memories, &site), ..*start };
            newcomers.teams.push(self.team(open, &start, &mut hire)?);
        }
        for Grown { team, sources } in opening.grown {
            let start = Start { memories: known(memories, &self.teams[team].site), ..*start };
            newcomers.grown.push((team, self.employ(sources, &start, &mut hire)?));
        }
        Ok(())
    }

    /// Of those who leave: whose frames a new mirror sees, too.
    fn forerunners(&self, difference: &Difference, new: &Site) -> Vec<&Shift> {
        let old = self.leaving(difference).filter(|team| new.takes_over_from(&team.site));
        old.filter_map(|team| team.shift.as_deref()).collect()
    }

    /// Has mirrors leave. Where another one takes over, each frame is one's or the other's.
    fn hand_over(&self, difference: &Difference, newcomers: &Newcomers) {
        let mut moment = false;
        for new in &newcomers.teams {
            let old = self.forerunners(difference, &new.site);
            if let Some(shift) = new.shift.as_ref().filter(|_| !old.is_empty()) {
                shift.take_over(&old, NOTICE);
                moment = true;
            }
        }
        if moment {
            rest(NOTICE);
        }
        for team in self.leaving(difference).filter(|team| team.site.port().is_none()) {
            team.posts.iter().for_each(|post| post.tell(Word::Leave));
        }
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
    fn deal(&mut self, resized: &[usize], memories: &Memories, workers: usize) {
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
            if let Err(error) = port.deal(workers) {
                // Sockets that are gone are made up for by the kernel's own choice, and new ones
                // have nothing to do until a reload that works: nothing is lost either way.
                warn!("{}: its datagrams are dealt as before: {error}", team.site);
            }
            // The kernel numbers sockets: the last one goes first.
            while self.teams[*at].posts.len() > workers {
                let last = self.teams[*at].posts.pop();
                let last = self.dismiss(last.into_iter().collect());
                self.teams[*at].remember(last);
            }
        }
    }

    /// Has teams leave that are not to stay, and waits for them.
    fn let_go(&mut self, difference: Difference) {
        let mut leaving = Vec::new();
        let teams = std::mem::take(&mut self.teams);
        for (mut team, stays) in teams.into_iter().zip(difference.stays) {
            if let Some(sampling) = stays {
                self.teams.push(Team { sampling, ..team });
            } else {
                // Otherwise the first socket would outlive its worker.
                team.port = None;
                leaving.append(&mut team.posts);
            }
        }
        self.dismiss(leaving);
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

fn wait_for(posts: &[&Post]) {
    while !posts.iter().all(|post| post.thread.is_finished()) {
        rest(LOOK);
    }
}

#[expect(clippy::disallowed_methods, reason = "the main thread waits for workers and moments")]
fn rest(time: Duration) {
    std::thread::sleep(time);
}
