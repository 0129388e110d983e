//! What is done about attacks: from the detector's events through planner and journal to actions
//! and announcers. One thread decides; nothing that it tells can hold it up, and it holds up nobody:
//! who is faster than it loses events, which are counted and made up for.

mod answer;
mod captures;
mod change;
mod desired;
mod endings;
mod notices;
mod outlet;
mod outlets;
mod post;
mod recall;
pub mod settings;
mod speaker;
mod words;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use tidewall_actions::RouteOutcome;
use tidewall_engine::Policy;
use tidewall_engine::planner::{Planner, Saved};
use tidewall_model::AttackEvent;
use tracing::{error, info, warn};

use crate::control::Question;
use crate::journal::Journal;
use crate::live::clock::Clock;
use crate::live::frames::FrameTap;
use crate::live::hub::Hub;
use outlet::Outlet;
use outlets::Outlets;
use post::{Parts, Post};

pub use settings::{AnnouncerSettings, Settings, Speaking};
pub use words::at_most;

/// File of the journal in the state folder.
const JOURNAL: &str = "journal.redb";
/// Messages that may wait for the thread. Who has more waits itself, and none of them is the
/// detector.
const INBOX: usize = 1024;
/// Messages that are answered with one write to the journal.
const BATCH: usize = 256;
/// Time passes for the planner so often.
const TICK: Duration = Duration::from_secs(1);
/// Announcers that have to be asked are asked so often while an answer is waited for.
const POLL: Duration = Duration::from_millis(100);
/// A question has this time; more than a slow disk needs.
const ANSWER: Duration = Duration::from_secs(30);
/// At the end: time for withdrawals to be confirmed and actions to do what they were told ...
const CONFIRM: Duration = Duration::from_secs(1);
/// ... of which this counts: what actions give up at the end of theirs was not told ...
const CONFIRMED: Duration = Duration::from_millis(900);
/// ... and until which everything has ended, or is left.
const END: Duration = Duration::from_millis(1400);

/// What the thread is told.
enum Message {
    Attack(Arc<AttackEvent>),
    Route(usize, RouteOutcome),
    Ask {
        question: Question,
        who: String,
        reply: SyncSender<Result<Value, String>>,
    },
    /// `None`: what was prepared is not needed.
    Prepare(Option<Box<(Settings, Policy)>>, SyncSender<Result<(), String>>),
    Reload {
        settings: Box<Settings>,
        policy: Box<Policy>,
        reply: SyncSender<String>,
    },
    Stop,
}

/// What needs rights that a service gives up: the journal and the sockets of announcers.
pub struct Prepared {
    settings: Settings,
    journal: Option<Journal>,
    saved: Saved,
    outlets: Outlets,
    outcomes: Receiver<(usize, RouteOutcome)>,
}

/// The running thread.
pub struct Responder {
    handle: Handle,
    thread: JoinHandle<()>,
}

/// A way to ask it.
#[derive(Clone, Debug)]
pub struct Handle(SyncSender<Message>);

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Attack(_) => "Attack",
            Self::Route(..) => "Route",
            Self::Ask { .. } => "Ask",
            Self::Prepare(..) => "Prepare",
            Self::Reload { .. } => "Reload",
            Self::Stop => "Stop",
        })
    }
}

/// Can these settings work? For a reload that changes everything or nothing.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    settings.planner.check()?;
    notices::check(&settings.actions)?;
    for announcer in &settings.announcers {
        match announcer {
            AnnouncerSettings::Bgp(speaking) => speaking.speaker.check()?,
            AnnouncerSettings::ExaBgp { config, .. } => config.check()?,
            AnnouncerSettings::GoBgp { config, .. } => config.check()?,
        }
    }
    Ok(())
}

impl Prepared {
    /// Opens the journal, and starts the announcers with nothing desired.
    pub fn open(settings: &Settings, state: Option<&Path>) -> anyhow::Result<Self> {
        let (tell, outcomes) = channel();
        let (journal, saved) = open_journal(settings, state);
        let restarting = saved.mitigations.iter().any(|mitigation| mitigation.kind.is_route());
        // Whoever opens an announcer later has the way for its outcomes, too.
        let open = move |id, settings: &AnnouncerSettings, restarting| {
            Outlet::start(id, settings, restarting, &tell)
        };
        let mut outlets = Outlets::new(Box::new(open));
        for announcer in &settings.announcers {
            outlets.start(announcer, restarting)?;
        }
        let settings = settings.clone();
        Ok(Self { settings, journal, saved, outlets, outcomes })
    }

    /// Takes over what an earlier run left, and begins to listen.
    pub fn start(
        self,
        policy: &Policy,
        hub: &Arc<Hub>,
        frames: Arc<FrameTap>,
        clock: Clock,
    ) -> anyhow::Result<Responder> {
        let Self { settings, journal, saved, outlets, outcomes } = self;
        let planner = Planner::new(settings.planner.clone(), policy)?;
        let actions = notices::check(&settings.actions)?;
        let notices = notices::Notices::start(actions, &policy.networks)?;
        let subscription = hub.subscribe();
        let (inbox, messages) = sync_channel(INBOX);
        let (hub, lost) = (Arc::clone(hub), subscription.lost);
        let parts = Parts { settings, planner, journal, notices, outlets, hub, frames, lost };
        forward("attacks", subscription.events, inbox.clone(), Message::Attack)?;
        let route = |(id, outcome)| Message::Route(id, outcome);
        forward("routes", outcomes, inbox.clone(), route)?;
        let builder = thread::Builder::new().name("responder".to_owned());
        let thread = builder.spawn(move || {
            let mut post = Post::new(parts, clock.now());
            post.begin(saved, clock.now());
            run(post, &messages, clock);
        })?;
        Ok(Responder { handle: Handle(inbox), thread })
    }
}

impl Responder {
    /// Opens everything and starts the thread; frames of attacks are not captured.
    pub fn start(
        settings: &Settings,
        policy: &Policy,
        hub: &Arc<Hub>,
        state: Option<&Path>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        Prepared::open(settings, state)?.start(policy, hub, Arc::default(), clock)
    }

    /// Opens what other settings need, for a reload that follows at once or is given up. An error
    /// has changed nothing.
    pub fn prepare(&self, settings: &Settings, policy: &Policy) -> anyhow::Result<()> {
        self.tell_prepare(Some(Box::new((settings.clone(), policy.clone()))))
    }

    /// The reload that was prepared does not follow.
    pub fn abandon(&self) {
        // Without the thread there is nothing open either.
        _ = self.tell_prepare(None);
    }

    fn tell_prepare(&self, what: Option<Box<(Settings, Policy)>>) -> anyhow::Result<()> {
        let (reply, told) = sync_channel(1);
        let ended = "mitigation has ended";
        self.handle.0.send(Message::Prepare(what, reply)).ok().context(ended)?;
        let answer = told.recv_timeout(ANSWER).ok().context(ended)?;
        answer.map_err(anyhow::Error::msg)
    }

    /// Goes on by other settings, another policy, or both. Says what was done; nothing where there
    /// is nothing new.
    pub fn reload(&self, settings: &Settings, policy: &Policy) -> String {
        let (reply, told) = sync_channel(1);
        let (settings, policy) = (Box::new(settings.clone()), Box::new(policy.clone()));
        let message = Message::Reload { settings, policy, reply };
        let ended = || "mitigation has ended".to_owned();
        if self.handle.0.send(message).is_err() {
            return ended();
        }
        told.recv_timeout(ANSWER).unwrap_or_else(|_| ended())
    }

    /// Does its thread run?
    pub fn is_alive(&self) -> bool {
        !self.thread.is_finished()
    }

    /// A way to ask it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Ends within a second and a half: with withdrawal of everything, or leaving it to the next
    /// start, as it is configured.
    pub fn stop(self) {
        // Without the thread there is nothing to end; a panic was printed when it happened.
        _ = self.handle.0.send(Message::Stop);
        _ = self.thread.join();
    }
}

impl Handle {
    /// The answer to a question of somebody.
    pub fn ask(&self, question: &Question, who: &str) -> Result<Value, String> {
        let (reply, answer) = sync_channel(1);
        let message = Message::Ask { question: question.clone(), who: who.to_owned(), reply };
        let ended = |_| "mitigation has ended, or does not answer".to_owned();
        self.0.send(message).map_err(|error| ended(error.to_string()))?;
        answer.recv_timeout(ANSWER).map_err(|error| ended(error.to_string()))?
    }
}

/// The journal and what it knows of an earlier run. Without one everything works in memory.
fn open_journal(settings: &Settings, state: Option<&Path>) -> (Option<Journal>, Saved) {
    let Some(folder) = state else {
        if words::announces(settings) {
            warn!(
                "bans do not survive a restart: set `state` under [service] to a folder for the \
                 journal"
            );
        }
        return (None, Saved::default());
    };
    let opened = std::fs::create_dir_all(folder)
        .context("the state folder cannot be made")
        .and_then(|()| Ok(Journal::open(&folder.join(JOURNAL))?));
    let mut journal = match opened {
        Ok((journal, opened)) => {
            if let Some(warning) = opened.warning() {
                warn!("{warning}");
            }
            journal
        }
        Err(why) => {
            error!("{why:#}; bans are kept in memory only, and do not survive a restart");
            return (None, Saved::default());
        }
    };
    match journal.restore() {
        Ok(saved) => {
            tell_saved(&saved, journal.stats().unreadable);
            (Some(journal), saved)
        }
        Err(why) => {
            error!("{why}; what was announced before is not known");
            (Some(journal), Saved::default())
        }
    }
}

fn tell_saved(saved: &Saved, unreadable: u64) {
    if !saved.mitigations.is_empty() {
        info!("{} mitigations of before the restart are known", saved.mitigations.len());
    }
    if unreadable > 0 {
        warn!("{unreadable} entries of the journal cannot be understood and are ignored");
    }
    if let Some(who) = &saved.held {
        warn!("{who} had stopped all mitigation: nothing is done until somebody resumes");
    }
}

/// Passes everything on, until one side is gone.
fn forward<T: Send + 'static>(
    name: &str,
    from: Receiver<T>,
    to: SyncSender<Message>,
    message: fn(T) -> Message,
) -> anyhow::Result<()> {
    let pass = move || {
        for one in from {
            if to.send(message(one)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name(name.to_owned()).spawn(pass)?;
    Ok(())
}

/// The thread.
fn run(mut post: Post, messages: &Receiver<Message>, clock: Clock) {
    let (mut next_tick, mut next_poll) = (clock.elapsed(), clock.elapsed());
    loop {
        // Asking costs as much as there are routes: not after each of a thousand messages.
        let next = if post.is_pending() { next_tick.min(next_poll) } else { next_tick };
        let mut wait = next.saturating_sub(clock.elapsed());
        if !post.endings.is_empty() {
            wait = wait.min(POLL);
        }
        match messages.recv_timeout(wait) {
            Ok(first) => {
                let mut next = Some(first);
                for _ in 0..BATCH {
                    let Some(message) = next else { break };
                    if !take(&mut post, message, clock) {
                        return stop(post, messages, clock);
                    }
                    next = messages.try_recv().ok();
                }
                if next.is_some_and(|message| !take(&mut post, message, clock)) {
                    return stop(post, messages, clock);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            // Nobody is left who could end it in words: as after a crash.
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let now = clock.now();
        if clock.elapsed() >= next_tick {
            next_tick = clock.elapsed() + TICK;
            post.tick(now);
        } else if clock.elapsed() >= next_poll && post.is_pending() {
            next_poll = clock.elapsed() + POLL;
            post.poll(now);
        }
        post.settle(now);
    }
}

/// Takes one message; `false`: it is time to end.
fn take(post: &mut Post, message: Message, clock: Clock) -> bool {
    let now = clock.now();
    match message {
        Message::Attack(event) => post.event(&event, now),
        Message::Route(id, outcome) => post.outcome(id, outcome),
        Message::Ask { question, who, reply } => {
            post.ask(&question, &who, &reply, now);
        }
        Message::Prepare(Some(what), reply) => {
            let (settings, policy) = *what;
            let result = post.prepare(&settings, &policy);
            _ = reply.try_send(result.map_err(|why| format!("{why:#}")));
        }
        Message::Prepare(None, reply) => {
            post.abandon();
            _ = reply.try_send(Ok(()));
        }
        Message::Reload { settings, policy, reply } => {
            post.settle(now);
            let said = post.reload(*settings, &policy, now).unwrap_or_else(|why| {
                format!("what is done about attacks was not changed: {why:#}")
            });
            _ = reply.try_send(said);
        }
        Message::Stop => return false,
    }
    true
}

/// Ends: actions and announcers at the same time.
fn stop(mut post: Post, messages: &Receiver<Message>, clock: Clock) {
    let began = clock.elapsed();
    let passed = || clock.elapsed().saturating_sub(began);
    let withdraw = post.settings.withdraw_on_stop;
    post.abandon();
    post.settle(clock.now());
    if withdraw {
        post.withdraw_all(clock.now());
    }
    let mut ending = post.notices.stop(CONFIRM);
    while passed() < CONFIRMED
        && (withdraw && post.desired.is_leaving() || !post.endings.is_empty())
    {
        if let Ok(Message::Route(id, outcome)) = messages.recv_timeout(Duration::from_millis(20)) {
            post.outcome(id, outcome);
        }
        post.poll(clock.now());
        post.settle(clock.now());
    }
    if withdraw && post.desired.is_leaving() {
        warn!("not every withdrawal was confirmed in time: the next start withdraws the rest");
    }
    post.close_journal();
    ending.extend(post.end_outlets(withdraw));
    while ending.iter().any(|thread| !thread.is_finished()) && passed() < END {
        // What comes now is not heard any more.
        _ = messages.recv_timeout(Duration::from_millis(10));
    }
}
