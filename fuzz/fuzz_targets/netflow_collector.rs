//! The NetFlow collector: datagrams, each behind two bytes with its length, one with its sender and
//! one with the time since the last, are decoded one after the other by a collector with narrow
//! bounds. No panic; every flow given is counted, and so is everything that is not.

#![no_main]

use std::net::SocketAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use tidewall_collect::{
    ExportDatagram, ExporterLimits, FlowDetail, FlowNote, FlowSink, NetflowCollector,
    NetflowSettings,
};
use tidewall_model::{DropReason, FlowRecord, Timestamp};

const EXPORTERS: usize = 4;

#[derive(Default)]
struct Counting {
    flows: u64,
    refused: u64,
}

impl FlowSink for Counting {
    const DETAIL: bool = true;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        assert_eq!(record.seq, self.flows);
        assert!(record.packets > 0);
        // A sampled packet has the addresses that it has.
        assert!(record.src | record.dst != 0 || detail.note.has(FlowNote::PACKET));
        assert!(record.vlan < 4096 && record.tcp_flags.0 < 4096);
        if let (Some(start), Some(end)) = (detail.start, detail.end) {
            assert!(start <= end);
        }
        self.flows += 1;
    }

    fn refused(&mut self, _: DropReason, _: &FlowRecord, _: &FlowDetail) {
        self.refused += 1;
    }
}

fuzz_target!(|data: &[u8]| {
    let exporters = ExporterLimits { exporters: EXPORTERS, silent: Duration::from_secs(60) };
    let settings = NetflowSettings { exporters, ..NetflowSettings::default() };
    let mut collector = NetflowCollector::new(settings.clone());
    let mut plain = NetflowCollector::new(settings);
    let (mut sink, mut records) = (Counting::default(), Vec::new());
    let (mut rest, mut now, mut datagrams, mut wholly_refused) = (data, 0, 0, 0);
    while let Some((&[high, low, sender, step], behind)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low])).min(behind.len());
        let (bytes, next) = behind.split_at(length);
        rest = next;
        now += u64::from(step);
        let from = SocketAddr::from(([192, 0, 2, sender % 6], u16::from(sender / 128)));
        let received = Timestamp::from_parts(1_700_000_000 + now, 0);
        let datagram = ExportDatagram::new(from, received, bytes);
        let decoded = collector.decode(&datagram, &mut sink);
        assert_eq!(plain.decode(&datagram, &mut records), decoded);
        datagrams += 1;
        wholly_refused += u64::from(decoded.is_err());
        collector.advance(received);
        plain.advance(received);
        assert!(collector.exporters().count() <= EXPORTERS);
    }
    assert_eq!(collector.datagrams(), datagrams);
    assert_eq!((collector.flows(), records.len() as u64), (sink.flows, sink.flows));
    assert_eq!(collector.drops(), plain.drops());
    assert!(collector.drops().total() >= sink.refused + wholly_refused);
});
