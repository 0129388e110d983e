//! Datagrams that netgauze-flow-pkt wrote, through our collector, and datagrams that we wrote,
//! through its decoder: both must read the values that were written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::BytesMut;
use chrono::{DateTime, Utc};
use netgauze_flow_pkt::codec::FlowInfoCodec;
use netgauze_flow_pkt::ie::{Field, IE};
use netgauze_flow_pkt::netflow::{ScopeField, ScopeFieldSpecifier, ScopeIE, System};
use netgauze_flow_pkt::{DataSetId, FieldSpecifier, FlowInfo, ipfix, netflow};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidewall_collect::{
    ExportDatagram, FlowDetail, FlowSink, NetflowCollector, NetflowSettings, SamplingOrigin,
};
use tidewall_model::{Family, FlowRecord, SamplingRate, TcpFlags, Timestamp};
use tidewall_scenario::{
    FlowCachePlan, FlowCacheRenderer, FlowProtocol, Generator, Renderer, Scenario,
};
use tokio_util::codec::{Decoder, Encoder};

const EXPORTED: i64 = 1_700_000_000;
const UPTIME: u32 = 10_000_000;
const FLOWS: u16 = 300;
const SAMPLERS: u16 = 301;
const VARIABLE: u16 = u16::MAX;
/// A value of variable length is shorter here: before a longer one netgauze 0.13 writes its length
/// in three bytes behind the 255, where RFC 7011 §7 has two.
const LONGEST: usize = 255;
/// An enterprise and an element of it that no one knows.
const UNKNOWN: (u32, u16) = (32_473, 77);

/// A flow to be written.
#[derive(Clone, Debug)]
struct Flow {
    src: IpAddr,
    dst: IpAddr,
    ports: (u16, u16),
    protocol: u8,
    tcp_flags: u16,
    packets: u64,
    bytes: u64,
    /// Milliseconds before the export.
    start: u32,
    end: u32,
    /// Which sampler.
    sampler: u8,
    /// What is passed over: a name, and something of the enterprise.
    name: String,
    unknown: Vec<u8>,
}

/// Fields of the flows of one datagram.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    packets: u16,
    bytes: u16,
    unknown: u16,
}

fn flow(v6: bool, unknown: u16) -> impl Strategy<Value = Flow> {
    let address = move || {
        (any::<u128>()).prop_map(move |bits| match v6 {
            true => IpAddr::V6(Ipv6Addr::from_bits(bits)),
            false => IpAddr::V4(Ipv4Addr::from_bits(bits as u32)),
        })
    };
    let counts = (1..1_000_000_u64, 20..1500_u64, 0..4_000_000_u32, 0..4_000_000_u32);
    let unknown = match unknown {
        VARIABLE => prop::collection::vec(any::<u8>(), 0..LONGEST).boxed(),
        length => prop::collection::vec(any::<u8>(), usize::from(length)).boxed(),
    };
    let protocol = prop::sample::select(vec![6, 17, 132]);
    let name = prop::collection::vec(b'a'..=b'z', 0..LONGEST);
    let name = name.prop_map(|letters| String::from_utf8(letters).unwrap());
    let rest = (protocol, 0..0x100_u16, 1..=2_u8, name, unknown);
    (address(), address(), any::<(u16, u16)>(), counts, rest).prop_map(
        |(
            src,
            dst,
            ports,
            (packets, size, one, other),
            (protocol, flags, sampler, name, unknown),
        )| {
            Flow {
                src,
                dst,
                ports,
                protocol,
                tcp_flags: if protocol == 6 { flags } else { 0 },
                packets,
                bytes: packets * size,
                start: one.max(other),
                end: one.min(other),
                sampler,
                name,
                unknown,
            }
        },
    )
}

/// Flows of one template, and two sampling rates.
fn export() -> impl Strategy<Value = (Vec<Flow>, Lengths, [u32; 2])> {
    let lengths = (3..=8_u16, 4..=8_u16, prop::sample::select(vec![1, 5, 40, VARIABLE]));
    (any::<bool>(), lengths, 1..100_000_u32, 1..100_000_u32).prop_flat_map(|(v6, lengths, a, b)| {
        let (packets, bytes, unknown) = lengths;
        let flows = prop::collection::vec(flow(v6, unknown), 1..20);
        (flows, Just(Lengths { packets, bytes, unknown }), Just([a, b]))
    })
}

/// What the collector is to make of a flow.
fn expected(flow: &Flow, rates: [u32; 2]) -> FlowRecord {
    let bits = |address| match address {
        IpAddr::V4(v4) => (Family::V4, u128::from(Ipv4Addr::to_bits(v4))),
        IpAddr::V6(v6) => (Family::V6, Ipv6Addr::to_bits(v6)),
    };
    FlowRecord {
        family: bits(flow.src).0,
        src: bits(flow.src).1,
        dst: bits(flow.dst).1,
        src_port: flow.ports.0,
        dst_port: flow.ports.1,
        protocol: flow.protocol,
        tcp_flags: TcpFlags(flow.tcp_flags),
        packets: flow.packets,
        bytes: flow.bytes,
        sampling: SamplingRate::new(rates[usize::from(flow.sampler) - 1]),
        ..FlowRecord::default()
    }
}

fn export_time() -> DateTime<Utc> {
    DateTime::from_timestamp(EXPORTED, 0).unwrap()
}

fn spec(element: IE, length: u16) -> FieldSpecifier {
    FieldSpecifier::new(element, length).unwrap()
}

/// The fields that v9 and IPFIX have alike.
fn common_specs(v6: bool, lengths: Lengths, tcp_flags: u16) -> Vec<FieldSpecifier> {
    let (src, dst, length) = match v6 {
        true => (IE::sourceIPv6Address, IE::destinationIPv6Address, 16),
        false => (IE::sourceIPv4Address, IE::destinationIPv4Address, 4),
    };
    vec![
        spec(src, length),
        spec(dst, length),
        spec(IE::sourceTransportPort, 2),
        spec(IE::destinationTransportPort, 2),
        spec(IE::protocolIdentifier, 1),
        spec(IE::tcpControlBits, tcp_flags),
        spec(IE::packetDeltaCount, lengths.packets),
        spec(IE::octetDeltaCount, lengths.bytes),
    ]
}

fn common_fields(flow: &Flow) -> Vec<Field> {
    let (src, dst) = match (flow.src, flow.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            (Field::sourceIPv4Address(src), Field::destinationIPv4Address(dst))
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            (Field::sourceIPv6Address(src), Field::destinationIPv6Address(dst))
        }
        _ => unreachable!("both of one family"),
    };
    vec![
        src,
        dst,
        Field::sourceTransportPort(flow.ports.0),
        Field::destinationTransportPort(flow.ports.1),
        Field::protocolIdentifier(flow.protocol.into()),
        Field::tcpControlBits(flow.tcp_flags.into()),
        Field::packetDeltaCount(flow.packets),
        Field::octetDeltaCount(flow.bytes),
    ]
}

/// Templates, samplers, and flows, in three messages.
fn ipfix_of(flows: &[Flow], lengths: Lengths, rates: [u32; 2]) -> Vec<Vec<u8>> {
    let (pen, id) = UNKNOWN;
    let mut specs = common_specs(flows[0].src.is_ipv6(), lengths, 2);
    specs.extend([
        spec(IE::interfaceName, VARIABLE),
        spec(IE::Unknown { pen, id }, lengths.unknown),
        spec(IE::flowStartMilliseconds, 8),
        spec(IE::flowEndMilliseconds, 8),
        spec(IE::selectorId, 4),
    ]);
    let sampler = ipfix::OptionsTemplateRecord::new(
        SAMPLERS,
        Box::new([spec(IE::selectorId, 4)]),
        Box::new([spec(IE::samplingPacketInterval, 4), spec(IE::samplingPacketSpace, 4)]),
    );
    let samplers = rates.iter().zip(1..).map(|(rate, id)| {
        let interval = Field::samplingPacketInterval(1);
        let space = Field::samplingPacketSpace(rate - 1);
        ipfix::DataRecord::new(Box::new([Field::selectorId(id)]), Box::new([interval, space]))
    });
    let at =
        |before: u32| DateTime::from_timestamp_millis(EXPORTED * 1000 - i64::from(before)).unwrap();
    let records = flows.iter().map(|flow| {
        let mut fields = common_fields(flow);
        fields.extend([
            Field::interfaceName(flow.name.as_str().into()),
            Field::Unknown { pen, id, value: flow.unknown.as_slice().into() },
            Field::flowStartMilliseconds(at(flow.start)),
            Field::flowEndMilliseconds(at(flow.end)),
            Field::selectorId(flow.sampler.into()),
        ]);
        ipfix::DataRecord::new(Box::new([]), fields.into())
    });
    let templates: [ipfix::Set; 2] = [
        ipfix::Set::Template(Box::new([ipfix::TemplateRecord::new(FLOWS, specs.into())])),
        ipfix::Set::OptionsTemplate(Box::new([sampler])),
    ];
    let data = |id, records: Vec<_>| ipfix::Set::Data {
        id: DataSetId::new(id).unwrap(),
        records: records.into(),
    };
    let flows = data(FLOWS, records.collect());
    let samplers = data(SAMPLERS, samplers.collect());
    let messages = [(0, Box::from(templates)), (0, Box::from([samplers])), (2, Box::from([flows]))];
    let packet = |(sequence, sets)| {
        FlowInfo::IPFIX(ipfix::IpfixPacket::new(export_time(), sequence, 9, sets))
    };
    written(messages.map(packet))
}

fn v9_of(flows: &[Flow], lengths: Lengths, rates: [u32; 2]) -> Vec<Vec<u8>> {
    let mut specs = common_specs(flows[0].src.is_ipv6(), lengths, 1);
    specs.extend([
        spec(IE::flowStartSysUpTime, 4),
        spec(IE::flowEndSysUpTime, 4),
        spec(IE::samplerId, 1),
    ]);
    let sampler = netflow::OptionsTemplateRecord::new(
        SAMPLERS,
        Box::new([ScopeFieldSpecifier::new(ScopeIE::System, 4)]),
        Box::new([
            spec(IE::samplerId, 1),
            spec(IE::samplerMode, 1),
            spec(IE::samplerRandomInterval, 4),
        ]),
    );
    let samplers = rates.iter().zip(1..).map(|(rate, id)| {
        let fields =
            [Field::samplerId(id), Field::samplerMode(2), Field::samplerRandomInterval(*rate)];
        netflow::DataRecord::new(Box::new([ScopeField::System(System(0))]), Box::new(fields))
    });
    let records = flows.iter().map(|flow| {
        let mut fields = common_fields(flow);
        fields.extend([
            Field::flowStartSysUpTime(UPTIME - flow.start),
            Field::flowEndSysUpTime(UPTIME - flow.end),
            Field::samplerId(flow.sampler.into()),
        ]);
        netflow::DataRecord::new(Box::new([]), fields.into())
    });
    let templates: [netflow::Set; 2] = [
        netflow::Set::Template(Box::new([netflow::TemplateRecord::new(FLOWS, specs.into())])),
        netflow::Set::OptionsTemplate(Box::new([sampler])),
    ];
    let data = |id, records: Vec<_>| netflow::Set::Data {
        id: DataSetId::new(id).unwrap(),
        records: records.into(),
    };
    let flows = data(FLOWS, records.collect());
    let samplers = data(SAMPLERS, samplers.collect());
    let messages = [(0, Box::from(templates)), (1, Box::from([samplers])), (2, Box::from([flows]))];
    let packet = |(sequence, sets)| {
        let packet = netflow::NetFlowV9Packet::new(UPTIME, export_time(), sequence, 9, sets);
        FlowInfo::NetFlowV9(packet)
    };
    written(messages.map(packet))
}

/// As netgauze writes it. It must have read the templates; of the others it could not read back an
/// unknown element of variable length.
fn written(packets: [FlowInfo; 3]) -> Vec<Vec<u8>> {
    let mut codec = FlowInfoCodec::new();
    let write = |(number, packet): (usize, FlowInfo)| {
        let mut bytes = BytesMut::new();
        codec.encode(packet, &mut bytes).unwrap();
        let datagram = bytes.to_vec();
        if number == 0 {
            codec.decode(&mut bytes).unwrap().unwrap();
        }
        datagram
    };
    packets.into_iter().enumerate().map(write).collect()
}

#[derive(Default)]
struct Decoded(Vec<(FlowRecord, FlowDetail)>);

impl FlowSink for Decoded {
    const DETAIL: bool = true;

    fn flow(&mut self, record: &FlowRecord, detail: &FlowDetail) {
        self.0.push((*record, *detail));
    }
}

/// Through our collector: nothing may be dropped or missed.
fn collected(datagrams: &[Vec<u8>]) -> Vec<(FlowRecord, FlowDetail)> {
    let mut collector = NetflowCollector::new(NetflowSettings::default());
    let mut decoded = Decoded::default();
    for datagram in datagrams {
        let received = Timestamp::from_parts(EXPORTED as u64, 0);
        let from = "192.0.2.1:4739".parse().unwrap();
        collector.decode(&ExportDatagram::new(from, received, datagram), &mut decoded).unwrap();
    }
    collector.give_up_waiting();
    assert_eq!(collector.drops().nonzero().collect::<Vec<_>>(), []);
    decoded.0
}

fn check(datagrams: &[Vec<u8>], flows: &[Flow], rates: [u32; 2]) {
    let decoded = collected(datagrams);
    assert_eq!(decoded.len(), flows.len());
    for ((record, detail), flow) in decoded.iter().zip(flows) {
        let expected = FlowRecord { time: record.time, seq: record.seq, ..expected(flow, rates) };
        assert_eq!(*record, expected);
        assert_eq!((detail.sampling, detail.domain), (SamplingOrigin::Sampler, 9));
        let at = |before: u32| {
            let ms = EXPORTED as u64 * 1000 - u64::from(before);
            Some(Timestamp(ms * 1_000_000))
        };
        assert_eq!((detail.start, detail.end), (at(flow.start), at(flow.end)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128,
        rng_seed: RngSeed::Fixed(0x6e67),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn we_read_the_ipfix_that_netgauze_writes((flows, lengths, rates) in export()) {
        check(&ipfix_of(&flows, lengths, rates), &flows, rates);
    }

    #[test]
    fn we_read_the_v9_that_netgauze_writes((flows, lengths, rates) in export()) {
        check(&v9_of(&flows, lengths, rates), &flows, rates);
    }

    #[test]
    fn netgauze_reads_what_we_write(seed in any::<u64>(), rate in 2_000..20_000_u32) {
        for protocol in [FlowProtocol::NetflowV9, FlowProtocol::Ipfix] {
            let datagrams = rendered(protocol, seed, rate);
            let ours: Vec<_> = collected(&datagrams).iter().map(|(r, d)| ours(r, d)).collect();
            prop_assert!(ours.len() > 50);
            prop_assert_eq!(netgauze(&datagrams), ours);
        }
    }
}

/// The demo as a router exports it.
fn rendered(protocol: FlowProtocol, seed: u64, rate: u32) -> Vec<Vec<u8>> {
    let scenario = Scenario::demo(std::time::Duration::from_secs(20), seed).unwrap();
    let mut renderer = FlowCacheRenderer::new(protocol, &FlowCachePlan::default());
    let mut datagrams = Vec::new();
    let mut sink = |_: Timestamp, datagram: &[u8]| datagrams.push(datagram.to_vec());
    for record in Generator::sampled(&scenario, SamplingRate::new(rate)) {
        renderer.render(&record, &mut sink).unwrap();
    }
    renderer.finish(&mut sink);
    datagrams
}

/// What both readers are asked of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Answer {
    addresses: [u128; 2],
    ports: [u16; 2],
    protocol: u8,
    tcp_flags: u16,
    vlan: u16,
    ttl: u8,
    packets: u64,
    bytes: u64,
    interfaces: [u32; 2],
    rate: u32,
}

fn ours(record: &FlowRecord, detail: &FlowDetail) -> Answer {
    Answer {
        addresses: [record.src, record.dst],
        ports: [record.src_port, record.dst_port],
        protocol: record.protocol,
        tcp_flags: record.tcp_flags.0,
        vlan: record.vlan,
        ttl: record.ttl,
        packets: record.packets,
        bytes: record.bytes,
        interfaces: [detail.input_if.unwrap(), detail.output_if.unwrap()],
        rate: record.sampling.get(),
    }
}

/// What netgauze reads from datagrams.
fn netgauze(datagrams: &[Vec<u8>]) -> Vec<Answer> {
    let mut codec = FlowInfoCodec::new();
    let (mut answers, mut rates) = (Vec::new(), std::collections::BTreeMap::new());
    for datagram in datagrams {
        let packet = codec.decode(&mut BytesMut::from(datagram.as_slice())).unwrap().unwrap();
        for (set, fields) in records(&packet) {
            let (answer, sampler) = answer(&fields);
            // The renderer's options have this template.
            if set == 258 {
                rates.insert(sampler, answer.rate);
            } else {
                answers.push(Answer { rate: rates[&sampler], ..answer });
            }
        }
    }
    answers
}

/// Set id and fields of each record, scopes before the others.
fn records(packet: &FlowInfo) -> Vec<(u16, Vec<Field>)> {
    let mut all = Vec::new();
    match packet {
        FlowInfo::IPFIX(packet) => {
            for set in packet.sets() {
                let ipfix::Set::Data { id, records } = set else { continue };
                let fields = |r: &ipfix::DataRecord| [r.scope_fields(), r.fields()].concat();
                all.extend(records.iter().map(|record| (id.id(), fields(record))));
            }
        }
        FlowInfo::NetFlowV9(packet) => {
            for set in packet.sets() {
                let netflow::Set::Data { id, records } = set else { continue };
                all.extend(records.iter().map(|record| (id.id(), record.fields().to_vec())));
            }
        }
    }
    all
}

/// A record's answer, and its sampler.
fn answer(fields: &[Field]) -> (Answer, u64) {
    let (mut answer, mut sampler) = (Answer::default(), 0);
    for field in fields {
        match field {
            Field::sourceIPv4Address(address) => answer.addresses[0] = address.to_bits().into(),
            Field::destinationIPv4Address(address) => {
                answer.addresses[1] = address.to_bits().into();
            }
            Field::sourceIPv6Address(address) => answer.addresses[0] = address.to_bits(),
            Field::destinationIPv6Address(address) => answer.addresses[1] = address.to_bits(),
            Field::sourceTransportPort(port) => answer.ports[0] = *port,
            Field::destinationTransportPort(port) => answer.ports[1] = *port,
            Field::protocolIdentifier(protocol) => answer.protocol = (*protocol).into(),
            Field::tcpControlBits(flags) => answer.tcp_flags = (*flags).into(),
            Field::vlanId(vlan) => answer.vlan = *vlan,
            Field::minimumTTL(ttl) => answer.ttl = *ttl,
            Field::packetDeltaCount(packets) => answer.packets = *packets,
            Field::octetDeltaCount(bytes) => answer.bytes = *bytes,
            Field::ingressInterface(index) => answer.interfaces[0] = *index,
            Field::egressInterface(index) => answer.interfaces[1] = *index,
            Field::samplerId(id) => sampler = (*id).into(),
            Field::selectorId(id) => sampler = *id,
            Field::samplerRandomInterval(rate) => answer.rate = *rate,
            // One packet, and then so many that are passed over.
            Field::samplingPacketSpace(space) => answer.rate = space + 1,
            _ => {}
        }
    }
    (answer, sampler)
}
