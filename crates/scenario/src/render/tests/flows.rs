//! Datagrams of a flow cache, read by a small collector of v5, v9 and IPFIX.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidewall_model::{Forwarding, Fragment, TcpFlags};
use tidewall_testkit::strategies::{Population, START, stream};
use tidewall_wire::netflow::{
    Datagram, Element, Field, Plan, Protocol, SetKind, Sets, TemplateKind, TemplateRecord, parse,
    v5,
};

use super::*;
use crate::{FlowCachePlan, FlowCacheRenderer, FlowProtocol, RenderError};

const ALL: [FlowProtocol; 3] =
    [FlowProtocol::NetflowV5, FlowProtocol::NetflowV9, FlowProtocol::Ipfix];

/// One flow as it was read.
#[derive(Clone, Copy, Debug, Default)]
struct ReadFlow {
    record: FlowRecord,
    /// Milliseconds, of uptime or since the epoch.
    start_ms: u64,
    end_ms: u64,
    /// The last of the datagram.
    exported_ms: u64,
}

/// What a collector knows about an exporter. It asserts what must hold for each datagram: numbers
/// without a gap, templates and samplers before the records that need them.
#[derive(Default)]
struct Collector {
    plans: BTreeMap<u16, Plan>,
    samplers: BTreeMap<u64, u32>,
    flows: Vec<ReadFlow>,
    /// Number that the next datagram must have.
    sequence: u32,
    announcements: u32,
}

impl Collector {
    fn read(messages: &[(Timestamp, Vec<u8>)]) -> Self {
        let mut collector = Self::default();
        for (time, datagram) in messages {
            assert!(datagram.len() <= 1472, "{}", datagram.len());
            let before = collector.flows.len();
            match parse(datagram).unwrap() {
                Datagram::V5(packet) => collector.v5(*time, &packet),
                Datagram::V9(packet) => {
                    assert_eq!(packet.header.sequence, collector.sequence);
                    assert_eq!(u64::from(packet.header.unix_secs), time.seconds());
                    let items = collector.sets(Protocol::V9, packet.sets());
                    assert_eq!(u32::from(packet.header.count), items.0 + items.1);
                    collector.sequence += 1;
                    collector.exported(before, packet.header.sys_uptime.into());
                }
                Datagram::Ipfix(message) => {
                    assert_eq!(message.header.sequence, collector.sequence);
                    assert_eq!(u64::from(message.header.export_time), time.seconds());
                    assert_eq!(message.trailing(), 0);
                    collector.sequence += collector.sets(Protocol::Ipfix, message.sets()).1;
                    collector.exported(before, time.0 / 1_000_000);
                }
            }
            assert!(collector.flows.len() > before, "no datagram without a flow");
        }
        collector
    }

    fn exported(&mut self, from: usize, exported_ms: u64) {
        self.flows[from..].iter_mut().for_each(|flow| flow.exported_ms = exported_ms);
    }

    fn v5(&mut self, time: Timestamp, packet: &v5::Packet<'_>) {
        let header = packet.header;
        assert_eq!((header.flow_sequence, packet.missing()), (self.sequence, 0));
        let second = (u64::from(header.unix_secs), header.unix_nsecs);
        assert_eq!(second, (time.seconds(), time.subsec_nanos()));
        self.sequence += u32::from(header.count);
        let rate = header.sampling_interval(v5::SamplingWord::ModeAndInterval);
        for read in packet.records() {
            let record = FlowRecord {
                src: read.src_addr.to_bits().into(),
                dst: read.dst_addr.to_bits().into(),
                src_port: read.src_port,
                dst_port: read.dst_port,
                protocol: read.protocol,
                packets: read.packets.into(),
                bytes: read.octets.into(),
                tcp_flags: TcpFlags(read.tcp_flags.into()),
                sampling: SamplingRate::new(rate.into()),
                forwarding: match read.output {
                    0 => Forwarding::Dropped,
                    _ => Forwarding::Unknown,
                },
                ..FlowRecord::default()
            };
            let (start_ms, end_ms) = (read.first.into(), read.last.into());
            let exported_ms = header.sys_uptime.into();
            self.flows.push(ReadFlow { record, start_ms, end_ms, exported_ms });
        }
    }

    /// Numbers of templates and of records.
    fn sets(&mut self, protocol: Protocol, sets: Sets<'_>) -> (u32, u32) {
        let (mut templates, mut count) = (0, 0);
        for set in sets {
            let set = set.unwrap();
            if set.kind != SetKind::Records {
                for template in set.templates() {
                    let TemplateRecord::Definition(template) = template.unwrap() else { panic!() };
                    assert_eq!(template.protocol(), protocol);
                    self.announcements += u32::from(template.kind() == TemplateKind::Options);
                    self.plans.insert(template.id(), Plan::new(&template));
                    templates += 1;
                }
                continue;
            }
            let plan = self.plans.get(&set.id).expect("a template before its records");
            let mut records = set.records(plan);
            for record in records.by_ref() {
                let fields: Vec<_> = record.unwrap().fields().collect();
                match plan.kind() {
                    TemplateKind::Options => {
                        let (id, rate) = sampler(&fields);
                        self.samplers.insert(id, rate);
                    }
                    TemplateKind::Data => self.flows.push(flow(&fields, &self.samplers)),
                }
                count += 1;
            }
            assert!(records.rest().len() < 4, "padding");
        }
        (templates, count)
    }

    fn totals(&self) -> Totals {
        totals(self.flows.iter().map(|flow| &flow.record))
    }
}

fn value(fields: &[Field<'_>], element: Element) -> Option<u64> {
    fields.iter().find(|field| field.element == element)?.uint()
}

/// Id and rate.
fn sampler(fields: &[Field<'_>]) -> (u64, u32) {
    let value = |element| value(fields, element);
    if let Some(rate) = value(Element::SamplerRandomInterval) {
        assert_eq!(value(Element::SamplerMode), Some(2));
        return (value(Element::SamplerId).unwrap(), rate as u32);
    }
    // RFC 5477: of interval and space together, the interval is sampled.
    let interval = value(Element::SamplingPacketInterval).unwrap();
    let space = value(Element::SamplingPacketSpace).unwrap();
    assert_eq!(value(Element::SelectorAlgorithm), Some(1));
    (value(Element::SelectorId).unwrap(), ((interval + space) / interval) as u32)
}

fn flow(fields: &[Field<'_>], samplers: &BTreeMap<u64, u32>) -> ReadFlow {
    let number = |element| value(fields, element).unwrap_or(0);
    let either = |one, other| value(fields, one).or_else(|| value(fields, other)).unwrap();
    let address = |v4, v6| {
        let field = fields.iter().find(|f| f.element == v4 || f.element == v6).unwrap();
        field.value.iter().fold(0u128, |sum, byte| sum << 8 | u128::from(*byte))
    };
    let v6 = fields.iter().any(|field| field.element == Element::SourceIpv6Address);
    let sampler = either(Element::SamplerId, Element::SelectorId);
    let record = FlowRecord {
        family: if v6 { Family::V6 } else { Family::V4 },
        src: address(Element::SourceIpv4Address, Element::SourceIpv6Address),
        dst: address(Element::DestinationIpv4Address, Element::DestinationIpv6Address),
        src_port: number(Element::SourceTransportPort) as u16,
        dst_port: number(Element::DestinationTransportPort) as u16,
        protocol: number(Element::ProtocolIdentifier) as u8,
        packets: number(Element::PacketDeltaCount),
        bytes: number(Element::OctetDeltaCount),
        tcp_flags: TcpFlags(number(Element::TcpControlBits) as u16),
        vlan: number(Element::VlanId) as u16,
        ttl: number(Element::MinimumTtl) as u8,
        sampling: SamplingRate::new(*samplers.get(&sampler).expect("a sampler before its use")),
        fragment: match (number(Element::FragmentOffset), number(Element::FragmentFlags)) {
            (0, 0) => Fragment::Whole,
            (0, _) => Fragment::First,
            _ => Fragment::Later,
        },
        forwarding: match number(Element::ForwardingStatus) >> 6 {
            0 => Forwarding::Unknown,
            1 => Forwarding::Forwarded,
            2 => Forwarding::Dropped,
            _ => Forwarding::Consumed,
        },
        ..FlowRecord::default()
    };
    assert_eq!((number(Element::IngressInterface), number(Element::EgressInterface)), (1, 2));
    for icmp in [Element::IcmpTypeCodeIpv4, Element::IcmpTypeCodeIpv6] {
        if let Some(icmp) = value(fields, icmp) {
            assert_eq!(icmp, if record.is_icmp() { record.dst_port.into() } else { 0 });
        }
    }
    ReadFlow {
        record,
        start_ms: either(Element::FlowStartSysUpTime, Element::FlowStartMilliseconds),
        end_ms: either(Element::FlowEndSysUpTime, Element::FlowEndMilliseconds),
        exported_ms: 0,
    }
}

/// What of the records the protocol carries.
fn carried(protocol: FlowProtocol, records: &[FlowRecord]) -> Vec<FlowRecord> {
    let v5 = protocol == FlowProtocol::NetflowV5;
    records.iter().filter(|r| !v5 || r.family == Family::V4).copied().collect()
}

fn record(time_ms: u64, src_port: u16) -> FlowRecord {
    FlowRecord {
        time: Timestamp(START.0 + time_ms * 1_000_000),
        src: 0xc000_0201,
        dst: 0xc633_6407,
        src_port,
        dst_port: 443,
        protocol: 6,
        bytes: 100,
        ..FlowRecord::default()
    }
}

/// Times in milliseconds since the start, flows, and packets of each flow, of each datagram.
fn sent(renderer: &mut FlowCacheRenderer, records: &[FlowRecord]) -> Vec<(u64, Vec<u64>)> {
    let all = messages(renderer, records);
    let mut seen = 0;
    let mut datagrams = Vec::new();
    for end in 1..=all.len() {
        let flows = Collector::read(&all[..end]).flows;
        let packets = flows[seen..].iter().map(|flow| flow.record.packets).collect();
        seen = flows.len();
        datagrams.push(((all[end - 1].0.0 - START.0) / 1_000_000, packets));
    }
    datagrams
}

#[test]
fn the_demo_adds_up_in_every_protocol() {
    let records = demo();
    for protocol in ALL {
        let carried = carried(protocol, &records);
        let mut renderer = FlowCacheRenderer::new(protocol, &FlowCachePlan::default());
        let messages = messages(&mut renderer, &records);
        let collector = Collector::read(&messages);
        assert_eq!(collector.totals(), totals(&carried), "{protocol:?}");
        assert_eq!(renderer.exported(), collector.flows.len() as u64);
        assert_eq!(renderer.not_carried(), (records.len() - carried.len()) as u64);
        assert_eq!(renderer.evicted(), 0);
        assert_eq!(renderer.not_carried() == 0, protocol != FlowProtocol::NetflowV5);
        // Packets are added up, and datagrams are full where the traffic is.
        assert!(collector.flows.len() < carried.len());
        assert!(messages.len() * 12 < collector.flows.len(), "{}", messages.len());
        for flow in &collector.flows {
            assert!(flow.start_ms <= flow.end_ms && flow.end_ms <= flow.exported_ms);
            assert!(flow.end_ms - flow.start_ms <= 1000, "{flow:?}");
            assert!(flow.exported_ms - flow.start_ms <= 1100, "active and delay: {flow:?}");
        }
        let fragments = collector.flows.iter().filter(|f| f.record.fragment.is_fragment()).count();
        assert_eq!(fragments > 0, protocol != FlowProtocol::NetflowV5);
    }
}

#[test]
fn timeouts_are_kept() {
    for protocol in ALL {
        let mut renderer = FlowCacheRenderer::new(protocol, &FlowCachePlan::default());
        // One flow that never rests, one that comes twice, one that comes at the end.
        let mut records: Vec<_> = (0..25).map(|n| record(100 * n, 1)).collect();
        records.extend([record(150, 2), record(450, 2), record(2400, 3)]);
        records.sort_by_key(|r| r.time);
        // Exported at 950 (idle), 1000, 2000 (active) and the end; sent 100 ms later at most.
        let expected = vec![(1050, vec![2, 10]), (2100, vec![10]), (2400, vec![5, 1])];
        assert_eq!(sent(&mut renderer, &records), expected, "{protocol:?}");
    }
}

#[test]
fn a_full_cache_makes_room_and_loses_nothing() {
    for protocol in ALL {
        let plan = FlowCachePlan { entries: 10, ..FlowCachePlan::default() };
        let mut renderer = FlowCacheRenderer::new(protocol, &plan);
        let records: Vec<_> = (0..1000).map(|n| record(n, (n % 37) as u16)).collect();
        let collector = Collector::read(&messages(&mut renderer, &records));
        assert_eq!(collector.totals(), totals(&records));
        assert_eq!(renderer.evicted(), renderer.exported() - 10);
        assert_eq!(renderer.evicted(), 990);
    }
    // The one that would be due first goes: not the one that came again.
    let plan = FlowCachePlan { entries: 2, ..FlowCachePlan::default() };
    let mut renderer = FlowCacheRenderer::new(FlowProtocol::Ipfix, &plan);
    let records = [record(0, 1), record(1, 2), record(2, 1), record(3, 3)];
    let collector = Collector::read(&messages(&mut renderer, &records));
    let ports: Vec<_> = collector.flows.iter().map(|f| f.record.src_port).collect();
    assert_eq!(ports, [2, 1, 3]);
}

#[test]
fn templates_come_again() {
    let plan = FlowCachePlan { records: 1, template_datagrams: 10, ..FlowCachePlan::default() };
    for protocol in [FlowProtocol::NetflowV9, FlowProtocol::Ipfix] {
        let mut renderer = FlowCacheRenderer::new(protocol, &plan);
        let records: Vec<_> = (0..40).map(|n| record(n / 10, n as u16)).collect();
        let by_number = messages(&mut renderer, &records);
        assert_eq!((by_number.len(), Collector::read(&by_number).announcements), (40, 4));

        let plan = FlowCachePlan { template_datagrams: u32::MAX, ..plan };
        let mut renderer = FlowCacheRenderer::new(protocol, &plan);
        let records: Vec<_> = (0..40).map(|n| record(n * 1000, n as u16)).collect();
        let by_time = messages(&mut renderer, &records);
        // Flows are exported from 0.5 s to 39 s: at 0.5, 10.5, 20.5 and 30.5 s.
        assert_eq!((by_time.len(), Collector::read(&by_time).announcements), (40, 4));
        // Whoever starts in the middle understands nothing until then.
        assert!(std::panic::catch_unwind(|| Collector::read(&by_time[1..])).is_err());
    }
}

#[test]
fn every_sampling_rate_is_announced_before_it_is_used() {
    let rated = |time_ms, port, rate| FlowRecord {
        sampling: SamplingRate::new(rate),
        ..record(time_ms, port)
    };
    let records = [rated(0, 1, 1000), rated(600, 1, 1000), rated(650, 2, 10_000), rated(700, 2, 1)];
    for protocol in ALL {
        let mut renderer = FlowCacheRenderer::new(protocol, &FlowCachePlan::default());
        let messages = messages(&mut renderer, &records);
        let collector = Collector::read(&messages);
        assert_eq!(collector.totals(), totals(&records), "{protocol:?}");
        let found: Vec<_> = collector.flows.iter().map(|f| f.record.sampling.get()).collect();
        assert_eq!(found, [1000, 1000, 10_000, 1]);
    }
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let refused = |protocol, record: &FlowRecord| {
        let mut renderer = FlowCacheRenderer::new(protocol, &FlowCachePlan::default());
        let error = renderer.render(record, &mut |_, _| panic!("sent")).unwrap_err();
        renderer.finish(&mut |_, _| panic!("a refused record left a trace"));
        error
    };
    let good = record(0, 1);
    for protocol in ALL {
        assert_eq!(refused(protocol, &FlowRecord { packets: 0, ..good }), RenderError::NoPackets);
    }
    let rare = FlowRecord { sampling: SamplingRate::new(16_384), ..good };
    let expected = RenderError::Rate { rate: 16_384, limit: 16_383 };
    assert_eq!(refused(FlowProtocol::NetflowV5, &rare), expected);
    let large = FlowRecord { bytes: 1 << 32, ..good };
    let expected = RenderError::Count { count: 1 << 32, limit: u32::MAX.into() };
    assert_eq!(refused(FlowProtocol::NetflowV5, &large), expected);

    let mut renderer = FlowCacheRenderer::new(FlowProtocol::Ipfix, &FlowCachePlan::default());
    for rate in 1..=32 {
        let record = FlowRecord { sampling: SamplingRate::new(rate), ..good };
        renderer.render(&record, &mut |_, _| ()).unwrap();
    }
    let record = FlowRecord { sampling: SamplingRate::new(33), ..good };
    let refused = renderer.render(&record, &mut |_, _| ());
    assert_eq!(refused, Err(RenderError::Rates { rate: 33, limit: 32 }));
}

#[test]
fn a_counter_that_is_full_begins_anew() {
    let half = FlowRecord { bytes: 3 << 30, ..record(0, 1) };
    let records = [half, FlowRecord { time: record(1, 1).time, ..half }];
    let mut renderer = FlowCacheRenderer::new(FlowProtocol::NetflowV5, &FlowCachePlan::default());
    let collector = Collector::read(&messages(&mut renderer, &records));
    let bytes: Vec<_> = collector.flows.iter().map(|flow| flow.record.bytes).collect();
    assert_eq!(bytes, [3 << 30, 3 << 30]);
}

#[test]
fn records_that_go_back_in_time_are_exported_too() {
    for protocol in ALL {
        let records = [record(5000, 1), record(100, 1), record(100, 2), record(5001, 3)];
        let mut renderer = FlowCacheRenderer::new(protocol, &FlowCachePlan::default());
        let collector = Collector::read(&messages(&mut renderer, &records));
        assert_eq!(collector.totals(), totals(&records));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, rng_seed: RngSeed::Fixed(12), ..ProptestConfig::default()
    })]

    #[test]
    fn any_stream_adds_up(
        records in stream(Population::Few, 0..300),
        which in 0..3usize,
        entries in prop_oneof![Just(3usize), Just(65_536)],
        per_datagram in prop_oneof![Just(1u16), Just(24), Just(u16::MAX)],
    ) {
        let protocol = ALL[which];
        let plan = FlowCachePlan { entries, records: per_datagram, ..FlowCachePlan::default() };
        let mut renderer = FlowCacheRenderer::new(protocol, &plan);
        let messages = messages(&mut renderer, &records);
        let collector = Collector::read(&messages);
        let carried = carried(protocol, &records);
        prop_assert_eq!(collector.totals(), totals(&carried));
        // Fragments and what was dropped are told apart where the protocol can.
        if protocol != FlowProtocol::NetflowV5 {
            let packets = |records: &[FlowRecord], what: &dyn Fn(&FlowRecord) -> bool| {
                records.iter().filter(|r| what(r)).map(|r| r.packets).sum::<u64>()
            };
            let read: Vec<_> = collector.flows.iter().map(|flow| flow.record).collect();
            for fragment in [Fragment::First, Fragment::Later] {
                let is = |r: &FlowRecord| r.fragment == fragment;
                prop_assert_eq!(packets(&read, &is), packets(&carried, &is));
            }
            let is = |r: &FlowRecord| r.forwarding == Forwarding::Dropped;
            prop_assert_eq!(packets(&read, &is), packets(&carried, &is));
        }
    }
}
