use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidewall_wire::netflow::{MAX_FIELDS, MIN_TEMPLATE_ID, VARIABLE_LENGTH};

use super::*;

fn save(exporters: &[SavedExporter]) -> Vec<u8> {
    let mut image = ImageWriter::new();
    for SavedExporter { key, templates, extra } in exporters {
        image.add(key, templates.iter().map(|saved| (&saved.template, saved.heard)), extra);
    }
    image.finish()
}

fn key(protocol: ExportProtocol) -> ExporterKey {
    let address = IpAddr::from([192, 0, 2, 1]);
    ExporterKey { protocol, address, port: 0, agent: address, domain: 0x0102_0304 }
}

fn template(protocol: Protocol, id: u16) -> Template {
    let field = |element, enterprise, length| FieldSpec { element, enterprise, length };
    let fields = vec![field(8, 0, 4), field(1, 29_305, 8), field(82, 0, VARIABLE_LENGTH)];
    Template::new(protocol, TemplateKind::Options, id, 1, fields).unwrap()
}

fn exporter(protocol: ExportProtocol, templates: &[Template]) -> SavedExporter {
    let heard = Timestamp::from_parts(1_767_571_200, 5);
    let templates = templates.iter().map(|t| SavedTemplate { template: t.clone(), heard });
    SavedExporter { key: key(protocol), templates: templates.collect(), extra: vec![1, 2, 3] }
}

/// Bytes that follow a right header.
fn with_header(body: &[u8]) -> Vec<u8> {
    ImageWriter { body: body.to_vec() }.finish()
}

#[test]
fn the_layout_is_the_one_that_older_files_have() {
    let mut image = ImageWriter::new();
    let fields = vec![FieldSpec { element: 8, enterprise: 9, length: 4 }];
    let template = Template::new(Protocol::V9, TemplateKind::Data, 256, 0, fields).unwrap();
    image.add(&key(ExportProtocol::NetflowV9), [(&template, Timestamp(7))], b"xy");
    let body = [
        &[9, 4, 192, 0, 2, 1, 0, 0, 4, 192, 0, 2, 1, 1, 2, 3, 4][..],
        &[0, 0, 0, 0, 0, 0, 0, 2, b'x', b'y'],
        &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7, 0, 1],
        &[0, 8, 0, 0, 0, 9, 0, 4],
        &[0],
    ]
    .concat();
    let image = image.finish();
    assert_eq!(image[..18], *b"TIDEWTPL\0\x01\0\0\0\0\0\0\0\x33");
    assert_eq!(image[26..], body);
    // The hash's own test values.
    assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
    assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
}

#[test]
fn nothing_saved_is_nothing_loaded() {
    let image = ImageWriter::new().finish();
    assert_eq!(image.len(), HEADER_LENGTH);
    assert_eq!(load(&image), Ok(vec![]));
}

#[test]
fn a_template_of_another_protocol_is_not_saved() {
    let templates = [template(Protocol::V9, 256), template(Protocol::Ipfix, 257)];
    let ids = |protocol| {
        let loaded = load(&save(&[exporter(protocol, &templates)])).unwrap();
        assert_eq!(loaded[0].extra, [1, 2, 3]);
        loaded[0].templates.iter().map(|saved| saved.template.id()).collect::<Vec<_>>()
    };
    assert_eq!(ids(ExportProtocol::NetflowV9), [256]);
    assert_eq!(ids(ExportProtocol::Ipfix), [257]);
    assert_eq!(ids(ExportProtocol::NetflowV5), []);
}

#[test]
fn errors_say_what_is_wrong_and_where() {
    let image = save(&[exporter(ExportProtocol::Ipfix, &[template(Protocol::Ipfix, 256)])]);
    let changed = |at: usize, value: u8| {
        let mut image = image.clone();
        image[at] = value;
        load(&image).unwrap_err()
    };
    assert_eq!(load(b""), Err(SavedError::Magic));
    assert_eq!(changed(3, b'x'), SavedError::Magic);
    assert_eq!(changed(9, 2), SavedError::Version { version: 2 });
    let body = (image.len() - HEADER_LENGTH) as u64;
    assert_eq!(changed(17, 0), SavedError::Length { announced: 0, available: body });
    assert!(matches!(changed(18, image[18] ^ 1), SavedError::Checksum { .. }));
    assert!(matches!(changed(40, image[40] ^ 1), SavedError::Checksum { .. }));
    assert_eq!(load(&image[..12]), Err(SavedError::Cut { offset: 10, needed: 8, available: 2 }));
    let longer = [&image[..], b"x"].concat();
    assert_eq!(load(&longer), Err(SavedError::Length { announced: body, available: body + 1 }));
}

#[test]
fn a_body_that_was_made_up_is_refused_with_its_offset() {
    let right = &save(&[exporter(ExportProtocol::Ipfix, &[template(Protocol::Ipfix, 256)])])[26..];
    let made_up = |at: usize, bytes: &[u8]| {
        let mut body = right.to_vec();
        body[at..at + bytes.len()].copy_from_slice(bytes);
        load(&with_header(&body)).unwrap_err()
    };
    let unknown = |offset, what, value| SavedError::Unknown { offset, what, value };
    assert_eq!(made_up(0, &[7]), unknown(26, "protocol", 7));
    assert_eq!(made_up(1, &[5]), unknown(27, "kind of address", 5));
    assert_eq!(made_up(28, &[3]), unknown(54, "kind of template", 3));
    let protocol = ExportProtocol::Sflow;
    assert_eq!(made_up(0, &[1]), SavedError::Protocol { offset: 54, protocol });
    let id = SavedError::Template { offset: 54, id: 1, reason: TemplateError::Id };
    assert_eq!(made_up(29, &[0, 1]), id);
    let reason = TemplateError::Scopes { scopes: 4, fields: 3 };
    assert_eq!(made_up(31, &[0, 4]), SavedError::Template { offset: 54, id: 256, reason });
    // Extra bytes and fields that are not there, in numbers that no memory has.
    let available = right.len() as u64 - 25;
    let cut = SavedError::Cut { offset: 51, needed: u64::MAX, available };
    assert_eq!(made_up(17, &[255; 8]), cut);
    assert!(matches!(made_up(41, &[255; 2]), SavedError::Cut { .. }));
    // A body that ends anywhere but where an exporter does.
    for end in 1..right.len() {
        let error = load(&with_header(&right[..end])).unwrap_err();
        assert!(matches!(error, SavedError::Cut { .. }), "{end}: {error}");
    }
}

#[test]
fn a_flipped_bit_is_noticed_wherever_it_is() {
    let mut image = save(&[exporter(ExportProtocol::Ipfix, &[template(Protocol::Ipfix, 256)])]);
    for bit in 0..image.len() * 8 {
        image[bit / 8] ^= 1 << (bit % 8);
        assert!(load(&image).is_err(), "bit {bit}");
        image[bit / 8] ^= 1 << (bit % 8);
    }
}

fn any_template(protocol: Protocol) -> impl Strategy<Value = Template> {
    let length = prop_oneof![4 => 1..17_u16, 1 => Just(VARIABLE_LENGTH), 1 => Just(0)];
    let field = (any::<u16>(), any::<u32>(), length)
        .prop_map(|(element, enterprise, length)| FieldSpec { element, enterprise, length });
    let fields = prop_oneof![9 => vec(field.clone(), 1..12), 1 => vec(field, MAX_FIELDS)];
    (MIN_TEMPLATE_ID..=u16::MAX, fields, any::<bool>(), any::<prop::sample::Index>()).prop_map(
        move |(id, mut fields, is_options, scopes)| {
            fields[0].length = 4;
            if is_options {
                let scopes = scopes.index(fields.len() + 1) as u16;
                Template::new(protocol, TemplateKind::Options, id, scopes, fields).unwrap()
            } else {
                Template::new(protocol, TemplateKind::Data, id, 0, fields).unwrap()
            }
        },
    )
}

fn any_exporter() -> impl Strategy<Value = SavedExporter> {
    let protocol = prop_oneof![
        1 => Just(ExportProtocol::Sflow),
        1 => Just(ExportProtocol::NetflowV5),
        4 => Just(ExportProtocol::NetflowV9),
        4 => Just(ExportProtocol::Ipfix),
    ];
    (protocol, any::<(IpAddr, IpAddr, u16, u32)>(), vec(any::<u8>(), 0..40)).prop_flat_map(
        |(protocol, (address, agent, port, domain), extra)| {
            let key = ExporterKey { protocol, address, port, agent, domain };
            let most = if template_protocol(protocol).is_some() { 5 } else { 1 };
            let speaks = template_protocol(protocol).unwrap_or(Protocol::V9);
            let saved = (any_template(speaks), any::<u64>())
                .prop_map(|(template, heard)| SavedTemplate { template, heard: Timestamp(heard) });
            vec(saved, 0..most).prop_map(move |templates| SavedExporter {
                key,
                templates,
                extra: extra.clone(),
            })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        rng_seed: RngSeed::Fixed(0x5a7e),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_saved_is_loaded(exporters in vec(any_exporter(), 0..6)) {
        prop_assert_eq!(load(&save(&exporters)), Ok(exporters));
    }

    #[test]
    fn a_flipped_bit_is_noticed_in_any_image(
        exporters in vec(any_exporter(), 0..4),
        bits in vec(any::<prop::sample::Index>(), 32),
    ) {
        let mut image = save(&exporters);
        for bit in bits {
            let bit = bit.index(image.len() * 8);
            image[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(load(&image).is_err(), "bit {}", bit);
            image[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_cut_is_noticed_wherever_it_is(exporters in vec(any_exporter(), 0..3)) {
        let image = save(&exporters);
        for end in 0..image.len() {
            prop_assert!(load(&image[..end]).is_err(), "{}", end);
        }
    }

    #[test]
    fn made_up_bodies_are_read_or_refused(body in vec(any::<u8>(), 0..300)) {
        if let Ok(exporters) = load(&with_header(&body)) {
            prop_assert_eq!(save(&exporters), with_header(&body));
        }
    }

    /// The checksum does not protect from someone who can write the file.
    #[test]
    fn changed_bodies_are_read_or_refused(
        exporters in vec(any_exporter(), 1..4),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = save(&exporters)[HEADER_LENGTH..].to_vec();
        for (at, value) in changes {
            let at = at.index(body.len());
            body[at] = value;
        }
        if let Ok(exporters) = load(&with_header(&body)) {
            prop_assert_eq!(save(&exporters), with_header(&body));
        }
    }
}
