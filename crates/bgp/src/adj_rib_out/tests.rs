//! What is sent for a desired set: by hand here, against a modelled peer in `model`.

mod model;
mod packing;

use std::net::Ipv4Addr;

use super::*;
use crate::action::{Action, Rate, RouteTarget};
use crate::attribute::{AsPath, PathAttributes};
use crate::community::Community;
use crate::family::{AfiSafi, FamilySet};
use crate::flowspec::{Component, ComponentKind, FlowSpecRule, NumericTerm};
use crate::message::{MAX_EXTENDED_MESSAGE, MAX_MESSAGE, Message, RawMessage};
use crate::route::{FlowSpecRoute, UnicastRoute};
use crate::session::PeerRestart;
use crate::update::{Update, UpdateContext};
use tidewall_model::{Address, Family, Prefix};

const LOCAL_AS: u32 = 65_010;

fn negotiated() -> Negotiated {
    Negotiated {
        peer_as: 65_003,
        router_id: Ipv4Addr::new(10, 99, 0, 3),
        hold_time: 90,
        families: FamilySet::ALL,
        four_octet_as: true,
        enhanced_refresh: false,
        max_message: MAX_MESSAGE,
        restart: None,
    }
}

fn restart() -> PeerRestart {
    let families = FamilySet::ALL;
    PeerRestart { families, time: 120, restarting: false, on_notification: true }
}

fn host(n: u32, communities: &[Community]) -> Route {
    let prefix = Prefix::host(Address::v4(0xcb00_7100 + n));
    let communities = communities.to_vec();
    let attributes = RouteAttributes { communities, ..Default::default() };
    UnicastRoute::new(prefix, [192, 0, 2, 1].into(), attributes).unwrap().into()
}

fn host6(n: u128) -> Route {
    let prefix = Prefix::host(Address::v6(0x2001_0db8 << 96 | n));
    let next_hop = "100::1".parse().unwrap();
    UnicastRoute::new(prefix, next_hop, RouteAttributes::default()).unwrap().into()
}

fn flow(family: Family, n: u32, ports: &[u64], actions: Actions) -> Route {
    let address = match family {
        Family::V4 => Address::v4(0xcb00_7100 + n),
        Family::V6 => Address::v6(0x2001_0db8 << 96 | u128::from(n)),
    };
    let components = [
        Component::Destination(Prefix::host(address).into()),
        Component::Protocol(vec![NumericTerm::equal(17)]),
        Component::SourcePort(ports.iter().map(|port| NumericTerm::equal(*port)).collect()),
    ];
    let rule = FlowSpecRule::new(family, components).unwrap();
    FlowSpecRoute::new(rule, actions, RouteAttributes::default()).unwrap().into()
}

fn discard(n: u32) -> Route {
    flow(Family::V4, n, &[53], Actions::discard())
}

fn up(profile: PeerProfile, negotiated: Negotiated) -> AdjRibOut {
    let mut rib = AdjRibOut::new(LOCAL_AS, profile);
    rib.session_up(negotiated);
    rib
}

/// All messages, each in words.
fn pulled(rib: &mut AdjRibOut) -> Vec<String> {
    let mut words = Vec::new();
    let mut out = Vec::new();
    while rib.next_message(&mut out) {
        words.push(in_words(&out));
        out.clear();
        assert!(words.len() < 10_000, "no end");
    }
    assert!(rib.is_settled());
    words
}

fn in_words(octets: &[u8]) -> String {
    let raw = RawMessage::parse(octets, MAX_EXTENDED_MESSAGE).unwrap().unwrap();
    assert_eq!(raw.length, octets.len(), "one message at a time");
    match raw.message().unwrap() {
        Message::RouteRefresh(refresh) => format!("{:?} {}", refresh.kind, refresh.family),
        Message::Update(body) => {
            let context = UpdateContext { four_octet_as: true, internal: false };
            let update = Update::parse(body, context).unwrap();
            assert_eq!(update.treat_as_withdraw, None);
            if let Some(family) = update.end_of_rib() {
                return format!("end of {family}");
            }
            let routes = update.routes().map(|(announced, nlri)| {
                format!("{}{}", if announced { "+" } else { "-" }, nlri.unwrap())
            });
            routes.collect::<Vec<_>>().join(" ")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn differences_only() {
    let mut rib = up(PeerProfile::default(), negotiated());
    assert_eq!(pulled(&mut rib), [""; 0]);
    rib.set_desired([host(1, &[]), host(2, &[])]);
    assert_eq!(pulled(&mut rib), ["+203.0.113.1/32 +203.0.113.2/32"], "packed together");
    rib.set_desired([host(2, &[]), host(3, &[])]);
    assert_eq!(pulled(&mut rib), ["-203.0.113.1/32", "+203.0.113.3/32"], "withdrawals first");
    rib.announce(host(2, &[Community::BLACKHOLE]));
    assert_eq!(pulled(&mut rib), ["+203.0.113.2/32"], "replaced, not withdrawn");
    rib.announce(host(2, &[Community::BLACKHOLE]));
    assert_eq!(pulled(&mut rib), [""; 0], "as it was");
    rib.announce(host(9, &[]));
    rib.withdraw(&host(9, &[]).key());
    rib.withdraw(&host(2, &[]).key());
    rib.announce(host(2, &[Community::BLACKHOLE]));
    assert_eq!(pulled(&mut rib), [""; 0], "gone before it was sent, back before it was withdrawn");
}

#[test]
fn attributes_depend_on_whose_peer_it_is() {
    let first = |negotiated, route: Route| {
        let mut rib = up(PeerProfile::default(), negotiated);
        rib.announce(route);
        let mut out = Vec::new();
        assert!(rib.next_message(&mut out));
        out
    };
    let attributes = RouteAttributes {
        prepend: 1,
        med: Some(5),
        local_pref: Some(200),
        communities: vec![Community::BLACKHOLE],
        ..Default::default()
    };
    let prefix = "203.0.113.1/32".parse().unwrap();
    let route = UnicastRoute::new(prefix, [192, 0, 2, 1].into(), attributes).unwrap();
    let parse = |octets: &[u8], internal| {
        let context = UpdateContext { four_octet_as: true, internal };
        Update::parse(&octets[19..], context).unwrap().attributes
    };
    let external = parse(&first(negotiated(), route.clone().into()), false);
    assert_eq!(external.as_path, Some(AsPath::sequence(vec![LOCAL_AS; 2])));
    assert_eq!((external.local_pref, external.med), (None, Some(5)));
    let of_ours = Negotiated { peer_as: LOCAL_AS, ..negotiated() };
    let internal = parse(&first(of_ours, route.into()), true);
    assert_eq!(internal.as_path, Some(AsPath::default()), "empty: feasible by RFC 9117");
    assert_eq!(internal.local_pref, Some(200));
    assert_eq!(parse(&first(of_ours, host(1, &[])), true).local_pref, Some(100));
}

/// The older redirect has its target as next hop; all other FlowSpec has none.
#[test]
fn next_hops_of_flowspec() {
    for (action, want) in [
        (Action::DISCARD, None),
        (Action::Redirect(RouteTarget::As2(65_000, 1)), None),
        (
            Action::RedirectToNextHop { address: [192, 0, 2, 9].into(), copy: false },
            Some(IpAddr::from([192, 0, 2, 9])),
        ),
    ] {
        let mut rib = up(PeerProfile::default(), negotiated());
        rib.announce(flow(Family::V4, 1, &[53], Actions::new([action]).unwrap()));
        let mut out = Vec::new();
        assert!(rib.next_message(&mut out));
        let context = UpdateContext { four_octet_as: true, internal: false };
        let update = Update::parse(&out[19..], context).unwrap();
        assert_eq!(update.reach.unwrap().next_hop_address(), want);
        assert_eq!(update.attributes.next_hop, None);
    }
}

/// A peer that did not offer a family ends the session when it gets a route of it.
#[test]
fn only_agreed_families_are_sent() {
    let families = FamilySet::NONE.with(RouteFamily::Ipv4Unicast);
    let mut rib = up(PeerProfile::default(), Negotiated { families, ..negotiated() });
    rib.set_desired([host(1, &[]), host6(1), discard(1)]);
    assert_eq!(pulled(&mut rib), ["+203.0.113.1/32"]);
    let states: Vec<_> = rib.routes().map(|status| status.state).collect();
    let waits = |family| RouteState::Waits(NotSent::Family(family));
    assert_eq!(
        states,
        [RouteState::Announced, waits(RouteFamily::Ipv6Unicast), waits(RouteFamily::Ipv4FlowSpec)]
    );
    assert_eq!(rib.pending(), 0);
    rib.session_down();
    assert_eq!(rib.status(&host(1, &[]).key()), Some(RouteState::Waits(NotSent::NoSession)));
}

#[test]
fn what_is_announced_stays_when_the_limit_is_reached() {
    let mut rib = up(PeerProfile { max_rules: 2, ..Default::default() }, negotiated());
    for n in [5, 4, 3, 2] {
        rib.announce(discard(n));
    }
    assert_eq!(pulled(&mut rib).len(), 1);
    let state = |rib: &AdjRibOut, n| rib.status(&discard(n).key()).unwrap();
    assert_eq!((state(&rib, 5), state(&rib, 4)), (RouteState::Announced, RouteState::Announced));
    let RouteState::Waits(reason) = state(&rib, 3) else { panic!() };
    assert_eq!(
        reason.to_string(),
        "waits because the peer takes at most 2 routes of IPv4 FlowSpec"
    );
    rib.withdraw(&discard(5).key());
    assert_eq!(state(&rib, 3), RouteState::Waits(reason), "until the place is free at the peer");
    let words = pulled(&mut rib);
    assert!(words[0].starts_with('-') && words[1].contains("203.0.113.3/32"), "{words:?}");
    rib.set_profile(PeerProfile { max_rules: 1, ..Default::default() });
    assert_eq!(pulled(&mut rib), [""; 0], "a lower limit withdraws nothing");
    rib.set_profile(PeerProfile::default());
    assert!(pulled(&mut rib)[0].contains("203.0.113.2/32"));
}

#[test]
fn refresh_sends_all_of_one_family_again() {
    let mut rib = up(PeerProfile::default(), negotiated());
    rib.set_desired([host(1, &[]), host(2, &[]), discard(1)]);
    pulled(&mut rib);
    rib.refresh(RouteFamily::Ipv4Unicast);
    rib.refresh(RouteFamily::Ipv4Unicast);
    assert_eq!(pulled(&mut rib), ["+203.0.113.1/32 +203.0.113.2/32"]);
    assert_eq!(rib.status(&host(1, &[]).key()), Some(RouteState::Announced));
}

#[test]
fn an_enhanced_refresh_is_marked_and_a_second_request_waits_its_turn() {
    let marked = Negotiated { enhanced_refresh: true, ..negotiated() };
    let mut rib = up(PeerProfile::default(), marked);
    rib.announce(host(1, &[]));
    pulled(&mut rib);
    rib.refresh(RouteFamily::Ipv4Unicast);
    let mut out = Vec::new();
    assert!(rib.next_message(&mut out));
    assert_eq!(in_words(&out), "Begin IPv4 unicast");
    rib.refresh(RouteFamily::Ipv4Unicast);
    rib.refresh(RouteFamily::Ipv4Unicast);
    let round = ["+203.0.113.1/32", "End IPv4 unicast"];
    let want = [&round[..], &["Begin IPv4 unicast"], &round].concat();
    assert_eq!(pulled(&mut rib), want);
    rib.refresh(RouteFamily::Ipv6Unicast);
    assert_eq!(pulled(&mut rib), ["Begin IPv6 unicast", "End IPv6 unicast"], "empty as it is");
}

/// End-of-RIB before the routes would make the peer drop what it has kept over our restart.
#[test]
fn end_of_rib_waits_for_the_desired_set() {
    let mut rib =
        up(PeerProfile::default(), Negotiated { restart: Some(restart()), ..negotiated() });
    assert_eq!(pulled(&mut rib), [""; 0], "the journal has not been read");
    assert!(!rib.initial_routes_sent());
    rib.announce(host(1, &[]));
    rib.announce(discard(1));
    rib.desired_is_complete();
    let words = pulled(&mut rib);
    let index = |wanted: &str| words.iter().position(|word| word.contains(wanted)).unwrap();
    assert!(index("end of IPv4 unicast") > index("+203.0.113.1/32"));
    assert!(index("end of IPv4 FlowSpec") > index("+match"));
    assert_eq!(words.iter().filter(|word| word.starts_with("end of")).count(), 4);
    assert!(rib.initial_routes_sent());
    rib.announce(host(2, &[]));
    assert_eq!(pulled(&mut rib), ["+203.0.113.2/32"], "only once");
}

#[test]
fn a_peer_without_graceful_restart_gets_no_end_of_rib() {
    let mut rib = up(PeerProfile::default(), negotiated());
    rib.desired_is_complete();
    assert_eq!(pulled(&mut rib), [""; 0]);
    assert!(rib.initial_routes_sent());
}

#[test]
fn changes_of_a_route_are_told() {
    let mut profile =
        PeerProfile { widened_rate: Rate::new(1e6), max_terms: 2, ..Default::default() };
    let mut rib = up(profile.clone(), negotiated());
    rib.announce(flow(Family::V4, 1, &[53, 123, 389, 1900], Actions::discard()));
    let changes = |rib: &AdjRibOut| -> Vec<String> {
        rib.routes().flat_map(|status| status.changes).map(ToString::to_string).collect()
    };
    assert_eq!(changes(&rib), ["as 2 rules"]);
    pulled(&mut rib);
    assert_eq!(rib.announced().count(), 2);
    profile.components.remove(&ComponentKind::SourcePort);
    rib.set_profile(profile.clone());
    assert_eq!(changes(&rib), ["without source-port, therefore limited to 1000000 bytes/s"]);
    let words = pulled(&mut rib);
    assert!(words[0].starts_with("-match") && words[1].ends_with("protocol =17"), "{words:?}");
    // Two desired rules become one; it stays until both are gone.
    rib.announce(flow(Family::V4, 1, &[19], Actions::discard()));
    assert_eq!(pulled(&mut rib), [""; 0]);
    assert!(rib.routes().all(|status| status.state == RouteState::Announced));
    rib.withdraw(&flow(Family::V4, 1, &[19], Actions::discard()).key());
    assert_eq!(pulled(&mut rib), [""; 0]);
    profile.widened_rate = None;
    rib.set_profile(profile);
    assert!(matches!(rib.routes().next().unwrap().state, RouteState::Waits(NotSent::Component(_))));
    assert_eq!(rib.announced().count(), 1, "still to be withdrawn");
    pulled(&mut rib);
    assert_eq!(rib.announced().count(), 0);
}

/// Nothing is made in advance: a peer that does not read costs no more than its routes.
#[test]
fn without_pulls_nothing_accumulates() {
    let mut rib = up(PeerProfile { max_unicast: 10_000, ..Default::default() }, negotiated());
    for round in 0..100 {
        for n in 0..50 {
            rib.announce(host(n, &[Community(round)]));
            rib.refresh(RouteFamily::Ipv4Unicast);
        }
        for n in 0..50 {
            rib.withdraw(&host(n, &[]).key());
        }
    }
    assert_eq!((rib.entries.len(), rib.pending()), (0, 0));
    rib.announce(host(1, &[]));
    assert_eq!(pulled(&mut rib), ["+203.0.113.1/32"]);
}

/// The most that a route can carry still fits into a message of 4,096 octets.
#[test]
fn the_largest_route_fits() {
    use crate::community::{ExtendedCommunity, LargeCommunity};
    use crate::route::{MAX_COMMUNITIES, MAX_PREPEND};
    let count = MAX_COMMUNITIES as u32;
    let attributes = RouteAttributes {
        med: Some(1),
        prepend: MAX_PREPEND,
        communities: (0..count).map(Community).collect(),
        extended: (0..count).map(|n| ExtendedCommunity([0, 2, 0, 0, 0, 0, 0, n as u8])).collect(),
        large: (0..count).map(|n| LargeCommunity([n, 0, 0])).collect(),
        ..Default::default()
    };
    let prefix: Prefix = "2001:db8::1/128".parse().unwrap();
    let ports = (0..50).map(|n| NumericTerm::equal(1_000 + n)).collect();
    let components = [
        Component::Destination(prefix.into()),
        Component::Protocol(vec![NumericTerm::equal(17)]),
        Component::SourcePort(ports),
    ];
    let rule = FlowSpecRule::new(Family::V6, components).unwrap();
    let next_hop = Action::RedirectToNextHop { address: "100::1".parse().unwrap(), copy: true };
    let sample = Action::Traffic { sample: true, go_on: true };
    let limit = Action::RateBytes(Rate::new(1.0).unwrap());
    let actions = Actions::new([next_hop, sample, limit, Action::Mark(1)]).unwrap();
    let route = FlowSpecRoute::new(rule, actions, attributes).unwrap();
    let mut rib = up(PeerProfile::default(), Negotiated { four_octet_as: false, ..negotiated() });
    rib.announce(route.into());
    let mut out = Vec::new();
    assert!(rib.next_message(&mut out));
    assert!(out.len() < MAX_MESSAGE, "{}", out.len());
    assert_eq!(rib.pending(), 0);
}
