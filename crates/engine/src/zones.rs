//! The policy compiled for the packet path. A zone is the finest prefix that the configuration
//! names; each of our addresses lies in exactly one. One lookup says whose host it is, which
//! limits it has and where its counters are.

use tidewall_model::{Address, Family, FlowRecord, Prefix};

use crate::arena::{HostKey, Place};
use crate::lpm::PrefixTable;
use crate::marks::{GroupMarks, Mark};
use crate::policy::Policy;

/// A prefix of our space with one network, one group and one set of limits.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The prefix. Finer zones may lie in it.
    pub prefix: Prefix,
    /// Position in [`Zones::networks`].
    pub network: u32,
    /// Position in the policy's groups.
    pub group: u32,
    /// Added to an IPv4 address (wrapping), it gives the position in the direct index.
    dense_offset: Option<u32>,
}

/// All zones, and the way to them.
#[derive(Clone, Debug)]
pub struct Zones {
    table: PrefixTable,
    list: Vec<Zone>,
    /// By group.
    marks: Vec<GroupMarks>,
    least_mark: Mark,
    networks: Vec<Prefix>,
    /// Addresses in the direct index.
    dense: u32,
    /// Keys the hash of addresses and flows; an attacker must not know it.
    seed: u64,
    /// Two more keys, made of the seed.
    keys: [u64; 2],
}

impl Zones {
    /// Compiles a policy for `shards` shards that each see a part of a host's traffic, or one
    /// shard that sees all of it.
    pub fn compile(policy: &Policy, parts: u32, seed: u64) -> Self {
        let mut networks = policy.networks.clone();
        networks.sort();
        networks.dedup();
        let network_of = longest(&networks);
        let grouped: Vec<(Prefix, usize)> = (policy.groups.iter().enumerate())
            .flat_map(|(at, group)| group.prefixes.iter().map(move |prefix| (*prefix, at)))
            .collect();
        let group_prefixes: Vec<Prefix> = grouped.iter().map(|(prefix, _)| *prefix).collect();
        let group_of = longest(&group_prefixes);
        let mut prefixes: Vec<Prefix> = networks.iter().chain(&group_prefixes).copied().collect();
        prefixes.sort();
        prefixes.dedup();
        let (ranges, dense) = dense_ranges(&networks, policy.capacity.dense);
        let mut zones = Vec::new();
        for prefix in prefixes {
            let Some(network) = network_of(prefix) else { continue };
            let group = group_of(prefix).map_or(0, |at| grouped[at].1);
            zones.push(Zone {
                prefix,
                network: network as u32,
                group: group as u32,
                dense_offset: dense_offset(prefix, &ranges),
            });
        }
        let entries: Vec<_> =
            zones.iter().enumerate().map(|(at, zone)| (zone.prefix, at as u32)).collect();
        let table = PrefixTable::new(&entries);
        drop(network_of);
        let marks: Vec<GroupMarks> =
            policy.groups.iter().map(|group| GroupMarks::of(group, policy, parts)).collect();
        let least_mark = GroupMarks::least_of(&marks);
        let keys = keys_of(seed);
        Self { table, list: zones, marks, least_mark, networks, dense, seed, keys }
    }

    /// Zone of an address of ours.
    #[inline]
    pub fn lookup(&self, family: Family, bits: u128) -> Option<u32> {
        self.table.lookup_bits(family, bits)
    }

    /// Zones + 1 of a record's source and destination, 0 where it is not ours.
    #[inline]
    pub fn lookup_ends(&self, record: &FlowRecord) -> [u32; 2] {
        self.table.lookup_pair(record.family, [record.src, record.dst])
    }

    /// A zone by its number.
    #[inline]
    pub fn zone(&self, zone: u32) -> &Zone {
        &self.list[zone as usize]
    }

    /// All zones.
    pub fn all(&self) -> &[Zone] {
        &self.list
    }

    /// Our networks, sorted.
    pub fn networks(&self) -> &[Prefix] {
        &self.networks
    }

    /// Entries of the direct index.
    pub const fn dense(&self) -> u32 {
        self.dense
    }

    /// Where a host's index entry is.
    #[inline]
    pub fn place(&self, key: HostKey) -> Place {
        match self.list[key.zone as usize].dense_offset {
            Some(offset) => Place::Dense((key.bits as u32).wrapping_add(offset)),
            None => Place::Hashed(self.hash_host(key.bits)),
        }
    }

    /// Address of a host.
    pub fn address(&self, key: HostKey) -> Address {
        let family = self.list[key.zone as usize].prefix.family();
        Address { family, bits: key.bits }
    }

    /// What is worth a look in a zone.
    #[inline]
    pub fn marks(&self, zone: u32) -> &GroupMarks {
        &self.marks[self.list[zone as usize].group as usize]
    }

    /// What has not reached this is hot in no zone.
    #[inline]
    pub const fn least_mark(&self) -> Mark {
        self.least_mark
    }

    /// A well-spread number of a host, to deal hosts to shards by.
    #[expect(clippy::unused_self, reason = "how hosts are dealt is for the zones to say")]
    pub fn spread(&self, key: HostKey) -> u32 {
        // Other bits than the index uses: the hosts of one shard must not crowd its index.
        (fold(key.bits as u64 ^ SECRET[2], (key.bits >> 64) as u64 ^ SECRET[3]) >> 32) as u32
    }

    #[inline]
    fn hash_host(&self, bits: u128) -> u32 {
        let (low, high) = (bits as u64, (bits >> 64) as u64);
        (fold(low ^ self.seed, fold(high ^ self.keys[0], SECRET[1])) >> 32) as u32
    }

    /// Tag of a flow: 32 bits of a keyed hash of everything that tells flows apart.
    #[inline]
    pub fn flow_tag(&self, flow: &FlowTuple) -> u32 {
        let split = |bits: u128| (bits as u64, (bits >> 64) as u64);
        let ((local, local_high), (remote, remote_high)) = (split(flow.local), split(flow.remote));
        let ports = u64::from(flow.local_port) << 32
            | u64::from(flow.remote_port) << 16
            | u64::from(flow.protocol) << 8
            | flow.side as u64;
        // Every factor is keyed: one that somebody could make zero would take the others with it.
        let [first, second] = self.keys;
        let a = fold(local ^ self.seed, remote ^ first);
        let b = if local_high | remote_high == 0 {
            ports
        } else {
            fold(local_high ^ first, remote_high ^ second) ^ ports
        };
        (fold(a ^ second, b ^ self.seed) >> 16) as u32
    }
}

/// What tells flows apart.
#[derive(Clone, Copy, Debug)]
pub struct FlowTuple {
    /// Our address.
    pub local: u128,
    /// The other address.
    pub remote: u128,
    /// Our port.
    pub local_port: u16,
    /// The other port.
    pub remote_port: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Side of our host.
    pub side: usize,
}

/// Odd constants without structure (digits of e, pi and the golden ratio).
pub const SECRET: [u64; 4] =
    [0x9e37_79b9_7f4a_7c15, 0x2430_8d31_3198_a2e1, 0xadf8_5458_a2bb_4a9b, 0x243f_6a88_85a3_08d3];

/// Multiplies to 128 bits and folds the halves: every input bit reaches every output bit.
#[inline]
pub const fn fold(a: u64, b: u64) -> u64 {
    let wide = a as u128 * b as u128;
    wide as u64 ^ (wide >> 64) as u64
}

/// Two keys made from a seed.
pub fn keys_of(seed: u64) -> [u64; 2] {
    [SECRET[0], SECRET[3]].map(|secret| fold(seed ^ SECRET[1], secret) ^ secret)
}

/// The position of the longest of `prefixes` that covers a prefix.
fn longest(prefixes: &[Prefix]) -> impl Fn(Prefix) -> Option<usize> {
    // With `prefix.first()` alone a finer prefix would answer for a coarser one, so compare lengths.
    let mut by_length: Vec<(Prefix, usize)> = prefixes.iter().copied().zip(0..).collect();
    by_length.sort();
    move |prefix| {
        let covering = (0..=prefix.len()).rev().find_map(|len| {
            let cover = Prefix::containing(prefix.first(), len);
            by_length.binary_search_by_key(&cover, |(p, _)| *p).ok()
        });
        covering.map(|at| by_length[at].1)
    }
}

/// IPv4 networks that lie in no other, each with its first position in the direct index, as far as
/// `most` entries go; the smallest networks first, so that one huge network does not keep all others out.
fn dense_ranges(networks: &[Prefix], most: u32) -> (Vec<(Prefix, u32)>, u32) {
    let mut outer: Vec<Prefix> = Vec::new();
    for network in networks.iter().filter(|n| n.family() == Family::V4) {
        if outer.last().is_none_or(|last| !last.covers(*network)) {
            outer.push(*network);
        }
    }
    outer.sort_by_key(|prefix| (prefix.size(), *prefix));
    let mut used: u32 = 0;
    let mut ranges = Vec::new();
    for prefix in outer {
        let Ok(size) = u32::try_from(prefix.size()) else { break };
        let Some(next) = used.checked_add(size).filter(|next| *next <= most) else { break };
        ranges.push((prefix, used));
        used = next;
    }
    (ranges, used)
}

fn dense_offset(prefix: Prefix, ranges: &[(Prefix, u32)]) -> Option<u32> {
    let (range, base) = ranges.iter().find(|(range, _)| range.covers(prefix))?;
    Some(base.wrapping_sub(range.first().bits as u32))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::policy::Group;

    fn policy(networks: &[&str], groups: &[(&str, &[&str])]) -> Policy {
        let parse = |list: &[&str]| list.iter().map(|p| p.parse().unwrap()).collect();
        let mut policy = Policy::for_networks(parse(networks));
        for (name, prefixes) in groups {
            policy.groups.push(Group {
                name: (*name).to_owned(),
                parent: Some(0),
                prefixes: parse(prefixes),
                ..Group::global()
            });
        }
        policy
    }

    fn key(zones: &Zones, address: Address) -> Option<HostKey> {
        let zone = zones.lookup(address.family, address.bits)?;
        Some(HostKey { zone, bits: address.bits })
    }

    fn at(zones: &Zones, ip: &str) -> Option<(String, String, u32)> {
        let key = key(zones, ip.parse::<std::net::IpAddr>().unwrap().into())?;
        let zone = zones.zone(key.zone);
        let network = zones.networks()[zone.network as usize];
        Some((zone.prefix.to_string(), network.to_string(), zone.group))
    }

    #[test]
    fn a_group_applies_to_any_part_of_a_network() {
        let policy = policy(
            &["10.0.0.0/22", "10.0.0.0/8", "2001:db8::/32"],
            &[("a", &["10.0.1.0/24", "2001:db8:1::/48"]), ("b", &["10.0.1.7/32", "9.0.0.0/8"])],
        );
        let zones = Zones::compile(&policy, 1, 7);
        let is = |ip, zone: &str, network: &str, group| {
            assert_eq!(at(&zones, ip), Some((zone.to_owned(), network.to_owned(), group)), "{ip}");
        };
        is("10.0.1.1", "10.0.1.0/24", "10.0.0.0/22", 1);
        is("10.0.1.7", "10.0.1.7/32", "10.0.0.0/22", 2);
        is("10.0.2.1", "10.0.0.0/22", "10.0.0.0/22", 0);
        is("10.9.2.1", "10.0.0.0/8", "10.0.0.0/8", 0);
        is("2001:db8:1::5", "2001:db8:1::/48", "2001:db8::/32", 1);
        assert_eq!(at(&zones, "9.0.0.1"), None, "a group alone does not make a network ours");
    }

    #[test]
    fn a_group_may_hold_several_networks() {
        let policy = policy(&["10.1.0.0/16", "10.2.0.0/16"], &[("a", &["10.0.0.0/8"])]);
        let zones = Zones::compile(&policy, 1, 7);
        assert_eq!(at(&zones, "10.2.0.1").map(|z| z.2), Some(1));
    }

    #[test]
    fn places_are_distinct_and_inside_the_index() {
        let mut policy = policy(&["10.0.0.0/24", "10.0.0.0/25", "192.0.2.0/24"], &[]);
        policy.capacity.dense = 256 + 100;
        let zones = Zones::compile(&policy, 1, 7);
        assert_eq!(zones.dense(), 256);
        let mut seen = std::collections::BTreeSet::new();
        for low in 0..256u32 {
            let key = key(&zones, Address::v4(0x0a00_0000 + low)).unwrap();
            let Place::Dense(position) = zones.place(key) else { panic!("10.0.0.{low}") };
            assert!(position < zones.dense() && seen.insert(position));
        }
        let key = key(&zones, Address::v4(0xc000_0201)).unwrap();
        assert!(matches!(zones.place(key), Place::Hashed(_)));
    }

    /// Whoever knows the program's constants, and chooses an address by them, has flows like others.
    #[test]
    fn no_address_takes_the_difference_out_of_tags() {
        let zones = Zones::compile(&policy(&["2001:db8::/32"], &[]), 1, 0x0123_4567_89ab_cdef);
        for secret in SECRET {
            let remote = 0x2a02_u128 << 112 | u128::from(secret);
            for remote in [remote, remote << 64 | 1, u128::from(secret) << 64 | u128::from(secret)]
            {
                let tags: BTreeSet<u32> = (0..1000)
                    .map(|host| {
                        zones.flow_tag(&FlowTuple {
                            local: 0x2001_0db8 << 96 | host,
                            remote,
                            local_port: 53,
                            remote_port: 53,
                            protocol: 17,
                            side: 0,
                        })
                    })
                    .collect();
                assert!(tags.len() > 998, "{remote:x}: {} tags", tags.len());
            }
        }
    }
}
