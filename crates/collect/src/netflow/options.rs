//! Records of options: what an exporter says about its sampling, its timeouts and its start.

use std::time::Duration;

use tidewall_model::SamplingRate;
use tidewall_wire::netflow::{Element, Record, read_float};

use super::sampling::{interval, probability, ratio, spaced};

/// What one record of options says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OptionsRecord {
    pub(super) sampler: Option<u64>,
    pub(super) interface: Option<u64>,
    pub(super) active_timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) boot_ms: Option<u64>,
    algorithm: Option<u64>,
    interval: Option<u64>,
    random_interval: Option<u64>,
    packet_interval: Option<u64>,
    packet_space: Option<u64>,
    size: Option<u64>,
    population: Option<u64>,
    share: Option<f64>,
    observed: Option<u64>,
    selected: Option<u64>,
}

impl OptionsRecord {
    /// Reads scopes and options alike: exporters name a sampler or an interface in either.
    pub(super) fn read(record: &Record<'_, '_>) -> Self {
        let mut said = Self::default();
        for field in record.fields() {
            let Some(number) = field.uint() else { continue };
            let seconds = || Some(Duration::from_secs(number));
            let slot = match field.element {
                Element::SamplerId | Element::SelectorId => &mut said.sampler,
                Element::ScopeInterface | Element::IngressInterface | Element::EgressInterface => {
                    &mut said.interface
                }
                Element::SelectorAlgorithm => &mut said.algorithm,
                Element::SamplingInterval => &mut said.interval,
                Element::SamplerRandomInterval => &mut said.random_interval,
                Element::SamplingPacketInterval => &mut said.packet_interval,
                Element::SamplingPacketSpace => &mut said.packet_space,
                Element::SamplingSize => &mut said.size,
                Element::SamplingPopulation => &mut said.population,
                Element::SelectorIdTotalPktsObserved => &mut said.observed,
                Element::SelectorIdTotalPktsSelected => &mut said.selected,
                Element::SystemInitTimeMilliseconds => &mut said.boot_ms,
                Element::SamplingProbability => {
                    said.share = read_float(field.value);
                    continue;
                }
                Element::FlowActiveTimeout => {
                    said.active_timeout = seconds();
                    continue;
                }
                Element::FlowIdleTimeout => {
                    said.idle_timeout = seconds();
                    continue;
                }
                _ => continue,
            };
            slot.get_or_insert(number);
        }
        // Interfaces count from 1: 0 stands for all of them.
        said.interface = said.interface.filter(|&interface| interface != 0);
        said
    }

    /// The sampling rate. Where a record has elements of several algorithms, the one that it names
    /// counts (RFC 5477 §8.2): Cisco IOS XR writes an interval of 1 beside "1 out of 256". What was
    /// counted is asked last.
    pub(super) fn rate(&self) -> Option<SamplingRate> {
        const SYSTEMATIC_COUNT_BASED: u64 = 1;
        let packets = || spaced(self.packet_interval?, self.packet_space);
        let n_of_m = || ratio(self.population?, self.size?);
        let counted = || ratio(self.observed?, self.selected?);
        let systematic = self.algorithm == Some(SYSTEMATIC_COUNT_BASED);
        systematic
            .then(packets)
            .flatten()
            .or_else(n_of_m)
            .or_else(|| probability(self.share?))
            .or_else(packets)
            .or_else(|| interval(self.random_interval?))
            .or_else(|| interval(self.interval?))
            .or_else(counted)
    }
}
