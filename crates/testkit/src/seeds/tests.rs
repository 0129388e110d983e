//! Seeds are what they say they are: a fuzzer that starts from junk finds nothing.

use std::collections::{BTreeMap, BTreeSet};

use tidewall_wire::frame::{TunnelKind, TunnelPolicy, dissect};
use tidewall_wire::netflow::{self, Plan, TemplateRecord};
use tidewall_wire::pcap::Packets;
use tidewall_wire::sflow::{self, FlowData, Sample};

use super::*;

fn of(target: &str) -> Vec<Seed> {
    all().unwrap().into_iter().filter(|s| s.target == target).collect()
}

#[test]
fn names_are_unique_within_a_target() {
    let seeds = all().unwrap();
    let names: BTreeSet<_> = seeds.iter().map(|s| (s.target, &s.name)).collect();
    assert_eq!(names.len(), seeds.len());
    assert!(names.iter().all(|(_, name)| !name.contains(['/', ' '])));
}

#[test]
fn frames_dissect_and_every_tunnel_is_entered() {
    let mut entered = BTreeSet::new();
    for seed in of("frame") {
        let link = LinkType::SUPPORTED[usize::from(seed.bytes[0])];
        let outer = dissect(link, &seed.bytes[1..], &TunnelPolicy::OUTER);
        if matches!(seed.name.as_str(), "arp" | "macsec_ethertype") {
            assert!(outer.is_err(), "{}", seed.name);
            continue;
        }
        let outer = outer.unwrap_or_else(|e| panic!("{}: {e}", seed.name));
        assert!(outer.ip_length > 0, "{}", seed.name);
        let inner = dissect(link, &seed.bytes[1..], &TunnelPolicy::INNER).unwrap();
        entered.extend(inner.tunnels.kinds());
    }
    let missing: Vec<_> = TunnelKind::ALL.iter().filter(|k| !entered.contains(k)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn captures_parse() {
    for seed in of("pcap") {
        let packets: Result<Vec<_>, _> = Packets::new(&seed.bytes).collect();
        let packets = packets.unwrap_or_else(|e| panic!("{}: {e}", seed.name));
        let want = match seed.name.as_str() {
            "empty" => 0,
            "cut" => 1,
            ng if ng.starts_with("ng_") => 3,
            _ => 2,
        };
        assert_eq!(packets.len(), want, "{}", seed.name);
    }
    assert_eq!(of("pcapng").len(), 1);
    assert!(of("config").len() >= 5);
}

/// Samples and records of a datagram by what they are, and how many could not be read.
fn sflow_parts(bytes: &[u8]) -> (BTreeSet<String>, usize) {
    let (mut parts, mut errors) = (BTreeSet::new(), 0);
    let name = |debug: String| debug.split(['(', ' ']).next().unwrap_or_default().to_owned();
    let datagram = sflow::Datagram::parse(bytes).unwrap();
    for sample in datagram.samples() {
        let Ok(sample) = sample else {
            errors += 1;
            continue;
        };
        parts.insert(format!("{:?} {}", datagram.version, name(format!("{sample:?}"))));
        let records = match sample {
            Sample::Flow(flow) => flow.records(),
            Sample::Discard(discard) => discard.records(),
            Sample::Counters(counters) => {
                parts.extend(counters.records().map(|r| name(format!("{:?}", r.unwrap()))));
                continue;
            }
            Sample::Other { .. } => continue,
        };
        for record in records {
            match record {
                Ok(FlowData::Header(raw)) => parts.extend([format!("Header {}", raw.protocol.0)]),
                Ok(record) => parts.extend([name(format!("{record:?}"))]),
                Err(_) => errors += 1,
            }
        }
    }
    (parts, errors)
}

#[test]
fn sflow_shows_every_sample_and_record() {
    let mut found = BTreeSet::new();
    for seed in of("sflow") {
        let (parts, errors) = sflow_parts(&seed.bytes);
        assert_eq!(errors > 0, seed.name == "hostile", "{}", seed.name);
        found.extend(parts);
    }
    let expected = [
        "Ethernet",
        "Gateway",
        "Header 1",
        "Header 11",
        "Header 12",
        "Interface",
        "Ip",
        "Other",
        "Router",
        "Switch",
        "V4 Flow",
        "V5 Counters",
        "V5 Discard",
        "V5 Flow",
        "V5 Other",
    ];
    assert!(found.iter().eq(&expected), "{found:?}");
}

/// Templates, records and errors of a session, in the form that the fuzz target takes.
fn session_counts(mut bytes: &[u8]) -> [usize; 3] {
    let (mut plans, mut counts) = (BTreeMap::new(), [0; 3]);
    while let Some((&[high, low], behind)) = bytes.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (datagram, next) = behind.split_at(length);
        bytes = next;
        let sets = match netflow::parse(datagram).unwrap() {
            netflow::Datagram::V5(packet) => {
                counts[1] += packet.records().count();
                counts[2] += usize::from(packet.missing());
                continue;
            }
            netflow::Datagram::V9(packet) => packet.sets(),
            netflow::Datagram::Ipfix(message) => message.sets(),
        };
        for set in sets {
            let Ok(set) = set else {
                counts[2] += 1;
                continue;
            };
            for template in set.templates() {
                match template {
                    Ok(TemplateRecord::Definition(template)) => {
                        counts[0] += 1;
                        plans.insert(template.id(), Plan::new(&template));
                    }
                    Ok(TemplateRecord::Withdrawal(id)) => _ = plans.remove(&id),
                    Ok(TemplateRecord::WithdrawalOfAll(kind)) => {
                        plans.retain(|_, plan| plan.kind() != kind);
                    }
                    Err(_) => counts[2] += 1,
                }
            }
            if let Some(plan) = plans.get(&set.id) {
                counts[1] += set.records(plan).map(Result::unwrap).count();
            }
        }
    }
    assert!(bytes.is_empty());
    counts
}

#[test]
fn export_sessions_are_read() {
    let counts: BTreeMap<_, _> =
        of("netflow").iter().map(|s| (s.name.clone(), session_counts(&s.bytes))).collect();
    let expected = [
        ("ipfix", [4, 12, 0]),
        ("ipfix_data_first", [3, 1, 0]),
        ("ipfix_hostile", [0, 0, 6]),
        ("ipfix_variable", [1, 5, 0]),
        ("ipfix_withdrawals", [3, 2, 0]),
        ("v5", [0, 32, 2]),
        ("v9", [4, 12, 0]),
        ("v9_data_first", [3, 1, 0]),
        ("v9_hostile", [0, 0, 7]),
    ];
    let expected: BTreeMap<_, _> = expected.map(|(name, n)| (name.to_owned(), n)).into();
    assert_eq!(counts, expected);
}

#[test]
fn bgp_messages_parse_and_rules_are_rules() {
    use tidewall_bgp::message::{MAX_MESSAGE, RawMessage};
    use tidewall_bgp::{Nlri, RouteFamily};
    let mut updates = 0;
    for seed in of("bgp_message") {
        let mut rest = &seed.bytes[1..];
        while !rest.is_empty() {
            let raw = RawMessage::parse(rest, MAX_MESSAGE).unwrap().unwrap();
            assert!(raw.message().is_ok(), "{}", seed.name);
            rest = &rest[raw.length..];
            updates += usize::from(seed.name == "updates");
        }
    }
    // Of both IP versions a prefix and two rules announced, and a withdrawal for each family.
    assert_eq!(updates, 6 + 4);
    for (seed, family) in
        of("bgp_flowspec").iter().zip([RouteFamily::Ipv4FlowSpec, RouteFamily::Ipv6FlowSpec])
    {
        let rules: Vec<_> = Nlri::list(family, &seed.bytes[1..]).collect();
        assert!(rules.len() == 2 && rules.iter().all(Result::is_ok), "{rules:?}");
    }
}
