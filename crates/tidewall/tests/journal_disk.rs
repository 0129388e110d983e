//! A full disk: the error is told, decisions go on in memory, and everything is written when there
//! is room again. Needs root for a small file system of its own, and says so when it cannot have one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

#[path = "../../capture/tests/common/skip.rs"]
mod skip;

use std::env;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use tidewall::journal::{HistoryQuery, Journal, JournalError};
use tidewall_engine::Policy;
use tidewall_engine::planner::{BanRequest, Planner, PlannerPolicy};
use tidewall_model::{Direction, Mitigation, MitigationKind, Timestamp};

const CHILD: &str = "TIDEWALL_FULL_DISK";
const NO_MOUNT: i32 = 77;

/// Fills the disk; gives the file that does it.
fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filler");
    let mut file = File::create(&path).unwrap();
    for size in [65_536, 4096, 1] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    path
}

fn ban(planner: &mut Planner, host: u32) -> Vec<tidewall_engine::planner::Decision> {
    let request = BanRequest {
        target: format!("198.51.100.{host}/32").parse().unwrap(),
        kind: MitigationKind::Blackhole,
        direction: Direction::Incoming,
        lasts: None,
        who: "ann".to_owned(),
        why: "x".repeat(900),
    };
    planner.ban(&request, Timestamp::from_parts(1_767_571_200 + u64::from(host) * 60, 0)).unwrap()
}

fn planner() -> Planner {
    let engine = Policy::for_networks(vec!["198.51.100.0/24".parse().unwrap()]);
    let mut policy = PlannerPolicy::default();
    policy.rails.most_routes = 1000;
    policy.rails.largest_share = 1.0;
    policy.fallback.incoming.most_routes = 1000;
    Planner::new(policy, &engine).unwrap()
}

/// What runs on the small disk. Without its folder it has nothing to do.
#[test]
fn child() {
    let Ok(folder) = env::var(CHILD) else { return };
    let folder = Path::new(&folder);
    let path = folder.join("journal");
    let mut planner = planner();
    let (mut journal, _) = Journal::open(&path).unwrap();
    for host in 1..20 {
        journal.record(&ban(&mut planner, host)).unwrap();
    }
    let filler = fill(folder);
    let mut failures = 0;
    for host in 20..200 {
        if let Err(error) = journal.record(&ban(&mut planner, host)) {
            failures += 1;
            let JournalError::Io { source, .. } = &error else { panic!("{error}") };
            assert_eq!(source.kind(), ErrorKind::StorageFull, "{error}");
            assert!(error.to_string().contains("No space left on device"), "{error}");
        }
    }
    let stats = journal.stats();
    assert!(failures > 100, "{failures} failures: the disk was not full");
    assert_eq!((stats.failures, stats.lost), (failures, 0));
    assert!(stats.waiting > 100, "{stats:?}");

    // A restart on the full disk knows what was acknowledged before, and takes nothing for damage.
    drop(journal);
    match Journal::open(&path) {
        Ok((mut journal, opened)) => {
            assert_eq!(opened.warning(), None);
            assert!(journal.restore().unwrap().mitigations.len() >= 2 * 19);
        }
        Err(error) => assert!(matches!(error, JournalError::Io { .. }), "{error}"),
    }
    assert!(!folder.join("journal.damaged-1").exists());

    fs::remove_file(filler).unwrap();
    let (mut journal, opened) = Journal::open(&path).unwrap();
    assert_eq!(opened.warning(), None);
    assert!(journal.restore().unwrap().mitigations.len() >= 2 * 19);

    // Room again while it runs: what waited is written.
    let filler = fill(folder);
    let before = journal.stats().failures;
    let everything: Vec<Mitigation> = planner.mitigations().cloned().collect();
    let mut next = 200;
    while journal.stats().failures == before {
        _ = journal.record(&ban(&mut planner, next));
        next += 1;
    }
    fs::remove_file(filler).unwrap();
    journal.flush().unwrap();
    assert_eq!(journal.stats().waiting, 0);
    let saved = journal.restore().unwrap();
    let newest: Vec<&Mitigation> =
        planner.mitigations().filter(|m| !everything.contains(m)).collect();
    assert!(!newest.is_empty() && newest.iter().all(|m| saved.mitigations.contains(m)));
    assert!(!journal.history(&HistoryQuery::default()).unwrap().decisions.is_empty());
    println!("a full disk was survived: {failures} failures");
}

#[test]
fn a_full_disk_is_survived() {
    let test = "a_full_disk_is_survived";
    if !skip::root_with(test, &["unshare"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=2m tmpfs \"$1\" || exit {NO_MOUNT}; exec \"$2\" --exact child \
         --nocapture"
    );
    let output = Command::new("unshare")
        .args(["--mount", "--", "sh", "-c", &script, "sh"])
        .arg(folder.path())
        .arg(env::current_exe().unwrap())
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    let (said, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.code() == Some(NO_MOUNT) || errors.contains("unshare failed") {
        return skip::skip(test, &format!("a file system of its own: {errors}"));
    }
    assert!(output.status.success() && said.contains("was survived"), "{said}\n{errors}");
}
