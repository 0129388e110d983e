//! What must change in a datagram before it is sent again: its exporter's sequence numbers, and
//! all times. Offsets of headers are those of the specifications; those of times in records are
//! read from the templates.

use std::collections::BTreeMap;

use tidewall_model::Timestamp;
use tidewall_wire::netflow::{
    Datagram, Element, Plan, SetKind, Sets, TemplateKind, TemplateRecord, parse,
};

use super::reel::ReelError;
use crate::demo::Medium;

/// What the time is.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// On the wall.
    pub time: Timestamp,
    /// Milliseconds since the exporters started.
    pub uptime_ms: u32,
}

/// A time in a message: where, and of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    offset: u16,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Milliseconds since the exporter started, 32 bits.
    Uptime,
    /// Milliseconds since 1970, 64 bits.
    Milliseconds,
}

impl Place {
    /// Writes the time.
    #[inline]
    pub(super) fn write(self, message: &mut [u8], now: Now) {
        let at = usize::from(self.offset);
        match self.kind {
            Kind::Uptime => put(message, at, now.uptime_ms.to_be_bytes()),
            Kind::Milliseconds => put(message, at, (now.time.0 / 1_000_000).to_be_bytes()),
        }
    }
}

/// What was found in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Records of traffic.
    pub(super) records: u16,
    /// By how much the sequence number grows.
    pub(super) step: u32,
}

/// The templates that messages have announced, by exporter and id.
#[derive(Debug, Default)]
pub(super) struct Layouts(BTreeMap<u16, Plan>);

impl Layouts {
    /// Finds the times in a message's records, and counts these.
    pub(super) fn read(
        &mut self,
        medium: Medium,
        message: &[u8],
        places: &mut Vec<Place>,
    ) -> Result<Found, ReelError> {
        match medium {
            Medium::Frames => return Ok(Found { records: 1, step: 1 }),
            Medium::Sflow => {
                let samples = get(message, SFLOW_SAMPLES) as u16;
                return Ok(Found { records: samples, step: 1 });
            }
            Medium::Netflow5 | Medium::Netflow9 | Medium::Ipfix => {}
        }
        match parse(message).map_err(ReelError::Read)? {
            Datagram::V5(packet) => {
                let records = packet.header.count;
                for record in 0..records {
                    let start = 24 + 48 * record;
                    places.extend([24, 28].map(|at| uptime(start + at)));
                }
                Ok(Found { records, step: records.into() })
            }
            Datagram::V9(packet) => {
                let (records, _) = self.sets(packet.sets(), places)?;
                Ok(Found { records, step: 1 })
            }
            Datagram::Ipfix(message) => {
                let (records, step) = self.sets(message.sets(), places)?;
                Ok(Found { records, step })
            }
        }
    }

    /// Gives the records of traffic, and of everything.
    fn sets(&mut self, sets: Sets<'_>, places: &mut Vec<Place>) -> Result<(u16, u32), ReelError> {
        let (mut traffic, mut all) = (0, 0);
        for set in sets {
            let set = set.map_err(ReelError::Read)?;
            if let SetKind::Templates(_) = set.kind {
                for template in set.templates() {
                    if let TemplateRecord::Definition(t) = template.map_err(ReelError::Read)? {
                        self.0.insert(t.id(), Plan::new(&t));
                    }
                }
                continue;
            }
            let Some(plan) = self.0.get(&set.id) else { continue };
            let Some(length) = plan.fixed_length().filter(|length| *length > 0) else { continue };
            let records = set.body.len() as u16 / length;
            all += u32::from(records);
            if plan.kind() == TemplateKind::Data {
                traffic += records;
                for record in 0..records {
                    let start = set.offset() as u16 + record * length;
                    places.extend(plan.places().filter_map(|place| {
                        let kind = kind_of(place.element)?;
                        Some(Place { offset: start + place.offset, kind })
                    }));
                }
            }
        }
        Ok((traffic, all))
    }
}

fn kind_of(element: Element) -> Option<Kind> {
    match element {
        Element::FlowStartSysUpTime | Element::FlowEndSysUpTime => Some(Kind::Uptime),
        Element::FlowStartMilliseconds | Element::FlowEndMilliseconds => Some(Kind::Milliseconds),
        _ => None,
    }
}

const fn uptime(offset: u16) -> Place {
    Place { offset, kind: Kind::Uptime }
}

/// In an sFlow datagram of an agent with an IPv4 address (sflow.org, version 5).
const SFLOW_SEQUENCE: usize = 16;
const SFLOW_UPTIME: usize = 20;
const SFLOW_SAMPLES: usize = 24;
const SFLOW_FIRST: usize = 28;

/// What an exporter counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Of datagrams or records, as the protocol has it.
    sequence: u32,
    /// Samples (sFlow).
    samples: u32,
    /// Packets that could have been samples (sFlow).
    pool: u32,
}

impl Counters {
    /// Writes the next numbers and the time into a message.
    #[inline]
    pub(super) fn stamp(&mut self, medium: Medium, message: &mut [u8], step: u32, now: Now) {
        let seconds = now.time.seconds() as u32;
        match medium {
            Medium::Frames => {}
            Medium::Sflow => self.stamp_sflow(message, now),
            Medium::Netflow5 => {
                put(message, 4, now.uptime_ms.to_be_bytes());
                put(message, 8, seconds.to_be_bytes());
                put(message, 12, now.time.subsec_nanos().to_be_bytes());
                put(message, 16, self.sequence.to_be_bytes());
            }
            Medium::Netflow9 => {
                put(message, 4, now.uptime_ms.to_be_bytes());
                put(message, 8, seconds.to_be_bytes());
                put(message, 12, self.sequence.to_be_bytes());
            }
            Medium::Ipfix => {
                put(message, 4, seconds.to_be_bytes());
                put(message, 8, self.sequence.to_be_bytes());
            }
        }
        self.sequence = self.sequence.wrapping_add(step);
    }

    /// A flow sample's number is 8 bytes, its rate 16 and its pool 20 bytes from its beginning.
    fn stamp_sflow(&mut self, message: &mut [u8], now: Now) {
        // The first datagram of an agent has the number 1.
        put(message, SFLOW_SEQUENCE, self.sequence.wrapping_add(1).to_be_bytes());
        put(message, SFLOW_UPTIME, now.uptime_ms.to_be_bytes());
        let mut at = SFLOW_FIRST;
        for _ in 0..get(message, SFLOW_SAMPLES) {
            self.samples = self.samples.wrapping_add(1);
            self.pool = self.pool.wrapping_add(get(message, at + 16));
            put(message, at + 8, self.samples.to_be_bytes());
            put(message, at + 20, self.pool.to_be_bytes());
            at += 8 + get(message, at + 4) as usize;
        }
    }
}

fn get(message: &[u8], at: usize) -> u32 {
    message.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |word| u32::from_be_bytes(*word))
}

fn put<const N: usize>(message: &mut [u8], at: usize, value: [u8; N]) {
    if let Some(place) = message.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = value;
    }
}
