use proptest::prelude::*;
use tidewall_model::{SamplingRate, TcpFlags};

use super::*;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn matches(rule: Rule, record: &FlowRecord) -> bool {
    Rules::compile(&[rule]).matches(record)
}

fn dns_answer() -> FlowRecord {
    FlowRecord {
        src: 0xc000_0201,
        dst: 0xc633_6407,
        packets: 2,
        bytes: 1001,
        src_port: 53,
        dst_port: 40_000,
        vlan: 7,
        protocol: protocol::UDP,
        ttl: 57,
        ..FlowRecord::default()
    }
}

#[test]
fn a_rule_without_conditions_matches_nothing() {
    let rules = Rules::compile(&[Rule::default(), Rule::default()]);
    assert!(!rules.matches(&FlowRecord::default()));
    assert!(!rules.matches(&dns_answer()));
    assert!(!Rules::default().matches(&FlowRecord::default()));
}

#[test]
fn every_condition_is_tested() {
    let full = Rule {
        source: vec![prefix("198.18.0.0/15"), prefix("192.0.2.0/24")],
        destination: vec![prefix("198.51.100.7")],
        protocols: vec![6, 17],
        source_ports: vec![(53, 53)],
        destination_ports: vec![(1024, 65_535)],
        tcp_flags: vec![],
        packet_lengths: vec![(500, 500)],
        vlans: vec![3, 7],
        ttls: vec![(50, 60)],
        fragment: Some(false),
        family: Some(Family::V4),
    };
    let r = dns_answer();
    assert!(matches(full.clone(), &r));
    for other in [
        FlowRecord { src: 0xc000_0301, ..r },
        FlowRecord { dst: 0xc633_6408, ..r },
        FlowRecord { protocol: protocol::SCTP, ..r },
        FlowRecord { src_port: 54, ..r },
        FlowRecord { dst_port: 1023, ..r },
        FlowRecord { bytes: 1002, ..r },
        FlowRecord { bytes: u64::MAX, packets: 0, ..r },
        FlowRecord { vlan: 4, ..r },
        FlowRecord { ttl: 61, ..r },
        FlowRecord { fragment: Fragment::First, ..r },
        FlowRecord { family: Family::V6, ..r },
    ] {
        assert!(!matches(full.clone(), &other), "{other:?}");
    }
}

#[test]
fn ports_and_flags_need_their_header() {
    let from_53 = Rule { source_ports: vec![(0, 53)], ..Rule::default() };
    let to_any = Rule { destination_ports: vec![(0, 65_535)], ..Rule::default() };
    let r = dns_answer();
    assert!(matches(from_53.clone(), &r) && matches(to_any.clone(), &r));
    assert!(matches(to_any.clone(), &FlowRecord { fragment: Fragment::First, ..r }));
    let later = FlowRecord { fragment: Fragment::Later, src_port: 0, dst_port: 0, ..r };
    assert!(!matches(from_53, &later) && !matches(to_any.clone(), &later));
    assert!(!matches(to_any, &FlowRecord { protocol: protocol::ICMP, dst_port: 0x0800, ..r }));

    let null = Rule { tcp_flags: vec![0, 0x12], ..Rule::default() };
    let tcp = FlowRecord { protocol: protocol::TCP, ..r };
    assert!(matches(null.clone(), &tcp));
    assert!(matches(null.clone(), &FlowRecord { tcp_flags: TcpFlags(0x12), ..tcp }));
    assert!(!matches(null.clone(), &FlowRecord { tcp_flags: TcpFlags(0x52), ..tcp }));
    assert!(!matches(null.clone(), &r));
    assert!(!matches(null, &FlowRecord { fragment: Fragment::Later, ..tcp }));
}

#[test]
fn rules_are_alternatives_and_families_do_not_mix() {
    let rules = Rules::compile(&[
        Rule { source: vec![prefix("0.0.0.0/0")], protocols: vec![47], ..Rule::default() },
        Rule { source: vec![prefix("2001:db8::/32")], ..Rule::default() },
    ]);
    let v4 = FlowRecord { src: 1, protocol: 47, ..FlowRecord::default() };
    assert!(rules.matches(&v4));
    assert!(!rules.matches(&FlowRecord { protocol: 17, ..v4 }));
    assert!(!rules.matches(&FlowRecord { family: Family::V6, ..v4 }));
    let v6 = FlowRecord { family: Family::V6, src: 0x2001_0db8 << 96 | 9, ..v4 };
    assert!(rules.matches(&v6));
}

/// The meaning of [`Rule`], written down without any care for speed.
fn naive(rule: &Rule, r: &FlowRecord) -> bool {
    fn listed<T>(list: &[T], test: impl Fn(&T) -> bool) -> Option<bool> {
        (!list.is_empty()).then(|| list.iter().any(test))
    }
    let within = |list: &[(u16, u16)], v: u64| {
        listed(list, |(a, b)| u64::from(*a) <= v && v <= u64::from(*b))
    };
    let first_header = r.fragment != Fragment::Later;
    let ports = first_header && [6, 17, 33, 132, 136].contains(&r.protocol);
    let answers = [
        listed(&rule.source, |p| p.contains(r.src_address())),
        listed(&rule.destination, |p| p.contains(r.dst_address())),
        listed(&rule.protocols, |p| *p == r.protocol),
        within(&rule.source_ports, r.src_port.into()).map(|hit| hit && ports),
        within(&rule.destination_ports, r.dst_port.into()).map(|hit| hit && ports),
        listed(&rule.tcp_flags, |f| *f == r.tcp_flags.0)
            .map(|hit| hit && first_header && r.protocol == 6),
        within(&rule.packet_lengths, r.bytes / r.packets),
        listed(&rule.vlans, |v| *v == r.vlan),
        listed(&rule.ttls, |(a, b)| *a <= r.ttl && r.ttl <= *b),
        rule.fragment.map(|fragment| fragment == (r.fragment != Fragment::Whole)),
        rule.family.map(|family| family == r.family),
    ];
    answers.iter().any(Option::is_some) && answers.iter().all(|a| a.unwrap_or(true))
}

prop_compose! {
    /// Values from small ranges, so that conditions hold and fail about equally often.
    fn records()(
        (family, src, dst) in (families(), 0u128..16, 0u128..16),
        (packets, bytes) in (1u64..4, 0u64..24),
        (src_port, dst_port, tcp_flags, vlan) in (0u16..6, 0u16..6, 0u16..4, 0u16..4),
        protocol in prop::sample::select(vec![1u8, 6, 17, 47, 132, 200]),
        ttl in prop::sample::select(vec![0u8, 1, 127, 128, 255]),
        fragment in prop::sample::select(vec![Fragment::Whole, Fragment::First, Fragment::Later]),
    ) -> FlowRecord {
        FlowRecord {
            family, src, dst, packets, bytes, src_port, dst_port, vlan, protocol, ttl, fragment,
            tcp_flags: TcpFlags(tcp_flags), sampling: SamplingRate::new(7), ..FlowRecord::default()
        }
    }
}

fn families() -> impl Strategy<Value = Family> {
    prop::sample::select(vec![Family::V4, Family::V6])
}

fn prefixes() -> impl Strategy<Value = Vec<Prefix>> {
    let one = (families(), 0u128..16, 0u8..=5).prop_map(|(family, bits, host_bits)| {
        Prefix::containing(Address { family, bits }, family.bits() - host_bits)
    });
    prop::collection::vec(one, 0..4)
}

/// Ranges, some of them reversed; half of the lists are empty.
fn ranges() -> impl Strategy<Value = Vec<(u16, u16)>> {
    prop_oneof![Just(vec![]), prop::collection::vec((0u16..9, 0u16..9), 1..4)]
}

prop_compose! {
    fn rules()(
        (source, destination) in (prefixes(), prefixes()),
        protocols in prop_oneof![
            Just(vec![]),
            prop::collection::vec(prop::sample::select(vec![1u8, 6, 17, 47, 200]), 1..4),
        ],
        (source_ports, destination_ports, packet_lengths) in (ranges(), ranges(), ranges()),
        tcp_flags in prop_oneof![3 => Just(vec![]), 1 => prop::collection::vec(0u16..4, 1..3)],
        vlans in prop_oneof![Just(vec![]), prop::collection::vec(0u16..4, 1..3)],
        ttls in prop_oneof![
            Just(vec![]),
            prop::collection::vec((any::<u8>(), any::<u8>()), 1..3),
        ],
        fragment in prop::sample::select(vec![None, None, Some(true), Some(false)]),
        family in prop::sample::select(vec![None, None, Some(Family::V4), Some(Family::V6)]),
        // Most rules keep few of their conditions, or hardly any record would match.
        keep in 0u16..0x800,
        thin in 0u16..0x800,
    ) -> Rule {
        let on = |bit: u16| keep & thin & (1 << bit) != 0;
        let mut rule = Rule {
            source, destination, protocols, source_ports, destination_ports, tcp_flags,
            packet_lengths, vlans, ttls, fragment, family,
        };
        if !on(0) { rule.source.clear(); }
        if !on(1) { rule.destination.clear(); }
        if !on(2) { rule.protocols.clear(); }
        if !on(3) { rule.source_ports.clear(); }
        if !on(4) { rule.destination_ports.clear(); }
        if !on(5) { rule.tcp_flags.clear(); }
        if !on(6) { rule.packet_lengths.clear(); }
        if !on(7) { rule.vlans.clear(); }
        if !on(8) { rule.ttls.clear(); }
        if !on(9) { rule.fragment = None; }
        if !on(10) { rule.family = None; }
        rule
    }
}

proptest! {
    #[test]
    fn agrees_with_the_naive_matcher(
        rules in prop::collection::vec(rules(), 0..4),
        records in prop::collection::vec(records(), 1..32),
    ) {
        let compiled = Rules::compile(&rules);
        for record in &records {
            let want = rules.iter().any(|rule| naive(rule, record));
            prop_assert_eq!(compiled.matches(record), want, "{:?}", record);
        }
    }
}
