//! `tidewall demo`: generated traffic, live detection and a score, on any machine.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tidewall_model::SamplingRate;
use tidewall_scenario::Scenario;

use crate::demo::card::Card;
use crate::demo::clock::Pace;
use crate::demo::run::{Effort, Face, Plain, Speed, run as show};
use crate::demo::screen::Screen;
use crate::demo::{CaptureWriter, Demo, DemoError, Medium, configuration, words};

const USUAL_SECONDS: u64 = 60;
/// Larger scenario files are refused: they are a few lines.
const LARGEST_SCENARIO: u64 = 1 << 20;

/// Show detection at work on generated traffic: no root, no router, no configuration.
///
/// A generator makes the traffic of a small network with attacks in it. Every packet takes the way
/// of a mirrored one: it becomes a frame, is dissected, counted and judged. At the end stands what
/// was injected against what was found. Exit status 0 when nothing was missed and there was no
/// false alarm, else 1.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// How long it lasts, at least 20; a scenario file is stretched to it [default: 60, or the
    /// scenario's own length].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(20..=86_400))]
    pub seconds: Option<u64>,
    /// Another seed, other packets: the same seed gives the same traffic on any machine [default:
    /// 1, or the scenario's own seed].
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Also write the packets as a pcap with nanoseconds, for `tidewall replay` and other tools:
    /// the first 128 bytes of each, with its true length (about 10 MB for each second). Networks
    /// and limits are written beside it, to FILE.pcap.toml.
    #[arg(long, value_name = "FILE.pcap")]
    pub write: Option<PathBuf>,
    /// What to write: the frames, or the datagrams that a router would send about them.
    #[arg(long = "as", value_enum, value_name = "MEDIUM", requires = "write", default_value_t)]
    pub medium: Medium,
    /// Write only one packet in N, chosen at random; flow export says so. What the demo detects
    /// is not sampled.
    #[arg(long, value_name = "N", requires = "write", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=16_383))]
    pub sampling: u32,
    /// Print lines, also on a terminal. (Elsewhere lines are printed anyway.)
    #[arg(long)]
    pub plain: bool,
    /// As fast as the machine can, not in real time. (Always so when standard output is not a
    /// terminal.)
    #[arg(long)]
    pub fast: bool,
    /// Show the world of this file instead of the built-in one.
    #[arg(long, value_name = "FILE.toml")]
    pub scenario: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let scenario = scenario(args)?;
    let capture = args.write.as_deref().map(|path| create(path, args, &scenario)).transpose()?;
    let mut demo = Demo::new(scenario, capture);
    let terminal = io::stdout().is_terminal();
    let speed = if args.fast || !terminal { Speed::Fast } else { Speed::Real };
    let result = if terminal && !args.plain {
        // The screen is closed at the end of this statement, before the card is printed.
        Screen::open().map_err(DemoError::Output).and_then(|mut s| show(&mut demo, &mut s, speed))
    } else {
        lines(&mut demo, speed, args.write.is_some() && !terminal)
    };
    let effort = match result {
        Err(DemoError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            return Ok(ExitCode::FAILURE);
        }
        other => other?,
    };
    let card = Card::of(&demo);
    card.write(&demo, &mut io::stdout().lock())?;
    report_effort(&demo, effort)?;
    if let (Some(path), Medium::Frames) = (&args.write, args.medium) {
        let (capture, config) = (path.display(), configuration_path(path));
        let (config, rate) = (config.display(), args.sampling);
        let sampling = if rate > 1 { format!(" --sampling {rate}") } else { String::new() };
        writeln!(io::stderr(), "replay it: tidewall replay {capture} --config {config}{sampling}")?;
    }
    Ok(if card.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The scenario that is asked for.
fn scenario(args: &DemoArgs) -> anyhow::Result<Scenario> {
    let Some(path) = &args.scenario else {
        let seconds = Duration::from_secs(args.seconds.unwrap_or(USUAL_SECONDS));
        return Ok(Scenario::demo(seconds, args.seed.unwrap_or(1))?);
    };
    let mut scenario = read_scenario(path)?;
    if let Some(seconds) = args.seconds {
        scenario = scenario.stretched_to(Duration::from_secs(seconds));
    }
    if let Some(seed) = args.seed {
        scenario.seed = seed;
    }
    Ok(scenario)
}

/// The scenario of a file.
pub(super) fn read_scenario(path: &Path) -> anyhow::Result<Scenario> {
    let name = path.display();
    let length = std::fs::metadata(path)
        .with_context(|| format!("{name}: cannot be opened; check the name and its permissions"))?
        .len();
    anyhow::ensure!(length <= LARGEST_SCENARIO, "{name}: larger than 1 MiB, so not a scenario");
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{name}: cannot be read; a scenario is a TOML file in UTF-8"))?;
    Scenario::parse(&text).with_context(|| name.to_string())
}

/// Begins the capture, and writes the configuration that it is to be replayed with.
fn create(path: &Path, args: &DemoArgs, scenario: &Scenario) -> anyhow::Result<CaptureWriter> {
    let cannot = |path: &Path| {
        format!("{}: cannot be created; check the directory and its permissions", path.display())
    };
    let file = File::create(path).with_context(|| cannot(path))?;
    let beside = configuration_path(path);
    std::fs::write(&beside, configuration(scenario)).with_context(|| cannot(&beside))?;
    Ok(CaptureWriter::of(args.medium, SamplingRate::new(args.sampling), file))
}

/// `FILE.pcap.toml`: no other file is likely to have that name.
fn configuration_path(capture: &Path) -> PathBuf {
    let mut name = capture.as_os_str().to_owned();
    name.push(".toml");
    PathBuf::from(name)
}

/// Plain lines on standard output, with a bar on standard error when a file is written and nobody
/// sees the lines.
fn lines(demo: &mut Demo, speed: Speed, bar: bool) -> Result<Effort, DemoError> {
    let plain = Plain(io::BufWriter::new(io::stdout()));
    if !bar || !io::stderr().is_terminal() {
        return show(demo, &mut { plain }, speed);
    }
    let milliseconds = demo.scenario().duration_ns / 1_000_000;
    let style = "writing {wide_bar} {percent} % {eta} left";
    let style =
        ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(milliseconds).with_style(style);
    let result = show(demo, &mut WithBar { plain, bar: &bar }, speed);
    bar.finish_and_clear();
    result
}

/// Lines and a progress bar.
struct WithBar<'a, W> {
    plain: Plain<W>,
    bar: &'a ProgressBar,
}

impl<W: Write> Face for WithBar<'_, W> {
    fn show(&mut self, demo: &mut Demo, pace: &Pace) -> io::Result<()> {
        self.bar.set_position(demo.elapsed().as_millis() as u64);
        self.plain.show(demo, pace)
    }

    fn wait(&mut self, time: Duration) -> io::Result<bool> {
        self.plain.wait(time)
    }
}

/// How fast this machine was: to standard error, so that standard output is the same everywhere.
fn report_effort(demo: &Demo, effort: Effort) -> io::Result<()> {
    let seconds = effort.busy.as_secs_f64().max(1e-9);
    let packets = demo.packets();
    let mut err = io::stderr().lock();
    writeln!(
        err,
        "speed: {} records per second, generated, rendered, dissected and judged in one thread \
         ({} in {seconds:.1} s)",
        words::rate(packets as f64 / seconds),
        words::grouped(packets)
    )?;
    let stretched = effort.stretched.as_secs_f64();
    if stretched > 0.0 {
        writeln!(
            err,
            "this machine could not keep up: time was stretched by {stretched:.1} s, no packet \
             was lost"
        )?;
    }
    Ok(())
}
