//! Lines of the log as messages to this machine's syslog (RFC 3164 over its socket), on the thread
//! that writes them. It never waits: what the socket has no room for is lost there, and stands on
//! standard error at any rate.

use std::fmt::{Debug, Write};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where syslog listens.
pub(super) const SOCKET: &str = "/dev/log";

/// The facility `user`, which FastNetMon has.
const FACILITY: u8 = 1;
/// Bytes of a message at most.
const LONGEST: usize = 8192;

/// Sends every line of the log.
pub(super) struct LocalSyslog {
    socket: UnixDatagram,
    path: PathBuf,
}

impl LocalSyslog {
    /// Will send to this socket, which is there.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        path.metadata()?;
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned() })
    }
}

impl<S: Subscriber> Layer<S> for LocalSyslog {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let message = message(*event.metadata().level(), &line);
        // By its path each time: syslog may have been restarted. There is nowhere to tell an error.
        _ = self.socket.send_to(message.as_bytes(), &self.path);
    }
}

/// A message. The time is left out: syslog puts its own there, in its own time zone.
fn message(level: Level, line: &Line) -> String {
    let severity = match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    };
    let priority = FACILITY * 8 + severity;
    let text: String = line.text.chars().chain(line.fields.chars()).map(printable).collect();
    let mut message = format!("<{priority}>tidewall[{}]: {text}", std::process::id());
    message.truncate(message.floor_char_boundary(LONGEST));
    message
}

fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

/// The words of a line, and its other fields behind them.
#[derive(Default)]
struct Line {
    text: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // Writing to a string does not fail.
        _ = match field.name() {
            "message" => write!(self.text, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::registry;

    use super::*;

    #[test]
    fn lines_arrive_also_after_a_restart_of_syslog() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert!(LocalSyslog::open(&path).is_err(), "nobody is there");
        let listen = || {
            let socket = UnixDatagram::bind(&path).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        };
        let heard = |socket: &UnixDatagram| {
            let mut buffer = [0; 2 * LONGEST];
            let length = socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        };
        let mut syslog = listen();
        let subscriber = registry().with(LocalSyslog::open(&path).unwrap());
        let id = std::process::id();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(attack = 7, "attack: {} is under attack", "192.0.2.1");
            let wanted = format!("<12>tidewall[{id}]: attack: 192.0.2.1 is under attack attack=7");
            assert_eq!(heard(&syslog), wanted);
            tracing::error!("two\nlines\u{1b}[31m");
            assert_eq!(heard(&syslog), format!("<11>tidewall[{id}]: two lines [31m"));
            std::fs::remove_file(&path).unwrap();
            tracing::info!("nobody hears it");
            syslog = listen();
            tracing::info!("{}", "é".repeat(LONGEST));
            let long = heard(&syslog);
            assert!(long.starts_with("<14>") && long.ends_with('é') && long.len() > LONGEST - 2);
            // Whoever does not read holds up nobody.
            for number in 0..10_000 {
                tracing::debug!("{number}");
            }
            assert_eq!(heard(&syslog), format!("<15>tidewall[{id}]: 0"));
        });
    }
}
