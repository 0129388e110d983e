//! `tidewall decode`: one line for each packet of a capture, as the engine would count it.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;
use tidewall_collect::{FrameCollector, FrameNote};
use tidewall_engine::PrefixTable;
use tidewall_model::{Address, Direction, FlowRecord, Fragment, Prefix, SamplingRate, protocol};
use tidewall_wire::frame::LinkType;
use tidewall_wire::pcap::Packet;

use super::frame_args::FrameArgs;
use crate::capture_file::CaptureFile;
use crate::config::{self, Frames, Style};

/// The columns, in order; also the keys of a JSON line.
const COLUMNS: &str = "src_addr,dst_addr,src_port,dst_port,protocol,tcp_flags,packets,bytes,\
                       fragment,vlan,ttl,direction,note";

/// Print one line for each packet of a capture, as it is counted.
///
/// A packet that is not counted has its reason in `note`, and nothing else. Exit status 2 when the
/// file could not be read, or not to its end because it is damaged.
#[derive(Clone, Debug, clap::Args)]
pub struct DecodeArgs {
    /// The capture (pcap or pcapng, also gzipped; - is standard input).
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How lines are written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "csv")]
    pub format: Format,
    /// Networks and frame options, from a configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A network of ours, instead of those configured; may be repeated. `direction` is told when
    /// there is one.
    #[arg(short, long, value_name = "PREFIX")]
    pub network: Vec<Prefix>,
    /// What is counted of a frame.
    #[command(flatten)]
    pub frames: FrameArgs,
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Comma-separated values with a head line (RFC 4180).
    Csv,
    /// One JSON object a line.
    Jsonl,
}

/// Runs the command.
pub fn run(args: &DecodeArgs) -> anyhow::Result<ExitCode> {
    let (mut networks, mut frames) = (Vec::new(), Frames::default());
    if let Some(file) = &args.config {
        match config::load(file) {
            Ok(loaded) => {
                let warnings = config::render(&loaded.warnings, Style::for_stderr());
                write!(io::stderr(), "{warnings}")?;
                (networks, frames) = (loaded.policy.networks, loaded.frames);
            }
            Err(errors) => {
                write!(io::stderr(), "{}", errors.render(Style::for_stderr()))?;
                return Ok(ExitCode::from(2));
            }
        }
    }
    if !args.network.is_empty() {
        networks.clone_from(&args.network);
    }
    let frames = args.frames.over(frames);
    let mut file = CaptureFile::open(&args.file)?;
    let mut decoder = Decoder::new(frames, &networks, args.format);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut problem = None;
    let written = decoder.write_all(&mut file, &mut out, &mut problem).and_then(|()| out.flush());
    super::quiet_when_closed(written)?;
    if let Some(warning) = file.warning() {
        writeln!(io::stderr(), "tidewall: warning: {warning}")?;
    }
    problem.map_or(Ok(ExitCode::SUCCESS), Err)
}

struct Decoder {
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

impl Decoder {
    fn new(frames: Frames, networks: &[Prefix], format: Format) -> Self {
        let entries: Vec<_> = networks.iter().map(|prefix| (*prefix, 0)).collect();
        Self {
            collector: FrameCollector::new(frames.tunnels, frames.length, SamplingRate::ONE),
            networks: (!entries.is_empty()).then(|| PrefixTable::new(&entries)),
            format,
        }
    }

    /// Writes every packet; what stops the reading of the file goes to `problem`.
    fn write_all(
        &mut self,
        file: &mut CaptureFile,
        out: &mut impl Write,
        problem: &mut Option<anyhow::Error>,
    ) -> io::Result<()> {
        if self.format == Format::Csv {
            writeln!(out, "{COLUMNS}")?;
        }
        loop {
            match file.next_packet() {
                Ok(Some(packet)) => {
                    let line = self.line(&packet);
                    self.write(&line, out)?;
                }
                Ok(None) => return Ok(()),
                Err(error) => {
                    *problem = Some(error.into());
                    return Ok(());
                }
            }
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
            direction: fields.and_then(|r| self.direction(r)),
            note,
        }
    }

    fn direction(&self, record: &FlowRecord) -> Option<Direction> {
        let networks = self.networks.as_ref()?;
        let ours = |bits| networks.lookup_bits(record.family, bits).is_some();
        Some(match (ours(record.src), ours(record.dst)) {
            (false, true) => Direction::Incoming,
            (true, false) => Direction::Outgoing,
            (true, true) => Direction::Internal,
            (false, false) => Direction::Other,
        })
    }

    fn write(&self, line: &Line, out: &mut impl Write) -> io::Result<()> {
        match self.format {
            Format::Csv => line.write_csv(out),
            Format::Jsonl => {
                serde_json::to_writer(&mut *out, line)?;
                writeln!(out)
            }
        }
    }
}

impl Line {
    fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
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

fn write_next(out: &mut impl Write, value: Option<impl std::fmt::Display>) -> io::Result<()> {
    out.write_all(b",")?;
    write_field(out, value)
}

fn write_field(out: &mut impl Write, value: Option<impl std::fmt::Display>) -> io::Result<()> {
    value.map_or(Ok(()), |value| write!(out, "{value}"))
}

/// Text as a field of CSV: in quotes where it must be (RFC 4180 §2).
fn quoted(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_are_quoted_where_they_must_be() {
        assert_eq!(quoted("tcp header cut; x"), "tcp header cut; x");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\""), "\"say \"\"x\"\"\"");
        assert_eq!(quoted("two\nlines"), "\"two\nlines\"");
    }
}
