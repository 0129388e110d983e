//! Every component of a FlowSpec rule, for both IP versions, and every action: from our table,
//! through a message, to what a peer reads. The octets of components are those of RFC 8955 and
//! RFC 8956; those of actions are in `action.rs`.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidewall_bgp::action::{Action, Actions, Rate, RouteTarget};
use tidewall_bgp::flowspec::{
    BitmaskTerm, Component, ComponentKind, FlowSpecRule, NumericOp, NumericTerm, PrefixMatch,
    fragment,
};
use tidewall_bgp::message::{MAX_MESSAGE, RawMessage};
use tidewall_bgp::session::Negotiated;
use tidewall_bgp::update::{Update, UpdateContext};
use tidewall_bgp::{
    AdjRibOut, FamilySet, FlowSpecRoute, Nlri, PeerProfile, RouteAttributes, RouteError, RouteKey,
};
use tidewall_model::Family;

const LOCAL_AS: u32 = 65_010;

fn equal(value: u64) -> Vec<NumericTerm> {
    vec![NumericTerm::equal(value)]
}

fn prefix(text: &str) -> PrefixMatch {
    PrefixMatch::new(text.parse().unwrap())
}

/// Each component with a protocol that it needs, and the octets of the rule behind its destination.
fn components(family: Family) -> Vec<(ComponentKind, Vec<Component>, &'static str)> {
    let v6 = family == Family::V6;
    let protocol = |number| Component::Protocol(equal(number));
    let range = || NumericTerm::between(400, 1_500).to_vec();
    let icmp = if v6 { 58 } else { 1 };
    let at_least = vec![NumericTerm::new(NumericOp::AtLeast, 1_024)];
    let flags = vec![BitmaskTerm::any(0x02), BitmaskTerm::none(0x10).and()];
    let whole = vec![BitmaskTerm::none(fragment::IS_FRAGMENT)];
    let (source, source_octets) = if v6 {
        (prefix("2001:db8:7::/48"), "02 30 00 20010db80007")
    } else {
        (prefix("198.51.100.0/24"), "02 18 c63364")
    };
    let mut all = vec![
        (ComponentKind::Destination, vec![], ""),
        (ComponentKind::Source, vec![Component::Source(source)], source_octets),
        (ComponentKind::Protocol, vec![protocol(47)], "03 812f"),
        (ComponentKind::Port, vec![protocol(17), Component::Port(equal(53))], "03 8111 04 8135"),
        (
            ComponentKind::DestinationPort,
            vec![protocol(6), Component::DestinationPort(at_least)],
            "03 8106 05 930400",
        ),
        (
            ComponentKind::SourcePort,
            vec![protocol(17), Component::SourcePort(equal(123))],
            "03 8111 06 817b",
        ),
        (
            ComponentKind::IcmpType,
            vec![protocol(icmp), Component::IcmpType(equal(8))],
            if v6 { "03 813a 07 8108" } else { "03 8101 07 8108" },
        ),
        (
            ComponentKind::IcmpCode,
            vec![protocol(icmp), Component::IcmpCode(equal(0))],
            if v6 { "03 813a 08 8100" } else { "03 8101 08 8100" },
        ),
        (
            ComponentKind::TcpFlags,
            vec![protocol(6), Component::TcpFlags(flags)],
            "03 8106 09 0002 c210",
        ),
        (ComponentKind::PacketLength, vec![Component::PacketLength(range())], "0a 130190 d505dc"),
        (ComponentKind::Dscp, vec![Component::Dscp(equal(46))], "0b 812e"),
        (ComponentKind::Fragment, vec![Component::Fragment(whole)], "0c 8202"),
    ];
    if v6 {
        let label = Component::FlowLabel(equal(0x1_2345));
        all.push((ComponentKind::FlowLabel, vec![label], "0d a100012345"));
    }
    all
}

fn rates_and_others() -> Vec<Actions> {
    let address = Ipv4Addr::new(192, 0, 2, 1);
    let sixth = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
    let rate = |value| Rate::new(value).unwrap();
    let redirect = |target| vec![Action::Redirect(target)];
    let to = |address: IpAddr, copy| vec![Action::RedirectToIp { address, copy }];
    let older = |copy| vec![Action::RedirectToNextHop { address: address.into(), copy }];
    let all = [
        vec![Action::DISCARD],
        vec![Action::RateBytes(rate(125_000.0))],
        vec![Action::RatePackets(rate(100_000.0))],
        redirect(RouteTarget::As2(65_002, 100)),
        redirect(RouteTarget::As4(70_000, 7)),
        redirect(RouteTarget::Ipv4(address, 7)),
        redirect(RouteTarget::Ipv6(sixth, 7)),
        to(address.into(), false),
        to(address.into(), true),
        to(sixth.into(), false),
        older(false),
        older(true),
        vec![Action::Mark(46)],
        vec![Action::Traffic { sample: true, go_on: false }],
        vec![Action::RateBytes(rate(1e6)), Action::Traffic { sample: true, go_on: true }],
    ];
    all.into_iter().map(|actions| Actions::new(actions).unwrap()).collect()
}

fn table() -> AdjRibOut {
    let mut table = AdjRibOut::new(LOCAL_AS, PeerProfile::default());
    table.session_up(Negotiated {
        peer_as: 65_003,
        router_id: Ipv4Addr::new(10, 99, 0, 3),
        hold_time: 90,
        families: FamilySet::ALL,
        four_octet_as: true,
        enhanced_refresh: false,
        max_message: MAX_MESSAGE,
        restart: None,
    });
    table
}

/// The only message of a table: its route, the octets of the route, and the actions with it.
fn read(table: &mut AdjRibOut, announced: bool) -> (Nlri, String, Vec<Action>) {
    let mut out = Vec::new();
    assert!(table.next_message(&mut out));
    let raw = RawMessage::parse(&out, MAX_MESSAGE).unwrap().unwrap();
    let context = UpdateContext { four_octet_as: true, internal: false };
    let update = Update::parse(raw.body, context).unwrap();
    let routes: Vec<_> = update.routes().collect();
    let [(really, Ok(nlri))] = routes.as_slice() else { panic!("{routes:?}") };
    assert_eq!(*really, announced);
    let octets = match (update.reach, update.unreach) {
        (Some(reach), None) => reach.nlri,
        (None, Some(unreach)) => unreach.nlri,
        other => panic!("{other:?}"),
    };
    let octets = octets.iter().fold(String::new(), |text, octet| format!("{text}{octet:02x}"));
    let hop = update.reach.and_then(|reach| reach.next_hop_address());
    let plain = update.attributes.extended.iter().filter_map(|community| {
        // In the older form of a redirect the address is the next hop.
        let older = |address| Action::RedirectToNextHop { address, copy: community.0[7] & 1 != 0 };
        let is_older = community.kind() == 0x0800;
        if is_older { hop.map(older) } else { Action::from_extended(*community) }
    });
    let ipv6 = update.attributes.ipv6_extended.iter();
    let actions = plain.chain(ipv6.filter_map(|c| Action::from_ipv6_extended(*c)));
    (nlri.clone(), octets, actions.collect())
}

#[test]
fn every_component_is_read_by_the_peer_as_it_was_meant() {
    for (family, destination, head) in [
        (Family::V4, "203.0.113.7/32", "01 20 cb007107"),
        (Family::V6, "2001:db8::7/128", "01 80 00 20010db8000000000000000000000007"),
    ] {
        let all = components(family);
        let kinds: Vec<ComponentKind> = all.iter().map(|(kind, ..)| *kind).collect();
        // Of no peer is anything left out by default, so these are all that there are.
        let mut all_kinds: Vec<_> = PeerProfile::default().components.into_iter().collect();
        all_kinds.retain(|kind| *kind != ComponentKind::FlowLabel || family == Family::V6);
        assert_eq!(kinds, all_kinds, "one case for each");
        for (kind, components, tail) in all {
            let components =
                [Component::Destination(prefix(destination))].into_iter().chain(components);
            let rule = FlowSpecRule::new(family, components).unwrap();
            let route =
                FlowSpecRoute::new(rule.clone(), Actions::discard(), RouteAttributes::default());
            let mut table = table();
            table.announce(route.unwrap().into());
            let body = format!("{head}{tail}").replace(' ', "");
            let want = format!("{:02x}{body}", body.len() / 2);
            let (nlri, octets, actions) = read(&mut table, true);
            assert_eq!((&octets, actions), (&want, vec![Action::DISCARD]), "{kind}: {rule}");
            assert_eq!(nlri, Nlri::FlowSpec(rule));
            table.withdraw(&RouteKey::new(&nlri));
            let (gone, octets, _) = read(&mut table, false);
            assert_eq!((gone, octets), (nlri, want), "{kind}");
        }
    }
}

#[test]
fn every_action_is_read_by_the_peer_as_it_was_meant() {
    for destination in ["203.0.113.7/32", "2001:db8::7/128"] {
        let matched = prefix(destination);
        let family = matched.prefix().family();
        let rule = FlowSpecRule::new(family, [Component::Destination(matched)]).unwrap();
        for actions in rates_and_others() {
            let attributes = RouteAttributes::default();
            let route = FlowSpecRoute::new(rule.clone(), actions.clone(), attributes);
            // A redirect to an address of the other IP version is none that routers take.
            if matches!(route, Err(RouteError::RedirectFamily(..))) {
                continue;
            }
            let route = route.unwrap();
            let mut table = table();
            table.announce(route.into());
            let (_, _, read) = read(&mut table, true);
            assert_eq!(Actions::new(read), Ok(actions));
        }
    }
}
