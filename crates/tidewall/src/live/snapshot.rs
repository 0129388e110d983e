//! How things stand: what the detector's thread publishes after every slice, for those who ask.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use tidewall_engine::{AverageRates, Averages, EngineStats, WindowView};
use tidewall_model::{
    Address, Attack, DirectedCounters, Direction, Prefix, Timestamp, TrafficCounters,
};

/// Hosts in a snapshot.
const HOSTS: usize = 1000;
/// Networks in a snapshot.
const NETWORKS: usize = 1000;

/// A host and its average rates, incoming and outgoing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostRates {
    /// Which host.
    pub address: Address,
    /// Towards it.
    pub incoming: AverageRates,
    /// From it.
    pub outgoing: AverageRates,
}

/// How things stand.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When it was taken.
    pub now: Timestamp,
    /// When the last closed window began, and how long it was.
    pub window: (Timestamp, Duration),
    /// Traffic of that window by direction, in the order of [`Direction::ALL`].
    pub totals: [TrafficCounters; 4],
    /// Hosts seen in that window.
    pub hosts_seen: usize,
    /// The hosts with the largest average rates, the largest first.
    pub hosts: Vec<HostRates>,
    /// Our networks with the traffic of that window.
    pub networks: Vec<(Prefix, DirectedCounters)>,
    /// Attacks that go on, the largest first.
    pub attacks: Vec<Attack>,
    /// Counters of the engine.
    pub stats: EngineStats,
    /// From the end of the last closed window until it had been judged.
    pub behind: Duration,
    /// Time that the last closing took.
    pub detector_took: Duration,
}

impl Snapshot {
    /// Takes over what a closed window and the averages say.
    pub(super) fn take(&mut self, window: &WindowView<'_>, averages: &Averages, number: u64) {
        self.window = (window.start, window.length);
        self.totals = Direction::ALL.map(|direction| *window.totals(direction));
        self.hosts_seen = window.host_count();
        self.networks = window.networks().take(NETWORKS).collect();
        let weight = |rates: &AverageRates| rates.packets.max(rates.bits / 1000.0);
        let mut addresses = BTreeSet::new();
        for side in [0, 1] {
            let top = averages.top(side, HOSTS, number, weight);
            addresses.extend(top.into_iter().map(|(address, _)| address));
        }
        let rates = |address: Address| {
            let [incoming, outgoing] = averages.get(address, number);
            HostRates { address, incoming, outgoing }
        };
        self.hosts = addresses.into_iter().map(rates).collect();
        let size = |host: &HostRates| weight(&host.incoming).max(weight(&host.outgoing));
        self.hosts.sort_by(|a, b| size(b).total_cmp(&size(a)).then(a.address.cmp(&b.address)));
        self.hosts.truncate(HOSTS);
    }
}

/// Orders attacks by their size: bits of a thousand count as a packet.
pub(super) fn most_active(attack: &Attack) -> Reverse<u64> {
    let rates = &attack.rates.total;
    Reverse(rates.packets.max(rates.bytes / 125))
}
