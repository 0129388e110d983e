//! Reading closed windows: which hosts deserve a look, how many flows each zone had, and the sums
//! over all shards. Runs once a window on the detector's thread.

use std::collections::BTreeMap;

use tidewall_model::TrafficCounters;

use crate::arena::{HostKey, IN, OUT};
use crate::distinct::DistinctFlows;
use crate::flows::{FlowSet, Inserted};
use crate::policy::Capacity;
use crate::shard::{Reading, WindowSummary, ZoneEntry};
use crate::watch::Tally;
use crate::zones::Zones;

/// What all shards together say of a window.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Hosts that came near a limit, by key, with their sums over all shards.
    pub candidates: BTreeMap<HostKey, Reading>,
    /// Sums over all shards by zone and side, with flows.
    pub zones: BTreeMap<u32, [Tally; 2]>,
    /// Sums over all shards by direction, with flows.
    pub totals: [TrafficCounters; 4],
}

impl Scan {
    /// Reads the summaries of one window. Where a host's traffic may be spread over several of them,
    /// `shared` has the flows of each.
    pub fn of(
        summaries: &[WindowSummary],
        zones: &Zones,
        shared: Option<(&[DistinctFlows], &Capacity)>,
    ) -> Self {
        let mut scan = Self::default();
        // Screening adds flows to the zones' entries: they must be there.
        for summary in summaries {
            add_zones(&mut scan.zones, &summary.zones);
        }
        for summary in summaries {
            for (sum, part) in scan.totals.iter_mut().zip(&summary.totals) {
                *sum += &part.counters();
            }
            scan.screen(summary, zones);
        }
        if let Some((flows, capacity)) = shared.filter(|_| summaries.len() > 1) {
            scan.sum_parts(summaries, flows, capacity);
        }
        for sides in scan.zones.values() {
            scan.totals[0].flows += sides[IN].counters.flows;
            scan.totals[1].flows += sides[OUT].counters.flows;
        }
        scan
    }

    /// Notes hosts near a limit, and the flows of each zone.
    fn screen(&mut self, summary: &WindowSummary, zones: &Zones) {
        let hosts = &summary.hosts;
        // Hosts of a zone come in runs: remember the last zone's entry to spare look-ups.
        let mut flows: Option<(u32, [u64; 2])> = None;
        for (at, entry) in hosts.entries().iter().enumerate() {
            let key = entry.key();
            let marks = zones.marks(key.zone);
            let near = |side| {
                let total = hosts.total(entry, side);
                marks.is_near(side, total)
            };
            if near(IN) || near(OUT) {
                self.candidates.insert(key, summary.reading(at));
            }
            let own = entry.flows();
            match &mut flows {
                Some((zone, sum)) if *zone == key.zone => {
                    sum[IN] += u64::from(own[IN]);
                    sum[OUT] += u64::from(own[OUT]);
                }
                _ => {
                    self.add_flows(flows);
                    flows = Some((key.zone, own.map(u64::from)));
                }
            }
        }
        self.add_flows(flows);
    }

    fn add_flows(&mut self, flows: Option<(u32, [u64; 2])>) {
        let Some((zone, sum)) = flows else { return };
        if let Some(sides) = self.zones.get_mut(&zone) {
            sides[IN].counters.flows += sum[IN];
            sides[OUT].counters.flows += sum[OUT];
        }
    }

    /// Candidates' sums when each shard saw a part of a host: counters add up, flows are united.
    fn sum_parts(
        &mut self,
        summaries: &[WindowSummary],
        flows: &[DistinctFlows],
        capacity: &Capacity,
    ) {
        for (key, reading) in &mut self.candidates {
            *reading = Reading::zero(*key);
        }
        let mut united = FlowSet::new(capacity.flows);
        let numbers: BTreeMap<HostKey, u32> = self.candidates.keys().copied().zip(0..).collect();
        let mut counts = vec![0u64; numbers.len() * 2];
        for (summary, flows) in summaries.iter().zip(flows) {
            united.thin_to(flows.level());
            let mut number_of = vec![u32::MAX; summary.hosts.len()];
            for (at, entry) in summary.hosts.entries().iter().enumerate() {
                let key = entry.key();
                if let (Some(number), Some(sum)) =
                    (numbers.get(&key), self.candidates.get_mut(&key))
                {
                    number_of[at] = *number;
                    sum.merge(&summary.reading(at));
                }
            }
            for (entry, tag) in flows.iter() {
                let number = number_of[entry as usize / 2];
                if number != u32::MAX {
                    unite(&mut united, &mut counts, number * 2 + entry % 2, tag);
                }
            }
        }
        // A later, thinner part thins the union: count what is left in it.
        recount(&united, &mut counts);
        for (reading, number) in self.candidates.values_mut().zip(0usize..) {
            reading.sides[IN].flows = counts[number * 2];
            reading.sides[OUT].flows = counts[number * 2 + 1];
        }
    }
}

/// Adds a shard's zone entries to the sums by zone and side; without flows.
pub fn add_zones(sums: &mut BTreeMap<u32, [Tally; 2]>, entries: &[ZoneEntry]) {
    for entry in entries {
        let sum = sums.entry(entry.zone).or_default();
        for side in [IN, OUT] {
            sum[side].counters += &entry.sides[side].counters();
            sum[side].weight = sum[side].weight.max(entry.weight[side]);
        }
    }
}

fn unite(united: &mut FlowSet, counts: &mut [u64], entry: u32, tag: u32) {
    if united.insert(entry, tag) == Inserted::Thinned {
        recount(united, counts);
    }
}

fn recount(united: &FlowSet, counts: &mut [u64]) {
    counts.fill(0);
    for (entry, _) in united.iter() {
        counts[entry as usize] += u64::from(united.weight());
    }
}
