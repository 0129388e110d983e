//! `[flows]`: what exporters of sFlow, NetFlow and IPFIX say, and how far it is believed.

use std::time::Duration;

use tidewall_collect::{
    Crediting, ExportProtocol, NetflowSettings, Protocols, SamplingRule, SamplingRules,
    SamplingUse, SflowSettings, TemplateLimits,
};
use tidewall_model::{Prefix, SamplingRate};
use tidewall_wire::netflow::v5::SamplingWord;
use toml::de::DeValue;

use super::Frames;
use super::sink::Sink;
use super::table::{FromToml, Place, Typed, table};
use super::value::{within, word};

table! {
    /// What exporters of sFlow, NetFlow and IPFIX say, and how far it is believed.
    struct FlowsTable {
        /// When the packets of a flow record count: "arrival", all at once when the record comes;
        /// or "spread", evenly over as long as the flow lasted, beginning when the record comes.
        /// Spread where exporters send records of flows that last longer than a few seconds.
        #[default = "\"arrival\""]
        #[example = "\"spread\""]
        credit: Credit,

        /// A record is spread over so many seconds at the most, from 1 to 3600.
        #[default = "300"]
        #[example = "120"]
        spread_seconds: u32,

        /// The sampling word of NetFlow v5: "mode_and_interval", 2 bits and 14 bits; or "interval",
        /// all 16 bits, as Juniper writes rates above 16383.
        #[default = "\"mode_and_interval\""]
        #[example = "\"interval\""]
        v5_sampling_word: SamplingWord,

        sampling: Vec<Typed<SamplingTable>>,
    }
}

table! {
    /// The sampling rate of some exporters, as many of these as you like; the longest prefix around
    /// an exporter's address decides. Rates that exporters announce need nothing here.
    struct SamplingTable {
        /// Addresses that their datagrams come from.
        #[example = "[\"192.0.2.1/32\", \"2001:db8:1::/64\"]"]
        exporters: Vec<Typed<Prefix>>,

        /// What they speak, "sflow", "netflow5", "netflow9" or "ipfix"; without it any of them.
        #[example = "[\"netflow9\", \"ipfix\"]"]
        protocols: Vec<Typed<ExportProtocol>>,

        /// They look at one packet in so many.
        #[example = "1000"]
        rate: u32,

        /// "fallback": for exporters that announce nothing. "override": whatever they announce.
        #[example = "\"fallback\""]
        when: SamplingUse,
    }
}

/// So long flows may wait for their template and still count: it makes a second's rate a tenth
/// higher at the most.
const TEMPLATE_WAIT: Duration = Duration::from_millis(100);

/// How export datagrams are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flows {
    /// When the packets of a record count.
    pub crediting: Crediting,
    /// What the configuration says about sampling.
    pub sampling: SamplingRules,
    /// The sampling word of NetFlow v5.
    pub v5_word: SamplingWord,
}

impl Flows {
    /// Settings of the collector of sFlow.
    pub(crate) fn sflow(&self, frames: Frames) -> SflowSettings {
        SflowSettings {
            tunnels: frames.tunnels,
            length: frames.length,
            sampling: self.sampling.clone(),
            ..SflowSettings::default()
        }
    }

    /// Settings of the collector of NetFlow and IPFIX, for a detector: the flows of seconds must not
    /// count in the moment in which their template comes.
    pub(crate) fn netflow(&self, frames: Frames) -> NetflowSettings {
        let templates = TemplateLimits { counted_within: TEMPLATE_WAIT, ..Default::default() };
        NetflowSettings {
            templates,
            tunnels: frames.tunnels,
            length: frames.length,
            sampling: self.sampling.clone(),
            v5_word: self.v5_word,
            crediting: self.crediting,
            ..NetflowSettings::default()
        }
    }
}

/// When the packets of a record count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Credit {
    #[default]
    Arrival,
    Spread,
}

impl FromToml for Credit {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        word(value, &[("arrival", Self::Arrival), ("spread", Self::Spread)], at, sink)
    }
}

impl FromToml for SamplingWord {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let words = [("mode_and_interval", Self::ModeAndInterval), ("interval", Self::Interval)];
        word(value, &words, at, sink)
    }
}

impl FromToml for SamplingUse {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        word(value, &[("fallback", Self::Fallback), ("override", Self::Override)], at, sink)
    }
}

impl FromToml for ExportProtocol {
    fn from_toml(value: &DeValue<'_>, at: &Place, sink: &mut Sink) -> Option<Self> {
        let all = [Self::Sflow, Self::NetflowV5, Self::NetflowV9, Self::Ipfix];
        word(value, &all.map(|protocol| (protocol.name(), protocol)), at, sink)
    }
}

impl FlowsTable {
    /// What it means.
    pub(super) fn resolve(&self, sink: &mut Sink) -> Flows {
        let range = 1..=3600;
        let seconds = within(self.spread_seconds.as_ref(), &range, "1 to 3600", 300, sink);
        let credit = self.credit.as_ref().map_or(Credit::default(), |typed| typed.value);
        let mut rules = Vec::new();
        for table in self.sampling.iter().flat_map(|list| &list.value) {
            table.value.resolve(table, &mut rules, sink);
        }
        Flows {
            crediting: match credit {
                Credit::Arrival => Crediting::Arrival,
                Credit::Spread => {
                    Crediting::Spread { longest: Duration::from_secs(seconds.into()) }
                }
            },
            sampling: SamplingRules::new(rules),
            v5_word: self.v5_sampling_word.as_ref().map_or_else(Default::default, |t| t.value),
        }
    }
}

impl SamplingTable {
    fn resolve(&self, typed: &Typed<Self>, rules: &mut Vec<SamplingRule>, sink: &mut Sink) {
        let Some(rate) = &self.rate else {
            if !sink.blames(&typed.at) {
                sink.error_fix(&typed.at, "a rate is missing", "add a line such as `rate = 1000`");
            }
            return;
        };
        if rate.value == 0 {
            sink.error_fix(&rate.at, "one packet in 0 is none", "write 1 for every packet");
        }
        let Some(exporters) = &self.exporters else {
            if !sink.blames(&typed.at) {
                let fix = "add `exporters = [\"0.0.0.0/0\", \"::/0\"]` for all of them";
                sink.error_fix(&typed.at, "it is not said whose rate this is", fix);
            }
            return;
        };
        let when = self.when.as_ref().map_or(SamplingUse::Fallback, |typed| typed.value);
        let rate = SamplingRate::new(rate.value);
        let protocols = match &self.protocols {
            Some(list) if list.value.is_empty() => {
                sink.error_fix(&list.at, "no protocol is named", "name one, or remove the line");
                return;
            }
            Some(list) => list.value.iter().map(|typed| typed.value).collect(),
            None => Protocols::ALL,
        };
        for exporters in exporters.value.iter().map(|typed| typed.value) {
            rules.push(SamplingRule { exporters, protocols, rate, when });
        }
    }
}
