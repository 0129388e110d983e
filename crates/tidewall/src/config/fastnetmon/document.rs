//! The TOML text that a configuration of FastNetMon stands for: the policy as keys and values, and
//! beside them, as comments, the lines they come from and what is to be said of those.

mod answers;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use tidewall_capture::af_packet::FanoutMode;
use tidewall_capture::af_xdp::{CopyMode, XdpMode};
use tidewall_engine::{Detection, DirectedLimits, Group, Limits, Rule, Whitelist};
use tidewall_model::{Family, Metric, Prefix, TcpFlags, TrafficClass, Unit};
use tidewall_wire::frame::LengthMode;

use super::super::diagnostic::Diagnostic;
use super::super::{Mirror, MirrorSource};
use super::Understood;
use super::keys::{Feature, Kind, Standing};
use super::reference::Entry;

/// The text.
pub(super) fn print(understood: &Understood, name: &str) -> String {
    let mut printer = Printer::new(understood);
    printer.head(name);
    printer.networks();
    printer.limits();
    printer.groups();
    printer.whitelist();
    printer.settings();
    printer.receiving();
    printer.answers();
    printer.inactive();
    printer.rest();
    printer.text
}

struct Printer<'u> {
    text: String,
    understood: &'u Understood,
    /// What is still to be said, by line.
    notes: BTreeMap<usize, Vec<&'u Diagnostic>>,
}

impl<'u> Printer<'u> {
    fn new(understood: &'u Understood) -> Self {
        let mut notes: BTreeMap<usize, Vec<&Diagnostic>> = BTreeMap::new();
        for note in &understood.warnings {
            // What is missing has no line.
            let line = if note.span.is_empty() { 0 } else { note.line };
            notes.entry(line).or_default().push(note);
        }
        Self { text: String::new(), understood, notes }
    }

    fn line(&mut self, text: impl AsRef<str>) {
        self.text.push_str(text.as_ref());
        self.text.push('\n');
    }

    fn comment(&mut self, text: impl AsRef<str>) {
        let text = format!("# {}", clean(text.as_ref()));
        self.line(text.trim_end());
    }

    fn note(&mut self, note: &Diagnostic) {
        let mut lines = note.fix.lines();
        let fix = lines.next().map_or_else(String::new, |fix| format!(" ({fix})"));
        self.comment(format!("  Warning: {}{fix}", note.reason));
        // To be pasted.
        lines.for_each(|line| self.comment(format!("  {line}")));
    }

    /// What is to be said of a line, once.
    fn notes_of(&mut self, line: usize) {
        for note in self.notes.remove(&line).unwrap_or_default() {
            self.note(note);
        }
    }

    fn head(&mut self, name: &str) {
        self.comment(format!("Configuration of Tidewall, from {name} by `tidewall import`."));
        self.comment(
            "What a key comes from is said above it. `tidewall check` explains the result.",
        );
        self.notes_of(0);
    }

    /// The typed keys that `which` wants, in the order of the file.
    fn sources(&mut self, which: impl Fn(&str, &Entry) -> bool) {
        let understood = self.understood;
        let wanted = understood.reference.entries().filter(|(name, entry)| which(name, entry));
        self.in_order(wanted.collect());
    }

    fn in_order(&mut self, mut entries: Vec<(&str, &Entry)>) {
        entries.sort_by_key(|(_, entry)| entry.line());
        for (name, entry) in entries {
            self.source(name, entry);
        }
    }

    fn source(&mut self, name: &str, entry: &Entry) {
        let value = if entry.key().kind == Kind::Secret { "(not shown)" } else { entry.typed() };
        self.comment(format!("line {}: {name} = {value}", entry.line()));
        self.notes_of(entry.line());
    }

    /// Files that lists were read from, and what is to be said of their lines.
    fn lists(&mut self, which: &str) {
        let understood = self.understood;
        for list in understood.lists.iter().filter(|list| list.name == which) {
            self.comment(format!("{} from {}", list.what(), list.path.display()));
            for note in &list.warnings {
                self.comment(format!("  Warning: line {}: {}", note.line, note.reason));
            }
        }
    }

    fn networks(&mut self) {
        self.line("");
        self.sources(|_, entry| maps_to(entry, "networks"));
        self.lists("networks_list");
        let networks = prefixes(&self.understood.policy.networks);
        self.line(format!("networks = {networks}"));
        self.sources(|_, entry| maps_to(entry, "own_addresses"));
        if self.understood.reference.switch("monitor_local_ip_addresses") {
            self.line("own_addresses = true");
        }
        self.sources(|_, entry| maps_to(entry, "openvz_addresses"));
        if let Some(file) = self.understood.reference.openvz_addresses() {
            self.line(format!("openvz_addresses = \"{}\"", file.display()));
        }
    }

    fn limits(&mut self) {
        self.line("");
        self.comment("Limits of each host that no group takes. FastNetMon has one number for both");
        self.comment("directions, and none for SYN packets and fragments.");
        // A group's key has the group's name in front.
        self.sources(|name, entry| maps_to(entry, "thresholds") && name == entry.key().name);
        let global = Group::global();
        let host = &self.understood.policy.groups[0].host;
        self.directions("thresholds", host, &global.host);
    }

    /// The limits of both directions, where they are not the inherited ones.
    fn directions(&mut self, path: &str, own: &DirectedLimits, inherited: &DirectedLimits) {
        for (direction, own, inherited) in [
            ("incoming", &own.incoming, &inherited.incoming),
            ("outgoing", &own.outgoing, &inherited.outgoing),
        ] {
            let lines = limit_lines(own, inherited);
            if !lines.is_empty() {
                self.line(format!("[{path}.{direction}]"));
                self.text.push_str(&lines);
            }
        }
    }

    fn groups(&mut self) {
        let understood = self.understood;
        let groups = &understood.policy.groups;
        for (at, group) in groups.iter().enumerate().skip(1) {
            self.line("");
            match understood.group_names.get(at - 1) {
                Some(typed) => {
                    let line = understood.group_lines.get(at - 1).copied().unwrap_or_default();
                    self.comment(format!("line {line}: hostgroup = {typed}:..."));
                    self.notes_of(line);
                    let entries = understood.reference.of_group(typed);
                    self.in_order(entries.filter(|(_, entry)| !does_nothing(entry)).collect());
                }
                None => self.comment("FastNetMon has a switch for each IP version; one is off."),
            }
            self.line("[[group]]");
            self.line(format!("name = \"{}\"", group.name));
            self.line(format!("prefixes = {}", prefixes(&group.prefixes)));
            self.line(format!("detect = {}", group.detect));
            self.directions("group.thresholds", &group.host, &groups[0].host);
            self.group_answer(&group.name);
        }
    }

    fn whitelist(&mut self) {
        let Whitelist { hosts, rules, .. } = &self.understood.policy.whitelist;
        self.line("");
        self.sources(|_, entry| maps_to(entry, "whitelist"));
        self.lists("networks_whitelist");
        self.line("[whitelist]");
        self.line(format!("hosts = {}", prefixes(hosts)));
        self.lists("whitelist_rules");
        for rule in rules {
            self.line("");
            self.line("[[whitelist.rule]]");
            self.text.push_str(&rule_lines(rule));
        }
    }

    fn settings(&mut self) {
        let policy = &self.understood.policy;
        let counting = policy.counting;
        self.line("");
        self.sources(|_, entry| maps_to(entry, "counting"));
        self.comment("FastNetMon counts traffic between two of our hosts for neither of them, and");
        self.comment("every TCP packet with SYN as one.");
        self.line("[counting]");
        for (name, on) in [
            ("incoming", counting.incoming),
            ("outgoing", counting.outgoing),
            ("internal", counting.internal),
            ("syn_with_ack", counting.syn_with_ack),
            ("flows", counting.flows),
        ] {
            self.line(format!("{name} = {on}"));
        }
        self.line("");
        self.sources(|_, entry| maps_to(entry, "detection"));
        self.line("[detection]");
        self.text.push_str(&detection_lines(&policy.detection));
        let length = self.understood.frames.length;
        self.line("");
        self.sources(|_, entry| maps_to(entry, "frames"));
        self.line("[frames]");
        let word = if length == LengthMode::Wire { "wire" } else { "ip_header" };
        self.line(format!("length = \"{word}\""));
    }

    /// Keys of features that are not there, by feature.
    fn inactive(&mut self) {
        let reference = &self.understood.reference;
        let features = reference.entries().filter_map(|(_, entry)| entry.key().feature());
        let mut features: Vec<Feature> = features.collect();
        features.sort_unstable();
        features.dedup();
        for feature in features {
            self.line("");
            self.comment(format!("Inactive: {}", feature.name()));
            self.sources(|_, entry| entry.key().feature() == Some(feature));
        }
    }

    /// Keys that do nothing, and lines that are none.
    /// Where traffic comes from.
    fn receiving(&mut self) {
        let understood = self.understood;
        let reference = &understood.reference;
        let listen = reference.listen();
        self.line("");
        self.sources(|_, entry| maps_to(entry, "listen"));
        self.line("[listen]");
        for (key, addresses) in [("sflow", &listen.sflow), ("netflow", &listen.netflow)] {
            let list: Vec<_> = addresses.iter().map(|address| format!("\"{address}\"")).collect();
            self.line(format!("{key} = [{}]", list.join(", ")));
        }
        self.line("");
        self.sources(|_, entry| maps_to(entry, "flows"));
        if let Some(rate) = reference.netflow_fallback() {
            self.line("[[flows.sampling]]");
            self.line("exporters = [\"::/0\", \"0.0.0.0/0\"]");
            self.line("protocols = [\"netflow9\", \"ipfix\"]");
            self.line(format!("rate = {rate}"));
        }
        self.line("");
        self.sources(|_, entry| maps_to(entry, "mirror"));
        if reference.switch("mirror_afpacket") {
            self.comment("FastNetMon has a thread for each CPU; `workers` gives an interface more");
            self.comment("than one here.");
        }
        for mirror in reference.mirrors() {
            self.text.push_str(&mirror_lines(&mirror));
        }
    }

    fn rest(&mut self) {
        self.line("");
        self.comment("What does nothing here");
        let understood = self.understood;
        let entries = understood.reference.entries().filter(|(_, entry)| does_nothing(entry));
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by_key(|(_, entry)| entry.line());
        for (name, entry) in entries {
            let warned = self.notes.contains_key(&entry.line());
            self.source(name, entry);
            if let Standing::Needless(why) | Standing::Useless(why) | Standing::Removed(why) =
                entry.key().standing
                && !warned
            {
                self.comment(format!("  {why}"));
            }
        }
        for (line, notes) in std::mem::take(&mut self.notes) {
            let field = notes.first().map_or("", |note| note.field.as_str());
            self.comment(format!("line {line}: {field}"));
            for note in notes {
                self.note(note);
            }
        }
    }
}

/// Text for a comment: TOML allows no control characters there.
fn clean(text: &str) -> String {
    let shown = text.chars().take(400);
    shown.map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn maps_to(entry: &Entry, table: &str) -> bool {
    match entry.key().standing {
        Standing::Maps(path) => path == table || path.starts_with(&format!("{table}.")),
        _ => false,
    }
}

fn does_nothing(entry: &Entry) -> bool {
    matches!(
        entry.key().standing,
        Standing::Useless(_) | Standing::Needless(_) | Standing::Removed(_)
    )
}

fn prefixes(list: &[Prefix]) -> String {
    match list {
        [] => "[]".to_owned(),
        [only] => format!("[\"{only}\"]"),
        list => {
            let mut lines = String::from("[\n");
            for prefix in list {
                _ = writeln!(lines, "    \"{prefix}\",");
            }
            lines + "]"
        }
    }
}

fn limit_lines(own: &Limits, inherited: &Limits) -> String {
    let mut lines = String::new();
    for class in TrafficClass::ALL {
        let mut parts = Vec::new();
        for (unit, name) in [(Unit::Packets, "pps"), (Unit::Bits, "mbps")] {
            let metric = Metric { class, unit };
            match (own.get(metric), inherited.get(metric)) {
                (own, inherited) if own == inherited => {}
                (None, _) => parts.push(format!("{name} = \"off\"")),
                (Some(limit), _) => parts.push(format!("{name} = {}", show_limit(unit, limit))),
            }
        }
        if !parts.is_empty() {
            _ = writeln!(lines, "{class} = {{ {} }}", parts.join(", "));
        }
    }
    let flows = Metric { class: TrafficClass::Total, unit: Unit::Flows };
    match (own.get(flows), inherited.get(flows)) {
        (own, inherited) if own == inherited => {}
        (None, _) => lines.push_str("flows = \"off\"\n"),
        (Some(limit), _) => _ = writeln!(lines, "flows = {limit}"),
    }
    lines
}

fn mirror_lines(mirror: &Mirror) -> String {
    let multiplier = mirror.sampling.get();
    let (engine, interface, more) = match &mirror.source {
        MirrorSource::AfPacket(config) => {
            let fanout = match config.fanout.mode {
                FanoutMode::Hash => "hash",
                FanoutMode::Cpu => "cpu",
                FanoutMode::RoundRobin => "lb",
                FanoutMode::Rollover => "rollover",
                FanoutMode::QueueMapping => "qm",
                FanoutMode::Random => "rnd",
            };
            ("af_packet", &config.interface, format!("fanout = \"{fanout}\"\n"))
        }
        MirrorSource::AfXdp(config) => {
            let mut more = format!("promiscuous = {}\n", config.promiscuous);
            if config.mode == XdpMode::Native {
                more += "mode = \"native\"\n";
            }
            if config.copy == CopyMode::ZeroCopy {
                more += "copy = \"zero_copy\"\n";
            }
            ("af_xdp", &config.interface, more)
        }
        MirrorSource::Pcap(config) => ("pcap", &config.device, String::new()),
        // FastNetMon has none.
        MirrorSource::Pipe(_) => return String::new(),
    };
    let interface = toml::Value::String(interface.clone());
    let mut lines =
        format!("[[mirror]]\nengine = \"{engine}\"\ninterfaces = [{interface}]\n{more}");
    if multiplier > 1 {
        _ = writeln!(lines, "multiplier = {multiplier}");
    }
    lines
}

/// Megabits where they are whole, for no digit may be lost.
fn show_limit(unit: Unit, limit: f64) -> String {
    let whole_megabits = limit % 1e6 == 0.0;
    match unit {
        Unit::Bits if whole_megabits => format!("{}", limit / 1e6),
        Unit::Bits => format!("\"{limit} bps\""),
        Unit::Packets | Unit::Flows => format!("{limit}"),
    }
}

fn detection_lines(detection: &Detection) -> String {
    let default = Detection::default();
    let seconds = |time: Duration| format!("\"{}s\"", time.as_secs());
    let mut lines = format!("enabled = {}\n", detection.enabled);
    _ = writeln!(lines, "window = {}", seconds(detection.window));
    _ = writeln!(lines, "average_time = {}", seconds(detection.average_time));
    if detection.release_time != default.release_time {
        _ = writeln!(lines, "release_time = {}", seconds(detection.release_time));
    }
    if detection.update_every != default.update_every {
        _ = writeln!(lines, "update_every = {}", seconds(detection.update_every));
    }
    _ = writeln!(lines, "samples = {}", detection.samples);
    lines
}

fn rule_lines(rule: &Rule) -> String {
    let mut lines = String::new();
    let mut list = |name: &str, words: Vec<String>| {
        if !words.is_empty() {
            _ = writeln!(lines, "{name} = [{}]", words.join(", "));
        }
    };
    let quoted = |list: &[Prefix]| list.iter().map(|prefix| format!("\"{prefix}\"")).collect();
    let plain = |list: &[u16]| list.iter().map(u16::to_string).collect();
    let range = |list: &[(u16, u16)]| list.iter().map(|ends| show_range(*ends)).collect();
    list("source", quoted(&rule.source));
    list("destination", quoted(&rule.destination));
    list("protocols", rule.protocols.iter().map(u8::to_string).collect());
    list("source_ports", range(&rule.source_ports));
    list("destination_ports", range(&rule.destination_ports));
    list("tcp_flags", rule.tcp_flags.iter().map(|flags| show_flags(*flags)).collect());
    list("packet_lengths", range(&rule.packet_lengths));
    list("vlans", plain(&rule.vlans));
    list("ttls", rule.ttls.iter().map(|(a, b)| show_range(((*a).into(), (*b).into()))).collect());
    if let Some(fragment) = rule.fragment {
        _ = writeln!(lines, "fragment = {fragment}");
    }
    if let Some(family) = rule.family {
        let word = if family == Family::V4 { "ipv4" } else { "ipv6" };
        _ = writeln!(lines, "family = \"{word}\"");
    }
    lines
}

fn show_range((first, last): (u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("\"{first}-{last}\"") }
}

fn show_flags(flags: u16) -> String {
    format!("\"{}\"", TcpFlags(flags).to_string().replace(',', "+"))
}
