//! What it costs to turn an export datagram into flow records: 20 records of 18 fields, as routers
//! send them, beside another decoder in the same run.

#![expect(clippy::expect_used, reason = "a benchmark stops when its set-up is wrong")]

use std::net::SocketAddr;

use tidewall_collect::{ExportDatagram, FlowDetail, FlowSink, NetflowCollector, NetflowSettings};
use tidewall_model::{FlowRecord, Timestamp};
use tidewall_testkit::bench::Bench;

#[path = "netflow/datagrams.rs"]
mod datagrams;

use datagrams::{FIELDS, FIELDS_V6, RECORDS, datagrams, v5};

fn main() {
    let mut bench = Bench::new("collect");
    let samples = [
        ("v9", &FIELDS, 9),
        ("v9_ipv6", &FIELDS_V6, 9),
        ("ipfix", &FIELDS, 10),
        ("ipfix_ipv6", &FIELDS_V6, 10),
    ];
    run(&mut bench, "netflow_v5", &[], &v5());
    for (name, fields, version) in samples {
        let (template, data) = datagrams(version, fields);
        run(&mut bench, &format!("netflow_{name}"), &template, &data);
        detailed(&mut bench, &format!("netflow_{name}_detail"), &template, &data);
        netflow_parser(&mut bench, &format!("peer_netflow_parser_{name}"), &template, &data);
    }
    netflow_parser(&mut bench, "peer_netflow_parser_v5", &[], &v5());
}

fn datagram(data: &[u8]) -> ExportDatagram<'_> {
    let from: SocketAddr = "192.0.2.1:2055".parse().expect("an address");
    ExportDatagram::new(from, Timestamp::from_parts(1_700_000_000, 0), data)
}

fn run(bench: &mut Bench, name: &str, template: &[u8], data: &[u8]) {
    let mut collector = NetflowCollector::new(NetflowSettings::default());
    let mut records: Vec<FlowRecord> = Vec::with_capacity(64);
    if !template.is_empty() {
        collector.decode(&datagram(template), &mut records).expect("a template");
    }
    bench.aim(40.0).note("datagram to records in a batch").run(
        name,
        "ns/record",
        RECORDS.into(),
        || {
            records.clear();
            collector.decode(&datagram(data), &mut records).expect("data");
            std::hint::black_box(records.len())
        },
    );
    // A bench that is not asked for does not run.
    if records.is_empty() {
        return;
    }
    assert_eq!(records.len(), usize::from(RECORDS));
    assert_eq!(records.first().map(|record| (record.packets, record.bytes)), Some((7, 4_200)));
}

/// A sink that wants all there is to know.
struct Detailed(Vec<(FlowRecord, FlowDetail)>);

impl FlowSink for Detailed {
    const DETAIL: bool = true;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        self.0.push((*record, *detail));
    }
}

fn detailed(bench: &mut Bench, name: &str, template: &[u8], data: &[u8]) {
    let mut collector = NetflowCollector::new(NetflowSettings::default());
    let mut records = Detailed(Vec::with_capacity(64));
    collector.decode(&datagram(template), &mut records).expect("a template");
    bench.note("with all details").run(name, "ns/record", RECORDS.into(), || {
        records.0.clear();
        collector.decode(&datagram(data), &mut records).expect("data");
        std::hint::black_box(records.0.len())
    });
    assert!([0, usize::from(RECORDS)].contains(&records.0.len()));
}

fn netflow_parser(bench: &mut Bench, name: &str, template: &[u8], data: &[u8]) {
    let mut parser = netflow_parser::NetflowParser::default();
    let _ = parser.parse_bytes(template);
    bench.note("netflow_parser, to its own records").run(name, "ns/record", RECORDS.into(), || {
        std::hint::black_box(parser.parse_bytes(data).packets.len())
    });
}
