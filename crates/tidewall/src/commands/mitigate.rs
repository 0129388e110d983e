//! `tidewall ban` and its like: what people have done about attacks, and what they see of it.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use tidewall_model::{Direction, Family, Prefix};

use super::ask::{AskArgs, request};
use crate::config::parse_duration;
use crate::control::{BanKind, FieldError, Question, parse_target, parse_why};
use crate::live::clock::Clock;
use crate::report::answers::mitigations;

/// Nobody means to ban more at once: no service would do it, and the mistake is told at once.
const SHORTEST_IPV4: u8 = 8;
const SHORTEST_IPV6: u8 = 16;

/// What the brake does, before it is pulled.
const PANIC: &str = "\
This withdraws everything that is done about attacks, at once: routes, filters and bans by hand.
Then nothing is done any more, not by hand either, until somebody runs `tidewall resume`.
";

/// Have something done about a host or prefix: tell scripts and people, or blackhole or divert it.
///
/// Without --blackhole or --divert nothing is announced. A ban ends by itself, at the latest after
/// the configured longest time; `tidewall unban` ends it before.
#[derive(Clone, Debug, clap::Args)]
pub struct BanArgs {
    /// A host or prefix of ours: 192.0.2.7, 192.0.2.0/24, 2001:db8::7.
    #[arg(value_name = "TARGET", value_parser = parse_ban_target)]
    pub target: Prefix,
    /// For how long: 90s, 30m, 2h, 1d. Without it, for the configured time.
    #[arg(long = "for", value_name = "TIME", value_parser = parse_lasts)]
    pub lasts: Option<u64>,
    /// Have all traffic to the target dropped upstream.
    #[arg(long, conflicts_with = "divert")]
    pub blackhole: bool,
    /// Announce the target towards the scrubber.
    #[arg(long)]
    pub divert: bool,
    /// The target attacks others, and is not attacked.
    #[arg(long)]
    pub outgoing: bool,
    /// What the log and the history say about it.
    #[arg(long, value_name = "TEXT", value_parser = parse_why)]
    pub reason: Option<String>,
    /// Where to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// End everything that is done about a host or prefix.
///
/// Nothing is done about it again for a while (10 minutes, unless configured), even if it is
/// attacked; `tidewall ban` still works.
#[derive(Clone, Debug, clap::Args)]
pub struct UnbanArgs {
    /// Exactly the host or prefix that `tidewall bans` lists.
    #[arg(value_name = "TARGET", value_parser = parse_target)]
    pub target: Prefix,
    /// What the log and the history say about it.
    #[arg(long, value_name = "TEXT", value_parser = parse_why)]
    pub reason: Option<String>,
    /// Where to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Agree to a mitigation that waits for approval.
#[derive(Clone, Debug, clap::Args)]
pub struct ApproveArgs {
    /// Its number, as `tidewall bans` lists it.
    #[arg(value_name = "ID")]
    pub id: u64,
    /// Where to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Pull the brake: withdraw everything at once, and do nothing until `tidewall resume`.
///
/// Routes, filters and bans by hand are withdrawn. The brake stays pulled over a restart. Attacks
/// are still detected and reported.
#[derive(Clone, Debug, clap::Args)]
pub struct PanicArgs {
    /// Do not ask whether it is meant. Without a terminal nothing is asked.
    #[arg(short, long)]
    pub yes: bool,
    /// What the log says about it.
    #[arg(long, value_name = "TEXT", value_parser = parse_why)]
    pub reason: Option<String>,
    /// Where to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Let the brake go: attacks that go on are answered from the first step on.
///
/// Bans by hand are not put back.
#[derive(Clone, Debug, clap::Args)]
pub struct ResumeArgs {
    /// What the log says about it.
    #[arg(long, value_name = "TEXT", value_parser = parse_why)]
    pub reason: Option<String>,
    /// Where to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Runs `tidewall ban`.
pub fn ban(args: &BanArgs) -> anyhow::Result<ExitCode> {
    let question = Question::Ban {
        target: args.target,
        kind: match (args.blackhole, args.divert) {
            (true, _) => BanKind::Blackhole,
            (_, true) => BanKind::Divert,
            _ => BanKind::Notify,
        },
        direction: if args.outgoing { Direction::Outgoing } else { Direction::Incoming },
        seconds: args.lasts,
        why: args.reason.clone().unwrap_or_default(),
    };
    let size = covered(args.target).unwrap_or_default();
    request(&args.ask, &question, |answer| size + &mitigations::decisions(answer))
}

/// Runs `tidewall unban`.
pub fn unban(args: &UnbanArgs) -> anyhow::Result<ExitCode> {
    let why = args.reason.clone().unwrap_or_default();
    request(&args.ask, &Question::Unban { target: args.target, why }, mitigations::decisions)
}

/// Runs `tidewall approve`.
pub fn approve(args: &ApproveArgs) -> anyhow::Result<ExitCode> {
    request(&args.ask, &Question::Approve { id: args.id }, mitigations::decisions)
}

/// Runs `tidewall bans`.
pub fn bans(args: &AskArgs) -> anyhow::Result<ExitCode> {
    let now = Clock::start().now();
    request(args, &Question::Bans, |answer| mitigations::bans(answer, now))
}

/// Runs `tidewall panic`.
pub fn panic(args: &PanicArgs) -> anyhow::Result<ExitCode> {
    let is_asked = !args.yes && io::stdin().is_terminal();
    if is_asked && !agrees(&mut io::stdin().lock(), &mut io::stderr())? {
        eprintln!("Nothing was changed.");
        return Ok(ExitCode::from(1));
    }
    let why = args.reason.clone().unwrap_or_default();
    request(&args.ask, &Question::Panic { why }, |answer| {
        mitigations::decisions(answer) + "Nothing is done about attacks until `tidewall resume`.\n"
    })
}

/// Runs `tidewall resume`.
pub fn resume(args: &ResumeArgs) -> anyhow::Result<ExitCode> {
    let why = args.reason.clone().unwrap_or_default();
    request(&args.ask, &Question::Resume { why }, mitigations::decisions)
}

/// Runs `tidewall actions`.
pub fn actions(args: &AskArgs) -> anyhow::Result<ExitCode> {
    request(args, &Question::Actions, mitigations::actions)
}

/// Says what the brake does, and waits for a yes.
fn agrees(input: &mut impl BufRead, out: &mut impl Write) -> io::Result<bool> {
    write!(out, "{PANIC}Go on? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    input.read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// How much a prefix covers, if it is more than a host.
fn covered(target: Prefix) -> Option<String> {
    match target.family().bits() - target.len() {
        0 => None,
        bits @ 1..=16 => Some(format!("{target} covers {} addresses\n", 1_u32 << bits)),
        bits => Some(format!("{target} covers 2^{bits} addresses\n")),
    }
}

fn parse_ban_target(text: &str) -> Result<Prefix, String> {
    let target = parse_target(text).map_err(|error: FieldError| error.to_string())?;
    let shortest = match target.family() {
        Family::V4 => SHORTEST_IPV4,
        Family::V6 => SHORTEST_IPV6,
    };
    if target.len() < shortest {
        return Err(format!(
            "a ban of {target} would hit far more than any network of ours; /{shortest} is the \
             shortest {} prefix that is even asked for",
            target.family()
        ));
    }
    Ok(target)
}

fn parse_lasts(text: &str) -> Result<u64, String> {
    let whole = |time: &Duration| time.subsec_nanos() == 0 && !time.is_zero();
    let time = parse_duration(text).filter(whole).map(|time| time.as_secs());
    time.ok_or_else(|| "expected whole seconds or more, such as 90s, 30m, 2h, 1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_pulls_the_brake() {
        for (typed, meant) in
            [("y\n", true), (" YES \n", true), ("\n", false), ("", false), ("yep\n", false)]
        {
            let mut said = Vec::new();
            assert_eq!(agrees(&mut typed.as_bytes(), &mut said).unwrap(), meant, "{typed:?}");
            let said = String::from_utf8(said).unwrap();
            assert!(said.contains("withdraws everything") && said.ends_with("[y/N] "), "{said}");
        }
    }

    #[test]
    fn what_a_prefix_covers_is_told() {
        let said = |text: &str| covered(text.parse().unwrap());
        assert_eq!(said("192.0.2.7"), None);
        assert_eq!(said("2001:db8::7"), None);
        assert_eq!(said("192.0.2.0/24").unwrap(), "192.0.2.0/24 covers 256 addresses\n");
        assert_eq!(said("10.0.0.0/8").unwrap(), "10.0.0.0/8 covers 2^24 addresses\n");
        assert_eq!(said("2001:db8::/48").unwrap(), "2001:db8::/48 covers 2^80 addresses\n");
    }

    #[test]
    fn half_the_internet_is_not_asked_for() {
        for text in ["0.0.0.0/0", "64.0.0.0/7", "::/0", "2000::/15"] {
            assert!(parse_ban_target(text).unwrap_err().contains("far more"), "{text}");
        }
        for text in ["10.0.0.0/8", "2001::/16", "192.0.2.7"] {
            assert_eq!(parse_ban_target(text), Ok(text.parse().unwrap()));
        }
        assert!(parse_ban_target("10.0.0.1/8").unwrap_err().contains("did you mean 10.0.0.0/8?"));
    }

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(parse_lasts("30m"), Ok(1800));
        assert_eq!(parse_lasts("1.5h"), Ok(5400));
        for text in ["0s", "500ms", "30", "", "-1s"] {
            assert!(parse_lasts(text).is_err(), "{text}");
        }
    }
}
