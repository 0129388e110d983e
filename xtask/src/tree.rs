//! Checks on the files themselves: lengths, paths and hosts of a machine, the documents that must
//! exist, and that a file or test that a document names is really there.

#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{command, output};

/// Longest source or document file, in lines.
const LONGEST_FILE: usize = 800;
/// Longest ARCHITECTURE.md, in lines.
const LONGEST_ARCHITECTURE: usize = 250;
/// Documents that must exist.
const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "GLOSSARY.md",
    "CONTRIBUTING.md",
    "ROADMAP.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
];
/// Endings of files whose length is limited. Data files may be long.
const MEASURED: &[&str] = &[".rs", ".md", ".toml", ".sh", ".ci/run"];
/// Beginnings of paths that exist on one machine only. Written in two parts, so that this file
/// passes its own check.
const MACHINE_PATHS: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/"), concat!("/tmp", "/t-")];
/// Hosts of package registries: a build must work with whatever registry is configured.
const REGISTRY_HOSTS: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("deb.debian", ".org"),
    concat!("proxy.golang", ".org"),
];
/// Folders whose paths, named in a document in backticks, must exist.
const FOLDERS: &[&str] = &["crates/", "xtask/", "fuzz/", "interop/", "docs/", "scenarios/"];

/// Checks all files that git knows or would add.
pub(crate) fn run() -> Result<()> {
    let list = output(&mut command(&[
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut faults: Vec<String> = DOCUMENTS
        .iter()
        .filter(|name| !Path::new(name).exists())
        .map(|name| format!("{name} is missing"))
        .collect();
    let mut files = 0;
    for path in list.split('\0').filter(|path| !path.is_empty() && Path::new(path).is_file()) {
        files += 1;
        let bytes = fs::read(path).with_context(|| format!("cannot read {path}"))?;
        // Captures and other binary data hold no text of ours.
        let Ok(text) = String::from_utf8(bytes) else { continue };
        faults.extend(text_faults(path, &text));
        if Path::new(path).extension().is_some_and(|e| e == "md") {
            faults.extend(dead_names(path, &text, |p| fs::read_to_string(p).ok()));
        }
    }
    if faults.is_empty() {
        println!("{files} files");
        return Ok(());
    }
    for fault in &faults {
        eprintln!("tree: {fault}");
    }
    bail!("{} faults in the tree", faults.len());
}

/// Faults of one text file.
fn text_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = text.lines().count();
    if path == "ARCHITECTURE.md" && lines > LONGEST_ARCHITECTURE {
        faults.push(format!("{path} has {lines} lines; {LONGEST_ARCHITECTURE} is the most"));
    }
    if lines > LONGEST_FILE && MEASURED.iter().any(|end| path.ends_with(end)) {
        faults.push(format!("{path} has {lines} lines; {LONGEST_FILE} is the most: split it"));
    }
    // The lock file names its registry: cargo writes it, we do not.
    if path.ends_with("Cargo.lock") {
        return faults;
    }
    for (number, line) in text.lines().enumerate() {
        for found in foreign_words(line) {
            faults.push(format!("{path}:{} holds {found}, which is not ours to name", number + 1));
        }
    }
    faults
}

/// Machine paths and registry hosts in a line.
fn foreign_words(line: &str) -> Vec<&'static str> {
    let begins_path = |at: usize| {
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '*'))
    };
    let paths = MACHINE_PATHS
        .iter()
        .filter(|path| line.match_indices(**path).any(|(at, _)| begins_path(at)));
    let hosts = REGISTRY_HOSTS.iter().filter(|host| line.contains(**host));
    paths.chain(hosts).copied().collect()
}

/// Files and tests that a document names in backticks (`crates/a/b.rs`, `crates/a/b.rs::test`) and
/// that do not exist. `read` returns a file's text.
fn dead_names(path: &str, text: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for word in text.split('`').skip(1).step_by(2) {
        let ours = FOLDERS.iter().any(|folder| word.starts_with(folder));
        if !ours || word.contains(|c: char| c.is_whitespace() || "<>*{}…".contains(c)) {
            continue;
        }
        let (file, test) = word.split_once("::").unwrap_or((word, ""));
        if Path::new(file).is_dir() {
            continue;
        }
        match read(file) {
            None => faults.push(format!("{path} names {file}, which does not exist")),
            Some(code) if !test.is_empty() && !code.contains(&format!("fn {test}(")) => {
                faults.push(format!("{path} names the test {test}, which {file} does not have"));
            }
            Some(_) => {}
        }
    }
    faults
}
