//! Byte order of a capture: both formats are written in the order of the machine that captured,
//! and nearly all their fields are 32-bit words.

/// Order of the bytes in a capture's own fields (never of the packets in it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ByteOrder {
    /// Least significant byte first, as most captures are.
    #[default]
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    /// The first `N` words of `bytes`, or `None` when there are fewer.
    #[inline]
    pub(super) fn words<const N: usize>(self, bytes: &[u8]) -> Option<[u32; N]> {
        let (words, _) = bytes.as_chunks::<4>();
        Some(words.first_chunk::<N>()?.map(|word| self.word(word)))
    }

    #[inline]
    pub(super) fn word(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    /// The two 16-bit fields that a word was read over, in file order.
    pub(super) fn halves(self, word: u32) -> [u16; 2] {
        let (high, low) = ((word >> 16) as u16, word as u16);
        match self {
            Self::Little => [low, high],
            Self::Big => [high, low],
        }
    }

    pub(super) fn long(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }

    pub(super) fn half_bytes(self, half: u16) -> [u8; 2] {
        match self {
            Self::Little => half.to_le_bytes(),
            Self::Big => half.to_be_bytes(),
        }
    }

    pub(super) fn word_bytes(self, word: u32) -> [u8; 4] {
        match self {
            Self::Little => word.to_le_bytes(),
            Self::Big => word.to_be_bytes(),
        }
    }

    pub(super) fn long_bytes(self, long: u64) -> [u8; 8] {
        match self {
            Self::Little => long.to_le_bytes(),
            Self::Big => long.to_be_bytes(),
        }
    }
}
