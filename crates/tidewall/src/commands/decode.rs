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
use thiserror::Error;
use tidewall_engine::PrefixTable;
use tidewall_model::{Direction, FlowRecord, Prefix};
use tidewall_wire::pcap::Packet;

use super::frame_args::FrameArgs;
use crate::capture_file::CaptureFileError;
use crate::config::{self, Flows, Frames, Style};
use crate::exports::{Medium, look};
use crate::replay::Input;
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

/// What lines are made of, and how they are written.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How lines are written.
    pub format: Format,
    /// Our networks; with them `direction` is told.
    pub networks: Vec<Prefix>,
    /// Which header and which length of a frame counts.
    pub frames: Frames,
    /// How export datagrams are read.
    pub flows: Flows,
    /// What the capture holds; told by its first packets when it is not given.
    pub medium: Option<Medium>,
    /// Also lines for what is no record.
    pub all: bool,
}

impl Settings {
    /// Lines in this format, and nothing else configured.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            networks: Vec::new(),
            frames: Frames::default(),
            flows: Flows::default(),
            medium: None,
            all: false,
        }
    }
}

/// What is to be said when all lines are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// The capture ends within a packet.
    pub truncated: Option<String>,
    /// The capture is damaged, and there are no lines for what follows.
    pub damaged: Option<String>,
    /// What was not counted of export datagrams, and what is wrong with their exporters.
    pub remarks: Vec<String>,
}

/// Why there are no lines, or not all.
#[derive(Debug, Error)]
pub enum DecodeError {
    /// The capture cannot be opened, or is none.
    #[error("{0}")]
    Capture(String),
    /// The lines cannot be written.
    #[error("the lines cannot be written: {0}")]
    Output(#[from] io::Error),
}

/// Runs the command.
pub fn run(args: &DecodeArgs) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::new(args.format);
    if let Some(file) = &args.config {
        match config::load(file) {
            Ok(loaded) => {
                let warnings = config::render(&loaded.warnings, Style::for_stderr());
                write!(io::stderr(), "{warnings}")?;
                settings.networks = loaded.policy.networks;
                (settings.frames, settings.flows) = (loaded.frames, loaded.flows);
            }
            Err(errors) => {
                write!(io::stderr(), "{}", errors.render(Style::for_stderr()))?;
                return Ok(ExitCode::from(2));
            }
        }
    }
    if !args.network.is_empty() {
        settings.networks.clone_from(&args.network);
    }
    settings.frames = args.frames.over(settings.frames);
    (settings.medium, settings.all) = (args.medium, args.all);
    let mut out = BufWriter::new(io::stdout().lock());
    let decoded = decode_to(&Input::File(args.file.clone()), &settings, &mut out);
    let ending = match decoded {
        // A reader that has seen enough wants no report of the rest either.
        Err(DecodeError::Output(error)) => {
            super::quiet_when_closed(Err(error))?;
            return Ok(ExitCode::SUCCESS);
        }
        other => other?,
    };
    let mut err = io::stderr();
    if let Some(warning) = ending.truncated {
        writeln!(err, "tidewall: warning: {warning}")?;
    }
    for remark in ending.remarks {
        writeln!(err, "tidewall: {remark}")?;
    }
    ending.damaged.map_or(Ok(ExitCode::SUCCESS), |damage| Err(anyhow::Error::msg(damage)))
}

/// Writes a line for each packet of a capture, or for each record in its export datagrams.
pub fn decode_to(
    input: &Input,
    settings: &Settings,
    out: &mut dyn Write,
) -> Result<Ending, DecodeError> {
    let capture = |error: CaptureFileError| DecodeError::Capture(error.to_string());
    let mut file = input.open().map_err(capture)?;
    let medium = settings.medium.unwrap_or_else(|| look(&mut file));
    let mut lines = Lines::new(medium, settings);
    if settings.format == Format::Csv {
        writeln!(out, "{}", lines.columns())?;
    }
    let mut ending = Ending::default();
    loop {
        match file.next_packet() {
            Ok(Some(packet)) => lines.packet(&packet, out)?,
            Ok(None) => break,
            Err(error) => {
                ending.damaged = Some(error.to_string());
                break;
            }
        }
    }
    out.flush()?;
    ending.truncated = file.warning().map(str::to_owned);
    if let Lines::Flows(lines) = &mut lines {
        ending.remarks = lines.remarks();
    }
    Ok(ending)
}

enum Lines {
    Frames(Box<FrameLines>),
    Flows(Box<FlowLines>),
}

impl Lines {
    fn new(medium: Medium, settings: &Settings) -> Self {
        let entries: Vec<_> = settings.networks.iter().map(|prefix| (*prefix, 0)).collect();
        let networks = (!entries.is_empty()).then(|| PrefixTable::new(&entries));
        match medium {
            Medium::Frames => {
                Self::Frames(Box::new(FrameLines::new(settings.frames, networks, settings.format)))
            }
            medium => Self::Flows(Box::new(FlowLines::new(settings, networks, medium.protocol()))),
        }
    }

    const fn columns(&self) -> &'static str {
        match self {
            Self::Frames(_) => frames::COLUMNS,
            Self::Flows(_) => flows::COLUMNS,
        }
    }

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
