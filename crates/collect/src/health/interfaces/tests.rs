//! Counters against samples: agreement, wrong rates, wrong lengths, wraps, restarts.

use super::Agreement::{Agree, Elsewhere, Unsampled};
use super::*;

/// An agent with one interface of 10 Gbit/s that samples 1 packet in 100.
struct Rig {
    interfaces: Interfaces,
    seconds: u64,
    octets: u64,
    packets: u64,
}

impl Rig {
    fn new(octets: u64, packets: u64) -> Self {
        let mut rig = Self { interfaces: Interfaces::new(), seconds: 1000, octets, packets };
        rig.count();
        rig
    }

    fn count(&mut self) {
        let now = Timestamp::from_parts(self.seconds, 0);
        let (index, speed_bps) = (7, 10_000_000_000);
        // The sum of counters of 32 bits.
        let input = (self.octets, self.packets % (1 << 32));
        let counters = Counters { index, input, output: (0, 0), speed_bps };
        self.interfaces.counters(&counters, now, 8);
    }

    /// Half a minute in which so many samples of 500 bytes come in, while the counters grow by
    /// so many packets of so many bytes.
    fn half_minute(&mut self, samples: u64, packets: u64, length: u64) {
        for _ in 0..samples {
            self.interfaces.sampled(7, Some(7), Some(9), 500 * 100, 100);
        }
        self.seconds += 30;
        self.octets = self.octets.wrapping_add(packets * length);
        self.packets += packets;
        self.count();
    }

    fn input(&self) -> Option<InterfaceMeasure> {
        self.interfaces.sorted()[0].input
    }

    fn agreement(&self) -> Option<Agreement> {
        self.input().map(|measure| measure.agreement)
    }
}

#[test]
fn samples_that_agree_with_the_counters() {
    let mut rig = Rig::new(5000, 5);
    rig.half_minute(300, 30_000, 500);
    assert_eq!(rig.input(), None, "a measure takes a minute");
    rig.half_minute(300, 30_000, 500);
    let measure = rig.input().unwrap();
    assert_eq!(measure.agreement, Agreement::Agree);
    assert_eq!((measure.sampled_bps, measure.counted_bps), (4_000_000.0, 4_000_000.0));
    assert_eq!((measure.sampled_pps, measure.counted_pps), (1000.0, Some(1000.0)));
    for _ in 0..4 {
        rig.half_minute(300, 35_000, 500);
    }
    assert_eq!(rig.agreement(), Some(Agreement::Agree), "14 % less is within the error");
}

#[test]
fn a_wrong_rate_is_told_after_two_measures() {
    let mut rig = Rig::new(0, 0);
    for half in 0..4 {
        rig.half_minute(300, 60_000, 500);
        let told = rig.agreement() == Some(Agreement::PacketsDiffer);
        assert_eq!(told, half == 3, "half minute {half}");
    }
    let measure = rig.input().unwrap();
    assert_eq!((measure.sampled_pps, measure.counted_pps), (1000.0, Some(2000.0)));
    rig.half_minute(300, 30_000, 500);
    rig.half_minute(300, 30_000, 500);
    assert_eq!(rig.agreement(), Some(Agreement::Agree), "put right");
}

#[test]
fn traffic_that_moves_between_measures_is_no_disagreement() {
    let mut rig = Rig::new(0, 0);
    for _ in 0..6 {
        // A burst is counted in one measure, and sampled in the next.
        rig.half_minute(300, 30_000, 500);
        rig.half_minute(300, 90_000, 500);
        rig.half_minute(600, 30_000, 500);
        rig.half_minute(600, 30_000, 500);
        assert_eq!(rig.agreement(), Some(Agreement::Agree));
    }
}

#[test]
fn wrong_lengths_are_told() {
    let mut rig = Rig::new(0, 0);
    for _ in 0..4 {
        rig.half_minute(300, 30_000, 900);
    }
    assert_eq!(rig.agreement(), Some(Agreement::BytesDiffer));
}

#[test]
fn few_samples_are_waited_for() {
    let mut rig = Rig::new(0, 0);
    for _ in 0..7 {
        rig.half_minute(50, 5000, 500);
    }
    assert_eq!(rig.input(), None, "350 samples");
    rig.half_minute(50, 5000, 500);
    assert_eq!(rig.input().map(|measure| measure.sampled_bps), Some(500.0 * 8.0 * 5000.0 / 30.0));
}

#[test]
fn counters_wrap_and_agents_restart() {
    let mut rig = Rig::new(u64::MAX / 2, (1 << 32) - 70_000);
    for _ in 0..4 {
        rig.half_minute(300, 30_000, 500);
        assert_ne!(rig.agreement(), Some(Agreement::PacketsDiffer), "packets wrap");
    }
    assert_eq!(rig.agreement(), Some(Agreement::Agree));
    let before = rig.input();
    rig.half_minute(300, 30_000, 500);
    (rig.octets, rig.packets) = (77, 3);
    rig.half_minute(300, 0, 500);
    rig.half_minute(300, 30_000, 500);
    assert_eq!(rig.input(), before, "the measure began again with the agent");
    rig.half_minute(300, 30_000, 500);
    assert_eq!(rig.input(), before, "and tells the same");
    (rig.octets, rig.packets) = (1 << 60, 3);
    rig.half_minute(300, 0, 500);
    rig.half_minute(300, 30_000, 500);
    rig.half_minute(300, 30_000, 500);
    assert_eq!(rig.agreement(), Some(Agreement::Agree), "no link is that fast");
}

#[test]
fn an_agent_that_does_not_count_is_not_compared() {
    let mut rig = Rig::new(u64::MAX, 0);
    for _ in 0..6 {
        rig.half_minute(300, 0, 500);
    }
    assert_eq!(rig.input(), None);
}

#[test]
fn packets_that_may_have_wrapped_twice_are_not_compared() {
    let mut interfaces = Interfaces::new();
    for round in 0..3_u64 {
        let input = (round * 70 * (1 << 32), 5);
        let counters = Counters { index: 1, input, output: (0, 0), speed_bps: 0 };
        interfaces.counters(&counters, Timestamp::from_parts(round * 60, 0), 8);
        for _ in 0..1000 {
            interfaces.sampled(1, Some(1), None, 70 * (1 << 32) / 1000, (1 << 32) / 1000);
        }
    }
    let measure = interfaces.sorted()[0].input.unwrap();
    assert_eq!((measure.counted_pps, measure.agreement), (None, Agreement::Agree));
}

#[test]
fn each_way_is_compared_where_it_is_sampled() {
    // Interfaces 1 and 2, sampled at the way in; 3 at the way out; 4 not at all.
    let mut interfaces = Interfaces::new();
    let flows = [(1, 1, 2), (2, 2, 3), (3, 1, 3), (2, 2, 1)];
    let grown = |index, from: bool| match index {
        4 => 100_000,
        _ => flows.iter().filter(|f| f.0 != 3 && index == if from { f.1 } else { f.2 }).count(),
    };
    for round in 0..4_u64 {
        for index in 1..=4 {
            let counter = |from| {
                let packets = grown(index, from) as u64 * 100_000 * round;
                (packets * 500, packets)
            };
            let (input, output) = (counter(true), counter(false));
            let counters = Counters { index, input, output, speed_bps: 0 };
            interfaces.counters(&counters, Timestamp::from_parts(60 * round, 0), 8);
        }
        for (source, input, output) in flows {
            for _ in 0..1000 {
                interfaces.sampled(source, Some(input), Some(output), 50_000, 100);
            }
        }
    }
    let found = |index: usize| {
        let report = interfaces.sorted()[index - 1];
        [report.input, report.output].map(|measure| measure.map(|measure| measure.agreement))
    };
    assert_eq!(found(1), [Some(Agree), Some(Elsewhere)]);
    assert_eq!(found(2), [Some(Agree), Some(Elsewhere)]);
    assert_eq!(found(3), [None, Some(Agree)], "nothing came in by 3");
    assert_eq!(found(4), [Some(Unsampled), Some(Unsampled)]);
}
