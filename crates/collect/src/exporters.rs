//! The exporters that a collector knows, each with its state. Anyone can send a datagram in any
//! address's name, so the table is bounded: when it is full, an exporter that has been silent for
//! long gives way, and without one the newcomer is refused. An exporter in use is never pushed out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tidewall_model::Timestamp;

/// What an exporter speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExportProtocol {
    /// sFlow, any version.
    Sflow,
    /// NetFlow version 5.
    NetflowV5,
    /// NetFlow version 9.
    NetflowV9,
    /// IPFIX.
    Ipfix,
}

impl ExportProtocol {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sflow => "sflow",
            Self::NetflowV5 => "netflow5",
            Self::NetflowV9 => "netflow9",
            Self::Ipfix => "ipfix",
        }
    }

    /// Are its datagrams read by templates, which whoever reads them must have heard before?
    pub const fn has_templates(self) -> bool {
        matches!(self, Self::NetflowV9 | Self::Ipfix)
    }
}

/// One exporting process: templates, sequence numbers and sampling are each one's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExporterKey {
    /// What it speaks.
    pub protocol: ExportProtocol,
    /// Where its datagrams come from.
    pub address: IpAddr,
    /// Their port for IPFIX, where it is part of the transport session (RFC 7011 §2, §8); else 0.
    pub port: u16,
    /// What the agent calls itself (sFlow); else `address`.
    pub agent: IpAddr,
    /// Observation domain (IPFIX), source id (v9), engine type × 256 + engine id (v5), sub-agent
    /// (sFlow).
    pub domain: u32,
}

/// Bounds of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExporterLimits {
    /// Exporters at most.
    pub exporters: usize,
    /// One that was silent for so long may give way to another.
    pub silent: Duration,
}

impl Default for ExporterLimits {
    fn default() -> Self {
        Self { exporters: 16_384, silent: Duration::from_hours(1) }
    }
}

/// A place in the table. Good until the exporter gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExporterIndex(pub(crate) usize);

/// The table.
#[derive(Debug)]
pub struct Exporters<T> {
    limits: ExporterLimits,
    index: HashMap<ExporterKey, usize>,
    slots: Vec<Slot<T>>,
    /// The last one found: datagrams of one exporter come in runs.
    last: Option<(ExporterKey, usize)>,
    /// Where the search for a silent one goes on.
    hand: usize,
    refused: u64,
    replaced: u64,
}

#[derive(Debug)]
struct Slot<T> {
    key: ExporterKey,
    last_seen: Timestamp,
    state: T,
}

impl<T> Exporters<T> {
    /// Slots looked at for one newcomer: its cost must not grow with the table.
    const LOOKED_AT: usize = 64;

    /// An empty table.
    pub fn new(limits: ExporterLimits) -> Self {
        Self {
            limits,
            index: HashMap::new(),
            slots: Vec::new(),
            last: None,
            hand: 0,
            refused: 0,
            replaced: 0,
        }
    }

    /// The exporter's place; `make` gives the state of a new one. `None` when there is no room.
    #[inline]
    pub fn find(
        &mut self,
        key: &ExporterKey,
        now: Timestamp,
        make: impl FnOnce() -> T,
    ) -> Option<ExporterIndex> {
        let at = match self.last {
            Some((last, at)) if last == *key => at,
            _ => match self.index.get(key) {
                Some(at) => *at,
                None => self.admit(key, now, make)?,
            },
        };
        self.last = Some((*key, at));
        let slot = self.slots.get_mut(at)?;
        slot.last_seen = slot.last_seen.max(now);
        Some(ExporterIndex(at))
    }

    /// The exporter's place, if it is known.
    pub fn position(&self, key: &ExporterKey) -> Option<ExporterIndex> {
        self.index.get(key).copied().map(ExporterIndex)
    }

    #[cold]
    fn admit(
        &mut self,
        key: &ExporterKey,
        now: Timestamp,
        make: impl FnOnce() -> T,
    ) -> Option<usize> {
        if self.slots.len() < self.limits.exporters {
            self.slots.push(Slot { key: *key, last_seen: now, state: make() });
            self.index.insert(*key, self.slots.len() - 1);
            return Some(self.slots.len() - 1);
        }
        for _ in 0..self.slots.len().min(Self::LOOKED_AT) {
            self.hand = (self.hand + 1) % self.slots.len();
            let at = self.hand;
            let Some(slot) = self.slots.get_mut(at) else { break };
            if now.since(slot.last_seen) >= self.limits.silent {
                self.index.remove(&slot.key);
                *slot = Slot { key: *key, last_seen: now, state: make() };
                self.index.insert(*key, at);
                self.last = None;
                self.replaced += 1;
                return Some(at);
            }
        }
        self.refused += 1;
        None
    }

    /// The state at a place.
    #[inline]
    pub fn get(&self, at: ExporterIndex) -> Option<&T> {
        self.slots.get(at.0).map(|slot| &slot.state)
    }

    /// The state at a place, to change it.
    #[inline]
    pub fn get_mut(&mut self, at: ExporterIndex) -> Option<&mut T> {
        self.slots.get_mut(at.0).map(|slot| &mut slot.state)
    }

    /// All exporters in the order of their keys.
    pub fn sorted(&self) -> Vec<(&ExporterKey, &T)> {
        let mut all: Vec<_> = self.slots.iter().map(|slot| (&slot.key, &slot.state)).collect();
        all.sort_unstable_by_key(|(key, _)| **key);
        all
    }

    /// All states, to change them.
    pub fn states_mut(&mut self) -> impl Iterator<Item = (&ExporterKey, &mut T)> {
        self.slots.iter_mut().map(|slot| (&slot.key, &mut slot.state))
    }

    /// Exporters known.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// None known?
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Datagrams refused for want of room.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Exporters that gave way to another.
    pub const fn replaced(&self) -> u64 {
        self.replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(last: u8) -> ExporterKey {
        let address = IpAddr::from([192, 0, 2, last]);
        ExporterKey { protocol: ExportProtocol::Sflow, address, port: 0, agent: address, domain: 0 }
    }

    #[test]
    fn only_a_silent_exporter_gives_way() {
        let limits = ExporterLimits { exporters: 2, silent: Duration::from_secs(10) };
        let mut table = Exporters::new(limits);
        let at = |seconds| Timestamp::from_parts(seconds, 0);
        let first = table.find(&key(1), at(0), || "first").unwrap();
        let second = table.find(&key(2), at(5), || "second").unwrap();
        assert_eq!(table.find(&key(3), at(9), || "third"), None);
        assert_eq!(table.refused(), 1);
        assert_eq!(table.find(&key(3), at(12), || "third"), Some(first));
        assert_eq!(table.get(first), Some(&"third"));
        assert_eq!(table.find(&key(2), at(12), || "new"), Some(second));
        assert_eq!(table.get(second), Some(&"second"), "still the one it was");
        assert_eq!(table.position(&key(1)), None);
        assert_eq!((table.len(), table.replaced()), (2, 1));
    }

    #[test]
    fn exporters_come_sorted() {
        let mut table = Exporters::new(ExporterLimits::default());
        for last in [9, 3, 7] {
            table.find(&key(last), Timestamp::ZERO, || last).unwrap();
        }
        let states: Vec<u8> = table.sorted().into_iter().map(|(_, state)| *state).collect();
        assert_eq!(states, [3, 7, 9]);
    }
}
