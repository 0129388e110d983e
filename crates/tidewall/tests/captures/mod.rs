//! Small captures, built packet by packet, and the way to the corpus.

#![allow(dead_code, reason = "each test program uses its part")]

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tidewall::replay::Input;
use tidewall_wire::emit::{self, Payload, Transport};
use tidewall_wire::pcap::{Packet, PcapHeader, PcapWriter};

/// When the captures begin: 2023-11-14 22:13:20 UTC.
pub const START: u64 = 1_700_000_000 * SECOND;
/// In nanoseconds.
pub const SECOND: u64 = 1_000_000_000;

/// A pcap file in the making.
pub struct Capture {
    writer: PcapWriter,
    pub bytes: Vec<u8>,
}

impl Capture {
    pub fn new() -> Self {
        let mut bytes = Vec::new();
        Self { writer: PcapWriter::new(PcapHeader::default(), &mut bytes), bytes }
    }

    /// Adds a frame as it is.
    pub fn frame(&mut self, time: u64, data: &[u8]) {
        let wire_len = data.len() as u32;
        let packet = Packet { time, link_type: 1, wire_len, data, interface: 0 };
        self.writer.write(&packet, &mut self.bytes);
    }

    /// Adds a UDP packet with 100 bytes of payload.
    pub fn udp(&mut self, time: u64, src: &str, dst: &str, ports: (u16, u16)) {
        let packet = emit::Packet {
            source: src.parse().unwrap(),
            destination: dst.parse::<IpAddr>().unwrap(),
            ttl: 60,
            identification: 1,
            piece: None,
            transport: Transport::Udp { source: ports.0, destination: ports.1 },
            payload: Payload::Bytes(&[0x61; 100]),
        };
        let mut data = Vec::new();
        let ethernet = emit::Frame { destination: [2; 6], source: [4; 6], tags: &[], packet };
        emit::emit_frame(&ethernet, &mut data).unwrap();
        self.frame(time, &data);
    }

    /// `pps` UDP packets a second from a changing port 1024.. to port 4000, for `seconds`.
    pub fn flood(&mut self, from: u64, src: &str, dst: &str, pps: u64, seconds: f64) {
        for n in 0..(pps as f64 * seconds) as u64 {
            let port = 1024 + (n % 700) as u16;
            self.udp(from + n * SECOND / pps, src, dst, (port, 4000));
        }
    }

    pub fn input(self, name: &str) -> Input {
        Input::Memory { name: name.to_owned(), bytes: Arc::from(self.bytes) }
    }
}

/// The corpus, when it is there; says so when it is not.
pub fn corpus() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let folder = std::env::var_os("TIDEWALL_CORPUS").map_or_else(default, PathBuf::from);
    let found = folder.join("MANIFEST.csv").is_file().then_some(folder);
    if found.is_none() {
        println!("skipped: no corpus at ../shared/corpus or $TIDEWALL_CORPUS");
    }
    found
}

/// Columns of a line of the corpus's manifest; quotes enclose commas.
pub fn columns(line: &str) -> Vec<String> {
    let mut list = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '"' => quoted = !quoted,
            ',' if !quoted => list.push(String::new()),
            letter => list.last_mut().unwrap().push(letter),
        }
    }
    list
}
