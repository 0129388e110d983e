//! BGP: messages of every type, FlowSpec rules of both IP versions, sessions from start to end.

use std::net::Ipv4Addr;

use tidewall_bgp::action::{Action, Actions, Rate, RouteTarget};
use tidewall_bgp::community::Community;
use tidewall_bgp::flowspec::{BitmaskTerm, Component, FlowSpecRule, NumericTerm};
use tidewall_bgp::message::{MAX_MESSAGE, keepalive};
use tidewall_bgp::notification::Notification;
use tidewall_bgp::open::{Capabilities, GracefulRestart, Open};
use tidewall_bgp::refresh::{RefreshKind, RouteRefresh};
use tidewall_bgp::session::Negotiated;
use tidewall_bgp::update::write_end_of_rib;
use tidewall_bgp::{
    AdjRibOut, AfiSafi, FamilySet, FlowSpecRoute, PeerProfile, Route, RouteAttributes, RouteFamily,
    UnicastRoute,
};
use tidewall_model::{Address, Family, Prefix};

use super::Seed;

/// AS numbers of four octets, a peer of another AS: the first byte of the `bgp_message` target.
const FOUR_OCTETS: u8 = 1;
/// Numbers of events in the `bgp_session` target.
const START: u8 = 0;
const WITHDRAW: u8 = 2;
const OPENED: u8 = 3;
const BYTES: u8 = 6;
const ANNOUNCE: u8 = 9;
const PULL: u8 = 10;
const WAIT: u8 = 11;

pub(super) fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, bytes: Vec<u8>| {
        seeds.push(Seed { target, name: name.to_owned(), bytes });
    };
    for (name, message) in messages() {
        add("bgp_message", name, [&[FOUR_OCTETS], message.as_slice()].concat());
    }
    for (family, rules) in [(Family::V4, rules(Family::V4)), (Family::V6, rules(Family::V6))] {
        let mut bytes = vec![u8::from(family == Family::V6)];
        for rule in &rules {
            rule.encode(&mut bytes);
        }
        add("bgp_flowspec", if family == Family::V4 { "ipv4" } else { "ipv6" }, bytes);
    }
    add("bgp_session", "whole", session());
    seeds
}

fn open() -> Open {
    let families = RouteFamily::ALL.map(AfiSafi::from).to_vec();
    let restart = GracefulRestart {
        restarting: true,
        notification: true,
        time: 120,
        families: families.iter().map(|family| (*family, true)).collect(),
    };
    let capabilities = Capabilities {
        families,
        route_refresh: true,
        enhanced_refresh: true,
        extended_message: true,
        four_octet_as: Some(65_003),
        graceful_restart: Some(restart),
        others: vec![(73, b"\x04edge".to_vec())],
    };
    let router_id = Ipv4Addr::new(10, 99, 0, 3);
    Open { two_octet_as: 65_003, hold_time: 90, router_id, capabilities }
}

fn encoded(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn messages() -> Vec<(&'static str, Vec<u8>)> {
    let family = RouteFamily::Ipv6FlowSpec;
    let refresh = RouteRefresh { family: family.into(), kind: RefreshKind::Request };
    vec![
        ("open", encoded(|out| open().encode(out))),
        ("keepalive", encoded(keepalive)),
        ("notification", encoded(|out| Notification::cease(2, "maintenance").encode(out))),
        ("refresh", encoded(|out| refresh.encode(out))),
        ("end_of_rib", encoded(|out| write_end_of_rib(family, out))),
        ("updates", updates()),
    ]
}

/// A route of every family, announced and withdrawn.
fn updates() -> Vec<u8> {
    let mut rib = AdjRibOut::new(65_010, PeerProfile::default());
    rib.session_up(Negotiated {
        peer_as: 65_003,
        router_id: Ipv4Addr::new(10, 99, 0, 3),
        hold_time: 90,
        families: FamilySet::ALL,
        four_octet_as: true,
        enhanced_refresh: true,
        max_message: MAX_MESSAGE,
        restart: None,
    });
    rib.set_desired(routes());
    let mut out = Vec::new();
    while rib.next_message(&mut out) {}
    rib.set_desired([]);
    while rib.next_message(&mut out) {}
    out
}

fn host(family: Family) -> Prefix {
    Prefix::host(match family {
        Family::V4 => Address::v4(0xcb00_7107),
        Family::V6 => Address::v6(0x2001_0db8 << 96 | 7),
    })
}

fn routes() -> Vec<Route> {
    let communities = vec![Community::BLACKHOLE, Community::NO_EXPORT];
    let attributes = RouteAttributes { communities, med: Some(1), ..Default::default() };
    let rate = Rate::new(125_000.0).unwrap_or(Rate::ZERO);
    let limit = Actions::new([
        Action::RateBytes(rate),
        Action::Redirect(RouteTarget::As2(65_003, 1)),
        Action::Mark(8),
    ]);
    let mut routes = Vec::new();
    for (family, next_hop) in
        [(Family::V4, Address::v4(0xc000_0201)), (Family::V6, Address::v6(0x100 << 112 | 1))]
    {
        let unicast = UnicastRoute::new(host(family), next_hop.into(), attributes.clone());
        routes.extend(unicast.map(Route::from));
        for (rule, actions) in
            rules(family).into_iter().zip([Ok(Actions::discard()), limit.clone()])
        {
            let Ok(actions) = actions else { continue };
            let route = FlowSpecRoute::new(rule, actions, RouteAttributes::default());
            routes.extend(route.map(Route::from));
        }
    }
    routes
}

fn rules(family: Family) -> Vec<FlowSpecRule> {
    let equal = |values: &[u64]| values.iter().map(|v| NumericTerm::equal(*v)).collect();
    let target = || Component::Destination(host(family).into());
    let udp = [
        target(),
        Component::Protocol(equal(&[17])),
        Component::SourcePort(equal(&[123, 389])),
        Component::PacketLength(NumericTerm::between(400, 1_500).to_vec()),
        Component::Fragment(vec![BitmaskTerm::none(2)]),
    ];
    let tcp = [
        target(),
        Component::Source(host(family).into()),
        Component::Protocol(equal(&[6])),
        Component::TcpFlags(vec![BitmaskTerm::all(2), BitmaskTerm::none(0x10).and()]),
        Component::Dscp(equal(&[46])),
    ];
    [FlowSpecRule::new(family, udp), FlowSpecRule::new(family, tcp)].into_iter().flatten().collect()
}

/// Start, the peer's OPEN and KEEPALIVE in pieces, routes, a wait, the end.
fn session() -> Vec<u8> {
    let mut out = vec![START, 0, OPENED, 0];
    let family = RouteFamily::Ipv4Unicast.into();
    let refresh = RouteRefresh { family, kind: RefreshKind::Request };
    let stream =
        [encoded(|out| open().encode(out)), encoded(keepalive), encoded(|out| refresh.encode(out))]
            .concat();
    for piece in stream.chunks(0x3f) {
        out.extend([BYTES, piece.len() as u8]);
        out.extend(piece);
    }
    out.extend([ANNOUNCE, 1, PULL, 0, PULL, 0, WAIT, 30, WITHDRAW, 0]);
    out.extend(b"the end!");
    out
}
