//! How long a packet is, and that a mirror and an agent agree on it.

use tidewall_testkit::seeds;
use tidewall_wire::frame::LinkType;
use tidewall_wire::sflow::HeaderProtocol;

use super::*;
use crate::FrameCollector;

fn bytes(settings: &SflowSettings, records: &[Vec<u8>]) -> u64 {
    flow_with(settings, &datagram(&[flow_sample(records)])).0.bytes
}

fn wire(records: &[Vec<u8>]) -> u64 {
    bytes(&SflowSettings::default(), records)
}

#[test]
fn what_was_on_the_wire_counts_stripped_or_not() {
    assert_eq!(wire(&[header(1, 1518, 4, &frame())]), 1518, "the check sequence");
    assert_eq!(wire(&[header(1, 1518, 0, &frame())]), 1518);
    assert_eq!(wire(&[header(1, 1522, 8, &frame())]), 1522, "a tag");
    assert_eq!(wire(&[header(1, 1390, 1262, &frame())]), 1390, "what was not copied");
    assert_eq!(wire(&[header(1, 3, 9, &frame())]), 3);
    assert_eq!(wire(&[header(1, 0, 0, &frame())]), 54, "not stated: what was copied");
    assert_eq!(wire(&[header(11, 1500, 0, &ipv4())]), 1500);
}

/// T38, and the modes beside it.
#[test]
fn the_larger_length_where_it_is_asked_for() {
    let record = || [header(1, 136, 4, &frame())];
    assert_eq!(wire(&record()), 136);
    let larger = SflowSettings { larger_length: true, ..SflowSettings::default() };
    assert_eq!(bytes(&larger, &record()), 1500);
    assert_eq!(bytes(&larger, &[header(1, 1518, 4, &frame())]), 1518, "the frame is larger");
    assert_eq!(bytes(&larger, &[ethernet_record(136), ipv4_record()]), 1400);
    let ip = SflowSettings { length: LengthMode::IpHeader, ..SflowSettings::default() };
    assert_eq!(bytes(&ip, &record()), 1500);
    assert_eq!(bytes(&ip, &[ethernet_record(1418), ipv4_record()]), 1400);
}

#[test]
fn an_agent_that_copies_nothing_states_the_length() {
    assert_eq!(wire(&[ipv4_record()]), 1400);
    assert_eq!(wire(&[ethernet_record(1418), ipv4_record()]), 1418, "with its link header");
    assert_eq!(wire(&[ipv4_record(), ethernet_record(1418)]), 1418);
    assert_eq!(wire(&[ethernet_record(0), ipv4_record()]), 1400);
}

/// The number of a link type in a sampled header, for those that have one.
fn protocol_of(link: LinkType) -> Option<u32> {
    (1..32).find(|number| HeaderProtocol(*number).link_type() == Some(link))
}

/// A frame that is mirrored and one that is sampled give one and the same record, where the agent
/// does not count a check sequence that the mirror does not see.
#[test]
fn a_mirror_and_an_agent_agree() {
    let mut compared = 0;
    for seed in seeds::all().unwrap().iter().filter(|seed| seed.target == "frame") {
        let (choice, frame) = seed.bytes.split_first().unwrap();
        let link = LinkType::SUPPORTED[usize::from(*choice)];
        let Some(protocol) = protocol_of(link) else { continue };
        for (snap, tunnels, length) in [
            (128, TunnelPolicy::OUTER, LengthMode::Wire),
            (128, TunnelPolicy::INNER, LengthMode::Wire),
            (64, TunnelPolicy::OUTER, LengthMode::IpHeader),
            (30, TunnelPolicy::INNER, LengthMode::Wire),
        ] {
            let copied = &frame[..frame.len().min(snap)];
            let rate = SamplingRate::new(512);
            let mut mirror = FrameCollector::new(tunnels, length, rate);
            let on_wire = frame.len() as u32;
            let mirrored = mirror.decode(link, Timestamp(5), copied, on_wire);

            let settings = SflowSettings { tunnels, length, ..SflowSettings::default() };
            let sample = flow_sample(&[header(protocol, on_wire, 0, copied)]);
            let (collector, seen) = decode_with(&settings, &datagram(&[sample]));
            let sampled = match seen.flows.first() {
                Some((record, _)) => Ok(*record),
                None => Err(collector.drops().nonzero().next().unwrap().0),
            };
            assert_eq!(sampled, mirrored, "{} cut to {snap}", seed.name);
            compared += 1;
        }
    }
    assert!(compared > 250, "only {compared} compared");
}
