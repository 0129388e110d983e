//! What a record, a window and a host cost, and what a prefix look-up costs.
//!
//! Hosts are spread over 10.0.0.0/12; each has four flows from random remote addresses, in both
//! directions, and they come in random order: no record finds its host in the cache by luck.

#![expect(clippy::expect_used, reason = "a benchmark stops when its set-up is wrong")]
#![allow(unsafe_code, reason = "the service asks for memory by an instruction that is unsafe")]

use std::fs;
use std::time::Duration;

use tidewall_engine::{
    Averages, Dealing, Engine, Observer, Policy, Prefetch, PrefixTable, WindowView,
};
use tidewall_model::{Address, FlowRecord, Prefix, TcpFlags, Timestamp, protocol};
use tidewall_testkit::bench::Bench;

const SECOND: u64 = 1_000_000_000;

fn main() {
    let mut bench = Bench::new("engine");
    idle_memory(&mut bench);
    for (name, hosts, aim) in
        [("1k", 1_000u32, None), ("100k", 100_000, Some(30.0)), ("1m", 1_000_000, Some(80.0))]
    {
        ingest(&mut bench, name, hosts, aim);
    }
    make(&mut bench);
    for (name, hosts, aim) in
        [("1k", 1_000u32, None), ("100k", 100_000, None), ("1m", 1_000_000, Some(60.0))]
    {
        close(&mut bench, name, hosts, aim);
    }
    averages(&mut bench);
    for (name, hosts) in [("1k", 1_000u32), ("100k", 100_000), ("1m", 1_000_000)] {
        memory(&mut bench, name, hosts);
    }
    idle(&mut bench);
    for (name, count) in [("10", 10u32), ("1k", 1_000), ("100k", 100_000)] {
        lookup(&mut bench, name, count);
    }
}

/// Asks for memory as the service does, where this is written for the processor.
#[derive(Clone, Copy)]
struct Near;

impl Prefetch for Near {
    #[inline]
    fn prefetch<T: Copy>(self, place: &T) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the instruction reads nothing and cannot fault, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        std::hint::black_box(*place);
    }
}

/// splitmix64.
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn engine() -> Engine {
    let mut policy = Policy::for_networks(vec!["10.0.0.0/12".parse().expect("a prefix")]);
    policy.capacity.hosts = 1 << 20;
    Engine::new(policy, 1, Dealing::ByHost, 7)
}

/// `count` records of `hosts` hosts, all in the slice that begins at `at`.
fn records(hosts: u32, count: usize, at: u64) -> Vec<FlowRecord> {
    let mut state = 42;
    (0..count)
        .map(|n| {
            let host = random(&mut state) as u32 % hosts;
            record(spread(host), random(&mut state) as u32 % 4, n as u64, at, n % 2 == 0)
        })
        .collect()
}

/// Address of a host. Hosts lie apart in the network, as they do in a real one.
fn spread(host: u32) -> u32 {
    0x0a00_0000 | host.wrapping_mul(2_654_435_761) & 0x000f_ffff
}

fn record(local: u32, flow: u32, seq: u64, at: u64, incoming: bool) -> FlowRecord {
    let remote = 0xc000_0000 | local.wrapping_mul(0x9e37_79b1).wrapping_add(flow) >> 4;
    let (src, dst) = if incoming { (remote, local) } else { (local, remote) };
    let tcp = flow.is_multiple_of(2);
    FlowRecord {
        time: Timestamp(at),
        seq,
        src: src.into(),
        dst: dst.into(),
        src_port: 40_000 + flow as u16,
        dst_port: 443,
        protocol: if tcp { protocol::TCP } else { protocol::UDP },
        tcp_flags: TcpFlags(if tcp { TcpFlags::ACK } else { 0 }),
        bytes: 700,
        ..FlowRecord::default()
    }
}

fn ingest(bench: &mut Bench, name: &str, hosts: u32, aim: Option<f64>) {
    let full = format!("ingest_{name}_hosts");
    if !bench.wants(&full) {
        return;
    }
    let picks = picks(hosts, 2_000_000);
    let mut batch = vec![FlowRecord::default(); BATCH];
    let mut engine = engine();
    // A second at the rate that is aimed at: what is kept of the records goes by it.
    ingest_picks(&mut engine, &picks[..RATE], &mut batch, SECOND);
    // The window is warm: its hosts are known, as for all but the first records of a second.
    ingest_picks(&mut engine, &picks, &mut batch, 2 * SECOND);
    if let Some(aim) = aim {
        bench.aim(aim);
    }
    let note = "both directions, flows counted, random order; with the making of the records";
    bench.note(note).run(&full, "ns/record", picks.len() as u64, || {
        ingest_picks(&mut engine, &picks, &mut batch, 2 * SECOND);
    });
}

/// What the making of the records is of the time of an `ingest` bench.
fn make(bench: &mut Bench) {
    let full = "make_records";
    if !bench.wants(full) {
        return;
    }
    let picks = picks(100_000, 2_000_000);
    let mut batch = vec![FlowRecord::default(); BATCH];
    bench.note("to be taken off the ingest benches").run(
        full,
        "ns/record",
        picks.len() as u64,
        || {
            for (picks, seq) in picks.chunks(BATCH).zip((0..).step_by(BATCH)) {
                fill(&mut batch, picks, seq, SECOND);
                std::hint::black_box(&mut batch);
            }
        },
    );
}

/// Records that a worker takes at once, in the cache because it has just made them.
const BATCH: usize = 256;
/// Records of a second.
const RATE: usize = 400_000;

/// A host's address in the low 30 bits, and the number of one of its flows above.
fn picks(hosts: u32, count: usize) -> Vec<u32> {
    let mut state = 42;
    let pick =
        |_| spread(random(&mut state) as u32 % hosts) | (random(&mut state) as u32 % 4) << 30;
    (0..count).map(pick).collect()
}

fn fill(batch: &mut [FlowRecord], picks: &[u32], first: u64, at: u64) {
    for ((slot, pick), seq) in batch.iter_mut().zip(picks).zip(first..) {
        *slot = record(pick & 0x3fff_ffff, pick >> 30, seq, at, seq % 2 == 0);
    }
}

fn ingest_picks(engine: &mut Engine, picks: &[u32], batch: &mut [FlowRecord], at: u64) {
    for (picks, seq) in picks.chunks(BATCH).zip((0..).step_by(BATCH)) {
        fill(batch, picks, seq, at);
        engine.ingest_with(&batch[..picks.len()], Near, &mut ());
    }
}

fn close(bench: &mut Bench, name: &str, hosts: u32, aim: Option<f64>) {
    let full = format!("close_window_{name}_hosts");
    if !bench.wants(&full) {
        return;
    }
    if let Some(aim) = aim {
        bench.aim(aim);
    }
    let mut engine = engine();
    let mut second = 1;
    let mut state = 1u64;
    let mut order: Vec<u32> = (0..hosts).collect();
    for at in (1..order.len()).rev() {
        order.swap(at, random(&mut state) as usize % (at + 1));
    }
    let mut list: Vec<FlowRecord> = (order.iter().zip(0u64..))
        .map(|(host, n)| record(spread(*host), 0, n, SECOND, n % 2 == 0))
        .collect();
    let engine = std::cell::RefCell::new(&mut engine);
    bench.note("shard and detector, one core").run_fresh(
        &full,
        "ms/window",
        1,
        || {
            second += 2;
            for record in &mut list {
                record.time = Timestamp(second * SECOND);
            }
            engine.borrow_mut().ingest(&list, &mut ());
            second
        },
        |second| engine.borrow_mut().advance(Timestamp((*second + 1) * SECOND), &mut ()),
    );
}

/// Looks at a window as the service does for its list of hosts, or does not.
struct Listed {
    averages: Option<Averages>,
    window: u64,
}

impl Observer for Listed {
    fn window(&mut self, window: &WindowView<'_>) {
        self.window += 1;
        if let Some(averages) = &mut self.averages {
            averages.end_window(self.window, window.hosts());
        }
    }
}

/// What the averages that are shown add to the closing of a window.
fn averages(bench: &mut Bench) {
    let length = Duration::from_secs(1);
    for (name, averages) in
        [("without", None), ("with", Some(Averages::new(10_000, length, 5 * length)))]
    {
        let full = format!("close_window_100k_hosts_{name}_averages");
        if !bench.wants(&full) {
            continue;
        }
        let (mut engine, mut second) = (engine(), 1);
        let mut listed = Listed { averages, window: 0 };
        let mut list = records(100_000, RATE, SECOND);
        let engine = std::cell::RefCell::new(&mut engine);
        bench.note("200,000 records, a table of 10,000").run_fresh(
            &full,
            "ms/window",
            1,
            || {
                second += 2;
                // Every window has other large hosts, and some that stay.
                list.rotate_left(RATE / 8);
                for (record, seq) in list.iter_mut().zip(second * RATE as u64..) {
                    (record.time, record.seq) = (Timestamp(second * SECOND), seq);
                }
                engine.borrow_mut().ingest(&list[..RATE / 2], &mut ());
                second
            },
            |second| engine.borrow_mut().advance(Timestamp((*second + 1) * SECOND), &mut listed),
        );
    }
}

/// Resident memory of this process in bytes.
fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|field| field.parse::<f64>().ok());
    pages.unwrap_or(0.0) * 4096.0
}

fn memory(bench: &mut Bench, name: &str, hosts: u32) {
    let full = format!("bytes_per_active_host_{name}");
    if !bench.wants(&full) {
        return;
    }
    let lists: Vec<Vec<FlowRecord>> = (1..=4u64)
        .map(|second| {
            (0..hosts)
                .flat_map(|host| {
                    let local = spread(host);
                    let seq = u64::from(host) * 2;
                    [true, false]
                        .map(|incoming| record(local, host % 2, seq, second * SECOND, incoming))
                })
                .collect()
        })
        .collect();
    let before = resident();
    let mut engine = engine();
    let built = resident();
    for list in &lists {
        engine.ingest(list, &mut ());
    }
    engine.advance(Timestamp(6 * SECOND), &mut ());
    let after = resident();
    bench
        .aim(300.0)
        .note(format!(
            "resident, four windows, both directions, two buffers, 2 flows each; the engine itself {} kB",
            ((built - before) / 1000.0).round()
        ))
        .report(&full, (after - built) / f64::from(hosts), "bytes/host");
}

/// An engine that watches a million addresses of which none was seen. It comes first, while the
/// allocator has nothing to give again.
fn idle_memory(bench: &mut Bench) {
    let full = "bytes_per_idle_host_1m";
    if !bench.wants(full) {
        return;
    }
    let before = resident();
    let engine = engine();
    let after = resident();
    bench
        .note("resident, a /12 of which no address was seen: the whole engine, divided by its addresses")
        .report(full, (after - before) / f64::from(1u32 << 20), "bytes/host");
    drop(engine);
}

/// A million hosts were active, then only one is: what does a window cost then?
fn idle(bench: &mut Bench) {
    let full = "close_window_after_1m_hosts_went_idle";
    if !bench.wants(full) {
        return;
    }
    let mut engine = engine();
    let mut second = 1u64;
    for _ in 0..2 {
        engine.ingest(&records(1_000_000, 2_000_000, second * SECOND), &mut ());
        second += 1;
    }
    engine.advance(Timestamp((second + 10) * SECOND), &mut ());
    second += 10;
    let engine = std::cell::RefCell::new(&mut engine);
    bench.note("one active host").run_fresh(
        full,
        "us/window",
        1,
        || {
            second += 2;
            engine.borrow_mut().ingest(&records(1, 1, second * SECOND), &mut ());
            second
        },
        |second| engine.borrow_mut().advance(Timestamp((*second + 1) * SECOND), &mut ()),
    );
}

fn lookup(bench: &mut Bench, name: &str, count: u32) {
    for (family, v4) in [("ipv4", true), ("ipv6", false)] {
        let full = format!("prefix_lookup_{family}_{name}_networks");
        if !bench.wants(&full) {
            continue;
        }
        let mut state = 9;
        let prefixes: Vec<(Prefix, u32)> = (0..count)
            .map(|n| {
                let bits = random(&mut state);
                let len = 12 + (random(&mut state) % 13) as u8;
                let prefix = if v4 {
                    Prefix::containing(Address::v4(bits as u32), len)
                } else {
                    let bits = 0x2000 << 112 | u128::from(bits) << 61;
                    Prefix::containing(Address::v6(bits), len + 24)
                };
                (prefix, n)
            })
            .collect();
        let table = PrefixTable::new(&prefixes);
        let probes: Vec<Address> = (0..100_000)
            .map(|_| {
                let (prefix, _) = prefixes[random(&mut state) as usize % prefixes.len()];
                let low = u128::from(random(&mut state));
                let bits = prefix.first().bits | low & (prefix.size() - 1);
                Address { family: prefix.family(), bits }
            })
            .collect();
        bench.note("random addresses inside the networks").run(
            &full,
            "ns/lookup",
            probes.len() as u64,
            || probes.iter().filter(|address| table.lookup(**address).is_some()).count(),
        );
    }
}
