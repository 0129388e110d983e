//! A long run at half of what the service can take, with hosts and exporters that come and go:
//! memory stays flat and nothing is dropped. A minute by
//!
//!     cargo test --release -p tidewall --test soak -- --ignored --nocapture
//!
//! and an hour with `TIDEWALL_SOAK_SECONDS=3600` in front of it. What the service can take is
//! measured first, with the same sender; `TIDEWALL_SOAK_RATE` names the records a second instead.
//! The last lines are the verdict, for BENCH.md.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

mod service;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use service::Service;

/// Records of a datagram.
const RECORDS: u32 = 30;
/// Exporters in all; each sends for a while and then gives way to the next.
const EXPORTERS: u32 = 400;
/// Exporters at once.
const AT_ONCE: u32 = 50;
/// An exporter gives way to the next one after each of these.
const EXPORTER_TIME: Duration = Duration::from_millis(50);
/// After so long, one in eight active hosts gives way to another one.
const HOST_TIME: Duration = Duration::from_millis(500);
/// The first rate that is tried, in datagrams a second, the step to the next one, and its length.
const FIRST_RATE: f64 = 4000.0;
const RATE_STEP: f64 = 1.5;
const STEP_TIME: Duration = Duration::from_secs(2);
/// What was measured is shared by this.
const SHARE: f64 = 0.5;

/// Mixes a number (xorshift multiply).
fn mixed(number: u32) -> u32 {
    let a = (number ^ (number >> 16)).wrapping_mul(0x7feb_352d);
    (a ^ (a >> 15)).wrapping_mul(0x846c_a68b)
}

/// A NetFlow v5 datagram of 30 flows from anywhere to hosts of 10.0.0.0/12, of which a part is
/// active at a time.
fn datagram(number: u32, epoch: u32, sequence: u32, uptime_ms: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + 48 * RECORDS as usize);
    out.extend([0, 5, 0, RECORDS as u8]);
    out.extend(uptime_ms.to_be_bytes());
    out.extend(1_790_000_000_u32.to_be_bytes());
    out.extend([0; 4]);
    out.extend(sequence.to_be_bytes());
    out.extend([0; 4]);
    for flow in 0..RECORDS {
        let chance = mixed(number.wrapping_mul(RECORDS).wrapping_add(flow));
        // Four thousand hosts, which move on through 16,384 addresses: an address that is seen for
        // the first time has memory put behind its place in tables of bounded size.
        let host = 0x0a00_0000 | ((epoch * 512 + chance % 4096) & 0x3fff);
        out.extend(mixed(chance).to_be_bytes());
        out.extend(host.to_be_bytes());
        out.extend([0, 0, 0, 0, 0, 1, 0, 2]);
        out.extend((1 + chance % 8).to_be_bytes());
        out.extend((100 + chance % 8000).to_be_bytes());
        out.extend(uptime_ms.saturating_sub(1000).to_be_bytes());
        out.extend(uptime_ms.to_be_bytes());
        out.extend((chance as u16).to_be_bytes());
        out.extend([0, 53, 0, 0, 17, 0]);
        out.extend([0; 8]);
    }
    out
}

fn exporter(number: u32) -> UdpSocket {
    let address = Ipv4Addr::from(0x7f01_0000 + number % EXPORTERS + 1);
    UdpSocket::bind((address, 0)).unwrap()
}

/// Sends, and has hosts and exporters come and go.
struct Sender {
    port: u16,
    begin: Instant,
    exporters: Vec<(UdpSocket, u32)>,
    /// Exporters so far.
    next: u32,
    /// Datagrams so far.
    sent: u32,
}

impl Sender {
    fn new(port: u16) -> Self {
        let exporters = (0..AT_ONCE).map(|number| (exporter(number), 0)).collect();
        Self { port, begin: Instant::now(), exporters, next: AT_ONCE, sent: 0 }
    }

    fn send(&mut self, count: u32) {
        let uptime = self.begin.elapsed().as_millis() as u32;
        let epoch = uptime / HOST_TIME.as_millis() as u32;
        for _ in 0..count {
            let at = (self.sent % AT_ONCE) as usize;
            let (socket, sequence) = &mut self.exporters[at];
            let message = datagram(self.sent, epoch, *sequence, uptime);
            socket.send_to(&message, ("127.0.0.1", self.port)).unwrap();
            *sequence = sequence.wrapping_add(RECORDS);
            self.sent += 1;
        }
        if uptime / EXPORTER_TIME.as_millis() as u32 > self.next - AT_ONCE {
            self.exporters[(self.next % AT_ONCE) as usize] = (exporter(self.next), 0);
            self.next += 1;
        }
    }

    /// Sends so many datagrams a second, and calls `look` once a second. Gives the rate it came to.
    fn run(&mut self, rate: f64, whole: Duration, mut look: impl FnMut(u64)) -> f64 {
        let (begin, before, mut seconds, mut due) = (Instant::now(), self.sent, 0, 0.0);
        let mut last = begin;
        while begin.elapsed() < whole {
            let now = Instant::now();
            // What could not be sent in a twentieth of a second is not sent later.
            due = (due + (now - last).as_secs_f64() * rate).min(rate / 20.0);
            last = now;
            self.send(due as u32);
            due -= f64::from(due as u32);
            if begin.elapsed().as_secs() > seconds {
                seconds += 1;
                look(seconds);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        f64::from(self.sent - before) / begin.elapsed().as_secs_f64()
    }

    fn records(&self) -> u64 {
        u64::from(self.sent) * u64::from(RECORDS)
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Records that were counted, and datagrams that the kernel dropped.
fn account(status: &Value) -> (u64, u64) {
    (number(&status["records"]["counted"]), number(&status["received"]["dropped_by_kernel"]))
}

/// Waits until what was sent is counted or known to be lost.
fn settle(service: &mut Service, sender: &Sender) -> Value {
    service.wait_for("all of it", |service| {
        let (counted, dropped) = account(&service.status());
        counted + dropped * u64::from(RECORDS) >= sender.records()
    });
    service.status()
}

/// The highest rate of this sender without loss, in datagrams a second, and what was the limit.
fn capacity(service: &mut Service, sender: &mut Sender) -> (f64, &'static str) {
    let (mut rate, mut best) = (FIRST_RATE, 0.0);
    loop {
        let (_, before) = account(&service.status());
        let reached = sender.run(rate, STEP_TIME, |_| ());
        let (_, dropped) = account(&settle(service, sender));
        if dropped > before {
            return (best, "the service lost datagrams above it");
        }
        best = reached;
        if reached < rate * 0.95 {
            return (best, "the sender cannot do more");
        }
        rate *= RATE_STEP;
    }
}

/// What is looked at once a second.
#[derive(Default)]
struct Watch {
    /// Bytes.
    memory: Vec<u64>,
    /// From the end of the last window that was judged, in milliseconds, at the most.
    lag_ms: u64,
    /// What the judging of a window took, in microseconds, at the most.
    detector_us: u64,
}

impl Watch {
    fn look(&mut self, seconds: u64, status: &Value) {
        let memory = number(&status["memory_bytes"]);
        self.memory.push(memory);
        self.lag_ms = self.lag_ms.max(number(&status["window"]["lag_ms"]));
        self.detector_us = self.detector_us.max(number(&status["window"]["detector_us"]));
        if seconds.is_multiple_of(60) || seconds == 1 {
            let (counted, dropped) = account(status);
            println!(
                "{seconds} s: {} of memory, {counted} records, {dropped} datagrams lost in the \
                 kernel since the start, last window judged {} ms ago",
                megabytes(memory),
                status["window"]["lag_ms"]
            );
        }
    }

    /// The means of the third and of the last quarter: the first half is for filling tables whose
    /// sizes are bounded.
    fn quarters(&self) -> (f64, f64) {
        let mean = |part: &[u64]| part.iter().sum::<u64>() as f64 / part.len().max(1) as f64;
        let (third, last) = self.memory[self.memory.len() / 2..].split_at(self.memory.len() / 4);
        (mean(third), mean(last))
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn variable(name: &str) -> Option<f64> {
    std::env::var(name).ok().and_then(|text| text.replace('_', "").parse().ok())
}

#[test]
#[ignore = "takes a minute and a half, or as long as TIDEWALL_SOAK_SECONDS says"]
fn memory_is_flat_and_nothing_is_lost() {
    let whole = variable("TIDEWALL_SOAK_SECONDS").unwrap_or(60.0);
    let mut service = Service::prepared();
    service.write(&format!(
        "networks = [\"10.0.0.0/12\"]\n[thresholds.incoming]\ntotal = {{ pps = 100_000 }}\n\
         [listen]\nsflow = []\nnetflow = [\"127.0.0.1:{}\"]\n",
        service.netflow
    ));
    service.run();
    let mut sender = Sender::new(service.netflow);
    let records = f64::from(RECORDS);
    let (rate, of) = if let Some(rate) = variable("TIDEWALL_SOAK_RATE") {
        (rate / records, "as TIDEWALL_SOAK_RATE says".to_owned())
    } else {
        let (most, why) = capacity(&mut service, &mut sender);
        assert!(most > 0.0, "{why}: {FIRST_RATE} datagrams/s are too many");
        let of = format!("{:.0} % of {:.0} ({why})", SHARE * 100.0, most * records);
        (most * SHARE, of)
    };
    println!("{:.0} records/s, {of}", rate * records);
    let before = settle(&mut service, &sender);
    let (sent_before, exporters_before) = (sender.records(), sender.next);
    let mut watch = Watch::default();
    let whole = Duration::from_secs_f64(whole);
    let reached =
        sender.run(rate, whole, |seconds| watch.look(seconds, &service.status())) * records;
    let after = settle(&mut service, &sender);
    let lost = account(&after).1 - account(&before).1;
    let counted = account(&after).0 - account(&before).0;
    let sent = sender.records() - sent_before;
    let (third, last) = watch.quarters();
    let is_flat = last <= third * 1.05;
    let drops = &after["drops"];
    let is_lossless = lost == 0 && counted == sent && *drops == json!({});
    println!(
        "Soak of {} s, NetFlow v5, {reached:.0} records/s, {of}; {} exporters in turn, 4,096 of \
         16,384 hosts at a time",
        whole.as_secs(),
        sender.next - exporters_before + AT_ONCE
    );
    println!(
        "- loss: {lost} datagrams in the kernel, {counted} records counted of {sent} sent, drops \
         {drops}: {}",
        if is_lossless { "none" } else { "FAILED" }
    );
    println!(
        "- memory: {} after a second, {} in the third quarter, {} in the last one, {} at the most: \
         {}",
        megabytes(watch.memory[0]),
        megabytes(third as u64),
        megabytes(last as u64),
        megabytes(watch.memory.iter().copied().max().unwrap()),
        if is_flat { "flat" } else { "FAILED, it grows" }
    );
    let in_time = watch.lag_ms < 2000;
    println!(
        "- lag: the last window of a second had been judged for {} ms at the most, which took {} \
         us at the most: {}",
        watch.lag_ms,
        watch.detector_us,
        if in_time { "in time" } else { "FAILED, detection was late" }
    );
    assert!(is_lossless && is_flat && in_time, "{after}");
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}
