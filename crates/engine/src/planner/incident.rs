//! One victim in one direction: from its first attack, over pulses and repeated bans, until it is
//! forgotten. An incident knows how far up the ladder it is; it does not know any mitigation.

use std::collections::BTreeSet;
use std::time::Duration;

use tidewall_model::{AttackId, Direction, FilterRule, Target, Timestamp};

use super::decision::{End, Victim};
use super::policy::{Measure, Mode, Response, Step};
use super::table::Key;

/// While an attack is seen to go on, its mitigations are extended by so much at a time: they end
/// so long after it at the latest.
const EXTENSION: Duration = Duration::from_mins(1);

const NOTIFY: &[Step] = &[Step::new(Measure::Notify, Duration::ZERO)];

/// Who is attacked, or attacks, and in which direction.
pub(super) type Subject = (Target, Direction);

/// A victim and what was done for it.
#[derive(Debug)]
pub(super) struct Incident {
    pub group: String,
    /// Number of the newest attack.
    pub attack: AttackId,
    /// Is it known to go on?
    pub going_on: bool,
    /// When the attack was last heard of.
    pub heard: Timestamp,
    /// Filters for it, as of the newest event that had any.
    pub rules: Vec<FilterRule>,
    pub phase: Phase,
    /// Bans that ended while it was kept in mind.
    pub bans: u32,
    /// Was one of them not written down yet? ...
    pub unwritten: bool,
    /// ... and any of them ever, so that they outlive a restart?
    pub written: bool,
    /// The attack's packets by its newest event.
    packets: Option<u64>,
    /// The newest event brought none: the attack has stopped, or its source of records is silent.
    stands_still: bool,
    /// What a person agreed to.
    pub approved: BTreeSet<Measure>,
    /// Kinds of refusals that were told.
    pub told: BTreeSet<usize>,
    /// What it supports.
    pub keys: BTreeSet<Key>,
}

/// Where an incident is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Up the ladder.
    Acting(Climb),
    /// Everything was withdrawn; does the attack come back?
    Watching {
        until: Timestamp,
        /// Steps that it takes at once if it does.
        taken: usize,
    },
    /// Nothing happens; it is remembered as a repeat victim.
    Resting { since: Timestamp },
    /// A person ended it, and is not contradicted.
    HeldOff { until: Timestamp },
}

/// How far up the ladder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Climb {
    /// Steps that were taken.
    pub taken: usize,
    /// When the last one was, or when the attack was raised.
    pub since: Timestamp,
    /// When the first one was.
    pub up_since: Timestamp,
    /// When it ends.
    pub ends: Timestamp,
}

/// The steps that a response may take by its mode.
pub(super) fn steps(response: &Response) -> &[Step] {
    match response.mode {
        Mode::Off => &[],
        Mode::NotifyOnly => NOTIFY,
        Mode::DryRun | Mode::ApproveFirst | Mode::Automatic => &response.ladder,
    }
}

impl Incident {
    pub(super) const fn new(group: String, attack: AttackId, now: Timestamp) -> Self {
        Self {
            group,
            attack,
            going_on: false,
            heard: now,
            rules: Vec::new(),
            phase: Phase::Resting { since: now },
            bans: 0,
            unwritten: false,
            written: false,
            packets: None,
            stands_still: false,
            approved: BTreeSet::new(),
            told: BTreeSet::new(),
            keys: BTreeSet::new(),
        }
    }

    /// Takes what an event says of the attack: a newer attack, or more packets of the same.
    pub(super) fn learn(&mut self, attack: AttackId, packets: u64, started: bool) {
        let is_same = self.attack == attack && !started;
        let is_known = |known| packets <= known;
        self.stands_still = is_same && self.packets.is_some_and(is_known);
        (self.attack, self.packets) = (attack, Some(packets));
    }

    /// The attack goes on, or came back.
    pub(super) fn excess(&mut self, response: &Response, now: Timestamp) {
        (self.going_on, self.heard) = (true, now);
        match self.phase {
            Phase::Acting(_) => {}
            Phase::HeldOff { until } if now < until => {}
            Phase::Watching { until, taken } if now <= until => self.climb(taken, response, now),
            Phase::Watching { .. } | Phase::HeldOff { .. } => self.climb(0, response, now),
            Phase::Resting { since } => {
                if now.since(since) > response.repeat_within {
                    self.bans = 0;
                }
                self.climb(0, response, now);
            }
        }
    }

    fn climb(&mut self, taken: usize, response: &Response, now: Timestamp) {
        let ends = now + response.ban_time_of(self.bans);
        let taken = taken.min(steps(response).len());
        self.phase = Phase::Acting(Climb { taken, since: now, up_since: now, ends });
    }

    /// The attack is over.
    pub(super) const fn over(&mut self, now: Timestamp) {
        (self.going_on, self.heard) = (false, now);
    }

    /// Lets time pass. `waits` says that a person has to agree to the step that was taken last.
    /// Gives the reason when the end has come for what is up.
    pub(super) fn advance(
        &mut self,
        response: &Response,
        silence: Duration,
        waits: bool,
        now: Timestamp,
    ) -> Option<End> {
        if now.since(self.heard) > silence {
            self.going_on = false;
        }
        match self.phase {
            Phase::Acting(climb) => self.act(climb, response, waits, now),
            Phase::Watching { until, .. } => {
                if now >= until {
                    self.rest(now);
                }
                None
            }
            Phase::Resting { .. } => None,
            Phase::HeldOff { until } => {
                if now >= until {
                    self.rest(now);
                    if self.going_on {
                        self.climb(0, response, now);
                        return self.advance(response, silence, false, now);
                    }
                }
                None
            }
        }
    }

    /// A route of the step that was taken last could not be put up yet: the time until the next step
    /// begins when it can be.
    pub(super) fn hold_ladder(&mut self, response: &Response, now: Timestamp) {
        if let Phase::Acting(climb) = &mut self.phase
            && let Some(last) = climb.taken.checked_sub(1)
            && steps(response).get(last).is_some_and(|step| step.measure != Measure::Notify)
        {
            climb.since = now;
        }
    }

    fn act(
        &mut self,
        mut climb: Climb,
        response: &Response,
        waits: bool,
        now: Timestamp,
    ) -> Option<End> {
        let ladder = steps(response);
        climb.taken = climb.taken.min(ladder.len());
        if climb.taken == 0 && !self.going_on {
            self.rest(now);
            return Some(End::AttackOver);
        }
        while let Some(step) = ladder.get(climb.taken)
            && self.going_on
            && !self.stands_still
            && !waits
            && now >= climb.since + step.after
        {
            if climb.taken == 0 {
                climb.up_since = now;
            }
            climb.taken += 1;
            climb.since = now;
            climb.ends = climb.ends.max(now + response.ban_time_of(self.bans));
        }
        if now >= climb.ends && self.going_on && response.only_if_finished {
            climb.ends = now + EXTENSION.min(response.ban_time);
        }
        self.phase = Phase::Acting(climb);
        let taken = ladder.get(..climb.taken).unwrap_or_default();
        let is_seen = !taken.iter().any(|step| step.hides_traffic);
        let end = if now >= climb.ends {
            End::Expired
        } else if is_seen && !self.going_on && now >= climb.up_since + response.minimum {
            End::AttackOver
        } else {
            return None;
        };
        self.count_ban();
        self.phase = Phase::Watching { until: now + response.probe, taken: climb.taken };
        Some(end)
    }

    /// What is up, if anything is, ends now.
    fn count_ban(&mut self) {
        if !self.keys.is_empty() {
            self.bans = self.bans.saturating_add(1);
            self.unwritten = true;
        }
    }

    /// A person ended it.
    pub(super) fn hold_off(&mut self, until: Timestamp) {
        self.count_ban();
        self.phase = Phase::HeldOff { until };
        self.forget_talk();
    }

    /// Nothing is done any more.
    pub(super) fn rest(&mut self, now: Timestamp) {
        self.phase = Phase::Resting { since: now };
        self.forget_talk();
    }

    fn forget_talk(&mut self) {
        self.approved.clear();
        self.told.clear();
    }

    /// What is to be written down of its bans, if that is new.
    pub(super) fn note(&mut self, subject: &Subject, now: Timestamp) -> Option<Victim> {
        if !self.unwritten {
            return None;
        }
        (self.unwritten, self.written) = (false, true);
        let since = match self.phase {
            Phase::Acting(_) => now,
            Phase::Watching { until, .. } | Phase::HeldOff { until } => until,
            Phase::Resting { since } => since,
        };
        let (target, direction) = subject.clone();
        Some(Victim { target, direction, group: self.group.clone(), bans: self.bans, since })
    }

    /// Is there nothing left to keep in mind?
    pub(super) fn is_forgotten(&self, response: &Response, now: Timestamp) -> bool {
        let Phase::Resting { since } = self.phase else { return false };
        let nothing_done = self.bans == 0;
        !self.going_on && (nothing_done || now.since(since) > response.repeat_within)
    }

    /// The clock was set back.
    pub(super) fn shift(&mut self, back: Duration) {
        self.heard = self.heard - back;
        match &mut self.phase {
            Phase::Acting(climb) => {
                for time in [&mut climb.since, &mut climb.up_since, &mut climb.ends] {
                    *time = *time - back;
                }
            }
            Phase::Watching { until: time, .. }
            | Phase::Resting { since: time }
            | Phase::HeldOff { until: time } => *time = *time - back,
        }
    }
}
