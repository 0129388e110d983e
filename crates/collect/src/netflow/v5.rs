//! Records of NetFlow version 5: always IPv4, always the same layout, one sampling rate a datagram.

use std::net::IpAddr;

use tidewall_model::{DropReason, Family, FlowRecord, SamplingRate, TcpFlags, Timestamp, protocol};
use tidewall_wire::netflow::v5;

use super::clock::{Clock, Lasted};
use super::reading::Reader;
use super::sampling::{Found, rest};
use crate::{ExportDatagram, FlowDetail, FlowNote, FlowSink, SamplingOrigin};

/// What all records of a datagram share.
struct Shared {
    received: Timestamp,
    clock: Clock,
    sampling: Found,
}

impl<S: FlowSink> Reader<'_, S> {
    /// All records of a datagram.
    pub(super) fn v5(
        &mut self,
        datagram: &ExportDatagram<'_>,
        packet: &v5::Packet<'_>,
        exported: Timestamp,
    ) {
        let header = &packet.header;
        let uptime_ms = Some(header.sys_uptime);
        let shared = Shared {
            received: datagram.received,
            clock: Clock { exported, uptime_ms, boot_ms: None },
            sampling: self.v5_sampling(header),
        };
        for record in packet.records() {
            self.v5_record(&record, &shared);
        }
        if packet.records().len() != 0 {
            self.heard(shared.sampling, datagram.received);
        }
        for _ in 0..packet.missing() {
            self.drop(DropReason::RecordMalformed);
        }
    }

    /// The rate of the header, unless the configuration overrides it. An interval of 0 says
    /// nothing.
    fn v5_sampling(&self, header: &v5::Header) -> Found {
        let word = self.settings.v5_word;
        let configured = self.state.configured;
        if let Some(rate) = configured.over {
            return (rate, SamplingOrigin::Override);
        }
        let said = match word {
            v5::SamplingWord::ModeAndInterval => header.sampling & 0x3fff != 0,
            v5::SamplingWord::Interval => header.sampling != 0,
        };
        let rate = SamplingRate::new(u32::from(header.sampling_interval(word)));
        rest(configured, said.then_some(rate))
    }

    #[inline]
    fn v5_record(&mut self, flow: &v5::Record, shared: &Shared) {
        let lasted = Clock::between_uptimes(flow.first, flow.last);
        self.tally.longest_ms = self.tally.longest_ms.max(lasted.ms);
        self.tally.absurd += u64::from(lasted.absurd);
        let tcp = flow.protocol == protocol::TCP;
        let packets = if flow.packets == 0 && flow.octets != 0 { 1 } else { flow.packets };
        let record = FlowRecord {
            time: shared.received,
            src: u128::from(flow.src_addr.to_bits()),
            dst: u128::from(flow.dst_addr.to_bits()),
            packets: u64::from(packets),
            bytes: u64::from(flow.octets),
            sampling: shared.sampling.0,
            src_port: flow.src_port,
            dst_port: flow.dst_port,
            tcp_flags: TcpFlags(if tcp { u16::from(flow.tcp_flags) } else { 0 }),
            family: Family::V4,
            protocol: flow.protocol,
            ..FlowRecord::default()
        };
        self.detail.duration_ms = lasted.ms;
        if S::DETAIL {
            self.v5_describe(flow, shared, lasted);
        }
        let reason = if record.src | record.dst == 0 {
            DropReason::RecordWithoutAddresses
        } else if packets == 0 {
            DropReason::RecordWithoutPackets
        } else {
            return self.give(&record);
        };
        self.drop(reason);
        if S::DETAIL {
            self.sink.refused(reason, &record, &self.detail);
        }
    }

    fn v5_describe(&mut self, flow: &v5::Record, shared: &Shared, lasted: Lasted) {
        let end = shared.clock.at_uptime(flow.last, 0).map(Timestamp);
        self.detail = FlowDetail {
            input_if: Some(u32::from(flow.input)),
            output_if: Some(u32::from(flow.output)),
            src_as: u32::from(flow.src_as),
            dst_as: u32::from(flow.dst_as),
            next_hop: Some(IpAddr::V4(flow.next_hop)),
            tos: flow.tos,
            start: end.map(|end| lasted.before(end)),
            end,
            duration_ms: lasted.ms,
            sampling: shared.sampling.1,
            note: if lasted.absurd { FlowNote::CLAMPED } else { FlowNote::NONE },
            ..FlowDetail::of(self.detail.exporter, self.detail.domain)
        };
    }
}
