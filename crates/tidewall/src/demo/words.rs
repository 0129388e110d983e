//! Attacks, reasons and numbers in words for people.

use std::time::Duration;

use tidewall_model::{Attack, Direction, Reason, TrafficClass, Unit, Vector};

/// `12,345,678`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate as a rounded number with its thousands grouped.
pub fn rate(value: f64) -> String {
    grouped(value.max(0.0).round() as u64)
}

/// `1.25 Gbit/s`.
pub fn bits(value: f64) -> String {
    match value {
        v if v >= 1e9 => format!("{:.2} Gbit/s", v / 1e9),
        v if v >= 1e6 => format!("{:.1} Mbit/s", v / 1e6),
        v => format!("{:.0} kbit/s", v / 1e3),
    }
}

/// `1,050 ms`.
pub fn milliseconds(time: Duration) -> String {
    format!("{} ms", grouped(time.as_millis() as u64))
}

/// A class as a headline: the words of the reports.
pub use crate::report::class_words as class;

/// What it is made of: `ntp 98%` or `dns 55%, fragments 45%`; small parts are left out.
pub fn vectors(list: &[Vector]) -> String {
    let large = list.iter().filter(|vector| vector.packets_share >= 0.05).take(3);
    let parts: Vec<String> = large
        .map(|vector| format!("{} {:.0}%", vector.name, vector.packets_share * 100.0))
        .collect();
    parts.join(", ")
}

/// Class and parts: `UDP reflection (dns 55%, fragments 45%)`.
pub fn named(attack: &Attack) -> String {
    let vectors = vectors(&attack.vectors);
    let class = class(attack.class);
    if vectors.is_empty() { class.to_owned() } else { format!("{class} ({vectors})") }
}

/// `100,240 packets/s, 5.0 times the limit of 20,000, measured over 150 ms`.
pub fn reason(reason: &Reason) -> String {
    let kind = match reason.metric.class {
        TrafficClass::Total => "",
        TrafficClass::Tcp => "TCP ",
        TrafficClass::TcpSyn => "SYN ",
        TrafficClass::Udp => "UDP ",
        TrafficClass::Icmp => "ICMP ",
        TrafficClass::Fragment => "fragment ",
        TrafficClass::Dropped => "dropped ",
        TrafficClass::Other => "other-protocol ",
    };
    let (value, limit) = match reason.metric.unit {
        Unit::Packets => (format!("{} {kind}packets/s", rate(reason.value)), rate(reason.limit)),
        Unit::Bits => (format!("{kind}{}", bits(reason.value)), bits(reason.limit)),
        Unit::Flows => (format!("{} flows/s", rate(reason.value)), rate(reason.limit)),
    };
    let times = if reason.limit > 0.0 { reason.value / reason.limit } else { f64::INFINITY };
    format!("{value}, {times:.1} times the limit of {limit}, measured over {} ms", reason.window_ms)
}

/// How the target stands in a sentence: attacked, or attacking.
pub const fn preposition(direction: Direction) -> &'static str {
    match direction {
        Direction::Outgoing => "from",
        _ => "at",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewall_model::Metric;

    #[test]
    fn numbers() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
        assert_eq!(bits(1.25e9), "1.25 Gbit/s");
        assert_eq!(bits(640e6), "640.0 Mbit/s");
        assert_eq!(bits(9_600.0), "10 kbit/s");
        assert_eq!(milliseconds(Duration::from_micros(1_050_700)), "1,050 ms");
    }

    #[test]
    fn reasons_are_sentences() {
        let mut why = Reason {
            metric: Metric { class: TrafficClass::Total, unit: Unit::Packets },
            direction: Direction::Incoming,
            value: 100_240.4,
            limit: 20_000.0,
            group: "global".to_owned(),
            window_ms: 150,
            samples: 15_036,
        };
        let text = "100,240 packets/s, 5.0 times the limit of 20,000, measured over 150 ms";
        assert_eq!(reason(&why), text);
        why.metric = Metric { class: TrafficClass::Udp, unit: Unit::Bits };
        (why.value, why.limit) = (3e9, 1e9);
        let text = "UDP 3.00 Gbit/s, 3.0 times the limit of 1.00 Gbit/s, measured over 150 ms";
        assert_eq!(reason(&why), text);
    }

    #[test]
    fn small_vectors_are_left_out() {
        let part = |name: &str, share| Vector {
            name: name.to_owned(),
            packets_share: share,
            bytes_share: share,
        };
        let list = [part("dns", 0.55), part("fragments", 0.43), part("syn", 0.02)];
        assert_eq!(vectors(&list), "dns 55%, fragments 43%");
        assert_eq!(vectors(&[]), "");
    }
}
