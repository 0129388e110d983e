//! `[listen]`: where the service waits for export datagrams.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use tidewall_model::Prefix;
use toml::de::DeValue;

use super::sink::Sink;
use super::table::{FromToml, Place, Typed, table};
use super::value::{found, within, word};

table! {
    /// Where `tidewall run` waits for the datagrams of exporters. An empty list turns a protocol off.
    struct ListenTable {
        /// UDP addresses for sFlow. "[::]:6343" takes IPv4 too; a port alone means all addresses.
        #[default = "[\"[::]:6343\"]"]
        #[example = "[\"192.0.2.1:6343\", \"[2001:db8::1]:6343\"]"]
        sflow: Vec<Typed<UdpAddress>>,

        /// UDP addresses for NetFlow v5, v9 and IPFIX, which are told apart by their version.
        #[default = "[\"[::]:2055\", \"[::]:4739\"]"]
        #[example = "[\"192.0.2.1:2055\"]"]
        netflow: Vec<Typed<UdpAddress>>,

        /// Threads for each address, from 1 to 64. The kernel spreads datagrams over them; NetFlow
        /// v9 and IPFIX of one exporter stay together, because of their templates.
        #[default = "1"]
        #[example = "2"]
        workers: u32,

        /// Bytes that the kernel keeps for each thread while it is busy.
        #[default = "\"32M\""]
        #[example = "\"128M\""]
        receive_buffer: u32,

        /// Device or VRF that the sockets are bound to. Left out, none.
        #[example = "\"mgmt\""]
        interface: Text,

        /// Exporters whose datagrams are taken; all others are counted and dropped. Left empty,
        /// everyone's are taken, and anyone who reaches the port can invent traffic.
        #[default = "[]"]
        #[example = "[\"192.0.2.0/28\", \"2001:db8:1::/64\"]"]
        allow: Vec<Typed<Prefix>>,
    }
}

table! {
    /// How `tidewall run` lives on the machine.
    struct ServiceTable {
        /// The socket that `tidewall status` and its like talk to. Its group may talk too.
        #[default = "\"/run/tidewall/control.sock\""]
        #[example = "\"/run/tidewall/edge1.sock\""]
        control: Text,

        /// Where the journal (bans, the history of attacks) and templates of NetFlow v9 and IPFIX
        /// are kept over a restart. Left out, nowhere.
        #[example = "\"/var/lib/tidewall\""]
        state: Text,

        /// The user that the service becomes once its sockets are open. Left out, it stays who it
        /// is.
        #[example = "\"tidewall\""]
        user: Text,

        /// Bind each worker to a CPU of its own: true for those that the service may use, in turn,
        /// or a list of them, where the first worker has the first one. False leaves it to the
        /// system, which is better wherever other programs want the same CPUs.
        #[default = "false"]
        #[example = "[2, 3]"]
        pin_workers: Pinning,

        /// Which lines the log has: "info", or "debug" for what is done at every step, too.
        #[default = "\"info\""]
        #[example = "\"debug\""]
        log_level: LogLevel,

        /// Send the lines of the log to this machine's syslog, too (/dev/log). Under systemd the
        /// journal has them at any rate, and would have them twice.
        #[default = "false"]
        #[example = "true"]
        local_syslog: bool,

        /// A file for the number of the process. Left out, none.
        #[example = "\"/run/tidewall/tidewall.pid\""]
        pid_file: Text,

        /// True: a service that is told to end withdraws its routes first. False: it leaves them
        /// where they are, and the next start takes over.
        #[default = "false"]
        #[example = "true"]
        withdraw_on_stop: bool,
    }
}

/// Where the service waits for datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// For sFlow.
    pub sflow: Vec<SocketAddr>,
    /// For NetFlow and IPFIX.
    pub netflow: Vec<SocketAddr>,
    /// Threads for each address.
    pub workers: usize,
    /// Bytes the kernel is to keep for each socket.
    pub receive_buffer: usize,
    /// Device or VRF.
    pub interface: Option<String>,
    /// Exporters that are allowed; empty: all.
    pub allow: Vec<Prefix>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            sflow: vec![any(6343)],
            netflow: vec![any(2055), any(4739)],
            workers: 1,
            receive_buffer: 32_000_000,
            interface: None,
            allow: Vec::new(),
        }
    }
}

/// How the service lives on the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The control socket.
    pub control: PathBuf,
    /// Folder for what outlives a restart.
    pub state: Option<PathBuf>,
    /// The user to become.
    pub user: Option<String>,
    /// File for the process's number.
    pub pid_file: Option<PathBuf>,
    /// The CPUs that workers are bound to.
    pub pinning: Pinning,
    /// Which lines the log has.
    pub log_level: LogLevel,
    /// Does this machine's syslog have them, too?
    pub local_syslog: bool,
}

/// Which lines the log has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// What happens.
    #[default]
    Info,
    /// Every step, too.
    Debug,
}

/// Which CPUs workers are bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pinning {
    /// None: the system moves them as it likes.
    #[default]
    Off,
    /// All that the service may use, in turn.
    All,
    /// These, in turn, as far as the service may use them.
    These(Vec<usize>),
}

/// Where the control socket is when nobody says.
pub const CONTROL_SOCKET: &str = "/run/tidewall/control.sock";

impl Default for Service {
    fn default() -> Self {
        Self {
            control: CONTROL_SOCKET.into(),
            state: None,
            user: None,
            pid_file: None,
            pinning: Pinning::Off,
            log_level: LogLevel::Info,
            local_syslog: false,
        }
    }
}

const fn any(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

/// A UDP address to listen on.
#[derive(Clone, Copy, Debug)]
pub(super) struct UdpAddress(pub(super) SocketAddr);

impl FromToml for UdpAddress {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let parsed = match value {
            DeValue::String(text) => {
                text.parse().ok().or_else(|| text.parse::<u16>().ok().map(any))
            }
            DeValue::Integer(number) => number.as_str().parse::<u16>().ok().map(any),
            _ => None,
        };
        match parsed {
            Some(address) if address.port() != 0 => Some(Self(address)),
            _ => {
                let reason = format!("expected an address with a port, found {}", found(value));
                sink.error_fix(at, reason, at.for_example());
                None
            }
        }
    }
}

impl FromToml for LogLevel {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        word(value, &[("info", Self::Info), ("debug", Self::Debug)], at, sink)
    }
}

/// No machine has a CPU with a larger number.
const LAST_CPU: usize = 1023;

impl FromToml for Pinning {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let elements = match value {
            DeValue::Boolean(true) => return Some(Self::All),
            DeValue::Boolean(false) => return Some(Self::Off),
            DeValue::Array(elements) => elements,
            other => {
                let reason =
                    format!("expected true, false or a list of CPUs, found {}", found(other));
                sink.error(at, reason);
                return None;
            }
        };
        let mut list: Vec<usize> = Vec::new();
        for (index, element) in elements.iter().enumerate() {
            let number = match element.get_ref() {
                DeValue::Integer(number) => number.as_str().parse().ok(),
                _ => None,
            };
            match number.filter(|cpu| *cpu <= LAST_CPU) {
                Some(cpu) if list.contains(&cpu) => {}
                Some(cpu) => list.push(cpu),
                None => {
                    let found = found(element.get_ref());
                    let reason =
                        format!("expected the number of a CPU up to {LAST_CPU}, found {found}");
                    sink.error(&at.element(index, element.span()), reason);
                    return None;
                }
            }
        }
        if list.is_empty() {
            sink.error_fix(at, "the list names no CPU", "write `pin_workers = false` for none");
            return None;
        }
        Some(Self::These(list))
    }
}

/// Any text that is not empty.
#[derive(Clone, Debug)]
pub(super) struct Text(pub(super) String);

impl FromToml for Text {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        match value {
            DeValue::String(text) if !text.trim().is_empty() => Some(Self(text.to_string())),
            _ => {
                let reason = format!("expected a text in quotes, found {}", found(value));
                sink.error_fix(at, reason, at.for_example());
                None
            }
        }
    }
}

pub(super) fn text(typed: Option<Typed<Text>>) -> Option<String> {
    typed.map(|typed| typed.value.0)
}

impl ListenTable {
    /// What it means.
    pub(super) fn resolve(self, sink: &mut Sink) -> Listen {
        let default = Listen::default();
        let workers = within(self.workers.as_ref(), &(1..=64), "1 to 64", 1, sink);
        let buffer = self.receive_buffer.map_or(default.receive_buffer, |t| t.value as usize);
        let addresses = |list: Option<Typed<Vec<Typed<UdpAddress>>>>, default| match list {
            Some(list) => list.value.into_iter().map(|typed| typed.value.0).collect(),
            None => default,
        };
        let allow = self.allow.map(|list| list.value).unwrap_or_default();
        Listen {
            sflow: addresses(self.sflow, default.sflow),
            netflow: addresses(self.netflow, default.netflow),
            workers: workers as usize,
            receive_buffer: buffer,
            interface: text(self.interface),
            allow: allow.into_iter().map(|typed| typed.value).collect(),
        }
    }
}

impl ServiceTable {
    /// What it means.
    pub(super) fn resolve(self) -> Service {
        Service {
            control: text(self.control).map_or_else(|| CONTROL_SOCKET.into(), PathBuf::from),
            state: text(self.state).map(PathBuf::from),
            user: text(self.user),
            pid_file: text(self.pid_file).map(PathBuf::from),
            pinning: self.pin_workers.map(|typed| typed.value).unwrap_or_default(),
            log_level: self.log_level.map(|typed| typed.value).unwrap_or_default(),
            local_syslog: self.local_syslog.is_some_and(|typed| typed.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Severity, parse};
    use super::*;

    #[test]
    fn cpus_of_workers() {
        let pinning = |value: &str| {
            parse("file", &format!("[service]\npin_workers = {value}\n")).map(|l| l.service.pinning)
        };
        assert_eq!(pinning("true").unwrap(), Pinning::All);
        assert_eq!(pinning("false").unwrap(), Pinning::Off);
        assert_eq!(parse("file", "").unwrap().service.pinning, Pinning::Off);
        assert_eq!(pinning("[2, 0, 2]").unwrap(), Pinning::These(vec![2, 0]));
        for (value, part) in [
            ("2", "expected true, false or a list"),
            ("\"all\"", "expected true, false or a list"),
            ("[-1]", "number of a CPU"),
            ("[1024]", "up to 1023"),
            ("[\"0-3\"]", "number of a CPU"),
            ("[]", "names no CPU"),
        ] {
            let errors = pinning(value).unwrap_err();
            let [error] = errors.diagnostics() else { panic!("{value}: {errors}") };
            assert_eq!((error.severity, error.line), (Severity::Error, 2));
            assert!(error.reason.contains(part) && !error.fix.is_empty(), "{value}: {error:?}");
        }
    }
}
