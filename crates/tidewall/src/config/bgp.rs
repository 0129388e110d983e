//! `[bgp]`, `[exabgp]` and `[gobgp]`: who announces our routes, and what they carry.

mod daemons;
mod peer;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use tidewall_actions::bgp::{Audience, ListenConfig, PeerConfig, SpeakerConfig};
use tidewall_actions::routes::RouteSettings;
use toml::de::DeValue;

use super::listen::Text;
use super::secret::Secrets;
use super::sink::Sink;
use super::table::{FromToml, Place, Typed, table};
use super::value::{Name, found};
use crate::respond::{AnnouncerSettings, Speaking};
use peer::PeerTable;
use routes::{FlowSpecTable, RouteTables, UnicastTable};

pub(super) use daemons::{ExaBgpTable, GoBgpTable, HostPort};
pub(super) use routes::check_next_hop;

table! {
    /// Our own BGP speaker. It announces what mitigations need, and takes no routes.
    struct BgpTable {
        /// Our AS number.
        #[example = "64510"]
        local_as: u32,

        /// Our router id: an IPv4 address that no other speaker uses.
        #[example = "\"192.0.2.10\""]
        router_id: Ipv4Addr,

        /// Addresses where peers may connect to us. Left empty, we connect to them.
        #[default = "[]"]
        #[example = "[\"0.0.0.0:179\", \"[::]:179\"]"]
        listen: Vec<Typed<TcpAddress>>,

        /// Network device or VRF that we listen on. Left out, any.
        #[example = "\"mgmt\""]
        interface: Text,

        /// Next hop of IPv4 blackholes, reachable for the peers: an address that they drop traffic
        /// to. Left out, IPv4 is not blackholed.
        #[example = "\"192.0.2.254\""]
        next_hop_ipv4: Ipv4Addr,

        /// The same for IPv6; 100::1 is of a range to be dropped (RFC 6666).
        #[example = "\"100::1\""]
        next_hop_ipv6: Ipv6Addr,

        /// Blackholes: all traffic to a host is dropped by the peers.
        blackhole: UnicastTable,

        /// Diversions: the prefix around a host is announced towards a scrubber. Without this table
        /// there are none.
        divert: UnicastTable,

        /// Filters by FlowSpec.
        flowspec: FlowSpecTable,

        group: Vec<Typed<PeerGroupTable>>,

        peer: Vec<Typed<PeerTable>>,
    }
}

table! {
    /// What is announced otherwise to a group of peers.
    struct PeerGroupTable {
        /// Its name, as the peers' `group` has it.
        #[example = "\"transit\""]
        name: Name,

        /// Blackholes for this group, where they differ.
        blackhole: UnicastTable,

        /// Diversions for this group, where they differ.
        divert: UnicastTable,

        /// Filters for this group, where they differ.
        flowspec: FlowSpecTable,
    }
}

/// An address and a port to listen on.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpAddress(SocketAddr);

impl FromToml for TcpAddress {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let parsed = match value {
            DeValue::String(text) => text.parse::<SocketAddr>().ok(),
            _ => None,
        };
        match parsed {
            Some(address) if address.port() != 0 => Some(Self(address)),
            _ => {
                let reason = format!("expected an address with a port, found {}", found(value));
                sink.error(at, reason);
                None
            }
        }
    }
}

/// All announcers that are set up.
pub(super) fn resolve(
    bgp: Option<&Typed<BgpTable>>,
    exabgp: Option<&Typed<ExaBgpTable>>,
    gobgp: Option<&Typed<GoBgpTable>>,
    secrets: &mut Secrets,
    sink: &mut Sink,
) -> Vec<AnnouncerSettings> {
    let mut announcers = Vec::new();
    announcers.extend(bgp.and_then(|table| table.value.resolve(&table.at, secrets, sink)));
    announcers.extend(exabgp.map(|table| table.value.resolve(&table.at, sink)));
    announcers.extend(gobgp.map(|table| table.value.resolve(sink)));
    let mut names = BTreeSet::new();
    let typed = [
        bgp.map(|_| None),
        exabgp.map(|table| table.value.name.as_ref()),
        gobgp.map(|table| table.value.name.as_ref()),
    ];
    for (announcer, name) in announcers.iter().zip(typed.into_iter().flatten()) {
        if !names.insert(announcer.name())
            && let Some(name) = name
        {
            let reason = format!("another announcer is called {:?}", announcer.name());
            sink.error_fix(&name.at, reason, "choose another name");
        }
    }
    announcers
}

impl BgpTable {
    fn routes(&self) -> RouteTables<'_> {
        RouteTables {
            next_hop_ipv4: self.next_hop_ipv4.as_ref(),
            next_hop_ipv6: self.next_hop_ipv6.as_ref(),
            blackhole: self.blackhole.as_ref(),
            divert: self.divert.as_ref(),
            flowspec: self.flowspec.as_ref(),
        }
    }

    fn resolve(
        &self,
        at: &Place,
        secrets: &mut Secrets,
        sink: &mut Sink,
    ) -> Option<AnnouncerSettings> {
        let routes = self.routes().resolve(sink);
        let typed = self.peer.as_ref().map_or(&[][..], |list| &list.value);
        let peers: Vec<(&Typed<PeerTable>, PeerConfig)> = typed
            .iter()
            .filter_map(|table| Some((table, table.value.resolve(&table.at, secrets, sink)?)))
            .collect();
        let exceptions = self.exceptions(&routes, &peers, sink);
        let missing = [
            ("local_as", "local_as = 64510", self.local_as.is_none()),
            ("router_id", "router_id = \"192.0.2.10\"", self.router_id.is_none()),
        ];
        let blamed = sink.blames(at);
        for (key, example, _) in missing.iter().filter(|(.., missing)| *missing && !blamed) {
            let fix = format!("add a line such as `{example}`");
            sink.error_fix(at, format!("our speaker needs `{key}`"), fix);
        }
        if typed.is_empty() && !blamed {
            let fix = "add [[bgp.peer]] with `name`, `address` and `as`";
            sink.error_fix(at, "there is no peer to announce routes to", fix);
        }
        let (local_as, router_id) = (self.local_as.as_ref()?, self.router_id.as_ref()?);
        let device = self.interface.as_ref().map(|typed| typed.value.0.clone());
        let listen = self.listen.iter().flat_map(|list| &list.value);
        let listen = listen
            .map(|typed| ListenConfig { address: typed.value.0, device: device.clone() })
            .collect();
        let speaker = SpeakerConfig {
            listen,
            ..SpeakerConfig::new(local_as.value, router_id.value, Vec::new())
        };
        let speaker = self.check(speaker, peers, at, sink);
        Some(AnnouncerSettings::Bgp(Box::new(Speaking { speaker, routes, exceptions })))
    }

    /// What groups and single peers are announced otherwise; a peer begins with what its group has.
    fn exceptions(
        &self,
        usual: &RouteSettings,
        peers: &[(&Typed<PeerTable>, PeerConfig)],
        sink: &mut Sink,
    ) -> Vec<(Audience, RouteSettings)> {
        let mut groups: BTreeMap<&str, RouteSettings> = BTreeMap::new();
        for group in self.group.iter().flat_map(|list| &list.value) {
            let Some(name) = &group.value.name else {
                if !sink.blames(&group.at) {
                    let fix = "add a line such as `name = \"transit\"`";
                    sink.error_fix(&group.at, "a group of peers needs a name", fix);
                }
                continue;
            };
            let text = name.value.0.as_str();
            if !peers.iter().any(|(_, peer)| peer.group.as_deref() == Some(text)) {
                let reason = "no peer belongs to this group, so it does nothing";
                sink.warn(&name.at, reason, format!("set `group = \"{text}\"` in a [[bgp.peer]]"));
            }
            let tables = RouteTables {
                next_hop_ipv4: None,
                next_hop_ipv6: None,
                blackhole: group.value.blackhole.as_ref(),
                divert: group.value.divert.as_ref(),
                flowspec: group.value.flowspec.as_ref(),
            };
            if groups.insert(text, tables.over(usual, usual, sink)).is_some() {
                let reason = format!("the group {text:?} is there twice");
                sink.error_fix(&name.at, reason, "put all of it under one [[bgp.group]]");
            }
        }
        let mut exceptions = Vec::new();
        for (table, peer) in peers {
            let tables = table.value.routes();
            if tables.any() {
                let group = peer.group.as_deref().and_then(|group| groups.get(group));
                let settings = tables.over(group.unwrap_or(usual), usual, sink);
                exceptions.push((Audience::Peer(peer.name.clone()), settings));
            }
        }
        let groups =
            groups.into_iter().map(|(name, routes)| (Audience::Group(name.to_owned()), routes));
        groups.chain(exceptions).collect()
    }

    /// The speaker with its peers, each of which was checked by itself and all together.
    fn check(
        &self,
        mut speaker: SpeakerConfig,
        peers: Vec<(&Typed<PeerTable>, PeerConfig)>,
        at: &Place,
        sink: &mut Sink,
    ) -> SpeakerConfig {
        let before = sink.len();
        let reserved = |number: u32| matches!(number, 0 | 23_456 | u32::MAX);
        if let Some(local_as) = self.local_as.as_ref().filter(|typed| reserved(typed.value)) {
            sink.error(&local_as.at, format!("AS number {} is reserved", local_as.value));
        }
        if let Some(id) = self.router_id.as_ref().filter(|typed| typed.value.is_unspecified()) {
            sink.error(&id.at, "0.0.0.0 is no router id");
        }
        if sink.len() > before {
            return speaker;
        }
        for (table, peer) in &peers {
            if sink.blames(&table.at) {
                continue;
            }
            let alone = SpeakerConfig { peers: vec![peer.clone()], ..speaker.clone() };
            if let Err(error) = alone.check() {
                let place = match error.field {
                    "listen" => self.interface.as_ref().map(|typed| &typed.at),
                    field => table.value.place(field, &error.message),
                };
                let place = place.unwrap_or(&table.at);
                let fix = match error.field {
                    "passive" => "add `listen = [\"0.0.0.0:179\"]` under [bgp]".to_owned(),
                    _ if place.example.is_none() => "docs/bgp.md has the options".to_owned(),
                    _ => place.for_example(),
                };
                sink.error_fix(place, error.message, fix);
            }
        }
        let tables: Vec<&Typed<PeerTable>> = peers.iter().map(|(table, _)| *table).collect();
        let alone_good = sink.len() == before && !tables.iter().any(|peer| sink.blames(&peer.at));
        speaker.peers = peers.into_iter().map(|(_, peer)| peer).collect();
        if alone_good && let Err(error) = speaker.check() {
            let named = |peer: &&Typed<PeerTable>| {
                let name = peer.value.name.as_ref().map(|name| format!("{:?}", name.value.0));
                name.is_some_and(|name| error.action.ends_with(&name))
            };
            // Of two with one name the second is meant.
            let table = tables.iter().rev().copied().find(|peer| named(peer));
            let place = table.and_then(|table| table.value.place(error.field, &error.message));
            let fix = "each peer has a name and an address of its own";
            sink.error_fix(place.unwrap_or(at), error.message, fix);
        }
        speaker
    }
}
