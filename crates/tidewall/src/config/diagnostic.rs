//! What is wrong with a configuration file, and where: one value per error or warning, shown with
//! the line, a caret under the value, the reason and a fix.

use std::fmt;
use std::io::{self, IsTerminal};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode};
use thiserror::Error;

/// An error stops the file from being used; a warning does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used, but something in it is probably not what was meant.
    Warning,
}

/// One error or warning about one place in the file.
#[derive(Clone)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Path of the key, `group[1].prefixes[0]`; empty when the text is not TOML.
    pub field: String,
    /// What is wrong, in a sentence.
    pub reason: String,
    /// What to write instead, with an example.
    pub fix: String,
    /// Bytes of the file that the caret stands under; always on character boundaries.
    pub span: Range<usize>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    source: Arc<NamedSource<String>>,
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigErrors {
    /// The file could not be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable {
        /// Its path as given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has errors. Warnings are listed too; at least one entry is an error.
    #[error("{}", summary(.0))]
    Invalid(Vec<Diagnostic>),
}

impl ConfigErrors {
    /// Everything found, in order of position; empty when the file could not be read.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Unreadable { .. } => &[],
            Self::Invalid(list) => list,
        }
    }

    /// The whole report for people.
    pub fn render(&self, style: Style) -> String {
        match self {
            Self::Unreadable { .. } => format!("error: {self}\n"),
            Self::Invalid(list) => {
                let errors = list.iter().filter(|d| d.severity == Severity::Error).count();
                let warnings = list.len() - errors;
                let mut text = render(list, style);
                text.push_str(&plural(errors, "error"));
                if warnings > 0 {
                    text.push_str(" and ");
                    text.push_str(&plural(warnings, "warning"));
                }
                text.push('\n');
                text
            }
        }
    }
}

/// How reports are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// ASCII without colours: files, pipes, `NO_COLOR`, dumb terminals.
    Plain,
    /// Lines and colours.
    Terminal,
}

impl Style {
    /// The style for standard error as it is now.
    pub fn for_stderr() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if io::stderr().is_terminal() && !set("NO_COLOR") && !dumb {
            Self::Terminal
        } else {
            Self::Plain
        }
    }
}

/// Draws a list of diagnostics, one after the other.
pub fn render(list: &[Diagnostic], style: Style) -> String {
    let theme = match style {
        Style::Plain => GraphicalTheme::none(),
        Style::Terminal => GraphicalTheme::unicode(),
    };
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(100)
        .with_context_lines(1)
        .with_links(false);
    let mut text = String::new();
    for diagnostic in list {
        // The handler fails only when a span is outside its source; then the plain line must do.
        let before = text.len();
        if handler.render_report(&mut text, diagnostic).is_err() {
            text.truncate(before);
            text.push_str(&diagnostic.one_line());
        }
        text.push('\n');
    }
    text
}

impl Diagnostic {
    /// A diagnostic about `span`, which is moved to the nearest character boundaries.
    pub(super) fn new(
        source: &Arc<NamedSource<String>>,
        severity: Severity,
        field: String,
        span: &Range<usize>,
        (reason, fix): (String, String),
    ) -> Self {
        let text = source.inner();
        let start = text.floor_char_boundary(span.start);
        let end = text.floor_char_boundary(span.end).max(start);
        let before = text.get(..start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self {
            severity,
            field,
            reason,
            fix,
            span: start..end,
            line: before.bytes().filter(|b| *b == b'\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            source: Arc::clone(source),
        }
    }

    /// `tidewall.toml:3:10: error: detection.window: ...` on one line.
    pub fn one_line(&self) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let (name, line, column) = (self.source.name(), self.line, self.column);
        format!("{name}:{line}:{column}: {severity}: {self} ({})", self.fix)
    }
}

impl fmt::Display for Diagnostic {
    /// Field and reason.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.reason)
    }
}

impl fmt::Debug for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.one_line())
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        (!self.fix.is_empty()).then(|| Box::new(&self.fix) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&*self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_primary_with_span(None, self.span.clone());
        Some(Box::new(std::iter::once(label)))
    }
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

fn summary(list: &[Diagnostic]) -> String {
    let errors: Vec<_> = list.iter().filter(|d| d.severity == Severity::Error).collect();
    match errors.as_slice() {
        [] => "the configuration has errors".to_owned(),
        [only] => only.one_line(),
        [first, rest @ ..] => {
            let more = plural(rest.len(), "more error");
            format!("{}, and {more}", first.one_line())
        }
    }
}
