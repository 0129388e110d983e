//! `tidewall status` and its like: questions to a running service.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::Value;

use crate::config::CONTROL_SOCKET;
use crate::control::{Client, ClientError, Question};
use crate::report::answers;

/// Where to ask, and how to answer.
#[derive(Clone, Debug, clap::Args)]
pub struct AskArgs {
    /// The service's control socket.
    #[arg(long, value_name = "PATH", default_value = CONTROL_SOCKET)]
    pub control: PathBuf,
    /// Print JSON as it was sent.
    #[arg(long)]
    pub json: bool,
}

/// Time between two answers that are followed.
const AGAIN: Duration = Duration::from_secs(1);
/// Begins a terminal anew.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// A question that may be asked again and again.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchArgs {
    /// Ask again every second, until interrupted.
    #[arg(short, long)]
    pub follow: bool,
    /// Where to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Options of `tidewall events`.
#[derive(Clone, Debug, clap::Args)]
pub struct EventsArgs {
    /// Go on until interrupted, which it does anyway.
    #[arg(short, long)]
    pub follow: bool,
    /// Where to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Options of `tidewall hosts`.
#[derive(Clone, Debug, clap::Args)]
pub struct HostsArgs {
    /// How many hosts at the most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Where to ask, and how often.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// Options of `tidewall attacks`.
#[derive(Clone, Debug, clap::Args)]
pub struct AttacksArgs {
    /// Also those that are over.
    #[arg(long)]
    pub all: bool,
    /// Where to ask, and how often.
    #[command(flatten)]
    pub watch: WatchArgs,
}

/// Asks and prints the answer: as JSON, or in words by `show`.
pub fn ask(
    args: &AskArgs,
    question: &Question,
    show: fn(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    super::quiet_when_closed(say(args, question, show)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks, and tells how printing the answer went.
fn say(
    args: &AskArgs,
    question: &Question,
    show: fn(&Value) -> String,
) -> anyhow::Result<io::Result<()>> {
    let answer = Client::connect(&args.control)?.ask(question)?;
    let text = if args.json { answer.to_string() + "\n" } else { show(&answer) };
    Ok(io::stdout().lock().write_all(text.as_bytes()))
}

/// Asks and prints, once or every second.
#[expect(clippy::disallowed_methods, reason = "a command that repeats itself for people")]
pub fn watch(
    args: &WatchArgs,
    question: &Question,
    show: fn(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    if !args.follow {
        return ask(&args.ask, question, show);
    }
    let clears = io::stdout().is_terminal() && !args.ask.json;
    loop {
        if clears {
            super::quiet_when_closed(io::stdout().lock().write_all(CLEAR.as_bytes()))?;
        }
        let said = say(&args.ask, question, show)?;
        if said.is_err() {
            // A reader that has seen enough ends it.
            super::quiet_when_closed(said)?;
            return Ok(ExitCode::SUCCESS);
        }
        std::thread::sleep(AGAIN);
    }
}

/// Asks for something that the service may refuse, and prints the answer: status 1 and the reason
/// when it does.
pub fn request(
    args: &AskArgs,
    question: &Question,
    show: impl FnOnce(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    let answer = match Client::connect(&args.control)?.ask(question) {
        Err(ClientError::Refused(reason)) => {
            eprintln!("tidewall: {}", answers::printable_text(&reason));
            return Ok(ExitCode::from(1));
        }
        answer => answer?,
    };
    let text =
        if args.json { answer.to_string() + "\n" } else { show(&answers::printable(&answer)) };
    super::quiet_when_closed(io::stdout().lock().write_all(text.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
}

/// Prints events as they come.
pub fn events(args: &EventsArgs) -> anyhow::Result<ExitCode> {
    let args = &args.ask;
    let mut client = Client::connect(&args.control)?;
    client.ask(&Question::Events)?;
    let mut out = io::stdout().lock();
    while let Some(line) = client.next_event()? {
        let text = if args.json { line } else { answers::event(&line) };
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if written.is_err() {
            // A reader that has seen enough.
            return Ok(ExitCode::SUCCESS);
        }
    }
    Ok(ExitCode::SUCCESS)
}
