//! The load generator against our own collectors: what is sent is what is decoded, exporters run on
//! from round to round, and nothing leaves the machine unasked.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[path = "../../capture/tests/common/skip.rs"]
mod skip;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tidewall_capture::DatagramSink;
use tidewall_capture::udp::{UdpConfig, UdpSource};
use tidewall_collect::{
    ExportDatagram, FlowDetail, FlowSink, NetflowCollector, NetflowSettings, SflowCollector,
    SflowSettings,
};
use tidewall_model::{FlowRecord, Prefix, Timestamp};

fn generate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tidewall")).arg("generate").args(args).output().unwrap()
}

/// What a collector made of it.
#[derive(Default)]
struct Heard {
    sflow: bool,
    collector: Option<Box<NetflowCollector>>,
    samples: Option<Box<SflowCollector>>,
    datagrams: u64,
    refused: u64,
    exporters: BTreeSet<IpAddr>,
    records: Records,
}

#[derive(Default)]
struct Records {
    list: Vec<FlowRecord>,
    longest_ms: u32,
}

impl FlowSink for Records {
    const DETAIL: bool = false;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        self.longest_ms = self.longest_ms.max(detail.duration_ms);
        self.list.push(*record);
    }
}

impl Heard {
    fn by(medium: &str) -> Self {
        let sflow = medium == "sflow";
        Self {
            sflow,
            samples: sflow.then(|| Box::new(SflowCollector::new(SflowSettings::default()))),
            collector: (!sflow)
                .then(|| Box::new(NetflowCollector::new(NetflowSettings::default()))),
            ..Self::default()
        }
    }
}

impl DatagramSink for Heard {
    fn datagram(&mut self, from: SocketAddr, received: Timestamp, data: &[u8]) {
        let datagram = ExportDatagram::new(from, received, data);
        let decoded = if let Some(collector) = &mut self.samples {
            collector.decode(&datagram, &mut self.records).is_ok()
        } else if let Some(collector) = &mut self.collector {
            collector.decode(&datagram, &mut self.records).is_ok()
        } else {
            false
        };
        self.refused += u64::from(!decoded);
        self.datagrams += 1;
        self.exporters.insert(from.ip());
    }
}

/// Lets the generator send, and decodes what comes meanwhile.
fn heard(medium: &str, args: &[&str]) -> (Heard, Value) {
    let mut source = UdpSource::open(&UdpConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let to = source.local_address().to_string();
    let child = Command::new(env!("CARGO_BIN_EXE_tidewall"))
        .args(["generate", medium, "--to", &to, "--json"])
        .args(args)
        .stdout(Stdio::piped())
        .spawn();
    let mut child = child.unwrap();
    let mut heard = Heard::by(medium);
    loop {
        let ended = child.try_wait().unwrap().is_some();
        while source.receive(Duration::from_millis(20), &mut heard).unwrap() > 0 {}
        if ended {
            break;
        }
    }
    assert_eq!(source.statistics().dropped_by_kernel, 0, "the socket was too small");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    (heard, serde_json::from_slice(&output.stdout).unwrap())
}

const MEDIA: [&str; 4] = ["sflow", "netflow5", "netflow9", "ipfix"];

#[test]
fn what_is_sent_is_decoded_record_by_record() {
    for medium in MEDIA {
        let options = ["--records", "20000", "--hosts", "500", "--sampling", "100"];
        let (heard, said) = heard(medium, &options);
        assert_eq!(heard.refused, 0, "{medium}");
        assert_eq!(said["datagrams"], heard.datagrams, "{medium}");
        assert_eq!(said["records"], heard.records.list.len(), "{medium}");
        assert_eq!(said["refused"], 0, "{medium}");
        let ours: Prefix = "10.0.0.0/16".parse().unwrap();
        // sFlow tells the length of the frame: with its header and check sequence.
        let bytes = if heard.sflow { 518 } else { 500 };
        let mut hosts: BTreeMap<u128, u32> = BTreeMap::new();
        for record in &heard.records.list {
            let (src, dst) = (record.src_address(), record.dst_address());
            assert_ne!(ours.contains(src), ours.contains(dst), "{medium}: one of them is ours");
            *hosts.entry(if ours.contains(dst) { dst.bits } else { src.bits }).or_default() += 1;
            assert_eq!(record.sampling.get(), 100, "{medium}");
            assert_eq!((record.packets, record.bytes), (1, bytes), "{medium}");
        }
        assert_eq!(hosts.len(), 500, "{medium}");
        assert!(hosts.values().all(|count| (39..=42).contains(count)), "{medium}: evenly");
        assert!(heard.records.longest_ms == 0, "{medium}: flows of one moment");
    }
}

#[test]
fn exporters_run_on_from_round_to_round() {
    // A round has 262,144 records.
    let options = ["--records", "300000", "--exporters", "3", "--rate", "300000"];
    for medium in MEDIA {
        let (heard, said) = heard(medium, &options);
        assert_eq!(said["records"], heard.records.list.len(), "{medium}");
        let sources: Vec<String> = heard.exporters.iter().map(IpAddr::to_string).collect();
        assert_eq!(sources, ["127.0.1.1", "127.0.1.2", "127.0.1.3"]);
        let mut health = Vec::new();
        if let Some(collector) = &heard.samples {
            health.extend(collector.exporters().into_iter().map(|(_, health)| health.summary()));
        } else if let Some(collector) = &heard.collector {
            health.extend(collector.exporters().map(|(_, health)| health.summary()));
        }
        assert_eq!(health.len(), 3, "{medium}");
        for of in health {
            let faults = (of.lost, of.gaps, of.disorder, of.restarts, of.absurd_durations);
            assert_eq!(faults, (0, 0, 0, 0, 0), "{medium}: {of:?}");
            assert!(of.flows > 90_000, "{medium}: {of:?}");
            assert!(of.clock_behind_ms.unwrap_or(0).abs() < 2000, "{medium}: {of:?}");
        }
    }
}

#[test]
fn an_attack_is_on_one_host_and_is_told() {
    for medium in MEDIA {
        let options = ["--rate", "2000", "--seconds", "1", "--attack", "10.0.9.9"];
        let more = ["--attack-rate", "3000", "--attack-after", "0.2", "--attack-sources", "50"];
        let (heard, said) = heard(medium, &[options.as_slice(), &more].concat());
        let target = "10.0.9.9".parse::<std::net::Ipv4Addr>().unwrap().to_bits();
        let is_attack = |r: &&FlowRecord| r.dst == u128::from(target) && r.src_port == 53;
        let attack: Vec<_> = heard.records.list.iter().filter(is_attack).collect();
        assert_eq!(said["attack"]["records"], attack.len(), "{medium}");
        assert!(!attack.is_empty() && attack.len() <= 2400, "{medium}: {}", attack.len());
        assert!(attack.iter().map(|r| r.src).collect::<BTreeSet<_>>().len() <= 50, "{medium}");
        assert!(said["attack"]["began"].as_f64().unwrap() > 1e9, "{medium}");
        assert_eq!(said["records"], heard.records.list.len(), "{medium}");
    }
}

#[test]
fn a_scenario_is_played() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("world.toml");
    std::fs::write(
        &file,
        "name = \"small\"\nduration_s = 1\nnetworks = [\"10.20.0.0/16\"]\n\
         background = { hosts = 50, pps = 3000 }\n",
    )
    .unwrap();
    for medium in ["sflow", "ipfix"] {
        let (heard, said) = heard(medium, &["--scenario", file.to_str().unwrap()]);
        assert_eq!(heard.refused, 0);
        assert!(heard.datagrams > 0 && said["datagrams"] == heard.datagrams);
        let packets: u64 = heard.records.list.iter().map(|record| record.packets).sum();
        assert_eq!(said["records"], packets, "{medium}: the cache adds packets up");
        assert!(heard.sflow || (heard.records.list.len() as u64) < packets);
    }
}

#[test]
fn nothing_leaves_the_machine_unless_it_is_said() {
    for target in ["192.0.2.1:6343", "[2001:db8::7]:6343"] {
        let output = generate(&["sflow", "--to", target, "--records", "1"]);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("is not known to be on this machine"), "{said}");
        assert!(said.contains("--i-own-the-target-and-the-path"), "{said}");
    }
    let output = generate(&["frames", "--interface", "no-such-if", "--records", "1"]);
    assert_eq!(output.status.code(), Some(2));
    let output = generate(&["frames", "--records", "1"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("--interface"));
    let output = generate(&["netflow5", "--network", "2001:db8::/64", "--records", "1"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("no place for IPv6"));
}

#[test]
fn the_last_line_is_for_people() {
    let source = UdpSource::open(&UdpConfig::new("127.0.0.1:0".parse().unwrap())).unwrap();
    let to = source.local_address().to_string();
    let output = generate(&["netflow9", "--to", &to, "--records", "240"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("sent 2"), "{said}");
    assert!(said.contains(" datagrams/s\n"), "{said}");
}

/// Two network name spaces with a veth pair between them.
struct Lab(String);

impl Lab {
    fn new() -> Self {
        let lab = Self(format!("tw-gen-{}", std::process::id()));
        for part in ["a", "b"] {
            ip(&format!("netns add {}{part}", lab.0));
        }
        let (a, b) = (lab.name("a"), lab.name("b"));
        ip(&format!("link add tw0 netns {a} type veth peer name tw1 netns {b}"));
        for (name, link) in [(&a, "tw0"), (&b, "tw1")] {
            ip(&format!("-n {name} link set {link} addrgenmode none"));
            ip(&format!("-n {name} link set {link} up"));
        }
        lab
    }

    fn name(&self, part: &str) -> String {
        format!("{}{part}", self.0)
    }

    fn tidewall(&self, part: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(part), env!("CARGO_BIN_EXE_tidewall")]);
        command
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for part in ["a", "b"] {
            _ = Command::new("ip").args(["netns", "delete", &self.name(part)]).status();
        }
    }
}

fn ip(words: &str) {
    assert!(Command::new("ip").args(words.split(' ')).status().unwrap().success(), "ip {words}");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "waits for a real network")]
fn frames_reach_the_far_end_of_a_veth_pair() {
    if !skip::root_with("frames_reach_the_far_end_of_a_veth_pair", &["ip"]) {
        return;
    }
    let lab = Lab::new();
    let folder = tempfile::tempdir().unwrap();
    let (file, socket) = (folder.path().join("tidewall.toml"), folder.path().join("socket"));
    let text = format!(
        "networks = [\"10.0.0.0/16\"]\n[listen]\nsflow = []\nnetflow = []\n\
         [[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\n\
         [service]\ncontrol = {:?}\n",
        socket.display().to_string()
    );
    std::fs::write(&file, text).unwrap();
    let mut service = lab.tidewall("b").args(["run", "--config"]).arg(&file).spawn().unwrap();
    let status = || -> Option<Value> {
        let mut ask = lab.tidewall("b");
        let output = ask.args(["status", "--json", "--control"]).arg(&socket).output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    };
    let wait = |done: &dyn Fn(&Value) -> bool| {
        for _ in 0..200 {
            if let Some(status) = status().filter(done) {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        status()
    };
    wait(&|_| true).expect("the service answers");
    let mut send = lab.tidewall("a");
    send.args(["generate", "frames", "--interface", "tw0", "--records", "5000", "--rate", "20000"]);
    let output = send.args(["--hosts", "100", "--json"]).output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["records"], 5000, "{output:?}");
    let status = wait(&|status| status["records"]["received"] == 5000).unwrap();
    _ = Command::new("kill").args(["-TERM", &service.id().to_string()]).status();
    service.wait().unwrap();
    assert_eq!(status["records"]["received"], 5000, "{status}");
    assert_eq!(status["records"]["counted"], 5000, "{status}");
    assert_eq!(status["drops"], serde_json::json!({}), "{status}");
}
