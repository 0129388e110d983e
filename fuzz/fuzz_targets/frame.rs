//! Frames of every link type (the first byte chooses it), with and without tunnels entered: no
//! panic, and no offset or length beyond the frame.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewall_wire::frame::{LengthMode, LinkType, TunnelPolicy, dissect};

fuzz_target!(|data: &[u8]| {
    let Some((choice, data)) = data.split_first() else { return };
    let link = LinkType::SUPPORTED[usize::from(*choice) % LinkType::SUPPORTED.len()];
    for policy in [TunnelPolicy::OUTER, TunnelPolicy::INNER] {
        if let Ok(frame) = dissect(link, data, &policy) {
            assert!(frame.ip_offset as usize <= data.len());
            assert!(frame.transport_offset as usize <= data.len());
            let wire_length = data.len() as u32;
            assert!(frame.length(LengthMode::Wire, wire_length) <= wire_length);
        }
    }
});
