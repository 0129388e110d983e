//! A flow cache as routers have one: packets with the same key are added up until the flow was
//! idle, or active, for too long, or until another one needs its place.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::time::Duration;

use tidewall_model::{Family, FlowRecord, Forwarding, Fragment, SamplingRate, TcpFlags, Timestamp};

/// What packets of one flow have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FlowKey {
    pub(super) src: u128,
    pub(super) dst: u128,
    pub(super) src_port: u16,
    pub(super) dst_port: u16,
    pub(super) vlan: u16,
    pub(super) family: Family,
    pub(super) protocol: u8,
    pub(super) fragment: Fragment,
    pub(super) forwarding: Forwarding,
    pub(super) sampling: SamplingRate,
}

/// One flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) key: FlowKey,
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// All flags that were seen.
    pub(super) tcp_flags: TcpFlags,
    pub(super) least_ttl: u8,
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
}

impl Flow {
    fn of(record: &FlowRecord) -> Self {
        Self {
            key: FlowKey {
                src: record.src,
                dst: record.dst,
                src_port: record.src_port,
                dst_port: record.dst_port,
                vlan: record.vlan,
                family: record.family,
                protocol: record.protocol,
                fragment: record.fragment,
                forwarding: record.forwarding,
                sampling: record.sampling,
            },
            packets: record.packets,
            bytes: record.bytes,
            tcp_flags: record.tcp_flags,
            least_ttl: record.ttl,
            first: record.time,
            last: record.time,
        }
    }

    /// Adds a flow of the same key, unless a counter would go over its limit.
    fn join(&mut self, other: &Self, most: u64) -> bool {
        let sum = |a: u64, b: u64| a.checked_add(b).filter(|sum| *sum <= most);
        let packets = sum(self.packets, other.packets);
        let (Some(packets), Some(bytes)) = (packets, sum(self.bytes, other.bytes)) else {
            return false;
        };
        (self.packets, self.bytes) = (packets, bytes);
        self.tcp_flags.0 |= other.tcp_flags.0;
        self.least_ttl = self.least_ttl.min(other.least_ttl);
        self.last = self.last.max(other.last);
        true
    }
}

/// Flows that are being counted. Memory is bounded by the number of entries.
#[derive(Clone, Debug)]
pub(super) struct FlowCache {
    active: Duration,
    idle: Duration,
    entries: usize,
    /// The most that a counter holds.
    most: u64,
    /// Never iterated over. Its hasher has fixed keys: the same on every run.
    index: HashMap<FlowKey, u32, BuildHasherDefault<DefaultHasher>>,
    slots: Vec<Flow>,
    free: Vec<u32>,
    /// One item for each flow, at its deadline or, since packets put that off, before it.
    due: BinaryHeap<Reverse<(Timestamp, u32)>>,
}

impl FlowCache {
    /// `entries` is at least 1.
    pub(super) fn new(active: Duration, idle: Duration, entries: usize, most: u64) -> Self {
        Self {
            active,
            idle,
            entries: entries.max(1),
            most,
            index: HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            due: BinaryHeap::new(),
        }
    }

    /// When the next flow is to be exported.
    pub(super) fn next_due(&mut self) -> Option<Timestamp> {
        loop {
            let mut top = self.due.peek_mut()?;
            let Reverse((noted, slot)) = *top;
            let deadline = deadline(self.slots.get(slot as usize)?, self.active, self.idle);
            if deadline <= noted {
                return Some(noted);
            }
            *top = Reverse((deadline, slot));
        }
    }

    /// Takes out the flow that is to be exported next, whether it is time or not.
    pub(super) fn take_next(&mut self) -> Option<Flow> {
        self.next_due()?;
        let Reverse((_, slot)) = self.due.pop()?;
        let flow = *self.slots.get(slot as usize)?;
        self.index.remove(&flow.key);
        self.free.push(slot);
        Some(flow)
    }

    /// Must a flow make room for this record?
    pub(super) fn is_full_for(&self, record: &FlowRecord) -> bool {
        self.index.len() >= self.entries && !self.index.contains_key(&Flow::of(record).key)
    }

    /// Counts a record. Gives the flow whose counters had no room for it and were begun anew.
    pub(super) fn add(&mut self, record: &FlowRecord) -> Option<Flow> {
        let flow = Flow::of(record);
        let vacant = match self.index.entry(flow.key) {
            Entry::Occupied(entry) => {
                let counted = self.slots.get_mut(*entry.get() as usize)?;
                if counted.join(&flow, self.most) {
                    return None;
                }
                // Its deadline is only put off, so that its item in `due` stays good.
                return Some(std::mem::replace(counted, flow));
            }
            Entry::Vacant(entry) => entry,
        };
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        vacant.insert(slot);
        match self.slots.get_mut(slot as usize) {
            Some(free) => *free = flow,
            None => self.slots.push(flow),
        }
        self.due.push(Reverse((deadline(&flow, self.active, self.idle), slot)));
        None
    }
}

fn deadline(flow: &Flow, active: Duration, idle: Duration) -> Timestamp {
    (flow.first + active).min(flow.last + idle)
}
