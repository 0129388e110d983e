//! pcapng: sections of blocks (draft-ietf-opsawg-pcapng). Section headers, interface descriptions
//! and the three kinds of packet block are read; every other block is passed over by its length,
//! however long it is. A section's own length is not trusted, so it is not used either.

use super::{ByteOrder, CaptureError, Limits, MAX_INTERFACES, Record, Step, TimeResolution};

pub(super) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
pub(super) const INTERFACE_DESCRIPTION: u32 = 1;
const OBSOLETE_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
pub(super) const ENHANCED_PACKET: u32 = 6;

pub(super) const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
pub(super) const OPTION_END: u16 = 0;
pub(super) const OPTION_TIME_RESOLUTION: u16 = 9;
pub(super) const OPTION_TIME_OFFSET: u16 = 14;

/// Block type and total length, before a block's body.
const BLOCK_START_LEN: usize = 8;
/// The total length again, after it.
const BLOCK_TRAILER_LEN: usize = 4;
const SHORTEST_BLOCK: u32 = 12;
const SHORTEST_SECTION_HEADER: u32 = 28;
/// Section header up to its options.
const SECTION_HEADER_LEN: usize = 24;
/// What comes before the data in the body of an enhanced or obsolete packet block.
const PACKET_FIXED_LEN: usize = 20;

/// Whether a file that starts with `magic` is pcapng. The type reads the same in both orders.
pub(super) fn is_section_header(magic: [u8; 4]) -> bool {
    u32::from_be_bytes(magic) == SECTION_HEADER
}

/// A pcapng file between two blocks, or inside one that is being passed over.
#[derive(Debug, Clone)]
pub(super) struct Ng {
    order: ByteOrder,
    interfaces: Vec<Interface>,
    /// Time of the last packet, for those that carry none.
    last_time: u64,
    passing: Option<Passing>,
}

#[derive(Debug, Clone, Copy)]
struct Interface {
    link_type: u32,
    /// Longest captured part of a packet; 0 means no limit.
    snap_len: u32,
    resolution: TimeResolution,
    /// Seconds to add to every time stamp.
    offset_s: i64,
}

/// A block of which only the length matters from here on.
#[derive(Debug, Clone, Copy)]
struct Passing {
    /// Where the block starts in the file.
    offset: u64,
    length: u32,
    /// Bytes still to pass, trailer included.
    remaining: u32,
}

/// A packet or interface block that is in the window as a whole.
#[derive(Clone, Copy)]
struct Block<'a> {
    offset: u64,
    length: u32,
    body: &'a [u8],
}

impl Ng {
    /// A parser in front of the first section header, which sets the byte order.
    pub(super) fn new() -> Self {
        Self { order: ByteOrder::default(), interfaces: Vec::new(), last_time: 0, passing: None }
    }

    /// Start and length of the block that is being passed over.
    pub(super) fn unfinished_block(&self) -> Option<(u64, u32)> {
        self.passing.map(|passing| (passing.offset, passing.length))
    }

    #[inline]
    pub(super) fn step(
        &mut self,
        window: &[u8],
        offset: u64,
        limits: Limits,
    ) -> Result<Step, CaptureError> {
        if let Some(passing) = self.passing {
            return self.pass(passing, window);
        }
        let Some([kind, length]) = self.order.words(window) else {
            return Ok(Step::NeedMore { at_least: SHORTEST_BLOCK as usize });
        };
        if kind == SECTION_HEADER {
            return self.start_section(window, offset);
        }
        check_length(offset, length, SHORTEST_BLOCK)?;
        if !matches!(
            kind,
            ENHANCED_PACKET | SIMPLE_PACKET | OBSOLETE_PACKET | INTERFACE_DESCRIPTION
        ) {
            return Ok(self.start_passing(offset, length, BLOCK_START_LEN));
        }
        if length > limits.block {
            return Err(CaptureError::BlockTooLong { offset, length, limit: limits.block });
        }
        let Some(bytes) = window.get(..length as usize) else {
            return Ok(Step::NeedMore { at_least: length as usize });
        };
        let block = self.unwrap_block(bytes, offset, length)?;
        match kind {
            ENHANCED_PACKET => self.enhanced_packet(block, limits),
            SIMPLE_PACKET => self.simple_packet(block, limits),
            OBSOLETE_PACKET => self.obsolete_packet(block, limits),
            _ => self.describe_interface(block),
        }
    }

    /// A new section: its own byte order, and interfaces numbered from 0 again.
    fn start_section(&mut self, window: &[u8], offset: u64) -> Result<Step, CaptureError> {
        const WORDS: usize = SECTION_HEADER_LEN / 4;
        let (Some(words), Some(magic)) =
            (window.get(..SECTION_HEADER_LEN), window.get(8..).and_then(|b| b.first_chunk::<4>()))
        else {
            return Ok(Step::NeedMore { at_least: SECTION_HEADER_LEN });
        };
        let order = [ByteOrder::Little, ByteOrder::Big]
            .into_iter()
            .find(|order| order.word(*magic) == BYTE_ORDER_MAGIC)
            .ok_or(CaptureError::ByteOrderMagic { offset, magic: *magic })?;
        let Some([_kind, length, _magic, version, _, _]) = order.words::<WORDS>(words) else {
            return Ok(Step::NeedMore { at_least: SECTION_HEADER_LEN });
        };
        let [major, minor] = order.halves(version);
        if major != 1 {
            return Err(CaptureError::UnsupportedVersion { offset, major, minor });
        }
        check_length(offset, length, SHORTEST_SECTION_HEADER)?;
        self.order = order;
        self.interfaces.clear();
        Ok(self.start_passing(offset, length, SECTION_HEADER_LEN))
    }

    fn start_passing(&mut self, offset: u64, length: u32, consumed: usize) -> Step {
        let remaining = length.saturating_sub(consumed as u32);
        self.passing = Some(Passing { offset, length, remaining });
        Step::Skip { consumed }
    }

    /// Passes over what the window holds of a block, and checks the length at its end.
    fn pass(&mut self, passing: Passing, window: &[u8]) -> Result<Step, CaptureError> {
        let Passing { offset, length, remaining } = passing;
        let contents = (remaining as usize).saturating_sub(BLOCK_TRAILER_LEN);
        if contents > 0 {
            let consumed = contents.min(window.len());
            if consumed == 0 {
                return Ok(Step::NeedMore { at_least: 1 });
            }
            let remaining = remaining - consumed as u32;
            self.passing = Some(Passing { remaining, ..passing });
            return Ok(Step::Skip { consumed });
        }
        let Some([trailer]) = self.order.words(window) else {
            return Ok(Step::NeedMore { at_least: BLOCK_TRAILER_LEN });
        };
        if trailer != length {
            return Err(CaptureError::BlockLengthsDiffer { offset, length, trailer });
        }
        self.passing = None;
        Ok(Step::Skip { consumed: BLOCK_TRAILER_LEN })
    }

    /// Takes type and both lengths off a block that is there as a whole.
    #[inline]
    fn unwrap_block<'a>(
        &self,
        bytes: &'a [u8],
        offset: u64,
        length: u32,
    ) -> Result<Block<'a>, CaptureError> {
        let too_short =
            || CaptureError::BlockTooShort { offset, length, needed: SHORTEST_BLOCK as u64 };
        let (contents, trailer) =
            bytes.split_last_chunk::<BLOCK_TRAILER_LEN>().ok_or_else(too_short)?;
        let trailer = self.order.word(*trailer);
        if trailer != length {
            return Err(CaptureError::BlockLengthsDiffer { offset, length, trailer });
        }
        let body = contents.get(BLOCK_START_LEN..).ok_or_else(too_short)?;
        Ok(Block { offset, length, body })
    }

    fn describe_interface(&mut self, block: Block<'_>) -> Result<Step, CaptureError> {
        const FIXED_LEN: usize = 8;
        let [link_type, snap_len] =
            self.order.words(block.body).ok_or_else(|| block.needs(FIXED_LEN))?;
        if self.interfaces.len() >= MAX_INTERFACES {
            return Err(CaptureError::TooManyInterfaces { offset: block.offset });
        }
        let [link_type, _reserved] = self.order.halves(link_type);
        let mut interface = Interface {
            link_type: u32::from(link_type),
            snap_len,
            resolution: TimeResolution::MICROSECONDS,
            offset_s: 0,
        };
        let mut options = block.body.get(FIXED_LEN..).unwrap_or_default();
        while let Some((code, value)) = self.next_option(&mut options) {
            match code {
                OPTION_TIME_RESOLUTION => {
                    if let [byte, ..] = value {
                        interface.resolution = TimeResolution::from_byte(*byte);
                    }
                }
                OPTION_TIME_OFFSET => {
                    if let Some(seconds) = value.first_chunk::<8>() {
                        interface.offset_s = self.order.long(*seconds) as i64;
                    }
                }
                _ => {}
            }
        }
        self.interfaces.push(interface);
        Ok(Step::Skip { consumed: block.length as usize })
    }

    /// Takes one option off the list; `None` at its end, or where it is damaged.
    fn next_option<'a>(&self, options: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
        let [start] = self.order.words(options)?;
        let [code, length] = self.order.halves(start);
        if code == OPTION_END {
            return None;
        }
        let length = length as usize;
        let value = options.get(4..4 + length)?;
        *options = options.get(4 + length.next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    }

    #[inline]
    fn enhanced_packet(&mut self, block: Block<'_>, limits: Limits) -> Result<Step, CaptureError> {
        let [interface, high, low, captured, original] =
            self.order.words(block.body).ok_or_else(|| block.needs(PACKET_FIXED_LEN))?;
        block.check_captured(captured, PACKET_FIXED_LEN, limits)?;
        let described = self.interface(interface, block)?;
        let record = described.record(interface, (high, low), captured, original);
        self.last_time = record.time;
        Ok(Step::Packet { consumed: block.length as usize, record })
    }

    /// The packet block that the enhanced one replaced; its interface number has 16 bits.
    fn obsolete_packet(&mut self, block: Block<'_>, limits: Limits) -> Result<Step, CaptureError> {
        let [interface_and_drops, high, low, captured, original] =
            self.order.words(block.body).ok_or_else(|| block.needs(PACKET_FIXED_LEN))?;
        block.check_captured(captured, PACKET_FIXED_LEN, limits)?;
        let [interface, _drops] = self.order.halves(interface_and_drops);
        let interface = u32::from(interface);
        let described = self.interface(interface, block)?;
        let record = described.record(interface, (high, low), captured, original);
        self.last_time = record.time;
        Ok(Step::Packet { consumed: block.length as usize, record })
    }

    /// A packet of interface 0 without time or captured length: what is there is the least of the
    /// original length, the snap length and the block.
    fn simple_packet(&mut self, block: Block<'_>, limits: Limits) -> Result<Step, CaptureError> {
        const FIXED_LEN: usize = 4;
        let [original] = self.order.words(block.body).ok_or_else(|| block.needs(FIXED_LEN))?;
        let described = self.interface(0, block)?;
        let room = block.body.len().saturating_sub(FIXED_LEN) as u32;
        let snap_len = if described.snap_len == 0 { u32::MAX } else { described.snap_len };
        let captured = original.min(snap_len).min(room);
        block.check_captured(captured, FIXED_LEN, limits)?;
        let start = BLOCK_START_LEN + FIXED_LEN;
        let record = Record {
            time: self.last_time,
            link_type: described.link_type,
            wire_len: original,
            data: start..start + captured as usize,
            interface: 0,
        };
        Ok(Step::Packet { consumed: block.length as usize, record })
    }

    #[inline]
    fn interface(&self, interface: u32, block: Block<'_>) -> Result<&Interface, CaptureError> {
        self.interfaces.get(interface as usize).ok_or(CaptureError::UnknownInterface {
            offset: block.offset,
            interface,
            described: self.interfaces.len(),
        })
    }
}

impl Interface {
    #[inline]
    fn time(&self, high: u32, low: u32) -> u64 {
        let nanoseconds = self.resolution.nanoseconds(u64::from(high) << 32 | u64::from(low));
        if self.offset_s == 0 {
            return nanoseconds;
        }
        let shifted = i128::from(nanoseconds) + i128::from(self.offset_s) * 1_000_000_000;
        shifted.clamp(0, i128::from(u64::MAX)) as u64
    }

    /// The packet of an enhanced or obsolete packet block of this interface.
    #[inline]
    fn record(&self, number: u32, (high, low): (u32, u32), captured: u32, original: u32) -> Record {
        let start = BLOCK_START_LEN + PACKET_FIXED_LEN;
        Record {
            time: self.time(high, low),
            link_type: self.link_type,
            wire_len: original.max(captured),
            data: start..start + captured as usize,
            interface: number,
        }
    }
}

impl Block<'_> {
    /// The error of a block whose fixed fields alone take `fixed_len` bytes of body.
    fn needs(&self, fixed_len: usize) -> CaptureError {
        CaptureError::BlockTooShort {
            offset: self.offset,
            length: self.length,
            needed: (BLOCK_START_LEN + fixed_len + BLOCK_TRAILER_LEN) as u64,
        }
    }

    #[inline]
    fn check_captured(
        &self,
        captured: u32,
        fixed_len: usize,
        limits: Limits,
    ) -> Result<(), CaptureError> {
        if captured > limits.packet {
            let (offset, length, limit) = (self.offset, captured, limits.packet);
            return Err(CaptureError::PacketTooLong { offset, length, limit });
        }
        if captured as usize > self.body.len().saturating_sub(fixed_len) {
            return Err(self.needs(fixed_len + captured as usize));
        }
        Ok(())
    }
}

#[inline]
fn check_length(offset: u64, length: u32, shortest: u32) -> Result<(), CaptureError> {
    if length < shortest {
        return Err(CaptureError::BlockTooShort { offset, length, needed: shortest as u64 });
    }
    if !length.is_multiple_of(4) {
        return Err(CaptureError::BlockUnaligned { offset, length });
    }
    Ok(())
}
