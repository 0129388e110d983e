//! A rule in words: `match destination 192.0.2.1/32 protocol =17 source-port [ =53 =123 ]`.

use std::fmt;

use super::{
    BitmaskTerm, Component, ComponentKind, FlowSpecRule, NumericOp, NumericTerm, Terms, fragment,
};
use tidewall_model::Family;

const TCP_FLAGS: [(u16, &str); 8] = [
    (0x01, "fin"),
    (0x02, "syn"),
    (0x04, "rst"),
    (0x08, "psh"),
    (0x10, "ack"),
    (0x20, "urg"),
    (0x40, "ece"),
    (0x80, "cwr"),
];
const FRAGMENT_BITS: [(u16, &str); 4] = [
    (fragment::DONT_FRAGMENT, "dont-fragment"),
    (fragment::IS_FRAGMENT, "is-fragment"),
    (fragment::FIRST, "first-fragment"),
    (fragment::LAST, "last-fragment"),
];

impl fmt::Display for FlowSpecRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("match")?;
        for component in &self.components {
            let name = match (component.kind(), self.family) {
                (ComponentKind::Protocol, Family::V6) => "next-header".to_owned(),
                (ComponentKind::Dscp, Family::V6) => "traffic-class".to_owned(),
                (kind, _) => kind.to_string(),
            };
            write!(f, " {name} {component}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Component {
    /// Its terms, in brackets when there are alternatives.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let terms: Vec<(bool, String)> = match self.list() {
            Terms::Prefix(matched) if matched.offset == 0 => {
                return write!(f, "{}", matched.prefix);
            }
            Terms::Prefix(matched) => {
                return write!(f, "{} offset {}", matched.prefix, matched.offset);
            }
            Terms::Numeric(terms) => terms.iter().map(|t| (t.and, t.to_string())).collect(),
            Terms::Bitmask(terms) => {
                let names: &[_] = if self.kind() == ComponentKind::Fragment {
                    &FRAGMENT_BITS
                } else {
                    &TCP_FLAGS
                };
                terms.iter().map(|t| (t.and, bits(*t, names))).collect()
            }
        };
        let several = terms.iter().skip(1).any(|(and, _)| !and);
        f.write_str(if several { "[ " } else { "" })?;
        for (index, (and, text)) in terms.iter().enumerate() {
            let joint = match (index, and) {
                (0, _) => "",
                (_, true) => "&",
                (_, false) => " ",
            };
            write!(f, "{joint}{text}")?;
        }
        f.write_str(if several { " ]" } else { "" })
    }
}

impl fmt::Display for NumericTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            NumericOp::Never => return f.write_str("never"),
            NumericOp::Always => return f.write_str("always"),
            NumericOp::Equal => "=",
            NumericOp::Greater => ">",
            NumericOp::AtLeast => ">=",
            NumericOp::Less => "<",
            NumericOp::AtMost => "<=",
            NumericOp::NotEqual => "!=",
        };
        write!(f, "{op}{}", self.value)
    }
}

/// `=syn+ack`: all of them; `syn+ack`: any of them; `!` in front inverts.
fn bits(term: BitmaskTerm, names: &[(u16, &str)]) -> String {
    let mut text = String::new();
    text.push_str(if term.not { "!" } else { "" });
    text.push_str(if term.all { "=" } else { "" });
    let mut rest = term.mask;
    let mut parts: Vec<String> = Vec::new();
    for (bit, name) in names {
        if rest & bit != 0 {
            parts.push((*name).to_owned());
            rest &= !bit;
        }
    }
    if rest != 0 || parts.is_empty() {
        parts.push(format!("0x{rest:x}"));
    }
    text + &parts.join("+")
}
