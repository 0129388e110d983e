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

    /// Fills the lists with the newest records of each attack; records before `oldest` in the order
    /// of receipt are left out, because a ring of another shard may have lost them already.
    pub fn collect<'a>(
        &mut self,
        rings: impl Iterator<Item = &'a Recent>,
        oldest: u64,
        zones: &Zones,
        totals: &Totals,
    ) {
        let Some(since) = self.lists.values().map(|list| list.since).min() else { return };
        let with_totals = self.lists.keys().any(|(s, _)| matches!(s, Subject::Total(_)));
        for ring in rings {
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
    }

    fn offer(&mut self, to: (Subject, Side), record: &FlowRecord) {
        let most = self.most;
        if let Some(list) = self.lists.get_mut(&to)
            && record.time >= list.since
        {
            list.records.push(*record);
            // Each ring gives its newest first; with several rings the newest of all are wanted.
            if list.records.len() >= most.saturating_mul(2).max(64) {
                list.keep_newest(most);
            }
        }
    }

    /// The lists, each oldest first.
    pub fn into_lists(self) -> impl Iterator<Item = ((Subject, Side), Vec<FlowRecord>)> {
        let most = self.most;
        self.lists.into_iter().map(move |(to, mut list)| {
            list.keep_newest(most);
            list.records.reverse();
            (to, list.records)
        })
    }
}

impl List {
    /// Sorts by receipt, newest first, and drops the rest; a record that two shards hold counts
    /// once.
    fn keep_newest(&mut self, most: usize) {
        self.records.sort_by_key(|record| std::cmp::Reverse((record.seq, record.time)));
        self.records.dedup();
        self.records.truncate(most);
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
