//! The thread of an announcer: one loop over commands, readiness and deadlines. It never waits for
//! ExaBGP, and takes commands as fast as they come.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use tidewall_bgp::{Route, RouteKey};
use tidewall_model::Timestamp;

use super::ledger::Ledger;
use super::pipe::{PIPE, Pipe};
use super::process::Process;
use crate::{AnnouncedRoute, AnnouncerStatus, RouteOutcome};

pub(super) const WAKER: Token = Token(0);
/// Commands that are taken in one round.
const ROUND: usize = 1_024;
const EVENTS: usize = 16;
/// How long what waits may still be written when we stop.
const STOP_WAIT: Duration = Duration::from_millis(2_500);

/// What the owner asks for.
#[derive(Debug)]
pub(super) enum Command {
    Set(Vec<Route>),
    Announce(Route),
    Withdraw(RouteKey),
    Status(SyncSender<AnnouncerStatus>),
    Routes(SyncSender<Vec<AnnouncedRoute>>),
    Stop,
}

#[derive(Debug)]
pub(super) enum Link {
    Pipe(Pipe),
    Process(Process),
}

#[derive(Debug)]
pub(super) struct Runner {
    pub(super) poll: Poll,
    pub(super) name: Arc<str>,
    pub(super) link: Link,
    pub(super) ledger: Ledger,
    pub(super) commands: Receiver<Command>,
    pub(super) outcomes: Sender<RouteOutcome>,
    pub(super) clock: Clock,
    pub(super) stopping: Option<Timestamp>,
}

/// Time that never goes backwards, beginning with the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    wall: Timestamp,
    started: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "an edge: pauses are of real time")]
    pub(super) fn start() -> Self {
        Self { wall: crate::clock::now(), started: Instant::now() }
    }

    fn now(&self) -> Timestamp {
        self.wall + self.started.elapsed()
    }
}

impl Runner {
    /// Runs until it is told to stop, or the owner is gone.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut more = true;
        loop {
            let wait = if more { Some(Duration::ZERO) } else { self.wait() };
            // Interrupted by a signal: as if nothing had happened.
            let _ = self.poll.poll(&mut events, wait);
            for event in &events {
                if let (PIPE, Link::Pipe(pipe)) = (event.token(), &mut self.link) {
                    pipe.ready(event);
                }
            }
            more = self.take_commands();
            let now = self.clock.now();
            self.ledger.tidy(now);
            let registry = self.poll.registry();
            match &mut self.link {
                Link::Pipe(pipe) => more |= pipe.turn(&mut self.ledger, now, registry),
                Link::Process(process) => process.turn(&mut self.ledger, now, registry),
            }
            for (key, outcome) in self.ledger.outcomes() {
                let announcer = Arc::clone(&self.name);
                // Whoever does not listen any more is not told.
                let _ = self.outcomes.send(RouteOutcome { announcer, key, outcome });
            }
            let idle = self.ledger.is_idle() || !self.is_up();
            if self.stopping.is_some_and(|until| idle || until <= now) {
                return;
            }
        }
    }

    fn is_up(&self) -> bool {
        match &self.link {
            Link::Pipe(pipe) => pipe.is_up(),
            Link::Process(process) => process.is_up(),
        }
    }

    fn wait(&self) -> Option<Duration> {
        let link = match &self.link {
            Link::Pipe(pipe) => pipe.deadline(&self.ledger),
            Link::Process(process) => process.deadline(&self.ledger),
        };
        let next = link.into_iter().chain(self.stopping).min()?;
        // Rounded up: a poll that returns a little early would only be repeated.
        Some(next.since(self.clock.now()) + Duration::from_micros(100))
    }

    /// `true`: there may be more.
    fn take_commands(&mut self) -> bool {
        let now = self.clock.now();
        for _ in 0..ROUND {
            match self.commands.try_recv() {
                Ok(Command::Set(routes)) => self.ledger.set(routes, now),
                Ok(Command::Announce(route)) => self.ledger.announce(route, now),
                Ok(Command::Withdraw(key)) => self.ledger.withdraw(key, now),
                Ok(Command::Status(answer)) => {
                    let daemon = match &self.link {
                        Link::Pipe(pipe) => pipe.describe(),
                        Link::Process(process) => process.describe(),
                    };
                    // Whoever does not wait for the answer does not get it; below too.
                    let _ = answer.send(self.ledger.status(self.is_up(), daemon));
                }
                Ok(Command::Routes(answer)) => drop(answer.send(self.ledger.routes())),
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => {
                    self.stopping.get_or_insert(now + STOP_WAIT);
                    return false;
                }
                Err(TryRecvError::Empty) => return false,
            }
        }
        true
    }
}
