//! Capture files, as bytes: an incremental parser for pcap and pcapng, and writers for both. The
//! parser is fed a window of the file that starts where the last step ended, and answers with a
//! packet, a number of bytes to pass over, or how much more it must see. It owns no buffer and
//! never needs one above [`CaptureParser::longest_record`].
//!
//! The file is hostile: every length is checked against a limit before it is used, and an error
//! names the offset of the record it is about. A file that ends inside a record is ordinary (a
//! full disk, a killed tcpdump): the packets before the cut are delivered, then
//! [`Step::Truncated`]. The cut packet itself is not, as in tcpdump and tshark, so that counts
//! agree with theirs and no packet is ever built from a record that was not seen whole.

use std::ops::Range;

pub use byte_order::ByteOrder;
pub use resolution::TimeResolution;
pub use write::{InterfaceDescription, PcapHeader, PcapWriter, PcapngWriter, UnknownInterface};

mod byte_order;
mod classic;
mod ng;
mod resolution;
#[cfg(test)]
mod tests;
mod write;

/// Longest captured part of one packet, in bytes, unless the parser is told otherwise: libpcap's
/// largest snap length.
pub const MAX_SNAP_LEN: u32 = 262_144;

/// Interfaces one pcapng section may describe.
pub const MAX_INTERFACES: usize = 16_384;

/// What a pcapng block may hold beside the packet: its fixed fields and its options, in bytes.
const BLOCK_ALLOWANCE: u32 = 131_072;

/// Length of a pcap file header, and of the part of a pcapng section header that matters.
const FILE_HEADER_LEN: usize = 24;

/// One packet of a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Nanoseconds since the Unix epoch. A pcapng simple packet block has no time and takes that
    /// of the packet before it, or 0.
    pub time: u64,
    /// LINKTYPE value of the interface: what the first byte of `data` belongs to.
    pub link_type: u32,
    /// Length of the packet on the wire, never less than `data`.
    pub wire_len: u32,
    /// The captured bytes.
    pub data: &'a [u8],
    /// Number of the interface in its pcapng section; 0 in pcap.
    pub interface: u32,
}

/// A packet as found in the window given to [`CaptureParser::parse`]: a [`Packet`] whose data is
/// still a range, so that a caller may refill its buffer between two steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// See [`Packet::time`].
    pub time: u64,
    /// See [`Packet::link_type`].
    pub link_type: u32,
    /// See [`Packet::wire_len`].
    pub wire_len: u32,
    /// Where the captured bytes are in the window; always inside it.
    pub data: Range<usize>,
    /// See [`Packet::interface`].
    pub interface: u32,
}

impl Record {
    /// The packet, its bytes taken from `window`, the one the record was found in.
    #[inline]
    pub fn packet<'a>(&self, window: &'a [u8]) -> Packet<'a> {
        Packet {
            time: self.time,
            link_type: self.link_type,
            wire_len: self.wire_len,
            data: window.get(self.data.clone()).unwrap_or_default(),
            interface: self.interface,
        }
    }
}

/// What one call of [`CaptureParser::parse`] found at the start of the window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A packet; the next window starts `consumed` bytes later.
    Packet {
        /// Length of the whole record, at least 1.
        consumed: usize,
        /// The packet.
        record: Record,
    },
    /// Something that is not a packet; the next window starts `consumed` bytes later.
    Skip {
        /// Bytes to pass over, at least 1 and never more than the window.
        consumed: usize,
    },
    /// The window must be at least this long (counted from its start) for the next step. Only
    /// returned before the end of the input.
    NeedMore {
        /// Never above [`CaptureParser::longest_record`].
        at_least: usize,
    },
    /// The input ended inside a record. Packets before it were delivered; a warning, not an error.
    Truncated(Truncated),
    /// The input ended between two records.
    End,
}

/// A capture that ends in the middle of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncated {
    /// Where the incomplete record starts, in bytes from the start of the file.
    pub offset: u64,
    /// Bytes the record takes, as far as is known: of a record cut in its header, the header.
    pub needed: u64,
    /// Bytes of it that are there.
    pub available: u64,
}

impl std::fmt::Display for Truncated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "cut short at offset {}: the last record takes {} bytes and {} are there",
            self.offset, self.needed, self.available
        )
    }
}

/// Why a capture cannot be read, or not further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The input ends inside the file header.
    #[error("offset 0: {available} bytes, where a capture's header takes {FILE_HEADER_LEN}")]
    HeaderIncomplete {
        /// Bytes of the file.
        available: usize,
    },
    /// The first four bytes belong to no capture format.
    #[error("offset 0: starts with {magic:02x?}, which is neither pcap nor pcapng")]
    UnknownMagic {
        /// The first four bytes.
        magic: [u8; 4],
    },
    /// A pcap version other than 2.x or a pcapng version other than 1.x.
    #[error("offset {offset}: format version {major}.{minor} is not known")]
    UnsupportedVersion {
        /// Start of the file header or section header.
        offset: u64,
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// A section header whose byte-order magic is neither order.
    #[error("offset {offset}: section header with byte-order magic {magic:02x?}")]
    ByteOrderMagic {
        /// Start of the section header.
        offset: u64,
        /// The four bytes found.
        magic: [u8; 4],
    },
    /// A packet longer than any capture tool writes: the file is damaged.
    #[error("offset {offset}: packet of {length} bytes, above the limit of {limit}")]
    PacketTooLong {
        /// Start of the record.
        offset: u64,
        /// Captured length as written.
        length: u32,
        /// The parser's limit.
        limit: u32,
    },
    /// A pcapng packet or interface block above the limit.
    #[error("offset {offset}: block of {length} bytes, above the limit of {limit}")]
    BlockTooLong {
        /// Start of the block.
        offset: u64,
        /// Total length as written.
        length: u32,
        /// The parser's limit.
        limit: u32,
    },
    /// A pcapng block length that is not a multiple of four.
    #[error("offset {offset}: block length {length} is not a multiple of 4")]
    BlockUnaligned {
        /// Start of the block.
        offset: u64,
        /// Total length as written.
        length: u32,
    },
    /// A pcapng block shorter than what it says it holds.
    #[error("offset {offset}: block of {length} bytes, but its contents take {needed}")]
    BlockTooShort {
        /// Start of the block.
        offset: u64,
        /// Total length as written.
        length: u32,
        /// Least length for the contents.
        needed: u64,
    },
    /// The two lengths that enclose a pcapng block differ.
    #[error("offset {offset}: block starts with length {length} and ends with {trailer}")]
    BlockLengthsDiffer {
        /// Start of the block.
        offset: u64,
        /// Length before the contents.
        length: u32,
        /// Length after the contents.
        trailer: u32,
    },
    /// A packet of an interface that the section did not describe.
    #[error("offset {offset}: packet of interface {interface}, but {described} are described")]
    UnknownInterface {
        /// Start of the block.
        offset: u64,
        /// Interface number of the packet.
        interface: u32,
        /// Interfaces described so far in the section.
        described: usize,
    },
    /// More interface descriptions in one section than [`MAX_INTERFACES`].
    #[error("offset {offset}: more than {MAX_INTERFACES} interfaces in one section")]
    TooManyInterfaces {
        /// Start of the block.
        offset: u64,
    },
}

impl CaptureError {
    /// Where in the file the offending record starts.
    pub fn offset(&self) -> u64 {
        match *self {
            Self::HeaderIncomplete { .. } | Self::UnknownMagic { .. } => 0,
            Self::UnsupportedVersion { offset, .. }
            | Self::ByteOrderMagic { offset, .. }
            | Self::PacketTooLong { offset, .. }
            | Self::BlockTooLong { offset, .. }
            | Self::BlockUnaligned { offset, .. }
            | Self::BlockTooShort { offset, .. }
            | Self::BlockLengthsDiffer { offset, .. }
            | Self::UnknownInterface { offset, .. }
            | Self::TooManyInterfaces { offset } => offset,
        }
    }
}

/// The formats a [`CaptureParser`] recognises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaptureFormat {
    /// pcap, of either byte order and resolution, modified headers included.
    Pcap,
    /// pcapng.
    Pcapng,
}

/// Incremental parser of one capture, whose format it recognises by its first bytes.
///
/// Errors and [`Step::Truncated`] are final: the same window gives the same answer again.
#[derive(Debug, Clone)]
pub struct CaptureParser {
    format: Format,
    /// Offset in the file of the window's first byte.
    offset: u64,
    packet_limit: u32,
}

#[derive(Debug, Clone)]
enum Format {
    Unrecognised,
    Classic(classic::Classic),
    Ng(ng::Ng),
}

impl Default for CaptureParser {
    fn default() -> Self {
        Self::new()
    }
}

impl CaptureParser {
    /// A parser at the start of a file, for packets of up to [`MAX_SNAP_LEN`] captured bytes.
    pub fn new() -> Self {
        Self::with_packet_limit(MAX_SNAP_LEN)
    }

    /// A parser that refuses packets with more than `packet_limit` captured bytes.
    pub fn with_packet_limit(packet_limit: u32) -> Self {
        Self { format: Format::Unrecognised, offset: 0, packet_limit }
    }

    /// The longest window, in bytes, that the parser ever asks for.
    pub fn longest_record(&self) -> usize {
        self.block_limit() as usize
    }

    /// Offset in the file of the next window.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The format, once its magic has been seen.
    pub fn format(&self) -> Option<CaptureFormat> {
        match self.format {
            Format::Unrecognised => None,
            Format::Classic(_) => Some(CaptureFormat::Pcap),
            Format::Ng(_) => Some(CaptureFormat::Pcapng),
        }
    }

    /// Parses what is at the start of `window`. The caller passes over the bytes a step consumed
    /// before it calls again; `end_of_input` says that nothing follows the window.
    #[inline]
    pub fn parse(&mut self, window: &[u8], end_of_input: bool) -> Result<Step, CaptureError> {
        let limits = Limits { packet: self.packet_limit, block: self.block_limit() };
        let step = match &mut self.format {
            Format::Classic(classic) => classic.step(window, self.offset, limits),
            Format::Ng(ng) => ng.step(window, self.offset, limits),
            Format::Unrecognised => self.recognise(window, limits),
        };
        match step {
            Ok(Step::Packet { consumed, .. } | Step::Skip { consumed }) => {
                self.offset += consumed as u64;
            }
            Ok(Step::NeedMore { at_least }) if end_of_input => {
                return self.end(window.len(), at_least);
            }
            _ => {}
        }
        step
    }

    fn block_limit(&self) -> u32 {
        self.packet_limit.saturating_add(BLOCK_ALLOWANCE)
    }

    fn recognise(&mut self, window: &[u8], limits: Limits) -> Result<Step, CaptureError> {
        let Some(magic) = window.first_chunk::<4>() else {
            return Ok(Step::NeedMore { at_least: FILE_HEADER_LEN });
        };
        if ng::is_section_header(*magic) {
            let mut ng = ng::Ng::new();
            let step = ng.step(window, self.offset, limits)?;
            self.format = Format::Ng(ng);
            return Ok(step);
        }
        let Some(variant) = classic::Variant::of(*magic) else {
            return Err(CaptureError::UnknownMagic { magic: *magic });
        };
        let Some(classic) = classic::Classic::parse_header(variant, window)? else {
            return Ok(Step::NeedMore { at_least: FILE_HEADER_LEN });
        };
        self.format = Format::Classic(classic);
        Ok(Step::Skip { consumed: FILE_HEADER_LEN })
    }

    /// The answer when `needed` bytes are wanted and only `available` will ever be there.
    #[cold]
    fn end(&self, available: usize, needed: usize) -> Result<Step, CaptureError> {
        if self.offset == 0 {
            return Err(CaptureError::HeaderIncomplete { available });
        }
        if let Format::Ng(ng) = &self.format
            && let Some((offset, length)) = ng.unfinished_block()
        {
            let available = self.offset.saturating_sub(offset) + available as u64;
            return Ok(Step::Truncated(Truncated { offset, needed: length as u64, available }));
        }
        if available == 0 {
            return Ok(Step::End);
        }
        let (needed, available) = (needed as u64, available as u64);
        Ok(Step::Truncated(Truncated { offset: self.offset, needed, available }))
    }
}

/// What a parser accepts, in bytes.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Captured bytes of a packet.
    packet: u32,
    /// Total length of a pcapng block that must be seen whole.
    block: u32,
}

/// The packets of a capture that is in memory as a whole.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    parser: CaptureParser,
    rest: &'a [u8],
    truncated: Option<Truncated>,
    finished: bool,
}

impl<'a> Packets<'a> {
    /// Iterates over the packets of `capture`; ends after the first error.
    pub fn new(capture: &'a [u8]) -> Self {
        Self { parser: CaptureParser::new(), rest: capture, truncated: None, finished: false }
    }

    /// How the capture was cut short, once the iterator has ended.
    pub fn truncated(&self) -> Option<Truncated> {
        self.truncated
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.finished {
            let window = self.rest;
            match self.parser.parse(window, true) {
                Ok(Step::Packet { consumed, record }) => {
                    self.rest = window.get(consumed..).unwrap_or_default();
                    return Some(Ok(record.packet(window)));
                }
                Ok(Step::Skip { consumed }) => {
                    self.rest = window.get(consumed..).unwrap_or_default();
                }
                Ok(Step::Truncated(truncated)) => {
                    self.truncated = Some(truncated);
                    self.finished = true;
                }
                Ok(Step::End | Step::NeedMore { .. }) => self.finished = true,
                Err(error) => {
                    self.finished = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
