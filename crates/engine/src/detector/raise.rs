//! Raising attacks: whether a subject's limits are exceeded now, and the first description of the
//! attack that begins.

use std::time::Duration;

use tidewall_model::{
    Attack, AttackClass, AttackEventKind, AttackId, Family, Reason, Target, Timestamp, TopTuples,
    TrafficClass,
};

use crate::arena::{IN, OUT, Side, direction_of};
use crate::detector::Notice;
use crate::evidence::RuleSettings;
use crate::policy::{DirectedLimits, Policy};
use crate::subject::{Subject, Total};
use crate::watch::{Active, Finding, State, Times};

/// Who is limited, by which limits of which group.
#[derive(Clone, Debug)]
pub struct Owner<'a> {
    /// As it is named in an attack.
    pub target: Target,
    /// Name of the group.
    pub group: &'a str,
    /// Its limits.
    pub limits: &'a DirectedLimits,
}

impl Total {
    /// Whose limits a total has.
    pub fn owner<'a>(&'a self, policy: &'a Policy) -> Owner<'a> {
        let group = &policy.groups[self.group as usize].name;
        Owner { target: self.target.clone(), group, limits: &self.limits }
    }
}

/// Raises attacks at one moment, and notes what is to be told of it.
#[derive(Debug)]
pub struct Raiser<'a> {
    rule: &'a RuleSettings,
    slice: Duration,
    window: Duration,
    now: Timestamp,
    next_id: &'a mut u64,
    /// What is to be told.
    pub notices: Vec<Notice>,
}

impl<'a> Raiser<'a> {
    /// Nothing is to be told yet.
    pub const fn new(
        rule: &'a RuleSettings,
        slice: Duration,
        window: Duration,
        now: Timestamp,
        next_id: &'a mut u64,
    ) -> Self {
        Self { rule, slice, window, now, next_id, notices: Vec::new() }
    }

    /// Notes news of attacks, by side.
    pub fn tell(&mut self, subject: Subject, news: [Option<AttackEventKind>; 2]) {
        for (side, kind) in news.into_iter().enumerate() {
            self.notices.extend(kind.map(|kind| Notice { kind, subject, side }));
        }
    }

    /// Raises an attack where a limit is exceeded and none is raised yet.
    pub fn find(&mut self, subject: Subject, state: &mut State, owner: &Owner<'_>) {
        let sides = [&owner.limits.incoming, &owner.limits.outgoing];
        for side in [IN, OUT] {
            if state.is_attacked(side) {
                continue;
            }
            let Some(finding) = state.sides[side].finding(sides[side], self.rule) else { continue };
            let attack = self.describe(state, side, &finding, owner);
            let active = Active { attack, last_above: self.now, last_event: self.now };
            state.sides[side].active = Some(Box::new(active));
            *self.next_id += 1;
            self.notices.push(Notice { kind: AttackEventKind::Started, subject, side });
        }
    }

    /// An attack that begins now, as far as the counters know it.
    fn describe(&self, state: &State, side: Side, finding: &Finding, owner: &Owner<'_>) -> Attack {
        let since = finding.excess.since.max(self.slice);
        let times = Times { since, slice: self.slice, window: self.window };
        let rates = state.rates(side, times);
        let opposite = state.ordinary_rates(1 - side, times);
        let total = rates.get(TrafficClass::Total);
        let seconds = since.as_secs_f64();
        Attack {
            id: AttackId(*self.next_id),
            family: owner.target.family().unwrap_or(Family::V4),
            target: owner.target.clone(),
            direction: direction_of(side),
            class: AttackClass::Unknown,
            vectors: Vec::new(),
            reason: reason_of(finding, side, owner.group),
            started: self.now - since,
            detected: self.now,
            ended: None,
            peak_pps: total.packets,
            peak_bps: total.bytes.saturating_mul(8),
            // A flow is distinct within a window: what was counted in a part of one is not a rate.
            peak_flows: (rates.flows as f64 * seconds.min(1.0)) as u64,
            packets: (total.packets as f64 * seconds) as u64,
            bytes: (total.bytes as f64 * seconds) as u64,
            rates,
            opposite,
            top: TopTuples::default(),
            samples: Vec::new(),
            filters: Vec::new(),
        }
    }
}

fn reason_of(finding: &Finding, side: Side, group: &str) -> Reason {
    let window_ms = u64::try_from(finding.excess.window.as_millis()).unwrap_or(u64::MAX);
    let counted = finding.excess.value * finding.excess.window.as_secs_f64();
    Reason {
        metric: finding.metric,
        direction: direction_of(side),
        value: finding.excess.value,
        limit: finding.limit,
        group: group.to_owned(),
        window_ms,
        samples: finding.excess.samples.unwrap_or(counted as u64),
    }
}
