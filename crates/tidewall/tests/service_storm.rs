//! Five hundred hosts attacked in the same second, through the whole service: script, files, webhook
//! and blackhole for each of them, its end after its beginning, with bounds on processes and memory,
//! while another attack is found as soon as ever.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]
#![allow(clippy::disallowed_types, reason = "a test shares what its threads have seen")]

mod service;
#[path = "service_crash/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use service::Service;
use world::{PEER_AS, World};

/// Hosts that are attacked at once.
const STORM: u16 = 500;
/// Scripts that may run at once, as docs/actions.md says.
const MOST_SCRIPTS: u64 = 16;
/// What the process may grow by, in bytes; about 40 MB were seen.
const MOST_MEMORY: u64 = 100 << 20;

fn address(host: u16) -> String {
    let [high, low] = host.to_be_bytes();
    format!("10.0.{high}.{low}")
}

/// NetFlow v5 datagrams with one record of a hundred thousand packets for each of these hosts.
fn attacks(hosts: &[u16], sequence: &mut u32) -> Vec<Vec<u8>> {
    let datagrams = hosts.chunks(30).map(|hosts| {
        let mut out = vec![0, 5, 0, hosts.len() as u8];
        out.extend((1000 + *sequence).to_be_bytes());
        out.extend(1_790_000_000_u32.to_be_bytes());
        out.extend([0; 4]);
        out.extend(sequence.to_be_bytes());
        out.extend([0; 4]);
        for host in hosts {
            let [high, low] = host.to_be_bytes();
            out.extend([198, 51, 100, 1, 10, 0, high, low, 0, 0, 0, 0, 0, 1, 0, 2]);
            out.extend(100_000_u32.to_be_bytes());
            out.extend(10_000_000_u32.to_be_bytes());
            out.extend((990 + *sequence).to_be_bytes());
            out.extend((1000 + *sequence).to_be_bytes());
            out.extend([0, 53, 0x11, 0x5c, 0, 0, 17, 0]);
            out.extend([0; 8]);
        }
        *sequence += hosts.len() as u32;
        out
    });
    datagrams.collect()
}

/// Events of each target, in the order in which they came.
type Told = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// An HTTP receiver that takes everything.
fn receiver() -> (u16, Told) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, told) = (listener.local_addr().unwrap().port(), Told::default());
    let shared = Arc::clone(&told);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let told = Arc::clone(&shared);
            // A client that goes away is the client's business.
            std::thread::spawn(move || while answer(stream.as_ref().unwrap(), &told).is_ok() {});
        }
    });
    (port, told)
}

fn answer(stream: &TcpStream, told: &Told) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        match line.to_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap(),
            _ if line == "\r\n" => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let body = &body["tidewall"];
    let text = |key: &str| body[key].as_str().unwrap_or_else(|| panic!("{body}")).to_owned();
    told.lock().unwrap().entry(text("target")).or_default().push(text("event"));
    (&*stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
}

/// The script says when it begins and when it ends.
fn write_script(folder: &Path) {
    let text = format!(
        "#!/bin/sh\necho + >> {0}/running\ncat > /dev/null\necho \"$4 $1\" >> {0}/told\n\
         echo - >> {0}/running\n",
        folder.display()
    );
    let path = folder.join("notify");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The most that ran at once.
fn most_at_once(service: &Service) -> u64 {
    let (mut now, mut most) = (0, 0_u64);
    for line in fs::read_to_string(service.path("running")).unwrap().lines() {
        now = if line == "+" { now + 1 } else { now - 1 };
        most = most.max(now);
    }
    most
}

fn start(port: u16, webhook: u16) -> Service {
    let mut service = Service::prepared();
    write_script(service.folder.path());
    let path = |name: &str| service.path(name).display().to_string();
    service.write(&format!(
        "networks = [\"10.0.0.0/20\"]\n\
         [thresholds.incoming]\ntotal = {{ pps = 20_000 }}\n\
         [detection]\nrelease_time = \"1s\"\n\
         [listen]\nsflow = []\nnetflow = [\"127.0.0.1:{netflow}\"]\nreceive_buffer = \"1M\"\n\
         [mitigation]\nmode = \"automatic\"\nladder = [\"notify\", \"blackhole\"]\n\
         ban_time = \"6s\"\nonly_if_finished = false\nmost_routes = 1000\n\
         [rails]\nmost_routes = 1000\nchanges_per_minute = 10_000\n\
         largest_share = \"100%\"\ngrace_after_start = \"0s\"\n\
         [bgp]\nlocal_as = 64510\nrouter_id = \"192.0.2.251\"\nnext_hop_ipv4 = \"192.0.2.254\"\n\
         [[bgp.peer]]\nname = \"edge\"\naddress = \"127.0.0.1\"\nport = {port}\nas = {PEER_AS}\n\
         [[script]]\npath = {script:?}\n[[record]]\nfolder = {record:?}\n\
         [[webhook]]\nurl = \"http://127.0.0.1:{webhook}/\"\n",
        netflow = service.netflow,
        script = path("notify"),
        record = path("attacks"),
    ));
    service.run();
    service
}

/// Bytes of this line of `/proc/PID/status`.
fn memory(service: &Service, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", service.child.id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let kilobytes = line.trim().strip_suffix("kB").unwrap();
    kilobytes.trim().parse::<u64>().unwrap() * 1024
}

/// One of the actions, by its kind.
fn action(service: &Service, kind: &str) -> Value {
    let actions = service.data(r#"{"ask":"actions"}"#);
    let list = actions["actions"].as_array().unwrap();
    list.iter().find(|one| one["kind"] == kind).unwrap().clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Sends until the service has named all of them; how long that took.
fn until_named(service: &mut Service, hosts: &[u16], sequence: &mut u32) -> Duration {
    let (socket, begin) = (UdpSocket::bind("127.0.0.1:0").unwrap(), Instant::now());
    let (port, mut took) = (service.netflow, None);
    let wanted: Vec<String> = hosts.iter().copied().map(address).collect();
    service.wait_for("the attacks", |service| {
        for datagram in attacks(hosts, sequence) {
            socket.send_to(&datagram, ("127.0.0.1", port)).unwrap();
        }
        let attacked = service.attacked();
        if wanted.iter().all(|target| attacked.contains(target)) {
            took = Some(begin.elapsed());
        }
        took.is_some()
    });
    took.unwrap()
}

#[test]
fn five_hundred_attacks_at_once_are_all_answered_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::start(folder.path());
    let (webhook, told) = receiver();
    let mut service = start(world.port, webhook);
    service.wait_for("the session", |_| world.rib().complete);
    let before = memory(&service, "VmRSS:");
    let storm: Vec<u16> = (256..256 + STORM).collect();
    let mut sequence = 0;
    let took = until_named(&mut service, &storm, &mut sequence);
    // Another one, while all that is done about them.
    let another = until_named(&mut service, &[9], &mut sequence);
    let under_way = number(&action(&service, "script")["done"]);
    service.wait_for("the routes", |_| world.rib().routes.len() == usize::from(STORM) + 1);
    let announced = Instant::now();
    service.wait_for("their end", |_| world.rib().routes.is_empty());
    let calls = || fs::read_to_string(service.path("told")).unwrap();
    let all = 2 * (usize::from(STORM) + 1);
    let begin = Instant::now();
    while calls().lines().count() < all {
        assert!(begin.elapsed() < Duration::from_secs(40), "{}", service.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let ended = announced.elapsed();

    let mut of_host: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in calls().lines() {
        let (word, host) = line.split_once(' ').unwrap();
        of_host.entry(host.to_owned()).or_default().push(word.to_owned());
    }
    assert_eq!(of_host.len(), usize::from(STORM) + 1);
    assert!(of_host.values().all(|words| *words == ["ban", "unban"]), "{of_host:?}");
    let most = most_at_once(&service);
    assert!((2..=MOST_SCRIPTS).contains(&most), "{most} scripts at once");

    service.wait_for("the webhook", |service| number(&action(service, "webhook")["queued"]) == 0);
    for kind in ["script", "record", "webhook"] {
        let action = action(&service, kind);
        assert_eq!((number(&action["lost"]), number(&action["failed"])), (0, 0), "{action}");
    }
    let told = told.lock().unwrap();
    for host in storm.iter().copied().chain([9]) {
        let events = &told[&address(host)];
        let at = |event: &str| events.iter().position(|one| one == event);
        let order = [at("started"), at("banned"), at("unbanned")];
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{host}: {events:?}");
    }
    let files = fs::read_dir(service.path("attacks")).unwrap().count();
    assert!(files > usize::from(STORM), "{files} files");

    let grown = memory(&service, "VmHWM:").saturating_sub(before);
    println!(
        "{STORM} attacks named after {took:?}, one more after {another:?} ({under_way} scripts had \
         ended); {most} scripts at once, the last {ended:?} after the last route; {} MB more",
        grown >> 20
    );
    assert!(grown < MOST_MEMORY, "{grown} bytes");
    assert!(took < Duration::from_secs(10) && another < Duration::from_secs(10));
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
}
