//! Captures of BGP and of BMP, which carries BGP messages: each message is found by its marker.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tidewall_bgp::message::{MAX_EXTENDED_MESSAGE, Message, MessageError, RawMessage};
use tidewall_bgp::update::{Update, UpdateContext, UpdateError};
use tidewall_wire::frame::{LinkType, TunnelPolicy, dissect};
use tidewall_wire::pcap::Packets;

use super::{column, corpus, csv};

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
        }
    }
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

#[test]
fn messages_of_captures_are_those_of_tshark() {
    let Some(corpus) = corpus() else { return };
    let mut files: Vec<_> =
        fs::read_dir(corpus.join("bgp")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut messages, mut routes) = (0, 0);
    for path in files.iter().filter(|p| p.extension().is_some_and(|e| e != "csv")) {
        let name = path.file_stem().unwrap().to_str().unwrap();
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
