//! TLS towards a server, and time limits: what several actions share.

use std::path::PathBuf;
use std::time::Duration;

use tidewall_actions::{HttpConfig, TlsConfig};

use super::super::listen::Text;
use super::super::sink::Sink;
use super::super::table::{Typed, table};
use super::super::value::within;

table! {
    /// TLS. Certificates are always checked: against the machine's authorities, or the given ones.
    /// An empty table will do.
    struct TlsTable {
        /// PEM file of the authorities that are believed, and no others.
        #[example = "\"/etc/tidewall/ca.pem\""]
        ca_file: Text,

        /// PEM file of our own certificate and its chain, for servers that ask for one.
        #[example = "\"/etc/tidewall/client.pem\""]
        certificate_file: Text,

        /// PEM file of its key.
        #[example = "\"/etc/tidewall/client.key\""]
        key_file: Text,
    }
}

impl TlsTable {
    /// What it means.
    pub(super) fn resolve(&self, sink: &mut Sink) -> TlsConfig {
        let path = |typed: &Option<Typed<Text>>| typed.as_ref().map(|t| PathBuf::from(&t.value.0));
        let identity = match (path(&self.certificate_file), path(&self.key_file)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                if let Some(typed) = self.certificate_file.as_ref().or(self.key_file.as_ref()) {
                    let reason = "a certificate needs its key, and a key its certificate";
                    let fix = "add `certificate_file` and `key_file`; both may be one file";
                    sink.error_fix(&typed.at, reason, fix);
                }
                None
            }
        };
        TlsConfig { ca_file: path(&self.ca_file), identity }
    }
}

/// TLS where there is a table for it, or the defaults.
pub(super) fn tls(typed: Option<&Typed<TlsTable>>, sink: &mut Sink) -> TlsConfig {
    typed.map_or_else(TlsConfig::default, |typed| typed.value.resolve(sink))
}

/// A time limit of an action.
pub(super) fn timeout(
    typed: Option<&Typed<Duration>>,
    default: Duration,
    sink: &mut Sink,
) -> Duration {
    let range = Duration::from_millis(100)..=Duration::from_mins(10);
    within(typed, &range, "100ms to 10min", default, sink)
}

/// Settings of an HTTP client.
pub(super) fn http(
    limit: Option<&Typed<Duration>>,
    proxy: Option<&Typed<Text>>,
    tls_table: Option<&Typed<TlsTable>>,
    sink: &mut Sink,
) -> HttpConfig {
    HttpConfig {
        timeout: timeout(limit, HttpConfig::default().timeout, sink),
        proxy: proxy.map(|typed| typed.value.0.clone()),
        tls: tls(tls_table, sink),
    }
}

/// A port, or 0 for the usual one.
pub(super) fn port(typed: Option<&Typed<u32>>, default: u16, sink: &mut Sink) -> u16 {
    within(typed, &(1..=u32::from(u16::MAX)), "1 to 65535", default.into(), sink) as u16
}

/// How long stores keep things, in seconds; 0: for ever.
pub(super) fn expire(typed: Option<&Typed<Duration>>, sink: &mut Sink) -> u64 {
    let range = Duration::ZERO..=Duration::from_hours(3660 * 24);
    within(typed, &range, "0s (for ever) to 3660d", Duration::ZERO, sink).as_secs()
}
