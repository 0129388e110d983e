//! IPFIX: framing and templates.

use super::super::ipfix::Message;
use super::*;

fn ids(datagram: &[u8]) -> Vec<Result<u16, NetflowError>> {
    sets(datagram).map(|set| set.map(|set| set.id)).collect()
}

/// T29, and the header.
#[test]
fn a_message_fits_its_datagram_and_has_a_bounded_number_of_sets() {
    let message = ipfix_message(&[set(256, &[1, 2, 3, 4])]);
    let parsed = Message::parse(&message).unwrap();
    let header = parsed.header;
    assert_eq!((header.length, header.export_time), (24, 1_700_000_000));
    assert_eq!((header.sequence, header.observation_domain, parsed.trailing()), (7, 42, 0));

    let refused = Message::parse(&message[..23]).unwrap_err();
    assert_eq!(refused, NetflowError::MessageLength { length: 24, available: 23 });
    let longer = [message, set(257, &[0; 4])].concat();
    assert_eq!(Message::parse(&longer).unwrap().trailing(), 8);
    assert_eq!(ids(&longer), [Ok(256)], "what follows the message is not part of it");
    for length in [0_u16, 15] {
        let mut short = ipfix_message(&[]);
        short[2..4].copy_from_slice(&length.to_be_bytes());
        let refused = Message::parse(&short).unwrap_err();
        assert_eq!(refused, NetflowError::MessageLength { length, available: 16 });
    }

    let many = ipfix_message(&vec![set(256, &[]); 257]);
    let found = ids(&many);
    assert_eq!(found.len(), 257);
    assert!(found[..256].iter().all(Result::is_ok));
    assert_eq!(found[256], Err(NetflowError::TooManySets { offset: 16 + 256 * 4 }));
    assert!(ids(&ipfix_message(&vec![set(256, &[]); 256])).iter().all(Result::is_ok));
}

/// T17: the reader of sets does not need to know a template to go on.
#[test]
fn reserved_and_unknown_sets_do_not_hide_what_follows() {
    let message = ipfix_message(&[
        set(999, &[1; 5]),
        set(0, &[2; 2]),
        set(1, &[]),
        set(4, &[3; 3]),
        set(255, &[]),
        set(2, &words(&[256, 1, 4, 1])),
    ]);
    let reserved = |offset, id| Err(NetflowError::ReservedSet { offset, id });
    let expected =
        [Ok(999), reserved(25, 0), reserved(31, 1), reserved(35, 4), reserved(42, 255), Ok(2)];
    assert_eq!(ids(&message), expected);
    let cut = Cut { offset: 20, needed: 5, available: 4 };
    assert_eq!(
        ids(&ipfix_message(&[set(256, &[]), words(&[256, 5])])),
        [Ok(256), Err(NetflowError::SetCut(cut))]
    );
}

#[test]
fn enterprise_numbers_and_variable_lengths() {
    // octets, reverse octets, an element of an enterprise, a string, an enterprise number of 0.
    let mut body = words(&[256, 5, 1, 8, 0x8001, 8, 0, 29_305, 0x8007, 2]);
    body.extend(words(&[0, 9, 82, 0xffff, 0x8004, 1, 0, 0]));
    let template = template(&ipfix_message(&[set(2, &body)]));
    let spec = |element, enterprise, length| FieldSpec { element, enterprise, length };
    let expected = [
        spec(1, 0, 8),
        spec(1, REVERSE_ENTERPRISE, 8),
        spec(7, 9, 2),
        spec(82, 0, VARIABLE_LENGTH),
        spec(4, 0, 1),
    ];
    assert_eq!(template.fields(), expected);
    assert_eq!(template.least_length(), 20);
    assert!(template.fields()[3].is_variable());
    let plan = Plan::new(&template);
    assert_eq!(plan.fixed_length(), None);
    let expected = [
        (Element::OctetDeltaCount, Role::Forward),
        (Element::OctetDeltaCount, Role::Reverse),
        (Element::InterfaceName, Role::Forward),
        (Element::ProtocolIdentifier, Role::Forward),
    ];
    assert_eq!(plan.elements().collect::<Vec<_>>(), expected);
}

/// T22: the enterprise number of a scope is passed over, and so are values of variable length.
#[test]
fn options_templates_with_enterprise_scopes() {
    let mut body = words(&[300, 4, 2, 0x8001, 4, 0, 9, 302, 2, 82, 0xffff, 305, 4]);
    body.extend([0, 0]);
    let template = template(&ipfix_message(&[set(3, &body)]));
    assert_eq!((template.kind(), template.scope_count()), (TemplateKind::Options, 2));
    assert_eq!(template.fields()[0], FieldSpec { element: 1, enterprise: 9, length: 4 });
    let plan = Plan::new(&template);
    assert_eq!(plan.kind(), TemplateKind::Options);

    let first = [1, 1, 1, 1, 0, 7, 2, b'g', b'e', 0, 0, 0, 10];
    let second = [2, 2, 2, 2, 0, 8, 0, 0, 0, 0, 20];
    let third = [3, 3, 3, 3, 0, 9, 255, 0, 1, b'x', 0, 0, 0, 30];
    let message = ipfix_message(&[set(300, &[&first[..], &second, &third, &[0; 2]].concat())]);
    let set = sets(&message).next().unwrap().unwrap();
    let found: Vec<Vec<_>> = set
        .records(&plan)
        .map(|record| record.unwrap().fields().map(|f| (f.element, f.role, f.value)).collect())
        .collect();
    let expected = |selector: &'static [u8], name: &'static [u8], interval: &'static [u8]| {
        vec![
            (Element::SelectorId, Role::Scope, selector),
            (Element::InterfaceName, Role::Forward, name),
            (Element::SamplingPacketInterval, Role::Forward, interval),
        ]
    };
    // T21: all records of the set.
    let expected = [
        expected(&[0, 7], b"ge", &[0, 0, 0, 10]),
        expected(&[0, 8], b"", &[0, 0, 0, 20]),
        expected(&[0, 9], b"x", &[0, 0, 0, 30]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn scope_counts_above_the_field_count_are_refused() {
    let body = words(&[300, 1, 2, 302, 2, 301, 1, 0, 302, 2]);
    let found = templates(&ipfix_message(&[set(3, &body)]));
    let reason = TemplateError::Scopes { scopes: 2, fields: 1 };
    assert_eq!(found[0], Err(NetflowError::Template { offset: 20, id: 300, reason }));
    let Ok(TemplateRecord::Definition(without)) = &found[1] else { panic!("{found:?}") };
    assert_eq!((without.scope_count(), without.kind()), (0, TemplateKind::Options));
    let refused = Template::new(Protocol::V9, TemplateKind::Data, 256, 1, specs(&[(1, 4)]));
    assert_eq!(refused, Err(TemplateError::Scopes { scopes: 1, fields: 1 }));
}

/// T23.
#[test]
fn withdrawals_of_one_and_of_all() {
    let withdrawn = |id, body: &[u16]| templates(&ipfix_message(&[set(id, &words(body))]));
    let one = |id| Ok(TemplateRecord::Withdrawal(id));
    assert_eq!(withdrawn(2, &[256, 0, 999, 0]), [one(256), one(999)]);
    assert_eq!(withdrawn(3, &[256, 0]), [one(256)]);
    let all = |kind| Ok(TemplateRecord::WithdrawalOfAll(kind));
    assert_eq!(withdrawn(2, &[2, 0]), [all(TemplateKind::Data)]);
    assert_eq!(withdrawn(3, &[3, 0]), [all(TemplateKind::Options)]);
    let reason = TemplateError::Id;
    let refused = |id| Err(NetflowError::Template { offset: 20, id, reason });
    assert_eq!(withdrawn(2, &[3, 0]), [refused(3)]);
    assert_eq!(withdrawn(3, &[255, 0]), [refused(255)]);
    assert_eq!(withdrawn(2, &[0, 0]), [], "zeros are padding");
}

#[test]
fn padding_behind_templates() {
    for padding in 0..8 {
        let body = [words(&[256, 1, 4, 1]), vec![0; padding]].concat();
        assert_eq!(template(&ipfix_message(&[set(2, &body)])).id(), 256);
        let body = [words(&[256, 1, 1, 4, 1]), vec![0; padding]].concat();
        assert_eq!(template(&ipfix_message(&[set(3, &body)])).id(), 256);
    }
}
