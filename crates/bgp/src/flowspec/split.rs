//! A long rule as several short ones that match the same packets together.

use super::{Component, FlowSpecRule, Terms};

/// More rules than this are not made of one.
const MAX_PARTS: usize = 64;

impl FlowSpecRule {
    /// Rules of at most `max_octets` octets and `max_terms` terms per component which together
    /// match what this one does: lists are cut between alternatives. `None` when that cannot be.
    pub fn split(&self, max_octets: usize, max_terms: usize) -> Option<Vec<Self>> {
        let mut waiting = vec![self.clone()];
        let mut parts = Vec::new();
        while let Some(rule) = waiting.pop() {
            let crowded = rule.components.iter().position(|c| c.terms() > max_terms);
            let long = rule.octets() > max_octets;
            let Some(index) = crowded.or_else(|| long.then(|| rule.largest()).flatten()) else {
                if long {
                    return None;
                }
                parts.push(rule);
                continue;
            };
            let (first, second) = rule.components.get(index)?.halves()?;
            if parts.len() + waiting.len() + 2 > MAX_PARTS {
                return None;
            }
            for half in [second, first] {
                let mut components = rule.components.clone();
                *components.get_mut(index)? = half;
                waiting.push(Self { family: rule.family, components });
            }
        }
        Some(parts)
    }

    /// The component with the most terms among those that can be cut.
    fn largest(&self) -> Option<usize> {
        let candidates = self.components.iter().enumerate().filter(|(_, c)| c.halves().is_some());
        candidates.max_by_key(|(_, c)| c.terms()).map(|(index, _)| index)
    }
}

impl Component {
    /// Both halves of its alternatives, cut as near to the middle as AND allows.
    fn halves(&self) -> Option<(Self, Self)> {
        let starts: Vec<usize> = match self.list() {
            Terms::Prefix(_) => return None,
            Terms::Numeric(terms) => alternatives(terms.iter().map(|term| term.and)),
            Terms::Bitmask(terms) => alternatives(terms.iter().map(|term| term.and)),
        };
        let middle = self.terms() / 2;
        let cut = *starts.iter().filter(|s| **s > 0).min_by_key(|s| s.abs_diff(middle))?;
        let (mut first, mut second) = (self.clone(), self.clone());
        first.keep(|index| index < cut);
        second.keep(|index| index >= cut);
        Some((first, second))
    }

    fn keep(&mut self, mut wanted: impl FnMut(usize) -> bool) {
        let mut index = 0..;
        let mut wanted = || index.next().is_some_and(&mut wanted);
        match self {
            Self::Destination(_) | Self::Source(_) => {}
            Self::TcpFlags(terms) | Self::Fragment(terms) => terms.retain(|_| wanted()),
            Self::Protocol(terms)
            | Self::Port(terms)
            | Self::DestinationPort(terms)
            | Self::SourcePort(terms)
            | Self::IcmpType(terms)
            | Self::IcmpCode(terms)
            | Self::PacketLength(terms)
            | Self::Dscp(terms)
            | Self::FlowLabel(terms) => terms.retain(|_| wanted()),
        }
    }
}

/// Where alternatives begin: at every term that is joined by OR.
fn alternatives(and: impl Iterator<Item = bool>) -> Vec<usize> {
    and.enumerate().filter(|(_, and)| !and).map(|(index, _)| index).collect()
}
