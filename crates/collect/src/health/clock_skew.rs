//! How far the exporter's clock is from ours: the median of the last few datagrams, so that one
//! datagram that was held up, or lies, moves nothing.

use tidewall_model::Timestamp;

/// Datagrams whose times are remembered.
const REMEMBERED: usize = 7;

/// Fewer say nothing yet.
const ENOUGH: usize = 3;

/// Received minus exported, of the last datagrams.
#[derive(Clone, Debug, Default)]
pub(super) struct ClockSkew {
    behind_ms: [i64; REMEMBERED],
    count: u8,
    next: u8,
}

impl ClockSkew {
    #[inline]
    pub(super) fn note(&mut self, received: Timestamp, exported: Timestamp) {
        let ms = |time: Timestamp| (time.0 / 1_000_000) as i64;
        if let Some(slot) = self.behind_ms.get_mut(usize::from(self.next)) {
            *slot = ms(received) - ms(exported);
        }
        self.next = (self.next + 1) % REMEMBERED as u8;
        self.count = (self.count + 1).min(REMEMBERED as u8);
    }

    /// Milliseconds by which the exporter's clock is behind ours; negative when it is ahead.
    /// Transport and rounding to seconds are in it: below two seconds it means nothing.
    pub(super) fn behind_ms(&self) -> Option<i64> {
        let mut seen = self.behind_ms;
        let seen = seen.get_mut(..usize::from(self.count))?;
        if seen.len() < ENOUGH {
            return None;
        }
        seen.sort_unstable();
        seen.get(seen.len() / 2).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skew(exported: &[i64]) -> Option<i64> {
        let mut skew = ClockSkew::default();
        for (n, offset) in exported.iter().enumerate() {
            let received = 1_800_000_000 + n as u64;
            let exported = Timestamp::from_parts(received.saturating_add_signed(*offset), 0);
            skew.note(Timestamp::from_parts(received, 0), exported);
        }
        skew.behind_ms()
    }

    #[test]
    fn median_of_the_last_datagrams() {
        assert_eq!(skew(&[-120, -120]), None, "two are not enough");
        assert_eq!(skew(&[-120, -120, -120]), Some(120_000));
        assert_eq!(skew(&[7200, 7200, 7201, 7200]), Some(-7_200_000), "ahead");
        assert_eq!(skew(&[0, 0, 1_000_000_000, 0, -1_800_000_000]), Some(0), "two that lie");
        assert_eq!(skew(&[500; 20].map(|x: i64| -x)), Some(500_000));
        assert_eq!(skew(&[500, 500, 500, 500, 500, 0, 0, 0, 0]), Some(0), "put right");
        assert_eq!(skew(&[i64::MIN / 2; 3]), Some(1_800_000_001_000), "the clock was never set");
    }
}
