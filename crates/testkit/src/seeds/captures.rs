//! Captures of a few packets: pcap in both byte orders and both units of time, pcapng with one and
//! several interfaces, cut short, and packets longer than what was captured.

use super::{
    ByteOrder, EmitError, InterfaceDescription, PcapHeader, PcapWriter, PcapngWriter, Seed,
    TimeResolution, bytes_of, ethernet, packet, pcap, tcp, udp,
};

/// Length of the section header block that the `pcapng` target puts in front by itself.
const SECTION_HEADER: usize = 28;
/// 2026-01-05 00:00:00 UTC in nanoseconds.
const TIME: u64 = 1_767_571_200_000_000_000;
const ETHERNET: u32 = 1;
const RAW: u32 = 101;

pub(super) fn all() -> Result<Vec<Seed>, EmitError> {
    let frames = [
        ethernet(&[], packet(false, udp(53, 4000), &[7; 90]))?,
        ethernet(&[], packet(true, tcp(2), &[]))?,
    ];
    let raw = bytes_of(&packet(false, tcp(0x12), &[]))?;
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, bytes| {
        seeds.push(Seed { target, name: name.to_owned(), bytes });
    };
    for (byte_order, order) in [(ByteOrder::Little, "little"), (ByteOrder::Big, "big")] {
        for (nanoseconds, unit) in [(false, "us"), (true, "ns")] {
            let header = PcapHeader { byte_order, nanoseconds, ..PcapHeader::default() };
            add("pcap", &format!("{order}_{unit}"), classic(header, &frames));
        }
        let file = next_generation(byte_order, &frames, &raw);
        add("pcap", &format!("ng_{order}"), file.clone());
        if byte_order == ByteOrder::Little {
            add(
                "pcapng",
                "two_interfaces",
                file.get(SECTION_HEADER..).unwrap_or_default().to_vec(),
            );
        }
    }
    let snapped = PcapHeader { snap_len: 60, ..PcapHeader::default() };
    add("pcap", "snapped", classic(snapped, &frames));
    let mut cut = classic(PcapHeader::default(), &frames);
    cut.truncate(cut.len() - 9);
    add("pcap", "cut", cut);
    add("pcap", "empty", classic(PcapHeader::default(), &[]));
    Ok(seeds)
}

fn of(data: &[u8], link_type: u32, interface: u32, time: u64) -> pcap::Packet<'_> {
    pcap::Packet { time, link_type, wire_len: data.len() as u32, data, interface }
}

fn classic(header: PcapHeader, frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let writer = PcapWriter::new(header, &mut out);
    for (frame, n) in frames.iter().zip(0..) {
        writer.write(&of(frame, ETHERNET, 0, TIME + n * 1_000_001), &mut out);
    }
    out
}

/// Two interfaces of different link types and units of time.
fn next_generation(order: ByteOrder, frames: &[Vec<u8>], raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PcapngWriter::new(order, &mut out);
    let first = writer.describe(InterfaceDescription::default(), &mut out);
    let second = InterfaceDescription {
        link_type: RAW as u16,
        resolution: TimeResolution::MICROSECONDS,
        offset_s: 3600,
        ..InterfaceDescription::default()
    };
    let second = writer.describe(second, &mut out);
    let ethernet = frames.iter().map(|frame| of(frame, ETHERNET, first, TIME));
    for packet in ethernet.chain([of(raw, RAW, second, TIME + 5_000)]) {
        // Both interfaces are described above: nothing is refused.
        _ = writer.write(&packet, &mut out);
    }
    out
}
