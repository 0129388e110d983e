//! Traffic as records, as frames, as datagrams, and counted by flow.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tidewall_collect::{
    ExportDatagram, FlowDetail, FlowSink, NetflowCollector, NetflowSettings, SflowCollector,
    SflowSettings,
};
use tidewall_model::{DropReason, FlowRecord, SamplingRate, Timestamp};
use tidewall_scenario::{FrameRenderer, Generator, Renderer, Scenario};
use tidewall_wire::frame::LengthMode;

use crate::captures::Capture;

/// Addresses, ports and protocol.
pub type Tuple = (IpAddr, IpAddr, u16, u16, u8);
/// Packets and bytes.
pub type Counts = BTreeMap<Tuple, (u64, u64)>;

/// The demo in 20 seconds, one packet in so many.
pub fn demo(rate: u32) -> Vec<FlowRecord> {
    let scenario = Scenario::demo(Duration::from_secs(20), 3).unwrap();
    Generator::sampled(&scenario, SamplingRate::new(rate)).collect()
}

/// A capture of the records' packets, which are no sample.
pub fn capture(records: &[FlowRecord]) -> Vec<u8> {
    let mut capture = Capture::new();
    let mut frames = FrameRenderer::new();
    let mut frame = Vec::new();
    for record in records {
        frames.frame(record, &mut frame).unwrap();
        capture.frame(record.time.0, &frame);
    }
    capture.bytes
}

/// What a renderer sends about records.
pub fn render(renderer: &mut dyn Renderer, records: &[FlowRecord]) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut sink = |_: Timestamp, datagram: &[u8]| datagrams.push(datagram.to_vec());
    for record in records {
        renderer.render(record, &mut sink).unwrap();
    }
    renderer.finish(&mut sink);
    datagrams
}

pub fn tuple(record: &FlowRecord) -> Tuple {
    let (src, dst) = (record.src_address().into(), record.dst_address().into());
    (src, dst, record.src_port, record.dst_port, record.protocol)
}

/// Packets and bytes of each flow as they were observed.
pub fn observed<'r>(records: impl IntoIterator<Item = &'r FlowRecord>) -> Counts {
    let mut counts = Counts::new();
    for record in records {
        add(&mut counts, tuple(record), (record.packets, record.bytes));
    }
    counts
}

/// Packets and bytes of each flow, times the sampling rate.
pub fn scaled<'r>(records: impl IntoIterator<Item = &'r FlowRecord>) -> Counts {
    let mut counts = Counts::new();
    for record in records {
        add(&mut counts, tuple(record), (record.scaled_packets(), record.scaled_bytes()));
    }
    counts
}

pub fn add(counts: &mut Counts, tuple: Tuple, (packets, bytes): (u64, u64)) {
    let count = counts.entry(tuple).or_default();
    count.0 += packets;
    count.1 += bytes;
}

/// Fails with the flows in which two counts differ.
pub fn assert_same(what: &str, ours: &Counts, theirs: &Counts) {
    let all = ours.keys().chain(theirs.keys().filter(|tuple| !ours.contains_key(*tuple)));
    let different: Vec<_> = all
        .map(|tuple| (tuple, ours.get(tuple), theirs.get(tuple)))
        .filter(|(_, ours, theirs)| ours != theirs)
        .collect();
    for (tuple, ours, theirs) in different.iter().take(12).chain(different.iter().rev().take(12)) {
        println!("{what}: {tuple:?}: ours {ours:?}, theirs {theirs:?}");
    }
    assert!(different.is_empty(), "{what}: {} of {} flows", different.len(), ours.len());
    assert!(ours.len() > 100, "{what}: {} flows only", ours.len());
}

/// What our collectors gave.
#[derive(Default)]
pub struct Decoded {
    pub flows: Vec<(FlowRecord, FlowDetail)>,
    pub refused: Vec<DropReason>,
}

impl Decoded {
    pub fn records(&self) -> impl Iterator<Item = &FlowRecord> {
        self.flows.iter().map(|(record, _)| record)
    }
}

impl FlowSink for Decoded {
    const DETAIL: bool = true;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        self.flows.push((*record, *detail));
    }

    fn refused(&mut self, reason: DropReason, _: &FlowRecord, _: &FlowDetail) {
        self.refused.push(reason);
    }
}

/// Through our collector of NetFlow and IPFIX: nothing may be dropped.
pub fn decode_netflow(datagrams: &[Vec<u8>]) -> Decoded {
    let mut collector = NetflowCollector::new(NetflowSettings::default());
    let mut decoded = Decoded::default();
    for datagram in datagrams {
        collector.decode(&received(datagram), &mut decoded).unwrap();
    }
    collector.give_up_waiting();
    assert_eq!(collector.drops().nonzero().collect::<Vec<_>>(), []);
    decoded
}

/// Through our collector of sFlow: nothing may be dropped.
pub fn decode_sflow(datagrams: &[Vec<u8>], length: LengthMode) -> Decoded {
    let mut collector = SflowCollector::new(SflowSettings { length, ..SflowSettings::default() });
    let mut decoded = Decoded::default();
    for datagram in datagrams {
        collector.decode(&received(datagram), &mut decoded).unwrap();
    }
    assert_eq!(collector.drops().nonzero().collect::<Vec<_>>(), []);
    decoded
}

fn received(data: &[u8]) -> ExportDatagram<'_> {
    let from: SocketAddr = "127.0.0.1:50000".parse().unwrap();
    ExportDatagram::new(from, Timestamp::from_parts(1_800_000_000, 0), data)
}
