//! What the post did not hear itself: the attacks behind bans of an earlier run, and events that were
//! lost because they came too fast.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidewall_model::{AttackEvent, AttackEventKind, AttackId, Mitigation, Timestamp};
use tracing::{debug, warn};

use super::Post;
use crate::journal::HistoryQuery;
use crate::respond::recall;

/// What was heard of so shortly before is not compared: the hub's snapshot may be older.
const FRESH: Duration = Duration::from_secs(2);
/// An attack that is known and was not heard of for so long is looked for in the snapshot.
const STALE: Duration = Duration::from_secs(15);
/// Attacks of the past that are looked through for those of running bans.
const MOST_RECALLED: usize = 10_000;
/// The attack of a ban may have begun so long before it.
const RECALL_BEFORE: Duration = Duration::from_hours(24);

impl Post {
    /// Finds the attacks behind the bans of an earlier run: their ends are told with what was known.
    pub(super) fn recall(&mut self, mitigations: &[Mitigation], now: Timestamp) {
        let told = || mitigations.iter().filter(|mitigation| !mitigation.kind.is_route());
        let Some(oldest) = told().map(|mitigation| mitigation.created).min() else { return };
        let Some(journal) = &mut self.journal else { return };
        let since = Some(oldest - RECALL_BEFORE);
        let query = HistoryQuery { since, target: None, limit: MOST_RECALLED };
        let history = match journal.history(&query) {
            Ok(history) => history,
            Err(why) => return warn!("{why}; ends of bans are told without their attacks"),
        };
        for mitigation in told() {
            let mut past = history.attacks.iter();
            if let Some(past) = past.find(|past| recall::is_of(past, mitigation)) {
                self.notices.remember(recall::from_past(past, mitigation), now);
            }
        }
    }

    /// Makes up for events that were lost: attacks that began, go on or are over.
    pub(super) fn reconcile(&mut self, now: Timestamp) {
        let snapshot = self.hub.snapshot();
        let event = |kind, attack| AttackEvent { kind, time: snapshot.now, attack };
        let heard: BTreeMap<AttackId, Timestamp> =
            self.notices.going_on().map(|(attack, heard)| (attack.id, heard)).collect();
        let mut missed = Vec::new();
        for attack in &snapshot.attacks {
            if !self.notices.knows(attack) {
                missed.push(event(AttackEventKind::Started, attack.clone()));
            } else if heard.get(&attack.id).is_some_and(|heard| *heard + STALE < snapshot.now) {
                missed.push(event(AttackEventKind::Updated, attack.clone()));
            }
        }
        let running: BTreeSet<AttackId> = snapshot.attacks.iter().map(|one| one.id).collect();
        let gone: Vec<_> = (self.notices.going_on())
            .filter(|(attack, heard)| {
                !running.contains(&attack.id) && *heard + FRESH < snapshot.now
            })
            .map(|(attack, _)| attack.clone())
            .collect();
        if !gone.is_empty() {
            let finished = self.hub.finished();
            let finished: BTreeMap<AttackId, _> =
                finished.iter().map(|attack| (attack.id, attack)).collect();
            for mut attack in gone {
                match finished.get(&attack.id) {
                    Some(known) => attack = known.as_ref().clone(),
                    None => attack.ended = Some(snapshot.now),
                }
                missed.push(event(AttackEventKind::Ended, attack));
            }
        }
        for event in missed {
            debug!(attack = event.attack.id.0, "learnt late: {:?}", event.kind);
            self.event(&event, now);
        }
    }
}
