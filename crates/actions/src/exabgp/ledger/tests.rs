//! What is told, and a model: whatever happens, in the end ExaBGP has what is desired.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidewall_bgp::community::Community;
use tidewall_bgp::{RouteAttributes, UnicastRoute};

use super::super::tests::reader::{Read, read};
use super::*;

const AT: Timestamp = Timestamp(1_000_000_000_000);
const RETRY: Duration = Duration::from_secs(2);

fn route(host: u8, community: u32) -> Route {
    let attributes =
        RouteAttributes { communities: vec![Community(community)], ..Default::default() };
    let prefix = format!("203.0.113.{host}/32").parse().unwrap();
    UnicastRoute::new(prefix, [192, 0, 2, 1].into(), attributes).unwrap().into()
}

/// One that cannot be said without our AS number.
fn unsayable(host: u8) -> Route {
    let attributes = RouteAttributes { prepend: 1, ..Default::default() };
    let prefix = format!("203.0.113.{host}/32").parse().unwrap();
    UnicastRoute::new(prefix, [192, 0, 2, 1].into(), attributes).unwrap().into()
}

fn failed(words: &str) -> MitigationOutcome {
    MitigationOutcome::Failed(words.to_owned())
}

/// Writes all that may be written.
fn drain(ledger: &mut Ledger, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(line) = ledger.next(now) {
        lines.push(line.trim_end().to_owned());
        ledger.taken(now);
    }
    lines
}

#[test]
fn an_equal_route_is_written_once_and_a_changed_one_again() {
    let mut ledger = Ledger::new(None);
    ledger.announce(route(1, 1), AT);
    ledger.announce(route(1, 1), AT);
    assert_eq!(drain(&mut ledger, AT).len(), 1);
    assert_eq!(ledger.outcomes(), [(route(1, 1).key(), MitigationOutcome::Applied)]);
    ledger.announce(route(1, 1), AT);
    assert_eq!(drain(&mut ledger, AT + SETTLE), [""; 0]);
    assert_eq!(ledger.outcomes(), [(route(1, 1).key(), MitigationOutcome::Applied)]);
    ledger.announce(route(1, 2), AT);
    assert!(!ledger.routes()[0].announced);
    let line = "announce route 203.0.113.1/32 next-hop 192.0.2.1 community 0:2";
    assert_eq!(drain(&mut ledger, AT + SETTLE), [line]);
}

/// After a restart the memory is empty and the journal tells what is to go.
#[test]
fn a_withdrawal_is_written_for_unknown_routes_too() {
    let mut ledger = Ledger::new(None);
    ledger.withdraw(route(1, 1).key(), AT);
    assert_eq!(drain(&mut ledger, AT), ["withdraw route 203.0.113.1/32"]);
    assert_eq!(ledger.outcomes(), [(route(1, 1).key(), MitigationOutcome::Withdrawn)]);
    ledger.announce(route(2, 1), AT);
    assert_eq!(drain(&mut ledger, AT).len(), 1);
    ledger.set(vec![route(3, 1)], AT);
    let lines = drain(&mut ledger, AT + SETTLE);
    assert_eq!(lines[0], "withdraw route 203.0.113.2/32 next-hop 192.0.2.1");
    assert!(lines[1].starts_with("announce route 203.0.113.3/32"));
    let status = ledger.status(true, String::new());
    assert_eq!((status.desired, status.announced, status.waiting, status.done), (1, 1, 0, 4));
}

/// ExaBGP groups what it sends by attributes: the older of two lines in one round can win.
#[test]
fn lines_about_one_route_keep_their_distance() {
    let mut ledger = Ledger::new(None);
    ledger.announce(route(1, 1), AT);
    drain(&mut ledger, AT);
    ledger.withdraw(route(1, 1).key(), AT);
    ledger.announce(route(2, 1), AT);
    let lines = drain(&mut ledger, AT);
    assert_eq!(lines.len(), 1, "only the other route: {lines:?}");
    assert_eq!(ledger.next_time(), Some(AT + SETTLE));
    assert_eq!(drain(&mut ledger, AT + SETTLE).len(), 1);
    ledger.tidy(AT + SETTLE * 2);
    assert!(ledger.is_idle() && ledger.not_before.is_empty());
}

/// Several lines are on their way, never two about one route; each answer is that of the oldest.
#[test]
fn answers_belong_to_lines_in_order() {
    let mut ledger = Ledger::new(None);
    for host in 1..=3 {
        ledger.announce(route(host, 1), AT);
    }
    let lines: Vec<String> = std::iter::from_fn(|| ledger.next(AT)).collect();
    assert_eq!(lines.len(), 3);
    ledger.announce(route(2, 2), AT);
    assert!(ledger.next(AT).is_none() && ledger.next_time().is_none(), "a line about it is flying");
    assert_eq!(ledger.status(true, String::new()).waiting, 4);
    ledger.taken(AT);
    ledger.refused("error", RETRY, AT);
    ledger.taken(AT);
    let [one, two, three] = [1, 2, 3].map(|host| route(host, 1).key());
    let told = ledger.outcomes();
    let want = [
        (one.clone(), MitigationOutcome::Applied),
        (two.clone(), failed("error")),
        (three.clone(), MitigationOutcome::Applied),
    ];
    assert_eq!(told, want);
    // What was wanted meanwhile is told, after the pause of what was refused.
    assert_eq!(ledger.next_time(), Some(AT + RETRY));
    let lines = drain(&mut ledger, AT + RETRY);
    assert_eq!(lines, ["announce route 203.0.113.2/32 next-hop 192.0.2.1 community 0:2"]);
    assert_eq!(ledger.outcomes(), [(two, MitigationOutcome::Applied)]);

    // Of what was flying when the connection went, everything is told again.
    ledger.announce(route(4, 1), AT + RETRY);
    ledger.withdraw(one, AT + RETRY);
    let later = AT + RETRY + SETTLE;
    assert!(ledger.next(later).is_some() && ledger.next(later).is_some());
    ledger.lost("gone", later);
    ledger.up();
    let lines = drain(&mut ledger, later);
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert!(lines[0].contains("203.0.113.4/32") && lines[1].contains("withdraw"), "{lines:?}");
}

#[test]
fn ten_thousand_changes_of_mind_cost_one_command_each_route() {
    let mut ledger = Ledger::new(None);
    ledger.lost("no reader", AT);
    for number in 0..10_000_u32 {
        ledger.announce(route((number % 10) as u8, number), AT);
        ledger.withdraw(route((number % 7) as u8, 0).key(), AT);
    }
    assert_eq!((ledger.waiting.len(), ledger.order.len()), (10, 10));
    ledger.up();
    assert_eq!(drain(&mut ledger, AT).len(), 10);
}

#[test]
fn withdrawals_that_nobody_takes_are_bounded() {
    let mut ledger = Ledger::new(None);
    let key = |number: u32| {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + number);
        let prefix = format!("{address}/32").parse().unwrap();
        RouteKey::new(&tidewall_bgp::Nlri::Unicast(prefix))
    };
    for number in 0..MAX_WITHDRAWALS as u32 {
        ledger.withdraw(key(number), AT);
    }
    assert!(ledger.outcomes().is_empty());
    ledger.withdraw(key(7), AT);
    assert!(ledger.outcomes().is_empty(), "it waits already");
    ledger.withdraw(key(1 << 20), AT);
    let words = failed("more than 65536 withdrawals wait for ExaBGP");
    assert_eq!(ledger.outcomes(), [(key(1 << 20), words)]);
    ledger.announce(route(1, 1), AT);
    assert_eq!(ledger.waiting.len(), MAX_WITHDRAWALS + 1);
}

#[test]
fn each_reason_is_told_once_and_attempts_go_on() {
    let mut ledger = Ledger::new(None);
    ledger.announce(route(1, 1), AT);
    for _ in 0..3 {
        ledger.lost("no reader", AT);
    }
    ledger.announce(route(2, 1), AT);
    let keys = [route(1, 1).key(), route(2, 1).key()];
    let told = keys.clone().map(|key| (key, failed("no reader")));
    assert_eq!(ledger.outcomes(), told);
    ledger.lost("no pipe", AT);
    assert_eq!(ledger.outcomes(), keys.clone().map(|key| (key, failed("no pipe"))));
    ledger.up();
    assert!(ledger.next(AT).is_some());
    ledger.refused("error", RETRY, AT);
    assert_eq!(ledger.outcomes(), [(keys[0].clone(), failed("error"))]);
    assert_eq!(drain(&mut ledger, AT).len(), 1, "the other one is not held up");
    assert!(ledger.next(AT + SETTLE).is_none());
    assert!(ledger.next(AT + RETRY).is_some());
    ledger.refused("error", RETRY, AT + RETRY);
    assert_eq!(ledger.outcomes(), [(keys[1].clone(), MitigationOutcome::Applied)]);
    assert_eq!(drain(&mut ledger, AT + RETRY * 2).len(), 1);
    assert_eq!(ledger.outcomes(), [(keys[0].clone(), MitigationOutcome::Applied)]);
    assert_eq!(ledger.status(true, String::new()).failed, 6);
}

#[test]
fn what_cannot_be_said_fails_and_nothing_else_stays_in_its_place() {
    let mut ledger = Ledger::new(None);
    ledger.announce(route(1, 1), AT);
    drain(&mut ledger, AT);
    ledger.outcomes();
    ledger.announce(unsayable(1), AT);
    let [(_, MitigationOutcome::Failed(words))] = &ledger.outcomes()[..] else { panic!() };
    assert!(words.contains("local_as"), "{words}");
    let line = "withdraw route 203.0.113.1/32 next-hop 192.0.2.1";
    assert_eq!(drain(&mut ledger, AT + SETTLE), [line]);
    assert!(ledger.outcomes().is_empty(), "it is still desired");
    let [shown] = &ledger.routes()[..] else { panic!() };
    assert!(!shown.announced && shown.note.as_deref() == Some(words));
    ledger.lost("no reader", AT);
    assert!(ledger.waiting.is_empty());
}

#[derive(Clone, Debug)]
enum Step {
    Announce(u8, u32),
    Unsayable(u8),
    Withdraw(u8),
    Set(Vec<(u8, u32)>),
    Taken,
    /// So many lines at once, then the answers; the one of this place is a refusal.
    Batch(usize, usize),
    Refused,
    PutBack,
    /// With ExaBGP, or only the way to it.
    Lost(bool),
    Later,
}

fn step() -> impl Strategy<Value = Step> {
    let host = 0..5_u8;
    prop_oneof![
        4 => (host.clone(), 0..3_u32).prop_map(|(host, value)| Step::Announce(host, value)),
        1 => host.clone().prop_map(Step::Unsayable),
        3 => host.clone().prop_map(Step::Withdraw),
        1 => vec((host, 0..3_u32), 0..4).prop_map(Step::Set),
        6 => Just(Step::Taken),
        3 => (1..5_usize, 0..8_usize).prop_map(|(lines, refused)| Step::Batch(lines, refused)),
        1 => Just(Step::Refused),
        1 => Just(Step::PutBack),
        1 => any::<bool>().prop_map(Step::Lost),
        3 => Just(Step::Later),
    ]
}

/// What ExaBGP makes of a line.
fn apply(line: &str, table: &mut BTreeMap<RouteKey, Route>) {
    match read(line, 0) {
        Read::Announce(route) => drop(table.insert(route.key(), route)),
        Read::Withdraw(key) => drop(table.remove(&key)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(0x6c65_6467),
        failure_persistence: None,
        cases: 512,
        ..ProptestConfig::default()
    })]

    #[test]
    fn in_the_end_exabgp_has_what_is_desired(steps in vec(step(), 1..60), older in 0..5_u8) {
        let (mut ledger, mut now) = (Ledger::new(None), AT);
        let (mut table, mut desired) = (BTreeMap::new(), BTreeMap::new());
        // Of an earlier run; the journal says that it goes.
        table.insert(route(older, 9).key(), route(older, 9));
        ledger.withdraw(route(older, 9).key(), now);
        for step in steps {
            match step {
                Step::Announce(host, value) => {
                    desired.insert(route(host, value).key(), route(host, value));
                    ledger.announce(route(host, value), now);
                }
                Step::Unsayable(host) => {
                    desired.remove(&route(host, 0).key());
                    ledger.announce(unsayable(host), now);
                }
                Step::Withdraw(host) => {
                    desired.remove(&route(host, 0).key());
                    ledger.withdraw(route(host, 0).key(), now);
                }
                Step::Set(routes) => {
                    let routes = routes.into_iter().map(|(host, value)| route(host, value));
                    let routes: Vec<Route> = routes.collect();
                    desired = routes.iter().map(|r| (r.key(), r.clone())).collect();
                    ledger.set(routes, now);
                }
                Step::Taken => {
                    if let Some(line) = ledger.next(now) {
                        apply(&line, &mut table);
                        ledger.taken(now);
                    }
                }
                Step::Batch(most, refused) => {
                    let next = std::iter::from_fn(|| ledger.next(now));
                    let lines: Vec<String> = next.take(most).collect();
                    for (place, line) in lines.iter().enumerate() {
                        if place == refused {
                            ledger.refused("error", RETRY, now);
                        } else {
                            apply(line, &mut table);
                            ledger.taken(now);
                        }
                    }
                }
                Step::Refused => {
                    if ledger.next(now).is_some() {
                        ledger.refused("error", RETRY, now);
                    }
                }
                Step::PutBack => {
                    if ledger.next(now).is_some() {
                        ledger.put_back();
                    }
                }
                Step::Lost(all) => {
                    // A line on its way may have arrived, or not.
                    if let Some(line) = ledger.next(now).filter(|_| !all) {
                        apply(&line, &mut table);
                    }
                    ledger.lost("gone", now);
                    if all {
                        table.clear();
                    }
                    ledger.up();
                }
                Step::Later => now = now + SETTLE,
            }
            prop_assert_eq!(ledger.order.len(), ledger.waiting.len());
        }
        while !ledger.is_idle() {
            now = now + RETRY;
            while let Some(line) = ledger.next(now) {
                apply(&line, &mut table);
                ledger.taken(now);
            }
        }
        prop_assert_eq!(&table, &desired);
        let announced = ledger.status(true, String::new()).announced;
        prop_assert_eq!(announced, desired.len());
    }
}
