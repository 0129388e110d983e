//! sFlow datagrams, each behind two bytes with its length, are decoded one after the other by one
//! collector. No panic; every announced sample is counted once; and a sink that wants details gets
//! the same records as one that does not.

#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidewall_collect::{
    ExportDatagram, ExporterLimits, FlowDetail, FlowSink, SflowCollector, SflowSettings,
};
use tidewall_model::{FlowRecord, Timestamp};

/// Wants details and keeps records.
struct Detailed(Vec<FlowRecord>);

impl FlowSink for Detailed {
    const DETAIL: bool = true;

    fn flow(&mut self, record: &FlowRecord, _: &FlowDetail) {
        self.0.push(*record);
    }
}

fuzz_target!(|data: &[u8]| {
    let limits = ExporterLimits { exporters: 4, silent: Duration::from_secs(2) };
    let settings = SflowSettings { limits, ..SflowSettings::default() };
    let mut quick = SflowCollector::new(settings.clone());
    let mut careful = SflowCollector::new(settings);
    let (mut records, mut detailed) = (Vec::new(), Detailed(Vec::new()));
    let (mut rest, mut second) = (data, 0);
    while let Some((&[high, low], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
        let (bytes, next) = behind.split_at(length);
        rest = next;
        second += 1;
        let from = SocketAddr::from(([192, 0, 2, low & 3], 6343));
        let datagram = ExportDatagram::new(from, Timestamp::from_parts(second, 0), bytes);
        let outcome = quick.decode(&datagram, &mut records);
        assert_eq!(careful.decode(&datagram, &mut detailed), outcome);
        assert_eq!(quick.drops(), careful.drops());
        assert!(quick.exporters().len() <= 4);
        let counts = quick.counts();
        let dropped = quick.drops().total() - counts.refused_datagrams;
        let all = counts.records + dropped + counts.counter_samples + counts.other_samples;
        assert_eq!((counts.samples, counts.records), (all, records.len() as u64));
    }
    assert_eq!(records, detailed.0);
});
