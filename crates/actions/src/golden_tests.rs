//! Everything that others read of an attack's life, in both generations: the calls of the notify
//! script, the attack files and the keys in Redis, as transcripts in `testdata/golden`. What the
//! reference says about each line was checked by hand; `TIDEWALL_GOLDEN=write` writes them anew.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidewall_model::{
    Attack, AttackClass, Count, Direction, Family, Sample, Target, TcpFlags, TopTuples,
    TrafficCounters, protocol,
};

use crate::report_text::{Generation, Style};
use crate::script::Script;
use crate::server::{attempt, queued, status, wait_until};
use crate::{
    Action, ActionEvent, ActionKind, CapturedFrame, LocalTime, fixture, record, redis, script,
};

/// Writes down each call, and how often it was called before.
const WITNESS: &str = r#"#!/bin/sh
calls=$(dirname "$0")/calls
number=$(find "$calls" -name '*.arguments' | wc -l)
for word in "$@"; do printf '%s\n' "$word"; done > "$calls/$number.arguments"
cat > "$calls/$number.stdin"
readlink /proc/$$/fd/0 | sed 's/:.*//' > "$calls/$number.input"
"#;

/// One attack or ban.
struct Case {
    name: &'static str,
    ban: ActionEvent,
    own_lines: bool,
}

fn cases() -> Vec<Case> {
    let case = |name, ban| Case { name, ban, own_lines: false };
    let mut ipv4 = fixture::recorded(ActionKind::Banned);
    ipv4.attack.peak_pps = 529;
    vec![
        case("ipv4", ipv4),
        case("ipv6", ipv6()),
        case("outgoing", outgoing()),
        case("icmp", icmp()),
        case("manual", manual()),
        Case { own_lines: true, ..case("own-lines", own_lines()) },
    ]
}

fn ipv6() -> ActionEvent {
    let mut event = fixture::event(ActionKind::Banned, 9);
    let (us, remote) = (fixture::address("2001:db8:9::1"), fixture::address("2001:db8:ffff::7"));
    event.attack.target = Target::Host(us);
    event.attack.family = Family::V6;
    event.network = Some("2001:db8:9::/64".parse().unwrap());
    let record = &mut event.attack.samples[0].0;
    (record.family, record.src, record.dst) = (Family::V6, remote.bits, us.bits);
    event
}

fn outgoing() -> ActionEvent {
    let mut event = fixture::event(ActionKind::Banned, 9);
    event.attack.direction = Direction::Outgoing;
    let record = &mut event.attack.samples[0].0;
    std::mem::swap(&mut record.src, &mut record.dst);
    std::mem::swap(&mut record.src_port, &mut record.dst_port);
    event
}

/// Without flows.
fn icmp() -> ActionEvent {
    let mut event = fixture::event(ActionKind::Banned, 9);
    let total = Count { packets: 48_210, bytes: 2_892_600 };
    event.attack.rates = TrafficCounters { total, icmp: total, ..TrafficCounters::default() };
    event.attack.class = AttackClass::IcmpFlood;
    let record = &mut event.attack.samples[0].0;
    (record.protocol, record.src_port, record.dst_port) = (protocol::ICMP, 0, 0x800);
    record.bytes = 60;
    event
}

/// Nothing was measured.
fn manual() -> ActionEvent {
    let event = fixture::event(ActionKind::Banned, 9);
    let attack = Attack {
        class: AttackClass::Unknown,
        vectors: Vec::new(),
        rates: TrafficCounters::default(),
        opposite: TrafficCounters::default(),
        peak_pps: 0,
        peak_bps: 0,
        peak_flows: 0,
        packets: 0,
        bytes: 0,
        top: TopTuples::default(),
        samples: Vec::new(),
        ..event.attack
    };
    let note = "ann: ticket 4711".to_owned();
    ActionEvent { attack, manual: true, note, frames: Vec::new(), ..event }
}

/// TCP, so that flags are seen too.
fn own_lines() -> ActionEvent {
    let mut event = fixture::event(ActionKind::Banned, 9);
    let more = |flags: u16, port: u16| {
        let mut sample: Sample = event.attack.samples[0];
        sample.0.protocol = protocol::TCP;
        sample.0.tcp_flags = TcpFlags(flags);
        sample.0.src_port = port;
        sample
    };
    let more = [more(TcpFlags::SYN, 40_001), more(0, 40_002)];
    event.attack.samples.extend(more);
    event.note = "attack 9".into();
    event
}

fn style(generation: Generation, own_lines: bool) -> Style {
    Style { generation, own_lines, padded_ipv6: true, zone: LocalTime::utc(), ..Style::default() }
}

/// The ban, as the planner tells of it, among the other events of the attack.
fn life(ban: &ActionEvent) -> Vec<ActionEvent> {
    let at = |kind, frames: Vec<CapturedFrame>| ActionEvent { kind, frames, ..ban.clone() };
    let capture = at(ActionKind::Updated, ban.frames.clone());
    let mut life: Vec<ActionEvent> =
        [ActionKind::Started, ActionKind::Banned].map(|kind| at(kind, Vec::new())).to_vec();
    if !ban.frames.is_empty() {
        life.push(capture);
    }
    life.extend([ActionKind::Ended, ActionKind::Unbanned].map(|kind| at(kind, Vec::new())));
    life
}

fn transcript(case: &Case, generation: Generation) -> String {
    let folder = tempfile::tempdir().unwrap();
    let style = style(generation, case.own_lines);
    let mut text = String::new();
    for event in life(&case.ban) {
        _ = writeln!(text, "# {}", event.kind);
        calls(&mut text, folder.path(), &style, &event);
        let settings = redis::Config { style: style.clone(), ..redis::Config::default() };
        let redis = redis::Redis::new(redis::Config { prefix: "dc1".into(), ..settings }).unwrap();
        if redis.wants(&event) {
            for command in redis.commands(&event) {
                let [verb, key, value] = command.as_slice() else { panic!("{command:?}") };
                let [verb, key] = [verb, key].map(|word| String::from_utf8_lossy(word));
                show(&mut text, &format!("Redis: {verb} {key}"), &String::from_utf8_lossy(value));
            }
        }
    }
    files(&mut text, &folder.path().join("attacks"), &style, &life(&case.ban));
    text
}

fn calls(text: &mut String, folder: &Path, style: &Style, event: &ActionEvent) {
    let calls = folder.join("calls");
    _ = fs::remove_dir_all(&calls);
    fs::create_dir(&calls).unwrap();
    let path = folder.join("notify");
    fs::write(&path, WITNESS).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    let settings = script::Config { style: style.clone(), ..script::Config::new(path) };
    let script = Script::new(settings).unwrap();
    if !script.wants(event) {
        return;
    }
    // Through a queue: a file that was just written may be busy while other tests fork.
    let actions = queued(Arc::new(script));
    actions.submit(&Arc::new(event.clone()));
    wait_until("the script has run", || status(&actions).done == 1);
    for number in 0.. {
        let read = |ending: &str| fs::read_to_string(calls.join(format!("{number}.{ending}")));
        let Ok(arguments) = read("arguments") else { break };
        let arguments: Vec<&str> = arguments.lines().collect();
        let title = format!("script: {arguments:?}, standard input {}", read("input").unwrap());
        show(text, title.trim_end(), &read("stdin").unwrap());
    }
}

fn files(text: &mut String, folder: &Path, style: &Style, life: &[ActionEvent]) {
    let settings =
        record::Config { style: style.clone(), json: false, ..record::Config::new(folder) };
    let record = record::Record::new(settings).unwrap();
    for event in life.iter().filter(|event| record.wants(event)) {
        attempt(&record, event).unwrap();
    }
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let bytes = fs::read(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let title = format!("file: {name}, mode {mode:o}");
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("pcap") => {
                let hex = |bytes: &[u8]| {
                    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
                };
                let (header, rest) = bytes.split_at(24);
                let (packet, frame) = rest.split_at(16);
                let dump = [header, packet, frame].map(hex).join("\n") + "\n";
                show(text, &title, &dump);
            }
            _ => show(text, &title, &String::from_utf8(bytes).unwrap()),
        }
    }
}

/// Text with `$` at each end of a line, so that blanks and the last line's end are seen.
fn show(out: &mut String, title: &str, text: &str) {
    _ = writeln!(out, "## {title}");
    out.push_str(&text.replace('\n', "$\n"));
    if !text.is_empty() && !text.ends_with('\n') {
        out.push('\n');
    }
}

#[test]
fn what_others_read_is_as_it_was() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden");
    let write = std::env::var_os("TIDEWALL_GOLDEN").is_some();
    for (generation, name) in [(Generation::V1_2_4, "1.2.4"), (Generation::Newest, "newest")] {
        for case in cases() {
            let file = folder.join(format!("{name}-{}.txt", case.name));
            let found = transcript(&case, generation);
            if write {
                fs::create_dir_all(&folder).unwrap();
                fs::write(&file, &found).unwrap();
            }
            let want = fs::read_to_string(&file).unwrap();
            let mut lines = found.lines().zip(want.lines()).enumerate();
            let difference = lines.find(|(_, (found, want))| found != want);
            assert_eq!(difference, None, "{}", file.display());
            assert_eq!(found.len(), want.len(), "{}", file.display());
        }
    }
}
