//! Datagrams written by hand, and what is read from them.

mod corpus;
mod ipfix;
mod plan;
mod properties;
mod store;
mod v5;
mod v9;

use super::*;
use crate::cursor::Cut;

/// A v9 export packet with these flowsets; `count` is what a router writes, the records.
fn v9_packet(count: u16, sets: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = [9, count].map(u16::to_be_bytes).concat();
    packet.extend([1_000_u32, 1_700_000_000, 7, 42].map(u32::to_be_bytes).concat());
    packet.extend(sets.concat());
    packet
}

/// An IPFIX message with these sets, its length right.
fn ipfix_message(sets: &[Vec<u8>]) -> Vec<u8> {
    let body = sets.concat();
    let mut message = [10, 16 + body.len() as u16].map(u16::to_be_bytes).concat();
    message.extend([1_700_000_000_u32, 7, 42].map(u32::to_be_bytes).concat());
    message.extend(body);
    message
}

/// A set around `body`, its length right.
fn set(id: u16, body: &[u8]) -> Vec<u8> {
    let mut set = [id, 4 + body.len() as u16].map(u16::to_be_bytes).concat();
    set.extend(body);
    set
}

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn sets(datagram: &[u8]) -> Sets<'_> {
    match parse(datagram) {
        Ok(Datagram::V9(packet)) => packet.sets(),
        Ok(Datagram::Ipfix(message)) => message.sets(),
        other => panic!("no sets: {other:?}"),
    }
}

/// The templates and errors of a datagram's only set.
fn templates(datagram: &[u8]) -> Vec<Result<TemplateRecord, NetflowError>> {
    let mut sets = sets(datagram);
    let set = sets.next().unwrap().unwrap();
    assert!(sets.next().is_none());
    set.templates().collect()
}

/// The only template of a datagram.
fn template(datagram: &[u8]) -> Template {
    match templates(datagram).as_slice() {
        [Ok(TemplateRecord::Definition(template))] => template.clone(),
        other => panic!("{other:?}"),
    }
}

/// Fields of IANA's elements: number and length each.
fn specs(fields: &[(u16, u16)]) -> Vec<FieldSpec> {
    let spec = |&(element, length)| FieldSpec { element, enterprise: 0, length };
    fields.iter().map(spec).collect()
}

fn data_plan(protocol: Protocol, fields: &[(u16, u16)]) -> Plan {
    Plan::new(&Template::new(protocol, TemplateKind::Data, 256, 0, specs(fields)).unwrap())
}

/// Known elements of a record with their values.
type Values<'a> = Vec<(Element, &'a [u8])>;

/// Known fields of each record of the first set of a datagram, or the error.
fn read<'a>(datagram: &'a [u8], plan: &Plan) -> Vec<Result<Values<'a>, NetflowError>> {
    let set = sets(datagram).next().unwrap().unwrap();
    let fields = |record: Record<'a, '_>| record.fields().map(|f| (f.element, f.value)).collect();
    set.records(plan).map(|record| record.map(fields)).collect()
}

#[test]
fn the_version_decides_and_others_are_refused() {
    assert_eq!(parse(&[]).unwrap_err(), header_cut(0, 2, 0));
    assert_eq!(parse(&[0]).unwrap_err(), header_cut(0, 2, 1));
    for version in [0, 1, 4, 6, 7, 8, 11, 0x0500] {
        let refused = parse(&words(&[version, 1, 0, 0])).unwrap_err();
        assert_eq!(refused, NetflowError::Version { version });
    }
    let message = ipfix_message(&[]);
    assert_eq!(
        super::v9::Packet::parse(&message).unwrap_err(),
        NetflowError::Version { version: 10 }
    );
    assert_eq!(
        super::v5::Packet::parse(&message).unwrap_err(),
        NetflowError::Version { version: 10 }
    );
}

fn header_cut(offset: u32, needed: u32, available: u32) -> NetflowError {
    NetflowError::HeaderCut(Cut { offset, needed, available })
}

#[test]
fn numbers_of_reduced_size() {
    assert_eq!(read_uint(&[]), None);
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    let mut expected = 0;
    for length in 1..=8 {
        expected = expected << 8 | length as u64;
        assert_eq!(read_uint(&bytes[..length]), Some(expected), "{length} bytes");
    }
    assert_eq!(read_uint(&bytes), None);
    assert_eq!(read_uint(&[0xff; 8]), Some(u64::MAX));
    assert_eq!(read_float(&0.001_f64.to_be_bytes()), Some(0.001));
    assert_eq!(read_float(&0.25_f32.to_be_bytes()), Some(0.25));
    assert_eq!(read_float(&[0; 3]), None);
}

#[test]
fn ntp_time_stamps() {
    let unix_epoch = 2_208_988_800_u64 << 32;
    assert_eq!(ntp_to_unix_nanoseconds(unix_epoch), 0);
    assert_eq!(ntp_to_unix_nanoseconds(unix_epoch + (1 << 31)), 500_000_000);
    assert_eq!(
        ntp_to_unix_nanoseconds(unix_epoch + (1_700_000_000 << 32)),
        1_700_000_000 * 1_000_000_000
    );
    let last_of_era = ntp_to_unix_nanoseconds(0xffff_ffff << 32);
    assert_eq!(ntp_to_unix_nanoseconds(0), last_of_era + 1_000_000_000, "2036 follows 2036");
    assert_eq!(ntp_to_unix_nanoseconds(1 << 63), 0, "1968 is before the epoch");
    assert_eq!(
        ntp_to_unix_nanoseconds(u64::MAX >> 1).checked_div(1_000_000_000),
        Some(4_233_462_143)
    );
}

#[test]
fn elements_are_found_by_their_number_alone() {
    for &element in Element::NUMBERED {
        assert_eq!(Element::of(element.number()), Some(element));
    }
    let found = (0..=u16::MAX).filter_map(Element::of).count();
    assert_eq!(found, Element::NUMBERED.len());
    for (number, name) in [
        (1, "octetDeltaCount"),
        (34, "samplingInterval"),
        (58, "vlanId"),
        (89, "forwardingStatus"),
        (136, "flowEndReason"),
        (152, "flowStartMilliseconds"),
        (178, "icmpTypeIPv6"),
        (192, "ipTTL"),
        (197, "fragmentFlags"),
        (230, "natEvent"),
        (298, "initiatorPackets"),
        (311, "samplingProbability"),
        (315, "dataLinkFrameSection"),
        (410, "sectionExportedOctets"),
    ] {
        assert_eq!(Element::of(number).map(Element::name), Some(name));
    }
    for structured in 291..=293 {
        assert_eq!(Element::of(structured), None, "lists are passed over");
    }
    assert_eq!(Element::of_v9_scope(2), Some(Element::ScopeInterface));
    assert_eq!(Element::of_v9_scope(48), Some(Element::SamplerId));
    assert_eq!(Element::of_v9_scope(0), None);
}
