//! The search for the next rule: conditions are added to a protocol as long as that makes the rule
//! better, and only the most promising beginnings are followed. The work is bounded by the number
//! of conditions and of beginnings, whatever the traffic is.

use tidewall_model::{FilterAction, FilterRule, FlowRecord};

use super::bits::{Bits, Records};
use super::terms::{self, Term};

/// Missing a twentieth of the attack is as bad as taking a hundredth of the normal traffic.
pub(super) const PRICE: f64 = 5.0;
/// What one condition more must be worth, as a part of the attack.
const TERM_PRICE: f64 = 0.002;
/// Beginnings that are followed.
const BEAM: usize = 8;
/// Most conditions besides the protocol.
const MOST_TERMS: usize = 4;
/// What is generally known about hosts counts like so many records of this one.
const PRIOR_RECORDS: f64 = 20.0;
/// Most protocols that are looked at.
const MOST_PROTOCOLS: usize = 4;

/// Decides whether a candidate is allowed, given what rules before it touch.
pub(super) type Bounds<'a> = &'a dyn Fn(&Bits, &Candidate) -> bool;

/// A rule, and which records it takes.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) rule: FilterRule,
    /// Records of the attack that it takes.
    pub(super) attack: Bits,
    /// Normal records that it may touch.
    pub(super) normal: Bits,
    /// Part of an ordinary host's traffic that such a rule takes.
    prior: f64,
    terms: usize,
}

impl Candidate {
    fn add(&self, term: &Known) -> Self {
        let mut rule = self.rule.clone();
        term.term.put(&mut rule);
        Self {
            rule,
            attack: self.attack.and(&term.attack),
            normal: self.normal.and(&term.normal),
            prior: self.prior * term.term.prior(),
            terms: self.terms + 1,
        }
    }
}

/// A condition and the records for which it holds.
struct Known {
    term: Term,
    attack: Bits,
    normal: Bits,
}

/// Attack and normal records, and the conditions that come into question.
pub(super) struct Search<'a> {
    pub(super) attack: Records<'a>,
    pub(super) normal: Records<'a>,
    least_gain: f64,
    protocols: Vec<Candidate>,
    terms: Vec<Known>,
}

impl<'a> Search<'a> {
    pub(super) fn new(attack: &'a [FlowRecord], normal: &'a [FlowRecord], least_gain: f64) -> Self {
        let (attack, normal) = (Records::new(attack), Records::new(normal));
        let mut search =
            Self { attack, normal, least_gain, protocols: Vec::new(), terms: Vec::new() };
        for (protocol, _) in
            terms::largest(search.shares(|r| Some(r.protocol)), least_gain, MOST_PROTOCOLS)
        {
            let rule =
                FilterRule { protocol: Some(protocol), ..FilterRule::all(FilterAction::Discard) };
            search.protocols.push(Candidate {
                attack: search.attack.which(|record| rule.matches(record)),
                normal: search.normal.which(|record| rule.may_touch(record)),
                prior: terms::protocol_prior(protocol),
                terms: 0,
                rule,
            });
        }
        let listed = terms::list(&search.attack, least_gain);
        search.terms = listed.into_iter().map(|term| search.know(term)).collect();
        search
    }

    /// The best allowed rule for what is left of the attack.
    pub(super) fn best(
        &self,
        left: &Bits,
        touched: &Bits,
        allowed: &dyn Fn(&Candidate) -> bool,
    ) -> Option<Candidate> {
        let mut best: Option<(f64, Candidate)> = None;
        let mut frontier = self.protocols.clone();
        for depth in 0..=MOST_TERMS {
            let mut scored: Vec<(f64, Candidate)> = Vec::new();
            for candidate in frontier.drain(..) {
                if self.gain(&candidate, left) >= self.least_gain {
                    scored.push((self.score(&candidate, left, touched), candidate));
                }
            }
            // Equal scores: the rule that sorts first, so that chance decides nothing.
            scored.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.rule.cmp(&y.rule)));
            scored.dedup_by(|(_, x), (_, y)| x.rule == y.rule);
            for (score, candidate) in &scored {
                let better = best.as_ref().is_none_or(|(most, _)| score > most);
                if better && allowed(candidate) {
                    best = Some((*score, candidate.clone()));
                    break;
                }
            }
            if depth == MOST_TERMS {
                break;
            }
            scored.truncate(BEAM);
            for (_, candidate) in &scored {
                frontier.extend(self.narrower(candidate, left));
            }
        }
        best.map(|(_, candidate)| candidate)
    }

    /// The candidate with one condition more.
    fn narrower(&self, candidate: &Candidate, left: &Bits) -> Vec<Candidate> {
        let open = candidate.attack.and(left);
        let fits = |known: &&Known| {
            known.term.fits(&candidate.rule)
                && self.attack.share(&known.attack.and(&open)) >= self.least_gain
        };
        let mut list: Vec<_> =
            self.terms.iter().filter(fits).map(|known| candidate.add(known)).collect();
        if candidate.rule.packet_lengths.is_empty() {
            let lengths = terms::lengths(&self.attack, &open, &self.normal, &candidate.normal);
            list.extend(lengths.into_iter().map(|term| candidate.add(&self.know(term))));
        }
        list
    }

    fn know(&self, term: Term) -> Known {
        let mut rule = FilterRule::all(FilterAction::Discard);
        term.put(&mut rule);
        let attack = self.attack.which(|record| rule.matches(record));
        let normal = self.normal.which(|record| rule.may_touch(record));
        Known { term, attack, normal }
    }

    fn gain(&self, candidate: &Candidate, left: &Bits) -> f64 {
        self.attack.share(&candidate.attack.and(left))
    }

    /// What a rule is worth: the part of the attack that it takes, less what it costs.
    fn score(&self, candidate: &Candidate, left: &Bits, touched: &Bits) -> f64 {
        let records = self.normal.list.len() as f64;
        let measured = self.normal.share(&candidate.normal.without(touched));
        let prior = candidate.prior * PRIOR_RECORDS / (PRIOR_RECORDS + records);
        self.gain(candidate, left) - PRICE * measured - prior - TERM_PRICE * candidate.terms as f64
    }

    fn shares<T>(
        &self,
        value: impl Fn(&FlowRecord) -> Option<T>,
    ) -> impl Iterator<Item = (T, f64)> {
        let all = Bits::all(self.attack.list.len());
        let shares: Vec<_> = self.attack.shares(&all).collect();
        shares.into_iter().filter_map(move |(record, share)| Some((value(record)?, share)))
    }
}
