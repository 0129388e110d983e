//! `tidewall run` beside Debian's gobgpd, in a network name space of its own: peers added, changed and
//! removed by a reload, and a thousand mitigations of which one peer reads none. Needs root, network
//! name spaces and the package gobgpd; says so and passes where they are missing.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

mod service;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use service::skip::skip;
use service::{RELOAD, Service};

static SPACES: AtomicU32 = AtomicU32::new(0);

/// Our address; routers are at 127.0.0.11 and the following, those who connect to us at 127.0.0.1.
const OURS: &str = "127.0.0.2";
const SOON: Duration = Duration::from_mins(1);

/// A network name space with nothing but loopback.
struct Space(String);

impl Space {
    fn new() -> Option<Self> {
        if !Path::new("/usr/bin/gobgpd").exists() || !Path::new("/usr/bin/gobgp").exists() {
            skip("peers", "gobgpd");
            return None;
        }
        let number = SPACES.fetch_add(1, Ordering::Relaxed);
        let space = Self(format!("twpeers-{}-{number}", std::process::id()));
        if !works(Command::new("ip").args(["netns", "add", &space.0])) {
            skip("peers", "root, for network name spaces");
            return None;
        }
        assert!(works(Command::new("ip").args(["-n", &space.0, "link", "set", "lo", "up"])));
        Some(space)
    }

    fn command(&self, program: &str) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.0, program]);
        inside
    }

    /// A service inside, not started yet.
    fn service(&self) -> Service {
        let mut service = Service::prepared();
        service.wrapper = ["ip", "netns", "exec", &self.0].map(str::to_owned).to_vec();
        service
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        works(Command::new("ip").args(["netns", "delete", &self.0]));
    }
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

fn until(what: &str, mut is_so: impl FnMut() -> Result<(), String>) {
    let began = Instant::now();
    while let Err(instead) = is_so() {
        assert!(began.elapsed() < SOON, "still not: {what}. Instead: {instead}");
        sleep(Duration::from_millis(50));
    }
}

/// A gobgpd that waits for us.
struct Router<'a> {
    space: &'a Space,
    number: u16,
    child: Child,
}

impl<'a> Router<'a> {
    fn start(space: &'a Space, folder: &Path, number: u16) -> Self {
        let file = folder.join(format!("gobgpd{number}.conf"));
        let own = format!("127.0.0.{number}");
        let configuration = format!(
            "[global.config]\nas = {}\nrouter-id = \"{own}\"\nlocal-address-list = [\"{own}\"]\n\
             [[neighbors]]\n[neighbors.config]\nneighbor-address = \"{OURS}\"\npeer-as = 65010\n\
             [neighbors.transport.config]\npassive-mode = true\n",
            65_000 + u32::from(number),
        );
        fs::write(&file, configuration).unwrap();
        let log = File::create(folder.join(format!("gobgpd{number}.log"))).unwrap();
        let api = format!("127.0.0.1:{}", 50_000 + number);
        let child = space
            .command("gobgpd")
            .arg("-f")
            .arg(&file)
            .args(["--api-hosts", &api])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let router = Self { space, number, child };
        until("gobgpd answers", || router.try_ask(&["neighbor"]).map(drop));
        router
    }

    fn try_ask(&self, words: &[&str]) -> Result<String, String> {
        let port = (50_000 + self.number).to_string();
        let output = self.space.command("gobgp").args(["-p", &port]).args(words).output();
        let output = output.map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() { Ok(said) } else { Err(said) }
    }

    /// Its table, one line for each route of ours.
    fn routes(&self) -> Vec<String> {
        let all = self.try_ask(&["global", "rib"]).unwrap_or_default();
        all.lines().filter(|line| line.contains("/32")).map(str::to_owned).collect()
    }

    fn until_it_has(&self, count: usize, word: &str) {
        until(&format!("{count} routes with {word:?} at {}", self.number), || {
            let routes = self.routes();
            let right = routes.iter().filter(|line| line.contains(word)).count();
            if (right, routes.len()) == (count, count) { Ok(()) } else { Err(routes.join("\n")) }
        });
    }

    /// OPENs that were sent and received with us.
    fn opens(&self) -> Vec<String> {
        let said = self.try_ask(&["neighbor", OURS]).unwrap_or_default();
        let line = said.lines().find(|line| line.trim().starts_with("Opens:"));
        line.unwrap_or_default().split_whitespace().skip(1).map(str::to_owned).collect()
    }
}

impl Drop for Router<'_> {
    fn drop(&mut self) {
        // `ip netns exec` becomes the daemon.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The configuration without peers.
fn tables(service: &Service, listen: &str) -> String {
    format!(
        "networks = [\"192.0.2.0/24\", \"198.18.0.0/16\"]\n\
         [listen]\nsflow = [\"127.0.0.1:{}\"]\nnetflow = []\n\
         [mitigation]\nmost_routes = 5000\n[rails]\nmost_routes = 5000\nchanges_per_minute = 5000\n\
         largest_share = \"100%\"\ngrace_after_start = \"0s\"\n\
         [bgp]\nlocal_as = 65010\nrouter_id = \"{OURS}\"\nnext_hop_ipv4 = \"203.0.113.254\"\n\
         listen = [{listen}]\n",
        service.sflow
    )
}

fn peer(number: u16, more: &str) -> String {
    format!(
        "[[bgp.peer]]\nname = \"edge{number}\"\naddress = \"127.0.0.{number}\"\n\
         as = {}\nsource = \"{OURS}\"\nretry = \"1s\"\nfamilies = [\"ipv4-unicast\"]\n\
         profile.max_prefixes = 2000\n{more}\n",
        65_000 + u32::from(number)
    )
}

fn ban(service: &Service, target: &str) {
    let question = json!({
        "ask": "ban", "target": target, "kind": "blackhole", "direction": "incoming",
        "seconds": 3600, "why": "a test",
    });
    service.data(&question.to_string());
}

fn reload(service: &Service) -> String {
    let said = service.data(RELOAD);
    said["reloaded"].as_str().unwrap().to_owned()
}

fn peer_status(service: &Service, name: &str) -> Value {
    let peers = service.data(r#"{"ask":"bgp_peers"}"#);
    let peers = peers.as_array().unwrap().clone();
    peers.into_iter().find(|peer| peer["name"] == name).unwrap_or_default()
}

#[test]
fn a_reload_adds_changes_and_removes_one_peer_and_leaves_the_other_alone() {
    let Some(space) = Space::new() else { return };
    let mut service = space.service();
    let folder = service.folder.path().to_owned();
    let [first, second] = [11, 12].map(|number| Router::start(&space, &folder, number));
    service.write(&(tables(&service, "") + &peer(11, "")));
    service.run();
    for host in ["192.0.2.7", "192.0.2.8", "192.0.2.9"] {
        ban(&service, host);
    }
    first.until_it_has(3, "blackhole");
    let before = peer_status(&service, "edge11");
    let opens = first.opens();
    assert_eq!(opens, ["1", "1"]);
    let untouched = |what: &str| {
        let now = peer_status(&service, "edge11");
        for key in ["state", "since", "established", "updates_sent"] {
            assert_eq!(now[key], before[key], "{what}: {now}");
        }
        assert_eq!((first.opens(), first.routes().len()), (opens.clone(), 3), "{what}");
    };

    service.write(&(tables(&service, "") + &peer(11, "") + &peer(12, "")));
    let said = reload(&service);
    assert!(said.contains("peer edge12 is added"), "{said}");
    second.until_it_has(3, "blackhole");
    untouched("added");

    let other = "blackhole.communities = [\"65010:70\"]";
    service.write(&(tables(&service, "") + &peer(11, "") + &peer(12, other)));
    let said = reload(&service);
    assert!(said.contains("peer edge12 is told anew: blackholes"), "{said}");
    second.until_it_has(3, "65010:70");
    let status = peer_status(&service, "edge12");
    assert_eq!(status["established"], 1, "the session was kept: {status}");
    untouched("other communities");

    // An address that is in use: nothing changes, whatever else is new.
    let listening = tables(&service, "\"127.0.0.11:179\"");
    service.write(
        &(listening.replace("203.0.113.254", "203.0.113.1") + &peer(11, "hold_time = \"9s\"")),
    );
    let answer = service.ask(RELOAD).unwrap();
    assert_eq!(answer["ok"], false, "{answer}");
    assert!(answer.to_string().contains("cannot listen on 127.0.0.11:179"), "{answer}");
    assert_eq!(peer_status(&service, "edge12")["state"], "established");
    untouched("refused");

    service.write(&(tables(&service, "") + &peer(11, "") + &peer(12, "hold_time = \"30s\"")));
    let said = reload(&service);
    assert!(said.contains("the session with peer edge12 begins again (hold time)"), "{said}");
    assert!(said.contains("peer edge12 is told anew: blackholes"), "{said}");
    second.until_it_has(3, "blackhole");
    untouched("another session with the other one");

    service.write(&(tables(&service, "") + &peer(11, "")));
    let said = reload(&service);
    assert!(said.contains("peer edge12 is removed"), "{said}");
    second.until_it_has(0, "");
    until("gobgpd has lost the session", || {
        let said = second.try_ask(&["neighbor", OURS])?;
        if said.to_lowercase().contains("established") { Err(said) } else { Ok(()) }
    });
    untouched("removed");
    assert_eq!(service.data(r#"{"ask":"bgp_peers"}"#).as_array().unwrap().len(), 1);
    assert_eq!(service.end("-TERM").0, Some(0));
}

/// Connects to us, says what it must, and never reads.
fn mute(space: &Space) -> Child {
    // AS 65001, hold time 0: nothing of it is expected afterwards.
    let marker = r"\xff".repeat(16);
    let open = format!(r"{marker}\x00\x1d\x01\x04\xfd\xe9\x00\x00\x7f\x00\x00\x01\x00");
    let keepalive = format!(r"{marker}\x00\x13\x04");
    let script = format!(
        "until exec 3<>/dev/tcp/{OURS}/179; do sleep 0.1; done; printf '{open}{keepalive}' >&3; \
         exec sleep 600"
    );
    let mut bash = space.command("bash");
    bash.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    bash.spawn().unwrap()
}

#[test]
fn a_peer_that_never_reads_does_not_keep_the_others_from_a_thousand_mitigations() {
    let Some(space) = Space::new() else { return };
    // What sockets hold is little: the peer that does not read is noticed.
    for name in ["tcp_rmem", "tcp_wmem"] {
        let value = format!("net.ipv4.{name}=4096 4096 4096");
        assert!(works(space.command("sysctl").args(["-w", &value])));
    }
    let mut service = space.service();
    let folder = service.folder.path().to_owned();
    let routers = [11, 12, 13].map(|number| Router::start(&space, &folder, number));
    let silent = "[[bgp.peer]]\nname = \"mute\"\naddress = \"127.0.0.1\"\nas = 65001\n\
                  passive = true\nfamilies = [\"ipv4-unicast\"]\nprofile.max_prefixes = 2000\n";
    let peers: String = [11, 12, 13].map(|number| peer(number, "")).concat();
    service.write(&(tables(&service, &format!("\"{OURS}:179\"")) + silent + &peers));
    service.run();
    let mut connection = mute(&space);
    until("the session is there", || {
        let status = peer_status(&service, "mute");
        if status["state"] == "established" { Ok(()) } else { Err(status.to_string()) }
    });
    for number in 0..1000u32 {
        ban(&service, &format!("198.18.{}.{}", number >> 8, number & 0xff));
    }
    for router in &routers {
        router.until_it_has(1000, "blackhole");
    }
    let status = peer_status(&service, "mute");
    assert_eq!((&status["state"], &status["blocked"]), (&json!("established"), &json!(true)));
    assert!(status["pending"].as_u64().unwrap() > 0, "{status}");
    // And it does not keep the service from ending.
    let (code, took) = service.end("-TERM");
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(10), "{took:?}");
    _ = connection.kill();
    _ = connection.wait();
}
