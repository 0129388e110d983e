//! Seeds are what they say they are: a fuzzer that starts from junk finds nothing.

use std::collections::BTreeSet;

use tidewall_wire::frame::{TunnelKind, TunnelPolicy, dissect};
use tidewall_wire::pcap::Packets;

use super::*;

fn of(target: &str) -> Vec<Seed> {
    all().unwrap().into_iter().filter(|s| s.target == target).collect()
}

#[test]
fn names_are_unique_within_a_target() {
    let seeds = all().unwrap();
    let names: BTreeSet<_> = seeds.iter().map(|s| (s.target, &s.name)).collect();
    assert_eq!(names.len(), seeds.len());
    assert!(names.iter().all(|(_, name)| !name.contains(['/', ' '])));
}

#[test]
fn frames_dissect_and_every_tunnel_is_entered() {
    let mut entered = BTreeSet::new();
    for seed in of("frame") {
        let link = LinkType::SUPPORTED[usize::from(seed.bytes[0])];
        let outer = dissect(link, &seed.bytes[1..], &TunnelPolicy::OUTER);
        if matches!(seed.name.as_str(), "arp" | "macsec_ethertype") {
            assert!(outer.is_err(), "{}", seed.name);
            continue;
        }
        let outer = outer.unwrap_or_else(|e| panic!("{}: {e}", seed.name));
        assert!(outer.ip_length > 0, "{}", seed.name);
        let inner = dissect(link, &seed.bytes[1..], &TunnelPolicy::INNER).unwrap();
        entered.extend(inner.tunnels.kinds());
    }
    let missing: Vec<_> = TunnelKind::ALL.iter().filter(|k| !entered.contains(k)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn captures_parse() {
    for seed in of("pcap") {
        let packets: Result<Vec<_>, _> = Packets::new(&seed.bytes).collect();
        let packets = packets.unwrap_or_else(|e| panic!("{}: {e}", seed.name));
        let want = match seed.name.as_str() {
            "empty" => 0,
            "cut" => 1,
            ng if ng.starts_with("ng_") => 3,
            _ => 2,
        };
        assert_eq!(packets.len(), want, "{}", seed.name);
    }
    assert_eq!(of("pcapng").len(), 1);
    assert!(of("config").len() >= 5);
}

#[test]
fn bgp_messages_parse_and_rules_are_rules() {
    use tidewall_bgp::message::{MAX_MESSAGE, RawMessage};
    use tidewall_bgp::{Nlri, RouteFamily};
    let mut updates = 0;
    for seed in of("bgp_message") {
        let mut rest = &seed.bytes[1..];
        while !rest.is_empty() {
            let raw = RawMessage::parse(rest, MAX_MESSAGE).unwrap().unwrap();
            assert!(raw.message().is_ok(), "{}", seed.name);
            rest = &rest[raw.length..];
            updates += usize::from(seed.name == "updates");
        }
    }
    // Of both IP versions a prefix and two rules announced, and a withdrawal for each family.
    assert_eq!(updates, 6 + 4);
    for (seed, family) in
        of("bgp_flowspec").iter().zip([RouteFamily::Ipv4FlowSpec, RouteFamily::Ipv6FlowSpec])
    {
        let rules: Vec<_> = Nlri::list(family, &seed.bytes[1..]).collect();
        assert!(rules.len() == 2 && rules.iter().all(Result::is_ok), "{rules:?}");
    }
}
