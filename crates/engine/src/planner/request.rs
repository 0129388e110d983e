//! What people ask for: a ban, its end, their agreement, and the brake. Every request carries who
//! asked, and a ban is held by the same rails as the planner's own.

use std::time::Duration;

use thiserror::Error;
use tidewall_model::{
    Cause, CausedBy, Direction, MitigationId, MitigationKind, Prefix, Target, Timestamp,
};

use super::decision::{Decided, Decision, End};
use super::incident::{Phase, Subject};
use super::rails::Refusal;
use super::table::{Claim, Key, Log, cut};
use super::{Planner, measure_of, subjects_of};

/// Longest name of a person that is kept, in characters.
const LONGEST_NAME: usize = 128;
/// Longest reason that is kept, in characters.
const LONGEST_REASON: usize = 1024;
/// Name of the group of hosts that are in no other.
const GLOBAL: &str = "global";

/// A person wants a mitigation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanRequest {
    /// A host or prefix of ours.
    pub target: Prefix,
    /// What is done. Notices go out besides.
    pub kind: MitigationKind,
    /// Direction of the traffic that it is for.
    pub direction: Direction,
    /// For how long; `None` for the configured time.
    pub lasts: Option<Duration>,
    /// Who asks.
    pub who: String,
    /// What was said about it.
    pub why: String,
}

/// A person wants everything about a target to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnbanRequest {
    /// Exactly the host or prefix that is mitigated.
    pub target: Prefix,
    /// Who asks.
    pub who: String,
    /// What was said about it.
    pub why: String,
}

/// Why a request is not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// The rails do not allow it.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The brake is pulled.
    #[error("{who} has stopped all mitigation; resume it first")]
    Held {
        /// Who pulled the brake.
        who: String,
    },
    /// It would last too long, or not at all.
    #[error("a ban must last 1 second to {most:?}, not {given:?}")]
    Time {
        /// What was asked for.
        given: Duration,
        /// The most.
        most: Duration,
    },
    /// Nothing is done for this target.
    #[error("nothing is done for {target}")]
    NothingToEnd {
        /// Which target.
        target: Prefix,
    },
    /// No mitigation of that number waits for an answer.
    #[error("no mitigation with the number {id} waits for approval")]
    NotWaiting {
        /// Which number.
        id: MitigationId,
    },
    /// The brake is not pulled.
    #[error("mitigation is not stopped")]
    NotHeld,
}

impl Planner {
    /// A person wants a mitigation. A newer request for the same takes the place of an older one.
    pub fn ban(
        &mut self,
        request: &BanRequest,
        now: Timestamp,
    ) -> Result<Vec<Decision>, RequestError> {
        if let Some(who) = &self.held {
            return Err(RequestError::Held { who: who.clone() });
        }
        let (given, most) =
            (request.lasts.unwrap_or(self.policy.manual_time), self.policy.longest_manual);
        if given < Duration::from_secs(1) || given > most {
            return Err(RequestError::Time { given, most });
        }
        let mut log = self.begin(now);
        // What may not be announced may not be told to a script either: it would announce it.
        if let Err(refusal) = self.table.rails.check(&request.kind, request.target) {
            return Err(self.refuse(refusal, log));
        }
        let group = self.group_of(request.target);
        let most_of_group = self.policy.response(&group, request.direction).most_routes;
        let who = cut(&request.who, LONGEST_NAME);
        let by = CausedBy::Operator { who, why: cut(&request.why, LONGEST_REASON) };
        let ends = log.now + given;
        let mut kinds = vec![request.kind.clone()];
        if request.kind.is_route() {
            kinds.push(MitigationKind::Notify);
        }
        for kind in kinds {
            let target = Target::from_prefix(request.target);
            let claim = Claim {
                key: Key::new(kind, target, request.direction, false),
                cause: Cause { by: by.clone(), ends },
                direction: request.direction,
                group: &group,
                most_of_group,
                round: 0,
                ask: false,
            };
            if let Err(refusal) = self.table.support(claim, &mut log) {
                return Err(self.refuse(refusal, log));
            }
        }
        Ok(log.list)
    }

    /// A person wants everything about a target to end. Nothing is done for it again for a while
    /// unless somebody asks.
    pub fn unban(
        &mut self,
        request: &UnbanRequest,
        now: Timestamp,
    ) -> Result<Vec<Decision>, RequestError> {
        let mut log = self.begin(now);
        let who = cut(&request.who, LONGEST_NAME);
        let end = End::Operator { who, why: cut(&request.why, LONGEST_REASON) };
        let keys = self.table.keys_where(|key, _| key.target.prefix() == Some(request.target));
        let is_target = |subject: &&Subject| subject.0.prefix() == Some(request.target);
        let acting = self.incidents.iter().filter(|(_, incident)| {
            matches!(incident.phase, Phase::Acting(_) | Phase::Watching { .. })
        });
        let mut subjects: Vec<Subject> =
            acting.map(|(subject, _)| subject).filter(is_target).cloned().collect();
        if keys.is_empty() && subjects.is_empty() {
            self.unsaid = log.list;
            return Err(RequestError::NothingToEnd { target: request.target });
        }
        for key in &keys {
            let causes = self.table.get(key).map(|m| m.causes.clone()).unwrap_or_default();
            subjects.extend(subjects_of(&causes));
        }
        let until = log.now + self.policy.unban_hold;
        for subject in subjects {
            if let Some(incident) = self.incidents.get_mut(&subject) {
                incident.hold_off(until);
            }
            self.plan(&subject, &end, &mut log);
        }
        for key in &keys {
            self.take_down(key, &end, &mut log);
        }
        Ok(log.list)
    }

    /// A person agrees to a mitigation that waits.
    pub fn approve(
        &mut self,
        id: MitigationId,
        who: &str,
        now: Timestamp,
    ) -> Result<Vec<Decision>, RequestError> {
        if let Some(who) = &self.held {
            return Err(RequestError::Held { who: who.clone() });
        }
        let mut log = self.begin(now);
        let who = cut(who, LONGEST_NAME);
        let Some(waiting) = self.table.find(id).cloned() else {
            self.unsaid = log.list;
            return Err(RequestError::NotWaiting { id });
        };
        let most = self.policy.response(&waiting.group, waiting.direction).most_routes;
        let causes = match self.table.approve(id, most, &who, &mut log) {
            None => {
                self.unsaid = log.list;
                return Err(RequestError::NotWaiting { id });
            }
            Some(Err(refusal)) => return Err(self.refuse(refusal, log)),
            Some(Ok(causes)) => causes,
        };
        for subject in subjects_of(&causes) {
            let Some(incident) = self.incidents.get_mut(&subject) else { continue };
            incident.approved.insert(measure_of(&waiting.kind));
            let response = self.policy.response(&incident.group, subject.1);
            if let Phase::Acting(climb) = &mut incident.phase {
                climb.since = log.now;
                climb.ends = climb.ends.max(log.now + response.ban_time_of(incident.bans));
            }
            self.plan(&subject, &End::Replaced, &mut log);
        }
        Ok(log.list)
    }

    /// The brake: everything is withdrawn, and nothing is done until somebody resumes.
    pub fn panic(&mut self, who: &str, now: Timestamp) -> Vec<Decision> {
        let mut log = self.begin(now);
        let who = cut(who, LONGEST_NAME);
        self.held = Some(who.clone());
        log.push(Decided::Held { who: who.clone() });
        let end = End::Panic { who };
        for incident in self.incidents.values_mut() {
            incident.rest(log.now);
            incident.keys.clear();
        }
        for key in self.table.keys_where(|_, _| true) {
            self.table.take_down(&key, &end, &mut log);
        }
        log.list
    }

    /// Lets the brake go. What is attacked now is answered from the first step on; manual bans are
    /// not put back.
    pub fn resume(&mut self, who: &str, now: Timestamp) -> Result<Vec<Decision>, RequestError> {
        if self.held.is_none() {
            return Err(RequestError::NotHeld);
        }
        let mut log = self.begin(now);
        self.held = None;
        log.push(Decided::Resumed { who: cut(who, LONGEST_NAME) });
        let subjects: Vec<Subject> = self.incidents.keys().cloned().collect();
        for subject in subjects {
            let Some(incident) = self.incidents.get_mut(&subject) else { continue };
            let is_heard = log.now.since(incident.heard) <= self.policy.silence;
            if incident.going_on && is_heard {
                let heard = incident.heard;
                incident.excess(self.policy.response(&incident.group, subject.1), log.now);
                incident.heard = heard;
            }
            self.advance(&subject, &mut log);
        }
        Ok(log.list)
    }

    fn refuse(&mut self, refusal: Refusal, log: Log) -> RequestError {
        self.count(&refusal);
        self.unsaid = log.list;
        refusal.into()
    }

    /// Host group of a prefix: that of the longest group prefix around it.
    fn group_of(&self, target: Prefix) -> String {
        let around = self.groups.iter().filter(|(prefix, _)| prefix.covers(target));
        around
            .max_by_key(|(prefix, _)| prefix.len())
            .map_or_else(|| GLOBAL.to_owned(), |(_, name)| name.clone())
    }
}
