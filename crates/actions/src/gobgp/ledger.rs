//! What is desired, route by route, and what has become of it: written by the owner and by the
//! thread. There is one entry for each route, so commands for the same route take each other's
//! place, and a daemon that is dead costs no more memory than one that answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tidewall_bgp::{Route, RouteKey};
use tidewall_model::MitigationOutcome;

use super::path::Facts;
use crate::{AnnouncedRoute, AnnouncerStatus, RouteOutcome, clock};

/// Withdrawals that wait at most. The reconciliation after a connection withdraws what it finds
/// without them: what does not wait here is only not told of.
const MAX_WITHDRAWALS: usize = 65_536;

/// The ledger. Its changes are seen by the thread.
pub(super) struct Ledger {
    name: Arc<str>,
    outcomes: Sender<RouteOutcome>,
    entries: BTreeMap<RouteKey, Entry>,
    withdrawals: usize,
    /// The whole of what is desired is known: what else has our tag is to go.
    complete: bool,
    /// All of the daemon's table is to be looked at.
    look_at_all: bool,
    /// Commands are still taken, and no connection is waited for.
    pub(super) stopping: bool,
    status: AnnouncerStatus,
}

struct Entry {
    /// `None`: to be withdrawn.
    wanted: Option<Route>,
    state: State,
    /// The last that was told of it; nothing since the last command.
    told: Option<MitigationOutcome>,
    note: Option<String>,
    /// As the daemon lists what we added: to be compared later.
    listed: Option<Facts>,
    /// Counts commands: an answer for an older one does not count.
    command: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be done at once.
    Due,
    /// Tried, and to be tried again after a pause.
    Again,
    /// The daemon has it.
    Announced,
}

/// Which entries are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// What is due.
    Due,
    /// And what has failed.
    Again,
    /// Everything, against what the daemon lists.
    Audit,
}

/// What is to be done in one round.
pub(super) struct Work {
    /// Whatever else has our tag is to go, in all families.
    pub(super) strays: bool,
    pub(super) tasks: Vec<Task>,
}

/// One route of a round.
pub(super) struct Task {
    pub(super) key: RouteKey,
    pub(super) wanted: Option<Route>,
    pub(super) listed: Option<Facts>,
    command: u64,
}

/// What has become of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The daemon lists it.
    Announced { listed: Facts, note: Option<String> },
    /// It does not list anything of ours.
    Withdrawn,
    /// Words.
    Failed(String),
}

impl Ledger {
    pub(super) fn new(name: &str, daemon: String, outcomes: Sender<RouteOutcome>) -> Self {
        Self {
            name: name.into(),
            outcomes,
            entries: BTreeMap::new(),
            withdrawals: 0,
            complete: false,
            look_at_all: false,
            stopping: false,
            status: AnnouncerStatus { daemon, ..AnnouncerStatus::default() },
        }
    }

    pub(super) fn set(&mut self, desired: Vec<Route>) {
        (self.complete, self.look_at_all) = (true, true);
        let routes: BTreeMap<RouteKey, Route> =
            desired.into_iter().map(|route| (route.key(), route)).collect();
        let gone: Vec<RouteKey> =
            self.entries.keys().filter(|key| !routes.contains_key(key)).cloned().collect();
        for key in gone {
            self.withdraw(key);
        }
        for route in routes.into_values() {
            self.announce(route);
        }
    }

    pub(super) fn announce(&mut self, route: Route) {
        let key = route.key();
        if let Some(entry) = self.entries.get_mut(&key)
            && entry.wanted.as_ref() == Some(&route)
            && entry.state == State::Announced
        {
            entry.told = None;
            self.tell(&key, MitigationOutcome::Applied);
            return;
        }
        self.command(key, Some(route));
    }

    pub(super) fn withdraw(&mut self, key: RouteKey) {
        let waits = self.entries.get(&key).is_some_and(|entry| entry.wanted.is_none());
        if !waits && self.withdrawals >= MAX_WITHDRAWALS {
            if self.entries.remove(&key).is_some() {
                self.look_at_all = self.complete;
            }
            let words = format!(
                "{MAX_WITHDRAWALS} withdrawals wait already: this one is done with \
                                 the next reconciliation"
            );
            self.send(key, MitigationOutcome::Failed(words));
            return;
        }
        self.command(key, None);
    }

    fn command(&mut self, key: RouteKey, wanted: Option<Route>) {
        let old = self.entries.remove(&key);
        let withdrawn = |wanted: &Option<Route>| usize::from(wanted.is_none());
        self.withdrawals += withdrawn(&wanted);
        self.withdrawals -= old.as_ref().map_or(0, |entry| withdrawn(&entry.wanted));
        let command = old.map_or(0, |entry| entry.command) + 1;
        let (state, told, note, listed) = (State::Due, None, None, None);
        self.entries.insert(key, Entry { wanted, state, told, note, listed, command });
    }

    /// The tasks of a scope; `None` when there is nothing to do.
    pub(super) fn work(&mut self, scope: Scope) -> Option<Work> {
        let strays = std::mem::take(&mut self.look_at_all);
        let all = strays || scope == Scope::Audit;
        let wanted = |entry: &Entry| match entry.state {
            State::Due => true,
            State::Again => all || scope == Scope::Again,
            State::Announced => all,
        };
        let tasks: Vec<Task> = self
            .entries
            .iter()
            .filter(|(_, entry)| wanted(entry))
            .map(|(key, entry)| Task {
                key: key.clone(),
                wanted: entry.wanted.clone(),
                listed: entry.listed.clone(),
                command: entry.command,
            })
            .collect();
        (strays || !tasks.is_empty()).then_some(Work { strays, tasks })
    }

    /// Has something failed that is to be tried again?
    pub(super) fn has_failed(&self) -> bool {
        self.entries.values().any(|entry| entry.state == State::Again)
    }

    /// Does anything wait for the first attempt?
    pub(super) fn is_due(&self) -> bool {
        self.look_at_all || self.entries.values().any(|entry| entry.state == State::Due)
    }

    /// Takes what has become of a task, unless a command has come since.
    pub(super) fn judge(&mut self, task: &Task, verdict: Verdict) {
        let Some(entry) = self.entries.get_mut(&task.key) else { return };
        if entry.command != task.command {
            return;
        }
        let outcome = match verdict {
            Verdict::Announced { listed, note } => {
                (entry.state, entry.listed, entry.note) = (State::Announced, Some(listed), note);
                MitigationOutcome::Applied
            }
            Verdict::Withdrawn => MitigationOutcome::Withdrawn,
            Verdict::Failed(words) => {
                (entry.state, entry.listed, entry.note) = (State::Again, None, Some(words.clone()));
                MitigationOutcome::Failed(words)
            }
        };
        if let MitigationOutcome::Failed(words) = &outcome {
            self.complain(&format!("{}: {words}", task.key));
        }
        let withdrawn = outcome == MitigationOutcome::Withdrawn;
        self.tell(&task.key, outcome);
        if withdrawn && self.entries.remove(&task.key).is_some() {
            self.withdrawals -= 1;
        }
    }

    /// Commands that the daemon has carried out.
    pub(super) fn done(&mut self, commands: u64) {
        self.status.done += commands;
    }

    /// Something went wrong that is no route of ours.
    pub(super) fn complain(&mut self, words: &str) {
        self.status.failed += 1;
        self.status.last_error = Some((clock::now(), words.to_owned()));
    }

    /// There is a connection. What the daemon has is not known any more.
    pub(super) fn connected(&mut self, daemon: String) {
        (self.status.up, self.status.daemon) = (true, daemon);
        self.look_at_all = self.complete;
        for entry in self.entries.values_mut() {
            (entry.state, entry.listed) = (State::Due, None);
        }
    }

    /// The connection is lost. Nothing is told of it yet: the next one may come at once.
    pub(super) fn lost(&mut self, words: &str) {
        self.status.up = false;
        self.complain(words);
        for entry in self.entries.values_mut() {
            (entry.state, entry.listed) = (State::Due, None);
        }
    }

    /// There is no connection to be had.
    pub(super) fn unreachable(&mut self, words: &str) {
        self.lost(words);
        let keys: Vec<RouteKey> = self.entries.keys().cloned().collect();
        for key in keys {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.note = Some(words.to_owned());
            }
            self.tell(&key, MitigationOutcome::Failed(words.to_owned()));
        }
    }

    pub(super) fn status(&self) -> AnnouncerStatus {
        let desired = self.entries.values().filter(|entry| entry.wanted.is_some()).count();
        let announced = self.entries.values().filter(|entry| entry.state == State::Announced);
        let announced = announced.count();
        let waiting = self.entries.len() - announced;
        AnnouncerStatus { desired, announced, waiting, ..self.status.clone() }
    }

    pub(super) fn routes(&self) -> Vec<AnnouncedRoute> {
        let route = |entry: &Entry| {
            Some(AnnouncedRoute {
                route: entry.wanted.clone()?,
                announced: entry.state == State::Announced,
                note: entry.note.clone(),
            })
        };
        self.entries.values().filter_map(route).collect()
    }

    /// Tells the owner what it does not know yet.
    fn tell(&mut self, key: &RouteKey, outcome: MitigationOutcome) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.told.as_ref() != Some(&outcome) {
            entry.told = Some(outcome.clone());
            self.send(key.clone(), outcome);
        }
    }

    fn send(&self, key: RouteKey, outcome: MitigationOutcome) {
        // Whoever does not listen any more does not want to know.
        let _ =
            self.outcomes.send(RouteOutcome { announcer: Arc::clone(&self.name), key, outcome });
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::mpsc::{Receiver, channel};

    use tidewall_bgp::attribute::PathAttributes;
    use tidewall_bgp::{RouteAttributes, UnicastRoute};

    use super::*;

    fn route(host: u8) -> Route {
        let prefix = format!("203.0.113.{host}/32").parse().unwrap();
        let next_hop = IpAddr::from([192, 0, 2, 1]);
        UnicastRoute::new(prefix, next_hop, RouteAttributes::default()).unwrap().into()
    }

    fn ledger() -> (Ledger, Receiver<RouteOutcome>) {
        let (outcomes, received) = channel();
        (Ledger::new("gobgp", "GoBGP".into(), outcomes), received)
    }

    fn announced() -> Verdict {
        let facts = Facts { attributes: PathAttributes::default(), next_hop: None };
        Verdict::Announced { listed: facts, note: None }
    }

    fn words(received: &Receiver<RouteOutcome>) -> Vec<String> {
        received.try_iter().map(|told| format!("{} {:?}", told.key, told.outcome)).collect()
    }

    #[test]
    fn commands_for_one_route_take_each_others_place() {
        let (mut ledger, received) = ledger();
        ledger.announce(route(1));
        let old = ledger.work(Scope::Due).unwrap();
        for _ in 0..1_000 {
            ledger.withdraw(route(1).key());
            ledger.announce(route(1));
        }
        ledger.withdraw(route(1).key());
        ledger.judge(&old.tasks[0], announced());
        assert!(words(&received).is_empty(), "an answer for an older command");
        let work = ledger.work(Scope::Due).unwrap();
        assert_eq!(work.tasks.len(), 1);
        assert_eq!(work.tasks[0].wanted, None);
        ledger.judge(&work.tasks[0], Verdict::Withdrawn);
        assert_eq!(words(&received), ["203.0.113.1/32 Withdrawn"]);
        assert!(ledger.work(Scope::Audit).is_none() && ledger.entries.is_empty());
        assert_eq!(ledger.withdrawals, 0);
    }

    #[test]
    fn a_failure_is_told_once_for_each_reason_and_tried_again() {
        let (mut ledger, received) = ledger();
        ledger.announce(route(1));
        for reason in ["no", "no", "not yet"] {
            let work = ledger.work(Scope::Again).unwrap();
            ledger.judge(&work.tasks[0], Verdict::Failed(reason.into()));
            assert!(ledger.work(Scope::Due).is_none() && ledger.has_failed());
        }
        ledger.unreachable("gone");
        ledger.unreachable("gone");
        ledger.connected("GoBGP".into());
        let work = ledger.work(Scope::Due).unwrap();
        ledger.judge(&work.tasks[0], announced());
        ledger.announce(route(1));
        let told = ["Failed(\"no\")", "Failed(\"not yet\")", "Failed(\"gone\")"];
        let told = told.iter().chain(&["Applied", "Applied"]);
        let told: Vec<String> = told.map(|outcome| format!("203.0.113.1/32 {outcome}")).collect();
        assert_eq!(words(&received), told);
        let status = ledger.status();
        assert_eq!((status.up, status.failed, status.announced, status.waiting), (true, 5, 1, 0));
    }

    #[test]
    fn strays_are_looked_for_once_everything_is_known_and_with_each_connection() {
        let (mut ledger, _received) = ledger();
        ledger.connected("GoBGP".into());
        assert!(ledger.work(Scope::Audit).is_none(), "what is desired is not known");
        ledger.announce(route(1));
        ledger.set(vec![route(2)]);
        let work = ledger.work(Scope::Due).unwrap();
        assert!(work.strays);
        let wanted: Vec<bool> = work.tasks.iter().map(|task| task.wanted.is_some()).collect();
        assert_eq!(wanted, [false, true]);
        assert!(!ledger.work(Scope::Due).unwrap().strays);
        ledger.lost("gone");
        ledger.connected("GoBGP".into());
        assert!(ledger.work(Scope::Due).unwrap().strays);
    }

    #[test]
    fn withdrawals_at_a_dead_daemon_are_bounded() {
        let (mut ledger, received) = ledger();
        let key = |number: u32| {
            let prefix = format!("{}/32", std::net::Ipv4Addr::from(number)).parse().unwrap();
            RouteKey::new(&tidewall_bgp::Nlri::Unicast(prefix))
        };
        let excess = 10;
        for number in 0..MAX_WITHDRAWALS as u32 + excess {
            ledger.withdraw(key(number));
        }
        assert_eq!(ledger.status().waiting, MAX_WITHDRAWALS);
        assert_eq!(words(&received).len(), excess as usize);
        ledger.withdraw(key(1));
        assert!(words(&received).is_empty(), "waits already");
    }
}
