//! Who asks: the kernel's word for it reaches the service, the socket's mode keeps others out,
//! operators are told from those who may only look, and the log has a line for each change.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::unistd::{Uid, User};
use tidewall::control::{Operators, Peer, Rights};

use super::{Desk, Fake, said};

#[path = "../service/mod.rs"]
mod service;
use service::Service;
use service::skip::root_with;

/// A user's number that is not root's, and a group of the same number.
const NOBODY: u32 = 65_534;
/// A number that no list of users has.
const STRANGER: u32 = 61_234;

fn me() -> String {
    let mut me = Peer { uid: Uid::effective().as_raw(), gid: 0, name: None };
    me.look_up();
    me.to_string()
}

#[test]
fn who_asks_comes_from_the_socket() {
    let desk = Desk::new(Fake::default());
    desk.text(&["ban", "192.0.2.7", "--reason", "root said so"]);
    let asked = desk.asked();
    assert_eq!(asked[0].1, me());
    let forged = desk.ask(r#"{"ask":"panic","who":"alice"}"#);
    assert_eq!(forged["ok"], false);
    assert!(forged["error"].as_str().unwrap().contains("unknown field `who`"), "{forged}");
    assert!(desk.asked().is_empty());
}

/// Puts the program where another user can run it.
fn program_for_others(folder: &Path) {
    let copy = folder.join("tidewall");
    fs::copy(env!("CARGO_BIN_EXE_tidewall"), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

fn run_as(desk: &Desk, uid: u32, gid: u32, words: &[&str]) -> (i32, String, String) {
    run_in(desk.folder.path(), &desk.socket(), (uid, gid), words)
}

/// Runs the program of a folder as somebody else.
fn run_in(
    folder: &Path,
    socket: &Path,
    (uid, gid): (u32, u32),
    words: &[&str],
) -> (i32, String, String) {
    let output = Command::new(folder.join("tidewall"))
        .args(words)
        .arg("--control")
        .arg(socket)
        .stdin(Stdio::null())
        .current_dir("/")
        .uid(uid)
        .gid(gid)
        .output()
        .unwrap();
    said(&output)
}

#[test]
fn the_sockets_group_may_ask_and_others_may_not() {
    if !root_with("the_sockets_group_may_ask_and_others_may_not", &[]) {
        return;
    }
    let desk = Desk::new(Fake::default());
    program_for_others(desk.folder.path());
    assert_eq!(fs::metadata(desk.socket()).unwrap().permissions().mode() & 0o777, 0o660);
    let (status, _, err) = run_as(&desk, NOBODY, NOBODY, &["ban", "192.0.2.7"]);
    assert_eq!(status, 2);
    assert!(err.contains("may you use its socket?"), "{err}");
    assert!(desk.asked().is_empty());

    chown(desk.socket(), None, Some(NOBODY)).unwrap();
    let (status, _, err) = run_as(&desk, NOBODY, NOBODY, &["ban", "192.0.2.7"]);
    assert_eq!((status, err.as_str()), (0, ""));
    let user = User::from_uid(Uid::from_raw(NOBODY)).unwrap();
    let expected = user
        .map_or_else(|| format!("uid {NOBODY}"), |user| format!("{} (uid {NOBODY})", user.name));
    assert_eq!(desk.asked()[0].1, expected);
    let (status, ..) = run_as(&desk, STRANGER, NOBODY, &["panic"]);
    assert_eq!((status, desk.asked()[0].1.as_str()), (0, "uid 61234"));
}

#[test]
fn those_who_are_no_operators_may_look_and_change_nothing() {
    if !root_with("those_who_are_no_operators_may_look_and_change_nothing", &[]) {
        return;
    }
    let operators = Operators { users: vec![NOBODY], groups: Vec::new() };
    let rights = Rights { operators: Some(operators) };
    let desk = Desk::new(Fake { rights, ..Fake::default() });
    program_for_others(desk.folder.path());
    chown(desk.socket(), None, Some(NOBODY)).unwrap();
    for words in [&["ban", "192.0.2.7"][..], &["unban", "192.0.2.7"], &["panic"], &["resume"]] {
        let (status, out, err) = run_as(&desk, STRANGER, NOBODY, words);
        assert_eq!((status, out.as_str()), (1, ""), "{words:?}");
        assert!(err.contains("is for operators"), "{err}");
        assert!(desk.asked().is_empty(), "{words:?}");
        assert_eq!(run_as(&desk, NOBODY, NOBODY, words).0, 0, "{words:?}");
        assert_eq!(desk.run(words).0, 0, "root may {words:?}");
        assert_eq!(desk.asked().len(), 2);
    }
    assert_eq!(run_as(&desk, STRANGER, NOBODY, &["bans"]).0, 0);
    assert_eq!(desk.asked().len(), 1);
}

#[test]
fn every_change_has_its_line_in_the_log() {
    let service = Service::start("");
    assert!(service.command(&["reload"]).status.success());
    // Nobody's network: refused whatever is configured.
    let refused = service.command(&["ban", "203.0.113.7", "--reason", "a test"]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    service.command(&["bans"]);
    let log = service.log();
    let audit: Vec<&str> = log.lines().filter(|line| line.contains("\"ask\":")).collect();
    assert_eq!(audit.len(), 2, "{log}");
    let refused = log.lines().filter(|line| line.contains("203.0.113.7")).count();
    assert_eq!(refused, 1, "once is enough: {log}");
    let who = serde_json::Value::from(me()).to_string();
    for (line, level, ask) in [
        (audit[0], "INFO", "reload"),
        (audit[1], "WARN", "ban 203.0.113.7 notify incoming: a test"),
    ] {
        assert!(line.contains(&format!("\"level\":\"{level}\"")), "{line}");
        assert!(line.contains(&format!("\"who\":{who}")), "{line}");
        assert!(line.contains(ask), "{line}");
    }
}

#[test]
fn operators_are_configured_and_a_reload_replaces_them() {
    if !root_with("operators_are_configured_and_a_reload_replaces_them", &[]) {
        return;
    }
    let mut service = Service::prepared();
    let operators = |list: &str| service.configure(&format!("[control]\noperators = {list}"));
    operators("[65534]");
    let text = fs::read_to_string(service.path("tidewall.toml")).unwrap();
    service.run();
    let folder = service.folder.path().to_owned();
    program_for_others(&folder);
    let socket = service.path("control.sock");
    chown(&socket, None, Some(NOBODY)).unwrap();
    let ask = |who, words: &[&str]| run_in(&folder, &socket, who, words);
    let panic = |who| ask(who, &["panic"]).0;
    let reload = |text: &str| {
        fs::write(folder.join("tidewall.toml"), text).unwrap();
        ask((0, 0), &["reload"])
    };
    assert_eq!((panic((NOBODY, NOBODY)), panic((STRANGER, NOBODY)), panic((0, 0))), (0, 1, 0));
    assert_eq!(ask((STRANGER, NOBODY), &["status"]).0, 0, "whoever connects may look");
    let (status, _, err) = ask((STRANGER, NOBODY), &["reload"]);
    assert_eq!(status, 2);
    assert!(err.contains("uid 61234 may look, but `reload` is for operators"), "{err}");

    // Their names, and a group: what was learnt at the start is replaced.
    let said = reload(&text.replace("65534", "\"@65534\"")).1;
    assert!(said.contains("who may change something"), "{said}");
    assert_eq!((panic((STRANGER, NOBODY)), panic((NOBODY, NOBODY))), (0, 0));
    reload(&text.replace("[65534]", "[]"));
    assert_eq!((panic((NOBODY, NOBODY)), panic((0, 0))), (1, 0));

    // A name that nobody has changes nothing, and the answer says where it stands.
    let (status, _, err) = reload(&text.replace("65534", "\"no-such-user\""));
    assert_eq!(status, 2);
    assert!(err.contains("there is no user \"no-such-user\"") && err.contains("toml:3:"), "{err}");
    assert_eq!(panic((NOBODY, NOBODY)), 1);
    reload(&text.replace("operators = [65534]", ""));
    assert_eq!(panic((STRANGER, NOBODY)), 0, "left out, whoever can connect");
    assert!(service.log().contains("uid 61234 was refused: reload"));
}
