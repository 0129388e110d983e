//! Which UDP services are known to amplify: the table behind the names of reflection vectors.
//!
//! The table is data with a version. One is built in; another can be loaded from a file without a
//! new release. Read once when the engine is built, then shared read-only.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use thiserror::Error;
use tidewall_model::protocol;
use toml::Spanned;

/// The built-in table.
const EMBEDDED: &str = include_str!("../data/amplifiers.toml");

/// Longest name of a service, and longest version, in bytes.
const MAX_NAME: usize = 32;

/// Vector names that are taken by kinds of traffic: a service must not be called like one.
const RESERVED: [&str; 15] = [
    "syn",
    "syn_ack",
    "ack",
    "rst",
    "fin",
    "tcp_null",
    "tcp_xmas",
    "tcp_other",
    "udp",
    "fragments",
    "other_protocols",
    "mixed",
    "unknown",
    "tcp",
    "total",
];

/// A UDP service that answers with more than it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amplifier {
    /// Source port of its answers.
    pub port: u16,
    /// Name of the vector: `ntp`, `memcached`.
    pub name: String,
    /// What it is, in words.
    pub service: String,
    /// Published amplification factor, in words: for readers, not for arithmetic.
    pub factor: String,
    /// Different senders that must be seen before its traffic is called a reflection: above 1
    /// where ordinary traffic comes from this port too.
    pub min_remotes: u32,
}

/// The table: amplifying services by port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amplifiers {
    version: String,
    /// Sorted by port, no twins.
    entries: Vec<Amplifier>,
}

/// Why a text is not a table of amplifiers.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AmplifiersError {
    /// Not TOML, a key is missing or unknown, or a value has the wrong type or range.
    #[error("line {line}: {message}")]
    Toml {
        /// Line of the text, from 1.
        line: usize,
        /// What the TOML reader says.
        message: String,
    },
    /// A port that cannot be the source of answers.
    #[error("line {line}: port 0 is not a service")]
    PortZero {
        /// Line of the port.
        line: usize,
    },
    /// A port twice.
    #[error("line {line}: port {port} is already `{name}`")]
    DuplicatePort {
        /// Line of the second one.
        line: usize,
        /// The port.
        port: u16,
        /// Name of the first one.
        name: String,
    },
    /// A name twice.
    #[error("line {line}: name `{name}` is already port {port}")]
    DuplicateName {
        /// Line of the second one.
        line: usize,
        /// The name.
        name: String,
        /// Port of the first one.
        port: u16,
    },
    /// A name that reports cannot use.
    #[error(
        "line {line}: name `{name}` must be 1 to {MAX_NAME} of a-z, 0-9 and `_`, begin with a \
         letter, and not be the name of another kind of traffic"
    )]
    Name {
        /// Line of the name.
        line: usize,
        /// The name.
        name: String,
    },
    /// A version that is empty or too long.
    #[error("line {line}: the version must have 1 to {MAX_NAME} bytes")]
    Version {
        /// Line of the version.
        line: usize,
    },
    /// No different senders asked for at all.
    #[error("line {line}: min_remotes is at least 1")]
    MinRemotes {
        /// Line of the value.
        line: usize,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: Spanned<String>,
    #[serde(default)]
    service: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    port: Spanned<u16>,
    name: Spanned<String>,
    service: String,
    factor: String,
    min_remotes: Option<Spanned<u32>>,
}

impl Amplifiers {
    /// The table this release was built with.
    pub fn embedded() -> Self {
        // A test reads the same text, so the empty table is never what a release returns.
        Self::parse(EMBEDDED).unwrap_or_default()
    }

    /// Reads a table; `data/amplifiers.toml` explains the form.
    pub fn parse(text: &str) -> Result<Self, AmplifiersError> {
        let document: Document = toml::from_str(text).map_err(|error| AmplifiersError::Toml {
            line: line_of(text, error.span()),
            message: error.message().to_owned(),
        })?;
        let line = |span: Range<usize>| line_of(text, Some(span));
        let version = document.version;
        if version.get_ref().is_empty() || version.get_ref().len() > MAX_NAME {
            return Err(AmplifiersError::Version { line: line(version.span()) });
        }
        let mut by_port = BTreeMap::<u16, Amplifier>::new();
        let mut by_name = BTreeMap::<String, u16>::new();
        for entry in document.service {
            let name_line = line(entry.name.span());
            let port_line = line(entry.port.span());
            let amplifier = entry.check(line)?;
            let port = amplifier.port;
            if let Some(twin) = by_port.get(&port) {
                let name = twin.name.clone();
                return Err(AmplifiersError::DuplicatePort { line: port_line, port, name });
            }
            if let Some(twin) = by_name.insert(amplifier.name.clone(), port) {
                let name = amplifier.name;
                return Err(AmplifiersError::DuplicateName { line: name_line, name, port: twin });
            }
            by_port.insert(port, amplifier);
        }
        Ok(Self { version: version.into_inner(), entries: by_port.into_values().collect() })
    }

    /// Version of the table.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The service that answers from this UDP port, if it is known to amplify.
    pub fn get(&self, port: u16) -> Option<&Amplifier> {
        let at = self.entries.binary_search_by_key(&port, |a| a.port).ok()?;
        self.entries.get(at)
    }

    /// All services, by port.
    pub fn iter(&self) -> impl Iterator<Item = &Amplifier> {
        self.entries.iter()
    }
}

impl Entry {
    fn check(self, line: impl Fn(Range<usize>) -> usize) -> Result<Amplifier, AmplifiersError> {
        if *self.port.get_ref() == 0 {
            return Err(AmplifiersError::PortZero { line: line(self.port.span()) });
        }
        if !is_free_name(self.name.get_ref()) {
            let line = line(self.name.span());
            return Err(AmplifiersError::Name { line, name: self.name.into_inner() });
        }
        let min_remotes = match self.min_remotes {
            Some(n) if *n.get_ref() == 0 => {
                return Err(AmplifiersError::MinRemotes { line: line(n.span()) });
            }
            Some(n) => n.into_inner(),
            None => 1,
        };
        Ok(Amplifier {
            port: self.port.into_inner(),
            name: self.name.into_inner(),
            service: self.service,
            factor: self.factor,
            min_remotes,
        })
    }
}

/// A name that fits reports and does not already mean another kind of traffic.
fn is_free_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && !RESERVED.contains(&name)
        && !(0..=u8::MAX).any(|number| protocol::name(number) == Some(name))
}

/// Line of the start of a byte range, from 1; the first line where there is none.
fn line_of(text: &str, span: Option<Range<usize>>) -> usize {
    let start = span.map_or(0, |span| span.start);
    text.get(..start).unwrap_or(text).split('\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Amplifiers::parse(text).unwrap_err().to_string()
    }

    fn entry(port: &str, name: &str) -> String {
        format!("[[service]]\nport = {port}\nname = \"{name}\"\nservice = \"x\"\nfactor = \"2\"\n")
    }

    #[test]
    fn the_embedded_table_is_read_whole() {
        let table = Amplifiers::parse(EMBEDDED).unwrap();
        assert_eq!(Amplifiers::embedded(), table);
        assert_eq!(table.version(), "2026.1");
        assert_eq!(table.iter().count(), EMBEDDED.matches("[[service]]").count());
        for (port, name) in [
            (19, "chargen"),
            (53, "dns"),
            (123, "ntp"),
            (161, "snmp"),
            (389, "cldap"),
            (1900, "ssdp"),
            (11211, "memcached"),
            (37810, "dahua"),
            (47808, "bacnet"),
        ] {
            assert_eq!(table.get(port).unwrap().name, name);
        }
        assert_eq!(table.get(443).unwrap().min_remotes, 50);
        assert_eq!(table.get(123).unwrap().min_remotes, 1);
        assert_eq!(table.get(0), None);
        assert_eq!(table.get(40_000), None);
    }

    #[test]
    fn twins_are_refused_where_they_stand() {
        let head = "version = \"1\"\n";
        let ports = [head, &entry("7", "echo"), &entry("7", "again")].concat();
        assert_eq!(error(&ports), "line 8: port 7 is already `echo`");
        let names = [head, &entry("7", "echo"), &entry("8", "echo")].concat();
        assert_eq!(error(&names), "line 9: name `echo` is already port 7");
    }

    #[test]
    fn wrong_values_are_refused_where_they_stand() {
        let with = |port, name| ["version = \"1\"\n", &entry(port, name)].concat();
        assert_eq!(error(&with("0", "echo")), "line 3: port 0 is not a service");
        assert!(error(&with("65536", "echo")).starts_with("line 3: "));
        let long = "e".repeat(MAX_NAME + 1);
        for name in ["", "Echo", "7echo", "udp", "gre", "syn", "a b", &long] {
            assert!(error(&with("7", name)).starts_with("line 4: name `"), "{name}");
        }
        assert_eq!(error("\nversion = \"\""), "line 2: the version must have 1 to 32 bytes");
        let zero = with("7", "echo") + "min_remotes = 0\n";
        assert_eq!(error(&zero), "line 7: min_remotes is at least 1");
        let unknown = with("7", "echo") + "nmae = 0\n";
        assert!(error(&unknown).starts_with("line 7: unknown field `nmae`"), "{}", error(&unknown));
        assert!(error("version = \"1\"\n[[service]\n").starts_with("line 2: "));
    }
}
