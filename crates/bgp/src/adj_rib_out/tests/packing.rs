//! Packing: whatever routes there are, each message is within its bound and as full as it can be,
//! and all routes come out once, with what they carry.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

/// Octets of a host route of IPv4 in a message.
const HOST_OCTETS: usize = 5;

/// A host route with one of some sets of attributes.
fn carrying(number: u32, variant: u32) -> Route {
    let communities = (0..variant % 60).map(Community).collect();
    let attributes =
        RouteAttributes { med: Some(variant % 7), communities, ..RouteAttributes::default() };
    let prefix = Prefix::host(Address::v4(0xc612_0000 + number));
    UnicastRoute::new(prefix, [192, 0, 2, 1].into(), attributes).unwrap().into()
}

/// One message: what its routes carry, the routes, and its octets.
struct Packed {
    attributes: PathAttributes,
    keys: Vec<RouteKey>,
    octets: usize,
}

fn packed(rib: &mut AdjRibOut) -> Vec<Packed> {
    let (mut all, mut out) = (Vec::new(), Vec::new());
    while rib.next_message(&mut out) {
        let raw = RawMessage::parse(&out, MAX_EXTENDED_MESSAGE).unwrap().unwrap();
        assert_eq!(raw.length, out.len(), "one message at a time");
        let Message::Update(body) = raw.message().unwrap() else { panic!("no UPDATE") };
        let context = UpdateContext { four_octet_as: true, internal: false };
        let update = Update::parse(body, context).unwrap();
        let keys = update.routes().map(|(_, nlri)| RouteKey::new(&nlri.unwrap())).collect();
        all.push(Packed { attributes: update.attributes.clone(), keys, octets: out.len() });
        out.clear();
        assert!(all.len() < 10_000, "no end");
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(0x7061_636b),
        failure_persistence: None,
        cases: 60,
        ..ProptestConfig::default()
    })]

    #[test]
    fn messages_are_full_and_hold_every_route_once(
        variants in vec(0..200_u32, 0..2_500),
        few: bool,
        max_message in prop_oneof![Just(MAX_MESSAGE), Just(MAX_EXTENDED_MESSAGE)],
    ) {
        let profile = PeerProfile { max_unicast: 5_000, ..Default::default() };
        let mut rib = up(profile, Negotiated { max_message, ..negotiated() });
        let routes = variants.iter().enumerate();
        let routes: BTreeMap<RouteKey, Route> = routes
            .map(|(n, variant)| carrying(n as u32, if few { variant % 2 } else { *variant }))
            .map(|route| (route.key(), route))
            .collect();
        rib.set_desired(routes.values().cloned());
        prop_assert_eq!(rib.pending(), routes.len());
        let messages = packed(&mut rib);
        let mut seen: BTreeMap<RouteKey, &PathAttributes> = BTreeMap::new();
        let mut room: Vec<(&PathAttributes, bool)> = Vec::new();
        for Packed { attributes, keys, octets } in &messages {
            prop_assert!(*octets <= max_message && !keys.is_empty());
            for key in keys {
                prop_assert!(seen.insert(key.clone(), attributes).is_none(), "{} twice", key);
            }
            // Another message with the same attributes: then this one is full.
            let is_full = octets + HOST_OCTETS > max_message;
            match room.iter_mut().find(|(of, _)| of == &attributes) {
                Some((_, full)) => prop_assert!(std::mem::replace(full, is_full)),
                None => room.push((attributes, is_full)),
            }
        }
        prop_assert_eq!(seen.len(), routes.len());
        for (key, route) in &routes {
            let Route::Unicast(route) = route else { continue };
            let carried = seen.get(key).unwrap();
            prop_assert_eq!(&carried.communities, &route.attributes().communities);
            prop_assert_eq!(carried.med, route.attributes().med);
        }
        prop_assert!(rib.is_settled());
    }
}

/// Changes of mind leave no empty batch, and no route in two.
#[test]
fn a_route_is_in_one_batch_whatever_it_was_to_carry_before() {
    let mut rib = up(PeerProfile::default(), negotiated());
    for round in 0..50 {
        for number in 0..20 {
            rib.announce(carrying(number, round + number % 3));
        }
    }
    assert_eq!(rib.pending(), 20);
    assert_eq!(packed(&mut rib).len(), 3);
    rib.announce(carrying(0, 9));
    rib.withdraw(&carrying(0, 9).key());
    assert_eq!(pulled(&mut rib), ["-198.18.0.0/32"]);
    assert!(rib.tables.iter().all(|table| table.announce.is_empty()));
}
