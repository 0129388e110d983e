//! `tidewall run`: the service.

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use sd_notify::NotifyState;
use serde_json::{Value, json};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidewall_engine::Policy;
use tidewall_model::{AttackEvent, AttackEventKind, Prefix, Timestamp};
use tracing::{error, info, warn};

use crate::config::{self, Loaded, Style};
use crate::control::{Asked, Question, Server, answer as answers};
use crate::live::clock::Clock;
use crate::live::hub::Hub;
use crate::live::worker::WorkerStatus;
use crate::live::{Live, Plan, Sources, own_networks};
use crate::log::{self, LogFormat};
use crate::privileges;
use crate::report::attack_line;

/// The main thread looks after things so often when nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A clock that was set by more than this is told, in seconds.
const STEP: f64 = 2.0;

/// Watch a network and report attacks, until it is told to end.
///
/// Without a configuration it listens for sFlow on port 6343 and for NetFlow and IPFIX on ports
/// 2055 and 4739, takes the machine's own networks as ours, and changes nothing: it detects and
/// logs. SIGHUP reads the configuration again; SIGTERM and SIGINT end it.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A network of ours, instead of those configured; may be repeated.
    #[arg(short, long, value_name = "PREFIX")]
    pub network: Vec<Prefix>,
    /// The control socket, instead of the configured one.
    #[arg(long, value_name = "PATH")]
    pub control: Option<PathBuf>,
    /// How log lines are written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub log: LogFormat,
}

/// What the main thread is told.
enum Message {
    Signal(i32),
    /// Read the configuration again, and answer.
    Reload(Sender<Result<String, String>>),
}

/// Runs the command.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let Some(loaded) = load(args)? else { return Ok(ExitCode::from(2)) };
    log::start(args.log);
    let service = loaded.service.clone();
    let control = args.control.clone().unwrap_or_else(|| service.control.clone());
    let plan = plan_of(args, loaded)?;
    let sources = Sources::open(&plan)?;
    let listener = crate::control::open(&control);
    let listener = listener.map_err(|error| warn!("no control socket: {error:#}")).ok();
    if let Some(user) = &service.user {
        privileges::become_user(user, &control)?;
    }
    if let Some(path) = &service.pid_file {
        write_pid(path)?;
    }
    tell_plan(&plan, &sources);
    // Before the threads, which inherit what is blocked and what is not.
    let (messages, inbox) = channel();
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let handle = signals.handle();
    let forward = messages.clone();
    let signal_thread = thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in &mut signals {
            _ = forward.send(Message::Signal(signal));
        }
    })?;
    let mut live = Live::start(&plan, sources, random_seed()?)?;
    let log_thread = log_attacks(&live.hub)?;
    let server = serve(listener, control, &live, messages)?;
    _ = sd_notify::notify(&[NotifyState::Ready]);
    let result = look_after(args, &mut live, &inbox);
    _ = sd_notify::notify(&[NotifyState::Stopping]);
    handle.close();
    _ = signal_thread.join();
    if let Some(server) = server {
        server.stop();
    }
    let (hub, ended) = (Arc::clone(&live.hub), live.stop());
    let snapshot = hub.snapshot();
    info!(
        records = snapshot.stats.received,
        attacks = snapshot.attacks.len(),
        "ended; attacks that were going on are not told as ended"
    );
    drop(hub);
    _ = log_thread.join();
    if let Some(path) = &service.pid_file {
        _ = fs::remove_file(path);
    }
    ended?;
    result.map(|()| ExitCode::SUCCESS)
}

/// The configuration; `None` when it has errors, which have been told.
fn load(args: &RunArgs) -> anyhow::Result<Option<Loaded>> {
    let Some(file) = &args.config else { return Ok(Some(Loaded::default())) };
    match config::load(file) {
        Ok(loaded) => {
            let warnings = config::render(&loaded.warnings, Style::for_stderr());
            write!(io::stderr(), "{warnings}")?;
            Ok(Some(loaded))
        }
        Err(errors) => {
            write!(io::stderr(), "{}", errors.render(Style::for_stderr()))?;
            Ok(None)
        }
    }
}

fn plan_of(args: &RunArgs, loaded: Loaded) -> anyhow::Result<Plan> {
    let mut policy = loaded.policy;
    if !args.network.is_empty() {
        policy.networks.clone_from(&args.network);
    }
    if policy.networks.is_empty() {
        policy.networks = own_networks()?;
        if policy.networks.is_empty() {
            bail!("no network is known: name ours with `networks` in the configuration");
        }
        let list: Vec<_> = policy.networks.iter().map(Prefix::to_string).collect();
        info!("no network is configured; taking this machine's own: {}", list.join(", "));
    }
    Ok(Plan {
        policy,
        frames: loaded.frames,
        flows: loaded.flows,
        listen: loaded.listen,
        mirrors: loaded.mirrors,
        state: loaded.service.state,
    })
}

fn tell_plan(plan: &Plan, sources: &Sources) {
    for warning in &sources.warnings {
        warn!("{warning}");
    }
    for name in sources.names() {
        info!("listening: {name}");
    }
    let policy = &plan.policy;
    info!(
        networks = policy.networks.len(),
        groups = policy.groups.len(),
        "detecting and logging; nothing is announced or changed"
    );
    if !policy.has_limits() {
        warn!("no limit is set, so no attack can be found: see [thresholds]");
    }
}

/// Waits for signals and questions until it is time to end.
fn look_after(
    args: &RunArgs,
    live: &mut Live,
    inbox: &std::sync::mpsc::Receiver<Message>,
) -> anyhow::Result<()> {
    let watchdog = sd_notify::watchdog_enabled().map(|interval| interval / 2);
    let wait = watchdog.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
    let mut step_told = 0.0;
    loop {
        match inbox.recv_timeout(wait) {
            Ok(Message::Signal(SIGHUP)) => match reload(args, live) {
                Ok(what) => info!("{what}"),
                Err(reason) => error!("not reloaded, nothing was changed: {reason}"),
            },
            Ok(Message::Signal(_)) => return Ok(()),
            Ok(Message::Reload(answer)) => _ = answer.send(reload(args, live)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("nobody can end this process any more"),
        }
        if let Some(failure) = live.failure() {
            bail!("{failure}");
        }
        if watchdog.is_some() && live.is_alive() {
            _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        let step = live.clock.stepped_by();
        if (step - step_told).abs() > STEP {
            step_told = step;
            warn!(
                "the system's clock was set by {step:+.0} s; times here go on as before until the \
                 service is started again"
            );
        }
    }
}

/// Reads the configuration again. What is wrong with it changes nothing.
fn reload(args: &RunArgs, live: &mut Live) -> Result<String, String> {
    let Some(file) = &args.config else {
        return Err("the service runs without a configuration file".to_owned());
    };
    _ = sd_notify::notify(&[
        NotifyState::Reloading,
        NotifyState::monotonic_usec_now().map_err(|e| e.to_string())?,
    ]);
    let result =
        config::load(file).map_err(|errors| errors.render(Style::Plain)).and_then(|loaded| {
            for warning in &loaded.warnings {
                warn!("{warning}");
            }
            let plan = plan_of(args, loaded).map_err(|error| format!("{error:#}"))?;
            Ok(live.reload(&plan))
        });
    _ = sd_notify::notify(&[NotifyState::Ready]);
    result
}

fn serve(
    listener: Option<UnixListener>,
    path: PathBuf,
    live: &Live,
    messages: Sender<Message>,
) -> anyhow::Result<Option<Server>> {
    let Some(listener) = listener else { return Ok(None) };
    let desk = Desk {
        hub: Arc::clone(&live.hub),
        workers: live.workers.clone(),
        clock: live.clock,
        started: live.clock.now(),
        messages: messages.into(),
    };
    Ok(Some(Server::start(listener, path, Arc::new(desk))?))
}

/// Answers what the control socket is asked.
struct Desk {
    hub: Arc<Hub>,
    workers: Vec<Arc<WorkerStatus>>,
    clock: Clock,
    started: Timestamp,
    messages: Outbox,
}

#[expect(clippy::disallowed_types, reason = "taken once a question")]
struct Outbox(std::sync::Mutex<Sender<Message>>);

impl From<Sender<Message>> for Outbox {
    fn from(sender: Sender<Message>) -> Self {
        Self(sender.into())
    }
}

impl Asked for Desk {
    fn answer(&self, question: &Question) -> Result<Value, String> {
        let snapshot = self.hub.snapshot();
        Ok(match question {
            Question::Status => {
                answers::status(&snapshot, &self.workers, self.started, self.clock.now())
            }
            Question::Exporters => answers::exporters(&self.workers),
            Question::Hosts { top } => answers::hosts(&snapshot, *top),
            Question::Networks => answers::networks(&snapshot),
            Question::Attacks { all } => answers::attacks(&self.hub, *all),
            Question::Events => return Err("events are sent, not answered".to_owned()),
            Question::Reload => json!({ "reloaded": self.reload()? }),
        })
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

impl Desk {
    fn reload(&self) -> Result<String, String> {
        let (answer, told) = channel();
        let sender = self.messages.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ended = || "the service is ending".to_owned();
        sender.send(Message::Reload(answer)).map_err(|_| ended())?;
        drop(sender);
        told.recv().map_err(|_| ended())?
    }
}

/// Writes every event to the log, on a thread of its own.
fn log_attacks(hub: &Hub) -> anyhow::Result<thread::JoinHandle<()>> {
    let subscription = hub.subscribe();
    let builder = thread::Builder::new().name("log".to_owned());
    Ok(builder.spawn(move || {
        for event in subscription.events {
            log_event(&event);
        }
    })?)
}

fn log_event(event: &AttackEvent) {
    let line = attack_line(&event.attack);
    match event.kind {
        AttackEventKind::Started => warn!(attack = event.attack.id.0, "attack: {line}"),
        AttackEventKind::Updated => info!(attack = event.attack.id.0, "attack goes on: {line}"),
        AttackEventKind::Ended => info!(attack = event.attack.id.0, "attack is over: {line}"),
    }
}

fn write_pid(path: &Path) -> anyhow::Result<()> {
    fs::write(path, format!("{}\n", std::process::id()))
        .with_context(|| format!("{}: the process's number cannot be written", path.display()))
}

/// What keys the hash tables: nobody outside may know it.
fn random_seed() -> anyhow::Result<u64> {
    getrandom::u64().context("the system gives no random numbers")
}

/// Does a policy have any limit?
trait HasLimits {
    fn has_limits(&self) -> bool;
}

impl HasLimits for Policy {
    fn has_limits(&self) -> bool {
        self.groups.iter().any(|group| {
            !group.host.is_empty() || !group.network.is_empty() || !group.total.is_empty()
        })
    }
}
