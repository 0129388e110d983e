//! Log lines of the service, on standard error: for people, for journald, or as JSON.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::fmt;

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; under journald without what it adds itself.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to write log lines. Only the first call counts.
pub(crate) fn start(format: LogFormat) {
    let builder = fmt().with_writer(io::stderr).with_target(false);
    // Each may have been started before, by a test in the same process.
    _ = match format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text if std::env::var_os("JOURNAL_STREAM").is_some() => {
            builder.without_time().with_ansi(false).try_init()
        }
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
    };
}
