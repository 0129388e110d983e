//! sFlow captures of other projects: as many records as other decoders agree on, and each of them
//! what tshark reads in its sample.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use tidewall_collect::{ExportDatagram, FlowDetail, FlowSink, SflowCollector, SflowSettings};
use tidewall_model::{DropReason, FlowRecord, Timestamp};
use tidewall_wire::frame::{LinkType, TunnelPolicy, dissect};
use tidewall_wire::pcap::Packets;

const UDP: u8 = 17;
const TCP: u8 = 6;
const SFLOW_PORT: u16 = 6343;

/// Datagrams that are sent to sFlow's port and are NetFlow v5: capture, how many. tcpdump says the
/// same; tshark and sflowtool give nothing for them.
const NOT_SFLOW: (&str, u64) = ("tcpdump__sflow_multiple_counter_30_pdus", 5);

/// Where tshark's columns say something else. Protocol: an ICMPv6 listener report behind a
/// hop-by-hop header; tshark's column holds the first next header, while sflowtool and nfdump read
/// 58 as we do. Output: so many interfaces ("multiple 7" for sflowtool); tshark's column holds the
/// number of them without saying so, and it is no interface's index.
const DIFFERENCES: [&str; 4] = [
    "akvorado__data-multiple-interfaces 1.1: output_if 0, not 7",
    "telegraf__sflow_issue_15918 1.4: protocol 58, not 0",
    "telegraf__sflow_issue_15918 1.4: output_if 0, not 10",
    "telegraf__sflow_issue_15918 1.7: output_if 0, not 10",
];

/// The captures, or nothing where they are not installed.
fn corpus() -> Option<PathBuf> {
    let folder = std::env::var_os("TIDEWALL_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus"),
        PathBuf::from,
    );
    if folder.join("MANIFEST.csv").is_file() {
        return Some(folder);
    }
    println!("skipped: no captures at {}", folder.display());
    None
}

/// The lines of a CSV file, each as its columns by name.
fn table(file: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(file).unwrap();
    let mut lines = text.lines().map(columns);
    let names = lines.next().unwrap();
    lines.map(|line| names.iter().cloned().zip(line).collect()).collect()
}

/// The columns of a line; a comma between quotes does not count.
fn columns(line: &str) -> Vec<String> {
    let mut quoted = false;
    let separator = |letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    };
    line.split(separator).map(|column| column.trim_matches('"').to_owned()).collect()
}

/// A UDP datagram of a captured frame: who sent it, and what is in it.
fn export(frame: &[u8]) -> Option<(SocketAddr, &[u8])> {
    let packet = dissect(LinkType::ETHERNET, frame, &TunnelPolicy::OUTER).ok()?;
    if packet.protocol != UDP || packet.dst_port != SFLOW_PORT {
        return None;
    }
    let udp = frame.get(packet.transport_offset as usize..)?;
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    let from = IpAddr::from((packet.src as u32).to_be_bytes());
    Some((SocketAddr::new(from, packet.src_port), udp.get(8..length.min(udp.len()))?))
}

#[derive(Default)]
struct Flows(Vec<(FlowRecord, FlowDetail)>);

impl FlowSink for Flows {
    const DETAIL: bool = true;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        self.0.push((*record, *detail));
    }
}

fn decode(capture: &[u8]) -> (SflowCollector, Vec<(FlowRecord, FlowDetail)>) {
    let mut collector = SflowCollector::new(SflowSettings::default());
    let mut flows = Flows::default();
    for packet in Packets::new(capture) {
        if let Some((from, data)) = export(packet.unwrap().data) {
            let datagram = ExportDatagram::new(from, Timestamp(1), data);
            let _ = collector.decode(&datagram, &mut flows);
        }
    }
    (collector, flows.0)
}

/// A record in the columns of the expected samples.
fn line(record: &FlowRecord, detail: &FlowDetail) -> Vec<(&'static str, String)> {
    let interface = |index: Option<u32>| index.unwrap_or_default().to_string();
    let mut line = vec![
        ("agent", detail.exporter.to_string()),
        ("sub_agent", detail.domain.to_string()),
        ("src_addr", record.src_address().to_string()),
        ("dst_addr", record.dst_address().to_string()),
        ("protocol", record.protocol.to_string()),
        ("sampling_rate", record.sampling.get().to_string()),
        ("input_if", interface(detail.input_if)),
        ("output_if", interface(detail.output_if)),
    ];
    if record.protocol == UDP || record.protocol == TCP {
        line.push(("src_port", record.src_port.to_string()));
        line.push(("dst_port", record.dst_port.to_string()));
    }
    if record.protocol == TCP {
        line.push(("tcp_flags", record.tcp_flags.0.to_string()));
    }
    if let Some((src, dst)) = detail.mac {
        let text = |mac: [u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
        line.push(("eth_src", text(src)));
        line.push(("eth_dst", text(dst)));
    }
    line
}

/// What tshark's line says where its columns mean something else than ours.
fn expected(line: &BTreeMap<String, String>, column: &str) -> String {
    match (column, line[column].as_str()) {
        // "Internal" is no interface.
        ("input_if" | "output_if", "1073741823") => "0".to_owned(),
        (_, value) => value.to_owned(),
    }
}

#[test]
fn records_agree_with_other_decoders() {
    let Some(corpus) = corpus() else { return };
    let (mut captures, mut records, mut differences) = (0, 0, Vec::new());
    for entry in table(&corpus.join("MANIFEST.csv")) {
        if entry["category"] != "sflow" {
            continue;
        }
        let path = &entry["path"];
        let name = Path::new(path).file_stem().unwrap().to_str().unwrap();
        let (collector, flows) = decode(&fs::read(corpus.join(path)).unwrap());
        let agreed = entry["agreed_data_records"].parse::<usize>();
        assert_eq!(Ok(flows.len()), agreed.or(entry["data_records"].parse()), "{path}");
        let counts = collector.counts();
        assert_eq!(counts.counter_samples.to_string(), entry["options_records"], "{path}");
        let others = if name == NOT_SFLOW.0 { NOT_SFLOW.1 } else { 0 };
        assert_eq!(collector.drops().get(DropReason::DatagramVersion), others, "{path}");
        assert_eq!(collector.drops().total(), others, "{path}");
        assert_eq!((counts.damaged_records, counts.other_samples), (0, 0), "{path}");

        let samples = table(&corpus.join(format!("expected/sflow/{name}.samples.csv")));
        let samples: Vec<_> =
            samples.into_iter().filter(|line| !line["frame_length"].is_empty()).collect();
        assert_eq!(flows.len(), samples.len(), "{path}");
        for ((record, detail), sample) in flows.iter().zip(&samples) {
            let place = format!("{name} {}.{}", sample["frame"], sample["index"]);
            for (column, ours) in line(record, detail) {
                let theirs = expected(sample, column);
                if ours != theirs {
                    differences.push(format!("{place}: {column} {ours}, not {theirs}"));
                }
            }
            let number = |column: &str| sample[column].parse::<u64>().unwrap();
            let bytes = number("frame_length");
            assert_eq!(record.bytes, bytes, "{place}");
            if !sample["vlan"].is_empty() {
                assert_eq!(record.vlan.to_string(), sample["vlan"], "{place}");
            }
            assert_eq!((record.packets, record.time), (1, Timestamp(1)), "{place}");
            records += 1;
        }
        captures += 1;
    }
    assert!(captures >= 12 && records >= 17, "only {captures} captures, {records} records");
    assert_eq!(differences, DIFFERENCES);
}

/// Sums over the captures, as their manifest has them: frame lengths, without check sequences.
#[test]
fn sums_agree_with_the_manifest() {
    let Some(corpus) = corpus() else { return };
    for entry in table(&corpus.join("MANIFEST.csv")) {
        if entry["category"] != "sflow" {
            continue;
        }
        let (_, flows) = decode(&fs::read(corpus.join(&entry["path"])).unwrap());
        let bytes: u64 = flows.iter().map(|(record, _)| record.bytes).sum();
        assert_eq!(bytes.to_string(), entry["unscaled_bytes"], "{}", entry["path"]);
        assert_eq!(flows.len().to_string(), entry["unscaled_packets"], "{}", entry["path"]);
    }
}

/// Gateway and router records, held against what sflowtool prints.
#[test]
fn routes_agree_with_sflowtool() {
    let Some(corpus) = corpus() else { return };
    let name = "akvorado__data-sflow-expanded-sample";
    let (_, flows) = decode(&fs::read(corpus.join(format!("sflow/{name}.pcap"))).unwrap());
    let text = corpus.join(format!("expected/sflow/{name}.sflowtool.txt"));
    let text = fs::read_to_string(text).unwrap();
    let printed = |key: &str| {
        let mut lines = text.lines().map(|line| line.splitn(8, ' ').collect::<Vec<_>>());
        lines.find(|line| line[6] == key).unwrap()[7].to_owned()
    };
    let (record, detail) = &flows[0];
    assert_eq!(detail.src_as.to_string(), printed("src_as"));
    assert_eq!(detail.dst_as.to_string(), printed("dst_as"));
    assert_eq!(detail.next_hop.unwrap().to_string(), printed("nextHop"));
    assert_eq!(record.ttl.to_string(), printed("IPTTL"));
    assert_eq!(detail.tos.to_string(), printed("IPTOS"));
}

/// VLANs that only the switch records have, held against what nfdump stores.
#[test]
fn switch_vlans_agree_with_nfdump() {
    let Some(corpus) = corpus() else { return };
    let name = "telegraf__sflow_issue_15918";
    let (_, flows) = decode(&fs::read(corpus.join(format!("sflow/{name}.pcap"))).unwrap());
    let stored = table(&corpus.join(format!("expected/sflow/{name}.nfdump.csv")));
    assert_eq!(flows.len(), stored.len());
    for ((record, _), stored) in flows.iter().zip(&stored) {
        let ours = [record.src_address().to_string(), record.vlan.to_string()];
        assert_eq!(ours, [stored["sa"].clone(), stored["svln"].clone()]);
    }
}
