//! sFlow datagrams of every version, read to the last record: no panic, no endless loop, and every
//! announced sample is given, failed or known to be lost.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidewall_wire::sflow::{Datagram, FlowData, Sample};

fuzz_target!(|data: &[u8]| {
    let Ok(datagram) = Datagram::parse(data) else { return };
    let (mut samples, mut seen) = (datagram.samples(), 0);
    for sample in samples.by_ref() {
        seen += 1;
        let records = match sample {
            Ok(Sample::Flow(flow)) => flow.records(),
            Ok(Sample::Discard(discard)) => discard.records(),
            Ok(Sample::Counters(counters)) => {
                assert!(counters.records().count() <= 256);
                continue;
            }
            _ => continue,
        };
        for record in records {
            if let Ok(FlowData::Gateway(gateway)) = record {
                let _ = (gateway.destination_as(), gateway.destination_peer_as());
            }
        }
    }
    assert_eq!(seen + samples.lost(), datagram.sample_count);
});
