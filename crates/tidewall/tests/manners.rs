//! How the service behaves on a machine: what it needs there, how its log looks, what its unit
//! says, who it hears by IPv6, what `tidewall events` tells, and that without a configuration it
//! finds attacks and changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

#[path = "../../capture/tests/common/mod.rs"]
mod lab;
mod service;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lab::{Lab, ready};
use serde_json::{Value, json};
use service::skip::{root_with, skip};
use service::{RELOAD, STATUS, Service, v5};
use tidewall_model::{Family, FlowRecord, SamplingRate, Timestamp, protocol};
use tidewall_scenario::{
    FlowCachePlan, FlowCacheRenderer, FlowProtocol, Renderer, SflowPlan, SflowRenderer,
};

const LIMITS: &str = "[thresholds.incoming]\ntotal = { pps = 10_000 }\n";
const PROGRAM: &str = env!("CARGO_BIN_EXE_tidewall");

/// Attacks a host until the service has named it.
fn attack(service: &mut Service, host: u8) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (target, mut sequence) = (format!("192.0.2.{host}"), 0);
    service.wait_for("the attack", |service| {
        for _ in 0..100 {
            let datagram = v5(sequence, sequence + 1000, 1000, host);
            socket.send_to(&datagram, ("127.0.0.1", service.netflow)).unwrap();
            sequence += 1;
        }
        service.attacked().contains(&target)
    });
}

/// Threads of a process with this name.
fn threads(process: u32, name: &str) -> usize {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap().map_while(Result::ok);
    let names = tasks.map(|task| fs::read_to_string(task.path().join("comm")).unwrap_or_default());
    names.filter(|thread| thread.trim() == name).count()
}

#[test]
fn events_are_printed_as_they_come_and_end_with_the_service() {
    let mut service = Service::start(LIMITS);
    let listeners = [[].as_slice(), &["--json"], &["--follow"], &["--follow", "--json"]];
    let mut listeners = listeners.map(|options| {
        let mut child = Command::new(PROGRAM)
            .arg("events")
            .args(options)
            .arg("--control")
            .arg(service.path("control.sock"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        (child, lines, options.contains(&"--json"))
    });
    let process = service.child.id();
    service.wait_for("the listeners", |_| threads(process, "client") == listeners.len());
    // They have been heard, and are about to be told.
    std::thread::sleep(Duration::from_millis(200));
    attack(&mut service, 9);
    for (_, lines, json) in &mut listeners {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        if *json {
            let event: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(event["event"], "started", "{line}");
            assert_eq!(event["attack"]["target"], "192.0.2.9", "{line}");
            assert!(event["time"].is_string(), "{line}");
        } else {
            let words: Vec<_> = line.split(' ').collect();
            assert!(words[0].starts_with("20") && words[0].ends_with('Z'), "{line}");
            assert_eq!(words[1..5], ["started", "#1", "192.0.2.9", "incoming"], "{line}");
            assert!(line.contains(" packets/s, "), "{line}");
        }
    }
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    for (mut child, mut lines, _) in listeners {
        lines.read_to_string(&mut String::new()).unwrap();
        assert!(child.wait().unwrap().success());
    }
    let output = service.command(&["events"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is `tidewall run` running"), "{said}");
}

/// The log in words, with standard error a file of which `stream` makes JOURNAL_STREAM.
fn log_in_words(stream: Option<fn(&File) -> String>) -> String {
    let mut service = Service::prepared();
    service.configure(LIMITS);
    let log = File::create(service.path("log")).unwrap();
    let mut command = Command::new(PROGRAM);
    command.env_remove("JOURNAL_STREAM").args(["run", "--config"]);
    if let Some(stream) = stream {
        command.env("JOURNAL_STREAM", stream(&log));
    }
    service.child = command
        .arg(service.path("tidewall.toml"))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    service.wait_for("the socket", |service| service.ask(STATUS).is_ok());
    attack(&mut service, 9);
    service.wait_for("the line", |service| service.log().contains("192.0.2.9 is under attack"));
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    service.log()
}

#[test]
fn the_log_has_times_and_under_journald_leaves_them_to_it() {
    let own: fn(&File) -> String = |log| {
        let log = log.metadata().unwrap();
        format!("{}:{}", log.dev(), log.ino())
    };
    let others: fn(&File) -> String = |log| format!("0:{}", log.metadata().unwrap().ino());
    for (stream, by_journald) in [(None, false), (Some(own), true), (Some(others), false)] {
        let log = log_in_words(stream);
        assert!(!log.contains('\x1b'), "no colours in a file: {log}");
        for line in log.lines() {
            let line = if by_journald {
                line.trim_start()
            } else {
                let (time, rest) = line.split_once(' ').unwrap();
                assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
                rest.trim_start()
            };
            let level = line.split(' ').next().unwrap();
            assert!(["INFO", "WARN", "ERROR"].contains(&level), "{line}");
        }
        assert!(log.contains("WARN attack: 192.0.2.9 is under attack"), "{log}");
        assert!(log.contains("INFO listening: netflow 127.0.0.1:"), "{log}");
    }
}

#[test]
fn it_needs_the_c_library_and_nothing_else() {
    let Ok(output) = Command::new("readelf").args(["--dynamic", "--wide", PROGRAM]).output() else {
        return skip("it_needs_the_c_library_and_nothing_else", "`readelf`");
    };
    let said = String::from_utf8(output.stdout).unwrap();
    let needed: Vec<_> = said
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .map(|line| line.split(['[', ']']).nth(1).unwrap())
        .collect();
    // Parts of glibc, its loader, and the compiler's own for unwinding.
    let may = ["libc.so.6", "libm.so.6", "libgcc_s.so.1"];
    assert!(needed.contains(&"libc.so.6"), "{said}");
    for library in needed {
        assert!(may.contains(&library) || library.starts_with("ld-linux"), "{library}: {said}");
    }
}

/// The keys of the unit that is packaged, with all their values.
fn unit() -> (String, BTreeMap<String, Vec<String>>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/tidewall.service");
    let text = fs::read_to_string(path).unwrap();
    let mut keys: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some((key, value)) = line.split_once('=') {
            keys.entry(key.to_owned()).or_default().push(value.to_owned());
        }
    }
    (text, keys)
}

#[test]
fn the_unit_says_what_the_service_does() {
    let (text, keys) = unit();
    let one = |key: &str| {
        let values = keys.get(key).unwrap_or_else(|| panic!("{key}: {text}"));
        assert_eq!(values.len(), 1, "{key}");
        values[0].as_str()
    };
    for (key, value) in [
        ("Type", "notify"),
        ("ExecReload", "+/bin/kill -HUP $MAINPID"),
        ("Restart", "on-failure"),
        ("NoNewPrivileges", "yes"),
        ("ProtectSystem", "strict"),
        ("LimitMEMLOCK", "infinity"),
        ("WantedBy", "multi-user.target"),
    ] {
        assert_eq!(one(key), value, "{key}");
    }
    assert!(one("WatchdogSec").parse::<u32>().unwrap() >= 10);
    assert!(one("TimeoutStopSec").parse::<u32>().unwrap() >= 2, "it ends within two seconds");
    // What is ambient is within what may be had at all.
    let bound: Vec<_> = one("CapabilityBoundingSet").split(' ').collect();
    for right in one("AmbientCapabilities").split(' ') {
        assert!(bound.contains(&right), "{right}");
    }
    for right in ["CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_BPF", "CAP_IPC_LOCK", "CAP_SETUID"] {
        assert!(bound.contains(&right), "{right}");
    }
    // What is ambient is kept where the unit names a user.
    assert!(!one("AmbientCapabilities").contains("CAP_DAC_OVERRIDE"));
    // The folders are those that the defaults name.
    let defaults = Command::new(PROGRAM).args(["config", "default"]).output().unwrap();
    let defaults = String::from_utf8(defaults.stdout).unwrap();
    assert!(defaults.contains(&format!("/run/{}/control.sock", one("RuntimeDirectory"))));
    assert!(defaults.contains(&format!("/var/lib/{}", one("StateDirectory"))));
    // And the command is one that there is.
    let mut words = one("ExecStart").split(' ');
    assert_eq!((words.next(), words.next()), (Some("/usr/bin/tidewall"), Some("run")));
    let help = Command::new(PROGRAM).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for option in words.filter(|word| word.starts_with('-')) {
        assert!(help.contains(&format!("{option} ")), "{option}: {help}");
    }
}

#[test]
fn systemd_takes_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("tidewall.service");
    // The program need not be installed.
    fs::write(&copy, unit().0.replace("/usr/bin/tidewall", PROGRAM)).unwrap();
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&copy).output();
    let Ok(output) = output else {
        return println!("systemd_takes_the_unit: skipped: needs `systemd-analyze`");
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let ours: Vec<_> = said.lines().filter(|line| line.contains("tidewall.service")).collect();
    assert!(ours.is_empty(), "{said}");
}

/// A packet to a host of ours, 2001:db8:2::7.
fn record_v6(time: Timestamp, number: u32) -> FlowRecord {
    FlowRecord {
        time,
        src: (0x2001_0db8_0001 << 80) | u128::from(number),
        dst: (0x2001_0db8_0002 << 80) | 7,
        family: Family::V6,
        protocol: protocol::UDP,
        src_port: 53,
        dst_port: 4444,
        packets: 1,
        bytes: 1000,
        ttl: 60,
        sampling: SamplingRate::new(1000),
        ..FlowRecord::default()
    }
}

#[test]
fn exporters_are_heard_and_allowed_by_ipv6() {
    let plan = FlowCachePlan::default();
    let renderers: [(bool, Box<dyn Renderer>); 2] = [
        (true, Box::new(SflowRenderer::new(&SflowPlan::default()))),
        (false, Box::new(FlowCacheRenderer::new(FlowProtocol::NetflowV9, &plan))),
    ];
    for (is_sflow, mut renderer) in renderers {
        let mut service = Service::prepared();
        let (sflow, netflow) = (service.sflow, service.netflow);
        let text = |allow: &str| {
            format!(
                "networks = [\"2001:db8:2::/64\"]\n{LIMITS}[listen]\nsflow = [\"[::1]:{sflow}\"]\n\
                 netflow = [\"[::1]:{netflow}\"]\nallow = [\"192.0.2.0/24\", \"{allow}\"]\n"
            )
        };
        service.write(&text("::1/128"));
        service.run();
        let (socket, begin) = (UdpSocket::bind("[::1]:0").unwrap(), Instant::now());
        let port = if is_sflow { sflow } else { netflow };
        let mut number = 0;
        let mut send = || {
            for _ in 0..100 {
                let time = Timestamp::from_parts(1_790_000_000, 0) + begin.elapsed();
                number += 1;
                let mut send = |_: Timestamp, message: &[u8]| {
                    socket.send_to(message, ("::1", port)).unwrap();
                };
                renderer.render(&record_v6(time, number), &mut send).unwrap();
            }
        };
        service.wait_for("the attack", |service| {
            send();
            service.attacked() == ["2001:db8:2::7"]
        });
        let is_known = |service: &Service| {
            let list = service.data(r#"{"ask":"exporters"}"#);
            list[0]["exporter"] == "::1" && list[0]["datagrams"].as_u64() > Some(0)
        };
        service.wait_for("the exporter", is_known);
        assert_eq!(service.source("refused"), 0);
        // Its neighbour is no longer it.
        service.write(&text("::2/127"));
        assert_eq!(service.ask(RELOAD).unwrap()["ok"], true, "{}", service.log());
        service.wait_for("the refusal", |service| {
            send();
            service.source("refused") > 0
        });
        let told = "came from senders that `allow` does not name";
        service.wait_for("the line", |service| service.log().contains(told));
        assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    }
}

/// What the rest of the world would see of a change: addresses, routes, neighbours, rules.
fn network(lab: &Lab) -> String {
    let ask = |words: &str| {
        let words = format!("-n {} {words}", lab.receiver.name);
        let output = Command::new("ip").args(words.split(' ')).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    ["-d link", "address", "route show table all", "-6 route", "rule"].map(ask).concat()
}

#[test]
fn an_attack_is_found_without_a_configuration_and_nothing_is_changed() {
    if !ready("an_attack_is_found_without_a_configuration_and_nothing_is_changed") {
        return;
    }
    let lab = Lab::new();
    let mut service = Service::prepared();
    let home = service.path("home");
    fs::create_dir(&home).unwrap();
    let before = network(&lab);
    service.child = Command::new("ip")
        .args(["netns", "exec", &lab.receiver.name, PROGRAM, "run", "--log", "json", "--control"])
        .arg(service.path("control.sock"))
        .current_dir(&home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(service.path("log")).unwrap())
        .spawn()
        .unwrap();
    service.wait_for("the socket", |service| service.ask(STATUS).is_ok());
    let socket = lab.sender.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let mut sequence = 0;
    service.wait_for("the attack", |service| {
        for _ in 0..100 {
            let datagram = v5(sequence, sequence + 1000, 1000, 7);
            socket.send_to(&datagram, ("192.0.2.2", 2055)).unwrap();
            sequence += 1;
        }
        service.attacked() == ["192.0.2.7"]
    });
    service.wait_for("the line", |service| service.log().contains("192.0.2.7 is under attack"));
    // A second for whatever would come of it.
    std::thread::sleep(Duration::from_secs(1));
    // Whoever would be told is told of it; nobody is.
    let bans = service.data(r#"{"ask":"bans"}"#)["mitigations"].clone();
    assert!(bans.as_array().unwrap().iter().all(|ban| ban["kind"] == "notify"), "{bans}");
    let actions = service.data(r#"{"ask":"actions"}"#);
    assert_eq!(
        (&actions["actions"], &actions["announcers"]),
        (&json!([]), &json!([])),
        "{actions}"
    );
    assert_eq!(network(&lab), before);
    let tasks = fs::read_dir(format!("/proc/{}/task", service.child.id())).unwrap();
    let children = tasks.map(|task| task.unwrap().path().join("children"));
    let children: Vec<_> = children.map(|file| fs::read_to_string(file).unwrap()).collect();
    assert!(children.len() > 3 && children.concat().trim().is_empty(), "{children:?}");
    assert_eq!(service.end("-INT").0, Some(0), "{}", service.log());
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0, "it wrote something");
    assert_eq!(network(&lab), before);
}

/// Programs read the log: what is wrong with the configuration, and why it does not start, are lines
/// of it.
#[test]
fn a_log_for_programs_is_json_whatever_happens() {
    let mut service = Service::prepared();
    let lines = |service: &Service| -> Vec<Value> {
        service.log().lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    };
    let listen = format!(
        "[listen]\nsflow = [\"127.0.0.1:{}\"]\nnetflow = [\"127.0.0.1:{}\"]\n",
        service.sflow, service.netflow
    );
    service.write(&format!("networks = [\"192.0.2.0/24\", \"192.0.2.0/24\"]\n{listen}"));
    service.run();
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    let told = lines(&service);
    let warning = told.iter().find(|line| {
        line["message"].as_str().unwrap().contains("tidewall.toml:1:") && line["level"] == "WARN"
    });
    assert!(warning.is_some(), "{told:?}");
    // It cannot be read; it has nothing to do; a folder is missing.
    let folder = "[service]\ncontrol = \"/proc/none/x\"\nstate = \"/proc/none\"\n";
    for (text, reason) in [
        ("networks = 5\n".to_owned(), "tidewall.toml:1:"),
        ("[listen]\nsflow = []\nnetflow = []\n".to_owned(), "nothing to receive"),
        (format!("{listen}{folder}"), "/proc/none"),
    ] {
        fs::write(service.path("tidewall.toml"), &text).unwrap();
        service.child = service.spawn();
        assert_eq!(service.ended(), Some(2), "{text}: {}", service.log());
        let told = lines(&service);
        let last = told.iter().rev().find(|line| line["level"] == "ERROR").expect(&text);
        assert!(last["message"].as_str().unwrap().contains(reason), "{text}: {told:?}");
    }
}

#[test]
fn sigint_ends_it_in_time_amid_an_attack() {
    let mut service = Service::start(LIMITS);
    attack(&mut service, 9);
    let (code, took) = service.end("-INT");
    assert_eq!(code, Some(0), "{}", service.log());
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(service.log().contains("ended; attacks that were going on are not told as ended"));
    assert!(!service.path("control.sock").exists());
}

#[test]
fn a_small_receive_buffer_is_told_with_its_sysctl() {
    if !root_with("a_small_receive_buffer_is_told_with_its_sysctl", &["setpriv"]) {
        return;
    }
    // In a name space of its own an older kernel does not show it.
    let Ok(most) = fs::read_to_string("/proc/sys/net/core/rmem_max") else {
        return println!("skipped: net.core.rmem_max is not to be seen");
    };
    let wanted = 2 * most.trim().parse::<u64>().unwrap();
    let mut service = Service::prepared();
    fs::set_permissions(service.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    // Those with CAP_NET_ADMIN get what they ask for.
    let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    service.wrapper = words.map(str::to_owned).to_vec();
    service.write(&format!(
        "networks = [\"192.0.2.0/24\"]\n[listen]\nsflow = []\n\
         netflow = [\"127.0.0.1:{}\"]\nreceive_buffer = \"{wanted}\"\n",
        service.netflow
    ));
    service.run();
    let log = service.log();
    let line = log.lines().find(|line| line.contains("the receive buffer is")).expect(&log);
    assert!(line.contains(&format!("sysctl -w net.core.rmem_max={wanted}")), "{line}");
    assert!(line.contains("\"level\":\"WARN\""), "{line}");
    // A reload that asks for as much as there is has nothing to say.
    let text = fs::read_to_string(service.path("tidewall.toml")).unwrap();
    let text = text.replace(&format!("\"{wanted}\""), &format!("\"{}\"", most.trim()));
    fs::write(service.path("tidewall.toml"), text).unwrap();
    assert_eq!(service.ask(RELOAD).unwrap()["ok"], true);
    std::thread::sleep(Duration::from_millis(300));
    let lines = service.log().matches("the receive buffer is").count();
    assert_eq!(lines, 1, "{}", service.log());
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}
