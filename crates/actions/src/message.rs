//! An event in a few words for people: what mails, chats and syslog lines say.

use tidewall_model::{AttackClass, Direction, Unit};

use crate::report_text::Style;
use crate::{ActionEvent, ActionKind};

/// Label and value, for tables and fields.
pub(crate) type Fact = (&'static str, String);

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    /// An attack, or a ban.
    Critical,
    /// It goes on.
    Warning,
    /// It is over.
    Info,
}

/// Severity of an event.
pub(crate) const fn severity(kind: ActionKind) -> Severity {
    match kind {
        ActionKind::Started | ActionKind::Banned => Severity::Critical,
        ActionKind::Updated => Severity::Warning,
        ActionKind::Ended | ActionKind::Unbanned => Severity::Info,
    }
}

/// `Attack on 192.0.2.9: UDP reflection (ntp 98 %), 48,210 pps, 180.0 Mbps`.
pub(crate) fn headline(event: &ActionEvent, style: &Style) -> String {
    let (attack, target) = (&event.attack, style.target(&event.attack.target));
    let outgoing = attack.direction == Direction::Outgoing;
    let begin = match event.kind {
        ActionKind::Started if outgoing => format!("Attack from {target}"),
        ActionKind::Started => format!("Attack on {target}"),
        ActionKind::Updated if outgoing => format!("Attack from {target} goes on"),
        ActionKind::Updated => format!("Attack on {target} goes on"),
        ActionKind::Ended if outgoing => format!("Attack from {target} is over"),
        ActionKind::Ended => format!("Attack on {target} is over"),
        ActionKind::Banned => format!("{target} is banned"),
        ActionKind::Unbanned => return format!("{target} is no longer banned"),
    };
    if event.manual {
        return if event.note.is_empty() { begin } else { format!("{begin}: {}", event.note) };
    }
    let (pps, bps) = match event.kind {
        ActionKind::Ended => (attack.peak_pps, attack.peak_bps),
        _ => (event.power(), attack.rates.total.bytes.saturating_mul(8)),
    };
    let peak = if event.kind == ActionKind::Ended { "at most " } else { "" };
    format!("{begin}: {}, {peak}{} pps, {}", kinds(event), grouped(pps), bits_per_second(bps))
}

/// What is known, in the order of importance.
pub(crate) fn facts(event: &ActionEvent, style: &Style) -> Vec<Fact> {
    let (attack, reason) = (&event.attack, &event.attack.reason);
    let mut facts = vec![
        ("Target", style.target(&attack.target)),
        ("Direction", attack.direction.name().to_owned()),
    ];
    if !event.manual {
        let rate = |value: f64| match reason.metric.unit {
            Unit::Packets => format!("{} pps", grouped(value.round() as u64)),
            Unit::Bits => bits_per_second(value.round() as u64),
            Unit::Flows => format!("{} flows/s", grouped(value.round() as u64)),
        };
        let (value, limit) = (rate(reason.value), rate(reason.limit));
        let metric = reason.metric.to_string();
        facts.push(("Kind", kinds(event)));
        facts.push(("Reason", format!("{metric} {value}, over the limit of {limit}")));
        let (pps, bps) = (grouped(attack.peak_pps), bits_per_second(attack.peak_bps));
        facts.push(("Peak", format!("{pps} pps, {bps}")));
        facts.push(("Group", reason.group.clone()));
    }
    if let Some(network) = event.network {
        facts.push(("Network", network.to_string()));
    }
    facts.push(("Started", attack.started.to_string()));
    if let Some(ended) = attack.ended {
        let seconds = ended.since(attack.started).as_secs_f64();
        facts.push(("Ended", format!("{ended}, after {seconds:.1} s")));
        let (packets, bytes) = (grouped(attack.packets), grouped(attack.bytes));
        facts.push(("Total", format!("{packets} packets, {bytes} bytes")));
    }
    match (event.kind, event.ban_seconds) {
        (ActionKind::Banned, 0) => facts.push(("Ban", "until it is taken back".to_owned())),
        (ActionKind::Banned, seconds) => facts.push(("Ban", format!("{seconds} s"))),
        _ => {}
    }
    if !event.note.is_empty() {
        facts.push(("Note", event.note.clone()));
    }
    let sources: Vec<&str> = attack.top.remotes.iter().take(3).map(|v| v.value.as_str()).collect();
    if !sources.is_empty() {
        facts.push(("Top remotes", sources.join(", ")));
    }
    facts.push(("Attack", event.attack_uuid()));
    facts
}

/// `UDP reflection (ntp 98 %)`.
fn kinds(event: &ActionEvent) -> String {
    let attack = &event.attack;
    let vectors: Vec<String> = (attack.vectors.iter().take(3))
        .map(|v| format!("{} {:.0} %", v.name, v.packets_share * 100.0))
        .collect();
    let class = class_words(attack.class);
    if vectors.is_empty() { class.to_owned() } else { format!("{class} ({})", vectors.join(", ")) }
}

fn class_words(class: AttackClass) -> &'static str {
    match class {
        AttackClass::SynFlood => "SYN flood",
        AttackClass::SynAckReflection => "SYN+ACK reflection",
        AttackClass::AckFlood => "ACK flood",
        AttackClass::RstFlood => "RST flood",
        AttackClass::TcpFlood => "TCP flood",
        AttackClass::UdpFlood => "UDP flood",
        AttackClass::UdpReflection => "UDP reflection",
        AttackClass::FragmentFlood => "fragment flood",
        AttackClass::IcmpFlood => "ICMP flood",
        AttackClass::GreFlood => "GRE flood",
        AttackClass::ProtocolFlood => "flood of another IP protocol",
        AttackClass::Mixed => "flood of several kinds",
        AttackClass::Unknown => "traffic of unknown kind",
    }
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `12.3 Mbps`.
fn bits_per_second(bits: u64) -> String {
    let units = [(1_000_000_000, "Gbps"), (1_000_000, "Mbps"), (1000, "kbps")];
    match units.iter().find(|(unit, _)| bits >= *unit) {
        Some((unit, name)) => {
            format!("{}.{} {name}", grouped(bits / unit), bits % unit / (unit / 10))
        }
        None => format!("{bits} bps"),
    }
}

/// At most `bytes` long, cut between characters.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn headlines_say_what_happened() {
        let line = |kind| headline(&fixture::event(kind, 9), &Style::default());
        let kind = "UDP reflection (ntp 98 %)";
        assert_eq!(
            line(ActionKind::Started),
            format!("Attack on 192.0.2.9: {kind}, 48,210 pps, 180.0 Mbps")
        );
        assert_eq!(
            line(ActionKind::Ended),
            format!("Attack on 192.0.2.9 is over: {kind}, at most 50,000 pps, 190.0 Mbps")
        );
        assert_eq!(line(ActionKind::Unbanned), "192.0.2.9 is no longer banned");
        let mut event = fixture::event(ActionKind::Banned, 9);
        (event.manual, event.note) = (true, "asked for by NOC".into());
        assert_eq!(headline(&event, &Style::default()), "192.0.2.9 is banned: asked for by NOC");
        assert!(facts(&event, &Style::default()).iter().all(|(label, _)| *label != "Reason"));
    }

    #[test]
    fn facts_hold_reason_limit_and_duration() {
        let facts = facts(&fixture::event(ActionKind::Ended, 9), &Style::default());
        let of = |label| &facts.iter().find(|(have, _)| *have == label).unwrap().1;
        assert_eq!(of("Reason"), "total_pps 48,210 pps, over the limit of 20,000 pps");
        assert_eq!(of("Ended"), "2026-11-21T13:57:51.621000Z, after 60.4 s");
        assert_eq!(of("Total"), "2,900,000 packets, 1,400,000,000 bytes");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(cut("häuser", 2), "h");
        assert_eq!(cut("häuser", 99), "häuser");
    }
}
