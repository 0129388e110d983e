use std::time::Duration;

use super::simulation::{Noise, Random, Sampler, Scene};
use super::{Amount, Excess, RuleSettings, Span, Track};
use crate::Detection;

const LIMIT: f64 = 20_000.0;
const ALL: Sampler = Sampler::All;
const RANDOM: Sampler = Sampler::Random(1000);
const EVERY_1000TH: Sampler = Sampler::Systematic(1000);

fn rule() -> RuleSettings {
    RuleSettings::from(&Detection::default())
}

/// A count behind which every packet was seen.
fn exact(count: u64) -> Amount {
    Amount::packets(count, 1)
}

/// Seeds of each simulated case: few by default, `TIDEWALL_SIM_SEEDS` for the documented figures.
fn seeds(few: u64) -> u64 {
    std::env::var("TIDEWALL_SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(few)
}

/// Ten minutes of background and no attack.
fn quiet(limit: f64, sampler: Sampler, background: f64, noise: Noise) -> Scene {
    Scene { limit, sampler, background, noise, attack: 0.0, start: 1e9, length: 600.0 }
}

fn attacked(limit: f64, sampler: Sampler, background: f64, attack: f64) -> Scene {
    let noise = Noise::ROUGH;
    Scene { limit, sampler, background, noise, attack, start: 20.0, length: 180.0 }
}

/// Pushes the slices of one window and then the window.
fn push(track: &mut Track, window: u64, slices: &[Amount]) {
    let mut total = Amount::default();
    for (at, slice) in (0..).zip(slices) {
        track.push_slice(window * 20 + at, *slice, &rule());
        total += *slice;
    }
    track.push_window(window, total);
}

fn slices_of(amounts: &[Amount]) -> Track {
    let mut track = Track::default();
    for (index, amount) in (7..).zip(amounts) {
        track.push_slice(index, *amount, &rule());
    }
    track
}

fn windows_of(amounts: &[Amount]) -> Track {
    let mut track = Track::default();
    for (index, amount) in (7..).zip(amounts) {
        track.push_window(index, *amount);
    }
    track
}

#[test]
fn attacks_are_named_in_time() {
    // (sampler, limit, attack, seconds, part that must be named within them)
    let goals = [
        (ALL, 2e4, 5.0, 0.3, 1.0),
        (ALL, 2e4, 3.0, 0.5, 1.0),
        (ALL, 2e4, 1.5, 2.5, 1.0),
        (ALL, 2e4, 1.05, 8.0, 1.0),
        (EVERY_1000TH, 2e4, 5.0, 0.3, 1.0),
        (EVERY_1000TH, 2e4, 3.0, 0.6, 1.0),
        (EVERY_1000TH, 2e4, 1.5, 5.0, 1.0),
        (EVERY_1000TH, 2e4, 1.05, 30.0, 1.0),
        (RANDOM, 2e4, 5.0, 0.3, 0.84),
        (RANDOM, 2e4, 3.0, 1.5, 0.98),
        (RANDOM, 2e4, 1.5, 8.0, 0.97),
        (RANDOM, 2e4, 1.05, 30.0, 0.64),
        (RANDOM, 1e5, 5.0, 0.3, 0.98),
        (RANDOM, 1e5, 3.0, 0.6, 0.98),
        (RANDOM, 1e5, 1.5, 2.5, 0.96),
        (RANDOM, 1e5, 1.05, 30.0, 0.98),
        (RANDOM, 2e5, 5.0, 0.3, 0.99),
        (RANDOM, 2e5, 1.5, 2.5, 0.99),
        (RANDOM, 2e5, 1.05, 30.0, 0.99),
        (RANDOM, 5e3, 5.0, 1.5, 0.9),
    ];
    let seeds = seeds(200);
    println!("sampler          limit attack before |   p50   p90   p99   max | in time");
    for (sampler, limit, attack, seconds, part) in goals {
        for background in [0.0, 0.3, 0.5] {
            let times = attacked(limit, sampler, background, attack).latencies(seeds);
            let [p50, p90, p99, max] = [0.5, 0.9, 0.99, 1.0].map(|part| times.quantile(part));
            let within = times.within(seconds);
            println!(
                "{:16} {limit:6} {attack:5}x {background:5}x | {p50:5.2} {p90:5.2} {p99:5.2} \
                 {max:5.2} | {:.2} % within {seconds} s",
                format!("{sampler:?}"),
                within * 100.0
            );
            assert!(within >= part, "{attack}x {sampler:?} of {limit}: {within}");
        }
    }
}

#[test]
fn background_raises_nothing() {
    // (noise, level, sampler, limit, largest part of ten-minute runs that may raise an alarm)
    let goals = [
        (Noise::ROUGH, 0.5, ALL, 2e4, 0.0),
        (Noise::ROUGH, 0.8, ALL, 2e4, 0.0),
        (Noise::ROUGH, 0.8, ALL, 2e6, 0.0),
        (Noise::ROUGH, 0.8, EVERY_1000TH, 2e4, 0.0),
        (Noise::ROUGH, 0.5, RANDOM, 2e4, 0.0),
        (Noise::ROUGH, 0.7, RANDOM, 2e4, 0.02),
        (Noise::ROUGH, 0.8, RANDOM, 5e3, 0.03),
        (Noise::ROUGH, 0.8, RANDOM, 2e4, 0.03),
        (Noise::ROUGH, 0.8, RANDOM, 1e5, 0.03),
        (Noise::ROUGH, 0.8, RANDOM, 2e5, 0.03),
        (Noise::LEVEL, 0.8, RANDOM, 2e4, 0.03),
        (Noise::POISSON, 0.8, RANDOM, 2e4, 0.02),
    ];
    let seeds = seeds(60);
    for (noise, level, sampler, limit, part) in goals {
        let alarms = quiet(limit, sampler, level, noise).alarms(seeds);
        println!("{level}x {sampler:?} of {limit}, {noise:?}: {alarms} of {seeds} runs");
        assert!(alarms as f64 <= part * seeds as f64, "{level}x {sampler:?} {limit}: {alarms}");
    }
}

/// Traffic that is often really above the limit for seconds is an alarm: figures for the manual.
#[test]
fn traffic_close_to_the_limit_is_reported_as_it_is() {
    let seeds = seeds(10).min(500);
    for (level, noise) in
        [(0.9, Noise::POISSON), (0.9, Noise::ROUGH), (0.95, Noise::POISSON), (0.95, Noise::ROUGH)]
    {
        for (sampler, limit) in [(ALL, 2e4), (EVERY_1000TH, 2e4), (RANDOM, 2e4), (RANDOM, 2e5)] {
            let alarms = quiet(limit, sampler, level, noise).alarms(seeds);
            println!("{level}x {sampler:?} of {limit}, {noise:?}: {alarms} of {seeds} runs");
            if (noise, sampler) == (Noise::POISSON, ALL) {
                assert_eq!(alarms, 0);
            }
        }
    }
}

#[test]
fn start_of_the_attack_is_found() {
    for (sampler, attack, most) in [(ALL, 5.0, 0.06), (ALL, 1.5, 0.65), (RANDOM, 5.0, 0.5)] {
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let start = 20.0 + random.uniform();
            let scene = Scene { start, ..attacked(LIMIT, sampler, 0.3, attack) };
            let alarm = scene.run(&mut random, &rule()).unwrap();
            let found = alarm.at - alarm.excess.since.as_secs_f64();
            assert!((found - start).abs() <= most, "{attack}x {sampler:?}: {found} not {start}");
            assert!(alarm.excess.since >= alarm.excess.window || sampler != ALL);
        }
    }
}

#[test]
fn twenty_samples_in_a_quarter_second_are_enough_and_nineteen_are_not() {
    let spread = |samples: u64| {
        let of = |n: u64| Amount::packets(n * 1000, 1000);
        slices_of(&[of(4), of(4), of(4), of(4), of(samples - 16)])
    };
    assert_eq!(spread(19).verdict(LIMIT, &rule()), None);
    let excess = spread(20).verdict(LIMIT, &rule()).unwrap();
    assert_eq!(excess.window, Duration::from_millis(250));
    assert_eq!(excess.samples, Some(20));
    assert!((excess.value - 80_000.0).abs() < 1e-6);
}

#[test]
fn few_samples_are_no_evidence_however_much_they_stand_for() {
    for samples in 1..20 {
        let count = samples * 1_000_000;
        assert_eq!(slices_of(&[Amount::packets(count, 1_000_000)]).verdict(1.0, &rule()), None);
        assert_eq!(windows_of(&[Amount::packets(count, 1_000_000)]).verdict(1.0, &rule()), None);
    }
    // The same count is an attack when all of it was seen.
    assert!(slices_of(&[exact(1_000_000)]).verdict(1.0, &rule()).is_some());
}

#[test]
fn coarse_samples_among_exact_counts_keep_their_weight() {
    // 1.0 T seen whole, and three lucky samples that make it 1.6 T.
    let mut mixed = exact(20_000);
    mixed += Amount::packets(3 * 4000, 4000);
    assert_eq!(windows_of(&[mixed]).verdict(LIMIT, &rule()), None);
    assert!(windows_of(&[exact(32_000)]).verdict(LIMIT, &rule()).is_some());
    // In a window of their own they weigh on the window beside it, too.
    let lucky = [exact(8_000), Amount::packets(9 * 4000, 4000)];
    assert_eq!(windows_of(&lucky).verdict(LIMIT, &rule()), None);
}

#[test]
fn excess_that_is_needed_falls_with_time() {
    let mean = |seconds: f64| RuleSettings::needed_seconds(seconds) / seconds;
    for (seconds, expected) in [
        (0.05, 16.57),
        (0.1, 8.57),
        (0.25, 3.77),
        (0.5, 2.17),
        (1.0, 1.37),
        (2.0, 1.17),
        (6.0, 0.97 + 0.4 / 6.0),
        (14.0, 1.0),
        (30.0, 1.0),
    ] {
        assert!((mean(seconds) - expected).abs() < 1e-9, "{seconds}: {}", mean(seconds));
    }
    let one = |count| windows_of(&[exact(count)]).verdict(LIMIT, &rule());
    assert_eq!(one(27_399), None);
    let value = 27_401.0;
    let window = Duration::from_secs(1);
    assert_eq!(one(27_401), Some(Excess { value, window, since: window, samples: None }));
    // Just at the limit: an attack once the small excess of a second does not matter any more.
    let steady = |windows: usize| windows_of(&vec![exact(20_000); windows]);
    assert_eq!(steady(13).verdict(LIMIT, &rule()), None);
    assert!(steady(14).verdict(LIMIT, &rule()).is_some());
}

#[test]
fn evidence_counts_from_the_tolerated_rate() {
    // 1.2 T for 20 s, 1:1000: 480 samples where 320 are tolerated; not where 0.95 T is.
    let sampled = [Amount::packets(24_000, 1000); 20];
    let strict = RuleSettings::new(Duration::from_secs(1), 20, 0.95, 14.0);
    assert!(windows_of(&sampled).verdict(LIMIT, &rule()).is_some());
    assert_eq!(windows_of(&sampled).verdict(LIMIT, &strict), None);
}

#[test]
fn bits_need_as_many_samples_as_if_all_frames_were_the_largest() {
    let frame = 8 * Amount::LARGEST_FRAME;
    let window = |frames: u64| windows_of(&[Amount::bits(frames * frame * 1000, 1000)]);
    let limit = 1000.0 * frame as f64 * 20.0;
    let first = (20..80).find(|frames| window(*frames).verdict(limit, &rule()).is_some()).unwrap();
    let packets = |n: u64| windows_of(&[Amount::packets(n * 1000, 1000)]);
    let same = (20..80).find(|n| packets(*n).verdict(20_000.0, &rule()).is_some()).unwrap();
    assert_eq!(first, same);
    assert_eq!(window(first).verdict(limit, &rule()).unwrap().samples, Some(first));
    assert_eq!(Amount::bits(8, 1), exact(8));
}

#[test]
fn windows_join_the_slices_of_the_running_one() {
    let steady = [exact(1_200); 20]; // 1.2 T
    let mut track = Track::default();
    push(&mut track, 4, &steady);
    assert_eq!(track.verdict(LIMIT, &rule()), None);
    for slice in 0..14 {
        assert_eq!(track.verdict(LIMIT, &rule()), None, "{slice}");
        track.push_slice(100 + slice, steady[0], &rule());
    }
    // 0.23 L >= 0.4: 1.74 s, so with the fifteenth slice.
    track.push_slice(114, steady[0], &rule());
    assert_eq!(track.verdict(LIMIT, &rule()).unwrap().window, Duration::from_millis(1750));
}

#[test]
fn gaps_are_not_bridged() {
    // Slices of 1 T that are not neighbours; side by side they would be 16 T in one.
    let mut track = Track::default();
    for index in (0..40).step_by(2) {
        track.push_slice(index, exact(8_000), &rule());
        assert_eq!(track.verdict(LIMIT, &rule()), None);
    }
    track.push_slice(39, exact(10_000), &rule());
    assert!(track.verdict(LIMIT, &rule()).is_some());
    let mut track = Track::default();
    for index in (0..60).step_by(2) {
        track.push_window(index, exact(24_000));
        assert_eq!(track.verdict(LIMIT, &rule()), None);
        // A slice in the middle of the next window joins nothing.
        track.push_slice(index * 20 + 27, exact(9_000), &rule());
        assert_eq!(track.verdict(LIMIT, &rule()), None);
    }
}

#[test]
fn old_slices_do_not_count_in_later_windows() {
    let mut track = slices_of(&[exact(100_000)]);
    assert!(track.verdict(LIMIT, &rule()).is_some());
    track.push_window(0, exact(1_000));
    track.push_window(1, exact(1_000));
    assert_eq!(track.verdict(LIMIT, &rule()), None);
}

#[test]
fn rates_fall_below_the_release() {
    assert!(Track::default().below(1.0, &rule()));
    // Exact: the last window alone decides.
    let seen = windows_of(&[90_000, 90_000, 13_999].map(exact));
    assert!(seen.below(14_000.0, &rule()));
    assert!(!seen.below(13_999.0, &rule()));
    // Sampled: one low draw does not release, one high draw does not hold.
    let draws = |list: [u64; 6]| windows_of(&list.map(|n| Amount::packets(n * 1000, 1000)));
    assert!(!draws([1, 16, 14, 15, 18, 7]).below(14_000.0, &rule()));
    assert!(draws([99, 10, 9, 12, 8, 17]).below(14_000.0, &rule()));
}

#[test]
fn sums_do_not_depend_on_who_counted() {
    let shares = [exact(5), Amount::packets(4000, 1000), Amount::packets(300, 100)];
    let sum = |order: [usize; 3]| {
        let mut sum = Amount::default();
        for at in order {
            sum += shares[at];
        }
        sum
    };
    assert_eq!(sum([0, 1, 2]), Amount { count: 4305, per_sample: 999 });
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        assert_eq!(sum(order), sum([0, 1, 2]));
    }
}

#[test]
fn nothing_overflows() {
    let most = Amount { count: u64::MAX, per_sample: u64::MAX };
    let odd = [RuleSettings::new(Duration::ZERO, 0, 0.0, 0.0), rule()]
        .into_iter()
        .chain([RuleSettings::new(Duration::MAX, u32::MAX, f64::NAN, f64::INFINITY)]);
    for rule in odd {
        let mut track = Track::default();
        for index in (u64::MAX - 40..=u64::MAX).chain([u64::MAX, 0, 1]) {
            track.push_slice(index, most, &rule);
            track.push_window(index, most);
            for limit in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-300, 1e300] {
                track.verdict(limit, &rule);
                track.below(limit, &rule);
            }
        }
    }
    assert!(slices_of(&[exact(1)]).verdict(0.0, &rule()).is_some());
    assert_eq!(slices_of(&[exact(0)]).verdict(0.0, &rule()), None);
    assert_eq!(slices_of(&[most; 10]).verdict(f64::NAN, &rule()), None);
}

#[test]
fn a_track_is_small() {
    assert!(size_of::<Track>() <= 560, "{}", size_of::<Track>());
    assert!(size_of::<Span>() <= 24);
}

#[test]
fn simulated_traffic_has_the_moments_it_should() {
    let mut random = Random::new(1);
    let mut moments = |draw: &dyn Fn(&mut Random) -> f64| {
        let draws: Vec<f64> = (0..20_000).map(|_| draw(&mut random)).collect();
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let squares = draws.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>();
        (mean, squares / draws.len() as f64)
    };
    for mean in [0.3, 5.0, 40.0, 900.0] {
        let (first, second) = moments(&|random| random.poisson(mean) as f64);
        assert!((first / mean - 1.0).abs() < 0.03, "{mean}: {first}");
        assert!((second / mean - 1.0).abs() < 0.06, "{mean}: {second}");
    }
    let (first, second) = moments(&|random| random.gamma(100.0 / 9.0) * 0.09);
    assert!((first - 1.0).abs() < 0.01 && (second - 0.09).abs() < 0.004, "{first} {second}");
}
