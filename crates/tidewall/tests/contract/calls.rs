//! The notify script of the lab: each call leaves a folder with its arguments, its standard input
//! and the names of its environment.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Writes down a call beneath `/mnt/calls`, where it appears when it is whole.
pub const SCRIPT: &str = r#"#!/bin/sh
calls=/mnt/calls
name=$(date +%s%N).$$
mkdir "$calls/.$name"
cd "$calls/.$name" || exit 1
for word in "$@"; do printf '%s\0' "$word"; done > arguments
readlink /proc/$$/fd/0 > input
cat > stdin
tr '\0' '\n' < /proc/$$/environ | sed 's/=.*//' > environment
mv "$calls/.$name" "$calls/$name"
"#;

/// A call of the script.
#[derive(Clone, Debug)]
pub struct Call {
    pub arguments: Vec<String>,
    /// What standard input was.
    pub input: String,
    /// What was read from it.
    pub stdin: String,
    /// Names of variables.
    pub environment: BTreeSet<String>,
}

impl Call {
    fn read(folder: &Path) -> Self {
        let text = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        let arguments = text("arguments");
        let arguments = arguments.split_terminator('\0').map(str::to_owned).collect();
        let environment = text("environment").lines().map(str::to_owned).collect();
        let input = text("input").trim_end().to_owned();
        Self { arguments, input, stdin: text("stdin"), environment }
    }

    /// The fourth argument.
    pub fn verb(&self) -> &str {
        self.arguments.get(3).map_or("", String::as_str)
    }

    /// Is it one of these?
    pub fn is_of(&self, calls: &[&Self]) -> bool {
        calls.iter().any(|call| std::ptr::eq(*call, self))
    }
}

/// Calls that left their folders here, in the order of their beginnings.
pub fn all(folder: &Path) -> Vec<Call> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names.iter().map(|name| Call::read(&folder.join(name))).collect()
}

/// Those about a host.
pub fn of_host<'c>(calls: &'c [Call], address: &str) -> Vec<&'c Call> {
    calls.iter().filter(|call| call.arguments.first().is_some_and(|one| one == address)).collect()
}
