//! Pipes without reader, with one that comes late, goes, returns, or does not read.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;

use super::*;

struct Lines(BufReader<File>);

impl Lines {
    /// Opens a pipe for reading, which waits for a writer.
    fn open(path: &Path) -> Self {
        Self(BufReader::new(File::open(path).unwrap()))
    }

    fn next(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.strip_suffix('\n').unwrap().to_owned()
    }
}

#[test]
fn without_a_reader_it_fails_with_words_and_is_told_when_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exabgp.cmd");
    let (exabgp, outcomes) = start(Way::pipe(&path));
    exabgp.announce(route(1));
    assert!(words(outcome(&outcomes, 1)).contains("there is no pipe"));
    assert!(!path.exists(), "never made");
    mkfifo(&path);
    assert!(words(outcome(&outcomes, 1)).contains("ExaBGP does not read"));
    let status = exabgp.status();
    assert!(!status.up && status.last_error.unwrap().1.contains("does not read"));
    assert_eq!((status.desired, status.announced, status.waiting), (1, 0, 1));

    let mut lines = Lines::open(&path);
    assert_eq!(lines.next(), announced(1));
    assert_eq!(outcome(&outcomes, 1), MitigationOutcome::Applied);
    exabgp.announce(route(1));
    assert_eq!(outcome(&outcomes, 1), MitigationOutcome::Applied);
    exabgp.withdraw(route(2).key());
    assert_eq!(lines.next(), withdrawn(2), "the equal route cost no line");
    assert_eq!(outcome(&outcomes, 2), MitigationOutcome::Withdrawn);
    let status = exabgp.status();
    assert!(status.up && status.daemon.contains("exabgp.cmd"));
    assert_eq!((status.desired, status.announced, status.done), (1, 1, 2));
    Box::new(exabgp).stop();
    assert_eq!(lines.0.lines().count(), 0, "nothing is withdrawn when we stop");
}

#[test]
fn a_reader_that_comes_back_is_told_everything_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exabgp.cmd");
    mkfifo(&path);
    let (exabgp, outcomes) = start(Way::pipe(&path));
    exabgp.set(vec![route(1), route(2)]);
    let mut lines = Lines::open(&path);
    assert_eq!([lines.next(), lines.next()], [announced(1), announced(2)]);
    until(|| exabgp.status().announced == 2);
    drop(lines);
    // Noticed without a write.
    until(|| !exabgp.status().up);
    assert!(exabgp.routes().iter().all(|route| !route.announced));
    exabgp.withdraw(route(2).key());
    exabgp.announce(route(3));
    let mut lines = Lines::open(&path);
    let mut told = [lines.next(), lines.next(), lines.next()];
    told.sort_unstable();
    let gone = format!("{} next-hop 192.0.2.1", withdrawn(2));
    assert_eq!(told, [announced(1), announced(3), gone]);
    until(|| exabgp.status().announced == 2);
    let all: Vec<MitigationOutcome> = outcomes.try_iter().map(|told| told.outcome).collect();
    let failed =
        |words| all.iter().any(|o| matches!(o, MitigationOutcome::Failed(w) if w == words));
    assert!(failed(&format!("ExaBGP does not read {} any more", path.display())), "{all:?}");
    assert!(all.contains(&MitigationOutcome::Withdrawn));
}

#[test]
fn a_full_pipe_is_waited_for_and_no_line_is_torn_or_lost() {
    const ROUTES: u16 = 3_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exabgp.cmd");
    mkfifo(&path);
    let reader = OpenOptions::new().read(true).custom_flags(nonblocking()).open(&path).unwrap();
    let (exabgp, _outcomes) = start(Way::pipe(&path));
    for number in 0..ROUTES {
        exabgp.announce(route(number));
    }
    // 64 KiB hold some 850 lines.
    until(|| exabgp.status().done > 500);
    let status = exabgp.status();
    assert!(status.up && status.waiting > 1_000, "{status:?}");
    let mut lines = Lines(BufReader::new(reader));
    let mut read = Vec::new();
    until(|| {
        let mut line = String::new();
        while lines.0.read_line(&mut line).is_ok_and(|length| length > 0) {
            read.push(std::mem::take(&mut line));
        }
        read.len() >= usize::from(ROUTES)
    });
    let expected: Vec<String> = (0..ROUTES).map(|number| announced(number) + "\n").collect();
    assert_eq!(read, expected);
    until(|| exabgp.status().announced == usize::from(ROUTES));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "how long stopping takes")]
fn a_dead_pipe_costs_bounded_memory_and_stops_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exabgp.cmd");
    mkfifo(&path);
    let (exabgp, _outcomes) = start(Way::pipe(&path));
    for number in 0..10_000_u16 {
        exabgp.announce(route(number % 20));
        exabgp.withdraw(route(number % 20).key());
    }
    assert_eq!(exabgp.status().waiting, 20);
    let began = Instant::now();
    Box::new(exabgp).stop();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn nothing_is_ever_written_to_another_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exabgp.cmd");
    let (exabgp, outcomes) = start(Way::pipe(&path));
    exabgp.announce(route(1));
    assert!(words(outcome(&outcomes, 1)).contains("there is no pipe"));
    fs::write(&path, "as it was").unwrap();
    assert!(words(outcome(&outcomes, 1)).contains("is no named pipe"));
    Box::new(exabgp).stop();
    assert_eq!(fs::read_to_string(&path).unwrap(), "as it was");
}

fn nonblocking() -> i32 {
    nix::fcntl::OFlag::O_NONBLOCK.bits()
}
