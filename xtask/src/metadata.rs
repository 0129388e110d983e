//! The part of `cargo metadata` that the checks read.

use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::command::{command, output};

/// The workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    /// Its members (called with `--no-deps`).
    pub(crate) packages: Vec<Package>,
}

/// One member.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Name, such as `tidewall-engine`.
    pub(crate) name: String,
    /// Edges of every kind.
    pub(crate) dependencies: Vec<Dependency>,
    /// Library, binaries, benches, ...
    pub(crate) targets: Vec<Target>,
}

/// One edge.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package that is imported (not what it is renamed to).
    pub(crate) name: String,
    /// `None` is a normal dependency; else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// One thing that cargo builds.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    /// Name, such as `frame` for `benches/frame.rs`.
    pub(crate) name: String,
    /// `lib`, `bin`, `bench`, ...
    pub(crate) kind: Vec<String>,
    /// Its root file.
    pub(crate) src_path: PathBuf,
}

impl Target {
    /// Is it of this kind?
    pub(crate) fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|k| k == kind)
    }
}

/// Asks cargo.
pub(crate) fn read() -> Result<Metadata> {
    let mut ask = command(&["cargo", "metadata", "--no-deps", "--format-version", "1", "--locked"]);
    parse(&output(&mut ask)?)
}

/// Reads what cargo said.
pub(crate) fn parse(json: &str) -> Result<Metadata> {
    serde_json::from_str(json).context("cargo metadata printed something unexpected")
}
