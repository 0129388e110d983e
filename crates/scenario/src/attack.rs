//! The packets of an attack, one kind at a time, and of a flash crowd.

use tidewall_model::{Address, Direction, Family, FlowRecord, Fragment, TcpFlags, protocol};

use crate::address::{Remotes, inside};
use crate::background::{client_port, set_ends, set_ports, tcp_packet};
use crate::plan::{AttackKind, AttackPlan, Scenario};
use crate::random::{Random, mix2};

/// Answers of a flash crowd's server for each packet of its clients.
pub(crate) const CROWD_ANSWERS: f64 = 0.9;
/// Clients of a flash crowd when the file does not say how many.
const CROWD_CLIENTS: u32 = 5_000;
/// How long a client keeps its connection.
const CONNECTION_NS: u64 = 2_000_000_000;
/// Hosts over which a carpet is laid, at most.
const CARPET_HOSTS: u128 = 1 << 16;
/// Ports of servers that answer forged SYNs.
const HANDSHAKE_PORTS: [u16; 6] = [443, 443, 80, 22, 25, 8443];
/// Protocols of a flood that names none: IGMP, EIGRP, OSPF, PIM, VRRP, ESP.
const RARE_PROTOCOLS: [u8; 6] = [2, 88, 89, 103, 112, 50];

/// Makes the records of one attack.
#[derive(Clone, Debug)]
pub(crate) struct Vector {
    plan: AttackPlan,
    remotes: Remotes,
}

impl Vector {
    pub(crate) fn new(plan: &AttackPlan, world: &Scenario, seed: u64) -> Self {
        let count = match (plan.kind, plan.sources) {
            (AttackKind::FlashCrowd, 0) => CROWD_CLIENTS,
            (_, count) => count,
        };
        let family = plan.target.family();
        let remotes = Remotes::new(family, count, &plan.source_prefixes, &world.networks, seed);
        Self { plan: plan.clone(), remotes }
    }

    /// Describes the packet that arrives at `time_ns`.
    pub(crate) fn fill(&self, time_ns: u64, random: &mut Random, record: &mut FlowRecord) {
        let plan = &self.plan;
        let family = plan.target.family();
        let hosts = plan.target.size().min(CARPET_HOSTS) as u64;
        let host = Address { family, bits: inside(plan.target, random.below(hosts).into()) };
        let remote = Address { family, bits: self.remotes.draw(random) };
        if plan.kind == AttackKind::FlashCrowd {
            self.fill_crowd(time_ns, host, remote, random, record);
            return;
        }
        match plan.direction {
            Direction::Outgoing => set_ends(record, host, remote),
            _ => set_ends(record, remote, host),
        }
        record.bytes = u64::from(random.between(plan.length.0, plan.length.1));
        self.fill_transport(random, record);
    }

    fn fill_transport(&self, random: &mut Random, record: &mut FlowRecord) {
        let tcp = |flags, record: &mut FlowRecord| {
            record.protocol = protocol::TCP;
            record.tcp_flags = TcpFlags(flags);
        };
        let service = *pick(&[443, 443, 80], random).unwrap_or(&443);
        let any = random.between(1024, 65_535);
        match self.plan.kind {
            AttackKind::SynFlood => {
                tcp(TcpFlags::SYN, record);
                self.set_ports(any, service, record);
            }
            AttackKind::AckFlood => {
                tcp(TcpFlags::ACK, record);
                self.set_ports(any, service, record);
            }
            AttackKind::RstFlood => {
                tcp(TcpFlags::RST, record);
                self.set_ports(any, service, record);
            }
            AttackKind::TcpFlood => {
                tcp(TcpFlags::FIN | TcpFlags::PSH | TcpFlags::URG, record);
                self.set_ports(any, service, record);
            }
            AttackKind::SynAckReflection => {
                tcp(TcpFlags::SYN | TcpFlags::ACK, record);
                self.set_ports(*pick(&HANDSHAKE_PORTS, random).unwrap_or(&443), any, record);
            }
            AttackKind::UdpFlood => self.fill_udp(any, random, record),
            AttackKind::UdpReflection(service) => self.fill_udp(service.port, random, record),
            AttackKind::FragmentFlood => {
                record.protocol = protocol::UDP;
                record.fragment = Fragment::Later;
                if random.chance(0.1) {
                    record.fragment = Fragment::First;
                    self.set_ports(any, random.between(1024, 65_535), record);
                }
            }
            AttackKind::IcmpFlood => {
                (record.protocol, record.dst_port) = match record.family {
                    Family::V4 => (protocol::ICMP, 8 << 8),
                    Family::V6 => (protocol::ICMPV6, 128 << 8),
                };
            }
            AttackKind::GreFlood => record.protocol = protocol::GRE,
            AttackKind::ProtocolFlood(number) => {
                let rare = || pick(&RARE_PROTOCOLS, random).copied().unwrap_or(protocol::ESP);
                record.protocol = number.unwrap_or_else(rare);
            }
            AttackKind::FlashCrowd => {}
        }
    }

    /// Whole datagrams, or first and later pieces of long ones.
    fn fill_udp(&self, source_port: u16, random: &mut Random, record: &mut FlowRecord) {
        record.protocol = protocol::UDP;
        let fragments = self.plan.fragments;
        let draw = random.unit();
        if draw < fragments {
            record.fragment = Fragment::Later;
            return;
        }
        if draw < 2.0 * fragments {
            record.fragment = Fragment::First;
            record.bytes = 1500;
        }
        self.set_ports(source_port, random.between(1024, 65_535), record);
    }

    /// The kind's ports, unless the plan has its own.
    fn set_ports(&self, source: u16, destination: u16, record: &mut FlowRecord) {
        record.src_port = self.plan.source_port.unwrap_or(source);
        record.dst_port = self.plan.destination_port.unwrap_or(destination);
    }

    /// Whole conversations: clients and the server's answers.
    fn fill_crowd(
        &self,
        time_ns: u64,
        host: Address,
        client: Address,
        random: &mut Random,
        record: &mut FlowRecord,
    ) {
        let from_client = random.unit() * (1.0 + CROWD_ANSWERS) < 1.0;
        let ends = if from_client { (client, host) } else { (host, client) };
        set_ends(record, ends.0, ends.1);
        let port = client_port(mix2(client.bits as u64, time_ns / CONNECTION_NS));
        set_ports(record, from_client, port, self.plan.destination_port.unwrap_or(443));
        tcp_packet(from_client, random, record);
        if record.family == Family::V6 {
            record.bytes += 20;
        }
    }
}

fn pick<'a, T>(list: &'a [T], random: &mut Random) -> Option<&'a T> {
    list.get(random.below(list.len() as u64) as usize)
}
