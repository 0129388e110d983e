//! The sampling rates that an exporter's records are scaled by, and where they come from.

use std::cmp::Reverse;

use tidewall_model::{SamplingRate, Timestamp};

use crate::SamplingOrigin;

/// Rates remembered at most.
pub(super) const REMEMBERED: usize = 8;

/// A rate in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateInUse {
    /// 1 packet in so many.
    pub rate: SamplingRate,
    /// Where it was found.
    pub origin: SamplingOrigin,
    /// When it was used first.
    pub since: Timestamp,
    /// When it was used last.
    pub last: Timestamp,
}

/// The rates of one exporter.
#[derive(Clone, Debug, Default)]
pub(super) struct RatesInUse(Vec<RateInUse>);

impl RatesInUse {
    /// Records are scaled by this rate. Of too many, the one gives way that was not used for
    /// longest.
    #[inline]
    pub(super) fn note(&mut self, rate: SamplingRate, origin: SamplingOrigin, now: Timestamp) {
        match self.0.iter_mut().find(|used| used.rate == rate && used.origin == origin) {
            Some(used) => used.last = used.last.max(now),
            None => self.add(RateInUse { rate, origin, since: now, last: now }),
        }
    }

    #[cold]
    fn add(&mut self, new: RateInUse) {
        if self.0.len() < REMEMBERED {
            self.0.push(new);
        } else if let Some(stalest) = self.0.iter_mut().min_by_key(|used| used.last) {
            *stalest = new;
        }
    }

    /// The last used first.
    pub(super) fn sorted(&self) -> Vec<RateInUse> {
        let mut all = self.0.clone();
        all.sort_unstable_by_key(RateInUse::order);
        all
    }
}

impl RateInUse {
    /// The last used first.
    pub(super) const fn order(&self) -> (Reverse<Timestamp>, SamplingRate, SamplingOrigin) {
        (Reverse(self.last), self.rate, self.origin)
    }
}

/// Bytes that the list takes at most.
#[cfg(test)]
pub(super) const HEAP: usize = REMEMBERED * size_of::<RateInUse>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_told_apart_by_where_they_come_from() {
        let mut rates = RatesInUse::default();
        let thousand = SamplingRate::new(1000);
        rates.note(thousand, SamplingOrigin::Fallback, Timestamp(1));
        rates.note(thousand, SamplingOrigin::Exporter, Timestamp(2));
        rates.note(thousand, SamplingOrigin::Exporter, Timestamp(5));
        let seen: Vec<_> = rates.sorted().iter().map(|r| (r.origin, r.since.0, r.last.0)).collect();
        assert_eq!(seen, [(SamplingOrigin::Exporter, 2, 5), (SamplingOrigin::Fallback, 1, 1)]);
        for n in 0..500 {
            rates.note(SamplingRate::new(n), SamplingOrigin::Record, Timestamp(u64::from(n)));
        }
        assert_eq!(rates.sorted().len(), REMEMBERED);
        assert_eq!(rates.sorted()[0].rate.get(), 499);
    }
}
