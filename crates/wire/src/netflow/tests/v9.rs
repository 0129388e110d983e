//! Version 9: framing and templates.

use super::*;

/// Template 256: source, destination, bytes.
fn small_template() -> Vec<u8> {
    words(&[256, 3, 8, 4, 12, 4, 1, 4])
}

fn small_record(last: u8) -> Vec<u8> {
    vec![192, 0, 2, last, 198, 51, 100, last, 0, 0, 1, last]
}

/// T5 and T10: the count in the header, whatever it means, does not end the reading.
#[test]
fn templates_and_records_in_one_datagram_whatever_the_count() {
    let body = [small_record(1), small_record(2)].concat();
    for count in [0, 1, 2, 3, u16::MAX] {
        let packet =
            v9_packet(count, &[set(0, &small_template()), set(256, &body), set(256, &body)]);
        let Ok(Datagram::V9(parsed)) = parse(&packet) else { panic!("not v9") };
        let header = parsed.header;
        assert_eq!(
            (header.count, header.sys_uptime, header.unix_secs),
            (count, 1_000, 1_700_000_000)
        );
        assert_eq!((header.sequence, header.source_id), (7, 42));
        let sets: Vec<_> = parsed.sets().map(Result::unwrap).collect();
        assert_eq!(sets.iter().map(|set| set.id).collect::<Vec<_>>(), [0, 256, 256]);
        assert_eq!(sets[0].offset(), 24);
        assert_eq!(sets[1].body, body);
        let templates: Vec<_> = sets[0].templates().map(Result::unwrap).collect();
        let [TemplateRecord::Definition(template)] = templates.as_slice() else {
            panic!("{templates:?}")
        };
        assert_eq!((template.id(), template.least_length()), (256, 12));
        assert_eq!(template.kind(), TemplateKind::Data);
        assert_eq!(template.fields(), specs(&[(8, 4), (12, 4), (1, 4)]));
        let plan = Plan::new(template);
        let octets: Vec<_> = sets[1..]
            .iter()
            .flat_map(|set| set.records(&plan))
            .map(|record| record.unwrap().fields().last().unwrap())
            .map(|field| (field.element, field.uint()))
            .collect();
        let one = [(Element::OctetDeltaCount, Some(257)), (Element::OctetDeltaCount, Some(258))];
        assert_eq!(octets, [one, one].concat());
        assert_eq!(sets[1].templates().count(), 0, "records are no templates");
    }
}

/// T7.
#[test]
fn all_templates_of_a_flowset_and_its_padding() {
    let two = [small_template(), words(&[300, 1, 4, 1]), vec![0, 0]].concat();
    let found = templates(&v9_packet(2, &[set(0, &two)]));
    let ids: Vec<_> = found.iter().map(|found| defined(found).id()).collect();
    assert_eq!(ids, [256, 300]);

    // Scope System of 4 bytes, then 34 and 35; scope Interface, then 48 and 50.
    let options = words(&[257, 4, 8, 1, 4, 34, 4, 35, 1]);
    let more = words(&[258, 4, 8, 2, 2, 48, 1, 50, 4]);
    for padding in 0..=11 {
        let body = [options.clone(), more.clone(), vec![0; padding]].concat();
        let found = templates(&v9_packet(2, &[set(1, &body)]));
        let [first, second] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(defined(first).kind(), TemplateKind::Options);
        assert_eq!((defined(first).id(), defined(first).scope_count()), (257, 1));
        assert_eq!(defined(first).fields(), specs(&[(1, 4), (34, 4), (35, 1)]));
        assert_eq!((defined(second).id(), defined(second).least_length()), (258, 7));
        let elements: Vec<_> = Plan::new(defined(second)).elements().collect();
        let expected = [
            (Element::ScopeInterface, Role::Scope),
            (Element::SamplerId, Role::Forward),
            (Element::SamplerRandomInterval, Role::Forward),
        ];
        assert_eq!(elements, expected, "a scope type is not an element");
    }
}

fn defined(record: &Result<TemplateRecord, NetflowError>) -> &Template {
    match record {
        Ok(TemplateRecord::Definition(template)) => template,
        other => panic!("{other:?}"),
    }
}

/// T9.
#[test]
fn a_reserved_flowset_is_passed_over() {
    let packet = v9_packet(3, &[set(0, &small_template()), set(5, &[1; 12]), set(256, &[2; 12])]);
    let found: Vec<_> = sets(&packet).map(|set| set.map(|set| set.id)).collect();
    assert_eq!(found, [Ok(0), Err(NetflowError::ReservedSet { offset: 40, id: 5 }), Ok(256)]);
}

/// T11, framing.
#[test]
fn a_flowset_length_that_cannot_be_ends_the_datagram() {
    for length in [0, 1, 2, 3] {
        let packet = v9_packet(2, &[words(&[0, length]), set(256, &[1; 12])]);
        let found: Vec<_> = sets(&packet).map(|set| set.map(|set| set.id)).collect();
        assert_eq!(found, [Err(NetflowError::SetLength { offset: 20, length })]);
    }
    let packet = v9_packet(2, &[set(256, &[1; 12]), words(&[257, 9, 0, 0])]);
    let found: Vec<_> = sets(&packet).map(|set| set.map(|set| set.id)).collect();
    let cut = Cut { offset: 36, needed: 9, available: 8 };
    assert_eq!(found, [Ok(256), Err(NetflowError::SetCut(cut))]);
    assert_eq!(sets(&v9_packet(0, &[])).count(), 0);
    for trailing in 1..=3 {
        let packet = v9_packet(1, &[vec![0; trailing]]);
        let found: Vec<_> = sets(&packet).map(|set| set.map(|set| set.id)).collect();
        let cut = Cut { offset: 20, needed: 4, available: trailing as u32 };
        assert_eq!(found, [Err(NetflowError::SetHeaderCut(cut))]);
    }
}

/// T11, templates.
#[test]
fn a_template_that_cannot_be_is_refused_alone() {
    let bad = |id, reason| NetflowError::Template { offset: 24, id, reason };
    for (first, expected) in [
        (words(&[256, 2, 8, 0, 12, 0]), bad(256, TemplateError::Empty)),
        (words(&[256, 0]), bad(256, TemplateError::Empty)),
        (words(&[255, 1, 8, 4]), bad(255, TemplateError::Id)),
        (words(&[0, 1, 8, 4]), bad(0, TemplateError::Id)),
        (
            words(&[256, 2, 8, 65_534, 12, 2]),
            bad(256, TemplateError::RecordTooLong { length: 65_536 }),
        ),
        (
            [words(&[256, 257]), words(&[8, 1]).repeat(257)].concat(),
            bad(256, TemplateError::TooManyFields),
        ),
    ] {
        let body = [first, words(&[300, 1, 4, 1])].concat();
        let found = templates(&v9_packet(2, &[set(0, &body)]));
        let [refused, next] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(*refused, Err(expected));
        assert_eq!(defined(next).id(), 300);
    }
    for fields in [2, 257, u16::MAX] {
        let body = [words(&[256, fields, 8, 4, 12]), vec![0]].concat();
        let found = templates(&v9_packet(1, &[set(0, &body)]));
        let cut = Cut { offset: 34, needed: 2, available: 1 };
        assert_eq!(found, [Err(NetflowError::TemplateCut(cut))]);
    }
    let most = [words(&[256, 256]), words(&[8, 1]).repeat(256)].concat();
    assert_eq!(template(&v9_packet(1, &[set(0, &most)])).fields().len(), MAX_FIELDS);
}

/// T12.
#[test]
fn options_lengths_that_are_no_number_of_fields_are_refused() {
    for (scope_length, option_length) in [(3, 4), (0xffff, 4), (4, 2), (4, 0xffff), (1, 3)] {
        let body = words(&[257, scope_length, option_length, 1, 4, 34, 4]);
        let refused = NetflowError::OptionsLength { offset: 24, scope_length, option_length };
        assert_eq!(templates(&v9_packet(1, &[set(1, &body)])), [Err(refused)]);
    }
    for (scope_length, option_length) in [(4, 8), (0xfffc, 0xfffc), (8, 4)] {
        let body = words(&[257, scope_length, option_length, 1, 4, 34, 4]);
        let cut = Cut { offset: 38, needed: 2, available: 0 };
        let refused = NetflowError::TemplateCut(cut);
        assert_eq!(templates(&v9_packet(1, &[set(1, &body)])), [Err(refused)]);
    }
}

/// T13.
#[test]
fn an_interface_description_without_a_terminator() {
    let plan = data_plan(Protocol::V9, &[(10, 2), (83, 128)]);
    let packet =
        v9_packet(1, &[set(256, &[[0, 5].to_vec(), vec![b'x'; 128], vec![0; 2]].concat())]);
    let expected: [(Element, &[u8]); 2] =
        [(Element::IngressInterface, &[0, 5]), (Element::InterfaceDescription, &[b'x'; 128])];
    assert_eq!(read(&packet, &plan), [Ok(expected.to_vec())]);
}

/// Juniper SRX writes a scope of length 0; others write data fields of length 0.
#[test]
fn fields_of_length_zero_have_an_empty_value() {
    let options = words(&[257, 4, 4, 1, 0, 34, 4]);
    let plan = Plan::new(&template(&v9_packet(1, &[set(1, &options)])));
    assert_eq!(plan.fixed_length(), Some(4));
    let packet = v9_packet(1, &[set(257, &[0, 0, 3, 232])]);
    let expected: [(Element, &[u8]); 2] =
        [(Element::ScopeSystem, &[]), (Element::SamplingInterval, &[0, 0, 3, 232])];
    assert_eq!(read(&packet, &plan), [Ok(expected.to_vec())]);
}

/// Numbers above 32767 are Cisco's, not an enterprise's.
#[test]
fn the_top_bit_of_an_element_belongs_to_its_number() {
    let template = template(&v9_packet(1, &[set(0, &words(&[256, 2, 33_002, 2, 33_000, 12]))]));
    assert_eq!(template.fields(), specs(&[(33_002, 2), (33_000, 12)]));
    let elements: Vec<_> = Plan::new(&template).elements().collect();
    assert_eq!(elements, [(Element::FirewallExtendedEvent, Role::Forward)]);
}
