//! Routes announced by ExaBGP 4: through a named pipe that a helper of ExaBGP's reads, with the
//! lines that the reference writes, or through a process that ExaBGP starts
//! ([`helper::run`]), which brings its answers back.
//!
//! One thread holds what is desired. ExaBGP cannot be asked what it has, so whenever its side has
//! gone and comes back, everything desired is announced again; what an earlier run left there goes
//! by [`Announcer::withdraw`], which is therefore written for unknown routes too. Repeating either
//! does no harm.

pub mod helper;
mod ledger;
mod pipe;
mod process;
mod run;
pub mod text;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Poll, Waker};
use tidewall_bgp::{Route, RouteKey};

use crate::{AnnouncedRoute, Announcer, AnnouncerStatus, ConfigError, RouteOutcome};

use ledger::Ledger;
use pipe::Pipe;
use process::Process;
use run::{Clock, Command, Link, Runner, WAKER};

/// Commands that wait at most; the thread takes them at once, whatever ExaBGP does.
const COMMANDS: usize = 4_096;

/// Settings of an announcer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Its name.
    pub name: String,
    /// How ExaBGP is reached.
    pub way: Way,
    /// The AS number that ExaBGP has towards its neighbours; only needed to prepend it, and only
    /// right where all of them are of another AS.
    pub local_as: Option<u32>,
    /// Pause before something is tried again: opening the pipe (it doubles, up to five seconds), a
    /// line that ExaBGP did not take.
    pub retry: Duration,
}

/// How ExaBGP is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// A named pipe that a helper of ExaBGP's reads. A route counts as applied when the pipe has
    /// taken its line.
    Pipe {
        /// Where it is. It is never made here.
        path: PathBuf,
    },
    /// A process that ExaBGP starts. A route counts as applied when ExaBGP has said `done`.
    Process {
        /// The Unix socket that the process connects to; it is made here, with mode 0660.
        socket: PathBuf,
        /// ExaBGP answers (`exabgp.api.ack`, its default). Without, a route counts as applied when
        /// its line was handed to ExaBGP.
        answers: bool,
        /// How long an answer may take.
        answer_wait: Duration,
    },
}

impl Way {
    /// A pipe.
    pub fn pipe(path: impl Into<PathBuf>) -> Self {
        Self::Pipe { path: path.into() }
    }

    /// A process, with answers, which may take ten seconds.
    pub fn process(socket: impl Into<PathBuf>) -> Self {
        let answer_wait = Duration::from_secs(10);
        Self::Process { socket: socket.into(), answers: true, answer_wait }
    }

    /// The setting that says where it is, and where that is.
    pub fn path(&self) -> (&'static str, &Path) {
        match self {
            Self::Pipe { path } => ("path", path),
            Self::Process { socket, .. } => ("socket", socket),
        }
    }
}

impl Config {
    /// The usual settings.
    pub fn new(name: impl Into<String>, way: Way) -> Self {
        Self { name: name.into(), way, local_as: None, retry: Duration::from_secs(1) }
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        let error = |field, message: &str| Err(ConfigError::new(&self.name, field, message));
        let (field, path) = self.way.path();
        if !path.is_absolute() {
            return error(field, "not an absolute path, such as /run/exabgp/tidewall");
        }
        if matches!(self.way, Way::Pipe { .. }) && pipe::is_other_file(path) {
            return error(field, "no named pipe: nothing is ever written to anything else");
        }
        if self.local_as == Some(0) {
            return error("local_as", "0 is no AS number");
        }
        if self.retry < Duration::from_millis(10) {
            return error("retry", "shorter than ten milliseconds");
        }
        if matches!(self.way, Way::Process { answer_wait, .. } if answer_wait.is_zero()) {
            return error("answer_wait", "no time at all");
        }
        Ok(())
    }
}

/// A running announcer. When it is dropped, routes stay as they are, as with
/// [`stop`](Announcer::stop).
#[derive(Debug)]
pub struct ExaBgp {
    name: Arc<str>,
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl ExaBgp {
    /// Starts the thread with nothing desired; what becomes of routes is told to `outcomes`.
    pub fn start(config: Config, outcomes: Sender<RouteOutcome>) -> Result<Self, ConfigError> {
        config.check()?;
        let name: Arc<str> = config.name.as_str().into();
        let system = |error: io::Error| ConfigError::new(&name, "thread", error);
        let poll = Poll::new().map_err(system)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(system)?);
        let link = match config.way {
            Way::Pipe { path } => Link::Pipe(Pipe::new(path, config.retry)),
            Way::Process { socket, answers, answer_wait } => {
                let listener = process::bind(&socket)
                    .map_err(|words| ConfigError::new(&name, "socket", words))?;
                let (place, registry) = ((socket, listener), poll.registry());
                let process = Process::new(place, answers, answer_wait, config.retry, registry);
                Link::Process(process.map_err(system)?)
            }
        };
        let (commands, receiver) = sync_channel(COMMANDS);
        let runner = Runner {
            poll,
            name: Arc::clone(&name),
            link,
            ledger: Ledger::new(config.local_as),
            commands: receiver,
            outcomes,
            clock: Clock::start(),
            stopping: None,
        };
        let builder = std::thread::Builder::new().name("exabgp".into());
        let thread = builder.spawn(|| runner.run()).map_err(system)?;
        Ok(Self { name, commands, waker, thread: Some(thread) })
    }

    fn tell(&self, command: Command) {
        // Both fail only when the thread is gone.
        if self.commands.send(command).is_ok() {
            let _ = self.waker.wake();
        }
    }

    fn end(&mut self) {
        self.tell(Command::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

impl Announcer for ExaBgp {
    fn name(&self) -> &str {
        &self.name
    }

    /// ExaBGP does not list what it has: of an earlier run's routes, those that are to go need a
    /// [`withdraw`](Announcer::withdraw) each.
    fn set(&self, desired: Vec<Route>) {
        self.tell(Command::Set(desired));
    }

    fn announce(&self, route: Route) {
        self.tell(Command::Announce(route));
    }

    fn withdraw(&self, key: RouteKey) {
        self.tell(Command::Withdraw(key));
    }

    fn status(&self) -> AnnouncerStatus {
        let (answer, answers) = sync_channel(1);
        self.tell(Command::Status(answer));
        answers.recv().unwrap_or_default()
    }

    fn routes(&self) -> Vec<AnnouncedRoute> {
        let (answer, answers) = sync_channel(1);
        self.tell(Command::Routes(answer));
        answers.recv().unwrap_or_default()
    }

    fn stop(mut self: Box<Self>) {
        self.end();
    }
}

impl Drop for ExaBgp {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}
