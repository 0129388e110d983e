//! Somewhere that routes are announced: our own speaker, or a daemon beside us; with what mitigations
//! look like there.

use std::fmt;
use std::sync::mpsc::Sender;

use anyhow::Context;
use tidewall_actions::bgp::{Audience, Desired, Speaker, SpeakerConfig};
use tidewall_actions::exabgp::ExaBgp;
use tidewall_actions::gobgp::GoBgp;
use tidewall_actions::routes::{NoRoute, RouteSettings};
use tidewall_actions::{Announcer, RouteOutcome};
use tidewall_bgp::session::Stop;
use tidewall_bgp::{Route, RouteKey};
use tidewall_model::{Mitigation, MitigationOutcome, Timestamp};

use super::desired::Told;
use super::settings::{AnnouncerSettings, Speaking};
use super::speaker::Spoken;

/// What peers are told when their routes go with us.
const LAST_WORDS: &str = "tidewall was told to end and to withdraw";

/// One announcer.
pub(super) struct Outlet {
    pub name: String,
    pub kind: &'static str,
    routes: RouteSettings,
    exceptions: Vec<(Audience, RouteSettings)>,
    pub end: End,
}

/// Its far end.
pub(super) enum End {
    /// Our own speaker.
    Speaker(Box<Spoken>),
    /// A daemon.
    Daemon(Box<dyn Announcer>),
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Outlet {
    /// Starts it, with nothing desired. `restarting`: routes of an earlier run may still be up.
    /// Daemons answer through `outcomes`.
    pub(super) fn start(
        settings: &AnnouncerSettings,
        restarting: bool,
        outcomes: &Sender<RouteOutcome>,
    ) -> anyhow::Result<Self> {
        // Our own speaker is asked; the daemons beside it tell.
        let tell = outcomes.clone();
        match settings {
            AnnouncerSettings::Bgp(speaking) => Self::speak(speaking, restarting),
            AnnouncerSettings::ExaBgp { config, routes } => {
                let daemon = ExaBgp::start(config.clone(), tell)?;
                Ok(Self::daemon("exabgp", routes.clone(), Box::new(daemon)))
            }
            AnnouncerSettings::GoBgp { config, routes } => {
                let daemon = GoBgp::start(config.clone(), tell)?;
                Ok(Self::daemon("gobgp", routes.clone(), Box::new(daemon)))
            }
        }
    }

    fn speak(speaking: &Speaking, restarting: bool) -> anyhow::Result<Self> {
        let Speaking { speaker, routes, exceptions } = speaking;
        let config = SpeakerConfig { restarting, ..speaker.clone() };
        let speaker = Speaker::start(config).context("[bgp]")?;
        Ok(Self {
            name: "bgp".to_owned(),
            kind: "bgp",
            routes: routes.clone(),
            exceptions: exceptions.clone(),
            end: End::Speaker(Box::new(Spoken::new(speaker))),
        })
    }

    /// A daemon that runs.
    pub(super) fn daemon(
        kind: &'static str,
        routes: RouteSettings,
        daemon: Box<dyn Announcer>,
    ) -> Self {
        let name = daemon.name().to_owned();
        Self { name, kind, routes, exceptions: Vec::new(), end: End::Daemon(daemon) }
    }

    /// What a mitigation looks like here.
    pub(super) fn told(&self, mitigation: &Mitigation) -> Result<(RouteKey, Told), NoRoute> {
        let mut told = Told::new();
        let general = self.routes.route(mitigation).map(|route| {
            told.insert(Audience::All, route);
        });
        for (audience, routes) in &self.exceptions {
            if let Ok(route) = routes.route(mitigation) {
                told.insert(audience.clone(), route);
            }
        }
        match told.values().next().map(Route::key) {
            Some(key) => Ok((key, told)),
            None => Err(general.err().unwrap_or(NoRoute::NotARoute)),
        }
    }

    /// Makes exactly these the desired routes.
    pub(super) fn set(&mut self, desired: Vec<Desired>, now: Timestamp) {
        match &mut self.end {
            End::Speaker(spoken) => spoken.set(desired, now),
            End::Daemon(daemon) => {
                daemon.set(desired.into_iter().map(|desired| desired.route).collect());
            }
        }
    }

    /// Adds a route, or replaces it.
    pub(super) fn announce(&mut self, desired: Desired, now: Timestamp) {
        match &mut self.end {
            End::Speaker(spoken) => spoken.announce(desired, now),
            End::Daemon(daemon) => daemon.announce(desired.route),
        }
    }

    /// Ends a route for an audience; `last`: nothing of it is desired any more.
    pub(super) fn withdraw(&mut self, key: RouteKey, audience: Audience, last: bool) {
        match &mut self.end {
            End::Speaker(spoken) => spoken.withdraw(key, audience, last),
            End::Daemon(daemon) => daemon.withdraw(key),
        }
    }

    /// What became of routes, where it has to be asked.
    pub(super) fn poll(&mut self, now: Timestamp) -> Vec<(RouteKey, MitigationOutcome)> {
        match &mut self.end {
            End::Speaker(spoken) => spoken.poll(now),
            End::Daemon(_) => Vec::new(),
        }
    }

    /// Has it to be asked soon?
    pub(super) fn is_pending(&self) -> bool {
        match &self.end {
            End::Speaker(spoken) => spoken.is_pending(),
            End::Daemon(_) => false,
        }
    }

    /// Ends it. What is to go has been withdrawn before.
    pub(super) fn stop(self, withdraw: bool) {
        match self.end {
            End::Speaker(spoken) if withdraw => spoken.stop(Stop::Withdraw(LAST_WORDS.to_owned())),
            End::Speaker(spoken) => spoken.stop(Stop::Keep),
            End::Daemon(daemon) => daemon.stop(),
        }
    }
}
