//! What our renderers send, through nfcapd and sfcapd: they must read what our collectors read.

use std::fs;
use std::process::Command;

use tidewall_model::{FlowRecord, protocol};
use tidewall_scenario::{FlowCachePlan, FlowCacheRenderer, FlowProtocol, SflowPlan, SflowRenderer};
use tidewall_wire::frame::LengthMode;

use crate::programs::{Process, find, free_port, send};
use crate::traffic::{
    self, Counts, Tuple, add, assert_same, decode_netflow, decode_sflow, demo, observed, scaled,
};

/// One packet in so many is seen.
const RATE: u32 = 200;

/// What a collector of nfdump's reads from datagrams; `None` when it is not installed.
fn collected(name: &str, datagrams: &[Vec<u8>]) -> Option<Counts> {
    let (collector, reader) = (find(name)?, find("nfdump")?);
    let folder = tempfile::tempdir().unwrap();
    let flows = folder.path().join("flows");
    fs::create_dir(&flows).unwrap();
    let port = free_port();
    let log = folder.path().join("log");
    let arguments = ["-b", "127.0.0.1", "-t", "86400", "-p", &port.to_string(), "-w"];
    let arguments = arguments.iter().map(AsRef::as_ref).chain([flows.as_os_str()]);
    let process = Process::start(&collector, arguments, &log);
    send(datagrams, port);
    process.terminate();
    let mut command = Command::new(reader);
    command.arg("-R").arg(&flows).args(["-N", "-6", "-o", "csv"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let counts = counts(&text);
    if counts.is_empty() {
        println!("{}\n{text}", fs::read_to_string(&log).unwrap());
    }
    Some(counts)
}

/// Reads nfdump's table.
fn counts(csv: &str) -> Counts {
    let mut lines = csv.lines();
    let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let columns = ["sa", "da", "sp", "dp", "pr", "ipkt", "ibyt"]
        .map(|name| names.iter().position(|column| *column == name).unwrap());
    let mut counts = Counts::new();
    for line in lines.take_while(|line| *line != "Summary") {
        let cells: Vec<&str> = line.split(',').collect();
        let [src, dst, sport, dport, name, packets, bytes] = columns.map(|at| cells[at].trim());
        let tuple: Tuple = (
            src.parse().unwrap(),
            dst.parse().unwrap(),
            sport.parse().unwrap(),
            icmp(dport),
            number(name),
        );
        add(&mut counts, tuple, (packets.parse().unwrap(), bytes.parse().unwrap()));
    }
    counts
}

/// A port, or type and code with a dot between them.
fn icmp(port: &str) -> u16 {
    match port.split_once('.') {
        Some((kind, code)) => u16::from_be_bytes([kind.parse().unwrap(), code.parse().unwrap()]),
        None => port.parse().unwrap(),
    }
}

/// The number of a protocol that nfdump names.
fn number(name: &str) -> u8 {
    match name {
        "ICMP" => protocol::ICMP,
        "TCP" => protocol::TCP,
        "UDP" => protocol::UDP,
        "GRE" => protocol::GRE,
        "ESP" => protocol::ESP,
        "ICMP6" => protocol::ICMPV6,
        name => name.parse().unwrap_or_else(|_| panic!("{name} is a protocol?")),
    }
}

/// The counts by addresses and protocol, where the protocol is ICMP.
fn without_icmp_type(counts: &Counts) -> Counts {
    let mut all = Counts::new();
    for ((src, dst, sport, dport, protocol), count) in counts {
        let icmp = matches!(*protocol, protocol::ICMP | protocol::ICMPV6);
        let (sport, dport) = if icmp { (0, 0) } else { (*sport, *dport) };
        add(&mut all, (*src, *dst, sport, dport, *protocol), *count);
    }
    all
}

fn exported(protocol: FlowProtocol, records: &[FlowRecord]) -> Vec<Vec<u8>> {
    let mut renderer = FlowCacheRenderer::new(protocol, &FlowCachePlan::default());
    traffic::render(&mut renderer, records)
}

#[test]
fn nfcapd_reads_our_v5_as_we_do() {
    let datagrams = exported(FlowProtocol::NetflowV5, &demo(RATE));
    let Some(theirs) = collected("nfcapd", &datagrams) else { return };
    let decoded = decode_netflow(&datagrams);
    assert!(decoded.records().all(|record| record.sampling.get() == RATE));
    assert_same("v5", &scaled(decoded.records()), &theirs);
}

/// nfcapd 1.7.1 knows type and code of ICMP by element 32 only, not by the destination port.
#[test]
fn nfcapd_reads_our_v9_as_we_do() {
    let datagrams = exported(FlowProtocol::NetflowV9, &demo(RATE));
    let Some(theirs) = collected("nfcapd", &datagrams) else { return };
    let decoded = decode_netflow(&datagrams);
    assert_same("v9", &without_icmp_type(&scaled(decoded.records())), &without_icmp_type(&theirs));
}

/// nfcapd up to 1.7.1 learns a sampler only from a table with element 34, and of IPFIX tables it
/// passes over the scope, where RFC 5477 has the selector's id: what it reads is not scaled.
#[test]
fn nfcapd_reads_our_ipfix_as_we_do() {
    let datagrams = exported(FlowProtocol::Ipfix, &demo(RATE));
    let Some(theirs) = collected("nfcapd", &datagrams) else { return };
    let decoded = decode_netflow(&datagrams);
    assert!(decoded.records().all(|record| record.sampling.get() == RATE));
    assert_same("IPFIX", &observed(decoded.records()), &theirs);
}

/// sfcapd takes ICMP's type for the source port, its code for the destination port, and has none of
/// them for ICMPv6.
#[test]
fn sfcapd_reads_our_sflow_as_we_do() {
    let mut renderer = SflowRenderer::new(&SflowPlan::default());
    let datagrams = traffic::render(&mut renderer, &demo(RATE));
    let Some(theirs) = collected("sfcapd", &datagrams) else { return };
    let decoded = decode_sflow(&datagrams, LengthMode::Wire);
    let ours = without_icmp_type(&scaled(decoded.records()));
    assert_same("sFlow", &ours, &without_icmp_type(&theirs));
}
