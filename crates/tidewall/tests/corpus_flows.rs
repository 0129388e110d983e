//! Every export capture of the corpus, as `tidewall decode` prints it, against what other tools
//! read.
//!
//! The rule is that of the corpus's `compare.py`: as many records as two independent decoders agree
//! on, and among them every tuple of addresses, ports, protocol, bytes and packets that tshark
//! printed. Each capture that differs stands in a table with the numbers by which it does and the
//! reason; a capture that differs otherwise, or no longer, fails the test. The reasons are not
//! taken on trust: what is missing must be what the reason says. The corpus is not part of the
//! project; without it the test says so and passes.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its data must stop")]

mod captures;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use captures::{columns, corpus};
use flate2::read::GzDecoder;
use tidewall::commands::decode::{Format, Settings, decode_to};
use tidewall::replay::Input;

/// The columns that are compared.
const KEY: [&str; 7] =
    ["src_addr", "dst_addr", "src_port", "dst_port", "protocol", "bytes", "packets"];

/// A line as columns by name.
type Row = BTreeMap<String, String>;
/// The columns of [`KEY`], as far as they are compared.
type Tuple = Vec<String>;

/// Why tshark's tuple is not among ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The record carries the first bytes of a sampled packet, which tshark prints as bytes. We
    /// dissect them: tshark's tuple is empty.
    SampledPacket,
    /// ICMP has no ports. Type and code are in our destination port, as NetFlow has them; all else
    /// is equal.
    IcmpType,
    /// The record has addresses of two headers, or of two versions of which one is zero: an IPv6
    /// packet, also with IPv4 in it. tshark's column holds those of IPv4; ours those of the outer
    /// header. Ports, protocol and counters are equal.
    OuterHeader,
    /// The firewall counts initiator and responder, in columns that the comparison does not take:
    /// bytes and packets are empty there. Ours are two records, one each way.
    BothWays,
    /// Counted behind the router only (elements 23 and 24), which the comparison leaves out where
    /// the others are there and zero.
    BehindRouter,
    /// The record says 0.0.0.0 to 0.0.0.0, which are no addresses: our columns are empty.
    NoAddresses,
    /// tshark takes the first next header of IPv6, hop-by-hop options, for the protocol. sflowtool
    /// and nfdump read the ICMPv6 behind it, as we do.
    BehindOptions,
    /// The record has reverse elements (RFC 5103): ours are two records. Others print the way
    /// there.
    Reverse,
    /// Records came before their template and waited for it. Others drop them.
    Waited,
    /// Datagrams of NetFlow v5 on sFlow's port. Others look for sFlow only.
    NotSflow,
}

use Reason::{
    BehindOptions, BehindRouter, BothWays, IcmpType, NoAddresses, NotSflow, OuterHeader, Reverse,
    SampledPacket, Waited,
};

/// A capture that differs: records that we have and that others agreed on, tuples that are missing,
/// and why.
type Difference = (&'static str, (usize, usize), usize, Reason);

const DIFFERENCES: &[Difference] = &[
    ("ipfix/akvorado__datalink.pcap", (1, 1), 1, SampledPacket),
    ("ipfix/akvorado__eompls-cw.pcap", (10, 10), 10, SampledPacket),
    ("ipfix/akvorado__ipfix-srv6.pcap", (1, 1), 1, SampledPacket),
    ("ipfix/graylog2__data-datatemplate.pcap", (4, 1), 0, Waited),
    ("ipfix/ipfixcol2__example_flows.pcap", (3979, 3979), 56, IcmpType),
    ("ipfix/logstash-netflow__IPFIX-YAF-basic-with-applabel.pcap", (4, 2), 0, Reverse),
    ("ipfix/netgauze__106-IPFIXv10-HUAWEI-vrf_name-traffic-00.pcap", (3, 3), 2, OuterHeader),
    (
        "ipfix/netgauze__401-IPFIXv10-BMP-IPv6-CISCO-MPLS-multiple-sources-traffic-00.pcap",
        (748, 748),
        97,
        OuterHeader,
    ),
    (
        "ipfix/netgauze__502-IPFIXv10-BGP-IPv6-CISCO-SRv6-lcomms-traffic-00.pcap",
        (75, 75),
        9,
        OuterHeader,
    ),
    ("ipfix/netgauze__srv6-srv6.pcap", (86, 86), 15, OuterHeader),
    ("netflow/logstash-netflow__Netflow-9-Cisco-ASA-2.pcap", (27, 19), 15, BothWays),
    ("netflow/logstash-netflow__Netflow-9-nprobe-DPI-L7.pcap", (1, 1), 1, NoAddresses),
    (
        "netflow/logstash-netflow__Netflow-9-template-with-0-length-fields.pcap",
        (10, 10),
        3,
        BehindRouter,
    ),
    ("sflow/akvorado__data-icmpv6.pcap", (1, 1), 1, IcmpType),
    ("sflow/ndpi__sflow.pcap", (1, 1), 1, IcmpType),
    ("sflow/tcpdump__sflow_multiple_counter_30_pdus.pcap", (7, 0), 0, NotSflow),
    ("sflow/telegraf__sflow_issue_15918.pcap", (6, 6), 1, BehindOptions),
];

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    let mut compressed = path.as_os_str().to_owned();
    compressed.push(".gz");
    if let Ok(file) = File::open(compressed) {
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
    } else {
        File::open(path).ok()?.read_to_string(&mut text).unwrap();
    }
    Some(text)
}

fn rows(text: &str) -> Vec<Row> {
    let mut lines = text.lines().map(columns);
    let names = lines.next().unwrap();
    lines.map(|line| names.iter().cloned().zip(line).collect()).collect()
}

/// A value in the form in which it is compared: nothing is 0, numbers have no fraction.
fn normal(column: &str, value: &str) -> String {
    let value = value.trim();
    if value.is_empty() {
        return "0".to_owned();
    }
    if column.ends_with("_addr") {
        return value.parse::<IpAddr>().map_or_else(|_| value.to_owned(), |a| a.to_string());
    }
    value.parse::<f64>().map_or_else(|_| value.to_owned(), |number| format!("{number:.0}"))
}

/// What other tools read: one tuple a record. sFlow's have no packets.
fn expected(category: &str, base: &str, corpus: &Path) -> Option<Vec<Tuple>> {
    let kind = if category == "sflow" { "samples" } else { "records" };
    let rows = rows(&text(&corpus.join(format!("expected/{base}.{kind}.csv")))?);
    let value = |row: &Row, column: &str| match (category, column) {
        ("sflow", "bytes") => normal(column, &row["frame_length"]),
        (_, "bytes" | "packets") => {
            let columns = [column.to_owned(), format!("{column}_total"), format!("out_{column}")];
            let found = columns.iter().map(|name| &row[name]).find(|value| !value.is_empty());
            normal(column, found.map_or("", String::as_str))
        }
        _ => normal(column, &row[column]),
    };
    let counts = |row: &&Row| {
        if category == "sflow" { !row["sampling_rate"].is_empty() } else { row["kind"] == "data" }
    };
    let tuple = |row: &Row| key(category).iter().map(|column| value(row, column)).collect();
    Some(rows.iter().filter(counts).map(tuple).collect())
}

fn key(category: &str) -> &'static [&'static str] {
    if category == "sflow" { &KEY[..6] } else { &KEY }
}

/// What `tidewall decode` prints: tuples, and notes.
fn decoded(path: &Path, category: &str) -> (Vec<Tuple>, Vec<String>) {
    let mut out = Vec::new();
    let settings = Settings::new(Format::Csv);
    let ending = decode_to(&Input::File(path.into()), &settings, &mut out).unwrap();
    assert_eq!((ending.truncated, ending.damaged), (None, None), "{}", path.display());
    let rows = rows(&String::from_utf8(out).unwrap());
    let tuple = |row: &Row| key(category).iter().map(|name| normal(name, &row[*name])).collect();
    (rows.iter().map(tuple).collect(), rows.iter().map(|row| row["note"].clone()).collect())
}

/// Those of `left` that `right` lacks.
fn without(left: &[Tuple], right: &[Tuple]) -> Vec<Tuple> {
    let mut have = BTreeMap::<&Tuple, usize>::new();
    for tuple in right {
        *have.entry(tuple).or_default() += 1;
    }
    let lacks = |tuple: &&Tuple| match have.get_mut(*tuple) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    };
    left.iter().filter(lacks).cloned().collect()
}

impl Reason {
    /// Is this what became of a tuple that is missing, given those of ours that nobody expected?
    fn explains(self, missing: &[String], ours: &[Tuple]) -> bool {
        let zero = |columns: &[usize]| columns.iter().all(|at| missing[*at] == "0");
        let alike = |columns: &[usize]| {
            let equal = |tuple: &&Tuple| columns.iter().all(|at| tuple[*at] == missing[*at]);
            ours.iter().find(equal)
        };
        match self {
            SampledPacket => zero(&[0, 1, 2, 3, 4, 5, 6]),
            IcmpType => {
                let icmp = matches!(&*missing[4], "1" | "58") && zero(&[2, 3]);
                icmp && alike(&[0, 1, 2, 4, 5]).is_some()
            }
            OuterHeader => {
                let four = missing[0].contains('.') && missing[1].contains('.');
                four && alike(&[2, 3, 4, 5, 6]).is_some_and(|tuple| tuple[0].contains(':'))
            }
            BothWays | BehindRouter => zero(&[5, 6]) && alike(&[0, 1, 2, 3, 4]).is_some(),
            NoAddresses => {
                let none = missing[0] == "0.0.0.0" && missing[1] == "0.0.0.0";
                none && alike(&[2, 3, 4, 5, 6]).is_some_and(|tuple| tuple[0] == "0")
            }
            BehindOptions => {
                missing[4] == "0" && alike(&[0, 1, 5]).is_some_and(|tuple| tuple[4] == "58")
            }
            Reverse | Waited | NotSflow => false,
        }
    }

    /// Are there so many more records for this reason?
    fn adds(self, more: usize, notes: &[String]) -> bool {
        let noted = |word| notes.iter().filter(|note| note.contains(word)).count();
        match self {
            BothWays | Reverse => more == noted("reverse"),
            Waited => more == noted("held"),
            NotSflow => more == notes.len(),
            _ => more == 0,
        }
    }
}

/// What is wrong about one capture, if anything.
fn verdict(
    row: &Row,
    expected: &[Tuple],
    (got, notes): &(Vec<Tuple>, Vec<String>),
) -> Option<String> {
    let path = &row["path"];
    let agreed: Option<usize> = row["agreed_data_records"].parse().ok();
    // Where tools do not agree on a number, or tshark counts otherwise, tuples are not compared.
    let missing = if agreed == Some(expected.len()) { without(expected, got) } else { Vec::new() };
    let found = ((got.len(), agreed.unwrap_or(got.len())), missing.len());
    let differs = found.0.0 != found.0.1 || found.1 != 0;
    let known = DIFFERENCES.iter().find(|(known, ..)| known == path);
    let Some((_, records, lost, reason)) = known else {
        return differs.then(|| format!("{path}: {found:?}, such as {:?}", missing.first()));
    };
    if !differs || (*records, *lost) != found {
        return Some(format!("{path}: differs as {found:?}, not as said for {reason:?}"));
    }
    if !reason.adds(records.0 - records.1, notes) {
        return Some(format!("{path}: {reason:?} does not explain the records, {notes:?}"));
    }
    let ours = without(got, expected);
    let odd = missing.iter().find(|tuple| !reason.explains(tuple, &ours));
    odd.map(|tuple| format!("{path}: {reason:?} does not explain {tuple:?}"))
}

#[test]
fn decode_prints_what_other_tools_read() {
    let Some(corpus) = corpus() else { return };
    let manifest = rows(&fs::read_to_string(corpus.join("MANIFEST.csv")).unwrap());
    let (mut compared, mut seen, mut wrong) = (0, 0, Vec::new());
    for row in &manifest {
        let (path, category) = (&row["path"], &*row["category"]);
        if !matches!(category, "netflow" | "ipfix" | "sflow") {
            continue;
        }
        let base = path.strip_suffix(".pcap").unwrap();
        let Some(expected) = expected(category, base, &corpus) else { continue };
        compared += 1;
        wrong.extend(verdict(row, &expected, &decoded(&corpus.join(path), category)));
        seen += usize::from(DIFFERENCES.iter().any(|(known, ..)| known == path));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(compared, 73);
    assert_eq!(seen, DIFFERENCES.len(), "a capture of the table is not in the corpus");
}
