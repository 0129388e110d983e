//! Sets of data that came before their template, as happens when an exporter or we have just
//! started. They wait for a short time, in room that is bounded and reserved at the start.

#[cfg(test)]
mod tests;

use tidewall_model::Timestamp;

use super::TemplateLimits;
use crate::ExporterIndex;

/// The sets that wait, each with what its records need from the header of its datagram.
#[derive(Debug)]
pub struct Held<X> {
    limits: TemplateLimits,
    /// By [`ExporterIndex`], each in order of arrival.
    waiting: Vec<Vec<Waiting>>,
    contents: Vec<Option<Contents<X>>>,
    /// Places in `contents` that hold nothing.
    vacant: Vec<u32>,
    blocks: Blocks,
    /// One set's bytes, put together.
    set: Vec<u8>,
    /// No set's time is over before.
    next_end: Timestamp,
}

/// What is looked at to find a set.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    since: Timestamp,
    /// Its contents' place.
    place: u32,
    id: u16,
}

#[derive(Debug)]
struct Contents<X> {
    context: X,
    length: usize,
    first_block: u32,
}

impl<X: Copy> Held<X> {
    /// With no set. The memory is reserved, and touched when it is needed.
    pub fn new(limits: &TemplateLimits) -> Self {
        Self {
            limits: *limits,
            waiting: Vec::new(),
            contents: Vec::with_capacity(limits.held_sets),
            vacant: Vec::with_capacity(limits.held_sets),
            blocks: Blocks::new(limits.held_bytes),
            set: Vec::new(),
            next_end: Timestamp(u64::MAX),
        }
    }

    /// Keeps a set; `id` is its template's. False: there is no room, and it is not kept.
    pub fn hold(
        &mut self,
        exporter: ExporterIndex,
        id: u16,
        context: X,
        bytes: &[u8],
        now: Timestamp,
    ) -> bool {
        let own = self.waiting.get(exporter.0).map_or(0, Vec::len);
        if own >= self.limits.held_per_exporter || self.len() >= self.limits.held_sets {
            return false;
        }
        let Some(first_block) = self.blocks.store(bytes) else { return false };
        let contents = Some(Contents { context, length: bytes.len(), first_block });
        let place = self.vacant.pop().unwrap_or(self.contents.len() as u32);
        match self.contents.get_mut(place as usize) {
            Some(vacant) => *vacant = contents,
            None => self.contents.push(contents),
        }
        if self.waiting.len() <= exporter.0 {
            self.waiting.resize_with(exporter.0 + 1, Vec::new);
        }
        if let Some(own) = self.waiting.get_mut(exporter.0) {
            own.push(Waiting { since: now, place, id });
        }
        self.next_end = self.next_end.min(now + self.limits.held_for);
        true
    }

    /// The template has come: gives its sets in order of arrival, and says how many.
    pub fn release(
        &mut self,
        exporter: ExporterIndex,
        id: u16,
        mut each: impl FnMut(&X, &[u8]),
    ) -> usize {
        self.remove(exporter, |set| set.id == id, |_, context, bytes| each(context, bytes))
    }

    /// Gives up those that have waited long enough: calls `each` with the exporter, the template's
    /// id and the context of every one, and says how many. Costs nothing until one may have.
    pub fn expire(
        &mut self,
        now: Timestamp,
        mut each: impl FnMut(ExporterIndex, u16, &X),
    ) -> usize {
        if now < self.next_end {
            return 0;
        }
        let held_for = self.limits.held_for;
        let (mut oldest, mut expired) = (Timestamp(u64::MAX), 0);
        for exporter in (0..self.waiting.len()).map(ExporterIndex) {
            let over = |set: &Waiting| {
                let over = now.since(set.since) >= held_for;
                if !over {
                    oldest = oldest.min(set.since);
                }
                over
            };
            expired += self.remove(exporter, over, |id, context, _| each(exporter, id, context));
        }
        self.next_end = oldest + held_for;
        expired
    }

    /// The exporter gave way to another. How many sets did it have here?
    pub fn forget(&mut self, exporter: ExporterIndex) -> usize {
        self.remove(exporter, |_| true, |_, _, _| {})
    }

    fn remove(
        &mut self,
        exporter: ExporterIndex,
        mut gone: impl FnMut(&Waiting) -> bool,
        mut each: impl FnMut(u16, &X, &[u8]),
    ) -> usize {
        let Some(waiting) = self.waiting.get_mut(exporter.0) else { return 0 };
        let before = waiting.len();
        waiting.retain(|set| {
            if !gone(set) {
                return true;
            }
            let contents = self.contents.get_mut(set.place as usize).and_then(Option::take);
            if let Some(Contents { context, length, first_block }) = contents {
                self.vacant.push(set.place);
                self.blocks.take(first_block, length, &mut self.set);
                each(set.id, &context, &self.set);
            }
            false
        });
        let removed = before - waiting.len();
        // Exporters that had many once must not keep the room for them.
        if waiting.capacity() > 4 * waiting.len() {
            waiting.shrink_to(2 * waiting.len());
        }
        removed
    }

    /// Sets that wait.
    pub fn len(&self) -> usize {
        self.contents.len() - self.vacant.len()
    }

    /// Does none wait?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes of sets, in chains of blocks: whichever sets go, what they leave can be used whole.
#[derive(Debug)]
struct Blocks {
    bytes: Box<[u8]>,
    /// For each block the next of its chain.
    next: Box<[u32]>,
    /// Chain of the blocks that were used and are free again.
    free: u32,
    /// Those from here on were never used.
    fresh: u32,
    left: usize,
}

impl Blocks {
    /// Most sets fill the datagrams of an Ethernet: three blocks.
    const SIZE: usize = 512;
    /// The end of a chain.
    const NONE: u32 = u32::MAX;

    fn new(most_bytes: usize) -> Self {
        let count = (most_bytes / Self::SIZE).min(Self::NONE as usize);
        Self {
            bytes: vec![0; count * Self::SIZE].into(),
            next: vec![0; count].into(),
            free: Self::NONE,
            fresh: 0,
            left: count,
        }
    }

    /// Copies bytes into a chain and gives its first block, when there are blocks enough.
    fn store(&mut self, bytes: &[u8]) -> Option<u32> {
        let chunks = bytes.chunks(Self::SIZE);
        if chunks.len() > self.left {
            return None;
        }
        let mut first = Self::NONE;
        for chunk in chunks.rev() {
            let block = self.allocate();
            if let Some(room) = self.block_mut(block).and_then(|room| room.get_mut(..chunk.len())) {
                room.copy_from_slice(chunk);
            }
            self.link(block, first);
            first = block;
        }
        Some(first)
    }

    /// Copies a chain of so many bytes to `set`, and frees it.
    fn take(&mut self, first: u32, length: usize, set: &mut Vec<u8>) {
        set.clear();
        let mut block = first;
        while let Some(bytes) = self.block_mut(block) {
            set.extend_from_slice(bytes);
            let next = self.next_of(block);
            self.link(block, self.free);
            self.free = block;
            self.left += 1;
            block = next;
        }
        set.truncate(length);
    }

    /// A block without contents. The caller has seen that one is left.
    fn allocate(&mut self) -> u32 {
        self.left -= 1;
        let block = self.free;
        if block == Self::NONE {
            self.fresh += 1;
            return self.fresh - 1;
        }
        self.free = self.next_of(block);
        block
    }

    /// `None` at the end of a chain.
    fn block_mut(&mut self, block: u32) -> Option<&mut [u8]> {
        let start = block as usize * Self::SIZE;
        self.bytes.get_mut(start..start + Self::SIZE)
    }

    fn next_of(&self, block: u32) -> u32 {
        self.next.get(block as usize).copied().unwrap_or(Self::NONE)
    }

    fn link(&mut self, block: u32, next: u32) {
        if let Some(link) = self.next.get_mut(block as usize) {
            *link = next;
        }
    }
}
