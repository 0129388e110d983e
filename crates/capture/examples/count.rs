//! The bare receive loop that `cargo xtask bench --live` measures everything against: it receives
//! by the same sources as the service, and only counts.
//!
//! `count udp ADDRESS:PORT`, `count af_packet INTERFACE` or `count af_xdp INTERFACE`; SIGTERM ends
//! it. At each line on standard input it prints what it has received.

#![allow(clippy::disallowed_methods, reason = "a program of its own, which keeps time")]

use std::error::Error;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidewall_capture::af_packet::{AfPacketConfig, AfPacketSource};
use tidewall_capture::af_xdp::{AfXdpConfig, AfXdpSource};
use tidewall_capture::udp::{UdpConfig, UdpSource};
use tidewall_capture::{DatagramSink, FrameSink, ReceiveError, VlanTag};
use tidewall_model::Timestamp;
use tidewall_wire::frame::LinkType;

const WAIT: Duration = Duration::from_millis(100);
/// As the service rests between two batches that were not full.
const UDP_PAUSE: Duration = Duration::from_millis(4);
const FULL: usize = 64;

#[derive(Default)]
struct Count {
    messages: u64,
    bytes: u64,
}

impl DatagramSink for Count {
    fn datagram(&mut self, _from: SocketAddr, _received: Timestamp, data: &[u8]) {
        self.messages += 1;
        self.bytes += data.len() as u64;
    }
}

impl FrameSink for Count {
    fn frame(
        &mut self,
        _link: LinkType,
        _time: Timestamp,
        data: &[u8],
        _wire_length: u32,
        _vlan: Option<VlanTag>,
    ) {
        self.messages += 1;
        self.bytes += data.len() as u64;
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [kind, what] = words.as_slice() else {
        return Err("usage: count udp ADDRESS:PORT | af_packet INTERFACE | af_xdp INTERFACE".into());
    };
    match kind.as_str() {
        "udp" => {
            let config = UdpConfig { kernel_time: false, ..UdpConfig::new(what.parse()?) };
            let mut source = UdpSource::open(&config)?;
            count(|count| {
                let received = source.receive(WAIT, count)?;
                Ok(if is_all(received) { UDP_PAUSE } else { Duration::ZERO })
            })
        }
        "af_packet" => {
            let mut source = AfPacketSource::open(&AfPacketConfig::new(what))?;
            count(|count| source.receive(WAIT, count).map(|_| Duration::ZERO))
        }
        "af_xdp" => {
            let mut sources = AfXdpSource::open_all(&AfXdpConfig::new(what))?;
            let [source] = sources.as_mut_slice() else { return Err("one queue, please".into()) };
            count(|count| {
                let received = source.receive(WAIT, count)?;
                Ok(if is_all(received) { source.rest() } else { Duration::ZERO })
            })
        }
        _ => Err("udp, af_packet or af_xdp".into()),
    }
}

/// Nothing more was there.
fn is_all(received: usize) -> bool {
    (1..FULL).contains(&received)
}

/// Counts for ever what `receive` takes, and rests after each batch for as long as it says.
fn count(
    mut receive: impl FnMut(&mut Count) -> Result<Duration, ReceiveError>,
) -> Result<(), Box<dyn Error>> {
    let total = Arc::new(AtomicU64::new(0));
    let shown = Arc::clone(&total);
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {
            let mut out = std::io::stdout().lock();
            let said = writeln!(out, "{}", shown.load(Ordering::Relaxed));
            if said.and_then(|()| out.flush()).is_err() {
                return;
            }
        }
    });
    let mut count = Count::default();
    loop {
        let pause = receive(&mut count)?;
        total.store(count.messages, Ordering::Relaxed);
        if !pause.is_zero() {
            std::thread::sleep(pause);
        }
    }
}
