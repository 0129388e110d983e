//! `[[bgp.peer]]`: a router that we speak BGP with, and what it takes.

use std::net::IpAddr;
use std::time::Duration;

use tidewall_actions::bgp::{BGP_PORT, Distance, PeerConfig};
use tidewall_bgp::action::{ActionKind, Rate};
use tidewall_bgp::flowspec::{ComponentKind, MAX_ANNOUNCED_OCTETS};
use tidewall_bgp::{FamilySet, PeerProfile, RouteFamily};
use toml::de::DeValue;

use super::super::listen::Text;
use super::super::secret::Secrets;
use super::super::sink::Sink;
use super::super::table::{FromToml, Place, Typed, table};
use super::super::value::{Name, within, word};
use super::routes::{FlowSpecTable, RouteTables, UnicastTable};

table! {
    /// A router that we speak BGP with; as many of these as you like.
    struct PeerTable {
        /// Its name in status and logs.
        #[example = "\"edge1\""]
        name: Name,

        /// Its address.
        #[example = "\"192.0.2.1\""]
        address: IpAddr,

        /// Its AS number; our own for iBGP.
        #[example = "64500"]
        r#as: u32,

        /// Our AS number towards it, where it is another than `local_as`.
        #[example = "64511"]
        local_as: u32,

        /// Its port, where we connect to it.
        #[default = "179"]
        #[example = "1179"]
        port: u32,

        /// The group it belongs to: [[bgp.group]] says what is announced otherwise to a group.
        #[example = "\"transit\""]
        group: Name,

        /// True: never connect to it, and wait until it connects to us (see `listen`).
        #[default = "false"]
        #[example = "true"]
        passive: bool,

        /// Our address towards it. Left out, the system chooses.
        #[example = "\"192.0.2.10\""]
        source: IpAddr,

        /// Network device or VRF through which it is reached. Left out, any.
        #[example = "\"mgmt\""]
        interface: Text,

        /// How many hops away it may be, from 1 (the same network) to 254. Left out, any number.
        #[example = "1"]
        hops: u32,

        /// True: GTSM (RFC 5082). Packets that came from farther away than `hops` (left out: 1) are
        /// dropped. The peer must do the same.
        #[default = "false"]
        #[example = "true"]
        gtsm: bool,

        /// File with the key of TCP MD5 (RFC 2385).
        #[example = "\"/etc/tidewall/edge1.md5\""]
        md5_file: Text,

        /// Variable of the environment with that key.
        #[example = "\"EDGE1_MD5\""]
        md5_env: Text,

        /// Which routes it is offered.
        #[default = "[\"ipv4-unicast\", \"ipv6-unicast\", \"ipv4-flowspec\", \"ipv6-flowspec\"]"]
        #[example = "[\"ipv4-unicast\", \"ipv4-flowspec\"]"]
        families: Vec<Typed<RouteFamily>>,

        /// Hold time that we propose, from 3s on; "0s" for none.
        #[default = "\"90s\""]
        #[example = "\"30s\""]
        hold_time: Duration,

        /// How long it is to keep our routes while we are away, up to 4095s (graceful restart,
        /// RFC 4724). "0s": it drops them at once.
        #[default = "\"120s\""]
        #[example = "\"300s\""]
        restart_time: Duration,

        /// Wait before the second attempt to connect; it doubles with each that fails ...
        #[default = "\"10s\""]
        #[example = "\"5s\""]
        retry: Duration,

        /// ... up to this.
        #[default = "\"5m\""]
        #[example = "\"1m\""]
        longest_retry: Duration,

        /// The session ends when it announces more routes than this to us; none is kept. 0: any
        /// number.
        #[default = "1000"]
        #[example = "10"]
        received_limit: u32,

        /// What its router takes.
        profile: Box<ProfileTable>,

        /// Blackholes for this peer, where they differ.
        blackhole: UnicastTable,

        /// Diversions for this peer, where they differ.
        divert: UnicastTable,

        /// Filters for this peer, where they differ.
        flowspec: FlowSpecTable,
    }
}

table! {
    /// What a router takes. Rules are made to fit, in an order that docs/bgp.md states, and never
    /// silently.
    struct ProfileTable {
        /// Most FlowSpec rules of each IP version at one time.
        #[default = "100"]
        #[example = "3000"]
        max_rules: u32,

        /// Most prefixes of each IP version at one time.
        #[default = "1000"]
        #[example = "200"]
        max_prefixes: u32,

        /// Most octets of a rule, from 16 to 239.
        #[default = "239"]
        #[example = "128"]
        max_rule_octets: u32,

        /// Most terms of a component, such as ports of a list. Left out, 6: over a longer list FRR
        /// ends the session. What is longer becomes several rules.
        #[example = "8"]
        max_terms: u32,

        /// FlowSpec components that it knows. Left out, all.
        #[example = "[\"destination\", \"protocol\", \"source-port\", \"packet-length\"]"]
        components: Vec<Typed<ComponentKind>>,

        /// FlowSpec actions that it knows. Left out, all.
        #[example = "[\"discard\", \"rate_bytes\"]"]
        actions: Vec<Typed<ActionKind>>,

        /// Least rate in bytes per second that it does not take as a discard.
        #[default = "0"]
        #[example = "9600"]
        least_rate: f64,

        /// A rule whose components it does not all know matches more than was meant: it is limited
        /// to so many bytes per second. Left out, such a rule is not sent.
        #[example = "1_000_000"]
        widened_rate: f64,
    }
}

impl FromToml for RouteFamily {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let words = [
            ("ipv4-unicast", Self::Ipv4Unicast),
            ("ipv6-unicast", Self::Ipv6Unicast),
            ("ipv4-flowspec", Self::Ipv4FlowSpec),
            ("ipv6-flowspec", Self::Ipv6FlowSpec),
        ];
        word(value, &words, at, sink)
    }
}

impl FromToml for ComponentKind {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let names = Self::ALL.map(|kind| (kind.to_string(), kind));
        let words: Vec<(&str, Self)> = names.iter().map(|(n, kind)| (n.as_str(), *kind)).collect();
        word(value, &words, at, sink)
    }
}

impl FromToml for ActionKind {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let words = [
            ("discard", Self::Discard),
            ("rate_bytes", Self::RateBytes),
            ("rate_packets", Self::RatePackets),
            ("sample", Self::Traffic),
            ("redirect", Self::Redirect),
            ("redirect_to_ip", Self::RedirectToIp),
            ("redirect_to_next_hop", Self::RedirectToNextHop),
            ("mark", Self::Mark),
        ];
        word(value, &words, at, sink)
    }
}

impl PeerTable {
    /// What is announced to it otherwise.
    pub(super) fn routes(&self) -> RouteTables<'_> {
        RouteTables {
            next_hop_ipv4: None,
            next_hop_ipv6: None,
            blackhole: self.blackhole.as_ref(),
            divert: self.divert.as_ref(),
            flowspec: self.flowspec.as_ref(),
        }
    }

    /// What it means; `None` where name, address or AS number are missing, which is told.
    pub(super) fn resolve(
        &self,
        at: &Place,
        secrets: &mut Secrets,
        sink: &mut Sink,
    ) -> Option<PeerConfig> {
        let missing = [
            ("name", "name = \"edge1\"", self.name.is_none()),
            ("address", "address = \"192.0.2.1\"", self.address.is_none()),
            ("as", "as = 64500", self.r#as.is_none()),
        ];
        let blamed = sink.blames(at);
        for (key, example, _) in missing.iter().filter(|(.., missing)| *missing && !blamed) {
            let fix = format!("add a line such as `{example}`");
            sink.error_fix(at, format!("a peer needs `{key}`"), fix);
        }
        let (name, address) = (self.name.as_ref()?, self.address.as_ref()?);
        let mut peer = PeerConfig::new(&*name.value.0, address.value, self.r#as.as_ref()?.value);
        peer.group = self.group.as_ref().map(|typed| typed.value.0.clone());
        peer.local_as = self.local_as.as_ref().map(|typed| typed.value);
        let ports = 1..=u32::from(u16::MAX);
        let port = BGP_PORT.into();
        peer.port = within(self.port.as_ref(), &ports, "1 to 65535", port, sink) as u16;
        peer.passive = self.passive.as_ref().is_some_and(|typed| typed.value);
        peer.source = self.source.as_ref().map(|typed| typed.value);
        peer.device = self.interface.as_ref().map(|typed| typed.value.0.clone());
        peer.distance = self.distance(sink);
        peer.md5 = secrets.read(self.md5_file.as_ref(), self.md5_env.as_ref(), sink);
        if let Some(families) = &self.families {
            peer.families = families.value.iter().map(|f| f.value).collect::<FamilySet>();
        }
        if let Some(hold) = seconds(self.hold_time.as_ref(), u16::MAX, sink) {
            peer.hold_time = hold;
        }
        if let Some(restart) = seconds(self.restart_time.as_ref(), 4095, sink) {
            peer.restart_time = (restart > 0).then_some(restart);
        }
        if let Some(retry) = &self.retry {
            peer.retry = retry.value;
            peer.max_retry = peer.max_retry.max(retry.value);
        }
        if let Some(longest) = &self.longest_retry {
            peer.max_retry = longest.value;
        }
        if let Some(limit) = &self.received_limit {
            peer.received_limit = (limit.value > 0).then_some(limit.value as usize);
        }
        if let Some(profile) = &self.profile {
            peer.profile = profile.value.resolve(sink);
        }
        Some(peer)
    }

    fn distance(&self, sink: &mut Sink) -> Distance {
        let hops = within(self.hops.as_ref(), &(1..=254), "1 to 254", 1, sink) as u8;
        match (self.gtsm.as_ref().is_some_and(|typed| typed.value), &self.hops) {
            (true, _) => Distance::Secured(hops),
            (false, Some(_)) => Distance::Within(hops),
            (false, None) => Distance::Any,
        }
    }

    /// Where the setting was typed that the speaker refuses.
    pub(super) fn place(&self, field: &str, message: &str) -> Option<&Place> {
        fn at<T>(typed: Option<&Typed<T>>) -> Option<&Place> {
            typed.map(|typed| &typed.at)
        }
        match field {
            "name" => at(self.name.as_ref()),
            "address" => at(self.address.as_ref()),
            "port" => at(self.port.as_ref()),
            "source" => at(self.source.as_ref()),
            "device" => at(self.interface.as_ref()).or_else(|| at(self.address.as_ref())),
            "md5" => at(self.md5_file.as_ref()).or_else(|| at(self.md5_env.as_ref())),
            "passive" => at(self.passive.as_ref()),
            _ if message.starts_with("AS number") => {
                at(self.local_as.as_ref()).or_else(|| at(self.r#as.as_ref()))
            }
            _ if message.starts_with("hold time") => at(self.hold_time.as_ref()),
            _ if message.starts_with("restart time") => at(self.restart_time.as_ref()),
            _ if message.starts_with("no address family") => at(self.families.as_ref()),
            _ if message.starts_with("the wait") => {
                at(self.longest_retry.as_ref()).or_else(|| at(self.retry.as_ref()))
            }
            _ => None,
        }
    }
}

impl ProfileTable {
    fn resolve(&self, sink: &mut Sink) -> PeerProfile {
        let default = PeerProfile::default();
        let octets = MAX_ANNOUNCED_OCTETS as u32;
        let words = format!("16 to {octets}");
        let range = 16..=octets;
        let max_rule_octets =
            within(self.max_rule_octets.as_ref(), &range, &words, octets, sink) as usize;
        let count = |typed: &Option<Typed<u32>>, default: usize| {
            typed.as_ref().map_or(default, |typed| typed.value as usize)
        };
        let mut rate = |typed: &Option<Typed<f64>>| {
            let typed = typed.as_ref()?;
            let rate = Rate::new(typed.value as f32);
            if rate.is_none() {
                sink.error(&typed.at, "a rate is a number of bytes per second from 0 on");
            }
            rate
        };
        let least_rate = rate(&self.least_rate).unwrap_or(Rate::ZERO);
        let widened_rate = rate(&self.widened_rate);
        let max_terms = within(self.max_terms.as_ref(), &(1..=u32::MAX), "1 on", 1, sink) as usize;
        if let Some(components) = &self.components
            && !components.value.iter().any(|kind| kind.value == ComponentKind::Destination)
            && !sink.blames(&components.at)
        {
            let reason = "without \"destination\" no rule can be sent: it would match everybody";
            sink.error_fix(&components.at, reason, "add \"destination\" to the list");
        }
        let each = |list: &Option<Typed<Vec<Typed<ComponentKind>>>>| {
            list.as_ref().map(|list| list.value.iter().map(|kind| kind.value).collect())
        };
        PeerProfile {
            components: each(&self.components).unwrap_or(default.components),
            actions: match &self.actions {
                Some(list) => list.value.iter().map(|kind| kind.value).collect(),
                None => default.actions,
            },
            max_rules: count(&self.max_rules, default.max_rules),
            max_rule_octets,
            max_terms: if self.max_terms.is_some() { max_terms } else { default.max_terms },
            least_rate,
            widened_rate,
            max_unicast: count(&self.max_prefixes, default.max_unicast),
        }
    }
}

/// Whole seconds.
fn seconds(typed: Option<&Typed<Duration>>, most: u16, sink: &mut Sink) -> Option<u16> {
    let typed = typed?;
    let seconds = u16::try_from(typed.value.as_secs()).ok().filter(|seconds| *seconds <= most);
    if typed.value.subsec_nanos() > 0 || seconds.is_none() {
        sink.error(&typed.at, format!("this is 0 to {most} whole seconds"));
        return None;
    }
    seconds
}
