//! A count with a memory: all of it, and that of the last minutes. Verdicts speak of the last
//! minutes, so that what has been put right is forgotten.

/// A count, in total and recent. Two turns make it forget.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    total: u64,
    current: u64,
    before: u64,
}

impl Tally {
    #[inline]
    pub(super) fn add(&mut self, count: u64) {
        self.total = self.total.saturating_add(count);
        self.current = self.current.saturating_add(count);
    }

    /// Takes back what was added too soon.
    pub(super) fn take_back(&mut self, count: u64) {
        self.total = self.total.saturating_sub(count);
        let rest = count.saturating_sub(self.current);
        self.current = self.current.saturating_sub(count);
        self.before = self.before.saturating_sub(rest);
    }

    /// A stretch of time is over.
    pub(super) fn turn(&mut self) {
        self.before = std::mem::take(&mut self.current);
    }

    /// Since the beginning.
    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// In this stretch of time and the one before.
    pub(super) const fn recent(&self) -> u64 {
        self.current.saturating_add(self.before)
    }

    /// In this stretch of time, and in the one before.
    pub(super) const fn halves(&self) -> [u64; 2] {
        [self.current, self.before]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_turns_forget_and_the_total_stays() {
        let mut tally = Tally::default();
        tally.add(5);
        tally.turn();
        tally.add(2);
        assert_eq!((tally.recent(), tally.total()), (7, 7));
        tally.take_back(3);
        assert_eq!((tally.recent(), tally.total()), (4, 4), "two of now, one of before");
        tally.turn();
        assert_eq!(tally.recent(), 0);
        tally.turn();
        tally.take_back(9);
        assert_eq!((tally.recent(), tally.total()), (0, 0), "never below zero");
    }
}
