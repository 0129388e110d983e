//! Lines as the reference writes them and as ExaBGP 4.2 was seen to take them, its traps, and a
//! property: what is written is read back as the same route, or refused.

mod properties;

use tidewall_bgp::community::{Community, LargeCommunity};
use tidewall_bgp::flowspec::PrefixMatch;

use super::*;

pub(super) const LOCAL_AS: u32 = 65_002;

fn line(route: impl Into<Route>) -> Result<String, Unsayable> {
    announcement(&route.into(), Some(LOCAL_AS))
}

fn via(prefix: &str, next_hop: &str, attributes: RouteAttributes) -> UnicastRoute {
    UnicastRoute::new(prefix.parse().unwrap(), next_hop.parse().unwrap(), attributes).unwrap()
}

fn rule(destination: &str, more: Vec<Component>) -> FlowSpecRule {
    let prefix: Prefix = destination.parse().unwrap();
    let components = [Component::Destination(PrefixMatch::new(prefix))].into_iter().chain(more);
    FlowSpecRule::new(prefix.family(), components).unwrap()
}

fn filter(rule: FlowSpecRule, actions: impl IntoIterator<Item = Action>) -> FlowSpecRoute {
    FlowSpecRoute::new(rule, Actions::new(actions).unwrap(), RouteAttributes::default()).unwrap()
}

fn does(action: Action) -> Result<String, Unsayable> {
    let v6 = matches!(
        action,
        Action::RedirectToIp { address: IpAddr::V6(_), .. }
            | Action::RedirectToNextHop { address: IpAddr::V6(_), .. }
    );
    let host = if v6 { "2001:db8::9/128" } else { "203.0.113.9/32" };
    line(filter(rule(host, Vec::new()), [action])).map(|line| {
        line.replace(&format!("match {{ destination {host}; }} "), "").trim().to_owned()
    })
}

fn equal(values: &[u64]) -> Vec<NumericTerm> {
    values.iter().map(|value| NumericTerm::equal(*value)).collect()
}

/// Its octets: `announce route <ip>/32 next-hop <nh> community <c>`, newline; on unban without
/// the community.
#[test]
fn a_blackhole_has_the_line_of_the_reference() {
    let communities = vec![Community(0xfde9_029a)];
    let attributes = RouteAttributes { communities, ..Default::default() };
    let route = via("203.0.113.7/32", "10.0.3.114", attributes);
    let announced = "announce route 203.0.113.7/32 next-hop 10.0.3.114 community 65001:666\n";
    assert_eq!(line(route.clone()).unwrap(), announced);
    let withdrawn = withdrawal(&Route::from(route.clone()).key(), Some(route.next_hop()));
    assert_eq!(withdrawn.unwrap(), "withdraw route 203.0.113.7/32 next-hop 10.0.3.114\n");
    let unknown = withdrawal(&Route::from(route).key(), None);
    assert_eq!(unknown.unwrap(), "withdraw route 203.0.113.7/32\n");
}

#[test]
fn everything_a_prefix_can_carry() {
    let attributes = RouteAttributes {
        origin: Origin::Incomplete,
        med: Some(7),
        local_pref: Some(200),
        prepend: 2,
        communities: vec![Community::BLACKHOLE, Community::NO_EXPORT],
        extended: vec!["target:192.0.2.1:9".parse().unwrap()],
        large: vec![LargeCommunity([65_010, 666, 1])],
    };
    let route = via("2001:db8::7/128", "100::1", attributes);
    let words = "announce route 2001:db8::7/128 next-hop 100::1 community [65535:666 65535:65281] \
                 large-community 65010:666:1 extended-community 0x0102c00002010009 med 7 \
                 local-preference 200 as-path [65002 65002 65002] origin incomplete\n";
    assert_eq!(line(route.clone()).unwrap(), words);
    assert_eq!(announcement(&route.into(), None), Err(Unsayable::Prepend));
}

/// Without brackets ExaBGP keeps the first port only; `not-a-fragment` is an empty mask; `=>=` is
/// refused; the octets that these lines become were compared with ours.
#[test]
fn rules_have_brackets_and_plain_signs() {
    let mut ports = equal(&[123, 389]);
    ports.extend(NumericTerm::between(1_900, 1_901));
    let amplification = rule(
        "203.0.113.30/32",
        vec![
            Component::Protocol(equal(&[17])),
            Component::SourcePort(ports),
            Component::PacketLength(NumericTerm::between(400, 1_500).to_vec()),
            Component::Fragment(vec![BitmaskTerm::none(fragment::IS_FRAGMENT)]),
        ],
    );
    let limit = Action::RateBytes(Rate::new(125_000.0).unwrap());
    let words = "announce flow route { match { destination 203.0.113.30/32; protocol [ =17 ]; \
                 source-port [ =123 =389 >=1900&<=1901 ]; packet-length [ >=400&<=1500 ]; \
                 fragment [ !is-fragment ]; } then { rate-limit 125000; } }\n";
    let route = filter(amplification, [limit]);
    assert_eq!(line(route.clone()).unwrap(), words);
    let words = "withdraw flow route { match { destination 203.0.113.30/32; protocol [ =17 ]; \
                 source-port [ =123 =389 >=1900&<=1901 ]; packet-length [ >=400&<=1500 ]; \
                 fragment [ !is-fragment ]; } }\n";
    assert_eq!(withdrawal(&Route::from(route).key(), None).unwrap(), words);

    let flags = vec![BitmaskTerm::all(0x0a), BitmaskTerm::none(0x10).and(), BitmaskTerm::any(0xc0)];
    let flags = rule(
        "2001:db8::9/128",
        vec![
            Component::Protocol(equal(&[6])),
            Component::TcpFlags(flags),
            Component::Dscp(equal(&[46])),
            Component::FlowLabel(vec![NumericTerm::new(NumericOp::NotEqual, 5)]),
        ],
    );
    let attributes = RouteAttributes {
        communities: vec![Community::NO_EXPORT],
        large: vec![LargeCommunity([1, 2, 3])],
        extended: vec!["target:65010:9".parse().unwrap()],
        ..Default::default()
    };
    let sample = Action::Traffic { sample: true, go_on: true };
    let actions = Actions::new([Action::DISCARD, sample]).unwrap();
    let route = FlowSpecRoute::new(flags, actions, attributes).unwrap();
    let words = "announce flow route { match { destination 2001:db8::9/128; next-header [ =6 ]; \
                 tcp-flags [ =syn+push&!ack ece+cwr ]; traffic-class [ =46 ]; flow-label [ !=5 ]; \
                 } then { discard; community [ 65535:65281 ]; large-community [ 1:2:3 ]; \
                 extended-community [ 0x8007000000000003 0x0002fdf200000009 ]; } }\n";
    assert_eq!(line(route).unwrap(), words);
}

#[test]
fn actions_in_words_or_octets() {
    let (v4, v6): (IpAddr, IpAddr) = ([192, 0, 2, 1].into(), "2001:db8::1".parse().unwrap());
    let as4 = |number| Action::Redirect(RouteTarget::As4(number, 7));
    for (action, words) in [
        (Action::DISCARD, "then { discard; } }"),
        (Action::Mark(46), "then { mark 46; } }"),
        (
            Action::RatePackets(Rate::new(1e5).unwrap()),
            "then { extended-community [ 0x800c000047c35000 ]; } }",
        ),
        // ExaBGP's "terminal" would set the bit for going on.
        (
            Action::Traffic { sample: false, go_on: false },
            "then { extended-community [ 0x8007000000000000 ]; } }",
        ),
        (Action::Redirect(RouteTarget::As2(65_002, 100)), "then { redirect 65002:100; } }"),
        (as4(70_000), "then { redirect 70000:7; } }"),
        (
            Action::Redirect(RouteTarget::Ipv4([192, 0, 2, 1].into(), 7)),
            "then { extended-community [ 0x8108c00002010007 ]; } }",
        ),
        (
            Action::RedirectToIp { address: v4, copy: false },
            "then { redirect-to-nexthop-ietf 192.0.2.1; } }",
        ),
        (
            Action::RedirectToIp { address: v4, copy: true },
            "then { extended-community [ 0x010cc00002010001 ]; } }",
        ),
        (
            Action::RedirectToIp { address: v6, copy: false },
            "then { redirect-to-nexthop-ietf 2001:db8::1; } }",
        ),
        (Action::RedirectToNextHop { address: v6, copy: true }, "then { copy 2001:db8::1; } }"),
        (
            Action::RedirectToNextHop { address: v6, copy: false },
            "next-hop 2001:db8::1; then { redirect-to-nexthop; } }",
        ),
    ] {
        assert_eq!(does(action).unwrap(), format!("announce flow route {{ {words}"), "{action}");
    }
    // Sent in another form, with other octets, or ExaBGP falls over it.
    let ipv6 = RouteTarget::Ipv6("2001:db8::1".parse().unwrap(), 7);
    let refused =
        [as4(65_001), Action::Redirect(ipv6), Action::RedirectToIp { address: v6, copy: true }];
    for action in refused {
        assert_eq!(does(action), Err(Unsayable::Action(action)));
    }
    for rate in [0.5, 9_600.5, 1.1e12] {
        let rate = Rate::new(rate).unwrap();
        assert_eq!(does(Action::RateBytes(rate)), Err(Unsayable::Rate(rate)));
    }
    assert!(does(Action::RateBytes(Rate::new(1e12).unwrap())).is_ok());
}

#[test]
fn what_exabgp_takes_for_something_else_is_refused() {
    let multicast = via("239.1.0.0/16", "192.0.2.1", RouteAttributes::default());
    assert_eq!(line(multicast.clone()), Err(Unsayable::Multicast(multicast.prefix())));
    let port = FlowSpecRule::new(Family::V6, [Component::Protocol(equal(&[17]))]).unwrap();
    assert_eq!(line(filter(port, [Action::DISCARD])), Err(Unsayable::NoPrefix));
    let many = Component::PacketLength(equal(&(300..400).collect::<Vec<_>>()));
    let long = line(filter(rule("203.0.113.9/32", vec![many]), [Action::DISCARD]));
    assert!(matches!(long, Err(Unsayable::Rule(NotAnnounceable::TooLong(_)))), "{long:?}");

    let extended = |text: &str| RouteAttributes {
        extended: vec![text.parse().unwrap()],
        ..Default::default()
    };
    // Mobility loses octets; a target that is not transitive prints like one that is.
    for text in ["0x0600fde900000007", "0x4002fde900000007"] {
        let refused = line(via("203.0.113.7/32", "192.0.2.1", extended(text)));
        assert_eq!(refused, Err(Unsayable::Community(text.parse().unwrap())));
    }
    assert!(line(via("203.0.113.7/32", "192.0.2.1", extended("0x030b000000000007"))).is_ok());

    let attributes = RouteAttributes { med: Some(1), ..Default::default() };
    let med = FlowSpecRoute::new(rule("203.0.113.9/32", vec![]), Actions::discard(), attributes);
    assert_eq!(line(med.unwrap()), Err(Unsayable::Attribute("MED")));
}

/// The longest route does not fit into one write: 64 communities of each sort.
#[test]
fn a_line_that_could_be_torn_is_refused() {
    let with = |count: u32| RouteAttributes {
        communities: (0..count).map(|n| Community(u32::MAX - n)).collect(),
        extended: (0..count)
            .map(|n| ExtendedCommunity([3, 0x0b, 9, 9, 9, 9, 9, n as u8]))
            .collect(),
        large: (0..count).map(|n| LargeCommunity([u32::MAX - n; 3])).collect(),
        ..Default::default()
    };
    let full = line(via("203.0.113.7/32", "192.0.2.1", with(64)));
    assert!(matches!(full, Err(Unsayable::TooLong(length)) if length > MAX_LINE), "{full:?}");
    assert!(line(via("203.0.113.7/32", "192.0.2.1", with(60))).is_ok());
}
