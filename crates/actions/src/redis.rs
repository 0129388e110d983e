//! Redis: the keys and values that the reference writes, or a shape that can be queried; with
//! login, TLS, time limits and expiry. It speaks the protocol itself: a handful of commands over
//! one connection for each event, so a server that comes back is found at once.

#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::timeout;

use crate::report_text::{Generation, Style};
use crate::tls::{Stream, TlsConfig, connect};
use crate::{
    Action, ActionError, ActionEvent, ActionKind, Applying, ConfigError, Secret, report_json,
};

/// Longest answer line that is read, in bytes.
const MAX_LINE: u64 = 1024;

/// Which keys are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// `[prefix_]<ip>_information`, `[prefix_]<ip>_flow_dump` and, in the generation 1.2.4,
    /// `[prefix_]<ip>_packets_dump`; at a ban only, and each overwrites the one before.
    #[default]
    Reference,
    /// `[prefix_]attack:<uuid>` with the newest document of each attack, and sorted sets of uuids
    /// by the time of detection: `[prefix_]attacks`, and `[prefix_]attacks:<target>`.
    Queryable,
}

/// Settings of Redis.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name in status and logs.
    pub name: String,
    /// Server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Put before each key with a line below; may be empty.
    pub prefix: String,
    /// User and password; an empty user for servers that know passwords only.
    pub login: Option<(String, Secret)>,
    /// Number of the database.
    pub database: u32,
    /// TLS.
    pub tls: Option<TlsConfig>,
    /// Which keys.
    pub shape: Shape,
    /// Keys vanish after this many seconds; 0: never.
    pub expire_seconds: u64,
    /// Time for all commands of an event.
    pub timeout: Duration,
    /// How reports are written.
    pub style: Style,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "redis".to_owned(),
            host: "127.0.0.1".to_owned(),
            port: 6379,
            prefix: String::new(),
            login: None,
            database: 0,
            tls: None,
            shape: Shape::default(),
            expire_seconds: 0,
            timeout: Duration::from_secs(5),
            style: Style::default(),
        }
    }
}

/// Redis.
#[derive(Debug)]
pub struct Redis {
    config: Config,
    tls: Option<Arc<ClientConfig>>,
}

/// Words of a command.
pub(crate) type Command = Vec<Vec<u8>>;

impl Redis {
    /// Checks the settings.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        if config.timeout.is_zero() {
            return Err(ConfigError::new(&config.name, "timeout", "must be above zero"));
        }
        let tls = match &config.tls {
            Some(tls) => Some(tls.client(&config.name)?),
            None => None,
        };
        Ok(Self { config, tls })
    }

    fn key(&self, name: &dyn Display) -> Vec<u8> {
        match self.config.prefix.as_str() {
            "" => name.to_string(),
            prefix => format!("{prefix}_{name}"),
        }
        .into_bytes()
    }

    fn set(&self, key: Vec<u8>, value: String) -> Command {
        let mut command = vec![b"SET".to_vec(), key, value.into_bytes()];
        if self.config.expire_seconds > 0 {
            command.push(b"EX".to_vec());
            command.push(self.config.expire_seconds.to_string().into_bytes());
        }
        command
    }

    /// What an event comes to. Repeating it changes nothing.
    pub(crate) fn commands(&self, event: &ActionEvent) -> Vec<Command> {
        let style = &self.config.style;
        let target = style.target(&event.attack.target);
        let document = report_json::to_json(event, style);
        if self.config.shape == Shape::Queryable {
            return self.queryable(event, &target, document);
        }
        let mut commands = vec![self.set(self.key(&format!("{target}_information")), document)];
        let flows = style.flow_dump(event);
        if !flows.is_empty() {
            commands.push(self.set(self.key(&format!("{target}_flow_dump")), flows));
        }
        if style.generation == Generation::V1_2_4 && !event.attack.samples.is_empty() {
            let details = style.details(event);
            commands.push(self.set(self.key(&format!("{target}_packets_dump")), details));
        }
        commands
    }

    fn queryable(&self, event: &ActionEvent, target: &str, document: String) -> Vec<Command> {
        let uuid = event.attack_uuid();
        let score = format!("{:.3}", event.attack.detected.as_secs_f64());
        let mut commands = vec![self.set(self.key(&format!("attack:{uuid}")), document)];
        for set in [self.key(&"attacks"), self.key(&format!("attacks:{target}"))] {
            let words = [b"ZADD".to_vec(), set.clone(), score.clone().into(), uuid.clone().into()];
            commands.push(words.into());
            if self.config.expire_seconds > 0 {
                let seconds = self.config.expire_seconds.to_string().into_bytes();
                let age = Duration::from_secs(self.config.expire_seconds);
                let gone = format!("({:.3}", (event.time - age).as_secs_f64()).into_bytes();
                let (from, end) = (b"-inf".to_vec(), set.clone());
                commands.push(vec![b"ZREMRANGEBYSCORE".to_vec(), set, from, gone]);
                commands.push(vec![b"EXPIRE".to_vec(), end, seconds]);
            }
        }
        commands
    }

    async fn store(&self, event: &ActionEvent) -> Result<(), ActionError> {
        let config = &self.config;
        let stream = connect(&config.host, config.port, self.tls.as_ref()).await?;
        let talked = timeout(config.timeout, self.talk(stream, event)).await;
        talked.unwrap_or_else(|_| {
            let limit = config.timeout.as_secs_f64();
            let message = format!("{}: no answer within {limit} s", config.host);
            Err(ActionError::temporary(message))
        })
    }

    async fn talk(&self, stream: Box<dyn Stream>, event: &ActionEvent) -> Result<(), ActionError> {
        let mut commands: Vec<Command> = Vec::new();
        if let Some((user, password)) = &self.config.login {
            let mut login = vec![b"AUTH".to_vec()];
            if !user.is_empty() {
                login.push(user.clone().into_bytes());
            }
            login.push(password.expose().as_bytes().to_vec());
            commands.push(login);
        }
        if self.config.database > 0 {
            let number = self.config.database.to_string().into_bytes();
            commands.push(vec![b"SELECT".to_vec(), number]);
        }
        commands.extend(self.commands(event));
        let lost = |error: std::io::Error| {
            ActionError::temporary(format!("{}: {error}", self.config.host))
        };
        let mut stream = BufReader::new(stream);
        for command in commands {
            stream.write_all(&encoded(&command)).await.map_err(lost)?;
            stream.flush().await.map_err(lost)?;
            let answer = line(&mut stream).await.map_err(lost)?;
            // `+OK`, or `:1` with the number of changes; we send nothing that answers otherwise.
            if let Some(text) = answer.strip_prefix('-') {
                let name = String::from_utf8_lossy(command.first().map_or(b"", Vec::as_slice));
                return Err(refused(&self.config.host, &name, text));
            }
            if !answer.starts_with(['+', ':']) {
                let message = format!("{}: does not speak Redis: {answer:?}", self.config.host);
                return Err(ActionError::permanent(message));
            }
        }
        Ok(())
    }
}

impl Action for Redis {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn wants(&self, event: &ActionEvent) -> bool {
        match self.config.shape {
            Shape::Reference => event.kind == ActionKind::Banned && event.host().is_some(),
            Shape::Queryable => true,
        }
    }

    fn apply<'a>(&'a self, event: &'a ActionEvent) -> Applying<'a> {
        Box::pin(self.store(event))
    }
}

/// A command as an array of bulk strings.
fn encoded(command: &Command) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for word in command {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend_from_slice(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// One line of an answer, without its end.
async fn line(stream: &mut BufReader<Box<dyn Stream>>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    stream.take(MAX_LINE).read_until(b'\n', &mut bytes).await?;
    if bytes.last() != Some(&b'\n') {
        let message = if bytes.is_empty() { "it closed the connection" } else { "cut answer" };
        return Err(std::io::Error::new(std::io::ErrorKind::UnexpectedEof, message));
    }
    Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned())
}

/// A server that starts, has lost its master or its disk may take it later; a wrong password stays
/// wrong.
fn refused(host: &str, command: &str, text: &str) -> ActionError {
    let message = format!("{host}: {command}: {text}");
    let word = text.split(' ').next().unwrap_or_default();
    match word {
        "LOADING" | "READONLY" | "MASTERDOWN" | "MISCONF" | "OOM" | "CLUSTERDOWN" | "TRYAGAIN"
        | "BUSY" | "NOREPLICAS" => ActionError::temporary(message),
        // "ERR max number of clients reached"
        "ERR" if text.contains("max number of clients") => ActionError::temporary(message),
        _ => ActionError::permanent(message),
    }
}
