//! Runs the benchmark binaries, counts their instructions on request, and writes BENCH.md.

mod live;
mod report;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::command::{command, output, shown, works};
use crate::metadata;

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Also count instructions per operation with valgrind.
    #[arg(long)]
    instructions: bool,
    /// Today's date for the head of BENCH.md, as YYYY-MM-DD. Without it nothing is written.
    #[arg(long)]
    date: Option<String>,
    /// Measure the service itself instead, beside FastNetMon and a bare receive loop (needs root).
    #[arg(long, conflicts_with_all = ["instructions", "filter"])]
    live: bool,
    #[command(flatten)]
    live_options: live::Options,
    /// Run only benches whose full name contains this.
    filter: Option<String>,
}

/// One line of a benchmark binary (see `crates/testkit/src/bench.rs`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
struct Line {
    bench: String,
    value: f64,
    unit: String,
    /// What the value should not exceed.
    aim: Option<f64>,
    /// Middle of all runs, where `value` is the least.
    median: Option<f64>,
    /// Operations in one call of the body; a value that was not timed has none.
    operations: Option<u64>,
    #[serde(default)]
    note: String,
    /// Instructions for one operation, counted here.
    #[serde(skip)]
    instructions: Option<f64>,
}

/// Calls of the body in the two counted runs: their difference holds no set-up.
const FEW_CALLS: u64 = 1;
const MANY_CALLS: u64 = 3;

/// Runs all benchmarks.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let old = std::fs::read_to_string("BENCH.md").unwrap_or_default();
    if arguments.live {
        let mut section = live::run(&arguments.live_options)?;
        if let Some(date) = &arguments.date {
            section = section.replacen("Measured by", &format!("Measured on {date} by"), 1);
            std::fs::write("BENCH.md", live::replace_section(&old, &section))?;
        }
        println!("{section}");
        return Ok(());
    }
    if arguments.instructions && !works(&["valgrind", "--version"]) {
        bail!("counting instructions needs valgrind: apt-get install valgrind");
    }
    if arguments.date.is_some() && arguments.filter.is_some() {
        bail!("BENCH.md holds all benches: leave out the filter, or leave out --date");
    }
    let mut lines = Vec::new();
    for binary in build()? {
        let mut run = std::process::Command::new(&binary);
        run.arg("--bench").args(&arguments.filter);
        let mut of_binary = parse(&output(&mut run)?)?;
        if arguments.instructions {
            for line in &mut of_binary {
                line.instructions = instructions(&binary, line)?;
            }
        }
        for line in &of_binary {
            println!("{}", report::row(line));
        }
        lines.extend(of_binary);
    }
    let Some(date) = &arguments.date else {
        println!("BENCH.md is left as it is: write it with --date YYYY-MM-DD");
        return Ok(());
    };
    let machine = report::Machine::read()?;
    let document = report::document(date, &machine, &lines);
    let document = match live::section(&old) {
        "" => document,
        section => live::replace_section(&document, section),
    };
    std::fs::write("BENCH.md", document)?;
    println!("BENCH.md: {} benches", lines.len());
    Ok(())
}

/// Builds every bench target and returns the executables in order of name.
fn build() -> Result<Vec<PathBuf>> {
    let mut targets = Vec::new();
    for package in metadata::read()?.packages {
        for target in package.targets.iter().filter(|t| t.is("bench")) {
            targets.push((package.name.clone(), target.name.clone()));
        }
    }
    targets.sort();
    if targets.is_empty() {
        bail!("no crate has a benches/ folder");
    }
    let mut build = command(&["cargo", "bench", "--no-run", "--locked", "--message-format=json"]);
    for (package, target) in &targets {
        build.args(["--package", package, "--bench", target]);
    }
    let mut binaries = executables(&output(&mut build)?)?;
    binaries.sort();
    // Decoders whose build needs more than the product's.
    let words = ["cargo", "bench", "--no-run", "--locked", "--message-format=json"];
    let mut others = command(&words);
    others.args(["--manifest-path", crate::ci::INTEROP, "--bench", "netgauze"]);
    binaries.extend(executables(&output(&mut others)?)?);
    Ok(binaries)
}

/// The bench executables in cargo's messages.
fn executables(messages: &str) -> Result<Vec<PathBuf>> {
    #[derive(Deserialize)]
    struct Message {
        reason: String,
        target: Option<metadata::Target>,
        executable: Option<PathBuf>,
    }
    let mut found = Vec::new();
    for line in messages.lines() {
        let message: Message = serde_json::from_str(line).context("cargo printed no message")?;
        let is_bench = message.target.is_some_and(|t| t.is("bench"));
        if message.reason == "compiler-artifact" && is_bench {
            found.extend(message.executable);
        }
    }
    Ok(found)
}

/// The JSON lines of a benchmark binary; other lines are its remarks.
fn parse(printed: &str) -> Result<Vec<Line>> {
    printed
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).with_context(|| format!("not a result: {line}")))
        .collect()
}

/// Instructions for one operation: the difference between many and few calls of the body.
fn instructions(binary: &PathBuf, line: &Line) -> Result<Option<f64>> {
    let Some(operations) = line.operations else { return Ok(None) };
    let few = count(binary, &line.bench, FEW_CALLS)?;
    let many = count(binary, &line.bench, MANY_CALLS)?;
    let calls = (MANY_CALLS - FEW_CALLS) as f64;
    Ok(Some(many.saturating_sub(few) as f64 / calls / operations as f64))
}

/// Instructions of a whole run of one bench.
fn count(binary: &PathBuf, bench: &str, calls: u64) -> Result<u64> {
    let mut valgrind =
        command(&["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-fd=1"]);
    valgrind
        .arg(binary)
        .env("TIDEWALL_BENCH_ONCE", bench)
        .env("TIDEWALL_BENCH_CALLS", calls.to_string());
    let printed = output(&mut valgrind)?;
    collected(&printed).with_context(|| format!("{} printed no total", shown(&valgrind)))
}

/// The total in callgrind's log: `==123== Collected : 4567`.
fn collected(log: &str) -> Option<u64> {
    let line = log.lines().find(|line| line.contains("Collected :"))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_the_json_lines() {
        let printed = "a remark\n{\"bench\":\"frame/udp\",\"value\":12.5,\"unit\":\"ns/frame\",\
                       \"aim\":20,\"median\":13,\"operations\":64,\"note\":\"64 bytes\"}\n";
        let lines = parse(printed).unwrap();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].bench, "frame/udp");
        assert_eq!((lines[0].value, lines[0].aim), (12.5, Some(20.0)));
        assert_eq!((lines[0].operations, lines[0].note.as_str()), (Some(64), "64 bytes"));
        assert!(parse("{\"bench\":1}").is_err());
    }

    #[test]
    fn only_bench_executables_are_run() {
        let messages = [
            r#"{"reason":"compiler-artifact","target":{"name":"a","kind":["lib"],"src_path":"a.rs"},"executable":null}"#,
            r#"{"reason":"compiler-artifact","target":{"name":"b","kind":["bench"],"src_path":"b.rs"},"executable":"target/b"}"#,
            r#"{"reason":"build-finished","success":true}"#,
        ]
        .join("\n");
        assert_eq!(executables(&messages).unwrap(), [PathBuf::from("target/b")]);
    }

    #[test]
    fn the_total_is_read_from_the_log() {
        let log = "==7== Callgrind\n==7== Events    : Ir\n==7== Collected : 123456\n==7==\n";
        assert_eq!(collected(log), Some(123_456));
        assert_eq!(collected("==7== nothing"), None);
    }
}
