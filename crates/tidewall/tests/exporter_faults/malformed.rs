//! Damaged sets and samples, as fast as the service takes them, beside exporters in good order.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidewall_collect::{
    ExportDatagram, NetflowCollector, NetflowSettings, SflowCollector, SflowSettings,
};
use tidewall_model::{DropCounters, FlowRecord, SamplingRate, Timestamp, protocol};
use tidewall_scenario::{Random, Renderer, SflowPlan, SflowRenderer};
use tidewall_wire::emit::netflow::{ExportTime, MessageWriter};
use tidewall_wire::netflow::Protocol;

use crate::router::{Flow, LAYOUTS, Router, append, template};
use crate::service::{PATIENCE, Service, v5};

/// Different datagrams of each kind, and how often each is sent.
const DIFFERENT: usize = 4000;
const ROUNDS: usize = 25;
/// Senders wait while the kernel holds more for the service: far less than its buffer.
const HELD_BYTES: u64 = 8 << 20;
/// Source id of the router that sends damaged datagrams.
const DAMAGED: u32 = 66;
const TIME: ExportTime = ExportTime { unix_secs: 1_790_000_000, unix_nsecs: 0, sys_uptime: 1000 };

fn is_root() -> bool {
    std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self").unwrap()) == 0
}

fn prepared() -> Service {
    let mut service = Service::prepared();
    service.configure("[thresholds.incoming]\ntotal = { pps = 10_000 }\n");
    let text = fs::read_to_string(service.path("tidewall.toml")).unwrap();
    let text = text.replace("receive_buffer = \"1M\"", "receive_buffer = \"64M\"");
    fs::write(service.path("tidewall.toml"), text).unwrap();
    service.run();
    service
}

/// Bytes that the kernel holds for the sockets of a port. Its table may leave lines out while
/// others come and go.
pub fn held(port: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    let address = format!(":{port:04X}");
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let lines = lines.filter(|fields| fields.get(1).is_some_and(|own| own.ends_with(&address)));
    let bytes = lines.map(|fields| u64::from_str_radix(fields[4].split_once(':').unwrap().1, 16));
    bytes.map(Result::unwrap).reduce(|sum, bytes| sum + bytes)
}

/// Sends as fast as the service takes it: it is never idle, and nothing is lost.
fn send_all<'a>(port: u16, datagrams: impl Iterator<Item = &'a Vec<u8>>) -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sent = 0_u64;
    for datagram in datagrams {
        if sent.is_multiple_of(64) {
            let begin = Instant::now();
            while held(port).is_none_or(|bytes| bytes > HELD_BYTES) {
                assert!(begin.elapsed() < PATIENCE, "nobody takes it: {:?}", held(port));
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        socket.send_to(datagram, ("127.0.0.1", port)).unwrap();
        sent += 1;
    }
    sent
}

/// A message of the router whose messages are damaged: a template and records, in order.
fn message(protocol: Protocol, random: &mut Random) -> Vec<u8> {
    let mut writer = MessageWriter::new(protocol, DAMAGED);
    writer.begin();
    let layout = LAYOUTS[random.below(2) as usize];
    let id = 256 + random.below(8) as u16;
    if random.below(2) == 0 {
        writer.template(&template(protocol, id, layout));
    }
    let flow = Flow { host: 8, packets: 1, ..Flow::default() };
    append(&mut writer, id, layout, flow, 1 + random.below(6));
    writer.finish(TIME).to_vec()
}

fn overwrite(bytes: &mut [u8], at: usize, random: &mut Random) {
    bytes[at..].fill_with(|| random.below(256) as u8);
}

/// One that is damaged in one of many ways. The source id stays, so that nobody else is meant.
fn damaged_message(protocol: Protocol, random: &mut Random) -> Vec<u8> {
    let mut out = message(protocol, random);
    let (domain, header) = if protocol == Protocol::V9 { (16, 20) } else { (12, 16) };
    let length = out.len();
    let anywhere = random.below(length as u64) as usize;
    match random.below(8) {
        // Cut anywhere; of IPFIX the header knows it.
        0 => out.truncate(anywhere),
        1 => out.truncate(header + random.below((length - header) as u64) as usize),
        // The first set has another length.
        2 => overwrite(&mut out[..header + 4], header + 2, random),
        // It has another id: data without a template, reserved sets.
        3 => overwrite(&mut out[..header + 2], header, random),
        // Another count of fields, or another length of one.
        4 => overwrite(&mut out[..header + 8], header + 6, random),
        5 => out[anywhere] ^= 1 << random.below(8),
        6 => overwrite(&mut out, header, random),
        _ => overwrite(&mut out, 0, random),
    }
    // Where a cut is not to be seen from the message's own length.
    if protocol == Protocol::Ipfix && random.below(2) == 0 && out.len() >= header {
        let length = out.len() as u16;
        out[2..4].copy_from_slice(&length.to_be_bytes());
    }
    if let Some(id) = out.get_mut(domain..domain + 4) {
        id.copy_from_slice(&DAMAGED.to_be_bytes());
    }
    // An age that falls would be a start anew, behind which templates are waited for.
    if protocol == Protocol::V9
        && let Some(age) = out.get_mut(4..8)
    {
        age.copy_from_slice(&TIME.sys_uptime.to_be_bytes());
    }
    out
}

fn record(number: u64, host: u8) -> FlowRecord {
    FlowRecord {
        time: Timestamp::from_parts(1_790_000_000, 0) + Duration::from_millis(number),
        src: 0xc633_6401,
        dst: 0xc000_0200 | u128::from(host),
        protocol: protocol::UDP,
        src_port: number as u16,
        dst_port: 4444,
        packets: 1,
        bytes: 500,
        ttl: 60,
        sampling: SamplingRate::ONE,
        ..FlowRecord::default()
    }
}

/// Datagrams of an sFlow agent with so many samples in all.
pub fn samples(agent: [u8; 4], count: u64, host: u8) -> Vec<Vec<u8>> {
    let mut renderer =
        SflowRenderer::new(&SflowPlan { agent: agent.into(), ..SflowPlan::default() });
    let mut out = Vec::new();
    let mut keep = |_: Timestamp, datagram: &[u8]| out.push(datagram.to_vec());
    (0..count).for_each(|n| renderer.render(&record(n, host), &mut keep).unwrap());
    renderer.finish(&mut keep);
    out
}

fn damaged_samples(whole: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    /// Up to the number of samples.
    const HEADER: usize = 28;
    let mut out = whole[random.below(whole.len() as u64) as usize].clone();
    let length = out.len();
    let word = random.below(length as u64 / 4) as usize * 4;
    match random.below(7) {
        0 => out.truncate(word),
        1 => out.truncate(random.below(length as u64) as usize),
        2 => out[word] ^= 0x80,
        3 => overwrite(&mut out[..word + 4], word, random),
        // Another number of samples, and another length of the first one.
        4 => overwrite(&mut out[..HEADER], HEADER - 1, random),
        5 => overwrite(&mut out[..HEADER + 8], HEADER + 6, random),
        _ => overwrite(&mut out, HEADER, random),
    }
    out
}

/// Damaged datagrams: NetFlow v9 and IPFIX by turns, and sFlow.
fn damaged(seed: u64) -> [Vec<Vec<u8>>; 2] {
    let mut random = Random::new(seed);
    let whole = samples([192, 0, 2, 2], 70, 8);
    let netflow = (0..2 * DIFFERENT).map(|n| {
        let protocol = if n % 2 == 0 { Protocol::V9 } else { Protocol::Ipfix };
        damaged_message(protocol, &mut random)
    });
    let netflow = netflow.collect();
    let sflow = (0..DIFFERENT).map(|_| damaged_samples(&whole, &mut random)).collect();
    [netflow, sflow]
}

/// What collectors without a service around them make of these: flows, and drops by reason.
fn by_themselves([netflow, sflow]: &[Vec<Vec<u8>>; 2]) -> (u64, DropCounters) {
    let from: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let now = Timestamp::from_parts(1_790_000_000, 0);
    let mut records: Vec<FlowRecord> = Vec::new();
    let mut netflows = NetflowCollector::new(NetflowSettings::default());
    let mut sflows = SflowCollector::new(SflowSettings::default());
    for _ in 0..ROUNDS {
        for data in netflow {
            _ = netflows.decode(&ExportDatagram::new(from, now, data), &mut records);
        }
        for data in sflow {
            _ = sflows.decode(&ExportDatagram::new(from, now, data), &mut records);
        }
    }
    netflows.give_up_waiting();
    let mut drops = *netflows.drops();
    drops.merge(sflows.drops());
    (records.len() as u64, drops)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Datagrams that reached an exporter's account, and those that were refused as a whole.
fn accounts(service: &Service) -> u64 {
    let exporters = service.data(r#"{"ask":"exporters"}"#);
    let known = exporters.as_array().unwrap().iter().map(|one| number(&one["datagrams"]));
    let drops = &service.status()["drops"];
    let refused = ["datagram_cut", "datagram_version", "datagram_malformed", "too_many_exporters"];
    known.sum::<u64>() + refused.iter().map(|reason| number(&drops[*reason])).sum::<u64>()
}

#[test]
fn damaged_sets_and_samples_have_their_reasons_and_good_ones_are_counted() {
    if !is_root() {
        return println!("skipped: needs root, to have a large receive buffer");
    }
    let mut service = prepared();
    let (netflow, sflow) = (service.netflow, service.sflow);
    let bad = damaged(0x5eed);
    let (bad_flows, bad_drops) = by_themselves(&bad);
    let memory = number(&service.status()["memory_bytes"]);
    let mut routers = [Protocol::V9, Protocol::Ipfix].map(|one| Router::new(one, netflow));
    let good_samples = samples([192, 0, 2, 1], 7000, 7);
    let begin = Instant::now();
    let sent = std::thread::scope(|scope| {
        let [messages, datagrams] = &bad;
        let floods = [
            scope.spawn(move || send_all(netflow, (0..ROUNDS).flat_map(|_| messages))),
            scope.spawn(move || send_all(sflow, (0..ROUNDS).flat_map(|_| datagrams))),
            scope.spawn(|| send_all(sflow, good_samples.iter())),
        ];
        for router in &mut routers {
            router.define(256, LAYOUTS[0]);
        }
        for _ in 0..1000 {
            for router in &mut routers {
                router.flows(256, LAYOUTS[0], Flow { host: 7, packets: 1, ..Flow::default() }, 5);
            }
        }
        floods.map(|flood| flood.join().unwrap()).into_iter().sum::<u64>()
    });
    println!("{sent} datagrams in {:?}", begin.elapsed());
    let sent = sent + routers.iter().map(|router| router.datagrams).sum::<u64>();
    let good = 7000 + routers.iter().map(|router| router.flows).sum::<u64>();
    let want: BTreeMap<_, _> = bad_drops.nonzero().map(|(why, n)| (why.name(), n)).collect();
    let want = serde_json::to_value(want).unwrap();
    assert!(bad_drops.nonzero().count() >= 9, "many kinds of damage: {want}");
    // What waits for a template is given up after ten seconds.
    service.wait_for("the last", |service| {
        let status = service.status();
        let received = number(&status["received"]["received"]);
        received == sent && status["drops"] == want && accounts(service) == sent
    });
    let status = service.status();
    assert_eq!(status["received"]["dropped_by_kernel"], 0, "{status}");
    assert_eq!(number(&status["records"]["received"]), good + bad_flows, "{status}");
    let more = number(&status["memory_bytes"]).saturating_sub(memory) >> 20;
    println!("{more} MB more, {}", status["drops"]);
    assert!(more < 64, "{more} MB more: {status}");
    let exporters = service.data(r#"{"ask":"exporters"}"#);
    let is_good = |one: &&Value| one["domain"] == 1 || one["agent"] == "192.0.2.1";
    let all_good: Vec<&Value> = exporters.as_array().unwrap().iter().filter(is_good).collect();
    assert_eq!(all_good.iter().map(|one| number(&one["flows"])).sum::<u64>(), good);
    for exporter in all_good {
        assert!(exporter["drops"].as_object().unwrap().is_empty(), "{exporter}");
        assert_eq!(
            (&exporter["lost"], &exporter["restarts"]),
            (&json!(0), &json!(0)),
            "{exporter}"
        );
    }
    let log = service.log();
    // What is damaged may say that many packets came.
    let lines = log.lines().filter(|line| !line.contains("\"attack\":")).count();
    assert!(lines < 20 && !log.contains("panicked"), "{log}");
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

/// Nobody waits here for what the kernel holds.
#[test]
fn an_attack_is_named_beside_a_flood_of_damaged_datagrams() {
    let mut service = prepared();
    let (netflow, sflow) = (service.netflow, service.sflow);
    let [messages, datagrams] = damaged(0xf100d);
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let attacked = std::thread::scope(|scope| {
        for (port, list) in [(netflow, &messages), (sflow, &datagrams)] {
            let (stop, sent) = (&stop, &sent);
            scope.spawn(move || {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                for datagram in list.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    socket.send_to(datagram, ("127.0.0.1", port)).unwrap();
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(Duration::from_secs(2));
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let begin = Instant::now();
        let mut named = false;
        for n in (0..).take_while(|_| begin.elapsed() < Duration::from_secs(10)) {
            for _ in 0..20 {
                socket.send_to(&v5(n, n + 1000, 10_000, 9), ("127.0.0.1", netflow)).unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
            named = service.attacked().contains(&"192.0.2.9".to_owned());
            if named {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Relaxed);
        named.then(|| begin.elapsed())
    });
    println!("named after {attacked:?} beside {sent:?} datagrams");
    assert!(attacked.is_some(), "{}", service.status());
    let sent = sent.into_inner();
    service.wait_for("the account", |service| {
        service.source("received") + service.source("dropped_by_kernel") == sent
    });
    let log = service.log();
    let lines = log.lines().filter(|line| !line.contains("\"attack\":")).count();
    // One for each reason and protocol.
    assert!(lines < 40 && !log.contains("panicked"), "{log}");
}
