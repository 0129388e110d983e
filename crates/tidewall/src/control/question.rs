//! What may be asked, as it stands in a line of JSON. Everything is checked while it is read: what
//! has become a [`Question`] has a target without host bits, a time of a second or more, and texts
//! that fit into a log line. The words are part of the interface: they are added, not changed.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;
use tidewall_model::{
    Address, Direction, Family, MitigationKind, Prefix, PrefixError, Target, Timestamp,
};

use crate::replay::parse_time;

/// Longest reason, in characters. With it any question fits into a line.
const LONGEST_WHY: usize = 512;
/// Longest name of a BGP peer, in characters.
const LONGEST_NAME: usize = 128;
/// Most entries of the history in one answer.
const MOST_HISTORY: usize = 10_000;
/// ::ffff:0:0/96, IPv4 addresses as IPv6 sockets know them (RFC 4291 §2.5.5.2).
const MAPPED: u128 = 0xffff << 32;

/// A question.
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
        #[serde(default, deserialize_with = "seconds")]
        seconds: Option<u64>,
        /// What is said about it.
        #[serde(default, deserialize_with = "why")]
        why: String,
    },
    /// End everything about a target.
    Unban {
        /// Exactly the host or prefix that something is done about.
        #[serde(deserialize_with = "target")]
        target: Prefix,
        /// What is said about it.
        #[serde(default, deserialize_with = "why")]
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
        #[serde(default, deserialize_with = "why")]
        why: String,
    },
    /// Let the brake go.
    Resume {
        /// What is said about it.
        #[serde(default, deserialize_with = "why")]
        why: String,
    },
    /// Attacks and decisions of the past, newest first.
    History {
        /// From this time on.
        #[serde(default, deserialize_with = "since")]
        since: Option<Timestamp>,
        /// Only of targets in this prefix.
        #[serde(default, deserialize_with = "some_target")]
        target: Option<Prefix>,
        /// So many attacks and so many decisions at the most.
        #[serde(default = "default_limit", deserialize_with = "limit")]
        limit: usize,
    },
    /// Actions with their queues, and announcers.
    Actions,
    /// BGP peers and how they are.
    BgpPeers,
    /// Routes that should be announced, with what became of them.
    BgpRoutes {
        /// Only at the peer of this name.
        #[serde(default, deserialize_with = "peer")]
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

/// Why a value is not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FieldError {
    /// Neither an address nor a prefix.
    #[error(transparent)]
    Target(PrefixError),
    /// Is a host meant, or its network?
    #[error("`{given}` has host bits set; did you mean {meant}?")]
    HostBits {
        /// What was written.
        given: String,
        /// The prefix with these bits cleared.
        meant: Prefix,
    },
    /// Nothing would ever match it.
    #[error("`{given}` is IPv4 written as IPv6; did you mean {meant}?")]
    Mapped {
        /// What was written.
        given: String,
        /// The same as IPv4.
        meant: Target,
    },
    /// A text is too long.
    #[error("a {field} has {most} characters at the most, not {length}")]
    Length {
        /// Which text.
        field: &'static str,
        /// Its length in characters.
        length: usize,
        /// The most.
        most: usize,
    },
    /// A text would break a log line.
    #[error("a {field} is one line of text without control characters")]
    Control {
        /// Which text.
        field: &'static str,
    },
    /// A ban that lasts no time.
    #[error("`seconds` is at least 1; leave it out for the configured time")]
    NoTime,
    /// Too many entries at once, or none.
    #[error("`limit` is 1 to {MOST_HISTORY}, not {given}")]
    Limit {
        /// What was asked for.
        given: usize,
    },
    /// A ban is for traffic to us or from us.
    #[error("`direction` is incoming or outgoing, not {given}")]
    Direction {
        /// What was written.
        given: String,
    },
    /// No time.
    #[error("{0}")]
    Time(String),
}

/// Reads an address or a prefix.
pub fn parse_target(text: &str) -> Result<Prefix, FieldError> {
    let target = text.parse().map_err(|error| match error {
        PrefixError::HostBits { given, network } => FieldError::HostBits { given, meant: network },
        other => FieldError::Target(other),
    })?;
    unmapped(target).map_or(Ok(target), |meant| {
        let meant = Target::from_prefix(meant);
        Err(FieldError::Mapped { given: text.to_owned(), meant })
    })
}

/// Reads what is said about something.
pub fn parse_why(text: &str) -> Result<String, FieldError> {
    plain(text, "reason", LONGEST_WHY)
}

/// Reads the name of a BGP peer.
pub fn parse_peer(text: &str) -> Result<String, FieldError> {
    plain(text, "peer's name", LONGEST_NAME)
}

fn unmapped(target: Prefix) -> Option<Prefix> {
    let first = target.first();
    let is_mapped = first.family == Family::V6 && target.len() >= 96 && first.bits >> 32 == 0xffff;
    is_mapped
        .then(|| Prefix::containing(Address::v4((first.bits ^ MAPPED) as u32), target.len() - 96))
}

fn plain(text: &str, field: &'static str, most: usize) -> Result<String, FieldError> {
    let length = text.chars().count();
    if length > most {
        return Err(FieldError::Length { field, length, most });
    }
    if text.chars().any(char::is_control) {
        return Err(FieldError::Control { field });
    }
    Ok(text.to_owned())
}

impl Question {
    /// Does it change something? Such questions are logged, with who asked.
    pub const fn changes(&self) -> bool {
        match self {
            Self::Reload
            | Self::Ban { .. }
            | Self::Unban { .. }
            | Self::Approve { .. }
            | Self::Panic { .. }
            | Self::Resume { .. } => true,
            Self::Status
            | Self::Exporters
            | Self::Hosts { .. }
            | Self::Networks
            | Self::Attacks { .. }
            | Self::Events
            | Self::Bans
            | Self::History { .. }
            | Self::Actions
            | Self::BgpPeers
            | Self::BgpRoutes { .. } => false,
        }
    }

    /// Its word.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Exporters => "exporters",
            Self::Hosts { .. } => "hosts",
            Self::Networks => "networks",
            Self::Attacks { .. } => "attacks",
            Self::Events => "events",
            Self::Reload => "reload",
            Self::Ban { .. } => "ban",
            Self::Unban { .. } => "unban",
            Self::Approve { .. } => "approve",
            Self::Bans => "bans",
            Self::Panic { .. } => "panic",
            Self::Resume { .. } => "resume",
            Self::History { .. } => "history",
            Self::Actions => "actions",
            Self::BgpPeers => "bgp_peers",
            Self::BgpRoutes { .. } => "bgp_routes",
        }
    }
}

impl fmt::Display for Question {
    /// As the log tells it: `ban 192.0.2.7 blackhole incoming for 1800 s: under attack`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let why = match self {
            Self::Ban { target, kind, direction, seconds, why } => {
                let (target, kind) = (Target::from_prefix(*target), MitigationKind::from(*kind));
                write!(f, " {target} {kind} {direction}")?;
                if let Some(seconds) = seconds {
                    write!(f, " for {seconds} s")?;
                }
                why
            }
            Self::Unban { target, why } => {
                write!(f, " {}", Target::from_prefix(*target))?;
                why
            }
            Self::Approve { id } => return write!(f, " {id}"),
            Self::Panic { why } | Self::Resume { why } => why,
            _ => return Ok(()),
        };
        if why.is_empty() { Ok(()) } else { write!(f, ": {why}") }
    }
}

fn default_top() -> usize {
    20
}

fn default_limit() -> usize {
    100
}

const fn incoming() -> Direction {
    Direction::Incoming
}

fn target<'de, D: Deserializer<'de>>(d: D) -> Result<Prefix, D::Error> {
    parse_target(&String::deserialize(d)?).map_err(D::Error::custom)
}

fn some_target<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Prefix>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    text.map(|text| parse_target(&text)).transpose().map_err(D::Error::custom)
}

fn direction<'de, D: Deserializer<'de>>(d: D) -> Result<Direction, D::Error> {
    let given = String::deserialize(d)?;
    let known = [Direction::Incoming, Direction::Outgoing];
    let known = known.into_iter().find(|direction| direction.name() == given);
    known.ok_or_else(|| D::Error::custom(FieldError::Direction { given }))
}

fn seconds<'de, D: Deserializer<'de>>(d: D) -> Result<Option<u64>, D::Error> {
    let seconds = Option::<u64>::deserialize(d)?;
    if seconds == Some(0) {
        return Err(D::Error::custom(FieldError::NoTime));
    }
    Ok(seconds)
}

fn why<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    parse_why(&String::deserialize(d)?).map_err(D::Error::custom)
}

fn peer<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    text.map(|text| parse_peer(&text)).transpose().map_err(D::Error::custom)
}

fn since<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(d)?;
    let time = text.map(|text| parse_time(&text).map_err(FieldError::Time)).transpose();
    time.map_err(D::Error::custom)
}

fn limit<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    let given = usize::deserialize(d)?;
    if !(1..=MOST_HISTORY).contains(&given) {
        return Err(D::Error::custom(FieldError::Limit { given }));
    }
    Ok(given)
}
