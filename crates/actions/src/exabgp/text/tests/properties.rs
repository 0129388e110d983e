//! Any route that can be made is read back equal, or refused; with a fixed seed.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;
use tidewall_bgp::community::{Community, LargeCommunity};
use tidewall_bgp::flowspec::PrefixMatch;
use tidewall_model::Address;

use super::super::super::tests::reader::{Read, read};
use super::super::*;
use super::LOCAL_AS;

fn prefix(v6: bool) -> impl Strategy<Value = Prefix> {
    (any::<u128>(), 0..=128_u8).prop_map(move |(bits, len)| {
        let address = if v6 { Address::v6(bits) } else { Address::v4(bits as u32) };
        Prefix::containing(address, if v6 { len } else { len % 33 })
    })
}

fn attributes() -> impl Strategy<Value = RouteAttributes> {
    let origin = select(vec![Origin::Igp, Origin::Igp, Origin::Egp, Origin::Incomplete]);
    let kinds = select(vec![0x0002_u16, 0x0103, 0x0202, 0x4002, 0x030b, 0x0600, 0x8006]);
    let extended = (kinds, any::<[u8; 6]>()).prop_map(|(kind, [a, b, c, d, e, f])| {
        let [high, low] = kind.to_be_bytes();
        ExtendedCommunity([high, low, a, b, c, d, e, f])
    });
    (
        (origin, option::weighted(0.2, any::<u32>()), option::weighted(0.2, any::<u32>())),
        prop_oneof![Just(0), Just(0), 1..=10_u8],
        vec(any::<u32>().prop_map(Community), 0..4),
        vec(extended, 0..2),
        vec(any::<[u32; 3]>().prop_map(LargeCommunity), 0..4),
    )
        .prop_map(|((origin, med, local_pref), prepend, communities, extended, large)| {
            RouteAttributes { origin, med, local_pref, prepend, communities, extended, large }
        })
}

fn unicast() -> impl Strategy<Value = Option<Route>> {
    (any::<bool>(), any::<u128>(), attributes()).prop_flat_map(|(v6, bits, attributes)| {
        prefix(v6).prop_map(move |prefix| {
            let next_hop =
                if v6 { IpAddr::V6(bits.into()) } else { IpAddr::V4((bits as u32).into()) };
            UnicastRoute::new(prefix, next_hop, attributes.clone()).ok().map(Into::into)
        })
    })
}

fn numbers(max: u64) -> impl Strategy<Value = Vec<NumericTerm>> {
    use NumericOp::{AtLeast, AtMost, Equal, Greater, Less, NotEqual};
    let op = select(vec![Equal, Greater, AtLeast, Less, AtMost, NotEqual]);
    let term = (any::<bool>(), op, 0..=max);
    vec(term.prop_map(|(and, op, value)| NumericTerm { and, op, value }), 1..5)
}

fn masks(known: u16) -> impl Strategy<Value = Vec<BitmaskTerm>> {
    let term = (any::<[bool; 3]>(), any::<u16>());
    vec(
        term.prop_map(move |([and, not, all], mask)| {
            let mask = if mask & known == 0 { known } else { mask & known };
            BitmaskTerm { and, not, all, mask }
        }),
        1..4,
    )
}

/// Components that go together: of TCP, UDP, ICMP or any protocol.
fn components(v6: bool) -> impl Strategy<Value = Vec<Component>> {
    let fragments = if v6 { 0x0e } else { 0x0f };
    let sorts = vec![Some(6), Some(17), Some(if v6 { 58 } else { 1 }), None];
    (
        (option::weighted(0.8, prefix(v6)), option::weighted(0.3, prefix(v6)), select(sorts)),
        (numbers(0xffff), numbers(0xffff), numbers(0xff), numbers(0xff), masks(0xff)),
        (option::of(numbers(0xffff)), option::of(numbers(63)), option::of(masks(fragments))),
        (option::of(numbers(0xf_ffff)), any::<bool>(), numbers(0xff)),
    )
        .prop_map(move |(prefixes, layer_4, packet, (label, either, protocols))| {
            let (destination, source, sort) = prefixes;
            let (source_port, destination_port, icmp_type, icmp_code, flags) = layer_4;
            let mut list = Vec::new();
            list.extend(destination.map(|prefix| Component::Destination(PrefixMatch::new(prefix))));
            list.extend(source.map(|prefix| Component::Source(PrefixMatch::new(prefix))));
            list.push(Component::Protocol(match sort {
                Some(number) => vec![NumericTerm::equal(number)],
                None => protocols,
            }));
            match sort {
                Some(6) => {
                    list.extend([Component::TcpFlags(flags), Component::Port(source_port)]);
                }
                Some(17) => {
                    list.push(Component::SourcePort(source_port));
                    list.extend(either.then_some(Component::DestinationPort(destination_port)));
                }
                Some(_) => {
                    list.extend([Component::IcmpType(icmp_type), Component::IcmpCode(icmp_code)]);
                }
                None => {}
            }
            let (length, dscp, fragment) = packet;
            list.extend(length.map(Component::PacketLength));
            list.extend(dscp.map(Component::Dscp));
            list.extend(fragment.map(Component::Fragment));
            list.extend(label.filter(|_| v6).map(Component::FlowLabel));
            list
        })
}

fn actions(v6: bool) -> impl Strategy<Value = Vec<Action>> {
    let address = any::<u128>().prop_map(move |bits| {
        if v6 { IpAddr::V6(bits.into()) } else { IpAddr::V4((bits as u32).into()) }
    });
    let rate = prop_oneof![0..2_000_000_u32, any::<u32>()]
        .prop_filter_map("a rate", |bits| Rate::new(bits as f32 / 2.0));
    let redirect = (0..6_u8, any::<u32>(), any::<u16>(), any::<bool>(), address).prop_map(
        |(sort, number, value, copy, address)| match (sort, address) {
            (0, _) => Action::Redirect(RouteTarget::As2(value, number)),
            (1, _) => Action::Redirect(RouteTarget::As4(number, value)),
            (2, _) => Action::Redirect(RouteTarget::As4(number % 70_000, value)),
            (3, IpAddr::V4(address)) => Action::Redirect(RouteTarget::Ipv4(address, value)),
            (3, IpAddr::V6(address)) => Action::Redirect(RouteTarget::Ipv6(address, value)),
            (4, address) => Action::RedirectToIp { address, copy },
            (_, address) => Action::RedirectToNextHop { address, copy },
        },
    );
    let flags = any::<[bool; 2]>();
    let sample = flags.prop_map(|[sample, go_on]| Action::Traffic { sample, go_on });
    let rate = (rate, any::<bool>()).prop_map(|(rate, bytes)| {
        if bytes { Action::RateBytes(rate) } else { Action::RatePackets(rate) }
    });
    let mark = (0..64_u8).prop_map(Action::Mark);
    (option::of(rate), option::of(sample), option::of(redirect), option::of(mark))
        .prop_map(|(a, b, c, d)| [a, b, c, d].into_iter().flatten().collect())
}

fn flow_spec() -> impl Strategy<Value = Option<Route>> {
    (any::<bool>(), option::of(attributes())).prop_flat_map(|(v6, attributes)| {
        (components(v6), actions(v6)).prop_map(move |(components, actions)| {
            let family = if v6 { Family::V6 } else { Family::V4 };
            let rule = FlowSpecRule::new(family, components).ok()?;
            let mut attributes = attributes.clone().unwrap_or_default();
            attributes.prepend = 0;
            let actions = Actions::new(actions).unwrap_or_else(|_| Actions::discard());
            FlowSpecRoute::new(rule, actions, attributes).ok().map(Into::into)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(0x6578_6162),
        failure_persistence: None,
        cases: 2_048,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_written_is_read_back(route in prop_oneof![unicast(), flow_spec()]) {
        let Some(route) = route else { return Ok(()) };
        if let Ok(line) = announcement(&route, Some(LOCAL_AS)) {
            prop_assert_eq!(read(&line, LOCAL_AS), Read::Announce(route.clone()), "{}", line);
        }
        for next_hop in [None, Some(IpAddr::from([192, 0, 2, 1]))] {
            if let Ok(line) = withdrawal(&route.key(), next_hop) {
                prop_assert_eq!(read(&line, LOCAL_AS), Read::Withdraw(route.key()), "{}", line);
            }
        }
    }

    /// Plain ones are never refused.
    #[test]
    fn plain_routes_can_be_said(v6 in any::<bool>(), bits in any::<u128>(), med in any::<u32>()) {
        let address = if v6 { Address::v6(bits) } else { Address::v4(bits as u32 & 0x7fff_ffff) };
        let next_hop = if v6 { "100::1" } else { "192.0.2.1" }.parse().unwrap();
        let attributes = RouteAttributes { med: Some(med), ..Default::default() };
        let route = UnicastRoute::new(Prefix::host(address), next_hop, attributes).unwrap().into();
        let line = announcement(&route, None).unwrap();
        prop_assert_eq!(read(&line, LOCAL_AS), Read::Announce(route));
    }
}
