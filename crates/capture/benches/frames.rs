//! What it costs to take a frame that waits in a ring, in this process: what the kernel spends on
//! putting it there is not in it. Needs root, for a veth pair.

#![expect(clippy::unwrap_used, reason = "a benchmark stops when its set-up is wrong")]
#![expect(clippy::disallowed_methods, reason = "frames need a moment to arrive")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Duration;

use common::{Lab, frame, ready};
use tidewall_capture::af_packet::{AfPacketConfig, AfPacketSource};
use tidewall_capture::af_xdp::{AfXdpConfig, AfXdpSource, CopyMode, XdpMode};
use tidewall_capture::{FrameSink, VlanTag};
use tidewall_model::Timestamp;
use tidewall_testkit::bench::Bench;
use tidewall_wire::frame::LinkType;

/// Frames that wait in the ring when a run begins.
const FRAMES: u64 = 4096;

#[derive(Default)]
struct Count {
    frames: u64,
    sum: u64,
}

impl FrameSink for Count {
    fn frame(
        &mut self,
        _: LinkType,
        time: Timestamp,
        data: &[u8],
        wire_length: u32,
        _: Option<VlanTag>,
    ) {
        self.frames += 1;
        // As a dissector would, touch the frame.
        let first = data.first().copied().unwrap_or_default();
        self.sum = self.sum.wrapping_add(time.0 + u64::from(wire_length) + u64::from(first));
    }
}

fn main() {
    let mut bench = Bench::new("frames");
    if !ready("frames") {
        return;
    }
    let lab = Lab::new();
    let sender = lab.frame_sender();
    let frames: Vec<Vec<u8>> = (0..FRAMES as u32).map(|n| frame(n, &[], false, 53)).collect();
    let send = || {
        for frame in &frames {
            sender.send(frame);
        }
        // Longer than the time after which a block is handed over.
        std::thread::sleep(Duration::from_millis(40));
    };
    let config = AfPacketConfig::new("tw1");
    let mut source = lab.receiver.run(|| AfPacketSource::open(&config)).unwrap();
    bench.run_fresh("af_packet", "ns/frame", FRAMES, send, |()| {
        let mut sink = Count::default();
        while sink.frames < FRAMES {
            source.receive(Duration::from_secs(1), &mut sink).unwrap();
        }
        sink.sum
    });
    drop(source);
    let config =
        AfXdpConfig { mode: XdpMode::Native, copy: CopyMode::Copy, ..AfXdpConfig::new("tw1") };
    let mut sources = lab.receiver.run(|| AfXdpSource::open_all(&config)).unwrap();
    bench.run_fresh("af_xdp", "ns/frame", FRAMES, send, |()| {
        let mut sink = Count::default();
        while sink.frames < FRAMES {
            for source in &mut sources {
                source.receive(Duration::ZERO, &mut sink).unwrap();
            }
        }
        sink.sum
    });
}
