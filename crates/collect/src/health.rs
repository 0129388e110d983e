//! What is known about an exporter's truthfulness: how much came, what is missing, what its clock
//! says, how it samples, and a verdict in words.

use std::time::Duration;

use tidewall_model::{DropCounters, DropReason, SamplingRate, Timestamp};

use crate::SamplingOrigin;

/// What is known about one exporter.
#[derive(Clone, Debug)]
pub struct ExporterHealth {
    first_seen: Timestamp,
    last_seen: Timestamp,
    datagrams: u64,
    flows: u64,
    options: u64,
    templates: u64,
    drops: DropCounters,
}

impl ExporterHealth {
    /// Of an exporter that is heard for the first time.
    pub fn new(now: Timestamp) -> Self {
        Self {
            first_seen: now,
            last_seen: now,
            datagrams: 0,
            flows: 0,
            options: 0,
            templates: 0,
            drops: DropCounters::default(),
        }
    }

    /// A datagram came. `exported` is the time in its header, `uptime_ms` the exporter's age.
    pub fn datagram(
        &mut self,
        received: Timestamp,
        exported: Option<Timestamp>,
        uptime_ms: Option<u32>,
    ) {
        let _ = (exported, uptime_ms);
        self.last_seen = self.last_seen.max(received);
        self.datagrams += 1;
    }

    /// The number in the datagram's header, and by how much it will have grown in the next one
    /// (`None`: not known, because some records could not be counted).
    pub fn sequence(&mut self, number: u32, units: Option<u32>) {
        let _ = (number, units);
    }

    /// So many flows were counted.
    pub fn flows(&mut self, count: u64) {
        self.flows += count;
    }

    /// So many records of options were read.
    pub fn options(&mut self, count: u64) {
        self.options += count;
    }

    /// A template was learnt, or heard again.
    pub fn template(&mut self, id: u16) {
        let _ = id;
        self.templates += 1;
    }

    /// Data came for which there is no template.
    pub fn missing_template(&mut self, id: u16, now: Timestamp) {
        let _ = (id, now);
    }

    /// Something was not counted.
    pub fn drop(&mut self, reason: DropReason, count: u64) {
        self.drops.add(reason, count);
    }

    /// Records are scaled by this rate now. Called for each datagram at most once a rate.
    pub fn sampling(&mut self, rate: SamplingRate, origin: SamplingOrigin, now: Timestamp) {
        let _ = (rate, origin, now);
    }

    /// The exporter's timeouts, as it announces them.
    pub fn timeouts(&mut self, active: Option<Duration>, idle: Option<Duration>) {
        let _ = (active, idle);
    }

    /// The longest duration of a flow in a datagram.
    pub fn longest_flow(&mut self, duration: Duration) {
        let _ = duration;
    }

    /// Durations that made no sense: negative, or longer than the exporter's age.
    pub fn absurd_durations(&mut self, count: u64) {
        let _ = count;
    }

    /// Packets sampled by this source, scaled, and the interfaces that they passed.
    pub fn sampled(
        &mut self,
        source_index: u32,
        input_if: Option<u32>,
        output_if: Option<u32>,
        bytes_scaled: u64,
        packets_scaled: u64,
    ) {
        let _ = (source_index, input_if, output_if, bytes_scaled, packets_scaled);
    }

    /// What an interface has counted since it was started.
    #[expect(clippy::too_many_arguments, reason = "one for each counter")]
    pub fn interface_counters(
        &mut self,
        index: u32,
        in_octets: u64,
        out_octets: u64,
        in_packets: u64,
        out_packets: u64,
        speed_bps: u64,
        now: Timestamp,
    ) {
        let _ = (index, in_octets, out_octets, in_packets, out_packets, speed_bps, now);
    }

    /// What a sampler has lost and seen since it was started, and the rate that it states.
    pub fn agent_drops(&mut self, source_index: u32, drops: u32, sample_pool: u32, rate: u32) {
        let _ = (source_index, drops, sample_pool, rate);
    }
}
