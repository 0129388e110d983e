//! Which sets are reached, which templates are used, and what is counted where something is wrong.

use super::*;

fn basic(number: usize) -> Vec<u8> {
    record(&BASIC, &BASIC_VALUES).repeat(number)
}

#[test]
fn t5_a_template_serves_the_data_behind_it_in_the_same_datagram() {
    let mut desk = Desk::new();
    desk.take(&v9(&[set(0, &template(256, &BASIC)), set(256, &basic(2))])).unwrap();
    assert_eq!(desk.flows().len(), 2);
    let flow = desk.flows()[1];
    assert_eq!((flow.src, flow.dst), (address("198.51.100.1"), address("10.0.0.1")));
    assert_eq!((flow.src_port, flow.dst_port, flow.protocol), (1024, 53, 17));
    assert_eq!((flow.packets, flow.bytes, flow.seq), (3, 300, 1));
    assert_eq!(desk.collector.drops().total(), 0);
}

#[test]
fn t6_data_waits_for_its_template() {
    let mut desk = Desk::new();
    desk.take(&v9(&[set(256, &basic(3))])).unwrap();
    assert_eq!(desk.flows().len(), 0);
    let early = desk.now;
    desk.now = Timestamp::from_parts(early.seconds() + 2, 0);
    desk.take(&v9(&[set(0, &template(256, &BASIC))])).unwrap();
    assert_eq!(desk.flows().len(), 3);
    let (record, detail) = desk.kept.flows[0];
    assert_eq!(record.time, early, "credited to when it came");
    assert_eq!(detail.note, FlowNote::HELD);
    desk.take(&v9(&[set(0, &template(256, &BASIC))])).unwrap();
    assert_eq!(desk.flows().len(), 3, "once");
    assert_eq!(desk.collector.drops().total(), 0);
}

#[test]
fn data_whose_template_never_comes_is_counted() {
    let mut desk = Desk::new();
    desk.take(&v9(&[set(256, &basic(3))])).unwrap();
    let later = Timestamp::from_parts(desk.now.seconds() + 3_600, 0);
    desk.collector.advance(later);
    assert_eq!(desk.drops(DropReason::NoTemplate), 1);
}

#[test]
fn t9_a_reserved_set_is_passed_over() {
    let mut desk = Desk::new();
    let sets = [set(0, &template(256, &BASIC)), set(5, &[1, 2, 3, 4]), set(256, &basic(1))];
    desk.take(&v9(&sets)).unwrap();
    assert_eq!(desk.flows().len(), 1);
    assert_eq!(desk.drops(DropReason::SetMalformed), 1);
}

#[test]
fn t10_the_count_of_a_v9_header_bounds_nothing() {
    for count in [0, 1, 9, 0xffff] {
        let mut desk = Desk::new();
        let mut packet =
            v9(&[set(0, &template(256, &BASIC)), set(256, &basic(4)), set(256, &basic(5))]);
        packet[2..4].copy_from_slice(&u16::to_be_bytes(count));
        desk.take(&packet).unwrap();
        assert_eq!(desk.flows().len(), 9, "count {count}");
    }
}

#[test]
fn t11_templates_and_sets_that_cannot_be() {
    let no_length = template(256, &[(8, 0), (12, 0)]);
    let too_many = words(&[256, 3, 8, 4]);
    for body in [no_length, too_many] {
        let mut desk = Desk::new();
        desk.take(&v9(&[set(0, &body), set(256, &basic(1))])).unwrap();
        assert_eq!(desk.drops(DropReason::TemplateMalformed), 1);
        assert_eq!(desk.flows().len(), 0);
    }
    for length in [0, 1, 3, 9] {
        let mut desk = Desk::new();
        desk.take(&v9(&[words(&[0, length])])).unwrap();
        assert_eq!(desk.drops(DropReason::SetMalformed), 1, "length {length}");
    }
    let mut desk = Desk::new();
    desk.take(&v9(&[])).unwrap();
    desk.take(&ipfix(&[])).unwrap();
    assert_eq!(desk.collector.drops().total(), 0, "a header alone is not wrong");
}

#[test]
fn datagrams_that_end_inside_a_header_or_a_set_header() {
    // Issues 1029 and 1030 of the reference: 1 to 3 bytes of a set header.
    for extra in 1..4 {
        let mut desk = Desk::new();
        let mut packet = v9(&[set(0, &template(256, &BASIC))]);
        packet.extend(&[1, 0, 0][..extra]);
        desk.take(&packet).unwrap();
        let mut message = ipfix(&[set(2, &template(256, &BASIC))]);
        message.extend(&[1, 0, 0][..extra]);
        let length = message.len() as u16;
        message[2..4].copy_from_slice(&length.to_be_bytes());
        desk.take(&message).unwrap();
        assert_eq!(desk.drops(DropReason::SetMalformed), 2);
    }
    let mut desk = Desk::new();
    assert_eq!(desk.take(&[]), Err(DropReason::DatagramCut));
    assert_eq!(desk.take(&[9]), Err(DropReason::DatagramCut));
    assert_eq!(desk.take(&v9(&[])[..19]), Err(DropReason::DatagramCut));
    assert_eq!(desk.take(&words(&[7, 1, 2])), Err(DropReason::DatagramVersion));
    assert_eq!(desk.collector.drops().total(), 4);
}

#[test]
fn cve_2026_48683_records_end_with_their_set() {
    let mut desk = Desk::new();
    let cut = &basic(2)[..basic(2).len() - 1];
    desk.take(&v9(&[set(0, &template(256, &BASIC)), set(256, cut)])).unwrap();
    assert_eq!(desk.flows().len(), 1, "what is left is padding");
    let many = basic(2_000);
    desk.take(&v9(&[set(256, &many)])).unwrap();
    assert_eq!(desk.flows().len(), 2_001, "no bound but the set's");
}

#[test]
fn ghsa_ph88_a_template_that_changes_is_used_from_then_on() {
    let mut desk = Desk::new();
    let swapped: Vec<Spec> = BASIC
        .iter()
        .map(|&(e, l)| {
            (
                if e == 8 {
                    12
                } else if e == 12 {
                    8
                } else {
                    e
                },
                l,
            )
        })
        .collect();
    let sets = [
        set(0, &template(256, &BASIC)),
        set(256, &basic(1)),
        set(0, &template(256, &swapped)),
        set(256, &basic(1)),
    ];
    desk.take(&v9(&sets)).unwrap();
    let flows = desk.flows();
    assert_eq!((flows[0].src, flows[0].dst), (flows[1].dst, flows[1].src));
}

#[test]
fn t17_an_unknown_template_does_not_hide_the_set_behind_it() {
    let mut desk = Desk::new();
    let sets = [set(300, &[0; 40]), set(2, &template(256, &BASIC)), set(256, &basic(1))];
    desk.take(&ipfix(&sets)).unwrap();
    assert_eq!(desk.flows().len(), 1);
}

#[test]
fn t23_withdrawn_templates_are_gone() {
    for withdrawal in [words(&[256, 0]), words(&[2, 0])] {
        let mut desk = Desk::new();
        desk.take(&ipfix(&[set(2, &template(256, &BASIC)), set(256, &basic(1))])).unwrap();
        desk.take(&ipfix(&[set(2, &withdrawal), set(256, &basic(1))])).unwrap();
        assert_eq!(desk.flows().len(), 1);
        assert_eq!(desk.kept.remarks.last().unwrap().0, RemarkKind::Withdrawal);
        desk.collector.advance(Timestamp::from_parts(desk.now.seconds() + 3_600, 0));
        assert_eq!(desk.drops(DropReason::NoTemplate), 1);
    }
}

#[test]
fn t29_message_lengths_and_many_sets() {
    let mut desk = Desk::new();
    let whole = ipfix(&[set(2, &template(256, &BASIC)), set(256, &basic(1))]);
    assert_eq!(desk.take(&whole[..whole.len() - 1]), Err(DropReason::DatagramMalformed));
    let longer = [whole.as_slice(), &[0xff; 7]].concat();
    desk.take(&longer).unwrap();
    assert_eq!(desk.flows().len(), 1, "the message ends where it says");
    let mut desk = Desk::new();
    desk.take(&ipfix(&vec![set(300, &[]); 257])).unwrap();
    assert_eq!(desk.drops(DropReason::SetMalformed), 1, "the 257th");
}

#[test]
fn exporters_do_not_share_templates() {
    let mut desk = Desk::new();
    let (head, data) = (set(2, &template(256, &BASIC)), set(256, &basic(1)));
    desk.take_from("192.0.2.1:5000", &ipfix_of(1, 0, &[head])).unwrap();
    let strangers = [
        ("192.0.2.2:5000", ipfix_of(1, 0, std::slice::from_ref(&data))),
        ("192.0.2.1:5001", ipfix_of(1, 0, std::slice::from_ref(&data))),
        ("192.0.2.1:5000", ipfix_of(2, 0, std::slice::from_ref(&data))),
        ("192.0.2.1:5000", v9_of(1, 0, std::slice::from_ref(&data))),
    ];
    for (from, datagram) in strangers {
        desk.take_from(from, &datagram).unwrap();
        assert_eq!(desk.flows().len(), 0, "{from}");
    }
    desk.take_from("192.0.2.1:5000", &ipfix_of(1, 0, std::slice::from_ref(&data))).unwrap();
    assert_eq!(desk.flows().len(), 1);
    // The port is no part of a v9 exporter, and a mapped address is the IPv4 one (T52).
    desk.take_from("192.0.2.9:1", &v9_of(1, 0, &[set(0, &template(256, &BASIC))])).unwrap();
    desk.take_from("[::ffff:192.0.2.9]:2", &v9_of(1, 0, &[data])).unwrap();
    assert_eq!(desk.flows().len(), 2);
    assert_eq!(desk.collector.exporters().count(), 6);
}

#[test]
fn an_exporter_that_takes_anothers_place_takes_no_templates() {
    let limits = ExporterLimits { exporters: 1, silent: Duration::from_secs(10) };
    let settings = NetflowSettings { exporters: limits, ..NetflowSettings::default() };
    let mut desk = Desk::with(settings);
    desk.take(&v9(&[set(0, &template(256, &BASIC))])).unwrap();
    let data = v9(&[set(256, &basic(1))]);
    assert_eq!(desk.take_from("192.0.2.2:1", &data), Err(DropReason::TooManyExporters));
    desk.now = Timestamp::from_parts(desk.now.seconds() + 60, 0);
    desk.take_from("192.0.2.2:1", &data).unwrap();
    assert_eq!(desk.flows().len(), 0);
}

#[test]
fn remarks_tell_of_templates_and_errors() {
    let mut desk = Desk::new();
    let fields = words(&[0x8001, 8, 0, 29_305, 0x8007, 0xffff, 0, 9]);
    let body = [words(&[256, 3, 8, 4]), words(&fields_of(&fields))].concat();
    desk.take(&ipfix(&[set(2, &body), set(5, &[])])).unwrap();
    let expected = "256: sourceIPv4Address(4) reverse:octetDeltaCount(8) 9/7(variable)";
    assert_eq!(desk.kept.remarks[0], (RemarkKind::Template, expected.to_owned()));
    assert_eq!(desk.kept.remarks[1].0, RemarkKind::Error);
    assert!(desk.kept.remarks[1].1.contains("reserved id 5"), "{:?}", desk.kept.remarks);
}

/// Enterprise numbers take two words.
fn fields_of(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
}
