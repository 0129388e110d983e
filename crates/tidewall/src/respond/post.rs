//! The responder's post: everything that its thread owns, and what is done with each message. Time
//! is an argument. Decisions are gathered, written to the journal, and only then carried out; what
//! became of them may lead to further ones.

mod missed;
mod written;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tidewall_actions::bgp::Audience;
use tidewall_actions::routes::NoRoute;
use tidewall_actions::{ActionEvent, ActionKind, RouteOutcome};
use tidewall_bgp::RouteKey;
use tidewall_engine::planner::{Decision, Mode, Planner, Saved};
use tidewall_model::{
    AttackEvent, FilterRule, Mitigation, MitigationCommand, MitigationId, MitigationOutcome,
    MitigationStatus, Timestamp,
};
use tracing::{info, warn};

use super::answer::Reply;
use super::captures::Captures;
use super::desired::{DesiredRoutes, Order, Told};
use super::endings::Endings;
use super::notices::Notices;
use super::outlet::Ending;
use super::outlets::{Change, Outlets};
use super::settings::Settings;
use super::words;
use crate::journal::{Journal, PastDecision};
use crate::live::frames::FrameTap;
use crate::live::hub::Hub;

/// After a loss of events, and at the start, attacks are compared with the hub's for so long.
const RECONCILE: Duration = Duration::from_secs(5);
/// A ban that is older than this was told before the restart: an action's queue has done or given
/// up by then what it held.
const TOLD_AFTER: Duration = Duration::from_mins(15);

/// Who ends what is withdrawn because the service ends.
const ENDING: &str = "the service, which was told to end";

/// What the post is made of.
pub(super) struct Parts {
    pub settings: Settings,
    pub planner: Planner,
    pub journal: Option<Journal>,
    pub notices: Notices,
    pub outlets: Outlets,
    pub hub: Arc<Hub>,
    pub frames: Arc<FrameTap>,
    /// Events of the hub that were lost.
    pub lost: Arc<AtomicU64>,
}

/// What the responder's thread owns.
pub(super) struct Post {
    pub(super) settings: Settings,
    pub(super) planner: Planner,
    pub(super) journal: Option<Journal>,
    pub(super) notices: Notices,
    pub(super) outlets: Outlets,
    /// What other announcers need, opened and not yet taken into use.
    pub(super) prepared: Option<Change>,
    pub(super) desired: DesiredRoutes,
    pub(super) captures: Captures,
    hub: Arc<Hub>,
    lost: Arc<AtomicU64>,
    lost_seen: u64,
    /// What waits to be written ...
    decisions: Vec<Decision>,
    /// ... and then carried out, in this order.
    steps: Vec<Step>,
    /// Who is answered once everything is carried out.
    pub(super) answers: Vec<(Reply, Result<Value, String>)>,
    /// What became of notices.
    outcomes: Vec<(MitigationId, MitigationOutcome)>,
    pub(super) endings: Endings,
    /// Bans that were told before a restart.
    told_before: BTreeSet<MitigationId>,
    journal_fails: bool,
    next_prune: Timestamp,
    reconcile_until: Timestamp,
}

/// What an announcer is to be told: its number, and the route for whom.
type Wanted = (usize, RouteKey, Told);

/// One thing to do once everything is written.
enum Step {
    Tell(Arc<ActionEvent>),
    /// The decision of this position.
    Carry(usize),
}

impl Post {
    pub(super) fn new(parts: Parts, now: Timestamp) -> Self {
        let Parts { settings, planner, journal, notices, outlets, hub, frames, lost } = parts;
        let captures = Captures::new(frames);
        captures.enable_for(&settings.actions);
        Self {
            settings,
            planner,
            journal,
            notices,
            outlets,
            prepared: None,
            desired: DesiredRoutes::default(),
            captures,
            hub,
            lost,
            lost_seen: 0,
            decisions: Vec::new(),
            steps: Vec::new(),
            answers: Vec::new(),
            outcomes: Vec::new(),
            endings: Endings::default(),
            told_before: BTreeSet::new(),
            journal_fails: false,
            next_prune: now + written::PRUNE_EVERY,
            reconcile_until: now + RECONCILE,
        }
    }

    /// Takes over from an earlier run, and gives the announcers their first desired set.
    pub(super) fn begin(&mut self, saved: Saved, now: Timestamp) {
        self.recall(&saved.mitigations, now);
        for mitigation in &saved.mitigations {
            let is_old = now.since(mitigation.created) > TOLD_AFTER;
            if mitigation.status == MitigationStatus::Active && is_old {
                self.told_before.insert(mitigation.id);
            }
        }
        let decisions = self.planner.restore(saved, now);
        self.decide(decisions);
        self.settle(now);
        self.told_before.clear();
        let all: Vec<usize> = self.outlets.iter().map(|(id, _)| id).collect();
        for id in all {
            self.begin_outlet(id, now);
        }
    }

    /// Gives an announcer its first desired set; withdrawals that are not confirmed follow.
    pub(super) fn begin_outlet(&mut self, id: usize, now: Timestamp) {
        let (desired, leaving) = (self.desired.desired_of(id), self.desired.leaving_of(id));
        let Some(outlet) = self.outlets.get_mut(id) else { return };
        outlet.set(desired, now);
        for key in leaving {
            outlet.withdraw(key, Audience::All, true);
        }
    }

    /// Something happened to an attack.
    pub(super) fn event(&mut self, event: &AttackEvent, now: Timestamp) {
        if let Some(journal) = &mut self.journal {
            journal.attack(event);
        }
        self.notices.learn(event);
        let attack = &event.attack;
        let response = self.settings.planner.response(&attack.reason.group, attack.direction);
        if response.mode != Mode::Off && !self.notices.is_empty() {
            self.steps.push(Step::Tell(self.notices.of_attack(event)));
        }
        let rules: Vec<FilterRule> = attack.filters.iter().map(|one| one.rule.clone()).collect();
        let decisions = self.planner.attack(event, &rules, now);
        self.decide(decisions);
    }

    /// A second has passed.
    pub(super) fn tick(&mut self, now: Timestamp) {
        let lost = self.lost.load(Ordering::Relaxed);
        if lost != self.lost_seen {
            warn!(
                "{} events of attacks came too fast; the attacks are compared with the detector's",
                lost - self.lost_seen
            );
            self.lost_seen = lost;
            self.reconcile_until = now + RECONCILE;
        }
        if now <= self.reconcile_until {
            self.reconcile(now);
        }
        let decisions = self.planner.tick(now);
        self.decide(decisions);
        self.poll(now);
        self.settle(now);
        for capture in self.captures.ended(now) {
            self.notices.tell_capture(&capture);
        }
        self.notices.forget(self.planner.mitigations());
        self.notices.tell_losses();
        self.keep_journal(now);
    }

    /// What a daemon says of a route, by its number.
    pub(super) fn outcome(&mut self, id: usize, outcome: RouteOutcome) {
        self.desired.outcome(id, outcome.key, outcome.outcome);
    }

    /// Asks the announcers that do not tell by themselves, and looks after those that change.
    pub(super) fn poll(&mut self, now: Timestamp) {
        for (id, outlet) in self.outlets.iter_mut() {
            for (key, outcome) in outlet.poll(now) {
                self.desired.outcome(id, key, outcome);
            }
        }
        self.tend_outlets(now);
    }

    /// Is an answer waited for that has to be asked for?
    pub(super) fn is_pending(&self) -> bool {
        self.outlets.is_pending()
    }

    /// Gathers decisions.
    pub(super) fn decide(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            self.steps.push(Step::Carry(self.decisions.len()));
            self.decisions.push(decision);
        }
    }

    /// Writes everything that was gathered, then carries it out; and what follows from it.
    pub(super) fn settle(&mut self, now: Timestamp) {
        loop {
            for (id, outcome) in self.desired.reports(&self.outlets.names()) {
                if outcome == MitigationOutcome::Applied {
                    info!(mitigation = id.0, "mitigation {id} is announced");
                }
                let decisions = self.planner.report(id, outcome, now);
                self.decide(decisions);
            }
            for id in self.endings.told() {
                let decisions = self.planner.report(id, MitigationOutcome::Withdrawn, now);
                self.decide(decisions);
            }
            if self.steps.is_empty() {
                return self.reply();
            }
            let decisions = std::mem::take(&mut self.decisions);
            let steps = std::mem::take(&mut self.steps);
            self.write(&decisions);
            let quiet = self.notices.is_empty();
            for step in steps {
                match step {
                    Step::Tell(event) => self.notices.tell(&event),
                    Step::Carry(at) => {
                        if let Some(decision) = decisions.get(at) {
                            words::log(decision, quiet);
                            self.carry_out(decision, now);
                        }
                    }
                }
            }
            for (id, outcome) in std::mem::take(&mut self.outcomes) {
                let decisions = self.planner.report(id, outcome, now);
                self.decide(decisions);
            }
        }
    }

    fn carry_out(&mut self, decision: &Decision, now: Timestamp) {
        match decision.command() {
            None => {}
            Some(MitigationCommand::Apply(mitigation)) if mitigation.kind.is_route() => {
                let orders = self.apply_route(&mitigation);
                self.order(orders, now);
            }
            Some(MitigationCommand::Withdraw(mitigation)) if mitigation.kind.is_route() => {
                if !self.desired.knows(mitigation.id) {
                    // Of an earlier run: announcers may still have it.
                    _ = self.apply_route(&mitigation);
                }
                let orders = self.desired.withdraw(mitigation.id);
                self.order(orders, now);
            }
            Some(MitigationCommand::Apply(mitigation)) => {
                if !self.told_before.contains(&mitigation.id) {
                    self.tell_ban(ActionKind::Banned, &mitigation, decision, now);
                }
                self.outcomes.push((mitigation.id, MitigationOutcome::Applied));
            }
            Some(MitigationCommand::Withdraw(mitigation)) => {
                self.tell_ban(ActionKind::Unbanned, &mitigation, decision, now);
            }
        }
    }

    fn tell_ban(
        &mut self,
        kind: ActionKind,
        mitigation: &Mitigation,
        decision: &Decision,
        now: Timestamp,
    ) {
        if self.notices.is_empty() {
            if kind == ActionKind::Unbanned {
                self.outcomes.push((mitigation.id, MitigationOutcome::Withdrawn));
            }
            return;
        }
        let past = PastDecision::from(decision);
        let note = match (past.who, past.why.unwrap_or_default()) {
            (Some(who), why) => format!("{who}: {why}"),
            (None, why) => why,
        };
        let event = self.notices.of_ban(kind, mitigation, note, now);
        self.notices.tell(&event);
        if kind == ActionKind::Banned {
            self.captures.begin(&event, now);
        } else {
            self.endings.watch(mitigation.id, &event);
        }
    }

    /// Wants the routes of a mitigation of every announcer that has any for it.
    fn apply_route(&mut self, mitigation: &Mitigation) -> Vec<Order> {
        let (wanted, refusals) = self.wanted(mitigation);
        self.desired.apply(mitigation.id, wanted, refusals)
    }

    /// What announcers are to be told for a mitigation, and why some are not.
    pub(super) fn wanted(&self, mitigation: &Mitigation) -> (Vec<Wanted>, Vec<String>) {
        let (mut wanted, mut refusals) = (Vec::new(), Vec::new());
        for (at, outlet) in self.outlets.staying() {
            match outlet.told(mitigation) {
                Ok((key, told)) => wanted.push((at, key, told)),
                Err(NoRoute::NotConfigured { .. }) => {}
                Err(why) => refusals.push(format!("{}: {why}", outlet.name)),
            }
        }
        if wanted.is_empty() && refusals.is_empty() {
            refusals.push(format!(
                "no [bgp], [exabgp] or [gobgp] is configured for {}",
                mitigation.kind.name()
            ));
        }
        (wanted, refusals)
    }

    /// Tells announcers. Before their first desired set they are told nothing: it has all of it.
    pub(super) fn order(&mut self, orders: Vec<Order>, now: Timestamp) {
        for order in orders {
            match order {
                Order::Announce(at, desired) => {
                    if let Some(outlet) = self.outlets.get_mut(at) {
                        outlet.announce(*desired, now);
                    }
                }
                Order::Withdraw(at, key, audience) => {
                    let last = self.desired.wanted_by(at, &key).is_empty();
                    if let Some(outlet) = self.outlets.get_mut(at) {
                        outlet.withdraw(key, audience, last);
                    }
                }
            }
        }
    }

    /// Withdraws everything because the service ends. The journal then knows that nothing is up.
    pub(super) fn withdraw_all(&mut self, now: Timestamp) {
        // The brake of this planner is not the operator's: it ends with it.
        let mut decisions = self.planner.panic(ENDING, now);
        decisions.retain(|decision| {
            !matches!(decision.what, tidewall_engine::planner::Decided::Held { .. })
        });
        self.decide(decisions);
        self.settle(now);
    }

    /// Ends the announcers, each on a thread of its own.
    pub(super) fn end_outlets(&mut self, withdraw: bool) -> Vec<JoinHandle<()>> {
        self.outlets.end_all(if withdraw { Ending::Withdraw } else { Ending::Keep })
    }
}
