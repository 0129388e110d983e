//! Every NetFlow and IPFIX capture of the corpus: as many records as other tools count, and what
//! they read in each. The corpus is not part of the project: without it the test says so and
//! passes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use tidewall_collect::{
    ExportDatagram, FlowDetail, FlowNote, FlowSink, NetflowCollector, NetflowSettings,
};
use tidewall_model::{DropReason, FlowRecord, Timestamp};
use tidewall_wire::frame::{LinkType, TunnelPolicy, dissect};
use tidewall_wire::pcap::Packets;

/// A capture where we read other records than tshark does, and why we are right.
struct Difference {
    path: &'static str,
    /// Records of data that we read.
    records: usize,
    /// Of tshark's records, how many are not among ours.
    missing: usize,
    reason: &'static str,
}

const fn differs(
    path: &'static str,
    records: usize,
    missing: usize,
    reason: &'static str,
) -> Difference {
    Difference { path, records, missing, reason }
}

const SAMPLED_PACKET: &str =
    "the record holds a sampled packet, which tshark shows as bytes and we dissect";
const OUTER_HEADER: &str = "the records describe packets in a tunnel, the outer header first: IPv6 \
    with protocol 4 and no ports. tshark's columns mix both headers";

const DIFFERENCES: &[Difference] = &[
    differs("ipfix/akvorado__datalink.pcap", 1, 1, SAMPLED_PACKET),
    differs("ipfix/akvorado__eompls-cw.pcap", 10, 10, SAMPLED_PACKET),
    differs("ipfix/akvorado__ipfix-srv6.pcap", 1, 1, SAMPLED_PACKET),
    differs(
        "ipfix/graylog2__data-datatemplate.pcap",
        4,
        0,
        "the first three records came before their template; they wait for it",
    ),
    differs(
        "ipfix/ipfixcol2__example_flows.pcap",
        3979,
        56,
        "ICMP: type and code are in element 32, and our destination port",
    ),
    differs("ipfix/netgauze__106-IPFIXv10-HUAWEI-vrf_name-traffic-00.pcap", 3, 2, OUTER_HEADER),
    differs(
        "ipfix/netgauze__401-IPFIXv10-BMP-IPv6-CISCO-MPLS-multiple-sources-traffic-00.pcap",
        748,
        97,
        "the template has addresses of both versions; tshark's column shows the IPv4 ones, which \
         are zero",
    ),
    differs(
        "ipfix/netgauze__502-IPFIXv10-BGP-IPv6-CISCO-SRv6-lcomms-traffic-00.pcap",
        75,
        9,
        OUTER_HEADER,
    ),
    differs("ipfix/netgauze__srv6-srv6.pcap", 86, 15, OUTER_HEADER),
    differs(
        "netflow/graylog__netflow-v9-1.dat.pcap",
        2,
        0,
        "the header counts 2, for two templates, and tshark stops there; nfdump reads the records \
         behind them, as we do",
    ),
    differs(
        "netflow/logstash-netflow__Netflow-5-invalid-01.pcap",
        0,
        30,
        "damaged on purpose; tshark takes its count of 55582 for true, nfdump refuses it",
    ),
    differs(
        "netflow/logstash-netflow__Netflow-5-invalid-02.pcap",
        0,
        30,
        "damaged on purpose; tshark takes its count of 163 for true, nfdump refuses it",
    ),
    differs(
        "netflow/logstash-netflow__Netflow-9-Cisco-ASA-2.pcap",
        19,
        15,
        "a firewall counts initiator and responder, which the table has in columns of their own",
    ),
    differs(
        "netflow/logstash-netflow__Netflow-9-template-with-0-length-fields.pcap",
        10,
        3,
        "three records were counted behind the router only (elements 23 and 24)",
    ),
];

/// Sampling rates with their origins, and how many records have each: what the captures announce.
/// In the others all records count as 1.
type Rates = &'static [((u32, &'static str), usize)];
const RATES: &[(&str, Rates)] = &[
    (
        "ipfix/netgauze__104-IPFIXv10-IPv6-CISCO-sampling_option-traffic-00.pcap",
        &[((256, "sampler"), 3)],
    ),
    (
        "netflow/akvorado__multiplesamplingrates.pcap",
        &[((2000, "sampler"), 11), ((4000, "sampler"), 1)],
    ),
    ("netflow/akvorado__template-data.pcap", &[((30_000, "sampler"), 4)]),
    ("netflow/logstash-netflow__Netflow-5-Juniper-MX80.pcap", &[((1000, "header"), 29)]),
    ("netflow/logstash-netflow__Netflow-9-Fortigate-FortiOS-5.2.1.pcap", &[((1, "exporter"), 1)]),
];

/// Addresses, ports, protocol, bytes, packets: what tools print of a record.
type Tuple = [String; 7];

/// All records, also those that are not counted, but not the ways back: they are no records.
#[derive(Default)]
struct Records {
    tuples: Vec<Tuple>,
    refused: BTreeMap<&'static str, usize>,
    rates: BTreeMap<(u32, &'static str), usize>,
}

impl Records {
    fn add(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        if detail.note.has(FlowNote::REVERSE) {
            return;
        }
        let address = |address: tidewall_model::Address| match address.to_string() {
            none if none == "0.0.0.0" => "0".to_owned(),
            some => some,
        };
        *self.rates.entry((record.sampling.get(), detail.sampling.name())).or_default() += 1;
        self.tuples.push([
            address(record.src_address()),
            address(record.dst_address()),
            record.src_port.to_string(),
            record.dst_port.to_string(),
            record.protocol.to_string(),
            record.bytes.to_string(),
            record.packets.to_string(),
        ]);
    }
}

impl FlowSink for Records {
    const DETAIL: bool = true;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        assert!(record.packets > 0, "{record:?}");
        if let (Some(start), Some(end)) = (detail.start, detail.end) {
            assert!(start <= end, "{detail:?}");
        }
        self.add(record, detail);
    }

    fn refused(&mut self, reason: DropReason, record: &FlowRecord, detail: &FlowDetail) {
        *self.refused.entry(reason.name()).or_default() += 1;
        self.add(record, detail);
    }
}

fn corpus() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let folder = std::env::var_os("TIDEWALL_CORPUS").map_or_else(default, PathBuf::from);
    folder.join("MANIFEST.csv").is_file().then_some(folder)
}

/// Splits a line of a table; quotes enclose fields with commas.
fn fields(line: &str) -> Vec<&str> {
    let mut quoted = false;
    line.split(|letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .collect()
}

/// A table as rows of named fields.
fn rows(text: &str) -> impl Iterator<Item = BTreeMap<&str, &str>> {
    let mut lines = text.lines();
    let columns = fields(lines.next().unwrap());
    lines.map(move |line| columns.iter().copied().zip(fields(line)).collect())
}

fn read(capture: &[u8]) -> (Records, NetflowCollector) {
    const UDP: u8 = 17;
    let mut collector = NetflowCollector::new(NetflowSettings::default());
    let mut records = Records::default();
    for packet in Packets::new(capture) {
        let packet = packet.unwrap();
        let Ok(frame) = dissect(LinkType(packet.link_type), packet.data, &TunnelPolicy::OUTER)
        else {
            continue;
        };
        let rest = &packet.data[frame.transport_offset as usize..];
        let Some((header, rest)) = rest.split_first_chunk::<8>() else { continue };
        if frame.protocol != UDP {
            continue;
        }
        let length = usize::from(u16::from_be_bytes([header[4], header[5]])) - 8;
        let from = IpAddr::V4(Ipv4Addr::from_bits(frame.src as u32));
        let from = SocketAddr::new(from, frame.src_port);
        let data = rest.get(..length).unwrap_or(rest);
        let datagram = ExportDatagram::new(from, Timestamp(packet.time), data);
        // What is refused as a whole is counted by the collector.
        let _ = collector.decode(&datagram, &mut records);
    }
    (records, collector)
}

/// The records of data that tshark reads.
fn expected(corpus: &Path, path: &str) -> Option<Vec<Tuple>> {
    let base = corpus.join("expected").join(path).with_extension("");
    let name = |end| PathBuf::from(format!("{}.records.csv{end}", base.display()));
    let mut text = String::new();
    if let Ok(plain) = std::fs::read_to_string(name("")) {
        text = plain;
    } else {
        GzDecoder::new(std::fs::File::open(name(".gz")).ok()?).read_to_string(&mut text).unwrap();
    }
    let tuple = |row: BTreeMap<&str, &str>| {
        let first = |columns: &[&str]| {
            let value = columns.iter().map(|column| row[column]).find(|value| !value.is_empty());
            match value.unwrap_or("0") {
                "0.0.0.0" => "0".to_owned(),
                value => value.to_owned(),
            }
        };
        [
            first(&["src_addr"]),
            first(&["dst_addr"]),
            first(&["src_port"]),
            first(&["dst_port"]),
            first(&["protocol"]),
            first(&["bytes", "bytes_total", "out_bytes"]),
            first(&["packets", "packets_total", "out_packets"]),
        ]
    };
    Some(rows(&text).filter(|row| row["kind"] == "data").map(tuple).collect())
}

/// How many of `expected` are not among `found`, and one of them.
fn missing<'a>(expected: &'a [Tuple], found: &[Tuple]) -> (usize, Option<&'a Tuple>) {
    let mut have = BTreeMap::<&Tuple, usize>::new();
    for tuple in found {
        *have.entry(tuple).or_default() += 1;
    }
    let mut missing = expected.iter().filter(|tuple| match have.get_mut(tuple) {
        Some(left) if *left > 0 => {
            *left -= 1;
            false
        }
        _ => true,
    });
    let first = missing.next();
    (missing.count() + usize::from(first.is_some()), first)
}

#[test]
fn every_capture_of_the_corpus_has_the_records_that_other_tools_read() {
    let Some(corpus) = corpus() else {
        println!("skipped: no corpus at ../shared/corpus or $TIDEWALL_CORPUS");
        return;
    };
    let manifest = std::fs::read_to_string(corpus.join("MANIFEST.csv")).unwrap();
    let (mut files, mut total, mut sampled, mut failures) = (0, 0, 0, Vec::new());
    for row in rows(&manifest) {
        let path = row["path"];
        if !matches!(row["category"], "netflow" | "ipfix") {
            continue;
        }
        let (found, collector) = read(&std::fs::read(corpus.join(path)).unwrap());
        if let Some((_, rates)) = RATES.iter().find(|(of, _)| *of == path) {
            sampled += 1;
            assert!(
                found.rates.iter().map(|(rate, number)| (*rate, *number)).eq(rates.iter().copied()),
                "{path}: {:?}",
                found.rates
            );
        } else {
            let odd = found.rates.keys().find(|(rate, _)| *rate != 1);
            assert_eq!(odd, None, "{path}: {:?}", found.rates);
        }
        (files, total) = (files + 1, total + found.tuples.len());
        let expected = expected(&corpus, path).unwrap_or_default();
        let agreed = row["agreed_data_records"].parse().unwrap_or(expected.len());
        let (lost, example) = missing(&expected, &found.tuples);
        let known = DIFFERENCES.iter().find(|known| known.path == path);
        let wanted = known.map_or((agreed, 0), |known| (known.records, known.missing));
        if let Some(known) = known {
            println!("{path}: {}", known.reason);
        }
        if (found.tuples.len(), lost) != wanted {
            let drops: Vec<_> = collector.drops().nonzero().collect();
            failures.push(format!(
                "{path}\n  {} records, {lost} missing like {example:?}\n  we have {:?}\n  \
                 wanted {wanted:?}, refused {:?}, drops {drops:?}",
                found.tuples.len(),
                found.tuples.first(),
                found.refused
            ));
        }
    }
    assert!(files >= 60 && total > 6_000, "{files} captures with {total} records");
    assert_eq!(sampled, RATES.len());
    assert!(failures.is_empty(), "{} files\n{}", failures.len(), failures.join("\n"));
}
