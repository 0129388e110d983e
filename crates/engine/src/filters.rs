//! Filters for an attack: the few rules that take most of its sampled packets and hardly any of
//! what the target normally receives. Runs in the detector, when an attack is raised and when its
//! traffic has changed, over bounded samples; the result depends on nothing but its arguments.
//! `docs/filters.md` says how rules are chosen, and what they do to real attacks.

mod bits;
mod search;
mod terms;

#[cfg(test)]
mod tests;

use tidewall_model::{FilterAction, FilterRule, FlowRecord, ProposedFilter, TcpFlags, protocol};

use crate::amplifiers::Amplifiers;
use bits::{Bits, Records};
use search::{Bounds, Candidate, Search};

/// With fewer remembered openings of connections, nothing is known of how clients open theirs.
const LEAST_OPENINGS: usize = 5;
/// A rule that only slows traffic down lets at least so many bytes per second pass.
const LEAST_RATE: f64 = 12_500.0;
/// Most of the normal connections' openings, of answers to the target's own, or of its UDP that
/// discarding rules may take: they are few packets on which much depends.
const CONVERSATION_BUDGET: f64 = 0.1;
/// Rules stand as long as they take this part of the attack ...
const STILL_GOOD: f64 = 0.9;
/// ... or other ones would not take this much more: each change is one on routers.
const WORTH_A_CHANGE: f64 = 0.1;

/// How rules are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterSettings {
    /// Most rules of an attack.
    pub most_rules: usize,
    /// Part of the normal packets that all discarding rules together may take.
    pub budget: f64,
    /// The same of all rules that only slow traffic down.
    pub rate_limit_budget: f64,
    /// A further rule must take this part of the attack ...
    pub least_gain: f64,
    /// ... and none is wanted when this part is taken.
    pub enough: f64,
    /// Rules that take less than this together are not proposed: other measures serve better.
    pub least_coverage: f64,
    /// With fewer remembered records nothing is known of the target's normal traffic.
    pub least_remembered: usize,
}

impl Default for FilterSettings {
    fn default() -> Self {
        Self {
            most_rules: 4,
            budget: 0.01,
            rate_limit_budget: 0.1,
            least_gain: 0.02,
            enough: 0.99,
            least_coverage: 0.5,
            least_remembered: 20,
        }
    }
}

/// What rules are made from.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// Records of the attack, without what else the target received.
    pub attack: &'a [FlowRecord],
    /// What the target received before the attack.
    pub normal: &'a [FlowRecord],
    /// From which ports only reflections come.
    pub amplifiers: &'a Amplifiers,
    /// Bytes per second that may pass in all.
    pub tolerable: f64,
}

impl Evidence<'_> {
    /// The same with only what can be gone by: too few remembered records are none.
    fn judged_by(mut self, settings: &FilterSettings) -> Self {
        if self.normal.len() < settings.least_remembered {
            self.normal = &[];
        }
        self
    }

    /// The best rules; none when no few rules fit.
    pub fn propose(&self, settings: &FilterSettings) -> Vec<ProposedFilter> {
        self.judged_by(settings).best(settings)
    }

    fn best(&self, settings: &FilterSettings) -> Vec<ProposedFilter> {
        let chosen = self.choose(settings);
        let rules = chosen.into_iter().map(|(candidate, action)| FilterRule {
            action: self.rate(&candidate, action),
            ..candidate.rule
        });
        let proposed = self.measure(rules.collect());
        let coverage: f64 = proposed.iter().map(|filter| filter.coverage).sum();
        if coverage < settings.least_coverage { Vec::new() } else { proposed }
    }

    /// The rules in force as they do now, if they still fit; otherwise new ones.
    pub fn renew(&self, old: &[ProposedFilter], settings: &FilterSettings) -> Vec<ProposedFilter> {
        let judged = self.judged_by(settings);
        if old.is_empty() {
            return self.propose(settings);
        }
        let now = judged.measure(old.iter().map(|filter| filter.rule.clone()).collect());
        let coverage = |filters: &[ProposedFilter]| filters.iter().map(|f| f.coverage).sum::<f64>();
        if coverage(&now) >= STILL_GOOD {
            return now;
        }
        let new = judged.best(settings);
        if coverage(&new) >= coverage(&now) + WORTH_A_CHANGE { new } else { now }
    }

    /// What rules do, in their order: those that take nothing are left out.
    fn measure(&self, rules: Vec<FilterRule>) -> Vec<ProposedFilter> {
        let attack = Records::new(self.attack);
        let normal = Records::new(self.normal);
        let mut left = Bits::all(self.attack.len());
        let mut proposed = Vec::with_capacity(rules.len());
        for rule in rules {
            let takes = attack.which(|record| rule.matches(record));
            let coverage = attack.share(&takes.and(&left));
            left = left.without(&takes);
            let touched = || normal.share(&normal.which(|record| rule.may_touch(record)));
            let collateral = (!normal.is_empty()).then(touched);
            if coverage > 0.0 {
                proposed.push(ProposedFilter { rule, coverage, collateral });
            }
        }
        proposed
    }

    /// Greedily: each rule is the best for what those before it leave. First what can be
    /// discarded, then what can be slowed down.
    fn choose(&self, settings: &FilterSettings) -> Vec<(Candidate, FilterAction)> {
        let search = Search::new(self.attack, self.normal, settings.least_gain);
        let mut chosen: Vec<(Candidate, FilterAction)> = Vec::new();
        let mut left = Bits::all(self.attack.len());
        let openings = search.attack.which(is_opening);
        let remembered = self.normal.iter().filter(|record| is_opening(record)).count();
        let discard = |touched: &Bits, candidate: &Candidate| {
            let opens = remembered < LEAST_OPENINGS
                && candidate.rule.source.is_none()
                && candidate.attack.and(&openings).iter().next().is_some();
            if self.normal.is_empty() || opens {
                return self.is_never_normal(&candidate.rule);
            }
            let all = touched.or(&candidate.normal);
            search.normal.share(&all) <= settings.budget
                && Self::conversations(&search)
                    .all(|(those, budget)| search.normal.share_of(&all, &those) <= budget)
        };
        let slow = |touched: &Bits, candidate: &Candidate| {
            let all = touched.or(&candidate.normal);
            search.normal.share(&all) <= settings.rate_limit_budget
        };
        let passes: [(FilterAction, Bounds<'_>); 2] =
            [(FilterAction::Discard, &discard), (FilterAction::RateLimit(0), &slow)];
        for (action, allowed) in passes {
            let mut touched = Bits::none(self.normal.len());
            while chosen.len() < settings.most_rules
                && search.attack.share(&left) > 1.0 - settings.enough
            {
                let allowed = |candidate: &Candidate| allowed(&touched, candidate);
                let Some(best) = search.best(&left, &touched, &allowed) else { break };
                left = left.without(&best.attack);
                touched = touched.or(&best.normal);
                chosen.push((best, action));
            }
        }
        Self::without_needless(chosen, &search, settings)
    }

    /// Leaves out rules that later ones have made needless.
    fn without_needless(
        mut chosen: Vec<(Candidate, FilterAction)>,
        search: &Search<'_>,
        settings: &FilterSettings,
    ) -> Vec<(Candidate, FilterAction)> {
        let mut at = 0;
        while at < chosen.len() {
            let mut alone = chosen[at].0.attack.clone();
            for (_, (other, _)) in chosen.iter().enumerate().filter(|(of, _)| *of != at) {
                alone = alone.without(&other.attack);
            }
            if search.attack.share(&alone) < settings.least_gain {
                chosen.remove(at);
            } else {
                at += 1;
            }
        }
        chosen
    }

    /// Normal packets on which more depends than their number tells, each with the part of them
    /// that may be taken.
    fn conversations(search: &Search<'_>) -> impl Iterator<Item = (Bits, f64)> + use<> {
        let answers = |r: &FlowRecord| r.tcp_flags.has(TcpFlags::SYN | TcpFlags::ACK);
        let normal = &search.normal;
        [
            normal.which(is_opening),
            normal.which(|r| r.protocol == protocol::TCP && answers(r)),
            normal.which(|r| r.protocol == protocol::UDP),
        ]
        .into_iter()
        .map(|those| (those, CONVERSATION_BUDGET))
    }

    /// Does it take nothing that an ordinary host receives? Ports of services that nobody asks
    /// over the Internet, and flags that no connection has.
    fn is_never_normal(&self, rule: &FilterRule) -> bool {
        let reflects = |(first, last): &(u16, u16)| {
            let amplifier = self.amplifiers.get(*first);
            first == last && amplifier.is_some_and(|amplifier| amplifier.min_remotes <= 1)
        };
        let reflected = rule.protocol == Some(protocol::UDP)
            && !rule.source_ports.is_empty()
            && rule.source_ports.iter().all(reflects);
        reflected || rule.tcp_flags.is_some_and(terms::is_impossible)
    }

    /// The action with its rate: what is tolerable, in proportion to what the rule takes.
    fn rate(&self, candidate: &Candidate, action: FilterAction) -> FilterAction {
        match action {
            FilterAction::Discard => FilterAction::Discard,
            FilterAction::RateLimit(_) => {
                let share = Records::new(self.attack).share(&candidate.attack);
                FilterAction::RateLimit((self.tolerable * share).max(LEAST_RATE) as u64)
            }
        }
    }
}

/// Does it open a connection?
fn is_opening(record: &FlowRecord) -> bool {
    let flags = record.tcp_flags;
    record.protocol == protocol::TCP && flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK)
}
