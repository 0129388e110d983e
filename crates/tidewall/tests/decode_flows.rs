//! What `tidewall decode` prints of small captures of each flow protocol, to the letter.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod media;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use media::{Kind, rendered};
use tidewall::commands::decode::{Format, Settings, decode_to};
use tidewall::replay::Input;
use tidewall_model::{Address, Family, FlowRecord, SamplingRate, TcpFlags, Timestamp, protocol};
use tidewall_scenario::{FlowCachePlan, FlowProtocol};

/// 2023-11-14 22:13:20 UTC.
const START: Timestamp = Timestamp(1_700_000_000_000_000_000);

/// A SYN, an IPv6 datagram and an echo request, sampled 1 in 100.
fn records() -> [FlowRecord; 3] {
    let record = |ms, src: &str, dst: &str, protocol, bytes| {
        let [src, dst] = [src, dst].map(|text| Address::from(text.parse::<IpAddr>().unwrap()));
        FlowRecord {
            time: START + Duration::from_millis(ms),
            src: src.bits,
            dst: dst.bits,
            bytes,
            sampling: SamplingRate::new(100),
            family: src.family,
            protocol,
            ttl: 61,
            ..FlowRecord::default()
        }
    };
    [
        FlowRecord {
            src_port: 40_000,
            dst_port: 443,
            tcp_flags: TcpFlags(TcpFlags::SYN),
            ..record(0, "203.0.113.9", "198.51.100.1", protocol::TCP, 40)
        },
        FlowRecord {
            src_port: 53,
            dst_port: 5000,
            ..record(10, "2001:db8:1::9", "2001:db8:2::1", protocol::UDP, 1200)
        },
        FlowRecord {
            dst_port: 8 << 8,
            ..record(20, "203.0.113.7", "198.51.100.2", protocol::ICMP, 84)
        },
    ]
}

/// The lines, and what is said at the end.
fn decoded(kind: Kind, format: Format, all: bool) -> String {
    let v5 = kind == Kind::Flows(FlowProtocol::NetflowV5);
    let records = records().into_iter().filter(|record| !v5 || record.family == Family::V4);
    let bytes = rendered(kind, &FlowCachePlan::default(), records);
    let input = Input::Memory { name: "small".to_owned(), bytes: Arc::from(bytes) };
    let mut out = Vec::new();
    let settings = Settings { all, ..Settings::new(format) };
    let ending = decode_to(&input, &settings, &mut out).unwrap();
    assert_eq!((ending.truncated, ending.damaged), (None, None));
    let mut text = String::from_utf8(out).unwrap();
    for remark in ending.remarks {
        text.push_str(&remark);
        text.push('\n');
    }
    text
}

/// What is printed of records alone is what is printed with `--all` but for the lines that are
/// none.
fn check(kind: Kind, expected: &str) {
    assert_eq!(decoded(kind, Format::Csv, true), expected);
    let is_record = |line: &&str| !line.contains("template: ") && !line.contains("options: ");
    let records: Vec<&str> = expected.lines().filter(is_record).collect();
    assert_eq!(decoded(kind, Format::Csv, false).lines().collect::<Vec<_>>(), records);
}

#[test]
fn sflow() {
    check(Kind::Sflow, include_str!("decode_flows/sflow.csv"));
}

#[test]
fn netflow_v5() {
    let kind = Kind::Flows(FlowProtocol::NetflowV5);
    check(kind, include_str!("decode_flows/netflow_v5.csv"));
}

/// The header's clock has whole seconds, and so have times, but for what lies between them.
#[test]
fn netflow_v9() {
    let kind = Kind::Flows(FlowProtocol::NetflowV9);
    check(kind, include_str!("decode_flows/netflow_v9.csv"));
}

#[test]
fn ipfix() {
    check(Kind::Flows(FlowProtocol::Ipfix), include_str!("decode_flows/ipfix.csv"));
}

#[test]
fn json() {
    let text = decoded(Kind::Flows(FlowProtocol::Ipfix), Format::Jsonl, true);
    assert_eq!(text, include_str!("decode_flows/ipfix.jsonl"));
}
