//! The whole configuration as a file: every key with its prose, its default where it has one, and
//! commented out with an example where it has none.

use std::fmt::Write;

use super::table::{Key, Shape, Table};

/// Text of the default configuration.
pub fn default_file() -> String {
    let mut printer = Printer { text: String::new(), explained: Vec::new() };
    printer.text.push_str(
        "# Configuration of Tidewall: every key, its meaning and its default.\n\
         # A line that begins with `#` and no space is a key without a default: the value is an\n\
         # example. Keys that are left out have their default.\n",
    );
    printer.table(super::TABLE, "", true);
    printer.text
}

struct Printer {
    text: String,
    /// Tables whose prose was printed: it is not repeated where the same table occurs again.
    explained: Vec<(*const Table, String)>,
}

impl Printer {
    /// The keys of a table; `live` when its defaults hold at this place.
    fn table(&mut self, table: &'static Table, path: &str, live: bool) {
        let explain = !self.is_explained(table);
        if explain {
            self.explained.push((table, path.to_owned()));
        }
        // TOML wants the values of a table before its sub-tables.
        let (tables, values): (Vec<&Key>, Vec<&Key>) =
            table.keys.iter().partition(|key| has_header(key));
        // Where nothing new can be said, one line is example enough.
        let shown = if explain || live { values.len() } else { 1 };
        for key in values.into_iter().take(shown) {
            self.value(key, explain, live);
        }
        for key in tables {
            self.header(key, path, live);
        }
    }

    fn is_explained(&self, table: &Table) -> bool {
        self.explained.iter().any(|(known, _)| std::ptr::eq(*known, table))
    }

    fn value(&mut self, key: &Key, explain: bool, live: bool) {
        let default = key.default.filter(|_| live);
        if explain {
            self.text.push('\n');
            self.prose(key.doc);
            if let Some(inner) = key.shape.table() {
                self.inline_keys(inner);
            }
            if let (Some(example), Some(_)) = (key.example, default)
                && key.default != key.example
            {
                _ = writeln!(self.text, "#   {} = {example}", key.name);
            }
        }
        _ = match default {
            Some(default) => writeln!(self.text, "{} = {default}", key.name),
            None => writeln!(self.text, "#{} = {}", key.name, key.example.unwrap_or("{}")),
        };
    }

    /// Prose of the keys within a `{ ... }` value, once.
    fn inline_keys(&mut self, table: &'static Table) {
        if self.is_explained(table) {
            return;
        }
        self.explained.push((table, String::new()));
        for key in table.keys {
            let example = key.example.unwrap_or("{}");
            let doc = key.doc.concat();
            _ = writeln!(self.text, "#   {} (for example {example}):{doc}", key.name);
        }
    }

    fn header(&mut self, key: &'static Key, path: &str, live: bool) {
        let Some(table) = key.shape.table() else { return };
        let path = match path {
            "" => key.name.to_owned(),
            path => format!("{path}.{}", key.name),
        };
        let live = live && key.default.is_some();
        self.text.push('\n');
        self.prose(key.doc);
        let explained = self.explained.iter().find(|(known, _)| std::ptr::eq(*known, table));
        match explained.map(|(_, path)| path.clone()) {
            Some(known) => self.prose(&[&format!(" Keys as in [{known}].")]),
            None => self.prose(table.about),
        }
        let header = match key.shape {
            Shape::Tables(_) => format!("[[{path}]]"),
            _ => format!("[{path}]"),
        };
        // A table whose keys are all tables needs no header of its own.
        if !table.keys.iter().all(has_header) {
            let hash = if live { "" } else { "#" };
            _ = writeln!(self.text, "{hash}{header}");
        }
        self.table(table, &path, live);
    }

    fn prose(&mut self, lines: &[&str]) {
        for line in lines {
            _ = writeln!(self.text, "#{}", line.trim_end());
        }
    }
}

/// Tables without an example are written under a header; others within `{ }`.
fn has_header(key: &Key) -> bool {
    key.shape.table().is_some() && key.example.is_none()
}
