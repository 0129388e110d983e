//! Longest-prefix match for both families: an immutable table, built once, read by every shard.
//!
//! The prefixes are flattened to disjoint ranges. IPv4 ranges are spread into a multibit table of
//! strides 16-8-8, so that a lookup is one to three loads; IPv6 is a binary search in the ranges,
//! narrowed by the top 16 bits.

use tidewall_model::{Address, Family, Prefix};

/// Value of addresses that no prefix holds.
const NONE: u32 = 0;
/// Set in a table entry that points to a chunk of 256 entries of the next stride.
const CHUNK: u32 = 1 << 31;
/// Entries of a stride of 8 bits.
const FANOUT: usize = 256;

/// Maps an address to the value of the longest prefix that holds it.
#[derive(Clone, Debug)]
pub struct PrefixTable {
    v4: Table4,
    v6: Ranges,
}

impl PrefixTable {
    /// Builds the table. Values must be below 2^31 - 1; a prefix given twice keeps the last value.
    pub fn new(entries: &[(Prefix, u32)]) -> Self {
        let of = |family| {
            let mut list: Vec<_> =
                entries.iter().copied().filter(|(p, _)| p.family() == family).collect();
            // Shorter prefixes first, so that longer ones inside them are painted over them.
            list.sort_by_key(|(prefix, _)| (prefix.first().bits, prefix.len()));
            flatten(&list)
        };
        Self { v4: Table4::new(&of(Family::V4)), v6: Ranges::new(&of(Family::V6)) }
    }

    /// Value of the longest prefix that holds the address.
    #[inline]
    pub fn lookup(&self, address: Address) -> Option<u32> {
        self.lookup_bits(address.family, address.bits)
    }

    /// The same with the parts of an address.
    #[inline]
    pub fn lookup_bits(&self, family: Family, bits: u128) -> Option<u32> {
        let entry = match family {
            Family::V4 => self.v4.lookup(bits as u32),
            Family::V6 => self.v6.lookup(bits),
        };
        entry.checked_sub(1)
    }
}

/// A range of addresses begins here, with value + 1 (0: no prefix), and ends at the next one.
type Start = (u128, u32);

/// Nested prefixes, sorted by first address and length, to starts of disjoint ranges.
fn flatten(sorted: &[(Prefix, u32)]) -> Vec<Start> {
    let mut starts: Vec<Start> = vec![(0, NONE)];
    // Prefixes that are open at the current address: their last address and value.
    let mut open: Vec<(u128, u32)> = Vec::new();
    for (prefix, value) in sorted {
        close_before(prefix.first().bits, &mut open, &mut starts);
        push_start(&mut starts, prefix.first().bits, value + 1);
        open.push((prefix.last().bits, value + 1));
    }
    close_before(u128::MAX, &mut open, &mut starts);
    starts
}

/// Ends the open prefixes whose last address is below `at`.
fn close_before(at: u128, open: &mut Vec<(u128, u32)>, starts: &mut Vec<Start>) {
    while let Some((last, _)) = open.last().copied() {
        if last >= at {
            break;
        }
        open.pop();
        push_start(starts, last + 1, open.last().map_or(NONE, |(_, value)| *value));
    }
}

fn push_start(starts: &mut Vec<Start>, at: u128, value: u32) {
    match starts.last_mut() {
        Some(last) if last.0 == at => last.1 = value,
        Some(last) if last.1 == value => {}
        _ => starts.push((at, value)),
    }
}

/// IPv4: strides of 16, 8 and 8 bits.
#[derive(Clone, Debug)]
struct Table4 {
    root: Box<[u32; 1 << 16]>,
    chunks: Vec<u32>,
}

impl Table4 {
    fn new(starts: &[Start]) -> Self {
        let mut table = Self { root: Box::new([NONE; 1 << 16]), chunks: Vec::new() };
        for (at, (first, value)) in starts.iter().enumerate() {
            let next = starts.get(at + 1).map_or(1 << 32, |(first, _)| *first as u64);
            table.paint(*first as u64, next, *value);
        }
        table
    }

    /// Gives `value` to the addresses from `first` up to, not including, `next`.
    fn paint(&mut self, first: u64, next: u64, value: u32) {
        let mut at = first;
        while at < next {
            let aligned = |bits: u32| at.is_multiple_of(1 << bits) && at + (1 << bits) <= next;
            let root = (at >> 16) as usize;
            if aligned(16) {
                self.root[root] = value;
                at += 1 << 16;
                continue;
            }
            let middle = Self::child(&mut self.chunks, &mut self.root[root]);
            let middle = middle + ((at >> 8) & 0xff) as usize;
            if aligned(8) {
                self.chunks[middle] = value;
                at += 1 << 8;
                continue;
            }
            let mut entry = self.chunks[middle];
            let leaf = Self::child(&mut self.chunks, &mut entry);
            self.chunks[middle] = entry;
            self.chunks[leaf + (at & 0xff) as usize] = value;
            at += 1;
        }
    }

    /// Position of the chunk behind an entry; makes one with the entry's value when it has none.
    fn child(chunks: &mut Vec<u32>, entry: &mut u32) -> usize {
        if *entry & CHUNK == 0 {
            let chunk = chunks.len() / FANOUT;
            chunks.resize(chunks.len() + FANOUT, *entry);
            *entry = CHUNK | chunk as u32;
        }
        (*entry & !CHUNK) as usize * FANOUT
    }

    #[inline]
    fn lookup(&self, address: u32) -> u32 {
        let entry = self.root[(address >> 16) as usize];
        if entry & CHUNK == 0 {
            return entry;
        }
        let chunk = (entry & !CHUNK) as usize * FANOUT;
        let entry = self.chunks[chunk + ((address >> 8) & 0xff) as usize];
        if entry & CHUNK == 0 {
            return entry;
        }
        let chunk = (entry & !CHUNK) as usize * FANOUT;
        self.chunks[chunk + (address & 0xff) as usize]
    }
}

/// IPv6: starts of ranges, and for each value of the top 16 bits where its starts begin.
#[derive(Clone, Debug)]
struct Ranges {
    starts: Vec<u128>,
    values: Vec<u32>,
    /// `narrow[t]..=narrow[t + 1]` holds the position of the range of any address with top bits t.
    narrow: Vec<u32>,
}

impl Ranges {
    fn new(list: &[Start]) -> Self {
        let starts: Vec<u128> = list.iter().map(|(first, _)| *first).collect();
        let values = list.iter().map(|(_, value)| *value).collect();
        let mut narrow = Vec::with_capacity((1 << 16) + 1);
        for top in 0..=(1u32 << 16) {
            let position = match u128::from(top).checked_mul(1 << 112) {
                Some(first) => starts.partition_point(|s| *s <= first) - 1,
                None => starts.len() - 1,
            };
            narrow.push(position as u32);
        }
        Self { starts, values, narrow }
    }

    #[inline]
    fn lookup(&self, address: u128) -> u32 {
        let top = (address >> 112) as usize;
        let (low, high) = (self.narrow[top] as usize, self.narrow[top + 1] as usize);
        let inner = self.starts[low + 1..=high].partition_point(|start| *start <= address);
        self.values[low + inner]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(entries: &[(Prefix, u32)], address: Address) -> Option<u32> {
        let holding = entries.iter().filter(|(prefix, _)| prefix.contains(address));
        holding.max_by_key(|(prefix, _)| prefix.len()).map(|(_, value)| *value)
    }

    fn distinct(prefixes: Vec<Prefix>) -> Vec<(Prefix, u32)> {
        let set: std::collections::BTreeSet<_> = prefixes.into_iter().collect();
        set.into_iter().enumerate().map(|(i, p)| (p, i as u32)).collect()
    }

    /// Prefixes that nest often: a few bits of the address vary.
    fn prefix() -> impl Strategy<Value = Prefix> {
        (any::<bool>(), any::<u32>(), 0u8..=128).prop_map(|(v4, bits, len)| {
            let spread = u128::from(bits & 0x0f) << 124
                | u128::from(bits >> 4 & 0xff) << 104
                | u128::from(bits >> 12 & 0x07);
            let address = if v4 {
                Address::v4((spread >> 96) as u32 | bits & 3)
            } else {
                Address::v6(spread)
            };
            Prefix::containing(address, len % (address.family.bits() + 1))
        })
    }

    proptest! {
        #[test]
        fn equals_a_naive_scan(
            prefixes in prop::collection::vec(prefix(), 0..60),
            probes in prop::collection::vec((any::<bool>(), any::<u128>()), 50),
        ) {
            let entries = distinct(prefixes);
            let table = PrefixTable::new(&entries);
            let edges = entries.iter().flat_map(|(p, _)| {
                let (first, last) = (p.first(), p.last());
                let all = u128::MAX >> (128 - u32::from(p.family().bits()));
                [first.bits, last.bits, first.bits.wrapping_sub(1) & all,
                 last.bits.wrapping_add(1) & all]
                    .map(|bits| Address { family: p.family(), bits })
            });
            let random = probes.iter().map(|(v4, bits)| {
                if *v4 { Address::v4(*bits as u32) } else { Address::v6(*bits) }
            });
            for address in edges.chain(random) {
                prop_assert_eq!(table.lookup(address), naive(&entries, address), "{}", address);
            }
        }
    }

    #[test]
    fn default_routes_and_single_hosts() {
        let entries: Vec<(Prefix, u32)> =
            ["0.0.0.0/0", "::/0", "10.0.0.1/32", "::1/128", "255.255.255.255/32"]
                .iter()
                .enumerate()
                .map(|(i, p)| (p.parse().unwrap(), i as u32))
                .collect();
        let table = PrefixTable::new(&entries);
        assert_eq!(table.lookup(Address::v4(0x0a00_0001)), Some(2));
        assert_eq!(table.lookup(Address::v4(0x0a00_0002)), Some(0));
        assert_eq!(table.lookup(Address::v4(u32::MAX)), Some(4));
        assert_eq!(table.lookup(Address::v6(1)), Some(3));
        assert_eq!(table.lookup(Address::v6(u128::MAX)), Some(1));
        assert_eq!(PrefixTable::new(&[]).lookup(Address::v4(0)), None);
    }
}
