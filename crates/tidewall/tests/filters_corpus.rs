//! The filters that are proposed for the labelled attacks of the corpus, among ordinary traffic of
//! the same victim: what part of the attack they take, and what part of the ordinary packets. The
//! table that comes out stands in docs/filters.md, and this test says when it no longer does.
//!
//! The ordinary traffic is the corpus's own: of each capture of an application, the packets towards
//! the host that receives most of them, which becomes the victim. It runs at 2,000 packets a second
//! for ten seconds before the attack and goes on beside it. The attack is paced to 100,000 packets
//! a second for two seconds.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod captures;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use captures::{columns, corpus};
use tidewall_actions::routes::flow_spec_rule;
use tidewall_collect::FrameCollector;
use tidewall_engine::{Dealing, Engine, Observer, Policy};
use tidewall_model::{
    Address, Attack, AttackEvent, AttackEventKind, Direction, Family, FilterAction, FlowRecord,
    Prefix, ProposedFilter, SamplingRate, TcpFlags, Timestamp, protocol,
};
use tidewall_wire::frame::{LengthMode, LinkType, TunnelPolicy};
use tidewall_wire::pcap::Packets;

const SECOND: u64 = 1_000_000_000;
const ATTACK_PPS: u64 = 100_000;
const ATTACK_SECONDS: u64 = 2;
const NORMAL_PPS: u64 = 2_000;
const NORMAL_SECONDS: u64 = 10;
/// Marks records that are mixed in, until they are numbered.
const MIXED_IN: u64 = u64::MAX;
/// Packets taken of one capture of ordinary traffic, so that none of them rules.
const OF_A_CAPTURE: usize = 60;
/// Kinds of the manifest that are ordinary traffic of hosts.
const ORDINARY: [&str; 15] = [
    "benign-app",
    "benign-mix",
    "dns",
    "http",
    "ldap",
    "ntp",
    "quic",
    "rdp",
    "sip",
    "snmp",
    "ssh",
    "syslog",
    "tcp",
    "tftp",
    "tls",
];

/// What is mixed into the ordinary traffic of a victim, besides.
#[derive(Clone, Copy)]
enum Besides {
    Nothing,
    /// Nine of ten packets are players' packets to a game server.
    Game,
    /// Half of the packets are what web servers send to the victim, their SYN+ACKs among them.
    Downloads,
}

/// An attack, and what its filters are held to.
struct Case {
    file: &'static str,
    victim: &'static str,
    /// Which packets of the capture are the attack. The rest is left out.
    is_attack: fn(&FlowRecord) -> bool,
    besides: Besides,
    /// Part of the ordinary packets that is slowed down, at most.
    slowed: f64,
}

const fn case(file: &'static str, victim: &'static str) -> Case {
    let (is_attack, besides) = (all as fn(&FlowRecord) -> bool, Besides::Nothing);
    Case { file, victim, is_attack, besides, slowed: 0.0 }
}

fn all(_: &FlowRecord) -> bool {
    true
}

fn is_udp(record: &FlowRecord) -> bool {
    record.protocol == protocol::UDP
}

const BACNET: &str = "packet-captures__amp.UDP.bacnet.IOT.37810.pcap";
const SYN_ACK: &str = "packet-captures__amp.TCP.syn.optionallyACK.optionallysamePort.pcap";

const CASES: &[Case] = &[
    case("lab-hping3__gre_proto47_flood.pcap", "10.99.0.2"),
    case("lab-hping3__reflect_chargen_src19.pcap", "10.99.0.2"),
    case("lab-hping3__reflect_memcached_src11211.pcap", "10.99.0.2"),
    case("lab-hping3__reflect_ntp_src123.pcap", "10.99.0.2"),
    case("lab-hping3__syn_flood_random_sources.pcap", "10.99.0.2"),
    case("lab-hping3__udp_flood_random_ports.pcap", "10.99.0.2"),
    case("lab-hping3__udp_fragment_flood.pcap", "10.99.0.2"),
    case("ndpi__ip_fragmented_garbage.pcap", "10.128.0.2"),
    case("ndpi__synscan.pcap", "64.13.134.52"),
    case("network-intrusion-detection-system__icmp_flood.pcap", "192.168.1.10"),
    case("network-intrusion-detection-system__udp_flood.pcap", "192.168.1.10"),
    // A third are SYNs like those of any client: they can only be slowed down.
    Case { slowed: 0.05, ..case(SYN_ACK, "10.10.10.10") },
    Case { slowed: 0.05, besides: Besides::Downloads, ..case(SYN_ACK, "10.10.10.10") },
    case(BACNET, "10.10.10.1"),
    Case { besides: Besides::Game, ..case(BACNET, "10.10.10.1") },
    // Its ICMP is the echo of closed ports, not the attack.
    Case { is_attack: is_udp, ..case("packet-captures__amp.UDP.snmp.src161.pcap", "10.10.10.10") },
    // Ordinary TCP of the same host is in the capture.
    Case {
        is_attack: is_udp,
        ..case("packet-captures__amp.dns.RRSIG.fragmented.pcap", "10.10.10.10")
    },
    case("packet-captures__pkt.TCP.DOMINATE.syn.ecn.cwr.pcap", "10.10.10.10"),
    case("pcaphunt__ps-tcp_ack.pcap", "10.0.0.254"),
    case("suricata-verify__denial6-5.pcap", "2001:db8:1::1"),
    case("suricata-verify__dhcp-request-flood.pcap", "255.255.255.255"),
    case("trex-core__syn_attack.pcap", "48.0.0.1"),
];

/// Records of a capture, as they come.
fn records(file: &Path) -> Vec<FlowRecord> {
    let bytes = fs::read(file).unwrap();
    let (tunnels, one) = (TunnelPolicy::default(), SamplingRate::ONE);
    let mut collector = FrameCollector::new(tunnels, LengthMode::Wire, one);
    let mut decode = |packet: tidewall_wire::pcap::Packet<'_>| {
        let (link, time) = (LinkType(packet.link_type), Timestamp(packet.time));
        collector.decode(link, time, packet.data, packet.wire_len).ok()
    };
    Packets::new(&bytes).map_while(Result::ok).filter_map(&mut decode).collect()
}

/// What the busiest receiver of each ordinary capture receives.
fn ordinary(corpus: &Path) -> Vec<FlowRecord> {
    let text = fs::read_to_string(corpus.join("MANIFEST.csv")).unwrap();
    let mut lines = text.lines().map(columns);
    let head = lines.next().unwrap();
    let at = |name: &str| head.iter().position(|column| column == name).unwrap();
    let (path, category, kind) = (at("path"), at("category"), at("kind"));
    let wanted = lines.filter(|row| {
        row.len() > kind && row[category] == "pcap" && ORDINARY.contains(&row[kind].as_str())
    });
    let mut files: Vec<String> = wanted.map(|row| row[path].clone()).collect();
    files.retain(|file| !file.contains("fuzz"));
    files.sort();
    let mut list = Vec::new();
    for file in files {
        let all = records(&corpus.join(file));
        let mut received: BTreeMap<Address, usize> = BTreeMap::new();
        for record in &all {
            *received.entry(record.dst_address()).or_default() += 1;
        }
        let busiest = received.into_iter().max_by_key(|(_, packets)| *packets);
        let Some((busiest, _)) = busiest else { continue };
        let to_host = all.into_iter().filter(|record| record.dst_address() == busiest);
        let known =
            |r: &FlowRecord| matches!(r.protocol, protocol::TCP | protocol::UDP) || r.is_icmp();
        list.extend(to_host.filter(known).take(OF_A_CAPTURE));
    }
    // One application after another would be one application at a time.
    list.sort_by_key(|record| scatter(record.seq ^ record.time.0 ^ record.src as u64));
    list
}

const fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Ordinary packets with what is besides, as many as there are ordinary ones of each round.
fn normal(ordinary: &[FlowRecord], besides: Besides) -> Vec<FlowRecord> {
    let mut list = Vec::new();
    for (at, record) in ordinary.iter().enumerate() {
        list.push(*record);
        let others = match besides {
            Besides::Nothing => 0,
            Besides::Game => 9,
            Besides::Downloads => 1,
        };
        for other in 0..others {
            let lot = scatter((at * 16 + other) as u64);
            list.push(match besides {
                Besides::Game => player(lot),
                _ => download(lot),
            });
        }
    }
    list
}

fn player(lot: u64) -> FlowRecord {
    FlowRecord {
        src: 0x5000_0000 | u128::from(lot % 400),
        src_port: 49_152 + (lot % 400) as u16 * 31,
        dst_port: 30_120,
        seq: MIXED_IN,
        protocol: protocol::UDP,
        bytes: 50 + lot / 1000 % 300,
        link_bytes: 14,
        ..FlowRecord::default()
    }
}

/// Every twentieth packet of a download is the server's SYN+ACK, with options as they are usual.
fn download(lot: u64) -> FlowRecord {
    const SYN_ACK: u16 = TcpFlags::SYN | TcpFlags::ACK;
    let (flags, bytes) = match lot % 20 {
        0 => (SYN_ACK, [52, 60][lot as usize / 32 % 2]),
        1 => (TcpFlags::ACK, 52),
        _ => (TcpFlags::ACK | (TcpFlags::PSH * (lot as u16 / 64 % 2)), 1_500),
    };
    FlowRecord {
        src: 0x6000_0000 | u128::from(lot % 300),
        src_port: [443, 443, 80][lot as usize / 128 % 3],
        dst_port: 32_768 + (lot / 512 % 20_000) as u16,
        seq: MIXED_IN,
        protocol: protocol::TCP,
        tcp_flags: TcpFlags(flags),
        bytes: bytes + 14,
        link_bytes: 14,
        ..FlowRecord::default()
    }
}

/// The record as if it had been for this victim.
fn towards(victim: Address, record: &FlowRecord) -> FlowRecord {
    let protocol = match (victim.family, record.protocol) {
        (Family::V6, protocol::ICMP) => protocol::ICMPV6,
        (Family::V4, protocol::ICMPV6) => protocol::ICMP,
        (_, protocol) => protocol,
    };
    let src = match victim.family {
        Family::V4 => u128::from(record.src as u32),
        Family::V6 => 0x2001_0db8_ffff << 80 | u128::from(record.src as u32),
    };
    FlowRecord { src, dst: victim.bits, family: victim.family, protocol, ..*record }
}

/// The first and the last state of the attack on a host.
#[derive(Default)]
struct Watcher(Vec<Attack>);

impl Observer for Watcher {
    fn event(&mut self, event: &AttackEvent) {
        if event.kind != AttackEventKind::Ended {
            self.0.push(event.attack.clone());
        }
    }
}

/// What came out for a case: parts of packets that rules take.
struct Row {
    filters: Vec<ProposedFilter>,
    class: String,
    /// Of the attack.
    covered: f64,
    /// Of the ordinary packets, by rules that discard and by rules that slow down.
    discarded: f64,
    slowed: f64,
    /// Of what was mixed in, by any rule.
    besides: f64,
}

fn run(case: &Case, corpus: &Path, ordinary: &[FlowRecord]) -> (Row, Prefix) {
    let target: Prefix = case.victim.parse().unwrap();
    let victim = target.first();
    let attack: Vec<FlowRecord> = records(&corpus.join("attacks").join(case.file))
        .into_iter()
        .filter(|record| record.dst_address() == victim && (case.is_attack)(record))
        .collect();
    let normal: Vec<FlowRecord> =
        normal(ordinary, case.besides).iter().map(|record| towards(victim, record)).collect();
    let attack_at = NORMAL_SECONDS * SECOND;
    let place = |list: &[FlowRecord], from: u64, pps: u64, seconds: u64| {
        let packets = (0..pps * seconds).zip(list.iter().cycle());
        packets
            .map(|(n, record)| FlowRecord { time: Timestamp(from + n * SECOND / pps), ..*record })
            .collect::<Vec<_>>()
    };
    let seconds = NORMAL_SECONDS + ATTACK_SECONDS;
    let mut stream = place(&normal, 0, NORMAL_PPS, seconds);
    stream.extend(place(&attack, attack_at, ATTACK_PPS, ATTACK_SECONDS));
    stream.sort_by_key(|record| record.time);
    for (seq, record) in stream.iter_mut().enumerate() {
        record.seq = seq as u64;
    }
    let mut engine = Engine::new(Policy::for_networks(vec![target]), 1, Dealing::ByHost, 7);
    let mut watcher = Watcher::default();
    engine.ingest(&stream, &mut watcher);
    engine.finish(&mut watcher);
    let states = watcher.0;
    let found = states.last().unwrap_or_else(|| panic!("{}: no attack was found", case.file));
    assert_eq!(found.direction, Direction::Incoming);
    let of = |list: &[FlowRecord], by: &[&ProposedFilter]| {
        let taken = |record: &&FlowRecord| by.iter().any(|filter| filter.rule.matches(record));
        list.iter().filter(taken).count() as f64 / list.len().max(1) as f64
    };
    let is_discard = |filter: &&ProposedFilter| filter.rule.action == FilterAction::Discard;
    let (discards, slows): (Vec<_>, Vec<_>) = found.filters.iter().partition(is_discard);
    let all: Vec<_> = found.filters.iter().collect();
    let mixed_in: Vec<FlowRecord> = normal.iter().filter(|r| r.seq == MIXED_IN).copied().collect();
    let row = Row {
        covered: of(&attack, &all),
        discarded: of(&normal, &discards),
        slowed: of(&normal, &slows),
        besides: of(&mixed_in, &all),
        class: found.class.to_string(),
        filters: found.filters.clone(),
    };
    (row, target)
}

fn words(target: Prefix, filter: &ProposedFilter) -> String {
    let (rule, actions) = flow_spec_rule(target, &filter.rule).unwrap();
    rule.check_announceable().unwrap();
    let text = rule.to_string();
    let matched = text.split_once(&format!("destination {target} ")).unwrap().1;
    format!("{matched}: {actions}")
}

#[test]
fn filters_of_the_labelled_attacks() {
    let Some(corpus) = corpus() else { return };
    let ordinary = ordinary(&corpus);
    println!("{} ordinary packets", ordinary.len());
    let mut table = String::new();
    let mut wrong = String::new();
    for case in CASES {
        let (row, target) = run(case, &corpus, &ordinary);
        let name = case.file.split_once("__").unwrap().1.trim_end_matches(".pcap");
        let besides = match case.besides {
            Besides::Nothing => "",
            Besides::Game => " on a game server",
            Besides::Downloads => " during downloads",
        };
        let rules: Vec<String> = row.filters.iter().map(|filter| words(target, filter)).collect();
        let percent = |part: f64| format!("{:.1} %", part * 100.0);
        writeln!(
            table,
            "| {name}{besides} | {} | {} | {} | {} |",
            percent(row.covered),
            percent(row.discarded),
            percent(row.slowed),
            rules.iter().map(|rule| format!("`{rule}`")).collect::<Vec<_>>().join("<br>"),
        )
        .unwrap();
        let fits = row.covered >= 0.95
            && row.discarded <= 0.01
            && row.slowed <= case.slowed
            && row.besides <= 0.0
            && row.filters.len() <= 4;
        if !fits {
            writeln!(wrong, "{name}{besides}: {}", row.class).unwrap();
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "outside of their bounds:\n{wrong}");
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/filters.md");
    let manual = fs::read_to_string(manual).unwrap();
    assert!(manual.contains(&table), "docs/filters.md has another table than this:\n{table}");
}
