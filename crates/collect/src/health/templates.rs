//! Sets of data that came without their template, until the template comes.

use tidewall_model::Timestamp;

/// Templates listed as missing at most.
const LISTED: usize = 16;

/// A template that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingTemplate {
    /// Its number.
    pub id: u16,
    /// When data for it came first.
    pub since: Timestamp,
    /// When it came last.
    pub last: Timestamp,
    /// Sets of data that came.
    pub sets: u64,
}

/// All that are missing.
#[derive(Clone, Debug, Default)]
pub(super) struct MissingTemplates(Vec<MissingTemplate>);

impl MissingTemplates {
    /// Data came for which there is no template. In a full list the one gives way that was not
    /// heard of for longest.
    pub(super) fn note(&mut self, id: u16, now: Timestamp) {
        if let Some(missing) = self.0.iter_mut().find(|missing| missing.id == id) {
            missing.last = missing.last.max(now);
            missing.sets = missing.sets.saturating_add(1);
            return;
        }
        let new = MissingTemplate { id, since: now, last: now, sets: 1 };
        if self.0.len() < LISTED {
            self.0.push(new);
        } else if let Some(stalest) = self.0.iter_mut().min_by_key(|missing| missing.last) {
            *stalest = new;
        }
    }

    /// A template came.
    #[inline]
    pub(super) fn found(&mut self, id: u16) {
        if !self.0.is_empty() {
            self.0.retain(|missing| missing.id != id);
        }
    }

    /// By number.
    pub(super) fn sorted(&self) -> Vec<MissingTemplate> {
        let mut all = self.0.clone();
        all.sort_unstable_by_key(|missing| missing.id);
        all
    }
}

/// Bytes that the list takes at most.
#[cfg(test)]
pub(super) const HEAP: usize = LISTED * size_of::<MissingTemplate>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_missing_until_it_comes() {
        let at = |seconds| Timestamp::from_parts(seconds, 0);
        let mut missing = MissingTemplates::default();
        missing.note(260, at(10));
        missing.note(259, at(11));
        missing.note(260, at(12));
        let of_260 = MissingTemplate { id: 260, since: at(10), last: at(12), sets: 2 };
        assert_eq!(missing.sorted().last(), Some(&of_260));
        missing.found(260);
        assert_eq!(missing.sorted().iter().map(|m| m.id).collect::<Vec<_>>(), [259]);
        missing.note(260, at(20));
        assert_eq!(missing.sorted().last().map(|m| (m.since, m.sets)), Some((at(20), 1)));
    }

    #[test]
    fn the_list_is_bounded_and_keeps_what_is_fresh() {
        let mut missing = MissingTemplates::default();
        for id in 0..1000_u16 {
            missing.note(300 + id, Timestamp(u64::from(id)));
        }
        let ids: Vec<u16> = missing.sorted().iter().map(|m| m.id).collect();
        assert_eq!(ids, (1300 - LISTED as u16..1300).collect::<Vec<_>>());
    }
}
