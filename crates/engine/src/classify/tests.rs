use proptest::prelude::*;
use tidewall_model::{Count, Fragment, SamplingRate, TcpFlags, TopValue, protocol};

use super::*;

const SYN: u16 = TcpFlags::SYN;
const ACK: u16 = TcpFlags::ACK;
const FIN: u16 = TcpFlags::FIN;
const PSH: u16 = TcpFlags::PSH;
const RST: u16 = TcpFlags::RST;
const URG: u16 = TcpFlags::URG;
const ECN: u16 = TcpFlags::ECE | TcpFlags::CWR;

/// `count` records like `model`, from `remotes` different senders in turn.
fn from(remotes: u128, count: usize, model: FlowRecord) -> Vec<FlowRecord> {
    let sender = |n: usize| FlowRecord { src: 0x0a00_0000 + n as u128 % remotes, ..model };
    (0..count).map(sender).collect()
}

fn tcp(flags: u16, bytes: u64) -> FlowRecord {
    FlowRecord { tcp_flags: TcpFlags(flags), bytes, dst_port: 80, ..other(protocol::TCP) }
}

fn udp(src_port: u16, bytes: u64) -> FlowRecord {
    FlowRecord { src_port, dst_port: 30_120, bytes, ..other(protocol::UDP) }
}

fn other(protocol: u8) -> FlowRecord {
    FlowRecord { protocol, dst: 0xc000_0201, bytes: 80, ..FlowRecord::default() }
}

fn piece(fragment: Fragment, record: FlowRecord) -> FlowRecord {
    match fragment {
        Fragment::Later => FlowRecord { fragment, src_port: 0, dst_port: 0, ..record },
        _ => FlowRecord { fragment, ..record },
    }
}

const TOTAL: Metric = Metric { class: TrafficClass::Total, unit: Unit::Packets };

/// Names samples in a direction, with no counters to help.
fn name(samples: &[FlowRecord], direction: Direction, metric: Metric) -> Classification {
    let rates = TrafficCounters::default();
    AttackTraffic { samples, direction, metric, rates: &rates }.classify(&Amplifiers::embedded())
}

/// Class and names of the vectors of incoming traffic.
fn named(metric: Metric, parts: &[Vec<FlowRecord>]) -> (AttackClass, Vec<String>) {
    let got = name(&parts.concat(), Direction::Incoming, metric);
    (got.class, got.vectors.into_iter().map(|v| v.name).collect())
}

#[track_caller]
fn assert_named(parts: &[Vec<FlowRecord>], class: AttackClass, vectors: &[&str]) {
    let want = (class, vectors.iter().map(ToString::to_string).collect());
    assert_eq!(named(TOTAL, parts), want);
}

fn limit_of(class: TrafficClass) -> Metric {
    Metric { class, unit: Unit::Packets }
}

#[test]
fn tcp_floods_are_named_by_flags() {
    use AttackClass::{AckFlood, RstFlood, SynFlood, TcpFlood};
    for (flags, class, vector) in [
        (SYN, SynFlood, "syn"),
        (SYN | ECN, SynFlood, "syn"),
        (ACK, AckFlood, "ack"),
        (ACK | PSH, AckFlood, "ack"),
        (ACK | PSH | FIN, AckFlood, "ack"),
        (RST, RstFlood, "rst"),
        (RST | ACK, RstFlood, "rst"),
        (FIN, TcpFlood, "fin"),
        (FIN | ACK, TcpFlood, "fin"),
        (0, TcpFlood, "tcp_null"),
        (FIN | PSH | URG, TcpFlood, "tcp_xmas"),
        (0x3f, TcpFlood, "tcp_xmas"),
        (PSH, TcpFlood, "tcp_other"),
        (SYN | ACK | RST, TcpFlood, "tcp_other"),
    ] {
        assert_named(&[from(50, 50, tcp(flags, 40))], class, &[vector]);
    }
    let all: Vec<_> = [SYN, ACK, RST, FIN].map(|f| from(50, 50, tcp(f, 40))).concat();
    assert_named(&[all], TcpFlood, &["fin", "ack", "rst", "syn"]);
}

#[test]
fn a_flow_of_several_packets_is_a_connection_unless_only_opened() {
    let flow = |flags| from(9, 30, FlowRecord { packets: 12, ..tcp(flags, 9000) });
    assert_named(&[flow(SYN | ACK | PSH | FIN)], AttackClass::AckFlood, &["ack"]);
    assert_named(&[flow(ACK | RST)], AttackClass::AckFlood, &["ack"]);
    assert_named(&[flow(SYN | ACK)], AttackClass::SynAckReflection, &["syn_ack"]);
    assert_named(&[flow(SYN)], AttackClass::SynFlood, &["syn"]);
}

#[test]
fn syn_ack_is_a_reflection_when_many_send_it() {
    let many = [from(7, 542, tcp(SYN | ACK, 44)), from(52, 354, tcp(SYN, 56))];
    let want = ["syn_ack".to_owned(), "syn".to_owned()];
    for metric in [TOTAL, limit_of(TrafficClass::TcpSyn), limit_of(TrafficClass::Tcp)] {
        assert_eq!(named(metric, &many), (AttackClass::SynAckReflection, want.to_vec()));
    }
    let one = from(1, 100, tcp(SYN | ACK, 44));
    assert_named(std::slice::from_ref(&one), AttackClass::TcpFlood, &["syn_ack"]);
    let mut answers = one;
    for record in &mut answers {
        (record.src, record.dst) = (record.dst, record.src);
    }
    // Our server answers SYNs that were forged with one victim's address.
    let ours = name(&answers, Direction::Outgoing, TOTAL);
    assert_eq!(ours.class, AttackClass::SynAckReflection);
    assert_eq!(ours.top.distinct_remotes, 1);
}

#[test]
fn a_reflection_is_a_set_of_services_and_its_icmp_is_an_echo() {
    // Proportions of a recorded attack on a game server.
    let iot = [
        from(1980, 2777, udp(47_808, 128)),
        from(965, 1002, udp(37_810, 757)),
        from(146, 150, udp(30_120, 70)),
        from(62, 69, other(protocol::ICMP)),
    ];
    assert_named(&iot, AttackClass::UdpReflection, &["bacnet", "dahua", "udp"]);
    let bits = Metric { class: TrafficClass::Udp, unit: Unit::Bits };
    assert_eq!(named(bits, &iot).1, ["dahua", "bacnet", "udp"]);

    let snmp = [from(400, 408, udp(161, 237)), from(25, 29, other(protocol::ICMP))];
    for class in [TrafficClass::Total, TrafficClass::Udp, TrafficClass::Icmp] {
        let want = (AttackClass::UdpReflection, vec!["snmp".to_owned()]);
        assert_eq!(named(limit_of(class), &snmp), want);
    }
    let got = name(&snmp.concat(), Direction::Incoming, TOTAL);
    assert!((got.vectors[0].packets_share - 408.0 / 437.0).abs() < 1e-12);
    let bytes = 408.0 * 237.0;
    assert!((got.vectors[0].bytes_share - bytes / (bytes + 29.0 * 80.0)).abs() < 1e-12);
}

#[test]
fn later_fragments_join_the_service_that_sends_first_ones() {
    let later = from(26, 726, piece(Fragment::Later, udp(0, 1250)));
    let first = from(28, 483, piece(Fragment::First, udp(53, 1495)));
    // Proportions of a recorded DNS attack in the acknowledgements of downloads.
    let dns = [
        later.clone(),
        first,
        from(22, 60, udp(53, 81)),
        from(29, 2660, tcp(ACK, 100)),
        from(140, 287, tcp(SYN, 47)),
    ];
    for class in [TrafficClass::Total, TrafficClass::Udp, TrafficClass::Fragment] {
        let (class, vectors) = named(limit_of(class), &dns);
        assert_eq!((class, vectors[0].as_str()), (AttackClass::UdpReflection, "dns"));
        assert!(!vectors.contains(&"fragments".to_owned()), "{vectors:?}");
    }
    let got = name(&dns.concat(), Direction::Incoming, TOTAL);
    assert!((got.vectors[0].packets_share - 1269.0 / 4216.0).abs() < 1e-12);

    // NetFlow v5 says neither "first" nor "later": long answers, and flows between two ports 0.
    let flows =
        [from(30, 30, udp(53, 1500)), from(30, 40, FlowRecord { dst_port: 0, ..udp(0, 900) })];
    assert_named(&flows, AttackClass::UdpReflection, &["dns"]);

    // Without a service that fragments, they are what they are.
    let short = [later.clone(), from(40, 60, udp(123, 468))];
    assert_named(&short, AttackClass::FragmentFlood, &["fragments", "ntp"]);
    let few = from(3, 3, piece(Fragment::First, udp(53, 100)));
    let mostly_tcp =
        [from(9, 100, piece(Fragment::Later, udp(0, 100))), few, from(9, 900, tcp(ACK, 100))];
    assert_named(&mostly_tcp, AttackClass::AckFlood, &["ack", "fragments"]);
    let garbage = [later, from(9, 9, piece(Fragment::First, udp(53, 36)))];
    assert_named(&garbage, AttackClass::FragmentFlood, &["fragments", "dns"]);
}

#[test]
fn fragments_of_other_protocols_follow_their_first_ones() {
    let pieces = |number, first, later| {
        [
            from(5, first, piece(Fragment::First, other(number))),
            from(5, later, piece(Fragment::Later, other(number))),
        ]
    };
    let icmp = AttackClass::IcmpFlood;
    assert_named(&pieces(protocol::ICMP, 10, 440), icmp, &["icmp"]);
    assert_named(&pieces(protocol::GRE, 1, 45), AttackClass::GreFlood, &["gre"]);
    let fragments = AttackClass::FragmentFlood;
    assert_named(&pieces(protocol::ICMP, 10, 500), fragments, &["fragments"]);
    assert_named(&pieces(protocol::TCP, 4, 100), fragments, &["fragments"]);
    assert_named(&pieces(protocol::UDP, 79, 100), fragments, &["fragments"]);
}

#[test]
fn a_port_alone_is_no_reflection() {
    let class = |remotes, count, model| named(TOTAL, &[from(remotes, count, model)]).0;
    let plain = AttackClass::UdpFlood;
    let reflected = AttackClass::UdpReflection;
    // QUIC downloads come from few servers, a QUIC reflection from all over.
    assert_eq!(class(6, 500, udp(443, 1250)), plain);
    assert_eq!(class(400, 500, udp(443, 1250)), reflected);
    assert_eq!(class(20, 20, udp(443, 1250)), reflected);
    // A resolver's answers, and open resolvers' answers.
    assert_eq!(class(2, 100, udp(53, 180)), plain);
    assert_eq!(class(28, 540, udp(53, 1400)), reflected);
    // Three memcached servers are enough for a large attack; two records are chance.
    assert_eq!(class(3, 500, udp(11_211, 1400)), reflected);
    assert_eq!(class(2, 2, udp(11_211, 1400)), plain);
    // Clients that ask our NTP server from port 123.
    let request = FlowRecord { dst_port: 123, ..udp(123, 76) };
    assert_eq!(class(500, 500, request), plain);
    assert_eq!(class(500, 500, FlowRecord { bytes: 468, ..request }), reflected);
    // A random-port flood hits ports of the table now and then.
    let random: Vec<_> = (0..2000).flat_map(|p| from(9, 1, udp(p * 31, 148))).collect();
    assert_named(&[random], plain, &["udp"]);
    assert_eq!(class(1, 400, FlowRecord { dst_port: 67, ..udp(68, 272) }), plain);
}

#[test]
fn our_own_reflector_is_named_and_a_request_flood_is_not_one() {
    let ours =
        |src_port, dst_port| FlowRecord { src: 0xc000_0201, src_port, dst_port, ..udp(0, 400) };
    let to = |remotes: u128, model: FlowRecord| -> Vec<FlowRecord> {
        (0..300).map(|n| FlowRecord { dst: 0x0a00_0000 + n % remotes, ..model }).collect()
    };
    let class = |samples: &[FlowRecord]| name(samples, Direction::Outgoing, TOTAL).class;
    assert_eq!(class(&to(1, ours(123, 4000))), AttackClass::UdpReflection);
    assert_eq!(class(&to(1, ours(53, 4000))), AttackClass::UdpReflection);
    // A busy name server answers many clients.
    assert_eq!(class(&to(100, ours(53, 4000))), AttackClass::UdpFlood);
    assert_eq!(class(&to(100, ours(40_000, 123))), AttackClass::UdpFlood);
    let top = name(&to(3, ours(123, 4000)), Direction::Outgoing, TOTAL).top;
    assert_eq!(top.distinct_remotes, 3);
    assert_eq!(top.locals[0].value, "192.0.2.1");
    assert_eq!(top.remotes[0].value, "10.0.0.0");
}

#[test]
fn other_protocols_are_named_or_summed_up() {
    use AttackClass::{GreFlood, IcmpFlood, ProtocolFlood};
    for (number, class, vector) in [
        (protocol::GRE, GreFlood, "gre"),
        (protocol::ESP, ProtocolFlood, "esp"),
        (protocol::IPIP, ProtocolFlood, "ipip"),
        (253, ProtocolFlood, "protocol_253"),
        (protocol::ICMP, IcmpFlood, "icmp"),
    ] {
        assert_named(&[from(9, 90, other(number))], class, &[vector]);
    }
    let v6 = FlowRecord { family: Family::V6, ..other(protocol::ICMPV6) };
    let got = name(&from(1, 90, v6), Direction::Incoming, limit_of(TrafficClass::Icmp));
    assert_eq!((got.class, got.family), (IcmpFlood, Some(Family::V6)));
    assert_eq!(got.vectors[0].name, "icmpv6");
    let random: Vec<_> = (100..=255).flat_map(|n| from(3, 2, other(n))).collect();
    assert_named(&[random], ProtocolFlood, &["other_protocols"]);
}

#[test]
fn the_broken_limit_leads_and_ordinary_traffic_does_not() {
    let downloads = from(20, 650, tcp(ACK, 52));
    let syn = from(350, 350, tcp(SYN, 40));
    let parts = [downloads.clone(), syn.clone()];
    let (class, vectors) = named(limit_of(TrafficClass::TcpSyn), &parts);
    assert_eq!((class, vectors[0].as_str()), (AttackClass::SynFlood, "syn"));
    assert_eq!(named(limit_of(TrafficClass::Tcp), &parts).0, AttackClass::AckFlood);

    let icmp = from(350, 350, other(protocol::ICMP));
    let third = [syn.clone(), icmp.clone(), from(20, 300, tcp(ACK, 52))];
    assert_named(&third, AttackClass::Mixed, &["icmp", "syn", "ack"]);
    let (class, vectors) = named(limit_of(TrafficClass::Icmp), &third);
    assert_eq!((class, vectors[0].as_str()), (AttackClass::Mixed, "icmp"));
    // One that is not ordinary, without half.
    let parts = [syn, from(20, 300, tcp(ACK, 52)), from(20, 300, udp(443, 1200))];
    assert_eq!(named(TOTAL, &parts).0, AttackClass::SynFlood);
}

#[test]
fn counters_help_where_samples_do_not() {
    let count = |packets| Count { packets, bytes: packets * 60 };
    let classify = |samples: &[FlowRecord], class, rates: &TrafficCounters| {
        let metric = limit_of(class);
        AttackTraffic { samples, direction: Direction::Incoming, metric, rates }
            .classify(&Amplifiers::embedded())
    };
    let mut rates = TrafficCounters { total: count(100), ..TrafficCounters::default() };
    let nothing = classify(&[], TrafficClass::Total, &rates);
    assert_eq!(nothing, Classification::default());
    assert_eq!(nothing.family, None);
    assert_eq!(classify(&[], TrafficClass::Icmp, &rates).class, AttackClass::IcmpFlood);
    rates.tcp = count(80);
    assert_eq!(classify(&[], TrafficClass::Total, &rates).class, AttackClass::TcpFlood);
    rates.tcp_syn = count(50);
    assert_eq!(classify(&[], TrafficClass::Total, &rates).class, AttackClass::SynFlood);
    rates.tcp_syn = count(49);
    rates.tcp = count(49);
    rates.udp = count(51);
    assert_eq!(classify(&[], TrafficClass::Total, &rates).class, AttackClass::UdpFlood);

    // The ring still holds what came before the flood; the counters already say SYN.
    rates = TrafficCounters { tcp_syn: count(90), tcp: count(90), ..rates };
    let stale = [from(9, 95, udp(40_000, 900)), from(5, 5, tcp(SYN, 40))].concat();
    let got = classify(&stale, TrafficClass::Total, &rates);
    assert_eq!((got.class, got.vectors[0].name.as_str()), (AttackClass::SynFlood, "syn"));
}

#[test]
fn dominant_values_are_counted_exactly() {
    let sampled = FlowRecord { sampling: SamplingRate::new(100), packets: 3, ..tcp(SYN, 121) };
    let samples = [
        from(2, 4, FlowRecord { src_port: 9, ..sampled }),
        from(3, 6, piece(Fragment::Later, other(protocol::UDP))),
        from(1, 1, FlowRecord { dst_port: 0x0303, ..other(protocol::ICMP) }),
        from(1, 1, other(250)),
    ]
    .concat();
    let top = name(&samples, Direction::Incoming, TOTAL).top;
    let read = |values: &[TopValue]| -> Vec<(String, u64)> {
        values.iter().map(|v| (v.value.clone(), v.packets)).collect()
    };
    let want = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter().map(|(value, packets)| ((*value).to_owned(), *packets)).collect()
    };
    assert_eq!(read(&top.remotes), want(&[("10.0.0.0", 604), ("10.0.0.1", 602), ("10.0.0.2", 2)]));
    assert_eq!(read(&top.locals), want(&[("192.0.2.1", 1208)]));
    assert_eq!(read(&top.protocols), want(&[("tcp", 1200), ("udp", 6), ("icmp", 1), ("250", 1)]));
    assert_eq!(read(&top.source_ports), want(&[("9", 1200)]));
    assert_eq!(read(&top.destination_ports), want(&[("80", 1200)]));
    assert_eq!(read(&top.tcp_flags), want(&[("syn", 1200)]));
    assert_eq!(read(&top.lengths), want(&[("40", 1200), ("80", 8)]));
    assert_eq!(top.distinct_remotes, 3);
    assert!((top.protocols[0].share - 1200.0 / 1208.0).abs() < 1e-12);

    // Equal counts stand in the order of the values, as numbers.
    let ports: Vec<_> = [900, 80, 7000, 9, 10, 11].map(|p| udp(p, 60)).to_vec();
    let top = name(&ports, Direction::Incoming, TOTAL).top;
    let ports: Vec<_> = top.source_ports.iter().map(|v| v.value.as_str()).collect();
    assert_eq!(ports, ["9", "10", "11", "80", "900"]);
}

#[test]
fn absurd_records_are_survived() {
    let huge = FlowRecord {
        packets: u64::MAX,
        bytes: u64::MAX,
        sampling: SamplingRate::new(u32::MAX),
        ..udp(123, 0)
    };
    let got = name(&from(5, 5, huge), Direction::Incoming, TOTAL);
    assert_eq!(got.class, AttackClass::UdpReflection);
    let empty = FlowRecord { packets: 0, bytes: 0, ..udp(123, 0) };
    assert_eq!(name(&[empty], Direction::Incoming, TOTAL).class, AttackClass::Unknown);
}

prop_compose! {
    fn records()(
        (src, dst, family) in (0u128..40, 0u128..3, any::<bool>()),
        (packets, bytes) in (0u64..4, 0u64..6000),
        src_port in prop::sample::select(vec![0u16, 53, 123, 443, 11_211, 37_810, 40_000]),
        dst_port in prop::sample::select(vec![0u16, 53, 80, 123]),
        tcp_flags in 0u16..0x100,
        protocol in prop::sample::select(vec![1u8, 4, 6, 6, 17, 17, 17, 47, 50, 58, 253]),
        fragment in prop::sample::select(vec![
            Fragment::Whole, Fragment::Whole, Fragment::First, Fragment::Later,
        ]),
        sampling in 0u32..3,
    ) -> FlowRecord {
        FlowRecord {
            src, dst, packets, bytes, src_port, dst_port, protocol, fragment,
            family: if family { Family::V4 } else { Family::V6 },
            tcp_flags: TcpFlags(tcp_flags),
            sampling: SamplingRate::new(sampling),
            ..FlowRecord::default()
        }
    }
}

proptest! {
    #[test]
    fn parts_add_up_and_order_does_not_matter(
        mut samples in prop::collection::vec(records(), 0..120),
        class in prop::sample::select(TrafficClass::ALL.to_vec()),
        unit in prop::sample::select(vec![Unit::Packets, Unit::Bits, Unit::Flows]),
        direction in prop::sample::select(vec![Direction::Incoming, Direction::Outgoing]),
        turn in any::<prop::sample::Index>(),
    ) {
        let metric = Metric { class, unit };
        let got = name(&samples, direction, metric);
        let (packets, bytes) = got.vectors.iter().fold((0.0, 0.0), |(p, b), v| {
            (p + v.packets_share, b + v.bytes_share)
        });
        prop_assert!(packets <= 1.0 + 1e-9 && bytes <= 1.0 + 1e-9, "{packets} {bytes}");
        prop_assert!(got.vectors.len() <= MAX_VECTORS);
        let mut names: Vec<_> = got.vectors.iter().map(|v| &v.name).collect();
        names.sort();
        names.dedup();
        prop_assert_eq!(names.len(), got.vectors.len());
        for values in [&got.top.remotes, &got.top.protocols, &got.top.lengths] {
            prop_assert!(values.len() <= 5);
            prop_assert!(values.is_sorted_by(|a, b| a.packets >= b.packets));
        }
        if !samples.is_empty() {
            let at = turn.index(samples.len());
            samples.rotate_left(at);
            samples.reverse();
            prop_assert_eq!(name(&samples, direction, metric), got);
        }
    }
}
