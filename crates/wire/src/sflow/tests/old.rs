//! Versions 2 and 4.

use super::build::old_datagram;
use super::*;

/// A flow sample up to its extended data: a raw header that needs padding.
fn header_sample(extended: &[Vec<u8>]) -> Vec<u8> {
    Bytes::new()
        .words(&[1, 77, 0x0200_0304, 400, 31_000, 5, 10, 0x8000_0002])
        .words(&[1, 1, 1518])
        .opaque(&frame()[..53])
        .word(extended.len() as u32)
        .bytes(&extended.concat())
        .done()
}

fn counter_sample(kind: u32, bytes: usize) -> Vec<u8> {
    let words: Vec<u32> = (1..=bytes as u32 / 4).collect();
    Bytes::new().words(&[2, 9, 5, 30, kind]).words(&words).done()
}

fn records<'a>(sample: &FlowSample<'a>) -> Vec<FlowData<'a>> {
    sample.records().collect::<Result<_, _>>().unwrap()
}

#[test]
fn header_and_raw_header_sample() {
    for (number, version) in [(2, Version::V2), (4, Version::V4)] {
        let data = old_datagram(number, &[header_sample(&[]), header_sample(&[])]);
        let parsed = Datagram::parse(&data).unwrap();
        assert_eq!(parsed.version, version);
        assert_eq!(parsed.agent, Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!((parsed.sub_agent, parsed.sequence, parsed.uptime_ms), (0, 1000, 123_456));
        let mut read = parsed.samples();
        for _ in 0..2 {
            let Some(Ok(Sample::Flow(sample))) = read.next() else { panic!("not a flow sample") };
            assert_eq!(sample.source, DataSource { class: 2, index: 0x0304 });
            assert_eq!((sample.sequence, sample.sampling_rate, sample.drops), (77, 400, 5));
            assert_eq!(sample.sample_pool, 31_000);
            assert_eq!(
                (sample.input, sample.output),
                (Interface::Index(10), Interface::Multiple(2))
            );
            let [FlowData::Header(raw)] = records(&sample)[..] else { panic!("not a header") };
            assert_eq!((raw.protocol, raw.frame_length), (HeaderProtocol::ETHERNET, 1518));
            assert_eq!(raw.stripped, 0);
            assert_eq!(raw.header, &frame()[..53]);
        }
        assert_eq!((read.next(), read.trailing(), read.lost()), (None, 0, 0));
    }
}

#[test]
fn ip_packet_data() {
    let front = [1, 77, 1, 400, 31_000, 5, 0, 20];
    let v4 = Bytes::new()
        .words(&front)
        .words(&[2, 1400, 17, 0xc000_0201, 0xc633_6407, 53, 40_000, 0, 0x28, 0])
        .done();
    let v6 = Bytes::new()
        .words(&front)
        .words(&[3, 1280, 6])
        .bytes(&[0x20; 16])
        .bytes(&[0x30; 16])
        .words(&[443, 50_000, 0x12, 0, 0])
        .done();
    let data = old_datagram(4, &[v4, v6]);
    let read = samples(&data);
    let [Sample::Flow(first), Sample::Flow(second)] = &read[..] else { panic!("not flows") };
    assert_eq!(first.input, Interface::Unknown);
    let [FlowData::Ip(ip)] = records(first)[..] else { panic!("not ip") };
    assert_eq!((ip.src, ip.dst), (IpAddr::from([192, 0, 2, 1]), IpAddr::from([198, 51, 100, 7])));
    assert_eq!((ip.length, ip.protocol, ip.tos), (1400, 17, 0x28));
    let [FlowData::Ip(ip)] = records(second)[..] else { panic!("not ip") };
    assert_eq!((ip.src, ip.dst), (IpAddr::from([0x20; 16]), IpAddr::from([0x30; 16])));
    assert_eq!((ip.src_port, ip.dst_port, ip.tcp_flags), (443, 50_000, 0x12));
}

#[test]
fn extended_data_of_version_4() {
    let switch = Bytes::new().words(&[1, 100, 1, 200, 2]).done();
    let router = Bytes::new().words(&[2, 1, 0xc000_0201, 24, 16]).done();
    let gateway = Bytes::new()
        .words(&[3, 64_500, 64_501, 64_502, 1, 2, 2, 65_001, 65_002, 1, 77, 120])
        .done();
    let user = Bytes::new().word(4).opaque(b"alice").opaque(b"bob").done();
    let url = Bytes::new().words(&[5, 1]).opaque(b"/index").done();
    let data = old_datagram(
        4,
        &[header_sample(&[switch, router, gateway, user, url]), header_sample(&[])],
    );
    let read = samples(&data);
    let Sample::Flow(sample) = &read[0] else { panic!("not a flow sample") };
    let found = records(sample);
    assert_eq!(found.len(), 6);
    assert!(matches!(found[1], FlowData::Switch(SwitchData { dst_vlan: 200, .. })));
    assert!(matches!(found[2], FlowData::Router(RouterData { src_mask_bits: 24, .. })));
    let FlowData::Gateway(gateway) = found[3] else { panic!("not a gateway") };
    assert_eq!((gateway.next_hop, gateway.own_as), (None, 64_500));
    assert_eq!(
        (gateway.destination_peer_as(), gateway.destination_as()),
        (Some(65_001), Some(65_002))
    );
    assert_eq!((gateway.communities.first(), gateway.local_pref), (Some(77), 120));
    let user = Bytes::new().opaque(b"alice").opaque(b"bob").done();
    let format = DataFormat::standard(1004);
    assert_eq!(found[4], FlowData::Other { format, data: &user });
    assert!(matches!(found[5], FlowData::Other { format, .. } if format.format == 1005));
    assert_eq!(read[1], *samples(&data).last().unwrap());
    assert!(matches!(&read[1], Sample::Flow(second) if records(second).len() == 1));
}

#[test]
fn the_gateway_of_version_2_has_a_plain_path() {
    let gateway =
        Bytes::new().words(&[3, 64_500, 64_501, 64_502, 3, 65_001, 65_002, 65_003]).done();
    let data = old_datagram(2, &[header_sample(&[gateway]), header_sample(&[])]);
    let read = samples(&data);
    assert_eq!(read.len(), 2);
    let Sample::Flow(sample) = &read[0] else { panic!("not a flow sample") };
    let FlowData::Gateway(gateway) = records(sample)[1] else { panic!("not a gateway") };
    assert_eq!(
        (gateway.own_as, gateway.source_as, gateway.source_peer_as),
        (64_500, 64_501, 64_502)
    );
    assert_eq!(gateway.destination_path.segments().count(), 1);
    assert_eq!(
        (gateway.destination_peer_as(), gateway.destination_as()),
        (Some(65_001), Some(65_003))
    );
    assert!(gateway.communities.is_empty());
}

#[test]
fn counters_of_every_kind() {
    // Kind, bytes in front of its group, the group's number in version 5 and its length.
    let kinds = [
        (1, 88, None),
        (2, 88, Some((2, 52))),
        (3, 88, Some((3, 72))),
        (4, 88, None),
        (5, 88, Some((4, 80))),
        (6, 88, None),
        (7, 0, Some((5, 28))),
    ];
    for (kind, generic, group) in kinds {
        let bytes = generic + group.map_or(0, |(_, length)| length);
        let data = old_datagram(4, &[counter_sample(kind, bytes), header_sample(&[])]);
        let read = samples(&data);
        assert!(matches!(read[1], Sample::Flow(_)), "the sample behind kind {kind} is found");
        let Sample::Counters(sample) = &read[0] else { panic!("not counters") };
        assert_eq!((sample.sequence, sample.source.index), (9, 5));
        let mut groups = sample.records();
        if generic > 0 {
            let counters = CounterData::Interface(records::interface_counters());
            assert_eq!(groups.next(), Some(Ok(counters)));
        }
        if let Some((number, length)) = group {
            let Some(Ok(CounterData::Other { format, data })) = groups.next() else {
                panic!("no group in kind {kind}")
            };
            assert_eq!((format, data.len()), (DataFormat::standard(number), length));
        }
        assert_eq!((groups.next(), groups.trailing()), (None, 0));
    }
}

#[test]
fn nothing_is_found_behind_what_has_no_length() {
    let good = header_sample(&[]);
    let unknown_sample = Bytes::new().words(&[3, 1, 2, 3]).done();
    let unknown_packet = Bytes::new().words(&[1, 77, 1, 400, 31_000, 5, 10, 20, 4, 0]).done();
    let unknown_extended = header_sample(&[Bytes::new().word(6).done()]);
    let unknown_counters = counter_sample(8, 88);
    for bad in [unknown_sample, unknown_packet, unknown_extended, unknown_counters] {
        let data = old_datagram(4, &[good.clone(), bad, good.clone(), good.clone()]);
        let mut read = Datagram::parse(&data).unwrap().samples();
        assert!(matches!(read.next(), Some(Ok(Sample::Flow(_)))));
        let error = read.next().unwrap().unwrap_err();
        assert!(matches!(error, SflowError::SampleType { .. } | SflowError::RecordType { .. }));
        assert_eq!((read.next(), read.lost(), read.trailing()), (None, 2, 0));
    }
}
