//! `whitelist_rules`: one JSON object a line, each a pattern of traffic that is not counted.

use serde_json::{Map, Value};
use tidewall_engine::Rule;
use tidewall_model::{Family, Prefix, TcpFlags, protocol};

use super::super::nearest::nearest;
use super::super::sink::Sink;
use super::super::table::Place;
use super::lines::items;
use super::prefixes::{ParsedPrefix, parse};
use super::value::quoted;

/// What a key of a rule does to it, or why it cannot.
type Apply = fn(&Value, &mut Rule) -> Result<(), String>;

/// What is known about the keys of a rule.
const KEYS: &[(&str, Apply)] = &[
    ("source_prefix", |value, rule| prefix(value).map(|prefix| rule.source.push(prefix))),
    ("destination_prefix", |value, rule| prefix(value).map(|prefix| rule.destination.push(prefix))),
    ("source_ports", |value, rule| ports(value).map(|list| rule.source_ports = list)),
    ("destination_ports", |value, rule| ports(value).map(|list| rule.destination_ports = list)),
    ("protocols", |value, rule| {
        each(value, |value| protocol_number(text(value)?)).map(|list| rule.protocols = list)
    }),
    ("packet_lengths", |value, rule| {
        each(value, |value| number(value, 1500).map(|n| (n, n)))
            .map(|list| rule.packet_lengths = list)
    }),
    ("vlans", |value, rule| each(value, |value| number(value, 4094)).map(|list| rule.vlans = list)),
    ("tcp_flags", |value, rule| {
        each(value, |value| flags(text(value)?)).map(|list| rule.tcp_flags = list)
    }),
    ("fragmentation_flags", fragment),
    ("ttls", |value, rule| {
        each(value, |value| number(value, 255).map(|n| (n as u8, n as u8)))
            .map(|list| rule.ttls = list)
    }),
    ("source_asns", untested),
    ("destination_asns", untested),
    ("input_interfaces", untested),
    ("output_interfaces", untested),
    ("ipv4_nexthops", untested),
    ("agent_addresses", untested),
    ("action_type", |_, _| Ok(())),
    ("action", |_, _| Ok(())),
];

/// Conditions that are tested here and not by FastNetMon.
const TESTED_HERE: &[&str] = &["ttls"];

/// Reads all rules. A rule with a condition that cannot be tested is left out: without the
/// condition it would match more than was meant.
pub(super) fn read(list: &str, sink: &mut Sink) -> Vec<Rule> {
    let mut rules = Vec::new();
    for item in items(list) {
        let at = Place { field: "whitelist_rules".to_owned(), span: item.span, ..Place::default() };
        let object = match serde_json::from_str(item.text) {
            Ok(Value::Object(object)) => object,
            other => {
                let why = other.err().map_or_else(
                    || "it is not an object".to_owned(),
                    |error| error.to_string().replace("line 1 ", ""),
                );
                let reason =
                    format!("this is no JSON object: {why}; it is left out, as in FastNetMon");
                let fix = "for example {\"protocols\": [\"udp\"], \"source_ports\": [53]}";
                sink.warn(&at, reason, fix);
                continue;
            }
        };
        match rule(&object, &at, sink) {
            Ok(rule) => rules.push(rule),
            Err(why) => {
                let reason = format!("{why}; the rule is left out, so its traffic is counted");
                let fix = "write a rule without that condition, or remove it";
                sink.warn(&at, reason, fix);
            }
        }
    }
    rules
}

fn rule(object: &Map<String, Value>, at: &Place, sink: &mut Sink) -> Result<Rule, String> {
    let mut rule = Rule::default();
    for (name, value) in object {
        // An empty list counts as absent.
        if value.as_array().is_some_and(Vec::is_empty) {
            continue;
        }
        let Some((_, apply)) = KEYS.iter().find(|(known, _)| known == name) else {
            let near = nearest(name, KEYS.iter().map(|(known, _)| *known));
            let near = near.map_or_else(String::new, |near| format!(" (did you mean `{near}`?)"));
            return Err(format!("a rule has no condition {}{near}", quoted(name)));
        };
        apply(value, &mut rule).map_err(|why| format!("`{name}`: {why}"))?;
        if TESTED_HERE.contains(&name.as_str()) {
            let reason =
                format!("FastNetMon does not test `{name}` and counts less; here it is tested");
            sink.warn(at, reason, format!("remove `{name}` for what FastNetMon did"));
        }
    }
    if rule == Rule::default() {
        return Err("a rule without a condition matches all traffic".to_owned());
    }
    let v6 = rule.source.iter().chain(&rule.destination).any(|p| p.family() == Family::V6);
    if v6 {
        let reason = "FastNetMon applies rules to IPv4 traffic only; here this one is applied";
        sink.warn(at, reason, "remove the rule for what FastNetMon did");
    } else {
        rule.family = Some(Family::V4);
    }
    Ok(rule)
}

/// The values of a list, or of one value by itself.
fn each<T>(value: &Value, read: impl Fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    match value {
        Value::Array(list) => list.iter().map(read).collect(),
        value => read(value).map(|one| vec![one]),
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| format!("{} is not a text", quoted(&value.to_string())))
}

fn number(value: &Value, most: u16) -> Result<u16, String> {
    let number = value.as_u64().and_then(|n| u16::try_from(n).ok()).filter(|n| *n <= most);
    number.ok_or_else(|| format!("{} is not a number up to {most}", quoted(&value.to_string())))
}

fn prefix(value: &Value) -> Result<Prefix, String> {
    let text = text(value)?;
    match parse(text) {
        Ok(ParsedPrefix { prefix, .. }) => Ok(prefix),
        Err(_) => Err(format!("{} is not a prefix", quoted(text))),
    }
}

fn ports(value: &Value) -> Result<Vec<(u16, u16)>, String> {
    each(value, |value| number(value, u16::MAX).map(|port| (port, port)))
}

/// IANA's names where they differ from the common ones.
const IANA_NAMES: &[(&str, u8)] =
    &[("ipv4", 4), ("ipip", 94), ("ipv6-icmp", 58), ("ospfigp", 89), ("mpls-in-ip", 137)];

fn protocol_number(text: &str) -> Result<u8, String> {
    let named = |name: &&(&str, u8)| name.0.eq_ignore_ascii_case(text);
    let known = |n: &u8| protocol::name(*n).is_some_and(|name| name.eq_ignore_ascii_case(text));
    (IANA_NAMES.iter().find(named).map(|(_, number)| *number))
        .or_else(|| (0..=u8::MAX).find(known))
        .ok_or_else(|| format!("the protocol {} is not known", quoted(text)))
}

fn flags(text: &str) -> Result<u16, String> {
    const NAMES: [(&str, u16); 6] = [
        ("fin", TcpFlags::FIN),
        ("syn", TcpFlags::SYN),
        ("rst", TcpFlags::RST),
        ("push", TcpFlags::PSH),
        ("ack", TcpFlags::ACK),
        ("urgent", TcpFlags::URG),
    ];
    text.split('|').try_fold(0, |set, word| {
        let word = word.trim();
        let flag = NAMES.iter().find(|(name, _)| *name == word);
        flag.map(|(_, bit)| set | bit).ok_or_else(|| format!("{} is no TCP flag", quoted(word)))
    })
}

/// Fragments and whole packets can be told apart, and no more than that.
fn fragment(value: &Value, rule: &mut Rule) -> Result<(), String> {
    let words = each(value, text_of)?;
    rule.fragment = match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["is-fragment"] => Some(true),
        ["not-a-fragment"] => Some(false),
        _ => {
            return Err(
                "only `is-fragment` and `not-a-fragment`, each by itself, can be tested".to_owned()
            );
        }
    };
    Ok(())
}

fn text_of(value: &Value) -> Result<String, String> {
    text(value).map(str::to_owned)
}

fn untested(_: &Value, _: &mut Rule) -> Result<(), String> {
    Err("this condition cannot be tested; FastNetMon takes it and does not test it either"
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_one(line: &str) -> (Option<Rule>, Vec<String>) {
        let mut sink = Sink::new("rules", line);
        let rule = read(line, &mut sink).pop();
        (rule, sink.finish().iter().map(|d| d.reason.clone()).collect())
    }

    #[test]
    fn every_condition_is_read() {
        let (rule, warnings) = read_one(
            r#"{"source_prefix": "198.51.100.0/24", "destination_prefix": "192.0.2.1/32",
            "protocols": ["udp", "IPV6-ICMP", "ipip"], "source_ports": [53, 123],
            "destination_ports": [], "packet_lengths": [40], "vlans": [7],
            "tcp_flags": ["syn|ack", "push"], "fragmentation_flags": ["is-fragment"],
            "action_type": "accept", "action": {"rate": 5}}"#
                .replace('\n', " ")
                .as_str(),
        );
        let wanted = Rule {
            source: vec!["198.51.100.0/24".parse().unwrap()],
            destination: vec!["192.0.2.1".parse().unwrap()],
            protocols: vec![17, 58, 94],
            source_ports: vec![(53, 53), (123, 123)],
            packet_lengths: vec![(40, 40)],
            vlans: vec![7],
            tcp_flags: vec![0x12, 0x08],
            fragment: Some(true),
            family: Some(Family::V4),
            ..Rule::default()
        };
        assert_eq!((rule, warnings), (Some(wanted), vec![]));
    }

    #[test]
    fn what_cannot_be_tested_is_left_out() {
        for (line, why) in [
            (r#"{"source_asns": [64500], "protocols": ["udp"]}"#, "cannot be tested"),
            (r#"{"agent_addresses": ["192.0.2.1"]}"#, "cannot be tested"),
            (r#"{"fragmentation_flags": ["dont-fragment"]}"#, "only `is-fragment`"),
            (r#"{"tcp_flags": ["sin"]}"#, "no TCP flag"),
            (r#"{"source_ports": [65536]}"#, "up to 65535"),
            (r#"{"source_prefix": 5}"#, "not a text"),
            (r#"{"protocls": ["udp"]}"#, "did you mean `protocols`?"),
            (r#"{"vlans": []}"#, "all traffic"),
            ("{}", "all traffic"),
            ("[]", "not an object"),
            (r#"{"vlans": "#, "EOF"),
        ] {
            let (rule, warnings) = read_one(line);
            assert_eq!(rule, None, "{line}");
            let [warning] = warnings.as_slice() else { panic!("{line}: {warnings:?}") };
            assert!(warning.contains(why), "{line}: {warning}");
        }
    }

    #[test]
    fn what_is_more_than_fastnetmon_does_is_said() {
        let (rule, warnings) = read_one(r#"{"ttls": [1], "source_prefix": "2001:db8::1/128"}"#);
        let rule = rule.unwrap();
        assert_eq!((rule.ttls, rule.family), (vec![(1, 1)], None));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        let (rule, warnings) = read_one("# nothing\n\n  {\"vlans\": 5}\n");
        assert_eq!((rule.unwrap().vlans, warnings.len()), (vec![5], 0));
    }
}
