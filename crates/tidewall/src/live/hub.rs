//! Where what was found meets those who want to know: the last snapshot for those who ask, and a
//! bounded queue for each one who listens. A listener that does not keep up loses events, which is
//! counted and told to it; the detector never waits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use tidewall_model::{Attack, AttackEvent, AttackEventKind};

use super::snapshot::Snapshot;
use super::worker::{WorkerReport, WorkerStatus};
use crate::exports::ExporterReport;

/// Events that a listener may be behind.
const QUEUE: usize = 1024;
/// Attacks that are over and still listed.
const FINISHED: usize = 1000;

#[expect(clippy::disallowed_types, reason = "taken a few times a second, never for a record")]
type Lock<T> = std::sync::Mutex<T>;

/// The hub. Shared by all threads.
#[derive(Debug, Default)]
pub struct Hub {
    snapshot: Lock<Arc<Snapshot>>,
    listeners: Lock<Vec<Listener>>,
    finished: Lock<VecDeque<Arc<Attack>>>,
    roster: Lock<Arc<Roster>>,
}

/// Who works.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    /// The workers.
    pub workers: Vec<Arc<WorkerStatus>>,
    /// Those of them who receive export datagrams, by port.
    pub ports: Vec<RosterPort>,
    /// What was counted by those who have left.
    pub left: WorkerReport,
}

/// The workers of one port, who may have each a part of an exporter's datagrams.
#[derive(Clone, Debug, Default)]
pub struct RosterPort {
    /// What is received there: `sflow [::]:6343`.
    pub name: String,
    /// The workers.
    pub workers: Vec<Arc<WorkerStatus>>,
    /// What those who have left knew of exporters.
    pub left: Arc<Vec<ExporterReport>>,
}

#[derive(Debug)]
struct Listener {
    queue: SyncSender<Arc<AttackEvent>>,
    lost: Arc<std::sync::atomic::AtomicU64>,
}

/// One who listens to events.
#[derive(Debug)]
pub struct Subscription {
    /// The events.
    pub events: Receiver<Arc<AttackEvent>>,
    /// Events that were lost because the queue was full.
    pub lost: Arc<std::sync::atomic::AtomicU64>,
}

fn locked<T>(lock: &Lock<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Hub {
    /// How things stand.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&locked(&self.snapshot))
    }

    /// Attacks that are over, the last one first.
    pub fn finished(&self) -> Vec<Arc<Attack>> {
        locked(&self.finished).iter().rev().cloned().collect()
    }

    /// Who works.
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&locked(&self.roster))
    }

    /// Publishes who works.
    pub(super) fn set_roster(&self, roster: Roster) {
        *locked(&self.roster) = Arc::new(roster);
    }

    /// From now on.
    pub fn subscribe(&self) -> Subscription {
        let (queue, events) = sync_channel(QUEUE);
        let lost = Arc::default();
        locked(&self.listeners).push(Listener { queue, lost: Arc::clone(&lost) });
        Subscription { events, lost }
    }

    /// No event will follow: the queue of everyone who listens ends.
    pub fn close(&self) {
        locked(&self.listeners).clear();
    }

    /// Publishes how things stand.
    pub fn publish(&self, snapshot: Snapshot) {
        *locked(&self.snapshot) = Arc::new(snapshot);
    }

    /// Tells everyone.
    pub fn event(&self, event: &AttackEvent) {
        let event = Arc::new(event.clone());
        if event.kind == AttackEventKind::Ended {
            let mut finished = locked(&self.finished);
            if finished.len() == FINISHED {
                finished.pop_front();
            }
            finished.push_back(Arc::new(event.attack.clone()));
        }
        locked(&self.listeners).retain(|listener| {
            match listener.queue.try_send(Arc::clone(&event)) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    listener.lost.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    true
                }
                Err(TrySendError::Disconnected(_)) => false,
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;
    use tidewall_model::{
        Address, AttackClass, AttackId, Direction, Family, Metric, Reason, Target, Timestamp,
        TopTuples, TrafficClass, TrafficCounters, Unit,
    };

    fn event() -> AttackEvent {
        let metric = Metric { class: TrafficClass::Total, unit: Unit::Packets };
        let direction = Direction::Incoming;
        let attack = Attack {
            id: AttackId(1),
            target: Target::Host(Address::v4(1)),
            family: Family::V4,
            direction,
            class: AttackClass::Unknown,
            vectors: Vec::new(),
            reason: Reason {
                metric,
                direction,
                value: 2.0,
                limit: 1.0,
                group: "global".to_owned(),
                window_ms: 1000,
                samples: 2,
            },
            started: Timestamp(1),
            detected: Timestamp(2),
            ended: None,
            peak_pps: 2,
            peak_bps: 2,
            peak_flows: 0,
            packets: 2,
            bytes: 2,
            rates: TrafficCounters::default(),
            opposite: TrafficCounters::default(),
            top: TopTuples::default(),
            samples: Vec::new(),
            filters: Vec::new(),
        };
        AttackEvent { kind: AttackEventKind::Started, time: Timestamp(2), attack }
    }

    #[test]
    fn a_listener_that_sleeps_loses_and_holds_up_nobody() {
        let hub = Hub::default();
        let (asleep, awake) = (hub.subscribe(), hub.subscribe());
        let event = event();
        for _ in 0..QUEUE + 5 {
            hub.event(&event);
            awake.events.try_recv().unwrap();
        }
        assert_eq!(asleep.lost.load(Ordering::Relaxed), 5);
        assert_eq!(asleep.events.try_iter().count(), QUEUE);
        assert_eq!(awake.lost.load(Ordering::Relaxed), 0);
        drop(asleep);
        hub.event(&event);
        assert_eq!(locked(&hub.listeners).len(), 1, "one that went away is forgotten");
    }
}
