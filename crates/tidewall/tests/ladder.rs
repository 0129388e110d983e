//! The ladder through the whole service: sFlow in at one end, a real router at the other. A UDP
//! amplification is filtered, blackholed when it goes on, and everything is taken back at its end;
//! where no filter spares what is normal, that is said and the next step taken. Needs GoBGP's
//! daemon; says so and passes where it is missing (it must be there in continuous integration).

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

mod service;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use service::{ATTACKS, RELOAD, Service, free_ports};
use tidewall_model::{FlowRecord, SamplingRate, TcpFlags, protocol};
use tidewall_scenario::{Renderer, SflowPlan, SflowRenderer};

const VICTIM: &str = "192.0.2.7";

/// GoBGP on loopback, as the router that we announce to.
struct Router {
    child: Child,
    api: u16,
    /// Where it is, and where we are.
    addresses: [String; 2],
    port: u16,
    _folder: tempfile::TempDir,
}

impl Router {
    /// `net` tells the tests of this file apart.
    fn start(net: u8) -> Option<Self> {
        if !Path::new("/usr/bin/gobgpd").exists() {
            assert!(std::env::var_os("CI").is_none(), "gobgpd is not installed");
            println!("skipped: gobgpd is not installed");
            return None;
        }
        let addresses = [1, 2].map(|host| format!("127.0.{net}.{host}"));
        let [theirs, ours] = &addresses;
        let (port, api) = free_ports();
        let folder = tempfile::tempdir().unwrap();
        let mut text = format!(
            "[global.config]\nas = 65001\nrouter-id = \"{theirs}\"\nport = {port}\n\
             local-address-list = [\"{theirs}\"]\n[[neighbors]]\n[neighbors.config]\n\
             neighbor-address = \"{ours}\"\npeer-as = 65010\n\
             [neighbors.transport.config]\npassive-mode = true\n"
        );
        for family in ["ipv4-unicast", "ipv4-flowspec"] {
            text += "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"";
            text += family;
            text += "\"\n";
        }
        let file = folder.path().join("gobgpd.toml");
        fs::write(&file, text).unwrap();
        let child = Command::new("/usr/bin/gobgpd")
            .arg("-f")
            .arg(&file)
            .args(["--api-hosts", &format!("127.0.0.1:{api}")])
            .stdin(Stdio::null())
            .stdout(fs::File::create(folder.path().join("log")).unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let router = Self { child, api, addresses, port, _folder: folder };
        let begin = Instant::now();
        while router.ask(&["neighbor"]).is_empty() {
            assert!(begin.elapsed() < Duration::from_secs(20), "gobgpd does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(router)
    }

    fn ask(&self, words: &[&str]) -> String {
        let api = self.api.to_string();
        let output = Command::new("gobgp").args(["-p", &api]).args(words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn rules(&self) -> String {
        self.ask(&["global", "rib", "-a", "ipv4-flowspec"])
    }

    fn blackholes(&self) -> String {
        self.ask(&["global", "rib", "-a", "ipv4"])
    }

    /// `[bgp]` of a service that announces to it.
    fn config(&self) -> String {
        let [theirs, ours] = &self.addresses;
        format!(
            "[bgp]\nlocal_as = 65010\nrouter_id = \"{ours}\"\nnext_hop_ipv4 = \"10.99.0.10\"\n\
             [[bgp.peer]]\nname = \"edge1\"\naddress = \"{theirs}\"\nport = {}\nas = 65001\n\
             source = \"{ours}\"\n",
            self.port
        )
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// An exporter in a thread of its own.
struct Traffic {
    what: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

const QUIET: u8 = 0;
const NORMAL: u8 = 1;
const ATTACK: u8 = 2;
const OVER: u8 = 3;

impl Traffic {
    /// Every hundredth of a second one record of what is normal, or twenty of the attack.
    fn start(port: u16, normal: fn(u64) -> FlowRecord, attack: fn(u64) -> FlowRecord) -> Self {
        let what = Arc::new(AtomicU8::new(QUIET));
        let told = Arc::clone(&what);
        let thread = std::thread::spawn(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let mut renderer = SflowRenderer::new(&SflowPlan::default());
            let (begin, mut number) = (Instant::now(), 0);
            loop {
                let (record, count) = match told.load(Ordering::Relaxed) {
                    NORMAL => (normal, 1),
                    ATTACK => (attack, 20),
                    OVER => return,
                    _ => (normal, 0),
                };
                for _ in 0..count {
                    number += 1;
                    let time = tidewall_model::Timestamp::from_parts(1_790_000_000, 0);
                    let record = FlowRecord { time: time + begin.elapsed(), ..record(number) };
                    let send = &mut |_, message: &[u8]| {
                        socket.send_to(message, ("127.0.0.1", port)).unwrap();
                    };
                    renderer.render(&record, send).unwrap();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        Self { what, thread: Some(thread) }
    }

    fn is(&self, what: u8) {
        self.what.store(what, Ordering::Relaxed);
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.is(OVER);
        _ = self.thread.take().map(JoinHandle::join);
    }
}

/// UDP towards the victim, from hosts of one network.
fn udp(number: u64, src_port: u16, length: u64, sampling: u32) -> FlowRecord {
    FlowRecord {
        src: 0xc633_6400 | u128::from(number * 37 % 250),
        dst: 0xc000_0207,
        family: tidewall_model::Family::V4,
        protocol: protocol::UDP,
        src_port,
        dst_port: 1_024 + (number * 61 % 50_000) as u16,
        packets: 1,
        bytes: length,
        ttl: 60,
        sampling: SamplingRate::new(sampling),
        ..FlowRecord::default()
    }
}

/// Answers of time servers all over the world, each for a thousand.
fn amplification(number: u64) -> FlowRecord {
    let src = 0x2d00_0000 | u128::from(number * 40_503 % 0x00ff_ffff);
    FlowRecord { src, ..udp(number, 123, 468, 1_000) }
}

/// One answer of a name server among three packets of connections.
fn web_and_names(number: u64) -> FlowRecord {
    if number.is_multiple_of(4) {
        return udp(number, 53, 1_400, 10);
    }
    let tcp_flags = TcpFlags(TcpFlags::ACK);
    FlowRecord { protocol: protocol::TCP, dst_port: 443, tcp_flags, ..udp(number, 40_000, 900, 10) }
}

/// The same answers, far too many.
fn names(number: u64) -> FlowRecord {
    udp(number * 4, 53, 1_400, 1_000)
}

fn config(router: &Router, ladder: &str, more: &str) -> String {
    format!(
        "[thresholds.incoming]\ntotal = {{ pps = 10_000 }}\n\
         [detection]\nrelease_time = \"1s\"\nupdate_every = \"1s\"\n\
         [mitigation]\nmode = \"automatic\"\nladder = {ladder}\nhides_traffic = false\n\
         minimum = \"1s\"\n[rails]\ngrace_after_start = \"0s\"\n{more}\n{}",
        router.config()
    )
}

fn established(service: &Service) -> bool {
    service.data(r#"{"ask":"bgp_peers"}"#)[0]["state"] == "established"
}

#[test]
fn an_amplification_is_filtered_then_blackholed_then_everything_is_taken_back() {
    let Some(router) = Router::start(181) else { return };
    let ladder = r#"["notify", "filter", "blackhole after 6s"]"#;
    let mut service = Service::start(&config(&router, ladder, ""));
    service.wait_for("the session", established);
    let traffic = Traffic::start(service.sflow, amplification, amplification);
    traffic.is(ATTACK);
    service.wait_for("a rule", |_| router.rules().contains("[destination: "));
    let filtered = Instant::now();
    let rules = router.rules();
    let meant = format!("[destination: {VICTIM}/32][protocol: ==udp][source-port: ==123]");
    assert!(rules.contains(&meant), "{rules}");
    assert!(rules.contains("[discard]") && rules.contains("no-export"), "{rules}");
    assert_eq!(rules.matches("[destination: ").count(), 1, "{rules}");
    assert!(!router.blackholes().contains(VICTIM), "not before its time");

    let blackhole = format!("{VICTIM}/32");
    service.wait_for("the blackhole", |_| router.blackholes().contains(&blackhole));
    let waited = filtered.elapsed();
    // The filter was put up a moment before it was seen.
    assert!(waited > Duration::from_secs(4) && waited < Duration::from_secs(12), "{waited:?}");
    let routes = router.blackholes();
    assert!(routes.contains("blackhole") && routes.contains("10.99.0.10"), "{routes}");
    // It takes the filter's place once it is up.
    service.wait_for("the rule to go", |_| !router.rules().contains("[destination: "));
    assert!(router.blackholes().contains(&blackhole), "never without either");

    traffic.is(QUIET);
    service.wait_for("the end of the blackhole", |_| !router.blackholes().contains(&blackhole));
    assert!(!router.rules().contains("[destination: "), "nothing is left");
    service.wait_for("the end of the attack", |service| service.attacked().is_empty());
    assert!(!service.log().contains("no filter for"), "{}", service.log());
    let history = service.data(&format!(r#"{{"ask":"history","target":"{VICTIM}"}}"#));
    let decisions = history["decisions"].as_array().unwrap();
    let withdrawn = |kind: &str| {
        decisions.iter().any(|one| one["kind"] == kind && one["what"].as_str() == Some("withdraw"))
    };
    assert!(withdrawn("blackhole"), "{history}");
}

#[test]
fn where_no_filter_spares_what_is_normal_the_next_step_is_taken_and_that_is_said() {
    let Some(router) = Router::start(182) else { return };
    let ladder = r#"["notify", "filter", "blackhole after 3s"]"#;
    let strict = "[filters]\ncollateral = 0\nslowed = 0\n";
    let mut service = Service::start(&config(&router, ladder, strict));
    service.wait_for("the session", established);
    let traffic = Traffic::start(service.sflow, web_and_names, names);
    traffic.is(NORMAL);
    // Sixteen records of each second are remembered, and twenty are enough to go by.
    let begin = Instant::now();
    service.wait_for("what is normal", |_| begin.elapsed() > Duration::from_secs(5));
    assert_eq!(service.attacked(), [""; 0]);
    traffic.is(ATTACK);
    let blackhole = format!("{VICTIM}/32");
    service.wait_for("the blackhole", |_| router.blackholes().contains(&blackhole));
    assert!(!router.rules().contains("[destination: "), "{}", router.rules());
    let told = format!(
        "no filter for {VICTIM} (incoming, group global): refused because no few rules take enough \
         of the attack and spare what is normal; the ladder goes on with its next step"
    );
    service.wait_for("the words", |service| service.log().contains(&told));
    assert_eq!(service.log().matches(&told).count(), 1, "{}", service.log());
    let filters = |service: &Service| service.data(ATTACKS)[0]["filters"].clone();
    assert_eq!(filters(&service), serde_json::json!([]));

    // What may be slowed down is said anew, and holds for the attack that goes on.
    service.configure(&config(&router, ladder, "[filters]\ncollateral = 0\nslowed = 0.5\n"));
    service.data(RELOAD);
    service.wait_for("a filter", |service| filters(service)[0].is_object());
    let action = filters(&service)[0].to_string();
    assert!(action.contains("rate_limit") || action.contains("rate-limit"), "{action}");
}
