//! Once an exporter is known and its boxes are made, its health allocates nothing; a spreader
//! allocates nothing after it was made. A counting allocator sees to it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use tidewall_collect::{ExporterHealth, SamplingOrigin, Spreader};
use tidewall_model::{DropReason, FlowRecord, SamplingRate, Timestamp};

/// The system's allocator, with a count of the requests of each thread.
struct Counting;

thread_local! {
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every request goes to the system's allocator unchanged; counting touches a constant
// thread-local without a destructor, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        REQUESTS.set(REQUESTS.get() + 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Requests of memory while something is done.
fn requests(f: impl FnOnce()) -> u64 {
    let before = REQUESTS.get();
    f();
    REQUESTS.get() - before
}

const START: Timestamp = Timestamp::from_parts(1_767_571_200, 0);

/// One second of an exporter that loses, restarts, drops, samples and counts.
fn second(health: &mut ExporterHealth, n: u64) {
    let now = START + Duration::from_secs(n);
    health.datagram(now, Some(now), Some(1000 * (n % 500) as u32));
    health.sequence((n * 21 - n % 7) as u32, (!n.is_multiple_of(5)).then_some(20));
    health.flows(20);
    health.options(1);
    health.missing_template((n % 300) as u16, now);
    health.template((n * 7 % 300) as u16);
    health.drop(DropReason::RecordMalformed, 1);
    health.sampling(SamplingRate::new((n % 20) as u32), SamplingOrigin::Sampler, now);
    health.timeouts(Some(Duration::from_secs(n % 60)), None);
    health.longest_flow(Duration::from_secs(n % 60));
    health.absurd_durations(1);
    for index in 0..200 {
        health.sampled(index, Some(index), Some(index + 1), 1_000_000, 1000);
        health.agent_drops(index, 1, n as u32, (n * 1000) as u32, 1000);
        health.interface_counters(index, n * 1000, n, n * 10, n, 1_000_000, now);
    }
}

#[test]
fn health_of_a_known_exporter_allocates_nothing() {
    let mut health = ExporterHealth::new(START);
    for n in 1..2000 {
        second(&mut health, n);
    }
    let allocated = requests(|| {
        for n in 2000..6000 {
            second(&mut health, n);
        }
    });
    assert_eq!(allocated, 0);
    assert!(requests(|| drop(health.summary())) > 0, "the count counts");
}

#[test]
fn a_spreader_allocates_nothing() {
    let mut spreader = Spreader::new(Duration::from_mins(5), 1000);
    let mut out = Vec::with_capacity(20_000);
    let allocated = requests(|| {
        for n in 0..20_000 {
            let time = START + Duration::from_millis(20 * n);
            let record = FlowRecord { time, seq: n, packets: 100, bytes: 9, ..Default::default() };
            while spreader.advance(time, &mut out) {}
            spreader.push(record, Duration::from_secs(1 + n % 60), &mut out);
            out.clear();
        }
    });
    assert_eq!(allocated, 0);
    assert!(spreader.not_spread() > 0, "it was full");
}
