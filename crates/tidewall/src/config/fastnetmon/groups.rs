//! Host groups: `hostgroup = name:prefix,prefix`, and where FastNetMon would not apply them.

use std::collections::{BTreeMap, BTreeSet};

use tidewall_model::{Family, Prefix};

use super::super::networks::NetworkSet;
use super::super::sink::Sink;
use super::super::table::Place;
use super::keys::Kind;
use super::lines::Line;
use super::prefixes::{ParsedPrefix, parse};
use super::value::{meant, plain, quoted};

/// A group of hosts.
#[derive(Clone, Debug)]
pub(super) struct HostGroup {
    /// Its name as it was typed: it stands in front of the group's keys.
    pub(super) typed: String,
    /// The same as a name that a group may have here.
    pub(super) name: String,
    /// Its prefixes, sorted, each in no other group.
    pub(super) prefixes: Vec<Prefix>,
    /// Where it was typed.
    pub(super) at: Place,
    /// Line of the file, from 1.
    pub(super) line: usize,
}

/// Longest name of a group.
const LONGEST_NAME: usize = 64;
/// The key.
pub(super) const KEY: &str = "hostgroup";

/// Name and list of a group, as they were meant.
fn split(value: &str) -> Option<(&str, &str)> {
    let (name, list) = meant(Kind::HostGroup, value).split_once(':')?;
    let list = match list.trim_start_matches(':') {
        // FastNetMon merges colons in a row. An IPv6 prefix may begin with them.
        rest if !rest.contains(':') && rest.contains('.') => rest,
        _ => list,
    };
    let name = name.trim();
    (!name.is_empty()).then(|| (name, list.trim()))
}

/// Names of all groups, as they were typed.
pub(super) fn names<'t>(lines: &[Line<'t>]) -> Vec<&'t str> {
    let groups = lines.iter().filter(|line| line.key == KEY);
    let mut names: Vec<_> = groups.filter_map(|line| Some(split(line.value)?.0)).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// All groups in the order of the file.
pub(super) fn read(lines: &[Line<'_>], networks: &NetworkSet, sink: &mut Sink) -> Vec<HostGroup> {
    let mut groups: Vec<HostGroup> = Vec::new();
    let mut typed_names = BTreeMap::new();
    let mut names = BTreeSet::from(["global".to_owned()]);
    let mut owners: BTreeMap<Prefix, String> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.key == KEY) {
        let at = Place { field: KEY.to_owned(), span: line.span.clone(), ..Place::default() };
        let Some((typed, list)) = split(line.value) else {
            let reason = "a host group is `name:prefix,prefix`; this one does not exist, here and \
                          in FastNetMon";
            sink.warn(&at, reason, "for example `hostgroup = web:192.0.2.0/24,198.51.100.0/24`");
            continue;
        };
        if meant(Kind::Text, line.value) != line.value {
            let reason = "FastNetMon takes the comment or the quotes as part of the list; here \
                          they are none";
            sink.warn(&at, reason, format!("write `{KEY} = {}:{}`", plain(typed), plain(list)));
        }
        if let Some(first) = typed_names.get(typed) {
            let reason = format!(
                "the group {} is defined in line {first}: this line is ignored, as in FastNetMon",
                quoted(typed)
            );
            sink.warn(&at, reason, "put all prefixes of a group on one line");
            continue;
        }
        typed_names.insert(typed, line.number);
        let name = own_name(typed, line.number, &mut names, &at, sink);
        let prefixes = prefixes(list, typed, &mut owners, &at, sink);
        for prefix in &prefixes {
            compare(*prefix, networks, &at, sink);
        }
        groups.push(HostGroup { typed: typed.to_owned(), name, prefixes, at, line: line.number });
    }
    nested_networks(&groups, &owners, networks, sink);
    groups
}

/// A name of letters, digits, `-`, `_` and `.` that no other group has.
fn own_name(
    typed: &str,
    line: usize,
    names: &mut BTreeSet<String>,
    at: &Place,
    sink: &mut Sink,
) -> String {
    let good = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    let clean: Vec<char> = typed.chars().map(|c| if good(c) { c } else { '_' }).collect();
    let mut name: String = clean.iter().take(LONGEST_NAME).collect();
    let mut end = format!("-{line}");
    while !names.insert(name.clone()) {
        name = clean.iter().copied().take(LONGEST_NAME - end.len()).chain(end.chars()).collect();
        end.push('x');
    }
    if name != typed {
        let reason = format!(
            "the group is called {name} here: names have up to {LONGEST_NAME} letters, digits, \
             `-`, `_` or `.`, and `global` is taken"
        );
        sink.warn(at, reason, "give it another name, in front of its keys too");
    }
    name
}

/// The prefixes of a list that belong to no group yet.
fn prefixes(
    list: &str,
    group: &str,
    owners: &mut BTreeMap<Prefix, String>,
    at: &Place,
    sink: &mut Sink,
) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    let mut blanks = false;
    for word in list.split(',').filter(|word| !word.trim().is_empty()) {
        blanks |= word != word.trim();
        let Ok(ParsedPrefix { prefix, host_bits, bare }) = parse(word.trim()) else {
            let reason =
                format!("{} is not a prefix; it is left out, as in FastNetMon", quoted(word));
            sink.warn(at, reason, "for example 192.0.2.0/24");
            continue;
        };
        let differs = if prefix.family() == Family::V6 {
            "FastNetMon cannot have an IPv6 prefix in a host group"
        } else if bare {
            "FastNetMon takes no address without a length"
        } else if host_bits {
            "FastNetMon does not clear the bits behind the length, so it never finds a host in it"
        } else {
            ""
        };
        if !differs.is_empty() {
            let reason = format!("{differs}; here {} stands for {prefix}", quoted(word));
            sink.warn(at, reason, format!("write {prefix}; leave it out for what FastNetMon did"));
        }
        if let Some(owner) = owners.get(&prefix) {
            let reason =
                format!("{prefix} is in the group {} already, which keeps it", quoted(owner));
            sink.warn(at, reason, "a prefix has one group: remove it here or there");
            continue;
        }
        owners.insert(prefix, group.to_owned());
        prefixes.push(prefix);
    }
    if blanks {
        let reason =
            "FastNetMon does not know a prefix with a blank beside it; here it does no harm";
        sink.warn(at, reason, "write the prefixes with commas only between them");
    }
    if prefixes.is_empty() {
        sink.warn(
            at,
            "no prefix is left, so the group holds no host",
            "add one, or remove the group",
        );
    }
    prefixes.sort_unstable();
    prefixes
}

/// FastNetMon applies a group where its prefix is a line of the networks list, and nowhere else.
fn compare(prefix: Prefix, networks: &NetworkSet, at: &Place, sink: &mut Sink) {
    if networks.is_empty() || networks.has(prefix) {
        return;
    }
    if networks.is_outside(prefix) {
        let reason = format!("{prefix} is in none of the networks, so it holds no host");
        sink.warn(at, reason, "add it to the networks list, or remove it");
        return;
    }
    let reason = format!(
        "{prefix} is no line of the networks list, so FastNetMon ignores it and its hosts have the \
         global limits; here they have the group's"
    );
    sink.warn(at, reason, format!("for both to agree, add {prefix} to the networks list"));
}

/// A network within a group's prefix is one of its own to FastNetMon, with the global limits.
fn nested_networks(
    groups: &[HostGroup],
    owners: &BTreeMap<Prefix, String>,
    networks: &NetworkSet,
    sink: &mut Sink,
) {
    let networks = networks.to_vec();
    for group in groups {
        for prefix in &group.prefixes {
            // Sorted by address, then length: what lies within the prefix follows it.
            let from = networks.partition_point(|network| network < prefix);
            let mut within = networks[from..].iter().take_while(|network| prefix.covers(**network));
            let other = within.find(|network| !owners.contains_key(network));
            if let Some(network) = other.filter(|_| networks.get(from) == Some(prefix)) {
                let reason = format!(
                    "{network} lies within {prefix}; FastNetMon gives its hosts the global limits, \
                     for it is a line of its own in the networks list; here they have the group's"
                );
                sink.warn(&group.at, reason, format!("to be clear, add {network} to a group"));
            }
        }
    }
}
