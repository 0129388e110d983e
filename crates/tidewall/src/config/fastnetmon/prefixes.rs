//! Networks list and whitelist: a prefix on each line; and where their files are.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use tidewall_model::{Prefix, PrefixError};

use super::super::sink::Sink;
use super::super::table::Place;
use super::lines::items;
use super::reference::Entry;
use super::value::quoted;

/// A prefix, and what was odd about it.
pub(super) struct ParsedPrefix {
    /// The prefix, without bits behind its length.
    pub(super) prefix: Prefix,
    /// There were such bits.
    pub(super) host_bits: bool,
    /// There was no length.
    pub(super) bare: bool,
}

/// Parses a prefix as people write it.
pub(super) fn parse(text: &str) -> Result<ParsedPrefix, PrefixError> {
    let bare = !text.contains('/');
    match text.parse() {
        Ok(prefix) => Ok(ParsedPrefix { prefix, host_bits: false, bare }),
        Err(PrefixError::HostBits { network, .. }) => {
            Ok(ParsedPrefix { prefix: network, host_bits: true, bare })
        }
        Err(error) => Err(error),
    }
}

/// Which list it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Our networks.
    Networks,
    /// Our hosts that are never banned.
    Whitelist,
}

/// Reads the prefixes of a list.
pub(super) fn read(list: List, text: &str, sink: &mut Sink) -> Vec<Prefix> {
    let field = match list {
        List::Networks => "networks_list",
        List::Whitelist => "networks_whitelist",
    };
    let mut prefixes = BTreeSet::new();
    for item in items(text) {
        let at = Place { field: field.to_owned(), span: item.span, ..Place::default() };
        let word = match item.text.split_once('#') {
            Some((word, _)) => {
                let reason = "FastNetMon knows no comment behind a prefix; here it does no harm";
                sink.warn(&at, reason, "write comments on lines of their own");
                word.trim_end()
            }
            None => item.text,
        };
        match parse(word) {
            Ok(parsed) => {
                odd(list, word, &parsed, &at, sink);
                if !prefixes.insert(parsed.prefix) {
                    let reason =
                        format!("{} is in the list already, which does no harm", parsed.prefix);
                    sink.warn(&at, reason, "remove one of the two lines");
                }
            }
            Err(error) => refuse(list, word, &error, &at, sink),
        }
    }
    prefixes.into_iter().collect()
}

fn odd(list: List, word: &str, parsed: &ParsedPrefix, at: &Place, sink: &mut Sink) {
    let prefix = parsed.prefix;
    if parsed.host_bits {
        let reason = format!("{} is taken as {prefix}, as FastNetMon does", quoted(word));
        sink.warn(at, reason, format!("write {prefix}"));
    }
    if parsed.bare {
        let reason = format!(
            "FastNetMon passes over a line without a length; here {} is {prefix}",
            quoted(word)
        );
        sink.warn(at, reason, format!("write {prefix}, or remove the line"));
    }
    if prefix.is_default() {
        let (reason, fix) = match list {
            List::Networks => (
                format!("{prefix} makes every address one of ours"),
                "all traffic is then internal; list the networks you announce instead",
            ),
            List::Whitelist => (
                format!("{prefix} is every host: no attack is ever raised"),
                "list the hosts that may never be banned",
            ),
        };
        sink.warn(at, reason, fix);
    }
}

/// What FastNetMon passes over is a warning; what makes it crash or run wild is an error.
fn refuse(list: List, word: &str, error: &PrefixError, at: &Place, sink: &mut Sink) {
    let shown = quoted(word);
    let fix = "for example 192.0.2.0/24 or 2001:db8::/32";
    match error {
        PrefixError::Length { max, .. } if list == List::Networks => {
            let reason = format!(
                "the length of {shown} is not a number up to {max}; FastNetMon does not check it, \
                 and watches something else"
            );
            sink.error_fix(at, reason, fix);
        }
        _ if list == List::Networks && word.contains(':') => {
            let reason = format!("{shown} is not an IPv6 prefix; FastNetMon crashes on it");
            sink.error_fix(at, reason, fix);
        }
        _ => {
            let reason = format!("{shown} is not a prefix; the line is left out, as in FastNetMon");
            sink.warn(at, reason, fix);
        }
    }
}

/// A path as it is shown: the configuration may name any.
pub(super) fn show_path(path: &Path) -> String {
    path.to_string_lossy().chars().take(200).flat_map(char::escape_debug).collect()
}

/// Reads a file whole; the argument is its path.
pub type ReadFile<'a> = dyn Fn(&Path) -> io::Result<Vec<u8>> + 'a;

/// A list's file that was found.
pub(super) struct ListFile {
    /// Its path.
    pub(super) path: PathBuf,
    /// Its text; what is not UTF-8 is replaced.
    pub(super) text: String,
}

/// Where the lists of a configuration are looked for.
pub(super) struct Folders<'a> {
    /// The folder of the configuration file.
    pub(super) beside: &'a Path,
    /// What `/` means in the configuration.
    pub(super) root: &'a Path,
    /// Reads a file.
    pub(super) read: &'a ReadFile<'a>,
}

impl Folders<'_> {
    /// The file of a list. A path that was typed is that path, from the configuration's folder
    /// where it is relative; otherwise it is the file of that name beside the configuration, or
    /// the one in /etc.
    pub(super) fn find(
        &self,
        name: &str,
        typed: Option<(&str, &Entry, &str)>,
        sink: &mut Sink,
    ) -> Option<ListFile> {
        let paths = match typed {
            Some((_, _, path)) => {
                let path = Path::new(path);
                vec![match path.strip_prefix("/") {
                    Ok(below) => self.root.join(below),
                    Err(_) => self.beside.join(path),
                }]
            }
            None => vec![self.beside.join(name), self.root.join("etc").join(name)],
        };
        for path in &paths {
            let error = match (self.read)(path) {
                Ok(bytes) => {
                    let text = match String::from_utf8(bytes) {
                        Ok(text) => text,
                        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
                    };
                    return Some(ListFile { path: path.clone(), text });
                }
                Err(error) => error,
            };
            let at = typed.map_or_else(
                || Place { field: name.to_owned(), ..Place::default() },
                |(key, entry, _)| entry.place(key),
            );
            let shown = show_path(path);
            if error.kind() != io::ErrorKind::NotFound {
                let reason = format!("{shown} cannot be read: {error}");
                sink.error_fix(&at, reason, "make it readable, or give another path");
                return None;
            }
            if typed.is_some() {
                let reason = format!("there is no file {shown}, so the list is empty");
                let fix = "correct the path; `--root DIR` reads the files of another machine";
                sink.warn(&at, reason, fix);
            }
        }
        None
    }
}
