//! pmacct's probe reads a capture that we wrote and exports it: our collectors must read what is in
//! the capture.

use std::fs;
use std::iter::repeat_n;
use std::net::UdpSocket;

use tidewall_collect::SamplingOrigin;
use tidewall_model::{FlowRecord, Fragment, SamplingRate};
use tidewall_wire::frame::LengthMode;

use crate::programs::{Process, find, receive, receive_enough, receiver};
use crate::traffic::{
    Decoded, assert_same, capture, decode_netflow, decode_sflow, demo, observed, tuple,
};

/// What pmacctd exports about records through a plugin; `None` when it is not installed.
fn exported(plugin: &str, settings: &[&str], records: &[FlowRecord]) -> Option<Vec<Vec<u8>>> {
    exporting(plugin, settings, records, receive)
}

/// What sfprobe exports about records. What waits within pmacctd at the end comes late or never, so
/// packets of one more flow follow, and the process does not end before all others have come.
fn sampled(settings: &[&str], records: &[FlowRecord]) -> Option<Decoded> {
    const MORE: usize = 1000;
    let mut more = *records.last()?;
    more.src_port = more.src_port.wrapping_add(1);
    let followed: Vec<_> = records.iter().copied().chain(repeat_n(more, MORE)).collect();
    let decode = |datagrams: &[Vec<u8>]| {
        let mut decoded = decode_sflow(datagrams, LengthMode::IpHeader);
        decoded.flows.retain(|(record, _)| tuple(record) != tuple(&more));
        decoded
    };
    let settings = [settings, &["pcap_savefile_wait: true"]].concat();
    let is_enough = |datagrams: &[Vec<u8>]| decode(datagrams).flows.len() >= records.len();
    let receive = |socket: &_, _: &mut _| receive_enough(socket, is_enough);
    exporting("sfprobe", &settings, &followed, receive).map(|datagrams| decode(&datagrams))
}

fn exporting(
    plugin: &str,
    settings: &[&str],
    records: &[FlowRecord],
    receive: impl FnOnce(&UdpSocket, &mut Process) -> Vec<Vec<u8>>,
) -> Option<Vec<Vec<u8>>> {
    let program = find("pmacctd")?;
    let folder = tempfile::tempdir().unwrap();
    let [pcap, file, log] = ["in.pcap", "conf", "log"].map(|name| folder.path().join(name));
    fs::write(&pcap, capture(records)).unwrap();
    let (socket, to) = receiver();
    let text = format!(
        "daemonize: false\npcap_savefile: {}\nplugins: {plugin}[out]\n\
         {plugin}_receiver[out]: {to}\n\
         aggregate[out]: src_host,dst_host,src_port,dst_port,proto,tos\n{}\n",
        pcap.display(),
        settings.join("\n")
    );
    fs::write(&file, text).unwrap();
    let mut process = Process::start(&program, ["-f".as_ref(), file.as_os_str()], &log);
    Some(receive(&socket, &mut process))
}

/// The demo without later fragments: pmacctd forgets those whose first piece it has not seen.
fn without_fragments(rate: u32) -> Vec<FlowRecord> {
    let mut records = demo(rate);
    records.retain(|record| record.fragment != Fragment::Later);
    records
}

#[test]
fn pmacct_v9() {
    let records = without_fragments(2000);
    let Some(datagrams) = exported("nfprobe", &["nfprobe_version[out]: 9"], &records) else {
        return;
    };
    let decoded = decode_netflow(&datagrams);
    assert_same("v9", &observed(decoded.records()), &observed(&records));
}

#[test]
fn pmacct_ipfix() {
    let records = without_fragments(2000);
    let Some(datagrams) = exported("nfprobe", &["nfprobe_version[out]: 10"], &records) else {
        return;
    };
    let decoded = decode_netflow(&datagrams);
    assert_same("IPFIX", &observed(decoded.records()), &observed(&records));
}

#[test]
fn pmacct_sflow() {
    let records = demo(2000);
    let settings = ["sfprobe_agentip[out]: 192.0.2.9"];
    let Some(decoded) = sampled(&settings, &records) else { return };
    assert_same("sFlow", &observed(decoded.records()), &observed(&records));
    assert!(decoded.flows.iter().all(|(_, detail)| detail.exporter.to_string() == "192.0.2.9"));
}

/// The probes take one packet in 10 at random, and say so.
#[test]
fn pmacct_sampling() {
    const RATE: u32 = 10;
    let records = without_fragments(500);
    let rate = format!("sampling_rate: {RATE}");
    let v9 = ("nfprobe", "nfprobe_version[out]: 9", SamplingOrigin::Sampler);
    let ipfix = ("nfprobe", "nfprobe_version[out]: 10", SamplingOrigin::Sampler);
    let sflow = ("sfprobe", "sfprobe_agentip[out]: 192.0.2.9", SamplingOrigin::Header);
    for (plugin, setting, origin) in [v9, ipfix, sflow] {
        let Some(datagrams) = exported(plugin, &[setting, &rate], &records) else { return };
        let decoded = match plugin {
            "nfprobe" => decode_netflow(&datagrams),
            _ => decode_sflow(&datagrams, LengthMode::IpHeader),
        };
        for (record, detail) in &decoded.flows {
            let found = (record.sampling, detail.sampling);
            assert_eq!(found, (SamplingRate::new(RATE), origin), "{setting}");
        }
        let scaled: u64 = decoded.records().map(FlowRecord::scaled_packets).sum();
        // Five times the standard deviation of a binomial distribution.
        let (rate, packets) = (f64::from(RATE), records.len() as f64);
        let tolerance = 5.0 * (packets * (rate - 1.0)).sqrt();
        let error = (scaled as f64 - packets).abs();
        assert!(error <= tolerance, "{setting}: {scaled} of {packets} +- {tolerance}");
    }
}
