//! What is kept of a replay: sums by direction, sums by host, and the last state of each attack.

use std::collections::BTreeMap;

use tidewall_engine::{Observer, WindowView};
use tidewall_model::{
    Address, Attack, AttackEvent, AttackId, Count, DirectedCounters, Direction, TrafficCounters,
};

/// Hosts that are kept apart. About 100 MB.
const MOST_HOSTS: usize = 1 << 20;
/// Attacks that keep their whole sample; from then on only its first records are kept.
const FULL_SAMPLES: u64 = 1_000;
const SHORT_SAMPLE: usize = 10;

/// A host and its traffic over the whole replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostTotal {
    /// Which host.
    pub address: Address,
    /// Towards it.
    pub incoming: Count,
    /// From it.
    pub outgoing: Count,
}

impl HostTotal {
    /// Bytes of both directions.
    pub fn bytes(&self) -> u64 {
        self.incoming.bytes.saturating_add(self.outgoing.bytes)
    }
}

/// Listens to the engine and adds up.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// By direction, in the order of [`Direction::ALL`].
    pub(super) totals: [TrafficCounters; 4],
    hosts: BTreeMap<Address, [Count; 2]>,
    /// Traffic of hosts beyond [`MOST_HOSTS`].
    pub(super) beyond: Count,
    attacks: BTreeMap<AttackId, Attack>,
}

impl Observer for Tally {
    fn window(&mut self, window: &WindowView<'_>) {
        for (total, direction) in self.totals.iter_mut().zip(Direction::ALL) {
            *total += window.totals(direction);
        }
        if self.hosts.len() + window.host_count() <= MOST_HOSTS {
            for (address, counters) in window.hosts() {
                add(self.hosts.entry(address).or_default(), &counters);
            }
        } else {
            self.add_carefully(window);
        }
    }

    fn event(&mut self, event: &AttackEvent) {
        self.keep(&event.attack);
    }
}

impl Tally {
    /// Keeps an attack as it is now.
    pub(super) fn keep(&mut self, attack: &Attack) {
        let mut attack = attack.clone();
        if attack.id.0 > FULL_SAMPLES {
            attack.samples.truncate(SHORT_SAMPLE);
            attack.samples.shrink_to_fit();
        }
        self.attacks.insert(attack.id, attack);
    }

    /// All attacks, in order of their numbers.
    pub(super) fn take_attacks(&mut self) -> Vec<Attack> {
        std::mem::take(&mut self.attacks).into_values().collect()
    }

    /// Number of hosts seen, and the `most` with the most bytes.
    pub(super) fn top_hosts(&self, most: usize) -> (u64, Vec<HostTotal>) {
        let total = |(address, counts): (&Address, &[Count; 2])| HostTotal {
            address: *address,
            incoming: counts[0],
            outgoing: counts[1],
        };
        let mut hosts: Vec<HostTotal> = self.hosts.iter().map(total).collect();
        hosts.sort_by_key(|host| (std::cmp::Reverse(host.bytes()), host.address));
        hosts.truncate(most);
        (self.hosts.len() as u64, hosts)
    }

    /// Near the bound the order of hosts decides who is kept: it must not be that of the shards.
    fn add_carefully(&mut self, window: &WindowView<'_>) {
        let mut new: BTreeMap<Address, DirectedCounters> = BTreeMap::new();
        for (address, counters) in window.hosts() {
            match self.hosts.get_mut(&address) {
                Some(sum) => add(sum, &counters),
                None => *new.entry(address).or_default() += &counters,
            }
        }
        for (address, counters) in new {
            if self.hosts.len() < MOST_HOSTS {
                add(self.hosts.entry(address).or_default(), &counters);
            } else {
                self.beyond += counters.incoming.total;
                self.beyond += counters.outgoing.total;
            }
        }
    }
}

fn add(sum: &mut [Count; 2], counters: &DirectedCounters) {
    sum[0] += counters.incoming.total;
    sum[1] += counters.outgoing.total;
}
