//! ExaBGP in our namespace, Debian's or a newer one: its configuration, its process, start and end.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use tidewall_actions::exabgp::helper;

use crate::By;
use crate::lab::{Lab, Wire};

const DEBIANS: &str = "/usr/sbin/exabgp";
/// Names the executable of an ExaBGP 5.
const NEWER: &str = "TIDEWALL_EXABGP5";

/// Which ExaBGP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// 4.2, of Debian's package.
    Four,
    /// 5, where the environment names one.
    Five,
}

impl Release {
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::Four => Some(PathBuf::from(DEBIANS)),
            Self::Five => std::env::var_os(NEWER).map(PathBuf::from),
        }
    }

    /// Is it installed? Debian's must be in continuous integration.
    pub fn is_there(self) -> bool {
        let there = self.program().is_some_and(|program| program.exists());
        match self {
            Self::Four if !there => {
                assert!(std::env::var_os("CI").is_none(), "{DEBIANS} is not installed");
                println!("skipped: {DEBIANS} is not installed");
            }
            Self::Five if !there => println!("skipped: {NEWER} does not name an ExaBGP 5"),
            _ => {}
        }
        there
    }
}

/// Keeps the pipe open for reading, so that a writer's end is not its end; waits for each answer.
const FEED: &str =
    "#!/bin/sh\nexec 3<>\"$1\"\nwhile read -r line <&3; do\n  printf '%s\\n' \"$line\"
  read -r answer || exit\ndone\n";

/// Carries the helper's input and output to this test, which runs the helper itself.
const BRIDGE: &str = "
import os, socket, sys, threading
end = socket.socket(socket.AF_UNIX)
end.connect(sys.argv[1])
def pump():
    while True:
        data = os.read(0, 65536)
        if not data:
            os._exit(0)
        end.sendall(data)
threading.Thread(target=pump, daemon=True).start()
while True:
    data = end.recv(65536)
    if not data:
        os._exit(0)
    os.write(1, data)
";

pub struct Exabgp {
    program: PathBuf,
    directory: PathBuf,
    child: Option<Child>,
}

impl Exabgp {
    /// One neighbour: the daemon at the other end of the wire, which takes us for AS 65010.
    pub fn start(lab: &Lab, wire: &Wire, peer_as: u32, by: By, release: Release) -> Self {
        let (us, them) = (wire.ours(), wire.theirs());
        let neighbour = format!(
            "neighbor {them} {{\n router-id {us}; local-address {us}; local-as 65010;\n \
             peer-as {peer_as}; hold-time 30;\n \
             family {{ ipv4 unicast; ipv6 unicast; ipv4 flow; ipv6 flow; }}\n \
             api {{ processes [ tidewall ]; }}\n}}\n"
        );
        Self::with(lab, by, release, &neighbour)
    }

    /// Nobody takes what it is told: its only neighbour listens to another process.
    pub fn without_neighbour(lab: &Lab, release: Release) -> Self {
        let neighbour = "process other { run /bin/sleep 1000; encoder text; }
neighbor 127.0.0.9 {\n router-id 127.0.0.1; local-address 127.0.0.1; local-as 65010;
 peer-as 65001;\n family { ipv4 unicast; }\n api { processes [ other ]; }\n}\n";
        Self::with(lab, By::Process, release, neighbour)
    }

    fn with(lab: &Lab, by: By, release: Release, neighbour: &str) -> Self {
        let directory = lab.directory().join("exabgp");
        fs::create_dir(&directory).unwrap();
        let program = release.program().unwrap();
        let exabgp = Self { program, directory, child: None };
        let run = match by {
            By::Pipe => {
                let feed = exabgp.directory.join("feed.sh");
                fs::write(&feed, FEED).unwrap();
                nix::unistd::mkfifo(&exabgp.pipe(), Mode::from_bits_truncate(0o600)).unwrap();
                format!("/bin/sh {} {}", feed.display(), exabgp.pipe().display())
            }
            By::Process => {
                let bridge = exabgp.directory.join("bridge.py");
                fs::write(&bridge, BRIDGE).unwrap();
                let ours = exabgp.directory.join("bridge.sock");
                let listener = UnixListener::bind(&ours).unwrap();
                let socket = exabgp.socket();
                std::thread::spawn(move || help(&listener, &socket));
                format!("/usr/bin/python3 {} {}", bridge.display(), ours.display())
            }
        };
        let config = format!("process tidewall {{ run {run}; encoder text; }}\n{neighbour}");
        fs::write(exabgp.directory.join("exabgp.conf"), config).unwrap();
        let mut exabgp = exabgp;
        exabgp.start_again();
        exabgp
    }

    pub fn pipe(&self) -> PathBuf {
        self.directory.join("exabgp.cmd")
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("exabgp.sock")
    }

    pub fn start_again(&mut self) {
        let log = self.directory.join("log");
        let file = fs::File::options().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(&self.program);
        command
            .env("exabgp.daemon.user", "root")
            .env("exabgp.api.cli", "false")
            .env("exabgp.log.destination", &log)
            .env("exabgp.tcp.delay", "0")
            .arg(self.directory.join("exabgp.conf"))
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file);
        self.child = Some(command.spawn().unwrap());
    }

    /// Ends it as its service would; its process goes with it.
    pub fn stop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
        let began = Instant::now();
        while child.try_wait().is_ok_and(|status| status.is_none()) {
            if began.elapsed() > Duration::from_secs(10) {
                let _ = child.kill();
            }
            sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Exabgp {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            println!("log of ExaBGP:");
            for line in tail.iter().rev() {
                println!("    {line}");
            }
        }
    }
}

/// A helper for each process that ExaBGP starts.
fn help(listener: &UnixListener, socket: &Path) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        let Ok(input) = stream.try_clone() else { return };
        let output: UnixStream = stream;
        let socket = socket.to_owned();
        std::thread::spawn(move || helper::run(&socket, input, output));
    }
}
