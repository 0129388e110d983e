//! From counters to attacks: what is watched, when it becomes an attack, when that is over. One
//! detector per engine, on one thread; it sees sums over all shards and never single records.

mod raise;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidewall_model::{Address, Attack, AttackEventKind, Target, Timestamp, TrafficCounters};

use crate::arena::{HostKey, IN, OUT, Side};
use crate::detector::raise::{Owner, Raiser};
use crate::evidence::RuleSettings;
use crate::lpm::PrefixTable;
use crate::policy::Policy;
use crate::scan::Scan;
use crate::shard::Reading;
use crate::subject::{Subject, Totals};
use crate::watch::{Active, State, Tally};
use crate::zones::Zones;

/// Windows without a rate near its limit after which a subject is forgotten.
const CALM_WINDOWS: u32 = 5;
/// Most hosts under watch at once. A host beyond them still counts in its network and group, and
/// takes the place of a calmer one at the end of a window in which it came near a limit.
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

/// A moment: the end of a slice or window.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Number of the slice or window that ends: its start divided by its length.
    pub index: u64,
    /// When it ends.
    pub now: Timestamp,
    /// Was all of it counted? Not of a window within which its length changed.
    pub is_whole: bool,
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

/// Traffic of attacked hosts that does not count in their totals, by total and side.
type Excluded = BTreeMap<u32, [TrafficCounters; 2]>;

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
        self.states.get(&subject)?.sides[side].active.as_deref()
    }

    /// The same, to be changed.
    pub fn active_mut(&mut self, subject: Subject, side: Side) -> Option<&mut Active> {
        self.states.get_mut(&subject)?.sides[side].active.as_deref_mut()
    }

    /// All attacks that go on, in order of their subjects.
    pub fn attacks(&self) -> impl Iterator<Item = &Attack> {
        let sides = self.states.values().flat_map(|state| &state.sides);
        sides.filter_map(|watch| watch.active.as_ref()).map(|active| &active.attack)
    }

    /// Begins to watch those of `hosts` that are new and may be an attack at all, as far as there
    /// is room; gives them back in order.
    pub fn adopt(&mut self, mut hosts: Vec<HostKey>, zones: &Zones) -> Vec<HostKey> {
        hosts.sort_unstable();
        hosts.dedup();
        hosts.retain(|key| self.wants(*key, zones));
        let room = MOST_WATCHED.saturating_sub(self.watched.len());
        self.refused += hosts.len().saturating_sub(room) as u64;
        hosts.truncate(room);
        self.states.extend(hosts.iter().map(|key| (Subject::Host(*key), State::default())));
        if !hosts.is_empty() {
            self.watched.extend_from_slice(&hosts);
            self.watched.sort_unstable();
        }
        hosts
    }

    /// The end of a slice. `readings` are the watched hosts', in order, and those of hosts that
    /// were adopted just now; `sums` are the zones' sums.
    ///
    /// What is new to the watch brings all it counted since the window began as one slice. Before
    /// this slice that was too little to be worth a look: a tenth of a second's worth of traffic
    /// at the limit at the most.
    pub fn end_slice(
        &mut self,
        moment: Moment,
        readings: &[Reading],
        sums: &BTreeMap<u32, [Tally; 2]>,
        policy: &Policy,
        zones: &Zones,
    ) -> Vec<Notice> {
        let touched = self.total_sums(sums);
        let Self { rule, window, slice, totals, states, next_id, .. } = self;
        let mut raiser = Raiser::new(rule, *slice, *window, moment.now, next_id);
        let mut excluded = Excluded::new();
        for reading in readings {
            let subject = Subject::Host(reading.key);
            let Some(state) = states.get_mut(&subject) else { continue };
            let owner = host_owner(reading.key, policy, zones);
            let now = tallies(reading);
            let brought = state.push_slice(moment.index, &now, None, owner.limits, *slice, rule);
            raiser.find(subject, state, &owner);
            exclude(state, totals.of_zone(reading.key.zone), &brought, &mut excluded);
        }
        for (number, sum) in touched {
            let subject = Subject::Total(number);
            let total = totals.get(number);
            let state = if total.is_near(&sum, *slice) {
                Some(states.entry(subject).or_default())
            } else {
                states.get_mut(&subject)
            };
            let Some(state) = state else { continue };
            let owner = total.owner(policy);
            let without = excluded.get(&number);
            state.push_slice(moment.index, &sum, without, owner.limits, *slice, rule);
            raiser.find(subject, state, &owner);
        }
        raiser.notices
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
        self.adopt_candidates(scan, zones);
        let touched = self.total_sums(&scan.zones);
        let Self { rule, window, slice, totals, states, next_id, .. } = self;
        let mut raiser = Raiser::new(rule, *slice, *window, moment.now, next_id);
        let mut excluded = Excluded::new();
        for key in &self.watched {
            // What was adopted just now is a candidate, and where a host is spread over shards,
            // only the scan has the union of its flows.
            let listed = || watched.binary_search_by_key(key, |r| r.key).map(|at| &watched[at]);
            let Some(reading) = scan.candidates.get(key).or_else(|| listed().ok()) else {
                continue;
            };
            let subject = Subject::Host(*key);
            let Some(state) = states.get_mut(&subject) else { continue };
            let owner = host_owner(*key, policy, zones);
            let tallies = tallies(reading);
            let news = state.push_window(moment, &tallies, owner.limits, &policy.detection, rule);
            raiser.tell(subject, news);
            raiser.find(subject, state, &owner);
            exclude(state, totals.of_zone(key.zone), &tallies, &mut excluded);
        }
        for (number, mut sum) in touched {
            let subject = Subject::Total(number);
            let total = totals.get(number);
            if let Some(without) = excluded.get(&number) {
                sum.iter_mut().zip(without).for_each(|(tally, part)| tally.subtract(part));
            }
            let state = if total.is_near(&sum, *window) {
                Some(states.entry(subject).or_default())
            } else {
                states.get_mut(&subject)
            };
            let Some(state) = state else { continue };
            let owner = total.owner(policy);
            let news = state.push_window(moment, &sum, owner.limits, &policy.detection, rule);
            raiser.tell(subject, news);
            raiser.find(subject, state, &owner);
        }
        let notices = raiser.notices;
        self.forget_calm();
        notices
    }

    /// Ends an attack's record: it has been told.
    pub fn remove(&mut self, subject: Subject, side: Side) -> Option<Attack> {
        // The past that raised it must not raise it again: what comes next is judged afresh.
        let watch = std::mem::take(&mut self.states.get_mut(&subject)?.sides[side]);
        watch.active.map(|active| active.attack)
    }

    /// Takes over what another detector watches, that went by another policy. Gives the attacks
    /// whose target this policy does not know.
    pub fn inherit(&mut self, other: &mut Self, of_other: &Zones, zones: &Zones) -> Vec<Attack> {
        let mut orphans = Vec::new();
        self.next_id = other.next_id;
        self.refused += other.refused;
        let same_lengths = (self.window, self.slice) == (other.window, other.slice);
        for (subject, mut state) in std::mem::take(&mut other.states) {
            if !same_lengths {
                state.forget_past();
            }
            let known = match subject {
                Subject::Host(key) => {
                    let address = of_other.address(key);
                    let zone = zones.lookup(address.family, address.bits);
                    let zone = zone.filter(|_| !self.is_exempt(address));
                    zone.map(|zone| Subject::Host(HostKey { zone, bits: key.bits }))
                }
                Subject::Total(number) => {
                    self.totals.find(&other.totals.get(number).target).map(Subject::Total)
                }
            };
            if let Some(subject) = known {
                self.states.insert(subject, state);
            } else {
                let ended = state.sides.into_iter().filter_map(|watch| watch.active);
                orphans.extend(ended.map(|active| active.attack));
            }
        }
        other.watched.clear();
        let hosts = self.states.keys().filter_map(|subject| match subject {
            Subject::Host(key) => Some(*key),
            Subject::Total(_) => None,
        });
        self.watched = hosts.collect();
        orphans
    }

    /// Is this host new to us, and may it be an attack at all?
    fn wants(&self, key: HostKey, zones: &Zones) -> bool {
        !self.states.contains_key(&Subject::Host(key)) && !self.is_exempt(zones.address(key))
    }

    fn is_exempt(&self, address: Address) -> bool {
        self.exempt.as_ref().is_some_and(|table| table.lookup(address).is_some())
    }

    /// Watches the hosts that came near a limit in this window. When there are too many, the
    /// attacked ones stay, and of the others those that are furthest above.
    fn adopt_candidates(&mut self, scan: &Scan, zones: &Zones) {
        let candidates = scan.candidates.keys().copied();
        let new: Vec<HostKey> = candidates.filter(|key| self.wants(*key, zones)).collect();
        if self.watched.len() + new.len() > MOST_WATCHED {
            let rank = |key: &HostKey| match self.states.get(&Subject::Host(*key)) {
                Some(state) if state.is_attacked(IN) || state.is_attacked(OUT) => f64::INFINITY,
                _ => scan.candidates.get(key).map_or(0.0, |reading| excess(reading, zones)),
            };
            let all = self.watched.iter().chain(&new);
            let mut ranked: Vec<(f64, HostKey)> = all.map(|key| (rank(key), *key)).collect();
            ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
            let losers: BTreeSet<HostKey> =
                ranked.iter().skip(MOST_WATCHED).map(|(_, key)| *key).collect();
            self.refused += new.iter().filter(|key| losers.contains(key)).count() as u64;
            self.states.retain(|subject, _| match subject {
                Subject::Host(key) => !losers.contains(key),
                Subject::Total(_) => true,
            });
            self.watched.retain(|key| !losers.contains(key));
            self.adopt(new.into_iter().filter(|key| !losers.contains(key)).collect(), zones);
        } else {
            self.adopt(new, zones);
        }
    }

    /// Sums of the totals that have traffic or are under watch, from the sums of the zones.
    fn total_sums(&self, sums: &BTreeMap<u32, [Tally; 2]>) -> BTreeMap<u32, [Tally; 2]> {
        let mut totals: BTreeMap<u32, [Tally; 2]> = BTreeMap::new();
        for (subject, _) in self.states.range(Subject::Total(0)..) {
            if let Subject::Total(number) = subject {
                totals.insert(*number, Default::default());
            }
        }
        for (zone, sides) in sums {
            for number in self.totals.of_zone(*zone) {
                let sum = totals.entry(*number).or_default();
                for side in [IN, OUT] {
                    sum[side].counters += &sides[side].counters;
                    sum[side].weight = sum[side].weight.max(sides[side].weight);
                }
            }
        }
        totals
    }

    fn forget_calm(&mut self) {
        self.states.retain(|_, state| !state.is_calm(CALM_WINDOWS));
        let states = &self.states;
        self.watched.retain(|key| states.contains_key(&Subject::Host(*key)));
    }
}

/// Whose limits a host has.
fn host_owner<'a>(key: HostKey, policy: &'a Policy, zones: &Zones) -> Owner<'a> {
    let group = &policy.groups[zones.zone(key.zone).group as usize];
    Owner { target: Target::Host(zones.address(key)), group: &group.name, limits: &group.host }
}

/// How far a window's reading is above what is worth a look.
fn excess(reading: &Reading, zones: &Zones) -> f64 {
    let marks = zones.marks(reading.key.zone);
    let side = |side: Side| marks.nearness(side, reading.sides[side].total);
    side(IN).max(side(OUT))
}

/// An attacked host's traffic is told as its own: it does not count towards totals again.
fn exclude(state: &State, totals: &[u32], tallies: &[Tally; 2], excluded: &mut Excluded) {
    for side in [IN, OUT].into_iter().filter(|side| state.is_attacked(*side)) {
        for total in totals {
            excluded.entry(*total).or_default()[side] += &tallies[side].counters;
        }
    }
}

fn tallies(reading: &Reading) -> [Tally; 2] {
    [IN, OUT].map(|side| Tally { counters: reading.sides[side], weight: reading.weight[side] })
}
