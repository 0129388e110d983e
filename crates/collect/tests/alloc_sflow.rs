//! Decoding sFlow allocates nothing once its agents are known: a counting allocator sees to it. The
//! counts are those of the test's own thread.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::SocketAddr;

use tidewall_collect::{ExportDatagram, SflowCollector, SflowSettings};
use tidewall_model::{DropReason, FlowRecord, Timestamp};

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

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn tagged(format: u32, body: &[u8]) -> Vec<u8> {
    [&words(&[format, body.len() as u32])[..], body].concat()
}

/// UDP from 192.0.2.1 to 192.0.2.2 behind a header record, in a flow sample of this interface.
fn flow_sample(interface: u32, ether_type: u8) -> Vec<u8> {
    let mut frame = vec![2; 12];
    frame.extend([8, ether_type, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    frame.extend([192, 0, 2, 1, 192, 0, 2, 2, 0, 53, 0, 80, 0, 8, 0, 0, 0, 0]);
    let length = frame.len() as u32;
    let header = tagged(1, &[words(&[1, length + 4, 4, length]), frame].concat());
    let switch = tagged(1001, &words(&[7, 0, 8, 0]));
    let head = words(&[1, interface, 512, 9, 0, interface, 3, 2]);
    tagged(1, &[head, header, switch].concat())
}

/// A datagram of everything: flows, counters, a discard, what is no IP, what is damaged.
fn datagram(agent: u32, sequence: u32) -> Vec<u8> {
    let counters = [words(&[7, 5, 1]), tagged(1, &words(&[sequence; 22]))].concat();
    let samples = [
        flow_sample(1, 0),
        flow_sample(2, 0),
        flow_sample(1, 6),
        tagged(2, &counters),
        tagged(5, &words(&[8, 0, 3, 0, 3, 4, 258, 0])),
        tagged(1, &[0; 8]),
    ];
    let head = words(&[5, 1, agent, 0, sequence, 1000 * sequence, samples.len() as u32]);
    [head, samples.concat()].concat()
}

#[test]
fn nothing_is_allocated_for_agents_that_are_known() {
    let mut collector = SflowCollector::new(SflowSettings::default());
    let mut batch: Vec<FlowRecord> = Vec::with_capacity(64);
    let list: Vec<Vec<u8>> = (0..800).map(|n| datagram(n % 4, n / 4)).collect();
    let mut run = |list: &[Vec<u8>]| {
        let before = REQUESTS.get();
        for (n, data) in list.iter().enumerate() {
            batch.clear();
            let from = SocketAddr::from(([192, 0, 2, (n % 4) as u8], 6343));
            let datagram = ExportDatagram::new(from, Timestamp(n as u64), data);
            collector.decode(&datagram, &mut batch).unwrap();
            assert_eq!(batch.len(), 2);
            let cut = ExportDatagram::new(from, Timestamp(n as u64), &data[..20]);
            assert_eq!(collector.decode(&cut, &mut batch), Err(DropReason::DatagramCut));
        }
        REQUESTS.get() - before
    };
    let (first, rest) = list.split_at(500);
    assert!(run(first) > 0, "agents are stored");
    assert_eq!(run(rest), 0);
}
