//! What is sent: records of ordinary traffic between our hosts and others, and of an attack.

use tidewall_model::{Address, Family, FlowRecord, Prefix, SamplingRate, Timestamp, protocol};
use tidewall_scenario::{
    FlowCachePlan, FlowCacheRenderer, FlowProtocol, FrameRenderer, Random, RenderError, Renderer,
    SflowPlan, SflowRenderer,
};

use super::reel::{Reel, ReelError};
use crate::demo::Medium;

/// Records of a round: at 400,000 a second no flow comes twice in half a second.
const ROUND: u32 = 1 << 18;
/// Records of a round of an attack.
const ATTACK_ROUND: u32 = 1 << 14;
/// Part of the traffic that leaves our networks.
const OUTGOING: f64 = 0.4;
/// Others that our hosts talk to: 172.16.0.0/12, and 2001:db8:ffff::/48.
const REMOTE_V4: u32 = 0xac10_0000;
const REMOTE_V6: u128 = 0x2001_0db8_ffff << 80;
/// Others that attack: 198.18.0.0/15 (RFC 2544), and 2001:db8:fffe::/48.
const ATTACKER_V4: u32 = 0xc612_0000;
const ATTACKER_V6: u128 = 0x2001_0db8_fffe << 80;
/// Ports of services that our hosts offer.
const SERVICES: [u16; 4] = [443, 80, 53, 25];

/// Ordinary traffic.
#[derive(Clone, Debug)]
pub struct Load {
    /// How it is sent.
    pub medium: Medium,
    /// Where our hosts are.
    pub networks: Vec<Prefix>,
    /// Our hosts with traffic, spread evenly over the networks.
    pub hosts: u32,
    /// Hosts that they talk to.
    pub remotes: u32,
    /// Routers that export.
    pub exporters: u16,
    /// One packet in so many is seen; flow export says so.
    pub sampling: SamplingRate,
    /// Packets of a record of flow export.
    pub packets: u64,
    /// Bytes of each IP packet.
    pub length: u16,
    /// Other records.
    pub seed: u64,
}

/// An attack on one host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttackLoad {
    /// Who is attacked.
    pub target: Address,
    /// Records a second.
    pub rate: f64,
    /// Different attackers.
    pub sources: u32,
}

impl Load {
    /// Renders a round of ordinary traffic: every host is in it.
    pub fn reel(&self) -> Result<Reel, ReelError> {
        let count = self.hosts.max(ROUND).next_multiple_of(self.hosts.max(1));
        let mut random = Random::new(self.seed);
        let mut order: Vec<u32> = (0..self.hosts.max(1)).collect();
        let mut records = Vec::new();
        records.try_reserve_exact(count as usize)?;
        while records.len() < count as usize {
            for at in (1..order.len()).rev() {
                order.swap(at, random.below(at as u64 + 1) as usize);
            }
            records.extend(order.iter().map(|host| self.record(*host, &mut random)));
        }
        self.render(&records, u16::MAX)
    }

    /// Renders a round of an attack. Its datagrams are short enough to leave 20 times a second.
    pub fn attack_reel(&self, attack: &AttackLoad) -> Result<Reel, ReelError> {
        let mut random = Random::new(!self.seed);
        let records: Vec<FlowRecord> =
            (0..ATTACK_ROUND).map(|_| self.attack_record(attack, &mut random)).collect();
        self.render(&records, (attack.rate / 20.0).clamp(1.0, 1000.0) as u16)
    }

    /// A record of the host with this number.
    fn record(&self, host: u32, random: &mut Random) -> FlowRecord {
        let host = self.host(host);
        let remote = random.below(self.remotes.max(1).into()) as u32;
        let remote = match host.family {
            Family::V4 => Address::v4(REMOTE_V4 | remote & 0x000f_ffff),
            Family::V6 => Address::v6(REMOTE_V6 | u128::from(remote)),
        };
        let service = SERVICES[random.below(SERVICES.len() as u64) as usize];
        let client = random.between(1024, u16::MAX);
        let kind = if service == 53 { protocol::UDP } else { protocol::TCP };
        let mut record = self.packet(remote, host, kind);
        (record.src_port, record.dst_port) = (client, service);
        if kind == protocol::TCP {
            record.tcp_flags = tidewall_model::TcpFlags(tidewall_model::TcpFlags::ACK);
        }
        if random.chance(OUTGOING) {
            (record.src, record.dst) = (record.dst, record.src);
            (record.src_port, record.dst_port) = (record.dst_port, record.src_port);
        }
        record
    }

    fn attack_record(&self, attack: &AttackLoad, random: &mut Random) -> FlowRecord {
        let source = random.below(attack.sources.max(1).into()) as u32;
        let source = match attack.target.family {
            Family::V4 => Address::v4(ATTACKER_V4 | source & 0x0001_ffff),
            Family::V6 => Address::v6(ATTACKER_V6 | u128::from(source)),
        };
        let mut record = self.packet(source, attack.target, protocol::UDP);
        (record.src_port, record.dst_port) = (53, random.between(1024, u16::MAX));
        record
    }

    fn packet(&self, src: Address, dst: Address, protocol: u8) -> FlowRecord {
        let packets = match self.medium {
            Medium::Frames | Medium::Sflow => 1,
            _ => self.packets.max(1),
        };
        FlowRecord {
            time: Reel::TIME,
            src: src.bits,
            dst: dst.bits,
            family: dst.family,
            protocol,
            packets,
            bytes: packets.saturating_mul(self.length.into()),
            ttl: 60,
            sampling: self.sampling,
            ..FlowRecord::default()
        }
    }

    /// The address of the host with this number.
    fn host(&self, number: u32) -> Address {
        let networks = self.networks.len().max(1) as u32;
        let Some(network) = self.networks.get((number % networks) as usize) else {
            return Address::v4(0);
        };
        // An IPv6 network's hosts are close together: nobody numbers them from end to end.
        let size = network.size().min(1 << 32);
        let share = u128::from(self.hosts.div_ceil(networks).max(1));
        let step = (size / share).max(1);
        let offset = u128::from(number / networks) * step % size;
        let first = network.first();
        Address { bits: first.bits + offset, ..first }
    }

    /// Renders each exporter's share of the records, and puts the datagrams in turn.
    fn render(&self, records: &[FlowRecord], most: u16) -> Result<Reel, ReelError> {
        let exporters = if self.medium == Medium::Frames { 1 } else { self.exporters.max(1) };
        let mut parts = Vec::new();
        for exporter in 0..exporters {
            let mut renderer = self.renderer(exporter, most);
            let share = records.iter().skip(exporter.into()).step_by(exporters.into());
            let mut part = Reel::new(self.medium);
            let mut failed: Option<ReelError> = None;
            let mut sink = |_: Timestamp, message: &[u8]| {
                if let Err(error) = part.push(exporter, message) {
                    failed = Some(error);
                }
            };
            for record in share {
                renderer.render(record, &mut sink)?;
            }
            renderer.finish(&mut sink);
            if let Some(error) = failed {
                return Err(error);
            }
            parts.push(part);
        }
        Reel::in_turn(self.medium, &parts)
    }

    fn renderer(&self, exporter: u16, most: u16) -> Box<dyn Renderer> {
        let number = u32::from(exporter) + 1;
        let protocol = match self.medium {
            Medium::Frames => return Box::new(FrameRenderer::new()),
            Medium::Sflow => {
                let plan = SflowPlan { sub_agent: number, uptime_ms: 0, ..SflowPlan::default() };
                let samples = plan.samples.min(most.into());
                return Box::new(SflowRenderer::new(&SflowPlan { samples, ..plan }));
            }
            Medium::Netflow5 => FlowProtocol::NetflowV5,
            Medium::Netflow9 => FlowProtocol::NetflowV9,
            Medium::Ipfix => FlowProtocol::Ipfix,
        };
        let records = match protocol {
            FlowProtocol::NetflowV5 => 30,
            FlowProtocol::NetflowV9 => 24,
            FlowProtocol::Ipfix => 18,
        };
        // Every record is exported by itself, at once.
        let plan = FlowCachePlan {
            active: std::time::Duration::ZERO,
            idle: std::time::Duration::ZERO,
            source_id: number,
            uptime_ms: 0,
            records: most.min(records),
            ..FlowCachePlan::default()
        };
        Box::new(FlowCacheRenderer::new(protocol, &plan))
    }
}

impl From<RenderError> for ReelError {
    fn from(error: RenderError) -> Self {
        Self::Render(error)
    }
}
