//! The import table: which crate may import which, what the pure crates may import from outside,
//! and which crates must forbid unsafe code. The reasons are in ARCHITECTURE.md.

#[cfg(test)]
mod tests;

use std::fs;

use anyhow::{Context, Result, bail};

use crate::metadata::{self, Dependency, Metadata, Package};

/// What one of our crates may do.
struct Row {
    package: &'static str,
    /// Our crates that it may import.
    imports: &'static [&'static str],
    /// External crates that it may import; `None`: any that deny.toml accepts.
    external: Option<&'static [&'static str]>,
    /// May it hold unsafe code?
    may_be_unsafe: bool,
}

const PURE: &[&str] = &[MODEL, WIRE, COLLECT, ENGINE, SCENARIO, BGP];
const MODEL: &str = "tidewall-model";
const WIRE: &str = "tidewall-wire";
const COLLECT: &str = "tidewall-collect";
const ENGINE: &str = "tidewall-engine";
const SCENARIO: &str = "tidewall-scenario";
const BGP: &str = "tidewall-bgp";
const CAPTURE: &str = "tidewall-capture";
const ACTIONS: &str = "tidewall-actions";
const SINKS: &str = "tidewall-sinks";
const CONTROL: &str = "tidewall-control";
const TIDEWALL: &str = "tidewall";
const TESTKIT: &str = "tidewall-testkit";
const XTASK: &str = "xtask";

/// The table. Crates that do not exist yet have their row already: the direction is decided.
const TABLE: &[Row] = &[
    pure(MODEL, &[], &["serde", "thiserror"]),
    pure(WIRE, &[], &["thiserror"]),
    pure(COLLECT, &[MODEL, WIRE], &["thiserror"]),
    pure(ENGINE, &[MODEL], &["serde", "thiserror", "toml"]),
    pure(SCENARIO, &[MODEL, WIRE], &["serde", "thiserror", "toml"]),
    pure(BGP, &[MODEL], &["thiserror"]),
    Row { may_be_unsafe: true, ..edge(CAPTURE, &[COLLECT, WIRE, MODEL]) },
    edge(ACTIONS, &[BGP, MODEL]),
    edge(SINKS, &[MODEL]),
    edge(CONTROL, &[MODEL]),
    edge(
        TIDEWALL,
        &[MODEL, WIRE, COLLECT, ENGINE, SCENARIO, BGP, CAPTURE, ACTIONS, SINKS, CONTROL],
    ),
    edge(TESTKIT, PURE),
    edge(XTASK, &[]),
];

/// Our crates that any crate's tests may import besides what the crate itself imports.
const TESTS_MAY_IMPORT: &[&str] = &[TESTKIT, SCENARIO];

/// What the tests of one crate may import besides: sessions in captures are inside of frames.
const ONLY_ITS_TESTS_MAY_IMPORT: &[(&str, &str)] = &[(BGP, WIRE)];

/// External crates that the tests of a pure crate may import.
const PURE_TESTS_MAY_USE: &[&str] = &[
    "etherparse",
    "flate2",
    "insta",
    "netflow_parser",
    "proptest",
    "serde_json",
    "tempfile",
    "toml",
];

const fn pure(
    package: &'static str,
    imports: &'static [&'static str],
    external: &'static [&'static str],
) -> Row {
    Row { package, imports, external: Some(external), may_be_unsafe: false }
}

const fn edge(package: &'static str, imports: &'static [&'static str]) -> Row {
    Row { package, imports, external: None, may_be_unsafe: false }
}

/// Reads the workspace and fails with a sentence for every fault.
pub(crate) fn run() -> Result<()> {
    let metadata = metadata::read()?;
    let mut faults = import_faults(&metadata);
    faults.extend(unsafe_faults(&metadata)?);
    if faults.is_empty() {
        println!("{} crates, every import is in the table", metadata.packages.len());
        return Ok(());
    }
    for fault in &faults {
        eprintln!("deps: {fault}");
    }
    bail!("{} faults against the import table (see ARCHITECTURE.md, Crates)", faults.len());
}

/// Every edge that the table does not hold.
fn import_faults(metadata: &Metadata) -> Vec<String> {
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let Some(row) = row(&package.name) else {
            faults.push(format!(
                "{} is not in the import table. Make it a module of an existing crate; or, if it \
                 enforces an import direction, add its row to xtask/src/deps.rs and ARCHITECTURE.md.",
                package.name
            ));
            continue;
        };
        faults.extend(package.dependencies.iter().filter_map(|d| edge_fault(row, d, metadata)));
    }
    faults
}

fn edge_fault(row: &Row, dependency: &Dependency, metadata: &Metadata) -> Option<String> {
    let from = row.package;
    let to = dependency.name.as_str();
    let tests_only = dependency.kind.as_deref() == Some("dev");
    if !is_ours(to, metadata) {
        return external_fault(row, to, tests_only);
    }
    let in_tests =
        TESTS_MAY_IMPORT.contains(&to) || ONLY_ITS_TESTS_MAY_IMPORT.contains(&(from, to));
    if row.imports.contains(&to) || tests_only && in_tests {
        return None;
    }
    let kind = dependency.kind.as_deref().map(|k| format!("{k}-")).unwrap_or_default();
    let fix = match to {
        TESTKIT => "It is for tests: put it under [dev-dependencies].".to_owned(),
        TIDEWALL => "Nothing imports the binary: move what is needed down into a crate that both \
                     import."
            .to_owned(),
        XTASK => "Nothing imports the developer door.".to_owned(),
        _ if from == XTASK => "xtask must work when our crates do not compile: run the binary \
                               or read files instead."
            .to_owned(),
        _ => format!(
            "It may import {}. Move the shared type down into {MODEL}, or pass it in from {TIDEWALL}.",
            listed(row.imports)
        ),
    };
    Some(format!("{from} must not import {to} ({kind}dependency). {fix}"))
}

fn external_fault(row: &Row, to: &str, tests_only: bool) -> Option<String> {
    let allowed = row.external?;
    let from = row.package;
    if allowed.contains(&to) || tests_only && PURE_TESTS_MAY_USE.contains(&to) {
        return None;
    }
    let whose = if tests_only { "the tests of " } else { "" };
    Some(format!(
        "{whose}{from} must not use {to}: the crate is pure (no I/O, no clock, no threads) and uses \
         only {}. Move the code that needs it to an edge crate; or, if {to} is pure too, add it to \
         the list in xtask/src/deps.rs and say why in the commit.",
        listed(allowed)
    ))
}

/// Every library or binary that should forbid unsafe code and does not.
fn unsafe_faults(metadata: &Metadata) -> Result<Vec<String>> {
    let mut faults = Vec::new();
    for package in &metadata.packages {
        if row(&package.name).is_some_and(|row| row.may_be_unsafe) {
            continue;
        }
        for target in package.targets.iter().filter(|t| t.is("lib") || t.is("bin")) {
            let text = fs::read_to_string(&target.src_path)
                .with_context(|| format!("cannot read {}", target.src_path.display()))?;
            faults.extend(unsafe_fault(package, &target.name, &text));
        }
    }
    Ok(faults)
}

fn unsafe_fault(package: &Package, target: &str, root_file: &str) -> Option<String> {
    if root_file.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]") {
        return None;
    }
    Some(format!(
        "{} ({target}) does not forbid unsafe code. Add #![forbid(unsafe_code)] below the head of \
         its root file; only {CAPTURE} may hold unsafe code.",
        package.name
    ))
}

fn row(package: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.package == package)
}

fn is_ours(name: &str, metadata: &Metadata) -> bool {
    row(name).is_some() || metadata.packages.iter().any(|p| p.name == name)
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "nothing of ours".to_owned() } else { names.join(", ") }
}
