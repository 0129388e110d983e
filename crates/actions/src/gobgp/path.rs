//! Routes as paths of the daemon, in their binary form, and back: what is sent, and what a listed
//! path says, in a form in which the two can be compared.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidewall_bgp::attribute::{OtherAttribute, PathAttributes, flags, kind};
use tidewall_bgp::community::Community;
use tidewall_bgp::flowspec::MAX_ANNOUNCED_OCTETS;
use tidewall_bgp::update::{Update, UpdateContext};
use tidewall_bgp::{AfiSafi, Nlri, Route, RouteFamily, RouteKey};
use tidewall_model::Family;

use super::api::{Api, Path};

/// A route as it is given to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) key: RouteKey,
    pub(super) facts: Facts,
}

/// What is compared: attributes in order, without those that the daemon adds by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) attributes: PathAttributes,
    /// Of FlowSpec rules: none, for daemons forget it.
    pub(super) next_hop: Option<IpAddr>,
}

impl Announcement {
    /// The route with our tag; words when a path of the daemon cannot say it.
    pub(super) fn of(route: &Route, tag: Community) -> Result<Self, String> {
        let (attributes, next_hop, actions) = match route {
            Route::Unicast(route) => (route.attributes(), Some(route.next_hop()), None),
            Route::FlowSpec(rule) => (rule.attributes(), None, Some(rule.actions())),
        };
        if attributes.prepend > 0 {
            return Err("the AS path cannot be prepended here: the path would carry the daemon's \
                        own AS number, and its iBGP neighbours would refuse it as a loop; use an \
                        export policy of GoBGP (set-as-prepend)"
                .into());
        }
        if let Route::FlowSpec(rule) = route
            && rule.rule().octets() > MAX_ANNOUNCED_OCTETS
        {
            let octets = rule.rule().octets();
            return Err(format!(
                "the rule has {octets} octets; above {MAX_ANNOUNCED_OCTETS}, routers end the session"
            ));
        }
        let mut extended = attributes.extended.clone();
        let mut ipv6_extended = Vec::new();
        if let Some(actions) = actions {
            if actions.next_hop().is_some() {
                return Err("redirect to the next hop cannot be said here: GoBGP sends FlowSpec \
                            rules without a next hop; use redirect to an address"
                    .into());
            }
            let (plain, ipv6) = actions.communities();
            extended.extend(plain);
            ipv6_extended = ipv6;
        }
        let mut communities = attributes.communities.clone();
        communities.push(tag);
        let attributes = PathAttributes {
            origin: Some(attributes.origin),
            med: attributes.med,
            local_pref: attributes.local_pref,
            communities,
            extended,
            ipv6_extended,
            large: attributes.large.clone(),
            ..PathAttributes::default()
        };
        let facts = Facts { attributes, next_hop }.in_order();
        Ok(Self { key: route.key(), facts })
    }

    /// As a path with binary fields.
    pub(super) fn path(&self, api: Api) -> Path {
        binary(&self.key, &self.facts, api)
    }
}

/// The path of a route in binary form.
pub(super) fn binary(key: &RouteKey, facts: &Facts, api: Api) -> Path {
    let mut attributes = facts.attributes.clone();
    let family = key.family();
    match facts.next_hop {
        Some(IpAddr::V4(address)) if family == RouteFamily::Ipv4Unicast => {
            attributes.next_hop = Some(address);
        }
        next_hop => {
            let value = reach(key, next_hop.or_else(|| no_next_hop(family, api)));
            let flags = flags::OPTIONAL;
            attributes.others.push(OtherAttribute { flags, kind: kind::MP_REACH, value });
        }
    }
    let mut octets = Vec::new();
    attributes.encode(true, &mut octets);
    Path {
        family: Some(family.into()),
        nlri_binary: key.octets().to_vec(),
        pattrs_binary: split(&octets),
        ..Path::default()
    }
}

/// The path that withdraws a route: the next hop says nothing, but must be there.
pub(super) fn withdrawal(key: &RouteKey, api: Api) -> Path {
    let next_hop = match key.family() {
        RouteFamily::Ipv4Unicast => Some(Ipv4Addr::UNSPECIFIED.into()),
        RouteFamily::Ipv6Unicast => Some(Ipv6Addr::UNSPECIFIED.into()),
        RouteFamily::Ipv4FlowSpec | RouteFamily::Ipv6FlowSpec => None,
    };
    let attributes = PathAttributes { origin: Some(<_>::default()), ..PathAttributes::default() };
    binary(key, &Facts { attributes, next_hop }, api)
}

/// 4.x up to some release refuses FlowSpec without a next hop; it does not send what is given.
pub(super) fn no_next_hop(family: RouteFamily, api: Api) -> Option<IpAddr> {
    match (api, family.ip()) {
        (Api::V3, _) => None,
        (Api::V4, Family::V4) => Some(Ipv4Addr::UNSPECIFIED.into()),
        (Api::V4, Family::V6) => Some(Ipv6Addr::UNSPECIFIED.into()),
    }
}

/// The value of `MP_REACH_NLRI`.
fn reach(key: &RouteKey, next_hop: Option<IpAddr>) -> Vec<u8> {
    let AfiSafi { afi, safi } = key.family().into();
    let mut value = afi.to_be_bytes().to_vec();
    value.push(safi);
    match next_hop {
        None => value.push(0),
        Some(IpAddr::V4(address)) => {
            value.push(4);
            value.extend(address.octets());
        }
        Some(IpAddr::V6(address)) => {
            value.push(16);
            value.extend(address.octets());
        }
    }
    value.push(0);
    value.extend(key.octets());
    value
}

/// Attributes one by one; those that were just written, so their lengths are right.
fn split(mut octets: &[u8]) -> Vec<Vec<u8>> {
    let mut attributes = Vec::new();
    while let [flags, _, first, rest @ ..] = octets {
        let length = match rest {
            [second, ..] if flags & flags::EXTENDED_LENGTH != 0 => {
                4 + usize::from(u16::from_be_bytes([*first, *second]))
            }
            _ => 3 + usize::from(*first),
        };
        let (attribute, others) = octets.split_at(length.min(octets.len()));
        attributes.push(attribute.to_vec());
        octets = others;
    }
    attributes
}

/// What a listed path in binary form is: its route and what it carries. `None`: it cannot be read,
/// so it is none of ours.
pub(super) fn read(family: RouteFamily, path: &Path) -> Option<(RouteKey, Facts)> {
    let key = one_route(family, &path.nlri_binary)?;
    let length = path.pattrs_binary.iter().map(Vec::len).sum::<usize>();
    // An UPDATE that has nothing but these attributes, for the reader of UPDATEs.
    let mut body = vec![0, 0];
    body.extend(u16::try_from(length).ok()?.to_be_bytes());
    body.extend(path.pattrs_binary.iter().flatten());
    let context = UpdateContext { four_octet_as: true, internal: true };
    let update = Update::parse(&body, context).ok()?;
    let next_hop = match update.attributes.next_hop {
        Some(address) => Some(address.into()),
        None => update.reach.and_then(|reach| reach.next_hop_address()),
    };
    let next_hop = next_hop.filter(|_| !family.is_flow_spec());
    Some((key, Facts { attributes: update.attributes, next_hop }.in_order()))
}

/// The key of NLRI that is exactly one route.
pub(super) fn one_route(family: RouteFamily, octets: &[u8]) -> Option<RouteKey> {
    let mut routes = Nlri::list(family, octets);
    let nlri = routes.next()?.ok()?;
    routes.next().is_none().then(|| RouteKey::new(&nlri))
}

impl Facts {
    /// In a form in which equal facts are equal.
    pub(super) fn in_order(mut self) -> Self {
        let attributes = &mut self.attributes;
        attributes.as_path = attributes.as_path.take().filter(|path| !path.0.is_empty());
        attributes.next_hop = None;
        attributes.others.clear();
        attributes.communities.sort_unstable();
        attributes.communities.dedup();
        attributes.extended.sort_unstable();
        attributes.extended.dedup();
        attributes.ipv6_extended.sort_unstable();
        attributes.ipv6_extended.dedup();
        attributes.large.sort_unstable();
        attributes.large.dedup();
        self
    }

    pub(super) fn has(&self, tag: Community) -> bool {
        self.attributes.communities.contains(&tag)
    }

    /// May this be `sent`, with communities taken away?
    pub(super) fn is_stripped(&self, sent: &Self) -> bool {
        let (left, before) = (&self.attributes.communities, &sent.attributes.communities);
        self.next_hop == sent.next_hop && left.iter().all(|community| before.contains(community))
    }
}

/// The prefix of a unicast route, as it is looked up; `None` for a rule.
pub(super) fn prefix(key: &RouteKey) -> Option<String> {
    (!key.family().is_flow_spec()).then(|| key.to_string())
}

/// Does the daemon hold this path of its own accord, and not from a neighbour?
pub(super) fn is_local(path: &Path) -> bool {
    path.neighbor_ip.parse::<IpAddr>().map_or(true, |address| address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use tidewall_bgp::action::{Action, Actions};
    use tidewall_bgp::attribute::Origin;
    use tidewall_bgp::flowspec::{Component, FlowSpecRule, NumericTerm, PrefixMatch};
    use tidewall_bgp::{FlowSpecRoute, RouteAttributes, UnicastRoute};

    use super::*;

    const TAG: Community = Community(0xfc00_0001);

    fn unicast(prefix: &str, next_hop: &str, attributes: RouteAttributes) -> Route {
        let (prefix, next_hop) = (prefix.parse().unwrap(), next_hop.parse().unwrap());
        UnicastRoute::new(prefix, next_hop, attributes).unwrap().into()
    }

    fn blackhole(prefix: &str, next_hop: &str) -> Route {
        let communities = vec![Community::BLACKHOLE];
        unicast(prefix, next_hop, RouteAttributes { communities, ..Default::default() })
    }

    fn dns_discard() -> Route {
        let rule = FlowSpecRule::new(
            Family::V4,
            [
                Component::Destination(PrefixMatch::new("198.51.100.4/32".parse().unwrap())),
                Component::Protocol(vec![NumericTerm::equal(17)]),
                Component::SourcePort(vec![NumericTerm::equal(53)]),
            ],
        );
        let attributes = RouteAttributes::default();
        FlowSpecRoute::new(rule.unwrap(), Actions::discard(), attributes).unwrap().into()
    }

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect::<Vec<_>>().concat()
    }

    fn sent(route: &Route, api: Api) -> (String, Vec<String>) {
        let path = Announcement::of(route, TAG).unwrap().path(api);
        (hex(&path.nlri_binary), path.pattrs_binary.iter().map(|a| hex(a)).collect())
    }

    /// Octets that GoBGP 3.10 was seen to take, with our tag added.
    #[test]
    fn routes_in_binary_form() {
        let (nlri, attributes) = sent(&blackhole("198.51.100.3/32", "10.99.0.1"), Api::V3);
        assert_eq!(nlri, "20c6336403");
        assert_eq!(attributes, ["40010100", "4003040a630001", "c00808fc000001ffff029a"]);
        let (nlri, attributes) = sent(&dns_discard(), Api::V3);
        assert_eq!(nlri, "0c0120c6336404038111068135");
        let reach = "800e120001850000".to_owned() + &nlri;
        let discard = "c010088006000000000000";
        assert_eq!(attributes, ["40010100", "c00804fc000001", &reach, discard]);
        let (nlri, attributes) = sent(&dns_discard(), Api::V4);
        assert_eq!(attributes[2], "800e16000185040000000000".to_owned() + &nlri);
        let (nlri, attributes) = sent(&blackhole("2001:db8::7/128", "100::1"), Api::V3);
        assert_eq!(nlri, "8020010db8000000000000000000000007");
        let reach = "800e2600020110".to_owned() + "0100000000000000000000000000000100" + &nlri;
        assert_eq!(attributes, ["40010100", "c00808fc000001ffff029a", &reach]);
    }

    #[test]
    fn what_was_sent_is_read_back_as_the_same() {
        let attributes = RouteAttributes {
            origin: Origin::Incomplete,
            med: Some(7),
            local_pref: Some(200),
            communities: (0..64).map(Community).collect(),
            extended: vec!["target:65001:100".parse().unwrap()],
            large: vec!["65001:666:1".parse().unwrap()],
            prepend: 0,
        };
        for route in [
            unicast("198.51.100.0/24", "10.99.0.1", attributes.clone()),
            unicast("2001:db8::/48", "100::1", attributes),
            dns_discard(),
        ] {
            for api in [Api::V3, Api::V4] {
                let sent = Announcement::of(&route, TAG).unwrap();
                let (key, facts) = read(route.family(), &sent.path(api)).unwrap();
                assert_eq!((&key, &facts), (&route.key(), &sent.facts));
                assert!(facts.has(TAG));
                let mut stripped = facts.clone();
                stripped.attributes.communities.retain(|community| *community != TAG);
                assert!(!stripped.has(TAG) && stripped.is_stripped(&facts));
                assert!(!facts.is_stripped(&stripped));
            }
        }
    }

    #[test]
    fn a_withdrawal_names_the_route_and_has_a_next_hop() {
        let key = blackhole("198.51.100.3/32", "10.99.0.1").key();
        let path = withdrawal(&key, Api::V3);
        assert_eq!(hex(&path.nlri_binary), "20c6336403");
        let attributes: Vec<_> = path.pattrs_binary.iter().map(|a| hex(a)).collect();
        assert_eq!(attributes, ["40010100", "40030400000000"]);
        for route in [dns_discard(), blackhole("2001:db8::7/128", "100::1")] {
            let path = withdrawal(&route.key(), Api::V4);
            assert_eq!(path.nlri_binary, route.key().octets());
            assert!(path.pattrs_binary.iter().any(|octets| octets[1] == kind::MP_REACH));
        }
    }

    #[test]
    fn what_a_path_cannot_say_is_refused_with_words() {
        let prepended = RouteAttributes { prepend: 1, ..Default::default() };
        let route = unicast("198.51.100.3/32", "10.99.0.1", prepended);
        let words = Announcement::of(&route, TAG).unwrap_err();
        assert!(words.contains("set-as-prepend"), "{words}");
        let Route::FlowSpec(rule) = dns_discard() else { panic!() };
        let address = IpAddr::from([192, 0, 2, 1]);
        let action = Action::RedirectToNextHop { address, copy: false };
        let actions = Actions::new([action]).unwrap();
        let rule = FlowSpecRoute::new(rule.rule().clone(), actions, RouteAttributes::default());
        let words = Announcement::of(&rule.unwrap().into(), TAG).unwrap_err();
        assert!(words.contains("next hop"), "{words}");
        let ports = (0..100).map(|port| NumericTerm::equal(1_000 + port)).collect();
        let destination = PrefixMatch::new("198.51.100.4/32".parse().unwrap());
        let components = [
            Component::Destination(destination),
            Component::Protocol(vec![NumericTerm::equal(17)]),
        ];
        let components = components.into_iter().chain([Component::SourcePort(ports)]);
        let rule = FlowSpecRule::new(Family::V4, components).unwrap();
        let attributes = RouteAttributes::default();
        let long = FlowSpecRoute::new(rule, Actions::discard(), attributes).unwrap();
        let words = Announcement::of(&long.into(), TAG).unwrap_err();
        assert!(words.contains("310 octets"), "{words}");
    }

    #[test]
    fn garbage_is_none_of_ours() {
        let family = RouteFamily::Ipv4Unicast;
        let path = |nlri: &[u8], attributes: &[&[u8]]| Path {
            nlri_binary: nlri.to_vec(),
            pattrs_binary: attributes.iter().map(|octets| octets.to_vec()).collect(),
            ..Path::default()
        };
        assert!(read(family, &path(&[8, 10], &[])).is_some());
        assert_eq!(read(family, &path(&[], &[])), None);
        assert_eq!(read(family, &path(&[33, 1, 2, 3, 4, 5], &[])), None);
        assert_eq!(read(family, &path(&[8, 10, 8, 11], &[])), None, "two routes");
        assert_eq!(read(family, &path(&[8, 10], &[&vec![0; 70_000]])), None);
        assert_eq!(read(family, &path(&[8, 10], &[&[0x80, 14, 1, 0]])), None);
        for (neighbour, local) in [
            ("<nil>", true),
            ("", true),
            ("invalid IP", true),
            ("0.0.0.0", true),
            ("10.99.0.10", false),
            ("fd99::1", false),
        ] {
            let path = Path { neighbor_ip: neighbour.into(), ..Path::default() };
            assert_eq!(is_local(&path), local, "{neighbour}");
        }
    }
}
