//! Messages of another announcer with the commands that make them: read, and encoded again.

use std::collections::BTreeMap;
use std::fs;

use tidewall_bgp::action::{Action, Actions};
use tidewall_bgp::message::{MAX_MESSAGE, Message, RawMessage};
use tidewall_bgp::session::Negotiated;
use tidewall_bgp::update::{Update, UpdateContext};
use tidewall_bgp::{
    AdjRibOut, FamilySet, FlowSpecRoute, Nlri, PeerProfile, Route, RouteAttributes, RouteFamily,
    UnicastRoute,
};

use super::{column, corpus, csv};

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

/// Attributes by type, the flag and form of the length aside: what order and padding do not change.
fn attributes(body: &[u8]) -> BTreeMap<u8, (u8, Vec<u8>)> {
    let word = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let start = 2 + word(0);
    let mut rest = &body[start + 2..start + 2 + word(start)];
    let mut found = BTreeMap::new();
    while let [flags, kind, ..] = *rest {
        let long = flags & 0x10 != 0;
        let (length, header) = if long {
            (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4)
        } else {
            (usize::from(rest[2]), 3)
        };
        found.insert(kind, (flags & !0x10, rest[header..header + length].to_vec()));
        rest = &rest[header + length..];
    }
    found
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
fn as_ours(update: &Update<'_>, nlri: &Nlri) -> Option<Route> {
    let read = &update.attributes;
    let (actions, extended): (Vec<_>, Vec<_>) =
        read.extended.iter().partition(|community| Action::from_extended(**community).is_some());
    let attributes = RouteAttributes {
        origin: read.origin?,
        med: read.med,
        local_pref: read.local_pref,
        prepend: 0,
        communities: read.communities.clone(),
        extended,
        large: read.large.clone(),
    };
    if !read.others.is_empty() || !read.as_path.as_ref()?.0.is_empty() {
        return None;
    }
    let next_hop = update.reach.and_then(|reach| reach.next_hop_address());
    Some(match nlri {
        Nlri::Unicast(prefix) => {
            let next_hop = read.next_hop.map(Into::into).or(next_hop)?;
            UnicastRoute::new(*prefix, next_hop, attributes).ok()?.into()
        }
        Nlri::FlowSpec(rule) => {
            let actions = actions.iter().filter_map(|c| Action::from_extended(*c));
            let actions = Actions::new(actions).ok()?;
            FlowSpecRoute::new(rule.clone(), actions, attributes).ok()?.into()
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
        restart: None,
    }
}

/// What can be ours to send goes through our tables and comes out with the same octets; only
/// `MP_REACH_NLRI` has another place, since RFC 7606 wants it first.
#[test]
fn what_is_ours_to_send_is_encoded_to_the_same_octets() {
    let (mut sent, mut same_message) = (BTreeMap::<RouteFamily, usize>::new(), 0);
    for vector in vectors("unicast").iter().chain(&vectors("flowspec")) {
        let Some((update, routes)) = update(vector) else { continue };
        let [(true, nlri)] = routes.as_slice() else { continue };
        let Some(route) = as_ours(&update, nlri) else { continue };
        let mut rib = AdjRibOut::new(65_500, PeerProfile::default());
        rib.session_up(internal());
        rib.announce(route);
        let mut out = Vec::new();
        assert!(rib.next_message(&mut out), "{}", vector.name);
        assert_eq!(out.len(), vector.octets.len(), "{}: {}", vector.name, vector.command);
        let (ours, theirs) = (&out[19..], message(vector).body);
        assert_eq!(attributes(ours), attributes(theirs), "{}: {}", vector.name, vector.command);
        let classic = nlri.family() == RouteFamily::Ipv4Unicast;
        assert_eq!(out == vector.octets, classic, "{}", vector.name);
        same_message += usize::from(out == vector.octets);
        *sent.entry(nlri.family()).or_default() += 1;
    }
    println!("{sent:?}, {same_message} messages the same to the octet");
    if corpus().is_some() {
        assert!(same_message >= 45, "{same_message}");
        assert!(sent.get(&RouteFamily::Ipv6Unicast) >= Some(&4), "{sent:?}");
        assert!(sent.get(&RouteFamily::Ipv4FlowSpec) >= Some(&6), "{sent:?}");
    }
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
