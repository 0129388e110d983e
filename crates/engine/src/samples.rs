//! Samples of attacks, picked from the rings of recent records in one pass for all attacks that
//! are to be told at a moment.

use std::collections::BTreeMap;

use tidewall_model::{Attack, FlowRecord, Sample, Timestamp};

use crate::amplifiers::Amplifiers;
use crate::arena::{HostKey, IN, OUT, Side};
use crate::classify::AttackTraffic;
use crate::detector::Detector;
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

#[derive(Debug)]
struct List {
    since: Timestamp,
    records: Vec<FlowRecord>,
}

impl Samples {
    /// Empty lists for these attacks.
    pub fn new(wanted: &[(Subject, Side)], detector: &Detector, policy: &Policy) -> Self {
        let list = |(subject, side): &(Subject, Side)| {
            let active = detector.active(*subject, *side)?;
            let since = active.attack.started - BEFORE;
            Some(((*subject, *side), List { since, records: Vec::new() }))
        };
        Self { lists: wanted.iter().filter_map(list).collect(), most: policy.detection.samples }
    }

    /// Is no list wanted?
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Fills the lists with what a ring holds of each attack; records before `oldest` in the order
    /// of receipt are left out, because a ring of another shard may have lost them already.
    pub fn collect(&mut self, ring: &Recent, oldest: u64, zones: &Zones, totals: &Totals) {
        let Some(since) = self.lists.values().map(|list| list.since).min() else { return };
        let with_totals = self.lists.keys().any(|(s, _)| matches!(s, Subject::Total(_)));
        let known = |record: &&FlowRecord| record.seq >= oldest && record.time >= since;
        for record in ring.newest_first().filter(known) {
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
        if let Some(list) = self.lists.get_mut(&to)
            && record.time >= list.since
        {
            list.records.push(*record);
        }
    }

    /// The lists, each oldest first and no longer than wanted.
    pub fn into_lists(self) -> impl Iterator<Item = ((Subject, Side), Vec<FlowRecord>)> {
        let most = self.most;
        self.lists.into_iter().map(move |(to, list)| (to, list.spread(most)))
    }
}

impl List {
    /// The records in the order of receipt, a record that two shards hold once; when there are too
    /// many, some from all over the time since the start, because an attack may change as it runs.
    fn spread(self, most: usize) -> Vec<FlowRecord> {
        let mut records = self.records;
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
        records
    }
}

/// Names an attack by its samples.
pub fn describe(attack: &mut Attack, records: &[FlowRecord], amplifiers: &Amplifiers) {
    let traffic = AttackTraffic {
        samples: records,
        direction: attack.direction,
        metric: attack.reason.metric,
        rates: &attack.rates,
    };
    let named = traffic.classify(amplifiers);
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
