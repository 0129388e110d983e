//! The helper between the socket and an ExaBGP that is played here.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read, Write, pipe};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use tidewall_bgp::community::LargeCommunity;

use super::*;
use crate::exabgp::process::{BATCH, HELLO};

/// ExaBGP with a helper that it has started.
struct Fake {
    lines: BufReader<PipeReader>,
    answers: PipeWriter,
    helper: JoinHandle<io::Result<()>>,
}

impl Fake {
    fn start(socket: &Path) -> Self {
        let ((lines, output), (input, answers)) = (pipe().unwrap(), pipe().unwrap());
        let socket = socket.to_owned();
        let helper = std::thread::spawn(move || helper::run(&socket, input, output));
        Self { lines: BufReader::new(lines), answers, helper }
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.strip_suffix('\n').unwrap().to_owned()
    }

    fn answer(&mut self, text: &str) {
        writeln!(self.answers, "{text}").unwrap();
    }

    fn takes(&mut self, line: &str) {
        assert_eq!(self.next(), line);
        self.answer("done");
    }

    fn end(self) {
        drop(self.answers);
        self.helper.join().unwrap().unwrap();
    }
}

#[test]
fn answers_decide_what_became_of_a_route() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("exabgp.sock");
    let (exabgp, outcomes) = start(Way::process(&socket));
    assert_eq!(socket.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    exabgp.announce(route(1));
    let mut fake = Fake::start(&socket);
    assert_eq!(fake.next(), announced(1));
    let status = exabgp.status();
    assert!(status.up && status.announced == 0 && status.waiting == 1, "{status:?}");
    // Of something else that ExaBGP tells.
    fake.answer("neighbor 192.0.2.1 up");
    fake.answer("done");
    assert_eq!(outcome(&outcomes, 1), MitigationOutcome::Applied);

    exabgp.announce(route(2));
    assert_eq!(fake.next(), announced(2));
    fake.answer("error");
    assert!(words(outcome(&outcomes, 2)).contains("\"error\""));
    fake.takes(&announced(2));
    assert_eq!(outcome(&outcomes, 2), MitigationOutcome::Applied);
    exabgp.withdraw(route(1).key());
    fake.takes(&format!("{} next-hop 192.0.2.1", withdrawn(1)));
    assert_eq!(outcome(&outcomes, 1), MitigationOutcome::Withdrawn);
    Box::new(exabgp).stop();
    assert!(!socket.exists());
    fake.end();
}

/// Lines are written before the first is answered, and a refusal is the right route's.
#[test]
fn many_lines_wait_for_their_answers_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("exabgp.sock");
    let (exabgp, outcomes) = start(Way::process(&socket));
    exabgp.set((1..=200).map(route).collect());
    let mut fake = Fake::start(&socket);
    let mut refused = 0;
    let mut next = 1;
    while next <= 200 {
        // As many as come without an answer; the first batch shows how many these are.
        let batch: Vec<u16> = (next..=200).take(BATCH).collect();
        for number in &batch {
            assert_eq!(fake.next(), announced(*number));
        }
        for number in &batch {
            fake.answer(if number % 50 == 0 { "error" } else { "done" });
        }
        for number in &batch {
            match outcome(&outcomes, *number) {
                MitigationOutcome::Applied => assert_ne!(number % 50, 0),
                MitigationOutcome::Failed(_) => refused += u16::from(number % 50 == 0),
                MitigationOutcome::Withdrawn => panic!("{number}"),
            }
        }
        next += batch.len() as u16;
    }
    assert_eq!(refused, 4);
    for number in [50, 100, 150, 200] {
        fake.takes(&announced(number));
        assert_eq!(outcome(&outcomes, number), MitigationOutcome::Applied);
    }
    fake.end();
}

/// Lines as long as they may be: what is on its way fits into one read of ExaBGP's.
#[test]
fn a_batch_is_no_larger_than_what_exabgp_reads_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("exabgp.sock");
    let (exabgp, outcomes) = start(Way::process(&socket));
    let long = |number: u8| -> Route {
        let communities = (0..60).map(|value| Community(0xfdea_0000 | value)).collect();
        let large = (0..60).map(|value| LargeCommunity([4_200_000_000, 4_200_000_000, value]));
        let attributes =
            RouteAttributes { communities, large: large.collect(), ..Default::default() };
        let prefix = format!("198.18.0.{number}/32").parse().unwrap();
        UnicastRoute::new(prefix, [192, 0, 2, 1].into(), attributes).unwrap().into()
    };
    exabgp.set((1..=20).map(long).collect());
    let mut stream = UnixStream::connect(&socket).unwrap();
    writeln!(stream, "{HELLO}").unwrap();
    // Nothing comes before all is answered.
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let (mut told, mut largest) = (0, 0);
    while told < 20 {
        let (mut batch, mut buffer) = (Vec::new(), [0; 4_096]);
        while let Ok(length) = stream.read(&mut buffer) {
            batch.extend(&buffer[..length]);
        }
        let text = String::from_utf8(batch).unwrap();
        let lines = text.lines().filter(|line| line.starts_with("announce")).count();
        largest = largest.max(text.len());
        for _ in 0..lines {
            writeln!(stream, "done").unwrap();
            assert_eq!(outcomes.recv_timeout(SOON).unwrap().outcome, MitigationOutcome::Applied);
        }
        told += lines;
    }
    assert!(largest > 8_192 && largest < 16_384, "{largest}");
}

/// A line that is never answered: until it is known whose it is, lines go alone.
#[test]
fn after_a_missing_answer_lines_go_one_by_one() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("exabgp.sock");
    let answer_wait = Duration::from_secs(2);
    let way = Way::Process { socket: socket.clone(), answers: true, answer_wait };
    let (exabgp, outcomes) = start(way);
    exabgp.set(vec![route(1), route(2), route(3)]);
    let mut fake = Fake::start(&socket);
    for number in [1, 2, 3] {
        assert_eq!(fake.next(), announced(number));
    }
    // One of the three is not answered.
    fake.answer("done");
    fake.answer("done");
    for number in [1, 2] {
        assert_eq!(outcome(&outcomes, number), MitigationOutcome::Applied);
    }
    for _ in 0..3 {
        let told = outcomes.recv_timeout(SOON).unwrap();
        assert!(words(told.outcome).contains("has not answered"));
    }
    // Late, and nobody's.
    fake.answer("error");
    let mut again = Vec::new();
    for _ in 0..3 {
        again.push(fake.next());
        assert!(exabgp.status().waiting > 0);
        fake.answer("done");
        assert_eq!(outcomes.recv_timeout(SOON).unwrap().outcome, MitigationOutcome::Applied);
    }
    again.sort();
    assert_eq!(again, [announced(1), announced(2), announced(3)]);
    fake.end();
}

/// An ExaBGP that was not restarted with us still runs the helper of before.
#[test]
fn a_helper_of_before_gets_one_line_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("exabgp.sock");
    let (exabgp, _outcomes) = start(Way::process(&socket));
    exabgp.set(vec![route(1), route(2)]);
    let mut stream = UnixStream::connect(&socket).unwrap();
    writeln!(stream, "tidewall exabgp-helper 1").unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert_eq!((next(), next()), ("answers".to_owned(), announced(1)));
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(lines.next().unwrap().is_err(), "nothing before the answer");
    stream.set_read_timeout(None).unwrap();
    writeln!(stream, "done").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), announced(2));
}

#[test]
fn a_new_exabgp_is_told_everything_again() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("exabgp.sock");
    let (exabgp, outcomes) = start(Way::process(&socket));
    exabgp.set(vec![route(1), route(2)]);
    let mut fake = Fake::start(&socket);
    fake.takes(&announced(1));
    fake.takes(&announced(2));
    for number in [1, 2] {
        assert_eq!(outcome(&outcomes, number), MitigationOutcome::Applied);
    }
    fake.end();
    for number in [1, 2] {
        assert!(words(outcome(&outcomes, number)).contains("has gone"));
    }
    assert!(!exabgp.status().up);
    let mut fake = Fake::start(&socket);
    fake.takes(&announced(1));
    fake.takes(&announced(2));
    until(|| exabgp.status().announced == 2);

    // And a helper stays for the next service.
    drop(exabgp);
    let (exabgp, outcomes) = start(Way::process(&socket));
    exabgp.set(vec![route(3)]);
    fake.takes(&announced(3));
    let told = std::iter::from_fn(|| Some(outcome(&outcomes, 3)));
    assert!(told.take(3).any(|outcome| outcome == MitigationOutcome::Applied));
    fake.end();
}

#[test]
fn there_is_one_helper_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("exabgp.sock");
    let (exabgp, _outcomes) = start(Way::process(&socket));
    let mut fake = Fake::start(&socket);
    until(|| exabgp.status().up);
    let mut second = UnixStream::connect(&socket).unwrap();
    let mut said = String::new();
    second.read_to_string(&mut said).unwrap();
    assert_eq!(said, "busy\n");
    assert!(exabgp.status().daemon.contains("turned away: 1"));
    let other = ExaBgp::start(Config::new("other", Way::process(&socket)), channel().0);
    assert!(other.unwrap_err().message.contains("another program serves"));
    exabgp.announce(route(1));
    fake.takes(&announced(1));
    until(|| exabgp.status().announced == 1);
    fake.end();
}

/// The line of the first connection is answered late: the second one must not take that for its
/// own.
#[test]
fn silence_has_an_end_and_late_answers_belong_to_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("exabgp.sock");
    let answer_wait = Duration::from_secs(2);
    let way = Way::Process { socket: socket.clone(), answers: true, answer_wait };
    let (exabgp, outcomes) = start(way);
    exabgp.announce(route(1));
    let mut fake = Fake::start(&socket);
    assert_eq!(fake.next(), announced(1));
    assert!(words(outcome(&outcomes, 1)).contains("has not answered"));
    assert_eq!(fake.next(), announced(1));
    fake.answer("error");
    fake.answer("done");
    assert_eq!(outcome(&outcomes, 1), MitigationOutcome::Applied);
    fake.end();
}

#[test]
fn without_answers_a_line_counts_when_it_was_handed_over() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("exabgp.sock");
    let answer_wait = SOON;
    let way = Way::Process { socket: socket.clone(), answers: false, answer_wait };
    let (exabgp, outcomes) = start(way);
    let mut fake = Fake::start(&socket);
    for number in 0..100 {
        exabgp.announce(route(number));
        assert_eq!(fake.next(), announced(number));
        assert_eq!(outcome(&outcomes, number), MitigationOutcome::Applied);
    }
    fake.end();
}

#[test]
fn strangers_get_no_routes() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("exabgp.sock");
    let (exabgp, _outcomes) = start(Way::process(&socket));
    exabgp.announce(route(1));
    for words in [&b"GET / HTTP/1.0\n"[..], &[b'x'; 500]] {
        let mut stranger = UnixStream::connect(&socket).unwrap();
        stranger.write_all(words).unwrap();
        let mut said = Vec::new();
        // It may be reset, as what it said was not all read.
        let _ = stranger.read_to_end(&mut said);
        assert_eq!(said, b"");
    }
    let mut fake = Fake::start(&socket);
    fake.takes(&announced(1));
    until(|| exabgp.status().announced == 1);
    fake.end();
}
