//! `[[group]]`: hosts with limits of their own, and how groups inherit.

use std::collections::BTreeMap;

use tidewall_engine::{Counting, DirectedLimits, Group};
use tidewall_model::{Direction, Prefix};

use super::actions::GroupScript;
use super::mitigation::MitigationTable;
use super::nearest::nearest;
use super::networks::NetworkSet;
use super::sink::Sink;
use super::table::{Typed, table};
use super::thresholds::ThresholdsTable;
use super::value::Name;
use super::whitelist::plain;

table! {
    /// A group of hosts with limits of its own; as many of these as you like. A host belongs to the
    /// group with the longest prefix around it, and to `global` when there is none. What a group
    /// leaves out it inherits from its parent: `detect`, and each limit of its hosts and networks.
    /// Limits of totals are not inherited.
    struct GroupTable {
        /// Its name: letters, digits, `-`, `_` and `.`; every group has another one.
        #[example = "\"web\""]
        name: Name,

        /// The group it inherits from. Left out, it is "global": the limits under [thresholds].
        #[example = "\"global\""]
        parent: Name,

        /// Its hosts: networks, parts of them, or single addresses.
        #[example = "[\"192.0.2.128/25\", \"2001:db8:2::/48\"]"]
        prefixes: Vec<Typed<Prefix>>,

        /// False: count, but raise nothing for these hosts, their networks and their total.
        #[example = "true"]
        detect: bool,

        /// A script for this group instead of those under [[script]]: an absolute path, or "off" for
        /// none.
        #[example = "\"/usr/local/bin/notify_web.sh\""]
        script: GroupScript,

        /// Limits of this group; what is left out is inherited.
        thresholds: ThresholdsTable,

        /// What is done about attacks on this group; what is left out is inherited.
        mitigation: MitigationTable,
    }
}

/// Name of the group that holds everything else.
const GLOBAL: &str = "global";

/// The group `global` and all typed ones with their inheritance resolved.
pub(super) fn resolve(
    global: Option<&Typed<ThresholdsTable>>,
    typed: &[Typed<GroupTable>],
    networks: &NetworkSet,
    sink: &mut Sink,
) -> Vec<Group> {
    let mut first = Group::global();
    if let Some(Typed { value: thresholds, .. }) = global {
        thresholds.overlay_hosts(&mut first.host);
        thresholds.overlay_networks(&mut first.network);
        first.total = thresholds.totals();
    }
    let names = names(typed, sink);
    let parents = parents(typed, &names, sink);
    check_prefixes(typed, &parents, networks, sink);

    let mut groups = vec![first];
    groups.extend(typed.iter().zip(&parents).map(|(group, parent)| Group {
        name: group.value.name.as_ref().map(|n| n.value.0.clone()).unwrap_or_default(),
        parent: Some(*parent),
        prefixes: plain(group.value.prefixes.as_ref()),
        detect: true,
        ..Group::default()
    }));
    for index in parents_first(&parents) {
        let Some(GroupTable { thresholds, detect, .. }) = typed.get(index - 1).map(|g| &g.value)
        else {
            continue;
        };
        let parent = &groups[parents[index - 1]];
        let (mut host, mut network) = (parent.host.clone(), parent.network.clone());
        let inherited = parent.detect;
        let mut total = DirectedLimits::default();
        if let Some(Typed { value: thresholds, .. }) = thresholds {
            thresholds.overlay_hosts(&mut host);
            thresholds.overlay_networks(&mut network);
            total = thresholds.totals();
        }
        let group = &mut groups[index];
        (group.host, group.network, group.total) = (host, network, total);
        group.detect = detect.as_ref().map_or(inherited, |typed| typed.value);
    }
    groups
}

/// Warns of limits on what is not counted.
pub(super) fn check_counted(table: &ThresholdsTable, counting: Counting, sink: &mut Sink) {
    for (direction, limits) in table.typed_limits() {
        let counted = match direction {
            Direction::Incoming => counting.incoming,
            _ => counting.outgoing,
        };
        if !counted {
            let reason = format!("{direction} traffic is not counted, so these limits do nothing");
            sink.warn(&limits.at, reason, format!("set `{direction} = true` under [counting]"));
        }
        if let Some(at) = limits.value.flows_at()
            && !counting.flows
        {
            let reason = "flows are not counted, so this limit does nothing";
            sink.warn(at, reason, "set `flows = true` under [counting]");
        }
    }
}

/// Position in the policy of each name; twins, missing names and `global` itself are errors.
fn names<'t>(typed: &'t [Typed<GroupTable>], sink: &mut Sink) -> BTreeMap<&'t str, usize> {
    let mut names = BTreeMap::from([(GLOBAL, 0)]);
    for (index, group) in typed.iter().enumerate() {
        let Some(name) = &group.value.name else {
            if !sink.blames(&group.at) {
                let fix = "add a line such as `name = \"web\"`";
                sink.error_fix(&group.at, "a group needs a name", fix);
            }
            continue;
        };
        let text = name.value.0.as_str();
        if text == GLOBAL {
            let reason = "the group `global` exists already";
            let fix = "set its limits under [thresholds], or choose another name";
            sink.error_fix(&name.at, reason, fix);
        } else if let Some(twin) = names.insert(text, index + 1) {
            let reason = format!("the name {text:?} is taken by group[{}]", twin - 1);
            sink.error_fix(&name.at, reason, "choose another name");
        }
    }
    names
}

/// Position in the policy of each group's parent. Loops are reported and cut.
fn parents(
    typed: &[Typed<GroupTable>],
    names: &BTreeMap<&str, usize>,
    sink: &mut Sink,
) -> Vec<usize> {
    let mut parents = Vec::with_capacity(typed.len());
    for group in typed {
        let Some(Typed { value: Name(parent), at }) = &group.value.parent else {
            parents.push(0);
            continue;
        };
        let found = names.get(parent.as_str()).copied();
        if found.is_none() {
            let fix = match nearest(parent, names.keys().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "leave `parent` out to inherit from \"global\"".to_owned(),
            };
            sink.error_fix(at, format!("there is no group {parent:?}"), fix);
        }
        parents.push(found.unwrap_or(0));
    }
    cut_loops(typed, &mut parents, sink);
    parents
}

/// Walks from every group towards `global`; a walk that meets itself is a loop.
fn cut_loops(typed: &[Typed<GroupTable>], parents: &mut [usize], sink: &mut Sink) {
    // 0: not visited, otherwise the number of the walk that came by.
    let mut visited = vec![0; parents.len() + 1];
    for walk in 1..=parents.len() {
        let mut at = walk;
        while at != 0 && visited[at] == 0 {
            visited[at] = walk;
            at = parents[at - 1];
        }
        if at == 0 || visited[at] != walk {
            continue;
        }
        let name = |at: usize| match typed[at - 1].value.name.as_ref() {
            Some(name) => name.value.0.clone(),
            None => format!("group[{}]", at - 1),
        };
        let mut path = vec![name(at)];
        let mut next = parents[at - 1];
        while next != at && path.len() < 10 {
            path.push(name(next));
            next = parents[next - 1];
        }
        path.push(if next == at { name(at) } else { "...".to_owned() });
        let group = &typed[at - 1];
        let place = group.value.parent.as_ref().map_or(&group.at, |parent| &parent.at);
        let reason = format!("a group cannot inherit from itself: {}", path.join(" -> "));
        sink.error_fix(place, reason, "end the chain at \"global\" by leaving one `parent` out");
        parents[at - 1] = 0;
    }
}

/// Positions of all groups but `global`, each after its parent.
fn parents_first(parents: &[usize]) -> Vec<usize> {
    let mut children = vec![Vec::new(); parents.len() + 1];
    for (index, parent) in parents.iter().enumerate() {
        children[*parent].push(index + 1);
    }
    let mut order = children[0].clone();
    let mut next = 0;
    while let Some(&index) = order.get(next) {
        order.extend_from_slice(&children[index]);
        next += 1;
    }
    order
}

/// Each prefix belongs to one group and to our networks.
fn check_prefixes(
    typed: &[Typed<GroupTable>],
    parents: &[usize],
    networks: &NetworkSet,
    sink: &mut Sink,
) {
    let mut owners: BTreeMap<Prefix, usize> = BTreeMap::new();
    let mut has_child = vec![false; parents.len() + 1];
    for parent in parents {
        has_child[*parent] = true;
    }
    for (index, group) in typed.iter().enumerate() {
        let prefixes = group.value.prefixes.as_ref();
        for prefix in prefixes.iter().flat_map(|list| &list.value) {
            match owners.insert(prefix.value, index) {
                Some(owner) if owner == index => {
                    let reason = format!("{} is in this group twice", prefix.value);
                    sink.warn(&prefix.at, reason, "remove one of them");
                }
                Some(owner) => {
                    let reason = format!("{} is in group[{owner}] already", prefix.value);
                    let fix = "a prefix has one group; use a longer prefix for a part of it";
                    sink.error_fix(&prefix.at, reason, fix);
                }
                None if networks.is_outside(prefix.value) => {
                    let reason = format!("{} is in none of the networks", prefix.value);
                    let fix = "only hosts of the networks are watched: add it to `networks`, or \
                               remove it";
                    sink.warn(&prefix.at, reason, fix);
                }
                None => {}
            }
        }
        let empty = prefixes.is_none_or(|list| list.value.is_empty());
        if empty && !has_child[index + 1] && !sink.blames(&group.at) {
            let fix = "add `prefixes = [...]`, or make it the parent of another group";
            sink.warn(&group.at, "a group without prefixes and children holds no host", fix);
        }
    }
}
