//! The configuration file: what was typed (TOML) to what it means ([`Policy`], [`Frames`]), with
//! every error found in one run and shown where it stands. A file of FastNetMon is told by its
//! content and read as it is.
//!
//! Each table is declared once, next to the code that reads it; the reader, the error texts and the
//! printed default file (`tidewall config default`) follow from that declaration.

mod actions;
mod bgp;
mod capacity;
mod control;
mod counting;
mod detection;
mod diagnostic;
mod document;
pub mod fastnetmon;
mod filters;
mod flows;
mod frames;
mod groups;
mod listen;
mod mirror;
mod mitigation;
mod nearest;
mod networks;
mod plan;
mod quantity;
mod secret;
mod sink;
mod table;
mod thresholds;
mod value;
mod whitelist;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use tidewall_engine::Policy;
use tidewall_model::Prefix;
use toml::de::{DeTable, DeValue};

use crate::control::Rights;
use crate::respond::Settings;
use actions::{
    ActionTables, ChatTable, GroupScripts, MailTable, MongoDbTable, RecordTable, RedisTable,
    ReportTable, ScriptTable, SyslogTable, WebhookTable, Workshop,
};
use bgp::{BgpTable, ExaBgpTable, GoBgpTable};
use capacity::CapacityTable;
use control::ControlTable;
use counting::CountingTable;
use detection::DetectionTable;
use filters::FiltersTable;
use flows::FlowsTable;
use frames::FramesTable;
use groups::GroupTable;
use listen::{ListenTable, ServiceTable, Text, text};
use mirror::MirrorTable;
use mitigation::{HistoryTable, ManualTable, MitigationTable, RailsTable};
use networks::NetworkSet;
use secret::Secrets;
use sink::Sink;
use thresholds::ThresholdsTable;
use whitelist::WhitelistTable;

pub use diagnostic::{ConfigErrors, Diagnostic, Severity, Style, render};
pub use document::default_file;
pub use flows::Flows;
pub use frames::Frames;
pub use listen::{CONTROL_SOCKET, Listen, LogLevel, Pinning, Service};
pub use mirror::{Mirror, MirrorSource};
pub use plan::{describe, networks_besides};
pub(crate) use quantity::parse_duration;
pub use table::{Key, Shape, Table};

use table::{FromToml, Place, Typed, table};

table! {
    /// The whole file.
    struct Root {
        /// Our networks: prefixes of both families, which may nest. They decide what is incoming
        /// and what is outgoing. Left empty, `tidewall replay` guesses one from the traffic.
        #[default = "[]"]
        #[example = "[\"192.0.2.0/24\", \"2001:db8::/32\"]"]
        networks: Vec<Typed<Prefix>>,

        /// `tidewall run` takes the machine's own addresses as networks too, each by itself, as
        /// they come and go. Without any `networks` it takes the networks of these addresses.
        #[default = "false"]
        #[example = "true"]
        own_addresses: bool,

        /// A file with a list of addresses: each of them is one of our networks, by itself, as they
        /// come and go. OpenVZ has the addresses of its containers in one. Left out, none.
        #[example = "\"/proc/vz/veip\""]
        openvz_addresses: Text,

        #[default = "{}"]
        thresholds: ThresholdsTable,

        group: Vec<Typed<GroupTable>>,

        #[default = "{}"]
        whitelist: WhitelistTable,

        #[default = "{}"]
        counting: CountingTable,

        #[default = "{}"]
        detection: DetectionTable,

        #[default = "{}"]
        filters: FiltersTable,

        #[default = "{}"]
        frames: FramesTable,

        #[default = "{}"]
        flows: FlowsTable,

        #[default = "{}"]
        listen: ListenTable,

        mirror: Vec<Typed<MirrorTable>>,

        #[default = "{}"]
        service: ServiceTable,

        #[default = "{}"]
        control: ControlTable,

        #[default = "{}"]
        mitigation: MitigationTable,

        #[default = "{}"]
        manual: ManualTable,

        #[default = "{}"]
        rails: RailsTable,

        #[default = "{}"]
        history: HistoryTable,

        #[default = "{}"]
        report: ReportTable,

        script: Vec<Typed<ScriptTable>>,

        record: Vec<Typed<RecordTable>>,

        webhook: Vec<Typed<WebhookTable>>,

        chat: Vec<Typed<ChatTable>>,

        mail: Vec<Typed<MailTable>>,

        syslog: Vec<Typed<SyslogTable>>,

        redis: Vec<Typed<RedisTable>>,

        mongodb: Vec<Typed<MongoDbTable>>,

        bgp: BgpTable,

        exabgp: ExaBgpTable,

        gobgp: GoBgpTable,

        #[default = "{}"]
        capacity: CapacityTable,
    }
}

/// Every table and key that a file may have.
pub static TABLE: &Table = &Root::TABLE;

/// Larger files are refused: a hundred thousand networks are 3 MB.
const LARGEST_FILE: u64 = 8 << 20;

/// A configuration that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the engine is to do.
    pub policy: Policy,
    /// Are the machine's own addresses ours, besides the networks?
    pub own_addresses: bool,
    /// A file whose addresses are ours, besides the networks.
    pub openvz_addresses: Option<PathBuf>,
    /// How frames are counted.
    pub frames: Frames,
    /// How export datagrams are read.
    pub flows: Flows,
    /// Where the service waits for datagrams.
    pub listen: Listen,
    /// Where the service takes frames from.
    pub mirrors: Vec<Mirror>,
    /// How the service lives on the machine.
    pub service: Service,
    /// Who may change something through the control socket.
    pub rights: Rights,
    /// What is done about attacks.
    pub respond: Settings,
    /// What is probably not what was meant, in order of position.
    pub warnings: Vec<Diagnostic>,
    /// All keys, where it is a configuration of FastNetMon.
    pub reference: Option<fastnetmon::Reference>,
}

impl Default for Loaded {
    /// No file: no network, and limits, ports and paths by default.
    fn default() -> Self {
        Self {
            policy: Policy::for_networks(Vec::new()),
            own_addresses: false,
            openvz_addresses: None,
            frames: Frames::default(),
            flows: Flows::default(),
            listen: Listen::default(),
            mirrors: Vec::new(),
            service: Service::default(),
            rights: Rights::default(),
            respond: Settings::default(),
            warnings: Vec::new(),
            reference: None,
        }
    }
}

/// Reads and understands a file, TOML or FastNetMon's.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    load_below(path, Path::new("/"))
}

/// The same, with the lists that FastNetMon's file names looked for beneath `root`.
pub fn load_below(path: &Path, root: &Path) -> Result<Loaded, ConfigErrors> {
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    if fastnetmon::is_reference(&text) {
        return fastnetmon::parse(path, &text, root, &read_whole);
    }
    let name = path.display().to_string();
    match std::str::from_utf8(&bytes) {
        Ok(text) => parse(&name, text),
        Err(error) => {
            let at = error.valid_up_to();
            let mut sink = Sink::new(&name, &text);
            let fix = "save the file as UTF-8".to_owned();
            sink.syntax(&(at..at + 1), "this is not UTF-8 text".to_owned(), fix);
            Err(ConfigErrors::Invalid(sink.finish()))
        }
    }
}

/// The TOML text that a configuration of FastNetMon stands for, and how many warnings it holds as
/// comments; `None` when the file is none.
pub fn import(path: &Path, root: &Path) -> Result<Option<(String, usize)>, ConfigErrors> {
    let bytes = read(path)?;
    let text = String::from_utf8_lossy(&bytes);
    if !fastnetmon::is_reference(&text) {
        return Ok(None);
    }
    fastnetmon::import(path, &text, root, &read_whole).map(Some)
}

fn read(path: &Path) -> Result<Vec<u8>, ConfigErrors> {
    read_whole(path).map_err(|source| ConfigErrors::Unreadable { path: path.to_owned(), source })
}

fn read_whole(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other("it is larger than 8 MiB"));
    }
    Ok(bytes)
}

/// Understands the text of a file; `name` stands in the error texts.
pub fn parse(name: &str, text: &str) -> Result<Loaded, ConfigErrors> {
    let mut sink = Sink::new(name, text);
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        report_syntax(error, text, &mut sink);
    }
    let at = Place { span: document.span(), ..Place::default() };
    let (before, broken_lines) = (sink.len(), sink.broken_lines());
    let value = DeValue::Table(document.into_inner());
    let root = Root::from_toml(&value, &at, &mut sink).unwrap_or_default();
    if !syntax.is_empty() {
        // What was recovered around a syntax error is a guess: report no second error on its
        // line, and no error about how tables fit together.
        sink.retain_since(before, |d| !broken_lines.contains(&d.line));
        return Err(ConfigErrors::Invalid(sink.finish()));
    }
    let mut loaded = root.resolve(&mut sink);
    if sink.has_errors() {
        return Err(ConfigErrors::Invalid(sink.finish()));
    }
    loaded.warnings = sink.finish();
    Ok(loaded)
}

impl Root {
    /// What it means. Where something is wrong the default takes its place, so that the rest is
    /// checked as well.
    fn resolve(self, sink: &mut Sink) -> Loaded {
        let networks = NetworkSet::resolve(self.networks.as_ref(), sink);
        let counting = value_or_default(self.counting.clone()).resolve(sink);
        for table in self.thresholds.iter().chain(self.group.iter().flat_map(group_thresholds)) {
            groups::check_counted(&table.value, counting, sink);
        }
        let typed = self.group.as_ref().map_or(&[][..], |list| &list.value);
        let groups = groups::resolve(self.thresholds.as_ref(), typed, &networks, sink);
        let policy = Policy {
            groups,
            whitelist: value_or_default(self.whitelist.clone()).resolve(&networks, sink),
            counting,
            detection: value_or_default(self.detection.clone()).resolve(sink),
            filters: value_or_default(self.filters.clone()).resolve(sink),
            capacity: value_or_default(self.capacity.clone()).resolve(sink),
            networks: networks.to_vec(),
        };
        let typed_service = self.service.as_ref().map(|table| &table.value);
        let withdraw = typed_service.and_then(|table| table.withdraw_on_stop.as_ref());
        let withdraw_on_stop = withdraw.is_some_and(|typed| typed.value);
        let service = value_or_default(self.service.clone()).resolve();
        let respond = Settings {
            withdraw_on_stop,
            ..self.respond(&policy, &networks, service.state.as_deref(), sink)
        };
        let tables = self.mirror.iter().flat_map(|list| &list.value);
        let mirrors = tables.flat_map(|table| MirrorTable::resolve(table, sink)).collect();
        Loaded {
            policy,
            own_addresses: self.own_addresses.as_ref().is_some_and(|typed| typed.value),
            openvz_addresses: text(self.openvz_addresses).map(PathBuf::from),
            mirrors,
            frames: value_or_default(self.frames).resolve(sink),
            flows: value_or_default(self.flows).resolve(sink),
            listen: value_or_default(self.listen).resolve(sink),
            service,
            rights: value_or_default(self.control).resolve(sink),
            respond,
            warnings: Vec::new(),
            reference: None,
        }
    }
}

impl Root {
    /// What is done about attacks.
    fn respond(
        &self,
        policy: &Policy,
        networks: &NetworkSet,
        state: Option<&Path>,
        sink: &mut Sink,
    ) -> Settings {
        let typed = self.group.as_ref().map_or(&[][..], |list| &list.value);
        let global = self.mitigation.as_ref();
        let (mut planner, answers) = mitigation::resolve(global, typed, &policy.groups, sink);
        planner.rails = value_or_default(self.rails.clone()).resolve(networks, sink);
        value_or_default(self.manual.clone()).resolve(&mut planner, sink);
        let retention = value_or_default(self.history.clone()).resolve(sink);
        let style = value_or_default(self.report.clone()).resolve(sink);
        let mut secrets = Secrets::default();
        let (bgp, exabgp, gobgp) = (self.bgp.as_ref(), self.exabgp.as_ref(), self.gobgp.as_ref());
        let before = sink.errors();
        let announcers = bgp::resolve(bgp, exabgp, gobgp, &mut secrets, sink);
        // A table that is wrong is no reason to say that nothing was set up.
        if sink.errors() == before {
            mitigation::check_routes(&answers, &announcers, &policy.networks, state, sink);
        }
        let scripts: Vec<_> = typed
            .iter()
            .map(|group| group.value.script.as_ref().map(|typed| &typed.value))
            .collect();
        let scripts = GroupScripts::resolve(&scripts, &policy.groups);
        let tables = ActionTables {
            script: self.script.clone(),
            record: self.record.clone(),
            webhook: self.webhook.clone(),
            chat: self.chat.clone(),
            mail: self.mail.clone(),
            syslog: self.syslog.clone(),
            redis: self.redis.clone(),
            mongodb: self.mongodb.clone(),
        };
        let mut workshop = Workshop { style: &style, secrets: &mut secrets, sink };
        let mut actions = tables.resolve(&scripts, &mut workshop);
        let hidden = secrets.variables();
        for action in &mut actions {
            if let tidewall_actions::Config::Script(script) = action {
                script.hidden_variables.clone_from(&hidden);
            }
        }
        let mut settings =
            Settings { planner, actions, announcers, retention, withdraw_on_stop: false };
        settings.protect_announcers();
        settings
    }
}

fn value_or_default<T: Default>(typed: Option<Typed<T>>) -> T {
    typed.map(|typed| typed.value).unwrap_or_default()
}

fn group_thresholds(
    list: &Typed<Vec<Typed<GroupTable>>>,
) -> impl Iterator<Item = &Typed<ThresholdsTable>> {
    list.value.iter().filter_map(|group| group.value.thresholds.as_ref())
}

/// An error of the TOML text, in our words where the parser's do not say what to do.
fn report_syntax(error: &toml::de::Error, text: &str, sink: &mut Sink) {
    let span = error.span().unwrap_or(text.len()..text.len());
    let typed = sink.typed(&span).trim().to_owned();
    let line = sink.line_of(span.start);
    let (reason, fix) = match error.message() {
        message if message.starts_with("string values must be quoted") => {
            unquoted(&key_before(text.get(..span.start).unwrap_or_default()), &typed)
        }
        message if message.starts_with("duplicate key") => {
            (format!("`{typed}` is set a second time"), "keep one of the two".to_owned())
        }
        message if message.starts_with("invalid") && holds_address(line) => {
            let reason = "an address or a prefix is text in quotes".to_owned();
            (reason, "for example `[\"192.0.2.0/24\", \"2001:db8::/32\"]`".to_owned())
        }
        message => {
            let fix = "see `tidewall config default` for every table and key";
            (message.chars().take(200).collect(), fix.to_owned())
        }
    };
    sink.syntax(&span, reason, fix);
}

/// What to say of a bare word where a value should be.
fn unquoted(key: &str, typed: &str) -> (String, String) {
    if typed.is_empty() {
        let reason = "there is no value".to_owned();
        return (reason, format!("write one behind `{key} =`, or remove the line"));
    }
    let short: String = typed.chars().take(60).collect();
    let fix = match short.to_lowercase().as_str() {
        "yes" | "on" | "enable" | "enabled" | "true" => format!("write `{key} = true`"),
        "no" | "off" | "disable" | "disabled" | "false" => {
            format!("write `{key} = false`, or `\"off\"` for a limit")
        }
        _ => format!("put it in quotes: `\"{}\"`", short.replace(['"', '\''], "")),
    };
    (format!("`{short}` is not a TOML value"), fix)
}

/// The key of the value that begins where this text ends.
fn key_before(text: &str) -> String {
    let line = text.rsplit('\n').next().unwrap_or_default();
    let before = line.trim_end().strip_suffix('=').or_else(|| Some(line.split_once('=')?.0));
    let before = before.unwrap_or(line).trim();
    let start = before.rfind(|c: char| !(c.is_alphanumeric() || "-_.".contains(c)));
    let key =
        start.map_or(before, |at| before[at..].trim_start_matches(|c: char| !c.is_alphanumeric()));
    key.chars().take(40).collect()
}

/// Is an address or a prefix among the words of the value on this line?
fn holds_address(line: &str) -> bool {
    let value = line.split_once('=').map_or(line, |(_, value)| value);
    let words = value.split(|c: char| !(c.is_ascii_hexdigit() || ".:/".contains(c)));
    words.filter(|word| word.len() > 3).any(|word| Prefix::parse_lossy(word).is_ok())
}
