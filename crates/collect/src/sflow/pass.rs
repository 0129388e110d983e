//! The way through one datagram: each sample to a record, a drop or a counter, and what its
//! exporter's health is told. Health is told once for samples in a row that passed the same way.

use tidewall_model::{DropReason, FlowRecord, Forwarding, SamplingRate, Timestamp};
use tidewall_wire::sflow::{
    CounterData, CounterSample, DataSource, DiscardReason, DiscardSample, FlowSample, Interface,
    InterfaceCounters, Sample, Samples, SflowError,
};

use super::packet::{self, Measure, Told};
use super::words::{CounterWords, DiscardWords, put};
use super::{Exporter, Totals};
use crate::{ExporterKey, FlowDetail, FlowNote, FlowSink, Remark, RemarkKind, SamplingOrigin};

/// One datagram on its way.
pub(super) struct Pass<'a, S> {
    measure: Measure,
    exporter: &'a mut Exporter,
    totals: &'a mut Totals,
    sink: &'a mut S,
    key: &'a ExporterKey,
    received: Timestamp,
    /// Unspecified unless the sink wants it.
    detail: FlowDetail,
    records: u64,
    run: Run,
    /// The last rate that health was told.
    told_rate: Option<(SamplingRate, SamplingOrigin)>,
}

/// Samples in a row of the same source and interfaces.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    source: u32,
    input: Option<u32>,
    output: Option<u32>,
    samples: u64,
    bytes: u64,
    packets: u64,
    /// The source's own counters, by its last sample.
    drops: u32,
    pool: u32,
    rate: u32,
}

impl<'a, S: FlowSink> Pass<'a, S> {
    pub(super) fn new(
        measure: Measure,
        exporter: &'a mut Exporter,
        totals: &'a mut Totals,
        sink: &'a mut S,
        key: &'a ExporterKey,
        received: Timestamp,
    ) -> Self {
        Self {
            measure,
            exporter,
            totals,
            sink,
            key,
            received,
            detail: FlowDetail::of(key.agent, key.domain),
            records: 0,
            run: Run::default(),
            told_rate: None,
        }
    }

    /// All samples, to the end.
    pub(super) fn samples(mut self, mut samples: Samples<'_>) {
        loop {
            while let Some(sample) = samples.next_flow() {
                self.flow(sample);
            }
            let Some(sample) = samples.next() else { break };
            self.any(sample);
        }
        if samples.lost() > 0 {
            let lost = samples.lost();
            self.drop(DropReason::SampleMalformed, u64::from(lost));
            self.remark(RemarkKind::Error, format_args!("{lost} samples behind it are lost"));
        }
        self.end_run();
        self.totals.counts.records += self.records;
        self.exporter.health.flows(self.records);
    }

    #[inline(never)]
    fn any(&mut self, sample: Result<Sample<'_>, SflowError>) {
        match sample {
            Ok(Sample::Flow(sample)) => self.flow(sample),
            Ok(Sample::Counters(sample)) => self.counters(&sample),
            Ok(Sample::Discard(sample)) => self.discard(&sample),
            Ok(Sample::Other { .. }) => self.totals.counts.other_samples += 1,
            Err(error) => {
                self.drop(DropReason::SampleMalformed, 1);
                self.remark(RemarkKind::Error, format_args!("{error}"));
            }
        }
    }

    #[expect(clippy::inline_always, reason = "a sample that is copied costs as much as reading it")]
    #[inline(always)]
    fn flow(&mut self, sample: FlowSample<'_>) {
        let (sampling, origin) = self.rate(sample.sampling_rate);
        if !S::DETAIL
            && let Some((record, octets, header)) =
                packet::read_plain(sample.records(), self.measure)
        {
            self.run(&sample, octets, sampling);
            let (seq, forwarding) = (self.next_seq(), forwarding(sample.output));
            let record = FlowRecord { time: self.received, seq, sampling, forwarding, ..record };
            self.records += 1;
            self.sink.header(&record, &header);
            self.sink.flow(&record, &self.detail);
            return;
        }
        self.flow_with_care(sample, sampling, origin);
    }

    #[expect(clippy::needless_pass_by_value, reason = "a sample that is lent lies in memory")]
    #[inline(never)]
    fn flow_with_care(
        &mut self,
        sample: FlowSample<'_>,
        sampling: SamplingRate,
        origin: SamplingOrigin,
    ) {
        if S::DETAIL {
            self.fill(sample.input, sample.output, origin);
        }
        let told = packet::read::<S>(sample.records(), self.measure, &mut self.detail);
        self.run(&sample, told.octets, sampling);
        if told.damaged > 0 {
            self.damaged(&told);
        }
        let base = FlowRecord {
            time: self.received,
            seq: self.next_seq(),
            sampling,
            forwarding: forwarding(sample.output),
            ..told.packet.unwrap_or_default()
        };
        if told.packet.is_some() {
            self.records += 1;
            if let Some(header) = &told.header {
                self.sink.header(&base, header);
            }
            self.sink.flow(&base, &self.detail);
        } else {
            self.refuse(told.reason(), &base);
        }
        if S::DETAIL
            && let Interface::Discarded(reason) = sample.output
        {
            self.discard_reason(reason);
        }
    }

    #[cold]
    fn discard(&mut self, sample: &DiscardSample<'_>) {
        if S::DETAIL {
            self.fill(sample.input, sample.output, SamplingOrigin::Assumed);
            self.detail.note = FlowNote::DROPPED;
        }
        let told = packet::read::<S>(sample.records(), self.measure, &mut self.detail);
        if told.damaged > 0 {
            self.damaged(&told);
        }
        let record = FlowRecord {
            time: self.received,
            seq: self.next_seq(),
            forwarding: Forwarding::Dropped,
            ..told.packet.unwrap_or_default()
        };
        self.refuse(DropReason::DiscardNotification, &record);
        if S::DETAIL {
            self.discard_reason(sample.reason);
        }
    }

    #[cold]
    fn counters(&mut self, sample: &CounterSample<'_>) {
        self.totals.counts.counter_samples += 1;
        for group in sample.records() {
            match group {
                Ok(group) => {
                    if let CounterData::Interface(counters) = &group {
                        self.interface(counters);
                    }
                    self.remark(RemarkKind::Counters, format_args!("{}", CounterWords(&group)));
                }
                Err(error) => {
                    self.totals.counts.damaged_records += 1;
                    self.remark(RemarkKind::Error, format_args!("{error}"));
                }
            }
        }
    }

    /// Counters that the agent has; octets that it does not have leave nothing to compare.
    fn interface(&mut self, counters: &InterfaceCounters) {
        let c = counters;
        if c.in_octets == u64::MAX || c.out_octets == u64::MAX {
            return;
        }
        let sum = |counters: [u32; 3]| {
            counters.into_iter().filter(|count| *count != u32::MAX).map(u64::from).sum::<u64>()
        };
        let received = sum([c.in_unicast, c.in_multicast, c.in_broadcast]);
        let sent = sum([c.out_unicast, c.out_multicast, c.out_broadcast]);
        self.exporter.health.interface_counters(
            c.index,
            c.in_octets,
            c.out_octets,
            received,
            sent,
            c.speed_bps,
            self.received,
        );
    }

    /// The rate that counts, in the order of [`SamplingOrigin`].
    #[inline]
    fn rate(&mut self, stated: u32) -> (SamplingRate, SamplingOrigin) {
        let configured = &self.exporter.sampling;
        let found = match (configured.over, stated, configured.fallback) {
            (Some(rate), _, _) => (rate, SamplingOrigin::Override),
            (None, 0, Some(rate)) => (rate, SamplingOrigin::Fallback),
            (None, 0, None) => (SamplingRate::ONE, SamplingOrigin::Assumed),
            (None, stated, _) => (SamplingRate::new(stated), SamplingOrigin::Header),
        };
        if self.told_rate != Some(found) {
            self.told_rate = Some(found);
            self.exporter.health.sampling(found.0, found.1, self.received);
        }
        found
    }

    /// Adds a sample to the run. What is no IP counts too: the interface's counters have it.
    #[inline]
    fn run(&mut self, sample: &FlowSample<'_>, octets: u32, sampling: SamplingRate) {
        let source = source_index(sample.source);
        let (input, output) = (sample.input.index(), sample.output.index());
        if (self.run.source, self.run.input, self.run.output) != (source, input, output) {
            self.end_run();
            self.run = Run { source, input, output, ..Run::default() };
        }
        let run = &mut self.run;
        run.samples += 1;
        run.packets = run.packets.saturating_add(u64::from(sampling.get()));
        let bytes = u64::from(octets) * u64::from(sampling.get());
        run.bytes = run.bytes.saturating_add(bytes);
        (run.drops, run.pool, run.rate) = (sample.drops, sample.sample_pool, sample.sampling_rate);
    }

    #[inline]
    fn end_run(&mut self) {
        let Run { source, input, output, samples, bytes, packets, drops, pool, rate } = self.run;
        if packets > 0 {
            let health = &mut self.exporter.health;
            health.sampled(source, input, output, bytes, packets);
            health.agent_drops(source, samples, drops, pool, rate);
        }
    }

    fn fill(&mut self, input: Interface, output: Interface, sampling: SamplingOrigin) {
        let note = match output {
            Interface::Discarded(_) => FlowNote::DROPPED,
            _ => FlowNote::NONE,
        };
        self.detail = FlowDetail {
            input_if: input.index(),
            output_if: output.index(),
            sampling,
            note,
            ..FlowDetail::of(self.key.agent, self.key.domain)
        };
    }

    #[inline]
    fn next_seq(&mut self) -> u64 {
        let seq = self.totals.seq;
        self.totals.seq += 1;
        seq
    }

    #[cold]
    fn refuse(&mut self, reason: DropReason, record: &FlowRecord) {
        self.drop(reason, 1);
        if S::DETAIL {
            self.sink.refused(reason, record, &self.detail);
        }
    }

    fn drop(&mut self, reason: DropReason, count: u64) {
        self.totals.drops.add(reason, count);
        self.exporter.health.drop(reason, count);
    }

    #[cold]
    fn damaged(&mut self, told: &Told<'_>) {
        self.totals.counts.damaged_records += u64::from(told.damaged);
        if let Some(error) = told.error {
            self.remark(RemarkKind::Error, format_args!("{error}"));
        }
    }

    fn discard_reason(&mut self, reason: DiscardReason) {
        self.remark(RemarkKind::Discard, format_args!("{}", DiscardWords(reason)));
    }

    fn remark(&mut self, kind: RemarkKind, text: std::fmt::Arguments<'_>) {
        if S::DETAIL {
            let text = put(&mut self.totals.words, text);
            let (exporter, domain) = (self.key.agent, self.key.domain);
            self.sink.remark(&Remark { exporter, domain, kind, text });
        }
    }
}

/// The source as one number: an interface's is its ifIndex.
const fn source_index(source: DataSource) -> u32 {
    match source.class {
        0 => source.index,
        class => class << 24 | source.index & 0x00ff_ffff,
    }
}

const fn forwarding(output: Interface) -> Forwarding {
    match output {
        Interface::Discarded(_) => Forwarding::Dropped,
        _ => Forwarding::Unknown,
    }
}
