//! The responder without its thread: events, time and answers are handed in; announcers are fakes
//! that write down what they are told, and the script is a real one.

#![allow(clippy::disallowed_methods, reason = "a script is waited for by the clock on the wall")]

mod announcers;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;
use tidewall_actions::routes::{RouteSettings, UnicastSettings};
use tidewall_actions::{
    AnnouncedRoute, Announcer, AnnouncerStatus, Config, RouteOutcome, gobgp, script,
};
use tidewall_bgp::{Route, RouteKey};
use tidewall_engine::Policy;
use tidewall_engine::planner::{DirectedResponses, Measure, Mode, Planner, Response, Step};
use tidewall_model::{
    Address, Attack, AttackEvent, AttackEventKind, AttackId, Count, Direction, Family,
    MitigationOutcome, MitigationStatus, Target, Timestamp, TrafficCounters,
};

use super::outlet::{End, Outlet};
use super::outlets::Outlets;
use super::post::{Parts, Post};
use super::settings::{AnnouncerSettings, Settings};
use super::{notices, recall};
use crate::control::{BanKind, Question};
use crate::journal::{HistoryQuery, Journal, JournalReader};
use crate::live::hub::Hub;
use crate::live::snapshot::Snapshot;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_parts(1_790_000_000 + seconds, 0)
}

/// Writes down what it is told, and how many decisions were in the journal by then.
struct Fake {
    /// The number of its outlet, where that is not the first.
    id: usize,
    orders: Sender<String>,
    journal: Option<JournalReader>,
}

impl Fake {
    fn note(&self, what: &str) {
        let what = if self.id == 0 { what.to_owned() } else { format!("{}: {what}", self.id) };
        let query = HistoryQuery::default();
        let written = self.journal.as_ref().map(|j| j.history(&query).unwrap().decisions.len());
        let order = match written {
            Some(written) => format!("{what} after {written}"),
            None => what,
        };
        self.orders.send(order).unwrap();
    }
}

impl Announcer for Fake {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn set(&self, desired: Vec<Route>) {
        let routes: Vec<String> = desired.iter().map(ToString::to_string).collect();
        self.note(&format!("set [{}]", routes.join(", ")));
    }

    fn announce(&self, route: Route) {
        self.note(&format!("+ {route}"));
    }

    fn withdraw(&self, key: RouteKey) {
        self.note(&format!("- {key}"));
    }

    fn status(&self) -> AnnouncerStatus {
        AnnouncerStatus::default()
    }

    fn routes(&self) -> Vec<AnnouncedRoute> {
        Vec::new()
    }

    fn stop(self: Box<Self>) {
        // Whoever has seen enough listens no more.
        _ = self.orders.send(format!("stop {}", self.id));
    }
}

struct Bench {
    post: Post,
    orders: Receiver<String>,
    hub: Arc<Hub>,
}

fn policy() -> Policy {
    Policy::for_networks(vec!["192.0.0.0/16".parse().unwrap(), "192.0.2.0/24".parse().unwrap()])
}

/// Tells and blackholes at once, for ten seconds.
fn settings(mode: Mode) -> Settings {
    let mut settings = Settings::default();
    let response = Response {
        mode,
        ladder: vec![
            Step::new(Measure::Notify, Duration::ZERO),
            Step::new(Measure::Blackhole, Duration::ZERO),
        ],
        ban_time: Duration::from_secs(10),
        minimum: Duration::from_secs(10),
        only_if_finished: false,
        ..Response::default()
    };
    settings.planner.fallback =
        DirectedResponses { incoming: response.clone(), outgoing: response };
    settings.planner.rails.grace_after_start = Duration::ZERO;
    settings.announcers = vec![announcer(1, |_| {})];
    settings
}

/// Something that announces blackholes with this next hop.
fn announcer(next_hop: u8, change: impl FnOnce(&mut gobgp::Config)) -> AnnouncerSettings {
    let mut config = gobgp::Config::new("fake", "127.0.0.1:1", gobgp::TAG);
    change(&mut config);
    let unicast = UnicastSettings {
        next_hop_v4: Some([192, 0, 2, next_hop].into()),
        ..UnicastSettings::default()
    };
    let routes = RouteSettings { blackhole: Some(unicast), ..RouteSettings::default() };
    AnnouncerSettings::GoBgp { config, routes }
}

fn script(folder: &Path) -> Config {
    let path = folder.join("notify.sh");
    let (calls, reports) = (folder.join("calls"), folder.join("reports"));
    let text =
        format!("#!/bin/sh\necho \"$@\" >> {}\ncat >> {}\n", calls.display(), reports.display());
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    Config::Script(script::Config::new(path))
}

fn calls(folder: &Path, wanted: usize) -> Vec<String> {
    let began = Instant::now();
    loop {
        let text = fs::read_to_string(folder.join("calls")).unwrap_or_default();
        if text.lines().count() >= wanted {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "only {text:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Bench {
    fn open(settings: &Settings, folder: &Path, now: Timestamp) -> Self {
        let (mut journal, _) = Journal::open(&folder.join(super::JOURNAL)).unwrap();
        let saved = journal.restore().unwrap();
        let (tell, orders) = channel();
        let mut reader = Some(journal.reader().unwrap());
        let mut outlets = Outlets::new(Box::new(move |id, settings, _| {
            anyhow::ensure!(settings.name() != "broken", "it cannot be opened");
            let (orders, journal) = (tell.clone(), reader.take());
            let end = End::Daemon(Box::new(Fake { id, orders, journal }));
            Ok(Outlet::new(settings.clone(), end))
        }));
        for announcer in &settings.announcers {
            outlets.start(announcer, false).unwrap();
        }
        let actions = notices::check(&settings.actions).unwrap();
        let hub = Arc::new(Hub::default());
        let parts = Parts {
            settings: settings.clone(),
            planner: Planner::new(settings.planner.clone(), &policy()).unwrap(),
            journal: Some(journal),
            notices: notices::Notices::start(actions, &policy().networks).unwrap(),
            outlets,
            hub: Arc::clone(&hub),
            frames: Arc::default(),
            lost: Arc::default(),
        };
        let mut post = Post::new(parts, now);
        post.begin(saved, now);
        Self { post, orders, hub }
    }

    fn event(&mut self, kind: AttackEventKind, id: u64, host: u8, now: u64) {
        self.post.event(&event(kind, id, host, now), at(now));
        self.post.settle(at(now));
    }

    fn orders(&self) -> Vec<String> {
        self.orders.try_iter().map(|order| order.split(" after ").next().unwrap().into()).collect()
    }

    fn answered(&mut self, host: u8, outcome: MitigationOutcome, now: u64) {
        self.answered_by(0, host, outcome, now);
    }

    fn answered_by(&mut self, id: usize, host: u8, outcome: MitigationOutcome, now: u64) {
        let prefix = format!("192.0.2.{host}/32").parse().unwrap();
        let route = tidewall_bgp::UnicastRoute::new(
            prefix,
            [192, 0, 2, 1].into(),
            tidewall_bgp::RouteAttributes::default(),
        );
        let key = Route::from(route.unwrap()).key();
        self.post.outcome(id, RouteOutcome { announcer: "fake".into(), key, outcome });
        self.post.settle(at(now));
    }

    fn ask(&mut self, question: &Question, now: u64) -> Result<Value, String> {
        let (reply, answer) = sync_channel(1);
        self.post.ask(question, "alice (uid 1000)", &reply, at(now));
        self.post.settle(at(now));
        answer.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    /// Kind, target and status of everything.
    fn bans(&self) -> Vec<String> {
        let list = self.post.planner.mitigations();
        list.map(|m| format!("{} {} {}", m.kind, m.target, m.status.name())).collect()
    }
}

fn event(kind: AttackEventKind, id: u64, host: u8, now: u64) -> AttackEvent {
    let target = Target::Host(Address::v4(0xc000_0200 + u32::from(host)));
    let rates = TrafficCounters {
        total: Count { packets: 48_210, bytes: 22_500_000 },
        ..TrafficCounters::default()
    };
    let blank = tidewall_model::Mitigation {
        id: tidewall_model::MitigationId(id),
        kind: tidewall_model::MitigationKind::Notify,
        target,
        network: None,
        group: "global".to_owned(),
        direction: Direction::Incoming,
        causes: Vec::new(),
        created: at(now),
        ends: at(now),
        round: 0,
        dry_run: false,
        status: MitigationStatus::Pending,
    };
    let attack = Attack { id: AttackId(id), rates, ..recall::stand_in(&blank) };
    assert_eq!(attack.family, Family::V4);
    AttackEvent { kind, time: at(now), attack }
}

use AttackEventKind::{Ended, Started, Updated};

#[test]
fn the_script_hears_of_the_ban_and_of_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Mode::NotifyOnly);
    settings.actions.push(script(folder.path()));
    let mut bench = Bench::open(&settings, folder.path(), at(0));
    bench.event(Started, 1, 7, 1);
    assert_eq!(calls(folder.path(), 1), ["192.0.2.7 incoming 48210 ban"]);
    bench.event(Ended, 1, 7, 5);
    bench.post.tick(at(12));
    let both = ["192.0.2.7 incoming 48210 ban", "192.0.2.7 incoming 48210 unban"];
    assert_eq!(calls(folder.path(), 2), both);
    let report = fs::read_to_string(folder.path().join("reports")).unwrap();
    assert!(report.starts_with("IP: 192.0.2.7\n"), "{report}");
    // The ban is over once the script has ended, not before.
    let began = Instant::now();
    while !bench.bans().is_empty() {
        assert_eq!(bench.bans(), ["notify 192.0.2.7 withdrawing"]);
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
        bench.post.settle(at(12));
    }
    assert_eq!(bench.orders(), ["set []"], "no route without a mode that allows it");
    let actions = bench.ask(&Question::Actions, 13).unwrap();
    assert_eq!(actions["actions"][0]["kind"], "script", "{actions}");
}

#[test]
fn a_route_is_written_down_before_it_is_announced() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(&settings(Mode::Automatic), folder.path(), at(0));
    bench.event(Started, 1, 7, 1);
    // Two decisions: notify and blackhole.
    let orders: Vec<String> = bench.orders.try_iter().collect();
    assert_eq!(orders, ["set [] after 0", "+ 192.0.2.7/32 via 192.0.2.1 after 2"]);
    assert_eq!(bench.bans(), ["notify 192.0.2.7 active", "blackhole 192.0.2.7 pending"]);
    bench.answered(7, MitigationOutcome::Failed("the daemon is away".to_owned()), 2);
    assert_eq!(bench.bans()[1], "blackhole 192.0.2.7 failed");
    bench.answered(7, MitigationOutcome::Applied, 3);
    assert_eq!(bench.bans()[1], "blackhole 192.0.2.7 active");
    bench.event(Ended, 1, 7, 5);
    bench.post.tick(at(12));
    assert_eq!(bench.orders(), ["- 192.0.2.7/32"]);
    assert_eq!(bench.bans(), ["blackhole 192.0.2.7 withdrawing"], "not confirmed");
    bench.answered(7, MitigationOutcome::Withdrawn, 13);
    assert_eq!(bench.bans(), [""; 0]);
}

#[test]
fn a_kind_without_an_announcer_fails_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Mode::Automatic);
    settings.planner.fallback.incoming.ladder = vec![Step::new(Measure::Divert, Duration::ZERO)];
    let mut bench = Bench::open(&settings, folder.path(), at(0));
    bench.event(Started, 1, 7, 1);
    let bans = bench.ask(&Question::Bans, 2).unwrap();
    let status = &bans["mitigations"][0]["status"]["failed"];
    assert_eq!(status, "no [bgp], [exabgp] or [gobgp] is configured for divert", "{bans}");
}

#[test]
fn after_a_restart_bans_are_up_and_end_at_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Mode::Automatic);
    settings.actions.push(script(folder.path()));
    let mut bench = Bench::open(&settings, folder.path(), at(0));
    bench.event(Started, 1, 7, 1);
    bench.event(Started, 2, 8, 1);
    bench.answered(7, MitigationOutcome::Applied, 2);
    calls(folder.path(), 2);
    let before = bench.bans();
    drop(bench);
    let mut bench = Bench::open(&settings, folder.path(), at(4));
    let set = "set [192.0.2.7/32 via 192.0.2.1, 192.0.2.8/32 via 192.0.2.1]";
    assert_eq!(bench.orders(), [set]);
    assert_eq!(bench.bans().len(), before.len());
    bench.post.tick(at(12));
    assert_eq!(bench.orders(), ["- 192.0.2.7/32", "- 192.0.2.8/32"]);
    let told = calls(folder.path(), 6);
    for host in [7, 8] {
        let unban = format!("192.0.2.{host} incoming 48210 unban");
        assert_eq!(told.iter().filter(|call| **call == unban).count(), 1, "{told:?}");
    }
}

#[test]
fn the_brake_withdraws_and_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(&settings(Mode::Automatic), folder.path(), at(0));
    bench.event(Started, 1, 7, 1);
    bench.orders();
    let answer = bench.ask(&Question::Panic { why: "a mistake".into() }, 2).unwrap();
    assert_eq!(answer["decisions"][0]["what"], "held", "{answer}");
    assert_eq!(bench.orders(), ["- 192.0.2.7/32"]);
    bench.event(Started, 2, 8, 3);
    assert_eq!(bench.orders(), [""; 0]);
    let held = bench.ask(&Question::Bans, 3).unwrap()["held"].clone();
    assert_eq!(held, "alice (uid 1000) (a mistake)");
    bench.answered(7, MitigationOutcome::Withdrawn, 3);
    bench.ask(&Question::Resume { why: String::new() }, 4).unwrap();
    let up = ["+ 192.0.2.7/32 via 192.0.2.1", "+ 192.0.2.8/32 via 192.0.2.1"];
    assert_eq!(bench.orders(), up);
    let question = Question::History { since: None, target: None, limit: 100 };
    let history = bench.ask(&question, 5).unwrap().to_string();
    assert!(history.contains("alice (uid 1000) (a mistake)"), "{history}");
}

#[test]
fn just_after_the_start_people_are_told_and_routes_wait() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Mode::Automatic);
    settings.planner.rails.grace_after_start = Duration::from_secs(5);
    let mut bench = Bench::open(&settings, folder.path(), at(0));
    bench.orders();
    bench.event(AttackEventKind::Started, 1, 7, 2);
    bench.post.settle(at(2));
    assert_eq!(bench.bans(), ["notify 192.0.2.7 active"]);
    let waits = bench.ask(&Question::Bans, 3).unwrap()["waits"].clone();
    assert_eq!(waits, "waits: started 3 s ago");
    // By hand nothing waits.
    bench.ask(&ban("192.0.2.9", BanKind::Blackhole), 3).unwrap();
    assert_eq!(bench.orders().len(), 1);
    for second in 3..6 {
        bench.post.tick(at(second));
        let waits = second < 5;
        assert_eq!(bench.orders().is_empty(), waits, "{second}");
    }
    assert!(bench.ask(&Question::Bans, 6).unwrap()["waits"].is_null());
}

#[test]
fn a_repeat_victims_bans_grow_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(Mode::Automatic);
    let mut bench = Bench::open(&settings, folder.path(), at(0));
    bench.event(AttackEventKind::Started, 1, 7, 0);
    bench.event(AttackEventKind::Ended, 1, 7, 3);
    bench.post.settle(at(3));
    bench.answered(7, MitigationOutcome::Applied, 3);
    for second in 4..13 {
        bench.post.tick(at(second));
    }
    bench.answered(7, MitigationOutcome::Withdrawn, 13);
    assert_eq!(bench.bans(), [""; 0], "the ban of ten seconds is over");
    // Killed, and started again: the second ban lasts twice as long.
    drop(bench);
    let mut bench = Bench::open(&settings, folder.path(), at(600));
    bench.event(AttackEventKind::Started, 1, 7, 601);
    bench.post.settle(at(601));
    let bans = bench.ask(&Question::Bans, 601).unwrap();
    for mitigation in bans["mitigations"].as_array().unwrap() {
        assert_eq!(mitigation["round"], 1, "{bans}");
        let lasts = bench.post.planner.mitigations().map(|m| m.ends.since(m.created).as_secs());
        assert_eq!(lasts.collect::<Vec<_>>(), [20, 20]);
    }
}

#[test]
fn a_dry_run_says_everything_and_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Mode::DryRun);
    settings.actions.push(script(folder.path()));
    let mut bench = Bench::open(&settings, folder.path(), at(0));
    bench.event(Started, 1, 7, 1);
    bench.post.tick(at(2));
    assert_eq!(bench.bans(), ["notify 192.0.2.7 active", "blackhole 192.0.2.7 active"]);
    assert_eq!(bench.orders(), ["set []"]);
    for thread in bench.post.notices.stop(Duration::from_secs(5)) {
        thread.join().unwrap();
    }
    assert!(!folder.path().join("calls").exists());
}

#[test]
fn approval_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(&settings(Mode::ApproveFirst), folder.path(), at(0));
    bench.event(Started, 1, 7, 1);
    assert_eq!(bench.orders(), ["set []"]);
    assert_eq!(bench.bans()[1], "blackhole 192.0.2.7 awaiting_approval");
    assert!(bench.ask(&Question::Approve { id: 99 }, 2).is_err());
    let answer = bench.ask(&Question::Approve { id: 2 }, 2).unwrap();
    assert_eq!(answer["decisions"][0]["what"], "approve", "{answer}");
    assert_eq!(bench.orders(), ["+ 192.0.2.7/32 via 192.0.2.1"]);
}

fn ban(target: &str, kind: BanKind) -> Question {
    let (target, direction) = (target.parse().unwrap(), Direction::Outgoing);
    Question::Ban { target, kind, direction, seconds: Some(60), why: "abuse".into() }
}

#[test]
fn a_ban_by_hand_is_told_refused_where_it_must_be_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Mode::NotifyOnly);
    settings.actions.push(script(folder.path()));
    let mut bench = Bench::open(&settings, folder.path(), at(0));
    for target in ["0.0.0.0/0", "198.51.100.7", "192.0.2.0/24"] {
        let refused = bench.ask(&ban(target, BanKind::Notify), 1).unwrap_err();
        assert!(refused.starts_with("refused: "), "{refused}");
    }
    let answer = bench.ask(&ban("192.0.2.9", BanKind::Blackhole), 2).unwrap();
    let mut kinds: Vec<_> = answer["decisions"].as_array().unwrap().iter().collect();
    kinds.sort_by_key(|decision| decision["kind"].as_str().unwrap().to_owned());
    assert_eq!((&kinds[0]["kind"], &kinds[1]["kind"]), (&"blackhole".into(), &"notify".into()));
    assert_eq!(calls(folder.path(), 1), ["192.0.2.9 outgoing 0 ban"]);
    let unban = Question::Unban { target: "192.0.2.9".parse().unwrap(), why: "fixed".into() };
    bench.ask(&unban, 3).unwrap();
    assert_eq!(calls(folder.path(), 2)[1], "192.0.2.9 outgoing 0 unban");
    assert_eq!(bench.orders(), ["set []", "+ 192.0.2.9/32 via 192.0.2.1", "- 192.0.2.9/32"]);
    assert!(bench.ask(&unban, 4).is_err(), "nothing is left");
    let question = Question::History { since: None, target: None, limit: 100 };
    let history = bench.ask(&question, 5).unwrap();
    let decisions = history["decisions"].as_array().unwrap();
    let count = |what: &str| decisions.iter().filter(|d| d["what"] == what).count();
    assert_eq!((count("refused"), count("apply"), count("withdraw")), (3, 2, 2), "{history}");
}

#[test]
fn a_new_policy_takes_down_what_it_does_not_want_and_a_bad_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(&settings(Mode::Automatic), folder.path(), at(0));
    bench.event(Started, 1, 7, 1);
    bench.orders();
    let mut bad = settings(Mode::NotifyOnly);
    bad.actions.push(Config::Script(script::Config::new("relative.sh")));
    assert!(bench.post.reload(bad, &policy(), at(2)).is_err());
    assert_eq!(bench.orders(), [""; 0]);
    let said = bench.post.reload(settings(Mode::NotifyOnly), &policy(), at(2)).unwrap();
    assert_eq!(said, "what is done about attacks: mitigation");
    assert_eq!(bench.orders(), ["- 192.0.2.7/32"]);
    let mut with_script = settings(Mode::NotifyOnly);
    with_script.actions.push(script(folder.path()));
    let said = bench.post.reload(with_script.clone(), &policy(), at(3)).unwrap();
    assert_eq!(said, "what is done about attacks: actions");
    assert_eq!(bench.post.reload(with_script, &policy(), at(4)).unwrap(), "");
}

#[test]
fn what_is_withdrawn_at_the_end_does_not_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(&settings(Mode::Automatic), folder.path(), at(0));
    bench.event(Started, 1, 7, 1);
    bench.post.withdraw_all(at(2));
    assert!(bench.post.desired.is_leaving());
    bench.answered(7, MitigationOutcome::Withdrawn, 2);
    assert!(!bench.post.desired.is_leaving());
    drop(bench);
    let mut bench = Bench::open(&settings(Mode::Automatic), folder.path(), at(3));
    assert_eq!(bench.orders(), ["set []"]);
    assert_eq!(bench.post.planner.held(), None, "the brake is not pulled");
    bench.event(Started, 1, 7, 4);
    assert_eq!(bench.orders(), ["+ 192.0.2.7/32 via 192.0.2.1"]);
}

#[test]
fn events_that_were_lost_are_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::open(&settings(Mode::Automatic), folder.path(), at(0));
    let attack = event(Started, 1, 7, 1).attack;
    let attacks = vec![attack];
    bench.hub.publish(Snapshot { now: at(1), attacks, ..Snapshot::default() });
    bench.post.tick(at(1));
    assert_eq!(bench.orders(), ["set []", "+ 192.0.2.7/32 via 192.0.2.1"]);
    bench.hub.publish(Snapshot { now: at(4), ..Snapshot::default() });
    bench.post.tick(at(4));
    assert_eq!(bench.post.notices.going_on().count(), 0, "it is over");
    bench.event(Updated, 2, 9, 4);
    assert_eq!(bench.orders(), ["+ 192.0.2.9/32 via 192.0.2.1"], "its beginning was lost");
}

#[test]
fn five_hundred_attacks_in_one_second_are_two_writes() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Mode::Automatic);
    settings.planner.fallback.incoming.most_routes = 1000;
    settings.planner.rails.most_routes = 1000;
    settings.planner.rails.changes_per_minute = 1000;
    let mut bench = Bench::open(&settings, folder.path(), at(0));
    let before = bench.post.journal.as_ref().unwrap().stats().commits;
    for id in 0..500u32 {
        let mut event = event(Started, id.into(), 7, 1);
        event.attack.target = Target::Host(Address::v4(0xc000_0300 + id));
        bench.post.event(&event, at(1));
    }
    bench.post.settle(at(1));
    assert_eq!(bench.orders().len(), 501);
    let commits = bench.post.journal.as_ref().unwrap().stats().commits - before;
    assert!(commits <= 2, "{commits} writes");
}

#[test]
fn requests_that_come_together_are_one_write_and_are_answered_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings(Mode::NotifyOnly);
    settings.planner.fallback.outgoing.most_routes = 100;
    let mut bench = Bench::open(&settings, folder.path(), at(0));
    let commits = |bench: &Bench| bench.post.journal.as_ref().unwrap().stats().commits;
    let before = commits(&bench);
    let asked: Vec<_> = (1..=20)
        .map(|host| {
            let (reply, answer) = sync_channel(1);
            let question = ban(&format!("192.0.2.{host}"), BanKind::Blackhole);
            bench.post.ask(&question, "alice (uid 1000)", &reply, at(1));
            assert!(answer.try_recv().is_err(), "not before it is written");
            answer
        })
        .collect();
    bench.post.settle(at(1));
    for answer in asked {
        assert!(answer.try_recv().unwrap().is_ok());
    }
    assert_eq!(bench.orders().len(), 21);
    let written = commits(&bench) - before;
    assert!(written <= 2, "{written} writes");
}
