//! Runs the fuzz targets, each for a bounded time, on seeds made by testkit.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::command::{command, run as execute, works};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only build the targets and write the seeds.
    #[arg(long)]
    build: bool,
    /// Targets to run; all of them when none is named.
    targets: Vec<String>,
}

/// Where the targets are.
const FOLDER: &str = "fuzz/fuzz_targets";
/// Where seeds are written, a folder for each target; findings grow `fuzz/corpus`.
const SEEDS: &str = "fuzz/seeds";
/// Writes them: a folder for each target below the folder it is given.
const SEED_WRITER: &str = "crates/testkit/examples/seeds.rs";
/// A longer input finds nothing that a shorter one would not, and slows every run.
const LONGEST_INPUT: &str = "-max_len=16384";

/// Builds, seeds and runs.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let known = target_names()?;
    if let Some(unknown) = arguments.targets.iter().find(|t| !known.contains(t)) {
        bail!("there is no fuzz target {unknown}; there are {}", known.join(", "));
    }
    require_tools()?;
    let chosen = if arguments.targets.is_empty() { &known } else { &arguments.targets };
    write_seeds()?;
    for target in chosen {
        execute(&mut cargo_fuzz(&["build", target]))?;
    }
    if arguments.build {
        return Ok(());
    }
    for target in chosen {
        println!("== fuzz {target} for {} s", arguments.seconds);
        let corpus = format!("fuzz/corpus/{target}");
        let seeds = format!("{SEEDS}/{target}");
        fs::create_dir_all(&corpus).with_context(|| format!("cannot make {corpus}"))?;
        let mut words = vec!["run", target, corpus.as_str()];
        if Path::new(&seeds).is_dir() {
            words.push(&seeds);
        }
        let time = format!("-max_total_time={}", arguments.seconds);
        words.extend(["--", &time, LONGEST_INPUT, "-timeout=10", "-print_final_stats=1"]);
        execute(&mut cargo_fuzz(&words)).with_context(|| {
            format!("{target} has a finding: its input is under fuzz/artifacts/{target}")
        })?;
    }
    println!("== {} targets without a finding", chosen.len());
    Ok(())
}

/// The targets' source files, sorted.
pub(crate) fn target_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(FOLDER).with_context(|| format!("cannot list {FOLDER}"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn target_names() -> Result<Vec<String>> {
    let files = target_files()?;
    Ok(files.iter().filter_map(|f| f.file_stem()?.to_str().map(str::to_owned)).collect())
}

fn require_tools() -> Result<()> {
    if !works(&["rustup", "run", "nightly", "rustc", "--version"]) {
        bail!("fuzzing needs the nightly toolchain: rustup toolchain install nightly");
    }
    if !works(&["cargo", "fuzz", "--version"]) {
        bail!("cargo-fuzz is not installed: cargo install cargo-fuzz --locked");
    }
    Ok(())
}

/// `cargo +nightly fuzz`, also when rustup has already chosen a toolchain for this process.
fn cargo_fuzz(words: &[&str]) -> std::process::Command {
    let mut command = command(&["rustup", "run", "nightly", "cargo", "fuzz"]);
    command.args(words);
    command
}

/// Testkit knows valid inputs of every parser; without them the fuzzer begins with nothing.
fn write_seeds() -> Result<()> {
    if !Path::new(SEED_WRITER).exists() {
        println!("{SEED_WRITER} does not exist: fuzzing without seeds");
        return Ok(());
    }
    let words = ["cargo", "run", "--quiet", "--locked", "--package", "tidewall-testkit"];
    execute(command(&words).args(["--example", "seeds", "--", SEEDS]))
}
