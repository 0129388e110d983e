//! What piles up while a worker does not run: when the process was stopped, frozen or starved of
//! processors. Counted in the moment in which it goes on, the traffic of seconds would look like an
//! attack of many times its rate, so it is left out, and counted as such.

use std::time::Duration;

/// Nothing that a worker does takes so long, nor does it wait for so long.
const STALL: Duration = Duration::from_millis(500);
/// A source that never runs dry is left out for no longer.
const LONGEST: Duration = Duration::from_millis(300);
/// A worker that is starved all the time must still find attacks: it leaves out no more often.
const APART: Duration = Duration::from_secs(10);

/// Of one worker. Times are since the start of the process.
#[derive(Debug)]
pub(super) struct Stall {
    seen: Duration,
    until: Duration,
    next: Duration,
}

impl Stall {
    /// It begins to work now.
    pub(super) const fn new(now: Duration) -> Self {
        Self { seen: now, until: Duration::ZERO, next: Duration::ZERO }
    }

    /// It is at work now. Is what it has in hand to be left out?
    #[inline]
    pub(super) fn look(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.seen) > STALL && now >= self.next {
            (self.until, self.next) = (now + LONGEST, now + APART);
        }
        self.seen = now;
        now < self.until
    }

    /// Its source has nothing more: what comes now is new.
    pub(super) const fn is_over(&mut self) {
        self.until = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_piled_up_is_left_out_until_the_source_has_nothing_more() {
        let mut stall = Stall::new(ms(1000));
        assert!(!stall.look(ms(1100)) && !stall.look(ms(1600)), "a wait and a slow batch");
        assert!(stall.look(ms(4600)) && stall.look(ms(4610)));
        stall.is_over();
        assert!(!stall.look(ms(4620)));
    }

    #[test]
    fn a_source_that_always_has_more_is_left_out_for_a_moment() {
        let mut stall = Stall::new(ms(0));
        assert!(stall.look(ms(600)) && stall.look(ms(899)) && !stall.look(ms(900)));
    }

    #[test]
    fn a_worker_that_is_always_late_counts_most_of_the_time() {
        let mut stall = Stall::new(ms(0));
        let left_out = (1..=100).filter(|second| stall.look(ms(second * 1000))).count();
        assert_eq!(left_out, 10);
    }
}
