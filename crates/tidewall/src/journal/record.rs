//! How mitigations, attacks and decisions are written: JSON objects that carry their version and
//! are independent of the values that the program works with. Fields are added, never changed.

use std::net::IpAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tidewall_engine::planner::{Change, Decided, Decision, End};
use tidewall_model::{
    Address, Attack, AttackId, Cause, CausedBy, Direction, FilterAction, FilterRule, Mitigation,
    MitigationId, MitigationKind, MitigationStatus, Prefix, Target, Timestamp,
};

/// Version of every record that is written.
const VERSION: u32 = 1;

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
    packet_lengths: Vec<(u16, u16)>,
    tcp_flags: Option<u16>,
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
                packet_lengths: rule.packet_lengths.clone(),
                tcp_flags: rule.tcp_flags,
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
                packet_lengths: rule.packet_lengths,
                tcp_flags: rule.tcp_flags,
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

/// An attack of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastAttack {
    version: u32,
    /// Its number in the run that saw it.
    pub id: u64,
    /// Address, prefix, or `group` and a name.
    pub target: String,
    /// `ipv4` or `ipv6`.
    pub family: String,
    /// `incoming` or `outgoing`.
    pub direction: String,
    /// Kind of its traffic.
    pub class: String,
    /// Its components.
    pub vectors: Vec<PastVector>,
    /// Why it was raised.
    pub reason: PastReason,
    /// When the excess began, in nanoseconds since 1970 UTC, as all times here.
    pub started_ns: u64,
    /// When it was raised.
    pub detected_ns: u64,
    /// When it was over; nothing while it goes on, and if the program ended before it.
    pub ended_ns: Option<u64>,
    /// Largest packets per second in one window.
    pub peak_pps: u64,
    /// Largest bits per second in one window.
    pub peak_bps: u64,
    /// Largest flows per second in one window.
    pub peak_flows: u64,
    /// All its packets.
    pub packets: u64,
    /// All its bytes.
    pub bytes: u64,
}

/// A component of an attack of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastVector {
    /// Short name.
    pub name: String,
    /// Part of the sampled packets, 0 to 1.
    pub packets_share: f64,
    /// Part of the sampled bytes, 0 to 1.
    pub bytes_share: f64,
}

/// Why an attack of the past was raised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PastReason {
    /// What went over its limit.
    pub metric: String,
    /// The measured rate.
    pub value: f64,
    /// The limit.
    pub limit: f64,
    /// Group whose limit it was.
    pub group: String,
    /// Over how many milliseconds it was measured.
    pub window_ms: u64,
}

impl From<&Attack> for PastAttack {
    fn from(attack: &Attack) -> Self {
        let vectors = attack.vectors.iter().map(|vector| PastVector {
            name: vector.name.clone(),
            packets_share: finite(vector.packets_share),
            bytes_share: finite(vector.bytes_share),
        });
        let reason = &attack.reason;
        Self {
            version: VERSION,
            id: attack.id.0,
            target: attack.target.to_string(),
            family: attack.family.to_string().to_lowercase(),
            direction: attack.direction.to_string(),
            class: attack.class.to_string(),
            vectors: vectors.collect(),
            reason: PastReason {
                metric: reason.metric.to_string(),
                value: finite(reason.value),
                limit: finite(reason.limit),
                group: reason.group.clone(),
                window_ms: reason.window_ms,
            },
            started_ns: attack.started.0,
            detected_ns: attack.detected.0,
            ended_ns: attack.ended.map(|ended| ended.0),
            peak_pps: attack.peak_pps,
            peak_bps: attack.peak_bps,
            peak_flows: attack.peak_flows,
            packets: attack.packets,
            bytes: attack.bytes,
        }
    }
}

/// JSON has no word for other numbers.
const fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}

/// A decision of the past.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastDecision {
    version: u32,
    /// When, in nanoseconds since 1970 UTC.
    pub time_ns: u64,
    /// `apply`, `ask`, `approve`, `failed`, `withdraw`, `dropped`, `refused`, `held`, `resumed`.
    pub what: String,
    /// Number of the mitigation, if it is about one.
    pub mitigation: Option<u64>,
    /// What was done or wanted.
    pub kind: Option<String>,
    /// To whom.
    pub target: Option<String>,
    /// Direction of the traffic.
    pub direction: Option<String>,
    /// Host group.
    pub group: Option<String>,
    /// When it was to end.
    pub ends_ns: Option<u64>,
    /// Only said, never done.
    pub dry_run: bool,
    /// The person behind it.
    pub who: Option<String>,
    /// Why, in words.
    pub why: Option<String>,
}

impl From<&Decision> for PastDecision {
    fn from(decision: &Decision) -> Self {
        let mut past = Self {
            version: VERSION,
            time_ns: decision.time.0,
            what: String::new(),
            mitigation: None,
            kind: None,
            target: None,
            direction: None,
            group: None,
            ends_ns: None,
            dry_run: false,
            who: None,
            why: None,
        };
        match &decision.what {
            Decided::Mitigation(change, mitigation) => past.fill(change, mitigation),
            Decided::Refused(refused) => {
                past.what = "refused".to_owned();
                past.kind = Some(refused.kind.to_string());
                past.target = Some(refused.target.to_string());
                past.direction = Some(refused.direction.to_string());
                past.group = Some(refused.group.clone());
                past.why = Some(refused.why.to_string());
            }
            Decided::Held { who } => {
                past.what = "held".to_owned();
                past.who = Some(who.clone());
            }
            Decided::Resumed { who } => {
                past.what = "resumed".to_owned();
                past.who = Some(who.clone());
            }
        }
        past
    }
}

impl PastDecision {
    fn fill(&mut self, change: &Change, mitigation: &Mitigation) {
        let operator = mitigation.causes.iter().find_map(|cause| match &cause.by {
            CausedBy::Operator { who, why } => Some((who.clone(), why.clone())),
            CausedBy::Attack { .. } => None,
        });
        let (what, who, why) = match change {
            Change::Apply | Change::Ask => {
                let what = if *change == Change::Ask { "ask" } else { "apply" };
                let attack = (mitigation.causes.first()).map(|cause| match &cause.by {
                    CausedBy::Attack { id, .. } => format!("attack {}", id.0),
                    CausedBy::Operator { .. } => String::new(),
                });
                let (who, why) = operator.unzip();
                (what, who, why.or(attack))
            }
            Change::Approve { who } => ("approve", Some(who.clone()), None),
            Change::Update => ("failed", None, Some(mitigation.status.to_string())),
            Change::Withdraw(end) => ("withdraw", who_ended(end), Some(end_words(end))),
            Change::Gone(end) => ("dropped", who_ended(end), Some(end_words(end))),
        };
        self.what = what.to_owned();
        self.mitigation = Some(mitigation.id.0);
        self.kind = Some(mitigation.kind.to_string());
        self.target = Some(mitigation.target.to_string());
        self.direction = Some(mitigation.direction.to_string());
        self.group = Some(mitigation.group.clone());
        self.ends_ns = Some(mitigation.ends.0);
        self.dry_run = mitigation.dry_run;
        (self.who, self.why) = (who, why);
    }
}

fn who_ended(end: &End) -> Option<String> {
    match end {
        End::Operator { who, .. } | End::Panic { who } => Some(who.clone()),
        _ => None,
    }
}

fn end_words(end: &End) -> String {
    match end {
        End::Expired => "its time is over".to_owned(),
        End::AttackOver => "the attack is over".to_owned(),
        End::Replaced => "no longer needed at this step".to_owned(),
        End::Operator { why, .. } => why.clone(),
        End::Panic { .. } => "everything was stopped".to_owned(),
        End::Policy => "the configuration does not want it any more".to_owned(),
        End::NotAllowed(refusal) => refusal.to_string(),
        End::Superseded => "put up again".to_owned(),
        End::Restart => "it was being withdrawn when the program stopped".to_owned(),
        End::Confirmed => "confirmed".to_owned(),
    }
}
