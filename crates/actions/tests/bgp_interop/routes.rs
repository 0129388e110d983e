//! Routes of the tests: what we mean, to be compared with what daemons print.

use std::net::IpAddr;

use tidewall_bgp::action::{Action, Actions, Rate};
use tidewall_bgp::community::{Community, LargeCommunity};
use tidewall_bgp::flowspec::{
    BitmaskTerm, Component, FlowSpecRule, NumericTerm, PrefixMatch, fragment,
};
use tidewall_bgp::{FlowSpecRoute, Route, RouteAttributes, UnicastRoute};
use tidewall_model::{Family, Prefix};

const SYN: u16 = 0x02;
const ACK: u16 = 0x10;

/// A blackhole with the communities of practice.
pub fn blackhole(prefix: &str, next_hop: IpAddr) -> Route {
    let attributes = RouteAttributes {
        communities: vec![Community::BLACKHOLE, Community::NO_EXPORT],
        large: vec![LargeCommunity([65_010, 666, 1])],
        ..Default::default()
    };
    UnicastRoute::new(prefix.parse().unwrap(), next_hop, attributes).unwrap().into()
}

/// A route with the attributes that depend on whose peer it is.
pub fn decorated(prefix: &str, next_hop: IpAddr) -> Route {
    let attributes = RouteAttributes {
        med: Some(7),
        local_pref: Some(200),
        prepend: 2,
        extended: vec!["target:65010:9".parse().unwrap()],
        ..Default::default()
    };
    UnicastRoute::new(prefix.parse().unwrap(), next_hop, attributes).unwrap().into()
}

fn rule(destination: &str, components: Vec<Component>, actions: Actions) -> Route {
    let prefix: Prefix = destination.parse().unwrap();
    let family = prefix.family();
    let components =
        [Component::Destination(PrefixMatch::new(prefix))].into_iter().chain(components);
    let rule = FlowSpecRule::new(family, components).unwrap();
    let attributes =
        RouteAttributes { communities: vec![Community::NO_EXPORT], ..Default::default() };
    FlowSpecRoute::new(rule, actions, attributes).unwrap().into()
}

fn equal(values: &[u64]) -> Vec<NumericTerm> {
    values.iter().map(|value| NumericTerm::equal(*value)).collect()
}

/// Amplification: UDP from ports 123 and 389, 400 to 1,500 octets, whole; limited to 1 Mbit/s.
pub fn amplification() -> Route {
    let limit = Action::RateBytes(Rate::new(125_000.0).unwrap());
    rule(
        "203.0.113.88/32",
        vec![
            Component::Protocol(equal(&[17])),
            Component::SourcePort(equal(&[123, 389])),
            Component::PacketLength(NumericTerm::between(400, 1_500).to_vec()),
            Component::Fragment(vec![BitmaskTerm::none(fragment::IS_FRAGMENT)]),
        ],
        Actions::new([limit]).unwrap(),
    )
}

/// UDP from 120 ports: 361 octets in one rule.
pub fn many_ports() -> Route {
    let ports: Vec<u64> = (1_000..1_120).collect();
    let components = vec![Component::Protocol(equal(&[17])), Component::SourcePort(equal(&ports))];
    rule("203.0.113.90/32", components, Actions::discard())
}

/// SYN flood: SYN without ACK; discarded.
pub fn syn_flood() -> Route {
    let flags = vec![BitmaskTerm::any(SYN), BitmaskTerm::none(ACK).and()];
    rule(
        "203.0.113.89/32",
        vec![Component::Protocol(equal(&[6])), Component::TcpFlags(flags)],
        Actions::discard(),
    )
}

/// DNS amplification towards an IPv6 host; discarded.
pub fn dns_over_ipv6() -> Route {
    let components = vec![Component::Protocol(equal(&[17])), Component::SourcePort(equal(&[53]))];
    let route = rule("2001:db8::88/128", components, Actions::discard());
    assert_eq!(route.family().ip(), Family::V6);
    route
}

/// One of many host routes; with communities of its own, so that no two share a message.
pub fn with_med(number: u16, med: u32, next_hop: IpAddr) -> Route {
    let [high, low] = number.to_be_bytes();
    let prefix = format!("198.18.{high}.{low}/32").parse().unwrap();
    let communities = (0..60).map(|n| Community(u32::from(number) << 8 | n)).collect();
    let attributes = RouteAttributes { med: Some(med), communities, ..Default::default() };
    UnicastRoute::new(prefix, next_hop, attributes).unwrap().into()
}
