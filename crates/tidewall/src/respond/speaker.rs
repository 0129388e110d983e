//! Our own speaker as an announcer: what became of a route is read from its peers. A route is
//! announced when at least one peer was sent it, and withdrawn when no peer has it any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tidewall_actions::bgp::{Audience, Desired, Next, PeerStatus, Speaker};
use tidewall_bgp::session::{State, Stop};
use tidewall_bgp::{NotSent, RouteKey, RouteState};
use tidewall_model::{MitigationOutcome, Timestamp};

/// Sessions come and go: a route that no session carries has failed after this time only.
const PATIENCE: Duration = Duration::from_secs(5);
/// Peers that are named in a reason.
const NAMED: usize = 4;

/// The speaker, and the routes whose fate is followed.
#[derive(Debug)]
pub(super) struct Spoken {
    pub speaker: Speaker,
    wanted: BTreeMap<RouteKey, Watch>,
    leaving: BTreeSet<RouteKey>,
}

#[derive(Debug)]
struct Watch {
    /// Without a peer that has it since then.
    since: Timestamp,
    said: Option<MitigationOutcome>,
}

/// How the desired routes of all peers are, by key.
type States = BTreeMap<RouteKey, Vec<(String, RouteState)>>;

impl Spoken {
    pub(super) const fn new(speaker: Speaker) -> Self {
        Self { speaker, wanted: BTreeMap::new(), leaving: BTreeSet::new() }
    }

    /// The first desired set, which is complete.
    pub(super) fn set(&mut self, desired: Vec<Desired>, now: Timestamp) {
        for one in &desired {
            self.wanted.insert(one.route.key(), Watch { since: now, said: None });
        }
        self.speaker.set_desired(desired);
        self.speaker.desired_complete();
    }

    /// Goes on by another configuration, with these routes. All are asked about again.
    pub(super) fn adopt(&mut self, next: Next, desired: Vec<Desired>, now: Timestamp) {
        let before = std::mem::take(&mut self.wanted);
        for one in &desired {
            let key = one.route.key();
            self.leaving.remove(&key);
            let since = before.get(&key).map_or(now, |watch| watch.since);
            self.wanted.insert(key, Watch { since, said: None });
        }
        self.leaving.extend(before.into_keys().filter(|key| !self.wanted.contains_key(key)));
        self.speaker.adopt(next, desired);
    }

    pub(super) fn announce(&mut self, desired: Desired, now: Timestamp) {
        let key = desired.route.key();
        self.leaving.remove(&key);
        self.wanted.insert(key, Watch { since: now, said: None });
        self.speaker.announce(desired);
    }

    /// `last`: no other entry of this route is left.
    pub(super) fn withdraw(&mut self, key: RouteKey, audience: Audience, last: bool) {
        self.speaker.withdraw(key.clone(), audience);
        if last {
            self.wanted.remove(&key);
            self.leaving.insert(key);
        }
    }

    /// Is an answer waited for?
    pub(super) fn is_pending(&self) -> bool {
        !self.leaving.is_empty() || self.wanted.values().any(|watch| watch.said.is_none())
    }

    /// What is new.
    pub(super) fn poll(&mut self, now: Timestamp) -> Vec<(RouteKey, MitigationOutcome)> {
        if self.wanted.is_empty() && self.leaving.is_empty() {
            return Vec::new();
        }
        let peers = self.speaker.peers();
        let established: Vec<&PeerStatus> =
            peers.iter().filter(|peer| peer.state == State::Established).collect();
        let mut news = Vec::new();
        if established.iter().all(|peer| peer.withdrawing == 0) {
            let gone = std::mem::take(&mut self.leaving);
            news.extend(gone.into_iter().map(|key| (key, MitigationOutcome::Withdrawn)));
        }
        if self.wanted.is_empty() {
            return news;
        }
        let mut states = States::new();
        for peer in &established {
            for report in self.speaker.routes(&peer.name).unwrap_or_default() {
                let of = states.entry(report.route.key()).or_default();
                of.push((peer.name.clone(), report.state));
            }
        }
        let silence = no_session(&peers);
        for (key, watch) in &mut self.wanted {
            let at = states.get(key).map_or(&[][..], Vec::as_slice);
            let Some(outcome) = watch.judge(at, &silence, now) else { continue };
            if watch.said.as_ref() != Some(&outcome) {
                watch.said = Some(outcome.clone());
                news.push((key.clone(), outcome));
            }
        }
        news
    }

    /// Ends all sessions: with words, and peers drop what is left of our routes; or without.
    pub(super) fn stop(self, stop: Stop) {
        self.speaker.shutdown(stop);
    }
}

impl Watch {
    fn judge(
        &mut self,
        at: &[(String, RouteState)],
        silence: &str,
        now: Timestamp,
    ) -> Option<MitigationOutcome> {
        if at.iter().any(|(_, state)| *state == RouteState::Announced) {
            self.since = now;
            return Some(MitigationOutcome::Applied);
        }
        if at.iter().any(|(_, state)| *state == RouteState::Pending) {
            return None;
        }
        let refused: Vec<String> = at.iter().filter_map(refusal).take(NAMED).collect();
        if !refused.is_empty() {
            return Some(MitigationOutcome::Failed(refused.join(", ")));
        }
        let is_late = now.since(self.since) >= PATIENCE;
        is_late.then(|| MitigationOutcome::Failed(silence.to_owned()))
    }
}

fn refusal((peer, state): &(String, RouteState)) -> Option<String> {
    match state {
        RouteState::Waits(NotSent::NoSession) | RouteState::Announced | RouteState::Pending => None,
        RouteState::Waits(why) => Some(format!("{peer} {why}")),
    }
}

/// Why nobody has anything.
fn no_session(peers: &[PeerStatus]) -> String {
    if peers.is_empty() {
        return "no peer is configured".to_owned();
    }
    let down = peers.iter().filter(|peer| peer.state != State::Established);
    let named: Vec<String> = (down.take(NAMED))
        .map(|peer| match &peer.last_error {
            Some(error) => format!("{} ({})", peer.name, error.text),
            None => peer.name.clone(),
        })
        .collect();
    if named.is_empty() {
        return "it is meant for no peer that is there".to_owned();
    }
    format!("no session with {}", named.join(", "))
}
