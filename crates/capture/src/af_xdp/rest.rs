//! How long a queue is left alone once it is empty, so that one waking takes many frames. It is
//! found from what came since the last rest; the thread of the queue asks.

use std::time::Duration;

use tidewall_model::Timestamp;

/// After silence, and when frames come fast: the usual ring of 8,192 frames lasts for so long at 40
/// million frames a second.
const SHORTEST: Duration = Duration::from_micros(200);
/// The usual ring lasts for so long at 2 million frames a second: a burst that is faster than that
/// and comes out of slow traffic overruns it once, and is counted.
const LONGEST: Duration = Duration::from_millis(4);
/// Nothing came for so long: the next frame may be the first of a flood.
const SILENCE: Duration = Duration::from_millis(10);

/// What is known of how fast frames come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    /// Frames that may gather meanwhile: a quarter of the ring, so that it lasts for a rise to four
    /// times the rate.
    room: u64,
    taken: u64,
    /// When the last batch was taken, and the last before the rest.
    last: Timestamp,
    since: Timestamp,
    length: Duration,
}

impl Rest {
    /// For a ring of so many frames.
    pub(super) fn new(frames: u32) -> Self {
        Self {
            room: u64::from(frames / 4),
            taken: 0,
            last: Timestamp::ZERO,
            since: Timestamp::ZERO,
            length: SHORTEST,
        }
    }

    /// A batch of so many frames was taken.
    pub(super) fn took(&mut self, frames: u64, now: Timestamp) {
        self.taken += frames;
        self.last = now;
    }

    /// The rest to take now. It grows step by step, and falls at once.
    pub(super) fn next(&mut self) -> Duration {
        let elapsed = self.last.since(self.since);
        self.since = self.last;
        let taken = std::mem::take(&mut self.taken).max(1);
        let steady = elapsed <= SILENCE && taken <= self.room;
        self.length = if steady {
            let lasts = elapsed.mul_f64(self.room as f64 / taken as f64);
            lasts.min(self.length * 2).clamp(SHORTEST, LONGEST)
        } else {
            SHORTEST
        };
        self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING: u32 = 8192;

    /// Frames at this rate from `now` on; gives the rests and the most that waited.
    fn run(rest: &mut Rest, now: &mut Timestamp, rate: f64, rounds: usize) -> (Vec<Duration>, u64) {
        let mut most = 0;
        let mut came = 0.0;
        let mut rests = Vec::new();
        let mut waited = Duration::from_secs_f64(1.0 / rate);
        for _ in 0..rounds {
            came += waited.as_secs_f64() * rate;
            // Nothing came meanwhile: the kernel wakes us for the next frame.
            if came < 1.0 {
                waited += Duration::from_secs_f64((1.0 - came) / rate);
                came = 1.0;
            }
            *now = *now + waited;
            let taken = came as u64;
            came -= taken as f64;
            most = most.max(taken);
            rest.took(taken, *now);
            waited = rest.next();
            rests.push(waited);
        }
        (rests, most)
    }

    fn begin() -> (Rest, Timestamp) {
        (Rest::new(RING), Timestamp::from_parts(1_790_000_000, 0))
    }

    #[test]
    fn it_is_as_long_as_a_quarter_of_the_ring_lasts() {
        for (rate, expected) in [
            (1e3, LONGEST),
            (4e5, LONGEST),
            (1e6, Duration::from_micros(2048)),
            (4e6, Duration::from_micros(512)),
            (14.9e6, SHORTEST),
            (4e7, SHORTEST),
        ] {
            let (mut rest, mut now) = begin();
            let (rests, most) = run(&mut rest, &mut now, rate, 100);
            let last = *rests.last().unwrap();
            assert!(last.abs_diff(expected) < Duration::from_micros(5), "{rate}: {last:?}");
            assert!(most <= u64::from(RING), "{rate}: {most}");
        }
    }

    #[test]
    fn after_silence_it_is_short_and_grows_step_by_step() {
        let (mut rest, mut now) = begin();
        run(&mut rest, &mut now, 4e5, 100);
        now = now + Duration::from_millis(100);
        // The first frame of a flood at the rate of a link of 10 Gbit/s.
        let (rests, most) = run(&mut rest, &mut now, 14.9e6, 100);
        assert!(rests.iter().all(|length| *length < Duration::from_micros(300)), "{rests:?}");
        assert!(most < u64::from(RING) / 2, "{most}");
        let (mut rest, mut now) = begin();
        let (rests, _) = run(&mut rest, &mut now, 4e5, 8);
        let steps = rests.iter().map(Duration::as_micros).collect::<Vec<_>>();
        assert_eq!(steps[..6], [200, 400, 800, 1600, 3200, 4000]);
    }

    #[test]
    fn it_falls_at_once_when_more_comes() {
        let (mut rest, mut now) = begin();
        run(&mut rest, &mut now, 4e5, 100);
        now = now + LONGEST;
        rest.took(8000, now);
        assert_eq!(rest.next(), SHORTEST);
    }

    #[test]
    fn bursts_count_by_their_mean() {
        let (mut rest, mut now) = begin();
        let start = now;
        let every = Duration::from_micros(500);
        let (mut taken, mut length) = (0, SHORTEST);
        for _ in 0..100 {
            let bursts = (now.since(start).as_nanos() / every.as_nanos()) as u64 + 1;
            let came = bursts * 200 - taken;
            if came == 0 {
                // The kernel wakes us for the first frame of the next burst.
                now = start + every * bursts as u32;
            }
            let batch = came.max(1);
            taken += batch;
            rest.took(batch, now);
            length = rest.next();
            now = now + length;
        }
        assert_eq!(length, LONGEST);
    }

    #[test]
    fn a_clock_that_is_set_does_no_harm() {
        let (mut rest, mut now) = begin();
        run(&mut rest, &mut now, 4e5, 100);
        for (time, taken) in [(0, 100), (u64::MAX, 100), (0, u64::MAX / 2), (u64::MAX, 0)] {
            rest.took(taken, Timestamp(time));
            assert_eq!(rest.next(), SHORTEST);
        }
    }
}
