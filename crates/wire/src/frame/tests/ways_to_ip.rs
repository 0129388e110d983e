//! Link types and everything that stands in front of the first IP header.

use super::*;

const V4: &str = "10.0.0.1 > 10.0.0.2";
const V6: &str = "2001:db8:1::1 > 2001:db8:1::2";
/// The same two addresses in front of every Ethernet header.
const MACS: &str = "90e2ba833f25 90e2ba2ccb02";

pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) link: LinkType,
    /// What stands in front of the IP header.
    header: String,
    /// Does IPv6 follow?
    six: bool,
    /// Outer and inner VLAN, number of tags; outermost label, number of labels.
    tags: (u16, u16, u8),
    labels: (u32, u8),
}

impl Case {
    pub(super) fn frame(&self) -> Vec<u8> {
        let packet = if self.six { inner_v6(17, &dns()) } else { inner_v4(17, &dns()) };
        join(&[&hex(&self.header), &packet])
    }

    fn v6(self) -> Self {
        Self { six: true, ..self }
    }

    fn tags(self, outer: u16, inner: u16, count: u8) -> Self {
        Self { tags: (outer, inner, count), ..self }
    }

    fn labels(self, outermost: u32, count: u8) -> Self {
        Self { labels: (outermost, count), ..self }
    }
}

fn case(name: &'static str, link: LinkType, header: impl Into<String>) -> Case {
    Case { name, link, header: header.into(), six: false, tags: (0, 0, 0), labels: (0, 0) }
}

fn ether(name: &'static str, header: &str) -> Case {
    case(name, LinkType::ETHERNET, format!("{MACS} {header}"))
}

pub(super) fn cases() -> Vec<Case> {
    [link_types(), lan_link_types(), ethernet_headers(), mpls()].into_iter().flatten().collect()
}

fn link_types() -> Vec<Case> {
    vec![
        case("raw ipv4", LinkType::RAW, ""),
        case("raw ipv6", LinkType::RAW, "").v6(),
        case("raw 12", LinkType::RAW_12, ""),
        case("raw 14", LinkType::RAW_14, "").v6(),
        case("ipv4", LinkType::IPV4, ""),
        case("ipv6", LinkType::IPV6, "").v6(),
        case("null little-endian", LinkType::NULL, "02000000"),
        case("null big-endian", LinkType::NULL, "00000002"),
        case("null linux", LinkType::NULL, "0a000000").v6(),
        case("null openbsd", LinkType::NULL, "18000000").v6(),
        case("null freebsd", LinkType::NULL, "0000001c").v6(),
        case("null darwin", LinkType::NULL, "1e000000").v6(),
        case("null ethertype", LinkType::NULL, "0f000800"),
        case("loop", LinkType::LOOP, "0000001e").v6(),
        case("ppp", LinkType::PPP, "0021"),
        case("ppp framed", LinkType::PPP, "ff03 0057").v6(),
        case("ppp compressed protocol", LinkType::PPP, "21"),
        case("ppp hdlc", LinkType::PPP_HDLC, "ff03 0021"),
        case("ppp over ethernet link type", LinkType::PPP_ETHER, "1100 0001 0026 0021"),
        case("ppp with direction", LinkType::PPP_WITH_DIR, "00 ff03 0021"),
        case("ppp mpls", LinkType::PPP, "0281 000101ff").labels(16, 1),
        case("cooked", LinkType::LINUX_SLL, "0000 0001 0006 000102030405 0000 0800"),
        case(
            "cooked tagged",
            LinkType::LINUX_SLL,
            "0000 0001 0006 000102030405 0000 8100 0064 86dd",
        )
        .v6()
        .tags(100, 0, 1),
        case(
            "cooked llc",
            LinkType::LINUX_SLL,
            "0000 0001 0006 000102030405 0000 0004 aaaa03 000000 0800",
        ),
        case("cooked 2", LinkType::LINUX_SLL2, "86dd 0000 00000002 0001 00 06 0001020304050000")
            .v6(),
        case("cisco hdlc", LinkType::C_HDLC, "0f00 0800"),
        case("frame relay", LinkType::FRELAY, "1841 03 cc"),
        case("frame relay ipv6", LinkType::FRELAY, "1841 03 8e").v6(),
        case("frame relay padded snap", LinkType::FRELAY, "1841 03 00 80 000000 0800"),
        case("frame relay cisco", LinkType::FRELAY, "1841 0800"),
        case("mpls link type", LinkType::MPLS, "000101ff").labels(16, 1),
        case("slip", LinkType::SLIP, "00".repeat(16)),
        case("ipnet", LinkType::IPNET, format!("01 02 0000 {}", "00".repeat(20))),
        case("ipnet ipv6", LinkType::IPNET, format!("01 1a 0000 {}", "00".repeat(20))).v6(),
        case("nflog", LinkType::NFLOG, "0200 0000 0500 0a00 00000000 2800 0900"),
        case("pktap", LinkType::PKTAP, format!("10000000 01000000 01000000 00000000 {MACS} 0800")),
    ]
}

fn lan_link_types() -> Vec<Case> {
    let wlan = "0801 0000 000102030405 060708090a0b 0c0d0e0f1011 0000";
    let quality = "8801 0000 000102030405 060708090a0b 0c0d0e0f1011 0000 0000";
    let snap = "aaaa03 000000 0800";
    vec![
        case("fddi", LinkType::FDDI, format!("50 {MACS} {snap}")),
        case("token ring", LinkType::TOKEN_RING, format!("1040 90e2ba833f25 10e2ba2ccb02 {snap}")),
        case(
            "token ring with routing",
            LinkType::TOKEN_RING,
            format!("1040 90e2ba833f25 80e2ba2ccb02 0600 0011 0022 {snap}"),
        ),
        case("802.11", LinkType::IEEE802_11, format!("{wlan} {snap}")),
        case("802.11 quality of service", LinkType::IEEE802_11, format!("{quality} {snap}")),
        case(
            "802.11 four addresses",
            LinkType::IEEE802_11,
            format!("0803 0000 {MACS} 0c0d0e0f1011 0000 010203040506 {snap}"),
        ),
        case(
            "802.11 aggregate",
            LinkType::IEEE802_11,
            format!(
                "8801 0000 000102030405 060708090a0b 0c0d0e0f1011 0000 8000 {MACS} 0030 {snap}"
            ),
        ),
        case(
            "radiotap",
            LinkType::IEEE802_11_RADIOTAP,
            format!("0000 0800 00000000 {wlan} {snap}"),
        ),
        case(
            "radiotap, padded body",
            LinkType::IEEE802_11_RADIOTAP,
            format!("0000 1100 03000000 0000000000000000 20 {quality} 0000 {snap}"),
        ),
    ]
}

fn ethernet_headers() -> Vec<Case> {
    let tags = |count: usize| "8100 0007 ".repeat(count) + "0800";
    vec![
        ether("ethernet ipv4", "0800"),
        ether("ethernet ipv6", "86dd").v6(),
        ether("llc snap", "0030 aaaa03 000000 0800"),
        ether("llc ip", "0027 060603"),
        ether("snap bridge-tunnel", "0030 aaaa03 0000f8 0800"),
        ether("snap bridged ethernet", &format!("003e aaaa03 0080c2 0007 {MACS} 0800")),
        ether("802.1q", "8100 a064 0800").tags(100, 0, 1),
        ether("802.1q twice", "8100 0064 8100 00c8 86dd").v6().tags(100, 200, 2),
        ether("802.1q three times", &tags(3)).tags(7, 7, 3),
        ether("802.1q four times", &tags(4)).tags(7, 7, 4),
        ether("802.1q eight times", &tags(8)).tags(7, 7, 8),
        ether("802.1ad", "88a8 0064 8100 00c8 0800").tags(100, 200, 2),
        ether("0x9100", "9100 0064 8100 00c8 0800").tags(100, 200, 2),
        ether("0x9200", "9200 0064 0800").tags(100, 0, 1),
        ether("802.1q llc", "8100 0064 0030 aaaa03 000000 0800").tags(100, 0, 1),
        ether("vn-tag", "8926 80000000 8100 0064 0800").tags(100, 0, 1),
        ether("e-tag", "893f 000000010000 0800"),
        ether("fabricpath", &format!("8903 0123 {MACS} 0800")),
        ether("provider backbone", &format!("88a8 0064 88e7 00000001 {MACS} 0800")).tags(100, 0, 1),
        ether("pppoe ipv4", "8864 1100 0001 0026 0021"),
        ether("pppoe ipv6", "8864 1100 0001 003a 0057").v6(),
        ether("pppoe mpls", "8864 1100 0001 002a 0281 000101ff").labels(16, 1),
        ether("nsh", "894f 0fc6 0101 000001ff 00000000000000000000000000000000"),
        ether("nsh ipv6", "894f 0fc2 0202 000001ff").v6(),
        ether("macsec, integrity only", "88e5 0100 00000001 0800"),
        ether("macsec with sci", "88e5 2100 00000001 000102030405 0001 0800"),
    ]
}

fn mpls() -> Vec<Case> {
    let stack = |labels: u32| {
        let entry = |n: u32| (15 + n) << 12 | if n == labels { 0x1ff } else { 0xff };
        let entries: Vec<String> = (1..=labels).map(|n| format!("{:08x}", entry(n))).collect();
        format!("8847 {}", entries.join(" "))
    };
    let mut all: Vec<Case> = (1..=10)
        .map(|n| ether("mpls", &stack(n)).labels(16, n as u8))
        .chain([16].map(|n| ether("mpls, sixteen labels", &stack(n)).labels(16, n as u8)))
        .collect();
    all.extend([
        ether("mpls ipv6", &stack(3)).v6().labels(16, 3),
        ether("mpls multicast", "8848 000101ff").labels(16, 1),
        ether("mpls explicit null", "8847 000001ff").labels(0, 1),
        ether("mpls explicit null ipv6", "8847 000021ff").v6().labels(2, 1),
        ether("mpls in a vlan", "8100 0064 8847 000101ff").tags(100, 0, 1).labels(16, 1),
        ether("pseudowire", &format!("8847 000101ff {MACS} 0800")).labels(16, 1),
        ether("pseudowire, control word", &format!("8847 000101ff 00000001 {MACS} 0800"))
            .labels(16, 1),
        ether("pseudowire like ipv4", "8847 000101ff 45e2ba833f25 90e2ba2ccb02 0800").labels(16, 1),
        ether("pseudowire like ipv6", "8847 000101ff 60e2ba833f25 90e2ba2ccb02 86dd")
            .v6()
            .labels(16, 1),
        ether("pseudowire like a control word", "8847 000101ff 0050ba833f25 90e2ba2ccb02 0800")
            .labels(16, 1),
        ether("pseudowire, tagged", &format!("8847 000101ff 00000000 {MACS} 8100 0064 0800"))
            .tags(100, 0, 1)
            .labels(16, 1),
    ]);
    all
}

#[test]
fn every_way_to_ip_is_found() {
    for case in cases() {
        let data = case.frame();
        let frame = dissect(case.link, &data, &TunnelPolicy::OUTER)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(addresses(&frame), if case.six { V6 } else { V4 }, "{}", case.name);
        assert_eq!((frame.src_port, frame.dst_port), (1000, 53), "{}", case.name);
        assert_eq!((frame.vlan, frame.inner_vlan, frame.vlan_tags), case.tags, "{}", case.name);
        assert_eq!((frame.mpls_label, frame.mpls_labels), case.labels, "{}", case.name);
        assert_eq!(frame.ip_offset as usize, data.len() - frame.ip_length as usize);
        assert_eq!(frame.anomalies, Anomalies::NONE, "{}", case.name);
        assert!(frame.tunnels.is_empty());
    }
}

#[test]
fn every_supported_link_type_has_a_vector() {
    for link in LinkType::SUPPORTED {
        assert!(cases().iter().any(|case| case.link == *link), "{link:?}");
        assert!(!matches!(
            dissect(*link, &[], &TunnelPolicy::OUTER),
            Err(FrameError::UnknownLinkType(_))
        ));
    }
    let unknown = LinkType(147);
    assert_eq!(
        dissect(unknown, &[0; 64], &TunnelPolicy::OUTER),
        Err(FrameError::UnknownLinkType(unknown))
    );
}

#[test]
fn too_many_tags_and_labels_are_refused() {
    let tagged = hex(&format!("{MACS} {} 0800 {}", "8100 0007 ".repeat(9), "00".repeat(40)));
    assert_eq!(
        outer(&tagged),
        Err(FrameError::TooManyTags { offset: 14 + 8 * 4, limit: MAX_TAGS })
    );
    let labelled = ethernet(0x8847, &hex(&"000100ff ".repeat(17)));
    assert_eq!(
        outer(&labelled),
        Err(FrameError::TooManyTags { offset: 14 + 16 * 4, limit: MAX_LABELS })
    );
    let bridged = ethernet(0x6558, &hex(&format!("{MACS} 6558 ").repeat(40)));
    assert!(matches!(
        outer(&bridged),
        Err(FrameError::TooManyTags { limit: MAX_LINK_HEADERS, .. })
    ));
}

#[test]
fn what_is_not_ip_says_what_it_is() {
    let cases = [
        (ethernet(0x0806, &[0; 28]), "not ip: arp"),
        (ethernet(0x88cc, &[0; 28]), "not ip: lldp"),
        (ethernet(0x0026, &hex("424203 0000000000")), "not ip: stp"),
        (ethernet(0x0026, &hex("aaaa03 00000c 2000 02b4")), "not ip: cdp"),
        (ethernet(0x8863, &hex("1109 0000 0000")), "not ip: pppoe discovery"),
        (ethernet(0x8864, &hex("1100 0001 0006 c021 01010004")), "not ip: lcp"),
        (ethernet(0x88e5, &hex("0d00 00000001 0102030405060708")), "not ip: encrypted"),
        (
            ethernet(0x8847, &hex("000101ff 1000 0021 00000000")),
            "link header cut: 16 bytes needed at 18, 8 there",
        ),
        (
            ethernet(0x8847, &hex(&format!("000101ff 1000 0021 {}", "00".repeat(20)))),
            "not ip: pseudowire",
        ),
        (ethernet(0x894f, &hex("0fc2 0206 000001ff")), "not ip: nsh 6"),
    ];
    for (data, words) in cases {
        assert_eq!(outer(&data).unwrap_err().to_string(), words);
    }
    let beacon = hex("8000 0000 ffffffffffff 000102030405 000102030405 0000");
    let words = dissect(LinkType::IEEE802_11, &beacon, &TunnelPolicy::OUTER).unwrap_err();
    assert_eq!(words.to_string(), "not ip: 802.11 without data");
}

#[test]
fn an_mpls_packet_from_an_address_like_an_ethertype_stays_ipv4() {
    // 8.0.0.1: its first two octets stand where an EtherType of a pseudowire would.
    let packet = v4("08004501 0a000002", 17, &dns());
    let frame = outer(&ethernet(0x8847, &join(&[&hex("000101ff"), &packet]))).unwrap();
    assert_eq!(addresses(&frame), "8.0.69.1 > 10.0.0.2");
}
