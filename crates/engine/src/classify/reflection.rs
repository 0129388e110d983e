//! Which amplifying services really answer in the samples, and whose the later fragments are.
//!
//! A port number alone proves nothing: QUIC downloads come from port 443, a random flood hits every
//! port now and then, and some clients send from the service's own port. So each port must show
//! enough records, a noticeable share, and enough different senders where its table entry asks.

use std::collections::BTreeMap;

use tidewall_model::{Address, Direction, FlowRecord, Fragment, protocol};

use super::kind::{self, Kind, tcp_kind};
use crate::amplifiers::{Amplifier, Amplifiers};

/// A port with fewer records than this is a coincidence.
const MIN_RECORDS: u64 = 3;
/// A port with less than one in this many of all packets and of all bytes is not a vector.
const MIN_SHARE: u64 = 100;
/// Between two equal ports, packets up to this many bytes are requests of clients and peers that
/// send from the service's own port (NTP, IKE, SIP), not amplified answers.
const MAX_REQUEST_BYTES: u64 = 100;
/// Pieces of the largest datagram: 65,535 bytes in packets of 1,500.
const MAX_PIECES: u64 = 45;
/// Flows without fragment information (NetFlow v5) whose packets are this long on average hold
/// first fragments.
const LONG_BYTES: u64 = 1200;

/// What the samples show about reflections and fragments.
#[derive(Debug)]
pub(super) struct Reflections<'a> {
    /// Services that answer, by source port.
    services: BTreeMap<u16, &'a str>,
    /// Kind that later fragments of a protocol belong to.
    parents: BTreeMap<u8, Kind<'a>>,
}

/// What one service shows.
#[derive(Debug, Default)]
struct Answers {
    records: u64,
    packets: u64,
    bytes: u64,
    first_fragments: u64,
    remotes: BTreeMap<Address, u64>,
}

impl<'a> Reflections<'a> {
    /// Looks through the samples once.
    pub(super) fn find(
        samples: &[FlowRecord],
        direction: Direction,
        amplifiers: &'a Amplifiers,
    ) -> Self {
        let mut answers: BTreeMap<u16, (&'a Amplifier, Answers)> = BTreeMap::new();
        let mut pieces = Pieces::default();
        let (mut packets, mut bytes) = (0u64, 0u64);
        for record in samples {
            packets = packets.saturating_add(record.scaled_packets());
            bytes = bytes.saturating_add(record.scaled_bytes());
            pieces.add(record);
            if !is_answer(record) {
                continue;
            }
            if let Some(amplifier) = amplifiers.get(record.src_port) {
                let entry = answers.entry(record.src_port);
                let (_, answers) = entry.or_insert_with(|| (amplifier, Answers::default()));
                answers.add(record, kind::remote(record, direction));
            }
        }
        answers.retain(|_, (amplifier, answers)| {
            let noticeable = answers.packets.saturating_mul(MIN_SHARE) >= packets
                || answers.bytes.saturating_mul(MIN_SHARE) >= bytes;
            noticeable && answers.are_reflected(amplifier, direction)
        });
        Self { parents: pieces.parents(&answers), services: names(&answers) }
    }

    /// The kind of a record.
    pub(super) fn kind(&self, record: &FlowRecord) -> Kind<'a> {
        let parent = |or| self.parents.get(&record.protocol).copied().unwrap_or(or);
        match (record.protocol, record.fragment) {
            (protocol::UDP, Fragment::Whole) if has_no_ports(record) => parent(Kind::Udp),
            (_, Fragment::Later) => parent(Kind::Fragments),
            (protocol::UDP, fragment) => match self.services.get(&record.src_port) {
                Some(name) if is_answer(record) => Kind::Reflected(name),
                _ if fragment.is_fragment() => Kind::Fragments,
                _ => Kind::Udp,
            },
            (protocol::TCP, Fragment::First) => Kind::Fragments,
            (protocol::TCP, Fragment::Whole) => tcp_kind(record),
            (number, Fragment::Whole) => Kind::Protocol(number),
            (_, Fragment::First) => parent(Kind::Fragments),
        }
    }
}

impl Answers {
    fn add(&mut self, record: &FlowRecord, remote: Address) {
        let packets = record.scaled_packets();
        self.records += 1;
        self.packets = self.packets.saturating_add(packets);
        self.bytes = self.bytes.saturating_add(record.scaled_bytes());
        if record.fragment == Fragment::First {
            self.first_fragments = self.first_fragments.saturating_add(packets);
        }
        let of_remote = self.remotes.entry(remote).or_default();
        *of_remote = of_remote.saturating_add(packets);
    }

    /// Is this a reflection rather than ordinary traffic of the service?
    ///
    /// Towards us it comes from many servers: as many as the table asks, or three of four records
    /// when the sample is small. From us it goes to one victim: at least half of it.
    fn are_reflected(&self, amplifier: &Amplifier, direction: Direction) -> bool {
        if self.records < MIN_RECORDS {
            return false;
        }
        if amplifier.min_remotes <= 1 {
            return true;
        }
        if direction == Direction::Outgoing {
            let most = self.remotes.values().max().copied().unwrap_or(0);
            return most >= self.packets.div_ceil(2);
        }
        let small_sample = (self.records * 3).div_ceil(4);
        self.remotes.len() as u64 >= u64::from(amplifier.min_remotes).min(small_sample)
    }

    /// Packets that may be the first pieces of fragmented answers.
    fn first_pieces(&self) -> u64 {
        let long = self.bytes / self.packets.max(1) >= LONG_BYTES;
        if long { self.packets } else { self.first_fragments }
    }
}

/// First and later fragments of each protocol.
#[derive(Debug, Default)]
struct Pieces(BTreeMap<u8, (u64, u64)>);

impl Pieces {
    fn add(&mut self, record: &FlowRecord) {
        let later = record.fragment == Fragment::Later
            || record.protocol == protocol::UDP && has_no_ports(record);
        let (first_packets, later_packets) = self.0.entry(record.protocol).or_default();
        let count = match record.fragment {
            Fragment::First => first_packets,
            _ if later => later_packets,
            _ => return,
        };
        *count = count.saturating_add(record.scaled_packets());
    }

    /// A later fragment belongs to what sends first fragments of the same protocol, if these can
    /// account for that many pieces. TCP and plain UDP have no vector of their own for fragments.
    fn parents<'a>(
        &self,
        answers: &BTreeMap<u16, (&'a Amplifier, Answers)>,
    ) -> BTreeMap<u8, Kind<'a>> {
        let mut parents = BTreeMap::new();
        for (number, (first, later)) in &self.0 {
            let (first, parent) = match *number {
                protocol::TCP => continue,
                protocol::UDP => match largest_sender(answers) {
                    Some((first, name)) => (first, Kind::Reflected(name)),
                    None => continue,
                },
                number => (*first, Kind::Protocol(number)),
            };
            if first > 0 && first.saturating_mul(MAX_PIECES) >= *later {
                parents.insert(*number, parent);
            }
        }
        parents
    }
}

/// The service with the most first pieces; of equals, the one with the lowest port.
fn largest_sender<'a>(answers: &BTreeMap<u16, (&'a Amplifier, Answers)>) -> Option<(u64, &'a str)> {
    let mut largest = None;
    for (amplifier, answers) in answers.values() {
        let first = answers.first_pieces();
        if first > largest.map_or(0, |(most, _)| most) {
            largest = Some((first, amplifier.name.as_str()));
        }
    }
    largest
}

fn names<'a>(answers: &BTreeMap<u16, (&'a Amplifier, Answers)>) -> BTreeMap<u16, &'a str> {
    answers.iter().map(|(port, (amplifier, _))| (*port, amplifier.name.as_str())).collect()
}

/// Could this be an answer of a UDP service, judging by all but the table?
fn is_answer(record: &FlowRecord) -> bool {
    record.protocol == protocol::UDP
        && record.fragment != Fragment::Later
        && !(record.src_port == record.dst_port
            && record.bytes / record.packets.max(1) <= MAX_REQUEST_BYTES)
}

/// Flow exporters report later fragments as flows between two ports 0.
fn has_no_ports(record: &FlowRecord) -> bool {
    record.src_port == 0 && record.dst_port == 0
}
