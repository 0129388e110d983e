//! Which of two rules a router looks at first (RFC 8955 §5.1, RFC 8956 §4).

use std::cmp::Ordering;

use super::{Component, FlowSpecRule, PrefixMatch, Terms};

impl FlowSpecRule {
    /// `Less` when this rule is looked at before `other`.
    pub fn precedence(&self, other: &Self) -> Ordering {
        let (mut ours, mut theirs) = (self.components.iter(), other.components.iter());
        loop {
            let order = match (ours.next(), theirs.next()) {
                (None, None) => return self.family.cmp(&other.family),
                (Some(_), None) => return Ordering::Less,
                (None, Some(_)) => return Ordering::Greater,
                (Some(a), Some(b)) => a.kind().cmp(&b.kind()).then_with(|| component(a, b)),
            };
            if order.is_ne() {
                return order;
            }
        }
    }
}

fn component(a: &Component, b: &Component) -> Ordering {
    if let (Terms::Prefix(a), Terms::Prefix(b)) = (a.list(), b.list()) {
        return prefix(a, b);
    }
    let (mut left, mut right) = (Vec::new(), Vec::new());
    a.write(&mut left);
    b.write(&mut right);
    let common = left.len().min(right.len());
    left.iter().take(common).cmp(right.iter().take(common)).then(right.len().cmp(&left.len()))
}

/// The smaller offset, then the lower address among the common bits, then the longer prefix.
fn prefix(a: &PrefixMatch, b: &PrefixMatch) -> Ordering {
    let length = a.prefix.len().min(b.prefix.len());
    let common = |p: &PrefixMatch| tidewall_model::Prefix::containing(p.prefix.first(), length);
    a.offset
        .cmp(&b.offset)
        .then_with(|| common(a).cmp(&common(b)))
        .then_with(|| b.prefix.len().cmp(&a.prefix.len()))
}
