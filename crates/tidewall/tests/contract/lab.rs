//! Three network name spaces: one that sends, one for each program. Both programs see the same
//! folders at the same places, and can write nowhere else.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::calls::{self, Call, SCRIPT};
use crate::programs::{Process, find};
use crate::spaces::{FrameSender, Namespace, ip};
use crate::traffic::{self, LIMIT, MANUAL, VICTIMS, Way};

/// Before the name of every key of Redis.
pub const PREFIX: &str = "mydc1";
/// Where both write files of attacks: it is built into theirs.
pub const ATTACKS: &str = "log/fastnetmon_attacks";

/// Writes only beneath `/mnt`, which is the folder of this script; the first argument is our
/// binary, which may lie in a folder that is hidden then.
const ENTER: &str = r#"#!/bin/sh
set -e
here=$(dirname "$0")
mount --bind "$here" /mnt
mount --bind "$1" /mnt/tidewall
shift
mount --bind /mnt/log /var/log
mount --bind /mnt/lib /var/lib
mount --bind /mnt/run /run
mount --bind /mnt/tmp /tmp
mount -o remount,bind,ro /
cd /
exec "$@"
"#;

fn configuration() -> String {
    format!(
        "disable_usage_report = on\nenable_ban = on\nenable_ban_ipv6 = on\nban_time = 8\n\
         unban_only_if_attack_finished = on\nban_details_records_count = 20\n\
         networks_list_path = /mnt/networks_list\nwhite_list_path = /mnt/networks_whitelist\n\
         monitor_local_ip_addresses = off\nenable_connection_tracking = on\n\
         ban_for_pps = on\nthreshold_pps = {LIMIT}\nban_for_bandwidth = off\nban_for_flows = off\n\
         average_calculation_time = 2\nspeed_calculation_delay = 1\ncheck_period = 1\n\
         mirror_afpacket = on\ninterfaces = tw1\n\
         sflow = on\nsflow_port = 6343\nsflow_host = 0.0.0.0\n\
         netflow = on\nnetflow_port = 2055\nnetflow_host = 0.0.0.0\n\
         notify_script_path = /mnt/notify\ncollect_attack_pcap_dumps = on\n\
         redis_enabled = on\nredis_host = 127.0.0.1\nredis_port = 6379\nredis_prefix = {PREFIX}\n\
         enable_api = on\nprometheus = off\npid_path = /mnt/pid\n\
         cli_stats_file_path = /mnt/screen\ncli_stats_ipv6_file_path = /mnt/screen_ipv6\n"
    )
}

/// One of the two programs with its server of Redis and its folder.
pub struct Side {
    /// In the order of their starts; they end with this value.
    processes: Vec<Process>,
    space: Namespace,
    folder: TempDir,
    theirs: bool,
}

impl Side {
    fn new(part: &str) -> Self {
        let space = Namespace::new(part);
        let folder = tempfile::tempdir().unwrap();
        let side = Self { processes: Vec::new(), space, folder, theirs: part == "p" };
        for name in ["calls", "lib/tidewall", "run/tidewall", "tmp", ATTACKS] {
            fs::create_dir_all(side.path(name)).unwrap();
        }
        for (name, text) in [
            ("fastnetmon.conf", &*configuration()),
            ("networks_list", "10.9.0.0/24\n2001:db8:9::/64\n"),
            ("networks_whitelist", ""),
            ("tidewall", ""),
            ("notify", SCRIPT),
            ("enter", ENTER),
        ] {
            fs::write(side.path(name), text).unwrap();
        }
        for name in ["notify", "enter"] {
            fs::set_permissions(side.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        side
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What leads a program into its world; its own words follow.
    fn words<'w>(&'w self, enter: &'w Path, words: &'w [&'w str]) -> Vec<&'w OsStr> {
        let mut all: Vec<&OsStr> =
            ["netns", "exec", &self.space.name].into_iter().map(OsStr::new).collect();
        all.extend([enter.as_os_str(), OsStr::new(env!("CARGO_BIN_EXE_tidewall"))]);
        all.extend(words.iter().map(OsStr::new));
        all
    }

    fn start(&mut self, log: &str, words: &[&str]) {
        let (ip, enter) = (find("ip").unwrap(), self.path("enter"));
        let process = Process::start(&ip, self.words(&enter, words), &self.path(log));
        self.processes.push(process);
    }

    /// Runs a program to its end.
    fn run(&self, words: &[&str]) -> Output {
        let enter = self.path("enter");
        let mut command = Command::new("ip");
        command.args(self.words(&enter, words)).stdin(Stdio::null());
        command.output().unwrap()
    }

    fn insist(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {output:?} {}", self.logs());
        String::from_utf8(output.stdout).unwrap()
    }

    /// What both programs have said.
    pub fn logs(&self) -> String {
        let read = |name| fs::read_to_string(self.path(name)).unwrap_or_default();
        ["output", "fastnetmon.log"].map(read).concat()
    }

    /// The script's calls so far.
    pub fn calls(&self) -> Vec<Call> {
        calls::all(&self.path("calls"))
    }

    /// Names of the keys in Redis, in order.
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> =
            self.insist(&["redis-cli", "KEYS", "*"]).lines().map(str::to_owned).collect();
        keys.sort();
        keys
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> String {
        let text = self.insist(&["redis-cli", "--raw", "GET", key]);
        text.strip_suffix('\n').unwrap().to_owned()
    }

    /// Seconds that a key will stay; -1: for ever.
    pub fn seconds_left(&self, key: &str) -> String {
        self.insist(&["redis-cli", "TTL", key]).trim().to_owned()
    }

    /// Keys that there are when everything is stored.
    pub fn least_keys(&self) -> usize {
        // Of ICMP no flows are kept; of a ban by hand no packets.
        let of_v4 = |v6: bool| usize::from(!(v6 && self.theirs));
        let attacks: usize = VICTIMS
            .iter()
            .map(|victim| of_v4(victim.is_v6()) * if victim.protocol == "icmp" { 2 } else { 3 })
            .sum();
        let by_hand = MANUAL.iter().map(|one| of_v4(one.address.contains(':')) * 2);
        attacks + by_hand.sum::<usize>()
    }

    /// Everything that is stored: keys with their values, reports with their text. Captures go on
    /// for a while.
    pub fn stored(&self) -> BTreeMap<String, String> {
        let keys = self.keys().into_iter().map(|key| (key.clone(), self.value(&key)));
        let files = fs::read_dir(self.path(ATTACKS)).unwrap().map(|entry| entry.unwrap().path());
        let files = files.filter(|path| path.extension().is_some_and(|ending| ending == "txt"));
        let files = files.map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        });
        keys.chain(files).collect()
    }

    /// Theirs says so when its API, the last of its parts, is there.
    fn listens(&self) -> bool {
        self.logs().contains("API server listening")
    }

    fn status(&self) -> bool {
        self.run(&["/mnt/tidewall", "status"]).status.success()
    }
}

/// The whole of it.
pub struct Lab {
    sender: Namespace,
    theirs: Side,
    ours: Side,
}

impl Lab {
    /// Starts both programs; `None` when one of the packages is missing.
    pub fn start() -> Option<Self> {
        let needed = ["fastnetmon", "fastnetmon_api_client", "redis-server", "redis-cli"];
        let [Some(fastnetmon), Some(_), Some(_), Some(_)] = needed.map(find) else { return None };
        let version = Command::new(&fastnetmon).arg("--version").output().unwrap().stdout;
        let version = String::from_utf8_lossy(&version).into_owned();
        if !version.contains("1.2.4") {
            println!("skipped: what is written here is about fastnetmon 1.2.4, not {version}");
            return None;
        }
        let mut lab =
            Self { sender: Namespace::new("s"), theirs: Side::new("p"), ours: Side::new("t") };
        lab.connect();
        for side in [&mut lab.theirs, &mut lab.ours] {
            let words = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--dir", "/mnt"];
            side.start("redis", &words);
        }
        let file = ["--configuration_file", "/mnt/fastnetmon.conf"];
        let logic = ["--log_file", "/mnt/fastnetmon.log", "--disable_pid_logic"];
        let program = [fastnetmon.to_str().unwrap()];
        lab.theirs.start("output", &[&program[..], &file, &logic].concat());
        let words = ["/mnt/tidewall", "run", "--config", "/mnt/fastnetmon.conf"];
        lab.ours.start("output", &words);
        let answers = |side: &Side| {
            let ready = side.run(&["redis-cli", "PING"]).status.success();
            ready && if side.theirs { side.listens() } else { side.status() }
        };
        lab.wait("both programs", Duration::from_secs(30), answers);
        Some(lab)
    }

    fn connect(&self) {
        for (n, side) in self.sides().into_iter().enumerate() {
            let (from, to) = (&self.sender.name, &side.space.name);
            ip(&format!("link add out{n} netns {from} type veth peer name tw1 netns {to}"));
            for (space, link) in [(from, format!("out{n}")), (to, "tw1".to_owned())] {
                ip(&format!("-n {space} link set {link} addrgenmode none"));
                ip(&format!("-n {space} link set {link} up"));
            }
            ip(&format!("-n {from} address add 198.18.{n}.1/24 dev out{n}"));
            ip(&format!("-n {to} address add 198.18.{n}.2/24 dev tw1"));
        }
    }

    /// Theirs, ours.
    pub const fn sides(&self) -> [&Side; 2] {
        [&self.theirs, &self.ours]
    }

    /// Does something while everybody is attacked.
    pub fn under_attack(&self, meanwhile: impl FnOnce(&Self)) {
        let stop = AtomicBool::new(false);
        let send = || {
            let ways = [0, 1].map(|n| Way {
                frames: FrameSender::new(&format!("out{n}")),
                address: format!("198.18.{n}.2"),
            });
            traffic::attack(&ways, &stop);
        };
        std::thread::scope(|scope| {
            let sender = scope.spawn(|| self.sender.run(send));
            let stops = Stop(&stop);
            meanwhile(self);
            drop(stops);
            sender.join().unwrap();
        });
    }

    pub fn ban_by_hand(&self) {
        self.by_hand("ban");
    }

    pub fn unban_by_hand(&self) {
        self.by_hand("unban");
    }

    fn by_hand(&self, verb: &str) {
        for one in MANUAL {
            self.theirs.insist(&["fastnetmon_api_client", verb, one.address]);
            self.ours.insist(&["/mnt/tidewall", verb, one.address]);
        }
    }

    /// Waits until something is so on both sides.
    pub fn wait(&self, what: &str, patience: Duration, is_so: impl Fn(&Side) -> bool) {
        let begin = Instant::now();
        while let Some(side) = self.sides().into_iter().find(|side| !is_so(side)) {
            let told: Vec<_> = side.calls().into_iter().map(|call| call.arguments).collect();
            assert!(
                begin.elapsed() < patience,
                "waited for {what} in vain: {told:?}\n{}",
                side.logs()
            );
            sleep(Duration::from_millis(100));
        }
    }
}

/// Stops the sender, also when a test fails.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
