//! What the owner wants announced, and to whom: all peers, a group, or one peer. Where several
//! entries of one route concern a peer, the narrowest counts.

use std::collections::BTreeMap;

use tidewall_bgp::{Route, RouteKey};

use super::PeerConfig;

/// Whom a route is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// Every peer.
    #[default]
    All,
    /// The peers of a group.
    Group(String),
    /// One peer, by name.
    Peer(String),
}

impl Audience {
    fn includes(&self, peer: &PeerConfig) -> bool {
        match self {
            Self::All => true,
            Self::Group(group) => peer.group.as_ref() == Some(group),
            Self::Peer(name) => *name == peer.name,
        }
    }
}

/// A route that is to be announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The route.
    pub route: Route,
    /// Whom it is for.
    pub audience: Audience,
}

impl From<Route> for Desired {
    fn from(route: Route) -> Self {
        Self { route, audience: Audience::All }
    }
}

/// All of them. Only what was put in here is ever announced.
#[derive(Debug, Default)]
pub(super) struct DesiredRoutes(BTreeMap<RouteKey, BTreeMap<Audience, Route>>);

impl DesiredRoutes {
    pub(super) fn set(&mut self, routes: Vec<Desired>) {
        self.0.clear();
        for desired in routes {
            self.announce(desired);
        }
    }

    /// The key of what has changed.
    pub(super) fn announce(&mut self, desired: Desired) -> RouteKey {
        let key = desired.route.key();
        self.0.entry(key.clone()).or_default().insert(desired.audience, desired.route);
        key
    }

    pub(super) fn withdraw(&mut self, key: &RouteKey, audience: &Audience) {
        if let Some(routes) = self.0.get_mut(key) {
            routes.remove(audience);
            if routes.is_empty() {
                self.0.remove(key);
            }
        }
    }

    /// What a peer is to have for a key.
    pub(super) fn of(&self, key: &RouteKey, peer: &PeerConfig) -> Option<&Route> {
        narrowest(self.0.get(key)?, peer)
    }

    /// All that a peer is to have.
    pub(super) fn all_of(&self, peer: &PeerConfig) -> impl Iterator<Item = &Route> {
        self.0.values().filter_map(|routes| narrowest(routes, peer))
    }
}

fn narrowest<'a>(routes: &'a BTreeMap<Audience, Route>, peer: &PeerConfig) -> Option<&'a Route> {
    // Audiences are in order of their narrowness.
    routes.iter().rev().find(|(audience, _)| audience.includes(peer)).map(|(_, route)| route)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tidewall_bgp::{RouteAttributes, UnicastRoute};

    use super::*;

    fn route(next_hop: [u8; 4]) -> Route {
        let prefix = "203.0.113.7/32".parse().unwrap();
        UnicastRoute::new(prefix, IpAddr::from(next_hop), RouteAttributes::default())
            .unwrap()
            .into()
    }

    #[test]
    fn the_narrowest_entry_counts_and_the_wider_one_comes_back() {
        let mut edge = PeerConfig::new("edge1", IpAddr::from([192, 0, 2, 1]), 65_001);
        edge.group = Some("transit".into());
        let other = PeerConfig::new("other", IpAddr::from([192, 0, 2, 2]), 65_002);
        let (all, group, own) =
            (route([192, 0, 2, 1]), route([192, 0, 2, 2]), route([192, 0, 2, 3]));
        let (transit, peer) = (Audience::Group("transit".into()), Audience::Peer("edge1".into()));
        let mut desired = DesiredRoutes::default();
        let key = desired.announce(all.clone().into());
        desired.announce(Desired { route: own.clone(), audience: peer.clone() });
        desired.announce(Desired { route: group.clone(), audience: transit.clone() });
        assert_eq!(desired.of(&key, &edge), Some(&own));
        assert_eq!(desired.of(&key, &other), Some(&all));
        desired.withdraw(&key, &peer);
        assert_eq!(desired.of(&key, &edge), Some(&group));
        desired.withdraw(&key, &Audience::All);
        assert_eq!(desired.of(&key, &other), None);
        assert_eq!(desired.all_of(&edge).count(), 1);
        desired.withdraw(&key, &transit);
        assert!(desired.0.is_empty());
    }
}
