//! What the speaker is told: who we are, where we listen, and each peer. Everything that cannot work
//! is refused here, in words, before a socket is opened.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tidewall_bgp::session::{RestartConfig, Session, SessionConfig};
use tidewall_bgp::{FamilySet, PeerProfile};
use tidewall_model::Family;

use crate::{ConfigError, Secret};

/// The port of RFC 4271.
pub const BGP_PORT: u16 = 179;
/// Longest MD5 key that the kernel takes, in octets.
const MAX_MD5_OCTETS: usize = 80;
/// Longest name of a network device, in octets.
const MAX_DEVICE_OCTETS: usize = 15;
/// So many peers are a mistake, and would not fit into the tokens of their sockets.
const MAX_PEERS: usize = 1_000;

/// The whole speaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeakerConfig {
    /// Our AS number.
    pub local_as: u32,
    /// Our router id: any address that no other speaker uses.
    pub router_id: Ipv4Addr,
    /// Where peers may connect to us; nowhere: we connect to them.
    pub listen: Vec<ListenConfig>,
    /// The peers.
    pub peers: Vec<PeerConfig>,
    /// This process follows one that ended without withdrawing: peers are told so, and keep what
    /// they have until the desired set is complete.
    pub restarting: bool,
}

/// One address that we listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenConfig {
    /// Address and port.
    pub address: SocketAddr,
    /// Network device or VRF.
    pub device: Option<String>,
}

/// How far away a peer may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distance {
    /// As far as the system's packets go.
    #[default]
    Any,
    /// Our packets go no farther than so many hops; 1: the same network.
    Within(u8),
    /// GTSM (RFC 5082): our packets have the highest TTL, and the peer's must not have passed more
    /// than so many hops; 1: the same network. The peer must do the same.
    Secured(u8),
}

impl Distance {
    /// TTL or hop limit of our packets.
    pub(super) const fn ttl(self) -> Option<u8> {
        match self {
            Self::Any => None,
            Self::Within(hops) => Some(hops),
            Self::Secured(_) => Some(u8::MAX),
        }
    }

    /// Least TTL or hop limit of the peer's packets.
    pub(super) const fn least_ttl(self) -> u8 {
        match self {
            Self::Any | Self::Within(_) => 0,
            Self::Secured(hops) => u8::MAX - hops + 1,
        }
    }
}

/// One peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Name in status, unique.
    pub name: String,
    /// Group that routes can be meant for.
    pub group: Option<String>,
    /// Its address.
    pub address: IpAddr,
    /// Its port, where we connect to it.
    pub port: u16,
    /// Its AS number; ours for a peer of the same AS.
    pub peer_as: u32,
    /// Our AS number towards it, where it differs.
    pub local_as: Option<u32>,
    /// Never connect; wait for it.
    pub passive: bool,
    /// Our address towards it.
    pub source: Option<IpAddr>,
    /// Network device or VRF through which it is reached.
    pub device: Option<String>,
    /// How far away it may be.
    pub distance: Distance,
    /// Key of TCP MD5 (RFC 2385).
    pub md5: Option<Secret>,
    /// Families that we offer.
    pub families: FamilySet,
    /// Hold time that we propose, in seconds: 0, or at least 3.
    pub hold_time: u16,
    /// How long it is to keep our routes while we are away, in seconds; `None`: it drops them.
    pub restart_time: Option<u16>,
    /// Offer messages of up to 65,535 octets.
    pub extended_message: bool,
    /// Wait before the second attempt; doubled with each that fails.
    pub retry: Duration,
    /// The longest that this wait becomes.
    pub max_retry: Duration,
    /// End the session when it announces more routes than this; we keep none of them.
    pub received_limit: Option<usize>,
    /// What its router takes.
    pub profile: PeerProfile,
}

impl PeerConfig {
    /// A peer with the defaults of [`SessionConfig::new`] and [`PeerProfile`].
    pub fn new(name: impl Into<String>, address: IpAddr, peer_as: u32) -> Self {
        let session = SessionConfig::new(peer_as, peer_as, Ipv4Addr::UNSPECIFIED);
        Self {
            name: name.into(),
            group: None,
            address,
            port: BGP_PORT,
            peer_as,
            local_as: None,
            passive: false,
            source: None,
            device: None,
            distance: Distance::Any,
            md5: None,
            families: session.families,
            hold_time: session.hold_time,
            restart_time: session.graceful_restart.map(|restart| restart.time),
            extended_message: session.extended_message,
            retry: session.retry,
            max_retry: session.max_retry,
            received_limit: session.received_limit,
            profile: PeerProfile::default(),
        }
    }

    /// Is it reached through this listener?
    pub(super) fn fits(&self, listen: &ListenConfig) -> bool {
        self.address.is_ipv4() == listen.address.is_ipv4()
            && (listen.device.is_none() || listen.device == self.device)
    }

    /// What its session is made from; `index` keeps the timers of peers out of step.
    pub(super) fn session(&self, speaker: &SpeakerConfig, index: usize) -> SessionConfig {
        let local_as = self.local_as.unwrap_or(speaker.local_as);
        let defaults = SessionConfig::new(local_as, self.peer_as, speaker.router_id);
        let restarting = speaker.restarting;
        SessionConfig {
            hold_time: self.hold_time,
            passive: self.passive,
            families: self.families,
            graceful_restart: self.restart_time.map(|time| RestartConfig { time, restarting }),
            extended_message: self.extended_message,
            retry: self.retry,
            max_retry: self.max_retry,
            received_limit: self.received_limit,
            seed: defaults.seed.wrapping_add(index as u64),
            ..defaults
        }
    }

    fn check(&self, speaker: &SpeakerConfig) -> Result<(), ConfigError> {
        let refuse = |field, message: String| Err(error(&self.name, field, message));
        let address = self.address;
        if self.name.is_empty() {
            return refuse("name", "a peer needs a name".into());
        }
        if address.is_unspecified() || address.is_multicast() || is_mapped(address) {
            return refuse("address", format!("{address} is not the address of a host"));
        }
        if is_link_local(address) && self.device.is_none() {
            return refuse(
                "device",
                format!("{address} is valid on one link only: name its device"),
            );
        }
        if self.port == 0 {
            return refuse("port", "0 is no port".into());
        }
        if let Some(source) = self.source
            && source.is_ipv4() != address.is_ipv4()
        {
            let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
            return refuse("source", format!("{source} for a peer of {family}"));
        }
        if let Some(message) = device_fault(self.device.as_deref()) {
            return refuse("device", message);
        }
        if let Some(key) = &self.md5
            && !(1..=MAX_MD5_OCTETS).contains(&key.expose().len())
        {
            let octets = key.expose().len();
            let message = format!("the key has {octets} octets: use 1 to {MAX_MD5_OCTETS}");
            return refuse("md5", message);
        }
        if let Distance::Within(0) | Distance::Secured(0 | u8::MAX) = self.distance {
            return refuse("distance", "use 1 to 254 hops".into());
        }
        if self.passive && !speaker.listen.iter().any(|listen| self.fits(listen)) {
            let message = "the peer is waited for, and nothing listens where it could connect to";
            return refuse("passive", message.into());
        }
        match Session::new(self.session(speaker, 0)) {
            Ok(_) => Ok(()),
            Err(fault) => refuse("session", fault.to_string()),
        }
    }
}

impl SpeakerConfig {
    /// A speaker that connects to its peers and does not listen.
    pub fn new(local_as: u32, router_id: Ipv4Addr, peers: Vec<PeerConfig>) -> Self {
        Self { local_as, router_id, listen: Vec::new(), peers, restarting: false }
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.peers.len() > MAX_PEERS {
            let message = format!("{} peers, where at most {MAX_PEERS} work", self.peers.len());
            return Err(ConfigError::new("bgp", "peers", message));
        }
        for listen in &self.listen {
            if let Some(message) = device_fault(listen.device.as_deref()) {
                return Err(ConfigError::new("bgp", "listen", message));
            }
        }
        for (index, peer) in self.peers.iter().enumerate() {
            peer.check(self)?;
            let before = self.peers.get(..index).unwrap_or_default();
            if before.iter().any(|other| other.name == peer.name) {
                return Err(error(&peer.name, "name", "another peer has this name".into()));
            }
            // A connection tells by its address alone whose it is.
            let same = |other: &&PeerConfig| {
                other.address == peer.address
                    && self.listen.iter().any(|listen| other.fits(listen) && peer.fits(listen))
            };
            if let Some(other) = before.iter().find(same) {
                let message = format!(
                    "{} is also the address of peer {}, and both may connect to us",
                    peer.address, other.name
                );
                return Err(error(&peer.name, "address", message));
            }
        }
        Ok(())
    }
}

fn error(peer: &str, field: &'static str, message: String) -> ConfigError {
    ConfigError::new(&format!("bgp peer {peer:?}"), field, message)
}

fn device_fault(device: Option<&str>) -> Option<String> {
    let device = device?;
    let bad = |c: char| c == '/' || c.is_whitespace() || c.is_control();
    if device.is_empty() || device.len() > MAX_DEVICE_OCTETS || device.contains(bad) {
        return Some(format!("{device:?} cannot be the name of a network device"));
    }
    None
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

pub(super) fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaker(change: impl FnOnce(&mut PeerConfig)) -> SpeakerConfig {
        let mut peer = PeerConfig::new("edge1", IpAddr::from([192, 0, 2, 1]), 65_001);
        change(&mut peer);
        SpeakerConfig::new(65_010, Ipv4Addr::new(192, 0, 2, 10), vec![peer])
    }

    #[test]
    fn a_plain_peer_works_and_its_key_is_never_shown() {
        let config = speaker(|peer| peer.md5 = Some(Secret::new("hunter2")));
        config.check().unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    type Change = Box<dyn FnOnce(&mut PeerConfig)>;

    #[test]
    fn what_cannot_work_is_refused_in_words() {
        let far = IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        let link_local: IpAddr = "fe80::1".parse().unwrap();
        let cases: Vec<(Change, &str)> = vec![
            (Box::new(|p| p.name.clear()), "needs a name"),
            (Box::new(|p| p.address = IpAddr::from([0; 4])), "not the address of a host"),
            (Box::new(|p| p.address = "::ffff:192.0.2.1".parse().unwrap()), "not the address"),
            (Box::new(move |p| p.address = link_local), "name its device"),
            (Box::new(|p| p.port = 0), "0 is no port"),
            (Box::new(move |p| p.source = Some(far)), "2001:db8::1 for a peer of IPv4"),
            (Box::new(|p| p.device = Some("a/b".into())), "cannot be the name"),
            (Box::new(|p| p.md5 = Some(Secret::new("x".repeat(81)))), "81 octets: use 1 to 80"),
            (Box::new(|p| p.distance = Distance::Secured(0)), "1 to 254 hops"),
            (Box::new(|p| p.passive = true), "nothing listens"),
            (Box::new(|p| p.hold_time = 2), "hold time of 2 s"),
            (Box::new(|p| p.peer_as = 0), "AS number 0 is reserved"),
            (Box::new(|p| p.restart_time = Some(5_000)), "restart time of 5000 s"),
        ];
        for (change, words) in cases {
            let message = speaker(change).check().unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn two_peers_that_cannot_be_told_apart_are_refused() {
        let mut config = speaker(|_| {});
        let mut other = config.peers[0].clone();
        other.name = "edge2".into();
        other.port = 1179;
        config.peers.push(other);
        config.check().unwrap();
        let address = "0.0.0.0:179".parse().unwrap();
        config.listen.push(ListenConfig { address, device: None });
        let message = config.check().unwrap_err().to_string();
        assert!(message.contains("also the address of peer edge1"), "{message}");
        config.peers[1].name = "edge1".into();
        config.listen.clear();
        assert!(config.check().unwrap_err().to_string().contains("another peer has this name"));
    }

    #[test]
    fn hops_become_the_least_ttl_that_is_accepted() {
        assert_eq!(
            (Distance::Secured(1).ttl(), Distance::Secured(1).least_ttl()),
            (Some(255), 255)
        );
        assert_eq!(Distance::Secured(3).least_ttl(), 253);
        assert_eq!((Distance::Within(2).ttl(), Distance::Within(2).least_ttl()), (Some(2), 0));
        assert_eq!((Distance::Any.ttl(), Distance::Any.least_ttl()), (None, 0));
    }
}
