//! `[exabgp]` and `[gobgp]`: daemons that announce routes for us.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use tidewall_actions::{exabgp, gobgp};
use tidewall_bgp::community::Community;
use toml::de::DeValue;

use super::super::listen::Text;
use super::super::sink::Sink;
use super::super::table::{FromToml, Place, Typed, table};
use super::super::value::{Name, found, within};
use super::routes::{FlowSpecTable, RouteTables, UnicastTable};
use crate::respond::AnnouncerSettings;

table! {
    /// ExaBGP as the one who announces: by the named pipe that it reads commands from, or by a
    /// process that it starts and that connects to our socket.
    struct ExaBgpTable {
        /// Its name in status and logs.
        #[default = "\"exabgp\""]
        #[example = "\"exabgp-edge\""]
        name: Name,

        /// The named pipe.
        #[example = "\"/var/run/exabgp.cmd\""]
        pipe: Text,

        /// The socket; one of the two.
        #[example = "\"/run/tidewall/exabgp.sock\""]
        socket: Text,

        /// The AS number that ExaBGP has towards its neighbours. Needed where `prepend` is.
        #[example = "64510"]
        local_as: u32,

        /// Next hop of IPv4 blackholes. Left out, IPv4 is not blackholed.
        #[example = "\"192.0.2.254\""]
        next_hop_ipv4: Ipv4Addr,

        /// The same for IPv6.
        #[example = "\"100::1\""]
        next_hop_ipv6: Ipv6Addr,

        /// Blackholes.
        blackhole: UnicastTable,

        /// Diversions. Without this table there are none.
        divert: UnicastTable,

        /// Filters by FlowSpec.
        flowspec: FlowSpecTable,
    }
}

table! {
    /// GoBGP (3.x and 4.x) as the one who announces, by its gRPC interface.
    struct GoBgpTable {
        /// Its name in status and logs.
        #[default = "\"gobgp\""]
        #[example = "\"gobgp-edge\""]
        name: Name,

        /// Where its interface is.
        #[default = "\"127.0.0.1:50051\""]
        #[example = "\"192.0.2.20:50051\""]
        address: HostPort,

        /// Time for one call, from 100ms to 60s.
        #[default = "\"5s\""]
        #[example = "\"2s\""]
        deadline: Duration,

        /// A community that all routes of ours carry besides their own, so that they can be told
        /// from those of others after a restart. Nobody else at this daemon may use it.
        #[default = "\"64512:7474\""]
        #[example = "\"64510:29000\""]
        tag: Community,

        /// Next hop of IPv4 blackholes. Left out, IPv4 is not blackholed.
        #[example = "\"192.0.2.254\""]
        next_hop_ipv4: Ipv4Addr,

        /// The same for IPv6.
        #[example = "\"100::1\""]
        next_hop_ipv6: Ipv6Addr,

        /// Blackholes.
        blackhole: UnicastTable,

        /// Diversions. Without this table there are none.
        divert: UnicastTable,

        /// Filters by FlowSpec.
        flowspec: FlowSpecTable,
    }
}

/// A host name or an address, with a port: `mail.example.net:25`.
#[derive(Clone, Debug)]
pub(in crate::config) struct HostPort {
    /// Name or address, without brackets.
    pub(in crate::config) host: String,
    /// Port.
    pub(in crate::config) port: u16,
}

impl HostPort {
    /// Reads both; IPv6 addresses stand in brackets.
    pub(in crate::config) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let refused = |c: char| ":/[] ".contains(c) || c.is_control();
        let good = match bare {
            Some(bare) => bare.parse::<Ipv6Addr>().is_ok(),
            None => !host.is_empty() && !host.contains(refused),
        };
        let port = port.parse::<u16>().ok().filter(|port| *port > 0 && good)?;
        Some(Self { host: bare.unwrap_or(host).to_owned(), port })
    }

    /// Both as one text.
    pub(in crate::config) fn text(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl FromToml for HostPort {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let parsed = match value {
            DeValue::String(text) => Self::parse(text),
            _ => None,
        };
        if parsed.is_none() {
            let reason = format!("expected a host and its port, found {}", found(value));
            sink.error(at, reason);
        }
        parsed
    }
}

impl ExaBgpTable {
    pub(super) fn resolve(&self, at: &Place, sink: &mut Sink) -> AnnouncerSettings {
        let routes = RouteTables {
            next_hop_ipv4: self.next_hop_ipv4.as_ref(),
            next_hop_ipv6: self.next_hop_ipv6.as_ref(),
            blackhole: self.blackhole.as_ref(),
            divert: self.divert.as_ref(),
            flowspec: self.flowspec.as_ref(),
        };
        let routes = routes.resolve(sink);
        let path = |typed: &Option<Typed<Text>>, sink: &mut Sink| {
            let typed = typed.as_ref()?;
            let path = PathBuf::from(&typed.value.0);
            if path.is_relative() {
                let reason = "must be an absolute path: the service's folder is nobody's choice";
                sink.error(&typed.at, reason);
            }
            Some(path)
        };
        let (pipe, socket) = (path(&self.pipe, sink), path(&self.socket, sink));
        match (&pipe, &socket) {
            (None, None) if !sink.blames(at) => {
                let fix = "add `pipe = \"/var/run/exabgp.cmd\"`, or `socket`";
                sink.error_fix(at, "it is not said how ExaBGP is reached", fix);
            }
            (Some(_), Some(_)) => {
                if let Some(socket) = &self.socket {
                    let reason = "`pipe` is given too: commands would go to ExaBGP twice";
                    sink.error_fix(&socket.at, reason, "keep one of the two");
                }
            }
            _ => {}
        }
        let name = self.name.as_ref().map_or_else(|| "exabgp".into(), |n| n.value.0.clone());
        let way = match (pipe, socket) {
            (_, Some(socket)) => exabgp::Way::process(socket),
            (pipe, None) => exabgp::Way::pipe(pipe.unwrap_or_default()),
        };
        let local_as = self.local_as.as_ref().map(|typed| typed.value);
        let config = exabgp::Config { local_as, ..exabgp::Config::new(name, way) };
        AnnouncerSettings::ExaBgp { config, routes }
    }
}

impl GoBgpTable {
    pub(super) fn resolve(&self, sink: &mut Sink) -> AnnouncerSettings {
        let routes = RouteTables {
            next_hop_ipv4: self.next_hop_ipv4.as_ref(),
            next_hop_ipv6: self.next_hop_ipv6.as_ref(),
            blackhole: self.blackhole.as_ref(),
            divert: self.divert.as_ref(),
            flowspec: self.flowspec.as_ref(),
        };
        let routes = routes.resolve(sink);
        let range = Duration::from_millis(100)..=Duration::from_mins(1);
        let five = Duration::from_secs(5);
        let deadline = within(self.deadline.as_ref(), &range, "100ms to 60s", five, sink);
        let address = self.address.as_ref();
        let name = self.name.as_ref().map_or_else(|| "gobgp".into(), |n| n.value.0.clone());
        let address = address.map_or_else(|| "127.0.0.1:50051".into(), |a| a.value.text());
        let tag = self.tag.as_ref().map_or(gobgp::TAG, |typed| typed.value);
        let config = gobgp::Config { deadline, ..gobgp::Config::new(name, address, tag) };
        AnnouncerSettings::GoBgp { config, routes }
    }
}
