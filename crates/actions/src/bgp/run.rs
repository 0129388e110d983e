//! The thread of the speaker: one loop over sockets, commands and deadlines. It never waits for a
//! peer; each gets a bounded turn.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use tidewall_bgp::RouteKey;
use tidewall_bgp::session::{Event, Stop};
use tidewall_model::Timestamp;

use super::StartError;
use super::config::{ListenConfig, PeerConfig, SpeakerConfig};
use super::desired::{Audience, Desired, DesiredRoutes};
use super::peer::Peer;
use super::reload::Next;
use super::status::{PeerStatus, RouteReport, SpeakerStatus};

pub(super) const WAKER: Token = Token(usize::MAX);
/// Readiness that is taken from the system at once.
const EVENTS: usize = 256;
/// Octets that are read from a connection in one turn.
const READ_OCTETS: usize = 64 * 1024;
/// Commands, and connections of each listener, that are taken in one round.
const ROUND: usize = 256;
/// When the system has no descriptor left, accepting waits so long.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long all peers together may take to hear that we stop.
const STOP_WAIT: Duration = Duration::from_secs(3);

/// What the owner asks for.
#[derive(Debug)]
pub(super) enum Command {
    SetDesired(Vec<Desired>),
    Announce(Desired),
    Withdraw(RouteKey, Audience),
    DesiredComplete,
    Status(SyncSender<SpeakerStatus>),
    Routes(String, SyncSender<Option<Vec<RouteReport>>>),
    Reset(String, String),
    /// Opens what is not yet listened on, for these peers.
    Open(Vec<ListenConfig>, Vec<PeerConfig>, SyncSender<Result<Vec<Opened>, StartError>>),
    Adopt(Box<Next>, Vec<Desired>),
    Stop(Stop),
}

/// An address with its socket.
pub(super) type Opened = (ListenConfig, TcpListener);

/// Time that never goes backwards, beginning with the wall clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    wall: Timestamp,
    started: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "an edge: sessions are driven by real time")]
    pub(super) fn start() -> Self {
        Self { wall: crate::clock::now(), started: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.wall + self.started.elapsed()
    }
}

#[derive(Debug)]
pub(super) struct Listener {
    pub(super) config: ListenConfig,
    pub(super) socket: TcpListener,
    token: Token,
    /// There may be connections to accept, from then on.
    ready: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Runner {
    pub(super) poll: Poll,
    clock: Clock,
    pub(super) config: SpeakerConfig,
    /// In the order of the configuration.
    pub(super) peers: Vec<Peer>,
    /// Not configured any more, or so no longer; their last words are on their way.
    pub(super) leaving: Vec<Peer>,
    pub(super) next_slot: usize,
    pub(super) listeners: Vec<Listener>,
    next_listener: usize,
    commands: Receiver<Command>,
    pub(super) desired: DesiredRoutes,
    pub(super) desired_complete: bool,
    strangers: u64,
    last_stranger: Option<SocketAddr>,
    stopping: Option<Timestamp>,
}

impl Runner {
    pub(super) fn new(
        mut poll: Poll,
        clock: Clock,
        config: SpeakerConfig,
        peers: Vec<Peer>,
        sockets: Vec<Opened>,
        commands: Receiver<Command>,
    ) -> std::io::Result<Self> {
        // Nothing has happened yet; a poll that cannot work is noticed here and not in the thread.
        poll.poll(&mut Events::with_capacity(1), Some(Duration::ZERO))?;
        let mut runner = Self {
            poll,
            clock,
            config,
            next_slot: peers.len(),
            peers,
            leaving: Vec::new(),
            listeners: Vec::new(),
            next_listener: 0,
            commands,
            desired: DesiredRoutes::default(),
            desired_complete: false,
            strangers: 0,
            last_stranger: None,
            stopping: None,
        };
        for opened in sockets {
            runner.add_listener(opened)?;
        }
        Ok(runner)
    }

    pub(super) fn add_listener(&mut self, (config, mut socket): Opened) -> std::io::Result<()> {
        let token = Token(usize::MAX - 1 - self.next_listener);
        self.next_listener += 1;
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        // There may have been connections before it was watched.
        let ready = Some(self.clock.now());
        self.listeners.push(Listener { config, socket, token, ready });
        Ok(())
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut buffer = vec![0; READ_OCTETS];
        let now = self.clock.now();
        for peer in &mut self.peers {
            peer.handle(Event::Start, now, self.poll.registry());
        }
        let mut more = true;
        loop {
            let wait = if more { Some(Duration::ZERO) } else { self.wait() };
            // Interrupted by a signal: as if nothing had happened.
            let _ = self.poll.poll(&mut events, wait);
            let now = self.clock.now();
            for event in &events {
                self.ready(event, now);
            }
            more = self.take_commands(now);
            self.accept(now);
            for peer in self.peers.iter_mut().chain(&mut self.leaving) {
                more |= peer.turn(&mut buffer, now, self.poll.registry());
            }
            self.leaving.retain(|peer| !peer.is_silent());
            self.begin_successors(now);
            let silent = self.peers.iter().all(Peer::is_silent) && self.leaving.is_empty();
            if self.stopping.is_some_and(|until| silent || until <= now) {
                return;
            }
        }
    }

    fn wait(&self) -> Option<Duration> {
        let peers = self.peers.iter().chain(&self.leaving).filter_map(Peer::next_deadline);
        let listeners = self.listeners.iter().filter_map(|listener| listener.ready);
        let next = peers.chain(listeners).chain(self.stopping).min()?;
        // Rounded up: a poll that returns a little early would only be repeated.
        Some(next.since(self.clock.now()) + Duration::from_micros(100))
    }

    fn ready(&mut self, event: &mio::event::Event, now: Timestamp) {
        let token = event.token();
        if token == WAKER {
            return;
        }
        if let Some(listener) = self.listeners.iter_mut().find(|one| one.token == token) {
            listener.ready = Some(now);
            return;
        }
        let slot = Peer::slot_of(token);
        let mut peers = self.peers.iter_mut().chain(&mut self.leaving);
        if let Some(peer) = peers.find(|peer| peer.slot == slot) {
            peer.ready(event);
        }
    }

    /// `true`: there may be more.
    fn take_commands(&mut self, now: Timestamp) -> bool {
        for _ in 0..ROUND {
            match self.commands.try_recv() {
                Ok(command) => self.obey(command, now),
                Err(TryRecvError::Empty) => return false,
                // The owner is gone without a word: so are we, and graceful restart keeps routes.
                Err(TryRecvError::Disconnected) => {
                    self.stop(&Stop::Keep, now);
                    return false;
                }
            }
        }
        true
    }

    fn obey(&mut self, command: Command, now: Timestamp) {
        match command {
            Command::SetDesired(routes) => {
                self.desired.set(routes);
                for peer in &mut self.peers {
                    peer.routes.set_desired(self.desired.all_of(&peer.config).cloned());
                }
            }
            Command::Announce(desired) => {
                let key = self.desired.announce(desired);
                self.update(&key);
            }
            Command::Withdraw(key, audience) => {
                self.desired.withdraw(&key, &audience);
                self.update(&key);
            }
            Command::DesiredComplete => {
                self.desired_complete = true;
                for peer in &mut self.peers {
                    peer.routes.desired_is_complete();
                }
            }
            // Whoever does not wait for the answer does not get it.
            Command::Status(answer) => drop(answer.try_send(self.status())),
            Command::Routes(name, answer) => {
                let peer = self.peers.iter().find(|peer| peer.config.name == name);
                drop(answer.try_send(peer.map(Peer::route_reports)));
            }
            Command::Reset(name, text) => {
                let registry = self.poll.registry();
                for peer in self.peers.iter_mut().filter(|peer| peer.config.name == name) {
                    peer.handle(Event::Reset(text.clone()), now, registry);
                }
            }
            Command::Open(listen, peers, answer) => {
                drop(answer.try_send(self.open(listen, &peers)));
            }
            Command::Adopt(next, desired) => self.adopt(*next, desired, now),
            Command::Stop(stop) => self.stop(&stop, now),
        }
    }

    /// Brings what each peer is to have for one key up to date.
    fn update(&mut self, key: &RouteKey) {
        for peer in &mut self.peers {
            match self.desired.of(key, &peer.config) {
                Some(route) => peer.routes.announce(route.clone()),
                None => {
                    peer.routes.withdraw(key);
                }
            }
        }
    }

    fn stop(&mut self, stop: &Stop, now: Timestamp) {
        if self.stopping.is_some() {
            return;
        }
        self.stopping = Some(now + STOP_WAIT);
        for peer in &mut self.peers {
            peer.handle(Event::Stop(stop.clone()), now, self.poll.registry());
        }
    }

    pub(super) const fn is_stopping(&self) -> bool {
        self.stopping.is_some()
    }

    fn status(&self) -> SpeakerStatus {
        let peers: Vec<PeerStatus> = self.peers.iter().map(Peer::status).collect();
        let last_stranger = self.last_stranger;
        SpeakerStatus { peers, strangers: self.strangers, last_stranger }
    }

    fn accept(&mut self, now: Timestamp) {
        for listener in &mut self.listeners {
            for _ in 0..ROUND {
                if listener.ready.is_none_or(|at| at > now) {
                    break;
                }
                let (stream, address) = match listener.socket.accept() {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        listener.ready = match error.kind() {
                            std::io::ErrorKind::WouldBlock => None,
                            std::io::ErrorKind::ConnectionAborted
                            | std::io::ErrorKind::Interrupted => Some(now),
                            _ => Some(now + ACCEPT_PAUSE),
                        };
                        continue;
                    }
                };
                let whose = self.peers.iter_mut().find(|peer| {
                    peer.config.address == address.ip() && peer.config.fits(&listener.config)
                });
                if let Some(peer) = whose {
                    if peer.waits_for.take().is_some() {
                        // It comes back before the one before has ended.
                        peer.handle(Event::Start, now, self.poll.registry());
                    }
                    peer.accept(stream, now, self.poll.registry());
                } else {
                    self.strangers += 1;
                    self.last_stranger = Some(address);
                }
            }
        }
    }
}
