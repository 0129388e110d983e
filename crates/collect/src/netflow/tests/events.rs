//! Firewalls and address translators.

use super::*;
use crate::FirewallEvents;

/// Cisco ASA: flow id, event, initiator's and responder's bytes, event time.
const ASA: [Spec; 10] =
    [(148, 4), (8, 4), (7, 2), (12, 4), (11, 2), (4, 1), (233, 1), (231, 4), (232, 4), (323, 8)];

fn asa(flow: u64, event: u64, initiator: u64, responder: u64) -> Vec<u8> {
    let time = u64::from(EXPORTED) * 1_000;
    let values = [flow, 1, 1024, 2, 443, 6, event, initiator, responder, time];
    record(&ASA, &values)
}

fn read(policy: FirewallEvents, records: &[Vec<u8>]) -> Desk {
    let settings = NetflowSettings { firewall_events: policy, ..NetflowSettings::default() };
    let mut desk = Desk::with(settings);
    desk.take(&v9(&[set(0, &template(263, &ASA)), set(263, &records.concat())])).unwrap();
    desk
}

fn bytes(desk: &Desk) -> Vec<(u128, u64)> {
    desk.flows().iter().map(|flow| (flow.src, flow.bytes)).collect()
}

#[test]
fn t14_a_firewalls_record_is_two_directed_flows() {
    let desk = read(FirewallEvents::WithTraffic, &[asa(9, 2, 81, 763)]);
    let [(forward, first), (back, second)] = desk.kept.flows[..] else { panic!("two records") };
    assert_eq!((forward.src, forward.dst, forward.bytes, forward.packets), (1, 2, 81, 1));
    assert_eq!((back.src, back.dst, back.bytes, back.packets), (2, 1, 763, 1));
    assert_eq!((back.src_port, back.dst_port), (443, 1024));
    assert_eq!(first.note, FlowNote::DELETED);
    assert_eq!(second.note, FlowNote::DELETED.and(FlowNote::REVERSE));
}

#[test]
fn t14_events_without_traffic_do_not_count() {
    let events = [asa(9, 1, 0, 0), asa(9, 3, 0, 0), asa(9, 2, 0, 0)];
    let desk = read(FirewallEvents::WithTraffic, &events);
    assert_eq!(desk.kept.refused, [DropReason::FirewallEvent; 3]);
    assert_eq!(desk.drops(DropReason::FirewallEvent), 3);
}

#[test]
fn t14_a_deletion_that_repeats_the_update_before_it_counts_once() {
    let events = [asa(9, 5, 81, 763), asa(9, 2, 81, 763), asa(10, 2, 81, 763)];
    let desk = read(FirewallEvents::WithTraffic, &events);
    assert_eq!(bytes(&desk), [(1, 81), (2, 763), (1, 81), (2, 763)]);
    assert_eq!(desk.kept.refused, [DropReason::FirewallEvent]);
    assert_eq!(desk.kept.flows[0].1.note, FlowNote::UPDATED);
    let differ = [asa(9, 5, 81, 763), asa(9, 2, 10, 20)];
    let desk = read(FirewallEvents::WithTraffic, &differ);
    assert_eq!(bytes(&desk), [(1, 81), (2, 763), (1, 10), (2, 20)]);
}

#[test]
fn t14_deletions_alone_if_the_configuration_says_so() {
    let events = [asa(9, 5, 81, 763), asa(9, 2, 81, 763), asa(10, 1, 5, 5)];
    let desk = read(FirewallEvents::Deletions, &events);
    assert_eq!(bytes(&desk), [(1, 81), (2, 763)]);
    assert_eq!(desk.kept.refused, [DropReason::FirewallEvent; 2]);
}

#[test]
fn one_way_of_a_firewalls_flow_may_be_silent() {
    let desk = read(FirewallEvents::WithTraffic, &[asa(9, 2, 0, 763), asa(10, 2, 81, 0)]);
    assert_eq!(bytes(&desk), [(2, 763), (1, 81)]);
    assert_eq!(desk.collector.drops().total(), 0);
}

#[test]
fn flows_of_firewalls_that_count_one_way() {
    // Palo Alto: ordinary counters, and the event beside them.
    let (record, detail) = one(&[(233, 1)], &[1]).only();
    assert_eq!((record.packets, detail.note), (3, FlowNote::CREATED));
    let (record, detail) = one(&[(233, 1)], &[0]).only();
    assert_eq!((record.packets, detail.note), (3, FlowNote::NONE), "0 is no event");
    // The responder's counters stand beside others that are sums of both.
    assert_eq!(one(&[(232, 4)], &[9_999]).only().0.bytes, 300);
}

#[test]
fn the_reason_tells_the_event_where_that_is_missing() {
    let fields = [(8, 4), (12, 4), (33_002, 2), (231, 4), (232, 4)];
    let read = |reason| {
        let mut desk = Desk::new();
        let data = record(&fields, &[1, 2, reason, 81, 0]);
        desk.take(&v9(&[set(0, &template(263, &fields)), set(263, &data)])).unwrap();
        desk.only().1.note
    };
    assert_eq!(read(1_004), FlowNote::DENIED);
    assert_eq!(read(2_030), FlowNote::DELETED);
}

#[test]
fn t15_translations_are_no_traffic() {
    let fields = [(8, 4), (12, 4), (4, 1), (225, 4), (230, 1)];
    let mut desk = Desk::new();
    let data = record(&fields, &[1, 2, 17, 3, 1]);
    desk.take(&v9(&[set(0, &template(256, &fields)), set(256, &data)])).unwrap();
    assert_eq!(desk.kept.refused, [DropReason::NatEvent]);
    let counted = one_v9(&[(230, 1)], &[2]);
    assert_eq!(counted.only().0.bytes, 300, "a flow that was translated is a flow");
}
