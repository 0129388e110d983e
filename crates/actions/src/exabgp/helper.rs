//! What ExaBGP starts as its process: hands the lines of the service's socket to ExaBGP and
//! ExaBGP's answers, which come in order, back. It never ends while ExaBGP runs: ExaBGP stops for
//! good when a process of its ends too often.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use super::process::{BUSY, DONE, ERROR, HELLO, WITH_ANSWERS, WITHOUT_ANSWERS, WRITTEN};
use super::text::MAX_LINE;

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_secs(1);
/// Events that wait; whoever has more waits too.
const EVENTS: usize = 16;
/// Octets of a line of ExaBGP that may be an answer; longer ones are something else.
const MAX_ANSWER: usize = 64;

enum Event {
    /// ExaBGP answers.
    Answer(&'static str),
    /// ExaBGP has gone.
    End,
    /// A line of the service, by the connection of this number.
    Line(u64, String),
    /// The connection of this number is over.
    Closed(u64),
}

struct Helper<O> {
    events: Receiver<Event>,
    sender: SyncSender<Event>,
    output: O,
    /// Answers that will come to lines of connections that are over.
    stale: u64,
    connections: u64,
    /// What was said last about the connection.
    said: String,
}

/// Runs until ExaBGP closes `input`, which are its answers; `output` is what it reads.
pub fn run<I, O>(socket: &Path, input: I, output: O) -> io::Result<()>
where
    I: Read + Send + 'static,
    O: Write,
{
    let (sender, events) = sync_channel(EVENTS);
    let answers = sender.clone();
    thread::Builder::new().name("answers".into()).spawn(move || hear_exabgp(input, &answers))?;
    let mut helper =
        Helper { events, sender, output, stale: 0, connections: 0, said: String::new() };
    loop {
        let words = match UnixStream::connect(socket) {
            Ok(stream) => match helper.serve(stream)? {
                Served::End => return Ok(()),
                Served::Left(words) => words,
            },
            Err(error) => error.to_string(),
        };
        helper.say(&format!("{}: {words}", socket.display()));
        if helper.pause() {
            return Ok(());
        }
    }
}

enum Served {
    /// ExaBGP has gone.
    End,
    /// The connection is over.
    Left(String),
}

impl<O: Write> Helper<O> {
    /// One connection. An error means that ExaBGP does not read us any more.
    fn serve(&mut self, stream: UnixStream) -> io::Result<Served> {
        self.connections += 1;
        let (number, sender) = (self.connections, self.sender.clone());
        let (mut back, reading) = match (stream.try_clone(), writeln_to(&stream, HELLO)) {
            (Ok(back), Ok(())) => (back, stream),
            (Err(error), _) | (_, Err(error)) => return Ok(Served::Left(error.to_string())),
        };
        thread::Builder::new()
            .name("lines".into())
            .spawn(move || hear_service(reading, number, &sender))?;
        let served = self.talk(&mut back, number);
        // Ends the thread that reads.
        let _ = back.shutdown(Shutdown::Both);
        served
    }

    fn talk(&mut self, back: &mut UnixStream, number: u64) -> io::Result<Served> {
        // Lines that ExaBGP is to answer, for this connection.
        let (mut answers, mut asked) = (None, 0);
        loop {
            let event = self.events.recv();
            let reply = match event {
                Err(_) | Ok(Event::End) => return Ok(Served::End),
                Ok(Event::Answer(answer)) => self.owed(answer, &mut asked),
                Ok(Event::Closed(of)) if of == number => {
                    self.stale += asked;
                    return Ok(Served::Left("the service has closed the connection".to_owned()));
                }
                Ok(Event::Line(of, line)) if of == number => match (answers, line.as_str()) {
                    (None, WITH_ANSWERS) => {
                        answers = Some(true);
                        self.say("connected");
                        None
                    }
                    (None, WITHOUT_ANSWERS) => {
                        answers = Some(false);
                        self.say("connected; ExaBGP's answers are not waited for");
                        None
                    }
                    (None, BUSY) => {
                        return Ok(Served::Left("another helper is connected already".to_owned()));
                    }
                    (None, _) => return Ok(Served::Left("this is not the service".to_owned())),
                    (Some(expected), line) => {
                        self.output.write_all(line.as_bytes())?;
                        self.output.write_all(b"\n")?;
                        self.output.flush()?;
                        asked += u64::from(expected);
                        (!expected).then_some(WRITTEN)
                    }
                },
                // Of a connection before.
                Ok(Event::Line(..) | Event::Closed(_)) => None,
            };
            if let Some(reply) = reply
                && let Err(error) = writeln_to(back, reply)
            {
                self.stale += asked;
                return Ok(Served::Left(error.to_string()));
            }
        }
    }

    /// The answer, when it is one to a line of this connection.
    fn owed(&mut self, answer: &'static str, asked: &mut u64) -> Option<&'static str> {
        if self.stale > 0 {
            self.stale -= 1;
            return None;
        }
        let is_asked = *asked > 0;
        *asked = asked.saturating_sub(1);
        is_asked.then_some(answer)
    }

    /// Waits before the next attempt; `true`: ExaBGP has gone.
    fn pause(&mut self) -> bool {
        loop {
            match self.events.recv_timeout(RETRY) {
                Ok(Event::End) | Err(RecvTimeoutError::Disconnected) => return true,
                Ok(Event::Answer(answer)) => drop(self.owed(answer, &mut 0)),
                Ok(Event::Line(..) | Event::Closed(_)) => {}
                Err(RecvTimeoutError::Timeout) => return false,
            }
        }
    }

    /// On standard error, which ExaBGP passes on; the same is said once.
    fn say(&mut self, words: &str) {
        if self.said != words {
            words.clone_into(&mut self.said);
            // Nobody may be left to hear it.
            let _ = writeln!(io::stderr(), "tidewall exabgp-helper: {words}");
        }
    }
}

fn writeln_to(mut stream: &UnixStream, line: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\n").as_bytes())
}

/// Answers are `done` and `error`; whatever else ExaBGP tells its processes is passed over.
fn hear_exabgp(input: impl Read, events: &SyncSender<Event>) {
    let mut input = BufReader::new(input);
    loop {
        let line = match line(&mut input, MAX_ANSWER) {
            Ok(Heard::Line(line)) => line,
            Ok(Heard::Noise) => continue,
            Ok(Heard::End) | Err(_) => break,
        };
        let answer = match line.trim() {
            DONE => DONE,
            ERROR => ERROR,
            _ => continue,
        };
        if events.send(Event::Answer(answer)).is_err() {
            return;
        }
    }
    // The receiver is gone only when the helper ends anyway.
    let _ = events.send(Event::End);
}

fn hear_service(stream: UnixStream, number: u64, events: &SyncSender<Event>) {
    let mut stream = BufReader::new(stream);
    while let Ok(Heard::Line(line)) = line(&mut stream, MAX_LINE) {
        if events.send(Event::Line(number, line)).is_err() {
            return;
        }
    }
    let _ = events.send(Event::Closed(number));
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// Without its end.
    Line(String),
    /// A line that is too long, or no text.
    Noise,
    End,
}

/// The next line; nothing longer is kept.
fn line(input: &mut impl BufRead, longest: usize) -> io::Result<Heard> {
    let mut line = Vec::new();
    let limit = longest as u64;
    if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(Heard::End);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(String::from_utf8(line).map_or(Heard::Noise, Heard::Line));
    }
    // The rest of it, or of what was cut by the end.
    input.skip_until(b'\n')?;
    Ok(Heard::Noise)
}

#[cfg(test)]
mod tests;
