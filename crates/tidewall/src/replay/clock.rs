//! The time of the packets of one capture, freed from what clocks do to it: a single packet from
//! the future or the past, and a clock that was set back while the capture ran. Without this, one
//! wrong time would put all that follows into one instant, and that would look like an attack.

use tidewall_model::Timestamp;

/// Packets this much out of order are ordinary (several queues, several interfaces).
const ORDINARY_DISORDER: u64 = 1_000_000_000;
/// A packet this far ahead of its neighbours has a wrong time.
const JUMP: u64 = 3_600_000_000_000;

/// Reads the times of one capture in their order, with a look at the next one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CaptureClock {
    /// The latest time told.
    latest: Option<u64>,
    /// What is added while the capture's clock is behind.
    offset: u64,
    /// Packets that were given the time of their predecessor.
    outliers: u64,
    /// Times the capture's clock was set back.
    set_back: u64,
}

impl CaptureClock {
    /// The time of a packet that says `written`, where the next packet says `next`.
    pub(super) fn tell(&mut self, written: u64, next: Option<u64>) -> Timestamp {
        let Some(latest) = self.latest else {
            let ahead = next.filter(|next| written > next.saturating_add(JUMP));
            self.outliers += u64::from(ahead.is_some());
            return self.keep(ahead.unwrap_or(written));
        };
        let time = self.on_our_scale(written, latest);
        let next = next.map(|next| self.on_our_scale(next, latest));
        if time > latest.saturating_add(JUMP)
            && next.is_some_and(|next| next.saturating_add(JUMP) < time)
        {
            self.outliers += 1;
            return Timestamp(latest);
        }
        if !is_behind(time, latest) {
            if written == time {
                self.offset = 0;
            }
            return self.keep(time);
        }
        if next.is_none_or(|next| !is_behind(next, latest)) {
            self.outliers += 1;
        } else {
            self.set_back += 1;
            self.offset = latest - written.min(latest);
        }
        Timestamp(latest)
    }

    /// Packets that were given another time because theirs was far off.
    pub(super) const fn outliers(&self) -> u64 {
        self.outliers
    }

    /// Times the capture's clock was set back.
    pub(super) const fn set_back(&self) -> u64 {
        self.set_back
    }

    /// As written where that fits, else with the offset of the clock that was set back.
    fn on_our_scale(&self, written: u64, latest: u64) -> u64 {
        if is_behind(written, latest) { written.saturating_add(self.offset) } else { written }
    }

    fn keep(&mut self, time: u64) -> Timestamp {
        self.latest = Some(self.latest.map_or(time, |latest| latest.max(time)));
        Timestamp(time)
    }
}

fn is_behind(time: u64, latest: u64) -> bool {
    time.saturating_add(ORDINARY_DISORDER) < latest
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const START: u64 = 1_700_000_000 * S;

    /// Times told for these seconds, the number of outliers, and of steps back.
    fn told(seconds: &[i64]) -> (Vec<i64>, u64, u64) {
        let written: Vec<u64> =
            seconds.iter().map(|s| START.saturating_add_signed(s * S as i64)).collect();
        let mut clock = CaptureClock::default();
        let times = (0..written.len()).map(|at| {
            let time = clock.tell(written[at], written.get(at + 1).copied());
            (time.0 as i64 - START as i64) / S as i64
        });
        (times.collect(), clock.outliers(), clock.set_back())
    }

    #[test]
    fn ordinary_times_are_left_alone() {
        assert_eq!(told(&[0, 1, 2, 1, 900, 86_400]), (vec![0, 1, 2, 1, 900, 86_400], 0, 0));
    }

    #[test]
    fn one_packet_from_the_future_has_its_predecessors_time() {
        assert_eq!(told(&[0, 1, 9_000, 2, 3]), (vec![0, 1, 1, 2, 3], 1, 0));
        assert_eq!(told(&[9_000, 2, 3]), (vec![2, 2, 3], 1, 0));
    }

    #[test]
    fn one_packet_from_the_past_has_its_predecessors_time() {
        assert_eq!(told(&[0, 9, -4_000_000, 10, 11]), (vec![0, 9, 9, 10, 11], 1, 0));
    }

    #[test]
    fn a_clock_set_back_does_not_stop_time() {
        let (times, outliers, set_back) = told(&[100, 101, 1, 2, 3, 4]);
        assert_eq!((times, outliers, set_back), (vec![100, 101, 101, 102, 103, 104], 0, 1));
        // A clock that was wrong for a while and is right again.
        let (times, ..) = told(&[100, 101, 1, 2, 103, 104]);
        assert_eq!(times, vec![100, 101, 101, 102, 103, 104]);
    }

    #[test]
    fn two_interfaces_with_different_clocks_do_not_stretch_time() {
        let (times, ..) = told(&[100, 100, 90, 90, 101, 101, 91, 91, 102, 102]);
        assert_eq!(times, vec![100, 100, 100, 100, 101, 101, 101, 101, 102, 102]);
    }

    #[test]
    fn no_time_at_all() {
        let mut clock = CaptureClock::default();
        for _ in 0..3 {
            assert_eq!(clock.tell(0, Some(0)), Timestamp::ZERO);
        }
        assert_eq!(clock.tell(u64::MAX, None), Timestamp(u64::MAX));
    }
}
