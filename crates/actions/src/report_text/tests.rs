use super::*;
use crate::{ActionKind, fixture};

const BAN: &str = include_str!("../../testdata/fastnetmon-1.2.4-ban.txt");
const DETAILS: &str = include_str!("../../testdata/fastnetmon-1.2.4-attack-details.txt");
const MANUAL: &str = include_str!("../../testdata/fastnetmon-1.2.4-manual.txt");

fn style(generation: Generation) -> Style {
    Style { generation, own_lines: false, zone: LocalTime::utc(), ..Style::default() }
}

/// The recorded flows with the sums that the peer had counted: 81 packets each.
fn with_flow_sums() -> ActionEvent {
    let mut event = fixture::recorded(ActionKind::Banned);
    for sample in &mut event.attack.samples {
        sample.0.packets = 81;
        sample.0.bytes *= 81;
    }
    event
}

#[test]
fn ban_is_what_debians_package_wrote() {
    assert_eq!(style(Generation::V1_2_4).report(&with_flow_sums()), BAN);
}

#[test]
fn details_are_what_debians_package_wrote() {
    let mut event = fixture::recorded(ActionKind::Banned);
    event.attack.peak_pps = 529;
    assert_eq!(style(Generation::V1_2_4).details(&event), DETAILS);
}

#[test]
fn a_manual_ban_is_what_debians_package_wrote() {
    let mut event = fixture::recorded(ActionKind::Banned);
    event.manual = true;
    event.attack.target = Target::Host(fixture::address("10.9.9.77"));
    event.attack.direction = Direction::Other;
    event.attack.rates = tidewall_model::TrafficCounters::default();
    event.attack.opposite = event.attack.rates;
    event.attack.peak_pps = 0;
    event.attack.samples.clear();
    assert_eq!(style(Generation::V1_2_4).report(&event), MANUAL);
}

#[test]
fn the_newest_layout() {
    let event = fixture::event(ActionKind::Banned, 9);
    let text = style(Generation::Newest).report(&event);
    let want = "\
IP: 192.0.2.9
Attack type: udp_flood
Initial attack power: 48210 packets per second
Peak attack power: 50000 packets per second
Attack direction: incoming
Attack protocol: udp
Total incoming traffic: 180 mbps
Total outgoing traffic: 0 mbps
Total incoming pps: 48210 packets per second
Total outgoing pps: 12 packets per second
Total incoming flows: 4000 flows per second
Total outgoing flows: 0 flows per second
Incoming ip fragmented traffic: 0 mbps
Outgoing ip fragmented traffic: 0 mbps
Incoming ip fragmented pps: 0 packets per second
Outgoing ip fragmented pps: 0 packets per second
Incoming dropped traffic: 0 mbps
Outgoing dropped traffic: 0 mbps
Incoming dropped pps: 0 packets per second
Outgoing dropped pps: 0 packets per second
Incoming tcp traffic: 0 mbps
Outgoing tcp traffic: 0 mbps
Incoming tcp pps: 0 packets per second
Outgoing tcp pps: 0 packets per second
Incoming syn tcp traffic: 0 mbps
Outgoing syn tcp traffic: 0 mbps
Incoming syn tcp pps: 0 packets per second
Outgoing syn tcp pps: 0 packets per second
Incoming udp traffic: 179 mbps
Outgoing udp traffic: 0 mbps
Incoming udp pps: 48000 packets per second
Outgoing udp pps: 0 packets per second
Incoming icmp traffic: 0 mbps
Outgoing icmp traffic: 0 mbps
Incoming icmp pps: 210 packets per second
Outgoing icmp pps: 0 packets per second



Attack traffic dump

2026-11-21 13:56:51.621000 198.51.100.7:123 > 192.0.2.9:4000 protocol: udp frag: 0  packets: 1 \
size: 468 bytes ttl: 60 sample ratio: 10  


Flow dump

Incoming

UDP flows: 1
192.0.2.9:4000 < 198.51.100.7:123 4680 bytes 10 packets

";
    assert_eq!(text, want);
}

#[test]
fn own_lines_follow_the_summary_and_nothing_else_changes() {
    let mut event = fixture::event(ActionKind::Banned, 9);
    event.note = "asked\nfor: IP: 10.0.0.1".into();
    for generation in [Generation::V1_2_4, Generation::Newest] {
        let plain = style(generation);
        let with = Style { own_lines: true, ..plain.clone() };
        let (summary, longer) = (plain.summary(&event), with.summary(&event));
        let own = longer.strip_prefix(&summary).expect("the summary comes first");
        assert!(own.contains("\nAttack class: udp_reflection\n"), "{own}");
        assert!(own.contains("total_pps 48210 over the limit of 20000"), "{own}");
        assert!(own.contains("\nNote: asked for: IP: 10.0.0.1\n"), "a note is one line: {own}");
        assert!(own.lines().all(|line| line.contains(": ")), "{own}");
        let rest = plain.report(&event).replacen(&summary, "", 1);
        assert_eq!(with.report(&event), longer + &rest);
    }
}

#[test]
fn types_by_share() {
    let mut attack = fixture::event(ActionKind::Banned, 1).attack;
    let mut of = |change: fn(&mut tidewall_model::TrafficCounters)| {
        attack.rates = tidewall_model::TrafficCounters::default();
        attack.rates.total.packets = 100;
        change(&mut attack.rates);
        attack_type(&attack)
    };
    assert_eq!(of(|rates| rates.tcp_syn.packets = 91), "syn_flood");
    assert_eq!(of(|rates| rates.tcp_syn.packets = 90), "unknown");
    assert_eq!(of(|rates| rates.icmp.packets = 95), "icmp_flood");
    assert_eq!(
        of(|rates| (rates.udp.packets, rates.fragment.packets) = (100, 92)),
        "ip_fragmentation"
    );
    assert_eq!(of(|rates| rates.udp.packets = 95), "udp_flood");
    assert_eq!(of(|rates| *rates = tidewall_model::TrafficCounters::default()), "unknown");
}

#[test]
fn addresses_in_both_forms() {
    let (plain, old) = (Style::default(), Style { padded_ipv6: true, ..Style::default() });
    for (address, short, long) in [
        ("2001:db8::1", "2001:db8::1", "2001:0db8::0001"),
        ("2001:db8::", "2001:db8::", "2001:0db8::0000"),
        ("::1", "::1", ":0001"),
        ("2001:db8:0:1::2:0", "2001:db8:0:1::2:0", "2001:0db8:0000:0001::0002:0000"),
        ("1:2:3:4:5:6:7:0", "1:2:3:4:5:6:7:0", "0001:0002:0003:0004:0005:0006:0007:0000"),
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
    ] {
        assert_eq!(plain.address(fixture::address(address)), short);
        assert_eq!(old.address(fixture::address(address)), long);
    }
}

#[test]
fn long_lists_are_cut_and_say_so() {
    let mut event = fixture::event(ActionKind::Banned, 1);
    let sample = event.attack.samples[0];
    event.attack.samples = (0..50)
        .map(|port| {
            let mut sample = sample;
            sample.0.src_port = port;
            sample
        })
        .collect();
    let style = Style { lines: 20, ..style(Generation::Newest) };
    assert_eq!(style.sample_dump(&event).lines().count(), 20);
    let flows = style.flow_dump(&event);
    assert_eq!(flows.matches(" packets\n").count(), 21, "{flows}");
    assert!(flows.contains("UDP flows: 50\n") && flows.contains("and 29 more\n"), "{flows}");
}

#[test]
fn outgoing_attacks_show_our_end_first() {
    let mut event = fixture::event(ActionKind::Banned, 1);
    event.attack.direction = Direction::Outgoing;
    let record = &mut event.attack.samples[0].0;
    std::mem::swap(&mut record.src, &mut record.dst);
    let text = style(Generation::Newest).report(&event);
    assert!(text.contains("Total outgoing pps: 48210 packets"), "{text}");
    assert!(text.contains("Total incoming pps: 12 packets"), "{text}");
    assert!(
        text.contains("Outgoing\n\nUDP flows: 1\n192.0.2.1:123 > 198.51.100.7:4000 "),
        "{text}"
    );
}
