//! Version 5.

use std::net::Ipv4Addr;

use super::super::v5::{Packet, Record, SamplingWord};
use super::*;

/// A datagram that announces `count` records and has `present`; record `n` carries protocol `n`.
fn datagram(count: u16, present: u8, sampling: u16) -> Vec<u8> {
    let mut datagram = [5, count].map(u16::to_be_bytes).concat();
    datagram.extend([360_000_u32, 1_700_000_000, 999_999_999, 77].map(u32::to_be_bytes).concat());
    datagram.extend([3, 9]);
    datagram.extend(sampling.to_be_bytes());
    for number in 0..present {
        datagram.extend(record(number));
    }
    datagram
}

/// A record whose every byte differs, but for the protocol.
fn record(protocol: u8) -> [u8; 48] {
    let mut record = std::array::from_fn(|index| 100 + index as u8);
    record[38] = protocol;
    record
}

/// T1.
#[test]
fn counts_outside_of_1_to_30_are_refused_and_missing_records_counted() {
    for count in [0, 31, 55_582, u16::MAX] {
        let refused = Packet::parse(&datagram(count, 30, 0)).unwrap_err();
        assert_eq!(refused, NetflowError::RecordCount { count });
    }
    let cut = datagram(30, 29, 0);
    let packet = Packet::parse(&cut).unwrap();
    assert_eq!((packet.records().len(), packet.missing()), (29, 1));
    let surplus = datagram(2, 3, 0);
    let packet = Packet::parse(&surplus).unwrap();
    assert_eq!((packet.records().len(), packet.missing()), (2, 0));
}

/// T2 among them.
#[test]
fn every_field_is_read_from_its_place() {
    let datagram = datagram(1, 0, 0x4064);
    let datagram = [datagram, record(47).to_vec()].concat();
    let Ok(Datagram::V5(packet)) = parse(&datagram) else { panic!("not v5") };
    let header = packet.header;
    assert_eq!((header.count, header.sys_uptime, header.unix_secs), (1, 360_000, 1_700_000_000));
    assert_eq!((header.unix_nsecs, header.flow_sequence), (999_999_999, 77));
    assert_eq!((header.engine_type, header.engine_id, header.sampling), (3, 9, 0x4064));
    let expected = Record {
        src_addr: Ipv4Addr::new(100, 101, 102, 103),
        dst_addr: Ipv4Addr::new(104, 105, 106, 107),
        next_hop: Ipv4Addr::new(108, 109, 110, 111),
        input: 0x7071,
        output: 0x7273,
        packets: 0x7475_7677,
        octets: 0x7879_7a7b,
        first: 0x7c7d_7e7f,
        last: 0x8081_8283,
        src_port: 0x8485,
        dst_port: 0x8687,
        tcp_flags: 137,
        protocol: 47,
        tos: 139,
        src_as: 0x8c8d,
        dst_as: 0x8e8f,
        src_mask: 144,
        dst_mask: 145,
    };
    assert_eq!(packet.records().collect::<Vec<_>>(), [expected]);
}

/// T3.
#[test]
fn the_sampling_word_is_read_either_way() {
    let rates = |sampling| {
        let datagram = datagram(1, 1, sampling);
        let header = Packet::parse(&datagram).unwrap().header;
        let interval = header.sampling_interval(SamplingWord::ModeAndInterval);
        (header.sampling_mode(), interval, header.sampling_interval(SamplingWord::Interval))
    };
    assert_eq!(rates(0x4064), (1, 100, 0x4064));
    assert_eq!(rates(0), (0, 1, 1));
    assert_eq!(rates(0xc350), (3, 848, 50_000));
    assert_eq!(rates(0x8000), (2, 1, 0x8000));
}

/// T4.
#[test]
fn a_duration_may_span_the_wrap_of_the_uptime() {
    let datagram = datagram(1, 1, 0);
    let record = Packet::parse(&datagram).unwrap().records().next().unwrap();
    let wrapped = Record { first: u32::MAX - 999, last: 4_000, ..record };
    assert_eq!(wrapped.duration(), 5_000);
    assert_eq!(Record { first: 7, last: 7, ..record }.duration(), 0);
}

#[test]
fn cut_at_every_byte() {
    let whole = datagram(3, 3, 1);
    let all: Vec<_> = Packet::parse(&whole).unwrap().records().collect();
    for length in 0..=whole.len() {
        match Packet::parse(&whole[..length]) {
            Ok(packet) => {
                let present = (length - 24) / 48;
                assert!(packet.records().eq(all[..present].iter().copied()));
                assert_eq!(usize::from(packet.missing()), 3 - present);
            }
            Err(NetflowError::HeaderCut(cut)) => {
                assert!(length < 24);
                assert_eq!(cut.offset + cut.available, length as u32);
                assert!(cut.needed > cut.available);
            }
            Err(other) => panic!("{other} at {length}"),
        }
    }
}
