//! Nothing on the packet path allocates after start-up: a counting allocator sees to it. The counts
//! are those of the test's own thread.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use tidewall_engine::{Dealing, Engine, Policy};
use tidewall_model::{Family, FlowRecord, SamplingRate, TcpFlags, Timestamp, protocol};

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

const SECOND: u64 = 1_000_000_000;
const START: u64 = 1_767_571_200 * SECOND;

fn policy(dense: u32) -> Policy {
    let networks = ["10.0.0.0/12", "192.0.2.0/24", "2001:db8::/48"];
    let mut policy =
        Policy::for_networks(networks.iter().map(|text| text.parse().unwrap()).collect());
    policy.capacity.hosts = 1 << 15;
    policy.capacity.flows = 1 << 14;
    policy.capacity.recent = 1 << 12;
    policy.capacity.dense = dense;
    policy
}

/// Packet `n` of a mix of kinds, both ways, to `hosts` hosts in `flows` flows each.
fn record(time: u64, n: u64, hosts: u64, flows: u64, family: Family) -> FlowRecord {
    let (host, flow) = (n % hosts, n / hosts % flows);
    let (ours, remote) = match family {
        Family::V4 => (0x0a00_0000 | u128::from(host), 0xc633_0000 | u128::from(flow & 0xffff)),
        Family::V6 => (0x2001_0db8 << 96 | u128::from(host), 0x2a02_0001 << 96 | u128::from(flow)),
    };
    let (src, dst) = if n.is_multiple_of(3) { (ours, remote) } else { (remote, ours) };
    FlowRecord {
        time: Timestamp(time),
        seq: n,
        src,
        dst,
        family,
        protocol: [protocol::TCP, protocol::UDP, protocol::ICMP, protocol::GRE][n as usize % 4],
        tcp_flags: TcpFlags(n as u16 % 32),
        src_port: flow as u16,
        dst_port: 443,
        bytes: 300,
        sampling: SamplingRate::new(if n.is_multiple_of(7) { 10 } else { 1 }),
        ..FlowRecord::default()
    }
}

/// A second of everything, then a quiet one: tables have been used, and nothing is watched.
fn warm_up(engine: &mut Engine) {
    let families = [Family::V4, Family::V6];
    let mut list: Vec<FlowRecord> = (0..200)
        .flat_map(|n| families.map(|family| record(START + n * SECOND / 200, n, 20, 2, family)))
        .collect();
    list.sort_by_key(|record| record.time);
    engine.ingest(&list, &mut ());
    engine.advance(Timestamp(START + 2 * SECOND), &mut ());
}

/// Requests for memory while these records, all of one slice, are ingested.
fn requests(engine: &mut Engine, records: &[FlowRecord]) -> u64 {
    // The slice is open: closing the ones before it is the detector's work.
    engine.advance(records[0].time, &mut ());
    let before = REQUESTS.get();
    for batch in records.chunks(512) {
        engine.ingest(batch, &mut ());
    }
    REQUESTS.get() - before
}

/// Every kind of traffic, each in a slice of its own, in one engine.
fn check(mut engine: Engine, name: &str) {
    warm_up(&mut engine);
    let refused = engine.stats().hosts_refused;
    let mut slice = 60;
    let mut free = |what: &str, count: u64, hosts: u64, flows: u64, family: Family| {
        slice += 1;
        let time = START + slice * SECOND / 20 + 1;
        let list: Vec<FlowRecord> =
            (0..count).map(|n| record(time, n, hosts, flows, family)).collect();
        assert_eq!(requests(&mut engine, &list), 0, "{name}: {what}");
    };
    for family in [Family::V4, Family::V6] {
        free("known hosts", 2_000, 20, 2, family);
        free("new hosts, and the index grows", 5_000, 5_000, 1, family);
        free("new flows", 5_000, 20, 400, family);
        free("more flows than are told apart", 60_000, 20, 60_000, family);
        free("a large attack", 100_000, 1, 7, family);
        free("more hosts than there is room for", 200_000, 200_000, 1, family);
    }
    assert!(engine.stats().hosts_refused > refused, "the host table was to be filled");
}

#[test]
fn nothing_is_allocated_within_a_slice() {
    for dense in [1 << 24, 0] {
        check(Engine::new(policy(dense), 1, Dealing::ByHost, 7), "one shard");
        check(Engine::new(policy(dense), 3, Dealing::ByHost, 7), "by host");
        check(Engine::new(policy(dense), 3, Dealing::RoundRobin, 7), "round robin");
    }
}

#[test]
fn nothing_is_allocated_when_thousands_of_hosts_become_hot_at_once() {
    let mut engine = Engine::new(policy(1 << 24), 1, Dealing::ByHost, 7);
    warm_up(&mut engine);
    let time = START + 90 * SECOND / 20 + 1;
    let heavy = |n| FlowRecord { packets: 5_000, ..record(time, n, 5_000, 1, Family::V4) };
    let list: Vec<FlowRecord> = (0..5_000).map(heavy).collect();
    assert_eq!(requests(&mut engine, &list), 0);
}

#[test]
fn the_allocator_counts() {
    let before = REQUESTS.get();
    drop(std::hint::black_box(vec![0u8; 100]));
    assert_eq!(REQUESTS.get() - before, 1);
}
