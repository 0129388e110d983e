//! Every key of FastNetMon's releases is in the table of keys, and no other. The list of their
//! names is beside this file. The inventory that it comes from is not part of this repository: it
//! is looked for beside the checkout, next to the corpus, and compared too.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tidewall::config::fastnetmon::keys;

/// Names of all keys, one a line; `<group>_` stands for a host group's name.
const NAMES: &str = include_str!("inventory.txt");

/// What stands in backticks in the tables and is no key, and why.
const NO_KEYS: &[(&str, &str)] = &[
    ("_ipv6", "the ending of keys that have a form for IPv6; each has its row elsewhere"),
    ("logging:*", "a family of keys; each has its row elsewhere"),
];

fn reference() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let corpus = std::env::var_os("TIDEWALL_CORPUS").map(PathBuf::from);
    let shared = corpus.and_then(|corpus| corpus.parent().map(Path::to_owned)).unwrap_or(beside);
    let folder = shared.join("reference");
    if !folder.is_dir() {
        println!("skipped: there is no inventory of FastNetMon's keys beside this checkout");
        return None;
    }
    Some(folder)
}

/// Words in backticks.
fn words(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The text from one heading to another.
fn section<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let start = text.find(from).unwrap();
    &text[start..start + text[start..].find(to).unwrap()]
}

/// `a_{b,c}` stands for two words.
fn expand(word: &str) -> Vec<String> {
    let Some((front, (choices, rest))) =
        word.split_once('{').and_then(|(front, rest)| Some((front, rest.split_once('}')?)))
    else {
        return vec![word.to_owned()];
    };
    choices.split(',').flat_map(|choice| expand(&format!("{front}{choice}{rest}"))).collect()
}

/// Is the word a key, an ending of one, or the beginning of several?
fn is_known(word: &str) -> bool {
    if let Some(of_group) = word.strip_prefix("<group>_") {
        return keys::find_group_key(of_group).is_some();
    }
    if let Some(front) = word.strip_suffix('*') {
        return keys::names().filter(|name| name.starts_with(front)).count() > 1;
    }
    if let Some(ending) = word.strip_prefix('_') {
        let of_family = format!("clickhouse_metrics{word}");
        return keys::find_group_key(ending).is_some() || keys::find(&of_family).is_some();
    }
    keys::find(word).is_some()
}

#[test]
fn the_table_has_the_keys_of_the_list_and_no_other() {
    let names: BTreeSet<&str> = NAMES.lines().collect();
    assert_eq!(names.len(), NAMES.lines().count(), "one is there twice");
    let (of_groups, global): (BTreeSet<&str>, BTreeSet<&str>) =
        names.into_iter().partition(|name| name.starts_with("<group>_"));
    assert_eq!(keys::names().collect::<BTreeSet<_>>(), global);
    let limits = keys::LIMITS.iter().flat_map(|limit| [limit.switch, limit.threshold]);
    let known = limits.chain(["enable_ban", "enable_ban_ipv6"]);
    let known: BTreeSet<String> = known.map(|ending| format!("<group>_{ending}")).collect();
    assert_eq!(known.iter().map(String::as_str).collect::<BTreeSet<_>>(), of_groups);
    assert!(of_groups.iter().all(|name| is_known(name)));
}

#[test]
fn every_key_of_the_inventory_is_in_the_table() {
    let Some(folder) = reference() else { return };
    let core = std::fs::read_to_string(folder.join("core.md")).unwrap();
    let capture = std::fs::read_to_string(folder.join("capture.md")).unwrap();
    let tables = [section(&core, "### 1.2 ", "### 1.4 "), section(&capture, "## 10. ", "## 11. ")];
    let mut found: BTreeSet<String> = BTreeSet::new();
    for row in tables.iter().flat_map(|table| table.lines()).filter(|line| line.starts_with('|')) {
        let mut cells = row.trim_matches('|').split('|');
        let first = cells.next().unwrap();
        found.extend(words(first).flat_map(expand));
        if first.contains("removed keys") {
            found.extend(words(cells.next_back().unwrap()).flat_map(expand));
        }
    }
    assert!(found.len() > 150, "the tables look otherwise now: {found:?}");
    let unknown: Vec<_> = found
        .iter()
        .filter(|word| !is_known(word) && !NO_KEYS.iter().any(|(known, _)| known == word))
        .collect();
    assert!(unknown.is_empty(), "keys without a row in the table: {unknown:?}");
    let listed: BTreeSet<&str> = NAMES.lines().collect();
    let plain = |word: &&String| !word.starts_with('_') && !word.ends_with('*');
    let new: Vec<_> = found.iter().filter(plain).filter(|w| !listed.contains(w.as_str())).collect();
    assert!(new.is_empty(), "keys that inventory.txt lacks: {new:?}");
    // And the other way round: each of our keys is in the inventory, by itself or in a family.
    let families: Vec<_> = found.iter().filter_map(|word| word.strip_suffix('*')).collect();
    let listed = |name: &str| {
        let ending = name.strip_prefix("clickhouse_metrics").unwrap_or(name);
        found.contains(name)
            || found.contains(ending)
            || families.iter().any(|front| name.starts_with(front))
    };
    let invented: Vec<_> = keys::names().filter(|name| !listed(name)).collect();
    assert!(invented.is_empty(), "keys that the inventory does not have: {invented:?}");
}
