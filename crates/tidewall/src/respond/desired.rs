//! The routes that are desired of every announcer, and for which mitigations. A route that several
//! mitigations want is announced once, and goes when the last of them ends. Only differences are
//! ordered. Belongs to the responder's thread; knows no socket.

use std::collections::{BTreeMap, BTreeSet};

use tidewall_actions::bgp::{Audience, Desired};
use tidewall_bgp::{Route, RouteKey};
use tidewall_model::{MitigationId, MitigationOutcome};

/// What an announcer is told for one key: all peers, and where they differ.
pub(super) type Told = BTreeMap<Audience, Route>;

/// The announcers' names, by their numbers.
pub(super) type Names = BTreeMap<usize, String>;

/// One announcer, by its number, and one route.
type PlaceKey = (usize, RouteKey);

/// Something that an announcer is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Announce, or replace.
    Announce(usize, Box<Desired>),
    /// Withdraw.
    Withdraw(usize, RouteKey, Audience),
}

/// How far a route at an announcer has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Ordered.
    Waiting,
    /// Confirmed.
    Announced,
    /// It could not be, so far.
    Failed(String),
    /// Its end is ordered.
    Leaving,
}

#[derive(Debug)]
struct Place {
    wants: BTreeMap<MitigationId, Told>,
    told: Told,
    standing: Standing,
    /// Mitigations whose end waits for this withdrawal.
    awaited_by: BTreeSet<MitigationId>,
}

#[derive(Debug, Default)]
struct Held {
    places: BTreeSet<PlaceKey>,
    /// Why some announcers do not take it.
    refusals: Vec<String>,
    said: Option<MitigationOutcome>,
    leaving: bool,
}

/// What is desired, and what became of it.
#[derive(Debug, Default)]
pub(super) struct DesiredRoutes {
    places: BTreeMap<PlaceKey, Place>,
    mitigations: BTreeMap<MitigationId, Held>,
    /// Mitigations that something has happened to.
    changed: BTreeSet<MitigationId>,
}

impl DesiredRoutes {
    /// A mitigation wants routes. Refusals are those of announcers that take none of it.
    pub(super) fn apply(
        &mut self,
        id: MitigationId,
        wanted: Vec<(usize, RouteKey, Told)>,
        refusals: Vec<String>,
    ) -> Vec<Order> {
        let held = Held { refusals, ..Held::default() };
        self.mitigations.insert(id, held);
        self.changed.insert(id);
        self.want(id, wanted)
    }

    /// What a mitigation wants where announcers, or what they are told, have changed. New places
    /// come before old ones go.
    pub(super) fn refit(
        &mut self,
        id: MitigationId,
        wanted: Vec<(usize, RouteKey, Told)>,
        refusals: Vec<String>,
    ) -> Vec<Order> {
        let Some(held) = self.mitigations.get_mut(&id).filter(|held| !held.leaving) else {
            return Vec::new();
        };
        held.refusals = refusals;
        let before = std::mem::take(&mut held.places);
        self.changed.insert(id);
        let mut orders = self.want(id, wanted);
        for key in before {
            let stays = self.mitigations.get(&id).is_some_and(|held| held.places.contains(&key));
            if let Some(place) = self.places.get_mut(&key).filter(|_| !stays) {
                place.wants.remove(&id);
                bring_up_to_date(&key, place, &mut orders);
                if place.wants.is_empty() {
                    place.standing = Standing::Leaving;
                }
            }
        }
        orders
    }

    fn want(&mut self, id: MitigationId, wanted: Vec<(usize, RouteKey, Told)>) -> Vec<Order> {
        let mut orders = Vec::new();
        for (announcer, key, told) in wanted {
            let key = (announcer, key);
            let place = self.places.entry(key.clone()).or_insert_with(|| Place {
                wants: BTreeMap::new(),
                told: Told::new(),
                standing: Standing::Waiting,
                awaited_by: BTreeSet::new(),
            });
            if place.standing == Standing::Leaving {
                // The route stays: whoever waited for its end has nothing left there.
                for other in std::mem::take(&mut place.awaited_by) {
                    release(&mut self.mitigations, other, &key);
                    self.changed.insert(other);
                }
                place.standing = Standing::Waiting;
            }
            place.wants.insert(id, told);
            bring_up_to_date(&key, place, &mut orders);
            if let Some(held) = self.mitigations.get_mut(&id) {
                held.places.insert(key);
            }
        }
        orders
    }

    /// Another announcer takes over everything that one had, withdrawals that are not confirmed
    /// included.
    pub(super) fn hand_over(&mut self, from: usize, to: usize) {
        let keys: Vec<PlaceKey> =
            self.places.keys().filter(|(at, _)| *at == from).cloned().collect();
        for key in keys {
            let Some(mut place) = self.places.remove(&key) else { continue };
            let new = (to, key.1.clone());
            for id in place.wants.keys().chain(&place.awaited_by) {
                if let Some(held) = self.mitigations.get_mut(id)
                    && held.places.remove(&key)
                {
                    held.places.insert(new.clone());
                }
            }
            if place.standing != Standing::Leaving {
                place.standing = Standing::Waiting;
            }
            self.places.insert(new, place);
        }
    }

    /// An announcer is gone, and everything with it.
    pub(super) fn forget(&mut self, announcer: usize) {
        let of = |key: &PlaceKey| key.0 == announcer;
        self.places.retain(|key, _| !of(key));
        for (id, held) in &mut self.mitigations {
            let before = held.places.len();
            held.places.retain(|key| !of(key));
            if held.places.len() != before {
                self.changed.insert(*id);
            }
        }
    }

    /// A mitigation ends.
    pub(super) fn withdraw(&mut self, id: MitigationId) -> Vec<Order> {
        let mut orders = Vec::new();
        let held = self.mitigations.entry(id).or_default();
        held.leaving = true;
        let places: Vec<PlaceKey> = held.places.iter().cloned().collect();
        for key in places {
            let Some(place) = self.places.get_mut(&key) else { continue };
            place.wants.remove(&id);
            bring_up_to_date(&key, place, &mut orders);
            if place.wants.is_empty() {
                place.standing = Standing::Leaving;
                place.awaited_by.insert(id);
            } else {
                release(&mut self.mitigations, id, &key);
            }
        }
        self.changed.insert(id);
        orders
    }

    /// The routes of an announcer whose withdrawal is not confirmed.
    pub(super) fn leaving_of(&self, announcer: usize) -> Vec<RouteKey> {
        let of = self.standings(announcer).filter(|(_, standing)| **standing == Standing::Leaving);
        of.map(|(key, _)| key.clone()).collect()
    }

    /// Does it know of this mitigation?
    pub(super) fn knows(&self, id: MitigationId) -> bool {
        self.mitigations.contains_key(&id)
    }

    /// What became of a route.
    pub(super) fn outcome(&mut self, announcer: usize, key: RouteKey, outcome: MitigationOutcome) {
        let key = (announcer, key);
        let Some(place) = self.places.get_mut(&key) else { return };
        let leaves = place.wants.is_empty();
        match outcome {
            // What was said of an order that another one has overtaken.
            MitigationOutcome::Withdrawn if !leaves => return,
            MitigationOutcome::Applied | MitigationOutcome::Failed(_) if leaves => return,
            MitigationOutcome::Applied => place.standing = Standing::Announced,
            MitigationOutcome::Failed(why) => place.standing = Standing::Failed(why),
            MitigationOutcome::Withdrawn => {
                for id in std::mem::take(&mut place.awaited_by) {
                    release(&mut self.mitigations, id, &key);
                    self.changed.insert(id);
                }
                self.places.remove(&key);
                return;
            }
        }
        self.changed.extend(place.wants.keys().copied());
    }

    /// What is to be said of mitigations since this was last asked.
    pub(super) fn reports(&mut self, names: &Names) -> Vec<(MitigationId, MitigationOutcome)> {
        let changed = std::mem::take(&mut self.changed);
        let mut reports = Vec::new();
        for id in changed {
            let Some(outcome) = self.judge(id, names) else { continue };
            let Some(held) = self.mitigations.get_mut(&id) else { continue };
            if outcome == MitigationOutcome::Withdrawn {
                self.mitigations.remove(&id);
            } else if held.said.as_ref() == Some(&outcome) {
                continue;
            } else {
                held.said = Some(outcome.clone());
            }
            reports.push((id, outcome));
        }
        reports
    }

    /// Everything that an announcer is to have.
    pub(super) fn desired_of(&self, announcer: usize) -> Vec<Desired> {
        let of = self.places.iter().filter(|((at, _), _)| *at == announcer);
        of.flat_map(|(_, place)| &place.told)
            .map(|(audience, route)| Desired { route: route.clone(), audience: audience.clone() })
            .collect()
    }

    /// Mitigations that want a route of an announcer.
    pub(super) fn wanted_by(&self, announcer: usize, key: &RouteKey) -> Vec<MitigationId> {
        let place = self.places.get(&(announcer, key.clone()));
        place.map(|place| place.wants.keys().copied().collect()).unwrap_or_default()
    }

    /// Every route of an announcer, and how far it has come.
    pub(super) fn standings(
        &self,
        announcer: usize,
    ) -> impl Iterator<Item = (&RouteKey, &Standing)> {
        let of = self.places.iter().filter(move |((at, _), _)| *at == announcer);
        of.map(|((_, key), place)| (key, &place.standing))
    }

    /// Is any withdrawal not confirmed?
    pub(super) fn is_leaving(&self) -> bool {
        self.places.values().any(|place| place.standing == Standing::Leaving)
    }

    fn judge(&self, id: MitigationId, names: &Names) -> Option<MitigationOutcome> {
        let held = self.mitigations.get(&id)?;
        if held.leaving {
            return held.places.is_empty().then_some(MitigationOutcome::Withdrawn);
        }
        let mut reasons = held.refusals.clone();
        for key in &held.places {
            match &self.places.get(key)?.standing {
                Standing::Announced => return Some(MitigationOutcome::Applied),
                Standing::Waiting | Standing::Leaving => return None,
                Standing::Failed(why) => {
                    let name = names.get(&key.0).map_or("announcer", String::as_str);
                    reasons.push(format!("{name}: {why}"));
                }
            }
        }
        Some(MitigationOutcome::Failed(reasons.join("; ")))
    }
}

/// Nothing of a mitigation is left at a place.
fn release(mitigations: &mut BTreeMap<MitigationId, Held>, id: MitigationId, key: &PlaceKey) {
    if let Some(held) = mitigations.get_mut(&id) {
        held.places.remove(key);
    }
}

/// Orders the difference between what an announcer was told and what it should be told: what the
/// newest mitigation wants. What some peers get instead comes before what goes.
fn bring_up_to_date(key: &PlaceKey, place: &mut Place, orders: &mut Vec<Order>) {
    let wanted = place.wants.last_key_value().map(|(_, told)| told.clone()).unwrap_or_default();
    if wanted == place.told {
        return;
    }
    for (audience, route) in &wanted {
        if place.told.get(audience) != Some(route) {
            let desired = Desired { route: route.clone(), audience: audience.clone() };
            orders.push(Order::Announce(key.0, Box::new(desired)));
            place.standing = Standing::Waiting;
        }
    }
    for audience in place.told.keys().filter(|audience| !wanted.contains_key(audience)) {
        orders.push(Order::Withdraw(key.0, key.1.clone(), audience.clone()));
    }
    place.told = wanted;
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tidewall_bgp::{RouteAttributes, UnicastRoute};

    use super::*;

    fn route(next_hop: u8) -> Route {
        let next_hop = IpAddr::from([192, 0, 2, next_hop]);
        let prefix = "203.0.113.7/32".parse().unwrap();
        UnicastRoute::new(prefix, next_hop, RouteAttributes::default()).unwrap().into()
    }

    fn wanted(announcer: usize, next_hop: u8) -> (usize, RouteKey, Told) {
        let route = route(next_hop);
        (announcer, route.key(), Told::from([(Audience::All, route)]))
    }

    fn announce(announcer: usize, next_hop: u8) -> Order {
        Order::Announce(announcer, Box::new(route(next_hop).into()))
    }

    fn withdraw(announcer: usize) -> Order {
        Order::Withdraw(announcer, route(1).key(), Audience::All)
    }

    const A: MitigationId = MitigationId(1);
    const B: MitigationId = MitigationId(2);

    fn reports(desired: &mut DesiredRoutes) -> Vec<(MitigationId, MitigationOutcome)> {
        desired.reports(&Names::from([(0, "bgp".to_owned()), (1, "gobgp".to_owned())]))
    }

    #[test]
    fn a_route_of_two_mitigations_goes_with_the_last() {
        let mut desired = DesiredRoutes::default();
        assert_eq!(desired.apply(A, vec![wanted(0, 1)], Vec::new()), [announce(0, 1)]);
        assert_eq!(reports(&mut desired), []);
        desired.outcome(0, route(1).key(), MitigationOutcome::Applied);
        assert_eq!(desired.apply(B, vec![wanted(0, 1)], Vec::new()), [], "it is there");
        let applied = MitigationOutcome::Applied;
        assert_eq!(reports(&mut desired), [(A, applied.clone()), (B, applied)]);
        assert_eq!(desired.withdraw(A), [], "the other one wants it");
        assert_eq!(reports(&mut desired), [(A, MitigationOutcome::Withdrawn)]);
        assert_eq!(desired.withdraw(B), [withdraw(0)]);
        assert_eq!(reports(&mut desired), [], "not confirmed yet");
        assert!(desired.is_leaving());
        desired.outcome(0, route(1).key(), MitigationOutcome::Withdrawn);
        assert_eq!(reports(&mut desired), [(B, MitigationOutcome::Withdrawn)]);
        assert!(desired.places.is_empty() && desired.mitigations.is_empty());
    }

    #[test]
    fn the_newest_decides_how_and_the_older_one_comes_back() {
        let mut desired = DesiredRoutes::default();
        desired.apply(A, vec![wanted(0, 1)], Vec::new());
        assert_eq!(desired.apply(B, vec![wanted(0, 2)], Vec::new()), [announce(0, 2)]);
        assert_eq!(desired.desired_of(0), [route(2).into()]);
        assert_eq!(desired.wanted_by(0, &route(1).key()), [A, B]);
        assert_eq!(desired.withdraw(B), [announce(0, 1)]);
    }

    #[test]
    fn one_announcer_is_enough_and_all_must_have_withdrawn() {
        let mut desired = DesiredRoutes::default();
        desired.apply(A, vec![wanted(0, 1), wanted(1, 1)], vec!["exabgp: no".to_owned()]);
        desired.outcome(0, route(1).key(), MitigationOutcome::Failed("no session".to_owned()));
        assert_eq!(reports(&mut desired), [], "the other one may");
        desired.outcome(1, route(1).key(), MitigationOutcome::Failed("refused".to_owned()));
        let why = "exabgp: no; bgp: no session; gobgp: refused".to_owned();
        assert_eq!(reports(&mut desired), [(A, MitigationOutcome::Failed(why))]);
        desired.outcome(1, route(1).key(), MitigationOutcome::Applied);
        assert_eq!(reports(&mut desired), [(A, MitigationOutcome::Applied)]);
        desired.outcome(1, route(1).key(), MitigationOutcome::Applied);
        assert_eq!(reports(&mut desired), [], "said once");
        assert_eq!(desired.withdraw(A), [withdraw(0), withdraw(1)]);
        desired.outcome(0, route(1).key(), MitigationOutcome::Withdrawn);
        assert_eq!(reports(&mut desired), []);
        desired.outcome(1, route(1).key(), MitigationOutcome::Withdrawn);
        assert_eq!(reports(&mut desired), [(A, MitigationOutcome::Withdrawn)]);
    }

    #[test]
    fn what_comes_back_while_it_leaves_stays_and_late_answers_change_nothing() {
        let mut desired = DesiredRoutes::default();
        desired.apply(A, vec![wanted(0, 1)], Vec::new());
        desired.withdraw(A);
        assert_eq!(desired.apply(B, vec![wanted(0, 1)], Vec::new()), [announce(0, 1)]);
        assert_eq!(reports(&mut desired), [(A, MitigationOutcome::Withdrawn)]);
        desired.outcome(0, route(1).key(), MitigationOutcome::Withdrawn);
        assert_eq!(desired.desired_of(0).len(), 1, "that was the answer to the first order");
        desired.outcome(0, route(1).key(), MitigationOutcome::Applied);
        assert_eq!(reports(&mut desired), [(B, MitigationOutcome::Applied)]);
    }

    #[test]
    fn other_announcers_come_before_those_that_go() {
        let mut desired = DesiredRoutes::default();
        desired.apply(A, vec![wanted(0, 1)], Vec::new());
        desired.outcome(0, route(1).key(), MitigationOutcome::Applied);
        reports(&mut desired);
        let orders = desired.refit(A, vec![wanted(1, 1)], Vec::new());
        assert_eq!(orders, [announce(1, 1), withdraw(0)]);
        assert_eq!(reports(&mut desired), [], "it is up, and not said again");
        assert_eq!(desired.leaving_of(0), [route(1).key()]);
        desired.outcome(0, route(1).key(), MitigationOutcome::Withdrawn);
        desired.outcome(1, route(1).key(), MitigationOutcome::Applied);
        assert_eq!(reports(&mut desired), [], "nothing has changed for it");
        assert_eq!(desired.refit(A, vec![wanted(1, 1)], Vec::new()), []);
        assert_eq!(desired.refit(A, vec![wanted(1, 2)], Vec::new()), [announce(1, 2)]);
        let none = desired.refit(A, Vec::new(), vec!["nobody is left".to_owned()]);
        assert_eq!(none, [withdraw(1)]);
        let failed = MitigationOutcome::Failed("nobody is left".to_owned());
        assert_eq!(reports(&mut desired), [(A, failed)]);
        assert_eq!(desired.withdraw(A), []);
        assert_eq!(desired.refit(A, vec![wanted(1, 1)], Vec::new()), [], "it ends");
        assert_eq!(reports(&mut desired), [(A, MitigationOutcome::Withdrawn)]);
    }

    #[test]
    fn an_announcer_that_takes_over_has_its_withdrawals_too() {
        let mut desired = DesiredRoutes::default();
        desired.apply(A, vec![wanted(0, 1)], Vec::new());
        desired.withdraw(A);
        desired.hand_over(0, 2);
        assert_eq!((desired.leaving_of(0).len(), desired.leaving_of(2).len()), (0, 1));
        assert_eq!(reports(&mut desired), [], "still not confirmed");
        desired.outcome(2, route(1).key(), MitigationOutcome::Withdrawn);
        assert_eq!(reports(&mut desired), [(A, MitigationOutcome::Withdrawn)]);
        desired.apply(B, vec![wanted(2, 1)], Vec::new());
        desired.withdraw(B);
        desired.forget(2);
        assert_eq!(reports(&mut desired), [(B, MitigationOutcome::Withdrawn)], "with it");
        assert!(desired.places.is_empty() && desired.mitigations.is_empty());
    }

    #[test]
    fn who_is_told_something_else_is_told_before_the_others_lose_it() {
        let mut desired = DesiredRoutes::default();
        desired.apply(A, vec![wanted(0, 1)], Vec::new());
        let edge = Audience::Peer("edge1".to_owned());
        let told = Told::from([(edge.clone(), route(1))]);
        let orders = desired.refit(A, vec![(0, route(1).key(), told)], Vec::new());
        let narrow = Desired { route: route(1), audience: edge };
        assert_eq!(orders, [Order::Announce(0, Box::new(narrow)), withdraw(0)]);
    }

    #[test]
    fn without_an_announcer_it_fails_at_once() {
        let mut desired = DesiredRoutes::default();
        desired.apply(A, Vec::new(), vec!["nobody".to_owned()]);
        let failed = MitigationOutcome::Failed("nobody".to_owned());
        assert_eq!(reports(&mut desired), [(A, failed)]);
        desired.withdraw(A);
        assert_eq!(reports(&mut desired), [(A, MitigationOutcome::Withdrawn)]);
    }
}
