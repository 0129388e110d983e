//! From attacks, manual requests and policy to the mitigations that should be up. The planner says
//! only differences, each with its reason; the caller writes them to the journal, then carries them
//! out, and reports back what became of them. Time is an argument: the wall clock when live, so that
//! ends hold over a restart. One planner, on the detector's side of the actions' queues.

mod decision;
mod incident;
mod policy;
mod rails;
mod request;
mod restore;
mod table;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidewall_model::{
    AttackEvent, AttackEventKind, Cause, CausedBy, Direction, FilterAction, FilterRule, Mitigation,
    MitigationId, MitigationKind, MitigationOutcome, MitigationStatus, Prefix, Target, Timestamp,
};

use crate::policy::Policy;
pub use decision::{Change, Decided, Decision, Effect, End, Refused, Victim};
use incident::{Incident, Phase, Subject, steps};
pub use policy::{
    DirectedResponses, Lengths, Measure, Mode, PlannerPolicy, PlannerPolicyError, RailsPolicy,
    Response, Step,
};
pub use rails::{AllowedTarget, Rails, Refusal, Wish};
pub use request::{BanRequest, RequestError, UnbanRequest};
pub use restore::Saved;
use table::{Claim, Key, Log, Table};

/// A clock that is behind by less is taken for two clocks that differ, not for one set back.
const JITTER: Duration = Duration::from_secs(2);
/// So long after the filter step it is said that there is no filter, if no other step comes before:
/// when many attacks begin at once, some get their rules with a later report.
const RULES_WAIT: Duration = Duration::from_secs(10);

/// Decides what is done about attacks.
#[derive(Debug)]
pub struct Planner {
    policy: PlannerPolicy,
    /// Prefixes of host groups, each with the group's name.
    groups: Vec<(Prefix, String)>,
    table: Table,
    incidents: BTreeMap<Subject, Incident>,
    /// Who pulled the brake, while it is pulled.
    held: Option<String>,
    /// When the program started, if it said so.
    started: Option<Timestamp>,
    last: Timestamp,
    /// Decisions of calls that had nothing else to give back.
    unsaid: Vec<Decision>,
    refused: [u64; Refusal::NAMES.len()],
}

/// What the planner has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlannerStats {
    /// Victims that are kept in mind.
    pub incidents: usize,
    /// Mitigations that are up or on their way; dry runs are not among them.
    pub up: usize,
    /// Mitigations that wait for a person.
    pub waiting: usize,
    /// Mitigations whose end is not confirmed yet.
    pub withdrawing: usize,
    /// Routes that are announced or may still be.
    pub routes: usize,
    /// What was refused, by [`Refusal::NAMES`].
    pub refused: [u64; Refusal::NAMES.len()],
}

impl Planner {
    /// Nothing is up. Networks, groups and whitelist are the engine's.
    pub fn new(policy: PlannerPolicy, engine: &Policy) -> Result<Self, PlannerPolicyError> {
        policy.check()?;
        let rails = Rails::new(&policy.rails, &engine.networks, &engine.whitelist.hosts)?;
        Ok(Self {
            policy,
            groups: group_prefixes(engine),
            table: Table::new(rails),
            incidents: BTreeMap::new(),
            held: None,
            started: None,
            last: Timestamp::ZERO,
            unsaid: Vec::new(),
            refused: [0; Refusal::NAMES.len()],
        })
    }

    /// Something happened to an attack. `rules` are filters for it, if there are any.
    pub fn attack(
        &mut self,
        event: &AttackEvent,
        rules: &[FilterRule],
        now: Timestamp,
    ) -> Vec<Decision> {
        let mut log = self.begin(now);
        let attack = &event.attack;
        let subject = (attack.target.clone(), attack.direction);
        if event.kind == AttackEventKind::Ended {
            if let Some(incident) = self.incidents.get_mut(&subject) {
                incident.over(log.now);
            }
        } else if self.remember(&subject, event, &mut log) {
            let response = self.policy.response(&attack.reason.group, attack.direction);
            let Some(incident) = self.incidents.get_mut(&subject) else { return log.list };
            incident.learn(attack.id, attack.packets, event.kind == AttackEventKind::Started);
            incident.group.clone_from(&attack.reason.group);
            if !rules.is_empty() {
                incident.rules = rules.to_vec();
                incident.rules.sort();
                incident.rules.dedup();
            }
            if self.held.is_some() {
                (incident.going_on, incident.heard) = (true, log.now);
            } else {
                incident.excess(response, log.now);
            }
        }
        self.advance(&subject, &mut log);
        log.list
    }

    /// Lets time pass: steps are taken, mitigations end. Wanted about once a second.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Decision> {
        let mut log = self.begin(now);
        self.table.expire_manual(&mut log);
        let subjects: Vec<Subject> = self.incidents.keys().cloned().collect();
        for subject in subjects {
            self.advance(&subject, &mut log);
        }
        log.list
    }

    /// What became of a command. Unknown numbers are ignored: they were superseded.
    pub fn report(
        &mut self,
        id: MitigationId,
        outcome: MitigationOutcome,
        now: Timestamp,
    ) -> Vec<Decision> {
        let mut log = self.begin(now);
        let causes = self.table.report(id, outcome, &mut log);
        for subject in subjects_of(&causes) {
            self.advance(&subject, &mut log);
        }
        log.list
    }

    /// Takes a new policy and new networks. What they do not allow is withdrawn; what is up and
    /// over a new cap stays.
    pub fn replace(
        &mut self,
        policy: PlannerPolicy,
        engine: &Policy,
        now: Timestamp,
    ) -> Result<Vec<Decision>, PlannerPolicyError> {
        policy.check()?;
        let networks = &engine.networks;
        self.table.rails.replace(&policy.rails, networks, &engine.whitelist.hosts)?;
        self.policy = policy;
        self.groups = group_prefixes(engine);
        let mut log = self.begin(now);
        for key in self.table.keys_where(|key, _| key.kind.is_route()) {
            let Some(target) = key.target.prefix() else { continue };
            if let Err(refusal) = self.table.rails.check(&key.kind, target) {
                self.take_down(&key, &End::NotAllowed(refusal), &mut log);
            }
        }
        let subjects: Vec<Subject> = self.incidents.keys().cloned().collect();
        for subject in subjects {
            self.plan(&subject, &End::Policy, &mut log);
        }
        Ok(log.list)
    }

    /// What is up, waits, or is being withdrawn.
    pub fn mitigations(&self) -> impl Iterator<Item = &Mitigation> {
        self.table.up().chain(self.table.leaving())
    }

    /// Why no attack gets a route: for so long after the start counters may be incomplete.
    pub fn waits(&self, now: Timestamp) -> Option<Refusal> {
        let (since, grace) = (now.since(self.started?), self.policy.rails.grace_after_start);
        (since < grace).then_some(Refusal::JustStarted { seconds: since.as_secs() })
    }

    /// Who pulled the brake, while it is pulled.
    pub fn held(&self) -> Option<&str> {
        self.held.as_deref()
    }

    /// What has been counted.
    pub fn stats(&self) -> PlannerStats {
        let waits = |m: &&Mitigation| m.status == MitigationStatus::AwaitingApproval;
        let real = || self.table.up().filter(|m| !m.dry_run);
        let waiting = real().filter(waits).count();
        PlannerStats {
            incidents: self.incidents.len(),
            up: real().count() - waiting,
            waiting,
            withdrawing: self.table.leaving().count(),
            routes: self.table.rails.routes(),
            refused: self.refused,
        }
    }

    /// Takes the time. If the clock was set back, what is left of every time stays as it is; a
    /// clock that was set forward cannot be told from one that nobody read for a while.
    fn begin(&mut self, now: Timestamp) -> Log {
        let back = self.last.since(now);
        let list = std::mem::take(&mut self.unsaid);
        if back > JITTER {
            let mut log = Log { now, list };
            self.table.shift(back, &mut log);
            for incident in self.incidents.values_mut() {
                incident.shift(back);
            }
            self.started = self.started.map(|started| started - back);
            self.last = now;
            return log;
        }
        self.last = self.last.max(now);
        Log { now: self.last, list }
    }

    /// Makes sure that there is an incident for an attack that goes on. False when there is none:
    /// its group wants nothing done, or there are too many.
    fn remember(&mut self, subject: &Subject, event: &AttackEvent, log: &mut Log) -> bool {
        if self.incidents.contains_key(subject) {
            return true;
        }
        let attack = &event.attack;
        let group = &attack.reason.group;
        if self.policy.response(group, attack.direction).mode == Mode::Off {
            return false;
        }
        let most = self.policy.most_incidents;
        if self.incidents.len() >= most && !self.forget_one(log) {
            let why = Refusal::TooManyAttacks { most };
            if event.kind == AttackEventKind::Started {
                self.count(&why);
                log.push(Decided::Refused(Box::new(Refused {
                    target: attack.target.clone(),
                    direction: attack.direction,
                    group: group.clone(),
                    kind: MitigationKind::Notify,
                    why,
                })));
            }
            return false;
        }
        let incident = Incident::new(group.clone(), attack.id, log.now);
        self.incidents.insert(subject.clone(), incident);
        true
    }

    /// Forgets the victim that has rested longest.
    fn forget_one(&mut self, log: &mut Log) -> bool {
        let resting =
            self.incidents.iter().filter_map(|(subject, incident)| match incident.phase {
                Phase::Resting { since } if !incident.going_on => Some((since, subject)),
                _ => None,
            });
        let oldest = resting.min().map(|(_, subject)| subject.clone());
        oldest.is_some_and(|subject| self.forget(&subject, log))
    }

    /// Forgets a victim, also on disk if it was written down. False when there is none.
    fn forget(&mut self, subject: &Subject, log: &mut Log) -> bool {
        let Some(incident) = self.incidents.remove(subject) else { return false };
        if incident.written {
            let (target, direction) = subject.clone();
            log.push(Decided::Forgotten { target, direction });
        }
        true
    }

    /// Lets an incident's time pass, and does what follows.
    fn advance(&mut self, subject: &Subject, log: &mut Log) {
        let is_grace = self.waits(log.now).is_some();
        let Some(incident) = self.incidents.get_mut(subject) else { return };
        let response = self.policy.response(&incident.group, subject.1);
        let mut end = End::Replaced;
        if self.held.is_none() {
            let waits = incident.keys.iter().any(|key| is_waiting(&self.table, key));
            let ended = incident.advance(response, self.policy.silence, waits, log.now);
            end = ended.unwrap_or(end);
            if is_grace {
                incident.hold_ladder(response, log.now);
            }
        }
        if incident.is_forgotten(response, log.now) && incident.keys.is_empty() {
            self.forget(subject, log);
            return;
        }
        self.plan(subject, &end, log);
    }

    /// Makes what an incident supports what it wants. What it does not want any more ends by `end`.
    fn plan(&mut self, subject: &Subject, end: &End, log: &mut Log) {
        let Some(incident) = self.incidents.get_mut(subject) else { return };
        if let Some(victim) = incident.note(subject, log.now) {
            log.push(Decided::Remembered(Box::new(victim)));
        }
        let Some(incident) = self.incidents.get(subject) else { return };
        let response = self.policy.response(&incident.group, subject.1);
        let (wanted, ends) = match incident.phase {
            Phase::Acting(climb) if self.held.is_none() => {
                (self.wanted(subject, incident, climb.taken), climb.ends)
            }
            _ => (BTreeSet::new(), log.now),
        };
        let (target, direction) = subject.clone();
        let by = CausedBy::Attack { id: incident.attack, target, direction };
        let group = incident.group.clone();
        let asks = response.mode == Mode::ApproveFirst;
        let (round, most_of_group) = (incident.bans, response.most_routes);
        let (approved, known) = (incident.approved.clone(), incident.keys.clone());
        let unwanted: Vec<Key> = incident.keys.difference(&wanted).cloned().collect();
        for key in &wanted {
            let claim = Claim {
                key: key.clone(),
                cause: Cause { by: by.clone(), ends },
                direction,
                group: &group,
                most_of_group,
                round,
                ask: asks
                    && key.kind.is_route()
                    && !approved.contains(&measure_of(&key.kind))
                    && (!known.contains(key) || is_waiting(&self.table, key)),
            };
            // What takes the place of a route of before the start does not wait.
            let is_held = |one: &Key| {
                measure_of(&one.kind) == measure_of(&key.kind) && !self.is_new_route(one)
            };
            let supported = match self.waits(log.now) {
                Some(why) if !claim.ask && self.is_new_route(key) && !known.iter().any(is_held) => {
                    Err(why)
                }
                _ => self.table.support(claim, log),
            };
            self.note(subject, key, supported, log);
        }
        for key in unwanted {
            self.table.abandon(&key, &by, end, log);
            if let Some(incident) = self.incidents.get_mut(subject) {
                incident.keys.remove(&key);
            }
        }
        self.note_missing_filter(subject, log);
    }

    /// Says once that the filter step of an attack has no effect, and what follows.
    fn note_missing_filter(&mut self, subject: &Subject, log: &mut Log) {
        let Some(incident) = self.incidents.get(subject) else { return };
        let (target, direction) = subject;
        let response = self.policy.response(&incident.group, *direction);
        let Phase::Acting(climb) = incident.phase else { return };
        let ladder = steps(response);
        let step = ladder.iter().position(|step| step.measure == Measure::Filter);
        let Some(step) = step.filter(|step| *step < climb.taken) else { return };
        // Rules come with the attack, or with one of its next reports.
        let is_late = climb.taken > step + 1 || log.now >= climb.since + RULES_WAIT;
        let is_filterable = *direction == Direction::Incoming && target.prefix().is_some();
        if self.held.is_some() || !is_late || !is_filterable || !incident.rules.is_empty() {
            return;
        }
        let then = match ladder.get(step + 1) {
            Some(_) => "the ladder goes on with its next step",
            None => "the ladder has no further step",
        };
        let rule = FilterRule::all(FilterAction::Discard);
        let prefix = target.prefix().map_or_else(|| target.clone(), Target::from_prefix);
        let kind = MitigationKind::FlowSpec(rule);
        let dry_run = response.mode == Mode::DryRun;
        let key = Key::new(kind, prefix, *direction, dry_run);
        self.note(subject, &key, Err(Refusal::NoFilter { then }), log);
    }

    /// Would something be announced that is not yet?
    fn is_new_route(&self, key: &Key) -> bool {
        key.kind.is_route() && (self.table.get(key).is_none() || is_waiting(&self.table, key))
    }

    /// Remembers what an incident supports now, or says once why it may not.
    fn note(
        &mut self,
        subject: &Subject,
        key: &Key,
        supported: Result<bool, Refusal>,
        log: &mut Log,
    ) {
        let Some(incident) = self.incidents.get_mut(subject) else { return };
        let why = match supported {
            Ok(true) => {
                incident.keys.insert(key.clone());
                return;
            }
            Ok(false) => return,
            Err(why) => why,
        };
        if incident.told.insert(why.number()) {
            let refused = Refused {
                target: key.target.clone(),
                direction: subject.1,
                group: incident.group.clone(),
                kind: key.kind.clone(),
                why,
            };
            self.count(&refused.why);
            log.push(Decided::Refused(Box::new(refused)));
        }
    }

    /// What an incident wants that has taken so many steps: notices, the route of the highest step
    /// that has any, and the routes below it until it is confirmed.
    fn wanted(&self, subject: &Subject, incident: &Incident, taken: usize) -> BTreeSet<Key> {
        let (target, direction) = subject;
        let response = self.policy.response(&incident.group, *direction);
        let dry_run = response.mode == Mode::DryRun;
        let ladder = steps(response);
        let mut wanted = BTreeSet::new();
        let mut is_replaced = false;
        for step in ladder.get(..taken).unwrap_or(ladder).iter().rev() {
            if step.measure == Measure::Notify {
                let kind = MitigationKind::Notify;
                wanted.insert(Key::new(kind, target.clone(), *direction, dry_run));
                continue;
            }
            let mut keys = self.routes(step.measure, target, *direction, incident, dry_run);
            if !incident.going_on {
                // What was refused until now, or waits for a person, is not needed any more.
                let is_up = |key: &Key| incident.keys.contains(key);
                keys.retain(|key| is_up(key) && !is_waiting(&self.table, key));
            }
            if keys.is_empty() || is_replaced {
                continue;
            }
            let is_first = !wanted.iter().any(|key: &Key| key.kind.is_route());
            let active = |key: &Key| {
                self.table.get(key).is_some_and(|m| m.status == MitigationStatus::Active)
            };
            is_replaced = keys.iter().all(active);
            wanted.extend(keys.into_iter().filter(|key| is_first || incident.keys.contains(key)));
        }
        wanted
    }

    /// The routes of a measure for a target. The total of a group has none, and a filter takes what
    /// goes to a target, not what comes from it.
    fn routes(
        &self,
        measure: Measure,
        target: &Target,
        direction: Direction,
        incident: &Incident,
        dry_run: bool,
    ) -> Vec<Key> {
        let Some(prefix) = target.prefix() else { return Vec::new() };
        let key = |kind, prefix| Key::new(kind, Target::from_prefix(prefix), direction, dry_run);
        match measure {
            Measure::Notify => Vec::new(),
            Measure::Filter if direction == Direction::Outgoing => Vec::new(),
            Measure::Filter => {
                let rules = incident.rules.iter().cloned();
                rules.map(|rule| key(MitigationKind::FlowSpec(rule), prefix)).collect()
            }
            Measure::Divert => {
                vec![key(MitigationKind::Divert, self.table.rails.diverted(prefix))]
            }
            Measure::Blackhole => vec![key(MitigationKind::Blackhole, prefix)],
        }
    }

    /// Takes a mitigation down, whoever supports it.
    fn take_down(&mut self, key: &Key, end: &End, log: &mut Log) {
        let causes = self.table.take_down(key, end, log);
        for subject in subjects_of(&causes) {
            if let Some(incident) = self.incidents.get_mut(&subject) {
                incident.keys.remove(key);
            }
        }
    }

    fn count(&mut self, refusal: &Refusal) {
        if let Some(counter) = self.refused.get_mut(refusal.number()) {
            *counter = counter.saturating_add(1);
        }
    }
}

fn is_waiting(table: &Table, key: &Key) -> bool {
    table.get(key).is_some_and(|m| m.status == MitigationStatus::AwaitingApproval)
}

fn subjects_of(causes: &[Cause]) -> Vec<Subject> {
    let subject = |cause: &Cause| match &cause.by {
        CausedBy::Attack { target, direction, .. } => Some((target.clone(), *direction)),
        CausedBy::Operator { .. } => None,
    };
    causes.iter().filter_map(subject).collect()
}

const fn measure_of(kind: &MitigationKind) -> Measure {
    match kind {
        MitigationKind::Notify => Measure::Notify,
        MitigationKind::FlowSpec(_) => Measure::Filter,
        MitigationKind::Divert => Measure::Divert,
        MitigationKind::Blackhole => Measure::Blackhole,
    }
}

fn group_prefixes(engine: &Policy) -> Vec<(Prefix, String)> {
    let of = |group: &crate::policy::Group| {
        let name = group.name.clone();
        group.prefixes.iter().map(move |prefix| (*prefix, name.clone())).collect::<Vec<_>>()
    };
    engine.groups.iter().flat_map(of).collect()
}
