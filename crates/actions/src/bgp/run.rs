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

use super::config::ListenConfig;
use super::desired::{Audience, Desired, DesiredRoutes};
use super::peer::Peer;
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
    Stop(Stop),
}

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
struct Listener {
    config: ListenConfig,
    socket: TcpListener,
    /// There may be connections to accept, from then on.
    ready: Option<Timestamp>,
}

#[derive(Debug)]
pub(super) struct Runner {
    poll: Poll,
    clock: Clock,
    peers: Vec<Peer>,
    listeners: Vec<Listener>,
    commands: Receiver<Command>,
    desired: DesiredRoutes,
    strangers: u64,
    last_stranger: Option<SocketAddr>,
    stopping: Option<Timestamp>,
}

impl Runner {
    pub(super) fn new(
        mut poll: Poll,
        clock: Clock,
        peers: Vec<Peer>,
        sockets: Vec<(ListenConfig, TcpListener)>,
        commands: Receiver<Command>,
    ) -> std::io::Result<Self> {
        let mut listeners = Vec::new();
        for (index, (config, mut socket)) in sockets.into_iter().enumerate() {
            let registry = poll.registry();
            registry.register(&mut socket, listener_token(index), Interest::READABLE)?;
            listeners.push(Listener { config, socket, ready: None });
        }
        // Nothing has happened yet; a poll that cannot work is noticed here and not in the thread.
        poll.poll(&mut Events::with_capacity(1), Some(Duration::ZERO))?;
        Ok(Self {
            poll,
            clock,
            peers,
            listeners,
            commands,
            desired: DesiredRoutes::default(),
            strangers: 0,
            last_stranger: None,
            stopping: None,
        })
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
            for peer in &mut self.peers {
                more |= peer.turn(&mut buffer, now, self.poll.registry());
            }
            let silent = self.peers.iter().all(Peer::is_silent);
            if self.stopping.is_some_and(|until| silent || until <= now) {
                return;
            }
        }
    }

    fn wait(&self) -> Option<Duration> {
        let peers = self.peers.iter().filter_map(Peer::next_deadline);
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
        if let Some(peer) = self.peers.get_mut(Peer::index_of(token)) {
            peer.ready(event);
        } else if let Some(index) = (0..self.listeners.len()).find(|i| listener_token(*i) == token)
            && let Some(listener) = self.listeners.get_mut(index)
        {
            listener.ready = Some(now);
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
                    peer.accept(stream, now, self.poll.registry());
                } else {
                    self.strangers += 1;
                    self.last_stranger = Some(address);
                }
            }
        }
    }
}

const fn listener_token(index: usize) -> Token {
    Token(usize::MAX - 1 - index)
}
