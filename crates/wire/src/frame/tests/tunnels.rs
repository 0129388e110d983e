//! Tunnels: outer by default, inner on request, outer again when the inside is not readable.

use super::*;

const OUTER: &str = "192.0.2.1 > 192.0.2.2";
const INNER_V4: &str = "10.0.0.1 > 10.0.0.2";
const INNER_V6: &str = "2001:db8:1::1 > 2001:db8:1::2";
const MACS: &str = "90e2ba833f25 90e2ba2ccb02";

pub(super) struct Case {
    pub(super) name: &'static str,
    path: &'static str,
    /// IP protocol of the outer header.
    protocol: u8,
    /// Destination port, when that is UDP.
    port: u16,
    /// Between the outer transport header (UDP) or IP header and the inner IP header.
    header: String,
    six: bool,
}

impl Case {
    pub(super) fn frame(&self) -> Vec<u8> {
        let inner = if self.six { inner_v6(6, &tcp_syn()) } else { inner_v4(6, &tcp_syn()) };
        let payload = join(&[&hex(&self.header), &inner]);
        let payload = if self.protocol == 17 { udp(49_152, self.port, &payload) } else { payload };
        ethernet(0x0800, &outer_v4(self.protocol, &payload))
    }

    fn v6(self) -> Self {
        Self { six: true, ..self }
    }
}

fn over_ip(path: &'static str, name: &'static str, protocol: u8, header: &str) -> Case {
    Case { name, path, protocol, port: 0, header: header.into(), six: false }
}

fn over_udp(path: &'static str, name: &'static str, port: u16, header: &str) -> Case {
    Case { name, path, protocol: 17, port, header: header.into(), six: false }
}

pub(super) fn cases() -> Vec<Case> {
    [gre_and_erspan(), over_ip_directly(), overlays()].into_iter().flatten().collect()
}

fn gre_and_erspan() -> Vec<Case> {
    let gre = |name, header: &str| over_ip("gre", name, 47, header);
    let erspan = |name, header: String| over_ip("erspan", name, 47, &header);
    vec![
        gre("gre", "0000 0800"),
        gre("gre ipv6", "0000 86dd").v6(),
        gre("gre key", "2000 0800 00000007"),
        gre("gre sequence", "1000 0800 00000001"),
        gre("gre checksum", "8000 0800 abcd 0000"),
        gre("gre everything", "b000 0800 abcd 0000 00000007 00000001"),
        gre("gre routing", "4000 0800 0000 0000 0800 0004 c0000203 0000 0000"),
        gre("gre bridging", &format!("2000 6558 00000100 {MACS} 0800")),
        gre("gre bridging, tagged", &format!("2000 6558 00000100 {MACS} 8100 0064 86dd")).v6(),
        gre("gre mpls", "0000 8847 000101ff"),
        gre("gre redirect", "0000 883e 00000000"),
        gre("gre cisco metadata", "0000 8909 0800 0101 0001 0000"),
        gre("gre pptp", "3081 880b 002c 0001 00000001 00000001 ff03 0021"),
        gre("gre pptp without acknowledgment", "3001 880b 002a 0001 00000001 0021"),
        erspan("erspan i", format!("0000 88be {MACS} 0800")),
        erspan("erspan ii", format!("1000 88be 00000001 1001 0001 00000000 {MACS} 0800")),
        erspan(
            "erspan iii",
            format!("1000 22eb 00000001 2001 0001 00000000 0000 0000 {MACS} 8100 0064 86dd"),
        )
        .v6(),
        erspan(
            "erspan iii with subheader",
            format!("1000 22eb 00000001 2001 0001 00000000 0000 0001 0000000000000000 {MACS} 0800"),
        ),
        erspan("erspan iii, ip", "1000 22eb 00000001 2001 0001 00000000 0000 0800".into()),
    ]
}

fn over_ip_directly() -> Vec<Case> {
    vec![
        over_ip("ipip", "ip in ip", 4, ""),
        over_ip("ipv6", "6in4", 41, "").v6(),
        over_ip("ipip", "authenticated ip in ip", 51, "04 01 0000 00000101 00000001"),
        over_ip("mpls-in-ip", "mpls in ip", 137, "000101ff"),
        over_ip("etherip", "etherip", 97, &format!("3000 {MACS} 0800")),
        over_ip("l2tpv3", "l2tpv3 ip", 115, "00000001"),
        over_ip("l2tpv3", "l2tpv3 ipv6, cookie", 115, "00000001 01020304").v6(),
        over_ip("l2tpv3", "l2tpv3 ethernet", 115, &format!("00000001 {MACS} 0800")),
        over_ip(
            "l2tpv3",
            "l2tpv3 ethernet, long cookie, sublayer",
            115,
            &format!("00000001 ffeeddccbbaa9988 40000001 {MACS} 86dd"),
        )
        .v6(),
        over_ip("l2tpv3", "l2tpv3 ppp, cookie", 115, "00000001 ffeeddcc ff03 0021"),
    ]
}

fn overlays() -> Vec<Case> {
    vec![
        over_udp("vxlan", "vxlan", 4789, &format!("0800 0000 000064 00 {MACS} 0800")),
        over_udp("vxlan", "vxlan, linux port", 8472, &format!("0800 0000 000064 00 {MACS} 86dd"))
            .v6(),
        over_udp("vxlan", "vxlan-gpe ipv4", 4790, "0c00 0001 000064 00"),
        over_udp("vxlan", "vxlan-gpe nsh", 4790, "0c00 0004 000064 00 0fc2 0202 000001ff").v6(),
        over_udp("geneve", "geneve", 6081, &format!("0000 6558 000064 00 {MACS} 0800")),
        over_udp(
            "geneve",
            "geneve with options",
            6081,
            &format!("0200 6558 000064 00 0102 0301 00000001 {MACS} 86dd"),
        )
        .v6(),
        over_udp("geneve", "geneve ip", 6081, "0000 0800 000064 00"),
        over_udp("gtp-u", "gtp-u", 2152, "30ff 003c 00000001"),
        over_udp("gtp-u", "gtp-u sequence", 2152, "32ff 0040 00000001 0001 00 00"),
        over_udp("gtp-u", "gtp-u extension", 2152, "34ff 0044 00000001 0000 00 85 01 000900"),
        over_udp(
            "gtp-u",
            "gtp-u two extensions",
            2152,
            "36ff 0048 00000001 0001 00 85 01 0009 c0 02 000000000000 00",
        )
        .v6(),
        over_udp("l2tpv2", "l2tpv2", 1701, "0002 0001 0001 ff03 0021"),
        over_udp(
            "l2tpv2",
            "l2tpv2 with everything",
            1701,
            "4a02 0050 0001 0001 0001 0002 0002 0000 ff03 0057",
        )
        .v6(),
        over_udp("l2tpv3", "l2tpv3 over udp", 1701, &format!("0003 0000 00000001 {MACS} 0800")),
        over_udp("mpls-in-udp", "mpls in udp", 6635, "000101ff").v6(),
        over_udp("teredo", "teredo", 3544, "").v6(),
        over_udp("teredo", "teredo origin", 3544, "0000 fbff 3ffffdfd").v6(),
        over_udp("teredo", "teredo authentication", 3544, "0001 0000 0102030405060708 00").v6(),
        over_udp("lisp", "lisp", 4341, "80000001 00000001"),
    ]
}

fn inside(data: &[u8], policy: TunnelPolicy) -> Frame {
    dissect(LinkType::ETHERNET, data, &policy).unwrap()
}

#[test]
fn each_tunnel_is_left_alone_or_entered_as_the_policy_says() {
    for case in cases() {
        let (data, name) = (case.frame(), case.name);
        let kept = inside(&data, TunnelPolicy::OUTER);
        assert_eq!(addresses(&kept), OUTER, "{name}");
        assert_eq!((kept.tunnels.depth(), kept.tunnels.to_string().as_str()), (0, "-"));
        let entered = inside(&data, TunnelPolicy::INNER);
        assert_eq!(addresses(&entered), if case.six { INNER_V6 } else { INNER_V4 }, "{name}");
        assert_eq!(entered.tunnels.to_string(), case.path, "{name}");
        assert_eq!((entered.dst_port, entered.tcp_flags), (80, 2), "{name}");
        assert_eq!(entered.anomalies, Anomalies::NONE, "{name}");
        let inner_length = if case.six { 60 } else { 40 };
        assert_eq!(entered.length(LengthMode::Wire, data.len() as u32), inner_length, "{name}");
        let kind = entered.tunnels.kinds().next().unwrap();
        let all_but = TunnelPolicy::INNER.staying_outside(kind);
        assert_eq!(addresses(&inside(&data, all_but)), OUTER, "{name}");
        let only = TunnelPolicy::OUTER.entering(kind);
        assert_eq!(inside(&data, only), entered, "{name}");
    }
}

#[test]
fn every_kind_has_a_vector_and_a_number_that_fits() {
    for kind in TunnelKind::ALL {
        assert!((1..16).contains(&(*kind as u8)));
        assert!(cases().iter().any(|case| case.path == kind.name()), "{kind:?}");
    }
}

fn nested(levels: usize) -> Vec<u8> {
    let mut packet = inner_v4(6, &tcp_syn());
    for _ in 0..levels {
        packet = outer_v4(4, &packet);
    }
    ethernet(0x0800, &packet)
}

#[test]
fn nesting_is_followed_to_the_limit() {
    let eight = inside(&nested(8), TunnelPolicy::INNER);
    assert_eq!((addresses(&eight).as_str(), eight.tunnels.depth()), (INNER_V4, 8));
    assert_eq!(eight.tunnels.to_string(), ["ipip"; 8].join("/"));
    let nine = inside(&nested(9), TunnelPolicy::INNER);
    assert_eq!((addresses(&nine).as_str(), nine.tunnels.depth()), (OUTER, 8));
    assert_eq!(nine.anomalies, Anomalies::TUNNEL_DEPTH);
    let two = inside(&nested(8), TunnelPolicy::INNER.with_depth(2));
    assert_eq!((two.tunnels.depth(), two.ip_offset), (2, 14 + 40));
    assert_eq!(TunnelPolicy::INNER.with_depth(99).depth(), MAX_DEPTH);
}

#[test]
fn a_mixed_path_stops_at_the_first_tunnel_to_be_left_alone() {
    let in_gre = join(&[&hex("0000 0800"), &inner_v4(4, &outer_v4(6, &tcp_syn()))]);
    let data = ethernet(0x0800, &outer_v4(47, &in_gre));
    let gre_only = inside(&data, TunnelPolicy::OUTER.entering(TunnelKind::Gre));
    assert_eq!((addresses(&gre_only).as_str(), gre_only.protocol), (INNER_V4, 4));
    let all = inside(&data, TunnelPolicy::INNER);
    assert_eq!(all.tunnels.to_string(), "gre/ipip");
    let ipip_only = inside(&data, TunnelPolicy::OUTER.entering(TunnelKind::IpInIp));
    assert_eq!(addresses(&ipip_only), OUTER);
}

#[test]
fn tags_of_the_outer_frame_stay_and_those_inside_do_not_count() {
    let vxlan = hex(&format!("0800 0000 000064 00 {MACS} 8100 00c8 0800"));
    let packet = outer_v4(17, &udp(1, 4789, &join(&[&vxlan, &inner_v4(6, &tcp_syn())])));
    let data = ethernet(0x8100, &join(&[&hex("0064 0800"), &packet]));
    let frame = inside(&data, TunnelPolicy::INNER);
    assert_eq!((frame.vlan, frame.inner_vlan, frame.vlan_tags), (100, 0, 1));
    assert_eq!(addresses(&frame), INNER_V4);
}

#[test]
fn an_unreadable_inside_counts_as_the_outer_packet() {
    let gre = |payload: &[u8]| ethernet(0x0800, &outer_v4(47, payload));
    let broken = join(&[&hex("0000 0800"), &[0x42; 20]]);
    let frame = inside(&gre(&broken), TunnelPolicy::INNER);
    assert_eq!((addresses(&frame).as_str(), frame.protocol), (OUTER, 47));
    assert_eq!(frame.anomalies, Anomalies::INNER_UNREADABLE);
    for quiet in
        ["0000 0000", "0000 0806 00000000", "0005 0800 4500", "2081 880b 0000 0001 00000001"]
    {
        let frame = inside(&gre(&hex(quiet)), TunnelPolicy::INNER);
        assert_eq!((addresses(&frame).as_str(), frame.anomalies), (OUTER, Anomalies::NONE));
    }
    for (port, control) in [
        (2152, "3201 0004 00000000 0000 0000"),
        (1701, "c802 000c 0000 0000 0000 0000"),
        (3544, "ffff 0000"),
        (6081, "4000 6558 00000000"),
    ] {
        let data = ethernet(0x0800, &outer_v4(17, &udp(port, port, &hex(control))));
        let frame = inside(&data, TunnelPolicy::INNER);
        assert_eq!((addresses(&frame).as_str(), frame.dst_port), (OUTER, port));
        assert_eq!(frame.anomalies, Anomalies::NONE, "{port}");
    }
}

#[test]
fn a_later_fragment_of_a_tunnel_is_not_entered() {
    let mut data = ethernet(0x0800, &outer_v4(4, &inner_v4(6, &tcp_syn())));
    data[21] = 0xb9;
    let frame = inside(&data, TunnelPolicy::INNER);
    assert_eq!((addresses(&frame).as_str(), frame.fragment), (OUTER, FragmentKind::Later));
}

#[test]
fn an_inner_length_is_not_believed_beyond_the_frame() {
    let mut inner = inner_v4(6, &tcp_syn());
    inner[2..4].copy_from_slice(&[0xff, 0xff]);
    let frame = inside(&ethernet(0x0800, &outer_v4(4, &inner)), TunnelPolicy::INNER);
    assert_eq!(frame.length(LengthMode::Wire, 74), 74);
    assert_eq!(frame.length(LengthMode::IpHeader, 74), 65_535);
}
