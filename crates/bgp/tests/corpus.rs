//! BGP of other implementations: the messages of captures against what tshark counts, and vectors
//! whose routes we encode to the same octets. The corpus is not part of the project: without it
//! these tests say so and pass.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "corpus/captures.rs"]
mod captures;
#[path = "corpus/vectors.rs"]
mod vectors;

use std::collections::BTreeMap;
use std::path::PathBuf;

fn corpus() -> Option<PathBuf> {
    let default = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    let folder = std::env::var_os("TIDEWALL_CORPUS").map_or_else(default, PathBuf::from);
    let found = folder.join("MANIFEST.csv").is_file().then_some(folder);
    if found.is_none() {
        println!(
            "skipped: no corpus beside the checkout, and TIDEWALL_CORPUS does not point to one"
        );
    }
    found
}

/// Rows of a CSV file with its quotes; a cell may go over several lines.
fn csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut quoted) = (vec![], vec![], String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            '\r' if !quoted => {}
            other => cell.push(other),
        }
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows
}

/// Cells of a column of a CSV file, by name.
fn column(rows: &[Vec<String>], name: &str) -> Vec<String> {
    let index = rows[0].iter().position(|cell| cell == name).unwrap();
    rows[1..].iter().map(|row| row.get(index).cloned().unwrap_or_default()).collect()
}

/// Attributes by type, the flag and form of the length aside: what order and padding do not change.
fn attributes(body: &[u8]) -> BTreeMap<u8, (u8, Vec<u8>)> {
    let word = |at: usize| usize::from(u16::from_be_bytes([body[at], body[at + 1]]));
    let start = 2 + word(0);
    let mut rest = &body[start + 2..start + 2 + word(start)];
    let mut found = BTreeMap::new();
    while let [flags, kind, ..] = *rest {
        let long = flags & 0x10 != 0;
        let (length, header) = if long {
            (usize::from(u16::from_be_bytes([rest[2], rest[3]])), 4)
        } else {
            (usize::from(rest[2]), 3)
        };
        found.insert(kind, (flags & !0x10, rest[header..header + length].to_vec()));
        rest = &rest[header + length..];
    }
    found
}
