//! What the configuration says about what is done.

use std::net::IpAddr;

use tidewall_actions::bgp::{Audience, SpeakerConfig};
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

impl Settings {
    /// Protects what announcing itself depends on, as far as it lies in our networks: a route to a
    /// peer or to a next hop would cut off its own withdrawal.
    pub fn protect_announcers(&mut self, networks: &[Prefix]) {
        let hosts = self.announcers.iter().flat_map(AnnouncerSettings::addresses);
        let hosts = hosts.map(|address| Prefix::host(Address::from(address)));
        let ours = hosts.filter(|host| networks.iter().any(|network| network.covers(*host)));
        let protected = &mut self.planner.rails.protected;
        for host in ours {
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

    /// Name in status and logs.
    pub fn name(&self) -> &str {
        match self {
            Self::Bgp(_) => "bgp",
            Self::ExaBgp { config, .. } => &config.name,
            Self::GoBgp { config, .. } => &config.name,
        }
    }

    /// How mitigations become routes: for all, and then where it differs.
    pub fn routes(&self) -> impl Iterator<Item = &RouteSettings> {
        let (routes, exceptions) = match self {
            Self::Bgp(speaking) => (&speaking.routes, speaking.exceptions.as_slice()),
            Self::ExaBgp { routes, .. } | Self::GoBgp { routes, .. } => (routes, &[][..]),
        };
        std::iter::once(routes).chain(exceptions.iter().map(|(_, routes)| routes))
    }
}
