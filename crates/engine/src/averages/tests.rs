use std::collections::{BTreeMap, BTreeSet};

use tidewall_model::Count;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn host(n: u32, packets: u64) -> (Address, DirectedCounters) {
    let mut counters = DirectedCounters::default();
    counters.incoming.total = Count { packets, bytes: packets * 100 };
    (Address::v4(n), counters)
}

fn packets(averages: &Averages, n: u32, window: u64) -> f64 {
    averages.get(Address::v4(n), window)[0].packets
}

fn is_close(one: f64, other: f64) -> bool {
    (one - other).abs() <= 1e-9 * other.abs()
}

#[test]
fn follows_the_formula_and_decays_lazily() {
    let mut averages = Averages::new(10, SECOND, Duration::from_secs(5));
    let f = (-0.2f64).exp();
    let mut want = 0.0;
    for window in 1..=5 {
        averages.end_window(window, [host(1, 1000)].into_iter());
        want = 1000.0 + f * (want - 1000.0);
        let got = averages.get(Address::v4(1), window)[0];
        assert!((got.packets - want).abs() < 1e-6, "{got:?} {want}");
        assert!((got.bits - want * 800.0).abs() < 1e-3);
    }
    // Three windows without traffic, then one with: as if zeros had been added.
    averages.end_window(9, [host(1, 500)].into_iter());
    want = 500.0 + f * (want * f.powi(3) - 500.0);
    assert!((packets(&averages, 1, 9) - want).abs() < 1e-6);
    assert!((packets(&averages, 1, 19) - want * f.powi(10)).abs() < 1e-6);
}

/// What two shards saw of a host is what one would have seen.
#[test]
fn parts_of_a_window_add_up() {
    let [mut whole, mut parts] =
        [(); 2].map(|()| Averages::new(10, SECOND, Duration::from_secs(5)));
    for window in [1, 2, 3, 7, 8] {
        whole.end_window(window, [host(1, 1000), host(2, 300)].into_iter());
        let shards = [host(1, 400), host(2, 300), host(1, 600)];
        parts.end_window(window, shards.into_iter());
        for n in [1, 2] {
            let (got, want) = (packets(&parts, n, window), packets(&whole, n, window));
            assert!(is_close(got, want), "{n}: {got} {want}");
        }
    }
    let last = |averages: &Averages| averages.entries.iter().map(|e| e.last).collect::<Vec<_>>();
    assert_eq!(last(&parts), last(&whole));
}

#[test]
fn a_host_that_comes_after_the_table_overflowed_keeps_its_average() {
    let mut averages = Averages::new(100, SECOND, Duration::from_secs(5));
    let f = (-0.2f64).exp();
    for window in 1..=20 {
        // More than there is room for, others each time, and all of them smaller.
        let others = (0..300).map(|n| host(1000 + 300 * window as u32 + n, 500));
        averages.end_window(window, others.chain([host(1, 1000)]));
        let (got, want) = (packets(&averages, 1, window), 1000.0 * (1.0 - f.powi(window as i32)));
        assert!(is_close(got, want), "window {window}: {got} {want}");
    }
}

#[test]
fn stays_bounded_and_keeps_the_largest() {
    let mut averages = Averages::new(100, SECOND, Duration::from_secs(5));
    for window in 0..20 {
        let hosts = (0..5000u32).map(|n| host(n, u64::from(n) + 1));
        averages.end_window(window, hosts);
        assert!(averages.len() <= 100);
    }
    let top = averages.top(0, 3, 19, |rates| rates.packets);
    assert!(top.iter().all(|(address, _)| address.bits > 4000), "{top:?}");
}

#[test]
fn what_has_faded_is_dropped() {
    let mut averages = Averages::new(4, SECOND, SECOND);
    averages.end_window(0, (0..4).map(|n| host(n, 10)));
    averages.end_window(1000, (10..14).map(|n| host(n, 10)));
    assert!(averages.entries.iter().all(|entry| entry.address.bits >= 10));
}

/// Whoever knows the program's constants, and chooses addresses by them, finds no crowd.
#[test]
fn no_address_takes_the_difference_out_of_hashes() {
    for seed in [0, 7, 0x0123_4567_89ab_cdef] {
        let averages = Averages::new(10, SECOND, SECOND).keyed(seed);
        for secret in SECRET.map(u128::from) {
            let lists: [fn(u128, u128) -> u128; 3] = [
                |secret, n| (0x2001_0db8 << 32 | n) << 64 | secret,
                |secret, n| secret << 64 | n,
                |secret, n| (secret ^ n) << 64 | secret,
            ];
            for list in lists {
                let address = |n| Address::v6(list(secret, n));
                let hashes = (0..1000).map(|n| averages.places.hash(address(n)));
                let low: BTreeSet<u32> = hashes.map(|hash| hash as u32).collect();
                assert!(low.len() > 998, "{:?}: {} hashes", address(0), low.len());
            }
        }
    }
    let hash = |seed| {
        let averages = Averages::new(10, SECOND, SECOND).keyed(seed);
        averages.places.hash(Address::v4(1))
    };
    assert_ne!(hash(1), hash(2));
}

/// The same table by its definition: a tree in the place of the hashes, and of each host what it
/// had in each window.
struct Tree {
    hosts: BTreeMap<Address, Vec<(u64, f64)>>,
    floor: f64,
    capacity: usize,
    keep: f64,
}

impl Tree {
    fn end_window(&mut self, window: u64, hosts: &[(Address, DirectedCounters)]) {
        self.floor = (self.floor / 2.0).max(SMALLEST);
        for (address, counters) in hosts {
            let part = counters.incoming.total.packets as f64;
            if let Some(history) = self.hosts.get_mut(address) {
                match history.last_mut().filter(|(last, _)| *last == window) {
                    Some((_, sum)) => *sum += part,
                    None => history.push((window, part)),
                }
            } else if part >= self.floor {
                self.hosts.insert(*address, vec![(window, part)]);
            }
            if self.hosts.len() > self.capacity {
                let keep = self.keep;
                let mut weights: Vec<f64> =
                    self.hosts.values().map(|history| weight(history, window, keep)).collect();
                weights.sort_by(f64::total_cmp);
                let leave = (self.capacity / 4 + 1).min(weights.len() - 1);
                let floor = weights[leave].max(SMALLEST);
                self.hosts.retain(|_, history| weight(history, window, keep) > floor);
                self.floor = floor;
            }
        }
    }
}

/// The average of what came in these windows.
fn average(history: &[(u64, f64)], window: u64, keep: f64) -> f64 {
    let share = |(then, sum): &(u64, f64)| (1.0 - keep) * sum * keep.powi((window - then) as i32);
    history.iter().map(share).sum()
}

fn weight(history: &[(u64, f64)], window: u64, keep: f64) -> f64 {
    let last = history.last().map_or(0.0, |(then, sum)| sum * keep.powi((window - then) as i32));
    last.max(average(history, window, keep))
}

#[test]
fn hashes_find_what_a_tree_would() {
    let mut averages = Averages::new(700, SECOND, Duration::from_secs(3));
    let (floor, keep) = (SMALLEST, averages.keep);
    let mut tree = Tree { hosts: BTreeMap::new(), floor, capacity: 700, keep };
    for window in 1..40u64 {
        // Many of them come twice or more.
        let hosts: Vec<_> = (0..3_000u64)
            .map(|n| {
                let drawn = fold(n ^ window << 20, SECRET[3]);
                let (address, counters) = host(drawn as u32 % 2_000, drawn >> 50);
                let v6 = Address::v6(address.bits << 64 | 7);
                (if drawn >> 40 & 1 == 0 { address } else { v6 }, counters)
            })
            .collect();
        averages.end_window(window, hosts.iter().copied());
        tree.end_window(window, &hosts);
        assert_eq!(averages.len(), tree.hosts.len());
        for (address, history) in &tree.hosts {
            let got = averages.get(*address, window)[0];
            let want = average(history, window, averages.keep);
            assert!(is_close(got.packets, want), "{address:?}: {got:?} {want}");
            assert!(is_close(got.bits, want * 800.0), "{address:?}: {got:?} {want}");
        }
        for n in (0..2_000).map(Address::v4).filter(|a| !tree.hosts.contains_key(a)) {
            assert_eq!(averages.get(n, window), <[AverageRates; 2]>::default());
        }
        let all = averages.top(0, usize::MAX, window, |rates| rates.packets);
        assert!(all.is_sorted_by(|a, b| a.1.packets >= b.1.packets));
        assert_eq!(averages.top(0, 9, window, |rates| rates.packets), all[..9]);
    }
}
