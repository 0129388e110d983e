//! How long a session waits, and what keeps the sessions of many peers out of step.

use std::time::Duration;

/// For the answer to a connection attempt.
pub(super) const CONNECT_WAIT: Duration = Duration::from_secs(30);
/// For the peer's OPEN. RFC 4271 suggests four minutes; a peer that is half open (a wrong TTL, say)
/// would block the next attempt that long.
pub(super) const OPEN_WAIT: Duration = Duration::from_mins(1);
/// A session that lasted this long makes the next wait short again.
pub(super) const STABLE_AFTER: Duration = Duration::from_mins(1);
/// RFC 9687 §3: how long a peer may not read, at least; otherwise twice the hold time.
pub(super) const SEND_HOLD: Duration = Duration::from_mins(8);

/// A small generator of numbers for jitter (RFC 4271 §10); not for anything secret.
#[derive(Clone, Debug)]
pub(super) struct Jitter(u64);

impl Jitter {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15)
    }

    /// Three quarters to all of `duration`.
    pub(super) fn shorten(&mut self, duration: Duration) -> Duration {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let share = (z >> 40) as u32;
        let off = (duration / 4 / 0x1_0000).saturating_mul(share & 0xffff);
        duration.saturating_sub(off)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bounds_and_differs() {
        let mut jitter = Jitter::new(7);
        let whole = Duration::from_secs(100);
        let waits: Vec<_> = (0..100).map(|_| jitter.shorten(whole)).collect();
        assert!(waits.iter().all(|w| (Duration::from_secs(75)..=whole).contains(w)));
        assert!(waits.iter().max() > waits.iter().min());
    }
}
