//! Properties over cut, mutated and random datagrams, read in sequence against one set of
//! templates. What must hold for each of them is asserted by `Store`.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::store::{Counts, Store};
use super::*;

/// Templates of data and of options, their records, some of variable length, and a withdrawal.
fn v9_session() -> Vec<Vec<u8>> {
    let options = words(&[257, 4, 8, 2, 2, 48, 1, 50, 4]);
    let both = [words(&[256, 3, 8, 4, 1, 8, 82, 0xffff]), words(&[258, 2, 27, 16, 33, 2])].concat();
    let mut named: Vec<u8> = (0..12).collect();
    named.extend([2, b'g', b'e']);
    vec![
        v9_packet(3, &[set(0, &both), set(1, &options), set(256, &named.repeat(2))]),
        v9_packet(5, &[set(257, &[7; 16]), set(258, &[8; 38]), set(5, &[0; 4]), set(256, &named)]),
    ]
}

fn ipfix_session() -> Vec<Vec<u8>> {
    let data = words(&[256, 4, 0x8001, 8, 0, 29_305, 315, 0xffff, 33, 2, 4, 1]);
    let options = words(&[300, 3, 2, 0x8001, 2, 0, 9, 302, 2, 305, 4, 0]);
    let record = [vec![5; 8], vec![3, 1, 2, 3], vec![9, 9, 17]].concat();
    let longer = [vec![6; 8], vec![255, 0, 4, 1, 2, 3, 4], vec![9, 9, 6]].concat();
    let body = [record, longer, vec![0; 2]].concat();
    vec![
        ipfix_message(&[set(2, &data), set(3, &options), set(256, &body), set(300, &[1; 19])]),
        ipfix_message(&[set(2, &words(&[256, 0])), set(256, &body), set(300, &[2; 8])]),
        ipfix_message(&[set(3, &words(&[3, 0])), set(2, &words(&[256, 1, 4, 1])), set(256, &body)]),
    ]
}

fn counts(session: &[Vec<u8>]) -> Counts {
    let mut store = Store::default();
    for datagram in session {
        store.ingest(1, datagram);
    }
    store.counts
}

#[test]
fn the_sessions_are_what_they_look_like() {
    let expected = Counts {
        templates: 2,
        options_templates: 1,
        data_records: 5,
        options_records: 2,
        undecoded_sets: 0,
        packets: 0,
        octets: 3 * 0x0405_0607_0809_0a0b,
        errors: vec![NetflowError::ReservedSet { offset: 82, id: 5 }],
    };
    assert_eq!(counts(&v9_session()), expected);
    // The body is 35 bytes: two records by the first template, 35 by the last.
    let expected = Counts {
        templates: 2,
        options_templates: 1,
        data_records: 2 + 35,
        options_records: 2 + 1,
        undecoded_sets: 1,
        packets: 0,
        octets: 0,
        errors: vec![],
    };
    assert_eq!(counts(&ipfix_session()), expected);
}

/// Of a datagram that is cut, the sets in front of the cut are read as ever. An IPFIX message is
/// refused as a whole unless it states the length that is left.
#[test]
fn cut_at_every_byte() {
    for session in [v9_session(), ipfix_session()] {
        for datagram in &session {
            let all: Vec<_> = sets(datagram).flatten().map(|set| (set.id, set.offset())).collect();
            for length in 0..datagram.len() {
                let mut cut = datagram[..length].to_vec();
                counts(&[cut.clone()]);
                if cut.first() == Some(&0) && cut.get(1) == Some(&10) && length >= 16 {
                    assert!(matches!(parse(&cut), Err(NetflowError::MessageLength { .. })));
                    cut[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                }
                if parse(&cut).is_err() {
                    assert!(length < 20, "a header of {length} bytes");
                    continue;
                }
                let found: Vec<_> =
                    sets(&cut).flatten().map(|set| (set.id, set.offset())).collect();
                assert_eq!(found, all[..found.len()]);
                let errors = |data: &[u8]| sets(data).filter(Result::is_err).count();
                assert!(errors(&cut) <= errors(datagram) + 1);
                counts(&[session[0].clone(), cut]);
            }
        }
    }
}

/// The same cases on every run.
fn config() -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(0x6e66_6c6f_7700);
    ProptestConfig { rng_seed, failure_persistence: None, cases: 512, ..ProptestConfig::default() }
}

fn spec(protocol: Protocol) -> impl Strategy<Value = FieldSpec> {
    let element = prop_oneof![1_u16..420, any::<u16>()];
    let enterprise = prop_oneof![3 => Just(0), 1 => Just(REVERSE_ENTERPRISE), 1 => any::<u32>()];
    let length = prop_oneof![4 => 0_u16..17, 1 => Just(VARIABLE_LENGTH)];
    (element, enterprise, length).prop_map(move |(element, enterprise, length)| match protocol {
        Protocol::V9 => FieldSpec { element, enterprise: 0, length },
        Protocol::Ipfix => FieldSpec { element: element & 0x7fff, enterprise, length },
    })
}

/// A template of either protocol and kind.
fn any_template() -> impl Strategy<Value = Template> {
    let protocol = prop_oneof![Just(Protocol::V9), Just(Protocol::Ipfix)];
    let kind = prop_oneof![Just(TemplateKind::Data), Just(TemplateKind::Options)];
    (protocol, kind).prop_flat_map(|(protocol, kind)| {
        let fields = proptest::collection::vec(spec(protocol), 1..30);
        (fields, any::<u16>(), MIN_TEMPLATE_ID..).prop_filter_map(
            "records have a length",
            move |(fields, scopes, id)| {
                let scopes = scopes % (fields.len() as u16 + 1);
                let scopes = if kind == TemplateKind::Options { scopes } else { 0 };
                Template::new(protocol, kind, id, scopes, fields).ok()
            },
        )
    })
}

/// A template as it is sent, in its set.
fn written(template: &Template) -> Vec<u8> {
    let (scopes, fields) = (template.scope_count(), template.fields().len() as u16);
    let mut body = match (template.protocol(), template.kind()) {
        (_, TemplateKind::Data) => words(&[template.id(), fields]),
        (Protocol::V9, _) => words(&[template.id(), scopes * 4, (fields - scopes) * 4]),
        (Protocol::Ipfix, _) => words(&[template.id(), fields, scopes]),
    };
    for spec in template.fields() {
        let enterprise = spec.enterprise.to_be_bytes();
        if spec.enterprise == 0 {
            body.extend(words(&[spec.element, spec.length]));
        } else {
            body.extend(words(&[spec.element | 0x8000, spec.length]));
            body.extend(enterprise);
        }
    }
    let options = u16::from(template.kind() == TemplateKind::Options);
    match template.protocol() {
        Protocol::V9 => set(options, &body),
        Protocol::Ipfix => set(2 + options, &body),
    }
}

fn datagram(protocol: Protocol, sets: &[Vec<u8>]) -> Vec<u8> {
    match protocol {
        Protocol::V9 => v9_packet(sets.len() as u16, sets),
        Protocol::Ipfix => ipfix_message(sets),
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_template_that_is_written_is_read(template in any_template()) {
        let sent = datagram(template.protocol(), &[written(&template)]);
        prop_assert_eq!(super::template(&sent), template);
    }

    #[test]
    fn any_bytes_are_read_through_any_template(
        template in any_template(),
        body in proptest::collection::vec(prop_oneof![0_u8..4, any::<u8>(), Just(255)], 0..300),
    ) {
        let sets = [written(&template), set(template.id(), &body)];
        let counts = counts(&[datagram(template.protocol(), &sets)]);
        prop_assert_eq!(counts.undecoded_sets, 0);
        if let Some(length) = Plan::new(&template).fixed_length() {
            let records = body.len() / usize::from(length);
            prop_assert_eq!(counts.data_records + counts.options_records, records);
            prop_assert_eq!(counts.errors, vec![]);
        }
    }

    #[test]
    fn random_datagrams(
        datagrams in proptest::collection::vec(
            (prop_oneof![Just(5_u8), Just(9), Just(10), any::<u8>()],
             proptest::collection::vec(prop_oneof![0_u8..5, any::<u8>()], 0..200)),
            1..8,
        ),
    ) {
        let session: Vec<_> = datagrams
            .into_iter()
            .map(|(version, body)| [vec![0, version], body].concat())
            .collect();
        counts(&session);
    }

    #[test]
    fn mutated_sessions(
        v9: bool,
        mutations in proptest::collection::vec((0_usize..3, any::<usize>(), any::<u8>()), 1..6),
    ) {
        let mut session = if v9 { v9_session() } else { ipfix_session() };
        for (which, position, byte) in mutations {
            let which = which % session.len();
            let position = position % session[which].len();
            session[which][position] = byte;
        }
        counts(&session);
    }
}
