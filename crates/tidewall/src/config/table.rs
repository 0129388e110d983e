//! Tables of the configuration: each is declared once, as a struct whose fields are its keys with
//! their prose, default and example. Reader, error texts and the printed default file come from it.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::sink::Sink;

/// A table and all that is known about its keys.
#[derive(Debug)]
pub struct Table {
    /// Prose about the table, a line each.
    pub about: &'static [&'static str],
    /// Its keys in the order they are printed.
    pub keys: &'static [Key],
}

impl Table {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

/// A key of a table.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// Prose about it, a line each; for a table it may be left to [`Table::about`].
    pub doc: &'static [&'static str],
    /// Its default as TOML; for a table, `{}` says that keys beneath it have theirs.
    pub default: Option<&'static str>,
    /// An example as TOML. A table without one is written under its own header.
    pub example: Option<&'static str>,
    /// What it holds.
    pub shape: Shape,
}

/// What a key holds.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A value or a list of values.
    Value,
    /// A table.
    Table(&'static Table),
    /// Any number of tables: `[[name]]`.
    Tables(&'static Table),
}

impl Shape {
    /// The shape of a list of these.
    pub(super) const fn list(self) -> Self {
        match self {
            Self::Table(table) => Self::Tables(table),
            other => other,
        }
    }

    /// The table within, if any.
    pub const fn table(self) -> Option<&'static Table> {
        match self {
            Self::Value => None,
            Self::Table(table) | Self::Tables(table) => Some(table),
        }
    }
}

/// Where a value was typed, with what an error text about it needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    /// Path of the key.
    pub(super) field: String,
    /// Name of the last key of the path.
    pub(super) key: &'static str,
    /// Example of that key.
    pub(super) example: Option<&'static str>,
    /// Bytes of the value.
    pub(super) span: Range<usize>,
}

impl Place {
    /// The place of a key's value in the table at `self`.
    pub(super) fn key(&self, key: &Key, span: Range<usize>) -> Self {
        let field = match self.field.as_str() {
            "" => key.name.to_owned(),
            path => format!("{path}.{}", key.name),
        };
        Self { field, key: key.name, example: key.example, span }
    }

    /// The place of an element of the list at `self`.
    pub(super) fn element(&self, index: usize, span: Range<usize>) -> Self {
        Self { field: format!("{}[{index}]", self.field), span, ..self.clone() }
    }

    /// The fix that every value has: the example of its key.
    pub(super) fn for_example(&self) -> String {
        self.example.map_or_else(String::new, |e| format!("for example `{} = {e}`", self.key))
    }
}

/// A value and where it was typed.
#[derive(Clone, Debug)]
pub(super) struct Typed<T> {
    /// The value.
    pub(super) value: T,
    /// Where it stands.
    pub(super) at: Place,
}

/// A type that a key can have.
pub(super) trait FromToml: Sized {
    /// What a key of this type holds.
    const SHAPE: Shape = Shape::Value;

    /// Reads a value. On `None` the sink has been told why.
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self>;
}

impl<T: FromToml> Typed<T> {
    /// Reads the value at a place.
    pub(super) fn read(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        T::from_toml(value, at, sink).map(|value| Self { value, at: at.clone() })
    }
}

/// Large tables are boxed, so that a list of what holds them stays small.
impl<T: FromToml> FromToml for Box<T> {
    const SHAPE: Shape = T::SHAPE;

    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        T::from_toml(value, at, sink).map(Self::new)
    }
}

impl<T: FromToml> FromToml for Vec<Typed<T>> {
    const SHAPE: Shape = T::SHAPE.list();

    /// Elements that cannot be read are reported and left out.
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let DeValue::Array(elements) = value else {
            if matches!(Self::SHAPE, Shape::Tables(_)) {
                let fix = format!("write each one under a header `[[{}]]`", at.field);
                sink.error_fix(at, format!("expected tables, found {}", kind(value)), fix);
            } else {
                let fix = format!("write `{} = [{}]`", at.key, sink.typed(&at.span));
                let fix = if at.span.len() < 60 { fix } else { at.for_example() };
                sink.error_fix(at, format!("expected a list, found {}", kind(value)), fix);
            }
            return None;
        };
        let mut list = Self::new();
        for (index, element) in elements.iter().enumerate() {
            let at = at.element(index, element.span());
            list.extend(Typed::read(element.get_ref(), &at, sink));
        }
        Some(list)
    }
}

/// What a value is, for "expected ..., found ...".
pub(super) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text in quotes",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a decimal number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The table in `value`, or an error that says it is none.
pub(super) fn expect_table<'v, 'i>(
    value: &'v DeValue<'i>,
    at: &Place,
    sink: &mut Sink,
) -> Option<&'v DeTable<'i>> {
    match value {
        DeValue::Table(table) => Some(table),
        DeValue::Array(_) => {
            let fix = format!("write one header `[{}]` with single brackets", at.field);
            sink.error_fix(at, "expected one table, found a list of them", fix);
            None
        }
        other => {
            let fix = match at.example {
                Some(_) => at.for_example(),
                None => format!("put its keys under a header `[{}]`", at.field),
            };
            sink.error_fix(at, format!("expected a table, found {}", kind(other)), fix);
            None
        }
    }
}

/// Refuses a key that the table at `at` does not have, with what was most likely meant.
pub(super) fn refuse_key(
    name: &str,
    span: Range<usize>,
    at: &Place,
    table: &'static Table,
    sink: &mut Sink,
) {
    let names = || table.keys.iter().map(|key| key.name);
    let fix = if sink.is_full() {
        String::new()
    } else if let Some(near) = nearest(name, names()) {
        format!("did you mean `{near}`?")
    } else if let Some(path) = find(super::TABLE, name, "") {
        format!("`{name}` is a key elsewhere: `{path}`")
    } else {
        format!("the keys here are {}", names().collect::<Vec<_>>().join(", "))
    };
    let holder = match at.field.as_str() {
        "" => "the file's top level".to_owned(),
        path => format!("`{path}`"),
    };
    // The name may be any text at all: quote it as Rust would, and shorten it.
    let shown: String = name.chars().take(60).flat_map(char::escape_debug).collect();
    let field = match at.field.as_str() {
        "" => shown.clone(),
        path => format!("{path}.{shown}"),
    };
    let place = Place { field, span, ..Place::default() };
    sink.error_fix(&place, format!("there is no key `{shown}` in {holder}"), fix);
}

/// Path of the first key of that name anywhere below a table.
fn find(table: &'static Table, name: &str, path: &str) -> Option<String> {
    let join = |key: &Key| match path {
        "" => key.name.to_owned(),
        path => format!("{path}.{}", key.name),
    };
    let here = table.keys.iter().find(|key| key.name == name).map(join);
    here.or_else(|| {
        let below = |key: &Key| find(key.shape.table()?, name, &join(key));
        table.keys.iter().find_map(below)
    })
}

/// A field's name as a key: keys that are words of Rust are written with `r#`.
pub(super) const fn key_name(field: &'static str) -> &'static str {
    match field.as_bytes() {
        [b'r', b'#', ..] => field.split_at(2).1,
        _ => field,
    }
}

/// `None`, or the literal that was given.
macro_rules! optional {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}
pub(super) use optional;

/// Declares a table: a struct of `Option<Typed<_>>` fields, its [`Table`] and its [`FromToml`].
///
/// A key's doc comment is its prose; `#[default = "TOML"]` and `#[example = "TOML"]` follow. A key
/// that is a table may leave the prose to that table.
macro_rules! table {
    (
        $(#[doc = $about:literal])+
        struct $name:ident {
            $(
                $(#[doc = $doc:literal])*
                $(#[default = $default:literal])?
                $(#[example = $example:literal])?
                $key:ident: $type:ty,
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, Default)]
        #[allow(clippy::struct_field_names, reason = "keys are named for those who type them")]
        pub(in crate::config) struct $name {
            $(
                $(#[doc = $doc])*
                pub(in crate::config) $key: Option<$crate::config::table::Typed<$type>>,
            )+
        }

        impl $name {
            /// What the printed file and the error texts say about it.
            pub(in crate::config) const TABLE: $crate::config::Table = $crate::config::Table {
                about: &[$($about),+],
                keys: &[$($crate::config::table::Key {
                    name: $crate::config::table::key_name(stringify!($key)),
                    doc: &[$($doc),*],
                    default: $crate::config::table::optional!($($default)?),
                    example: $crate::config::table::optional!($($example)?),
                    shape: <$type as $crate::config::table::FromToml>::SHAPE,
                }),+],
            };
        }

        impl $crate::config::table::FromToml for $name {
            const SHAPE: $crate::config::table::Shape =
                $crate::config::table::Shape::Table(&Self::TABLE);

            fn from_toml(
                value: &toml::de::DeValue<'_>,
                at: &$crate::config::table::Place,
                sink: &mut $crate::config::sink::Sink,
            ) -> Option<Self> {
                let table = $crate::config::table::expect_table(value, at, sink)?;
                let mut read = Self::default();
                for (name, value) in table {
                    let Some(key) = Self::TABLE.key(name.get_ref()) else {
                        let (span, known) = (name.span(), &Self::TABLE);
                        $crate::config::table::refuse_key(name.get_ref(), span, at, known, sink);
                        continue;
                    };
                    let at = at.key(key, value.span());
                    let value = value.get_ref();
                    $(
                        if key.name == $crate::config::table::key_name(stringify!($key)) {
                            read.$key = $crate::config::table::Typed::read(value, &at, sink);
                        }
                    )+
                }
                Some(read)
            }
        }
    };
}
pub(super) use table;
