//! Waits: hold time, keepalives, attempts, a peer that does not read.

use super::*;

#[test]
fn a_silent_peer_is_given_up_after_the_hold_time() {
    let mut trial = Trial::new(config());
    let id = trial.established(&peer_open());
    assert_eq!(sent(&trial.tick_after(seconds(29))), [Sent::Keepalive]);
    trial.send(id, &keepalive_bytes());
    trial.tick_after(seconds(29));
    assert_eq!(trial.session.state(), State::Established);
    let actions = trial.tick_after(seconds(1));
    assert_told(&actions, 4, 0);
    assert!(matches!(actions.last(), Some(Action::Down { established: true, .. })));
}

#[test]
fn we_are_heard_three_times_within_the_hold_time() {
    let mut trial = Trial::new(config());
    let id = trial.established(&peer_open());
    let mut last = trial.now;
    for _ in 0..50 {
        let deadline = trial.session.next_deadline().unwrap();
        assert!(deadline > trial.now, "no busy waiting");
        trial.now = deadline;
        assert_eq!(sent(&trial.handle(Event::Tick)), [Sent::Keepalive]);
        let interval = trial.now.since(last);
        assert!(interval >= seconds(7) && interval <= seconds(10), "{interval:?}");
        last = trial.now;
        trial.send(id, &keepalive_bytes());
    }
}

#[test]
fn without_a_hold_time_nobody_waits() {
    let mut trial = Trial::new(config());
    trial.established(&Open { hold_time: 0, ..peer_open() });
    assert_eq!(trial.session.next_deadline(), None);
}

#[test]
fn a_peer_that_says_nothing_does_not_block_the_next_attempt() {
    let mut trial = Trial::new(config());
    trial.opened();
    assert_told(&trial.tick_after(seconds(60)), 4, 0);
    // No answer to the connection attempt: a wrong MD5 key looks like this.
    let mut trial = Trial::new(config());
    trial.handle(Event::Start);
    let actions = trial.tick_after(seconds(30));
    let [Action::Close(_), Action::Down { established: false, reason, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert!(reason.to_string().contains("MD5"), "{reason}");
}

#[test]
fn attempts_become_rarer_and_a_session_that_lasts_makes_them_quick_again() {
    let mut trial = Trial::new(config());
    let mut actions = trial.handle(Event::Start);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let [Action::Connect(id)] = actions[..] else { panic!("{actions:?}") };
        trial.handle(Event::Closed(id));
        let wait = trial.session.next_deadline().unwrap().since(trial.now);
        waits.push(wait.as_secs());
        actions = trial.tick_after(wait);
    }
    for (wait, longest) in waits.iter().zip([10, 20, 40, 80, 160, 300, 300, 300]) {
        assert!((longest * 3 / 4..=longest).contains(wait), "{waits:?}");
    }
    let [Action::Connect(id)] = actions[..] else { panic!("{actions:?}") };
    trial.handle(Event::Opened(id));
    trial.confirm(id, &Open { hold_time: 0, ..peer_open() });
    trial.now = trial.now + seconds(59);
    let mut short = Trial { session: trial.session.clone(), now: trial.now };
    short.handle(Event::Closed(id));
    assert!(short.session.next_deadline().unwrap().since(short.now) > seconds(200));
    trial.now = trial.now + seconds(1);
    trial.handle(Event::Closed(id));
    assert!(trial.session.next_deadline().unwrap().since(trial.now) <= seconds(10));
}

#[test]
fn the_limit_of_the_peer_makes_us_wait_long() {
    let limit = Notification::new(code::CEASE, cease::MAX_PREFIXES);
    for (notification, words) in [
        (limit.clone(), "the peer sent: too many prefixes (6/1)"),
        // FRR, where both know graceful restart.
        (limit.hard_reset(), "the peer sent: hard reset (6/9): too many prefixes (6/1)"),
    ] {
        let mut trial = Trial::new(config());
        let id = trial.established(&peer_open());
        let mut told = Vec::new();
        notification.encode(&mut told);
        let actions = trial.send(id, &told);
        let [Action::Close(_), Action::Down { reason, .. }] = &actions[..] else { panic!() };
        assert_eq!(reason.to_string(), words);
        assert!(trial.session.next_deadline().unwrap().since(trial.now) >= seconds(225));
    }
}

/// RFC 9687: the hold timer alone does not see a peer that sends but does not read.
#[test]
fn a_peer_that_does_not_read_is_given_up_and_gets_no_keepalives() {
    let mut trial = Trial::new(config());
    let id = trial.established(&peer_open());
    trial.handle(Event::Blocked(id));
    let begin = trial.now;
    let mut actions = Vec::new();
    while actions.is_empty() {
        actions = trial.tick_after(seconds(10));
        trial.send(id, &keepalive_bytes());
        assert!(trial.now.since(begin) <= seconds(480));
    }
    assert_eq!(trial.now.since(begin), seconds(480));
    let [Action::Close(_), Action::Down { established: true, reason, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(*reason, DownReason::SendHold);
}

#[test]
fn progress_starts_the_wait_anew_or_ends_it() {
    let mut trial = Trial::new(config());
    let id = trial.established(&Open { hold_time: 0, ..peer_open() });
    trial.handle(Event::Blocked(id));
    trial.now = trial.now + seconds(400);
    trial.handle(Event::Progress(id, false));
    assert_eq!(trial.session.next_deadline(), Some(trial.now + seconds(480)));
    trial.handle(Event::Progress(id, true));
    assert_eq!(trial.session.next_deadline(), None);
}

#[test]
fn a_passive_session_waits_for_the_peer() {
    let mut trial = Trial::new(SessionConfig { passive: true, ..config() });
    assert_eq!(trial.handle(Event::Start), []);
    assert_eq!((trial.session.state(), trial.session.next_deadline()), (State::Active, None));
    let id = trial.session.new_connection();
    let actions = trial.handle(Event::Accepted(id));
    assert!(matches!(sent(&actions)[..], [Sent::Open(_)]));
    trial.confirm(id, &peer_open());
    trial.handle(Event::Closed(id));
    assert_eq!((trial.session.state(), trial.session.next_deadline()), (State::Active, None));
}
