//! sFlow datagrams to flow records: each sampled packet is one record, scaled by the rate of its
//! sample. Runs on the worker that received the datagram.
//!
//! A sample's packet is taken from the first sampled header that can be read and, without one,
//! from the IPv4 or IPv6 record (`packet`); the samples of a datagram are counted, and their
//! exporter's health is fed, in `pass`.
//!
//! Discard notifications (sample format 5) are not counted as traffic. Most hardware samples before
//! it decides a packet's fate, so flow samples stand for the discarded packets already; where it
//! samples later, they did not reach the host; and agents limit the rate of notifications, each of
//! which stands for itself alone. They are given to the sink as refused, with the reason of the
//! discard in words. A flow sample whose output says "discarded" is traffic like any other, and
//! marked.

mod packet;
mod pass;
mod words;

use tidewall_model::{DropCounters, DropReason};
use tidewall_wire::frame::{LengthMode, TunnelPolicy};
use tidewall_wire::sflow::{Datagram, SflowError};

use crate::{
    ConfiguredSampling, ExportDatagram, ExportProtocol, ExporterHealth, ExporterKey,
    ExporterLimits, Exporters, FlowSink, Remark, RemarkKind, SamplingRules,
};

use packet::Measure;
use pass::Pass;

/// How sFlow is counted.
#[derive(Clone, Debug, Default)]
pub struct SflowSettings {
    /// Which header of a tunnelled packet counts.
    pub tunnels: TunnelPolicy,
    /// Which length counts.
    pub length: LengthMode,
    /// Count the IP header's length where it is larger than the frame's, for agents that state
    /// the length of what they cut off.
    pub larger_length: bool,
    /// Rates that the configuration has for exporters.
    pub sampling: SamplingRules,
    /// Bounds of the table of exporters.
    pub limits: ExporterLimits,
}

/// What came in, in numbers.
///
/// `samples` is the sum of `records`, `counter_samples`, `other_samples` and of those drops that
/// are not datagrams: every sample is counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SflowCounts {
    /// Datagrams received.
    pub datagrams: u64,
    /// Datagrams refused as a whole.
    pub refused_datagrams: u64,
    /// Samples that the other datagrams announce.
    pub samples: u64,
    /// Flow records given.
    pub records: u64,
    /// Samples of counters.
    pub counter_samples: u64,
    /// Samples of formats that tell of no traffic.
    pub other_samples: u64,
    /// Records inside samples that could not be read, met on the way to what is needed.
    pub damaged_records: u64,
}

/// Turns the datagrams of all sFlow agents into records.
#[derive(Debug)]
pub struct SflowCollector {
    measure: Measure,
    sampling: SamplingRules,
    exporters: Exporters<Exporter>,
    totals: Totals,
}

/// What is kept for each agent.
#[derive(Debug)]
struct Exporter {
    health: ExporterHealth,
    sampling: ConfiguredSampling,
}

/// What is kept for all agents together.
#[derive(Debug, Default)]
struct Totals {
    counts: SflowCounts,
    drops: DropCounters,
    /// Number of the next record.
    seq: u64,
    /// Where remarks are worded.
    words: String,
}

impl SflowCollector {
    /// A collector that has heard nothing yet.
    pub fn new(settings: SflowSettings) -> Self {
        let SflowSettings { tunnels, length, larger_length, sampling, limits } = settings;
        Self {
            measure: Measure { tunnels, length, larger_length },
            sampling,
            exporters: Exporters::new(limits),
            totals: Totals::default(),
        }
    }

    /// Goes on by another header and length of each sampled frame.
    pub const fn set_frames(&mut self, tunnels: TunnelPolicy, length: LengthMode) {
        self.measure.tunnels = tunnels;
        self.measure.length = length;
    }

    /// Goes on by other rates of the configuration, for known exporters too.
    pub fn set_sampling(&mut self, rules: SamplingRules) {
        for (key, exporter) in self.exporters.states_mut() {
            exporter.sampling = rules.of(key.address, key.protocol);
        }
        self.sampling = rules;
    }

    /// Decodes one datagram and gives what is in it to `sink`. An error means that the datagram
    /// was refused as a whole. Everything is counted either way.
    pub fn decode<S: FlowSink>(
        &mut self,
        datagram: &ExportDatagram<'_>,
        sink: &mut S,
    ) -> Result<(), DropReason> {
        self.totals.counts.datagrams += 1;
        let parsed = match Datagram::parse(datagram.data) {
            Ok(parsed) => parsed,
            Err(error) => return Err(self.unreadable(datagram, &error, sink)),
        };
        let (from, received) = (datagram.from.ip(), datagram.received);
        let key = ExporterKey {
            protocol: ExportProtocol::Sflow,
            address: from,
            port: 0,
            agent: parsed.agent.unwrap_or(from),
            domain: parsed.sub_agent,
        };
        let sampling = &self.sampling;
        let make = || Exporter {
            health: ExporterHealth::new(received),
            sampling: sampling.of(from, ExportProtocol::Sflow),
        };
        let found = self.exporters.find(&key, received, make);
        let Some(exporter) = found.and_then(|at| self.exporters.get_mut(at)) else {
            return Err(self.refuse(DropReason::TooManyExporters));
        };
        exporter.health.datagram(received, None, Some(parsed.uptime_ms));
        exporter.health.sequence(parsed.sequence, Some(1));
        self.totals.counts.samples += u64::from(parsed.sample_count);
        Pass::new(self.measure, exporter, &mut self.totals, sink, &key, received)
            .samples(parsed.samples());
        Ok(())
    }

    #[cold]
    fn unreadable<S: FlowSink>(
        &mut self,
        datagram: &ExportDatagram<'_>,
        error: &SflowError,
        sink: &mut S,
    ) -> DropReason {
        if S::DETAIL {
            let exporter = datagram.from.ip();
            let text = words::put(&mut self.totals.words, format_args!("{error}"));
            sink.remark(&Remark { exporter, domain: 0, kind: RemarkKind::Error, text });
        }
        self.refuse(match error {
            SflowError::HeaderCut(_) => DropReason::DatagramCut,
            SflowError::Version { .. } => DropReason::DatagramVersion,
            _ => DropReason::DatagramMalformed,
        })
    }

    fn refuse(&mut self, reason: DropReason) -> DropReason {
        self.totals.counts.refused_datagrams += 1;
        self.totals.drops.count(reason);
        reason
    }

    /// All agents, each with what is known of it, in the order of their keys.
    pub fn exporters(&self) -> Vec<(&ExporterKey, &ExporterHealth)> {
        let all = self.exporters.sorted().into_iter();
        all.map(|(key, exporter)| (key, &exporter.health)).collect()
    }

    /// Datagrams and samples that gave no record, by reason.
    pub const fn drops(&self) -> &DropCounters {
        &self.totals.drops
    }

    /// What came in.
    pub const fn counts(&self) -> &SflowCounts {
        &self.totals.counts
    }
}

#[cfg(test)]
mod tests;
