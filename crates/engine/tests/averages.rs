//! The averages that are shown equal the plain formula over all windows, although a host that
//! sends nothing is never visited.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tidewall_engine::Averages;
use tidewall_model::{Address, Count, DirectedCounters};

/// What a host had in a window.
#[derive(Clone, Copy, Debug)]
struct Seen {
    host: u32,
    incoming: u64,
    outgoing: u64,
    flows: u64,
}

fn seen() -> impl Strategy<Value = Seen> {
    (0..6u32, 0..100_000u64, 0..1_000u64, 0..500u64)
        .prop_map(|(host, incoming, outgoing, flows)| Seen { host, incoming, outgoing, flows })
}

impl Seen {
    fn counters(self) -> DirectedCounters {
        let mut counters = DirectedCounters::default();
        counters.incoming.total = Count { packets: self.incoming, bytes: self.incoming * 100 };
        counters.outgoing.total = Count { packets: self.outgoing, bytes: self.outgoing * 1400 };
        counters.incoming.flows = self.flows;
        counters
    }
}

proptest! {
    #[test]
    fn equal_the_formula_over_all_windows(
        windows in prop::collection::vec((1..30u64, prop::collection::vec(seen(), 0..6)), 1..40),
        length_ms in prop::sample::select(vec![500u64, 1000, 2000]),
        time in 1..20u64,
    ) {
        let length = Duration::from_millis(length_ms);
        let mut averages = Averages::new(100, length, Duration::from_secs(time));
        let seconds = length.as_secs_f64();
        let keep = (-seconds / time as f64).exp();
        // Incoming packets, incoming bits, incoming flows, outgoing packets.
        let mut naive: BTreeMap<u32, [f64; 4]> = (0..6).map(|host| (host, [0.0; 4])).collect();
        let mut now = 0;
        for (gap, list) in windows {
            let list: BTreeMap<u32, Seen> = list.into_iter().map(|seen| (seen.host, seen)).collect();
            let end = now + gap;
            for window in now + 1..=end {
                for (host, average) in &mut naive {
                    let seen = list.get(host).filter(|_| window == end);
                    let rates = seen.map_or([0.0; 4], |seen| {
                        let [packets, flows, out] =
                            [seen.incoming, seen.flows, seen.outgoing].map(|n| n as f64 / seconds);
                        [packets, packets * 800.0, flows, out]
                    });
                    for (x, rate) in average.iter_mut().zip(rates) {
                        *x = *x * keep + rate * (1.0 - keep);
                    }
                }
            }
            now = end;
            let hosts = list.values().map(|seen| (Address::v4(seen.host), seen.counters()));
            averages.end_window(now, hosts);
            for (host, want) in &naive {
                let [incoming, outgoing] = averages.get(Address::v4(*host), now);
                let got = [incoming.packets, incoming.bits, incoming.flows, outgoing.packets];
                for (got, want) in got.iter().zip(want) {
                    let close = (got - want).abs() <= 1e-9 * want.abs() + 1e-9;
                    prop_assert!(close, "{host}: {got} {want}");
                }
            }
        }
    }
}
