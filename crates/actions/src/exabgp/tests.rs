//! Pipes in temporary directories and helpers with an ExaBGP played by the test.

mod pipes;
mod processes;
pub(super) mod reader;

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tidewall_bgp::community::Community;
use tidewall_bgp::{Route, RouteAttributes, UnicastRoute};
use tidewall_model::MitigationOutcome;

use super::*;

/// For what takes no time, on a busy machine.
const SOON: Duration = Duration::from_secs(20);

fn route(number: u16) -> Route {
    let [high, low] = number.to_be_bytes();
    let prefix = format!("198.18.{high}.{low}/32").parse().unwrap();
    let communities = vec![Community::BLACKHOLE];
    let attributes = RouteAttributes { communities, ..Default::default() };
    UnicastRoute::new(prefix, [192, 0, 2, 1].into(), attributes).unwrap().into()
}

fn announced(number: u16) -> String {
    let [high, low] = number.to_be_bytes();
    format!("announce route 198.18.{high}.{low}/32 next-hop 192.0.2.1 community 65535:666")
}

fn withdrawn(number: u16) -> String {
    let [high, low] = number.to_be_bytes();
    format!("withdraw route 198.18.{high}.{low}/32")
}

fn start(way: Way) -> (ExaBgp, Receiver<RouteOutcome>) {
    let (sender, outcomes) = channel();
    let mut config = Config::new("exabgp", way);
    config.retry = Duration::from_millis(20);
    (ExaBgp::start(config, sender).unwrap(), outcomes)
}

fn outcome(outcomes: &Receiver<RouteOutcome>, number: u16) -> MitigationOutcome {
    let told = outcomes.recv_timeout(SOON).unwrap();
    assert_eq!((&*told.announcer, &told.key), ("exabgp", &route(number).key()));
    told.outcome
}

fn words(outcome: MitigationOutcome) -> String {
    match outcome {
        MitigationOutcome::Failed(words) => words,
        other => panic!("{other:?}"),
    }
}

#[expect(clippy::disallowed_methods, reason = "threads and pipes take real time")]
fn until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < SOON, "not within {SOON:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn mkfifo(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "as it was").unwrap();
    for (way, field, reason) in [
        (Way::pipe("relative"), "path", "not an absolute path"),
        (Way::pipe(&file), "path", "no named pipe"),
        (Way::process(&file), "socket", "is no socket"),
        (Way::process(directory.path().join("no/socket")), "socket", "cannot be opened"),
    ] {
        let error = ExaBgp::start(Config::new("exabgp", way), channel().0).unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.message.contains(reason), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "as it was");
    let mut config = Config::new("exabgp", Way::pipe("/nowhere"));
    config.local_as = Some(0);
    assert_eq!(ExaBgp::start(config, channel().0).unwrap_err().field, "local_as");
}
