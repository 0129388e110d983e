//! `networks`: the prefixes that are ours, and questions about them.

use std::collections::BTreeSet;

use tidewall_model::Prefix;

use super::sink::Sink;
use super::table::Typed;

/// Our networks, for checks of other prefixes against them.
#[derive(Clone, Debug, Default)]
pub(super) struct NetworkSet(BTreeSet<Prefix>);

impl NetworkSet {
    /// Checks the typed list and keeps it.
    pub(super) fn resolve(typed: Option<&Typed<Vec<Typed<Prefix>>>>, sink: &mut Sink) -> Self {
        let mut set = BTreeSet::new();
        for network in typed.into_iter().flat_map(|list| &list.value) {
            if network.value.is_default() {
                let reason = format!("{} makes every address one of ours", network.value);
                let fix = "all traffic is then internal; list the networks you announce instead";
                sink.warn(&network.at, reason, fix);
            }
            if !set.insert(network.value) {
                let reason = format!("{} is in the list twice", network.value);
                sink.warn(&network.at, reason, "remove one of them");
            }
        }
        Self(set)
    }

    /// The networks in order.
    pub(super) fn to_vec(&self) -> Vec<Prefix> {
        self.0.iter().copied().collect()
    }

    /// Is there no network?
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Is the prefix itself one of the networks?
    pub(super) fn has(&self, prefix: Prefix) -> bool {
        self.0.contains(&prefix)
    }

    /// Is the whole prefix within one network?
    pub(super) fn covers(&self, prefix: Prefix) -> bool {
        (0..=prefix.len()).any(|len| self.0.contains(&Prefix::containing(prefix.first(), len)))
    }

    /// Is no address of the prefix ours? Never so when no network is configured: replay guesses.
    pub(super) fn is_outside(&self, prefix: Prefix) -> bool {
        // Ordered by address, then length: what lies within the prefix follows it.
        let holds = || self.0.range(prefix..).next().is_some_and(|n| prefix.covers(*n));
        !self.0.is_empty() && !self.covers(prefix) && !holds()
    }
}

impl FromIterator<Prefix> for NetworkSet {
    fn from_iter<I: IntoIterator<Item = Prefix>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_is_neither_within_nor_around() {
        let p = |text: &str| text.parse::<Prefix>().unwrap();
        let set = NetworkSet([p("192.0.2.0/24"), p("2001:db8::/32")].into());
        for (prefix, outside) in [
            ("192.0.2.128/25", false),
            ("192.0.2.0/24", false),
            ("192.0.0.0/16", false),
            ("192.0.3.0/24", true),
            ("2001:db8:1::/48", false),
            ("::/0", false),
            ("2001:db9::/32", true),
        ] {
            assert_eq!(set.is_outside(p(prefix)), outside, "{prefix}");
        }
        assert!(!NetworkSet::default().is_outside(p("192.0.3.0/24")));
    }
}
