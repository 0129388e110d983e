//! Frames of attacks: those before the detection and those that follow it, from a pipe and from the
//! headers in sFlow, through the attack file and back into what it says. Frames that are damaged
//! on purpose come along all the way.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewall::config;
use tidewall::live::{Live, Plan, Sources};
use tidewall_actions::{ActionEvent, ActionKind, Actions, CapturedFrame, Observer, record};
use tidewall_model::{
    Address, AttackEvent, AttackEventKind, Direction, Family, FlowRecord, SamplingRate, Target,
    Timestamp, protocol,
};
use tidewall_scenario::{Renderer, SflowPlan, SflowRenderer};
use tidewall_wire::emit::{Frame, Packet, Payload, Transport, emit_frame};

/// Nothing here takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(30);
const POLICY: &str = "networks = [\"192.0.2.0/24\", \"2001:db8:2::/64\"]\n\
    [thresholds.incoming]\ntotal = { pps = 200 }\n";

fn plan(sources: &str) -> Plan {
    let Ok(loaded) = config::parse("test", &format!("{POLICY}{sources}")) else {
        panic!("a configuration that is not understood: {sources}");
    };
    Plan {
        policy: loaded.policy,
        frames: loaded.frames,
        flows: loaded.flows,
        listen: loaded.listen,
        mirrors: loaded.mirrors,
        service: loaded.service,
    }
}

fn started(sources: &str) -> Live {
    let plan = plan(sources);
    Live::start(&plan, Sources::open(&plan).unwrap(), 7).unwrap()
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn host(text: &str) -> Target {
    Target::Host(Address::from(text.parse::<IpAddr>().unwrap()))
}

/// UDP to this host; the number is the source port.
fn udp(destination: &str, number: u16) -> Vec<u8> {
    let destination: IpAddr = destination.parse().unwrap();
    let source = if destination.is_ipv4() { "203.0.113.9" } else { "2001:db8:1::9" };
    let packet = Packet {
        source: source.parse().unwrap(),
        destination,
        ttl: 64,
        identification: number.into(),
        piece: None,
        transport: Transport::Udp { source: number, destination: 9000 },
        payload: Payload::Zeros(1000),
    };
    let ends = ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    let mut out = Vec::new();
    emit_frame(&Frame { destination: ends.0, source: ends.1, tags: &[], packet }, &mut out)
        .unwrap();
    out
}

/// A capture that goes on: its head first, then frames with the service's time.
fn head() -> Vec<u8> {
    let words = [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 262_144, 1];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn packet(time: Timestamp, frame: &[u8], length: u32) -> Vec<u8> {
    let (seconds, micros) = (time.seconds() as u32, time.subsec_nanos() / 1000);
    let words = [seconds, micros, frame.len() as u32, length];
    let head = words.iter().flat_map(|word| word.to_le_bytes());
    head.chain(frame.iter().copied()).collect()
}

/// To the victim, each a microsecond after the other, to others, and what should never be sent.
/// Gives the times of the first kind.
fn batch(live: &Live, out: &mut impl Write, count: u16) -> Vec<u64> {
    let now = live.clock.now();
    let (mut bytes, mut times) = (Vec::new(), Vec::new());
    for number in 0..count {
        let time = Timestamp((now.0 / 1000 + u64::from(number)) * 1000);
        let frame = udp("192.0.2.7", number);
        bytes.extend(packet(time, &frame, 1042));
        times.push(time.0);
        if number % 10 == 0 {
            bytes.extend(packet(time, &udp("192.0.2.8", number), 1042));
            bytes.extend(packet(time, &udp("2001:db8:2::7", number), 1062));
            bytes.extend(packet(time, &frame[..30], 1042));
            bytes.extend(packet(time, &frame[..34], 0));
            bytes.extend(packet(time, &[], 0));
        }
        if number == 0 {
            let long = [udp("192.0.2.8", number), vec![0; 1 << 16]].concat();
            bytes.extend(packet(time, &long, 1042));
            bytes.extend(packet(time, &vec![0xff; 1 << 16], u32::MAX));
        }
    }
    out.write_all(&bytes).unwrap();
    times
}

/// Are these whole, but for what is cut off, and in order?
fn check(frames: &[CapturedFrame], snap: usize, sent: &[u64]) {
    let mut last = 0;
    for frame in frames {
        assert!(last <= frame.time.0 && sent.contains(&frame.time.0), "{frame:?}");
        last = frame.time.0;
        if frame.bytes.len() == 34 {
            // Cut behind its IP header, by us.
            continue;
        }
        let number = u16::from_be_bytes([frame.bytes[34], frame.bytes[35]]);
        let whole = udp("192.0.2.7", number);
        assert_eq!(frame.bytes, whole[..snap.min(whole.len())]);
        assert_eq!(frame.original_length, 1042);
    }
}

/// The attack file, and what the decoder reads in it.
fn recorded(live: &Live, folder: &Path, frames: Vec<CapturedFrame>) -> String {
    let attack =
        live.hub.snapshot().attacks.iter().find(|a| a.target == host("192.0.2.7")).cloned();
    let (kind, time) = (AttackEventKind::Started, live.clock.now());
    let mut event = ActionEvent::from(AttackEvent { kind, time, attack: attack.unwrap() });
    (event.kind, event.frames) = (ActionKind::Banned, frames);
    let config = tidewall_actions::Config::Record(record::Config::new(folder));
    let queue = config.queue();
    let observer: Observer = Arc::new(|_| {});
    let actions = Actions::start(vec![(config.build().unwrap(), queue)], &observer).unwrap();
    assert_eq!(actions.submit(&Arc::new(event)), 0);
    actions.shutdown(PATIENCE);
    let mut files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = files.find(|path| path.extension().is_some_and(|e| e == "pcap")).unwrap();
    let decoded =
        Command::new(env!("CARGO_BIN_EXE_tidewall")).arg("decode").arg(file).output().unwrap();
    assert!(decoded.status.success(), "{decoded:?}");
    String::from_utf8(decoded.stdout).unwrap()
}

#[test]
fn frames_of_an_attack_through_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let listen = "[listen]\nsflow = []\nnetflow = []\n";
    let live = started(&format!(
        "{listen}[[mirror]]\nengine = \"pipe\"\ninterfaces = [{:?}]\n",
        fifo.display().to_string()
    ));
    let mut writer = OpenOptions::new().write(true).open(&fifo).unwrap();
    writer.write_all(&head()).unwrap();
    let mut sent = batch(&live, &mut writer, 50);
    wait_for("the first frames", || {
        live.hub.snapshot().stats.received >= 65 && live.frames.counters().kept == 0
    });
    let (victim, incoming) = (host("192.0.2.7"), Direction::Incoming);
    let before = |since, most| live.frames.before(&victim, incoming, since, most);
    assert!(before(Timestamp::ZERO, 500).is_empty(), "it is off");
    live.frames.enable(true);
    let since = live.clock.now();
    wait_for("the attack", || {
        sent.extend(batch(&live, &mut writer, 100));
        live.hub.snapshot().attacks.iter().any(|attack| attack.target == victim)
    });
    let all = before(since, 500);
    assert!(all.len() > 50, "{}", all.len());
    check(&all, 256, &sent);
    assert_eq!(before(since, 20).len(), 20);
    assert!(before(live.clock.now() + PATIENCE, 500).is_empty());
    // The following frames are whole.
    let until = live.clock.now() + PATIENCE;
    let following = live.frames.follow(&victim, incoming, 120, until);
    let network = Target::Network("2001:db8:2::/64".parse().unwrap());
    let other = live.frames.follow(&network, incoming, 5, until);
    sent.extend(batch(&live, &mut writer, 150));
    wait_for("the following frames", || {
        let now = live.clock.now();
        following.is_complete(now) && other.is_complete(now)
    });
    let after = following.take();
    assert_eq!(after.len(), 120);
    // Some of the last batch before it may still have been in the pipe.
    check(&after, 1500, &sent);
    let other = other.take();
    let number = |frame: &CapturedFrame| u16::from_be_bytes([frame.bytes[54], frame.bytes[55]]);
    let sent = |frame: &CapturedFrame| udp("2001:db8:2::7", number(frame));
    assert!(other.len() == 5 && other.iter().all(|frame| frame.bytes == sent(frame)));
    // Into the attack file, and out of it again.
    let frames = [all, after].concat();
    let count = frames.len();
    let text = recorded(&live, &folder.path().join("attacks"), frames);
    assert_eq!(text.lines().filter(|line| line.contains("192.0.2.7")).count(), count, "{text}");
    assert_eq!(live.frames.counters().refused, 0);
    drop(writer);
    live.stop().unwrap();
}

#[test]
fn headers_of_an_attack_in_sflow() {
    let listen = "[listen]\nnetflow = []\nreceive_buffer = \"1M\"\nsflow = [\"127.0.0.1:PORT\"]\n";
    let free = [0; 2].map(|_| UdpSocket::bind("127.0.0.1:0").unwrap());
    let [port, other] = free.each_ref().map(|socket| socket.local_addr().unwrap().port());
    drop(free);
    let mut live = started(&listen.replace("PORT", &port.to_string()));
    live.frames.enable(true);
    headers(&live, port);
    // A worker that a reload brings sees frames like those before it.
    let said = live.reload(&plan(&listen.replace("PORT", &other.to_string()))).unwrap();
    assert!(said.contains(&format!("no longer: sflow 127.0.0.1:{port}")), "{said}");
    headers(&live, other);
    live.stop().unwrap();
}

/// Frames that follow, and those before, come out of what is sent to this port.
fn headers(live: &Live, port: u16) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut renderer = SflowRenderer::new(&SflowPlan::default());
    let record = FlowRecord {
        src: 0x2001_0db8_0001 << 80 | 9,
        dst: 0x2001_0db8_0002 << 80 | 7,
        family: Family::V6,
        protocol: protocol::UDP,
        bytes: 1000,
        ttl: 60,
        sampling: SamplingRate::new(100),
        ..FlowRecord::default()
    };
    let victim = host("2001:db8:2::7");
    let begin = live.clock.now();
    let following = live.frames.follow(&victim, Direction::Incoming, 10, begin + PATIENCE);
    wait_for("headers", || {
        for number in 0..100 {
            let time = Timestamp::from_parts(1_790_000_000, 0) + live.clock.elapsed();
            let record = FlowRecord { time, dst_port: number, ..record };
            let mut send = |_, message: &[u8]| {
                socket.send_to(message, ("127.0.0.1", port)).unwrap();
            };
            renderer.render(&record, &mut send).unwrap();
        }
        following.is_complete(live.clock.now())
    });
    let before = live.frames.before(&victim, Direction::Incoming, begin, 500);
    assert!(before.len() >= 10);
    assert!(live.frames.before(&victim, Direction::Outgoing, begin, 500).is_empty());
    for frame in before.iter().chain(&following.take()) {
        assert_eq!(frame.bytes[12..14], [0x86, 0xdd]);
        assert_eq!(frame.bytes[38..54], record.dst.to_be_bytes());
        assert!(frame.bytes.len() <= 128 && frame.original_length >= 1000, "{frame:?}");
        assert!(frame.time >= begin && frame.time <= live.clock.now());
    }
}
