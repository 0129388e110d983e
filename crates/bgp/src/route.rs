//! Routes that we announce. The constructors refuse what routers are known to misread, so that a
//! configuration mistake is an error here and not a route there.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error;
use tidewall_model::{Family, Prefix};

use crate::action::Actions;
use crate::attribute::Origin;
use crate::community::{Community, ExtendedCommunity, LargeCommunity};
use crate::family::RouteFamily;
use crate::flowspec::{FlowSpecRule, NotAnnounceable};
use crate::nlri::Nlri;

/// Most communities of each sort on one route: with them, attributes and the longest route fit
/// into a message of 4,096 octets.
pub const MAX_COMMUNITIES: usize = 64;
/// Most additional repetitions of our AS number in the path.
pub const MAX_PREPEND: u8 = 10;

/// Why something is not a route that we announce.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RouteError {
    /// The next hop is of the other IP version.
    #[error("next hop {next_hop} for {prefix}: it must be {}", prefix.family())]
    NextHopFamily {
        /// The route.
        prefix: Prefix,
        /// Its next hop.
        next_hop: IpAddr,
    },
    /// A next hop that no packet can be sent to, or that some routers refuse.
    #[error("next hop {0} cannot be used: {1}")]
    NextHop(IpAddr, &'static str),
    /// Too many communities.
    #[error("{count} {sort} communities, where a route has at most {MAX_COMMUNITIES}")]
    Communities {
        /// Which sort.
        sort: &'static str,
        /// How many.
        count: usize,
    },
    /// Prepended too often.
    #[error("AS path prepended {0} times, where at most {MAX_PREPEND} make sense")]
    Prepend(u8),
    /// The rule is not safe to announce.
    #[error(transparent)]
    Rule(#[from] NotAnnounceable),
    /// An extended community that is an action, beside the actions.
    #[error("extended community {0} is a FlowSpec action: write it as an action")]
    ActionCommunity(ExtendedCommunity),
    /// A redirect to an address of the other IP version.
    #[error("redirect to {0} in a rule of {1}")]
    RedirectFamily(IpAddr, Family),
}

/// What a route carries besides its next hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteAttributes {
    /// ORIGIN.
    pub origin: Origin,
    /// `MULTI_EXIT_DISC`.
    pub med: Option<u32>,
    /// `LOCAL_PREF` towards peers of our own AS; 100 when not given.
    pub local_pref: Option<u32>,
    /// How often our AS number is repeated towards peers of another AS.
    pub prepend: u8,
    /// Standard communities.
    pub communities: Vec<Community>,
    /// Extended communities other than FlowSpec actions.
    pub extended: Vec<ExtendedCommunity>,
    /// Large communities.
    pub large: Vec<LargeCommunity>,
}

impl RouteAttributes {
    /// Sorted and each only once, which makes equal routes equal; counted.
    fn normalised(mut self) -> Result<Self, RouteError> {
        self.communities.sort_unstable();
        self.communities.dedup();
        self.extended.sort_unstable();
        self.extended.dedup();
        self.large.sort_unstable();
        self.large.dedup();
        for (sort, count) in [
            ("standard", self.communities.len()),
            ("extended", self.extended.len()),
            ("large", self.large.len()),
        ] {
            if count > MAX_COMMUNITIES {
                return Err(RouteError::Communities { sort, count });
            }
        }
        if self.prepend > MAX_PREPEND {
            return Err(RouteError::Prepend(self.prepend));
        }
        Ok(self)
    }
}

/// A prefix with its next hop: a blackhole, or a diversion.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UnicastRoute {
    prefix: Prefix,
    next_hop: IpAddr,
    attributes: RouteAttributes,
}

impl UnicastRoute {
    /// Checks the next hop: of the prefix's IP version, and an address that packets can go to.
    pub fn new(
        prefix: Prefix,
        next_hop: IpAddr,
        attributes: RouteAttributes,
    ) -> Result<Self, RouteError> {
        let refuse = |why| Err(RouteError::NextHop(next_hop, why));
        if next_hop.is_ipv4() != (prefix.family() == Family::V4) {
            return Err(RouteError::NextHopFamily { prefix, next_hop });
        }
        if let IpAddr::V6(address) = next_hop {
            if address.to_ipv4_mapped().is_some() {
                return refuse(
                    "an IPv4 address in IPv6 form, which some routers take as withdrawal",
                );
            }
            if address.is_unicast_link_local() {
                return refuse("it is valid on one link only");
            }
        }
        if next_hop.is_unspecified() {
            return refuse("it is no address");
        }
        if next_hop.is_multicast() || next_hop == IpAddr::from([255; 4]) {
            return refuse("it is a group");
        }
        Ok(Self { prefix, next_hop, attributes: attributes.normalised()? })
    }

    /// What it leads to.
    pub const fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// Where it leads.
    pub const fn next_hop(&self) -> IpAddr {
        self.next_hop
    }

    /// What else it carries.
    pub const fn attributes(&self) -> &RouteAttributes {
        &self.attributes
    }
}

/// A FlowSpec rule with its actions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FlowSpecRoute {
    rule: FlowSpecRule,
    actions: Actions,
    attributes: RouteAttributes,
}

impl FlowSpecRoute {
    /// Checks the rule ([`FlowSpecRule::check_announceable`]) and that the actions fit to it. A
    /// rule that is only too long is accepted: [`PeerProfile`](crate::PeerProfile) cuts it.
    pub fn new(
        rule: FlowSpecRule,
        actions: Actions,
        attributes: RouteAttributes,
    ) -> Result<Self, RouteError> {
        match rule.check_announceable() {
            Ok(()) | Err(NotAnnounceable::TooLong(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let attributes = attributes.normalised()?;
        let is_action = |community: &&ExtendedCommunity| {
            crate::action::Action::from_extended(**community).is_some()
        };
        if let Some(community) = attributes.extended.iter().find(is_action) {
            return Err(RouteError::ActionCommunity(*community));
        }
        for action in actions.iter() {
            use crate::action::Action::{RedirectToIp, RedirectToNextHop};
            if let RedirectToIp { address, .. } | RedirectToNextHop { address, .. } = action
                && address.is_ipv4() != (rule.family() == Family::V4)
            {
                return Err(RouteError::RedirectFamily(*address, rule.family()));
            }
        }
        Ok(Self { rule, actions, attributes })
    }

    /// What it matches.
    pub const fn rule(&self) -> &FlowSpecRule {
        &self.rule
    }

    /// What happens to what matches.
    pub const fn actions(&self) -> &Actions {
        &self.actions
    }

    /// What else it carries.
    pub const fn attributes(&self) -> &RouteAttributes {
        &self.attributes
    }
}

impl fmt::Display for FlowSpecRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; then {}", self.rule, self.actions)
    }
}

/// Anything that we announce.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Route {
    /// A prefix.
    Unicast(UnicastRoute),
    /// A rule.
    FlowSpec(FlowSpecRoute),
}

impl Route {
    /// What tells it from other routes: two routes of one key replace each other.
    pub fn key(&self) -> RouteKey {
        RouteKey::new(&match self {
            Self::Unicast(route) => Nlri::Unicast(route.prefix),
            Self::FlowSpec(route) => Nlri::FlowSpec(route.rule.clone()),
        })
    }

    /// Its family.
    pub const fn family(&self) -> RouteFamily {
        match self {
            Self::Unicast(route) => RouteFamily::unicast(route.prefix.family()),
            Self::FlowSpec(route) => RouteFamily::flow_spec(route.rule.family()),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unicast(route) => write!(f, "{} via {}", route.prefix, route.next_hop),
            Self::FlowSpec(route) => route.fmt(f),
        }
    }
}

impl From<UnicastRoute> for Route {
    fn from(route: UnicastRoute) -> Self {
        Self::Unicast(route)
    }
}

impl From<FlowSpecRoute> for Route {
    fn from(route: FlowSpecRoute) -> Self {
        Self::FlowSpec(route)
    }
}

/// Family and octets of a route: what a withdrawal names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    family: RouteFamily,
    nlri: Box<[u8]>,
}

impl RouteKey {
    /// Of what a route is about.
    pub fn new(nlri: &Nlri) -> Self {
        let mut octets = Vec::new();
        nlri.encode(&mut octets);
        Self { family: nlri.family(), nlri: octets.into() }
    }

    /// Its family.
    pub const fn family(&self) -> RouteFamily {
        self.family
    }

    /// Its octets in a message.
    pub const fn octets(&self) -> &[u8] {
        &self.nlri
    }
}

impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Nlri::list(self.family, &self.nlri).next() {
            Some(Ok(nlri)) => nlri.fmt(f),
            _ => self.family.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowspec::{Component, NumericTerm, PrefixMatch};

    fn unicast(prefix: &str, next_hop: &str) -> Result<UnicastRoute, RouteError> {
        let attributes = RouteAttributes::default();
        UnicastRoute::new(prefix.parse().unwrap(), next_hop.parse().unwrap(), attributes)
    }

    /// BIRD takes an IPv6 route with next hop `::ffff:10.99.0.1` as a withdrawal.
    #[test]
    fn next_hops_that_routers_refuse_are_refused_here() {
        assert!(unicast("203.0.113.7/32", "192.0.2.1").is_ok());
        assert!(unicast("2001:db8::7/128", "100::1").is_ok());
        for (prefix, next_hop) in [
            ("2001:db8::7/128", "::ffff:10.99.0.1"),
            ("2001:db8::7/128", "fe80::1"),
            ("2001:db8::7/128", "192.0.2.1"),
            ("2001:db8::7/128", "::"),
            ("203.0.113.7/32", "2001:db8::1"),
            ("203.0.113.7/32", "0.0.0.0"),
            ("203.0.113.7/32", "224.0.0.1"),
            ("203.0.113.7/32", "255.255.255.255"),
        ] {
            assert!(unicast(prefix, next_hop).is_err(), "{prefix} via {next_hop}");
        }
    }

    #[test]
    fn attributes_are_counted_and_put_in_order() {
        let route = |attributes| {
            let next_hop = IpAddr::from([192, 0, 2, 1]);
            UnicastRoute::new("203.0.113.7/32".parse().unwrap(), next_hop, attributes)
        };
        let one = Community(1);
        let communities = vec![Community::NO_EXPORT, one, one];
        let sorted = route(RouteAttributes { communities, ..Default::default() }).unwrap();
        assert_eq!(sorted.attributes().communities, [one, Community::NO_EXPORT]);
        let communities = (0..65).map(Community).collect();
        let crowded = route(RouteAttributes { communities, ..Default::default() });
        assert_eq!(crowded, Err(RouteError::Communities { sort: "standard", count: 65 }));
        let prepend = route(RouteAttributes { prepend: 11, ..Default::default() });
        assert_eq!(prepend, Err(RouteError::Prepend(11)));
    }

    #[test]
    fn a_rule_and_its_action_in_words() {
        let target = PrefixMatch::new("192.0.2.1/32".parse().unwrap());
        let rule = FlowSpecRule::new(
            Family::V4,
            [
                Component::SourcePort(vec![NumericTerm::equal(53)]),
                Component::Protocol(vec![NumericTerm::equal(17)]),
                Component::Destination(target),
            ],
        )
        .unwrap();
        assert_eq!(rule.destination(), Some(target.prefix()));
        let attributes = RouteAttributes::default();
        let route = FlowSpecRoute::new(rule, Actions::discard(), attributes).unwrap();
        let words = "match destination 192.0.2.1/32 protocol =17 source-port =53; then discard";
        assert_eq!(route.to_string(), words);
        assert_eq!(format!("{}; then discard", Route::from(route).key()), words);
    }
}
