//! The client's side: one question, one answer, and events behind it.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use super::Question;

/// An answer is waited for so long.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// A connection to a running service.
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The service is not there, or does not let us in.
    #[error("{path}: {reason}; is `tidewall run` running, and may you use its socket?")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The system's answer.
        reason: io::Error,
    },
    /// The connection broke.
    #[error("{path}: {reason}")]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        reason: io::Error,
    },
    /// The service says no.
    #[error("{0}")]
    Refused(String),
}

impl Client {
    /// Connects to the service at a socket.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path)
            .and_then(|stream| {
                stream.set_read_timeout(Some(ANSWER_WAIT))?;
                stream.set_write_timeout(Some(ANSWER_WAIT))?;
                Ok(stream)
            })
            .map_err(|reason| ClientError::Connect { path: path.to_owned(), reason })?;
        Ok(Self { path: path.to_owned(), stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, question: &Question) -> Result<Value, ClientError> {
        let answer = self.exchange(question).map_err(|reason| self.broken(reason))?;
        if answer["ok"] == true {
            return Ok(answer.get("data").cloned().unwrap_or_default());
        }
        let reason = answer.get("error").and_then(Value::as_str).unwrap_or("no reason");
        Err(ClientError::Refused(reason.to_owned()))
    }

    /// The next event after [`Question::Events`], as it was sent; `None` when the service ended.
    pub fn next_event(&mut self) -> Result<Option<String>, ClientError> {
        let mut line = String::new();
        let read = self
            .stream
            .get_ref()
            .set_read_timeout(None)
            .and_then(|()| self.stream.read_line(&mut line))
            .map_err(|reason| self.broken(reason))?;
        Ok((read > 0).then_some(line))
    }

    fn exchange(&mut self, question: &Question) -> io::Result<Value> {
        let mut line = serde_json::to_vec(question)?;
        line.push(b'\n');
        self.stream.get_mut().write_all(&line)?;
        let mut answer = String::new();
        if self.stream.read_line(&mut answer)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the service hung up"));
        }
        Ok(serde_json::from_str(&answer)?)
    }

    fn broken(&self, reason: io::Error) -> ClientError {
        ClientError::Broken { path: self.path.clone(), reason }
    }
}
