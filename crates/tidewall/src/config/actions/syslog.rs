//! `[[syslog]]`.

use tidewall_actions::syslog::{self, Format, Framing, Transport};
use tidewall_actions::{ActionKind, Config};
use toml::de::DeValue;

use super::super::listen::Text;
use super::super::sink::Sink;
use super::super::table::{FromToml, Place, Typed, table};
use super::super::value::{Name, within, word};
use super::tls::{self, TlsTable};
use super::{ActionTable, Workshop};

table! {
    /// Syslog (RFC 5424).
    struct SyslogTable {
        /// Its name in status and logs.
        #[example = "\"siem\""]
        name: Name,

        /// The receiver.
        #[example = "\"syslog.example.net\""]
        host: Text,

        /// Its port. Left out, 514, and 6514 with "tls".
        #[example = "1514"]
        port: u32,

        /// How messages travel: "udp", "tcp", "tcp_lines" (a line end behind each, instead of its
        /// length before it), or "tls".
        #[default = "\"udp\""]
        #[example = "\"tls\""]
        transport: Travel,

        /// What is written: "plain" words with structured data, or "cef".
        #[default = "\"plain\""]
        #[example = "\"cef\""]
        format: Format,

        /// Facility, from 0 to 23; 16 is local0.
        #[default = "16"]
        #[example = "20"]
        facility: u32,

        /// Name of this machine in the messages. Left out, "-".
        #[example = "\"detector\""]
        hostname: Text,

        /// Name of the program in the messages.
        #[default = "\"tidewall\""]
        #[example = "\"ddos\""]
        app_name: Text,

        /// Events that are sent.
        #[default = "[\"started\", \"banned\", \"updated\", \"ended\", \"unbanned\"]"]
        #[example = "[\"banned\", \"unbanned\"]"]
        events: Vec<Typed<ActionKind>>,

        tls: TlsTable,
    }
}

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Travel {
    Udp,
    Tcp,
    TcpLines,
    Tls,
}

impl FromToml for Travel {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let words = [
            ("udp", Self::Udp),
            ("tcp", Self::Tcp),
            ("tcp_lines", Self::TcpLines),
            ("tls", Self::Tls),
        ];
        word(value, &words, at, sink)
    }
}

impl FromToml for Format {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        word(value, &[("plain", Self::Plain), ("cef", Self::Cef)], at, sink)
    }
}

impl ActionTable for SyslogTable {
    fn name(&self) -> Option<&Typed<Name>> {
        self.name.as_ref()
    }

    fn config(&self, at: &Place, workshop: &mut Workshop<'_>) -> Option<Config> {
        let host = workshop.needed(self.host.as_ref(), "host", "\"syslog.example.net\"", at)?;
        let Workshop { style, sink, .. } = workshop;
        let travel = self.transport.as_ref().map_or(Travel::Udp, |typed| typed.value);
        if let Some(table) = self.tls.as_ref().filter(|_| travel != Travel::Tls) {
            let reason = "it does nothing with this transport";
            sink.warn(&table.at, reason, "set `transport = \"tls\"`, or remove the table");
        }
        let transport = match travel {
            Travel::Udp => Transport::Udp,
            Travel::Tcp => Transport::Tcp(Framing::OctetCounting),
            Travel::TcpLines => Transport::Tcp(Framing::LineEnd),
            Travel::Tls => Transport::Tls(tls::tls(self.tls.as_ref(), sink)),
        };
        let usual_port = if travel == Travel::Tls { 6514 } else { 514 };
        let usual = syslog::Config::new(&*host.0, tls::port(self.port.as_ref(), usual_port, sink));
        let range = 0..=23;
        let facility = usual.facility.into();
        let plain = |typed: &Option<Typed<Text>>, usual: &String| {
            typed.as_ref().map_or_else(|| usual.clone(), |typed| typed.value.0.clone())
        };
        Some(Config::Syslog(syslog::Config {
            transport,
            format: self.format.as_ref().map_or(usual.format, |typed| typed.value),
            facility: within(self.facility.as_ref(), &range, "0 to 23", facility, sink) as u8,
            hostname: plain(&self.hostname, &usual.hostname),
            app_name: plain(&self.app_name, &usual.app_name),
            events: Workshop::events(self.events.as_ref(), usual.events.clone()),
            style: style.clone(),
            ..usual
        }))
    }
}
