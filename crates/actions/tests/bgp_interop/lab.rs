//! Network namespaces for one test: one for our speaker, one for each daemon, a pair of virtual
//! Ethernet devices between them. Everything ends with the value.

use std::cell::Cell;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use tempfile::TempDir;

#[path = "../../../capture/tests/common/skip.rs"]
mod skip;
use skip::skip;

static LABS: AtomicU32 = AtomicU32::new(0);

pub struct Lab {
    name: String,
    directory: TempDir,
    wires: Cell<u8>,
}

impl Lab {
    /// A lab, with the calling thread inside of our namespace; `None`, with words, where
    /// namespaces cannot be made.
    pub fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() {
            skip("bgp_interop", "root, for network namespaces");
            return None;
        }
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let name = format!("twbgp-{}-{number}", std::process::id());
        let directory = tempfile::Builder::new().prefix("twbgp").tempdir().unwrap();
        // Daemons that give up root read and write here.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(directory.path(), mode).unwrap();
        let lab = Self { name, directory, wires: Cell::new(0) };
        if let Err(error) = attempt(&["ip", "netns", "add", &lab.own()]) {
            skip("bgp_interop", &format!("network namespaces: {error}"));
            return None;
        }
        run(&["ip", "-n", &lab.own(), "link", "set", "lo", "up"]);
        lab.enter();
        Some(lab)
    }

    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Name of our namespace.
    pub fn own(&self) -> String {
        format!("{}-own", self.name)
    }

    /// Puts the calling thread, and those that it starts, into our namespace.
    pub fn enter(&self) {
        enter(&self.own());
    }

    /// A namespace for a daemon, connected with ours.
    pub fn wire(&self) -> Wire {
        let number = self.wires.get() + 1;
        self.wires.set(number);
        let (own, namespace) = (self.own(), format!("{}-{number}", self.name));
        run(&["ip", "netns", "add", &namespace]);
        let device = format!("wire{number}");
        run(&[
            "ip", "-n", &own, "link", "add", &device, "type", "veth", "peer", "name", "eth0",
            "netns", &namespace,
        ]);
        let wire = Wire { number, namespace, device };
        for (space, device, v4, v6) in [
            (&own, wire.device.as_str(), wire.ours(), wire.ours6()),
            (&wire.namespace, "eth0", wire.theirs(), wire.theirs6()),
        ] {
            run(&["ip", "-n", space, "link", "set", "lo", "up"]);
            run(&["ip", "-n", space, "link", "set", device, "up"]);
            run(&["ip", "-n", space, "addr", "add", &format!("{v4}/24"), "dev", device]);
            run(&["ip", "-n", space, "addr", "add", &format!("{v6}/64"), "dev", device, "nodad"]);
        }
        wire
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let wires = (1..=self.wires.get()).map(|number| format!("{}-{number}", self.name));
        for namespace in wires.chain([self.own()]) {
            // What a failed test left unmade need not go.
            let _ = Command::new("ip").args(["netns", "del", &namespace]).output();
        }
    }
}

/// One daemon's network.
#[derive(Clone, Debug)]
pub struct Wire {
    pub number: u8,
    pub namespace: String,
    /// Our end.
    pub device: String,
}

impl Wire {
    pub fn ours(&self) -> IpAddr {
        Ipv4Addr::new(10, 99, self.number, 10).into()
    }

    pub fn theirs(&self) -> IpAddr {
        Ipv4Addr::new(10, 99, self.number, 1).into()
    }

    pub fn ours6(&self) -> IpAddr {
        Ipv6Addr::new(0xfd99, self.number.into(), 0, 0, 0, 0, 0, 0x10).into()
    }

    pub fn theirs6(&self) -> IpAddr {
        Ipv6Addr::new(0xfd99, self.number.into(), 0, 0, 0, 0, 0, 1).into()
    }
}

/// Puts the calling thread into a namespace.
pub fn enter(namespace: &str) {
    let file = File::open(Path::new("/run/netns").join(namespace)).unwrap();
    setns(file, CloneFlags::CLONE_NEWNET).unwrap();
}

pub fn run(words: &[&str]) -> Output {
    attempt(words).unwrap_or_else(|error| panic!("{}: {error}", words.join(" ")))
}

fn attempt(words: &[&str]) -> Result<Output, String> {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(output);
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits until something is so; otherwise panics with what is instead.
pub fn until(what: &str, longest: Duration, mut is_so: impl FnMut() -> Result<(), String>) {
    let began = Instant::now();
    loop {
        match is_so() {
            Ok(()) => return,
            Err(instead) if began.elapsed() > longest => {
                panic!("after {longest:?} still not: {what}. Instead:\n{instead}")
            }
            Err(_) => sleep(Duration::from_millis(100)),
        }
    }
}
