//! No input gets a forbidden target out, and the caps hold.

use proptest::collection::vec;
use proptest::prelude::*;
use tidewall_model::{Family, FilterAction, FilterRule};

use super::*;

fn p(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn rails(networks: &[&str], policy: &RailsPolicy) -> Rails {
    let networks: Vec<Prefix> = networks.iter().map(|n| p(n)).collect();
    Rails::new(policy, &networks, &[]).unwrap()
}

fn wish(kind: &MitigationKind, target: Prefix) -> Wish<'_> {
    Wish { kind, target, group: "g", most_of_group: 1000, dry_run: false }
}

const BLACKHOLE: MitigationKind = MitigationKind::Blackhole;

#[test]
fn each_rail_says_what_it_is() {
    let policy = RailsPolicy { protected: vec![p("198.51.100.8/30")], ..RailsPolicy::default() };
    let networks = [p("198.51.100.0/24"), p("198.51.100.0/25"), p("2001:db8::/32")];
    let rails = Rails::new(&policy, &networks, &[p("198.51.100.99/32")]).unwrap();
    let check = |target: &str| rails.check(&BLACKHOLE, p(target)).map_err(|r| r.to_string());
    assert_eq!(check("198.51.100.1"), Ok(p("198.51.100.0/25")), "the longest network");
    assert_eq!(check("2001:db8::1"), Ok(p("2001:db8::/32")));
    for (target, sentence) in [
        ("192.0.2.1", "192.0.2.1/32 is not inside one of our networks"),
        ("0.0.0.0/0", "0.0.0.0/0 is larger than the largest that may be announced, /32"),
        (
            "198.51.100.0/31",
            "198.51.100.0/31 is larger than the largest that may be announced, /32",
        ),
        ("2001:db8::/64", "2001:db8::/64 is larger than the largest that may be announced, /128"),
        ("198.51.100.9", "198.51.100.9/32 overlaps 198.51.100.8/30, which is protected"),
        ("198.51.100.99", "198.51.100.99/32 overlaps 198.51.100.99/32, which is on the whitelist"),
        ("127.0.0.1", "127.0.0.1/32 overlaps 127.0.0.0/8, which is reserved"),
    ] {
        assert_eq!(check(target), Err(sentence.to_owned()));
    }
    let rule = FilterRule { source: Some(p("::/0")), ..FilterRule::all(FilterAction::Discard) };
    let refused = rails.check(&MitigationKind::FlowSpec(rule), p("198.51.100.1"));
    assert!(matches!(refused, Err(Refusal::OtherFamily { .. })), "{refused:?}");
}

#[test]
fn a_diversion_must_not_cover_a_protected_host() {
    let policy = RailsPolicy { protected: vec![p("198.51.100.1/32")], ..RailsPolicy::default() };
    let rails = rails(&["198.51.0.0/16"], &policy);
    assert_eq!(rails.diverted(p("198.51.100.7/32")), p("198.51.100.0/24"));
    let refused = rails.check(&MitigationKind::Divert, p("198.51.100.0/24"));
    assert!(matches!(refused, Err(Refusal::Protected { .. })), "{refused:?}");
    assert!(rails.check(&MitigationKind::Divert, p("198.51.101.0/24")).is_ok());
}

#[test]
fn a_default_route_among_the_networks_allows_nothing() {
    let rails = rails(&["0.0.0.0/0", "::/0"], &RailsPolicy::default());
    assert!(matches!(rails.check(&BLACKHOLE, p("8.8.8.8")), Err(Refusal::NotOurs { .. })));
    assert!(matches!(rails.check(&BLACKHOLE, p("2600::1")), Err(Refusal::NotOurs { .. })));
}

#[test]
fn lengths_below_the_floor_are_no_policy() {
    for lengths in
        [Lengths { v4: 23, v6: 128 }, Lengths { v4: 33, v6: 128 }, Lengths { v4: 32, v6: 47 }]
    {
        let policy = RailsPolicy { shortest: lengths, ..RailsPolicy::default() };
        assert!(Rails::new(&policy, &[], &[]).is_err(), "{lengths:?}");
        let policy = RailsPolicy { shortest_diverted: lengths, ..RailsPolicy::default() };
        assert!(Rails::new(&policy, &[], &[]).is_err(), "{lengths:?}");
    }
}

#[test]
fn caps_count_what_is_out_and_dry_runs_apart() {
    let policy = RailsPolicy { most_routes: 3, ..RailsPolicy::default() };
    let mut rails = rails(&["198.51.100.0/24"], &policy);
    let host = |n: u32| Prefix::host(Address::v4(0xc633_6400 + n));
    let limited = |n| Wish { most_of_group: 2, ..wish(&BLACKHOLE, host(n)) };
    let first = rails.admit(&limited(1), Timestamp(1)).unwrap();
    let _second = rails.admit(&limited(2), Timestamp(1)).unwrap();
    let full = Refusal::GroupFull { group: "g".to_owned(), most: 2 };
    assert_eq!(rails.admit(&limited(3), Timestamp(1)), Err(full));
    let other = |n| Wish { group: "other", ..limited(n) };
    let _third = rails.admit(&other(3), Timestamp(1)).unwrap();
    assert_eq!(rails.admit(&other(4), Timestamp(1)), Err(Refusal::Full { most: 3 }));
    assert!(rails.admit(&Wish { dry_run: true, ..other(4) }, Timestamp(1)).is_ok());
    rails.release(first);
    assert!(rails.admit(&limited(3), Timestamp(1)).is_ok());
    assert_eq!(rails.routes(), 3);
}

fn addresses(prefix: Prefix) -> u128 {
    1 << (prefix.family().bits() - prefix.len())
}

/// Addresses of ours, network by network that no other holds.
fn ours(networks: &[Prefix], family: Family) -> u128 {
    let least = if family == Family::V4 { 8 } else { 7 };
    let mut list: Vec<Prefix> =
        networks.iter().copied().filter(|n| n.family() == family && n.len() >= least).collect();
    list.sort();
    list.dedup();
    let alone = |n: &&Prefix| !list.iter().any(|other| other != *n && other.covers(**n));
    list.iter().filter(alone).map(|n| addresses(*n)).sum()
}

#[test]
fn at_most_a_share_of_our_addresses_is_blackholed() {
    let host = |n: u32| Prefix::host(Address::v4(0xc633_6400 + n));
    let policy = |largest_share| RailsPolicy {
        largest_share,
        shortest: Lengths { v4: 28, v6: 64 },
        changes_per_minute: 1000,
        most_routes: 1000,
        ..RailsPolicy::default()
    };
    // A small network may always have some of its hosts blackholed, and not more.
    let mut small = rails(&["198.51.100.0/24"], &policy(0.01));
    let mut out: Vec<AllowedTarget> =
        (0..16).map(|n| small.admit(&wish(&BLACKHOLE, host(n)), Timestamp(1)).unwrap()).collect();
    let refused = small.admit(&wish(&BLACKHOLE, host(16)), Timestamp(1)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "at most 16 of our IPv4 addresses may be blackholed at once (`largest_share`), and 16 are"
    );
    let others =
        [MitigationKind::Divert, MitigationKind::FlowSpec(FilterRule::all(FilterAction::Discard))];
    for kind in &others {
        let target = if *kind == MitigationKind::Divert { p("198.51.100.0/24") } else { host(16) };
        assert!(small.admit(&wish(kind, target), Timestamp(1)).is_ok(), "{kind} takes nothing off");
    }
    let dry = Wish { dry_run: true, ..wish(&BLACKHOLE, host(16)) };
    assert!(small.admit(&dry, Timestamp(1)).is_ok(), "dry runs are counted apart");
    assert!(small.readmit(&wish(&BLACKHOLE, host(17))).is_ok(), "a restart takes nothing down");
    small.release(out.remove(0));
    small.release(out.remove(0));
    assert!(small.admit(&wish(&BLACKHOLE, host(16)), Timestamp(1)).is_ok());

    // Networks that nest count once; half of 256 are eight times 16.
    let mut half = rails(&["198.51.100.0/24", "198.51.100.128/25"], &policy(0.5));
    for n in 0..8 {
        let target = Prefix::containing(Address::v4(0xc633_6400 + n * 16), 28);
        assert!(half.admit(&wish(&BLACKHOLE, target), Timestamp(1)).is_ok(), "{target}");
    }
    assert!(half.admit(&wish(&BLACKHOLE, host(200)), Timestamp(1)).is_err());
    let mut v6 = rails(&["198.51.100.0/24", "2001:db8::/56"], &policy(0.01));
    assert!(v6.admit(&wish(&BLACKHOLE, p("2001:db8::/64")), Timestamp(1)).is_ok(), "1 of 256");
    assert!(v6.admit(&wish(&BLACKHOLE, p("2001:db8:0:1::/64")), Timestamp(1)).is_ok());
    let third = v6.admit(&wish(&BLACKHOLE, p("2001:db8:0:2::/64")), Timestamp(1));
    assert!(matches!(third, Err(Refusal::TooMuch { family: Family::V6, .. })), "{third:?}");
    assert!(v6.admit(&wish(&BLACKHOLE, host(1)), Timestamp(1)).is_ok(), "each family by itself");
}

/// Prefixes that are likely to meet each other, and any other.
fn prefix() -> impl Strategy<Value = Prefix> {
    let near = (any::<bool>(), 0u128..8, 0u8..=128).prop_map(|(v4, low, len)| {
        let address = if v4 {
            Address::v4(0xc633_6400 + low as u32)
        } else {
            Address::v6((0x2001_0db8 << 96) + low)
        };
        Prefix::containing(address, len)
    });
    let long = (any::<bool>(), 0u128..8, 0u8..=9).prop_map(|(v4, low, up)| {
        let address = if v4 {
            Address::v4(0xc633_6400 + low as u32)
        } else {
            Address::v6((0x2001_0db8 << 96) + low)
        };
        Prefix::containing(address, address.family.bits() - up)
    });
    let any = (any::<bool>(), any::<u128>(), 0u8..=128).prop_map(|(v4, bits, len)| {
        let address = if v4 { Address::v4(bits as u32) } else { Address::v6(bits) };
        Prefix::containing(address, len)
    });
    prop_oneof![3 => near, 4 => long, 1 => any]
}

fn lengths() -> impl Strategy<Value = Lengths> {
    (20u8..=34, 44u8..=130).prop_map(|(v4, v6)| Lengths { v4, v6 })
}

fn kind() -> impl Strategy<Value = MitigationKind> {
    let rule = proptest::option::of(prefix()).prop_map(|source| {
        MitigationKind::FlowSpec(FilterRule { source, ..FilterRule::all(FilterAction::Discard) })
    });
    prop_oneof![Just(BLACKHOLE), Just(MitigationKind::Divert), rule]
}

#[derive(Clone, Debug)]
struct Attempt {
    kind: MitigationKind,
    target: Prefix,
    group: usize,
    wait_ms: u64,
    /// 0: admit; 1: readmit; 2: give the oldest back.
    how: u8,
}

fn attempt() -> impl Strategy<Value = Attempt> {
    (kind(), prefix(), 0..2usize, prop_oneof![Just(0u64), 0..30_000u64], 0..8u8).prop_map(
        |(kind, target, group, wait_ms, how)| Attempt { kind, target, group, wait_ms, how },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 512,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_forbidden_comes_out(
        lists in (vec(prefix(), 0..4), vec(prefix(), 0..2), vec(prefix(), 0..2)),
        lengths in (lengths(), lengths()),
        caps in (0..6usize, 0..4usize, 0..5u32, prop_oneof![Just(0.0), Just(1.0), 0.0..1.0]),
        attempts in vec(attempt(), 1..60),
    ) {
        let (networks, protected, whitelist) = lists;
        let (shortest, shortest_diverted) = lengths;
        let (most_routes, most_of_group, changes_per_minute, largest_share) = caps;
        let policy = RailsPolicy {
            shortest,
            shortest_diverted,
            protected,
            most_routes,
            changes_per_minute,
            largest_share,
            ..RailsPolicy::default()
        };
        let good = |lengths: Lengths| {
            (24..=32).contains(&lengths.v4) && (48..=128).contains(&lengths.v6)
        };
        let rails = Rails::new(&policy, &networks, &whitelist);
        prop_assert_eq!(rails.is_ok(), good(shortest) && good(shortest_diverted));
        let Ok(mut rails) = rails else { return Ok(()) };
        let mut out: Vec<(usize, u128, AllowedTarget)> = Vec::new();
        let mut admitted: Vec<u64> = Vec::new();
        let mut now = 0;
        for Attempt { kind, target, group, wait_ms, how } in attempts {
            now += wait_ms;
            let name = ["a", "b"][group];
            let wish = Wish { kind: &kind, target, group: name, most_of_group, dry_run: false };
            let time = Timestamp(now * 1_000_000);
            let allowed = match how {
                7 => {
                    if !out.is_empty() {
                        rails.release(out.remove(0).2);
                    }
                    continue;
                }
                6 => rails.readmit(&wish),
                _ => rails.admit(&wish, time),
            };
            let Ok(allowed) = allowed else { continue };
            let target = allowed.target();
            prop_assert_eq!(target, wish.target);
            prop_assert!(networks.iter().any(|n| n.covers(target) && n.len() >= 7));
            let least = match target.family() { Family::V4 => 24, Family::V6 => 48 };
            let diverts = kind == MitigationKind::Divert;
            let set = if diverts { shortest_diverted } else { shortest };
            prop_assert!(target.len() >= least.max(set.get(target.family())));
            for never in policy.protected.iter().chain(&whitelist) {
                prop_assert!(!never.covers(target) && !target.covers(*never));
            }
            for never in ["0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3", "ff00::/8", "::/8"] {
                prop_assert!(!p(never).covers(target));
            }
            if how != 6 {
                admitted.push(now);
                prop_assert!(out.len() < most_routes);
                prop_assert!(out.iter().filter(|(g, ..)| *g == group).count() < most_of_group);
                let last_minute = admitted.iter().filter(|t| now - **t < 60_000).count();
                prop_assert!(last_minute <= changes_per_minute as usize);
            }
            let off_the_net = if kind == BLACKHOLE { addresses(target) } else { 0 };
            if how != 6 && off_the_net > 0 {
                let same = out.iter().filter(|(.., a)| a.target().family() == target.family());
                let sum: u128 = same.map(|(_, off_the_net, _)| off_the_net).sum();
                let share = ours(&networks, target.family()) as f64 * largest_share;
                prop_assert!(sum + off_the_net <= 16u128.max(share as u128));
            }
            out.push((group, off_the_net, allowed));
            prop_assert_eq!(rails.routes(), out.len());
        }
        for (.., allowed) in out {
            rails.release(allowed);
        }
        prop_assert_eq!(rails.routes(), 0);
        prop_assert!(rails.lanes[0].groups.is_empty());
        prop_assert_eq!(rails.lanes[0].blackholed, [0, 0]);
    }
}
