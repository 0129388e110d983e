//! How good a detector was: what it said against what really happened. It knows nothing of the
//! detector but the few fields of a [`Detection`].

use std::time::Duration;

use tidewall_model::{Attack, AttackClass, Direction, Prefix, Target, Timestamp};

use crate::plan::Truth;

#[cfg(test)]
mod tests;

/// A detection may come so long after the end of an attack and still belong to it: the last window
/// has to close first.
const GRACE: Duration = Duration::from_secs(2);

/// What a detector said.
#[derive(Clone, Debug, PartialEq)]
pub struct Detection {
    /// Whom it named.
    pub target: Target,
    /// Incoming or outgoing.
    pub direction: Direction,
    /// What it called the traffic.
    pub class: AttackClass,
    /// When it said so.
    pub detected: Timestamp,
    /// When it was over; `None` while it goes on.
    pub ended: Option<Timestamp>,
}

impl From<&Attack> for Detection {
    fn from(attack: &Attack) -> Self {
        Self {
            target: attack.target.clone(),
            direction: attack.direction,
            class: attack.class,
            detected: attack.detected,
            ended: attack.ended,
        }
    }
}

/// The score card.
#[derive(Clone, Debug, PartialEq)]
pub struct Score {
    /// One for each truth, in their order.
    pub outcomes: Vec<Outcome>,
    /// Indices of the detections that nothing explains.
    pub false_alarms: Vec<usize>,
}

/// What became of one real attack.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The attack's name.
    pub name: String,
    /// Whom it hit.
    pub target: Prefix,
    /// The class that fits best.
    pub expected: Option<AttackClass>,
    /// Index of the first detection of it.
    pub detection: Option<usize>,
    /// From its start to that detection; zero when one was already open.
    pub time_to_detect: Option<Duration>,
    /// What the detector called it.
    pub class: Option<AttackClass>,
    /// Does that class fit?
    pub class_fits: bool,
    /// Was it soon enough?
    pub in_time: bool,
}

impl Score {
    /// How many attacks were found.
    pub fn detected(&self) -> usize {
        self.outcomes.iter().filter(|o| o.detection.is_some()).count()
    }

    /// How many were not.
    pub fn missed(&self) -> usize {
        self.outcomes.len() - self.detected()
    }

    /// Everything found, in time, with a fitting class, and no false alarm?
    pub fn is_perfect(&self) -> bool {
        self.false_alarms.is_empty()
            && self.outcomes.iter().all(|o| o.detection.is_some() && o.in_time && o.class_fits)
    }
}

/// Scores what a detector said. A detection names an attack when its target is the attack's, or a
/// host or network inside it, in the same direction and at the same time. A larger network or a
/// group that holds the target is neither a find nor a false alarm: its total really is too high.
pub fn score(truths: &[Truth], detections: &[Detection]) -> Score {
    let outcomes = truths.iter().map(|truth| outcome(truth, truths, detections)).collect();
    let false_alarms = detections
        .iter()
        .enumerate()
        .filter(|(_, detection)| !is_explained(truths, detection))
        .map(|(index, _)| index)
        .collect();
    Score { outcomes, false_alarms }
}

/// Was there a reason to raise it when it was raised?
fn is_explained(truths: &[Truth], detection: &Detection) -> bool {
    truths.iter().any(|truth| {
        relation(truth, detection) != Relation::None
            && (truth.start..=truth.end + GRACE).contains(&detection.detected)
    })
}

fn outcome(truth: &Truth, truths: &[Truth], detections: &[Detection]) -> Outcome {
    let first = detections
        .iter()
        .enumerate()
        .filter(|(_, d)| {
            relation(truth, d) == Relation::Names
                && d.detected <= truth.end + GRACE
                && d.ended.is_none_or(|ended| ended > truth.start)
                && is_explained(truths, d)
        })
        .min_by_key(|(_, d)| d.detected);
    let time_to_detect = first.map(|(_, d)| d.detected.since(truth.start));
    let class = first.map(|(_, d)| d.class);
    Outcome {
        name: truth.name.clone(),
        target: truth.target,
        expected: truth.classes.first().copied(),
        detection: first.map(|(index, _)| index),
        time_to_detect,
        class,
        class_fits: class.is_some_and(|c| truth.classes.contains(&c)),
        in_time: time_to_detect.is_some_and(|t| t <= truth.within),
    }
}

/// What the target of a detection has to do with a truth.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Relation {
    /// It is the truth's target, or in it.
    Names,
    /// It holds the truth's target.
    Holds,
    /// Nothing.
    None,
}

fn relation(truth: &Truth, detection: &Detection) -> Relation {
    if truth.direction != detection.direction {
        return Relation::None;
    }
    let prefix = match &detection.target {
        Target::Host(address) => Prefix::host(*address),
        Target::Network(prefix) => *prefix,
        // Which hosts a group holds is the detector's configuration: any of them may be in it.
        Target::Group(name) if truth.group.as_ref() == Some(name) => return Relation::Names,
        Target::Group(_) => return Relation::Holds,
    };
    if truth.target.covers(prefix) {
        Relation::Names
    } else if prefix.covers(truth.target) {
        Relation::Holds
    } else {
        Relation::None
    }
}
