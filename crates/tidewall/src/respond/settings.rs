//! What the configuration says about what is done.

use tidewall_actions::bgp::{Audience, SpeakerConfig};
use tidewall_actions::routes::RouteSettings;
use tidewall_engine::planner::PlannerPolicy;

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
#[derive(Clone, Debug, PartialEq)]
pub enum AnnouncerSettings {
    /// Our own speaker.
    Bgp(Box<Speaking>),
}

/// Our own speaker, and what it says to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Speaking {
    /// The speaker.
    pub speaker: SpeakerConfig,
    /// How mitigations become routes for all peers ...
    pub routes: RouteSettings,
    /// ... and where groups or single peers differ.
    pub exceptions: Vec<(Audience, RouteSettings)>,
}
