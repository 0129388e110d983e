//! What one worker counts: the whole fate of a record on the packet path. Shards share nothing; the
//! detector adds them up. Nothing here locks, allocates after start-up or logs.

use std::sync::Arc;

use tidewall_model::{
    Count, Direction, DropCounters, DropReason, FlowRecord, Forwarding, Fragment, TcpFlags,
    TrafficCounters, protocol,
};

use crate::arena::{HostArena, HostIndex, HostKey, IN, OUT, Place, Side};
use crate::flows::{FlowSet, Inserted};
use crate::lpm::PrefixTable;
use crate::policy::{Capacity, Counting, Policy};
use crate::recent::Recent;
use crate::tallies::{Addition, Marks, Share, Tallies};
use crate::whitelist::Rules;
use crate::zones::{FlowTuple, Zones};

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
    /// Flows of the hosts: entry number × 2 + side, and tag.
    pub flows: FlowSet,
    /// The hosts that the detector asked for, in its order.
    pub watched: Vec<Reading>,
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
    rules: Arc<Rules>,
    remotes: Option<PrefixTable>,
    counting: Counting,
    index: HostIndex,
    /// Position + 1 in the window's zone entries.
    zone_index: Vec<u32>,
    window: WindowSummary,
    hot: Vec<HostKey>,
    recent: Recent,
    scratch: Scratch,
    stats: ShardStats,
}

/// One side of a record: whose counter, and where it is.
#[derive(Clone, Copy, Debug)]
struct Hit {
    key: HostKey,
    place: Place,
    tag: u32,
    /// What the index says, to be verified: the entry's number + 1.
    entry: u32,
    /// Position of the record in the chunk.
    record: u8,
    side: u8,
}

/// What is known of a chunk of records while it is worked on.
#[derive(Debug, Default)]
struct Scratch {
    hits: Vec<Hit>,
    additions: Vec<Addition>,
}

impl Shard {
    /// An empty shard for a policy.
    pub fn new(policy: &Policy, zones: &Arc<Zones>, rules: &Arc<Rules>) -> Self {
        let remotes: Vec<_> = policy.whitelist.remotes.iter().map(|p| (*p, 1)).collect();
        Self {
            zones: Arc::clone(zones),
            rules: Arc::clone(rules),
            remotes: (!remotes.is_empty()).then(|| PrefixTable::new(&remotes)),
            counting: policy.counting,
            index: HostIndex::new(zones.dense(), policy.capacity.hosts),
            zone_index: vec![0; zones.all().len()],
            window: WindowSummary::new(&policy.capacity, zones.all().len()),
            hot: Vec::with_capacity(1024),
            recent: Recent::new(policy.capacity.recent),
            scratch: Scratch {
                hits: Vec::with_capacity(2 * CHUNK),
                additions: Vec::with_capacity(CHUNK),
            },
            stats: ShardStats::default(),
        }
    }

    /// Counts records. Their times matter to nobody here: windows are closed from outside.
    pub fn ingest(&mut self, records: &[FlowRecord]) {
        for chunk in records.chunks(CHUNK) {
            self.ingest_chunk(chunk, Half::Both);
        }
    }

    /// Counts half of one record.
    pub fn ingest_half(&mut self, record: &FlowRecord, half: Half) {
        self.ingest_chunk(std::slice::from_ref(record), half);
    }

    /// Counts a chunk in passes: the loads of each pass do not depend on each other, so their
    /// cache misses overlap instead of adding up.
    fn ingest_chunk(&mut self, chunk: &[FlowRecord], half: Half) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.hits.clear();
        scratch.additions.clear();
        for (at, record) in chunk.iter().enumerate() {
            let addition = self.addition(record);
            self.classify(record, at as u8, &addition, half, &mut scratch.hits);
            scratch.additions.push(addition);
        }
        for hit in &mut scratch.hits {
            hit.entry = self.index.peek(hit.place);
        }
        let mut warm = 0;
        for hit in &scratch.hits {
            warm ^= self.window.hosts.touch(hit.entry);
        }
        if self.counting.flows {
            for hit in &scratch.hits {
                warm ^= self.window.flows.touch(hit.tag);
            }
        }
        std::hint::black_box(warm);
        for hit in &scratch.hits {
            let record = &chunk[hit.record as usize];
            self.apply(record, hit, &scratch.additions[hit.record as usize]);
        }
        self.scratch = scratch;
    }

    /// Finds the hosts of ours that a record counts for, and counts it in the totals.
    #[inline]
    fn classify(
        &mut self,
        record: &FlowRecord,
        at: u8,
        addition: &Addition,
        half: Half,
        hits: &mut Vec<Hit>,
    ) {
        let first = half != Half::Source;
        self.stats.received += u64::from(first);
        let src = self.zones.lookup(record.family, record.src);
        let dst = self.zones.lookup(record.family, record.dst);
        let direction = match (src, dst) {
            (None, Some(_)) => Direction::Incoming,
            (Some(_), None) => Direction::Outgoing,
            (Some(_), Some(_)) => Direction::Internal,
            (None, None) => Direction::Other,
        };
        if let Some(reason) = self.refusal(record, direction) {
            if first {
                self.stats.drops.count(reason);
            }
            return;
        }
        if first {
            self.stats.ingested += 1;
            self.window.totals[direction as usize].add(addition);
        }
        if direction == Direction::Internal && !self.counting.internal {
            return;
        }
        let before = hits.len();
        if let Some(zone) = dst.filter(|_| half != Half::Source) {
            hits.push(self.hit(zone, record, at, IN));
        }
        if let Some(zone) = src.filter(|_| half != Half::Destination) {
            hits.push(self.hit(zone, record, at, OUT));
        }
        if hits.len() > before {
            self.recent.push(record);
        }
    }

    #[inline]
    fn hit(&self, zone: u32, record: &FlowRecord, at: u8, side: Side) -> Hit {
        let (local, remote) = if side == IN {
            ((record.dst, record.dst_port), (record.src, record.src_port))
        } else {
            ((record.src, record.src_port), (record.dst, record.dst_port))
        };
        let key = HostKey { zone, bits: local.0 };
        let tag = self.zones.flow_tag(&FlowTuple {
            local: local.0,
            remote: remote.0,
            local_port: local.1,
            remote_port: remote.1,
            protocol: record.protocol,
            side,
        });
        Hit { key, place: self.zones.place(key), tag, entry: 0, record: at, side: side as u8 }
    }

    /// Why a record is not to be counted, if so.
    #[inline]
    fn refusal(&self, record: &FlowRecord, direction: Direction) -> Option<DropReason> {
        let remote = match direction {
            Direction::Incoming if !self.counting.incoming => {
                return Some(DropReason::DirectionOff);
            }
            Direction::Outgoing if !self.counting.outgoing => {
                return Some(DropReason::DirectionOff);
            }
            Direction::Incoming => record.src,
            Direction::Outgoing => record.dst,
            Direction::Internal => 0,
            Direction::Other => return None,
        };
        let listed = |table: &PrefixTable| {
            direction != Direction::Internal && table.lookup_bits(record.family, remote).is_some()
        };
        let excluded = self.remotes.as_ref().is_some_and(listed) || self.rules.matches(record);
        excluded.then_some(DropReason::Whitelisted)
    }

    #[inline]
    fn addition(&self, record: &FlowRecord) -> Addition {
        let share = match record.protocol {
            protocol::TCP => Share::Tcp,
            protocol::UDP => Share::Udp,
            _ if record.is_icmp() => Share::Icmp,
            _ => Share::Other,
        };
        let flags = record.tcp_flags;
        let syn = share == Share::Tcp
            && flags.has(TcpFlags::SYN)
            && (self.counting.syn_with_ack || !flags.has(TcpFlags::ACK));
        let dropped = record.forwarding == Forwarding::Dropped;
        Addition {
            count: Count { packets: record.scaled_packets(), bytes: record.scaled_bytes() },
            weight: record.sampling.get(),
            share,
            marks: Marks::new(syn, record.fragment.is_fragment(), dropped),
        }
    }

    #[inline]
    fn apply(&mut self, record: &FlowRecord, hit: &Hit, add: &Addition) {
        let side = Side::from(hit.side);
        self.count_zone(hit.key.zone, side, add);
        let (zones, hosts) = (&self.zones, &mut self.window.hosts);
        let found = if hosts.is_at(hit.entry, hit.key) {
            Some(hit.entry as usize - 1)
        } else {
            self.index.find_or_add(hosts, hit.place, hit.key, |other| zones.place(other))
        };
        let Some(at) = found else {
            self.stats.hosts_refused += 1;
            return;
        };
        let changed = hosts.add(at, side, add);
        if zones.is_hot(hit.key.zone, side, changed.packets, changed.bytes, add.weight)
            && hosts.heat(at)
        {
            self.hot.push(hit.key);
        }
        // A later fragment has no ports: it is part of a flow that was or will be seen.
        if self.counting.flows && record.fragment != Fragment::Later {
            self.count_flow(at, side, hit.tag);
        }
    }

    #[inline]
    fn count_flow(&mut self, at: usize, side: Side, tag: u32) {
        match self.window.flows.insert((at * 2 + side) as u32, tag) {
            Inserted::No => {}
            Inserted::New(weight) => self.window.hosts.add_flows(at, side, weight),
            Inserted::Thinned => self.window.recount_flows(),
        }
    }

    #[inline]
    fn count_zone(&mut self, zone: u32, side: Side, add: &Addition) {
        let position = &mut self.zone_index[zone as usize];
        if *position == 0 {
            self.window.zones.push(ZoneEntry { zone, ..ZoneEntry::default() });
            *position = self.window.zones.len() as u32;
        }
        let entry = &mut self.window.zones[*position as usize - 1];
        entry.weight[side] = entry.weight[side].max(add.weight);
        entry.sides[side].add(add);
    }

    /// What became hot in this slice, and how the watched hosts stand.
    pub fn close_slice(&mut self, watched: &[HostKey], out: &mut SliceSummary) {
        out.hot.clear();
        out.hot.append(&mut self.hot);
        out.watched.clear();
        out.watched.extend(watched.iter().map(|key| self.read(*key)));
    }

    /// Counters of a host since the window began.
    pub fn read(&self, key: HostKey) -> Reading {
        let hosts = &self.window.hosts;
        match self.index.find(hosts, self.zones.place(key), key) {
            None => Reading::zero(key),
            Some(at) => self.window.reading(at),
        }
    }

    /// The flows of the window.
    pub const fn flows(&self) -> &FlowSet {
        &self.window.flows
    }

    /// Thins the flows of the window, as if all shards had shared one set.
    pub fn thin_flows(&mut self, level: u32) {
        if level > self.window.flows.level() {
            self.window.flows.thin_to(level);
            self.window.recount_flows();
        }
    }

    /// Zones that were seen since the window began.
    pub fn zone_entries(&self) -> &[ZoneEntry] {
        &self.window.zones
    }

    /// Closes the window: hands its counters over and begins a new one in `spare`, a summary that
    /// the detector is done with.
    pub fn close_window(&mut self, watched: &[HostKey], mut spare: WindowSummary) -> WindowSummary {
        for entry in &self.window.zones {
            self.zone_index[entry.zone as usize] = 0;
        }
        self.window.watched.clear();
        for key in watched {
            let reading = self.read(*key);
            self.window.watched.push(reading);
        }
        self.index.clear();
        spare.clear();
        std::mem::replace(&mut self.window, spare)
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
}

impl WindowSummary {
    /// An empty summary with room for the capacity's hosts.
    pub fn new(capacity: &Capacity, zones: usize) -> Self {
        Self {
            hosts: HostArena::with_capacity(capacity.hosts),
            zones: Vec::with_capacity(zones),
            totals: Default::default(),
            flows: FlowSet::new(capacity.flows),
            watched: Vec::new(),
        }
    }

    fn clear(&mut self) {
        self.hosts.clear();
        self.zones.clear();
        self.totals = Default::default();
        self.flows.clear();
        self.watched.clear();
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

    #[cold]
    fn recount_flows(&mut self) {
        self.hosts.reset_flows();
        let weight = self.flows.weight();
        for (entry, _) in self.flows.iter() {
            self.hosts.add_flows(entry as usize / 2, entry as usize % 2, weight);
        }
    }
}
