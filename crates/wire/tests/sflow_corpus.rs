//! sFlow captures of other projects, held against what tshark, sflowtool and nfdump read in them.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use tidewall_wire::frame::{Frame, IpVersion, LinkType, TunnelPolicy, dissect};
use tidewall_wire::pcap::Packets;
use tidewall_wire::sflow::{
    CounterData, Datagram, FlowData, FlowSample, Interface, RawHeader, Sample, SflowError,
};

const UDP: u8 = 17;
const SFLOW_PORT: u16 = 6343;

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

/// Datagrams that are sent to sFlow's port and are none: capture, frame, first word. All are
/// NetFlow v5 (a version and a count of 16 bits each); tcpdump names their version alike, tshark
/// and sflowtool give nothing.
const NOT_SFLOW: [(&str, usize, u32); 5] = [
    ("tcpdump__sflow_multiple_counter_30_pdus", 13, 0x0005_0001),
    ("tcpdump__sflow_multiple_counter_30_pdus", 19, 0x0005_0001),
    ("tcpdump__sflow_multiple_counter_30_pdus", 20, 0x0005_0002),
    ("tcpdump__sflow_multiple_counter_30_pdus", 21, 0x0005_0001),
    ("tcpdump__sflow_multiple_counter_30_pdus", 22, 0x0005_0002),
];

/// Where tshark's columns differ. An ICMPv6 listener report with a hop-by-hop header in front:
/// tshark's column holds the first next header, ours the one behind the extension headers.
const DIFFERENCES: [&str; 1] = ["telegraf__sflow_issue_15918 1.4: protocol 58, not 0"];

/// Bytes behind the last sample: capture, bytes. Its author kept the first of several samples by
/// writing 1 for their count; all decoders stop there.
const TRAILING: [(&str, usize); 1] = [("akvorado__data-multiple-interfaces", 964)];

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

/// A datagram, where it is, and how long it was.
struct Found<'a> {
    frame: usize,
    length: usize,
    datagram: Datagram<'a>,
}

/// The sFlow datagrams of a capture; what is no sFlow must be known for it.
fn datagrams<'a>(name: &str, capture: &'a [u8]) -> Vec<Found<'a>> {
    let mut found = Vec::new();
    for (index, packet) in Packets::new(capture).enumerate() {
        let frame = index + 1;
        let Some(data) = payload(packet.unwrap().data) else { continue };
        match Datagram::parse(data) {
            Ok(datagram) => found.push(Found { frame, length: data.len(), datagram }),
            Err(SflowError::Version { version }) => {
                assert!(NOT_SFLOW.contains(&(name, frame, version)), "{name}: frame {frame}");
            }
            Err(error) => panic!("{name}: frame {frame}: {error}"),
        }
    }
    found
}

/// What the UDP header says is in it; a capture may hold less, or padding behind it.
fn payload(data: &[u8]) -> Option<&[u8]> {
    let frame = dissect(LinkType::ETHERNET, data, &TunnelPolicy::OUTER).ok()?;
    if frame.protocol != UDP || frame.dst_port != SFLOW_PORT {
        return None;
    }
    let udp = data.get(frame.transport_offset as usize..)?;
    let length = usize::from(u16::from_be_bytes([udp[4], udp[5]]));
    udp.get(8..length.min(udp.len()))
}

/// What is written in a column of the expected samples.
type Line = Vec<(&'static str, String)>;

fn flow_line(sample: &FlowSample<'_>) -> Line {
    let mut line = vec![
        ("sample_sequence", sample.sequence.to_string()),
        ("sampling_rate", sample.sampling_rate.to_string()),
        ("sample_pool", sample.sample_pool.to_string()),
        ("drops", sample.drops.to_string()),
        ("input_if", interface(sample.input)),
        ("output_if", interface(sample.output)),
    ];
    for record in sample.records() {
        if let FlowData::Header(raw) = record.unwrap() {
            line.extend(header_line(&raw));
        }
    }
    line
}

/// An interface as tshark writes it: the value without its format.
fn interface(interface: Interface) -> String {
    let value = match interface {
        Interface::Unknown => 0,
        Interface::Internal => 0x3fff_ffff,
        Interface::Discarded(reason) => reason.0,
        Interface::Index(value)
        | Interface::Multiple(value)
        | Interface::Reserved { value, .. } => value,
    };
    value.to_string()
}

fn header_line(raw: &RawHeader<'_>) -> Line {
    let link = raw.protocol.link_type().unwrap();
    let packet = dissect(link, raw.header, &TunnelPolicy::OUTER).unwrap();
    let mut line = vec![
        ("header_protocol", raw.protocol.0.to_string()),
        ("frame_length", raw.frame_length.to_string()),
        ("stripped", raw.stripped.to_string()),
        ("header_length", raw.header.len().to_string()),
        ("src_addr", address(&packet, packet.src)),
        ("dst_addr", address(&packet, packet.dst)),
        ("protocol", packet.protocol.to_string()),
    ];
    if packet.protocol == UDP || packet.protocol == 6 {
        line.push(("src_port", packet.src_port.to_string()));
        line.push(("dst_port", packet.dst_port.to_string()));
    }
    if packet.protocol == 6 {
        line.push(("tcp_flags", packet.tcp_flags.to_string()));
    }
    if packet.vlan_tags > 0 {
        line.push(("vlan", packet.vlan.to_string()));
    }
    line
}

fn address(packet: &Frame, address: u128) -> String {
    match packet.version {
        IpVersion::V4 => IpAddr::from(Ipv4Addr::from(address as u32)),
        IpVersion::V6 => IpAddr::from(Ipv6Addr::from(address)),
    }
    .to_string()
}

/// Every sample of a capture as lines, in order, and how many are of flows and of counters.
fn decode(name: &str, capture: &[u8]) -> (Vec<Line>, usize, usize) {
    let (mut lines, mut flows, mut counters) = (Vec::new(), 0, 0);
    let trailing = TRAILING.iter().find(|known| known.0 == name).map_or(0, |known| known.1);
    for Found { frame, datagram, .. } in datagrams(name, capture) {
        let mut samples = datagram.samples();
        for (index, sample) in samples.by_ref().enumerate() {
            let mut line = vec![
                ("frame", frame.to_string()),
                ("agent", datagram.agent.unwrap().to_string()),
                ("sub_agent", datagram.sub_agent.to_string()),
                ("sequence", datagram.sequence.to_string()),
                ("index", (index + 1).to_string()),
            ];
            match sample.unwrap() {
                Sample::Flow(sample) => {
                    flows += 1;
                    line.extend(flow_line(&sample));
                }
                Sample::Counters(sample) => {
                    counters += 1;
                    line.push(("sample_sequence", sample.sequence.to_string()));
                    assert!(sample.records().all(|record| record.is_ok()));
                }
                other => panic!("frame {frame}: {other:?}"),
            }
            lines.push(line);
        }
        assert_eq!((samples.lost(), samples.trailing()), (0, trailing), "{name}: frame {frame}");
    }
    (lines, flows, counters)
}

fn stem(path: &str) -> &str {
    Path::new(path).file_stem().unwrap().to_str().unwrap()
}

#[test]
fn samples_agree_with_other_decoders() {
    let Some(corpus) = corpus() else { return };
    let manifest = table(&corpus.join("MANIFEST.csv"));
    let (mut captures, mut differences) = (0, Vec::new());
    for entry in manifest.iter().filter(|entry| entry["category"] == "sflow") {
        let path = &entry["path"];
        let name = stem(path);
        let capture = fs::read(corpus.join(path)).unwrap();
        let (lines, flows, counters) = decode(name, &capture);
        let number = |column: &str| entry[column].parse::<usize>();
        assert_eq!(Ok(flows), number("data_records"), "{path}");
        if let Ok(agreed) = number("agreed_data_records") {
            assert_eq!(flows, agreed, "{path}");
        }
        assert_eq!(Ok(counters), number("options_records"), "{path}");

        let expected = table(&corpus.join(format!("expected/sflow/{name}.samples.csv")));
        assert_eq!(lines.len(), expected.len(), "{path}");
        for (line, expected) in lines.iter().zip(&expected) {
            for (column, ours) in line {
                let theirs = &expected[*column];
                if ours != theirs {
                    let place = format!("{name} {}.{}", expected["frame"], expected["index"]);
                    differences.push(format!("{place}: {column} {ours}, not {theirs}"));
                }
            }
        }
        captures += 1;
    }
    assert!(captures >= 11, "only {captures} captures");
    assert_eq!(differences, DIFFERENCES);
}

#[test]
fn headers_agree_with_other_decoders() {
    let Some(corpus) = corpus() else { return };
    let mut count = 0;
    for entry in table(&corpus.join("MANIFEST.csv")) {
        if entry["category"] != "sflow" {
            continue;
        }
        let path = &entry["path"];
        let name = stem(path);
        let expected = table(&corpus.join(format!("expected/sflow/{name}.datagrams.csv")));
        let capture = fs::read(corpus.join(path)).unwrap();
        let found = datagrams(name, &capture);
        assert_eq!(found.len(), expected.len(), "{path}");
        for (Found { frame, length, datagram }, expected) in found.into_iter().zip(expected) {
            let read = [
                ("frame", frame.to_string()),
                ("agent", datagram.agent.unwrap().to_string()),
                ("sub_agent", datagram.sub_agent.to_string()),
                ("sequence", datagram.sequence.to_string()),
                ("uptime_ms", datagram.uptime_ms.to_string()),
                ("num_samples", datagram.sample_count.to_string()),
                ("payload_bytes", length.to_string()),
            ];
            for (column, value) in read {
                assert_eq!(value, expected[column], "{path}: frame {frame}, {column}");
            }
            count += 1;
        }
    }
    assert!(count >= 40, "only {count} datagrams");
}

/// What sflowtool prints for a key: `agent sub-agent sequence source sample record key value`.
fn printed<'a>(text: &'a str, key: &str) -> &'a str {
    let mut lines = text.lines().map(|line| line.splitn(8, ' ').collect::<Vec<_>>());
    lines.find(|line| line[6] == key).unwrap_or_else(|| panic!("no {key}"))[7]
}

#[test]
fn interface_counters_agree_with_sflowtool() {
    let Some(corpus) = corpus() else { return };
    let name = "logstash-sflow__sflow_1_counters_sample";
    let capture = fs::read(corpus.join(format!("sflow/{name}.pcap"))).unwrap();
    let text = corpus.join(format!("expected/sflow/{name}.sflowtool.txt"));
    let text = fs::read_to_string(text).unwrap();
    let samples = datagrams(name, &capture)[0].datagram.samples();
    let mut groups = samples.flat_map(|sample| match sample.unwrap() {
        Sample::Counters(counters) => counters.records(),
        other => panic!("{other:?}"),
    });
    let counters = groups.find_map(|group| match group.unwrap() {
        CounterData::Interface(counters) => Some(counters),
        CounterData::Other { .. } => None,
    });
    let counters = counters.unwrap();
    let read = [
        ("ifIndex", u64::from(counters.index)),
        ("networkType", u64::from(counters.kind)),
        ("ifSpeed", counters.speed_bps),
        ("ifDirection", u64::from(counters.direction)),
        ("ifStatus", u64::from(counters.status)),
        ("ifInOctets", counters.in_octets),
        ("ifInUcastPkts", u64::from(counters.in_unicast)),
        ("ifInMulticastPkts", u64::from(counters.in_multicast)),
        ("ifInBroadcastPkts", u64::from(counters.in_broadcast)),
        ("ifInDiscards", u64::from(counters.in_discards)),
        ("ifInErrors", u64::from(counters.in_errors)),
        ("ifInUnknownProtos", u64::from(counters.in_unknown_protocols)),
        ("ifOutOctets", counters.out_octets),
        ("ifOutUcastPkts", u64::from(counters.out_unicast)),
        ("ifOutMulticastPkts", u64::from(counters.out_multicast)),
        ("ifOutBroadcastPkts", u64::from(counters.out_broadcast)),
        ("ifOutDiscards", u64::from(counters.out_discards)),
        ("ifOutErrors", u64::from(counters.out_errors)),
        ("ifPromiscuousMode", u64::from(counters.promiscuous)),
    ];
    for (key, value) in read {
        assert_eq!(value.to_string(), printed(&text, key), "{key}");
    }
}

#[test]
fn gateway_and_router_agree_with_sflowtool() {
    let Some(corpus) = corpus() else { return };
    let name = "akvorado__data-sflow-expanded-sample";
    let capture = fs::read(corpus.join(format!("sflow/{name}.pcap"))).unwrap();
    let text = corpus.join(format!("expected/sflow/{name}.sflowtool.txt"));
    let text = fs::read_to_string(text).unwrap();
    let Some(Ok(Sample::Flow(sample))) = datagrams(name, &capture)[0].datagram.samples().next()
    else {
        panic!("no flow sample")
    };
    let mut read = Vec::new();
    for record in sample.records() {
        match record.unwrap() {
            FlowData::Gateway(gateway) => {
                let path = gateway.destination_path.segments().next().unwrap().members;
                read.extend([
                    ("bgp_nexthop", gateway.next_hop.unwrap().to_string()),
                    ("my_as", gateway.own_as.to_string()),
                    ("src_as", gateway.source_as.to_string()),
                    ("src_peer_as", gateway.source_peer_as.to_string()),
                    ("dst_as_path", joined(path.iter())),
                    ("dst_as", gateway.destination_as().unwrap().to_string()),
                    ("dst_peer_as", gateway.destination_peer_as().unwrap().to_string()),
                    ("BGP_communities", joined(gateway.communities.iter())),
                    ("BGP_localpref", gateway.local_pref.to_string()),
                ]);
            }
            FlowData::Router(router) => read.extend([
                ("nextHop", router.next_hop.unwrap().to_string()),
                ("srcSubnetMask", router.src_mask_bits.to_string()),
                ("dstSubnetMask", router.dst_mask_bits.to_string()),
            ]),
            _ => {}
        }
    }
    assert_eq!(read.len(), 12, "one record of each");
    for (key, value) in read {
        assert_eq!(value, printed(&text, key), "{key}");
    }
}

fn joined(numbers: impl Iterator<Item = u32>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join("-")
}
