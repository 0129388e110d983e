//! The daemons of Debian's packages, as a router beside us would run them: their configuration,
//! start, questions and end.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, Wire, until};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gobgp,
    Bird,
    Frr,
    Openbgpd,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Gobgp, Self::Bird, Self::Frr, Self::Openbgpd];

    pub fn peer_as(self) -> u32 {
        match self {
            Self::Gobgp => 65_001,
            Self::Bird => 65_003,
            Self::Frr => 65_004,
            Self::Openbgpd => 65_005,
        }
    }

    pub fn has_flow_spec(self) -> bool {
        self != Self::Openbgpd
    }

    fn program(self) -> &'static str {
        match self {
            Self::Gobgp => "/usr/bin/gobgpd",
            Self::Bird => "/usr/sbin/bird",
            Self::Frr => "/usr/lib/frr/bgpd",
            Self::Openbgpd => "/usr/sbin/bgpd",
        }
    }

    /// Is it installed? In continuous integration it must be.
    pub fn is_there(self) -> bool {
        let there = Path::new(self.program()).exists();
        if !there {
            assert!(std::env::var_os("CI").is_none(), "{} is not installed", self.program());
            println!("skipped: {} is not installed", self.program());
        }
        there
    }
}

/// How the daemon sees us.
#[derive(Clone, Debug)]
pub struct Neighbour {
    pub md5: Option<&'static str>,
    pub gtsm: bool,
    /// It waits for us.
    pub passive: bool,
    pub hold_time: u16,
    /// Over IPv6.
    pub ipv6: bool,
    /// Most unicast routes that it takes.
    pub max_routes: u32,
    /// Of our own AS; only BIRD knows how.
    pub internal: bool,
    /// It wants several paths of a prefix (ADD-PATH); OpenBGPD always does, GoBGP when told so.
    pub add_path: bool,
}

impl Default for Neighbour {
    fn default() -> Self {
        Self {
            md5: None,
            gtsm: false,
            passive: true,
            hold_time: 30,
            ipv6: false,
            max_routes: 5_000,
            internal: false,
            add_path: false,
        }
    }
}

pub struct Daemon {
    pub kind: Kind,
    pub wire: Wire,
    pub neighbour: Neighbour,
    directory: PathBuf,
    child: Child,
}

impl Daemon {
    pub fn start(kind: Kind, lab: &Lab, neighbour: Neighbour) -> Self {
        let wire = lab.wire();
        let directory = lab.directory().join(format!("{kind:?}{}", wire.number));
        fs::create_dir(&directory).unwrap();
        let config = config(kind, &wire, &neighbour, &directory);
        let file = directory.join("daemon.conf");
        fs::write(&file, config).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs::set_permissions(&file, mode).unwrap();
        match kind {
            Kind::Frr => {
                crate::lab::run(&["chown", "-R", "frr:frr", &text(&directory)]);
            }
            Kind::Openbgpd => fs::create_dir_all("/run/openbgpd").unwrap(),
            Kind::Gobgp | Kind::Bird => {}
        }
        let child = spawn(kind, &wire, &directory);
        let mut daemon = Self { kind, wire, neighbour, directory, child };
        daemon.wait_until_ready();
        daemon
    }

    fn wait_until_ready(&mut self) {
        let question: &[&str] = match self.kind {
            Kind::Gobgp => &["neighbor"],
            Kind::Bird => &["show", "protocols"],
            Kind::Frr => &["show bgp summary"],
            Kind::Openbgpd => &["show", "summary"],
        };
        until("the daemon answers", Duration::from_secs(20), || {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{:?} has ended ({status}):\n{}", self.kind, self.log());
            }
            self.try_ask(question).map(drop)
        });
    }

    /// Asks with the daemon's own client.
    pub fn ask(&self, question: &[&str]) -> String {
        self.try_ask(question).unwrap_or_else(|error| format!("no answer: {error}"))
    }

    fn try_ask(&self, question: &[&str]) -> Result<String, String> {
        let control = text(&self.directory.join("control"));
        let directory = text(&self.directory);
        let client: Vec<&str> = match self.kind {
            Kind::Gobgp => vec!["gobgp"],
            Kind::Bird => vec!["birdc", "-s", &control],
            Kind::Frr => vec!["vtysh", "--vty_socket", &directory, "-c"],
            Kind::Openbgpd => vec!["bgpctl", "-s", &control],
        };
        let output = inside(&self.wire)
            .args(client)
            .args(question)
            .output()
            .map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let refused = self.kind == Kind::Frr && complaint.contains("failed to connect");
        if output.status.success() && !refused { Ok(said) } else { Err(said + &complaint) }
    }

    /// What it says about its routes of a prefix: unicast.
    pub fn unicast(&self, prefix: &str) -> String {
        let v6 = prefix.contains(':');
        match self.kind {
            Kind::Gobgp => {
                let all = self.ask(&["global", "rib", "-a", if v6 { "ipv6" } else { "ipv4" }]);
                all.lines()
                    .filter(|line| line.contains(prefix))
                    .fold(String::new(), |text, l| text + l + "\n")
            }
            Kind::Bird => self.ask(&["show", "route", "all", prefix]),
            Kind::Frr => {
                let family = if v6 { "ipv6" } else { "ipv4" };
                self.ask(&[&format!("show bgp {family} unicast {prefix}")])
            }
            Kind::Openbgpd => self.ask(&["show", "rib", "detail", prefix]),
        }
    }

    pub fn has(&self, prefix: &str) -> bool {
        self.unicast(prefix).lines().any(|line| match self.kind {
            Kind::Frr => line.contains("routing table entry for"),
            _ => line.contains(prefix),
        })
    }

    /// Unicast routes of IPv4 that it has.
    pub fn count(&self) -> usize {
        let counted = |text: String| {
            text.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok())
        };
        match self.kind {
            Kind::Gobgp => {
                let text = self.ask(&["global", "rib", "summary", "-a", "ipv4"]);
                let words = text.split("Destination:").nth(1).unwrap_or_default().to_owned();
                counted(words).unwrap_or(0)
            }
            Kind::Bird => {
                let text = self.ask(&["show", "route", "table", "master4", "count"]);
                text.lines()
                    .find(|line| line.contains("routes for"))
                    .and_then(|line| counted(line.to_owned()))
                    .unwrap_or(0)
            }
            Kind::Frr => {
                let text = self.ask(&["show bgp ipv4 unicast statistics"]);
                let line = text.lines().find(|line| line.contains("Total Prefixes"));
                line.and_then(|line| counted(line.to_owned())).unwrap_or(0)
            }
            Kind::Openbgpd => {
                let text = self.ask(&["show", "rib", "memory"]);
                let line = text.lines().find(|line| line.contains("IPv4 unicast network entries"));
                line.and_then(|line| counted(line.to_owned())).unwrap_or(0)
            }
        }
    }

    /// All FlowSpec rules as it prints them.
    pub fn flow_spec(&self, v6: bool) -> String {
        match self.kind {
            Kind::Gobgp => {
                let family = if v6 { "ipv6-flowspec" } else { "ipv4-flowspec" };
                self.ask(&["global", "rib", "-a", family])
            }
            Kind::Bird => self.ask(&[
                "show",
                "route",
                "all",
                "table",
                if v6 { "flowtab6" } else { "flowtab4" },
            ]),
            Kind::Frr => {
                let family = if v6 { "ipv6" } else { "ipv4" };
                self.ask(&[&format!("show bgp {family} flowspec detail")])
            }
            Kind::Openbgpd => String::new(),
        }
    }

    /// Makes it ask us for our routes again.
    pub fn ask_for_refresh(&self) {
        let us = self.us();
        match self.kind {
            Kind::Gobgp => panic!("GoBGP does not ask"),
            Kind::Bird => drop(self.ask(&["reload", "in", "tidewall"])),
            Kind::Frr => drop(self.ask(&[&format!("clear bgp ipv4 unicast {us} in")])),
            Kind::Openbgpd => drop(self.ask(&["neighbor", &us, "refresh"])),
        }
    }

    /// Our address as it knows it.
    pub fn us(&self) -> String {
        let (v4, v6) = (self.wire.ours(), self.wire.ours6());
        if self.neighbour.ipv6 { v6 } else { v4 }.to_string()
    }

    /// What it has written, for failures and words of ours.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Ends it without giving it time, and starts it again.
    pub fn restart(&mut self) {
        self.end(Signal::SIGKILL);
        self.child = spawn(self.kind, &self.wire, &self.directory);
        self.wait_until_ready();
    }

    fn end(&mut self, signal: Signal) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = kill(self.pid(), Signal::SIGCONT);
            let _ = kill(self.pid(), signal);
        }
        let began = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if began.elapsed() > Duration::from_secs(3) {
                let _ = self.child.kill();
            }
            sleep(Duration::from_millis(20));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end(Signal::SIGTERM);
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(25).collect();
            println!("log of {:?}:", self.kind);
            for line in tail.iter().rev() {
                println!("    {line}");
            }
        }
    }
}

/// A command in the daemon's namespace. `ip` becomes the command, so its pid is the daemon's.
fn inside(wire: &Wire) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &wire.namespace]);
    command.stdin(Stdio::null());
    command
}

fn spawn(kind: Kind, wire: &Wire, directory: &Path) -> Child {
    let file = text(&directory.join("daemon.conf"));
    let control = text(&directory.join("control"));
    let pid = text(&directory.join("pid"));
    let directory_text = text(directory);
    let mut command = inside(wire);
    command.arg(kind.program());
    match kind {
        Kind::Gobgp => command.args(["-f", &file, "--api-hosts", "127.0.0.1:50051"]),
        Kind::Bird => command.args(["-f", "-c", &file, "-s", &control, "-P", &pid]),
        // Without zebra, which is not needed for the protocol.
        Kind::Frr => command.args([
            "-Z",
            "-f",
            &file,
            "-i",
            &pid,
            "--vty_socket",
            &directory_text,
            "-P",
            "0",
            "--log",
            "stdout",
            "--log-level",
            "informational",
        ]),
        Kind::Openbgpd => command.args(["-d", "-v", "-f", &file]),
    };
    let log = fs::File::options().create(true).append(true).open(directory.join("log")).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn config(kind: Kind, wire: &Wire, neighbour: &Neighbour, directory: &Path) -> String {
    let (mut us, mut them) = (wire.ours(), wire.theirs());
    if neighbour.ipv6 {
        (us, them) = (wire.ours6(), wire.theirs6());
    }
    match kind {
        Kind::Gobgp => gobgp(wire, neighbour, &us.to_string()),
        Kind::Bird => bird(neighbour, &us.to_string(), &them.to_string(), wire),
        Kind::Frr => frr(neighbour, &us.to_string(), wire),
        Kind::Openbgpd => openbgpd(neighbour, &us.to_string(), wire, directory),
    }
}

fn gobgp(wire: &Wire, neighbour: &Neighbour, us: &str) -> String {
    let (v4, v6) = (wire.theirs(), wire.theirs6());
    let Neighbour { gtsm, passive, hold_time, .. } = neighbour;
    let keepalive = hold_time / 3;
    let md5 = neighbour.md5.map(|key| format!("auth-password = \"{key}\"")).unwrap_or_default();
    let mut text = format!(
        "[global.config]\nas = 65001\nrouter-id = \"{v4}\"\nlocal-address-list = [\"{v4}\", \"{v6}\"]
[[neighbors]]
[neighbors.config]\nneighbor-address = \"{us}\"\npeer-as = 65010\n{md5}
[neighbors.ttl-security.config]\nenabled = {gtsm}\nttl-min = 255
[neighbors.transport.config]\npassive-mode = {passive}
[neighbors.timers.config]\nhold-time = {hold_time}\nkeepalive-interval = {keepalive}\nconnect-retry = 5
[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 60\n"
    );
    for family in ["ipv4-unicast", "ipv6-unicast", "ipv4-flowspec", "ipv6-flowspec"] {
        let max = neighbour.max_routes;
        write!(
            text,
            "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}\"
[neighbors.afi-safis.prefix-limit.config]\nmax-prefixes = {max}
[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n"
        )
        .unwrap();
        if neighbour.add_path {
            text += "[neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 8\n";
        }
    }
    text
}

fn bird(neighbour: &Neighbour, us: &str, them: &str, wire: &Wire) -> String {
    let md5 = neighbour.md5.map(|key| format!("password \"{key}\";")).unwrap_or_default();
    let gtsm = if neighbour.gtsm { "ttl security on;" } else { "" };
    let passive = if neighbour.passive { "passive;" } else { "" };
    let Neighbour { hold_time, max_routes, .. } = neighbour;
    format!(
        "log stderr all;\nrouter id {router_id};
flow4 table flowtab4;\nflow6 table flowtab6;\nprotocol device {{ }}
protocol bgp tidewall {{
  local {them} as {bird_as};\n  neighbor {us} as 65010;\n  hold time {hold_time};
  graceful restart on;\n  error wait time 1, 2;\n  connect delay time 1;\n  {md5}\n  {gtsm}\n  {passive}
  ipv4 {{ gateway recursive; import all; export none; import limit {max_routes} action restart; }};
  ipv6 {{ import all; export none; }};
  flow4 {{ table flowtab4; import all; export none; validate off; }};
  flow6 {{ table flowtab6; import all; export none; validate off; }};
}}\n",
        router_id = wire.theirs(),
        bird_as = if neighbour.internal { 65_010 } else { 65_003 },
    )
}

fn frr(neighbour: &Neighbour, us: &str, wire: &Wire) -> String {
    let Neighbour { hold_time, max_routes, .. } = neighbour;
    let keepalive = hold_time / 3;
    let mut text = format!(
        "router bgp 65004\n bgp router-id {router_id}\n no bgp ebgp-requires-policy\n bgp log-neighbor-changes
 no bgp default ipv4-unicast\n bgp graceful-restart\n neighbor {us} remote-as 65010
 neighbor {us} timers {keepalive} {hold_time}\n neighbor {us} disable-connected-check\n",
        router_id = wire.theirs(),
    );
    if let Some(key) = neighbour.md5 {
        writeln!(text, " neighbor {us} password {key}").unwrap();
    }
    if neighbour.gtsm {
        writeln!(text, " neighbor {us} ttl-security hops 1").unwrap();
    }
    if neighbour.passive {
        writeln!(text, " neighbor {us} passive").unwrap();
    }
    for family in ["ipv4 unicast", "ipv6 unicast", "ipv4 flowspec", "ipv6 flowspec"] {
        writeln!(text, " address-family {family}\n  neighbor {us} activate").unwrap();
        if family == "ipv4 unicast" {
            writeln!(text, "  neighbor {us} maximum-prefix {max_routes}").unwrap();
        }
        writeln!(text, " exit-address-family").unwrap();
    }
    text
}

fn openbgpd(neighbour: &Neighbour, us: &str, wire: &Wire, directory: &Path) -> String {
    let (router_id, v6) = (wire.theirs(), wire.theirs6());
    let control = directory.join("control");
    let md5 = neighbour.md5.map(|key| format!("tcp md5sig password \"{key}\"")).unwrap_or_default();
    let gtsm = if neighbour.gtsm { "ttl-security yes" } else { "" };
    let passive = if neighbour.passive { "passive" } else { "" };
    let Neighbour { hold_time, max_routes, .. } = neighbour;
    format!(
        "AS 65005\nrouter-id {router_id}\nlisten on {router_id}\nlisten on {v6}
socket \"{control}\"\nfib-update no
group \"detectors\" {{
  holdtime {hold_time}\n  announce IPv4 unicast\n  announce IPv6 unicast
  announce add-path recv yes\n  max-prefix {max_routes} restart 5
  neighbor {us} {{
    remote-as 65010\n    {passive}\n    {md5}\n    {gtsm}\n  }}\n}}\nallow from any\n",
        control = control.display(),
    )
}
