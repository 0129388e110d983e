//! Where the reader of a configuration puts what it finds wrong, so that one run shows all of it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use miette::NamedSource;

use super::diagnostic::{Diagnostic, Severity};
use super::table::Place;

/// More than a person reads in one go; a hostile file must not make a report of a million lines.
const MOST: usize = 100;

/// Collects errors and warnings about one file.
pub(super) struct Sink {
    source: Arc<NamedSource<String>>,
    list: Vec<Diagnostic>,
    left_out: Option<LeftOut>,
}

/// What was found when the list was full.
struct LeftOut {
    first: Range<usize>,
    count: usize,
    severity: Severity,
}

impl Sink {
    /// A sink for the file `name`, which holds `text`.
    pub(super) fn new(name: &str, text: &str) -> Self {
        let source = Arc::new(NamedSource::new(name, printable(text)));
        Self { source, list: Vec::new(), left_out: None }
    }

    /// The bytes of a span as they were typed.
    pub(super) fn typed(&self, span: &Range<usize>) -> &str {
        self.source.inner().get(span.clone()).unwrap_or_default()
    }

    /// The same, shortened for use within a sentence.
    pub(super) fn typed_short(&self, span: &Range<usize>) -> String {
        self.typed(span).chars().take(40).collect()
    }

    /// Text of the line that holds the byte at `offset`, without its end.
    pub(super) fn line_of(&self, offset: usize) -> &str {
        let text = self.source.inner();
        let offset = text.floor_char_boundary(offset);
        let start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let end = text[offset..].find('\n').map_or(text.len(), |at| offset + at);
        text[start..end].trim_end()
    }

    /// An error whose fix is the key's own example.
    pub(super) fn error(&mut self, at: &Place, reason: impl Into<String>) {
        let fix = at.for_example();
        self.error_fix(at, reason, fix);
    }

    /// An error with a fix of its own.
    pub(super) fn error_fix(
        &mut self,
        at: &Place,
        reason: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.push(Severity::Error, at.field.clone(), &at.span, reason.into(), fix.into());
    }

    /// A warning with its fix.
    pub(super) fn warn(&mut self, at: &Place, reason: impl Into<String>, fix: impl Into<String>) {
        self.push(Severity::Warning, at.field.clone(), &at.span, reason.into(), fix.into());
    }

    /// An error of the TOML text itself.
    pub(super) fn syntax(&mut self, span: &Range<usize>, reason: String, fix: String) {
        self.push(Severity::Error, String::new(), span, reason, fix);
    }

    /// Was something below this place wrong already, so that it only seems to be missing?
    pub(super) fn blames(&self, at: &Place) -> bool {
        let below = |d: &Diagnostic| d.field.strip_prefix(&at.field).is_some_and(is_below);
        self.list.iter().any(|d| d.severity == Severity::Error && below(d))
    }

    /// Was there an error so far?
    pub(super) fn has_errors(&self) -> bool {
        let left_out = self.left_out.iter().map(|left_out| left_out.severity);
        self.list.iter().map(|d| d.severity).chain(left_out).any(|s| s == Severity::Error)
    }

    /// How many errors there are.
    pub(super) fn errors(&self) -> usize {
        self.list.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// Keeps what `keep` says of the diagnostics from `since` on.
    pub(super) fn retain_since(&mut self, since: usize, keep: impl Fn(&Diagnostic) -> bool) {
        let later = self.list.split_off(since.min(self.list.len()));
        self.list.extend(later.into_iter().filter(keep));
    }

    /// Will the next diagnostic only be counted?
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= MOST
    }

    /// How many diagnostics there are.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Lines of which nothing more can be said: those that have a diagnostic, and the keys below a
    /// header that has one, for they seem to belong to the table above it.
    pub(super) fn broken_lines(&self) -> BTreeSet<usize> {
        let mut broken: BTreeSet<usize> = self.list.iter().map(|d| d.line).collect();
        let mut below = false;
        for (line, text) in (1..).zip(self.source.inner().split('\n')) {
            if text.starts_with('[') {
                below = broken.contains(&line);
            } else if below {
                broken.insert(line);
            }
        }
        broken
    }

    /// All diagnostics in order of position.
    pub(super) fn finish(mut self) -> Vec<Diagnostic> {
        self.list.sort_by_key(|d| (d.span.start, d.severity));
        if let Some(LeftOut { first, count, severity }) = self.left_out.take() {
            let text = (format!("{count} more are not shown"), "mend these first".to_owned());
            self.list.push(Diagnostic::new(&self.source, severity, String::new(), &first, text));
        }
        self.list
    }

    fn push(
        &mut self,
        severity: Severity,
        field: String,
        span: &Range<usize>,
        reason: String,
        fix: String,
    ) {
        if !self.is_full() {
            let text = (reason, fix);
            self.list.push(Diagnostic::new(&self.source, severity, field, span, text));
            return;
        }
        let first = LeftOut { first: span.clone(), count: 0, severity };
        let left_out = self.left_out.get_or_insert(first);
        left_out.count += 1;
        // `Error` is the smaller one.
        left_out.severity = left_out.severity.min(severity);
    }
}

/// The text with control characters replaced, byte for byte: reports show pieces of it, and must
/// not send a file's escape sequences to the terminal.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\r' => shown.push(' '),
            c if c.is_control() && c != '\n' && c != '\t' => {
                (0..c.len_utf8()).for_each(|_| shown.push('?'));
            }
            c => shown.push(c),
        }
    }
    shown
}

/// Is this the rest of a longer path?
fn is_below(rest: &str) -> bool {
    rest.starts_with(['.', '['])
}
