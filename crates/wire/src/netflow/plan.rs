//! A template made ready for reading: where in a record the known elements are. Unknown elements of
//! fixed length cost nothing, and those of variable length are passed over by their own length, so
//! that structured data (RFC 6313) is skipped too.

use std::slice;

use super::Protocol;
use super::element::Element;
use super::error::NetflowError;
use super::template::{FieldSpec, REVERSE_ENTERPRISE, Template, TemplateKind, VARIABLE_LENGTH};
use super::value::read_uint;
use crate::cursor::Cut;

/// Padding fills a set up to a multiple of four bytes (RFC 7011 §3.3.1).
const MAX_PADDING: usize = 3;

/// What a field is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The flow, the packet or the option itself.
    Forward,
    /// The way back of a flow (RFC 5103).
    Reverse,
    /// What an options record holds for.
    Scope,
}

/// A compiled template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    kind: TemplateKind,
    variable: bool,
    least_length: u16,
    /// Bytes behind the last variable-length field; without one, the length of a record.
    tail: u16,
    slots: Box<[Slot]>,
}

/// A known field, or any field of variable length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    /// From the end of the variable-length field before it, else from the start of the record.
    offset: u16,
    /// Or [`VARIABLE_LENGTH`].
    length: u16,
    element: Option<Element>,
    role: Role,
}

impl Plan {
    /// Compiles a template, for all known elements.
    pub fn new(template: &Template) -> Self {
        Self::with_elements(template, |_, _| true)
    }

    /// Compiles a template for those elements that are wanted: the others cost nothing per record.
    pub fn with_elements(template: &Template, wanted: impl Fn(Element, Role) -> bool) -> Self {
        let mut slots = Vec::with_capacity(template.fields().len());
        // A valid template's fixed fields take at most 65535 bytes together.
        let mut offset = 0_u16;
        for (index, spec) in template.fields().iter().enumerate() {
            let (element, role) = meaning(template, index, *spec);
            let element = element.filter(|&element| wanted(element, role));
            if element.is_some() || spec.is_variable() {
                slots.push(Slot { offset, length: spec.length, element, role });
            }
            offset = if spec.is_variable() { 0 } else { offset.saturating_add(spec.length) };
        }
        Self {
            kind: template.kind(),
            variable: template.fields().iter().any(|field| field.is_variable()),
            least_length: template.least_length(),
            tail: offset,
            slots: slots.into(),
        }
    }

    /// What the records carry.
    pub fn kind(&self) -> TemplateKind {
        self.kind
    }

    /// Length of every record in bytes, where they are all alike.
    pub fn fixed_length(&self) -> Option<u16> {
        (!self.variable).then_some(self.tail)
    }

    /// The known elements of each record, in order.
    pub fn elements(&self) -> impl Iterator<Item = (Element, Role)> {
        self.slots.iter().filter_map(|slot| Some((slot.element?, slot.role)))
    }

    /// Where the known elements are, in order: one for each of [`Record::fields`].
    pub fn places(&self) -> impl Iterator<Item = Place> {
        self.slots.iter().filter_map(|slot| {
            let Slot { offset, length, element, role } = *slot;
            Some(Place { element: element?, role, offset, length })
        })
    }

    /// The records in the body of a set, which starts at `offset` in its datagram.
    #[inline]
    pub fn records<'a>(&self, body: &'a [u8], offset: u32) -> Records<'a, '_> {
        Records { plan: self, rest: body, offset }
    }

    /// Length of the record at the start of `rest`, or as much of it as is known: when the record
    /// is cut, more than `rest` has.
    #[inline]
    fn record_length(&self, rest: &[u8]) -> usize {
        let mut end = 0;
        if self.variable {
            for slot in self.slots.iter().filter(|slot| slot.length == VARIABLE_LENGTH) {
                match variable_value(rest, end + usize::from(slot.offset)) {
                    Ok((start, length)) => end = start + length,
                    Err(needed) => return needed,
                }
            }
        }
        end + usize::from(self.tail)
    }
}

/// Where in each record a known element is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which element it is.
    pub element: Element,
    /// What it is about.
    pub role: Role,
    /// From the start of the record or, where variable-length fields come before it, from the end
    /// of the last of these.
    pub offset: u16,
    /// Length of the value in bytes, or [`VARIABLE_LENGTH`].
    pub length: u16,
}

/// Start and length of the variable-length value whose length is written at `start` (RFC 7011 §7).
/// The value itself may be cut. Where its length is, the error says how long the record must be to
/// have that.
#[inline]
fn variable_value(record: &[u8], start: usize) -> Result<(usize, usize), usize> {
    match *record.get(start..).unwrap_or_default() {
        [] => Err(start + 1),
        [255, high, low, ..] => Ok((start + 3, usize::from(u16::from_be_bytes([high, low])))),
        [255, ..] => Err(start + 3),
        [length, ..] => Ok((start + 1, usize::from(length))),
    }
}

/// The element and role of the field at `index`.
fn meaning(template: &Template, index: usize, spec: FieldSpec) -> (Option<Element>, Role) {
    if index < usize::from(template.scope_count()) {
        let element = match template.protocol() {
            Protocol::V9 => Element::of_v9_scope(spec.element),
            Protocol::Ipfix if spec.enterprise == 0 => Element::of(spec.element),
            Protocol::Ipfix => None,
        };
        return (element, Role::Scope);
    }
    match spec.enterprise {
        0 => (Element::of(spec.element), Role::Forward),
        REVERSE_ENTERPRISE => (Element::of(spec.element), Role::Reverse),
        _ => (None, Role::Forward),
    }
}

/// The records of one set, in order.
///
/// A record with a variable-length field that reaches beyond the set is an error, and the last
/// item. What is left behind the last record is padding.
#[derive(Clone, Debug)]
pub struct Records<'a, 'p> {
    plan: &'p Plan,
    rest: &'a [u8],
    offset: u32,
}

impl<'a> Records<'a, '_> {
    /// What is left, once the iterator has ended without an error: padding.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a, 'p> Iterator for Records<'a, 'p> {
    type Item = Result<Record<'a, 'p>, NetflowError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < usize::from(self.plan.least_length) {
            return None;
        }
        // Where all fields may be empty, padding looks like records without a value.
        let zeros = |rest: &[u8]| rest.len() <= MAX_PADDING && rest.iter().all(|&byte| byte == 0);
        if self.plan.variable && zeros(self.rest) {
            return None;
        }
        let length = self.plan.record_length(self.rest);
        let Some((bytes, rest)) = self.rest.split_at_checked(length) else {
            let available = self.rest.len() as u32;
            let cut = Cut { offset: self.offset, needed: length as u32, available };
            self.rest = &[];
            return Some(Err(NetflowError::RecordCut(cut)));
        };
        self.rest = rest;
        self.offset = self.offset.saturating_add(length as u32);
        Some(Ok(Record { plan: self.plan, bytes }))
    }
}

/// One record that is there in full.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a, 'p> {
    plan: &'p Plan,
    bytes: &'a [u8],
}

impl<'a, 'p> Record<'a, 'p> {
    /// All of its bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The known fields in the template's order.
    #[inline]
    pub fn fields(&self) -> Fields<'a, 'p> {
        Fields { slots: self.plan.slots.iter(), bytes: self.bytes, base: 0 }
    }
}

/// One known field of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Which element it is.
    pub element: Element,
    /// What it is about.
    pub role: Role,
    /// The bytes of the value, as many as the template or the value itself says: also none.
    pub value: &'a [u8],
}

impl Field<'_> {
    /// The value as a number, if its length is one of a number's.
    #[inline]
    pub fn uint(&self) -> Option<u64> {
        read_uint(self.value)
    }
}

/// The known fields of a record.
#[derive(Clone, Debug)]
pub struct Fields<'a, 'p> {
    slots: slice::Iter<'p, Slot>,
    bytes: &'a [u8],
    base: usize,
}

impl<'a> Iterator for Fields<'a, '_> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let slot = self.slots.next()?;
            let start = self.base + usize::from(slot.offset);
            let value = if slot.length == VARIABLE_LENGTH {
                let (start, length) = variable_value(self.bytes, start).ok()?;
                self.base = start + length;
                self.bytes.get(start..start + length)?
            } else {
                self.bytes.get(start..start + usize::from(slot.length))?
            };
            if let Some(element) = slot.element {
                return Some(Field { element, role: slot.role, value });
            }
        }
    }
}
