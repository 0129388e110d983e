//! The attack as one JSON object: every key that any generation of the reference has had, with real
//! values, and ours under `tidewall`. Keys stand in alphabetical order, as the reference has them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidewall_model::{
    Count, DirectedCounters, Family, FlowRecord, Forwarding, Sample, Target, TrafficClass, protocol,
};

use crate::report_text::{Style, attack_type};
use crate::{ActionEvent, ActionKind};

/// Version of the object under `tidewall`. Keys are added without a change of it.
const SCHEMA: u32 = 1;

/// An object whose keys are in order, whatever maps of `serde_json` do.
pub(crate) type Object = BTreeMap<&'static str, Value>;

/// The document as compact text.
pub fn to_json(event: &ActionEvent, style: &Style) -> String {
    // Text keys and plain values: nothing that could fail.
    serde_json::to_string(&document(event, style)).unwrap_or_default()
}

/// The document.
pub(crate) fn document(event: &ActionEvent, style: &Style) -> BTreeMap<&'static str, Part> {
    let attack = &event.attack;
    let scope = match attack.target {
        Target::Host(_) => "host",
        Target::Network(_) => "network",
        Target::Group(_) => "hostgroup",
    };
    let mut document = BTreeMap::from([
        ("action", Part::Value(event.kind.verb().into())),
        ("alert_scope", Part::Value(scope.into())),
        ("attack_details", Part::Object(details(event))),
        ("ip", Part::Value(style.target(&attack.target).into())),
        ("tidewall", Part::Object(own(event))),
    ]);
    if !attack.samples.is_empty() {
        let dump = attack.samples.iter().take(style.lines).map(packet).collect();
        document.insert("packet_dump_detailed", Part::List(dump));
    }
    document
}

/// A value of the document, with keys in order on every level.
#[derive(serde::Serialize)]
#[serde(untagged)]
pub(crate) enum Part {
    /// A text or a number.
    Value(Value),
    /// An object.
    Object(Object),
    /// A list of objects.
    List(Vec<Object>),
}

fn details(event: &ActionEvent) -> Object {
    let (attack, rates) = (&event.attack, event.rates());
    let protocol = match attack.family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    };
    let largest = [(rates_of(event).udp, "udp"), (rates_of(event).icmp, "icmp")].into_iter().fold(
        (rates_of(event).tcp, "tcp"),
        |most, one| {
            if one.0.packets > most.0.packets { one } else { most }
        },
    );
    let reason = &attack.reason;
    // Nothing was measured for a ban that a person asked for.
    let (source, threshold, direction) = if event.manual {
        ("manual", "unknown".to_owned(), "unknown")
    } else {
        ("automatic", reason.metric.to_string(), reason.direction.name())
    };
    let mut details = Object::from([
        ("attack_detection_source", source.into()),
        ("attack_detection_threshold", threshold.into()),
        ("attack_detection_threshold_direction", direction.into()),
        ("attack_direction", attack.direction.name().into()),
        ("attack_protocol", largest.1.into()),
        ("attack_severity", "middle".into()),
        ("attack_type", attack_type(attack).into()),
        ("attack_uuid", event.attack_uuid().into()),
        ("host_group", attack.reason.group.clone().into()),
        ("initial_attack_power", number(event.power())),
        ("parent_host_group", String::new().into()),
        ("peak_attack_power", number(attack.peak_pps.max(event.power()))),
        ("protocol_version", protocol.into()),
    ]);
    insert_totals(&mut details, &rates);
    for (class, keys) in CLASSES {
        let (incoming, outgoing) = (rates.incoming.get(class), rates.outgoing.get(class));
        for (count, [traffic, bits, pps]) in
            [incoming, outgoing].into_iter().zip([keys.incoming, keys.outgoing])
        {
            insert_traffic(&mut details, count, traffic, bits);
            details.insert(pps, number(count.packets));
        }
    }
    details
}

fn rates_of(event: &ActionEvent) -> &tidewall_model::TrafficCounters {
    &event.attack.rates
}

/// Totals, and the averages of older releases, which are the same numbers.
fn insert_totals(details: &mut Object, rates: &DirectedCounters) {
    let (incoming, outgoing) = (&rates.incoming, &rates.outgoing);
    for (count, traffic, bits, pps) in [
        (
            incoming.total,
            "total_incoming_traffic",
            "total_incoming_traffic_bits",
            "total_incoming_pps",
        ),
        (
            outgoing.total,
            "total_outgoing_traffic",
            "total_outgoing_traffic_bits",
            "total_outgoing_pps",
        ),
        (
            incoming.total,
            "average_incoming_traffic",
            "average_incoming_traffic_bits",
            "average_incoming_pps",
        ),
        (
            outgoing.total,
            "average_outgoing_traffic",
            "average_outgoing_traffic_bits",
            "average_outgoing_pps",
        ),
    ] {
        insert_traffic(details, count, traffic, bits);
        details.insert(pps, number(count.packets));
    }
    for (flows, total, average) in [
        (incoming.flows, "total_incoming_flows", "average_incoming_flows"),
        (outgoing.flows, "total_outgoing_flows", "average_outgoing_flows"),
    ] {
        details.insert(total, number(flows));
        details.insert(average, number(flows));
    }
}

fn insert_traffic(details: &mut Object, count: Count, bytes: &'static str, bits: &'static str) {
    details.insert(bytes, number(count.bytes));
    details.insert(bits, number(count.bytes.saturating_mul(8)));
}

/// Keys of a class: bytes, bits and packets per second.
struct Keys {
    incoming: [&'static str; 3],
    outgoing: [&'static str; 3],
}

macro_rules! keys {
    ($name:literal) => {
        Keys {
            incoming: [
                concat!("incoming_", $name, "_traffic"),
                concat!("incoming_", $name, "_traffic_bits"),
                concat!("incoming_", $name, "_pps"),
            ],
            outgoing: [
                concat!("outgoing_", $name, "_traffic"),
                concat!("outgoing_", $name, "_traffic_bits"),
                concat!("outgoing_", $name, "_pps"),
            ],
        }
    };
}

const CLASSES: [(TrafficClass, Keys); 6] = [
    (TrafficClass::Dropped, keys!("dropped")),
    (TrafficClass::Fragment, keys!("ip_fragmented")),
    (TrafficClass::Tcp, keys!("tcp")),
    (TrafficClass::TcpSyn, keys!("syn_tcp")),
    (TrafficClass::Udp, keys!("udp")),
    (TrafficClass::Icmp, keys!("icmp")),
];

/// What only we know.
pub(crate) fn own(event: &ActionEvent) -> Object {
    let (attack, reason) = (&event.attack, &event.attack.reason);
    let text = |value: &dyn std::fmt::Display| Value::from(value.to_string());
    let mut own = Object::from([
        ("ban_seconds", number(event.ban_seconds)),
        ("bytes", number(attack.bytes)),
        ("class", attack.class.name().into()),
        ("detected", text(&attack.detected)),
        ("direction", attack.direction.name().into()),
        ("ended", attack.ended.map_or(Value::Null, |ended| text(&ended))),
        ("event", event.kind.name().into()),
        ("id", number(attack.id.0)),
        ("key", event.key().into()),
        ("manual", event.manual.into()),
        ("network", event.network.map_or(Value::Null, |network| text(&network))),
        ("note", event.note.clone().into()),
        ("packets", number(attack.packets)),
        ("peak_bps", number(attack.peak_bps)),
        ("peak_flows", number(attack.peak_flows)),
        ("peak_pps", number(attack.peak_pps)),
        ("schema", SCHEMA.into()),
        ("started", text(&attack.started)),
        ("target", text(&attack.target)),
        ("time", text(&event.time)),
        ("top", serde_json::to_value(&attack.top).unwrap_or_default()),
        ("vectors", serde_json::to_value(&attack.vectors).unwrap_or_default()),
    ]);
    let measured = json!({
        "metric": reason.metric.to_string(),
        "direction": reason.direction.name(),
        "value": reason.value,
        "limit": reason.limit,
        "group": reason.group,
        "window_ms": reason.window_ms,
        "samples": reason.samples,
    });
    // Nothing was measured for a ban that a person asked for.
    own.insert("reason", if event.manual { Value::Null } else { measured });
    let ends = event.kind == ActionKind::Banned && event.ban_seconds > 0;
    let until = event.time + std::time::Duration::from_secs(event.ban_seconds);
    own.insert("ban_until", if ends { text(&until) } else { Value::Null });
    own
}

/// One sampled record.
fn packet(sample: &Sample) -> Object {
    let record: &FlowRecord = &sample.0;
    let forwarding = match record.forwarding {
        Forwarding::Unknown => "unknown",
        Forwarding::Forwarded => "forwarded",
        Forwarding::Dropped => "dropped",
        Forwarding::Consumed => "consumed",
    };
    let (family, no_agent) = match record.family {
        Family::V4 => ("ipv4", Some("0.0.0.0")),
        Family::V6 => ("ipv6", None),
    };
    let name = match record.protocol {
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        _ if record.is_icmp() => "icmp",
        _ => "unknown",
    };
    let below_ip = u64::from(record.link_bytes).saturating_mul(record.packets);
    let mut packet = Object::from([
        ("destination_asn", 0.into()),
        ("destination_country", "".into()),
        ("destination_ip", record.dst_address().to_string().into()),
        ("forwarding_status", forwarding.into()),
        ("fragmentation", record.fragment.is_fragment().into()),
        ("input_interface", 0.into()),
        ("ip_length", number(record.bytes.saturating_sub(below_ip))),
        ("ip_version", family.into()),
        ("length", number(record.bytes)),
        ("output_interface", 0.into()),
        ("packets", number(record.packets)),
        ("protocol", name.into()),
        ("sample_ratio", record.sampling.get().into()),
        ("source_asn", 0.into()),
        ("source_country", "".into()),
        ("source_ip", record.src_address().to_string().into()),
        ("timestamp", number(record.time.seconds())),
        ("ttl", record.ttl.into()),
    ]);
    if let Some(agent) = no_agent {
        packet.insert("agent_address", agent.into());
    }
    if matches!(record.protocol, protocol::TCP | protocol::UDP) {
        packet.insert("source_port", record.src_port.into());
        packet.insert("destination_port", record.dst_port.into());
    }
    if record.protocol == protocol::TCP {
        packet.insert("tcp_flags", record.tcp_flags.to_string().into());
    }
    packet
}

/// A number that every store can hold: BSON has no unsigned integers.
fn number(value: u64) -> Value {
    value.min(i64::MAX as u64).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn parsed(event: &ActionEvent) -> Value {
        serde_json::from_str(&to_json(event, &Style::default())).unwrap()
    }

    /// Every key that Debian's package writes, but for identifier and group, which are empty there.
    #[test]
    fn holds_every_number_of_debians_package() {
        let value = parsed(&fixture::recorded(ActionKind::Banned));
        let of =
            |key: &str| value["attack_details"][key].as_u64().unwrap_or_else(|| panic!("{key}"));
        let units = ["pps", "traffic", "traffic_bits"];
        for (class, incoming, outgoing) in [
            ("dropped", [0, 0], [0, 0]),
            ("icmp", [17, 759], [0, 0]),
            ("ip_fragmented", [0, 0], [0, 0]),
            ("syn_tcp", [271, 14_657], [17, 977]),
            ("tcp", [271, 14_657], [17, 977]),
            ("udp", [17, 7997], [17, 1302]),
        ] {
            for (direction, [packets, bytes]) in [("incoming", incoming), ("outgoing", outgoing)] {
                let found = units.map(|unit| of(&format!("{direction}_{class}_{unit}")));
                assert_eq!(found, [packets, bytes, bytes * 8], "{direction} {class}");
            }
        }
        for total in ["total", "average"] {
            for (direction, want) in
                [("incoming", [325, 24_103, 192_824, 7]), ("outgoing", [35, 2279, 18_232, 0])]
            {
                let units = ["pps", "traffic", "traffic_bits", "flows"];
                let found = units.map(|unit| of(&format!("{total}_{direction}_{unit}")));
                assert_eq!(found, want, "{total} {direction}");
            }
        }
        for (key, want) in [("action", "ban"), ("alert_scope", "host"), ("ip", "10.9.9.1")] {
            assert_eq!(value[key], want);
        }
        assert_eq!(value["attack_details"]["protocol_version"], "IPv4");
    }

    #[test]
    fn keys_are_in_order_on_every_level() {
        let text = to_json(&fixture::event(ActionKind::Banned, 3), &Style::default());
        let at = |key: &str| text.find(&format!("\"{key}\":")).unwrap_or_else(|| panic!("{key}"));
        for keys in [
            ["action", "alert_scope", "attack_details", "ip", "packet_dump_detailed", "tidewall"],
            [
                "attack_detection_source",
                "attack_uuid",
                "average_incoming_flows",
                "host_group",
                "protocol_version",
                "total_outgoing_traffic_bits",
            ],
        ] {
            assert!(keys.is_sorted_by_key(|key| at(key)), "{text}");
        }
    }

    #[test]
    fn ipv6_has_real_values() {
        let mut event = fixture::event(ActionKind::Unbanned, 3);
        event.attack.target = Target::Host(fixture::address("2001:db8::7"));
        event.attack.family = Family::V6;
        let value = parsed(&event);
        assert_eq!(value["ip"], "2001:db8::7");
        assert_eq!(value["action"], "unban");
        assert_eq!(value["attack_details"]["protocol_version"], "IPv6");
        assert_eq!(value["tidewall"]["target"], "2001:db8::7");
    }

    #[test]
    fn samples_have_the_fields_of_the_reference() {
        let mut event = fixture::recorded(ActionKind::Banned);
        event.attack.samples[0].0.link_bytes = 14;
        let value = parsed(&event);
        let dump = value["packet_dump_detailed"].as_array().unwrap();
        assert_eq!((&dump[0]["length"], &dump[0]["ip_length"]), (&54.into(), &40.into()));
        assert_eq!(dump.len(), 20);
        assert_eq!(dump[0]["tcp_flags"], "syn");
        assert_eq!(dump[0]["source_port"], 40_000);
        assert_eq!(dump[0]["timestamp"], 1_795_269_412);
        assert_eq!(dump[15]["protocol"], "udp");
        assert!(dump[15].get("tcp_flags").is_none());
        assert_eq!(dump[18]["protocol"], "icmp");
        assert!(dump[18].get("source_port").is_none());
    }

    #[test]
    fn says_why_and_until_when() {
        let mut event = fixture::event(ActionKind::Banned, 3);
        let value = parsed(&event);
        assert_eq!(value["tidewall"]["reason"]["metric"], "total_pps");
        assert_eq!(value["tidewall"]["reason"]["limit"], 20_000.0);
        assert_eq!(value["tidewall"]["ban_until"], "2026-11-21T14:28:31.624000Z");
        event.attack.packets = u64::MAX;
        event.manual = true;
        let value = parsed(&event);
        assert_eq!(value["tidewall"]["packets"], i64::MAX, "BSON has no larger numbers");
        assert!(value["tidewall"]["reason"].is_null());
        assert_eq!(value["attack_details"]["attack_detection_source"], "manual");
        assert_eq!(value["attack_details"]["attack_detection_threshold"], "unknown");
    }
}
