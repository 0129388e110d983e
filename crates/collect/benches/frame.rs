//! What it costs to turn a captured frame into a flow record.

#![expect(clippy::expect_used, reason = "a benchmark stops when its set-up is wrong")]

use tidewall_collect::FrameCollector;
use tidewall_model::{SamplingRate, Timestamp};
use tidewall_testkit::bench::Bench;
use tidewall_wire::emit::{Frame, Packet, Payload, Transport, emit_frame};
use tidewall_wire::frame::{LengthMode, LinkType, TunnelPolicy};

fn main() {
    let frames: Vec<Vec<u8>> = (0..128).map(frame).collect();
    let mut collector =
        FrameCollector::new(TunnelPolicy::OUTER, LengthMode::Wire, SamplingRate::ONE);
    // As a worker does it: records go into a batch that is used again.
    let mut batch = Vec::with_capacity(frames.len());
    let mut bench = Bench::new("collect");
    bench.note("frame to record in a batch").run(
        "decode_ethernet_ipv4_udp",
        "ns/frame",
        frames.len() as u64,
        || {
            batch.clear();
            for frame in &frames {
                let time = Timestamp(1);
                batch.extend(collector.decode(LinkType::ETHERNET, time, frame, frame.len() as u32));
            }
            std::hint::black_box(batch.len())
        },
    );
    assert_eq!(collector.drops().total(), 0, "every frame gives a record");
}

fn frame(n: u8) -> Vec<u8> {
    let packet = Packet {
        source: [198, 51, 100, n].into(),
        destination: [10, 0, n, 1].into(),
        ttl: 60,
        identification: 1,
        piece: None,
        transport: Transport::Udp { source: 1024 + u16::from(n), destination: 53 },
        payload: Payload::Zeros(64),
    };
    let mut bytes = Vec::new();
    emit_frame(&Frame { destination: [2; 6], source: [4; 6], tags: &[], packet }, &mut bytes)
        .expect("a frame that can be written");
    bytes
}
