//! `[[script]]`, and the scripts of host groups.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tidewall_actions::Config;
use tidewall_actions::report_text::Style;
use tidewall_actions::script::{self, Format};
use tidewall_engine::Group;
use toml::de::DeValue;

use super::super::listen::Text;
use super::super::sink::Sink;
use super::super::table::{FromToml, Place, Typed, table};
use super::super::value::{Name, found, word};
use super::{ActionTable, Workshop, tls};

table! {
    /// A program that is called for what happens, without a shell; as many of these as you like.
    /// FastNetMon's notify scripts work as they are. A host group may have a script of its own
    /// (`script` under [[group]]).
    struct ScriptTable {
        /// Its name in status and logs. Left out, the kind of the action, with a number from the
        /// second on.
        #[example = "\"notify\""]
        name: Name,

        /// The program: an absolute path. It is looked for at each call.
        #[example = "\"/usr/local/bin/notify_about_attack.sh\""]
        path: Text,

        /// What it gets. "text": the arguments address, direction, packets per second and `ban` or
        /// `unban`, the report on standard input at a ban, for hosts only. "json": the arguments
        /// event and target, a JSON document on standard input, for every event and target.
        #[default = "\"text\""]
        #[example = "\"json\""]
        format: Format,

        /// Time for one call, from 100ms to 10min; then all its processes are killed.
        #[default = "\"30s\""]
        #[example = "\"10s\""]
        timeout: Duration,
    }
}

impl FromToml for Format {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        word(value, &[("text", Self::Text), ("json", Self::Json)], at, sink)
    }
}

impl ActionTable for ScriptTable {
    fn name(&self) -> Option<&Typed<Name>> {
        self.name.as_ref()
    }

    fn config(&self, at: &Place, workshop: &mut Workshop<'_>) -> Option<Config> {
        let path = workshop.needed(self.path.as_ref(), "path", "\"/opt/notify.sh\"", at)?;
        let usual = script::Config::new(&*path.0);
        if usual.path.is_relative()
            && let Some(typed) = &self.path
        {
            let reason = "must be an absolute path: the service's folder is nobody's choice";
            workshop.sink.error(&typed.at, reason);
        }
        Some(Config::Script(script::Config {
            format: self.format.as_ref().map_or(usual.format, |typed| typed.value),
            style: workshop.style.clone(),
            timeout: tls::timeout(self.timeout.as_ref(), usual.timeout, workshop.sink),
            ..usual
        }))
    }
}

/// The script of a host group: a path, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum GroupScript {
    /// No script is called for this group.
    Off,
    /// This one, and not those under `[[script]]`.
    At(PathBuf),
}

impl FromToml for GroupScript {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        match value {
            DeValue::String(text) if text == "off" => Some(Self::Off),
            DeValue::String(text) if text.starts_with('/') => {
                Some(Self::At(PathBuf::from(&**text)))
            }
            _ => {
                let reason =
                    format!("expected an absolute path or \"off\", found {}", found(value));
                sink.error(at, reason);
                None
            }
        }
    }
}

/// Scripts by host group, where they are not those of all.
#[derive(Clone, Debug, Default)]
pub(in crate::config) struct GroupScripts {
    /// Names of all groups.
    groups: Vec<String>,
    own: BTreeMap<String, GroupScript>,
}

impl GroupScripts {
    /// What was typed in the groups behind the first; children inherit.
    pub(in crate::config) fn resolve(typed: &[Option<&GroupScript>], groups: &[Group]) -> Self {
        let mut scripts = BTreeMap::new();
        for (index, group) in groups.iter().enumerate() {
            let mut at = Some(index);
            while let Some(here) = at {
                let own = here.checked_sub(1).and_then(|own| typed.get(own).copied().flatten());
                if let Some(own) = own {
                    scripts.insert(group.name.clone(), own.clone());
                    break;
                }
                at = groups.get(here).and_then(|group| group.parent);
            }
        }
        Self { groups: groups.iter().map(|group| group.name.clone()).collect(), own: scripts }
    }

    /// Tells the scripts: the first calls the groups' own, the others are silent for these groups.
    /// Without any there is one for these groups only.
    pub(super) fn hand_out(
        &self,
        configs: &mut Vec<Config>,
        style: &Style,
        name: impl FnOnce() -> String,
    ) {
        let own = |script: &GroupScript| match script {
            GroupScript::Off => None,
            GroupScript::At(path) => Some(path.clone()),
        };
        let mut first = true;
        for config in configs.iter_mut() {
            let Config::Script(config) = config else { continue };
            for (group, script) in &self.own {
                let path = own(script).filter(|_| first);
                config.group_paths.insert(group.clone(), path);
            }
            first = false;
        }
        if let Some(path) = self.own.values().find_map(own).filter(|_| first) {
            let mut config = script::Config::new(path);
            config.name = name();
            config.style = style.clone();
            config.group_paths = self.groups.iter().map(|g| (g.clone(), None)).collect();
            config.group_paths.extend(self.own.iter().map(|(group, s)| (group.clone(), own(s))));
            configs.push(Config::Script(config));
        }
    }
}
