//! A long run at a moderate rate, with hosts and exporters that come and go: memory stays flat and
//! nothing is dropped. A minute by
//!
//!     cargo test --release -p tidewall --test soak -- --ignored --nocapture
//!
//! and an hour with `TIDEWALL_SOAK_SECONDS=3600` in front of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

mod service;

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use service::Service;

/// Datagrams a millisecond, of 30 records each.
const BURST: u32 = 2;
/// Exporters in all; each sends for a while and then gives way to the next.
const EXPORTERS: u32 = 400;
/// Exporters at once.
const AT_ONCE: u32 = 50;

/// Mixes a number (xorshift multiply).
fn mixed(number: u32) -> u32 {
    let a = (number ^ (number >> 16)).wrapping_mul(0x7feb_352d);
    (a ^ (a >> 15)).wrapping_mul(0x846c_a68b)
}

/// A NetFlow v5 datagram of 30 flows from anywhere to hosts of 10.0.0.0/12, of which a part is
/// active at a time.
fn datagram(number: u32, sequence: u32, uptime_ms: u32) -> Vec<u8> {
    let mut out = vec![0, 5, 0, 30];
    out.extend(uptime_ms.to_be_bytes());
    out.extend(1_790_000_000_u32.to_be_bytes());
    out.extend([0; 4]);
    out.extend(sequence.to_be_bytes());
    out.extend([0; 4]);
    for flow in 0..30 {
        let chance = mixed(number.wrapping_mul(30).wrapping_add(flow));
        // Four thousand hosts, which move on through 16,384 addresses: an address that is seen for
        // the first time has memory put behind its place in tables of bounded size.
        let host = 0x0a00_0000 | ((number / 1000 * 512 + chance % 4096) & 0x3fff);
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

#[test]
#[ignore = "takes a minute, or as long as TIDEWALL_SOAK_SECONDS says"]
fn memory_is_flat_and_nothing_is_lost() {
    let seconds = std::env::var("TIDEWALL_SOAK_SECONDS").ok().and_then(|s| s.parse().ok());
    let whole = Duration::from_secs(seconds.unwrap_or(60));
    let mut service = Service::prepared();
    service.write(&format!(
        "networks = [\"10.0.0.0/12\"]\n[thresholds.incoming]\ntotal = {{ pps = 100_000 }}\n\
         [listen]\nsflow = []\nnetflow = [\"127.0.0.1:{}\"]\n",
        service.netflow
    ));
    service.run();
    let mut exporters: Vec<(UdpSocket, u32)> =
        (0..AT_ONCE).map(|number| (exporter(number), 0)).collect();
    let (begin, mut sent, mut next) = (Instant::now(), 0_u32, AT_ONCE);
    let mut memory: Vec<u64> = Vec::new();
    while begin.elapsed() < whole {
        for _ in 0..BURST {
            let at = (sent % AT_ONCE) as usize;
            let (socket, sequence) = &mut exporters[at];
            let uptime = begin.elapsed().as_millis() as u32;
            let message = datagram(sent, *sequence, uptime);
            socket.send_to(&message, ("127.0.0.1", service.netflow)).unwrap();
            *sequence += 30;
            sent += 1;
        }
        if sent.is_multiple_of(100) {
            exporters[(next % AT_ONCE) as usize] = (exporter(next), 0);
            next += 1;
        }
        if begin.elapsed().as_secs() > memory.len() as u64 {
            memory.push(service.status()["memory_bytes"].as_u64().unwrap());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let records = u64::from(sent) * 30;
    service.wait_for("all of it", |service| {
        service.status()["records"]["received"].as_u64().unwrap() >= records
    });
    let status = service.status();
    println!("{sent} datagrams, {next} exporters, memory {memory:?}");
    assert_eq!(status["received"]["dropped_by_kernel"], 0, "{status}");
    assert_eq!(status["drops"], serde_json::json!({}), "{status}");
    assert_eq!(status["records"]["counted"], records, "{status}");
    // The first half is for filling tables whose sizes are bounded.
    let mean = |part: &[u64]| part.iter().sum::<u64>() as f64 / part.len() as f64;
    let (third, last) = memory[memory.len() / 2..].split_at(memory.len() / 4);
    assert!(mean(last) <= mean(third) * 1.05, "memory grows: {memory:?}");
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}
