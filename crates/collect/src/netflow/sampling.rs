//! Which sampling rate holds for a record: what options data taught of samplers, interfaces and the
//! whole exporter, and the order in which all that may know a rate are asked.

use tidewall_model::SamplingRate;

use super::compiled::{Form, Slot, Slots, Values};
use crate::{ConfiguredSampling, SamplingOrigin};

/// A rate and where it comes from.
pub(super) type Found = (SamplingRate, SamplingOrigin);

/// Samplers, and interfaces, of one exporter that are remembered.
const MAX_ENTRIES: usize = 4096;

/// Fields that give a rate to the record that has them.
const OF_RECORD: Slots = Slots::of([Slot::Rate, Slot::PacketInterval, Slot::PacketsObserved]);
const SPACE: Slots = Slots::of([Slot::PacketSpace]);
const SAMPLER: Slots = Slots::of([Slot::Sampler]);
const INPUT_IF: Slots = Slots::of([Slot::InputIf]);

/// What options data of one exporter say about sampling.
#[derive(Debug, Default)]
pub(super) struct SamplingTable {
    samplers: Vec<(u64, SamplingRate)>,
    interfaces: Vec<(u64, SamplingRate)>,
    /// For all that names no sampler and came in by no known interface.
    whole: Option<SamplingRate>,
    /// The rate of all samplers, while they agree.
    agreed: Option<SamplingRate>,
    refused: u64,
}

impl SamplingTable {
    /// A sampler's rate, an interface's, or that of the whole exporter. With both keys it is
    /// remembered for both: records may name the one or the other.
    pub(super) fn learn(
        &mut self,
        sampler: Option<u64>,
        interface: Option<u64>,
        rate: SamplingRate,
        room: &mut usize,
    ) {
        if let Some(sampler) = sampler {
            self.refused += u64::from(!put(&mut self.samplers, sampler, rate, room));
            let first = self.samplers.first().map(|entry| entry.1);
            self.agreed = first.filter(|first| self.samplers.iter().all(|e| e.1 == *first));
        }
        if let Some(interface) = interface {
            self.refused += u64::from(!put(&mut self.interfaces, interface, rate, room));
        }
        if sampler.is_none() && interface.is_none() {
            self.whole = Some(rate);
        }
    }

    /// All that is known, as bytes for a restart: for each kind a count of 4 bytes and entries of 12;
    /// then the rate of the whole exporter, 0 where there is none. Numbers in network order.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(12 + 12 * self.entries());
        for table in [&self.samplers, &self.interfaces] {
            bytes.extend_from_slice(&(table.len() as u32).to_be_bytes());
            for (key, rate) in table {
                bytes.extend_from_slice(&key.to_be_bytes());
                bytes.extend_from_slice(&rate.get().to_be_bytes());
            }
        }
        let whole = self.whole.map_or(0, SamplingRate::get);
        bytes.extend_from_slice(&whole.to_be_bytes());
        bytes
    }

    /// What [`Self::to_bytes`] gave, as far as there is room. Anything else gives what could be read
    /// of it: the image around it has a checksum.
    pub(super) fn from_bytes(bytes: &[u8], room: &mut usize) -> Self {
        let mut table = Self::default();
        table.read(bytes, room);
        table
    }

    fn read(&mut self, bytes: &[u8], room: &mut usize) -> Option<()> {
        let mut rest = bytes;
        for kind in [0, 1] {
            let (count, behind) = rest.split_first_chunk::<4>()?;
            rest = behind;
            for _ in 0..u32::from_be_bytes(*count) {
                let (key, behind) = rest.split_first_chunk::<8>()?;
                let (rate, behind) = behind.split_first_chunk::<4>()?;
                rest = behind;
                let key = Some(u64::from_be_bytes(*key));
                let rate = SamplingRate::new(u32::from_be_bytes(*rate));
                let (sampler, interface) = if kind == 0 { (key, None) } else { (None, key) };
                self.learn(sampler, interface, rate, room);
            }
        }
        let (whole, _) = rest.split_first_chunk::<4>()?;
        let whole = u32::from_be_bytes(*whole);
        self.whole = (whole != 0).then(|| SamplingRate::new(whole));
        Some(())
    }

    /// Nothing known at all?
    pub(super) fn is_empty(&self) -> bool {
        self.entries() == 0 && self.whole.is_none()
    }

    /// Samplers and interfaces remembered.
    pub(super) fn entries(&self) -> usize {
        self.samplers.len() + self.interfaces.len()
    }

    /// Rates that were not remembered for want of room.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// For records that name no sampler: what holds for the whole exporter or, where nothing does,
    /// what all its samplers agree on. One that names an unknown sampler gets the former only.
    fn unnamed(&self, named: bool) -> Option<SamplingRate> {
        self.whole.or(if named { None } else { self.agreed })
    }
}

/// Sets an entry of a sorted table; `false` when there is no room for another.
fn put(
    table: &mut Vec<(u64, SamplingRate)>,
    key: u64,
    rate: SamplingRate,
    room: &mut usize,
) -> bool {
    match table.binary_search_by_key(&key, |entry| entry.0) {
        Ok(at) => {
            if let Some(entry) = table.get_mut(at) {
                entry.1 = rate;
            }
        }
        Err(_) if table.len() >= MAX_ENTRIES || *room == 0 => return false,
        Err(at) => {
            table.insert(at, (key, rate));
            *room -= 1;
        }
    }
    true
}

fn get(table: &[(u64, SamplingRate)], key: u64) -> Option<SamplingRate> {
    let at = table.binary_search_by_key(&key, |entry| entry.0).ok()?;
    table.get(at).map(|entry| entry.1)
}

/// All that may know a rate, for the records of one set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rates<'a> {
    /// What the observation domain itself said, and what was said for domain 0, which stands for
    /// the whole exporter (RFC 7011 §3.1): routers announce samplers there.
    pub(super) tables: [&'a SamplingTable; 2],
    pub(super) configured: ConfiguredSampling,
}

/// How the records of a set get their rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    /// Must each record be asked?
    pub(super) by_record: bool,
    /// Does the interface matter?
    by_interface: bool,
    /// Do other fields matter?
    by_fields: bool,
    /// What the last record named, and its rate.
    last: Option<([u64; 2], Found)>,
    /// What holds when the record decides nothing.
    pub(super) rest: Found,
}

impl Choice {
    /// One for all records.
    const fn of_all(rest: Found) -> Self {
        Self { by_record: false, by_interface: false, by_fields: false, last: None, rest }
    }

    /// The rate of the record before, if this one names the same sampler and interface.
    #[inline]
    pub(super) fn again(&self, values: Values<'_>) -> Option<Found> {
        let (names, found) = self.last?;
        (names == self.names(values)).then_some(found)
    }

    /// The next record may have this rate too.
    pub(super) fn keep(&mut self, values: Values<'_>, found: Found) {
        self.last = (!self.by_fields).then(|| (self.names(values), found));
    }

    #[inline]
    fn names(&self, values: Values<'_>) -> [u64; 2] {
        let interface = if self.by_interface { values.get(Slot::InputIf) } else { 0 };
        [values.get(Slot::Sampler), interface]
    }
}

impl Rates<'_> {
    /// What can be decided for all records of a template at once.
    pub(super) fn choice(&self, form: &Form) -> Choice {
        if let Some(rate) = self.configured.over {
            return Choice::of_all((rate, SamplingOrigin::Override));
        }
        let named = form.has(SAMPLER);
        let any = |of: fn(&SamplingTable) -> bool| self.tables.iter().any(|table| of(table));
        let by_fields = form.has(OF_RECORD);
        let by_interface = form.has(INPUT_IF) && any(|table| !table.interfaces.is_empty());
        let by_record =
            by_fields || by_interface || named && any(|table| !table.samplers.is_empty());
        let whole = self.tables.iter().find_map(|table| table.unnamed(named));
        let rest = whole
            .map_or_else(|| rest(self.configured, None), |rate| (rate, SamplingOrigin::Exporter));
        Choice { by_record, by_interface, by_fields, last: None, rest }
    }

    /// The rate of one record, where it may decide.
    pub(super) fn of_record(&self, form: &Form, values: Values<'_>, rest: Found) -> Found {
        if form.has(OF_RECORD)
            && let Some(rate) = said_by(form, values)
        {
            return (rate, SamplingOrigin::Record);
        }
        let ask = |of: fn(&SamplingTable) -> &Vec<(u64, SamplingRate)>, slot| {
            self.tables.iter().find_map(|table| get(of(table), values.get(slot)))
        };
        if form.has(SAMPLER)
            && let Some(rate) = ask(|table| &table.samplers, Slot::Sampler)
        {
            return (rate, SamplingOrigin::Sampler);
        }
        if form.has(INPUT_IF)
            && let Some(rate) = ask(|table| &table.interfaces, Slot::InputIf)
        {
            return (rate, SamplingOrigin::Interface);
        }
        rest
    }
}

/// The end of the order: a header's rate, the configured fallback, and 1.
pub(super) fn rest(configured: ConfiguredSampling, header: Option<SamplingRate>) -> Found {
    let header = header.map(|rate| (rate, SamplingOrigin::Header));
    let fallback = configured.fallback.map(|rate| (rate, SamplingOrigin::Fallback));
    header.or(fallback).unwrap_or((SamplingRate::ONE, SamplingOrigin::Assumed))
}

/// The rate in a record of data.
fn said_by(form: &Form, values: Values<'_>) -> Option<SamplingRate> {
    let said = |slot| Some(values.get(slot)).filter(|&number| number != 0);
    interval(values.get(Slot::Rate))
        .or_else(|| {
            let space = form.has(SPACE).then(|| values.get(Slot::PacketSpace));
            spaced(said(Slot::PacketInterval)?, space)
        })
        .or_else(|| {
            let observed = said(Slot::PacketsObserved)?;
            said(Slot::PacketsSelected).and_then(|selected| ratio(observed, selected))
        })
}

/// Elements 34 and 50: 1 packet in so many; 0 says nothing.
///
/// RouterOS 6 writes the bytes in the wrong order, so that 1 reads as 16777216. A rate of 2^24 and
/// more that is smaller when turned round is such a one.
pub(super) fn interval(number: u64) -> Option<SamplingRate> {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    let turned = number.swap_bytes();
    let number = if number >> 24 != 0 && turned < number { turned } else { number };
    (number != 0).then(|| SamplingRate::new(number))
}

/// Elements 305 and 306 (RFC 5477 §8.2): of `interval + space` packets `interval` are taken. Where
/// there is no 306, as Cisco NCS has it, 305 is 1 packet in so many.
pub(super) fn spaced(interval: u64, space: Option<u64>) -> Option<SamplingRate> {
    match space {
        None => ratio(interval, 1),
        Some(space) => ratio(interval.saturating_add(space), interval),
    }
}

/// `whole` packets for each `part` that is taken, to the nearest number.
pub(super) fn ratio(whole: u64, part: u64) -> Option<SamplingRate> {
    let rate = whole.saturating_add(part / 2).checked_div(part)?;
    (whole != 0).then(|| SamplingRate::new(u32::try_from(rate).unwrap_or(u32::MAX)))
}

/// A probability (element 311).
pub(super) fn probability(share: f64) -> Option<SamplingRate> {
    let rate = (1.0 / share).round();
    (share > 0.0 && share <= 1.0).then(|| SamplingRate::new(rate as u32))
}
