//! Addresses of a synthetic world: our hosts inside the networks, and remote ones outside them.

use tidewall_model::{Address, Family, Prefix};

use crate::random::{Random, mix, mix2};

/// IPv4 space that no public host has (RFC 6890), and that no remote address is taken from.
const SPECIAL_V4: [(u32, u8); 11] = [
    (0x0a00_0000, 8),
    (0x6440_0000, 10),
    (0x7f00_0000, 8),
    (0xa9fe_0000, 16),
    (0xac10_0000, 12),
    (0xc000_0000, 24),
    (0xc000_0200, 24),
    (0xc0a8_0000, 16),
    (0xc612_0000, 15),
    (0xc633_6400, 24),
    (0xcb00_7100, 24),
];

/// First 16 bits of IPv6 addresses that the registries hand out.
const REGISTRIES_V6: [u128; 4] = [0x2400, 0x2600, 0x2804, 0x2a02];

/// Where remote addresses of one attack or of the background come from.
#[derive(Clone, Debug)]
pub(crate) struct Remotes {
    family: Family,
    /// How many different ones; 0: a new one each time.
    count: u32,
    /// Only from these; anywhere public when empty.
    within: Vec<Prefix>,
    /// Our networks, which no remote address may be in unless `within` says so.
    own: Vec<Prefix>,
    seed: u64,
}

impl Remotes {
    pub(crate) fn new(
        family: Family,
        count: u32,
        within: &[Prefix],
        own: &[Prefix],
        seed: u64,
    ) -> Self {
        let own = own.iter().copied().filter(|p| p.family() == family).collect();
        Self { family, count, within: within.to_vec(), own, seed }
    }

    /// One of them at random.
    pub(crate) fn draw(&self, random: &mut Random) -> u128 {
        let number = match self.count {
            0 => random.bits(),
            count => random.below(u64::from(count)),
        };
        self.numbered(number)
    }

    /// The address that belongs to a number.
    pub(crate) fn numbered(&self, number: u64) -> u128 {
        let hash = mix2(self.seed, number);
        let at = hash.checked_rem(self.within.len() as u64).unwrap_or(0);
        match (self.within.get(at as usize), self.family) {
            (Some(prefix), _) => inside(*prefix, u128::from(mix(hash)) << 64 | u128::from(hash)),
            (None, Family::V4) => self.public_v4(hash),
            (None, Family::V6) => self.public_v6(hash),
        }
    }

    fn public_v4(&self, mut hash: u64) -> u128 {
        // One draw in six is refused: 32 in a row never are.
        for _ in 0..32 {
            let address = hash as u32;
            let unicast = (0x0100_0000..0xe000_0000).contains(&address);
            let special = SPECIAL_V4
                .iter()
                .any(|(network, len)| (address ^ network).leading_zeros() >= u32::from(*len));
            if unicast && !special && self.is_remote(Address::v4(address)) {
                return u128::from(address);
            }
            hash = mix(hash);
        }
        u128::from(0x0100_0000 | (hash as u32 >> 8))
    }

    fn public_v6(&self, mut hash: u64) -> u128 {
        for _ in 0..32 {
            let registry = REGISTRIES_V6.get((hash & 3) as usize).copied().unwrap_or(0x2400);
            let network = u128::from(hash >> 16) << 64;
            let address = registry << 112 | network | u128::from(mix(hash));
            if self.is_remote(Address::v6(address)) {
                return address;
            }
            hash = mix(hash);
        }
        REGISTRIES_V6[0] << 112 | u128::from(hash)
    }

    fn is_remote(&self, address: Address) -> bool {
        !self.own.iter().any(|network| network.contains(address))
    }
}

/// The address at `offset` in a prefix, counted around its end.
pub(crate) fn inside(prefix: Prefix, offset: u128) -> u128 {
    prefix.first().bits | (offset & (prefix.size().wrapping_sub(1)))
}

/// `count` different hosts (fewer when there is no room) in the networks of a family, spread
/// evenly over the networks and scattered in each, network and broadcast addresses left out.
pub(crate) fn our_hosts(networks: &[Prefix], family: Family, count: u32) -> Vec<Address> {
    let mut rooms: Vec<(Prefix, u64, u64)> = networks
        .iter()
        .filter(|p| p.family() == family)
        .map(|p| (*p, u64::try_from(p.size()).unwrap_or(u64::MAX).min(1 << 32), 0))
        .collect();
    let mut hosts = Vec::with_capacity(count as usize);
    while hosts.len() < count as usize {
        let before = hosts.len();
        for (prefix, size, next) in &mut rooms {
            if hosts.len() == count as usize {
                break;
            }
            while *next < *size {
                let offset = scattered(*next, *size);
                *next += 1;
                if *size <= 2 || (offset != 0 && offset != *size - 1) {
                    hosts.push(Address {
                        family,
                        bits: inside(*prefix, host_part(*prefix, offset)),
                    });
                    break;
                }
            }
        }
        if hosts.len() == before {
            break;
        }
    }
    hosts
}

/// A permutation of 0..size for a power of two: an odd factor is invertible.
fn scattered(n: u64, size: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b1).wrapping_add(11) & (size - 1)
}

/// IPv6 hosts sit in sixteen /64 of a shorter prefix; elsewhere the number is the host part.
fn host_part(prefix: Prefix, n: u64) -> u128 {
    if prefix.family() == Family::V6 && prefix.len() <= 60 {
        u128::from(n % 16) << 64 | u128::from(n / 16 + 1)
    } else {
        u128::from(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn p(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn our_hosts_are_different_and_inside() {
        let networks = [p("198.51.100.0/24"), p("10.20.0.0/16"), p("2001:db8:20::/48")];
        let hosts = our_hosts(&networks, Family::V4, 1000);
        assert_eq!(hosts.iter().collect::<BTreeSet<_>>().len(), 1000);
        assert_eq!(hosts.iter().filter(|h| networks[0].contains(**h)).count(), 254);
        assert_eq!(hosts.iter().filter(|h| networks[1].contains(**h)).count(), 746);
        assert!(!hosts.contains(&networks[0].first()) && !hosts.contains(&networks[0].last()));
        let v6 = our_hosts(&networks, Family::V6, 300);
        assert_eq!(v6.iter().collect::<BTreeSet<_>>().len(), 300);
        assert!(v6.iter().all(|h| networks[2].contains(*h)));
        assert_eq!(our_hosts(&[p("192.0.2.1")], Family::V4, 5).len(), 1);
        assert_eq!(our_hosts(&[p("192.0.2.0/30")], Family::V4, 5).len(), 2);
        assert!(our_hosts(&[], Family::V6, 5).is_empty());
    }

    #[test]
    fn remotes_are_public_and_counted() {
        let own = [p("8.0.0.0/6"), p("2a02::/16")];
        let mut random = Random::new(3);
        let anywhere = Remotes::new(Family::V4, 0, &[], &own, 1);
        let spoofed: BTreeSet<u128> = (0..10_000).map(|_| anywhere.draw(&mut random)).collect();
        assert!(spoofed.len() > 9_990);
        for address in spoofed {
            let address = Address::v4(address as u32);
            assert!(!own[0].contains(address) && !p("10.0.0.0/8").contains(address), "{address}");
            assert!(!p("224.0.0.0/3").contains(address) && !p("0.0.0.0/8").contains(address));
            assert!(!p("203.0.113.0/24").contains(address));
        }
        let few = Remotes::new(Family::V6, 20, &[], &own, 1);
        let drawn: BTreeSet<u128> = (0..1_000).map(|_| few.draw(&mut random)).collect();
        assert_eq!(drawn.len(), 20);
        assert!(drawn.iter().all(|a| !own[1].contains(Address::v6(*a))));
        let within = [p("192.0.2.0/25"), p("10.9.0.0/16")];
        let narrow = Remotes::new(Family::V4, 0, &within, &own, 1);
        let hits: Vec<u128> = (0..1_000).map(|_| narrow.draw(&mut random)).collect();
        for prefix in within {
            let inside = hits.iter().filter(|a| prefix.contains(Address::v4(**a as u32))).count();
            assert!((400..600).contains(&inside), "{prefix}: {inside}");
        }
    }
}
