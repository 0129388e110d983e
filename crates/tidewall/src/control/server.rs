//! The server's side: one thread waits for clients, and each client has its own for as long as it
//! stays. Their number is bounded, and so is the length of a question.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, bail};
use nix::sys::stat::{Mode, umask};
use serde::Serialize;
use serde_json::Value;
use tracing::{info, warn};

use super::answer::event_line;
use super::peer::Peer;
use super::question::Question;
use super::rights::{Rights, may};
use crate::live::hub::Hub;

/// Clients at once.
const MOST_CLIENTS: usize = 32;
/// Bytes of a question.
const LONGEST_QUESTION: u64 = 4096;
/// A client that does not read is left after this.
const WRITE_WAIT: Duration = Duration::from_secs(5);
/// How often a client that listens is looked after.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Answers questions; the error is told to the client.
pub trait Asked: Send + Sync + 'static {
    /// The answer to a question of somebody.
    fn answer(&self, question: &Question, who: &str) -> Result<Value, String>;

    /// Who may change something: everybody who can connect, unless told otherwise.
    fn rights(&self) -> Rights {
        Rights::default()
    }

    /// Where events come from.
    fn hub(&self) -> &Arc<Hub>;
}

/// A socket that is open, and not served yet.
pub struct Socket {
    listener: UnixListener,
    file: SocketFile,
}

/// The socket's place in the file system. It goes with this value.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        _ = fs::remove_file(&self.0);
    }
}

/// A control socket that is being served.
pub struct Server {
    file: SocketFile,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Opens the socket with mode 0660. A socket that nobody serves any more is replaced.
pub fn open(path: &Path) -> anyhow::Result<Socket> {
    match fs::symlink_metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            bail!("{}: is not a socket; name another one with `control`", path.display())
        }
        Ok(_) if UnixStream::connect(path).is_ok() => bail!(
            "{}: another tidewall serves this socket; name another one with `control` under \
             [service]",
            path.display()
        ),
        Ok(_) => fs::remove_file(path)
            .with_context(|| format!("{}: the old socket cannot be removed", path.display()))?,
        Err(_) => {}
    }
    // From its first moment nobody else may connect. No other thread runs yet.
    let usual = umask(Mode::from_bits_truncate(0o117));
    let listener = UnixListener::bind(path);
    umask(usual);
    let listener = listener.with_context(|| format!("{}: cannot be opened", path.display()))?;
    Ok(Socket { listener, file: SocketFile(path.to_owned()) })
}

impl Server {
    /// Serves a socket.
    pub fn start(socket: Socket, asked: Arc<dyn Asked>) -> io::Result<Self> {
        let Socket { listener, file } = socket;
        listener.set_nonblocking(false)?;
        let stop: Arc<AtomicBool> = Arc::default();
        let told = Arc::clone(&stop);
        let builder = thread::Builder::new().name("control".to_owned());
        let thread = builder.spawn(move || accept(&listener, &asked, &told))?;
        Ok(Self { file, stop, thread })
    }

    /// Takes the socket away. Clients that listen are left.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        // The thread waits for a client: be one.
        _ = UnixStream::connect(&self.file.0);
        _ = self.thread.join();
    }
}

#[expect(clippy::disallowed_methods, reason = "nobody can be served before a descriptor is free")]
fn rest() {
    thread::sleep(Duration::from_millis(50));
}

fn accept(listener: &UnixListener, asked: &Arc<dyn Asked>, stop: &Arc<AtomicBool>) {
    let clients = Arc::new(AtomicUsize::new(0));
    for stream in listener.incoming() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let Ok(mut stream) = stream else {
            // Without a free file descriptor the client would be offered again at once, and again.
            rest();
            continue;
        };
        if clients.fetch_add(1, Ordering::Relaxed) >= MOST_CLIENTS {
            clients.fetch_sub(1, Ordering::Relaxed);
            _ = reply(&mut stream, Err("too many clients"));
            continue;
        }
        let (asked, stop, count) = (Arc::clone(asked), Arc::clone(stop), Arc::clone(&clients));
        let serve = move || {
            _ = serve(stream, asked.as_ref(), &stop);
            count.fetch_sub(1, Ordering::Relaxed);
        };
        if thread::Builder::new().name("client".to_owned()).spawn(serve).is_err() {
            clients.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn serve(mut stream: UnixStream, asked: &dyn Asked, stop: &AtomicBool) -> io::Result<()> {
    stream.set_write_timeout(Some(WRITE_WAIT))?;
    stream.set_read_timeout(Some(WRITE_WAIT))?;
    let mut peer = Peer::of(&stream)?;
    let mut lines = BufReader::new(stream.try_clone()?.take(LONGEST_QUESTION));
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        if line.len() as u64 >= LONGEST_QUESTION {
            return reply(&mut stream, Err("a question has 4095 bytes at the most"));
        }
        match serde_json::from_slice::<Question>(&line) {
            Ok(Question::Events) => return follow(&mut stream, asked, stop),
            Ok(question) => {
                let answer = answer(&question, &mut peer, asked);
                reply(&mut stream, answer.as_ref().map_err(String::as_str))?;
            }
            Err(reason) => reply(&mut stream, Err(&reason.to_string()))?,
        }
        line.clear();
        lines.get_mut().set_limit(LONGEST_QUESTION);
    }
    Ok(())
}

/// The answer to a question. What changes something is logged with who asked, one line each.
fn answer(question: &Question, peer: &mut Peer, asked: &dyn Asked) -> Result<Value, String> {
    if !question.changes() {
        return asked.answer(question, &peer.to_string());
    }
    peer.look_up();
    let who = peer.to_string();
    let allowed = may(question, peer, &asked.rights());
    let answer = allowed.and_then(|()| asked.answer(question, &who));
    match &answer {
        Ok(_) => info!(who, ask = question.name(), "{who} asked: {question}"),
        Err(reason) => {
            let reason = reason.lines().next().unwrap_or_default();
            warn!(who, ask = question.name(), "{who} was refused: {question}; {reason}");
        }
    }
    answer
}

fn reply(stream: &mut UnixStream, answer: Result<&Value, &str>) -> io::Result<()> {
    let answer = Answer { ok: answer.is_ok(), data: answer.ok(), error: answer.err() };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Sends events until the client goes away.
fn follow(stream: &mut UnixStream, asked: &dyn Asked, stop: &AtomicBool) -> io::Result<()> {
    let subscription = asked.hub().subscribe();
    reply(stream, Ok(&Value::Null))?;
    let mut lost_told = 0;
    while !stop.load(Ordering::Relaxed) {
        match subscription.events.recv_timeout(LOOK_EVERY) {
            Ok(event) => stream.write_all(event_line(&event).as_bytes())?,
            Err(RecvTimeoutError::Timeout) if is_gone(stream)? => return Ok(()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let lost = subscription.lost.load(Ordering::Relaxed);
        if lost > lost_told {
            let line = format!("{{\"event\":\"lost\",\"events\":{}}}\n", lost - lost_told);
            stream.write_all(line.as_bytes())?;
            lost_told = lost;
        }
    }
    Ok(())
}

/// Has the client closed its side? It has nothing to say while it listens.
fn is_gone(stream: &mut UnixStream) -> io::Result<bool> {
    stream.set_nonblocking(true)?;
    let answer = stream.read(&mut [0; 64]);
    stream.set_nonblocking(false)?;
    match answer {
        Ok(count) => Ok(count == 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
