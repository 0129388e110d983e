//! What a peer's router takes, and how a FlowSpec route is made to fit, in this order:
//!
//! 1. Sampling is left out where the router does not sample.
//! 2. A rate below the router's least is raised to it (routers drop everything instead).
//! 3. Components that the router does not know are left out. The rule then matches more than was
//!    meant, so it must not discard: it is limited to [`PeerProfile::widened_rate`]. Without such a
//!    rate, or when the destination would go, the route is not sent.
//! 4. Lists are cut, and several rules sent: for terms, and for octets. Each limits by itself.
//! 5. What still does not fit is not sent, and [`NotSent`] says why. The next step of the ladder (a
//!    blackhole, say) is a decision of the planner, not of a peer's table.
//!
//! Every step that was taken is a [`Change`], in words, beside the route.

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;

use crate::action::{Action, ActionKind, Actions, Rate};
use crate::family::RouteFamily;
use crate::flowspec::{ComponentKind, FlowSpecRule, MAX_ANNOUNCED_OCTETS, NotAnnounceable};
use crate::route::FlowSpecRoute;

/// What a peer's router takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerProfile {
    /// FlowSpec components that it knows.
    pub components: BTreeSet<ComponentKind>,
    /// FlowSpec actions that it knows.
    pub actions: BTreeSet<ActionKind>,
    /// Most FlowSpec rules of each IP version at one time.
    pub max_rules: usize,
    /// Most octets of a rule; never more than [`MAX_ANNOUNCED_OCTETS`].
    pub max_rule_octets: usize,
    /// Most terms of a component.
    pub max_terms: usize,
    /// Least rate in bytes per second that is not a discard.
    pub least_rate: Rate,
    /// What a rule is limited to that matches more than was meant, in bytes per second.
    pub widened_rate: Option<Rate>,
    /// Most unicast routes of each IP version at one time.
    pub max_unicast: usize,
}

/// FRR ends the session over a component of seven terms.
const USUAL_TERMS: usize = 6;

impl Default for PeerProfile {
    /// Everything, but no more than 100 rules and 1,000 prefixes, no list of more than six terms,
    /// and nothing is widened.
    fn default() -> Self {
        Self {
            components: ComponentKind::ALL.into_iter().collect(),
            actions: ActionKind::ALL.into_iter().collect(),
            max_rules: 100,
            max_rule_octets: MAX_ANNOUNCED_OCTETS,
            max_terms: USUAL_TERMS,
            least_rate: Rate::ZERO,
            widened_rate: None,
            max_unicast: 1_000,
        }
    }
}

/// Why a route is not sent to a peer now.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotSent {
    /// No session.
    #[error("waits because the session is not established")]
    NoSession,
    /// The peer has not offered the family.
    #[error("waits because the peer has not agreed on {0}")]
    Family(RouteFamily),
    /// As many as the peer takes are there.
    #[error("waits because the peer takes at most {max} routes of {family}")]
    Limit {
        /// Which family.
        family: RouteFamily,
        /// Of the profile.
        max: usize,
    },
    /// Components that the router does not know, and widening is not wanted or does not help.
    #[error("waits because the peer does not match {0}, and the rule must not be wider")]
    Component(ComponentKind),
    /// An action that the router does not know.
    #[error("waits because the peer does not know the action {0}")]
    Action(ActionKind),
    /// Even cut into parts it is too long.
    #[error("waits because the rule does not fit into {octets} octets and {terms} terms")]
    TooLong {
        /// Octets of the profile.
        octets: usize,
        /// Terms of the profile.
        terms: usize,
    },
    /// What is left of the rule is not safe to announce.
    #[error("waits because what the peer can match of the rule is unsafe: {0}")]
    Rule(#[from] NotAnnounceable),
}

/// How what is sent differs from what was wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The router does not sample.
    NotSampled,
    /// The router drops everything at a lower rate.
    RateRaised(Rate),
    /// Components are left out, and the rule limits instead of what it should do.
    Widened(Vec<ComponentKind>, Rate),
    /// Sent as several rules.
    Split(usize),
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSampled => f.write_str("not sampled"),
            Self::RateRaised(rate) => write!(f, "rate raised to {rate} bytes/s"),
            Self::Widened(left_out, rate) => {
                f.write_str("without ")?;
                for (index, kind) in left_out.iter().enumerate() {
                    write!(f, "{}{kind}", if index == 0 { "" } else { " and " })?;
                }
                write!(f, ", therefore limited to {rate} bytes/s")
            }
            Self::Split(parts) => write!(f, "as {parts} rules"),
        }
    }
}

/// A FlowSpec route as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// What is matched.
    pub rules: Vec<FlowSpecRule>,
    /// What happens to it.
    pub actions: Actions,
    /// How this differs from what was wanted.
    pub changes: Vec<Change>,
}

impl PeerProfile {
    /// Makes a route fit: see the head of this file.
    pub fn fit(&self, route: &FlowSpecRoute) -> Result<Fitted, NotSent> {
        let mut changes = Vec::new();
        let actions = self.fit_sample_and_rate(route.actions(), &mut changes)?;
        let (rule, actions) = self.fit_components(route.rule(), actions, &mut changes)?;
        if let Some(action) = actions.iter().find(|a| !self.actions.contains(&a.kind())) {
            return Err(NotSent::Action(action.kind()));
        }
        let octets = self.max_rule_octets.min(MAX_ANNOUNCED_OCTETS);
        let terms = self.max_terms.max(1);
        let rules = rule.split(octets, terms).ok_or(NotSent::TooLong { octets, terms })?;
        if rules.len() > 1 {
            changes.push(Change::Split(rules.len()));
        }
        rules.iter().try_for_each(FlowSpecRule::check_announceable)?;
        Ok(Fitted { rules, actions, changes })
    }

    fn fit_sample_and_rate(
        &self,
        actions: &Actions,
        changes: &mut Vec<Change>,
    ) -> Result<Actions, NotSent> {
        let mut fitted = Vec::new();
        for action in actions.iter() {
            match action {
                Action::Traffic { .. } if !self.actions.contains(&ActionKind::Traffic) => {
                    changes.push(Change::NotSampled);
                }
                Action::RateBytes(rate) if *rate != Rate::ZERO && *rate < self.least_rate => {
                    changes.push(Change::RateRaised(self.least_rate));
                    fitted.push(Action::RateBytes(self.least_rate));
                }
                other => fitted.push(*other),
            }
        }
        // Only a sample was wanted, and the peer does not sample.
        Actions::new(fitted).map_err(|_| NotSent::Action(ActionKind::Traffic))
    }

    fn fit_components(
        &self,
        rule: &FlowSpecRule,
        actions: Actions,
        changes: &mut Vec<Change>,
    ) -> Result<(FlowSpecRule, Actions), NotSent> {
        let unknown: Vec<ComponentKind> = rule
            .components()
            .iter()
            .map(crate::flowspec::Component::kind)
            .filter(|kind| !self.components.contains(kind))
            .collect();
        let Some(first) = unknown.first() else { return Ok((rule.clone(), actions)) };
        let refused = NotSent::Component(*first);
        let limits = |action: &Action| {
            matches!(
                action.kind(),
                ActionKind::Discard | ActionKind::RateBytes | ActionKind::Traffic
            )
        };
        let may_limit = actions.iter().all(limits) && *first != ComponentKind::Destination;
        let Some(rate) = self.widened_rate.filter(|rate| may_limit && *rate > Rate::ZERO) else {
            return Err(refused);
        };
        let rate = rate.max(self.least_rate);
        let wider = rule.without(|kind| unknown.contains(&kind)).ok_or(refused.clone())?;
        let rest = actions.iter().filter(|action| action.kind() == ActionKind::Traffic).copied();
        let limited = Actions::new(rest.chain([Action::RateBytes(rate)])).map_err(|_| refused)?;
        changes.push(Change::Widened(unknown, rate));
        Ok((wider, limited))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowspec::{BitmaskTerm, Component, NumericTerm, fragment};
    use crate::route::RouteAttributes;
    use tidewall_model::{Family, Prefix};

    fn route(ports: u64, actions: &[Action]) -> FlowSpecRoute {
        let target: Prefix = "203.0.113.7/32".parse().unwrap();
        let ports = (0..ports).map(|n| NumericTerm::equal(1_000 + n)).collect();
        let components = [
            Component::Destination(target.into()),
            Component::Protocol(vec![NumericTerm::equal(17)]),
            Component::SourcePort(ports),
            Component::Fragment(vec![BitmaskTerm::none(fragment::IS_FRAGMENT)]),
        ];
        let rule = FlowSpecRule::new(Family::V4, components).unwrap();
        let actions = Actions::new(actions.iter().copied()).unwrap();
        FlowSpecRoute::new(rule, actions, RouteAttributes::default()).unwrap()
    }

    fn rate(value: f32) -> Rate {
        Rate::new(value).unwrap()
    }

    #[test]
    fn what_fits_is_sent_as_it_is() {
        let route = route(3, &[Action::DISCARD]);
        let fitted = PeerProfile::default().fit(&route).unwrap();
        assert_eq!((fitted.rules, fitted.changes), (vec![route.rule().clone()], vec![]));
    }

    #[test]
    fn a_wider_rule_never_discards() {
        let mut profile = PeerProfile::default();
        profile.components.remove(&ComponentKind::Fragment);
        let discard = route(1, &[Action::DISCARD]);
        assert_eq!(profile.fit(&discard), Err(NotSent::Component(ComponentKind::Fragment)));
        profile.widened_rate = Some(rate(125_000.0));
        let fitted = profile.fit(&discard).unwrap();
        assert!(!fitted.actions.discards());
        assert_eq!(fitted.actions.to_string(), "rate-limit 125000 bytes/s");
        assert_eq!(
            fitted.changes[0].to_string(),
            "without fragment, therefore limited to 125000 bytes/s"
        );
        assert_eq!(fitted.rules[0].component(ComponentKind::Fragment), None);
        // Nothing may send the traffic of others elsewhere.
        let redirect = route(1, &[Action::Redirect(crate::action::RouteTarget::As2(1, 1))]);
        assert!(profile.fit(&redirect).is_err());
        profile.components.remove(&ComponentKind::Destination);
        assert_eq!(profile.fit(&discard), Err(NotSent::Component(ComponentKind::Destination)));
    }

    #[test]
    fn the_protocol_does_not_go_while_the_ports_stay() {
        let mut profile = PeerProfile { widened_rate: Some(rate(1e6)), ..PeerProfile::default() };
        profile.components.remove(&ComponentKind::Protocol);
        let error = profile.fit(&route(1, &[Action::DISCARD])).unwrap_err();
        assert!(error.to_string().starts_with("waits because"), "{error}");
    }

    /// One widely used daemon ignores all rules after one of 240 octets, another ends the session.
    #[test]
    fn long_rules_are_cut_below_240_octets() {
        let long = route(120, &[Action::DISCARD]);
        assert!(long.rule().octets() > 361);
        let usual = PeerProfile::default().fit(&long).unwrap();
        assert_eq!(usual.changes, [Change::Split(32)], "halved until none is too long");
        assert!(
            usual.rules.iter().all(|rule| rule
                .component(ComponentKind::SourcePort)
                .unwrap()
                .terms()
                <= 6)
        );
        let wide = PeerProfile { max_terms: usize::MAX, ..PeerProfile::default() };
        let fitted = wide.fit(&long).unwrap();
        assert_eq!(fitted.changes, [Change::Split(2)]);
        let ports =
            |rule: &FlowSpecRule| rule.component(ComponentKind::SourcePort).unwrap().terms();
        assert_eq!(fitted.rules.iter().map(ports).sum::<usize>(), 120);
        assert!(fitted.rules.iter().all(|rule| rule.octets() <= 239));
        let narrow = PeerProfile { max_terms: 16, ..PeerProfile::default() };
        assert!(narrow.fit(&long).unwrap().rules.iter().all(|rule| ports(rule) <= 16));
        let tiny = PeerProfile { max_rule_octets: 12, ..wide };
        assert_eq!(tiny.fit(&long), Err(NotSent::TooLong { octets: 12, terms: usize::MAX }));
    }

    #[test]
    fn rates_and_samples() {
        let sample = Action::Traffic { sample: true, go_on: false };
        let mut profile = PeerProfile { least_rate: rate(2_750.0), ..PeerProfile::default() };
        profile.actions.remove(&ActionKind::Traffic);
        profile.actions.remove(&ActionKind::RatePackets);
        let fitted = profile.fit(&route(1, &[sample, Action::RateBytes(rate(10.0))])).unwrap();
        assert_eq!(fitted.changes, [Change::RateRaised(rate(2_750.0)), Change::NotSampled]);
        assert!(profile.fit(&route(1, &[Action::DISCARD])).unwrap().actions.discards());
        let packets = route(1, &[Action::RatePackets(rate(1e5))]);
        assert_eq!(profile.fit(&packets), Err(NotSent::Action(ActionKind::RatePackets)));
        assert!(profile.fit(&route(1, &[sample])).is_err());
    }
}
