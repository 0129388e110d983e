//! libpcap, where it is installed: every frame, filters, statistics; and what is said where it is
//! not.
#![allow(clippy::disallowed_methods, reason = "these tests wait for a real network")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Frames, Lab, frame, ready, skip, until};
use tidewall_capture::pcap_live::{PcapConfig, PcapSource};
use tidewall_capture::{LibpcapError, OpenError};
use tidewall_wire::emit::Tag;
use tidewall_wire::frame::LinkType;

const WAIT: Duration = Duration::from_millis(50);

/// Opens the device, or says why the test is skipped.
fn open(test: &str, lab: &Lab, config: &PcapConfig) -> Option<PcapSource> {
    match lab.receiver.run(|| PcapSource::open(config)) {
        Ok(source) => Some(source),
        Err(OpenError::Libpcap(error @ LibpcapError::Absent { .. })) => {
            assert!(error.to_string().contains("apt install libpcap0.8"), "{error}");
            skip::skip(test, "libpcap0.8");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

fn exchange(lab: &Lab, source: &mut PcapSource, frames: &[Vec<u8>], expected: usize) -> Frames {
    let mut sink = Frames::default();
    let sender = lab.frame_sender();
    std::thread::scope(|scope| {
        scope.spawn(|| sender.send_all(frames));
        until(|| {
            source.receive(WAIT, &mut sink).unwrap();
            sink.marked.len() >= expected
        });
    });
    while source.receive(WAIT, &mut sink).unwrap() > 0 {}
    sink
}

#[test]
fn every_frame_arrives() {
    if !ready("every_frame_arrives") {
        return;
    }
    let lab = Lab::new();
    let Some(mut source) = open("every_frame_arrives", &lab, &PcapConfig::new("tw1")) else {
        return;
    };
    assert!(lab.describe().contains("promiscuity 1"));
    let tags: [&[Tag]; 2] = [&[], &[Tag::dot1q(42)]];
    let frames: Vec<Vec<u8>> =
        (0..5000).map(|n| frame(n, tags[n as usize % 2], n % 3 == 0, 53)).collect();
    let sink = exchange(&lab, &mut source, &frames, frames.len());
    assert_eq!(sink.numbers(), (0..5000).collect::<Vec<_>>());
    for seen in &sink.marked {
        let n = common::number(&seen.data).unwrap() as usize;
        assert_eq!(seen.data, frames[n], "tags are put back");
        assert_eq!(seen.link, LinkType::ETHERNET);
        assert!(seen.time.seconds() > 1_700_000_000);
    }
    assert!(sink.marked.iter().any(|seen| seen.time.0 % 1000 != 0), "nanoseconds");
    let statistics = source.statistics();
    assert_eq!((statistics.received, statistics.bytes), (sink.all, sink.bytes));
    assert_eq!((statistics.dropped_by_kernel, statistics.truncated), (0, 0));
    drop(source);
    assert!(lab.describe().contains("promiscuity 0"));
}

#[test]
fn filters_and_any_device_are_libpcaps_business() {
    if !ready("filters_and_any_device_are_libpcaps_business") {
        return;
    }
    let lab = Lab::new();
    let with = |device: &str, filter: &str| PcapConfig {
        filter: Some(filter.to_owned()),
        snap_length: 90,
        ..PcapConfig::new(device)
    };
    let test = "filters_and_any_device_are_libpcaps_business";
    let Some(mut source) = open(test, &lab, &with("any", "udp port 9001 or ip6")) else { return };
    assert_eq!(source.link_type(), LinkType::LINUX_SLL);
    let frames: Vec<Vec<u8>> =
        (0..400).map(|n| frame(n, &[], n % 4 == 0, 9000 + n as u16 % 2)).collect();
    let sink = exchange(&lab, &mut source, &frames, 300);
    let expected: Vec<u32> = (0..400).filter(|n| n % 4 == 0 || n % 2 == 1).collect();
    assert_eq!(sink.numbers(), expected);
    assert!(sink.marked.iter().all(|seen| seen.data.len() == 90));
    assert_eq!(source.statistics().truncated, sink.all);
    let refused =
        |config| lab.receiver.run(|| PcapSource::open(&config)).err().unwrap().to_string();
    assert!(refused(with("tw1", "udp prt 5")).contains("filter `udp prt 5`: "));
    let error = refused(PcapConfig::new("nosuch0"));
    assert!(error.starts_with("nosuch0: activating: "), "{error}");
}
