//! The demo's story: what it must hold, at every length.

use tidewall_model::{AttackClass, Family, Metric, TrafficClass, Unit};

use super::*;
use crate::plan::AttackKind;

#[test]
fn the_demo_shows_every_kind_and_stretches() {
    for seconds in [0, 20, 60, 300] {
        let scenario = Scenario::demo(Duration::from_secs(seconds), 1).unwrap();
        let truths = scenario.truth();
        assert_eq!(scenario.end().since(scenario.start).as_secs(), seconds.max(20));
        assert!(truths.iter().all(|t| t.start >= scenario.start && t.end <= scenario.end()));
        for class in [
            AttackClass::UdpFlood,
            AttackClass::UdpReflection,
            AttackClass::SynFlood,
            AttackClass::IcmpFlood,
            AttackClass::FragmentFlood,
        ] {
            assert!(truths.iter().any(|t| t.classes.contains(&class)), "{class}");
        }
        assert!(truths.iter().any(|t| t.target.family() == Family::V6));
        // Long enough to be named: at 1.5 times the limit that takes up to 2.5 s.
        for truth in &truths {
            assert!(truth.end.since(truth.start) > truth.within, "{}", truth.name);
        }
    }
}

#[test]
fn the_carpet_is_seen_by_the_network_only_and_the_crowd_by_nobody() {
    let scenario = Scenario::demo(Duration::from_mins(1), 1).unwrap();
    let total = Metric { class: TrafficClass::Total, unit: Unit::Packets };
    let limit = |limits: &[(Metric, f64)]| limits.iter().find(|(m, _)| *m == total).unwrap().1;
    let host = limit(&scenario.limits.host);
    let carpet = scenario.attacks.iter().find(|a| a.target.len() == 24).unwrap();
    let (network, limits) = &scenario.limits.networks[0];
    assert_eq!(*network, carpet.target);
    assert!(carpet.pps > limit(limits) && carpet.pps / carpet.target.size() as f64 * 10.0 < host);
    let crowd = scenario.attacks.iter().position(|a| a.kind == AttackKind::FlashCrowd).unwrap();
    assert!((scenario.attacks[crowd].pps - 0.8 * host).abs() < 1.0);
    assert!(scenario.expectations.iter().all(|e| e.attack != crowd));
}
