//! What announces routes for us, besides our own speaker: a daemon that we write to. Each has a
//! thread of its own behind a bounded queue, so that a daemon that is dead or slow holds up nobody.

use std::sync::Arc;

use tidewall_bgp::{Route, RouteKey};
use tidewall_model::{MitigationOutcome, Timestamp};

/// Somewhere that routes are announced. What is told here is carried out in this order; calls never
/// wait. Where a daemon was away, it is brought to what is desired once it is back.
pub trait Announcer: Send {
    /// Name in status and logs: unique among the configured announcers.
    fn name(&self) -> &str;

    /// Makes exactly these the desired routes. Told once after the start, when the journal has been
    /// read: what else the daemon has of ours is withdrawn.
    fn set(&self, desired: Vec<Route>);

    /// Adds a desired route, or replaces the one with its key.
    fn announce(&self, route: Route);

    /// Ends the desire for a route.
    fn withdraw(&self, key: RouteKey);

    /// How it is.
    fn status(&self) -> AnnouncerStatus;

    /// The desired routes, each with what became of it.
    fn routes(&self) -> Vec<AnnouncedRoute>;

    /// Ends the thread, and leaves the routes where they are: a service that is started again takes
    /// over. What is to go has been withdrawn before. Takes three seconds at most.
    fn stop(self: Box<Self>);
}

/// What became of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteOutcome {
    /// Name of the announcer.
    pub announcer: Arc<str>,
    /// Which route.
    pub key: RouteKey,
    /// `Failed` is said once for each new reason, and the announcer goes on trying.
    pub outcome: MitigationOutcome,
}

/// A desired route, and whether it is announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnouncedRoute {
    /// The route.
    pub route: Route,
    /// The daemon has taken it.
    pub announced: bool,
    /// Why it has not, or what was left out of it.
    pub note: Option<String>,
}

/// How an announcer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnouncerStatus {
    /// Can the daemon be reached?
    pub up: bool,
    /// What it is, as far as is known: `GoBGP 3.10 at 127.0.0.1:50051`.
    pub daemon: String,
    /// Routes that are desired.
    pub desired: usize,
    /// Of these, announced.
    pub announced: usize,
    /// Commands that wait.
    pub waiting: usize,
    /// Commands that were carried out.
    pub done: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// The last thing that went wrong, and when.
    pub last_error: Option<(Timestamp, String)>,
}
