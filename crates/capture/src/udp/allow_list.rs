//! Which senders are heard.

use std::net::IpAddr;

use tidewall_model::{Address, Prefix};

/// Prefixes as sorted, disjoint ranges; empty means everybody.
#[derive(Clone, Debug, Default)]
pub(super) struct AllowList {
    ranges: Vec<(Address, Address)>,
}

impl AllowList {
    pub(super) fn new(prefixes: &[Prefix]) -> Self {
        let mut sorted: Vec<_> = prefixes.iter().map(|p| (p.first(), p.last())).collect();
        sorted.sort_unstable();
        let mut ranges: Vec<(Address, Address)> = Vec::with_capacity(sorted.len());
        for (first, last) in sorted {
            match ranges.last_mut() {
                Some((_, end)) if first <= *end => *end = last.max(*end),
                _ => ranges.push((first, last)),
            }
        }
        Self { ranges }
    }

    #[inline]
    pub(super) fn allows(&self, sender: IpAddr) -> bool {
        if self.ranges.is_empty() {
            return true;
        }
        let sender = Address::from(sender);
        let behind = self.ranges.partition_point(|(first, _)| *first <= sender);
        behind.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|r| sender <= r.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_list_allows_everybody() {
        assert!(AllowList::new(&[]).allows(IpAddr::from([192, 0, 2, 1])));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: prop::test_runner::RngSeed::Fixed(0x7d11),
            ..ProptestConfig::default()
        })]

        #[test]
        fn allows_what_a_prefix_contains(
            prefixes in prop::collection::vec((any::<bool>(), any::<u8>(), 0u8..=16), 1..12),
            senders in prop::collection::vec((any::<bool>(), any::<u16>()), 1..40),
        ) {
            // Addresses that differ in their first 16 bits only, so that they often meet.
            let address = |v4: bool, top: u16| if v4 {
                Address::v4(u32::from(top) << 16)
            } else {
                Address::v6(u128::from(top) << 112)
            };
            let prefixes: Vec<Prefix> = prefixes
                .iter()
                .map(|&(v4, top, len)| Prefix::containing(address(v4, u16::from(top) << 8), len))
                .collect();
            let list = AllowList::new(&prefixes);
            for (v4, top) in senders {
                let sender = address(v4, top);
                let expected = prefixes.iter().any(|p| p.contains(sender));
                prop_assert_eq!(list.allows(IpAddr::from(sender)), expected);
            }
        }
    }
}
