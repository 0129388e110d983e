//! What it costs to make the messages for a peer that has nothing yet: of routes that all carry the
//! same, and of routes that all carry something else.

#![expect(clippy::expect_used, reason = "a benchmark stops when its set-up is wrong")]

use std::net::Ipv4Addr;

use tidewall_bgp::community::Community;
use tidewall_bgp::message::MAX_MESSAGE;
use tidewall_bgp::session::Negotiated;
use tidewall_bgp::{AdjRibOut, FamilySet, PeerProfile, Route, RouteAttributes, UnicastRoute};
use tidewall_model::{Address, Prefix};
use tidewall_testkit::bench::Bench;

fn main() {
    let mut bench = Bench::new("bgp");
    for (name, routes) in [("1k", 1_000u32), ("10k", 10_000)] {
        pack(&mut bench, &format!("pack/equal/{name}"), routes, false);
        pack(&mut bench, &format!("pack/different/{name}"), routes, true);
    }
}

/// A session that is up, with so many routes to be sent.
fn waiting(routes: u32, differ: bool) -> AdjRibOut {
    let profile = PeerProfile { max_unicast: usize::MAX, ..PeerProfile::default() };
    let mut rib = AdjRibOut::new(65_010, profile);
    rib.session_up(Negotiated {
        peer_as: 65_003,
        router_id: Ipv4Addr::new(10, 99, 0, 3),
        hold_time: 90,
        families: FamilySet::ALL,
        four_octet_as: true,
        enhanced_refresh: false,
        max_message: MAX_MESSAGE,
        restart: None,
    });
    rib.set_desired((0..routes).map(|n| route(n, if differ { n } else { 0 })));
    rib
}

fn route(number: u32, variant: u32) -> Route {
    let attributes = RouteAttributes {
        // In another order than the prefixes.
        med: Some(variant.wrapping_mul(0x9e37_79b9)),
        communities: vec![Community::BLACKHOLE, Community::NO_EXPORT],
        ..RouteAttributes::default()
    };
    let prefix = Prefix::host(Address::v4(0xc612_0000 + number));
    let route = UnicastRoute::new(prefix, [192, 0, 2, 1].into(), attributes);
    route.expect("a route").into()
}

fn pack(bench: &mut Bench, name: &str, routes: u32, differ: bool) {
    if !bench.wants(name) {
        return;
    }
    let send_all = |rib: &mut AdjRibOut| {
        let (mut out, mut octets) = (Vec::new(), 0);
        while rib.next_message(&mut out) {
            octets += out.len();
            out.clear();
        }
        octets
    };
    bench.run_fresh(name, "ns/route", routes.into(), || waiting(routes, differ), send_all);
}
