//! Sets of records, as bits, and what part of the packets they are.

use tidewall_model::FlowRecord;

/// A set of records by their positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// None of so many.
    pub(super) fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    /// All of so many.
    pub(super) fn all(count: usize) -> Self {
        (0..count).map(|_| true).collect()
    }

    pub(super) fn and(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    pub(super) fn or(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    pub(super) fn without(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    fn len(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn zip(&self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(a, b)| with(*a, *b)).collect())
    }

    /// Positions in the set, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

impl FromIterator<bool> for Bits {
    fn from_iter<T: IntoIterator<Item = bool>>(bits: T) -> Self {
        let mut words = Vec::new();
        for (at, bit) in bits.into_iter().enumerate() {
            if at % 64 == 0 {
                words.push(0);
            }
            if let Some(word) = words.last_mut() {
                *word |= u64::from(bit) << (at % 64);
            }
        }
        Self(words)
    }
}

/// Records with the packets that each stands for.
#[derive(Clone, Debug)]
pub(super) struct Records<'a> {
    pub(super) list: &'a [FlowRecord],
    packets: Vec<u64>,
    /// What each of them stands for, when that is the same of all.
    even: Option<u64>,
    total: u64,
}

impl<'a> Records<'a> {
    pub(super) fn new(list: &'a [FlowRecord]) -> Self {
        let packets: Vec<u64> = list.iter().map(FlowRecord::scaled_packets).collect();
        let total = packets.iter().fold(0, |sum: u64, packets| sum.saturating_add(*packets));
        let first = packets.first().copied();
        let even = first.filter(|first| packets.iter().all(|packets| packets == first));
        Self { list, packets, even, total }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The records for which this holds.
    pub(super) fn which(&self, holds: impl Fn(&FlowRecord) -> bool) -> Bits {
        self.list.iter().map(holds).collect()
    }

    /// Records of a set with the part of all packets that each stands for.
    pub(super) fn shares<'s>(
        &'s self,
        set: &'s Bits,
    ) -> impl Iterator<Item = (&'a FlowRecord, f64)> + 's {
        let share = |at: usize| {
            let (record, packets) = (self.list.get(at)?, self.packets.get(at)?);
            Some((record, *packets as f64 / self.total.max(1) as f64))
        };
        set.iter().filter_map(share)
    }

    /// Part of all packets that is in the set, 0 to 1.
    pub(super) fn share(&self, set: &Bits) -> f64 {
        self.count(set) as f64 / self.total.max(1) as f64
    }

    /// Part of the packets of `those` that is in the set; 0 when there are none.
    pub(super) fn share_of(&self, set: &Bits, those: &Bits) -> f64 {
        self.count(&set.and(those)) as f64 / self.count(those).max(1) as f64
    }

    fn count(&self, set: &Bits) -> u64 {
        if let Some(packets) = self.even {
            return packets.saturating_mul(set.len());
        }
        let packets = set.iter().filter_map(|at| self.packets.get(at));
        packets.fold(0, |sum, packets| sum.saturating_add(*packets))
    }
}
