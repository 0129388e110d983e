//! What the configuration says about what is done.

use std::net::IpAddr;

use tidewall_actions::bgp::{self, Audience, SpeakerConfig};
use tidewall_actions::routes::RouteSettings;
use tidewall_actions::{exabgp, gobgp};
use tidewall_engine::planner::PlannerPolicy;
use tidewall_model::{Address, Prefix};

use crate::journal::Retention;

/// Everything that is done about attacks. By default people are told through the log, and nothing
/// else is done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// How far to go for which group, and what nothing may cross.
    pub planner: PlannerPolicy,
    /// Scripts, files, messages, stores: each name once.
    pub actions: Vec<tidewall_actions::Config>,
    /// Where routes are announced: each name once.
    pub announcers: Vec<AnnouncerSettings>,
    /// How much of the past is kept.
    pub retention: Retention,
    /// A service that is told to end withdraws its routes; otherwise it leaves them, and the
    /// journal, to the next start.
    pub withdraw_on_stop: bool,
}

/// Somewhere that routes are announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnouncerSettings {
    /// Our own speaker.
    Bgp(Box<Speaking>),
    /// ExaBGP.
    ExaBgp {
        /// How it is reached.
        config: exabgp::Config,
        /// How mitigations become routes.
        routes: RouteSettings,
    },
    /// GoBGP.
    GoBgp {
        /// How it is reached.
        config: gobgp::Config,
        /// How mitigations become routes.
        routes: RouteSettings,
    },
}

/// Our own speaker, and what it says to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaking {
    /// The speaker.
    pub speaker: SpeakerConfig,
    /// How mitigations become routes for all peers ...
    pub routes: RouteSettings,
    /// ... and where groups or single peers differ.
    pub exceptions: Vec<(Audience, RouteSettings)>,
}

/// What other settings of one kind mean for an announcer that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation<'a> {
    /// Nothing.
    Same,
    /// Routes carry something else.
    Routes,
    /// Our speaker goes on by another configuration.
    Speaker(&'a Speaking),
    /// The daemon is the same, and the routes that it has are those of the new settings, too.
    TakenOver,
    /// The daemon is the same, and takes no route for which it has one of the old settings.
    Replaced,
    /// It is another daemon.
    Elsewhere,
}

impl Settings {
    /// Protects what announcing itself depends on: a route to a peer or to a next hop would cut off
    /// its own withdrawal. What is not ours is protected, too: what is ours may change while we run.
    pub fn protect_announcers(&mut self) {
        let hosts = self.announcers.iter().flat_map(AnnouncerSettings::addresses);
        let hosts = hosts.map(|address| Prefix::host(Address::from(address)));
        let protected = &mut self.planner.rails.protected;
        for host in hosts {
            if !protected.iter().any(|prefix| prefix.covers(host)) {
                protected.push(host);
            }
        }
    }
}

impl AnnouncerSettings {
    /// Peers, ourselves towards them, and next hops.
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let peers = match self {
            Self::Bgp(speaking) => speaking.speaker.peers.as_slice(),
            Self::ExaBgp { .. } | Self::GoBgp { .. } => &[],
        };
        let ends = peers.iter().flat_map(|peer| [Some(peer.address), peer.source]);
        let unicast = self.routes().flat_map(|routes| [&routes.blackhole, &routes.divert]);
        let hops = unicast.flatten().flat_map(|unicast| [unicast.next_hop_v4, unicast.next_hop_v6]);
        ends.chain(hops).flatten()
    }

    /// What these settings after others mean. Both are of one kind.
    pub(super) fn relation<'a>(&self, new: &'a Self) -> Relation<'a> {
        match (self, new) {
            _ if self == new => Relation::Same,
            (Self::Bgp(old), Self::Bgp(new)) if old.speaker != new.speaker => {
                Relation::Speaker(new)
            }
            (Self::ExaBgp { config: old, .. }, Self::ExaBgp { config: new, .. }) if old != new => {
                if old.way.path() == new.way.path() {
                    Relation::TakenOver
                } else {
                    Relation::Elsewhere
                }
            }
            (Self::GoBgp { config: old, .. }, Self::GoBgp { config: new, .. }) if old != new => {
                match (old.address == new.address, old.tag == new.tag) {
                    (true, true) => Relation::TakenOver,
                    (true, false) => Relation::Replaced,
                    (false, _) => Relation::Elsewhere,
                }
            }
            _ => Relation::Routes,
        }
    }

    /// What is new in other settings for what runs on, in words.
    pub(super) fn news(&self, new: &Self) -> Vec<String> {
        let mut said = Vec::new();
        if let (Self::Bgp(old), Self::Bgp(new)) = (self, new) {
            said.extend(speaker_news(&old.speaker, &new.speaker));
        }
        let of = |settings: &Self| -> Vec<(String, RouteSettings)> {
            let named = |(name, routes): (&str, &RouteSettings)| (name.to_owned(), routes.clone());
            match settings {
                Self::Bgp(_) => settings.peers().into_iter().map(named).collect(),
                _ => vec![named((settings.name(), settings.usual()))],
            }
        };
        let before = of(self);
        for (name, after) in of(new) {
            let Some((_, before)) = before.iter().find(|(old, _)| *old == name) else { continue };
            let kinds = [
                ("blackholes", before.blackhole != after.blackhole),
                ("diversions", before.divert != after.divert),
                ("filters", before.flow_spec != after.flow_spec),
            ];
            let kinds = kinds.iter().filter(|(_, differs)| *differs).map(|(kind, _)| *kind);
            let kinds: Vec<&str> = kinds.collect();
            if !kinds.is_empty() {
                let whose = if matches!(new, Self::Bgp(_)) { "peer " } else { "" };
                let kinds = kinds.join(", ");
                said.push(format!("{whose}{name} is told anew: {kinds}"));
            }
        }
        said
    }

    /// Name in status and logs.
    pub fn name(&self) -> &str {
        match self {
            Self::Bgp(_) => "bgp",
            Self::ExaBgp { config, .. } => &config.name,
            Self::GoBgp { config, .. } => &config.name,
        }
    }

    /// Its table in the configuration.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Bgp(_) => "bgp",
            Self::ExaBgp { .. } => "exabgp",
            Self::GoBgp { .. } => "gobgp",
        }
    }

    /// How mitigations become routes: for all, and then where it differs.
    pub fn routes(&self) -> impl Iterator<Item = &RouteSettings> {
        std::iter::once(self.usual()).chain(self.exceptions().iter().map(|(_, routes)| routes))
    }

    /// How mitigations become routes where nothing else is said.
    pub(super) const fn usual(&self) -> &RouteSettings {
        match self {
            Self::Bgp(speaking) => &speaking.routes,
            Self::ExaBgp { routes, .. } | Self::GoBgp { routes, .. } => routes,
        }
    }

    /// Where groups or single peers differ.
    pub(super) fn exceptions(&self) -> &[(Audience, RouteSettings)] {
        match self {
            Self::Bgp(speaking) => &speaking.exceptions,
            Self::ExaBgp { .. } | Self::GoBgp { .. } => &[],
        }
    }

    /// The peers of our own speaker, by name, and how mitigations become routes for each.
    pub(super) fn peers(&self) -> Vec<(&str, &RouteSettings)> {
        let Self::Bgp(speaking) = self else { return Vec::new() };
        let exception = |wanted: &Audience| {
            let found = speaking.exceptions.iter().find(|(audience, _)| audience == wanted);
            found.map(|(_, routes)| routes)
        };
        let peers = speaking.speaker.peers.iter().map(|peer| {
            let of_group = || exception(&Audience::Group(peer.group.clone()?));
            let own = exception(&Audience::Peer(peer.name.clone())).or_else(of_group);
            (peer.name.as_str(), own.unwrap_or(&speaking.routes))
        });
        peers.collect()
    }
}

fn speaker_news(old: &SpeakerConfig, new: &SpeakerConfig) -> Vec<String> {
    let mut said = Vec::new();
    if old.local_as != new.local_as {
        said.push(format!(
            "our AS number is now {}: the sessions of all peers without their own `local_as` begin \
             again",
            new.local_as
        ));
    }
    if old.router_id != new.router_id {
        said.push(format!("our router id is now {}: every session begins again", new.router_id));
    }
    let opened = new.listen.iter().filter(|listen| !old.listen.contains(listen));
    said.extend(opened.map(|listen| format!("listens on {}", listen.address)));
    let closed = old.listen.iter().filter(|listen| !new.listen.contains(listen));
    said.extend(closed.map(|listen| format!("no longer listens on {}", listen.address)));
    said.extend(bgp::changes(old, new).iter().map(ToString::to_string));
    said
}
