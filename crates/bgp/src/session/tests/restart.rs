//! Graceful restart, and how a session is ended: what makes a peer keep our routes or drop them.

use super::*;
use crate::open::GracefulRestart;

fn restart_open(notification: bool) -> Open {
    let families = RouteFamily::ALL.map(|family| (family.into(), true)).to_vec();
    let restart = GracefulRestart { restarting: false, notification, time: 120, families };
    let capabilities = Capabilities { graceful_restart: Some(restart), ..peer_open().capabilities };
    Open { capabilities, ..peer_open() }
}

fn restarted() -> SessionConfig {
    let restart = RestartConfig { time: 120, restarting: true };
    SessionConfig { graceful_restart: Some(restart), ..config() }
}

/// Our OPEN of the next connection.
fn our_open(trial: &mut Trial) -> GracefulRestart {
    let id = trial.session.new_connection();
    let actions = trial.handle(Event::Accepted(id));
    let Some(Sent::Open(open)) = sent(&actions).pop() else { panic!("{actions:?}") };
    open.capabilities.graceful_restart.unwrap()
}

/// Without the forwarding bits the peer drops what it kept at once (RFC 4724 §4.2).
#[test]
fn after_a_crash_open_says_restarted_and_preserved() {
    let mut trial = Trial::new(restarted());
    trial.handle(Event::Start);
    let restart = our_open(&mut trial);
    assert!(restart.restarting && restart.notification);
    assert_eq!(restart.families.len(), 4);
    assert!(restart.families.iter().all(|(_, preserved)| *preserved));
    // Still so until the routes are sent, or the time is over.
    assert!(our_open(&mut trial).restarting);
    let mut late = Trial { session: trial.session.clone(), now: trial.now + seconds(120) };
    assert!(!our_open(&mut late).restarting);
    trial.session.initial_routes_sent();
    let later = our_open(&mut trial);
    assert!(!later.restarting && later.families.iter().all(|(_, preserved)| *preserved));
}

#[test]
fn withdraw_is_hard_where_a_notification_would_keep_the_routes() {
    for (notification, want) in [(false, (6, 2)), (true, (6, 9))] {
        let mut trial = Trial::new(config());
        trial.established(&restart_open(notification));
        let actions = trial.handle(Event::Stop(Stop::Withdraw("maintenance".into())));
        assert_told(&actions, want.0, want.1);
        let Some(Action::Down { reason: DownReason::Sent(told), .. }) = actions.last() else {
            panic!("{actions:?}")
        };
        assert_eq!(told.communication().unwrap(), "maintenance");
        assert_eq!((trial.session.state(), trial.session.next_deadline()), (State::Idle, None));
    }
}

#[test]
fn keep_closes_without_a_word() {
    let mut trial = Trial::new(config());
    let id = trial.established(&restart_open(true));
    let actions = trial.handle(Event::Stop(Stop::Keep));
    let reason = DownReason::Stopped;
    let down = Action::Down { connection: id, established: true, reason };
    assert_eq!(actions, [Action::Close(id), down]);
}

/// A NOTIFICATION of any sort would drop the routes of plain graceful restart (RFC 4724 §4); with
/// RFC 8538 only a hard reset does.
#[test]
fn a_renewed_session_keeps_routes_where_the_peer_can() {
    let renew = || Event::Stop(Stop::Renew("other hold time".into()));
    let mut trial = Trial::new(config());
    trial.established(&restart_open(true));
    assert_told(&trial.handle(renew()), 6, 4);
    let mut trial = Trial::new(config());
    let id = trial.established(&restart_open(false));
    let reason = DownReason::Stopped;
    let down = Action::Down { connection: id, established: true, reason };
    assert_eq!(trial.handle(renew()), [Action::Close(id), down]);
    let mut trial = Trial::new(config());
    trial.established(&peer_open());
    assert_told(&trial.handle(renew()), 6, 4);
}

#[test]
fn a_peer_that_is_not_configured_any_more_drops_the_routes() {
    for (notification, want) in [(false, (6, 3)), (true, (6, 9))] {
        let mut trial = Trial::new(config());
        trial.established(&restart_open(notification));
        let actions = trial.handle(Event::Stop(Stop::Deconfigure("gone".into())));
        assert_told(&actions, want.0, want.1);
        let Some(Action::Down { reason: DownReason::Sent(told), .. }) = actions.last() else {
            panic!("{actions:?}")
        };
        assert_eq!(told.communication().unwrap(), "gone");
        assert_eq!(trial.session.next_deadline(), None, "it is not connected to again");
    }
}

#[test]
fn a_reset_begins_again() {
    let mut trial = Trial::new(config());
    trial.established(&peer_open());
    assert_told(&trial.handle(Event::Reset("new filter".into())), 6, 4);
    let wait = trial.session.next_deadline().unwrap().since(trial.now);
    assert!(matches!(trial.tick_after(wait)[..], [Action::Connect(_)]));
}

/// The peer was restarted and we have not noticed: its new connection replaces the old one.
#[test]
fn a_peer_that_comes_back_is_believed_when_it_knows_graceful_restart() {
    let mut trial = Trial::new(config());
    let old = trial.established(&restart_open(false));
    let new = trial.session.new_connection();
    trial.handle(Event::Accepted(new));
    let actions = trial.send(new, &bytes_of(&restart_open(false)));
    let down = Action::Down { connection: old, established: true, reason: DownReason::Replaced };
    assert_eq!(actions[..2], [Action::Close(old), down], "without a NOTIFICATION");
    assert_eq!(sent(&actions), [Sent::Keepalive]);
    assert!(matches!(trial.send(new, &keepalive_bytes())[..], [Action::Established(..)]));
}

#[test]
fn a_second_connection_beside_an_established_one_is_refused() {
    let mut trial = Trial::new(config());
    trial.established(&peer_open());
    let second = trial.session.new_connection();
    trial.handle(Event::Accepted(second));
    assert_told(&trial.send(second, &bytes_of(&peer_open())), 6, 7);
    assert_eq!(trial.session.state(), State::Established);
}

#[test]
fn a_peer_that_refuses_a_capability_gets_fewer() {
    let mut trial = Trial::new(config());
    let id = trial.opened();
    let mut told = Vec::new();
    Notification::new(code::OPEN, open_error::CAPABILITY).encode(&mut told);
    trial.send(id, &told);
    let wait = trial.session.next_deadline().unwrap().since(trial.now);
    let [Action::Connect(id)] = trial.tick_after(wait)[..] else { panic!() };
    let actions = trial.handle(Event::Opened(id));
    let [Sent::Open(open)] = &sent(&actions)[..] else { panic!() };
    let capabilities = &open.capabilities;
    assert_eq!(capabilities.graceful_restart, None);
    assert!(!capabilities.extended_message && !capabilities.enhanced_refresh);
    assert_eq!(capabilities.families.len(), 4);
}
