//! What is missing from an exporter's datagrams, by the numbers in their headers (modulo 2³²).
//! Each header numbers what came before it, datagrams (sFlow, NetFlow v9) or flows (NetFlow v5,
//! IPFIX), so it tells how much there should have been.
//!
//! A jump ahead is a gap, and its units are lost until a late datagram brings them. What is no
//! gap: a restart (the exporter's age fell, or numbers far from the expected ones continue each
//! other), a datagram that comes twice, and exporters that count something else than their
//! protocol says.

use super::tally::Tally;

/// Gaps that a late datagram may still fill. A datagram that is overtaken by at most half as many
/// is always given back.
const GAPS: usize = 16;

/// Units by which an old number may be behind and be a repetition: beyond it, it is a restart.
const LATE: u32 = 4096;

/// A jump ahead is a gap up to so many units, or as many as came in the last minutes.
const PLAUSIBLE: u64 = 65_536;

/// Datagrams in line with each other that prove a restart: where the number is far off, and where
/// they could be repetitions.
const PROOF_FAR: u8 = 2;
const PROOF_NEAR: u8 = 8;

/// Datagrams whose numbers fit another way of counting that prove it.
const PROOF_NUMBERING: u8 = 16;

/// What sequence numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceUnit {
    /// Datagrams.
    Datagrams,
    /// Flow records.
    Flows,
}

impl SequenceUnit {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Datagrams => "datagrams",
            Self::Flows => "flows",
        }
    }
}

/// How an exporter numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Numbering {
    /// As its protocol says.
    #[default]
    Standard,
    /// It counts datagrams, where the protocol counts flows. It is read like that.
    Datagrams,
    /// It counts flows, where the protocol counts datagrams. Nothing is said about loss.
    Flows,
}

/// Numbers that did not come: from the first on, so many.
#[derive(Clone, Copy, Debug, Default)]
struct Gap {
    first: u32,
    units: u32,
}

/// Numbers that fit neither the expected ones nor a gap.
#[derive(Clone, Copy, Debug, Default)]
struct Stray {
    /// What would come next if the exporter had restarted.
    next: u32,
    /// Datagrams that continued each other.
    run: u8,
}

/// Of one exporter.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    started: bool,
    /// The number that comes next, or the least that it can be.
    next: u32,
    /// Is `next` known exactly?
    exact: bool,
    flows: bool,
    numbering: Numbering,
    /// Datagrams in a row whose numbers would be right if the exporter counted otherwise.
    suspicion: u8,
    /// Units that were called lost in that time.
    suspected: u64,
    /// The last datagram's number, and what it should have added to it.
    last: (u32, Option<u32>),
    stray: Stray,
    gaps: [Gap; GAPS],
    open: u8,
    /// What was to come next when this stretch of time began, and the one before.
    began: [Option<u32>; 2],
    pub(super) received: Tally,
    pub(super) lost: Tally,
    pub(super) gaps_seen: u64,
    /// Datagrams that were late, came twice, or fit nowhere.
    pub(super) disorder: Tally,
    pub(super) restarts: Tally,
}

impl Sequence {
    /// A datagram's number, and by how much it will have grown in the next one. `restarted`: the
    /// exporter's age fell. `records`: how many came since the last datagram's number.
    #[inline]
    pub(super) fn note(&mut self, number: u32, units: Option<u32>, restarted: bool, records: u64) {
        self.flows |= units.is_some_and(|units| units != 1);
        let units = if self.numbering == Numbering::Datagrams { Some(1) } else { units };
        if number == self.next && self.exact && self.suspicion == 0 {
            self.accept(number, units);
        } else {
            self.unexpected(number, units, restarted, records);
        }
        self.last = (number, units);
    }

    /// A stretch of time is over.
    pub(super) fn turn(&mut self) {
        for tally in [&mut self.received, &mut self.lost, &mut self.disorder, &mut self.restarts] {
            tally.turn();
        }
        self.began = [self.next(), self.began[0]];
    }

    /// The exporter's datagrams may have gone elsewhere since the last number: the next one is as
    /// good as the first. It opens no gap, and is no restart.
    pub(super) fn begin_anew(&mut self) {
        (self.started, self.exact) = (false, false);
        (self.open, self.stray.run) = (0, 0);
    }

    /// The number that comes next; nothing before the first one.
    pub(super) fn next(&self) -> Option<u32> {
        self.started.then_some(self.next)
    }

    /// The same when this stretch of time began, and the one before.
    pub(super) const fn began(&self) -> [Option<u32>; 2] {
        self.began
    }

    pub(super) fn unit(&self) -> SequenceUnit {
        match self.numbering {
            Numbering::Standard if self.flows => SequenceUnit::Flows,
            Numbering::Flows => SequenceUnit::Flows,
            Numbering::Standard | Numbering::Datagrams => SequenceUnit::Datagrams,
        }
    }

    pub(super) const fn numbering(&self) -> Numbering {
        self.numbering
    }

    #[inline]
    fn accept(&mut self, number: u32, units: Option<u32>) {
        self.next = number.wrapping_add(units.unwrap_or(0));
        self.exact = units.is_some();
        self.received.add(u64::from(units.unwrap_or(0)));
        self.stray.run = 0;
    }

    fn unexpected(&mut self, number: u32, units: Option<u32>, restarted: bool, records: u64) {
        let ahead = number.wrapping_sub(self.next);
        if !self.started {
            self.started = true;
            self.accept(number, units);
        } else if restarted && ahead != 0 {
            self.restart(number, units);
        } else if self.numbering == Numbering::Flows {
            self.accept(number, units);
        } else if self.counts_otherwise(number, records) {
            self.accept(number, Some(1));
        } else if u64::from(ahead) <= PLAUSIBLE.max(self.received.recent()).min(1 << 31) {
            if self.exact && ahead != 0 {
                self.open_gap(Gap { first: self.next, units: ahead });
            }
            self.accept(number, units);
        } else {
            self.disorder.add(1);
            if !self.fill(number, units) {
                self.note_stray(number, units);
            }
        }
    }

    fn restart(&mut self, number: u32, units: Option<u32>) {
        self.restarts.add(1);
        self.open = 0;
        self.numbering = Numbering::Standard;
        (self.suspicion, self.suspected) = (0, 0);
        self.accept(number, units);
    }

    /// Do the numbers fit another way of counting, for long enough to believe it?
    fn counts_otherwise(&mut self, number: u32, records: u64) -> bool {
        let step = number.wrapping_sub(self.last.0);
        if self.numbering != Numbering::Standard {
            return false;
        }
        let (fits, instead) = match self.last.1 {
            Some(1) if !self.flows => (u64::from(step) == records, Numbering::Flows),
            Some(units) if units != 1 => (step == 1, Numbering::Datagrams),
            _ => return false,
        };
        if !fits {
            (self.suspicion, self.suspected) = (0, 0);
            return false;
        }
        // What fits both ways proves nothing.
        if number != self.next || !self.exact {
            self.suspicion += 1;
        }
        if self.suspicion < PROOF_NUMBERING {
            return false;
        }
        self.lost.take_back(self.suspected);
        (self.suspicion, self.suspected, self.open) = (0, 0, 0);
        self.numbering = instead;
        true
    }

    fn open_gap(&mut self, gap: Gap) {
        self.gaps_seen = self.gaps_seen.saturating_add(1);
        self.lost.add(u64::from(gap.units));
        if self.suspicion > 0 {
            self.suspected = self.suspected.saturating_add(u64::from(gap.units));
        }
        self.insert_gap(usize::from(self.open), gap);
    }

    /// Puts a gap at its place; the oldest is given up when there are too many.
    fn insert_gap(&mut self, at: usize, gap: Gap) {
        let mut at = at;
        if usize::from(self.open) == GAPS {
            self.remove_gap(0);
            at = at.saturating_sub(1);
        }
        if let Some(rest) = self.gaps.get_mut(at..) {
            rest.rotate_right(1);
        }
        if let Some(slot) = self.gaps.get_mut(at) {
            *slot = gap;
            self.open += 1;
        }
    }

    fn remove_gap(&mut self, at: usize) {
        if let Some(rest) = self.gaps.get_mut(at..usize::from(self.open)) {
            rest.rotate_left(1);
            self.open -= 1;
        }
    }

    /// A late datagram: if it is from a gap, what it brings is no longer lost.
    fn fill(&mut self, number: u32, units: Option<u32>) -> bool {
        let open = self.gaps.iter().take(usize::from(self.open));
        let found = open.enumerate().find_map(|(at, gap)| {
            let before = number.wrapping_sub(gap.first);
            (before < gap.units).then_some((at, *gap, before))
        });
        let Some((at, gap, before)) = found else { return false };
        let room = gap.units - before;
        // Where it is not known how much it brings, nothing behind it is called lost.
        let brought = units.unwrap_or(room).min(room);
        self.lost.take_back(u64::from(brought));
        self.received.add(u64::from(units.unwrap_or(0)));
        self.remove_gap(at);
        let behind = room - brought;
        if behind > 0 {
            let first = number.wrapping_add(brought);
            self.insert_gap(at, Gap { first, units: behind });
        }
        if before > 0 {
            // When the oldest had to go, everything is one place further to the front.
            let at = at.min(usize::from(self.open));
            self.insert_gap(at, Gap { first: gap.first, units: before });
        }
        true
    }

    /// A number that fits nowhere: a repetition, another process, or the first after a restart.
    fn note_stray(&mut self, number: u32, units: Option<u32>) {
        let in_line = self.stray.run > 0 && number.wrapping_sub(self.stray.next) <= LATE;
        self.stray.run = if in_line { self.stray.run + 1 } else { 1 };
        self.stray.next = number.wrapping_add(units.unwrap_or(0));
        let near = self.next.wrapping_sub(number) <= LATE;
        if self.stray.run >= if near { PROOF_NEAR } else { PROOF_FAR } {
            self.disorder.take_back(u64::from(self.stray.run));
            self.restart(number, units);
        }
    }
}

#[cfg(test)]
mod tests;
