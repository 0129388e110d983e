//! `[filters]`: how the rules against an attack are chosen.

use std::ops::RangeInclusive;

use tidewall_engine::FilterSettings;

use super::sink::Sink;
use super::table::{Typed, table};
use super::value::within;

table! {
    /// How the filters for an attack are chosen: `tidewall replay` shows them, and what they take
    /// of a capture. Parts are numbers from 0 to 1.
    struct FiltersTable {
        /// Most rules for one attack, from 1 to 16.
        #[default = "4"]
        #[example = "2"]
        most_rules: u32,

        /// Part of the attack's packets that is enough: no further rule is added then. From 0.5 to
        /// 1.
        #[default = "0.99"]
        #[example = "0.95"]
        enough: f64,

        /// Part of the attack's packets that a further rule must take to be worth it, from 0.001 to
        /// 0.5.
        #[default = "0.02"]
        #[example = "0.05"]
        least_gain: f64,

        /// Rules that take less than this part of the attack together are not announced: the next
        /// step of the ladder is taken. From 0 to 1, and not above `enough`.
        #[default = "0.5"]
        #[example = "0.8"]
        least_coverage: f64,

        /// The collateral budget: part of the packets that the target normally receives that all
        /// discarding rules together may take, from 0 to 0.2. At 0, nothing of them.
        #[default = "0.01"]
        #[example = "0.001"]
        collateral: f64,

        /// The same of rules that only slow traffic down, from 0 to 0.5, and not below
        /// `collateral`. At 0, nothing that the target normally receives is slowed down.
        #[default = "0.1"]
        #[example = "0.05"]
        slowed: f64,

        /// With fewer remembered records of what the target normally receives, nothing is known of
        /// it, and only what no host normally receives is discarded. From 1 to 256, which is all
        /// that is remembered of one host.
        #[default = "20"]
        #[example = "50"]
        least_remembered: u32,
    }
}

impl FiltersTable {
    /// What it means.
    pub(super) fn resolve(&self, sink: &mut Sink) -> FilterSettings {
        let default = FilterSettings::default();
        let mut count = |typed: &Option<Typed<u32>>, most: u32, default: usize| {
            let words = format!("1 to {most}");
            within(typed.as_ref(), &(1..=most), &words, default as u32, sink) as usize
        };
        let most_rules = count(&self.most_rules, 16, default.most_rules);
        let least_remembered = count(&self.least_remembered, 256, default.least_remembered);
        let before = sink.errors();
        let settings = FilterSettings {
            most_rules,
            budget: part(self.collateral.as_ref(), 0.0..=0.2, default.budget, sink),
            rate_limit_budget: part(
                self.slowed.as_ref(),
                0.0..=0.5,
                default.rate_limit_budget,
                sink,
            ),
            least_gain: part(self.least_gain.as_ref(), 0.001..=0.5, default.least_gain, sink),
            enough: part(self.enough.as_ref(), 0.5..=1.0, default.enough, sink),
            least_coverage: part(
                self.least_coverage.as_ref(),
                0.0..=1.0,
                default.least_coverage,
                sink,
            ),
            least_remembered,
        };
        if sink.errors() == before {
            self.check_together(&settings, sink);
        }
        settings
    }

    /// A pair of which one makes the other pointless.
    fn check_together(&self, settings: &FilterSettings, sink: &mut Sink) {
        let FilterSettings { budget, rate_limit_budget, enough, least_coverage, .. } = *settings;
        if least_coverage > enough
            && let Some(typed) = self.least_coverage.as_ref().or(self.enough.as_ref())
        {
            let reason = format!(
                "rules end at {enough} of the attack (`enough`), and less than {least_coverage} \
                 (`least_coverage`) is not announced"
            );
            sink.error_fix(&typed.at, reason, "let `least_coverage` be at most `enough`");
        }
        if budget > rate_limit_budget
            && let Some(typed) = self.slowed.as_ref().or(self.collateral.as_ref())
        {
            let reason = format!(
                "{budget} of the normal packets may be discarded (`collateral`), and only \
                 {rate_limit_budget} slowed down (`slowed`)"
            );
            sink.error_fix(&typed.at, reason, "let `slowed` be at least `collateral`");
        }
    }
}

/// A part within its range; one that looks like a percentage is told so.
fn part(
    typed: Option<&Typed<f64>>,
    range: RangeInclusive<f64>,
    default: f64,
    sink: &mut Sink,
) -> f64 {
    let Some(typed) = typed else { return default };
    if range.contains(&typed.value) {
        // Zero may have a sign.
        return typed.value + 0.0;
    }
    let reason = format!("{} is out of range: {} to {}", typed.value, range.start(), range.end());
    let hundredth = typed.value / 100.0;
    if typed.value > 1.0 && range.contains(&hundredth) {
        let fix = format!("it is a part, not a percentage: `{} = {hundredth}`", typed.at.key);
        sink.error_fix(&typed.at, reason, fix);
    } else {
        sink.error(&typed.at, reason);
    }
    default
}
