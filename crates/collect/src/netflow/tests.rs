//! Datagrams written by hand, and the records that they give.

mod events;
mod fields;
mod framing;
mod options;
mod properties;
mod restart;
mod sampling;
mod start;
mod times;
mod v5;

use std::net::{IpAddr, SocketAddr};

use super::*;
use crate::FlowNote;
use tidewall_model::FlowRecord;

pub(super) const EXPORTED: u32 = 1_700_000_000;
pub(super) const UPTIME: u32 = 10_000_000;

/// A sink that keeps all.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) flows: Vec<(FlowRecord, FlowDetail)>,
    pub(super) refused: Vec<DropReason>,
    pub(super) remarks: Vec<(RemarkKind, String)>,
}

impl FlowSink for Kept {
    const DETAIL: bool = true;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        self.flows.push((*record, *detail));
    }

    fn refused(&mut self, reason: DropReason, _: &FlowRecord, _: &FlowDetail) {
        self.refused.push(reason);
    }

    fn remark(&mut self, remark: &Remark<'_>) {
        self.remarks.push((remark.kind, remark.text.to_owned()));
    }
}

/// A collector, what it gave with all details, and what another one gave that was not asked for
/// them.
pub(super) struct Desk {
    pub(super) collector: NetflowCollector,
    pub(super) kept: Kept,
    plain: NetflowCollector,
    records: Vec<FlowRecord>,
    pub(super) now: Timestamp,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self::with(NetflowSettings::default())
    }

    pub(super) fn with(settings: NetflowSettings) -> Self {
        Self {
            collector: NetflowCollector::new(settings.clone()),
            kept: Kept::default(),
            plain: NetflowCollector::new(settings),
            records: Vec::new(),
            now: Timestamp::from_parts(u64::from(EXPORTED) + 5, 0),
        }
    }

    /// Both collectors must give the same records, whatever is asked.
    pub(super) fn take(&mut self, datagram: &[u8]) -> Result<(), DropReason> {
        self.take_from("192.0.2.1:2055", datagram)
    }

    pub(super) fn take_from(&mut self, from: &str, datagram: &[u8]) -> Result<(), DropReason> {
        let from: SocketAddr = from.parse().unwrap();
        let datagram = ExportDatagram::new(from, self.now, datagram);
        let taken = self.collector.decode(&datagram, &mut self.kept);
        assert_eq!(self.plain.decode(&datagram, &mut self.records), taken);
        let kept: Vec<FlowRecord> = self.kept.flows.iter().map(|flow| flow.0).collect();
        assert_eq!(self.records, kept);
        assert_eq!(self.collector.drops(), self.plain.drops());
        taken
    }

    pub(super) fn drops(&self, reason: DropReason) -> u64 {
        self.collector.drops().get(reason)
    }

    /// All flows so far.
    pub(super) fn flows(&self) -> Vec<FlowRecord> {
        self.kept.flows.iter().map(|flow| flow.0).collect()
    }

    /// The only flow.
    pub(super) fn only(&self) -> (FlowRecord, FlowDetail) {
        assert_eq!(self.kept.flows.len(), 1, "{:?}", self.collector.drops());
        self.kept.flows[0]
    }

    pub(super) fn rates(&self) -> Vec<(u32, &'static str)> {
        let flows = self.kept.flows.iter();
        flows.map(|(record, detail)| (record.sampling.get(), detail.sampling.name())).collect()
    }
}

pub(super) fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

pub(super) fn v9_of(source: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = words(&[9, sets.len() as u16]);
    packet.extend([UPTIME, EXPORTED, sequence, source].map(u32::to_be_bytes).concat());
    packet.extend(sets.concat());
    packet
}

pub(super) fn v9(sets: &[Vec<u8>]) -> Vec<u8> {
    v9_of(42, 7, sets)
}

pub(super) fn ipfix_of(domain: u32, sequence: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let body = sets.concat();
    let mut message = words(&[10, 16 + body.len() as u16]);
    message.extend([EXPORTED, sequence, domain].map(u32::to_be_bytes).concat());
    message.extend(body);
    message
}

pub(super) fn ipfix(sets: &[Vec<u8>]) -> Vec<u8> {
    ipfix_of(42, 7, sets)
}

pub(super) fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let mut set = words(&[id, 4 + body.len() as u16]);
    set.extend(body);
    set
}

pub(super) type Spec = (u16, u16);

pub(super) fn template(id: u16, fields: &[Spec]) -> Vec<u8> {
    let mut body = words(&[id, fields.len() as u16]);
    body.extend(fields.iter().flat_map(|field| words(&[field.0, field.1])));
    body
}

/// An IPFIX options template.
pub(super) fn options_template(id: u16, scopes: u16, fields: &[Spec]) -> Vec<u8> {
    let mut body = words(&[id, fields.len() as u16, scopes]);
    body.extend(fields.iter().flat_map(|field| words(&[field.0, field.1])));
    body
}

/// A v9 options template.
pub(super) fn v9_options_template(id: u16, scopes: &[Spec], options: &[Spec]) -> Vec<u8> {
    let mut body = words(&[id, scopes.len() as u16 * 4, options.len() as u16 * 4]);
    body.extend(scopes.iter().chain(options).flat_map(|field| words(&[field.0, field.1])));
    body
}

/// Numbers in as many bytes as each field has.
pub(super) fn record(fields: &[Spec], values: &[u64]) -> Vec<u8> {
    assert_eq!(fields.len(), values.len());
    let bytes = |(field, value): (&Spec, &u64)| {
        let mut bytes = vec![0; 16];
        bytes.extend(value.to_be_bytes());
        bytes.split_off(24 - usize::from(field.1))
    };
    fields.iter().zip(values).flat_map(bytes).collect()
}

/// What most tests need: addresses, ports, protocol, packets, bytes.
pub(super) const BASIC: [Spec; 7] = [(8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (2, 4), (1, 4)];
pub(super) const BASIC_VALUES: [u64; 7] = [0xc633_6401, 0x0a00_0001, 1024, 53, 17, 3, 300];

/// The basic fields and more, in one IPFIX message with its template and one record.
pub(super) fn one(more: &[Spec], values: &[u64]) -> Desk {
    let mut desk = Desk::new();
    desk.take(&ipfix(&one_sets(2, more, values))).unwrap();
    desk
}

/// The same as NetFlow v9.
pub(super) fn one_v9(more: &[Spec], values: &[u64]) -> Desk {
    let mut desk = Desk::new();
    desk.take(&v9(&one_sets(0, more, values))).unwrap();
    desk
}

fn one_sets(template_set: u16, more: &[Spec], values: &[u64]) -> [Vec<u8>; 2] {
    let fields = [&BASIC[..], more].concat();
    let values = [&BASIC_VALUES[..], values].concat();
    [set(template_set, &template(256, &fields)), set(256, &record(&fields, &values))]
}

/// One record of these fields only.
pub(super) fn only_fields(fields: &[Spec], values: &[u64]) -> Desk {
    let mut desk = Desk::new();
    let sets = [set(2, &template(256, fields)), set(256, &record(fields, values))];
    desk.take(&ipfix(&sets)).unwrap();
    desk
}

pub(super) fn address(text: &str) -> u128 {
    match text.parse().unwrap() {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}
