//! NetFlow version 5: a header of 24 bytes and up to 30 records of 48 bytes, always IPv4.

use std::net::Ipv4Addr;

use super::error::NetflowError;
use super::expect_version;
use crate::cursor::{Cursor, Cut};

/// The first two bytes of a datagram.
pub const VERSION: u16 = 5;
/// Records that a datagram can have.
pub const MAX_RECORDS: u16 = 30;

const HEADER_LENGTH: usize = 24;
const RECORD_LENGTH: usize = 48;

/// How an exporter uses the 16 bits of the sampling word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SamplingWord {
    /// Two bits of mode, 14 bits of interval.
    #[default]
    ModeAndInterval,
    /// All 16 bits are the interval (Juniper, for rates above 16383).
    Interval,
}

/// Header of a datagram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Records that the datagram should have, 1 to 30.
    pub count: u16,
    /// Milliseconds since the exporter started.
    pub sys_uptime: u32,
    /// Export time: seconds since the Unix epoch.
    pub unix_secs: u32,
    /// Export time: nanoseconds of that second.
    pub unix_nsecs: u32,
    /// Records exported before this datagram, by this engine.
    pub flow_sequence: u32,
    /// Type of the switching engine.
    pub engine_type: u8,
    /// Number of the switching engine.
    pub engine_id: u8,
    /// Sampling mode in the top two bits, interval in the others.
    pub sampling: u16,
}

impl Header {
    /// One packet out of how many was looked at; 1 where the exporter writes 0.
    pub fn sampling_interval(&self, word: SamplingWord) -> u16 {
        let interval = match word {
            SamplingWord::ModeAndInterval => self.sampling & 0x3fff,
            SamplingWord::Interval => self.sampling,
        };
        interval.max(1)
    }

    /// Sampling mode: 0 none, 1 one packet in every interval, 2 one at random.
    pub fn sampling_mode(&self) -> u8 {
        (self.sampling >> 14) as u8
    }

    fn parse(datagram: &[u8]) -> Result<Self, NetflowError> {
        let mut cursor = Cursor::new(datagram);
        expect_version(&mut cursor, VERSION)?;
        let header = Self::fields(&mut cursor).map_err(NetflowError::HeaderCut)?;
        if (1..=MAX_RECORDS).contains(&header.count) {
            Ok(header)
        } else {
            Err(NetflowError::RecordCount { count: header.count })
        }
    }

    fn fields(cursor: &mut Cursor<'_>) -> Result<Self, Cut> {
        Ok(Self {
            count: cursor.be16()?,
            sys_uptime: cursor.be32()?,
            unix_secs: cursor.be32()?,
            unix_nsecs: cursor.be32()?,
            flow_sequence: cursor.be32()?,
            engine_type: cursor.u8()?,
            engine_id: cursor.u8()?,
            sampling: cursor.be16()?,
        })
    }
}

/// One flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Source address.
    pub src_addr: Ipv4Addr,
    /// Destination address.
    pub dst_addr: Ipv4Addr,
    /// Address of the next router.
    pub next_hop: Ipv4Addr,
    /// Index of the interface the packets came in by.
    pub input: u16,
    /// Index of the interface they left by; 0 where they did not.
    pub output: u16,
    /// Packets.
    pub packets: u32,
    /// Bytes of those packets, from the IP header on.
    pub octets: u32,
    /// System uptime at the first packet, in milliseconds.
    pub first: u32,
    /// System uptime at the last packet, in milliseconds.
    pub last: u32,
    /// Source port.
    pub src_port: u16,
    /// Destination port; of ICMP, most exporters write type × 256 + code.
    pub dst_port: u16,
    /// All TCP flags that were seen, combined.
    pub tcp_flags: u8,
    /// IP protocol.
    pub protocol: u8,
    /// IP type of service.
    pub tos: u8,
    /// AS of the source: origin or neighbour, as the exporter is set up.
    pub src_as: u16,
    /// AS of the destination.
    pub dst_as: u16,
    /// Prefix length of the source's route.
    pub src_mask: u8,
    /// Prefix length of the destination's route.
    pub dst_mask: u8,
}

impl Record {
    /// Milliseconds from the first packet to the last. The uptime counter may have wrapped between.
    pub fn duration(&self) -> u32 {
        self.last.wrapping_sub(self.first)
    }

    #[inline]
    fn parse(b: &[u8; RECORD_LENGTH]) -> Self {
        // Bytes 36, 46 and 47 are padding.
        Self {
            src_addr: Ipv4Addr::new(b[0], b[1], b[2], b[3]),
            dst_addr: Ipv4Addr::new(b[4], b[5], b[6], b[7]),
            next_hop: Ipv4Addr::new(b[8], b[9], b[10], b[11]),
            input: u16::from_be_bytes([b[12], b[13]]),
            output: u16::from_be_bytes([b[14], b[15]]),
            packets: u32::from_be_bytes([b[16], b[17], b[18], b[19]]),
            octets: u32::from_be_bytes([b[20], b[21], b[22], b[23]]),
            first: u32::from_be_bytes([b[24], b[25], b[26], b[27]]),
            last: u32::from_be_bytes([b[28], b[29], b[30], b[31]]),
            src_port: u16::from_be_bytes([b[32], b[33]]),
            dst_port: u16::from_be_bytes([b[34], b[35]]),
            tcp_flags: b[37],
            protocol: b[38],
            tos: b[39],
            src_as: u16::from_be_bytes([b[40], b[41]]),
            dst_as: u16::from_be_bytes([b[42], b[43]]),
            src_mask: b[44],
            dst_mask: b[45],
        }
    }
}

/// A datagram whose header has been read.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its header.
    pub header: Header,
    /// The records that are there in full, at most as many as the header says.
    records: &'a [[u8; RECORD_LENGTH]],
}

impl<'a> Packet<'a> {
    /// Reads the header. What follows the announced records is not looked at.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, NetflowError> {
        let header = Header::parse(datagram)?;
        let (records, _) = datagram.get(HEADER_LENGTH..).unwrap_or_default().as_chunks();
        let records = records.get(..usize::from(header.count)).unwrap_or(records);
        Ok(Self { header, records })
    }

    /// Records that the header announces and that are not there, or not in full.
    pub fn missing(&self) -> u16 {
        self.header.count.saturating_sub(self.records.len() as u16)
    }

    /// The records that are there.
    #[inline]
    pub fn records(&self) -> impl ExactSizeIterator<Item = Record> + use<'a> {
        self.records.iter().map(Record::parse)
    }
}
