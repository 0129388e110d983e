//! How long an exporter keeps a flow before it tells of it: what it announces, and what its
//! longest flows show.

use std::time::Duration;

/// Of one exporter.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeouts {
    active: Option<Duration>,
    idle: Option<Duration>,
    /// The longest flow of this stretch of time.
    current: Duration,
    /// The longest flow before, slowly forgotten.
    before: Duration,
}

impl Timeouts {
    /// What the exporter announces; a zero means nothing.
    pub(super) fn announce(&mut self, active: Option<Duration>, idle: Option<Duration>) {
        let said = |timeout: &Duration| !timeout.is_zero();
        self.active = active.filter(said).or(self.active);
        self.idle = idle.filter(said).or(self.idle);
    }

    #[inline]
    pub(super) fn flow(&mut self, duration: Duration) {
        self.current = self.current.max(duration);
    }

    /// A stretch of time is over: an eighth of what was longest is forgotten.
    pub(super) fn turn(&mut self) {
        self.before = (self.before / 8 * 7).max(self.current);
        self.current = Duration::ZERO;
    }

    pub(super) const fn active(&self) -> Option<Duration> {
        self.active
    }

    pub(super) const fn idle(&self) -> Option<Duration> {
        self.idle
    }

    /// The longest flow of late.
    pub(super) fn longest(&self) -> Duration {
        self.current.max(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_flow_is_slowly_forgotten() {
        let seconds = Duration::from_secs;
        let mut timeouts = Timeouts::default();
        timeouts.flow(seconds(60));
        timeouts.flow(seconds(5));
        assert_eq!(timeouts.longest(), seconds(60), "at once");
        timeouts.turn();
        assert_eq!(timeouts.longest(), seconds(60));
        timeouts.flow(seconds(10));
        timeouts.turn();
        assert_eq!(timeouts.longest(), Duration::from_millis(52_500));
        for _ in 0..40 {
            timeouts.flow(seconds(10));
            timeouts.turn();
        }
        assert_eq!(timeouts.longest(), seconds(10));
    }

    #[test]
    fn one_announcement_does_not_wipe_out_the_other() {
        let seconds = Duration::from_secs;
        let mut timeouts = Timeouts::default();
        timeouts.announce(Some(seconds(60)), None);
        timeouts.announce(None, Some(seconds(15)));
        timeouts.announce(Some(Duration::ZERO), None);
        assert_eq!((timeouts.active(), timeouts.idle()), (Some(seconds(60)), Some(seconds(15))));
    }
}
