use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::{ActionStatus, Actions, LocalTime, QueueConfig, fixture, server};

/// Writes down its arguments, standard input, and what of its environment is ours.
const WITNESS: &str = r#"
out="$(dirname "$0")/seen.$(date +%s%N).$$"
for word in "$@"; do printf '%s\0' "$word"; done > "$out.argv"
cat > "$out.stdin"
readlink /proc/self/fd/0 > "$out.fd"
env > "$out.env"
"#;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn script(&self, body: &str) -> PathBuf {
        let path = self.0.path().join("notify.sh");
        fs::write(&path, format!("#!/bin/sh\n{body}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Contents of the files with this ending, in the order of the calls.
    fn seen(&self, ending: &str) -> Vec<String> {
        let mut files: Vec<PathBuf> = (fs::read_dir(self.0.path()).unwrap())
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|found| found == ending))
            .collect();
        files.sort();
        files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
    }
}

/// Through a queue: a file that was just written may be busy while other tests fork.
fn run(config: Config, events: &[ActionEvent]) -> ActionStatus {
    let script = Script::new(config).unwrap();
    let queue = QueueConfig { first_pause: Duration::from_millis(20), ..QueueConfig::default() };
    let actions = Actions::start(vec![(Arc::new(script), queue)], &server::quiet()).unwrap();
    for event in events {
        actions.submit(&Arc::new(event.clone()));
    }
    actions.shutdown(Duration::from_mins(1)).remove(0)
}

fn style_1_2_4() -> Style {
    Style {
        generation: Generation::V1_2_4,
        own_lines: false,
        zone: LocalTime::utc(),
        ..Style::default()
    }
}

#[test]
fn the_contract_of_1_2_4() {
    let folder = Folder::new();
    let config = Config { style: style_1_2_4(), ..Config::new(folder.script(WITNESS)) };
    let mut ban = fixture::recorded(ActionKind::Banned);
    for sample in &mut ban.attack.samples {
        sample.0.packets = 81;
        sample.0.bytes *= 81;
    }
    let mut unban = fixture::recorded(ActionKind::Unbanned);
    unban.attack = ban.attack.clone();
    let (report, details) = (config.style.report(&ban), config.style.details(&ban));
    let status = run(config, &[fixture::recorded(ActionKind::Started), ban, unban]);
    assert_eq!((status.done, status.failed), (2, 0), "{status:?}");
    let argv: Vec<String> = ["ban", "attack_details", "unban"]
        .map(|verb| format!("10.9.9.1\0incoming\x00325\0{verb}\0"))
        .to_vec();
    assert_eq!(folder.seen("argv"), argv);
    assert_eq!(folder.seen("stdin"), [&*report, &details, ""]);
    let inputs = folder.seen("fd");
    assert!(inputs[0].starts_with("pipe:") && inputs[1].starts_with("pipe:"), "{inputs:?}");
    assert_eq!(inputs[2], "/dev/null\n");
}

#[test]
fn the_contract_of_the_newest_release() {
    let folder = Folder::new();
    let config = Config::new(folder.script(WITNESS));
    let mut ban = fixture::event(ActionKind::Banned, 5);
    ban.attack.rates.total.packets = 5_000_000_000;
    let mut unban = fixture::event(ActionKind::Unbanned, 5);
    unban.attack = ban.attack.clone();
    let report = config.style.report(&ban);
    let status = run(config, &[ban, unban]);
    assert_eq!((status.done, status.failed), (2, 0), "{status:?}");
    assert_eq!(
        folder.seen("argv"),
        ["192.0.2.5\0incoming\x005000000000\0ban\0", "192.0.2.5\0incoming\x005000000000\0unban\0"]
    );
    assert_eq!(folder.seen("stdin"), [report.as_str(), ""]);
    let environment = &folder.seen("env")[0];
    for line in [
        "TIDEWALL_EVENT=banned",
        "TIDEWALL_TARGET=192.0.2.5",
        "TIDEWALL_NETWORK=192.0.2.0/24",
        "TIDEWALL_METRIC=total_pps",
        "TIDEWALL_LIMIT=20000",
        "TIDEWALL_CLASS=udp_reflection",
    ] {
        assert!(environment.lines().any(|have| have == line), "{line} in {environment}");
    }
    assert!(environment.contains("PATH="));
}

#[test]
fn json_for_every_event() {
    let folder = Folder::new();
    let mut config = Config { format: Format::Json, ..Config::new(folder.script(WITNESS)) };
    config.hidden_variables = vec!["PATH_OF_SECRETS".into(), "HOME".into()];
    let events = ActionKind::ALL.map(|kind| fixture::event(kind, 1));
    let status = run(config, &events);
    assert_eq!((status.done, status.failed), (5, 0), "{status:?}");
    let verbs: Vec<String> = folder.seen("argv");
    let want = ["started", "ban", "updated", "ended", "unban"];
    assert_eq!(verbs, want.map(|verb| format!("{verb}\x00192.0.2.1\0")));
    for input in folder.seen("stdin") {
        let value: serde_json::Value = serde_json::from_str(&input).unwrap();
        assert_eq!(value["ip"], "192.0.2.1");
    }
    assert!(!folder.seen("env")[0].contains("\nHOME="), "hidden from scripts");
}

#[test]
fn words_reach_the_script_as_they_are() {
    // A group's name is a person's text; no shell may see it.
    let folder = Folder::new();
    let config = Config { format: Format::Json, ..Config::new(folder.script(WITNESS)) };
    let mut event = fixture::event(ActionKind::Banned, 1);
    let name = "a b; touch pwned $(touch pwned) \"'";
    event.attack.target = tidewall_model::Target::Group(name.into());
    run(config, &[event]);
    assert_eq!(folder.seen("argv"), [format!("ban\0{name}\0")]);
    assert!(!folder.0.path().join("pwned").exists());
}

#[test]
fn a_script_that_does_not_read_does_no_harm() {
    let folder = Folder::new();
    let mut event = fixture::event(ActionKind::Banned, 1);
    // Far more than a pipe holds.
    let sample = event.attack.samples[0];
    event.attack.samples = vec![sample; 20_000];
    let style = Style { lines: 20_000, ..Style::default() };
    assert!(style.report(&event).len() > 1_000_000);
    for body in ["exit 0", "exec 0<&-; sleep 0.2; exit 0", "sleep 0.2; exit 0"] {
        let config = Config { style: style.clone(), ..Config::new(folder.script(body)) };
        let status = run(config, std::slice::from_ref(&event));
        assert_eq!((status.done, status.failed), (1, 0), "{body}: {status:?}");
    }
    let config = Config { style, ..Config::new(folder.script(WITNESS)) };
    run(config, &[event]);
    assert!(folder.seen("stdin")[0].len() > 1_000_000, "one that reads gets all of it");
}

#[test]
fn exit_status_signals_and_missing_files_are_errors_that_are_not_repeated() {
    let folder = Folder::new();
    for (body, want) in [("exit 3", "(ban): exit status 3"), ("kill -9 $$", "ended by signal 9")] {
        let status =
            run(Config::new(folder.script(body)), &[fixture::event(ActionKind::Banned, 1)]);
        let message = status.last_error.unwrap().1;
        assert_eq!((status.failed, status.done), (1, 0));
        assert!(message.contains(want), "{message}");
    }
    let missing = Config::new(folder.0.path().join("missing.sh"));
    let status = run(missing, &[fixture::event(ActionKind::Banned, 1)]);
    assert_eq!((status.failed, status.retried), (1, 0));
    assert!(status.last_error.unwrap().1.contains("cannot be started: No such file"));
}

#[test]
fn a_hanging_script_is_killed_with_all_that_it_started() {
    let folder = Folder::new();
    let body = "trap '' TERM\nsleep 600 &\necho $! > \"$(dirname \"$0\")/child.pid\"\nsleep 600";
    let config = Config { timeout: Duration::from_millis(700), ..Config::new(folder.script(body)) };
    let status = run(config, &[fixture::event(ActionKind::Banned, 1)]);
    assert_eq!(status.failed, 1, "{status:?}");
    assert!(status.last_error.unwrap().1.contains("did not end within 0.7 s"));
    let child: u32 = folder.seen("pid")[0].trim().parse().unwrap();
    // A signal has an effect a moment after it was sent.
    server::wait_until("the script's child is gone", || {
        let state = fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        state.is_empty() || state.contains(") Z ")
    });
}

#[test]
fn groups_may_have_scripts_of_their_own_or_none() {
    let folder = Folder::new();
    let mut config = Config::new(folder.0.path().join("missing.sh"));
    config.group_paths.insert("web".into(), Some(folder.script(WITNESS)));
    config.group_paths.insert("quiet".into(), None);
    let events = ["web", "quiet", "global"].map(|group| {
        let mut event = fixture::event(ActionKind::Banned, group.len() as u64);
        event.attack.reason.group = group.into();
        event
    });
    let status = run(config, &events);
    assert_eq!((status.done, status.failed), (1, 1), "{status:?}");
    assert!(folder.seen("argv")[0].starts_with("192.0.2.3\0"));
}

#[test]
fn five_hundred_at_once_stay_within_bounds_and_in_order() {
    let folder = Folder::new();
    let body = "d=\"$(dirname \"$0\")\"\nmkdir \"$d/up.$$\"\n\
                ls -d \"$d\"/up.* 2>/dev/null | wc -l >> \"$d/most.n\"\n\
                echo \"$1 $4\" >> \"$d/calls.n\"\nrmdir \"$d/up.$$\"";
    let script = Script::new(Config::new(folder.script(body))).unwrap();
    let queue = QueueConfig { concurrency: 6, ..QueueConfig::default() };
    let actions = Actions::start(vec![(Arc::new(script), queue)], &server::quiet()).unwrap();
    let hosts = 500u64;
    for kind in [ActionKind::Banned, ActionKind::Unbanned] {
        for host in 0..hosts {
            let mut event = fixture::event(kind, host);
            event.attack.target = tidewall_model::Target::Host(tidewall_model::Address::v4(
                0x0a00_0000 + host as u32,
            ));
            actions.submit(&Arc::new(event));
        }
    }
    let status = actions.shutdown(Duration::from_mins(5)).remove(0);
    assert_eq!((status.done, status.failed, status.dropped), (2 * hosts, 0, 0), "{status:?}");
    let file = |name: &str| fs::read_to_string(folder.0.path().join(name)).unwrap();
    let most = file("most.n").lines().filter_map(|line| line.trim().parse::<u32>().ok()).max();
    assert!(most.unwrap() <= 6, "{most:?} at the same time");
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    for line in file("calls.n").lines() {
        let (host, verb) = line.split_once(' ').unwrap();
        let before = last.insert(host.to_owned(), verb.to_owned());
        assert_eq!(before.as_deref(), (verb == "unban").then_some("ban"), "{host}");
    }
    assert_eq!(last.len(), hosts as usize);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let error = Script::new(Config::new("notify.sh")).unwrap_err();
    assert!(error.to_string().contains("absolute"), "{error}");
    let config = Config { timeout: Duration::ZERO, ..Config::new("/bin/true") };
    assert_eq!(Script::new(config).unwrap_err().field, "timeout");
}
