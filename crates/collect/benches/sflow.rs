//! What it costs to turn an sFlow sample into a flow record, from the datagram to a batch.

#![expect(clippy::expect_used, reason = "a benchmark stops when its set-up is wrong")]

use std::net::SocketAddr;

use tidewall_collect::{ExportDatagram, SflowCollector, SflowSettings};
use tidewall_model::{FlowRecord, Timestamp};
use tidewall_testkit::bench::Bench;
use tidewall_wire::emit::{Frame, Packet, Payload, Tag, Transport, emit_frame};

/// Samples in a datagram: as many as fit a frame of 1500 bytes with headers of 128.
const SAMPLES: u32 = 7;
const DATAGRAMS: u32 = 64;
/// Bytes that an agent copies of a packet.
const SNAP: usize = 128;

/// What a sample has besides the header.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Tagged,
    Switch,
    Expanded,
}

fn main() {
    let mut bench = Bench::new("sflow");
    let note = "datagram to record in a batch, 7 samples of 128-byte headers";
    bench.aim(40.0).note(note);
    run(&mut bench, "sample_to_record_ipv4_udp", Kind::Plain);
    bench.note("the header has a VLAN tag");
    run(&mut bench, "sample_to_record_tagged", Kind::Tagged);
    bench.note("a switch record behind each header");
    run(&mut bench, "sample_to_record_with_switch", Kind::Switch);
    bench.note("expanded flow samples");
    run(&mut bench, "sample_to_record_expanded", Kind::Expanded);
}

fn run(bench: &mut Bench, name: &str, kind: Kind) {
    let datagrams: Vec<Vec<u8>> = (0..DATAGRAMS).map(|n| datagram(n, kind)).collect();
    let mut collector = SflowCollector::new(SflowSettings::default());
    let mut batch: Vec<FlowRecord> = Vec::with_capacity((SAMPLES * DATAGRAMS) as usize);
    let from = SocketAddr::from(([192, 0, 2, 1], 40_000));
    bench.run(name, "ns/sample", u64::from(SAMPLES * DATAGRAMS), || {
        batch.clear();
        for data in &datagrams {
            let datagram = ExportDatagram::new(from, Timestamp(1), data);
            collector.decode(&datagram, &mut batch).expect("an sFlow datagram");
        }
        std::hint::black_box(batch.len())
    });
    assert_eq!(collector.drops().total(), 0, "every sample gives a record");
}

fn datagram(n: u32, kind: Kind) -> Vec<u8> {
    let mut data = Vec::new();
    words(&mut data, &[5, 1, 0xc000_0201, 0, n, 1000 * n, SAMPLES]);
    for sample in n * SAMPLES..(n + 1) * SAMPLES {
        let mut header = frame(sample, kind);
        let length = header.len() as u32;
        header.truncate(SNAP);
        let mut body = Vec::new();
        let port = 1 + sample % 48;
        let records = if kind == Kind::Switch { 2 } else { 1 };
        if kind == Kind::Expanded {
            words(&mut body, &[sample, 0, port, 1000, sample * 1000, 0, 0, port, 0, 7, records]);
        } else {
            words(&mut body, &[sample, port, 1000, sample * 1000, 0, port, 7, records]);
        }
        words(&mut body, &[1, 16 + SNAP as u32, 1, length + 4, 4, SNAP as u32]);
        body.extend(header);
        if kind == Kind::Switch {
            words(&mut body, &[1001, 16, 100, 0, 200, 0]);
        }
        let format = if kind == Kind::Expanded { 3 } else { 1 };
        words(&mut data, &[format, body.len() as u32]);
        data.extend(body);
    }
    data
}

fn words(data: &mut Vec<u8>, words: &[u32]) {
    data.extend(words.iter().flat_map(|word| word.to_be_bytes()));
}

fn frame(n: u32, kind: Kind) -> Vec<u8> {
    let [_, _, high, low] = n.to_be_bytes();
    let packet = Packet {
        source: [198, 51, high, low].into(),
        destination: [10, 0, low, 1].into(),
        ttl: 60,
        identification: 1,
        piece: None,
        transport: Transport::Udp { source: 1024 + n as u16, destination: 53 },
        payload: Payload::Zeros(400),
    };
    let tags: &[Tag] = if kind == Kind::Tagged { &[Tag::dot1q(100)] } else { &[] };
    let mut bytes = Vec::new();
    emit_frame(&Frame { destination: [2; 6], source: [4; 6], tags, packet }, &mut bytes)
        .expect("a frame that can be written");
    bytes
}
