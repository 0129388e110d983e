//! The program itself: exit statuses, standard input, gzip, and what is said of bad input.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod captures;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use captures::{Capture, SECOND, START, corpus};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

fn tidewall(args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidewall"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let stdin = stdin.to_vec();
    // A program that does not read its input closes the pipe: that is no error here.
    let writer = std::thread::spawn(move || _ = pipe.write_all(&stdin));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Status and the text of both streams.
fn answer(args: &[&str], stdin: &[u8]) -> (i32, String, String) {
    let output = tidewall(args, stdin);
    let status = output.status.code().expect("ended by itself");
    (status, text(&output.stdout).to_owned(), text(&output.stderr).to_owned())
}

fn flood() -> Vec<u8> {
    let mut capture = Capture::new();
    capture.flood(START, "198.51.100.9", "192.0.2.7", 50_000, 1.0);
    capture.bytes
}

fn calm() -> Vec<u8> {
    let mut capture = Capture::new();
    capture.flood(START, "198.51.100.9", "192.0.2.7", 10, 5.0);
    capture.udp(START + 6 * SECOND, "192.0.2.7", "198.51.100.9", (4000, 1024));
    capture.frame(START + 6 * SECOND, &[0xff; 60]);
    capture.bytes
}

fn save(folder: &Path, name: &str, bytes: &[u8]) -> (PathBuf, String) {
    let path = folder.join(name);
    fs::write(&path, bytes).unwrap();
    let shown = path.display().to_string();
    (path, shown)
}

#[test]
fn replay_exit_statuses() {
    let folder = tempfile::tempdir().unwrap();
    let (_, flood) = save(folder.path(), "flood.pcap", &flood());
    let (_, calm) = save(folder.path(), "calm.pcap", &calm());
    let (status, out, err) = answer(&["replay", &flood], b"");
    assert_eq!(status, 0, "{err}");
    assert!(out.contains("#1 192.0.2.7 is under attack"), "{out}");
    assert!(err.contains("taking the busiest destination, 192.0.2.0/24"), "{err}");
    assert_eq!(answer(&["replay", &flood, "--fail-on-attack"], b"").0, 1);
    let (status, out, _) = answer(&["replay", &calm, "--fail-on-attack"], b"");
    assert_eq!(status, 0);
    assert!(out.contains("No attack was found."), "{out}");
}

#[test]
fn replay_reads_standard_input_and_gzip_alike() {
    let folder = tempfile::tempdir().unwrap();
    let plain = flood();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&plain).unwrap();
    let packed = encoder.finish().unwrap();
    let (_, file) = save(folder.path(), "flood.pcap", &plain);
    let (_, gzipped) = save(folder.path(), "flood.pcap.gz", &packed);
    let report = |args: &[&str], stdin: &[u8]| -> Value {
        let (status, out, err) = answer(&[&["replay", "--format", "json"], args].concat(), stdin);
        assert_eq!(status, 0, "{err}");
        assert!(out.ends_with("}\n") && out.starts_with('{'));
        let mut report: Value = serde_json::from_str(&out).unwrap();
        assert!(report["files"][0].as_object_mut().unwrap().remove("name").is_some());
        report
    };
    let want = report(&[&file], b"");
    for key in ["totals", "top_hosts", "attacks"] {
        assert!(want.get(key).is_some(), "{key}");
    }
    assert_eq!(report(&[&gzipped], b""), want);
    // What can be read once only is not measured.
    let mut want = want;
    for attack in want["attacks"].as_array_mut().unwrap() {
        assert!(attack.as_object_mut().unwrap().remove("measured").is_some());
    }
    assert_eq!(report(&["-"], &plain), want);
    assert_eq!(report(&["-", "--shards", "7", "--batch", "13"], &packed), want);
    let (status, _, err) = answer(&["replay", "-", "--loop", "2"], &plain);
    assert_eq!(status, 2);
    assert!(err.contains("standard input can be read once only"), "{err}");
}

#[test]
fn replay_follows_configuration_and_options() {
    let folder = tempfile::tempdir().unwrap();
    let (_, flood) = save(folder.path(), "flood.pcap", &flood());
    let config = "networks = [\"192.0.2.0/24\"]\n[detection]\nenabled = false\n";
    let (_, config) = save(folder.path(), "tidewall.toml", config.as_bytes());
    let (_, broken) = save(folder.path(), "broken.toml", b"netwoks = []\n");
    let (status, out, err) = answer(&["replay", &flood, "--config", &config], b"");
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(out.contains("No attack was found.") && out.contains("Network    192.0.2.0/24\n"));
    let (status, out, err) = answer(&["replay", &flood, "--config", &broken], b"");
    assert_eq!((status, out.as_str()), (2, ""));
    assert!(err.contains("networks"), "{err}");
    let other = ["replay", &flood, "--config", &config, "--network", "198.51.100.0/24"];
    let (_, out, _) = answer(&other, b"");
    assert!(out.contains("Network    198.51.100.0/24\n") && out.contains("198.51.100.9"), "{out}");
    let pace = ["replay", &flood, "--start-at", "2026-11-21T10:30:00Z", "--speed", "0.001"];
    let (_, out, _) = answer(&pace, b"");
    assert!(out.contains("2026-11-21T10:30:00.000000Z") && out.contains("No attack"), "{out}");
    for bad in [["--speed", "0"], ["--network", "10.0.0.1/8"], ["--start-at", "noon"]] {
        let (status, _, err) = answer(&[&["replay", &flood], &bad[..]].concat(), b"");
        assert_eq!(status, 2, "{bad:?}");
        assert!(err.contains(bad[0]), "{err}");
    }
}

#[test]
fn bad_files_are_named_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (_, garbage) = save(folder.path(), "garbage.pcap", b"this is not a capture, only words");
    let (_, empty) = save(folder.path(), "empty.pcap", b"");
    let missing = folder.path().join("missing.pcap").display().to_string();
    for command in ["replay", "decode"] {
        for (file, why) in [
            (&garbage, "neither pcap nor pcapng"),
            (&empty, "capture's header"),
            (&missing, "cannot be opened"),
        ] {
            let (status, _, err) = answer(&[command, file], b"");
            assert_eq!(status, 2, "{command} {file}");
            assert!(err.contains(file.as_str()) && err.contains(why), "{command}: {err}");
        }
    }
}

#[test]
fn a_cut_capture_is_a_warning_and_a_damaged_one_an_error() {
    let mut bytes = calm();
    bytes.truncate(bytes.len() - 7);
    for (command, lines) in [("replay", None), ("decode", Some(52))] {
        let (status, out, err) = answer(&[command, "-"], &bytes);
        assert_eq!(status, 0, "{err}");
        assert!(err.contains("warning: standard input: cut short"), "{err}");
        lines.inspect(|lines| assert_eq!(out.lines().count(), *lines));
    }
    let last = bytes.len() - (60 - 7) - 16;
    bytes[last + 8..last + 12].fill(0xff);
    for (command, lines) in [("replay", None), ("decode", Some(52))] {
        let (status, out, err) = answer(&[command, "-"], &bytes);
        assert_eq!(status, 2, "{err}");
        assert!(err.contains("damaged from there on (packets read before: 51)"), "{err}");
        assert!(!out.is_empty(), "what could be read is still told");
        lines.inspect(|lines| assert_eq!(out.lines().count(), *lines));
    }
}

const HEAD: &str = "src_addr,dst_addr,src_port,dst_port,protocol,tcp_flags,packets,bytes,fragment,\
                    vlan,ttl,direction,note";

#[test]
fn decode_writes_one_line_a_packet() {
    let (status, out, err) = answer(&["decode", "-"], &calm());
    assert_eq!((status, err.as_str()), (0, ""));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 53);
    assert_eq!(lines[0], HEAD);
    assert_eq!(lines[1], "198.51.100.9,192.0.2.7,1024,4000,17,,1,142,no,,60,,");
    assert!(lines[52].starts_with(",,,,,,,,,,,,not ip: "), "{}", lines[52]);
    let args = ["decode", "-", "--network", "192.0.2.0/24", "--length", "ip_header"];
    let (_, out, _) = answer(&args, &calm());
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[1], "198.51.100.9,192.0.2.7,1024,4000,17,,1,128,no,,60,incoming,");
    assert_eq!(lines[51], "192.0.2.7,198.51.100.9,4000,1024,17,,1,128,no,,60,outgoing,");
    let (_, out, _) = answer(&["decode", "-", "--format", "jsonl"], &calm());
    assert_eq!(out.lines().count(), 52);
    let first: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    let keys: Vec<&str> = HEAD.split(',').collect();
    assert_eq!(first.as_object().unwrap().len(), keys.len());
    assert!(keys.iter().all(|key| first.get(key).is_some()));
    assert_eq!((&first["src_addr"], &first["bytes"]), (&"198.51.100.9".into(), &142.into()));
    assert!(first["direction"].is_null());
}

#[test]
fn a_reader_that_stops_early_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let (_, file) = save(folder.path(), "flood.pcap", &flood());
    let mut child = Command::new(env!("CARGO_BIN_EXE_tidewall"))
        .args(["decode", &file])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 8];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((&first, output.status.code()), (b"src_addr", Some(0)));
    assert_eq!(text(&output.stderr), "");
}

#[test]
fn decode_enters_the_tunnels_it_is_told_to() {
    let (status, _, err) = answer(&["decode", "-", "--inner", "gre,foo"], &calm());
    assert_eq!(status, 2);
    assert!(err.contains("`foo` is not a tunnel; there are gre, "), "{err}");
    let Some(corpus) = corpus() else { return };
    let file = corpus.join("pcap/akvorado__gre-v4-key.pcap").display().to_string();
    let first = |more: &[&str]| {
        let (_, out, _) = answer(&[&["decode", &file], more].concat(), b"");
        out.lines().nth(1).unwrap().to_owned()
    };
    let outer =
        "192.168.12.1,192.168.12.2,0,0,47,,1,142,no,,255,,gre inner 192.168.1.101 > 192.168.2.102";
    let inner = "192.168.1.101,192.168.2.102,0,2048,1,,1,100,no,,254,,inside gre";
    assert_eq!(first(&[]), outer);
    assert_eq!(first(&["--inner", "vxlan"]), outer);
    assert_eq!(first(&["--inner", "vxlan,gre"]), inner);
    assert_eq!(first(&["--inner", "all"]), inner);
}
