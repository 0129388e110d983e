//! Adj-RIB-Out: what a peer is to have against what it was sent, and the messages in between.
//!
//! The owner says what is desired. The transport pulls one message at a time
//! ([`AdjRibOut::next_message`]) when it can write, so a peer that does not read costs nothing: no
//! message exists before it is pulled, and the routes kept are those desired and those announced.
//! What was pulled counts as announced until the session ends; then nothing is.
//!
//! Withdrawals go before announcements, so a router with room for N rules never sees N + 1. What is
//! announced stays when a limit is reached; what is new waits, oldest first.

mod batches;
mod pull;
mod table;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::action::Actions;
use crate::family::RouteFamily;
use crate::profile::{Change, Fitted, NotSent, PeerProfile};
use crate::route::{Route, RouteAttributes, RouteKey};
use crate::session::Negotiated;
use table::{Refresh, Table};

/// Where a desired route stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouteState {
    /// The peer was sent it, or what was made of it.
    Announced,
    /// It goes with one of the next messages.
    Pending,
    /// It is not sent, and why.
    Waits(NotSent),
}

/// A desired route with its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteStatus<'a> {
    /// The route as it is desired.
    pub route: &'a Route,
    /// Where it stands.
    pub state: RouteState,
    /// How what is sent differs from it.
    pub changes: &'a [Change],
}

/// What a route carries in messages to this peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Carried {
    next_hop: Option<IpAddr>,
    attributes: RouteAttributes,
    actions: Option<Actions>,
}

#[derive(Clone, Debug)]
struct Desired {
    route: Route,
    /// Routes that are sent for it, and how they differ.
    sent: Result<(Vec<RouteKey>, Vec<Change>), NotSent>,
}

/// A route as it stands in messages.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// For which desired routes, and what it should carry for each.
    wanted: BTreeMap<RouteKey, Arc<Carried>>,
    /// What the peer has.
    announced: Option<Arc<Carried>>,
    /// It is among the number that the peer takes.
    admitted: bool,
    /// To be sent although the peer has it: it has asked.
    resend: bool,
    /// It is to be announced, with the others of this batch.
    batch: Option<u64>,
}

impl Entry {
    /// What it should carry. When several desired routes became one, the one that did not change.
    fn chosen(&self, own: &RouteKey) -> Option<&Arc<Carried>> {
        self.wanted.get(own).or_else(|| self.wanted.values().next())
    }
}

/// What one peer is to have, and has.
#[derive(Clone, Debug)]
pub struct AdjRibOut {
    local_as: u32,
    profile: PeerProfile,
    session: Option<Negotiated>,
    desired: BTreeMap<RouteKey, Desired>,
    entries: BTreeMap<RouteKey, Entry>,
    tables: [Table; 4],
    desired_complete: bool,
    next_turn: u64,
}

impl AdjRibOut {
    /// Empty, without a session.
    pub fn new(local_as: u32, profile: PeerProfile) -> Self {
        Self {
            local_as,
            profile,
            session: None,
            desired: BTreeMap::new(),
            entries: BTreeMap::new(),
            tables: std::array::from_fn(|_| Table::default()),
            desired_complete: false,
            next_turn: 0,
        }
    }

    /// The desired set is known as a whole (after a restart: the journal has been read). Until then
    /// no End-of-RIB is sent, and a peer with graceful restart keeps what it has.
    pub fn desired_is_complete(&mut self) {
        self.desired_complete = true;
    }

    /// Adds or replaces a desired route.
    pub fn announce(&mut self, route: Route) {
        let key = route.key();
        if self.desired.get(&key).is_some_and(|desired| desired.route == route) {
            return;
        }
        self.place(key, Some(route));
    }

    /// Removes a desired route; `false` when it was none.
    pub fn withdraw(&mut self, key: &RouteKey) -> bool {
        let there = self.desired.contains_key(key);
        if there {
            self.place(key.clone(), None);
        }
        there
    }

    /// Makes exactly `routes` the desired set; of two with one key the last counts.
    pub fn set_desired(&mut self, routes: impl IntoIterator<Item = Route>) {
        let routes: BTreeMap<RouteKey, Route> =
            routes.into_iter().map(|route| (route.key(), route)).collect();
        let gone: Vec<RouteKey> =
            self.desired.keys().filter(|key| !routes.contains_key(*key)).cloned().collect();
        for key in gone {
            self.withdraw(&key);
        }
        for route in routes.into_values() {
            self.announce(route);
        }
    }

    /// Another profile: routes that fit differently are sent differently. What is announced stays
    /// announced even if the new limits are lower.
    pub fn set_profile(&mut self, profile: PeerProfile) {
        self.profile = profile;
        let routes: Vec<Route> = self.desired.values().map(|d| d.route.clone()).collect();
        for route in routes {
            self.place(route.key(), Some(route));
        }
        for family in RouteFamily::ALL {
            self.admit_waiting(family);
        }
    }

    /// The session is established: everything is to be announced.
    pub fn session_up(&mut self, negotiated: Negotiated) {
        self.forget_announced();
        for family in negotiated.families.iter() {
            // RFC 4724 §3: a peer that knows graceful restart wants to know when we are done.
            self.table(family).end_of_rib = negotiated.restart.is_some();
        }
        self.session = Some(negotiated);
    }

    /// The session is over: nothing counts as announced.
    pub fn session_down(&mut self) {
        self.session = None;
        self.forget_announced();
    }

    /// The peer wants all routes of a family again. Requests that come while one is answered are
    /// answered together afterwards.
    pub fn refresh(&mut self, family: RouteFamily) {
        if self.session.is_some_and(|session| session.families.contains(family)) {
            self.table(family).refresh.request();
        }
    }

    /// Appends the next message for the peer, if there is one: pull when the transport can write.
    pub fn next_message(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(session) = self.session else { return false };
        session.families.iter().any(|family| self.next_of_family(&session, family, out))
    }

    /// Is there nothing to send?
    pub fn is_settled(&self) -> bool {
        let Some(session) = self.session else { return true };
        session.families.iter().all(|family| {
            self.tables.get(family as usize).is_none_or(|table| {
                table.announce.is_empty()
                    && table.withdraw.is_empty()
                    && (table.refresh == Refresh::Idle || table.end_of_rib)
                    && !(table.end_of_rib && self.desired_complete)
            })
        })
    }

    /// Has every family's End-of-RIB been sent, where the peer wants one?
    pub fn initial_routes_sent(&self) -> bool {
        self.session.is_some() && self.tables.iter().all(|table| !table.end_of_rib)
    }

    /// Desired routes with their states, in order of family and octets.
    pub fn routes(&self) -> impl Iterator<Item = RouteStatus<'_>> {
        self.desired.values().map(|desired| RouteStatus {
            route: &desired.route,
            state: self.state(desired),
            changes: desired.sent.as_ref().map_or(&[], |(_, changes)| changes.as_slice()),
        })
    }

    /// The state of one desired route.
    pub fn status(&self, key: &RouteKey) -> Option<RouteState> {
        self.desired.get(key).map(|desired| self.state(desired))
    }

    /// What the peer was sent and not withdrawn, as it stands in messages.
    pub fn announced(&self) -> impl Iterator<Item = &RouteKey> {
        self.entries.iter().filter(|(_, entry)| entry.announced.is_some()).map(|(key, _)| key)
    }

    /// Number of routes that are to be announced or withdrawn.
    pub fn pending(&self) -> usize {
        let families = self.session.map(|session| session.families).unwrap_or_default();
        let of = |family| self.tables.get(family as usize);
        let size = |table: &Table| table.announce.len() + table.withdraw.len();
        families.iter().filter_map(|family: RouteFamily| of(family)).map(size).sum()
    }

    /// Number of routes that the peer has and is to lose: of no session, none.
    pub fn withdrawing(&self) -> usize {
        self.tables.iter().map(|table| table.withdraw.len()).sum()
    }

    fn state(&self, desired: &Desired) -> RouteState {
        let family = desired.route.family();
        let parts = match (&desired.sent, &self.session) {
            (Err(reason), _) => return RouteState::Waits(reason.clone()),
            (Ok(_), None) => return RouteState::Waits(NotSent::NoSession),
            (Ok(_), Some(session)) if !session.families.contains(family) => {
                return RouteState::Waits(NotSent::Family(family));
            }
            (Ok((parts, _)), Some(_)) => parts,
        };
        let mut all_announced = true;
        for key in parts {
            let Some(entry) = self.entries.get(key) else { return RouteState::Pending };
            if !entry.admitted {
                return RouteState::Waits(NotSent::Limit { family, max: self.limit(family) });
            }
            all_announced &= entry.announced.as_ref() == entry.chosen(key);
        }
        if all_announced { RouteState::Announced } else { RouteState::Pending }
    }

    /// Puts a desired route in, or takes it out, and what is sent for it.
    fn place(&mut self, key: RouteKey, route: Option<Route>) {
        let mut touched = BTreeSet::new();
        if let Some(Desired { sent: Ok((parts, _)), .. }) = self.desired.remove(&key) {
            for part in parts {
                if let Some(entry) = self.entries.get_mut(&part) {
                    entry.wanted.remove(&key);
                }
                touched.insert(part);
            }
        }
        if let Some(route) = route {
            let sent = carried(&self.profile, &route).map(|(parts, carried, changes)| {
                for part in &parts {
                    let entry = self.entries.entry(part.clone()).or_default();
                    entry.wanted.insert(key.clone(), Arc::clone(&carried));
                    touched.insert(part.clone());
                }
                (parts, changes)
            });
            self.desired.insert(key, Desired { route, sent });
        }
        for part in touched {
            self.settle(&part);
        }
    }

    /// Puts an entry into the sets that it belongs to.
    fn settle(&mut self, key: &RouteKey) {
        let family = key.family();
        let limit = self.limit(family);
        let turn = self.next_turn;
        let Some(table) = self.tables.get_mut(family as usize) else { return };
        let Some(entry) = self.entries.get_mut(key) else { return };
        if let Some(batch) = entry.batch.take() {
            table.announce.remove(batch, key);
        }
        table.withdraw.remove(key);
        match (entry.chosen(key).cloned(), &entry.announced) {
            (None, Some(_)) => {
                table.withdraw.insert(key.clone());
            }
            (None, None) => {
                table.stop_waiting(key);
                let admitted = entry.admitted;
                self.entries.remove(key);
                if admitted {
                    table.admitted -= 1;
                    self.admit_waiting(family);
                }
            }
            (Some(wanted), announced) => {
                if !entry.admitted && table.admitted < limit {
                    entry.admitted = true;
                    table.admitted += 1;
                    table.stop_waiting(key);
                }
                if !entry.admitted {
                    self.next_turn += u64::from(table.wait(key, turn));
                } else if entry.resend || announced.as_ref() != Some(&wanted) {
                    entry.batch = Some(table.announce.insert(wanted, key.clone()));
                }
            }
        }
    }

    /// Gives free places to those that wait, oldest first.
    fn admit_waiting(&mut self, family: RouteFamily) {
        let limit = self.limit(family);
        while let Some(table) = self.tables.get(family as usize)
            && table.admitted < limit
            && let Some(key) = table.longest_waiting()
        {
            self.settle(&key);
        }
    }

    fn limit(&self, family: RouteFamily) -> usize {
        if family.is_flow_spec() { self.profile.max_rules } else { self.profile.max_unicast }
    }

    fn table(&mut self, family: RouteFamily) -> &mut Table {
        let [v4, v6, flow4, flow6] = &mut self.tables;
        match family {
            RouteFamily::Ipv4Unicast => v4,
            RouteFamily::Ipv6Unicast => v6,
            RouteFamily::Ipv4FlowSpec => flow4,
            RouteFamily::Ipv6FlowSpec => flow6,
        }
    }

    fn forget_announced(&mut self) {
        for table in &mut self.tables {
            table.refresh = Refresh::Idle;
            table.end_of_rib = false;
        }
        let keys: Vec<RouteKey> = self.entries.keys().cloned().collect();
        for key in keys {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.announced = None;
                entry.resend = false;
            }
            self.settle(&key);
        }
    }
}

type Parts = (Vec<RouteKey>, Arc<Carried>, Vec<Change>);

/// What is sent to a peer of this profile for a route.
fn carried(profile: &PeerProfile, route: &Route) -> Result<Parts, NotSent> {
    match route {
        Route::Unicast(unicast) => {
            let carried = Carried {
                next_hop: Some(unicast.next_hop()),
                attributes: unicast.attributes().clone(),
                actions: None,
            };
            Ok((vec![route.key()], Arc::new(carried), Vec::new()))
        }
        Route::FlowSpec(flow_spec) => {
            let Fitted { rules, actions, changes } = profile.fit(flow_spec)?;
            let keys =
                rules.into_iter().map(|rule| RouteKey::new(&crate::nlri::Nlri::FlowSpec(rule)));
            let carried = Carried {
                next_hop: actions.next_hop(),
                attributes: flow_spec.attributes().clone(),
                actions: Some(actions),
            };
            Ok((keys.collect(), Arc::new(carried), changes))
        }
    }
}
