//! GoBGP of Debian's package beside us: what its own client prints of our routes is what we meant,
//! and it is brought back to it after every restart, its and ours. On loopback, without peers. Says
//! so and passes where the package is missing (it must be there in continuous integration).

#![expect(clippy::disallowed_methods, reason = "a real daemon takes real time")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidewall_actions::gobgp::{Config, GoBgp};
use tidewall_actions::{Announcer, RouteOutcome};
use tidewall_bgp::action::{Action, Actions, Rate, RouteTarget};
use tidewall_bgp::attribute::Origin;
use tidewall_bgp::community::Community;
use tidewall_bgp::flowspec::{
    BitmaskTerm, Component, FlowSpecRule, NumericTerm, PrefixMatch, fragment,
};
use tidewall_bgp::{FlowSpecRoute, Route, RouteAttributes, UnicastRoute};
use tidewall_model::{Family, MitigationOutcome};

const DAEMON: &str = "/usr/bin/gobgpd";
const SOON: Duration = Duration::from_mins(1);
const FAMILIES: [&str; 4] = ["ipv4", "ipv6", "ipv4-flowspec", "ipv6-flowspec"];

/// A daemon with an interface on loopback; ended with the value.
struct Daemon {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Daemon {
    fn start() -> Option<Self> {
        if !Path::new(DAEMON).exists() {
            assert!(std::env::var_os("CI").is_none(), "{DAEMON} is not installed");
            println!("skipped: {DAEMON} is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        // Port -1: it listens for no peers.
        let config = "[global.config]\nas = 65001\nrouter-id = \"10.99.0.1\"\nport = -1\n";
        fs::write(folder.path().join("gobgpd.conf"), config).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = spawn(folder.path(), port);
        let daemon = Self { folder, port, child };
        daemon.wait_until_ready();
        Some(daemon)
    }

    fn restart(&mut self) {
        self.end();
        self.child = spawn(self.folder.path(), self.port);
        self.wait_until_ready();
    }

    fn end(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn wait_until_ready(&self) {
        until("the daemon answers", || self.try_ask(&["global"]).map(drop));
    }

    fn try_ask(&self, words: &[&str]) -> Result<String, String> {
        let mut command = Command::new("gobgp");
        command.args(["-u", "127.0.0.1", "-p", &self.port.to_string()]).args(words);
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        Err(said + &String::from_utf8_lossy(&output.stderr))
    }

    fn table(&self, family: &str) -> String {
        self.try_ask(&["global", "rib", "-a", family]).unwrap_or_else(|error| error)
    }

    /// Adds a path that is not ours.
    fn add(&self, family: &str, words: &[&str]) {
        let mut all = vec!["global", "rib", "-a", family, "add"];
        all.extend(words);
        self.try_ask(&all).unwrap();
    }

    /// Waits until the line of a route has all of these words.
    fn until_listed(&self, family: &str, words: &[&str]) {
        until(&format!("{words:?} in {family}"), || {
            let table = self.table(family);
            let has_all = |line: &str| words.iter().all(|word| line.contains(word));
            if table.lines().any(has_all) { Ok(()) } else { Err(table) }
        });
    }

    fn until_empty(&self) {
        for family in FAMILIES {
            until(&format!("nothing in {family}"), || {
                let table = self.table(family);
                if table.contains("not in table") { Ok(()) } else { Err(table) }
            });
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            println!("log of gobgpd:\n{log}");
        }
    }
}

fn spawn(folder: &Path, port: u16) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join("log")).unwrap();
    Command::new(DAEMON)
        .arg("-f")
        .arg(folder.join("gobgpd.conf"))
        .args(["--api-hosts", &format!("127.0.0.1:{port}"), "--pprof-disable"])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn until(what: &str, mut is_so: impl FnMut() -> Result<(), String>) {
    let began = Instant::now();
    loop {
        match is_so() {
            Ok(()) => return,
            Err(instead) if began.elapsed() > SOON => {
                panic!("still not: {what}. Instead:\n{instead}")
            }
            Err(_) => sleep(Duration::from_millis(50)),
        }
    }
}

fn start(daemon: &Daemon) -> (Box<dyn Announcer>, Receiver<RouteOutcome>) {
    let tag = "64512:911".parse().unwrap();
    let mut config = Config::new("gobgp", format!("127.0.0.1:{}", daemon.port), tag);
    config.first_pause = Duration::from_millis(200);
    config.audit = Duration::from_secs(1);
    let (outcomes, received) = channel();
    (Box::new(GoBgp::start(config, outcomes).unwrap()), received)
}

fn until_done(gobgp: &dyn Announcer) {
    until("everything is done", || {
        let status = gobgp.status();
        let done = status.up && status.waiting == 0;
        if done { Ok(()) } else { Err(format!("{status:#?}\n{:#?}", gobgp.routes())) }
    });
}

fn unicast(prefix: &str, next_hop: &str, attributes: RouteAttributes) -> Route {
    let (prefix, next_hop) = (prefix.parse().unwrap(), next_hop.parse().unwrap());
    UnicastRoute::new(prefix, next_hop, attributes).unwrap().into()
}

fn blackhole(prefix: &str) -> Route {
    let attributes = RouteAttributes {
        communities: vec![Community::BLACKHOLE, Community::NO_EXPORT],
        large: vec!["65001:666:1".parse().unwrap()],
        ..RouteAttributes::default()
    };
    let next_hop = if prefix.contains(':') { "100::1" } else { "192.0.2.1" };
    unicast(prefix, next_hop, attributes)
}

fn rule(family: Family, components: Vec<Component>, actions: Vec<Action>) -> Route {
    let rule = FlowSpecRule::new(family, components).unwrap();
    let actions = Actions::new(actions).unwrap();
    FlowSpecRoute::new(rule, actions, RouteAttributes::default()).unwrap().into()
}

fn to(prefix: &str) -> Component {
    Component::Destination(PrefixMatch::new(prefix.parse().unwrap()))
}

fn protocol(number: u64) -> Component {
    Component::Protocol(vec![NumericTerm::equal(number)])
}

fn amplification() -> Route {
    let components = vec![
        to("203.0.113.60/32"),
        protocol(17),
        Component::SourcePort(vec![NumericTerm::equal(123), NumericTerm::equal(389)]),
        Component::PacketLength(NumericTerm::between(400, 1_500).to_vec()),
    ];
    let limit = Action::RateBytes(Rate::new(125_000.0).unwrap());
    rule(Family::V4, components, vec![limit])
}

fn syn_flood() -> Route {
    let components = vec![
        to("203.0.113.61/32"),
        protocol(6),
        Component::TcpFlags(vec![BitmaskTerm::all(2), BitmaskTerm::none(16).and()]),
        Component::Fragment(vec![BitmaskTerm::none(fragment::IS_FRAGMENT)]),
    ];
    rule(Family::V4, components, vec![Action::DISCARD])
}

fn redirected() -> Route {
    let target = Action::Redirect(RouteTarget::As2(65_001, 100));
    rule(Family::V4, vec![to("203.0.113.62/32")], vec![target, Action::Mark(10)])
}

fn dns_of_v6() -> Route {
    let components = vec![
        to("2001:db8::60/128"),
        protocol(17),
        Component::SourcePort(vec![NumericTerm::equal(53)]),
    ];
    rule(Family::V6, components, vec![Action::DISCARD])
}

fn all() -> Vec<Route> {
    vec![
        blackhole("203.0.113.7/32"),
        blackhole("2001:db8::7/128"),
        amplification(),
        syn_flood(),
        redirected(),
        dns_of_v6(),
    ]
}

fn until_all_listed(daemon: &Daemon) {
    let communities = ["64512:911", "blackhole", "no-export", "65001:666:1"];
    let v4 = ["203.0.113.7/32", "192.0.2.1"];
    daemon.until_listed("ipv4", &[&v4[..], &communities].concat());
    daemon.until_listed("ipv6", &[&["2001:db8::7/128", "100::1"][..], &communities].concat());
    let rules = [
        vec![
            "[destination: 203.0.113.60/32]",
            "[protocol: ==udp]",
            "[source-port: ==123 ==389]",
            "[packet-length: >=400&<=1500]",
            "rate: 125000",
        ],
        vec![
            "[destination: 203.0.113.61/32]",
            "[protocol: ==tcp]",
            "[tcp-flags: =S&!A]",
            "[fragment: !is-fragment]",
            "discard",
        ],
        vec!["[destination: 203.0.113.62/32]", "redirect: 65001:100", "remark: 10"],
    ];
    for rule in rules {
        daemon.until_listed("ipv4-flowspec", &rule);
    }
    let rule = [
        "[destination: 2001:db8::60/128/0]",
        "[protocol: ==udp]",
        "[source-port: ==53]",
        "discard",
    ];
    daemon.until_listed("ipv6-flowspec", &rule);
}

#[test]
fn what_the_daemon_prints_is_what_was_meant() {
    let Some(daemon) = Daemon::start() else { return };
    let (gobgp, received) = start(&daemon);
    for route in all() {
        gobgp.announce(route.clone());
        let told = received.recv_timeout(SOON).unwrap();
        assert_eq!((told.key, told.outcome), (route.key(), MitigationOutcome::Applied));
    }
    until_all_listed(&daemon);
    let status = gobgp.status();
    assert!(status.daemon.starts_with("GoBGP 3.x (AS 65001, router id 10.99.0.1) at 127.0.0.1"));
    for route in gobgp.routes() {
        assert!(route.announced, "{route:?}");
        assert_eq!(route.note, None, "listed as it was sent: {}", route.route);
    }
    // Nothing is sent again by the comparison at intervals.
    sleep(Duration::from_secs(3));
    assert_eq!(gobgp.status().done, 6);
    for route in all() {
        gobgp.withdraw(route.key());
        let told = received.recv_timeout(SOON).unwrap();
        assert_eq!((told.key, told.outcome), (route.key(), MitigationOutcome::Withdrawn));
    }
    daemon.until_empty();
    gobgp.stop();
}

#[test]
fn attributes_are_those_of_the_route() {
    let Some(daemon) = Daemon::start() else { return };
    let (gobgp, _received) = start(&daemon);
    let attributes = RouteAttributes {
        origin: Origin::Incomplete,
        med: Some(7),
        local_pref: Some(200),
        extended: vec!["target:65010:9".parse().unwrap()],
        ..RouteAttributes::default()
    };
    gobgp.set(vec![unicast("198.51.100.0/24", "192.0.2.9", attributes)]);
    until_done(&*gobgp);
    let words = ["198.51.100.0/24", "192.0.2.9", "Origin: ?", "{Med: 7}", "{LocalPref: 200}"];
    daemon.until_listed("ipv4", &[&words[..], &["[65010:9]"]].concat());
    // Another next hop takes the place of the first.
    let route = unicast("198.51.100.0/24", "192.0.2.8", RouteAttributes::default());
    gobgp.announce(route);
    until_done(&*gobgp);
    daemon.until_listed("ipv4", &["198.51.100.0/24", "192.0.2.8", "Origin: i"]);
    assert!(!daemon.table("ipv4").contains("192.0.2.9"));
    gobgp.stop();
}

#[test]
fn a_daemon_that_was_killed_gets_everything_again() {
    let Some(mut daemon) = Daemon::start() else { return };
    let (gobgp, received) = start(&daemon);
    gobgp.set(all());
    until_done(&*gobgp);
    daemon.end();
    until("it is noticed", || if gobgp.status().up { Err(String::new()) } else { Ok(()) });
    gobgp.withdraw(amplification().key());
    let more = blackhole("203.0.113.99/32");
    gobgp.announce(more.clone());
    daemon.restart();
    until_done(&*gobgp);
    daemon.until_listed("ipv4", &["203.0.113.99/32"]);
    daemon.until_listed("ipv6-flowspec", &["2001:db8::60/128"]);
    assert!(!daemon.table("ipv4-flowspec").contains("203.0.113.60"));
    gobgp.announce(amplification());
    until_done(&*gobgp);
    until_all_listed(&daemon);
    let last: Vec<_> = received.try_iter().filter(|told| told.key == more.key()).collect();
    assert_eq!(last.last().unwrap().outcome, MitigationOutcome::Applied);
    gobgp.stop();
}

/// We are started again: what is not desired any more goes, and nothing of others.
#[test]
fn strays_of_an_earlier_run_go_and_others_stay() {
    let Some(daemon) = Daemon::start() else { return };
    daemon.add("ipv4", &["198.51.100.50/32", "nexthop", "192.0.2.1", "community", "65535:666"]);
    let foreign = "match destination 198.51.100.60/32 protocol udp then discard";
    daemon.add("ipv4-flowspec", &foreign.split(' ').collect::<Vec<_>>());
    let (gobgp, _received) = start(&daemon);
    gobgp.set(all());
    until_done(&*gobgp);
    gobgp.stop();
    until_all_listed(&daemon);
    let (gobgp, received) = start(&daemon);
    // Before the whole of what is desired is known: by its tag.
    gobgp.withdraw(redirected().key());
    let told = received.recv_timeout(SOON).unwrap();
    assert_eq!((told.key, told.outcome), (redirected().key(), MitigationOutcome::Withdrawn));
    assert!(!daemon.table("ipv4-flowspec").contains("203.0.113.62"));
    gobgp.withdraw(blackhole("198.51.100.50/32").key());
    let told = received.recv_timeout(SOON).unwrap();
    assert_eq!(told.outcome, MitigationOutcome::Withdrawn, "nothing of ours is there");
    gobgp.set(vec![blackhole("203.0.113.7/32"), blackhole("198.51.100.50/32")]);
    let told = received.recv_timeout(SOON).unwrap();
    let told = [told.outcome, received.recv_timeout(SOON).unwrap().outcome];
    assert!(told.contains(&MitigationOutcome::Applied), "{told:?}");
    let refused = |outcome: &MitigationOutcome| matches!(outcome, MitigationOutcome::Failed(words) if words.contains("not ours"));
    assert!(told.iter().any(refused), "{told:?}");
    until("only this is left", || {
        let tables: Vec<String> = FAMILIES.iter().map(|family| daemon.table(family)).collect();
        let text = tables.concat();
        let ours = text.matches("64512:911").count() == 1 && text.contains("203.0.113.7/32");
        let others = text.contains("198.51.100.50/32") && text.contains("198.51.100.60/32");
        if ours && others { Ok(()) } else { Err(text) }
    });
    gobgp.stop();
}

/// A thousand blackholes at once.
#[test]
fn a_thousand_routes_at_once() {
    let Some(daemon) = Daemon::start() else { return };
    let (gobgp, _received) = start(&daemon);
    gobgp.set(Vec::new());
    until_done(&*gobgp);
    let began = Instant::now();
    for number in 0..1_000u32 {
        let (third, fourth) = (number / 250, number % 250);
        gobgp.announce(blackhole(&format!("198.18.{third}.{fourth}/32")));
    }
    until_done(&*gobgp);
    println!("1,000 routes listed after {:?}", began.elapsed());
    let summary = daemon.try_ask(&["global", "rib", "summary", "-a", "ipv4"]).unwrap();
    assert!(summary.contains("Destination: 1000"), "{summary}");
    gobgp.set(Vec::new());
    until_done(&*gobgp);
    daemon.until_empty();
    gobgp.stop();
}
