//! Memory that a peak has taken is given back once it was not needed for some minutes, whether
//! some traffic goes on or none at all; and a second peak is counted as the first one was. One
//! function, because the resident set is the process's.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "the allocator is told in C what to do with what is freed")]

use tidewall_engine::{Dealing, Engine, Observer, Policy, WindowView};
use tidewall_model::{FlowRecord, Timestamp, protocol};

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_767_571_200 * SECOND;
const MIB: u64 = 1 << 20;
/// Hosts of the peak, each with two flows: some 60 MiB.
const HOSTS: u32 = 200_000;

/// Has the allocator return what is freed, as the service does: glibc's keeps large allocations
/// once it has seen a large one being freed.
fn return_what_is_freed() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        const M_MMAP_THRESHOLD: i32 = -3;
        // SAFETY: it sets a number of the allocator, which takes its own lock for it.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, 1 << 20);
        }
    }
}

/// Resident set of this process in bytes, where the system tells.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Hosts and flows of the last window that had any.
#[derive(Default)]
struct Last(usize, u64);

impl Observer for Last {
    fn window(&mut self, window: &WindowView<'_>) {
        if window.host_count() > 0 {
            let flows = window.hosts().map(|(_, counters)| counters.incoming.flows).sum();
            *self = Self(window.host_count(), flows);
        }
    }
}

fn record(second: u64, host: u32, flow: u16) -> FlowRecord {
    FlowRecord {
        time: Timestamp(START + second * SECOND),
        seq: second << 32 | u64::from(host),
        src: 0xc000_0201,
        dst: (0x0a00_0000 | host).into(),
        src_port: 1024 + flow,
        dst_port: 443,
        protocol: protocol::TCP,
        bytes: 700,
        ..FlowRecord::default()
    }
}

/// Two windows, so that both tables of the shard are filled.
fn peak(engine: &mut Engine, from: u64, last: &mut Last) {
    let mut batch = Vec::with_capacity(1000);
    for second in [from, from + 1] {
        for host in 0..HOSTS {
            batch.extend([0, 1].map(|flow| record(second, host, flow)));
            if batch.len() >= 1000 {
                engine.ingest(&batch, last);
                batch.clear();
            }
        }
    }
    engine.advance(Timestamp(START + (from + 2) * SECOND), last);
    assert_eq!((last.0, last.1), (HOSTS as usize, 2 * u64::from(HOSTS)));
}

#[test]
fn what_a_peak_took_is_given_back() {
    return_what_is_freed();
    let mut policy = Policy::for_networks(vec!["10.0.0.0/12".parse().unwrap()]);
    policy.capacity.recent = 1 << 10;
    let mut engine = Engine::new(policy, 1, Dealing::ByHost, 7);
    let mut last = Last::default();
    engine.ingest(&[record(0, 7, 0)], &mut last);
    let Some(before) = resident() else { return println!("skipped: no /proc/self/statm") };
    let growth = || resident().unwrap().saturating_sub(before) / MIB;

    peak(&mut engine, 10, &mut last);
    let full = growth();
    assert!(full >= 40, "a peak of {full} MiB shows nothing");
    // It is kept for a while: the next peak often comes soon.
    for second in 12..100 {
        engine.ingest(&[record(second, 7, 0)], &mut last);
    }
    assert!(growth() >= full * 9 / 10, "{} of {full} MiB after a minute", growth());
    for second in 100..300 {
        engine.ingest(&[record(second, 7, 0)], &mut last);
    }
    assert!(growth() <= full / 8, "{} of {full} MiB with one host", growth());
    assert_eq!((last.0, last.1), (1, 1));

    peak(&mut engine, 300, &mut last);
    assert!(growth() >= full / 2);
    // Every watch has ended by then, and no window is closed any more.
    for second in 302..900 {
        engine.advance(Timestamp(START + second * SECOND), &mut last);
    }
    assert!(growth() <= full / 8, "{} of {full} MiB in silence", growth());
    engine.ingest(&[record(900, 7, 0), record(900, 7, 1)], &mut last);
    engine.finish(&mut last);
    assert_eq!((last.0, last.1), (1, 2));
}
