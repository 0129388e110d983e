//! The notify scripts that are shipped in `packaging/notify`: each keeps the contract, and does
//! what it says with the programs that it calls, which are stand-ins here that write down what they
//! get.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const REPORT: &str = "IP: 192.0.2.1\nAttack type: udp_flood\n";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/notify")
}

/// A folder with a program of this name that writes down its words and its standard input.
fn stand_in(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let seen = folder.path().join("seen");
    let text = format!(
        "#!/bin/sh\n{{ for word in \"$@\"; do printf '<%s>' \"$word\"; done; echo; cat; }} >> {}\n\
         echo \"$STAND_IN_SAYS\"\n",
        seen.display()
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

fn seen(folder: &tempfile::TempDir) -> String {
    fs::read_to_string(folder.path().join("seen")).unwrap_or_default()
}

/// Calls a script as the action does.
fn call(script: &str, first: &Path, words: &[&str], input: &str, more: &[(&str, &str)]) -> Output {
    let path = format!("{}:{}", first.display(), std::env::var("PATH").unwrap());
    let mut child = Command::new(scripts().join(script))
        .args(words)
        .env("PATH", path)
        .envs(more.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A script need not read.
    _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn every_script_is_plain_sh_and_documented() {
    let manual = fs::read_to_string(scripts().join("../../docs/actions.md")).unwrap();
    let mut count = 0;
    for entry in fs::read_dir(scripts()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("#!/bin/sh\n"), "{name}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o111, 0o111, "{name}");
        let checked = Command::new("sh").arg("-n").arg(&path).status().unwrap();
        assert!(checked.success(), "{name}");
        assert!(manual.contains(&format!("packaging/notify/{name}")), "{name} in docs/actions.md");
        // Wrong words are refused, with a line that says which are right.
        let folder = stand_in("unused");
        let refused = call(name, folder.path(), &["192.0.2.1"], "", &[]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert!(String::from_utf8_lossy(&refused.stderr).starts_with("usage: "), "{name}");
        count += 1;
    }
    assert_eq!(count, 3);
}

#[test]
fn mail_sends_the_report_and_the_end() {
    let mail = stand_in("mail");
    let told = |verb, input| {
        let words = ["192.0.2.1", "incoming", "48210", verb];
        let output = call("mail.sh", mail.path(), &words, input, &[]);
        assert!(output.status.success(), "{output:?}");
    };
    told("ban", REPORT);
    let subject = "<-s><[ddos] 192.0.2.1 is banned: incoming, 48210 packets/s><root>\n";
    let ban = format!("{subject}{REPORT}");
    assert_eq!(seen(&mail), ban);
    told("attack_details", REPORT);
    assert_eq!(seen(&mail), ban, "no second mail");
    told("unban", "");
    let end = "<-s><[ddos] 192.0.2.1 is free again><root>\nThe ban of 192.0.2.1 is over.\n";
    assert_eq!(seen(&mail), ban + end);
    let output = call("mail.sh", mail.path(), &["192.0.2.1", "incoming", "0", "rm"], "", &[]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn blackhole_adds_and_removes_one_route() {
    for (address, family, prefix) in [
        ("192.0.2.1", "-4", "192.0.2.1/32"),
        ("2001:0db8:0009::0001", "-6", "2001:0db8:0009::0001/128"),
    ] {
        let ip = stand_in("ip");
        let told = |verb, says| {
            let words = [address, "incoming", "48210", verb];
            let more = [("STAND_IN_SAYS", says)];
            let output = call("blackhole.sh", ip.path(), &words, "", &more);
            assert!(output.status.success(), "{output:?}");
        };
        let line = |words: &str| format!("<{family}><route>{words}<{prefix}>\n");
        let add = line("<replace><blackhole>");
        let (look, remove) = (line("<show><type><blackhole><exact>"), line("<del><blackhole>"));
        told("ban", "");
        assert_eq!(seen(&ip), add);
        told("attack_details", "");
        assert_eq!(seen(&ip), add);
        told("unban", "blackhole 192.0.2.1");
        assert_eq!(seen(&ip), format!("{add}{look}{remove}"));
        told("unban", "");
        let want = format!("{add}{look}{remove}{look}");
        assert_eq!(seen(&ip), want, "a route that is gone is not removed");
    }
    let ip = stand_in("ip");
    for address in ["192.0.2.0/24", "", "-4", "192.0.2.1 dev eth0", "default"] {
        let words = [address, "incoming", "48210", "ban"];
        let output = call("blackhole.sh", ip.path(), &words, "", &[]);
        assert_eq!(output.status.code(), Some(2), "{address}");
    }
    assert_eq!(seen(&ip), "");
}

#[test]
fn journal_adds_a_line_for_each_event() {
    if Command::new("jq").arg("--version").output().is_err() {
        println!("skipped: jq is not installed");
        return;
    }
    let folder = stand_in("unused");
    let file = folder.path().join("lines");
    let more = [("JOURNAL", file.to_str().unwrap())];
    let document = r#"{"action":"ban","ip":"192.0.2.1",
        "attack_details":{"initial_attack_power":48210},
        "tidewall":{"time":"2026-11-21T13:56:51.625000Z","direction":"incoming","note":"attack 9",
            "class":"udp_reflection","reason":{"metric":"total_pps","value":48210.5,"limit":2e4}}}"#;
    let by_hand = r#"{"action":"unban","ip":"192.0.2.1",
        "attack_details":{"initial_attack_power":0},
        "tidewall":{"time":"2026-11-21T14:00:00.000000Z","direction":"incoming","note":"ann: done",
            "class":"unknown","reason":null}}"#;
    for (verb, document) in [("ban", document), ("unban", by_hand)] {
        let words = [verb, "192.0.2.1"];
        let output = call("journal.sh", folder.path(), &words, document, &more);
        assert!(output.status.success(), "{output:?}");
    }
    let lines = fs::read_to_string(file).unwrap();
    let want = "2026-11-21T13:56:51.625000Z\tban\t192.0.2.1\tincoming\tudp_reflection\t\
                48210 packets/s\ttotal_pps 48210/20000\tattack 9\n\
                2026-11-21T14:00:00.000000Z\tunban\t192.0.2.1\tincoming\tunknown\t\
                0 packets/s\tby hand\tann: done\n";
    assert_eq!(lines, want);
}
