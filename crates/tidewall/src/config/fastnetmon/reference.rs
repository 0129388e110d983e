//! A configuration of FastNetMon as values by key: what was typed where, what was meant, and the
//! built-in value of what was left out. Later features take their settings from here.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::nearest::nearest;
use super::super::sink::Sink;
use super::super::table::Place;
use super::keys::{self, Feature, Key, Kind, Standing};
use super::lines::{Line, shown};
use super::value;

/// A key that was typed.
#[derive(Clone, Debug)]
pub struct Entry {
    key: &'static Key,
    typed: String,
    meant: String,
    line: usize,
    span: Range<usize>,
}

impl Entry {
    /// What is known about the key.
    pub const fn key(&self) -> &'static Key {
        self.key
    }

    /// The value as it was typed.
    pub fn typed(&self) -> &str {
        &self.typed
    }

    /// Line of the file, from 1.
    pub const fn line(&self) -> usize {
        self.line
    }

    /// Where it stands, for a warning.
    pub(super) fn place(&self, name: &str) -> Place {
        Place { field: shown(name), span: self.span.clone(), ..Place::default() }
    }
}

/// What a configuration of FastNetMon says, by key.
///
/// A host group's keys have the group's name and `_` in front. The key `hostgroup` itself is not
/// here: its groups are groups of the policy.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    entries: BTreeMap<String, Entry>,
}

impl Reference {
    /// Sorts lines into their keys; `groups` are the names of the host groups, sorted.
    pub(super) fn read(lines: &[Line<'_>], groups: &[&str], sink: &mut Sink) -> Self {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        for line in lines {
            let at = Place { field: shown(line.key), span: line.span.clone(), ..Place::default() };
            let Some((name, key)) = recognise(line, groups, sink) else { continue };
            if key.kind == Kind::HostGroup {
                continue;
            }
            value::inspect(key, &name, line.value, &at, sink);
            let entry = Entry {
                key,
                typed: line.value.to_owned(),
                meant: value::meant(key.kind, line.value).to_owned(),
                line: line.number,
                span: line.span.clone(),
            };
            if let Some(earlier) = entries.insert(name, entry) {
                let reason = format!(
                    "this replaces the value of line {}: the last one counts, as in FastNetMon",
                    earlier.line
                );
                sink.warn(&at, reason, "keep one of the two");
            }
        }
        Self { entries }
    }

    /// The key as it was typed, if it was.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// All typed keys with their names.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The typed keys of a host group.
    pub(super) fn of_group(&self, group: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let front = format!("{group}_");
        let from = self.entries.range(front.clone()..);
        let named = from.take_while(move |(name, _)| name.starts_with(&front));
        let length = group.len() + 1;
        let of_it = named.filter(move |(name, entry)| name.len() == length + entry.key.name.len());
        of_it.map(|(name, entry)| (name.as_str(), entry))
    }

    /// Is a switch on? What FastNetMon misreads as off is on when that is what was meant, but for
    /// switches that start something towards others.
    pub fn switch(&self, name: &str) -> bool {
        let Some(entry) = self.get(name) else { return built_in(name) == "on" };
        let outward = entry.key.is_outward();
        value::reads_on(entry.key, &entry.typed)
            || (!outward && value::means_on(&entry.meant) == Some(true))
    }

    /// A number in the unit of its key; the built-in one where none was typed that can be read.
    pub fn number(&self, name: &str) -> f64 {
        let built_in = || built_in(name).parse().unwrap_or(0.0);
        self.typed_number(name).unwrap_or_else(built_in)
    }

    /// A number that was typed and can be read.
    pub(super) fn typed_number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(|entry| value::number(entry.key.kind, &entry.meant))
    }

    /// A text; the built-in one where none was typed.
    pub fn text(&self, name: &str) -> &str {
        match (self.get(name), built_in(name).strip_prefix('@')) {
            (Some(entry), _) => &entry.meant,
            (None, Some(other)) => self.get(other).map_or(built_in(other), |entry| &entry.meant),
            (None, None) => built_in(name),
        }
    }

    /// The words of a list, trimmed.
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.text(name).split(',').map(str::trim).filter(|word| !word.is_empty()).collect()
    }

    /// The ports of a list of ports; what is none is left out.
    pub fn ports(&self, name: &str) -> Vec<u16> {
        self.list(name).into_iter().filter_map(value::port).collect()
    }

    /// Does this key, as it was typed, start what it belongs to?
    pub(super) fn starts(&self, name: &str, entry: &Entry) -> Option<Feature> {
        let Standing::Starts(feature) = entry.key.standing else { return None };
        let on = match entry.key.kind {
            Kind::Switch => self.switch(name),
            _ => !entry.meant.is_empty(),
        };
        on.then_some(feature)
    }
}

fn built_in(name: &str) -> &'static str {
    keys::find(name).map_or("", |key| key.absent)
}

/// The key of a line under its present name, or a warning that there is none.
fn recognise(line: &Line<'_>, groups: &[&str], sink: &mut Sink) -> Option<(String, &'static Key)> {
    let at = Place { field: shown(line.key), span: line.key_span.clone(), ..Place::default() };
    if let Some(key) = keys::find(line.key) {
        let Standing::Renamed(name) = key.standing else {
            return Some((key.name.to_owned(), key));
        };
        let reason = format!("since 1.2.3 this is `{name}`, and FastNetMon ignores the old name");
        sink.warn(&at, reason, format!("write `{name} = {}`", value::plain(line.value)));
        return keys::find(name).map(|key| (name.to_owned(), key));
    }
    // Keys of groups: a name, `_`, and one of their keys.
    let of_groups = line.key.match_indices('_').filter_map(|(cut, _)| {
        let (group, suffix) = line.key.split_at(cut);
        Some((group, keys::find_group_key(&suffix[1..])?))
    });
    let mut no_group = None;
    for (group, key) in of_groups {
        if groups.binary_search(&group).is_ok() {
            return Some((line.key.to_owned(), key));
        }
        // FastNetMon never looks for it.
        no_group = no_group.or(Some(group));
    }
    let near = (!sink.is_full()).then(|| nearest(line.key, keys::names())).flatten();
    let fix = match (near, no_group) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, Some(group)) => {
            let group = shown(group);
            format!("there is no host group {group}: add `hostgroup = {group}:192.0.2.0/24`")
        }
        (None, None) => "remove the line, or write `#` in front of it".to_owned(),
    };
    let reason =
        "no release of FastNetMon knows this key, and says nothing about it; it is ignored";
    sink.warn(&at, reason, fix);
    None
}
