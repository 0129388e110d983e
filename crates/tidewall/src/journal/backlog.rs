//! What is to be written: newer values take the place of older ones, so that a disk that fails for
//! long does not fill the memory.

use std::collections::{BTreeMap, VecDeque};

use tidewall_engine::planner::{Change, Decided, Decision, Effect, End};
use tidewall_model::{Attack, MitigationStatus};

use super::past::{PastAttack, PastDecision};
use super::record::{StoredMitigation, StoredVictim, to_bytes, victim_key};

/// Attacks, and decisions of the history, that may wait; older ones are lost first, and counted.
const MOST_WAITING: usize = 16_384;

/// Time in nanoseconds, and a number that tells entries of one time apart.
pub(super) type EntryKey = (u64, u64);

/// Is everything stopped?
#[derive(Debug)]
pub(super) enum Brake {
    /// By somebody.
    Pulled(String),
    Released,
}

#[derive(Debug)]
pub(super) struct Backlog {
    /// By number of mitigation; `None` for one that is gone.
    pub mitigations: BTreeMap<u64, Option<Vec<u8>>>,
    /// By victim and direction; `None` for one that is forgotten.
    pub victims: BTreeMap<String, Option<Vec<u8>>>,
    pub attacks: BTreeMap<EntryKey, Vec<u8>>,
    pub decisions: VecDeque<(EntryKey, Vec<u8>)>,
    /// The brake, if that is new.
    pub brake: Option<Brake>,
    /// The first number that was never given to a mitigation.
    pub next_id: u64,
    next_entry: u64,
    lost: u64,
}

impl Backlog {
    pub(super) const fn new(next_entry: u64) -> Self {
        Self {
            mitigations: BTreeMap::new(),
            victims: BTreeMap::new(),
            attacks: BTreeMap::new(),
            decisions: VecDeque::new(),
            brake: None,
            next_id: 0,
            next_entry,
            lost: 0,
        }
    }

    pub(super) fn decide(&mut self, decision: &Decision) {
        match decision.effect() {
            Effect::Keep(mitigation) => {
                let bytes = to_bytes(&StoredMitigation::from(mitigation));
                self.mitigations.insert(mitigation.id.0, Some(bytes));
            }
            Effect::Forget(id) => _ = self.mitigations.insert(id.0, None),
            Effect::Hold(Some(who)) => self.brake = Some(Brake::Pulled(who.to_owned())),
            Effect::Hold(None) => self.brake = Some(Brake::Released),
            Effect::Remember(victim) => {
                let bytes = to_bytes(&StoredVictim::from(victim));
                let key = victim_key(&victim.target, victim.direction);
                self.victims.insert(key, Some(bytes));
            }
            Effect::ForgetVictim(target, direction) => {
                self.victims.insert(victim_key(target, direction), None);
            }
            Effect::Nothing => {}
        }
        if let Decided::Mitigation(_, mitigation) = &decision.what {
            self.next_id = self.next_id.max(mitigation.id.0.saturating_add(1));
        }
        if is_history(decision) {
            let key = (decision.time.0, self.next_entry);
            self.next_entry += 1;
            self.decisions.push_back((key, to_bytes(&PastDecision::from(decision))));
            if self.decisions.len() > MOST_WAITING {
                self.decisions.pop_front();
                self.lost += 1;
            }
        }
    }

    pub(super) fn attack(&mut self, attack: &Attack) {
        let key = (attack.detected.0, attack.id.0);
        self.attacks.insert(key, to_bytes(&PastAttack::from(attack)));
        if self.attacks.len() > MOST_WAITING {
            self.attacks.pop_first();
            self.lost += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0 && self.brake.is_none()
    }

    pub(super) fn len(&self) -> usize {
        self.mitigations.len() + self.victims.len() + self.attacks.len() + self.decisions.len()
    }

    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    pub(super) fn clear(&mut self) {
        self.mitigations.clear();
        self.victims.clear();
        self.attacks.clear();
        self.decisions.clear();
        self.brake = None;
    }
}

/// Is it worth keeping? Extended ends and confirmations are not.
fn is_history(decision: &Decision) -> bool {
    match &decision.what {
        Decided::Mitigation(Change::Update, mitigation) => {
            matches!(mitigation.status, MitigationStatus::Failed(_))
        }
        Decided::Mitigation(Change::Gone(End::Confirmed | End::Superseded), _)
        | Decided::Remembered(_)
        | Decided::Forgotten { .. } => false,
        _ => true,
    }
}
