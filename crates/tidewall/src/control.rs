//! The control socket: JSON lines over a Unix socket, for `tidewall status` and its like, and for
//! other programs. A client sends one question, such as `{"ask":"status"}`, and gets one line:
//! `{"ok":true,"data":...}` or `{"ok":false,"error":"..."}`. Behind the answer to
//! `{"ask":"events"}` events follow, a line each, until the client goes away.

pub(crate) mod answer;
mod client;
mod server;

pub use client::{Client, ClientError};
pub(crate) use server::open;
pub use server::{Asked, Server, Socket};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use tidewall_model::{Direction, MitigationKind, Prefix, Timestamp};

/// A question. The words are part of the interface: they are added, not changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// Sources, workers, windows, memory.
    Status,
    /// Exporters with what is known of them.
    Exporters,
    /// Hosts with the largest average rates.
    Hosts {
        /// How many at the most.
        #[serde(default = "default_top")]
        top: usize,
    },
    /// Our networks with their traffic.
    Networks,
    /// Attacks that go on; with `all`, also those that are over.
    Attacks {
        /// Also those that are over.
        #[serde(default)]
        all: bool,
    },
    /// Events from now on.
    Events,
    /// Read the configuration again.
    Reload,
    /// Do something about a target.
    Ban {
        /// A host or prefix.
        #[serde(deserialize_with = "target")]
        target: Prefix,
        /// What is done.
        #[serde(default)]
        kind: BanKind,
        /// Direction of the traffic: incoming or outgoing.
        #[serde(default = "incoming", deserialize_with = "direction")]
        direction: Direction,
        /// For how long; `None`: for the configured time.
        #[serde(default)]
        seconds: Option<u64>,
        /// What is said about it.
        #[serde(default)]
        why: String,
    },
    /// End everything about a target.
    Unban {
        /// Exactly the host or prefix that something is done about.
        #[serde(deserialize_with = "target")]
        target: Prefix,
        /// What is said about it.
        #[serde(default)]
        why: String,
    },
    /// Agree to a mitigation that waits.
    Approve {
        /// Its number.
        id: u64,
    },
    /// Mitigations that are up, wait, or are being withdrawn.
    Bans,
    /// Withdraw everything, and do nothing until somebody resumes.
    Panic {
        /// What is said about it.
        #[serde(default)]
        why: String,
    },
    /// Let the brake go.
    Resume {
        /// What is said about it.
        #[serde(default)]
        why: String,
    },
    /// Attacks and decisions of the past, newest first.
    History {
        /// From this time on, in nanoseconds since 1970 UTC.
        #[serde(default, skip_deserializing)]
        since: Option<Timestamp>,
        /// Only of targets in this prefix.
        #[serde(default, skip_deserializing)]
        target: Option<Prefix>,
        /// So many attacks and so many decisions at the most.
        #[serde(default = "default_limit")]
        limit: usize,
    },
    /// Actions with their queues, and announcers.
    Actions,
    /// BGP peers and how they are.
    BgpPeers,
    /// Routes that should be announced, with what became of them.
    BgpRoutes {
        /// Only at the peer of this name.
        #[serde(default)]
        peer: Option<String>,
        /// Filters (RFC 8955) instead of prefixes.
        #[serde(default)]
        flowspec: bool,
    },
}

/// What a person can have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BanKind {
    /// Scripts and people are told.
    #[default]
    Notify,
    /// All traffic to the target is dropped upstream.
    Blackhole,
    /// The target is announced towards a scrubber.
    Divert,
}

impl From<BanKind> for MitigationKind {
    fn from(kind: BanKind) -> Self {
        match kind {
            BanKind::Notify => Self::Notify,
            BanKind::Blackhole => Self::Blackhole,
            BanKind::Divert => Self::Divert,
        }
    }
}

const fn incoming() -> Direction {
    Direction::Incoming
}

const fn default_limit() -> usize {
    100
}

fn target<'de, D: Deserializer<'de>>(from: D) -> Result<Prefix, D::Error> {
    String::deserialize(from)?.parse().map_err(D::Error::custom)
}

fn direction<'de, D: Deserializer<'de>>(from: D) -> Result<Direction, D::Error> {
    let text = String::deserialize(from)?;
    let known = [Direction::Incoming, Direction::Outgoing];
    let found = known.into_iter().find(|direction| direction.name() == text);
    found.ok_or_else(|| D::Error::custom(format!("`{text}` is neither incoming nor outgoing")))
}

fn default_top() -> usize {
    20
}
