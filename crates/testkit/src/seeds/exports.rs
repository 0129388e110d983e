//! Export datagrams: sFlow with every sample and record in versions 5 and 4, NetFlow v5, and
//! sessions of NetFlow v9 and IPFIX with templates, options, variable lengths, enterprises,
//! redefinitions and withdrawals. Each datagram of a session has its length in front, as the
//! `netflow` target wants it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tidewall_wire::emit::netflow::{ExportTime, MessageWriter, V5Writer, append_template};
use tidewall_wire::emit::sflow::{
    DatagramWriter, DiscardSample, FlowSample, Gateway, Layout, Record,
};
use tidewall_wire::netflow::{
    FieldSpec, Protocol, REVERSE_ENTERPRISE, Template, TemplateKind, VARIABLE_LENGTH, v5,
};
use tidewall_wire::sflow::{
    DataFormat, DataSource, DiscardReason, EthernetFrame, HeaderProtocol, Interface,
    InterfaceCounters, IpPacket, RawHeader, RouterData, SegmentKind, SwitchData,
};

use super::{EmitError, Seed, bytes_of, ethernet, packet, tcp, udp};

const TIME: ExportTime =
    ExportTime { unix_secs: 1_767_571_200, unix_nsecs: 5_000_000, sys_uptime: 3_600_000 };
const SOURCE: DataSource = DataSource { class: 0, index: 17 };
const AGENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const AGENT_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const SAMPLE: FlowSample = FlowSample {
    sequence: 1,
    source: SOURCE,
    sampling_rate: 1000,
    sample_pool: 1000,
    drops: 0,
    input: Interface::Index(17),
    output: Interface::Index(18),
};

pub(super) fn all() -> Result<Vec<Seed>, EmitError> {
    let mut seeds = sflow()?;
    let mut add = |name: &str, datagrams: &[Vec<u8>]| {
        seeds.push(Seed { target: "netflow", name: name.to_owned(), bytes: session(datagrams) });
    };
    add("v5", &v5_packets());
    for (name, protocol) in [("v9", Protocol::V9), ("ipfix", Protocol::Ipfix)] {
        add(name, &flows(protocol));
        add(&format!("{name}_data_first"), &data_first(protocol));
        add(&format!("{name}_hostile"), &hostile(protocol));
    }
    add("ipfix_variable", &variable()?);
    add("ipfix_withdrawals", &withdrawals());
    Ok(seeds)
}

/// Datagrams, each behind its length.
fn session(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for datagram in datagrams {
        bytes.extend_from_slice(&(datagram.len() as u16).to_be_bytes());
        bytes.extend_from_slice(datagram);
    }
    bytes
}

fn sflow() -> Result<Vec<Seed>, EmitError> {
    let mut frame = ethernet(&[], packet(false, udp(53, 4000), &[7; 400]))?;
    frame.truncate(128);
    let headers = [
        (HeaderProtocol::ETHERNET, frame),
        (HeaderProtocol::IPV4, bytes_of(&packet(false, tcp(2), &[]))?),
        (HeaderProtocol::IPV6, bytes_of(&packet(true, tcp(2), &[]))?),
    ];
    let raw = |index: usize| {
        let (protocol, header) = headers.get(index).unwrap_or(&headers[0]);
        RawHeader { protocol: *protocol, frame_length: 446, stripped: 4, header }
    };
    let discard = DiscardSample {
        sequence: 1,
        source: SOURCE,
        drops: 0,
        input: Interface::Index(17),
        output: Interface::Unknown,
        reason: DiscardReason::ACL,
    };
    let counters = InterfaceCounters { index: 17, kind: 6, ..InterfaceCounters::default() };
    let path = [(SegmentKind::Sequence, &[65001, 65002][..]), (SegmentKind::Set, &[65003, 65004])];
    let mut seeds = Vec::new();
    let mut add = |name: &str, agent, write: &dyn Fn(&mut DatagramWriter)| {
        let mut writer = DatagramWriter::new(agent, 1);
        writer.begin();
        write(&mut writer);
        let bytes = writer.finish(TIME.sys_uptime).to_vec();
        seeds.push(Seed { target: "sflow", name: name.to_owned(), bytes });
    };
    add("headers", AGENT, &|writer| {
        (0..3).for_each(|n| writer.flow(Layout::Compact, &SAMPLE, &[Record::Header(raw(n))]));
    });
    add("expanded", AGENT_V6, &|writer| {
        writer.flow(Layout::Expanded, &SAMPLE, &[Record::Header(raw(0))]);
        writer.counters(Layout::Expanded, 1, SOURCE, &counters);
    });
    add("records", AGENT, &|writer| writer.flow(Layout::Compact, &SAMPLE, &records(&path)));
    add("counters_and_discard", AGENT, &|writer| {
        writer.counters(Layout::Compact, 1, SOURCE, &counters);
        writer.discard(&discard, &[Record::Header(raw(1))]);
    });
    add("hostile", AGENT, &|writer| {
        // A record that is longer than its sample, one without a body, an unknown sample.
        writer.sample(DataFormat::standard(1), |out| {
            let words = [1u32, 17, 1000, 1000, 0, 17, 18, 2, 1, 0xffff_fff0, 1, 446];
            out.extend(words.iter().flat_map(|word| word.to_be_bytes()));
        });
        let empty = Record::Other { format: DataFormat::standard(1003), data: &[] };
        writer.flow(Layout::Compact, &SAMPLE, &[empty, Record::Header(raw(2))]);
        writer.sample(DataFormat { enterprise: 4413, format: 1 }, |out| out.extend([1, 2, 3]));
    });
    add("version_4", AGENT, &|writer| {
        writer.begin_v4();
        (0..2).for_each(|n| writer.flow_v4(&SAMPLE, &raw(n)));
    });
    Ok(seeds)
}

/// One of each kind.
fn records<'a>(path: &'a [(SegmentKind, &'a [u32])]) -> [Record<'a>; 7] {
    let ip = |src, dst| IpPacket {
        length: 1400,
        src,
        dst,
        protocol: 6,
        tos: 0,
        src_port: 443,
        dst_port: 40_000,
        tcp_flags: 0x12,
    };
    [
        Record::Ethernet(EthernetFrame {
            length: 1418,
            src: [2, 0, 0, 0, 0, 1],
            dst: [2, 0, 0, 0, 0, 2],
            ether_type: 0x0800,
        }),
        Record::Ip(ip(AGENT, AGENT)),
        Record::Ip(ip(AGENT_V6, AGENT_V6)),
        Record::Switch(SwitchData { src_vlan: 7, src_priority: 0, dst_vlan: 8, dst_priority: 0 }),
        Record::Router(RouterData {
            next_hop: Some(AGENT_V6),
            src_mask_bits: 24,
            dst_mask_bits: 32,
        }),
        Record::Gateway(Gateway {
            next_hop: Some(AGENT),
            own_as: 64_500,
            source_as: 65_010,
            source_peer_as: 65_011,
            destination_path: path,
            communities: &[0x0001_029a],
            local_pref: 100,
        }),
        Record::Other { format: DataFormat::standard(1012), data: &[0, 0, 0, 9] },
    ]
}

fn v5_packets() -> Vec<Vec<u8>> {
    let record = v5::Record {
        src_addr: Ipv4Addr::new(192, 0, 2, 1),
        dst_addr: Ipv4Addr::new(198, 51, 100, 2),
        next_hop: Ipv4Addr::UNSPECIFIED,
        input: 1,
        output: 2,
        packets: 10,
        octets: 4_680,
        first: 3_599_000,
        last: 3_600_000,
        src_port: 123,
        dst_port: 4000,
        tcp_flags: 0,
        protocol: 17,
        tos: 0,
        src_as: 0,
        dst_as: 0,
        src_mask: 24,
        dst_mask: 24,
    };
    let mut writer = V5Writer::new();
    writer.sampling = (2 << 14) + 1000; // at random, 1 in 1000
    let mut write = |records: u16| {
        writer.begin();
        (0..records).for_each(|n| writer.record(&v5::Record { src_port: n, ..record }));
        writer.finish(TIME).to_vec()
    };
    let mut packets = vec![write(1), write(30), write(3)];
    if let Some(last) = packets.last_mut() {
        last.truncate(24 + 48 + 20); // its header says three records
    }
    packets
}

const fn field(element: u16, length: u16) -> FieldSpec {
    FieldSpec { element, enterprise: 0, length }
}

/// Addresses, ports, protocol, flags, interfaces, sampler, counters.
fn flow_fields(v6: bool) -> Vec<FieldSpec> {
    let (src, dst, length) = if v6 { (27, 28, 16) } else { (8, 12, 4) };
    let rest = [(7, 2), (11, 2), (4, 1), (6, 1), (10, 4), (14, 4), (48, 1), (2, 8), (1, 8)];
    let mut fields = vec![field(src, length), field(dst, length)];
    fields.extend(rest.map(|(element, length)| field(element, length)));
    fields
}

/// A sampler table: its only scope is the exporter in v9, the selector in IPFIX.
fn sampler_fields(protocol: Protocol) -> Vec<FieldSpec> {
    match protocol {
        Protocol::V9 => vec![field(1, 4), field(48, 1), field(49, 1), field(50, 4)],
        Protocol::Ipfix => vec![field(302, 4), field(304, 2), field(305, 4), field(306, 4)],
    }
}

/// Adds the templates 256 (IPv4), 257 (IPv6) and 258 (options).
fn define(protocol: Protocol, writer: &mut MessageWriter) {
    let options = sampler_fields(protocol);
    let templates = [
        Template::new(protocol, TemplateKind::Data, 256, 0, flow_fields(false)),
        Template::new(protocol, TemplateKind::Data, 257, 0, flow_fields(true)),
        Template::new(protocol, TemplateKind::Options, 258, 1, options),
    ];
    templates.iter().flatten().for_each(|template| writer.template(template));
}

/// Adds a record of these fields, each byte of which is `byte`.
fn record(writer: &mut MessageWriter, id: u16, fields: &[FieldSpec], byte: u8) {
    let values: Vec<Vec<u8>> = fields.iter().map(|field| vec![byte; field.length.into()]).collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    writer.record_of(id, fields, &values);
}

fn finished(writer: &mut MessageWriter) -> Vec<u8> {
    writer.finish(TIME).to_vec()
}

/// Templates, samplers and flows; then flows only; then a template that is defined anew.
fn flows(protocol: Protocol) -> Vec<Vec<u8>> {
    let (v4, v6) = (flow_fields(false), flow_fields(true));
    let mut writer = MessageWriter::new(protocol, 1);
    writer.begin();
    define(protocol, &mut writer);
    record(&mut writer, 258, &sampler_fields(protocol), 3);
    (1..4).for_each(|n| record(&mut writer, 256, &v4, n));
    let mut datagrams = vec![finished(&mut writer)];
    writer.begin();
    (1..4).for_each(|n| record(&mut writer, 256, &v4, n));
    (4..6).for_each(|n| record(&mut writer, 257, &v6, n));
    datagrams.push(finished(&mut writer));
    writer.begin();
    let shorter = vec![field(8, 4), field(12, 4), field(1, 4)];
    if let Ok(template) = Template::new(protocol, TemplateKind::Data, 256, 0, shorter.clone()) {
        writer.template(&template);
    }
    (1..4).for_each(|n| record(&mut writer, 256, &shorter, n));
    datagrams.push(finished(&mut writer));
    datagrams
}

/// Flows whose template comes one datagram later.
fn data_first(protocol: Protocol) -> Vec<Vec<u8>> {
    let mut writer = MessageWriter::new(protocol, 1);
    writer.begin();
    record(&mut writer, 257, &flow_fields(true), 9);
    let mut datagrams = vec![finished(&mut writer)];
    writer.begin();
    define(protocol, &mut writer);
    record(&mut writer, 257, &flow_fields(true), 9);
    datagrams.push(finished(&mut writer));
    datagrams
}

/// Templates without length, with a low id, with more fields than there are; a reserved set; bytes
/// behind the end, which only IPFIX has a length to tell from a set.
fn hostile(protocol: Protocol) -> Vec<Vec<u8>> {
    let (data, options) = if protocol == Protocol::V9 { (0, 1) } else { (2, 3) };
    let mut writer = MessageWriter::new(protocol, 1);
    writer.begin();
    writer.set(data, |out| {
        append_template(protocol, TemplateKind::Data, 256, 0, &[field(1, 0)], out);
        append_template(protocol, TemplateKind::Data, 3, 0, &[field(1, 4)], out);
        append_template(protocol, TemplateKind::Data, 257, 0, &[field(1, 65_534); 2], out);
    });
    writer.set(options, |out| {
        append_template(protocol, TemplateKind::Options, 258, 9, &[field(1, 4)], out);
    });
    writer.set(5, |out| out.extend([0; 5]));
    writer.set(data, |out| out.extend([1, 4, 0xff, 0xff, 0, 1, 0, 4]));
    writer.set(256, |_| ());
    let mut datagram = finished(&mut writer);
    datagram.extend([1, 0, 0]);
    vec![datagram]
}

/// Fields of variable length and of enterprises, the way back of a flow, a sampled frame.
fn variable() -> Result<Vec<Vec<u8>>, EmitError> {
    let fields = vec![
        FieldSpec { element: 1, enterprise: REVERSE_ENTERPRISE, length: 8 },
        FieldSpec { element: 95, enterprise: 9, length: VARIABLE_LENGTH },
        field(82, VARIABLE_LENGTH),
        field(315, VARIABLE_LENGTH),
        field(4, 1),
    ];
    let frame = ethernet(&[], packet(true, tcp(2), &[]))?;
    let template = Template::new(Protocol::Ipfix, TemplateKind::Data, 300, 0, fields.clone());
    let mut writer = MessageWriter::new(Protocol::Ipfix, 1);
    writer.begin();
    if let Ok(template) = &template {
        writer.template(template);
    }
    let name = [b'x'; 300];
    for length in [0, 1, 254, 255, 300] {
        let name = name.get(..length).unwrap_or_default();
        writer.record_of(300, &fields, &[&[1], &[1, 2, 3], name, &frame, &[6]]);
    }
    Ok(vec![finished(&mut writer)])
}

/// Of one template, of all of a kind, and of all of the other.
fn withdrawals() -> Vec<Vec<u8>> {
    let mut writer = MessageWriter::new(Protocol::Ipfix, 1);
    writer.begin();
    define(Protocol::Ipfix, &mut writer);
    record(&mut writer, 256, &flow_fields(false), 1);
    let mut datagrams = vec![finished(&mut writer)];
    writer.begin();
    writer.withdraw(TemplateKind::Data, 256);
    record(&mut writer, 256, &flow_fields(false), 1);
    record(&mut writer, 257, &flow_fields(true), 1);
    datagrams.push(finished(&mut writer));
    writer.begin();
    writer.withdraw_all(TemplateKind::Data);
    writer.withdraw_all(TemplateKind::Options);
    record(&mut writer, 257, &flow_fields(true), 1);
    datagrams.push(finished(&mut writer));
    datagrams
}
