//! Templates and records of options in words, for those who want to see all that an exporter sends.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};

use tidewall_wire::netflow::{
    Element, Field, FieldSpec, Protocol, REVERSE_ENTERPRISE, Record, Role, Template, read_float,
};

/// `260: sourceIPv4Address(4) octetDeltaCount(8) ...`; scopes are marked, and elements without a
/// name are enterprise/number.
pub(super) fn template(template: &Template) -> String {
    let mut text = format!("{}:", template.id());
    for (index, spec) in template.fields().iter().enumerate() {
        let scope = index < usize::from(template.scope_count());
        text.push_str(if scope { " scope:" } else { " " });
        text.push_str(&name(template.protocol(), *spec, scope));
        let written = if spec.is_variable() {
            write!(text, "(variable)")
        } else {
            write!(text, "({})", spec.length)
        };
        debug_assert!(written.is_ok(), "a string takes everything");
    }
    text
}

fn name(protocol: Protocol, spec: FieldSpec, scope: bool) -> String {
    let known = match (protocol, spec.enterprise) {
        (Protocol::V9, _) if scope => Element::of_v9_scope(spec.element),
        (_, 0 | REVERSE_ENTERPRISE) => Element::of(spec.element),
        _ => None,
    };
    match known {
        Some(element) if spec.enterprise == REVERSE_ENTERPRISE => {
            format!("reverse:{}", element.name())
        }
        Some(element) => element.name().to_owned(),
        None => format!("{}/{}", spec.enterprise, spec.element),
    }
}

/// `samplerId=1 samplingInterval=1000 ...`: the known elements and their values.
pub(super) fn options(id: u16, record: &Record<'_, '_>) -> String {
    let mut text = format!("{id}:");
    for field in record.fields() {
        let scope = if field.role == Role::Scope { " scope:" } else { " " };
        let name = field.element.name().replace(' ', "");
        let written = write!(text, "{scope}{name}={}", value(&field));
        debug_assert!(written.is_ok(), "a string takes everything");
    }
    text
}

fn value(field: &Field<'_>) -> String {
    match field.element {
        Element::InterfaceName | Element::InterfaceDescription | Element::SamplerName => {
            name_in(field.value)
        }
        Element::SamplingProbability => {
            read_float(field.value).map_or_else(|| hex(field.value), |share| share.to_string())
        }
        Element::SourceIpv4Address
        | Element::DestinationIpv4Address
        | Element::IpNextHopIpv4Address
        | Element::BgpNextHopIpv4Address
        | Element::ExporterIpv4Address => <[u8; 4]>::try_from(field.value)
            .map_or_else(|_| hex(field.value), |bytes| Ipv4Addr::from(bytes).to_string()),
        _ if field.value.len() == 16 => <[u8; 16]>::try_from(field.value)
            .map_or_else(|_| hex(field.value), |bytes| Ipv6Addr::from(bytes).to_string()),
        _ => field.uint().map_or_else(|| hex(field.value), |number| number.to_string()),
    }
}

/// A name up to its first zero byte, or whole where it has none. What a terminal would obey is
/// escaped.
fn name_in(bytes: &[u8]) -> String {
    let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
    format!("\"{}\"", String::from_utf8_lossy(name).escape_debug())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
