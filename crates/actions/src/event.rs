//! What the actions are told: an event of an attack's life, or of a ban, with everything that any
//! of them writes down. Plain data, made from a `model::AttackEvent` and what was decided about it.

use std::fmt;

use serde::Serialize;
use tidewall_model::{
    Address, Attack, AttackEvent, AttackEventKind, DirectedCounters, Direction, Prefix, Target,
    Timestamp,
};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// An attack was raised.
    Started,
    /// It goes on: peaks and totals are new.
    Updated,
    /// It is over.
    Ended,
    /// The target is banned from now on.
    Banned,
    /// The ban is taken back.
    Unbanned,
}

impl ActionKind {
    /// All of them, in the order of an attack's life.
    pub const ALL: [Self; 5] =
        [Self::Started, Self::Banned, Self::Updated, Self::Ended, Self::Unbanned];

    /// Name as in JSON and in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Updated => "updated",
            Self::Ended => "ended",
            Self::Banned => "banned",
            Self::Unbanned => "unbanned",
        }
    }

    /// Name as scripts and stores of the reference know it: `ban` and `unban`, ours otherwise.
    pub const fn verb(self) -> &'static str {
        match self {
            Self::Banned => "ban",
            Self::Unbanned => "unban",
            other => other.name(),
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<AttackEventKind> for ActionKind {
    fn from(kind: AttackEventKind) -> Self {
        match kind {
            AttackEventKind::Started => Self::Started,
            AttackEventKind::Updated => Self::Updated,
            AttackEventKind::Ended => Self::Ended,
        }
    }
}

/// A frame of the attack as it was captured, for the pcap file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedFrame {
    /// When it was captured.
    pub time: Timestamp,
    /// Its length on the wire in bytes; `bytes` may be shorter.
    pub original_length: u32,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
}

/// One event, as every action gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionEvent {
    /// What happened.
    pub kind: ActionKind,
    /// When.
    pub time: Timestamp,
    /// To which attack, as it is at that time.
    pub attack: Attack,
    /// Configured network of the target.
    pub network: Option<Prefix>,
    /// How long the ban will last in seconds; 0: until somebody takes it back.
    pub ban_seconds: u64,
    /// A person asked for it.
    pub manual: bool,
    /// Why, in the words of that person, or of the policy.
    pub note: String,
    /// Frames of the attack, oldest first; empty when the source has none. An update with frames is
    /// the capture of an earlier ban, and brings nothing else. Queues hold events until
    /// they are carried out: whoever captures keeps this to what a pcap file is worth (the
    /// reference kept 500 frames).
    pub frames: Vec<CapturedFrame>,
}

impl From<AttackEvent> for ActionEvent {
    fn from(event: AttackEvent) -> Self {
        Self {
            kind: event.kind.into(),
            time: event.time,
            attack: event.attack,
            network: None,
            ban_seconds: 0,
            manual: false,
            note: String::new(),
            frames: Vec::new(),
        }
    }
}

impl ActionEvent {
    /// Host of the target, where it is one.
    pub fn host(&self) -> Option<Address> {
        match self.attack.target {
            Target::Host(address) => Some(address),
            Target::Network(_) | Target::Group(_) => None,
        }
    }

    /// Rates at detection, by direction.
    pub fn rates(&self) -> DirectedCounters {
        let (attack, other) = (self.attack.rates, self.attack.opposite);
        match self.attack.direction {
            Direction::Outgoing => DirectedCounters { incoming: other, outgoing: attack },
            _ => DirectedCounters { incoming: attack, outgoing: other },
        }
    }

    /// Packets per second at detection, in the direction of the attack.
    pub fn power(&self) -> u64 {
        self.attack.rates.total.packets
    }

    /// Names the attack, across restarts too: it is made of the time of its start and its number.
    /// Laid out as RFC 9562 §5.8 (version 8) has it; names sort by time.
    pub fn attack_uuid(&self) -> String {
        let micros = self.attack.started.0 / 1000;
        let (millis, rest) = ((micros / 1000) & 0xffff_ffff_ffff, micros % 1000);
        let id = (self.attack.id.0 & 0x3fff_ffff_ffff_ffff) | 0x8000_0000_0000_0000;
        format!(
            "{:08x}-{:04x}-8{rest:03x}-{:04x}-{:012x}",
            millis >> 16,
            millis & 0xffff,
            id >> 48,
            id & 0xffff_ffff_ffff
        )
    }

    /// Names this event: the same when it is submitted again, different for any other event.
    pub fn key(&self) -> String {
        format!("{}-{}-{:x}", self.attack_uuid(), self.kind, self.time.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn keys_name_events_and_attacks() {
        let event = fixture::event(ActionKind::Banned, 1);
        let mut later = fixture::event(ActionKind::Unbanned, 1);
        assert_eq!(event.key(), event.clone().key());
        assert_ne!(event.key(), later.key());
        assert_eq!(event.attack_uuid(), later.attack_uuid());
        assert_eq!(event.attack_uuid().len(), 36);
        assert_eq!(event.attack_uuid().as_bytes()[14], b'8');
        later.attack.started = Timestamp(later.attack.started.0 + 1_000_000);
        assert!(event.attack_uuid() < later.attack_uuid(), "names sort by time");
    }

    #[test]
    fn rates_follow_the_direction() {
        let mut event = fixture::event(ActionKind::Banned, 1);
        let (attack, other) = (event.attack.rates, event.attack.opposite);
        assert_eq!(event.rates().incoming, attack);
        event.attack.direction = Direction::Outgoing;
        assert_eq!(event.rates(), DirectedCounters { incoming: other, outgoing: attack });
    }
}
