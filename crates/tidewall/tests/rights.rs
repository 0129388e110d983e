//! What the service may do and what it hands on: as a user it opens what a reload asks for, and
//! what it starts has the rights of any program of that user.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

mod service;

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use service::skip::root_with;
use service::{RELOAD, Service, v5};

/// Sends so many datagrams, and waits until all of them are received.
fn send(service: &mut Service, count: u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let before = service.source("received");
    for number in 0..count {
        socket.send_to(&v5(number, number, 1, 7), ("127.0.0.1", service.netflow)).unwrap();
    }
    service.wait_for("the datagrams", |service| {
        service.source("received") == before + u64::from(count)
    });
}

#[test]
fn as_a_user_it_takes_more_workers_and_other_addresses() {
    if !root_with("as_a_user_it_takes_more_workers_and_other_addresses", &[]) {
        return;
    }
    let mut service = Service::prepared();
    service.more = "user = \"nobody\"\n".to_owned();
    let (sflow, netflow) = (service.sflow, service.netflow);
    let text = |address: &str, workers: usize| {
        format!(
            "networks = [\"192.0.2.0/24\"]\n[listen]\nworkers = {workers}\n\
             sflow = [\"{address}:{sflow}\"]\nnetflow = [\"{address}:{netflow}\"]\n"
        )
    };
    service.write(&text("127.0.0.1", 1));
    service.run();
    assert!(service.log().contains("became `nobody` and kept no right of root"));
    send(&mut service, 100);
    for (address, workers) in [("127.0.0.1", 3), ("0.0.0.0", 3), ("127.0.0.1", 2), ("0.0.0.0", 1)] {
        service.write(&text(address, workers));
        let answer = service.ask(RELOAD).unwrap();
        assert_eq!(answer["ok"], true, "{workers} at {address}: {answer}");
        let list = service.status()["workers"].as_array().unwrap().len();
        assert_eq!(list, 2 * workers, "{}", service.log());
        send(&mut service, 100);
    }
    assert_eq!(service.source("received"), 500, "what was counted before still is");
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

/// What the unit that is packaged leaves of root's rights, as `setpriv` is told.
fn bounding_set() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/tidewall.service");
    let unit = fs::read_to_string(path).unwrap();
    let set = unit.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet=")).unwrap();
    let names = set.split(' ').map(|name| name.strip_prefix("CAP_").unwrap().to_lowercase());
    names.fold("-all".to_owned(), |all, name| format!("{all},+{name}"))
}

#[test]
fn within_the_rights_of_the_unit_it_becomes_a_user_and_finds_its_journal_again() {
    let test = "within_the_rights_of_the_unit_it_becomes_a_user_and_finds_its_journal_again";
    if !root_with(test, &["setpriv"]) {
        return;
    }
    let mut service = Service::prepared();
    service.wrapper = vec!["setpriv".to_owned(), format!("--bounding-set={}", bounding_set())];
    let pid_file = service.path("pid");
    service.more = format!("user = \"nobody\"\npid_file = {pid_file:?}\n");
    service.configure("[thresholds.incoming]\ntotal = { pps = 10_000 }\n");
    for start in ["first", "second"] {
        service.run();
        let log = service.log();
        assert!(!log.contains("kept in memory only"), "the {start} start: {log}");
        assert!(log.contains("became `nobody` and kept no right of root"), "{log}");
        let journal = fs::metadata(service.path("state/journal.redb")).unwrap();
        assert_eq!((journal.uid(), journal.mode() & 0o777), (65534, 0o600));
        send(&mut service, 100);
        assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    }
}

#[test]
fn ambient_rights_are_not_handed_on() {
    if !root_with("ambient_rights_are_not_handed_on", &["setpriv"]) {
        return;
    }
    let mut service = Service::prepared();
    fs::set_permissions(service.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let (script, rights) = (service.path("notify"), service.path("rights"));
    let lines = format!(
        "#!/bin/sh\ngrep Cap /proc/self/status > {0}.new\nmv {0}.new {0}\n",
        rights.display()
    );
    fs::write(&script, lines).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    // As systemd does it with `User=` and `AmbientCapabilities=`.
    let words = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=+net_raw",
        "--ambient-caps=+net_raw",
    ];
    service.wrapper = words.map(str::to_owned).to_vec();
    service.configure(&format!(
        "[thresholds.incoming]\ntotal = {{ pps = 10_000 }}\n[[script]]\npath = {script:?}\n"
    ));
    service.run();
    // The service has it, and can make no use of it for others.
    let of_process = fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    for line in [
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000002000",
        "CapEff:\t0000000000002000",
        "CapAmb:\t0000000000000000",
    ] {
        assert!(of_process.contains(line), "{of_process}");
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut sequence = 0;
    service.wait_for("the script", |service| {
        for _ in 0..100 {
            let datagram = v5(sequence, sequence + 1000, 1000, 9);
            socket.send_to(&datagram, ("127.0.0.1", service.netflow)).unwrap();
            sequence += 1;
        }
        rights.exists()
    });
    let of_script = fs::read_to_string(&rights).unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(of_script.contains(&format!("{set}:\t0000000000000000")), "{of_script}");
    }
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}
