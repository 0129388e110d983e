//! Answers to what people and programs ask about mitigation, as JSON. Every request that changes
//! something leaves its decisions in the journal, with who asked and why, and a line in the log.

use std::collections::BTreeMap;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tidewall_actions::bgp::PeerStatus;
use tidewall_bgp::session::State;
use tidewall_bgp::{Route, RouteState};
use tidewall_engine::planner::{
    BanRequest, Decided, Decision, Refusal, Refused, RequestError, UnbanRequest,
};
use tidewall_model::{MitigationId, MitigationKind, Target, Timestamp};

use super::outlet::{End, Outlet};
use super::post::Post;
use super::words;
use crate::control::Question;
use crate::journal::{HistoryQuery, to_json};

pub(super) type Reply = SyncSender<Result<Value, String>>;

impl Post {
    /// Answers a question of somebody. What changes something is answered once it is settled:
    /// whatever is asked at one time is written to the journal at once.
    pub(super) fn ask(&mut self, question: &Question, who: &str, reply: &Reply, now: Timestamp) {
        if let Question::History { since, target, limit } = question {
            let query = HistoryQuery { since: *since, target: *target, limit: *limit };
            return self.look_up(query, reply);
        }
        if question.changes() {
            let answer = self.answer(question, who, now);
            self.answers.push((reply.clone(), answer));
        } else {
            self.settle(now);
            // Whoever does not wait for the answer does not get it.
            _ = reply.try_send(self.answer(question, who, now));
        }
    }

    /// Gives the answers to what is settled.
    pub(super) fn reply(&mut self) {
        for (reply, answer) in std::mem::take(&mut self.answers) {
            _ = reply.try_send(answer);
        }
    }

    fn answer(&mut self, question: &Question, who: &str, now: Timestamp) -> Result<Value, String> {
        match question {
            Question::Ban { target, kind, direction, seconds, why } => {
                let request = BanRequest {
                    target: *target,
                    kind: (*kind).into(),
                    direction: *direction,
                    lasts: seconds.map(Duration::from_secs),
                    who: who.to_owned(),
                    why: why.clone(),
                };
                let asked = self.planner.ban(&request, now);
                self.note_refusal(&request, &asked, now);
                self.decided(asked)
            }
            Question::Unban { target, why } => {
                let (who_text, why) = (who.to_owned(), why.clone());
                let request = UnbanRequest { target: *target, who: who_text, why };
                let asked = self.planner.unban(&request, now);
                self.decided(asked)
            }
            Question::Approve { id } => {
                let asked = self.planner.approve(MitigationId(*id), who, now);
                self.decided(asked)
            }
            Question::Panic { why } => {
                let asked = self.planner.panic(&who_and_why(who, why), now);
                self.decided(Ok(asked))
            }
            Question::Resume { why } => {
                let asked = self.planner.resume(&who_and_why(who, why), now);
                self.decided(asked)
            }
            Question::Bans => Ok(self.bans(now)),
            Question::Actions => Ok(self.actions()),
            Question::BgpPeers => Ok(self.bgp_peers()),
            Question::BgpRoutes { peer, flowspec } => self.bgp_routes(peer.as_deref(), *flowspec),
            _ => Err("this is no question about mitigation".to_owned()),
        }
    }

    /// Gathers what somebody wants, and says what was decided.
    fn decided(&mut self, asked: Result<Vec<Decision>, RequestError>) -> Result<Value, String> {
        match asked {
            Ok(decisions) => {
                let news = decisions.iter().filter(|decision| words::is_news(decision));
                let list: Vec<Value> = news.map(decision_json).collect();
                self.decide(decisions);
                Ok(json!({ "decisions": list }))
            }
            // Whoever took the question logs who asked and why it was refused.
            Err(why) => Err(why.to_string()),
        }
    }

    /// What the rails refused to a person is history, too.
    fn note_refusal(
        &mut self,
        request: &BanRequest,
        asked: &Result<Vec<Decision>, RequestError>,
        now: Timestamp,
    ) {
        let Err(RequestError::Refused(why)) = asked else { return };
        let refused = Refused {
            target: Target::from_prefix(request.target),
            direction: request.direction,
            group: String::new(),
            kind: request.kind.clone(),
            why: why.clone(),
        };
        self.write(&[Decision { time: now, what: Decided::Refused(Box::new(refused)) }]);
    }

    fn bans(&self, now: Timestamp) -> Value {
        let mitigations: Vec<_> = self.planner.mitigations().collect();
        let stats = self.planner.stats();
        let refused: BTreeMap<&str, u64> =
            Refusal::NAMES.into_iter().zip(stats.refused).filter(|(_, count)| *count > 0).collect();
        let journal = self.journal.as_ref().map(|journal| {
            let stats = journal.stats();
            json!({
                "commits": stats.commits,
                "failures": stats.failures,
                "waiting": stats.waiting,
                "lost": stats.lost,
                "unreadable": stats.unreadable,
            })
        });
        json!({
            "held": self.planner.held(),
            "waits": self.planner.waits(now).map(|why| why.to_string()),
            "mitigations": mitigations,
            "stats": {
                "incidents": stats.incidents,
                "up": stats.up,
                "waiting": stats.waiting,
                "withdrawing": stats.withdrawing,
                "routes": stats.routes,
                "refused": refused,
            },
            "journal": journal,
        })
    }

    fn actions(&self) -> Value {
        let actions = self.notices.status().into_iter().map(|(kind, status)| {
            json!({
                "name": status.name,
                "kind": kind,
                "queued": status.waiting,
                "under_way": status.running,
                "done": status.done,
                "failed": status.failed,
                "lost": status.dropped,
                "retried": status.retried,
                "merged": status.merged,
                "repeated": status.repeated,
                "last_error": error_json(status.last_error),
                "last_success": status.last_success,
            })
        });
        let announcers = self.outlets.iter().map(|(at, outlet)| match &outlet.end {
            End::Daemon(daemon) => {
                let status = daemon.status();
                json!({
                    "name": outlet.name,
                    "kind": outlet.kind,
                    "up": status.up,
                    "daemon": status.daemon,
                    "desired": status.desired,
                    "announced": status.announced,
                    "waiting": status.waiting,
                    "done": status.done,
                    "failed": status.failed,
                    "last_error": error_json(status.last_error),
                })
            }
            End::Speaker(spoken) => self.speaker_json(at, outlet, &spoken.speaker.peers()),
            End::Awaiting(_, trouble) => {
                let waiting = self.desired.desired_of(at).len();
                json!({
                    "name": outlet.name,
                    "kind": outlet.kind,
                    "up": false,
                    "daemon": trouble.as_deref().unwrap_or("waits for the end of the one before"),
                    "desired": waiting,
                    "announced": 0,
                    "waiting": waiting,
                    "done": null,
                    "failed": null,
                    "last_error": null,
                })
            }
        });
        json!({
            "actions": actions.collect::<Vec<_>>(),
            "announcers": announcers.collect::<Vec<_>>(),
        })
    }

    fn speaker_json(&self, at: usize, outlet: &Outlet, peers: &[PeerStatus]) -> Value {
        let up = peers.iter().filter(|peer| peer.state == State::Established).count();
        let desired = self.desired.desired_of(at).len();
        let announced = self
            .desired
            .standings(at)
            .filter(|(_, standing)| **standing == super::desired::Standing::Announced)
            .count();
        let errors = peers.iter().filter_map(|peer| peer.last_error.as_ref());
        let last = errors.max_by_key(|error| error.at).map(|e| (e.at, e.text.clone()));
        json!({
            "name": outlet.name,
            "kind": outlet.kind,
            "up": up > 0,
            "daemon": format!("own speaker, {up} of {} peers established", peers.len()),
            "desired": desired,
            "announced": announced,
            "waiting": desired.saturating_sub(announced),
            "done": null,
            "failed": null,
            "last_error": error_json(last),
        })
    }

    fn bgp_peers(&self) -> Value {
        let speakers = self.outlets.iter().filter_map(|(_, outlet)| match &outlet.end {
            End::Speaker(spoken) => Some(spoken.speaker.peers()),
            End::Daemon(_) | End::Awaiting(..) => None,
        });
        Value::Array(speakers.flatten().map(|peer| peer_json(&peer)).collect())
    }

    fn bgp_routes(&self, peer: Option<&str>, flowspec: bool) -> Result<Value, String> {
        let mut list = Vec::new();
        let mut known = peer.is_none();
        for (at, outlet) in self.outlets.iter() {
            match &outlet.end {
                End::Speaker(spoken) => {
                    for status in spoken.speaker.peers() {
                        if peer.is_some_and(|peer| peer != status.name) {
                            continue;
                        }
                        known = true;
                        for report in spoken.speaker.routes(&status.name).unwrap_or_default() {
                            let changes = report.changes.iter().map(ToString::to_string).collect();
                            let state = state_words(&report.state);
                            let peer = Some(status.name.as_str());
                            list.push((at, report.route, peer.map(str::to_owned), state, changes));
                        }
                    }
                }
                End::Daemon(daemon) if peer.is_none() => {
                    for announced in daemon.routes() {
                        let state = match (announced.announced, &announced.note) {
                            (true, _) => "announced".to_owned(),
                            (false, Some(note)) => format!("waits: {note}"),
                            (false, None) => "pending".to_owned(),
                        };
                        let changes = announced.note.filter(|_| announced.announced);
                        let changes: Vec<String> = changes.into_iter().collect();
                        list.push((at, announced.route, None, state, changes));
                    }
                }
                End::Daemon(_) | End::Awaiting(..) => {}
            }
        }
        if !known {
            return Err(format!("no BGP peer has the name `{}`", peer.unwrap_or_default()));
        }
        let is_wanted = |route: &Route| route.family().is_flow_spec() == flowspec;
        let list = list.into_iter().filter(|(_, route, ..)| is_wanted(route));
        let list = list.map(|(at, route, peer, state, changes)| {
            let ids = self.desired.wanted_by(at, &route.key());
            json!({
                "announcer": self.outlets.get(at).map(|outlet| outlet.name.as_str()),
                "peer": peer,
                "route": route.to_string(),
                "family": route.family().to_string(),
                "state": state,
                "changes": changes,
                "mitigations": ids,
            })
        });
        Ok(Value::Array(list.collect()))
    }

    /// Answers from the history, on a thread of its own: it may be long, and decisions are not kept
    /// waiting.
    fn look_up(&mut self, query: HistoryQuery, reply: &Reply) {
        let Some(journal) = &mut self.journal else {
            let why = "there is no history: set `state` under [service] to a folder for the \
                       journal";
            return drop(reply.try_send(Err(why.to_owned())));
        };
        // What waits is not part of the answer; a failure to write it is told elsewhere.
        _ = journal.flush();
        let reader = match journal.reader() {
            Ok(reader) => reader,
            Err(why) => return drop(reply.try_send(Err(why.to_string()))),
        };
        let answer = {
            let reply = reply.clone();
            move || {
                let history = reader.history(&query).map_err(|why| why.to_string());
                let value = history.and_then(|history| {
                    serde_json::from_str(&to_json(&history)).map_err(|why| why.to_string())
                });
                drop(reader);
                _ = reply.try_send(value);
            }
        };
        if let Err(why) = thread::Builder::new().name("history".to_owned()).spawn(answer) {
            _ = reply.try_send(Err(format!("the history cannot be read now: {why}")));
        }
    }
}

fn who_and_why(who: &str, why: &str) -> String {
    if why.is_empty() { who.to_owned() } else { format!("{who} ({why})") }
}

fn decision_json(decision: &Decision) -> Value {
    let (id, target, kind) = match &decision.what {
        Decided::Mitigation(_, mitigation) => (
            Some(mitigation.id),
            Some(mitigation.target.to_string()),
            Some(MitigationKind::name(&mitigation.kind)),
        ),
        Decided::Refused(refused) => {
            (None, Some(refused.target.to_string()), Some(refused.kind.name()))
        }
        Decided::Held { .. }
        | Decided::Resumed { .. }
        | Decided::Remembered(_)
        | Decided::Forgotten { .. } => (None, None, None),
    };
    json!({
        "what": words::what(decision),
        "id": id,
        "target": target,
        "kind": kind,
        "text": words::line(decision),
    })
}

fn error_json(error: Option<(Timestamp, String)>) -> Value {
    error.map_or(Value::Null, |(time, text)| json!({ "time": time, "text": text }))
}

fn peer_json(peer: &PeerStatus) -> Value {
    let error = |error: &Option<tidewall_actions::bgp::PeerError>| {
        error_json(error.as_ref().map(|error| (error.at, error.text.clone())))
    };
    let families = peer.families.iter().map(|family| {
        json!({
            "family": family.family.to_string(),
            "agreed": family.agreed,
            "desired": family.desired,
            "announced": family.announced,
            "pending": family.pending,
            "waiting": family.waiting,
        })
    });
    json!({
        "name": peer.name,
        "group": peer.group,
        "address": peer.address.ip().to_string(),
        "port": peer.address.port(),
        "as": peer.peer_as,
        "state": state_name(peer.state),
        "since": peer.since,
        "established": peer.established,
        "announced": peer.announced(),
        "pending": peer.pending(),
        "withdrawing": peer.withdrawing,
        "waiting": peer.waiting,
        "families": families.collect::<Vec<_>>(),
        "initial_routes_sent": peer.initial_routes_sent,
        "blocked": peer.blocked,
        "last_error": error(&peer.last_error),
        "last_notification": error(&peer.last_notification),
        "updates_sent": peer.sent.updates,
        "routes_received": peer.received.announced,
    })
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Idle => "idle",
        State::Active => "active",
        State::Connect => "connect",
        State::OpenSent => "open_sent",
        State::OpenConfirm => "open_confirm",
        State::Established => "established",
    }
}

fn state_words(state: &RouteState) -> String {
    match state {
        RouteState::Announced => "announced".to_owned(),
        RouteState::Pending => "pending".to_owned(),
        RouteState::Waits(why) => {
            let why = why.to_string();
            format!("waits: {}", why.strip_prefix("waits because ").unwrap_or(&why))
        }
    }
}
