//! When a NetFlow v9 exporter started, as far as its templates are concerned: those that were heard
//! before may not be its own any more. After a start it may give their ids to other layouts
//! (RFC 3954 §5.2 leaves the choice to it), and records read by a wrong layout can look like any
//! attack. So they are read by an older template only when it was sent again, or was not replaced
//! for a while.
//!
//! An IPFIX exporter that starts anew opens a new transport session, which has no templates yet.

use std::time::Duration;

use tidewall_model::Timestamp;

use super::Clock;

/// For so long templates of before the start are in doubt: exporters send theirs at once.
const DOUBT: Duration = Duration::from_secs(2);
/// An age that is compared with our clock may be wrong by so much and by this part of it:
/// datagrams wait, and clocks drift.
const SLACK: Duration = Duration::from_secs(5);
const DRIFT: u32 = 1024;
/// Starts within so long of another one are not believed. Line cards that share an address and a
/// source id take turns with their ages, and an age may be written in another unit.
const APART: Duration = Duration::from_mins(10);

/// The last start of an exporter that was believed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Start {
    /// When the exporter started, by its own clock.
    booted: Timestamp,
    /// What was heard before is in doubt. Zero: nothing is.
    since: Timestamp,
    until: Timestamp,
    /// No other start is believed before.
    next: Timestamp,
}

impl Start {
    /// A datagram came, the first of its exporter or not; `clock` is its head's, and `fell` when its
    /// age is less than that of the one before.
    pub(super) fn datagram(&mut self, now: Timestamp, clock: &Clock, first: bool, fell: bool) {
        let Some(uptime_ms) = clock.uptime_ms else { return };
        let age = Duration::from_millis(uptime_ms.into());
        let booted = clock.exported - age;
        // Datagrams in another order than they were sent agree about the start.
        let moved = booted.0.abs_diff(self.booted.0) > SLACK.as_nanos() as u64;
        self.booted = booted;
        if first {
            // Templates may be known from before our own start.
            self.since = now - age - SLACK - age / DRIFT;
            self.until = now + DOUBT;
        } else if fell && moved && now >= self.next {
            (self.since, self.until, self.next) = (now, now + DOUBT, now + APART);
        }
    }

    /// Is a template in doubt that was heard last at this time?
    #[inline]
    pub(super) fn doubts(&self, heard: Timestamp) -> bool {
        heard < self.since
    }

    /// May any template be in doubt?
    pub(super) fn is_recent(&self) -> bool {
        self.since > Timestamp::ZERO
    }

    /// Has a doubt lasted long enough?
    #[inline]
    pub(super) fn is_long_ago(&self, now: Timestamp) -> bool {
        self.is_recent() && now >= self.until
    }

    /// Doubts nothing any more.
    pub(super) fn trust(&mut self) {
        self.since = Timestamp::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        NOW + Duration::from_secs(seconds)
    }

    /// A datagram so many seconds later, sent in time by an exporter of this age in seconds.
    fn heard(start: &mut Start, seconds: u64, age: u32, fell: bool) {
        let now = after(seconds);
        let clock = Clock { exported: now, uptime_ms: Some(age * 1000), boot_ms: None };
        start.datagram(now, &clock, seconds == 0, fell);
    }

    #[test]
    fn what_was_heard_before_it_is_in_doubt_for_a_while() {
        let mut start = Start::default();
        assert!(!start.doubts(Timestamp::ZERO) && !start.is_long_ago(NOW), "none is known");
        heard(&mut start, 0, 1000, false);
        start.trust();
        heard(&mut start, 60, 0, true);
        assert!(start.doubts(after(59)) && !start.doubts(after(60)));
        assert!(!start.is_long_ago(after(61)) && start.is_long_ago(after(62)));
        start.trust();
        assert!(!start.doubts(Timestamp(1)) && !start.is_long_ago(after(62)));
    }

    #[test]
    fn of_an_exporter_that_was_not_heard_before_its_age_says_when_it_was() {
        let mut start = Start::default();
        heard(&mut start, 0, 1024, false);
        let before = |seconds| NOW - Duration::from_secs(seconds);
        assert!(start.doubts(before(1031)) && !start.doubts(before(1030)));
    }

    #[test]
    fn starts_in_a_row_are_believed_once() {
        let mut start = Start::default();
        heard(&mut start, 0, 1000, false);
        heard(&mut start, 1, 0, true);
        start.trust();
        heard(&mut start, 600, 0, true);
        assert!(!start.doubts(NOW));
        heard(&mut start, 601, 1, true);
        assert!(!start.doubts(NOW), "as old as it should be");
        heard(&mut start, 700, 0, true);
        assert!(start.doubts(after(699)) && !start.doubts(after(700)));
    }

    #[test]
    fn datagrams_in_another_order_are_no_start() {
        let mut start = Start::default();
        heard(&mut start, 0, 1000, false);
        start.trust();
        let clock = Clock {
            exported: NOW - Duration::from_mins(15),
            uptime_ms: Some(100_000),
            boot_ms: None,
        };
        start.datagram(after(1), &clock, false, true);
        assert!(!start.is_recent());
    }

    #[test]
    fn an_age_beyond_all_time_doubts_nothing() {
        let (mut start, now) = (Start::default(), Timestamp(1));
        let clock = Clock { exported: now, uptime_ms: Some(u32::MAX), boot_ms: None };
        start.datagram(now, &clock, true, false);
        assert!(!start.doubts(Timestamp::ZERO) && !start.is_recent());
    }
}
