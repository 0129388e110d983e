//! Records read through compiled templates.

use super::*;

const VARIABLE: u16 = VARIABLE_LENGTH;

#[test]
fn unknown_fields_are_stepped_over_and_padding_left() {
    // 33 and 291 are not known; 291 is a list, here of fixed length.
    let plan = data_plan(Protocol::Ipfix, &[(33, 3), (7, 2), (291, 5), (4, 1)]);
    assert_eq!(plan.fixed_length(), Some(11));
    let record = [9, 9, 9, 0x12, 0x34, 8, 8, 8, 8, 8, 17];
    for padding in 0..11 {
        let body = [&record[..], &record, &vec![0xee; padding]].concat();
        let message = ipfix_message(&[set(256, &body)]);
        let expected: [(Element, &[u8]); 2] =
            [(Element::SourceTransportPort, &[0x12, 0x34]), (Element::ProtocolIdentifier, &[17])];
        assert_eq!(read(&message, &plan), vec![Ok(expected.to_vec()); 2]);
        let set = sets(&message).next().unwrap().unwrap();
        let mut records = set.records(&plan);
        assert_eq!(records.by_ref().next().unwrap().unwrap().bytes(), record);
        assert_eq!(records.by_ref().count(), 1);
        assert_eq!(records.rest().len(), padding);
    }
}

/// T18.
#[test]
fn variable_lengths_in_both_forms() {
    let plan = data_plan(Protocol::Ipfix, &[(82, VARIABLE), (4, 1)]);
    let value = |length| vec![b'v'; length];
    for (prefix, length) in [
        (vec![0], 0),
        (vec![1], 1),
        (vec![254], 254),
        (vec![255, 0, 3], 3),
        (vec![255, 0, 0], 0),
        (vec![255, 1, 44], 300),
    ] {
        let name = value(length);
        let body = [prefix.clone(), name.clone(), vec![6], prefix, name.clone(), vec![7]].concat();
        let message = ipfix_message(&[set(256, &body)]);
        let record = |protocol: &'static [u8]| {
            Ok(vec![(Element::InterfaceName, &name[..]), (Element::ProtocolIdentifier, protocol)])
        };
        assert_eq!(read(&message, &plan), [record(&[6]), record(&[7])], "{length} bytes");
    }
}

/// T18.
#[test]
fn a_variable_length_beyond_the_set_ends_it() {
    let plan = data_plan(Protocol::Ipfix, &[(82, VARIABLE), (4, 1)]);
    let whole = Ok(vec![(Element::InterfaceName, &b"a"[..]), (Element::ProtocolIdentifier, &[6])]);
    for (cut, needed) in [
        (&[9, 1, 2][..], 11),
        (&[2, 1, 2], 4),
        (&[255, 0], 3),
        (&[255, 0, 1], 5),
        (&[255, 255, 255, 0], 65_539),
    ] {
        let body = [&[1, b'a', 6], cut].concat();
        let message = ipfix_message(&[set(256, &body)]);
        let available = cut.len() as u32;
        let refused = NetflowError::RecordCut(Cut { offset: 23, needed, available });
        assert_eq!(read(&message, &plan), [whole.clone(), Err(refused)]);
    }
}

/// T19.
#[test]
fn sampled_frames_of_variable_length_and_padding() {
    for fields in [&[(315, VARIABLE)][..], &[(10, 4), (315, VARIABLE)]] {
        let plan = data_plan(Protocol::Ipfix, fields);
        let interface = [0, 0, 0, 5].repeat(fields.len() - 1);
        // The three-byte form for short values is what Juniper writes.
        let first = [interface.clone(), vec![255, 0, 60], vec![1; 60]].concat();
        let second = [interface, vec![62], vec![2; 62]].concat();
        let message = ipfix_message(&[set(256, &[first, second, vec![0; 2]].concat())]);
        let frames: Vec<_> = read(&message, &plan)
            .into_iter()
            .map(|record| *record.unwrap().last().unwrap())
            .collect();
        let section = Element::DataLinkFrameSection;
        assert_eq!(frames, [(section, &[1; 60][..]), (section, &[2; 62])]);
    }
}

/// T20: the length of one field is not that of another.
#[test]
fn a_fixed_field_behind_a_variable_one_keeps_its_length() {
    let plan = data_plan(Protocol::Ipfix, &[(83, VARIABLE), (315, 10), (291, VARIABLE), (4, 1)]);
    let body = [vec![200], vec![b's'; 200], vec![7; 10], vec![5, 1, 2, 3, 4, 5], vec![17]].concat();
    let message = ipfix_message(&[set(256, &body)]);
    let expected: [(Element, &[u8]); 3] = [
        (Element::InterfaceDescription, &[b's'; 200]),
        (Element::DataLinkFrameSection, &[7; 10]),
        (Element::ProtocolIdentifier, &[17]),
    ];
    assert_eq!(read(&message, &plan), [Ok(expected.to_vec())]);
}

#[test]
fn a_set_that_is_shorter_than_a_record_has_none() {
    let fixed = data_plan(Protocol::Ipfix, &[(8, 4), (12, 4)]);
    let variable = data_plan(Protocol::Ipfix, &[(8, 4), (82, VARIABLE)]);
    for length in 0..8 {
        assert_eq!(read(&ipfix_message(&[set(256, &vec![1; length])]), &fixed), []);
        let records = read(&ipfix_message(&[set(256, &vec![1; length])]), &variable).len();
        assert_eq!(records, usize::from(length >= 5), "{length} bytes");
    }
}

#[test]
fn elements_that_are_not_wanted_are_stepped_over() {
    let fields = specs(&[(8, 4), (82, VARIABLE), (7, 2), (83, VARIABLE), (4, 1)]);
    let template = Template::new(Protocol::Ipfix, TemplateKind::Data, 256, 0, fields).unwrap();
    let wanted = [Element::InterfaceDescription, Element::ProtocolIdentifier];
    let plan = Plan::with_elements(&template, |element, _| wanted.contains(&element));
    let record = [&[192, 0, 2, 1, 1, b'a', 0, 53, 2, b'b', b'c'][..], &[17]].concat();
    let message = ipfix_message(&[set(256, &record.repeat(2))]);
    let expected: [(Element, &[u8]); 2] =
        [(Element::InterfaceDescription, b"bc"), (Element::ProtocolIdentifier, &[17])];
    assert_eq!(read(&message, &plan), vec![Ok(expected.to_vec()); 2]);
}
