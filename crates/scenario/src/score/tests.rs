//! What counts as found, missed and false.

use tidewall_model::Address;

use super::*;

fn at(ms: u64) -> Timestamp {
    Timestamp(ms * 1_000_000)
}

fn truth(target: &str, start_ms: u64, end_ms: u64) -> Truth {
    Truth {
        name: target.to_owned(),
        target: target.parse().unwrap(),
        group: None,
        direction: Direction::Incoming,
        classes: vec![AttackClass::UdpFlood, AttackClass::Mixed],
        start: at(start_ms),
        end: at(end_ms),
        within: Duration::from_millis(300),
    }
}

fn said(target: &str, detected_ms: u64, ended_ms: Option<u64>) -> Detection {
    let prefix: Prefix = target.parse().unwrap();
    let host = prefix.len() == prefix.family().bits();
    Detection {
        target: if host { Target::Host(prefix.first()) } else { Target::Network(prefix) },
        direction: Direction::Incoming,
        class: AttackClass::UdpFlood,
        detected: at(detected_ms),
        ended: ended_ms.map(at),
    }
}

#[test]
fn a_perfect_score() {
    let truths = [truth("192.0.2.1", 1000, 5000), truth("2001:db8::1", 2000, 4000)];
    let card =
        score(&truths, &[said("2001:db8::1", 2300, Some(4100)), said("192.0.2.1", 1200, None)]);
    assert!(card.is_perfect());
    assert_eq!((card.detected(), card.missed()), (2, 0));
    let times: Vec<_> = card.outcomes.iter().map(|o| o.time_to_detect.unwrap()).collect();
    assert_eq!(times, [Duration::from_millis(200), Duration::from_millis(300)]);
    assert_eq!(card.outcomes[0].detection, Some(1));
    assert!(score(&[], &[]).is_perfect());
}

#[test]
fn late_wrong_and_missed() {
    let truths = [truth("192.0.2.1", 1000, 5000), truth("192.0.2.2", 1000, 5000)];
    let late = Detection { class: AttackClass::SynFlood, ..said("192.0.2.1", 1301, None) };
    let card = score(&truths, &[late]);
    assert_eq!((card.detected(), card.missed(), card.false_alarms.len()), (1, 1, 0));
    assert!(!card.outcomes[0].in_time && !card.outcomes[0].class_fits && !card.is_perfect());
    assert_eq!(card.outcomes[0].class, Some(AttackClass::SynFlood));
    assert_eq!(card.outcomes[1].detection, None);
    assert_eq!(score(&truths, &[]).missed(), 2);
}

#[test]
fn the_first_detection_counts_and_a_second_one_is_no_false_alarm() {
    let truths = [truth("192.0.2.1", 1000, 5000)];
    let card =
        score(&truths, &[said("192.0.2.1", 3000, None), said("192.0.2.1", 1100, Some(2000))]);
    assert_eq!(card.outcomes[0].detection, Some(1));
    assert!(card.false_alarms.is_empty());
}

#[test]
fn what_nothing_explains_is_a_false_alarm() {
    let truths = [truth("192.0.2.1", 10_000, 15_000)];
    let outgoing = Detection { direction: Direction::Outgoing, ..said("192.0.2.1", 11_000, None) };
    let detections = [
        said("192.0.2.2", 11_000, None),
        outgoing,
        said("192.0.2.1", 9_999, None),
        said("192.0.2.1", 17_001, None),
        said("2001:db8::/32", 11_000, None),
    ];
    let card = score(&truths, &detections);
    assert_eq!(card.false_alarms, [0, 1, 2, 3, 4]);
    // One that was false when it was raised is not credited with what came later.
    assert_eq!(card.detected(), 0);
    // The end of the last window comes a little after the end of the attack.
    assert!(score(&truths, &[said("192.0.2.1", 16_999, None)]).false_alarms.is_empty());
}

#[test]
fn a_carpet_is_found_by_its_network_or_its_hosts() {
    let truths = [truth("203.0.113.0/24", 1000, 5000)];
    for target in ["203.0.113.0/24", "203.0.113.77", "203.0.113.128/25"] {
        let card = score(&truths, &[said(target, 1200, None), said("203.0.113.9", 1300, None)]);
        assert!(card.is_perfect(), "{target}");
    }
    // A larger total is high for a reason, but names nobody.
    let card = score(&truths, &[said("203.0.0.0/16", 1200, None)]);
    assert_eq!((card.missed(), card.false_alarms.len()), (1, 0));
}

#[test]
fn groups_are_found_by_name() {
    let mut carpet = truth("203.0.113.0/24", 1000, 5000);
    carpet.group = Some("web".to_owned());
    let group = |name: &str| Detection {
        target: Target::Group(name.to_owned()),
        ..said("203.0.113.1", 1200, None)
    };
    assert!(score(&[carpet.clone()], &[group("web")]).is_perfect());
    let card = score(&[carpet], &[group("mail")]);
    assert_eq!((card.missed(), card.false_alarms.len()), (1, 0));
}

#[test]
fn an_open_detection_covers_the_next_attack_on_the_same_host() {
    let truths = [truth("192.0.2.1", 1000, 2000), truth("192.0.2.1", 6000, 8000)];
    let card = score(&truths, &[said("192.0.2.1", 1100, None)]);
    assert!(card.is_perfect());
    assert_eq!(card.outcomes[1].time_to_detect, Some(Duration::ZERO));
    let ended = score(&truths, &[said("192.0.2.1", 1100, Some(2100))]);
    assert_eq!((ended.detected(), ended.missed()), (1, 1));
    let host = Address::from("192.0.2.1".parse::<std::net::IpAddr>().unwrap());
    assert_eq!(ended.outcomes[1].target, Prefix::host(host));
}
