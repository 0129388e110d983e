//! What the configuration says about the sampling of exporters: a rate that overrides what they
//! announce, or one for those that announce nothing. The order of all sources of a rate is that of
//! [`SamplingOrigin`](crate::SamplingOrigin).

use std::net::IpAddr;

use tidewall_model::{Address, Prefix, SamplingRate};

/// One rule for the exporters in a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingRule {
    /// Addresses that datagrams come from.
    pub exporters: Prefix,
    /// 1 packet in so many.
    pub rate: SamplingRate,
    /// When it counts.
    pub when: SamplingUse,
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
    pub fn set_fallback(&mut self, rate: SamplingRate) {
        let when = SamplingUse::Fallback;
        for everyone in [Address::v4(0), Address::v6(0)] {
            let exporters = Prefix::containing(everyone, 0);
            self.0.push(SamplingRule { exporters, rate, when });
        }
    }

    /// What overrides, and what stands in, for an exporter. Looked up once an exporter, not once a
    /// record.
    pub fn of(&self, exporter: IpAddr) -> ConfiguredSampling {
        let address = Address::from(exporter);
        let find = |when| {
            let rule = self.0.iter().find(|r| r.when == when && r.exporters.contains(address));
            rule.map(|rule| rule.rate)
        };
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
        let exporters = exporters.parse().unwrap();
        SamplingRule { exporters, rate: SamplingRate::new(rate), when }
    }

    #[test]
    fn the_longest_prefix_is_asked_for_each_use() {
        let rules = SamplingRules::new(vec![
            rule("0.0.0.0/0", 100, SamplingUse::Fallback),
            rule("192.0.2.0/24", 1000, SamplingUse::Override),
            rule("192.0.2.7/32", 2000, SamplingUse::Override),
            rule("192.0.2.7/32", 3000, SamplingUse::Override),
        ]);
        let of = |address: &str| {
            let found = rules.of(address.parse().unwrap());
            (found.over.map(SamplingRate::get), found.fallback.map(SamplingRate::get))
        };
        assert_eq!(of("192.0.2.7"), (Some(3000), Some(100)));
        assert_eq!(of("192.0.2.8"), (Some(1000), Some(100)));
        assert_eq!(of("198.51.100.1"), (None, Some(100)));
        assert_eq!(of("2001:db8::1"), (None, None));
        let mut rules = rules;
        rules.set_fallback(SamplingRate::new(9));
        let fallback = |address: &str| rules.of(address.parse().unwrap()).fallback;
        assert_eq!(fallback("2001:db8::1").map(SamplingRate::get), Some(9));
        assert_eq!(fallback("192.0.2.7").map(SamplingRate::get), Some(100), "said before");
    }
}
