//! What goes wrong around a running service: damaged datagrams, exporters that start anew, full
//! buffers and disks, clients that are stuck, ports that are taken. It is counted, told once, and
//! survived.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

mod service;

use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use service::skip::root_with;
use service::{RELOAD, STATUS, Service, v5};
use tidewall_model::{FlowRecord, SamplingRate, Timestamp, protocol};
use tidewall_scenario::{FlowCachePlan, FlowCacheRenderer, FlowProtocol, Renderer};
use tidewall_scenario::{SflowPlan, SflowRenderer};

const LIMITS: &str = "[thresholds.incoming]\ntotal = { pps = 10_000 }\n";

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

/// Sends at a moderate rate: bursts of 100, a millisecond apart.
fn send_all(port: u16, datagrams: impl IntoIterator<Item = Vec<u8>>) -> u64 {
    let socket = socket();
    let mut sent = 0;
    for datagram in datagrams {
        socket.send_to(&datagram, ("127.0.0.1", port)).unwrap();
        sent += 1;
        if sent % 100 == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    sent
}

fn exporter(service: &Service, counter: &str) -> u64 {
    service.data(r#"{"ask":"exporters"}"#)[0][counter].as_u64().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_default()
}

/// Waits for a line of the log with these words, and insists that it is the only one.
fn told_once(service: &mut Service, words: &str) -> String {
    service.wait_for(words, |service| service.log().contains(words));
    // Whatever else there is would be told by then.
    std::thread::sleep(Duration::from_millis(2500));
    let log = service.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(words)).collect();
    assert_eq!(lines.len(), 1, "{words}: {log}");
    lines[0].to_owned()
}

/// Attacks a host until the service has said so.
fn attack(service: &mut Service, host: u8) {
    let (socket, port) = (socket(), service.netflow);
    let target = format!("192.0.2.{host}");
    let mut sequence = 0;
    service.wait_for("the attack", |service| {
        for _ in 0..100 {
            let datagram = v5(sequence, sequence + 1000, 1000, host);
            // In one test the port's buffer is full.
            _ = socket.send_to(&datagram, ("127.0.0.1", port));
        }
        sequence += 1;
        service.attacked().contains(&target)
    });
}

#[test]
fn damaged_datagrams_have_their_reasons_and_good_ones_are_counted() {
    let mut service = Service::prepared();
    service.configure("");
    let text = fs::read_to_string(service.path("tidewall.toml")).unwrap();
    let text = text.replace("receive_buffer = \"1M\"", "receive_buffer = \"200M\"");
    fs::write(service.path("tidewall.toml"), text).unwrap();
    service.run();
    let port = service.netflow;
    let (good, bad) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // As fast as the machine can.
            let socket = socket();
            for n in 0..60_000_u32 {
                let mut datagram = match n % 3 {
                    0 => vec![0, 77, 1, 2, 3, 4],
                    1 => v5(n, n, 1, 7)[..40].to_vec(),
                    _ => vec![n as u8; 1 + n as usize % 3],
                };
                if n % 3 == 2 {
                    datagram[0] = 0;
                }
                socket.send_to(&datagram, ("127.0.0.1", port)).unwrap();
                bad.fetch_add(1, Ordering::Relaxed);
            }
        });
        let datagrams = (0..3000).map(|n| v5(n, n * 10, 1, 7));
        good.store(send_all(port, datagrams), Ordering::Relaxed);
    });
    let (good, bad) = (good.into_inner(), bad.into_inner());
    let mut sums = (0, 0);
    service.wait_for("all of them", |service| {
        let status = service.status();
        let source = &status["received"];
        number(&source["received"]) + number(&source["dropped_by_kernel"]) >= good + bad
            && number(&status["records"]["received"]) >= good
    });
    let status = service.status();
    for (reason, count) in status["drops"].as_object().unwrap() {
        let known = ["datagram_cut", "datagram_version", "record_malformed"];
        assert!(known.contains(&reason.as_str()), "{status}");
        sums.0 += number(count);
    }
    sums.1 = number(&status["received"]["received"]);
    assert_eq!(status["received"]["dropped_by_kernel"], 0, "{status}");
    assert_eq!(sums, (bad, good + bad), "{status}");
    assert_eq!(number(&status["records"]["counted"]), good, "{status}");
    for (what, who) in [
        ("times datagram_version: ", "the last one from 127.0.0.1"),
        ("times datagram_cut: ", "the last one from 127.0.0.1"),
        ("times record_malformed: ", "exporter 127.0.0.1 (netflow5): "),
    ] {
        let place = format!("netflow 127.0.0.1:{port}: ");
        let line = told_once(&mut service, what);
        assert!(line.contains(&place), "{line}");
        // The last one was wrong in one way only.
        let is_last = what.contains("record") || line.contains(who);
        assert!(is_last || !line.contains("last one"), "{line}");
        assert!(!what.contains("record") || line.contains(who), "{line}");
    }
    assert!(service.log().lines().count() < 20, "not a line for each: {}", service.log());
}

#[test]
fn an_exporter_that_starts_anew_has_lost_nothing() {
    let mut service = Service::start("");
    for start in 0..3_u32 {
        let uptime = |n: u32| 60_000 * (3 - start) + n * 1000;
        // Other ports each time: it is the same exporter all the same.
        send_all(service.netflow, (0..50).map(|n| v5(n, uptime(n), 1, 7)));
    }
    service.wait_for("the datagrams", |service| exporter(service, "datagrams") == 150);
    let of = |counter: &str| exporter(&service, counter);
    assert_eq!((of("lost"), of("restarts")), (0, 2));
    let line = told_once(&mut service, "has started anew");
    assert!(line.contains("exporter 127.0.0.1 (netflow5) has started anew"), "{line}");
    // One that is really lost is seen.
    send_all(service.netflow, (50..60).filter(|n| *n != 55).map(|n| v5(n, 110_000 + n, 1, 7)));
    service.wait_for("the gap", |service| exporter(service, "datagrams") == 159);
    assert_eq!(exporter(&service, "lost"), 1);
}

#[test]
fn a_full_buffer_is_counted() {
    let mut service = Service::start(LIMITS);
    service.signal("-STOP");
    let sent = send_all(service.netflow, (0..20_000).map(|n| v5(n, n, 1, 7)));
    service.signal("-CONT");
    service.wait_for("the account", |service| {
        service.source("received") + service.source("dropped_by_kernel") >= sent
    });
    let (received, dropped) = (service.source("received"), service.source("dropped_by_kernel"));
    assert_eq!(received + dropped, sent);
    assert!(dropped > 1000 && received > 100, "{received} and {dropped}");
    let said = String::from_utf8(service.command(&["status"]).stdout).unwrap();
    assert!(said.contains("lost in the kernel"), "{said}");
    let line = told_once(&mut service, "the kernel dropped");
    for word in [&format!("netflow 127.0.0.1:{}: ", service.netflow), "`workers`", "rmem_max"] {
        assert!(line.contains(word), "{line}");
    }
    attack(&mut service, 9);
}

/// Runs `body` beside a sender that does not pause, which gives the number of datagrams.
fn under_load<T>(port: u16, body: impl FnOnce() -> T) -> (T, u64) {
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            let socket = socket();
            let mut sequence = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                let datagram = v5(sequence, sequence, 1, 7);
                if socket.send_to(&datagram, ("127.0.0.1", port)).is_ok() {
                    sent.fetch_add(1, Ordering::Relaxed);
                }
                sequence = sequence.wrapping_add(1);
            }
        });
        std::thread::sleep(Duration::from_millis(300));
        let result = body();
        stop.store(true, Ordering::Relaxed);
        result
    });
    (result, sent.into_inner())
}

#[test]
fn it_ends_in_time_under_full_load() {
    let mut service = Service::start(LIMITS);
    let ((code, took), sent) = under_load(service.netflow, || service.end("-TERM"));
    assert_eq!(code, Some(0), "{}", service.log());
    assert!(took < Duration::from_secs(2), "{took:?} with {sent} datagrams");
}

#[test]
fn a_reload_under_load_loses_nothing() {
    let quick = "[detection]\nwindow = \"100ms\"\n";
    let mut service = Service::start(&format!("{quick}{LIMITS}"));
    let plan = FlowCachePlan { template_datagrams: 1_000_000, ..FlowCachePlan::default() };
    let plan = FlowCachePlan { template_interval: Duration::from_hours(1), ..plan };
    let mut renderer = FlowCacheRenderer::new(FlowProtocol::NetflowV9, &plan);
    let (stop, port) = (AtomicBool::new(false), service.netflow);
    let (mut records, mut datagrams, mut ids) = (0, 0, Vec::new());
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let (socket, begin, mut sent) = (socket(), Instant::now(), (0_u64, 0_u64));
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..50 {
                    let time = Timestamp::from_parts(1_790_000_000, 0) + begin.elapsed();
                    let record = record(time, sent.0 as u32);
                    let mut send = |_: Timestamp, message: &[u8]| {
                        socket.send_to(message, ("127.0.0.1", port)).unwrap();
                        sent.1 += 1;
                    };
                    renderer.render(&record, &mut send).unwrap();
                    sent.0 += 1;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut send = |_: Timestamp, message: &[u8]| {
                socket.send_to(message, ("127.0.0.1", port)).unwrap();
                sent.1 += 1;
            };
            renderer.finish(&mut send);
            sent
        });
        service.wait_for("the attack", |service| service.attacked() == ["192.0.2.7"]);
        let id = |service: &Service| service.data(service::ATTACKS)[0]["id"].as_u64();
        ids.push(id(&service));
        for round in 0..20 {
            service.configure(&format!(
                "{quick}[thresholds.incoming]\ntotal = {{ pps = {} }}\n",
                10_001 + round
            ));
            let answer = service.data(RELOAD);
            assert!(answer["reloaded"].as_str().unwrap().contains("networks and limits"));
            std::thread::sleep(Duration::from_millis(150));
        }
        ids.push(id(&service));
        stop.store(true, Ordering::Relaxed);
        (records, datagrams) = sender.join().unwrap();
    });
    assert_eq!(ids[0], ids[1], "the attack goes on under its number");
    service.wait_for("all of it", |service| service.source("received") >= datagrams);
    let status = service.status();
    assert_eq!(number(&status["received"]["received"]), datagrams, "{status}");
    assert_eq!(number(&status["received"]["dropped_by_kernel"]), 0, "{status}");
    assert_eq!(status["drops"], serde_json::json!({}), "{status}");
    assert!(records > 10_000 && number(&status["records"]["received"]) == records, "{status}");
    assert_eq!(status["records"]["counted"], status["records"]["received"], "{status}");
}

fn record(time: Timestamp, number: u32) -> FlowRecord {
    FlowRecord {
        time,
        src: 0xc633_6400 | u128::from(number % 250),
        dst: 0xc000_0207,
        protocol: protocol::UDP,
        // Each is a flow of its own.
        src_port: number as u16,
        dst_port: 4444,
        packets: 1,
        bytes: 1000,
        ttl: 60,
        sampling: SamplingRate::new(1000),
        ..FlowRecord::default()
    }
}

#[test]
fn a_reload_changes_who_is_heard_and_how_much_a_sample_stands_for() {
    let mut service = Service::start(LIMITS);
    send_all(service.netflow, (0..10).map(|n| v5(n, n, 1, 7)));
    service.wait_for("the first", |service| service.source("received") == 10);
    let rule = "[[flows.sampling]]\nexporters = [\"127.0.0.1/32\"]\nrate = 1000\n\
                when = \"override\"\n";
    service.configure(&format!("{LIMITS}{rule}"));
    let answer = service.data(RELOAD);
    assert_eq!(answer["reloaded"], "reloaded: sampling and crediting of flows");
    // 1000 records of 1 packet are now a million packets.
    service.wait_for("the attack", |service| {
        send_all(service.netflow, (0..1000).map(|n| v5(n, n, 1, 7)));
        service.attacked() == ["192.0.2.7"]
    });
    let text = fs::read_to_string(service.path("tidewall.toml")).unwrap();
    let allow = |prefix: &str| {
        let listen = format!("[listen]\nallow = [\"{prefix}\"]");
        fs::write(service.path("tidewall.toml"), text.replace("[listen]", &listen)).unwrap();
        service.data(RELOAD)["reloaded"].as_str().unwrap().to_owned()
    };
    assert_eq!(allow("192.0.2.1/32"), "reloaded: the exporters that are allowed");
    assert_eq!(allow("192.0.2.1/32"), "reloaded: nothing new");
    let before = service.source("received");
    std::thread::sleep(Duration::from_millis(300));
    send_all(service.netflow, (0..10).map(|n| v5(n, n, 1, 7)));
    service.wait_for("the refusal", |service| service.source("refused") == 10);
    assert!(service.source("received") >= before);
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

#[test]
fn stuck_clients_slow_nothing() {
    let mut service = Service::start(LIMITS);
    let ask = |line: &str| {
        let mut stream = UnixStream::connect(service.path("control.sock")).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        stream
    };
    let stuck: Vec<UnixStream> = (0..4)
        .map(|_| ask("{\"ask\":\"events\"}\n"))
        .chain((0..4).map(|_| ask("")))
        .chain((0..4).map(|_| ask("{\"ask\":\"sta")))
        // Answers that are never read.
        .chain((0..4).map(|_| ask(&format!("{STATUS}\n").repeat(2000))))
        .collect();
    let (begin, port) = (Instant::now(), service.netflow);
    // Two hundred attacks: more events than fit into a socket.
    service.wait_for("the attacks", |service| {
        send_all(port, (0..2000).map(|n| v5(n, n, 1000, (n % 200) as u8)));
        service.attacked().len() == 200
    });
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let (code, took) = service.end("-TERM");
    assert_eq!(code, Some(0), "{}", service.log());
    assert!(took < Duration::from_secs(2), "{took:?}");
    drop(stuck);
}

#[test]
fn a_port_that_is_taken_is_named_with_a_way_out() {
    for workers in [1, 2] {
        let mut first = Service::prepared();
        let configure = |service: &Service, ports: &Service| {
            service.configure(LIMITS);
            let text = fs::read_to_string(service.path("tidewall.toml")).unwrap();
            let text = text
                .replace("[listen]", &format!("[listen]\nworkers = {workers}"))
                .replace(&service.netflow.to_string(), &ports.netflow.to_string());
            fs::write(service.path("tidewall.toml"), text).unwrap();
        };
        configure(&first, &first);
        first.run();
        let mut second = Service::prepared();
        configure(&second, &first);
        second.child = second.spawn();
        assert_eq!(second.ended(), Some(2), "with {workers}: {}", second.log());
        let said = second.log();
        assert!(said.contains(&format!("127.0.0.1:{}", first.netflow)), "{said}");
        assert!(said.contains("another program has the port: see `ss -lunp`"), "{said}");
        assert!(!second.path("control.sock").exists(), "nothing is left behind");
    }
}

#[test]
fn two_instances_live_side_by_side() {
    let mut services = [Service::start(LIMITS), Service::start(LIMITS)];
    attack(&mut services[1], 9);
    assert_eq!(services[0].attacked(), [""; 0]);
    for service in &mut services {
        assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    }
}

#[test]
fn a_broken_file_at_sighup_changes_nothing() {
    let mut service = Service::start(LIMITS);
    fs::write(service.path("tidewall.toml"), "networks = [\"192.0.2.0/24\"\nnonsense").unwrap();
    service.signal("-HUP");
    service.wait_for("the refusal", |service| {
        service.log().contains("not reloaded, nothing was changed")
    });
    attack(&mut service, 9);
}

/// Megabytes of addresses that the process has taken.
fn megabytes(service: &Service) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() >> 10
}

#[test]
fn reloads_that_fail_for_want_of_threads_leave_nothing_behind() {
    let test = "reloads_that_fail_for_want_of_threads_leave_nothing_behind";
    if !root_with(test, &["setpriv", "prlimit"]) {
        return;
    }
    let mut service = Service::prepared();
    // Root may have as many threads as it likes.
    service.more = "user = \"nobody\"\n".to_owned();
    service.configure(LIMITS);
    service.run();
    attack(&mut service, 7);
    let before = service.source("received");
    // No worker can be started any more, nor anything that would answer a client.
    let limit_threads = |service: &Service, most: &str| {
        // As that user, who may do it to processes of its own.
        let status = Command::new("setpriv")
            .args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "prlimit"])
            .args(["--pid", &service.child.id().to_string(), &format!("--nproc={most}:")])
            .status();
        assert!(status.unwrap().success(), "nproc={most}");
    };
    limit_threads(&service, "1");
    let size = megabytes(&service);
    let path = service.path("tidewall.toml");
    let text = fs::read_to_string(&path).unwrap();
    let another = format!("sflow = [\"127.0.0.1:{}\", ", service::free_ports().0);
    fs::write(&path, text.replace("sflow = [", &another)).unwrap();
    for failed in 1..=12 {
        service.signal("-HUP");
        let begin = Instant::now();
        while service.log().matches("cannot be started").count() < failed {
            assert!(begin.elapsed() < service::PATIENCE, "{}", service.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    // The shards of those workers go at the end of the window: each has hundreds of megabytes of
    // addresses.
    let begin = Instant::now();
    while megabytes(&service) > size + 50 {
        let more = megabytes(&service) - size;
        assert!(begin.elapsed() < Duration::from_secs(5), "{more} MB more: {}", service.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    limit_threads(&service, "10000");
    assert_eq!(service.attacked(), ["192.0.2.7"]);
    assert!(service.source("received") >= before);
    let answer = service.ask(RELOAD).unwrap();
    assert_eq!(answer["ok"], true, "{answer}");
    attack(&mut service, 8);
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

#[test]
fn nobody_in_particular_can_run_it() {
    if !root_with("nobody_in_particular_can_run_it", &["setpriv"]) {
        return;
    }
    let mut service = Service::prepared();
    fs::set_permissions(service.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    service.wrapper = words.map(str::to_owned).to_vec();
    service.configure(LIMITS);
    service.run();
    attack(&mut service, 9);
    // What is not possible is said with what it needs.
    let mut other = Service::prepared();
    fs::set_permissions(other.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    other.wrapper = service.wrapper.clone();
    other.configure("[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"lo\"]\n");
    other.child = other.spawn();
    assert_eq!(other.ended(), Some(2), "{}", other.log());
    assert!(other.log().contains("CAP_NET_RAW"), "{}", other.log());
}

#[test]
fn a_full_disk_is_told_once() {
    if !root_with("a_full_disk_is_told_once", &["unshare"]) {
        return;
    }
    let mut service = Service::prepared();
    fs::create_dir(service.path("state")).unwrap();
    let state = service.path("state").display().to_string();
    // No room for a second inode.
    let script = format!("mount -t tmpfs -o size=4k,nr_inodes=1 none {state} && exec \"$@\"");
    let words = ["unshare", "-m", "sh", "-c", &script, "sh"];
    service.wrapper = words.map(str::to_owned).to_vec();
    service.configure(LIMITS);
    service.run();
    attack(&mut service, 9);
    let (code, took) = service.end("-TERM");
    assert_eq!(code, Some(0), "{}", service.log());
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(service.log().matches("cannot be written").count(), 1, "{}", service.log());
    assert!(service.log().contains("No space left"), "{}", service.log());
}

#[test]
fn a_pid_file_of_the_dead_is_taken_over_and_one_of_the_living_is_not() {
    let mut service = Service::prepared();
    let file = service.path("pid");
    service.more = format!("pid_file = {file:?}\n");
    service.configure(LIMITS);
    // Nobody's number: the highest possible one is 4,194,304.
    fs::write(&file, "4194305\n").unwrap();
    service.run();
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", service.child.id()));
    let mut second = Service::prepared();
    second.more.clone_from(&service.more);
    second.configure(LIMITS);
    second.child = second.spawn();
    assert_eq!(second.ended(), Some(2), "{}", second.log());
    let said = second.log();
    assert!(said.contains(&format!("process {}", service.child.id())), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", service.child.id()));
    assert_eq!(service.end("-TERM").0, Some(0));
    assert!(!file.exists());
    // The number of a process that is something else.
    fs::write(&file, format!("{}\n", std::process::id())).unwrap();
    service.run();
    assert_eq!(service.end("-TERM").0, Some(0));
}

#[test]
fn an_sflow_agent_that_starts_anew_has_lost_nothing() {
    let mut service = Service::start("");
    for _ in 0..2 {
        let mut renderer = SflowRenderer::new(&SflowPlan::default());
        let (socket, port) = (socket(), service.sflow);
        for n in 0..200 {
            let time = Timestamp::from_parts(1_790_000_000, 0) + Duration::from_millis(n);
            let mut send = |_: Timestamp, message: &[u8]| {
                socket.send_to(message, ("127.0.0.1", port)).unwrap();
            };
            renderer.render(&record(time, n as u32), &mut send).unwrap();
        }
    }
    service.wait_for("the datagrams", |service| exporter(service, "datagrams") > 10);
    assert_eq!((exporter(&service, "lost"), exporter(&service, "restarts")), (0, 1));
}
