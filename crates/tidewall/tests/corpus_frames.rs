//! Every packet capture of the corpus, against the outermost addresses that tshark printed for it.
//!
//! The comparison is the one of the corpus's `compare.py`, and stricter: addresses that only we
//! found are a difference too. Each file that differs stands in a table with the reason, and a
//! reason that is no longer needed fails the test like a new difference. The corpus is not part of
//! the project; without it the test says so and passes.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its data must stop")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use tidewall_collect::FrameCollector;
use tidewall_model::Timestamp;
use tidewall_wire::frame::LinkType;
use tidewall_wire::pcap::Packets;

/// Why a file differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// IPv6 carries IPv4 and the comparison takes the IPv4 column first: it expects the inner
    /// addresses. Not taken on trust: with the order of the `frame.protocols` column, nothing may
    /// differ.
    InnerExpected,
    /// Another reason, in words.
    Because(&'static str),
}

use Reason::{Because, InnerExpected};

const DIFFERENCES: &[(&str, Reason)] = &[
    (
        "akvorado__mpls-eompls-invalid-cw.pcap",
        Because(
            "the pseudowire's control word carries sequence number 1, which RFC 4448 allows; tshark \
         takes it for the start of a hardware address",
        ),
    ),
    (
        "ndpi__fuzz-2006-06-26-2594.pcap",
        Because(
            "made by a fuzzer: a version field of 6 behind EtherType 0x0800, refused as ip_version",
        ),
    ),
    ("pcapplusplus__GrePackets.pcapng", InnerExpected),
    ("pcapplusplus__ipv6.pcap", InnerExpected),
    ("snabb__icmpv6-nogress-ip-bound-port-unbound.pcap", InnerExpected),
    ("snabb__icmpv6-nogress.pcap", InnerExpected),
    ("snabb__incoming-icmpv6-13dstaddressunreach-inet-OPE.pcap", InnerExpected),
    ("snabb__recap-customBR-IPs-ipv6.pcap", InnerExpected),
    ("snabb__recap-ipv6-vlan.pcap", InnerExpected),
    ("snabb__recap-ipv6.pcap", InnerExpected),
    ("snabb__recap-tocustom-BRIP-ipv6.pcap", InnerExpected),
    ("snabb__tcp-afteraftr-ipv6-vlan.pcap", InnerExpected),
    ("suricata-verify__bug-4571-06-ipv4_over_ipv6.pcap", InnerExpected),
    ("suricata-verify__flow-pkt-recursion-tunnel-pkt-flows.pcap", InnerExpected),
    (
        "tcpdump__LINKTYPE_IPV4_invalid.pcap",
        Because("IPv6 under a link type that says IPv4, made to be refused: ip_version"),
    ),
    ("tcpdump__gso-ipv6-geneve-ipv4.pcap", InnerExpected),
    (
        "tcpdump__icmp6_nodeinfo_oobr.pcap",
        Because("tshark does not read SLIP with its capture header"),
    ),
    ("trex-core__tcp2_http_simple_gtpu_ipv6_c.pcap", InnerExpected),
    (
        "zeek__cisco-fabric-path.pcap",
        Because(
            "tshark takes the last four bytes of the inner frame for a check sequence and cuts the \
         destination; the frames end with it",
        ),
    ),
    (
        "zeek__trunc-ipv4-truncated-broken-header.pcap",
        Because("total length below the header: tshark refuses it, here it counts with an anomaly"),
    ),
];

/// How often each pair of addresses was seen.
type Pairs = BTreeMap<(String, String), u64>;

fn corpus() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let folder = std::env::var_os("TIDEWALL_CORPUS").map_or_else(default, PathBuf::from);
    folder.join("MANIFEST.csv").is_file().then_some(folder)
}

/// Rows of a CSV file by column name; quotes enclose commas and line ends.
fn rows(text: &str) -> Vec<BTreeMap<String, String>> {
    let mut records: Vec<Vec<String>> = vec![vec![String::new()]];
    let mut quoted = false;
    for letter in text.chars() {
        let record = records.last_mut().unwrap();
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => record.push(String::new()),
            '\n' if !quoted => records.push(vec![String::new()]),
            '\r' if !quoted => {}
            _ => record.last_mut().unwrap().push(letter),
        }
    }
    let mut records = records.into_iter();
    let header = records.next().unwrap();
    records
        .filter(|record| record.len() == header.len())
        .map(|record| header.iter().cloned().zip(record).collect())
        .collect()
}

/// The text of a file, or of its compressed form beside it.
fn text(path: &Path) -> Option<String> {
    let mut compressed = path.as_os_str().to_owned();
    compressed.push(".gz");
    let mut text = String::new();
    if let Ok(file) = File::open(compressed) {
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        File::open(path).ok()?.read_to_string(&mut text).unwrap();
    }
    Some(text)
}

fn count(pairs: &mut Pairs, src: String, dst: String) {
    *pairs.entry((src, dst)).or_default() += 1;
}

/// The first address of each column, as text that compares.
fn first_address(row: &BTreeMap<String, String>, column: &str) -> String {
    let first = row[column].split('|').next().unwrap_or_default();
    first.parse::<IpAddr>().map_or_else(|_| first.to_owned(), |address| address.to_string())
}

/// The pairs that `compare.py` expects: the IPv4 column before the IPv6 one.
fn expected(rows: &[BTreeMap<String, String>]) -> Pairs {
    let mut pairs = Pairs::new();
    for row in rows {
        let either = |end: &str| {
            let four = first_address(row, &format!("ip.{end}"));
            if four.is_empty() { first_address(row, &format!("ipv6.{end}")) } else { four }
        };
        let src = either("src");
        if !src.is_empty() {
            count(&mut pairs, src, either("dst"));
        }
    }
    pairs
}

/// The pairs of the header that comes first in the frame.
fn outermost(rows: &[BTreeMap<String, String>]) -> Pairs {
    let mut pairs = Pairs::new();
    for row in rows {
        let first = row["frame.protocols"].split(':').find(|name| matches!(*name, "ip" | "ipv6"));
        let Some(first) = first else { continue };
        let (src, dst) = (
            first_address(row, &format!("{first}.src")),
            first_address(row, &format!("{first}.dst")),
        );
        if !src.is_empty() {
            count(&mut pairs, src, dst);
        }
    }
    pairs
}

/// The pairs of our records, all of which are told apart from drops by the counters.
fn decoded(capture: &[u8]) -> Pairs {
    let mut collector = FrameCollector::default();
    let (mut pairs, mut frames) = (Pairs::new(), 0);
    for packet in Packets::new(capture).map_while(Result::ok) {
        let link = LinkType(packet.link_type);
        let time = Timestamp(packet.time);
        if let Ok(record) = collector.decode(link, time, packet.data, packet.wire_len) {
            count(&mut pairs, record.src_address().to_string(), record.dst_address().to_string());
        }
        frames += 1;
    }
    let records: u64 = pairs.values().sum();
    assert_eq!(records + collector.drops().total(), frames);
    pairs
}

/// Pairs of `left` that `right` lacks, at most three of them in words.
fn missing(left: &Pairs, right: &Pairs) -> Option<String> {
    let lacking: Vec<String> = left
        .iter()
        .map(|(pair, n)| (pair, n.saturating_sub(right.get(pair).copied().unwrap_or(0))))
        .filter(|(_, n)| *n > 0)
        .map(|((src, dst), n)| format!("{n} × {src} > {dst}"))
        .collect();
    (!lacking.is_empty()).then(|| lacking[..lacking.len().min(3)].join(", "))
}

fn difference(want: &Pairs, got: &Pairs) -> Option<String> {
    match (missing(want, got), missing(got, want)) {
        (None, None) => None,
        (lacking, extra) => {
            let words = |pairs: Option<String>| pairs.unwrap_or_else(|| "nothing".into());
            Some(format!("missing {}; not expected {}", words(lacking), words(extra)))
        }
    }
}

/// What is wrong about one file, if anything.
fn verdict(name: &str, rows: &[BTreeMap<String, String>], got: &Pairs) -> Option<String> {
    let reason = DIFFERENCES.iter().find(|(file, _)| *file == name).map(|(_, reason)| *reason);
    match (difference(&expected(rows), got), reason) {
        (None, None) | (Some(_), Some(Because(_))) => None,
        (None, Some(reason)) => Some(format!("{name}: differs no longer, drop {reason:?}")),
        (Some(words), None) => Some(format!("{name}: {words}")),
        (Some(_), Some(InnerExpected)) => difference(&outermost(rows), got)
            .map(|words| format!("{name}: {words}, and not by the order of columns")),
    }
}

#[test]
fn the_outermost_addresses_of_the_corpus_are_those_of_tshark() {
    let Some(corpus) = corpus() else {
        println!("skipped: no corpus at ../shared/corpus or $TIDEWALL_CORPUS");
        return;
    };
    let manifest = rows(&fs::read_to_string(corpus.join("MANIFEST.csv")).unwrap());
    let (mut compared, mut seen, mut wrong) = (0, 0, Vec::new());
    for row in manifest.iter().filter(|row| row["category"] == "pcap") {
        let path = Path::new(&row["path"]);
        let got = decoded(&fs::read(corpus.join(path)).unwrap());
        let expectation = corpus.join("expected").join(path.with_extension("packets.csv"));
        let Some(text) = text(&expectation) else { continue };
        let name = path.file_name().unwrap().to_str().unwrap();
        compared += 1;
        seen += usize::from(DIFFERENCES.iter().any(|(file, _)| *file == name));
        wrong.extend(verdict(name, &rows(&text), &got));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(compared >= 442, "{compared} files compared");
    assert_eq!(seen, DIFFERENCES.len(), "a file of the table is not in the corpus");
}
