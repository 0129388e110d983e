//! All announcers by number, those that are on their way out included: which ones another
//! configuration needs, and who waits for whose end.

use std::collections::BTreeMap;
use std::thread::{self, JoinHandle};

use anyhow::{Context, bail};
use tidewall_actions::bgp::Next;
use tidewall_model::Timestamp;
use tracing::warn;

use super::desired::Names;
use super::outlet::{End, Ending, Outlet};
use super::settings::{AnnouncerSettings, Relation};

/// Makes one of a number; `true`: routes of an earlier run may still be up.
pub(super) type Opener =
    Box<dyn FnMut(usize, &AnnouncerSettings, bool) -> anyhow::Result<Outlet> + Send>;

/// All of them. A number is never used twice.
pub(super) struct Outlets {
    list: BTreeMap<usize, Outlet>,
    next: usize,
    open: Opener,
    /// The threads in which those end that are gone from the list.
    ending: Vec<Gone>,
}

/// One that ends.
struct Gone {
    id: usize,
    how: Ending,
    thread: JoinHandle<()>,
}

/// What another configuration does to them; what it needs is open.
pub(super) struct Change {
    pub settings: Vec<AnnouncerSettings>,
    steps: Vec<Step>,
}

/// One step of it, with the number of the outlet that is there.
enum Step {
    Added(usize, Box<Outlet>),
    Removed(usize),
    /// What routes carry.
    Routes(usize, AnnouncerSettings),
    Speaker(usize, Box<Next>, AnnouncerSettings),
    /// The daemon has the routes of the one before, which are ours as well.
    TakenOver(usize, AnnouncerSettings),
    /// The daemon does not take ours beside those of the one before.
    Replaced(usize, AnnouncerSettings),
}

/// What was done at once, and what follows.
#[derive(Default)]
pub(super) struct Changed {
    /// In words.
    pub said: Vec<String>,
    /// Those that take over: from whom, and who.
    pub handed_over: Vec<(usize, usize)>,
    /// Those that are to get their first desired set.
    pub new: Vec<usize>,
    /// The speaker's other configuration, to be adopted with its routes.
    pub adopt: Option<(usize, Box<Next>)>,
}

impl Change {
    /// Does it leave everything as it is?
    pub(super) const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Outlets {
    pub(super) const fn new(open: Opener) -> Self {
        Self { list: BTreeMap::new(), next: 0, open, ending: Vec::new() }
    }

    /// Opens one. `restarting`: routes of an earlier run may still be up.
    pub(super) fn start(
        &mut self,
        settings: &AnnouncerSettings,
        restarting: bool,
    ) -> anyhow::Result<()> {
        let outlet = (self.open)(self.next, settings, restarting)?;
        self.list.insert(self.next, outlet);
        self.next += 1;
        Ok(())
    }

    pub(super) fn names(&self) -> Names {
        self.list.iter().map(|(id, outlet)| (*id, outlet.name.clone())).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &Outlet)> {
        self.list.iter().map(|(id, outlet)| (*id, outlet))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Outlet)> {
        self.list.iter_mut().map(|(id, outlet)| (*id, outlet))
    }

    /// Those that new routes go to.
    pub(super) fn staying(&self) -> impl Iterator<Item = (usize, &Outlet)> {
        self.iter().filter(|(_, outlet)| outlet.leaving.is_none())
    }

    pub(super) fn get(&self, id: usize) -> Option<&Outlet> {
        self.list.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: usize) -> Option<&mut Outlet> {
        self.list.get_mut(&id)
    }

    /// Opens what other settings need. An error changes nothing.
    pub(super) fn prepare(&mut self, settings: &[AnnouncerSettings]) -> anyhow::Result<Change> {
        let mut change = Change { settings: settings.to_vec(), steps: Vec::new() };
        match self.open_all(settings, &mut change.steps) {
            Ok(()) => Ok(change),
            Err(why) => {
                self.abandon(change);
                Err(why)
            }
        }
    }

    fn open_all(
        &mut self,
        settings: &[AnnouncerSettings],
        steps: &mut Vec<Step>,
    ) -> anyhow::Result<()> {
        let there: Vec<(usize, &'static str)> =
            self.staying().map(|(id, outlet)| (id, outlet.kind)).collect();
        for (id, kind) in &there {
            match settings.iter().find(|new| new.kind() == *kind) {
                Some(new) => self.open_instead(*id, new, steps)?,
                None => steps.push(Step::Removed(*id)),
            }
        }
        for new in settings {
            if there.iter().all(|(_, kind)| *kind != new.kind()) {
                steps.push(self.open_beside(new)?);
            }
        }
        Ok(())
    }

    fn open_instead(
        &mut self,
        id: usize,
        new: &AnnouncerSettings,
        steps: &mut Vec<Step>,
    ) -> anyhow::Result<()> {
        let Some(outlet) = self.list.get(&id) else { return Ok(()) };
        if let End::Awaiting(_, trouble) = &outlet.end {
            // It begins with what holds by then; what it takes over is where the old settings are.
            if matches!(outlet.settings.relation(new), Relation::Elsewhere | Relation::Replaced) {
                let name = &outlet.name;
                if trouble.is_none() {
                    bail!("{name} is still being taken over: reload again in some seconds");
                }
                warn!("{name} was not reached any more: look there whether it still has routes");
            }
            steps.push(Step::Routes(id, new.clone()));
            return Ok(());
        }
        match outlet.settings.relation(new) {
            Relation::Same => {}
            Relation::Routes => steps.push(Step::Routes(id, new.clone())),
            Relation::TakenOver => steps.push(Step::TakenOver(id, new.clone())),
            Relation::Replaced => steps.push(Step::Replaced(id, new.clone())),
            Relation::Elsewhere => {
                steps.extend([self.open_beside(new)?, Step::Removed(id)]);
            }
            Relation::Speaker(speaking) => {
                let End::Speaker(spoken) = &outlet.end else { return Ok(()) };
                let next = spoken.speaker.prepare(speaking.speaker.clone()).context("[bgp]")?;
                steps.push(Step::Speaker(id, Box::new(next), new.clone()));
            }
        }
        Ok(())
    }

    fn open_beside(&mut self, new: &AnnouncerSettings) -> anyhow::Result<Step> {
        let id = self.next;
        self.next += 1;
        Ok(Step::Added(id, Box::new((self.open)(id, new, false)?)))
    }

    /// What was opened is not needed.
    pub(super) fn abandon(&mut self, change: Change) {
        for step in change.steps {
            if let Step::Added(id, outlet) = step {
                self.end(id, *outlet, Ending::Keep);
            }
        }
    }

    /// Carries it out, but for what they are told.
    pub(super) fn change(&mut self, change: Change, now: Timestamp) -> Changed {
        let mut changed = Changed::default();
        for step in change.steps {
            match step {
                Step::Added(id, outlet) => {
                    changed.said.push(format!("{} is added", outlet.name));
                    changed.new.push(id);
                    self.list.insert(id, *outlet);
                }
                Step::Removed(id) => {
                    let Some(outlet) = self.list.get_mut(&id) else { continue };
                    outlet.leaving = Some(now);
                    changed.said.push(format!("{} is removed and withdraws", outlet.name));
                }
                Step::Routes(id, settings) => {
                    let Some(outlet) = self.list.get_mut(&id) else { continue };
                    settings.name().clone_into(&mut outlet.name);
                    let before = std::mem::replace(&mut outlet.settings, settings);
                    changed.said.extend(before.news(&outlet.settings));
                }
                Step::Speaker(id, next, settings) => {
                    let Some(outlet) = self.list.get_mut(&id) else { continue };
                    let before = std::mem::replace(&mut outlet.settings, settings);
                    changed.said.extend(before.news(&outlet.settings));
                    changed.adopt = Some((id, next));
                }
                Step::TakenOver(id, settings) => {
                    let Some(before) = self.list.remove(&id) else { continue };
                    changed.said.push(format!("{} is reached anew, its routes stay", before.name));
                    changed.said.extend(before.settings.news(&settings));
                    self.end(id, before, Ending::Keep);
                    let new = self.await_end(id, settings);
                    changed.handed_over.push((id, new));
                }
                Step::Replaced(id, settings) => {
                    let Some(before) = self.list.get_mut(&id) else { continue };
                    before.leaving = Some(now);
                    let words = "has another tag: its routes are withdrawn and announced again";
                    changed.said.push(format!("{} {words}", before.name));
                    self.await_end(id, settings);
                }
            }
        }
        changed
    }

    fn await_end(&mut self, of: usize, settings: AnnouncerSettings) -> usize {
        let id = self.next;
        self.next += 1;
        self.list.insert(id, Outlet::new(settings, End::Awaiting(of, None)));
        id
    }

    /// Ends one on a thread of its own.
    pub(super) fn end(&mut self, id: usize, outlet: Outlet, how: Ending) {
        let builder = thread::Builder::new().name("announcer end".to_owned());
        match builder.spawn(move || outlet.stop(how)) {
            Ok(thread) => self.ending.push(Gone { id, how, thread }),
            // The outlet was dropped, which ends it as well.
            Err(why) => warn!("an announcer was ended in haste: {why}"),
        }
    }

    /// Ends one that has left.
    pub(super) fn remove(&mut self, id: usize) {
        if let Some(outlet) = self.list.remove(&id) {
            self.end(id, outlet, Ending::Removed);
        }
    }

    /// Ends all, and gives the threads in which they do.
    pub(super) fn end_all(&mut self, how: Ending) -> Vec<JoinHandle<()>> {
        for (id, outlet) in std::mem::take(&mut self.list) {
            // Nobody will know of one that was on its way out.
            let how = if outlet.leaving.is_some() { Ending::Removed } else { how };
            self.end(id, outlet, how);
        }
        self.ending.drain(..).map(|gone| gone.thread).collect()
    }

    /// Starts those that waited for the end of another one; their numbers, and those of others of
    /// the same kind as one that has ended: both may have been at the same daemon.
    pub(super) fn tend(&mut self) -> Vec<usize> {
        let is_over = |gone: &mut Gone| gone.thread.is_finished();
        let ended: Vec<Gone> = self.ending.extract_if(.., is_over).collect();
        let mut begin = Vec::new();
        let waiting: Vec<(usize, usize)> = (self.iter())
            .filter_map(|(id, outlet)| match outlet.end {
                End::Awaiting(other, _) => Some((id, other)),
                _ => None,
            })
            .collect();
        for (id, other) in waiting {
            let is_there =
                self.list.contains_key(&other) || self.ending.iter().any(|gone| gone.id == other);
            let Some(outlet) = self.list.get_mut(&id).filter(|_| !is_there) else { continue };
            match (self.open)(id, &outlet.settings, true) {
                Ok(opened) => {
                    outlet.end = opened.end;
                    begin.push(id);
                }
                Err(why) => {
                    let why = format!("{why:#}");
                    if outlet.end.trouble() != Some(&why) {
                        warn!("{} cannot be started, and is tried again: {why}", outlet.name);
                    }
                    outlet.end = End::Awaiting(other, Some(why));
                }
            }
        }
        if ended.iter().any(|gone| gone.how == Ending::Removed) {
            let daemons = self.staying().filter(|(id, outlet)| {
                outlet.begun && matches!(outlet.end, End::Daemon(_)) && !begin.contains(id)
            });
            let again: Vec<usize> = daemons.map(|(id, _)| id).collect();
            begin.extend(again);
        }
        begin
    }

    /// Does anyone wait for an answer, or for the end of another one?
    pub(super) fn is_pending(&self) -> bool {
        !self.ending.is_empty() || self.iter().any(|(_, outlet)| outlet.is_pending())
    }
}
