//! GoBGP as announcer: routes are given to a `gobgpd` beside us, 3.x or 4.x, by gRPC.
//!
//! One thread keeps the daemon at what is desired. Every path that it adds has a community of ours,
//! the *tag*: by it, paths of an earlier run are found again, and a path without it is never
//! replaced or deleted. With each connection, and once the whole of what is desired is known, the
//! daemon's table is listed: paths with the tag that are not desired go, missing ones come. The same
//! comparison, of what is desired only, is repeated at intervals.

mod api;
mod client;
mod ledger;
mod path;
mod reconcile;
mod typed;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use http::Uri;
use tidewall_bgp::community::Community;
use tidewall_bgp::{Route, RouteKey};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use crate::{AnnouncedRoute, Announcer, AnnouncerStatus, ConfigError, RouteOutcome, TlsConfig};

use client::{Client, Server};
use ledger::{Ledger, Scope};

/// Port of the daemon's interface.
pub const GOBGP_PORT: u16 = 50_051;

/// Marks our paths where nothing else is configured: a private AS number of RFC 6996.
pub const TAG: Community = Community(64_512 * 0x1_0000 + 7_474);

/// What is under way when we stop may take so long.
const STOP_WAIT: Duration = Duration::from_millis(2_500);

/// Settings of GoBGP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name in status and logs: unique among the configured announcers.
    pub name: String,
    /// Where its interface is: `host:port`, `http://host:port`, or `https://host:port` for TLS.
    pub address: String,
    /// TLS, for an address without scheme or with `https`.
    pub tls: Option<TlsConfig>,
    /// Marks our paths. No one else may use it, no other Tidewall at the same daemon either.
    pub tag: Community,
    /// Time for each call; a list of a whole table may take six times as long.
    pub deadline: Duration,
    /// Pause after a failure; it doubles.
    pub first_pause: Duration,
    /// Longest pause.
    pub longest_pause: Duration,
    /// How often what is desired is compared with what the daemon lists.
    pub audit: Duration,
}

impl Config {
    /// A daemon with the usual times.
    pub fn new(name: impl Into<String>, address: impl Into<String>, tag: Community) -> Self {
        Self {
            name: name.into(),
            address: address.into(),
            tls: None,
            tag,
            deadline: Duration::from_secs(5),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            audit: Duration::from_secs(30),
        }
    }

    /// Refuses what cannot work.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.server().map(|_| ())
    }

    /// Finds what cannot work, and reads the files of TLS.
    fn server(&self) -> Result<Server, ConfigError> {
        let wrong = |field, message: &dyn std::fmt::Display| {
            Err(ConfigError::new(&self.name, field, message))
        };
        // RFC 1997: 0x0000 and 0xffff in front are reserved and well-known.
        if matches!(self.tag.0 >> 16, 0 | 0xffff) {
            let message = "must be a community of our own, as 64512:911: not a well-known one";
            return wrong("tag", &message);
        }
        for (field, time) in [
            ("deadline", self.deadline),
            ("first_pause", self.first_pause),
            ("longest_pause", self.longest_pause),
            ("audit", self.audit),
        ] {
            if time.is_zero() {
                return wrong(field, &"must be more than nothing");
            }
        }
        let secure = self.tls.is_some();
        let text = match self.address.split_once("://") {
            Some(_) => self.address.clone(),
            None if secure => format!("https://{}", self.address),
            None => format!("http://{}", self.address),
        };
        let uri: Uri = match text.parse() {
            Ok(uri) => uri,
            Err(error) => return wrong("address", &format!("{}: {error}", self.address)),
        };
        let tls = match (uri.scheme_str(), &self.tls) {
            (Some("http"), None) => None,
            (Some("https"), tls) => Some(tls.clone().unwrap_or_default()),
            (Some("http"), Some(_)) => {
                return wrong("address", &"http:// is without TLS, which is configured");
            }
            _ => return wrong("address", &"host:port, http://host:port or https://host:port"),
        };
        let Some(host) = uri.host().filter(|host| !host.is_empty()) else {
            return wrong("address", &"a host is missing");
        };
        let port = uri.authority().and_then(|whole| whole.as_str().strip_prefix(host));
        if port.is_none_or(|port| !port.is_empty() && uri.port_u16().is_none()) {
            return wrong("address", &"the port is a number up to 65535");
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return wrong("address", &"there is nothing behind the port");
        }
        let mut client = match tls {
            Some(tls) => Some(Arc::unwrap_or_clone(tls.client(&self.name)?)),
            None => None,
        };
        if let Some(client) = &mut client {
            client.alpn_protocols = vec![b"h2".to_vec()];
        }
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(GOBGP_PORT);
        Ok(Server { host, port, tls: client.map(Arc::new), origin: uri })
    }
}

/// A daemon that is kept at what is desired. When it is dropped, the thread ends and routes stay.
pub struct GoBgp {
    name: String,
    ledger: watch::Sender<Ledger>,
    thread: Option<JoinHandle<()>>,
}

impl GoBgp {
    /// Starts the thread, with nothing desired. What becomes of routes is told to `outcomes`.
    pub fn start(config: Config, outcomes: Sender<RouteOutcome>) -> Result<Self, ConfigError> {
        let server = config.server()?;
        let name = config.name.clone();
        let failed = |error: std::io::Error| ConfigError::new(&name, "thread", error);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let place = format!("{}:{}", server.host, server.port);
        let daemon = format!("GoBGP at {place}");
        let (ledger, seen) = watch::channel(Ledger::new(&name, daemon, outcomes));
        let runner = Runner { config, server, place, ledger: ledger.clone(), seen };
        let run = move || {
            runtime.block_on(runner.run());
            // A name that is being looked up is not waited for.
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("gobgp".into()).spawn(run).map_err(failed)?;
        Ok(Self { name, ledger, thread: Some(thread) })
    }

    fn end(&mut self) {
        self.ledger.send_modify(|ledger| ledger.stopping = true);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed when it happened.
            let _ = thread.join();
        }
    }
}

impl Announcer for GoBgp {
    fn name(&self) -> &str {
        &self.name
    }

    fn set(&self, desired: Vec<Route>) {
        self.ledger.send_modify(|ledger| ledger.set(desired));
    }

    fn announce(&self, route: Route) {
        self.ledger.send_modify(|ledger| ledger.announce(route));
    }

    fn withdraw(&self, key: RouteKey) {
        self.ledger.send_modify(|ledger| ledger.withdraw(key));
    }

    fn status(&self) -> AnnouncerStatus {
        self.ledger.borrow().status()
    }

    fn routes(&self) -> Vec<AnnouncedRoute> {
        self.ledger.borrow().routes()
    }

    fn stop(mut self: Box<Self>) {
        self.end();
    }
}

impl Drop for GoBgp {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}

/// The thread.
struct Runner {
    config: Config,
    server: Server,
    /// Host and port.
    place: String,
    ledger: watch::Sender<Ledger>,
    seen: watch::Receiver<Ledger>,
}

impl Runner {
    /// Runs until it is told to stop; then what waits is done as long as there is a connection.
    async fn run(mut self) {
        let mut stop = self.seen.clone();
        tokio::select! {
            () = self.keep_connected() => {}
            () = stopped(&mut stop) => {}
        }
    }

    async fn keep_connected(&mut self) {
        let mut pause = self.config.first_pause;
        while !self.stopping() {
            match Client::connect(&self.server, self.config.deadline).await {
                Err(words) => self.change(|ledger| ledger.unreachable(&words)),
                Ok(mut client) => {
                    let daemon = format!("{} at {}", client.about(), self.place);
                    self.change(|ledger| ledger.connected(daemon));
                    let mut useful = false;
                    let words = self.serve(&mut client, &mut useful).await;
                    if useful {
                        pause = self.config.first_pause;
                    }
                    if let Some(words) = words {
                        self.change(|ledger| ledger.lost(&words));
                    }
                }
            }
            self.wait(pause).await;
            pause = (pause * 2).min(self.config.longest_pause);
        }
    }

    /// Keeps the daemon at what is desired until the connection is lost, which is said in words,
    /// or until there is nothing more to do because we stop.
    async fn serve(&mut self, client: &mut Client, useful: &mut bool) -> Option<String> {
        let mut pause = self.config.first_pause;
        let (mut again, mut audit) = (None, Instant::now() + self.config.audit);
        loop {
            self.seen.mark_unchanged();
            let now = Instant::now();
            let scope = if audit <= now {
                Scope::Audit
            } else if again.is_some_and(|again| again <= now) {
                Scope::Again
            } else {
                Scope::Due
            };
            if let Err(words) = self.round(client, scope).await {
                return Some(words);
            }
            *useful = true;
            if scope == Scope::Audit {
                audit = Instant::now() + self.config.audit;
            }
            let (failed, due, stopping) = {
                let ledger = self.ledger.borrow();
                (ledger.has_failed(), ledger.is_due(), ledger.stopping)
            };
            if scope != Scope::Due || !failed {
                again = None;
            }
            if !failed {
                pause = self.config.first_pause;
            } else if again.is_none() {
                again = Some(Instant::now() + pause);
                pause = (pause * 2).min(self.config.longest_pause);
            }
            if due {
                continue;
            }
            if stopping {
                return None;
            }
            let next = again.map_or(audit, |again| again.min(audit));
            tokio::select! {
                _ = self.seen.changed() => {}
                () = sleep_until(next) => {}
                () = client.closed() => return Some("the daemon has closed the connection".into()),
            }
        }
    }

    async fn round(&mut self, client: &mut Client, scope: Scope) -> Result<(), String> {
        let mut work = None;
        self.change(|ledger| work = ledger.work(scope));
        let Some(work) = work else {
            return match scope {
                Scope::Due | Scope::Again => Ok(()),
                Scope::Audit => client.check().await.map_err(client::CallError::into_words),
            };
        };
        let round = reconcile::round(client, &work, self.config.tag).await?;
        self.change(|ledger| {
            ledger.done(round.done);
            for (task, verdict) in work.tasks.iter().zip(round.verdicts) {
                ledger.judge(task, verdict);
            }
            for words in &round.complaints {
                ledger.complain(words);
            }
        });
        Ok(())
    }

    /// Changes the ledger without waking ourselves.
    fn change(&self, change: impl FnOnce(&mut Ledger)) {
        self.ledger.send_if_modified(|ledger| {
            change(ledger);
            false
        });
    }

    fn stopping(&self) -> bool {
        self.ledger.borrow().stopping
    }

    /// Waits for a pause, or until we stop.
    async fn wait(&mut self, pause: Duration) {
        tokio::select! {
            () = sleep(pause) => {}
            _ = self.seen.wait_for(|ledger| ledger.stopping) => {}
        }
    }
}

/// Ends some time after we were told to stop.
async fn stopped(seen: &mut watch::Receiver<Ledger>) {
    // An error: nobody can tell us any more.
    let _ = seen.wait_for(|ledger| ledger.stopping).await;
    sleep(STOP_WAIT).await;
}
