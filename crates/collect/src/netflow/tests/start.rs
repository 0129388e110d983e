//! Data of NetFlow v9 exporters that have just started, and data that waited for long.

use super::*;

/// As [`BASIC`], with source and destination in each other's place.
const TURNED: [Spec; 7] = [(12, 4), (8, 4), (7, 2), (11, 2), (4, 1), (2, 4), (1, 4)];

/// A datagram of an exporter of this age in milliseconds.
fn aged(uptime_ms: u32, sets: &[Vec<u8>]) -> Vec<u8> {
    let mut packet = v9(sets);
    packet[4..8].copy_from_slice(&uptime_ms.to_be_bytes());
    packet
}

fn of_template(fields: &[Spec]) -> Vec<u8> {
    set(0, &template(256, fields))
}

fn of_data() -> Vec<u8> {
    set(256, &record(&BASIC, &BASIC_VALUES))
}

fn later(desk: &mut Desk, time: Duration) {
    desk.now = desk.now + time;
}

/// A desk whose exporter sent a template and a flow, and started anew a minute later. What it sends
/// first is data.
fn started_anew() -> Desk {
    let mut desk = Desk::new();
    desk.take(&aged(UPTIME, &[of_template(&BASIC), of_data()])).unwrap();
    later(&mut desk, Duration::from_mins(1));
    desk.take(&aged(3000, &[of_data()])).unwrap();
    assert_eq!(desk.flows().len(), 1, "the second one waits");
    desk
}

fn destinations(desk: &Desk) -> Vec<u128> {
    desk.flows().iter().map(|flow| flow.dst).collect()
}

const OURS: &str = "10.0.0.1";
const THEIRS: &str = "198.51.100.1";

#[test]
fn data_behind_a_start_is_read_by_the_template_that_comes() {
    let mut desk = started_anew();
    desk.take(&aged(3100, &[of_template(&TURNED), of_data()])).unwrap();
    assert_eq!(destinations(&desk), [OURS, THEIRS, THEIRS].map(address));
    assert_eq!(desk.kept.flows[1].1.note, FlowNote::HELD);
    desk.take(&aged(3200, &[of_data()])).unwrap();
    assert_eq!(desk.flows().len(), 4, "there is no doubt any more");
}

#[test]
fn the_same_template_ends_the_doubt_too() {
    let mut desk = started_anew();
    desk.take(&aged(3100, &[of_template(&BASIC)])).unwrap();
    assert_eq!(destinations(&desk), [OURS; 2].map(address));
    assert_eq!(desk.collector.drops().total(), 0);
}

#[test]
fn a_template_that_is_not_sent_again_is_believed_after_a_while() {
    let mut desk = started_anew();
    later(&mut desk, Duration::from_millis(1999));
    desk.take(&aged(4999, &[of_data()])).unwrap();
    assert_eq!(desk.flows().len(), 1);
    later(&mut desk, Duration::from_millis(1));
    desk.take(&aged(5000, &[of_data()])).unwrap();
    assert_eq!(destinations(&desk), [OURS; 4].map(address));
    assert_eq!(desk.collector.drops().total(), 0);
}

#[test]
fn what_finds_no_room_to_wait_is_believed() {
    let mut desk = started_anew();
    let room = TemplateLimits::default().held_per_exporter;
    (1..room).for_each(|_| desk.take(&aged(3100, &[of_data()])).unwrap());
    assert_eq!(desk.flows().len(), 1);
    desk.take(&aged(3100, &[of_data()])).unwrap();
    assert_eq!(desk.flows().len(), 2 + room);
    assert_eq!(desk.collector.drops().total(), 0);
}

/// Two line cards behind one address and one source id, each with its age.
#[test]
fn ages_that_take_turns_cost_no_more_than_one_wait() {
    let mut desk = started_anew();
    later(&mut desk, Duration::from_secs(2));
    for round in 0..50 {
        desk.take(&aged(UPTIME + round, &[of_data()])).unwrap();
        desk.take(&aged(9000 + round, &[of_data()])).unwrap();
        later(&mut desk, Duration::from_millis(100));
    }
    assert_eq!(desk.flows().len(), 102);
}

#[test]
fn templates_of_a_file_are_in_doubt_when_their_exporter_is_younger() {
    for (uptime_ms, flows) in [(54_000, 0), (56_000, 1)] {
        let mut before = Desk::new();
        before.take(&aged(UPTIME, &[of_template(&BASIC)])).unwrap();
        let image = before.collector.save();
        let mut desk = Desk::new();
        later(&mut desk, Duration::from_mins(1));
        for collector in [&mut desk.collector, &mut desk.plain] {
            collector.restore(&image, desk.now).unwrap();
        }
        desk.take(&aged(uptime_ms, &[of_data()])).unwrap();
        assert_eq!(desk.flows().len(), flows, "after {uptime_ms} ms");
        desk.take(&aged(uptime_ms, &[of_template(&TURNED), of_data()])).unwrap();
        assert_eq!(destinations(&desk).last(), Some(&address(THEIRS)));
        assert_eq!(desk.flows().len(), 2);
    }
}

#[test]
fn flows_that_waited_for_long_do_not_count_as_traffic_of_now() {
    let templates =
        TemplateLimits { counted_within: Duration::from_millis(100), ..TemplateLimits::default() };
    let mut desk = Desk::with(NetflowSettings { templates, ..NetflowSettings::default() });
    // The scope is the whole exporter.
    let rate = [(1, 4), (34, 4)];
    desk.take(&v9(&[of_data(), set(257, &record(&rate, &[0, 50]))])).unwrap();
    later(&mut desk, Duration::from_millis(50));
    desk.take(&v9(&[of_data()])).unwrap();
    later(&mut desk, Duration::from_millis(100));
    let of_rate = v9_options_template(257, &rate[..1], &rate[1..]);
    desk.take(&v9(&[set(1, &of_rate), of_template(&BASIC)])).unwrap();
    assert_eq!(desk.rates(), [(50, "exporter")], "of the second flow");
    assert_eq!(desk.drops(DropReason::TemplateLate), 1);
    assert_eq!(desk.collector.drops().total(), 1);
}
