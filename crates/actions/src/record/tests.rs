use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use tidewall_model::{Target, Timestamp};

use super::*;
use crate::{LocalTime, fixture};

fn config(folder: &Path) -> Config {
    let style = Style { zone: LocalTime::utc(), own_lines: false, ..Style::default() };
    Config { style, ..Config::new(folder) }
}

fn write(record: &Record, event: &ActionEvent) -> Result<(), ActionError> {
    assert!(record.wants(event));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(record.apply(event))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn files_of_1_2_4_are_named_and_filled_as_debians_package_did() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = config(folder.path());
    settings.style.generation = Generation::V1_2_4;
    settings.json = false;
    let record = Record::new(settings.clone()).unwrap();
    let mut event = fixture::recorded(ActionKind::Banned);
    event.attack.peak_pps = 529;
    write(&record, &event).unwrap();
    let stem = "10.9.9.1_21_11_26_13:56:51";
    assert_eq!(names(folder.path()), [format!("{stem}.pcap"), format!("{stem}.txt")]);
    let text = fs::read_to_string(folder.path().join(format!("{stem}.txt"))).unwrap();
    let (report, details) = (settings.style.report(&event), settings.style.details(&event));
    assert_eq!(text, format!("{report}\n\n{details}\n\n"));
    let mode = |ending: &str| {
        let path = folder.path().join(format!("{stem}.{ending}"));
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("txt"), mode("pcap")), (0o644, 0o600));
}

#[test]
fn the_json_document_follows_the_attack() {
    let folder = tempfile::tempdir().unwrap();
    let record = Record::new(config(folder.path())).unwrap();
    let event = |kind| {
        let mut event = fixture::event(kind, 1);
        event.frames.clear();
        event
    };
    for kind in [ActionKind::Started, ActionKind::Banned, ActionKind::Ended] {
        write(&record, &event(kind)).unwrap();
    }
    let stem = "192.0.2.1_21_11_26_13:56:51";
    assert_eq!(names(folder.path()), [format!("{stem}.json"), format!("{stem}.txt")]);
    let json = fs::read_to_string(folder.path().join(format!("{stem}.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["tidewall"]["event"], "ended");
    assert_eq!(json["tidewall"]["ended"], "2026-11-21T13:57:51.621000Z");
}

#[test]
fn attacks_of_the_same_host_in_the_same_second_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let record = Record::new(config(folder.path())).unwrap();
    let towards = fixture::event(ActionKind::Banned, 1);
    let mut from = fixture::event(ActionKind::Banned, 1);
    from.attack.direction = Direction::Outgoing;
    from.frames[0].bytes[0] = 8;
    for event in [&towards, &towards, &from, &from] {
        write(&record, event).unwrap();
    }
    let stem = "192.0.2.1_21_11_26_13:56:51";
    let endings = [".json", ".pcap", ".txt", "_outgoing.json", "_outgoing.pcap"];
    assert_eq!(names(folder.path()), endings.map(|ending| format!("{stem}{ending}")));
    assert_eq!(record.0.found().unwrap().len(), 5, "all of them are ours");
    let file = |ending: &str| fs::read(folder.path().join(format!("{stem}{ending}"))).unwrap();
    assert_eq!(file(".txt"), (record.0.text(&towards) + &record.0.text(&from)).into_bytes());
    assert_eq!(file(".pcap"), pcap(&towards.frames));
    assert_eq!(file("_outgoing.pcap"), pcap(&from.frames));
}

#[test]
fn a_capture_has_the_name_of_the_reference_while_it_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let record = Record::new(config(folder.path())).unwrap();
    let towards = fixture::event(ActionKind::Banned, 1);
    let mut from = fixture::event(ActionKind::Banned, 1);
    from.attack.direction = Direction::Outgoing;
    from.frames[0].bytes[0] = 8;
    let stem = "192.0.2.1_21_11_26_13:56:51";
    let captures = || {
        let names = names(folder.path()).into_iter();
        names.filter(|name| name.contains(".pcap")).collect::<Vec<_>>()
    };
    write(&record, &from).unwrap();
    assert_eq!(captures(), [format!("{stem}.pcap")]);
    write(&record, &towards).unwrap();
    assert_eq!(captures(), [format!("{stem}.pcap"), format!("{stem}_incoming.pcap")]);
    assert_eq!(record.0.found().unwrap().len(), 5, "all of them are ours");
}

#[test]
fn pcap_files_hold_what_was_captured() {
    let frames = [
        CapturedFrame {
            time: Timestamp::from_parts(0x6b01_a323, 649_647_123),
            original_length: 60,
            bytes: vec![1, 2, 3],
        },
        CapturedFrame { time: Timestamp::ZERO, original_length: 0, bytes: vec![9; 2000] },
    ];
    let file = pcap(&frames);
    // The first bytes are those of the file that Debian's package wrote.
    assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
    assert_eq!(file[4..24], [2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xdc, 5, 0, 0, 1, 0, 0, 0]);
    assert_eq!(file[24..28], [0x23, 0xa3, 0x01, 0x6b]);
    assert_eq!(file[28..43], [0xaf, 0xe9, 9, 0, 3, 0, 0, 0, 60, 0, 0, 0, 1, 2, 3]);
    assert_eq!(file.len(), 24 + 16 + 3 + 16 + 1500);
    assert_eq!(file[24 + 19 + 12..][..4], 2000u32.to_le_bytes());
}

#[test]
fn names_stay_in_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let record = Record::new(config(&folder.path().join("deep/er"))).unwrap();
    for (target, want) in [
        ("../../etc/passwd", "_.._.._etc_passwd_"),
        (".hidden", "_.hidden_"),
        ("a b\nc\0", "a_b_c__"),
        (&"x".repeat(400), &format!("{}_", "x".repeat(MAX_TARGET))),
    ] {
        let mut event = fixture::event(ActionKind::Banned, 1);
        event.attack.target = Target::Group(target.into());
        assert_eq!(record.0.stem(&event), format!("{want}21_11_26_13:56:51"));
        write(&record, &event).unwrap();
    }
    let mut event = fixture::event(ActionKind::Banned, 1);
    event.attack.target = Target::Host(fixture::address("2001:db8::1"));
    assert_eq!(record.0.stem(&event), "2001:db8::1_21_11_26_13:56:51");
    event.attack.target = Target::Network("192.0.2.0/24".parse().unwrap());
    assert_eq!(record.0.stem(&event), "192.0.2.0_24_21_11_26_13:56:51");
    assert_eq!(names(folder.path()), ["deep"]);
}

#[test]
fn the_oldest_files_give_way_and_others_stay() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = ["notes.txt", "dump_of_everything.pcap", "x_21_11_26_13:56:51.log"];
    for name in foreign {
        fs::write(folder.path().join(name), "not ours").unwrap();
    }
    let settings = Config { max_files: 20, json: false, pcap: false, ..config(folder.path()) };
    let record = Record::new(settings).unwrap();
    for id in 0..100 {
        let event = fixture::event(ActionKind::Banned, id);
        write(&record, &event).unwrap();
        let path = folder.path().join(format!("{}.txt", record.0.stem(&event)));
        let age = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000 + id);
        File::options().append(true).open(path).unwrap().set_modified(age).unwrap();
        assert!(names(folder.path()).len() <= 20 + foreign.len());
    }
    let left = names(folder.path());
    assert!(left.len() >= 18 + foreign.len());
    assert!(foreign.iter().all(|name| left.contains(&(*name).to_owned())), "{left:?}");
    for id in 85..100 {
        let name = format!("192.0.2.{id}_21_11_26_13:56:51.txt");
        assert!(left.contains(&name), "{name} of {left:?}");
    }
}

#[test]
fn bytes_are_bounded_too() {
    let folder = tempfile::tempdir().unwrap();
    let record = Record::new(Config { max_bytes: 1 << 16, ..config(folder.path()) }).unwrap();
    for id in 0..100 {
        write(&record, &fixture::event(ActionKind::Banned, id)).unwrap();
    }
    let sum: u64 = record.0.found().unwrap().iter().map(|(_, _, length)| length).sum();
    assert!(sum <= (1 << 16) + 16_000, "{sum}");
    assert!(sum > 1 << 15, "{sum}");
}

/// A file system of 64 KiB in the folder, where the machine lets us have one.
struct Small(tempfile::TempDir);

impl Small {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = ["-t", "tmpfs", "-o", "size=64k,mode=700", "tidewall-test"];
        let mounted = Command::new("mount").args(mount).arg(folder.path()).output().ok()?;
        mounted.status.success().then_some(Self(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        _ = Command::new("umount").arg(self.0.path()).output();
    }
}

#[test]
fn a_full_disk_is_explained_and_survived() {
    let Some(small) = Small::new() else {
        println!("skipped: needs the right to mount a small file system");
        return;
    };
    let record = Record::new(config(small.0.path())).unwrap();
    let ballast = small.0.path().join("ballast");
    fs::write(&ballast, vec![0; 60 * 1024]).unwrap();
    let error = write(&record, &fixture::event(ActionKind::Banned, 1)).unwrap_err();
    assert!(error.retry);
    assert!(error.message.contains("192.0.2.1_21_11_26_13:56:51."), "{error}");
    assert!(error.message.contains("No space left on device"), "{error}");
    assert!(error.message.ends_with("free some space there or lower max_bytes"), "{error}");
    assert!(names(small.0.path()).iter().all(|name| !name.starts_with('.')), "no remains");
    fs::remove_file(ballast).unwrap();
    write(&record, &fixture::event(ActionKind::Banned, 1)).unwrap();
    assert_eq!(names(small.0.path()).len(), 3);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(Record::new(Config::new(file.join("below"))).unwrap_err().field, "folder");
    let config = Config { max_files: 0, ..Config::new(folder.path()) };
    assert_eq!(Record::new(config).unwrap_err().field, "max_files");
}
