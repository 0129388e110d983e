//! Any order of attacks, requests, answers, clock steps, reloads and restarts: what is up has a
//! reason, an end and a permission, and it is what the actions and the journal have.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use tidewall_model::MitigationCommand;

use super::*;
use crate::policy::Group;

#[derive(Clone, Copy, Debug)]
enum Op {
    Start(usize),
    Update(usize),
    End(usize),
    Tick(u64),
    Ban(usize, u8, u64),
    Unban(usize),
    Approve(usize),
    Answer,
    Fail(usize),
    Panic,
    Resume,
    ClockBack(u64),
    Reload(u8),
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let victim = || 0..VICTIMS.len();
    prop_oneof![
        6 => victim().prop_map(Op::Start),
        6 => victim().prop_map(Op::Update),
        4 => victim().prop_map(Op::End),
        8 => prop_oneof![0..5u64, 0..70u64, 0..2000u64].prop_map(Op::Tick),
        3 => (victim(), 0..4u8, 0..900u64).prop_map(|(v, kind, lasts)| Op::Ban(v, kind, lasts)),
        2 => victim().prop_map(Op::Unban),
        3 => (0..4usize).prop_map(Op::Approve),
        8 => Just(Op::Answer),
        2 => (0..4usize).prop_map(Op::Fail),
        1 => Just(Op::Panic),
        2 => Just(Op::Resume),
        1 => (0..5000u64).prop_map(Op::ClockBack),
        1 => (0..5u8).prop_map(Op::Reload),
        2 => Just(Op::Restart),
    ]
}

/// Targets, and whether their traffic is ours to announce at /32 and /128.
const VICTIMS: [(&str, bool); 9] = [
    ("198.51.100.7/32", true),
    ("198.51.100.8/32", true),
    ("198.51.100.130/32", true),
    ("198.51.100.131/32", true),
    ("2001:db8::7/128", true),
    ("198.51.100.66/32", false),
    ("198.51.100.0/24", false),
    ("192.0.2.1/32", false),
    ("203.0.113.9/32", true),
];

const MOST_ROUTES: usize = 4;
const MOST_OF_GROUP: usize = 2;
const PER_MINUTE: u32 = 6;
const LONGEST: u64 = 3000;

fn engine() -> Policy {
    let mut engine =
        Policy::for_networks(vec![p("198.51.100.0/24"), p("203.0.113.0/24"), p("2001:db8::/32")]);
    let web = vec![p("198.51.100.128/25")];
    engine.groups.push(Group { name: "web".to_owned(), prefixes: web, ..Group::global() });
    engine
}

fn policy(variant: u8) -> PlannerPolicy {
    let mut policy = PlannerPolicy::default();
    policy.rails.protected = vec![p("198.51.100.66/32")];
    policy.rails.most_routes = MOST_ROUTES;
    policy.rails.changes_per_minute = PER_MINUTE;
    policy.longest_manual = Duration::from_secs(LONGEST);
    let mode = [Mode::Automatic, Mode::ApproveFirst, Mode::DryRun, Mode::NotifyOnly, Mode::Off];
    let response = |mode, steps: &[(Measure, u64)]| Response {
        mode,
        ladder: ladder(steps),
        ban_time: Duration::from_mins(5),
        minimum: Duration::from_mins(1),
        longest: Duration::from_secs(LONGEST),
        repeat_within: Duration::from_secs(1000),
        most_routes: MOST_OF_GROUP,
        ..Response::default()
    };
    let steps = [
        (Measure::Notify, 0),
        (Measure::Filter, 0),
        (Measure::Divert, 30),
        (Measure::Blackhole, 60),
    ];
    policy.fallback.incoming = response(mode[usize::from(variant) % 5], &steps);
    let web = response(mode[usize::from(variant + 1) % 5], &[(Measure::Blackhole, 0)]);
    policy.groups.insert(
        "web".to_owned(),
        DirectedResponses { incoming: web, outgoing: Response::default() },
    );
    policy
}

/// What actions have done, by what is announced or told.
type World = BTreeMap<Key, MitigationId>;

struct Run {
    planner: Planner,
    engine: Policy,
    now: u64,
    going_on: [bool; VICTIMS.len()],
    saved: Saved,
    world: World,
    /// Commands that actions have taken and not answered.
    taken: Vec<MitigationCommand>,
    packets: u64,
    /// When routes were put up since the last clock step or restart.
    applied: Vec<u64>,
}

impl Run {
    fn new() -> Self {
        let engine = engine();
        let planner = Planner::new(policy(0), &engine).unwrap();
        Self {
            planner,
            engine,
            now: 100_000,
            going_on: [false; VICTIMS.len()],
            saved: Saved::default(),
            world: World::new(),
            taken: Vec::new(),
            packets: 0,
            applied: Vec::new(),
        }
    }

    /// Journal first, then actions, which carry out commands in order and answer later.
    fn carry_out(&mut self, decisions: &[Decision], is_restart: bool) {
        for decision in decisions {
            match decision.effect() {
                Effect::Remember(victim) => {
                    self.forget_victim(&victim.target);
                    self.saved.victims.push(victim.clone());
                }
                Effect::ForgetVictim(target, _) => self.forget_victim(target),
                Effect::Keep(mitigation) => {
                    self.saved.mitigations.retain(|m| m.id != mitigation.id);
                    self.saved.mitigations.push(mitigation.clone());
                    self.saved.next_id = self.saved.next_id.max(mitigation.id.0 + 1);
                }
                Effect::Forget(id) => self.saved.mitigations.retain(|m| m.id != id),
                Effect::Hold(who) => self.saved.held = who.map(str::to_owned),
                Effect::Nothing => {}
            }
            let Some(command) = decision.command() else { continue };
            match &command {
                MitigationCommand::Apply(m) => {
                    assert!(!m.dry_run && m.status == MitigationStatus::Pending, "{m:?}");
                    if m.kind.is_route() && !is_restart {
                        self.applied.push(self.now);
                    }
                    self.world.insert(key(m), m.id);
                }
                MitigationCommand::Withdraw(m) => {
                    self.world.remove(&key(m));
                }
            }
            self.taken.push(command);
        }
    }

    /// All attacks come in.
    fn forget_victim(&mut self, target: &Target) {
        self.saved.victims.retain(|victim| victim.target != *target);
    }

    fn event(&mut self, victim: usize, kind: AttackEventKind) {
        let target = Target::from_prefix(p(VICTIMS[victim].0));
        let group = if (2..4).contains(&victim) { "web" } else { "global" };
        let attack = attack(self.now, target, Direction::Incoming, group);
        self.packets += 1;
        let attack = Attack { packets: self.packets, ..attack };
        let time = at(self.now);
        let rule = |protocol| FilterRule { protocol, ..FilterRule::all(FilterAction::Discard) };
        let rules = [rule(Some(17)), rule(Some(6))];
        let event = AttackEvent { kind, time, attack };
        let rules = if victim == 1 { &rules[..] } else { &rules[..1] };
        let decisions = self.planner.attack(&event, rules, time);
        self.carry_out(&decisions, false);
        self.going_on[victim] = kind != AttackEventKind::Ended;
    }

    fn request(&mut self, op: Op) {
        let now = at(self.now);
        let result = match op {
            Op::Ban(victim, kind, lasts) => self.planner.ban(
                &BanRequest {
                    kind: match kind {
                        0 => MitigationKind::Notify,
                        1 => MitigationKind::Divert,
                        2 => MitigationKind::FlowSpec(FilterRule::all(FilterAction::Discard)),
                        _ => MitigationKind::Blackhole,
                    },
                    lasts: Some(Duration::from_secs(lasts)),
                    ..ban(VICTIMS[victim].0)
                },
                now,
            ),
            Op::Unban(victim) => self.planner.unban(&unban(VICTIMS[victim].0), now),
            Op::Approve(nth) => {
                let waits = |m: &&Mitigation| m.status == MitigationStatus::AwaitingApproval;
                let id = self.planner.mitigations().filter(waits).nth(nth).map(|m| m.id);
                self.planner.approve(id.unwrap_or(MitigationId(0)), "ann", now)
            }
            _ => self.planner.resume("ann", now),
        };
        if let Ok(decisions) = result {
            self.carry_out(&decisions, false);
        }
    }

    fn answer(&mut self) {
        for command in std::mem::take(&mut self.taken) {
            let (id, outcome) = match command {
                MitigationCommand::Apply(m) => (m.id, MitigationOutcome::Applied),
                MitigationCommand::Withdraw(m) => (m.id, MitigationOutcome::Withdrawn),
            };
            let decisions = self.planner.report(id, outcome, at(self.now));
            self.carry_out(&decisions, false);
        }
    }

    fn restart(&mut self, variant: u8) {
        self.planner = Planner::new(policy(variant), &self.engine).unwrap();
        let decisions = self.planner.restore(self.saved.clone(), at(self.now));
        self.taken.clear();
        self.applied.clear();
        self.carry_out(&decisions, true);
    }

    fn step(&mut self, op: Op, variant: &mut u8) {
        match op {
            Op::Start(victim) => self.event(victim, AttackEventKind::Started),
            Op::Update(victim) => {
                if self.going_on[victim] {
                    self.event(victim, AttackEventKind::Updated);
                }
            }
            Op::End(victim) => self.event(victim, AttackEventKind::Ended),
            Op::Tick(seconds) => self.now += seconds,
            Op::Answer => self.answer(),
            Op::Fail(nth) => {
                let id = self.planner.mitigations().nth(nth).map(|m| m.id);
                if let Some(id) = id {
                    let outcome = MitigationOutcome::Failed("no peer".to_owned());
                    let decisions = self.planner.report(id, outcome, at(self.now));
                    self.carry_out(&decisions, false);
                }
            }
            Op::Panic => {
                let decisions = self.planner.panic("ann", at(self.now));
                self.carry_out(&decisions, false);
            }
            Op::ClockBack(seconds) => {
                self.now -= seconds;
                self.applied.clear();
            }
            Op::Reload(new) => {
                *variant = new;
                let decisions = self.planner.replace(policy(new), &self.engine, at(self.now));
                self.carry_out(&decisions.unwrap(), false);
            }
            Op::Restart => self.restart(*variant),
            Op::Ban(..) | Op::Unban(_) | Op::Approve(_) | Op::Resume => self.request(op),
        }
        let decisions = self.planner.tick(at(self.now));
        self.carry_out(&decisions, false);
    }

    fn check(&self) {
        let real = || self.planner.mitigations().filter(|m| !m.dry_run);
        let mut routes = 0;
        let mut groups = BTreeMap::<&str, usize>::new();
        for m in self.planner.mitigations() {
            let is_up = m.status != MitigationStatus::Withdrawing;
            if m.kind.is_route() {
                self.check_rails(m);
            }
            if m.kind.is_route() && !m.dry_run && m.status != MitigationStatus::AwaitingApproval {
                routes += 1;
                *groups.entry(&m.group).or_default() += 1;
            }
            if is_up {
                assert!(self.planner.held().is_none(), "held, and yet up: {m:?}");
                assert_eq!(Some(m.ends), m.causes.iter().map(|c| c.ends).max(), "{m:?}");
                for cause in &m.causes {
                    assert!(cause.ends > at(self.now), "at {}: a dead reason: {m:?}", at(self.now));
                    assert!(cause.ends <= at(self.now + LONGEST), "ends too late: {m:?}");
                }
            }
        }
        assert!(routes <= MOST_ROUTES, "{routes} routes");
        assert_eq!(routes, self.planner.stats().routes);
        assert!(groups.values().all(|n| *n <= MOST_OF_GROUP), "{groups:?}");
        let last_minute = self.applied.iter().filter(|t| **t + 60 > self.now).count();
        assert!(last_minute <= PER_MINUTE as usize, "{last_minute} routes in a minute");
        let mut saved = self.saved.mitigations.clone();
        let mut known: Vec<Mitigation> = real().cloned().collect();
        saved.sort_by_key(|m| m.id);
        known.sort_by_key(|m| m.id);
        assert_eq!(saved, known, "the journal knows exactly what is");
        assert_eq!(self.saved.held.as_deref(), self.planner.held());
        self.check_victims();
        let is_applied = |m: &&Mitigation| {
            !matches!(m.status, MitigationStatus::AwaitingApproval | MitigationStatus::Withdrawing)
        };
        let wanted: World = real().filter(is_applied).map(|m| (key(m), m.id)).collect();
        assert_eq!(self.world, wanted, "what is announced is what is wanted");
    }

    /// Whoever had a ban is known to the journal, and nobody else is.
    fn check_victims(&self) {
        for ((target, _), incident) in &self.planner.incidents {
            let written = self.saved.victims.iter().find(|victim| victim.target == *target);
            assert_eq!(written.is_some(), incident.written, "{target}");
            if incident.bans > 0 && incident.written {
                let bans = written.map(|victim| victim.bans);
                // In the middle of a ban the ban itself says which it is.
                assert!(bans == Some(incident.bans) || !incident.keys.is_empty(), "{target}");
            }
        }
        let known = |victim: &Victim| {
            self.planner.incidents.contains_key(&(victim.target.clone(), victim.direction))
        };
        assert!(self.saved.victims.iter().all(known));
    }

    fn check_rails(&self, m: &Mitigation) {
        let target = m.prefix().unwrap();
        assert!(self.engine.networks.iter().any(|n| n.covers(target)), "{m:?}");
        let protected = p("198.51.100.66/32");
        assert!(!target.covers(protected) && !protected.covers(target), "{m:?}");
        let diverts = m.kind == MitigationKind::Divert;
        let host = target.len() == target.family().bits();
        assert!(host || diverts && target.len() >= 24, "{m:?}");
    }
}

fn key(m: &Mitigation) -> Key {
    Key::new(m.kind.clone(), m.target.clone(), m.direction, m.dry_run)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_up_has_a_reason_an_end_and_a_permission(ops in vec(op(), 1..120)) {
        let (mut run, mut variant) = (Run::new(), 0);
        for op in ops {
            run.step(op, &mut variant);
            run.check();
        }
        // Everything ends.
        if run.planner.held().is_some() {
            run.request(Op::Resume);
        }
        for victim in 0..VICTIMS.len() {
            run.event(victim, AttackEventKind::Ended);
        }
        for _ in 0..10 {
            run.step(Op::Tick(LONGEST), &mut variant);
            run.step(Op::Answer, &mut variant);
            run.check();
        }
        prop_assert_eq!(run.planner.mitigations().count(), 0);
        let stats = run.planner.stats();
        prop_assert_eq!((stats.incidents, stats.routes), (0, 0));
        prop_assert!(run.saved.mitigations.is_empty() && run.world.is_empty());
        prop_assert!(run.saved.victims.is_empty());
    }
}
