//! Octets of a rule (RFC 8955 §4, RFC 8956 §3): its length, its components, operators and values.

use tidewall_model::{Address, Family, Prefix};

use super::{
    BitmaskTerm, Component, ComponentKind, FlowSpecError, FlowSpecRule, NumericOp, NumericTerm,
    PrefixMatch, Terms,
};
use crate::reader::Reader;

/// From this length on, the length takes two octets, the first nibble all ones.
const TWO_OCTETS_FROM: usize = 240;
const END_OF_LIST: u8 = 0x80;
const AND: u8 = 0x40;
const NOT: u8 = 0x02;
const MATCH: u8 = 0x01;

impl FlowSpecRule {
    /// Octets of its components, without the length in front of them.
    pub fn octets(&self) -> usize {
        let mut out = Vec::new();
        self.components.iter().for_each(|component| component.write(&mut out));
        out.len()
    }

    /// Appends its NLRI: length and components.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        self.components.iter().for_each(|component| component.write(&mut body));
        match u8::try_from(body.len()) {
            Ok(short) if body.len() < TWO_OCTETS_FROM => out.push(short),
            _ => out.extend((0xf000 | body.len() as u16).to_be_bytes()),
        }
        out.extend(body);
    }

    /// Takes the octets of the next rule; the error is that its length goes beyond the end.
    pub(crate) fn next<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], FlowSpecError> {
        let mut ahead = *reader;
        let first = ahead.u8()?;
        let length = if usize::from(first) < TWO_OCTETS_FROM {
            usize::from(first)
        } else {
            usize::from(u16::from_be_bytes([first & 0x0f, ahead.u8()?]))
        };
        let body = ahead.bytes(length)?;
        *reader = ahead;
        Ok(body)
    }

    /// Reads the components of a rule.
    pub fn parse(family: Family, body: &[u8]) -> Result<Self, FlowSpecError> {
        let mut reader = Reader::new(body);
        let mut components = Vec::new();
        let mut last = 0;
        while !reader.is_empty() {
            let offset = reader.offset();
            let number = reader.u8()?;
            let kind = ComponentKind::from_number(number)
                .filter(|kind| *kind != ComponentKind::FlowLabel || family == Family::V6)
                .ok_or(FlowSpecError::Kind { kind: number, offset, family })?;
            if number <= last {
                return Err(FlowSpecError::Order { kind: number, offset });
            }
            last = number;
            components.push(match kind {
                ComponentKind::Destination => Component::Destination(prefix(family, &mut reader)?),
                ComponentKind::Source => Component::Source(prefix(family, &mut reader)?),
                ComponentKind::TcpFlags => Component::TcpFlags(bitmasks(&mut reader)?),
                ComponentKind::Fragment => Component::Fragment(bitmasks(&mut reader)?),
                _ => Component::numeric(kind, numbers(&mut reader)?)
                    .ok_or(FlowSpecError::Kind { kind: number, offset, family })?,
            });
        }
        Self::new(family, components)
    }
}

impl Component {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.kind() as u8);
        match self.list() {
            Terms::Prefix(matched) => matched.write(out),
            Terms::Numeric(terms) => {
                for (index, term) in terms.iter().enumerate() {
                    let op = joined(term.and && index > 0, index + 1 == terms.len());
                    write_value(op | term.op as u8, term.value, out);
                }
            }
            Terms::Bitmask(terms) => {
                for (index, term) in terms.iter().enumerate() {
                    let op = joined(term.and && index > 0, index + 1 == terms.len())
                        | if term.not { NOT } else { 0 }
                        | if term.all { MATCH } else { 0 };
                    write_value(op, term.mask.into(), out);
                }
            }
        }
    }
}

impl PrefixMatch {
    fn write(&self, out: &mut Vec<u8>) {
        let address = self.prefix.first();
        out.push(self.prefix.len());
        let octets = usize::from((self.prefix.len() - self.offset).div_ceil(8));
        let left_aligned = match address.family {
            Family::V4 => address.bits << 96,
            Family::V6 => {
                out.push(self.offset);
                address.bits << self.offset
            }
        };
        out.extend(left_aligned.to_be_bytes().iter().take(octets));
    }
}

const fn joined(and: bool, last: bool) -> u8 {
    (if and { AND } else { 0 }) | (if last { END_OF_LIST } else { 0 })
}

/// Operator and value, the value in as few octets as hold it.
fn write_value(op: u8, value: u64, out: &mut Vec<u8>) {
    let octets = value.to_be_bytes();
    let [.., one] = octets;
    let [.., a, b] = octets;
    let [_, _, _, _, c, d, _, _] = octets;
    match value {
        0..=0xff => out.extend([op, one]),
        0x100..=0xffff => out.extend([op | 0x10, a, b]),
        0x1_0000..=0xffff_ffff => out.extend([op | 0x20, c, d, a, b]),
        _ => {
            out.push(op | 0x30);
            out.extend(octets);
        }
    }
}

fn prefix(family: Family, reader: &mut Reader<'_>) -> Result<PrefixMatch, FlowSpecError> {
    let offset = reader.offset();
    let bits = reader.u8()?;
    let skipped = if family == Family::V6 { reader.u8()? } else { 0 };
    let wrong = FlowSpecError::PrefixBits { bits, skipped, offset };
    if bits > family.bits() || skipped > bits || skipped == bits && bits != 0 {
        return Err(wrong);
    }
    let pattern = reader.bytes(usize::from((bits - skipped).div_ceil(8)))?;
    let left_aligned = pattern
        .iter()
        .zip((0..16).rev())
        .fold(0u128, |sum, (b, i)| sum | u128::from(*b) << (8 * i));
    let address = match family {
        Family::V4 => Address::v4((left_aligned >> 96) as u32),
        Family::V6 => Address::v6(left_aligned >> skipped),
    };
    PrefixMatch::with_offset(Prefix::containing(address, bits), skipped).ok_or(wrong)
}

/// Operator octet and value of the next term, and whether it is the last.
fn term(reader: &mut Reader<'_>) -> Result<(u8, u64, usize), FlowSpecError> {
    let op = reader.u8()?;
    let octets = 1usize << (op >> 4 & 0x03);
    let value = reader.bytes(octets)?;
    Ok((op, value.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)), octets))
}

fn numbers(reader: &mut Reader<'_>) -> Result<Vec<NumericTerm>, FlowSpecError> {
    let mut terms = Vec::new();
    loop {
        let (octet, value, _) = term(reader)?;
        let op = match octet & 0x07 {
            0 => NumericOp::Never,
            1 => NumericOp::Equal,
            2 => NumericOp::Greater,
            3 => NumericOp::AtLeast,
            4 => NumericOp::Less,
            5 => NumericOp::AtMost,
            6 => NumericOp::NotEqual,
            _ => NumericOp::Always,
        };
        terms.push(NumericTerm { and: octet & AND != 0, op, value });
        if octet & END_OF_LIST != 0 {
            return Ok(terms);
        }
    }
}

fn bitmasks(reader: &mut Reader<'_>) -> Result<Vec<BitmaskTerm>, FlowSpecError> {
    let mut terms = Vec::new();
    loop {
        let offset = reader.offset();
        let (octet, value, octets) = term(reader)?;
        let mask = u16::try_from(value).ok().filter(|_| octets <= 2);
        let mask = mask.ok_or(FlowSpecError::BitmaskLength { octets, offset })?;
        terms.push(BitmaskTerm {
            and: octet & AND != 0,
            not: octet & NOT != 0,
            all: octet & MATCH != 0,
            mask,
        });
        if octet & END_OF_LIST != 0 {
            return Ok(terms);
        }
    }
}
