//! One TCP connection of a session: what is still to be written, and whether the socket can be read
//! or written. Nothing is kept for a peer that does not read but the rest of what was pulled last.

use std::io::{self, Read, Write};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use tidewall_bgp::session::ConnectionId;
use tidewall_model::Timestamp;

use super::socket;

/// How long the end of a connection may take: the peer should read our last words, which a reset
/// by unread bytes of its own would destroy.
const LINGER: Duration = Duration::from_secs(2);

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Open,
    /// The session has ended it; it goes when the peer has ended it too, or at this time.
    Ending(Timestamp),
    Gone,
}

/// What a flush has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flushed {
    pub(super) octets: usize,
    pub(super) all: bool,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: ConnectionId,
    pub(super) token: Token,
    pub(super) stage: Stage,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// The session knows that not all could be written.
    pub(super) told_blocked: bool,
    stream: TcpStream,
    output: Vec<u8>,
    written: usize,
    writing_ended: bool,
    /// Writing has failed. What the peer said before is still to be read.
    write_error: Option<io::Error>,
}

impl Link {
    pub(super) fn new(
        id: ConnectionId,
        token: Token,
        mut stream: TcpStream,
        stage: Stage,
        registry: &Registry,
    ) -> io::Result<Self> {
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            id,
            token,
            stage,
            readable: false,
            writable: false,
            told_blocked: false,
            stream,
            output: Vec::new(),
            written: 0,
            writing_ended: false,
            write_error: None,
        })
    }

    /// Has the attempt to connect ended, and how?
    pub(super) fn connected(&mut self) -> io::Result<bool> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is written when the socket takes it.
    pub(super) const fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    pub(super) const fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Reads once; `None`: there is nothing now. The error of a write comes when all is read.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) if let Some(error) = self.write_error.take() => return Err(error),
                Ok(octets) => return Ok(Some(octets)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return self.write_error.take().map_or(Ok(None), Err);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes as much as the socket takes. A peer that has reset the connection may have said why:
    /// an error is left to [`Link::read`].
    pub(super) fn flush(&mut self) -> Flushed {
        let mut octets = 0;
        while self.writable && self.has_output() {
            match self.stream.write(self.output.get(self.written..).unwrap_or_default()) {
                Ok(count) => {
                    self.written += count;
                    octets += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.write_error = Some(error);
                    self.output.clear();
                    (self.writable, self.readable) = (false, true);
                }
            }
        }
        if !self.has_output() {
            self.output.clear();
            self.written = 0;
            if matches!(self.stage, Stage::Ending(_)) && !self.writing_ended {
                self.writing_ended = true;
                socket::end_writing(&self.stream);
            }
        }
        Flushed { octets, all: !self.has_output() }
    }

    /// The session is through with it.
    pub(super) fn end(&mut self, now: Timestamp) {
        self.stage = match self.stage {
            Stage::Open => Stage::Ending(now + LINGER),
            Stage::Connecting | Stage::Gone => Stage::Gone,
            ending @ Stage::Ending(_) => ending,
        };
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        match self.stage {
            Stage::Gone => true,
            Stage::Ending(until) => until <= now,
            Stage::Connecting | Stage::Open => false,
        }
    }

    pub(super) const fn deadline(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Ending(until) => Some(until),
            _ => None,
        }
    }

    pub(super) fn deregister(mut self, registry: &Registry) {
        // Closing the socket takes it out as well; an error here changes nothing.
        let _ = registry.deregister(&mut self.stream);
    }
}
