//! What the system tests share: network name spaces with a veth pair, senders, sinks. Name spaces
//! have unique names and are removed when dropped. Without root or `ip`, tests say that they were
//! skipped.
#![allow(dead_code, reason = "each test file uses its part")]

#[allow(clippy::duplicate_mod, reason = "some tests share more than one such file")]
pub mod skip;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tidewall_capture::{DatagramSink, FrameSink, VlanTag};
use tidewall_model::Timestamp;
use tidewall_wire::emit::{self, Packet, Payload, Tag, Transport, emit_frame};
use tidewall_wire::frame::LinkType;

/// Datagrams as they arrived.
#[derive(Default)]
pub struct Datagrams(pub Vec<(SocketAddr, Timestamp, Vec<u8>)>);

impl DatagramSink for Datagrams {
    fn datagram(&mut self, from: SocketAddr, received: Timestamp, data: &[u8]) {
        self.0.push((from, received, data.to_vec()));
    }
}

/// One frame as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub link: LinkType,
    pub time: Timestamp,
    pub data: Vec<u8>,
    pub wire_length: u32,
    pub vlan: Option<VlanTag>,
}

/// Frames that carry [`MARK`], as they arrived: what the kernel itself sends is left out, but
/// counted.
#[derive(Default)]
pub struct Frames {
    pub marked: Vec<Seen>,
    pub all: u64,
    pub bytes: u64,
}

impl FrameSink for Frames {
    fn frame(
        &mut self,
        link: LinkType,
        time: Timestamp,
        data: &[u8],
        wire_length: u32,
        vlan: Option<VlanTag>,
    ) {
        self.all += 1;
        self.bytes += u64::from(wire_length);
        if number(data).is_some() {
            self.marked.push(Seen { link, time, data: data.to_vec(), wire_length, vlan });
        }
    }
}

impl Frames {
    /// The numbers of the test frames, in order.
    pub fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.marked.iter().filter_map(|f| number(&f.data)).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// In front of the number of every test frame.
pub const MARK: [u8; 8] = *b"tidewall";

/// The number of a test frame, wherever it is.
pub fn number(data: &[u8]) -> Option<u32> {
    let at = data.windows(MARK.len()).position(|window| window == MARK)?;
    let number = data.get(at + MARK.len()..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*number))
}

/// A UDP frame that carries `number`, from 192.0.2.1 to 192.0.2.2 or their IPv6 likes.
pub fn frame(number: u32, tags: &[Tag], v6: bool, port: u16) -> Vec<u8> {
    let payload = [&MARK[..], &number.to_be_bytes(), &[0; 40]].concat();
    let (source, destination) = if v6 {
        ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap())
    } else {
        ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap())
    };
    let mut out = Vec::new();
    emit_frame(
        &emit::Frame {
            destination: [2, 0, 0, 0, 0, 2],
            source: [2, 0, 0, 0, 0, 1],
            tags,
            packet: Packet {
                source,
                destination,
                ttl: 64,
                identification: number,
                piece: None,
                transport: Transport::Udp {
                    source: 1024 + (number % 1000) as u16,
                    destination: port,
                },
                payload: Payload::Bytes(&payload),
            },
        },
        &mut out,
    )
    .unwrap();
    out
}

/// May these tests run here?
pub fn ready(test: &str) -> bool {
    skip::root_with(test, &["ip"])
}

/// Two name spaces joined by a veth pair: `tw0` in the first, `tw1` in the second.
pub struct Lab {
    pub sender: Namespace,
    pub receiver: Namespace,
}

impl Lab {
    pub fn new() -> Self {
        let mut lab = Self { sender: Namespace::new("a"), receiver: Namespace::new("b") };
        lab.connect();
        lab
    }

    /// Makes the pair of interfaces, for the first time or once more.
    pub fn connect(&mut self) {
        let (a, b) = (&self.sender.name, &self.receiver.name);
        ip(&format!(
            "link add name tw0 netns {a} numrxqueues 2 numtxqueues 2 type veth peer name tw1 netns {b} numrxqueues 2 numtxqueues 2"
        ));
        for (name, interface) in [(a, "tw0"), (b, "tw1")] {
            ip(&format!("-n {name} link set {interface} addrgenmode none"));
            ip(&format!("-n {name} link set {interface} up"));
        }
        ip(&format!("-n {a} address add 192.0.2.1/24 dev tw0"));
        ip(&format!("-n {b} address add 192.0.2.2/24 dev tw1"));
    }

    /// How `ip -d link` describes the receiving interface.
    pub fn describe(&self) -> String {
        let output = ip(&format!("-d -n {} link show tw1", self.receiver.name));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A raw socket that sends frames through `tw0`.
    pub fn frame_sender(&self) -> FrameSender {
        self.sender.run(|| FrameSender::new("tw0"))
    }
}

/// A network name space that is removed when dropped.
pub struct Namespace {
    pub name: String,
}

impl Namespace {
    pub fn new(part: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tw-{}-{count}{part}", std::process::id());
        ip(&format!("netns add {name}"));
        ip(&format!("-n {name} link set lo up"));
        Self { name }
    }

    /// Runs `body` in a thread inside the name space.
    pub fn run<R: Send>(&self, body: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.name);
                body()
            });
            thread.join().unwrap()
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// Moves the calling thread into a name space.
pub fn enter(name: &str) {
    let file = File::open(format!("/run/netns/{name}")).unwrap();
    let answer = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
    assert_eq!(answer, 0, "{}", io::Error::last_os_error());
}

/// Runs `ip` and insists that it works.
pub fn ip(arguments: &str) -> Output {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {errors}");
    output
}

/// Gives the receiving interface another name: while it is up, where the kernel has it (Linux 6.2).
pub fn rename(lab: &Lab, from: &str, to: &str) {
    let name = &lab.receiver.name;
    let words = ["-n", name, "link", "set", from, "name", to];
    if !Command::new("ip").args(words).output().unwrap().status.success() {
        ip(&format!("-n {name} link set {from} down"));
        ip(&words.join(" "));
        ip(&format!("-n {name} link set {to} up"));
        // The carrier needs a moment.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Sends frames as they are.
pub struct FrameSender {
    socket: OwnedFd,
    interface: i32,
}

impl FrameSender {
    /// Must be called inside the interface's name space.
    pub fn new(interface: &str) -> Self {
        let name = CString::new(interface).unwrap();
        unsafe {
            let interface = libc::if_nametoindex(name.as_ptr()) as i32;
            assert!(interface > 0);
            let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
            assert!(fd >= 0, "{}", io::Error::last_os_error());
            Self { socket: OwnedFd::from_raw_fd(fd), interface }
        }
    }

    pub fn send(&self, frame: &[u8]) {
        let mut to: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        to.sll_family = libc::AF_PACKET as u16;
        to.sll_ifindex = self.interface;
        to.sll_halen = 6;
        let sent = unsafe {
            libc::sendto(
                self.socket.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                size_of::<libc::sockaddr_ll>() as u32,
            )
        };
        assert_eq!(sent, frame.len() as isize, "{}", io::Error::last_os_error());
    }

    /// Sends at a moderate rate: bursts of 100, a millisecond apart.
    pub fn send_all<'a>(&self, frames: impl IntoIterator<Item = &'a Vec<u8>>) {
        for (n, frame) in frames.into_iter().enumerate() {
            self.send(frame);
            if n % 100 == 99 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

/// Calls `step` until it says that it is done, at most for ten seconds.
pub fn until(mut step: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !step() && Instant::now() < end {}
}

/// A sending UDP socket.
pub fn udp(from: &str) -> UdpSocket {
    UdpSocket::bind(from).unwrap()
}

/// Starts this test binary once more, to run only its ignored test `holder` in a name space, and
/// waits until that prints READY. The caller kills it.
pub fn hold(space: &Namespace) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holder", "--ignored", "--nocapture"])
        .env("TIDEWALL_TEST_NAMESPACE", &space.name)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("READY")));
    child
}

/// The other side of [`hold`]: enters the name space, opens, and waits to be killed.
pub fn held<S>(open: impl FnOnce() -> S) {
    let Ok(space) = std::env::var("TIDEWALL_TEST_NAMESPACE") else { return };
    enter(&space);
    let source = open();
    println!("READY");
    std::thread::sleep(Duration::from_mins(1));
    drop(source);
}

/// Kills without a chance to clean up.
pub fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}
