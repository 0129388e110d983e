//! Captures: any bytes, read whole and read through the smallest windows, give the same packets.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewall_wire::pcap::{CaptureParser, Packets, Step};

fuzz_target!(|data: &[u8]| {
    let whole: Vec<_> = Packets::new(data).map_while(Result::ok).map(|p| p.data).collect();
    let mut parser = CaptureParser::new();
    let (mut at, mut window, mut packets) = (0, 0, Vec::new());
    loop {
        let end = data.len().min(at + window);
        match parser.parse(&data[at..end], end == data.len()) {
            Ok(Step::Packet { consumed, record }) => {
                packets.push(record.packet(&data[at..end]).data);
                (at, window) = (at + consumed, 0);
            }
            Ok(Step::Skip { consumed }) => (at, window) = (at + consumed, 0),
            Ok(Step::NeedMore { at_least }) => {
                assert!(at_least > window && at_least <= parser.longest_record());
                window = at_least;
            }
            Ok(Step::Truncated(_) | Step::End) | Err(_) => break,
        }
    }
    assert_eq!(whole, packets);
});
