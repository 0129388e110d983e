//! The service as a process on loopback: it hears exporters, names an attack within a second or
//! two, answers questions, takes a new configuration without forgetting, and ends in time.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

mod service;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use service::{PATIENCE, RELOAD, Service};
use tidewall_model::{FlowRecord, SamplingRate, protocol};
use tidewall_scenario::{FlowCachePlan, FlowCacheRenderer, FlowProtocol, Renderer};
use tidewall_scenario::{SflowPlan, SflowRenderer};

fn record(v6: bool, sampling: u32, number: u32) -> FlowRecord {
    let (src, dst) = if v6 {
        (0x2001_0db8_0001 << 80 | u128::from(number), (0x2001_0db8_0002 << 80) | 7)
    } else {
        (0xc633_6400 | u128::from(number % 250), 0xc000_0207)
    };
    FlowRecord {
        src,
        dst,
        family: if v6 { tidewall_model::Family::V6 } else { tidewall_model::Family::V4 },
        protocol: protocol::UDP,
        src_port: 53,
        dst_port: 4444,
        packets: 1,
        bytes: 1000,
        ttl: 60,
        sampling: SamplingRate::new(sampling),
        ..FlowRecord::default()
    }
}

/// Sends what a renderer makes of records, for as long as `more` says so.
fn flood(
    renderer: &mut dyn Renderer,
    port: u16,
    sampling: u32,
    mut more: impl FnMut() -> bool,
) -> u64 {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let begin = Instant::now();
    let mut sent = 0;
    while more() {
        assert!(begin.elapsed() < PATIENCE, "sent {sent} records in vain");
        for _ in 0..100 {
            let time = tidewall_model::Timestamp::from_parts(1_790_000_000, 0) + begin.elapsed();
            let record = FlowRecord { time, ..record(sent % 2 == 0, sampling, sent as u32) };
            renderer
                .render(&record, &mut |_, message| {
                    socket.send_to(message, ("127.0.0.1", port)).unwrap();
                })
                .unwrap();
            sent += 1;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    sent
}

#[test]
fn a_log_for_syslog_needs_no_syslog() {
    let mut service = Service::prepared();
    service.more = "local_syslog = true\nlog_level = \"debug\"\n".to_owned();
    service.configure(LIMITS);
    service.run();
    let missing = service.log().matches("nothing is sent to this machine's syslog").count();
    assert_eq!(missing, usize::from(!Path::new("/dev/log").exists()), "{}", service.log());
    let (status, _) = service.end("-TERM");
    assert_eq!(status, Some(0), "{}", service.log());
}

const LIMITS: &str = "[thresholds.incoming]\ntotal = { pps = 10_000 }\n";

#[test]
fn an_attack_in_sflow_is_named_listed_and_logged() {
    let mut service = Service::start(LIMITS);
    let mut events = UnixStream::connect(service.path("control.sock")).unwrap();
    events.set_read_timeout(Some(PATIENCE)).unwrap();
    writeln!(events, r#"{{"ask":"events"}}"#).unwrap();
    let mut renderer = SflowRenderer::new(&SflowPlan::default());
    let begin = Instant::now();
    flood(&mut renderer, service.sflow, 1000, || {
        service.data(r#"{"ask":"attacks"}"#).as_array().unwrap().len() < 2
    });
    // 5,000,000 packets/s to each host, 500 times the limit.
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let attacks = service.data(r#"{"ask":"attacks"}"#);
    let mut targets: Vec<_> =
        attacks.as_array().unwrap().iter().map(|a| a["target"].as_str().unwrap()).collect();
    targets.sort_unstable();
    assert_eq!(targets, ["192.0.2.7", "2001:db8:2::7"]);
    let mut lines = BufReader::new(events).lines();
    assert_eq!(lines.next().unwrap().unwrap(), r#"{"ok":true,"data":null}"#);
    let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(event["event"], "started");
    service.wait_for("the log", |service| service.log().contains("192.0.2.7 is under attack"));
    // Workers report once a second.
    service.wait_for("the exporter", |service| {
        service.data(r#"{"ask":"exporters"}"#)[0]["protocol"] == "sflow"
    });
    let status = service.data(r#"{"ask":"status"}"#);
    assert_eq!(status["drops"], serde_json::json!({}), "{status}");
    assert_eq!(service.data(r#"{"ask":"hosts","top":1}"#).as_array().unwrap().len(), 1);
    let (code, took) = service.end("-TERM");
    assert_eq!(code, Some(0), "{}", service.log());
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(!service.path("control.sock").exists());
}

#[test]
fn every_version_of_netflow_is_heard_on_one_port() {
    for protocol in [FlowProtocol::NetflowV5, FlowProtocol::NetflowV9, FlowProtocol::Ipfix] {
        let service = Service::start(LIMITS);
        let mut renderer = FlowCacheRenderer::new(protocol, &FlowCachePlan::default());
        // Version 5 carries IPv4 only.
        let hosts = if protocol == FlowProtocol::NetflowV5 { 1 } else { 2 };
        flood(&mut renderer, service.netflow, 1000, || {
            service.data(r#"{"ask":"attacks"}"#).as_array().unwrap().len() < hosts
        });
    }
}

#[test]
fn templates_are_known_after_a_restart() {
    let mut service = Service::start(LIMITS);
    let plan = FlowCachePlan { template_datagrams: 1_000_000, ..FlowCachePlan::default() };
    let plan = FlowCachePlan { template_interval: Duration::from_hours(1), ..plan };
    let mut renderer = FlowCacheRenderer::new(FlowProtocol::NetflowV9, &plan);
    let attacked =
        |service: &Service| !service.data(r#"{"ask":"attacks"}"#).as_array().unwrap().is_empty();
    flood(&mut renderer, service.netflow, 1000, || !attacked(&service));
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    service.child = service.spawn();
    service.wait_for("the socket", |service| service.ask(r#"{"ask":"status"}"#).is_ok());
    assert!(service.log().contains("templates known again: "), "{}", service.log());
    // The exporter sends its templates once an hour, and goes on with data.
    flood(&mut renderer, service.netflow, 1000, || !attacked(&service));
    let status = service.data(r#"{"ask":"status"}"#);
    assert_eq!(status["drops"]["no_template"], Value::Null, "{status}");
    // A damaged file is told and ignored.
    assert_eq!(service.end("-TERM").0, Some(0));
    let file =
        service.path("state").join(format!("netflow-{}-127.0.0.1-0.templates", service.netflow));
    let mut bytes = fs::read(&file).unwrap();
    bytes[40] ^= 1;
    fs::write(&file, bytes).unwrap();
    service.child = service.spawn();
    service.wait_for("the complaint", |service| service.log().contains("damaged, and ignored"));
}

#[test]
fn a_reload_keeps_attacks_and_a_bad_file_changes_nothing() {
    let mut service = Service::start(LIMITS);
    let mut renderer = SflowRenderer::new(&SflowPlan::default());
    flood(&mut renderer, service.sflow, 1000, || {
        service.data(r#"{"ask":"attacks"}"#).as_array().unwrap().len() < 2
    });
    let ids = |service: &Service| -> Vec<u64> {
        let attacks = service.data(r#"{"ask":"attacks"}"#);
        let mut ids: Vec<_> =
            attacks.as_array().unwrap().iter().map(|a| a["id"].as_u64().unwrap()).collect();
        ids.sort_unstable();
        ids
    };
    let before = ids(&service);
    let received = service.data(r#"{"ask":"status"}"#)["records"]["received"].as_u64().unwrap();
    service.configure("[thresholds.incoming]\ntotal = { pps = \"many\" }\n");
    let answer = service.ask(r#"{"ask":"reload"}"#).unwrap();
    assert_eq!(answer["ok"], false);
    assert!(answer["error"].as_str().unwrap().contains("thresholds.incoming"), "{answer}");
    service.configure("[thresholds.incoming]\ntotal = { pps = 20_000 }\n");
    service.signal("-HUP");
    service.wait_for("the reload", |service| service.log().contains("reloaded"));
    let mut rounds = 0;
    flood(&mut renderer, service.sflow, 1000, || {
        rounds += 1;
        rounds < 200
    });
    assert_eq!(ids(&service), before, "{}", service.log());
    let status = service.data(r#"{"ask":"status"}"#);
    assert!(status["records"]["received"].as_u64().unwrap() > received, "{status}");
}

/// The configuration with these lines under `[listen]` instead of the usual ones.
fn listen(service: &Service, lines: &str) -> Value {
    service.write(&format!(
        "networks = [\"192.0.2.0/24\", \"2001:db8:2::/64\"]\n{LIMITS}\n[listen]\n{lines}\n"
    ));
    service.ask(RELOAD).unwrap()
}

#[test]
fn a_reload_under_load_loses_no_datagram_and_no_template() {
    let mut service = Service::prepared();
    let port = service.netflow;
    let lines = |workers: usize, more: &str| {
        format!(
            "workers = {workers}\nreceive_buffer = \"16M\"\nsflow = []\n\
             netflow = [\"127.0.0.1:{port}\"{more}]"
        )
    };
    service
        .write(&format!("networks = [\"192.0.2.0/24\"]\n{LIMITS}\n[listen]\n{}\n", lines(2, "")));
    service.run();
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        // Eight exporters that say their templates once. The next flow takes the place of the one
        // before, which has a datagram of its own.
        scope.spawn(|| {
            let plan = FlowCachePlan { template_datagrams: 1_000_000, ..FlowCachePlan::default() };
            let plan = FlowCachePlan { template_interval: Duration::from_hours(1), ..plan };
            let plan = FlowCachePlan { entries: 1, records: 1, ..plan };
            let mut exporters: Vec<_> = (1..=8)
                .map(|n| {
                    let socket = UdpSocket::bind(format!("127.0.0.{n}:0")).unwrap();
                    (socket, FlowCacheRenderer::new(FlowProtocol::NetflowV9, &plan))
                })
                .collect();
            let begin = Instant::now();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                for (socket, renderer) in &mut exporters {
                    let time = tidewall_model::Timestamp::from_parts(1_790_000_000, 0);
                    let time = time + begin.elapsed();
                    let record = FlowRecord { time, ..record(false, 1, number) };
                    renderer
                        .render(&record, &mut |_, message| {
                            socket.send_to(message, ("127.0.0.1", port)).unwrap();
                            sent.fetch_add(1, Ordering::Relaxed);
                        })
                        .unwrap();
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        // With fewer workers exporters move to those that did not hear their templates.
        let both = ", \"[::1]:PORT\"";
        let reloads = [(1, ""), (4, ""), (4, both), (3, both), (1, both), (2, "")];
        for (workers, more) in reloads {
            std::thread::sleep(Duration::from_millis(400));
            let more = more.replace("PORT", &port.to_string());
            let answer = listen(&service, &lines(workers, &more));
            assert_eq!(answer["ok"], true, "{answer}");
            let said = answer["data"]["reloaded"].as_str().unwrap();
            assert!(said.contains("netflow"), "{said}");
            let at = 1 + usize::from(!more.is_empty());
            let list = service.status()["workers"].as_array().unwrap().len();
            assert_eq!(list, workers * at, "{said}");
        }
        std::thread::sleep(Duration::from_millis(400));
        stop.store(true, Ordering::Relaxed);
    });
    let sent = sent.into_inner();
    service.wait_for("all of it", |service| service.source("received") >= sent);
    let status = service.status();
    assert_eq!(status["received"]["received"], sent, "{status}");
    assert_eq!(status["received"]["dropped_by_kernel"], 0, "{status}");
    assert_eq!(status["drops"], serde_json::json!({}), "{status}");
    assert_eq!(status["records"]["received"], status["records"]["counted"], "{status}");
    assert!(sent > 10_000, "{sent} datagrams are no load");
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

#[test]
fn templates_of_workers_that_are_no_more_outlive_a_crash() {
    let mut service = Service::prepared();
    let port = service.netflow;
    let lines = |workers: usize| {
        format!("workers = {workers}\nsflow = []\nnetflow = [\"127.0.0.1:{port}\"]")
    };
    service.write(&format!("networks = [\"192.0.2.0/24\"]\n[listen]\n{}\n", lines(4)));
    service.run();
    // Templates are sent once; every flow has a datagram of its own.
    let plan = FlowCachePlan { template_datagrams: 1_000_000, ..FlowCachePlan::default() };
    let plan = FlowCachePlan { template_interval: Duration::from_hours(1), ..plan };
    let plan = FlowCachePlan { entries: 1, records: 1, ..plan };
    let mut exporters: Vec<_> = (1..=16)
        .map(|n| {
            let socket = UdpSocket::bind(format!("127.0.0.{n}:0")).unwrap();
            (socket, FlowCacheRenderer::new(FlowProtocol::NetflowV9, &plan))
        })
        .collect();
    let (mut sent, mut number) = (0, 0);
    let mut send = |service: &mut Service, before: u64| {
        for _ in 0..10 {
            number += 1;
            for (socket, renderer) in &mut exporters {
                let time = tidewall_model::Timestamp::from_parts(1_790_000_000 + number, 0);
                let record = FlowRecord { time, ..record(false, 1, number as u32) };
                renderer
                    .render(&record, &mut |_, message| {
                        socket.send_to(message, ("127.0.0.1", port)).unwrap();
                        sent += 1;
                    })
                    .unwrap();
            }
        }
        service.wait_for("all of it", |service| service.source("received") >= sent - before);
        assert_eq!(service.status()["drops"], serde_json::json!({}));
        sent
    };
    send(&mut service, 0);
    assert_eq!(listen(&service, &lines(1))["ok"], true);
    let before = send(&mut service, 0);
    let files = |service: &Service| {
        let list = fs::read_dir(service.path("state")).unwrap().flatten();
        let list = list.map(|file| file.file_name().into_string().unwrap());
        let mut list: Vec<_> = list.filter(|name| name.starts_with("netflow-")).collect();
        list.sort();
        list
    };
    let only = [format!("netflow-{port}-127.0.0.1-0.templates")];
    service.wait_for("one file", |service| files(service) == only);
    service.end("-KILL");
    service.write(&format!("networks = [\"192.0.2.0/24\"]\n[listen]\n{}\n", lines(3)));
    service.run();
    send(&mut service, before);
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    assert_eq!(files(&service).len(), 3);
}

#[test]
fn a_reload_changes_where_it_listens_or_nothing_at_all() {
    let mut service = Service::start(LIMITS);
    let (sflow, netflow) = (service.sflow, service.netflow);
    let mut renderer = SflowRenderer::new(&SflowPlan::default());
    flood(&mut renderer, sflow, 1000, || service.attacked().len() < 2);
    let before = service.source("received");
    // What cannot be opened changes nothing, and what was opened beside it is closed again.
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let (free, _) = service::free_ports();
    let old = format!("sflow = [\"127.0.0.1:{sflow}\"]\nnetflow = [\"127.0.0.1:{netflow}\"");
    for (lines, why) in [
        (format!("{old}, \"127.0.0.1:{free}\", \"127.0.0.1:{taken_port}\"]"), "ss -lunp"),
        (format!("{old}]\ninterface = \"nothing0\""), "ip link"),
        ("sflow = []\nnetflow = []".to_owned(), "nothing to receive"),
    ] {
        let answer = listen(&service, &lines);
        assert_eq!(answer["ok"], false, "{lines}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(why), "{answer}");
        assert_eq!(service.status()["workers"].as_array().unwrap().len(), 2, "{lines}");
        drop(UdpSocket::bind(("127.0.0.1", free)).unwrap());
    }
    // Every address instead of one, the other way round, and a port less.
    for lines in [
        format!("sflow = [\"0.0.0.0:{sflow}\"]\nnetflow = []\nworkers = 2"),
        format!("sflow = [\"127.0.0.1:{sflow}\"]\nnetflow = []"),
        format!("sflow = [\"127.0.0.1:{sflow}\"]\nnetflow = []\ninterface = \"lo\""),
    ] {
        let answer = listen(&service, &lines);
        assert_eq!(answer["ok"], true, "{lines}: {answer}");
        let seen = service.source("received");
        assert!(seen >= before, "what was counted before still is");
        flood(&mut renderer, sflow, 1000, || service.source("received") <= seen);
        assert_eq!(service.attacked().len(), 2, "{lines}: attacks go on");
    }
    drop(UdpSocket::bind(("127.0.0.1", netflow)).unwrap());
    service.configure(LIMITS);
    let text = fs::read_to_string(service.path("tidewall.toml")).unwrap();
    fs::write(service.path("tidewall.toml"), format!("{text}pid_file = \"/nowhere\"\n")).unwrap();
    let said = service.data(RELOAD)["reloaded"].as_str().unwrap().to_owned();
    assert!(said.contains(&format!("received from: sflow 127.0.0.1:{sflow}")), "{said}");
    assert!(said.ends_with("[service] is new and takes effect when the service is restarted"));
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

#[test]
fn addresses_that_a_file_lists_are_ours_as_they_come_and_go() {
    let mut service = Service::prepared();
    let file = service.path("veip");
    service.write(&format!(
        "openvz_addresses = {file:?}\n{LIMITS}\n[listen]\nsflow = [\"127.0.0.1:{}\"]\n\
         netflow = []\n",
        service.sflow
    ));
    service.run();
    let told = |service: &Service, what: &str| service.log().matches(what).count();
    assert!(service.log().contains("networks that are ours: none"), "{}", service.log());
    assert_eq!(told(&service, "cannot be read: No such file"), 1, "{}", service.log());
    // As the kernel of OpenVZ writes it.
    let list = "Version: 2.2\n  2001:db8:2:0:0:0:0:7          101\n   192.0.2.7        102\n";
    fs::write(&file, list).unwrap();
    service.wait_for("the addresses", |service| {
        told(service, "ours are now 192.0.2.7/32, 2001:db8:2::7/128") == 1
    });
    let mut renderer = SflowRenderer::new(&SflowPlan::default());
    flood(&mut renderer, service.sflow, 1000, || service.attacked().len() < 2);
    fs::write(&file, list.replace("192.0.2.7 ", "")).unwrap();
    service.wait_for("the change", |service| told(service, "ours are now 2001:db8:2::7/128") == 1);
    service.wait_for("the end", |service| service.attacked() == ["2001:db8:2::7"]);
    // Without the list things stay as they are, and that is told once.
    fs::remove_file(&file).unwrap();
    service.wait_for("the loss", |service| told(service, "its 1 addresses stay as they were") == 1);
    assert_eq!(service.data(RELOAD)["reloaded"], "reloaded: nothing new");
    assert_eq!(service.attacked(), ["2001:db8:2::7"]);
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

#[test]
fn commands_ask_a_running_service() {
    let mut service = Service::start(LIMITS);
    let socket = service.path("control.sock");
    for command in ["status", "exporters", "hosts", "networks", "attacks"] {
        let ask = |more: &[&str]| {
            let output = Command::new(env!("CARGO_BIN_EXE_tidewall"))
                .arg(command)
                .arg("--control")
                .arg(&socket)
                .args(more)
                .output()
                .unwrap();
            assert!(output.status.success(), "{command}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert!(!ask(&[]).is_empty(), "{command}");
        serde_json::from_str::<Value>(&ask(&["--json"])).unwrap();
    }
    let (code, _) = service.end("-INT");
    assert_eq!(code, Some(0));
    let output = Command::new(env!("CARGO_BIN_EXE_tidewall"))
        .args(["status", "--control"])
        .arg(&socket)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is `tidewall run` running"), "{said}");
}

#[test]
fn the_pid_file_of_fastnetmon_is_written_when_its_option_asks() {
    for (option, written) in [(None, false), (Some("--pid_logic"), true)] {
        let mut service = Service::prepared();
        let (list, pid) = (service.path("networks_list"), service.path("fastnetmon.pid"));
        let file = service.path("fastnetmon.conf");
        fs::write(&list, "192.0.2.0/24\n").unwrap();
        let text = format!(
            "enable_ban = off\nmonitor_local_ip_addresses = off\nnetflow = on\n\
             netflow_host = 127.0.0.1\nnetflow_port = {}\nnetworks_list_path = {}\n\
             pid_path = {}\n",
            service.netflow,
            list.display(),
            pid.display(),
        );
        fs::write(&file, text).unwrap();
        service.child = Command::new(env!("CARGO_BIN_EXE_tidewall"))
            .args(["run", "--config"])
            .arg(&file)
            .arg("--control")
            .arg(service.path("control.sock"))
            .args(option)
            .stderr(fs::File::create(service.path("log")).unwrap())
            .spawn()
            .unwrap();
        service.wait_for("the socket", |service| service.ask(service::STATUS).is_ok());
        let number = fs::read_to_string(&pid).ok();
        assert_eq!(number, written.then(|| format!("{}\n", service.child.id())));
        assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
        assert!(!pid.exists());
    }
}

/// FastNetMon's configuration and its lists are read again like ours.
#[test]
fn a_reload_reads_the_lists_of_fastnetmon_again() {
    let mut service = Service::prepared();
    let file = service.path("fastnetmon.conf");
    let write = |name: &str, text: &str| fs::write(service.path(name), text).unwrap();
    let (netflow, folder) = (service.netflow, service.folder.path().to_owned());
    let conf = |more: &str| {
        format!(
            "enable_ban = off\nmonitor_local_ip_addresses = off\nnetflow = on\n\
             netflow_host = 127.0.0.1\nnetflow_port = {}\nnetworks_list_path = {}\n\
             white_list_path = {}\n{more}",
            netflow,
            folder.join("networks_list").display(),
            folder.join("networks_whitelist").display(),
        )
    };
    write("networks_list", "203.0.113.0/24\n");
    write("networks_whitelist", "");
    write("fastnetmon.conf", &conf(""));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidewall"));
    command.args(["run", "--config"]).arg(&file).arg("--control");
    command.arg(service.path("control.sock"));
    service.child = command.stderr(fs::File::create(service.path("log")).unwrap()).spawn().unwrap();
    service.wait_for("the socket", |service| service.ask(service::STATUS).is_ok());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = service.netflow;
    let send = |number| {
        socket.send_to(&service::v5(number, 100_000, 1, 7), ("127.0.0.1", port)).unwrap();
    };
    let hosts = |service: &Service| -> Vec<String> {
        let list = service.data(r#"{"ask":"hosts"}"#);
        let list = list.as_array().unwrap().iter();
        list.map(|host| host["host"].as_str().unwrap().to_owned()).collect()
    };
    let reload = |service: &Service| service.data(RELOAD)["reloaded"].as_str().unwrap().to_owned();
    (0..10).for_each(send);
    service.wait_for("the flows", |service| service.status()["records"]["received"] == 10);
    assert_eq!(reload(&service), "reloaded: nothing new");
    // Only the lists change.
    for (list, text) in
        [("networks_list", "192.0.2.0/24\n"), ("networks_whitelist", "192.0.2.9/32\n")]
    {
        fs::write(service.path(list), text).unwrap();
        assert_eq!(reload(&service), "reloaded: networks and limits", "{list}");
    }
    assert!(hosts(&service).is_empty(), "{:?}", hosts(&service));
    // At the end of a window the lists are gone by.
    let mut sent = 10;
    service.wait_for("the host", |service| {
        send(sent);
        sent += 1;
        hosts(service) == ["192.0.2.7"]
    });
    // What is wrong changes nothing.
    let good = conf("");
    for wrong in ["netflow_host = router\n", "mirror_afpacket = on\nmirror_afxdp = on\n"] {
        fs::write(&file, format!("{good}{wrong}interfaces = lo\n")).unwrap();
        let answer = service.ask(RELOAD).unwrap();
        assert_eq!(answer["ok"], false, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains("fastnetmon.conf"), "{answer}");
    }
    fs::write(&file, good).unwrap();
    assert_eq!(reload(&service), "reloaded: nothing new");
    fs::write(service.path("networks_list"), "192.0.2.0/24\n203.0.113.0/24\n").unwrap();
    let told = |service: &Service| service.log().matches("reloaded: networks and limits").count();
    let before = told(&service);
    let id = service.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &id]).status().unwrap().success());
    service.wait_for("the line", |service| told(service) > before);
    service.wait_for("all of them", |service| service.source("received") == u64::from(sent));
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

#[test]
fn an_answer_that_is_followed_comes_again() {
    let service = Service::start(LIMITS);
    for command in ["status", "exporters", "hosts", "networks", "attacks"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidewall"))
            .args([command, "--follow", "--json", "--control"])
            .arg(service.path("control.sock"))
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let [first, second] = [(); 2].map(|()| {
            serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).expect(command)
        });
        if command == "status" {
            // Times of one form are in order as texts.
            let time = |status: &Value| status["now"].as_str().unwrap().to_owned();
            assert!(time(&second) > time(&first), "{first} {second}");
        } else {
            assert!(first.is_array() && second.is_array(), "{command}: {first} {second}");
        }
        // Nobody reads any more: it ends by itself.
        drop(lines);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn a_worker_under_load_is_busier_than_an_idle_one() {
    let mut service = Service::start(LIMITS);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let netflow = service.netflow;
    let of = |service: &Service, name: &str, key: &str| {
        let status = service.status();
        let workers = status["workers"].as_array().unwrap();
        let worker = workers.iter().find(|w| w["name"].as_str().unwrap().starts_with(name));
        worker.unwrap()[key].as_f64().unwrap()
    };
    let mut sequence = 0;
    let mut send = || {
        for _ in 0..500 {
            sequence += 1;
            let datagram = service::v5(sequence, 100_000, 1, 7);
            socket.send_to(&datagram, ("127.0.0.1", netflow)).unwrap();
        }
    };
    service.wait_for("the load", |service| {
        send();
        let (busy, idle) = (of(service, "netflow", "load"), of(service, "sflow", "load"));
        let rate = of(service, "netflow", "records_per_second");
        assert!((0.0..=1.0).contains(&busy), "{busy}");
        busy > 3.0 * idle && busy > 0.005 && rate > 1000.0
    });
    assert!(of(&service, "sflow", "records_per_second").abs() < 0.5);
    // It is the last second's, and no sum.
    service.wait_for("its end", |service| of(service, "netflow", "records_per_second") < 0.5);
    let status = service.status();
    assert!(status["window"]["judged_after_ms"].is_u64(), "{status}");
}

#[test]
fn systemd_is_told_what_it_waits_for() {
    let mut service = Service::prepared();
    let path = service.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let notify = format!("NOTIFY_SOCKET={}", path.display());
    service.wrapper = ["env", &notify, "WATCHDOG_USEC=1000000"].map(str::to_owned).to_vec();
    let next = || {
        let mut text = [0; 200];
        let length = socket.recv(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    };
    // What comes besides signs of life.
    let next_news =
        || std::iter::repeat_with(next).find(|text| !text.contains("WATCHDOG")).unwrap();
    service.configure(LIMITS);
    service.run();
    assert_eq!(next_news().trim(), "READY=1");
    let alive = std::iter::repeat_with(next).take(3).filter(|text| text.trim() == "WATCHDOG=1");
    assert_eq!(alive.count(), 3, "at least every half of the time that is given");
    service.signal("-HUP");
    let said = next_news();
    assert!(said.contains("RELOADING=1") && said.contains("MONOTONIC_USEC="), "{said}");
    assert_eq!(next_news().trim(), "READY=1");
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    assert_eq!(next_news().trim(), "STOPPING=1");
}

#[test]
fn a_second_service_does_not_take_the_socket_of_the_first() {
    let service = Service::start(LIMITS);
    let mut second = Service::prepared();
    second.configure(LIMITS);
    let text = fs::read_to_string(second.path("tidewall.toml")).unwrap();
    let socket = |s: &Service| format!("{:?}", s.path("control.sock"));
    let text = text.replace(&socket(&second), &socket(&service));
    fs::write(second.path("tidewall.toml"), text).unwrap();
    second.child = second.spawn();
    second.wait_for("the complaint", |second| second.log().contains("another tidewall serves"));
    assert!(service.ask(r#"{"ask":"status"}"#).is_ok(), "the first still answers");
}

#[test]
fn hostile_clients_are_told_off() {
    let service = Service::start(LIMITS);
    let mut stream = UnixStream::connect(service.path("control.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"{\"ask\":\"everything\"}\n").unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    assert!(line.contains("\"ok\":false"), "{line}");
    _ = stream.write_all(&vec![b'x'; 100_000]);
    let mut rest = Vec::new();
    _ = lines.read_to_end(&mut rest);
    assert!(rest.len() < 1000, "a question without end is not kept");
    assert!(Path::new(&service.path("control.sock")).exists());
    assert!(service.ask(r#"{"ask":"status"}"#).is_ok());
}
