//! Somewhere that routes are announced: our own speaker, or a daemon beside us; with what mitigations
//! look like there.

use std::fmt;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::Context;
use tidewall_actions::bgp::{Audience, Desired, Next, Speaker, SpeakerConfig};
use tidewall_actions::exabgp::ExaBgp;
use tidewall_actions::gobgp::GoBgp;
use tidewall_actions::routes::NoRoute;
use tidewall_actions::{Announcer, RouteOutcome};
use tidewall_bgp::session::Stop;
use tidewall_bgp::{Route, RouteKey};
use tidewall_model::{Mitigation, MitigationOutcome, Timestamp};

use super::desired::Told;
use super::settings::AnnouncerSettings;
use super::speaker::Spoken;

/// What peers are told when their routes go with us ...
const LAST_WORDS: &str = "tidewall was told to end and to withdraw";
/// ... and when we go on without them.
const NOT_CONFIGURED: &str = "no longer configured here";

/// One announcer.
pub(super) struct Outlet {
    pub name: String,
    pub kind: &'static str,
    pub settings: AnnouncerSettings,
    pub end: End,
    /// It has its first desired set. Until then it is told nothing.
    pub begun: bool,
    /// It is not configured any more, and withdraws since then.
    pub leaving: Option<Timestamp>,
}

/// Its far end.
pub(super) enum End {
    /// Our own speaker.
    Speaker(Box<Spoken>),
    /// A daemon.
    Daemon(Box<dyn Announcer>),
    /// It begins when the one of this number has ended; and why it has not, if that failed.
    Awaiting(usize, Option<String>),
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// What is up is left.
    Keep,
    /// Sessions are told that we end, and why.
    Withdraw,
    /// Sessions are told that they are no longer configured.
    Removed,
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").field("name", &self.name).finish_non_exhaustive()
    }
}

impl End {
    /// Why it has not begun.
    pub(super) fn trouble(&self) -> Option<&String> {
        match self {
            Self::Awaiting(_, trouble) => trouble.as_ref(),
            Self::Speaker(_) | Self::Daemon(_) => None,
        }
    }
}

impl Outlet {
    /// Starts it, with nothing desired. `restarting`: routes of an earlier run may still be up.
    /// Daemons answer through `outcomes`, by this number.
    pub(super) fn start(
        id: usize,
        settings: &AnnouncerSettings,
        restarting: bool,
        outcomes: &Sender<(usize, RouteOutcome)>,
    ) -> anyhow::Result<Self> {
        let end = match settings {
            AnnouncerSettings::Bgp(speaking) => {
                // Our own speaker is asked; the daemons beside it tell.
                let config = SpeakerConfig { restarting, ..speaking.speaker.clone() };
                let speaker = Speaker::start(config).context("[bgp]")?;
                End::Speaker(Box::new(Spoken::new(speaker)))
            }
            AnnouncerSettings::ExaBgp { config, .. } => {
                End::Daemon(Box::new(ExaBgp::start(config.clone(), tell(id, outcomes)?)?))
            }
            AnnouncerSettings::GoBgp { config, .. } => {
                End::Daemon(Box::new(GoBgp::start(config.clone(), tell(id, outcomes)?)?))
            }
        };
        Ok(Self::new(settings.clone(), end))
    }

    /// It is there, with nothing desired.
    pub(super) fn new(settings: AnnouncerSettings, end: End) -> Self {
        let (name, kind) = (settings.name().to_owned(), settings.kind());
        Self { name, kind, settings, end, begun: false, leaving: None }
    }

    /// What a mitigation looks like here.
    pub(super) fn told(&self, mitigation: &Mitigation) -> Result<(RouteKey, Told), NoRoute> {
        let mut told = Told::new();
        let general = self.settings.usual().route(mitigation);
        let exceptions = self.settings.exceptions();
        if exceptions.iter().any(|(_, routes)| routes.route(mitigation).is_err()) {
            // Somebody is to have nothing: what is for all would be for them, too.
            for (name, routes) in self.settings.peers() {
                if let Ok(route) = routes.route(mitigation) {
                    told.insert(Audience::Peer(name.to_owned()), route);
                }
            }
        } else {
            let usual = general.iter().cloned().map(|route| (Audience::All, route));
            let others = exceptions.iter().filter_map(|(audience, routes)| {
                routes.route(mitigation).ok().map(|route| (audience.clone(), route))
            });
            told.extend(usual.chain(others));
        }
        if let Some(key) = told.values().next().map(Route::key) {
            return Ok((key, told));
        }
        let kind = mitigation.kind.name();
        Err(general.err().unwrap_or(NoRoute::NotConfigured { kind }))
    }

    /// Makes exactly these the desired routes.
    pub(super) fn set(&mut self, desired: Vec<Desired>, now: Timestamp) {
        match &mut self.end {
            End::Speaker(spoken) => spoken.set(desired, now),
            End::Daemon(daemon) => {
                daemon.set(desired.into_iter().map(|desired| desired.route).collect());
            }
            End::Awaiting(..) => return,
        }
        self.begun = true;
    }

    /// Takes another configuration of the speaker into use, with these routes.
    pub(super) fn adopt(&mut self, next: Next, desired: Vec<Desired>, now: Timestamp) {
        if let End::Speaker(spoken) = &mut self.end {
            spoken.adopt(next, desired, now);
        }
    }

    /// Adds a route, or replaces it.
    pub(super) fn announce(&mut self, desired: Desired, now: Timestamp) {
        match &mut self.end {
            _ if !self.begun => {}
            End::Speaker(spoken) => spoken.announce(desired, now),
            End::Daemon(daemon) => daemon.announce(desired.route),
            End::Awaiting(..) => {}
        }
    }

    /// Ends a route for an audience; `last`: nothing of it is desired any more.
    pub(super) fn withdraw(&mut self, key: RouteKey, audience: Audience, last: bool) {
        match &mut self.end {
            _ if !self.begun => {}
            End::Speaker(spoken) => spoken.withdraw(key, audience, last),
            End::Daemon(daemon) => daemon.withdraw(key),
            End::Awaiting(..) => {}
        }
    }

    /// What became of routes, where it has to be asked.
    pub(super) fn poll(&mut self, now: Timestamp) -> Vec<(RouteKey, MitigationOutcome)> {
        match &mut self.end {
            End::Speaker(spoken) => spoken.poll(now),
            End::Daemon(_) | End::Awaiting(..) => Vec::new(),
        }
    }

    /// Has it to be asked soon?
    pub(super) fn is_pending(&self) -> bool {
        match &self.end {
            End::Speaker(spoken) => spoken.is_pending(),
            End::Daemon(_) => self.leaving.is_some(),
            End::Awaiting(..) => true,
        }
    }

    /// Ends it. What is to go has been withdrawn before.
    pub(super) fn stop(self, how: Ending) {
        match (self.end, how) {
            (End::Speaker(spoken), Ending::Keep) => spoken.stop(Stop::Keep),
            (End::Speaker(spoken), Ending::Withdraw) => {
                spoken.stop(Stop::Withdraw(LAST_WORDS.to_owned()));
            }
            (End::Speaker(spoken), Ending::Removed) => {
                spoken.stop(Stop::Deconfigure(NOT_CONFIGURED.to_owned()));
            }
            (End::Daemon(daemon), _) => daemon.stop(),
            (End::Awaiting(..), _) => {}
        }
    }
}

/// A way for a daemon to tell outcomes by the outlet's number.
fn tell(
    id: usize,
    outcomes: &Sender<(usize, RouteOutcome)>,
) -> anyhow::Result<Sender<RouteOutcome>> {
    let (tell, told) = channel();
    let outcomes = outcomes.clone();
    let pass = move || {
        for outcome in told {
            if outcomes.send((id, outcome)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("routes".to_owned()).spawn(pass)?;
    Ok(tell)
}
