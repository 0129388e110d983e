//! What is rendered is parsed again and adds up to the records.

mod flows;
mod frame;
mod sflow;

use std::collections::BTreeMap;

use tidewall_model::{Family, FlowRecord, SamplingRate, Timestamp, protocol};

use crate::{Generator, Renderer, Scenario};

/// Family, addresses, ports and protocol.
type Tuple = (Family, u128, u128, u16, u16, u8);

/// Packets and bytes of each tuple, at each sampling rate.
type Totals = BTreeMap<(Tuple, u32), (u64, u64)>;

fn add(totals: &mut Totals, record: &FlowRecord) {
    let tuple =
        (record.family, record.src, record.dst, record.src_port, record.dst_port, record.protocol);
    let sum = totals.entry((tuple, record.sampling.get())).or_default();
    sum.0 += record.packets;
    sum.1 += record.bytes;
}

fn totals<'a>(records: impl IntoIterator<Item = &'a FlowRecord>) -> Totals {
    let mut totals = Totals::new();
    records.into_iter().for_each(|record| add(&mut totals, record));
    totals
}

/// All messages of these records, each with its time. Times do not go back.
fn messages(renderer: &mut dyn Renderer, records: &[FlowRecord]) -> Vec<(Timestamp, Vec<u8>)> {
    let mut messages = Vec::new();
    let mut sink = |time, bytes: &[u8]| messages.push((time, bytes.to_vec()));
    for record in records {
        renderer.render(record, &mut sink).unwrap();
    }
    renderer.finish(&mut sink);
    assert!(messages.windows(2).all(|w| w[0].0 <= w[1].0));
    messages
}

/// 20 seconds with everything in them, sampled 1 in 50.
fn demo() -> Vec<FlowRecord> {
    let scenario = Scenario::demo(std::time::Duration::from_secs(20), 3).unwrap();
    let records: Vec<_> = Generator::sampled(&scenario, SamplingRate::new(50)).collect();
    assert!(records.len() > 10_000);
    assert!(records.iter().any(|r| r.family == Family::V6));
    records
}

/// Records of one packet each, long enough for their headers.
fn single_packets(mut records: Vec<FlowRecord>) -> Vec<FlowRecord> {
    for record in &mut records {
        record.bytes = record.bytes / record.packets + 28;
        record.packets = 1;
        if record.protocol == protocol::GRE {
            // A frame has no ports of GRE.
            (record.src_port, record.dst_port) = (0, 0);
        }
    }
    records
}
