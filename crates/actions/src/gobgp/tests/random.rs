//! Any sequence of commands, restarts and faults: once all is quiet, the daemon's paths with our tag
//! are what is desired, and those of others are as they were.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, RngAlgorithm, TestRng, TestRunner};

use super::*;

#[derive(Clone, Debug)]
enum Command {
    Announce(usize),
    Withdraw(usize),
    Set(Vec<usize>),
    /// The daemon is killed and started again, as the other generation or not.
    Restart(bool),
    /// The daemon stops answering, or answers again.
    Silent(bool),
    /// We are started again, with what is desired then.
    StartAgain,
}

/// Some routes, of each family; the first and last share a key.
fn routes() -> Vec<Route> {
    let mut routes = one_of_each();
    routes.extend([host(2), host(3), rule("203.0.113.3/32", 123)]);
    routes.push(unicast("203.0.113.1/32", "192.0.2.9"));
    routes
}

fn command() -> impl Strategy<Value = Command> {
    let route = 0..routes().len();
    prop_oneof![
        6 => route.clone().prop_map(Command::Announce),
        4 => route.clone().prop_map(Command::Withdraw),
        2 => prop::collection::vec(route, 0..6).prop_map(Command::Set),
        1 => any::<bool>().prop_map(Command::Restart),
        1 => any::<bool>().prop_map(Command::Silent),
        1 => Just(Command::StartAgain),
    ]
}

fn run(commands: &[Command], api: Api) {
    let mut fake = Fake::start(api);
    let strangers = |fake: &Fake| {
        let api = fake.state().api;
        for route in [host(90), rule("203.0.113.90/32", 19)] {
            fake.state().put(path_of(&route, OTHER, api), "<nil>");
        }
        fake.state().put(path_of(&host(91), TAG, api), "10.99.0.3");
    };
    strangers(&fake);
    let mut config = config(fake.port);
    config.deadline = Duration::from_millis(150);
    config.audit = Duration::from_millis(200);
    let (mut gobgp, mut received) = start(config.clone());
    let (all, mut model) = (routes(), BTreeMap::new());
    gobgp.set(Vec::new());
    for command in commands {
        match command {
            Command::Announce(index) => {
                model.insert(all[*index].key(), all[*index].clone());
                gobgp.announce(all[*index].clone());
            }
            Command::Withdraw(index) => {
                model.remove(&all[*index].key());
                gobgp.withdraw(all[*index].key());
            }
            Command::Set(indices) => {
                let desired: Vec<Route> = indices.iter().map(|index| all[*index].clone()).collect();
                model = desired.iter().map(|route| (route.key(), route.clone())).collect();
                gobgp.set(desired);
            }
            Command::Restart(other) => {
                fake.kill();
                if *other {
                    let api = fake.state().api;
                    fake.state().api = if api == Api::V3 { Api::V4 } else { Api::V3 };
                }
                strangers(&fake);
                fake.run();
            }
            Command::Silent(silent) => fake.state().silent = *silent,
            Command::StartAgain => {
                gobgp.stop();
                (gobgp, received) = start(config.clone());
                gobgp.set(model.values().cloned().collect());
            }
        }
    }
    fake.state().silent = false;
    let desired: Vec<Route> = model.into_values().collect();
    wait_until("the daemon has what is desired", || {
        let status = gobgp.status();
        status.up && status.waiting == 0 && tagged(&fake, TAG) == names(&desired)
    });
    assert_eq!(tagged(&fake, OTHER), names(&[host(90), rule("203.0.113.90/32", 19)]));
    assert_eq!(fake.state().table.len(), desired.len() + 3);
    let told: Vec<RouteOutcome> = received.try_iter().collect();
    for route in gobgp.routes() {
        let last = told.iter().rfind(|told| told.key == route.route.key());
        let failed = last.is_some_and(|told| told.outcome != MitigationOutcome::Applied);
        assert!(route.announced && !failed, "{route:?} {last:?}");
        let Route::Unicast(unicast) = &route.route else { continue };
        // The newest of what was announced for this key.
        let next_hop = path_of(&route.route, TAG, Api::V3).pattrs_binary;
        let state = fake.state();
        let mut paths = state.table.values().flatten();
        let found = paths.find(|path| path.nlri_binary == route.route.key().octets()).unwrap();
        assert!(found.pattrs_binary.iter().all(|a| next_hop.contains(a)), "{unicast:?}");
    }
    gobgp.stop();
}

#[test]
fn any_commands_end_in_what_is_desired() {
    let cases = Cases { cases: 24, failure_persistence: None, ..Cases::default() };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(cases, random);
    let commands = prop::collection::vec(command(), 1..25);
    runner
        .run(&(commands, any::<bool>()), |(commands, newer)| {
            run(&commands, if newer { Api::V4 } else { Api::V3 });
            Ok(())
        })
        .unwrap();
}
