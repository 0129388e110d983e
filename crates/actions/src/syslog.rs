//! Syslog: RFC 5424 over UDP (RFC 5426), TCP (RFC 6587) and TLS (RFC 5425); the message in plain
//! words with the facts as structured data, or in CEF for security tools.

#[cfg(test)]
mod tests;

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use crate::message::{Severity, cut, headline, severity};
use crate::report_text::Style;
use crate::tls::{CONNECT, Stream, TlsConfig, connect};
use crate::{Action, ActionError, ActionEvent, ActionKind, Applying, ConfigError};

/// How long the other side may take to close a connection after the last byte.
const CLOSE: Duration = Duration::from_secs(2);
/// Bytes of a message at most: what receivers by UDP should take (RFC 5426 §3.2), and by TCP do.
const MAX_UDP: usize = 2048;
const MAX_STREAM: usize = 8192;
/// Private enterprise number of our structured data: the one for documentation (RFC 5612).
const SD_ID: &str = "ddos@32473";

/// How messages travel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each; nobody says whether it arrived.
    #[default]
    Udp,
    /// TCP.
    Tcp(Framing),
    /// TLS, with octet counting.
    Tls(TlsConfig),
}

/// Where a message ends in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Its length before it (RFC 6587 §3.4.1).
    #[default]
    OctetCounting,
    /// A line end behind it (RFC 6587 §3.4.2).
    LineEnd,
}

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Plain words, and structured data.
    #[default]
    Plain,
    /// Common Event Format, version 0.
    Cef,
}

/// Settings of syslog.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Name in status and logs.
    pub name: String,
    /// Receiver.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How messages travel.
    pub transport: Transport,
    /// What is written.
    pub format: Format,
    /// Facility, 0 to 23; 16 is `local0`.
    pub facility: u8,
    /// Name of this machine in the messages.
    pub hostname: String,
    /// Name of the program in the messages.
    pub app_name: String,
    /// Events that are sent.
    pub events: Vec<ActionKind>,
    /// How addresses are written.
    pub style: Style,
}

impl Config {
    /// All events by UDP.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            name: "syslog".to_owned(),
            host: host.into(),
            port,
            transport: Transport::default(),
            format: Format::default(),
            facility: 16,
            hostname: "-".to_owned(),
            app_name: "tidewall".to_owned(),
            events: ActionKind::ALL.to_vec(),
            style: Style::default(),
        }
    }
}

/// Syslog.
#[derive(Debug)]
pub struct Syslog {
    config: Config,
    tls: Option<Arc<ClientConfig>>,
}

impl Syslog {
    /// Checks the settings.
    pub fn new(config: Config) -> Result<Self, ConfigError> {
        let wrong = |field, message: &str| Err(ConfigError::new(&config.name, field, message));
        if config.facility > 23 {
            return wrong("facility", "must be 0 to 23 (RFC 5424 §6.2.1)");
        }
        let is_name = |text: &str, most| {
            (1..=most).contains(&text.len()) && text.bytes().all(|b| (b'!'..=b'~').contains(&b))
        };
        if !is_name(&config.hostname, 255) {
            return wrong("hostname", "must be 1 to 255 visible ASCII characters");
        }
        if !is_name(&config.app_name, 48) {
            return wrong("app_name", "must be 1 to 48 visible ASCII characters");
        }
        let tls = match &config.transport {
            Transport::Tls(tls) => Some(tls.client(&config.name)?),
            Transport::Udp | Transport::Tcp(_) => None,
        };
        Ok(Self { config, tls })
    }

    /// One message, without framing.
    fn message(&self, event: &ActionEvent) -> String {
        let config = &self.config;
        let level = match severity(event.kind) {
            Severity::Critical => 2,
            Severity::Warning => 4,
            Severity::Info => 6,
        };
        let id = match event.kind {
            ActionKind::Started => "ATTACK-START",
            ActionKind::Updated => "ATTACK-UPDATE",
            ActionKind::Ended => "ATTACK-END",
            ActionKind::Banned => "MITIGATION-ADD",
            ActionKind::Unbanned => "MITIGATION-DEL",
        };
        let (words, data) = match config.format {
            // The byte order mark says that it is UTF-8 (RFC 5424 §6.4).
            Format::Plain => {
                (format!("\u{feff}{}", headline(event, &config.style)), structured(event, config))
            }
            Format::Cef => (cef(event, id, level, config), "-".to_owned()),
        };
        let priority = u16::from(config.facility) * 8 + level;
        let (host, app, pid) = (&config.hostname, &config.app_name, std::process::id());
        let words = words.replace(|c: char| c.is_control(), " ");
        let text = format!("<{priority}>1 {} {host} {app} {pid} {id} {data} {words}", event.time);
        let most = if config.transport == Transport::Udp { MAX_UDP } else { MAX_STREAM };
        cut(&text, most).to_owned()
    }

    async fn send(&self, event: &ActionEvent) -> Result<(), ActionError> {
        let message = self.message(event);
        let framing = match &self.config.transport {
            Transport::Udp => return self.send_datagram(message.as_bytes()).await,
            Transport::Tcp(framing) => *framing,
            Transport::Tls(_) => Framing::OctetCounting,
        };
        let framed = match framing {
            Framing::OctetCounting => format!("{} {message}", message.len()),
            Framing::LineEnd => format!("{message}\n"),
        };
        let stream = connect(&self.config.host, self.config.port, self.tls.as_ref()).await?;
        let failed = |what: &dyn std::fmt::Display| {
            ActionError::temporary(format!("{}: {what}", self.config.host))
        };
        match timeout(CONNECT, deliver(stream, framed.as_bytes())).await {
            Err(_) => Err(failed(&"the message was not taken in time")),
            Ok(sent) => sent.map_err(|error| failed(&error)),
        }
    }

    async fn send_datagram(&self, message: &[u8]) -> Result<(), ActionError> {
        let host = &self.config.host;
        let failed = |error: std::io::Error| ActionError::temporary(format!("{host}: {error}"));
        let looked_up = timeout(CONNECT, lookup_host((host.as_str(), self.config.port))).await;
        let Ok(addresses) = looked_up else {
            return Err(ActionError::temporary(format!("{host}: no answer of the name service")));
        };
        let Some(to) = addresses.map_err(failed)?.next() else {
            return Err(ActionError::temporary(format!("{host}: has no address")));
        };
        let any: SocketAddr = match to {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let socket = UdpSocket::bind(any).await.map_err(failed)?;
        socket.send_to(message, to).await.map(drop).map_err(failed)
    }
}

impl Action for Syslog {
    fn name(&self) -> &str {
        &self.config.name
    }

    fn wants(&self, event: &ActionEvent) -> bool {
        self.config.events.contains(&event.kind)
    }

    fn apply<'a>(&'a self, event: &'a ActionEvent) -> Applying<'a> {
        Box::pin(self.send(event))
    }
}

/// Syslog has no answers: a connection for each message, closed from our side first, at least shows
/// whether the other side had gone. Attacks are rare enough for it.
async fn deliver(mut stream: Box<dyn Stream>, message: &[u8]) -> std::io::Result<()> {
    stream.write_all(message).await?;
    stream.shutdown().await?;
    let mut ignored = [0; 256];
    let closed = async {
        while stream.read(&mut ignored).await? > 0 {}
        Ok::<(), std::io::Error>(())
    };
    match timeout(CLOSE, closed).await {
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(()),
        Ok(closed) => closed,
        // It keeps the connection, and has not refused the message.
        Err(_) => Ok(()),
    }
}

/// The facts as RFC 5424 §6.3 has them.
fn structured(event: &ActionEvent, config: &Config) -> String {
    let mut data = format!("[{SD_ID}");
    for (name, value) in values(event, &config.style) {
        let escaped: String = (value.chars())
            .flat_map(|c| {
                let slash = matches!(c, '"' | '\\' | ']').then_some('\\');
                slash.into_iter().chain([if c.is_control() { ' ' } else { c }])
            })
            .collect();
        _ = write!(data, " {name}=\"{escaped}\"");
    }
    data + "]"
}

fn values(event: &ActionEvent, style: &Style) -> [(&'static str, String); 12] {
    let (attack, reason) = (&event.attack, &event.attack.reason);
    [
        ("uuid", event.attack_uuid()),
        ("target", style.target(&attack.target)),
        ("direction", attack.direction.name().to_owned()),
        ("class", attack.class.name().to_owned()),
        ("metric", reason.metric.to_string()),
        ("value", format!("{:.0}", reason.value)),
        ("limit", format!("{:.0}", reason.limit)),
        ("group", cut(&reason.group, 200).to_owned()),
        ("pps", event.power().to_string()),
        ("bps", attack.rates.total.bytes.saturating_mul(8).to_string()),
        ("peak_pps", attack.peak_pps.to_string()),
        ("manual", event.manual.to_string()),
    ]
}

/// `CEF:0|vendor|product|version|id|name|severity|key=value ...`
fn cef(event: &ActionEvent, id: &str, level: u16, config: &Config) -> String {
    // In the header a bar would end a field, in the rest an equals sign would begin one.
    let header = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|");
    let value = |text: &str| text.replace('\\', "\\\\").replace('=', "\\=");
    let severity = match level {
        2 => 10,
        4 => 6,
        _ => 3,
    };
    let name = headline(event, &config.style);
    let version = env!("CARGO_PKG_VERSION");
    let mut text =
        format!("CEF:0|Tidewall|Tidewall|{version}|{id}|{}|{severity}|", header(cut(&name, 400)));
    let attack = &event.attack;
    let (target, remote) = (config.style.target(&attack.target), attack.top.remotes.first());
    let (ours, theirs) = match attack.direction {
        tidewall_model::Direction::Outgoing => ("src", "dst"),
        _ => ("dst", "src"),
    };
    let place = if event.host().is_some() { ours } else { "destinationServiceName" };
    let mut fields = vec![
        ("rt", (event.time.0 / 1_000_000).to_string()),
        ("externalId", event.attack_uuid()),
        ("act", event.kind.verb().to_owned()),
        (place, target),
        ("cat", attack.class.name().to_owned()),
        ("cn1Label", "pps".to_owned()),
        ("cn1", event.power().to_string()),
        ("cn2Label", "peakPps".to_owned()),
        ("cn2", attack.peak_pps.to_string()),
        ("cs1Label", "group".to_owned()),
        ("cs1", cut(&attack.reason.group, 200).to_owned()),
    ];
    if let Some(remote) = remote {
        fields.push((theirs, remote.value.clone()));
    }
    let fields: Vec<String> =
        fields.iter().map(|(key, text)| format!("{key}={}", value(text))).collect();
    text.push_str(&fields.join(" "));
    text
}
