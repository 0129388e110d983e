//! Slices and windows closed over all shards, and the detector asked at the end of each: what the
//! one thread does that sees the whole. The shards are lent to it, whether they stand in the same
//! thread or each with its worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidewall_model::{
    Address, Attack, AttackEvent, AttackEventKind, DirectedCounters, Direction, FlowRecord,
    Timestamp, TrafficCounters,
};

use crate::amplifiers::Amplifiers;
use crate::arena::{HostKey, IN, Side};
use crate::detector::{Detector, Moment, Notice};
use crate::distinct::DistinctFlows;
use crate::flows::MOST_THINNED;
use crate::normal::{Normal, scatter};
use crate::policy::Policy;
use crate::samples::{Samples, describe, filter, is_filterable};
use crate::scan::{Scan, add_zones};
use crate::shard::{Reading, Shard, SliceSummary, WindowSummary};
use crate::slack::{self, Sizes, Slack};
use crate::subject::Subject;
use crate::whitelist::Rules;
use crate::zones::Zones;

/// Attacks that get filters at one moment; the others get theirs when they are told next. To search
/// takes a millisecond or two, and an attack on a whole network must not delay its own detection.
const MOST_FILTERED: usize = 8;

/// Shards, wherever they are.
pub trait Shards {
    /// Calls `visit` with every shard and its number, in order. Each is held only as long as the
    /// call lasts.
    fn each(&mut self, visit: &mut dyn FnMut(usize, &mut Shard));
}

impl Shards for Vec<Shard> {
    fn each(&mut self, visit: &mut dyn FnMut(usize, &mut Shard)) {
        for (at, shard) in self.iter_mut().enumerate() {
            visit(at, shard);
        }
    }
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

/// Closes slices and windows, and keeps the detector.
#[derive(Debug)]
pub struct Conductor {
    policy: Arc<Policy>,
    zones: Arc<Zones>,
    rules: Arc<Rules>,
    amplifiers: Amplifiers,
    /// A host's traffic may be spread over several shards.
    parts: bool,
    spares: Vec<WindowSummary>,
    /// The flows of each shard in the window that is read; the first also helps to strike out
    /// repeats in one that runs.
    flows: Vec<DistinctFlows>,
    slack: Slack,
    /// Time in which nothing happened, since a window was closed or memory was given back.
    rested_ns: u64,
    detector: Detector,
    /// What hosts receive when they are not attacked.
    normal: Normal,
    /// What the closed window brought to hosts of ours, as far as the rings still hold it. Kept for
    /// its memory.
    received: Vec<FlowRecord>,
    /// Number of the slice that is being filled; `None` before time began.
    slice: Option<u64>,
    slice_ns: u64,
    slices: u64,
    /// Number of a window whose beginning is not counted: its length changed within it.
    part: Option<u64>,
    /// The shards' records have positions in one order.
    in_order: bool,
    answer: SliceSummary,
}

impl Conductor {
    /// Of `shards` shards. `parts` says that the traffic of one host may come to several of them.
    /// `seed` keys the hash tables.
    pub fn new(policy: Policy, shards: usize, parts: bool, seed: u64) -> Self {
        let zones = Arc::new(Zones::compile(&policy, if parts { shards as u32 } else { 1 }, seed));
        let summary = || WindowSummary::new(&policy.capacity, zones.all().len());
        let slices = u64::from(policy.detection.slices.max(1));
        let window_ns = u64::try_from(policy.detection.window.as_nanos()).unwrap_or(u64::MAX);
        Self {
            rules: Arc::new(Rules::compile(&policy.whitelist.rules)),
            amplifiers: Amplifiers::embedded(),
            parts,
            spares: (0..shards).map(|_| summary()).collect(),
            flows: (0..shards).map(|_| DistinctFlows::new(policy.capacity.flows)).collect(),
            slack: Slack::default(),
            rested_ns: 0,
            detector: Detector::new(&policy, &zones),
            normal: Normal::new(&policy.capacity),
            received: Vec::new(),
            slice: None,
            slice_ns: (window_ns / slices).max(1),
            slices,
            part: None,
            in_order: false,
            answer: SliceSummary::default(),
            zones,
            policy: Arc::new(policy),
        }
    }

    /// An empty shard.
    pub fn shard(&self) -> Shard {
        Shard::new(&self.policy, &self.zones, &self.rules)
    }

    /// One more shard, from now on: the caller lends it with the others. What each shard leaves
    /// unseen of a host is still measured for as many shards as there were, until another
    /// conductor goes on ([`Self::inherit`]).
    pub fn join(&mut self) -> Shard {
        self.spares.push(WindowSummary::new(&self.policy.capacity, self.zones.all().len()));
        self.flows.push(DistinctFlows::new(self.policy.capacity.flows));
        self.parts = true;
        self.shard()
    }

    /// Only so many shards are lent from now on: some that had joined are gone again, with nothing
    /// in them that a window has yet to show.
    pub fn part(&mut self, shards: usize) {
        self.spares.truncate(shards);
        self.flows.truncate(shards);
        self.parts &= shards > 1;
    }

    /// Closes every slice and window that is over at `now`.
    pub fn advance(
        &mut self,
        now: Timestamp,
        shards: &mut dyn Shards,
        observer: &mut impl Observer,
    ) {
        self.advance_to(now.0 / self.slice_ns, shards, observer);
    }

    /// Closes the window that is being filled, whatever time it is.
    pub fn finish(&mut self, shards: &mut dyn Shards, observer: &mut impl Observer) {
        if let Some(current) = self.slice {
            let next = (current / self.slices).saturating_add(1);
            self.advance_to(next.saturating_mul(self.slices), shards, observer);
        }
    }

    /// Closes every slice and window before the slice with this number.
    fn advance_to(&mut self, wanted: u64, shards: &mut dyn Shards, observer: &mut impl Observer) {
        let mut current = self.slice.unwrap_or(wanted);
        while current < wanted {
            if self.is_idle(shards) {
                // Nothing was counted and nothing is watched: no time needs to be gone through.
                if wanted / self.slices > current / self.slices {
                    self.pace(shards);
                }
                self.rest(wanted - current, shards);
                current = wanted;
                break;
            }
            self.close_slice(current, shards, observer);
            current += 1;
            if current.is_multiple_of(self.slices) {
                self.close_window(current / self.slices - 1, shards, observer);
            }
        }
        self.slice = Some(current);
    }

    /// While nothing happens, nothing is needed.
    fn rest(&mut self, slices: u64, shards: &mut dyn Shards) {
        self.rested_ns = self.rested_ns.saturating_add(slices.saturating_mul(self.slice_ns));
        if u128::from(self.rested_ns) < slack::PERIOD.as_nanos() {
            return;
        }
        (self.rested_ns, self.slack) = (0, Slack::default());
        let (nothing, capacity) = (Sizes::default(), &self.policy.capacity);
        for spare in &mut self.spares {
            spare.give_back(&nothing, capacity, self.zones.dense());
        }
        shards.each(&mut |_, shard| shard.give_back(&nothing, capacity));
        self.give_back_flows(&nothing);
    }

    /// Puts new sets in the place of those that have touched far more than is needed.
    fn give_back_flows(&mut self, needed: &Sizes) {
        for flows in &mut self.flows {
            if flows.wastes(needed) {
                *flows = DistinctFlows::new(self.policy.capacity.flows);
            }
        }
    }

    /// Is the window that is being filled over at `now`?
    pub fn ends_window(&self, now: Timestamp) -> bool {
        let wanted = now.0 / self.slice_ns;
        self.slice.is_some_and(|current| wanted / self.slices > current / self.slices)
    }

    /// Was nothing counted since the window began, and is nothing watched?
    pub fn is_idle(&self, shards: &mut dyn Shards) -> bool {
        let mut idle = self.detector.is_calm();
        if idle {
            shards.each(&mut |_, shard| idle &= shard.is_idle());
        }
        idle
    }

    /// Begin and end of the slice that is being filled.
    pub(crate) fn current_slice(&self) -> (Timestamp, Timestamp) {
        let current = self.slice.unwrap_or_default();
        let begin = current.saturating_mul(self.slice_ns);
        let end = current.saturating_add(1).saturating_mul(self.slice_ns);
        (Timestamp(begin), Timestamp(end))
    }

    /// Says that the positions of records are in one order over all shards.
    pub(crate) const fn share_order(&mut self) {
        self.in_order = true;
    }

    /// Goes on where another conductor stands, at the end of a window: with its clock, and with what
    /// it watches. Attacks on targets that this policy does not know end.
    pub fn inherit(&mut self, other: &mut Self, observer: &mut impl Observer) {
        self.normal.inherit(&mut other.normal);
        let now = other.slice.map_or(0, |slice| slice.saturating_mul(other.slice_ns));
        // A window of another length may be begun in its middle, and then lacks what was before.
        // To wait for the next one would count what comes until then as that of one slice.
        self.slice = other.slice.map(|_| now / self.slice_ns);
        let window_ns = self.slice_ns.saturating_mul(self.slices);
        let changed = self.policy.detection.window != other.policy.detection.window;
        self.part = (changed && !now.is_multiple_of(window_ns)).then_some(now / window_ns);
        let orphans = self.detector.inherit(&mut other.detector, &other.zones, &self.zones);
        let time = Timestamp(now);
        for mut attack in orphans {
            attack.ended = Some(time);
            observer.event(&AttackEvent { kind: AttackEventKind::Ended, time, attack });
        }
    }

    /// How long a slice is.
    pub const fn slice_length(&self) -> Duration {
        Duration::from_nanos(self.slice_ns)
    }

    /// Attacks that go on.
    pub fn attacks(&self) -> impl Iterator<Item = &Attack> {
        self.detector.attacks()
    }

    /// What it runs by.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn zones(&self) -> &Zones {
        &self.zones
    }

    /// Hosts that could not be watched because too many were.
    pub const fn watch_refused(&self) -> u64 {
        self.detector.refused()
    }

    /// Keeps the flows of all shards together within their bound, as if they had shared one log.
    fn align_flows(&mut self, shards: &mut dyn Shards) {
        let (mut count, mut level, mut most, mut bound, mut struck) = (0, 0, 0, 0, false);
        shards.each(&mut |_, shard| {
            let flows = shard.flows();
            count += flows.len();
            struck |= flows.was_struck();
            (most, bound) = (flows.most(), flows.bound());
        });
        if count <= bound && !struck {
            return;
        }
        let Some(distinct) = self.flows.first_mut() else { return };
        let (mut left, mut lowest) = (0, u32::MAX);
        shards.each(&mut |_, shard| {
            shard.settle_flows(distinct);
            level = level.max(shard.flows().level());
            lowest = lowest.min(shard.flows().level());
            left += shard.flows().len();
        });
        // Workers go on: what they write down until it is looked at again may be repeats.
        if left <= most && level <= lowest {
            return;
        }
        let level = level_for(most, level, |level| {
            let mut left = 0;
            shards.each(&mut |_, shard| left += shard.flows().len_at(level));
            left
        });
        shards.each(&mut |_, shard| shard.thin_flows(level));
    }

    /// Counts the flows of these hosts, and of all that are watched, on every shard, thinned as if
    /// all had shared one set.
    fn count_flows_of(keys: &[HostKey], shards: &mut dyn Shards) {
        let (mut count, mut level, mut left, mut most) = (0, 0, 0, 0);
        shards.each(&mut |_, shard| {
            shard.count_flows_of(keys);
            let flows = shard.watched_flows();
            count += 1;
            level = level.max(flows.level());
            left += flows.len();
            most = flows.most();
        });
        if count == 1 || (level == 0 && left <= most) {
            return;
        }
        let level = level_for(most, level, |level| {
            let mut left = 0;
            shards.each(&mut |_, shard| left += shard.watched_flows().len_at(level));
            left
        });
        shards.each(&mut |_, shard| shard.thin_watched_flows(level));
    }

    /// Tells the flows of a closed window apart, and counts them for their hosts.
    fn count_flows(&mut self, summaries: &mut [WindowSummary]) {
        let (mut level, mut left, mut most) = (0, 0, 0);
        for (flows, summary) in self.flows.iter_mut().zip(summaries.iter()) {
            flows.refill(&summary.flows);
            level = level.max(flows.level());
            left += flows.len();
            most = flows.most();
        }
        if left > most || level > 0 {
            let left_at = |level| self.flows.iter().map(|flows| flows.len_at(level)).sum();
            level = level_for(most, level, left_at);
        }
        for (flows, summary) in self.flows.iter_mut().zip(summaries) {
            flows.thin_to(level);
            summary.count_flows(flows);
        }
    }

    fn close_slice(&mut self, slice: u64, shards: &mut dyn Shards, observer: &mut impl Observer) {
        self.align_flows(shards);
        Self::count_flows_of(self.detector.watched(), shards);
        let now = Timestamp(slice.saturating_add(1).saturating_mul(self.slice_ns));
        let moment = Moment { index: slice, now, is_whole: true };
        let watched = self.detector.watched();
        let mut readings: Vec<Reading> = watched.iter().map(|key| Reading::zero(*key)).collect();
        let mut hot: Vec<HostKey> = Vec::new();
        let mut sums = BTreeMap::new();
        let (answer, wants_zones) = (&mut self.answer, self.detector.wants_zones());
        shards.each(&mut |_, shard| {
            shard.close_slice(watched, answer);
            for (sum, part) in readings.iter_mut().zip(&answer.watched) {
                sum.merge(part);
            }
            hot.append(&mut answer.hot);
            if wants_zones {
                add_zones(&mut sums, shard.zone_entries());
            }
        });
        let adopted = self.detector.adopt(hot, &self.zones);
        if !adopted.is_empty() {
            Self::count_flows_of(&adopted, shards);
            let mut new: Vec<Reading> = adopted.iter().map(|key| Reading::zero(*key)).collect();
            shards.each(&mut |_, shard| {
                for sum in &mut new {
                    sum.merge(&shard.read(sum.key));
                }
            });
            readings.append(&mut new);
        }
        readings.sort_unstable_by_key(|reading| reading.key);
        let notices = self.detector.end_slice(moment, &readings, &sums, &self.policy, &self.zones);
        self.tell(&notices, moment.now, shards, observer);
    }

    fn close_window(&mut self, window: u64, shards: &mut dyn Shards, observer: &mut impl Observer) {
        let length = self.policy.detection.window;
        let start = Timestamp((window * self.slices).saturating_mul(self.slice_ns));
        let is_whole = self.part != Some(window);
        let moment = Moment { index: window, now: start + length, is_whole };
        let watched = self.detector.watched();
        let mut readings: Vec<Reading> = watched.iter().map(|key| Reading::zero(*key)).collect();
        let mut summaries = Vec::with_capacity(self.spares.len());
        let mut spares = self.spares.drain(..);
        shards.each(&mut |_, shard| {
            let Some(spare) = spares.next() else { return };
            let summary = shard.close_window(watched, spare);
            for (sum, part) in readings.iter_mut().zip(&summary.watched) {
                sum.merge(part);
            }
            summaries.push(summary);
        });
        drop(spares);
        self.count_flows(&mut summaries);
        let shared = self.parts.then_some((self.flows.as_slice(), &self.policy.capacity));
        let scan = Scan::of(&summaries, &self.zones, shared);
        let notices = self.detector.end_window(moment, &readings, &scan, &self.policy, &self.zones);
        let zones = Arc::clone(&self.zones);
        let view = WindowView { start, length, scan: &scan, summaries: &summaries, zones: &zones };
        observer.window(&view);
        self.tell(&notices, moment.now, shards, observer);
        self.remember(start, moment.now, shards);
        self.pace(shards);
        let needed = self.slack.note(&summaries, start);
        self.rested_ns = 0;
        for summary in &mut summaries {
            // Here, and not when a shard begins with it: its worker would have to wait.
            summary.clear();
            summary.give_back(&needed, &self.policy.capacity, self.zones.dense());
        }
        self.give_back_flows(&needed);
        self.spares = summaries;
    }

    /// Remembers some of what the window brought to hosts that are not attacked.
    fn remember(&mut self, start: Timestamp, now: Timestamp, shards: &mut dyn Shards) {
        if !self.policy.detection.enabled {
            return;
        }
        let (oldest, zones, detector) = (self.oldest(shards), &self.zones, &self.detector);
        // No more records than one ring holds, however many rings there are.
        let one_in = if self.in_order { 1 } else { self.flows.len().max(1) as u64 };
        let records = &mut self.received;
        records.clear();
        shards.each(&mut |_, shard| {
            let of_window = |record: &&FlowRecord| {
                (start..now).contains(&record.time)
                    && (one_in == 1 || scatter(record).is_multiple_of(one_in))
                    && zones.lookup(record.family, record.dst).is_some()
            };
            records.extend(shard.recent().newest_first(oldest).filter(of_window).copied());
        });
        let is_calm = |record: &FlowRecord| {
            let Some(zone) = zones.lookup(record.family, record.dst) else { return false };
            let host = Subject::Host(HostKey { zone, bits: record.dst });
            let totals = detector.totals().of_zone(zone).iter().map(|total| Subject::Total(*total));
            let mut subjects = std::iter::once(host).chain(totals);
            subjects.all(|subject| detector.active(subject, IN).is_none())
        };
        self.normal.remember(records, now, is_calm);
    }

    /// Tells the rings how many records of the next window to keep, going by the last one.
    fn pace(&self, shards: &mut dyn Shards) {
        let window = self.policy.detection.window;
        let mut all = 0;
        shards.each(&mut |_, shard| {
            let ring = shard.recent_mut();
            let own = ring.take_noted();
            all += own;
            ring.pace(own, window);
        });
        if self.is_shared() {
            shards.each(&mut |_, shard| shard.recent_mut().pace(all, window));
        }
    }

    /// The first position that the rings tell of. Where shards share an order, they tell together
    /// of as many records as one ring alone would hold.
    fn oldest(&self, shards: &mut dyn Shards) -> u64 {
        if !self.is_shared() {
            return 0;
        }
        let capacity = self.policy.capacity.recent.max(1) as usize;
        let mut kept = 0;
        shards.each(&mut |_, shard| kept += shard.recent().len());
        if kept <= capacity {
            return 0;
        }
        let mut positions: Vec<u64> = Vec::with_capacity(kept);
        shards.each(&mut |_, shard| positions.extend(shard.recent().positions()));
        positions.sort_unstable();
        // A record between two of our hosts may be in two rings.
        positions.dedup();
        let lost = positions.len().saturating_sub(capacity);
        positions.get(lost).copied().unwrap_or(0)
    }

    /// Does more than one ring hold records of one order?
    const fn is_shared(&self) -> bool {
        self.in_order && self.flows.len() > 1
    }

    /// Adds what the recent records know to the attacks, and tells the observer.
    fn tell(
        &mut self,
        notices: &[Notice],
        now: Timestamp,
        shards: &mut dyn Shards,
        observer: &mut impl Observer,
    ) {
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
        self.describe(&wanted, shards);
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
    fn describe(&mut self, wanted: &[(Subject, Side)], shards: &mut dyn Shards) {
        let mut samples = Samples::new(wanted, &self.detector, &self.policy);
        if samples.is_empty() {
            return;
        }
        let oldest = self.oldest(shards);
        let (zones, totals) = (&self.zones, self.detector.totals());
        shards.each(&mut |_, shard| samples.collect(shard.recent(), oldest, zones, totals));
        let mut filtered = 0;
        for ((subject, side), found) in samples.into_lists() {
            if let Some(active) = self.detector.active_mut(subject, side) {
                let attack = &mut active.attack;
                describe(attack, &found.records, &self.amplifiers);
                if is_filterable(attack) && filtered < MOST_FILTERED {
                    filtered += 1;
                    let normal = self.normal.before(&attack.target, found.since, found.before);
                    filter(attack, &normal, &self.amplifiers, &self.policy.filters);
                }
            }
        }
    }
}

/// The least level of thinning, from this one on, that leaves no more than so many tags.
fn level_for(most: usize, least: u32, mut left_at: impl FnMut(u32) -> usize) -> u32 {
    (least..MOST_THINNED).find(|level| left_at(*level) <= most).unwrap_or(MOST_THINNED)
}

#[cfg(test)]
mod tests;
