//! Samples of attacks, picked from the rings of recent records in one pass for all attacks that
//! are to be told at a moment.

use std::collections::BTreeMap;

use tidewall_model::{Attack, Direction, FlowRecord, Sample, Target, Timestamp, Unit};

use crate::amplifiers::Amplifiers;
use crate::arena::{HostKey, IN, OUT, Side};
use crate::classify::AttackTraffic;
use crate::detector::Detector;
use crate::filters::{Evidence, FilterSettings};
use crate::normal::MOST_REMEMBERED;
use crate::policy::Policy;
use crate::recent::Recent;
use crate::subject::{Subject, Totals};
use crate::zones::Zones;

/// Where samples come from before an attack's start: a little earlier, since the start is known to
/// a slice only.
const BEFORE: std::time::Duration = std::time::Duration::from_millis(50);

/// Lists to be filled, by subject and side.
#[derive(Debug)]
pub struct Samples {
    lists: BTreeMap<(Subject, Side), List>,
    most: usize,
}

/// Records of one attack's target, in the order of receipt.
#[derive(Debug)]
pub struct List {
    /// From when on they are the attack's.
    pub since: Timestamp,
    /// From then on.
    pub records: Vec<FlowRecord>,
    /// Earlier ones, which the rings still hold.
    pub before: Vec<FlowRecord>,
}

impl Samples {
    /// Empty lists for these attacks.
    pub fn new(wanted: &[(Subject, Side)], detector: &Detector, policy: &Policy) -> Self {
        let list = |(subject, side): &(Subject, Side)| {
            let active = detector.active(*subject, *side)?;
            let since = active.attack.started - BEFORE;
            Some(((*subject, *side), List { since, records: Vec::new(), before: Vec::new() }))
        };
        Self { lists: wanted.iter().filter_map(list).collect(), most: policy.detection.samples }
    }

    /// Is no list wanted?
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Fills the lists with what a ring holds of each attack from the position `oldest` on; what
    /// came before it a ring of another shard may have lost already.
    pub fn collect(&mut self, ring: &Recent, oldest: u64, zones: &Zones, totals: &Totals) {
        let with_totals = self.lists.keys().any(|(s, _)| matches!(s, Subject::Total(_)));
        for record in ring.newest_first(oldest) {
            for (side, bits) in [(IN, record.dst), (OUT, record.src)] {
                let Some(zone) = zones.lookup(record.family, bits) else { continue };
                self.offer((Subject::Host(HostKey { zone, bits }), side), record);
                if with_totals {
                    for total in totals.of_zone(zone) {
                        self.offer((Subject::Total(*total), side), record);
                    }
                }
            }
        }
    }

    fn offer(&mut self, to: (Subject, Side), record: &FlowRecord) {
        if let Some(list) = self.lists.get_mut(&to) {
            let of_attack = record.time >= list.since;
            if of_attack { &mut list.records } else { &mut list.before }.push(*record);
        }
    }

    /// The lists, each oldest first and no longer than wanted.
    pub fn into_lists(self) -> impl Iterator<Item = ((Subject, Side), List)> {
        let most = self.most;
        self.lists.into_iter().map(move |(to, mut list)| {
            spread(&mut list.records, most);
            spread(&mut list.before, MOST_REMEMBERED);
            (to, list)
        })
    }
}

/// Leaves the records in the order of receipt, a record that two shards hold once; when there are
/// too many, some from all over their time, because an attack may change as it runs.
pub fn spread(records: &mut Vec<FlowRecord>, most: usize) {
    records.sort_by_key(|record| (record.seq, record.time));
    records.dedup();
    let all = records.len();
    if all > most {
        let mut at = 0;
        let mut kept = 0;
        records.retain(|_| {
            // The first record of each of `most` equal parts.
            let keep = at >= kept * all / most && kept < most;
            kept += usize::from(keep);
            at += 1;
            keep
        });
    }
}

/// Names an attack by its samples.
pub fn describe(attack: &mut Attack, records: &[FlowRecord], amplifiers: &Amplifiers) {
    let named = traffic(attack, records).classify(amplifiers);
    if records.is_empty() && !attack.samples.is_empty() {
        // An update without new samples: what was seen at the start stands.
        return;
    }
    attack.class = named.class;
    attack.vectors = named.vectors;
    attack.top = named.top;
    attack.family = named.family.unwrap_or(attack.family);
    attack.samples = records.iter().copied().map(Sample).collect();
}

/// Finds filters for a named attack that spare the target's normal traffic.
pub fn filter(
    attack: &mut Attack,
    normal: &[FlowRecord],
    amplifiers: &Amplifiers,
    settings: &FilterSettings,
) {
    let records: Vec<FlowRecord> = attack.samples.iter().map(|sample| sample.0).collect();
    let known = normal.len() >= settings.least_remembered;
    let own = traffic(attack, &records).own(attack.class, amplifiers, known);
    let tolerable = tolerable(attack, &own);
    let evidence = Evidence { attack: &own, normal, amplifiers, tolerable };
    attack.filters = evidence.renew(&attack.filters, settings);
}

fn traffic<'a>(attack: &'a Attack, records: &'a [FlowRecord]) -> AttackTraffic<'a> {
    AttackTraffic {
        samples: records,
        direction: attack.direction,
        metric: attack.reason.metric,
        rates: &attack.rates,
    }
}

/// What goes to a host or a network can be filtered; a group has no one destination.
pub fn is_filterable(attack: &Attack) -> bool {
    attack.direction != Direction::Outgoing && !matches!(attack.target, Target::Group(_))
}

/// Bytes per second of the attack's traffic that may pass: half of the limit that was exceeded. A
/// limit of flows says nothing about bytes; there, a twentieth of the traffic.
fn tolerable(attack: &Attack, own: &[FlowRecord]) -> f64 {
    let limit = attack.reason.limit / 2.0;
    match attack.reason.metric.unit {
        Unit::Bits => limit / 8.0,
        Unit::Flows => attack.rates.total.bytes as f64 / 20.0,
        Unit::Packets => {
            let sum = |of: fn(&FlowRecord) -> u64| own.iter().map(|r| of(r) as f64).sum::<f64>();
            limit * sum(FlowRecord::scaled_bytes) / sum(FlowRecord::scaled_packets).max(1.0)
        }
    }
}
