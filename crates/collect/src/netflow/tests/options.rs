//! Options templates and options data.

use super::*;

/// Texts of remarks of a kind.
fn texts(desk: &Desk, kind: RemarkKind) -> Vec<&str> {
    let remarks = desk.kept.remarks.iter().filter(|remark| remark.0 == kind);
    remarks.map(|remark| remark.1.as_str()).collect()
}

#[test]
fn t7_all_options_templates_of_a_flowset_are_learnt() {
    let mut desk = Desk::new();
    let both = [
        v9_options_template(257, &[(1, 4)], &[(34, 4)]),
        v9_options_template(258, &[(2, 4)], &[(48, 1), (50, 4)]),
    ];
    let data = record(&[(2, 4), (48, 1), (50, 4)], &[7, 3, 1_000]);
    desk.take(&v9(&[set(1, &both.concat()), set(258, &data)])).unwrap();
    assert_eq!(
        texts(&desk, RemarkKind::OptionsTemplate),
        [
            "257: scope:System(4) samplingInterval(4)",
            "258: scope:Interface(4) samplerId(1) samplerRandomInterval(4)",
        ]
    );
    let said = ["258: scope:Interface=7 samplerId=3 samplerRandomInterval=1000"];
    assert_eq!(texts(&desk, RemarkKind::Options), said);
}

#[test]
fn t12_cve_2026_48684_lengths_of_options_templates() {
    for lengths in [[3, 4], [0xffff, 4], [4, 2], [0xfffc, 4]] {
        let mut desk = Desk::new();
        let mut body = words(&[257, lengths[0], lengths[1], 1, 4]);
        body.extend(words(&[34, 4]));
        desk.take(&v9(&[set(1, &body), set(257, &[0; 16])])).unwrap();
        assert_eq!(desk.drops(DropReason::TemplateMalformed), 1, "{lengths:?}");
        assert_eq!(texts(&desk, RemarkKind::Options), [""; 0]);
    }
}

#[test]
fn t13_ghsa_ff5f_a_name_without_a_zero_byte_ends_with_its_field() {
    let read = |name: &[u8]| {
        let mut desk = Desk::new();
        let description = v9_options_template(257, &[(2, 4)], &[(83, 128)]);
        let data = [&[0, 0, 0, 7][..], name].concat();
        desk.take(&v9(&[set(1, &description), set(257, &data)])).unwrap();
        desk.kept.remarks.last().unwrap().1.clone()
    };
    let whole = read(&[b'x'; 128]);
    let expected = format!("257: scope:Interface=7 interfaceDescription=\"{}\"", "x".repeat(128));
    assert_eq!(whole, expected);
    let mut short = [0; 128];
    short[..6].copy_from_slice(b"a\x1b[2J\"");
    assert!(read(&short).ends_with(r#"="a\u{1b}[2J\"""#), "what a terminal obeys is escaped");
}

#[test]
fn t21_all_records_of_a_set_are_read() {
    let fields = [(302, 4), (304, 2), (305, 4), (306, 4)];
    let data: Vec<u8> = (1..=3).flat_map(|id| record(&fields, &[id, 1, 1, id * 100 - 1])).collect();
    let mut desk = Desk::new();
    desk.take(&ipfix(&[set(3, &options_template(257, 1, &fields)), set(257, &data)])).unwrap();
    assert_eq!(texts(&desk, RemarkKind::Options).len(), 3);
    let flow = [&BASIC[..], &[(302, 4)]].concat();
    let data: Vec<u8> =
        (1..=3).flat_map(|id| record(&flow, &[&BASIC_VALUES[..], &[id]].concat())).collect();
    desk.take(&ipfix(&[set(2, &template(256, &flow)), set(256, &data)])).unwrap();
    assert_eq!(desk.rates(), [(100, "sampler"), (200, "sampler"), (300, "sampler")]);
}

#[test]
fn t22_enterprise_scopes_and_variable_options() {
    // Scope: element 5 of enterprise 9; options: a name of variable length and an interval.
    let mut body = words(&[257, 3, 1, 0x8005, 4, 0, 9]);
    body.extend(words(&[84, 0xffff, 34, 4]));
    let data = [&[0, 0, 0, 1][..], &[3], b"abc", &[0, 0, 3, 232], &[0, 0, 0, 2, 0, 0, 0, 7, 208]];
    let mut desk = Desk::new();
    desk.take(&ipfix(&[set(3, &body), set(257, &data.concat())])).unwrap();
    assert_eq!(
        texts(&desk, RemarkKind::Options),
        [
            "257: samplerName=\"abc\" samplingInterval=1000",
            "257: samplerName=\"\" samplingInterval=2000",
        ]
    );
    desk.take(&ipfix(&[set(2, &template(256, &BASIC)), set(256, &record(&BASIC, &BASIC_VALUES))]))
        .unwrap();
    assert_eq!(desk.rates(), [(2_000, "exporter")]);
}

#[test]
fn options_records_in_words() {
    let fields = [(130, 4), (131, 16), (56, 6), (311, 8), (36, 2), (82, 4)];
    let mut data = vec![192, 0, 2, 1];
    data.extend(address("2001:db8::1").to_be_bytes());
    data.extend([2, 0, 0, 0, 0, 1]);
    data.extend(0.01_f64.to_be_bytes());
    data.extend([0, 60]);
    data.extend(b"ge-0");
    let mut desk = Desk::new();
    desk.take(&ipfix(&[set(3, &options_template(257, 1, &fields)), set(257, &data)])).unwrap();
    assert_eq!(
        texts(&desk, RemarkKind::Options),
        ["257: scope:exporterIPv4Address=192.0.2.1 exporterIPv6Address=2001:db8::1 \
             sourceMacAddress=2199023255553 samplingProbability=0.01 flowActiveTimeout=60 \
             interfaceName=\"ge-0\""]
    );
}

#[test]
fn a_cut_record_of_options_is_counted() {
    let body = options_template(257, 1, &[(34, 4), (84, 0xffff)]);
    let mut desk = Desk::new();
    desk.take(&ipfix(&[set(3, &body), set(257, &[0, 0, 0, 9, 200, 1, 2])])).unwrap();
    assert_eq!(desk.drops(DropReason::RecordMalformed), 1);
}
