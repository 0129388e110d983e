//! What is done about attacks, as TOML.

use std::fmt::Write;

use tidewall_actions::report_text::Generation;
use tidewall_actions::routes::{RouteSettings, UnicastSettings};
use tidewall_actions::{Config, report_text::Style};
use tidewall_engine::planner::{Mode, RailsPolicy, Response};
use tidewall_model::Direction;

use super::super::super::LogLevel;
use super::super::super::mitigation::show_mode;
use super::{Printer, maps_to};
use crate::respond::AnnouncerSettings;

impl Printer<'_> {
    /// Everything that is done about attacks.
    pub(super) fn answers(&mut self) {
        let settings = &self.understood.respond;
        self.line("");
        self.sources(|_, entry| maps_to(entry, "mitigation"));
        self.line("[mitigation]");
        let response = settings.planner.response("global", Direction::Incoming);
        self.text.push_str(&response_lines(response));
        let rails = &settings.planner.rails;
        if *rails != RailsPolicy::default() {
            self.line("");
            self.comment("A diversion must lie within one of our networks.");
            self.line("[rails]");
            self.line(format!("shortest_diverted_ipv4 = {}", rails.shortest_diverted.v4));
        }
        if let Some(style) = settings.actions.first().map(style) {
            self.line("");
            self.comment("Reports as scripts and parsers written for FastNetMon know them.");
            self.line("[report]");
            let newest = style.generation == Generation::Newest;
            let generation = if newest { "newest" } else { "1.2.4" };
            self.line(format!("generation = \"{generation}\""));
            self.line(format!("padded_ipv6 = {}", style.padded_ipv6));
            self.line(format!("lines = {}", style.lines));
        }
        for table in ["script", "record", "syslog", "redis", "mongodb"] {
            self.line("");
            self.sources(|_, entry| maps_to(entry, table));
            for action in settings.actions.iter().filter(|action| action.kind() == table) {
                self.line(format!("[[{table}]]"));
                self.text.push_str(&action_lines(action));
            }
        }
        for table in ["exabgp", "gobgp"] {
            self.line("");
            self.sources(|_, entry| maps_to(entry, table));
            for announcer in settings.announcers.iter().filter(|a| a.name() == table) {
                self.line(format!("[{table}]"));
                self.text.push_str(&announcer_lines(table, announcer));
            }
        }
        self.line("");
        self.sources(|_, entry| maps_to(entry, "service"));
        self.line("[service]");
        if self.understood.service.log_level == LogLevel::Debug {
            self.line("log_level = \"debug\"");
        }
        if self.understood.service.local_syslog {
            self.line("local_syslog = true");
        }
        if let Some(state) = &self.understood.service.state {
            self.comment("Bans outlive a restart, which FastNetMon forgets.");
            self.line(format!("state = {}", quoted(&state.display().to_string())));
        }
        self.comment("FastNetMon writes this file when it is started with --pid_logic.");
        let pid_file = self.understood.reference.text("pid_path");
        self.comment(format!("pid_file = {}", quoted(pid_file)));
    }

    /// How a group differs from all others.
    pub(super) fn group_answer(&mut self, name: &str) {
        let planner = &self.understood.respond.planner;
        if let Some(both) = planner.groups.get(name)
            && both.incoming.mode == Mode::Off
        {
            self.line("[group.mitigation]");
            self.line("mode = \"off\"");
        }
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn response_lines(response: &Response) -> String {
    let seconds = |time: std::time::Duration| format!("\"{}s\"", time.as_secs());
    let steps: Vec<String> = response
        .ladder
        .iter()
        .map(|s| quoted(&super::super::super::mitigation::show_step(s)))
        .collect();
    let mut lines = format!("mode = \"{}\"\n", show_mode(response.mode));
    _ = writeln!(lines, "ladder = [{}]", steps.join(", "));
    _ = writeln!(lines, "ban_time = {}", seconds(response.ban_time));
    _ = writeln!(lines, "minimum = {}", seconds(response.minimum));
    _ = writeln!(lines, "growth = {:?}", response.growth);
    _ = writeln!(lines, "longest = {}", seconds(response.longest));
    _ = writeln!(lines, "only_if_finished = {}", response.only_if_finished);
    lines
}

/// The style that all actions share.
fn style(action: &Config) -> &Style {
    match action {
        Config::Script(config) => &config.style,
        Config::Record(config) => &config.style,
        Config::Webhook(config) => &config.style,
        Config::Chat(config) => &config.style,
        Config::Mail(config) => &config.style,
        Config::Syslog(config) => &config.style,
        Config::Redis(config) => &config.style,
        Config::MongoDb(config) => &config.style,
    }
}

fn action_lines(action: &Config) -> String {
    let mut lines = String::new();
    let mut key = |name: &str, value: String| _ = writeln!(lines, "{name} = {value}");
    match action {
        Config::Script(config) => key("path", quoted(&config.path.display().to_string())),
        Config::Record(config) => {
            key("folder", quoted(&config.folder.display().to_string()));
            key("json", config.json.to_string());
            key("pcap", config.pcap.to_string());
        }
        Config::Redis(config) => {
            key("host", quoted(&config.host));
            key("port", config.port.to_string());
            if !config.prefix.is_empty() {
                key("prefix", quoted(&config.prefix));
            }
        }
        Config::MongoDb(config) => {
            let hosts: Vec<String> = config
                .hosts
                .iter()
                .map(|(host, port)| {
                    let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                    quoted(&format!("{host}:{port}"))
                })
                .collect();
            key("hosts", format!("[{}]", hosts.join(", ")));
            key("database", quoted(&config.database));
        }
        Config::Syslog(config) => {
            key("host", quoted(&config.host));
            key("port", config.port.to_string());
            key("facility", config.facility.to_string());
        }
        // FastNetMon has none of them.
        Config::Webhook(_) | Config::Chat(_) | Config::Mail(_) => {}
    }
    lines
}

fn announcer_lines(table: &str, announcer: &AnnouncerSettings) -> String {
    let mut lines = String::new();
    let routes: &RouteSettings = match announcer {
        AnnouncerSettings::ExaBgp { config, routes } => {
            let (_, pipe) = config.way.path();
            _ = writeln!(lines, "pipe = {}", quoted(&pipe.display().to_string()));
            routes
        }
        AnnouncerSettings::GoBgp { config, routes } => {
            _ = writeln!(lines, "address = {}", quoted(&config.address));
            routes
        }
        // FastNetMon has none.
        AnnouncerSettings::Bgp(_) => return lines,
    };
    _ = writeln!(lines, "[{table}.blackhole]");
    match &routes.blackhole {
        Some(blackhole) => lines.push_str(&unicast_lines(blackhole)),
        None => lines.push_str("announce = false\n"),
    }
    if let Some(divert) = &routes.divert {
        _ = writeln!(lines, "[{table}.divert]");
        lines.push_str(&unicast_lines(divert));
    }
    _ = writeln!(lines, "[{table}.flowspec]\nannounce = false");
    lines
}

fn unicast_lines(unicast: &UnicastSettings) -> String {
    let mut lines = String::new();
    for (key, hop) in
        [("next_hop_ipv4", unicast.next_hop_v4), ("next_hop_ipv6", unicast.next_hop_v6)]
    {
        if let Some(hop) = hop {
            _ = writeln!(lines, "{key} = \"{hop}\"");
        }
    }
    let communities = &unicast.attributes.communities;
    let communities: Vec<String> = communities.iter().map(|c| format!("\"{c}\"")).collect();
    _ = writeln!(lines, "communities = [{}]", communities.join(", "));
    lines
}
