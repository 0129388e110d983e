//! Fields of a line of comma-separated values (RFC 4180).

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, Write};

/// A comma and the field; an absent value is an empty field.
pub(super) fn write_next(out: &mut dyn Write, value: Option<impl Display>) -> io::Result<()> {
    out.write_all(b",")?;
    write_field(out, value)
}

/// The field.
pub(super) fn write_field(out: &mut dyn Write, value: Option<impl Display>) -> io::Result<()> {
    value.map_or(Ok(()), |value| write!(out, "{value}"))
}

/// Text as a field of CSV: in quotes where it must be (RFC 4180 §2).
pub(super) fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_are_quoted_where_they_must_be() {
        assert_eq!(quoted("tcp header cut; x"), "tcp header cut; x");
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\""), "\"say \"\"x\"\"\"");
        assert_eq!(quoted("two\nlines"), "\"two\nlines\"");
    }
}
