//! Captures through pipes and sockets: every packet, writers that come and go, damage.
#![allow(clippy::disallowed_methods, reason = "these tests wait for real pipes")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Frames, frame, until};
use tidewall_capture::pipe::{PipeOrigin, PipeSource};
use tidewall_capture::{OpenError, ReceiveError};
use tidewall_wire::frame::LinkType;
use tidewall_wire::pcap::{Packet, PcapHeader, PcapWriter};

const WAIT: Duration = Duration::from_millis(50);

/// A pcap capture of the frames numbered so.
fn capture(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    let header = PcapHeader { nanoseconds: true, ..PcapHeader::default() };
    let writer = PcapWriter::new(header, &mut out);
    for n in numbers {
        let data = &frame(n, &[], n % 2 == 1, 53)[..];
        let (time, wire_len) = (1_000_000_000 + u64::from(n), data.len() as u32);
        writer.write(&Packet { time, link_type: 1, wire_len, data, interface: 0 }, &mut out);
    }
    out
}

fn make_fifo(path: &Path) {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

fn drain(source: &mut PipeSource, sink: &mut Frames, expected: usize) {
    until(|| {
        source.receive(WAIT, sink).unwrap();
        sink.marked.len() >= expected
    });
}

/// Receives until the source complains.
fn complaint(source: &mut PipeSource, sink: &mut Frames) -> ReceiveError {
    let mut error = None;
    until(|| {
        error = source.receive(WAIT, sink).err();
        error.is_some()
    });
    error.unwrap()
}

fn all(range: std::ops::Range<u32>) -> Vec<u32> {
    range.collect()
}

#[test]
fn a_pipe_is_read_from_writer_to_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    make_fifo(&path);
    let mut source = PipeSource::open(PipeOrigin::Fifo(path.clone())).unwrap();
    let mut sink = Frames::default();
    let before = Instant::now();
    assert_eq!(source.receive(WAIT, &mut sink).unwrap(), 0);
    assert!(before.elapsed() >= WAIT, "without a writer the source waits");
    for round in 0..3 {
        let range = round * 5000..(round + 1) * 5000;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
                // In pieces that do not end where packets end.
                for piece in capture(range.clone()).chunks(9_973) {
                    writer.write_all(piece).unwrap();
                }
            });
            drain(&mut source, &mut sink, range.end as usize);
        });
        // The end is only seen by reading on; only then a new stream may begin.
        until(|| {
            source.receive(WAIT, &mut sink).unwrap();
            source.statistics().restarts == u64::from(round) + 1
        });
    }
    assert_eq!(sink.numbers(), all(0..15_000));
    let seen = &sink.marked[7];
    assert_eq!((seen.link, seen.time.0), (LinkType::ETHERNET, 1_000_000_007));
    assert_eq!(seen.data, frame(7, &[], true, 53));
    let statistics = source.statistics();
    assert_eq!((statistics.received, statistics.bytes), (sink.all, sink.bytes));
    let before = Instant::now();
    assert_eq!(source.receive(WAIT, &mut sink).unwrap(), 0);
    assert!(before.elapsed() >= WAIT, "a writer that has gone does not make the source spin");
}

#[test]
fn a_damaged_stream_is_left_and_the_next_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    make_fifo(&path);
    let mut source = PipeSource::open(PipeOrigin::Fifo(path.clone())).unwrap();
    let mut sink = Frames::default();
    let mut damaged = capture(0..10);
    damaged.extend([0xff; 64]);
    let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(&damaged).unwrap();
    let error = complaint(&mut source, &mut sink);
    assert!(matches!(error, ReceiveError::Stream { .. }), "{error}");
    assert!(error.to_string().contains("above the limit"), "{error}");
    // The rest is not taken for a new stream, though it looks like one.
    writer.write_all(&capture(100..110)).unwrap();
    for _ in 0..3 {
        assert_eq!(source.receive(WAIT, &mut sink).unwrap(), 0);
    }
    drop(writer);
    until(|| {
        source.receive(WAIT, &mut sink).unwrap();
        source.statistics().restarts == 1
    });
    let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(&capture(10..20)).unwrap();
    drain(&mut source, &mut sink, 20);
    assert_eq!(sink.numbers(), all(0..20));
}

#[test]
fn a_stream_cut_in_a_packet_gives_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    make_fifo(&path);
    let mut source = PipeSource::open(PipeOrigin::Fifo(path.clone())).unwrap();
    let mut sink = Frames::default();
    let whole = capture(0..10);
    let mut writer = OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_all(&whole[..whole.len() - 5]).unwrap();
    drop(writer);
    until(|| {
        source.receive(WAIT, &mut sink).unwrap();
        source.statistics().restarts == 1
    });
    assert_eq!(sink.numbers(), all(0..9));
}

#[test]
fn writers_come_to_a_listening_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    // Left by somebody who was killed.
    drop(UnixListener::bind(&path).unwrap());
    let mut source = PipeSource::open(PipeOrigin::Listen(path.clone())).unwrap();
    let mut sink = Frames::default();
    assert_eq!(source.receive(WAIT, &mut sink).unwrap(), 0);
    // One that looks and leaves does no harm.
    drop(UnixStream::connect(&path).unwrap());
    for round in 0..3 {
        let range = round * 1000..(round + 1) * 1000;
        std::thread::scope(|scope| {
            let (path, stream) = (&path, capture(range.clone()));
            scope.spawn(move || UnixStream::connect(path).unwrap().write_all(&stream).unwrap());
            drain(&mut source, &mut sink, range.end as usize);
        });
    }
    assert_eq!(sink.numbers(), all(0..3000));
    let error = PipeSource::open(PipeOrigin::Listen(path.clone())).err().unwrap();
    assert!(error.to_string().ends_with("another program listens there"), "{error}");
    drop(source);
    assert!(!path.exists());
}

#[test]
fn a_writer_of_damage_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let mut source = PipeSource::open(PipeOrigin::Listen(path.clone())).unwrap();
    let mut writer = UnixStream::connect(&path).unwrap();
    writer.write_all(b"GET / HTTP/1.1\r\nHost: example\r\n\r\n").unwrap();
    let error = complaint(&mut source, &mut Frames::default());
    assert!(error.to_string().contains("neither pcap nor pcapng"), "{error}");
    writer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    // Closed by the other side, with something unread: a reset, or an end.
    assert!(matches!(writer.read(&mut [0; 1]), Ok(0) | Err(_)));
    let mut sink = Frames::default();
    UnixStream::connect(&path).unwrap().write_all(&capture(0..5)).unwrap();
    drain(&mut source, &mut sink, 5);
}

#[test]
fn a_socket_of_another_program_is_asked_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let mut source = PipeSource::open(PipeOrigin::Connect(path.clone())).unwrap();
    let mut sink = Frames::default();
    let before = Instant::now();
    assert_eq!(source.receive(WAIT, &mut sink).unwrap(), 0);
    assert!(before.elapsed() >= WAIT);
    for round in 0..2 {
        let listener = UnixListener::bind(&path).unwrap();
        let range = round * 100..(round + 1) * 100;
        std::thread::scope(|scope| {
            let stream = capture(range.clone());
            let listener = &listener;
            scope.spawn(move || listener.accept().unwrap().0.write_all(&stream).unwrap());
            drain(&mut source, &mut sink, range.end as usize);
        });
        std::fs::remove_file(&path).unwrap();
    }
    assert_eq!(sink.numbers(), all(0..200));
}

#[test]
fn standard_input_ends_for_good() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "reader", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&capture(0..2500)).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("2500 packets, standard input: the capture has ended"), "{text}");
}

#[test]
#[ignore = "run by standard_input_ends_for_good"]
fn reader() {
    let mut source = PipeSource::open(PipeOrigin::StandardInput).unwrap();
    let mut sink = Frames::default();
    let error = complaint(&mut source, &mut sink);
    println!("{} packets, {error}", sink.marked.len());
}

#[test]
fn what_is_no_pipe_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let refused = |path: &Path| {
        let error = PipeSource::open(PipeOrigin::Fifo(path.to_owned())).err().unwrap();
        assert!(matches!(error, OpenError::Pipe(_)));
        error.to_string()
    };
    assert!(refused(&path).ends_with("make it with `mkfifo`"));
    File::create(&path).unwrap();
    assert!(refused(&path).ends_with("is it a named pipe?"));
}
