//! The plainest collector there is: it keeps every template, counts what it reads, and asserts on
//! the way what must hold for any datagram.

use std::collections::BTreeMap;

use super::*;

/// Templates by exporter, protocol, domain and id.
type Key = (u128, Protocol, u32, u16);

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) templates: usize,
    pub(super) options_templates: usize,
    pub(super) data_records: usize,
    pub(super) options_records: usize,
    pub(super) undecoded_sets: usize,
    /// By the first element of each data record that counts them.
    pub(super) packets: u64,
    pub(super) octets: u64,
    pub(super) errors: Vec<NetflowError>,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    plans: BTreeMap<Key, (Template, Plan)>,
    pub(super) counts: Counts,
}

impl Store {
    pub(super) fn ingest(&mut self, exporter: u128, datagram: &[u8]) {
        match parse(datagram) {
            Ok(Datagram::V5(packet)) => {
                assert!(packet.records().len() <= 30);
                self.counts.data_records += packet.records().len();
                for record in packet.records() {
                    self.counts.packets += u64::from(record.packets);
                    self.counts.octets += u64::from(record.octets);
                }
            }
            Ok(Datagram::V9(packet)) => {
                let domain = packet.header.source_id;
                self.sets((exporter, Protocol::V9, domain), datagram, packet.sets());
            }
            Ok(Datagram::Ipfix(message)) => {
                let domain = message.header.observation_domain;
                self.sets((exporter, Protocol::Ipfix, domain), datagram, message.sets());
            }
            Err(error) => self.error(error, datagram),
        }
    }

    fn sets(&mut self, source: (u128, Protocol, u32), datagram: &[u8], sets: Sets<'_>) {
        let mut seen = 0;
        for set in sets {
            seen += 1;
            let set = match set {
                Ok(set) => set,
                Err(error) => {
                    self.error(error, datagram);
                    continue;
                }
            };
            let start = set.offset() as usize;
            assert_eq!(set.body, &datagram[start..start + set.body.len()]);
            match set.kind {
                SetKind::Templates(kind) => self.templates(source, kind, &set, datagram),
                SetKind::Records => self.records(source, &set, datagram),
            }
        }
        assert!(seen <= usize::from(MAX_SETS) + 1);
    }

    fn templates(
        &mut self,
        (exporter, protocol, domain): (u128, Protocol, u32),
        kind: TemplateKind,
        set: &Set<'_>,
        datagram: &[u8],
    ) {
        for template in set.templates() {
            match template {
                Ok(TemplateRecord::Definition(template)) => {
                    assert_eq!((template.kind(), template.protocol()), (kind, protocol));
                    match kind {
                        TemplateKind::Data => self.counts.templates += 1,
                        TemplateKind::Options => self.counts.options_templates += 1,
                    }
                    let plan = Plan::new(&template);
                    self.plans
                        .insert((exporter, protocol, domain, template.id()), (template, plan));
                }
                Ok(TemplateRecord::Withdrawal(id)) => {
                    self.plans.remove(&(exporter, protocol, domain, id));
                }
                Ok(TemplateRecord::WithdrawalOfAll(kind)) => {
                    self.plans.retain(|key, (template, _)| {
                        (key.0, key.1, key.2) != (exporter, protocol, domain)
                            || template.kind() != kind
                    });
                }
                Err(error) => self.error(error, datagram),
            }
        }
    }

    fn records(
        &mut self,
        (exporter, protocol, domain): (u128, Protocol, u32),
        set: &Set<'_>,
        datagram: &[u8],
    ) {
        let key = (exporter, protocol, domain, set.id);
        let Some((template, plan)) = self.plans.get(&key) else {
            self.counts.undecoded_sets += 1;
            return;
        };
        let (mut taken, mut records, mut errors) = (0, 0, Vec::new());
        let (mut packets, mut octets) = (0_u64, 0_u64);
        for record in set.records(plan) {
            match record {
                Ok(record) => {
                    assert_eq!(record.bytes(), &set.body[taken..taken + record.bytes().len()]);
                    assert_fields(template, plan, &record);
                    taken += record.bytes().len();
                    records += 1;
                    let traffic = traffic(&record);
                    packets = packets.saturating_add(traffic.0);
                    octets = octets.saturating_add(traffic.1);
                }
                Err(error) => errors.push(error),
            }
        }
        assert!(taken <= set.body.len() && errors.len() <= 1);
        match plan.kind() {
            TemplateKind::Data => {
                self.counts.data_records += records;
                self.counts.packets = self.counts.packets.saturating_add(packets);
                self.counts.octets = self.counts.octets.saturating_add(octets);
            }
            TemplateKind::Options => self.counts.options_records += records,
        }
        for error in errors {
            self.error(error, datagram);
        }
    }

    fn error(&mut self, error: NetflowError, datagram: &[u8]) {
        if let NetflowError::HeaderCut(cut)
        | NetflowError::SetHeaderCut(cut)
        | NetflowError::SetCut(cut)
        | NetflowError::TemplateCut(cut)
        | NetflowError::RecordCut(cut) = error
        {
            assert!(cut.needed > cut.available, "{error}");
            assert!((cut.offset + cut.available) as usize <= datagram.len(), "{error}");
        }
        self.counts.errors.push(error);
    }
}

/// The value of the first field that is one of `elements`, as a number.
fn first(record: &Record<'_, '_>, elements: &[Element]) -> Option<u64> {
    let wanted =
        |field: &Field<'_>| field.role == Role::Forward && elements.contains(&field.element);
    record.fields().find(wanted)?.uint()
}

/// Packets and octets of a record, of both ways where an ASA counts them apart.
fn traffic(record: &Record<'_, '_>) -> (u64, u64) {
    use Element::{InitiatorOctets, OctetDeltaCount, OctetTotalCount, ResponderOctets};
    let packets = first(record, &[Element::PacketDeltaCount, Element::PacketTotalCount]);
    let octets = first(record, &[OctetDeltaCount, OctetTotalCount]).unwrap_or_else(|| {
        let way = |element| first(record, &[element]).unwrap_or(0);
        way(InitiatorOctets).saturating_add(way(ResponderOctets))
    });
    (packets.unwrap_or(0), octets)
}

/// Reads every field of a record the slow way, by the template alone, and compares.
fn assert_fields(template: &Template, plan: &Plan, record: &Record<'_, '_>) {
    let mut rest = record.bytes();
    let mut values = Vec::new();
    for spec in template.fields() {
        let mut length = usize::from(spec.length);
        if spec.is_variable() {
            let prefix = if rest[0] == 255 { 3 } else { 1 };
            let written = if prefix == 3 { &rest[1..3] } else { &rest[..1] };
            length = read_uint(written).unwrap() as usize;
            rest = &rest[prefix..];
        }
        let (value, behind) = rest.split_at(length);
        values.push((spec, value));
        rest = behind;
    }
    assert_eq!(rest, [], "the record ends with its last field");
    let known = values.iter().enumerate().filter_map(|(index, &(spec, value))| {
        let scope = index < usize::from(template.scope_count());
        let (element, role) = match (scope, spec.enterprise) {
            (true, 0) if template.protocol() == Protocol::V9 => {
                (Element::of_v9_scope(spec.element), Role::Scope)
            }
            (true, 0) => (Element::of(spec.element), Role::Scope),
            (false, 0) => (Element::of(spec.element), Role::Forward),
            (false, REVERSE_ENTERPRISE) => (Element::of(spec.element), Role::Reverse),
            _ => (None, Role::Forward),
        };
        Some(Field { element: element?, role, value })
    });
    assert!(record.fields().eq(known));
    assert_eq!(record.fields().count(), plan.elements().count());
}
