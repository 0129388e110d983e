//! Messages of another announcer with the commands that make them: read, and encoded again.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;

use tidewall_bgp::action::{Action, Actions};
use tidewall_bgp::community::ExtendedCommunity;
use tidewall_bgp::message::{MAX_MESSAGE, Message, RawMessage};
use tidewall_bgp::session::{Negotiated, PeerRestart};
use tidewall_bgp::update::{Update, UpdateContext};
use tidewall_bgp::{
    AdjRibOut, FamilySet, FlowSpecRoute, Nlri, PeerProfile, Route, RouteAttributes, RouteFamily,
    RouteKey, UnicastRoute,
};
use tidewall_model::Family;

use super::{attributes, column, corpus, csv};

const CONTEXT: UpdateContext = UpdateContext { four_octet_as: true, internal: true };

struct Vector {
    name: String,
    command: String,
    octets: Vec<u8>,
    json: String,
}

fn vectors(file: &str) -> Vec<Vector> {
    let Some(corpus) = corpus() else { return vec![] };
    let rows =
        csv(&fs::read_to_string(corpus.join(format!("bgp/exabgp__vectors-{file}.csv"))).unwrap());
    let [frames, commands, hex, json] =
        ["frame", "command", "raw_hex", "origin_json"].map(|name| column(&rows, name));
    let vectors = frames.into_iter().zip(commands).zip(hex).zip(json);
    vectors
        .map(|(((frame, command), hex), json)| {
            let digit = |c: &u8| (*c as char).to_digit(16).unwrap() as u8;
            let octets = hex.as_bytes().chunks(2).map(|p| digit(&p[0]) << 4 | digit(&p[1]));
            let octets = octets.collect();
            Vector { name: format!("{file} {frame}"), command, octets, json }
        })
        .collect()
}

fn message(vector: &Vector) -> RawMessage<'_> {
    let raw = RawMessage::parse(&vector.octets, MAX_MESSAGE).unwrap().unwrap();
    assert_eq!(raw.length, vector.octets.len(), "{}", vector.name);
    raw
}

/// The routes of a message, and whether it announces them; `None` for other families.
fn update(vector: &Vector) -> Option<(Update<'_>, Vec<(bool, Nlri)>)> {
    let raw = message(vector);
    let Ok(Message::Update(_)) = raw.message() else { return None };
    // A bare AS path of ADD-PATH vectors cannot be read: their routes have four octets more.
    let update = Update::parse(raw.body, CONTEXT).ok()?;
    let routes: Result<Vec<_>, _> =
        update.routes().map(|(announced, nlri)| nlri.map(|nlri| (announced, nlri))).collect();
    Some((update, routes.ok()?))
}

#[test]
fn every_vector_is_read_but_those_that_need_what_we_refuse() {
    let mut unread = Vec::new();
    let files = ["unicast", "flowspec", "evpn-l2-other"];
    let all: Vec<Vector> = files.into_iter().flat_map(vectors).collect();
    for vector in &all {
        let is_update = matches!(message(vector).message().unwrap(), Message::Update(_));
        match update(vector) {
            None if is_update => unread.push(vector.name.as_str()),
            None => {}
            Some((update, _)) => {
                assert_eq!(
                    (update.treat_as_withdraw, update.discarded),
                    (None, 0),
                    "{}",
                    vector.name
                );
            }
        }
    }
    if all.is_empty() {
        return;
    }
    // Three of ADD-PATH, and an IPv6 prefix with offset whose pattern is not shifted.
    assert_eq!(unread, ["unicast 77", "unicast 78", "unicast 79", "flowspec 23"]);
    assert_eq!(all.len(), 130);
}

/// The announcer's own description holds every prefix that we read.
#[test]
fn prefixes_are_those_of_the_announcer() {
    let mut compared = 0;
    for vector in vectors("unicast").iter().filter(|vector| vector.json.contains("ipv4 unicast")) {
        let Some((_, routes)) = update(vector) else { continue };
        // Routes with a path id are read as something else: see the test above.
        if vector.command.contains("path-information") {
            continue;
        }
        for (_, route) in routes {
            let want = format!("\"nlri\":\"{route}\"");
            assert!(vector.json.contains(&want), "{}: {want} in {}", vector.name, vector.json);
            compared += 1;
        }
    }
    assert!(corpus().is_none() || compared > 40, "{compared}");
}

/// A route as our owner would have it, from what another announcer sent to a peer of its own AS.
fn as_ours(update: &Update<'_>, nlri: &Nlri) -> Result<Route, String> {
    let read = &update.attributes;
    let next_hop = update.reach.and_then(|reach| reach.next_hop_address());
    let action = |community: &ExtendedCommunity| {
        // In the older form of a redirect the address is the next hop.
        let older = |address| Action::RedirectToNextHop { address, copy: community.0[7] & 1 != 0 };
        let is_older = community.kind() == 0x0800;
        if is_older { next_hop.map(older) } else { Action::from_extended(*community) }
    };
    let extended = read.extended.iter().filter(|c| action(c).is_none()).copied().collect();
    let attributes = RouteAttributes {
        origin: read.origin.ok_or("no origin")?,
        med: read.med,
        local_pref: read.local_pref,
        prepend: 0,
        communities: read.communities.clone(),
        extended,
        large: read.large.clone(),
    };
    if let Some(other) = read.others.first() {
        return Err(format!("attribute {}", other.kind));
    }
    if read.as_path.as_ref().is_none_or(|path| !path.0.is_empty()) {
        return Err("a path of other ASes".to_owned());
    }
    Ok(match nlri {
        Nlri::Unicast(prefix) => {
            let next_hop = read.next_hop.map(Into::into).or(next_hop).ok_or("no next hop")?;
            let route = UnicastRoute::new(*prefix, next_hop, attributes);
            route.map_err(|error| error.to_string())?.into()
        }
        Nlri::FlowSpec(rule) => {
            let actions = read.extended.iter().filter_map(action);
            let actions = Actions::new(actions).map_err(|error| error.to_string())?;
            let route = FlowSpecRoute::new(rule.clone(), actions, attributes);
            route.map_err(|error| error.to_string())?.into()
        }
    })
}

fn internal() -> Negotiated {
    Negotiated {
        peer_as: 65_500,
        router_id: [10, 0, 0, 1].into(),
        hold_time: 90,
        families: FamilySet::ALL,
        four_octet_as: true,
        enhanced_refresh: false,
        max_message: MAX_MESSAGE,
        restart: Some(PeerRestart {
            families: FamilySet::ALL,
            time: 120,
            restarting: false,
            on_notification: true,
        }),
    }
}

fn next_messages(rib: &mut AdjRibOut) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    loop {
        let mut out = Vec::new();
        if !rib.next_message(&mut out) {
            return messages;
        }
        messages.push(out);
    }
}

/// Our messages for what a vector says, or why it is none of ours to send.
fn ours(vector: &Vector) -> Result<Vec<Vec<u8>>, String> {
    if !matches!(message(vector).message(), Ok(Message::Update(_))) {
        return Err(NO_UPDATE.to_owned());
    }
    let (update, routes) = update(vector).ok_or(UNREAD)?;
    let mut rib = AdjRibOut::new(65_500, PeerProfile::default());
    rib.session_up(internal());
    if let Some(family) = update.end_of_rib() {
        if RouteFamily::try_from(family).is_err() {
            return Err(OTHER_END.to_owned());
        }
        rib.desired_is_complete();
        return Ok(next_messages(&mut rib));
    }
    if routes.is_empty() {
        let other = update.reach.is_some() || update.unreach.is_some();
        let why = if other { OTHER_FAMILY } else { "no route" };
        return Err(why.to_owned());
    }
    if vector.command.contains("path-information") {
        return Err("ADD-PATH".to_owned());
    }
    if routes.iter().all(|(announced, _)| *announced) {
        for (_, nlri) in &routes {
            rib.announce(as_ours(&update, nlri)?);
        }
        return Ok(next_messages(&mut rib));
    }
    // What is withdrawn was announced before, with whatever attributes.
    for (_, nlri) in &routes {
        let attributes = RouteAttributes::default();
        rib.announce(match nlri {
            Nlri::Unicast(prefix) => {
                let hop: IpAddr = match prefix.family() {
                    Family::V4 => [192, 0, 2, 1].into(),
                    Family::V6 => "2001:db8::1".parse().unwrap(),
                };
                UnicastRoute::new(*prefix, hop, attributes)
                    .map_err(|error| error.to_string())?
                    .into()
            }
            Nlri::FlowSpec(rule) => {
                FlowSpecRoute::new(rule.clone(), Actions::discard(), attributes)
                    .map_err(|error| error.to_string())?
                    .into()
            }
        });
    }
    next_messages(&mut rib);
    for (_, nlri) in &routes {
        rib.withdraw(&RouteKey::new(nlri));
    }
    Ok(next_messages(&mut rib))
}

/// Withdrawn and announced routes outside of the attributes.
fn classic(body: &[u8]) -> (&[u8], &[u8]) {
    let word = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let withdrawn = &body[2..2 + word(0)];
    let end = 2 + withdrawn.len();
    (withdrawn, &body[end + 2 + word(end)..])
}

/// VPN, labelled and the like.
const OTHER_FAMILY: &str = "a family that is none of ours";
const OTHER_END: &str = "End-of-RIB of a family that is none of ours";
const UNREAD: &str = "cannot be read: see the test above";
const NO_UPDATE: &str = "no UPDATE";

/// Vectors that we never send, and why; besides those of MUP, MVPN, VPLS and SR policy, all of
/// which are of other families.
const NOT_OURS: [(&str, &str); 30] = [
    ("unicast 10", OTHER_END),
    ("unicast 11", "ADD-PATH"),
    ("unicast 13", OTHER_FAMILY),
    ("unicast 14", OTHER_END),
    ("unicast 16", "a path of other ASes"),
    ("unicast 23", "no route"),
    ("unicast 35", "ADD-PATH"),
    ("unicast 41", NO_UPDATE),
    ("unicast 46", NO_UPDATE),
    ("unicast 50", OTHER_FAMILY),
    ("unicast 51", NO_UPDATE),
    ("unicast 52", OTHER_FAMILY),
    ("unicast 53", "next hop 255.255.255.255 cannot be used: it is a group"),
    ("unicast 54", NO_UPDATE),
    ("unicast 64", "attribute 153"),
    ("unicast 68", NO_UPDATE),
    ("unicast 76", OTHER_END),
    ("unicast 77", UNREAD),
    ("unicast 78", UNREAD),
    ("unicast 79", UNREAD),
    ("unicast 82", OTHER_FAMILY),
    ("unicast 83", OTHER_FAMILY),
    (
        "unicast 84",
        "next hop bad:cafe:bad:cafe:bad:cafe:bad:cafe for 153.153.153.153/32: it must be IPv4",
    ),
    (
        "unicast 85",
        "next hop 170.170.170.170 for dead:beef:dead:beef:dead:beef:dead:beef/128: it must be IPv6",
    ),
    ("flowspec 14", "tcp-flags without a protocol, which must be =6"),
    ("flowspec 15", "tcp-flags without a protocol, which must be =6"),
    ("flowspec 18", "port together with destination-port, which several routers refuse"),
    ("flowspec 20", OTHER_FAMILY),
    ("flowspec 21", "port together with destination-port, which several routers refuse"),
    ("flowspec 23", UNREAD),
];

/// What can be ours to send goes through our tables and comes out with the same octets; only
/// `MP_REACH_NLRI` has another place, since RFC 7606 wants it first. All others are listed.
#[test]
fn what_is_ours_to_send_is_encoded_to_the_same_octets() {
    let (mut sent, mut same) = (BTreeMap::<&str, usize>::new(), 0);
    let mut none_of_ours = Vec::new();
    let files = ["unicast", "flowspec", "evpn-l2-other"];
    let all: Vec<Vector> = files.into_iter().flat_map(vectors).collect();
    for vector in &all {
        let messages = match ours(vector) {
            Ok(messages) => messages,
            Err(why) => {
                none_of_ours.push((vector.name.as_str(), why));
                continue;
            }
        };
        *sent.entry(vector.name.split(' ').next().unwrap()).or_default() += 1;
        if messages.contains(&vector.octets) {
            same += 1;
            continue;
        }
        let theirs = message(vector).body;
        let mut wanted = attributes(theirs);
        if wanted.contains_key(&15) {
            // One withdrawal carries attributes besides, which are for nothing.
            wanted.retain(|kind, _| *kind == 15);
        }
        let equal = |ours: &&Vec<u8>| {
            attributes(&ours[19..]) == wanted && classic(&ours[19..]) == classic(theirs)
        };
        let ours = messages.iter().find(equal);
        let ours = ours.unwrap_or_else(|| panic!("{}: {messages:x?}", vector.name));
        // Only the place of MP_REACH_NLRI differs, or the octets that a length takes.
        assert!(ours.len() <= vector.octets.len(), "{}", vector.name);
        let moved = wanted.keys().any(|kind| matches!(kind, 14 | 15));
        assert!(moved, "{}: only families in attributes may differ", vector.name);
    }
    if all.is_empty() {
        return;
    }
    println!("{sent:?}, {same} messages the same to the octet");
    let (of_others, none_of_ours): (Vec<_>, Vec<_>) = none_of_ours
        .iter()
        .map(|(name, why)| (*name, why.as_str()))
        .partition(|(name, _)| name.starts_with("evpn-l2-other"));
    assert_eq!(of_others.len(), 22);
    assert!(of_others.iter().all(|(_, why)| [OTHER_FAMILY, OTHER_END].contains(why)));
    assert_eq!(none_of_ours, NOT_OURS);
}

/// Also rules that we would not announce, and attributes that we do not know.
#[test]
fn everything_read_is_encoded_to_the_same_octets() {
    let mut compared = 0;
    for vector in
        vectors("unicast").iter().chain(&vectors("flowspec")).chain(&vectors("evpn-l2-other"))
    {
        let Some((update, routes)) = update(vector) else { continue };
        if vector.command.contains("path-information") {
            continue;
        }
        for (announced, octets) in [
            (false, update.withdrawn),
            (true, update.announced),
            (true, update.reach.map(|reach| reach.nlri).unwrap_or_default()),
            (false, update.unreach.map(|unreach| unreach.nlri).unwrap_or_default()),
        ] {
            let mut again = Vec::new();
            let of = |(a, _): &&(bool, Nlri)| *a == announced;
            routes.iter().filter(of).for_each(|(_, nlri)| nlri.encode(&mut again));
            let known = routes.iter().any(|(a, _)| *a == announced);
            let only_one_list = octets.len() == again.len();
            if known && only_one_list {
                assert_eq!(again, octets, "{}", vector.name);
                compared += 1;
            }
        }
        let mut block = Vec::new();
        update.attributes.encode(true, &mut block);
        let body = [&[0, 0], &(block.len() as u16).to_be_bytes()[..], &block].concat();
        let mut theirs = attributes(message(vector).body);
        theirs.retain(|kind, _| !matches!(kind, 14 | 15));
        assert_eq!(attributes(&body), theirs, "{}", vector.name);
    }
    assert!(corpus().is_none() || compared > 80, "{compared}");
}
