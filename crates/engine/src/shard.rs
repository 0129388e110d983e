//! What one worker counts: the whole fate of a record on the packet path. Shards share nothing; the
//! detector adds them up. Nothing on the way of a record locks, allocates after start-up or logs.

use std::sync::Arc;

use tidewall_model::{Direction, DropCounters, FlowRecord, Fragment, TrafficCounters};

use crate::arena::{HostArena, HostIndex, HostKey, IN, OUT, Place, Side};
use crate::distinct::DistinctFlows;
use crate::flow_log::{FlowLog, flow_item};
use crate::flows::FlowSet;
use crate::policy::{Capacity, Policy};
use crate::prefetch::{Load, Prefetch};
use crate::recent::Recent;
use crate::slack::Sizes;
use crate::tallies::{Addition, Tallies};
use crate::whitelist::Rules;
use crate::zones::{FlowTuple, Zones};

mod screen;
mod watched;

use screen::Screen;
use watched::WatchedFlows;

/// Records that are looked up together, so that their cache misses overlap.
const CHUNK: usize = 64;

/// Which half of a record a shard counts. A record between two of our hosts is counted for both;
/// when records are dealt by host, the two halves may belong to different shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// Both sides, and the totals.
    Both,
    /// The destination's side, and the totals.
    Destination,
    /// The source's side only.
    Source,
}

/// Counters of a zone in one window.
#[derive(Clone, Copy, Debug, Default)]
pub struct ZoneEntry {
    /// Number of the zone.
    pub zone: u32,
    /// Counters by side.
    pub sides: [Tallies; 2],
    /// Largest sampling rate by side.
    pub weight: [u32; 2],
}

/// What one shard counted in one window: additive, and handed over whole.
#[derive(Clone, Debug)]
pub struct WindowSummary {
    /// Hosts that were seen.
    pub hosts: HostArena,
    /// Zones that were seen, in order of first sight.
    pub zones: Vec<ZoneEntry>,
    /// All traffic by direction (in the order of [`Direction::ALL`]), without flows.
    pub totals: [Tallies; 4],
    /// Flows of the hosts as they came: entry number × 2 + side, and tag.
    pub flows: FlowLog,
    /// The hosts that the detector asked for, in its order.
    pub watched: Vec<Reading>,
    /// The flows of some hosts were counted while it ran.
    has_counts: bool,
    /// The most that its tables have held.
    touched: Sizes,
    /// On the way to the shard an index to go on with, on the way back the one it had.
    index: Option<HostIndex>,
}

/// Counters of one host since the window began.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Which host.
    pub key: HostKey,
    /// Counters by side.
    pub sides: [TrafficCounters; 2],
    /// Largest sampling rate by side.
    pub weight: [u32; 2],
}

impl Reading {
    /// Nothing was counted.
    pub fn zero(key: HostKey) -> Self {
        Self { key, sides: Default::default(), weight: [0; 2] }
    }

    /// Adds another shard's reading of the same host. Flows are not additive: the larger number is
    /// a lower bound of the union.
    pub fn merge(&mut self, other: &Self) {
        for side in [IN, OUT] {
            let flows = self.sides[side].flows.max(other.sides[side].flows);
            self.sides[side] += &other.sides[side];
            self.sides[side].flows = flows;
            self.weight[side] = self.weight[side].max(other.weight[side]);
        }
    }
}

/// What one shard says at the end of a slice.
#[derive(Clone, Debug, Default)]
pub struct SliceSummary {
    /// Hosts that became worth watching in this slice.
    pub hot: Vec<HostKey>,
    /// Hosts that the detector asked for, in its order.
    pub watched: Vec<Reading>,
}

/// Counters that never reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// Records given to the shard.
    pub received: u64,
    /// Records that were counted.
    pub ingested: u64,
    /// Records counted for their network, but not for a host: the host table was full.
    pub hosts_refused: u64,
    /// Records that were not counted, by reason.
    pub drops: DropCounters,
}

/// One worker's counters.
#[derive(Debug)]
pub struct Shard {
    zones: Arc<Zones>,
    screen: Screen,
    flows: bool,
    index: HostIndex,
    /// Position + 1 in the window's zone entries.
    zone_index: Vec<u32>,
    window: WindowSummary,
    hot: Vec<HostKey>,
    watched: WatchedFlows,
    recent: Recent,
    scratch: Box<Scratch>,
    stats: ShardStats,
}

/// One side of a record: whose counter, and where it is.
#[derive(Clone, Copy, Debug, Default)]
struct Hit {
    key: HostKey,
    place: Place,
    tag: u32,
    /// What the index says, to be verified: the entry's number + 1. Once counted, the entry's
    /// number + 1, or 0 when the host was refused.
    entry: u32,
    /// Position of the record in the chunk.
    record: u8,
    side: u8,
    /// Belongs to a flow: a later fragment has no ports, it is part of one that was or will be
    /// seen.
    in_flow: bool,
}

/// Most sides in a chunk. Both sizes are powers of two: a masked position needs no check.
const HITS: usize = 2 * CHUNK;

/// What is known of a chunk of records while it is worked on, pass by pass.
#[derive(Debug)]
struct Scratch {
    /// Zones + 1 of each record's source and destination, 0 where it is not ours.
    zones: [[u32; 2]; CHUNK],
    /// What each record adds.
    additions: [Addition; CHUNK],
    /// Sides to be counted: position of the record × 2 + side.
    sides: [u8; HITS],
    hits: [Hit; HITS],
    count: usize,
    /// Flows of the hits that may be new.
    flows: [u64; HITS],
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            zones: [[0; 2]; CHUNK],
            additions: [Addition::default(); CHUNK],
            sides: [0; HITS],
            hits: [Hit::default(); HITS],
            count: 0,
            flows: [0; HITS],
        }
    }
}

impl Shard {
    /// An empty shard for a policy.
    pub fn new(policy: &Policy, zones: &Arc<Zones>, rules: &Arc<Rules>) -> Self {
        Self {
            zones: Arc::clone(zones),
            screen: Screen::new(policy, rules),
            flows: policy.counting.flows,
            index: HostIndex::new(zones.dense(), policy.capacity.hosts),
            zone_index: vec![0; zones.all().len()],
            window: WindowSummary::new(&policy.capacity, zones.all().len()),
            hot: Vec::with_capacity(policy.capacity.hosts as usize),
            watched: WatchedFlows::new(policy.capacity.flows),
            recent: Recent::new(policy.capacity.recent),
            scratch: Box::default(),
            stats: ShardStats::default(),
        }
    }

    /// Counts records. Their times matter to nobody here: windows are closed from outside.
    pub fn ingest(&mut self, records: &[FlowRecord]) {
        self.ingest_with(records, Load);
    }

    /// Counts records, asking for memory by `prefetch`.
    pub fn ingest_with(&mut self, records: &[FlowRecord], prefetch: impl Prefetch) {
        for chunk in records.chunks(CHUNK) {
            self.ingest_chunk(chunk, self.stats.received, Half::Both, prefetch);
        }
    }

    /// Counts half of one record, which has this position among the records of all shards.
    pub fn ingest_half(&mut self, record: &FlowRecord, position: u64, half: Half) {
        self.ingest_chunk(std::slice::from_ref(record), position, half, Load);
    }

    /// Counts a chunk in passes: the loads of each pass do not depend on each other, so their
    /// cache misses overlap instead of adding up, and each pass is small enough for the registers.
    fn ingest_chunk(
        &mut self,
        chunk: &[FlowRecord],
        first: u64,
        half: Half,
        prefetch: impl Prefetch,
    ) {
        for (zones, record) in self.scratch.zones.iter_mut().zip(chunk) {
            *zones = self.zones.lookup_ends(record);
        }
        for (addition, record) in self.scratch.additions.iter_mut().zip(chunk) {
            *addition = self.screen.addition(record);
        }
        // The source's half is the echo of the other half: it is in no total.
        if half != Half::Source {
            self.stats.received += chunk.len() as u64;
            self.stats.ingested += chunk.len() as u64;
        }
        if self.screen.refuses {
            self.refuse(chunk, half);
        }
        if half != Half::Source {
            self.count_totals(chunk.len());
        }
        let ours = self.list_sides(chunk.len(), half);
        // What counts for a host of ours goes into the ring.
        self.recent.offer(first, chunk, ours);
        if half != Half::Source {
            self.recent.note(ours.count_ones());
        }
        self.find_hosts(chunk, prefetch);
        self.peek_hosts(prefetch);
        self.count_zones();
        self.count_hosts();
        if self.flows {
            self.list_flows();
        }
    }

    /// Takes the records that are not to be counted out: they are nobody's, and add nothing.
    #[inline(never)]
    fn refuse(&mut self, chunk: &[FlowRecord], half: Half) {
        let Scratch { zones, additions, .. } = &mut *self.scratch;
        for ((record, zones), addition) in chunk.iter().zip(zones).zip(additions) {
            if let Some(reason) = self.screen.refusal(record, direction(*zones)) {
                if half != Half::Source {
                    self.stats.drops.count(reason);
                    self.stats.ingested -= 1;
                }
                *zones = [0; 2];
                *addition = Addition::default();
            }
        }
    }

    /// Counts the first records in the totals.
    #[inline(never)]
    fn count_totals(&mut self, records: usize) {
        let scratch = &*self.scratch;
        let totals = &mut self.window.totals;
        for (zones, addition) in scratch.zones.iter().zip(&scratch.additions).take(records) {
            totals[direction(*zones) as usize].add(addition);
        }
    }

    /// Lists the sides of the first records that count for a host of ours. Gives the records that
    /// have such a side, as bits.
    #[inline(never)]
    fn list_sides(&mut self, records: usize, half: Half) -> u64 {
        let internal = self.screen.counting.internal;
        let Scratch { zones, sides, count, .. } = &mut *self.scratch;
        let (takes_in, takes_out) = (half != Half::Source, half != Half::Destination);
        let (mut ours, mut listed) = (0, 0);
        // Without a branch on the direction, which changes from record to record.
        for (at, [src, dst]) in zones.iter().enumerate().take(records) {
            let (from_us, to_us) = (*src != 0, *dst != 0);
            let both = from_us & to_us;
            let counts = !both | internal;
            let (incoming, outgoing) = (counts & takes_in & to_us, counts & takes_out & from_us);
            sides[listed % HITS] = (at * 2 + IN) as u8;
            listed += usize::from(incoming);
            sides[listed % HITS] = (at * 2 + OUT) as u8;
            listed += usize::from(outgoing);
            ours |= u64::from(incoming | outgoing) << at;
        }
        *count = listed;
        ours
    }

    /// Makes the hits of the listed sides, and asks for their places in the index.
    #[inline(never)]
    fn find_hosts(&mut self, chunk: &[FlowRecord], prefetch: impl Prefetch) {
        let Self { zones, index, scratch, .. } = self;
        let zones: &Zones = zones;
        let scratch = &mut **scratch;
        for (hit, listed) in scratch.hits.iter_mut().zip(&scratch.sides[..scratch.count]) {
            let (at, side) = (usize::from(*listed / 2) % CHUNK, Side::from(*listed & 1));
            let Some(record) = chunk.get(at) else { continue };
            let incoming = side == IN;
            let (local, remote) =
                if incoming { (&record.dst, &record.src) } else { (&record.src, &record.dst) };
            let (local_port, remote_port) = if incoming {
                (&record.dst_port, &record.src_port)
            } else {
                (&record.src_port, &record.dst_port)
            };
            let key = HostKey { zone: scratch.zones[at][1 - side].wrapping_sub(1), bits: *local };
            hit.key = key;
            hit.place = zones.place(key);
            hit.tag = zones.flow_tag(&FlowTuple {
                local: *local,
                remote: *remote,
                local_port: *local_port,
                remote_port: *remote_port,
                protocol: record.protocol,
                side,
            });
            hit.record = at as u8;
            hit.side = side as u8;
            hit.in_flow = record.fragment != Fragment::Later;
            index.prefetch(hit.place, prefetch);
        }
    }

    /// Reads what the index says of the hits, and asks for their hosts' counters.
    #[inline(never)]
    fn peek_hosts(&mut self, prefetch: impl Prefetch) {
        let Self { index, window, scratch, .. } = self;
        let Scratch { hits, count, .. } = &mut **scratch;
        for hit in &mut hits[..*count] {
            hit.entry = index.peek(hit.place);
            window.hosts.prefetch(hit.entry, Side::from(hit.side), prefetch);
        }
    }

    /// Adds the hits to their zones.
    #[inline(never)]
    fn count_zones(&mut self) {
        let Self { zone_index, window, scratch, .. } = self;
        let Scratch { hits, additions, count, .. } = &mut **scratch;
        let (mut zone, mut zone_at) = (u32::MAX, 0);
        for hit in &hits[..*count] {
            // The next record is often of the same zone.
            if zone != hit.key.zone {
                zone = hit.key.zone;
                zone_at = window.zone_position(zone_index, zone);
            }
            let Some(entry) = window.zones.get_mut(zone_at) else { continue };
            let add = &additions[usize::from(hit.record) % CHUNK];
            let side = Side::from(hit.side) & 1;
            entry.weight[side] = entry.weight[side].max(add.weight);
            entry.sides[side].add(add);
        }
    }

    /// Adds the hits to their hosts.
    #[inline(never)]
    fn count_hosts(&mut self) {
        let Self { zones, index, window, hot, scratch, stats, .. } = self;
        let zones: &Zones = zones;
        let (hosts, least) = (&mut window.hosts, zones.least_mark());
        let Scratch { hits, additions, count, .. } = &mut **scratch;
        for hit in &mut hits[..*count] {
            let (key, side) = (hit.key, Side::from(hit.side) & 1);
            let add = &additions[usize::from(hit.record) % CHUNK];
            if !hosts.is_at(hit.entry, key) {
                let place_of = |other| zones.place(other);
                let found = index.find_or_add(hosts, hit.place, key, place_of);
                hit.entry = found.map_or(0, |at| at as u32 + 1);
                if hit.entry == 0 {
                    stats.hosts_refused += 1;
                    continue;
                }
            }
            let at = hit.entry as usize - 1;
            let changed = hosts.add(at, side, add);
            // Nearly nobody comes near a limit: what all limits have in common is looked at first.
            if least.reached(changed)
                && zones.marks(key.zone).is_hot(side, add, changed)
                && hosts.heat(at)
            {
                hot.push(key);
            }
        }
    }

    /// Writes down the flows that may be new.
    #[inline(never)]
    fn list_flows(&mut self) {
        let Self { window, scratch, watched, .. } = self;
        let Scratch { hits, count, flows, .. } = &mut **scratch;
        let mut listed = 0;
        // Without a branch on the tag: chance decides when flows are thinned. A later fragment is
        // not the flow that its host was seen with: it may have the tag of one without ports.
        for hit in &hits[..*count] {
            let entry = if hit.in_flow { hit.entry } else { 0 };
            let is_other = window.hosts.follow(entry, hit.tag);
            let number = entry.wrapping_sub(1).wrapping_mul(2).wrapping_add(u32::from(hit.side));
            flows[listed % HITS] = flow_item(number, hit.tag);
            listed += usize::from(is_other & window.flows.keeps(hit.tag));
        }
        if window.flows.add(&flows[..listed.min(HITS)]) {
            watched.read_again();
        }
    }

    /// What became hot in this slice, and how the watched hosts stand.
    pub fn close_slice(&mut self, watched: &[HostKey], out: &mut SliceSummary) {
        out.hot.clear();
        out.hot.append(&mut self.hot);
        out.watched.clear();
        out.watched.extend(watched.iter().map(|key| self.read(*key)));
    }

    /// Counters of a host since the window began; its flows as far as [`Self::count_flows_of`]
    /// has counted them.
    pub fn read(&self, key: HostKey) -> Reading {
        let hosts = &self.window.hosts;
        match self.index.find(hosts, self.zones.place(key), key) {
            None => Reading::zero(key),
            Some(at) => self.window.reading(at),
        }
    }

    /// Counts the flows that these hosts have had since the window began, and those of all hosts
    /// that were named since.
    pub fn count_flows_of(&mut self, keys: &[HostKey]) {
        let Self { zones, index, window, watched, .. } = self;
        let WindowSummary { hosts, flows, .. } = window;
        let find = |key: &HostKey| index.find(hosts, zones.place(*key), *key);
        let entries: Vec<usize> = keys.iter().filter_map(find).collect();
        watched.count(entries.into_iter(), flows, hosts);
    }

    /// The flows of the hosts that are watched.
    pub const fn watched_flows(&self) -> &FlowSet {
        self.watched.set()
    }

    /// Thins the flows of the hosts that are watched, as if all shards had shared one set.
    pub fn thin_watched_flows(&mut self, level: u32) {
        self.watched.thin_to(level, &mut self.window.hosts);
    }

    /// The flows of the window.
    pub const fn flows(&self) -> &FlowLog {
        &self.window.flows
    }

    /// Strikes out the repeats among the flows of the window; `distinct` helps.
    pub fn settle_flows(&mut self, distinct: &mut DistinctFlows) {
        self.window.flows.settle(distinct);
        self.watched.read_again();
    }

    /// Thins the flows of the window, as if all shards had shared one log.
    pub fn thin_flows(&mut self, level: u32) {
        self.window.flows.thin_to(level);
        self.watched.read_again();
    }

    /// Zones that were seen since the window began.
    pub fn zone_entries(&self) -> &[ZoneEntry] {
        &self.window.zones
    }

    /// Closes the window: hands its counters over and begins a new one in `spare`, an empty
    /// summary.
    pub fn close_window(&mut self, watched: &[HostKey], mut spare: WindowSummary) -> WindowSummary {
        for entry in &self.window.zones {
            self.zone_index[entry.zone as usize] = 0;
        }
        self.window.watched.clear();
        self.count_flows_of(watched);
        for key in watched {
            let reading = self.read(*key);
            self.window.watched.push(reading);
        }
        self.window.has_counts = self.watched.clear();
        match &mut spare.index {
            Some(fresh) => std::mem::swap(&mut self.index, fresh),
            None => self.index.clear(),
        }
        let retired = spare.index.take();
        let mut window = std::mem::replace(&mut self.window, spare);
        window.index = retired;
        window
    }

    /// Gives back what idle tables hold and do not need.
    pub fn give_back(&mut self, needed: &Sizes, capacity: &Capacity) {
        if !self.is_idle() {
            return;
        }
        self.window.give_back(needed, capacity, self.zones.dense());
        if let Some(fresh) = self.window.index.take() {
            self.index = fresh;
        }
    }

    /// Was nothing counted since the window began?
    pub fn is_idle(&self) -> bool {
        self.window.zones.is_empty() && self.window.totals.iter().all(Tallies::is_empty)
    }

    /// Counters that never reset.
    pub const fn stats(&self) -> &ShardStats {
        &self.stats
    }

    /// The newest records.
    pub const fn recent(&self) -> &Recent {
        &self.recent
    }

    /// The same, to be paced.
    pub const fn recent_mut(&mut self) -> &mut Recent {
        &mut self.recent
    }
}

impl WindowSummary {
    /// An empty summary with room for the capacity's hosts.
    pub fn new(capacity: &Capacity, zones: usize) -> Self {
        Self {
            hosts: HostArena::with_capacity(capacity.hosts),
            zones: Vec::with_capacity(zones),
            totals: Default::default(),
            flows: FlowLog::new(capacity.flows),
            watched: Vec::new(),
            has_counts: false,
            touched: Sizes::default(),
            index: None,
        }
    }

    /// Sizes of its tables.
    pub fn sizes(&self) -> Sizes {
        Sizes { hosts: self.hosts.len(), places: self.flows.longest() }
    }

    /// Puts new tables in the place of empty ones that touched far more than is needed. With a new
    /// table of hosts goes a new index of `dense` addresses, for the shard that takes it.
    pub fn give_back(&mut self, needed: &Sizes, capacity: &Capacity, dense: u32) {
        if self.touched.wastes_hosts(needed) {
            self.hosts = HostArena::with_capacity(capacity.hosts);
            self.index = Some(HostIndex::new(dense, capacity.hosts));
            self.touched.hosts = 0;
        }
        if self.touched.wastes_places(needed) {
            self.flows = FlowLog::new(capacity.flows);
            self.touched.places = 0;
        }
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.touched = self.touched.max(self.sizes());
        self.index = None;
        self.hosts.clear();
        self.zones.clear();
        self.totals = Default::default();
        self.flows.clear();
        self.watched.clear();
        self.has_counts = false;
    }

    /// Counters of an entry.
    pub fn reading(&self, at: usize) -> Reading {
        let entry = &self.hosts.entries()[at];
        Reading {
            key: entry.key(),
            sides: [self.hosts.counters(entry, IN), self.hosts.counters(entry, OUT)],
            weight: [entry.weight(IN), entry.weight(OUT)],
        }
    }

    /// Position of a zone's entry, made when the zone is new.
    #[inline(never)]
    fn zone_position(&mut self, index: &mut [u32], zone: u32) -> usize {
        let position = &mut index[zone as usize];
        if *position == 0 {
            self.zones.push(ZoneEntry { zone, ..ZoneEntry::default() });
            *position = self.zones.len() as u32;
        }
        *position as usize - 1
    }

    /// Sets the flows of all hosts.
    pub fn count_flows(&mut self, flows: &DistinctFlows) {
        if std::mem::take(&mut self.has_counts) {
            self.hosts.reset_flows();
        }
        self.hosts.count_flows(flows.iter(), flows.weight());
    }
}

/// By presence of a zone of the source (2) and of the destination (1).
const DIRECTIONS: [Direction; 4] =
    [Direction::Other, Direction::Incoming, Direction::Outgoing, Direction::Internal];

/// By the zones of source and destination.
#[inline]
fn direction([src, dst]: [u32; 2]) -> Direction {
    DIRECTIONS[usize::from(src != 0) << 1 | usize::from(dst != 0)]
}
