//! `tidewall replay`: captures through the engine, and a report of what was found.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use tidewall_engine::Policy;
use tidewall_model::{Prefix, SamplingRate, Timestamp};

use super::frame_args::FrameArgs;
use crate::config::{self, Flows, Frames, Style};
use crate::exports::Medium;
use crate::replay::{self, Input, Progress, Settings};
use crate::report;

/// A shorter replay shows no progress.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// Run captures through the engine and report attacks, totals and top hosts.
///
/// Time is taken from the captures: the same files give the same report, however fast the machine
/// is. Exit status 0, also when attacks were found; 1 with --fail-on-attack when there was one; 2
/// when a file could not be read, or not to its end because it is damaged.
#[derive(Clone, Debug, clap::Args)]
pub struct ReplayArgs {
    /// Captures (pcap or pcapng, also gzipped; - is standard input), merged in order of time.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Networks, limits and everything else, from a configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A network of ours, instead of those configured; may be repeated. Without any, the busiest
    /// destination network is guessed.
    #[arg(short, long, value_name = "PREFIX")]
    pub network: Vec<Prefix>,
    /// Let packets come so many times faster than they were captured (0.5: half as fast).
    #[arg(long, value_name = "FACTOR", default_value = "1", value_parser = parse_speed)]
    pub speed: f64,
    /// Play the captures so many times, one round right behind the other.
    #[arg(long = "loop", value_name = "TIMES", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Move the captures in time, so that the first packet comes then: RFC 3339, or seconds since
    /// 1970.
    #[arg(long, value_name = "TIME", value_parser = replay::parse_time)]
    pub start_at: Option<Timestamp>,
    /// Shards of the engine. The report does not depend on it.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    pub shards: u16,
    /// Packets given to the engine at once. The report does not depend on it.
    #[arg(long, value_name = "N", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub batch: u32,
    /// The captures hold one packet in N: each stands for N. Of flows: where the exporter says
    /// nothing.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..))]
    pub sampling: u32,
    /// What the captures hold, where their first packets do not tell.
    #[arg(long = "as", value_name = "MEDIUM", value_enum)]
    pub medium: Option<Medium>,
    /// What is counted of a frame.
    #[command(flatten)]
    pub frames: FrameArgs,
    /// How the report is written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub format: Format,
    /// Exit with status 1 when an attack was found.
    #[arg(long)]
    pub fail_on_attack: bool,
    /// Hosts in the list of top hosts.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub top: usize,
    /// Show no progress bar on long replays.
    #[arg(long)]
    pub no_progress: bool,
}

/// How the report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Runs the command.
pub fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let Some(settings) = settings(args)? else { return Ok(ExitCode::from(2)) };
    let inputs: Vec<Input> = args.files.iter().cloned().map(Input::File).collect();
    let bar = Bar::new(!args.no_progress && io::stderr().is_terminal());
    let result = replay::run(&inputs, &settings, &mut |progress| bar.show(progress));
    bar.clear();
    let outcome = result?;
    let mut notes = io::stderr().lock();
    for warning in outcome.warnings() {
        writeln!(notes, "tidewall: warning: {warning}")?;
    }
    if outcome.guessed && !outcome.networks.is_empty() {
        let networks: Vec<_> = outcome.networks.iter().map(Prefix::to_string).collect();
        writeln!(
            notes,
            "tidewall: no network was given; taking the busiest destination, {} (use --network \
             or --config to say otherwise)",
            networks.join(" and ")
        )?;
    }
    let text = match args.format {
        Format::Text => report::to_text(&outcome),
        Format::Json => report::to_json(&outcome) + "\n",
    };
    super::quiet_when_closed(io::stdout().lock().write_all(text.as_bytes()))?;
    Ok(if outcome.is_damaged() {
        ExitCode::from(2)
    } else if args.fail_on_attack && !outcome.attacks.is_empty() {
        ExitCode::from(1)
    } else {
        ExitCode::SUCCESS
    })
}

/// What the arguments and the configuration say; `None` when the configuration has errors, which
/// have been told.
fn settings(args: &ReplayArgs) -> anyhow::Result<Option<Settings>> {
    let mut policy = Policy::for_networks(Vec::new());
    let (mut frames, mut flows) = (Frames::default(), Flows::default());
    if let Some(file) = &args.config {
        match config::load(file) {
            Ok(loaded) => {
                let warnings = config::render(&loaded.warnings, Style::for_stderr());
                write!(io::stderr(), "{warnings}")?;
                (policy, frames, flows) = (loaded.policy, loaded.frames, loaded.flows);
            }
            Err(errors) => {
                write!(io::stderr(), "{}", errors.render(Style::for_stderr()))?;
                return Ok(None);
            }
        }
    }
    if !args.network.is_empty() {
        policy.networks.clone_from(&args.network);
    }
    Ok(Some(Settings {
        frames: args.frames.over(frames),
        flows,
        medium: args.medium,
        sampling: SamplingRate::new(args.sampling),
        speed: args.speed,
        rounds: args.rounds,
        start_at: args.start_at,
        shards: args.shards.into(),
        batch: args.batch as usize,
        top: args.top,
        ..Settings::new(policy)
    }))
}

fn parse_speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text.parse().map_err(|_| "expected a number, such as 10 or 0.5".to_owned())?;
    if (1e-6..=1e9).contains(&speed) {
        Ok(speed)
    } else {
        Err("expected a number from 0.000001 to 1000000000".to_owned())
    }
}

/// The progress bar: drawn once the replay has taken a while.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(wanted: bool) -> Self {
        Self(wanted.then(ProgressBar::hidden))
    }

    fn show(&self, progress: Progress) {
        let Some(bar) = &self.0 else { return };
        bar.set_position(progress.position);
        if bar.is_hidden() && bar.elapsed() > PROGRESS_AFTER {
            let template = match progress.length {
                Some(length) => {
                    bar.set_length(length);
                    "{bar:20} {bytes} of {total_bytes}, {msg}, {eta} left"
                }
                None => "{spinner} {bytes}, {msg}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_message(format!("{} packets", HumanCount(progress.packets)));
    }

    fn clear(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
