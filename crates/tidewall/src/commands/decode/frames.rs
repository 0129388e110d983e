//! A line for each packet of the traffic itself.

use std::io::{self, Write};

use serde::Serialize;
use tidewall_collect::{FrameCollector, FrameNote};
use tidewall_engine::PrefixTable;
use tidewall_model::{Address, Direction, FlowRecord, Fragment, SamplingRate, protocol};
use tidewall_wire::frame::LinkType;
use tidewall_wire::pcap::Packet;

use super::csv::{quoted, write_field, write_next};
use super::{Format, direction, write_json};
use crate::config::Frames;

/// The columns, in order; also the keys of a JSON line.
pub(super) const COLUMNS: &str = "src_addr,dst_addr,src_port,dst_port,protocol,tcp_flags,packets,bytes,\
                       fragment,vlan,ttl,direction,note";

/// Writes a line for each frame.
pub(super) struct FrameLines {
    collector: FrameCollector,
    networks: Option<PrefixTable>,
    format: Format,
}

/// One line. Fields are empty when the packet is not counted.
#[derive(Serialize)]
struct Line {
    src_addr: Option<Address>,
    dst_addr: Option<Address>,
    src_port: Option<u16>,
    dst_port: Option<u16>,
    protocol: Option<u8>,
    tcp_flags: Option<String>,
    packets: Option<u64>,
    bytes: Option<u64>,
    fragment: Option<&'static str>,
    vlan: Option<u16>,
    ttl: Option<u8>,
    direction: Option<Direction>,
    note: Option<String>,
}

impl FrameLines {
    pub(super) fn new(frames: Frames, networks: Option<PrefixTable>, format: Format) -> Self {
        let collector = FrameCollector::new(frames.tunnels, frames.length, SamplingRate::ONE);
        Self { collector, networks, format }
    }

    /// Writes the line of one packet.
    pub(super) fn packet(&mut self, packet: &Packet<'_>, out: &mut dyn Write) -> io::Result<()> {
        let line = self.line(packet);
        match self.format {
            Format::Csv => line.write_csv(out),
            Format::Jsonl => write_json(&line, out),
        }
    }

    fn line(&mut self, packet: &Packet<'_>) -> Line {
        let link = LinkType(packet.link_type);
        let result = self.collector.dissect(link, packet.data);
        let note = FrameNote::new(link, packet.data, &result);
        let note = (!note.is_empty()).then(|| FrameNote::to_string(&note));
        let time = tidewall_model::Timestamp(packet.time);
        let record =
            result.as_ref().ok().map(|frame| self.collector.accept(frame, time, packet.wire_len));
        let fields = record.as_ref();
        Line {
            src_addr: fields.map(FlowRecord::src_address),
            dst_addr: fields.map(FlowRecord::dst_address),
            src_port: fields.map(|r| r.src_port),
            dst_port: fields.map(|r| r.dst_port),
            protocol: fields.map(|r| r.protocol),
            tcp_flags: fields
                .filter(|r| r.protocol == protocol::TCP)
                .map(|r| format!("0x{:03x}", r.tcp_flags.0)),
            packets: fields.map(|r| r.packets),
            bytes: fields.map(|r| r.bytes),
            fragment: fields.map(|r| match r.fragment {
                Fragment::Whole => "no",
                Fragment::First => "first",
                Fragment::Later => "later",
            }),
            vlan: fields.map(|r| r.vlan).filter(|vlan| *vlan != 0),
            ttl: fields.map(|r| r.ttl),
            direction: fields.and_then(|r| direction(self.networks.as_ref(), r)),
            note,
        }
    }
}

impl Line {
    fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        write_field(out, self.src_addr)?;
        write_next(out, self.dst_addr)?;
        write_next(out, self.src_port)?;
        write_next(out, self.dst_port)?;
        write_next(out, self.protocol)?;
        write_next(out, self.tcp_flags.as_ref())?;
        write_next(out, self.packets)?;
        write_next(out, self.bytes)?;
        write_next(out, self.fragment)?;
        write_next(out, self.vlan)?;
        write_next(out, self.ttl)?;
        write_next(out, self.direction)?;
        write_next(out, self.note.as_deref().map(quoted))?;
        writeln!(out)
    }
}
