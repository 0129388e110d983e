//! What routes carry: next hops, communities and the like, for all peers and where it differs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use tidewall_actions::routes::{RouteSettings, UnicastSettings};
use tidewall_bgp::attribute::Origin;
use tidewall_bgp::community::{Community, ExtendedCommunity, LargeCommunity};
use tidewall_bgp::{MAX_COMMUNITIES, MAX_PREPEND, RouteAttributes, UnicastRoute};
use tidewall_model::{Address, Prefix};
use toml::de::DeValue;

use super::super::sink::Sink;
use super::super::table::{FromToml, Place, Typed, table};
use super::super::value::{found, within};

/// Declares a table of what a route carries, with more keys in front.
macro_rules! attributes_table {
    ($(#[doc = $about:literal])+ struct $name:ident { $($more:tt)* }) => {
        table! {
            $(#[doc = $about])+
            struct $name {
                $($more)*

                /// False: no such route is announced.
                #[example = "true"]
                announce: bool,

                /// Communities, "A:B" or "blackhole", "no-export", "no-advertise". Left out,
                /// blackholes carry 65535:666 (BLACKHOLE, RFC 7999) and no-export, FlowSpec rules
                /// no-export, diversions none.
                #[example = "[\"65535:666\", \"no-export\"]"]
                communities: Vec<Typed<Community>>,

                /// Large communities (RFC 8092).
                #[example = "[\"64500:666:1\"]"]
                large_communities: Vec<Typed<LargeCommunity>>,

                /// Extended communities, "target:64500:100" or "origin:64500:100".
                #[example = "[\"target:64500:100\"]"]
                extended_communities: Vec<Typed<ExtendedCommunity>>,

                /// Local preference towards peers of our own AS; left out, 100.
                #[example = "200"]
                local_pref: u32,

                /// Multi-exit discriminator; left out, none.
                #[example = "10"]
                med: u32,

                /// How often our AS number is repeated towards peers of another AS, from 0 to 10.
                #[example = "2"]
                prepend: u32,
            }
        }

        impl $name {
            /// Changes what is inherited.
            fn overlay(&self, attributes: &mut RouteAttributes, sink: &mut Sink) {
                take(self.communities.as_ref(), &mut attributes.communities, sink);
                take(self.large_communities.as_ref(), &mut attributes.large, sink);
                take(self.extended_communities.as_ref(), &mut attributes.extended, sink);
                if let Some(local_pref) = &self.local_pref {
                    attributes.local_pref = Some(local_pref.value);
                }
                if let Some(med) = &self.med {
                    attributes.med = Some(med.value);
                }
                let range = 0..=u32::from(MAX_PREPEND);
                let prepend = u32::from(attributes.prepend);
                let words = "0 to 10";
                attributes.prepend =
                    within(self.prepend.as_ref(), &range, words, prepend, sink) as u8;
            }

            fn is_off(&self) -> bool {
                self.announce.as_ref().is_some_and(|typed| !typed.value)
            }
        }
    };
}

attributes_table! {
    /// How prefixes are announced.
    struct UnicastTable {
        /// Next hop of IPv4 routes, reachable for the peers. Left out, blackholes have that of the
        /// table above, and diversions of IPv4 are not announced.
        #[example = "\"192.0.2.254\""]
        next_hop_ipv4: Ipv4Addr,

        /// The same for IPv6.
        #[example = "\"2001:db8::254\""]
        next_hop_ipv6: Ipv6Addr,
    }
}

attributes_table! {
    /// What FlowSpec rules carry besides what they do.
    struct FlowSpecTable {}
}

/// The three tables of an announcer, of a group or of a peer.
#[derive(Clone, Copy)]
pub(super) struct RouteTables<'t> {
    /// Next hops of blackholes that have none of their own.
    pub(super) next_hop_ipv4: Option<&'t Typed<Ipv4Addr>>,
    /// The same for IPv6.
    pub(super) next_hop_ipv6: Option<&'t Typed<Ipv6Addr>>,
    /// Blackholes.
    pub(super) blackhole: Option<&'t Typed<UnicastTable>>,
    /// Diversions.
    pub(super) divert: Option<&'t Typed<UnicastTable>>,
    /// Filters.
    pub(super) flowspec: Option<&'t Typed<FlowSpecTable>>,
}

impl RouteTables<'_> {
    /// Was any of them typed?
    pub(super) const fn any(&self) -> bool {
        self.blackhole.is_some() || self.divert.is_some() || self.flowspec.is_some()
    }

    /// What an announcer announces when nothing else is said: blackholes and filters.
    pub(super) fn resolve(&self, sink: &mut Sink) -> RouteSettings {
        // Some routers pass FlowSpec rules on to all their other neighbours.
        let flow_spec =
            RouteAttributes { communities: vec![Community::NO_EXPORT], ..Default::default() };
        let base = RouteSettings {
            blackhole: Some(self.usual_blackhole(sink)),
            divert: None,
            flow_spec: Some(flow_spec),
        };
        self.over(&base, &base, sink)
    }

    /// What is inherited, changed by what was typed here. What was switched off further up begins
    /// as `usual` when it is wanted here.
    pub(super) fn over(
        &self,
        inherited: &RouteSettings,
        usual: &RouteSettings,
        sink: &mut Sink,
    ) -> RouteSettings {
        let mut unicast = |table: Option<&Typed<UnicastTable>>,
                           inherited: &Option<UnicastSettings>,
                           usual: &Option<UnicastSettings>| {
            let Some(table) = table else { return inherited.clone() };
            if table.value.is_off() {
                return None;
            }
            let mut settings = inherited.clone().or_else(|| usual.clone()).unwrap_or_default();
            table.value.overlay(&mut settings.attributes, sink);
            if let Some(hop) = &table.value.next_hop_ipv4 {
                settings.next_hop_v4 = next_hop(hop, sink);
            }
            if let Some(hop) = &table.value.next_hop_ipv6 {
                settings.next_hop_v6 = next_hop(hop, sink);
            }
            if settings.next_hop_v4.is_none()
                && settings.next_hop_v6.is_none()
                && !sink.blames(&table.at)
            {
                let reason = "there is no next hop, so no such route can be announced";
                let fix = "add `next_hop_ipv4` or `next_hop_ipv6`, or write `announce = false`";
                sink.error_fix(&table.at, reason, fix);
            }
            Some(settings)
        };
        let blackhole = unicast(self.blackhole, &inherited.blackhole, &usual.blackhole);
        let divert = unicast(self.divert, &inherited.divert, &usual.divert);
        RouteSettings { blackhole, divert, flow_spec: self.flow_spec(inherited, sink) }
    }

    fn flow_spec(&self, inherited: &RouteSettings, sink: &mut Sink) -> Option<RouteAttributes> {
        let Some(table) = self.flowspec else { return inherited.flow_spec.clone() };
        if table.value.is_off() {
            return None;
        }
        let mut attributes = inherited.flow_spec.clone().unwrap_or_default();
        table.value.overlay(&mut attributes, sink);
        let communities = table.value.extended_communities.iter().flat_map(|list| &list.value);
        for community in communities {
            if tidewall_bgp::action::Action::from_extended(community.value).is_some() {
                let reason = format!("{} says what happens to the traffic", community.value);
                let fix = "that is decided by the filter: leave it out";
                sink.error_fix(&community.at, reason, fix);
            }
        }
        Some(attributes)
    }

    fn usual_blackhole(&self, sink: &mut Sink) -> UnicastSettings {
        UnicastSettings {
            next_hop_v4: self.next_hop_ipv4.and_then(|hop| next_hop(hop, sink)),
            next_hop_v6: self.next_hop_ipv6.and_then(|hop| next_hop(hop, sink)),
            attributes: RouteAttributes {
                origin: Origin::default(),
                communities: vec![Community::BLACKHOLE, Community::NO_EXPORT],
                ..RouteAttributes::default()
            },
        }
    }
}

/// A next hop that routers take.
fn next_hop<T: Copy + Into<IpAddr>>(typed: &Typed<T>, sink: &mut Sink) -> Option<IpAddr> {
    let hop: IpAddr = typed.value.into();
    match check_next_hop(hop) {
        Ok(()) => Some(hop),
        Err(reason) => {
            sink.error(&typed.at, reason);
            None
        }
    }
}

/// Can a route have this next hop?
pub(in crate::config) fn check_next_hop(hop: IpAddr) -> Result<(), String> {
    let route = Prefix::host(Address::from(hop));
    let checked = UnicastRoute::new(route, hop, RouteAttributes::default());
    checked.map(drop).map_err(|error| error.to_string())
}

/// Replaces a list of communities by a typed one.
fn take<T: Copy + Ord>(typed: Option<&Typed<Vec<Typed<T>>>>, list: &mut Vec<T>, sink: &mut Sink) {
    let Some(typed) = typed else { return };
    if typed.value.len() > MAX_COMMUNITIES {
        let count = typed.value.len();
        sink.error(&typed.at, format!("{count} communities, where {MAX_COMMUNITIES} are the most"));
        return;
    }
    *list = typed.value.iter().map(|community| community.value).collect();
    list.sort_unstable();
    list.dedup();
}

/// A text that is read by the type's own rules.
fn parsed<T: FromStr<Err: std::fmt::Display>>(
    what: &str,
    value: &DeValue<'_>,
    at: &Place,
    sink: &mut Sink,
) -> Option<T> {
    let DeValue::String(text) = value else {
        sink.error(at, format!("expected {what} in quotes, found {}", found(value)));
        return None;
    };
    match text.trim().parse() {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            let reason = match super::super::value::quoted(text) {
                Some(text) => format!("{text} is not {what}: {error}"),
                None => format!("this is not {what}"),
            };
            sink.error(at, reason);
            None
        }
    }
}

impl FromToml for Community {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        parsed("a community", value, at, sink)
    }
}

impl FromToml for LargeCommunity {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        parsed("a large community", value, at, sink)
    }
}

impl FromToml for ExtendedCommunity {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        parsed("an extended community", value, at, sink)
    }
}

impl FromToml for Ipv4Addr {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        parsed("an IPv4 address", value, at, sink)
    }
}

impl FromToml for Ipv6Addr {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        parsed("an IPv6 address", value, at, sink)
    }
}

impl FromToml for IpAddr {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        parsed("an IP address", value, at, sink)
    }
}
