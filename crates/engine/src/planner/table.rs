//! The mitigations that are up and those that are being withdrawn. Each is up as long as somebody
//! supports it; routes hold their permission from the rails for as long as anything of them may be
//! left.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewall_model::{
    Cause, CausedBy, Direction, Mitigation, MitigationId, MitigationKind, MitigationOutcome,
    MitigationStatus, Target, Timestamp,
};

use super::decision::{Change, Decided, Decision, End};
use super::rails::{AllowedTarget, Rails, Refusal, Wish};

/// Longest text of an action that is kept, in characters.
const LONGEST_TEXT: usize = 512;

/// What makes two mitigations the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub dry_run: bool,
    pub kind: MitigationKind,
    pub target: Target,
    /// Only of notices: a route is one route, whatever it was made for.
    pub direction: Option<Direction>,
}

impl Key {
    pub(super) fn new(
        kind: MitigationKind,
        target: Target,
        direction: Direction,
        dry_run: bool,
    ) -> Self {
        let direction = (!kind.is_route()).then_some(direction);
        Self { dry_run, kind, target, direction }
    }

    fn of(mitigation: &Mitigation) -> Self {
        let Mitigation { kind, target, direction, dry_run, .. } = mitigation;
        Self::new(kind.clone(), target.clone(), *direction, *dry_run)
    }
}

/// Somebody wants a mitigation to be up.
#[derive(Debug)]
pub(super) struct Claim<'a> {
    pub key: Key,
    pub cause: Cause,
    pub direction: Direction,
    pub group: &'a str,
    pub most_of_group: usize,
    pub round: u32,
    /// A person must agree first.
    pub ask: bool,
}

/// What a mitigation holds.
#[derive(Debug)]
enum Permit {
    /// It announces nothing.
    None,
    /// It waits until a person agrees.
    Waiting,
    /// It is or may still be announced.
    Route(AllowedTarget),
}

#[derive(Debug)]
struct Entry {
    mitigation: Mitigation,
    permit: Permit,
}

/// All mitigations.
#[derive(Debug)]
pub(super) struct Table {
    pub rails: Rails,
    up: BTreeMap<Key, Entry>,
    leaving: BTreeMap<Key, Entry>,
    keys: BTreeMap<MitigationId, Key>,
    next_id: u64,
}

/// Decisions of one call, all of one time.
#[derive(Debug)]
pub(super) struct Log {
    pub now: Timestamp,
    pub list: Vec<Decision>,
}

impl Log {
    pub(super) fn push(&mut self, what: Decided) {
        self.list.push(Decision { time: self.now, what });
    }

    fn change(&mut self, change: Change, mitigation: &Mitigation) {
        self.push(Decided::Mitigation(change, Box::new(mitigation.clone())));
    }
}

impl Table {
    pub(super) const fn new(rails: Rails) -> Self {
        Self {
            rails,
            up: BTreeMap::new(),
            leaving: BTreeMap::new(),
            keys: BTreeMap::new(),
            next_id: 1,
        }
    }

    /// Numbers below this were given by an earlier run.
    pub(super) fn begin_at(&mut self, next_id: u64) {
        self.next_id = self.next_id.max(next_id);
    }

    /// Adds a cause to a mitigation, and puts it up if it is not yet. False when the cause has to
    /// wait for a person's agreement while the mitigation is up for other reasons.
    pub(super) fn support(&mut self, claim: Claim<'_>, log: &mut Log) -> Result<bool, Refusal> {
        if let Some(entry) = self.up.get(&claim.key) {
            match (matches!(entry.permit, Permit::Waiting), claim.ask) {
                (false, true) => return Ok(false),
                (true, false) => {
                    let permit = self.permit(&claim.key, claim.group, claim.most_of_group, log)?;
                    self.put_up(&claim.key, permit, Change::Apply, log);
                }
                _ => {}
            }
            self.add_cause(&claim.key, claim.cause, log);
            return Ok(true);
        }
        let permit = match claim.key.target.prefix() {
            Some(target) if claim.ask && claim.key.kind.is_route() => {
                self.rails.check(&claim.key.kind, target)?;
                Permit::Waiting
            }
            _ => self.permit(&claim.key, claim.group, claim.most_of_group, log)?,
        };
        let id = MitigationId(self.next_id);
        self.next_id += 1;
        let entry = Entry { mitigation: begin(id, claim, &permit, log.now), permit };
        let change = match entry.permit {
            Permit::Waiting => Change::Ask,
            _ => Change::Apply,
        };
        log.change(change, &entry.mitigation);
        let key = Key::of(&entry.mitigation);
        self.keys.insert(id, key.clone());
        self.up.insert(key, entry);
        Ok(true)
    }

    /// The permission to put this up now. What was being withdrawn of it is superseded.
    fn permit(
        &mut self,
        key: &Key,
        group: &str,
        most_of_group: usize,
        log: &mut Log,
    ) -> Result<Permit, Refusal> {
        let held = match self.leaving.get(key) {
            Some(Entry { permit: Permit::Route(allowed), .. }) => {
                self.rails.renew(&key.kind, allowed, log.now)?;
                true
            }
            _ => false,
        };
        let new = match key.target.prefix() {
            Some(target) if key.kind.is_route() && !held => {
                let Key { kind, dry_run, .. } = key;
                let wish = Wish { kind, target, group, most_of_group, dry_run: *dry_run };
                Permit::Route(self.rails.admit(&wish, log.now)?)
            }
            _ => Permit::None,
        };
        let Some(mut old) = self.leaving.remove(key) else { return Ok(new) };
        self.keys.remove(&old.mitigation.id);
        old.mitigation.status = MitigationStatus::Withdrawn;
        log.change(Change::Gone(End::Superseded), &old.mitigation);
        Ok(if held { old.permit } else { new })
    }

    fn put_up(&mut self, key: &Key, permit: Permit, change: Change, log: &mut Log) {
        let Some(entry) = self.up.get_mut(key) else { return };
        entry.mitigation.status = first_status(key.dry_run);
        entry.mitigation.created = log.now;
        if let Permit::Route(allowed) = &permit {
            entry.mitigation.network = Some(allowed.network());
        }
        entry.permit = permit;
        log.change(change, &entry.mitigation);
    }

    fn add_cause(&mut self, key: &Key, cause: Cause, log: &mut Log) {
        let Some(Entry { mitigation, .. }) = self.up.get_mut(key) else { return };
        match mitigation.causes.iter_mut().find(|c| is_same(&c.by, &cause.by)) {
            Some(known) if *known == cause => return,
            Some(known) => *known = cause,
            None => mitigation.causes.push(cause),
        }
        mitigation.ends = last_end(mitigation);
        log.change(Change::Update, mitigation);
    }

    /// Takes a cause away, and the mitigation down when it was the last.
    pub(super) fn abandon(&mut self, key: &Key, by: &CausedBy, end: &End, log: &mut Log) {
        let Some(Entry { mitigation, .. }) = self.up.get_mut(key) else { return };
        let before = mitigation.causes.len();
        mitigation.causes.retain(|cause| !is_same(&cause.by, by));
        if mitigation.causes.is_empty() {
            self.take_down(key, end, log);
        } else if mitigation.causes.len() < before {
            mitigation.ends = last_end(mitigation);
            log.change(Change::Update, mitigation);
        }
    }

    /// Takes a mitigation down, whoever supports it. Gives back its causes.
    pub(super) fn take_down(&mut self, key: &Key, end: &End, log: &mut Log) -> Vec<Cause> {
        let Some(Entry { mut mitigation, permit }) = self.up.remove(key) else { return Vec::new() };
        let causes = mitigation.causes.clone();
        mitigation.ends = mitigation.ends.min(log.now);
        match permit {
            Permit::Waiting => {
                mitigation.status = MitigationStatus::Withdrawn;
                self.keys.remove(&mitigation.id);
                log.change(Change::Gone(end.clone()), &mitigation);
            }
            permit if key.dry_run => {
                mitigation.status = MitigationStatus::Withdrawn;
                self.keys.remove(&mitigation.id);
                log.change(Change::Withdraw(end.clone()), &mitigation);
                self.release(permit);
            }
            permit => {
                mitigation.status = MitigationStatus::Withdrawing;
                log.change(Change::Withdraw(end.clone()), &mitigation);
                self.leaving.insert(key.clone(), Entry { mitigation, permit });
            }
        }
        causes
    }

    fn release(&mut self, permit: Permit) {
        if let Permit::Route(allowed) = permit {
            self.rails.release(allowed);
        }
    }

    /// A mitigation of this number, unless it is being withdrawn.
    pub(super) fn find(&self, id: MitigationId) -> Option<&Mitigation> {
        let found = self.up.get(self.keys.get(&id)?)?;
        (found.mitigation.id == id).then_some(&found.mitigation)
    }

    /// A person agrees. Gives the causes of what is put up; `None` when nothing of that number
    /// waits.
    pub(super) fn approve(
        &mut self,
        id: MitigationId,
        most_of_group: usize,
        who: &str,
        log: &mut Log,
    ) -> Option<Result<Vec<Cause>, Refusal>> {
        let waiting =
            self.find(id).filter(|m| m.status == MitigationStatus::AwaitingApproval)?.clone();
        let key = Key::of(&waiting);
        let permit = match self.permit(&key, &waiting.group, most_of_group, log) {
            Ok(permit) => permit,
            Err(refusal) => return Some(Err(refusal)),
        };
        self.put_up(&key, permit, Change::Approve { who: who.to_owned() }, log);
        Some(Ok(waiting.causes))
    }

    /// An action's answer. Gives back the causes of the mitigation if its status is new.
    pub(super) fn report(
        &mut self,
        id: MitigationId,
        outcome: MitigationOutcome,
        log: &mut Log,
    ) -> Vec<Cause> {
        let Some(key) = self.keys.get(&id).cloned() else { return Vec::new() };
        let is_it = |entry: &&mut Entry| entry.mitigation.id == id;
        if let Some(Entry { mitigation, permit }) = self.up.get_mut(&key).filter(is_it) {
            let status = match outcome {
                _ if key.dry_run || matches!(permit, Permit::Waiting) => return Vec::new(),
                MitigationOutcome::Applied => MitigationStatus::Active,
                MitigationOutcome::Failed(why) => MitigationStatus::Failed(cut(&why, LONGEST_TEXT)),
                MitigationOutcome::Withdrawn => {
                    MitigationStatus::Failed("the action has lost it".to_owned())
                }
            };
            if mitigation.status == status {
                return Vec::new();
            }
            mitigation.status = status;
            log.change(Change::Update, mitigation);
            return mitigation.causes.clone();
        }
        if outcome == MitigationOutcome::Withdrawn
            && let Some(mut entry) = self.leaving.remove(&key)
        {
            self.keys.remove(&id);
            entry.mitigation.status = MitigationStatus::Withdrawn;
            log.change(Change::Gone(End::Confirmed), &entry.mitigation);
            self.release(entry.permit);
        }
        Vec::new()
    }

    /// Ends the manual bans whose time is over.
    pub(super) fn expire_manual(&mut self, log: &mut Log) {
        let over =
            |cause: &Cause| matches!(cause.by, CausedBy::Operator { .. }) && cause.ends <= log.now;
        let expired: Vec<(Key, CausedBy)> = (self.up.iter())
            .flat_map(|(key, entry)| entry.mitigation.causes.iter().map(move |c| (key, c)))
            .filter(|(_, cause)| over(cause))
            .map(|(key, cause)| (key.clone(), cause.by.clone()))
            .collect();
        for (key, by) in expired {
            self.abandon(&key, &by, &End::Expired, log);
        }
    }

    /// A mitigation that was up, or waited, before a restart. It must not be up already.
    pub(super) fn restore(&mut self, mut mitigation: Mitigation, log: &mut Log) -> Option<Key> {
        let key = Key::of(&mitigation);
        if self.up.contains_key(&key) || mitigation.dry_run {
            mitigation.status = MitigationStatus::Withdrawn;
            log.change(Change::Gone(End::Superseded), &mitigation);
            return None;
        }
        self.keys.insert(mitigation.id, key.clone());
        self.begin_at(mitigation.id.0.saturating_add(1));
        if mitigation.status == MitigationStatus::AwaitingApproval {
            let permit = Permit::Waiting;
            self.up.insert(key.clone(), Entry { mitigation, permit });
            return Some(key);
        }
        let permit = self.readmit(&key, &mitigation.group);
        match permit {
            Ok(permit) => {
                mitigation.status = MitigationStatus::Pending;
                log.change(Change::Apply, &mitigation);
                self.up.insert(key.clone(), Entry { mitigation, permit });
                Some(key)
            }
            Err(refusal) => {
                self.restore_leaving(mitigation, End::NotAllowed(refusal), log);
                None
            }
        }
    }

    /// A mitigation of before a restart that must not be up.
    pub(super) fn restore_leaving(&mut self, mut mitigation: Mitigation, end: End, log: &mut Log) {
        let key = Key::of(&mitigation);
        self.begin_at(mitigation.id.0.saturating_add(1));
        if self.up.contains_key(&key) || self.leaving.contains_key(&key) {
            mitigation.status = MitigationStatus::Withdrawn;
            log.change(Change::Gone(End::Superseded), &mitigation);
            return;
        }
        let permit = self.readmit(&key, &mitigation.group).unwrap_or(Permit::None);
        mitigation.status = MitigationStatus::Withdrawing;
        self.keys.insert(mitigation.id, key.clone());
        log.change(Change::Withdraw(end), &mitigation);
        self.leaving.insert(key, Entry { mitigation, permit });
    }

    fn readmit(&mut self, key: &Key, group: &str) -> Result<Permit, Refusal> {
        let Some(target) = key.target.prefix().filter(|_| key.kind.is_route()) else {
            return Ok(Permit::None);
        };
        let Key { kind, dry_run, .. } = key;
        let wish = Wish { kind, target, group, most_of_group: usize::MAX, dry_run: *dry_run };
        self.rails.readmit(&wish).map(Permit::Route)
    }

    /// The clock was set back: what is left of every time stays as it is.
    pub(super) fn shift(&mut self, back: Duration, log: &mut Log) {
        self.rails.shift(back);
        for entry in self.up.values_mut() {
            let mitigation = &mut entry.mitigation;
            mitigation.created = mitigation.created - back;
            for cause in &mut mitigation.causes {
                cause.ends = cause.ends - back;
            }
            mitigation.ends = last_end(mitigation);
            log.change(Change::Update, mitigation);
        }
    }

    /// Keys of what is up and fulfils a condition.
    pub(super) fn keys_where(&self, wanted: impl Fn(&Key, &Mitigation) -> bool) -> Vec<Key> {
        let is_wanted = |(key, entry): &(&Key, &Entry)| wanted(key, &entry.mitigation);
        self.up.iter().filter(is_wanted).map(|(key, _)| key.clone()).collect()
    }

    /// A mitigation that is up or waits.
    pub(super) fn get(&self, key: &Key) -> Option<&Mitigation> {
        self.up.get(key).map(|entry| &entry.mitigation)
    }

    /// What is up or waits.
    pub(super) fn up(&self) -> impl Iterator<Item = &Mitigation> {
        self.up.values().map(|entry| &entry.mitigation)
    }

    /// What is being withdrawn.
    pub(super) fn leaving(&self) -> impl Iterator<Item = &Mitigation> {
        self.leaving.values().map(|entry| &entry.mitigation)
    }
}

/// A new mitigation. A route's target is the one that its permission holds.
fn begin(id: MitigationId, claim: Claim<'_>, permit: &Permit, now: Timestamp) -> Mitigation {
    let Claim { key, cause, direction, group, round, .. } = claim;
    let (target, network) = match permit {
        Permit::Route(allowed) => (Target::from_prefix(allowed.target()), Some(allowed.network())),
        Permit::None | Permit::Waiting => (key.target, None),
    };
    let status = match permit {
        Permit::Waiting => MitigationStatus::AwaitingApproval,
        _ => first_status(key.dry_run),
    };
    Mitigation {
        id,
        kind: key.kind,
        target,
        network,
        group: group.to_owned(),
        direction,
        ends: cause.ends,
        causes: vec![cause],
        created: now,
        round,
        dry_run: key.dry_run,
        status,
    }
}

/// Nobody confirms a dry run.
const fn first_status(dry_run: bool) -> MitigationStatus {
    if dry_run { MitigationStatus::Active } else { MitigationStatus::Pending }
}

fn last_end(mitigation: &Mitigation) -> Timestamp {
    mitigation.causes.iter().map(|cause| cause.ends).max().unwrap_or(mitigation.ends)
}

/// Are these one cause? An attack is known by its target and direction; of all people together
/// there is one, so that a newer request replaces an older one.
fn is_same(a: &CausedBy, b: &CausedBy) -> bool {
    match (a, b) {
        (
            CausedBy::Attack { target: t, direction: d, .. },
            CausedBy::Attack { target, direction, .. },
        ) => t == target && d == direction,
        (CausedBy::Operator { .. }, CausedBy::Operator { .. }) => true,
        _ => false,
    }
}

/// At most so many characters, none of which moves the cursor of a terminal.
pub(super) fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
