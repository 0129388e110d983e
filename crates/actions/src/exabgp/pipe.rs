//! The named pipe that a helper of ExaBGP's reads: one write for each line, which is whole or does
//! not happen; never a wait for a reader; never a file that is no pipe. That the reader has gone
//! is noticed at once, and what is desired is told again when there is one.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tidewall_model::Timestamp;

use super::ledger::Ledger;

pub(super) const PIPE: Token = Token(1);
/// Lines of one turn.
const TURN: usize = 256;
/// A full pipe is looked at again after this, should the system not say that there is room.
const FULL_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between two attempts to open the pipe.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Pipe {
    path: PathBuf,
    retry: Duration,
    open: Option<File>,
    /// The reader is gone, as the system told.
    broken: bool,
    /// It takes nothing until then.
    full_until: Option<Timestamp>,
    pause: Duration,
    try_at: Timestamp,
}

impl Pipe {
    pub(super) fn new(path: PathBuf, retry: Duration) -> Self {
        Self {
            path,
            retry,
            open: None,
            broken: false,
            full_until: None,
            pause: retry,
            try_at: Timestamp::ZERO,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.open.is_some()
    }

    pub(super) fn describe(&self) -> String {
        format!("ExaBGP that reads {}", self.path.display())
    }

    pub(super) fn ready(&mut self, event: &Event) {
        self.broken |= event.is_error() || event.is_write_closed();
        if event.is_writable() {
            self.full_until = None;
        }
    }

    /// Writes what waits; `true`: there is more, and room for it.
    pub(super) fn turn(
        &mut self,
        ledger: &mut Ledger,
        now: Timestamp,
        registry: &Registry,
    ) -> bool {
        if self.broken {
            let words = format!("ExaBGP does not read {} any more", self.path.display());
            self.close(ledger, &words, now, registry);
        }
        if self.open.is_none() {
            if now < self.try_at {
                return false;
            }
            match open(&self.path, registry) {
                Ok(file) => {
                    self.open = Some(file);
                    self.pause = self.retry;
                    ledger.up();
                }
                Err(words) => {
                    self.close(ledger, &words, now, registry);
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE.max(self.retry));
                    return false;
                }
            }
        }
        self.write(ledger, now, registry)
    }

    /// When to take the next turn without being told.
    pub(super) fn deadline(&self, ledger: &Ledger) -> Option<Timestamp> {
        if self.open.is_none() {
            return Some(self.try_at);
        }
        self.full_until.or_else(|| ledger.next_time())
    }

    fn write(&mut self, ledger: &mut Ledger, now: Timestamp, registry: &Registry) -> bool {
        if self.full_until.is_some_and(|until| now < until) {
            return false;
        }
        self.full_until = None;
        for _ in 0..TURN {
            let Some(file) = &mut self.open else { return false };
            let Some(line) = ledger.next(now) else { return false };
            match file.write(line.as_bytes()) {
                Ok(written) if written == line.len() => ledger.taken(now),
                Err(error) if error.kind() == ErrorKind::Interrupted => ledger.put_back(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    ledger.put_back();
                    self.full_until = Some(now + FULL_PAUSE);
                    return false;
                }
                Err(error) => {
                    let words = match error.kind() {
                        ErrorKind::BrokenPipe => "ExaBGP does not read it any more".to_owned(),
                        _ => error.to_string(),
                    };
                    let words = format!("{}: {words}", self.path.display());
                    self.close(ledger, &words, now, registry);
                    return false;
                }
                // A pipe takes a line of this length whole; what is behind a torn one starts anew.
                Ok(_) => {
                    let words = format!("{}: a line was torn", self.path.display());
                    self.close(ledger, &words, now, registry);
                    return false;
                }
            }
        }
        true
    }

    fn close(&mut self, ledger: &mut Ledger, words: &str, now: Timestamp, registry: &Registry) {
        if let Some(file) = self.open.take() {
            // Closing takes it off as well.
            let _ = registry.deregister(&mut SourceFd(&file.as_raw_fd()));
        }
        self.broken = false;
        self.full_until = None;
        self.try_at = now + self.pause;
        ledger.lost(words, now);
    }
}

/// Is there something else than a pipe at this path? What is missing may come.
pub(super) fn is_other_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| !file.file_type().is_fifo())
}

/// Opens the pipe for writing when it is one and somebody reads it.
fn open(path: &Path, registry: &Registry) -> Result<File, String> {
    let words = |error: &io::Error| format!("{} cannot be opened: {error}", path.display());
    let no_pipe = || format!("{} is no named pipe, and nothing is written to it", path.display());
    // Opening anything else could have effects already.
    if is_other_file(path) {
        return Err(no_pipe());
    }
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NXIO) => {
            return Err(format!("ExaBGP does not read {}: is it running?", path.display()));
        }
        Err(Errno::NOENT) => {
            return Err(format!("there is no pipe {}: ExaBGP's side makes it", path.display()));
        }
        Err(error) => return Err(words(&error.into())),
    };
    // It may have been exchanged in between.
    if !file.metadata().map_err(|error| words(&error))?.file_type().is_fifo() {
        return Err(no_pipe());
    }
    let fd = file.as_raw_fd();
    registry
        .register(&mut SourceFd(&fd), PIPE, Interest::WRITABLE)
        .map_err(|error| words(&error))?;
    Ok(file)
}
