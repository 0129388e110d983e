//! Records in, windows and attacks out: the shards and the conductor driven together, in one
//! thread, by the records' own time. Replay, tests and the demo run this; live workers run the
//! same shards and the same conductor on their threads.

use tidewall_model::{Attack, DropCounters, FlowRecord, Timestamp};

use crate::arena::HostKey;
use crate::conductor::{Conductor, Observer};
use crate::policy::Policy;
use crate::prefetch::{Load, Prefetch};
use crate::shard::{Half, Shard, ShardStats};

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

impl EngineStats {
    /// Adds what a shard counted.
    pub fn add(&mut self, shard: &ShardStats) {
        let ShardStats { received, ingested, hosts_refused, drops } = shard;
        self.received += received;
        self.ingested += ingested;
        self.hosts_refused += hosts_refused;
        self.drops.merge(drops);
    }
}

/// Shards and conductor.
#[derive(Debug)]
pub struct Engine {
    conductor: Conductor,
    dealing: Dealing,
    shards: Vec<Shard>,
    next_shard: usize,
    /// Records that were dealt.
    dealt: u64,
    late: u64,
}

impl Engine {
    /// An engine with `shards` shards. `seed` keys the hash tables: live engines draw it at random,
    /// replay and tests fix it.
    pub fn new(policy: Policy, shards: usize, dealing: Dealing, seed: u64) -> Self {
        let shards = shards.clamp(1, 1024);
        let mut conductor = Conductor::new(policy, shards, dealing == Dealing::RoundRobin, seed);
        conductor.share_order();
        let shards = (0..shards).map(|_| conductor.shard()).collect();
        Self { conductor, dealing, shards, next_shard: 0, dealt: 0, late: 0 }
    }

    /// Counts records in their order. Where a record's time passes the end of a slice or window,
    /// these are closed first, so the result does not depend on how records are batched.
    pub fn ingest(&mut self, records: &[FlowRecord], observer: &mut impl Observer) {
        self.ingest_with(records, Load, observer);
    }

    /// The same, asking for memory by `prefetch`.
    pub fn ingest_with(
        &mut self,
        records: &[FlowRecord],
        prefetch: impl Prefetch,
        observer: &mut impl Observer,
    ) {
        let mut rest = records;
        while let Some(first) = rest.first() {
            self.advance(first.time, observer);
            let (begin, end) = self.conductor.current_slice();
            let split = rest.iter().position(|record| record.time >= end).unwrap_or(rest.len());
            // Time beyond the last representable slice: count it in that slice.
            let (now, later) = rest.split_at(split.max(1));
            self.late += now.iter().filter(|record| record.time < begin).count() as u64;
            self.deal(now, prefetch);
            rest = later;
        }
    }

    /// Tells the engine that it is `now`: closes every slice and window that is over.
    pub fn advance(&mut self, now: Timestamp, observer: &mut impl Observer) {
        self.conductor.advance(now, &mut self.shards, observer);
    }

    /// Ends the input: closes the window that is being filled, whatever time it is.
    pub fn finish(&mut self, observer: &mut impl Observer) {
        self.conductor.finish(&mut self.shards, observer);
    }

    /// Attacks that go on.
    pub fn attacks(&self) -> impl Iterator<Item = &Attack> {
        self.conductor.attacks()
    }

    /// What the engine runs by.
    pub fn policy(&self) -> &Policy {
        self.conductor.policy()
    }

    /// Counters of its own life.
    pub fn stats(&self) -> EngineStats {
        let mut stats = EngineStats {
            late: self.late,
            watch_refused: self.conductor.watch_refused(),
            ..EngineStats::default()
        };
        for shard in &self.shards {
            stats.add(shard.stats());
        }
        stats
    }

    fn deal(&mut self, records: &[FlowRecord], prefetch: impl Prefetch) {
        let count = self.shards.len();
        if count == 1 {
            self.shards[0].ingest_with(records, prefetch);
            return;
        }
        let zones = self.conductor.zones();
        for (record, position) in records.iter().zip(self.dealt..) {
            if self.dealing == Dealing::RoundRobin {
                self.shards[self.next_shard].ingest_half(record, position, Half::Both);
                self.next_shard = (self.next_shard + 1) % count;
                continue;
            }
            let shard_of = |family, bits| {
                let zone = zones.lookup(family, bits)?;
                Some(zones.spread(HostKey { zone, bits }) as usize % count)
            };
            let src = shard_of(record.family, record.src);
            let dst = shard_of(record.family, record.dst);
            match (src, dst) {
                (Some(src), Some(dst)) if src != dst => {
                    self.shards[dst].ingest_half(record, position, Half::Destination);
                    self.shards[src].ingest_half(record, position, Half::Source);
                }
                _ => {
                    let shard = dst.or(src).unwrap_or(0);
                    self.shards[shard].ingest_half(record, position, Half::Both);
                }
            }
        }
        self.dealt += records.len() as u64;
    }
}

#[cfg(test)]
mod tests;
