//! What both sides leave: files of attacks and keys in Redis.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::calls::{Call, of_host};
use crate::compare;
use crate::lab::{ATTACKS, Lab, PREFIX, Side};
use crate::traffic::{MANUAL, Medium, VICTIMS};

/// Everything that is left of all attacks and bans.
pub fn agree(lab: &Lab, their_calls: &[Call], our_calls: &[Call]) {
    let [theirs, ours] = lab.sides();
    let (their_files, our_files) = (files(theirs), files(ours));
    files_agree(&their_files, &our_files);
    for (files, calls) in [(&their_files, their_calls), (&our_files, our_calls)] {
        reports_hold_what_was_told(files, calls);
    }
    captures_agree(&their_files, &our_files);
    keys_agree(theirs, ours);
    for (side, calls) in [(theirs, their_calls), (ours, our_calls)] {
        keys_hold_what_was_told(side, calls);
    }
    documents_agree(theirs, ours);
}

/// A file of an attack.
#[derive(Debug)]
struct File {
    /// `dd_mm_yy_HH:MM:SS`.
    stamp: String,
    mode: u32,
    bytes: Vec<u8>,
}

/// By host and ending.
type Files = BTreeMap<(String, String), File>;

fn files(side: &Side) -> Files {
    let mut files = Files::new();
    for entry in fs::read_dir(side.path(ATTACKS)).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let (stem, ending) = name.rsplit_once('.').unwrap();
        let (host, stamp) = stem.split_once('_').unwrap();
        let file = File {
            stamp: stamp.to_owned(),
            mode: fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            bytes: fs::read(&path).unwrap(),
        };
        let before = files.insert((host.to_owned(), ending.to_owned()), file);
        assert!(before.is_none(), "{name} is not the only one");
    }
    files
}

/// Ours are theirs, and those of IPv6; but no capture where nothing was captured.
fn files_agree(theirs: &Files, ours: &Files) {
    let names = |files: &Files| -> Vec<String> {
        files.keys().map(|(host, ending)| format!("{host}.{ending}")).collect()
    };
    let (mut of_theirs, mut of_ours) = (Vec::new(), Vec::new());
    for victim in &VICTIMS {
        for ending in ["txt", "pcap"] {
            let name = format!("{}.{ending}", victim.argument);
            if !victim.is_v6() {
                of_theirs.push(name.clone());
            }
            if ending == "txt" || victim.medium != Medium::Netflow5 {
                of_ours.push(name);
            }
        }
    }
    for one in MANUAL {
        let name = format!("{}.txt", one.argument);
        if !one.address.contains(':') {
            of_theirs.push(name.clone());
        }
        of_ours.push(name);
    }
    of_theirs.sort();
    of_ours.sort();
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    assert_eq!(sorted(names(theirs)), of_theirs);
    assert_eq!(sorted(names(ours)), of_ours);
    let by_hand = |host: &str| MANUAL.iter().any(|one| one.argument == host);
    for ((host, ending), file) in ours {
        let digits_gone = file.stamp.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(digits_gone, "00_00_00_00:00:00", "{host}.{ending}");
        let Some(their_file) = theirs.get(&(host.clone(), ending.clone())) else { continue };
        assert_eq!(file.mode, their_file.mode, "{host}.{ending}");
        if by_hand(host) {
            // Theirs has no time for a ban by hand: its year is that of the epoch, here.
            let year = their_file.stamp.split('_').nth(2);
            assert!(matches!(year, Some("70" | "69")), "{}", their_file.stamp);
            continue;
        }
        let apart = second_of_day(&file.stamp).abs_diff(second_of_day(&their_file.stamp));
        assert!(apart.min(86_400 - apart) < 30, "{} and {}", file.stamp, their_file.stamp);
    }
}

fn second_of_day(stamp: &str) -> u32 {
    let time = stamp.rsplit('_').next().unwrap();
    time.split(':').fold(0, |sum, part| sum * 60 + part.parse::<u32>().unwrap())
}

/// What the script read at the ban, two line ends; then what it read as details, and two more.
fn reports_hold_what_was_told(files: &Files, calls: &[Call]) {
    for ((host, ending), file) in files {
        if ending != "txt" {
            continue;
        }
        let mut want = String::new();
        for call in of_host(calls, host).iter().filter(|call| call.verb() != "unban") {
            want += &call.stdin;
            want += "\n\n";
        }
        assert_eq!(String::from_utf8_lossy(&file.bytes), want, "{host}");
    }
}

/// The same file header, and packets until its end.
fn captures_agree(theirs: &Files, ours: &Files) {
    for ((host, ending), file) in ours {
        if ending != "pcap" {
            continue;
        }
        let types = frames(&file.bytes).map(|frame| [frame[12], frame[13]]);
        let ethertype = if host.contains(':') { [0x86, 0xdd] } else { [8, 0] };
        assert!(types.into_iter().all(|found| found == ethertype), "{host}");
        let Some(their_file) = theirs.get(&(host.clone(), ending.clone())) else { continue };
        assert_eq!(file.bytes[..24], their_file.bytes[..24], "{host}");
        // Theirs writes frames in which its parser has turned the bytes of numbers around.
        let types = frames(&their_file.bytes).map(|frame| [frame[12], frame[13]]);
        assert!(types.into_iter().all(|found| found == [0, 8]), "{host}");
    }
}

/// The frames of a capture: each has at least an Ethernet header.
fn frames(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = &bytes[24..];
    let mut list = Vec::new();
    while !rest.is_empty() {
        let field = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
        let (length, original) = (field(8) as usize, field(12) as usize);
        assert!((14..=1500).contains(&length) && length <= original, "{length} of {original}");
        list.push(&rest[16..16 + length]);
        rest = &rest[16 + length..];
    }
    assert!((1..=500).contains(&list.len()), "{} frames", list.len());
    list.into_iter()
}

/// Theirs, and in ours those of IPv6 besides. None of them ends.
fn keys_agree(theirs: &Side, ours: &Side) {
    let (their_keys, our_keys) = (theirs.keys(), ours.keys());
    let of_v4: Vec<String> = our_keys.iter().filter(|key| !key.contains(':')).cloned().collect();
    assert_eq!(of_v4, their_keys);
    let of_v6: Vec<&str> =
        our_keys.iter().filter(|key| key.contains(':')).map(String::as_str).collect();
    let want = [
        "2001:0db8:0009::0001_flow_dump",
        "2001:0db8:0009::0001_information",
        "2001:0db8:0009::0001_packets_dump",
        "2001:0db8:0009::0077_flow_dump",
        "2001:0db8:0009::0077_information",
    ];
    assert_eq!(of_v6, want.map(|name| format!("{PREFIX}_{name}")));
    for side in [theirs, ours] {
        for key in side.keys() {
            assert_eq!(side.seconds_left(&key), "-1", "{key}");
        }
    }
}

fn keys_hold_what_was_told(side: &Side, calls: &[Call]) {
    for key in side.keys() {
        let name = key.strip_prefix(&format!("{PREFIX}_")).unwrap();
        let (host, part) = name.split_once('_').unwrap();
        let stdin = |verb: &str| {
            let calls = of_host(calls, host);
            calls.into_iter().find(|call| call.verb() == verb).unwrap().stdin.clone()
        };
        match part {
            "flow_dump" => assert_eq!(side.value(&key), compare::dump(&stdin("ban")), "{key}"),
            "packets_dump" => assert_eq!(side.value(&key), stdin("attack_details"), "{key}"),
            part => assert_eq!(part, "information"),
        }
    }
}

/// Each key of their documents is in ours, with a value of the same type, in the same order.
fn documents_agree(theirs: &Side, ours: &Side) {
    let mut documents = 0;
    for key in theirs.keys().into_iter().filter(|key| key.ends_with("_information")) {
        let texts = [theirs, ours].map(|side| side.value(&key));
        let [their, our] =
            texts.each_ref().map(|text| serde_json::from_str::<Value>(text).unwrap());
        holds(&key, &our, &their);
        for name in ["action", "alert_scope", "ip"] {
            assert_eq!(our[name], their[name], "{key}");
        }
        let (our, their) = (&our["attack_details"], &their["attack_details"]);
        assert_eq!(our["protocol_version"], their["protocol_version"]);
        assert_eq!((&their["host_group"], &our["host_group"]), (&"".into(), &"global".into()));
        for text in &texts {
            let keys = their.as_object().unwrap().keys();
            let mut keys: Vec<&String> = keys.collect();
            keys.sort();
            assert!(keys.is_sorted_by_key(|key| text.find(&format!("\"{key}\":"))), "{text}");
        }
        documents += 1;
    }
    let of_v4 = VICTIMS.iter().filter(|victim| !victim.is_v6()).count();
    assert_eq!(documents, of_v4 + 1, "and a ban by hand");
}

fn holds(key: &str, ours: &Value, theirs: &Value) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            for (name, value) in theirs {
                let ours = ours.get(name).unwrap_or_else(|| panic!("{key} has no {name}"));
                holds(key, ours, value);
            }
        }
        (Value::Number(_), Value::Number(_)) | (Value::String(_), Value::String(_)) => {}
        (ours, theirs) => panic!("{key}: {ours} for {theirs}"),
    }
}
