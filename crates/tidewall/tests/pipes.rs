//! `tidewall run` with `engine = "pipe"`: pcap and pcapng streams of other programs, through a
//! named pipe, Unix sockets and standard input; writers come and go.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(clippy::disallowed_methods, reason = "a service is tested by the clock on the wall")]

#[path = "../../capture/tests/common/mod.rs"]
mod lab;
mod mirror;
mod service;

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use lab::{Lab, ready};
use mirror::{COUNT, POLICY, counted, frames, last_records, named};
use service::Service;

/// A capture file of these frames (little endian, microseconds, Ethernet).
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 1] {
        out.extend(word.to_le_bytes());
    }
    for frame in frames {
        let length = frame.len() as u32;
        for word in [1_790_000_000, 0, length, length] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame);
    }
    out
}

/// The same as pcapng: a section, an interface, and a block for each frame.
fn pcapng(frames: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let length = (body.len() + 12) as u32;
        out.extend(kind.to_le_bytes());
        out.extend(length.to_le_bytes());
        out.extend(body);
        out.extend(length.to_le_bytes());
    };
    let words = |words: &[u32]| words.iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<_>>();
    // Version 1.0, of unknown length; Ethernet, whole frames.
    block(0x0a0d_0d0a, &words(&[0x1a2b_3c4d, 1, u32::MAX, u32::MAX]));
    block(1, &words(&[1, 0]));
    for frame in frames {
        let length = frame.len() as u32;
        let mut body = words(&[0, 417_000, 0, length, length]);
        body.extend(frame);
        body.resize(body.len().next_multiple_of(4), 0);
        block(6, &body);
    }
    out
}

/// A service that reads a capture from `name`.
fn piped(service: &mut Service, name: &str) {
    let mirror = format!("[[mirror]]\nengine = \"pipe\"\ninterfaces = [{name:?}]\n");
    service.write(&format!("{POLICY}{mirror}"));
    service.run();
}

/// Waits until the service has seen the end of so many writers: the next writer of a pipe that is
/// still read would join the last one's stream.
fn gone(service: &mut Service, writers: u64) {
    service.wait_for("the writer's end", |service| service.source("restarts") == writers);
}

/// A writer of pcap, one that writes something else, and one of pcapng.
fn three_writers(service: &mut Service, mut write: impl FnMut(&mut Service, &[u8])) {
    write(service, &pcap(&frames()));
    named(service);
    counted(service, COUNT.into());
    write(service, b"this is not a capture, whatever it may be");
    service
        .wait_for("the complaint", |service| service.log().contains("waiting for the next writer"));
    write(service, &pcapng(&frames()));
    counted(service, u64::from(COUNT) * 2);
    let (code, _) = service.end("-TERM");
    assert_eq!(code, Some(0), "{}", service.log());
}

#[test]
fn a_named_pipe() {
    let mut service = Service::prepared();
    let path = service.path("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    piped(&mut service, path.to_str().unwrap());
    let mut writers = 0;
    three_writers(&mut service, |service, bytes| {
        let mut fifo = OpenOptions::new().write(true).open(&path).unwrap();
        fifo.write_all(bytes).unwrap();
        drop(fifo);
        writers += 1;
        gone(service, writers);
    });
}

#[test]
fn a_socket_that_is_listened_on() {
    let mut service = Service::prepared();
    let path = service.path("frames.sock");
    piped(&mut service, &format!("listen:{}", path.display()));
    three_writers(&mut service, |_, bytes| {
        UnixStream::connect(&path).unwrap().write_all(bytes).unwrap();
    });
    assert!(!Path::new(&path).exists());
}

#[test]
fn a_socket_that_is_connected_to() {
    let mut service = Service::prepared();
    let path = service.path("frames.sock");
    let listener = UnixListener::bind(&path).unwrap();
    piped(&mut service, &format!("connect:{}", path.display()));
    three_writers(&mut service, |_, bytes| {
        listener.accept().unwrap().0.write_all(bytes).unwrap();
    });
}

#[test]
fn standard_input_ends_the_service_when_it_ends() {
    let mut service = Service::prepared();
    let mirror = "[[mirror]]\nengine = \"pipe\"\ninterfaces = [\"-\"]\n";
    service.write(&format!("{POLICY}{mirror}"));
    service.child = service.spawn_with(Stdio::piped());
    service.wait_for("the socket", |service| service.ask(service::STATUS).is_ok());
    let mut input = service.child.stdin.take().unwrap();
    input.write_all(&pcap(&frames())).unwrap();
    named(&mut service);
    counted(&mut service, COUNT.into());
    drop(input);
    assert_eq!(service.ended(), Some(0), "{}", service.log());
    assert_eq!(last_records(&service), u64::from(COUNT));
    // A file is read to its end and counted, however fast.
    fs::write(service.path("capture"), pcap(&frames())).unwrap();
    service.child = service.spawn_with(File::open(service.path("capture")).unwrap().into());
    assert_eq!(service.ended(), Some(0), "{}", service.log());
    assert_eq!(last_records(&service), u64::from(COUNT));
}

/// Starts dumpcap on `tw1`, and waits until it captures.
fn dumpcap(lab: &Lab, more: &[&str], output: Stdio) -> Child {
    let mut child = Command::new("ip")
        .args(["netns", "exec", &lab.receiver.name, "dumpcap", "-q", "-B", "16", "-i", "tw1"])
        .args(["-w", "-"])
        .args(more)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It names its output once the interface is open.
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    while !said.last().is_some_and(|line: &String| line.starts_with("File: ")) {
        said.push(lines.next().unwrap_or_else(|| panic!("{said:?}")).unwrap());
    }
    // It goes on talking at the end, and somebody must listen.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    child
}

fn has_dumpcap() -> bool {
    let found = Command::new("dumpcap").arg("-v").output().is_ok_and(|said| said.status.success());
    if !found {
        assert!(std::env::var_os("CI").is_none(), "dumpcap is not installed");
        println!("skipped: dumpcap is not installed");
    }
    found
}

/// Ends dumpcap as `kill` does.
fn end(mut child: Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").arg(&id).status().unwrap().success());
    child.wait().unwrap();
}

#[test]
fn dumpcap_writes_into_a_named_pipe() {
    if !ready("dumpcap_writes_into_a_named_pipe") || !has_dumpcap() {
        return;
    }
    let lab = Lab::new();
    let mut service = Service::prepared();
    let path = service.path("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    piped(&mut service, path.to_str().unwrap());
    let sender = lab.frame_sender();
    // pcapng, as it writes unless told otherwise, and pcap.
    for (round, format) in [(1, "-n"), (2, "-P")] {
        let fifo = OpenOptions::new().write(true).open(&path).unwrap();
        let child = dumpcap(&lab, &[format], fifo.into());
        sender.send_all(&frames());
        counted(&mut service, u64::from(COUNT) * round);
        named(&mut service);
        end(child);
        gone(&mut service, round);
    }
    assert_eq!(service.end("-TERM").0, Some(0), "{}", service.log());
    assert!(!service.log().contains("waiting for the next writer"), "{}", service.log());
}

#[test]
fn dumpcap_writes_into_standard_input() {
    if !ready("dumpcap_writes_into_standard_input") || !has_dumpcap() {
        return;
    }
    let lab = Lab::new();
    let mut service = Service::prepared();
    let mirror = "[[mirror]]\nengine = \"pipe\"\ninterfaces = [\"-\"]\n";
    service.write(&format!("{POLICY}{mirror}"));
    let mut child = dumpcap(&lab, &[], Stdio::piped());
    service.child = service.spawn_with(child.stdout.take().unwrap().into());
    service.wait_for("the socket", |service| service.ask(service::STATUS).is_ok());
    lab.frame_sender().send_all(&frames());
    named(&mut service);
    counted(&mut service, COUNT.into());
    end(child);
    assert_eq!(service.ended(), Some(0), "{}", service.log());
    assert_eq!(last_records(&service), u64::from(COUNT));
}
