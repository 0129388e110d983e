//! The kinds of values a key can have, each with the error text for what is not one of them.

use std::time::Duration;

use tidewall_model::{Family, Prefix, PrefixError, TcpFlags, protocol};
use toml::de::DeValue;

use super::nearest::nearest;
use super::quantity::{Counts, parse_duration, parse_number};
use super::sink::Sink;
use super::table::{FromToml, Place, Typed, kind};

/// Reports "expected ..., found ..." with the key's example.
fn wrong<T>(expected: &str, value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<T> {
    sink.error(at, format!("expected {expected}, found {}", found(value)));
    None
}

/// The kind of a value, and the value itself where it is short and printable.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => match quoted(text) {
            Some(text) => format!("the text {text}"),
            None => kind(value).to_owned(),
        },
        DeValue::Integer(number) => format!("the number {}", clip(number.as_str())),
        DeValue::Float(number) => format!("the number {}", clip(number.as_str())),
        DeValue::Boolean(on) => on.to_string(),
        other => kind(other).to_owned(),
    }
}

/// A text in quotes, if it is short enough to be shown.
pub(super) fn quoted(text: &str) -> Option<String> {
    (text.chars().count() <= 60).then(|| format!("{text:?}"))
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The number in a TOML integer or float, whatever its base and size; never NaN.
pub(super) fn number(value: &DeValue<'_>) -> Option<f64> {
    let number = match value {
        DeValue::Integer(n) => i128::from_str_radix(n.as_str(), n.radix()).ok()? as f64,
        DeValue::Float(n) => n.as_str().parse().ok()?,
        _ => return None,
    };
    (!f64::is_nan(number)).then_some(number)
}

/// A whole number that fits its type.
fn whole(value: &DeValue<'_>) -> Option<i128> {
    match value {
        DeValue::Integer(n) => i128::from_str_radix(n.as_str(), n.radix()).ok(),
        _ => None,
    }
}

impl FromToml for bool {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let meant = match value {
            DeValue::Boolean(on) => return Some(*on),
            DeValue::String(text) => match text.to_lowercase().as_str() {
                "yes" | "on" | "true" | "y" | "enable" | "enabled" | "1" => Some(true),
                "no" | "off" | "false" | "n" | "disable" | "disabled" | "0" => Some(false),
                _ => None,
            },
            other => whole(other).and_then(|n| match n {
                0 => Some(false),
                1 => Some(true),
                _ => None,
            }),
        };
        let fix = match meant {
            Some(on) => format!("write `{} = {on}`, without quotes", at.key),
            None => at.for_example(),
        };
        sink.error_fix(at, format!("expected true or false, found {}", found(value)), fix);
        None
    }
}

impl FromToml for Duration {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        match value {
            DeValue::String(text) => {
                let duration = parse_duration(text);
                if duration.is_none() {
                    let reason = format!("{} is not a time; units are ms, s, min, h", found(value));
                    sink.error(at, reason);
                }
                duration
            }
            DeValue::Integer(n) => {
                let reason = "a time needs its unit";
                let fix = format!("write `{} = \"{}s\"` for seconds", at.key, clip(n.as_str()));
                sink.error_fix(at, reason, fix);
                None
            }
            other => wrong("a time in quotes", other, at, sink),
        }
    }
}

impl FromToml for f64 {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        match number(value).filter(|n| n.is_finite()) {
            Some(number) => Some(number),
            None => wrong("a number", value, at, sink),
        }
    }
}

impl FromToml for u32 {
    /// A count: a whole number, or one in quotes with a suffix.
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let count = match value {
            DeValue::String(text) => parse_number(text, Counts::Plain)
                .filter(|n| n.fract() == 0.0 && *n <= f64::from(u32::MAX))
                .map(|n| n as u32),
            other => whole(other).and_then(|n| n.try_into().ok()),
        };
        if count.is_none() {
            return wrong("a whole number from 0 to 4294967295", value, at, sink);
        }
        count
    }
}

impl FromToml for u64 {
    /// A larger count: a whole number, or one in quotes with a suffix.
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        // Every f64 below 2^53 is exact.
        let count = match value {
            DeValue::String(text) => parse_number(text, Counts::Plain)
                .filter(|n| n.fract() == 0.0 && *n < 9e15)
                .map(|n| n as u64),
            other => whole(other).and_then(|n| n.try_into().ok()),
        };
        if count.is_none() {
            return wrong("a whole number", value, at, sink);
        }
        count
    }
}

impl FromToml for Prefix {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let DeValue::String(text) = value else {
            return wrong("an address or a prefix in quotes", value, at, sink);
        };
        match text.trim().parse() {
            Ok(prefix) => Some(prefix),
            Err(error @ PrefixError::HostBits { network, .. }) => {
                let fix = format!("write \"{network}\" for the network");
                sink.error_fix(at, error.to_string(), fix);
                None
            }
            Err(PrefixError::Address(_)) => {
                let reason = format!("{} is not an IPv4 or IPv6 address", found(value));
                sink.error_fix(at, reason, at.for_example());
                None
            }
            Err(error) => {
                let reason = match quoted(text) {
                    Some(_) => error.to_string(),
                    None => "the prefix length is wrong".to_owned(),
                };
                sink.error_fix(at, reason, at.for_example());
                None
            }
        }
    }
}

/// A range of whole numbers, both ends included: `53` or `"1024-65535"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range<T> {
    /// First value.
    pub(super) first: T,
    /// Last value, not below the first.
    pub(super) last: T,
}

impl<T: Copy + TryFrom<i128> + PartialOrd> FromToml for Range<T> {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let most = (1u128 << (8 * size_of::<T>())) - 1;
        let ends = match value {
            DeValue::String(text) => {
                let (first, last) = text.split_once('-').unwrap_or((text, text));
                let digits = |text: &str| text.trim().parse::<u32>().ok().map(i128::from);
                digits(first).zip(digits(last))
            }
            other => whole(other).map(|n| (n, n)),
        };
        let Some((first, last)) =
            ends.and_then(|(a, b)| T::try_from(a).ok().zip(T::try_from(b).ok()))
        else {
            let expected = format!("a number from 0 to {most}, or a range of them in quotes");
            return wrong(&expected, value, at, sink);
        };
        if first > last {
            let reason = format!("{} begins above its end", found(value));
            sink.error(at, reason);
            return None;
        }
        Some(Self { first, last })
    }
}

/// A VLAN identifier (IEEE 802.1Q: 1 to 4094), or 0 for untagged traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vlan(pub(super) u16);

impl FromToml for Vlan {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        match whole(value).and_then(|n| u16::try_from(n).ok()).filter(|n| *n <= 4094) {
            Some(id) => Some(Self(id)),
            None => wrong("a VLAN from 1 to 4094, or 0 for untagged", value, at, sink),
        }
    }
}

/// A part of a whole: `"1%"`, as 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Share(pub(super) f64);

impl FromToml for Share {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let percent = match value {
            DeValue::String(text) => text.strip_suffix('%').map(str::trim),
            _ => None,
        };
        let percent = percent.and_then(|text| text.parse::<f64>().ok());
        match percent.filter(|percent| (0.0..=100.0).contains(percent)) {
            Some(percent) => Some(Self(percent / 100.0)),
            None => wrong("a share from \"0%\" to \"100%\"", value, at, sink),
        }
    }
}

/// An IP protocol, by number or by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Protocol(pub(super) u8);

impl FromToml for Protocol {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let DeValue::String(text) = value else {
            return match whole(value).and_then(|n| u8::try_from(n).ok()) {
                Some(number) => Some(Self(number)),
                None => wrong("a protocol name or a number from 0 to 255", value, at, sink),
            };
        };
        let named = |n: &u8| protocol::name(*n).is_some_and(|name| name.eq_ignore_ascii_case(text));
        let number = (0..=u8::MAX).find(named).or_else(|| text.parse().ok());
        if number.is_none() {
            let near = nearest(text, (0..=u8::MAX).filter_map(protocol::name));
            let fix = match near {
                Some(near) => format!("did you mean \"{near}\"? A number from 0 to 255 does too"),
                None => "use its number from 0 to 255 (IANA protocol numbers)".to_owned(),
            };
            sink.error_fix(at, format!("no protocol is known by {}", found(value)), fix);
        }
        number.map(Self)
    }
}

/// An exact set of TCP flags: `"syn"`, `"syn+ack"`, `"none"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(pub(super) u16);

impl FromToml for Flags {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        const NAMES: [(&str, u16); 8] = [
            ("fin", TcpFlags::FIN),
            ("syn", TcpFlags::SYN),
            ("rst", TcpFlags::RST),
            ("psh", TcpFlags::PSH),
            ("ack", TcpFlags::ACK),
            ("urg", TcpFlags::URG),
            ("ece", TcpFlags::ECE),
            ("cwr", TcpFlags::CWR),
        ];
        let DeValue::String(text) = value else {
            return wrong("a set of TCP flags in quotes", value, at, sink);
        };
        if text == "none" {
            return Some(Self(0));
        }
        let mut set = 0;
        for word in text.split('+').map(str::trim) {
            let Some((_, bit)) = NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(word))
            else {
                let shown = quoted(word).unwrap_or_else(|| "this".to_owned());
                let fix = "flags are fin, syn, rst, psh, ack, urg, ece and cwr, joined by +: \
                           \"syn+ack\"; \"none\" is a packet without any";
                sink.error_fix(at, format!("{shown} is not a TCP flag"), fix);
                return None;
            };
            set |= bit;
        }
        Some(Self(set))
    }
}

/// One of a few words.
pub(super) fn word<T: Copy>(
    value: &DeValue<'_>,
    words: &[(&str, T)],
    at: &Place,
    sink: &mut Sink,
) -> Option<T> {
    let names = || words.iter().map(|(name, _)| *name);
    if let DeValue::String(text) = value
        && let Some((_, meaning)) = words.iter().find(|(name, _)| name == text)
    {
        return Some(*meaning);
    }
    let list = names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
    let near = match value {
        DeValue::String(text) => nearest(text, names()),
        _ => None,
    };
    let fix = match near {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => at.for_example(),
    };
    sink.error_fix(at, format!("expected {list}, found {}", found(value)), fix);
    None
}

impl FromToml for Family {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        word(value, &[("ipv4", Self::V4), ("ipv6", Self::V6)], at, sink)
    }
}

/// Longest name of a group: it stands in every report and in metric labels.
const LONGEST_NAME: usize = 64;

/// A name: letters, digits, `-`, `_` and `.`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name(pub(super) String);

impl FromToml for Name {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let DeValue::String(text) = value else {
            return wrong("a name in quotes", value, at, sink);
        };
        let good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        let length = text.chars().count();
        if length == 0 || length > LONGEST_NAME || !text.chars().all(good) {
            let expected = format!("1 to {LONGEST_NAME} letters, digits, `-`, `_` or `.`");
            return wrong(&expected, value, at, sink);
        }
        Some(Self(text.to_string()))
    }
}

/// The typed value where it is in its range; the default where nothing was typed or it is not.
pub(super) fn within<T: PartialOrd + Copy>(
    typed: Option<&Typed<T>>,
    range: &std::ops::RangeInclusive<T>,
    words: &str,
    default: T,
    sink: &mut Sink,
) -> T {
    match typed {
        None => default,
        Some(typed) if range.contains(&typed.value) => typed.value,
        Some(typed) => {
            let reason = format!("{} is out of range: {words}", sink.typed_short(&typed.at.span));
            sink.error(&typed.at, reason);
            default
        }
    }
}
