//! The process that ExaBGP starts: our helper connects to this socket, hands each line to ExaBGP
//! and brings the answer back. One helper at a time. Lines go in batches, each once the one before
//! is answered: ExaBGP answers in order, and should an answer be missing, that shows at the end of
//! the batch. When a helper goes, ExaBGP may have gone with all routes: what is desired is told
//! again to the next one.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net as std_net;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use tidewall_model::Timestamp;

use super::ledger::Ledger;

pub(super) const LISTENER: Token = Token(2);
pub(super) const HELPER: Token = Token(3);

/// First line of a helper.
pub(super) const HELLO: &str = "tidewall exabgp-helper 2";
/// Of one that waits for each answer: an ExaBGP that runs on goes on with the helper it started.
const OLDER_HELLO: &str = "tidewall exabgp-helper 1";
/// First line to a helper: ExaBGP's answers are waited for, or only its taking of the line.
pub(super) const WITH_ANSWERS: &str = "answers";
pub(super) const WITHOUT_ANSWERS: &str = "no answers";
/// First line to a second helper.
pub(super) const BUSY: &str = "busy";
/// Answers of a helper.
pub(super) const DONE: &str = "done";
pub(super) const ERROR: &str = "error";
pub(super) const WRITTEN: &str = "written";

/// Octets of the longest line of a helper.
const MAX_ANSWER: usize = 64;
/// How long a connection may keep silent before it says who it is.
const HELLO_WAIT: Duration = Duration::from_secs(5);
/// Before the first helper is missed: it connects by itself.
const GRACE: Duration = Duration::from_secs(3);
const NEVER: Timestamp = Timestamp(u64::MAX);
/// Lines of a batch at most.
pub(super) const BATCH: usize = 64;
/// Octets of a batch, but for its last line. ExaBGP 4 reads 16 KiB at once, and what is left in its
/// own buffer then waits until more is written.
const BATCH_OCTETS: usize = 8_192;

#[derive(Debug)]
pub(super) struct Process {
    path: PathBuf,
    /// Device and number of the socket's file.
    file: Option<(u64, u64)>,
    answers: bool,
    answer_wait: Duration,
    retry: Duration,
    listener: UnixListener,
    helper: Option<Helper>,
    /// When the helper is missed.
    missed_at: Option<Timestamp>,
    /// Connections that were turned away.
    turned_away: u64,
    /// After an answer was missing: lines that go alone, so that it is known whose it was.
    alone: usize,
}

#[derive(Debug)]
struct Helper {
    stream: UnixStream,
    known: bool,
    /// Lines of a batch that it takes at most.
    batch: usize,
    /// Lines without an answer.
    unanswered: usize,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    /// When its hello, or the next answer, is overdue.
    due: Option<Timestamp>,
}

/// Why a helper is left.
type Left = String;

impl Process {
    /// Takes a socket that listens, from [`bind`].
    pub(super) fn new(
        (path, listener): (PathBuf, std_net::UnixListener),
        answers: bool,
        answer_wait: Duration,
        retry: Duration,
        registry: &Registry,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let mut listener = UnixListener::from_std(listener);
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        let (file, helper, missed_at) = (identity(&path), None, None);
        Ok(Self {
            path,
            file,
            answers,
            answer_wait,
            retry,
            listener,
            helper,
            missed_at,
            turned_away: 0,
            alone: 0,
        })
    }

    pub(super) fn is_up(&self) -> bool {
        self.helper.as_ref().is_some_and(|helper| helper.known)
    }

    pub(super) fn describe(&self) -> String {
        let path = self.path.display();
        match self.turned_away {
            0 => format!("ExaBGP by a helper at {path}"),
            more => format!("ExaBGP by a helper at {path}; turned away: {more}"),
        }
    }

    /// Takes helpers, answers and lines as far as possible without waiting.
    pub(super) fn turn(&mut self, ledger: &mut Ledger, now: Timestamp, registry: &Registry) {
        if self.helper.is_none() && self.missed_at.is_none() {
            self.missed_at = Some(now + GRACE);
        }
        self.accept(now, registry);
        if let Some(mut helper) = self.helper.take() {
            match self.attend(&mut helper, ledger, now) {
                Ok(()) => self.helper = Some(helper),
                Err(words) => {
                    let _ = registry.deregister(&mut helper.stream);
                    if helper.known {
                        ledger.lost(&words, now);
                        self.missed_at = Some(NEVER);
                    }
                }
            }
        }
        if self.missed_at.is_some_and(|time| time <= now) && !self.is_up() {
            let path = self.path.display();
            ledger.lost(&format!("no ExaBGP helper is connected to {path}"), now);
            // Said: only a helper can change something now.
            self.missed_at = Some(NEVER);
        }
    }

    /// When to take the next turn without being told.
    pub(super) fn deadline(&self, ledger: &Ledger) -> Option<Timestamp> {
        let missed = self.missed_at.filter(|time| *time != NEVER);
        let due = self.helper.as_ref().and_then(|helper| helper.due);
        // Nothing is written before all is answered.
        let next = if due.is_none() && self.is_up() { ledger.next_time() } else { None };
        [missed, due, next].into_iter().flatten().min()
    }

    fn accept(&mut self, now: Timestamp, registry: &Registry) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            if self.helper.is_some() {
                self.turned_away += 1;
                // As much as a fresh socket takes, which is enough.
                let _ = stream.write_all(format!("{BUSY}\n").as_bytes());
                continue;
            }
            let interest = Interest::READABLE | Interest::WRITABLE;
            if registry.register(&mut stream, HELPER, interest).is_ok() {
                let due = Some(now + HELLO_WAIT);
                let (unread, unsent) = (Vec::new(), Vec::new());
                let (known, batch, unanswered) = (false, 1, 0);
                self.helper =
                    Some(Helper { stream, known, batch, unanswered, unread, unsent, due });
            }
        }
    }

    fn attend(
        &mut self,
        helper: &mut Helper,
        ledger: &mut Ledger,
        now: Timestamp,
    ) -> Result<(), Left> {
        let gone = helper.receive()?;
        while let Some(line) = helper.line()? {
            self.hear(helper, &line, ledger, now)?;
        }
        if gone {
            return Err(format!("the ExaBGP helper at {} has gone", self.path.display()));
        }
        if helper.due.is_some_and(|time| time <= now) {
            return Err(if helper.known {
                self.alone = BATCH;
                format!(
                    "ExaBGP has not answered within {:?}: are its answers (exabgp.api.ack) on?",
                    self.answer_wait
                )
            } else {
                "whoever connected is no helper".to_owned()
            });
        }
        if helper.known && helper.unanswered == 0 {
            let most = if self.alone > 0 { 1 } else { helper.batch };
            helper.fill(most, ledger, now);
            helper.due = (helper.unanswered > 0).then(|| now + self.answer_wait);
        }
        helper.send()
    }

    fn hear(
        &mut self,
        helper: &mut Helper,
        line: &str,
        ledger: &mut Ledger,
        now: Timestamp,
    ) -> Result<(), Left> {
        if !helper.known {
            helper.batch = match line {
                HELLO => BATCH,
                OLDER_HELLO => 1,
                _ => return Err("whoever connected is no helper".to_owned()),
            };
            (helper.known, helper.due, self.missed_at) = (true, None, None);
            let greeting = if self.answers { WITH_ANSWERS } else { WITHOUT_ANSWERS };
            helper.unsent.extend(format!("{greeting}\n").as_bytes());
            ledger.up();
            return Ok(());
        }
        if helper.unanswered == 0 {
            return Err("the ExaBGP helper answers what was not asked".to_owned());
        }
        helper.unanswered -= 1;
        helper.due = (helper.unanswered > 0).then(|| now + self.answer_wait);
        self.alone = self.alone.saturating_sub(1);
        match (line, self.answers) {
            (DONE, true) | (WRITTEN, false) => ledger.taken(now),
            (ERROR, true) => {
                let words = "ExaBGP answers \"error\": no neighbour takes the route, or it does \
                             not understand the line; its log tells";
                ledger.refused(words, self.retry, now);
            }
            _ => return Err(format!("the ExaBGP helper answers \"{line}\"")),
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not the socket of a service that has taken over.
        if identity(&self.path) == self.file {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

impl Helper {
    /// Takes the lines of the next batch.
    fn fill(&mut self, most: usize, ledger: &mut Ledger, now: Timestamp) {
        while self.unanswered < most && self.unsent.len() < BATCH_OCTETS {
            let Some(line) = ledger.next(now) else { return };
            self.unsent.extend(line.as_bytes());
            self.unanswered += 1;
        }
    }

    /// `true`: it has closed.
    fn receive(&mut self) -> Result<bool, Left> {
        let mut buffer = [0; 256];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(length) => {
                    self.unread.extend(buffer.iter().take(length));
                    if self.unread.len() > 2 * BATCH * MAX_ANSWER {
                        return Err("the ExaBGP helper says too much".to_owned());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Ok(true),
            }
        }
    }

    fn line(&mut self) -> Result<Option<String>, Left> {
        let Some(end) = self.unread.iter().position(|octet| *octet == b'\n') else {
            let long = self.unread.len() > MAX_ANSWER;
            return if long { Err("the ExaBGP helper says too much".to_owned()) } else { Ok(None) };
        };
        let line: Vec<u8> = self.unread.drain(..=end).collect();
        Ok(Some(String::from_utf8_lossy(&line).trim().to_owned()))
    }

    fn send(&mut self) -> Result<(), Left> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(0) => return Err("the ExaBGP helper takes nothing".to_owned()),
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("the ExaBGP helper has gone: {error}")),
            }
        }
        Ok(())
    }
}

/// Opens the socket with mode 0660: from its first moment at this path nobody else may connect. A
/// socket that nobody serves any more is replaced.
pub(super) fn bind(path: &Path) -> Result<std_net::UnixListener, String> {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            return Err(format!("{} is no socket", path.display()));
        }
        Ok(_) if std_net::UnixStream::connect(path).is_ok() => {
            return Err(format!("another program serves {}", path.display()));
        }
        _ => {}
    }
    let mut other = path.as_os_str().to_owned();
    other.push(format!(".{}", std::process::id()));
    let other = PathBuf::from(other);
    // What an earlier process of this number left.
    let _ = fs::remove_file(&other);
    let opened = std_net::UnixListener::bind(&other).and_then(|listener| {
        fs::set_permissions(&other, Permissions::from_mode(0o660))?;
        fs::rename(&other, path)?;
        Ok(listener)
    });
    opened.map_err(|error| {
        let _ = fs::remove_file(&other);
        format!("{} cannot be opened: {error}", path.display())
    })
}
