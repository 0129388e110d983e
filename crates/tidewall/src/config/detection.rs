//! `[detection]`: when a rate is an attack, and when it is over.

use std::time::Duration;

use tidewall_engine::Detection;

use super::quantity::show_duration;
use super::sink::Sink;
use super::table::{Typed, table};
use super::value::within;

table! {
    /// When a rate is an attack, and when it is over.
    struct DetectionTable {
        /// Raise attacks. Off, traffic is counted and shown, and nothing else happens.
        #[default = "true"]
        #[example = "false"]
        enabled: bool,

        /// Length of a counting window, from 100ms to 60s. Limits are per second whatever it is.
        #[default = "\"1s\""]
        #[example = "\"500ms\""]
        window: Duration,

        /// Slices in a window. At the end of each one, an excess that is large enough is named at
        /// once, before the window ends. A slice is 10ms to 100ms long, and the slices fill the
        /// window. Left out, there is about one for each 50ms.
        #[default = "20"]
        #[example = "10"]
        slices: u32,

        /// Time constant of the averages in reports, from 1s to 1h.
        #[default = "\"5s\""]
        #[example = "\"15s\""]
        average_time: Duration,

        /// Part of a limit, between 0 and 1. A rate that stays below this part of its limit raises
        /// no attack, however unlucky the samples are. Closer to 1, the excess is judged more
        /// strictly and a small one takes longer to be told from noise.
        #[default = "0.8"]
        #[example = "0.9"]
        tolerance: f64,

        /// How unlikely the samples must be at the tolerated rate before they count as an attack:
        /// the natural logarithm of 1/p, from 2 to 50. 14 is about one in a million.
        #[default = "14.0"]
        #[example = "20.0"]
        evidence: f64,

        /// Part of a limit, between 0 and 1. An attack ends when every rate is below this part of
        /// its limit ...
        #[default = "0.7"]
        #[example = "0.5"]
        release: f64,

        /// ... for this long, from 1s to 24h and at least one window.
        #[default = "\"30s\""]
        #[example = "\"5min\""]
        release_time: Duration,

        /// Time between two reports of an attack that goes on, from one window to 1h.
        #[default = "\"5s\""]
        #[example = "\"1min\""]
        update_every: Duration,

        /// Records of recent traffic kept as the sample of an attack, from 0 to 10000.
        #[default = "500"]
        #[example = "100"]
        samples: u32,
    }
}

/// Shortest and longest window.
const WINDOWS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(1));
/// Shortest and longest slice of a window.
const SLICES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));
/// Length of a slice when their number is left out.
const SLICE: Duration = Duration::from_millis(50);

impl DetectionTable {
    /// What it means.
    pub(super) fn resolve(&self, sink: &mut Sink) -> Detection {
        let default = Detection::default();
        let (hour, second) = (Duration::from_hours(1), Duration::from_secs(1));
        let window = self.window(sink);
        let from_window = format!("{} (one window)", show_duration(window));
        Detection {
            enabled: self.enabled.as_ref().map_or(default.enabled, |typed| typed.value),
            window,
            slices: self.slices(window, sink),
            average_time: within(
                self.average_time.as_ref(),
                &(second..=hour),
                "1s to 1h",
                default.average_time,
                sink,
            ),
            tolerance: open_part(self.tolerance.as_ref(), default.tolerance, sink),
            evidence: within(
                self.evidence.as_ref(),
                &(2.0..=50.0),
                "2 to 50; 14 is about one false alarm in a million tests",
                default.evidence,
                sink,
            ),
            release: open_part(self.release.as_ref(), default.release, sink),
            release_time: within(
                self.release_time.as_ref(),
                &(second.max(window)..=hour * 24),
                &format!("{} to 24h", show_duration(second.max(window))),
                default.release_time.max(window),
                sink,
            ),
            update_every: within(
                self.update_every.as_ref(),
                &(window..=hour),
                &format!("{from_window} to 1h"),
                default.update_every.max(window),
                sink,
            ),
            samples: within(
                self.samples.as_ref(),
                &(0..=10_000),
                "0 to 10000",
                default.samples as u32,
                sink,
            ) as usize,
        }
    }

    fn window(&self, sink: &mut Sink) -> Duration {
        let default = Detection::default().window;
        let range = WINDOWS.0..=WINDOWS.1;
        let window = within(self.window.as_ref(), &range, "100ms to 60s", default, sink);
        if let Some(typed) = &self.window
            && window.subsec_micros() % 1000 != 0
        {
            sink.error(&typed.at, "a window is a whole number of milliseconds");
        }
        window
    }

    /// The typed number of slices, or about one for each 50 ms.
    fn slices(&self, window: Duration, sink: &mut Sink) -> u32 {
        // The numbers of slices that are neither too short nor too long, and fill the window: a
        // slice is counted in whole nanoseconds.
        let length = window.as_nanos() as u64;
        let fewest = length.div_ceil(SLICES.1.as_nanos() as u64);
        let most = length / SLICES.0.as_nanos() as u64;
        let fit_from = |count: u64| (count..=most).find(|n| length.is_multiple_of(*n));
        let derived = fit_from(length.div_ceil(SLICE.as_nanos() as u64)).unwrap_or(most) as u32;

        let Some(typed) = &self.slices else { return derived };
        if self.window.as_ref().is_some_and(|typed| typed.value != window) {
            return derived; // The window was refused: nothing can be said of its slices.
        }
        let count = u64::from(typed.value);
        let shown = show_duration(window);
        let (reason, better) = if !(fewest..=most).contains(&count) {
            let limits = format!("{fewest} to {most}");
            (format!("a slice is 10ms to 100ms long, so a window of {shown} has {limits}"), derived)
        } else if !length.is_multiple_of(count) {
            let better = fit_from(count).map_or(derived, |n| n as u32);
            (format!("a window of {shown} cannot be cut into {count} equal slices"), better)
        } else {
            return typed.value;
        };
        sink.error_fix(&typed.at, reason, format!("for example `slices = {better}`"));
        derived
    }
}

/// A part of a limit: above 0 and below 1.
fn open_part(typed: Option<&Typed<f64>>, default: f64, sink: &mut Sink) -> f64 {
    let Some(typed) = typed else { return default };
    if typed.value > 0.0 && typed.value < 1.0 {
        return typed.value;
    }
    let reason = format!("{} is not between 0 and 1 (both excluded)", typed.value);
    if typed.value > 1.0 && typed.value < 100.0 {
        let part = typed.value / 100.0;
        let fix = format!("it is a part, not a percentage: `{} = {part}`", typed.at.key);
        sink.error_fix(&typed.at, reason, fix);
    } else {
        sink.error(&typed.at, reason);
    }
    default
}
