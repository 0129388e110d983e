//! Seeds for the fuzz targets: a frame of every encapsulation, small captures in every variant of
//! their formats, export datagrams of every protocol, BGP messages and sessions, snippets of
//! configuration. A fuzzer that starts from them need not guess what they are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::{fs, io};

use tidewall_wire::emit::{
    EmitError, Frame, Packet, Payload, Piece, Tag, Transport, append_packet, emit_frame,
};
use tidewall_wire::frame::LinkType;
use tidewall_wire::pcap::{
    self, ByteOrder, InterfaceDescription, PcapHeader, PcapWriter, PcapngWriter, TimeResolution,
};

mod bgp;
mod captures;
mod exports;
mod frames;

#[cfg(test)]
mod tests;

/// One input of one fuzz target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// Name of the fuzz target, and of its folder.
    pub target: &'static str,
    /// What it shows: the name of its file.
    pub name: String,
    /// The input, in the form that the target takes.
    pub bytes: Vec<u8>,
}

/// Snippets of configuration, good and bad.
const CONFIGURATIONS: [(&str, &str); 5] = [
    (
        "whole",
        "networks = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n\n[thresholds.incoming.host]\n\
         total = { pps = \"50k\", mbps = \"2 Gbps\" }\ntcp_syn = { pps = 10_000 }\n\
         icmp = \"off\"\n\n[[group]]\nname = \"web\"\nprefixes = [\"192.0.2.128/25\"]\n\
         detect = true\n\n[detection]\nwindow = \"500ms\"\nslices = 10\n",
    ),
    ("unknown_key", "networks = [\"192.0.2.0/24\"]\n[detection]\nwindw = \"1s\"\n"),
    ("host_bits", "networks = [\"192.0.2.7/24\", \"2001:db8::1/32\", \"10.0.0.0/33\"]\n"),
    (
        "nested_parents",
        "[[group]]\nname = \"a\"\nparent = \"b\"\n[[group]]\nname = \"b\"\nparent = \"a\"\n",
    ),
    ("not_toml", "networks = [\"192.0.2.0/24\"\n[detection\nwindow == 1"),
];

/// All seeds of all targets.
pub fn all() -> Result<Vec<Seed>, EmitError> {
    let mut seeds = frames::all()?;
    seeds.extend(captures::all()?);
    seeds.extend(exports::all()?);
    seeds.extend(bgp::all());
    seeds.extend(CONFIGURATIONS.map(|(name, text)| Seed {
        target: "config",
        name: name.to_owned(),
        bytes: text.as_bytes().to_vec(),
    }));
    Ok(seeds)
}

/// Writes all seeds beneath `directory`, in a folder for each target; returns how many.
pub fn write_all(directory: &Path) -> io::Result<usize> {
    let seeds = all().map_err(io::Error::other)?;
    for seed in &seeds {
        let folder = directory.join(seed.target);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(&seed.name), &seed.bytes)?;
    }
    Ok(seeds.len())
}

/// A packet between two hosts of documentation networks.
fn packet(v6: bool, transport: Transport, payload: &[u8]) -> Packet<'_> {
    let (source, destination) = if v6 {
        let host = |n| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n));
        (host(1), host(2))
    } else {
        (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2)))
    };
    let payload = Payload::Bytes(payload);
    Packet { source, destination, ttl: 64, identification: 7, piece: None, transport, payload }
}

/// The bytes of a packet without a link header.
fn bytes_of(packet: &Packet<'_>) -> Result<Vec<u8>, EmitError> {
    let mut out = Vec::new();
    append_packet(packet, &mut out)?;
    Ok(out)
}

/// An Ethernet frame around a packet.
fn ethernet(tags: &[Tag], packet: Packet<'_>) -> Result<Vec<u8>, EmitError> {
    let mut out = Vec::new();
    let (destination, source) = ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    emit_frame(&Frame { destination, source, tags, packet }, &mut out)?;
    Ok(out)
}

const fn udp(source: u16, destination: u16) -> Transport {
    Transport::Udp { source, destination }
}

const fn tcp(flags: u16) -> Transport {
    let (source, destination) = (40_000, 443);
    Transport::Tcp { source, destination, flags, sequence: 1, acknowledgment: 2, window: 512 }
}
