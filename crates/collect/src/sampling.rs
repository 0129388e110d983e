//! What the configuration says about the sampling of exporters: a rate that overrides what they
//! announce, or one for those that announce nothing. The order of all sources of a rate is that of
//! [`SamplingOrigin`](crate::SamplingOrigin).

use std::net::IpAddr;

use tidewall_model::{Address, Prefix, SamplingRate};

use crate::ExportProtocol;

/// One rule for the exporters in a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingRule {
    /// Addresses that datagrams come from.
    pub exporters: Prefix,
    /// What they speak.
    pub protocols: Protocols,
    /// 1 packet in so many.
    pub rate: SamplingRate,
    /// When it counts.
    pub when: SamplingUse,
}

/// Some of the protocols that are spoken by exporters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols(u8);

impl Protocols {
    /// All of them.
    pub const ALL: Self = Self(u8::MAX);
    /// Those whose records are read by templates.
    pub const WITH_TEMPLATES: Self =
        Self::NONE.and(ExportProtocol::NetflowV9).and(ExportProtocol::Ipfix);
    const NONE: Self = Self(0);

    /// These and one more.
    #[must_use]
    pub const fn and(self, protocol: ExportProtocol) -> Self {
        Self(self.0 | 1 << protocol as u8)
    }

    /// Is it one of them?
    pub const fn has(self, protocol: ExportProtocol) -> bool {
        self.0 & 1 << protocol as u8 != 0
    }
}

impl FromIterator<ExportProtocol> for Protocols {
    fn from_iter<I: IntoIterator<Item = ExportProtocol>>(protocols: I) -> Self {
        protocols.into_iter().fold(Self::NONE, Self::and)
    }
}

/// When a configured rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplingUse {
    /// Always, whatever the exporter says.
    Override,
    /// When the exporter says nothing.
    Fallback,
}

/// All rules; the longest prefix that has an exporter is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SamplingRules(Vec<SamplingRule>);

impl SamplingRules {
    /// Rules in any order; of two for the same prefix and use the last counts.
    pub fn new(mut rules: Vec<SamplingRule>) -> Self {
        rules.reverse();
        rules.sort_by_key(|rule| std::cmp::Reverse(rule.exporters.len()));
        Self(rules)
    }

    /// The rate of exporters that announce nothing and that no other fallback is for.
    pub fn set_fallback(&mut self, rate: SamplingRate, protocols: Protocols) {
        let when = SamplingUse::Fallback;
        for everyone in [Address::v4(0), Address::v6(0)] {
            let exporters = Prefix::containing(everyone, 0);
            self.0.push(SamplingRule { exporters, protocols, rate, when });
        }
    }

    /// What overrides, and what stands in, for an exporter. Looked up once an exporter, not once a
    /// record.
    pub fn of(&self, exporter: IpAddr, protocol: ExportProtocol) -> ConfiguredSampling {
        let address = Address::from(exporter);
        let rules = self
            .0
            .iter()
            .filter(|rule| rule.exporters.contains(address) && rule.protocols.has(protocol));
        let find = |when| rules.clone().find(|rule| rule.when == when).map(|rule| rule.rate);
        ConfiguredSampling {
            over: find(SamplingUse::Override),
            fallback: find(SamplingUse::Fallback),
        }
    }
}

/// What the configuration says about one exporter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConfiguredSampling {
    /// Counts whatever the exporter says.
    pub over: Option<SamplingRate>,
    /// Counts when it says nothing.
    pub fallback: Option<SamplingRate>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(exporters: &str, rate: u32, when: SamplingUse) -> SamplingRule {
        let (exporters, protocols) = (exporters.parse().unwrap(), Protocols::ALL);
        SamplingRule { exporters, protocols, rate: SamplingRate::new(rate), when }
    }

    use crate::ExportProtocol::{Ipfix, NetflowV5 as V5, NetflowV9, Sflow};

    #[test]
    fn the_longest_prefix_is_asked_for_each_use() {
        let rules = SamplingRules::new(vec![
            rule("0.0.0.0/0", 100, SamplingUse::Fallback),
            rule("192.0.2.0/24", 1000, SamplingUse::Override),
            rule("192.0.2.7/32", 2000, SamplingUse::Override),
            rule("192.0.2.7/32", 3000, SamplingUse::Override),
        ]);
        let of = |address: &str| {
            let found = rules.of(address.parse().unwrap(), V5);
            (found.over.map(SamplingRate::get), found.fallback.map(SamplingRate::get))
        };
        assert_eq!(of("192.0.2.7"), (Some(3000), Some(100)));
        assert_eq!(of("192.0.2.8"), (Some(1000), Some(100)));
        assert_eq!(of("198.51.100.1"), (None, Some(100)));
        assert_eq!(of("2001:db8::1"), (None, None));
        let mut rules = rules;
        rules.set_fallback(SamplingRate::new(9), Protocols::ALL);
        let fallback = |address: &str| rules.of(address.parse().unwrap(), V5).fallback;
        assert_eq!(fallback("2001:db8::1").map(SamplingRate::get), Some(9));
        assert_eq!(fallback("192.0.2.7").map(SamplingRate::get), Some(100), "said before");
    }

    #[test]
    fn a_rule_is_for_the_protocols_that_it_names() {
        let all = rule("192.0.2.0/24", 10, SamplingUse::Fallback);
        let protocols = Protocols::WITH_TEMPLATES;
        let some = SamplingRule { protocols, ..rule("192.0.2.7/32", 20, SamplingUse::Fallback) };
        let rules = SamplingRules::new(vec![all, some]);
        let exporter = "192.0.2.7".parse().unwrap();
        let of = |protocol| rules.of(exporter, protocol).fallback.map(SamplingRate::get);
        assert_eq!([Sflow, V5, NetflowV9, Ipfix].map(of), [10, 10, 20, 20].map(Some));
        assert_eq!(Protocols::from_iter([NetflowV9, Ipfix]), protocols);
    }
}
