//! `tidewall status` and its like: questions to a running service.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

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

/// Options of `tidewall hosts`.
#[derive(Clone, Debug, clap::Args)]
pub struct HostsArgs {
    /// How many hosts at the most.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub top: usize,
    /// Where to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Options of `tidewall attacks`.
#[derive(Clone, Debug, clap::Args)]
pub struct AttacksArgs {
    /// Also those that are over.
    #[arg(long)]
    pub all: bool,
    /// Where to ask.
    #[command(flatten)]
    pub ask: AskArgs,
}

/// Asks and prints the answer: as JSON, or in words by `show`.
pub fn ask(
    args: &AskArgs,
    question: &Question,
    show: fn(&Value) -> String,
) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(&args.control)?.ask(question)?;
    let text = if args.json { answer.to_string() + "\n" } else { show(&answer) };
    super::quiet_when_closed(io::stdout().lock().write_all(text.as_bytes()))?;
    Ok(ExitCode::SUCCESS)
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
pub fn events(args: &AskArgs) -> anyhow::Result<ExitCode> {
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
