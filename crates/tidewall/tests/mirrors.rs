//! `tidewall run` with every engine of `[[mirror]]`, in network name spaces of its own: each frame
//! is counted, VLAN tags or not, the attack is named, and the interface is as it was afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

#[path = "../../capture/tests/common/mod.rs"]
mod lab;
mod mirror;
mod service;

use std::fs::{self, File};
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lab::skip::root_with;
use lab::{Lab, ip, ready, rename, until};
use mirror::{COUNT, POLICY, counted, frames, has_program, inside, is_promiscuous, last_records};
use mirror::{named, restored, started};
use service::Service;
use tidewall_capture::af_xdp::{AfXdpConfig, AfXdpSource, XdpMode};
use tidewall_wire::emit::{self, Packet, Payload, Transport, emit_frame};

/// The life of a service with a mirror of the interface `tw1`.
fn whole_life(mirror: &str, program: bool, workers: usize) {
    let lab = Lab::new();
    let sender = lab.frame_sender();
    let frames = frames();
    let mut service = started(&lab, mirror);
    assert!(is_promiscuous(&lab), "{}", lab.describe());
    assert_eq!(has_program(&lab), program, "{}", lab.describe());
    sender.send_all(&frames);
    named(&mut service);
    counted(&mut service, COUNT.into());
    let status = service.status();
    let list = status["workers"].as_array().unwrap();
    assert_eq!(list.len(), workers, "{status}");
    if !program {
        assert!(list.iter().all(|worker| worker["records"].as_u64() > Some(0)), "{status}");
    }
    down_and_up(&lab);
    sender.send_all(&frames);
    counted(&mut service, u64::from(COUNT) * 2);
    // What was sent just before the end is counted at the end.
    sender.send_all(&frames[..100]);
    let (code, took) = service.end("-TERM");
    assert_eq!(code, Some(0), "{}", service.log());
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(last_records(&service), u64::from(COUNT) * 2 + 100, "{}", service.log());
    restored(&lab);
    let mut service = started(&lab, mirror);
    assert!(is_promiscuous(&lab));
    service.end("-KILL");
    restored(&lab);
}

/// Takes the interface down for a while; frames come through again afterwards.
fn down_and_up(lab: &Lab) {
    let name = &lab.receiver.name;
    ip(&format!("-n {name} link set tw1 down"));
    std::thread::sleep(Duration::from_millis(300));
    ip(&format!("-n {name} link set tw1 up"));
    // Until then the sender's kernel throws away what it is given.
    let is_up = |name: &str, link: &str| {
        let shown = ip(&format!("-n {name} link show {link}")).stdout;
        String::from_utf8_lossy(&shown).contains("state UP")
    };
    let mut up = false;
    until(|| {
        std::thread::sleep(Duration::from_millis(20));
        up = is_up(&lab.sender.name, "tw0") && is_up(name, "tw1");
        up
    });
    assert!(up, "{}", lab.describe());
}

#[test]
fn af_packet_with_one_worker() {
    if ready("af_packet_with_one_worker") {
        whole_life("[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\n", false, 1);
    }
}

#[test]
fn af_packet_with_two_workers() {
    if ready("af_packet_with_two_workers") {
        let mirror = "[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\nworkers = 2\n";
        for fanout in ["hash", "lb"] {
            whole_life(&format!("{mirror}fanout = \"{fanout}\"\n"), false, 2);
        }
    }
}

#[test]
fn af_xdp_in_either_mode() {
    if ready("af_xdp_in_either_mode") {
        for mode in ["native", "generic"] {
            let mirror = "[[mirror]]\nengine = \"af_xdp\"\ninterfaces = [\"tw1\"]\n";
            whole_life(&format!("{mirror}mode = \"{mode}\"\n"), true, 2);
        }
    }
}

#[test]
fn libpcap() {
    if ready("libpcap") {
        whole_life("[[mirror]]\nengine = \"pcap\"\ninterfaces = [\"tw1\"]\n", false, 1);
    }
}

#[test]
fn mirrors_come_and_go_by_a_reload() {
    if !ready("mirrors_come_and_go_by_a_reload") {
        return;
    }
    let lab = Lab::new();
    let sender = lab.frame_sender();
    let mirror = |engine: &str, more: &str| {
        format!("[[mirror]]\nengine = \"{engine}\"\ninterfaces = [\"tw1\"]\n{more}")
    };
    let mut service = started(&lab, &mirror("af_packet", ""));
    let mut sent = 0;
    let mut all = |service: &mut Service| {
        sender.send_all(&frames());
        sent += u64::from(COUNT);
        counted(service, sent);
    };
    all(&mut service);
    named(&mut service);
    for (engine, more, workers) in [
        ("af_packet", "workers = 2\n", 2),
        ("af_packet", "filter = \"not port 22\"\n", 1),
        ("af_xdp", "", 2),
        ("af_xdp", "mode = \"generic\"\n", 2),
        ("pcap", "", 1),
        ("af_packet", "", 1),
    ] {
        service.write(&format!("{POLICY}{}", mirror(engine, more)));
        let answer = service.ask(service::RELOAD).unwrap();
        assert_eq!(answer["ok"], true, "{engine}: {answer}");
        let status = service.status();
        assert_eq!(status["workers"].as_array().unwrap().len(), workers, "{status}");
        assert_eq!(has_program(&lab), engine == "af_xdp", "{}", lab.describe());
        all(&mut service);
        assert_eq!(service.attacked().len(), 2, "attacks go on");
    }
    // An interface that is not there changes nothing.
    service.write(&format!("{POLICY}{}", mirror("af_packet", "").replace("tw1", "tw9")));
    let answer = service.ask(service::RELOAD).unwrap();
    assert!(answer["error"].as_str().unwrap().contains("tw9"), "{answer}");
    all(&mut service);
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    restored(&lab);
}

#[test]
fn a_reload_under_load_counts_each_frame_once() {
    if !ready("a_reload_under_load_counts_each_frame_once") {
        return;
    }
    let lab = Lab::new();
    let mirror =
        |more: &str| format!("[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\n{more}");
    let mut service = started(&lab, &mirror(""));
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (sender, frames) = (lab.frame_sender(), frames());
            for bunch in frames.chunks(20).cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                sender.send_all(bunch);
                sent.fetch_add(bunch.len() as u64, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for more in ["workers = 2\n", "filter = \"not port 22\"\n", "workers = 3\n", ""] {
            std::thread::sleep(Duration::from_millis(200));
            service.write(&format!("{POLICY}{}", mirror(more)));
            let answer = service.ask(service::RELOAD).unwrap();
            assert_eq!(answer["ok"], true, "{answer}");
        }
        std::thread::sleep(Duration::from_millis(200));
        stop.store(true, Ordering::Relaxed);
    });
    let sent = sent.into_inner();
    assert!(sent > 2000, "{sent} frames are no load");
    // A frame may come at the very moment: the kernel stamps it for each of both.
    service.wait_for("the frames", |service| service.source("received") + 4 >= sent);
    std::thread::sleep(Duration::from_millis(1200));
    let status = service.status();
    let received = service.source("received");
    assert!(received.abs_diff(sent) <= 4, "{received} of {sent}: {status}");
    assert_eq!(status["received"]["dropped_by_kernel"], 0, "{status}");
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

#[test]
fn an_interface_that_is_removed_is_taken_up_again() {
    if !ready("an_interface_that_is_removed_is_taken_up_again") {
        return;
    }
    let mut lab = Lab::new();
    let mirror = "[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\nworkers = 2\n";
    let mut service = started(&lab, mirror);
    // Interfaces are looked at once a second: before and after.
    std::thread::sleep(Duration::from_millis(2500));
    ip(&format!("-n {} link del tw1", lab.receiver.name));
    service.wait_for("the loss", |service| service.log().contains("tw1 is gone"));
    assert_eq!(service.attacked(), [""; 0]);
    std::thread::sleep(Duration::from_millis(2500));
    assert!(!service.log().contains("up again"), "{}", service.log());
    lab.connect();
    service.wait_for("the return", |service| service.log().contains("is received from again"));
    lab.frame_sender().send_all(&frames());
    named(&mut service);
    counted(&mut service, COUNT.into());
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    restored(&lab);
}

#[test]
fn an_interface_that_is_given_another_name_is_received_from_as_before() {
    if !ready("an_interface_that_is_given_another_name_is_received_from_as_before") {
        return;
    }
    let lab = Lab::new();
    let mirror = "[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\nworkers = 2\n";
    let mut service = started(&lab, mirror);
    rename(&lab, "tw1", "mirror1");
    // Workers look at it ten times a second.
    std::thread::sleep(Duration::from_millis(1200));
    lab.frame_sender().send_all(&frames());
    named(&mut service);
    counted(&mut service, COUNT.into());
    assert!(!service.log().contains("is gone"), "{}", service.log());
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

#[test]
fn while_a_mirror_cannot_be_taken_up_again_it_ends_in_time() {
    if !ready("while_a_mirror_cannot_be_taken_up_again_it_ends_in_time") {
        return;
    }
    let mut lab = Lab::new();
    let mut service = started(&lab, "[[mirror]]\nengine = \"af_xdp\"\ninterfaces = [\"tw1\"]\n");
    ip(&format!("-n {} link del tw1", lab.receiver.name));
    service.wait_for("the loss", |service| service.log().contains("tw1 is gone"));
    // Somebody else is faster: behind the driver, so that both ways are tried in vain.
    service.signal("-STOP");
    lab.connect();
    let config = AfXdpConfig { mode: XdpMode::Generic, ..AfXdpConfig::new("tw1") };
    let other = lab.receiver.run(|| AfXdpSource::open_all(&config).unwrap());
    service.signal("-CONT");
    let busy = "another program uses XDP on this interface";
    service.wait_for("the refusal", |service| service.log().contains(busy));
    // In the middle of another attempt, if it took its time.
    std::thread::sleep(Duration::from_millis(1300));
    let (code, took) = service.end("-TERM");
    assert_eq!(code, Some(0), "{}", service.log());
    assert!(took < Duration::from_secs(1), "{took:?}");
    drop(other);
    restored(&lab);
}

#[test]
fn as_a_user_it_keeps_the_rights_that_its_mirrors_need() {
    if !ready("as_a_user_it_keeps_the_rights_that_its_mirrors_need") {
        return;
    }
    let mut lab = Lab::new();
    let mut service = inside(&lab, "");
    let (script, rights) = (service.path("notify"), service.path("rights"));
    let mirror = format!(
        "[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\n[[script]]\npath = {script:?}\n"
    );
    fs::write(&script, format!("#!/bin/sh\ngrep Cap /proc/self/status > {}\n", rights.display()))
        .unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(&rights, "").unwrap();
    std::os::unix::fs::chown(&rights, Some(65534), None).unwrap();
    service.more = format!("user = \"nobody\"\npid_file = {:?}\n", service.path("pid/of"));
    let text = format!("{POLICY}{mirror}");
    let text =
        text.replace("netflow = []", &format!("netflow = [\"127.0.0.1:{}\"]", service.netflow));
    service.write(&text);
    fs::create_dir(service.path("pid")).unwrap();
    fs::create_dir(service.path("state")).unwrap();
    service.run();
    let uid = 65534;
    assert_eq!(fs::metadata(service.path("control.sock")).unwrap().uid(), uid);
    assert_eq!(fs::metadata(service.path("control.sock")).unwrap().mode() & 0o777, 0o660);
    let of_process = fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    // CAP_NET_RAW, and nothing else.
    for line in [
        "Uid:\t65534\t65534\t65534\t65534",
        "CapInh:\t0000000000000000",
        "CapPrm:\t0000000000002000",
        "CapEff:\t0000000000002000",
        "CapAmb:\t0000000000000000",
    ] {
        assert!(of_process.contains(line), "{of_process}");
    }
    let told = "became `nobody` and kept CAP_NET_RAW to open interfaces again by af_packet\"";
    assert!(service.log().contains(told), "{}", service.log());
    lab.frame_sender().send_all(&frames());
    named(&mut service);
    counted(&mut service, COUNT.into());
    // What it starts has none of them.
    service.wait_for("the script", |_| fs::read_to_string(&rights).unwrap().contains("CapAmb"));
    let of_script = fs::read_to_string(&rights).unwrap();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(of_script.contains(&format!("{set}:\t0000000000000000")), "{of_script}");
    }
    // Rights that were not kept are missing, which changes nothing; the rest goes on.
    service.write(&text.replace("af_packet", "af_xdp"));
    let answer = service.ask(service::RELOAD).unwrap();
    let said = answer["error"].as_str().unwrap();
    assert!(said.contains("the service became `nobody` at its start"), "{said}");
    assert!(said.contains("restart it"), "{said}");
    service.write(&text);
    // Down and up, and gone and there again.
    down_and_up(&lab);
    lab.frame_sender().send_all(&frames());
    counted(&mut service, u64::from(COUNT) * 2);
    ip(&format!("-n {} link del tw1", lab.receiver.name));
    service.wait_for("the loss", |service| service.log().contains("tw1 is gone"));
    lab.connect();
    service.wait_for("the return", |service| service.log().contains("is received from again"));
    lab.frame_sender().send_all(&frames());
    counted(&mut service, u64::from(COUNT) * 3);
    let (code, _) = service.end("-TERM");
    assert_eq!(code, Some(0), "{}", service.log());
    assert!(!service.log().contains("cannot be written"), "{}", service.log());
    assert_eq!(fs::metadata(service.path("state")).unwrap().uid(), uid);
}

#[test]
fn without_a_configuration_it_listens_and_watches_the_machines_networks() {
    if !ready("without_a_configuration_it_listens_and_watches_the_machines_networks") {
        return;
    }
    let lab = Lab::new();
    let mut service = Service::prepared();
    let words = [env!("CARGO_BIN_EXE_tidewall"), "run", "--log", "json", "--control"];
    service.child = Command::new("ip")
        .args(["netns", "exec", &lab.receiver.name])
        .args(words)
        .arg(service.path("control.sock"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(service.path("log")).unwrap())
        .spawn()
        .unwrap();
    service.wait_for("the socket", |service| service.ask(service::STATUS).is_ok());
    let log = service.log();
    for source in ["sflow [::]:6343", "netflow [::]:2055", "netflow [::]:4739"] {
        assert!(log.contains(&format!("listening: {source}")), "{source}: {log}");
    }
    assert!(log.contains("networks that are ours: 192.0.2.0/24"), "{log}");
    assert!(log.contains("nothing is announced and nothing is changed"), "{log}");
    assert!(!is_promiscuous(&lab) && !has_program(&lab), "{}", lab.describe());
    assert_eq!(service.status()["workers"].as_array().unwrap().len(), 3);
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

/// Sets how much of something the service may have at most, and gives how much it might before.
fn limit(service: &Service, what: libc::__rlimit_resource_t, most: u64) -> u64 {
    let id = service.child.id() as libc::pid_t;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    unsafe {
        assert_eq!(libc::prlimit(id, what, std::ptr::null(), &raw mut limit), 0);
        let before = std::mem::replace(&mut limit.rlim_cur, most.min(limit.rlim_max));
        assert_eq!(libc::prlimit(id, what, &raw const limit, std::ptr::null_mut()), 0);
        before
    }
}

#[test]
fn rings_are_locked_in_memory_as_configured() {
    if !root_with("rings_are_locked_in_memory_as_configured", &["ip", "setpriv"]) {
        return;
    }
    let lab = Lab::new();
    let mirror = "[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\n";
    let (free, locked) =
        (format!("{POLICY}{mirror}"), format!("{POLICY}{mirror}lock_memory = true\n"));
    let mut service = inside(&lab, &free);
    // The limit is for those who may not lock as much as they like.
    service.wrapper.extend(["setpriv", "--bounding-set", "-ipc_lock"].map(str::to_owned));
    service.run();
    // The kernel keeps the pages of a ring in memory at any rate and does not show them as locked:
    // that it was asked is seen by what it refuses. A ring has 32 MB.
    limit(&service, libc::RLIMIT_MEMLOCK, 31 << 20);
    service.write(&locked);
    let answer = service.ask(service::RELOAD).unwrap();
    let said = answer["error"].as_str().unwrap();
    assert!(said.contains("tw1: mapping the ring: "), "{said}");
    assert!(said.contains("LimitMEMLOCK=infinity"), "{said}");
    let sender = lab.frame_sender();
    sender.send_all(&frames());
    counted(&mut service, COUNT.into());
    service.write(&free.replace("[[mirror]]", "[[mirror]]\nworkers = 2"));
    let answer = service.ask(service::RELOAD).unwrap();
    assert_eq!(answer["ok"], true, "{answer}");
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    // Those who may do it.
    let mut service = inside(&lab, &locked);
    service.run();
    sender.send_all(&frames());
    counted(&mut service, COUNT.into());
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

/// Listens on every address of one device, a VRF or an interface, and counts what comes there and
/// nothing of what comes to an address elsewhere.
fn heard_on(lab: &Lab, device: &str, elsewhere: &str) {
    let listen = |service: &Service| {
        format!(
            "networks = [\"192.0.2.0/24\"]\n[thresholds.incoming]\ntotal = {{ pps = 200 }}\n\
             [listen]\ninterface = {device:?}\nsflow = []\nnetflow = [\"0.0.0.0:{}\"]\n",
            service.netflow
        )
    };
    let mut service = inside(lab, "");
    service.write(&listen(&service));
    service.run();
    let send = |from: &lab::Namespace, to: &str| {
        from.run(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for number in 0..100 {
                let datagram = service::v5(number, 1_000_000 + number, 1000, 7);
                socket.send_to(&datagram, (to, service.netflow)).unwrap();
            }
        });
    };
    send(&lab.receiver, elsewhere);
    send(&lab.sender, "192.0.2.2");
    service.wait_for("the records", |service| service.source("received") >= 100);
    service.wait_for("the attack", |service| service.attacked() == ["192.0.2.7"]);
    assert_eq!(service.source("received"), 100, "{}", service.status());
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

#[test]
fn exporters_are_heard_on_one_interface_only() {
    if !ready("exporters_are_heard_on_one_interface_only") {
        return;
    }
    heard_on(&Lab::new(), "tw1", "127.0.0.1");
}

#[test]
fn exporters_are_heard_in_a_vrf() {
    let test = "exporters_are_heard_in_a_vrf";
    if !ready(test) {
        return;
    }
    let lab = Lab::new();
    let name = &lab.receiver.name;
    let words = ["-n", name, "link", "add", "vrf0", "type", "vrf", "table", "10"];
    let made = Command::new("ip").args(words).output().unwrap();
    if !made.status.success() {
        let reason = String::from_utf8_lossy(&made.stderr);
        println!("{test}: skipped: this kernel makes no VRF: {}", reason.trim());
        return;
    }
    ip(&format!("-n {name} link set vrf0 up"));
    ip(&format!("-n {name} link set tw1 master vrf0"));
    heard_on(&lab, "vrf0", "127.0.0.1");
}

#[test]
fn own_addresses_come_and_go() {
    if !ready("own_addresses_come_and_go") {
        return;
    }
    let lab = Lab::new();
    let name = &lab.receiver.name;
    let mirror = "[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\n";
    let text = format!("{POLICY}{mirror}");
    let networks = |service: &Service| {
        let list = service.data(r#"{"ask":"networks"}"#);
        let list = list.as_array().unwrap().iter();
        list.map(|n| n["network"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let sender = lab.frame_sender();
    let send = |to: &str| {
        for number in 0..50 {
            sender.send(&frame_to(to.parse().unwrap(), number));
        }
    };
    let begin = text.find('[').unwrap();
    let begin = text[begin..].find('\n').unwrap() + begin + 1;
    for own in ["", "own_addresses = true\nnetworks = [\"203.0.113.128/25\"]\n"] {
        let mut service = inside(&lab, &format!("{own}{}", &text[begin..]));
        service.run();
        let (link, added) = if own.is_empty() {
            ("192.0.2.0/24", "198.51.100.0/24")
        } else {
            ("192.0.2.2/32", "198.51.100.7/32")
        };
        service.wait_for("the first network", |service| {
            send("192.0.2.2");
            networks(service).contains(&link.to_owned())
        });
        ip(&format!("-n {name} address add 198.51.100.7/24 dev tw1"));
        service.wait_for("the second network", |service| {
            send("198.51.100.7");
            networks(service).contains(&added.to_owned())
        });
        ip(&format!("-n {name} address del 198.51.100.7/24 dev tw1"));
        service.wait_for("its end", |service| {
            send("198.51.100.7");
            send("192.0.2.2");
            networks(service) == [link]
        });
        assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    }
}

#[test]
fn addresses_that_cannot_be_followed_at_once_are_tried_again() {
    if !ready("addresses_that_cannot_be_followed_at_once_are_tried_again") {
        return;
    }
    let lab = Lab::new();
    let mut service = inside(&lab, "");
    let file = service.path("veip");
    fs::write(&file, "Version: 2.2\n 203.0.113.7 101\n").unwrap();
    let mirror = "[[mirror]]\nengine = \"af_packet\"\ninterfaces = [\"tw1\"]\n";
    let text = POLICY.replace("networks = [\"192.0.2.2/32\", \"2001:db8::2/128\"]\n", "");
    service.write(&format!("own_addresses = true\nopenvz_addresses = {file:?}\n{text}{mirror}"));
    service.run();
    assert!(service.log().contains("ours: 192.0.2.2/32, 203.0.113.7/32"), "{}", service.log());
    // The kernel cannot be asked for the addresses: no file more may be opened.
    let before = limit(&service, libc::RLIMIT_NOFILE, 3);
    ip(&format!("-n {} address add 198.51.100.7/24 dev tw1", lab.receiver.name));
    let told = |service: &Service| service.log().matches("this is tried again").count();
    until(|| {
        std::thread::sleep(Duration::from_millis(20));
        told(&service) > 0
    });
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(told(&service), 1, "{}", service.log());
    limit(&service, libc::RLIMIT_NOFILE, before);
    // Nothing changes any more, and yet they are ours in the end.
    service.wait_for("the addresses", |service| {
        let ours = "192.0.2.2/32, 198.51.100.7/32, 203.0.113.7/32";
        service.log().contains(&format!("tried again; ours are now {ours}"))
    });
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}

fn frame_to(destination: IpAddr, number: u32) -> Vec<u8> {
    let mut out = Vec::new();
    let packet = Packet {
        source: "203.0.113.9".parse().unwrap(),
        destination,
        ttl: 64,
        identification: number,
        piece: None,
        transport: Transport::Udp { source: 53, destination: 9000 },
        payload: Payload::Bytes(&[0; 40]),
    };
    let head = ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1]);
    let frame = emit::Frame { destination: head.0, source: head.1, tags: &[], packet };
    emit_frame(&frame, &mut out).unwrap();
    out
}
