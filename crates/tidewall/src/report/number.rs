//! Numbers as people read them: thousands apart, and a unit behind each.

/// `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
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

/// `1 packet`, `1,234 packets`.
pub(super) fn counted(number: u64, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {one}{plural}", grouped(number))
}

/// `12.3 Mbps`, in decimal multiples; below 1 kbps whole bits.
pub(super) fn bits_per_second(rate: f64) -> String {
    scaled(rate, "bps")
}

/// `12.3 MB`, in decimal multiples.
pub(super) fn bytes(number: u64) -> String {
    scaled(number as f64, "B")
}

/// `20.0 s`, `150 ms`, `2 h 03 min`.
pub(super) fn seconds(seconds: f64) -> String {
    let minutes = (seconds / 60.0) as u64;
    if seconds < 0.001 {
        format!("{:.3} ms", seconds * 1e3)
    } else if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1e3)
    } else if minutes < 10 {
        format!("{seconds:.1} s")
    } else if minutes < 60 {
        format!("{minutes} min {:02} s", (seconds % 60.0) as u64)
    } else {
        format!("{} h {:02} min", grouped(minutes / 60), minutes % 60)
    }
}

/// `98.5 %`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

fn scaled(value: f64, unit: &str) -> String {
    let multiples = [(1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match multiples.iter().find(|(factor, _)| value >= *factor) {
        Some((factor, letter)) => {
            let whole = grouped((value / factor) as u64);
            let tenth = (value / factor * 10.0) as u64 % 10;
            format!("{whole}.{tenth} {letter}{unit}")
        }
        None => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_carry_units_and_separators() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
        assert_eq!(counted(1, "packet"), "1 packet");
        assert_eq!(counted(1_000, "packet"), "1,000 packets");
        assert_eq!(bits_per_second(2.149e9), "2.1 Gbps");
        assert_eq!(bits_per_second(640.0), "640 bps");
        assert_eq!(bytes(6_123_456), "6.1 MB");
        assert_eq!(bytes(5_000_000_000_000_000_000), "5,000.0 PB");
    }

    #[test]
    fn durations_of_every_size() {
        for (value, want) in [
            (0.000_01, "0.010 ms"),
            (0.15, "150 ms"),
            (29.74, "29.7 s"),
            (818.1, "13 min 38 s"),
            (7_390.0, "2 h 03 min"),
        ] {
            assert_eq!(seconds(value), want);
        }
    }
}
