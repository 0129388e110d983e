//! Rules in octets that several implementations agree on, rules that are refused, and properties.

mod properties;

use std::cmp::Ordering;

use super::*;
use NumericOp::{AtLeast, AtMost, Greater};

fn p(text: &str) -> Component {
    Component::Destination(PrefixMatch::new(text.parse().unwrap()))
}

fn equal(values: &[u64]) -> Vec<NumericTerm> {
    values.iter().map(|value| NumericTerm::equal(*value)).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn encoded(rule: &FlowSpecRule) -> Vec<u8> {
    let mut out = Vec::new();
    rule.encode(&mut out);
    out
}

fn v4(components: impl IntoIterator<Item = Component>) -> FlowSpecRule {
    FlowSpecRule::new(Family::V4, components).unwrap()
}

/// The octets were confirmed by at least two other implementations.
#[test]
fn rules_have_the_octets_of_other_implementations() {
    let udp = || Component::Protocol(equal(&[17]));
    let tcp = || Component::Protocol(equal(&[6]));
    let unfragmented = || Component::Fragment(vec![BitmaskTerm::none(fragment::IS_FRAGMENT)]);
    let [low, high] = NumericTerm::between(1900, 1901);
    let mut memcached = equal(&[123, 389]);
    memcached.extend([low, high]);
    let syn = vec![BitmaskTerm::all(2), BitmaskTerm { not: true, ..BitmaskTerm::all(16) }.and()];
    let source = PrefixMatch::new("198.51.100.0/24".parse().unwrap());
    let length = |low, high| Component::PacketLength(NumericTerm::between(low, high).to_vec());
    for (rule, octets, words) in [
        (
            v4([p("203.0.113.30/32"), udp(), Component::SourcePort(memcached)]),
            "15 0120cb00711e 038111 06017b11018513076cd5076d",
            "match destination 203.0.113.30/32 protocol =17 \
             source-port [ =123 =389 >=1900&<=1901 ]",
        ),
        (
            v4([p("203.0.113.31/32"), tcp(), Component::TcpFlags(syn), unfragmented()]),
            "11 0120cb00711f 038106 090102c310 0c8202",
            "match destination 203.0.113.31/32 protocol =6 tcp-flags =syn&!=ack \
             fragment !is-fragment",
        ),
        (
            v4([p("203.0.113.34/32"), Component::Source(source), length(0, 40)]),
            "10 0120cb007122 0218c63364 0a0300c528",
            "match destination 203.0.113.34/32 source 198.51.100.0/24 packet-length >=0&<=40",
        ),
        (
            v4([
                p("203.0.113.35/32"),
                Component::IcmpType(equal(&[8])),
                Component::IcmpCode(equal(&[0])),
                Component::Dscp(equal(&[46])),
            ]),
            "0f 0120cb007123 078108 088100 0b812e",
            "match destination 203.0.113.35/32 icmp-type =8 icmp-code =0 dscp =46",
        ),
        (
            v4([
                p("203.0.113.10/32"),
                Component::Protocol(equal(&[17, 6])),
                Component::DestinationPort(vec![NumericTerm::new(AtLeast, 1024)]),
                Component::Dscp(equal(&[46])),
            ]),
            "12 0120cb00710a 0301118106 05930400 0b812e",
            "match destination 203.0.113.10/32 protocol [ =17 =6 ] destination-port >=1024 \
             dscp =46",
        ),
        (
            v4([
                p("203.0.113.77/32"),
                udp(),
                Component::SourcePort(equal(&[123, 389])),
                length(400, 1500),
                unfragmented(),
            ]),
            "19 0120cb00714d 038111 06017b910185 0a130190d505dc 0c8202",
            "match destination 203.0.113.77/32 protocol =17 source-port [ =123 =389 ] \
             packet-length >=400&<=1500 fragment !is-fragment",
        ),
        (
            FlowSpecRule::new(
                Family::V6,
                [
                    p("2001:db8::9/128"),
                    udp(),
                    Component::PacketLength(vec![NumericTerm::new(Greater, 1400)]),
                    Component::FlowLabel(equal(&[5])),
                ],
            )
            .unwrap(),
            "1d 018000 20010db8000000000000000000000009 038111 0a920578 0d8105",
            "match destination 2001:db8::9/128 next-header =17 packet-length >1400 flow-label =5",
        ),
    ] {
        assert_eq!(encoded(&rule), hex(octets), "{words}");
        assert_eq!(rule.to_string(), words);
        assert_eq!(FlowSpecRule::parse(rule.family(), &hex(octets)[1..]).as_ref(), Ok(&rule));
        let needs_protocol = words.contains("icmp-type");
        assert_eq!(rule.check_announceable().is_err(), needs_protocol, "{words}");
    }
}

/// 239 octets have one octet of length, 240 have two with the first nibble set.
#[test]
fn the_length_field_at_its_limits() {
    for (ports, head) in [(116_usize, &[0xef, 1][..]), (120, &[0xf0, 0xf7, 1]), (177, &[0xf1])] {
        // 1 + 2 × ports of one octet, behind 6 octets of destination.
        let list = vec![NumericTerm::equal(53); ports];
        let rule = v4([p("203.0.113.1/32"), Component::Port(list)]);
        let octets = encoded(&rule);
        assert_eq!(rule.octets(), 7 + 2 * ports);
        assert!(octets.starts_with(head), "{ports}: {:x?}", &octets[..3]);
        let mut reader = crate::reader::Reader::new(&octets);
        assert_eq!(FlowSpecRule::next(&mut reader).map(<[u8]>::len), Ok(rule.octets()));
    }
    let terms = vec![NumericTerm::equal(53); 2_048];
    let error = FlowSpecRule::new(Family::V4, [Component::Port(terms)]).unwrap_err();
    assert_eq!(error, FlowSpecError::TooLong(4_097));
}

/// One implementation repairs a length that is one short, others end the session: we refuse it.
#[test]
fn malformed_rules_are_refused_each_for_its_reason() {
    for (octets, family, want) in [
        ("", Family::V4, "no component"),
        ("038111 0120c6336404", Family::V4, "component 1 at offset 3"),
        ("038111 038106", Family::V4, "component 3 at offset 3"),
        ("0e8100", Family::V4, "type 14"),
        ("008100", Family::V4, "type 0"),
        ("0d8105", Family::V4, "type 13"),
        ("0120c6336404 038111 0681", Family::V4, "cut"),
        ("0121c633640400", Family::V4, "prefix of 33 bits"),
        ("01814020010db8", Family::V6, "prefix of 129 bits"),
        ("01404020010db8", Family::V6, "offset 64"),
        ("09a00000 0002", Family::V4, "bitmask of 4 octets"),
        ("030111", Family::V4, "cut"),
    ] {
        let error = FlowSpecRule::parse(family, &hex(octets)).unwrap_err().to_string();
        assert!(error.contains(want), "{octets}: {error}");
    }
    // `0b 0120c6336404 038111 068135`: the length says eleven of twelve.
    let short = hex("0b 0120c6336404 038111 068135");
    let mut reader = crate::reader::Reader::new(&short);
    let body = FlowSpecRule::next(&mut reader).unwrap();
    assert!(FlowSpecRule::parse(Family::V4, body).is_err());
}

/// What decoders have stumbled over: values of eight octets, reserved bits of the operator (RFC
/// 8955 §4.2.1.1: ignored), a length of nothing.
#[test]
fn unusual_operators_are_read_and_written_plainly() {
    for (octets, words, plain) in [
        ("06 b1000000000000007b", "source-port =123", "03 06817b"),
        ("03 8911", "protocol =17", "03 038111"),
        ("0c 8e02", "fragment !is-fragment", "03 0c8202"),
    ] {
        let rule = FlowSpecRule::parse(Family::V4, &hex(octets)).unwrap();
        assert_eq!(rule.to_string(), format!("match {words}"), "{octets}");
        assert_eq!(encoded(&rule), hex(plain), "{octets}");
    }
    let octets = hex("00 03 038111");
    let mut reader = crate::reader::Reader::new(&octets);
    let body = FlowSpecRule::next(&mut reader).unwrap();
    assert_eq!(FlowSpecRule::parse(Family::V4, body), Err(FlowSpecError::Empty));
    let body = FlowSpecRule::next(&mut reader).unwrap();
    assert!(FlowSpecRule::parse(Family::V4, body).is_ok(), "the next one is found");
}

#[test]
fn a_first_and_is_ignored() {
    let rule = FlowSpecRule::parse(Family::V4, &hex("03c111")).unwrap();
    assert_eq!(rule.to_string(), "match protocol =17");
    assert_eq!(encoded(&rule), hex("03 038111"));
}

/// RFC 8956 §3.1 shifts the pattern by the offset. Several implementations do not, and BIRD ends
/// the session over the other form: we read the RFC's form and announce none.
#[test]
fn offsets_are_read_as_the_rfc_has_them_and_never_announced() {
    let octets = hex("0b 014008 010db800000001 00".trim_end_matches(" 00"));
    let rule = FlowSpecRule::parse(Family::V6, &octets[1..]).unwrap();
    let prefix: Prefix = "2001:db8:0:1::/64".parse().unwrap();
    let matched = PrefixMatch::with_offset(prefix, 8).unwrap();
    assert_eq!(rule.components(), [Component::Destination(matched)]);
    assert_eq!(encoded(&rule)[1..], octets[1..]);
    assert_eq!(rule.check_announceable(), Err(NotAnnounceable::Offset(ComponentKind::Destination)));
    assert_eq!(PrefixMatch::with_offset(prefix, 64), None);
}

/// What routers refuse, ignore or never match.
#[test]
fn rules_that_are_unwise_are_not_announced() {
    let udp = || Component::Protocol(equal(&[17]));
    let ports = || equal(&[53]);
    let none = BitmaskTerm::none;
    let never = NumericTerm::new(NumericOp::Never, 1);
    for (family, components, want) in [
        (Family::V4, vec![Component::SourcePort(ports())], "without a protocol"),
        (Family::V4, vec![Component::Protocol(equal(&[1])), Component::Port(ports())], "without"),
        (Family::V4, vec![udp(), Component::TcpFlags(vec![none(2)])], "must be =6"),
        (Family::V6, vec![Component::Protocol(equal(&[1])), Component::IcmpType(ports())], "=58"),
        (
            Family::V4,
            vec![udp(), Component::Port(ports()), Component::SourcePort(ports())],
            "port together with source-port",
        ),
        // `0c 80 00`: what one announcer makes of "not a fragment"; it matches nothing.
        (Family::V4, vec![Component::Fragment(vec![BitmaskTerm::any(0)])], "always the same"),
        (Family::V6, vec![Component::Fragment(vec![none(fragment::DONT_FRAGMENT)])], "no bits 0x1"),
        (Family::V4, vec![Component::Fragment(vec![none(0x10)])], "no bits 0x10"),
        (Family::V4, vec![udp(), Component::SourcePort(vec![never])], "always the same"),
        (Family::V4, vec![udp(), Component::SourcePort(equal(&[65_536]))], "at most 65535"),
        (Family::V4, vec![Component::Dscp(equal(&[64]))], "at most 63"),
        (Family::V4, vec![Component::Protocol(equal(&[256]))], "at most 255"),
    ] {
        let rule = FlowSpecRule::new(family, components).unwrap();
        let error = rule.check_announceable().unwrap_err().to_string();
        assert!(error.contains(want), "{rule}: {error}");
    }
}

#[test]
fn rules_that_cannot_be_are_not_made() {
    let udp = || Component::Protocol(equal(&[17]));
    let made = |family, components: Vec<Component>| FlowSpecRule::new(family, components);
    assert_eq!(made(Family::V4, vec![]), Err(FlowSpecError::Empty));
    assert!(matches!(made(Family::V4, vec![udp(), udp()]), Err(FlowSpecError::Order { .. })));
    assert!(matches!(
        made(Family::V4, vec![Component::FlowLabel(equal(&[1]))]),
        Err(FlowSpecError::Kind { .. })
    ));
    assert!(matches!(
        made(Family::V6, vec![p("192.0.2.1/32")]),
        Err(FlowSpecError::PrefixFamily { .. })
    ));
    let empty = Component::Port(vec![]);
    assert_eq!(made(Family::V4, vec![empty]), Err(FlowSpecError::NoTerms(ComponentKind::Port)));
}

/// RFC 8955 §5.1.
#[test]
fn routers_look_at_rules_in_this_order() {
    let udp = || Component::Protocol(equal(&[17]));
    let port = |n| Component::Port(equal(&[n]));
    let in_order = [
        v4([p("192.0.2.1/32"), udp()]),
        v4([p("192.0.2.1/32"), port(53)]),
        v4([p("192.0.2.1/32")]),
        v4([p("192.0.2.0/24"), udp()]),
        v4([p("192.0.3.0/24"), udp(), port(53)]),
        v4([p("192.0.3.0/24"), udp(), port(123)]),
        v4([udp()]),
        v4([Component::Port(vec![
            NumericTerm::new(AtLeast, 1),
            NumericTerm::new(AtMost, 2).and(),
        ])]),
        v4([port(53), Component::Dscp(equal(&[1]))]),
        v4([port(53)]),
    ];
    for (i, a) in in_order.iter().enumerate() {
        for (j, b) in in_order.iter().enumerate() {
            assert_eq!(a.precedence(b), i.cmp(&j), "{a} against {b}");
        }
    }
    let v6 = |text: &str, offset| {
        let matched = PrefixMatch::with_offset(text.parse().unwrap(), offset).unwrap();
        FlowSpecRule::new(Family::V6, [Component::Destination(matched)]).unwrap()
    };
    let shifted = v6("::1:0/112", 96);
    assert_eq!(v6("2001:db8::/32", 0).precedence(&shifted), Ordering::Less);
}

#[test]
fn lists_are_cut_between_alternatives_only() {
    let [a, b] = NumericTerm::between(100, 200);
    let [c, d] = NumericTerm::between(300, 400);
    let rule = v4([p("192.0.2.1/32"), Component::PacketLength(vec![a, b, c, d])]);
    let parts = rule.split(239, 3).unwrap();
    let words: Vec<_> = parts.iter().map(ToString::to_string).collect();
    assert_eq!(
        words,
        [
            "match destination 192.0.2.1/32 packet-length >=100&<=200",
            "match destination 192.0.2.1/32 packet-length >=300&<=400"
        ]
    );
    assert_eq!(rule.split(239, 1), None, "a range has two terms");
    assert_eq!(rule.split(239, 4), Some(vec![rule.clone()]));
}
