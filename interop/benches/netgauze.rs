//! What another decoder takes for the datagrams of `crates/collect/benches/netflow.rs`.

#![expect(clippy::expect_used, reason = "a benchmark stops when its set-up is wrong")]

use bytes::BytesMut;
use netgauze_flow_pkt::codec::FlowInfoCodec;
use tidewall_testkit::bench::Bench;
use tokio_util::codec::Decoder;

#[path = "../../crates/collect/benches/netflow/datagrams.rs"]
mod datagrams;

use datagrams::{FIELDS, FIELDS_V6, RECORDS, datagrams};

fn main() {
    let mut bench = Bench::new("collect");
    let samples = [
        ("v9", &FIELDS, 9),
        ("v9_ipv6", &FIELDS_V6, 9),
        ("ipfix", &FIELDS, 10),
        ("ipfix_ipv6", &FIELDS_V6, 10),
    ];
    for (name, fields, version) in samples {
        let (template, data) = datagrams(version, fields);
        let mut codec = FlowInfoCodec::default();
        let learnt = codec.decode(&mut BytesMut::from(template.as_slice()));
        assert!(learnt.expect("a template").is_some());
        let name = format!("peer_netgauze_flow_pkt_{name}");
        let note = "netgauze-flow-pkt, to its own records; a copy of the datagram included";
        bench.note(note).run(&name, "ns/record", RECORDS.into(), || {
            let mut bytes = BytesMut::from(data.as_slice());
            std::hint::black_box(codec.decode(&mut bytes).expect("data").is_some())
        });
    }
}
