//! `tidewall history`: attacks and decisions of the past.

use std::process::ExitCode;

use tidewall_model::{Prefix, Timestamp};

use super::ask::{AskArgs, request};
use crate::config::parse_duration;
use crate::control::{Question, parse_target};
use crate::live::clock::Clock;
use crate::replay::parse_time;
use crate::report::answers::mitigations;

/// List attacks and decisions of the past, newest first, with who and why.
#[derive(Clone, Debug, clap::Args)]
pub struct HistoryArgs {
    /// From this time on: a day (2026-11-20), a time (2026-11-20T10:30:00Z), or an age (24h, 7d).
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    pub since: Option<Since>,
    /// Only of hosts and prefixes inside this one.
    #[arg(long, value_name = "PREFIX", value_parser = parse_target)]
    pub target: Option<Prefix>,
    /// How many attacks and how many decisions at the most.
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub limit: u64,
    /// Where to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// A time, or how long before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// At this time.
    Time(Timestamp),
    /// So long ago.
    Age(std::time::Duration),
}

/// Runs the command.
pub fn run(args: &HistoryArgs) -> anyhow::Result<ExitCode> {
    let since = args.since.map(|since| match since {
        Since::Time(time) => time,
        Since::Age(age) => Clock::start().now() - age,
    });
    let question = Question::History { since, target: args.target, limit: args.limit as usize };
    request(&args.ask, &question, mitigations::history)
}

fn parse_since(text: &str) -> Result<Since, String> {
    if let Some(age) = parse_duration(text) {
        return Ok(Since::Age(age));
    }
    let is_day = text.matches('-').count() == 2 && !text.contains(['T', 't']);
    let time = if is_day { parse_time(&format!("{text}T00:00:00Z")) } else { parse_time(text) };
    time.map(Since::Time).map_err(|_| {
        "expected a day such as 2026-11-20, a time such as 2026-11-20T10:30:00Z, or an age such \
         as 24h"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_beginning_is_a_day_a_time_or_an_age() {
        let time = |text: &str| Ok(Since::Time(parse_time(text).unwrap()));
        assert_eq!(parse_since("24h"), Ok(Since::Age(Duration::from_hours(24))));
        assert_eq!(parse_since("2026-11-20"), time("2026-11-20T00:00:00Z"));
        assert_eq!(parse_since("2026-11-20T10:30:00+01:00"), time("2026-11-20T09:30:00Z"));
        for wrong in ["yesterday", "2026-13-01", "2026-11-31", "20-11", "", "-5d"] {
            assert!(parse_since(wrong).unwrap_err().contains("expected a day"), "{wrong}");
        }
    }
}
