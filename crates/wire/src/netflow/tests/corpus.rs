//! Every NetFlow and IPFIX capture of the corpus, against the numbers of templates and records that
//! other tools count. The corpus is not part of the project: without it the test says so and
//! passes.

use std::path::PathBuf;

use super::NetflowError;
use super::store::{Counts, Store};
use crate::cursor::Cut;
use crate::frame::{LinkType, TunnelPolicy, dissect};
use crate::pcap::Packets;

/// A capture where other numbers than the manifest's are right.
struct Difference {
    path: &'static str,
    data_records: usize,
    packets: u64,
    octets: u64,
    errors: &'static [NetflowError],
    reason: &'static str,
}

const DIFFERENCES: [Difference; 3] = [
    Difference {
        path: "netflow/graylog__netflow-v9-1.dat.pcap",
        data_records: 2,
        packets: 9,
        octets: 582,
        errors: &[
            NetflowError::ReservedSet { offset: 224, id: 9 },
            NetflowError::SetCut(Cut { offset: 228, needed: 7_496, available: 176 }),
        ],
        reason: "the header counts 2, for two templates, and tshark stops there; nfdump reads the \
                 two records behind them, as we do. A second export packet is glued to the end of \
                 the first: its header reads as a reserved flowset and a cut one",
    },
    Difference {
        path: "netflow/logstash-netflow__Netflow-5-invalid-01.pcap",
        data_records: 0,
        packets: 0,
        octets: 0,
        errors: &[NetflowError::RecordCount { count: 55_582 }],
        reason: "damaged on purpose; tshark takes its count for true, nfdump refuses it as we do",
    },
    Difference {
        path: "netflow/logstash-netflow__Netflow-5-invalid-02.pcap",
        data_records: 0,
        packets: 0,
        octets: 0,
        errors: &[NetflowError::RecordCount { count: 163 }],
        reason: "damaged on purpose; tshark takes its count for true, nfdump refuses it as we do",
    },
];

fn corpus() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let folder = std::env::var_os("TIDEWALL_CORPUS").map_or_else(default, PathBuf::from);
    folder.join("MANIFEST.csv").is_file().then_some(folder)
}

/// Splits a line of the manifest; quotes enclose fields with commas.
fn fields(line: &str) -> Vec<&str> {
    let mut quoted = false;
    line.split(|letter| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    })
    .collect()
}

/// Source address and payload of a UDP datagram.
fn udp(link_type: u32, data: &[u8]) -> Option<(u128, &[u8])> {
    const UDP: u8 = 17;
    let frame = dissect(LinkType(link_type), data, &TunnelPolicy::OUTER).ok()?;
    let (header, rest) = data.get(frame.transport_offset as usize..)?.split_first_chunk::<8>()?;
    let length = usize::from(u16::from_be_bytes([header[4], header[5]])).checked_sub(8)?;
    (frame.protocol == UDP).then(|| (frame.src, rest.get(..length).unwrap_or(rest)))
}

fn replay(capture: &[u8]) -> Counts {
    let mut store = Store::default();
    for packet in Packets::new(capture) {
        let packet = packet.unwrap();
        if let Some((exporter, payload)) = udp(packet.link_type, packet.data) {
            store.ingest(exporter, payload);
        }
    }
    store.counts
}

#[test]
fn every_capture_of_the_corpus_has_the_records_that_other_tools_count() {
    let Some(corpus) = corpus() else {
        println!("skipped: no corpus at ../shared/corpus or $TIDEWALL_CORPUS");
        return;
    };
    let manifest = std::fs::read_to_string(corpus.join("MANIFEST.csv")).unwrap();
    let mut lines = manifest.lines();
    let columns = fields(lines.next().unwrap());
    let (mut files, mut records, mut differences) = (0, 0, Vec::new());
    for line in lines {
        let line = fields(line);
        let column = |name| line[columns.iter().position(|&column| column == name).unwrap()];
        let path = column("path");
        if !matches!(column("category"), "netflow" | "ipfix") {
            continue;
        }
        let found = replay(&std::fs::read(corpus.join(path)).unwrap());
        let expected = expected(path, column);
        (files, records) = (files + 1, records + found.data_records);
        if found != expected {
            differences.push(format!("{path}\n  found    {found:?}\n  expected {expected:?}"));
        }
    }
    assert!(files >= 60 && records > 6_000, "{files} captures with {records} records");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// What the manifest says of a capture, but for the known differences. No others have errors.
fn expected<'a>(path: &str, column: impl Fn(&'static str) -> &'a str) -> Counts {
    // An empty column is a sum of nothing.
    let number = |name| column(name).parse::<u64>().unwrap_or(0);
    let counts = Counts {
        templates: number("templates") as usize,
        options_templates: number("options_templates") as usize,
        data_records: number("agreed_data_records") as usize,
        options_records: number("options_records") as usize,
        undecoded_sets: number("undecoded_sets") as usize,
        packets: number("unscaled_packets"),
        octets: number("unscaled_bytes"),
        errors: vec![],
    };
    let Some(known) = DIFFERENCES.iter().find(|known| known.path == path) else { return counts };
    println!("{path}: {}", known.reason);
    Counts {
        data_records: known.data_records,
        packets: known.packets,
        octets: known.octets,
        errors: known.errors.to_vec(),
        ..counts
    }
}
