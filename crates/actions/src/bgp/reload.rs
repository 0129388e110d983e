//! Another configuration for a speaker that runs: what it needs is opened first, then all of it is
//! taken into use at once. Sessions that need not end go on, and so do their routes.

use std::io;

use tidewall_bgp::session::{Event, Session, Stop};
use tidewall_model::Timestamp;

use super::change::{self, Fate};
use super::config::{ListenConfig, PeerConfig, SpeakerConfig};
use super::desired::Desired;
use super::peer::Peer;
use super::run::{Opened, Runner};
use super::{StartError, socket};

/// What a peer is told that is not configured any more.
const REMOVED: &str = "no longer configured here";
/// What a peer is told whose session begins again.
const RENEWED: &str = "configured anew";

/// Another configuration, and the sockets that it needs. Dropped, nothing has changed.
#[derive(Debug)]
pub struct Next {
    config: SpeakerConfig,
    opened: Vec<Opened>,
}

impl Next {
    pub(super) const fn new(config: SpeakerConfig, opened: Vec<Opened>) -> Self {
        Self { config, opened }
    }
}

impl Runner {
    /// Opens the addresses that are not listened on yet.
    pub(super) fn open(
        &self,
        listen: Vec<ListenConfig>,
        peers: &[PeerConfig],
    ) -> Result<Vec<Opened>, StartError> {
        let mut opened = Vec::new();
        for config in listen {
            if self.listeners.iter().any(|listener| listener.config == config) {
                continue;
            }
            let address = config.address;
            let failed = |error: io::Error| StartError::Listen { address, error };
            let mut beside = false;
            for listener in &self.listeners {
                let other = listener.config.address;
                if other.port() == address.port() && other.is_ipv4() == address.is_ipv4() {
                    socket::share(&listener.socket, true).map_err(failed)?;
                    beside = true;
                }
            }
            let socket = socket::listen(&config, peers, beside).map_err(failed)?;
            opened.push((config, socket));
        }
        Ok(opened)
    }

    /// Goes on by another configuration.
    pub(super) fn adopt(&mut self, next: Next, desired: Vec<Desired>, now: Timestamp) {
        if self.is_stopping() {
            return;
        }
        let Next { config, opened } = next;
        let before = std::mem::replace(&mut self.config, config.clone());
        self.desired.set(desired);
        let faults = self.listen_anew(&before, opened);
        let mut old = std::mem::take(&mut self.peers);
        let mut take = |wanted: Option<&PeerConfig>| {
            let at = old.iter().position(|peer| wanted == Some(&peer.config))?;
            Some(old.swap_remove(at))
        };
        for step in change::plan(&before, &config) {
            let peer = take(step.before);
            match (peer, step.after, step.fate) {
                (Some(mut peer), Some(after), Fate::Kept(_)) => {
                    peer.adjust(after.clone());
                    peer.routes.set_desired(self.desired.all_of(&peer.config).cloned());
                    self.peers.push(peer);
                }
                (peer, Some(after), fate) => {
                    let renews = matches!(fate, Fate::Renewed(_));
                    let keeps = renews && peer.as_ref().is_some_and(|old| old.is_kept_for(after));
                    let waits_for = peer.map(|peer| self.close(peer, renews, now));
                    self.begin(after, keeps, waits_for, now);
                }
                (Some(peer), None, _) => _ = self.close(peer, false, now),
                (None, None, _) => {}
            }
        }
        // Listening was tried before; what goes wrong all the same is told where people look.
        for error in faults {
            for peer in &mut self.peers {
                peer.fault(now, format!("cannot listen as configured: {error}"));
            }
        }
    }

    /// Begins those whose predecessors have ended.
    pub(super) fn begin_successors(&mut self, now: Timestamp) {
        if self.is_stopping() {
            return;
        }
        for peer in &mut self.peers {
            let Some(slot) = peer.waits_for else { continue };
            if self.leaving.iter().all(|other| other.slot != slot) {
                peer.waits_for = None;
                peer.handle(Event::Start, now, self.poll.registry());
            }
        }
    }

    /// Closes what is no longer listened on, and brings the rest to the new peers.
    fn listen_anew(&mut self, before: &SpeakerConfig, opened: Vec<Opened>) -> Vec<io::Error> {
        let config = &self.config;
        self.listeners.retain(|listener| config.listen.contains(&listener.config));
        let mut faults = Vec::new();
        for listener in &self.listeners {
            let (socket, peers) = (&listener.socket, &self.config.peers);
            let result = socket::listen_for(socket, &listener.config, &before.peers, peers);
            faults.extend(result.err());
            faults.extend(socket::share(socket, false).err());
        }
        for (config, socket) in opened {
            faults.extend(socket::share(&socket, false).err());
            faults.extend(self.add_listener((config, socket)).err());
        }
        faults
    }

    /// Ends a session; the slot that it leaves.
    fn close(&mut self, mut peer: Peer, renews: bool, now: Timestamp) -> usize {
        let stop = if renews {
            Stop::Renew(RENEWED.to_owned())
        } else {
            Stop::Deconfigure(REMOVED.to_owned())
        };
        peer.handle(Event::Stop(stop), now, self.poll.registry());
        let slot = peer.slot;
        self.leaving.push(peer);
        slot
    }

    /// Begins a session, at once or when the one before has ended.
    fn begin(
        &mut self,
        config: &PeerConfig,
        restarting: bool,
        waits_for: Option<usize>,
        now: Timestamp,
    ) {
        let slot = self.next_slot;
        let speaker = SpeakerConfig { restarting, ..self.config.clone() };
        // It was made once when the configuration was checked.
        let Ok(session) = Session::new(config.session(&speaker, slot)) else { return };
        self.next_slot += 1;
        let mut peer = Peer::new(config.clone(), session, slot, now);
        peer.waits_for = waits_for;
        peer.routes.set_desired(self.desired.all_of(config).cloned());
        if self.desired_complete {
            peer.routes.desired_is_complete();
        }
        if waits_for.is_none() {
            peer.handle(Event::Start, now, self.poll.registry());
        }
        self.peers.push(peer);
    }
}
