//! The control socket with the real server and the real program, and a service behind it that
//! answers what the tests give it: what is asked, by whom, what is printed, and what hostile
//! clients get.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "clients are tested by the clock on the wall")]
#![allow(clippy::disallowed_types, reason = "a lock between the server's threads and the test")]

#[path = "control/hostile.rs"]
mod hostile;
#[path = "control/people.rs"]
mod people;
#[path = "control/text.rs"]
mod text;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tidewall::control::{Asked, Question, Rights, Server, open};
use tidewall::live::hub::Hub;

/// Nothing here takes longer on a machine that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// Gives the same answer to every question of a name, and remembers who asked what.
#[derive(Default)]
struct Fake {
    answers: HashMap<&'static str, Result<Value, String>>,
    rights: Rights,
    asked: Mutex<Vec<(Question, String)>>,
    hub: Arc<Hub>,
}

impl Asked for Fake {
    fn answer(&self, question: &Question, who: &str) -> Result<Value, String> {
        self.asked.lock().unwrap().push((question.clone(), who.to_owned()));
        self.answers.get(question.name()).cloned().unwrap_or(Ok(json!({ "decisions": [] })))
    }

    fn rights(&self) -> Rights {
        self.rights.clone()
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

/// A server with its socket in a folder of its own.
struct Desk {
    folder: tempfile::TempDir,
    fake: Arc<Fake>,
    server: Option<Server>,
}

impl Desk {
    fn new(fake: Fake) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fake = Arc::new(fake);
        let socket = open(&folder.path().join("control.sock")).unwrap();
        let server = Some(Server::start(socket, Arc::clone(&fake) as Arc<dyn Asked>).unwrap());
        Self { folder, fake, server }
    }

    fn answering(name: &'static str, answer: Value) -> Self {
        Self::new(Fake { answers: HashMap::from([(name, Ok(answer))]), ..Fake::default() })
    }

    fn refusing(name: &'static str, reason: &str) -> Self {
        let answers = HashMap::from([(name, Err(reason.to_owned()))]);
        Self::new(Fake { answers, ..Fake::default() })
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("control.sock")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidewall"));
        command.args(words).arg("--control").arg(self.socket()).stdin(Stdio::null());
        command
    }

    /// Status, standard output and standard error of a command.
    fn run(&self, words: &[&str]) -> (i32, String, String) {
        said(&self.command(words).output().unwrap())
    }

    /// Standard output of a command that works.
    fn text(&self, words: &[&str]) -> String {
        let (status, out, err) = self.run(words);
        assert_eq!((status, err.as_str()), (0, ""), "{words:?}: {out}");
        out
    }

    /// What was asked since the last call.
    fn asked(&self) -> Vec<(Question, String)> {
        std::mem::take(&mut *self.fake.asked.lock().unwrap())
    }

    /// The one question that a command asks, as it goes over the socket.
    fn question(&self, words: &[&str]) -> Value {
        self.text(words);
        let asked = self.asked();
        assert_eq!(asked.len(), 1, "{words:?}: {asked:?}");
        serde_json::to_value(&asked[0].0).unwrap()
    }

    fn connect(&self) -> (UnixStream, BufReader<UnixStream>) {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let lines = BufReader::new(stream.try_clone().unwrap());
        (stream, lines)
    }

    /// The answer to one line.
    fn ask(&self, line: &str) -> Value {
        let (mut stream, mut lines) = self.connect();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        lines.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.server.take().unwrap().stop();
    }
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn commands_ask_what_their_options_say() {
    let desk = Desk::new(Fake::default());
    for (words, question) in [
        (
            &["ban", "192.0.2.7"][..],
            json!({ "ask": "ban", "target": "192.0.2.7/32", "kind": "notify",
                    "direction": "incoming", "seconds": null, "why": "" }),
        ),
        (
            &["ban", "2001:DB8::/48", "--divert", "--for", "1.5h", "--reason", "it's \"bad\""],
            json!({ "ask": "ban", "target": "2001:db8::/48", "kind": "divert",
                    "direction": "incoming", "seconds": 5400, "why": "it's \"bad\"" }),
        ),
        (
            &["ban", "192.0.2.7", "--blackhole", "--outgoing"],
            json!({ "ask": "ban", "target": "192.0.2.7/32", "kind": "blackhole",
                    "direction": "outgoing", "seconds": null, "why": "" }),
        ),
        (
            &["unban", "192.0.2.0/24", "--reason", "over"],
            json!({ "ask": "unban", "target": "192.0.2.0/24", "why": "over" }),
        ),
        (&["approve", "7"], json!({ "ask": "approve", "id": 7 })),
        (&["bans"], json!({ "ask": "bans" })),
        (&["panic", "--reason", "test"], json!({ "ask": "panic", "why": "test" })),
        (&["panic", "--yes"], json!({ "ask": "panic", "why": "" })),
        (&["resume"], json!({ "ask": "resume", "why": "" })),
        (&["history"], json!({ "ask": "history", "since": null, "target": null, "limit": 100 })),
        (
            &["history", "--since", "2026-11-20", "--target", "192.0.2.7", "--limit", "5"],
            json!({ "ask": "history", "since": "2026-11-20T00:00:00.000000Z",
                    "target": "192.0.2.7/32", "limit": 5 }),
        ),
        (&["actions"], json!({ "ask": "actions" })),
        (&["bgp", "peers"], json!({ "ask": "bgp_peers" })),
        (
            &["bgp", "routes", "--peer", "upstream"],
            json!({ "ask": "bgp_routes", "peer": "upstream", "flowspec": false }),
        ),
        (&["bgp", "flowspec"], json!({ "ask": "bgp_routes", "peer": null, "flowspec": true })),
    ] {
        assert_eq!(desk.question(words), question, "{words:?}");
    }
    let since = desk.question(&["history", "--since", "24h"])["since"].clone();
    assert!(since.as_str().unwrap().ends_with('Z'), "{since}");
}

#[test]
fn wrong_words_are_told_at_once_and_not_asked() {
    let desk = Desk::new(Fake::default());
    for (words, reason) in [
        (&["ban", "192.0.2.7/24"][..], "did you mean 192.0.2.0/24?"),
        (&["unban", "2001:db8::7/64"], "did you mean 2001:db8::/64?"),
        (&["ban", "::ffff:192.0.2.7"], "did you mean 192.0.2.7?"),
        (&["ban", "0.0.0.0/0"], "/8 is the shortest IPv4 prefix"),
        (&["ban", "::/0"], "/16 is the shortest IPv6 prefix"),
        (&["ban", "all"], "is not an IPv4 or IPv6 address"),
        (&["ban", "192.0.2.7", "--for", "30"], "such as 90s, 30m"),
        (&["ban", "192.0.2.7", "--reason", "a\nb"], "without control characters"),
        (&["ban", "192.0.2.7", "--blackhole", "--divert"], "cannot be used with"),
        (&["history", "--limit", "0"], "is not in 1..=10000"),
        (&["history", "--since", "soon"], "expected a day such as"),
    ] {
        let (status, out, err) = desk.run(words);
        assert_eq!((status, out.as_str()), (2, ""), "{words:?}: {err}");
        assert!(err.contains(reason), "{words:?}: {err}");
    }
    assert!(desk.asked().is_empty());
}

#[test]
fn a_refusal_is_status_1_with_its_reason() {
    let desk = Desk::refusing("ban", "refused: 192.0.2.7/32 is protected\u{1b}[2J\nby us");
    let (status, out, err) = desk.run(&["ban", "192.0.2.7", "--blackhole"]);
    assert_eq!((status, out.as_str()), (1, ""));
    // What the service says cannot write to the terminal as it likes.
    assert_eq!(err, "tidewall: refused: 192.0.2.7/32 is protected\u{fffd}[2J\u{fffd}by us\n");
    let asking: [(&str, &[&str]); 10] = [
        ("unban", &["unban", "192.0.2.7"]),
        ("approve", &["approve", "7"]),
        ("bans", &["bans"]),
        ("panic", &["panic"]),
        ("resume", &["resume"]),
        ("history", &["history"]),
        ("actions", &["actions", "--json"]),
        ("bgp_peers", &["bgp", "peers"]),
        ("bgp_routes", &["bgp", "routes"]),
        ("bgp_routes", &["bgp", "flowspec"]),
    ];
    for (name, words) in asking {
        let desk = Desk::refusing(name, "mitigation is not running");
        let (status, out, err) = desk.run(words);
        assert_eq!((status, out.as_str()), (1, ""), "{words:?}");
        assert_eq!(err, "tidewall: mitigation is not running\n");
    }
}

#[test]
fn without_a_service_the_status_is_2() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_tidewall"))
        .args(["ban", "192.0.2.7", "--control"])
        .arg(folder.path().join("control.sock"))
        .output()
        .unwrap();
    let (status, _, err) = said(&output);
    assert_eq!(status, 2);
    assert!(err.contains("is `tidewall run` running"), "{err}");
}
