//! Log lines of the service, on standard error: for people, for journald, or as JSON; besides,
//! where it is wished, to this machine's syslog.

mod local_syslog;

use std::io::{self, IsTerminal};
use std::path::Path;

use clap::ValueEnum;
use nix::sys::stat::{FileStat, fstat};
use tracing::{Level, Subscriber, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::{LogLevel, Service};
use local_syslog::{LocalSyslog, SOCKET};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people; under journald without what it adds itself.
    Text,
    /// One JSON object a line.
    Json,
}

/// Begins to write log lines. Only the first call counts.
pub(crate) fn start(format: LogFormat, service: &Service) {
    let level = match service.log_level {
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    let builder = fmt().with_writer(io::stderr).with_target(false).with_max_level(level);
    let syslog = service.local_syslog.then(|| LocalSyslog::open(Path::new(SOCKET)));
    let (syslog, failed) = match syslog.transpose() {
        Ok(syslog) => (syslog, None),
        Err(error) => (None, Some(error)),
    };
    // Each may have been started before, by a test in the same process.
    _ = match format {
        LogFormat::Json => begin(builder.json().flatten_event(true).finish(), level, syslog),
        LogFormat::Text if goes_to_journal() => {
            begin(builder.without_time().with_ansi(false).finish(), level, syslog)
        }
        LogFormat::Text => {
            begin(builder.with_ansi(io::stderr().is_terminal()).finish(), level, syslog)
        }
    };
    if let Some(error) = failed {
        warn!("nothing is sent to this machine's syslog: {SOCKET}: {error}");
    }
}

/// What libraries say besides warnings and news of theirs is for nobody.
fn begin(
    lines: impl Subscriber + Send + Sync + 'static,
    level: Level,
    syslog: Option<LocalSyslog>,
) -> Result<(), TryInitError> {
    let ours = Targets::new().with_default(Level::INFO).with_target("tidewall", level);
    let lines = lines.with(ours);
    match syslog {
        Some(syslog) => lines.with(syslog).try_init(),
        None => lines.try_init(),
    }
}

/// Is standard error the stream that journald reads? A program that is started by a service may
/// have the variable and write elsewhere; systemd.exec(5) says how to tell.
fn goes_to_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let is = |stat: FileStat| stream == format!("{}:{}", stat.st_dev, stat.st_ino);
    fstat(io::stderr()).is_ok_and(is)
}
