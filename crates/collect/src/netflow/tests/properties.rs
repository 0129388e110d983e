//! What holds for any bytes.

use proptest::prelude::*;

use super::*;

/// A datagram that looks like one, with sets of templates and data of a few ids.
fn datagram() -> impl Strategy<Value = Vec<u8>> {
    let element = prop_oneof![
        prop::sample::select(vec![
            1_u16, 2, 4, 6, 7, 8, 10, 11, 12, 21, 22, 27, 28, 34, 48, 50, 58, 85, 86, 88, 89, 104,
            132, 133, 152, 153, 154, 156, 158, 160, 161, 230, 231, 232, 233, 305, 306, 313, 315,
            318, 319,
        ]),
        any::<u16>(),
    ];
    let length = prop_oneof![0_u16..20, Just(0xffff)];
    let fields = prop::collection::vec((element, length), 0..12);
    let id = 256_u16..260;
    let define = (id.clone(), fields.clone()).prop_map(|(id, fields)| (2, template(id, &fields)));
    let options = (id.clone(), 0_u16..4, fields)
        .prop_map(|(id, scopes, fields)| (3, options_template(id, scopes, &fields)));
    let data = (id, prop::collection::vec(any::<u8>(), 0..200));
    let noise = (any::<u16>(), prop::collection::vec(any::<u8>(), 0..60));
    let sets = prop::collection::vec(prop_oneof![define, options, data, noise], 0..6);
    (any::<bool>(), 0_u32..2, sets).prop_map(|(old, domain, sets)| {
        let sets = sets.into_iter().map(|(id, body)| {
            let id = if old && (id == 2 || id == 3) { id - 2 } else { id };
            set(id, &body)
        });
        let sets: Vec<Vec<u8>> = sets.collect();
        if old { v9_of(domain, 0, &sets) } else { ipfix_of(domain, 0, &sets) }
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_algorithm: prop::test_runner::RngAlgorithm::ChaCha,
        rng_seed: prop::test_runner::RngSeed::Fixed(0x7469_6465),
        cases: 512,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// No panic, the same records whether details are wanted or not (`Desk::take` asserts it), and
    /// only records that count something.
    #[test]
    fn sequences_of_datagrams(datagrams in prop::collection::vec(datagram(), 1..12)) {
        let mut desk = Desk::new();
        for datagram in &datagrams {
            desk.now = Timestamp(desk.now.0 + 700_000_000);
            let _ = desk.take(datagram);
            desk.collector.advance(desk.now);
            desk.plain.advance(desk.now);
        }
        for (record, detail) in &desk.kept.flows {
            prop_assert!(record.packets > 0);
            let packet = detail.note.has(FlowNote::PACKET);
            prop_assert!(packet || record.src | record.dst != 0);
            let ordered = detail.start.zip(detail.end).is_none_or(|(start, end)| start <= end);
            prop_assert!(ordered);
        }
        prop_assert_eq!(desk.collector.flows(), desk.kept.flows.len() as u64);
        prop_assert_eq!(desk.collector.datagrams(), datagrams.len() as u64);
    }

    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), version in 0_u16..12) {
        let mut desk = Desk::new();
        let _ = desk.take(&bytes);
        let _ = desk.take(&[&version.to_be_bytes()[..], &bytes].concat());
    }
}
