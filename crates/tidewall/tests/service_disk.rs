//! The disk under a running service: full, and with a journal that was torn or overwritten. The
//! service goes on, the operator reads what happened and what to do, and what was answered before
//! is known again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

#[path = "exporter_faults/router.rs"]
mod router;
mod service;

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use router::{Flow, LAYOUTS, Router};
use serde_json::{Value, json};
use service::skip::skip;
use service::{RELOAD, Service, v5};
use tidewall_wire::netflow::Protocol;

const BANS: &str = r#"{"ask":"bans"}"#;
const FULL: &str = "No space left on device";
const IN_MEMORY: &str = "kept in memory only";

/// A service that announces into a pipe without a reader: bans are decided and journalled.
fn prepared() -> Service {
    let service = Service::prepared();
    let pipe = service.path("exabgp.cmd").display().to_string();
    service.write(&format!(
        "networks = [\"192.0.2.0/24\"]\n[listen]\nsflow = []\nnetflow = [\"127.0.0.1:{}\"]\n\
         [rails]\nmost_routes = 1000\nchanges_per_minute = 100_000\n\
         largest_share = \"100%\"\n\
         [mitigation]\nmost_routes = 1000\n\
         [exabgp]\npipe = {pipe:?}\nnext_hop_ipv4 = \"192.0.2.254\"\n",
        service.netflow,
    ));
    service
}

fn ban(service: &Service, host: u8) {
    let question = json!({
        "ask": "ban", "target": format!("192.0.2.{host}"), "kind": "blackhole", "seconds": 600,
        "why": "x".repeat(500),
    });
    service.data(&question.to_string());
}

/// Hosts that are banned.
fn banned(service: &Service) -> Vec<String> {
    let bans = service.data(BANS);
    let list = bans["mitigations"].as_array().unwrap();
    let of = list.iter().filter(|one| one["kind"] == "blackhole");
    let mut of: Vec<String> = of.map(|one| one["target"].as_str().unwrap().to_owned()).collect();
    of.sort_by_key(|target| target.rsplit('.').next().unwrap().parse::<u8>().unwrap());
    of
}

fn hosts(range: std::ops::Range<u8>) -> Vec<String> {
    range.map(|host| format!("192.0.2.{host}")).collect()
}

fn kill(service: &mut Service) {
    service.child.kill().unwrap();
    service.child.wait().unwrap();
}

/// Lines of the log with a text.
fn said<'a>(log: &'a str, level: &str, text: &str) -> Vec<&'a str> {
    let level = format!("\"level\":\"{level}\"");
    log.lines().filter(|line| line.contains(&level) && line.contains(text)).collect()
}

/// A small disk that outlives services: a name space that a sleeping process holds.
struct SmallDisk {
    holder: Child,
    folder: PathBuf,
}

impl SmallDisk {
    /// `None`, and a word about it, where nothing may be mounted.
    fn at(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let script = "mount -t tmpfs -o size=2m tmpfs \"$1\" && echo there && exec sleep 600";
        let holder = Command::new("unshare")
            .args(["--mount", "--", "sh", "-c", script, "sh"])
            .arg(folder)
            .stdout(Stdio::piped())
            .spawn();
        let failed = |error| skip("service_disk", &format!("`unshare`: {error}"));
        let mut holder = holder.map_err(failed).ok()?;
        let mut line = String::new();
        let output = holder.stdout.take().unwrap();
        _ = std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line);
        if line.trim() != "there" {
            skip("service_disk", "root, for a file system of its own");
            holder.wait().unwrap();
            return None;
        }
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let folder = root.join(folder.strip_prefix("/").unwrap());
        Some(Self { holder, folder })
    }

    fn fill(&self) {
        let mut file = File::create(self.folder.join("filler")).unwrap();
        for size in [65_536, 4096, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.folder.join("filler")).unwrap();
    }

    /// In front of a program that shall see this disk.
    fn wrapper(&self) -> Vec<String> {
        let space = format!("--mount=/proc/{}/ns/mnt", self.holder.id());
        vec!["nsenter".to_owned(), space, "--".to_owned()]
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        _ = self.holder.kill();
        _ = self.holder.wait();
    }
}

fn journal(service: &Service, counter: &str) -> u64 {
    service.data(BANS)["journal"][counter].as_u64().unwrap()
}

#[test]
fn a_disk_that_fills_up_stops_nothing_and_loses_nothing_that_was_written() {
    let mut service = prepared();
    let Some(disk) = SmallDisk::at(&service.path("state")) else { return };
    service.wrapper = disk.wrapper();
    service.run();
    (1..10).for_each(|host| ban(&service, host));
    disk.fill();
    (10..100).for_each(|host| ban(&service, host));
    assert_eq!(banned(&service), hosts(1..100), "bans are made all the same");
    assert!(journal(&service, "failures") > 0 && journal(&service, "waiting") > 0);
    let log = service.log();
    let told = said(&log, "ERROR", FULL);
    assert_eq!(told.len(), 1, "told once: {log}");
    assert!(told[0].contains("what is decided is carried out all the same"), "{told:?}");
    assert!(told[0].contains("journal.redb"), "{told:?}");

    // Killed and started again while there is no room: what was written before is known.
    kill(&mut service);
    service.run();
    let (log, now) = (service.log(), banned(&service));
    assert!(!log.contains("damaged") && !log.contains(IN_MEMORY), "{log}");
    let known = now.len();
    assert!(known >= 9 && now == hosts(1..known as u8 + 1), "{now:?} {log}");

    // With room again everything is written, and said to be.
    (100..140).for_each(|host| ban(&service, host));
    disk.make_room();
    service.wait_for("the journal", |service| journal(service, "waiting") == 0);
    let log = service.log();
    assert_eq!(said(&log, "INFO", "the journal is written again").len(), 1, "{log}");
    let before = banned(&service);
    kill(&mut service);
    service.run();
    assert_eq!(banned(&service), before);
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

/// Does something to the journal of a service that was killed with bans.
fn after_harm(harm: impl FnOnce(&mut File, u64)) -> (Service, PathBuf) {
    let mut service = prepared();
    service.run();
    (1..20).for_each(|host| ban(&service, host));
    kill(&mut service);
    let path = service.path("state/journal.redb");
    let mut file = File::options().read(true).write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    harm(&mut file, length);
    drop(file);
    service.run();
    (service, path)
}

/// The operator reads what happened, where the old journal is, and what to do; and bans go on.
fn is_told_and_goes_on(mut service: Service, path: &Path) {
    let log = service.log();
    let told = said(&log, "WARN", "the journal was damaged");
    assert_eq!(told.len(), 1, "{log}");
    for words in ["journal.redb.damaged-1", "a new one begun", "look for routes that should be"] {
        assert!(told[0].contains(words), "{words}: {told:?}");
    }
    let aside = PathBuf::from(format!("{}.damaged-1", path.display()));
    assert!(aside.exists(), "it is kept");
    assert_eq!(banned(&service), Vec::<String>::new());
    ban(&service, 7);
    kill(&mut service);
    service.run();
    assert_eq!(banned(&service), hosts(7..8), "the new one works");
    assert!(!service.log().contains("damaged"), "{}", service.log());
}

#[test]
fn a_journal_whose_end_was_torn_off_is_told() {
    let (service, path) = after_harm(|file, length| file.set_len(length / 2 + 1234).unwrap());
    is_told_and_goes_on(service, &path);
}

#[test]
fn a_journal_with_another_content_is_told() {
    let (service, path) = after_harm(|file, length| {
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&vec![0xa5; length as usize]).unwrap();
    });
    is_told_and_goes_on(service, &path);
}

#[test]
fn octets_behind_the_end_of_a_journal_are_told() {
    let (service, path) = after_harm(|file, length| {
        file.seek(SeekFrom::Start(length)).unwrap();
        file.write_all(&[0x5a; 1234]).unwrap();
    });
    is_told_and_goes_on(service, &path);
}

/// A machine whose disk cannot be written at all still detects and bans, and says what that costs.
#[test]
fn a_journal_that_cannot_be_opened_is_told_with_what_it_costs() {
    let mut service = prepared();
    // A folder where the file should be.
    fs::create_dir_all(service.path("state/journal.redb")).unwrap();
    service.run();
    let log = service.log();
    let told = said(&log, "ERROR", "do not survive a restart");
    assert!(told.len() == 1 && told[0].contains("journal.redb"), "{log}");
    ban(&service, 7);
    assert_eq!(banned(&service), hosts(7..8));
    let journal: Value = service.data(BANS)["journal"].clone();
    assert_eq!(journal, Value::Null);
    let begin = Instant::now();
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    assert!(begin.elapsed() < Duration::from_secs(2));
}

/// Has what is known of templates written, as happens every minute: a worker that leaves writes it
/// too, and those who stay where it leaves a file behind.
fn write_templates(service: &Service) {
    let path = service.path("tidewall.toml");
    let text = fs::read_to_string(&path).unwrap();
    for listen in ["[listen]\nworkers = 2", "[listen]"] {
        fs::write(&path, text.replace("[listen]", listen)).unwrap();
        service.data(RELOAD);
    }
}

/// Sends ten flows by a template, which is not sent.
fn send_flows(router: &mut Router, id: u16) {
    let flow = Flow { host: 7, packets: 1, ..Flow::default() };
    router.flows(id, LAYOUTS[usize::from(id - 256)], flow, 10);
}

/// Records of all workers: those that come while a reload is taken up are in the sums of a later
/// window only.
fn counted(service: &Service) -> u64 {
    let status = service.status();
    let workers = status["workers"].as_array().unwrap().iter();
    workers.map(|worker| worker["records"].as_u64().unwrap()).sum()
}

#[test]
fn templates_are_written_again_when_there_is_room() {
    const FAILED: &str = "templates will not be known after a restart";
    let mut service = Service::prepared();
    service.configure("[thresholds.incoming]\ntotal = { pps = 10_000 }\n");
    let Some(disk) = SmallDisk::at(&service.path("state")) else { return };
    let file = disk.folder.join(format!("netflow-{0}-127.0.0.1-0.templates", service.netflow));
    service.wrapper = disk.wrapper();
    service.run();
    let mut router = Router::new(Protocol::V9, service.netflow);
    router.define(256, LAYOUTS[0]);
    service.wait_for("the template", |service| service.source("received") == 1);
    write_templates(&service);
    let written = fs::read(&file).unwrap();

    // Nothing that is known later can be written, which is told once; what was written stays.
    disk.fill();
    router.define(257, LAYOUTS[1]);
    send_flows(&mut router, 257);
    service.wait_for("the flows", |service| counted(service) == 10);
    (0..3).for_each(|_| write_templates(&service));
    let log = service.log();
    let told = said(&log, "WARN", FAILED);
    assert!(told.len() == 1 && told[0].contains(FULL), "{log}");
    assert_eq!(fs::read(&file).unwrap(), written);
    let before = service.source("received");
    service.wait_for("the attack", |service| {
        (0..100).for_each(|n| {
            let to = ("127.0.0.1", service.netflow);
            router.socket.send_to(&v5(n, n + 1000, 1000, 9), to).unwrap();
        });
        service.attacked() == ["192.0.2.9"]
    });
    assert!(service.source("received") >= before);

    // After a restart the one template is known, and the other one when it comes.
    kill(&mut service);
    service.run();
    send_flows(&mut router, 256);
    send_flows(&mut router, 257);
    service.wait_for("the flows", |service| counted(service) == 10);
    router.define(257, LAYOUTS[1]);
    send_flows(&mut router, 257);
    service.wait_for("those behind it", |service| counted(service) == 20);
    service.wait_for("those before it", |service| service.status()["drops"]["template_late"] == 10);
    write_templates(&service);
    disk.make_room();
    (0..2).for_each(|_| write_templates(&service));
    let log = service.log();
    assert_eq!(said(&log, "WARN", FAILED).len(), 1, "{log}");
    assert_eq!(said(&log, "INFO", "is written again").len(), 1, "{log}");
    assert_ne!(fs::read(&file).unwrap(), written);

    kill(&mut service);
    service.run();
    send_flows(&mut router, 257);
    send_flows(&mut router, 256);
    service.wait_for("both at once", |service| counted(service) == 20);
    assert_eq!(service.status()["drops"], json!({}));
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}
