//! A small harness for `benches/*.rs` (with `harness = false`): it times a body, prints one JSON
//! object a line, and can run one body a fixed number of times so that an instruction counter sees
//! nothing else. `cargo xtask bench` reads the lines and writes `BENCH.md`.
//!
//! ```no_run
//! use tidewall_testkit::bench::Bench;
//!
//! let mut bench = Bench::new("sum");
//! let numbers: Vec<u64> = (0..1000).collect();
//! bench.aim(1.0).run("thousand", "ns/number", 1000, || numbers.iter().sum::<u64>());
//! ```

use std::env;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Runs only the bench of this full name (`group/name`), without timing it.
pub const ONCE: &str = "TIDEWALL_BENCH_ONCE";
/// How often [`ONCE`] runs the body, at most [`FRESH_STATES`] for [`Bench::run_fresh`].
pub const CALLS: &str = "TIDEWALL_BENCH_CALLS";
/// States that [`Bench::run_fresh`] sets up under [`ONCE`], whatever [`CALLS`] says: the set-up
/// then cancels out between two runs.
pub const FRESH_STATES: u64 = 3;

/// Timed runs of each bench.
const RUNS: usize = 15;
/// A run repeats its body until it should take this long: far above the clock's resolution.
const RUN_LENGTH: Duration = Duration::from_millis(20);

/// A group of benches: one in each file of `benches/`.
#[derive(Debug)]
pub struct Bench {
    group: &'static str,
    mode: Mode,
    aim: Option<f64>,
    note: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mode {
    /// Time every bench whose full name contains the filter.
    Time { filter: String },
    /// Run one body this often.
    Once { bench: String, calls: u64 },
}

/// Nanoseconds for one call of a body, over all runs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Timing {
    least: f64,
    median: f64,
}

impl Bench {
    /// A group; reads the filter from the command line and [`ONCE`] from the environment.
    pub fn new(group: &'static str) -> Self {
        let mode = match env::var(ONCE) {
            Ok(bench) => {
                let calls = env::var(CALLS).ok().and_then(|n| n.parse().ok()).unwrap_or(1);
                Mode::Once { bench, calls }
            }
            Err(_) => Mode::Time {
                filter: env::args().skip(1).find(|a| !a.starts_with('-')).unwrap_or_default(),
            },
        };
        Self { group, mode, aim: None, note: String::new() }
    }

    /// The value that the next bench should not exceed, in its unit.
    pub fn aim(&mut self, aim: f64) -> &mut Self {
        self.aim = Some(aim);
        self
    }

    /// A sentence that belongs beside the next bench's value.
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.note = note.into();
        self
    }

    /// Will this bench run? Lets a bench file leave out a costly set-up.
    pub fn wants(&self, name: &str) -> bool {
        let full = self.full_name(name);
        match &self.mode {
            Mode::Time { filter } => full.contains(filter.as_str()),
            Mode::Once { bench, .. } => full == *bench,
        }
    }

    /// Times `body`, which does `operations` operations a call. `unit` begins with `ns/`, `us/` or
    /// `ms/` and names the operation.
    pub fn run<R>(
        &mut self,
        name: &str,
        unit: &str,
        operations: u64,
        mut body: impl FnMut() -> R,
    ) -> &mut Self {
        if !self.wants(name) {
            return self.forget_extras();
        }
        if let Mode::Once { calls, .. } = self.mode {
            for _ in 0..calls {
                black_box(body());
            }
            return self.forget_extras();
        }
        let first = elapsed(|| drop(black_box(body())));
        let calls = (RUN_LENGTH.as_nanos() / first.as_nanos().max(1)).clamp(1, 1 << 24) as u64;
        let timing = time(|| {
            let all = elapsed(|| {
                for _ in 0..calls {
                    black_box(body());
                }
            });
            all.as_nanos() as f64 / calls as f64
        });
        self.print_timing(name, unit, operations, timing)
    }

    /// Like [`run`](Self::run) for a body that uses its state up: each call gets a new one from
    /// `setup`, and making it is not timed.
    pub fn run_fresh<S, R>(
        &mut self,
        name: &str,
        unit: &str,
        operations: u64,
        mut setup: impl FnMut() -> S,
        mut body: impl FnMut(&mut S) -> R,
    ) -> &mut Self {
        if !self.wants(name) {
            return self.forget_extras();
        }
        if let Mode::Once { calls, .. } = self.mode {
            for call in 0..FRESH_STATES {
                let mut state = black_box(setup());
                if call < calls {
                    black_box(body(&mut state));
                }
            }
            return self.forget_extras();
        }
        let timing = time(|| {
            let mut state = black_box(setup());
            elapsed(|| drop(black_box(body(&mut state)))).as_nanos() as f64
        });
        self.print_timing(name, unit, operations, timing)
    }

    /// Prints a value that was computed, not timed: bytes for each host, for example.
    pub fn report(&mut self, name: &str, value: f64, unit: &str) -> &mut Self {
        if self.wants(name) && matches!(self.mode, Mode::Time { .. }) {
            println!("{}", self.line(name, value, unit, ""));
        }
        self.forget_extras()
    }

    fn print_timing(
        &mut self,
        name: &str,
        unit: &str,
        operations: u64,
        timing: Timing,
    ) -> &mut Self {
        let scale = nanoseconds_per(unit) * operations.max(1) as f64;
        let extra = format!(
            ",\"median\":{:.4},\"operations\":{}",
            timing.median / scale,
            operations.max(1)
        );
        println!("{}", self.line(name, timing.least / scale, unit, &extra));
        self.forget_extras()
    }

    fn line(&self, name: &str, value: f64, unit: &str, extra: &str) -> String {
        let aim = self.aim.map(|aim| format!(",\"aim\":{aim}")).unwrap_or_default();
        format!(
            "{{\"bench\":{},\"value\":{value:.4},\"unit\":{}{aim}{extra},\"note\":{}}}",
            quoted(&self.full_name(name)),
            quoted(unit),
            quoted(&self.note)
        )
    }

    fn full_name(&self, name: &str) -> String {
        format!("{}/{name}", self.group)
    }

    fn forget_extras(&mut self) -> &mut Self {
        self.aim = None;
        self.note.clear();
        self
    }
}

/// Least and median of several runs, each of which says how long one call took.
fn time(mut run: impl FnMut() -> f64) -> Timing {
    run();
    let mut runs: Vec<f64> = (0..RUNS).map(|_| run()).collect();
    runs.sort_by(f64::total_cmp);
    Timing { least: runs[0], median: runs[RUNS / 2] }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real passing of time")]
fn elapsed(body: impl FnOnce()) -> Duration {
    let start = Instant::now();
    body();
    start.elapsed()
}

/// How many nanoseconds the unit's numerator stands for.
fn nanoseconds_per(unit: &str) -> f64 {
    match unit.split('/').next() {
        Some("us") => 1e3,
        Some("ms") => 1e6,
        _ => 1.0,
    }
}

/// A JSON string. Names, units and notes are ours: only the two special characters matter.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench(mode: Mode) -> Bench {
        Bench { group: "group", mode, aim: None, note: String::new() }
    }

    #[test]
    fn once_runs_only_the_named_body_and_as_often_as_told() {
        let mut bench = bench(Mode::Once { bench: "group/b".to_owned(), calls: 7 });
        let (mut a, mut b) = (0, 0);
        bench.run("a", "ns/call", 1, || a += 1).run("b", "ns/call", 1, || b += 1);
        assert_eq!((a, b), (0, 7));
    }

    #[test]
    fn fresh_states_do_not_depend_on_the_number_of_calls() {
        for calls in [1, 3] {
            let mut bench = bench(Mode::Once { bench: "group/f".to_owned(), calls });
            let (mut states, mut bodies) = (0, 0);
            bench.run_fresh("f", "ms/call", 1, || states += 1, |()| bodies += 1);
            assert_eq!((states, bodies), (FRESH_STATES, calls));
        }
    }

    #[test]
    fn the_filter_is_part_of_the_full_name() {
        let bench = bench(Mode::Time { filter: "up/on".to_owned() });
        assert!(bench.wants("one"));
        assert!(!bench.wants("two"));
    }

    #[test]
    fn a_line_is_one_json_object() {
        let mut bench = bench(Mode::Time { filter: String::new() });
        bench.aim(20.0).note("a \"quoted\" word");
        assert_eq!(
            bench.line("x", 12.34, "ns/frame", ",\"median\":13"),
            "{\"bench\":\"group/x\",\"value\":12.3400,\"unit\":\"ns/frame\",\"aim\":20,\
             \"median\":13,\"note\":\"a \\\"quoted\\\" word\"}"
        );
    }

    #[test]
    fn units_scale_nanoseconds() {
        let scales = ["ns/a", "us/a", "ms/a"].map(nanoseconds_per);
        assert!(scales.iter().zip([1.0, 1e3, 1e6]).all(|(a, b)| (a - b).abs() < 1e-9));
    }
}
