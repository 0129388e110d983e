//! What FastNetMon does about an attack, as our settings: bans, the script, files, stores and routes.
//! What it would announce wrongly is an error here: a community that is none, a next hop that is
//! missing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use tidewall_actions::report_text::{Generation, Style};
use tidewall_actions::routes::{RouteSettings, UnicastSettings};
use tidewall_actions::{Config, exabgp, gobgp, mongodb, record, redis, script, syslog};
use tidewall_bgp::RouteAttributes;
use tidewall_bgp::community::Community;
use tidewall_engine::Policy;
use tidewall_engine::planner::{
    DirectedResponses, Measure, Mode, PlannerPolicy, RailsPolicy, Response, Step,
};
use tidewall_model::Family;

use super::super::bgp::{HostPort, check_next_hop};
use super::super::sink::Sink;
use super::super::table::Place;
use super::reference::Reference;
use crate::respond::{AnnouncerSettings, Settings};

/// Where FastNetMon writes files of attacks: built in.
const ATTACKS: &str = "/var/log/fastnetmon_attacks";
/// Where GoBGP is for FastNetMon: built in.
const GOBGP: &str = "127.0.0.1:50051";
/// The facility that FastNetMon logs to another machine with: USER.
const SYSLOG_FACILITY: u8 = 1;
/// No ban is longer.
const LONGEST_BAN: u64 = 366 * 24 * 3600;
/// Keys that only releases from 1.2.8 on read.
const NEW_KEYS: [&str; 5] = [
    "gobgp_next_hop_host_ipv4",
    "gobgp_next_hop_subnet_ipv4",
    "gobgp_next_hop_host_ipv6",
    "gobgp_next_hop_subnet_ipv6",
    "clickhouse_metrics",
];

/// What a configuration does about attacks.
pub(super) fn settings(reference: &Reference, policy: &Policy, sink: &mut Sink) -> Settings {
    let mut answers = Answers { reference, policy, sink };
    let style = answers.style();
    let announcers: Vec<AnnouncerSettings> =
        [answers.exabgp(), answers.gobgp()].into_iter().flatten().collect();
    let planner = answers.planner(&announcers);
    let actions = [
        answers.script(&style),
        answers.record(&style),
        answers.syslog(&style),
        answers.redis(&style),
        answers.mongodb(&style),
    ];
    let actions = actions.into_iter().flatten().collect();
    let mut settings = Settings { planner, actions, announcers, ..Settings::default() };
    settings.protect_announcers();
    settings
}

struct Answers<'a> {
    reference: &'a Reference,
    policy: &'a Policy,
    sink: &'a mut Sink,
}

/// Keys of a kind of route.
struct RouteKeys {
    switch: &'static str,
    community: &'static str,
    /// The first that is set counts.
    next_hops: &'static [&'static str],
}

impl Answers<'_> {
    fn on(&self, name: &str) -> bool {
        self.reference.switch(name)
    }

    /// Where the first of these keys stands that was typed.
    fn place(&self, names: &[&str]) -> Place {
        let typed = names.iter().find_map(|name| Some(self.reference.get(name)?.place(name)));
        let field = names.first().copied().unwrap_or_default().to_owned();
        typed.unwrap_or_else(|| Place { field, ..Place::default() })
    }

    fn ours(&self, family: Family) -> bool {
        self.policy.networks.iter().any(|network| network.family() == family)
    }

    /// The reports of the release that the file is for, as far as its keys tell.
    fn style(&self) -> Style {
        let new = NEW_KEYS.iter().any(|key| self.reference.get(key).is_some());
        Style {
            generation: if new { Generation::Newest } else { Generation::V1_2_4 },
            padded_ipv6: true,
            lines: self.policy.detection.samples,
            ..Style::default()
        }
    }

    fn planner(&mut self, announcers: &[AnnouncerSettings]) -> PlannerPolicy {
        let ban_time = self.ban_time();
        let has = |measure: Measure| {
            announcers.iter().flat_map(AnnouncerSettings::routes).any(|routes| match measure {
                Measure::Divert => routes.divert.is_some(),
                _ => routes.blackhole.is_some(),
            })
        };
        let mut ladder = vec![Step::new(Measure::Notify, Duration::ZERO)];
        for measure in [Measure::Divert, Measure::Blackhole] {
            if has(measure) {
                ladder.push(Step::new(measure, Duration::ZERO));
            }
        }
        let usual = Response {
            mode: if self.policy.detection.enabled { Mode::Automatic } else { Mode::Off },
            ladder,
            ban_time,
            minimum: ban_time,
            // Every ban of FastNetMon is as long as the one before.
            growth: 1.0,
            longest: ban_time,
            only_if_finished: self.on("unban_only_if_attack_finished"),
            ..Response::default()
        };
        let off = Response { mode: Mode::Off, ..usual.clone() };
        let both = |response: &Response| DirectedResponses {
            incoming: response.clone(),
            outgoing: response.clone(),
        };
        let silent = self.policy.groups.iter().filter(|group| !group.detect);
        let silent = silent.filter(|_| usual.mode != Mode::Off);
        let groups = silent.map(|group| (group.name.clone(), both(&off))).collect();
        let mut rails = RailsPolicy::default();
        if has(Measure::Divert) {
            // A diversion must lie within one of our networks.
            let v4 = self.policy.networks.iter().filter(|n| n.family() == Family::V4);
            let longest = v4.map(|network| network.len()).max().unwrap_or_default();
            rails.shortest_diverted.v4 = rails.shortest_diverted.v4.max(longest);
        }
        PlannerPolicy { groups, fallback: both(&usual), rails, ..PlannerPolicy::default() }
    }

    fn ban_time(&mut self) -> Duration {
        let seconds = self.reference.number("ban_time") as u64;
        if (1..=LONGEST_BAN).contains(&seconds) {
            return Duration::from_secs(seconds);
        }
        let reason = match seconds {
            0 => "with 0 FastNetMon never ends a ban; here every ban has an end, after 366 days",
            _ => "no ban is longer than 366 days here",
        };
        self.sink.warn(&self.place(&["ban_time"]), reason, "for example `ban_time = 1800`");
        Duration::from_secs(LONGEST_BAN)
    }

    fn script(&mut self, style: &Style) -> Option<Config> {
        let key = "notify_script_path";
        let path = self.reference.get(key).map(|_| self.reference.text(key))?;
        if path.is_empty() {
            return None;
        }
        if !path.starts_with('/') {
            let reason = "FastNetMon looks for it in the folder that it was started from; here no \
                          script is called";
            let fix = "write an absolute path, for example /usr/local/bin/notify_about_attack.sh";
            self.sink.warn(&self.place(&[key]), reason, fix);
            return None;
        }
        let usual = script::Config::new(path);
        Some(Config::Script(script::Config { style: style.clone(), ..usual }))
    }

    fn record(&self, style: &Style) -> Option<Config> {
        self.policy.detection.enabled.then(|| {
            Config::Record(record::Config {
                style: style.clone(),
                json: false,
                pcap: self.on("collect_attack_pcap_dumps"),
                ..record::Config::new(ATTACKS)
            })
        })
    }

    /// FastNetMon sends every line of its log to that machine, and attacks are among them.
    fn syslog(&mut self, style: &Style) -> Option<Config> {
        let (switch, port) = ("logging_remote_syslog_logging", "logging_remote_syslog_port");
        let host = self.text("logging_remote_syslog_server", "");
        // Without one of them it turns itself off, which is told elsewhere.
        if !self.on(switch) || host.is_empty() || matches!(self.reference.text(port), "" | "0") {
            return None;
        }
        let reason = "FastNetMon sends all lines of its log; here what happens to attacks is sent";
        let fix = "nothing need be done; the log itself is on standard error, for the journal";
        self.sink.warn(&self.place(&[switch]), reason, fix);
        let port = self.port(port, 514);
        Some(Config::Syslog(syslog::Config {
            facility: SYSLOG_FACILITY,
            style: style.clone(),
            ..syslog::Config::new(host, port)
        }))
    }

    /// A port; the built-in one where what was typed is none.
    fn port(&mut self, key: &str, built_in: u16) -> u16 {
        let number = self.reference.number(key) as u32;
        match u16::try_from(number) {
            Ok(port) if port > 0 => port,
            _ => {
                let reason = format!("{number} is no port; here it is {built_in}");
                self.sink.warn(&self.place(&[key]), reason, format!("write `{key} = {built_in}`"));
                built_in
            }
        }
    }

    /// A text; the built-in one where nothing stands behind the `=`.
    fn text(&self, key: &str, built_in: &str) -> String {
        match self.reference.text(key) {
            "" => built_in.to_owned(),
            text => text.to_owned(),
        }
    }

    fn redis(&mut self, style: &Style) -> Option<Config> {
        if !self.on("redis_enabled") {
            return None;
        }
        let usual = redis::Config::default();
        Some(Config::Redis(redis::Config {
            host: self.text("redis_host", &usual.host),
            port: self.port("redis_port", usual.port),
            prefix: self.reference.text("redis_prefix").to_owned(),
            style: style.clone(),
            ..usual
        }))
    }

    fn mongodb(&mut self, style: &Style) -> Option<Config> {
        if !self.on("mongodb_enabled") {
            return None;
        }
        let usual = mongodb::Config::default();
        let port = self.port("mongodb_port", 27_017);
        let host = HostPort { host: self.text("mongodb_host", "localhost"), port };
        let config = mongodb::Config {
            hosts: vec![(host.host.clone(), port)],
            database: self.text("mongodb_database_name", &usual.database),
            style: style.clone(),
            ..usual
        };
        let (key, reason) = match mongodb::MongoDb::new(config.clone()) {
            Err(error) => ("mongodb_database_name", error.message),
            Ok(_) if HostPort::parse(&host.text()).is_none() => {
                ("mongodb_host", "this is no host".to_owned())
            }
            Ok(_) => return Some(Config::MongoDb(config)),
        };
        let reason = format!("{reason}; nothing is written to MongoDB");
        let at = self.place(&[key, "mongodb_enabled"]);
        self.sink.warn(&at, reason, "a plain name: `mongodb_host = localhost`");
        None
    }

    fn exabgp(&mut self) -> Option<AnnouncerSettings> {
        if !self.on("exabgp") {
            return None;
        }
        let next_hops = &["exabgp_next_hop"][..];
        let host = RouteKeys {
            switch: "exabgp_announce_host",
            community: "exabgp_community_host",
            next_hops,
        };
        let subnet = RouteKeys {
            switch: "exabgp_announce_whole_subnet",
            community: "exabgp_community_subnet",
            next_hops,
        };
        let routes = self.routes("exabgp", &host, &subnet, None)?;
        let pipe = self.reference.text("exabgp_command_pipe");
        if !pipe.starts_with('/') {
            let reason = "`exabgp` is on, and it is not said where its pipe is: FastNetMon turns \
                          it off";
            let fix = "for example `exabgp_command_pipe = /var/run/exabgp.cmd`, or `exabgp = off`";
            self.sink.error_fix(&self.place(&["exabgp_command_pipe", "exabgp"]), reason, fix);
        }
        let config = exabgp::Config::new("exabgp", exabgp::Way::pipe(pipe));
        Some(AnnouncerSettings::ExaBgp { config, routes })
    }

    fn gobgp(&mut self) -> Option<AnnouncerSettings> {
        if !self.on("gobgp") {
            return None;
        }
        let host = RouteKeys {
            switch: "gobgp_announce_host",
            community: "gobgp_community_host",
            next_hops: &["gobgp_next_hop_host_ipv4", "gobgp_next_hop"],
        };
        let subnet = RouteKeys {
            switch: "gobgp_announce_whole_subnet",
            community: "gobgp_community_subnet",
            next_hops: &["gobgp_next_hop_subnet_ipv4", "gobgp_next_hop"],
        };
        let host_ipv6 = RouteKeys {
            switch: "gobgp_announce_host_ipv6",
            community: "gobgp_community_host_ipv6",
            next_hops: &["gobgp_next_hop_host_ipv6", "gobgp_next_hop_ipv6"],
        };
        let routes = self.routes("gobgp", &host, &subnet, Some(&host_ipv6))?;
        let config = gobgp::Config::new("gobgp", GOBGP, gobgp::TAG);
        Some(AnnouncerSettings::GoBgp { config, routes })
    }

    /// What a daemon is to announce; `None`: nothing.
    fn routes(
        &mut self,
        daemon: &str,
        host: &RouteKeys,
        subnet: &RouteKeys,
        host_ipv6: Option<&RouteKeys>,
    ) -> Option<RouteSettings> {
        let v4 = self.on(host.switch);
        // Hosts of networks that are not ours are never announced.
        let v6 = host_ipv6.filter(|keys| self.on(keys.switch) && self.ours(Family::V6));
        let whole = self.on(subnet.switch) && !self.covered(v4, subnet);
        if !v4 && v6.is_none() && !whole {
            let reason = format!("`{daemon}` is on, and nothing is to be announced through it");
            let fix = format!("write `{} = on`, or `{daemon} = off`", host.switch);
            self.sink.warn(&self.place(&[daemon]), reason, fix);
            return None;
        }
        let v4 = v4.then(|| self.unicast(daemon, host, Family::V4));
        let v6 = v6.map(|keys| self.unicast(daemon, keys, Family::V6));
        let blackhole = match (v4, v6) {
            (Some(v4), Some(v6)) => {
                if v4.attributes.communities != v6.attributes.communities
                    && let Some(keys) = host_ipv6
                {
                    let reason = "IPv4 and IPv6 hosts have other communities; here both have the \
                                  same";
                    let fix = format!("write the same in `{}`", host.community);
                    let at = self.place(&[keys.community, host.community, daemon]);
                    self.sink.error_fix(&at, reason, fix);
                }
                Some(UnicastSettings { next_hop_v6: v6.next_hop_v6, ..v4 })
            }
            (v4, v6) => v4.or(v6),
        };
        let divert = whole.then(|| self.unicast(daemon, subnet, Family::V4));
        Some(RouteSettings { blackhole, divert, flow_spec: None })
    }

    /// Of a host and the network around it only the host is announced. Tells how the network's
    /// announcement differs.
    fn covered(&mut self, host: bool, subnet: &RouteKeys) -> bool {
        let at = self.place(&[subnet.switch]);
        if host {
            let reason = "the host is announced too: here a later route takes the place of an \
                          earlier one, so its network is not announced";
            self.sink.warn(&at, reason, format!("write `{} = off`", subnet.switch));
            return true;
        }
        let networks = self.policy.networks.iter().filter(|n| n.family() == Family::V4);
        if networks.into_iter().any(|network| network.len() != 24) {
            let reason = "FastNetMon announces the whole network around a host; here it is the /24 \
                          around it, or the length of our longest network";
            let fix = "see `shortest_diverted_ipv4` under [rails] in TOML";
            self.sink.warn(&at, reason, fix);
        }
        false
    }

    fn unicast(&mut self, daemon: &str, keys: &RouteKeys, family: Family) -> UnicastSettings {
        let hop = self.next_hop(daemon, keys, family);
        UnicastSettings {
            next_hop_v4: hop.filter(|_| family == Family::V4),
            next_hop_v6: hop.filter(|_| family == Family::V6),
            attributes: RouteAttributes {
                communities: self.communities(daemon, keys),
                ..RouteAttributes::default()
            },
        }
    }

    fn next_hop(&mut self, daemon: &str, keys: &RouteKeys, family: Family) -> Option<IpAddr> {
        let address = |text: &str| match family {
            Family::V4 => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            Family::V6 => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        };
        let mut hops = keys.next_hops.iter().filter_map(|key| address(self.reference.text(key)));
        let hop = hops.find(|hop| !hop.is_unspecified());
        let last = keys.next_hops.last().copied().unwrap_or_default();
        let at = self.place(&[last, keys.switch, daemon]);
        let example = if family == Family::V4 { "192.0.2.254" } else { "100::1" };
        let fix = format!("for example `{last} = {example}`");
        let Some(hop) = hop else {
            let reason = format!("`{}` is on, and there is no next hop in `{last}`", keys.switch);
            self.sink.error_fix(&at, reason, fix);
            return None;
        };
        match check_next_hop(hop) {
            Ok(()) => Some(hop),
            Err(reason) => {
                self.sink.error_fix(&at, reason, fix);
                None
            }
        }
    }

    /// One community, or several in brackets with blanks between.
    fn communities(&mut self, daemon: &str, keys: &RouteKeys) -> Vec<Community> {
        let key = keys.community;
        let text = self.reference.text(key).trim();
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let words: Vec<&str> = inner.unwrap_or(text).split_whitespace().collect();
        let parsed: Result<Vec<Community>, _> = words.iter().map(|word| word.parse()).collect();
        let at = self.place(&[key, "exabgp_community", keys.switch, daemon]);
        let fix = format!("for example `{key} = 65001:666`");
        let reason = match parsed {
            Ok(mut communities) if !communities.is_empty() => {
                communities.sort_unstable();
                communities.dedup();
                return communities;
            }
            Ok(_) => format!("`{}` is on, and there is no community for it", keys.switch),
            Err(error) => format!("{error}; FastNetMon would announce the route all the same"),
        };
        self.sink.error_fix(&at, reason, fix);
        Vec::new()
    }
}
