//! Once an exporter's templates are known, its data cost no allocation: a counting allocator sees
//! to it. The counts are those of the test's own thread.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

use tidewall_collect::{ExportDatagram, NetflowCollector, NetflowSettings};
use tidewall_model::{FlowRecord, Timestamp};

/// The system's allocator, with a count of the requests of each thread.
struct Counting;

thread_local! {
    static REQUESTS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    REQUESTS.set(REQUESTS.get() + 1);
}

// SAFETY: every request goes to the system's allocator unchanged; counting touches a constant
// thread-local without a destructor, which does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const EXPORTERS: u32 = 100;
const START: u64 = 1_700_000_000;

fn words(words: &[u16]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn message(domain: u32, set_id: u16, body: &[u8]) -> Vec<u8> {
    let mut message = words(&[10, 20 + body.len() as u16]);
    message.extend([START as u32, 0, domain].map(u32::to_be_bytes).concat());
    message.extend(words(&[set_id, 4 + body.len() as u16]));
    message.extend(body);
    message
}

/// A sampler, a fixed-length flow that names it, and a flow with a name and a reverse counter.
fn templates() -> [Vec<u8>; 3] {
    let flow = words(&[256, 7, 8, 4, 12, 4, 2, 4, 1, 4, 302, 4, 152, 8, 153, 8]);
    let mut variable = words(&[258, 5, 27, 16, 28, 16, 1, 4, 82, 0xffff]);
    variable.extend(words(&[0x8001, 4, 0, 29_305]));
    [flow, variable, words(&[257, 2, 1, 302, 4, 34, 4])]
}

/// One datagram of each kind of data.
fn data(n: u32) -> [Vec<u8>; 2] {
    let mut fixed = Vec::new();
    for record in 0..20 {
        fixed.extend([n, record, 3, 300, record % 5].map(u32::to_be_bytes).concat());
        fixed.extend([START * 1_000 - 5_000, START * 1_000].map(u64::to_be_bytes).concat());
    }
    let mut variable = Vec::new();
    for record in 0..20_u8 {
        variable
            .extend([[record + 1; 32].as_slice(), &[0, 0, 1, 0, 2, 65, 66, 0, 0, 2, 0]].concat());
    }
    [fixed, variable]
}

#[test]
fn data_cost_no_allocation_once_templates_are_known() {
    let mut collector = NetflowCollector::new(NetflowSettings::default());
    let mut records: Vec<FlowRecord> = Vec::with_capacity(1024);
    let from: SocketAddr = "192.0.2.1:4739".parse().unwrap();
    let mut take = |collector: &mut NetflowCollector, at: u64, bytes: &[u8]| {
        let datagram = ExportDatagram::new(from, Timestamp::from_parts(START + at, 0), bytes);
        records.clear();
        collector.decode(&datagram, &mut records).unwrap();
        records.len()
    };
    let [flow, variable, options] = templates();
    let sampler = [[0, 0, 0, 1, 0, 0, 3, 232], [0, 0, 0, 2, 0, 0, 7, 208]].concat();
    for domain in 0..EXPORTERS {
        for (set, body) in [(2, &flow), (2, &variable), (3, &options), (257, &sampler)] {
            take(&mut collector, 0, &message(domain, set, body));
        }
    }
    let [fixed, named] = data(7);
    let datagrams: Vec<_> = (0..EXPORTERS)
        .map(|domain| (message(domain, 256, &fixed), message(domain, 258, &named)))
        .collect();
    let mut run = |rounds: std::ops::Range<u64>| {
        let mut flows = 0;
        for round in rounds {
            for (fixed, named) in &datagrams {
                flows += take(&mut collector, round, fixed) + take(&mut collector, round, named);
            }
            collector.advance(Timestamp::from_parts(START + round, 0));
        }
        flows
    };
    run(0..3);
    let before = REQUESTS.get();
    let flows = run(3..60);
    assert_eq!(REQUESTS.get() - before, 0, "allocations");
    assert_eq!(flows, 57 * EXPORTERS as usize * (20 + 40));
}
