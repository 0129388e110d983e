//! `tidewall decode`: one line for each packet or flow record of a capture, as the engine would
//! count it.

mod csv;
mod flows;
mod frames;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use serde::Serialize;
use tidewall_engine::PrefixTable;
use tidewall_model::{Direction, FlowRecord, Prefix};
use tidewall_wire::pcap::Packet;

use super::frame_args::FrameArgs;
use crate::capture_file::CaptureFile;
use crate::config::{self, Flows, Frames, Style};
use crate::exports::{Medium, look};
use flows::FlowLines;
use frames::FrameLines;

/// Print one line for each packet or flow record of a capture, as it is counted.
///
/// A capture of sFlow, NetFlow or IPFIX datagrams gives a line for each record in them, unscaled;
/// any other, a line for each packet. What is not counted has its reason in `note`. Exit status 2
/// when the file could not be read, or not to its end because it is damaged.
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
    /// What the capture holds, where its first packets do not tell.
    #[arg(long = "as", value_name = "MEDIUM", value_enum)]
    pub medium: Option<Medium>,
    /// Of datagrams of flows: also templates, options, counters, and what could not be read.
    #[arg(long)]
    pub all: bool,
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
    let (mut networks, mut frames, mut flows) = (Vec::new(), Frames::default(), Flows::default());
    if let Some(file) = &args.config {
        match config::load(file) {
            Ok(loaded) => {
                let warnings = config::render(&loaded.warnings, Style::for_stderr());
                write!(io::stderr(), "{warnings}")?;
                (networks, frames) = (loaded.policy.networks, loaded.frames);
                flows = loaded.flows;
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
    let entries: Vec<_> = networks.iter().map(|prefix| (*prefix, 0)).collect();
    let networks = (!entries.is_empty()).then(|| PrefixTable::new(&entries));
    let frames = args.frames.over(frames);
    let mut file = CaptureFile::open(&args.file)?;
    let medium = args.medium.unwrap_or_else(|| look(&mut file));
    let mut lines = match medium {
        Medium::Frames => Lines::Frames(FrameLines::new(frames, networks, args.format)),
        medium => Lines::Flows(Box::new(FlowLines::new(
            &flows,
            frames,
            networks,
            medium.protocol(),
            args.format,
            args.all,
        ))),
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let mut problem = None;
    let written = write_all(&mut lines, args.format, &mut file, &mut out, &mut problem);
    super::quiet_when_closed(written.and_then(|()| out.flush()))?;
    if let Some(warning) = file.warning() {
        writeln!(io::stderr(), "tidewall: warning: {warning}")?;
    }
    if let Lines::Flows(lines) = &mut lines {
        lines.write_summary(&mut io::stderr())?;
    }
    problem.map_or(Ok(ExitCode::SUCCESS), Err)
}

enum Lines {
    Frames(FrameLines),
    Flows(Box<FlowLines>),
}

/// Writes every line; what stops the reading of the file goes to `problem`.
fn write_all(
    lines: &mut Lines,
    format: Format,
    file: &mut CaptureFile,
    out: &mut dyn Write,
    problem: &mut Option<anyhow::Error>,
) -> io::Result<()> {
    if format == Format::Csv {
        let columns = match lines {
            Lines::Frames(_) => frames::COLUMNS,
            Lines::Flows(_) => flows::COLUMNS,
        };
        writeln!(out, "{columns}")?;
    }
    loop {
        match file.next_packet() {
            Ok(Some(packet)) => lines.packet(&packet, out)?,
            Ok(None) => return Ok(()),
            Err(error) => {
                *problem = Some(error.into());
                return Ok(());
            }
        }
    }
}

impl Lines {
    fn packet(&mut self, packet: &Packet<'_>, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Frames(lines) => lines.packet(packet, out),
            Self::Flows(lines) => lines.packet(packet, out),
        }
    }
}

fn write_json(line: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    writeln!(out)
}

/// Which way a record goes, where our networks are known.
fn direction(networks: Option<&PrefixTable>, record: &FlowRecord) -> Option<Direction> {
    let networks = networks?;
    let ours = |bits| networks.lookup_bits(record.family, bits).is_some();
    Some(match (ours(record.src), ours(record.dst)) {
        (false, true) => Direction::Incoming,
        (true, false) => Direction::Outgoing,
        (true, true) => Direction::Internal,
        (false, false) => Direction::Other,
    })
}
