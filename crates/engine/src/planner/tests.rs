//! The life of mitigations, told step by step with times in seconds.

mod model;
mod start;

use tidewall_model::{
    Attack, AttackClass, AttackId, Direction, Family, FilterAction, Metric, Reason, TopTuples,
    TrafficClass, TrafficCounters, Unit,
};

use super::*;

const START: u64 = 1_767_571_200;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_parts(START + seconds, 0)
}

fn p(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn attack(id: u64, target: Target, direction: Direction, group: &str) -> Attack {
    Attack {
        id: AttackId(id),
        family: target.prefix().map_or(Family::V4, Prefix::family),
        target,
        direction,
        class: AttackClass::UdpFlood,
        vectors: Vec::new(),
        reason: Reason {
            metric: Metric { class: TrafficClass::Total, unit: Unit::Packets },
            direction,
            value: 2e5,
            limit: 2e4,
            group: group.to_owned(),
            window_ms: 250,
            samples: 100,
        },
        started: at(0),
        detected: at(0),
        ended: None,
        peak_pps: 0,
        peak_bps: 0,
        peak_flows: 0,
        packets: 0,
        bytes: 0,
        rates: TrafficCounters::default(),
        opposite: TrafficCounters::default(),
        top: TopTuples::default(),
        samples: Vec::new(),
        filters: Vec::new(),
    }
}

const VICTIM: &str = "198.51.100.7/32";

/// A planner, and what it said.
struct Bench {
    planner: Planner,
    engine: Policy,
    said: Vec<String>,
    decisions: Vec<Decision>,
    /// Packets of the attacks so far: every event brings one.
    packets: u64,
}

impl Bench {
    fn new(change: impl FnOnce(&mut PlannerPolicy)) -> Self {
        let engine = Policy::for_networks(vec![p("198.51.100.0/24"), p("2001:db8::/32")]);
        let mut policy = PlannerPolicy::default();
        policy.fallback.incoming = Response {
            mode: Mode::Automatic,
            ladder: ladder(&[(Measure::Notify, 0), (Measure::Blackhole, 0)]),
            ban_time: Duration::from_mins(10),
            minimum: Duration::from_mins(10),
            ..Response::default()
        };
        change(&mut policy);
        let planner = Planner::new(policy, &engine).unwrap();
        Self { planner, engine, said: Vec::new(), decisions: Vec::new(), packets: 0 }
    }

    fn hear(&mut self, decisions: Vec<Decision>) {
        for decision in &decisions {
            self.said.push(match &decision.what {
                Decided::Remembered(_) | Decided::Forgotten { .. } => continue,
                Decided::Mitigation(change, m) => {
                    let change = match change {
                        Change::Withdraw(end) => format!("withdraw {end:?}"),
                        Change::Gone(end) => format!("gone {end:?}"),
                        Change::Update => format!("update {}", m.status),
                        other => format!("{other:?}").to_lowercase(),
                    };
                    format!("{change}: {} {}", m.kind, m.target)
                }
                Decided::Refused(refused) => format!("refused: {}", refused.why),
                other => format!("{other:?}"),
            });
        }
        self.decisions.extend(decisions);
    }

    fn event(&mut self, seconds: u64, kind: AttackEventKind, target: &str, rules: &[FilterRule]) {
        let target = Target::from_prefix(p(target));
        self.packets += 1;
        let attack = attack(1, target, Direction::Incoming, "global");
        let attack = Attack { packets: self.packets, ..attack };
        let event = AttackEvent { kind, time: at(seconds), attack };
        let decisions = self.planner.attack(&event, rules, at(seconds));
        self.hear(decisions);
    }

    fn start(&mut self, seconds: u64, target: &str) {
        self.event(seconds, AttackEventKind::Started, target, &[]);
    }

    fn end(&mut self, seconds: u64, target: &str) {
        self.event(seconds, AttackEventKind::Ended, target, &[]);
    }

    /// Ticks every second in a range of time, and confirms every command at once. While `attacked`,
    /// the attack goes on.
    fn run(&mut self, from: u64, to: u64, attacked: bool) {
        for second in from..to {
            if attacked && second % 5 == 0 {
                self.event(second, AttackEventKind::Updated, VICTIM, &[]);
            }
            let decisions = self.planner.tick(at(second));
            self.hear(decisions);
            self.confirm(second);
        }
    }

    fn confirm(&mut self, seconds: u64) {
        let waiting: Vec<_> =
            (self.planner.mitigations()).map(|m| (m.id, m.status.clone())).collect();
        for (id, status) in waiting {
            let outcome = match status {
                MitigationStatus::Pending => MitigationOutcome::Applied,
                MitigationStatus::Withdrawing => MitigationOutcome::Withdrawn,
                _ => continue,
            };
            let decisions = self.planner.report(id, outcome, at(seconds));
            self.hear(decisions);
        }
    }

    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said)
    }

    fn commands(&self) -> usize {
        self.decisions.iter().filter(|d| d.command().is_some()).count()
    }

    /// Without updates, confirmations and notices.
    fn routes(&mut self) -> Vec<String> {
        let said = self.take();
        let is_news = |s: &String| {
            !s.starts_with("update") && !s.starts_with("gone") && !s.contains(": notify")
        };
        said.into_iter().filter(is_news).collect()
    }

    fn up(&self) -> Vec<String> {
        self.planner
            .mitigations()
            .filter(|m| m.status != MitigationStatus::Withdrawing)
            .map(|m| format!("{} {} {}", m.kind, m.target, m.status))
            .collect()
    }
}

fn ladder(steps: &[(Measure, u64)]) -> Vec<Step> {
    let step = |(measure, after): &(Measure, u64)| Step::new(*measure, Duration::from_secs(*after));
    steps.iter().map(step).collect()
}

fn ban(target: &str) -> BanRequest {
    BanRequest {
        target: p(target),
        kind: MitigationKind::Blackhole,
        direction: Direction::Incoming,
        lasts: Some(Duration::from_mins(5)),
        who: "ann".to_owned(),
        why: "ticket 7".to_owned(),
    }
}

fn unban(target: &str) -> UnbanRequest {
    UnbanRequest { target: p(target), who: "bob".to_owned(), why: "customer asked".to_owned() }
}

#[test]
fn the_default_tells_and_announces_nothing() {
    let engine = Policy::for_networks(vec![p("198.51.100.0/24")]);
    let planner = Planner::new(PlannerPolicy::default(), &engine).unwrap();
    let mut bench = Bench::new(|policy| *policy = PlannerPolicy::default());
    bench.planner = planner;
    bench.start(0, VICTIM);
    bench.run(0, 120, true);
    assert_eq!(bench.up(), ["notify 198.51.100.7 active"]);
    assert_eq!(bench.planner.stats().routes, 0);
}

#[test]
fn a_ban_outlives_a_hidden_attack_and_ends() {
    let mut bench = Bench::new(|_| ());
    bench.start(0, VICTIM);
    assert_eq!(bench.take(), ["apply: notify 198.51.100.7", "apply: blackhole 198.51.100.7"]);
    bench.confirm(0);
    bench.end(30, VICTIM);
    bench.run(31, 600, false);
    assert_eq!(bench.routes(), [""; 0], "what is not seen may still be there");
    bench.run(600, 601, false);
    assert_eq!(bench.routes(), ["withdraw Expired: blackhole 198.51.100.7"]);
    bench.run(601, 600 + 120 + 3600 + 3, false);
    assert_eq!(bench.routes(), [""; 0]);
    assert_eq!(bench.planner.stats(), PlannerStats::default(), "all is forgotten");
}

#[test]
fn a_visible_attack_keeps_its_ban_and_its_end_is_followed() {
    let mut bench = Bench::new(|_| ());
    bench.start(0, VICTIM);
    bench.run(0, 3000, true);
    assert_eq!(bench.up().len(), 2);
    bench.end(3000, VICTIM);
    bench.run(3000, 3062, false);
    assert_eq!(bench.up(), [""; 0], "within a minute");
}

#[test]
fn notices_end_with_an_attack_that_can_be_seen() {
    let mut bench = Bench::new(|policy| {
        policy.fallback.incoming.mode = Mode::NotifyOnly;
        policy.fallback.incoming.minimum = Duration::from_mins(1);
    });
    bench.start(0, VICTIM);
    bench.end(20, VICTIM);
    bench.run(20, 60, false);
    assert_eq!(bench.up().len(), 1);
    bench.run(60, 61, false);
    assert!(bench.take().contains(&"withdraw AttackOver: notify 198.51.100.7".to_owned()));
}

#[test]
fn an_attack_that_returns_is_put_back_at_once_and_for_longer() {
    let mut bench = Bench::new(|policy| {
        policy.fallback.incoming.ladder = ladder(&[(Measure::Notify, 0), (Measure::Blackhole, 60)]);
    });
    bench.start(0, VICTIM);
    bench.run(0, 70, true);
    bench.end(70, VICTIM);
    assert_eq!(bench.routes(), ["apply: blackhole 198.51.100.7"]);
    bench.run(70, 661, false);
    assert_eq!(bench.routes(), ["withdraw Expired: blackhole 198.51.100.7"]);
    bench.start(700, VICTIM);
    assert_eq!(bench.routes(), ["apply: blackhole 198.51.100.7"], "no dwell: it was there before");
    let blackhole = bench.planner.mitigations().find(|m| m.kind.is_route()).unwrap();
    assert_eq!((blackhole.ends, blackhole.round), (at(700 + 1200), 1));
    bench.end(730, VICTIM);
    bench.run(730, 1901, false);
    assert_eq!(bench.routes(), ["withdraw Expired: blackhole 198.51.100.7"]);
    // After the probe it is a new attack on a repeat victim: the ladder again, and longer still.
    bench.run(1901, 2100, false);
    bench.start(2100, VICTIM);
    assert_eq!(bench.routes(), [""; 0]);
    bench.run(2100, 2161, true);
    assert_eq!(bench.routes(), ["apply: blackhole 198.51.100.7"]);
    let blackhole = bench.planner.mitigations().find(|m| m.kind.is_route()).unwrap();
    assert_eq!(blackhole.ends, at(2160 + 2400));
}

#[test]
fn pulses_are_one_incident() {
    let mut bench = Bench::new(|_| ());
    for pulse in 0..6 {
        bench.start(pulse * 90, VICTIM);
        bench.run(pulse * 90, pulse * 90 + 20, true);
        bench.end(pulse * 90 + 50, VICTIM);
        bench.run(pulse * 90 + 50, pulse * 90 + 90, false);
    }
    assert_eq!(bench.routes(), ["apply: blackhole 198.51.100.7"], "put up once");
    assert_eq!(bench.planner.stats().incidents, 1);
}

#[test]
fn the_ladder_waits_and_makes_before_it_breaks() {
    let rule = FilterRule { protocol: Some(17), ..FilterRule::all(FilterAction::Discard) };
    let mut bench = Bench::new(|policy| {
        policy.fallback.incoming.ladder =
            ladder(&[(Measure::Notify, 0), (Measure::Filter, 10), (Measure::Blackhole, 60)]);
    });
    bench.event(0, AttackEventKind::Started, VICTIM, &[rule]);
    bench.run(0, 10, true);
    assert_eq!(bench.up(), ["notify 198.51.100.7 active"]);
    bench.run(10, 70, true);
    assert_eq!(bench.routes(), ["apply: flow_spec 198.51.100.7"]);
    let decisions = bench.planner.tick(at(70));
    bench.hear(decisions);
    assert_eq!(bench.routes(), ["apply: blackhole 198.51.100.7"], "the filter is still up");
    bench.confirm(70);
    assert_eq!(bench.routes(), ["withdraw Replaced: flow_spec 198.51.100.7"]);
    bench.end(80, VICTIM);
    bench.run(80, 1000, false);
    assert_eq!(bench.up(), [""; 0]);
}

/// Where nothing can be filtered, that is told once, and the next step comes in its time; rules
/// that come late are taken.
#[test]
fn a_filter_step_without_rules_is_told_and_the_next_one_taken() {
    let steps = [(Measure::Notify, 0), (Measure::Filter, 0), (Measure::Blackhole, 20)];
    let mut bench = Bench::new(|policy| policy.fallback.incoming.ladder = ladder(&steps));
    bench.start(0, VICTIM);
    bench.run(0, 30, true);
    let told = "refused: no few rules take enough of the attack and spare what is normal; the \
                ladder goes on with its next step";
    let place = |bench: &Bench, words: &str| bench.said.iter().position(|said| said == words);
    assert_eq!(bench.said.iter().filter(|said| *said == told).count(), 1, "{:?}", bench.said);
    assert!(place(&bench, told) < place(&bench, "apply: blackhole 198.51.100.7"));
    assert!(place(&bench, "apply: blackhole 198.51.100.7").is_some(), "{:?}", bench.said);
    let no_filter = Refusal::NAMES.iter().position(|name| *name == "no_filter").unwrap();
    assert_eq!(bench.planner.stats().refused[no_filter], 1);

    // Late, but before the next step: nothing is told.
    let mut bench = Bench::new(|policy| policy.fallback.incoming.ladder = ladder(&steps));
    bench.start(0, VICTIM);
    let rule = FilterRule { protocol: Some(17), ..FilterRule::all(FilterAction::Discard) };
    bench.event(5, AttackEventKind::Updated, VICTIM, &[rule]);
    bench.run(6, 15, true);
    assert!(bench.said.iter().all(|said| !said.starts_with("refused")), "{:?}", bench.said);

    // The last step, and an attack from our hosts, which has no filter step at all.
    let mut bench = Bench::new(|policy| policy.fallback.incoming.ladder = ladder(&steps[..2]));
    bench.start(0, VICTIM);
    bench.run(0, 9, true);
    assert!(bench.said.iter().all(|said| !said.starts_with("refused")), "rules may come");
    bench.run(9, 20, true);
    let last = "refused: no few rules take enough of the attack and spare what is normal; the \
                ladder has no further step";
    assert_eq!(bench.said.iter().filter(|said| *said == last).count(), 1, "{:?}", bench.said);
}

#[test]
fn a_failed_step_keeps_the_one_before() {
    let rule = FilterRule::all(FilterAction::RateLimit(1000));
    let mut bench = Bench::new(|policy| {
        policy.fallback.incoming.ladder = ladder(&[(Measure::Filter, 0), (Measure::Blackhole, 5)]);
    });
    bench.event(0, AttackEventKind::Started, VICTIM, &[rule]);
    bench.run(0, 5, true);
    bench.event(5, AttackEventKind::Updated, VICTIM, &[]);
    let id = bench.planner.mitigations().find(|m| m.kind == MitigationKind::Blackhole).unwrap().id;
    let outcome = MitigationOutcome::Failed("no peer is up".to_owned());
    let decisions = bench.planner.report(id, outcome, at(6));
    bench.hear(decisions);
    bench.run(6, 60, true);
    assert_eq!(
        bench.up(),
        ["flow_spec 198.51.100.7 active", "blackhole 198.51.100.7 failed: no peer is up"]
    );
}

#[test]
fn a_route_with_two_reasons_stays_until_both_are_gone() {
    let mut bench = Bench::new(|_| ());
    bench.start(0, VICTIM);
    bench.confirm(0);
    let decisions = bench.planner.ban(&ban(VICTIM), at(500)).unwrap();
    bench.hear(decisions);
    bench.end(510, VICTIM);
    let applied = bench.take();
    assert!(!applied.iter().skip(2).any(|s| s.starts_with("apply")), "{applied:?}");
    bench.run(511, 800, false);
    assert_eq!(bench.up().len(), 2, "the attack's reason ended at 600, the manual one has not");
    bench.run(800, 801, false);
    assert_eq!(bench.routes(), ["withdraw Expired: blackhole 198.51.100.7"]);
}

#[test]
fn two_hosts_keep_one_diversion_up() {
    let mut bench = Bench::new(|policy| {
        policy.fallback.incoming.ladder = ladder(&[(Measure::Divert, 0)]);
    });
    bench.start(0, VICTIM);
    bench.start(100, "198.51.100.8/32");
    bench.confirm(100);
    bench.end(110, VICTIM);
    bench.end(110, "198.51.100.8/32");
    assert_eq!(bench.routes(), ["apply: divert 198.51.100.0/24"]);
    bench.run(111, 699, false);
    assert_eq!(bench.up().len(), 1);
    bench.run(699, 701, false);
    assert_eq!(bench.routes(), ["withdraw Expired: divert 198.51.100.0/24"]);
}

#[test]
fn nothing_is_routed_before_a_person_agrees() {
    let mut bench = Bench::new(|policy| policy.fallback.incoming.mode = Mode::ApproveFirst);
    bench.start(0, VICTIM);
    bench.run(0, 100, true);
    assert_eq!(
        bench.up(),
        ["notify 198.51.100.7 active", "blackhole 198.51.100.7 awaiting_approval"]
    );
    assert_eq!((bench.planner.stats().routes, bench.planner.stats().waiting), (0, 1));
    let id = bench.planner.mitigations().find(|m| m.kind.is_route()).unwrap().id;
    let wrong = bench.planner.approve(MitigationId(99), "ann", at(100)).unwrap_err();
    assert_eq!(wrong, RequestError::NotWaiting { id: MitigationId(99) });
    let decisions = bench.planner.approve(id, "ann\x1b[2J", at(100)).unwrap();
    assert_eq!(decisions.iter().filter_map(Decision::command).count(), 1);
    bench.hear(decisions);
    assert!(
        bench.take().contains(&"approve { who: \"ann [2j\" }: blackhole 198.51.100.7".to_owned())
    );
    assert!(bench.planner.approve(id, "ann", at(101)).is_err(), "only once");
    bench.end(130, VICTIM);
    bench.run(130, 701, false);
    assert_eq!(bench.routes(), ["withdraw Expired: blackhole 198.51.100.7"]);
    bench.start(720, VICTIM);
    assert_eq!(bench.routes(), ["apply: blackhole 198.51.100.7"], "agreed for this attack");
}

#[test]
fn a_request_for_approval_ends_with_its_attack() {
    let mut bench = Bench::new(|policy| policy.fallback.incoming.mode = Mode::ApproveFirst);
    bench.start(0, VICTIM);
    bench.end(40, VICTIM);
    assert_eq!(bench.up().len(), 1);
    let said = bench.take();
    assert!(said.contains(&"gone Replaced: blackhole 198.51.100.7".to_owned()), "{said:?}");
    assert_eq!(bench.commands(), 1, "only the notice was ever a command");
}

#[test]
fn a_manual_ban_does_not_lend_its_approval() {
    let mut bench = Bench::new(|policy| policy.fallback.incoming.mode = Mode::ApproveFirst);
    let decisions = bench.planner.ban(&ban(VICTIM), at(0)).unwrap();
    bench.hear(decisions);
    bench.confirm(0);
    bench.start(10, VICTIM);
    bench.run(10, 310, true);
    assert_eq!(
        bench.up(),
        ["notify 198.51.100.7 active", "blackhole 198.51.100.7 awaiting_approval"]
    );
}

#[test]
fn a_dry_run_says_and_does_nothing() {
    let mut bench = Bench::new(|policy| policy.fallback.incoming.mode = Mode::DryRun);
    bench.start(0, VICTIM);
    bench.end(60, VICTIM);
    bench.run(60, 601, false);
    assert_eq!(
        bench.routes(),
        ["apply: blackhole 198.51.100.7", "withdraw Expired: blackhole 198.51.100.7"]
    );
    assert_eq!((bench.commands(), bench.planner.stats().routes), (0, 0));
}

#[test]
fn an_unban_is_not_contradicted_for_a_while() {
    let mut bench = Bench::new(|_| ());
    bench.start(0, VICTIM);
    bench.run(0, 50, true);
    let decisions = bench.planner.unban(&unban(VICTIM), at(50)).unwrap();
    bench.hear(decisions);
    assert_eq!(bench.up(), [""; 0]);
    assert!(bench.take().iter().any(|s| s.contains("customer asked")));
    let error = bench.planner.unban(&unban(VICTIM), at(51)).unwrap_err();
    assert_eq!(error.to_string(), "nothing is done for 198.51.100.7/32");
    bench.run(51, 650, true);
    assert_eq!(bench.up(), [""; 0]);
    bench.run(650, 652, true);
    assert_eq!(bench.up().len(), 2, "ten minutes later the attack is still there");
}

#[test]
fn requests_are_held_by_the_rails() {
    let mut bench = Bench::new(|_| ());
    for target in ["0.0.0.0/0", "198.51.100.0/24", "192.0.2.1/32", "::/0"] {
        let error = bench.planner.ban(&ban(target), at(0)).unwrap_err();
        assert!(matches!(error, RequestError::Refused(_)), "{target}: {error}");
        let request = BanRequest { kind: MitigationKind::Notify, ..ban(target) };
        assert!(bench.planner.ban(&request, at(0)).is_err(), "a script would announce {target}");
    }
    let long = BanRequest { lasts: Some(Duration::MAX), ..ban(VICTIM) };
    assert!(matches!(bench.planner.ban(&long, at(0)), Err(RequestError::Time { .. })));
    assert_eq!(bench.planner.mitigations().count(), 0);
    let decisions = bench.planner.ban(&ban("2001:db8::7/128"), at(0)).unwrap();
    let Decided::Mitigation(_, mitigation) = &decisions[0].what else { panic!("{decisions:?}") };
    assert_eq!(mitigation.network, Some(p("2001:db8::/32")));
    assert_eq!(mitigation.direction, Direction::Incoming);
    assert_eq!(mitigation.ends, at(300));
}

#[test]
fn caps_refuse_once_in_words_and_let_in_later() {
    let mut bench = Bench::new(|policy| policy.fallback.incoming.most_routes = 1);
    bench.start(0, VICTIM);
    bench.confirm(0);
    bench.end(1, VICTIM);
    for second in 0..300 {
        bench.event(2 + second, AttackEventKind::Updated, "198.51.100.8/32", &[]);
    }
    let said = bench.take();
    let refusals: Vec<_> = said.iter().filter(|s| s.starts_with("refused")).collect();
    assert_eq!(refusals, ["refused: group `global` has 1 routes, its most"]);
    assert_eq!(bench.planner.stats().refused.iter().sum::<u64>(), 1);
    for second in 300..605 {
        bench.event(second, AttackEventKind::Updated, "198.51.100.8/32", &[]);
        let decisions = bench.planner.tick(at(second));
        bench.hear(decisions);
        bench.confirm(second);
    }
    assert_eq!(
        bench.routes(),
        ["withdraw Expired: blackhole 198.51.100.7", "apply: blackhole 198.51.100.8"]
    );
}

#[test]
fn the_brake_withdraws_everything_and_holds() {
    let mut bench = Bench::new(|_| ());
    bench.start(0, VICTIM);
    let decisions = bench.planner.ban(&ban("198.51.100.9/32"), at(1)).unwrap();
    bench.hear(decisions);
    let decisions = bench.planner.panic("ann", at(10));
    assert_eq!(decisions.iter().filter_map(Decision::command).count(), 4);
    bench.hear(decisions);
    bench.run(11, 400, true);
    assert_eq!(bench.up(), [""; 0]);
    assert_eq!(bench.planner.held(), Some("ann"));
    assert!(matches!(bench.planner.ban(&ban(VICTIM), at(400)), Err(RequestError::Held { .. })));
    bench.take();
    let decisions = bench.planner.resume("bob", at(400)).unwrap();
    bench.hear(decisions);
    assert_eq!(bench.routes(), ["Resumed { who: \"bob\" }", "apply: blackhole 198.51.100.7"]);
    assert_eq!(bench.planner.resume("bob", at(401)), Err(RequestError::NotHeld));
}

#[test]
fn a_silent_detector_does_not_keep_a_ban_up() {
    let mut bench = Bench::new(|_| ());
    bench.start(0, VICTIM);
    bench.run(0, 590, false);
    assert_eq!(bench.up().len(), 2);
    bench.run(590, 601, false);
    assert_eq!(bench.up(), [""; 0]);
}

#[test]
fn a_clock_set_back_leaves_what_is_left() {
    let mut bench = Bench::new(|_| ());
    bench.start(5000, VICTIM);
    bench.end(5010, VICTIM);
    bench.run(5010, 5100, false);
    bench.run(100, 601, false);
    assert_eq!(bench.up().len(), 2);
    bench.run(601, 602, false);
    assert_eq!(bench.up(), [""; 0], "600 s after it was put up, by any clock");
}

#[test]
fn a_new_policy_withdraws_what_it_does_not_allow() {
    let mut bench = Bench::new(|_| ());
    bench.start(0, VICTIM);
    bench.start(0, "198.51.100.8/32");
    bench.run(0, 5, true);
    bench.take();
    let mut policy = bench.planner.policy.clone();
    policy.rails.protected.push(p(VICTIM));
    let decisions = bench.planner.replace(policy.clone(), &bench.engine, at(6)).unwrap();
    bench.hear(decisions);
    let said = bench.routes();
    assert!(said[0].starts_with("withdraw NotAllowed(Protected"), "{said:?}");
    assert_eq!(said.len(), 2, "and once in words why it is not put back: {said:?}");
    policy.fallback.incoming.mode = Mode::NotifyOnly;
    let decisions = bench.planner.replace(policy, &bench.engine, at(7)).unwrap();
    bench.hear(decisions);
    assert_eq!(bench.routes(), ["withdraw Policy: blackhole 198.51.100.8"]);
}

#[test]
fn a_restart_puts_back_what_was_up_and_ends_what_was_ending() {
    let mut bench = Bench::new(|_| ());
    bench.start(0, VICTIM);
    bench.start(0, "198.51.100.8/32");
    bench.confirm(0);
    let decisions = bench.planner.unban(&unban("198.51.100.8/32"), at(3)).unwrap();
    bench.hear(decisions);
    let saved = Saved {
        mitigations: bench.planner.mitigations().cloned().collect(),
        next_id: 77,
        ..Saved::default()
    };
    let mut next = Bench::new(|_| ());
    let decisions = next.planner.restore(saved.clone(), at(10));
    next.hear(decisions);
    assert_eq!(
        next.routes(),
        ["apply: blackhole 198.51.100.7", "withdraw Restart: blackhole 198.51.100.8"]
    );
    next.confirm(10);
    next.run(11, 600, false);
    assert_eq!(next.up().len(), 2, "the same end as before");
    next.run(600, 601, false);
    assert_eq!(next.up(), [""; 0]);
    next.start(650, VICTIM);
    let id = next.planner.mitigations().find(|m| m.kind.is_route()).unwrap().id;
    assert!(id >= MitigationId(77), "no number comes twice: {id}");

    let mut held = Bench::new(|_| ());
    let decisions =
        held.planner.restore(Saved { held: Some("ann".to_owned()), ..saved.clone() }, at(10));
    held.hear(decisions);
    assert_eq!((held.up(), held.planner.held()), (vec![], Some("ann")));
    assert!(!held.take().iter().any(|s| s.starts_with("apply")), "not for an instant");

    let mut other = Bench::new(|policy| policy.rails.protected.push(p(VICTIM)));
    let decisions = other.planner.restore(saved.clone(), at(10));
    other.hear(decisions);
    assert!(other.routes().iter().all(|s| s.starts_with("withdraw")), "no longer allowed");

    let mut late = Bench::new(|_| ());
    let decisions = late.planner.restore(saved, at(601));
    late.hear(decisions);
    assert!(late.routes().contains(&"withdraw Expired: blackhole 198.51.100.7".to_owned()));
}

#[test]
fn totals_are_told_and_never_routed() {
    let mut bench = Bench::new(|_| ());
    let attack = attack(1, Target::Group("web".to_owned()), Direction::Incoming, "web");
    let event = AttackEvent { kind: AttackEventKind::Started, time: at(0), attack };
    let decisions = bench.planner.attack(&event, &[], at(0));
    bench.hear(decisions);
    bench.start(0, "198.51.100.0/24");
    let said = bench.take();
    assert_eq!(said[0], "apply: notify group web");
    assert_eq!(said[1], "apply: notify 198.51.100.0/24");
    assert!(said[2].starts_with("refused: 198.51.100.0/24 is larger"), "{said:?}");
    assert_eq!(said.len(), 3);
}

#[test]
fn policies_out_of_bounds_are_refused() {
    let engine = Policy::for_networks(vec![]);
    let refused = |change: fn(&mut Response)| {
        let mut policy = PlannerPolicy::default();
        change(&mut policy.fallback.outgoing);
        Planner::new(policy, &engine).unwrap_err().to_string()
    };
    assert_eq!(refused(|r| r.growth = f64::NAN), "group `global`, growth: NaN must be 1 to 100");
    assert!(refused(|r| r.ban_time = Duration::ZERO).contains("1 second to 366 days"));
    let rails = |change: fn(&mut RailsPolicy)| {
        let mut policy = PlannerPolicy::default();
        change(&mut policy.rails);
        Planner::new(policy, &engine).unwrap_err().to_string()
    };
    assert_eq!(rails(|r| r.largest_share = f64::NAN), "largest_share: NaN must be 0 to 1");
    assert!(rails(|r| r.largest_share = 1.1).contains("1.1 must be 0 to 1"));
    assert!(rails(|r| r.grace_after_start = Duration::MAX).contains("at most 1 hour"));
    assert!(refused(|r| r.minimum = Duration::MAX).contains("at most the ban time"));
    assert!(refused(|r| r.longest = Duration::from_secs(1)).contains("the ban time to 366 days"));
}
