//! softflowd reads a capture that we wrote and exports what it saw: our collector must read what
//! is in the capture.

use std::fs;

use tidewall_collect::{FlowNote, SamplingOrigin};
use tidewall_model::{Family, FlowRecord, SamplingRate};

use crate::programs::{Process, find, receive, receiver};
use crate::traffic::{assert_same, capture, decode_netflow, demo, observed};

/// What softflowd exports about records; `None` when it is not installed.
fn exported(version: &str, more: &[&str], records: &[FlowRecord]) -> Option<Vec<Vec<u8>>> {
    let program = find("softflowd")?;
    let folder = tempfile::tempdir().unwrap();
    let [pcap, pid, log] = ["in.pcap", "pid", "log"].map(|name| folder.path().join(name));
    fs::write(&pcap, capture(records)).unwrap();
    let (socket, to) = receiver();
    // Without a control socket (1.1.0 waits for a client of it for ever), in the foreground, and
    // in the capture's time.
    let to = to.to_string();
    let arguments = ["-d", "-a", "-c", "none", "-v", version, "-n", &to];
    let files = ["-p".as_ref(), pid.as_os_str(), "-r".as_ref(), pcap.as_os_str()];
    let arguments = arguments.iter().chain(more).map(AsRef::as_ref).chain(files);
    let mut process = Process::start(&program, arguments, &log);
    Some(receive(&socket, &mut process))
}

#[test]
fn softflowd_v5() {
    let records = demo(2000);
    let Some(datagrams) = exported("5", &[], &records) else { return };
    let decoded = decode_netflow(&datagrams);
    let ipv4 = records.iter().filter(|record| record.family == Family::V4);
    assert_same("v5", &observed(decoded.records()), &observed(ipv4));
}

#[test]
fn softflowd_v9() {
    let records = demo(2000);
    let Some(datagrams) = exported("9", &[], &records) else { return };
    let decoded = decode_netflow(&datagrams);
    assert_same("v9", &observed(decoded.records()), &observed(&records));
    assert!(decoded.records().any(|record| record.family == Family::V6));
}

#[test]
fn softflowd_ipfix() {
    let records = demo(2000);
    let Some(datagrams) = exported("10", &[], &records) else { return };
    let decoded = decode_netflow(&datagrams);
    assert_same("IPFIX", &observed(decoded.records()), &observed(&records));
}

/// Both directions of a flow in one record (RFC 5103). Of ICMP, softflowd 1.1.0 says type and code
/// of one direction only, and 0 for the other.
#[test]
fn softflowd_bidirectional_ipfix() {
    let records = demo(2000);
    let Some(datagrams) = exported("10", &["-b"], &records) else { return };
    let decoded = decode_netflow(&datagrams);
    let without_type = |record: &FlowRecord| FlowRecord {
        dst_port: if record.is_icmp() { 0 } else { record.dst_port },
        ..*record
    };
    let ours: Vec<_> = decoded.records().map(without_type).collect();
    let theirs: Vec<_> = records.iter().map(without_type).collect();
    assert_same("IPFIX, both ways", &observed(&ours), &observed(&theirs));
    let reverse = decoded.flows.iter().filter(|flow| flow.1.note.has(FlowNote::REVERSE));
    assert!(reverse.count() > 10);
}

/// softflowd takes every 10th packet and says so: in the header of v5, in options of the others.
#[test]
fn softflowd_sampling() {
    let records = demo(1000);
    let all = records.len() as u64;
    let ipv4 = records.iter().filter(|record| record.family == Family::V4).count() as u64;
    for (version, origin) in [
        ("5", SamplingOrigin::Header),
        ("9", SamplingOrigin::Exporter),
        ("10", SamplingOrigin::Exporter),
    ] {
        let Some(datagrams) = exported(version, &["-s", "10"], &records) else { return };
        let decoded = decode_netflow(&datagrams);
        for (record, detail) in &decoded.flows {
            let found = (record.sampling, detail.sampling);
            assert_eq!(found, (SamplingRate::new(10), origin), "version {version}");
        }
        let scaled: u64 = decoded.records().map(FlowRecord::scaled_packets).sum();
        // For v5 it takes the next IPv4 packet where the 10th is IPv6.
        let least = if version == "5" { ipv4 } else { all };
        assert!((least - 10..=all + 10).contains(&scaled), "version {version}: {scaled} of {all}");
    }
}
