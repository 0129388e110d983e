//! Every check that a change must pass, cheapest first, each with its duration.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::command::{command, run as execute, works};
use crate::{deps, tree};

/// Options of `cargo xtask ci`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave out the slow checks that rarely fail: a foreign decoder, documentation and licences.
    #[arg(long)]
    quick: bool,
}

/// One check.
struct Step {
    name: &'static str,
    /// Left out by `--quick`.
    slow: bool,
    check: fn() -> Result<()>,
}

const STEPS: &[Step] = &[
    Step { name: "tree", slow: false, check: tree::run },
    Step { name: "deps", slow: false, check: deps::run },
    Step { name: "format", slow: false, check: format },
    Step { name: "clippy", slow: false, check: clippy },
    Step { name: "tests", slow: false, check: tests },
    Step { name: "interop", slow: true, check: interop },
    Step { name: "doc", slow: true, check: doc },
    Step { name: "deny", slow: true, check: deny },
];

/// The workspace of the tests against netgauze-flow-pkt.
pub(crate) const INTEROP: &str = "interop/Cargo.toml";

/// Runs the steps in order and stops at the first that fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let all = Stopwatch::start();
    let steps: Vec<_> = STEPS.iter().filter(|step| !(arguments.quick && step.slow)).collect();
    for (number, step) in steps.iter().enumerate() {
        println!("== {} of {}: {}", number + 1, steps.len(), step.name);
        let watch = Stopwatch::start();
        let outcome = (step.check)();
        let seconds = watch.elapsed().as_secs_f64();
        outcome.map_err(|e| anyhow!("FAILED {} after {seconds:.1} s: {e:#}", step.name))?;
        println!("== {}: ok, {seconds:.1} s", step.name);
    }
    println!("== all {} checks passed in {:.1} s", steps.len(), all.elapsed().as_secs_f64());
    Ok(())
}

fn format() -> Result<()> {
    execute(&mut command(&["cargo", "fmt", "--all", "--check"]))?;
    // Own workspaces, which `cargo fmt` above does not see.
    let packages = ["-p", "tidewall-interop", "-p", "reqwest"];
    let words = ["cargo", "fmt", "--check", "--manifest-path", INTEROP];
    execute(command(&words).args(packages))?;
    let targets = crate::fuzz::target_files()?;
    let mut rustfmt = command(&["rustfmt", "--check", "--edition", "2024"]);
    execute(rustfmt.args(targets))
}

fn clippy() -> Result<()> {
    let words = ["cargo", "clippy", "--workspace", "--all-targets", "--locked"];
    execute(command(&words).args(["--", "-D", "warnings"]))
}

fn tests() -> Result<()> {
    if works(&["cargo", "nextest", "--version"]) {
        execute(&mut command(&[
            "cargo",
            "nextest",
            "run",
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ]))?;
        execute(&mut command(&["cargo", "test", "--doc", "--workspace", "--locked"]))
    } else {
        execute(&mut command(&["cargo", "test", "--workspace", "--locked"]))
    }
}

/// Tests against a decoder whose build needs more than the product's.
fn interop() -> Result<()> {
    let manifest = ["--manifest-path", INTEROP, "--locked"];
    let lints = ["--all-targets", "--", "-D", "warnings"];
    execute(command(&["cargo", "clippy"]).args(manifest).args(lints))?;
    execute(command(&["cargo", "test"]).args(manifest).arg("--tests"))
}

fn doc() -> Result<()> {
    let words = ["cargo", "doc", "--workspace", "--no-deps", "--locked"];
    execute(command(&words).env("RUSTDOCFLAGS", "-D warnings"))
}

fn deny() -> Result<()> {
    if !works(&["cargo", "deny", "--version"]) {
        println!("cargo-deny is not installed: skipped (cargo install cargo-deny --locked)");
        return Ok(());
    }
    execute(&mut command(&["cargo", "deny", "--locked", "check", "bans", "licenses", "sources"]))
}

struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "a developer wants to know what takes long")]
    fn start() -> Self {
        Self(Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
