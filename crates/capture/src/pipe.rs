//! Frames from another program: a pcap or pcapng stream through standard input, a named pipe or a
//! Unix socket. What captures may be anything: tcpdump, dumpcap, a SnabbSwitch or DPDK tool.
//!
//! When the writer goes away the source waits for the next one, whose stream begins anew; only
//! standard input cannot come back. Memory is one buffer, whatever the stream says.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tidewall_model::Timestamp;
use tidewall_wire::frame::LinkType;
use tidewall_wire::pcap::{CaptureError, CaptureParser, Step};

use crate::{FrameSink, OpenError, ReceiveError, SourceStatistics, system};

/// Packets handed over by one call at most.
const BATCH: usize = 1024;
/// Bytes read at once.
const BUFFER_LEN: usize = 1024 * 1024;

/// Where the stream comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PipeOrigin {
    /// Standard input.
    StandardInput,
    /// A named pipe (`mkfifo`).
    Fifo(PathBuf),
    /// A Unix socket that is made here and waits for a writer.
    Listen(PathBuf),
    /// A Unix socket that another program has made, and that is asked for the stream.
    Connect(PathBuf),
}

impl std::fmt::Display for PipeOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::StandardInput => f.write_str("standard input"),
            Self::Fifo(path) => write!(f, "pipe {}", path.display()),
            Self::Listen(path) | Self::Connect(path) => write!(f, "socket {}", path.display()),
        }
    }
}

/// A stream cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {reason}{hint}")]
pub struct PipeError {
    /// Where the stream was to come from.
    pub origin: PipeOrigin,
    /// The system's answer.
    pub reason: io::Error,
    /// What to do about it, as the end of a sentence.
    pub hint: &'static str,
}

/// A stream of frames.
pub struct PipeSource {
    origin: PipeOrigin,
    /// Waits for writers ([`PipeOrigin::Listen`]).
    listener: Option<UnixListener>,
    writer: Option<File>,
    parser: CaptureParser,
    buffer: Vec<u8>,
    /// The part of the buffer that is read but not parsed.
    start: usize,
    end: usize,
    /// The writer has closed.
    end_of_input: bool,
    /// The stream is damaged, and the rest of it is thrown away: a pipe is shared, so its writer
    /// cannot be left otherwise.
    discarding: bool,
    statistics: SourceStatistics,
}

impl PipeSource {
    /// Opens the stream. There need not be a writer yet, except for standard input.
    pub fn open(origin: PipeOrigin) -> Result<Self, OpenError> {
        let parser = CaptureParser::new();
        let mut source = Self {
            listener: None,
            writer: None,
            buffer: vec![0; BUFFER_LEN.max(parser.longest_record())],
            parser,
            start: 0,
            end: 0,
            end_of_input: false,
            discarding: false,
            statistics: SourceStatistics::default(),
            origin,
        };
        let opened = match &source.origin {
            PipeOrigin::StandardInput => {
                io::stdin().as_fd().try_clone_to_owned().map(|fd| source.writer = Some(fd.into()))
            }
            PipeOrigin::Fifo(path) => open_fifo(path).map(|fifo| source.writer = Some(fifo)),
            PipeOrigin::Listen(path) => {
                listen(path).map(|listener| source.listener = Some(listener))
            }
            // Made when there is something to connect to.
            PipeOrigin::Connect(_) => Ok(()),
        };
        match opened {
            Ok(()) => Ok(source),
            Err(reason) => {
                let hint = match (reason.kind(), &source.origin) {
                    (io::ErrorKind::NotFound, PipeOrigin::Fifo(_)) => "; make it with `mkfifo`",
                    (io::ErrorKind::InvalidInput, PipeOrigin::Fifo(_)) => "; is it a named pipe?",
                    (io::ErrorKind::AddrInUse, _) => "; another program listens there",
                    _ => "",
                };
                Err(PipeError { origin: source.origin.clone(), reason, hint }.into())
            }
        }
    }

    /// Hands over what has come, at most one batch; waits for it at most for `timeout`. A stream
    /// that is damaged is left with an error, and the next call waits for the next writer.
    pub fn receive(
        &mut self,
        timeout: Duration,
        sink: &mut impl FrameSink,
    ) -> Result<usize, ReceiveError> {
        if self.discarding {
            return self.discard(timeout).map(|()| 0);
        }
        let (mut count, mut waited) = (0, false);
        while count < BATCH {
            let window = self.buffer.get(self.start..self.end).unwrap_or_default();
            match self.parser.parse(window, self.end_of_input) {
                Ok(Step::Packet { consumed, record }) => {
                    let packet = record.packet(window);
                    let truncated = packet.data.len() < packet.wire_len as usize;
                    self.statistics.received += 1;
                    self.statistics.bytes += u64::from(packet.wire_len);
                    self.statistics.truncated += u64::from(truncated);
                    let (link, time) = (LinkType(packet.link_type), Timestamp(packet.time));
                    sink.frame(link, time, packet.data, packet.wire_len, None);
                    self.start += consumed;
                    count += 1;
                }
                Ok(Step::Skip { consumed }) => self.start += consumed,
                Ok(Step::NeedMore { .. }) => {
                    // What is complete goes first; the timeout is for having nothing at all.
                    let wait = if count > 0 || waited { Duration::ZERO } else { timeout };
                    waited = true;
                    if !self.fill(wait)? {
                        break;
                    }
                }
                Ok(Step::End | Step::Truncated(_)) => {
                    self.forget_writer();
                    if count == 0 && self.writer.is_none() && self.is_standard_input() {
                        return Err(ReceiveError::Ended { origin: self.origin.to_string() });
                    }
                    break;
                }
                // Nobody has written anything: a port scan of a socket, a `touch` of a pipe.
                Err(CaptureError::HeaderIncomplete { available: 0 })
                    if !self.is_standard_input() =>
                {
                    self.forget_writer();
                    break;
                }
                Err(reason) => {
                    if matches!(self.origin, PipeOrigin::Fifo(_)) && !self.end_of_input {
                        self.discarding = true;
                    } else {
                        self.forget_writer();
                    }
                    return Err(ReceiveError::Stream { origin: self.origin.to_string(), reason });
                }
            }
        }
        Ok(count)
    }

    /// Reads once and throws it away; gets ready for the next writer when this one has gone.
    fn discard(&mut self, timeout: Duration) -> Result<(), ReceiveError> {
        (self.start, self.end) = (0, 0);
        if self.fill(timeout)? && self.end_of_input {
            self.forget_writer();
        }
        Ok(())
    }

    fn is_standard_input(&self) -> bool {
        self.origin == PipeOrigin::StandardInput
    }

    /// Reads once, behind what is not parsed yet; waits for it. False when nothing has come. The
    /// buffer holds the longest record, so there is room whenever the parser asks for more.
    fn fill(&mut self, wait: Duration) -> Result<bool, ReceiveError> {
        if self.writer.is_none() && !self.find_writer(wait)? {
            return Ok(false);
        }
        let Some(writer) = &mut self.writer else { return Ok(false) };
        // Asked instead of setting O_NONBLOCK, which others that hold standard input would feel.
        let ready = system::wait(writer.as_fd(), wait)
            .map_err(ReceiveError::system("waiting for a capture"))?;
        if ready == system::Readiness::default() {
            return Ok(false);
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        match writer.read(room) {
            Ok(0) => self.end_of_input = true,
            Ok(count) => self.end += count,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) =>
            {
                return Ok(false);
            }
            // The far end broke off.
            Err(_) => self.end_of_input = true,
        }
        Ok(true)
    }

    /// Accepts or looks for a writer, at most for `wait`.
    fn find_writer(&mut self, wait: Duration) -> Result<bool, ReceiveError> {
        let stream = match (&self.origin, &self.listener) {
            (PipeOrigin::StandardInput, _) => {
                return Err(ReceiveError::Ended { origin: self.origin.to_string() });
            }
            (PipeOrigin::Fifo(path), _) => {
                self.writer = open_fifo(path).ok();
                if self.writer.is_none() {
                    system::pause(wait);
                }
                return Ok(self.writer.is_some());
            }
            (PipeOrigin::Connect(path), _) => UnixStream::connect(path),
            (PipeOrigin::Listen(_), Some(listener)) => accept(listener.as_fd(), listener, wait),
            (PipeOrigin::Listen(_), None) => Err(io::ErrorKind::NotConnected.into()),
        };
        let listening = self.listener.is_some();
        match stream {
            Ok(stream) => self.writer = Some(File::from(OwnedFd::from(stream))),
            // It is not there yet; a listener has waited already.
            Err(_) if !listening => system::pause(wait),
            Err(_) => {}
        }
        Ok(self.writer.is_some())
    }

    /// Gets ready for the next writer's stream.
    fn forget_writer(&mut self) {
        let next = match &self.origin {
            // Opened before the old one is closed, so that a writer that is there already does not
            // find a pipe without a reader.
            PipeOrigin::Fifo(path) => open_fifo(path).ok(),
            _ => None,
        };
        self.writer = next;
        self.parser = CaptureParser::new();
        (self.start, self.end) = (0, 0);
        self.end_of_input = false;
        self.discarding = false;
        self.statistics.restarts += 1;
    }

    /// Counters since the source was opened.
    pub fn statistics(&mut self) -> SourceStatistics {
        self.statistics
    }
}

impl Drop for PipeSource {
    fn drop(&mut self) {
        if let (Some(_), PipeOrigin::Listen(path)) = (&self.listener, &self.origin) {
            // Nothing is lost when it is gone already.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Opens a named pipe for reading; does not wait for a writer.
fn open_fifo(path: &Path) -> io::Result<File> {
    let fifo = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if fifo.metadata()?.file_type().is_fifo() {
        Ok(fifo)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a named pipe"))
    }
}

/// Makes a socket; takes the place of one that nobody listens on any more.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let stale = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    if stale {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn accept(fd: BorrowedFd<'_>, listener: &UnixListener, wait: Duration) -> io::Result<UnixStream> {
    system::wait(fd, wait)?;
    listener.accept().map(|(stream, _)| stream)
}
