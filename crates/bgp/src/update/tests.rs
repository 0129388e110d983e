//! UPDATEs written by hand: what is read of them, and which faults the session survives (RFC 7606).

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::attribute::{AsPath, Origin, write_attribute};
use crate::community::{Community, LargeCommunity};
use crate::message::{MAX_MESSAGE, RawMessage};

const EXTERNAL: UpdateContext = UpdateContext { four_octet_as: true, internal: false };
const INTERNAL: UpdateContext = UpdateContext { four_octet_as: true, internal: true };

/// The body of an UPDATE of these withdrawn routes, attributes (flags, type, value) and routes.
fn body(withdrawn: &[u8], attributes: &[(u8, u8, &[u8])], routes: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for (flags, kind, value) in attributes {
        write_attribute(*flags, *kind, value, &mut block);
    }
    let length = |octets: &[u8]| (octets.len() as u16).to_be_bytes();
    [&length(withdrawn), withdrawn, &length(&block), &block, routes].concat()
}

const ORIGIN: (u8, u8, &[u8]) = (0x40, 1, &[0]);
const PATH: (u8, u8, &[u8]) = (0x40, 2, &[2, 1, 0, 0, 0xfd, 0xf2]);
const NEXT_HOP: (u8, u8, &[u8]) = (0x40, 3, &[10, 99, 0, 10]);
const HOST: &[u8] = &[32, 203, 0, 113, 77];

fn parsed(attributes: &[(u8, u8, &[u8])], context: UpdateContext) -> (Option<AttributeError>, u32) {
    let body = body(&[], attributes, HOST);
    let update = Update::parse(&body, context).unwrap();
    (update.treat_as_withdraw, update.discarded)
}

#[test]
fn a_blackhole_is_read() {
    let communities = [0xff, 0xff, 2, 0x9a];
    let large = [0, 0, 0xfd, 0xf2, 0, 0, 2, 0x9a, 0, 0, 0, 1];
    let body = body(
        &[24, 198, 51, 100],
        &[ORIGIN, PATH, NEXT_HOP, (0xc0, 8, &communities), (0xc0, 32, &large), (0xe0, 99, &[7])],
        HOST,
    );
    let update = Update::parse(&body, EXTERNAL).unwrap();
    let routes: Vec<_> = update.routes().map(|(a, n)| (a, n.unwrap().to_string())).collect();
    assert_eq!(
        routes,
        [(false, "198.51.100.0/24".to_owned()), (true, "203.0.113.77/32".to_owned())]
    );
    assert_eq!(update.treat_as_withdraw, None);
    assert_eq!(update.attributes.origin, Some(Origin::Igp));
    assert_eq!(update.attributes.as_path, Some(AsPath::sequence(vec![65_010])));
    assert_eq!(update.attributes.communities, [Community::BLACKHOLE]);
    assert_eq!(update.attributes.large, [LargeCommunity([65_010, 666, 1])]);
    let other = &update.attributes.others[0];
    assert_eq!((other.flags, other.kind, other.value.as_slice()), (0xe0, 99, &[7][..]));
    assert_eq!(update.end_of_rib(), None);
}

#[test]
fn faults_of_attributes_make_a_withdrawal_and_not_an_end() {
    use AttributeError::{Flags, Length, Missing, Value};
    let good = [ORIGIN, PATH, NEXT_HOP];
    assert_eq!(parsed(&good, EXTERNAL), (None, 0));
    for (attributes, want) in [
        (vec![(0x40, 1, &[3][..]), PATH, NEXT_HOP], Value(1)),
        (vec![(0x40, 1, &[0, 0][..]), PATH, NEXT_HOP], Length { kind: 1, length: 2 }),
        (vec![(0xc0, 1, &[0][..]), PATH, NEXT_HOP], Flags { kind: 1, flags: 0xc0 }),
        (vec![ORIGIN, (0x40, 2, &[2, 2, 0, 0, 0, 1][..]), NEXT_HOP], Value(2)),
        (vec![ORIGIN, (0x40, 2, &[9, 1, 0, 0, 0, 1][..]), NEXT_HOP], Value(2)),
        (vec![ORIGIN, (0x40, 2, &[2, 0][..]), NEXT_HOP], Value(2)),
        (vec![ORIGIN, PATH, (0x40, 3, &[1, 2, 3][..])], Length { kind: 3, length: 3 }),
        (vec![PATH, NEXT_HOP], Missing(1)),
        (vec![ORIGIN, NEXT_HOP], Missing(2)),
        (vec![ORIGIN, PATH], Missing(3)),
        (vec![ORIGIN, PATH, NEXT_HOP, (0xc0, 8, &[1, 2, 3][..])], Length { kind: 8, length: 3 }),
        (vec![ORIGIN, PATH, NEXT_HOP, (0xc0, 8, &[][..])], Length { kind: 8, length: 0 }),
        (vec![ORIGIN, PATH, NEXT_HOP, (0xc0, 16, &[0; 9][..])], Length { kind: 16, length: 9 }),
        (vec![ORIGIN, PATH, NEXT_HOP, (0xc0, 32, &[0; 4][..])], Length { kind: 32, length: 4 }),
    ] {
        assert_eq!(parsed(&attributes, EXTERNAL).0, Some(want));
    }
    assert_eq!(parsed(&good, INTERNAL).0, Some(Missing(5)));
    let mut cut = body(&[], &good, HOST);
    // The length of the last attribute goes beyond all of them; the routes are still found.
    cut[19] = 200;
    let update = Update::parse(&cut, EXTERNAL).unwrap();
    assert!(matches!(update.treat_as_withdraw, Some(AttributeError::Cut(_))));
    assert_eq!(update.announced, HOST);
}

#[test]
fn faults_that_do_not_matter_leave_the_attribute_out() {
    let good = |extra| vec![ORIGIN, PATH, NEXT_HOP, extra];
    assert_eq!(parsed(&good((0x40, 5, &[0, 0, 0, 1])), EXTERNAL), (None, 1), "LOCAL_PREF");
    assert_eq!(parsed(&good((0x40, 6, &[1])), EXTERNAL), (None, 1), "ATOMIC_AGGREGATE");
    assert_eq!(parsed(&good((0xc0, 7, &[1])), EXTERNAL), (None, 1), "AGGREGATOR");
    assert_eq!(parsed(&good((0xc0, 17, &[1])), EXTERNAL), (None, 1), "AS4_PATH");
    assert_eq!(parsed(&good(ORIGIN), EXTERNAL), (None, 1), "ORIGIN twice");
}

#[test]
fn what_cannot_be_found_again_ends_the_session() {
    let end = |octets: &[u8]| {
        let notification = Update::parse(octets, EXTERNAL).unwrap_err().notification();
        (notification.code, notification.subcode)
    };
    assert_eq!(end(&[0, 9, 0, 0]), (3, 1));
    assert_eq!(end(&[0, 0, 0, 9]), (3, 1));
    assert_eq!(end(&body(&[33, 1, 2, 3, 4, 5], &[], &[])), (3, 10));
    assert_eq!(end(&body(&[], &[ORIGIN, PATH, NEXT_HOP], &[32, 1])), (3, 10));
    assert_eq!(end(&body(&[], &[(0x80, 14, &[0, 1])], &[])), (3, 9));
    assert_eq!(end(&body(&[], &[(0x80, 14, &[0, 1, 133, 4, 0])], &[])), (3, 9));
    let unreach = (0x80, 15, &[0, 1, 133][..]);
    assert_eq!(end(&body(&[], &[unreach, unreach], &[])), (3, 1));
}

#[test]
fn end_of_rib_in_both_forms() {
    for family in RouteFamily::ALL {
        let mut out = Vec::new();
        write_end_of_rib(family, &mut out);
        assert_eq!(out.len(), if family == RouteFamily::Ipv4Unicast { 23 } else { 29 });
        let update = Update::parse(&out[19..], EXTERNAL).unwrap();
        assert_eq!(update.end_of_rib(), Some(family.into()));
    }
    let withdrawal = body(HOST, &[], &[]);
    assert_eq!(Update::parse(&withdrawal, EXTERNAL).unwrap().end_of_rib(), None);
}

/// Without four-octet AS numbers: AS_TRANS in the path, the real one beside it (RFC 6793).
#[test]
fn as_numbers_of_four_octets_for_peers_of_two() {
    let attributes =
        PathAttributes { as_path: Some(AsPath::sequence(vec![70_000, 1])), ..Default::default() };
    let mut out = Vec::new();
    attributes.encode(false, &mut out);
    let want =
        [0x40, 2, 6, 2, 2, 0x5b, 0xa0, 0, 1, 0xc0, 17, 10, 2, 2, 0, 1, 0x11, 0x70, 0, 0, 0, 1];
    assert_eq!(out, want);
}

/// One library that was tried wrote sequences as sets: routers then refuse every route.
#[test]
fn the_path_is_a_sequence() {
    let attributes =
        PathAttributes { as_path: Some(AsPath::sequence(vec![65_010])), ..Default::default() };
    let mut out = Vec::new();
    attributes.encode(true, &mut out);
    assert_eq!(out, [0x40, 2, 6, 2, 1, 0, 0, 0xfd, 0xf2]);
}

#[test]
fn messages_are_filled_and_not_overfilled() {
    let routes: Vec<Vec<u8>> =
        (0..2_000_u32).map(|n| [&[32][..], &(0xcb00_7100 + n).to_be_bytes()].concat()).collect();
    let attributes = PathAttributes {
        origin: Some(Origin::Igp),
        as_path: Some(AsPath::default()),
        next_hop: Some([192, 0, 2, 1].into()),
        local_pref: Some(100),
        ..Default::default()
    };
    for family in [RouteFamily::Ipv4Unicast, RouteFamily::Ipv4FlowSpec] {
        let slices = || routes.iter().map(Vec::as_slice);
        let mut out = Vec::new();
        let count =
            write_announcements(family, &attributes, None, slices(), true, MAX_MESSAGE, &mut out);
        assert!(out.len() <= MAX_MESSAGE && out.len() + 5 > MAX_MESSAGE, "{} octets", out.len());
        let raw = RawMessage::parse(&out, MAX_MESSAGE).unwrap().unwrap();
        assert_eq!(raw.length, out.len());
        let mut out = Vec::new();
        let withdrawn = write_withdrawals(family, slices(), MAX_MESSAGE, &mut out);
        assert!(out.len() <= MAX_MESSAGE && withdrawn > count);
        let raw = RawMessage::parse(&out, MAX_MESSAGE).unwrap().unwrap();
        let update = Update::parse(raw.body, INTERNAL).unwrap();
        let bytes =
            if family.is_flow_spec() { update.unreach.unwrap().nlri } else { update.withdrawn };
        assert_eq!(bytes.len(), 5 * withdrawn);
        let mut out = Vec::new();
        assert_eq!(write_withdrawals(family, std::iter::empty(), MAX_MESSAGE, &mut out), 0);
        assert_eq!(out, []);
    }
}

fn config() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x0062_6770);
    ProptestConfig {
        rng_seed,
        failure_persistence: None,
        cases: 2_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_body_is_read_or_refused(
        octets in proptest::collection::vec(any::<u8>(), 0..200), four in any::<bool>(),
    ) {
        let context = UpdateContext { four_octet_as: four, internal: true };
        if let Ok(update) = Update::parse(&octets, context) {
            let known = update.routes().count();
            prop_assert!(known <= octets.len());
        }
    }

    #[test]
    fn a_damaged_update_never_gives_more_routes_than_octets(
        place in any::<usize>(), octet in any::<u8>(), cut in any::<usize>(),
    ) {
        let rule = [1, 32, 203, 0, 113, 77, 3, 0x81, 17];
        let reach = [&[0, 1, 133, 0, 0, 9][..], &rule].concat();
        let mut octets = body(HOST, &[(0x80, 14, &reach), ORIGIN, PATH, NEXT_HOP], HOST);
        let place = place % octets.len();
        octets[place] = octet;
        octets.truncate(octets.len() - cut % 3);
        if let Ok(update) = Update::parse(&octets, EXTERNAL) {
            prop_assert!(update.routes().count() <= octets.len());
        }
    }
}
