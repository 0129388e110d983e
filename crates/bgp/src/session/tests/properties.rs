//! Any events in any order: no panic, no action on a closed connection, no busy waiting.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Start,
    Stop(bool),
    Reset,
    Opened(usize),
    Accepted,
    Closed(usize),
    Message(usize, u8),
    Noise(usize, Vec<u8>),
    Damaged(usize, u8, usize, u8),
    Blocked(usize),
    Progress(usize, bool),
    Wait(u16),
    Deadline,
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0..4_usize;
    prop_oneof![
        2 => Just(Step::Start),
        1 => any::<bool>().prop_map(Step::Stop),
        1 => Just(Step::Reset),
        6 => which().prop_map(Step::Opened),
        3 => Just(Step::Accepted),
        2 => which().prop_map(Step::Closed),
        20 => (which(), 0..8_u8).prop_map(|(c, m)| Step::Message(c, m)),
        1 => (which(), vec(any::<u8>(), 0..60)).prop_map(|(c, b)| Step::Noise(c, b)),
        2 => (which(), 0..8_u8, any::<usize>(), any::<u8>())
            .prop_map(|(c, m, place, octet)| Step::Damaged(c, m, place, octet)),
        1 => which().prop_map(Step::Blocked),
        1 => (which(), any::<bool>()).prop_map(|(c, all)| Step::Progress(c, all)),
        2 => (0..600_u16).prop_map(Step::Wait),
        4 => Just(Step::Deadline),
    ]
}

fn message(which: u8) -> Vec<u8> {
    let mut out = Vec::new();
    match which {
        0..=2 => out = bytes_of(&peer_open()),
        3 | 4 => out = keepalive_bytes(),
        5 => out = routes(3),
        6 => {
            let family = RouteFamily::Ipv4FlowSpec.into();
            RouteRefresh { family, kind: RefreshKind::Request }.encode(&mut out);
        }
        _ => Notification::new(6, 4).encode(&mut out),
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_seed: RngSeed::Fixed(0x6673_6d00),
        failure_persistence: None,
        cases: 1_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_events(steps in vec(step(), 1..80)) {
        let config = SessionConfig { received_limit: Some(5), ..config() };
        let mut trial = Trial::new(config);
        let mut open: Vec<ConnectionId> = Vec::new();
        let mut established: BTreeSet<ConnectionId> = BTreeSet::new();
        for step in steps {
            let id = |which: usize| open.get(which).copied().unwrap_or(ConnectionId(u32::MAX));
            let actions = match step {
                Step::Start => trial.handle(Event::Start),
                Step::Stop(true) => trial.handle(Event::Stop(Stop::Keep)),
                Step::Stop(false) => trial.handle(Event::Stop(Stop::Withdraw("bye".into()))),
                Step::Reset => trial.handle(Event::Reset(String::new())),
                Step::Opened(which) => trial.handle(Event::Opened(id(which))),
                Step::Accepted => {
                    let id = trial.session.new_connection();
                    open.push(id);
                    trial.handle(Event::Accepted(id))
                }
                Step::Closed(which) => trial.handle(Event::Closed(id(which))),
                Step::Message(which, kind) => trial.send(id(which), &message(kind)),
                Step::Noise(which, ref bytes) => trial.send(id(which), bytes),
                Step::Damaged(which, kind, place, octet) => {
                    let mut bytes = message(kind);
                    let place = place % bytes.len();
                    bytes[place] = octet;
                    trial.send(id(which), &bytes)
                }
                Step::Blocked(which) => trial.handle(Event::Blocked(id(which))),
                Step::Progress(which, all) => trial.handle(Event::Progress(id(which), all)),
                Step::Wait(wait) => trial.tick_after(seconds(wait.into())),
                Step::Deadline => {
                    if let Some(deadline) = trial.session.next_deadline() {
                        trial.now = trial.now.max(deadline);
                    }
                    trial.handle(Event::Tick)
                }
            };
            if matches!(step, Step::Deadline | Step::Wait(_)) {
                prop_assert!(trial.session.next_deadline().is_none_or(|at| at > trial.now));
            }
            for action in actions {
                match action {
                    Action::Connect(id) => open.push(id),
                    Action::Send(id, bytes) => {
                        prop_assert!(open.contains(&id));
                        prop_assert!(bytes.len() <= MAX_MESSAGE);
                    }
                    Action::Close(id) => {
                        prop_assert!(open.contains(&id));
                        open.retain(|other| *other != id);
                    }
                    Action::Established(id, _) => {
                        prop_assert!(open.contains(&id) && established.insert(id));
                        prop_assert_eq!(established.len(), 1, "one at a time");
                    }
                    Action::Down { connection, established: was, .. } => {
                        prop_assert_eq!(established.remove(&connection), was);
                        prop_assert!(!open.contains(&connection));
                    }
                    Action::Refresh(_) | Action::Received(_) => {}
                }
            }
            prop_assert_eq!(trial.session.negotiated().is_some(), !established.is_empty());
            prop_assert!(open.len() <= 3, "{:?}", open);
            let kept: usize = trial.session.connections.iter().map(|c| c.buffer.len()).sum();
            prop_assert!(kept <= 3 * 65_535);
        }
    }
}
