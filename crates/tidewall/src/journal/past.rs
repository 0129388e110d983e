//! Attacks and decisions as the history keeps them. They are what `tidewall history` shows, so their
//! fields are part of the interface: they are added, never changed.

use serde::{Deserialize, Serialize};
use tidewall_engine::planner::{Change, Decided, Decision, End};
use tidewall_model::{Attack, CausedBy, Mitigation};

use super::record::VERSION;

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
    /// Packets per second when it was raised.
    #[serde(default)]
    pub detected_pps: u64,
    /// Bits per second when it was raised.
    #[serde(default)]
    pub detected_bps: u64,
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
            detected_pps: attack.rates.total.packets,
            detected_bps: attack.rates.total.bytes.saturating_mul(8),
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
                past.what = "refused".into();
                past.kind = Some(refused.kind.to_string());
                past.target = Some(refused.target.to_string());
                past.direction = Some(refused.direction.to_string());
                past.group = Some(refused.group.clone());
                past.why = Some(refused.why.to_string());
            }
            Decided::Held { who } => {
                past.what = "held".into();
                past.who = Some(who.clone());
            }
            Decided::Resumed { who } => {
                past.what = "resumed".into();
                past.who = Some(who.clone());
            }
            Decided::Remembered(victim) => {
                past.what = "remembered".into();
                past.target = Some(victim.target.to_string());
                past.direction = Some(victim.direction.to_string());
                past.group = Some(victim.group.clone());
            }
            Decided::Forgotten { target, direction } => {
                past.what = "forgotten".into();
                past.target = Some(target.to_string());
                past.direction = Some(direction.to_string());
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
        self.what = what.into();
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

pub(crate) fn end_words(end: &End) -> String {
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
