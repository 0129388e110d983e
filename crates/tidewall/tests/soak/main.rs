//! A long run at half of what the service can take, with hosts and exporters that come and go:
//! memory stays flat and nothing is dropped. NetFlow v5, v9, IPFIX and sFlow come in equal numbers
//! of datagrams; as root, in name spaces of its own, there is a mirror besides. A minute by
//!
//!     cargo test --release -p tidewall --test soak -- --ignored --nocapture
//!
//! and an hour with `TIDEWALL_SOAK_SECONDS=3600` in front of it. What the service can take is
//! measured first, with the same sender; `TIDEWALL_SOAK_RATE` names the records a second instead.
//! The last lines are the verdict, for BENCH.md.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

#[path = "../../../capture/tests/common/mod.rs"]
mod lab;
#[path = "../service/mod.rs"]
mod service;
mod traffic;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lab::Lab;
use serde_json::Value;
use service::Service;
use traffic::{AT_ONCE, Sender, mean_records};

/// The first rate that is tried, in datagrams a second, the step to the next one while nothing is
/// lost, how close the limit is wanted, and for how long each rate is held.
const FIRST_RATE: f64 = 4000.0;
const RATE_STEP: f64 = 1.5;
const CLOSE: f64 = 1.1;
const STEP_TIME: Duration = Duration::from_secs(3);
/// Records appear in the status so long after their datagram at the most.
const BEHIND: Duration = Duration::from_millis(500);
/// What was measured is shared by this.
const SHARE: f64 = 0.5;
/// Frames a second of the mirror.
const FRAMES: u32 = 50_000;

/// Frames by a veth pair, for as long as this lives. The service is at its other end.
struct Frames {
    child: Child,
    lab: Lab,
}

impl Frames {
    fn new() -> Self {
        let lab = Lab::new();
        let child = Command::new("ip")
            .args(["netns", "exec", &lab.sender.name, env!("CARGO_BIN_EXE_tidewall")])
            .args(["generate", "frames", "--interface", "tw0", "--seconds", "1000000"])
            .args(["--rate", &FRAMES.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, lab }
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// What happened to all datagrams, and to all frames.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    datagrams: u64,
    records: u64,
    /// Datagrams that the kernel dropped.
    lost: u64,
    frames: u64,
    frames_lost: u64,
}

fn account(status: &Value) -> Account {
    let mut account = Account::default();
    for worker in status["workers"].as_array().unwrap() {
        let source = &worker["source"];
        let lost = number(&source["dropped_by_kernel"]);
        if worker["name"].as_str().unwrap().starts_with("af_packet") {
            account.frames += number(&worker["records"]);
            account.frames_lost += lost + number(&source["dropped_by_interface"]);
        } else {
            account.datagrams += number(&source["received"]);
            account.records += number(&worker["records"]);
            account.lost += lost;
        }
    }
    account
}

/// Waits until what was sent is counted or known to be lost.
fn settle(service: &mut Service, sender: &Sender) -> Value {
    service.wait_for("all of it", |service| {
        let account = account(&service.status());
        account.datagrams + account.lost >= sender.datagrams
    });
    std::thread::sleep(BEHIND);
    service.status()
}

/// The highest rate of this sender without loss, in datagrams a second, and what was the limit:
/// higher by [`RATE_STEP`] until something is lost, then by halves between the last two.
fn capacity(service: &mut Service, sender: &mut Sender) -> (f64, &'static str) {
    let (mut rate, mut best, mut too_much) = (FIRST_RATE, 0.0, f64::INFINITY);
    while too_much > best * CLOSE {
        let before = account(&service.status());
        let reached = sender.run(rate, STEP_TIME, |_| ());
        let after = account(&settle(service, sender));
        let is_lossless = after.lost == before.lost && after.frames_lost == before.frames_lost;
        println!(
            "{:.0} records/s: {}",
            reached * mean_records(),
            if is_lossless { "all of them" } else { "something was lost" }
        );
        if !is_lossless {
            too_much = rate;
        } else if reached < rate * 0.95 {
            return (best.max(reached), "the sender cannot do more");
        } else {
            best = reached;
        }
        rate = if too_much.is_finite() { (best * too_much).sqrt() } else { rate * RATE_STEP };
        if best == 0.0 {
            break;
        }
    }
    (best, "the service lost something above it")
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
            let Account { records, frames, lost, frames_lost, .. } = account(status);
            println!(
                "{seconds} s: {} of memory, {records} records and {frames} frames, {lost} \
                 datagrams and {frames_lost} frames lost in the kernel since the start, last \
                 window judged {} ms ago",
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
    let frames = lab::ready("the soak's mirror").then(Frames::new);
    let mut mirror = String::new();
    if let Some(frames) = &frames {
        // What this thread opens, and what it starts, is in the name space, too.
        lab::enter(&frames.lab.receiver.name);
        mirror = "[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\n".to_owned();
    }
    service.write(&format!(
        "networks = [\"10.0.0.0/12\"]\n[thresholds.incoming]\ntotal = {{ pps = 100_000 }}\n\
         [listen]\nsflow = [\"127.0.0.1:{}\"]\nnetflow = [\"127.0.0.1:{}\"]\n{mirror}",
        service.sflow, service.netflow
    ));
    service.run();
    let mut sender = Sender::new(service.sflow, service.netflow);
    let mean = mean_records();
    let (rate, of) = if let Some(rate) = variable("TIDEWALL_SOAK_RATE") {
        (rate / mean, "as TIDEWALL_SOAK_RATE says".to_owned())
    } else {
        let (most, why) = capacity(&mut service, &mut sender);
        assert!(most > 0.0, "{why}: {FIRST_RATE} datagrams/s are too many");
        let of = format!("{:.0} % of {:.0} ({why})", SHARE * 100.0, most * mean);
        (most * SHARE, of)
    };
    println!("{:.0} records/s, {of}", rate * mean);
    let status = settle(&mut service, &sender);
    // Templates may have been lost while the limit was looked for.
    let (before, drops_before) = (account(&status), status["drops"].clone());
    let (sent_before, exporters_before) = (sender.records, sender.exporters_so_far);
    let mut watch = Watch::default();
    let whole = Duration::from_secs_f64(whole);
    let begin = Instant::now();
    let reached = sender.run(rate, whole, |seconds| watch.look(seconds, &service.status())) * mean;
    let status = settle(&mut service, &sender);
    let after = account(&status);
    let frames_rate = (after.frames - before.frames) as f64 / begin.elapsed().as_secs_f64();
    let (lost, counted) = (after.lost - before.lost, after.records - before.records);
    let frames_lost = after.frames_lost - before.frames_lost;
    let sent = sender.records - sent_before;
    let (third, last) = watch.quarters();
    let is_flat = last <= third * 1.05;
    let drops = &status["drops"];
    let is_lossless = lost == 0 && frames_lost == 0 && counted == sent && *drops == drops_before;
    println!(
        "Soak of {} s, NetFlow v5, v9, IPFIX and sFlow, {reached:.0} records/s, {of}, and \
         {frames_rate:.0} frames/s; {} exporters in turn, 4,096 of 16,384 hosts at a time",
        whole.as_secs(),
        sender.exporters_so_far - exporters_before + AT_ONCE
    );
    println!(
        "- loss: {lost} datagrams and {frames_lost} frames in the kernel, {counted} records \
         counted of {sent} sent, drops {drops}: {}",
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
    assert!(is_lossless && is_flat && in_time, "{status}");
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}
