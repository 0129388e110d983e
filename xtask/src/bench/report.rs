//! BENCH.md: the machine, then one table with the aim beside each result.

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::Line;
use crate::command::{command, output};

/// What the numbers were measured on.
pub(super) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    compiler: String,
}

impl Machine {
    /// Asks the running system.
    pub(super) fn read() -> Result<Self> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Self {
            processor: processor(&cpuinfo),
            cores: std::thread::available_parallelism()?.get(),
            kernel: kernel.trim().to_owned(),
            compiler: output(&mut command(&["rustc", "--version"]))?.trim().to_owned(),
        })
    }
}

impl Machine {
    /// Processor, cores and kernel.
    pub(super) fn in_words(&self) -> String {
        format!("{}, {} cores, Linux {}", self.processor, self.cores, self.kernel)
    }
}

/// The whole document.
pub(super) fn document(date: &str, machine: &Machine, lines: &[Line]) -> String {
    let mut text = String::from("# Benchmarks\n\n");
    let _ = writeln!(
        text,
        "Measured on {date}: {}, {} cores, Linux {}, {}. Made by\n\
         `cargo xtask bench --date {date}` (with `--instructions` for the instruction counts).\n",
        machine.processor, machine.cores, machine.kernel, machine.compiler
    );
    text.push_str(
        "A result is the least of 15 runs, the median stands beside it: on a shared machine the\n\
         least is what the code needs. Instructions are counted by valgrind and do not depend on\n\
         the machine's load.\n\n\
         | bench | result | unit | median | aim | met | instructions per operation | note |\n\
         |---|--:|---|--:|--:|---|--:|---|\n",
    );
    for line in lines {
        let _ = writeln!(text, "{}", row(line));
    }
    text
}

/// One row of the table.
pub(super) fn row(line: &Line) -> String {
    let optional = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), number);
    let met = match line.aim {
        None => "–",
        Some(aim) if line.value <= aim => "yes",
        Some(_) => "no",
    };
    format!(
        "| {} | {} | {} | {} | {} | {met} | {} | {} |",
        line.bench,
        number(line.value),
        line.unit,
        optional(line.median),
        optional(line.aim),
        optional(line.instructions),
        line.note
    )
}

/// Three significant digits where they matter, none where they do not.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn processor(cpuinfo: &str) -> String {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':')).map(|(_, name)| name.trim());
    name.unwrap_or("unknown processor").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: f64, aim: Option<f64>) -> Line {
        Line {
            bench: "frame/udp".to_owned(),
            value,
            unit: "ns/frame".to_owned(),
            aim,
            median: Some(13.04),
            operations: Some(64),
            note: "64 bytes".to_owned(),
            instructions: Some(123.4),
        }
    }

    #[test]
    fn a_row_has_the_aim_beside_the_result_and_says_whether_it_is_met() {
        assert_eq!(
            row(&line(12.54, Some(20.0))),
            "| frame/udp | 12.5 | ns/frame | 13.0 | 20 | yes | 123 | 64 bytes |"
        );
        assert!(row(&line(20.5, Some(20.0))).contains("| 20 | no |"));
        assert!(row(&line(20.5, None)).contains("| – | – |"));
    }

    #[test]
    fn the_machine_is_named() {
        assert_eq!(processor("a : b\nmodel name\t: Some CPU @ 2 GHz\n"), "Some CPU @ 2 GHz");
        assert_eq!(processor(""), "unknown processor");
        let machine = Machine {
            processor: "Some CPU".to_owned(),
            cores: 2,
            kernel: "6.1".to_owned(),
            compiler: "rustc 1.95.0".to_owned(),
        };
        let text = document("2026-01-02", &machine, &[line(1.0, None)]);
        assert!(text.contains("on 2026-01-02: Some CPU, 2 cores, Linux 6.1, rustc 1.95.0."));
        assert!(text.ends_with("64 bytes |\n"));
    }
}
