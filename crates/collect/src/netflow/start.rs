//! When a NetFlow v9 exporter started, as far as its templates are concerned: those that were heard
//! before may not be its own any more. After a start it may give their ids to other layouts
//! (RFC 3954 §5.2 leaves the choice to it), and records read by a wrong layout can look like any
//! attack. So they are read by an older template only when it was sent again, or was not replaced
//! for a while.
//!
//! An IPFIX exporter that starts anew opens a new transport session, which has no templates yet.

use std::time::Duration;

use tidewall_model::Timestamp;

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
    /// What was heard before is in doubt. Zero: nothing is.
    since: Timestamp,
    until: Timestamp,
    /// No other start is believed before.
    next: Timestamp,
}

impl Start {
    /// The exporter's age fell just now.
    pub(super) fn again(&mut self, now: Timestamp) {
        self.note(now, now);
    }

    /// An exporter of this age in milliseconds is heard for the first time. Its templates may be
    /// known from before our own start.
    pub(super) fn heard(&mut self, now: Timestamp, uptime_ms: u32) {
        let age = Duration::from_millis(uptime_ms.into());
        self.note(now, now - age - SLACK - age / DRIFT);
    }

    fn note(&mut self, now: Timestamp, since: Timestamp) {
        if now >= self.next {
            *self = Self { since, until: now + DOUBT, next: now + APART };
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

    #[test]
    fn what_was_heard_before_it_is_in_doubt_for_a_while() {
        let mut start = Start::default();
        assert!(!start.doubts(Timestamp::ZERO) && !start.is_long_ago(NOW), "none is known");
        start.again(NOW);
        assert!(start.doubts(NOW - Duration::from_nanos(1)) && !start.doubts(NOW));
        assert!(!start.is_long_ago(after(1)) && start.is_long_ago(after(2)));
        start.trust();
        assert!(!start.doubts(Timestamp(1)) && !start.is_long_ago(after(2)));
    }

    #[test]
    fn of_an_exporter_that_was_not_heard_before_its_age_says_when_it_was() {
        let mut start = Start::default();
        start.heard(NOW, 1_024_000);
        let before = |seconds| NOW - Duration::from_secs(seconds);
        assert!(start.doubts(before(1031)) && !start.doubts(before(1030)));
    }

    #[test]
    fn starts_in_a_row_are_believed_once() {
        let mut start = Start::default();
        start.again(NOW);
        start.trust();
        start.again(after(599));
        assert!(!start.doubts(NOW));
        start.again(after(600));
        assert!(start.doubts(after(599)) && !start.doubts(after(600)));
    }

    #[test]
    fn an_age_beyond_all_time_doubts_nothing() {
        let mut start = Start::default();
        start.heard(Timestamp(1), u32::MAX);
        assert!(!start.doubts(Timestamp::ZERO) && !start.is_recent());
    }
}
