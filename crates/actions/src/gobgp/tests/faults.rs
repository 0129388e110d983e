//! A daemon that misbehaves, and policies of the daemon that are in the way.

use super::*;

/// What stopping may take.
const SOON: Duration = Duration::from_secs(3);

fn failure(received: &Receiver<RouteOutcome>) -> String {
    match told(received).1 {
        MitigationOutcome::Failed(words) => words,
        other => panic!("{other:?}"),
    }
}

/// Stops it and says how long that took.
#[expect(clippy::disallowed_methods, reason = "stopping takes real time")]
fn stop(gobgp: Box<dyn Announcer>) -> Duration {
    let began = std::time::Instant::now();
    gobgp.stop();
    began.elapsed()
}

#[test]
fn a_path_of_somebody_else_is_not_replaced() {
    let fake = Fake::start(Api::V3);
    fake.state().put(path_of(&host(1), OTHER, Api::V3), "<nil>");
    let before = fake.state().table.clone();
    let (gobgp, received) = start(config(fake.port));
    gobgp.announce(host(1));
    assert!(failure(&received).contains("not ours"));
    gobgp.set(vec![host(1)]);
    assert!(failure(&received).contains("not ours"));
    assert_eq!(fake.state().table, before);
    // Once it is gone, the next attempt succeeds.
    fake.state().table.clear();
    assert_eq!(told(&received).1, MitigationOutcome::Applied);
    gobgp.stop();
}

#[test]
fn a_refused_route_fails_once_and_holds_up_no_other() {
    let fake = Fake::start(Api::V3);
    fake.state().refused.insert(host(1).key().octets().to_vec(), "nexthop not found");
    let (gobgp, received) = start(config(fake.port));
    gobgp.set(vec![host(1), host(2)]);
    let (mut failed, mut applied) = (String::new(), 0);
    for _ in 0..2 {
        match told(&received).1 {
            MitigationOutcome::Failed(words) => failed = words,
            MitigationOutcome::Applied => applied += 1,
            MitigationOutcome::Withdrawn => panic!(),
        }
    }
    assert_eq!((failed.as_str(), applied), ("the daemon refuses: nexthop not found", 1));
    wait_until("it is tried again and again", || gobgp.status().failed > 3);
    let status = gobgp.status();
    assert_eq!((status.desired, status.announced, status.waiting), (2, 1, 1));
    assert!(status.last_error.unwrap().1.contains("203.0.113.1/32"));
    let note = gobgp.routes().into_iter().find(|route| !route.announced).unwrap().note;
    assert_eq!(note.unwrap(), failed);
    assert!(received.try_recv().is_err(), "the reason is not repeated");
    fake.state().refused.clear();
    assert_eq!(told(&received).1, MitigationOutcome::Applied);
    gobgp.stop();
}

#[test]
fn a_daemon_that_does_not_answer_is_given_up_and_tried_again() {
    let fake = Fake::start(Api::V3);
    fake.state().silent = true;
    let deadline = Duration::from_millis(100);
    let (gobgp, received) = start(Config { deadline, ..config(fake.port) });
    gobgp.announce(host(1));
    assert!(failure(&received).contains("within 0.1 s"));
    assert!(!gobgp.status().up);
    fake.state().silent = false;
    wait_until("it is announced", || gobgp.status().announced == 1);
    // In the middle of what it does.
    fake.state().silent = true;
    gobgp.announce(host(2));
    wait_until("it is given up", || !gobgp.status().up);
    gobgp.withdraw(host(1).key());
    fake.state().silent = false;
    wait_until("it has come back", || tagged(&fake, TAG) == names(&[host(2)]));
    gobgp.stop();
}

#[test]
fn stopping_is_quick_whatever_the_daemon_does() {
    let mut fake = Fake::start(Api::V3);
    let (gobgp, _received) = start(config(fake.port));
    gobgp.set(one_of_each());
    until_quiet(&*gobgp);
    assert!(stop(gobgp) < SOON);
    assert_eq!(tagged(&fake, TAG), names(&one_of_each()));
    // What was told before is still done.
    let (gobgp, _received) = start(config(fake.port));
    gobgp.set(one_of_each());
    until_quiet(&*gobgp);
    for route in one_of_each() {
        gobgp.withdraw(route.key());
    }
    assert!(stop(gobgp) < SOON);
    assert!(tagged(&fake, TAG).is_empty());
    let before = fake.state().calls.len();
    fake.state().silent = true;
    let (gobgp, _received) = start(config(fake.port));
    gobgp.set(one_of_each());
    wait_until("it has asked", || fake.state().calls.len() > before);
    assert!(stop(gobgp) < SOON);
    fake.kill();
    let (gobgp, received) = start(config(fake.port));
    gobgp.announce(host(1));
    failure(&received);
    assert!(stop(gobgp) < SOON);
}

#[test]
fn a_daemon_whose_bgp_is_not_started_is_not_up() {
    let fake = Fake::start(Api::V4);
    fake.state().started = false;
    let (gobgp, received) = start(config(fake.port));
    gobgp.announce(host(1));
    assert!(failure(&received).contains("has not been started"));
    fake.state().started = true;
    assert_eq!(told(&received).1, MitigationOutcome::Applied);
    gobgp.stop();
}

#[test]
fn policies_of_the_daemon_are_noticed() {
    let fake = Fake::start(Api::V3);
    fake.state().filter = true;
    let (gobgp, received) = start(config(fake.port));
    gobgp.announce(host(1));
    assert!(failure(&received).contains("does not list it"));
    (fake.state().filter, fake.state().strip) = (false, true);
    assert!(failure(&received).contains("takes our tag away"));
    assert!(fake.state().table.is_empty(), "nothing is left that we would not know again");
    fake.state().strip = false;
    assert_eq!(told(&received).1, MitigationOutcome::Applied);
    gobgp.stop();
}

#[test]
fn a_family_that_the_daemon_does_not_have_fails_alone() {
    let fake = Fake::start(Api::V3);
    fake.state().unlisted = vec![133];
    let (gobgp, _received) = start(config(fake.port));
    gobgp.set(one_of_each());
    wait_until("the others are there", || gobgp.status().announced == 2);
    wait_until("these have failed", || {
        gobgp.routes().iter().filter(|r| r.note.is_some()).count() == 2
    });
    let notes: Vec<_> = gobgp.routes().into_iter().filter_map(|route| route.note).collect();
    assert!(notes[0].contains("IPv4 FlowSpec cannot be listed"), "{notes:?}");
    gobgp.stop();
}

/// Something that is not gRPC, and something that is and knows nothing of BGP.
#[test]
fn a_server_that_is_something_else() {
    use std::io::{Read, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 64]);
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let (gobgp, received) = start(config(port));
    gobgp.announce(host(1));
    failure(&received);
    assert!(!gobgp.status().up);
    gobgp.stop();
    thread.join().unwrap();
}
