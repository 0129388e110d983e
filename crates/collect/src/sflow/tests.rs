//! What each kind of datagram, sample and record becomes, and that every sample is counted once.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tidewall_model::{Address, Family, FlowRecord, Forwarding, SamplingRate, TcpFlags, Timestamp};

use super::*;
use crate::{FlowDetail, FlowNote, Protocols, SamplingOrigin, SamplingRule, SamplingUse};

mod build;
mod hostile;
mod length;
mod records;

use build::*;

/// Everything that a collector gives.
#[derive(Debug, Default)]
struct Seen {
    flows: Vec<(FlowRecord, FlowDetail)>,
    refused: Vec<(DropReason, FlowRecord, FlowDetail)>,
    remarks: Vec<(RemarkKind, String)>,
}

impl FlowSink for Seen {
    const DETAIL: bool = true;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        self.flows.push((*record, *detail));
    }

    fn refused(&mut self, reason: DropReason, record: &FlowRecord, detail: &FlowDetail) {
        self.refused.push((reason, *record, *detail));
    }

    fn remark(&mut self, remark: &Remark<'_>) {
        assert_eq!(remark.exporter, agent());
        self.remarks.push((remark.kind, remark.text.to_owned()));
    }
}

fn agent() -> IpAddr {
    IpAddr::from([192, 0, 2, 9])
}

fn sender() -> SocketAddr {
    SocketAddr::new(agent(), 6343)
}

fn sent(data: &[u8]) -> ExportDatagram<'_> {
    ExportDatagram::new(sender(), Timestamp(5), data)
}

/// Decodes one datagram in both ways, which must give the same records and count alike; checks
/// that every sample is counted once.
fn decode_with(settings: &SflowSettings, data: &[u8]) -> (SflowCollector, Seen) {
    let mut collector = SflowCollector::new(settings.clone());
    let mut seen = Seen::default();
    let with_detail = collector.decode(&sent(data), &mut seen);
    let mut quick = SflowCollector::new(settings.clone());
    let mut records: Vec<FlowRecord> = Vec::new();
    assert_eq!(quick.decode(&sent(data), &mut records), with_detail);
    assert_eq!(seen.flows.iter().map(|(record, _)| *record).collect::<Vec<_>>(), records);
    assert_eq!(quick.drops(), collector.drops());
    check(&quick, records.len() as u64);
    check(&collector, records.len() as u64);
    (collector, seen)
}

/// Every sample is counted once.
fn check(collector: &SflowCollector, records: u64) {
    let counts = collector.counts();
    let dropped = collector.drops().total() - counts.refused_datagrams;
    let all = counts.records + dropped + counts.counter_samples + counts.other_samples;
    assert_eq!((counts.samples, counts.records), (all, records), "{counts:?}");
}

fn decode(data: &[u8]) -> (SflowCollector, Seen) {
    decode_with(&SflowSettings::default(), data)
}

/// The only flow of a datagram.
fn flow(data: &[u8]) -> (FlowRecord, FlowDetail) {
    flow_with(&SflowSettings::default(), data)
}

fn flow_with(settings: &SflowSettings, data: &[u8]) -> (FlowRecord, FlowDetail) {
    let (collector, seen) = decode_with(settings, data);
    assert_eq!((seen.flows.len(), collector.drops().total()), (1, 0), "{seen:?}");
    seen.flows[0]
}

/// The reason for which the only sample of a datagram is not counted.
fn refused(samples: &[Vec<u8>]) -> DropReason {
    let (collector, seen) = decode(&datagram(samples));
    assert_eq!((seen.flows.len(), collector.drops().total()), (0, 1), "{seen:?}");
    collector.drops().nonzero().next().unwrap().0
}

/// The record of [`frame`] as [`flow_sample`] has it.
fn expected() -> FlowRecord {
    FlowRecord {
        time: Timestamp(5),
        src: Address::v4(0x0a00_0001).bits,
        dst: Address::v4(0x0a00_0002).bits,
        bytes: 1518,
        sampling: SamplingRate::new(512),
        src_port: 1234,
        dst_port: 80,
        tcp_flags: TcpFlags(TcpFlags::SYN | TcpFlags::ACK),
        protocol: 6,
        ttl: 64,
        link_bytes: 18,
        ..FlowRecord::default()
    }
}

#[test]
fn a_sample_becomes_a_record() {
    let record = || vec![header(1, 1518, 4, &frame())];
    for sample in [flow_sample(&record()), expanded_sample(&record())] {
        let (record, detail) = flow(&datagram_of(7, &[sample]));
        assert_eq!(record, expected());
        let expected = FlowDetail {
            input_if: Some(3),
            output_if: Some(4),
            mac: Some(([4; 6], [2; 6])),
            tos: 0x28,
            sampling: SamplingOrigin::Header,
            note: FlowNote::PACKET,
            ..FlowDetail::of(agent(), 7)
        };
        assert_eq!(detail, expected);
    }
}

#[test]
fn versions_2_and_4() {
    for version in [2, 4] {
        let front = [1, 77, 3, 512, 39_424, 0, 3, 4, 1, 1, 1518];
        let switch = [1, 1, 100, 0, 200, 0];
        let sample = [words(&front), opaque(&frame()), words(&switch)].concat();
        let (record, detail) = flow(&old_datagram(version, &[sample]));
        assert_eq!(record, FlowRecord { bytes: 1518, vlan: 100, ..expected() });
        assert_eq!((detail.input_if, detail.output_if, detail.domain), (Some(3), Some(4), 0));
    }
}

#[test]
fn records_are_numbered_and_timed_as_they_come() {
    let arp = [&[2; 12][..], &[8, 6], &[0; 28]].concat();
    let good = flow_sample(&[header(1, 1518, 4, &frame())]);
    let samples = [good.clone(), flow_sample(&[ethernet_header(&arp)]), good.clone()];
    let mut collector = SflowCollector::new(SflowSettings::default());
    let mut records: Vec<FlowRecord> = Vec::new();
    collector.decode(&sent(&datagram(&samples)), &mut records).unwrap();
    let later = datagram(&[good]);
    let later = ExportDatagram::new(sender(), Timestamp(9), &later);
    collector.decode(&later, &mut records).unwrap();
    let order: Vec<_> = records.iter().map(|record| (record.seq, record.time.0)).collect();
    assert_eq!(order, [(0, 5), (2, 5), (3, 9)]);
    assert_eq!(collector.drops().nonzero().collect::<Vec<_>>(), [(DropReason::NotIp, 1)]);
    check(&collector, 3);
}

#[test]
fn a_rate_from_the_sample_or_from_the_configuration() {
    let rule = |rate, when| SamplingRule {
        exporters: "192.0.2.0/24".parse().unwrap(),
        protocols: Protocols::ALL,
        rate: SamplingRate::new(rate),
        when,
    };
    let over = || rule(1000, SamplingUse::Override);
    let fallback = || rule(2000, SamplingUse::Fallback);
    let cases = [
        (vec![], 512, 512, SamplingOrigin::Header),
        (vec![], 0, 1, SamplingOrigin::Assumed),
        (vec![fallback()], 512, 512, SamplingOrigin::Header),
        (vec![fallback()], 0, 2000, SamplingOrigin::Fallback),
        (vec![over(), fallback()], 512, 1000, SamplingOrigin::Override),
        (vec![over(), fallback()], 0, 1000, SamplingOrigin::Override),
        (vec![], u32::MAX, u32::MAX, SamplingOrigin::Header),
    ];
    for (rules, stated, rate, origin) in cases {
        let settings =
            SflowSettings { sampling: SamplingRules::new(rules), ..SflowSettings::default() };
        let sample = flow_sample_with(stated, 4, &[header(1, 1518, 4, &frame())]);
        let (record, detail) = flow_with(&settings, &datagram(&[sample]));
        assert_eq!((record.sampling.get(), detail.sampling), (rate, origin), "{stated}");
    }
}

#[test]
fn every_part_of_an_agent_is_an_exporter() {
    let mut collector = SflowCollector::new(SflowSettings {
        limits: ExporterLimits { exporters: 3, silent: Duration::from_mins(1) },
        ..SflowSettings::default()
    });
    let mut records: Vec<FlowRecord> = Vec::new();
    let sample = || [flow_sample(&[header(1, 1518, 4, &frame())])];
    let other = SocketAddr::from(([198, 51, 100, 1], 6343));
    let first = datagram_of(1, &sample());
    let second = datagram_of(2, &sample());
    // No agent address: the sender's stands in.
    let nameless = [words(&[5, 0, 1, 1, 1, 1]), sample().concat()].concat();
    for (from, data) in [(sender(), &second), (sender(), &first), (other, &nameless)] {
        let datagram = ExportDatagram::new(from, Timestamp(5), data);
        assert_eq!(collector.decode(&datagram, &mut records), Ok(()));
    }
    let strange = ExportDatagram::new(other, Timestamp(5), &first);
    assert_eq!(collector.decode(&strange, &mut records), Err(DropReason::TooManyExporters));
    let keys: Vec<_> = collector
        .exporters()
        .into_iter()
        .map(|(key, _)| (key.address, key.agent, key.domain, key.protocol, key.port))
        .collect();
    let of = |address, agent, domain| (address, agent, domain, ExportProtocol::Sflow, 0);
    assert_eq!(
        keys,
        [of(agent(), agent(), 1), of(agent(), agent(), 2), of(other.ip(), other.ip(), 1)]
    );
    assert_eq!((collector.counts().datagrams, collector.counts().refused_datagrams), (4, 1));
    check(&collector, 3);
}

#[test]
fn counters_are_worded_and_others_passed_over() {
    let numbers: Vec<u32> = (1..=22).collect();
    let groups = [tagged(1, &words(&numbers)), tagged(2, &[9; 52]), tagged(1, &[0; 84])];
    let counters = tagged(2, &[words(&[7, 3, 3]), groups.concat()].concat());
    let vendor = [words(&[(4300 << 12) + 1002]), opaque(&[1, 2, 3, 4, 5])].concat();
    let (collector, seen) = decode(&datagram(&[counters, vendor]));
    let interface = "interface 1: 12884901892 bit/s, in 30064771080 octets 9 unicast \
                     10 multicast 11 broadcast 12 discarded 13 errors, \
                     out 64424509456 octets 17 unicast 18 multicast 19 broadcast \
                     20 discarded 21 errors";
    let other = "counters 0:2 of 52 bytes";
    let short = "record cut: 12 bytes needed at 288, 8 there";
    let remarks: Vec<_> = seen.remarks.iter().map(|(kind, text)| (*kind, text.as_str())).collect();
    assert_eq!(
        remarks,
        [
            (RemarkKind::Counters, interface),
            (RemarkKind::Counters, other),
            (RemarkKind::Error, short)
        ]
    );
    let counts = collector.counts();
    assert_eq!((counts.counter_samples, counts.other_samples), (1, 1));
    assert_eq!((counts.damaged_records, collector.drops().total()), (1, 0));
}
