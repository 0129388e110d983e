//! What people, scripts and stores are told: events of attacks, bans and their ends, each with what
//! is known of the attack. Every action has a thread and a queue of its own, so that one of them can
//! come or go while the others go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidewall_actions::{ActionEvent, ActionKind, ActionStatus, Actions, Config, Observer, Outcome};
use tidewall_model::{
    Attack, AttackEvent, AttackEventKind, Direction, Mitigation, Prefix, Target, Timestamp,
};
use tracing::{debug, warn};

use super::captures::writes_frames;
use super::recall;

/// Attacks that are remembered with their samples; of further ones only the numbers are kept.
const WITH_SAMPLES: usize = 2_000;
/// An action that is not configured any more gets so long to do what it was told before.
const DRAIN: Duration = Duration::from_mins(5);

/// Who is attacked, or attacks, and in which direction.
pub(super) type Subject = (Target, Direction);

/// One action that runs.
struct Runner {
    config: Config,
    actions: Actions,
    /// Events that it had lost when that was last told.
    lost_told: u64,
}

/// What is known of a victim.
#[derive(Debug)]
struct Known {
    attack: Attack,
    going_on: bool,
    heard: Timestamp,
}

/// The actions, and what they are told from.
pub(super) struct Notices {
    runners: Vec<Runner>,
    known: BTreeMap<Subject, Known>,
    networks: Vec<Prefix>,
    /// Actions that are gone and still have something to do.
    leaving: Vec<JoinHandle<()>>,
}

/// Actions that were checked and can be started.
pub(super) struct Checked(Vec<(Config, Arc<dyn tidewall_actions::Action>)>);

/// Makes actions of settings, or says what is wrong with them. Nothing is started.
pub(super) fn check(configs: &[Config]) -> anyhow::Result<Checked> {
    let mut names = BTreeSet::new();
    let mut list = Vec::new();
    for config in configs {
        let action = config.clone().build()?;
        if !names.insert(action.name().to_owned()) {
            anyhow::bail!(
                "two actions have the name `{}`: give one of them another",
                action.name()
            );
        }
        list.push((config.clone(), action));
    }
    Ok(Checked(list))
}

impl Notices {
    /// Starts the actions.
    pub(super) fn start(actions: Checked, networks: &[Prefix]) -> anyhow::Result<Self> {
        let mut notices = Self {
            runners: Vec::new(),
            known: BTreeMap::new(),
            networks: networks.to_vec(),
            leaving: Vec::new(),
        };
        for (config, action) in actions.0 {
            notices.runners.push(Runner::start(config, action)?);
        }
        Ok(notices)
    }

    /// Goes on with other actions: those whose settings are the same stay as they are. Says what is
    /// new.
    pub(super) fn replace(
        &mut self,
        actions: Checked,
        networks: &[Prefix],
    ) -> anyhow::Result<Option<&'static str>> {
        self.networks = networks.to_vec();
        let mut old: Vec<Option<Runner>> =
            std::mem::take(&mut self.runners).into_iter().map(Some).collect();
        let mut is_new = false;
        let mut failed = None;
        for (config, action) in actions.0 {
            let same =
                old.iter_mut().find_map(|slot| slot.take_if(|runner| runner.config == config));
            match same {
                Some(runner) => self.runners.push(runner),
                None => match Runner::start(config, action) {
                    Ok(runner) => {
                        is_new = true;
                        self.runners.push(runner);
                    }
                    Err(error) => failed = Some(error),
                },
            }
        }
        for runner in old.into_iter().flatten() {
            is_new = true;
            self.leaving.extend(end_beside(runner.actions, DRAIN));
        }
        self.leaving.retain(|thread| !thread.is_finished());
        failed.map_or(Ok(is_new.then_some("actions")), Err)
    }

    /// Takes no more events and gives those that are queued so long. Gives threads that end then.
    pub(super) fn stop(&mut self, drain: Duration) -> Vec<JoinHandle<()>> {
        let runners = std::mem::take(&mut self.runners).into_iter();
        runners.filter_map(|runner| end_beside(runner.actions, drain)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.runners.is_empty()
    }

    /// How the actions are, each with its kind.
    pub(super) fn status(&self) -> Vec<(&'static str, ActionStatus)> {
        let runners = self.runners.iter();
        runners
            .flat_map(|runner| {
                let kind = runner.config.kind();
                runner.actions.status().into_iter().map(move |status| (kind, status))
            })
            .collect()
    }

    /// Tells what was lost since this was last told.
    pub(super) fn tell_losses(&mut self) {
        for runner in &mut self.runners {
            for status in runner.actions.status() {
                if status.dropped > runner.lost_told {
                    warn!(
                        "action {}: {} events were lost because too many waited",
                        status.name,
                        status.dropped - runner.lost_told
                    );
                    runner.lost_told = status.dropped;
                }
            }
        }
    }

    /// Notes what happened to an attack.
    pub(super) fn learn(&mut self, event: &AttackEvent) {
        let attack = &event.attack;
        let subject = (attack.target.clone(), attack.direction);
        // What was known of it does not count towards the most.
        self.known.remove(&subject);
        let going_on = event.kind != AttackEventKind::Ended;
        let mut attack = attack.clone();
        if !going_on || self.known.len() >= WITH_SAMPLES {
            attack.samples = Vec::new();
        }
        let heard = event.time;
        self.known.insert(subject, Known { attack, going_on, heard });
    }

    /// What was known of a victim before a restart.
    pub(super) fn remember(&mut self, attack: Attack, heard: Timestamp) {
        let subject = (attack.target.clone(), attack.direction);
        self.known.insert(subject, Known { attack, going_on: false, heard });
    }

    /// Attacks that are known to go on, and when each was last heard of.
    pub(super) fn going_on(&self) -> impl Iterator<Item = (&Attack, Timestamp)> {
        let known = self.known.values().filter(|known| known.going_on);
        known.map(|known| (&known.attack, known.heard))
    }

    /// Is this attack known to go on?
    pub(super) fn knows(&self, attack: &Attack) -> bool {
        let known = self.known.get(&(attack.target.clone(), attack.direction));
        known.is_some_and(|known| known.going_on && known.attack.id == attack.id)
    }

    /// Forgets the victims of whom nothing is going on.
    pub(super) fn forget<'a>(&mut self, mitigations: impl Iterator<Item = &'a Mitigation>) {
        let held: BTreeSet<Subject> = mitigations.map(subject_of).collect();
        self.known.retain(|subject, known| known.going_on || held.contains(subject));
    }

    /// An event of an attack, for the actions.
    pub(super) fn of_attack(&self, event: &AttackEvent) -> Arc<ActionEvent> {
        let network = self.network(&event.attack.target);
        Arc::new(ActionEvent { network, ..ActionEvent::from(event.clone()) })
    }

    /// The beginning or the end of a ban, for the actions.
    pub(super) fn of_ban(
        &self,
        kind: ActionKind,
        mitigation: &Mitigation,
        note: String,
        now: Timestamp,
    ) -> Arc<ActionEvent> {
        let known = self.known.get(&subject_of(mitigation));
        let attack = known.map_or_else(
            || recall::stand_in(mitigation),
            |known| {
                let mut attack = known.attack.clone();
                attack.reason.group.clone_from(&mitigation.group);
                attack
            },
        );
        Arc::new(ActionEvent {
            kind,
            time: now,
            attack,
            network: self.network(&mitigation.target),
            ban_seconds: mitigation.ends.since(mitigation.created).as_secs(),
            manual: recall::operator(mitigation).is_some(),
            note,
            frames: Vec::new(),
        })
    }

    /// Gives an event to every action that wants it.
    pub(super) fn tell(&self, event: &Arc<ActionEvent>) {
        for runner in &self.runners {
            // What is lost is counted, and told once a second.
            _ = runner.actions.submit(event);
        }
    }

    /// Gives a capture to the actions that write frames.
    pub(super) fn tell_capture(&self, event: &Arc<ActionEvent>) {
        for runner in self.runners.iter().filter(|runner| writes_frames(&runner.config)) {
            _ = runner.actions.submit(event);
        }
    }

    /// The longest of our networks around a target.
    fn network(&self, target: &Target) -> Option<Prefix> {
        let target = target.prefix()?;
        let around = self.networks.iter().filter(|network| network.covers(target));
        around.max_by_key(|network| network.len()).copied()
    }
}

impl Runner {
    fn start(config: Config, action: Arc<dyn tidewall_actions::Action>) -> anyhow::Result<Self> {
        let observer: Observer = Arc::new(|outcome: &Outcome<'_>| log_attempt(outcome));
        let queue = config.queue();
        let actions = Actions::start(vec![(action, queue)], &observer)?;
        Ok(Self { config, actions, lost_told: 0 })
    }
}

fn log_attempt(outcome: &Outcome<'_>) {
    let Outcome { action, event, attempt, error, again } = outcome;
    let (target, what) = (&event.attack.target, event.kind.verb());
    match error {
        None => debug!("action {action}: told {what} of {target}"),
        Some(error) if !again => warn!("action {action}: {what} of {target}: {error}"),
        Some(error) if *attempt == 1 => {
            warn!("action {action}: {what} of {target}: {error}; it is tried again");
        }
        Some(error) => debug!("action {action}: {what} of {target}: {error}; again"),
    }
}

/// Lets an action do what it was told, on a thread of its own.
fn end_beside(actions: Actions, drain: Duration) -> Option<JoinHandle<()>> {
    let builder = thread::Builder::new().name("actions end".to_owned());
    // Without a thread the action is dropped with the closure, which ends it at once.
    builder.spawn(move || drop(actions.shutdown(drain))).ok()
}

fn subject_of(mitigation: &Mitigation) -> Subject {
    (mitigation.target.clone(), mitigation.direction)
}
