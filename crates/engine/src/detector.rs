//! From counters to attacks: what is watched, when it becomes an attack, when that is over. One
//! detector per engine, on one thread; it sees sums over all shards and never single records.

use std::collections::BTreeMap;
use std::time::Duration;

use tidewall_model::{
    Address, Attack, AttackClass, AttackEventKind, AttackId, Family, Reason, Target, Timestamp,
    TopTuples, TrafficClass, TrafficCounters,
};

use crate::arena::{HostKey, IN, OUT, Side, direction_of};
use crate::evidence::RuleSettings;
use crate::lpm::PrefixTable;
use crate::policy::{Limits, Policy};
use crate::scan::Scan;
use crate::shard::Reading;
use crate::subject::{Subject, Totals, difference};
use crate::watch::{Active, Finding, State, Tally};
use crate::zones::Zones;

/// Windows without a rate near its limit after which a subject is forgotten.
const CALM_WINDOWS: u32 = 5;
/// Most hosts under watch at once. A host beyond them still counts in its network and group.
pub const MOST_WATCHED: usize = 16_384;

/// Something to be told about an attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub kind: AttackEventKind,
    /// Whose attack.
    pub subject: Subject,
    /// On which side.
    pub side: Side,
}

/// Watches subjects and keeps their attacks.
#[derive(Debug)]
pub struct Detector {
    rule: RuleSettings,
    window: Duration,
    slice: Duration,
    totals: Totals,
    exempt: Option<PrefixTable>,
    states: BTreeMap<Subject, State>,
    watched: Vec<HostKey>,
    next_id: u64,
    refused: u64,
}

/// A moment: the end of a slice or window.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Number of the slice or window that ends: its start divided by its length.
    pub index: u64,
    /// When it ends.
    pub now: Timestamp,
}

impl Detector {
    /// Nothing is watched yet.
    pub fn new(policy: &Policy, zones: &Zones) -> Self {
        let exempt: Vec<_> = policy.whitelist.hosts.iter().map(|p| (*p, 1)).collect();
        Self {
            rule: RuleSettings::from(&policy.detection),
            window: policy.detection.window,
            slice: policy.detection.window / policy.detection.slices.max(1),
            totals: Totals::compile(policy, zones),
            exempt: (!exempt.is_empty()).then(|| PrefixTable::new(&exempt)),
            states: BTreeMap::new(),
            watched: Vec::new(),
            next_id: 1,
            refused: 0,
        }
    }

    /// Hosts whose counters are wanted at the end of every slice, in order.
    pub fn watched(&self) -> &[HostKey] {
        &self.watched
    }

    /// Nothing is under watch: time may jump.
    pub fn is_calm(&self) -> bool {
        self.states.is_empty()
    }

    /// Hosts that could not be watched because too many were.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// The totals that have limits.
    pub const fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Are zone sums wanted at the end of every slice?
    pub fn wants_zones(&self) -> bool {
        self.totals.len() > 0
    }

    /// The attack of a subject's side.
    pub fn active(&self, subject: Subject, side: Side) -> Option<&Active> {
        self.states.get(&subject)?.sides[side].active.as_ref()
    }

    /// The same, to be changed.
    pub fn active_mut(&mut self, subject: Subject, side: Side) -> Option<&mut Active> {
        self.states.get_mut(&subject)?.sides[side].active.as_mut()
    }

    /// All attacks that go on, in order of their subjects.
    pub fn attacks(&self) -> impl Iterator<Item = &Attack> {
        let sides = self.states.values().flat_map(|state| &state.sides);
        sides.filter_map(|watch| watch.active.as_ref()).map(|active| &active.attack)
    }

    /// Would this host be new to us, and may it be an attack at all?
    pub fn wants(&self, key: HostKey, zones: &Zones) -> bool {
        !self.states.contains_key(&Subject::Host(key)) && !self.is_exempt(zones.address(key))
    }

    fn is_exempt(&self, address: Address) -> bool {
        self.exempt.as_ref().is_some_and(|table| table.lookup(address).is_some())
    }

    /// Begins to watch a host whose counters are so by now.
    pub fn adopt(&mut self, reading: &Reading) {
        if self.watched.len() >= MOST_WATCHED {
            self.refused += 1;
            return;
        }
        let state = State::new(tallies(reading));
        self.states.insert(Subject::Host(reading.key), state);
        match self.watched.binary_search(&reading.key) {
            Ok(_) => {}
            Err(at) => self.watched.insert(at, reading.key),
        }
    }

    /// The end of a slice. `readings` are the watched hosts', in order; `sums` the zones' sums.
    pub fn end_slice(
        &mut self,
        moment: Moment,
        readings: &[Reading],
        sums: &BTreeMap<u32, [Tally; 2]>,
        policy: &Policy,
        zones: &Zones,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        let mut excluded = vec![[TrafficCounters::default(); 2]; self.totals.len()];
        for reading in readings {
            let subject = Subject::Host(reading.key);
            let zone = zones.zone(reading.key.zone);
            let limits = &policy.groups[zone.group as usize].host;
            let sides = [&limits.incoming, &limits.outgoing];
            let Some(delta) = self.push_slice(subject, moment, &tallies(reading), sides, &[])
            else {
                continue;
            };
            self.exclude(subject, reading.key.zone, &delta, &mut excluded);
            self.find(subject, moment, policy, zones, &mut notices);
        }
        for total in 0..self.totals.len() as u32 {
            let cumulative = self.total_tally(total, sums);
            let limits = self.totals.get(total).limits.clone();
            let sides = [&limits.incoming, &limits.outgoing];
            let near = |side: Side| {
                sides[side].iter().any(|(metric, limit)| {
                    let count = cumulative[side].amount(metric).count as f64;
                    count >= limit * self.slice.as_secs_f64() * crate::WATCH_PART
                })
            };
            let subject = Subject::Total(total);
            if !self.states.contains_key(&subject) {
                if near(IN) || near(OUT) {
                    let state = State::new(cumulative);
                    self.states.insert(subject, state);
                }
                continue;
            }
            let excluded = &excluded[total as usize];
            self.push_slice(subject, moment, &cumulative, sides, excluded);
            self.find(subject, moment, policy, zones, &mut notices);
        }
        notices
    }

    /// Feeds what was counted since the last slice, without `excluded`; gives it back.
    fn push_slice(
        &mut self,
        subject: Subject,
        moment: Moment,
        now: &[Tally; 2],
        limits: [&Limits; 2],
        excluded: &[TrafficCounters],
    ) -> Option<[Tally; 2]> {
        let state = self.states.get_mut(&subject)?;
        let mut deltas = [Tally::default(); 2];
        for side in [IN, OUT] {
            let mut counters = difference(&now[side].counters, &state.seen[side].counters);
            if let Some(excluded) = excluded.get(side) {
                counters = difference(&counters, excluded);
            }
            let tally = Tally { counters, weight: now[side].weight };
            let watch = &mut state.sides[side];
            watch.push_slice(moment.index, &tally, limits[side], self.slice, &self.rule);
            if let Some(active) = &mut watch.active {
                active.add(&tally.counters);
            }
            deltas[side] = tally;
        }
        state.remember(&deltas);
        state.seen = *now;
        Some(deltas)
    }

    /// An attacked host's traffic is told as its own: it does not count towards totals again.
    fn exclude(
        &self,
        subject: Subject,
        zone: u32,
        tallies: &[Tally; 2],
        excluded: &mut [[TrafficCounters; 2]],
    ) {
        let Some(state) = self.states.get(&subject) else { return };
        for side in [IN, OUT].into_iter().filter(|side| state.is_attacked(*side)) {
            for total in self.totals.of_zone(zone) {
                excluded[*total as usize][side] += &tallies[side].counters;
            }
        }
    }

    fn total_tally(&self, total: u32, sums: &BTreeMap<u32, [Tally; 2]>) -> [Tally; 2] {
        let mut tally = [Tally::default(); 2];
        for (zone, sides) in sums {
            if self.totals.of_zone(*zone).contains(&total) {
                for side in [IN, OUT] {
                    tally[side].counters += &sides[side].counters;
                    tally[side].weight = tally[side].weight.max(sides[side].weight);
                }
            }
        }
        tally
    }

    /// The end of a window. `watched` are the watched hosts' readings, in order.
    pub fn end_window(
        &mut self,
        moment: Moment,
        watched: &[Reading],
        scan: &Scan,
        policy: &Policy,
        zones: &Zones,
    ) -> Vec<Notice> {
        let mut notices = Vec::new();
        for reading in scan.candidates.values() {
            if self.wants(reading.key, zones) {
                self.adopt(reading);
            }
        }
        let mut excluded = vec![[TrafficCounters::default(); 2]; self.totals.len()];
        let keys = self.watched.clone();
        for key in keys {
            // What was adopted just now is a candidate, the rest is in the list.
            let listed = watched.binary_search_by_key(&key, |r| r.key).map(|at| &watched[at]);
            let Some(reading) = listed.ok().or_else(|| scan.candidates.get(&key)) else { continue };
            // Where a host is spread over shards, only the scan has the union of its flows.
            let reading = scan.candidates.get(&key).unwrap_or(reading);
            let subject = Subject::Host(key);
            let limits = &policy.groups[zones.zone(key.zone).group as usize].host;
            let tallies = tallies(reading);
            self.exclude(subject, key.zone, &tallies, &mut excluded);
            let sides = [&limits.incoming, &limits.outgoing];
            self.push_window(subject, moment, &tallies, sides, policy, &mut notices);
            self.find(subject, moment, policy, zones, &mut notices);
        }
        for total in 0..self.totals.len() as u32 {
            let mut tally = self.total_tally(total, &scan.zones);
            for side in [IN, OUT] {
                let without = &excluded[total as usize][side];
                tally[side].counters = difference(&tally[side].counters, without);
            }
            let limits = self.totals.get(total).limits.clone();
            let subject = Subject::Total(total);
            let sides = [&limits.incoming, &limits.outgoing];
            self.push_window(subject, moment, &tally, sides, policy, &mut notices);
            self.find(subject, moment, policy, zones, &mut notices);
        }
        self.forget_calm();
        notices
    }

    fn push_window(
        &mut self,
        subject: Subject,
        moment: Moment,
        tallies: &[Tally; 2],
        limits: [&Limits; 2],
        policy: &Policy,
        notices: &mut Vec<Notice>,
    ) {
        let detection = &policy.detection;
        let window = self.window;
        let state = match subject {
            Subject::Host(_) => self.states.get_mut(&subject),
            Subject::Total(_) => Some(self.states.entry(subject).or_default()),
        };
        let Some(state) = state else { return };
        for side in [IN, OUT] {
            let watch = &mut state.sides[side];
            watch.push_window(moment.index, &tallies[side], limits[side], window);
            let released = watch.is_released(limits[side], detection.release, &self.rule);
            let Some(active) = &mut watch.active else { continue };
            active.end_window(&tallies[side].counters, window);
            if !released {
                active.last_above = moment.now;
            }
            let kind = if moment.now.since(active.last_above) >= detection.release_time {
                active.attack.ended = Some(active.last_above);
                AttackEventKind::Ended
            } else if moment.now.since(active.last_event) >= detection.update_every {
                active.last_event = moment.now;
                AttackEventKind::Updated
            } else {
                continue;
            };
            notices.push(Notice { kind, subject, side });
        }
        state.end_window(tallies);
    }

    /// Ends an attack's record: it has been told.
    pub fn remove(&mut self, subject: Subject, side: Side) -> Option<Attack> {
        // The past that raised it must not raise it again: what comes next is judged afresh.
        let watch = std::mem::take(&mut self.states.get_mut(&subject)?.sides[side]);
        watch.active.map(|active| active.attack)
    }

    fn forget_calm(&mut self) {
        self.states.retain(|_, state| !state.is_calm(CALM_WINDOWS));
        let states = &self.states;
        self.watched.retain(|key| states.contains_key(&Subject::Host(*key)));
    }

    /// Raises an attack where a limit is exceeded and none is raised yet.
    fn find(
        &mut self,
        subject: Subject,
        moment: Moment,
        policy: &Policy,
        zones: &Zones,
        notices: &mut Vec<Notice>,
    ) {
        let (target, group, limits) = match subject {
            Subject::Host(key) => {
                let group = zones.zone(key.zone).group;
                let limits = &policy.groups[group as usize].host;
                (Target::Host(zones.address(key)), group, limits)
            }
            Subject::Total(total) => {
                let total = self.totals.get(total);
                (total.target.clone(), total.group, &total.limits)
            }
        };
        let Some(state) = self.states.get_mut(&subject) else { return };
        for (side, limits) in [&limits.incoming, &limits.outgoing].into_iter().enumerate() {
            if state.sides[side].active.is_some() {
                continue;
            }
            let Some(finding) = state.sides[side].finding(limits, &self.rule) else { continue };
            let id = AttackId(self.next_id);
            self.next_id += 1;
            let group = policy.groups[group as usize].name.clone();
            let reason = reason_of(&finding, side, group);
            let attack = state.open(
                id,
                target.clone(),
                side,
                reason,
                &finding,
                moment.now,
                (self.slice, self.window),
            );
            state.sides[side].active =
                Some(Active { attack, last_above: moment.now, last_event: moment.now });
            notices.push(Notice { kind: AttackEventKind::Started, subject, side });
        }
    }
}

fn tallies(reading: &Reading) -> [Tally; 2] {
    [IN, OUT].map(|side| Tally { counters: reading.sides[side], weight: reading.weight[side] })
}

fn reason_of(finding: &Finding, side: Side, group: String) -> Reason {
    let window_ms = u64::try_from(finding.excess.window.as_millis()).unwrap_or(u64::MAX);
    let counted = finding.excess.value * finding.excess.window.as_secs_f64();
    Reason {
        metric: finding.metric,
        direction: direction_of(side),
        value: finding.excess.value,
        limit: finding.limit,
        group,
        window_ms,
        samples: finding.excess.samples.unwrap_or(counted as u64),
    }
}

impl State {
    /// Describes an attack that begins now, as far as the counters know it.
    #[expect(clippy::too_many_arguments, reason = "one description, made in one place")]
    fn open(
        &self,
        id: AttackId,
        target: Target,
        side: Side,
        reason: Reason,
        finding: &Finding,
        now: Timestamp,
        (slice, window): (Duration, Duration),
    ) -> Attack {
        let since = finding.excess.since.max(slice);
        let rates = self.rates(side, since, slice, window);
        let total = rates.get(TrafficClass::Total);
        let seconds = since.as_secs_f64();
        Attack {
            id,
            family: target.family().unwrap_or(Family::V4),
            target,
            direction: direction_of(side),
            class: AttackClass::Unknown,
            vectors: Vec::new(),
            reason,
            started: now - since,
            detected: now,
            ended: None,
            peak_pps: total.packets,
            peak_bps: total.bytes.saturating_mul(8),
            peak_flows: rates.flows,
            packets: (total.packets as f64 * seconds) as u64,
            bytes: (total.bytes as f64 * seconds) as u64,
            rates,
            top: TopTuples::default(),
            samples: Vec::new(),
        }
    }
}
