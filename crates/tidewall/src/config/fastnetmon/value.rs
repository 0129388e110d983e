//! Values as they were meant, as FastNetMon reads them, and the warning where the two differ.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::quantity::{Counts, parse_duration, parse_number};
use super::super::sink::Sink;
use super::super::table::Place;
use super::keys::{Key, Kind};

/// What was meant by a value: without the comment behind it and the quotes around it, which
/// FastNetMon takes as parts of the value.
pub(super) fn meant(kind: Kind, typed: &str) -> &str {
    if kind == Kind::Secret {
        return typed;
    }
    let mut value = typed;
    let comment = |(at, _): &(usize, _)| {
        *at == 0 || value[..*at].ends_with(|c: char| c.is_ascii_whitespace())
    };
    if let Some((at, _)) = value.match_indices('#').find(comment) {
        value = value[..at].trim_end();
    }
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        if let Some(inner) = inner {
            value = inner.trim();
        }
    }
    value
}

/// Is a switch meant to be on, if it can be told?
pub(super) fn means_on(meant: &str) -> Option<bool> {
    match meant.to_ascii_lowercase().as_str() {
        "on" | "yes" | "true" | "1" | "y" | "enable" | "enabled" => Some(true),
        "off" | "no" | "false" | "0" | "n" | "disable" | "disabled" | "" => Some(false),
        _ => None,
    }
}

/// Does FastNetMon read a switch as on? Only `redis_enabled` knows a second word.
pub(super) fn reads_on(key: &Key, typed: &str) -> bool {
    typed == "on" || (key.name == "redis_enabled" && typed == "yes")
}

/// The number FastNetMon reads: the digits at the beginning, or 0.
pub(super) fn leading_digits(typed: &str) -> i64 {
    let typed = typed.trim_start();
    let (sign, digits) = match typed.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, typed.strip_prefix('+').unwrap_or(typed)),
    };
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    sign * digits[..end].parse().unwrap_or(if end == 0 { 0 } else { i64::MAX })
}

/// The number that was meant, in the unit of its key; never negative or NaN. Megabits are meant by
/// a plain number, and any rate by one with its unit.
pub(super) fn number(kind: Kind, meant: &str) -> Option<f64> {
    let digits = meant.ends_with(|c: char| c.is_ascii_digit());
    match kind {
        Kind::Megabits if !digits => parse_number(meant, Counts::Bits).map(|bits| bits / 1e6),
        Kind::Packets if !digits => parse_number(meant, Counts::Packets),
        Kind::Flows if !digits => parse_number(meant, Counts::Flows),
        Kind::Packets | Kind::Megabits | Kind::Flows => parse_number(meant, Counts::Plain),
        Kind::Seconds if !digits => {
            let seconds = parse_duration(meant)?.as_secs_f64();
            (seconds.fract() == 0.0).then_some(seconds)
        }
        _ => meant.parse::<u32>().ok().map(f64::from),
    }
}

/// A UDP port.
pub(super) fn port(text: &str) -> Option<u16> {
    text.trim().parse().ok().filter(|port| *port > 0)
}

/// Both halves of a community.
pub(super) fn community(text: &str) -> Option<(u16, u16)> {
    let (asn, value) = text.split_once(':')?;
    Some((asn.parse().ok()?, value.parse().ok()?))
}

/// A value in a sentence.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", plain(text))
}

/// The same without quotes around it: any text at all may be a value.
pub(super) fn plain(text: &str) -> String {
    text.chars().take(60).flat_map(char::escape_debug).collect()
}

/// Warns where FastNetMon reads a value otherwise than it was meant, or where it means nothing.
pub(super) fn inspect(key: &Key, name: &str, typed: &str, at: &Place, sink: &mut Sink) {
    let meant = meant(key.kind, typed);
    match key.kind {
        Kind::Switch => inspect_switch(key, name, (typed, meant), at, sink),
        Kind::Number | Kind::Seconds | Kind::Packets | Kind::Megabits | Kind::Flows => {
            inspect_number(key.kind, name, (typed, meant), at, sink);
        }
        Kind::Secret | Kind::HostGroup => {}
        kind => {
            if meant != typed {
                let reason = format!(
                    "FastNetMon takes all of {} as the value; here it is {}",
                    quoted(typed),
                    quoted(meant)
                );
                let fix = format!("write `{name} = {}`", plain(meant));
                sink.warn(at, reason, fix);
            }
            if !meant.is_empty() {
                inspect_text(kind, name, meant, at, sink);
            }
        }
    }
}

fn inspect_switch(
    key: &Key,
    name: &str,
    (typed, meant): (&str, &str),
    at: &Place,
    sink: &mut Sink,
) {
    let outward = key.is_outward();
    let shown = quoted(typed);
    match means_on(meant) {
        Some(true) if reads_on(key, typed) => {}
        Some(true) if outward => {
            let reason = format!(
                "FastNetMon reads {shown} as off: only `on` by itself is on. It stays off, so that \
                 nothing starts that did not run before"
            );
            sink.warn(at, reason, format!("write `{name} = on` to have it, or `{name} = off`"));
        }
        Some(true) => {
            let reason = format!(
                "FastNetMon reads {shown} as off: only `on` by itself is on. Here it is on, as it \
                 is written"
            );
            let fix = format!("write `{name} = on`; for what FastNetMon did, `{name} = off`");
            sink.warn(at, reason, fix);
        }
        Some(false) if meant.is_empty() => {
            sink.warn(at, "there is no value, which is off", format!("write `{name} = off`"));
        }
        Some(false) => {}
        None => {
            let reason = format!("{shown} is neither on nor off; it is off, as in FastNetMon");
            sink.warn(at, reason, format!("write `{name} = on` or `{name} = off`"));
        }
    }
}

/// The largest number that FastNetMon can read: a signed integer of 32 bits.
const MOST: i64 = i32::MAX as i64;

fn inspect_number(
    kind: Kind,
    name: &str,
    (typed, meant): (&str, &str),
    at: &Place,
    sink: &mut Sink,
) {
    let read = leading_digits(typed);
    let reads = match read {
        ..0 => "a huge number, for a negative one wraps".to_owned(),
        0..=MOST => read.to_string(),
        _ => "another number, for it has only 32 bits".to_owned(),
    };
    let reads_it = |number: f64| number.fract() == 0.0 && number as i64 == read && read <= MOST;
    match number(kind, meant) {
        Some(number) if reads_it(number) => {}
        Some(number) => {
            let reason = format!(
                "FastNetMon reads {} as {reads}; here it is {number}, as it is written",
                quoted(typed)
            );
            let fix = format!("write `{name} = {number}`; for what FastNetMon did, `{read}`");
            sink.warn(at, reason, fix);
        }
        None if meant.is_empty() => {
            let reason = "there is no value: FastNetMon reads 0; here the key counts as left out";
            sink.warn(at, reason, format!("write a number behind `{name} =`, or remove the line"));
        }
        None => {
            let reason = format!(
                "{} is not a number that this can be: FastNetMon reads {reads}; here the key \
                 counts as left out",
                quoted(typed)
            );
            sink.warn(at, reason, format!("write digits only, for example `{name} = 1000`"));
        }
    }
}

fn inspect_text(kind: Kind, name: &str, meant: &str, at: &Place, sink: &mut Sink) {
    let shown = quoted(meant);
    let (wrong, fix) = match kind {
        Kind::Word(words) if !words.iter().any(|w| w.eq_ignore_ascii_case(meant)) => {
            let words = words.join("` or `");
            (format!("{shown} is none of the words that FastNetMon knows"), format!("`{words}`"))
        }
        Kind::Ports if meant.split(',').any(|text| port(text).is_none()) => {
            let fix = format!("ports from 1 to 65535: `{name} = 6343,6344`");
            (format!("{shown} is not a list of ports; what is none is left out"), fix)
        }
        Kind::List if meant.split(',').any(|word| word != word.trim()) => {
            let reason = "FastNetMon takes the blank beside a comma as part of a name; here it is \
                          left out";
            (reason.to_owned(), format!("write `{name} = {}`", plain(&join_trimmed(meant))))
        }
        Kind::Ipv4 if meant.parse::<Ipv4Addr>().is_err() => {
            (format!("{shown} is not an IPv4 address"), format!("`{name} = 192.0.2.1`"))
        }
        Kind::Ipv6 if meant.parse::<Ipv6Addr>().is_err() => {
            (format!("{shown} is not an IPv6 address"), format!("`{name} = 100::1`"))
        }
        Kind::Community if community(meant).is_none() => {
            let reason = format!(
                "{shown} is not a community: FastNetMon would announce the route without any"
            );
            (reason, format!("two numbers up to 65535: `{name} = 65001:666`"))
        }
        Kind::Host if meant.contains(char::is_whitespace) => {
            (format!("{shown} is neither a host name nor an address"), "one name".to_owned())
        }
        _ => return,
    };
    sink.warn(at, wrong, fix);
}

fn join_trimmed(list: &str) -> String {
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_quotes_are_no_part_of_a_value() {
        for (typed, want) in [
            ("on # note", "on"),
            ("on\t#note", "on"),
            ("on#note", "on#note"),
            ("# nothing", ""),
            ("\"eth0\" # x", "eth0"),
            ("'a b'", "a b"),
            ("\"", "\""),
            ("", ""),
        ] {
            assert_eq!(meant(Kind::Text, typed), want, "{typed}");
        }
        assert_eq!(meant(Kind::Secret, "\"a\" #b"), "\"a\" #b");
    }

    #[test]
    fn numbers_as_meant_and_as_read() {
        for (kind, text, read, want) in [
            (Kind::Number, "15", 15, Some(15.0)),
            (Kind::Number, "2.5", 2, None),
            (Kind::Number, "99999999999999999999", i64::MAX, None),
            (Kind::Number, "20k", 20, None),
            (Kind::Seconds, "30m", 30, Some(1800.0)),
            (Kind::Seconds, "1.5s", 1, None),
            (Kind::Packets, "20k", 20, Some(20_000.0)),
            (Kind::Packets, "1.5 Mpps", 1, Some(1.5e6)),
            (Kind::Packets, "-5", -5, None),
            (Kind::Packets, "many", 0, None),
            (Kind::Packets, "", 0, None),
            (Kind::Megabits, "1000", 1000, Some(1000.0)),
            (Kind::Megabits, "1000mbps", 1000, Some(1000.0)),
            (Kind::Megabits, "2 Gbps", 2, Some(2000.0)),
            (Kind::Megabits, "2k", 2, None),
            (Kind::Flows, "3.5k", 3, Some(3500.0)),
        ] {
            assert_eq!(leading_digits(text), read, "{text}");
            assert_eq!(number(kind, text), want, "{text}");
        }
    }
}
