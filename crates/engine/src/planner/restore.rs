//! The planner after a restart: what was up is put up again if it still may be, what was being
//! withdrawn is withdrawn, attacks that had mitigations are taken to go on until it is clear that
//! they do not, and victims of bans that have ended are repeat victims still.

use std::time::Duration;

use tidewall_model::{
    AttackId, CausedBy, Mitigation, MitigationKind, MitigationStatus, Target, Timestamp,
};

use super::decision::{Decided, Decision, End, Victim};
use super::incident::{Climb, Incident, Phase, Subject, steps};
use super::table::Log;
use super::{Planner, measure_of};

/// What the journal knows of an earlier run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Every mitigation that was up, waited, or was being withdrawn; its status tells which.
    pub mitigations: Vec<Mitigation>,
    /// The first number that was never given to a mitigation.
    pub next_id: u64,
    /// Who had pulled the brake, if it was pulled.
    pub held: Option<String>,
    /// Victims whose bans had ended.
    pub victims: Vec<Victim>,
}

impl Planner {
    /// Takes over from an earlier run. To be called once, before anything else.
    pub fn restore(&mut self, saved: Saved, now: Timestamp) -> Vec<Decision> {
        let mut log = self.begin(now);
        self.table.begin_at(saved.next_id);
        self.held = saved.held;
        self.started = Some(log.now);
        self.remember_victims(saved.victims, &mut log);
        let (leaving, mut up): (Vec<Mitigation>, Vec<Mitigation>) =
            saved.mitigations.into_iter().partition(|m| m.status == MitigationStatus::Withdrawing);
        up.sort_by_key(|mitigation| mitigation.id);
        for mut mitigation in up {
            self.bound_ends(&mut mitigation, log.now);
            self.count_ended(&mitigation, log.now);
            mitigation.causes.retain(|cause| cause.ends > log.now);
            let Some(ends) = mitigation.causes.iter().map(|cause| cause.ends).max() else {
                self.table.restore_leaving(mitigation, End::Expired, &mut log);
                continue;
            };
            mitigation.ends = ends;
            if let Some(who) = &self.held {
                let end = End::Panic { who: who.clone() };
                self.table.restore_leaving(mitigation, end, &mut log);
                continue;
            }
            if let Some(key) = self.table.restore(mitigation, &mut log)
                && let Some(mitigation) = self.table.get(&key).cloned()
            {
                for subject in self.recall(&mitigation, log.now) {
                    if let Some(incident) = self.incidents.get_mut(&subject) {
                        incident.keys.insert(key.clone());
                    }
                }
            }
        }
        for mitigation in leaving {
            self.table.restore_leaving(mitigation, End::Restart, &mut log);
        }
        let subjects: Vec<Subject> = self.incidents.keys().cloned().collect();
        for subject in subjects {
            self.plan(&subject, &End::Policy, &mut log);
        }
        log.list
    }

    /// Puts the victims back that are repeat victims still; of too many, those that rest shortest.
    fn remember_victims(&mut self, mut victims: Vec<Victim>, log: &mut Log) {
        victims.sort_by_key(|victim| std::cmp::Reverse(victim.since));
        for victim in victims {
            let Victim { target, direction, group, bans, since } = victim;
            let within = self.policy.response(&group, direction).repeat_within;
            // The clock may have been wrong when it was written down.
            let since = since.min(log.now);
            let is_full = self.incidents.len() >= self.policy.most_incidents;
            if is_full || bans == 0 || log.now.since(since) > within {
                log.push(Decided::Forgotten { target, direction });
                continue;
            }
            let mut incident = Incident::new(group, AttackId(0), log.now);
            incident.phase = Phase::Resting { since };
            (incident.bans, incident.written) = (bans, true);
            self.incidents.insert((target, direction), incident);
        }
    }

    /// Bans of attacks that would have ended while the program did not run have ended.
    fn count_ended(&mut self, mitigation: &Mitigation, now: Timestamp) {
        if mitigation.status == MitigationStatus::AwaitingApproval {
            return;
        }
        for cause in mitigation.causes.iter().filter(|cause| cause.ends <= now) {
            let CausedBy::Attack { id, target, direction } = &cause.by else { continue };
            let subject = (target.clone(), *direction);
            let group = || mitigation.group.clone();
            let new = || Incident::new(group(), *id, now);
            let incident = self.incidents.entry(subject).or_insert_with(new);
            incident.bans = incident.bans.max(mitigation.round.saturating_add(1));
            incident.unwritten = true;
            incident.phase = Phase::Resting { since: cause.ends };
        }
    }

    /// The clock may have been wrong when the ends were written down: none is later than a ban that
    /// begins now would end.
    fn bound_ends(&self, mitigation: &mut Mitigation, now: Timestamp) {
        for cause in &mut mitigation.causes {
            let most: Duration = match &cause.by {
                CausedBy::Attack { direction, .. } => {
                    self.policy.response(&mitigation.group, *direction).longest
                }
                CausedBy::Operator { .. } => self.policy.longest_manual,
            };
            cause.ends = cause.ends.min(now + most);
        }
        mitigation.created = mitigation.created.min(now);
    }

    /// The incidents behind a mitigation.
    fn recall(&mut self, mitigation: &Mitigation, now: Timestamp) -> Vec<Subject> {
        let mut subjects: Vec<Subject> = Vec::new();
        for cause in &mitigation.causes {
            let CausedBy::Attack { id, target, direction } = &cause.by else { continue };
            let subject: (Target, _) = (target.clone(), *direction);
            let response = self.policy.response(&mitigation.group, *direction);
            let incident = self
                .incidents
                .entry(subject.clone())
                .or_insert_with(|| Incident::new(mitigation.group.clone(), *id, now));
            incident.going_on = true;
            incident.bans = incident.bans.max(mitigation.round);
            if mitigation.status != MitigationStatus::AwaitingApproval {
                incident.approved.insert(measure_of(&mitigation.kind));
            }
            if let MitigationKind::FlowSpec(rule) = &mitigation.kind {
                incident.rules.push(rule.clone());
            }
            let is_step = |measure| measure == measure_of(&mitigation.kind);
            let at = steps(response).iter().rposition(|step| is_step(step.measure));
            let (taken, up_since) = (at.map_or(0, |at| at + 1), mitigation.created);
            let climb = Climb { taken, since: now, up_since, ends: cause.ends };
            incident.phase = match incident.phase {
                Phase::Acting(known) => Phase::Acting(Climb {
                    taken: known.taken.max(taken),
                    since: now,
                    up_since: known.up_since.min(up_since),
                    ends: known.ends.max(cause.ends),
                }),
                _ => Phase::Acting(climb),
            };
            subjects.push(subject);
        }
        subjects
    }
}
