//! Around a start: what attacks get at first, who is a repeat victim still, and what silence means.

use super::*;

/// What a journal would have kept of these decisions.
fn saved(bench: &Bench) -> Saved {
    let mut saved = Saved { next_id: 1000, ..Saved::default() };
    for decision in &bench.decisions {
        match decision.effect() {
            Effect::Keep(mitigation) => {
                saved.mitigations.retain(|m| m.id != mitigation.id);
                saved.mitigations.push(mitigation.clone());
            }
            Effect::Forget(id) => saved.mitigations.retain(|m| m.id != id),
            Effect::Remember(victim) => {
                saved.victims.retain(|v| v.target != victim.target);
                saved.victims.push(victim.clone());
            }
            Effect::ForgetVictim(target, _) => saved.victims.retain(|v| v.target != *target),
            Effect::Hold(_) | Effect::Nothing => {}
        }
    }
    saved
}

/// Another run that takes over from this one, without the grace of a start.
fn restarted(bench: &Bench, seconds: u64) -> Bench {
    let mut next = Bench::new(|policy| policy.rails.grace_after_start = Duration::ZERO);
    let decisions = next.planner.restore(saved(bench), at(seconds));
    next.hear(decisions);
    next
}

/// When the blackhole that is up ends, in seconds, and its round.
fn blackhole(bench: &Bench) -> (u64, u32) {
    let mitigation = bench.planner.mitigations().find(|m| m.kind.is_route()).unwrap();
    (mitigation.ends.since(at(0)).as_secs(), mitigation.round)
}

#[test]
fn bans_go_on_growing_after_a_restart() {
    let mut bench = Bench::new(|_| ());
    bench.start(0, VICTIM);
    bench.run(0, 5, true);
    bench.end(5, VICTIM);
    bench.run(5, 800, false);
    // The ban of ten minutes has ended, and the two minutes of watching too.
    assert_eq!(saved(&bench).victims[0].bans, 1);
    let mut next = restarted(&bench, 1000);
    assert_eq!(next.up(), [""; 0]);
    next.start(2000, VICTIM);
    assert_eq!(blackhole(&next), (2000 + 1200, 1), "the second ban lasts twice as long");
    next.end(2010, VICTIM);
    next.run(2010, 3300, false);
    let mut third = restarted(&next, 3400);
    third.start(3500, VICTIM);
    assert_eq!(blackhole(&third), (3500 + 2400, 2));
}

#[test]
fn a_ban_that_ends_while_nobody_runs_counts() {
    let mut bench = Bench::new(|_| ());
    bench.start(0, VICTIM);
    bench.run(0, 5, true);
    let mut next = restarted(&bench, 900);
    assert!(next.routes().contains(&"withdraw Expired: blackhole 198.51.100.7".to_owned()));
    next.confirm(900);
    assert_eq!(saved(&next).victims[0].bans, 1, "and is written down");
    next.start(1000, VICTIM);
    assert_eq!(blackhole(&next), (1000 + 1200, 1));
    // In the middle of the second ban: the ban says which it is.
    let again = restarted(&next, 1100);
    assert_eq!(blackhole(&again), (1000 + 1200, 1));
}

#[test]
fn a_repeat_victim_is_forgotten_in_time_and_on_disk() {
    let mut bench = Bench::new(|_| ());
    bench.start(0, VICTIM);
    bench.run(0, 5, true);
    bench.end(5, VICTIM);
    bench.run(5, 800, false);
    let before = saved(&bench);
    bench.run(800, 600 + 120 + 3600 + 3, false);
    assert!(saved(&bench).victims.is_empty(), "forgotten while it runs");
    let mut late = restarted(&Bench { decisions: Vec::new(), ..Bench::new(|_| ()) }, 0);
    let decisions = late.planner.restore(before, at(600 + 120 + 3600 + 3));
    late.hear(decisions);
    assert!(late.decisions.iter().any(|d| matches!(d.what, Decided::Forgotten { .. })));
    assert_eq!(late.planner.stats().incidents, 0, "forgotten at the start");
}

#[test]
fn a_wrong_clock_and_too_many_victims_do_no_harm() {
    let victim = |host: u32, since| Victim {
        target: Target::from_prefix(Prefix::host(tidewall_model::Address::v4(0xc633_6400 + host))),
        direction: Direction::Incoming,
        group: "global".to_owned(),
        bans: 1,
        since,
    };
    let mut bench = Bench::new(|policy| policy.most_incidents = 2);
    let victims = vec![victim(1, at(10)), victim(7, at(90_000)), victim(3, at(50))];
    let decisions = bench.planner.restore(Saved { victims, ..Saved::default() }, at(100));
    bench.hear(decisions);
    let forgotten: Vec<_> = bench.decisions.iter().map(|d| d.effect()).collect();
    let target = victim(1, at(0)).target;
    assert_eq!(forgotten, [Effect::ForgetVictim(&target, Direction::Incoming)]);
    bench.run(100, 100 + 3700, false);
    assert_eq!(bench.planner.stats().incidents, 0, "not later than if it had ended now");
}

#[test]
fn no_attack_gets_a_route_just_after_the_start() {
    let mut bench = Bench::new(|_| ());
    let decisions = bench.planner.restore(Saved::default(), at(0));
    bench.hear(decisions);
    assert_eq!(bench.planner.waits(at(3)), Some(Refusal::JustStarted { seconds: 3 }));
    bench.start(3, VICTIM);
    assert_eq!(bench.take(), ["apply: notify 198.51.100.7", "refused: waits: started 3 s ago"]);
    bench.start(4, "198.51.100.8/32");
    bench.end(5, "198.51.100.8/32");
    bench.take();
    // A person does not wait.
    let decisions = bench.planner.ban(&ban("198.51.100.9/32"), at(5)).unwrap();
    bench.hear(decisions);
    assert_eq!(bench.routes(), ["apply: blackhole 198.51.100.9"]);
    bench.run(5, 10, true);
    assert_eq!(bench.routes(), [""; 0], "and it is said once");
    bench.run(10, 40, true);
    assert_eq!(bench.routes(), ["apply: blackhole 198.51.100.7"], "the other one is over");
    assert_eq!(bench.planner.waits(at(10)), None);
}

#[test]
fn the_ladder_does_not_climb_while_its_routes_wait() {
    let steps = ladder(&[(Measure::Notify, 0), (Measure::Divert, 0), (Measure::Blackhole, 6)]);
    let mut bench = Bench::new(|policy| policy.fallback.incoming.ladder = steps);
    let decisions = bench.planner.restore(Saved::default(), at(0));
    bench.hear(decisions);
    bench.start(1, VICTIM);
    bench.run(1, 9, true);
    assert_eq!(bench.routes(), ["refused: waits: started 1 s ago"]);
    bench.run(9, 14, true);
    assert_eq!(bench.routes(), ["apply: divert 198.51.100.0/24"], "it has its six seconds, too");
    bench.run(14, 20, true);
    assert!(bench.routes().contains(&"apply: blackhole 198.51.100.7".to_owned()));
}

#[test]
fn the_grace_joins_nobody_else() {
    // What is up already for another reason may have one more.
    let mut bench = Bench::new(|_| ());
    let decisions = bench.planner.restore(Saved::default(), at(0));
    bench.hear(decisions);
    let decisions = bench.planner.ban(&ban(VICTIM), at(1)).unwrap();
    bench.hear(decisions);
    bench.confirm(1);
    bench.start(2, VICTIM);
    let blackhole = bench.planner.mitigations().find(|m| m.kind.is_route()).unwrap();
    assert_eq!(blackhole.causes.len(), 2);
    // A request for a person's agreement does not wait either.
    let mut asks = Bench::new(|policy| policy.fallback.incoming.mode = Mode::ApproveFirst);
    let decisions = asks.planner.restore(Saved::default(), at(0));
    asks.hear(decisions);
    asks.start(1, VICTIM);
    assert_eq!(asks.planner.stats().waiting, 1);
    let id = asks.planner.mitigations().find(|m| m.kind.is_route()).unwrap().id;
    let decisions = asks.planner.approve(id, "ann", at(2)).unwrap();
    assert_eq!(decisions.iter().filter_map(Decision::command).count(), 1);
}

#[test]
fn the_grace_follows_a_clock_that_is_set_back() {
    let mut bench = Bench::new(|_| ());
    let decisions = bench.planner.restore(Saved::default(), at(5000));
    bench.hear(decisions);
    bench.run(5000, 5004, false);
    bench.run(100, 101, false);
    bench.start(106, VICTIM);
    assert!(bench.take().contains(&"refused: waits: started 9 s ago".to_owned()));
    bench.run(107, 109, true);
    assert_eq!(bench.up().len(), 2);
}

#[test]
fn counters_that_stand_still_are_no_reason_to_go_further() {
    let mut bench = Bench::new(|policy| {
        policy.fallback.incoming.ladder = ladder(&[(Measure::Notify, 0), (Measure::Blackhole, 20)]);
    });
    bench.start(0, VICTIM);
    bench.run(0, 15, true);
    // The router says nothing any more; its attack is not over yet.
    let silent = |bench: &mut Bench, second| {
        bench.packets -= 1;
        bench.event(second, AttackEventKind::Updated, VICTIM, &[]);
    };
    for second in 15..45 {
        silent(&mut bench, second);
        bench.run(second, second + 1, false);
    }
    assert_eq!(bench.routes(), [""; 0]);
    bench.event(45, AttackEventKind::Updated, VICTIM, &[]);
    assert_eq!(bench.routes(), ["apply: blackhole 198.51.100.7"], "it speaks again");
}
