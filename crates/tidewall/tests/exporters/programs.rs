//! Processes that a test starts, ends by their id and never outlives, and their datagrams.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long a program may take for what takes it a moment.
const PATIENCE: Duration = Duration::from_mins(1);
const MOMENT: Duration = Duration::from_millis(20);
/// In a machine that is busy, a datagram on its way may take so long.
const SILENCE: Duration = Duration::from_millis(300);

/// Where a program is. It says so when it is nowhere.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"].map(PathBuf::from);
    let found = env::split_paths(&path).chain(more).map(|f| f.join(name)).find(|p| p.is_file());
    if found.is_none() {
        assert!(env::var_os("CI").is_none(), "{name} is not installed (.ci/run installs it)");
        println!("skipped: {name} is not installed");
    }
    found
}

/// A process. It ends with this value, at the latest.
pub struct Process {
    child: Child,
    /// Where it writes what it prints.
    log: PathBuf,
}

impl Process {
    /// Starts a program; what it prints goes to a file.
    pub fn start<A: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        log: &Path,
    ) -> Self {
        let file = fs::File::create(log).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        command.stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log: log.to_owned() }
    }

    /// Has it ended, and how?
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// What it printed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(mut self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        wait_for("the end of a process", || self.ended().is_some());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // It has ended in between, or ends now.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A port of the loopback interface that no one listens on.
pub fn free_port() -> u16 {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A socket for what a program sends, and where that must go.
pub fn receiver() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// All that comes until the process has ended by itself.
pub fn receive(socket: &UdpSocket, process: &mut Process) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let mut silences = 0;
    loop {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                datagrams.push(buffer[..length].to_vec());
                silences = 0;
                continue;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => silences += 1,
            Err(error) => panic!("{error}"),
        }
        if let Some(status) = process.ended() {
            // pmacctd ends with 1 at times, having sent all.
            if datagrams.is_empty() {
                println!("{status}: {}", process.log());
            }
            return datagrams;
        }
        assert!(SILENCE * silences < PATIENCE, "the program does not end");
    }
}

/// What comes until it is enough, from a process that goes on.
pub fn receive_enough(socket: &UdpSocket, enough: impl Fn(&[Vec<u8>]) -> bool) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    let mut waited = Duration::ZERO;
    while waited < PATIENCE {
        match socket.recv(&mut buffer) {
            Ok(length) => datagrams.push(buffer[..length].to_vec()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if enough(&datagrams) {
                    break;
                }
                waited += SILENCE;
            }
            Err(error) => panic!("{error}"),
        }
    }
    datagrams
}

/// Sends datagrams to a process that listens on a port, never more than its socket holds, and
/// waits until it has read them all.
pub fn send(datagrams: &[Vec<u8>], port: u16) {
    const IN_FLIGHT: usize = 20;
    wait_for("a socket", || waiting_bytes(port).is_some());
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for some in datagrams.chunks(IN_FLIGHT) {
        for datagram in some {
            socket.send_to(datagram, (Ipv4Addr::LOCALHOST, port)).unwrap();
        }
        wait_for("datagrams to be read", || waiting_bytes(port) == Some(0));
    }
}

/// Bytes that the socket of this port has and its process has not read; `None` without a socket.
fn waiting_bytes(port: u16) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let local = columns.next()?.rsplit(':').next()?;
        let queues = columns.nth(2)?;
        let received = queues.rsplit(':').next()?;
        (u16::from_str_radix(local, 16) == Ok(port))
            .then(|| u64::from_str_radix(received, 16).unwrap())
    })
}

/// Looks again and again until something is so.
#[expect(clippy::disallowed_methods, reason = "another process is waited for")]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let mut waited = Duration::ZERO;
    while !is_so() {
        assert!(waited < PATIENCE, "waited for {what} in vain");
        std::thread::sleep(MOMENT);
        waited += MOMENT;
    }
}
