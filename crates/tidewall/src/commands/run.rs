//! `tidewall run`: the service.

use std::io::{self, IsTerminal, Write};
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
use tidewall_capture::memory;
use tidewall_engine::Policy;
use tidewall_model::{AttackEvent, AttackEventKind, Prefix, Timestamp};
use tracing::{error, info, warn};

use crate::config::{self, Loaded, Severity, Style};
use crate::control::{Asked, Question, Rights, Server, SharedRights, Socket, answer as answers};
use crate::live::clock::Clock;
use crate::live::hub::Hub;
use crate::live::networks::AddressFile;
use crate::live::state;
use crate::live::{Live, Plan, Sources, Standing, networks};
use crate::log::{self, LogFormat};
use crate::pid_file::PidFile;
use crate::privileges;
use crate::report::attack_line;
use crate::respond::{self, Handle, Prepared, Responder};

/// The main thread looks after things so often when nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A file of addresses is read again so often: there is no telling when it changes.
const READ_EVERY: Duration = Duration::from_secs(5);
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
    /// Write the process's number to the file that `pid_path` of a FastNetMon configuration names,
    /// as FastNetMon does with this option.
    #[arg(long = "pid_logic")]
    pub pid_logic: bool,
    /// How log lines are written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub log: LogFormat,
}

/// What runs, and by which configuration.
struct Running {
    live: Live,
    responder: Responder,
    rights: Arc<SharedRights>,
    loaded: Loaded,
    /// The addresses that a file lists as ours.
    listed: AddressFile,
    /// Why our networks could not follow the addresses, as it was told; tried again until they do.
    behind: Option<String>,
}

/// What the main thread is told.
enum Message {
    Signal(i32),
    /// Read the configuration again, and answer.
    Reload(Sender<Result<String, String>>),
    /// The machine's addresses have changed.
    Addresses,
}

/// Runs the command. Whoever reads JSON is told in JSON why it ended.
pub fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    serve_to_the_end(args).or_else(|error| {
        if args.log != LogFormat::Json {
            return Err(error);
        }
        log::start(args.log, &config::Service::default());
        error!("{error:#}");
        Ok(ExitCode::from(2))
    })
}

fn serve_to_the_end(args: &RunArgs) -> anyhow::Result<ExitCode> {
    // Before there is anything large, and while there is one thread.
    memory::return_large_allocations();
    privileges::keep_rights_to_ourselves()?;
    let Some(loaded) = load(args)? else { return Ok(ExitCode::from(2)) };
    log::start(args.log, &loaded.service);
    tell_warnings(&loaded)?;
    let service = loaded.service.clone();
    let pid_file = pid_file(args, &loaded).as_deref().map(PidFile::claim).transpose()?;
    let listed = AddressFile::default().go_on_with(loaded.openvz_addresses.as_deref());
    let plan = plan_of(args, &loaded, &listed)?;
    if let Some(folder) = &plan.service.state {
        privileges::make_folder(folder)?;
    }
    let prepared = Prepared::open(&loaded.respond, plan.service.state.as_deref())?;
    // What comes from now on waits for the workers, and must not pile up while a long journal is
    // read.
    let sources = Sources::open(&plan)?;
    let control = args.control.clone().unwrap_or_else(|| service.control.clone());
    let mut ours = vec![control.clone()];
    ours.extend(pid_file.as_ref().map(|file| file.path().to_owned()));
    let control = open_control(&control, &mut ours);
    ours.extend(plan.service.state.iter().flat_map(|folder| state::belongings(folder)));
    if let Some(user) = &service.user {
        let needs = privileges::needs(&plan);
        privileges::become_user(user, (&ours, &sources), &needs)?;
    }
    tell_plan(&plan, &sources, &loaded.respond);
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
    if let Err(error) = networks::watch(messages.clone(), || Message::Addresses) {
        warn!("{error:#}");
    }
    let live = Live::start(&plan, sources, random_seed()?)?;
    let log_thread = log_attacks(&live.hub)?;
    let frames = Arc::clone(&live.frames);
    let responder = prepared.start(&plan.policy, &live.hub, frames, live.clock)?;
    let rights = Arc::<SharedRights>::default();
    rights.set(loaded.rights.clone());
    let server = serve(control, &live, responder.handle(), Arc::clone(&rights), messages)?;
    _ = sd_notify::notify(&[NotifyState::Ready]);
    let mut running = Running { live, responder, rights, loaded, listed, behind: None };
    let result = look_after(args, &mut running, &inbox);
    let Running { live, responder, .. } = running;
    _ = sd_notify::notify(&[NotifyState::Stopping]);
    // Whoever waits for an answer is told that there will be none.
    drop(inbox);
    handle.close();
    _ = signal_thread.join();
    if let Some(server) = server {
        server.stop();
    }
    responder.stop();
    let (hub, ended) = (Arc::clone(&live.hub), live.stop());
    _ = log_thread.join();
    let snapshot = hub.snapshot();
    info!(
        records = snapshot.stats.received,
        attacks = snapshot.attacks.len(),
        "ended; attacks that were going on are not told as ended"
    );
    ended?;
    result.map(|()| ExitCode::SUCCESS)
}

/// Opens the control socket; without one the service can do its work.
fn open_control(path: &Path, ours: &mut Vec<PathBuf>) -> Option<Socket> {
    let folder = path.parent().map(privileges::make_folder).transpose();
    let opened = folder.and_then(|folder| {
        ours.extend(folder.flatten());
        crate::control::open(path)
    });
    opened.map_err(|error| warn!("no control socket: {error:#}")).ok()
}

/// The configuration; `None` when it has errors, which have been told.
fn load(args: &RunArgs) -> anyhow::Result<Option<Loaded>> {
    let Some(file) = &args.config else { return Ok(Some(Loaded::default())) };
    match config::load(file) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(errors) if args.log == LogFormat::Json => {
            log::start(args.log, &config::Service::default());
            match errors.diagnostics() {
                [] => error!("{errors}"),
                list => list.iter().for_each(|line| match line.severity {
                    Severity::Error => error!("{}", line.one_line()),
                    Severity::Warning => warn!("{}", line.one_line()),
                }),
            }
            Ok(None)
        }
        Err(errors) => {
            write!(io::stderr(), "{}", errors.render(Style::for_stderr()))?;
            Ok(None)
        }
    }
}

/// What is probably not meant as it is written: drawn for people at a terminal, a line each for
/// whatever reads the log.
fn tell_warnings(loaded: &Loaded) -> io::Result<()> {
    if io::stderr().is_terminal() {
        let warnings = config::render(&loaded.warnings, Style::for_stderr());
        return write!(io::stderr(), "{warnings}");
    }
    loaded.warnings.iter().for_each(|warning| warn!("{}", warning.one_line()));
    Ok(())
}

/// Where the process's number goes.
fn pid_file(args: &RunArgs, loaded: &Loaded) -> Option<PathBuf> {
    match &loaded.reference {
        Some(reference) => args.pid_logic.then(|| reference.text("pid_path").into()),
        None => loaded.service.pid_file.clone(),
    }
}

fn plan_of(args: &RunArgs, loaded: &Loaded, listed: &AddressFile) -> anyhow::Result<Plan> {
    let mut policy = loaded.policy.clone();
    if !args.network.is_empty() {
        policy.networks.clone_from(&args.network);
    }
    if loaded.own_addresses || listed.is_there() {
        let covered = |host: &Prefix| policy.networks.iter().any(|network| network.covers(*host));
        let mut hosts = listed.hosts().to_vec();
        if loaded.own_addresses {
            hosts.append(&mut networks::own_hosts()?);
        }
        hosts.retain(|host| !covered(host));
        policy.networks.append(&mut hosts);
        policy.networks.sort();
        policy.networks.dedup();
    } else if policy.networks.is_empty() {
        policy.networks = networks::own_networks()?;
    }
    Ok(Plan {
        policy,
        frames: loaded.frames,
        flows: loaded.flows.clone(),
        listen: loaded.listen.clone(),
        mirrors: loaded.mirrors.clone(),
        service: loaded.service.clone(),
    })
}

/// Do our networks follow the machine's addresses?
fn follows_addresses(args: &RunArgs, loaded: &Loaded) -> bool {
    let without = args.network.is_empty() && loaded.policy.networks.is_empty();
    loaded.own_addresses || (without && loaded.openvz_addresses.is_none())
}

/// Networks as text for people.
fn list(networks: &[Prefix]) -> String {
    let shown: Vec<_> = networks.iter().take(20).map(Prefix::to_string).collect();
    match networks.len() - shown.len() {
        0 if shown.is_empty() => "none".to_owned(),
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn tell_plan(plan: &Plan, sources: &Sources, respond: &respond::Settings) {
    for warning in &sources.warnings {
        warn!("{warning}");
    }
    for name in sources.names() {
        info!("listening: {name}");
    }
    let policy = &plan.policy;
    if policy.networks.is_empty() {
        warn!(
            "no network is ours: name ours with `networks` in the configuration, or give this \
             machine an address"
        );
    }
    info!(
        groups = policy.groups.len(),
        "networks that are ours: {}; {}",
        list(&policy.networks),
        respond::at_most(respond)
    );
    if !policy.has_limits() {
        warn!("no limit is set, so no attack can be found: see [thresholds]");
    }
}

/// Waits for signals and questions until it is time to end.
fn look_after(
    args: &RunArgs,
    running: &mut Running,
    inbox: &std::sync::mpsc::Receiver<Message>,
) -> anyhow::Result<()> {
    let watchdog = sd_notify::watchdog_enabled().map(|interval| interval / 2);
    let wait = watchdog.unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
    let (mut step_told, mut read) = (0.0, running.live.clock.elapsed());
    loop {
        match inbox.recv_timeout(wait) {
            Ok(Message::Signal(SIGHUP)) => match reload(args, running) {
                Ok(what) => info!("{what}"),
                Err(reason) => error!("not reloaded, nothing was changed: {reason}"),
            },
            Ok(Message::Signal(_)) => return Ok(()),
            Ok(Message::Reload(answer)) => _ = answer.send(reload(args, running)),
            Ok(Message::Addresses) if follows_addresses(args, &running.loaded) => {
                follow_addresses(args, running, "the machine's addresses have changed");
            }
            Ok(Message::Addresses) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("nobody can end this process any more"),
        }
        let now = running.live.clock.elapsed();
        if now.saturating_sub(read) >= READ_EVERY {
            read = now;
            if running.listed.read() {
                follow_addresses(args, running, "other addresses are listed as ours");
            } else if running.behind.is_some() {
                follow_addresses(args, running, "tried again");
            }
        }
        let live = &mut running.live;
        match live.mend() {
            Standing::Works => {}
            Standing::Ended => return Ok(()),
            Standing::Failed(reason) => bail!("{reason}"),
        }
        if watchdog.is_some() && live.is_alive() && running.responder.is_alive() {
            _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
        let step = live.clock.stepped_by();
        if (step - step_told).abs() > STEP {
            step_told = step;
            warn!("{}", words_of_step(step));
        }
    }
}

/// The system's clock was set, and is ahead of ours by so many seconds now.
fn words_of_step(step: f64) -> String {
    let set = "the system's clock was set";
    if step.abs() <= STEP {
        return format!("{set} back to where it was: it agrees with the times here again");
    }
    let sense = if step > 0.0 { "ahead of" } else { "behind" };
    format!(
        "{set}, and is {:.0} s {sense} the times here, which go on as before until the service is \
         started again",
        step.abs()
    )
}

/// Goes by the networks that are ours now, for a reason. What keeps it from that is told once.
fn follow_addresses(args: &RunArgs, running: &mut Running, reason: &str) {
    let failed = try_to_follow(args, running, reason).err();
    if let Some(error) = failed.as_ref().filter(|error| running.behind.as_ref() != Some(error)) {
        warn!("our networks stay as they were, and this is tried again: {error}");
    }
    running.behind = failed;
}

fn try_to_follow(args: &RunArgs, running: &mut Running, reason: &str) -> Result<(), String> {
    let Running { live, responder, loaded, listed, .. } = running;
    let plan = plan_of(args, loaded, listed).map_err(|error| format!("{error:#}"))?;
    if live.networks() == plan.policy.networks {
        return Ok(());
    }
    live.reload(&plan).map_err(|error| live.explain(&error))?;
    info!("{reason}; ours are now {}", list(&plan.policy.networks));
    match responder.reload(&loaded.respond, &plan.policy).as_str() {
        "" => {}
        said => info!("{said}"),
    }
    Ok(())
}

/// Reads the configuration again. What is wrong with it changes nothing.
fn reload(args: &RunArgs, running: &mut Running) -> Result<String, String> {
    let Some(file) = &args.config else {
        return Err("the service runs without a configuration file".to_owned());
    };
    _ = sd_notify::notify(&[
        NotifyState::Reloading,
        NotifyState::monotonic_usec_now().map_err(|e| e.to_string())?,
    ]);
    let new = config::load(file).map_err(|errors| errors.render(Style::Plain));
    let result = new.and_then(|new| {
        new.warnings.iter().for_each(|warning| warn!("{}", warning.one_line()));
        let Running { live, responder, rights, loaded, listed, .. } = running;
        let told = |error: anyhow::Error| format!("{error:#}");
        let file = listed.go_on_with(new.openvz_addresses.as_deref());
        let plan = plan_of(args, &new, &file).map_err(told)?;
        respond::check(&new.respond).map_err(told)?;
        let prepared = responder.prepare(&new.respond, &plan.policy);
        prepared.map_err(|error| live.explain(&error))?;
        let mut said = live.reload(&plan).map_err(|error| {
            responder.abandon();
            live.explain(&error)
        })?;
        (*loaded, *listed) = (new, file);
        let also = responder.reload(&loaded.respond, &plan.policy);
        if !also.is_empty() {
            said = format!("{said}; {also}");
        }
        if rights.get() != loaded.rights {
            rights.set(loaded.rights.clone());
            said.push_str("; who may change something");
        }
        Ok(said)
    });
    _ = sd_notify::notify(&[NotifyState::Ready]);
    result
}

fn serve(
    socket: Option<Socket>,
    live: &Live,
    mitigation: Handle,
    rights: Arc<SharedRights>,
    messages: Sender<Message>,
) -> anyhow::Result<Option<Server>> {
    let Some(socket) = socket else { return Ok(None) };
    let desk = Desk {
        hub: Arc::clone(&live.hub),
        clock: live.clock,
        started: live.clock.now(),
        mitigation,
        rights,
        messages: messages.into(),
    };
    Ok(Some(Server::start(socket, Arc::new(desk))?))
}

/// Answers what the control socket is asked.
struct Desk {
    hub: Arc<Hub>,
    clock: Clock,
    started: Timestamp,
    mitigation: Handle,
    rights: Arc<SharedRights>,
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
    fn answer(&self, question: &Question, who: &str) -> Result<Value, String> {
        let snapshot = self.hub.snapshot();
        Ok(match question {
            Question::Status => {
                answers::status(&snapshot, &self.hub.roster(), self.started, self.clock.now())
            }
            Question::Exporters => answers::exporters(&self.hub.roster(), self.clock.now()),
            Question::Hosts { top } => answers::hosts(&snapshot, *top),
            Question::Networks => answers::networks(&snapshot),
            Question::Attacks { all } => answers::attacks(&self.hub, *all),
            Question::Events => return Err("events are sent, not answered".to_owned()),
            Question::Reload => json!({ "reloaded": self.reload()? }),
            Question::Ban { .. }
            | Question::Unban { .. }
            | Question::Approve { .. }
            | Question::Bans
            | Question::Panic { .. }
            | Question::Resume { .. }
            | Question::History { .. }
            | Question::Actions
            | Question::BgpPeers
            | Question::BgpRoutes { .. } => self.mitigation.ask(question, who)?,
        })
    }

    fn rights(&self) -> Rights {
        self.rights.get()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_told_by_what_it_is_now() {
        let ahead = words_of_step(3600.2);
        assert!(ahead.starts_with("the system's clock was set, and is 3600 s ahead of the times"));
        assert!(words_of_step(-7.0).contains(" is 7 s behind the times here"));
        for step in [-0.3, 0.0, 1.9] {
            assert!(words_of_step(step).starts_with("the system's clock was set back to where"));
        }
    }
}
