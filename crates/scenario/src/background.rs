//! Ordinary traffic: conversations of our hosts with the rest of the world. Each host has a fixed
//! number of conversations at a time, and each conversation follows from a hash of host, place and
//! time, so that flows last and nothing has to be remembered.

use tidewall_model::{Address, Family, FlowRecord, TcpFlags, protocol};

use crate::address::{Remotes, our_hosts};
use crate::plan::{Background, Mix, Scenario};
use crate::random::{Random, mix2, unit};

/// Conversations that a host has at a time.
const CONVERSATIONS: u64 = 16;
/// How long a conversation lasts.
const LIFETIME_NS: u64 = 8_000_000_000;
/// The host of rank r has a rate proportional to 1 / (r + FLATNESS): a heavy tail whose first host
/// has some three in a hundred packets of two thousand hosts.
const FLATNESS: f64 = 5.0;

/// Servers' TCP ports, the common ones several times.
const TCP_PORTS: [u16; 16] =
    [443, 443, 443, 443, 443, 443, 443, 443, 80, 80, 80, 22, 25, 993, 8080, 3306];
/// Servers' UDP ports.
const UDP_PORTS: [u16; 8] = [443, 443, 443, 443, 53, 53, 123, 4500];

/// Makes the background's records.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    hosts: Vec<Address>,
    ranks: Alias,
    remotes: [Remotes; 2],
    mix: Mix,
    outgoing: f64,
    seed: u64,
}

impl Crowd {
    pub(crate) fn new(plan: &Background, world: &Scenario, seed: u64) -> Self {
        let v6_hosts = match plan.ipv6 {
            none if none <= 0.0 => 0,
            share => ((f64::from(plan.hosts) * share).round() as u32).max(1),
        };
        let mut hosts = Vec::new();
        let mut weights = Vec::new();
        let families = [
            (Family::V4, plan.hosts - v6_hosts.min(plan.hosts), 1.0 - plan.ipv6),
            (Family::V6, v6_hosts, plan.ipv6),
        ];
        for (family, count, share) in families {
            let ours = our_hosts(&world.networks, family, count);
            let weight = |rank: usize| 1.0 / (rank as f64 + FLATNESS);
            let sum: f64 = (0..ours.len()).map(weight).sum();
            weights.extend((0..ours.len()).map(|rank| share * weight(rank) / sum));
            hosts.extend(ours);
        }
        let remotes = |family| Remotes::new(family, 0, &[], &world.networks, seed);
        Self {
            ranks: Alias::new(&weights),
            hosts,
            remotes: [remotes(Family::V4), remotes(Family::V6)],
            mix: plan.mix,
            outgoing: plan.outgoing,
            seed,
        }
    }

    /// Describes the packet that arrives at `time_ns`.
    pub(crate) fn fill(&self, time_ns: u64, random: &mut Random, record: &mut FlowRecord) {
        let rank = self.ranks.draw(random);
        let Some(host) = self.hosts.get(rank) else { return };
        let place = mix2(self.seed, rank as u64 * CONVERSATIONS + random.below(CONVERSATIONS));
        let talk = mix2(place, time_ns.wrapping_add(place % LIFETIME_NS) / LIFETIME_NS);
        let [v4, v6] = &self.remotes;
        let remotes = if host.family == Family::V4 { v4 } else { v6 };
        let remote = Address { family: host.family, bits: remotes.numbered(talk) };
        let leaves = random.chance(self.outgoing);
        let we_serve = talk & 1 == 1;
        let ends = if leaves { (*host, remote) } else { (remote, *host) };
        set_ends(record, ends.0, ends.1);
        self.fill_transport(talk, we_serve != leaves, random, record);
    }

    /// Protocol, ports, flags and length; `from_client` as the conversation has it.
    fn fill_transport(
        &self,
        talk: u64,
        from_client: bool,
        random: &mut Random,
        record: &mut FlowRecord,
    ) {
        let choice = unit(mix2(talk, 1));
        let at = |list: &[u16]| {
            let index = (talk >> 8) as usize % list.len().max(1);
            list.get(index).copied().unwrap_or(443)
        };
        if choice < self.mix.tcp {
            set_ports(record, from_client, client_port(talk), at(&TCP_PORTS));
            tcp_packet(from_client, random, record);
        } else if choice < self.mix.tcp + self.mix.udp {
            let port = at(&UDP_PORTS);
            set_ports(record, from_client, client_port(talk), port);
            let (low, high) = match (port, from_client) {
                (443, false) => (1100, 1378),
                (443, true) => (60, 220),
                (53, false) => (90, 420),
                (53, true) => (58, 80),
                (123, _) => (76, 76),
                _ => (120, 1300),
            };
            record.protocol = protocol::UDP;
            record.bytes = u64::from(random.between(low, high));
        } else if choice < self.mix.tcp + self.mix.udp + self.mix.icmp {
            let request = from_client;
            (record.protocol, record.dst_port) = match (record.family, request) {
                (Family::V4, true) => (protocol::ICMP, 8 << 8),
                (Family::V4, false) => (protocol::ICMP, 0),
                (Family::V6, true) => (protocol::ICMPV6, 128 << 8),
                (Family::V6, false) => (protocol::ICMPV6, 129 << 8),
            };
            record.bytes = 84;
        } else {
            record.protocol = if talk & 2 == 0 { protocol::ESP } else { protocol::GRE };
            record.bytes = u64::from(random.between(120, 1400));
        }
        if record.family == Family::V6 {
            record.bytes += 20;
        }
    }
}

/// Addresses, and a TTL that fits the source.
pub(crate) fn set_ends(record: &mut FlowRecord, from: Address, to: Address) {
    record.family = from.family;
    record.src = from.bits;
    record.dst = to.bits;
    record.ttl = ttl_of(from.bits);
}

/// Ports of a client and a server.
pub(crate) fn set_ports(record: &mut FlowRecord, from_client: bool, client: u16, server: u16) {
    (record.src_port, record.dst_port) =
        if from_client { (client, server) } else { (server, client) };
}

/// A client's port of the ephemeral range.
pub(crate) fn client_port(hash: u64) -> u16 {
    32_768 + ((hash >> 16) % 28_232) as u16
}

/// One packet of a TCP conversation: handshake, requests, data, acknowledgments, ends. Its length
/// is that of an IPv4 packet.
pub(crate) fn tcp_packet(from_client: bool, random: &mut Random, record: &mut FlowRecord) {
    const SYN: u16 = TcpFlags::SYN;
    const ACK: u16 = TcpFlags::ACK;
    let (flags, (low, high)) = match (random.unit(), from_client) {
        (x, true) if x < 0.04 => (SYN, (60, 60)),
        (x, false) if x < 0.04 => (SYN | ACK, (60, 60)),
        (x, _) if x < 0.07 => (TcpFlags::FIN | ACK, (52, 52)),
        (x, _) if x < 0.075 => (TcpFlags::RST | ACK, (40, 40)),
        (x, true) if x < 0.35 => (TcpFlags::PSH | ACK, (120, 900)),
        (_, true) => (ACK, (52, 64)),
        (x, false) if x < 0.75 => (ACK, (1400, 1500)),
        (x, false) if x < 0.90 => (TcpFlags::PSH | ACK, (80, 1400)),
        (_, false) => (ACK, (52, 52)),
    };
    record.protocol = protocol::TCP;
    record.tcp_flags = TcpFlags(flags);
    record.bytes = u64::from(random.between(low, high));
}

/// An operating system's first TTL, less some hops; the same for all packets of a source.
fn ttl_of(address: u128) -> u8 {
    let hash = mix2(address as u64, (address >> 64) as u64);
    let first: u8 = if hash.is_multiple_of(4) { 128 } else { 64 };
    first - ((hash >> 8) % 24) as u8
}

/// Draws indices by weight in constant time (Walker's alias method, in Vose's form).
#[derive(Clone, Debug)]
struct Alias(Vec<(f64, u32)>);

impl Alias {
    fn new(weights: &[f64]) -> Self {
        let sum: f64 = weights.iter().sum();
        let n = weights.len();
        let mut table: Vec<(f64, u32)> =
            weights.iter().zip(0..).map(|(w, i)| (w / sum * n as f64, i)).collect();
        let (mut small, mut large): (Vec<u32>, Vec<u32>) = (0..n as u32)
            .partition(|i| table.get(*i as usize).is_some_and(|(weight, _)| *weight < 1.0));
        while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
            let mut missing = 0.0;
            if let Some(entry) = table.get_mut(poor as usize) {
                missing = 1.0 - entry.0;
                entry.1 = rich;
            }
            if let Some(entry) = table.get_mut(rich as usize) {
                entry.0 -= missing;
                if entry.0 < 1.0 {
                    large.pop();
                    small.push(rich);
                }
            }
        }
        Self(table)
    }

    fn draw(&self, random: &mut Random) -> usize {
        let index = random.below(self.0.len() as u64) as usize;
        match self.0.get(index) {
            Some((weight, alias)) if random.unit() >= *weight => *alias as usize,
            _ => index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alias_draws_by_weight() {
        let weights = [0.5, 3.0, 0.0, 1.5, 5.0];
        let alias = Alias::new(&weights);
        let mut random = Random::new(2);
        let mut counts = [0u32; 5];
        for _ in 0..200_000 {
            counts[alias.draw(&mut random)] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let share = f64::from(*count) / 200_000.0;
            assert!((share - weight / 10.0).abs() < 0.005, "{counts:?}");
        }
        assert_eq!(Alias::new(&[]).draw(&mut random), 0);
    }

    #[test]
    fn ttls_are_plausible_and_belong_to_a_source() {
        for address in 0..1000u128 {
            let ttl = ttl_of(address);
            assert!((41..=64).contains(&ttl) || (105..=128).contains(&ttl), "{ttl}");
            assert_eq!(ttl, ttl_of(address));
        }
    }
}
