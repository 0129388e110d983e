//! Messages in memory, one behind the other, ready to be sent again and again.

use std::collections::TryReserveError;
use std::ops::Range;

use tidewall_model::Timestamp;
use tidewall_scenario::RenderError;

use super::stamp::{Counters, Layouts, Now, Place};
use crate::demo::Medium;

/// Messages that one exporter sends before it is another one's turn: a system call takes those of
/// one socket.
const TURN: usize = 8;

/// A message of a reel.
#[derive(Clone, Copy, Debug)]
struct Item {
    start: usize,
    length: u32,
    /// Records in it.
    records: u16,
    exporter: u16,
    /// By how much it moves its exporter's sequence number on.
    step: u32,
    /// Of its places, the first one and their number.
    first_place: u32,
    places: u16,
}

/// A round of messages.
#[derive(Debug)]
pub struct Reel {
    medium: Medium,
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// Where times are in the messages.
    places: Vec<Place>,
    layouts: Layouts,
}

/// Why there is no reel.
#[derive(Debug, thiserror::Error)]
pub enum ReelError {
    /// It does not fit into memory.
    #[error("a round of so many hosts does not fit into memory: {0}")]
    Memory(#[from] TryReserveError),
    /// A record cannot be sent in this medium.
    #[error("a record cannot be sent like this: {0}")]
    Render(RenderError),
    /// Nothing is in it.
    #[error("there is nothing to send: version 5 of NetFlow has no place for IPv6")]
    Empty,
    /// What was rendered is not what it should be.
    #[error("a rendered datagram cannot be read: {0}")]
    Read(tidewall_wire::netflow::NetflowError),
}

impl Reel {
    /// The time that messages are rendered for; another one is written into them later.
    pub const TIME: Timestamp = Timestamp::from_parts(1, 0);

    /// An empty one.
    pub(super) fn new(medium: Medium) -> Self {
        Self {
            medium,
            bytes: Vec::new(),
            items: Vec::new(),
            places: Vec::new(),
            layouts: Layouts::default(),
        }
    }

    /// Adds a message of the exporter with this number.
    pub(super) fn push(&mut self, exporter: u16, message: &[u8]) -> Result<(), ReelError> {
        let first_place = self.places.len() as u32;
        let found = self.layouts.read(self.medium, message, &mut self.places)?;
        self.bytes.try_reserve(message.len())?;
        self.items.push(Item {
            start: self.bytes.len(),
            length: message.len() as u32,
            records: found.records,
            exporter,
            step: found.step,
            first_place,
            places: (self.places.len() as u32 - first_place) as u16,
        });
        self.bytes.extend_from_slice(message);
        Ok(())
    }

    /// The messages of these in turn: the first few of each, the next few of each, and so on.
    pub(super) fn in_turn(medium: Medium, parts: &[Self]) -> Result<Self, ReelError> {
        let mut whole = Self::new(medium);
        whole.bytes.try_reserve_exact(parts.iter().map(|part| part.bytes.len()).sum())?;
        let longest = parts.iter().map(|part| part.items.len()).max().unwrap_or_default();
        for turn in (0..longest).step_by(TURN) {
            for part in parts {
                for item in part.items.iter().skip(turn).take(TURN) {
                    let start = whole.bytes.len();
                    let first_place = whole.places.len() as u32;
                    whole.bytes.extend_from_slice(&part.bytes[item.bytes()]);
                    whole.places.extend_from_slice(&part.places[item.places()]);
                    whole.items.push(Item { start, first_place, ..*item });
                }
            }
        }
        if whole.items.is_empty() { Err(ReelError::Empty) } else { Ok(whole) }
    }

    /// Messages of a round.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Is nothing in it?
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Records of a message in the mean.
    pub fn records_per_message(&self) -> f64 {
        let records: u64 = self.items.iter().map(|item| u64::from(item.records)).sum();
        records as f64 / self.items.len().max(1) as f64
    }

    /// Records of a message.
    pub(super) fn records(&self, at: usize) -> u64 {
        self.items[at].records.into()
    }

    /// Which exporter sends a message.
    pub(super) fn exporter(&self, at: usize) -> usize {
        self.items[at].exporter.into()
    }

    /// A message as it is now.
    pub(super) fn message(&self, at: usize) -> &[u8] {
        &self.bytes[self.items[at].bytes()]
    }

    /// Writes the next numbers of its exporter and the time into a message.
    pub(super) fn stamp(&mut self, at: usize, counters: &mut Counters, now: Now) {
        let item = self.items[at];
        let message = &mut self.bytes[item.bytes()];
        counters.stamp(self.medium, message, item.step, now);
        for place in &self.places[item.places()] {
            place.write(message, now);
        }
    }
}

impl Item {
    fn bytes(&self) -> Range<usize> {
        self.start..self.start + self.length as usize
    }

    fn places(&self) -> Range<usize> {
        let first = self.first_place as usize;
        first..first + usize::from(self.places)
    }
}
