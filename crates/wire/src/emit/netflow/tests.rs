//! What is written is read back by the parser: headers, templates, records, withdrawals.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::netflow::{
    Datagram, Element, MAX_FIELDS, NetflowError, Plan, REVERSE_ENTERPRISE, Role, Set, SetKind,
    Sets, TemplateRecord, VARIABLE_LENGTH, parse,
};

const TIME: ExportTime =
    ExportTime { unix_secs: 1_700_000_000, unix_nsecs: 250_000_000, sys_uptime: 90_000 };

fn sets(datagram: &[u8]) -> Sets<'_> {
    match parse(datagram) {
        Ok(Datagram::V9(packet)) => packet.sets(),
        Ok(Datagram::Ipfix(message)) => message.sets(),
        other => panic!("no sets: {other:?}"),
    }
}

fn all_sets(datagram: &[u8]) -> Vec<Set<'_>> {
    sets(datagram).map(Result::unwrap).collect()
}

const fn spec(element: u16, enterprise: u32, length: u16) -> FieldSpec {
    FieldSpec { element, enterprise, length }
}

fn definition(set: &Set<'_>) -> Vec<TemplateRecord> {
    set.templates().map(Result::unwrap).collect()
}

#[test]
fn v5_sequence_counts_records() {
    let record = v5::Record {
        src_addr: Ipv4Addr::new(192, 0, 2, 1),
        dst_addr: Ipv4Addr::new(198, 51, 100, 2),
        next_hop: Ipv4Addr::new(203, 0, 113, 3),
        input: 1,
        output: 2,
        packets: 3,
        octets: 4500,
        first: 88_000,
        last: 89_000,
        src_port: 53,
        dst_port: 40_000,
        tcp_flags: 0x12,
        protocol: 17,
        tos: 0x28,
        src_as: 64_500,
        dst_as: 64_501,
        src_mask: 24,
        dst_mask: 22,
    };
    let mut writer = V5Writer::new();
    (writer.engine_type, writer.engine_id, writer.sampling) = (1, 7, (2 << 14) + 100);
    writer.sequence = u32::MAX - 1;
    for (count, sequence) in [(3_u16, u32::MAX - 1), (30, 1)] {
        writer.begin();
        (0..count).for_each(|n| writer.record(&v5::Record { input: n, ..record }));
        assert_eq!(writer.records(), count);
        let Ok(Datagram::V5(read)) = parse(writer.finish(TIME)) else { panic!() };
        let header = v5::Header {
            count,
            sys_uptime: 90_000,
            unix_secs: 1_700_000_000,
            unix_nsecs: 250_000_000,
            flow_sequence: sequence,
            engine_type: 1,
            engine_id: 7,
            sampling: (2 << 14) + 100,
        };
        assert_eq!((read.header, read.missing()), (header, 0));
        let expected: Vec<_> = (0..count).map(|n| v5::Record { input: n, ..record }).collect();
        assert_eq!(read.records().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn headers_and_sequences() {
    for protocol in [Protocol::V9, Protocol::Ipfix] {
        let fields = vec![spec(8, 0, 4), spec(1, 0, 4)];
        let template = Template::new(protocol, TemplateKind::Data, 256, 0, fields).unwrap();
        let mut writer = MessageWriter::new(protocol, 42);
        for round in 0..3_u32 {
            writer.begin();
            assert!(writer.is_empty());
            writer.template(&template);
            writer.record(256, |out| out.extend([1; 8]));
            writer.record(256, |out| out.extend([2; 8]));
            assert_eq!(writer.records(), 2);
            let bytes = writer.finish(TIME);
            match parse(bytes).unwrap() {
                Datagram::V9(packet) => assert_eq!(
                    packet.header,
                    v9::Header {
                        count: 3,
                        sys_uptime: 90_000,
                        unix_secs: 1_700_000_000,
                        sequence: round,
                        source_id: 42,
                    }
                ),
                Datagram::Ipfix(message) => {
                    let header = ipfix::Header {
                        length: bytes.len() as u16,
                        export_time: 1_700_000_000,
                        sequence: 2 * round,
                        observation_domain: 42,
                    };
                    assert_eq!((message.header, message.trailing()), (header, 0));
                }
                Datagram::V5(_) => panic!(),
            }
            let sets = all_sets(bytes);
            assert_eq!(sets.len(), 2, "records of one template share a set");
            assert_eq!(definition(&sets[0]), [TemplateRecord::Definition(template.clone())]);
            let plan = Plan::new(&template);
            let records: Vec<_> = sets[1].records(&plan).map(|r| r.unwrap().bytes()).collect();
            assert_eq!(records, [[1; 8], [2; 8]]);
        }
    }
}

#[test]
fn variable_lengths_and_enterprises() {
    let fields = vec![
        spec(82, 0, VARIABLE_LENGTH),
        spec(1, REVERSE_ENTERPRISE, 4),
        spec(7, 0, 2),
        spec(77, 9, VARIABLE_LENGTH),
    ];
    let template =
        Template::new(Protocol::Ipfix, TemplateKind::Data, 300, 0, fields.clone()).unwrap();
    let plan = Plan::new(&template);
    let mut writer = MessageWriter::new(Protocol::Ipfix, 0);
    writer.begin();
    writer.template(&template);
    let names = [0, 1, 254, 255, 700].map(|length| vec![b'x'; length]);
    for name in &names {
        writer.record_of(300, &fields, &[name, &[1, 2], &[9, 8, 7], &[5; 3]]);
    }
    let bytes = writer.finish(TIME);
    let sets = all_sets(bytes);
    assert_eq!(definition(&sets[0]), [TemplateRecord::Definition(template.clone())]);
    let records: Vec<_> = sets[1].records(&plan).map(Result::unwrap).collect();
    assert_eq!(records.len(), names.len());
    for (record, name) in records.iter().zip(&names) {
        let found: Vec<_> = record.fields().map(|f| (f.element, f.role, f.value)).collect();
        let expected: [(_, _, &[u8]); 3] = [
            (Element::InterfaceName, Role::Forward, name),
            (Element::OctetDeltaCount, Role::Reverse, &[0, 0, 1, 2]),
            (Element::SourceTransportPort, Role::Forward, &[8, 7]),
        ];
        assert_eq!(found, expected);
    }
}

#[test]
fn options_and_withdrawals() {
    let scopes = [(Protocol::V9, spec(1, 0, 4)), (Protocol::Ipfix, spec(302, 0, 4))];
    for (protocol, scope) in scopes {
        let fields = vec![scope, spec(48, 0, 1), spec(50, 0, 2)];
        let options = Template::new(protocol, TemplateKind::Options, 257, 1, fields).unwrap();
        let other = Template::new(protocol, TemplateKind::Options, 258, 1, vec![scope]).unwrap();
        let mut writer = MessageWriter::new(protocol, 0);
        writer.begin();
        writer.template(&options);
        writer.template(&other);
        writer.record(257, |out| out.extend([0, 0, 0, 1, 7, 0, 100]));
        let sets = all_sets(writer.finish(TIME));
        let expected = [options.clone(), other].map(TemplateRecord::Definition);
        assert_eq!(definition(&sets[0]), expected, "both are read, whatever pads the set");
        let plan = Plan::new(&options);
        let read: Vec<_> = sets[1].records(&plan).flat_map(|r| r.unwrap().fields()).collect();
        let [scope, id, interval] = read[..] else { panic!("{read:?}") };
        assert_eq!((scope.role, id.uint(), interval.uint()), (Role::Scope, Some(7), Some(100)));
    }
    let mut writer = MessageWriter::new(Protocol::Ipfix, 0);
    writer.begin();
    writer.withdraw(TemplateKind::Data, 256);
    writer.withdraw_all(TemplateKind::Data);
    writer.withdraw_all(TemplateKind::Options);
    let sets = all_sets(writer.finish(TIME));
    assert_eq!(
        [definition(&sets[0]), definition(&sets[1])].concat(),
        [
            TemplateRecord::Withdrawal(256),
            TemplateRecord::WithdrawalOfAll(TemplateKind::Data),
            TemplateRecord::WithdrawalOfAll(TemplateKind::Options),
        ]
    );
    assert_eq!(writer.sequence, 0, "templates are no records");
}

#[test]
fn what_no_exporter_sends_can_be_written() {
    let mut writer = MessageWriter::new(Protocol::V9, 0);
    writer.begin();
    let empty = |out: &mut Vec<u8>| {
        append_template(Protocol::V9, TemplateKind::Data, 256, 0, &[spec(1, 0, 0)], out);
    };
    writer.set(0, empty);
    writer.set(5, |out| out.extend([1; 3]));
    writer.set(0, |out| out.extend([1, 0, 0, 9]));
    let bytes = writer.finish(TIME).to_vec();
    let read: Vec<_> = sets(&bytes).collect();
    let [Ok(first), Err(NetflowError::ReservedSet { id: 5, .. }), Ok(last)] = &read[..] else {
        panic!("{read:?}")
    };
    assert!(matches!(first.templates().next(), Some(Err(NetflowError::Template { .. }))));
    assert!(matches!(last.templates().next(), Some(Err(NetflowError::TemplateCut(_)))));
    assert_eq!(first.kind, SetKind::Templates(TemplateKind::Data));
    // The header counts none of it.
    assert!(matches!(parse(&bytes), Ok(Datagram::V9(packet)) if packet.header.count == 0));
}

#[test]
fn padding_is_never_taken_for_a_record() {
    let fields = vec![spec(4, 0, 1)];
    let template = Template::new(Protocol::Ipfix, TemplateKind::Data, 256, 0, fields).unwrap();
    let plan = Plan::new(&template);
    let mut writer = MessageWriter::new(Protocol::Ipfix, 0);
    for count in 1..9 {
        writer.begin();
        (0..count).for_each(|_| writer.record(256, |out| out.push(6)));
        let sets = all_sets(writer.finish(TIME));
        assert_eq!(sets[0].records(&plan).count(), count);
    }
}

/// Fields and, for each record, a value for each of them.
type Table = (Vec<FieldSpec>, Vec<Vec<Vec<u8>>>);

fn table() -> impl Strategy<Value = Table> {
    let field = (1..500_u16, prop_oneof![3 => Just(0), 1 => 1..50_000_u32], 0..24_u16, 0..6u8)
        .prop_map(|(element, enterprise, length, variable)| {
            let length = if variable == 0 { VARIABLE_LENGTH } else { length };
            spec(element, enterprise, length)
        });
    let fields = prop::collection::vec(field, 1..20).prop_map(|mut fields| {
        fields.push(spec(1, 0, 4));
        fields
    });
    fields.prop_flat_map(|fields| {
        let value = |field: &FieldSpec| {
            let length = usize::from(field.length);
            let range = if field.is_variable() { 0..=300 } else { length..=length };
            prop::collection::vec(any::<u8>(), range)
        };
        let record: Vec<_> = fields.iter().map(value).collect();
        (Just(fields), prop::collection::vec(record, 0..6))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]

    #[test]
    fn templates_and_records_come_back(
        v9: bool, options: bool, (mut fields, records) in table(), scopes in 0..3_u16,
    ) {
        let protocol = if v9 { Protocol::V9 } else { Protocol::Ipfix };
        if v9 {
            for field in &mut fields {
                field.enterprise = 0;
            }
        }
        let (kind, scopes) = if options {
            (TemplateKind::Options, scopes.min(fields.len() as u16))
        } else {
            (TemplateKind::Data, 0)
        };
        prop_assert!(fields.len() < MAX_FIELDS);
        let template = Template::new(protocol, kind, 256, scopes, fields.clone()).unwrap();
        let plan = Plan::new(&template);
        let mut writer = MessageWriter::new(protocol, 1);
        writer.begin();
        writer.template(&template);
        for record in &records {
            let values: Vec<&[u8]> = record.iter().map(Vec::as_slice).collect();
            writer.record_of(256, &fields, &values);
        }
        let bytes = writer.finish(TIME);
        prop_assert_eq!(bytes.len() % 4, 0);
        let sets = all_sets(bytes);
        prop_assert_eq!(definition(&sets[0]), [TemplateRecord::Definition(template)]);
        let read = sets.get(1).into_iter().flat_map(|set| set.records(&plan));
        let read: Vec<_> = read.map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), records.len());
        // Every known element has its value; what is unknown is passed over by its length.
        for (read, written) in read.iter().zip(&records) {
            let known = fields.iter().zip(written).enumerate().filter(|(index, (field, _))| {
                match (*index < usize::from(scopes), field.enterprise) {
                    (true, 0) if v9 => Element::of_v9_scope(field.element).is_some(),
                    (_, 0) => Element::of(field.element).is_some(),
                    (true, _) => false,
                    (false, enterprise) => {
                        enterprise == REVERSE_ENTERPRISE && Element::of(field.element).is_some()
                    }
                }
            });
            let expected: Vec<&[u8]> = known.map(|(_, (_, value))| value.as_slice()).collect();
            prop_assert_eq!(read.fields().map(|f| f.value).collect::<Vec<_>>(), expected);
        }
    }
}
