//! The BGP speaker with its sockets: one thread for all peers, driven by readiness and time. The
//! protocol itself is in `tidewall-bgp`.
//!
//! Only what is put in as desired is announced. A peer that does not read costs 80 KiB at most and
//! slows no other: UPDATEs are made when its socket takes them, from the difference between what it
//! is to have and what it was sent.

mod change;
mod config;
mod desired;
mod link;
mod peer;
mod reload;
mod run;
mod socket;
mod status;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use mio::{Poll, Waker};
use thiserror::Error;
use tidewall_bgp::RouteKey;
use tidewall_bgp::session::{Session, Stop};

use crate::ConfigError;

use peer::Peer;
use run::{Clock, Command, Runner, WAKER};

pub use change::{Fate, PeerChange, changes};
pub use config::{BGP_PORT, Distance, ListenConfig, PeerConfig, SpeakerConfig};
pub use desired::{Audience, Desired};
pub use reload::Next;
pub use status::{FamilyStatus, PeerError, PeerStatus, RouteReport, SentCounters, SpeakerStatus};

/// Commands that wait at most; the thread takes them at once, whatever the peers do.
const COMMANDS: usize = 4_096;

/// Why a speaker cannot be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address that we cannot listen on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The system refuses a thread or what it needs.
    #[error("cannot start the BGP speaker: {0}")]
    Thread(#[from] io::Error),
}

/// A running speaker. When it is dropped, sessions are closed without a word and peers with
/// graceful restart keep our routes, as after a crash: to withdraw them, [`Speaker::shutdown`].
#[derive(Debug)]
pub struct Speaker {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Speaker {
    /// Opens the listening sockets and starts the thread, with nothing desired.
    pub fn start(config: SpeakerConfig) -> Result<Self, StartError> {
        config.check()?;
        let clock = Clock::start();
        let mut sessions = Vec::new();
        for (index, peer) in config.peers.iter().enumerate() {
            let session = Session::new(peer.session(&config, index))
                .map_err(|error| ConfigError::new(&peer.name, "session", error))?;
            sessions.push(session);
        }
        let mut sockets = Vec::new();
        for listen in config.listen.clone() {
            let address = listen.address;
            let socket = socket::listen(&listen, &config.peers, false)
                .map_err(|error| StartError::Listen { address, error })?;
            sockets.push((listen, socket));
        }
        let peers = config.peers.clone().into_iter().zip(sessions).enumerate();
        let peers =
            peers.map(|(slot, (peer, session))| Peer::new(peer, session, slot, clock.now()));
        let peers = peers.collect();
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (commands, receiver) = sync_channel(COMMANDS);
        let runner = Runner::new(poll, clock, config, peers, sockets, receiver)?;
        let thread = std::thread::Builder::new().name("bgp".into()).spawn(|| runner.run())?;
        Ok(Self { commands, waker, thread: Some(thread) })
    }

    /// Makes exactly these the desired routes; of two with one key and audience the last counts.
    pub fn set_desired<R: Into<Desired>>(&self, routes: impl IntoIterator<Item = R>) {
        self.tell(Command::SetDesired(routes.into_iter().map(Into::into).collect()));
    }

    /// Adds or replaces a desired route.
    pub fn announce(&self, route: impl Into<Desired>) {
        self.tell(Command::Announce(route.into()));
    }

    /// Removes what was desired for this key and audience.
    pub fn withdraw(&self, key: RouteKey, audience: Audience) {
        self.tell(Command::Withdraw(key, audience));
    }

    /// The desired routes are known as a whole (after a restart: the journal has been read). Until
    /// then no End-of-RIB is sent, and peers with graceful restart keep what they have.
    pub fn desired_complete(&self) {
        self.tell(Command::DesiredComplete);
    }

    /// The peers and how they are.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.status().peers
    }

    /// The peers, and what else there is to know.
    pub fn status(&self) -> SpeakerStatus {
        let (answer, answers) = sync_channel(1);
        self.tell(Command::Status(answer));
        answers.recv().unwrap_or_default()
    }

    /// The desired routes of a peer with their states; `None`: no peer has this name.
    pub fn routes(&self, peer: &str) -> Option<Vec<RouteReport>> {
        let (answer, answers) = sync_channel(1);
        self.tell(Command::Routes(peer.to_owned(), answer));
        answers.recv().ok().flatten()
    }

    /// Ends the session with a peer and begins again; these words are sent to it.
    pub fn reset(&self, peer: &str, words: &str) {
        self.tell(Command::Reset(peer.to_owned(), words.to_owned()));
    }

    /// Opens what another configuration needs. Nothing has changed before it is adopted; what
    /// cannot work is an error here.
    pub fn prepare(&self, config: SpeakerConfig) -> Result<Next, StartError> {
        config.check()?;
        socket::try_keys(&config.peers)?;
        let (answer, answers) = sync_channel(1);
        self.tell(Command::Open(config.listen.clone(), config.peers.clone(), answer));
        let ended = |_| StartError::Thread(io::Error::other("it has ended"));
        Ok(Next::new(config, answers.recv().map_err(ended)??))
    }

    /// Goes on by another configuration, with these routes as the desired ones: sessions begin, end
    /// or begin again as [`changes`] tells; the others go on.
    pub fn adopt(&self, next: Next, desired: Vec<Desired>) {
        self.tell(Command::Adopt(Box::new(next), desired));
    }

    /// Ends all sessions and the thread: with a word, and peers drop our routes; or without, and
    /// those with graceful restart keep them. Takes three seconds at most.
    pub fn shutdown(mut self, stop: Stop) {
        self.end(stop);
    }

    fn end(&mut self, stop: Stop) {
        self.tell(Command::Stop(stop));
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }

    fn tell(&self, command: Command) {
        // Both fail only when the thread is gone.
        if self.commands.send(command).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

impl Drop for Speaker {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end(Stop::Keep);
        }
    }
}
