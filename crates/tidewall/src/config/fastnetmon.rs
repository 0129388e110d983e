//! FastNetMon Community's configuration read as it is: `fastnetmon.conf` of 1.1 to 1.2.9, its
//! networks list, whitelist and whitelist rules, to the same policy that a TOML file gives.
//!
//! What FastNetMon passes over is a warning here and what it does not survive an error. Where it
//! reads something else than was written, what was written holds and a warning says so; except for
//! switches that start something towards others, which stay off.

mod answers;
mod checks;
mod document;
mod groups;
pub mod keys;
mod lines;
mod policy;
mod prefixes;
mod reference;
mod rules;
mod sources;
mod value;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use tidewall_engine::{Policy, Whitelist};
use tidewall_model::Prefix;

use super::diagnostic::{ConfigErrors, Diagnostic};
use super::networks::NetworkSet;
use super::sink::Sink;
use super::{Frames, Loaded, LogLevel, Service};
use crate::control::Rights;
use crate::respond::Settings;
use policy::Found;
use prefixes::{Folders, List, ListFile, show_path};

pub use prefixes::ReadFile;
pub use reference::{Entry, Reference};

/// Where the journal of a service is that bans.
const STATE: &str = "/var/lib/tidewall";

/// A configuration with all that is to be said of it.
struct Understood {
    policy: Policy,
    frames: Frames,
    respond: Settings,
    service: Service,
    reference: Reference,
    /// Host groups as they were typed, in the order of the policy's groups behind the first.
    group_names: Vec<String>,
    /// The lines of these groups.
    group_lines: Vec<usize>,
    /// About the configuration file.
    warnings: Vec<Diagnostic>,
    /// The lists that were found.
    lists: Vec<ReadList>,
}

/// A list that was found.
struct ReadList {
    /// Its usual name.
    name: &'static str,
    path: PathBuf,
    /// How many entries it has.
    count: usize,
    warnings: Vec<Diagnostic>,
}

impl ReadList {
    fn what(&self) -> String {
        format!("{} entries", self.count)
    }
}

/// Is this text FastNetMon's configuration, and not TOML? Told by its keys, whatever its name.
pub fn is_reference(text: &str) -> bool {
    let (mut theirs, mut ours) = (0, 0);
    for item in lines::items(text) {
        if item.text.starts_with('[') {
            ours += 1;
            continue;
        }
        let Some((key, value)) = lines::split(item.text) else { continue };
        if super::TABLE.key(key).is_some() {
            ours += 1;
        } else if keys::find(key).is_some() && !value.starts_with(['{', '[', '"']) {
            theirs += 1;
        }
    }
    theirs > ours
}

/// Understands the text of `fastnetmon.conf`. `path` is where it was read from, `root` what `/`
/// means in it, and `read` reads its lists.
pub fn parse(
    path: &Path,
    text: &str,
    root: &Path,
    read: &ReadFile<'_>,
) -> Result<Loaded, ConfigErrors> {
    let understood = understand(path, text, root, read)?;
    let lists = understood.lists.into_iter().flat_map(|list| list.warnings);
    Ok(Loaded {
        policy: understood.policy,
        own_addresses: understood.reference.switch("monitor_local_ip_addresses"),
        openvz_addresses: understood.reference.openvz_addresses(),
        frames: understood.frames,
        flows: understood.reference.flows(),
        listen: understood.reference.listen(),
        mirrors: understood.reference.mirrors(),
        service: understood.service,
        rights: Rights::default(),
        respond: understood.respond,
        warnings: understood.warnings.into_iter().chain(lists).collect(),
        reference: Some(understood.reference),
    })
}

/// The TOML text that `fastnetmon.conf` stands for, and how many warnings are in its comments.
pub fn import(
    path: &Path,
    text: &str,
    root: &Path,
    read: &ReadFile<'_>,
) -> Result<(String, usize), ConfigErrors> {
    let understood = understand(path, text, root, read)?;
    let listed = understood.lists.iter().map(|list| list.warnings.len()).sum::<usize>();
    let text = document::print(&understood, &path.display().to_string());
    Ok((text, understood.warnings.len() + listed))
}

/// What was recognised and is inactive, as text for people; empty when there is nothing.
pub fn describe_inactive(reference: &Reference) -> String {
    let mut rows: Vec<(keys::Feature, Vec<&str>, bool)> = Vec::new();
    for (name, entry) in reference.entries() {
        let Some(feature) = entry.key().feature() else { continue };
        let on = reference.starts(name, entry).is_some();
        match rows.iter_mut().find(|(known, ..)| *known == feature) {
            Some((_, names, any)) => {
                names.push(name);
                *any |= on;
            }
            None => rows.push((feature, vec![name], on)),
        }
    }
    rows.sort_by_key(|(feature, ..)| *feature);
    let mut text = String::new();
    for (feature, names, on) in rows {
        if text.is_empty() {
            text.push_str("\nRecognised and inactive: this version does not have it\n");
        }
        let on = if on { ", turned on" } else { "" };
        _ = writeln!(text, "  {}{on}: {}", feature.name(), names.join(", "));
    }
    text
}

fn understand(
    path: &Path,
    text: &str,
    root: &Path,
    read: &ReadFile<'_>,
) -> Result<Understood, ConfigErrors> {
    let mut sink = Sink::new(&path.display().to_string(), text);
    let lines = lines::lines(text, &mut sink);
    let names = groups::names(&lines);
    let reference = Reference::read(&lines, &names, &mut sink);
    let beside = path.parent().unwrap_or_else(|| Path::new(""));
    let mut lists = Lists { folders: Folders { beside, root, read }, list: Vec::new(), bad: false };
    let networks = lists.prefixes(List::Networks, &reference, &mut sink);
    let hosts = lists.prefixes(List::Whitelist, &reference, &mut sink);
    let rules = lists.rules(&mut sink);
    let set: NetworkSet = networks.iter().copied().collect();
    let groups = groups::read(&lines, &set, &mut sink);
    let whitelist = Whitelist { hosts, remotes: Vec::new(), rules };
    let found = Found { reference: &reference, groups: &groups, networks, whitelist };
    let frames = found.frames(&mut sink);
    let policy = found.policy(&mut sink);
    let respond = answers::settings(&reference, &policy, &mut sink);
    // What was announced is to be known after a restart.
    let state = policy.detection.enabled.then(|| STATE.into());
    let debug = reference.text("logging_level").eq_ignore_ascii_case("debug");
    let service = Service {
        state,
        log_level: if debug { LogLevel::Debug } else { LogLevel::Info },
        local_syslog: reference.switch("logging_local_syslog_logging"),
        ..Service::default()
    };
    checks::check(&reference, &mut sink);
    if sink.has_errors() || lists.bad {
        let listed = lists.list.into_iter().flat_map(|list| list.warnings);
        return Err(ConfigErrors::Invalid(sink.finish().into_iter().chain(listed).collect()));
    }
    Ok(Understood {
        policy,
        frames,
        respond,
        service,
        reference,
        group_names: groups.iter().map(|group| group.typed.clone()).collect(),
        group_lines: groups.iter().map(|group| group.line).collect(),
        warnings: sink.finish(),
        lists: lists.list,
    })
}

/// The lists of a configuration, as they are read.
struct Lists<'a> {
    folders: Folders<'a>,
    list: Vec<ReadList>,
    /// Was there an error in one of them?
    bad: bool,
}

impl Lists<'_> {
    fn prefixes(&mut self, list: List, reference: &Reference, sink: &mut Sink) -> Vec<Prefix> {
        let (name, key) = match list {
            List::Networks => ("networks_list", "networks_list_path"),
            List::Whitelist => ("networks_whitelist", "white_list_path"),
        };
        let typed = reference.get(key).map(|entry| (key, entry, reference.text(key)));
        if let Some((key, entry, "")) = typed {
            let reason = format!(
                "there is no path: FastNetMon reads no list; here it is `{name}` beside this file, \
                 or /etc/{name}"
            );
            sink.warn(&entry.place(key), reason, format!("write `{key} = /etc/{name}`"));
        }
        let typed = typed.filter(|(_, _, path)| !path.is_empty());
        let Some(file) = self.folders.find(name, typed, sink) else { return Vec::new() };
        self.keep(name, file, |text, sink| prefixes::read(list, text, sink))
    }

    fn rules(&mut self, sink: &mut Sink) -> Vec<tidewall_engine::Rule> {
        let name = "whitelist_rules";
        let Some(file) = self.folders.find(name, None, sink) else { return Vec::new() };
        self.keep(name, file, rules::read)
    }

    /// Reads a list that was found, and remembers what is to be said of it.
    fn keep<T>(
        &mut self,
        name: &'static str,
        file: ListFile,
        read: impl Fn(&str, &mut Sink) -> Vec<T>,
    ) -> Vec<T> {
        let mut sink = Sink::new(&show_path(&file.path), &file.text);
        let entries = read(&file.text, &mut sink);
        self.bad |= sink.has_errors();
        let count = entries.len();
        self.list.push(ReadList { name, path: file.path, count, warnings: sink.finish() });
        entries
    }
}
