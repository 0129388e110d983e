//! What ExaBGP is to have, what it was told, and what it must still be told: at most one command
//! for each route waits, so that a thousand changes of mind during an outage cost one line. Several
//! lines may be on their way, of different routes, and are answered in order. Knows no pipe and no
//! socket; time is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use tidewall_bgp::{Route, RouteKey};
use tidewall_model::{MitigationOutcome, Timestamp};

use super::text;
use crate::{AnnouncedRoute, AnnouncerStatus};

/// Between two lines about one route. ExaBGP sends what it has collected grouped by attributes, in
/// an order of its own: of two lines about one route in one such round, the older can win.
pub(super) const SETTLE: Duration = Duration::from_secs(1);
/// Withdrawals that wait at most, besides one command for each desired route.
pub(super) const MAX_WITHDRAWALS: usize = 65_536;
/// A line about the route is on its way.
const FLYING: Timestamp = Timestamp(u64::MAX);

#[derive(Debug)]
struct Entry {
    route: Route,
    /// ExaBGP has taken it.
    announced: bool,
    /// What was told last about why it is not announced.
    note: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Announce,
    Withdraw {
        next_hop: Option<IpAddr>,
        /// Somebody waits for the outcome.
        asked: bool,
        note: Option<String>,
    },
}

#[derive(Debug)]
struct InFlight {
    key: RouteKey,
    command: Command,
    /// As it was written.
    route: Option<Route>,
}

#[derive(Debug)]
pub(super) struct Ledger {
    local_as: Option<u32>,
    desired: BTreeMap<RouteKey, Entry>,
    waiting: BTreeMap<RouteKey, Command>,
    /// The keys of `waiting`, each once.
    order: VecDeque<RouteKey>,
    /// When the next line about a route may be written.
    not_before: BTreeMap<RouteKey, Timestamp>,
    /// Lines without an answer, the oldest first.
    in_flight: VecDeque<InFlight>,
    /// Why nothing can be written.
    down: Option<String>,
    outcomes: Vec<(RouteKey, MitigationOutcome)>,
    done: u64,
    failed: u64,
    last_error: Option<(Timestamp, String)>,
}

impl Ledger {
    pub(super) fn new(local_as: Option<u32>) -> Self {
        Self {
            local_as,
            desired: BTreeMap::new(),
            waiting: BTreeMap::new(),
            order: VecDeque::new(),
            not_before: BTreeMap::new(),
            in_flight: VecDeque::new(),
            down: None,
            outcomes: Vec::new(),
            done: 0,
            failed: 0,
            last_error: None,
        }
    }

    /// Makes exactly these the desired routes, and tells all of them anew: whatever was at the same
    /// daemon before may have taken away what we had announced.
    pub(super) fn set(&mut self, routes: Vec<Route>, now: Timestamp) {
        let routes: BTreeMap<RouteKey, Route> =
            routes.into_iter().map(|route| (route.key(), route)).collect();
        let gone: Vec<RouteKey> =
            self.desired.keys().filter(|key| !routes.contains_key(key)).cloned().collect();
        for key in gone {
            self.withdraw(key, now);
        }
        for (key, route) in routes {
            let known = self.desired.get_mut(&key);
            if let Some(known) = known.filter(|known| known.announced && known.route == route) {
                known.announced = false;
                self.push(&key, Command::Announce);
            } else {
                self.announce(route, now);
            }
        }
    }

    /// Adds or replaces a desired route. One that is announced as it is costs no line.
    pub(super) fn announce(&mut self, route: Route, now: Timestamp) {
        let key = route.key();
        let old = self.desired.get(&key);
        if let Some(old) = old.filter(|old| old.route == route) {
            if old.announced {
                self.tell(key, MitigationOutcome::Applied);
            }
            return;
        }
        let next_hop = old.and_then(|old| next_hop(&old.route));
        let words = text::announcement(&route, self.local_as).err().map(|error| error.to_string());
        let entry = Entry { route, announced: false, note: words.clone() };
        self.desired.insert(key.clone(), entry);
        match words {
            None => self.push(&key, Command::Announce),
            Some(words) => {
                self.fault(&words, now);
                self.tell(key.clone(), MitigationOutcome::Failed(words));
                // What was there before, in this run or an earlier one, must not stay in its place.
                if text::withdrawal(&key, None).is_ok() {
                    self.push(&key, Command::Withdraw { next_hop, asked: false, note: None });
                }
            }
        }
    }

    /// Ends the desire for a route. It is written for unknown ones too: an earlier run of ours may
    /// have announced it, and ExaBGP cannot be asked.
    pub(super) fn withdraw(&mut self, key: RouteKey, now: Timestamp) {
        let old = self.desired.remove(&key);
        if text::withdrawal(&key, None).is_err() {
            // What cannot be written was never announced.
            self.tell(key, MitigationOutcome::Withdrawn);
            return;
        }
        let next_hop = old.as_ref().and_then(|old| next_hop(&old.route));
        let full = self.waiting.len() >= self.desired.len() + MAX_WITHDRAWALS;
        if full && !self.waiting.contains_key(&key) {
            let words = format!("more than {MAX_WITHDRAWALS} withdrawals wait for ExaBGP");
            self.fault(&words, now);
            self.tell(key, MitigationOutcome::Failed(words));
            return;
        }
        self.push(&key, Command::Withdraw { next_hop, asked: true, note: None });
    }

    /// The next line, which is then on its way until one of the four calls below; never a second
    /// one about the same route.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<String> {
        let ready = |key: &RouteKey| self.not_before.get(key).is_none_or(|time| *time <= now);
        let place = self.order.iter().position(ready)?;
        let key = self.order.remove(place)?;
        let command = self.waiting.remove(&key)?;
        let route = self.desired.get(&key).map(|entry| entry.route.clone());
        let line = match (&command, &route) {
            (Command::Announce, Some(route)) => text::announcement(route, self.local_as).ok(),
            (Command::Announce, None) => None,
            (Command::Withdraw { next_hop, .. }, _) => text::withdrawal(&key, *next_hop).ok(),
        };
        // Only what can be written is ever queued.
        let line = line?;
        self.not_before.insert(key.clone(), FLYING);
        self.in_flight.push_back(InFlight { key, command, route });
        Some(line)
    }

    /// The oldest line on its way was taken.
    pub(super) fn taken(&mut self, now: Timestamp) {
        let Some(InFlight { key, command, route }) = self.in_flight.pop_front() else { return };
        self.done += 1;
        self.not_before.insert(key.clone(), now + SETTLE);
        let entry = self.desired.get_mut(&key);
        match (command, entry) {
            (Command::Announce, Some(entry)) if Some(&entry.route) == route.as_ref() => {
                entry.announced = true;
                entry.note = None;
                self.tell(key, MitigationOutcome::Applied);
            }
            (Command::Withdraw { asked: true, .. }, None) => {
                self.tell(key, MitigationOutcome::Withdrawn);
            }
            // Meanwhile something else is desired, and waits.
            _ => {}
        }
    }

    /// ExaBGP does not want the oldest line on its way: tried again after a while.
    pub(super) fn refused(&mut self, words: &str, retry: Duration, now: Timestamp) {
        let Some(InFlight { key, command, .. }) = self.in_flight.pop_front() else { return };
        self.fault(words, now);
        self.not_before.insert(key.clone(), now + retry.max(SETTLE));
        self.again(key.clone(), command);
        self.complain(&key, words);
    }

    /// Nothing of the newest line was written: it is the next again.
    pub(super) fn put_back(&mut self) {
        let Some(InFlight { key, command, .. }) = self.in_flight.pop_back() else { return };
        self.not_before.remove(&key);
        self.waiting.insert(key.clone(), command);
        self.order.push_front(key);
    }

    /// Nobody listens, or nobody listens any more: all that is desired must be told again.
    pub(super) fn lost(&mut self, words: &str, now: Timestamp) {
        self.fault(words, now);
        while let Some(InFlight { key, command, .. }) = self.in_flight.pop_front() {
            self.again(key, command);
        }
        self.not_before.clear();
        self.down = Some(words.to_owned());
        let announced: Vec<RouteKey> = self
            .desired
            .iter_mut()
            .filter_map(|(key, entry)| std::mem::take(&mut entry.announced).then(|| key.clone()))
            .collect();
        for key in announced {
            self.again(key, Command::Announce);
        }
        let waiting: Vec<RouteKey> = self.waiting.keys().cloned().collect();
        for key in waiting {
            self.complain(&key, words);
        }
    }

    /// Somebody listens.
    pub(super) fn up(&mut self) {
        self.down = None;
    }

    /// Forgets waiting times that are over; called now and then.
    pub(super) fn tidy(&mut self, now: Timestamp) {
        self.not_before.retain(|_, until| *until > now);
    }

    /// Nothing waits, and nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty()
    }

    /// When something may be written that may not now.
    pub(super) fn next_time(&self) -> Option<Timestamp> {
        let time = |key| self.not_before.get(key).copied().unwrap_or(Timestamp::ZERO);
        self.order.iter().map(time).filter(|time| *time != FLYING).min()
    }

    /// What became of routes since the last call.
    pub(super) fn outcomes(&mut self) -> Vec<(RouteKey, MitigationOutcome)> {
        std::mem::take(&mut self.outcomes)
    }

    pub(super) fn status(&self, up: bool, daemon: String) -> AnnouncerStatus {
        AnnouncerStatus {
            up,
            daemon,
            desired: self.desired.len(),
            announced: self.desired.values().filter(|entry| entry.announced).count(),
            waiting: self.waiting.len() + self.in_flight.len(),
            done: self.done,
            failed: self.failed,
            last_error: self.last_error.clone(),
        }
    }

    pub(super) fn routes(&self) -> Vec<AnnouncedRoute> {
        let route = |entry: &Entry| AnnouncedRoute {
            route: entry.route.clone(),
            announced: entry.announced,
            note: entry.note.clone(),
        };
        self.desired.values().map(route).collect()
    }

    fn tell(&mut self, key: RouteKey, outcome: MitigationOutcome) {
        self.outcomes.push((key, outcome));
    }

    /// Counts an attempt that failed.
    fn fault(&mut self, words: &str, now: Timestamp) {
        self.failed += 1;
        self.last_error = Some((now, words.to_owned()));
    }

    /// Queues a command in place of what waits for its route.
    fn push(&mut self, key: &RouteKey, command: Command) {
        if self.waiting.insert(key.clone(), command).is_none() {
            self.order.push_back(key.clone());
        }
        if let Some(words) = self.down.clone() {
            self.complain(key, &words);
        }
    }

    /// Queues a command that was on its way, unless a newer one waits.
    fn again(&mut self, key: RouteKey, command: Command) {
        if !self.waiting.contains_key(&key) {
            self.waiting.insert(key.clone(), command);
            self.order.push_back(key);
        }
    }

    /// Tells why a command waits, once for each reason.
    fn complain(&mut self, key: &RouteKey, words: &str) {
        let note = match self.waiting.get_mut(key) {
            Some(Command::Withdraw { asked: true, note, .. }) => note,
            Some(Command::Announce) => match self.desired.get_mut(key) {
                Some(entry) => &mut entry.note,
                None => return,
            },
            _ => return,
        };
        if note.as_deref() != Some(words) {
            *note = Some(words.to_owned());
            self.tell(key.clone(), MitigationOutcome::Failed(words.to_owned()));
        }
    }
}

fn next_hop(route: &Route) -> Option<IpAddr> {
    match route {
        Route::Unicast(route) => Some(route.next_hop()),
        Route::FlowSpec(_) => None,
    }
}

#[cfg(test)]
mod tests;
