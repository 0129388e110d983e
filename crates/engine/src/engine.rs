//! Records in, windows and attacks out: the shards and the detector driven together, in one
//! thread, by the records' own time. Replay, tests and the demo run this; live workers run the
//! same shards and the same detector on their threads.

use std::sync::Arc;
use std::time::Duration;

use tidewall_model::{
    Address, Attack, AttackEvent, AttackEventKind, DirectedCounters, Direction, DropCounters,
    FlowRecord, Timestamp, TrafficCounters,
};

use crate::amplifiers::Amplifiers;
use crate::arena::{HostKey, Side};
use crate::detector::{Detector, Moment, Notice};
use crate::flows::FlowSet;
use crate::policy::Policy;
use crate::samples::Samples;
use crate::scan::{Scan, sum_zones};
use crate::shard::{Half, Reading, Shard, ShardStats, SliceSummary, WindowSummary};
use crate::subject::Subject;
use crate::whitelist::Rules;
use crate::zones::Zones;

/// How records are dealt to shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dealing {
    /// By our host: all traffic of a host is in one shard, and results are the same to the byte at
    /// any number of shards.
    #[default]
    ByHost,
    /// Round robin, as sockets do: a host's traffic is spread over shards, and is added up where
    /// it matters. Attacks are the same, except where their evidence is at its edge; they may be
    /// raised at the end of a window instead of within it.
    RoundRobin,
}

/// Hears what the engine finds.
pub trait Observer {
    /// A window was closed.
    fn window(&mut self, _window: &WindowView<'_>) {}
    /// Something happened to an attack.
    fn event(&mut self, _event: &AttackEvent) {}
}

/// Nobody listens.
impl Observer for () {}

/// A closed window, to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct WindowView<'a> {
    /// When it began.
    pub start: Timestamp,
    /// How long it is.
    pub length: Duration,
    scan: &'a Scan,
    summaries: &'a [WindowSummary],
    zones: &'a Zones,
}

impl<'a> WindowView<'a> {
    /// All traffic of a direction. Flows are those of our hosts' incoming and outgoing sides.
    pub fn totals(&self, direction: Direction) -> &'a TrafficCounters {
        &self.scan.totals[direction as usize]
    }

    /// Hosts that were seen, with their counters. When records are dealt round robin a host comes
    /// once for each shard that saw it.
    pub fn hosts(&self) -> impl Iterator<Item = (Address, DirectedCounters)> + 'a {
        let zones = self.zones;
        self.summaries.iter().flat_map(move |summary| {
            let entries = summary.hosts.entries().iter();
            entries.map(move |entry| (zones.address(entry.key()), summary.hosts.directed(entry)))
        })
    }

    /// Number of host entries.
    pub fn host_count(&self) -> usize {
        self.summaries.iter().map(|summary| summary.hosts.len()).sum()
    }

    /// Our networks with the traffic of each; nested networks count in the longest one.
    pub fn networks(
        &self,
    ) -> impl Iterator<Item = (tidewall_model::Prefix, DirectedCounters)> + 'a {
        let mut sums = vec![None::<DirectedCounters>; self.zones.networks().len()];
        for (zone, sides) in &self.scan.zones {
            let network = self.zones.zone(*zone).network as usize;
            *sums[network].get_or_insert_default() +=
                &DirectedCounters { incoming: sides[0].counters, outgoing: sides[1].counters };
        }
        let networks = self.zones.networks();
        sums.into_iter().zip(networks).filter_map(|(sum, network)| Some((*network, sum?)))
    }
}

/// Counters of the engine's own life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Records given to the engine.
    pub received: u64,
    /// Records that were counted.
    pub ingested: u64,
    /// Records whose time lay before the current slice: counted now.
    pub late: u64,
    /// Records counted for their network only: the host table was full.
    pub hosts_refused: u64,
    /// Hosts that could not be watched because too many were.
    pub watch_refused: u64,
    /// Records that were not counted, by reason.
    pub drops: DropCounters,
}

/// Shards, detector and clock.
#[derive(Debug)]
pub struct Engine {
    policy: Arc<Policy>,
    zones: Arc<Zones>,
    amplifiers: Amplifiers,
    dealing: Dealing,
    shards: Vec<Shard>,
    spares: Vec<WindowSummary>,
    detector: Detector,
    /// Number of the slice that is being filled; `None` before the first record.
    slice: Option<u64>,
    slice_ns: u64,
    slices: u64,
    next_shard: usize,
    last_seq: u64,
    late: u64,
    answer: SliceSummary,
}

impl Engine {
    /// An engine with `shards` shards. `seed` keys the hash tables: live engines draw it at random,
    /// replay and tests fix it.
    pub fn new(policy: Policy, shards: usize, dealing: Dealing, seed: u64) -> Self {
        let shards = shards.clamp(1, 1024);
        let parts = if dealing == Dealing::RoundRobin { shards as u32 } else { 1 };
        let zones = Arc::new(Zones::compile(&policy, parts, seed));
        let rules = Arc::new(Rules::compile(&policy.whitelist.rules));
        let summary = || WindowSummary::new(&policy.capacity, zones.all().len());
        let slices = u64::from(policy.detection.slices.max(1));
        let window_ns = u64::try_from(policy.detection.window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            amplifiers: Amplifiers::embedded(),
            dealing,
            shards: (0..shards).map(|_| Shard::new(&policy, &zones, &rules)).collect(),
            spares: (0..shards).map(|_| summary()).collect(),
            detector: Detector::new(&policy, &zones),
            slice: None,
            slice_ns: (window_ns / slices).max(1),
            slices,
            next_shard: 0,
            last_seq: 0,
            late: 0,
            answer: SliceSummary::default(),
            zones,
            policy: Arc::new(policy),
        }
    }

    /// Counts records in their order. Where a record's time passes the end of a slice or window,
    /// these are closed first, so the result does not depend on how records are batched.
    pub fn ingest(&mut self, records: &[FlowRecord], observer: &mut impl Observer) {
        let mut rest = records;
        while let Some(first) = rest.first() {
            self.advance(first.time, observer);
            let current = self.slice.unwrap_or_default();
            let end = Timestamp(current.saturating_add(1).saturating_mul(self.slice_ns));
            let begin = Timestamp(current.saturating_mul(self.slice_ns));
            let split = rest.iter().position(|record| record.time >= end).unwrap_or(rest.len());
            // Time beyond the last representable slice: count it in that slice.
            let (now, later) = rest.split_at(split.max(1));
            self.late += now.iter().filter(|record| record.time < begin).count() as u64;
            self.last_seq = now.iter().fold(self.last_seq, |last, record| last.max(record.seq));
            self.deal(now);
            rest = later;
        }
    }

    /// Tells the engine that it is `now`: closes every slice and window that is over.
    pub fn advance(&mut self, now: Timestamp, observer: &mut impl Observer) {
        self.advance_to(now.0 / self.slice_ns, observer);
    }

    /// Ends the input: closes the window that is being filled, whatever time it is.
    pub fn finish(&mut self, observer: &mut impl Observer) {
        if let Some(current) = self.slice {
            let next = (current / self.slices).saturating_add(1);
            self.advance_to(next.saturating_mul(self.slices), observer);
        }
    }

    /// Closes every slice and window before the slice with this number.
    fn advance_to(&mut self, wanted: u64, observer: &mut impl Observer) {
        let mut current = self.slice.unwrap_or(wanted);
        while current < wanted {
            if self.detector.is_calm() && self.shards.iter().all(Shard::is_idle) {
                // Nothing was counted and nothing is watched: no time needs to be gone through.
                current = wanted;
                break;
            }
            self.close_slice(current, observer);
            current += 1;
            if current.is_multiple_of(self.slices) {
                self.close_window(current / self.slices - 1, observer);
            }
        }
        self.slice = Some(current);
    }

    /// Attacks that go on.
    pub fn attacks(&self) -> impl Iterator<Item = &Attack> {
        self.detector.attacks()
    }

    /// What the engine runs by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Counters of its own life.
    pub fn stats(&self) -> EngineStats {
        let mut stats = EngineStats {
            late: self.late,
            watch_refused: self.detector.refused(),
            ..EngineStats::default()
        };
        for shard in &self.shards {
            let ShardStats { received, ingested, hosts_refused, drops } = shard.stats();
            stats.received += received;
            stats.ingested += ingested;
            stats.hosts_refused += hosts_refused;
            stats.drops.merge(drops);
        }
        stats
    }

    fn deal(&mut self, records: &[FlowRecord]) {
        let count = self.shards.len();
        if count == 1 {
            self.shards[0].ingest(records);
            return;
        }
        for record in records {
            if self.dealing == Dealing::RoundRobin {
                self.shards[self.next_shard].ingest_half(record, Half::Both);
                self.next_shard = (self.next_shard + 1) % count;
                continue;
            }
            let shard_of = |family, bits| {
                let zone = self.zones.lookup(family, bits)?;
                Some(self.zones.spread(HostKey { zone, bits }) as usize % count)
            };
            let src = shard_of(record.family, record.src);
            let dst = shard_of(record.family, record.dst);
            match (src, dst) {
                (Some(src), Some(dst)) if src != dst => {
                    self.shards[dst].ingest_half(record, Half::Destination);
                    self.shards[src].ingest_half(record, Half::Source);
                }
                _ => {
                    let shard = dst.or(src).unwrap_or(0);
                    self.shards[shard].ingest_half(record, Half::Both);
                }
            }
        }
    }

    /// Thins every shard's flows as if they had shared one set, so that what is estimated does not
    /// depend on the number of shards.
    fn align_flows(&mut self) {
        let sets = || self.shards.iter().map(Shard::flows);
        let most = self.shards[0].flows().most();
        let mut level = sets().map(FlowSet::level).max().unwrap_or(0);
        if self.shards.len() == 1 || (level == 0 && sets().map(FlowSet::len).sum::<usize>() <= most)
        {
            return;
        }
        while level < 31 && sets().map(|set| set.len_at(level)).sum::<usize>() > most {
            level += 1;
        }
        for shard in &mut self.shards {
            shard.thin_flows(level);
        }
    }

    fn close_slice(&mut self, slice: u64, observer: &mut impl Observer) {
        self.align_flows();
        let now = Timestamp(slice.saturating_add(1).saturating_mul(self.slice_ns));
        let moment = Moment { index: slice, now };
        let watched = self.detector.watched();
        let mut readings: Vec<Reading> = watched.iter().map(|key| Reading::zero(*key)).collect();
        let mut hot: Vec<HostKey> = Vec::new();
        for shard in &mut self.shards {
            shard.close_slice(watched, &mut self.answer);
            for (sum, part) in readings.iter_mut().zip(&self.answer.watched) {
                sum.merge(part);
            }
            hot.append(&mut self.answer.hot);
        }
        let adopted = self.detector.adopt(hot, &self.zones);
        readings.extend(adopted.into_iter().map(|key| self.read(key)));
        readings.sort_unstable_by_key(|reading| reading.key);
        let sums = if self.detector.wants_zones() {
            sum_zones(self.shards.iter().map(Shard::zone_entries))
        } else {
            std::collections::BTreeMap::default()
        };
        let notices = self.detector.end_slice(moment, &readings, &sums, &self.policy, &self.zones);
        self.tell(&notices, moment.now, observer);
    }

    /// A host's counters since the window began, over all shards.
    fn read(&self, key: HostKey) -> Reading {
        let mut sum = Reading::zero(key);
        for shard in &self.shards {
            sum.merge(&shard.read(key));
        }
        sum
    }

    fn close_window(&mut self, window: u64, observer: &mut impl Observer) {
        let length = self.policy.detection.window;
        let start = Timestamp((window * self.slices).saturating_mul(self.slice_ns));
        let moment = Moment { index: window, now: start + length };
        let watched = self.detector.watched();
        let mut readings: Vec<Reading> = watched.iter().map(|key| Reading::zero(*key)).collect();
        let mut summaries = Vec::with_capacity(self.shards.len());
        for (shard, spare) in self.shards.iter_mut().zip(self.spares.drain(..)) {
            let summary = shard.close_window(watched, spare);
            for (sum, part) in readings.iter_mut().zip(&summary.watched) {
                sum.merge(part);
            }
            summaries.push(summary);
        }
        let parts = self.dealing == Dealing::RoundRobin;
        let scan = Scan::of(&summaries, &self.zones, &self.policy.capacity, parts);
        let notices = self.detector.end_window(moment, &readings, &scan, &self.policy, &self.zones);
        let zones = Arc::clone(&self.zones);
        let view = WindowView { start, length, scan: &scan, summaries: &summaries, zones: &zones };
        observer.window(&view);
        self.tell(&notices, moment.now, observer);
        self.spares = summaries;
    }

    /// Adds what the recent records know to the attacks, and tells the observer.
    fn tell(&mut self, notices: &[Notice], now: Timestamp, observer: &mut impl Observer) {
        if notices.is_empty() {
            return;
        }
        // Once the traffic has fallen, recent records are the target's ordinary ones: they must not
        // rename the attack.
        let goes_on = |notice: &&Notice| {
            let active = self.detector.active(notice.subject, notice.side);
            notice.kind != AttackEventKind::Ended && active.is_some_and(|a| a.last_above == now)
        };
        let wanted: Vec<(Subject, Side)> =
            notices.iter().filter(goes_on).map(|notice| (notice.subject, notice.side)).collect();
        self.describe(&wanted);
        for notice in notices {
            let attack = if notice.kind == AttackEventKind::Ended {
                self.detector.remove(notice.subject, notice.side)
            } else {
                self.detector.active(notice.subject, notice.side).map(|a| a.attack.clone())
            };
            if let Some(attack) = attack {
                observer.event(&AttackEvent { kind: notice.kind, time: now, attack });
            }
        }
    }

    /// Samples and class of the wanted attacks, from the recent records of all shards.
    fn describe(&mut self, wanted: &[(Subject, Side)]) {
        let mut samples = Samples::new(wanted, &self.detector, &self.policy);
        let recent = self.shards.iter().map(Shard::recent);
        let oldest = (self.last_seq + 1).saturating_sub(u64::from(self.policy.capacity.recent));
        samples.collect(recent, oldest, &self.zones, self.detector.totals());
        for ((subject, side), records) in samples.into_lists() {
            if let Some(active) = self.detector.active_mut(subject, side) {
                crate::samples::describe(&mut active.attack, &records, &self.amplifiers);
            }
        }
    }
}

#[cfg(test)]
mod tests;
