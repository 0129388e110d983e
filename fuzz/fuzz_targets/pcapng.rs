//! The same for pcapng: a valid section header in front leads straight to the blocks.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewall_wire::pcap::Packets;

/// Section header block, little-endian, version 1.0, section length not given.
const SECTION: &[u8] = b"\x0a\x0d\x0d\x0a\x1c\0\0\0\x4d\x3c\x2b\x1a\x01\0\0\0\
    \xff\xff\xff\xff\xff\xff\xff\xff\x1c\0\0\0";

fuzz_target!(|data: &[u8]| {
    let capture = [SECTION, data].concat();
    let captured: usize =
        Packets::new(&capture).map_while(Result::ok).map(|packet| packet.data.len()).sum();
    assert!(captured <= data.len(), "more bytes in packets than in the file");
});
