//! Captures of BGP and of BMP, which carries BGP messages: each message is found by its marker.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use tidewall_bgp::message::{MAX_EXTENDED_MESSAGE, Message, MessageError, RawMessage};
use tidewall_bgp::update::{Update, UpdateContext, UpdateError};
use tidewall_bgp::{Nlri, RouteFamily};
use tidewall_wire::frame::{LinkType, TunnelPolicy, dissect};
use tidewall_wire::pcap::Packets;

use super::{attributes, column, corpus, csv};

/// Octets of TCP, one stream for each direction of each connection, in the order of the capture;
/// segments that were sent again are left out.
fn streams(capture: &[u8]) -> Vec<Vec<u8>> {
    let mut streams: BTreeMap<_, (u32, Vec<u8>)> = BTreeMap::new();
    for packet in Packets::new(capture).map_while(Result::ok) {
        let Ok(frame) = dissect(LinkType(packet.link_type), packet.data, &TunnelPolicy::OUTER)
        else {
            continue;
        };
        let start = frame.transport_offset as usize;
        let end = (frame.ip_offset + frame.ip_length) as usize;
        let Some(tcp) = packet.data.get(start..end.min(packet.data.len())) else { continue };
        if frame.protocol != 6 || tcp.len() < 20 {
            continue;
        }
        let sequence = u32::from_be_bytes(tcp[4..8].try_into().unwrap());
        let payload = tcp.get(usize::from(tcp[12] >> 4) * 4..).unwrap_or_default();
        if payload.is_empty() {
            continue;
        }
        let key = (frame.src, frame.dst, frame.src_port, frame.dst_port);
        let (next, stream) = streams.entry(key).or_insert((sequence, vec![]));
        let again = next.wrapping_sub(sequence);
        if again > 0 && again < 1 << 20 {
            continue;
        }
        *next = sequence.wrapping_add(payload.len() as u32);
        stream.extend(payload);
    }
    streams.into_values().map(|(_, stream)| stream).collect()
}

/// What became of the messages of a capture.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// Type and length of each.
    messages: Vec<(u8, usize)>,
    refused: Vec<String>,
    /// UPDATEs whose attributes were malformed.
    withdrawn: usize,
    routes: usize,
    malformed_routes: usize,
    /// Lists of routes that were written again with the same octets, and those that were not.
    lists_again: usize,
    lists_changed: usize,
    /// Blocks of attributes, the same.
    attributes_again: usize,
    attributes_changed: usize,
    /// Families of routes that are none of ours.
    others: BTreeSet<String>,
}

fn read(capture: &[u8]) -> Outcome {
    let mut outcome = Outcome::default();
    for stream in streams(capture) {
        let mut rest = stream.as_slice();
        while let Some(start) = rest.windows(16).position(|window| window == [0xff; 16]) {
            rest = &rest[start..];
            match RawMessage::parse(rest, MAX_EXTENDED_MESSAGE) {
                Ok(Some(raw)) => {
                    outcome.messages.push((raw.kind as u8, raw.length));
                    read_message(&raw, &mut outcome);
                    rest = &rest[raw.length..];
                }
                Ok(None) => break,
                // Octets of BMP that look like the beginning of a marker.
                Err(_) => rest = &rest[1..],
            }
        }
    }
    outcome.messages.sort_unstable();
    outcome
}

fn read_message(raw: &RawMessage<'_>, outcome: &mut Outcome) {
    let body = match raw.message() {
        Ok(Message::Update(body)) => body,
        Ok(Message::Open(open)) => {
            let mut octets = Vec::new();
            open.encode(&mut octets);
            let again = RawMessage::parse(&octets, MAX_EXTENDED_MESSAGE).unwrap().unwrap();
            assert_eq!(again.message(), Ok(Message::Open(open)));
            return;
        }
        Ok(_) => return,
        Err(error) => return outcome.refused.push(MessageError::to_string(&error)),
    };
    // Which it is was agreed on before most captures begin: the one that can be read.
    let parse =
        |four_octet_as| Update::parse(body, UpdateContext { four_octet_as, internal: true });
    let good = |update: &Result<Update<'_>, UpdateError>| {
        update.as_ref().is_ok_and(|update| update.attributes.as_path.is_some())
    };
    let update = Some(parse(true)).filter(good).unwrap_or_else(|| parse(false));
    match update {
        Err(error) => outcome.refused.push(error.to_string()),
        Ok(update) => {
            use tidewall_bgp::attribute::AttributeError::Missing;
            let fault = update.treat_as_withdraw;
            outcome.withdrawn += usize::from(fault.is_some_and(|f| !matches!(f, Missing(_))));
            for (_, route) in update.routes() {
                outcome.routes += 1;
                outcome.malformed_routes += usize::from(route.is_err());
            }
            write_again(&update, body, outcome);
        }
    }
}

/// Writes what was read, and compares the octets.
fn write_again(update: &Update<'_>, body: &[u8], outcome: &mut Outcome) {
    let v4 = RouteFamily::Ipv4Unicast.into();
    let reach = update.reach.map_or((v4, &[][..]), |reach| (reach.family, reach.nlri));
    let unreach = update.unreach.map_or((v4, &[][..]), |unreach| (unreach.family, unreach.nlri));
    for (family, octets) in [(v4, update.withdrawn), (v4, update.announced), reach, unreach] {
        let Ok(family) = RouteFamily::try_from(family) else {
            let known = NONE_OF_OURS.iter().find(|(a, s, _)| (*a, *s) == (family.afi, family.safi));
            outcome.others.insert(known.map_or_else(|| family.to_string(), |k| k.2.to_owned()));
            continue;
        };
        let routes: Result<Vec<_>, _> = Nlri::list(family, octets).collect();
        let Ok(routes) = routes else { continue };
        if routes.is_empty() {
            continue;
        }
        let mut again = Vec::new();
        for route in &routes {
            route.encode(&mut again);
        }
        let same = usize::from(again == octets);
        outcome.lists_again += same;
        outcome.lists_changed += 1 - same;
    }
    if update.treat_as_withdraw.is_some() || update.discarded > 0 {
        return;
    }
    let two_octets = update.attributes.as_path.is_some() && !is_four_octet(body);
    let mut block = Vec::new();
    update.attributes.encode(!two_octets, &mut block);
    let again = [&[0, 0], &(block.len() as u16).to_be_bytes()[..], &block].concat();
    let mut theirs = attributes(body);
    theirs.retain(|kind, _| !matches!(kind, 14 | 15));
    if theirs.is_empty() {
        return;
    }
    let same = usize::from(attributes(&again) == theirs);
    outcome.attributes_again += same;
    outcome.attributes_changed += 1 - same;
}

/// Could it be read with four octets for each AS number? Then that was done.
fn is_four_octet(body: &[u8]) -> bool {
    let context = UpdateContext { four_octet_as: true, internal: true };
    Update::parse(body, context).is_ok_and(|update| update.attributes.as_path.is_some())
}

/// Type and length of each message as tshark has them.
fn tshark(path: &Path) -> Vec<(u8, usize)> {
    let rows = csv(&fs::read_to_string(path).unwrap());
    let numbers = |name| -> Vec<usize> {
        let cells = column(&rows, name);
        cells.iter().flat_map(|c| c.split('|')).filter_map(|n| n.parse().ok()).collect()
    };
    let types = numbers("bgp.type").into_iter().map(|kind| kind as u8);
    let mut messages: Vec<_> = types.zip(numbers("bgp.length")).collect();
    messages.sort_unstable();
    messages
}

/// A capture whose messages are other than tshark's, how many of them we find, and why.
const OTHER_MESSAGES: [(&str, usize, &str); 5] = [
    ("ndpi__BGP_Cisco_hdlc_slarp", 0, "Cisco HDLC said to be PPP: the dissector sees no IP"),
    ("netgauze__unreachable-prefix-announcement-upa", 48, "tshark reads BMP of type 4 as messages"),
    (
        "netgauze__vpnv4-stateless-with-withdraw-vpnv4-stateless-with-withdraw",
        15,
        "BMP on a port that tshark does not know",
    ),
    ("tcpdump__bgp_mvpn_6_and_7_oobr", 1, "damaged: tshark counts a message of type 20"),
    ("tcpdump__bgp_vpn_rt-oobr", 3, "damaged: several segments of one sequence number"),
];

/// Captures with messages that are refused, or routes that are: how many, and why.
const REFUSED: [(&str, usize, usize, &str); 8] = [
    ("akvorado__bmp-unreach", 1, 0, "ADD-PATH, which the first messages of BMP agree on"),
    ("exabgp__vectors-flowspec", 0, 1, "an IPv6 prefix with offset, its pattern not shifted"),
    ("exabgp__vectors-unicast", 3, 0, "ADD-PATH"),
    ("ryu__flowspec_nlri_ipv6", 0, 1, "an IPv6 prefix with offset, its pattern not shifted"),
    ("tcpdump__bgp-addpath", 1, 0, "ADD-PATH"),
    ("tcpdump__bgp-bgp_capabilities_print-oobr-1", 1, 0, "damaged: version 255"),
    ("tcpdump__bgp-bgp_capabilities_print-oobr-2", 1, 0, "damaged: version 255"),
    ("tcpdump__bgp_mvpn_6_and_7_oobr", 1, 0, "damaged: attributes of 50,098 octets"),
];

/// Families that are none of ours: we announce to the routers of one network, in its main table.
const NONE_OF_OURS: [(u16, u8, &str); 16] = [
    (1, 4, "labelled IPv4"),
    (1, 5, "IPv4 MVPN"),
    (1, 73, "IPv4 SR policy"),
    (1, 85, "IPv4 MUP"),
    (1, 128, "VPNv4"),
    (1, 132, "route target"),
    (1, 134, "VPN FlowSpec IPv4"),
    (2, 4, "labelled IPv6"),
    (2, 5, "IPv6 MVPN"),
    (2, 73, "IPv6 SR policy"),
    (2, 85, "IPv6 MUP"),
    (2, 128, "VPNv6"),
    (2, 134, "VPN FlowSpec IPv6"),
    (25, 65, "VPLS"),
    (25, 70, "EVPN"),
    (25, 134, "L2VPN FlowSpec"),
];

/// Captures with routes of such families: they are passed over, and never announced.
const OTHER_FAMILIES: [(&str, &str); 27] = [
    ("akvorado__bmp-eor", "EVPN, VPNv4, VPNv6"),
    ("akvorado__bmp-reach", "EVPN, VPNv4, VPNv6"),
    ("akvorado__bmp-reach-vpls", "VPLS"),
    ("akvorado__bmp-unreach", "EVPN, VPNv4, VPNv6"),
    (
        "exabgp__vectors-evpn-l2-other",
        "IPv4 MUP, IPv4 MVPN, IPv4 SR policy, IPv6 MUP, IPv6 MVPN, IPv6 SR policy, VPLS",
    ),
    ("exabgp__vectors-flowspec", "VPN FlowSpec IPv4"),
    ("exabgp__vectors-unicast", "VPNv4, VPNv6, labelled IPv4"),
    (
        "netgauze__200-BMP-HUAWEI-locrib_instance-traffic-00",
        "VPNv4, VPNv6, labelled IPv4, labelled IPv6",
    ),
    ("netgauze__204-BMP-CISCO-peer_down-traffic-00", "VPNv4, VPNv6, labelled IPv4"),
    ("netgauze__300-BGP-IPv6-CISCO-extNH_enc-traffic-00", "VPNv4, VPNv6"),
    ("netgauze__302-BGP-IPv6-multiple-sources-traffic-00", "VPNv4, VPNv6"),
    ("netgauze__302-BGP-IPv6-multiple-sources-traffic-02", "VPNv4, VPNv6"),
    ("netgauze__305-BGP-mem-leak-test-bgp-multi-sources-update-keepalive", "VPNv4, VPNv6"),
    ("netgauze__peers-with-different-caps-example", "VPNv4, VPNv6, labelled IPv4"),
    ("netgauze__vpnv4-stateless-with-withdraw-vpnv4-stateless-with-withdraw", "VPNv4"),
    ("ryu__bgp4-update_vpnv6", "VPNv6"),
    ("ryu__evpn_esi_arbitrary", "EVPN"),
    ("ryu__evpn_esi_as_based", "EVPN"),
    ("ryu__evpn_esi_lacp", "EVPN"),
    ("ryu__evpn_nlri_eth_seg", "EVPN"),
    ("ryu__evpn_nlri_inc_multi_eth_tag", "EVPN"),
    ("ryu__flowspec_nlri_l2vpn", "L2VPN FlowSpec"),
    ("ryu__flowspec_nlri_vpn4", "VPN FlowSpec IPv4"),
    ("ryu__flowspec_nlri_vpn6", "VPN FlowSpec IPv6"),
    ("tcpdump__bgp-encap", "EVPN"),
    ("tcpdump__bgp-lu-multiple-labels", "labelled IPv4"),
    ("tcpdump__bgp-rt-prefix", "route target"),
];

/// Captures where what is written differs from what was read, how many lists of routes and blocks
/// of attributes, and why.
const WRITTEN_OTHERWISE: [(&str, usize, usize, &str); 1] =
    [("exabgp__vectors-unicast", 1, 0, "ADD-PATH: path ids read as default routes")];

/// Every route of our families, and all attributes, come out with the octets that they came in
/// with.
#[test]
fn what_is_read_of_captures_is_written_with_the_same_octets() {
    let Some(corpus) = corpus() else { return };
    let (mut lists, mut blocks) = (0, 0);
    let (mut others, mut otherwise) = (Vec::new(), Vec::new());
    for (name, path) in captures(&corpus) {
        let outcome = read(&fs::read(path).unwrap());
        lists += outcome.lists_again;
        blocks += outcome.attributes_again;
        if !outcome.others.is_empty() {
            let families: Vec<String> = outcome.others.into_iter().collect();
            others.push((name.clone(), families.join(", ")));
        }
        if outcome.lists_changed + outcome.attributes_changed > 0 {
            otherwise.push((name, outcome.lists_changed, outcome.attributes_changed));
        }
    }
    println!("{lists} lists of routes and {blocks} blocks of attributes written again");
    let others: Vec<_> = others.iter().map(|(name, of)| (name.as_str(), of.as_str())).collect();
    assert_eq!(others, OTHER_FAMILIES);
    let otherwise: Vec<_> =
        otherwise.iter().map(|(name, lists, blocks)| (name.as_str(), *lists, *blocks)).collect();
    let known: Vec<_> =
        WRITTEN_OTHERWISE.iter().map(|(name, lists, blocks, _)| (*name, *lists, *blocks)).collect();
    assert_eq!(otherwise, known);
}

/// Name and path of each capture, in order.
fn captures(corpus: &Path) -> Vec<(String, PathBuf)> {
    let files = fs::read_dir(corpus.join("bgp")).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e != "csv"))
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), path))
        .collect();
    files.sort();
    files
}

#[test]
fn messages_of_captures_are_those_of_tshark() {
    let Some(corpus) = corpus() else { return };
    let (mut messages, mut routes) = (0, 0);
    for (name, path) in captures(&corpus) {
        let name = name.as_str();
        let outcome = read(&fs::read(path).unwrap());
        let want = tshark(&corpus.join(format!("expected/bgp/{name}.bgp.csv")));
        match OTHER_MESSAGES.iter().find(|(of, ..)| *of == name) {
            Some((_, count, why)) => {
                assert_eq!(outcome.messages.len(), *count, "{name}: {why}");
                assert_ne!(outcome.messages, want, "{name} needs no exception");
            }
            None => assert_eq!(outcome.messages, want, "{name}"),
        }
        let refused = (outcome.refused.len(), outcome.malformed_routes);
        let known = REFUSED.iter().find(|(of, ..)| *of == name).map(|(_, m, r, _)| (*m, *r));
        // All three messages of this one are damaged like the one of its neighbour.
        let known = known.or((name == "tcpdump__bgp_vpn_rt-oobr").then_some((3, 0)));
        assert_eq!(refused, known.unwrap_or_default(), "{name}: {:?}", outcome.refused);
        assert_eq!(outcome.withdrawn, 0, "{name}");
        messages += outcome.messages.len();
        routes += outcome.routes;
    }
    println!("{messages} messages, {routes} routes of the families that we know");
    assert!(messages > 2_000 && routes > 600, "{messages} messages, {routes} routes");
}
