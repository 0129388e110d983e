//! A small table by index (of an interface, of a data source): bounded, never deleted from, found
//! in a probe or two.

/// Entries at most.
pub(super) const ENTRIES: usize = 128;

/// Twice the entries, so that a search soon meets an empty place.
const PLACES: usize = 256;
const EMPTY: u8 = u8::MAX;

const _: () = assert!(ENTRIES < EMPTY as usize && ENTRIES * 2 <= PLACES);

/// Values by index, in the order of their arrival.
#[derive(Clone, Debug)]
pub(super) struct Table<T> {
    places: [u8; PLACES],
    entries: Vec<(u32, T)>,
    /// The index found last and its entry: samples of one interface come in runs.
    last: (u32, u8),
    refused: u64,
}

impl<T> Table<T> {
    pub(super) const fn new() -> Self {
        Self { places: [EMPTY; PLACES], entries: Vec::new(), last: (0, EMPTY), refused: 0 }
    }

    /// What is there under an index.
    #[inline]
    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        if self.last.0 != index || self.last.1 == EMPTY {
            self.last = (index, self.places.get(self.place(index)).copied()?);
        }
        self.entries.get_mut(usize::from(self.last.1)).map(|(_, value)| value)
    }

    /// What is there under an index, or a new value; `None`, and counted, when there are `room`
    /// entries already.
    pub(super) fn admit(
        &mut self,
        index: u32,
        room: usize,
        make: impl FnOnce() -> T,
    ) -> Option<&mut T> {
        let place = self.place(index);
        let at = self.places.get_mut(place)?;
        if *at == EMPTY {
            if self.entries.len() >= room.min(ENTRIES) {
                self.refused = self.refused.saturating_add(1);
                return None;
            }
            *at = self.entries.len() as u8;
            self.entries.push((index, make()));
        }
        let at = usize::from(*at);
        self.entries.get_mut(at).map(|(_, value)| value)
    }

    /// All, by index.
    pub(super) fn sorted(&self) -> Vec<(u32, &T)> {
        let mut all: Vec<_> = self.entries.iter().map(|(index, value)| (*index, value)).collect();
        all.sort_unstable_by_key(|(index, _)| *index);
        all
    }

    /// How often there was no room.
    pub(super) const fn refused(&self) -> u64 {
        self.refused
    }

    /// Where an index is, or would be.
    #[inline]
    fn place(&self, index: u32) -> usize {
        // The golden ratio scatters neighbours, and indexes that differ in their high bits only.
        let mut place = (index.wrapping_mul(0x9e37_79b9) >> 24) as usize;
        for _ in 0..ENTRIES {
            let at = self.places.get(place).copied().unwrap_or(EMPTY);
            if self.entries.get(usize::from(at)).is_none_or(|(there, _)| *there == index) {
                break;
            }
            place = (place + 1) % PLACES;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_is_found_and_no_other() {
        let mut table = Table::new();
        let index = |n: u32| n.wrapping_mul(0x0101_0000).wrapping_add(n % 3);
        for n in 0..ENTRIES as u32 {
            assert_eq!(table.admit(index(n), usize::MAX, || n), Some(&mut n.clone()));
        }
        for n in 0..ENTRIES as u32 {
            assert_eq!(table.get_mut(index(n)).copied(), Some(n));
        }
        assert_eq!(table.get_mut(77_777), None);
        assert_eq!(table.admit(77_777, usize::MAX, || 0), None, "full");
        assert_eq!(table.admit(index(5), 0, || 0).copied(), Some(5), "known ones need no room");
        assert_eq!(table.refused(), 1);
        let sorted = table.sorted();
        assert!(sorted.is_sorted_by_key(|(index, _)| *index) && sorted.len() == ENTRIES);
    }

    #[test]
    fn indexes_that_fall_on_one_place_are_told_apart() {
        // Inverse of the multiplier: these all scatter to place 0.
        let inverse = (0..5).fold(1_u32, |x, _| {
            x.wrapping_mul(2_u32.wrapping_sub(0x9e37_79b9_u32.wrapping_mul(x)))
        });
        let mut table = Table::new();
        for n in 0..ENTRIES as u32 {
            table.admit(n.wrapping_mul(inverse), usize::MAX, || n).unwrap();
        }
        for n in 0..ENTRIES as u32 {
            assert_eq!(table.get_mut(n.wrapping_mul(inverse)).copied(), Some(n));
        }
        assert_eq!(table.get_mut(200_u32.wrapping_mul(inverse)), None);
    }
}
