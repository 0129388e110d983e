//! Longest-prefix match for both families: an immutable table, built once, read by every shard.
//!
//! The prefixes are flattened to disjoint ranges. IPv4 ranges are spread into a multibit table of
//! strides 16-8-8, so that a lookup is one to three loads. IPv6 looks for the last range that
//! begins at or before the top 64 bits, and, only where longer prefixes lie, for the low 64 bits
//! in the same way. That search narrows by tables that fit the ranges: each covers just the span
//! of its ranges with two entries a range, and where many fall into one entry there is another
//! table. So neither a common front of all prefixes nor a cluster of them makes it slow, and its
//! memory is bounded: a table's span is a fraction of its parent's.

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

    /// The same for two addresses of one family, as value + 1, or 0 where no prefix holds it.
    #[inline]
    pub fn lookup_pair(&self, family: Family, bits: [u128; 2]) -> [u32; 2] {
        match family {
            Family::V4 => bits.map(|bits| self.v4.lookup(bits as u32)),
            Family::V6 => bits.map(|bits| self.v6.lookup(bits)),
        }
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
    #[expect(clippy::large_stack_arrays, reason = "a fixed size spares the look-up its check")]
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

/// IPv6: ranges by the top halves of their first addresses, and by the low halves where needed.
#[derive(Clone, Debug)]
struct Ranges {
    search: Search,
    /// Where the search by top halves begins.
    top: u32,
    /// By position in the search: the value, or `CHUNK` and a position in `inner`.
    values: Vec<u32>,
    /// Where the searches by low halves begin.
    inner: Vec<u32>,
}

impl Ranges {
    fn new(starts: &[Start]) -> Self {
        let high = |start: &Start| (start.0 >> 64) as u64;
        let groups: Vec<&[Start]> = starts.chunk_by(|a, b| high(a) == high(b)).collect();
        // One range for each top half that something starts in. Behind a top half with ranges of
        // its own, the last of these goes on.
        let mut tops: Vec<(u64, &[Start], u32)> = Vec::with_capacity(groups.len());
        let mut before = NONE;
        for group in groups {
            let first = high(&group[0]);
            match tops.last() {
                Some((top, inner, _)) if !inner.is_empty() && first - top > 1 => {
                    tops.push((top + 1, &[], before));
                }
                _ => {}
            }
            let whole = group.len() == 1 && group[0].0 as u64 == 0;
            tops.push((
                first,
                if whole { &[] } else { group },
                if whole { group[0].1 } else { before },
            ));
            before = group[group.len() - 1].1;
        }
        if let Some((top, inner, _)) = tops.last()
            && !inner.is_empty()
            && *top < u64::MAX
        {
            tops.push((top + 1, &[], before));
        }
        let mut ranges =
            Self { search: Search::default(), top: 0, values: Vec::new(), inner: Vec::new() };
        let keys: Vec<u64> = tops.iter().map(|(top, ..)| *top).collect();
        ranges.values = tops.iter().map(|(_, _, value)| *value).collect();
        ranges.top = ranges.search.add(&keys);
        for (at, (_, group, before)) in tops.iter().enumerate().filter(|(_, t)| !t.1.is_empty()) {
            let mut low: Vec<(u64, u32)> = vec![(0, *before)];
            for (first, value) in *group {
                low.retain(|(key, _)| *key != *first as u64);
                low.push((*first as u64, *value));
            }
            let keys: Vec<u64> = low.iter().map(|(key, _)| *key).collect();
            ranges.values.extend(low.iter().map(|(_, value)| *value));
            ranges.values[at] = CHUNK | ranges.inner.len() as u32;
            ranges.inner.push(ranges.search.add(&keys));
        }
        ranges
    }

    #[inline]
    fn lookup(&self, address: u128) -> u32 {
        let value = self.values[self.search.find(self.top, (address >> 64) as u64)];
        if value & CHUNK == 0 {
            return value;
        }
        let begin = self.inner[(value & !CHUNK) as usize];
        self.values[self.search.find(begin, address as u64)]
    }
}

/// Most keys that are looked at one after the other.
const RUN: usize = 8;

/// Finds the last key that is not above a given one, in one of several lists. A list ascends from
/// 0, so a key that is not above the one before it begins another list.
#[derive(Clone, Debug, Default)]
struct Search {
    keys: Vec<u64>,
    tables: Vec<Narrow>,
    /// Where to look on: see [`Search::narrow`].
    entries: Vec<u32>,
}

/// A table that tells keys apart by as many of their bits as it has entries for.
#[derive(Clone, Copy, Debug)]
struct Narrow {
    /// Its first key.
    base: u64,
    shift: u32,
    /// Where its entries begin.
    begin: u32,
    /// Position of its last entry, which also answers for all keys behind it.
    last: u32,
}

impl Search {
    /// Adds a list; gives where its search begins.
    fn add(&mut self, keys: &[u64]) -> u32 {
        let begin = self.keys.len();
        self.keys.extend_from_slice(keys);
        self.narrow(begin + 1, self.keys.len())
    }

    /// Prepares the search among the keys from `first` up to, not including, `end`, and the one
    /// before them: gives the position of that one when a walk over the others is short, and
    /// `CHUNK` and the number of a table when it is not.
    fn narrow(&mut self, first: usize, end: usize) -> u32 {
        let count = end - first;
        if count <= RUN {
            return first as u32 - 1;
        }
        let base = self.keys[first];
        let span = self.keys[end - 1] - base;
        let bits = (2 * count).next_power_of_two().trailing_zeros();
        let shift = (u64::BITS - span.leading_zeros()).saturating_sub(bits);
        let (last, begin) = ((span >> shift) as u32, self.entries.len());
        let table = self.tables.len() as u32;
        self.tables.push(Narrow { base, shift, begin: begin as u32, last });
        self.entries.resize(begin + last as usize + 1, 0);
        let mut low = first;
        for entry in 0..=last {
            let inside = |key: &u64| (key - base) >> shift == u64::from(entry);
            let high = low + self.keys[low..end].iter().take_while(|key| inside(key)).count();
            self.entries[begin + entry as usize] = self.narrow(low, high);
            low = high;
        }
        CHUNK | table
    }

    /// Position of the last key of a list that is not above `key`.
    #[inline]
    fn find(&self, begin: u32, key: u64) -> usize {
        let mut at = begin;
        while at & CHUNK != 0 {
            let table = &self.tables[(at & !CHUNK) as usize];
            let entry = (key.saturating_sub(table.base) >> table.shift).min(u64::from(table.last));
            at = self.entries[table.begin as usize + entry as usize];
        }
        let mut at = at as usize;
        let mut here = self.keys[at];
        while let Some(next) = self.keys.get(at + 1)
            && *next <= key
            && *next > here
        {
            here = *next;
            at += 1;
        }
        at
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

    /// Clusters of every depth: long runs inside one /64, one /48 and one /12.
    #[test]
    fn equals_a_naive_scan_where_prefixes_crowd() {
        let base = 0x2001_0db8_u128 << 96;
        let mut prefixes = vec![Prefix::containing(Address::v6(0), 0)];
        for n in 0..40u128 {
            let at = |bits: u128, len| Prefix::containing(Address::v6(bits), len);
            prefixes.push(at(base | n << 80, 48));
            prefixes.push(at(base | 7 << 80 | (n * n) << 64, 64));
            prefixes.push(at(base | 7 << 80 | n << 1, 127));
            prefixes.push(at(base | 9 << 80 | n << 90, 128));
            prefixes.push(at(u128::MAX - (n << 60), 70));
            prefixes.push(at(n << 116, 20));
        }
        let entries = distinct(prefixes);
        let table = PrefixTable::new(&entries);
        for (prefix, _) in &entries {
            let (first, last) = (prefix.first().bits, prefix.last().bits);
            for bits in [first, last, first.wrapping_sub(1), last.wrapping_add(1), first | 1 << 63]
            {
                let address = Address::v6(bits);
                assert_eq!(table.lookup(address), naive(&entries, address), "{address}");
            }
        }
        let (entries, keys) = (table.v6.search.entries.len(), table.v6.search.keys.len());
        assert!(table.v6.search.tables.len() > 3, "{table:?}");
        assert!(entries <= 12 * keys, "{entries} entries for {keys} keys");
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
