//! A line for each record of a capture of export datagrams.

use std::io::{self, Write};
use std::net::IpAddr;

use serde::Serialize;
use tidewall_collect::{FlowDetail, FlowSink, Remark};
use tidewall_engine::PrefixTable;
use tidewall_model::{Address, Direction, DropReason, FlowRecord, Timestamp, protocol};
use tidewall_wire::frame::LinkType;
use tidewall_wire::pcap::Packet;

use super::csv::{quoted, write_field, write_next};
use super::{Format, Settings, direction, write_json};
use crate::exports::{ExporterReport, Exports, FlowProtocol};

/// The columns, in order; also the keys of a JSON line.
pub(super) const COLUMNS: &str = "exporter,domain,src_addr,dst_addr,src_port,dst_port,protocol,\
                                  tcp_flags,packets,bytes,input_if,output_if,src_as,dst_as,\
                                  sampling_rate,start,end,direction,note";

/// Writes a line for each record.
pub(super) struct FlowLines {
    exports: Exports,
    protocol: Option<FlowProtocol>,
    printer: Printer,
}

/// Takes what the collectors find, one datagram at a time.
struct Printer {
    networks: Option<PrefixTable>,
    all: bool,
    format: Format,
    lines: Vec<Line>,
}

/// One line. A record that is not counted may have few fields; what is no record has none.
#[derive(Serialize)]
struct Line {
    exporter: Option<IpAddr>,
    domain: Option<u32>,
    src_addr: Option<Address>,
    dst_addr: Option<Address>,
    src_port: Option<u16>,
    dst_port: Option<u16>,
    protocol: Option<u8>,
    tcp_flags: Option<String>,
    packets: Option<u64>,
    bytes: Option<u64>,
    input_if: Option<u32>,
    output_if: Option<u32>,
    src_as: Option<u32>,
    dst_as: Option<u32>,
    sampling_rate: Option<u32>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    direction: Option<Direction>,
    note: Option<String>,
}

impl FlowLines {
    pub(super) fn new(
        settings: &Settings,
        networks: Option<PrefixTable>,
        protocol: Option<FlowProtocol>,
    ) -> Self {
        let exports = Exports::new(&settings.flows, settings.frames);
        let (all, format) = (settings.all, settings.format);
        let printer = Printer { networks, all, format, lines: Vec::new() };
        Self { exports, protocol, printer }
    }

    /// Writes the lines of one packet.
    pub(super) fn packet(&mut self, packet: &Packet<'_>, out: &mut dyn Write) -> io::Result<()> {
        let (time, link) = (Timestamp(packet.time), LinkType(packet.link_type));
        let (protocol, printer) = (self.protocol, &mut self.printer);
        let result = self.exports.decode(link, time, packet.data, protocol, printer);
        if let Err(reason) = result
            && self.printer.all
            && self.printer.lines.is_empty()
        {
            self.printer.lines.push(Line::remark(None, reason.name().to_owned()));
        }
        self.printer.write(out)
    }

    /// What was not counted, and what is to be said of the exporters.
    pub(super) fn remarks(&mut self) -> Vec<String> {
        let drops = self.exports.finish();
        let mut remarks: Vec<String> = drops
            .nonzero()
            .map(|(reason, count)| format!("{}: {count}: {}", reason.name(), reason.sentence()))
            .collect();
        for ExporterReport { key, verdicts, .. } in self.exports.exporters() {
            let (name, agent, domain) = (key.protocol.name(), key.agent, key.domain);
            let said = |verdict| format!("{name} of {agent}, domain {domain}: {verdict}");
            remarks.extend(verdicts.into_iter().map(said));
        }
        remarks
    }
}

impl Printer {
    fn line(&mut self, record: &FlowRecord, detail: &FlowDetail, reason: Option<DropReason>) {
        let has_addresses = record.src != 0 || record.dst != 0;
        let notes = reason.map(DropReason::name).into_iter().chain(detail.note.names());
        let note = notes.collect::<Vec<_>>().join(" ");
        let known = |number: u32| Some(number).filter(|number| *number != 0);
        let transport = has_addresses.then_some(record);
        self.lines.push(Line {
            exporter: Some(detail.exporter),
            domain: Some(detail.domain),
            src_addr: transport.map(FlowRecord::src_address),
            dst_addr: transport.map(FlowRecord::dst_address),
            src_port: transport.map(|r| r.src_port),
            dst_port: transport.map(|r| r.dst_port),
            protocol: transport.map(|r| r.protocol),
            tcp_flags: transport
                .filter(|r| r.protocol == protocol::TCP)
                .map(|r| format!("0x{:03x}", r.tcp_flags.0)),
            packets: Some(record.packets),
            bytes: Some(record.bytes),
            input_if: detail.input_if,
            output_if: detail.output_if,
            src_as: known(detail.src_as),
            dst_as: known(detail.dst_as),
            sampling_rate: Some(record.sampling.get()),
            start: detail.start,
            end: detail.end,
            direction: transport.and_then(|r| direction(self.networks.as_ref(), r)),
            note: (!note.is_empty()).then_some(note),
        });
    }

    fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for line in self.lines.drain(..) {
            match self.format {
                Format::Csv => line.write_csv(out)?,
                Format::Jsonl => write_json(&line, out)?,
            }
        }
        Ok(())
    }
}

impl FlowSink for Printer {
    const DETAIL: bool = true;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        self.line(record, detail, None);
    }

    fn refused(&mut self, reason: DropReason, record: &FlowRecord, detail: &FlowDetail) {
        self.line(record, detail, Some(reason));
    }

    fn remark(&mut self, remark: &Remark<'_>) {
        if self.all {
            let note = format!("{}: {}", remark.kind.name(), remark.text);
            self.lines.push(Line::remark(Some((remark.exporter, remark.domain)), note));
        }
    }
}

impl Line {
    /// A line that is no record.
    fn remark(from: Option<(IpAddr, u32)>, note: String) -> Self {
        Self {
            exporter: from.map(|(exporter, _)| exporter),
            domain: from.map(|(_, domain)| domain),
            src_addr: None,
            dst_addr: None,
            src_port: None,
            dst_port: None,
            protocol: None,
            tcp_flags: None,
            packets: None,
            bytes: None,
            input_if: None,
            output_if: None,
            src_as: None,
            dst_as: None,
            sampling_rate: None,
            start: None,
            end: None,
            direction: None,
            note: Some(note),
        }
    }

    fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        write_field(out, self.exporter)?;
        write_next(out, self.domain)?;
        write_next(out, self.src_addr)?;
        write_next(out, self.dst_addr)?;
        write_next(out, self.src_port)?;
        write_next(out, self.dst_port)?;
        write_next(out, self.protocol)?;
        write_next(out, self.tcp_flags.as_ref())?;
        write_next(out, self.packets)?;
        write_next(out, self.bytes)?;
        write_next(out, self.input_if)?;
        write_next(out, self.output_if)?;
        write_next(out, self.src_as)?;
        write_next(out, self.dst_as)?;
        write_next(out, self.sampling_rate)?;
        write_next(out, self.start)?;
        write_next(out, self.end)?;
        write_next(out, self.direction)?;
        write_next(out, self.note.as_deref().map(quoted))?;
        writeln!(out)
    }
}
