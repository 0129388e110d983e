//! The developer door: `cargo xtask ci` runs every check, `deps` the import table, `fuzz` the
//! fuzz targets for a bounded time, `bench` the benchmarks. It imports none of our crates, so it
//! still works when they do not compile.

#![forbid(unsafe_code)]

mod bench;
mod ci;
mod command;
mod deps;
mod fuzz;
mod metadata;
mod tree;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(bin_name = "cargo xtask", about = "Checks, fuzzing and benchmarks of Tidewall")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Run every check that a change must pass, and stop at the first failure.
    Ci(ci::Arguments),
    /// Check which crate imports which against the table of ARCHITECTURE.md.
    Deps,
    /// Run the fuzz targets, each for a bounded time.
    Fuzz(fuzz::Arguments),
    /// Run the benchmarks and write BENCH.md.
    Bench(bench::Arguments),
}

fn main() -> ExitCode {
    match run(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<()> {
    std::env::set_current_dir(command::root()?)?;
    match task {
        Task::Ci(arguments) => ci::run(arguments),
        Task::Deps => deps::run(),
        Task::Fuzz(arguments) => fuzz::run(arguments),
        Task::Bench(arguments) => bench::run(arguments),
    }
}
