//! The notify script: called as the reference calls it (four arguments; the report on standard
//! input for `ban`, nothing for `unban`), but without a shell, with a time limit, and with the
//! event in environment variables or as JSON beside it.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::report_text::{Generation, Style, attack_type};
use crate::{Action, ActionError, ActionEvent, ActionKind, Applying, ConfigError, report_json};

/// From asking the script's processes to end until they are killed.
const GRACE: Duration = Duration::from_secs(1);

/// What the script gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Arguments `address direction pps action`, the text report on standard input: the contract of
    /// the reference. Only `ban` and `unban` are called, and only for hosts.
    #[default]
    Text,
    /// Arguments `action target`, the JSON document on standard input, for every event and target.
    Json,
}

/// Settings of the notify script.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name in status and logs.
    pub name: String,
    /// The script, or any program.
    pub path: PathBuf,
    /// Scripts of host groups that have one of their own; `None`: no script for this group.
    pub group_paths: BTreeMap<String, Option<PathBuf>>,
    /// What it gets.
    pub format: Format,
    /// How reports are written. With the generation 1.2.4 the script is also called with
    /// `attack_details` after each `ban`.
    pub style: Style,
    /// Time for one call; then all its processes are killed.
    pub timeout: Duration,
    /// Variables that the script must not see: those that hold secrets of other actions.
    pub hidden_variables: Vec<String>,
}

impl Config {
    /// A script in the reference's contract.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            name: "script".to_owned(),
            path: path.into(),
            group_paths: BTreeMap::new(),
            format: Format::Text,
            style: Style::default(),
            timeout: Duration::from_secs(30),
            hidden_variables: Vec::new(),
        }
    }
}

/// The notify script.
#[derive(Debug)]
pub struct Script(Config);

impl Script {
    /// Checks the settings. The file is looked for at each call: it may be installed later.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let wrong = |field, message: &str| Err(ConfigError::new(&config.name, field, message));
        let paths = config.group_paths.values().flatten().chain([&config.path]);
        if paths.into_iter().any(|path| !path.is_absolute()) {
            return wrong("path", "must be absolute: the daemon's folder is nobody's choice");
        }
        if config.timeout.is_zero() {
            return wrong("timeout", "must be above zero");
        }
        Ok(Self(config))
    }

    fn path(&self, event: &ActionEvent) -> Option<&Path> {
        match self.0.group_paths.get(&event.attack.reason.group) {
            Some(own) => own.as_deref(),
            None => Some(&self.0.path),
        }
    }

    /// The calls for an event: its arguments and what stands on standard input.
    fn calls(&self, event: &ActionEvent) -> Vec<Call> {
        let (style, verb) = (&self.0.style, event.kind.verb());
        let target = style.target(&event.attack.target);
        if self.0.format == Format::Json {
            let input = report_json::to_json(event, style) + "\n";
            return vec![Call { arguments: vec![verb.to_owned(), target], input: Some(input) }];
        }
        let call = |verb: &str, input| {
            let direction = event.attack.direction.name().to_owned();
            let power = event.power().to_string();
            Call { arguments: vec![target.clone(), direction, power, verb.to_owned()], input }
        };
        match event.kind {
            ActionKind::Banned => {
                let mut calls = vec![call(verb, Some(style.report(event)))];
                let samples = !event.attack.samples.is_empty();
                if style.generation == Generation::V1_2_4 && samples {
                    calls.push(call("attack_details", Some(style.details(event))));
                }
                calls
            }
            _ => vec![call(verb, None)],
        }
    }

    async fn call_all(&self, event: &ActionEvent) -> Result<(), ActionError> {
        let Some(path) = self.path(event) else { return Ok(()) };
        let mut first_error = Ok(());
        for call in self.calls(event) {
            let result = self.call(path, &call, event).await;
            // Nothing of this event has been seen by the script yet: it may all be repeated.
            if matches!(&result, Err(error) if error.retry) && first_error.is_ok() {
                return result;
            }
            first_error = first_error.and(result);
        }
        first_error
    }

    async fn call(&self, path: &Path, call: &Call, event: &ActionEvent) -> Result<(), ActionError> {
        let mut command = Command::new(path);
        command.args(&call.arguments).envs(variables(event, &self.0.style));
        for name in &self.0.hidden_variables {
            command.env_remove(name);
        }
        command.process_group(0);
        match call.input {
            Some(_) => command.stdin(Stdio::piped()),
            // As with the reference, whose standard output is a pipe that nobody reads to the end.
            None => command.stdin(Stdio::null()).stdout(Stdio::null()),
        };
        let shown = path.display();
        let mut child = command.spawn().map_err(|error| not_started(path, &error))?;
        let group = Group::of(&child);
        let input = call.input.as_deref().unwrap_or_default();
        let Ok(status) = timeout(self.0.timeout, feed_and_wait(&mut child, input)).await else {
            group.end().await;
            _ = child.wait().await;
            let limit = self.0.timeout.as_secs_f64();
            let message =
                format!("{shown}: did not end within {limit} s; its processes are killed");
            return Err(ActionError::permanent(message));
        };
        group.leave();
        let status = status.map_err(|e| ActionError::permanent(format!("{shown}: {e}")))?;
        if status.success() {
            return Ok(());
        }
        // Not repeated: what a script did before it failed, nobody knows.
        let verb = call.arguments.last().map_or("", String::as_str);
        Err(ActionError::permanent(format!("{shown} ({verb}): {}", words(status))))
    }
}

impl Action for Script {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn wants(&self, event: &ActionEvent) -> bool {
        let ban = matches!(event.kind, ActionKind::Banned | ActionKind::Unbanned);
        let concerns = self.0.format == Format::Json || ban && event.host().is_some();
        concerns && self.path(event).is_some()
    }

    fn apply<'a>(&'a self, event: &'a ActionEvent) -> Applying<'a> {
        Box::pin(self.call_all(event))
    }
}

/// One call of the script.
struct Call {
    arguments: Vec<String>,
    input: Option<String>,
}

/// The process group of a call: what the script started belongs to it too. Killed when dropped
/// before the script has ended.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }

    /// The script has ended: what it left in the background may stay.
    fn leave(mut self) {
        self.0 = None;
    }

    /// Asks all processes to end, then kills them. The script is not waited for in between, so that
    /// its number cannot belong to somebody else by then.
    async fn end(self) {
        self.signal(Signal::TERM);
        sleep(GRACE).await;
        // `drop` kills.
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // It fails when all of them have ended, which is what is wanted.
            _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Writes the input as far as the script reads it, and waits for the script's end only.
async fn feed_and_wait(child: &mut Child, input: &str) -> io::Result<ExitStatus> {
    let mut pipe = child.stdin.take();
    let feed = async {
        if let Some(pipe) = &mut pipe {
            // A script that does not read is no error: it may have ended, or not care.
            _ = pipe.write_all(input.as_bytes()).await;
        }
        // The end of file that the script waits for.
        drop(pipe.take());
        std::future::pending::<()>().await;
    };
    tokio::select! {
        status = child.wait() => status,
        () = feed => Err(io::ErrorKind::Other.into()),
    }
}

/// Is worth another attempt when the machine was short of something, or the file is being written.
fn not_started(path: &Path, error: &io::Error) -> ActionError {
    use io::ErrorKind::{ExecutableFileBusy, OutOfMemory, WouldBlock};
    let message = format!("{}: cannot be started: {error}", path.display());
    match error.kind() {
        WouldBlock | OutOfMemory | ExecutableFileBusy => ActionError::temporary(message),
        _ => ActionError::permanent(message),
    }
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// The event as environment variables.
fn variables(event: &ActionEvent, style: &Style) -> [(&'static str, String); 18] {
    let (attack, reason) = (&event.attack, &event.attack.reason);
    [
        ("TIDEWALL_EVENT", event.kind.name().to_owned()),
        ("TIDEWALL_EVENT_KEY", event.key()),
        ("TIDEWALL_TIME", event.time.to_string()),
        ("TIDEWALL_ATTACK_UUID", event.attack_uuid()),
        ("TIDEWALL_TARGET", style.target(&attack.target)),
        ("TIDEWALL_NETWORK", event.network.map(|n| n.to_string()).unwrap_or_default()),
        ("TIDEWALL_GROUP", reason.group.clone()),
        ("TIDEWALL_DIRECTION", attack.direction.name().to_owned()),
        ("TIDEWALL_TYPE", attack_type(attack).to_owned()),
        ("TIDEWALL_CLASS", attack.class.name().to_owned()),
        ("TIDEWALL_METRIC", reason.metric.to_string()),
        ("TIDEWALL_VALUE", format!("{:.0}", reason.value)),
        ("TIDEWALL_LIMIT", format!("{:.0}", reason.limit)),
        ("TIDEWALL_PPS", event.power().to_string()),
        ("TIDEWALL_BPS", attack.rates.total.bytes.saturating_mul(8).to_string()),
        ("TIDEWALL_PEAK_PPS", attack.peak_pps.to_string()),
        ("TIDEWALL_BAN_SECONDS", event.ban_seconds.to_string()),
        ("TIDEWALL_MANUAL", u8::from(event.manual).to_string()),
    ]
}
