//! Rules for each kind of attack against a web server's traffic, the traps, and what must hold of
//! any rules for any traffic.

use proptest::prelude::*;
use tidewall_model::{Family, FlagMatch, Fragment, Prefix, SamplingRate};

use super::*;
use crate::classify::AttackTraffic;
use tidewall_model::{Direction, Metric, TrafficClass, TrafficCounters, Unit};

const SYN: u16 = TcpFlags::SYN;
const ACK: u16 = TcpFlags::ACK;

fn udp(src_port: u16, dst_port: u16, length: u64) -> FlowRecord {
    FlowRecord {
        dst: 0xc000_0201,
        src_port,
        dst_port,
        protocol: protocol::UDP,
        bytes: length + 14,
        link_bytes: 14,
        ..FlowRecord::default()
    }
}

fn tcp(src_port: u16, dst_port: u16, flags: u16, length: u64) -> FlowRecord {
    FlowRecord {
        protocol: protocol::TCP,
        tcp_flags: TcpFlags(flags),
        ..udp(src_port, dst_port, length)
    }
}

fn later(record: FlowRecord) -> FlowRecord {
    FlowRecord { src_port: 0, dst_port: 0, fragment: Fragment::Later, ..record }
}

/// `count` records from changing sources.
fn many(count: u64, of: impl Fn(u64) -> FlowRecord) -> Vec<FlowRecord> {
    (0..count)
        .map(|n| FlowRecord {
            seq: n,
            src: u128::from(n.wrapping_mul(0x9e37_79b9) as u32),
            ..of(n)
        })
        .collect()
}

/// What a web server receives: requests, openings of connections, answers to its own few, and
/// replies of name servers.
fn web_server() -> Vec<FlowRecord> {
    many(200, |n| match n % 20 {
        0 => tcp(40_000 + n as u16, 443, SYN, 60),
        1 => tcp(40_000 + n as u16, 443, SYN, 52),
        2 => tcp(443, 50_000 + n as u16, SYN | ACK, 52),
        3 => tcp(443, 50_000 + n as u16, ACK | TcpFlags::PSH, 1500),
        4 => udp(53, 50_000 + n as u16, 120 + n),
        5 => tcp(40_000 + n as u16, 443, ACK | TcpFlags::FIN, 52),
        _ => tcp(40_000 + n as u16, 443, ACK, 52 + n % 7 * 200),
    })
}

fn propose_with(
    attack: &[FlowRecord],
    normal: &[FlowRecord],
    settings: &FilterSettings,
) -> Vec<ProposedFilter> {
    let amplifiers = Amplifiers::embedded();
    let evidence = Evidence { attack, normal, amplifiers: &amplifiers, tolerable: 1e6 };
    evidence.propose(settings)
}

fn propose(attack: &[FlowRecord], normal: &[FlowRecord]) -> Vec<ProposedFilter> {
    propose_with(attack, normal, &FilterSettings::default())
}

fn coverage(filters: &[ProposedFilter]) -> f64 {
    filters.iter().map(|filter| filter.coverage).sum()
}

fn takes_all(filters: &[ProposedFilter]) -> bool {
    (coverage(filters) - 1.0).abs() < 1e-9
}

fn discarding() -> FilterRule {
    FilterRule::all(FilterAction::Discard)
}

/// Whole rules, where they are short enough to be read.
#[track_caller]
fn assert_rules(filters: &[ProposedFilter], want: &[FilterRule]) {
    let got: Vec<&FilterRule> = filters.iter().map(|filter| &filter.rule).collect();
    assert_eq!(got, want.iter().collect::<Vec<_>>());
}

#[test]
fn reflections_are_known_by_their_ports_and_take_their_fragments_along() {
    for port in [123, 389, 11_211] {
        let attack = many(300, |n| match n % 3 {
            0 => udp(port, n as u16, 100 + n * 4),
            _ => later(udp(port, n as u16, 100 + n * 4)),
        });
        let filters = propose(&attack, &web_server());
        assert!(coverage(&filters) > 0.95, "{filters:?}");
        assert!(filters.iter().all(|filter| filter.collateral < Some(0.01)), "{filters:?}");
        // Without lengths to go by: the port, and the fragments of its protocol.
        let filters = propose(&attack, &[]);
        assert!(takes_all(&filters) && filters.len() == 2, "{filters:?}");
        assert_eq!(filters[0].rule.source_ports, [(port, port)]);
        assert_eq!(filters[0].rule.action, FilterAction::Discard);
        assert_eq!(filters[1].rule.fragment, Some(true));
        assert_ne!(filters[1].rule.action, FilterAction::Discard);
    }
}

#[test]
fn without_fragments_there_is_no_rule_for_fragments() {
    let attack = many(300, |n| udp(123, n as u16, 468));
    let filters = propose(&attack, &web_server());
    assert_eq!(filters.len(), 1);
    assert_eq!(filters[0].rule.fragment, None);
}

#[test]
fn answers_of_name_servers_are_told_from_the_targets_own_by_length() {
    let attack = many(300, |n| match n % 4 {
        0 => later(udp(53, 0, 1300)),
        _ => udp(53, 20_000 + n as u16, 1400 + n % 90),
    });
    let filters = propose(&attack, &web_server());
    assert!(coverage(&filters) > 0.95, "{filters:?}");
    for filter in &filters {
        assert_eq!((filter.rule.action, filter.collateral), (FilterAction::Discard, Some(0.0)));
        assert!(!filter.rule.packet_lengths.is_empty() || filter.rule.fragment.is_some());
    }
}

#[test]
fn several_services_share_a_rule() {
    let ports = [123, 389, 1900, 47_808, 37_810, 19];
    let attack = many(600, |n| udp(ports[n as usize % 6], 80, 300 + n % 900));
    let filters = propose(&attack, &web_server());
    assert_eq!(filters.len(), 1, "{filters:?}");
    assert_eq!(filters[0].rule.source_ports.len(), 6);
}

#[test]
fn a_syn_flood_spares_real_openings() {
    let attack = many(300, |n| tcp(n as u16, 443, SYN, 40));
    let filters = propose(&attack, &web_server());
    assert_eq!(filters.len(), 1, "{filters:?}");
    assert_eq!(filters[0].rule.packet_lengths, [(40, 40)]);
    assert!(takes_all(&filters) && filters[0].collateral == Some(0.0));
    // SYNs like those of its clients cannot be told apart: they are slowed down.
    let attack = many(300, |n| tcp(40_000 + n as u16, 443, SYN, [52, 60][n as usize % 2]));
    let filters = propose(&attack, &web_server());
    assert_eq!(filters[0].rule.action, FilterAction::RateLimit(1_000_000), "{filters:?}");
    let flags = filters[0].rule.tcp_flags.unwrap();
    assert!(flags.set & SYN != 0 && flags.clear & ACK != 0);
}

/// A host whose clients keep their connections: that none was opened lately tells nothing of how they
/// open the next one.
#[test]
fn openings_are_not_discarded_where_none_is_remembered() {
    let normal = many(200, |n| tcp(40_000 + n as u16, 443, ACK, 52 + n % 7 * 200));
    let attack = many(300, |n| tcp(n as u16, 443, SYN, 40));
    let filters = propose(&attack, &normal);
    assert!(!filters.is_empty() && takes_all(&filters), "{filters:?}");
    for filter in &filters {
        assert!(matches!(filter.rule.action, FilterAction::RateLimit(_)), "{filter:?}");
    }
    // Flags that no connection has are none that a client opens one with.
    let attack = many(300, |n| tcp(n as u16, 443, SYN | TcpFlags::FIN, 40));
    let filters = propose(&attack, &normal);
    assert_eq!(filters[0].rule.action, FilterAction::Discard, "{filters:?}");
}

/// Few packets, and yet all that the host opens: a hundredth of the packets is not the measure.
#[test]
fn rare_answers_to_the_targets_own_connections_are_not_cut_off() {
    let mut normal = many(1_000, |n| tcp(40_000 + n as u16, 443, ACK, 52 + n % 900));
    normal.extend(many(5, |n| tcp(443, 50_000 + n as u16, SYN | ACK, 52)));
    let attack = many(300, |n| tcp(443, n as u16, SYN | ACK, 52));
    let filters = propose(&attack, &normal);
    let answers = &normal[1_000..];
    for filter in filters.iter().filter(|filter| filter.rule.action == FilterAction::Discard) {
        assert!(!answers.iter().any(|record| filter.rule.matches(record)), "{filter:?}");
    }
    assert!(coverage(&filters) > 0.95 && !filters.is_empty(), "{filters:?}");
}

/// Nearly all from ports 80 and 443, like the replies to the victim's own requests.
#[test]
fn syn_ack_reflection_leaves_replies_alone() {
    let attack = many(300, |n| match n % 20 {
        0 => tcp(443, n as u16, TcpFlags::RST, 40),
        _ => tcp([80, 443][n as usize % 2], n as u16, SYN | ACK, 44),
    });
    let normal = web_server();
    let filters = propose(&attack, &normal);
    assert!(coverage(&filters) > 0.94, "{filters:?}");
    for filter in &filters {
        assert_eq!(filter.rule.action, FilterAction::Discard);
        assert!(!normal.iter().any(|record| filter.rule.matches(record)), "{filter:?}");
        assert!(filter.rule.source_ports.is_empty(), "{filter:?}");
    }
}

/// A reflection towards a game server's only port, where nearly all of its players' packets go.
#[test]
fn a_game_server_keeps_its_players() {
    let players = many(200, |n| udp(50_000 + n as u16, 30_120, 50 + n % 300));
    let attack = many(400, |n| match n % 20 {
        0..=13 => udp(47_808, 30_120, 300 + n % 40),
        14..=18 => udp(37_810, 30_120, 700 + n % 40),
        _ => udp(30_120, 30_120, 60),
    });
    let filters = propose(&attack, &players);
    assert!(coverage(&filters) > 0.94, "{filters:?}");
    for filter in &filters {
        assert!(!filter.rule.source_ports.is_empty(), "{filter:?}");
        assert!(!players.iter().any(|record| filter.rule.matches(record)), "{filter:?}");
    }
}

#[test]
fn floods_without_a_service_are_told_by_what_the_target_does_not_receive() {
    let attack = many(300, |n| udp(n as u16 * 7, n as u16 * 11, 128));
    let filters = propose(&attack, &web_server());
    assert!(filters.len() == 1 && takes_all(&filters), "{filters:?}");
    let ack = many(300, |n| tcp(n as u16 * 7, 443, ACK, 40));
    let filters = propose(&ack, &web_server());
    assert!(filters.len() == 1 && takes_all(&filters), "{filters:?}");
    assert_eq!(filters[0].rule.packet_lengths, [(40, 40)]);
    // Like the packets of its clients: nothing can be done by rules.
    let alike = many(300, |n| tcp(n as u16 * 7, 443, ACK, 52 + n % 7 * 200));
    assert_eq!(propose(&alike, &web_server()), []);
}

#[test]
fn icmp_and_other_protocols_are_filtered_as_such() {
    let echo = many(300, |n| FlowRecord {
        protocol: protocol::ICMP,
        dst_port: 0x0800,
        src_port: 0,
        ..udp(0, 0, 84 + n % 2000)
    });
    let filters = propose(&echo, &web_server());
    assert_eq!(filters.len(), 1);
    assert_eq!(filters[0].rule.protocol, Some(protocol::ICMP));
    let gre = many(300, |n| FlowRecord { protocol: protocol::GRE, ..udp(0, 0, 100 + n * 4) });
    let filters = propose(&gre, &web_server());
    assert_rules(&filters, &[FilterRule { protocol: Some(protocol::GRE), ..discarding() }]);
}

#[test]
fn ipv6_sources_count_when_they_are_few() {
    // From address `host` of the /64 with this number.
    let six = |net: u64, host: u64, record: FlowRecord| FlowRecord {
        family: Family::V6,
        dst: 0x2001_0db8 << 96 | 1,
        src: 0x2001_0db8 << 96 | u128::from(net) << 64 | u128::from(host),
        seq: net ^ host,
        ..record
    };
    let web = |n: u64| tcp(40_000 + n as u16, 443, ACK, 72 + n % 1200);
    let normal: Vec<_> = (0..200).map(|n| six(0x7_0000 + n, 1, web(n))).collect();
    let attack: Vec<_> = (0..300).map(|n| six(0x1_0000, n, web(n))).collect();
    let filters = propose(&attack, &normal);
    assert_eq!(filters.len(), 1, "{filters:?}");
    let site: Prefix = "2001:db8:1::/48".parse().unwrap();
    assert!(filters[0].rule.source.is_some_and(|source| site.covers(source)), "{filters:?}");
    assert!(takes_all(&filters) && filters[0].collateral == Some(0.0));
    // Spread over many networks, sources are no condition.
    let spread = many(300, |n| tcp(n as u16, 443, ACK, 40));
    assert!(propose(&spread, &web_server()).iter().all(|filter| filter.rule.source.is_none()));
}

#[test]
fn where_nothing_is_remembered_only_what_is_never_normal_is_discarded() {
    let known = many(300, |n| udp(123, n as u16, 468));
    let name_servers = many(300, |n| udp(53, n as u16, 1400));
    let syn = many(300, |n| tcp(n as u16, 80, SYN, 40));
    let null = many(300, |n| tcp(n as u16, 80, 0, 40));
    for (attack, discards) in [(known, true), (name_servers, false), (syn, false), (null, true)] {
        let enough = FilterSettings::default().least_remembered;
        for normal in [&[][..], &web_server()[..enough - 1]] {
            let filters = propose(&attack, normal);
            assert!(takes_all(&filters), "{filters:?}");
            for filter in &filters {
                assert_eq!(filter.rule.action == FilterAction::Discard, discards, "{filter:?}");
                assert_eq!(filter.collateral, None);
            }
        }
    }
}

/// What the owner sets is what is gone by.
#[test]
fn settings_move_the_bounds() {
    let with = |change: fn(&mut FilterSettings)| {
        let mut settings = FilterSettings::default();
        change(&mut settings);
        settings
    };
    let names = many(300, |n| udp(53, n as u16, 1400));
    let asks = |settings| propose_with(&names, &web_server(), &settings);
    let discards = |filters: &[ProposedFilter]| {
        !filters.is_empty() && filters.iter().all(|f| f.rule.action == FilterAction::Discard)
    };
    assert!(discards(&asks(FilterSettings::default())));
    let strict = with(|settings| settings.least_remembered = web_server().len() + 1);
    assert!(!discards(&asks(strict)), "nothing is known with so few records");

    // Four floods of equal size, each with a port of its own: two rules take half of them.
    let four = many(400, |n| udp([123, 389, 1900, 11_211][n as usize % 4], 7, 468 + n % 4 * 100));
    let two = with(|settings| (settings.most_rules, settings.least_coverage) = (2, 0.0));
    assert!(propose_with(&four, &web_server(), &two).len() <= 2);
    // The whole of what the target receives cannot be told from the attack.
    let like_normal = web_server();
    let none = propose_with(&like_normal, &web_server(), &FilterSettings::default());
    assert!(coverage(&none) < 1e-9, "{none:?}");
}

/// Flows hold the union of the flags of their packets: a connection that lost its opening is lost.
#[test]
fn flows_of_several_packets_are_judged_carefully() {
    let flow = |n: u64| FlowRecord {
        packets: 20,
        bytes: 20 * 400,
        link_bytes: 0,
        ..tcp(40_000 + n as u16, 443, SYN | ACK | TcpFlags::PSH | TcpFlags::FIN, 0)
    };
    let normal = many(100, flow);
    let attack = many(300, |n| tcp(n as u16, 443, SYN, 40));
    for filter in propose(&attack, &normal) {
        assert_ne!(filter.rule.action, FilterAction::Discard, "{filter:?}");
    }
}

#[test]
fn rules_stay_while_they_are_good() {
    let amplifiers = Amplifiers::embedded();
    let (normal, settings) = (web_server(), FilterSettings::default());
    let ntp = many(300, |n| udp(123, n as u16, 468));
    let first = propose(&ntp, &normal);
    // Other lengths and 5 % of another service: the rule is the same, its figures are new.
    let shifted = many(300, |n| udp(if n % 20 == 0 { 389 } else { 123 }, n as u16, 440 + n % 50));
    let evidence =
        |attack| Evidence { attack, normal: &normal, amplifiers: &amplifiers, tolerable: 1e6 };
    let second = evidence(&shifted).renew(&first, &settings);
    assert_eq!(second.len(), 1);
    assert_eq!(second[0].rule, first[0].rule);
    assert!((second[0].coverage - 0.95).abs() < 1e-9);
    let turned = many(300, |n| udp(389, n as u16, 1400));
    let third = evidence(&turned).renew(&second, &settings);
    assert_eq!(third[0].rule.source_ports, [(389, 389)]);
}

#[test]
fn only_the_attacks_own_samples_are_looked_at() {
    let mut samples = many(100, |n| udp(123, n as u16, 468));
    samples.extend(web_server());
    let rates = TrafficCounters::default();
    let metric = Metric { class: TrafficClass::Udp, unit: Unit::Packets };
    let traffic =
        AttackTraffic { samples: &samples, direction: Direction::Incoming, metric, rates: &rates };
    let amplifiers = Amplifiers::embedded();
    let named = traffic.classify(&amplifiers);
    let own = traffic.own(named.class, &amplifiers, false);
    // Ten replies of as many name servers look like a reflection, too.
    assert!((100..=110).contains(&own.len()), "{:?} {}", named.class, own.len());
    assert!(own.iter().all(|record| matches!(record.src_port, 53 | 123)));
}

fn any_record() -> impl Strategy<Value = FlowRecord> {
    let ports = prop_oneof![Just(53u16), Just(123), Just(443), any::<u16>()];
    (
        (ports, prop_oneof![Just(443u16), Just(30_120), any::<u16>()]),
        prop_oneof![Just(1u8), Just(6), Just(17), Just(47)],
        prop_oneof![Just(2u16), Just(0x12), Just(0x10), 0..256u16],
        (0..3u32, 20..1500u64, 1..4u64, 0..400u32),
        any::<bool>(),
    )
        .prop_map(|(ports, protocol, flags, (piece, length, packets, src), sampled)| {
            let fragment = [Fragment::Whole, Fragment::First, Fragment::Later][piece as usize];
            FlowRecord {
                src: u128::from(src),
                protocol,
                fragment,
                packets,
                bytes: length * packets,
                link_bytes: 0,
                sampling: SamplingRate::new(if sampled { 100 } else { 1 }),
                tcp_flags: TcpFlags(if protocol == 6 { flags } else { 0 }),
                ..udp(ports.0, ports.1, 0)
            }
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_comes_rules_are_sound(
        attack in prop::collection::vec(any_record(), 1..200),
        normal in prop::collection::vec(any_record(), 0..100),
        most_rules in 1..6usize,
    ) {
        let settings = FilterSettings { most_rules, least_coverage: 0.1, ..Default::default() };
        let filters = propose_with(&attack, &normal, &settings);
        prop_assert_eq!(&filters, &propose_with(&attack, &normal, &settings));
        prop_assert!(filters.len() <= most_rules);
        let normal = if normal.len() < settings.least_remembered { &[][..] } else { &normal };
        let packets = |records: &[&FlowRecord]| -> u64 {
            records.iter().map(|record| record.scaled_packets()).sum()
        };
        let part = |records: Vec<&FlowRecord>, of: &[FlowRecord]| {
            packets(&records) as f64 / packets(&of.iter().collect::<Vec<_>>()) as f64
        };
        let mut left: Vec<&FlowRecord> = attack.iter().collect();
        for filter in &filters {
            let rule = &filter.rule;
            prop_assert!(rule.protocol.is_some() && rule.has_condition());
            prop_assert!(rule.action != FilterAction::RateLimit(0));
            let (taken, rest): (Vec<_>, Vec<_>) = left.iter().partition(|r| rule.matches(r));
            prop_assert!(!taken.is_empty());
            prop_assert!((part(taken, &attack) - filter.coverage).abs() < 1e-9);
            left = rest;
            let touched = normal.iter().filter(|record| rule.may_touch(record)).collect();
            match filter.collateral {
                None => prop_assert!(normal.is_empty()),
                Some(collateral) => {
                    prop_assert!((part(touched, normal) - collateral).abs() < 1e-9);
                    let budget = if rule.action == FilterAction::Discard { 0.01 } else { 0.1 };
                    prop_assert!(collateral <= budget + 1e-9);
                }
            }
        }
    }
}

#[test]
fn flags_that_no_connection_has() {
    let all = 0x3f;
    for (set, clear, want) in [
        (0, all, true),
        (SYN | TcpFlags::FIN, 0, true),
        (SYN | TcpFlags::RST, 0, true),
        (TcpFlags::FIN, all & !TcpFlags::FIN, true),
        (SYN, all & !SYN, false),
        (SYN | ACK, 0, false),
        (TcpFlags::FIN | ACK, 0, false),
        (0, ACK, false),
        (TcpFlags::RST, ACK, false),
    ] {
        assert_eq!(terms::is_impossible(FlagMatch { set, clear }), want, "{set:x} {clear:x}");
    }
}
