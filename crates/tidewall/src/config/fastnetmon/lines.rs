//! The text of FastNetMon's files as lines: `key = value` of the configuration, and the plain lines
//! of a list.

use std::ops::Range;

use super::super::sink::Sink;
use super::super::table::Place;

/// One `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'t> {
    /// What stands before the `=`.
    pub(super) key: &'t str,
    /// What stands behind it.
    pub(super) value: &'t str,
    /// Line number, from 1.
    pub(super) number: usize,
    /// Bytes of the key.
    pub(super) key_span: Range<usize>,
    /// Bytes of the value; of the key where there is no value.
    pub(super) span: Range<usize>,
}

/// A line of a list: trimmed, not empty, no comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item<'t> {
    /// Its text.
    pub(super) text: &'t str,
    /// Its bytes.
    pub(super) span: Range<usize>,
    /// Line number, from 1.
    pub(super) number: usize,
}

/// What FastNetMon trims from both ends of a line; and the mark that some editors put at the
/// beginning of a file.
fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_ascii_whitespace() || matches!(c, '\u{b}' | '\u{feff}'))
}

/// Bytes of `part`, which lies within `whole`.
fn span_within(whole: &str, part: &str) -> Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(whole.as_ptr() as usize);
    start..start + part.len()
}

/// All lines that say something.
pub(super) fn items(text: &str) -> impl Iterator<Item = Item<'_>> {
    (1..).zip(text.split('\n')).filter_map(move |(number, line)| {
        let line = trim(line);
        let says = !line.is_empty() && !line.starts_with('#');
        says.then(|| Item { text: line, span: span_within(text, line), number })
    })
}

/// Splits a line at the first run of `=`.
pub(super) fn split(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    Some((trim(key), trim(value.trim_start_matches('='))))
}

/// All `key = value` of a configuration. Lines that are none, and values that FastNetMon loses,
/// are told to the sink.
pub(super) fn lines<'t>(text: &'t str, sink: &mut Sink) -> Vec<Line<'t>> {
    let mut lines = Vec::new();
    for item in items(text) {
        let Some((key, value)) = split(item.text).filter(|(key, _)| !key.is_empty()) else {
            let at = Place { span: item.span, ..Place::default() };
            let reason = "this is not `key = value`; it says nothing, here and in FastNetMon";
            sink.warn(&at, reason, "write `key = value`, or `#` in front of a comment");
            continue;
        };
        let key_span = span_within(text, key);
        let span = if value.is_empty() { key_span.clone() } else { span_within(text, value) };
        let at = Place { field: shown(key), span: span.clone(), ..Place::default() };
        if value.contains('=') {
            let reason = "FastNetMon loses a line whose value has a `=` in it; here it counts";
            sink.warn(&at, reason, "nothing need be done; write `#` in front to do without it");
        }
        if value.contains('\u{fffd}') || key.contains('\u{fffd}') {
            sink.warn(&at, "this is not UTF-8 text", "save the file as UTF-8");
        }
        lines.push(Line { key, value, number: item.number, key_span, span });
    }
    lines
}

/// A key as it is shown: any text at all may stand before a `=`.
pub(super) fn shown(key: &str) -> String {
    key.chars().take(60).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_their_places() {
        let text = "\u{feff}# a comment\r\n\n  sflow\t=  on \r\nban_time==1900\n\
                    empty =\nno pair\n= 5\np = a=b\n";
        let mut sink = Sink::new("x", text);
        let found = lines(text, &mut sink);
        let pairs: Vec<_> = found.iter().map(|l| (l.number, l.key, l.value)).collect();
        assert_eq!(
            pairs,
            [(3, "sflow", "on"), (4, "ban_time", "1900"), (5, "empty", ""), (8, "p", "a=b")]
        );
        for line in &found {
            assert_eq!(&text[line.key_span.clone()], line.key);
            let under = if line.value.is_empty() { line.key } else { line.value };
            assert_eq!(&text[line.span.clone()], under);
        }
        let warned: Vec<_> = sink.finish().iter().map(|d| (d.line, d.column)).collect();
        assert_eq!(warned, [(6, 1), (7, 1), (8, 5)]);
    }
}
