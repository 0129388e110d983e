//! How mitigations and repeat victims are written: JSON objects that carry their version and are independent of the
//! values that the program works with. Fields are added, never changed.

use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidewall_engine::planner::Victim;
use tidewall_model::{
    Address, AttackId, Cause, CausedBy, Direction, FilterAction, FilterRule, FlagMatch, Mitigation,
    MitigationId, MitigationKind, MitigationStatus, Prefix, Target, Timestamp,
};

/// Version of every record that is written.
pub(super) const VERSION: u32 = 1;

/// Why a record cannot be understood.
#[derive(Debug, Error)]
pub enum RecordError {
    /// It is not the JSON that it should be.
    #[error("record: {0}")]
    Json(#[from] serde_json::Error),
    /// It has a later version.
    #[error("record has version {found}, and this program knows up to {VERSION}")]
    Newer {
        /// Its version.
        found: u32,
    },
    /// A field holds what it cannot.
    #[error("record: `{value}` is no {field}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What it holds.
        value: String,
    },
}

/// Writes a record. Its maps have text keys and its numbers are finite: there is nothing to fail.
pub(super) fn to_bytes(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).unwrap_or_default()
}

/// Reads a record.
pub(super) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version: found } = serde_json::from_slice(bytes)?;
    if found > VERSION {
        return Err(RecordError::Newer { found });
    }
    Ok(serde_json::from_slice(bytes)?)
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredMitigation {
    version: u32,
    id: u64,
    kind: StoredKind,
    target: StoredTarget,
    network: Option<String>,
    group: String,
    direction: String,
    causes: Vec<StoredCause>,
    created_ns: u64,
    ends_ns: u64,
    round: u32,
    status: StoredStatus,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredKind {
    Notify,
    FlowSpec(StoredRule),
    Divert,
    Blackhole,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredRule {
    source: Option<String>,
    protocol: Option<u8>,
    source_ports: Vec<(u16, u16)>,
    destination_ports: Vec<(u16, u16)>,
    icmp_type: Option<u8>,
    icmp_code: Option<u8>,
    packet_lengths: Vec<(u16, u16)>,
    /// Set and clear.
    tcp_flags: Option<(u16, u16)>,
    fragment: Option<bool>,
    /// `None`: discard.
    bytes_per_second: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredTarget {
    Host(String),
    Network(String),
    Group(String),
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredCause {
    ends_ns: u64,
    #[serde(flatten)]
    by: StoredBy,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredBy {
    Attack { id: u64, target: StoredTarget, direction: String },
    Operator { who: String, why: String },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredStatus {
    AwaitingApproval,
    Pending,
    Active,
    Failed(String),
    Withdrawing,
    Withdrawn,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredVictim {
    version: u32,
    target: StoredTarget,
    direction: String,
    group: String,
    bans: u32,
    since_ns: u64,
}

/// What tells victims apart in the file.
pub(super) fn victim_key(target: &Target, direction: Direction) -> String {
    format!("{direction} {target}")
}

impl From<&Victim> for StoredVictim {
    fn from(victim: &Victim) -> Self {
        Self {
            version: VERSION,
            target: StoredTarget::from(&victim.target),
            direction: victim.direction.to_string(),
            group: victim.group.clone(),
            bans: victim.bans,
            since_ns: victim.since.0,
        }
    }
}

impl TryFrom<StoredVictim> for Victim {
    type Error = RecordError;

    fn try_from(victim: StoredVictim) -> Result<Self, RecordError> {
        Ok(Self {
            target: victim.target.try_into()?,
            direction: direction(&victim.direction)?,
            group: victim.group,
            bans: victim.bans,
            since: Timestamp(victim.since_ns),
        })
    }
}

impl From<&Mitigation> for StoredMitigation {
    fn from(m: &Mitigation) -> Self {
        Self {
            version: VERSION,
            id: m.id.0,
            kind: StoredKind::from(&m.kind),
            target: StoredTarget::from(&m.target),
            network: m.network.map(|network| network.to_string()),
            group: m.group.clone(),
            direction: m.direction.to_string(),
            causes: m.causes.iter().map(StoredCause::from).collect(),
            created_ns: m.created.0,
            ends_ns: m.ends.0,
            round: m.round,
            status: match &m.status {
                MitigationStatus::AwaitingApproval => StoredStatus::AwaitingApproval,
                MitigationStatus::Pending => StoredStatus::Pending,
                MitigationStatus::Active => StoredStatus::Active,
                MitigationStatus::Failed(why) => StoredStatus::Failed(why.clone()),
                MitigationStatus::Withdrawing => StoredStatus::Withdrawing,
                MitigationStatus::Withdrawn => StoredStatus::Withdrawn,
            },
        }
    }
}

impl TryFrom<StoredMitigation> for Mitigation {
    type Error = RecordError;

    fn try_from(m: StoredMitigation) -> Result<Self, RecordError> {
        Ok(Self {
            id: MitigationId(m.id),
            kind: m.kind.try_into()?,
            target: m.target.try_into()?,
            network: m.network.as_deref().map(prefix).transpose()?,
            group: m.group,
            direction: direction(&m.direction)?,
            causes: m.causes.into_iter().map(Cause::try_from).collect::<Result<_, _>>()?,
            created: Timestamp(m.created_ns),
            ends: Timestamp(m.ends_ns),
            round: m.round,
            dry_run: false,
            status: match m.status {
                StoredStatus::AwaitingApproval => MitigationStatus::AwaitingApproval,
                StoredStatus::Pending => MitigationStatus::Pending,
                StoredStatus::Active => MitigationStatus::Active,
                StoredStatus::Failed(why) => MitigationStatus::Failed(why),
                StoredStatus::Withdrawing => MitigationStatus::Withdrawing,
                StoredStatus::Withdrawn => MitigationStatus::Withdrawn,
            },
        })
    }
}

impl From<&MitigationKind> for StoredKind {
    fn from(kind: &MitigationKind) -> Self {
        match kind {
            MitigationKind::Notify => Self::Notify,
            MitigationKind::Divert => Self::Divert,
            MitigationKind::Blackhole => Self::Blackhole,
            MitigationKind::FlowSpec(rule) => Self::FlowSpec(StoredRule {
                source: rule.source.map(|source| source.to_string()),
                protocol: rule.protocol,
                source_ports: rule.source_ports.clone(),
                destination_ports: rule.destination_ports.clone(),
                icmp_type: rule.icmp_type,
                icmp_code: rule.icmp_code,
                packet_lengths: rule.packet_lengths.clone(),
                tcp_flags: rule.tcp_flags.map(|flags| (flags.set, flags.clear)),
                fragment: rule.fragment,
                bytes_per_second: match rule.action {
                    FilterAction::Discard => None,
                    FilterAction::RateLimit(rate) => Some(rate),
                },
            }),
        }
    }
}

impl TryFrom<StoredKind> for MitigationKind {
    type Error = RecordError;

    fn try_from(kind: StoredKind) -> Result<Self, RecordError> {
        Ok(match kind {
            StoredKind::Notify => Self::Notify,
            StoredKind::Divert => Self::Divert,
            StoredKind::Blackhole => Self::Blackhole,
            StoredKind::FlowSpec(rule) => Self::FlowSpec(FilterRule {
                source: rule.source.as_deref().map(prefix).transpose()?,
                protocol: rule.protocol,
                source_ports: rule.source_ports,
                destination_ports: rule.destination_ports,
                icmp_type: rule.icmp_type,
                icmp_code: rule.icmp_code,
                packet_lengths: rule.packet_lengths,
                tcp_flags: rule.tcp_flags.map(|(set, clear)| FlagMatch { set, clear }),
                fragment: rule.fragment,
                action: rule
                    .bytes_per_second
                    .map_or(FilterAction::Discard, FilterAction::RateLimit),
            }),
        })
    }
}

impl From<&Target> for StoredTarget {
    fn from(target: &Target) -> Self {
        match target {
            Target::Host(address) => Self::Host(address.to_string()),
            Target::Network(prefix) => Self::Network(prefix.to_string()),
            Target::Group(name) => Self::Group(name.clone()),
        }
    }
}

impl TryFrom<StoredTarget> for Target {
    type Error = RecordError;

    fn try_from(target: StoredTarget) -> Result<Self, RecordError> {
        Ok(match target {
            StoredTarget::Host(text) => match text.parse::<IpAddr>() {
                Ok(ip) => Self::Host(Address::from(ip)),
                Err(_) => return Err(RecordError::Field { field: "address", value: text }),
            },
            StoredTarget::Network(text) => Self::Network(prefix(&text)?),
            StoredTarget::Group(name) => Self::Group(name),
        })
    }
}

impl From<&Cause> for StoredCause {
    fn from(cause: &Cause) -> Self {
        let by = match &cause.by {
            CausedBy::Attack { id, target, direction } => StoredBy::Attack {
                id: id.0,
                target: StoredTarget::from(target),
                direction: direction.to_string(),
            },
            CausedBy::Operator { who, why } => {
                StoredBy::Operator { who: who.clone(), why: why.clone() }
            }
        };
        Self { ends_ns: cause.ends.0, by }
    }
}

impl TryFrom<StoredCause> for Cause {
    type Error = RecordError;

    fn try_from(cause: StoredCause) -> Result<Self, RecordError> {
        let by = match cause.by {
            StoredBy::Attack { id, target, direction: way } => CausedBy::Attack {
                id: AttackId(id),
                target: target.try_into()?,
                direction: direction(&way)?,
            },
            StoredBy::Operator { who, why } => CausedBy::Operator { who, why },
        };
        Ok(Self { by, ends: Timestamp(cause.ends_ns) })
    }
}

fn prefix(text: &str) -> Result<Prefix, RecordError> {
    text.parse().map_err(|_| RecordError::Field { field: "prefix", value: text.to_owned() })
}

fn direction(text: &str) -> Result<Direction, RecordError> {
    let found = Direction::ALL.into_iter().find(|direction| direction.name() == text);
    found.ok_or_else(|| RecordError::Field { field: "direction", value: text.to_owned() })
}
