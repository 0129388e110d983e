//! The labelled attack captures of the corpus: each is paced to five times the default limit and
//! must be named with its victim and a fitting class; and the captures of ordinary traffic, at
//! their own speed, must raise nothing.
//!
//! The published bursts last milliseconds, or are excerpts slower than any limit. Pacing is by one
//! rule: the capture is repeated until there are packets for two seconds at 100,000 packets a
//! second, and sped up or slowed down to that rate. The order of its packets, their sources, ports
//! and sizes stay as captured.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod captures;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use captures::{columns, corpus};
use tidewall::replay::{self, Input, Outcome, Settings};
use tidewall_engine::Policy;
use tidewall_model::AttackClass::{
    AckFlood, FragmentFlood, GreFlood, IcmpFlood, SynAckReflection, SynFlood, UdpFlood,
    UdpReflection,
};
use tidewall_model::{Attack, AttackClass, Direction, Prefix};

/// Five times the default limit of 20,000 packets a second.
const RATE: f64 = 100_000.0;
const SECONDS: f64 = 2.0;

/// What a capture must be found to be.
struct Expected {
    /// File in `attacks/`.
    file: &'static str,
    /// Host that is named, and in which direction.
    target: &'static str,
    direction: Direction,
    class: AttackClass,
    /// Names that must be among the vectors.
    vectors: &'static [&'static str],
    /// Also raised at the capture's own speed.
    natural: bool,
}

const fn victim(
    file: &'static str,
    target: &'static str,
    class: AttackClass,
    vectors: &'static [&'static str],
) -> Expected {
    Expected { file, target, direction: Direction::Incoming, class, vectors, natural: false }
}

const ATTACKS: &[Expected] = &[
    victim("lab-hping3__gre_proto47_flood.pcap", "10.99.0.2", GreFlood, &["gre"]),
    victim("lab-hping3__reflect_chargen_src19.pcap", "10.99.0.2", UdpReflection, &["chargen"]),
    victim(
        "lab-hping3__reflect_memcached_src11211.pcap",
        "10.99.0.2",
        UdpReflection,
        &["memcached"],
    ),
    victim("lab-hping3__reflect_ntp_src123.pcap", "10.99.0.2", UdpReflection, &["ntp"]),
    victim("lab-hping3__syn_flood_random_sources.pcap", "10.99.0.2", SynFlood, &["syn"]),
    victim("lab-hping3__udp_flood_random_ports.pcap", "10.99.0.2", UdpFlood, &["udp"]),
    // 19,700 fragments a second: four times the limit of fragments as captured.
    Expected {
        natural: true,
        ..victim("lab-hping3__udp_fragment_flood.pcap", "10.99.0.2", FragmentFlood, &["fragments"])
    },
    victim("ndpi__ip_fragmented_garbage.pcap", "10.128.0.2", FragmentFlood, &["fragments"]),
    // A scan of many ports of one host is a flood of SYNs when it is fast.
    victim("ndpi__synscan.pcap", "64.13.134.52", SynFlood, &["syn"]),
    victim(
        "network-intrusion-detection-system__icmp_flood.pcap",
        "192.168.1.10",
        IcmpFlood,
        &["icmp"],
    ),
    victim(
        "network-intrusion-detection-system__udp_flood.pcap",
        "192.168.1.10",
        UdpFlood,
        &["udp"],
    ),
    victim(
        "packet-captures__amp.TCP.syn.optionallyACK.optionallysamePort.pcap",
        "10.10.10.10",
        SynAckReflection,
        &["syn_ack"],
    ),
    victim(
        "packet-captures__amp.UDP.bacnet.IOT.37810.pcap",
        "10.10.10.1",
        UdpReflection,
        &["bacnet", "dahua"],
    ),
    victim("packet-captures__amp.UDP.snmp.src161.pcap", "10.10.10.10", UdpReflection, &["snmp"]),
    // Answers of DNS servers in fragments, among ordinary TCP of the same host: fragments are what
    // went over a limit, and they belong to the answers.
    victim(
        "packet-captures__amp.dns.RRSIG.fragmented.pcap",
        "10.10.10.10",
        UdpReflection,
        &["dns"],
    ),
    victim("packet-captures__pkt.TCP.DOMINATE.syn.ecn.cwr.pcap", "10.10.10.10", SynFlood, &["syn"]),
    // The manifest's victim is one of 256 addresses with two packets each: the scanner is named.
    Expected {
        direction: Direction::Outgoing,
        ..victim("pcaphunt__hs-icmpScan.pcap", "10.0.0.128", IcmpFlood, &["icmp"])
    },
    victim("pcaphunt__ps-tcp_ack.pcap", "10.0.0.254", AckFlood, &["ack"]),
    // 16,000 ICMPv6 a second: three times the limit as captured.
    Expected {
        natural: true,
        ..victim("suricata-verify__denial6-5.pcap", "2001:db8:1::1", IcmpFlood, &["icmpv6"])
    },
    victim("suricata-verify__dhcp-request-flood.pcap", "255.255.255.255", UdpFlood, &["udp"]),
    victim("trex-core__syn_attack.pcap", "48.0.0.1", SynFlood, &["syn"]),
];

fn replayed(file: &Path, settings: &Settings) -> Outcome {
    let outcome = replay::run(&[Input::File(file.to_owned())], settings, &mut |_| {}).unwrap();
    assert_eq!(outcome.received.packets, outcome.stats.ingested + outcome.drops.total());
    outcome
}

/// Packets and seconds of each attack capture, as the manifest says.
fn manifest(corpus: &Path) -> BTreeMap<String, (f64, f64)> {
    let text = fs::read_to_string(corpus.join("MANIFEST.csv")).unwrap();
    let mut lines = text.lines().map(columns);
    let head = lines.next().unwrap();
    let at = |name: &str| head.iter().position(|column| column == name).unwrap();
    let (path, category, frames, duration) =
        (at("path"), at("category"), at("frames"), at("duration_s"));
    lines
        .filter(|row| row[category] == "attacks")
        .map(|row| {
            let file = row[path].strip_prefix("attacks/").unwrap().to_owned();
            (file, (row[frames].parse().unwrap(), row[duration].parse().unwrap()))
        })
        .collect()
}

/// The whole capture at [`RATE`] for [`SECONDS`], our network being the target alone.
fn paced(expected: &Expected, packets: f64, seconds: f64) -> Settings {
    let target: Prefix = expected.target.parse().unwrap();
    // A capture without a duration is repeated once a second.
    let seconds = if seconds > 0.0 { seconds } else { 1.0 };
    Settings {
        speed: RATE * seconds / packets,
        rounds: (RATE * SECONDS / packets).ceil() as u32,
        ..Settings::new(Policy::for_networks(vec![target]))
    }
}

fn complaint(expected: &Expected, attacks: &[Attack]) -> Option<String> {
    let [attack] = attacks else {
        let all: Vec<_> = attacks.iter().map(|a| format!("{} {}", a.target, a.class)).collect();
        return Some(format!("{} attacks instead of one: {}", all.len(), all.join(", ")));
    };
    let vectors: Vec<&str> = attack.vectors.iter().map(|v| v.name.as_str()).collect();
    let fits = attack.target.to_string() == expected.target
        && attack.direction == expected.direction
        && attack.class == expected.class
        && expected.vectors.iter().all(|vector| vectors.contains(vector));
    (!fits).then(|| format!("{} {} {} {vectors:?}", attack.target, attack.direction, attack.class))
}

#[test]
fn every_labelled_attack_is_named() {
    let Some(corpus) = corpus() else { return };
    let manifest = manifest(&corpus);
    let mut wrong = Vec::new();
    for expected in ATTACKS {
        let Some((packets, seconds)) = manifest.get(expected.file) else {
            wrong.push(format!("{}: not in the manifest", expected.file));
            continue;
        };
        let file = corpus.join("attacks").join(expected.file);
        let outcome = replayed(&file, &paced(expected, *packets, *seconds));
        wrong.extend(
            complaint(expected, &outcome.attacks).map(|why| format!("{}: {why}", expected.file)),
        );
        for attack in &outcome.attacks {
            let after = attack.detected.since(attack.started).as_millis();
            if after > 300 && expected.file != "pcaphunt__ps-tcp_ack.pcap" {
                wrong.push(format!("{}: named after {after} ms", expected.file));
            }
            assert!(!attack.samples.is_empty() && !attack.top.remotes.is_empty());
        }
    }
    for file in manifest.keys().filter(|file| ATTACKS.iter().all(|a| a.file != file.as_str())) {
        wrong.push(format!("{file}: in the manifest and not in the table"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Most of the attack captures are far below every limit as they were captured.
#[test]
fn slow_captures_of_attacks_raise_nothing_at_their_own_speed() {
    let Some(corpus) = corpus() else { return };
    for expected in ATTACKS {
        let target: Prefix = expected.target.parse().unwrap();
        let settings = Settings::new(Policy::for_networks(vec![target]));
        let outcome = replayed(&corpus.join("attacks").join(expected.file), &settings);
        let found = outcome.attacks.iter().any(|attack| attack.class == expected.class);
        assert_eq!(!outcome.attacks.is_empty(), expected.natural, "{}", expected.file);
        assert_eq!(found, expected.natural, "{}", expected.file);
    }
}

#[test]
fn ordinary_traffic_raises_nothing() {
    let Some(corpus) = corpus() else { return };
    let mut files: Vec<_> =
        fs::read_dir(corpus.join("pcap")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut packets = 0;
    for file in &files {
        let outcome = replayed(file, &Settings::new(Policy::for_networks(Vec::new())));
        packets += outcome.received.packets;
        assert!(outcome.attacks.is_empty(), "{}: {:?}", file.display(), outcome.attacks[0].reason);
        assert!(!outcome.is_damaged(), "{}: {:?}", file.display(), outcome.warnings());
    }
    assert!(files.len() > 400 && packets > 15_000, "{} files, {packets} packets", files.len());
}
