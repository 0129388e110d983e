//! Routes as typed messages of the 4.x interface, for daemons that serve it without knowing the
//! binary fields (RustyBGP). GoBGP itself never needs them.

use std::net::IpAddr;

use prost::{Message, Oneof};
use tidewall_bgp::attribute::{Origin, PathAttributes};
use tidewall_bgp::community::{Community, ExtendedCommunity, LargeCommunity};
use tidewall_bgp::{Nlri as Route, RouteFamily, RouteKey};

use super::api::{Api, Family, Path};
use super::path::{Facts, no_next_hop, one_route};

/// Bits of an operator that say how long its value is.
const VALUE_LENGTH: u8 = 0x30;
const END_OF_LIST: u8 = 0x80;
const DESTINATION: u8 = 1;
const SOURCE: u8 = 2;

/// `NLRI`.
#[derive(Clone, PartialEq, Eq, Message)]
struct Nlri {
    #[prost(oneof = "OneNlri", tags = "1, 13")]
    nlri: Option<OneNlri>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
enum OneNlri {
    #[prost(message, tag = "1")]
    Prefix(IpAddressPrefix),
    #[prost(message, tag = "13")]
    FlowSpec(FlowSpecNlri),
}

#[derive(Clone, PartialEq, Eq, Message)]
struct IpAddressPrefix {
    #[prost(uint32, tag = "1")]
    prefix_len: u32,
    #[prost(string, tag = "2")]
    prefix: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct FlowSpecNlri {
    #[prost(message, repeated, tag = "1")]
    rules: Vec<FlowSpecRule>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct FlowSpecRule {
    #[prost(oneof = "OneRule", tags = "1, 3")]
    rule: Option<OneRule>,
}

#[derive(Clone, PartialEq, Eq, Oneof)]
enum OneRule {
    #[prost(message, tag = "1")]
    Prefix(FlowSpecPrefix),
    #[prost(message, tag = "3")]
    Component(FlowSpecComponent),
}

#[derive(Clone, PartialEq, Eq, Message)]
struct FlowSpecPrefix {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint32, tag = "2")]
    prefix_len: u32,
    #[prost(string, tag = "3")]
    prefix: String,
    #[prost(uint32, tag = "4")]
    offset: u32,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct FlowSpecComponent {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(message, repeated, tag = "2")]
    items: Vec<FlowSpecItem>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct FlowSpecItem {
    #[prost(uint32, tag = "1")]
    op: u32,
    #[prost(uint64, tag = "2")]
    value: u64,
}

/// `Attribute`; each of the messages in it is as simple as can be.
#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(oneof = "OneAttribute", tags = "2, 4, 5, 6, 9, 12, 14, 21")]
    attribute: Option<OneAttribute>,
}

#[derive(Clone, PartialEq, Oneof)]
enum OneAttribute {
    #[prost(message, tag = "2")]
    Origin(Number),
    #[prost(message, tag = "4")]
    NextHop(Text),
    #[prost(message, tag = "5")]
    Med(Number),
    #[prost(message, tag = "6")]
    LocalPref(Number),
    #[prost(message, tag = "9")]
    Communities(Numbers),
    #[prost(message, tag = "12")]
    MpReach(MpReach),
    #[prost(message, tag = "14")]
    Extended(ExtendedCommunities),
    #[prost(message, tag = "21")]
    Large(LargeCommunities),
}

/// A message with one number in field 1.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Number {
    #[prost(uint32, tag = "1")]
    value: u32,
}

/// A message with numbers in field 1.
#[derive(Clone, PartialEq, Eq, Message)]
struct Numbers {
    #[prost(uint32, repeated, tag = "1")]
    values: Vec<u32>,
}

/// A message with one text in field 1.
#[derive(Clone, PartialEq, Eq, Message)]
struct Text {
    #[prost(string, tag = "1")]
    value: String,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct MpReach {
    #[prost(message, optional, tag = "1")]
    family: Option<Family>,
    #[prost(string, repeated, tag = "2")]
    next_hops: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    nlris: Vec<Nlri>,
}

#[derive(Clone, PartialEq, Eq, Message)]
struct LargeCommunities {
    #[prost(message, repeated, tag = "1")]
    communities: Vec<Large>,
}

#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Large {
    #[prost(uint32, tag = "1")]
    global_admin: u32,
    #[prost(uint32, tag = "2")]
    local_data1: u32,
    #[prost(uint32, tag = "3")]
    local_data2: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ExtendedCommunities {
    #[prost(message, repeated, tag = "1")]
    communities: Vec<Extended>,
}

#[derive(Clone, PartialEq, Message)]
struct Extended {
    #[prost(oneof = "OneExtended", tags = "1, 15")]
    community: Option<OneExtended>,
}

#[derive(Clone, PartialEq, Oneof)]
enum OneExtended {
    #[prost(message, tag = "1")]
    Unknown(Unknown),
    #[prost(message, tag = "15")]
    TrafficRate(TrafficRate),
}

/// Any extended community: its first octet, and the others.
#[derive(Clone, PartialEq, Eq, Message)]
struct Unknown {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct TrafficRate {
    #[prost(uint32, tag = "1")]
    asn: u32,
    #[prost(float, tag = "2")]
    rate: f32,
}

/// First octets of the community of [`TrafficRate`].
const TRAFFIC_RATE_HIGH: u8 = 0x80;
const TRAFFIC_RATE_LOW: u8 = 0x06;

/// The path of a route in typed form; words when it cannot be said in it.
pub(super) fn typed(key: &RouteKey, facts: &Facts) -> Result<Path, &'static str> {
    let family = key.family();
    let nlri = nlri(key).ok_or("the rule has no typed form")?;
    let attributes = &facts.attributes;
    if !attributes.ipv6_extended.is_empty() {
        return Err("the daemon takes no binary routes, and redirect to IPv6 has no typed form");
    }
    let mut list = Vec::new();
    let number = |value| Number { value };
    list.extend(attributes.origin.map(|origin| OneAttribute::Origin(number(origin as u32))));
    match facts.next_hop {
        Some(address) if family == RouteFamily::Ipv4Unicast => {
            list.push(OneAttribute::NextHop(Text { value: address.to_string() }));
        }
        next_hop => {
            let next_hop = next_hop.or_else(|| no_next_hop(family, Api::V4));
            list.push(OneAttribute::MpReach(MpReach {
                family: Some(family.into()),
                next_hops: next_hop.iter().map(IpAddr::to_string).collect(),
                nlris: vec![nlri.clone()],
            }));
        }
    }
    list.extend(attributes.med.map(|value| OneAttribute::Med(number(value))));
    list.extend(attributes.local_pref.map(|value| OneAttribute::LocalPref(number(value))));
    if !attributes.communities.is_empty() {
        let values = attributes.communities.iter().map(|community| community.0).collect();
        list.push(OneAttribute::Communities(Numbers { values }));
    }
    if !attributes.extended.is_empty() {
        let communities = attributes.extended.iter().copied().map(extended).collect();
        list.push(OneAttribute::Extended(ExtendedCommunities { communities }));
    }
    if !attributes.large.is_empty() {
        let communities = attributes.large.iter().map(|community| {
            let [global_admin, local_data1, local_data2] = community.0;
            Large { global_admin, local_data1, local_data2 }
        });
        list.push(OneAttribute::Large(LargeCommunities { communities: communities.collect() }));
    }
    let octets = |attribute| Attribute { attribute: Some(attribute) }.encode_to_vec();
    Ok(Path {
        family: Some(family.into()),
        nlri: nlri.encode_to_vec(),
        pattrs: list.into_iter().map(octets).collect(),
        ..Path::default()
    })
}

fn extended(community: ExtendedCommunity) -> Extended {
    let [first, others @ ..] = community.0;
    Extended {
        community: Some(match community.0 {
            [TRAFFIC_RATE_HIGH, TRAFFIC_RATE_LOW, high, low, rate @ ..] => {
                OneExtended::TrafficRate(TrafficRate {
                    asn: u16::from_be_bytes([high, low]).into(),
                    rate: f32::from_be_bytes(rate),
                })
            }
            _ => OneExtended::Unknown(Unknown { kind: first.into(), value: others.to_vec() }),
        }),
    }
}

fn nlri(key: &RouteKey) -> Option<Nlri> {
    let one = match Route::list(key.family(), key.octets()).next()?.ok()? {
        Route::Unicast(prefix) => {
            let (address, length) = (IpAddr::from(prefix.first()), prefix.len());
            OneNlri::Prefix(IpAddressPrefix {
                prefix_len: length.into(),
                prefix: address.to_string(),
            })
        }
        Route::FlowSpec(rule) => {
            let body = key.octets().get(key.octets().len().checked_sub(rule.octets())?..)?;
            OneNlri::FlowSpec(FlowSpecNlri { rules: components(key.family(), body)? })
        }
    };
    Some(Nlri { nlri: Some(one) })
}

/// The components of a rule that our own encoder has written.
fn components(family: RouteFamily, mut body: &[u8]) -> Option<Vec<FlowSpecRule>> {
    let v6 = family == RouteFamily::Ipv6FlowSpec;
    let mut rules = Vec::new();
    while let [kind, rest @ ..] = body {
        if matches!(*kind, DESTINATION | SOURCE) {
            let (length, offset, octets) = match rest {
                [length, offset, octets @ ..] if v6 => (*length, *offset, octets),
                [length, octets @ ..] if !v6 => (*length, 0, octets),
                _ => return None,
            };
            let (address, rest) =
                octets.split_at_checked(length.checked_sub(offset)?.div_ceil(8).into())?;
            rules.push(OneRule::Prefix(FlowSpecPrefix {
                kind: (*kind).into(),
                prefix_len: length.into(),
                prefix: padded(v6, address)?.to_string(),
                offset: offset.into(),
            }));
            body = rest;
            continue;
        }
        let mut items = Vec::new();
        body = rest;
        loop {
            let (op, rest) = body.split_first()?;
            let (value, rest) = rest.split_at_checked(1 << ((op & VALUE_LENGTH) >> 4))?;
            let value = value.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet));
            items.push(FlowSpecItem { op: (op & !VALUE_LENGTH).into(), value });
            body = rest;
            if op & END_OF_LIST != 0 {
                break;
            }
        }
        rules.push(OneRule::Component(FlowSpecComponent { kind: (*kind).into(), items }));
    }
    Some(rules.into_iter().map(|rule| FlowSpecRule { rule: Some(rule) }).collect())
}

fn padded(v6: bool, octets: &[u8]) -> Option<IpAddr> {
    let mut address = [0; 16];
    address.get_mut(..octets.len())?.copy_from_slice(octets);
    let [a, b, c, d, ..] = address;
    Some(if v6 { address.into() } else { [a, b, c, d].into() })
}

/// What a path that is listed in typed form is. `None`: it cannot be read.
pub(super) fn read(family: RouteFamily, path: &Path) -> Option<(RouteKey, Facts)> {
    let octets = match Nlri::decode(&path.nlri[..]).ok()?.nlri? {
        OneNlri::Prefix(prefix) => {
            let length = u8::try_from(prefix.prefix_len).ok()?;
            prefix_octets(family, &[length], &prefix.prefix, length.div_ceil(8))?
        }
        OneNlri::FlowSpec(rule) => rule_octets(family, &rule)?,
    };
    let key = one_route(family, &octets)?;
    let mut attributes = PathAttributes::default();
    let mut next_hop = None;
    for octets in &path.pattrs {
        match Attribute::decode(&octets[..]).ok()?.attribute {
            None => {}
            Some(OneAttribute::Origin(origin)) => {
                attributes.origin = Some(match origin.value {
                    0 => Origin::Igp,
                    1 => Origin::Egp,
                    _ => Origin::Incomplete,
                });
            }
            Some(OneAttribute::NextHop(address)) => next_hop = address.value.parse().ok(),
            Some(OneAttribute::MpReach(reach)) => {
                next_hop = reach.next_hops.first().and_then(|address| address.parse().ok());
            }
            Some(OneAttribute::Med(med)) => attributes.med = Some(med.value),
            Some(OneAttribute::LocalPref(value)) => attributes.local_pref = Some(value.value),
            Some(OneAttribute::Communities(numbers)) => {
                attributes.communities = numbers.values.into_iter().map(Community).collect();
            }
            Some(OneAttribute::Extended(list)) => {
                attributes.extended = list.communities.iter().filter_map(extended_octets).collect();
            }
            Some(OneAttribute::Large(list)) => {
                let words = |c: &Large| [c.global_admin, c.local_data1, c.local_data2];
                attributes.large =
                    list.communities.iter().map(|c| LargeCommunity(words(c))).collect();
            }
        }
    }
    let next_hop = next_hop.filter(|_| !family.is_flow_spec());
    Some((key, Facts { attributes, next_hop }.in_order()))
}

fn extended_octets(community: &Extended) -> Option<ExtendedCommunity> {
    Some(ExtendedCommunity(match community.community.as_ref()? {
        OneExtended::Unknown(unknown) => {
            let first = u8::try_from(unknown.kind).ok()?;
            [&[first], &unknown.value[..]].concat().try_into().ok()?
        }
        OneExtended::TrafficRate(rate) => {
            let [high, low] = u16::try_from(rate.asn).unwrap_or(0).to_be_bytes();
            let [a, b, c, d] = rate.rate.to_be_bytes();
            [TRAFFIC_RATE_HIGH, TRAFFIC_RATE_LOW, high, low, a, b, c, d]
        }
    }))
}

/// `head`, then the first octets of an address.
fn prefix_octets(family: RouteFamily, head: &[u8], address: &str, count: u8) -> Option<Vec<u8>> {
    let mut octets = head.to_vec();
    let count = usize::from(count);
    match (address.parse().ok()?, family) {
        (IpAddr::V4(address), RouteFamily::Ipv4Unicast | RouteFamily::Ipv4FlowSpec) => {
            octets.extend(address.octets().get(..count)?);
        }
        (IpAddr::V6(address), RouteFamily::Ipv6Unicast | RouteFamily::Ipv6FlowSpec) => {
            octets.extend(address.octets().get(..count)?);
        }
        _ => return None,
    }
    Some(octets)
}

fn rule_octets(family: RouteFamily, rule: &FlowSpecNlri) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    for rule in &rule.rules {
        match rule.rule.as_ref()? {
            OneRule::Prefix(prefix) => {
                let kind = u8::try_from(prefix.kind).ok()?;
                let length = u8::try_from(prefix.prefix_len).ok()?;
                let offset = u8::try_from(prefix.offset).ok()?;
                let head = [kind, length, offset];
                let head = if family == RouteFamily::Ipv6FlowSpec { &head[..] } else { &head[..2] };
                let count = length.checked_sub(offset)?.div_ceil(8);
                body.extend(prefix_octets(family, head, &prefix.prefix, count)?);
            }
            OneRule::Component(component) => {
                body.push(u8::try_from(component.kind).ok()?);
                for (index, item) in component.items.iter().enumerate() {
                    let last = index + 1 == component.items.len();
                    let op = u8::try_from(item.op).ok()? & !(VALUE_LENGTH | END_OF_LIST);
                    let bytes = item.value.to_be_bytes();
                    let power = match item.value {
                        0..=0xff => 0u8,
                        0x100..=0xffff => 1,
                        0x1_0000..=0xffff_ffff => 2,
                        _ => 3,
                    };
                    body.push(op | power << 4 | if last { END_OF_LIST } else { 0 });
                    body.extend(bytes.get(8 - (1 << power)..)?);
                }
            }
        }
    }
    let mut octets = match u8::try_from(body.len()) {
        Ok(length) if length < 240 => vec![length],
        _ => (0xf000 | u16::try_from(body.len()).ok()?).to_be_bytes().to_vec(),
    };
    octets.extend(body);
    Some(octets)
}

#[cfg(test)]
mod tests {
    use tidewall_bgp::action::{Action, Actions, Rate, RouteTarget};
    use tidewall_bgp::flowspec::{self, BitmaskTerm, Component, NumericTerm, PrefixMatch};
    use tidewall_bgp::{FlowSpecRoute, RouteAttributes, UnicastRoute};
    use tidewall_model::Family as Ip;

    use super::super::path::Announcement;
    use super::*;

    const TAG: Community = Community(0xfc00_0001);

    fn every_component(family: Ip, prefix: &str) -> tidewall_bgp::Route {
        let prefix = PrefixMatch::new(prefix.parse().unwrap());
        let rule = flowspec::FlowSpecRule::new(
            family,
            [
                Component::Destination(prefix),
                Component::Source(prefix),
                Component::Protocol(vec![NumericTerm::equal(6)]),
                Component::SourcePort(vec![NumericTerm::equal(53), NumericTerm::equal(389)]),
                Component::PacketLength(NumericTerm::between(400, 1_500).to_vec()),
                Component::TcpFlags(vec![BitmaskTerm::all(2), BitmaskTerm::none(16).and()]),
                Component::Fragment(vec![BitmaskTerm::none(2)]),
            ],
        );
        let target = Action::Redirect(RouteTarget::As2(65_001, 100));
        let limit = Action::RateBytes(Rate::new(125_000.0).unwrap());
        let actions = Actions::new([target, limit]).unwrap();
        FlowSpecRoute::new(rule.unwrap(), actions, RouteAttributes::default()).unwrap().into()
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let attributes = RouteAttributes {
            med: Some(7),
            local_pref: Some(200),
            communities: vec![Community::BLACKHOLE],
            extended: vec!["target:65001:100".parse().unwrap()],
            large: vec!["65001:666:1".parse().unwrap()],
            ..Default::default()
        };
        let unicast = |prefix: &str, next_hop: &str| {
            let (prefix, next_hop) = (prefix.parse().unwrap(), next_hop.parse().unwrap());
            UnicastRoute::new(prefix, next_hop, attributes.clone()).unwrap().into()
        };
        for route in [
            unicast("198.51.100.0/25", "10.99.0.1"),
            unicast("2001:db8::/33", "100::1"),
            every_component(Ip::V4, "198.51.100.0/25"),
            every_component(Ip::V6, "2001:db8::/33"),
        ] {
            let sent = Announcement::of(&route, TAG).unwrap();
            let path = typed(&sent.key, &sent.facts).unwrap();
            assert!(path.nlri_binary.is_empty() && !path.nlri.is_empty());
            let (key, facts) = read(route.family(), &path).unwrap();
            assert_eq!(key, route.key(), "{key} instead of {route}");
            assert_eq!(facts, sent.facts);
        }
    }

    /// Octets worked out by hand from the numbers of the fields.
    #[test]
    fn a_prefix_and_a_component_in_octets() {
        let attributes = RouteAttributes::default();
        let prefix = "198.51.100.1/32".parse().unwrap();
        let route = UnicastRoute::new(prefix, [10, 99, 0, 1].into(), attributes).unwrap();
        let sent = Announcement::of(&route.into(), TAG).unwrap();
        let path = typed(&sent.key, &sent.facts).unwrap();
        assert_eq!(path.nlri, [&[10, 16, 8, 32, 0x12, 12][..], b"198.51.100.1"].concat());
        assert_eq!(path.pattrs[0], [0x12, 0], "ORIGIN IGP is a message without fields");
        assert_eq!(path.pattrs[1], [&[0x22, 11, 10, 9][..], b"10.99.0.1"].concat());
        let communities = [0x4a, 7, 10, 5, 0x81, 0x80, 0x80, 0xe0, 0x0f];
        assert_eq!(path.pattrs[2], communities);
        let item = FlowSpecItem { op: 0x81, value: 17 };
        let component = FlowSpecComponent { kind: 3, items: vec![item] };
        let octets = [8, 3, 0x12, 5, 8, 0x81, 1, 0x10, 17];
        assert_eq!(component.encode_to_vec(), octets);
    }

    #[test]
    fn garbage_is_none_of_ours() {
        let path = |nlri: Nlri| Path { nlri: nlri.encode_to_vec(), ..Path::default() };
        let prefix = |prefix_len, prefix: &str| {
            let prefix = IpAddressPrefix { prefix_len, prefix: prefix.into() };
            path(Nlri { nlri: Some(OneNlri::Prefix(prefix)) })
        };
        let family = RouteFamily::Ipv4Unicast;
        assert!(read(family, &prefix(32, "192.0.2.1")).is_some());
        for (length, address) in [(33, "192.0.2.1"), (32, "::1"), (32, "x"), (1 << 20, "::")] {
            assert_eq!(read(family, &prefix(length, address)), None, "{address}/{length}");
        }
        let any = Path { nlri: b"\x0a\x05type.".to_vec(), ..Path::default() };
        assert_eq!(read(family, &any), None, "an Any of the 3.x interface");
        let item = FlowSpecItem { op: 1 << 20, value: 1 };
        let component = OneRule::Component(FlowSpecComponent { kind: 3, items: vec![item] });
        let rules = vec![FlowSpecRule { rule: Some(component) }];
        let rule = Nlri { nlri: Some(OneNlri::FlowSpec(FlowSpecNlri { rules })) };
        assert_eq!(read(RouteFamily::Ipv4FlowSpec, &path(rule)), None);
    }
}
