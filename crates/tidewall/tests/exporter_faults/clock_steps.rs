//! Clocks that are set: those of exporters, by an hour ahead and back, and the machine's own.

use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use tidewall_wire::emit::netflow::{ExportTime, V5Writer};
use tidewall_wire::netflow::{Protocol, v5::Record};

use crate::router::{Flow, Layout, Router};
use crate::service::{PATIENCE, Service, v5};

const LIMITS: &str = "[thresholds.incoming]\ntotal = { pps = 10_000 }\n";
const ALL_ATTACKS: &str = r#"{"ask":"attacks","all":true}"#;
/// Said when the machine's clock is found to be set.
const SET: &str = "the system's clock was set";
const HOUR_MS: i64 = 3_600_000;
/// Age of the exporters at the beginning, in milliseconds.
const AGE_MS: i64 = 4 * HOUR_MS;
/// How long each flow lasted.
const LASTED_MS: i64 = 1000;

/// By how many milliseconds an exporter's clock and its age are wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Skew {
    clock: i64,
    age: i64,
}

const STEPS: [Skew; 5] = [
    Skew { clock: 0, age: 0 },
    Skew { clock: HOUR_MS, age: 0 },
    Skew { clock: -HOUR_MS, age: 0 },
    Skew { clock: 0, age: HOUR_MS },
    Skew { clock: 0, age: 0 },
];

/// An exporter whose flows say when they were.
enum Exporter {
    V5 { writer: V5Writer, socket: UdpSocket, port: u16 },
    Templates { router: Box<Router>, layout: Layout },
}

const BY_AGE: Layout = &[(8, 4), (12, 4), (2, 4), (1, 4), (4, 1), (22, 4), (21, 4)];
const BY_DATE: Layout = &[(8, 4), (12, 4), (2, 4), (1, 4), (4, 1), (152, 8), (153, 8)];

impl Exporter {
    fn v5(port: u16) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        Self::V5 { writer: V5Writer::new(), socket, port }
    }

    fn templates(protocol: Protocol, port: u16) -> Self {
        let layout = if protocol == Protocol::V9 { BY_AGE } else { BY_DATE };
        let mut router = Box::new(Router::new(protocol, port));
        router.define(256, layout);
        Self::Templates { router, layout }
    }

    /// Sends flows that have just ended; `before` is how wrong the clocks were when they began.
    fn flows(&mut self, (before, now): (Skew, Skew), passed: i64, host: u8, packets: u32) {
        /// In a datagram.
        const COUNT: u64 = 5;
        let date = |skew: Skew| unix_ms() + skew.clock;
        let age = |skew: Skew| AGE_MS + passed + skew.age;
        let time = ExportTime {
            unix_secs: (date(now) / 1000) as u32,
            unix_nsecs: 0,
            sys_uptime: age(now) as u32,
        };
        match self {
            Self::V5 { writer, socket, port } => {
                writer.begin();
                for _ in 0..COUNT {
                    writer.record(&Record {
                        packets,
                        first: (age(before) - LASTED_MS) as u32,
                        last: age(now) as u32,
                        dst_addr: [192, 0, 2, host].into(),
                        ..RECORD
                    });
                }
                socket.send_to(writer.finish(time), ("127.0.0.1", *port)).unwrap();
            }
            Self::Templates { router, layout } => {
                let of = |skew| if *layout == BY_AGE { age(skew) } else { date(skew) } as u64;
                let (start, end) = (of(before) - LASTED_MS as u64, of(now));
                // An age that falls is that of a router that has started anew.
                let anew = time.sys_uptime < router.time.sys_uptime;
                router.time = time;
                if anew {
                    router.define(256, layout);
                }
                let flow = Flow { host, packets: packets.into(), start, end };
                router.flows(256, layout, flow, COUNT);
            }
        }
    }
}

const RECORD: Record = Record {
    src_addr: std::net::Ipv4Addr::new(198, 51, 100, 1),
    dst_addr: std::net::Ipv4Addr::UNSPECIFIED,
    next_hop: std::net::Ipv4Addr::UNSPECIFIED,
    input: 1,
    output: 2,
    packets: 0,
    octets: 1000,
    first: 0,
    last: 0,
    src_port: 53,
    dst_port: 4444,
    tcp_flags: 0,
    protocol: 17,
    tos: 0,
    src_as: 0,
    dst_as: 0,
    src_mask: 0,
    dst_mask: 0,
};

fn unix_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// Targets of all attacks until now.
fn attacked(service: &Service) -> BTreeSet<String> {
    let attacks = service.data(ALL_ATTACKS);
    let attacks = attacks.as_array().unwrap().iter();
    attacks.map(|attack| attack["target"].as_str().unwrap().to_owned()).collect()
}

/// Windows as they are closed: one after the other, and on time.
#[derive(Default)]
struct Windows {
    last: String,
    seen: u32,
}

impl Windows {
    fn look(&mut self, service: &Service) {
        let window = service.status()["window"].clone();
        if window["length_ms"] == 0 {
            return; // none is over yet
        }
        let start = window["start"].as_str().unwrap();
        assert!(*start >= *self.last, "{window} after {}", self.last);
        assert!(window["lag_ms"].as_u64().unwrap() < 5000, "{window}");
        if start != self.last {
            start.clone_into(&mut self.last);
            self.seen += 1;
        }
    }
}

#[test]
fn an_exporters_clock_that_is_set_hides_nothing_v5() {
    an_exporters_clock_that_is_set_hides_nothing(Exporter::v5);
}

#[test]
fn an_exporters_clock_that_is_set_hides_nothing_v9() {
    an_exporters_clock_that_is_set_hides_nothing(|port| Exporter::templates(Protocol::V9, port));
}

#[test]
fn an_exporters_clock_that_is_set_hides_nothing_ipfix() {
    an_exporters_clock_that_is_set_hides_nothing(|port| Exporter::templates(Protocol::Ipfix, port));
}

fn an_exporters_clock_that_is_set_hides_nothing(exporter: impl Fn(u16) -> Exporter) {
    // The one way of counting for which times of flows matter.
    let mut service = Service::start(&format!("[flows]\ncredit = \"spread\"\n{LIMITS}"));
    let mut exporter = exporter(service.netflow);
    let (begin, mut windows, mut expected) = (Instant::now(), Windows::default(), BTreeSet::new());
    let mut before = STEPS[0];
    for (host, now) in (10..).zip(STEPS) {
        let target = format!("192.0.2.{host}");
        let step = Instant::now();
        service.wait_for("the attack", |service| {
            let passed = begin.elapsed().as_millis() as i64;
            // What began before the step.
            let skews = (if step.elapsed().as_millis() < 500 { before } else { now }, now);
            exporter.flows(skews, passed, 7, 10);
            if step.elapsed().as_millis() > 200 {
                (0..20).for_each(|_| exporter.flows(skews, passed, host, 100));
            }
            windows.look(service);
            let list = service.data(r#"{"ask":"exporters"}"#);
            let behind = list[0]["clock_behind_ms"].as_i64().unwrap_or(i64::MAX);
            let told = (behind + now.clock).abs() < 10_000;
            told && step.elapsed().as_millis() > 1500 && attacked(service).contains(&target)
        });
        before = now;
        expected.insert(target);
    }
    assert_eq!(attacked(&service), expected, "and nobody else");
    assert!(windows.seen > 5, "{}", windows.seen);
    let status = service.status();
    assert_eq!(status["drops"], serde_json::json!({}), "{status}");
    assert!(service.log().lines().count() < 40, "{}", service.log());
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

/// Debian's libfaketime, which is loaded in front of the system's library.
fn libfaketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path());
    let of = |folder: PathBuf| folder.join("faketime/libfaketimeMT.so.1");
    let found = folders.map(of).find(|path| path.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "faketime is not installed (.ci/run does it)");
        println!("skipped: faketime is not installed");
    }
    found
}

/// Sets the clock of the service, and of nobody else, to so many seconds ahead.
fn set_clock(file: &Path, seconds: i64) {
    let beside = file.with_extension("new");
    fs::write(&beside, format!("{seconds:+}\n")).unwrap();
    fs::rename(beside, file).unwrap();
}

#[test]
fn the_machines_clock_that_is_set_hides_nothing() {
    let Some(library) = libfaketime() else { return };
    let mut service = Service::prepared();
    let file = service.path("clock");
    set_clock(&file, 0);
    service.wrapper = vec![
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        // Set as `date --set` does it: the monotonic clock runs on.
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
        "DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    service.configure(LIMITS);
    service.run();
    let (socket, port) = (UdpSocket::bind("127.0.0.1:0").unwrap(), service.netflow);
    let (mut windows, mut expected, mut sequence) = (Windows::default(), BTreeSet::new(), 0);
    let mut send = |host: u8, packets: u32| {
        let datagram = v5(sequence, 3_600_000 + sequence, packets, host);
        socket.send_to(&datagram, ("127.0.0.1", port)).unwrap();
        sequence += 1;
    };
    // Each is an hour from the one before.
    for (steps, (host, seconds)) in [(10, 0), (11, 3600), (12, 0), (13, -3600)].iter().enumerate() {
        let (target, began) = (format!("192.0.2.{host}"), Instant::now());
        set_clock(&file, *seconds);
        service.wait_for("the attack", |service| {
            send(7, 10);
            (0..20).for_each(|_| send(*host, 1000));
            windows.look(service);
            let told = service.log().matches(SET).count();
            assert!(told <= steps, "once each: {}", service.log());
            told == steps && attacked(service).contains(&target)
        });
        assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
        expected.insert(target);
    }
    assert_eq!(attacked(&service), expected, "and nobody else");
    service.wait_for("the windows", |service| {
        windows.look(service);
        windows.seen > 6
    });
    let log = service.log();
    let steps =
        ["set, and is 3600 s ahead of", "set, and is 3600 s behind", "set back to where it was"];
    for step in steps {
        assert_eq!(log.matches(step).count(), 1, "{step}: {log}");
    }
    let now = service.status()["now"].as_str().unwrap().to_owned();
    let real = tidewall_model::Timestamp((unix_ms() * 1_000_000) as u64).to_string();
    assert_eq!(now[..10], real[..10], "times go on as before");
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}
