//! What the soak sends: NetFlow v5, v9, IPFIX and sFlow, each from exporters that come and go, to
//! hosts that come and go.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// Exporters in all; each sends for a while and then gives way to the next. A multiple of the
/// number of formats: an exporter that comes back speaks as before.
const EXPORTERS: u32 = 400;
/// All send from this port, each from its own address.
const PORT: u16 = 20_555;
/// Exporters at once, which send in turn.
pub const AT_ONCE: u32 = 48;
/// An exporter gives way to the next one after each of these.
const EXPORTER_TIME: Duration = Duration::from_millis(50);
/// After so long, one in eight active hosts gives way to another one.
const HOST_TIME: Duration = Duration::from_millis(500);
/// A template comes with the first datagram of an exporter and with each of these after it.
const TEMPLATE_EVERY: u32 = 500;
/// Unix time of the exporters' start.
const BOOT: u32 = 1_790_000_000;
/// Bytes of a header in an sFlow sample.
const SAMPLE: usize = 64;

/// What an exporter speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    V5,
    V9,
    Ipfix,
    Sflow,
}

impl Format {
    const ALL: [Self; 4] = [Self::V5, Self::V9, Self::Ipfix, Self::Sflow];

    /// Flows or samples in a datagram, which stays below 1,500 bytes.
    const fn records(self) -> u32 {
        match self {
            Self::V5 => 30,
            Self::V9 => 24,
            Self::Ipfix => 18,
            Self::Sflow => 7,
        }
    }
}

/// Records of a datagram in the mean.
pub fn mean_records() -> f64 {
    let all: u32 = Format::ALL.iter().map(|format| format.records()).sum();
    f64::from(all) / Format::ALL.len() as f64
}

/// Mixes a number (xorshift multiply).
fn mixed(number: u32) -> u32 {
    let a = (number ^ (number >> 16)).wrapping_mul(0x7feb_352d);
    (a ^ (a >> 15)).wrapping_mul(0x846c_a68b)
}

/// A flow from anywhere to a host of 10.0.0.0/12 that is active just now.
#[derive(Clone, Copy, Debug)]
struct Flow {
    chance: u32,
    source: u32,
    host: u32,
}

impl Flow {
    fn new(number: u32, epoch: u32) -> Self {
        let chance = mixed(number);
        // Four thousand hosts, which move on through 16,384 addresses: an address that is seen for
        // the first time has memory put behind its place in tables of bounded size.
        let host = 0x0a00_0000 | ((epoch * 512 + chance % 4096) & 0x3fff);
        Self { chance, source: mixed(chance), host }
    }

    const fn packets(self) -> u32 {
        1 + self.chance % 8
    }

    const fn octets(self) -> u32 {
        100 + self.chance % 8000
    }

    fn v5(self, uptime_ms: u32, out: &mut Vec<u8>) {
        words(&[self.source, self.host, 0, 0x0001_0002, self.packets(), self.octets()], out);
        words(&[uptime_ms.saturating_sub(1000), uptime_ms], out);
        out.extend((self.chance as u16).to_be_bytes());
        out.extend([0, 53, 0, 0, 17, 0]);
        out.extend([0; 8]);
    }

    /// As [`TEMPLATE`] has it.
    fn templated(self, first: u32, last: u32, out: &mut Vec<u8>) {
        words(&[self.source, self.host, self.packets(), self.octets(), first, last], out);
        out.extend((self.chance as u16).to_be_bytes());
        out.extend([0, 53, 17]);
    }

    /// A flow sample (sFlow v5 §5) with the header of an Ethernet frame of UDP.
    fn sample(self, sequence: u32, out: &mut Vec<u8>) {
        let length = 100 + (self.chance % 1200) as u16;
        let record = 16 + SAMPLE as u32;
        words(&[1, 40 + record, sequence, 1, 1, sequence, 0, 1, 2, 1], out);
        words(&[1, record, 1, u32::from(length) + 18, 4, SAMPLE as u32], out);
        let header = out.len();
        out.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0]);
        out.extend(length.to_be_bytes());
        out.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        words(&[self.source, self.host], out);
        out.extend((self.chance as u16).to_be_bytes());
        out.extend([0, 53]);
        out.extend((length - 20).to_be_bytes());
        out.resize(header + SAMPLE, 0);
    }
}

/// Elements and lengths: addresses, packets, octets, first and last, ports, protocol. The times
/// are uptimes in v9 (22, 21) and seconds in IPFIX (150, 151).
const TEMPLATE: [(u16, u16); 9] =
    [(8, 4), (12, 4), (2, 4), (1, 4), (22, 4), (21, 4), (7, 2), (11, 2), (4, 1)];
const TEMPLATE_ID: u16 = 256;

fn words(words: &[u32], out: &mut Vec<u8>) {
    for word in words {
        out.extend(word.to_be_bytes());
    }
}

fn template(format: Format, out: &mut Vec<u8>) {
    let (set, [first, last]) =
        if format == Format::V9 { (0_u16, [22, 21]) } else { (2, [150, 151]) };
    let length = 8 + 4 * TEMPLATE.len() as u16;
    for half in [set, length, TEMPLATE_ID, TEMPLATE.len() as u16] {
        out.extend(half.to_be_bytes());
    }
    for (element, length) in TEMPLATE {
        let element = match element {
            22 => first,
            21 => last,
            other => other,
        };
        out.extend(element.to_be_bytes());
        out.extend(length.to_be_bytes());
    }
}

struct Exporter {
    format: Format,
    address: Ipv4Addr,
    socket: UdpSocket,
    datagrams: u32,
}

impl Exporter {
    fn new(number: u32) -> Self {
        let number = number % EXPORTERS;
        let address = Ipv4Addr::from(0x7f01_0001 + number);
        let format = Format::ALL[number as usize % Format::ALL.len()];
        // The port as before when it comes back: IPFIX has another session for another one.
        let socket = UdpSocket::bind((address, PORT)).unwrap();
        Self { format, address, socket, datagrams: 0 }
    }

    /// The next datagram.
    fn write(&mut self, number: u32, uptime_ms: u32, out: &mut Vec<u8>) {
        out.clear();
        let (format, records) = (self.format, self.format.records());
        let epoch = uptime_ms / HOST_TIME.as_millis() as u32;
        let flow = |n: u32| Flow::new(number.wrapping_mul(30).wrapping_add(n), epoch);
        let (unix, before) = (BOOT + uptime_ms / 1000, self.datagrams);
        self.datagrams += 1;
        match format {
            Format::V5 => {
                words(&[0x0005_0000 | records, uptime_ms, BOOT, 0, before * records, 0], out);
                (0..records).for_each(|n| flow(n).v5(uptime_ms, out));
            }
            Format::Sflow => {
                let agent = self.address.to_bits();
                words(&[5, 1, agent, 0, before, uptime_ms, records], out);
                (0..records).for_each(|n| flow(n).sample(before * records + n, out));
            }
            Format::V9 | Format::Ipfix => {
                let with_template = before.is_multiple_of(TEMPLATE_EVERY);
                if format == Format::V9 {
                    let count = records + u32::from(with_template);
                    words(&[0x0009_0000 | count, uptime_ms, unix, before, 0], out);
                } else {
                    words(&[0x000a_0000, unix, before * records, 0], out);
                }
                if with_template {
                    template(format, out);
                }
                let set = out.len();
                words(&[u32::from(TEMPLATE_ID) << 16], out);
                let (first, last) = if format == Format::V9 {
                    (uptime_ms.saturating_sub(1000), uptime_ms)
                } else {
                    (unix - 1, unix)
                };
                (0..records).for_each(|n| flow(n).templated(first, last, out));
                let padding = (4 - (out.len() - set) % 4) % 4;
                out.resize(out.len() + padding, 0);
                let length = (out.len() - set) as u16;
                out[set + 2..set + 4].copy_from_slice(&length.to_be_bytes());
                if format == Format::Ipfix {
                    let length = out.len() as u16;
                    out[2..4].copy_from_slice(&length.to_be_bytes());
                }
            }
        }
    }
}

/// Sends, and has hosts and exporters come and go.
pub struct Sender {
    sflow: u16,
    netflow: u16,
    begin: Instant,
    exporters: Vec<Exporter>,
    datagram: Vec<u8>,
    /// Exporters so far.
    pub exporters_so_far: u32,
    /// Datagrams so far.
    pub datagrams: u64,
    /// Records so far.
    pub records: u64,
}

impl Sender {
    /// To these ports of loopback.
    pub fn new(sflow: u16, netflow: u16) -> Self {
        Self {
            sflow,
            netflow,
            begin: Instant::now(),
            exporters: (0..AT_ONCE).map(Exporter::new).collect(),
            datagram: Vec::new(),
            exporters_so_far: AT_ONCE,
            datagrams: 0,
            records: 0,
        }
    }

    fn send(&mut self, count: u32) {
        let uptime = self.begin.elapsed().as_millis() as u32;
        for _ in 0..count {
            let number = self.datagrams as u32;
            let exporter = &mut self.exporters[(number % AT_ONCE) as usize];
            exporter.write(number, uptime, &mut self.datagram);
            let port = if exporter.format == Format::Sflow { self.sflow } else { self.netflow };
            exporter.socket.send_to(&self.datagram, ("127.0.0.1", port)).unwrap();
            self.datagrams += 1;
            self.records += u64::from(exporter.format.records());
        }
        if uptime / EXPORTER_TIME.as_millis() as u32 > self.exporters_so_far - AT_ONCE {
            let next = self.exporters_so_far;
            self.exporters[(next % AT_ONCE) as usize] = Exporter::new(next);
            self.exporters_so_far += 1;
        }
    }

    /// Sends so many datagrams a second, and calls `look` once a second. Gives the rate it came to.
    pub fn run(&mut self, rate: f64, whole: Duration, mut look: impl FnMut(u64)) -> f64 {
        let (begin, before, mut seconds, mut due) = (Instant::now(), self.datagrams, 0, 0.0);
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
        (self.datagrams - before) as f64 / begin.elapsed().as_secs_f64()
    }
}
