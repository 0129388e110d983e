//! What a session is made from.

use std::net::Ipv4Addr;
use std::time::Duration;

use thiserror::Error;

use crate::family::FamilySet;
use crate::open::{AS_TRANS, MAX_RESTART_TIME};

/// Graceful restart of our side: the peer keeps our routes while we are away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartConfig {
    /// How long the peer is to keep them, in seconds; at most [`MAX_RESTART_TIME`].
    pub time: u16,
    /// This process follows one that was ended without a word: what it had announced is desired
    /// again. Sets the restart bit until the routes are sent.
    pub restarting: bool,
}

impl RestartConfig {
    pub(super) fn duration(self) -> Duration {
        Duration::from_secs(self.time.into())
    }
}

/// What a session is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionConfig {
    /// Our AS number.
    pub local_as: u32,
    /// The peer's AS number; our own for a peer of the same AS.
    pub peer_as: u32,
    /// Our router id.
    pub router_id: Ipv4Addr,
    /// Hold time that we propose, in seconds: 0, or at least 3.
    pub hold_time: u16,
    /// Never connect; wait for the peer.
    pub passive: bool,
    /// Families that we offer.
    pub families: FamilySet,
    /// Graceful restart; `None`: the peer drops our routes when the session ends.
    pub graceful_restart: Option<RestartConfig>,
    /// Offer messages of up to 65,535 octets.
    pub extended_message: bool,
    /// Wait before the second attempt; doubled with each that fails.
    pub retry: Duration,
    /// The longest that this wait becomes.
    pub max_retry: Duration,
    /// End the session when the peer has announced more routes than this; we keep none of them.
    pub received_limit: Option<usize>,
    /// Seed of what makes timers differ between peers.
    pub seed: u64,
}

impl SessionConfig {
    /// All families, graceful restart of two minutes, hold time 90 s, attempts after 10 s to 300 s.
    pub fn new(local_as: u32, peer_as: u32, router_id: Ipv4Addr) -> Self {
        Self {
            local_as,
            peer_as,
            router_id,
            hold_time: 90,
            passive: false,
            families: FamilySet::ALL,
            graceful_restart: Some(RestartConfig { time: 120, restarting: false }),
            extended_message: true,
            retry: Duration::from_secs(10),
            max_retry: Duration::from_mins(5),
            received_limit: Some(1_000),
            seed: u64::from(local_as) << 32 ^ u64::from(peer_as) ^ u64::from(router_id.to_bits()),
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        for number in [self.local_as, self.peer_as] {
            if number == 0 || number == AS_TRANS.into() || number == u32::MAX {
                return Err(ConfigError::AsNumber(number));
            }
        }
        if self.router_id.is_unspecified() {
            return Err(ConfigError::RouterId);
        }
        if matches!(self.hold_time, 1 | 2) {
            return Err(ConfigError::HoldTime(self.hold_time));
        }
        if self.families.is_empty() {
            return Err(ConfigError::Families);
        }
        if self.retry.is_zero() || self.max_retry < self.retry {
            return Err(ConfigError::Retry);
        }
        match self.graceful_restart {
            Some(RestartConfig { time, .. }) if time == 0 || time > MAX_RESTART_TIME => {
                Err(ConfigError::RestartTime(time))
            }
            _ => Ok(()),
        }
    }
}

/// Why a session cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// A reserved AS number.
    #[error("AS number {0} is reserved")]
    AsNumber(u32),
    /// A router id of zero.
    #[error("router id 0.0.0.0")]
    RouterId,
    /// One or two seconds.
    #[error("hold time of {0} s: use 0 or at least 3")]
    HoldTime(u16),
    /// Nothing to announce.
    #[error("no address family")]
    Families,
    /// Zero, or a maximum below it.
    #[error("the wait before the next attempt must be above zero and not above its maximum")]
    Retry,
    /// Beyond twelve bits.
    #[error("restart time of {0} s: use 1 to {MAX_RESTART_TIME}")]
    RestartTime(u16),
}
