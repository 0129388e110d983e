//! What is done about an attack besides routes: one table for each kind of action, each beside what
//! it means. All of them write reports in the style of `[report]`.

mod chat;
mod mail;
mod mongodb;
mod record;
mod redis;
mod script;
mod syslog;
mod tls;
mod webhook;

use std::collections::BTreeSet;

use tidewall_actions::report_text::{Generation, Style};
use tidewall_actions::{ActionKind, Config, Secret};
use toml::de::DeValue;

use super::listen::Text;
use super::secret::Secrets;
use super::sink::Sink;
use super::table::{FromToml, Place, Typed, table};
use super::value::{Name, within, word};

pub(super) use chat::ChatTable;
pub(super) use mail::MailTable;
pub(super) use mongodb::MongoDbTable;
pub(super) use record::RecordTable;
pub(super) use redis::RedisTable;
pub(super) use script::{GroupScript, GroupScripts, ScriptTable};
pub(super) use syslog::SyslogTable;
pub(super) use webhook::WebhookTable;

table! {
    /// How the reports are written that scripts, files, mails and stores get.
    struct ReportTable {
        /// Whose layout: "newest", that of FastNetMon 1.2.6 and later; or "1.2.4", that of 1.1.3 to
        /// 1.2.5, where a script is also called with `attack_details`.
        #[default = "\"newest\""]
        #[example = "\"1.2.4\""]
        generation: Generation,

        /// What FastNetMon does not know, as lines at the end of the summary.
        #[default = "true"]
        #[example = "false"]
        own_lines: bool,

        /// IPv6 addresses with leading zeros, as FastNetMon writes them, and not as RFC 5952 says.
        #[default = "false"]
        #[example = "true"]
        padded_ipv6: bool,

        /// Most lines of the sample, and of the flows of a protocol and direction, up to 10000.
        #[default = "20"]
        #[example = "100"]
        lines: u32,
    }
}

impl ReportTable {
    /// What it means. Times are in the machine's zone.
    pub(super) fn resolve(&self, sink: &mut Sink) -> Style {
        let default = Style::default();
        let on = |typed: &Option<Typed<bool>>, default| typed.as_ref().map_or(default, |t| t.value);
        Style {
            generation: self.generation.as_ref().map_or(default.generation, |t| t.value),
            own_lines: on(&self.own_lines, default.own_lines),
            padded_ipv6: on(&self.padded_ipv6, default.padded_ipv6),
            lines: within(self.lines.as_ref(), &(0..=10_000), "0 to 10000", 20, sink) as usize,
            zone: default.zone,
        }
    }
}

impl FromToml for Generation {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        word(value, &[("newest", Self::Newest), ("1.2.4", Self::V1_2_4)], at, sink)
    }
}

impl FromToml for ActionKind {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        word(value, &Self::ALL.map(|kind| (kind.name(), kind)), at, sink)
    }
}

/// What every action is made with.
pub(super) struct Workshop<'a> {
    /// How reports are written.
    pub(super) style: &'a Style,
    /// Where secrets come from.
    pub(super) secrets: &'a mut Secrets,
    /// What is wrong.
    pub(super) sink: &'a mut Sink,
}

impl Workshop<'_> {
    /// The typed value, or an error that it is missing.
    fn needed<'t, T>(
        &mut self,
        typed: Option<&'t Typed<T>>,
        key: &str,
        example: &str,
        at: &Place,
    ) -> Option<&'t T> {
        if typed.is_none() && !self.sink.blames(at) {
            let fix = format!("add a line such as `{key} = {example}`");
            self.sink.error_fix(at, format!("`{key}` is missing"), fix);
        }
        typed.map(|typed| &typed.value)
    }

    /// Typed events, or those of the kind.
    fn events(
        typed: Option<&Typed<Vec<Typed<ActionKind>>>>,
        usual: Vec<ActionKind>,
    ) -> Vec<ActionKind> {
        typed.map_or(usual, |list| list.value.iter().map(|kind| kind.value).collect())
    }
}

/// User and password, which come together.
fn login(
    user: Option<&Typed<Text>>,
    (file, variable): (Option<&Typed<Text>>, Option<&Typed<Text>>),
    workshop: &mut Workshop<'_>,
) -> Option<(String, Secret)> {
    let password = workshop.secrets.read(file, variable, workshop.sink);
    match (user, file.or(variable)) {
        (Some(user), None) => {
            let reason = "a user needs a password";
            let fix = "add `password_file = \"/etc/tidewall/...\"`, or `password_env`";
            workshop.sink.error_fix(&user.at, reason, fix);
        }
        (None, Some(password)) => {
            let fix = "add a line such as `user = \"tidewall\"`";
            workshop.sink.error_fix(&password.at, "a password needs its user", fix);
        }
        _ => {}
    }
    Some((user?.value.0.clone(), password?))
}

/// A table that stands for an action.
trait ActionTable {
    /// Its name, if it was typed.
    fn name(&self) -> Option<&Typed<Name>>;

    /// Its settings, with the name that they have when none is typed; `None` when something is
    /// wrong, which is told.
    fn config(&self, at: &Place, workshop: &mut Workshop<'_>) -> Option<Config>;
}

/// All tables of actions.
#[derive(Debug, Default)]
pub(super) struct ActionTables {
    pub(super) script: Option<Typed<Vec<Typed<ScriptTable>>>>,
    pub(super) record: Option<Typed<Vec<Typed<RecordTable>>>>,
    pub(super) webhook: Option<Typed<Vec<Typed<WebhookTable>>>>,
    pub(super) chat: Option<Typed<Vec<Typed<ChatTable>>>>,
    pub(super) mail: Option<Typed<Vec<Typed<MailTable>>>>,
    pub(super) syslog: Option<Typed<Vec<Typed<SyslogTable>>>>,
    pub(super) redis: Option<Typed<Vec<Typed<RedisTable>>>>,
    pub(super) mongodb: Option<Typed<Vec<Typed<MongoDbTable>>>>,
}

impl ActionTables {
    /// All actions, each with a name of its own.
    pub(super) fn resolve(
        &self,
        scripts: &GroupScripts,
        workshop: &mut Workshop<'_>,
    ) -> Vec<Config> {
        fn each<T: ActionTable>(
            list: Option<&Typed<Vec<Typed<T>>>>,
        ) -> impl Iterator<Item = (&dyn ActionTable, &Place)> {
            let tables = list.into_iter().flat_map(|list| &list.value);
            tables.map(|table| (&table.value as &dyn ActionTable, &table.at))
        }
        let tables: Vec<(&dyn ActionTable, &Place)> = each(self.script.as_ref())
            .chain(each(self.record.as_ref()))
            .chain(each(self.webhook.as_ref()))
            .chain(each(self.chat.as_ref()))
            .chain(each(self.mail.as_ref()))
            .chain(each(self.syslog.as_ref()))
            .chain(each(self.redis.as_ref()))
            .chain(each(self.mongodb.as_ref()))
            .collect();
        let mut names = Names::default();
        for (table, _) in &tables {
            names.typed(table.name(), workshop.sink);
        }
        let mut configs = Vec::new();
        for (table, at) in tables {
            let before = workshop.sink.len();
            let Some(mut config) = table.config(at, workshop) else { continue };
            let name = match table.name() {
                Some(name) => name.value.0.clone(),
                None => names.free(config.kind()),
            };
            set_name(&mut config, name);
            if workshop.sink.len() == before && !workshop.sink.blames(at) {
                check(&config, at, workshop.sink);
            }
            configs.push(config);
        }
        scripts.hand_out(&mut configs, workshop.style, || names.free("script"));
        configs
    }
}

/// Names of actions: those that were typed, and others for the rest.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn typed(&mut self, name: Option<&Typed<Name>>, sink: &mut Sink) {
        if let Some(name) = name
            && !self.0.insert(name.value.0.clone())
        {
            let reason = format!("another action is called {:?}", name.value.0);
            sink.error_fix(&name.at, reason, "choose another name");
        }
    }

    /// `mail`, `mail-2` and so on.
    fn free(&mut self, kind: &str) -> String {
        let mut name = kind.to_owned();
        let mut number = 1;
        while !self.0.insert(name.clone()) {
            number += 1;
            name = format!("{kind}-{number}");
        }
        name
    }
}

fn set_name(config: &mut Config, name: String) {
    let place = match config {
        Config::Script(config) => &mut config.name,
        Config::Record(config) => &mut config.name,
        Config::Webhook(config) => &mut config.name,
        Config::Chat(config) => &mut config.name,
        Config::Mail(config) => &mut config.name,
        Config::Syslog(config) => &mut config.name,
        Config::Redis(config) => &mut config.name,
        Config::MongoDb(config) => &mut config.name,
    };
    *place = name;
}

/// Name of an action.
pub(super) fn name(config: &Config) -> &str {
    match config {
        Config::Script(config) => &config.name,
        Config::Record(config) => &config.name,
        Config::Webhook(config) => &config.name,
        Config::Chat(config) => &config.name,
        Config::Mail(config) => &config.name,
        Config::Syslog(config) => &config.name,
        Config::Redis(config) => &config.name,
        Config::MongoDb(config) => &config.name,
    }
}

/// Refuses what the action itself would refuse when it is made. The record would make its folder
/// then, so it is checked where it is read.
fn check(config: &Config, at: &Place, sink: &mut Sink) {
    if matches!(config, Config::Record(_)) {
        return;
    }
    if let Err(error) = config.clone().build() {
        let place = Place { field: format!("{}.{}", at.field, error.field), ..at.clone() };
        let fix = "docs/actions.md has an example";
        sink.error_fix(&place, format!("{}: {}", error.field, error.message), fix);
    }
}
