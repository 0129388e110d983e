//! Writes NetFlow v5 and v9 packets and IPFIX messages, the other half of [`crate::netflow`]. A
//! writer owns its buffer and the sequence number, and remembers nothing else: which templates a
//! collector knows is the caller's business. Nothing is checked, and every set can be written byte
//! by byte, so that what no exporter should send can be written too.

use std::net::Ipv4Addr;

use super::{push_u16, push_u32, set_u16, set_u32};
use crate::netflow::{FieldSpec, Protocol, Template, TemplateKind, ipfix, v5, v9};

#[cfg(test)]
mod tests;

/// Bytes of the headers of v5 and v9 packets and of IPFIX messages.
const V5_HEADER: usize = 24;
const V9_HEADER: usize = 20;
const IPFIX_HEADER: usize = 16;

/// In IPFIX, the bit of an element's number that announces an enterprise.
const ENTERPRISE_BIT: u16 = 0x8000;

/// When a datagram is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportTime {
    /// Seconds since the Unix epoch.
    pub unix_secs: u32,
    /// Nanoseconds of that second; only v5 says them.
    pub unix_nsecs: u32,
    /// Milliseconds since the exporter started; IPFIX does not say them.
    pub sys_uptime: u32,
}

/// Writes NetFlow v5 packets, one after the other.
#[derive(Clone, Debug, Default)]
pub struct V5Writer {
    /// Records in the packets before the next one.
    pub sequence: u32,
    /// Type of the switching engine.
    pub engine_type: u8,
    /// Number of the switching engine.
    pub engine_id: u8,
    /// Sampling mode in the top two bits, interval in the others.
    pub sampling: u16,
    out: Vec<u8>,
    records: u16,
}

impl V5Writer {
    /// A writer with zeros for everything; nothing is begun.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a packet.
    pub fn begin(&mut self) {
        self.out.clear();
        self.out.resize(V5_HEADER, 0);
        self.records = 0;
    }

    /// Records in the packet so far.
    pub const fn records(&self) -> u16 {
        self.records
    }

    /// Adds a record. More than [`v5::MAX_RECORDS`] are for no collector to read.
    pub fn record(&mut self, record: &v5::Record) {
        let out = &mut self.out;
        let address = |address: Ipv4Addr| address.to_bits();
        push_u32(out, address(record.src_addr));
        push_u32(out, address(record.dst_addr));
        push_u32(out, address(record.next_hop));
        push_u16(out, record.input);
        push_u16(out, record.output);
        for word in [record.packets, record.octets, record.first, record.last] {
            push_u32(out, word);
        }
        push_u16(out, record.src_port);
        push_u16(out, record.dst_port);
        out.extend_from_slice(&[0, record.tcp_flags, record.protocol, record.tos]);
        push_u16(out, record.src_as);
        push_u16(out, record.dst_as);
        out.extend_from_slice(&[record.src_mask, record.dst_mask, 0, 0]);
        self.records = self.records.wrapping_add(1);
    }

    /// Ends the packet: its header is written.
    pub fn finish(&mut self, time: ExportTime) -> &[u8] {
        let out = &mut self.out;
        set_u16(out, 0, v5::VERSION);
        set_u16(out, 2, self.records);
        for (at, word) in
            [(4, time.sys_uptime), (8, time.unix_secs), (12, time.unix_nsecs), (16, self.sequence)]
        {
            set_u32(out, at, word);
        }
        set_u16(out, 20, u16::from_be_bytes([self.engine_type, self.engine_id]));
        set_u16(out, 22, self.sampling);
        self.sequence = self.sequence.wrapping_add(self.records.into());
        &self.out
    }
}

/// Writes NetFlow v9 packets or IPFIX messages, one after the other.
///
/// Templates or records of one set that are added one behind the other share that set.
#[derive(Clone, Debug)]
pub struct MessageWriter {
    /// Of v9 the packets before the next one, of IPFIX the records, those of options among them.
    pub sequence: u32,
    protocol: Protocol,
    domain: u32,
    out: Vec<u8>,
    open: Option<OpenSet>,
    templates: u16,
    records: u16,
}

/// The set that is being written.
#[derive(Clone, Copy, Debug)]
struct OpenSet {
    id: u16,
    /// Where it starts.
    start: usize,
    /// Bytes of its shortest item: padding is shorter (RFC 7011 §3.3.1).
    shortest: usize,
}

impl MessageWriter {
    /// A writer of this source id or observation domain; nothing is begun.
    pub const fn new(protocol: Protocol, domain: u32) -> Self {
        Self {
            sequence: 0,
            protocol,
            domain,
            out: Vec::new(),
            open: None,
            templates: 0,
            records: 0,
        }
    }

    /// Begins a packet or message.
    pub fn begin(&mut self) {
        self.out.clear();
        let length = match self.protocol {
            Protocol::V9 => V9_HEADER,
            Protocol::Ipfix => IPFIX_HEADER,
        };
        self.out.resize(length, 0);
        (self.open, self.templates, self.records) = (None, 0, 0);
    }

    /// Bytes so far, without the padding of the set that is being written.
    pub const fn len(&self) -> usize {
        self.out.len()
    }

    /// Was nothing added since the beginning?
    pub const fn is_empty(&self) -> bool {
        self.templates == 0 && self.records == 0
    }

    /// Records so far, those of options among them.
    pub const fn records(&self) -> u16 {
        self.records
    }

    /// Adds the definition of a template.
    pub fn template(&mut self, template: &Template) {
        let (protocol, kind) = (self.protocol, template.kind());
        self.item(template_set(protocol, kind), |out| {
            let (id, scopes) = (template.id(), template.scope_count());
            append_template(protocol, kind, id, scopes, template.fields(), out);
        });
        self.templates = self.templates.wrapping_add(1);
    }

    /// Withdraws a template (RFC 7011 §8.1), which v9 does not know.
    pub fn withdraw(&mut self, kind: TemplateKind, id: u16) {
        self.item(template_set(self.protocol, kind), |out| {
            push_u16(out, id);
            push_u16(out, 0);
        });
        self.templates = self.templates.wrapping_add(1);
    }

    /// Withdraws all templates of a kind.
    pub fn withdraw_all(&mut self, kind: TemplateKind) {
        self.withdraw(kind, template_set(self.protocol, kind));
    }

    /// Adds a record of the template `id`: the bytes that `body` appends.
    pub fn record(&mut self, id: u16, body: impl FnOnce(&mut Vec<u8>)) {
        self.item(id, body);
        self.records = self.records.wrapping_add(1);
    }

    /// Adds a record of the template `id` by its fields and their values, as [`append_value`]
    /// writes them.
    pub fn record_of(&mut self, id: u16, fields: &[FieldSpec], values: &[&[u8]]) {
        self.record(id, |out| {
            for (field, value) in fields.iter().zip(values) {
                append_value(*field, value, out);
            }
        });
    }

    /// Adds a set of exactly the bytes that `body` appends. Its length is right, it is not padded,
    /// and nothing in it counts as a record.
    pub fn set(&mut self, id: u16, body: impl FnOnce(&mut Vec<u8>)) {
        self.end_set();
        self.item(id, body);
        if let Some(set) = self.open.take() {
            self.set_length(set);
        }
    }

    /// Ends the set that is being written, if there is one: what is added next is in another.
    pub fn end_set(&mut self) {
        let Some(set) = self.open.take() else { return };
        let padding = (self.out.len() - set.start).wrapping_neg() % 4;
        if padding < set.shortest {
            self.out.resize(self.out.len() + padding, 0);
        }
        self.set_length(set);
    }

    /// Ends the packet or message: its header is written.
    pub fn finish(&mut self, time: ExportTime) -> &[u8] {
        self.end_set();
        let out = &mut self.out;
        let after = match self.protocol {
            Protocol::V9 => {
                set_u16(out, 0, v9::VERSION);
                set_u16(out, 2, self.templates.wrapping_add(self.records));
                set_u32(out, 4, time.sys_uptime);
                set_u32(out, 8, time.unix_secs);
                set_u32(out, 12, self.sequence);
                set_u32(out, 16, self.domain);
                1
            }
            Protocol::Ipfix => {
                let length = u16::try_from(out.len()).unwrap_or(u16::MAX);
                set_u16(out, 0, ipfix::VERSION);
                set_u16(out, 2, length);
                set_u32(out, 4, time.unix_secs);
                set_u32(out, 8, self.sequence);
                set_u32(out, 12, self.domain);
                u32::from(self.records)
            }
        };
        self.sequence = self.sequence.wrapping_add(after);
        &self.out
    }

    /// Adds an item to a set, which is begun unless it is the one that is being written.
    fn item(&mut self, id: u16, body: impl FnOnce(&mut Vec<u8>)) {
        if self.open.is_none_or(|set| set.id != id) {
            self.end_set();
            let start = self.out.len();
            self.open = Some(OpenSet { id, start, shortest: usize::MAX });
            push_u16(&mut self.out, id);
            push_u16(&mut self.out, 0);
        }
        let start = self.out.len();
        body(&mut self.out);
        let length = self.out.len().saturating_sub(start);
        if let Some(set) = &mut self.open {
            set.shortest = set.shortest.min(length);
        }
    }

    fn set_length(&mut self, set: OpenSet) {
        let length = u16::try_from(self.out.len() - set.start).unwrap_or(u16::MAX);
        set_u16(&mut self.out, set.start + 2, length);
    }
}

/// Appends the definition of a template, whether it makes sense or not. The first `scopes` fields
/// of an options template are scopes.
pub fn append_template(
    protocol: Protocol,
    kind: TemplateKind,
    id: u16,
    scopes: u16,
    fields: &[FieldSpec],
    out: &mut Vec<u8>,
) {
    let count = fields.len() as u16;
    push_u16(out, id);
    match (protocol, kind) {
        (_, TemplateKind::Data) => push_u16(out, count),
        (Protocol::V9, TemplateKind::Options) => {
            push_u16(out, scopes.wrapping_mul(4));
            push_u16(out, count.wrapping_sub(scopes).wrapping_mul(4));
        }
        (Protocol::Ipfix, TemplateKind::Options) => {
            push_u16(out, count);
            push_u16(out, scopes);
        }
    }
    for field in fields {
        let of_enterprise = protocol == Protocol::Ipfix && field.enterprise != 0;
        push_u16(out, if of_enterprise { field.element | ENTERPRISE_BIT } else { field.element });
        push_u16(out, field.length);
        if of_enterprise {
            push_u32(out, field.enterprise);
        }
    }
}

/// Appends a value: behind its length where the field is of variable length (RFC 7011 §7), else as
/// the number that it is, with zeros in front or its highest bytes cut off to fit the field.
pub fn append_value(field: FieldSpec, value: &[u8], out: &mut Vec<u8>) {
    if field.is_variable() {
        if value.len() < 255 {
            out.push(value.len() as u8);
        } else {
            out.push(255);
            push_u16(out, value.len() as u16);
        }
        out.extend_from_slice(value);
        return;
    }
    let length = usize::from(field.length);
    out.resize(out.len() + length.saturating_sub(value.len()), 0);
    let low = value.len().saturating_sub(length);
    out.extend_from_slice(value.get(low..).unwrap_or_default());
}

/// The set that defines templates of a kind.
const fn template_set(protocol: Protocol, kind: TemplateKind) -> u16 {
    match (protocol, kind) {
        (Protocol::V9, TemplateKind::Data) => 0,
        (Protocol::V9, TemplateKind::Options) => 1,
        (Protocol::Ipfix, TemplateKind::Data) => 2,
        (Protocol::Ipfix, TemplateKind::Options) => 3,
    }
}
